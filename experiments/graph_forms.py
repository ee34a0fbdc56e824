"""Canonical forms of graphs against known counts: nothing confused, nothing counted twice, every automorphism found.

Connected cubic graphs grown from smaller ones, the 8-node graphs, strongly regular graphs, the EXP and BREC pairs; every
graph is also relabelled at random and has to give the same form. Orders of automorphism groups are those of the frame,
against networkx on small graphs and against sums of n!/automorphisms, the number of labelled graphs.

Data: the folder ``graphs`` under ``COSET_DATA``.
"""

from __future__ import annotations

import json
import math
import time

import networkx as nx
import numpy as np
from _graphs import cubic_graphs, cubic_multigraphs, forms, graph6, read_exp, read_graph6, shuffled
from _results import Experiment, data

from coset import frames

CUBIC = {4: 1, 6: 2, 8: 5, 10: 19, 12: 85, 14: 509}
MULTI = {2: 2, 4: 5, 6: 17, 8: 71, 10: 388, 12: 2592}
LABELLED = {4: 1, 6: 70, 8: 19320, 10: 11166120}
ROWS: list[list[str]] = []


def check(what: str, found: object, expected: object, seconds: float | None = None) -> None:
    """Keep a row."""
    ROWS.append([what, str(found), str(expected), "met" if found == expected else "missed", "" if seconds is None else f"{seconds:.2f}"])


def not_run(what: str, expected: object) -> None:
    ROWS.append([what, "—", str(expected), "not run", ""])


def differing(graphs: list[np.ndarray], seed: int) -> int:
    """How many graphs give another form after a random relabelling."""
    return sum(a != b for a, b in zip(forms(graphs)[0], forms(shuffled(graphs, seed))[0], strict=True))


def cubic(seed: int, largest: int) -> None:
    """Counts of cubic graphs, labelled graphs and multigraphs."""
    for n in range(4, largest + 1, 2):
        start = time.perf_counter()
        graphs = cubic_graphs(n)
        seconds = time.perf_counter() - start
        check(f"connected cubic graphs, n = {n}", len(graphs), CUBIC[n], seconds)
        _, orders = forms(graphs)
        if n in LABELLED:
            check(f"labelled ones, the sum of n!/automorphisms, n = {n}", sum(math.factorial(n) // order for order in orders), LABELLED[n])
        if n <= 10:
            counted = [sum(1 for _ in nx.isomorphism.GraphMatcher(g, g).isomorphisms_iter()) for g in map(nx.from_numpy_array, graphs)]
            check(f"numbers of automorphisms unlike networkx, n = {n}", sum(a != b for a, b in zip(counted, orders, strict=True)), 0)
        check(f"forms changed by relabelling, n = {n}", differing(graphs, seed), 0)
    for n in range(2, largest - 1, 2):
        start = time.perf_counter()
        check(f"connected cubic multigraphs, n = {n}", len(cubic_multigraphs(n)), MULTI[n], time.perf_counter() - start)


def small(seed: int) -> None:
    """Single graphs with known groups."""
    check("automorphisms of Gkl?hK", forms([graph6("Gkl?hK")])[1][0], 4)
    rook = nx.to_numpy_array(nx.line_graph(nx.complete_bipartite_graph(4, 4)), dtype=np.int64)
    steps = {(1, 0), (3, 0), (0, 1), (0, 3), (1, 1), (3, 3)}
    places = [(i, j) for i in range(4) for j in range(4)]
    shrikhande = np.array([[int(((a - c) % 4, (b - d) % 4) in steps) for c, d in places] for a, b in places])
    (one, two), orders = forms([rook, shrikhande])
    check("automorphisms of the 4 x 4 rook's graph and of Shrikhande's", tuple(orders), (1152, 192))
    check("the two are told apart", one != two, True)
    atlas = [nx.to_numpy_array(g, dtype=np.int64) for g in nx.graph_atlas_g()[1:]]
    check("forms of the graphs with at most 7 nodes", len(set(forms(atlas)[0])), 1252)
    check("forms changed by relabelling", differing(atlas, seed), 0)


def file_counts(seed: int, smoke: bool) -> None:
    """Files whose graphs are all different."""
    for name, count in (("graph8c", 11117), ("sr251256", 15)):
        path = data("graphs", f"{name}.g6")
        if path is None:
            not_run(f"forms of {name}", count)
            continue
        graphs = read_graph6(path)[: 400 if smoke else None]
        start = time.perf_counter()
        found = len(set(forms(graphs)[0]))
        check(f"forms of {name}", found, min(count, len(graphs)), time.perf_counter() - start)
        check(f"forms of {name} changed by relabelling", differing(graphs, seed), 0)


def pairs(seed: int, smoke: bool) -> None:
    """Pairs of graphs that colour refinement cannot tell apart."""
    path = data("graphs", "exp.npz")
    if path is None:
        not_run("EXP pairs told apart", 600)
    else:
        graphs, kinds = read_exp(path)
        graphs, kinds = graphs[: 40 if smoke else None], kinds[: 40 if smoke else None]
        start = time.perf_counter()
        found, _ = forms(graphs, kinds)
        seconds = time.perf_counter() - start
        check("EXP pairs told apart", sum(a != b for a, b in zip(found[::2], found[1::2], strict=True)), len(graphs) // 2, seconds)
        check("EXP pairs told apart without node types", apart(graphs), len(graphs) // 2)
    path, parts = data("graphs", "brec_pairs.g6"), data("graphs", "brec_parts.json")
    if path is None or parts is None:
        not_run("BREC pairs told apart", 400)
        return
    graphs = read_graph6(path)
    for part in json.loads(parts.read_text())["parts"]:
        inside = graphs[2 * part["first_pair"] : 2 * part["end_pair"]][: 8 if smoke else None]
        start = time.perf_counter()
        found = apart(inside)
        seconds = time.perf_counter() - start
        sizes = f"{min(map(len, inside))} to {max(map(len, inside))} nodes"
        check(f"BREC pairs told apart: {part['name']}, {sizes}", found, len(inside) // 2, seconds)
        check(f"BREC {part['name']}: forms changed by relabelling", differing(inside, seed), 0)


def apart(graphs: list[np.ndarray]) -> int:
    """How many of the pairs (0, 1), (2, 3), ... have different forms."""
    found, _ = forms(graphs)
    return sum(a != b for a, b in zip(found[::2], found[1::2], strict=True))


def main() -> None:
    """One table."""
    experiment = Experiment("Canonical forms of graphs")
    options = experiment.parse()
    cubic(options.seed, 8 if options.smoke else 14)
    small(options.seed)
    file_counts(options.seed, options.smoke)
    pairs(options.seed, options.smoke)
    experiment.table(
        ["what", "found", "known", "status", "seconds"],
        ROWS,
        f"Counts and orders by `{frames.Relabel()!r}`; seconds are those of labelling (of growing and labelling for cubic graphs).",
    )
    experiment.finish()


if __name__ == "__main__":
    main()
