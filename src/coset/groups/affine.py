"""Maps x -> A x + t: translations, rigid motions and affine maps."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .base import Group
from .linear import GeneralLinear
from .maps import Homomorphism, identity_map, subgroup
from .matrix import MatrixGroup
from .numeric import Device, Dtype, eye, normal, product, real, size, widen
from .orthogonal import Orthogonal, Reflection, SpecialOrthogonal


class Affinity(NamedTuple):
    """The map x -> matrix x + shift.

    Attributes:
        matrix: (..., d, d).
        shift: (..., d).
    """

    matrix: Tensor
    shift: Tensor


def without_shift(matrix: Tensor) -> Affinity:
    """The linear map as an affine one."""
    return Affinity(matrix, torch.zeros_like(matrix[..., 0]))


def without_matrix(shift: Tensor) -> Affinity:
    """The translation as an affine map."""
    d = shift.shape[-1]
    return Affinity(eye(d, shift.shape[:-1], shift.dtype, shift.device), shift)


class Translation(Group):
    """All translations of R^d.

    Elements: shift vectors (..., d). ``sample`` draws standard normal shifts.

    Raises:
        GroupError: when d is not an integer of at least 1.

    Example:
        >>> import torch
        >>> from coset.groups import Translation
        >>> Translation(2).inverse(torch.tensor([1.0, -2.0]))
        tensor([-1.,  2.])
    """

    translates = True
    dim: int

    def __init__(self, d: int):
        self.dim = self.lie_dimension = size("Translation", d)

    def identity(self, *batch: int, dtype: Dtype = None, device: Device = None) -> Tensor:
        """The neutral element, repeated over the batch axes."""
        return torch.zeros(*batch, self.dim, dtype=real(dtype), device=device)

    def compose(self, g: Tensor, h: Tensor) -> Tensor:
        """The product gh: first h, then g."""
        return g + h

    def inverse(self, g: Tensor) -> Tensor:
        """The inverse of g."""
        return -g

    def sample(self, *batch: int, generator: torch.Generator | None = None, dtype: Dtype = None, device: Device = None) -> Tensor:
        """Random elements, as the class declares."""
        return normal((*batch, self.dim), generator, device).to(real(dtype))

    def distance(self, g: Tensor, h: Tensor) -> Tensor:
        """The largest difference of entries."""
        return (g - h).abs().amax(-1)

    def matrix(self, g: Tensor, *, dtype: Dtype = None) -> Tensor:
        """Identity matrices (..., d, d): translations have no linear part."""
        return eye(self.dim, g.shape[:-1], g.dtype if dtype is None else real(dtype), g.device)

    def shift(self, g: Tensor) -> Tensor:
        """The translation part of g, shape (..., d)."""
        return g

    def algebra(self, *, dtype: Dtype = None, device: Device = None) -> Tensor:
        """A basis of the Lie algebra along a leading axis."""
        return torch.eye(self.dim, dtype=real(dtype), device=device)

    def exp(self, x: Tensor) -> Tensor:
        """The shift itself."""
        return x

    def components(self) -> dict[str, Homomorphism]:
        """The named subgroups that an audit reports."""
        return {"translation": identity_map(self)}

    def parameters(self) -> tuple[int, ...]:
        """The constructor arguments."""
        return (self.dim,)


class AffineGroup(Group):
    """What groups of affine maps share, given the group ``linear`` of their matrices."""

    translates = True
    dim: int

    def __init__(self, linear: MatrixGroup):
        self.linear = linear
        self.dim = linear.dim
        self.lie_dimension = linear.lie_dimension + linear.dim

    def identity(self, *batch: int, dtype: Dtype = None, device: Device = None) -> Affinity:
        """The neutral element, repeated over the batch axes."""
        return without_shift(self.linear.identity(*batch, dtype=dtype, device=device))

    def compose(self, g: Affinity, h: Affinity) -> Affinity:
        """First h, then g: the matrix A B with the shift A u + t."""
        g, h = Affinity(*g), Affinity(*h)
        return Affinity(product(g.matrix, h.matrix), _apply(g.matrix, h.shift) + g.shift)

    def inverse(self, g: Affinity) -> Affinity:
        """The inverse of g."""
        g = Affinity(*g)
        matrix = self.linear.inverse(g.matrix)
        return Affinity(matrix, -_apply(matrix, g.shift))

    def sample(self, *batch: int, generator: torch.Generator | None = None, dtype: Dtype = None, device: Device = None) -> Affinity:
        """Random elements, as the class declares."""
        matrix = self.linear.sample(*batch, generator=generator, dtype=dtype, device=device)
        return Affinity(matrix, normal((*batch, self.dim), generator, device).to(matrix.dtype))

    def distance(self, g: Affinity, h: Affinity) -> Tensor:
        """The largest difference of entries."""
        g, h = Affinity(*g), Affinity(*h)
        return torch.maximum(self.linear.distance(g.matrix, h.matrix), (g.shift - h.shift).abs().amax(-1))

    def matrix(self, g: Affinity, *, dtype: Dtype = None) -> Tensor:
        """The linear part of g, shape (..., d, d)."""
        g = Affinity(*g)
        return self.linear.matrix(g.matrix, dtype=dtype)

    def shift(self, g: Affinity) -> Tensor:
        """The translation part of g, shape (..., d)."""
        g = Affinity(*g)
        return g.shift

    def algebra(self, *, dtype: Dtype = None, device: Device = None) -> Affinity:
        """A basis of the Lie algebra along a leading axis."""
        matrices = self.linear.algebra(dtype=dtype, device=device)
        shifts = torch.eye(self.dim, dtype=matrices.dtype, device=matrices.device)
        return Affinity(
            torch.cat([matrices, matrices.new_zeros(self.dim, self.dim, self.dim)]),
            torch.cat([shifts.new_zeros(self.linear.lie_dimension, self.dim), shifts]),
        )

    def exp(self, x: Affinity) -> Affinity:
        """Take exp of the (d+1) x (d+1) matrix [[A, t], [0, 0]]."""
        x = Affinity(*x)
        rows = torch.cat([x.matrix, x.shift.unsqueeze(-1)], -1)
        whole = torch.matrix_exp(widen(torch.nn.functional.pad(rows, (0, 0, 0, 1)))).to(x.matrix.dtype)
        return Affinity(whole[..., :-1, :-1], whole[..., :-1, -1])

    def batch(self, g: Affinity) -> torch.Size:
        """The leading batch axes of an element."""
        g = Affinity(*g)
        return g.shift.shape[:-1]

    def parts(self) -> tuple[Homomorphism, ...]:
        """The subgroups that make up the group, outermost first."""
        return subgroup(Translation(self.dim), self, without_matrix), subgroup(self.linear, self, without_shift)

    def parameters(self) -> tuple[int, ...]:
        """The constructor arguments."""
        return (self.dim,)


def _apply(matrix: Tensor, vector: Tensor) -> Tensor:
    return product(matrix, vector.unsqueeze(-1)).squeeze(-1)


class Euclidean(AffineGroup):
    """E(d): rotations, reflections and translations.

    Elements: :class:`Affinity` (matrix (..., d, d), shift (..., d)), x -> A x + t. ``sample`` draws Haar matrices and
    standard normal shifts; there is no Haar probability measure.

    Raises:
        GroupError: when d is not an integer of at least 1.

    Example:
        >>> from coset.groups import Euclidean
        >>> list(Euclidean(3).components())
        ['rotation', 'reflection', 'translation']
    """

    orthogonal = True
    reflects = True

    def __init__(self, d: int):
        super().__init__(Orthogonal(size("Euclidean", d)))

    def components(self) -> dict[str, Homomorphism]:
        """The named subgroups that an audit reports."""
        return {
            "rotation": subgroup(SpecialOrthogonal(self.dim), self, without_shift),
            "reflection": subgroup(Reflection(self.dim), self, without_shift),
            "translation": self.parts()[0],
        }


class SpecialEuclidean(AffineGroup):
    """SE(d): rotations and translations.

    Elements: :class:`Affinity` (matrix, shift) with determinant 1. ``sample`` draws Haar rotations and standard
    normal shifts.

    Raises:
        GroupError: when d is not an integer of at least 1.

    Example:
        >>> from coset.groups import SpecialEuclidean
        >>> SpecialEuclidean(3).lie_dimension
        6
    """

    orthogonal = True

    def __init__(self, d: int):
        super().__init__(SpecialOrthogonal(size("SpecialEuclidean", d)))

    def components(self) -> dict[str, Homomorphism]:
        """The named subgroups that an audit reports."""
        return {"rotation": self.parts()[1], "translation": self.parts()[0]}


class Affine(AffineGroup):
    """Aff(d): all invertible affine maps.

    Elements: :class:`Affinity` (matrix, shift). ``sample`` draws matrices as :class:`GeneralLinear` does (condition
    number at most e²) and standard normal shifts.

    Raises:
        GroupError: when d is not an integer of at least 1.

    Example:
        >>> from coset.groups import Affine
        >>> Affine(2).identity().shift
        tensor([0., 0.])
    """

    reflects = True
    stretches = True
    rescales = True

    def __init__(self, d: int):
        super().__init__(GeneralLinear(size("Affine", d)))

    def components(self) -> dict[str, Homomorphism]:
        """The named subgroups that an audit reports."""
        return {"linear": self.parts()[1], "translation": self.parts()[0]}
