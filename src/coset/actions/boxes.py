"""Boxes: all four corners move with the image, the result is their hull."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import InputError, SignatureError, explain
from ..groups.base import Group
from ..tree import Tree
from .layout import Layout
from .pixels import grid_sizes, nearest_turn, plane_matrix
from .places import Places, Size, move_places

SLACK = 1e-2
"""By how many pixels rounding may move a box over the border."""


class Boxes(Places):
    """Axis-parallel boxes (x1, y1, x2, y2), x right and y down, pixel centres at integers.

    Turns by quarters and flips map boxes to boxes, exactly. Any other rotation gives the hull of the four moved corners,
    which only grows: ``exact`` and ``linear`` are then False. Quarter turns of a non-square image land in the turned image;
    there, name the sibling image, whose size is looked up at every call.

    Shapes: (B, n, 4); n may be 0.

    Args:
        group: a group with real 2 x 2 matrices.
        size: (H, W) of the image, or the key of the sibling image.
        clip: cut boxes off at the border of the moved image, -1/2 and W - 1/2 (0 and W - 1 for integer boxes).

    Raises:
        SignatureError: for a group that does not move the plane or shifts it circularly, or a wrong size.

    Example:
        >>> import torch
        >>> from coset import actions, groups
        >>> boxes = torch.tensor([[[0.0, 0.0, 2.0, 1.0]]])
        >>> actions.Boxes(groups.Cyclic(4), size=(10, 10)).act(torch.tensor([1]), boxes)
        tensor([[[0., 7., 1., 9.]]])
    """

    width = 4

    def __init__(self, group: Group, *, size: Size, clip: bool = False):
        super().__init__(group, size)
        if grid_sizes(group) is not None:
            raise SignatureError(
                explain(
                    f"Boxes of {group}",
                    "a group that maps boxes to boxes; a circular shift cuts them at the border",
                    "use Mask, or Keypoints of the corners",
                )
            )
        self.clip, self.exact = clip, self.whole
        self.linear = self.whole and not clip

    def act(self, g: Tree, x: Tensor, at: Layout | None = None) -> Tensor:
        """The hull of the four moved corners."""
        g = g if at is None else at.spread(g, x)
        size = self.image_size(at)
        corners = x[..., [0, 1, 2, 1, 0, 3, 2, 3]].unflatten(-1, (4, 2))
        moved = move_places(self, g, corners, size)
        hull = torch.cat([moved.amin(-2), moved.amax(-2)], -1)
        return self._clipped(g, hull, size) if self.clip else hull

    def check_finite(self, x: Tree, name: str = "input") -> None:
        """Refuse NaN and infinity, and boxes outside of an image whose size is declared.

        Raises:
            InputError: naming the samples.
        """
        super().check_finite(x, name)
        if not isinstance(self.size, str):
            self.check_inside(x, name)

    def check_inside(self, x: Tree, name: str = "input", at: Layout | None = None) -> None:
        """Refuse boxes outside of the image, or with corners in the wrong order; hulls of tilted boxes and clipped ones may reach out.

        Raises:
            InputError: naming the samples.
        """
        if not self.exact or self.clip or not x.numel():
            return
        height, width = self.image_size(at)
        low, high = x.detach()[..., :2], x.detach()[..., 2:]
        size = torch.tensor([width, height], device=x.device, dtype=torch.float64)
        wrong = (low.double() < -0.5 - SLACK) | (high.double() > size - 0.5 + SLACK) | (high < low)
        if bool(wrong.any()):
            rows = wrong.flatten(1).any(1).nonzero().flatten()[:5].tolist()
            raise InputError(
                explain(
                    f"{name} with boxes outside of the image or of negative size in samples {rows}",
                    f"x1 <= x2 between -0.5 and {width - 0.5}, y1 <= y2 between -0.5 and {height - 0.5}",
                    "check the order (x1, y1, x2, y2) and the units (pixels), or declare clip=True",
                )
            )

    def _clipped(self, g: Tree, hull: Tensor, size: tuple[int, int]) -> Tensor:
        """Cut off at the border; the border of the moved image is that of an image without shift or tilt."""
        edge = 0.5 if hull.is_floating_point() else 0
        swap = nearest_turn(plane_matrix(self.group, g))[..., 0, 1] != 0
        last = torch.stack([torch.where(swap, n, m) for n, m in (size, size[::-1])] * 2, -1) - 1 + edge
        last = last.reshape(*last.shape[:-1], *(1,) * (hull.dim() - last.dim()), 4)
        return hull.clamp(min=-edge).minimum(last.to(hull.dtype))

    def arguments(self) -> tuple[str, ...]:
        """Size and clip."""
        return (*super().arguments(), *(("clip=True",) if self.clip else ()))
