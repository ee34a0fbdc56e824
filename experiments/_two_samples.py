"""Are two graphs told apart, or is it noise: the published rule, and a t-test between independent draws, for many pairs at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from scipy import stats
from torch import Tensor

THRESHOLD = 1e-3
"""Sums of absolute differences above it count as different by the published rule."""
FLOOR = 1e-6
"""Differences of this size are rounding."""
TOP, BINS = 60.0, 12_000
"""Histogram of t values."""
BLOCK = 400


@dataclass(frozen=True)
class Seen:
    """Outputs of one model.

    Attributes:
        mean: (B, c) averages over the elements.
        square: (B, c) their squared standard errors; zero where nothing is drawn.
        draws: number of independent draws, 0 for exact frames.
        calls: model calls of all graphs together.
    """

    mean: Tensor
    square: Tensor
    draws: int
    calls: int

    def __getitem__(self, rows: Tensor | slice) -> Seen:
        return Seen(self.mean[rows], self.square[rows], self.draws, self.calls)


def alike(one: Tensor, two: Tensor) -> Tensor:
    """(B,) whether the published rule takes two outputs (B, c) for equal."""
    return (one - two).abs().sum(1) <= THRESHOLD


def all_alike(mean: Tensor) -> Tensor:
    """(P, 2) all pairs of different graphs that the published rule does not tell apart."""
    found = []
    for start in range(0, len(mean), BLOCK):
        apart = torch.cdist(mean[start : start + BLOCK], mean[start:], p=1.0)
        pairs = (apart <= THRESHOLD).nonzero()
        found.append(pairs[pairs[:, 1] > pairs[:, 0]] + start)
    return torch.cat(found)


def largest_t(one: Seen, two: Seen) -> Tensor:
    """The largest absolute t value of all outputs, for pairs (B, c), or all combinations (B, 1, c) and (1, C, c)."""
    best: Tensor | None = None
    for column in range(one.mean.shape[-1]):
        gap = (one.mean[..., column] - two.mean[..., column]).square_()
        t = gap.div_(one.square[..., column] + two.square[..., column] + FLOOR**2)
        best = t if best is None else torch.maximum(best, t, out=best)
    return best.sqrt_()  # type: ignore[union-attr]


def histogram(values: Iterator[Tensor]) -> np.ndarray:
    """(BINS,) how many t values lie in each bin; the last holds everything beyond."""
    total = torch.zeros(BINS, dtype=torch.float64)
    for t in values:
        total += torch.histc(t.clamp_max(TOP - 1e-3).float(), BINS, 0.0, TOP).double()
    return total.numpy()


def against_copies(one: Seen, two: Seen) -> np.ndarray:
    """The histogram over pairs of the same row."""
    return histogram(iter([largest_t(one, two)]))


def against_all(seen: Seen) -> np.ndarray:
    """The histogram over all pairs of different rows."""

    def blocks() -> Iterator[Tensor]:
        for start in range(0, len(seen.mean), BLOCK):
            rows, columns = seen[start : start + BLOCK], seen[start:]
            wide = Seen(rows.mean.unsqueeze(1), rows.square.unsqueeze(1), seen.draws, 0)
            tall = Seen(columns.mean.unsqueeze(0), columns.square.unsqueeze(0), seen.draws, 0)
            t = largest_t(wide, tall)
            yield t[torch.ones_like(t, dtype=torch.bool).triu_(1)]

    return histogram(blocks())


@dataclass(frozen=True)
class Test:
    """Student's t between two means of equally many draws, the largest of c outputs with Bonferroni's correction.

    Equal laws have equal variances, so that 2 (draws - 1) degrees of freedom are right under the hypothesis.
    """

    draws: int
    outputs: int

    def p(self, t: np.ndarray) -> np.ndarray:
        """The p value of a largest t."""
        return np.minimum(1.0, 2 * self.outputs * stats.t.sf(t, 2 * self.draws - 2))

    def rejected(self, counts: np.ndarray, level: float) -> int:
        """How many pairs of a histogram have a p value of at most ``level``."""
        return self._above(counts, lambda p, above: p <= level)

    def discovered(self, counts: np.ndarray, rate: float) -> int:
        """How many pairs are told apart at a false discovery rate (Benjamini and Hochberg 1995)."""
        total = counts.sum()
        return self._above(counts, lambda p, above: p <= rate * above / total)

    def _above(self, counts: np.ndarray, good: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> int:
        edges = np.linspace(0, TOP, BINS + 1)[:-1]
        above = counts[::-1].cumsum()[::-1]
        fits = good(self.p(edges), above)
        return int(above[fits].max(initial=0))
