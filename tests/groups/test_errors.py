"""Wrong sizes, tables and generators, and verbs that a group does not have: the message repeats what was given."""

import pytest
import torch

from coset import groups as G
from coset.errors import GroupError
from coset.tree import leaves
from tests.zoo.groups import QUATERNIONS

SIZED = [
    G.Cyclic,
    G.Dihedral,
    G.Symmetric,
    G.SignFlips,
    G.Hyperoctahedral,
    G.Orthogonal,
    G.SpecialOrthogonal,
    G.Reflection,
    G.Translation,
    G.Euclidean,
    G.SpecialEuclidean,
    G.Lorentz,
    G.Torus,
    G.Unitary,
    G.SpecialUnitary,
    G.GeneralLinear,
    G.SpecialLinear,
    G.Affine,
    G.Scaling,
]


@pytest.mark.parametrize("value", [0, -2, 2.5, "3", True])
@pytest.mark.parametrize("cls", SIZED, ids=lambda c: c.__name__)
def test_wrong_sizes(cls, value):
    with pytest.raises(GroupError, match=rf"Given: {cls.__name__}\({value!r}\).*Expected: an integer of at least \d.*To do"):
        cls(value)


BROKEN = [row[:] for row in QUATERNIONS]
BROKEN[2][4], BROKEN[2][5] = BROKEN[2][5], BROKEN[2][4]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ([[0, 1], [1, 2]], r"table\[1\]\[1\] = 2.*closed"),
        ([[1, 1], [1, 1]], r"order 2 without identity"),
        ([[0, 1], [1, 1]], r"element 1 has no inverse"),
        (BROKEN, r"\(g h\) k = \d but g \(h k\) = \d for"),
        ([[0, 1]], r"shape \(1, 2\).*square"),
        ([[0.0]], r"float64.*square|float32.*square"),
        ([], r"square"),
        ("abc", r"a table 'abc'"),
    ],
)
def test_wrong_tables(table, message):
    with pytest.raises(GroupError, match=message):
        G.Table(table)


@pytest.mark.parametrize(
    ("generators", "message"),
    [
        ([[1, 1]], r"generator 0: \[1, 1\].*each of 0 .. 1 once"),
        ([[[2.0, 0.0], [0.0, 1.0]]], r"determinant 2.*determinant ±1"),
        ([[[1.0, 1.0], [0.0, 1.0]]], r"more than 50 elements.*raise limit="),
        ([[1, 2, 3, 4, 0], [1, 0, 2, 3, 4]], r"more than 50 elements"),
        ([1, 2], r"shape \(2,\)"),
        ([[[float("nan")]]], r"determinant nan"),
        ("x", r"generators 'x'"),
    ],
)
def test_wrong_generators(generators, message):
    with pytest.raises(GroupError, match=message):
        G.Generated(generators, limit=50)


def test_generators_in_low_precision_make_a_group_in_full_precision():
    basis = torch.eye(3) + 0.3 * torch.randn(3, 3, generator=torch.Generator().manual_seed(0))
    turns = G.Icosahedral().elements(dtype=torch.float32)[[23, 41]]
    for generators in (turns, basis @ turns @ basis.inverse()):
        group = G.Generated(generators)
        assert group.order == 60
        e = group.elements(dtype=torch.float64)
        products = e[:, None] @ e
        assert float((products - e[group.index(products)]).abs().max()) < 1e-12


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: G.Symmetric().identity(), r"identity of Symmetric\(\).*use Symmetric\(n\), or \.at\(n\)"),
        (lambda: G.Symmetric().sample(2), r"sample of Symmetric\(\).*use Symmetric\(n\)"),
        (lambda: G.Symmetric().elements(), r"elements of Symmetric\(\)"),
        (lambda: G.Symmetric().order, r"order of Symmetric\(\)"),
        (lambda: G.Symmetric(4).at(5), r"5 points for Symmetric\(4\)"),
        (lambda: G.Symmetric(12).elements(), r"479001600 elements of Symmetric\(12\).*haar"),
        (lambda: G.Symmetric(30).index(torch.arange(30)), r"index of an element of Symmetric\(30\)"),
        (lambda: (G.Cyclic(3) * G.Euclidean(3)).haar(), r"Haar sampling of Product.*Euclidean\(3\) is not compact.*use sample"),
        (lambda: (G.Cyclic(3) * G.Orthogonal(3)).elements(), r"Orthogonal\(3\) is not finite"),
        (lambda: (G.Cyclic(3) * G.Orthogonal(3)).order, r"the order of Product"),
        (lambda: (G.Cyclic(3) * G.Orthogonal(3)).matrix((torch.tensor(0), torch.eye(3))), r"the matrix of Product.*each have one"),
        (lambda: (G.Symmetric(3) * G.Symmetric(2)).permutation((torch.arange(3), torch.arange(2))), r"the permutation of Product"),
        (lambda: G.Torus(3).matrix(torch.tensor([1])), r"the group Torus\(3\).*a group of matrices"),
        (lambda: G.Cyclic(3).algebra(), r"Cyclic\(3\), which is discrete"),
        (lambda: G.Octahedral().exp(torch.eye(3)), r"Octahedral\(\), which is discrete"),
        (lambda: (G.Cyclic(3) * G.Cyclic(2)).algebra(), r"which is discrete"),
        (lambda: G.Orthogonal(2) * 3, r"one or more groups"),
        (lambda: G.Product(), r"one or more groups"),
        (lambda: G.Torus(), r"Torus\(\).*length of each grid axis"),
        (lambda: G.Lorentz(1), r"Lorentz\(1\).*at least 2"),
        (lambda: G.Orthogonal(2).identity(dtype=torch.int64), r"dtype=torch.int64"),
    ],
)
def test_verbs_that_a_group_does_not_have(call, message):
    with pytest.raises(GroupError, match=message):
        call()


