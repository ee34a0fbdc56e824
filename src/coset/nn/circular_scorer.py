"""A circular convolutional network: one score for every shift of a periodic image, which shifts move along."""

from __future__ import annotations

from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..errors import InputError, describe, explain
from ..tree import Tree
from .heads import check_sizes


class CircularScorer(nn.Module):
    """Scores (B, H W) of all circular shifts of an image, in the order of ``groups.Torus(H, W).elements()``.

    Convolutions on a circle, without strides: the score of shift s of an image shifted by t is that of s - t. Dilations double from
    layer to layer, so that a score sees a wide surrounding. With it ``frames.Canonicalizer(CircularScorer(3))`` is a learned frame of
    shifts, and ``frames.Probabilistic`` adds Gumbel noise while training. Equivariance is that of floating point sums: scores that
    differ by rounding only count as tied.

    Args:
        channels: of the images.
        width: channels inside.
        layers: the number of convolutions before the last.

    Raises:
        InputError: for sizes that make no network, and images of another number of channels.

    Reference: Kaba et al. 2023, arXiv 2211.06489; Rojas-Gomez et al. 2022, arXiv 2210.08001.

    Example:
        >>> import torch
        >>> from coset import actions, frames, groups, nn
        >>> frame = frames.Canonicalizer(nn.CircularScorer(3)).bind(actions.Image(groups.Torus(8, 8)))
        >>> frame(torch.randn(2, 3, 8, 8)).elements.shape
        torch.Size([1, 2, 2])
    """

    references = ("rojasgomez2022learnable",)

    def __init__(self, channels: int, width: int = 16, layers: int = 3):
        super().__init__()
        check_sizes(width, layers, 0)
        if not isinstance(channels, int) or isinstance(channels, bool) or channels < 1:
            raise InputError(explain(f"channels={channels!r}", "the number of channels of the images", "pass for instance 3"))
        self.channels = channels
        widths = [channels, *(width,) * layers]
        self.layers = nn.ModuleList(nn.Conv2d(a, b, 3, dilation=2**i) for i, (a, b) in enumerate(pairwise(widths)))
        self.out = nn.Conv2d(widths[-1], 1, 1)

    def forward(self, inputs: Tree, noise: Tensor | None = None) -> Float[Tensor, "B HW"]:
        """The scores.

        Args:
            inputs: images (B, C, H, W), or a mapping that holds one.
            noise: (B, H W) Gumbel noise, added; None for none.
        """
        x = next(iter(inputs.values())) if isinstance(inputs, dict) else inputs
        if not isinstance(x, Tensor) or x.dim() != 4 or x.shape[1] != self.channels:
            raise InputError(explain(describe(x), f"images (B, {self.channels}, H, W)", "build CircularScorer with their channels"))
        x = x.to(self.out.weight.dtype)
        for number, layer in enumerate(self.layers):
            x = nn.functional.silu(layer(around(x, 2**number)))
        scores = self.out(x).flatten(1)
        return scores if noise is None else scores + noise.to(scores.dtype)


def around(x: Float[Tensor, "B C H W"], margin: int) -> Float[Tensor, "B C h w"]:
    """The image with a margin taken from the other side, as often around as it takes."""
    rows, columns = (torch.arange(-margin, n + margin, device=x.device) % n for n in x.shape[-2:])
    return x.index_select(-2, rows).index_select(-1, columns)
