"""Graph isomorphism networks with a virtual node: scores of the nodes of dense, padded and ragged graphs."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..actions.base import Action
from ..tree import Tree
from .heads import Scores, check_set_network
from .reading import Features, Reader


class GIN(nn.Module):
    """Scores of nodes, equivariant to their permutations.

    Messages run along edges, from source to target, one sum for each channel of values of edges: products with adjacency
    matrices for dense graphs, sums over edge lists for ragged ones. A virtual node exchanges messages with all nodes.
    Edge lists count as a channel of ones, so a dense graph with its adjacency matrix first has the same weights.

    Output: scores (B, n), zero on padding, or (N,).

    Args:
        source: permutations of nodes: ``Permute(S, -2)`` and ``Permute(S, -2, -1)``, or ``Nodes`` and ``Edges``.
        example: inputs, from which channels are counted.
        width: channels of nodes.
        layers: rounds of messages.
        noise: channels of noise (B, n, noise), ragged (N, noise).

    Raises:
        SignatureError: for other groups, or inputs that are not values of nodes, pairs, edges or graphs.

    Reference: Xu et al. 2019, How powerful are graph neural networks?, arXiv 1810.00826.

    Example:
        >>> import torch
        >>> from coset import actions, groups, nn
        >>> S = groups.Symmetric()
        >>> graphs = actions.Dict(x=actions.Permute(S, -2), adjacency=actions.Permute(S, -2, -1))
        >>> inputs = {"x": torch.randn(4, 6, 3), "adjacency": torch.ones(4, 6, 6)}
        >>> nn.GIN(graphs, inputs)(inputs, torch.rand(4, 6, 1)).shape
        torch.Size([4, 6])
    """

    references = ("xu2019powerful",)

    def __init__(self, source: Action, example: Tree, *, width: int = 64, layers: int = 3, noise: int = 1):
        super().__init__()
        check_set_network("GIN", source.group, width, layers, noise)
        self.read, self.noise = Reader(source, example), noise
        self.enter = nn.Linear(self.read.scalars + noise + 1, width)
        self.first = nn.Parameter(torch.zeros(width))
        self.layers = nn.ModuleList(_Round(width, self.read.pairs, last=i == layers - 1) for i in range(layers))
        self.out = Scores(width)

    def forward(self, inputs: Tree, noise: Tensor | None = None) -> Tensor:
        """The scores.

        Args:
            inputs: the inputs of the source.
            noise: (B, n, noise), ragged (N, noise); zeros when left out.
        """
        features = self.read(inputs, self.enter.weight)
        batch, s = features.batch, features.scalars
        noise = batch.drawn(noise, s, self.noise)
        h = batch.real(self.enter(torch.cat([s, noise, s.new_ones(*batch.lead, 1)], -1)))
        shared = self.first.expand(batch.samples, -1)
        matrices = None if features.pairs is None else features.pairs.permute(0, 3, 2, 1)  # from sources to targets
        for layer in self.layers:
            h, shared = layer(h, shared, matrices, features)
        return self.out(h, batch)


class _Round(nn.Module):
    """One round of messages along edges, and through the virtual node."""

    def __init__(self, width: int, channels: int, last: bool):
        super().__init__()
        self.message = nn.Linear(channels * width, width, bias=False) if channels else None
        self.epsilon = nn.Parameter(torch.zeros(()))
        self.nodes, self.virtual = perceptron(width), None if last else perceptron(width)

    def forward(self, h: Tensor, shared: Tensor, matrices: Tensor | None, features: Features) -> tuple[Tensor, Tensor]:
        """Values of nodes (B, n, w) or (N, w), and of the virtual nodes (B, w)."""
        batch = features.batch
        total = (1 + self.epsilon) * h + batch.give(shared)
        if self.message is not None:
            total = total + self.message(gathered(h, matrices, features))
        h = batch.real(self.nodes(total))
        return h, shared if self.virtual is None else self.virtual(shared + batch.total(h))


def gathered(h: Tensor, matrices: Tensor | None, features: Features) -> Tensor:
    """Sums over edges, one for each channel of their values: (B, n, c w) or (N, c w)."""
    if matrices is not None:
        return (matrices @ h.unsqueeze(1)).movedim(1, 2).flatten(2)
    links, (here, there) = features.links, features.edges  # type: ignore[misc]
    sent = links.unsqueeze(-1) * h.index_select(0, here).unsqueeze(1)  # type: ignore[union-attr, has-type]
    return h.new_zeros(h.shape[0], *sent.shape[1:]).index_add(0, there, sent).flatten(1)  # type: ignore[has-type]


def perceptron(width: int) -> nn.Sequential:
    """Two linear maps with layer normalization."""
    return nn.Sequential(nn.Linear(width, width), nn.LayerNorm(width), nn.ReLU(), nn.Linear(width, width), nn.LayerNorm(width), nn.ReLU())
