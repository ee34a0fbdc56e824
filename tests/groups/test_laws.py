"""Every law on every group of the zoo, in two precisions; and broken groups that the laws must catch."""

import copy
import inspect
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from coset import groups
from coset.groups import Cyclic, Generated, Group, Orthogonal, Product, Symmetric, Table
from coset.tree import leaves, tree_map
from tests.zoo import laws_groups as laws
from tests.zoo.groups import CASES, GROUPS

DTYPES = [torch.float32, torch.float64]
EVERY = [laws.axioms, laws.distances, laws.broadcasting, laws.dtypes, laws.devices, laws.reproducible]


def names(value):
    return str(value) if isinstance(value, (Group, torch.dtype)) else getattr(value, "__name__", None)


def need(condition, reason):
    """Skip a law that a group cannot have, with the reason in the report."""
    if not condition:
        pytest.skip(reason)


def test_the_zoo_has_every_public_class_with_three_cases():
    public = {c for c in vars(groups).values() if inspect.isclass(c) and issubclass(c, Group) and not inspect.isabstract(c)}
    assert public == set(GROUPS)
    assert {c.__name__ for c in public} <= set(groups.__all__)
    for cls, cases in GROUPS.items():
        assert len(cases) >= 3, cls
        assert all(type(case) is cls for case in cases), cls


@pytest.mark.parametrize("dtype", DTYPES, ids=names)
@pytest.mark.parametrize("law", EVERY, ids=names)
@pytest.mark.parametrize("group", CASES, ids=names)
def test_laws_of_every_group(group, law, dtype):
    law(group, dtype)


@pytest.mark.parametrize("dtype", DTYPES, ids=names)
@pytest.mark.parametrize("group", CASES, ids=names)
def test_samples_belong_to_the_group(group, dtype):
    laws.membership(group, group.sample(30, generator=laws.generator(), dtype=dtype), dtype)


@pytest.mark.parametrize("dtype", DTYPES, ids=names)
@pytest.mark.parametrize("group", CASES, ids=names)
def test_finite_groups_list_their_elements(group, dtype):
    need(group.finite, "the group is infinite")
    laws.listed(group, dtype)


@pytest.mark.parametrize("dtype", DTYPES, ids=names)
@pytest.mark.parametrize("group", CASES, ids=names)
def test_matrices_respect_composition(group, dtype):
    need(group.dim is not None, "the group has no matrices, or several")
    laws.matrices(group, dtype)


@pytest.mark.parametrize("dtype", DTYPES, ids=names)
@pytest.mark.parametrize("group", CASES, ids=names)
def test_shifts(group, dtype):
    need(group.translates and group.dim is not None, "the group has no translations")
    laws.shifts(group, dtype)


@pytest.mark.parametrize("group", CASES, ids=names)
def test_permutations(group):
    need(group.permutes, "the group permutes nothing")
    laws.permutations(group, torch.float64)


@pytest.mark.parametrize("group", CASES, ids=names)
def test_facts_say_what_the_verbs_do(group):
    g = group.sample(2)
    assert (group.permutation(g) is not None) == group.permutes
    assert (group.shift(g) is not None) == group.translates
    if group.dim is None:
        with pytest.raises(groups.base.GroupError, match="To do"):
            group.matrix(g)
    if group.compact:
        assert group.batch(group.haar(2)) == (2,)
    assert group.compact or not group.finite


@pytest.mark.parametrize("dtype", DTYPES, ids=names)
@pytest.mark.parametrize("group", CASES, ids=names)
def test_exponential(group, dtype):
    need(group.lie_dimension, "the group is discrete")
    laws.exponential(group, dtype)
    c = torch.randn(5, group.lie_dimension, generator=laws.generator(), dtype=dtype)
    laws.membership(group, group.exp(group.combine(c)), dtype)


