"""Soft symmetry: evidence against brute force, increments that are orthogonal, and the linear laboratory."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from coset import actions, adapt, groups
from coset.adapt.soft import increments
from coset.errors import InputError

C6 = groups.Cyclic(6)
REGULAR = actions.Regular(C6) >> actions.Regular(C6)


def circulant(values: Tensor) -> Tensor:
    return torch.stack([values.roll(k) for k in range(len(values))], 1)


def laboratory(epsilon: float, seed: int, samples: int = 14, noise: float = 1.0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
    truth = circulant(draw(6))
    broken = draw(6, 6)
    (_, rest), _ = increments([REGULAR])
    broken = (broken.flatten() @ rest.mT @ rest).reshape(6, 6)
    truth = truth + epsilon * broken / broken.norm() * truth.norm()
    x = draw(samples, 6)
    return x, x @ truth.mT + noise * draw(samples, 6), truth


def fitted(x: Tensor, y: Tensor) -> tuple[nn.Module, adapt.SoftFit]:
    torch.manual_seed(0)
    net = nn.Linear(6, 6, bias=False)
    return net, adapt.SoftSymmetry({"weight": [REGULAR]}).fit(net, x, y, adapt.Gaussian())


def errors(epsilon: float, trials: int = 6) -> Tensor:
    """Mean squared errors of the weights: hard, none, soft."""
    (basis, _), _ = increments([REGULAR])
    found = []
    for seed in range(trials):
        x, y, truth = laboratory(epsilon, seed)
        free = torch.linalg.lstsq(x, y).solution.mT
        design = torch.einsum("kij,bj->bik", basis.reshape(-1, 6, 6), x).flatten(0, 1)
        hard = (torch.linalg.lstsq(design, y.flatten()[:, None]).solution[:, 0] @ basis).reshape(6, 6)
        net, _ = fitted(x, y)
        found.append(torch.stack([(w - truth).square().mean() for w in (hard, free, net.weight.detach().double())]))
    return torch.stack(found).mean(0)


def test_soft_beats_both_extremes_between_them_and_follows_the_better_one_outside() -> None:
    hard, none, soft = errors(0.5)
    assert soft < min(hard, none)
    hard, none, soft = errors(0.0)
    assert soft < 1.3 * hard
    assert hard < none / 2
    hard, none, soft = errors(3.0)
    assert soft < 1.1 * none
    assert none < hard / 2


def test_evidence_is_the_marginal_likelihood_of_a_linear_model() -> None:
    """For a linear model with given noise, the Laplace evidence is exact: compare with the Gaussian law of the targets."""
    x, y, _ = laboratory(0.3, 0)
    torch.manual_seed(0)
    net = nn.Linear(6, 6, bias=False)
    found = adapt.SoftSymmetry({"weight": [REGULAR]}).fit(net, x, y, adapt.Gaussian(1.0), rounds=200)
    bases, _ = increments([REGULAR])
    # the fixed point: precisions moved by one more round hardly change the evidence
    prior = sum(basis.mT @ basis / a for basis, a in zip(bases, found.precision["weight"], strict=True))
    design = torch.einsum("ij,bk->bijk", torch.eye(6, dtype=torch.float64), x).reshape(len(x) * 6, 36)
    law = torch.distributions.MultivariateNormal(
        torch.zeros(len(x) * 6, dtype=torch.float64), design @ prior @ design.mT + torch.eye(len(x) * 6, dtype=torch.float64)
    )
    exact = float(law.log_prob(y.flatten()))
    assert found.evidence == pytest.approx(exact, abs=1e-2)
    worse = design @ (100 * prior) @ design.mT + torch.eye(len(x) * 6, dtype=torch.float64)
    assert float(torch.distributions.MultivariateNormal(law.loc, worse).log_prob(y.flatten())) < exact - 1


def test_effective_parameters() -> None:
    x, y, _ = laboratory(0.0, 1, samples=300, noise=0.1)
    _, found = fitted(x, y)
    assert found.effective["weight"][0] == pytest.approx(6, abs=0.1)
    assert found.effective["weight"][1] < 3
    assert found.sizes["weight"].tolist() == [6, 30]
    assert found.noise == pytest.approx(0.01, rel=0.1)
    assert found.dimension["weight"] == pytest.approx(float(found.effective["weight"].sum()))
    assert "of 6 parameters" in str(found)
    x, y, _ = laboratory(1.0, 1, samples=300, noise=0.1)
    assert fitted(x, y)[1].effective["weight"][1] > 28  # a broken symmetry is not claimed


def test_a_chain_names_the_group_that_is_there() -> None:
    """Dihedral inside cyclic inside all: of a circulant that is not symmetric, the dihedral increment alone is not enough."""
    reflect = torch.eye(6, dtype=torch.float64)[[0, 5, 4, 3, 2, 1]]
    (cyclic, _), _ = increments([REGULAR])
    symmetric = (cyclic + (reflect @ cyclic.reshape(-1, 6, 6) @ reflect).flatten(1)).reshape(-1, 6, 6)
    x, _, _ = laboratory(0.0, 2, samples=200)
    even, odd = torch.tensor([2.0, 1.0, 0.5, 0.1, 0.5, 1.0]).double(), torch.tensor([0.0, 1.0, 0.7, 0.0, -0.7, -1.0]).double()
    soft = adapt.SoftSymmetry({"weight": [symmetric, cyclic.reshape(-1, 6, 6)]})
    for values, used in ((even, (4, 0)), (even + odd, (4, 2))):
        net = nn.Linear(6, 6, bias=False)
        y = x @ circulant(values).mT + 0.1 * torch.randn(200, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        found = soft.fit(net, x, y).effective["weight"]
        assert found[0] > used[0] - 0.5
        assert (found[1] > 1.5) == (used[1] == 2)
        assert found[2] < 4


def test_increments_are_orthonormal_and_fill_the_space() -> None:
    bases, names = increments([REGULAR])
    whole = torch.cat(bases)
    assert torch.allclose(whole @ whole.mT, torch.eye(36, dtype=torch.float64), atol=1e-12)
    assert names == ["Cyclic(6)", "without symmetry"]
    with pytest.raises(InputError, match="largest group first"):
        increments([torch.eye(36).reshape(36, 6, 6), bases[0].reshape(-1, 6, 6)])


def test_classes_of_a_small_network() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 2))
    x = torch.randn(150, 6)
    y = (x.square().sum(1) > 5).long()
    found = adapt.SoftSymmetry({"0.weight": [REGULAR]}).fit(net, x, y, adapt.Categorical(), rounds=15)
    assert found.evidence < 0
    assert set(found.effective) == {"0.weight", "0.bias", "2.weight", "2.bias"}
    assert all((v + 1e-6 >= 0).all() and (v <= found.sizes[k] + 1e-6).all() for k, v in found.effective.items())
    assert (net(x).argmax(1) == y).float().mean() > max(y.float().mean(), 1 - y.float().mean()) - 0.01


def test_bad_input() -> None:
    x, y, _ = laboratory(0.0, 0)
    soft = adapt.SoftSymmetry({"weight": [REGULAR]})
    with pytest.raises(InputError, match="check names"):
        soft.fit(nn.Sequential(nn.Linear(6, 6)), x, y)
    with pytest.raises(InputError, match="at most 4,096"):
        adapt.SoftSymmetry({}).fit(nn.Linear(100, 100), torch.randn(3, 100), torch.randn(3, 100))
    with pytest.raises(InputError, match="not finite"):
        soft.fit(nn.Linear(6, 6, bias=False), x, y * float("nan"))
    with pytest.raises(InputError, match="vary"):
        soft.fit(nn.Linear(6, 6, bias=False), x, torch.zeros_like(y))
    with pytest.raises(InputError, match="integer classes"):
        soft.fit(nn.Linear(6, 6, bias=False), x, y, adapt.Categorical())
    with pytest.raises(InputError, match="list of signatures"):
        adapt.SoftSymmetry({"weight": REGULAR})  # type: ignore[dict-item]
    with pytest.raises(InputError, match="positive"):
        adapt.Gaussian(0.0)


def test_frozen_parameters_stay_and_modes_come_back():
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Dropout(0.5), torch.nn.Linear(4, 1)).train()
    net[0].requires_grad_(False)
    x = torch.randn(40, 3)
    kept, running = net[0].weight.clone(), net[1].running_mean.clone()
    found = adapt.SoftSymmetry({}).fit(net, x, x.sum(1), rounds=3)
    assert "0.weight" not in found.sizes
    assert "3.weight" in found.sizes
    assert torch.equal(net[0].weight, kept)
    assert torch.equal(net[1].running_mean, running)
    assert net[1].training


def test_bases_are_not_taken_for_their_transposes():
    with pytest.raises(InputError, match="shape"):
        adapt.SoftSymmetry({"weight": [torch.randn(2, 4, 3)]}).fit(torch.nn.Linear(4, 3, bias=False), torch.randn(9, 4), torch.randn(9, 3))


@pytest.mark.parametrize("basis", [torch.full((1, 2, 2), float("nan")), "C4", torch.ones(4)])
def test_what_is_no_basis_is_refused(basis):
    with pytest.raises(InputError, match="basis"):
        adapt.SoftSymmetry({"weight": [basis]})


def test_targets_that_do_not_fit_the_outputs_are_refused():
    x = torch.randn(9, 4)
    with pytest.raises(InputError, match="classes from"):
        adapt.SoftSymmetry({}).fit(torch.nn.Linear(4, 3), x, torch.tensor([0, 1, 2] * 2 + [3] * 3), adapt.Categorical())
    with pytest.raises(InputError, match="as the outputs"):
        adapt.SoftSymmetry({}).fit(torch.nn.Linear(4, 3), x, torch.randn(9, 2))


@pytest.mark.parametrize("noise", [0.0, 1e-6])
def test_rounding_is_no_evidence_against_a_symmetry(noise):
    group, draw = groups.Cyclic(6), torch.Generator().manual_seed(2)
    truth = torch.tensordot(torch.randn(6, generator=draw), torch.stack([torch.eye(6).roll(k, 0) for k in range(6)]), 1)
    x = torch.randn(60, 6, generator=draw)
    y = x @ truth.T + noise * torch.randn(60, 6, generator=draw)
    soft = adapt.SoftSymmetry({"weight": [actions.Regular(group) >> actions.Regular(group)]})
    found = soft.fit(torch.nn.Linear(6, 6, bias=False), x, y, adapt.Gaussian())
    assert float(found.effective["weight"][1]) < 6  # of 30


def test_a_likelihood_is_an_object():
    with pytest.raises(InputError, match="Gaussian"):
        adapt.SoftSymmetry({}).fit(torch.nn.Linear(4, 3), torch.randn(9, 4), torch.randn(9, 3), "gauss")
