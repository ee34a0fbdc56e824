"""Likelihoods of targets given a model's outputs: their values, gradients and Gauss-Newton factors."""

from __future__ import annotations

import abc
import math

import torch
from torch import Tensor

from ..errors import InputError, describe, explain

LEAST = 1e-8
"""The least noise that is fitted, in units of the variance of the targets."""


class Likelihood(abc.ABC):
    """Abstract: how targets scatter around outputs.

    Attributes:
        noise: a variance, where there is one.
    """

    noise: float | None = None

    def start(self, targets: Tensor) -> None:
        """Look at the targets before the first step."""
        return

    def check(self, outputs: Tensor, targets: Tensor) -> None:
        """Refuse targets that do not fit the outputs (B, c)."""
        return

    @abc.abstractmethod
    def parts(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """A root of the curvature (B, c, c), the gradient with respect to outputs (B, c), and the log-likelihood of all targets."""

    def update(self, outputs: Tensor, targets: Tensor, used: float) -> None:
        """Fit what the likelihood itself has to fit; ``used`` parameters are determined by the data."""
        return


class Gaussian(Likelihood):
    """Targets (B, c) with independent noise of one variance.

    Args:
        variance: of the noise; fitted when left out, to at least 1e-8 of the targets' variance: below it rounding would count as evidence.

    Raises:
        InputError: for a variance that is not positive.

    Example:
        >>> import torch
        >>> from coset.adapt import Gaussian
        >>> float(Gaussian(1.0).parts(torch.zeros(1, 1), torch.zeros(1, 1))[2].exp().square() * 2 * torch.pi)
        1.0...
    """

    def __init__(self, variance: float | None = None):
        if variance is not None and not (math.isfinite(variance) and variance > 0):
            raise InputError(explain(f"the variance {variance}", "a positive number", "leave it out to fit it"))
        self.fixed, self.noise, self.least = variance is not None, variance, 1e-12

    def start(self, targets: Tensor) -> None:
        """Begin with half of the targets' variance."""
        if not self.fixed:
            spread = float(targets.double().var())
            if not spread > 0:
                raise InputError(explain("targets that are all equal", "targets that vary", "there is nothing to fit"))
            self.noise, self.least = spread / 2, LEAST * spread

    def check(self, outputs: Tensor, targets: Tensor) -> None:
        """Refuse other shapes."""
        if targets.numel() != outputs.numel():
            raise InputError(explain(f"targets {describe(targets)}", f"numbers {tuple(outputs.shape)}, as the outputs", "check the model"))

    def parts(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See :class:`Likelihood`."""
        noise = float(self.noise or 1.0)
        gap = targets.reshape(outputs.shape) - outputs
        root = torch.eye(outputs.shape[1]).to(outputs).expand(len(outputs), -1, -1) / math.sqrt(noise)
        return root, gap / noise, -(gap.square() / noise + math.log(2 * math.pi * noise)).sum() / 2

    def update(self, outputs: Tensor, targets: Tensor, used: float) -> None:
        """The variance of the residuals, for the degrees of freedom that are left."""
        if not self.fixed:
            gap = float((targets.reshape(outputs.shape) - outputs).square().sum())
            self.noise = max(gap / max(outputs.numel() - used, 1.0), self.least)


class Categorical(Likelihood):
    """Classes (B,), from logits (B, c).

    Example:
        >>> import torch
        >>> from coset.adapt import Categorical
        >>> round(float(Categorical().parts(torch.zeros(1, 4), torch.tensor([2]))[2].exp()), 6)
        0.25
    """

    def start(self, targets: Tensor) -> None:
        """Refuse what are no classes."""
        if targets.is_floating_point() or targets.dim() != 1:
            raise InputError(explain(describe(targets), "integer classes (B,)", "use Gaussian for numbers"))

    def check(self, outputs: Tensor, targets: Tensor) -> None:
        """Refuse classes without a logit."""
        if int(targets.min()) < 0 or int(targets.max()) >= outputs.shape[1]:
            given = f"classes from {int(targets.min())} to {int(targets.max())}"
            raise InputError(explain(given, f"0 to {outputs.shape[1] - 1}, one for each output", "number them, or widen the model"))

    def parts(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See :class:`Likelihood`."""
        logs = outputs.log_softmax(-1)
        p = logs.exp()
        # R = diag(sqrt p) (I - 1 p^T) has R^T R = diag(p) - p p^T
        root = p.sqrt()[:, :, None] * (torch.eye(p.shape[1]).to(p) - p[:, None, :])
        hot = torch.nn.functional.one_hot(targets.long(), p.shape[1]).to(p)
        return root, hot - p, (logs * hot).sum()
