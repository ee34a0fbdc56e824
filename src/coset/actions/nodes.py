"""Rows of ragged graphs: node features (N, ...), permuted within each graph."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import InputError, SignatureError, describe, explain
from ..groups.base import Group
from ..groups.ragged import RaggedSymmetric
from ..tree import Tree
from .base import Action
from .indices import BatchIndex, Edges, ragged_rows
from .layout import Layout


class Nodes(Action):
    """Node features (N, ...) of ragged graphs, as in PyTorch Geometric: permutations move rows within each graph.

    A sibling ``BatchIndex`` says which graph a row belongs to; without one all rows are one graph. Elements are (B, n)
    with n the number of nodes of the largest graph; a graph with fewer reads its first ones.

    Example:
        >>> import torch
        >>> from coset import actions, groups
        >>> S = groups.Symmetric()
        >>> actions.Nodes(S).act(torch.tensor([[1, 2, 0]]), torch.tensor([10, 20, 30]))
        tensor([30, 10, 20])
    """

    only_permuted = True
    per_point = True

    def __init__(self, group: Group):
        super().__init__(group)
        if not group.permutes or group.dim is not None or group.translates:
            raise SignatureError(
                explain(
                    f"Nodes of {group}",
                    "Symmetric(), the permutations of nodes alone",
                    "for a product with a matrix group pad the graphs and use Permute(G, -2) beside a PointMask; for a matrix group alone "
                    "use Trivial",
                )
            )
        self.per_point = True
        self.permuted = 1

    def act(self, g: Tree, x: Tensor, at: Layout | None = None) -> Tensor:
        """Move the rows of every graph by its permutation."""
        layout = at if at is not None and at.batch is not None else self.layout(x)
        if layout.rows != x.shape[0]:
            raise InputError(explain(f"{describe(x)} for {layout.rows} nodes", "one row for every node", "return or pass one row per node"))
        target = ragged_rows(self.group.permutation(g), layout)  # type: ignore[arg-type]
        return torch.empty_like(x).index_copy(0, target, x)

    def layout(self, x: Tensor) -> Layout:
        """All rows are one graph, unless a sibling says otherwise."""
        return Layout(samples=1, batch=torch.zeros(x.shape[0], dtype=torch.long, device=x.device), single=True)

    def resolve(self, x: Tensor) -> Group:
        """Fix the number of nodes of ``Symmetric()``."""
        return RaggedSymmetric((x.shape[0],))

    def point_axes(self, x: Tensor) -> tuple[int, ...]:
        """The first axis."""
        return (-x.dim(),)

    def check(self, x: Tree, name: str = "input") -> None:
        """Refuse anything but a tensor with rows, of which there are not more than the group permutes."""
        super().check(x, name)
        fixed = getattr(self.group, "n", None)
        if isinstance(fixed, int) and x.shape[0] % fixed:
            raise InputError(
                explain(f"{name} is {describe(x)}", f"graphs of {fixed} nodes, moved by {self.group}", "use Symmetric() for any number")
            )


def check_ragged(seen: dict[str, tuple[Action, Tensor]]) -> None:
    """Refuse node features and batch indices of different lengths, and edges to nodes that are not there.

    Args:
        seen: leaf actions with their data, by name.

    Raises:
        InputError: naming them (one host synchronization where there are edges).
    """
    rows = {path: value.shape[0] for path, (leaf, value) in seen.items() if isinstance(leaf, (Nodes, BatchIndex))}
    if len(set(rows.values())) > 1:
        raise InputError(explain(f"different numbers of rows {rows}", "one row for every node", "check the batch index"))
    for path, (leaf, value) in seen.items():
        if not rows or not isinstance(leaf, Edges) or not value.numel():
            continue
        low, high, count = *map(int, torch.aminmax(value)), next(iter(rows.values()))
        if low < 0 or high >= count:
            raise InputError(explain(f"{path} with node numbers from {low} to {high}", f"0 to {count - 1}", "check the edge list"))
