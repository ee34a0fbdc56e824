"""What an audit of data looks at: checked inputs and targets, and the tables of numbers that they make."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy
import torch
from torch import Tensor

from ..actions.base import Action, all_finite
from ..actions.layout import Layout
from ..actions.signature import Signature
from ..actions.still import Trivial
from ..errors import InputError, SignatureError, describe, explain
from ..groups.base import Group
from ..tree import Tree, first, leaves, to_tensors, tree_map


@dataclass(frozen=True)
class Observed:
    """Independent samples of inputs and of their targets.

    Attributes:
        x: a tree of dense tensors with n leading entries.
        y: (n, ...) targets, or None where only inputs were given.
        classes: the names of the classes where targets are integers; ``y`` then holds their numbers 0, 1, ...
        signature: how both move.
        group: the group, with free sizes fixed.
        at: the layout of x.
    """

    x: Tree
    y: Tensor | None
    classes: tuple[Any, ...] | None
    signature: Signature
    group: Group
    at: Layout

    @property
    def count(self) -> int:
        """The number of samples."""
        return self.at.samples

    @property
    def device(self) -> torch.device:
        """Where the inputs are."""
        return first(self.x).device

    @property
    def dtype(self) -> torch.dtype:
        """The precision of group elements: that of the inputs, the default one where they are integers."""
        real = [t.dtype.to_real() for t in leaves(self.x) if t.is_floating_point() or t.is_complex()]
        return real[0] if real and real[0].itemsize >= 4 else torch.get_default_dtype()

    @cached_property
    def values(self) -> Tensor:
        """(n, q) targets in float64: one column per class, or the numbers themselves."""
        return self.value_of(self.y)  # type: ignore[arg-type]

    def value_of(self, y: Tensor) -> Tensor:
        """Targets as rows of numbers, one column per class where they are classes."""
        if self.classes is not None:
            return torch.nn.functional.one_hot(y, len(self.classes)).to(torch.float64)
        return table(y).to(torch.float64)

    @property
    def still(self) -> bool:
        """Whether targets are left alone by the group."""
        return not self.signature.target.moves

    def rows(self, which: Tensor) -> Observed:
        """Some of the samples."""
        x = tree_map(lambda t: t[which], self.x)
        y = None if self.y is None else self.y[which]
        return Observed(x, y, self.classes, self.signature, self.group, self.signature.source.layout(x))


def table(x: Tree) -> Tensor:
    """A tree of tensors (R, ...) as rows of real numbers (R, d), in single precision at least."""
    parts = []
    for leaf in leaves(x):
        leaf = torch.view_as_real(leaf.resolve_conj()) if leaf.is_complex() else leaf
        parts.append(leaf.reshape(leaf.shape[0], -1).to(torch.promote_types(leaf.dtype, torch.float32)))
    widest = torch.float64 if any(p.dtype == torch.float64 for p in parts) else torch.float32
    return torch.cat([p.to(widest) for p in parts], 1)


def observe(x: Tree, y: Any, action: Action | Signature) -> Observed:
    """Check what the user passed.

    Raises:
        SignatureError: when ``action`` is neither an action nor a signature, or does not describe the data.
        InputError: for data that is empty, not finite, not dense, of unequal lengths, or the same for every sample.
    """
    signature = _signature(action)
    x = tree_map(lambda t: t.detach(), to_tensors(x))
    tensors = list(leaves(x))
    if not tensors:
        raise InputError(explain(f"inputs {describe(x)} without tensors", "arrays of samples", "pass what you would pass to a model"))
    signature.source.check(x)
    for leaf in tensors:
        if not all_finite(leaf):
            raise InputError(explain(f"inputs {describe(leaf)} with NaN or infinite entries", "finite numbers", "remove these samples"))
    at = signature.source.layout(x)
    if at.batch is not None or any(not t.dim() or t.shape[0] != at.samples for t in tensors):
        shapes = [tuple(t.shape) for t in tensors]
        raise InputError(explain(f"inputs of shapes {shapes}", "the same number of samples first in each", "pad ragged data with a mask"))
    if at.samples < 2:
        raise InputError(explain(f"{at.samples} sample(s)", "a sample of the data, two at the very least", "pass more of it"))
    if all(bool((t == t[:1]).all()) for t in tensors):
        raise InputError(explain("the same input for every sample", "inputs that vary", "pass the data itself"))
    target, classes = (None, None) if y is None else _targets(y, signature, at.samples)
    return Observed(x, target, classes, signature, signature.source.resolve(x), at)


def _signature(action: Action | Signature) -> Signature:
    if isinstance(action, Signature):
        return action
    if isinstance(action, Action):
        return action >> Trivial(action.group)
    raise SignatureError(
        explain(f"{describe(action)} as action", "an action of the inputs, or source >> target", "write for instance actions.Vectors(G)")
    )


def _targets(y: Any, signature: Signature, samples: int) -> tuple[Tensor, tuple[Any, ...] | None]:
    """Targets as one tensor; integers that do not move are classes, numbered from 0."""
    names: Any = None
    if isinstance(y, (list, tuple)) and not any(isinstance(one, Tensor) for one in y):
        y = numpy.asarray(y)
    if isinstance(y, numpy.ndarray) and (y.dtype.kind in "US" or (y.dtype.kind == "O" and all(isinstance(one, str) for one in y.flat))):
        names, y = numpy.unique(y.astype(str), return_inverse=True)  # classes by their names
    y = to_tensors(y)
    y = y.detach() if isinstance(y, Tensor) else y
    if not isinstance(y, Tensor):
        raise InputError(explain(f"targets {describe(y)}", "one array", "audit one target at a time"))
    if not y.dim() or y.shape[0] != samples:
        raise InputError(explain(f"targets {describe(y)} for {samples} samples", "one target for each", "check the first axes"))
    signature.target.check(y, "target")
    if not all_finite(y):
        raise InputError(explain(f"targets {describe(y)} with NaN or infinite entries", "finite numbers", "remove these samples"))
    counted = not y.is_floating_point() and not y.is_complex()
    if counted and not signature.target.moves and y.reshape(samples, -1).shape[1] == 1:
        kinds, numbers = torch.unique(y.reshape(samples), return_inverse=True)
        return numbers, tuple((kinds if names is None else names).tolist())
    return (y.double() if counted else y), None
