"""Reduce a group to its rotations: an element that makes the inputs upright, then a minimal frame of the rotations that are left."""

from __future__ import annotations

import abc
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..actions.base import Action
from ..actions.layout import Layout
from ..actions.trees import Dict, Pullback, flatten
from ..errors import FrameError, InputError, explain
from ..groups.base import Group
from ..groups.inclusions import space_rotations
from ..groups.maps import Homomorphism
from ..measure import Measure
from ..tree import Tree, tree_map
from .base import Frame, ordered_leaves, selected_keys, traced, wide
from .clouds import centroid, dense_rows
from .ordered import OrderedMinimal
from .unordered import UnorderedMinimal

NOISE = 8.0
"""Rounding units by which a coordinate of a canonical input is uncertain, before the reduction stretches them."""


Settle = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Section:
    """One element for every sample, equivariant up to rotations of space: p(h x) = h p(x) k.

    Attributes:
        elements: a tree with leaves (B, ...).
        stretch: (B,) by how much the inverse may stretch a vector.
        rounding: (B,) the rounding noise of the vectors that the frame is computed from.
        unbounded: (B,) True where the stabilizer is not compact, so that only invariant outputs can be averaged.
    """

    elements: Tree
    stretch: Tensor
    rounding: Tensor
    unbounded: Tensor


class Reduced(Frame):
    """Abstract: F(x) = p(x) F_K(p(x)^-1 x), with K the rotations of space inside the group.

    Where p(h x) = h p(x) k with k in K, the upright inputs p^-1 x move by K alone, so any frame F_K of them makes F
    equivariant under the whole group, and F does not depend on which p was taken. A minimal F_K makes F minimal.

    Args:
        of: keys of what the frame is computed from.
        colours: keys of per-point colours, an empty tuple for a set without colours, None for ordered points.
        tol: symmetry tolerance of the upright inputs.
    """

    def __init__(self, of: Any, colours: Any, tol: float):
        super().__init__()
        self.of, self.colours, self.tol = of, colours, tol

    def prepare(self, group: Group) -> None:
        """Bind the frame of the rotations to the upright inputs."""
        leaves = self.source.items()  # type: ignore[union-attr]
        if not any(leaf.polar for leaf in leaves.values()):
            raise FrameError(
                explain(f"a minimal frame of inputs {self.source}", "vectors or points", f"declare what {group} moves as Vectors or Points")
            )
        include = space_rotations(group)
        entries: dict[str, Action] = {}
        for key, leaf in leaves.items():
            entries |= self.upright_actions(named(key), leaf, include)
        of = tuple(str(key) for key in selected_keys(self.of)) or None
        if self.colours is None:
            inner: Frame = OrderedMinimal(of, self.tol)
        else:
            inner = UnorderedMinimal(of, tuple(str(key) for key in selected_keys(self.colours)), self.tol)
        self.inner = inner.bind(Dict(entries), None if self.target is None else Pullback(include, self.target))
        self._include = include
        self.static, self.ordered = self.inner.static, self.inner.ordered

    @abc.abstractmethod
    def section(self, inputs: Tree, at: Layout) -> Section:
        """The elements that make inputs upright."""

    def upright_actions(self, key: str, leaf: Action, include: Homomorphism) -> dict[str, Action]:
        """How the rotations move an upright input, by name; several where it falls apart."""
        return {key: Pullback(include, leaf)}

    def upright_data(self, key: str, leaf: Action, x: Any, settle: Settle) -> dict[str, Any]:
        """The data of :meth:`upright_actions`; ``settle`` sets to zero what is rounding noise of ``x``."""
        return {key: x}

    def measure(self, inputs: Tree, at: Layout) -> Measure:
        """The section's element times the coset of rotations."""
        section = self.section(inputs, at)
        if not traced(inputs):
            self._refuse_unbounded(section.unbounded)
        noise = section.stretch * (NOISE * section.rounding + (0.0 if at.noise is None else at.noise))
        upright = self._upright(section, inputs, at)
        found = self.inner.measure(upright, replace(at, noise=noise))  # type: ignore[operator]
        turns = self._include(found.elements)
        elements = self.group.compose(tree_map(lambda leaf: leaf.unsqueeze(0), section.elements), turns)
        order = torch.where(section.unbounded, -torch.ones_like(found.order), found.order)
        return replace(found, group=self.group, elements=elements, order=order, noise=noise)

    def _upright(self, section: Section, inputs: Tree, at: Layout) -> dict[str, Any]:
        """What is moved, made upright in wide precision; everything else as it is."""
        back = self.group.inverse(section.elements)
        found: dict[str, Any] = {}
        chosen = selected_keys(self.of)
        for key, (leaf, x) in flatten(self.source, inputs).items():  # type: ignore[arg-type]
            settle = identity
            if isinstance(x, Tensor) and leaf.moves and (leaf.polar or self.colours is not None):
                if leaf.polar and chosen and key not in chosen:  # named vectors are compared with their own noise
                    settle = partial(_settle, NOISE * section.stretch * rounding(x, at), at)
                x = leaf.act(back, x.to(wide(x.dtype, x.device)) if x.is_floating_point() else x, at)
            found |= self.upright_data(named(key), leaf, x, settle)
        return found

    def _refuse_unbounded(self, unbounded: Tensor) -> None:
        """Outputs that move cannot be averaged over a stabilizer that is not compact (one host synchronization)."""
        if self.target is None or not self.target.moves or not bool(unbounded.any()):
            return
        raise InputError(
            explain(
                f"samples {numbers(unbounded)}, which a part of {self.group} that is not compact leaves alone ({self.unbounded_are})",
                f"samples whose symmetry is compact, for outputs {self.target} that the group moves",
                self.unbounded_remedy,
            )
        )

    unbounded_are = "all vectors are zero"
    unbounded_remedy = "drop these samples, or give the frame a further vector to look at"


