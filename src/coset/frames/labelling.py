"""Canonical labels of one coloured graph: colour refinement first, nauty for what refinement cannot tell apart.

A graph is a list of labelled pairs. Edge labels enter nauty as layers: layer b holds the pairs whose label has bit b.
"""

from __future__ import annotations

import functools
import itertools
import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..errors import InputError, explain, require_extra
from .refinement import Coloured, block_labels, refined, walk_colours

LARGEST = 8192
"""How many vertices nauty may be given: nodes times layers of edge labels."""
SMALLEST = 40
"""Numbers of nodes from which walks are counted before nauty is asked."""
MOST = 2**63 - 1
"""Orders of automorphism groups saturate here."""
Array = Any


@dataclass(frozen=True)
class Label:
    """A canonical order of the nodes, and the automorphism group by generators.

    Attributes:
        order: (n,) the node at each canonical place.
        generators: (k, n) automorphisms, node i goes to ``generators[:, i]``.
        size: the order of the group, to 15 digits, at most ``MOST``.
        magnitude: the logarithm of the order, to 14 digits, whatever its size.
    """

    order: Array
    generators: Array
    size: int
    magnitude: float = 0.0


def label_graph(graph: Coloured, largest: int = LARGEST) -> Label:
    """The canonical label of a graph: isomorphic graphs become equal when their nodes are put in this order.

    Raises:
        InputError: when the graph has more vertices than ``largest``, counting layers of edge labels.
        MissingExtraError: when nauty is needed and pynauty is not installed.
    """
    n = len(graph.colour)
    colour = refined(graph)
    if n >= SMALLEST and 8 * colour.max() < n:
        colour = refined(replace(graph, colour=colour), walk_colours(graph, colour))
    if n == 0 or colour.max() == n - 1:
        return Label(np.argsort(colour, kind="stable"), np.zeros((0, n), dtype=np.int64), 1)
    rest, kept = remainder(graph, colour)
    inner = _ask_nauty(rest, largest)
    generators = np.tile(np.arange(n), (len(inner.generators), 1))
    generators[:, kept] = kept[inner.generators]
    rank = np.zeros(n, dtype=np.int64)
    rank[kept[inner.order]] = np.arange(len(kept))
    return Label(np.lexsort((rank, colour)), generators, inner.size, inner.magnitude)


def remainder(graph: Coloured, colour: Array) -> tuple[Coloured, Array]:
    """What refinement left open: pairs that tell nothing removed, and nodes without equals where none of their pairs is left.

    Returns:
        The smaller graph, and the numbers of its nodes.
    """
    label = block_labels(graph, colour)
    open_ = label > 0
    first, second, label = graph.first[open_], graph.second[open_], label[open_]
    alone = np.bincount(colour)[colour] == 1
    if alone[first].any() or alone[second].any():
        alone = np.zeros(len(colour), dtype=bool)
    kept = np.flatnonzero(~alone)
    new = np.cumsum(~alone) - 1
    inside = np.unique(colour[kept], return_inverse=True)[1].reshape(-1)
    return Coloured(inside, new[first], new[second], label, graph.directed), kept


def _ask_nauty(graph: Coloured, largest: int) -> Label:
    """Label and automorphisms by nauty."""
    n, layers = len(graph.colour), max(1, int(graph.label.max(initial=0)).bit_length())
    if n * layers > largest:
        raise InputError(
            explain(
                f"a graph of {n} nodes that colour refinement leaves open"
                + (f", with {layers} layers of edge labels" if layers > 1 else ""),
                f"at most {largest} vertices",
                f"pass largest={n * layers} to frames.Relabel if time and memory allow, add node features that tell nodes apart, "
                "or use frames.Haar(samples)",
            )
        )
    pynauty, prepared = _nauty()
    task = prepared(n, layers, graph.colour, graph.first, graph.second, graph.label, graph.directed)
    generators, mantissa, exponent, _, _ = pynauty.autgrp(task)
    order = np.asarray(pynauty.canon_label(task)[:n], dtype=np.int64)
    moved = np.asarray(generators, dtype=np.int64).reshape(-1, n * layers)[:, :n]
    size = min(round(mantissa * 10**exponent) if exponent < 19 else MOST, MOST)
    return Label(order, moved, size, math.log(mantissa) + exponent * math.log(10))


@dataclass(frozen=True)
class Canonical:
    """A graph in canonical order.

    Attributes:
        order: (n,) the node at each canonical place.
        generators: (k, n) automorphisms of the canonical graph.
        size: their number.
        form: (colour, first, second, label) of the canonical graph; equal for isomorphic graphs up to the order of pairs.
    """

    order: Array
    generators: Array
    size: int
    form: tuple[Array, Array, Array, Array]


def canonical(graph: Coloured, label: Label) -> Canonical:
    """A labelled graph in canonical numbers."""
    back = np.argsort(label.order)
    form = (graph.colour[label.order], back[graph.first], back[graph.second], graph.label)
    return Canonical(label.order, back[label.generators[:, label.order]], label.size, form)


@functools.cache
def _nauty() -> tuple[Any, Any]:
    """The module pynauty, and its graph class fed from arrays without checking vertex by vertex."""
    try:
        import pynauty
    except ImportError as error:
        raise require_extra("pynauty", "graphs") from error

    class Prepared(pynauty.Graph):  # type: ignore[misc]
        adjacency_dict: dict[int, list[int]] = {}  # noqa: RUF012
        vertex_coloring: list[list[int]] = []  # noqa: RUF012

        def __init__(self, n: int, layers: int, colour: Array, first: Array, second: Array, label: Array, directed: bool):
            self.number_of_vertices, self.directed = n * layers, directed
            self.adjacency_dict = neighbours(n, layers, first, second, label, directed)
            self.vertex_coloring = cells(colour, layers) if layers > 1 or colour.max() > 0 else []

    return pynauty, Prepared


def neighbours(n: int, layers: int, first: Array, second: Array, label: Array, directed: bool) -> dict[int, list[int]]:
    """Adjacency lists of the layered graph; one direction of undirected edges is enough."""
    if not directed:
        half = first < second
        first, second, label = first[half], second[half], label[half]
    found: dict[int, list[int]] = {}
    for layer in range(layers):
        here = (label >> layer) & 1 == 1
        ends = (second[here] + n * layer).tolist()
        cut = np.searchsorted(first[here], np.arange(n + 1)).tolist()
        found |= {v + n * layer: ends[cut[v] : cut[v + 1]] for v in range(n)}
        for v in range(n) if layer else ():
            found[v + n * layer].append(v + n * (layer - 1))
            if directed:
                found[v + n * (layer - 1)].append(v + n * layer)
    return found


def cells(colour: Array, layers: int) -> list[list[int]]:
    """Nodes of one colour in one layer, in order."""
    n = len(colour)
    order = np.argsort(colour, kind="stable")
    cut = np.searchsorted(colour[order], np.arange(int(colour.max()) + 2)).tolist()
    nodes = order.tolist()
    inside = [nodes[a:b] for a, b in itertools.pairwise(cut)]
    return [[v + n * layer for v in cell] for layer in range(layers) for cell in inside]
