"""Stand-ins for elements that gradients cannot pass: soft permutations and soft choices, in the backward pass only.

The forward pass moves data by hard group elements. What is attached here is a term of value zero whose gradient is
that of the relaxed element (straight-through), so a doubly stochastic matrix never meets data.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from .actions.base import Action
from .actions.layout import Layout, ragged_slots
from .groups.base import Group
from .tree import Tree, first, tree_map


@dataclass(frozen=True)
class SoftPermutations:
    """Relaxed permutation matrices beside the permutations that move the data.

    Attributes:
        soft: (K, B, n, n) entries (r, i) for "canonical point r is point i"; only its gradient is used.
        permutations: (K, B, n) the permutations: canonical point r is point ``permutations[..., r]``.
    """

    soft: Tensor
    permutations: Tensor

    def between(self, start: int, stop: int) -> SoftPermutations:
        """The draws start ... stop - 1."""
        return SoftPermutations(self.soft[start:stop], self.permutations[start:stop])

    def pushed(self, include: Any) -> SoftPermutations:
        """In a group that the permutations are a part of."""
        return self

    def beside(self, place: Callable[[Tensor], Tensor]) -> SoftPermutations:
        """With leaves (K, B, ...) placed among the elements of a chain."""
        return SoftPermutations(place(self.soft), place(self.permutations))

    def attach(self, action: Action, moved: Tensor, x: Tensor, rows: Tensor, at: Layout, back: bool) -> Tensor:
        """``moved`` with the gradient of the soft permutations.

        Args:
            action: how the group moves this data.
            moved: data of R (draw, sample) pairs after the move.
            x: the same before it.
            rows: (R,) numbers k * B + b of the pairs.
            at: the layout of the R pairs.
            back: moved to canonical form (True) or back from it (False).
        """
        axes = action.point_axes(moved)
        if not axes or not self.soft.requires_grad or not (moved.is_floating_point() or moved.is_complex()):
            return moved
        soft, p = (leaf.flatten(0, 1).index_select(0, rows) for leaf in (self.soft, self.permutations))
        if at.batch is not None and at.is_per_row(moved):
            return _StraightThrough.apply(moved, soft, p, (0,), back, places(at, p.shape[-1]))
        return _StraightThrough.apply(moved, soft, p, tuple(moved.dim() + axis for axis in axes), back, None)


def places(at: Layout, n: int) -> Tensor:
    """(N,) where every ragged row lies in samples padded to n rows."""
    return at.batch * n + ragged_slots(at.batch, at.samples)[0]  # type: ignore[operator, arg-type]


class _StraightThrough(torch.autograd.Function):
    """The data unchanged; to the soft permutations goes the gradient of moving each axis by them, the others being hard."""

    generate_vmap_rule = True

    @staticmethod
    def forward(moved: Tensor, soft: Tensor, p: Tensor, axes: tuple[int, ...], back: bool, where: Tensor | None) -> Tensor:
        return moved.view_as(moved)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        moved, _, p, ctx.axes, ctx.back, where = inputs
        ctx.save_for_backward(moved, p, *(() if where is None else (where,)))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        moved, p, *where = ctx.saved_tensors
        total = None
        for axis in ctx.axes:
            data, slope = (_points_first(x, axis, p.shape, where[0] if where else None) for x in (moved, grad))
            source = p if not ctx.back else torch.argsort(p, dim=-1)
            other = data.gather(1, source.unsqueeze(-1).expand_as(data))
            term = slope @ other.mH if ctx.back else other @ slope.mH
            term = term.real if term.is_complex() else term
            total = term if total is None else total + term
        return grad, total, None, None, None, None


def _points_first(x: Tensor, axis: int, shape: torch.Size, where: Tensor | None) -> Tensor:
    """(R, n, features) data with one axis next to the samples; ragged rows padded with zeros."""
    if where is None:
        return x.movedim(axis, 1).reshape(shape[0], shape[1], -1)
    flat = x.reshape(x.shape[0], -1)
    return flat.new_zeros(shape[0] * shape[1], flat.shape[1]).index_copy(0, where, flat).reshape(shape[0], shape[1], -1)


@dataclass(frozen=True)
class SoftChoices:
    """Relaxed choices among the elements of a finite group.

    Attributes:
        soft: (K, B, |G|) shares of the elements; only its gradient is used.
        chosen: a tree with leaves (K, B, ...), the elements that move the data.
        group: the finite group that was chosen from.
        include: sends its elements into the group that acts.
    """

    soft: Tensor
    chosen: Tree
    group: Group
    include: Any

    def between(self, start: int, stop: int) -> SoftChoices:
        """The draws start ... stop - 1."""
        return replace(self, soft=self.soft[start:stop], chosen=tree_map(lambda leaf: leaf[start:stop], self.chosen))

    def pushed(self, include: Any) -> SoftChoices:
        """In a group that the one it acts in is a part of."""
        return replace(self, include=self.include.then(include))

    def beside(self, place: Callable[[Tensor], Tensor]) -> SoftChoices:
        """With leaves (K, B, ...) placed among the elements of a chain."""
        return replace(self, soft=place(self.soft), chosen=tree_map(place, self.chosen))

    def attach(self, action: Action, moved: Tensor, x: Tensor, rows: Tensor, at: Layout, back: bool) -> Tensor:
        """``moved`` with the gradient of the share-weighted mean over all elements; see :class:`SoftPermutations`."""
        if not action.moves or not self.soft.requires_grad or not moved.is_floating_point():
            return moved
        if at.batch is not None and at.is_per_row(moved):
            return moved
        every = tree_map(lambda leaf: leaf.unsqueeze(1), self.group.elements(dtype=moved.dtype, device=moved.device))
        chosen = tree_map(lambda leaf: leaf.flatten(0, 1).index_select(0, rows).unsqueeze(0), self.chosen)
        other, one = (self.group.inverse(every), chosen) if back else (every, self.group.inverse(chosen))
        onwards = self.group.compose(other, one)  # from the chosen element to every other, whatever else moved the data
        soft = self.soft.flatten(0, 1).index_select(0, rows)
        reshaped = action.shape_labels(self.include(onwards), moved.unsqueeze(0).expand(soft.shape[1], *moved.shape))
        if reshaped is not None:  # quarter turns of images that are not square have no mean with the others
            same = self.group.identity(*reshaped.shape, dtype=moved.dtype, device=moved.device)
            onwards = tree_map(lambda turned, still: torch.where(_wide(reshaped, still), still, turned), onwards, same)
            soft = soft.masked_fill(reshaped.mT, 0.0)
        return _Blend.apply(moved, soft, action, self.include(onwards))


def _wide(values: Tensor, like: Tensor) -> Tensor:
    """Values with axes of length one added at the end."""
    return values.reshape(*values.shape, *(1,) * (like.dim() - values.dim()))


class _Blend(torch.autograd.Function):
    """The data unchanged; the share of an element gets the inner product of the gradient with the data moved by it."""

    @staticmethod
    def forward(ctx: Any, moved: Tensor, soft: Tensor, action: Action, elements: Tree) -> Tensor:
        ctx.save_for_backward(moved)
        ctx.action, ctx.elements = action, elements
        return moved.view_as(moved)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (moved,) = ctx.saved_tensors
        count = first(ctx.elements).shape[0]
        every = ctx.action.act(ctx.elements, moved.unsqueeze(0).expand(count, *moved.shape))
        return grad, (every * grad.unsqueeze(0)).flatten(2).sum(-1).mT, None, None


@dataclass(frozen=True)
class Several:
    """The relaxations of several factors of a product, one after the other."""

    parts: Sequence[Any]

    def between(self, start: int, stop: int) -> Several:
        """The draws start ... stop - 1."""
        return Several(tuple(part.between(start, stop) for part in self.parts))

    def pushed(self, include: Any) -> Several:
        """Each in a group that it is a part of."""
        return Several(tuple(part.pushed(include) for part in self.parts))

    def beside(self, place: Callable[[Tensor], Tensor]) -> Several:
        """Each among the elements of a chain."""
        return Several(tuple(part.beside(place) for part in self.parts))

    def attach(self, action: Action, moved: Tensor, x: Tensor, rows: Tensor, at: Layout, back: bool) -> Tensor:
        """Attach each."""
        for part in self.parts:
            moved = part.attach(action, moved, x, rows, at, back)
        return moved
