"""Keypoints: pixel coordinates that move with the image, left and right exchanged by reflections."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..errors import InputError, SignatureError, describe, explain
from ..groups.base import Group
from ..tree import Tree
from .layout import Layout
from .pixels import grid_sizes, leading, plane_matrix
from .places import Places, Size, move_places


class Keypoints(Places):
    """Keypoints (x right, y down), pixel centres at integers.

    Quarter turns of a non-square image land in the turned image. The size is that of the image which the data lies in:
    for non-square images under quarter turns name the sibling image, whose size is looked up at every call.

    Shapes: (B, n, 2).

    Args:
        group: a group with real 2 x 2 matrices, or ``Torus(H, W)``.
        size: (H, W) of the image, or the key of the sibling image.
        pairs: index pairs that reflections exchange, such as left and right eye; None for none.

    Raises:
        SignatureError: for a group that does not move the plane, a size or pairs that are not.

    Example:
        >>> import torch
        >>> from coset import actions, groups
        >>> eyes = torch.tensor([[[1.0, 0.0], [5.0, 0.0]]])
        >>> mirror = groups.Dihedral(1)
        >>> actions.Keypoints(mirror, size=(4, 10), pairs=[(0, 1)]).act(mirror.elements(), eyes.expand(2, 2, 2))[1]
        tensor([[4., 0.],
                [8., 0.]])
    """

    def __init__(self, group: Group, *, size: Size, pairs: Sequence[tuple[int, int]] | None = None):
        super().__init__(group, size)
        self.pairs = checked_pairs(pairs)
        self.event = 2 if self.pairs else 1
        self._sizes = grid_sizes(group)

    def act(self, g: Tree, x: Tensor, at: Layout | None = None) -> Tensor:
        """Move the coordinates, then exchange the pairs where g reflects."""
        g = g if at is None else at.spread(g, x)
        if self._sizes is not None:
            return self._roll(g, x, self.image_size(at))
        moved = move_places(self, g, x, self.image_size(at))
        if not self.pairs:
            return moved
        determinant = torch.linalg.det(plane_matrix(self.group, g))
        reflected = (determinant < 0).reshape(*determinant.shape, *(1,) * (moved.dim() - determinant.dim()))
        return torch.where(reflected, moved.index_select(-2, self._exchange(moved)), moved)

    def _exchange(self, x: Tensor) -> Tensor:
        order = list(range(x.shape[-2]))
        for i, j in self.pairs:
            order[i], order[j] = j, i
        return torch.tensor(order, device=x.device)

    def _roll(self, g: Tensor, x: Tensor, size: tuple[int, int]) -> Tensor:
        shift = g.flip(-1)  # (down, right) to (x, y)
        shift = shift.reshape(*g.shape[:-1], *(1,) * (len(leading(g.shape[:-1], x, 1)) - g.dim() + 1), 2)
        return torch.remainder(x + shift.to(x.dtype), torch.tensor(size[::-1], device=x.device, dtype=x.dtype))

    def check(self, x: Tree, name: str = "input") -> None:
        """Refuse fewer keypoints than the pairs mention, besides wrong coordinates.

        Raises:
            InputError: with the largest index of the pairs.
        """
        super().check(x, name)
        most = max((i for pair in self.pairs for i in pair), default=-1)
        if self.pairs and x.shape[-2] <= most:
            raise InputError(
                explain(
                    f"{name} is {describe(x)} with {x.shape[-2]} keypoints",
                    f"at least {most + 1}, because pairs={list(self.pairs)}",
                    "give all keypoints in a fixed order, or other pairs",
                )
            )

    def arguments(self) -> tuple[str, ...]:
        """Size and pairs."""
        return (*super().arguments(), *((f"pairs={list(self.pairs)}",) if self.pairs else ()))


def checked_pairs(pairs: Sequence[tuple[int, int]] | None) -> tuple[tuple[int, int], ...]:
    """Disjoint pairs of different non-negative indices.

    Raises:
        SignatureError: for anything else.
    """
    found = [tuple(pair) for pair in pairs or ()]
    flat = [i for pair in found for i in pair]
    if any(len(pair) != 2 for pair in found) or any(not isinstance(i, int) or i < 0 for i in flat) or len(set(flat)) != len(flat):
        raise SignatureError(
            explain(f"pairs={pairs!r}", "disjoint pairs of different indices from 0", "write for instance pairs=[(1, 2), (3, 4)]")
        )
    return tuple((pair[0], pair[1]) for pair in found)
