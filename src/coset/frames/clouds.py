"""Dense float64 rows of vectors from inputs that are dense, padded or ragged, for frames built from points."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..actions.base import Action
from ..actions.layout import Layout, ragged_slots
from ..errors import FrameError, explain
from ..tree import Tree
from .base import Frame, ordered_leaves, wide


def dense_rows(x: Tensor, at: Layout) -> tuple[Tensor, Tensor | None]:
    """Vectors (B, d), (B, ..., d) or ragged (N, d) as rows (B, n, d), with a mask (and zeros) where padded."""
    if at.batch is not None and at.is_per_row(x):
        return pad_rows(x.reshape(x.shape[0], -1), at)
    rows = x.unsqueeze(1) if x.dim() == 2 else x.flatten(1, -2)
    mask = at.mask if at.mask is not None and tuple(x.shape[:2]) == tuple(at.mask.shape) and x.dim() == 3 else None
    return (rows if mask is None else rows * mask.unsqueeze(-1)), mask


def slots(at: Layout) -> tuple[Tensor, int]:
    """(N,) position of every ragged row within its padded sample, and the padded length (one host synchronization)."""
    slot, counts, _ = ragged_slots(at.batch, at.samples)  # type: ignore[arg-type]
    return slot, int(counts.max())


def pad_rows(x: Tensor, at: Layout) -> tuple[Tensor, Tensor]:
    """Ragged (N, c) as (B, n, c) with zero padding, and the (B, n) mask."""
    slot, length = slots(at)
    flat = at.batch * length + slot  # type: ignore[operator]
    rows = x.new_zeros(at.samples * length, *x.shape[1:]).index_copy(0, flat, x)
    mask = torch.zeros(at.samples * length, dtype=torch.bool, device=x.device).index_fill(0, flat, True)
    return rows.reshape(at.samples, length, *x.shape[1:]), mask.reshape(at.samples, length)


def centroid(rows: Float[Tensor, "B n d"], mask: Bool[Tensor, "B n"] | None) -> Float[Tensor, "B d"]:
    """(B, d) mean of the rows that are not padding, in wide precision."""
    precise = wide(rows.dtype, rows.device)
    if mask is None:
        return rows.mean(1, dtype=precise)
    count = mask.sum(1, keepdim=True).clamp_min(1).to(precise)
    return rows.sum(1, dtype=precise) / count


@dataclass(frozen=True)
class Part:
    """Rows from one input: raw values (B, n, d) in their own precision, zero where padded."""

    x: Tensor
    affine: bool
    mask: Tensor | None
    named: bool
    per_point: bool = False


@dataclass(frozen=True)
class Cloud:
    """What a frame sees of the inputs.

    Attributes:
        parts: the inputs that hold vectors, those named by ``of=`` first.
        scales: per part, None or (B,) factors that bring it to the radius of the named rows.
        center: (B, d) the centroid, or None when the group does not translate.
        view: (B, d, n) all rows, centred, scaled, detached, in the precision of the inputs: what decisions are made on.
        named: how many of the n rows come from ``of=``.
        unit: (B,) the length that everything is measured in: the largest one of the named rows, or more where these
            are all noise, so that other vectors are judged by the same share of it.
        cut: (B,) lengths below it are noise: the tolerance times the unit.
    """

    parts: tuple[Part, ...]
    scales: tuple[Tensor | None, ...]
    center: Tensor | None
    view: Tensor
    named: int
    unit: Tensor
    cut: Tensor

    @property
    def rows(self) -> Tensor:
        """(B, n, d) all rows in wide precision, centred and scaled, differentiable."""
        return torch.cat([self._precise(part, scale) for part, scale in zip(self.parts, self.scales, strict=True)], 1)

    def _precise(self, part: Part, scale: Tensor | None) -> Tensor:
        rows = part.x.to(wide(part.x.dtype, part.x.device))
        if part.affine and self.center is not None:
            rows = rows - self.center.unsqueeze(1)
            rows = rows if part.mask is None else rows * part.mask.unsqueeze(-1)
        return rows if scale is None else rows * scale[:, None, None]

    def pick(self, index: Tensor) -> Tensor:
        """(B, d) one row per sample in wide precision, differentiable."""
        found, start = None, 0
        for part, scale in zip(self.parts, self.scales, strict=True):
            length = part.x.shape[1]
            local = (index - start).clamp(0, length - 1)
            row = part.x.gather(1, local[:, None, None].expand(-1, 1, part.x.shape[-1])).squeeze(1).to(wide(part.x.dtype, part.x.device))
            row = row - self.center if part.affine and self.center is not None else row
            row = row if scale is None else row * scale[:, None]
            found = row if found is None else torch.where((index >= start)[:, None], row, found)
            start += length
        return found  # type: ignore[return-value]

    @property
    def mask(self) -> Tensor | None:
        """(B, n) False on padded rows; None when nothing is padded."""
        if all(part.mask is None for part in self.parts):
            return None
        ones = [part.x.new_ones(part.x.shape[:2], dtype=torch.bool) if part.mask is None else part.mask for part in self.parts]
        return torch.cat(ones, 1)


def gather_cloud(frame: Frame, inputs: Tree, at: Layout, tol: float) -> Cloud:
    """Collect the vectors of the inputs.

    The cut is max(tol * radius, 4 eps(input dtype) * largest raw coordinate): the second term is the rounding noise
    that centring leaves behind.
    """
    found = [(action, x, first) for _, action, x, first in ordered_leaves(frame, inputs) if action.polar]
    parts = []
    for action, x, first in found:
        rows, mask = dense_rows(x, at)
        parts.append(Part(rows, action.affine, mask, first, _per_point(action, x, at)))
    if not any(part.named for part in parts):
        raise FrameError(
            explain(
                f"{frame} of inputs {frame.source}",
                "vectors or points to build a frame from",
                "name them with of=, or declare them as Points or Vectors",
            )
        )
    anchor = next((part for part in parts if part.affine), None)
    center = None if anchor is None else centroid(anchor.x, anchor.mask)
    views = [_view(part, center) for part in parts]
    named = [view for part, view in zip(parts, views, strict=True) if part.named]
    precise = wide(parts[0].x.dtype, parts[0].x.device)
    radius = torch.stack([longest(view) for view in named]).amax(0).to(precise)
    cut = tol * radius
    if center is not None:
        cut = torch.maximum(cut, 4 * torch.finfo(parts[0].x.dtype).eps * (center.detach().abs().amax(1) + radius))
    if at.noise is not None:
        cut = torch.maximum(cut, at.noise.to(precise))
    cut = torch.where(cut > 0, cut, torch.full_like(cut, tol))
    unit = cut / tol
    scales: list[Tensor | None] = []
    for number, part in enumerate(parts):
        scale = None if part.named else unit / longest(views[number]).to(precise).clamp_min(torch.finfo(precise).tiny)
        scales.append(scale)
        if scale is not None:
            views[number] = views[number] * scale[:, None, None].to(views[number].dtype)
    view = views[0] if len(views) == 1 else torch.cat(views, 2)
    return Cloud(tuple(parts), tuple(scales), center, view, sum(v.shape[2] for v in named), unit, cut)


def _per_point(action: Action, x: Tensor, at: Layout) -> bool:
    """Whether an input holds one vector for each point."""
    return action.per_point is not False and at.is_per_point(x, action.event)


def _view(part: Part, center: Tensor | None) -> Tensor:
    """(B, d, n) centred rows in the precision of the inputs (float32 at least).

    The centroid is subtracted as a rounded and a remaining piece, so that large translations cost no digits.
    """
    x = part.x.detach().mT
    x = x.contiguous() if x.dtype in (torch.float32, torch.float64) else x.float().contiguous()
    if not part.affine or center is None:
        return x
    fixed = center.detach()
    coarse = fixed.to(x.dtype)
    x = (x - coarse.unsqueeze(-1)) - (fixed - coarse).to(x.dtype).unsqueeze(-1)
    return x if part.mask is None else x * part.mask.unsqueeze(1)


def longest(view: Float[Tensor, "B d n"]) -> Float[Tensor, " B"]:
    """(B,) the largest length of the columns of (B, d, n)."""
    return (view * view).sum(1).amax(1).sqrt()


def element(frame: Frame, matrices: Tensor, center: Tensor | None) -> Tree:
    """Group elements from orthogonal matrices (K, B, d, d) and, for Euclidean groups, centroids (B, d)."""
    group = frame.group
    if center is None:
        return matrices
    move, turn = group.parts()
    return group.compose(move(center.unsqueeze(0).expand(matrices.shape[0], *center.shape)), turn(matrices))
