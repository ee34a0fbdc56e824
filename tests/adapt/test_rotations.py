"""Divergences of laws on rotations against numerical integration, their gradients, their fixed points."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from coset import CosetError, actions, adapt, frames, groups, symmetrize
from coset.adapt.normalizers import log_normalizer, mean_element
from coset.adapt.rotations import check_rotations

D = torch.float64
PARAMETERS = {
    "zero": torch.zeros(3, 3, dtype=D),
    "isotropic": 2.0 * torch.eye(3, dtype=D),
    "mirrored": torch.diag(torch.tensor([2.0, 2.0, -2.0], dtype=D)),
    "general": torch.tensor([[3.0, -1.0, 0.3], [0.2, 1.0, 2.0], [-0.7, 0.4, -2.0]], dtype=D),
}


def plane_grid(count=4000):
    """All turns of the plane, and their flips, with equal weights."""
    t = torch.arange(count, dtype=D) * (2 * math.pi / count)
    turns = torch.stack([t.cos(), -t.sin(), t.sin(), t.cos()], -1).unflatten(-1, (2, 2))
    return turns, turns @ torch.diag(torch.tensor([1.0, -1.0], dtype=D))


def space_grid(count=48):
    """Rotations (N, 3, 3) by Euler angles and weights (N,) of the Haar measure."""
    from coset.adapt.normalizers import legendre

    t = torch.arange(count, dtype=D) * (2 * math.pi / count)
    z, w = legendre(count, t)
    z, w = 2 * z - 1, w

    def about(axis, angle):
        out = torch.zeros(len(angle), 3, 3, dtype=D)
        i, j = [k for k in range(3) if k != axis]
        out[:, axis, axis] = 1
        out[:, i, i] = out[:, j, j] = angle.cos()
        out[:, i, j], out[:, j, i] = -angle.sin(), angle.sin()
        return out

    a, b = about(2, t), about(1, z.acos())
    grid = a[:, None, None] @ b[None, :, None] @ a[None, None]
    weights = (w[None, :, None] / count**2).expand(count, count, count)
    return grid.flatten(0, 2), weights.flatten()


def integrate(f, grid, weights=None):
    values = (f * grid).sum((-2, -1))
    log_w = math.log(1 / len(grid)) if weights is None else weights.log()
    return torch.logsumexp(values + log_w, 0)


@pytest.mark.parametrize("reflects", [False, True])
@pytest.mark.parametrize("size", [0.01, 1.0, 30.0])
def test_the_constant_of_the_plane_is_the_integral(size, reflects):
    f = size * torch.tensor([[1.0, -0.4], [0.8, 0.3]], dtype=D)
    turns, flips = plane_grid()
    grid = torch.cat([turns, flips]) if reflects else turns
    assert torch.allclose(log_normalizer(f, reflects), integrate(f, grid), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("reflects", [False, True])
@pytest.mark.parametrize("name", PARAMETERS)
def test_the_constant_and_the_mean_of_space_are_the_integrals(name, reflects):
    f = PARAMETERS[name]
    grid, weights = space_grid()
    if reflects:
        grid, weights = torch.cat([grid, -grid]), torch.cat([weights, weights]) / 2
    found = log_normalizer(f, reflects)
    assert torch.allclose(found, integrate(f, grid, weights), rtol=1e-9, atol=1e-9)
    p = ((f * grid).sum((-2, -1)) - found).exp() * weights
    assert torch.allclose(mean_element(f, reflects), (p[:, None, None] * grid).sum(0), atol=1e-8)


@pytest.mark.parametrize("kappa", [0.1, 1.0, 10.0, 1e3, 1e5])
def test_the_isotropic_constant_is_the_closed_form_also_when_large(kappa):
    k = torch.tensor(kappa, dtype=D)
    closed = 3 * k + (torch.special.i0e(2 * k) - torch.special.i1e(2 * k)).log()  # exp(k) (I0(2k) - I1(2k))
    found = log_normalizer(k * torch.eye(3, dtype=D), False)
    assert torch.allclose(found, closed, rtol=1e-7, atol=1e-7)


def frame_at(element, group):
    return frames.Given(element[None]).bind(actions.Vectors(group)), element


def value_at(loss, group, element):
    """The loss at a frame that gives this element."""
    d = element.shape[-1]
    model = symmetrize(lambda x: x, actions.Vectors(group) >> actions.Vectors(group), frames.Given(element[None]))
    return loss(adapt.Step(model, torch.ones(1, d, dtype=D)))[0]


@pytest.mark.parametrize("reflects", [False, True])
@pytest.mark.parametrize(("kappa", "spread"), [(4.0, 4.0), (0.5, 3.0), (20.0, 2.0)])
def test_von_mises_is_the_divergence_by_integration(kappa, spread, reflects):
    group = groups.Orthogonal(2) if reflects else groups.SpecialOrthogonal(2)
    turns, flips = plane_grid()
    grid = torch.cat([turns, flips]) if reflects else turns
    for element in (turns[300], turns[1900], *([flips[300]] if reflects else [])):
        own = (math.cos(0.3), math.sin(0.3))
        prior = kappa / 2 * torch.tensor([[own[0], -own[1]], [own[1], own[0]]], dtype=D)
        around = spread / 2 * element
        p, q = ((f * grid).sum((-2, -1)) - integrate(f, grid) - math.log(len(grid)) for f in (prior, around))
        wanted = (p.exp() * (p - q)).sum()
        found = value_at(adapt.VonMises(kappa, spread, mean=0.3), group, element)
        assert torch.allclose(found, wanted, rtol=1e-8, atol=1e-10)
        assert found > -1e-12


@pytest.mark.parametrize("reflects", [False, True])
@pytest.mark.parametrize("name", ["isotropic", "general"])
def test_matrix_fisher_is_the_divergence_by_integration(name, reflects):
    group = groups.Orthogonal(3) if reflects else groups.SpecialOrthogonal(3)
    grid, weights = space_grid()
    if reflects:
        grid, weights = torch.cat([grid, -grid]), torch.cat([weights, weights]) / 2
    element = group.haar(1, generator=torch.Generator().manual_seed(3), dtype=D)[0]
    own = PARAMETERS[name]
    p, q = ((f * grid).sum((-2, -1)) - integrate(f, grid, weights) + weights.log() for f in (own, 1.5 * element))
    wanted = (p.exp() * (p - q)).sum()
    assert torch.allclose(value_at(adapt.MatrixFisher(own, spread=1.5), group, element), wanted, rtol=1e-7, atol=1e-9)


def test_in_the_plane_the_two_priors_are_one():
    group = groups.SpecialOrthogonal(2)
    element = plane_grid()[0][123]
    one, two = (value_at(loss, group, element) for loss in (adapt.VonMises(6.0), adapt.MatrixFisher(3.0, dim=2)))
    assert torch.allclose(one, two)


class Free(nn.Module):
    """Vectors that do not look at the input."""

    def __init__(self, start):
        super().__init__()
        self.vectors = nn.Parameter(start)

    def forward(self, x, noise):
        return self.vectors.expand(len(x), *self.vectors.shape)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("group", "loss"),
    [
        (groups.SpecialOrthogonal(2), adapt.VonMises(5.0)),
        (groups.Orthogonal(2), adapt.VonMises(5.0)),
        (groups.SpecialOrthogonal(3), adapt.MatrixFisher(5.0)),
        (groups.Orthogonal(3), adapt.MatrixFisher(5.0)),
    ],
    ids=str,
)
def test_descent_ends_at_the_identity_where_the_divergence_is_zero(group, loss, dtype):
    d = group.dim
    g = torch.Generator().manual_seed(0)
    turn = torch.eye(d)
    turn[:2, :2] = torch.tensor([[math.cos(1), -math.sin(1)], [math.sin(1), math.cos(1)]])
    start = turn + 0.2 * torch.randn(d, d, generator=g)
    frame = frames.Canonicalizer(Free(start.to(dtype)))
    model = symmetrize(lambda x: x, actions.Vectors(group) >> actions.Vectors(group), frame)
    optimizer = torch.optim.SGD(frame.parameters(), 0.05)
    first = None
    for _ in range(200):
        value = loss(adapt.Step(model, torch.randn(2, d, dtype=dtype, generator=g))).mean()
        first = value.detach() if first is None else first
        optimizer.zero_grad()
        value.backward()
        assert all(torch.isfinite(p.grad).all() for p in frame.parameters())
        optimizer.step()
    assert float(first) > 0.05
    assert abs(float(value)) < 1e-4


@pytest.mark.parametrize("kappa", [1e-6, 1e6])
def test_extreme_concentrations_stay_finite(kappa):
    for group, loss in ((groups.Orthogonal(2), adapt.VonMises(kappa)), (groups.Orthogonal(3), adapt.MatrixFisher(kappa))):
        element = group.haar(1, generator=torch.Generator().manual_seed(1), dtype=D)[0]
        assert torch.isfinite(value_at(loss, group, element))
        assert abs(float(value_at(loss, group, torch.eye(group.dim, dtype=D)))) < 1e-5 * max(1, kappa)


def test_translations_are_left_out():
    group = groups.SpecialEuclidean(3)
    frame = frames.Canonicalizer(lambda x, noise: torch.eye(3).expand(len(x), 3, 3))
    model = symmetrize(lambda x: x, actions.Points(group) >> actions.Points(group), frame)
    assert adapt.MatrixFisher(3.0)(adapt.Step(model, torch.randn(2, 5, 3) + 100)).abs().max() < 1e-5


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: adapt.VonMises(0.0), "positive concentration"),
        (lambda: adapt.VonMises(float("nan")), "positive concentration"),
        (lambda: adapt.VonMises(1.0, -2.0), "positive concentration"),
        (lambda: adapt.MatrixFisher(torch.eye(4)), r"shape \(2, 2\) or \(3, 3\)"),
        (lambda: check_rotations(groups.Cyclic(4), 2, "VonMises"), "adapt.IdentityPrior"),
        (lambda: check_rotations(groups.SpecialOrthogonal(3), 2, "VonMises"), "in 2 dimensions"),
    ],
)
def test_bad_input(build, message):
    with pytest.raises(CosetError, match=message):
        build()
