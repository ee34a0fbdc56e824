"""Label dissent on orbits: do samples that are near each other after a pose change carry different labels?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .data_inputs import Observed, table
from .data_poses import Poses

MOST = 1000
"""At most so many samples are compared with each other."""
LEAST = 20
"""The fewest near pairs of which a share is told."""
BLOCK = 2**24


@dataclass(frozen=True)
class Dissent:
    """Nearest neighbours whose labels differ, among those that a pose change brings near.

    A sample counts as near when its nearest moved neighbour is no farther than the nearest neighbours of the data as given usually are
    (the 95 % quantile of their distances).

    Attributes:
        moved: the share of near samples whose nearest moved neighbour has another label; of numbers, the mean square difference in units
            of twice their variance (0: the same, 1: as different as any two). None where fewer than 20 are near.
        given: the same for nearest neighbours in the data as they are.
        near: how many samples have a moved neighbour that near.
        samples: how many were compared.
        pairs: the commonest pairs of two labels (one, other, count), whichever of them is moved, for classes.
    """

    moved: float | None
    given: float
    near: int
    samples: int
    pairs: tuple[tuple[Any, Any, int], ...]


def dissent(seen: Observed, poses: Poses) -> Dissent:
    """Compare every sample with all others, as they are and in all poses but the first.

    With sampled poses of a continuous group, near means near one of the sampled poses.
    """
    seen_x, n = table(seen.x), seen.count
    centre = seen_x.mean(0)  # distances far from zero would drown in rounding
    own = torch.full((n,), torch.inf, dtype=torch.float64, device=seen.device)
    other, own_at, other_at = own.clone(), torch.zeros_like(own, dtype=torch.int64), torch.zeros_like(own, dtype=torch.int64)
    for part in poses.parts(seen):
        for rows in part.split(max(1, BLOCK // (n * poses.count))):
            x, _ = poses.move(seen, rows)
            apart = torch.cdist(seen_x - centre, table(x) - centre).to(torch.float64).unflatten(1, (len(rows), poses.count))
            apart[rows, torch.arange(len(rows), device=rows.device)] = torch.inf  # no sample is its own neighbour
            own, own_at = _nearer(own, own_at, apart[..., :1], rows, poses.count, 0)
            other, other_at = _nearer(other, other_at, apart[..., 1:], rows, poses.count, 1)
    near = torch.nonzero(other <= own.quantile(0.95)).flatten()
    given = _unlike(seen, torch.arange(n, device=seen.device), own_at, poses)
    enough = len(near) >= LEAST
    moved = float(_unlike(seen, near, other_at, poses).mean()) if enough else None
    return Dissent(moved, float(given.mean()), len(near), n, _pairs(seen, near, other_at // poses.count) if enough else ())


def _nearer(best: Tensor, at: Tensor, apart: Tensor, rows: Tensor, count: int, skip: int) -> tuple[Tensor, Tensor]:
    """Take in distances (n, R, P): the least so far, and where it is as row * count + pose."""
    low, where = apart.flatten(1).min(1)
    place = rows[where // apart.shape[2]] * count + where % apart.shape[2] + skip
    return torch.minimum(best, low), torch.where(low < best, place, at)


def _unlike(seen: Observed, rows: Tensor, at: Tensor, poses: Poses) -> Tensor:
    """How different the labels of samples are from those of their neighbours, moved along, (R,)."""
    if seen.classes is not None:
        return (seen.y[rows] != seen.y[at[rows] // poses.count]).to(torch.float64)  # type: ignore[index]
    moved = torch.cat([table(poses.move(seen, part)[1]) for part in poses.parts(seen)]).to(torch.float64)
    return (seen.values[rows] - moved[at[rows]]).square().sum(1) / (2 * seen.values.var(0, correction=0).sum())


def _pairs(seen: Observed, rows: Tensor, neighbour: Tensor) -> tuple[tuple[Any, Any, int], ...]:
    if seen.classes is None:
        return ()
    size, own, other = len(seen.classes), seen.y[rows], seen.y[neighbour[rows]]  # type: ignore[index]
    codes = torch.minimum(own, other) * size + torch.maximum(own, other)
    kinds, counts = torch.unique(codes[own != other], return_counts=True)
    order = counts.argsort(descending=True, stable=True)[:8]
    return tuple((seen.classes[int(kinds[i]) // size], seen.classes[int(kinds[i]) % size], int(counts[i])) for i in order)
