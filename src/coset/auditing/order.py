"""Does the model treat its points as a set? What changes when they are listed in another order, whatever the group."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..actions.base import Action
from ..actions.indices import Edges, PointMask
from ..actions.layout import Layout
from ..actions.trees import visit
from ..tree import Tree
from .norms import difference, named_leaves, squares
from .running import Runner, module_of
from .sweep import Batch, Estimate, estimate

SHUFFLES = 4
SMALL = 1e-3


def point_order(runner: Runner, batch: Batch, generator: torch.Generator) -> Estimate | None:
    """Relative change of the output, put back in order, when the points of every input are shuffled.

    None where inputs have no points, where the group itself permutes them, or where one edge list is shared by all inputs.
    """
    rows = torch.arange(min(batch.at.samples, batch.most), device=batch.device)
    x = runner.source.take(batch.x, rows, batch.at)
    at = runner.source.layout(x)
    several = at.points is not None and at.points > 1 if at.batch is None else at.rows != at.samples
    edges = any(isinstance(leaf, Edges) for leaf in runner.source.items().values())
    if batch.group.permutes or not several or (edges and at.batch is None):
        return None
    y = runner(x)
    columns = []
    for _ in range(SHUFFLES):
        order = shuffle(at, generator).to(batch.device)
        shuffled = reorder(runner.source, x, at, order)
        there = runner.source.layout(shuffled)
        gap = _gap(runner, runner(shuffled), reorder(runner.target, y, at, order), y, at, there)
        if gap is None:
            return None
        columns.append(gap)
    return estimate(torch.stack(columns, 1), False)


def declared_unordered(model: Callable[..., Any]) -> bool:
    """Whether a frame inside the model matches points, as ``colours=`` asks for: that is right for sets only."""
    module = module_of(model)
    return module is not None and any(getattr(part, "matches_points", False) is True for part in module.modules())


def shuffle(at: Layout, generator: torch.Generator) -> Tensor:
    """A random order of the points of every sample: (B, n), or (N,) within the samples of a ragged batch."""
    if at.batch is None:
        return torch.rand(at.samples, at.points or 0, generator=generator, device=generator.device).argsort(1)
    key = torch.rand(at.batch.shape[0], generator=generator, device=generator.device, dtype=torch.float64)
    mixed = key.argsort().to(at.batch.device)
    slots = at.batch.argsort(stable=True)  # rows of sample 0, 1, ... where they lie
    picked = mixed[at.batch[mixed].argsort(stable=True)]
    return torch.empty_like(slots).index_copy(0, slots, picked)


def reorder(action: Action, x: Tree, at: Layout, order: Tensor) -> Tree:
    """List the points in another order: entry i of the result is entry ``order[i]``; edges are renumbered."""

    def move(leaf: Action, value: Tree, path: str) -> Tree:
        if not isinstance(value, Tensor) or leaf.per_point is False:
            return value
        if at.batch is not None:
            if isinstance(leaf, Edges):
                return order.argsort()[value]
            return value[order] if at.is_per_row(value) else value
        event = 0 if isinstance(leaf, PointMask) else leaf.event
        if not at.is_per_point(value, event):
            return value
        moved = _gather(value, order, 1)
        return _gather(moved, order, 2) if value.dim() > 2 + event and value.shape[2] == at.points else moved

    return visit(action, x, move)


def _gather(value: Tensor, order: Tensor, axis: int) -> Tensor:
    shape = [1] * value.dim()
    shape[0], shape[axis] = order.shape
    return value.gather(axis, order.reshape(shape).expand(*value.shape))


def _gap(runner: Runner, left: Tree, right: Tree, y: Tree, at: Layout, there: Layout) -> Tensor | None:
    """Relative difference per sample, the largest over the outputs; None when shapes changed."""
    found = []
    trees = (list(named_leaves(runner.target, tree, "output")) for tree in (left, right, y))
    for (_, leaf, a), (_, _, b), (_, _, c) in zip(*trees, strict=True):
        if a.shape != b.shape:
            return None
        found.append(difference(a, b, there, leaf.event) / (float(squares(c, at, leaf.event).mean().sqrt()) or 1.0))
    return torch.stack(found).amax(0)
