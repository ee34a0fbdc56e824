"""Carry inputs to their canonical forms, and outputs back: the two sums in the symmetrized model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from .actions.base import Action
from .actions.layout import Layout
from .actions.trees import flatten, visit
from .errors import InputError, describe, explain
from .measure import Measure, weigh
from .ties import average_ties
from .tree import Tree, tree_map


def canonicalize(measure: Measure, source: Action, inputs: Tree, at: Layout, rows: Tensor) -> Tree:
    """The canonical inputs of the listed (coset, sample) pairs.

    The forms that the elements of one coset give agree up to the frame's tolerance, and are averaged: the average
    does not depend on which element came first, and its gradient is that of the symmetrized function.

    Args:
        measure: what the frame found.
        source: how the group moves the inputs.
        inputs: the inputs, B samples.
        at: their layout.
        rows: (R,) numbers c * B + b of the pairs (coset c, sample b) that enter the model.

    Returns:
        Inputs with R samples.
    """
    samples = rows % measure.samples
    back = measure.group.inverse(measure.elements)
    new_at = at.take(samples)[0]

    def pull(action: Action, x: Any, name: str) -> Any:
        moved = form(action, x)
        return moved if measure.orbits is None or not isinstance(x, Tensor) else measure.orbits.take(rows).settle(action, moved, new_at)

    def form(action: Action, x: Any) -> Any:
        if not isinstance(x, Tensor) or not _pulled(action, x, measure, at):
            return action.take(x, samples, at)
        stacked = measure.relaxed is None and action.stacks() and not _matched(measure, action, x, at)
        if stacked and (measure.size > 1 or _whole(measure, rows)):
            values = action.each(rows_of(back, at, x), _shares(measure, at, x), x, measure.size)  # type: ignore[attr-defined]
            return _pick(masked(values, x, action, _canonical(measure, at)), rows, at, x, measure)
        if measure.size == 1:
            g = tree_map(lambda leaf: leaf.flatten(0, 1).index_select(0, rows), back)
            taken = action.take(x, samples, at)
            moved = action.act(g, taken, new_at)
            return moved if measure.relaxed is None else measure.relaxed.attach(action, moved, taken, rows, new_at, back=True)
        return _pick(_coset_mean(action, x, back, measure, at), rows, at, x, measure)

    return visit(source, inputs, pull)


def _whole(measure: Measure, rows: Tensor) -> bool:
    """Whether every (coset, sample) pair is listed, so that they are in order."""
    return rows.shape[0] == measure.cosets * measure.samples


def _pulled(action: Action, x: Tensor, measure: Measure, at: Layout) -> bool:
    """Whether canonicalizing changes this leaf: the group moves it, or points that match are averaged."""
    if action.moves:
        return True
    numbers = x.is_floating_point() or x.is_complex()
    return measure.size > 1 and numbers and _matched(measure, action, x, at)


def _matched(measure: Measure, action: Action, x: Tensor, at: Layout) -> bool:
    """Whether matchings of points reorder this leaf."""
    return measure.permutations is not None and action.per_point is not False and at.is_per_point(x, action.event)


def _shares(measure: Measure, at: Layout, x: Tensor) -> Tensor:
    """Weights within each coset, (K, B or N), summing to one over each coset (or all zero)."""
    weights = measure.weights.reshape(measure.cosets, measure.size, -1)
    weights = weights / weights.sum(1, keepdim=True).clamp_min(torch.finfo(weights.dtype).tiny)
    return per_row(weights.flatten(0, 1), at, x)


def _coset_mean(action: Action, x: Tensor, back: Tree, measure: Measure, at: Layout) -> Tensor:
    """The average of the canonical forms over each coset, (cosets, B or N, ...)."""
    beside = Layout(samples=at.samples, sizes=at.sizes) if at.sizes else None  # boxes look up the size of their image
    s = measure.size
    weights = _shares(measure, at, x)
    g = rows_of(back, at, x)
    matched = _matched(measure, action, x, at)
    forms = []
    for start in range(0, weights.shape[0], s):
        wide = x.unsqueeze(0).expand(s, *x.shape)
        moved = action.act(tree_map(lambda leaf: leaf[start : start + s], g), wide, beside) if action.moves else wide  # noqa: B023
        if matched:
            moved = gather_points(measure.permutations[start : start + s], moved)  # type: ignore[index]
        forms.append(weigh(weights[start : start + s], moved).sum(0))
    return masked(torch.stack(forms).to(x.dtype), x, action, _canonical(measure, at))


def _canonical(measure: Measure, at: Layout) -> Layout:
    """The layout with the masks (cosets, B, n) of canonical inputs, where permutations move padding."""
    if at.mask is None or not measure.group.permutes:
        return at
    places: Any = measure.group.permutation(measure.elements)
    places = places[:: measure.size]
    return replace(at, mask=at.mask.expand(places.shape).gather(-1, places))


def per_row(values: Tensor, at: Layout, x: Tensor) -> Tensor:
    """Values (K, B) per sample, as (K, N) per ragged row where ``x`` is per row."""
    return values.index_select(1, at.batch) if at.batch is not None and at.is_per_row(x) else values


def rows_of(g: Tree, at: Layout, x: Tensor) -> Tree:
    """Elements (K, B, ...) per sample, as (K, N, ...) per ragged row where ``x`` is per row."""
    return tree_map(lambda leaf: per_row(leaf, at, x), g)


def masked(values: Tensor, x: Tensor, action: Action, at: Layout) -> Tensor:
    """Zero the padded points of values (K, B, n, ...)."""
    if at.mask is None or action.per_point is False or not at.is_per_point(x, action.event):
        return values
    mask = at.mask if at.mask.dim() == 3 else at.mask.unsqueeze(0)
    return values * mask.reshape(*mask.shape, *(1,) * (values.dim() - 3)).to(values.dtype)


def gather_points(permutations: Tensor, x: Tensor) -> Tensor:
    """Canonical point j reads input point ``permutations[..., j]``; x is (K, B, n, ...) or (K, N, ...)."""
    where = permutations.reshape(*permutations.shape, *(1,) * (x.dim() - permutations.dim()))
    return x.gather(permutations.dim() - 1, where.expand(*permutations.shape, *x.shape[permutations.dim() :]))


def _stacked(at: Layout, copies: int) -> Layout:
    """The layout of ``copies`` copies of a ragged batch, one after the other."""
    offsets = torch.arange(copies, device=at.batch.device)[:, None] * at.samples  # type: ignore[union-attr]
    return Layout(samples=copies * at.samples, batch=(at.batch[None] + offsets).flatten())  # type: ignore[index]


def _pick(values: Tensor, rows: Tensor, at: Layout, x: Tensor, measure: Measure) -> Tensor:
    """Pick (coset, sample) pairs of values (cosets, B or N, ...)."""
    flat = values.flatten(0, 1)
    if _whole(measure, rows):
        return flat
    if at.batch is None or not at.is_per_row(x):
        return flat.index_select(0, rows)
    return flat.index_select(0, _stacked(at, values.shape[0]).take(rows)[1])  # type: ignore[arg-type]


def shape_classes(measure: Measure, source: Action, inputs: Tree, rows: Tensor) -> list[Tensor]:
    """The (coset, sample) pairs, split where canonical inputs have different shapes (quarter turns of non-square images)."""
    labels = None
    for action, x in flatten(source, inputs).values():
        found = action.shape_labels(measure.elements, x)
        labels = found if labels is None else labels
    if labels is None:
        return [rows]
    labels = labels.flatten()[rows]
    parts = [rows[~labels], rows[labels]]
    return [part for part in parts if part.numel()]


def carry(measure: Measure, target: Action, outputs: Tree, at: Layout, rows: Tensor, canonical: Layout, *, spread: bool = True) -> Tree:
    """The model's outputs for the listed pairs, moved back by their elements; zero for pairs that are not listed.

    Args:
        measure: what the frame found.
        target: how the group moves the outputs.
        outputs: the model's outputs for R (coset, sample) pairs.
        at: the layout of the inputs.
        rows: (R,) the pairs c * B + b that entered the model.
        canonical: the layout of the canonical inputs, for the sizes of images.
        spread: keep the elements apart, for their standard deviation; otherwise sums may be taken at once.

    Returns:
        A tree like the outputs with leaves (cosets or K or 1, B or N, ...).
    """
    new_at = replace(at.take(rows % measure.samples)[0], size=canonical.size, sizes=canonical.sizes)

    def push(action: Action, y: Any, name: str) -> Any:
        if not isinstance(y, Tensor) or not action.averaged:
            return _first_call(y, measure, at, new_at)
        if y.dim() == 0 or (y.shape[0] not in (new_at.samples, new_at.rows) and not _on_edges(measure, action, y, new_at)):
            raise InputError(
                explain(
                    f"{name} is {describe(y)} for {new_at.samples} samples" + (f" with {new_at.rows} rows" if new_at.rows else ""),
                    "one entry per sample (or per row of a ragged batch)",
                    "return one entry per sample, or declare it Ignore",
                )
            )
        y = _settled(y, measure, action, rows, new_at)
        summed = not spread and measure.relaxed is None and measure.weights.shape[0] > 1
        if summed and action.moves and action.stacks() and _whole(measure, rows):
            stacked = _place(y, rows, at, new_at, measure)
            if not _matched(measure, action, stacked[0], at):
                g, weights = rows_of(measure.elements, at, stacked[0]), per_row(measure.weights, at, stacked[0])
                values = action.total(g, weights, stacked, measure.size).unsqueeze(0)  # type: ignore[attr-defined]
                return masked(values, values[0], action, at)
        if measure.size == 1:
            g = tree_map(lambda leaf: leaf.flatten(0, 1).index_select(0, rows), measure.elements)
            moved = action.act(g, y, new_at) if action.moves else y
            if measure.relaxed is not None:
                moved = measure.relaxed.attach(action, moved, y, rows, new_at, back=False)
            values = _place(moved, rows, at, new_at, measure)
        else:
            values = _carry_coset(action, _place(y, rows, at, new_at, measure), measure, at)
        return masked(values, values[0], action, at)

    return visit(target, outputs, push, "output")


def _first_call(y: Any, measure: Measure, at: Layout, new_at: Layout) -> Any:
    """What the first model call returned for every sample, of data that is not averaged."""
    if not isinstance(y, Tensor) or y.dim() == 0 or measure.cosets == 1:
        return y
    if y.shape[0] == new_at.samples:
        return y[: measure.samples]
    return y[: at.rows] if y.shape[0] == new_at.rows else y


def _on_edges(measure: Measure, action: Action, y: Tensor, at: Layout) -> bool:
    """Whether outputs have one entry for every edge of ragged graphs, which only a frame of graphs can carry."""
    return measure.orbits is not None and measure.orbits.per_edge(action, y, at)


def _settled(y: Tensor, measure: Measure, action: Action, rows: Tensor, at: Layout) -> Tensor:
    """Outputs averaged over permutations of equal rows, or over the automorphisms of graphs."""
    if measure.orbits is not None:
        return measure.orbits.take(rows).restore(action, y, at)
    return y if measure.ties is None else average_ties(action, y, measure.ties.index_select(0, rows))


def _place(y: Tensor, rows: Tensor, at: Layout, new_at: Layout, measure: Measure) -> Tensor:
    """Outputs of R pairs as (cosets, B or N, ...), zero where a pair is not listed."""
    if _whole(measure, rows):
        return y.reshape(measure.cosets, -1, *y.shape[1:])
    if not new_at.is_per_row(y):
        base = y.new_zeros(measure.cosets * measure.samples, *y.shape[1:])
        return base.index_copy(0, rows, y).reshape(measure.cosets, -1, *y.shape[1:])
    stacked = _stacked(at, measure.cosets)
    base = y.new_zeros(stacked.batch.shape[0], *y.shape[1:])  # type: ignore[union-attr]
    return base.index_copy(0, stacked.take(rows)[1], y).reshape(measure.cosets, -1, *y.shape[1:])  # type: ignore[arg-type]


def _carry_coset(action: Action, stacked: Tensor, measure: Measure, at: Layout) -> Tensor:
    """Outputs (cosets, B or N, ...) moved back by every element of their coset, (K, B or N, ...)."""
    x = stacked[0]
    matched = _matched(measure, action, x, at)
    if not action.moves and not matched:
        return stacked
    wide = stacked.unsqueeze(1).expand(measure.cosets, measure.size, *stacked.shape[1:]).flatten(0, 1)
    moved = action.act(rows_of(measure.elements, at, x), wide) if action.moves else wide
    return gather_points(torch.argsort(measure.permutations, dim=-1), moved) if matched else moved  # type: ignore[arg-type]


def coset_term(measure: Measure, target: Action, carried: Tree, at: Layout, number: int) -> Tree:
    """One coset of what :func:`carry` returned, averaged over its elements; data that is not averaged stays as it is."""

    def pick(action: Action, y: Any, name: str) -> Any:
        if not isinstance(y, Tensor) or not action.averaged:
            return y
        if y.shape[0] == measure.cosets:
            return y[number]
        rows = slice(number * measure.size, (number + 1) * measure.size)
        return weigh(_shares(measure, at, y[0])[rows], y[rows]).sum(0)

    return visit(target, carried, pick, "output")


def add(target: Action, parts: Sequence[Tree]) -> Tree:
    """The sum of trees whose entries are zero where another one has its own; data that is not averaged is that of the first."""
    total = parts[0]
    for part in parts[1:]:
        values = iter(_averaged(target, part))
        total = visit(target, total, lambda action, y, name: y + next(values) if _adds(action, y) else y, "output")  # noqa: B023
    return total


def _averaged(target: Action, part: Tree) -> list[Tensor]:
    found: list[Tensor] = []
    visit(target, part, lambda action, y, name: found.append(y) if _adds(action, y) else None, "output")
    return found


def _adds(action: Action, y: Any) -> bool:
    return isinstance(y, Tensor) and action.averaged


def mean_and_spread(measure: Measure, values: Tensor, at: Layout, name: str, spread: bool) -> tuple[Tensor, Tensor | None]:
    """The mean of one leaf of what :func:`carry` returned, and its standard deviation where ``spread`` asks for it.

    Args:
        measure: weights that sum to one.
        values: (cosets or K or 1, B or N, ...); a single entry is the mean already.
        at: the layout of the inputs.
        name: how messages call the leaf.
        spread: whether to compute the standard deviation.
    """
    if values.shape[0] == 1:
        return values[0], torch.zeros_like(values[0].abs()) if spread else None
    averageable(values, name)
    weights = measure.weights if values.shape[0] == measure.weights.shape[0] else measure.coset_weights()
    weights = per_row(weights, at, values[0])
    mean = weigh(weights, values).sum(0)
    if not spread:
        return mean, None
    return mean, weigh(weights, (values - mean).detach().abs().square()).sum(0).clamp_min(0).sqrt()


def averageable(values: Tensor, name: str) -> None:
    """Raise where an average of several values means nothing."""
    if not (values.is_floating_point() or values.is_complex()):
        raise InputError(
            explain(
                f"{name} holds {values.dtype} values over {values.shape[0] if values.shape[0] > 1 else 'several'} elements",
                "numbers that can be averaged",
                "return scores or logits and decide afterwards, or declare it Ignore",
            )
        )
