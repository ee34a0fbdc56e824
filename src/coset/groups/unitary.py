"""Complex rotations: U(d) and SU(d)."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from . import algebra
from .maps import Homomorphism, identity_map, subgroup
from .matrix import CompactMatrixGroup, haar_unitary, scale_first_column
from .numeric import Device, Dtype
from .orthogonal import scalar


class Unitary(CompactMatrixGroup):
    """U(d): complex matrices with g g* = 1.

    Elements: complex matrices (..., d, d); a real ``dtype`` means the complex one of the same precision.
    The Lie algebra has the d² real directions of the anti-Hermitian matrices.

    Raises:
        GroupError: when d is not an integer of at least 1.

    Example:
        >>> from coset.groups import Unitary
        >>> Unitary(2).identity().dtype
        torch.complex64
    """

    complex = True
    unitary = True
    reflects = True

    def __init__(self, d: int):
        super().__init__(d)
        self.lie_dimension = self.dim**2

    def basis(self) -> Tensor:
        """The basis of the Lie algebra in full precision."""
        return algebra.anti_hermitian(self.dim, special=False)

    def haar(self, *batch: int, generator: torch.Generator | None = None, dtype: Dtype = None, device: Device = None) -> Tensor:
        """Independent Haar-distributed elements."""
        return haar_unitary(self.dim, batch, generator, device).to(self.dtype_of(dtype))

    def components(self) -> dict[str, Homomorphism]:
        """The named subgroups that an audit reports."""
        return {
            "special unitary": subgroup(SpecialUnitary(self.dim), self),
            "phase": subgroup(Unitary(1), self, partial(scalar, self.dim)),
        }


class SpecialUnitary(CompactMatrixGroup):
    """SU(d): unitary matrices of determinant 1.

    Elements: complex matrices (..., d, d). The Lie algebra has d² - 1 real directions.

    Raises:
        GroupError: when d is not an integer of at least 1.

    Example:
        >>> from coset.groups import SpecialUnitary
        >>> SpecialUnitary(2).algebra().shape
        torch.Size([3, 2, 2])
    """

    complex = True
    unitary = True

    def __init__(self, d: int):
        super().__init__(d)
        self.lie_dimension = self.dim**2 - 1

    def basis(self) -> Tensor:
        """The basis of the Lie algebra in full precision."""
        return algebra.anti_hermitian(self.dim, special=True)

    def haar(self, *batch: int, generator: torch.Generator | None = None, dtype: Dtype = None, device: Device = None) -> Tensor:
        """Independent Haar-distributed elements."""
        u = haar_unitary(self.dim, batch, generator, device)
        return scale_first_column(u, special=True).to(self.dtype_of(dtype))

    def components(self) -> dict[str, Homomorphism]:
        """The named subgroups that an audit reports."""
        return {"special unitary": identity_map(self)}
