"""Places in an image: pixel coordinates (x right, y down, pixel centres at integers) that move with the picture."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import InputError, SignatureError, describe, explain
from ..groups.base import Group
from ..tree import Tree
from .base import Action
from .layout import Layout
from .pixels import check_plane, grid_facts, leading, nearest_turn, plane_matrix

Size = tuple[int, int] | str


class Places(Action):
    """Abstract: coordinates in an image of a known size, on the last axis.

    Args:
        group: a group of the plane.
        size: (H, W) of the image that the coordinates lie in, or the key of that image among the siblings in a ``Dict``.
    """

    event = 1
    degree = None
    per_point = False
    width: int = 2
    """The length of the last axis."""
    whole: bool
    """Whether every element maps the pixel grid to itself, so that integer coordinates stay integers."""

    def __init__(self, group: Group, size: Size):
        super().__init__(group)
        check_plane(group, type(self).__name__)
        self.size = checked_size(size, type(self).__name__)
        self.whole, _ = grid_facts(group)

    def image_size(self, at: Layout | None) -> tuple[int, int]:
        """The (H, W) that the data lies in.

        Raises:
            SignatureError: when the size is a key and no sibling image of that name is there.
        """
        if not isinstance(self.size, str):
            return self.size
        sizes = dict(at.sizes or ()) if at is not None else {}
        if self.size not in sizes:
            raise SignatureError(
                explain(
                    f"{self} beside the images {sorted(sizes)}",
                    f"a sibling image under the key {self.size!r}",
                    f"declare actions.Dict({self.size}=actions.Image(group), …), or give size=(H, W)",
                )
            )
        return sizes[self.size]

    def check(self, x: Tree, name: str = "input") -> None:
        """Refuse another last axis, booleans, and integers where the group moves them off the grid.

        Raises:
            InputError: with what was given and what to do.
        """
        super().check(x, name)
        if x.shape[-1] != self.width:
            axes = {2: "(x, y)", 4: "(x1, y1, x2, y2)"}[self.width]
            raise InputError(
                explain(
                    f"{name} is {describe(x)} with {x.shape[-1]} columns",
                    f"a last axis {axes} of length {self.width}",
                    "drop other columns (scores, labels), declare them as Trivial beside it",
                )
            )
        if x.dtype == torch.bool or x.is_complex() or not (self.whole or x.is_floating_point()):
            raise InputError(explain(f"{name} is {describe(x)}", f"floating point coordinates for {self}", f"convert: {name}.float()"))

    def arguments(self) -> tuple[str, ...]:
        """The size."""
        return (f"size={self.size!r}",)


def checked_size(size: object, owner: str) -> Size:
    """A size (H, W) of positive integers, or a key.

    Raises:
        SignatureError: for anything else.
    """
    if isinstance(size, str):
        return size
    if isinstance(size, (tuple, list, torch.Size)) and len(size) == 2 and all(isinstance(n, int) and n > 0 for n in size):
        return int(size[0]), int(size[1])
    raise SignatureError(
        explain(
            f"{owner} with size={size!r}",
            "the (H, W) of the image, or the key of a sibling image",
            f"write {owner}(group, size=(480, 640))",
        )
    )


def move_places(action: Places, g: Tree, x: Tensor, size: tuple[int, int]) -> Tensor:
    """Move pixel coordinates (*batch, ..., 2) about the centre; odd quarter turns land in an image of W x H."""
    dtype = x.dtype if x.is_floating_point() else torch.float64
    matrix = plane_matrix(action.group, g)
    turn = matrix.detach().round().to(torch.int64) if action.whole else nearest_turn(matrix)
    swap = turn[..., 0, 1] != 0
    new = torch.stack([torch.where(swap, n, m) for n, m in (size, size[::-1])], -1)  # (width, height) after the turn
    matrix = (turn if action.whole else matrix).to(dtype)
    shift = action.group.shift(g)
    batch = matrix.shape[:-2]
    middle = len(leading(batch, x, 1)) - len(batch)

    def fit(value: Tensor) -> Tensor:
        return value.to(dtype).reshape(*batch, *(1,) * middle)

    # twice the centred coordinates, y up
    right, up = 2 * x[..., 0].to(dtype) - (size[1] - 1), (size[0] - 1) - 2 * x[..., 1].to(dtype)
    a, b, c, d = (fit(entry) for entry in matrix.flatten(-2).unbind(-1))
    right, up = a * right + b * up, c * right + d * up
    if shift is not None:
        right, up = right + 2 * fit(shift[..., 0]), up + 2 * fit(shift[..., 1])
    moved = torch.stack([(right + fit(new[..., 0] - 1)) / 2, (fit(new[..., 1] - 1) - up) / 2], -1)
    return moved if x.is_floating_point() else moved.round().to(x.dtype)
