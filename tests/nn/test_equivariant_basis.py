"""Bases of equivariant maps: known dimensions, Burnside's count, the law itself, noise, and what is refused."""

from __future__ import annotations

import itertools

import pytest
import torch

from coset import actions, groups, nn
from coset.errors import GroupError, InputError, SignatureError
from coset.groups.generating import averaging, cycle_types, generators
from coset.nn.equivariant_methods import Checked, check_dimension
from coset.nn.equivariant_representation import Representation
from coset.tree import tree_map
from tests.zoo.groups import CASES as GROUPS

S3, S5, S9 = groups.Symmetric(3), groups.Symmetric(5), groups.Symmetric(9)
SO3, O3, O2 = groups.SpecialOrthogonal(3), groups.Orthogonal(3), groups.Orthogonal(2)
E3, U2, L4 = groups.Euclidean(3), groups.Unitary(2), groups.Lorentz(4)
SxO = groups.Symmetric() * O3
P, T, V, ONE = actions.Permute, actions.Tensors, actions.Vectors, actions.Trivial


def polygon(n: int, mirrors: bool) -> groups.Group:
    """Turns (and mirrors) of the corners of a polygon, as permutations."""
    return groups.Generated([[(i + 1) % n for i in range(n)], *([[-i % n for i in range(n)]] if mirrors else [])])


