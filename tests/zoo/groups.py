"""Every concrete group with at least three real cases: a group that has no line here does not exist."""

import math

from coset.groups import (
    Affine,
    Cyclic,
    Dihedral,
    Euclidean,
    GeneralLinear,
    Generated,
    Group,
    Hyperoctahedral,
    Icosahedral,
    Lorentz,
    Octahedral,
    Orthogonal,
    Product,
    ProperLorentz,
    RealTorus,
    Reflection,
    Scaling,
    SignFlips,
    SpecialEuclidean,
    SpecialLinear,
    SpecialLorentz,
    SpecialOrthogonal,
    SpecialUnitary,
    Symmetric,
    Table,
    Tetrahedral,
    Torus,
    Translation,
    Unitary,
)

C, S = math.cos(2 * math.pi / 5), math.sin(2 * math.pi / 5)
KLEIN = [[0, 1, 2, 3], [1, 0, 3, 2], [2, 3, 0, 1], [3, 2, 1, 0]]
CYCLE = [[(g + h) % 5 for h in range(5)] for g in range(5)]
LATE_UNIT = [[(g + h + 1) % 3 for h in range(3)] for g in range(3)]
"""Z/3 with the labels shifted: the identity is element 2."""
QUATERNIONS = [
    [0, 1, 2, 3, 4, 5, 6, 7],
    [1, 0, 3, 2, 5, 4, 7, 6],
    [2, 3, 1, 0, 6, 7, 5, 4],
    [3, 2, 0, 1, 7, 6, 4, 5],
    [4, 5, 7, 6, 1, 0, 2, 3],
    [5, 4, 6, 7, 0, 1, 3, 2],
    [6, 7, 4, 5, 3, 2, 1, 0],
    [7, 6, 5, 4, 2, 3, 0, 1],
]
"""Q8 in the order 1, -1, i, -i, j, -j, k, -k."""

GROUPS: dict[type[Group], list[Group]] = {
    Affine: [Affine(1), Affine(2), Affine(3)],
    Cyclic: [Cyclic(1), Cyclic(4), Cyclic(7)],
    Dihedral: [Dihedral(1), Dihedral(4), Dihedral(5)],
    Euclidean: [Euclidean(1), Euclidean(2), Euclidean(3)],
    GeneralLinear: [GeneralLinear(1), GeneralLinear(2), GeneralLinear(4)],
    Generated: [
        Generated([[1, 2, 3, 0], [3, 2, 1, 0]]),
        Generated([[1, 0, 2, 3, 4], [1, 2, 3, 4, 0]]),
        Generated([[[C, -S], [S, C]], [[-1.0, 0.0], [0.0, 1.0]]]),
        Generated([[[0.0, -1.0], [1.0, -1.0]]]),
    ],
    Hyperoctahedral: [Hyperoctahedral(1), Hyperoctahedral(2), Hyperoctahedral(3)],
    Icosahedral: [Icosahedral(), Icosahedral(full=True), Icosahedral(full=False)],
    Lorentz: [Lorentz(2), Lorentz(3), Lorentz(4)],
    Octahedral: [Octahedral(), Octahedral(full=True), Octahedral(full=False)],
    Orthogonal: [Orthogonal(1), Orthogonal(2), Orthogonal(3), Orthogonal(5)],
    Product: [
        Cyclic(4) * Torus(3, 2),
        Symmetric(3) * Euclidean(3),
        Unitary(2) * Octahedral() * Translation(1),
        SpecialOrthogonal(2) * Orthogonal(3),
        Symmetric(4) * SignFlips(2),
    ],
    ProperLorentz: [ProperLorentz(2), ProperLorentz(3), ProperLorentz(4)],
    RealTorus: [RealTorus(5), RealTorus(3, 4), RealTorus(2, 3, 2)],
    Reflection: [Reflection(1), Reflection(2), Reflection(3)],
    Scaling: [Scaling(1), Scaling(2), Scaling(3)],
    SignFlips: [SignFlips(1), SignFlips(2), SignFlips(4)],
    SpecialEuclidean: [SpecialEuclidean(1), SpecialEuclidean(2), SpecialEuclidean(3)],
    SpecialLinear: [SpecialLinear(1), SpecialLinear(2), SpecialLinear(3)],
    SpecialLorentz: [SpecialLorentz(2), SpecialLorentz(3), SpecialLorentz(4)],
    SpecialOrthogonal: [SpecialOrthogonal(1), SpecialOrthogonal(2), SpecialOrthogonal(3), SpecialOrthogonal(4)],
    SpecialUnitary: [SpecialUnitary(1), SpecialUnitary(2), SpecialUnitary(3)],
    Symmetric: [Symmetric(1), Symmetric(3), Symmetric(5)],
    Table: [Table(KLEIN), Table(CYCLE), Table(LATE_UNIT), Table(QUATERNIONS)],
    Tetrahedral: [Tetrahedral(), Tetrahedral(full=True), Tetrahedral(full=False)],
    Torus: [Torus(5), Torus(3, 4), Torus(2, 3, 2)],
    Translation: [Translation(1), Translation(2), Translation(3)],
    Unitary: [Unitary(1), Unitary(2), Unitary(3)],
}

CASES: list[Group] = [group for cases in GROUPS.values() for group in cases]
