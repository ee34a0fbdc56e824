"""Averages over all permutations of equal rows: class means along one axis, block means along two."""

from __future__ import annotations

import torch
from torch import Tensor

from .actions.base import Action
from .errors import InputError, explain


def average_ties(action: Action, y: Tensor, ties: Tensor) -> Tensor:
    """Project outputs on what permutations within the classes leave alone.

    Args:
        action: how permutations move ``y``; only its permuted axes matter.
        y: (B, ...).
        ties: (B, n) class numbers.

    Raises:
        InputError: for three or more permuted axes.
    """
    axes = action.point_axes(y)
    if not axes:
        return y
    same = (ties[:, :, None] == ties[:, None, :]).to(y.dtype)
    size = same.sum(-1, keepdim=True)
    mean = same / size
    if len(axes) == 1:
        moved = torch.einsum("bij,bj...->bi...", mean, y.movedim(axes[0], 1))
        return moved.movedim(1, axes[0])
    if len(axes) > 2:
        raise InputError(
            explain(
                f"equal rows and an output of {action}",
                "at most two permuted axes",
                "tell the rows apart by another input, or average over Symmetric(n) with frames.Full()",
            )
        )
    return _pairs(y.movedim(axes, (1, 2)), same, size, mean).movedim((1, 2), axes)


def _pairs(y: Tensor, same: Tensor, size: Tensor, mean: Tensor) -> Tensor:
    """Orbits of pairs (i, j): the diagonal and the rest of each block are averaged by themselves."""
    tail = (1,) * (y.dim() - 3)
    eye = torch.eye(same.shape[-1], dtype=same.dtype, device=same.device).reshape(1, *same.shape[1:], *tail)
    off = torch.einsum("bik,bjl,bkl...->bij...", mean, mean, y * (1 - eye))
    grow = torch.where(same > 0, size / (size - 1).clamp_min(1), torch.ones_like(same))
    diagonal = torch.einsum("bij,bj...->bi...", mean, y.diagonal(dim1=1, dim2=2).movedim(-1, 1))
    return off * grow.reshape(*grow.shape, *tail) * (1 - eye) + eye * diagonal.unsqueeze(2)
