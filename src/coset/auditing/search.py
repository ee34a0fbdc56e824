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

    def height(self, g: Tree, live: bool = False) -> Tensor:
        """Relative error of every row at g, squared; with its graph where ``live``."""
        moved = self.runner.source.act(g, self.x, self.at)
        there = self.runner.source.layout(moved)
        left = self.runner.differentiable(moved) if live else self.runner(moved)
        right = act_on(self.runner.target, g, self.y, self.at)
        pairs = zip(named_leaves(self.runner.target, left, "output"), named_leaves(self.runner.target, right, "output"), strict=True)
        errors = [squares(a - b, there, leaf.event) / self.scales[name] ** 2 for (name, leaf, a), (_, _, b) in pairs]
        return torch.stack(errors).amax(0)

    def allowed(self, g: Tree) -> Tensor:
        """Whether elements of a non-compact group stay within the sizes that were sampled."""
        far = sizes(self.group, g)[0]
        return torch.ones_like(far, dtype=torch.bool) if self.limit is None else far <= self.limit

    def slope(self, g: Tree, dtype: torch.dtype, rows: int) -> Tensor | None:
        """The gradient of the height of exp(c) g at c = 0; None where the model has no graph, or frees it."""
        c = torch.zeros(rows, self.group.lie_dimension, dtype=dtype, device=next(leaves(g)).device, requires_grad=True)
        try:
            with torch.enable_grad():
                height = self.height(self.group.compose(self.group.exp(self.group.combine(c)), g), live=True)
                (gradient,) = torch.autograd.grad(height.sum(), c, allow_unused=True)
        except (RuntimeError, NotImplementedError):
            return None
        return gradient if gradient is not None and bool(torch.isfinite(gradient).all()) and bool(gradient.any()) else None

    def step(self, g: Tree, direction: Tensor) -> Tree:
        """exp(direction) g."""
        return tree_map(lambda e: e.detach(), self.group.compose(self.group.exp(self.group.combine(direction)), g))


def climb(state: Climb, g: Tree, dtype: torch.dtype, generator: torch.Generator) -> tuple[Tensor, Tree, str]:
    """Ascend with a step per row that grows on success and halves on failure; random directions without a gradient."""
    best, word = state.height(g), "gradient ascent"
    rate = torch.full((best.shape[0], 1), 0.3, dtype=dtype, device=best.device)
    for _ in range(STEPS):
        direction = state.slope(g, dtype, best.shape[0])
        if direction is None:
            word, shape = "random ascent", (best.shape[0], state.group.lie_dimension)
            direction = torch.randn(shape, generator=generator, dtype=dtype, device=generator.device).to(best.device)
        direction = direction / direction.norm(dim=1, keepdim=True).clamp_min(torch.finfo(dtype).tiny) * rate
        candidate = state.step(g, direction)
        reached = state.height(candidate)
        better = (reached > best) & state.allowed(candidate)
        g, best = choose(better, candidate, g), torch.where(better, reached, best)
        rate = torch.where(better[:, None], rate * 1.5, rate * 0.5).clamp(max=1.0)
    return best.sqrt(), g, word


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
    dtype = next((t.dtype.to_real() for t in leaves(g) if t.is_floating_point() or t.is_complex()), torch.get_default_dtype())
    height, g, word = climb(state, g, dtype, generator)
    row = int(height.argmax())
    if not float(height[row]) > random:
        return result
    return Worst(float(height[row]), _one(g, row)), random, int(inputs[row]), word


def _one(g: Tree, row: int) -> Tree:
    return tree_map(lambda e: e[row].detach().cpu().clone(), g)
