"""Rotations and reflections: O(d), SO(d) and the two-element group of one mirror."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from . import algebra
from .listed import Listed
from .maps import Homomorphism, identity_map, subgroup
from .matrix import CompactMatrixGroup, haar_orthogonal, haar_rotation
from .numeric import Device, Dtype, size


class Orthogonal(CompactMatrixGroup):
    """O(d): rotations and reflections of R^d.

    Elements: matrices (..., d, d). Haar sampling by QR with sign correction.

    Raises:
        GroupError: when d is not an integer of at least 1.

    Example:
        >>> import torch
        >>> from coset.groups import Orthogonal
        >>> group = Orthogonal(3)
        >>> g = group.haar(5, generator=torch.Generator().manual_seed(0))
        >>> bool((group.distance(group.compose(g, group.inverse(g)), group.identity(5)) < 1e-5).all())
        True
    """

    orthogonal = True
    reflects = True

    def __init__(self, d: int):
        super().__init__(d)
        self.lie_dimension = self.dim * (self.dim - 1) // 2

    def basis(self) -> Tensor:
        """The basis of the Lie algebra in full precision."""
        return algebra.skew(self.dim)

    def haar(self, *batch: int, generator: torch.Generator | None = None, dtype: Dtype = None, device: Device = None) -> Tensor:
        """Independent Haar-distributed elements."""
        return haar_orthogonal(self.dim, batch, generator, device).to(self.dtype_of(dtype))

    def components(self) -> dict[str, Homomorphism]:
        """The named subgroups that an audit reports."""
        return {
            "rotation": subgroup(SpecialOrthogonal(self.dim), self),
            "reflection": subgroup(Reflection(self.dim), self),
        }


class SpecialOrthogonal(CompactMatrixGroup):
    """SO(d): rotations of R^d.

    Elements: matrices (..., d, d) of determinant 1.

    Raises:
        GroupError: when d is not an integer of at least 1.

    Example:
        >>> import torch
        >>> from coset.groups import SpecialOrthogonal
        >>> quarter = SpecialOrthogonal(2).exp(torch.pi / 2 * SpecialOrthogonal(2).algebra()[0])
        >>> quarter.round().int().tolist()
        [[0, -1], [1, 0]]
    """

    orthogonal = True

    def __init__(self, d: int):
        super().__init__(d)
        self.lie_dimension = self.dim * (self.dim - 1) // 2

    def basis(self) -> Tensor:
        """The basis of the Lie algebra in full precision."""
        return algebra.skew(self.dim)

    def haar(self, *batch: int, generator: torch.Generator | None = None, dtype: Dtype = None, device: Device = None) -> Tensor:
        """Independent Haar-distributed elements."""
        return haar_rotation(self.dim, batch, generator, device).to(self.dtype_of(dtype))

    def components(self) -> dict[str, Homomorphism]:
        """The named subgroups that an audit reports."""
        return {"rotation": identity_map(self)}


@lru_cache
def _mirror_pair(d: int) -> Tensor:
    pair = torch.eye(d, dtype=torch.float64).repeat(2, 1, 1)
    pair[1, 0, 0] = -1.0
    return pair


class Reflection(Listed):
    """The two elements I and diag(-1, 1, ..., 1) of O(d): one mirror.

    Elements: matrices (..., d, d).

    Raises:
        GroupError: when d is not an integer of at least 1.

    Example:
        >>> from coset.groups import Reflection
        >>> Reflection(2).elements()[1].tolist()
        [[-1.0, 0.0], [0.0, 1.0]]
    """

    reflects = True

    def __init__(self, d: int):
        self.dim = size("Reflection", d)
        self.ambient = Orthogonal(self.dim)

    def listing(self) -> Tensor:
        """All elements in full precision, the identity first."""
        return _mirror_pair(self.ambient.dim or 1)

    def parameters(self) -> tuple[int | None, ...]:
        """The constructor arguments."""
        return (self.dim,)

    def components(self) -> dict[str, Homomorphism]:
        """The named subgroups that an audit reports."""
        return {"reflection": identity_map(self)}


def scalar(d: int, g: Tensor) -> Tensor:
    """The d x d multiple of the identity with the factor of the 1 x 1 matrices ``g`` (..., 1, 1)."""
    return g * torch.eye(d, dtype=g.dtype, device=g.device)
