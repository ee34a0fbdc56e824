"""Quadrature on spheres: points and weights that average every polynomial up to a degree."""

from __future__ import annotations

import math
from functools import lru_cache
from itertools import permutations

import torch
from torch import Tensor

from .quaternions import binary, signed

PLATONIC_SPHERES = {(4, 5): 24, (4, 7): 48, (4, 11): 120}
"""Groups of unit quaternions by (d, degree): the 24-cell, two 24-cells, the 600-cell."""


@lru_cache
def sphere(d: int, degree: int) -> tuple[Tensor, Tensor]:
    """Points (k, d) of the unit sphere in R^d and weights (k,) of sum 1, exact for polynomials of the degree.

    The cheapest of: antipodes (degree 1), the cross-polytope (3), regular polygons (any degree, d = 2), the icosahedron
    (5) and Lebedev's rules (7, 9, 11) for d = 3, groups of quaternions (5, 7, 11) for d = 4, and
    Gauss-Gegenbauer nodes in the last coordinate times a sphere of one dimension less (any).
    """
    if d == 1 or degree <= 1:
        point = torch.eye(d, dtype=torch.float64)[-1:]
        return uniform(torch.cat([point, -point]))
    if d == 2:
        angles = torch.arange(degree + 1, dtype=torch.float64) * (2 * math.pi / (degree + 1))
        return uniform(torch.stack([angles.cos(), angles.sin()], -1))
    if degree <= 3:
        axes = torch.eye(d, dtype=torch.float64)
        return uniform(torch.cat([axes, -axes]))
    if d == 3 and degree <= 11:
        return icosahedron() if degree <= 5 else lebedev(degree)
    if d == 4 and degree <= 11:
        return uniform(binary(min(size for (_, reach), size in PLATONIC_SPHERES.items() if degree <= reach)))
    return suspended(d, degree)


def uniform(points: Tensor) -> tuple[Tensor, Tensor]:
    """Points with equal weights."""
    return points, torch.full((len(points),), 1 / len(points), dtype=torch.float64)


def icosahedron() -> tuple[Tensor, Tensor]:
    """The 12 corners of an icosahedron, a design of degree 5."""
    golden = (1 + 5**0.5) / 2
    rows = [(0.0, 1.0, golden), (golden, 0.0, 1.0), (1.0, golden, 0.0)]
    return uniform(signed(*rows) / math.sqrt(1 + golden**2))


def lebedev(degree: int) -> tuple[Tensor, Tensor]:
    """Lebedev's rules of 26, 38 and 50 points, exact to degree 7, 9 and 11 (Lebedev 1975, 1976)."""
    corners, edges, faces = (1.0, 0.0, 0.0), (1.0, 1.0, 0.0), (1.0, 1.0, 1.0)
    if degree <= 7:
        orbits = [(corners, 1 / 21), (edges, 4 / 105), (faces, 9 / 280)]
    elif degree <= 9:
        tilt = 0.5 * math.asin(math.sqrt(2 / 3))
        orbits = [(corners, 1 / 105), (faces, 9 / 280), ((math.cos(tilt), math.sin(tilt), 0.0), 1 / 35)]
    else:
        orbits = [(corners, 4 / 315), (edges, 64 / 2835), (faces, 27 / 1280), ((1.0, 1.0, 3.0), 14641 / 725760)]
    points = [signed(*sorted(set(permutations(row)))) / math.hypot(*row) for row, _ in orbits]
    weights = [torch.full((len(p),), weight, dtype=torch.float64) for p, (_, weight) in zip(points, orbits, strict=True)]
    return torch.cat(points), torch.cat(weights)


def gegenbauer(d: int, degree: int) -> tuple[Tensor, Tensor]:
    """Gauss nodes and weights (sum 1) on [-1, 1] for the last coordinate of the sphere in R^d, d at least 3.

    Golub and Welsch: eigenvalues of the Jacobi matrix of the weight (1 - t²)^((d-3)/2).
    """
    k = torch.arange(1, degree // 2 + 1, dtype=torch.float64)
    half = (d - 2) / 2
    off = (k * (k + 2 * half - 1) / (4 * (k + half) * (k + half - 1))).sqrt()
    nodes, vectors = torch.linalg.eigh(torch.diag(off, 1) + torch.diag(off, -1))
    return nodes, vectors[0] ** 2


def suspended(d: int, degree: int) -> tuple[Tensor, Tensor]:
    """Points (sqrt(1 - t²) y, t) for Gauss nodes t and points y of the next smaller sphere."""
    heights, height_weights = gegenbauer(d, degree)
    inner, inner_weights = sphere(d - 1, degree)
    radii = (1 - heights**2).clamp(min=0).sqrt()
    flat = (radii[:, None, None] * inner).flatten(0, 1)
    points = torch.cat([flat, heights.repeat_interleave(len(inner))[:, None]], -1)
    return points, (height_weights[:, None] * inner_weights).flatten()