@pytest.mark.parametrize("group", CASES, ids=names)
def test_exponential_has_a_derivative(group):
    need(0 < group.lie_dimension <= 6, "the group is discrete, or of more than six dimensions")

    def flat(c):
        floats = (x for x in leaves(group.exp(group.combine(c))) if not laws.is_integer(x))
        return torch.cat([torch.view_as_real(x).flatten() if x.is_complex() else x.flatten() for x in floats])

    c = torch.randn(group.lie_dimension, generator=laws.generator(), dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(flat, (c,))
    zero = torch.zeros(group.lie_dimension, dtype=torch.float64)
    tangent = torch.autograd.functional.jacobian(flat, zero).T
    floats = [x.flatten(1) if not x.is_complex() else torch.view_as_real(x).flatten(1) for x in leaves(group.algebra(dtype=torch.float64))]
    assert tangent.shape[1] >= sum(x.shape[1] for x in floats)
    assert int(torch.linalg.matrix_rank(tangent)) == group.lie_dimension


@pytest.mark.parametrize("dtype", DTYPES, ids=names)
@pytest.mark.parametrize("group", CASES, ids=names)
def test_components_and_parts_are_subgroups(group, dtype):
    assert group.components()
    for name, phi in group.components().items():
        assert phi.target == group, name
        laws.homomorphism(phi, dtype)
        laws.membership(group, phi(phi.source.sample(4, dtype=dtype), dtype=dtype), dtype)
    for phi in group.parts():
        assert phi.target == group
        laws.homomorphism(phi, dtype)


@pytest.mark.parametrize("group", CASES, ids=names)
def test_groups_are_values(group):
    twins = [pickle.loads(pickle.dumps(group)), copy.deepcopy(group)]
    for twin in twins:
        assert twin == group
        assert hash(twin) == hash(group)
        assert repr(twin) == repr(group)
        assert twin.dim == group.dim
        assert twin.compact == group.compact
    assert group != Symmetric(97)
    g = group.sample(2, generator=laws.generator())
    for phi in (*group.components().values(), *group.parts()):
        again = copy.deepcopy(pickle.loads(pickle.dumps(phi)))
        x = phi.source.sample(2, generator=laws.generator())
        assert float(group.distance(again(x), phi(x)).max()) == 0
    assert type(group.identity()) is type(g)


@pytest.mark.parametrize("group", CASES, ids=names)
def test_compose_and_inverse_pass_through_vmap(group):
    a, b = (group.sample(3, 2, generator=laws.generator(s), dtype=torch.float64) for s in range(2))
    mapped = torch.vmap(lambda g, h: group.compose(g, group.inverse(h)))(a, b)
    laws.close(group, mapped, group.compose(a, group.inverse(b)), torch.float64, a, b, b)


# -- things that must fail ------------------------------------------------------------------------------------------


class WrongCompose(Orthogonal):
    """Composes the wrong way round only for the second argument: not associative."""

    def compose(self, g, h):
        return g @ h.mT


class WrongInverse(Cyclic):
    def inverse(self, g):
        return g


class Unbroadcast(Orthogonal):
    def compose(self, g, h):
        return torch.bmm(g.flatten(0, -3), h.flatten(0, -3))


class Narrow(Orthogonal):
    def haar(self, *batch, generator=None, dtype=None, device=None):
        return super().haar(*batch, generator=generator, device=device)


class Homebound(Orthogonal):
    def inverse(self, g):
        return torch.eye(self.dim, dtype=g.dtype)


class Careless(Orthogonal):
    def haar(self, *batch, generator=None, dtype=None, device=None):
        return super().haar(*batch, dtype=dtype)


class Lopsided(Cyclic):
    def elements(self, *, dtype=None, device=None):
        return (torch.arange(self.n) + 1) % self.n


class BackwardsPermutation(Symmetric):
    def permutation(self, g):
        return self.inverse(g)


class Half(Orthogonal):
    def algebra(self, *, dtype=None, device=None):
        return super().algebra(dtype=dtype)[:-1]


class Unscaled(Orthogonal):
    def exp(self, x):
        return torch.eye(self.dim, dtype=x.dtype) + x


@pytest.mark.parametrize(
    ("law", "group"),
    [
        (laws.axioms, WrongCompose(3)),
        (laws.axioms, WrongInverse(5)),
        (laws.broadcasting, Unbroadcast(2)),
        (laws.dtypes, Narrow(3)),
        (laws.devices, Homebound(3)),
        (laws.reproducible, Careless(3)),
        (laws.listed, Lopsided(4)),
        (laws.permutations, BackwardsPermutation(5)),
        (laws.exponential, Half(3)),
        (laws.exponential, Unscaled(3)),
    ],
    ids=names,
)
def test_laws_catch_broken_groups(law, group):
    with pytest.raises((AssertionError, RuntimeError)):
        law(group, torch.float64)


def test_laws_catch_a_map_that_is_no_homomorphism():
    with pytest.raises(AssertionError):
        laws.homomorphism(groups.Homomorphism(Orthogonal(3), Orthogonal(3), torch.Tensor.mT.__get__, "transpose"), torch.float64)


def test_membership_catches_a_reflection_among_rotations():
    with pytest.raises(AssertionError):
        laws.membership(groups.SpecialOrthogonal(3), -torch.eye(3, dtype=torch.float64)[None], torch.float64)


# -- random groups ----------------------------------------------------------------------------------------------------

FACTORS = st.sampled_from(
    [
        Cyclic(3),
        groups.Dihedral(4),
        Symmetric(3),
        groups.Translation(2),
        Orthogonal(2),
        groups.Unitary(2),
        groups.Euclidean(2),
        groups.Torus(2, 3),
    ]
)


@settings(max_examples=20, deadline=None)
@given(st.lists(FACTORS, min_size=1, max_size=4), st.booleans())
def test_products_of_anything_obey_the_laws(factors, nested):
    product = Product(Product(*factors[:1]), *factors[1:]) if nested else Product(*factors)
    assert product == Product(*factors)
    assert product.finite == all(f.finite for f in factors)
    assert product.compact == all(f.compact for f in factors)
    for law in (laws.axioms, laws.broadcasting, laws.dtypes):
        law(product, torch.float64)
    if product.finite and product.order < 500:
        laws.listed(product, torch.float64)
    if product.lie_dimension:
        laws.exponential(product, torch.float64)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.permutations(range(5)), min_size=1, max_size=3), st.lists(st.integers(0, 2), max_size=6))
