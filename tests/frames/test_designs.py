"""Random cosets: unbiased, without error up to the degree of the subgroup, better than as many independent elements."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from coset import Symmetrized, actions, frames, groups
from coset.errors import FrameError, GroupError
from coset.groups.designs import cyclic_signs

O2, SO2, O3, SO3, O4, SO4 = (kind(d) for d in (2, 3, 4) for kind in (groups.Orthogonal, groups.SpecialOrthogonal))
S = groups.Symmetric()
E3, SE3 = groups.Euclidean(3), groups.SpecialEuclidean(3)


def perceptron(inputs, outputs, seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(inputs, 32), nn.Tanh(), nn.Linear(32, outputs)).double().requires_grad_(False)


def scores(values, exact):
    """How many standard errors the mean of repetitions is from what it should be."""
    return (values.mean(0) - exact).abs() / (values.std(0) / len(values) ** 0.5)


@pytest.mark.parametrize(
    ("group", "subgroup", "size"),
    [
        (O2, None, 24),
        (SO2, None, 12),
        (O2, groups.Cyclic(5), 5),
        (O3, None, 48),
        (SO3, None, 24),
        (O3, groups.Icosahedral(full=True), 120),
        (O3, groups.Icosahedral(), 60),
        (SO3, groups.Icosahedral(), 60),
        (O4, None, 64),
        (SO4, None, 32),
        (O4, groups.Hyperoctahedral(4), 384),
        (SO2, groups.to_rotations(groups.Cyclic(6)), 6),
        (O3, groups.Generated([[[0.0, 1, 0], [0, 0, 1], [1, 0, 0]]]), 3),
        (S * O3, None, 48),
    ],
    ids=str,
)
def test_draws_are_cosets(group, subgroup, size):
    x = torch.randn(5, 4, int(group.dim), dtype=torch.float64)
    found = frames.RandomCosets(3, subgroup).bind(actions.Points(group))(x)
    assert found.cosets == 3 * size
    assert found.draws.tolist() == [draw for draw in range(3) for _ in range(size)]
    assert torch.allclose(found.weights, torch.tensor(1 / (3 * size)).double())
    matrix = group.matrix(found.elements)
    assert torch.allclose(matrix @ matrix.mT, torch.eye(int(group.dim)).double().expand_as(matrix), atol=1e-12)
    if not group.reflects:
        assert float(torch.linalg.det(matrix).min()) > 0.9
    draws = matrix.unflatten(0, (3, size))  # R H: quotients of two elements of a draw are in H, up to order
    inside = draws[:, :1].mT @ draws
    assert torch.allclose(inside[0, :, 0], inside[2, :, 4], atol=1e-12)
    assert not torch.allclose(draws[0, :, 0], draws[1, :, 0])
    assert not torch.allclose(draws[0, :, 0], draws[0, :, 1])


@pytest.mark.parametrize("special", [False, True])
@pytest.mark.parametrize("d", [1, 2, 3, 4, 5])
def test_signed_cyclic_shifts_are_a_group(d, special):
    matrices = cyclic_signs(d, special)
    assert len(matrices) == max(2**d * d // (2 if special else 1), 1)
    if d > 1:
        assert len(matrices.flatten(1).unique(dim=0)) == len(matrices)
    products = (matrices[:, None] @ matrices[None]).flatten(0, 1).flatten(1)
    assert float(torch.cdist(products, matrices.flatten(1)).amin(1).max()) < 1e-12
    assert float(torch.linalg.det(matrices).min()) > (0 if special else -2)


@pytest.mark.parametrize(
    ("group", "subgroup", "degree"),
    [
        (O3, None, 3),
        (SO3, None, 3),
        (SO3, groups.Icosahedral(), 5),
        (SO3, groups.Tetrahedral(), 2),
        (SO2, None, 11),
        (O2, groups.Dihedral(5), 4),
        (O4, None, 3),
        (groups.SpecialOrthogonal(5), None, 3),
    ],
    ids=str,
)
def test_polynomials_up_to_the_degree_have_no_error(group, subgroup, degree):
    d = int(group.dim)
    x, direction = torch.randn(6, d, dtype=torch.float64), torch.randn(d, dtype=torch.float64)
    signature = actions.Vectors(group) >> actions.Trivial(group)

    def spread(power):
        net = lambda x: (x @ direction)[:, None] ** power  # noqa: E731
        _, stats = Symmetrized(net, signature, frames.RandomCosets(4, subgroup))(x, return_stats=True)
        return float(stats.stderr.max() / stats.std.max())

    assert max(spread(power) for power in range(1, degree + 1)) < 1e-10
    assert spread(degree + 1) > 1e-4


@pytest.mark.parametrize(
    ("frame", "group"),
    [
        (frames.RandomCosets(1, groups.Tetrahedral()), O3),
        (frames.RandomCosets(2), SO3),
        (frames.RandomCosets(1, groups.Cyclic(3)), O2),
        (frames.RandomCosets(1), SO4),
    ],
    ids=str,
)
def test_random_cosets_are_unbiased(frame, group):
    d = int(group.dim)
    x, net = torch.randn(3, d, dtype=torch.float64) * 1.5, perceptron(3 * d, 3)
    signature = actions.Points(group) >> actions.Trivial(group)
    with torch.no_grad():
        exact = Symmetrized(net, signature, frames.Quadrature(9 if d == 4 else 21), chunk=10_000)(x[None])[0]
        draws = Symmetrized(net, signature, frame)(x.expand(2000, 3, d))
        biased = Symmetrized(net, signature, frames.Given(group.haar(1, dtype=torch.float64)))(x[None])[0]
    assert float(scores(draws, exact).max()) < 4.5
    assert float(scores(draws, biased).max()) > 10


def test_products_draw_permutations_for_every_element():
    torch.manual_seed(0)
    group = S * O3
    signature = actions.Points(group) >> actions.Trivial(group)
    x, net = torch.randn(4, 3, dtype=torch.float64), perceptron(12, 2)
    found = frames.RandomCosets(2).bind(signature.source)(x[None])
    assert len(found.elements[0][:48, 0].unique(dim=0)) > 15  # of 24
    with torch.no_grad():
        full = frames.Chain(frames.Full(), frames.Quadrature(21))
        fixed = groups.Symmetric(4) * O3
        exact = Symmetrized(net, actions.Points(fixed) >> actions.Trivial(fixed), full, chunk=50_000)(x[None])[0]
        y, stats = Symmetrized(net, signature, frames.RandomCosets(2))(x.expand(3000, 4, 3), return_stats=True)
    assert float(scores(y, exact).max()) < 4.5
    assert torch.allclose(stats.stderr.square().mean(0), y.var(0), rtol=0.15)


@pytest.mark.parametrize("group", [E3, SE3], ids=str)
def test_euclidean_groups_centre_first(group):
    net, x = perceptron(12, 2), torch.randn(5, 4, 3, dtype=torch.float64)
    signature = actions.Points(group) >> actions.Trivial(group)
    model = Symmetrized(net, signature, frames.Chain(frames.Center(), frames.RandomCosets(16)))
    y, stats = model(x, return_stats=True)
    torch.manual_seed(1)
    here = model(x)
    torch.manual_seed(1)
    there = model(x + 5)
    assert stats.draws.tolist() == [16] * 5
    assert torch.allclose(here, there)
    exact = Symmetrized(net, signature, frames.Chain(frames.Center(), frames.Quadrature(21)))(x)
    assert bool(((y - exact).abs() < 6 * stats.stderr).all())


def errors(net, signature, x, exact, frame):
    """The root mean square error of an estimate."""
    with torch.no_grad():
        return float((Symmetrized(net, signature, frame)(x) - exact).square().mean().sqrt())


@pytest.mark.parametrize("group", [O3, SO3], ids=str)
@pytest.mark.parametrize("seed", [0, 1])
def test_half_the_error_at_48_elements(group, seed):
    net, signature = perceptron(12, 3, seed), actions.Points(group) >> actions.Trivial(group)
    x = torch.randn(400, 4, 3, dtype=torch.float64) / 2
    with torch.no_grad():
        exact = Symmetrized(net, signature, frames.Quadrature(15))(x)
    draws = 1 if group.reflects else 2
    single, cosets = (errors(net, signature, x, exact, frame) for frame in (frames.Haar(48), frames.RandomCosets(draws)))
    assert single > 2 * cosets


def test_cosets_are_reproducible_by_their_generator():
    source, x = actions.Points(O3), torch.randn(3, 5, 3)
    found = [frames.RandomCosets(2, generator=torch.Generator().manual_seed(seed)).bind(source)(x).elements for seed in (1, 1, 2)]
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


# -- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("group", "subgroup"),
    [
        (O3, groups.Cyclic(4)),
        (SO3, groups.Octahedral(full=True)),
        (SO2, groups.Dihedral(4)),
        (O3, groups.Symmetric(4)),
        (O3, groups.Hyperoctahedral(4)),
        (groups.Orthogonal(6), groups.Hyperoctahedral(6)),
        (SO3, groups.to_rotations(groups.Cyclic(4))),
        (O2, groups.Generated([[[1.0, 1], [0, -1]]])),
    ],
    ids=str,
)
def test_what_is_no_subgroup(group, subgroup):
    with pytest.raises(FrameError, match=r"as a subgroup of .*a finite group of \d x \d matrices inside it.*groups\.Octahedral\(\)"):
        frames.RandomCosets(1, subgroup).bind(actions.Points(group))


@pytest.mark.parametrize("subgroup", [O3, "octahedral", torch.eye(3)], ids=["continuous", "word", "tensor"])
def test_what_is_no_finite_group(subgroup):
    with pytest.raises(FrameError, match=r"(?s)RandomCosets\(subgroup=.*a finite group, or a homomorphism of one"):
        frames.RandomCosets(1, subgroup)


def test_groups_without_rotations():
    with pytest.raises(FrameError, match=r"RandomCosets\(1\) on Cyclic\(4\).*O\(d\) or SO\(d\).*frames\.Haar"):
        frames.RandomCosets().bind(actions.Vectors(groups.Cyclic(4)))
    with pytest.raises(FrameError, match=r"on Product\(Orthogonal\(3\), Orthogonal\(2\)\)"):
        frames.RandomCosets().bind(actions.Trivial(O3 * O2))
    with pytest.raises(GroupError, match=r"not compact.*frames\.Chain\(frames\.Center\(\), RandomCosets\(1\)\)"):
        frames.RandomCosets().bind(actions.Points(E3))
    with pytest.raises(FrameError, match=r"RandomCosets\(\) on Orthogonal\(12\): 49152 elements a draw.*at most 5040.*pass subgroup="):
        frames.RandomCosets().bind(actions.Points(groups.Orthogonal(12)))


@pytest.mark.parametrize("draws", [0, -2, 1.5, True])
def test_numbers_of_draws_that_make_no_sense(draws):
    with pytest.raises(FrameError, match=r"RandomCosets\(draws=.*1 or more"):
        frames.RandomCosets(draws)
