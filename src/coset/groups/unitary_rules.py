"""Quadrature on U(d) and SU(d): a rule on the sphere of last columns times a rule on the group one size smaller."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

from .spheres import sphere


@lru_cache
def unitary(d: int, degree: int, special: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Elements (k, d, d), weights (k,) and labels of sub-rules (k,), exact for polynomials in the entries and their conjugates.

    Averaged over U(d-1) or SU(d-1) from the right, a polynomial is one of the same degree in the last column, because
    invariants of the other columns are inner products of rows and, up to conjugation, minors, which are entries of the last one.
    Degree 1 takes multiples of the identity alone.
    """
    if degree == 0 or (special and d == 1):
        return torch.eye(d, dtype=torch.complex128)[None], torch.ones(1, dtype=torch.float64), torch.zeros(1, dtype=torch.int64)
    if d == 1 or degree == 1:
        count = degree + 1 if not special else d
        steps = torch.arange(count)
        roots = torch.polar(torch.ones(count, dtype=torch.float64), 2 * math.pi * steps.double() / count)
        divisor = next(p for p in range(2, count + 1) if count % p == 0)
        return (
            roots[:, None, None] * torch.eye(d, dtype=torch.float64),
            torch.full((count,), 1 / count, dtype=torch.float64),
            steps % divisor,
        )
    points, weights = sphere(2 * d, degree)
    inner, inner_weights, labels = unitary(d - 1, degree, special)
    fixed = torch.nn.functional.pad(inner, (0, 1, 0, 1))
    fixed[:, -1, -1] = 1.0
    columns = with_last_column(torch.view_as_complex(points.reshape(len(points), d, 2).contiguous()), special)
    elements = (columns[:, None] @ fixed).flatten(0, 1)
    return elements, (weights[:, None] * inner_weights).flatten(), labels.repeat(len(points))


def with_last_column(points: Tensor, special: bool) -> Tensor:
    """Unitary matrices (k, d, d) with the given last columns (k, d), of determinant 1 where ``special``: reflections times a phase."""
    last = torch.eye(points.shape[-1], dtype=points.dtype)[-1]
    phase = torch.where(points[:, -1:].abs() > 0, -points[:, -1:].sgn(), -torch.ones_like(points[:, -1:]))
    normal = points - phase * last
    normal = normal / normal.abs().square().sum(-1, keepdim=True).sqrt()
    reflection = torch.eye(points.shape[-1], dtype=torch.float64) - 2 * normal[:, :, None] * normal[:, None, :].conj()
    turned = phase[:, :, None] * reflection
    if not special:
        return turned
    return torch.cat([turned[..., :1] * torch.linalg.det(turned).sgn().conj()[:, None, None], turned[..., 1:]], -1)
