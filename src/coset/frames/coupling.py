"""Anchors: group elements g0(x) that tie fixed noise to an input, so that sampling commutes with the group at every count."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..actions.base import Action
from ..actions.layout import Layout
from ..errors import CosetError
from ..groups.base import Group
from ..measure import Measure
from ..orbits import Orbits
from ..tree import Tree, leaves, tree_map
from .average import LARGEST, Full
from .base import Frame
from .minimal import Minimal
from .phase import Phase
from .relabel import order_nodes
from .shifts import shifts_images


@dataclass(frozen=True)
class Anchors:
    """Where the noise of every sample is tied to.

    Where the network without noise determines an element, that is the anchor. Elsewhere it is one coset of an exact
    frame, whose stabilizer is kept: outputs are averaged over it.

    Attributes:
        elements: a tree with leaves (A, B, ...), one representative for each coset.
        weights: (A, B), summing to one over A.
        stabilizers: a tree with leaves (A, S, B, ...), elements that leave the inputs alone, the identity first; None
            where there is only the identity.
        shares: (A, S, B) their weights, summing to one over S.
        order: (B,) the number of elements of the exact measure; -1 where infinite.
        tied: (B,) samples where the exact frame was used.
        exact: (B,) samples whose anchor is determined.
        found: the exact frame's measure of the tied samples, which lists equal rows and automorphisms.
    """

    elements: Tree
    weights: Tensor
    stabilizers: Tree
    shares: Tensor | None
    order: Tensor
    tied: Tensor
    exact: Tensor
    found: Measure | None = None


def exact_frame(source: Action, target: Action | None) -> Frame | None:
    """The exact frame of a source, for samples in which the network without noise is not determined; None without one."""
    group = source.group
    moved = [leaf for leaf in source.items().values() if leaf.moves]
    choices: list[Frame] = []
    if group.dim is not None and any(leaf.polar for leaf in moved) and not (group.finite and not group.permutes):
        choices.append(Minimal())
    if group.permutes and group.dim is None:
        with contextlib.suppress(CosetError):
            choices.append(order_nodes(source))
    if shifts_images(source):
        choices.append(Phase())
    if group.finite and not group.permutes and group.order <= LARGEST:
        choices.append(Full())
    for frame in choices:
        with contextlib.suppress(CosetError):
            return frame.bind(source, target)
    return None


def plain(elements: Tree, tied: Tensor) -> Anchors:
    """Anchors (B, ...) that the network found."""
    weights = torch.ones(1, tied.shape[0], dtype=torch.float64, device=tied.device)
    return Anchors(
        tree_map(lambda leaf: leaf.unsqueeze(0), elements), weights, None, None, torch.ones_like(tied, dtype=torch.long), tied, ~tied
    )


def settle(group: Group, source: Action, frame: Frame, inputs: Tree, at: Layout, start: Anchors) -> Anchors:
    """Anchors with the tied samples replaced by those of an exact frame."""
    rows = start.tied.nonzero().flatten()
    some = source.take(inputs, rows, at)
    found: Measure = frame(some)
    count, size, device = found.cosets, found.size, rows.device

    def merged(own: Tensor, other: Tensor) -> Tensor:
        """(A, B, ...): ``other`` (A, T, ...) at the tied samples, ``own`` (1, B, ...) elsewhere."""
        wide = own.expand(count, *own.shape[1:]).clone()
        return wide.index_copy(1, rows, _like(other, wide, 2))

    cosets = tree_map(lambda leaf: leaf.unflatten(0, (count, size)), found.elements)
    representatives = tree_map(lambda leaf: leaf[:, 0], cosets)
    elements = tree_map(merged, start.elements, representatives)
    weights = torch.zeros(count, at.samples, dtype=torch.float64, device=device)
    weights[0] = 1.0
    coset_weights = found.coset_weights().to(torch.float64)
    weights = weights.index_copy(1, rows, coset_weights)
    order = torch.ones(at.samples, dtype=torch.long, device=device).index_copy(0, rows, found.order)
    stabilizers, shares = None, None
    if size > 1:
        back = tree_map(lambda leaf: leaf.unsqueeze(1), group.inverse(representatives))
        moved = group.compose(cosets, back)
        kinds = [leaf.dtype.to_real() for leaf in leaves(moved) if leaf.is_floating_point() or leaf.is_complex()]
        dtype = kinds[0] if kinds else None
        same = source.resolve(inputs).identity(count, size, at.samples, dtype=dtype, device=device)
        stabilizers = tree_map(lambda own, other: own.clone().index_copy(2, rows, _like(other, own, 3)), same, moved)
        shares = torch.zeros(count, size, at.samples, dtype=torch.float64, device=device)
        shares[:, 0] = 1.0
        inside = found.weights.to(torch.float64).unflatten(0, (count, size)) / coset_weights.unsqueeze(1).clamp_min(1e-300)
        shares = shares.index_copy(2, rows, inside)
    return Anchors(elements, weights, stabilizers, shares, order, start.tied, torch.ones_like(start.exact), found)


def _like(other: Tensor, own: Tensor, batch: int) -> Tensor:
    """In the precision of ``own``, and permutations of smaller graphs made as long; ``batch`` axes come first."""
    if other.dim() > batch and other.shape[-1] < own.shape[-1] and not other.is_floating_point():
        rest = torch.arange(other.shape[-1], own.shape[-1], device=other.device).expand(*other.shape[:-1], -1)
        other = torch.cat([other, rest], -1)
    return other.to(own.dtype)


def spread(group: Group, anchors: Anchors, elements: Tree, count: int, at: Layout) -> Measure:
    """The measure of elements (count * A, B, ...) with the anchors' weights, times the stabilizers of the inputs."""
    weights = anchors.weights.repeat(count, 1) / count
    order = torch.where(anchors.order < 0, anchors.order, anchors.order * count)
    ties, orbits = equal_rows(anchors, group, elements), automorphisms(anchors, group, elements, at)
    cosets = weights.shape[0]
    if ties is None and orbits is None and group.permutes:
        ties = padding(at, cosets)
    if anchors.stabilizers is not None:
        wide = tree_map(lambda leaf: leaf.repeat(count, *(1,) * (leaf.dim() - 1)), anchors.stabilizers)
        elements = group.compose(wide, tree_map(lambda leaf: leaf.unsqueeze(1), elements))
        elements = tree_map(lambda leaf: leaf.flatten(0, 1), elements)
        weights = (weights.unsqueeze(1) * anchors.shares.repeat(count, 1, 1)).flatten(0, 1)  # type: ignore[union-attr]
    tol = anchors.found.tol if anchors.found is not None else 1e-4
    return Measure(group, elements, weights, order, cosets, ties=ties, orbits=orbits, tol=tol)


