"""Errors that can be computed by hand come out as computed."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from coset import actions, groups
from coset.auditing import Estimate, assert_equivariant, audit

EPS = 0.05


class Shifted(nn.Module):
    """x + eps b: a linear equivariant map with one wrong bias."""

    def __init__(self, d: int, eps: float = EPS):
        super().__init__()
        b = torch.zeros(d)
        b[-1] = eps
        self.bias = nn.Parameter(b)

    def forward(self, x):
        return x + self.bias


class Gated(nn.Module):
    """An equivariant vector map: x times a function of its length."""

    def __init__(self):
        super().__init__()
        self.gate = nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Linear(8, 1))

    def forward(self, x):
        return x * self.gate(x.norm(dim=-1, keepdim=True))


def vectors(group):
    return actions.Vectors(group) >> actions.Vectors(group)


def rms(f: torch.Tensor) -> float:
    return float(f.detach().square().sum(-1).mean().sqrt())


@pytest.mark.parametrize("n", [3, 4, 12])
def test_shifted_map_under_a_finite_group_is_exact(n):
    x, model = torch.randn(10, 2), Shifted(2)
    report = audit(model, vectors(groups.Cyclic(n)), x)
    expected = EPS * sum(2 * abs(math.sin(math.pi * k / n)) for k in range(n)) / n / rms(model(x))
    assert report.exhaustive
    assert report.samples == n
    assert report.error == pytest.approx(expected, rel=1e-4)
    assert report.worst.error == pytest.approx(2 * EPS * max(abs(math.sin(math.pi * k / n)) for k in range(n)) / rms(model(x)), rel=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_shifted_map_under_rotations_of_the_plane(dtype):
    x, model = torch.randn(10, 2, dtype=dtype), Shifted(2).to(dtype)
    report = audit(model, vectors(groups.SpecialOrthogonal(2)), x, samples=400)
    scale = EPS / rms(model(x))
    assert abs(report.error - scale * 4 / math.pi) < 5 * scale * 0.62 / math.sqrt(4000)
    assert report.worst.error == pytest.approx(2 * scale, rel=1e-4)
    assert report.lie == pytest.approx(scale, rel=1e-5)
    assert "forward differentiation in float64" in report.lie_how


def test_lie_derivative_in_three_dimensions_averages_the_generators():
    # the generators of so(3) turn e_z with speeds 0, 1, 1
    x, model = torch.randn(12, 3, dtype=torch.float64), Shifted(3).double()
    report = audit(model, vectors(groups.SpecialOrthogonal(3)), x, samples=4)
    basis = groups.SpecialOrthogonal(3).algebra(dtype=torch.float64)
    expected = float((basis @ model.bias.detach()).norm(dim=-1).mean()) / rms(model(x))
    assert report.lie == pytest.approx(expected, rel=1e-9)


def test_error_against_translations_of_an_untyped_output():
    # the mean moves with the points: declared invariant, its error is the mean size of the shift
    T = groups.Translation(3)
    x = torch.randn(40, 5, 3, dtype=torch.float64)
    model = lambda pos: pos.mean(1)  # noqa: E731
    report = audit(model, actions.Points(T) >> actions.Trivial(T), x, samples=200)
    expected = 4 / math.sqrt(2 * math.pi) / rms(x.mean(1))  # mean of a chi distribution with 3 degrees
    assert report.error == pytest.approx(expected, rel=0.02)
    assert report.lie == pytest.approx(1 / rms(x.mean(1)), rel=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("group", [groups.Orthogonal(3), groups.SpecialOrthogonal(2), groups.Octahedral(), groups.Dihedral(6)], ids=repr)
def test_equivariant_model_stays_near_the_floor(group, dtype):
    d = group.dim
    report = audit(Gated().to(dtype), vectors(group), torch.randn(6, 4, d, dtype=dtype))
    assert report.error < 20 * max(report.floor, torch.finfo(dtype).eps)
    assert report.floor < 10 * torch.finfo(dtype).eps
    assert report.passed()
    assert report.passed(1e-5)
    assert report.action_error < 1e-5
    if group.lie_dimension:
        assert report.lie < 1e-12
    assert_equivariant(Gated().to(dtype), vectors(group), torch.randn(6, 4, d, dtype=dtype), bound=1e-5)


def test_components_separate_what_is_broken():
    E3 = groups.Euclidean(3)
    x = torch.randn(8, 6, 3, dtype=torch.float64)
    centred = lambda p: p - p.mean(1, keepdim=True)  # noqa: E731

    def handed(p):  # a signed volume: sees reflections only
        c = centred(p)
        return torch.linalg.det(c[:, :3])

    def placed(p):  # sees translations only: the distance of the centre from the origin would also... stay under rotations
        return centred(p).square().sum((1, 2)) + p.mean(1).norm(dim=-1)

    target = actions.Points(E3) >> actions.Trivial(E3)
    broken = audit(handed, target, x).components
    assert broken["reflection"] > 0.1
    assert broken["rotation"] < 1e-12
    assert broken["translation"] < 1e-12
    broken = audit(placed, target, x).components
    assert broken["translation"] > 0.01
    assert broken["rotation"] < 1e-12
    assert broken["reflection"] < 1e-12


def test_components_see_permutations():
    G = groups.Symmetric() * groups.Orthogonal(3)
    x = torch.randn(8, 5, 3, dtype=torch.float64)
    weights = torch.linspace(0.1, 1, 5, dtype=torch.float64)
    report = audit(lambda p: (p.square().sum(-1) * weights).sum(-1), actions.Points(G) >> actions.Trivial(G), x)
    named = {name: value for name, value in report.components.items() if "permutation" in name.lower()}
    others = {name: value for name, value in report.components.items() if name not in named}
    assert named
    assert others
    assert all(value > 0.01 for value in named.values())
    assert all(value < 1e-12 for value in others.values())


def test_ascent_beats_random_search():
    # the error peaks at one angle: few random elements miss it
    def spiky(x):
        angle = torch.atan2(x[:, 1], x[:, 0])
        return torch.exp(torch.cos(angle - 1.0) * 8)

    G = groups.SpecialOrthogonal(2)
    x = torch.tensor([[1.0, 0.0], [0.0, 2.0]], dtype=torch.float64)
    report = audit(spiky, actions.Vectors(G) >> actions.Trivial(G), x, samples=6)
    assert report.worst_found_by == "gradient ascent"
    assert report.worst.error > report.worst_random * 1.0001
    assert report.worst.error >= report.quantiles[1.0]
    g = report.worst.element
    moved = x[report.worst_input : report.worst_input + 1] @ g.T
    gap = (spiky(moved) - spiky(x[report.worst_input : report.worst_input + 1])).abs() / spiky(x).square().mean().sqrt()
    assert float(gap) == pytest.approx(report.worst.error, rel=1e-9)


def test_ascent_works_without_gradients_and_stays_in_the_sampled_range():
    E = groups.SpecialEuclidean(2)

    @torch.no_grad()
    def cut(p):
        return p.mean(1)[:, 0]

    x = torch.randn(4, 3, 2, dtype=torch.float64)
    report = audit(cut, actions.Points(E) >> actions.Trivial(E), x, samples=8)
    assert report.worst.error >= report.worst_random
    assert report.worst_found_by in ("random ascent", "random search")
    assert float(E.distance(report.worst.element, E.identity(dtype=torch.float64))) <= max(report.sizes) * (1 + 1e-9)
    expected = audit(lambda p: p.mean(1)[:, 0], actions.Points(E) >> actions.Trivial(E), x, samples=8).lie
    assert report.lie == pytest.approx(expected, rel=1e-6)


def test_detached_graph_does_not_fool_the_lie_derivative():
    G = groups.SpecialOrthogonal(2)
    x = torch.randn(5, 2, dtype=torch.float64)
    honest = audit(lambda v: v[:, 0].square(), actions.Vectors(G) >> actions.Trivial(G), x)
    cut = audit(lambda v: v[:, 0].detach().square(), actions.Vectors(G) >> actions.Trivial(G), x)
    assert cut.lie == pytest.approx(honest.lie, rel=1e-6)
    assert "central differences" in cut.lie_how
    assert "forward" in honest.lie_how
    assert honest.lie > 0.1


def test_standard_error_is_clustered_by_input():
    # the error depends on the input alone: more elements must not shrink its standard error
    C2 = groups.Cyclic(2)
    x = torch.randn(30, 2, dtype=torch.float64)
    sign = actions.Vectors(C2) >> actions.Trivial(C2)
    report = audit(lambda v: v[:, 0], sign, x)
    means = 0.5 * 2 * x[:, 0].abs() / x[:, 0].square().mean().sqrt()
    assert report.error == pytest.approx(float(means.mean()), rel=1e-6)
    assert report.stderr == pytest.approx(float(means.std()) / math.sqrt(30), rel=1e-6)


def test_standard_error_covers_the_truth():
    G = groups.SpecialOrthogonal(2)
    truth, inside = None, 0
    model = lambda v: v[:, 0] * v[:, 1].exp().clamp(max=3.0)  # noqa: E731
    runs = []
    for seed in range(24):
        torch.manual_seed(seed)
        x = nn.functional.normalize(torch.randn(40, 2, dtype=torch.float64), dim=-1)
        runs.append(audit(model, actions.Vectors(G) >> actions.Trivial(G), x, samples=6, layers=False, lie=False, ascend=False))
    truth = sum(r.error for r in runs) / len(runs)
    inside = sum(abs(r.error - truth) < 2 * r.stderr for r in runs)
    assert inside >= 20
    assert sum(abs(r.error - truth) < 0.1 * r.stderr for r in runs) < 12  # and it is not absurdly wide


def test_several_outputs_the_worst_counts():
    G = groups.Orthogonal(3)
    target = actions.Dict(good=actions.Trivial(G), bad=actions.Trivial(G))
    report = audit(lambda v: {"good": v.norm(dim=-1), "bad": v[:, 0]}, actions.Vectors(G) >> target, torch.randn(9, 3))
    good, bad = report.outputs["good"], report.outputs["bad"]
    assert good < 1e-6
    assert bad > 0.5
    assert report.error == pytest.approx(float(bad), rel=1e-6)


def test_layer_growth_of_an_invariant_then_broken_network():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.inside, self.outside = nn.Linear(1, 8), nn.Linear(2, 4)

        def forward(self, x):
            return self.inside(x.norm(dim=-1, keepdim=True)).sum(-1) + self.outside(x).sum(-1)

    G = groups.SpecialOrthogonal(2)
    report = audit(Net().double(), actions.Vectors(G) >> actions.Trivial(G), torch.randn(6, 2, dtype=torch.float64))
    change = {layer.name: layer.change for layer in report.layers}
    assert change["inside"] < 1e-14
    assert change["outside"] > 0.1
    assert {layer.name: layer.shape for layer in report.layers}["outside"] == (6, 4)


def test_layers_with_the_outputs_shape_get_an_equivariance_error():
    G = groups.SpecialOrthogonal(2)
    model = nn.Sequential(nn.Identity(), Shifted(2), nn.Tanh())
    report = audit(model, vectors(G), torch.randn(6, 2))
    first, second, third = report.layers
    assert first.error < 1e-6
    assert first.change > 0.1
    assert 0.01 < second.error < third.error
    assert "Vectors" in first.action


def test_estimate_behaves_as_a_number():
    import pickle

    e = pickle.loads(pickle.dumps(Estimate(0.5, 0.1)))
    assert e == 0.5
    assert e.error == 0.5
    assert e.stderr == 0.1
    assert repr(e) == "0.5 ± 0.1"


def test_audits_repeat_and_leave_the_random_state_alone():
    import random

    import numpy

    G = groups.Orthogonal(3)
    x = torch.randn(4, 3)
    before = torch.get_rng_state(), random.getstate(), numpy.random.get_state()[1].tolist()
    first = audit(Shifted(3), vectors(G), x)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert numpy.random.get_state()[1].tolist() == before[2]
    assert audit(Shifted(3), vectors(G), x).errors == first.errors
    other = audit(Shifted(3), vectors(G), x, generator=torch.Generator().manual_seed(5))
    assert other.errors != first.errors


def test_chunks_do_not_change_the_answer():
    G = groups.Orthogonal(3)
    x = torch.randn(7, 5, 3, dtype=torch.float64)
    whole, parts = (audit(Shifted(3).double(), vectors(G), x, samples=5, chunk=c) for c in (512, 8))
    assert whole.errors == pytest.approx(parts.errors, rel=1e-12)


def test_large_batches_are_measured_in_blocks():
    G = groups.SpecialOrthogonal(2)
    entered = []

    def counts(x):
        entered.append(len(x))
        return x + 0.05

    x = torch.randn(30, 2, dtype=torch.float64)
    report = audit(counts, vectors(G), x, samples=5, chunk=8, lie=True)
    assert max(entered) <= 8
    assert report.error == pytest.approx(audit(counts, vectors(G), x, samples=5).error, rel=1e-12)
    assert report.inputs == 30
