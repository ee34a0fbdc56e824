"""Accuracy on upright and on moved test data, with intervals, and paired differences of two models."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..actions.base import Action
from ..actions.trees import call
from ..errors import InputError, explain
from ..tree import Tree, first, tree_map
from .objective import Batch, read_batch
from .step import per_sample
from .task import called, logits, wanted

Score = Callable[[Any, Any], Tensor]


class Interval(NamedTuple):
    """A mean and its 95 % interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.4f} [{self.low:.4f}, {self.high:.4f}]"


def correct(outputs: Tree, targets: Tensor) -> Tensor:
    """(B,) one where the class of the largest logit is the target, else zero; the share of places for dense outputs.

    Example:
        >>> import torch
        >>> from coset import adapt
        >>> adapt.correct(torch.tensor([[0.0, 1.0], [1.0, 0.0]]), torch.tensor([1, 1]))
        tensor([1., 0.])
    """
    hits = (logits(outputs).argmax(1) == wanted(targets, "correct")).to(torch.float32)
    return hits.reshape(hits.shape[0], -1).mean(1)


@dataclass(frozen=True)
class Accuracy:
    """Scores of a model on a test set, moved by every element of a list.

    Attributes:
        values: (K, N) the score of every sample, for every element; the first is the identity.
    """

    values: Tensor

    @property
    def upright(self) -> Interval:
        """On the data as they are."""
        return _share(self.values[0])

    @property
    def averaged(self) -> Interval:
        """The mean over the elements of the score on the moved test set; copies of one sample count as one for the interval."""
        return _share(self.values.mean(0))

    @property
    def per_element(self) -> list[float]:
        """The mean score for every element."""
        return [float(value) for value in self.values.mean(1)]

    def minus(self, other: Accuracy) -> tuple[Interval, Interval]:
        """The paired differences to another model on the same data: upright, averaged.

        Raises:
            InputError: where the two did not see the same samples and elements.
        """
        if self.values.shape != other.values.shape:
            given = f"{tuple(self.values.shape)} and {tuple(other.values.shape)} scores"
            raise InputError(explain(given, "two models on the same samples and elements", "evaluate both with the same loader"))
        apart = self.values - other.values
        return _difference(apart[0]), _difference(apart.mean(0))

    def __repr__(self) -> str:
        return (
            f"Accuracy(upright {self.upright}, averaged {self.averaged}, {self.values.shape[1]} samples, {self.values.shape[0]} elements)"
        )


@torch.no_grad()
def accuracy(
    model: Callable[..., Any],
    loader: Iterable[Any],
    source: Action,
    *,
    score: Score = correct,
    elements: Tree = None,
    labels: Action | None = None,
    device: torch.device | str | None = None,
) -> Accuracy:
    """Score a model, bare or symmetrized, on test data as they are and moved by the elements of a group.

    Args:
        model: called as the source says, in eval mode (restored afterwards).
        loader: yields (inputs, targets).
        source: how the group moves the inputs; pass the same one for all models that are compared.
        score: from outputs and targets to (B,) values between 0 and 1.
        elements: a tree with leaves (K, ...), the identity first; all elements of a finite group when left out.
        labels: how the elements move the targets (masks, boxes); None where they do not.
        device: where batches go.

    Raises:
        InputError: for empty loaders, and for groups that cannot be listed without ``elements``.

    Example:
        >>> import torch
        >>> from coset import actions, adapt, groups
        >>> source = actions.Image(groups.Cyclic(4))
        >>> corner = lambda x: x[:, 0, :1, :2].flatten(1)  # says which of the two pixels on top is brighter
        >>> data = [(torch.tensor([[[[0.0, 1.0], [0.2, 0.1]]]]), torch.tensor([1]))]
        >>> adapt.accuracy(corner, data, source).per_element
        [1.0, 0.0, 1.0, 0.0]
    """
    if elements is None:
        if not source.group.finite:
            raise InputError(
                explain(f"no elements of {source.group}", "a list of elements", "pass elements=group.sample(8), the identity first")
            )
        elements = source.group.elements(dtype=torch.float64 if source.group.dim else None)
    modes = {part: part.training for part in model.modules()} if isinstance(model, nn.Module) else {}
    found: list[Tensor] = []
    try:
        if isinstance(model, nn.Module):
            model.eval()
        for given in loader:
            batch = read_batch(given, None if device is None else torch.device(device))
            here = _spread(elements, batch.inputs, source.layout(batch.inputs).samples)
            found.append(torch.stack([_scored(model, source, labels, g, batch, score) for g in here]))
    finally:
        for part, mode in modes.items():
            part.training = mode
    if not found:
        raise InputError(explain("no batches from the loader", "at least one batch", "pass the test data"))
    return Accuracy(torch.cat(found, 1))


def _spread(elements: Tree, inputs: Tree, samples: int) -> list[Tree]:
    """Each of the elements, the same for all samples."""
    here = tree_map(lambda leaf: leaf.to(first(inputs).device), elements)
    return [tree_map(lambda leaf: leaf[k].expand(samples, *leaf.shape[1:]), here) for k in range(first(here).shape[0])]  # noqa: B023


def _scored(model: Callable[..., Any], source: Action, labels: Action | None, g: Tree, batch: Batch, score: Score) -> Tensor:
    """(B,) the scores of a batch that was moved by one element."""
    at = source.layout(batch.inputs)
    moved = batch.targets if labels is None else labels.act(g, batch.targets)
    found = score(call(model, source, source.act(g, batch.inputs, at)), moved)
    return per_sample(found, at.samples, called(score)).to("cpu", torch.float64)


def _share(values: Tensor) -> Interval:
    """Wilson's interval, with the number of samples that the variance of means between 0 and 1 amounts to; normal for other values."""
    if bool(((values < 0) | (values > 1)).any()):
        return _difference(values)
    mean, n, z = float(values.mean()), values.shape[0], 1.959964
    variance = float(values.var(unbiased=False)) / n
    size = mean * (1 - mean) / variance if variance > 0 else n
    middle = (mean + z * z / (2 * size)) / (1 + z * z / size)
    half = z / (1 + z * z / size) * math.sqrt(max(mean * (1 - mean), 0.0) / size + z * z / (4 * size * size))
    return Interval(mean, middle - half, middle + half)


def _difference(values: Tensor) -> Interval:
    """The normal interval of a mean of differences."""
    mean, n = float(values.mean()), values.shape[0]
    half = 1.959964 * math.sqrt(float(values.var()) / n) if n > 1 else math.inf
    return Interval(mean, mean - half, mean + half)
