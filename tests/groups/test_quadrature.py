"""Quadrature averages tensor powers to the projector on their invariants, up to its degree and no further."""

import functools
import math

import pytest
import torch

from coset.errors import GroupError
from coset.groups import (
    Cyclic,
    Dihedral,
    Euclidean,
    GeneralLinear,
    Icosahedral,
    Orthogonal,
    SpecialOrthogonal,
    SpecialUnitary,
    Symmetric,
    Unitary,
    rule,
)
from coset.groups.spheres import sphere
from coset.tree import leaves

WHOLE = 10**6


@functools.cache
def projector(d, special, t):
    """The projector on the invariants of O(d) or SO(d) in the t-th tensor power: the null space of the algebra and a mirror."""
    unit = torch.eye(d, dtype=torch.float64)

    def kron(matrices):
        return functools.reduce(torch.kron, matrices, torch.eye(1, dtype=torch.float64))

    casimir = torch.zeros(d**t, d**t, dtype=torch.float64)
    for x in Orthogonal(d).algebra(dtype=torch.float64):
        moved = sum(kron([x if i == j else unit for j in range(t)]) for i in range(t))
        casimir += moved.T @ moved
    if not special:
        mirror = unit.clone()
        mirror[0, 0] = -1
        casimir += 2 * (torch.eye(d**t, dtype=torch.float64) - kron([mirror] * t))
    values, vectors = torch.linalg.eigh(casimir)
    fixed = vectors[:, values < 1e-8]
    return fixed @ fixed.T


def average(elements, weights, t):
    """The weighted mean of the t-th tensor powers."""
    total = 0
    for g, w in zip(elements.split(64), weights.split(64), strict=True):
        power = torch.ones(len(g), 1, 1, dtype=torch.float64)
        for _ in range(t):
            power = torch.einsum("bij,bkl->bikjl", power, g).reshape(len(g), power.shape[1] * g.shape[1], -1)
        total = total + torch.einsum("b,bij->ij", w, power)
    return total


def gap(nodes, special, t):
    d = nodes.elements.shape[-1]
    return float((average(nodes.elements, nodes.weights, t) - projector(d, special, t)).abs().max())


SIZES = {
    (SpecialOrthogonal, 2): [1, 2, 3, 4, 5, 6, 7],
    (Orthogonal, 2): [1, 2, 6, 8, 10, 12, 14],
    (SpecialOrthogonal, 3): [1, 4, 12, 24, 60, 60],
    (Orthogonal, 3): [1, 2, 12, 24, 120, 120],
    (SpecialOrthogonal, 4): [1, 2, 32, 32],
    (Orthogonal, 4): [1, 2, 32, 32],
    (SpecialOrthogonal, 5): [1, 4, 80, 80],
    (Orthogonal, 5): [1, 2, 40, 80],
}
GRID = [(cls(d), degree, count) for (cls, d), counts in SIZES.items() for degree, count in enumerate(counts)]


@pytest.mark.parametrize(("group", "degree", "count"), GRID, ids=str)
def test_rules_are_small_and_exact_to_their_degree(group, degree, count):
    nodes = rule(group, degree)
    special = isinstance(group, SpecialOrthogonal)
    assert len(nodes.weights) == count
    assert nodes.degree >= degree
    assert float(nodes.weights.min()) > 0
    assert float(nodes.weights.sum()) == pytest.approx(1, abs=1e-12)
    unit = torch.eye(group.dim, dtype=torch.float64)
    assert float((nodes.elements @ nodes.elements.mT - unit).abs().max()) < 1e-12
    if special:
        assert float((torch.linalg.det(nodes.elements) - 1).abs().max()) < 1e-12
    for t in range(1, degree + 1):
        assert gap(nodes, special, t) < 1e-12, t


FIRST_FAILURE = [
    (SpecialOrthogonal(2), 3, 4),
    (Orthogonal(2), 3, 4),
    (SpecialOrthogonal(3), 1, 2),
    (SpecialOrthogonal(3), 2, 3),
    (SpecialOrthogonal(3), 3, 4),
    (SpecialOrthogonal(3), 5, 6),
    (Orthogonal(3), 3, 4),
    (SpecialOrthogonal(4), 3, 4),
    (Orthogonal(5), 2, 3),
]


@pytest.mark.parametrize(("group", "degree", "fails"), FIRST_FAILURE, ids=str)
def test_the_check_fails_one_degree_further(group, degree, fails):
    assert gap(rule(group, degree), isinstance(group, SpecialOrthogonal), fails) > 1e-3


def polynomials(degree, d, count=6):
    """Random linear forms on matrices; their powers span the polynomials of each degree."""
    return torch.randn(count, d, d, generator=torch.Generator().manual_seed(degree), dtype=torch.float64) / d


