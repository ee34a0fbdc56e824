"""How much of the eigenvectors of real graphs is canonical: signs, bases, and positional encodings that are functions of the graph.

For each set of graphs: the share of simple eigenvalues whose sign is fixed, of multiple ones whose basis is, of graphs where
everything is, and of graphs where averaging over at most 64 bases makes every model exact. Then what a user measures:
nodes are put in another order and every eigenspace gets another basis, and the encoding has to follow: this method, the same
with random signs, and absolute values. Sets: bonds of the g2 molecules, all connected graphs of 8 nodes, connected cubic graphs,
trees, ENZYMES. Laplacians are normalized, eigenspaces are never cut.

Reference: Ma et al. 2024, arXiv 2405.18378.
"""

from __future__ import annotations

import time
import warnings

import networkx as nx
import numpy as np
import torch
from _graphs import cubic_graphs, read_graph6
from _results import Experiment, data
from torch import Tensor

from coset import actions, frames, groups

TRIALS = 8
"""Random orders and bases that an encoding has to follow."""

Graph = tuple[np.ndarray, np.ndarray]
"""An adjacency matrix and a label for every node."""

CHUNK = 400_000
"""Entries of adjacency matrices per batch."""


def molecules() -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Bond graphs of the g2 molecules of two atoms or more, and their atomic numbers."""
    from ase.collections import g2
    from ase.neighborlist import natural_cutoffs, neighbor_list

    bonds, species = [], []
    for name in g2.names:
        atoms = g2[name]
        if len(atoms) < 2:
            continue
        dense = np.zeros((len(atoms), len(atoms)))
        i, j = neighbor_list("ij", atoms, natural_cutoffs(atoms, mult=1.2))
        dense[i, j] = 1
        bonds.append(dense)
        species.append(atoms.numbers.astype(int))
    return bonds, species


def enzymes() -> list[np.ndarray] | None:
    """The 600 graphs of ENZYMES."""
    path = data("graphs", "tu_enzymes.npz")
    if path is None:
        return None
    found = []
    with np.load(path) as raw:
        nodes, edges, pairs = raw["node_offsets"], raw["edge_offsets"], raw["edge_index"].astype(int)
        for a, b, c, d in zip(nodes[:-1], nodes[1:], edges[:-1], edges[1:], strict=True):
            dense = np.zeros((b - a, b - a))
            dense[pairs[0, c:d], pairs[1, c:d]] = 1
            found.append(np.maximum(dense, dense.T))
    return found


def plain(graphs: list[np.ndarray]) -> list[Graph]:
    """Graphs whose nodes have no labels."""
    return [(one, np.zeros(len(one), dtype=int)) for one in graphs]


def sets(smoke: bool) -> dict[str, list[Graph] | None]:
    """Adjacency matrices and labels of nodes by the name of the set; None where the data is not there."""
    path = data("graphs", "graph8c.g6")
    step = 60 if smoke else 1
    small = None if path is None else plain(read_graph6(path))[::step]
    bonds, species = molecules()
    sizes = (4, 6, 8) if smoke else (4, 6, 8, 10, 12)
    known = enzymes()
    return {
        "g2 bond graphs": plain(bonds)[::step],
        "g2 bond graphs with species": list(zip(bonds, species, strict=True))[::step],
        "connected, 8 nodes": small,
        f"connected cubic, {sizes[0]} to {sizes[-1]} nodes": plain([one for n in sizes for one in cubic_graphs(n)]),
        "trees, 10 nodes": plain([nx.to_numpy_array(tree) for tree in nx.nonisomorphic_trees(10)])[::step],
        "ENZYMES": None if known is None else plain(known)[::step],
    }


def laplacian(dense: np.ndarray) -> Tensor:
    """The normalized Laplacian."""
    degree = dense.sum(1)
    scale = np.where(degree > 0, np.maximum(degree, 1) ** -0.5, 0.0)
    return torch.as_tensor(np.diag((degree > 0).astype(float)) - scale[:, None] * dense * scale)


def padded(operators: list[Tensor], labels: list[Tensor]) -> dict[str, Tensor]:
    """Eigenvectors, eigenvalues, masks and labels of one batch."""
    n = max(len(one) for one in operators)
    vectors, values = torch.zeros(len(operators), n, n, dtype=torch.float64), torch.zeros(len(operators), n, dtype=torch.float64)
    mask, label = torch.zeros(len(operators), n, dtype=torch.bool), torch.zeros(len(operators), n, dtype=torch.long)
    for b, one in enumerate(operators):
        m = len(one)
        values[b, :m], vectors[b, :m, :m] = torch.linalg.eigh(one)
        mask[b, :m], label[b, :m] = True, labels[b]
    return {"vectors": vectors, "values": values, "mask": mask, "label": label}


def frame_for(n: int) -> frames.Eigenvectors:
    """The frame, bound to eigenvectors of at most n nodes."""
    group = groups.Orthogonal(n)
    source = actions.Dict(
        vectors=actions.Vectors(group, points=True, mask="mask"),
        values=actions.Trivial(group, points=False),
        mask=actions.PointMask(group),
        label=actions.Trivial(group, points=True),
    )
    return frames.Eigenvectors(colours="label").bind(source)


def orders_of(operators: list[Tensor], generator: torch.Generator) -> list[Tensor]:
    """A random order of the nodes of each graph."""
    return [torch.randperm(len(one), generator=generator) for one in operators]


def turned(inputs: dict[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
    """Another orthonormal basis in every eigenspace: the eigenvectors of the operator in a random basis."""
    vectors = inputs["vectors"].clone()
    for b, mask in enumerate(inputs["mask"]):
        m = int(mask.sum())
        values = inputs["values"][b, :m]
        start = torch.cat([torch.tensor([True]), values[1:] - values[:-1] > 1e-5 * values.abs().max()]).nonzero().flatten().tolist()
        for low, high in zip(start, [*start[1:], m], strict=True):
            q = torch.linalg.qr(torch.randn(high - low, high - low, generator=generator, dtype=torch.float64))[0]
            vectors[b, :m, low:high] = vectors[b, :m, low:high] @ q * torch.randn((), generator=generator).sign()
    return {**inputs, "vectors": vectors}


def follows(one: Tensor, two: Tensor, orders: list[Tensor]) -> Tensor:
    """(B,) whether encodings of reordered graphs are the reordered encodings."""
    return torch.tensor([bool((one[b, order] - two[b, : len(order)]).abs().max() < 1e-6) for b, order in enumerate(orders)])


def study(graphs: list[Graph], generator: torch.Generator) -> dict[str, int]:
    """Counts over one set."""
    total: dict[str, int] = dict.fromkeys(("graphs", "signs", "signs fixed", "bases", "bases fixed", "canonical", "exact"), 0)
    total |= dict.fromkeys(("ours", "broken", "random signs", "absolute"), 0)
    graphs = sorted(graphs, key=lambda graph: len(graph[0]))
    while graphs:
        count = max(1, min(len(graphs), CHUNK // len(graphs[0][0]) ** 2))
        while count > 1 and count * len(graphs[count - 1][0]) ** 2 > CHUNK:
            count = count * 3 // 4
        part, graphs = graphs[:count], graphs[count:]
        operators, labels = [laplacian(dense) for dense, _ in part], [torch.as_tensor(label) for _, label in part]
        one = padded(operators, labels)
        frame = frame_for(one["mask"].shape[1])
        report, mine = frame.report(one), frame.canonical(one)[0]
        same, flipped, absolute = (torch.ones(len(part), dtype=torch.bool) for _ in range(3))
        for _ in range(TRIALS):
            orders = orders_of(operators, generator)
            other = [matrix[order][:, order] for matrix, order in zip(operators, orders, strict=True)]
            two = turned(padded(other, [label[order] for label, order in zip(labels, orders, strict=True)]), generator)
            signs = torch.randn(2, len(part), 1, mine.shape[2], generator=generator).sign()
            same &= follows(mine, frame.canonical(two)[0], orders)
            flipped &= follows(one["vectors"] * signs[0], two["vectors"] * signs[1], orders)
            absolute &= follows(one["vectors"].abs(), two["vectors"].abs(), orders)
        values = {
            "graphs": len(part),
            "signs": report.signs.sum(),
            "signs fixed": report.signs_fixed.sum(),
            "bases": report.bases.sum(),
            "bases fixed": report.bases_fixed.sum(),
            "canonical": report.canonical.sum(),
            "exact": report.exact.sum(),
            "ours": same.sum(),
            "broken": (report.canonical & ~same).sum(),
            "random signs": flipped.sum(),
            "absolute": absolute.sum(),
        }
        for key, value in values.items():
            total[key] += int(value)
    return total


def share(part: int, whole: int) -> str:
    """A percentage with the count."""
    return f"{100 * part / whole:.1f} % of {whole}" if whole else "none"


def main() -> None:
    """One table."""
    experiment = Experiment("Signs and bases of eigenvectors that are functions of the graph")
    options = experiment.parse()
    generator = torch.Generator().manual_seed(options.seed)
    warnings.simplefilter("ignore")
    rows = []
    for name, graphs in sets(options.smoke).items():
        if graphs is None:
            rows.append([name, *["not run"] * 9])
            continue
        start = time.perf_counter()
        found = study(graphs, generator)
        n = found["graphs"]
        rows.append(
            [
                f"{name} ({n})",
                share(found["signs fixed"], found["signs"]),
                share(found["bases fixed"], found["bases"]),
                *(f"{100 * found[key] / n:.1f} %" for key in ("canonical", "exact", "ours", "random signs", "absolute")),
                "met" if found["broken"] == 0 else f"missed by {found['broken']}",
                f"{time.perf_counter() - start:.0f}",
            ]
        )
    columns = ["graphs", "signs fixed", "bases fixed", "all canonical", "exact with ≤ 64 calls"]
    columns += ["measured: this", "random signs", "absolute values", "canonical ones follow", "s"]
    experiment.table(
        columns,
        rows,
        "Shares of simple eigenvalues, multiple eigenvalues and graphs. Measured: the encoding follows when nodes are reordered and every "
        "eigenspace gets another basis.",
    )
    experiment.finish()


if __name__ == "__main__":
    main()
