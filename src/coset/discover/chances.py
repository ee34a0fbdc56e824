"""Tail probabilities of the chi-square and F distributions."""

from __future__ import annotations

import math

import torch


def chi_square_tail(x: float, freedom: float) -> float:
    """P(X > x) for a chi-square variable; 1 when there is no degree of freedom.

    Example:
        >>> from coset.discover.chances import chi_square_tail
        >>> round(chi_square_tail(3.841458820694124, 1), 6)
        0.05
    """
    if freedom <= 0:
        return 1.0
    half = torch.tensor([freedom / 2, max(x, 0.0) / 2], dtype=torch.float64)
    return float(torch.special.gammaincc(half[0], half[1]))


def f_tail(x: float, above: float, below: float) -> float:
    """P(X > x) for an F variable with ``above`` and ``below`` degrees of freedom; infinitely many below give chi-square.

    Example:
        >>> from coset.discover.chances import f_tail
        >>> round(f_tail(4.102821015, 2, 10), 6)
        0.05
    """
    if above <= 0:
        return 1.0
    if math.isinf(below):
        return chi_square_tail(x * above, above)
    return beta_share(below / 2, above / 2, below / (below + above * max(x, 0.0)))


def beta_share(a: float, b: float, x: float) -> float:
    """The regularized incomplete beta function I_x(a, b), by its continued fraction (DLMF 8.17.22)."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):
        return 1 - beta_share(b, a, 1 - x)
    front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    c, d = 1.0, 1 - (a + b) * x / (a + 1)
    d = 1 / (d if abs(d) > 1e-300 else 1e-300)
    value = d
    for m in range(1, 10000):
        for term in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 / _away(1 + term * d)
            c = _away(1 + term / c)
            value *= c * d
        if abs(c * d - 1) < 1e-15:
            break
    return min(1.0, math.exp(front) * value / a)


def _away(x: float) -> float:
    return x if abs(x) > 1e-300 else 1e-300
