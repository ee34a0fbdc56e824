"""Paths through generic and through degenerate inputs, built from the inputs alone: where could an output jump?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..actions.base import Action
from ..actions.layout import Layout
from ..actions.trees import visit
from ..groups.base import Group
from ..tree import Tree, leaves, tree_map

GENERIC = "generic inputs"
MOST_ELEMENTS = 64
"""Finite groups up to this order are averaged over, to make symmetric inputs."""


@dataclass(frozen=True)
class Paths:
    """Straight lines x(t) = base + t * direction, -1 <= t <= 1, through inputs of several kinds, reached at t = 0.

    Attributes:
        kinds: what the inputs at t = 0 are, for every path.
        base: the inputs at t = 0, one sample per path.
        directions: for every moved leaf, in the order of a visit, its change over t from 0 to 1.
    """

    kinds: list[str]
    base: Tree
    directions: list[Tensor]

    def at(self, source: Action, path: Tensor, t: Tensor) -> Tree:
        """The inputs x(t[i]) on the paths number ``path[i]``."""
        layout = source.layout(self.base)
        x = source.take(self.base, path, layout)
        there, rows = source.layout(x), layout.take(path)[1]
        steps = iter(self.directions)

        def move(leaf: Action, value: Any, name: str) -> Any:
            if not travels(leaf, value):
                return value
            direction = next(steps)
            ragged = rows is not None and layout.is_per_row(direction)
            step, share = (direction[rows], t[there.batch]) if ragged else (direction[path], t)
            return value + share.to(step.dtype).reshape(-1, *(1,) * (step.dim() - 1)) * step

        return visit(source, x, move)


Line = tuple[list[Tensor], list[Tensor]]
"""For every moved leaf: its values at t = 0, and its directions."""


def travels(leaf: Action, value: Any) -> bool:
    """Whether a path changes this input: floating point numbers that the group moves."""
    return leaf.moves and isinstance(value, Tensor) and (value.is_floating_point() or value.is_complex())


def every_path(source: Action, x: Tree, group: Group, generator: torch.Generator) -> Paths:
    """Generic lines, and lines through what the inputs become when they are made degenerate, all as one batch."""
    at = source.layout(x)
    lines: dict[str, Line] = {GENERIC: _between(source, x, at, generator)}
    points = Points.of(source, x, at)
    if points is not None:
        lines |= {kind: _through(source, x, points, rows, generator) for kind, rows in points.degenerate(generator).items()}
    if group.finite and not group.permutes and group.order <= MOST_ELEMENTS and source.linear:
        lines["symmetric inputs"] = _symmetric(source, x, at, group, generator)
    copies = torch.arange(at.samples, device=next(leaves(x)).device).repeat(len(lines))
    values = [torch.cat(parts) for parts in zip(*(line[0] for line in lines.values()), strict=True)]
    directions = [torch.cat(parts) for parts in zip(*(line[1] for line in lines.values()), strict=True)]
    filled = iter(values)
    base = visit(source, source.take(x, copies, at), lambda leaf, value, name: next(filled) if travels(leaf, value) else value)
    return Paths([kind for kind in lines for _ in range(at.samples)], base, directions)


def _noise(x: Tensor, generator: torch.Generator) -> Tensor:
    """Random numbers of the shape and size of ``x``, zero where all of a row is (padding)."""
    drawn = torch.randn(x.shape, generator=generator, dtype=x.dtype, device=generator.device).to(x.device)
    size = x.abs().square().mean().sqrt()
    used = (x != 0).any(-1, keepdim=True) if x.dim() > 2 else torch.ones_like(x[..., :1], dtype=torch.bool)
    return drawn * torch.where(size > 0, size, torch.ones_like(size)) * used


def _moved(source: Action, x: Tree) -> list[tuple[str, Tensor]]:
    """The inputs that paths change, by name."""
    found: list[tuple[str, Tensor]] = []

    def look(leaf: Action, value: Any, name: str) -> Any:
        if travels(leaf, value):
            found.append((name, value))
        return value

    visit(source, x, look)
    return found


def _between(source: Action, x: Tree, at: Layout, generator: torch.Generator) -> Line:
    """From every input to the next one; in a random direction where inputs differ in size."""
    straight = at.batch is None and at.mask is None and at.samples > 1
    middle, directions = [], []
    for _, value in _moved(source, x):
        other = value.roll(1, 0) if straight and value.shape[0] == at.samples else value + _noise(value, generator)
        middle.append((value + other) / 2)
        directions.append((other - value) / 2)
    return middle, directions


def _symmetric(source: Action, x: Tree, at: Layout, group: Group, generator: torch.Generator) -> Line:
    """Through the averages of the inputs over a finite group."""
    values = [value for _, value in _moved(source, x)]
    dtype = values[0].dtype.to_real() if values[0].is_complex() else values[0].dtype
    elements = group.elements(dtype=dtype, device=values[0].device)
    images = [source.act(tree_map(lambda e, i=i: e[i : i + 1], elements), x, at) for i in range(int(group.order))]
    stacks = zip(*([value for _, value in _moved(source, image)] for image in images), strict=True)
    means = [torch.stack(part).mean(0) if len({p.shape for p in part}) == 1 else part[0] for part in stacks]
    return means, [_noise(value, generator) for value in values]


def _through(source: Action, x: Tree, points: Points, rows: Tensor, generator: torch.Generator) -> Line:
    """Through inputs whose points were replaced, in a random direction of the points."""
    moved = _moved(source, x)
    values = [points.put(rows) if name == points.name else value for name, value in moved]
    step = points.put(_noise(points.rows, generator))
    return values, [step if name == points.name else torch.zeros_like(value) for name, value in moved]


@dataclass(frozen=True)
class Points:
    """The points of all inputs as rows, whatever their layout.

    Attributes:
        name: of the input that holds them.
        rows: (N, d), sample after sample.
        where: (N,) their places in the flattened input.
        sample: (N,) sample numbers.
        start: (B,) the first row of every sample; ``count`` (B,) how many follow.
        like: the input itself.
        vectors: whether rows are vectors, which rotations move; otherwise features of interchangeable rows.
    """

    name: str
    rows: Tensor
    where: Tensor
    sample: Tensor
    start: Tensor
    count: Tensor
    like: Tensor
    vectors: bool

    @staticmethod
    def of(source: Action, x: Tree, at: Layout) -> Points | None:
        """The first positions, else the first vectors or interchangeable rows per point; None where there are none."""
        found: list[tuple[int, str, Action, Tensor]] = []

        def look(leaf: Action, value: Any, name: str) -> Any:
            if travels(leaf, value) and not value.is_complex() and (leaf.polar or leaf.permuted == 1):
                dense = at.batch is None and value.dim() == 3
                if dense or (at.batch is not None and value.dim() == 2 and at.is_per_row(value)):
                    found.append((0 if leaf.affine else 1, name, leaf, value))
            return value

        visit(source, x, look)
        if not found:
            return None
        _, name, leaf, value = min(found, key=lambda entry: entry[0])
        flat = value.reshape(-1, value.shape[-1])
        if at.batch is not None:
            where = at.batch.argsort(stable=True)
            sample = at.batch[where]
        else:
            full = torch.ones(value.shape[:2], dtype=torch.bool, device=value.device)
            mask = at.mask if at.mask is not None and at.mask.shape == value.shape[:2] else full
            where = mask.flatten().nonzero().flatten()
            sample = where // value.shape[1]
        count = torch.bincount(sample, minlength=at.samples)
        return Points(name, flat[where], where, sample, count.cumsum(0) - count, count, value, leaf.polar)

    def put(self, rows: Tensor) -> Tensor:
        """The input with other rows, zero where padded."""
        flat = torch.zeros_like(self.like).reshape(-1, self.like.shape[-1])
        return flat.index_copy(0, self.where, rows).reshape(self.like.shape)

    def degenerate(self, generator: torch.Generator) -> dict[str, Tensor]:
        """Rows (N, d) of degenerate clouds, by kind."""
        d, place = self.rows.shape[1], torch.arange(self.rows.shape[0], device=self.rows.device) - self.start[self.sample]
        first, partner = self.rows[self.start[self.sample]], (self.start + self.count - 1)[self.sample] - place
        center = self._mean(self.rows)[self.sample]
        centred = self.rows - center
        twins = torch.where((place == 1)[:, None], first, self.rows)
        if not self.vectors or d < 2:
            return {"equal points": twins}
        axis = torch.randn(self.count.shape[0], d, generator=generator, dtype=self.rows.dtype, device=generator.device).to(self.rows.device)
        axis = (axis / axis.norm(dim=1, keepdim=True))[self.sample]
        along = axis * (axis * centred).sum(1, keepdim=True)
        rest = (self._mean(self.rows) * self.count[:, None] - self.rows[self.start]) / (self.count - 1).clamp_min(1)[:, None]
        found = {
            "equal points": twins,
            "collinear points": along + center,
            "a point at the centroid": torch.where((place == 0)[:, None], rest[self.sample], self.rows),
            "points with an inversion centre": (centred - centred[partner]) / 2 + center,
            "equal principal values": self._isotropic(centred) + center,
        }
        return found | ({"coplanar points": centred - along + center} if d > 2 else {})

    def _mean(self, rows: Tensor) -> Tensor:
        zero = rows.new_zeros(self.count.shape[0], *rows.shape[1:])
        count = self.count.clamp_min(1).reshape(-1, *(1,) * (rows.dim() - 1))
        return zero.index_add(0, self.sample, rows) / count

    def _isotropic(self, centred: Tensor) -> Tensor:
        """The cloud, stretched until its principal values are equal."""
        wide = centred.to(torch.float64)
        moment = self._mean(wide.unsqueeze(2) * wide.unsqueeze(1))
        values, vectors = torch.linalg.eigh(moment)
        top = values[:, -1:].clamp_min(torch.finfo(torch.float64).tiny)
        stretch = (top / values.clamp_min(1e-6 * top)).sqrt()
        matrix = (vectors * stretch.unsqueeze(1)) @ vectors.mT
        return torch.einsum("nij,nj->ni", matrix[self.sample], wide).to(centred.dtype)
