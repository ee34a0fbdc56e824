"""The minimal frame of S_n on rows: lexicographic sort; equal rows are one class, averaged without listing permutations."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..actions.base import Action
from ..actions.indices import Edges
from ..actions.layout import Layout
from ..actions.nodes import Nodes
from ..errors import FrameError, InputError, explain
from ..groups.base import Group
from ..measure import Measure
from ..tree import Tree
from .base import Frame, device_of, ordered_leaves, traced


class Sort(Frame):
    """Sort the rows of a set lexicographically: exact for S_n with one model call, at repeated rows too.

    Rows that agree (to rounding) in everything the model sees are interchangeable; outputs are averaged over each class of equal
    rows. Gradients flow through the sorted values; the order itself is piecewise constant.

    Args:
        of: key of the rows (or several) that decide first; other inputs that the group permutes break ties.

    Reference: Lin et al. 2024, arXiv 2406.07598.

    Example:
        >>> import torch
        >>> from coset import actions, frames, groups
        >>> S = groups.Symmetric()
        >>> frames.Sort().bind(actions.Permute(S, -1))(torch.tensor([[3.0, 1.0, 2.0]])).elements
        tensor([[[1, 2, 0]]])
    """

    references = ("lin2024minimal",)
    sorts = True

    def __init__(self, of: Any = None):
        super().__init__()
        self.of = of

    def prepare(self, group: Group) -> None:
        """Refuse groups other than S_n and inputs that rows cannot fix."""
        if not group.permutes or group.selective or group.dim is not None or group.translates:
            raise FrameError(
                explain(
                    f"{self} on {group}",
                    "the symmetric group on rows",
                    "use frames.Minimal(), frames.Chain for a product, or frames.Full() for a finite group of some permutations",
                )
            )
        moved = {key: leaf for key, leaf in self.source.items().items() if leaf.moves}  # type: ignore[union-attr]
        if not any(leaf.permuted == 1 for leaf in moved.values()):
            raise FrameError(
                explain(
                    f"{self} of inputs {self.source}",
                    "an input with one permuted axis",
                    "use frames.Relabel() for adjacency matrices alone",
                )
            )
        ragged = [key for key, leaf in moved.items() if isinstance(leaf.core(), (Nodes, Edges))]
        if ragged:
            raise FrameError(
                explain(f"{self} of the ragged inputs {ragged}", "dense rows (B, n, c)", "use frames.Relabel() or frames.Minimal()")
            )
        self._pairs = [key for key, leaf in moved.items() if leaf.permuted > 1]

    def measure(self, inputs: Tree, at: Layout) -> Measure:
        """The sorting permutation, one element, and the classes of equal rows."""
        keys = torch.cat([_rows(action, x) for _, action, x, _ in ordered_leaves(self, inputs) if len(action.point_axes(x)) == 1], -1)
        ranks = rank_columns(keys, [x for _, action, x, _ in ordered_leaves(self, inputs) if len(action.point_axes(x)) == 1])
        order = lexicographic(ranks)
        ranked = ranks.gather(1, order.unsqueeze(-1).expand_as(ranks))
        new = (ranked[:, 1:] != ranked[:, :-1]).any(-1)
        ties = torch.nn.functional.pad(new.long().cumsum(1), (1, 0))
        counts = torch.zeros_like(ties).scatter_add(1, ties, torch.ones_like(ties))
        if self._pairs and not traced(inputs) and bool((counts > 1).any()):
            raise InputError(
                explain(
                    f"equal rows in samples {(counts > 1).any(1).nonzero().flatten()[:5].tolist()} beside pairwise inputs {self._pairs}",
                    "rows that tell points apart",
                    "use frames.Relabel(), or add node features",
                )
            )
        total = torch.lgamma(counts.double() + 1).sum(1).exp().round()
        orders = torch.where(total < 2**53, total, -torch.ones_like(total)).long()
        weights = torch.ones(1, keys.shape[0], device=device_of(inputs), dtype=torch.float64)
        return Measure(self.group, order.unsqueeze(0), weights, orders, cosets=1, ties=ties)


def _rows(action: Action, x: Tensor) -> Tensor:
    """The permuted axis first, everything else flattened: (B, n, c), detached."""
    (axis,) = action.point_axes(x)
    values = x.detach().movedim(axis, 1).flatten(2) if x.dim() > 2 else x.detach().unsqueeze(-1)
    return values.to(torch.float64) if not values.is_complex() else torch.view_as_real(values).flatten(2).double()


def rank_columns(keys: Float[Tensor, "B n c"], inputs: list[Tensor]) -> Float[Tensor, "B n c"]:
    """The rank of every entry within its column; entries that differ by rounding noise only have one rank.

    Noise is 32 eps of the inputs' precision, relative to the column; integers are compared exactly. Ranks depend on
    the set of values only, so rows keep one order however they are given.
    """
    eps = max([torch.finfo(x.dtype).eps for x in inputs if x.is_floating_point() or x.is_complex()], default=0.0)
    noise = 32 * eps * keys.abs().amax(1, keepdim=True)
    value, order = keys.sort(1)
    step = value[:, 1:] - value[:, :-1] > noise
    ranked = torch.nn.functional.pad(step.to(keys.dtype).cumsum(1), (0, 0, 1, 0))
    return torch.zeros_like(keys).scatter(1, order, ranked)


def lexicographic(keys: Float[Tensor, "B n c"]) -> Int[Tensor, "B n"]:
    """(B, n) indices that sort rows (B, n, c) lexicographically, stable."""
    order = torch.arange(keys.shape[1], device=keys.device).expand(keys.shape[:2])
    for column in range(keys.shape[2] - 1, -1, -1):
        values = keys[..., column].gather(1, order)
        order = order.gather(1, torch.sort(values, dim=1, stable=True).indices)
    return order
