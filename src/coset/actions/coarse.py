"""Coarse fields: outputs of strided networks, one cell for every ``stride`` pixels, under shifts of the pixels."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import InputError, SignatureError, describe, explain
from ..groups.base import Group
from ..tree import Tree
from .base import Action
from .layout import Layout
from .pixels import grid_sizes, pick_pixels, rolled_pixels


class Coarse(Action):
    """A field of H / stride x W / stride cells under circular shifts of H x W pixels: whole cells move.

    Shifts by multiples of the stride move the field exactly. Of any other shift the whole cells are taken, and a residual phase of
    less than one cell is left, which the field cannot carry: ``exact`` is False. After a shift by t, cell (i, j) stands for the pixels
    from (stride i + t mod stride) on; under ``frames.Polyphase`` that phase is ``stats.scores["phase"]``.

    Shapes: (B, ..., H / stride, W / stride).

    Args:
        group: ``Torus(H, W)``.
        stride: pixels of a cell, along both axes.

    Raises:
        SignatureError: for another group, or a stride that does not divide H and W.

    Example:
        >>> import torch
        >>> from coset import actions, groups
        >>> cells = torch.tensor([[[1, 2], [3, 4]]])
        >>> actions.Coarse(groups.Torus(8, 8), stride=4).act(torch.tensor([[0, 4]]), cells)
        tensor([[[2, 1],
                 [4, 3]]])
    """

    exact = False
    degree = None
    event = 2
    per_point = False

    def __init__(self, group: Group, stride: int):
        sizes = grid_sizes(group)
        fits = isinstance(stride, int) and not isinstance(stride, bool) and stride >= 1
        if sizes is None or len(sizes) != 2 or not fits or any(n % stride for n in sizes):
            raise SignatureError(
                explain(
                    f"Coarse of {group} with stride={stride!r}",
                    "Torus(H, W) and a stride that divides H and W",
                    "pad or crop the images to a multiple of the stride",
                )
            )
        super().__init__(group)
        self.stride, self.cells = stride, tuple(n // stride for n in sizes)

    def act(self, g: Tree, x: Tensor, at: Layout | None = None) -> Tensor:
        """Move whole cells."""
        g = g if at is None else at.spread(g, x)
        return pick_pixels(rolled_pixels(torch.div(g, self.stride, rounding_mode="floor"), self.cells), x)

    def check(self, x: Tree, name: str = "input") -> None:
        """Refuse another number of cells.

        Raises:
            InputError: with both sizes.
        """
        super().check(x, name)
        if tuple(x.shape[-2:]) != self.cells:
            raise InputError(
                explain(
                    f"{name} is {describe(x)}",
                    f"{self.cells[0]} x {self.cells[1]} cells of {self.stride} pixels for {self.group}",
                    "declare the stride of the network's output",
                )
            )

    def arguments(self) -> tuple[str, ...]:
        """The stride."""
        return (f"stride={self.stride}",)
