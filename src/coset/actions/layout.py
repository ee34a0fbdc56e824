"""How the samples of one batch lie in memory: dense, padded with a mask, or ragged with a batch index."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Int
from torch import Tensor

from ..tree import Tree, tree_map


@dataclass(frozen=True)
class Layout:
    """Where samples and points are.

    Attributes:
        samples: the number B of samples.
        points: the length n of the point axis of dense inputs (axis 1); None when there is none, or when ragged.
        mask: (B, n) booleans, False on padded rows; None when nothing is padded.
        batch: (N,) sample index of every row of ragged inputs; None for dense inputs.
        size: (H, W) of an image; None for other data.
        edges: (E,) sample index of every edge of ragged graphs; None when there are none.
        noise: (B,) lengths below it are rounding noise that an earlier frame left behind; None when there is none.
        single: no batch index was given, so that all ragged rows are one graph.
        sizes: (key, (H, W)) of every image among named siblings: what boxes and keypoints look up.
    """

    samples: int
    points: int | None = None
    mask: Tensor | None = None
    batch: Tensor | None = None
    edges: Tensor | None = None
    noise: Tensor | None = None
    size: tuple[int, int] | None = None
    sizes: tuple[tuple[str, tuple[int, int]], ...] | None = None
    single: bool = False

    @property
    def rows(self) -> int | None:
        """The number N of rows of ragged inputs, or None."""
        return None if self.batch is None else self.batch.shape[0]

    def merge(self, other: Layout) -> Layout:
        """Combine what two siblings know; ``self`` wins where both know something."""
        return replace(
            self,
            points=self.points if self.points is not None else other.points,
            mask=self.mask if self.mask is not None else other.mask,
            batch=self.batch if self.batch is not None else other.batch,
            edges=self.edges if self.edges is not None else other.edges,
            noise=self.noise if self.noise is not None else other.noise,
            size=self.size if self.size is not None else other.size,
            sizes=tuple({**dict(other.sizes or ()), **dict(self.sizes or ())}.items()) or None,
        )

    def is_per_row(self, x: Tensor) -> bool:
        """True when the first axis of ``x`` runs over ragged rows (nodes) instead of samples."""
        return self.batch is not None and x.dim() > 0 and x.shape[0] == self.rows

    def is_per_point(self, x: Tensor, event: int) -> bool:
        """True when ``x`` has one entry per point: ragged rows, or a point axis before its ``event`` last axes."""
        if self.batch is not None:
            return x.dim() > 0 and x.shape[0] == self.rows
        return self.points is not None and x.dim() >= 2 + event and x.shape[1] == self.points

    def spread(self, g: Tree, x: Tensor) -> Tree:
        """Elements per sample, as elements per row where ``x`` is ragged per row."""
        if self.batch is None or not self.is_per_row(x):
            return g
        return tree_map(lambda leaf: leaf.index_select(0, self.batch) if leaf.dim() else leaf, g)

    def take(self, samples: Tensor) -> tuple[Layout, Tensor | None]:
        """The layout after :meth:`Action.take`, and the picked ragged row numbers (None when dense)."""
        new = replace(
            self,
            samples=samples.shape[0],
            mask=None if self.mask is None else self.mask[samples],
            noise=None if self.noise is None else self.noise[samples],
        )
        if self.batch is None:
            return new, None
        if self.edges is not None:
            new = replace(new, edges=ragged_take(self.edges, self.samples, samples)[1])
        rows, batch = ragged_take(self.batch, self.samples, samples)
        return replace(new, batch=batch), rows


def ragged_take(batch: Int[Tensor, " N"], size: int, samples: Int[Tensor, " R"]) -> tuple[Int[Tensor, " M"], Int[Tensor, " M"]]:
    """Row numbers of the picked samples, in their order, and the new batch index.

    Whole copies of the batch keep the order of its rows.

    Args:
        batch: (N,) sample index of each row, in any order.
        size: number of samples B.
        samples: (R,) picked sample numbers; repetition allowed.

    Returns:
        rows (M,) and the batch index (M,) with values in 0..R-1.
    """
    copies = whole_copies(samples, size)
    if copies:
        numbers = torch.arange(copies, device=batch.device).repeat_interleave(batch.shape[0])
        return torch.arange(batch.shape[0], device=batch.device).repeat(copies), batch.repeat(copies) + size * numbers
    counts = torch.bincount(batch, minlength=size)
    order = torch.argsort(batch, stable=True)
    starts = counts.cumsum(0) - counts
    picked = counts[samples]
    new = torch.repeat_interleave(torch.arange(samples.shape[0], device=batch.device), picked)
    offset = torch.arange(new.shape[0], device=batch.device) - (picked.cumsum(0) - picked)[new]
    return order[starts[samples][new] + offset], new


def ragged_slots(batch: Int[Tensor, " N"], size: int) -> tuple[Int[Tensor, " N"], Int[Tensor, " B"], Int[Tensor, " N"]]:
    """Where every ragged row stands among the rows of its sample.

    Args:
        batch: (N,) sample index of each row, in any order.
        size: number of samples B.

    Returns:
        Its place (N,) in the sample, counted from 0; the number of rows of each sample (B,); the rows (N,) sorted by sample.
    """
    counts = torch.bincount(batch, minlength=size)
    order = torch.argsort(batch, stable=True)
    rank = torch.empty_like(order).index_copy(0, order, torch.arange(order.shape[0], device=order.device))
    return rank - (counts.cumsum(0) - counts)[batch], counts, order


def whole_copies(samples: Int[Tensor, " R"], size: int) -> int:
    """How many times the whole batch is picked, in order; 0 for any other pick."""
    if size == 0 or samples.shape[0] % size:
        return 0
    copies = samples.shape[0] // size
    return copies if torch.equal(samples, torch.arange(size, device=samples.device).repeat(copies)) else 0
