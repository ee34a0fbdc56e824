"""Nodes that an automorphism exchanges should get equal outputs: the error of sampled frames on five small graphs, against their number.

A perceptron with random weights reads the adjacency matrix and gives one number per node. Two errors are measured on relabelled
copies of each graph, relative to the size of the network's outputs: the spread of outputs within orbits of the automorphism
group, and the spread between copies of what one node gets. Independent noise leaves c / sqrt(k) at k elements; noise that is
coupled to the graph leaves rounding.

Reference: Kim et al. 2023, arXiv 2306.02866, section 3.1.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import networkx as nx
import numpy as np
import torch
from _results import HERE, Experiment
from torch import Tensor, nn

import coset
from coset import actions, frames, groups
from coset.nn import GIN

S = groups.Symmetric()
SOURCE, TARGET = actions.Permute(S, -2, -1), actions.Permute(S, -1)
COUNTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
BOUND = {torch.float32: 1e-5, torch.float64: 1e-12}


def toys() -> dict[str, nx.Graph]:
    """Five graphs, with 1, 720, 12, 14 and 8 automorphisms."""
    broom = nx.Graph([(0, 1), (0, 2), (0, 3), (0, 4), (4, 5), (4, 6)])
    spider = nx.Graph([(0, 1), (0, 2), (2, 3), (0, 4), (4, 5), (5, 6)])
    return {
        "tree without automorphisms": spider,
        "star, 6 leaves": nx.star_graph(6),
        "double broom": broom,
        "cycle of 7": nx.cycle_graph(7),
        "grid 5 x 5": nx.convert_node_labels_to_integers(nx.grid_2d_graph(5, 5), ordering="sorted"),
    }


def orbits(graph: nx.Graph) -> Tensor:
    """(n,) the number of the orbit of each node, from all automorphisms."""
    found = {node: node for node in graph}
    for one in nx.isomorphism.GraphMatcher(graph, graph).isomorphisms_iter():
        for node, image in one.items():
            found[node] = min(found[node], image)
    return torch.tensor([found[node] for node in range(len(graph))]).unique(return_inverse=True)[1]


class Perceptron(nn.Module):
    """The adjacency matrix (B, n, n) to one number per node (B, n); it sees their order."""

    def __init__(self, n: int):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(n * n, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, n))

    def forward(self, adjacency: Tensor) -> Tensor:
        """(B, n)."""
        return self.net(adjacency.flatten(1))  # type: ignore[no-any-return]


Maker = Callable[[nn.Module, int, torch.Generator], frames.Frame]
METHODS: dict[str, Maker] = {
    "group average": lambda q, k, g: frames.Haar(k, generator=g),
    "independent noise": lambda q, k, g: frames.Probabilistic(q, frames.Argsort(0.01), samples=k, coupled=False, generator=g),
    "coupled noise": lambda q, k, g: frames.Probabilistic(q, frames.Argsort(0.01), samples=k, generator=g),
    "exact frame": lambda q, k, g: frames.Relabel(),
}


@torch.no_grad()
def errors(graph: nx.Graph, maker: Maker, count: int, dtype: torch.dtype, seed: int, copies: int) -> tuple[float, float]:
    """Spread within orbits, and between relabelled copies, relative to the size of what the network itself returns."""
    torch.manual_seed(seed)
    n, generator = len(graph), torch.Generator().manual_seed(seed)
    x = torch.from_numpy(nx.to_numpy_array(graph, nodelist=range(n))).to(dtype).expand(copies, n, n)
    base, network = Perceptron(n).to(dtype), GIN(SOURCE, x[:1]).to(dtype)
    model = coset.symmetrize(base, SOURCE >> TARGET, maker(network, count, generator), chunk=20_000).eval()
    p = S.at(n).haar(copies, generator=generator)
    y = TARGET.act(S.inverse(p), model(SOURCE.act(p, x)))  # what the nodes of the first labelling get, one row for each copy
    size = base(SOURCE.act(p, x)).square().mean().sqrt()
    same = nn.functional.one_hot(orbits(graph)).to(dtype)
    within = y - y @ (same / same.sum(0)) @ same.mT
    return float(within.square().mean().sqrt() / size), float((y - y.mean(0)).square().mean().sqrt() / size)


def slope(counts: tuple[int, ...], values: list[float]) -> float:
    """Of the error against the number of elements, both on logarithmic scales."""
    return float(np.polyfit(np.log(counts), np.log(values), 1)[0])


def draw(found: dict[str, dict[str, list[tuple[float, float]]]], counts: tuple[int, ...], path: Path) -> None:
    """Spread within orbits, and between copies, against the number of elements; zeros are drawn at 1e-18."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    styles = {"group average": ":", "independent noise": "-", "coupled noise, float32": "--", "coupled noise, float64": "-."}
    figure, axes = plt.subplots(1, 2, figsize=(11, 4.6), layout="constrained", sharey=True)
    for panel, which, title in zip(axes, (0, 1), ("between automorphic nodes", "between relabelled copies"), strict=True):
        for colour, (name, methods) in enumerate(found.items()):
            for method, style in styles.items():
                values = np.array(methods[method])[:, which].clip(1e-18)
                if not (which == 0 and "without" in name):
                    panel.plot(counts, values, style, color=f"C{colour}", linewidth=1.3)
        grey = [plt.Line2D([], [], color="grey", linestyle=style, label=method) for method, style in styles.items()]
        named = [plt.Line2D([], [], color=f"C{number}", label=name) for number, name in enumerate(found)]
        panel.plot(counts, 0.3 / np.sqrt(counts), color="black", linewidth=0.8)
        panel.annotate(r"$1/\sqrt{k}$", (counts[-1], 0.3 / counts[-1] ** 0.5), (-40, -16), fontsize=9, textcoords="offset points")
        panel.set(xscale="log", yscale="log", xlabel="elements k, that is model calls", title=title)
        panel.grid(alpha=0.3)
    axes[0].legend(handles=grey, fontsize=8, loc=(0.02, 0.6))
    axes[1].legend(handles=named, fontsize=8, loc=(0.02, 0.22))
    axes[0].set(ylabel="spread / size of outputs")
    figure.savefig(path, dpi=130)


