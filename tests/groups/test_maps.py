"""Homomorphisms respect composition, pickle, and refuse what they cannot do."""

import copy
import pickle

import pytest
import torch

from coset import groups as G
from coset.errors import GroupError
from coset.groups import Homomorphism, determinant, inclusion, linear_part, permutation_matrices, projection, quotient, sign, to_rotations
from tests.zoo import laws_groups as laws

MANY = G.Symmetric(4) * G.Euclidean(3)
INCLUSIONS = [
    (G.SpecialOrthogonal(3), G.Orthogonal(3)),
    (G.Orthogonal(3), G.Euclidean(3)),
    (G.SpecialOrthogonal(3), G.SpecialEuclidean(3)),
    (G.SpecialOrthogonal(2), G.Euclidean(2)),
    (G.SpecialEuclidean(2), G.Affine(2)),
    (G.Translation(3), G.Euclidean(3)),
    (G.Translation(2), G.Affine(2)),
    (G.GeneralLinear(2), G.Affine(2)),
    (G.SpecialLinear(2), G.Affine(2)),
    (G.Scaling(3), G.GeneralLinear(3)),
    (G.Cyclic(4), G.Dihedral(4)),
    (G.Cyclic(4), G.Dihedral(8)),
    (G.Cyclic(2), G.Cyclic(6)),
    (G.Cyclic(5), G.SpecialOrthogonal(2)),
    (G.Cyclic(5), G.Euclidean(2)),
    (G.Dihedral(3), G.Dihedral(6)),
    (G.Dihedral(5), G.Orthogonal(2)),
    (G.Symmetric(3), G.Hyperoctahedral(3)),
    (G.Symmetric(3), G.Orthogonal(3)),
    (G.Reflection(2), G.SignFlips(2)),
    (G.SignFlips(2), G.Orthogonal(2)),
    (G.Tetrahedral(), G.Icosahedral()),
    (G.Tetrahedral(), G.Octahedral()),
    (G.Tetrahedral(full=True), G.Icosahedral(full=True)),
    (G.Octahedral(full=True), G.Hyperoctahedral(3)),
    (G.Icosahedral(), G.SpecialEuclidean(3)),
    (G.Generated([[[0.0, -1.0], [1.0, 0.0]]]), G.Orthogonal(2)),
    (G.ProperLorentz(3), G.Lorentz(3)),
    (G.ProperLorentz(3), G.GeneralLinear(3)),
    (G.SpecialUnitary(2), G.Unitary(2)),
    (G.Symmetric(4), MANY),
    (G.SpecialOrthogonal(3), MANY),
    (G.Cyclic(4), G.Cyclic(4)),
]
MAPS = [
    *(inclusion(small, large) for small, large in INCLUSIONS),
    projection(MANY, 0),
    projection(MANY, -1),
    projection(MANY, 1).then(linear_part(G.Euclidean(3))).then(determinant(G.Orthogonal(3))),
    linear_part(G.SpecialEuclidean(2)),
    linear_part(G.Affine(3)),
    *(determinant(g) for g in (G.Orthogonal(3), G.GeneralLinear(2), G.Unitary(2), G.Dihedral(4), G.Lorentz(4), G.Euclidean(2))),
    sign(G.Symmetric(5)),
    to_rotations(G.Cyclic(7)),
    to_rotations(G.Cyclic(4)).then(inclusion(G.SpecialOrthogonal(2), G.Euclidean(2))),
    permutation_matrices(G.Symmetric(4)),
    quotient(G.Cyclic(12), G.Cyclic(4)),
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("phi", MAPS, ids=str)
def test_maps_are_homomorphisms(phi, dtype):
    laws.homomorphism(phi, dtype)
    image = phi(phi.source.sample(5, dtype=dtype), dtype=dtype)
    laws.membership(phi.target, image, dtype)


@pytest.mark.parametrize("phi", MAPS, ids=str)
def test_maps_pickle_and_copy(phi):
    g = phi.source.sample(3, generator=laws.generator())
    for twin in (pickle.loads(pickle.dumps(phi)), copy.deepcopy(phi)):
        assert repr(twin) == repr(phi)
        assert float(phi.target.distance(twin(g), phi(g)).max()) == 0


def test_a_map_that_is_none_is_caught():
    wrong = Homomorphism(G.Symmetric(4), G.Orthogonal(1), lambda p: p[..., :1, None].double())
    with pytest.raises(AssertionError):
        laws.homomorphism(wrong, torch.float64)


def test_dtype_is_computed_and_not_cast():
    turn = to_rotations(G.Cyclic(7))(torch.tensor(1), dtype=torch.float64)
    assert float(turn[0, 0]) == pytest.approx(torch.cos(torch.tensor(2 * torch.pi / 7, dtype=torch.float64)).item(), abs=1e-15)


def test_quarter_turns_and_flips_are_exact():
    quarter = G.Cyclic(12).matrix(torch.arange(12), dtype=torch.float64)[::3]
    assert quarter.tolist() == [[[1, 0], [0, 1]], [[0, -1], [1, 0]], [[-1, 0], [0, -1]], [[0, 1], [-1, 0]]]
    assert G.Dihedral(4).matrix(G.Flip(torch.tensor(0), torch.tensor(1))).tolist() == [[-1, 0], [0, 1]]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: inclusion(G.Orthogonal(3), G.SpecialOrthogonal(3)), r"an inclusion of Orthogonal\(3\) into SpecialOrthogonal\(3\)"),
        (lambda: inclusion(G.Cyclic(4), G.Cyclic(4) * G.Cyclic(4)), r"which contains it 2 times.*use parts\(\)\[0\]"),
        (lambda: projection(MANY, 2), r"factor 2 of Product"),
        (lambda: projection(G.Cyclic(3), 0), r"factor 0 of Cyclic\(3\)"),
        (lambda: linear_part(G.Orthogonal(2)), r"linear part of Orthogonal\(2\)"),
        (lambda: sign(G.Cyclic(2)), r"sign of Cyclic\(2\)"),
        (lambda: to_rotations(G.Dihedral(2)), r"rotations of Dihedral\(2\)"),
        (lambda: permutation_matrices(G.Symmetric()), r"permutation matrices of Symmetric\(\).*\.at\(n\)"),
        (lambda: quotient(G.Cyclic(6), G.Cyclic(4)), r"quotient of Cyclic\(6\) onto Cyclic\(4\)"),
        (lambda: sign(G.Symmetric(3)).then(sign(G.Symmetric(3))), r"followed by"),
    ],
)
def test_wrong_maps_are_refused(call, message):
    with pytest.raises(GroupError, match=message):
        call()
