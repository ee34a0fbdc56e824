"""A prior that the frozen predictor gives: poses in which it is right are likely ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import GroupError, InputError, explain
from ..frames.average import Full
from ..symmetrized import Symmetrized
from .loss import Loss
from .prior import checked_temperature, divergence, tempered
from .step import Step
from .task import PerSample, cross_entropy, each


class ModelPrior(Loss):
    """KL(P(. | x, y) || p(. | x)) in nats, with P(g | x, y) the softmax over the group of -loss(f(g^-1 x), y) / temperature.

    The predictor f sees all |G| poses of a sample once; with sample numbers (``Step.index``) the result is remembered, so that every
    later epoch costs nothing. Remember only inputs that do not change between epochs (no random augmentation before this loss).

    Args:
        predictor: a pretrained model, which is not changed: it runs in eval mode without gradients.
        loss: from its outputs and targets to (B,) values.
        temperature: in units of the loss.

    Raises:
        GroupError: for groups that cannot be listed.

    Reference: Mondal et al. 2023, arXiv 2310.01647, section 3.2 (poses of the training data that the pretrained model prefers).

    Example:
        >>> import torch, coset
        >>> from coset import actions, adapt, frames, groups
        >>> G = groups.Cyclic(4)
        >>> corner = lambda x: x[:, 0, 0]  # class scores: the top row
        >>> prior = adapt.ModelPrior(corner, temperature=0.1)
        >>> signature = actions.Image(G) >> actions.Trivial(G)
        >>> x = torch.zeros(1, 1, 2, 2).index_fill(-1, torch.tensor(0), 5.0)  # the left column is bright
        >>> prior.poses(signature, x, torch.tensor([1])).argmax(-1)  # turned by half, the right column is
        tensor([2])
    """

    references = ("mondal2023equivariant",)

    def __init__(self, predictor: Callable[..., Any], loss: PerSample = cross_entropy, temperature: float = 1.0):
        if not callable(predictor):
            raise InputError(explain(f"{predictor!r} as predictor", "a callable", "pass the pretrained model"))
        self.predictor, self.loss = predictor, loss
        self.temperature = checked_temperature("ModelPrior", temperature)
        self._table: Tensor | None = None

    def __call__(self, step: Step) -> Tensor:
        """(B,) nats."""
        found = tempered(step.log_probabilities, 1.0)
        return divergence(self._known(step).to(found), found)

    def poses(self, signature: Any, inputs: Any, targets: Any) -> Tensor:
        """(B, |G|) probabilities of the poses, in the order of the group's elements."""
        if not signature.group.finite:
            raise GroupError(explain(f"ModelPrior on {signature.group}", "a finite group", "use a finite subgroup, such as Cyclic(8)"))
        every = Symmetrized(self.predictor, signature, Full())
        modules = [part for part in every.modules() if part.training]
        every.eval()
        try:
            with torch.no_grad():
                outputs = every.terms(inputs, every.frame(inputs))[1]
                losses = each(self.loss, outputs, targets, samples_of(signature, inputs))
        finally:
            _restore(modules)
        return torch.softmax(-losses.mT / self.temperature, -1)

    def forget(self) -> None:
        """Drop what is remembered."""
        self._table = None

    def _known(self, step: Step) -> Tensor:
        """Probabilities (B, |G|), from memory for the samples that were seen."""
        if step.index is None:
            return self.poses(step.model.signature, step.inputs, step.targets)
        index = step.index.detach().to("cpu", torch.int64)
        size = int(index.max()) + 1
        if self._table is None:
            self._table = torch.full((size, int(step.group.order)), torch.nan)
        if self._table.shape[0] < size:
            more = self._table.new_full((size - self._table.shape[0], self._table.shape[1]), torch.nan)
            self._table = torch.cat([self._table, more])
        if bool(self._table[index].isnan().any()):
            self._table[index] = self.poses(step.model.signature, step.inputs, step.targets).to("cpu", self._table.dtype)
        return self._table[index].to(step.log_probabilities.device)

    def __repr__(self) -> str:
        return f"ModelPrior({type(self.predictor).__name__}, temperature={self.temperature:g})"


def samples_of(signature: Any, inputs: Any) -> int:
    """The number of samples of a batch."""
    return int(signature.source.layout(inputs).samples)


def _restore(modules: list[nn.Module]) -> None:
    for part in modules:
        part.training = True
