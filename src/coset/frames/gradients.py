"""How gradients pass the choice of one element of a finite group: blended inputs, exact expectations, or not at all."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..errors import FrameError, explain
from ..groups.base import Group
from ..groups.maps import identity_map
from ..relaxed import SoftChoices
from ..tree import Tree, first, tree_map
from .retracted import Score


class Gradient:
    """Abstract: what training does with the scores of the elements of a finite group.

    Facts:
        temperature: of the softmax of the scores.
        top: how many elements enter the model in training.
        blends: whether one element stands for all in the backward pass.
    """

    top: int = 1
    blends: bool = False

    def __init__(self, temperature: float = 1.0):
        if isinstance(temperature, bool) or not isinstance(temperature, (int, float)) or not 0 < temperature < float("inf"):
            raise FrameError(explain(f"{type(self).__name__}(temperature={temperature!r})", "a positive temperature", "pass 1.0"))
        self.temperature = float(temperature)

    def log_shares(self, scores: Tensor) -> Tensor:
        """Log-probabilities (B, |G|) of the elements, from scores of which the largest wins."""
        return torch.log_softmax(scores / self.temperature, -1)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({'' if self.temperature == 1 else f'temperature={self.temperature:g}'})"


class Blended(Gradient):
    """Straight through: forward one element, backward the gradient of the softmax-weighted mean of the data over all elements.

    It costs one model call. The data that the chosen element moves, inputs and outputs, are what is averaged, never angles.

    Args:
        temperature: of the softmax.

    Reference: Mondal et al. 2023, arXiv 2310.01647.

    Example:
        >>> from coset import frames
        >>> frames.Blended(0.5)
        Blended(temperature=0.5)
    """

    blends = True


class Expected(Gradient):
    """In training the model is called on the ``top`` likeliest elements, and outputs are weighted by their renormalized softmax.

    With ``top=|G|`` the gradient is that of the mean output over the law of the scores. In ``eval()`` it is one element and one call.

    Args:
        top: how many elements.
        temperature: of the softmax.

    Example:
        >>> from coset import frames
        >>> frames.Expected(top=2)
        Expected(2)
    """

    def __init__(self, top: int, temperature: float = 1.0):
        super().__init__(temperature)
        if not isinstance(top, int) or isinstance(top, bool) or top < 1:
            raise FrameError(explain(f"Expected(top={top!r})", "a number of elements, 1 or more", "pass for instance Expected(top=2)"))
        self.top = top

    def __repr__(self) -> str:
        return f"Expected({self.top}{'' if self.temperature == 1 else f', temperature={self.temperature:g}'})"


class Detached(Gradient):
    """The task's loss does not reach the scores: only a prior on ``scores["log_probabilities"]`` trains them.

    Args:
        temperature: of the softmax behind the log-probabilities.

    Example:
        >>> from coset import frames
        >>> frames.Detached()
        Detached()
    """


def checked_gradient(owner: str, given: Any) -> Gradient:
    """A gradient object; the blended one when None.

    Raises:
        FrameError: for anything else.
    """
    if given is None:
        return Blended()
    if isinstance(given, Gradient):
        return given
    raise FrameError(
        explain(
            f"{owner} with gradient={given!r}", "a gradient object", "pass frames.Blended(), frames.Expected(top=2) or frames.Detached()"
        )
    )


def picked(group: Any, index: Tensor) -> Tree:
    """The elements of a finite group with these numbers, in float64 where they are matrices."""
    return tree_map(lambda leaf: leaf[index], group.elements(dtype=torch.float64 if group.dim else None, device=index.device))


def softly(group: Group, gradient: Gradient, scores: Tensor, elements: Tree, include: Any = None) -> SoftChoices | None:
    """What passes the blended gradient to scores (B, |G|) behind chosen elements (K, B, ...); None where nothing does."""
    if not gradient.blends:
        return None
    count = first(elements).shape[0]
    soft = gradient.log_shares(scores).exp()
    return SoftChoices(soft.expand(count, *soft.shape), elements, group, include or identity_map(group))


def likeliest(gradient: Gradient, scores: Tensor) -> tuple[Tensor, Tensor]:
    """Numbers (k, B) of the likeliest elements, and their renormalized shares (k, B) with gradients."""
    shares, index = torch.topk(gradient.log_shares(scores), min(gradient.top, scores.shape[-1]), dim=-1)
    return index.mT.contiguous(), torch.softmax(shares, -1).mT.to(torch.float64)  # compilers guess the strides of others wrongly


def choice_scores(gradient: Gradient, scores: Tensor) -> dict[str, Score]:
    """Values for losses, from scores (B, |G|) of which the largest wins; computed when they are called.

    ``log_probabilities`` (B, |G|): entry h is the log-probability of element h; ``entropy`` (B,) of these, in nats; ``gap`` (B,)
    the difference between the best score and the second best (infinite for a group of one element).
    """

    def logs() -> Tensor:
        return gradient.log_shares(scores)

    def entropy() -> Tensor:
        return torch.special.entr(logs().exp()).sum(-1)

    def gap() -> Tensor:
        if scores.shape[-1] == 1:
            return torch.full_like(scores[:, 0], float("inf"))
        best = torch.topk(scores, 2, dim=-1).values
        return best[:, 0] - best[:, 1]

    return {"log_probabilities": logs, "entropy": entropy, "gap": gap}
