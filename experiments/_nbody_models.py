"""The networks of the five-particle experiment: two without symmetry of space, and EGNN, which has it built in.

All work on dense batches (B, n, ...) of the complete graph; pairs are a (B, n, n, ...) tensor, nothing is looped over.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class Pairs(nn.Module):
    """A two-layer network of both ends of every pair and of features of the pair, (B, n, n, width).

    Its first layer is applied to the ends before they are paired, which is the same sum for a fifth of the work.
    """

    def __init__(self, width: int, features: int):
        super().__init__()
        self.here, self.there = nn.Linear(width, width), nn.Linear(width, width, bias=False)
        self.pair, self.last = nn.Linear(features, width, bias=False), nn.Linear(width, width)

    def forward(self, h: Tensor, pair: Tensor) -> Tensor:
        """Messages from j to i at [:, i, j], zero from a particle to itself."""
        inner = self.here(h).unsqueeze(2) + self.there(h).unsqueeze(1) + self.pair(pair)
        found = functional.silu(self.last(functional.silu(inner)))
        return found * others(h.shape[1], found)


def others(n: int, like: Tensor) -> Tensor:
    """(n, n, 1): one for pairs of different particles."""
    return (1 - torch.eye(n, dtype=like.dtype, device=like.device)).unsqueeze(-1)


def mlp(before: int, width: int, after: int) -> nn.Sequential:
    """Two layers."""
    return nn.Sequential(nn.Linear(before, width), nn.SiLU(), nn.Linear(width, after))


class GNN(nn.Module):
    """Message passing on raw coordinates: moves with the order of particles, but not with rotations."""

    def __init__(self, width: int = 60, layers: int = 4):
        super().__init__()
        self.embed = nn.Linear(6, width)
        self.messages = nn.ModuleList(Pairs(width, 1) for _ in range(layers))
        self.updates = nn.ModuleList(mlp(2 * width, width, width) for _ in range(layers))
        self.read = mlp(width, width, 3)

    def forward(self, pos: Tensor, vel: Tensor, charge: Tensor) -> Tensor:
        """Positions later, (B, n, 3)."""
        products = charge.unsqueeze(2) * charge.unsqueeze(1)
        h = self.embed(torch.cat([pos, vel], -1))
        for message, update in zip(self.messages, self.updates, strict=True):
            h = h + update(torch.cat([h, message(h, products).sum(2)], -1))
        return pos + self.read(h)


class PairTransformer(nn.Module):
    """A transformer on the n x n tokens of pairs: the product of charges, and on the diagonal also position and velocity.

    Every token has a place of its own (learned), so the order of particles matters, as rotations do.
    """

    def __init__(self, width: int = 64, layers: int = 8, heads: int = 4, n: int = 5):
        super().__init__()
        self.pair, self.own = nn.Linear(1, width), nn.Linear(6, width)
        self.place = nn.Parameter(0.02 * torch.randn(n * n, width))
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.norm, self.read = nn.LayerNorm(width), nn.Linear(width, 3)

    def forward(self, pos: Tensor, vel: Tensor, charge: Tensor) -> Tensor:
        """Positions later, (B, n, 3), read from the diagonal tokens."""
        n = pos.shape[1]
        products = charge.unsqueeze(2) * charge.unsqueeze(1)
        own = torch.diag_embed(self.own(torch.cat([pos, vel], -1)).mT).permute(0, 2, 3, 1)
        x = (self.pair(products) + own).flatten(1, 2) + self.place
        for block in self.blocks:
            x = block(x)
        return pos + self.read(self.norm(x[:, :: n + 1]))


class Block(nn.Module):
    """Attention and a two-layer network, each on normalized tokens and added to them."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mix, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.wide, self.narrow = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (B, t, width)."""
        parts = self.mix(self.first(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        seen = functional.scaled_dot_product_attention(*parts.unbind())
        x = x + self.out(seen.transpose(1, 2).flatten(2))
        return x + self.narrow(functional.gelu(self.wide(self.second(x))))


class EGNN(nn.Module):
    """The equivariant graph network with velocities of Satorras et al. 2021, section 3.2, in a dense form of its own."""

    def __init__(self, width: int = 64, layers: int = 4):
        super().__init__()
        self.embed = nn.Linear(1, width)
        self.messages = nn.ModuleList(Pairs(width, 3) for _ in range(layers))
        self.updates = nn.ModuleList(mlp(2 * width, width, width) for _ in range(layers))
        self.pulls = nn.ModuleList(mlp(width, width, 1) for _ in range(layers))
        self.drifts = nn.ModuleList(mlp(width, width, 1) for _ in range(layers))
        for pull in self.pulls:
            nn.init.xavier_uniform_(pull[-1].weight, gain=0.001)  # type: ignore[index, arg-type]

    def forward(self, pos: Tensor, vel: Tensor, charge: Tensor) -> Tensor:
        """Positions later, (B, n, 3)."""
        products = charge.unsqueeze(2) * charge.unsqueeze(1)
        apart = pos.unsqueeze(2) - pos.unsqueeze(1)
        start = apart.square().sum(-1, keepdim=True)
        h, x = self.embed(vel.norm(dim=-1, keepdim=True)), pos
        for message, update, pull, drift in zip(self.messages, self.updates, self.pulls, self.drifts, strict=True):
            apart = x.unsqueeze(2) - x.unsqueeze(1)
            found = message(h, torch.cat([products, start, apart.square().sum(-1, keepdim=True)], -1))
            x = x + (apart * pull(found)).sum(2) / (x.shape[1] - 1) + drift(h) * vel
            h = h + update(torch.cat([h, found.sum(2)], -1))
        return x
