"""Data that the group does not move: scalars and labels (``Trivial``), and everything else that rides along (``Ignore``)."""

from __future__ import annotations

from torch import Tensor

from ..errors import InputError, describe, explain
from ..groups.base import Group
from ..tree import Tree
from .base import Action
from .layout import Layout, ragged_take


class Trivial(Action):
    """Invariant data: energies, classes, species, charges. Outputs of a symmetrized model are averaged.

    Args:
        group: any group.
        points: True or False where "one entry per point" could be misread from the shape.
        edges: key of the sibling edge list whose edges the entries belong to. Beside an edge list, keys with "edge" in
            their name (``edge_attr``, ``edge_weight``) are taken so by themselves, as in PyTorch Geometric.

    Example:
        >>> import torch
        >>> from coset import actions, groups
        >>> actions.Trivial(groups.Cyclic(4)).act(torch.tensor([1]), torch.tensor([[7.0]]))
        tensor([[7.]])
    """

    moves = False
    degree = 0

    def __init__(self, group: Group, *, points: bool | None = None, edges: str | None = None):
        super().__init__(group)
        self.per_point = False if edges is not None else points
        self.edges = edges

    def act(self, g: Tree, x: Tree, at: Layout | None = None) -> Tree:
        """The data itself."""
        return x

    def take(self, x: Tree, samples: Tensor, at: Layout | None = None) -> Tree:
        """Pick samples; entries of edges are picked with their edges."""
        if at is None or at.edges is None or not isinstance(x, Tensor) or not x.dim() or not self.on_edges(x, at):
            return super().take(x, samples, at)
        return x.index_select(0, ragged_take(at.edges, at.samples, samples)[0])

    def on_edges(self, x: Tensor, at: Layout) -> bool:
        """Whether the entries belong to the edges of ragged graphs."""
        if at.edges is None or x.shape[0] != at.edges.shape[0]:
            return False
        return self.edges is not None or (self.per_point is None and x.shape[0] not in (at.rows, at.samples))

    def check(self, x: Tree, name: str = "input") -> None:
        """Refuse tensors without a batch axis."""
        if hasattr(x, "dim") and x.dim() == 0:
            raise InputError(
                explain(f"{name} is {describe(x)}", "one leading batch axis", "return one value per sample, or declare it Ignore")
            )

    def arguments(self) -> tuple[str, ...]:
        """Whether it was declared per point."""
        if self.edges is not None:
            return (f"edges={self.edges!r}",)
        return () if self.per_point is None else (f"points={self.per_point}",)


class Ignore(Action):
    """Data the symmetry has nothing to say about: options, cached states, strings, None. Outputs come from the first model call.

    Example:
        >>> from coset import actions, groups
        >>> actions.Ignore(groups.Cyclic(4)).act(None, "a label")
        'a label'
    """

    moves = False
    averaged = False
    degree = 0

    def act(self, g: Tree, x: Tree, at: Layout | None = None) -> Tree:
        """The data itself."""
        return x

    def layout(self, x: Tree) -> Layout:
        """The first axis of a tensor may run over samples; of anything else nothing is known."""
        return Layout(samples=x.shape[0] if getattr(x, "ndim", 0) else 0)

    def check(self, x: Tree, name: str = "input") -> None:
        """Anything goes."""