def main() -> None:
    """Two tables and a plot."""
    experiment = Experiment("Automorphic nodes: error against the number of elements, with and without coupled noise")
    options = experiment.parse()
    counts, copies = (COUNTS[:4], 4) if options.smoke else (COUNTS, 24)
    found: dict[str, dict[str, list[tuple[float, float]]]] = {}
    lines, aims = [], []
    for name, graph in toys().items():
        found[name] = {}
        for method, dtype in [(one, torch.float32) for one in METHODS] + [("coupled noise", torch.float64)]:
            label = f"{method}, {str(dtype).removeprefix('torch.')}" if method == "coupled noise" else method
            found[name][label] = [errors(graph, METHODS[method], k, dtype, options.seed, copies) for k in counts]
            shown = [found[name][label][counts.index(k)] for k in (counts[0], counts[len(counts) // 2], counts[-1])]
            lines.append([name, label, *(f"{value[which]:.1e}" for which in (0, 1) for value in shown)])
        rate = slope(counts, [value[1] for value in found[name]["independent noise"]])
        aims.append([name, "slope with independent noise", f"{rate:.2f}", "-0.5 ± 0.1", "met" if abs(rate + 0.5) <= 0.1 else "missed"])
        for dtype, bound in BOUND.items():
            worst = max(max(value) for value in found[name][f"coupled noise, {str(dtype).removeprefix('torch.')}"])
            what = f"largest error with coupled noise, {str(dtype).removeprefix('torch.')}"
            aims.append([name, what, f"{worst:.1e}", f"{bound:g}", "met" if worst <= bound else "missed"])
    ends = [f"k = {k}" for k in (counts[0], counts[len(counts) // 2], counts[-1])]
    columns = ["graph", "frame", *(f"{what}, {end}" for what in ("nodes", "copies") for end in ends)]
    caption = (
        f"Spread of outputs between automorphic nodes (nodes) and between {copies} relabelled copies of a graph (copies), relative to the "
        "root mean square of what the network returns; a perceptron and a GIN with random weights, no training. Graphs with automorphisms "
        "tie the network without noise, so that there the exact frame places the coupled noise. An error of coupled noise above rounding "
        "comes from a draw with two nearly equal scores, which rounding orders: its share is 1/k of the output."
    )
    experiment.table(columns, lines, caption)
    experiment.table(["graph", "what", "found", "bound", "status"], aims)
    if not options.smoke:
        draw(found, counts, HERE / "automorphism.png")
        experiment.parts.append("![Spread against elements](automorphism.png)")
    experiment.finish()


if __name__ == "__main__":
    main()
