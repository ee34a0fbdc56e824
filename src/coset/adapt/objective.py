"""A model and a loss as one module: what a loop, Lightning or DistributedDataParallel calls."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..errors import InputError, explain
from ..symmetrized import Symmetrized
from ..tree import Tree, children, is_container, tree_map
from .loss import Loss, as_loss, total
from .step import Step


class Outcome(NamedTuple):
    """What one batch gave.

    Attributes:
        loss: the mean over samples of the weighted sum, a scalar to call ``backward`` on.
        parts: the means of the summands by name, without gradients.
        structure: the form of the predictor's outputs, in words; None where no loss asked for them.
    """

    loss: Tensor
    parts: dict[str, Tensor]
    structure: str | None


class Objective(nn.Module):
    """The mean of a loss over a batch, as a module with the parameters of the symmetrized model.

    In a loop of your own: ``objective(inputs, targets).loss.backward()``. DistributedDataParallel wraps it as it is.

    Args:
        model: the canonicalizer around the predictor.
        loss: a :class:`Loss`, or any function from :class:`Step` to (B,) values.

    Example:
        >>> import torch, coset
        >>> from coset import actions, adapt, frames, groups
        >>> G = groups.Cyclic(4)
        >>> model = coset.symmetrize(lambda x: x.mean((2, 3)), actions.Image(G) >> actions.Trivial(G), frames.Full())
        >>> outcome = adapt.Objective(model, adapt.Task())(torch.ones(2, 5, 4, 4), torch.tensor([0, 1]))
        >>> round(float(outcome.loss), 4), outcome.structure
        (1.6094, 'Tensor of 2 axes')
    """

    def __init__(self, model: Symmetrized, loss: Loss | Callable[[Step], Tensor]):
        super().__init__()
        if not isinstance(model, Symmetrized):
            given = f"{type(model).__name__} as model"
            raise InputError(explain(given, "a Symmetrized", "pass coset.symmetrize(predictor, signature, canonicalizer)"))
        self.model, self.loss = model, as_loss(loss)

    def forward(self, inputs: Tree, targets: Any = None, index: Tensor | None = None, generator: torch.Generator | None = None) -> Outcome:
        """The loss of a batch; see :class:`Step` for the arguments."""
        step = Step(self.model, inputs, targets, index, generator)
        parts = self.loss.parts(step)
        loss = total(parts, self.loss.weights()).mean()
        seen = structure(step.terms[1][0]) if "terms" in vars(step) else None
        return Outcome(loss, {name: values.detach().mean() for name, values in parts.items()}, seen)


def absent(*args: Any, **kwargs: Any) -> Any:
    """Stands for a predictor where there is none.

    Raises:
        InputError: always.
    """
    raise InputError(explain("a loss of the predictor's outputs, without a predictor", "a predictor", "pass one, or use priors only"))


def structure(outputs: Tree) -> str:
    """The form of nested outputs: types, keys and numbers of axes."""
    if isinstance(outputs, Tensor):
        return f"Tensor of {outputs.dim()} axes"
    if is_container(outputs):
        inside = ", ".join(f"{key}: {structure(value)}" for key, value in children(outputs).items() if value is not None)
        return f"{type(outputs).__name__}({inside})"
    return type(outputs).__name__


@dataclass(frozen=True)
class Batch:
    """One batch of a loader."""

    inputs: Tree
    targets: Any
    index: Tensor | None


def read_batch(given: Any, device: torch.device | None = None) -> Batch:
    """A batch from what a loader yields, on a device.

    Args:
        given: (inputs,), (inputs, targets) or (inputs, targets, index); a mapping with the keys inputs, targets and index (the last two may
            be missing); a single tensor is inputs.
        device: where tensors go; None leaves them.

    Raises:
        InputError: for anything else.
    """
    if isinstance(given, Tensor):
        found: tuple[Any, ...] = (given,)
    elif isinstance(given, Mapping) and "inputs" in given and set(given) <= {"inputs", "targets", "index"}:
        found = (given["inputs"], given.get("targets"), given.get("index"))
    elif isinstance(given, (tuple, list)) and 1 <= len(given) <= 3:
        found = tuple(given)
    else:
        what = f"a mapping with the keys {sorted(map(str, given))}" if isinstance(given, Mapping) else f"a {type(given).__name__}"
        raise InputError(
            explain(f"{what} from the loader", "(inputs, targets), or a mapping with the keys inputs, targets and index", "wrap the loader")
        )
    moved = tree_map(lambda leaf: leaf.to(device, non_blocking=True), found) if device is not None else found
    inputs, targets, index = (*moved, None, None)[:3]
    return Batch(inputs, targets, index)


@contextmanager
def training(model: Symmetrized, joint: bool) -> Iterator[None]:
    """Training mode for the frame, and for the predictor if it learns too; else the predictor is frozen and in eval mode.

    Everything is as before afterwards.
    """
    modes = {part: part.training for part in model.modules()}
    predictor = model.model if isinstance(model.model, nn.Module) else None
    frozen = [] if joint or predictor is None else [(p, p.requires_grad) for p in predictor.parameters()]
    training_mode(model, joint)
    try:
        yield
    finally:
        for parameter, wanted in frozen:
            parameter.requires_grad_(wanted)
        for part, mode in modes.items():
            part.training = mode


def training_mode(model: Symmetrized, joint: bool) -> None:
    """Training mode; a predictor that does not learn is frozen and in eval mode."""
    model.train()
    if not joint and isinstance(model.model, nn.Module):
        model.model.eval()
        model.model.requires_grad_(False)
