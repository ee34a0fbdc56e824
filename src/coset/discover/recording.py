"""Networks with traced channels: what they compute on the way, and their weights with channels in another order."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx

from .channels import ZERO, Channels


def reordered(state: dict[str, Tensor], found: Channels, order: Tensor) -> dict[str, Tensor]:
    """The state of the network with its channels in another order: channel n takes the place's entry of channel order[n]."""
    moved = {key: value.detach().clone() for key, value in state.items()}
    for axis in found.axes:
        value = moved[axis.name]
        where = {number: place for place, number in enumerate(axis.ids.tolist()) if number != ZERO}
        index = torch.tensor([i if n == ZERO else where[int(order[n])] for i, n in enumerate(axis.ids.tolist())], device=value.device)
        if axis.grid is not None:
            pixels = axis.grid[0] * axis.grid[1]
            index = (index[:, None] * pixels + torch.arange(pixels, device=value.device)).reshape(-1)
        moved[axis.name] = value.index_select(axis.axis, index)
    return moved


class Recorder(fx.Interpreter):
    """Runs a traced network and keeps its tensors of hidden channels, flattened images as images.

    Args:
        found: the traced network.
    """

    def __init__(self, found: Channels):
        super().__init__(found.graph)
        self.wanted, self.grids = set(found.nodes), found.grids
        self.kept: dict[str, Tensor] = {}
        self.returned: Any = None

    def record(self, x: Tensor) -> Recorder:
        """Run once."""
        self.returned = self.run(x)
        return self

    def run_node(self, n: fx.Node) -> Any:
        """Run one node, and keep what it returns where asked."""
        result = super().run_node(n)
        if n.name in self.wanted:
            self.kept[n.name] = result.unflatten(1, (-1, *self.grids[n.name])) if n.name in self.grids else result
        return result
