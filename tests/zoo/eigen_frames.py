"""Cases of frames of eigenvectors: operators in arbitrary bases of their domain, and eigenvectors up to signs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from coset import actions, frames, groups

from .frames import BATCH, FrameCase, Make, Out, Symmetric, case

CONSTANT = {"gradcheck": "the matrices that change bases are constants in backward passes"}


def orthogonal(count: int, n: int, generator: torch.Generator) -> Tensor:
    """Random orthogonal matrices in float64."""
    return torch.linalg.qr(torch.randn(count, n, n, generator=generator, dtype=torch.float64))[0]


def laplacian(edges: list[tuple[int, int]], n: int, weights: Tensor | None = None) -> Tensor:
    """The Laplacian of a graph with weighted edges."""
    found = torch.zeros(n, n, dtype=torch.float64)
    for number, (i, j) in enumerate(edges):
        w = 1.0 if weights is None else float(weights[number])
        found[[i, j], [j, i]] -= w
        found[[i, j], [i, j]] += w
    return found


RING = [(i, (i + 1) % 6) for i in range(6)]
GRAPHS = {
    "ring": RING,
    "prism": [(0, 1), (1, 2), (2, 0), (3, 4), (4, 5), (5, 3), (0, 3), (1, 4), (2, 5)],
    "path": RING[:-1],
    "star with a tail": [(0, 1), (0, 2), (0, 3), (3, 4), (4, 5)],
    "two triangles": [(0, 1), (1, 2), (2, 0), (3, 4), (4, 5), (5, 3)],
}


def in_some_basis(operators: Tensor, generator: torch.Generator, dtype: torch.dtype) -> dict[str, Tensor]:
    """Orthonormal vectors and the operator in their basis."""
    basis = orthogonal(len(operators), operators.shape[1], generator)
    return {"vectors": basis.to(dtype), "operator": (basis.mT @ operators @ basis).to(dtype)}


def weighted_rings(generator: torch.Generator) -> Tensor:
    """Laplacians of rings with random weights."""
    return torch.stack([laplacian(RING, 6, 0.5 + torch.rand(6, generator=generator, dtype=torch.float64)) for _ in range(BATCH)])


def operators() -> tuple[Make, Symmetric]:
    """Generic operators, and those of symmetric graphs."""

    def symmetric(generator: torch.Generator, dtype: torch.dtype) -> list[tuple[str, Any]]:
        return [(name, in_some_basis(laplacian(edges, 6).expand(2, 6, 6), generator, dtype)) for name, edges in GRAPHS.items()]

    return lambda generator, dtype: in_some_basis(weighted_rings(generator), generator, dtype), symmetric


def signs() -> tuple[Make, Symmetric]:
    """Three eigenvectors of simple eigenvalues: generic, and some that a permutation of nodes flips."""

    def make(generator: torch.Generator, dtype: torch.dtype) -> Tensor:
        return torch.linalg.eigh(weighted_rings(generator))[1][:, :, 1:4].to(dtype)

    def symmetric(generator: torch.Generator, dtype: torch.dtype) -> list[tuple[str, Any]]:
        path = torch.linalg.eigh(laplacian(GRAPHS["path"], 6))[1].to(dtype)
        return [("path", path[None, :, 1:4]), ("odd ones", path[None, :, [1, 3, 5]])]

    return make, symmetric


def eigen_cases() -> list[FrameCase]:
    """Operators under O(k), eigenvectors under sign flips."""
    O6, F3 = groups.Orthogonal(6), groups.SignFlips(3)
    source = actions.Dict(vectors=actions.Points(O6), operator=actions.Tensors(O6, 2, points=False))
    score: dict[str | None, Out] = {None: Out(actions.Trivial(O6), False, (3,))}
    both: dict[str | None, Out] = {
        "nodes": Out(actions.Vectors(O6, points=True), True, (6,)),
        "matrix": Out(actions.Tensors(O6, 2, points=False), False, (6, 6)),
    }
    make, symmetric = operators()
    plain, flips = signs()
    many = frames.Eigenvectors(values="operator", average=150)
    return [
        case(many, source, score, make, symmetric, "scores", unordered=True, skips=CONSTANT),
        case(many, source, both, make, symmetric, "coordinates", unordered=True, skips=CONSTANT),
        case(
            frames.Eigenvectors(),
            actions.Points(F3),
            {None: Out(actions.Vectors(F3, points=True), True, (3,))},
            plain,
            flips,
            unordered=True,
        ),
    ]
