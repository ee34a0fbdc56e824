"""Parameter sharing by bilevel optimization: a softmax assignment that lowers the validation loss of the trained values."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.optim import Optimizer, RMSprop

from ..errors import InputError, explain
from .hypergradients import Exact, Loss, Solver, hypergradient
from .mdl import CLOSE, description_length
from .relaxation import Penalty, assignment, rounded, started
from .results import Sharing, judged_sharing
from .statistic import Observed

RIDGE = 1e-9
"""Curvature added to the training problem, so that values of unused columns are defined."""

EXACT, PENALTY, OPTIMIZER = Exact(), Penalty(), partial(RMSprop, lr=2e-2, weight_decay=1e-4)


@dataclass(frozen=True)
class Bilevel:
    """theta = A psi: find the assignment A with the least validation loss of the values psi trained under it.

    The method of the paper: rows of A are softmaxes of scores, the scores descend along hypergradients, penalties push A
    towards few one-hot columns, the best of several random starts is rounded by argmax and its values are fitted
    again on all data. ``discover.sharing(..., MDL())`` is faster and recovers more where the statistic is a mean; this one
    takes any module (``discover.bilevel``).

    For a statistic, the split into training and validation data is drawn from its law given the mean, which is exact for
    normal data: no single observations are needed.

    Args:
        hypergradient: ``Exact()``, ``ConjugateGradient()`` or ``Neumann(steps, factor)``.
        penalty: the weights of the two penalties.
        steps: of the outer descent.
        optimizer: builds the outer optimizer from its parameters.
        restarts: random starts.
        share: the part of the observations that trains; the rest validates.
        generator: source of randomness; torch's global one when left out.

    Raises:
        InputError: when a number is out of range.

    Reference: Yeh et al. 2022, arXiv 2204.03640.

    Example:
        >>> import torch
        >>> from coset import discover
        >>> method = discover.Bilevel(steps=300, generator=torch.Generator().manual_seed(0))
        >>> discover.sharing(torch.tensor([0.0, 3.0, 0.1]), 1.0, 100, method).labels.tolist()
        [0, 1, 0]
    """

    hypergradient: Solver = EXACT
    penalty: Penalty = PENALTY
    steps: int = 1000
    optimizer: Callable[[list[Tensor]], Optimizer] = OPTIMIZER
    restarts: int = 3
    share: float = 0.3
    generator: torch.Generator | None = None

    def __post_init__(self) -> None:
        whole = all(isinstance(x, int) and not isinstance(x, bool) and x >= 1 for x in (self.steps, self.restarts))
        if not whole or not 0 < self.share < 1:
            raise InputError(
                explain(
                    f"Bilevel(steps={self.steps!r}, restarts={self.restarts!r}, share={self.share!r})",
                    "whole numbers of at least 1, and a share between 0 and 1",
                    "pass for instance Bilevel(steps=1000, restarts=3, share=0.3)",
                )
            )

    def solve(self, data: Observed) -> Sharing:
        """The sharing of a statistic's entries; entries are weighed by the variance of one observation."""
        first, second = split(data, self.share, self.generator)
        problem = Means(first, second, 1 / (data.variance * data.samples))
        p = len(first)
        starts = torch.stack([started(p, p, self.generator) for _ in range(self.restarts)])
        if isinstance(self.hypergradient, Exact):
            ends, losses = self.descend_together(problem, starts)
        else:
            runs = [self.descend(problem.train, problem.validation, one, problem.inner) for one in starts]
            ends, losses = torch.stack([scores for scores, _ in runs]), [loss for _, loss in runs]
        found: dict[tuple[int, ...], float] = {}
        for scores, loss in zip(ends, losses, strict=True):
            labels = tuple(rounded(scores).tolist())
            found[labels] = min(loss, found.get(labels, math.inf))
        ranked = [torch.tensor(labels) for labels in sorted(found, key=found.__getitem__)]
        length = description_length(data, ranked[0])
        second_best = ranked[1].reshape(data.shape) if len(ranked) > 1 else None
        gap = description_length(data, ranked[1]) - length if len(ranked) > 1 else math.inf
        return judged_sharing(data, ranked[0], length, second_best, gap, "bilevel", CLOSE)

    def descend_together(self, problem: Means, scores: Tensor) -> tuple[Tensor, list[float]]:
        """All restarts (R, p, p) at once, through the closed form of the trained means: the same exact hypergradients."""
        scores = scores.clone().requires_grad_()
        outer = self.optimizer([scores])
        for _ in range(self.steps):
            losses = problem.closed(scores) + self.penalty(assignment(scores))
            (scores.grad,) = torch.autograd.grad(losses.sum(), scores)
            outer.step()
        return scores.detach(), losses.tolist()

    def descend(self, train: Loss, validation: Loss, scores: Tensor, inner: Callable[[Tensor], Tensor]) -> tuple[Tensor, float]:
        """The outer descent from given scores.

        Args:
            train: loss of (scores, inner parameters).
            validation: loss of the same; the penalty is added to it.
            scores: (p, k) where to start.
            inner: scores to a minimum of the training loss.

        Returns:
            The scores, and the penalized validation loss at the last step.
        """
        scores = scores.clone().requires_grad_()
        outer = self.optimizer([scores])

        def penalized(s: Tensor, x: Tensor) -> Tensor:
            return validation(s, x) + self.penalty(assignment(s))

        loss = math.inf
        for _ in range(self.steps):
            now = scores.detach()
            scores.grad, value = hypergradient(train, penalized, now, inner(now), self.hypergradient)
            loss = float(value)
            if not math.isfinite(loss):
                raise InputError(
                    explain("a bilevel descent whose loss is not finite", "a finite loss", "lower the rates, or check the losses")
                )
            outer.step()
        return scores.detach(), loss


