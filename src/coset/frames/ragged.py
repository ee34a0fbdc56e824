"""Ragged batches of graphs on the host: which rows and which edges belong to which graph, and what is wrong with them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..actions.base import Action
from ..actions.indices import Edges
from ..actions.layout import Layout
from ..actions.still import Trivial
from ..errors import FrameError, InputError, describe, explain
from ..orbits import on_edges

Array = Any


@dataclass(frozen=True)
class Split:
    """Items of a ragged batch, sample after sample: ``split[b]`` are those of sample b.

    Attributes:
        items: item numbers, those of one sample in a row.
        starts: (B + 1,) where each sample begins.
    """

    items: Array
    starts: Array

    @classmethod
    def of(cls, owner: Array, samples: int) -> Split:
        """Split items by the sample that they belong to."""
        items = np.argsort(owner, kind="stable")
        return cls(items, np.searchsorted(owner[items], np.arange(samples + 1)))

    def __getitem__(self, sample: int) -> Array:
        return self.items[self.starts[sample] : self.starts[sample + 1]]

    def slots(self) -> Array:
        """(N,) the place of every item within its sample."""
        found = np.empty_like(self.items)
        sizes = np.diff(self.starts)
        found[self.items] = np.arange(len(self.items)) - np.repeat(self.starts[:-1], sizes)
        return found


def edge_list(leaves: dict[Any, tuple[Action, Any]], at: Layout) -> Any:
    """The only edge list, checked against the batch index, and no node features in disguise."""
    lists = [(key, x) for key, (action, x) in leaves.items() if isinstance(action.core(), Edges)]
    if not lists and at.batch is not None:
        lists = [("edges", torch.zeros(2, 0, dtype=torch.long))]
    if len(lists) != 1 or at.batch is None:
        raise FrameError(
            explain(
                f"{len(lists)} edge lists" + ("" if at.batch is not None else " without nodes"),
                "one edge list, with actions.Nodes or a BatchIndex beside it",
                "declare actions.Dict(x=actions.Nodes(G), edge_index=actions.Edges(G), batch=actions.BatchIndex(G))",
            )
        )
    key, edges = lists[0]
    count = at.rows or 0
    apart = at.batch[edges[0].to(at.batch.device)] != at.batch[edges[1].to(at.batch.device)]
    if bool(apart.any()):
        raise InputError(
            explain(
                f"{key} with edges {apart.nonzero().flatten()[:5].tolist()} between different graphs",
                "edges within one graph",
                "check the batch index and the offsets of the edge list",
            )
        )
    _refuse_still_rows(leaves, at, count)
    return edges.cpu().numpy()


def _refuse_still_rows(leaves: dict[Any, tuple[Action, Any]], at: Layout, count: int) -> None:
    """Features per node that were declared not to move with their nodes are a mistake."""
    for name, (action, x) in leaves.items():
        core = action.core()
        still = isinstance(core, Trivial) and isinstance(x, Tensor) and action.per_point is not False and not on_edges(action, x, at)
        if still and x.dim() and x.shape[0] == count != at.samples:
            raise InputError(
                explain(
                    f"input {name!r}, {describe(x)}, declared Trivial beside graphs of {count} nodes",
                    "node features that move with their nodes",
                    "declare actions.Nodes(group), or Trivial(group, points=False) if it is not per node",
                )
            )
