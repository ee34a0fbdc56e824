"""An energy of images: a small plain convolutional network on a few pixels, for searches over an orbit."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from ..errors import InputError, explain
from ..tree import Tree
from .disk import Disk, image_of


class ImageScorer(nn.Module):
    """One number for every image, from a plain convolutional network that sees the inner disk at 16 to 64 pixels.

    It has no symmetry itself; ``frames.Minimize`` compares its values over an orbit. What it sees commutes with quarter turns and flips bit
    by bit, at every size of the image (:class:`~coset.nn.disk.Disk`), so the search downsizes an image once
    (:meth:`reduced`) and moves the small image (:meth:`score`).

    Args:
        channels: of the images.
        size: pixels that the network sees, along both sides; a multiple of 4.
        width: channels inside.

    Raises:
        InputError: for sizes and widths that make no network, and when called with anything but images (B, C, H, W).

    Reference: Kaba et al. 2023, arXiv 2211.06489 (energies of orbits); Mondal et al. 2023, arXiv 2310.01647 (images).

    Example:
        >>> import torch
        >>> from coset import nn
        >>> nn.ImageScorer(3)(torch.rand(2, 3, 225, 300)).shape
        torch.Size([2])
    """

    references = ("kaba2023equivariance",)

    def __init__(self, channels: int, size: int = 16, width: int = 16):
        super().__init__()
        if not all(isinstance(n, int) and not isinstance(n, bool) and n >= 1 for n in (channels, width)):
            raise InputError(
                explain(f"ImageScorer({channels!r}, width={width!r})", "positive whole numbers", "pass for instance ImageScorer(3)")
            )
        self.disk = Disk(size)
        if size % 4:
            raise InputError(explain(f"size={size}", "a multiple of 4", f"pass size={size + 4 - size % 4}"))
        self.channels = channels
        self.one, self.two = nn.Conv2d(channels, width, 3, 2, 1), nn.Conv2d(width, 2 * width, 3, 2, 1)
        self.three, self.out = nn.Conv2d(2 * width, 2 * width, 3, padding=1), nn.Linear(2 * width * (size // 4) ** 2, 1, bias=False)

    def forward(self, inputs: Tree, noise: Tensor | None = None) -> Tensor:
        """The energies (B,) of images (B, C, H, W)."""
        return self.score(self.reduced(inputs))

    def reduced(self, inputs: Tree) -> Tensor:
        """The small images (B, C, size, size) that the energies depend on; quarter turns and flips of images turn and flip them."""
        return self.disk(image_of(inputs, self.disk.size, self, self.channels))

    def score(self, small: Tensor) -> Tensor:
        """The energies (B,) of small images."""
        h = small.to(self.one.weight.dtype) * self.disk.mask.to(self.one.weight.dtype)
        h = relu(self.three(relu(self.two(relu(self.one(h)))))).flatten(1)
        wide = torch.promote_types(h.dtype, torch.float32)
        return (h.to(wide) * self.out.weight[0].to(wide)).sum(-1)