def euler(degree):
    """An independent fine product rule on SO(3) in Euler angles z-y-z."""
    angles = torch.arange(degree + 1, dtype=torch.float64) * 2 * math.pi / (degree + 1)
    t, w = map(torch.tensor, __import__("numpy").polynomial.legendre.leggauss(degree + 1))
    a, b, c = torch.meshgrid(angles, t.acos(), angles, indexing="ij")

    def turn(x, i, j):
        g = torch.eye(3, dtype=torch.float64).expand(*x.shape, 3, 3).clone()
        g[..., i, i], g[..., i, j], g[..., j, i], g[..., j, j] = x.cos(), -x.sin(), x.sin(), x.cos()
        return g

    g = turn(a, 0, 1) @ turn(b, 2, 0) @ turn(c, 0, 1)
    return g.reshape(-1, 3, 3), (w[None, :, None] / (2 * (degree + 1) ** 2)).expand(a.shape).reshape(-1)


@pytest.mark.parametrize("degree", [5, 6, 7, 8, 9, 10, 11, 12, 13, 15])
def test_high_degrees_agree_with_euler_angles(degree):
    nodes, (fine, fine_weights) = rule(SpecialOrthogonal(3), degree), euler(18)
    for form in polynomials(degree, 3):
        for t in range(degree + 1):
            expected = fine_weights @ (fine * form).sum((-2, -1)) ** t
            assert float(nodes.weights @ (nodes.elements * form).sum((-2, -1)) ** t) == pytest.approx(float(expected), abs=1e-11)


