"""Which group elements an audit looks at, how large they are, and how trees of elements are picked and stacked."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import GroupError
from ..groups.base import Group
from ..tree import Tree, leaves, tree_map


@dataclass
class Draw:
    """Elements for every input.

    Attributes:
        elements: tree with leading axes (B, S).
        count: S.
        exhaustive: True when the S elements are the whole finite group.
    """

    elements: Tree
    count: int
    exhaustive: bool

    def pick(self, inputs: Tensor, which: Tensor) -> Tree:
        """The elements number ``which`` of the given inputs, one leading axis."""
        return tree_map(lambda e: e[inputs, which], self.elements)


def draw(group: Group, inputs: int, samples: int, generator: torch.Generator, like: Tensor) -> Draw:
    """All elements of a finite group where they are at most ``samples``, else random ones for every input."""
    dtype = like.dtype if like.is_floating_point() or like.is_complex() else torch.get_default_dtype()
    order = order_of(group)
    if order is not None and order <= samples:
        every = group.elements(dtype=dtype, device=like.device)
        return Draw(tree_map(lambda e: e[None].expand(inputs, *e.shape).contiguous(), every), order, True)
    random = group.sample(inputs, samples, generator=generator, dtype=dtype, device=generator.device)
    return Draw(tree_map(lambda e: e.to(like.device), random), samples, False)


def sizes(group: Group, g: Tree) -> tuple[Tensor, str]:
    """How far elements are from the identity: rotation angles in degrees where there are any, else the distance.

    Returns:
        A tensor of the elements' batch shape, in float64, and the unit.
    """
    if group.dim in (2, 3) and not group.complex and not group.translates and not group.permutes and (group.compact or group.orthogonal):
        try:
            return torch.rad2deg(_angle(group.matrix(g).detach().to(torch.float64))), "rotation angle in degrees"
        except GroupError:
            pass
    example = next(iter(leaves(g)))
    neutral = group.identity(dtype=example.dtype if example.is_floating_point() or example.is_complex() else None, device=example.device)
    batch = group.batch(g)
    neutral = tree_map(lambda e: e.expand(*batch, *e.shape), neutral)
    return group.distance(g, neutral).detach().to(torch.float64), "distance from the identity"


def order_of(group: Group) -> int | None:
    """The number of elements of a finite group, else None."""
    return group.order if group.finite else None


def _angle(matrix: Tensor) -> Tensor:
    """Rotation angle of the proper part of orthogonal 2x2 and 3x3 matrices, in radians, between 0 and pi."""
    d = matrix.shape[-1]
    trace = matrix.diagonal(dim1=-2, dim2=-1).sum(-1)
    sign = torch.linalg.det(matrix).sgn()
    if d == 3:
        skew = (matrix - matrix.mT) * sign[..., None, None]
        sine = torch.stack([skew[..., 2, 1], skew[..., 0, 2], skew[..., 1, 0]], -1).norm(dim=-1) / 2
        return torch.atan2(sine, (trace * sign - 1) / 2)
    turn = torch.atan2((matrix[..., 1, 0] - matrix[..., 0, 1]).abs(), trace)
    return torch.where(sign > 0, turn, torch.full_like(turn, math.pi))


def choose(keep: Tensor, new: Tree, old: Tree) -> Tree:
    """The entries of ``new`` where ``keep`` (R,) holds, else those of ``old``."""
    return tree_map(lambda n, o: torch.where(keep.reshape(-1, *(1,) * (n.dim() - 1)), n, o), new, old)
