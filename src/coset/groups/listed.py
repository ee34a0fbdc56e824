"""Finite subgroups given by the list of their elements inside a larger group."""

from __future__ import annotations

import abc

import torch
from torch import Tensor

from ..tree import Tree
from .base import Finite, Group
from .maps import Homomorphism, identity_map
from .numeric import Device, Dtype, real


class Listed(Finite):
    """A finite subgroup of ``ambient``, whose elements are single tensors."""

    ambient: Group

    @abc.abstractmethod
    def listing(self) -> Tensor:
        """All elements along a leading axis in float64 (or int64), the identity first."""

    def _as(self, x: Tensor, dtype: Dtype, device: Device) -> Tensor:
        return x.to(device=device, dtype=real(dtype) if x.is_floating_point() else x.dtype)

    @property
    def order(self) -> int:
        """The number of elements."""
        return int(self.listing().shape[0])

    def elements(self, *, dtype: Dtype = None, device: Device = None) -> Tensor:
        """All elements along a leading axis, the identity first."""
        return self._as(self.listing(), dtype, device).clone()

    def identity(self, *batch: int, dtype: Dtype = None, device: Device = None) -> Tensor:
        """The neutral element, repeated over the batch axes."""
        return self.ambient.identity(*batch, dtype=dtype, device=device)

    def compose(self, g: Tensor, h: Tensor) -> Tensor:
        """The product gh: first h, then g."""
        return self.ambient.compose(g, h)

    def inverse(self, g: Tensor) -> Tensor:
        """The inverse of g."""
        return self.ambient.inverse(g)

    def distance(self, g: Tensor, h: Tensor) -> Tensor:
        """The largest difference of entries."""
        return self.ambient.distance(g, h)

    def batch(self, g: Tree) -> torch.Size:
        """The leading batch axes of an element."""
        return self.ambient.batch(g)

    def index(self, g: Tensor) -> Tensor:
        """The position of the nearest listed element."""
        listing = self.listing().to(device=g.device, dtype=torch.float64).flatten(1)
        batch = self.batch(g)
        flat = g.to(torch.float64).reshape(*batch, listing.shape[1])
        return ((listing * listing).sum(-1) - 2 * flat @ listing.mT).argmin(-1)

    def matrix(self, g: Tensor, *, dtype: Dtype = None) -> Tensor:
        """The linear part of g, shape (..., d, d)."""
        return self.ambient.matrix(g, dtype=dtype)

    def components(self) -> dict[str, Homomorphism]:
        """The named subgroups that an audit reports."""
        return {"element": identity_map(self)}
