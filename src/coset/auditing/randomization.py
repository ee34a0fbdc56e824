"""Is a law invariant? A randomization test of exact level: samples against the same samples in random poses."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

ROWS = 64
POWER = 0.8416
"""The normal quantile at 0.8: what can be detected is detected in four of five data sets."""


@dataclass(frozen=True)
class Randomization:
    """One test.

    Attributes:
        p_value: the share of randomized samples at least as far from invariance as the data, itself counted; exact: under the
            hypothesis P(p_value <= level) <= level for any number of samples.
        effect: the share of the squared norm of the mean embedding that is not invariant, unbiased up to that norm; 0 for an invariant law.
        detectable: the effect that would be found in about four of five data sets of this size.
        draws: the number of randomized samples.
        level: what ``rejected`` compares with.
    """

    p_value: float
    effect: float
    detectable: float
    draws: int
    level: float

    @property
    def rejected(self) -> bool:
        """Whether the hypothesis of an invariant law is rejected."""
        return self.p_value <= self.level


def randomization(features: Tensor, draws: int, level: float, generator: torch.Generator) -> Randomization:
    """Compare the mean of features with its values when every sample is put in a random pose.

    The statistic is the sum over pairs i != j of <phi(x_i), phi(x_j)>. Random poses leave the part of it that the orbit average of the
    kernel gives, so that it differs by the squared maximum mean discrepancy between X and GX.

    Args:
        features: (n, S, D), the features of every sample in each of S poses; the data are in pose 0.
        draws: the number of randomized samples.
        level: of the test.
        generator: source of randomness.
    """
    n, count, _ = features.shape
    flat, start = features.flatten(0, 1), torch.arange(n) * count
    squares = flat.square().sum(1, keepdim=True)
    found = []
    for first in range(0, draws, ROWS):
        poses = torch.randint(count, (min(ROWS, draws - first), n), generator=generator)
        found.append(_statistic(flat, squares, (start + poses).to(flat.device)))
    null = torch.cat(found)
    data = _statistic(flat, squares, start[None].to(flat.device))[0]
    slack = 1e-5 * data.abs()  # poses that leave the data alone must count as ties, whatever the rounding
    p_value = (1 + int((null >= data - slack).sum())) / (draws + 1)
    total = max(float(data), float(squares.to(torch.float64).mean()))  # at least the norm of the mean embedding's own noise
    needed = float(null.quantile(1 - level)) - float(null.mean()) + POWER * float(null.std())
    return Randomization(p_value, max(0.0, float(data - null.mean())) / total, needed / total, draws, level)


def _statistic(flat: Tensor, squares: Tensor, where: Tensor) -> Tensor:
    """The sum over pairs of different samples, (R,), for rows of positions (R, n)."""
    sums = torch.nn.functional.embedding_bag(where, flat, mode="sum").to(torch.float64)
    own = torch.nn.functional.embedding_bag(where, squares, mode="sum").to(torch.float64)
    return sums.square().sum(1) - own[:, 0]
