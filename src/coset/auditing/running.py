"""Run somebody's model without leaving a trace: evaluation mode, random state and gradients are put back."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy
import torch
from torch import Tensor, nn

from ..actions.base import Action
from ..actions.indices import Edges
from ..actions.layout import Layout
from ..actions.signature import Signature
from ..actions.trees import call, visit
from ..errors import InputError, describe, explain
from ..tree import Tree, is_container, tree_map
from .norms import named_leaves

DROPOUT = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)


def module_of(model: Callable[..., Any]) -> nn.Module | None:
    """The module behind a callable: itself, or the owner of a bound method; None for plain functions."""
    if isinstance(model, nn.Module):
        return model
    owner = getattr(model, "__self__", None)
    return owner if isinstance(owner, nn.Module) else None


def model_tensors(model: Callable[..., Any]) -> list[Tensor]:
    """The floating point parameters and buffers of the module behind a callable."""
    module = module_of(model)
    found = [] if module is None else [*module.parameters(), *module.buffers()]
    return [t for t in found if t.is_floating_point() or t.is_complex()]


@contextlib.contextmanager
def evaluation(model: Callable[..., Any]) -> Iterator[None]:
    """Switch every submodule to evaluation, set gradients aside, and put back exactly what was there."""
    module = module_of(model)
    modes = [] if module is None else [(part, part.training) for part in module.modules()]
    grads = [] if module is None else [(p, p.grad) for p in module.parameters()]
    try:
        for part, _ in modes:
            part.training = False
        for p, _ in grads:
            p.grad = None
        with random_state():
            yield
    finally:
        for part, mode in modes:
            part.training = mode
        for p, grad in grads:
            p.grad = grad


@contextlib.contextmanager
def random_state() -> Iterator[None]:
    """Put back the global random states of torch, NumPy and Python."""
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
    host, array = random.getstate(), numpy.random.get_state()
    with torch.random.fork_rng(devices=devices):
        try:
            yield
        finally:
            random.setstate(host)
            numpy.random.set_state(array)


def seed_all(seed: int) -> None:
    """Give torch, NumPy and Python one seed, so that two calls of a model draw the same noise."""
    torch.manual_seed(seed)
    numpy.random.seed(seed % 2**32)
    random.seed(seed)


@dataclass
class Runner:
    """Calls a model as its source asks, checks what comes back, and protects the inputs.

    Args:
        model: the callable under audit.
        signature: its declared type.
        gradients: keep autograd on, for models that differentiate inside their forward.
        stochastic: the model was seen to answer differently on the same input.
    """

    model: Callable[..., Any]
    signature: Signature
    gradients: bool = False
    stochastic: bool = False

    @property
    def source(self) -> Action:
        """The action on inputs."""
        return self.signature.source

    @property
    def target(self) -> Action:
        """The action on outputs."""
        return self.signature.target

    def __call__(self, inputs: Tree, seed: int = 0) -> Tree:
        """The model's output on copies of the inputs, detached, computed under one seed."""
        seed_all(seed)
        fresh = tree_map(lambda t: t.detach().clone(), inputs)
        with torch.set_grad_enabled(self.gradients):
            return tree_map(lambda t: t.detach(), call(self.model, self.source, fresh))

    def first(self, inputs: Tree) -> Tree:
        """The first call: finds out whether the model needs autograd, and checks the output against the target."""
        try:
            output = self(inputs)
        except RuntimeError as error:
            if "grad" not in str(error):
                raise
            self.gradients = True
            output = self(inputs)
        check_output(self.target, output, self.source.layout(inputs))
        return output

    def differentiable(self, inputs: Tree, seed: int = 0) -> Tree:
        """The model's output with its graph, for gradients with respect to group elements."""
        seed_all(seed)
        with torch.enable_grad():
            return call(self.model, self.source, inputs)


def check_output(target: Action, output: Tree, at: Layout) -> None:
    """Raise when the target does not describe what the model returned, or when samples are missing in it.

    Raises:
        InputError: when an output has another shape or number of samples than declared.
        SignatureError: when outputs lack an action.
    """
    if list(target.items()) == [None] and is_container(output):
        visit(target, output, lambda leaf, value, path: leaf.check(value, path), "output")
    else:
        target.check(output, "output")
    for name, leaf, value in named_leaves(target, output, "output"):
        if at.batch is None and not isinstance(leaf, Edges) and value.shape[:1] != (at.samples,):
            raise InputError(
                explain(
                    f"{name} is {describe(value)} for {at.samples} inputs",
                    f"a first axis of length {at.samples}",
                    "return one entry per input, or declare the output Ignore",
                )
            )


def observations(model: Callable[..., Any]) -> list[str]:
    """What in a module behaves differently in training and in evaluation, in words."""
    module = module_of(model)
    if module is None:
        return ["the model is a plain callable: it has no evaluation mode to switch to"]
    parts = list(module.modules())
    said: list[str] = []
    dropout = [p for p in parts if isinstance(p, DROPOUT)]
    if dropout:
        said.append(f"{len(dropout)} dropout module(s) were switched off: the audit runs in evaluation mode")
    norms = [p for p in parts if isinstance(p, nn.modules.batchnorm._BatchNorm)]
    running = [p for p in norms if p.running_mean is not None]
    if running:
        said.append(f"{len(running)} batch normalization module(s) use their running statistics: the audit runs in evaluation mode")
    if len(norms) > len(running):
        said.append(
            f"{len(norms) - len(running)} batch normalization module(s) keep no running statistics: samples of a batch influence each other"
        )
    if any(p.training for p in parts):
        said.append("the model was in training mode; it was audited in evaluation mode and its modes were put back")
    return said