KNOWN = [
    *((P(S, -1), P(S, -1), 2, "orbits") for S in (S3, S5, S9)),
    *((P(S, -2, -1), P(S, -2, -1), k, "orbits") for S, k in ((S3, 14), (S5, 15), (S9, 15))),
    *((P(S, -2, -1), ONE(S), 2, "orbits") for S in (S3, S5, S9)),
    *((P(G, -1), P(G, -1), n, "orbits") for n in (5, 8) for G in (polygon(n, False),)),
    *((P(G, -1), P(G, -1), n // 2 + 1, "orbits") for n in (5, 8) for G in (polygon(n, True),)),
    (actions.Regular(groups.Cyclic(7)), actions.Regular(groups.Cyclic(7)), 7, "orbits"),
    (V(SO3), V(SO3), 1, "null space"),
    (T(SO3, 2), V(SO3), 1, "null space"),
    (T(SO3, 2), T(SO3, 2), 3, "null space"),
    (T(O3, 2), V(O3), 0, "null space"),
    (T(O3, 2), actions.Pseudovectors(O3), 1, "null space"),
    (V(O2), T(O2, 3), 3, "null space"),
    (T(E3, 2), ONE(E3), 1, "null space"),
    *((T(G, 2), ONE(G), 1, "null space") for G in (L4, groups.SpecialLorentz(4), groups.ProperLorentz(4))),
    (T(groups.GeneralLinear(3), 2), T(groups.GeneralLinear(3), 2), 2, "null space"),
    (T(groups.SpecialLinear(2), 2), ONE(groups.SpecialLinear(2)), 1, "null space"),
    (T(U2, 2), T(U2, 2), 2, "null space"),
    (V(groups.Octahedral()), T(groups.Octahedral(), 2), 1, "Reynolds average"),
    (V(groups.Tetrahedral()), T(groups.Tetrahedral(), 2), 2, "Reynolds average"),
    (V(groups.Dihedral(5)), actions.Regular(groups.Dihedral(5)), 2, "Reynolds average"),
    (V(groups.Hyperoctahedral(6)), V(groups.Hyperoctahedral(6)), 1, "null space"),
]  # fmt: skip


@pytest.mark.parametrize(("source", "target", "dimension", "how"), KNOWN, ids=lambda x: repr(x) if not isinstance(x, (int, str)) else None)
def test_known_dimensions(source, target, dimension, how):
    found = nn.equivariant_basis(source, target)
    assert (found.dimension, found.how) == (dimension, how)
    assert ("not checked" in found.checked) == (not (source.group.compact or source.group == E3))
    flat = found.basis.flatten(1)
    assert torch.allclose(flat.conj() @ flat.mT, torch.eye(dimension, dtype=flat.dtype), atol=1e-12)
    assert law_gap(found, Representation(source), Representation(target)) < 1e-12


def law_gap(found, source, target) -> float:
    """The error of rho_out(g) W = W rho_in(g) on random elements that the construction did not see."""
    g = source.group.sample(6, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    a, b = target.matrices(g)[:, None], source.matrices(g)[:, None]
    gap = a @ found.basis - found.basis @ b
    return float(gap.abs().max() / max(1.0, float(a.abs().max()), float(b.abs().max()))) if gap.numel() else 0.0


def test_the_invariant_form_of_space_time_is_the_metric():
    for group in (L4, groups.ProperLorentz(4)):
        form = nn.equivariant_basis(T(group, 2), ONE(group)).basis.reshape(4, 4)
        assert torch.allclose(form / form[0, 0], torch.diag(torch.tensor([1.0, -1, -1, -1], dtype=torch.float64)), atol=1e-14)


def test_burnside_counts_orbits():
    G = groups.Generated([[1, 2, 0, 3, 4, 5], [0, 1, 2, 4, 3, 5]])
    elements = G.elements()
    fixed = (elements == torch.arange(6)).sum(-1)
    for axes, power in (((-1,), 1), ((-2, -1), 2)):
        assert nn.equivariant_basis(P(G, *axes), P(G, -1)).dimension == float((fixed ** (power + 1)).double().mean())


def test_orbits_against_averages_and_null_spaces():
    """The same permutation group, written as matrices, gives the same projector by the other two ways."""
    G = groups.Generated([[1, 2, 3, 0, 4]])
    as_matrices = actions.Matrix(G, lambda g: groups.symmetric.matrices(g, torch.float64) + 0.0)
    turned = torch.linalg.qr(torch.randn(5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))[0]
    other = actions.Matrix(G, lambda g: turned @ groups.symmetric.matrices(g, torch.float64) @ turned.mT)
    w = torch.randn(5, 5, dtype=torch.float64)
    one, two = nn.equivariant_basis(P(G, -1), as_matrices), nn.equivariant_basis(other, other)
    assert (one.how, two.how) == ("orbits", "Reynolds average")
    assert torch.allclose(turned @ one.project(w) @ turned.mT, two.project(turned @ w @ turned.mT), atol=1e-12)


def test_projecting_is_the_average_over_the_group():
    G = groups.Dihedral(5)
    found = nn.equivariant_basis(V(G), actions.Regular(G))
    out, into = Representation(actions.Regular(G)), Representation(V(G))
    g, w = G.elements(), torch.randn(10, 2, dtype=torch.float64)
    mean = (out.matrices(g) @ w @ into.matrices(G.inverse(g))).mean(0)
    assert torch.allclose(found.project(w), mean, atol=1e-12)
    assert torch.allclose(found.project(mean), mean, atol=1e-12)


def test_shapes_that_the_action_leaves_open():
    S = groups.Symmetric()
    assert nn.equivariant_basis(P(S, -1), P(S, -1), source_shape=(4,), target_shape=(4,)).dimension == 2
    assert nn.equivariant_basis(P(S, -2), P(S, -2), source_shape=(4, 3), target_shape=(4, 2)).dimension == 12
    assert nn.equivariant_basis(V(SxO), V(SxO), source_shape=(4, 3), target_shape=(4, 3)).dimension == 2
    assert nn.equivariant_basis(ONE(SO3), ONE(SO3), source_shape=(2, 3), target_shape=(4,)).dimension == 24
    with pytest.raises(SignatureError, match="source_shape"):
        nn.equivariant_basis(P(S, -1), P(S, -1))


def test_pulled_back_actions():
    turn = groups.to_rotations(groups.Cyclic(4))
    pulled = actions.Pullback(turn, V(turn.target))
    assert nn.equivariant_basis(pulled, V(groups.Cyclic(4))).dimension == 2


def perturbed(size: float, group=SO3):
    """Rotations by matrices that miss the group law by about ``size``, always in the same way."""

    def function(g):
        noise = torch.sin(1e4 * (g.flatten(-2) @ torch.arange(1.0, 10, dtype=g.dtype))[..., None, None] + torch.arange(9.0).reshape(3, 3))
        return g + size * noise

    return actions.Matrix(group, function, degree=1)


@pytest.mark.parametrize("size", [1e-9, 1e-5, 1e-3])
def test_noisy_finite_generators(size):
    G = groups.Octahedral()
    found = nn.equivariant_basis(perturbed(size, G), V(G))
    assert found.dimension == 1
    form = found.basis[0] / found.basis[0, 0, 0]
    assert float((form - torch.eye(3, dtype=form.dtype)).abs().max()) < 10 * size


def test_noise_beside_a_singular_value_is_refused():
    stretch = torch.diag(torch.tensor([1.0, 1.0, 1.02], dtype=torch.float64))
    action = actions.Matrix(groups.Hyperoctahedral(7), lambda g: g, degree=1)
    wide = groups.SignFlips(13)
    assert nn.equivariant_basis(V(wide), V(wide), noise=1e-6).dimension == 13
    with pytest.raises(SignatureError, match="noise floor"):
        nn.equivariant_basis(action, action, noise=0.05)
    skewed = actions.Matrix(SO3, lambda g: stretch.to(g) @ g @ torch.linalg.inv(stretch).to(g), degree=1)
    assert nn.equivariant_basis(skewed, V(SO3)).dimension == 1
    with pytest.raises(SignatureError, match="noise floor"):
        nn.equivariant_basis(skewed, V(SO3), noise=0.01)


def test_what_is_no_representation_is_refused():
    squared = actions.Matrix(SO3, lambda g: g * g, degree=2)
    with pytest.raises(SignatureError, match="miss the group law"):
        nn.equivariant_basis(squared, V(SO3))


@pytest.mark.parametrize(
    ("source", "target", "words"),
    [
        (actions.Points(E3), V(E3), "translations move it"),
        (actions.Image(groups.Cyclic(8)), ONE(groups.Cyclic(8)), "resamples"),
        (V(SO3), V(O3), "one group"),
        (actions.Dict(x=V(SO3)), V(SO3), "the action of one tensor"),
        (T(SO3, 4), T(SO3, 4), "at most 4096"),
    ],
)
def test_refused(source, target, words):
    with pytest.raises(SignatureError, match=words):
        nn.equivariant_basis(source, target)


def test_a_dimension_that_is_wrong_is_refused():
    assert nn.equivariant_basis(T(L4, 2), ONE(L4), dimension=1).checked == "declared"
    for group, claimed in ((L4, 2), (SO3, 2)):
        with pytest.raises(GroupError, match=f"the declared dimension {claimed}"):
            nn.equivariant_basis(T(group, 2), ONE(group), dimension=claimed)


def test_characters_that_differ_are_refused():
    with pytest.raises(GroupError, match="characters give 2"):
        check_dimension(1, Checked(2.0, 0.0, "all 4 elements"), None, "")
    assert "random" in check_dimension(1, Checked(1.05, 0.02, "4000 random elements"), None, "")


def test_generators_generate():
    """Finite groups: closing the generators under products gives every element."""
    for group in (G for G in GROUPS if G.finite and G.order <= 60):
        g, found = generators(group), set()
        fresh = group.identity(1, dtype=torch.float64)
        while int(group.batch(fresh)[0]):
            known = {int(i) for i in group.index(fresh)} - found
            if not known:
                break
            found |= known
            number, m = int(group.batch(fresh)[0]), int(group.batch(g)[0])
            left = tree_map(lambda leaf, k=number: leaf.repeat_interleave(k, 0), g)
            right = tree_map(lambda leaf, k=m: leaf.repeat(k, *(1,) * (leaf.dim() - 1)), fresh)
            fresh = group.compose(left, right)
            index = group.index(fresh)
            keep = torch.tensor([[int(v) for v in index].index(v) for v in sorted({int(v) for v in index} - found)], dtype=torch.long)
            fresh = tree_map(lambda leaf, k=keep: leaf[k], fresh)
        assert len(found) == group.order, group


def test_cycle_types_average_class_functions():
    p, weights = cycle_types(5)
    every = torch.tensor(list(itertools.permutations(range(5))))
    for power in (1, 2, 3, 4):
        fixed = lambda q, k=power: ((q == torch.arange(5)).sum(-1) ** k).double()  # noqa: E731
        assert float((weights * fixed(p)).sum()) == pytest.approx(float(fixed(every).mean()), abs=1e-12)
    assert averaging(groups.Lorentz(4), 2) is None


def test_many_points_are_not_listed():
    """Cycle types of a hundred points are 190 million: characters are those of drawn permutations."""
    S100, S200 = groups.Symmetric(100), groups.Symmetric(200)
    found = nn.equivariant_basis(P(S100, -1), P(S100, -1))
    assert (found.dimension, found.checked) == (2, "characters over 4000 random elements")
    with pytest.raises(SignatureError, match="1600000000 entries"):
        nn.equivariant_basis(P(S200, -2, -1), P(S200, -2, -1))
    C4 = groups.Cyclic(4)
    with pytest.raises(SignatureError, match="numbers in all"):
        nn.equivariant_basis(actions.Field(C4), actions.Field(C4), source_shape=(2, 28, 28), target_shape=(2, 28, 28))


def test_pseudovectors_turn_by_a_phase_under_unitary_groups():
    """Under U(d) the sign of the determinant is any phase, which no linear map undoes; under SU(d) there is none."""
    SU2 = groups.SpecialUnitary(2)
    for group, dimension in ((U2, 0), (groups.Unitary(1), 0), (SU2, 1)):
        assert nn.equivariant_basis(actions.Pseudovectors(group), V(group)).dimension == dimension
    assert nn.equivariant_basis(actions.Pseudovectors(U2), actions.Pseudovectors(U2)).dimension == 1
    assert (actions.Pseudovectors(U2).polar, actions.Pseudovectors(SU2).polar) == (False, True)


@pytest.mark.parametrize("shape", [3, (-3,), (0,), (2.0,), "ab"])
def test_shapes_that_are_none(shape):
    with pytest.raises(SignatureError, match="positive whole numbers"):
        nn.equivariant_basis(ONE(S3), P(S3, -1), source_shape=shape)


def test_what_is_no_action_is_refused():
    for wrong in (S3, P(S3, -1) >> P(S3, -1), None):
        with pytest.raises(SignatureError, match="an action"):
            nn.equivariant_basis(wrong, P(S3, -1))


def test_integers_and_wrong_numbers_of_coefficients():
    for found, size in ((nn.equivariant_basis(P(S5, -1), P(S5, -1)), 5), (nn.equivariant_basis(T(O3, 2), T(O3, 2)), 9)):
        whole = torch.arange(size * size).reshape(size, size)
        assert torch.allclose(found.project(whole), found.project(whole.float()))
        for wrong in (torch.ones(1), torch.ones(found.dimension + 1)):
            with pytest.raises(InputError, match="one for each basis matrix"):
                found.weight(wrong)
        with pytest.raises(InputError, match="a tensor"):
            found.project(whole.numpy())