def rounding(x: Tensor, at: Layout) -> Tensor:
    """(B,) the rounding unit of vectors times the largest coordinate of a sample."""
    largest = dense_rows(x.detach(), at)[0].abs().amax((1, 2))
    return torch.finfo(x.dtype).eps * largest.to(wide(x.dtype, x.device))


def _settle(noise: Tensor, at: Layout, x: Tensor) -> Tensor:
    """Vectors, zero in the samples (B,) where all of them are rounding noise."""
    clear = dense_rows(x.detach(), at)[0].abs().amax((1, 2)) > noise
    kept = at.spread(clear, x)
    return x * kept.reshape(-1, *(1,) * (x.dim() - 1)).to(x.dtype)


def identity(x: Tensor) -> Tensor:
    """The data itself."""
    return x


def named(key: Any) -> str:
    """The name of an input; the only one has the key None."""
    return "vectors" if key is None else str(key)


def numbers(flags: Tensor) -> list[int]:
    """The first few numbers of the True entries, for messages."""
    return [int(number) for number in flags.nonzero().flatten()[:5]]


class Rows(NamedTuple):
    """The vectors that a frame is computed from.

    Attributes:
        values: (B, n, d) in wide precision, centred where translations move them, zero where padded.
        number: (B,) how many are no padding.
        center: (B, d) the centroid, None without translations.
        eps: the rounding unit of the inputs.
    """

    values: Tensor
    number: Tensor
    center: Tensor | None
    eps: float


def named_rows(frame: Frame, inputs: Tree, at: Layout) -> Rows:
    """Collect the vectors that ``of=`` names."""
    parts, counts = [], []
    center, eps = None, 0.0
    for _, action, x, named in ordered_leaves(frame, inputs):
        if not (named and action.polar):
            continue
        rows, mask = dense_rows(x, at)
        rows, eps = rows.to(wide(x.dtype, x.device)), max(eps, torch.finfo(x.dtype).eps)
        if action.affine:
            center = centroid(rows, mask) if center is None else center
            rows = rows - center.unsqueeze(1)
            rows = rows if mask is None else rows * mask.unsqueeze(-1)
        parts.append(rows)
        counts.append(torch.full_like(rows[:, 0, 0].detach(), rows.shape[1]) if mask is None else mask.sum(1).to(rows.dtype))
    if not parts:
        raise FrameError(
            explain(f"of={frame.of!r} of inputs {frame.source}", "vectors or points to build a frame from", "name them with of=")
        )
    return Rows(torch.cat(parts, 1) if len(parts) > 1 else parts[0], torch.stack(counts).sum(0), center, eps)
