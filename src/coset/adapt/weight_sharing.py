"""Weight sharing by a penalty: the pairwise penalty of all weights, and its proximal operator, exactly, by isotonic regression.

Reference: Shakerinava, Motallebi Sohi, Siddiqi, Ravanbakhsh 2023, arXiv 2311.03096, weight-sharing regularization.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ..errors import InputError, describe, explain

ROUNDS = 64
"""Rounds of pooling all violators at once before the rest is pooled one by one."""


def sharing_penalty(weights: Tensor) -> Tensor:
    """The mean pull of each weight on the others, R(w) = sum over i > j of |w_i - w_j| / (d - 1), along the last axis.

    Shapes: (..., d) to (...).

    Raises:
        InputError: for integers, and for weights without an axis.

    Example:
        >>> import torch
        >>> from coset import adapt
        >>> adapt.sharing_penalty(torch.tensor([0.0, 0.0, 3.0]))
        tensor(3.)
    """
    _check(weights, 0.0)
    return (weights.sort(-1).values * _slope(weights)).sum(-1).to(weights.dtype)


def prox(weights: Tensor, strength: float) -> Tensor:
    """The weights u that minimize |u - w|^2 / 2 + strength R(u), along the last axis; differentiable.

    The sorted weights are drawn together, y_i = w_(i) - strength (2 i - d - 1) / (d - 1), and projected on increasing
    sequences: weights whose order would be reversed become equal, exactly.

    Shapes: (..., d) to (..., d).

    Raises:
        InputError: for integers, weights that are not finite, and a strength that is negative or not finite.

    Example:
        >>> import torch
        >>> from coset import adapt
        >>> adapt.prox(torch.tensor([1.0, 5.0, 1.5]), 0.5)
        tensor([1.5000, 4.5000, 1.5000])
    """
    _check(weights, strength)
    if not weights.numel():
        return weights
    ordered, places = weights.sort(dim=-1, stable=True)
    pooled = isotonic(ordered.to(_wide(weights)) - strength * _slope(weights)).to(weights.dtype)
    return torch.zeros_like(pooled).scatter(-1, places, pooled)


@torch.no_grad()
def prox_(weights: Tensor, strength: float) -> Tensor:
    """Apply :func:`prox` to all entries of a tensor together, in place; for the step after that of an optimizer.

    With a learning rate r and a penalty of weight c, call ``prox_(parameter, r * c)`` after each step.

    Raises:
        InputError: as :func:`prox`.

    Example:
        >>> import torch
        >>> from coset import adapt
        >>> layer = torch.nn.Linear(20, 20)
        >>> _ = adapt.prox_(layer.weight, 0.02)
        >>> len(layer.weight.unique()) < 400
        True
    """
    _check(weights if not isinstance(weights, Tensor) or weights.dim() else weights[None], strength)
    return weights.copy_(prox(weights.reshape(-1), strength).reshape(weights.shape))


def isotonic(values: Tensor) -> Tensor:
    """The nearest increasing sequence in the mean square, along the last axis; differentiable.

    All adjacent blocks that decrease are pooled at once, until none is left: each such pair is equal in the solution, so
    that the order of pooling does not matter.

    Shapes: (..., d) to (..., d).
    """
    flat = values.reshape(-1).to(_wide(values))
    starts = _starts(flat.detach(), values.shape[-1])
    sizes = starts.diff(append=starts.new_tensor([len(flat)]))
    means = torch.segment_reduce(flat, "sum", lengths=sizes) / sizes
    return means.repeat_interleave(sizes, output_size=len(flat)).to(values.dtype).reshape(values.shape)


def _starts(flat: Tensor, length: int) -> Tensor:
    """Where the blocks of the solution start, in rows of that length laid end to end."""
    if length == len(flat) and flat.device.type == "cpu" and (known := _scipy()) is not None:
        return torch.from_numpy(known(flat.numpy()).blocks[:-1]).long()
    starts, sums = torch.arange(len(flat), device=flat.device), flat
    for _ in range(ROUNDS):
        sizes = starts.diff(append=starts.new_tensor([len(flat)]))
        means = sums / sizes
        stays = means[1:] >= means[:-1]
        if length < len(flat):
            stays |= starts[1:] % length == 0
        kept = torch.cat([starts.new_zeros(1), torch.nonzero(stays).reshape(-1) + 1])
        if len(kept) == len(starts):
            return starts
        sums = torch.segment_reduce(sums, "sum", lengths=kept.diff(append=kept.new_tensor([len(starts)])))
        starts = starts[kept]
    return _one_by_one(starts, sums, length, len(flat)).to(flat.device)


def _scipy() -> Any:
    """SciPy's isotonic regression, the fastest for one row on the host; None where it is not installed."""
    try:
        from scipy.optimize import isotonic_regression
    except ImportError:
        return None
    return isotonic_regression


def _one_by_one(starts: Tensor, sums: Tensor, length: int, end: int) -> Tensor:
    """Pool what is left with a stack, on the host."""
    sizes = starts.diff(append=starts.new_tensor([end]))
    stack: list[tuple[int, float, int]] = []
    for start, total, size in zip(starts.tolist(), sums.tolist(), sizes.tolist(), strict=True):
        while stack and start % length and stack[-1][1] * size > total * stack[-1][2]:
            start, before, more = stack.pop()
            total, size = total + before, size + more
        stack.append((start, total, size))
    return torch.tensor([start for start, _, _ in stack])


def _slope(weights: Tensor) -> Tensor:
    """(2 i - d - 1) / (d - 1) for i = 1 ... d, in double precision where there is one."""
    d = weights.shape[-1]
    steps = torch.arange(d, dtype=_wide(weights), device=weights.device)
    return (2 * steps - (d - 1)) / max(d - 1, 1)


def _wide(t: Tensor) -> torch.dtype:
    return torch.float32 if t.device.type == "mps" else torch.float64


def _check(weights: Tensor, strength: float) -> None:
    if not isinstance(weights, Tensor) or not weights.is_floating_point() or not weights.dim():
        raise InputError(explain(describe(weights), "floating point weights with at least one axis", "pass a parameter, or x[None]"))
    if not isinstance(strength, float | int | Tensor) or not (math.isfinite(strength) and strength >= 0):
        raise InputError(explain(f"the strength {strength!r}", "a finite number of at least 0", "use the learning rate times the penalty"))
    if not bool(torch.isfinite(weights.detach()).all()):
        raise InputError(explain("weights that are not finite", "finite weights", "look for a step that diverged"))
