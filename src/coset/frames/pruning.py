"""Dropping small weights smoothly: few elements, and still a measure that is continuously differentiable in the input."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

POWER = 6
"""The Lehmer mean sum w^(POWER + 1) / sum w^POWER stands for the largest weight: at most that, and smooth where it changes hands."""

FLOOR = 1e-12
"""Weights below this share of the largest are rounding noise."""


def smooth_cut(weights: Float[Tensor, "*batch k"], cut: float) -> Float[Tensor, "*batch k"]:
    """relu(w - cut * W)^2, normalized to sum one along the last axis, with W the Lehmer mean of the weights.

    W is at most the largest weight, so at least one weight survives every cut below one. The square makes the result
    continuously differentiable; with ``cut = 0`` it is w^2, whose product with a direction of w is differentiable at zero.

    Args:
        weights: non-negative.
        cut: between 0 and 1.

    Returns:
        Weights of sum one; zeros where all of a row is zero.

    Example:
        >>> import torch
        >>> from coset.frames.pruning import smooth_cut
        >>> smooth_cut(torch.tensor([1.0, 1.0, 0.2]), 0.5)
        tensor([0.5000, 0.5000, 0.0000])
    """
    tiny = torch.finfo(weights.dtype).tiny
    shares = weights / weights.detach().amax(-1, keepdim=True).clamp_min(tiny)  # a constant factor cancels, in gradients too
    high = shares**POWER
    mean = (high * shares).sum(-1, keepdim=True) / high.sum(-1, keepdim=True).clamp_min(tiny)
    kept = (shares - (cut * mean).clamp_min(FLOOR)).relu().square()
    return kept / kept.sum(-1, keepdim=True).clamp_min(tiny)


def smooth_step(t: Tensor) -> Tensor:
    """0 below zero, 1 above one, and twice continuously differentiable between."""
    t = t.clamp(0, 1)
    return t**3 * (10 - 15 * t + 6 * t * t)


def fade(distance: Tensor, cutoff: float) -> Tensor:
    """1 up to half the cutoff, 0 beyond it, and twice continuously differentiable between."""
    return smooth_step(2 - 2 * distance / cutoff)


def compact(weights: Float[Tensor, "B k"], static: bool) -> tuple[Float[Tensor, "B m"], Int[Tensor, "B m"]]:
    """The positive weights of every sample side by side, padded by zeros, and where they stood.

    Args:
        weights: non-negative.
        static: leave everything in place, so that shapes do not depend on data; otherwise two host synchronizations.
    """
    if static:
        return weights, torch.arange(weights.shape[1], device=weights.device).expand(weights.shape)
    alive = weights > 0
    counts = alive.sum(1)
    width = max(1, int(counts.max()))
    sample, column = alive.nonzero(as_tuple=True)
    slot = (alive.cumsum(1) - 1)[sample, column]
    where = torch.zeros(weights.shape[0], width, dtype=torch.long, device=weights.device)
    where[sample, slot] = column
    used = torch.arange(width, device=weights.device) < counts[:, None]
    return weights.gather(1, where) * used, where


def pick_rows(values: Tensor, where: Int[Tensor, "B m"]) -> Tensor:
    """Rows ``where`` of values (B, k, ...), as (B, m, ...)."""
    return values.gather(1, where.reshape(*where.shape, *(1,) * (values.dim() - 2)).expand(*where.shape, *values.shape[2:]))


def length(x: Tensor) -> Tensor:
    """Norms along the last axis; gradients at zero are zero, the second ones too."""
    squared = x.square().sum(-1)
    positive = squared > 0
    return torch.where(positive, torch.where(positive, squared, 1.0).sqrt(), 0.0)
