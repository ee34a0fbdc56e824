"""The peak of the blurred energy of an image: where most of what deviates from its mean is."""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from ..errors import FrameError, explain
from .base import wide
from .shifts import ShiftFrame, budget, doublings, whole


class Peak(ShiftFrame):
    """The pixel around which the image deviates most from its mean, after a blur.

    Everything is counted in whole numbers, so that h follows shifts of the image bit by bit; equal peaks are all taken.

    Args:
        blur: the standard deviation of the Gaussian, in pixels.
        of: which image, by key; the first one when left out.

    Raises:
        FrameError: when the blur is not positive.

    Example:
        >>> import torch
        >>> from coset import actions, frames, groups
        >>> x = torch.zeros(1, 1, 6, 7)
        >>> x[0, 0, 2, 5] = 1.0
        >>> frames.Peak().bind(actions.Image(groups.Torus(6, 7)))(x).elements
        tensor([[[2, 5]]])
    """

    references = ("kaba2023equivariance",)

    def __init__(self, blur: float = 2.0, of: Any = None):
        super().__init__(of)
        if not (isinstance(blur, (int, float)) and 0 < blur < math.inf):
            raise FrameError(explain(f"Peak(blur={blur!r})", "a positive number of pixels", "pass for instance Peak(blur=2.0)"))
        self.blur = float(blur)

    def winners(self, x: Shaped[Tensor, "B C H W"], blind: bool) -> Bool[Tensor, "B H W"]:
        """The pixels of the largest blurred energy."""
        height, width = x.shape[-2:]
        bits = (budget(x.device) - doublings(height) - doublings(width)) // 3
        e = energy(x, bits)
        down, right = (gaussian(n, self.blur, bits, e) for n in (height, width))
        blurred = down @ e @ right
        return blurred == blurred.amax((1, 2), keepdim=True)

    def arguments(self) -> tuple[str, ...]:
        """The blur, where it is not the default."""
        return (*(() if self.blur == 2.0 else (f"blur={self.blur:g}",)), *super().arguments())


def energy(x: Shaped[Tensor, "B C H W"], bits: int) -> Float[Tensor, "B H W"]:
    """The squared deviation from the mean of each channel, summed over channels, in whole numbers."""
    q = whole(x, budget(x.device) // 2 - doublings(x[0, 0].numel()) // 2)
    apart = q - q.mean((2, 3), keepdim=True).round()
    return whole(apart.square(), bits - doublings(x.shape[1])).sum(1)


def gaussian(n: int, blur: float, bits: int, like: Tensor) -> Float[Tensor, "n n"]:
    """A circular Gaussian between all pairs of places, as whole numbers."""
    steps = torch.arange(n, device=like.device)
    apart = (steps[:, None] - steps) % n
    apart = torch.minimum(apart, n - apart)
    heights = ((2**bits - 1) * torch.exp(-(steps.to(wide(torch.float64, like.device)) ** 2) / (2 * blur**2))).round()
    return heights.to(like.dtype)[apart]
