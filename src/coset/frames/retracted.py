"""What a retraction is: raw outputs of an equivariant network -> group elements, with facts about each."""

from __future__ import annotations

import abc
import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..actions.layout import Layout
from ..groups.base import Group
from ..tree import Tree, tree_map

Score = Callable[[], Tensor]


@dataclass(frozen=True)
class Retracted:
    """Elements of one group (or factor) for R pairs of draw and sample.

    Attributes:
        elements: a tree with leaves (R, ...).
        finite: (R,) whether the raw outputs are.
        tied: (R,) whether rounding may decide on the element: equal scores, (nearly) dependent vectors.
        degenerate: (R,) whether the raw outputs determine no element, or a badly conditioned one.
        relaxed: maps the number of samples to what passes gradients in place of the elements; None where they pass them.
        scores: values for losses, (R,), computed when called.
        likely: what training lists instead of one element: elements (k, R, ...) and weights (k, R); None where it lists one.
    """

    elements: Tree
    finite: Tensor
    tied: Tensor
    degenerate: Tensor
    relaxed: Callable[[int], Any] | None = None
    scores: dict[str, Score] = field(default_factory=dict)
    likely: Callable[[], tuple[Tree, Tensor]] | None = None


class Retraction(abc.ABC):
    """Abstract: raw outputs of an equivariant network -> elements, with r(h raw) = h r(raw).

    Facts:
        exact: elements belong to the group.
        lists: in training it gives several elements with weights.
    """

    exact: bool = True
    lists: bool = False
    group: Group | None = None

    def bind(self, group: Group) -> Retraction:
        """A copy for one group without translations.

        Raises:
            FrameError: when the group does not fit.
        """
        bound = copy.copy(self)
        bound.group = group
        bound.prepare(group)
        return bound

    @abc.abstractmethod
    def prepare(self, group: Group) -> None:
        """Check the group."""

    @abc.abstractmethod
    def __call__(self, raw: Tensor, at: Layout, scale: Tensor | None = None) -> Retracted:
        """The elements for raw outputs of R samples with layout ``at``.

        Args:
            raw: what the network returned.
            at: the layout of the R samples.
            scale: (R,) the size of the inputs' vectors; vectors that are rounding noise beside it count as tied.
        """

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


def rounding(scores: Tensor) -> float:
    """Relative differences of scores up to which rounding may exchange them."""
    return float(torch.finfo(scores.dtype).eps ** 0.7)


def rows_of_draws(leaf: Tree, samples: int) -> Tree:
    """Leaves (K * B, ...) as (K, B, ...)."""
    return tree_map(lambda x: x.unflatten(0, (-1, samples)), leaf)
