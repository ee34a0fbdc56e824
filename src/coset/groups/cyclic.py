"""Turns and flips of a regular polygon, and circular shifts of a grid."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ..errors import GroupError, explain
from .base import Finite
from .maps import Homomorphism, identity_map, subgroup
from .numeric import Device, Dtype, integers, place, real, size, wide


def rotation(n: int, k: Tensor, dtype: Dtype) -> Tensor:
    """Counter-clockwise rotations by 2 pi k / n, shape (..., 2, 2); multiples of a quarter turn are exact."""
    k = k % n
    angle = k.to(wide(k.device)) * (2 * math.pi / n)
    exact = (4 * k) % n == 0
    cos, sin = (torch.where(exact, f(angle).round(), f(angle)) for f in (torch.cos, torch.sin))
    return torch.stack([cos, -sin, sin, cos], -1).unflatten(-1, (2, 2)).to(real(dtype))


def circle(n: int, g: Tensor, h: Tensor) -> Tensor:
    """The number of steps between two integers modulo n, in the default dtype."""
    steps = (g - h) % n
    return torch.minimum(steps, n - steps).to(torch.get_default_dtype())


class Cyclic(Finite):
    """C_n: the turns of a regular n-gon; element k turns counter-clockwise by k/n of a full turn.

    Elements: integers k (...), taken modulo n. ``matrix`` gives 2 x 2 rotations; quarter turns are exact.

    Raises:
        GroupError: when n is not an integer of at least 1.

    Example:
        >>> import torch
        >>> from coset.groups import Cyclic
        >>> Cyclic(4).matrix(torch.tensor(1)).int().tolist()
        [[0, -1], [1, 0]]
    """

    dim = 2

    def __init__(self, n: int):
        self.n = size("Cyclic", n)

    @property
    def order(self) -> int:
        """The number of elements."""
        return self.n

    def elements(self, *, dtype: Dtype = None, device: Device = None) -> Tensor:
        """All elements along a leading axis, the identity first."""
        return torch.arange(self.n, device=device)

    def index(self, g: Tensor) -> Tensor:
        """The position of g in :meth:`elements`."""
        return g % self.n

    def haar(self, *batch: int, generator: torch.Generator | None = None, dtype: Dtype = None, device: Device = None) -> Tensor:
        """Independent Haar-distributed elements."""
        return integers(self.n, batch, generator, device)

    def identity(self, *batch: int, dtype: Dtype = None, device: Device = None) -> Tensor:
        """The neutral element, repeated over the batch axes."""
        return torch.zeros(batch, dtype=torch.int64, device=device)

    def compose(self, g: Tensor, h: Tensor) -> Tensor:
        """The product gh: first h, then g."""
        return (g + h) % self.n

    def inverse(self, g: Tensor) -> Tensor:
        """The inverse of g."""
        return -g % self.n

    def distance(self, g: Tensor, h: Tensor) -> Tensor:
        """The number of steps between two turns."""
        return circle(self.n, g, h)

    def matrix(self, g: Tensor, *, dtype: Dtype = None) -> Tensor:
        """The counter-clockwise rotation of the plane, shape (..., 2, 2)."""
        return rotation(self.n, g, dtype)

    def components(self) -> dict[str, Homomorphism]:
        """The named subgroups that an audit reports."""
        return {"rotation": identity_map(self)}

    def parameters(self) -> tuple[int, ...]:
        """The constructor arguments."""
        return (self.n,)


class Flip(NamedTuple):
    """The element r^k s^flip of a dihedral group.

    Attributes:
        k: integers (...), how many steps to turn counter-clockwise.
        flip: integers (...), 1 where the mirror s = diag(-1, 1) acts first.
    """

    k: Tensor
    flip: Tensor


def unflipped(k: Tensor) -> Flip:
    """The turn r^k as an element of the dihedral group."""
    return Flip(k, torch.zeros_like(k))


def unturned(flip: Tensor) -> Flip:
    """The mirror s^flip as an element of the dihedral group."""
    return Flip(torch.zeros_like(flip), flip)


class Dihedral(Finite):
    """D_n: the turns and flips of a regular n-gon, of order 2n.

    Elements: :class:`Flip` (k, flip), meaning r^k s^flip with the left-right mirror s = diag(-1, 1).

    Raises:
        GroupError: when n is not an integer of at least 1.

    Example:
        >>> from coset.groups import Dihedral
        >>> Dihedral(4).order
        8
    """

    dim = 2
    reflects = True

    def __init__(self, n: int):
        self.n = size("Dihedral", n)

    @property
    def order(self) -> int:
        """The number of elements."""
        return 2 * self.n

    def elements(self, *, dtype: Dtype = None, device: Device = None) -> Flip:
        """All elements along a leading axis, the identity first."""
        steps = torch.arange(2 * self.n, device=device)
        return Flip(steps % self.n, steps // self.n)

    def index(self, g: Flip) -> Tensor:
        """The position of g in :meth:`elements`."""
        g = Flip(*g)
        return g.k % self.n + self.n * (g.flip % 2)

    def haar(self, *batch: int, generator: torch.Generator | None = None, dtype: Dtype = None, device: Device = None) -> Flip:
        """Independent Haar-distributed elements."""
        steps = integers(2 * self.n, batch, generator, device)
        return Flip(steps % self.n, steps // self.n)

    def identity(self, *batch: int, dtype: Dtype = None, device: Device = None) -> Flip:
        """The neutral element, repeated over the batch axes."""
        return Flip(*(torch.zeros(batch, dtype=torch.int64, device=device) for _ in range(2)))

    def compose(self, g: Flip, h: Flip) -> Flip:
        """The product gh: first h, then g."""
        g, h = Flip(*g), Flip(*h)
        return Flip((g.k + (1 - 2 * (g.flip % 2)) * h.k) % self.n, (g.flip + h.flip) % 2)

    def inverse(self, g: Flip) -> Flip:
        """The inverse of g."""
        g = Flip(*g)
        return Flip((2 * (g.flip % 2) - 1) * g.k % self.n, g.flip % 2)

    def distance(self, g: Flip, h: Flip) -> Tensor:
        """The number of steps between the turns, or 1 if larger where only one is flipped."""
        g, h = Flip(*g), Flip(*h)
        return torch.maximum(circle(self.n, g.k, h.k), circle(2, g.flip, h.flip))

    def matrix(self, g: Flip, *, dtype: Dtype = None) -> Tensor:
        """The rotation times the mirror diag(-1, 1) where flipped, shape (..., 2, 2)."""
        g = Flip(*g)
        turn = rotation(self.n, g.k, dtype)
        sign = (1 - 2 * (g.flip % 2)).to(turn.dtype)
        return turn * torch.stack([sign, torch.ones_like(sign)], -1).unsqueeze(-2)

    def components(self) -> dict[str, Homomorphism]:
        """The named subgroups that an audit reports."""
        return {
            "rotation": subgroup(Cyclic(self.n), self, unflipped),
            "reflection": subgroup(Cyclic(2), self, unturned),
        }

    def parameters(self) -> tuple[int, ...]:
        """The constructor arguments."""
        return (self.n,)


class Torus(Finite):
    """Circular shifts of a grid: the product of cyclic groups, one for each axis.

    Elements: integer shifts (..., number of axes), taken modulo the sizes.

    Raises:
        GroupError: when no size is given, or one is not an integer of at least 1.

    Example:
        >>> import torch
        >>> from coset.groups import Torus
        >>> Torus(4, 6).compose(torch.tensor([3, 3]), torch.tensor([2, 2]))
        tensor([1, 5])
    """

    def __init__(self, *sizes: int):
        if not sizes:
            raise GroupError(explain("Torus()", "the length of each grid axis", "write for instance Torus(28, 28)"))
        self.sizes = tuple(size("Torus", n) for n in sizes)

    def _moduli(self, device: Device) -> Tensor:
        return torch.tensor(self.sizes, device=device)

    @property
    def order(self) -> int:
        """The number of elements."""
        return math.prod(self.sizes)

    def elements(self, *, dtype: Dtype = None, device: Device = None) -> Tensor:
        """All elements along a leading axis, the identity first."""
        axes = torch.meshgrid(*(torch.arange(n, device=device) for n in self.sizes), indexing="ij")
        return torch.stack([axis.flatten() for axis in axes], -1)

    def index(self, g: Tensor) -> Tensor:
        """The position of g in :meth:`elements`."""
        strides = [math.prod(self.sizes[i + 1 :]) for i in range(len(self.sizes))]
        return ((g % self._moduli(g.device)) * torch.tensor(strides, device=g.device)).sum(-1)

    def haar(self, *batch: int, generator: torch.Generator | None = None, dtype: Dtype = None, device: Device = None) -> Tensor:
        """Independent Haar-distributed elements."""
        device = place(generator, device)
        return torch.stack([integers(n, batch, generator, device) for n in self.sizes], -1)

    def identity(self, *batch: int, dtype: Dtype = None, device: Device = None) -> Tensor:
        """The neutral element, repeated over the batch axes."""
        return torch.zeros((*batch, len(self.sizes)), dtype=torch.int64, device=device)

    def compose(self, g: Tensor, h: Tensor) -> Tensor:
        """The product gh: first h, then g."""
        return (g + h) % self._moduli(g.device)

    def inverse(self, g: Tensor) -> Tensor:
        """The inverse of g."""
        return -g % self._moduli(g.device)

    def distance(self, g: Tensor, h: Tensor) -> Tensor:
        """The number of grid steps along the axis that differs most."""
        moduli = self._moduli(g.device)
        steps = (g - h) % moduli
        return torch.minimum(steps, moduli - steps).amax(-1).to(torch.get_default_dtype())

    def components(self) -> dict[str, Homomorphism]:
        """The named subgroups that an audit reports."""
        return {"shift": identity_map(self)}

    def parameters(self) -> tuple[int, ...]:
        """The constructor arguments."""
        return self.sizes


def steps(factor: int, k: Tensor) -> Tensor:
    """Take k times as many steps: how C_n sits in C_{n factor}."""
    return k * factor


def flip_steps(factor: int, g: Flip) -> Flip:
    """Take k times as many steps: how D_n sits in D_{n factor}."""
    return Flip(g.k * factor, g.flip)
