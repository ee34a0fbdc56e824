"""The minimal frame of changes of unit: divide by the root mean square length."""

from __future__ import annotations

from typing import Any

import torch

from ..actions.layout import Layout
from ..errors import FrameError, InputError, explain
from ..groups.base import Group
from ..measure import Measure
from ..tree import Tree
from .base import Frame, traced
from .reduced import named_rows, numbers


class NormMinimal(Frame):
    """Bound by ``Minimal`` for ``Scaling``: the root mean square length of the vectors, smooth away from zero."""

    def __init__(self, of: Any):
        super().__init__()
        self.of = of

    def prepare(self, group: Group) -> None:
        """Refuse inputs without vectors."""
        if not any(leaf.polar for leaf in self.source.items().values()):  # type: ignore[union-attr]
            raise FrameError(
                explain(f"a minimal frame of inputs {self.source}", "vectors or points", f"declare what {group} moves as Vectors or Points")
            )

    def measure(self, inputs: Tree, at: Layout) -> Measure:
        """One element."""
        rows, count, _, _ = named_rows(self, inputs, at)
        square = rows.square().sum((1, 2)) / count
        empty = square.detach() == 0
        if not traced(inputs) and self.target is not None and self.target.moves and bool(empty.any()):
            raise InputError(
                explain(
                    f"samples {numbers(empty)} of zeros under {self.group}, which have no size",
                    f"a nonzero vector in every sample, for outputs {self.target} that the group moves",
                    "drop these samples, or ask for invariant outputs",
                )
            )
        length = torch.where(empty, torch.ones_like(square), square).sqrt()
        elements = length[:, None, None] * torch.eye(rows.shape[-1], dtype=rows.dtype, device=rows.device)
        weights = torch.ones_like(length.detach()).unsqueeze(0)
        order = torch.where(empty, -1, 1)
        return Measure(self.group, elements.unsqueeze(0), weights, order, cosets=1)
