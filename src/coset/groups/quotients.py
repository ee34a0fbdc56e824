"""Maps from a group to a simpler one: projections, linear parts, determinants, signs, and representations by matrices."""

from __future__ import annotations

from functools import partial

from torch import Tensor
from torch.linalg import det

from ..errors import GroupError, explain
from ..tree import Tree
from .affine import AffineGroup, Affinity
from .base import Group
from .cyclic import Cyclic
from .inclusions import to_matrix
from .linear import GeneralLinear
from .maps import Homomorphism
from .numeric import Dtype, real, widen
from .orthogonal import Orthogonal, SpecialOrthogonal
from .products import Product, pick
from .symmetric import Symmetric, matrices, parity
from .unitary import Unitary


def projection(product: Group, i: int) -> Homomorphism:
    """The projection of a product to its factor i (negative i count from the end).

    Raises:
        GroupError: when the group is no product, or has no such factor.
    """
    if not isinstance(product, Product) or not -len(product.factors) <= i < len(product.factors):
        raise GroupError(explain(f"factor {i} of {product}", "a product with such a factor", "count factors from 0 in G * H"))
    return Homomorphism(product, product.factors[i], partial(pick, i), f"projection {i}")


def _linear(g: Affinity) -> Tensor:
    return g.matrix


def linear_part(group: Group) -> Homomorphism:
    """The matrix of an affine map, as an element of the group of these matrices.

    Raises:
        GroupError: when the group does not consist of affine maps.
    """
    if not isinstance(group, AffineGroup):
        raise GroupError(explain(f"the linear part of {group}", "Euclidean, SpecialEuclidean or Affine", "use matrix(g) for other groups"))
    return Homomorphism(group, group.linear, _linear, "linear part")


def _determinant(group: Group, g: Tree, dtype: Dtype = None) -> Tensor:
    matrix = group.matrix(g, dtype=dtype)
    value = det(widen(matrix))
    return (value.sgn() if group.compact else value).to(matrix.dtype)[..., None, None]


def determinant(group: Group) -> Homomorphism:
    """The determinant, as a 1 x 1 matrix: in U(1) for complex groups, O(1) for compact ones, else GL(1)."""
    target = Unitary(1) if group.complex else Orthogonal(1) if group.compact else GeneralLinear(1)
    return Homomorphism(group, target, partial(_determinant, group), "determinant", casts=True)


def _sign(g: Tensor, dtype: Dtype = None) -> Tensor:
    return parity(g).to(real(dtype))[..., None, None]


def sign(group: Symmetric) -> Homomorphism:
    """The sign of a permutation, as a 1 x 1 matrix of O(1).

    Raises:
        GroupError: when the group is not symmetric.
    """
    if not isinstance(group, Symmetric):
        raise GroupError(explain(f"the sign of {group}", "Symmetric()", "use determinant() for groups of matrices"))
    return Homomorphism(group, Orthogonal(1), _sign, "sign", casts=True)


def to_rotations(group: Cyclic) -> Homomorphism:
    """C_n as rotations of the plane, in SO(2).

    Raises:
        GroupError: when the group is not cyclic.
    """
    if not isinstance(group, Cyclic):
        raise GroupError(explain(f"rotations of {group}", "Cyclic(n)", "use inclusion(group, Orthogonal(d)) for other groups"))
    return Homomorphism(group, SpecialOrthogonal(2), partial(to_matrix, group), "rotations", casts=True)


def permutation_matrices(group: Symmetric) -> Homomorphism:
    """S_n as permutation matrices P with P e_i = e_{p[i]}, in O(n).

    Raises:
        GroupError: when the group is not symmetric, or its n is free.
    """
    if not isinstance(group, Symmetric) or group.n is None:
        raise GroupError(explain(f"permutation matrices of {group}", "Symmetric(n)", "fix the number of things with .at(n)"))
    return Homomorphism(group, Orthogonal(group.n), matrices, "permutation matrices", casts=True)


def _modulo(m: int, k: Tensor) -> Tensor:
    return k % m


def quotient(group: Cyclic, onto: Cyclic) -> Homomorphism:
    """C_n onto C_m for m that divides n: k modulo m.

    Raises:
        GroupError: when the groups are not cyclic, or m does not divide n.
    """
    if not isinstance(group, Cyclic) or not isinstance(onto, Cyclic) or group.n % onto.n:
        raise GroupError(explain(f"a quotient of {group} onto {onto}", "Cyclic(n) onto Cyclic(m), m dividing n", "choose a divisor of n"))
    return Homomorphism(group, onto, partial(_modulo, onto.n), "quotient")
