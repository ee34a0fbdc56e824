"""Transformations of space-time that keep the interval: O(1, d-1) and its subgroups, time first."""

from __future__ import annotations

import abc
from functools import partial

import torch
from torch import Tensor

from . import algebra
from .affine import Translation
from .maps import Homomorphism, subgroup
from .matrix import MatrixGroup, haar_rotation
from .numeric import Device, Dtype, normal, signs
from .orthogonal import Orthogonal, SpecialOrthogonal


def metric(d: int, dtype: torch.dtype | None = None, device: Device = None) -> Tensor:
    """The diagonal (1, -1, ..., -1) of the metric, shape (d,)."""
    diagonal = -torch.ones(d, dtype=dtype, device=device)
    diagonal[0] = 1.0
    return diagonal


def embed_rotation(g: Tensor) -> Tensor:
    """diag(1, R) for rotations R of space (..., d-1, d-1)."""
    space = torch.nn.functional.pad(g, (1, 0, 1, 0))
    one = torch.zeros(space.shape[-2:], dtype=g.dtype, device=g.device)
    one[0, 0] = 1.0
    return space + one


def boost(d: int, rapidity: Tensor) -> Tensor:
    """The boost along the first space axis, for rapidities (..., 1)."""
    cosh, sinh = rapidity[..., 0].cosh(), rapidity[..., 0].sinh()
    block = torch.stack([cosh, sinh, sinh, cosh], -1).unflatten(-1, (2, 2))
    rest = torch.eye(d, dtype=rapidity.dtype, device=rapidity.device)
    rest[:2, :2] = 0.0
    return torch.nn.functional.pad(block, (0, d - 2, 0, d - 2)) + rest


def boost_to(velocity: Tensor) -> Tensor:
    """The boost without rotation that takes the time axis to a unit vector u (..., d) with u[0] >= 1: (..., d, d).

    Its entries are u0 and u in the first row and column, and 1 + u u^T / (1 + u0) in the space block.
    """
    time, space = velocity[..., :1], velocity[..., 1:]
    unit = torch.eye(space.shape[-1], dtype=velocity.dtype, device=velocity.device)
    block = unit + space.unsqueeze(-1) * (space / (1 + time)).unsqueeze(-2)
    return torch.cat([velocity.unsqueeze(-2), torch.cat([space.unsqueeze(-1), block], -1)], -2)


def flip_axes(d: int, axes: tuple[int, ...], g: Tensor) -> Tensor:
    """The diagonal matrix with the sign of the 1 x 1 matrices ``g`` (..., 1, 1) on some axes, and 1 elsewhere."""
    chosen = torch.zeros(d, dtype=g.dtype, device=g.device)
    chosen[list(axes)] = 1.0
    return torch.diag_embed(1 + (g[..., 0] - 1) * chosen)


class _LorentzGroup(MatrixGroup):
    """What the three Lorentz groups share: the metric, the algebra, and boosts between random rotations."""

    lorentzian = True

    def __init__(self, d: int):
        super().__init__(d)
        self.lie_dimension = self.dim * (self.dim - 1) // 2

    @staticmethod
    def least() -> int:
        return 2

    def basis(self) -> Tensor:
        """The basis of the Lie algebra in full precision."""
        return algebra.lorentz(self.dim)

    def inverse(self, g: Tensor) -> Tensor:
        """The transpose, seen through the metric."""
        eta = metric(self.dim, g.dtype, g.device)
        return eta[:, None] * g.mT * eta

    @abc.abstractmethod
    def flips(self) -> dict[str, tuple[int, ...]]:
        """The discrete components: which axes change sign, by name."""

    def sample(self, *batch: int, generator: torch.Generator | None = None, dtype: Dtype = None, device: Device = None) -> Tensor:
        """Random elements, as the class declares."""
        left, right = (embed_rotation(haar_rotation(self.dim - 1, batch, generator, device)) for _ in range(2))
        g = left @ boost(self.dim, normal((*batch, 1), generator, device)) @ right
        for axes in self.flips().values():
            g = g @ flip_axes(self.dim, axes, signs((*batch, 1, 1), generator, device))
        return g.to(self.dtype_of(dtype))

    def components(self) -> dict[str, Homomorphism]:
        """The named subgroups that an audit reports."""
        continuous = {
            "rotation": subgroup(SpecialOrthogonal(self.dim - 1), self, embed_rotation),
            "boost": subgroup(Translation(1), self, partial(boost, self.dim)),
        }
        flips = {name: subgroup(Orthogonal(1), self, partial(flip_axes, self.dim, axes)) for name, axes in self.flips().items()}
        return continuous | flips


class Lorentz(_LorentzGroup):
    """O(1, d-1): all matrices that keep the metric diag(1, -1, ..., -1), in four connected components.

    Elements: matrices (..., d, d), time first. ``sample`` draws diag(1, R) B diag(1, S) with R, S Haar in SO(d-1), a boost
    B of standard normal rapidity, then parity and time reversal with probability 1/2 each.

    Raises:
        GroupError: when d is not an integer of at least 2.

    Example:
        >>> from coset.groups import Lorentz
        >>> sorted(Lorentz(4).components())
        ['boost', 'parity', 'rotation', 'time reversal']
    """

    reflects = True

    def flips(self) -> dict[str, tuple[int, ...]]:
        """The axes that each discrete component flips."""
        return {"parity": (1,), "time reversal": (0,)}


class SpecialLorentz(_LorentzGroup):
    """SO(1, d-1): Lorentz matrices of determinant 1, in two connected components.

    Elements: matrices (..., d, d), time first. ``sample`` draws as :class:`Lorentz` does, and with probability 1/2
    reverses time together with the first space axis.

    Raises:
        GroupError: when d is not an integer of at least 2.

    Example:
        >>> import torch
        >>> from coset.groups import SpecialLorentz
        >>> g = SpecialLorentz(4).sample(50, dtype=torch.float64)
        >>> bool((torch.linalg.det(g) > 0).all())
        True
    """

    def flips(self) -> dict[str, tuple[int, ...]]:
        """The axes that each discrete component flips."""
        return {"time reversal": (0, 1)}


class ProperLorentz(_LorentzGroup):
    """The proper orthochronous Lorentz group: determinant 1 and no time reversal, connected.

    Elements: matrices (..., d, d), time first. ``sample`` draws diag(1, R) B diag(1, S) with R, S Haar in SO(d-1) and a
    boost B of standard normal rapidity.

    Raises:
        GroupError: when d is not an integer of at least 2.

    Example:
        >>> from coset.groups import ProperLorentz
        >>> bool((ProperLorentz(4).sample(50)[:, 0, 0] >= 1).all())
        True
    """

    def flips(self) -> dict[str, tuple[int, ...]]:
        """The axes that each discrete component flips."""
        return {}
