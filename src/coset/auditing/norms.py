"""Sizes of differences: which action describes which output, and one norm per sample, dense, padded or ragged."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from ..actions.base import Action
from ..actions.indices import BatchIndex, PointMask
from ..actions.layout import Layout
from ..actions.still import Ignore
from ..actions.trees import visit
from ..tree import Tree, leaves

BOOKKEEPING = (Ignore, BatchIndex, PointMask)


def named_leaves(action: Action, x: Tree, name: str) -> Iterator[tuple[str, Action, Tensor]]:
    """Every tensor of ``x`` with its name and the leaf action that describes it; ignored data is left out."""
    found: list[tuple[str, Action, Tensor]] = []

    def look(leaf: Action, value: Tree, path: str) -> Tree:
        if not isinstance(leaf, BOOKKEEPING):
            found.extend((path, leaf, tensor) for tensor in leaves(value))
        return value

    visit(action, x, look, name)
    paths = [path for path, _, _ in found]
    for i, (path, leaf, tensor) in enumerate(found):
        yield (path if paths.count(path) == 1 else f"{path}[{paths[:i].count(path)}]"), leaf, tensor


def act_on(action: Action, g: Tree, x: Tree, at: Layout) -> Tree:
    """Move outputs by g; unlike ``action.act`` it also opens containers that one leaf action describes."""
    return visit(action, x, lambda leaf, value, path: leaf.act(g, value, at))


def take_from(action: Action, x: Tree, samples: Tensor, at: Layout) -> Tree:
    """Repeat outputs along the sample axis; opens containers as :func:`act_on` does."""
    return visit(action, x, lambda leaf, value, path: leaf.take(value, samples, at))


def squares(x: Tensor, at: Layout, event: int) -> Tensor:
    """Squared norm of every sample, shape (samples,), in float64, with its graph. Padded rows do not count.

    Data that has no axis of samples is shared: its mean over the samples is given to each of them.
    """
    size = x.abs().to(torch.float64) if x.dtype != torch.bool else x.to(torch.float64)
    size = size.square()
    if at.mask is not None and at.is_per_point(x, event) and at.mask.shape == x.shape[: at.mask.dim()]:
        size = size * at.mask.to(size).reshape(*at.mask.shape, *(1,) * (x.dim() - at.mask.dim()))
    if at.batch is not None and at.is_per_point(x, 0):
        rows = size.reshape(x.shape[0], -1).sum(-1)
        return torch.zeros(at.samples, dtype=torch.float64, device=x.device).index_add(0, at.batch, rows)
    if x.dim() and x.shape[0] == at.samples:
        return size.reshape(at.samples, -1).sum(-1)
    return (size.sum() / at.samples).expand(at.samples)


def difference(a: Tensor, b: Tensor, at: Layout, event: int) -> Tensor:
    """Norm of a - b for every sample, shape (samples,)."""
    a, b = (t.to(torch.float64) if not t.is_complex() else t for t in (a.detach(), b.detach()))
    return squares(a - b, at, event).sqrt()


def root_mean(squared: Tensor) -> float:
    """Root mean square of per-sample squared norms."""
    return float(squared.mean().sqrt())