def test_words_in_generators_stay_in_the_generated_group(generators, word):
    group = Generated(generators)
    assert 120 % group.order == 0
    g = group.identity()
    for letter in word:
        g = group.compose(g, torch.tensor(generators[letter % len(generators)]))
    laws.close(group, tree_map(lambda x: x[group.index(g)], group.elements()), g, torch.float64)


@settings(max_examples=25, deadline=None)
@given(st.permutations(range(8)))
def test_a_relabelled_table_is_still_a_group(labels):
    from tests.zoo.groups import QUATERNIONS

    relabel = torch.tensor(labels)
    table = torch.empty(8, 8, dtype=torch.int64)
    table[relabel[:, None], relabel[None, :]] = relabel[torch.tensor(QUATERNIONS)]
    laws.listed(Table(table), torch.float64)
    laws.axioms(Table(table), torch.float64)


@settings(max_examples=50, deadline=None)
@given(st.permutations(range(8)), st.permutations(range(8)))
def test_permutation_matrices_and_signs_agree(p, q):
    p, q = torch.tensor(p), torch.tensor(q)
    group = Symmetric(8)
    to_matrix, sign = groups.permutation_matrices(group), groups.sign(group)
    assert torch.equal(to_matrix(p) @ to_matrix(q), to_matrix(group.compose(p, q)))
    assert torch.equal(to_matrix(p).det().round(), sign(p)[0, 0])
    x = torch.arange(8.0)
    assert torch.equal((to_matrix(p) @ x)[p], x)
