"""A prior that the frozen predictor gives: poses in which it is right are likely ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import GroupError, InputError, describe, explain
from ..frames.average import Full
from ..symmetrized import Symmetrized
from ..tree import Tree, first
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
        InputError: for numbers of samples that are not whole, or under which other inputs were seen before.

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
        self._seen: Tensor | None = None
        self._of = ""

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
        try:
            every.eval()
            with torch.no_grad():
                outputs = every.terms(inputs, every.frame(inputs))[1]
                losses = each(self.loss, outputs, targets, int(signature.source.layout(inputs).samples))
        finally:
            _restore(modules)
        return torch.softmax(-losses.mT / self.temperature, -1)

    def forget(self) -> None:
        """Drop what is remembered."""
        self._table, self._seen, self._of = None, None, ""

    def _known(self, step: Step) -> Tensor:
        """Probabilities (B, |G|), from memory for the samples that were seen."""
        signature = step.model.signature
        if step.index is None:
            return self.poses(signature, step.inputs, step.targets)
        if self._of != repr(signature):
            self.forget()
            self._of = repr(signature)
        index, marks = checked_index(step.index, step.samples), fingerprints(step.inputs, step.samples)
        self._grow(int(index.max()) + 1, int(step.group.order))
        known = ~self._table[index].isnan().any(1)  # type: ignore[index]
        if not bool(known.all()):
            self._table[index] = self.poses(signature, step.inputs, step.targets).to("cpu", torch.float32)  # type: ignore[index]
            self._seen[index[~known]] = marks[~known]  # type: ignore[index]
        refuse_others(self._seen[index], marks, index)  # type: ignore[index]
        return self._table[index].to(first(step.inputs).device)  # type: ignore[index]

    def _grow(self, size: int, order: int) -> None:
        """Room for so many samples, NaN where nothing is known."""
        if self._table is None or self._seen is None:
            self._table, self._seen = torch.empty(0, order), torch.empty(0, 2)
        more = size - self._table.shape[0]
        if more > 0:
            self._table = torch.cat([self._table, torch.full((more, order), torch.nan)])
            self._seen = torch.cat([self._seen, torch.full((more, 2), torch.nan)])

    def __repr__(self) -> str:
        return f"ModelPrior({type(self.predictor).__name__}, temperature={self.temperature:g})"


def checked_index(index: Any, samples: int) -> Tensor:
    """Numbers (B,) of samples, on the host.

    Raises:
        InputError: where they are not B whole numbers of at least zero.
    """
    if not isinstance(index, Tensor) or index.shape != (samples,) or index.is_floating_point() or bool((index < 0).any()):
        expected = f"whole numbers of at least zero, of shape ({samples},)"
        raise InputError(explain(f"{describe(index)} as index of samples", expected, "number the data set from 0, in every batch its own"))
    return index.detach().to("cpu", torch.int64)


def fingerprints(inputs: Tree, samples: int) -> Tensor:
    """(B, 2) a weighted mean of each sample's first tensor and the size of its terms; zeros where rows are not samples."""
    leaf = first(inputs).detach()
    if leaf.dim() == 0 or leaf.shape[0] != samples or leaf.is_complex():
        return torch.zeros(samples, 2)
    flat = leaf.reshape(samples, -1).to(torch.float32)
    terms = flat * torch.linspace(1, 2, flat.shape[1], device=flat.device)
    return torch.stack([terms.mean(1), terms.abs().mean(1)], 1).to("cpu")


def refuse_others(seen: Tensor, marks: Tensor, index: Tensor) -> None:
    """Compare samples with those of the same numbers that were seen before.

    Raises:
        InputError: where they differ.
    """
    other = (seen[:, 0] - marks[:, 0]).abs() > 1e-4 * seen[:, 1]
    if bool(other.any()):
        raise InputError(
            explain(
                f"inputs that are not those seen before under the numbers {index[other][:5].tolist()}",
                "one number for each sample of the data set, and inputs that do not change between epochs",
                "number samples over all batches, leave random augmentation out, call forget(), or give no index",
            )
        )


def _restore(modules: list[nn.Module]) -> None:
    for part in modules:
        part.training = True
