"""How long does a canonical label take? The frame against pynauty's own time on the same graphs, and against its parts."""

from __future__ import annotations

import networkx as nx
import pynauty
import torch
from _bench import Bench, medians

from coset import Symmetrized, actions, frames, groups
from coset.actions.base import Action

S = groups.Symmetric()
LARGEST_RATIO = 3.0
"""How much longer than pynauty's certificate of the same graph the frame may take at n = 300."""


def kinds(n: int, seed: int) -> dict[str, nx.Graph]:
    """Random graphs; degree and density as a user would draw them."""
    return {
        "random cubic": nx.random_regular_graph(3, n, seed=seed),
        "random 10-regular": nx.random_regular_graph(10, n, seed=seed),
        "Erdos-Renyi, mean degree 6": nx.gnp_random_graph(n, 6 / n, seed=seed),
        "Erdos-Renyi, p = 0.5": nx.gnp_random_graph(n, 0.5, seed=seed),
    }


def symmetric(n: int) -> dict[str, nx.Graph]:
    """Graphs with large groups, about n nodes."""
    side = round(n**0.5)
    return {
        "complete": nx.complete_graph(n),
        "star": nx.star_graph(n - 1),
        "ring": nx.cycle_graph(n),
        f"rook {side} x {side}": nx.line_graph(nx.complete_bipartite_graph(side, side)),
        "random tree": nx.random_labeled_tree(n, seed=0),
    }


def adjacency(graph: nx.Graph) -> torch.Tensor:
    """A batch of one."""
    return torch.from_numpy(nx.to_numpy_array(graph))[None]


def against_pynauty(bench: Bench, n: int, repeats: int) -> None:
    """Frame, dense and sparse, over pynauty: its certificate alone, and building its graph from lists too."""
    for name, graph in kinds(n, bench.options.seed).items():
        x, lists = adjacency(graph), {v: list(graph[v]) for v in graph}
        ready = pynauty.Graph(n, adjacency_dict=lists)
        frame = frames.Relabel().bind(actions.Permute(S, -2, -1))
        source = actions.Dict(x=actions.Nodes(S), edge_index=actions.Edges(S))
        sparse = frames.Relabel().bind(source)
        data = {"x": torch.zeros(n), "edge_index": x[0].nonzero().T.contiguous()}
        dense, ragged, own, whole = medians(
            repeats,
            lambda frame=frame, x=x: frame(x),
            lambda sparse=sparse, data=data: sparse(data),
            lambda ready=ready: pynauty.certificate(ready),
            lambda lists=lists: pynauty.certificate(pynauty.Graph(n, adjacency_dict=lists)),
        )
        bound = LARGEST_RATIO if n == 300 else None
        title = f"{name}, n = {n}"
        bench.add(f"{title}: frame, dense", 1e3 * dense, " ms")
        bench.add(f"{title}: frame, edge list", 1e3 * ragged, " ms")
        bench.add(f"{title}: pynauty certificate, graph built before", 1e3 * own, " ms")
        bench.add(f"{title}: pynauty, graph built from lists and certificate", 1e3 * whole, " ms")
        bench.add(f"{title}: dense / pynauty", dense / whole, " x", at_most=bound)
        bench.add(f"{title}: edge list / pynauty", ragged / whole, " x", at_most=bound)
        bench.add(f"{title}: dense / pynauty certificate alone", dense / own, " x")


def whole_calls(bench: Bench, n: int) -> None:
    """One symmetrized call with outputs per pair, whose orbits are computed; groups are far too large to list."""
    source: Action = actions.Permute(S, -2, -1)
    for name, graph in symmetric(n).items():
        x = adjacency(graph)
        size = x.shape[-1]
        weight = torch.randn(size, size, dtype=x.dtype)
        frame = frames.Relabel().bind(source)
        model = Symmetrized(lambda a, weight=weight: a * weight + weight, source >> source, frames.Relabel())
        label, total = medians(3, lambda frame=frame, x=x: frame(x), lambda model=model, x=x: model(x))
        bench.add(f"{name}, n = {size}: label and generators", 1e3 * label, " ms")
        bench.add(f"{name}, n = {size}: symmetrized, outputs per pair averaged", 1e3 * total, " ms")


def batches(bench: Bench, n: int, batch: int, repeats: int) -> None:
    """A batch of small graphs: the host labels one after the other."""
    x = torch.stack([adjacency(nx.gnp_random_graph(n, 0.2, seed=k))[0] for k in range(batch)])
    frame = frames.Relabel().bind(actions.Permute(S, -2, -1))
    together, loop = medians(repeats, lambda: frame(x), lambda: [frame(x[b : b + 1]) for b in range(batch)])
    bench.add(f"{batch} graphs of {n} nodes", 1e3 * together, " ms")
    bench.add(f"{batch} graphs of {n} nodes: one call / a loop of calls", together / loop, " x")


def main() -> None:
    """Run all sizes."""
    bench = Bench("Graphs in canonical order")
    sizes = [30] if bench.smoke else [30, 100, 300]
    for n in sizes:
        against_pynauty(bench, n, 3 if bench.smoke else (5 if n == 300 else 15))
    whole_calls(bench, 40)
    if not bench.smoke:
        whole_calls(bench, 300)
    batches(bench, 25, 16 if bench.smoke else 256, 3)
    bench.finish()


if __name__ == "__main__":
    main()
