"""Shifts of a periodic grid by any real number of steps: a torus as a Lie group."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import GroupError, explain
from .base import Compact
from .maps import Homomorphism, identity_map
from .numeric import Device, Dtype, place, real, size, wide


class RealTorus(Compact):
    """R^n modulo the periods of a grid: circular shifts by whole numbers of pixels, and by fractions of one.

    Elements: real shifts (..., number of axes) in grid steps, taken modulo the periods.

    Raises:
        GroupError: when no period is given, or one is not an integer of at least 1.

    Example:
        >>> import torch
        >>> from coset.groups import RealTorus
        >>> RealTorus(4, 6).compose(torch.tensor([3.5, 3.0]), torch.tensor([1.0, 2.5]))
        tensor([0.5000, 5.5000])
    """

    def __init__(self, *periods: int):
        if not periods:
            raise GroupError(explain("RealTorus()", "the length of each grid axis", "write for instance RealTorus(28, 28)"))
        self.periods = tuple(size("RealTorus", n) for n in periods)
        self.lie_dimension = len(periods)

    def _moduli(self, like: Tensor) -> Tensor:
        return torch.tensor(self.periods, dtype=like.dtype, device=like.device)

    def identity(self, *batch: int, dtype: Dtype = None, device: Device = None) -> Tensor:
        """The neutral element, repeated over the batch axes."""
        return torch.zeros((*batch, len(self.periods)), dtype=real(dtype), device=device)

    def compose(self, g: Tensor, h: Tensor) -> Tensor:
        """The product gh: first h, then g."""
        return torch.remainder(g + h, self._moduli(g))

    def inverse(self, g: Tensor) -> Tensor:
        """The inverse of g."""
        return torch.remainder(-g, self._moduli(g))

    def haar(self, *batch: int, generator: torch.Generator | None = None, dtype: Dtype = None, device: Device = None) -> Tensor:
        """Independent shifts, uniform on the torus."""
        device = place(generator, device)
        share = torch.rand(*batch, len(self.periods), generator=generator, dtype=wide(device), device=device)
        return (share * self._moduli(share)).to(real(dtype))

    def distance(self, g: Tensor, h: Tensor) -> Tensor:
        """The number of grid steps along the axis that differs most."""
        steps = torch.remainder(g - h, self._moduli(g))
        return torch.minimum(steps, self._moduli(g) - steps).amax(-1)

    def algebra(self, *, dtype: Dtype = None, device: Device = None) -> Tensor:
        """One step along each axis."""
        return torch.eye(len(self.periods), dtype=real(dtype), device=device)

    def exp(self, x: Tensor) -> Tensor:
        """The shift by x."""
        return torch.remainder(x, self._moduli(x))

    def components(self) -> dict[str, Homomorphism]:
        """The named subgroups that an audit reports."""
        return {"shift": identity_map(self)}

    def parameters(self) -> tuple[int, ...]:
        """The constructor arguments."""
        return self.periods
