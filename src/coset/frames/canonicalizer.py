"""One element per input from an equivariant network: learned canonicalization."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ..actions.layout import Layout
from ..errors import CosetError, FrameError, explain
from ..groups.base import Group
from ..measure import Measure
from ..tree import Tree, tree_map
from .base import traced
from .coupling import exact_frame, padding, plain, settle, spread
from .learned import Learned
from .retracted import Retracted, Score, rows_of_draws
from .scores import Scores


class Canonicalizer(Learned):
    """One element per input from an equivariant network: learned canonicalization, the direct form.

    Where the network does not determine an element (equal scores, dependent vectors), as it must at symmetric inputs, the
    measure of the exact minimal frame is returned for that sample, and ``scores["tied"]`` says so.

    Args:
        network: ``network(inputs, None)`` -> raw outputs; see :class:`Probabilistic`.
        retraction: how they become elements; the group's own when left out.

    Raises:
        FrameError: for groups without a retraction, raw outputs of wrong shapes, NaN.

    Reference: Kaba et al. 2023, arXiv 2211.06489.

    Example:
        >>> import torch
        >>> from coset import actions, frames, groups
        >>> def axes(x, noise):  # three equivariant vectors of points (B, n, 3)
        ...     return torch.stack([(x * x.norm(dim=-1, keepdim=True) ** p).sum(1) for p in (0, 1, 2)], 1)
        >>> bound = frames.Canonicalizer(axes).bind(actions.Vectors(groups.Orthogonal(3)))
        >>> bound(torch.randn(2, 5, 3)).elements.shape
        torch.Size([1, 2, 3, 3])
    """

    pads = True
    references = ("kaba2023equivariance",)

    def prepare(self, group: Group) -> None:
        """Bind the retractions, and the exact frame for symmetric inputs."""
        super().prepare(group)
        several = [one for one in self._retractions if one.lists]
        if several and len(self._retractions) > 1:
            raise FrameError(
                explain(f"{several[0]!r} on {group}, a product", "a group with one factor", "use frames.Blended() for products")
            )
        self.exact = self._on_group
        self._exact_frame = exact_frame(self.source, self.target)  # type: ignore[arg-type]

    def measure(self, inputs: Tree, at: Layout) -> Measure:
        """The network's element of every sample."""
        centred = self.centred(inputs, at)
        found = self.retract(centred, None, sized=True)
        blind = traced(inputs)
        if not blind:
            self.refuse(found.finite, torch.zeros_like(found.finite), at.samples)
        if self.training and found.likely is not None:
            return self._several(found, blind)
        elements = self.placed(rows_of_draws(found.elements, at.samples), centred.shift)
        anchors = plain(tree_map(lambda leaf: leaf[0], elements), found.tied)
        if not blind and self._exact_frame is not None and bool(found.tied.any()):
            with contextlib.suppress(CosetError):  # inputs that the exact frame has no answer for stay unsettled
                anchors = settle(self.group, self.source, self._exact_frame, inputs, at, anchors)  # type: ignore[arg-type]
        if anchors.found is None:
            weights = torch.ones(1, at.samples, dtype=torch.float64, device=found.finite.device)
            ties = padding(centred.at, 1) if self.group.permutes else None
            measure = Measure(self.group, elements, weights, torch.ones_like(anchors.order), cosets=1, ties=ties)
        else:
            measure = spread(self.group, anchors, anchors.elements, 1, at)
        scores: dict[str, Score] = dict(found.scores) | {"tied": lambda: found.tied, "unsettled": lambda: ~anchors.exact}
        relaxed = found.relaxed(at.samples) if self.training and found.relaxed is not None and measure.size == 1 else None
        if relaxed is not None and anchors.found is not None:
            relaxed = _where_chosen(relaxed, found.tied, measure.cosets)
        return replace(measure, relaxed=relaxed, scores={} if blind else Scores(scores))

    def _several(self, found: Retracted, blind: bool) -> Measure:
        """The likeliest elements with their shares, for training."""
        elements, weights = found.likely()  # type: ignore[misc]
        order = torch.full_like(found.tied, weights.shape[0], dtype=torch.long)
        scores: dict[str, Score] = dict(found.scores) | {"tied": lambda: found.tied}
        return Measure(self.group, elements, weights, order, cosets=weights.shape[0], scores={} if blind else Scores(scores))


def _where_chosen(relaxed: Any, tied: Tensor, cosets: int) -> Any:
    """The relaxations (1, B, ...) beside every coset, without gradients where an exact frame chose the element."""

    def place(leaf: Tensor) -> Tensor:
        own = leaf
        if leaf.is_floating_point():
            own = torch.where(tied.reshape(1, -1, *(1,) * (leaf.dim() - 2)), leaf.detach(), leaf)
        return own.expand(cosets, *leaf.shape[1:])

    return relaxed.beside(place)
