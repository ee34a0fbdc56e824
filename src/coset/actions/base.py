"""How a group moves one kind of data: ``act(g, x)``, and the few facts that wrappers and audits need.

The law is ``act(g, act(h, x)) = act(gh, x)`` and ``act(identity, x) = x``, bit-exact up to rounding where ``exact``.
"""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..errors import InputError, SignatureError, describe, explain
from ..groups.base import Group
from ..tree import Tree
from .layout import Layout

if TYPE_CHECKING:
    from .signature import Signature


class Action(abc.ABC):
    """How ``group`` moves one kind of data.

    Leaf actions move one tensor; ``Dict`` and ``Tuple`` hold several. Every input tensor has one leading batch axis
    (or is ragged, with a batch index); elements have leading batch axes that broadcast from the left.

    Facts:
        exact: False where resampling makes it only approximately an action.
        linear: ``act(g, .)`` is affine in the data, so that averages over g may be taken of the data.
        moves: False when every element leaves the data alone.
        degree: polynomial degree in the entries of the group's matrices, None where unknown: a quadrature of
            this degree averages the action exactly.
        event: how many trailing axes one item takes (1 for vectors, 2 for matrices, 3 for images with channels).
        per_point: True or False where the user declared it; None when the shape decides.
        averaged: False where outputs of several model calls are not averaged (``Ignore``).
        permuted: how many axes index permutations move.
        only_permuted: nothing but permutations moves the data.
        edges: the sibling edge list that the entries belong to.
        polar: the last axis holds vectors that a frame may be built from.
        affine: translations of the group move the data.
        smooth: ``act`` is differentiable in g along every one-parameter subgroup: interpolation has kinks, a Fourier series has none.
    """

    exact: bool = True
    linear: bool = True
    moves: bool = True
    degree: int | None = 1
    event: int = 0
    per_point: bool | None = None
    averaged: bool = True
    permuted: int = 0
    only_permuted: bool = False
    edges: str | None = None
    polar: bool = False
    affine: bool = False

    def __init__(self, group: Group):
        self.group = group

    @property
    def smooth(self) -> bool:
        """Whether Lie derivatives of this action, and of all that it is made of, exist."""
        parts = [leaf.core() for leaf in self.items().values()]
        return self.exact if parts[0] is self else all(part.smooth for part in parts)

    @abc.abstractmethod
    def act(self, g: Tree, x: Tree, at: Layout | None = None) -> Tree:
        """Move ``x`` by ``g``.

        Args:
            g: an element of ``group`` with batch axes that broadcast from the left against those of ``x``.
            x: the data.
            at: the layout of the batch, needed by ragged data only; computed from ``x`` when left out.
        """

    def layout(self, x: Tree) -> Layout:
        """What this data tells about samples and points."""
        return Layout(samples=x.shape[0])

    def take(self, x: Tree, samples: Tensor, at: Layout | None = None) -> Tree:
        """Pick and repeat samples along the batch axis.

        Args:
            x: the data of B samples.
            samples: (R,) integer sample numbers.
            at: the layout of ``x``.
        """
        return take_rows(x, samples, at or self.layout(x))

    def check(self, x: Tree, name: str = "input") -> None:
        """Raise a coset error when ``x`` cannot be data of this action."""
        if not isinstance(x, Tensor):
            raise InputError(explain(f"{name} is {describe(x)}", f"a tensor for {self}", "pass a torch tensor, or declare another action"))
        if x.dim() < 1 + self.event:
            raise InputError(
                explain(
                    f"{name} is {describe(x)}", f"at least {1 + self.event} axes (one batch axis first) for {self}", "add the batch axis"
                )
            )

    def check_finite(self, x: Tree, name: str = "input") -> None:
        """Raise when moved floating point data contains NaN or infinity (one host synchronization)."""
        if self.moves and isinstance(x, Tensor) and (x.is_floating_point() or x.is_complex()) and not all_finite(x):
            bad = torch.nonzero(~torch.isfinite(x).reshape(x.shape[0], -1).all(-1)).flatten().tolist()
            raise InputError(
                explain(
                    f"{name} is {describe(x)} with NaN or infinite entries in rows {bad[:5]}",
                    "finite numbers",
                    "remove or repair these rows",
                )
            )

    def resolve(self, x: Tree) -> Group:
        """The group with free sizes (``Symmetric()``) fixed to those of ``x``."""
        return self.group

    def point_axes(self, x: Tensor) -> tuple[int, ...]:
        """The axes of ``x`` that index permutations of the group move, counted from the end."""
        return ()

    def shape_labels(self, g: Tree, x: Tree) -> Tensor | None:
        """Booleans of the batch shape of g that tell apart elements which give results of two shapes; None when all agree."""
        return None

    def stacks(self) -> bool:
        """Whether ``each`` and ``total`` exist: sums over elements as products with stacked matrices."""
        return hasattr(self, "each") and not self.group.permutes

    def per_row(self, g: Tree, x: Tensor, at: Layout | None) -> Tree:
        """Elements per sample, spread over the rows of ragged data; shared elements stay as they are."""
        if at is None or at.batch is None:
            return g
        batch = self.group.batch(g)
        return at.spread(g, x) if batch and batch[-1] != 1 else g

    def as_target(self) -> Action:
        """The action of outputs that this describes."""
        return self

    def lonely(self) -> str | None:
        """A sibling that this action names although it stands alone."""
        core = self.core()
        return getattr(core, "mask", None) or getattr(core, "batch", None) if self.items().keys() == {None} else None

    def core(self) -> Action:
        """The action itself, out of any pullbacks."""
        return self

    def items(self) -> dict[str | int | None, Action]:
        """The leaf actions by key or position; a leaf is its own only item, under the key None."""
        return {None: self}

    def __rshift__(self, target: Action) -> Signature:
        from .signature import Signature

        return Signature(self, target)

    def arguments(self) -> tuple[str, ...]:
        """The printed constructor arguments after the group."""
        return ()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join((repr(self.group), *self.arguments()))})"


def all_finite(x: Tensor) -> bool:
    """True when a tensor has neither NaN nor infinity: one pass and one host synchronization."""
    if x.numel() == 0:
        return True
    if x.is_complex():
        x = torch.view_as_real(x.resolve_conj())
    low, high = torch.aminmax(x.detach())
    return bool(torch.isfinite(low) & torch.isfinite(high))


def take_rows(x: Tree, samples: Tensor, at: Layout) -> Tree:
    """Pick samples of a tensor that is dense, or ragged per row; anything else is shared by all samples."""
    if not isinstance(x, Tensor) or x.dim() == 0:
        return x
    if at.batch is not None and at.is_per_point(x, 0):
        rows = at.take(samples)[1]
        return x.index_select(0, rows)  # type: ignore[arg-type]
    if x.shape[0] != at.samples:
        return x
    return x.index_select(0, samples)


def fit(matrix: Tensor, x: Tensor, event: int) -> Tensor:
    """Add axes to per-sample matrices (*batch, d, d) so that they broadcast from the left against ``x``.

    ``x`` has shape (*batch, *middle, *event axes); the result is (*batch, 1 for each middle axis, d, d).
    """
    batch = matrix.dim() - 2
    middle = x.dim() - event - batch
    if middle < 0:
        raise SignatureError(
            explain(
                f"group elements with {batch} batch axes and {describe(x)}",
                f"data with those batch axes first and {event} axes last",
                "give every sample its own leading entry",
            )
        )
    return matrix.reshape(*matrix.shape[:batch], *(1,) * middle, *matrix.shape[batch:])
