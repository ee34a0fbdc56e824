"""Tell the nodes of a coloured graph apart by what surrounds them, independently of their order.

Surroundings are hashed with 64 bits, in exact integers; a collision of hashes only leaves work to nauty and never
changes a result.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

SPARSE, WALKS = 512, 2048
"""Numbers of nodes from which sparse sums are faster than products of matrices, and up to which products are taken."""
PRIME = 1048573
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


def walk_colours(graph: Coloured, colour: Array) -> Array:
    """(n,) hashes of how many walks of lengths up to 8 join every node with all others.

    They tell most nodes of random regular graphs apart. Counts are kept modulo a prime, so that sums of floats are exact
    in any order, or modulo 2^64 where the graph is large and sparse; zeros where counting would take too long.
    """
    n = len(colour)
    if n > SPARSE and 128 * len(graph.first) < n * n:
        return _sparse_walks(graph, colour)
    if n > WALKS:
        return np.zeros(n, dtype=np.uint64)
    steps = np.zeros((n, n))
    steps[graph.first, graph.second] = graph.label % PRIME
    steps[np.arange(n), np.arange(n)] = 2 + colour
    seen = np.zeros(n, dtype=np.uint64)
    for _ in range(3):
        steps = np.fmod(steps @ steps, PRIME)
        seen = mix(seen + mix(steps.diagonal())) + mix(steps).sum(1, dtype=np.uint64)
    return seen


def _sparse_walks(graph: Coloured, colour: Array) -> Array:
    """The same step by step, a block of starting nodes at a time."""
    n, seen = len(colour), np.zeros((2, len(colour)), dtype=np.uint64)
    begin = np.searchsorted(graph.first, np.arange(n))
    busy = np.flatnonzero(np.bincount(graph.first, minlength=n))
    still, label = (2 + colour).astype(np.uint64)[:, None], graph.label.astype(np.uint64)[:, None]
    block = max(1, 2**21 // max(1, len(graph.first)))
    for start in range(0, n, block):
        inside = np.arange(start, min(n, start + block))
        walks = np.zeros((n, len(inside)), dtype=np.uint64)
        walks[inside, np.arange(len(inside))] = 1
        for step in range(8):
            moved = walks * still
            moved[busy] += np.add.reduceat(walks[graph.second] * label, begin[busy], axis=0)
            walks = moved
            if step in (3, 7):
                seen[step // 4] += mix(walks).sum(1, dtype=np.uint64)
                seen[step // 4, inside] += mix(mix(walks[inside, np.arange(len(inside))]))
    return mix(seen[0]) + seen[1]


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
