"""Sums over points and back, written once for dense, padded and ragged batches."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..actions.layout import ragged_slots
from ..actions.linear import minus
from ..errors import InputError, describe, explain


@dataclass(frozen=True)
class Batch:
    """Where the points of a batch are.

    Attributes:
        samples: the number B of samples.
        points: the length n of the point axis; None for ragged data.
        mask: (B, n) booleans, False on padding; None when nothing is padded.
        owner: (N,) the sample of every row of ragged data; None for dense data.
    """

    samples: int
    points: int | None
    mask: Tensor | None
    owner: Tensor | None

    def real(self, x: Tensor) -> Tensor:
        """``x`` (B, n, ...) with zeros on padding; ragged data as it is."""
        if self.mask is None:
            return x
        return torch.where(self.mask.reshape(*self.mask.shape, *(1,) * (x.dim() - 2)), x, torch.zeros((), dtype=x.dtype, device=x.device))

    def total(self, x: Tensor) -> Tensor:
        """Sums over the points of each sample: (B, n, ...) or (N, ...) to (B, ...)."""
        if self.owner is None:
            return self.real(x).sum(1)
        return x.new_zeros(self.samples, *x.shape[1:]).index_add(0, self.owner, x)

    def counts(self, like: Tensor) -> Tensor:
        """(B,) the number of points of each sample, at least 1."""
        if self.owner is not None:
            return like.new_zeros(self.samples).index_add(0, self.owner, like.new_ones(self.owner.shape[0])).clamp_min(1)
        if self.mask is not None:
            return self.mask.sum(1).to(like.dtype).clamp_min(1)
        return like.new_full((self.samples,), max(1, self.points or 1))

    def mean(self, x: Tensor) -> Tensor:
        """Means over the points of each sample: (B, n, ...) or (N, ...) to (B, ...)."""
        total = self.total(x)
        counts = self.counts(x.real if x.is_complex() else x)
        return total / counts.reshape(-1, *(1,) * (total.dim() - 1))

    def give(self, y: Tensor) -> Tensor:
        """Values of samples (B, ...), repeated for their points."""
        if self.owner is not None:
            return y.index_select(0, self.owner)
        return y.unsqueeze(1).expand(-1, self.points, *(-1,) * (y.dim() - 1))  # type: ignore[arg-type]

    def centred(self, x: Tensor, origin: Tensor) -> Tensor:
        """Positions relative to an origin (B, d)."""
        return minus(x, origin.index_select(0, self.owner) if self.owner is not None else origin)

    def join(self, points: list[Tensor], samples: list[Tensor], like: Tensor) -> Tensor:
        """Scalars of points and of samples side by side: (B, n, c) or (N, c)."""
        found = [*points, *(self.give(x) for x in samples)]
        if found:
            return torch.cat(found, -1)
        return like.new_zeros(*self.lead, 0)

    @property
    def lead(self) -> tuple[int, ...]:
        """The leading axes of values of points: (B, n) or (N,)."""
        return (self.owner.shape[0],) if self.owner is not None else (self.samples, int(self.points or 0))

    def shared_pairs(self, edges: Tensor, links: Tensor) -> Tensor:
        """One edge list (2, E) with values (E, c) for all samples, as values of pairs (B, n, n, c); repeated edges add up."""
        n = int(self.points or 1)
        table = links.new_zeros(n * n, links.shape[-1]).index_add(0, edges[0] * n + edges[1], links)
        return table.reshape(n, n, -1).expand(self.samples, -1, -1, -1)

    def drawn(self, noise: Tensor | None, like: Tensor, *shape: int) -> Tensor:
        """Noise of points, (B, n, *shape) or (N, *shape), in the dtype of ``like``; None means zeros.

        Raises:
            InputError: when it has another shape.
        """
        wanted = (*self.lead, *shape)
        if noise is None:
            return like.new_zeros(wanted)
        if noise.shape != wanted and noise.shape != (self.samples, *shape):
            raise InputError(
                explain(f"noise {describe(noise)}", f"the shape {wanted}", "build the network with as many channels as the noise has")
            )
        return noise.to(like.dtype) if noise.shape == wanted else self.give(noise.to(like.dtype))

    def packing(self) -> Packing:
        """Where ragged rows go in a padded batch (one host synchronization)."""
        owner = self.owner
        slots, counts, _ = ragged_slots(owner, self.samples)  # type: ignore[arg-type]
        n = int(counts.max()) if counts.numel() else 1
        mask = torch.arange(n, device=counts.device) < counts.unsqueeze(1)
        return Packing(Batch(self.samples, n, mask, None), owner, slots)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Packing:
    """Ragged rows in a padded batch.

    Attributes:
        batch: the padded batch.
        owner: (N,) the sample of every row.
        slots: (N,) its place in the sample.
    """

    batch: Batch
    owner: Tensor
    slots: Tensor

    def pack(self, x: Tensor) -> Tensor:
        """Rows (N, ...) as (B, n, ...)."""
        empty = x.new_zeros(self.batch.samples, int(self.batch.points or 0), *x.shape[1:])
        return empty.index_put((self.owner, self.slots), x)

    def unpack(self, y: Tensor) -> Tensor:
        """The rows (N, ...) of (B, n, ...)."""
        return y[self.owner, self.slots]

    def pairs(self, edges: Tensor | None, links: Tensor | None) -> Tensor | None:
        """Values (E, c) of edges (2, E) between rows, as values of pairs (B, n, n, c); repeated edges add up."""
        if edges is None or links is None:
            return None
        n = int(self.batch.points or 0)
        where = (self.owner[edges[0]] * n + self.slots[edges[0]]) * n + self.slots[edges[1]]
        table = links.new_zeros(self.batch.samples * n * n, links.shape[-1]).index_add(0, where, links)
        return table.reshape(self.batch.samples, n, n, -1)
