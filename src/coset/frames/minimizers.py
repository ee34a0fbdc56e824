"""All minimizers of an energy over a finite group, arranged in cosets of the stabilizer: equal inputs enter the model once."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..actions.base import Action
from ..actions.layout import Layout
from ..actions.trees import flatten
from ..groups.base import Group
from ..tree import Tree, tree_map
from .retracted import rounding

SAME = 100.0
"""Rounding units, relative to the largest entry, by which data that an element leaves alone may change."""
TABLE = 1024
"""Larger groups are not searched for stabilizers: every minimizer is a coset of its own."""


@dataclass(frozen=True)
class Chosen:
    """Minimizers by their numbers among the elements.

    Attributes:
        index: (K, B) numbers, coset after coset.
        weights: (K, B), summing to one; zero where a sample has fewer.
        cosets: how many distinct canonical inputs there are at most.
        order: (B,) how many minimizers a sample has.
    """

    index: Tensor
    weights: Tensor
    cosets: int
    order: Tensor


def lowest(energies: Tensor) -> Chosen:
    """The first minimizer of every sample, whatever ties there are."""
    index = energies.detach().argmin(-1).unsqueeze(0)
    weights = torch.ones(index.shape, dtype=torch.float64, device=index.device)
    return Chosen(index, weights, 1, torch.ones_like(index[0]))


def near(energies: Tensor) -> Tensor:
    """(B, |G|) which energies are the smallest, up to rounding."""
    e = energies.detach()
    size = e.abs().amax(-1, keepdim=True).clamp_min(torch.finfo(e.dtype).tiny)
    return e - e.amin(-1, keepdim=True) <= rounding(e) * size


def all_lowest(energies: Tensor, action: Action, inputs: Tree, at: Layout, apart: bool = False) -> Chosen:
    """All minimizers of every sample (one host synchronization where none is tied).

    Minimizers that differ by a symmetry of the input have the same canonical input: they are one coset, and one model call.

    Args:
        energies: (B, |G|).
        action: how the group moves everything that the model sees.
        inputs: the inputs.
        at: their layout.
        apart: make every minimizer a coset of its own.
    """
    best = near(energies)
    tied = (best.sum(-1) > 1).nonzero().flatten()
    if not tied.numel():
        return lowest(energies)
    group: Group = action.group
    order = group.order
    label = torch.arange(order, device=best.device).expand(best.shape)
    if not apart and order <= TABLE:
        still = stabilizers(action, inputs, at, tied)
        products = _table(group, best.device)
        own = torch.where(still.unsqueeze(-1), products, order).amin(1)  # (T, |G|): the first element with the same canonical input
        label = label.index_copy(0, tied, own)
        lowest_of = energies.detach().new_full(best.shape, float("inf")).scatter_reduce(1, label, energies.detach(), "amin")
        best = near(lowest_of.gather(1, label))
    return _arranged(best, label)


def stabilizers(action: Action, inputs: Tree, at: Layout, rows: Tensor) -> Tensor:
    """(T, |G|) which elements leave all inputs of the samples ``rows`` (T,) alone, up to rounding."""
    group, count = action.group, rows.shape[0]
    every = group.elements(dtype=torch.float64 if group.dim else None, device=rows.device)
    numbers = torch.arange(group.order, device=rows.device)
    for leaf, x in flatten(action, inputs).values():
        labels = leaf.shape_labels(every, x) if isinstance(x, Tensor) and leaf.moves else None
        numbers = numbers if labels is None else numbers[~labels[numbers]]  # what swaps height and width changes the image
    g = tree_map(lambda leaf: leaf[numbers].repeat_interleave(count, 0), every)
    samples = rows.repeat(numbers.shape[0])
    taken, new = action.take(inputs, samples, at), at.take(samples)[0]
    moved = action.act(g, taken, new)
    same = torch.ones(samples.shape[0], dtype=torch.bool, device=rows.device)
    for (leaf, before), (_, after) in zip(flatten(action, taken).values(), flatten(action, moved).values(), strict=True):
        if isinstance(before, Tensor) and leaf.moves:
            same = same & _equal(before.detach(), after.detach(), new)
    found = torch.zeros(group.order, count, dtype=torch.bool, device=rows.device)
    return found.index_copy(0, numbers, same.unflatten(0, (-1, count))).mT


def _equal(before: Tensor, after: Tensor, at: Layout) -> Tensor:
    """(R,) whether the data of a sample are the same."""
    if not (before.is_floating_point() or before.is_complex()):
        differ = (before != after).reshape(before.shape[0], -1).any(1).to(torch.float32)
        bound = torch.zeros_like(differ)
    else:
        differ, bound = ((part.abs().reshape(part.shape[0], -1).amax(1)) for part in (after - before, before))
        bound = SAME * torch.finfo(before.dtype).eps * bound
    if at.batch is not None and at.is_per_row(before):
        zero = differ.new_zeros(at.samples)
        differ, bound = (zero.index_reduce(0, at.batch, part, "amax") for part in (differ, bound))
    return differ <= bound


def _table(group: Group, device: torch.device) -> Tensor:
    """(|G|, |G|): the number of the product of elements s and g."""
    every = group.elements(dtype=torch.float64 if group.dim else None, device=device)
    return group.index(group.compose(tree_map(lambda leaf: leaf.unsqueeze(1), every), tree_map(lambda leaf: leaf.unsqueeze(0), every)))


def _arranged(best: Tensor, label: Tensor) -> Chosen:
    """The chosen elements (B, |G|), those of one label side by side, padded with zero weights."""
    samples, group = best.shape
    number = torch.arange(group, device=best.device)
    key = torch.where(best, label * group + number, group * group)
    ordered = key.argsort(1)
    count = best.sum(1)
    heads = (best & (label == number)).sum(1)  # classes are closed, so each has its label among its members
    size = count // heads
    cosets, width = int(heads.max()), int(size.max())
    slot = torch.arange(group, device=best.device)
    place = slot // size[:, None] * width + slot % size[:, None]
    used = slot < count[:, None]
    index = ordered[:, :1].repeat(1, cosets * width + 1)
    weights = torch.zeros(samples, cosets * width + 1, dtype=torch.float64, device=best.device)
    place = torch.where(used, place, cosets * width)  # what is not used goes to a last column that is cut off
    index = index.scatter(1, place, ordered)
    weights = weights.scatter(1, place, (1.0 / count.to(torch.float64))[:, None].expand(-1, group))
    return Chosen(index[:, :-1].mT, weights[:, :-1].mT, cosets, count)
