"""Cases of the frame of graphs, dense, padded and ragged; ``frames.py`` adds them to the zoo."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from coset import actions, frames, groups

from .frames import BATCH, LENGTHS, NODES, PER_NODE, RAGGED_LAWS, FrameCase, Make, Out, Symmetric, case, graphs

S = groups.Symmetric()
RAGGED_GRAPH = actions.Dict(x=actions.Nodes(S), edge_index=actions.Edges(S), edge_attr=actions.Trivial(S), batch=actions.BatchIndex(S))
PER_EDGE = actions.Dict(nodes=actions.Nodes(S), edges=actions.Trivial(S, edges="edge_index"), energy=actions.Trivial(S))
PADDED_GRAPH = actions.Dict(x=actions.Permute(S, -2), adjacency=actions.Permute(S, -2, -1), mask=actions.PointMask(S))


def ring(n: int) -> Tensor:
    """The adjacency matrix of a cycle."""
    eye = torch.eye(n, dtype=torch.float64)
    return ((eye.roll(1, 0) + eye.roll(-1, 0)) > 0).double()


def named(n: int) -> dict[str, Tensor]:
    """Symmetric graphs with n nodes, n at least 5."""
    complete = torch.ones(n, n, dtype=torch.float64) - torch.eye(n, dtype=torch.float64)
    star = torch.zeros(n, n, dtype=torch.float64)
    star[0, 1:] = star[1:, 0] = 1
    path = ring(n)
    path[0, -1] = path[-1, 0] = 0
    return {
        "ring": ring(n),
        "complete": complete,
        "empty": torch.zeros(n, n, dtype=torch.float64),
        "star": 0.3 * star,
        "path with loops": path + torch.eye(n, dtype=torch.float64),
        "directed ring": torch.eye(n, dtype=torch.float64).roll(1, 0),
    }


def symmetric_graphs(n: int, channels: int = 0) -> Symmetric:
    """Every symmetric graph, twice, relabelled, without features and with features that break some of the symmetry."""

    def make(generator: torch.Generator, dtype: torch.dtype) -> list[tuple[str, Any]]:
        found = []
        for name, matrix in named(n).items():
            for features in ("", ", one marked"):
                x = torch.zeros(2, n, 2, dtype=dtype)
                x[:, 0] = float(bool(features))
                g = groups.Symmetric(n).sample(2, generator=generator)
                data = NODES.act(g, {"x": x, "adjacency": matrix.to(dtype).expand(2, n, n)})
                if channels:
                    data["adjacency"] = torch.stack([data["adjacency"], 0.5 * data["adjacency"].mT], 1)
                found.append((name + features, data))
        return found

    return make


def channels(n: int) -> Make:
    """Node features and adjacency with two channels in front."""

    def make(generator: torch.Generator, dtype: torch.dtype) -> dict[str, Tensor]:
        x = graphs(n)(generator, dtype)
        return {**x, "adjacency": torch.randn(BATCH, 2, n, n, generator=generator, dtype=dtype)}

    return make


def sparse(n: int) -> Make:
    """Float features and a boolean adjacency matrix, some nodes of which have equal neighbours."""

    def make(generator: torch.Generator, dtype: torch.dtype) -> dict[str, Tensor]:
        x = graphs(n)(generator, dtype)
        return {**x, "adjacency": x["adjacency"] > 0.7}

    return make


def padded_graphs(generator: torch.Generator, dtype: torch.dtype) -> dict[str, Tensor]:
    """Graphs of different sizes."""
    n = max(LENGTHS)
    x = graphs(n)(generator, dtype)
    mask = torch.arange(n)[None] < torch.tensor(LENGTHS)[:, None]
    both = mask[:, :, None] & mask[:, None]
    return {"x": x["x"] * mask[..., None], "adjacency": x["adjacency"] * both, "mask": mask}


def padded_symmetric(generator: torch.Generator, dtype: torch.dtype) -> list[tuple[str, Any]]:
    """Symmetric graphs of two sizes with padding in the middle."""
    found = []
    for name, matrix in named(5).items():
        adjacency = torch.zeros(2, 5, 5, dtype=dtype)
        adjacency[0], adjacency[1, 1:4, 1:4] = matrix, matrix[:3, :3]
        mask = torch.tensor([[True] * 5, [False, True, True, True, False]])
        found.append((name, {"x": mask[..., None] * torch.ones(2, 5, 2, dtype=dtype), "adjacency": adjacency, "mask": mask}))
    return found


def ragged_graphs(generator: torch.Generator, dtype: torch.dtype) -> dict[str, Tensor]:
    """Random graphs with repeated edges and loops; the rows of different graphs are mixed."""
    batch = torch.arange(BATCH).repeat_interleave(torch.tensor(LENGTHS))[torch.randperm(sum(LENGTHS), generator=generator)]
    first = torch.randint(len(batch), (24,), generator=generator)
    second = torch.stack([(batch == batch[i]).nonzero().flatten()[int(i) % int((batch == batch[i]).sum())] for i in first])
    return {
        "x": torch.randn(len(batch), 2, generator=generator, dtype=dtype),
        "edge_index": torch.stack([first, second]),
        "edge_attr": torch.randn(24, 1, generator=generator, dtype=dtype),
        "batch": batch,
    }


def ragged_symmetric(generator: torch.Generator, dtype: torch.dtype) -> list[tuple[str, Any]]:
    """Two copies of a symmetric graph in one ragged batch, edges in random order, one of them listed twice."""
    found = []
    for name, matrix in named(5).items():
        edges = matrix.nonzero().T
        if not edges.numel():
            continue  # tests of their own look at graphs without edges
        edges = torch.cat([edges, edges + 5, edges[:, :1]], 1)
        edges = edges[:, torch.randperm(edges.shape[1], generator=generator)]
        batch = torch.arange(2).repeat_interleave(5)
        x, attr = torch.ones(10, 2, dtype=dtype), torch.ones(edges.shape[1], 1, dtype=dtype)
        found.append((name, {"x": x, "edge_index": edges, "edge_attr": attr, "batch": batch}))
    return found


def weight(generator: torch.Generator, rows: int, columns: int, dtype: torch.dtype) -> nn.Parameter:
    return nn.Parameter((torch.randn(rows, columns, generator=generator, dtype=torch.float64) / math.sqrt(rows)).to(dtype))


class Places(nn.Module):
    """A network for ragged graphs that sees the place of every node and every edge in its graph."""

    def __init__(self, dtype: torch.dtype):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.node, self.edge, self.pool = (weight(generator, rows, 8, dtype) for rows in (2, 1, 8))
        self.out, self.link = weight(generator, 8, 3, dtype), weight(generator, 8, 2, dtype)

    @staticmethod
    def places(owner: Tensor) -> Tensor:
        order = torch.argsort(owner, stable=True)
        start = torch.bincount(owner).cumsum(0) - torch.bincount(owner)
        return torch.empty_like(order).index_copy(0, order, torch.arange(len(owner)) - start[owner[order]])

    def forward(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor, batch: Tensor) -> dict[str, Tensor]:
        i, j = edge_index
        h = torch.tanh(x @ self.node + torch.sin(1.3 * self.places(batch).to(x.dtype))[:, None])
        e = torch.tanh(edge_attr @ self.edge + h[i] - 2 * h[j] + torch.sin(2.1 * self.places(batch[i]).to(x.dtype))[:, None])
        h = h + torch.zeros_like(h).index_add(0, j, e)
        total = h.new_zeros(int(batch.max()) + 1, 8).index_add(0, batch, torch.tanh(h @ self.pool))
        return {"nodes": torch.tanh(h + total[batch]) @ self.out, "edges": e @ self.link, "energy": total @ self.out}


class Flat(nn.Module):
    """A network for padded graphs on the flattened adjacency matrix."""

    def __init__(self, dtype: torch.dtype, n: int = max(LENGTHS)):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.one = weight(generator, n * n + 3 * n, 16, dtype)
        self.nodes, self.pairs, self.energy = weight(generator, 16, 2 * n, dtype), weight(generator, 16, n * n, dtype), nn.Identity()

    def forward(self, x: Tensor, adjacency: Tensor, mask: Tensor) -> dict[str, Tensor]:
        h = torch.tanh(torch.cat([x.flatten(1), adjacency.flatten(1), mask.to(x.dtype)], 1) @ self.one)
        both = mask[:, :, None] & mask[:, None]
        nodes = (h @ self.nodes).reshape(*mask.shape, 2) * mask[..., None]
        return {"nodes": nodes, "pairs": (h @ self.pairs).reshape(both.shape) * both, "energy": h}


def relabel_cases() -> list[FrameCase]:
    """Relabel on matrices, channels, booleans, weights alone, padding and ragged batches."""
    pairs = actions.Dict(x=actions.Permute(S, -2), adjacency=actions.Permute(S, -2, -1))
    alone = {"pairs": Out(actions.Permute(S, -2, -1), True, (5,)), "nodes": Out(actions.Permute(S, -1), True, ())}
    padded = actions.Dict(nodes=actions.Permute(S, -2), pairs=actions.Permute(S, -2, -1), energy=actions.Trivial(S))
    mixed = {**RAGGED_LAWS, "loop": "the network sees the rows of other graphs"}
    return [
        case(frames.Relabel(), NODES, PER_NODE, graphs(5), symmetric_graphs(5), "nodes and adjacency"),
        case(frames.Relabel(of="adjacency"), pairs, PER_NODE, sparse(5), symmetric_graphs(5), "boolean"),
        case(frames.Relabel(), NODES, PER_NODE, channels(5), symmetric_graphs(5, 2), "channels"),
        case(
            frames.Relabel(symmetric=False),
            actions.Permute(S, -2, -1),
            alone,  # type: ignore[arg-type]
            lambda generator, dtype: torch.randn(BATCH, 5, 5, generator=generator, dtype=dtype),
            lambda generator, dtype: [(name, x["adjacency"]) for name, x in symmetric_graphs(5)(generator, dtype) if "marked" not in name],
            "weights",
        ),
        FrameCase(frames.Relabel(), PADDED_GRAPH, padded, padded_graphs, Flat, padded_symmetric, "Relabel() Symmetric() padded"),
        FrameCase(
            frames.Relabel(), RAGGED_GRAPH, PER_EDGE, ragged_graphs, Places, ragged_symmetric, "Relabel() Symmetric() ragged", skips=mixed
        ),
    ]


def minimal_graph_cases() -> list[FrameCase]:
    """Minimal and the frame for Euclidean graphs."""
    E2 = groups.Euclidean(2)
    G = S * E2
    source = actions.Dict(pos=actions.Points(G), adjacency=actions.Permute(G, -2, -1))
    outputs: dict[str | None, Out] = {
        "forces": Out(actions.Vectors(G, points=True), True, (2,)),
        "pairs": Out(actions.Permute(G, -2, -1), True, (6,)),
        "energy": Out(actions.Trivial(G), False, (1,)),
    }

    def make(generator: torch.Generator, dtype: torch.dtype) -> dict[str, Tensor]:
        pos = torch.randn(BATCH, 6, 2, generator=generator, dtype=dtype)
        return {"pos": pos, "adjacency": torch.randn(BATCH, 6, 6, generator=generator, dtype=dtype)}

    def hexagons(generator: torch.Generator, dtype: torch.dtype) -> list[tuple[str, Any]]:
        t = torch.arange(6, dtype=torch.float64) * math.pi / 3
        pos = torch.stack([t.cos(), t.sin()], -1).to(dtype).expand(2, 6, 2)
        return [(name, {"pos": pos, "adjacency": matrix.to(dtype).expand(2, 6, 6)}) for name, matrix in named(6).items()]

    return [
        case(frames.Minimal(), NODES, PER_NODE, graphs(5), symmetric_graphs(5), "graphs"),
        case(frames.Minimal(of="pos"), source, outputs, make, hexagons, "Euclidean graphs"),
    ]
