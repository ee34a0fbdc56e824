"""Networks on graphs for the experiments: two that see the order of nodes, two that do not, and the frames' own networks."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from coset import actions, frames, groups
from coset.frames.noise import Place
from coset.nn import GIN

S = groups.Symmetric()
GRAPHS = actions.Dict(adjacency=actions.Permute(S, -2, -1), kind=actions.Permute(S, -2), mask=actions.PointMask(S))
INVARIANT = GRAPHS >> actions.Trivial(S)

Graphs = dict[str, Tensor]


def padded(matrices: list[np.ndarray], kinds: list[np.ndarray] | None = None) -> Graphs:
    """Adjacency matrices (B, n, n), features (B, n, c) of nodes (one-hot kinds, or ones) and the mask (B, n), padded to the largest."""
    n = max(len(one) for one in matrices)
    channels = 1 if kinds is None else 1 + max(int(one.max()) for one in kinds)
    adjacency, mask = torch.zeros(len(matrices), n, n), torch.zeros(len(matrices), n, dtype=torch.bool)
    kind = torch.zeros(len(matrices), n, channels)
    for number, matrix in enumerate(matrices):
        size = len(matrix)
        adjacency[number, :size, :size] = torch.from_numpy(matrix).float()
        mask[number, :size] = True
        which = torch.zeros(size, dtype=torch.long) if kinds is None else torch.from_numpy(kinds[number])
        kind[number, :size] = nn.functional.one_hot(which, channels).float()
    return {"adjacency": adjacency, "kind": kind, "mask": mask}


def picked(graphs: Graphs, rows: Tensor | slice) -> Graphs:
    """Some of the graphs."""
    return {key: x[rows] for key, x in graphs.items()}


def copies(graphs: Graphs, seed: int) -> Graphs:
    """The graphs with their real nodes in random order."""
    generator = torch.Generator().manual_seed(seed)
    numbers = torch.rand(graphs["mask"].shape, generator=generator).masked_fill(~graphs["mask"], torch.inf)
    return GRAPHS.act(numbers.argsort(1), graphs)  # type: ignore[return-value]


class FlatMLP(nn.Module):
    """A perceptron on the entries of the padded adjacency matrix and the features of nodes: it sees the order of nodes.

    Args:
        n: nodes, padding included.
        channels: features of a node.
        widths: hidden sizes.
        outputs: numbers per graph.
        smooth: tanh everywhere, as for random initializations; otherwise ReLU and a linear end.
    """

    def __init__(self, n: int, channels: int, widths: tuple[int, ...], outputs: int, smooth: bool = False):
        super().__init__()
        sizes = [n * (n + channels), *widths, outputs]
        self.layers = nn.ModuleList(nn.Linear(one, two) for one, two in itertools.pairwise(sizes))
        self.smooth = smooth

    def forward(self, adjacency: Tensor, kind: Tensor, mask: Tensor) -> Tensor:
        """(B, outputs)."""
        x = torch.cat([kind.flatten(1), adjacency.flatten(1)], 1)
        for layer in self.layers[:-1]:
            x = torch.tanh(layer(x)) if self.smooth else torch.relu(layer(x))
        x = self.layers[-1](x)
        return torch.tanh(x) if self.smooth else x


class PlainGIN(nn.Module):
    """Three rounds of one-layer GIN and a sum over nodes.

    With ``identified`` the place of a node in the order is one of its features (GIN-ID), so that the network sees the
    order; without, it is invariant by itself. With ``averaging`` messages are normalized by degrees instead (GCN).
    """

    def __init__(
        self, n: int, channels: int, outputs: int, identified: bool = True, smooth: bool = False, averaging: bool = False, head: int = 0
    ):
        super().__init__()
        width = 64
        self.rounds = nn.ModuleList(nn.Linear(size, width) for size in (channels + (n if identified else 0), width, width))
        self.epsilon = nn.Parameter(torch.rand(3))
        sizes = [width, *([head] if head else []), outputs]
        self.out = nn.ModuleList(nn.Linear(one, two) for one, two in itertools.pairwise(sizes))
        self.n, self.identified, self.smooth, self.averaging = n, identified, smooth, averaging

    def forward(self, adjacency: Tensor, kind: Tensor, mask: Tensor) -> Tensor:
        """(B, outputs)."""
        bend = torch.tanh if self.smooth else torch.relu
        eye = torch.eye(self.n, dtype=kind.dtype, device=kind.device)
        passing = adjacency + (eye if self.averaging else 0)
        if self.averaging:
            scale = passing.sum(2).clamp_min(1).rsqrt()
            passing = scale.unsqueeze(2) * passing * scale.unsqueeze(1)
        h = None
        for layer, epsilon in zip(self.rounds, self.epsilon, strict=True):
            if h is None:  # the identifiers are the rows of the identity: their part of the linear map is its weight
                own, places = layer.weight.split([kind.shape[2], layer.in_features - kind.shape[2]], 1)
                h = kind @ own.mT + (places.mT if self.identified else 0)
                h = passing @ h + (0 if self.averaging else (1 + epsilon) * h) + layer.bias
            else:
                h = layer(passing @ h + (0 if self.averaging else (1 + epsilon) * h))
            h = bend(h) * mask.unsqueeze(2)
        x = h.sum(1)  # type: ignore[union-attr]
        for layer in self.out[:-1]:
            x = bend(layer(x))
        x = self.out[-1](x)
        return torch.tanh(x) if self.smooth else x


class Normalized(nn.Module):
    """A network's scores, divided by their norm over the nodes, so that a temperature means the same for all graphs."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, inputs: Any, noise: Tensor | None = None) -> Tensor:
        """(B, n)."""
        scores: Tensor = self.network(inputs, noise)
        return scores / scores.norm(dim=1, keepdim=True).clamp_min(1e-6)


class TiesAtRandom(nn.Module):
    """Scores without noise, where noise decides between equal scores only: canonicalization as published."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, inputs: Any, noise: Tensor | None = None) -> Tensor:
        """(B, n)."""
        scores: Tensor = self.network(inputs, None)
        return scores if noise is None else scores + 1e-5 * noise.squeeze(-1)


class SameNoise(frames.Uniform):
    """Uniform numbers that are the same at every call, for the node in place i and draw j: not invariant to the order of nodes."""

    def draw(self, place: Place, samples: Tensor, generator: torch.Generator | None) -> Tensor:
        """Fixed numbers."""
        draws = torch.arange(samples.shape[0], device=samples.device) // place.at.samples
        return self.fixed(place, samples, draws, 0)


def scores_of(graphs: Graphs, width: int = 64) -> Normalized:
    """A fresh network of scores: three rounds of GIN with a virtual node."""
    return Normalized(GIN(GRAPHS, picked(graphs, slice(0, 2)), width=width, layers=3, noise=1))
