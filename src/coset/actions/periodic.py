"""Periodic images shifted by fractions of a pixel: a phase ramp in Fourier space, exact for band-limited images."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import InputError, SignatureError, describe, explain
from ..groups.base import Group
from ..tree import Tree
from .base import Action
from .layout import Layout
from .pixels import leading, wide


class Periodic(Action):
    """Images on a circle in both axes, read between pixels by their Fourier series.

    A shift multiplies each Fourier coefficient by a phase. Only the highest frequency of an axis of even length cannot carry one: it
    is multiplied by the cosine. So this is an action to rounding on images without that frequency (band-limited ones), and whole
    shifts are those of ``Image(Torus(H, W))`` to rounding; ``exact`` is False for the others.

    Shapes: (B, C, H, W), (B, H, W) or (B, ..., H, W), real or complex.

    Args:
        group: ``RealTorus(H, W)``.

    Raises:
        SignatureError: for another group.
        InputError: for images of another size, and integers.

    Example:
        >>> import torch
        >>> from coset import actions, groups
        >>> wave = torch.cos(torch.arange(8) * torch.pi / 4).expand(1, 8, 8)
        >>> half = actions.Periodic(groups.RealTorus(8, 8)).act(torch.tensor([[0.0, 2.0]]), wave)
        >>> torch.allclose(half, torch.sin(torch.arange(8) * torch.pi / 4).expand(1, 8, 8), atol=1e-6)
        True
    """

    exact = False
    smooth = True
    degree = None
    event = 2
    per_point = False

    def __init__(self, group: Group):
        periods = getattr(group, "periods", None)
        if periods is None or len(periods) != 2:
            raise SignatureError(
                explain(
                    f"Periodic of {group}", "real shifts of two axes", "write groups.RealTorus(H, W), or actions.Image for other groups"
                )
            )
        super().__init__(group)
        self.periods = periods

    def act(self, g: Tree, x: Tensor, at: Layout | None = None) -> Tensor:
        """Shift by (down, right) pixels."""
        g = g if at is None else at.spread(g, x)
        lead = leading(g.shape[:-1], x, 2)
        g = g.to(wide(x.device)).reshape(*g.shape[:-1], *(1,) * (len(lead) - g.dim() + 1), 2)
        spectrum = torch.fft.fft2(x.to(torch.promote_types(x.dtype, g.dtype)))
        down, right = (ramp(g[..., axis], n) for axis, n in enumerate(self.periods))
        moved = torch.fft.ifft2(spectrum * down.unsqueeze(-1) * right.unsqueeze(-2))
        return (moved if x.is_complex() else moved.real).to(x.dtype)

    def layout(self, x: Tensor) -> Layout:
        """The number of samples and the size of the image."""
        return Layout(samples=x.shape[0], size=(x.shape[-2], x.shape[-1]))

    def check(self, x: Tree, name: str = "input") -> None:
        """Refuse images of another size than the group's, and integers.

        Raises:
            InputError: with what was given and what to do.
        """
        super().check(x, name)
        if tuple(x.shape[-2:]) != tuple(self.periods) or not (x.is_floating_point() or x.is_complex()):
            height, width = x.shape[-2:]
            raise InputError(
                explain(
                    f"{name} is {describe(x)}",
                    f"floating point images of height and width {tuple(self.periods)}, shifted by {self.group}",
                    f"use RealTorus({height}, {width}), and convert with .float()",
                )
            )


def ramp(shift: Tensor, n: int) -> Tensor:
    """exp(-2 pi i k t / n) for shifts t (*batch) and all frequencies k, (*batch, n); a cosine at the highest one of even n."""
    frequency = torch.fft.fftfreq(n, 1 / n, dtype=shift.dtype, device=shift.device)
    angle = -2 * torch.pi / n * shift.unsqueeze(-1) * frequency
    cosine, sine = torch.cos(angle), torch.sin(angle)
    if n % 2 == 0:
        sine = sine * (frequency.abs() != n // 2)
    return torch.complex(cosine, sine)
