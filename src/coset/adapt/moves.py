"""Random elements for losses, one for each sample, other than the identity."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..actions.base import Action
from ..actions.trees import flatten
from ..tree import Tree, first, tree_map


def every_element(source: Action, inputs: Tree) -> Tree:
    """The elements of a finite group, with leaves (|G|, ...), where the inputs are."""
    group: Any = source.resolve(inputs)
    return group.elements(dtype=torch.float64 if group.dim else None, device=first(inputs).device)


def other_elements(source: Action, inputs: Tree, generator: torch.Generator | None) -> Tree:
    """Random elements other than the identity, with leaves (B, ...); the identity in a group of one element.

    Images that are not square lie or stand afterwards, all of a batch alike: the elements are drawn from one of the two kinds, which is
    drawn first, by its number of elements.
    """
    elements = every_element(source, inputs)
    count, place = source.layout(inputs).samples, first(inputs).device
    device = generator.device if generator is not None else place
    order = first(elements).shape[0]

    def draw(below: int, size: int) -> Tensor:
        return torch.randint(below, (size,), generator=generator, device=device).to(place)

    choices = torch.arange(min(1, order - 1), order, device=place)
    labels = shape_labels(source, inputs, elements)
    if labels is not None:
        choices = choices[labels[choices] == labels[choices[draw(len(choices), 1)]]]
    pick = choices[draw(len(choices), count)]
    return tree_map(lambda leaf: leaf[pick], elements)


def shape_labels(source: Action, inputs: Tree, elements: Tree) -> Tensor | None:
    """(|G|,) which elements exchange height and width of images that are not square; None where none does."""
    found = (action.shape_labels(elements, x) for action, x in flatten(source, inputs).values() if isinstance(x, Tensor))
    return next((labels for labels in found if labels is not None), None)
