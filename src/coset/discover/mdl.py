"""The partition with the shortest description: a dynamic programme over sorted values."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .partition import canonical, counts
from .results import Sharing, judged_sharing
from .statistic import Observed

CLOSE = 2.0
"""Description lengths that differ by less than this do not tell two partitions apart."""


@dataclass(frozen=True)
class MDL:
    """Share values by the shortest description: a price for every class against the misfit of sharing.

    Minimizes, over partitions of p entries with variances v_i = cov_ii / samples,

        sum over classes c of [ sum_{i in c} (w_i - mean_c)^2 / v_i + log(samples) + 2 |c| log(p / |c|) ],

    the last term being what it costs to say which entries belong to the class. With equal variances an optimal
    partition is made of runs of the sorted values, so the dynamic programme over them is exact, in O(p^2) time; with
    unequal variances it is exact among partitions into runs. A full covariance cannot be separated by whitening, which would
    mix the entries: the search uses its diagonal, values and p-value use all of it (generalized least squares).

    Example:
        >>> import torch
        >>> from coset import discover
        >>> means = torch.tensor([0.0, 3.1, 0.1, 2.9, 3.0])
        >>> found = discover.sharing(means, 1.0, 100, discover.MDL())
        >>> found.labels.tolist(), found.group.order
        ([0, 1, 0, 1, 1], 12)
    """

    def solve(self, data: Observed) -> Sharing:
        """The partition with the shortest description, and the second shortest."""
        order = data.mean.argsort(stable=True)
        lengths, cuts = best_two(data.mean[order], data.variance[order], math.log(data.samples))
        found = []
        for cut in cuts:
            labels = torch.empty_like(order)
            labels[order] = cut
            found.append(canonical(labels))
        second = found[1].reshape(data.shape) if len(found) > 1 else None
        gap = lengths[1] - lengths[0] if len(found) > 1 else math.inf
        return judged_sharing(data, found[0], lengths[0], second, gap, "MDL", CLOSE)


def description_length(data: Observed, labels: Tensor) -> float:
    """What MDL minimizes, of one partition: twice the length in nats, up to a constant."""
    labels = labels.reshape(-1)
    weight = 1 / data.variance
    size = counts(labels).double()
    total = torch.zeros_like(size).index_add(0, labels, weight)
    mean = torch.zeros_like(size).index_add(0, labels, weight * data.mean) / total
    misfit = (weight * (data.mean - mean[labels]).square()).sum()
    price = len(size) * math.log(data.samples) + (2 * size * (len(labels) / size).log()).sum()
    return float(misfit + price)


def best_two(values: Tensor, variance: Tensor, price: float) -> tuple[list[float], list[Tensor]]:
    """The two shortest descriptions of sorted values by runs: their lengths, and the number of the run of every value.

    For every end j the two best ways of cutting values 0 .. j-1 are kept, each as a length, the start of its last run
    and which of the two ways it continues.
    """
    p = len(values)
    weight = 1 / variance
    centred = values - (weight * values).sum() / weight.sum()
    sums = [torch.cat([x.new_zeros(1), x.cumsum(0)]) for x in (weight, weight * centred, weight * centred.square())]
    size = torch.arange(p + 1, dtype=torch.float64)
    extra = price + 2 * size * torch.log(p / size.clamp(min=1))
    best = torch.full((2, p + 1), math.inf, dtype=torch.float64)
    best[0, 0] = 0.0
    start = torch.zeros(2, p + 1, dtype=torch.long)
    which = torch.zeros(2, p + 1, dtype=torch.long)
    for j in range(1, p + 1):
        w, first, second = (s[j] - s[:j] for s in sums)
        run = (second - first.square() / w).clamp(min=0) + extra[1 : j + 1].flip(0)
        total = (best[:, :j] + run).reshape(-1)
        length, place = total.topk(2, largest=False)
        best[:, j], start[:, j], which[:, j] = length, place % j, place // j
    lengths, cuts = [], []
    for rank in (0, 1):
        if math.isfinite(float(best[rank, p])):
            lengths.append(float(best[rank, p]))
            cuts.append(_runs(start, which, rank, p))
    return lengths, cuts


def _runs(start: Tensor, which: Tensor, rank: int, p: int) -> Tensor:
    """Follow the starts back from the end."""
    labels, end, number = torch.empty(p, dtype=torch.long), p, 0
    while end:
        begin, rank = int(start[rank, end]), int(which[rank, end])
        labels[begin:end], end, number = number, begin, number + 1
    return labels
