"""Small sets of signed permutation matrices and of quaternion pairs whose averages are those of all rotations."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, islice

import torch
from torch import Tensor

from .quaternions import binary, left, right

TRIES = 20_000
"""How many codes of one length are tried."""


def characters(d: int, degree: int, special: bool) -> Tensor:
    """Sign vectors (2^q, d) such that products of up to ``degree`` different coordinates average to zero, degree 1 to 3.

    Coordinate i of vector s is the character (-1)^(s . c_i) of the bits of s. The d codes c_i are nonzero (degree 1)
    and different (degree 2), no three add up to zero (degree 3); with ``special`` all of them add up to zero, so that
    the product of all coordinates is one. The shortest codes that a bounded search finds.
    """
    codes = next(codes for q in range(1, d + 1) for codes in _codes(d, q, degree, special))
    q = max(codes).bit_length()
    bits = torch.arange(2**q).unsqueeze(-1) & torch.tensor(codes)
    parity = torch.stack([(bits >> k) & 1 for k in range(q)]).sum(0) % 2
    return (1 - 2 * parity).to(torch.float64)


def _codes(d: int, q: int, degree: int, special: bool) -> Iterator[tuple[int, ...]]:
    """Codes of q bits that fit; for degree 1 codes may repeat. Unit vectors with their sum (q = d - 1), or alone (q = d), always do."""
    if degree <= 1:
        if special and (q < 2 or d < 3) and d % 2:
            return
        yield (1,) * d if not special or d % 2 == 0 else (1,) * (d - 2) + (2, 3)
        return
    if special and d % 2 and degree >= 3:
        yield from _odd_codes(d, q)
    odd = tuple(c for c in range(2**q) if c.bit_count() % 2)
    for pool in (odd, tuple(range(1, 2**q))):
        for codes in islice(combinations(pool, d), TRIES):
            if _fits(codes, degree, special):
                yield codes
    units = tuple(1 << i for i in range(q))
    yield from (c for c in ((*units, (1 << q) - 1), units) if len(c) == d and _fits(c, degree, special))


def _odd_codes(d: int, q: int) -> Iterator[tuple[int, ...]]:
    """For odd d: one code z, and d - 1 codes of the other half space, no two of which differ by z, with sum z."""
    if q < 3:
        return
    z, top = 1 << (q - 2), 1 << (q - 1)
    for low in islice(combinations(range(z), d - 1), TRIES):
        codes = (z, top | z | low[0], *(top | v for v in low[1:]))
        if _fits(codes, 3, special=True):
            yield codes


def _fits(codes: tuple[int, ...], degree: int, special: bool) -> bool:
    whole = 0
    for code in codes:
        whole ^= code
    if special and whole:
        return False
    return degree < 3 or not any(a ^ b in codes for a, b in combinations(codes, 2))


def signed_shifts(d: int, degree: int, special: bool) -> tuple[Tensor, Tensor]:
    """Signed cyclic shifts D_s C^j, exact to degree 3 on O(d) and, for d at least 4 (degree 2: 3), on SO(d).

    The sign vectors kill all products but squares, the shifts make the squares equal. Returns the matrices (k, d, d)
    and labels (k,) of the shift: every shift alone is exact to degree 1.
    """
    signs = characters(d, degree, special)
    shifts = torch.stack([torch.roll(torch.eye(d, dtype=torch.float64), j, 0) for j in range(d)])
    if special:
        shifts[:, :, 0] *= torch.linalg.det(shifts).round()[:, None]
    matrices = (signs[:, None, :, None] * shifts).flatten(0, 1)
    return matrices, torch.arange(d).repeat(len(signs))


def quaternion_pairs(order: int, cosets: int) -> tuple[Tensor, Tensor]:
    """The rotations q -> p q r of R^4 for p, r in a binary group (pairs up to sign), and labels by cosets of p.

    A polynomial of degree t in the matrix is of degree t in p and in r, so that a group that is a design of degree t
    on the sphere is exact to degree t here.
    """
    q = binary(order)
    ahead = torch.tril(q @ q.T < -1 + 1e-9, -1).any(-1)
    half = q[~ahead]
    matrices = (left(half)[:, None] @ right(q)[None]).flatten(0, 1)
    size = len(half) // cosets
    return matrices, (torch.arange(len(half)) // size).repeat_interleave(len(q))


def cyclic_signs(d: int, special: bool) -> Tensor:
    """The group of all signed cyclic shifts D_s C^j, (2^d d, d, d), or with ``special`` its rotations, half as many.

    It is exact to degree 3 for d at least 4, as :func:`signed_shifts` are, which are fewer but no group.
    """
    bits = torch.arange(2**d).unsqueeze(-1) >> torch.arange(d) & 1
    shifts = torch.stack([torch.roll(torch.eye(d, dtype=torch.float64), j, 0) for j in range(d)])
    matrices = ((1 - 2 * bits).to(torch.float64)[None, :, :, None] * shifts[:, None]).flatten(0, 1) + 0.0
    return matrices[torch.linalg.det(matrices) > 0] if special else matrices
