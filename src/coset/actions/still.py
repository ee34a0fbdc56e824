"""Data that the group does not move: scalars and labels (``Trivial``), and everything else that rides along (``Ignore``)."""

from __future__ import annotations

from ..errors import InputError, describe, explain
from ..groups.base import Group
from ..tree import Tree
from .base import Action
from .layout import Layout


class Trivial(Action):
    """Invariant data: energies, classes, species, charges. Outputs of a symmetrized model are averaged.

    Example:
        >>> import torch
        >>> from coset import actions, groups
        >>> actions.Trivial(groups.Cyclic(4)).act(torch.tensor([1]), torch.tensor([[7.0]]))
        tensor([[7.]])
    """

    moves = False
    degree = 0

    def __init__(self, group: Group, *, points: bool | None = None):
        super().__init__(group)
        self.per_point = points

    def act(self, g: Tree, x: Tree, at: Layout | None = None) -> Tree:
        """The data itself."""
        return x

    def check(self, x: Tree, name: str = "input") -> None:
        """Refuse tensors without a batch axis."""
        if hasattr(x, "dim") and x.dim() == 0:
            raise InputError(
                explain(f"{name} is {describe(x)}", "one leading batch axis", "return one value per sample, or declare it Ignore")
            )

    def arguments(self) -> tuple[str, ...]:
        """Whether it was declared per point."""
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
