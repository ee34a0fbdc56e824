"""Find the worst element: start from the worst random ones and climb the Lie algebra by gradient ascent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ..actions.layout import Layout
from ..groups.base import Group
from ..tree import Tree, leaves, tree_map
from .elements import choose, sizes
from .norms import act_on, named_leaves, squares
from .running import Runner
from .sweep import Batch, Sweep

STARTS = 4
STEPS = 12


class Worst(NamedTuple):
    """The largest error found and the group element that causes it.

    Attributes:
        error: relative error at that element.
        element: the element, without batch axis.
    """

    error: float
    element: Tree


@dataclass
class Climb:
    """The state of the search: one start per row."""

    runner: Runner
    group: Group
    x: Tree
    at: Layout
    y: Tree
    scales: dict[str, float]
    limit: Tensor | None

    def height(self, g: Tree) -> Tensor:
        """Relative error of every row at g, with its graph, squared."""
        moved = self.runner.source.act(g, self.x, self.at)
        there = self.runner.source.layout(moved)
        left = self.runner.differentiable(moved)
        right = act_on(self.runner.target, g, self.y, self.at)
        pairs = zip(named_leaves(self.runner.target, left, "output"), named_leaves(self.runner.target, right, "output"), strict=True)
        errors = [squares(a - b, there, leaf.event) / self.scales[name] ** 2 for (name, leaf, a), (_, _, b) in pairs]
        return torch.stack(errors).amax(0)

    def allowed(self, g: Tree) -> Tensor:
        """Whether elements of a non-compact group stay within the sizes that were sampled."""
        far = sizes(self.group, g)[0]
        return torch.ones_like(far, dtype=torch.bool) if self.limit is None else far <= self.limit

    def slope(self, g: Tree, dtype: torch.dtype, rows: int) -> tuple[Tensor, Tensor | None]:
        """Height and its gradient with respect to exp(c) g at c = 0; the gradient is None where there is no graph."""
        c = torch.zeros(rows, self.group.lie_dimension, dtype=dtype, device=next(leaves(g)).device, requires_grad=True)
        with torch.enable_grad():
            height = self.height(self.group.compose(self.group.exp(self.group.combine(c)), g))
            if not height.requires_grad:
                return height.detach(), None
            (gradient,) = torch.autograd.grad(height.sum(), c, allow_unused=True)
        return height.detach(), gradient

    def step(self, g: Tree, direction: Tensor) -> Tree:
        """exp(direction) g."""
        return tree_map(lambda e: e.detach(), self.group.compose(self.group.exp(self.group.combine(direction)), g))


def climb(state: Climb, g: Tree, dtype: torch.dtype, rows: int, generator: torch.Generator) -> tuple[Tensor, Tree, str]:
    """Ascend with a step per row that grows on success and halves on failure; random directions without a gradient."""
    rate = torch.full((rows, 1), 0.3, dtype=dtype)
    best, word = None, "gradient ascent"
    for _ in range(STEPS):
        height, gradient = state.slope(g, dtype, rows)
        if gradient is None or not bool(torch.isfinite(gradient).all()) or not bool(gradient.any()):
            word = "random ascent"
            gradient = torch.randn(rows, state.group.lie_dimension, generator=generator, dtype=dtype, device=generator.device).to(
                height.device
            )
        rate = rate.to(height.device)
        direction = gradient / gradient.norm(dim=1, keepdim=True).clamp_min(torch.finfo(dtype).tiny) * rate
        candidate = state.step(g, direction)
        with torch.no_grad():
            reached = state.height(candidate).detach()
        better = (reached > height) & state.allowed(candidate)
        g = choose(better, candidate, g)
        best = torch.where(better, reached, height)
        rate = torch.where(better[:, None], rate * 1.5, rate * 0.5).clamp(max=1.0)
    return best.sqrt(), g, word  # type: ignore[union-attr]


def worst(runner: Runner, batch: Batch, found: Sweep, generator: torch.Generator, ascend: bool) -> tuple[Worst, float, int, str]:
    """The worst element: (error, element), the worst by random search alone, its input, and how it was found."""
    total = found.total().nan_to_num(nan=float("inf"))
    top = total.flatten().topk(min(STARTS, batch.most, total.numel()))
    inputs, which = top.indices // total.shape[1], top.indices % total.shape[1]
    g = found.draw.pick(inputs, which)
    random = float(top.values[0])
    result = (Worst(random, _one(g, 0)), random, int(inputs[0]), "all elements" if found.draw.exhaustive else "random search")
    if not ascend or not batch.group.lie_dimension:
        return result
    x = runner.source.take(batch.x, inputs, batch.at)
    at = runner.source.layout(x)
    y = runner(x)
    limit = None if batch.group.compact else found.sizes.max()
    state = Climb(runner, batch.group, x, at, y, found.scales, limit)
    dtype = next((t.dtype for t in leaves(g) if t.is_floating_point()), torch.get_default_dtype())
    height, g, word = climb(state, g, dtype, inputs.numel(), generator)
    row = int(height.argmax())
    if not float(height[row]) > random:
        return result
    return Worst(float(height[row]), _one(g, row)), random, int(inputs[row]), word


def _one(g: Tree, row: int) -> Tree:
    return tree_map(lambda e: e[row].detach().cpu().clone(), g)
