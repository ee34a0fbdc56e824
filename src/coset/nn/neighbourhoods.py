"""Which points send messages to which: all pairs, the nearest ones with weights that fade to zero, or none."""

from __future__ import annotations

import torch
from torch import Tensor

from .batches import Batch
from .forms import Form


def pair_weights(batch: Batch, like: Tensor) -> Tensor:
    """(B, n, n, 1) or (1, 1, 1, 1): one where both points are real, over the number of senders."""
    if batch.mask is None:
        return like.new_full((1, 1, 1, 1), 1.0 / max(1, batch.points or 1))
    counts = batch.counts(like).reshape(-1, 1, 1)
    return ((batch.mask.unsqueeze(2) & batch.mask.unsqueeze(1)).to(like.dtype) / counts).unsqueeze(-1)


def rounding(form: Form, v: Tensor) -> Tensor:
    """(B, 1, 1) squared distances below it are noise."""
    squares = form.square(v).detach()
    return (64 * torch.finfo(squares.dtype).eps) ** 2 * squares.amax((1, 2), keepdim=True)


class Near:
    """The nearest points of each point of a padded batch.

    The weight of a neighbour falls smoothly to zero at the distance of the first point that is left out, so that it
    does not matter which of several equally distant points are taken.

    Attributes:
        who: (B, n, k) their numbers.
        weight: (B, n, k, 1) weights that sum to at most one.
    """

    def __init__(self, form: Form, v: Tensor, batch: Batch, k: int):
        squares = form.square(v.unsqueeze(2) - v.unsqueeze(1)).sum(-1)
        if batch.mask is not None:
            squares = squares.masked_fill(~(batch.mask.unsqueeze(1) & batch.mask.unsqueeze(2)), torch.inf)
        n = squares.shape[-1]
        near, self.who = squares.topk(min(k + 1, n), largest=False)
        if n > k:
            edge, near, self.who = near[..., k:], near[..., :k], self.who[..., :k]
            inside = torch.isfinite(near) & (edge > rounding(form, v))
            ratio = torch.where(inside, near, 0.0) / torch.where(inside & torch.isfinite(edge), edge, 1.0)
            ratio = torch.where(torch.isfinite(edge), ratio, 0.0)
        else:
            inside, ratio = torch.isfinite(near), torch.zeros_like(near)
        weight = torch.where(inside, (1 - ratio).clamp_min(0).square(), 0.0)
        counts = batch.counts(weight).clamp_max(k).reshape(-1, 1, 1)
        self.weight = (weight / counts).unsqueeze(-1)

    def gather(self, x: Tensor) -> Tensor:
        """Values (B, n, ...) of the neighbours: (B, n, k, ...)."""
        rows = torch.arange(x.shape[0], device=x.device).reshape(-1, 1, 1)
        return x[rows, self.who]

    def gather_pairs(self, x: Tensor) -> Tensor:
        """Values (B, n, n, c) of pairs with the neighbours: (B, n, k, c)."""
        return x.gather(2, self.who.unsqueeze(-1).expand(-1, -1, -1, x.shape[-1]))
