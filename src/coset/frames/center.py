"""The centroid fixes translations."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..actions.layout import Layout
from ..errors import FrameError, explain
from ..groups.base import Group
from ..measure import Measure
from ..tree import Tree, first
from .base import Frame, device_of, ordered_leaves
from .clouds import centroid, dense_rows


class Center(Frame):
    """Move the centroid of the points to the origin: the exact, smooth frame of the translation group.

    For a Euclidean group put it first in a chain: ``Chain(Center(), Quadrature(5))``.

    Args:
        of: key of the positions; the first positions when left out.

    Example:
        >>> import torch
        >>> from coset import actions, frames, groups
        >>> bound = frames.Center().bind(actions.Points(groups.Translation(2)))
        >>> bound(torch.tensor([[[0.0, 0.0], [2.0, 4.0]]])).elements
        tensor([[[1., 2.]]], dtype=torch.float64)
    """

    def __init__(self, of: Any = None):
        super().__init__()
        self.of = of

    def prepare(self, group: Group) -> None:
        """Refuse groups that contain more than translations, or inputs without positions."""
        if not group.translates or group.orthogonal or group.permutes:
            raise FrameError(
                explain(
                    f"{self} on {group}",
                    "a translation group",
                    "for a Euclidean group use frames.Chain(frames.Center(), …) or frames.Minimal()",
                )
            )
        if not any(leaf.affine for leaf in self.source.items().values()):  # type: ignore[union-attr]
            raise FrameError(
                explain(f"{self} on inputs {self.source}", "positions, which translations move", "declare them as actions.Points")
            )

    def measure(self, inputs: Tree, at: Layout) -> Measure:
        """The centroid, one element."""
        shift = self.centroid(inputs, at)
        weights = torch.ones(1, at.samples, dtype=shift.dtype, device=shift.device)
        order = torch.ones(at.samples, dtype=torch.long, device=device_of(inputs))
        noise = 4 * torch.finfo(first(inputs).dtype).eps * shift.detach().abs().amax(1) if first(inputs).is_floating_point() else None
        return Measure(self.group, shift.unsqueeze(0), weights, order, cosets=1, noise=noise)

    def centroid(self, inputs: Tree, at: Layout) -> Tensor:
        """(B, d) centroids of the first positions."""
        _, _, x, _ = next(entry for entry in ordered_leaves(self, inputs) if entry[1].affine)
        rows, mask = dense_rows(x, at)
        return centroid(rows, mask)
