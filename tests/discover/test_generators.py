"""Generators from derivatives: known algebras, noise, held-out claims, deficient data, no symmetry, and what becomes a group."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch

import coset
from coset import discover, groups
from coset.discover.generators_search import lowest
from coset.errors import GroupError, InputError

ETA = torch.tensor([1.0, -1.0, -1.0, -1.0], dtype=torch.float64)
GENERIC = "no symmetry found"


def draw(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def radial(x):
    return torch.sin(x.square().sum(-1))


def interval(x):
    return torch.tanh((x.square() * ETA.to(x)).sum(-1))


def pairs(x):
    return torch.exp(-(x[:, :, None] - x[:, None]).square().sum(-1)).sum((1, 2))


def plain(x):
    return x[:, 0] * x[:, 1] ** 2 + x[:, 2].sin() * x[:, 0] + x[:, 1]


@pytest.mark.parametrize("seed", range(5))
def test_noisy_rotations_in_four_dimensions(seed):
    """300 samples, gradients with 10 % of noise: cosines with so(4) above 0.995."""
    x = draw(300, 4, seed=seed)
    gradient = 2 * x * (1 + 0.3 * torch.sin(x.square().sum(-1, keepdim=True)))
    noisy = gradient + 0.1 * gradient.square().mean().sqrt() * draw(300, 4, seed=seed + 100)
    found = discover.generators(noisy, x, noise=0.1)
    assert found.verdict == "symmetric within the stated noise"
    assert found.type.name == "so(4)"
    assert float(found.compare(groups.SpecialOrthogonal(4)).min()) > 0.995
    assert repr(found.signature) == "Vectors(SpecialOrthogonal(4)) >> Trivial(SpecialOrthogonal(4))"


def test_noise_that_is_not_stated_is_not_claimed_but_pointed_out():
    x = draw(300, 4)
    found = discover.generators(2 * x + 0.3 * draw(300, 4, seed=1), x)
    assert (found.verdict, found.dimension) == (GENERIC, 0)
    assert "6 directions stand apart" in found.reasons[1]
    few = discover.generators(2 * x + 0.1 * draw(300, 4, seed=1), x)
    assert (few.verdict, few.dimension) == ("approximately symmetric", 6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_space_time(dtype):
    found = discover.generators(interval, draw(400, 4).to(dtype))
    assert (found.type.name, found.type.killing, found.verdict) == ("so(1,3)", (3, 3, 0), "symmetric to rounding")
    cosines = found.compare(groups.Lorentz(4))
    assert float((1 - cosines).max()) < (1e-14 if dtype == torch.float64 else 1e-9)
    assert found.group == groups.ProperLorentz(4)
    assert float(found.compare(groups.SpecialOrthogonal(4)).min()) < 0.1


def test_polynomial_fields():
    found = discover.generators(lambda x: torch.sin(x[:, 0] ** 2 + x[:, 1] ** 4), draw(400, 2), basis=discover.Polynomials(3))
    assert found.dimension == 1
    field = found.generators[0]  # features: 1, x, y, x², xy, y², x³, x²y, xy², y³
    expected = torch.zeros(2, 10, dtype=torch.float64)
    expected[0, 9], expected[1, 1] = 4.0, -2.0
    assert float((field * expected).sum().abs() / expected.norm()) == pytest.approx(1, abs=1e-12)
    assert found.formulas() == ["y³ ∂x - 0.5 x ∂y"]
    with pytest.raises(GroupError, match="no affine maps"):
        _ = found.group
    linear = discover.generators(lambda x: torch.sin(x[:, 0] ** 2 + x[:, 1] ** 4), draw(400, 2))
    assert linear.verdict == GENERIC


def test_equivariance_with_unknown_fields_on_both_sides():
    """|x|² x: rotations of both sides, and x -> s x with y -> s³ y."""
    found = discover.generators(lambda x: x.square().sum(-1, keepdim=True) * x, draw(300, 3), output=discover.Linear())
    assert (found.dimension, found.type.killing) == (4, (0, 3, 1))
    unit = torch.eye(3, dtype=torch.float64).flatten() / 3**0.5
    c = found.generators.flatten(1) @ unit
    assert float(c.norm()) == pytest.approx(1, abs=1e-10)
    assert torch.allclose(torch.einsum("k,kij->ij", c, found.outputs) * 3**0.5, 3 * torch.eye(3, dtype=torch.float64), atol=1e-10)
    report = coset.audit(lambda x: x.square().sum(-1, keepdim=True) * x, found.signature, draw(8, 3), continuity=False)
    assert report.failures == []
    assert report.error < 1e-10
    jacobian = torch.einsum("ni,nj->nij", 2 * draw(300, 3), draw(300, 3)) + draw(300, 3).square().sum(-1)[:, None, None] * torch.eye(3)
    values = draw(300, 3).square().sum(-1, keepdim=True) * draw(300, 3)
    given = discover.generators(jacobian.mT, draw(300, 3), output=discover.Linear(), values=values)
    assert given.dimension == 4
    with pytest.raises(InputError, match="values="):
        discover.generators(jacobian, draw(300, 3), output=discover.Linear())


def test_one_affine_field_for_all_points():
    found = discover.generators(pairs, draw(300, 5, 3), basis=discover.Shared(discover.Affine(), copies=5))
    assert (found.dimension, found.type.name, found.type.shifts) == (6, "se(3)", 3)
    assert float((1 - found.compare(groups.SpecialEuclidean(3))).max()) < 1e-12
    assert repr(found.signature) == "Points(SpecialEuclidean(3)) >> Trivial(SpecialEuclidean(3))"
    away = discover.generators(pairs, draw(300, 5, 3) + 50, basis=discover.Shared(discover.Affine(), copies=5))
    assert (away.dimension, away.type.name) == (6, "se(3)")


def test_a_weak_field_breaks_a_part():
    """Three exact generators, shifts across and turns about the axis, and three that hold to some percent."""

    def f(x):
        return pairs(x) + 0.3 * x[:, :, 2].mean(1).sin()

    rough, fine = (discover.generators(f, draw(300, 5, 3), basis=discover.Shared(discover.Affine(), 5), at_most=m) for m in (0.1, 1e-3))
    assert (rough.dimension, rough.verdict) == (6, "approximately symmetric")
    assert "3 of them are exact" in rough.reasons[1]
    assert (fine.dimension, fine.verdict, fine.type.shifts) == (3, "symmetric to rounding", 2)
    assert fine.type.name.startswith("unnamed")
    with pytest.raises(GroupError, match="affine algebra"):
        _ = fine.signature


def test_rotations_about_a_point():
    center = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    found = discover.generators(lambda x: radial(x - center), draw(300, 3), basis=discover.Affine())
    assert found.type.name == "so(3)"
    assert torch.allclose(found.type.center, center, atol=1e-10)
    report = coset.audit(lambda x: radial(x - center)[:, None], found.signature, draw(20, 3), continuity=False)
    assert report.error < 1e-10


def test_rotations_in_axes_of_their_own():
    form = torch.tensor([[2.0, 0.3, 0.0], [0.3, 1.0, 0.0], [0.0, 0.0, 0.5]], dtype=torch.float64)

    def f(x):
        return torch.einsum("ni,ij,nj->n", x, form, x).log1p()[:, None]

    found = discover.generators(f, draw(300, 3))
    assert found.type.name == "so(3)"
    assert torch.allclose(found.type.form / found.type.form[1, 1], form, atol=1e-10)
    assert coset.audit(f, found.signature, draw(20, 3), continuity=False).error < 1e-12
    imposed = coset.symmetrize(lambda x: x[:, :1] * x[:, 1:2] + plain(x)[:, None], found.signature, coset.frames.Quadrature(4))
    assert coset.audit(imposed, found.signature, draw(20, 3), samples=4, continuity=False).error < 0.2


def test_a_screw_becomes_a_group_of_exponentials():
    def f(x):
        turn = x[:, 2]
        c, s = turn.cos(), turn.sin()
        return torch.stack([c * x[:, 0] + s * x[:, 1], c * x[:, 1] - s * x[:, 0]], -1).pow(3).sum(-1)

    basis = torch.tensor([[[0.0, -1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1]], [[0, -1.0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]])
    found = discover.generators(f, draw(300, 3), basis=basis)
    assert (found.dimension, found.type.name) == (1, "abelian of dimension 1")
    with pytest.raises(GroupError, match="affine algebra"):
        _ = found.group
    spiral = discover.generators(lambda x: (x[:, 0] ** 2 / x[:, 1]).atan(), draw(300, 2).abs() + 0.5)
    assert spiral.dimension == 1  # (x, y) -> (e^t x, e^2t y)
    assert repr(spiral.group) == "Exponential(1 generators of size 2)"
    assert (
        coset.audit(lambda x: (x[:, :1] ** 2 / x[:, 1:]).atan(), spiral.signature, draw(9, 2).abs() + 0.5, continuity=False).error < 1e-10
    )


@pytest.mark.parametrize("basis", [discover.Linear(), discover.Affine()])
def test_no_symmetry(basis):
    found = discover.generators(plain, draw(600, 3), basis=basis)
    assert (found.verdict, found.dimension) == (GENERIC, 0)
    with pytest.raises(GroupError, match=GENERIC):
        _ = found.signature
    with pytest.raises(GroupError, match="retest"):
        found.retest(plain, draw(10, 3))


def test_random_networks_have_no_symmetry():
    """Forty of them, in two families: no claim."""
    for seed in range(40):
        weights = [draw(3, 24, seed=seed), draw(24, seed=seed + 1), draw(24, 24, seed=seed + 2) / 24**0.5, draw(24, seed=seed + 3)]

        def net(x, w=weights):
            return torch.tanh(torch.tanh(x @ w[0] + w[1]) @ w[2]) @ w[3]

        for basis in (discover.Linear(), discover.Affine()):
            assert discover.generators(net, draw(300, 3, seed=seed + 4), basis=basis).verdict == GENERIC


def test_data_that_spans_too_little():
    """On a plane, one rotation is confirmed; what leaves the plane, or does not move it, is listed and not claimed."""
    x = draw(400, 3)
    x[:, 2] = 0
    found = discover.generators(radial, x)
    assert found.dimension == 1
    turn = found.generators[0] / found.generators[0].abs().max()
    assert torch.allclose(turn.abs(), torch.tensor([[0.0, 1, 0], [1, 0, 0], [0, 0, 0]], dtype=torch.float64), atol=1e-10)
    assert (len(found.leaving), len(found.spurious)) == (2, 3)
    assert float((found.spurious @ x.mT).abs().max()) < 1e-12
    assert float((found.leaving @ x.mT)[:, :2].abs().max()) < 1e-10
    assert any("off its span" in reason for reason in found.reasons)
    known = discover.generators(radial, x, beyond=True)
    assert known.dimension == 3


def test_fewer_samples_than_dimensions():
    """Sixty samples span little of 120 dimensions; a fixed centre is noticed all the same."""
    x = 0.3 * draw(60, 40, 3)
    family = discover.Shared(discover.Affine(), 40)
    free, fixed = discover.generators(pairs, x, basis=family), discover.generators(pairs, x - x.mean(1, keepdim=True), basis=family)
    assert (free.dimension, len(free.leaving), free.type.name) == (6, 0, "se(3)")
    assert (fixed.dimension, len(fixed.leaving), fixed.type.name) == (3, 3, "so(3)")


def test_all_null_fields_leave_the_span():
    x = draw(100, 3)
    x[:, 2] = 1.0
    found = discover.generators(lambda x: plain(x) - x[:, 2].sin() * x[:, 0], x, basis=discover.Affine())
    assert (found.verdict, found.dimension) == ("cannot tell", 0)
    assert len(found.leaving) > 0


def test_part_of_a_larger_algebra():
    """Two rotations whose bracket is not in the family are symmetries all the same; noisy ones would not be believed."""
    basis = groups.SpecialOrthogonal(3).algebra(dtype=torch.float64)[:2]
    found = discover.generators(radial, draw(300, 3), basis=torch.cat([basis, draw(2, 3, 3)]))
    assert (found.dimension, found.verdict) == (2, "symmetric to rounding")
    assert "larger algebra" in found.reasons[0]
    x = draw(300, 3)
    noisy = discover.generators(2 * x + 0.1 * draw(300, 3, seed=1), x, basis=torch.cat([basis, draw(2, 3, 3)]))
    assert (noisy.dimension, noisy.verdict) == (0, "cannot tell")


@pytest.mark.parametrize(
    ("f", "x", "words"),
    [
        (radial, draw(10, 4), "24 are needed"),
        (lambda x: 0 * x.sum(-1), draw(50, 3), "gradients vanish"),
        (radial, torch.ones(50, 3), "all samples are equal"),
        (radial, draw(3, 3), "3 samples"),
        (draw(300, 1), draw(300, 1), None),
    ],
)
def test_too_little_to_tell(f, x, words):
    found = discover.generators(f, x)
    assert found.dimension == 0
    if words:
        assert found.verdict == "cannot tell"
        assert words in found.reasons[0]


def test_a_function_that_ignores_the_family():
    found = discover.generators(lambda x: x[:, 0].sin(), draw(300, 3), basis=torch.eye(3)[None] * torch.tensor([[0.0], [1], [1]]))
    assert found.verdict == "cannot tell"
    assert "no field of the family" in found.reasons[0]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: discover.generators(radial, torch.full((9, 3), torch.nan)), "NaN or infinite entries in rows"),
        (lambda: discover.generators(draw(9, 2), draw(9, 3)), "one gradient for every sample"),
        (lambda: discover.generators(lambda x: x.detach().sum(-1), draw(9, 3)), "no gradient"),
        (lambda: discover.generators(lambda x: x.sum(), draw(9, 3)), "one row for every sample"),
        (lambda: discover.generators(radial, torch.zeros(0, 3)), "give every sample a row"),
        (lambda: discover.generators(radial, draw(9, 3), at_most=2.0), "shares between 0 and 1"),
        (lambda: discover.generators(radial, draw(9, 3), basis=discover.Linear), r"write Linear\(\)"),
        (lambda: discover.generators(radial, draw(9, 3), basis=torch.zeros(2, 3, 3)), "linearly independent"),
        (lambda: discover.generators(radial, draw(9, 3), basis=torch.eye(4)[None]), "inputs of 3 numbers"),
        (lambda: discover.generators(radial, draw(9, 4), basis=discover.Shared(discover.Affine(), 3)), "a multiple of 3 copies"),
        (lambda: discover.Polynomials(-1), "at least 0"),
        (lambda: discover.Shared(discover.Affine(), 0), "positive whole number"),
        (lambda: discover.Shared(discover.Shared(discover.Affine(), 2), 2), "the family of one part"),
        (lambda: discover.Matrices(torch.zeros(3, 3)), r"\(b, p, p\)"),
    ],
)
def test_refused(call, words):
    with pytest.raises(InputError, match=words):
        call()


def test_retest_on_new_samples():
    found = discover.generators(radial, draw(300, 3))
    assert found.retest(radial, draw(100, 3, seed=9)).passed
    broken = found.retest(lambda x: radial(x) + 0.1 * x[:, 0], draw(100, 3, seed=9))
    assert not broken.passed
    assert float(broken.values.max()) > 0.01


def test_arrays_and_copies():
    x = np.random.default_rng(0).normal(size=(300, 3))
    found = discover.generators(2 * x, x)
    assert found.type.name == "so(3)"
    for other in (pickle.loads(pickle.dumps(found)), copy.deepcopy(found)):
        assert torch.equal(other.generators, found.generators)
        assert other.signature.group == groups.SpecialOrthogonal(3)
    assert "so(3)" in repr(found)


def test_inverse_iteration_gives_the_lowest_eigenvectors(monkeypatch):
    q = torch.linalg.qr(draw(60, 60))[0]
    values = torch.cat([torch.linspace(0, 1e-8, 20), torch.linspace(1, 2, 40)]).double()
    gram = (q * values) @ q.mT
    expected = lowest(gram, 0.1)
    monkeypatch.setattr("coset.discover.generators_search.WIDE", 10)
    found = lowest(gram, 0.1)
    assert found[1].shape == (20, 60)
    assert torch.allclose(found[0], expected[0], atol=1e-12)
    assert float((found[1] @ expected[1][:20].mT).svd().S.min()) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("unit", [30.0, 300.0])
@pytest.mark.parametrize("output", [None, discover.Linear()])
def test_units_of_coordinates_are_no_evidence(unit, output):
    """A coordinate in small units has small gradients; fields that move it alone are no symmetries of a function without any."""
    scale = torch.tensor([1.0, unit, 1.0], dtype=torch.float64)
    for dtype in (torch.float32, torch.float64):
        found = discover.generators(lambda x: plain(x / scale.to(x)), (draw(400, 3) * scale).to(dtype), output=output)
        assert (found.dimension, found.verdict) == (0, "cannot tell")
        assert "units decide" in found.reasons[0]
    stretched = discover.generators(lambda x: radial(x / scale), draw(400, 3) * scale, output=output)
    assert stretched.dimension >= 3 or stretched.verdict == "cannot tell"


def test_units_of_outputs_are_no_evidence():
    """Rotations keep the large output alone."""
    found = discover.generators(lambda x: torch.stack([100 * radial(x), plain(x)], -1), draw(400, 3))
    assert (found.dimension, found.verdict) == (0, "cannot tell")
    assert discover.generators(lambda x: torch.stack([100 * radial(x), radial(2 * x)], -1), draw(400, 3)).type.name == "so(3)"


def test_samples_that_see_each_other_are_refused():
    torch.manual_seed(0)
    layers = torch.nn.Linear(3, 8), torch.nn.Dropout(0.5), torch.nn.Linear(8, 1)
    for f in (lambda x: (x - x.mean(0)).square().sum(-1), torch.nn.Sequential(*layers).double()):
        with pytest.raises(InputError, match="do not see each other"):
            discover.generators(f, draw(300, 3))
    assert discover.generators(torch.nn.Sequential(*layers).double().eval(), draw(300, 3)).samples == 300


def test_the_precision_of_the_function_counts():
    inner = discover.generators(lambda x: radial(x.float()), draw(300, 3))
    assert inner.verdict == "symmetric to rounding"
    half = discover.generators(lambda x: radial(x) + 0.2 * x[:, 0] * x.square().sum(-1).cos(), draw(300, 3).half())
    assert half.verdict != "symmetric to rounding"


def test_numbers_that_cannot_be_squared_and_complex_values():
    for f, x in ((lambda x: 1e-200 * radial(x), draw(300, 3)), (lambda x: radial(1e-200 * x), 1e200 * draw(300, 3))):
        assert discover.generators(f, x).verdict == "cannot tell"
    with pytest.raises(InputError, match="complex values"):
        discover.generators(lambda x: torch.exp(1j * radial(x)), draw(300, 3))


def test_retests_that_can_tell_nothing_are_refused():
    found = discover.generators(radial, draw(300, 3))
    for f, x, words in (
        (radial, draw(1, 3), "1 samples"),
        (lambda x: 0 * radial(x), draw(9, 3), "vanish"),
        (radial, draw(9, 4), "as before"),
    ):
        with pytest.raises(InputError, match=words):
            found.retest(f, x)
    with pytest.raises(GroupError, match="comparison"):
        discover.generators(plain, draw(300, 3)).compare(groups.SpecialOrthogonal(3))


def test_two_negative_axes_become_exponentials():
    form = torch.tensor([1.0, 1.0, -1.0, -1.0], dtype=torch.float64)

    def f(x):
        return torch.tanh((x.square() * form.to(x)).sum(-1, keepdim=True))

    found = discover.generators(f, draw(400, 4))
    assert (found.type.name, found.type.killing) == ("so(2,2)", (4, 2, 0))
    assert repr(found.group) == "Exponential(6 generators of size 4)"
    assert coset.audit(f, found.signature, draw(16, 4), continuity=False).error < 1e-10
