"""Moments that are merged as parts come in (Chan, Golub, LeVeque 1983): within a measure, and between independent draws."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Shaped
from torch import Tensor


def squared(x: Tensor) -> Tensor:
    """|x|^2, real also for complex numbers, with a gradient everywhere."""
    return x.real.square() + x.imag.square() if x.is_complex() else x.square()


def beside(values: Tensor, like: Tensor) -> Tensor:
    """Values (R,) or (L, R) with axes of length one added, so that they multiply ``like`` with the same leading axes."""
    real = like.real.dtype if like.is_complex() else like.dtype
    return values.to(real).reshape(*values.shape, *(1,) * (like.dim() - values.dim()))


def safe(x: Tensor) -> Tensor:
    """A divisor: one in place of what is not positive."""
    return torch.where(x > 0, x, 1.0)


class Whole:
    """The weighted mean, and the standard deviation over all elements (detached)."""

    def __init__(self) -> None:
        self.mean: Any = None
        self.share: Any = None
        self.deviation: Tensor | None = None

    def add(self, share: Tensor, mean: Tensor, deviation: Tensor | None) -> None:
        """Take in a mean and a standard deviation of a share (R,) of the whole; shares need not add up to one."""
        share = beside(share, mean)
        if self.share is None:
            self.share, self.mean, self.deviation = share, mean, deviation
            return
        total = self.share + share
        part = share / safe(total)
        apart = mean - self.mean
        self.mean = self.mean + part * apart
        if deviation is not None and self.deviation is not None:
            between = part * (1 - part) * apart.detach().abs().square()
            self.deviation = ((1 - part) * self.deviation.square() + part * deviation.square() + between).sqrt()
        self.share = total


class Between:
    """The variance between independent draws whose values have one expectation; nothing is detached.

    With weights W_j that do not depend on the values z_j: sum_j W_j |z_j - mean|^2 / (S1 - S2 / S1) is unbiased, where
    S1 = sum W_j and S2 = sum W_j^2, and the mean has S2 / S1^2 times that variance. Equal weights give the usual
    divisor D - 1 and 1 / D.
    """

    def __init__(self) -> None:
        self.first: Any = None
        self.second: Any = None
        self.count: Any = None
        self.mean: Any = None
        self.scatter: Any = None

    def add(self, weights: Shaped[Tensor, "L R"], sums: Shaped[Tensor, "L R *rest"]) -> None:
        """Take in whole draws: their weights, and the weighted sums of their elements' values."""
        values = sums / beside(safe(weights), sums)
        first = weights.sum(0)
        mean = sums.sum(0) / beside(safe(first), sums[0])
        scatter = (beside(weights, sums) * squared(values - mean)).sum(0)
        self.merge(first, weights.square().sum(0), (weights > 0).sum(0), mean, scatter)

    def merge(self, first: Tensor, second: Tensor, count: Tensor, mean: Tensor, scatter: Tensor) -> None:
        """Take in the moments (R,) and (R, ...) of other draws."""
        if self.first is None:
            self.first, self.second, self.count, self.mean, self.scatter = first, second, count, mean, scatter
            return
        total = self.first + first
        part, apart = first / safe(total), mean - self.mean
        self.scatter = self.scatter + scatter + beside(self.first * part, apart) * squared(apart)
        self.mean = self.mean + beside(part, apart) * apart
        self.first, self.second, self.count = total, self.second + second, self.count + count

    def variance(self) -> Tensor:
        """(R, ...) the unbiased variance between draws; NaN where there are fewer than two."""
        known = self.count > 1
        freedom = torch.where(known, self.first - self.second / safe(self.first), 1.0)
        return torch.where(beside(known, self.scatter) > 0, self.scatter / beside(freedom, self.scatter), torch.nan)

    def share(self) -> Tensor:
        """(R, 1, ...) the variance of the mean, in units of the variance of one draw."""
        return beside(self.second / safe(self.first).square(), self.scatter)

    def draws(self) -> Tensor:
        """(R, 1, ...) the number of draws."""
        return beside(self.count, self.scatter)


def summed(
    weights: Shaped[Tensor, "K R"], values: Shaped[Tensor, "K R *rest"], slot: Shaped[Tensor, " K"], slots: int
) -> tuple[Tensor, Tensor]:
    """Weights (slots, R) and weighted sums (slots, R, ...) of the elements with one label each, in single precision at least."""
    values = values.to(torch.promote_types(values.dtype, torch.float32))
    parts = beside(weights, values) * values
    total = weights.new_zeros(slots, *weights.shape[1:]).index_add(0, slot, weights)
    return total, parts.new_zeros(slots, *parts.shape[1:]).index_add(0, slot, parts)
