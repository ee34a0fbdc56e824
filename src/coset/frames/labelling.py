"""Canonical labels of one coloured graph: colour refinement first, nauty for what refinement cannot tell apart.

A graph is a list of labelled pairs. Refinement hashes the neighbours of every node; a collision of hashes only leaves
work to nauty and never changes a result. Edge labels enter nauty as layers: layer b holds the pairs whose label has bit b.
"""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..errors import InputError, explain, require_extra

LARGEST = 8192
"""How many vertices nauty may be given: nodes times layers of edge labels."""
SMALLEST, WALKS = 40, 1024
"""Numbers of nodes for which walks are counted before nauty is asked: below it is faster, above they cost too much."""
PRIME = 1048573
MOST = 2**63 - 1
"""Orders of automorphism groups saturate here."""
Array = Any


@dataclass(frozen=True)
class Coloured:
    """One graph without self loops (a loop is a colour).

    Attributes:
        colour: (n,) class numbers from 0, without gaps, in canonical order.
        first, second: (E,) the nodes of every pair, sorted; both directions of undirected edges.
        label: (E,) positive label of every pair.
        directed: whether some pair has another label in the other direction.
    """

    colour: Array
    first: Array
    second: Array
    label: Array
    directed: bool


@dataclass(frozen=True)
class Label:
    """A canonical order of the nodes, and the automorphism group by generators.

    Attributes:
        order: (n,) the node at each canonical place.
        generators: (k, n) automorphisms, node i goes to ``generators[:, i]``.
        size: the order of the group, to 15 digits, at most ``MOST``.
    """

    order: Array
    generators: Array
    size: int


def label_graph(graph: Coloured, largest: int = LARGEST) -> Label:
    """The canonical label of a graph: isomorphic graphs become equal when their nodes are put in this order.

    Raises:
        InputError: when the graph has more vertices than ``largest``, counting layers of edge labels.
        MissingExtraError: when nauty is needed and pynauty is not installed.
    """
    n = len(graph.colour)
    colour = refined(graph)
    if SMALLEST <= n <= WALKS and 8 * colour.max() < n:
        colour = refined(replace(graph, colour=colour), walk_colours(graph, colour))
    if n == 0 or colour.max() == n - 1:
        return Label(np.argsort(colour, kind="stable"), np.zeros((0, n), dtype=np.int64), 1)
    label = graph.label if graph.label.size and graph.label.max() == 1 else block_labels(graph, colour)
    layers = max(1, int(label.max(initial=0)).bit_length())
    if n * layers > largest:
        raise InputError(
            explain(
                f"a graph of {n} nodes" + (f" with {layers} layers of edge labels" if layers > 1 else ""),
                f"at most {largest} vertices",
                f"pass largest={n * layers} to frames.Relabel if time and memory allow, add node features that tell nodes apart, "
                "or use frames.Haar(samples)",
            )
        )
    pynauty, prepared = _nauty()
    task = prepared(n, layers, colour, graph.first, graph.second, label, graph.directed)
    generators, mantissa, exponent, _, _ = pynauty.autgrp(task)
    order = np.asarray(pynauty.canon_label(task)[:n], dtype=np.int64)
    moved = np.asarray(generators, dtype=np.int64).reshape(-1, n * layers)[:, :n]
    return Label(order, moved, min(round(mantissa * 10**exponent) if exponent < 19 else MOST, MOST))


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


def walk_colours(graph: Coloured, colour: Array) -> Array:
    """(n,) hashes of how many walks of lengths up to 8 join every node with all others, modulo a prime.

    They tell most nodes of random regular graphs apart. Sums of integers below 2^53 are exact in any order.
    """
    n = len(colour)
    steps = np.zeros((n, n))
    steps[graph.first, graph.second] = graph.label % PRIME
    steps[np.arange(n), np.arange(n)] = 2 + colour
    seen = np.zeros(n, dtype=np.uint64)
    for _ in range(3):
        steps = np.fmod(steps @ steps, PRIME)
        seen = mix(seen + mix(steps.diagonal())) + mix(steps).sum(1, dtype=np.uint64)
    return seen


def refined(graph: Coloured, hashes: Array | None = None) -> Array:
    """(n,) colours told apart by the colours and labels of neighbours until nothing changes, finer than those given.

    Args:
        graph: the graph.
        hashes: (n,) invariants of the nodes that split their colours first.
    """
    colour = graph.colour if hashes is None else split(graph.colour, hashes)
    n, count = len(colour), int(colour.max(initial=-1)) + 1
    if not graph.first.size:
        return colour
    starts = [np.searchsorted(graph.first, np.arange(n + 1))]
    others, labels = [graph.second], [graph.label]
    if graph.directed:
        back = np.argsort(graph.second, kind="stable")
        starts.append(np.searchsorted(graph.second[back], np.arange(n + 1)))
        others.append(graph.first[back])
        labels.append(graph.label[back])
    salts = [None if label.max() == 1 else mix(label) for label in labels]
    while count < n:
        seen = np.zeros(n, dtype=np.uint64)
        waves = mix(colour)
        for start, other, salt in zip(starts, others, salts, strict=True):
            wave = waves[other] if salt is None else mix(waves[other] ^ salt)
            total = np.concatenate([np.zeros(1, dtype=np.uint64), np.cumsum(wave, dtype=np.uint64)])
            seen = mix(seen) + total[start[1:]] - total[start[:-1]]
        colour = split(colour, seen)
        if int(colour.max()) + 1 == count:
            break
        count = int(colour.max()) + 1
    return colour


def split(colour: Array, hashes: Array) -> Array:
    """(n,) colours in the same order, told apart by hashes."""
    order = np.lexsort((hashes, colour))
    step = (np.diff(colour[order]) != 0) | (hashes[order][1:] != hashes[order][:-1])
    found = np.empty(len(colour), dtype=np.int64)
    found[order] = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(step)])
    return found


def mix(x: Array) -> Array:
    """A fixed scrambling of 64-bit integers (the finalizer of SplitMix64)."""
    x = np.asarray(x).astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def block_labels(graph: Coloured, colour: Array) -> Array:
    """(E,) labels renumbered from 1 within each pair of colours, which needs fewer layers; 0 where they tell nothing.

    Pairs between two colours that are all there with one label are no information.
    """
    if not graph.label.size:
        return graph.label
    count = int(colour.max()) + 1
    block = colour[graph.first] * count + colour[graph.second]
    order = np.lexsort((graph.label, block))
    fresh = np.diff(block[order]) != 0
    step = np.concatenate([np.ones(1, dtype=bool), fresh | (np.diff(graph.label[order]) != 0)])
    number = np.cumsum(step)
    begin = np.maximum.accumulate(np.where(np.concatenate([np.ones(1, dtype=bool), fresh]), number, 0))
    found = np.empty_like(graph.label)
    found[order] = number - begin + 1
    size = np.bincount(colour, minlength=count)
    full = np.outer(size, size) - np.diag(size)
    kinds, pairs = np.zeros(count * count, dtype=np.int64), np.bincount(block, minlength=count * count)
    np.maximum.at(kinds, block, found)
    plain = (kinds == 1) & (pairs == full.ravel())
    return np.where(plain[block], 0, found)


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