@dataclass(frozen=True)
class Means:
    """Two means of observations: values are trained on the first and validated on the second.

    Each value is trained to the mean of the entries assigned to it, in proportion to their assignment, which is least
    squares for a one-hot A. (Least squares of A psi itself would let rows that all favour one column reach any values.)

    Attributes:
        first, second: (p,) the means.
        weight: (p,) one over the variance of one observation.
    """

    first: Tensor
    second: Tensor
    weight: Tensor

    def train(self, scores: Tensor, psi: Tensor) -> Tensor:
        """The training loss, expected over assignments, up to a constant."""
        apart = (self.first[:, None] - psi).square()
        return (self.weight[:, None] * assignment(scores) * apart).sum() / len(self.first) + RIDGE * psi.square().sum()

    def validation(self, scores: Tensor, psi: Tensor) -> Tensor:
        """The validation loss of A psi, up to a constant."""
        return (self.weight * (self.second - assignment(scores) @ psi).square()).mean()

    def inner(self, scores: Tensor) -> Tensor:
        """(..., p) the trained values for scores (..., p, p)."""
        a = self.weight[:, None] * assignment(scores)
        return (a.mT @ self.first) / (a.sum(-2) + RIDGE * len(self.first))

    def closed(self, scores: Tensor) -> Tensor:
        """(...) the validation losses with the trained values, differentiable through these."""
        theta = (assignment(scores) @ self.inner(scores).unsqueeze(-1)).squeeze(-1)
        return (self.weight * (self.second - theta).square()).mean(-1)


def split(data: Observed, share: float, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
    """Means of a random part of the observations and of the rest, drawn from their normal law given the whole mean."""
    n = data.samples
    first = min(n - 1, max(1, round(share * n)))
    noise = torch.randn(len(data.mean), generator=generator, dtype=torch.float64)
    if data.covariance.dim() == 1:
        noise = data.covariance.sqrt() * noise
    else:
        values, vectors = torch.linalg.eigh(data.covariance)
        noise = vectors @ (values.clamp(min=0).sqrt() * noise)
    apart = math.sqrt((n - first) / (n * first)) * noise
    return data.mean + apart, data.mean - apart * first / (n - first)
