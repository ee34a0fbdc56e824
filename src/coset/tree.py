"""Map over nested data: tensors inside tuples, named tuples, lists, dictionaries, dataclasses and model outputs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from .errors import InputError, explain

Tree = Any
"""A tensor, or a tuple, list, mapping or dataclass of trees. Other values are leaves that maps leave alone."""


def is_container(x: Tree) -> bool:
    """True for the containers that :func:`children` can open."""
    return isinstance(x, (tuple, list, Mapping)) or (dataclasses.is_dataclass(x) and not isinstance(x, type))


def children(x: Tree) -> dict[Any, Tree]:
    """The entries of one container, by key, field name or position."""
    if isinstance(x, Mapping):
        return dict(x.items())
    if isinstance(x, (tuple, list)):
        return dict(enumerate(x))
    return {field.name: getattr(x, field.name) for field in dataclasses.fields(x)}


def rebuild(like: Tree, entries: dict[Any, Tree]) -> Tree:
    """A container of the same type as ``like`` with other entries.

    Model outputs that are both dictionary and dataclass (as in transformers) keep their type.
    """
    if isinstance(like, tuple) and hasattr(like, "_fields"):
        return type(like)(*entries.values())
    if isinstance(like, (tuple, list)):
        return type(like)(entries.values())
    if dataclasses.is_dataclass(like) and isinstance(like, Mapping):
        return type(like)(**entries)
    if isinstance(like, Mapping):
        return dict(entries) if type(like) is dict else type(like)(entries)  # type: ignore[call-arg]
    return dataclasses.replace(like, **entries)


def tree_map(function: Callable[..., Any], x: Tree, *rest: Tree) -> Tree:
    """Apply ``function`` to the tensors of ``x`` (and the matching tensors of ``rest``); other leaves stay.

    Example:
        >>> import torch
        >>> from coset.tree import tree_map
        >>> tree_map(lambda t: t + 1, (torch.tensor(0), {"a": torch.tensor(1)}))
        (tensor(1), {'a': tensor(2)})
    """
    if isinstance(x, Tensor):
        return function(x, *rest)
    if not is_container(x):
        return x
    others = [children(other) for other in rest]
    return rebuild(x, {key: tree_map(function, value, *(other[key] for other in others)) for key, value in children(x).items()})


def leaves(x: Tree) -> Iterator[Tensor]:
    """The tensors of a tree, in order."""
    if isinstance(x, Tensor):
        yield x
    elif is_container(x):
        for value in children(x).values():
            yield from leaves(value)


def first(x: Tree) -> Tensor:
    """The first tensor of a tree; an error when there is none."""
    for leaf in leaves(x):
        return leaf
    raise InputError(explain(f"a {type(x).__name__} without tensors", "at least one tensor", "pass the data as torch tensors"))


def to_tensors(x: Tree) -> Tree:
    """Convert the NumPy arrays of a tree to tensors, at the edges of the library (audit, discover, interop)."""
    import numpy

    if isinstance(x, numpy.ndarray):
        if x.dtype.kind not in "biufc":
            raise InputError(explain(f"an array of {x.dtype}", "an array of numbers", "convert it, for instance with astype(float)"))
        x = x.astype(x.dtype.newbyteorder("="), copy=False)
        return torch.from_numpy(x if all(step >= 0 for step in x.strides) else x.copy())
    if is_container(x):
        return rebuild(x, {key: to_tensors(value) for key, value in children(x).items()})
    return x
