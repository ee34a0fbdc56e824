"""Graphs for experiments: graph6, cubic graphs from smaller ones, and canonical forms of many graphs at once."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from itertools import combinations_with_replacement
from pathlib import Path

import numpy as np
import torch

from coset import actions, frames, groups

S = groups.Symmetric()


def graph6(line: str) -> np.ndarray:
    """The adjacency matrix of a graph6 string (at most 62 nodes, or the 4-byte header)."""
    values = np.frombuffer(line.strip().removeprefix(">>graph6<<").encode(), dtype=np.uint8).astype(np.int64) - 63
    if values[0] == 63:
        n, rest = int(values[1] << 12 | values[2] << 6 | values[3]), values[4:]
    else:
        n, rest = int(values[0]), values[1:]
    bits = (rest[:, None] >> np.arange(5, -1, -1) & 1).ravel()[: n * (n - 1) // 2]
    matrix = np.zeros((n, n), dtype=np.int64)
    columns, rows = np.tril_indices(n, -1)
    matrix[rows, columns] = bits
    return matrix + matrix.T


def read_graph6(path: Path) -> list[np.ndarray]:
    """The graphs of a file."""
    return [graph6(line) for line in path.read_text().split()]


def read_exp(path: Path) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Adjacency matrices and node types of the EXP graphs; graphs 2i and 2i + 1 are a pair."""
    data = np.load(path)
    matrices, kinds = [], []
    for g in range(len(data["y"])):
        nodes = slice(data["node_offsets"][g], data["node_offsets"][g + 1])
        edges = data["edge_index"][:, data["edge_offsets"][g] : data["edge_offsets"][g + 1]]
        matrix = np.zeros((nodes.stop - nodes.start,) * 2, dtype=np.int64)
        matrix[edges[0], edges[1]] = 1
        matrices.append(matrix)
        kinds.append(data["node_type"][nodes].astype(np.int64))
    return matrices, kinds


def forms(graphs: Iterable[np.ndarray], colours: Iterable[np.ndarray] | None = None) -> tuple[list[bytes], list[int]]:
    """What identifies each graph up to isomorphism, and the number of its automorphisms."""
    source = actions.Dict(adjacency=actions.Permute(S, -2, -1), colour=actions.Permute(S, -1))
    frame = frames.Relabel().bind(source)
    graphs = list(graphs)
    tints = list(colours) if colours is not None else [np.zeros(len(graph), dtype=np.int64) for graph in graphs]
    found, orders = [b""] * len(graphs), [0] * len(graphs)
    sizes = np.array([len(graph) for graph in graphs])
    for n in np.unique(sizes):
        here = np.flatnonzero(sizes == n)
        for part in np.array_split(here, max(1, len(here) * n * n // 2_000_000)):
            x = {
                "adjacency": torch.from_numpy(np.stack([graphs[k] for k in part])),
                "colour": torch.from_numpy(np.stack([tints[k] for k in part])),
            }
            measure = frame(x)
            moved = source.act(S.inverse(measure.elements[0]), x)
            for place, k in enumerate(part):
                found[k] = (
                    bytes([n]) + moved["adjacency"][place].to(torch.uint8).numpy().tobytes() + moved["colour"][place].numpy().tobytes()
                )
                orders[k] = int(measure.order[place])
    return found, orders


def shuffled(graphs: list[np.ndarray], seed: int) -> list[np.ndarray]:
    """The graphs with their nodes in random order."""
    generator = np.random.default_rng(seed)
    orders = [generator.permutation(len(graph)) for graph in graphs]
    return [graph[np.ix_(order, order)] for graph, order in zip(graphs, orders, strict=True)]


@cache
def cubic_multigraphs(n: int) -> list[np.ndarray]:
    """All connected cubic multigraphs with n nodes; loops stand on the diagonal and count twice for the degree.

    Removing an edge that is neither bridge nor loop and smoothing its two ends gives a smaller one, so a graph comes from
    one with two nodes less by joining the midpoints of two edges, or of one edge subdivided twice. Where all cycles are
    loops, removing a node with a loop does the same.
    """
    if n == 2:
        return [np.array([[0, 3], [3, 0]]), np.array([[1, 1], [1, 1]])]
    return distinct(grown(cubic_multigraphs(n - 2)))


def cubic_graphs(n: int) -> list[np.ndarray]:
    """All connected simple cubic graphs with n nodes."""
    return distinct(graph for graph in grown(cubic_multigraphs(n - 2)) if graph.max() == 1 and not graph.diagonal().any())


def grown(graphs: Iterable[np.ndarray]) -> Iterable[np.ndarray]:
    """Every way to add two joined nodes to each graph: both on edges, or one on an edge and the other with a loop."""
    for graph in graphs:
        n = len(graph)
        edges = [(i, j) for i in range(n) for j in range(i, n) for _ in range(graph[i, j])]
        known = set()
        for one, two in combinations_with_replacement(range(len(edges)), 2):
            (i, j), pair = edges[one], (edges[one], edges[two], one == two)
            if pair in known:  # parallel edges
                continue
            known.add(pair)
            if one == two:
                yield _with(graph, [(i, j)], [(n, n + 1), (i, n), (n, n + 1), (n + 1, j)])
                yield _with(graph, [(i, j)], [(n, n + 1), (i, n), (n, j), (n + 1, n + 1)])
            else:
                links = [(end, n + number) for number, edge in enumerate((edges[one], edges[two])) for end in edge]
                yield _with(graph, [edges[one], edges[two]], [(n, n + 1), *links])


def _with(graph: np.ndarray, removed: list[tuple[int, int]], links: list[tuple[int, int]]) -> np.ndarray:
    """A graph with two more nodes, some edges less and some more."""
    n = len(graph)
    new = np.zeros((n + 2, n + 2), dtype=np.int64)
    new[:n, :n] = graph
    for i, j in removed:
        _add(new, i, j, -1)
    for i, j in links:
        _add(new, i, j, 1)
    return new


def _add(matrix: np.ndarray, i: int, j: int, count: int) -> None:
    matrix[i, j] += count
    if i != j:
        matrix[j, i] += count


def distinct(graphs: Iterable[np.ndarray], block: int = 20_000) -> list[np.ndarray]:
    """One graph of each isomorphism class."""
    known: dict[bytes, np.ndarray] = {}
    several: list[np.ndarray] = []

    def settle() -> None:
        found, _ = forms(several)
        for form, graph in zip(found, several, strict=True):
            known.setdefault(form, graph)
        several.clear()

    for graph in graphs:
        several.append(graph)
        if len(several) == block:
            settle()
    settle()
    return list(known.values())