@pytest.mark.parametrize(("d", "degree"), [(4, 5), (4, 7), (4, 11), (5, 4), (3, 12)])
def test_moments_of_one_entry(d, degree):
    """E[(u . g v)^t] for unit vectors is a moment of one coordinate on the sphere, on SO(d) and O(d)."""
    u, v = torch.nn.functional.normalize(torch.randn(2, d, generator=torch.Generator().manual_seed(d), dtype=torch.float64), dim=-1)
    for cls in (SpecialOrthogonal, Orthogonal):
        nodes = rule(cls(d), degree)
        entry = nodes.elements @ v @ u
        for t in range(degree + 1):
            moment = math.prod((2 * i - 1) / (d + 2 * i - 2) for i in range(1, t // 2 + 1)) if t % 2 == 0 else 0.0
            assert float(nodes.weights @ entry**t) == pytest.approx(moment, abs=1e-12)


@pytest.mark.parametrize(
    ("d", "degree"), [(3, 5), (3, 7), (3, 9), (3, 11), (3, 12), (4, 5), (4, 7), (4, 11), (4, 13), (5, 6), (6, 3), (2, 9)]
)
def test_spheres(d, degree):
    points, weights = sphere(d, degree)
    assert float((points.norm(dim=-1) - 1).abs().max()) < 1e-12
    for u in torch.nn.functional.normalize(torch.randn(5, d, generator=torch.Generator().manual_seed(1), dtype=torch.float64), dim=-1):
        for t in range(degree + 1):
            moment = math.prod((2 * i - 1) / (d + 2 * i - 2) for i in range(1, t // 2 + 1)) if t % 2 == 0 else 0.0
            assert float(weights @ (points @ u) ** t) == pytest.approx(moment, abs=1e-12)


@pytest.mark.parametrize(
    ("group", "degree", "lower"), [(SpecialOrthogonal(3), 5, 2), (SpecialOrthogonal(3), 3, 2), (SpecialOrthogonal(3), 2, 1)], ids=str
)
def test_nested_rules_have_a_lower_degree(group, degree, lower):
    nodes = rule(group, degree)
    for label in nodes.nested.unique():
        chosen = nodes.nested == label
        part = nodes._replace(elements=nodes.elements[chosen], weights=nodes.weights[chosen] / nodes.weights[chosen].sum())
        for t in range(1, lower + 1):
            assert gap(part, True, t) < 1e-12
        assert gap(part, True, lower + 1) > 1e-3


@pytest.mark.parametrize("group", [Cyclic(6), Dihedral(5), Icosahedral(full=True), Symmetric(4), Cyclic(3) * Symmetric(3)], ids=str)
def test_finite_groups_are_listed_whole(group):
    nodes = rule(group, 3)
    assert len(nodes.weights) == group.order
    assert nodes.degree == WHOLE
    assert float((nodes.weights - 1 / group.order).abs().max()) < 1e-12
    assert len(set(group.index(nodes.elements).tolist())) == group.order


def test_products_multiply():
    nodes = rule(Cyclic(4) * SpecialOrthogonal(3), 2)
    assert nodes.degree == 2
    assert [len(leaf) for leaf in leaves(nodes.elements)] == [48, 48]
    assert len(nodes.nested.unique()) == 6


def test_rules_are_copies():
    rule(SpecialOrthogonal(3), 5).elements.zero_()
    assert float(rule(SpecialOrthogonal(3), 5).elements.abs().max()) == 1


@pytest.mark.parametrize("group", [Euclidean(3), GeneralLinear(2)], ids=str)
def test_other_groups_are_refused(group):
    with pytest.raises(GroupError, match=r"quadrature on .* Expected: O\(d\)"):
        rule(group, 2)


@pytest.mark.parametrize("degree", [-1, 1.5, "2", True])
def test_wrong_degrees_are_refused(degree):
    with pytest.raises(GroupError, match=f"degree={degree!r}"):
        rule(SpecialOrthogonal(3), degree)


# -- complex rotations ---------------------------------------------------------------------------------------------


def products(g, t, s):
    """Tensor products of t copies of matrices and s copies of their conjugates, (k, D, D)."""
    power = torch.ones(len(g), 1, 1, dtype=g.dtype)
    for factor in [g] * t + [g.conj()] * s:
        power = torch.einsum("bij,bkl->bikjl", power, factor).reshape(len(g), power.shape[1] * g.shape[1], -1)
    return power


def complex_gap(nodes, group, t, s):
    """How far the average is from the projector on invariants: it absorbs group elements, and its trace counts what they leave alone."""
    mean = torch.einsum("b,bij->ij", nodes.weights.to(nodes.elements.dtype), products(nodes.elements, t, s))
    moved = products(group.haar(3, generator=torch.Generator().manual_seed(t), dtype=torch.float64), t, s)
    basis = torch.linalg.matrix_rank(group_average(group, t, s), tol=1e-8)
    return max(float((moved @ mean - mean).abs().max()), abs(float(mean.diagonal().sum().real) - float(basis)))


def group_average(group, t, s):
    """The projector on invariants, as the null space of the Lie algebra (U(d) and SU(d) are connected)."""
    unit = torch.eye(group.dim, dtype=torch.complex128)
    casimir = torch.zeros(group.dim ** (t + s), group.dim ** (t + s), dtype=torch.complex128)
    for x in group.algebra(dtype=torch.float64):
        legs = [x] * t + [x.conj()] * s
        moved = sum(functools.reduce(torch.kron, [leg if i == j else unit for j in range(t + s)]) for i, leg in enumerate(legs))
        casimir += moved.mH @ moved
    values, vectors = torch.linalg.eigh(casimir)
    fixed = vectors[:, values < 1e-8]
    return fixed @ fixed.mH


COMPLEX = [(cls(d), degree) for cls in (Unitary, SpecialUnitary) for d, most in ((1, 3), (2, 4), (3, 3)) for degree in range(1, most + 1)]


@pytest.mark.parametrize(("group", "degree"), COMPLEX, ids=str)
def test_complex_rules_are_exact_to_their_degree(group, degree):
    nodes = rule(group, degree)
    assert nodes.degree >= degree
    assert float(nodes.weights.sum()) == pytest.approx(1, abs=1e-12)
    unit = torch.eye(group.dim, dtype=torch.complex128)
    assert float((nodes.elements @ nodes.elements.mH - unit).abs().max()) < 1e-12
    if isinstance(group, SpecialUnitary):
        assert float((torch.linalg.det(nodes.elements) - 1).abs().max()) < 1e-12
    for t in range(degree + 1):
        for s in range(degree + 1 - t):
            if t + s:
                assert complex_gap(nodes, group, t, s) < 1e-10, (t, s)


@pytest.mark.parametrize(
    ("group", "degree", "fails"),
    [(Unitary(1), 2, (3, 0)), (Unitary(2), 1, (1, 1)), (SpecialUnitary(2), 3, (2, 2)), (SpecialUnitary(3), 1, (1, 1))],
    ids=str,
)
def test_the_complex_check_fails_one_degree_further(group, degree, fails):
    assert complex_gap(rule(group, degree), group, *fails) > 1e-3


@pytest.mark.parametrize("group", [Unitary(2), SpecialUnitary(3)], ids=str)
def test_sub_rules_of_complex_rules_are_rules(group):
    nodes = rule(group, 3)
    for label in range(int(nodes.nested.max()) + 1):
        part = nodes.nested == label
        mean = torch.einsum("b,bij->ij", (nodes.weights * part / nodes.weights[part].sum()).to(torch.complex128), nodes.elements)
        assert float(mean.abs().max()) < 1e-12
