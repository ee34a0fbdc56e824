"""Deep sets: scores of the points of dense, padded and ragged sets."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from ..actions.base import Action
from ..errors import SignatureError, explain
from ..tree import Tree
from .heads import Scores, check_set_network
from .reading import Reader


class DeepSets(nn.Module):
    """Scores of points, equivariant to their permutations, from each point and means over its set.

    Output: scores (B, n), zero on padding, or (N,).

    Args:
        source: permutations of points: ``Permute(S, -2)``, or ``Nodes`` with a batch index.
        example: inputs, from which channels are counted.
        width: channels of points.
        layers: the number of layers.
        noise: channels of noise (B, n, noise), ragged (N, noise).

    Raises:
        SignatureError: for other groups, and for values of pairs or edges, which sets do not have.

    Reference: Zaheer et al. 2017, Deep sets, arXiv 1703.06114.

    Example:
        >>> import torch
        >>> from coset import actions, groups, nn
        >>> x = torch.randn(4, 10, 3)
        >>> nn.DeepSets(actions.Permute(groups.Symmetric(), -2), x)(x, torch.rand(4, 10, 1)).shape
        torch.Size([4, 10])
    """

    references = ("zaheer2017deep",)

    def __init__(self, source: Action, example: Tree, *, width: int = 64, layers: int = 2, noise: int = 1):
        super().__init__()
        check_set_network("DeepSets", source.group, width, layers, noise)
        self.read, self.noise = Reader(source, example), noise
        if self.read.pairs:
            raise SignatureError(explain(f"values of pairs or edges in {source}", "a set of points", "use GIN for graphs"))
        self.enter = nn.Linear(self.read.scalars + noise + 1, width)
        self.layers = nn.ModuleList(_Layer(width) for _ in range(layers))
        self.out = Scores(width)

    def forward(self, inputs: Tree, noise: Tensor | None = None) -> Tensor:
        """The scores.

        Args:
            inputs: the inputs of the source.
            noise: (B, n, noise), ragged (N, noise); zeros when left out.
        """
        features = self.read(inputs, self.enter.weight)
        batch, s = features.batch, features.scalars
        h = self.enter(torch.cat([s, batch.drawn(noise, s, self.noise), s.new_ones(*batch.lead, 1)], -1))
        for layer in self.layers:
            h = layer(h, batch.give(batch.mean(h)))
        return self.out(h, batch)


class _Layer(nn.Module):
    """A linear map of each point and of the mean over its set, normalized."""

    def __init__(self, width: int):
        super().__init__()
        self.own, self.mean, self.norm = nn.Linear(width, width), nn.Linear(width, width, bias=False), nn.LayerNorm(width)

    def forward(self, h: Tensor, mean: Tensor) -> Tensor:
        """Values of points of the same shape."""
        return h + relu(self.norm(self.own(h) + self.mean(mean)))
