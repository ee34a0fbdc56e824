"""Groups behind patterns: known orders, every generator verified, exact orders of chains of stabilizers."""

import itertools
import math

import pytest
import torch

import coset
from coset import discover, groups
from coset.discover.automorphisms import Young, keeps
from coset.discover.orbits import invariant, orbits
from coset.discover.partition import canonical
from coset.errors import GroupError, InputError
from tests.zoo import laws_groups as laws

SIX = torch.arange(6)
TORUS = [[(i // 4 + 1) % 3 * 4 + i % 4 for i in range(12)], [i // 4 * 4 + (i % 4 + 1) % 4 for i in range(12)]]
KNOWN = {
    "C6": ([[1, 2, 3, 4, 5, 0]], 6),
    "D6": ([[1, 2, 3, 4, 5, 0], [0, 5, 4, 3, 2, 1]], 12),
    "S5": ([[1, 0, 2, 3, 4], [1, 2, 3, 4, 0]], 120),
    "S2 x S3": ([[1, 0, 2, 3, 4], [0, 1, 3, 2, 4], [0, 1, 3, 4, 2]], 12),
    "quarter turns of a 3 x 3 grid": ([[(2 - i % 3) * 3 + i // 3 for i in range(9)]], 4),
    "the 3 x 4 torus": (TORUS, 12),
}


def pattern(generators):
    """The orbits of pairs: the sharing of equivariant linear maps."""
    n = len(generators[0])
    return invariant("", generators, (n, n)).labels.reshape(n, n)


@pytest.mark.parametrize("name", KNOWN)
def test_known_orders(name):
    pytest.importorskip("pynauty")
    generators, order = KNOWN[name]
    labels = pattern(generators)
    group = discover.group_of(labels)
    assert group.order == order
    assert len(group.elements().unique(dim=0)) == order
    assert all(keeps(g, labels) for g in group.elements())
    assert group.contains(torch.tensor(generators)).all()
    assert torch.equal(pattern(group.generators.tolist()), labels)


def test_orders_equal_brute_force_on_random_patterns():
    pytest.importorskip("pynauty")
    draw = torch.Generator().manual_seed(0)
    for _ in range(60):
        m, n = torch.randint(2, 5, (2,), generator=draw).tolist()
        labels = canonical(torch.randint(0, 2, (m, n), generator=draw))
        if m == n:
            points = itertools.permutations(range(n))
        else:
            points = ((*p, *(m + i for i in q)) for p in itertools.permutations(range(m)) for q in itertools.permutations(range(n)))
        assert discover.group_of(labels).order == sum(keeps(torch.tensor(p), labels) for p in points)


def test_a_permutation_that_breaks_the_pattern_is_not_kept():
    labels = pattern(KNOWN["C6"][0])
    assert keeps(torch.tensor([1, 2, 3, 4, 5, 0]), labels)
    assert not keeps(torch.tensor([0, 5, 4, 3, 2, 1]), labels)
    assert not keeps(torch.tensor([1, 0, 2]), torch.tensor([0, 1, 1]))


def test_vectors_have_young_subgroups():
    labels = torch.tensor([0, 1, 0, 2, 1, 0])
    group = discover.group_of(labels)
    assert group.order == 12
    found = group.haar(500, generator=torch.Generator().manual_seed(0))
    assert all(keeps(g, labels) for g in found)
    assert len(found.unique(dim=0)) == 12
    large = discover.group_of(torch.arange(1000) % 2)
    assert large.order == math.factorial(500) ** 2
    assert keeps(large.haar(generator=torch.Generator().manual_seed(0)), torch.arange(1000) % 2)


def test_rectangles_move_rows_and_columns_by_their_own_permutations():
    pytest.importorskip("pynauty")
    labels = torch.tensor([[0, 1], [1, 0], [2, 2]])
    group = discover.group_of(labels)
    assert (group.order, group.generators.tolist()) == (2, [[1, 0, 2, 4, 3]])
    torch.manual_seed(0)
    net, x = torch.nn.Linear(2, 3), torch.randn(4, 2)
    model = coset.symmetrize(net, group.signature)
    assert torch.allclose(model(x.flip(1)), model(x)[:, [1, 0, 2]], atol=1e-6)
    assert not torch.allclose(net(x.flip(1)), net(x)[:, [1, 0, 2]], atol=1e-3)


CHAINS = [
    discover.Permutations([[1, 2, 3, 4, 5, 0], [0, 5, 4, 3, 2, 1]]),
    discover.Permutations(torch.zeros(0, 4, dtype=torch.int64)),
    discover.Permutations([[1, 0, 2, 3, 4], [1, 2, 3, 4, 0]]),
    Young(torch.tensor([0, 1, 0, 2, 1, 0])),
]


@pytest.mark.parametrize("law", [laws.axioms, laws.distances, laws.broadcasting, laws.dtypes, laws.devices, laws.reproducible])
@pytest.mark.parametrize("group", CHAINS, ids=str)
def test_laws_of_groups(group, law):
    law(group, torch.float64)


@pytest.mark.parametrize("group", CHAINS, ids=str)
def test_elements_are_listed_once_and_found_again(group):
    laws.listed(group, torch.float64)
    elements = group.elements()
    assert torch.equal(group.index(elements), torch.arange(group.order))
    assert group.contains(elements).all()


def test_chains_agree_with_closing_under_products():
    draw = torch.Generator().manual_seed(1)
    for _ in range(20):
        n, k = torch.randint(2, 7, (1,), generator=draw).item(), torch.randint(1, 3, (1,), generator=draw).item()
        generators = torch.stack([torch.randperm(n, generator=draw) for _ in range(k)])
        mine, listed = discover.Permutations(generators), groups.Generated(generators, limit=6000)
        assert mine.order == listed.order
        assert {tuple(g) for g in mine.elements().tolist()} == {tuple(g) for g in listed.elements().tolist()}
        outside = torch.stack([torch.randperm(n, generator=draw) for _ in range(20)])
        members = {tuple(h) for h in listed.elements().tolist()}
        assert mine.contains(outside).tolist() == [tuple(g) in members for g in outside.tolist()]


def cycles(n, *parts):
    p = list(range(n))
    for part in parts:
        for a, b in zip(part, part[1:] + part[:1], strict=True):
            p[a - 1] = b - 1
    return p


def test_orders_of_large_groups_are_exact():
    mathieu = [cycles(11, tuple(range(1, 12))), cycles(11, (3, 7, 11, 8), (4, 10, 5, 6))]
    assert discover.Permutations(mathieu).order == 7920
    assert discover.Permutations([[*range(1, 25), 0], [1, 0, *range(2, 25)]]).order == math.factorial(25)
    swaps = [cycles(16, (i, i + 1)) for i in range(1, 16, 2)]
    assert discover.Permutations([*swaps, cycles(16, (1, 3, 5, 7, 9, 11, 13, 15), (2, 4, 6, 8, 10, 12, 14, 16))]).order == 2**8 * 8


@pytest.mark.parametrize(
    ("labels", "order"),
    [
        (torch.eye(60).long(), math.factorial(60)),
        (torch.eye(100).long() + (torch.arange(100)[:, None] // 10 == torch.arange(100) // 10), math.factorial(10) ** 11),
        (torch.zeros(30, 40, dtype=torch.int64), math.factorial(30) * math.factorial(40)),
    ],
    ids=["S60", "S10 wr S10", "S30 x S40"],
)
def test_orders_of_patterns_beyond_floats_are_exact(labels, order):
    shuffled = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    across = shuffled if labels.shape[0] == labels.shape[1] else torch.arange(labels.shape[1])
    group = discover.group_of(labels[shuffled][:, across])
    assert group.order == order
    assert math.prod(group.orbits()) == order
    assert bool(group.contains(group.haar(3, generator=torch.Generator().manual_seed(0))).all())


@pytest.mark.parametrize("order", [5, 60, 240])
def test_a_wrong_order_is_refused(order):
    with pytest.raises(GroupError, match="generators of 120 elements"):
        discover.Permutations([[1, 2, 3, 4, 0], [1, 0, 2, 3, 4]], order=order).elements()


@pytest.mark.parametrize("order", [0, -3, "7", True, 2.0])
def test_an_order_is_a_positive_whole_number(order):
    with pytest.raises(GroupError, match="a positive whole number"):
        discover.Permutations([[1, 0]], order=order)


def test_identities_among_generators():
    assert discover.Permutations([[0, 1, 2], [1, 0, 2]]).order == 2


def test_membership_in_many_classes_needs_no_chain():
    labels = torch.arange(1000) % 2
    group = discover.group_of(labels)
    assert group.contains(group.haar(3, generator=torch.Generator().manual_seed(0))).tolist() == [True] * 3
    assert not bool(group.contains(torch.arange(1000).roll(1)))
    assert not bool(group.contains(torch.zeros(1000, dtype=torch.int64)))


def test_uniform_elements():
    group = discover.Permutations(KNOWN["S5"][0])
    counts = group.index(group.haar(12000, generator=torch.Generator().manual_seed(0))).bincount(minlength=120)
    assert float(((counts - 100.0) ** 2 / 100).sum()) < 180  # chi-square with 119 degrees of freedom


def test_orbits():
    assert orbits(torch.tensor([[1, 2, 0, 3, 5, 4]])).tolist() == [0, 0, 0, 1, 2, 2]
    assert orbits(torch.zeros(0, 3, dtype=torch.int64)).tolist() == [0, 1, 2]
    assert orbits(torch.arange(500).roll(1)[None]).max() == 0


def test_bad_permutations_and_labels():
    with pytest.raises(GroupError, match=r"generator 1: \[0, 0, 1\]"):
        discover.Permutations([[0, 1, 2], [0, 0, 1]])
    with pytest.raises(GroupError, match="permutations"):
        discover.Permutations([[0.5, 1.0]])
    with pytest.raises(GroupError, match="as declared"):
        discover.Permutations([[1, 2, 0]], order=4).levels
    with pytest.raises(InputError, match="shape"):
        discover.group_of(torch.zeros(2, 2, 2, dtype=torch.int64))
    with pytest.raises(GroupError, match="list"):
        discover.Permutations([[*range(1, 25), 0], [1, 0, *range(2, 25)]]).elements()
