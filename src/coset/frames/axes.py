"""Orthonormal bases from directions: unit vectors that are never NaN, handedness, and what fixes the first axis."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from ..groups.orthogonal import SpecialOrthogonal
from ..groups.quadrature import rule
from .pruning import length

THIN = 0.2
"""Mean square along an axis, as a share of the whole, below which a cloud counts as flat and its skewness fades."""


def axial_rule(d: int, reflects: bool, degree: int) -> Float[Tensor, "M d d"]:
    """Matrices with equal weights that average over what fixes the first axis: the identity, the flip of the last axis, the rest."""
    turns = torch.eye(d, dtype=torch.float64).unsqueeze(0)
    if d == 3:
        plane = rule(SpecialOrthogonal(2), degree).elements
        turns = torch.nn.functional.pad(plane, (1, 0, 1, 0))
        turns[:, 0, 0] = 1.0
    if not reflects:
        return turns
    flip = torch.ones(d, dtype=torch.float64)
    flip[-1] = -1.0
    return torch.stack([turns, turns * flip], 1).flatten(0, 1)


class Moments(NamedTuple):
    """Weighted means of x x^T (B, d, d) and x x x (B, d * d, d) over the points, in units of their root mean square length."""

    second: Tensor
    third: Tensor

    def skewness(self, axis: Float[Tensor, "B m d"]) -> Float[Tensor, "B m 1"]:
        """The skewness of the cloud along unit vectors, zero where it is flat: it changes sign with the vector."""
        squares = (axis.unsqueeze(-1) * axis.unsqueeze(-2)).flatten(-2)
        odd = ((squares @ self.third) * axis).sum(-1, keepdim=True)
        thickness = (axis * (axis @ self.second)).sum(-1, keepdim=True)
        return odd / (thickness + THIN) ** 1.5


def moments_of(rows: Float[Tensor, "B n d"], strength: Float[Tensor, "B n"]) -> Moments:
    """The moments of the rows, each counted by its strength."""
    share = strength / strength.sum(1, keepdim=True).clamp_min(torch.finfo(rows.dtype).tiny)
    mean = (share * rows.square().sum(-1)).sum(1)
    rows = rows / torch.where(mean > 0, mean, 1.0).sqrt()[:, None, None]
    counted = share.unsqueeze(-1) * rows
    pairs = (rows.unsqueeze(-1) * rows.unsqueeze(-2)).flatten(-2)
    return Moments(counted.mT @ rows, pairs.mT @ counted)


def unit_rows(x: Tensor) -> Tensor:
    """Rows (..., d) of length one; zero rows become the first axis."""
    size = length(x).unsqueeze(-1)
    axis = torch.eye(x.shape[-1], dtype=x.dtype, device=x.device)[0].expand_as(x)
    return torch.where(size > 0, x / torch.where(size > 0, size, 1.0), axis)


def perpendicular(x: Tensor, axis: Tensor) -> Tensor:
    """Unit vectors along x (..., 3), with the rounding noise along the unit vectors ``axis`` taken out."""
    x = unit_rows(x)
    return unit_rows(x - axis * (axis * x).sum(-1, keepdim=True))


def any_normal(x: Tensor) -> Tensor:
    """A vector perpendicular to each unit vector (..., 3): its product with the axis that it is farthest from."""
    axis = torch.eye(3, dtype=x.dtype, device=x.device)[x.detach().abs().argmin(-1)]
    return torch.linalg.cross(x, axis, dim=-1)
