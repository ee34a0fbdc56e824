"""What one call of a symmetrized model saw: spread, standard errors, intervals, and losses that noise does not bias."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from statistics import NormalDist

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from .errors import InputError, explain
from .moments import squared
from .tree import Tree, leaves, tree_map

SERIES = 1000
"""Degrees of freedom from which the expansion about the normal distribution is used."""


@dataclass(frozen=True)
class Stats:
    """What one call of a symmetrized model saw.

    Standard errors come from independent draws. A draw is one random element of ``frames.Haar``, one random coset of
    ``frames.RandomCosets``, one sample of a probabilistic frame; its value is the weighted mean over its elements.
    Nothing is drawn by exact frames and by quadratures: the former have no error, the latter a ``residual``.

    Attributes:
        mean: the output.
        std: a tree like the output: the standard deviation of every entry over the measure (zero for one element).
        variance: a tree like the output: the unbiased variance between independent draws, with gradients; zero where
            nothing is drawn, NaN for a single draw, of which no error is known.
        draws: (B,) number of independent draws of every sample; 0 where nothing is drawn.
        samples: how many samples entered the model.
        order: (B,) number of elements of each measure, -1 where infinite.
        cosets: model calls per sample (of the sample with most).
        residual: for a quadrature, the largest relative distance between the averages over its sub-rules; None for
            measures that are exact or carry no sub-rules.
        scores: named values (B,) that the frame offers to losses.
        reached: (B,) whether the standard errors are within the tolerance of ``frames.Until``; None without one.
        parts: a tree like the output of pairs of tensors (R, 1, ...): the variance of the mean in units of
            ``variance`` (1 / draws for draws of equal weight), and the number of draws. Weights of draws must not
            depend on their values.
    """

    mean: Tree
    std: Tree
    variance: Tree
    draws: Int[Tensor, " B"]
    samples: int
    order: Int[Tensor, " B"]
    cosets: int
    residual: float | None = None
    scores: Mapping[str, Tensor] = field(default_factory=dict)
    reached: Bool[Tensor, " B"] | None = None
    parts: Mapping[str, Tree] = field(default_factory=dict, repr=False)

    @property
    def stderr(self) -> Tree:
        """A tree like the output: the standard error of the mean, without gradients.

        Zero where nothing is drawn; NaN (unknown) for a single draw.
        """
        return tree_map(lambda v, share: (v.detach() * share).sqrt(), self.variance, self.parts["share"])

    def interval(self, level: float = 0.95) -> tuple[Tree, Tree]:
        """The two ends of a confidence interval for every entry of the average over infinitely many draws.

        Student's t at draws - 1 degrees of freedom: calibrated where the mean of the draws is near normal. Each entry has
        its own interval; all of them together hold less often. Of zero length where nothing is drawn, NaN for one draw.

        Args:
            level: how often the interval holds, between 0 and 1.

        Returns:
            Two trees like the output, without gradients.

        Raises:
            InputError: when the level is not between 0 and 1, or outputs are complex.

        Example:
            >>> import torch, coset
            >>> from coset import actions, frames, groups
            >>> O3 = groups.Orthogonal(3)
            >>> net = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
            >>> model = coset.symmetrize(net, actions.Vectors(O3) >> actions.Trivial(O3), frames.Haar(50))
            >>> y, stats = model(torch.randn(4, 3), return_stats=True)
            >>> low, high = stats.interval(0.9)
            >>> bool(((low < y) & (y < high)).all())
            True
        """
        if isinstance(level, bool) or not isinstance(level, (int, float)) or not 0 < level < 1:
            raise InputError(explain(f"level={level!r}", "a number between 0 and 1", "pass for instance interval(0.95)"))
        if any(leaf.is_complex() for leaf in leaves(self._averaged())):
            raise InputError(
                explain("an interval for complex outputs", "real outputs", "use stats.stderr, the error of the modulus in the plane")
            )
        half = tree_map(lambda s, draws: s * quantiles(draws, (1 + level) / 2), self.stderr, self.parts["draws"])
        low = tree_map(lambda h, mean: mean.detach() - h, half, self.mean)
        return low, tree_map(lambda h, mean: mean.detach() + h, half, self.mean)

    def _averaged(self) -> Tree:
        """The output, without what is not averaged."""
        return tree_map(lambda v, mean: mean, self.variance, self.mean)


def unbiased_square(mean: Tree, stats: Stats, target: Tree) -> Tree:
    """The square of (average - target) per entry, without the bias that noise of a finite number of draws adds.

    The plain square (mean - target)^2 is too large by the variance of the mean on average; the estimate takes that off:
    with k draws z_j - target of mean m it is (k m^2 - mean z^2) / (k - 1). Its expectation, and that of its gradient,
    are those of the exact average. Single values may be negative.

    Args:
        mean: the output of a symmetrized model.
        stats: what it returned beside it; two draws or more.
        target: a tree like the output.

    Returns:
        A tree like the output, real, with gradients.

    Raises:
        InputError: when nothing was drawn, or one draw only.

    Example:
        >>> import torch, coset
        >>> from coset import actions, frames, groups
        >>> O3 = groups.Orthogonal(3)
        >>> model = coset.symmetrize(torch.nn.Linear(3, 3), actions.Vectors(O3) >> actions.Vectors(O3), frames.Haar(4))
        >>> y, stats = model(torch.randn(8, 3), return_stats=True)
        >>> coset.unbiased_square(y, stats, torch.randn(8, 3)).mean().backward()
    """
    if stats.draws.numel() and not torch.compiler.is_compiling() and bool((stats.draws < 2).any()):
        given = "one draw", "raise the number of samples of the frame"
        if int(stats.draws.min()) == 0:
            given = "a measure without random draws", "use the plain square, which is right for deterministic frames"
        raise InputError(explain(f"unbiased_square of {given[0]}", "two independent draws or more", given[1]))

    def one(variance: Tensor, value: Tensor, share: Tensor, goal: Tensor) -> Tensor:
        if value.shape != goal.shape:
            raise InputError(explain(f"a target of shape {tuple(goal.shape)}", f"{tuple(value.shape)}, as the output", "reshape it"))
        return squared(value - goal) - variance * share

    return tree_map(one, stats.variance, mean, stats.parts["share"], target)


def quantiles(draws: Tensor, p: float) -> Tensor:
    """Student's t quantile at p for every number of draws: 0 for none, NaN for one."""
    kinds, which = draws.unique(return_inverse=True)
    values = [0.0 if n == 0 else math.nan if n == 1 else student(p, int(n) - 1) for n in kinds.tolist()]
    return torch.tensor(values, dtype=draws.dtype, device=draws.device)[which]


@lru_cache
def student(p: float, freedom: int) -> float:
    """The quantile of Student's t distribution at p >= 1/2, accurate to 1e-6 of itself.

    With t = sqrt(f) tan a the central probability is a finite sum of powers of cos a, whose zero bisection finds;
    for many degrees of freedom f, the expansion in 1 / f about the normal quantile (Abramowitz and Stegun 26.7.5).
    """
    if freedom >= SERIES:
        z = NormalDist().inv_cdf(p)
        first = (z**3 + z) / 4
        second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
        third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
        return z + first / freedom + second / freedom**2 + third / freedom**3
    low, high = 0.0, math.pi / 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _central(middle, freedom) < 2 * p - 1 else (low, middle)
    return math.sqrt(freedom) * math.tan(low)


def _central(angle: float, freedom: int) -> float:
    """The probability of |t| <= sqrt(f) tan(angle) (Abramowitz and Stegun 26.7.3 and 26.7.4)."""
    cosine, odd = math.cos(angle), freedom % 2
    term, total = (cosine if odd else 1.0), 0.0
    for k in range(1 + odd, freedom, 2):
        total += term
        term *= cosine**2 * k / (k + 1)
    total *= math.sin(angle)
    return (angle + total) * 2 / math.pi if odd else total
