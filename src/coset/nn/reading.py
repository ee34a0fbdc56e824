"""What the inputs of a source hold, sorted for equivariant networks: scalars and vectors of points, samples, pairs and edges.

A :class:`Reader` looks at the source and one example when a network is built, and sorts every batch in the same way.
Nothing that it cannot pass on is dropped: it refuses.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..actions.base import Action
from ..actions.indices import BatchIndex, Edges, Permute, PointMask
from ..actions.layout import Layout
from ..actions.linear import Vectors
from ..actions.nodes import Nodes
from ..actions.trees import Pullback, flatten
from ..errors import InputError, SignatureError, describe, explain
from ..groups.numeric import widen
from ..tree import Tree
from .batches import Batch

COMPLEX = {torch.float16: torch.complex32, torch.float32: torch.complex64, torch.float64: torch.complex128}
"""The complex type of each precision (a table, because compilers do not follow ``dtype.to_complex``)."""


class Kind(enum.Enum):
    """What one input is to a network."""

    SCALARS = "scalars"
    VECTORS = "vectors"
    PAIRS = "pairs"
    EDGES = "edges"
    LINKS = "links"


@dataclass(frozen=True)
class Slot:
    """How one input is read.

    Attributes:
        kind: scalars, vectors, values of pairs, values of edges, or the edge list itself.
        axes: the axes that run over points, counted from the end; () for values of samples.
        rows: the first axis runs over the rows of ragged data.
        affine: translations move it, so that it is read relative to the centroid.
        channels: how many numbers, or vectors, one point (sample, pair, edge) has.
    """

    kind: Kind
    axes: tuple[int, ...] = ()
    rows: bool = False
    affine: bool = False
    channels: int = 0


@dataclass
class Features:
    """The inputs of a batch, sorted.

    Attributes:
        batch: which rows are real, and whose they are.
        scalars: (B, n, c), ragged (N, c); values of samples are repeated for their points.
        vectors: (B, n, c, d), ragged (N, c, d), or None.
        pairs: (B, n, n, c) values of pairs, None where there are none or the data is ragged.
        edges: (2, E) sources and targets, ragged only.
        links: (E, c) values of edges, the first of them 1, ragged only.
    """

    batch: Batch
    scalars: Tensor
    vectors: Tensor | None = None
    pairs: Tensor | None = None
    edges: Tensor | None = None
    links: Tensor | None = None


@dataclass
class _Found:
    """Tensors of one batch, by kind, before they are put together."""

    points: list[Tensor] = field(default_factory=list)
    samples: list[Tensor] = field(default_factory=list)
    vectors: list[Tensor] = field(default_factory=list)
    pairs: list[Tensor] = field(default_factory=list)
    links: list[Tensor] = field(default_factory=list)
    edges: Tensor | None = None


class Reader:
    """Sorts the inputs of a source.

    Args:
        source: how the group moves the inputs.
        example: inputs of any size, from which channels are counted.

    Attributes:
        scalars, vectors, pairs: the number of channels of each kind.
        complex: vectors are complex.
        dim: the length of vectors.

    Raises:
        SignatureError: for inputs that the networks of ``coset.nn`` cannot read, with the remedy.
    """

    def __init__(self, source: Action, example: Tree):
        source.check(example)
        self.source, self.group = source, source.group
        self.complex, self.dim = source.group.complex, source.group.dim or 1
        at = source.layout(example)
        self.slots = {key: slot_of(key, leaf, x, at) for key, leaf, x in tensors(source, example)}
        for key, leaf, x in tensors(source, example):
            if isinstance(leaf, Pullback) and self.slots[key].kind is Kind.VECTORS:
                _check_pulled(key, leaf, x)
        self.ragged = at.batch is not None
        kinds = [(slot.kind, slot.channels) for slot in self.slots.values()]
        self.scalars = sum(count for kind, count in kinds if kind is Kind.SCALARS)
        self.vectors = sum(count for kind, count in kinds if kind is Kind.VECTORS)
        self.pairs = sum(count for kind, count in kinds if kind in (Kind.PAIRS, Kind.LINKS)) + sum(kind is Kind.EDGES for kind, _ in kinds)
        self.pointed = self.ragged or any(slot.axes for slot in self.slots.values())

    def __call__(self, inputs: Tree, like: Tensor) -> Features:
        """Sort a batch.

        Args:
            inputs: the inputs of the source.
            like: a weight of the network, whose precision the features have.

        Raises:
            InputError: when channels or precisions differ from those that the network was built for.
        """
        at, found = self.source.layout(inputs), _Found()
        for key, leaf, x in tensors(self.source, inputs):
            slot = self.slots.get(key)
            _place(found, *_checked(key, x, slot_of(key, leaf, x, at), slot, like))
        batch = self._batch(at, found)
        scalars = batch.real(batch.join(found.points, found.samples, like))
        return self._with_pairs(Features(batch, scalars, self._vectors(batch, found, like)), found, like)

    def _vectors(self, batch: Batch, found: _Found, like: Tensor) -> Tensor | None:
        """All vectors as values of points; positions are relative to the centroid of the first of them."""
        slots = [slot for slot in self.slots.values() if slot.kind is Kind.VECTORS]
        shared = [(batch.owner is None and not slot.axes) or (batch.owner is not None and not slot.rows) for slot in slots]
        moved = [i for i, slot in enumerate(slots) if slot.affine]
        if moved:
            first = next((i for i in moved if not shared[i]), moved[0])
            rows = widen(found.vectors[first])
            origin = (rows if shared[first] else batch.mean(rows)).mean(1)
        vectors = []
        for x, slot, lone in zip(found.vectors, slots, shared, strict=True):
            x = batch.give(x) if lone else x
            x = batch.real(batch.centred(x, origin) if slot.affine else x)
            vectors.append(x.to(COMPLEX[like.dtype]) if self.complex else x)
        return torch.cat(vectors, -2) if vectors else None

    def _batch(self, at: Layout, found: _Found) -> Batch:
        """Where points are."""
        if at.batch is not None:
            return Batch(at.samples, None, None, at.batch)
        sizes = [x.shape[1] for x in (*found.points, *found.pairs, *(x for x in found.vectors if x.dim() == 4))]
        sizes += [at.mask.shape[1]] if at.mask is not None else []
        if len(set(sizes)) > 1:
            raise InputError(explain(f"inputs with {sorted(set(sizes))} points", "one number of points", "check the point axes"))
        return Batch(at.samples, sizes[0] if sizes else 1, at.mask, None)

    def _with_pairs(self, features: Features, found: _Found, like: Tensor) -> Features:
        """Values of pairs and edges, put together."""
        if found.edges is not None:
            one = like.new_ones(found.edges.shape[1], 1)
            links = torch.cat([one, *found.links], -1) if found.links else one
            if features.batch.owner is not None:
                features.edges, features.links = found.edges, links
            else:
                found.pairs.append(features.batch.shared_pairs(found.edges, links))
        if found.pairs:
            pairs = features.batch.real(torch.cat(found.pairs, -1))
            features.pairs = features.batch.real(pairs.transpose(1, 2)).transpose(1, 2)
        return features


def tensors(source: Action, inputs: Tree) -> Iterator[tuple[Any, Action, Tensor]]:
    """(key, leaf action, tensor) of the inputs that networks see; masks and batch indices belong to the layout."""
    for key, (leaf, x) in flatten(source, inputs).items():
        core = leaf.core()
        if isinstance(core, (PointMask, BatchIndex)) or not leaf.averaged or x is None:
            continue
        if not isinstance(x, Tensor):
            raise SignatureError(explain(f"input {key!r} is {describe(x)}", "a tensor", "declare every entry by an action, or Ignore it"))
        yield key, leaf, x


def slot_of(key: Any, leaf: Action, x: Tensor, at: Layout) -> Slot:
    """How an input is read.

    Raises:
        SignatureError: when it is moved in a way that the networks do not follow.
    """
    core = leaf.core()
    if isinstance(core, Edges):
        return Slot(Kind.EDGES)
    if leaf.edges is not None:
        return Slot(Kind.LINKS, channels=x[0].numel() if x.dim() > 1 and x.shape[0] else 1)
    if leaf.moves and isinstance(core, (Permute, Nodes)):
        return _permuted(key, leaf, x, at)
    if leaf.moves and leaf.polar and leaf.event == 1:
        return _vectors(key, leaf, x, at)
    if leaf.moves:
        raise SignatureError(
            explain(
                f"input {key!r} moved by {leaf}",
                "scalars, vectors, and values of pairs or edges",
                "declare Vectors, Points, Trivial, Permute or Edges, or pass a network of your own",
            )
        )
    return _still(key, leaf, x, at)


def _permuted(key: Any, leaf: Action, x: Tensor, at: Layout) -> Slot:
    """Values of points or of pairs of points that permutations move."""
    if at.batch is not None:
        if leaf.point_axes(x) != (-x.dim(),):
            raise SignatureError(
                explain(f"input {key!r} moved by {leaf} in a ragged batch", "rows of nodes", "declare Nodes, and Edges for pairs")
            )
        return Slot(Kind.SCALARS, rows=True, channels=x[0].numel() if x.dim() > 1 else 1)
    axes = leaf.point_axes(x)
    if len(axes) > 2:
        raise SignatureError(
            explain(f"input {key!r} moved by {leaf}", "values of points or of pairs", "sum over all but two of the point axes")
        )
    count = x[0].numel() // max(1, x.shape[axes[0]] ** len(axes)) * (2 if x.is_complex() else 1)
    return Slot(Kind.SCALARS if len(axes) == 1 else Kind.PAIRS, axes=axes, channels=count)


def _vectors(key: Any, leaf: Action, x: Tensor, at: Layout) -> Slot:
    """Vectors of points or of samples."""
    if x.shape[-1] != leaf.group.dim:
        raise SignatureError(
            explain(
                f"input {key!r} is {describe(x)}, moved by {leaf}", f"vectors of length {leaf.group.dim}", "use vectors of the group itself"
            )
        )
    axes = leaf.point_axes(x)
    rows = leaf.per_point is not False and at.is_per_row(x)
    if not axes and not rows and leaf.per_point is not False and not leaf.group.permutes and at.is_per_point(x, 1):
        axes = (1 - x.dim(),)
    count = x[0].numel() // x.shape[-1] // (max(1, x.shape[axes[0]]) if axes and not rows else 1)
    return Slot(Kind.VECTORS, () if rows else axes, rows, leaf.affine, count)


def _check_pulled(key: Any, leaf: Pullback, x: Tensor) -> None:
    """A pulled back action has to move vectors by the matrices of the group itself."""
    group, d = leaf.group.at(x.shape[-1]), x.shape[-1]
    g = group.sample(8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    probe = torch.eye(d, dtype=torch.complex128 if group.complex else torch.float64).expand(8, d, d)
    moved = leaf.act(g, probe) - leaf.act(g, torch.zeros_like(probe))
    if not torch.allclose(moved, Vectors(group, points=bool(leaf.permuted)).act(g, probe)):
        raise SignatureError(
            explain(f"input {key!r} moved by {leaf}", f"vectors moved by the matrices of {group}", "use vectors of the group itself")
        )


def _still(key: Any, leaf: Action, x: Tensor, at: Layout) -> Slot:
    """Values that nothing moves: of points where the shape or the declaration says so, else of samples."""
    rows = leaf.per_point is not False and at.is_per_row(x)
    if rows and leaf.group.permutes:
        raise SignatureError(
            explain(f"input {key!r}, {describe(x)}, as {leaf}", "rows that permutations move", "declare Nodes for the values of nodes")
        )
    factor = 2 if x.is_complex() else 1
    if not rows and leaf.per_point is not False and not leaf.group.permutes and at.is_per_point(x, 0):
        return Slot(Kind.SCALARS, (1 - x.dim(),), channels=factor * x[0].numel() // max(1, x.shape[1]))
    return Slot(Kind.SCALARS, rows=rows, channels=factor * (x[0].numel() if x.shape[0] else 1))


def _checked(key: Any, x: Tensor, slot: Slot, built: Slot | None, like: Tensor) -> tuple[Slot, Tensor]:
    """The data in the precision of the weights, when it has the channels that the network was built for."""
    if built is None or (slot.kind, slot.rows, slot.channels) != (built.kind, built.rows, built.channels):
        raise InputError(
            explain(
                f"input {key!r} is {describe(x)}, read as {slot}", f"{built}, as in the example", "build the network with such an example"
            )
        )
    if slot.kind is Kind.EDGES:
        return slot, x
    wanted = COMPLEX[like.dtype] if x.is_complex() else like.dtype
    if slot.kind is Kind.VECTORS and x.dtype != wanted:
        raise InputError(
            explain(f"input {key!r} is {describe(x)}", f"{wanted}, the precision of the network's weights", f"call network.to({x.dtype})")
        )
    return slot, x.to(wanted)


def _place(found: _Found, slot: Slot, x: Tensor) -> None:
    """Bring the data of a slot into the standard shape of its kind."""
    if slot.kind is Kind.EDGES:
        found.edges = x
        return
    if slot.kind is Kind.VECTORS:
        x = x if slot.rows or not slot.axes else x.movedim(slot.axes[0], 1)
        lead = 2 if slot.axes else 1
        found.vectors.append(x.reshape(*x.shape[:lead], slot.channels, x.shape[-1]))
        return
    axes = tuple(axis + x.dim() for axis in slot.axes)
    x = torch.view_as_real(x) if x.is_complex() else x
    x = x.movedim(axes, tuple(range(1, 1 + len(axes))))
    x = x.reshape(*x.shape[: 1 + len(axes)], slot.channels)
    if slot.kind is Kind.LINKS:
        found.links.append(x)
    elif slot.kind is Kind.PAIRS:
        found.pairs.append(x)
    else:
        (found.points if slot.rows or axes else found.samples).append(x)
