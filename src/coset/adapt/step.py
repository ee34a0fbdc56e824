"""One training step as losses see it: inputs, targets, the measure, and what the predictor says; computed once, when asked for."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ..actions.base import Action
from ..errors import FrameError, InputError, explain
from ..frames.base import Frame
from ..groups.base import Group
from ..measure import Measure
from ..symmetrized import Symmetrized
from ..tree import Tree


@dataclass(frozen=True)
class Step:
    """What a loss may look at. Every loss is called as ``loss(step)`` and returns (B,) values.

    The frame is called once, however many losses read it; the predictor only when a loss asks for its outputs.

    Attributes:
        model: the canonicalizer around the predictor.
        inputs: a batch of B samples, as the signature's source declares it.
        targets: what the task's loss compares with; None where there is no task.
        index: (B,) numbers of the samples in the data set, for losses that remember them; None where the loader gives none.
        generator: source of randomness of losses; torch's global one when None.

    Example:
        >>> import torch, coset
        >>> from coset import actions, adapt, frames, groups
        >>> G = groups.Cyclic(4)
        >>> model = coset.symmetrize(lambda x: x.flatten(1), actions.Image(G) >> actions.Trivial(G), frames.Full())
        >>> step = adapt.Step(model, torch.rand(2, 1, 4, 4))
        >>> step.samples, step.terms[0].shape
        (2, torch.Size([4, 2]))
    """

    model: Symmetrized
    inputs: Tree
    targets: Any = None
    index: Tensor | None = None
    generator: torch.Generator | None = None

    @property
    def source(self) -> Action:
        """How the group moves the inputs."""
        return self.model.signature.source

    @property
    def group(self) -> Group:
        """The group."""
        return self.model.signature.group

    @cached_property
    def measure(self) -> Measure:
        """What the frame found."""
        return self.model.frame(self.inputs)

    @cached_property
    def terms(self) -> tuple[Tensor, list[Tree]]:
        """Weights (cosets, B) and the predictor's outputs, one tree for each coset, moved back."""
        return self.model.terms(self.inputs, self.measure)

    @property
    def samples(self) -> int:
        """The number B of samples; neither the frame nor the predictor is called."""
        return int(self.source.layout(self.inputs).samples)

    def score(self, name: str) -> Tensor:
        """A score of the frame by name, such as ``"entropy"`` (B,).

        Raises:
            FrameError: when the frame does not give it.
        """
        return score(self.measure, name, self.model.frame)

    @property
    def log_probabilities(self) -> Tensor:
        """(B, |G|) log p(c(x) = h), in the order of the elements of the group, identity first."""
        return self.score("log_probabilities")


def score(measure: Measure, name: str, frame: Frame) -> Tensor:
    """A named score of a measure.

    Raises:
        FrameError: when the frame does not give it.
    """
    if name not in measure.scores:
        raise FrameError(
            explain(
                f"{frame} with the scores {sorted(measure.scores)} on {measure.group}",
                f"a frame that gives the score {name!r}",
                "use frames.Canonicalizer or frames.Minimize on a finite group, or adapt.VonMises and adapt.MatrixFisher on rotations",
            )
        )
    return measure.scores[name]


def per_sample(values: Any, samples: int, name: str) -> Tensor:
    """Values that a loss returned, checked.

    Raises:
        InputError: where they are not one number per sample.
    """
    if not isinstance(values, Tensor) or values.shape != (samples,):
        shape = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
        raise InputError(
            explain(
                f"{shape} from the loss {name}", f"one value per sample, of shape ({samples},)", "use reduction='none' and average the rest"
            )
        )
    return values