def equal_rows(anchors: Anchors, group: Group, elements: Tree) -> Tensor | None:
    """(K * B, n) class numbers of equal canonical rows, for elements (K, B, ...), as ``Measure.ties`` wants them."""
    found = anchors.found
    if found is None or found.ties is None:
        return None
    permutation: Tensor = group.permutation(elements)  # type: ignore[assignment]
    draws, samples, n = permutation.shape
    original = torch.arange(n, device=permutation.device).repeat(samples, 1)
    rows = anchors.tied.nonzero().flatten()
    own: Tensor = group.permutation(found.elements)[0]  # type: ignore[index]
    original[rows] = torch.zeros_like(own).scatter(1, own, found.ties)
    return original.unsqueeze(0).expand(draws, samples, n).gather(2, permutation).flatten(0, 1)


def padding(at: Layout, draws: int) -> Tensor | None:
    """(K * B, n) class numbers of canonical rows where padding, which comes last, is one class; None without padding."""
    if at.mask is None:
        return None
    counts = at.mask.sum(1, keepdim=True)
    return torch.arange(at.mask.shape[1], device=counts.device).minimum(counts).repeat(draws, 1)


def automorphisms(anchors: Anchors, group: Group, elements: Tree, at: Layout) -> Orbits | None:
    """The automorphisms of the canonical graphs that elements (K, B, ...) give."""
    found = anchors.found
    if found is None or found.orbits is None:
        return None
    if hasattr(found.orbits, "beside"):  # stabilizers of shifts, which commute with the elements
        return found.orbits.beside(anchors.tied.nonzero().flatten(), *anchors.weights.shape, elements)
    known: Orbits = found.orbits
    permutation: Tensor = group.permutation(elements)  # type: ignore[assignment]
    draws, samples, n = permutation.shape
    own = group.permutation(found.elements)[0].cpu().numpy()  # type: ignore[index]
    table, number = permutation.cpu().numpy(), {int(row): i for i, row in enumerate(anchors.tied.nonzero().flatten())}
    sizes = torch.bincount(at.batch, minlength=samples).tolist() if at.batch is not None else [n] * samples
    real = at.mask.sum(1).tolist() if at.mask is not None else sizes
    generators: list[Any] = []
    forms: list[Any] = []
    for draw in range(draws):
        for sample in range(samples):
            i, size = number.get(sample), sizes[sample]
            if i is None:
                generators.append(np.zeros((0, size), dtype=np.int64))
                forms.append(int(real[sample]))
                continue
            q = np.argsort(table[draw, sample][:size])[own[i][:size]]  # canonical place of the exact frame -> that of the draw
            conjugate = np.empty_like(known.generators[i])
            conjugate[:, q] = q[known.generators[i]]
            generators.append(conjugate)
            forms.append(_moved_form(known.forms[i], q))
    whole = torch.arange(samples, device=permutation.device).repeat(draws)
    new = at.take(whole)[0]
    valid = None if new.mask is None else new.mask.gather(1, permutation.flatten(0, 1))
    return Orbits(tuple(generators), batch=new.batch, valid=valid, forms=tuple(forms))


def _moved_form(form: Any, q: Any) -> Any:
    """What identifies a canonical graph, after its nodes were renumbered by q."""
    colour, one, two, label = form
    q = q[: len(colour)]  # padding comes last, before and after
    moved = np.empty_like(colour)
    moved[q] = colour
    return moved, q[one], q[two], label
