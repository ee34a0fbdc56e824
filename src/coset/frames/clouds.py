"""Dense float64 rows of vectors from inputs that are dense, padded or ragged, for frames built from points."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..actions.layout import Layout
from ..errors import FrameError, explain
from ..tree import Tree
from .base import Frame, device_of, ordered_leaves, wide


def dense_rows(x: Tensor, at: Layout) -> tuple[Tensor, Tensor | None]:
    """Vectors (B, d), (B, ..., d) or ragged (N, d) as rows (B, n, d) in wide precision, with a mask where padded."""
    values = x.to(wide(x.dtype, x.device))
    if at.batch is not None and at.is_per_row(x):
        return pad_rows(values.reshape(x.shape[0], -1), at)
    rows = values.unsqueeze(1) if x.dim() == 2 else values.flatten(1, -2)
    mask = at.mask if at.mask is not None and tuple(x.shape[:2]) == tuple(at.mask.shape) and x.dim() == 3 else None
    return (rows if mask is None else rows * mask.unsqueeze(-1)), mask


def slots(at: Layout) -> tuple[Tensor, int]:
    """(N,) position of every ragged row within its padded sample, and the padded length (one host synchronization)."""
    batch = at.batch
    counts = torch.bincount(batch, minlength=at.samples)  # type: ignore[arg-type]
    order = torch.argsort(batch, stable=True)  # type: ignore[arg-type]
    rank = torch.empty_like(order)
    rank[order] = torch.arange(order.shape[0], device=order.device)
    return rank - (counts.cumsum(0) - counts)[batch], int(counts.max())  # type: ignore[index]


def pad_rows(x: Tensor, at: Layout) -> tuple[Tensor, Tensor]:
    """Ragged (N, c) as (B, n, c) with zero padding, and the (B, n) mask."""
    slot, length = slots(at)
    flat = at.batch * length + slot  # type: ignore[operator]
    rows = x.new_zeros(at.samples * length, *x.shape[1:]).index_copy(0, flat, x)
    mask = torch.zeros(at.samples * length, dtype=torch.bool, device=x.device).index_fill(0, flat, True)
    return rows.reshape(at.samples, length, *x.shape[1:]), mask.reshape(at.samples, length)


def centroid(rows: Tensor, mask: Tensor | None) -> Tensor:
    """(B, d) mean of the rows that are not padding."""
    if mask is None:
        return rows.mean(1)
    count = mask.sum(1, keepdim=True).clamp_min(1).to(rows.dtype)
    return (rows * mask.unsqueeze(-1)).sum(1) / count


@dataclass(frozen=True)
class Cloud:
    """What a frame sees of the inputs.

    Attributes:
        rows: (B, n, d) vectors in wide precision: first those named by ``of=`` (positions centred when the group
            translates), then the other vectors, scaled to the radius of the first.
        named: how many of the n rows come from ``of=``.
        radius: (B,) the largest length of the named rows.
        cut: (B,) lengths below it are noise.
        center: (B, d) the centroid, or None when the group does not translate.
        mask: (B, n) False on padded rows, or None.
    """

    rows: Tensor
    named: int
    radius: Tensor
    cut: Tensor
    center: Tensor | None
    mask: Tensor | None


def gather_cloud(frame: Frame, inputs: Tree, at: Layout, tol: float) -> Cloud:
    """Collect the vectors of the inputs.

    The cut is max(tol * radius, 4 eps(input dtype) * largest raw coordinate): the second term is the rounding noise
    that centring leaves behind.
    """
    named, other, masks, center, raw = [], [], [], None, None
    for _, action, x, first in ordered_leaves(frame, inputs):
        if not action.polar:
            continue
        rows, mask = dense_rows(x, at)
        if action.affine:
            center = centroid(rows, mask) if center is None else center
            noise = 4 * torch.finfo(x.dtype).eps * largest(rows)
            raw = noise if raw is None else torch.maximum(raw, noise)
            rows = rows - center.unsqueeze(1)
            rows = rows if mask is None else rows * mask.unsqueeze(-1)
        (named if first else other).append(rows)
        masks.append((first, rows, mask))
    if not named:
        raise FrameError(explain(f"{frame} of inputs {frame.source}", "vectors or points to build a frame from", "name them with of=, or declare them as Points or Vectors"))
    main = torch.cat(named, 1)
    radius = longest(main)
    unit = torch.where(radius > 0, radius, torch.ones_like(radius))
    scaled = [rows * (unit / longest(rows).clamp_min(torch.finfo(rows.dtype).tiny))[:, None, None] for rows in other]
    cut = tol * radius
    cut = cut if raw is None else torch.maximum(cut, raw)
    return Cloud(torch.cat([main, *scaled], 1), main.shape[1], radius, cut.detach(), center, _join_masks(masks))


def _join_masks(masks: list[tuple[bool, Tensor, Tensor | None]]) -> Tensor | None:
    """Masks of the collected rows, named ones first; None when nothing is padded."""
    if all(mask is None for _, _, mask in masks):
        return None
    filled = [(first, rows.new_ones(rows.shape[:2], dtype=torch.bool) if mask is None else mask) for first, rows, mask in masks]
    return torch.cat([mask for first, mask in filled if first] + [mask for first, mask in filled if not first], 1)


def largest(rows: Tensor) -> Tensor:
    """(B,) the largest absolute coordinate."""
    return rows.detach().abs().flatten(1).amax(1)


def longest(rows: Tensor) -> Tensor:
    """(B,) the largest length of a row, detached."""
    return rows.detach().square().sum(-1).amax(1).sqrt()


def element(frame: Frame, matrices: Tensor, center: Tensor | None) -> Tree:
    """Group elements from orthogonal matrices (K, B, d, d) and, for Euclidean groups, centroids (B, d)."""
    group = frame.group
    if center is None:
        return matrices
    move, turn = group.parts()
    return group.compose(move(center.unsqueeze(0).expand(matrices.shape[0], *center.shape)), turn(matrices))


def full_weights(samples: int, inputs: Tree) -> Tensor:
    """(1, B) ones."""
    return torch.ones(1, samples, dtype=torch.float64, device=device_of(inputs))
