"""Groups of d x d matrices: what orthogonal, unitary, Lorentz and linear groups have in common."""

from __future__ import annotations

import abc

import torch
from torch import Tensor

from .base import Compact, Group
from .maps import Homomorphism, identity_map
from .numeric import Device, Dtype, complex_, eye, normal, product, real, size, widen


class MatrixGroup(Group):
    """A group whose elements are matrices (..., d, d) and whose product is the matrix product."""

    dim: int

    def __init__(self, d: int):
        self.dim = size(type(self).__name__, d, self.least())

    @staticmethod
    def least() -> int:
        """The smallest d that makes sense."""
        return 1

    @abc.abstractmethod
    def basis(self) -> Tensor:
        """A basis of the Lie algebra, (lie_dimension, d, d) in float64 or complex128."""

    def dtype_of(self, dtype: Dtype) -> torch.dtype:
        """The dtype of elements for an asked one."""
        return complex_(dtype) if self.complex else real(dtype)

    def identity(self, *batch: int, dtype: Dtype = None, device: Device = None) -> Tensor:
        """The neutral element, repeated over the batch axes."""
        return eye(self.dim, batch, self.dtype_of(dtype), device)

    def compose(self, g: Tensor, h: Tensor) -> Tensor:
        """The matrix product."""
        return product(g, h)

    def inverse(self, g: Tensor) -> Tensor:
        """The inverse of g."""
        return torch.linalg.inv(widen(g)).to(g.dtype)

    def distance(self, g: Tensor, h: Tensor) -> Tensor:
        """The largest difference of entries."""
        return (g - h).abs().amax((-2, -1))

    def matrix(self, g: Tensor, *, dtype: Dtype = None) -> Tensor:
        """The linear part of g, shape (..., d, d)."""
        return g if dtype is None else g.to(self.dtype_of(dtype))

    def algebra(self, *, dtype: Dtype = None, device: Device = None) -> Tensor:
        """A basis of the Lie algebra along a leading axis."""
        return self.basis().to(device=device, dtype=self.dtype_of(dtype))

    def exp(self, x: Tensor) -> Tensor:
        """The matrix exponential, computed in float64."""
        return torch.matrix_exp(widen(x)).to(x.dtype)

    def batch(self, g: Tensor) -> torch.Size:
        """The leading batch axes of an element."""
        return g.shape[:-2]

    def components(self) -> dict[str, Homomorphism]:
        """The named subgroups that an audit reports."""
        return {"linear": identity_map(self)}

    def parameters(self) -> tuple[int, ...]:
        """The constructor arguments."""
        return (self.dim,)


class CompactMatrixGroup(MatrixGroup, Compact):
    """A compact group of matrices: orthogonal or unitary, so that the inverse is the adjoint."""

    def inverse(self, g: Tensor) -> Tensor:
        """The adjoint."""
        return g.mH


def haar_orthogonal(d: int, batch: tuple[int, ...], generator: torch.Generator | None, device: Device) -> Tensor:
    """Haar-distributed matrices of O(d) in float64.

    QR of a normal matrix, with the signs of R's diagonal moved into Q; without them Q is not Haar
    (Mezzadri 2007, How to generate random matrices from the classical compact groups).
    """
    q, r = torch.linalg.qr(normal((*batch, d, d), generator, device))
    return q * r.diagonal(dim1=-2, dim2=-1).sgn().unsqueeze(-2)


def haar_rotation(d: int, batch: tuple[int, ...], generator: torch.Generator | None, device: Device) -> Tensor:
    """Haar-distributed matrices of SO(d) in float64: the first column of O(d) times the determinant."""
    return scale_first_column(haar_orthogonal(d, batch, generator, device), special=True)


def haar_unitary(d: int, batch: tuple[int, ...], generator: torch.Generator | None, device: Device) -> Tensor:
    """Haar-distributed matrices of U(d) in complex128, by QR with the phases of R's diagonal moved into Q."""
    parts = normal((2, *batch, d, d), generator, device)
    q, r = torch.linalg.qr(torch.complex(parts[0], parts[1]))
    return q * r.diagonal(dim1=-2, dim2=-1).sgn().unsqueeze(-2)


def scale_first_column(q: Tensor, special: bool) -> Tensor:
    """Divide the first column by the determinant's sign or phase.

    The coset q S of the one-parameter (or two-element) subgroup S = {diag(z, 1, ..., 1)} meets the special group once,
    and there independently of z: Haar goes to Haar.
    """
    if not special:
        return q
    factor = torch.linalg.det(q).sgn().conj()
    return torch.cat([q[..., :1] * factor[..., None, None], q[..., 1:]], dim=-1)
