"""The relaxed assignment of parameters to values: rows of a softmax, the penalties on them, and rounding."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .partition import canonical


@dataclass(frozen=True)
class Penalty:
    """What is added to the validation loss: columns * sum_j ||A_:j|| + entropy * mean over rows of their entropy.

    The first favours few columns, the second rows close to one-hot. Without them the validation loss is inconsistent: two
    equal parameters are given one value with probability 1/2 + atan(sqrt(n_val / n_train) / 2) / pi however many data
    there are. With a fixed weight, values that truly differ by less than a threshold are merged, also however many.

    Args:
        columns: weight of the first term, in units of the noise of one observation.
        entropy: weight of the second.

    Example:
        >>> import torch
        >>> from coset import discover
        >>> discover.Penalty(columns=1.0, entropy=0.0)(torch.eye(3))
        tensor(3.)
    """

    columns: float = 1e-2
    entropy: float = 1e-2

    def __call__(self, assignment: Tensor) -> Tensor:
        """(...) for rows (..., p, k) of probabilities."""
        tiny = torch.finfo(assignment.dtype).tiny
        sizes = (assignment.square().sum(-2) + tiny).sqrt().sum(-1)
        disorder = -torch.special.xlogy(assignment, assignment + tiny).sum(-1).mean(-1)
        return self.columns * sizes + self.entropy * disorder


def assignment(scores: Tensor) -> Tensor:
    """(..., p, k) the relaxed A: a softmax of every row."""
    return torch.softmax(scores, -1)


def rounded(scores: Tensor) -> Tensor:
    """(p,) canonical labels: the largest score of every row."""
    return canonical(scores.argmax(1))


def started(count: int, columns: int, generator: torch.Generator | None, dtype: torch.dtype = torch.float64) -> Tensor:
    """Random scores (p, k) of small size."""
    return 0.1 * torch.randn(count, columns, generator=generator, dtype=dtype)
