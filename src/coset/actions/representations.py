"""Representations given by a function, and the regular representation of a finite group."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..errors import InputError, SignatureError, describe, explain
from ..groups.base import Finite, Group
from ..tree import Tree, first, tree_map
from .base import Action
from .layout import Layout
from .linear import MatrixAction, move_last


class Matrix(MatrixAction):
    """Any linear representation, given as a function from elements to matrices on the last axis.

    Args:
        group: the group.
        function: maps elements with batch axes (...) to matrices (..., D, D); a homomorphism (an audit checks it).
        degree: polynomial degree of the matrices in the group's own; worked out from the Lie algebra when left out.
        points: as for :class:`Vectors`.

    Example:
        >>> import torch
        >>> from coset import actions, groups
        >>> C2 = groups.Cyclic(2)
        >>> def sign(k):
        ...     return (1.0 - 2.0 * k)[..., None, None]
        >>> actions.Matrix(C2, sign).act(torch.tensor([1]), torch.tensor([[5.0]]))
        tensor([[-5.]])
    """

    def __init__(self, group: Group, function: Callable[[Tree], Tensor], *, degree: int | None = None, points: bool | None = None):
        self.function = function
        super().__init__(group, points=points)
        self.degree = degree if degree is not None else highest_weight(group, function)

    def _check_group(self) -> None:
        pass

    def linear_part(self, g: Tree, x: Tensor) -> Tensor:
        """The function's matrix times the last axis."""
        return move_last(self.function(g), x)

    def check(self, x: Tree, name: str = "input") -> None:
        """Refuse data whose last axis does not fit the function's matrices."""
        Action.check(self, x, name)
        group = self.resolve(x)
        size = self.function(group.identity(1)).shape[-1]
        if x.shape[-1] != size:
            raise InputError(
                explain(
                    f"{name} is {describe(x)}",
                    f"a last axis of length {size}, the size of the matrices of {self}",
                    "check the function or the data",
                )
            )

    def arguments(self) -> tuple[str, ...]:
        """The function's name, then options."""
        return (getattr(self.function, "__name__", type(self.function).__name__), *super().arguments())


def highest_weight(group: Group, function: Callable[[Tree], Tensor]) -> int | None:
    """The largest frequency with which one-parameter subgroups turn a representation: its polynomial degree.

    Groups with reflections may carry a determinant besides, so their dimension is added. None for non-compact
    groups; finite groups need no degree and get 0.
    """
    if group.finite:
        return 0
    if not group.compact or not group.lie_dimension:
        return None

    def curve(t: Tensor) -> Tensor:
        return function(group.exp(group.combine(torch.eye(group.lie_dimension, dtype=torch.float64) * t)))

    step = torch.tensor(1e-4, dtype=torch.float64)
    derivative = (curve(step) - curve(-step)) / (2 * step)
    weight = int(torch.linalg.eigvals(derivative.to(torch.complex128)).imag.abs().max().round())
    return weight + (group.dim or 0 if group.reflects else 0)


class Regular(Action):
    """Functions on a finite group, on the last axis: (g x)[h] = x[g^-1 h].

    Shapes: (B, ..., order of the group).

    Example:
        >>> import torch
        >>> from coset import actions, groups
        >>> actions.Regular(groups.Cyclic(3)).act(torch.tensor([1]), torch.tensor([[1.0, 2.0, 3.0]]))
        tensor([[3., 1., 2.]])
    """

    event = 1
    degree = None

    def __init__(self, group: Group):
        if not isinstance(group, Finite) and not group.finite:
            raise SignatureError(explain(f"Regular({group})", "a finite group", "use Irreps or Matrix for continuous groups"))
        super().__init__(group)

    def act(self, g: Tree, x: Tensor, at: Layout | None = None) -> Tensor:
        """Gather along the last axis."""
        g = self.per_row(g, x, at)
        leaf = first(g)
        dtype = leaf.dtype if leaf.is_floating_point() or leaf.is_complex() else None
        elements = self.group.elements(dtype=dtype, device=x.device)
        batch = self.group.index(g).dim()
        back = _unsqueeze_elements(self.group, self.group.inverse(g), batch)
        where = self.group.index(self.group.compose(back, elements))
        where = where.reshape(*where.shape[:batch], *(1,) * (x.dim() - 1 - batch), where.shape[-1])
        shape = torch.broadcast_shapes(where.shape[:-1], x.shape[:-1])
        return x.expand(*shape, -1).gather(-1, where.expand(*shape, -1).to(x.device))

    def check(self, x: Tree, name: str = "input") -> None:
        """Refuse data whose last axis is not the order of the group."""
        super().check(x, name)
        if x.shape[-1] != self.group.order:
            raise InputError(
                explain(
                    f"{name} is {describe(x)}",
                    f"a last axis of length {self.group.order}, the order of {self.group}",
                    "put the group axis last",
                )
            )


def _unsqueeze_elements(group: Group, g: Tree, batch: int) -> Tree:
    """Insert an axis after the batch axes of an element."""
    return tree_map(lambda leaf: leaf.unsqueeze(batch), g)
