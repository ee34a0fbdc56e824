"""One-to-one matches of channels by their correlations: the best assignment, and the best one that is its own inverse."""

from __future__ import annotations

import importlib
from typing import Any

import torch
from torch import Tensor

from ..errors import require_extra


class Correlation:
    """Running correlations of the channels of two sets of activations, over samples and positions, in float64.

    Args:
        count: of channels.
    """

    def __init__(self, count: int):
        self.count, self.seen = count, 0
        self.sums = torch.zeros(2, count, dtype=torch.float64)
        self.squares = torch.zeros(2, count, dtype=torch.float64)
        self.products = torch.zeros(count, count, dtype=torch.float64)

    def add(self, a: Tensor, b: Tensor) -> None:
        """Take in two tensors (B, count, …) of activations."""
        flat = [t.detach().transpose(0, 1).reshape(self.count, -1).double().cpu() for t in (a, b)]
        self.seen += flat[0].shape[1]
        self.products += flat[0] @ flat[1].mT
        for k, t in enumerate(flat):
            self.sums[k] += t.sum(1)
            self.squares[k] += t.square().sum(1)

    def matrix(self) -> Tensor:
        """The correlation (count, count) of each channel of the first with each of the second; zero where one is constant."""
        mean = self.sums / max(self.seen, 1)
        spread = (self.squares / max(self.seen, 1) - mean.square()).clamp(min=0).sqrt()
        covariance = self.products / max(self.seen, 1) - mean[0][:, None] * mean[1]
        scale = spread[0][:, None] * spread[1]
        floor = 1e-9 * float(scale.max()) if scale.numel() else 0.0
        return torch.where(scale > floor, covariance / scale.clamp(min=1e-300), torch.zeros_like(scale))


def assign(score: Tensor) -> Tensor:
    """The permutation p that maximizes the sum of score[i, p[i]] (the Hungarian method).

    Raises:
        MissingExtraError: without SciPy.
    """
    linear: Any = _module("scipy.optimize", "atoms").linear_sum_assignment
    return torch.from_numpy(linear(-score.numpy())[1]).long()


def pair(score: Tensor) -> Tensor:
    """The involution p (each channel with itself or with one partner) that maximizes the same sum, exactly.

    A matching in a graph whose edges have the weight that two partners win over staying alone.

    Raises:
        MissingExtraError: without networkx.
    """
    networkx = _module("networkx", "graphs")
    alone = score.diagonal()
    gain = (score + score.mT - alone[:, None] - alone).tolist()
    graph = networkx.Graph()
    graph.add_weighted_edges_from((i, j, gain[i][j]) for i in range(len(gain)) for j in range(i) if gain[i][j] > 0)
    found = torch.arange(len(gain))
    for i, j in networkx.max_weight_matching(graph):
        found[i], found[j] = j, i
    return found


def _module(name: str, extra: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise require_extra(name.partition(".")[0], extra) from error
