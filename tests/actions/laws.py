"""The laws of an action, as functions that return how far they are missed."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from coset.actions.base import Action
from coset.groups.base import Group
from coset.tree import Tree, leaves, tree_map


def gap(found: Tree, expected: Tree) -> float:
    """The largest difference between two trees, relative to the largest entry; infinite where shapes or dtypes differ."""
    worst = 0.0
    pairs = list(zip(leaves(found), leaves(expected), strict=True))
    for a, b in pairs:
        if a.shape != b.shape or a.dtype != b.dtype:
            return float("inf")
        if a.numel():
            wide = torch.complex128 if a.is_complex() else torch.float64
            difference = (a.to(wide) - b.to(wide)).abs().max() / b.to(wide).abs().max().clamp(min=1.0)
            worst = max(worst, float(difference.nan_to_num(nan=float("inf"))))
    return worst


def draw(action: Action, x: Tree, generator: torch.Generator, dtype: torch.dtype) -> tuple[Group, Tree]:
    """The group with free sizes fixed to the data, and one random element for every sample."""
    group = action.resolve(x)
    return group, group.sample(action.layout(x).samples, generator=generator, dtype=dtype)


def pick(g: Tree, samples: Tensor) -> Tree:
    """The elements of some samples."""
    return tree_map(lambda leaf: leaf[samples], g)


def identity_gap(action: Action, x: Tree, dtype: torch.dtype) -> float:
    """act(e, x) = x."""
    return gap(action.act(action.resolve(x).identity(action.layout(x).samples, dtype=dtype), x), x)


def compose_gap(action: Action, x: Tree, generator: torch.Generator, dtype: torch.dtype) -> float:
    """act(g, act(h, x)) = act(gh, x)."""
    group, g = draw(action, x, generator, dtype)
    _, h = draw(action, x, generator, dtype)
    return gap(action.act(g, action.act(h, x)), action.act(group.compose(g, h), x))


def inverse_gap(action: Action, x: Tree, generator: torch.Generator, dtype: torch.dtype) -> float:
    """act(g^-1, act(g, x)) = x."""
    group, g = draw(action, x, generator, dtype)
    return gap(action.act(group.inverse(g), action.act(g, x)), x)


def loop_gap(action: Action, x: Tree, generator: torch.Generator, dtype: torch.dtype) -> float:
    """A batch with its own elements is a loop over samples."""
    _, g = draw(action, x, generator, dtype)
    moved, worst = action.act(g, x), 0.0
    for b in range(action.layout(x).samples):
        one = torch.tensor([b])
        worst = max(worst, gap(action.act(pick(g, one), action.take(x, one)), action.take(moved, one)))
    return worst


def broadcast_gap(action: Action, x: Tree, generator: torch.Generator, dtype: torch.dtype) -> float:
    """An element without batch axes moves every sample alike."""
    _, g = draw(action, x, generator, dtype)
    same = pick(g, torch.zeros(action.layout(x).samples, dtype=torch.long))
    return gap(action.act(tree_map(lambda leaf: leaf[0], g), x), action.act(same, x))


def take_gap(action: Action, x: Tree, generator: torch.Generator, dtype: torch.dtype) -> float:
    """Repeating samples commutes with acting."""
    _, g = draw(action, x, generator, dtype)
    samples = torch.randint(action.layout(x).samples, (7,), generator=generator)
    return gap(action.act(pick(g, samples), action.take(x, samples)), action.take(action.act(g, x), samples))


def linear_gap(action: Action, x: Tree, y: Tree, generator: torch.Generator, dtype: torch.dtype) -> float:
    """Affine combinations commute with acting."""
    _, g = draw(action, x, generator, dtype)

    def blend(a: Any, b: Any) -> Any:
        return tree_map(lambda p, q: 0.3 * p + 0.7 * q if p.is_floating_point() else p, a, b)

    return gap(action.act(g, blend(x, y)), blend(action.act(g, x), action.act(g, y)))


def vmap_gap(action: Action, x: Tree, generator: torch.Generator, dtype: torch.dtype) -> float:
    """vmap over samples is the batch."""
    _, g = draw(action, x, generator, dtype)
    return gap(torch.vmap(action.act)(g, x), action.act(g, x))


def compile_gap(action: Action, x: Tree, generator: torch.Generator, dtype: torch.dtype) -> float:
    """One graph without breaks gives the same."""
    _, g = draw(action, x, generator, dtype)
    torch._dynamo.reset()
    compiled = torch.compile(lambda g, x: action.act(g, x), backend="aot_eager", fullgraph=True)
    return gap(compiled(g, x), action.act(g, x))


def gradient_gap(field: Action, image: Action, scalar: Tensor, g: Tree) -> float:
    """The image gradient (d/dx, d/dy) of a moved picture is the moved field of gradients."""

    def gradient(f: Tensor) -> Tensor:
        down, right = torch.gradient(f, dim=(-2, -1))
        return torch.stack([right, down], -3).flatten(-4, -3)

    return gap(gradient(image.act(g, scalar)), field.act(g, gradient(scalar)))


LAWS = {
    "compose": compose_gap,
    "inverse": inverse_gap,
    "loop": loop_gap,
    "broadcast": broadcast_gap,
    "take": take_gap,
}
EXACT_ONLY = {"compose", "inverse"}
