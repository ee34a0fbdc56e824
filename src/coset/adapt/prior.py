"""Priors on finite groups: which poses the canonical inputs should come out in."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..errors import FrameError, InputError, explain
from .loss import Loss
from .step import Step


def tempered(log_probabilities: Tensor, temperature: float) -> Tensor:
    """Log-probabilities (B, K) of the same scores at another temperature."""
    if temperature == 1:
        return log_probabilities
    lead = log_probabilities - log_probabilities.amax(-1, keepdim=True).detach()  # the best stays at zero, however cold it is
    return torch.log_softmax(lead / max(temperature, torch.finfo(lead.dtype).tiny), -1)


def checked_temperature(name: str, temperature: float) -> float:
    """A positive temperature.

    Raises:
        InputError: otherwise.
    """
    if isinstance(temperature, bool) or not isinstance(temperature, (int, float)) or not 0 < temperature < float("inf"):
        raise InputError(explain(f"{name}(temperature={temperature!r})", "a positive number", "pass 1.0"))
    return float(temperature)


class IdentityPrior(Loss):
    """The data stands upright: -log p(e | x), in nats, with p the frame's law of the element and e the identity.

    It is the Kullback-Leibler divergence of p from the law that always says e. Its value at a frame that knows nothing is log |G|; the
    gradient with respect to the scores is (p - one-hot of e) / temperature. At inputs that a subgroup S fixes no equivariant frame can
    come below log |S|, and there its gradient is zero.

    Args:
        temperature: divides the frame's scores once more; small ones count only clear mistakes, large ones ask for wide margins.

    Reference: Mondal et al. 2023, arXiv 2310.01647, section 3.2 (prior regularization, equation 5 with a one-hot prior).

    Example:
        >>> import torch
        >>> from coset import actions, adapt, frames, groups
        >>> import coset
        >>> G = groups.Cyclic(4)
        >>> scores = lambda x, noise: torch.stack([torch.rot90(x, -k, (-2, -1))[:, 0, 0, 0] for k in range(4)], -1)
        >>> model = coset.symmetrize(lambda x: x, actions.Image(G) >> actions.Image(G), frames.Canonicalizer(scores))
        >>> x = torch.tensor([[[[9.0, 1.0], [2.0, 3.0]]]])
        >>> bool(adapt.IdentityPrior()(adapt.Step(model, x)) < 0.01)
        True
    """

    references = ("mondal2023equivariant",)

    def __init__(self, temperature: float = 1.0):
        self.temperature = checked_temperature("IdentityPrior", temperature)

    def __call__(self, step: Step) -> Tensor:
        """(B,) nats."""
        return -tempered(step.log_probabilities, self.temperature)[:, 0]

    def __repr__(self) -> str:
        return f"IdentityPrior({'' if self.temperature == 1 else f'temperature={self.temperature:g}'})"


class HistogramPrior(Loss):
    """The poses of the data follow a histogram P over the elements: KL(P || p(. | x)), in nats.

    Zero exactly where p is P. It asks every single input for the whole histogram; where data stand in one of several poses, each
    known, use :class:`ModelPrior`.

    Args:
        weights: |G| numbers, not negative, in the order of ``group.elements()``; normalized here.
        temperature: divides the frame's scores once more.

    Raises:
        InputError: for negative or infinite weights, or all zero.

    Reference: Mondal et al. 2023, arXiv 2310.01647, equation 5.

    Example:
        >>> from coset import adapt
        >>> adapt.HistogramPrior([3, 1])
        HistogramPrior([0.75, 0.25])
    """

    references = ("mondal2023equivariant",)

    def __init__(self, weights: Sequence[float] | Tensor, temperature: float = 1.0):
        try:
            given = torch.as_tensor(weights, dtype=torch.float64, device="cpu").detach().clone()
        except (TypeError, ValueError):
            given = torch.empty(0)
        if given.dim() != 1 or not bool(torch.isfinite(given).all()) or bool((given < 0).any()) or not float(given.sum()) > 0:
            raise InputError(explain(f"HistogramPrior({weights!r})", "finite weights (|G|,) that are not negative", "pass counts of poses"))
        self.histogram = given / given.sum()
        self.temperature = checked_temperature("HistogramPrior", temperature)

    def __call__(self, step: Step) -> Tensor:
        """(B,) nats."""
        found = tempered(step.log_probabilities, self.temperature)
        if found.shape[1] != self.histogram.shape[0]:
            raise FrameError(
                explain(
                    f"{self.histogram.shape[0]} weights for the {found.shape[1]} elements of {step.group}",
                    "one weight for each element",
                    "list them in the order of group.elements()",
                )
            )
        return divergence(self.histogram.to(found), found)

    def __repr__(self) -> str:
        shown = ", ".join(f"{float(w):.3g}" for w in self.histogram)
        return f"HistogramPrior([{shown}]{'' if self.temperature == 1 else f', temperature={self.temperature:g}'})"


def divergence(weights: Tensor, log_probabilities: Tensor) -> Tensor:
    """(B,) KL(P || p) in nats from probabilities (K,) or (B, K) and log-probabilities (B, K); impossible elements cost nothing."""
    own = -torch.special.entr(weights)
    return (own - torch.where(weights > 0, weights * log_probabilities, 0.0)).sum(-1)
