"""Whether the index that a frame chooses turns with the input, where resampling makes it doubtful."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..actions.base import Action
from ..errors import GroupError, SignatureError, explain
from ..frames.base import Frame
from ..measure import Measure
from ..tree import Tree, first, tree_map
from .loss import Loss
from .moves import every_element, other_elements
from .prior import checked_temperature, tempered
from .step import Step, score


class IndexConsistency(Loss):
    """-log p(h c(x') | h x') in nats, for a random element h and x' the input turned by a random angle below half a grid step.

    On a grid of pixels the group of n > 4 turns is only approximately a group, and choosing the wrong index is the largest error of a
    frame there. c(x') is the frame's own choice, without gradient.

    Args:
        fine: an action of SO(2) on the same inputs, for turns between the grid steps; None leaves them out.
        temperature: divides the frame's scores once more.

    Raises:
        SignatureError: when ``fine`` is not an action of a one-parameter group of turns.
        GroupError: for groups that cannot be listed.

    Reference: the orbit-consistency of Panigrahi and Mondal 2024, arXiv 2405.14089; turns between grid steps are ours.

    Example:
        >>> from coset import actions, adapt, groups
        >>> adapt.IndexConsistency(actions.Image(groups.SpecialOrthogonal(2)))
        IndexConsistency(Image(SpecialOrthogonal(2)))
    """

    references = ("panigrahi2024improved",)

    def __init__(self, fine: Action | None = None, temperature: float = 1.0):
        if fine is not None and not (isinstance(fine, Action) and fine.group.lie_dimension == 1 and fine.group.dim == 2):
            raise SignatureError(
                explain(f"IndexConsistency(fine={fine!r})", "an action of SO(2)", "pass actions.Image(groups.SpecialOrthogonal(2))")
            )
        self.fine, self.temperature = fine, checked_temperature("IndexConsistency", temperature)

    def __call__(self, step: Step) -> Tensor:
        """(B,) nats."""
        group: Any = step.group
        pair = moved_pair(step.model.frame, step.inputs, self.fine, step.generator)
        wanted = group.index(group.compose(pair.h, _chosen(pair.here)))
        found = tempered(score(pair.there, "log_probabilities", step.model.frame), self.temperature)
        return -found.gather(1, wanted.to(found.device)[:, None])[:, 0]

    def __repr__(self) -> str:
        return f"IndexConsistency({'' if self.fine is None else repr(self.fine)})"


@torch.no_grad()
def index_consistency(frame: Frame, inputs: Tree, *, fine: Action | None = None, generator: torch.Generator | None = None) -> Tensor:
    """(B,) whether the chosen index of the moved input is the moved index, for one random element and turn; average it.

    Args:
        frame: a bound frame with one element, such as ``model.frame``.
        inputs: a batch of its source.
        fine: an action of SO(2), for turns between grid steps.
        generator: source of randomness.

    Example:
        >>> import torch
        >>> from coset import actions, adapt, frames, groups
        >>> scores = lambda x, noise: torch.stack([torch.rot90(x, -k, (-2, -1))[:, 0, 0, 0] for k in range(4)], -1)
        >>> frame = frames.Canonicalizer(scores).bind(actions.Image(groups.Cyclic(4)))
        >>> adapt.index_consistency(frame, torch.rand(3, 1, 5, 5))
        tensor([True, True, True])
    """
    pair = moved_pair(frame, inputs, fine, generator)
    group: Any = frame.group
    return group.index(group.compose(pair.h, _chosen(pair.here))) == group.index(_chosen(pair.there))


class Pair(NamedTuple):
    """An element (B, ...), and what the frame says of inputs and of the inputs moved by it."""

    h: Tree
    here: Measure
    there: Measure


def moved_pair(frame: Frame, inputs: Tree, fine: Action | None, generator: torch.Generator | None) -> Pair:
    """Turn the inputs by random angles below half a grid step, then move them by random elements other than the identity.

    Raises:
        GroupError: for groups that cannot be listed.
    """
    group, source = frame.group, frame.source
    if source is None or not group.finite:
        raise GroupError(explain(f"the index of elements of {group}", "a finite group", "use a finite subgroup, such as Cyclic(8)"))
    if fine is not None:
        at, like = source.layout(inputs), first(inputs)
        device = generator.device if generator is not None else like.device
        turns = int((torch.linalg.det(group.matrix(every_element(source, inputs), dtype=torch.float64)) > 0).sum())
        angle = (2 * torch.rand(at.samples, 1, generator=generator, device=device, dtype=torch.float64) - 1) * math.pi / turns
        inputs = fine.act(fine.group.exp(fine.group.combine(angle.to(like.device))), inputs)
    h = other_elements(source, inputs, generator)
    moved = source.act(h, inputs, source.layout(inputs))
    with torch.no_grad():
        here = frame(inputs)
    return Pair(h, here, frame(moved))


def _chosen(measure: Measure) -> Tree:
    """The element of largest weight (the first of them), (B, ...)."""
    best = measure.weights.detach().argmax(0)
    rows = torch.arange(measure.samples, device=best.device)
    return tree_map(lambda leaf: leaf[best, rows], measure.elements)
