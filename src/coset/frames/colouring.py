"""From tensors to coloured graphs: features become colours, weights become labels, and numbers cluster by relative gaps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .refinement import Coloured

Array = Any
NOISE = 32.0
"""Multiples of the rounding unit, relative to the largest number of a column, that count as rounding noise."""


@dataclass(frozen=True)
class Table:
    """Numbers (m, c), one row per node or per pair, and what is noise among them.

    Attributes:
        values: (m, c) float64, int64 or bool.
        eps: rounding unit of the data; 0 for integers, which are compared exactly.
        vectors: the columns are coordinates, whose rounding noise is that of the longest vector.
    """

    values: Array
    eps: float
    vectors: bool = False

    def rows(self, which: Any) -> Table:
        """Some of the rows."""
        return Table(self.values[which], self.eps, self.vectors)


def table(x: Tensor, vectors: bool = False) -> Table:
    """A tensor (m, ...) as a table on the host."""
    x = x.detach().flatten(1) if x.dim() > 1 else x.detach().unsqueeze(1)
    if x.is_complex():
        x = torch.view_as_real(x.resolve_conj()).flatten(1)
    eps = torch.finfo(x.dtype).eps if x.is_floating_point() else 0.0
    return Table((x.double() if x.is_floating_point() else x.long()).cpu().numpy(), eps, vectors)


def clusters(data: Table, tol: float, zero: bool = False, noise: float = 0.0) -> Array:
    """(m, c) the rank of every entry among the different values of its column.

    Two neighbouring values of a sorted column are one when they are closer than ``tol`` times the smaller one plus
    rounding noise, 32 eps of the column's largest. Ranks depend on the set of values only.

    Args:
        data: the numbers.
        tol: relative tolerance.
        zero: count ranks from that of zero, which is a value of every column.
        noise: coordinates of vectors that are closer than this are equal too.
    """
    values = data.values
    if values.shape[0] == 0:
        return np.zeros(values.shape, dtype=np.int64)
    if not zero and bool((values == values[0]).all()):
        return np.zeros(values.shape, dtype=np.int64)
    if zero:
        values = np.concatenate([np.zeros((1, values.shape[1]), dtype=values.dtype), values])
    order = np.argsort(values, axis=0, kind="stable")
    ordered = np.take_along_axis(values, order, 0)
    low, high = ordered[:-1], ordered[1:]
    size = np.abs(ordered)
    largest = size.max() if data.vectors else size.max(0)
    cut = tol * np.minimum(size[:-1], size[1:]) + NOISE * data.eps * largest if data.eps else 0
    cut = np.maximum(cut, noise) if data.vectors else cut
    rank = np.concatenate([np.zeros((1, values.shape[1]), dtype=np.int64), np.cumsum(high - low > cut, axis=0)])
    found = np.empty(values.shape, dtype=np.int64)
    np.put_along_axis(found, order, rank, 0)
    return found[1:] - found[:1] if zero else found


def numbers(rows: Array) -> Array:
    """(m,) the rank of every row (m, c) among the different rows, in lexicographic order."""
    if rows.shape[1] == 0 or rows.shape[0] == 0:
        return np.zeros(rows.shape[0], dtype=np.int64)
    if rows.shape[1] == 1:
        return np.unique(rows[:, 0], return_inverse=True)[1].reshape(-1)
    return np.unique(rows, axis=0, return_inverse=True)[1].reshape(-1)


def dense_graph(nodes: list[Table], pairs: list[Table], n: int, tol: float, noise: float = 0.0) -> tuple[Coloured, Array]:
    """A coloured graph from node features and (n * n) pairs; a pair is there when one of its numbers is not zero.

    Returns:
        The graph, and the (n,) ranks of its loops, which are the first colour.
    """
    plain = len(pairs) == 1 and pairs[0].values.shape[1] == 1 and bool(((pairs[0].values == 0) | (pairs[0].values == 1)).all())
    if plain:
        matrix = (pairs[0].values == 1).reshape(n, n)
    else:
        found = [clusters(data, tol, zero=True) for data in pairs]
        matrix = _from_zero(np.concatenate(found, 1)).reshape(n, n) if found else np.zeros((n, n), dtype=np.int64)
    loops = matrix.diagonal().astype(np.int64)
    if loops.any():
        matrix = np.where(np.eye(n, dtype=bool), 0, matrix)
    place = np.flatnonzero(matrix)
    first = place // max(n, 1)
    label = np.ones(len(place), dtype=np.int64) if plain else matrix.ravel()[place]
    return Coloured(_colours(loops, nodes, tol, noise), first, place - first * n, label, not np.array_equal(matrix, matrix.T)), loops


def _from_zero(rows: Array) -> Array:
    """(m,) row numbers, with 0 for rows of zeros and positive numbers for others."""
    there = (rows != 0).any(1)
    label = np.zeros(rows.shape[0], dtype=np.int64)
    label[there] = 1 + numbers(rows[there])
    return label


def _colours(loops: Array, nodes: list[Table], tol: float, noise: float = 0.0) -> Array:
    return numbers(np.concatenate([*(clusters(data, tol, noise=noise) for data in nodes), loops[:, None]], 1))


def sparse_graph(nodes: list[Table], first: Array, second: Array, attributes: list[Table], n: int, tol: float) -> tuple[Coloured, Array]:
    """A coloured graph from an edge list; repeated edges count with the labels of all of them.

    Returns:
        The graph, and the (E,) label of every listed edge by itself.
    """
    rows = [clusters(data, tol) for data in attributes]
    kinds = 1 + numbers(np.concatenate(rows, 1)) if rows else np.ones(len(first), dtype=np.int64)
    code = first * n + second
    pair, label = _runs(code, kinds)
    one = pair // max(n, 1)
    two = pair - one * n
    loops, here = np.zeros(n, dtype=np.int64), one == two
    if here.any():
        loops[one[here]] = label[here]
        one, two, label = one[~here], two[~here], label[~here]
    label = label if label.max(initial=1) == 1 else numbers(label[:, None]) + 1
    mirror = two * n + one
    back = np.argsort(mirror)
    directed = not (np.array_equal(mirror[back], one * n + two) and np.array_equal(label[back], label))
    return Coloured(_colours(loops, nodes, tol), one, two, label, directed), kinds


def _runs(code: Array, kinds: Array) -> tuple[Array, Array]:
    """Sorted pairs and their labels; parallel edges become one pair."""
    step = np.diff(code)
    if not (step > 0).all():
        order = np.argsort(code * (int(kinds.max()) + 1) + kinds)
        code, kinds = code[order], kinds[order]
        step = np.diff(code)
    fresh = np.concatenate([np.ones(min(1, len(code)), dtype=bool), step != 0])
    return (code, kinds) if fresh.all() else (code[fresh], _several(kinds, fresh))


def _several(kinds: Array, fresh: Array) -> Array:
    """One label for each run of parallel edges, from the sorted labels of the run."""
    run = np.cumsum(fresh) - 1
    place = np.arange(len(kinds)) - np.flatnonzero(fresh)[run]
    rows = np.zeros((int(run[-1]) + 1, int(place.max()) + 1), dtype=np.int64)
    rows[run, place] = kinds
    return 1 + numbers(rows)
