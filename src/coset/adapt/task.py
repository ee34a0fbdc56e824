"""The task's own loss, expected over the elements that the measure lists."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from ..errors import InputError, describe, explain
from ..tree import Tree, is_container, leaves
from .loss import Loss
from .step import Step, per_sample

PerSample = Callable[[Any, Any], Tensor]


def logits(outputs: Tree) -> Tensor:
    """The scores of classes in a model's outputs: a tensor, its entry ``logits``, or its only tensor.

    Raises:
        InputError: where there are several tensors and none is called logits.
    """
    if isinstance(outputs, Tensor):
        return outputs
    found = getattr(outputs, "logits", None)
    if found is None and isinstance(outputs, dict):
        found = outputs.get("logits")
    if isinstance(found, Tensor):
        return found
    every = list(leaves(outputs)) if is_container(outputs) else []
    if len(every) != 1:
        given = f"outputs of type {type(outputs).__name__} with {len(every)} tensors"
        raise InputError(explain(given, "a tensor, or an entry 'logits'", "pass a loss of your own that reads these outputs"))
    return every[0]


def cross_entropy(outputs: Tree, targets: Tensor) -> Tensor:
    """(B,) the cross-entropy in nats of logits (B, C) or (B, C, ...) with classes (B,) or (B, ...), averaged over places.

    Example:
        >>> import torch
        >>> from coset import adapt
        >>> adapt.cross_entropy(torch.zeros(2, 4), torch.tensor([0, 3]))
        tensor([1.3863, 1.3863])
    """
    values = functional.cross_entropy(logits(outputs), wanted(targets, "cross_entropy"), reduction="none")
    return values.flatten(1).mean(1) if values.dim() > 1 else values


def squared_error(outputs: Tree, targets: Tensor) -> Tensor:
    """(B,) the mean over entries of the squared difference, in squared units of the targets.

    Raises:
        InputError: where outputs and targets differ in shape (nothing is broadcast).
    """
    values, targets = logits(outputs), wanted(targets, "squared_error")
    if values.shape != targets.shape:
        raise InputError(explain(f"outputs {describe(values)}", f"the shape of the targets, {tuple(targets.shape)}", "reshape one of them"))
    return (values - targets).square().reshape(values.shape[0], -1).mean(1)


def wanted(targets: Any, name: str) -> Tensor:
    """Targets, which a loader has to give."""
    if not isinstance(targets, Tensor):
        given = "batches without targets" if targets is None else f"targets of type {type(targets).__name__}"
        raise InputError(explain(f"{given} for adapt.{name}", "(inputs, targets) with a tensor of targets", "add them, or use priors only"))
    return targets


class Task(Loss):
    """The expectation of the task's loss over the canonical inputs: sum_i w_i loss(output of element g_i, target).

    With one element this is the loss of the symmetrized model. With several of a frame that weighs them (``frames.Expected``)
    gradients reach the weights: it is the exact derivative of the expected loss, at one predictor call per element.

    Args:
        loss: from outputs of the predictor and targets to (B,) values; any units.

    Reference: Mondal et al. 2023, arXiv 2310.01647, equation 4 (L_fine-tune); the expectation in place of one element is ours.

    Example:
        >>> import torch, coset
        >>> from coset import actions, adapt, frames, groups
        >>> G = groups.Cyclic(4)
        >>> model = coset.symmetrize(lambda x: x.mean((2, 3)), actions.Image(G) >> actions.Trivial(G), frames.Full())
        >>> adapt.Task()(adapt.Step(model, torch.ones(2, 5, 4, 4), torch.tensor([0, 1])))
        tensor([1.6094, 1.6094])
    """

    references = ("mondal2023equivariant",)

    def __init__(self, loss: PerSample = cross_entropy):
        self.loss = loss

    def __call__(self, step: Step) -> Tensor:
        """(B,) expected values."""
        weights, outputs = step.terms
        return expected(self.loss, weights, outputs, step.targets)

    def __repr__(self) -> str:
        return "Task()" if self.loss is cross_entropy else f"Task({called(self.loss)})"


def expected(loss: PerSample, weights: Tensor, outputs: list[Tree], targets: Any) -> Tensor:
    """(B,) the weighted mean of the losses of several outputs."""
    found = each(loss, outputs, targets, weights.shape[1])
    return (weights.to(found.dtype) * found).sum(0)


def each(loss: PerSample, outputs: list[Tree], targets: Any, samples: int) -> Tensor:
    """(len(outputs), B) the losses of several outputs."""
    return torch.stack([per_sample(loss(one, targets), samples, called(loss)) for one in outputs])


def called(function: Any) -> str:
    """The name of a callable, the same in every process: no addresses of memory."""
    inner = getattr(function, "func", None)  # of functools.partial
    return getattr(function, "__name__", None) or (f"partial({called(inner)})" if inner is not None else type(function).__name__)
