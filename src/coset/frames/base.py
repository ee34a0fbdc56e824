"""A frame maps inputs to a finite measure on the group, equivariantly: F(hx) = h F(x) up to the stabilizer of x."""

from __future__ import annotations

import abc
import copy
from typing import Any

import torch
from torch import Tensor, nn

from ..actions.base import Action
from ..actions.indices import BatchIndex
from ..actions.layout import Layout
from ..actions.trees import flatten
from ..errors import FrameError, InputError, explain
from ..groups.base import Group
from ..measure import Measure
from ..tree import Tree, first, leaves


class Frame(nn.Module, abc.ABC):
    """Abstract: x -> :class:`~coset.measure.Measure`.

    A frame is built without knowing the data, then bound to the action of the inputs: ``frame.bind(source)`` returns
    a bound copy, which is called with the inputs of the source. ``coset.symmetrize`` binds.

    Facts:
        static: shapes do not depend on data, so the frame passes ``torch.compile(fullgraph=True)`` and export.
        stochastic: two calls differ.
        exact: the symmetrized model is equivariant to rounding; otherwise it is an approximation that says so.
        ordered: the frame depends on the order of points.
        sorts: the frame reads the values of rows to order them.
        matches_points: points that a symmetry exchanges are matched, which is right for models of sets only.
        relaxes: elements come with stand-ins that pass gradients, which want one element in a coset.
        pads: samples may have fewer elements than the measure lists, so that it pays to leave those of weight zero out.
        references: keys of the papers, for ``coset.cite``.
    """

    static: bool = True
    stochastic: bool = False
    exact: bool = True
    ordered: bool = False
    sorts: bool = False
    matches_points: bool = False
    relaxes: bool = False
    pads: bool = False
    references: tuple[str, ...] = ()
    source: Action | None = None
    target: Action | None = None
    of: Any = None

    def bind(self, source: Action, target: Action | None = None) -> Frame:
        """A copy of this frame that knows what its inputs are.

        Args:
            source: how the group moves the inputs.
            target: how it moves the outputs; quadratures of infinite stabilizers are chosen exact for both.

        Raises:
            FrameError: when the frame does not fit the group or the inputs, with the remedy.
        """
        bound = copy.copy(self)
        bound._parameters, bound._buffers, bound._modules = dict(self._parameters), dict(self._buffers), dict(self._modules)
        bound.source, bound.target = source, target
        keys = source.items()
        for key in selected_keys(self.of):
            if key not in keys and list(keys) == [None]:
                raise FrameError(explain(f"of={self.of!r} for a single input {source}", "no key, there is only one input", "leave of= out"))
            if key not in keys:
                raise FrameError(
                    explain(f"of={self.of!r} for inputs {list(keys)}", "a key or position of the source", "name one of its entries")
                )
        bound.prepare(source.group)
        if any(isinstance(getattr(leaf, "action", leaf), BatchIndex) for leaf in keys.values()):
            bound.static = False  # rows of ragged batches are counted
        return bound

    def prepare(self, group: Group) -> None:
        """Check the group and precompute what depends on it; called by :meth:`bind` on the copy."""

    @abc.abstractmethod
    def measure(self, inputs: Tree, at: Layout) -> Measure:
        """The measure of checked inputs."""

    def forward(self, inputs: Tree) -> Measure:
        """The measure of the inputs.

        Raises:
            FrameError: when the frame is not bound, or is not static and is being compiled or exported.
            InputError: when the inputs do not fit the source, or contain NaN or infinity.
        """
        if self.source is None:
            raise FrameError(
                explain(
                    f"a call of the unbound frame {self}",
                    "a bound frame",
                    "call frame.bind(source) first; coset.symmetrize does it for you",
                )
            )
        if torch.compiler.is_compiling():
            if not self.static:
                raise FrameError(NOT_STATIC.format(frame=type(self).__name__))
            return self.measure(inputs, self.source.layout(inputs))
        self.source.check(inputs)
        found = [x for action, x in flatten(self.source, inputs).values() if isinstance(x, Tensor) and action.edges is None]
        if any(leaf.dim() and leaf.shape[0] == 0 for leaf in found):
            raise InputError(explain("an empty batch", "at least one sample", "skip empty batches"))
        if not traced(inputs):
            self.source.check_finite(inputs)
        return self.measure(inputs, self.source.layout(inputs))

    @property
    def group(self) -> Group:
        """The group of the bound source."""
        if self.source is None:
            raise FrameError(explain(f"the unbound frame {self}", "a bound frame", "call frame.bind(source) first"))
        return self.source.group

    @property
    def degree(self) -> int:
        """The polynomial degree that quadratures of stabilizers need for the bound source and target."""
        found = [1]
        for side in (self.source, self.target):
            found += [leaf.degree or 0 for leaf in side.items().values()] if side is not None else []
        return max(found)

    def arguments(self) -> tuple[str, ...]:
        """The printed constructor arguments."""
        return () if self.of is None else (f"of={self.of!r}",)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(self.arguments())})"


NOT_STATIC = (
    "Given: {frame} inside torch.compile or torch.export. Expected: a static frame (frame.static), whose shapes do not depend on data. "
    "To do: compile the wrapped model instead, or choose Full, Quadrature, Given, Sort, PCA(fallback=False) or Minimal without colours, "
    "on dense or padded batches."
)


def refuse_traced(frame: Frame, inputs: Tree) -> None:
    """Raise where values cannot be looked at, for frames that have to.

    Raises:
        FrameError: under compilation and torch.func transforms, with the remedy.
    """
    if traced(inputs):  # true in the parts that torch.compile leaves after a graph break, too
        raise FrameError(
            explain(
                f"{frame} under torch.func transforms or torch.compile",
                "plain tensors, whose values can be looked at",
                "compile or transform the model before wrapping it, and batch along the first axis instead of vmap",
            )
        )


def traced(inputs: Tree) -> bool:
    """True under torch.func transforms and compilation, where values cannot be looked at."""
    return torch.compiler.is_compiling() or any(torch._C._functorch.is_functorch_wrapped_tensor(leaf) for leaf in leaves(inputs))


def selected_keys(of: Any) -> tuple[Any, ...]:
    """``of`` as a tuple of keys; empty for "everything that the group moves"."""
    if of is None:
        return ()
    return tuple(of) if isinstance(of, (tuple, list)) else (of,)


def ordered_leaves(frame: Frame, inputs: Tree) -> list[tuple[Any, Action, Tensor, bool]]:
    """(key, action, data, named) of the moved inputs, those named by ``of=`` first (all are named when it is left out)."""
    keys = selected_keys(frame.of)
    found = flatten(frame.source, inputs)  # type: ignore[arg-type]
    named = [(key, *found[key], True) for key in keys]
    rest = [(key, action, x, not keys) for key, (action, x) in found.items() if key not in keys and action.moves and isinstance(x, Tensor)]
    return named + rest


def device_of(inputs: Tree) -> torch.device:
    """The device of the first input."""
    return first(inputs).device


def wide(dtype: torch.dtype, device: torch.device) -> torch.dtype:
    """The precision that geometry is done in: float64 where the device has it."""
    return torch.float32 if device.type == "mps" else torch.float64
