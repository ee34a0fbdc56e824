"""What a network sees of an image: its inner disk, downsized by sums of whole numbers, so that turns and flips commute bit by bit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import InputError, describe, explain
from ..tree import Tree

DIGITS = 11
"""Binary digits that values are rounded to, relative to the brightest one; sums of them are exact in float32."""
EXACT = 23
"""Binary digits of sums that float32 holds."""

DARKEST = 2.0**-100
"""What is fainter everywhere counts as black."""


class Disk(nn.Module):
    """The largest centred square of images, downsized to ``size`` pixels; outside of the disk in it stands zero, the mean inside.

    Values are rounded to 12 bits, relative to the brightest of the image. All sums are then sums of whole numbers, which come
    out the same in any order: for quarter turns and flips g the result is the same bit by bit, disk(g x) = g disk(x), for
    every size of images, odd and even, square or not. What is cropped leaves as much on both sides. The mean of each channel over
    the disk is subtracted, and the result divided by its largest entry, so that brightness and contrast do not matter.

    Args:
        size: of the result, 8 to 256 pixels.

    Raises:
        InputError: for other sizes, for data that are no images (B, C, H, W) of real numbers, and for images with fewer than
            ``size // 2`` pixels along a side.
    """

    mask: Tensor

    def __init__(self, size: int):
        super().__init__()
        if not isinstance(size, int) or isinstance(size, bool) or not 8 <= size <= 256:
            raise InputError(explain(f"size={size!r}", "a whole number of pixels, 8 to 256", "pass 16, or 32 for more detail"))
        self.size = size
        at = torch.arange(size) - (size - 1) / 2
        self.register_buffer("mask", at.square()[:, None] + at.square() <= size * size / 4, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, C, H, W) to (B, C, size, size), in float32 or the wider type of the images."""
        if not x.is_floating_point() or x.dtype in (torch.float16, torch.bfloat16):
            x = x.to(torch.float32)
        rows, columns = x.shape[-2:]
        side = min(rows, columns)
        top, left = -(-(rows - side) // 2), -(-(columns - side) // 2)  # an odd rest takes one pixel more: both sides lose the same
        x = x[..., top : rows - top, left : columns - left]
        return self._standard(self._shrunk(x))

    def _shrunk(self, x: Tensor) -> Tensor:
        """Means over windows, as whole numbers of at most 2^11 in size."""
        most = (x.shape[-2] // self.size + 2) * (x.shape[-1] // self.size + 2)
        digits = min(DIGITS, EXACT - (most - 1).bit_length())
        brightest = x.detach().abs().amax((-3, -2, -1), keepdim=True)
        unit = torch.exp2(digits - torch.ceil(torch.log2(brightest.clamp_min(DARKEST))))
        columns, down = summed_rows(whole(x * unit), self.size)
        summed, across = summed_rows(columns.mT, self.size)
        counts = across * (down.mT if isinstance(down, Tensor) else down)
        return whole((summed / counts).mT * 2.0 ** (DIGITS - digits))

    def _standard(self, y: Tensor) -> Tensor:
        """Means over the disk subtracted, zeros outside, the largest entry one."""
        mask = self.mask.to(y.dtype)
        mean = whole((y * mask).sum((-2, -1), keepdim=True) / mask.sum())
        y = (y - mean) * mask
        return y / y.detach().abs().amax((-3, -2, -1), keepdim=True).clamp_min(1.0)


def windows(length: int, size: int, like: Tensor) -> Tensor:
    """(size, length) ones where a pixel belongs to a window; windows lie symmetric about the centre, neighbours may share a pixel."""
    number = torch.arange(size, device=like.device)
    start, stop = number * length // size, -((-(number + 1) * length) // size)
    pixel = torch.arange(length, device=like.device)
    return ((pixel >= start[:, None]) & (pixel < stop[:, None])).to(like.dtype)


def summed_rows(x: Tensor, size: int) -> tuple[Tensor, Tensor | int]:
    """Sums of the rows of ``x`` (..., H, W) over windows, shape (..., size, W), and how many rows they have, (size, 1) or one number."""
    length = x.shape[-2]
    if length % size == 0:
        return x.unflatten(-2, (size, length // size)).sum(-2), length // size
    over = windows(length, size, x)
    return over @ x, over.sum(1, keepdim=True)


def whole(x: Tensor) -> Tensor:
    """Rounded to whole numbers, with the gradient of the identity; in the memory of ``x`` where no gradient is asked for."""
    if not x.requires_grad:
        return x.round_()
    return x.detach().round() + (x - x.detach())


def image_of(inputs: Tree, size: int, owner: Any, channels: int) -> Tensor:
    """The images (B, C, H, W) among the inputs, checked.

    Args:
        inputs: images, or a mapping with one entry.
        size: pixels that the network sees.
        owner: the network, for messages.
        channels: how many it was built for.

    Raises:
        InputError: for several inputs, other axes or channels, complex numbers, and images that are too small.
    """
    if isinstance(inputs, Mapping) and len(inputs) == 1:
        inputs = next(iter(inputs.values()))
    name = type(owner).__name__
    if not isinstance(inputs, Tensor):
        raise InputError(
            explain(
                f"{describe(inputs)} for {name}",
                "images (B, C, H, W)",
                "name the images with of=, or wrap the network in one that picks them",
            )
        )
    if inputs.dim() != 4 or inputs.is_complex():
        raise InputError(
            explain(f"{describe(inputs)} for {name}", "real images (B, C, H, W)", "add the batch or channel axis, or flatten further axes")
        )
    if inputs.shape[1] != channels:
        raise InputError(
            explain(
                f"{describe(inputs)} with {inputs.shape[1]} channels for {name}",
                f"{channels} channels",
                f"build {name}({inputs.shape[1]}, …)",
            )
        )
    least = size // 2
    if min(inputs.shape[-2:]) < least:
        raise InputError(
            explain(
                f"{describe(inputs)} for {name} with size={size}",
                f"images of at least {least} pixels along both sides",
                "enlarge the images, or build it with a smaller size=",
            )
        )
    return inputs
