"""Pairs of points within a distance, in time and memory linear in the number of points: a list of cells."""

from __future__ import annotations

import itertools

import torch
from jaxtyping import Float, Int
from torch import Tensor


def pairs_within(
    points: Float[Tensor, "N d"], cutoff: float, batch: Int[Tensor, " N"] | None = None
) -> tuple[Int[Tensor, " P"], Int[Tensor, " P"]]:
    """All ordered pairs (i, j), i not j, of points of one sample that are closer than the cutoff, sorted by i.

    Points are sorted into cubes as wide as the cutoff; every point looks at the 3^d cubes around it. A few host
    synchronizations, no n^2 memory.

    Args:
        points: positions.
        cutoff: the distance.
        batch: (N,) sample of every point, in any order; one sample when left out.

    Example:
        >>> import torch
        >>> from coset.neighbours import pairs_within
        >>> pairs_within(torch.tensor([[0.0, 0.0], [1.0, 0.0], [2.5, 0.0]]), 1.2)
        (tensor([0, 1]), tensor([1, 0]))
    """
    if points.shape[0] == 0:
        nothing = torch.zeros(0, dtype=torch.long, device=points.device)
        return nothing, nothing
    x = points.detach()
    sample = torch.zeros_like(x[:, 0], dtype=torch.long) if batch is None else batch
    cell = torch.floor((x - x.amin(0)) / cutoff).long() + 1
    key = _key(cell, cell.amax(0) + 2, sample)
    found, where, count = key.unique(return_inverse=True, return_counts=True)
    order = where.argsort(stable=True)
    start = count.cumsum(0) - count
    first, second = [], []
    everyone = torch.arange(x.shape[0], device=x.device)
    for shift in itertools.product((-1, 0, 1), repeat=x.shape[1]):
        near = _key(cell + torch.tensor(shift, device=x.device), cell.amax(0) + 2, sample)
        place = torch.searchsorted(found, near).clamp(max=found.shape[0] - 1)
        size = torch.where(found[place] == near, count[place], 0)
        i = everyone.repeat_interleave(size)
        offset = torch.arange(i.shape[0], device=x.device) - (size.cumsum(0) - size)[i]
        j = order[start[place][i] + offset]
        keep = (i != j) & (sample[i] == sample[j]) & ((x[i] - x[j]).square().sum(-1) < cutoff**2)
        first.append(i[keep])
        second.append(j[keep])
    i, j = torch.cat(first), torch.cat(second)
    into = (i * x.shape[0] + j).argsort()
    return i[into], j[into]


def _key(cell: Tensor, extent: Tensor, sample: Tensor) -> Tensor:
    """One number per cell of every sample."""
    key = sample
    for axis in range(cell.shape[1]):
        key = key * extent[axis] + cell[:, axis]
    return key
