"""Haar samples have the moments of the Haar measure; a sampler without sign correction has not."""

import pytest
import torch

from coset import groups
from coset.tree import first
from tests.zoo.groups import CASES

COUNT = 20_000


def mean_is(values, expected, count=COUNT):
    """The mean of independent values is the expected one within five standard errors."""
    values = torch.view_as_real(values) if values.is_complex() else values[..., None]
    expected = torch.as_tensor(expected, dtype=torch.complex128)
    expected = torch.view_as_real(expected)[..., : values.shape[-1]]
    error = (values.mean(0) - expected).abs()
    bound = 5 * values.std(0) / count**0.5 + 1e-9
    assert bool((error <= bound).all()), f"means differ by {float((error - bound).max() + bound.max()):.3g}"


def second_moments(g, expected):
    """E[g] = 0, E[g_ij conj(g_kl)] = delta_ik delta_jl / d, and the moment of the trace."""
    d = g.shape[-1]
    mean_is(g, torch.zeros(d, d))
    unit = torch.eye(d)
    mean_is(torch.einsum("nij,nkl->nijkl", g, g.conj()), torch.einsum("ik,jl->ijkl", unit, unit) / d)
    trace = g.diagonal(dim1=-2, dim2=-1).sum(-1)
    mean_is(trace.abs() ** 2, expected)
    return trace


def draw(group, seed=0):
    return group.haar(COUNT, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("d", [1, 2, 3, 5])
def test_orthogonal_moments(d):
    g = draw(groups.Orthogonal(d))
    second_moments(g, 1)
    mean_is(torch.linalg.det(g), 0)


@pytest.mark.parametrize("d", [3, 4, 5])
def test_rotation_moments(d):
    g = draw(groups.SpecialOrthogonal(d))
    trace = second_moments(g, 1)
    if d == 3:
        mean_is(trace**3, 1)
        mean_is(trace**4, 3)
        mean_is(((trace - 1) / 2).clamp(-1, 1).acos(), torch.pi / 2 + 2 / torch.pi)


def test_plane_rotations_are_uniform():
    g = draw(groups.SpecialOrthogonal(2))
    angle = torch.atan2(g[:, 1, 0], g[:, 0, 0])
    for m in (1, 2, 3):
        mean_is(torch.exp(1j * m * angle), 0)


@pytest.mark.parametrize("d", [2, 3, 4])
def test_unitary_moments(d):
    g = draw(groups.Unitary(d))
    trace = second_moments(g, 1)
    mean_is(trace.abs() ** 4, 2)
    mean_is(torch.linalg.det(g), 0)
    mean_is(torch.linalg.det(g) ** 2, 0)


@pytest.mark.parametrize("d", [2, 3, 4])
def test_special_unitary_moments(d):
    trace = second_moments(draw(groups.SpecialUnitary(d)), 1)
    mean_is(trace**d, 1)
    mean_is(trace.abs() ** 4, 2)


@pytest.mark.parametrize("group", [g for g in CASES if g.finite and g.order <= 200], ids=str)
def test_finite_groups_are_sampled_uniformly(group):
    counts = torch.bincount(group.index(group.haar(COUNT, generator=torch.Generator().manual_seed(1))), minlength=group.order)
    p = 1 / group.order
    assert float((counts / COUNT - p).abs().max()) <= 5 * (p * (1 - p) / COUNT) ** 0.5 + 1e-12


def test_large_symmetric_groups_are_sampled_uniformly():
    p = draw(groups.Symmetric(40))
    hits = torch.nn.functional.one_hot(p, 40).double()
    mean_is(hits, torch.full((40, 40), 1 / 40))


@pytest.mark.parametrize("complex_", [False, True])
def test_qr_without_sign_correction_is_caught(complex_):
    z = torch.randn(COUNT, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.complex128 if complex_ else torch.float64)
    with pytest.raises(AssertionError, match="means differ"):
        second_moments(torch.linalg.qr(z)[0], 1)


def test_rotations_by_normal_angles_are_caught():
    algebra = groups.SpecialOrthogonal(3).combine(torch.randn(COUNT, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64))
    with pytest.raises(AssertionError, match="means differ"):
        second_moments(torch.matrix_exp(algebra), 1)


def test_flipping_a_column_only_where_it_helps_is_caught():
    g = draw(groups.Orthogonal(3)).abs()
    with pytest.raises(AssertionError, match="means differ"):
        second_moments(g, 1)


# -- declared distributions of the others ------------------------------------------------------------------------------


def sample(group):
    return group.sample(COUNT, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


@pytest.mark.parametrize("group", [groups.Lorentz(4), groups.Lorentz(2), groups.SpecialLorentz(3), groups.ProperLorentz(4)], ids=str)
def test_lorentz_samples(group):
    g = sample(group)
    time, determinant = g[:, 0, 0].sign(), torch.linalg.det(g).sign()
    mean_is(time, 1 if isinstance(group, groups.ProperLorentz) else 0)
    mean_is(determinant, 0 if isinstance(group, groups.Lorentz) else 1)
    mean_is(time * determinant, 1 if isinstance(group, groups.ProperLorentz) else 0)
    mean_is(torch.acosh(g[:, 0, 0].abs().clamp(min=1)) ** 2, 1)
    if group.dim > 2:
        mean_is(g[:, 0, 1:], torch.zeros(group.dim - 1))


@pytest.mark.parametrize("group", [groups.Euclidean(3), groups.SpecialEuclidean(2), groups.Affine(2)], ids=str)
def test_shifts_are_standard_normal(group):
    g = sample(group)
    mean_is(g.shift, torch.zeros(group.dim))
    mean_is(g.shift[:, :, None] * g.shift[:, None], torch.eye(group.dim))
    mean_is(g.matrix, torch.zeros(group.dim, group.dim))


@pytest.mark.parametrize("group", [groups.GeneralLinear(3), groups.SpecialLinear(3), groups.GeneralLinear(1)], ids=str)
def test_linear_samples_are_well_conditioned(group):
    g = sample(group)
    assert float(torch.linalg.cond(g).max()) <= torch.e**2 + 1e-9
    if isinstance(group, groups.GeneralLinear):
        mean_is(torch.linalg.det(g).sign(), 0)


def test_scalings_are_log_normal():
    logs = sample(groups.Scaling(2))[:, 0, 0].log()
    mean_is(logs, 0)
    mean_is(logs**2, 0.25)


@pytest.mark.parametrize("group", CASES, ids=str)
def test_generator_decides_whatever_the_device_argument(group):
    a = group.sample(4, generator=torch.Generator().manual_seed(3), device="cpu")
    b = group.sample(4, generator=torch.Generator().manual_seed(3))
    state = torch.get_rng_state()
    group.sample(4, generator=torch.Generator().manual_seed(3))
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(first(a), first(b))
