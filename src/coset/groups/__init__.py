"""What moves: groups, their elements as plain tensors, and the maps between them."""

from .affine import Affine, Affinity, Euclidean, SpecialEuclidean, Translation
from .base import Compact, Finite, Group, batch_shape
from .cyclic import Cyclic, Dihedral, Flip, Torus
from .generated import Generated
from .inclusions import inclusion
from .linear import GeneralLinear, Scaling, SpecialLinear
from .lorentz import Lorentz, ProperLorentz, SpecialLorentz
from .maps import Homomorphism, identity_map
from .orthogonal import Orthogonal, Reflection, SpecialOrthogonal
from .platonic import Icosahedral, Octahedral, Tetrahedral
from .products import Product
from .quadrature import Rule, rule
from .quotients import determinant, linear_part, permutation_matrices, projection, quotient, sign, to_rotations
from .real_torus import RealTorus
from .symmetric import Hyperoctahedral, SignFlips, Symmetric
from .table import Table
from .unitary import SpecialUnitary, Unitary

__all__ = [
    "Affine",
    "Affinity",
    "Compact",
    "Cyclic",
    "Dihedral",
    "Euclidean",
    "Finite",
    "Flip",
    "GeneralLinear",
    "Generated",
    "Group",
    "Homomorphism",
    "Hyperoctahedral",
    "Icosahedral",
    "Lorentz",
    "Octahedral",
    "Orthogonal",
    "Product",
    "ProperLorentz",
    "RealTorus",
    "Reflection",
    "Rule",
    "Scaling",
    "SignFlips",
    "SpecialEuclidean",
    "SpecialLinear",
    "SpecialLorentz",
    "SpecialOrthogonal",
    "SpecialUnitary",
    "Symmetric",
    "Table",
    "Tetrahedral",
    "Torus",
    "Translation",
    "Unitary",
    "batch_shape",
    "determinant",
    "identity_map",
    "inclusion",
    "linear_part",
    "permutation_matrices",
    "projection",
    "quotient",
    "rule",
    "sign",
    "to_rotations",
]