def test_haar_does_not_exist_on_non_compact_groups():
    for group in (G.Euclidean(3), G.Translation(1), G.Lorentz(4), G.GeneralLinear(2), G.Scaling(1), G.Affine(2)):
        assert not group.compact
        assert not hasattr(group, "haar")


def test_free_symmetric_groups_are_fixed_by_at():
    free = G.Symmetric() * G.Euclidean(3)
    fixed = free.at(5)
    assert fixed == G.Symmetric(5) * G.Euclidean(3)
    assert fixed.at(5) == fixed
    assert (free.dim, free.permutes, free.translates, free.orthogonal, free.compact) == (3, True, True, True, False)
    assert list(free.components()) == ["permutation", "rotation", "reflection", "translation"]
    p = torch.stack([torch.randperm(5) for _ in range(4)])
    for group in (free.factors[0], G.Symmetric(5)):
        assert torch.equal(group.compose(p, group.inverse(p)), torch.arange(5).expand(4, 5))
        assert group.batch(p) == (4,)
    placed = free.components()["permutation"](p, dtype=torch.float64)
    assert torch.equal(free.permutation(placed), p)
    assert free.matrix(placed).dtype == torch.float64
    assert free.batch(placed) == (4,)
    with pytest.raises(GroupError, match=r"identity of Symmetric\(\)"):
        free.components()["rotation"](torch.eye(3))


def test_names_that_clash_say_their_factor():
    assert list((G.Cyclic(2) * G.SpecialOrthogonal(3)).components()) == ["factor 0 rotation", "factor 1 rotation"]


def test_algebra_of_products_is_padded_and_empty_where_discrete():
    group = G.Cyclic(3) * G.SpecialOrthogonal(3) * G.Euclidean(2)
    discrete, turn, motion = group.algebra(dtype=torch.float64)
    assert discrete == ()
    assert turn.shape == (6, 3, 3)
    assert motion.shift.shape == (6, 2)
    assert not turn[3:].any()
    assert not motion.matrix[:3].any()
    moved = group.exp(group.combine(torch.ones(2, 6, dtype=torch.float64)))
    assert [leaf.shape[0] for leaf in leaves(moved)] == [2, 2, 2, 2]


def test_a_product_of_one_is_itself_flat():
    assert G.Product(G.Cyclic(3) * G.Cyclic(2), G.Cyclic(5)).factors == (G.Cyclic(3), G.Cyclic(2), G.Cyclic(5))
    assert len((G.Cyclic(3) * G.Cyclic(2) * G.Cyclic(5)).identity()) == 3


@pytest.mark.parametrize(("solid", "order"), [(G.Tetrahedral, 12), (G.Octahedral, 24), (G.Icosahedral, 60)])
def test_platonic_orders(solid, order):
    assert (solid().order, solid(full=True).order) == (order, 2 * order)
    assert not solid().reflects
    assert solid(full=True).reflects
    assert bool((torch.linalg.det(solid().elements(dtype=torch.float64)) > 0).all())


def test_compiled_verbs():
    for group in (G.Orthogonal(3), G.Symmetric(4) * G.Euclidean(3), G.Dihedral(4), G.Torus(3, 4), G.Table(QUATERNIONS), G.Lorentz(4)):
        verbs = torch.compile(lambda g, h, group=group: group.compose(g, group.inverse(h)), fullgraph=True, backend="aot_eager")
        a, b = group.sample(3), group.sample(3)
        assert float(group.distance(verbs(a, b), group.compose(a, group.inverse(b))).max()) < 1e-4
