"""Averages over a group of permutations that is given by generators: over orbits of nodes, of pairs, of edges.

The group is never listed. The average of a tensor over it is the mean over each orbit of index tuples, and orbits
are connected components of the graph that joins each tuple to its images under the generators.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .actions.base import Action
from .actions.indices import Edges
from .actions.layout import Layout, ragged_take
from .errors import InputError, describe, explain

TUPLES = 2**25
"""How many index tuples of a batch may be put into orbits."""


@dataclass(frozen=True)
class Orbits:
    """The automorphisms of the canonical graphs of a batch.

    Attributes:
        generators: for every sample (k, n), node i of the canonical graph goes to ``generators[:, i]``.
        batch: (N,) the sample of every row of ragged graphs; None for dense ones.
        valid: (B, n) False on padding, in canonical order; None when nothing is padded.
        pairs: (2, E) the rows that the canonical edges of ragged graphs join; None for dense ones.
        kinds: (E,) labels of these edges: edges of different kinds are never in one orbit.
        edges: (E,) the input edge at each place of the canonical edge list; None for dense graphs.
        forms: (B,) what identifies the canonical graphs, for :meth:`fixes`.
    """

    generators: tuple[Any, ...]
    batch: Tensor | None = None
    valid: Tensor | None = None
    pairs: Tensor | None = None
    kinds: Tensor | None = None
    edges: Tensor | None = None
    forms: tuple[Any, ...] = ()
    found: dict[int, Tensor] = field(default_factory=dict, compare=False, repr=False)

    @property
    def trivial(self) -> bool:
        """Whether no graph has an automorphism but the identity."""
        return not any(len(one) for one in self.generators)

    def take(self, rows: Tensor) -> Orbits:
        """The orbits of the picked samples of a dense batch, or of ragged rows that carry no edges."""
        if len(rows) == len(self.generators) and torch.equal(rows, torch.arange(len(rows), device=rows.device)):
            return self
        picked = rows.tolist()
        valid = None if self.valid is None else self.valid[rows]
        forms = tuple(self.forms[row] for row in picked) if self.forms else ()
        batch = self.batch if self.batch is None else ragged_take(self.batch, len(self.generators), rows)[1]
        return replace(self, generators=tuple(self.generators[row] for row in picked), batch=batch, valid=valid, forms=forms, found={})

    def per_edge(self, action: Action, y: Tensor, at: Layout) -> bool:
        """Whether data has one entry for every edge of ragged graphs."""
        return self.edges is not None and on_edges(action, y, at)

    def settle(self, action: Action, x: Tensor, at: Layout) -> Tensor:
        """Canonical inputs: edges in canonical order, and numbers averaged over orbits."""
        core = action.core()
        if self.edges is not None and isinstance(core, Edges):
            return x.index_select(1, self.edges)
        if self.per_edge(action, x, at):
            x = x.index_select(0, self.edges)  # type: ignore[arg-type]
        return self.average(action, x, at) if x.is_floating_point() or x.is_complex() else x

    def restore(self, action: Action, y: Tensor, at: Layout) -> Tensor:
        """Outputs averaged over orbits; those of edges in the order of the input's edges."""
        y = self.average(action, y, at)
        if self.per_edge(action, y, at):
            return torch.empty_like(y).index_copy(0, self.edges, y)  # type: ignore[arg-type]
        return y

    def average(self, action: Action, y: Tensor, at: Layout) -> Tensor:
        """The mean over the automorphisms, for data in canonical order.

        Raises:
            InputError: for integers that differ within an orbit, or too many index tuples.
        """
        if self.per_edge(action, y, at):
            return y if self.trivial and not self._repeated() else orbit_mean(y, self._edge_classes(y.device))
        axes = action.point_axes(y)
        if not axes:
            return y
        if self.batch is not None:
            return y if self.trivial else orbit_mean(y, _by_row(self._classes(1, y.device), at.batch))  # type: ignore[arg-type]
        front = tuple(range(1, 1 + len(axes)))
        moved = y.movedim(axes, front)
        if not self.trivial:
            flat = moved.reshape(-1, *moved.shape[1 + len(axes) :])
            moved = orbit_mean(flat, self._classes(len(axes), y.device)).reshape(moved.shape)
        for axis in front if self.valid is not None else ():
            shape = [1] * moved.dim()
            shape[0], shape[axis] = self.valid.shape  # type: ignore[union-attr]
            moved = moved * self.valid.reshape(shape).to(moved.dtype)  # type: ignore[union-attr]
        return moved.movedim(front, axes)

    def _classes(self, order: int, device: torch.device) -> Tensor:
        """Class numbers of all index tuples of every sample, one after the other."""
        if order not in self.found:
            sizes = [one.shape[1] for one in self.generators]
            total = sum(size**order for size in sizes)
            if total > TUPLES:
                raise InputError(
                    explain(
                        f"orbits of {total} index tuples (outputs with {order} permuted axes)",
                        f"at most {TUPLES}",
                        "use smaller batches, or outputs with fewer permuted axes",
                    )
                )
            starts = np.cumsum([0] + [size**order for size in sizes])
            parts = [tuple_orbits(one, order) + start for one, start in zip(self.generators, starts, strict=False)]
            classes = torch.from_numpy(np.unique(np.concatenate(parts), return_inverse=True)[1].reshape(-1))
            self.found[order] = classes
        return self.found[order].to(device)

    def _edge_classes(self, device: torch.device) -> Tensor:
        """(E,) classes of the canonical edges."""
        if 0 not in self.found:
            self.found[0] = edge_orbits(self.generators, self.batch.cpu(), self.pairs.cpu(), self.kinds.cpu())  # type: ignore[union-attr]
        return self.found[0].to(device)

    def _repeated(self) -> bool:
        """Whether equal edges are listed more than once; in canonical order they follow one another."""
        both = torch.cat([self.pairs, self.kinds[None]])  # type: ignore[list-item, index]
        return bool((both[:, 1:] == both[:, :-1]).all(0).any())

    def fixes(self, permutations: Tensor) -> Tensor:
        """(K, B) whether permutations (K, B, n) of the canonical graphs are automorphisms."""
        table = permutations.cpu().numpy()
        found = [[same(form, table[k, b]) for b, form in enumerate(self.forms)] for k in range(len(table))]
        return torch.tensor(found, device=permutations.device)


