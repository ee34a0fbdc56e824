"""Finite groups of unit quaternions and the rotations they make: where the Platonic groups come from."""

from __future__ import annotations

from functools import lru_cache
from itertools import permutations, product

import torch
from torch import Tensor

from .symmetric import parity


def signed(*rows: tuple[float, ...]) -> Tensor:
    """All rows with all signs of their nonzero entries, without repetition, (k, 4)."""
    found = dict.fromkeys(
        tuple(s * x + 0.0 for s, x in zip(sign, row, strict=True)) for row in rows for sign in product((1.0, -1.0), repeat=len(row))
    )
    return torch.tensor(list(found), dtype=torch.float64)


@lru_cache
def binary(order: int) -> Tensor:
    """Unit quaternions (w, x, y, z) of the binary group of order 8, 24, 48 or 120, the identity first, (order, 4).

    Each list starts with the smaller group and goes on coset by coset: 8 and 24 in 24, 24 in 48 and in 120.
    As points of the sphere S^3 they are designs of degree 3, 5, 7 and 11.
    """
    eight = signed((1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1))
    if order == 8:
        return eight
    if order == 24:
        return cosets(signed((0.5, 0.5, 0.5, 0.5)), eight)
    if order == 48:
        root = 0.5**0.5
        pairs = sorted(set(permutations((root, root, 0.0, 0.0))), reverse=True)
        return cosets(signed(*pairs), binary(24))
    golden = (1 + 5**0.5) / 2
    even = [p for p in permutations(range(4)) if int(parity(torch.tensor(p))) == 1]
    values = (golden / 2, 0.5, 0.5 / golden, 0.0)
    return cosets(signed(*(tuple(values[i] for i in p) for p in even)), binary(24))


def cosets(rest: Tensor, group: Tensor) -> Tensor:
    """``group`` followed by its left cosets q group, for all q of ``rest``, each once."""
    found = group
    for q in rest:
        if not bool(((found - q).abs().amax(-1) < 1e-9).any()):
            found = torch.cat([found, multiply(q, group)])
    return found


def multiply(p: Tensor, q: Tensor) -> Tensor:
    """The quaternion product, (..., 4) each."""
    return (left(p) @ q.unsqueeze(-1)).squeeze(-1)


def left(p: Tensor) -> Tensor:
    """The matrix of q -> p q, (..., 4, 4)."""
    w, x, y, z = p.unbind(-1)
    return torch.stack([w, -x, -y, -z, x, w, -z, y, y, z, w, -x, z, -y, x, w], -1).unflatten(-1, (4, 4))


def right(p: Tensor) -> Tensor:
    """The matrix of q -> q p, (..., 4, 4)."""
    w, x, y, z = p.unbind(-1)
    return torch.stack([w, -x, -y, -z, x, w, z, -y, y, -z, w, x, z, y, -x, w], -1).unflatten(-1, (4, 4))


def rotations(q: Tensor) -> Tensor:
    """The rotation v -> q v q* of space, (..., 3, 3)."""
    conjugate = q * torch.tensor([1.0, -1.0, -1.0, -1.0], dtype=q.dtype)
    return (left(q) @ right(conjugate))[..., 1:, 1:]


@lru_cache
def polyhedral(order: int) -> Tensor:
    """The rotation group of order 4 (half turns), 12, 24 or 60: the identity first, then coset by coset, (order, 3, 3).

    Each starts with the smaller group: 4 in 12, 12 in 24 and in 60. Entries 0, ±1/2 and ±1 are exact.
    """
    q = binary(2 * order)
    ahead = torch.tril((q @ q.T < -1 + 1e-9), -1).any(-1)
    matrices = rotations(q[~ahead])
    rounded = (2 * matrices).round() / 2
    return torch.where((matrices - rounded).abs() < 1e-9, rounded, matrices) + 0.0
