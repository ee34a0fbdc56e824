"""Check the declared actions before anything is said about the model: identity, composition, inverse, and that they move."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..actions.base import Action
from ..actions.layout import Layout
from ..actions.signature import Signature
from ..groups.base import Group
from ..tree import Tree, leaves, tree_map
from .elements import draw, order_of, sizes
from .norms import act_on, difference, named_leaves, root_mean, squares

EXHAUSTIVE = 64


@dataclass(frozen=True)
class Law:
    """One checked law.

    Attributes:
        data: which input or output it was checked on.
        law: ``identity``, ``composition`` or ``inverse``.
        error: the mean residual, relative to the RMS norm of the data.
        largest: the largest residual, relative to the largest data on the way.
        tolerance: what rounding explains; None for an action that is declared approximate.
    """

    data: str
    law: str
    error: float
    largest: float
    tolerance: float | None

    @property
    def holds(self) -> bool:
        """False when an exact action breaks the law beyond rounding."""
        return self.tolerance is None or self.largest <= self.tolerance


@dataclass
class Laws:
    """What was found about the actions of a signature.

    Attributes:
        checks: every law on every input and output.
        moved: by input name, the largest relative change that a sampled element causes.
        still: by name of an input that is declared to move, the change that rounding alone may cause.
    """

    checks: list[Law] = field(default_factory=list)
    moved: dict[str, float] = field(default_factory=dict)
    still: dict[str, float] = field(default_factory=dict)

    @property
    def error(self) -> float:
        """The largest residual over all laws."""
        return max((law.largest for law in self.checks), default=0.0)

    def floor(self, side: str) -> float:
        """The largest mean residual of composition and round trip on one side (``input`` or ``output``)."""
        return max((law.error for law in self.checks if law.data.startswith(side) and law.law != "identity"), default=0.0)

    def failures(self) -> list[str]:
        """The broken laws, in words."""
        return [
            f"the declared action of {law.data} breaks the law of {law.law}: "
            f"relative error {law.largest:.2e} where rounding explains {law.tolerance:.0e}"
            for law in self.checks
            if not law.holds
        ]


def rounding(dtype: torch.dtype) -> float:
    """The relative residual of an action law that rounding explains."""
    eps = _eps(dtype)
    return min(max(1e3 * eps, 1e-9), 0.1) if eps else 0.0


def _eps(dtype: torch.dtype) -> float:
    return torch.finfo(dtype).eps if dtype.is_floating_point or dtype.is_complex else 0.0


def pairs(group: Group, samples: int, rows: int, generator: torch.Generator, like: Tensor) -> tuple[Tree, Tree]:
    """Elements g and h for every row, leading axes (rows, S): all pairs of a small finite group, else random ones."""
    n = order_of(group)
    if n is not None and n**2 <= EXHAUSTIVE:
        first = torch.arange(n).repeat_interleave(n)
        second = torch.arange(n).repeat(n)
        every = draw(group, rows, n, generator, like).elements
        return tree_map(lambda e: e[:, first.to(e.device)], every), tree_map(lambda e: e[:, second.to(e.device)], every)
    return tuple(draw(group, rows, samples, generator, like).elements for _ in range(2))  # type: ignore[return-value]


@dataclass(frozen=True)
class State:
    """Inputs with their layout, and (on the output side) the output that belongs to them; moved together."""

    x: Tree
    at: Layout
    y: Tree = None


class Side:
    """One side of a signature on its data: moves it, and compares two versions of it.

    Args:
        signature: the declared type.
        state: inputs, and the output when this is the output side.
        name: ``input`` or ``output``.
    """

    def __init__(self, signature: Signature, state: State, name: str):
        self.signature, self.start, self.name = signature, state, name
        self.action = signature.source if name == "input" else signature.target
        self.entries = {label: (item, t) for label, item, t in self.tensors(state)}
        self.scale = {label: root_mean(squares(t, state.at, item.event)) for label, (item, t) in self.entries.items()}

    def tensors(self, state: State) -> list[tuple[str, Action, Tensor]]:
        """The described tensors of this side."""
        return list(named_leaves(self.action, state.x if self.name == "input" else state.y, self.name))

    def move(self, g: Tree, state: State) -> State:
        """Move inputs (and output) by g."""
        x = self.signature.source.act(g, state.x, state.at)
        y = None if state.y is None else act_on(self.signature.target, g, state.y, state.at)
        return State(x, self.signature.source.layout(x), y)

    def gaps(self, a: State, b: State) -> dict[str, Tensor]:
        """Norm of the difference per sample for every tensor."""
        pairs = zip(self.tensors(a), self.tensors(b), strict=True)
        return {label: _gap(u, v, b.at, item.event) for (label, item, u), (_, _, v) in pairs}

    def norms(self, a: State) -> dict[str, Tensor]:
        """Norm per sample for every tensor."""
        return {label: squares(u.detach(), a.at, item.event).sqrt() for label, item, u in self.tensors(a)}


def _gap(u: Tensor, v: Tensor, at: Layout, event: int) -> Tensor:
    if u.shape != v.shape:
        return torch.full((at.samples,), math.inf, dtype=torch.float64, device=u.device)
    return difference(u, v, at, event)


Residual = tuple[str, dict[str, Tensor], dict[str, Tensor]]


def check_side(side: Side, group: Group, samples: int, generator: torch.Generator, laws: Laws) -> None:
    """Measure the three laws on one side and note how far its data moves; findings go to ``laws``.

    Args:
        side: the action with B samples of data.
        group: the resolved group.
        samples: pairs of elements per sample.
        generator: source of randomness.
        laws: where the findings go.
    """
    many = pairs(group, samples, side.start.at.samples, generator, floating(side.start.x))
    found: dict[tuple[str, str], list[tuple[Tensor, Tensor]]] = {}
    for s in range(next(leaves(many)).shape[1]):
        g, h = (tree_map(lambda e, s=s: e[:, s], t) for t in many)
        for law, gap, top in _residuals(side, group, g, h, laws):
            for label, value in gap.items():
                found.setdefault((label, law), []).append((value, top[label]))
    laws.still.update({label: 100 * _eps(t.dtype) for label, (item, t) in side.entries.items() if item.moves})
    for (label, law), values in found.items():
        gaps, tops = torch.stack([v for v, _ in values]), torch.stack([t for _, t in values])
        action, tensor = side.entries[label]
        scale = side.scale[label] or float(tops.max()) or 1.0
        ratio = torch.where(gaps == 0, gaps, gaps / tops.clamp_min(1e-300)).nan_to_num(nan=math.inf)
        laws.checks.append(
            Law(label, law, float(gaps.mean()) / scale, float(ratio.max()), rounding(tensor.dtype) if action.exact else None)
        )


def floating(x: Tree) -> Tensor:
    """The first floating point tensor of a tree, else its first tensor: decides the dtype and device of elements."""
    found = list(leaves(x))
    return next((t for t in found if t.is_floating_point() or t.is_complex()), found[0])


def _residuals(side: Side, group: Group, g: Tree, h: Tree, laws: Laws) -> Iterator[Residual]:
    """Identity, composition and inverse for one pair per sample: (law, gaps, largest norms on the way)."""
    start, example = side.start, next(leaves(g))
    dtype = example.dtype if example.is_floating_point() or example.is_complex() else None
    same = side.move(group.identity(start.at.samples, dtype=dtype, device=example.device), start)
    hx = side.move(h, start)
    ghx = side.move(g, hx)
    tops = [side.norms(state) for state in (start, hx, ghx)]
    top = {label: torch.stack([norms[label] for norms in tops]).amax(0) for label in tops[0]}
    yield "identity", side.gaps(same, start), tops[0]
    yield "composition", side.gaps(ghx, side.move(group.compose(g, h), start)), top
    yield "inverse", side.gaps(side.move(group.inverse(h), hx), start), top
    real = sizes(group, h)[0].reshape(-1) > 1e-6
    for label, gap in side.gaps(hx, start).items():
        far = torch.where(gap == 0, gap, gap / top[label].clamp_min(1e-300))[real]
        laws.moved[label] = max(laws.moved.get(label, 0.0), float(far.max()) if far.numel() else 0.0)