def _by_row(classes: Tensor, batch: Tensor) -> Tensor:
    """Classes given sample after sample, at the rows of a ragged batch (whose order depends on which samples were picked)."""
    return torch.empty_like(classes).index_copy(0, torch.argsort(batch, stable=True), classes)


def same(form: tuple[Any, Any, Any, Any] | int, permutation: Any) -> bool:
    """Whether a permutation keeps a graph (colours, first, second, label of every pair); a number of nodes means no symmetry."""
    if isinstance(form, int):
        return bool((permutation[:form] == np.arange(form)).all())
    colour, first, second, label = form
    n = len(colour)
    p = permutation[:n]
    if (p >= n).any() or (colour[p] != colour).any():
        return False
    before, after = first * n + second, p[first] * n + p[second]
    one, two = np.lexsort((label, before)), np.lexsort((label, after))
    return bool((before[one] == after[two]).all() and (label[one] == label[two]).all())


def on_edges(action: Action, x: Tensor, at: Layout) -> bool:
    """Whether data has one entry for every edge of ragged graphs."""
    core = action.core()
    return hasattr(core, "on_edges") and x.dim() > 0 and core.on_edges(x, at)


def orbit_mean(y: Tensor, classes: Tensor) -> Tensor:
    """The mean of rows (M, ...) over classes (M,) numbered from 0; equal rows are returned as they are, bit by bit."""
    size = torch.bincount(classes)
    first = torch.full_like(size, y.shape[0]).scatter_reduce(0, classes, torch.arange(y.shape[0], device=y.device), "amin")
    base = y[first][classes]
    if not (y.is_floating_point() or y.is_complex()):
        if bool((y != base).any()):
            raise InputError(
                explain(
                    f"an output {describe(y)} that differs within an orbit of nodes that a symmetry exchanges",
                    "numbers that can be averaged",
                    "return scores or logits and decide afterwards, or declare it Ignore",
                )
            )
        return y
    apart = torch.zeros(size.shape[0], *y.shape[1:], dtype=y.dtype, device=y.device).index_add(0, classes, y - base)
    return base + (apart / size.reshape(-1, *(1,) * (y.dim() - 1)).to(y.dtype))[classes]


def tuple_orbits(generators: Any, order: int) -> Any:
    """(n ** order,) the smallest member of the orbit of every index tuple, tuples counted with the last index fastest."""
    count, n = generators.shape
    every = np.arange(n**order)
    starts, ends = [], []
    for generator in generators:
        support = generator != np.arange(n)
        if order == 1:
            touched = np.flatnonzero(support)
        else:
            digits = [every // n ** (order - 1 - axis) % n for axis in range(order)]
            touched = np.flatnonzero(np.logical_or.reduce([support[digit] for digit in digits]))
        image = np.zeros_like(touched)
        for axis in range(order):
            image = image * n + generator[touched // n ** (order - 1 - axis) % n]
        starts.append(touched)
        ends.append(image)
    return components(n**order, np.concatenate(starts), np.concatenate(ends)) if count else every


def components(size: int, start: Any, end: Any) -> Any:
    """(size,) the smallest member of the connected component of every vertex, given edges (start, end)."""
    parent = np.arange(size)
    while start.size:
        one, two = parent[start], parent[end]
        apart = one != two
        start, end, one, two = start[apart], end[apart], one[apart], two[apart]
        np.minimum.at(parent, np.maximum(one, two), np.minimum(one, two))
        while True:
            above = parent[parent]
            if np.array_equal(above, parent):
                break
            parent = above
    return parent


def edge_orbits(generators: tuple[Any, ...], batch: Tensor, pairs: Tensor, kinds: Tensor) -> Tensor:
    """(E,) classes of labelled edges between rows of ragged graphs."""
    rows, count = batch.numpy(), len(batch)
    image = np.argsort(rows, kind="stable")
    starts = np.cumsum([0] + [one.shape[1] for one in generators])
    code, place = np.unique(pairs[0].numpy() * count + pairs[1].numpy(), return_inverse=True)
    owner = rows[code // count]
    slot = np.empty(count, dtype=np.int64)
    slot[image] = np.arange(count) - starts[rows[image]]
    begin, end = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.int64)]
    order = np.argsort(owner, kind="stable")
    cut = np.searchsorted(owner[order], np.arange(len(generators) + 1))
    for b, several in enumerate(generators):
        mine = order[cut[b] : cut[b + 1]]
        for generator in several if mine.size else ():
            target = image[starts[b] + generator]
            moved = target[slot[code[mine] // count]] * count + target[slot[code[mine] % count]]
            begin.append(mine)
            end.append(np.searchsorted(code, moved))
    found = components(len(code), np.concatenate(begin), np.concatenate(end))
    both = np.stack([found[place], kinds.numpy()], 1)
    return torch.from_numpy(np.unique(both, axis=0, return_inverse=True)[1].reshape(-1))
