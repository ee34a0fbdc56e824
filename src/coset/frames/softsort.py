"""Sorting with a soft gradient: SoftSort made doubly stochastic by Sinkhorn sweeps, computed where a gradient asks for it."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

FAR = -1e9
"""Log-weight between real points and padding."""
LEAST = -60.0
"""Log-weights below count as zero weight."""


def soft_order(
    scores: Float[Tensor, "R n"], order: Int[Tensor, "R n"], valid: Bool[Tensor, "R n"] | None, temperature: float, sweeps: int
) -> Float[Tensor, "R n n"]:
    """A placeholder for the soft permutation matrices of a sort: zeros without memory of their own, and the true gradient.

    The matrix is P = Sinkhorn(-|s_i - s_(r)| / temperature), row r for place r of the sorted scores (Prillo and
    Eisenschlos 2020, arXiv 2006.16038, made doubly stochastic). It is computed in the backward pass only, from factors of
    rows and columns; memory is a few (R, n, n) tensors, whatever the number of sweeps.

    Args:
        scores: one number per point.
        order: ``argsort`` of the scores, padding last.
        valid: False on padding.
        temperature: the scale on which scores count as different.
        sweeps: normalizations of rows and columns.
    """
    return _SoftOrder.apply(scores, order, valid, temperature, sweeps, True)  # type: ignore[no-any-return]


def soft_matrix(
    scores: Float[Tensor, "R n"], order: Int[Tensor, "R n"], valid: Bool[Tensor, "R n"] | None, temperature: float, sweeps: int
) -> Float[Tensor, "R n n"]:
    """The soft permutation matrices themselves, differentiable; see :func:`soft_order`."""
    return _SoftOrder.apply(scores, order, valid, temperature, sweeps, False)  # type: ignore[no-any-return]


def entropy(matrix: Float[Tensor, "R n n"], valid: Bool[Tensor, "R n"] | None = None) -> Float[Tensor, " R"]:
    """(R,) the mean entropy of rows plus that of columns, in nats: zero exactly for permutation matrices."""
    each = torch.special.entr(matrix.clamp_min(torch.finfo(matrix.dtype).tiny))
    if valid is None:
        return 2 * each.sum((1, 2)) / matrix.shape[-1]
    count = valid.sum(1).clamp_min(1).to(matrix.dtype)
    real = torch.arange(valid.shape[1], device=valid.device) < valid.sum(1, keepdim=True)  # padding has the last places
    return 2 * (each * real[:, :, None] * valid[:, None, :]).sum((1, 2)) / count


def _logits(scores: Tensor, order: Tensor, valid: Tensor | None, temperature: float) -> Tensor:
    """(R, n, n) negative distances between sorted scores (rows) and scores (columns); real points and padding apart."""
    if valid is not None:
        scores = torch.where(valid, scores, torch.zeros_like(scores))
    logits = (scores.gather(1, order).unsqueeze(2) - scores.unsqueeze(1)).abs_().mul_(-1 / temperature)
    if valid is None:
        return logits
    apart = valid.gather(1, order).unsqueeze(2) != valid.unsqueeze(1)
    return logits.masked_fill_(apart, FAR)


def _kernel(logits: Tensor) -> Tensor:
    """Their exponentials; what is too small to matter is zero, because subnormal numbers are slow."""
    return torch.where(logits > LEAST, logits.exp(), 0.0)


def _scalings(kernel: Tensor, sweeps: int) -> tuple[list[Tensor], list[Tensor]]:
    """(R, n, 1) factors of rows and columns after every sweep; those of columns begin with ones.

    Every row and column has an entry one, that of the sorted point, so that the factors are bounded and need no logarithms.
    """
    rows: list[Tensor] = []
    columns = [kernel.new_ones(*kernel.shape[:2], 1)]
    for _ in range(sweeps):
        rows.append((kernel @ columns[-1]).reciprocal_())
        columns.append((kernel.mT @ rows[-1]).reciprocal_())
    return rows, columns


def _gradient(kernel: Tensor, rows: list[Tensor], columns: list[Tensor], grad: Tensor) -> Tensor:
    """The gradient with respect to the logits: sweep by sweep backwards with vectors, then one product of all their outer products."""
    total = (kernel * rows[-1] * columns[-1].mT).mul_(grad)
    at_rows, at_columns = total.sum(2, keepdim=True), total.sum(1).unsqueeze(2)
    left, right = [], []
    for sweep in range(len(rows) - 1, -1, -1):
        u, v = rows[sweep], columns[sweep + 1] * at_columns
        left.append(u)
        right.append(v)
        u, v = u * (at_rows - u * (kernel @ v)), columns[sweep]
        left.append(u)
        right.append(v)
        at_columns = -v * (kernel.mT @ u)
        at_rows = torch.zeros_like(at_rows)
    return total.sub_(kernel * (torch.cat(left, 2) @ torch.cat(right, 2).mT))


class _SoftOrder(torch.autograd.Function):
    """The soft matrix, or a placeholder of its shape, with the gradient of the unrolled sweeps."""

    generate_vmap_rule = True

    @staticmethod
    def forward(scores: Tensor, order: Tensor, valid: Tensor | None, temperature: float, sweeps: int, lazy: bool) -> Tensor:
        if lazy:
            return scores.new_zeros(()).expand(*scores.shape, scores.shape[-1])
        kernel = _kernel(_logits(scores, order, valid, temperature))
        rows, columns = _scalings(kernel, sweeps)
        return kernel * rows[-1] * columns[-1].mT

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        scores, order, valid, ctx.temperature, ctx.sweeps, _ = inputs
        ctx.save_for_backward(scores, order, *(() if valid is None else (valid,)))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        scores, order, *rest = ctx.saved_tensors
        valid = rest[0] if rest else None
        kernel = _kernel(_logits(scores, order, valid, ctx.temperature))
        slope = _gradient(kernel, *_scalings(kernel, ctx.sweeps), grad)
        ranked = scores.gather(1, order)
        sign = (ranked.unsqueeze(2) - scores.unsqueeze(1)).sgn_()
        if valid is not None:
            sign = sign * (valid.gather(1, order).unsqueeze(2) & valid.unsqueeze(1))
        signed = slope.mul_(sign).div_(ctx.temperature)
        found = signed.sum(1).scatter_add(1, order, -signed.sum(2))
        return found, None, None, None, None, None
