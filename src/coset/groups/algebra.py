"""Bases of Lie algebras of matrices, each of shape (lie_dimension, d, d) in float64."""

from __future__ import annotations

import torch
from torch import Tensor


def units(d: int) -> Tensor:
    """The d² matrices with a single one, row by row."""
    return torch.eye(d * d, dtype=torch.float64).reshape(d * d, d, d)


def skew(d: int) -> Tensor:
    """Rotations in each coordinate plane i < j, from axis i towards axis j: d(d-1)/2 matrices."""
    i, j = torch.triu_indices(d, d, 1)
    rows = torch.arange(len(i))
    basis = torch.zeros(len(i), d, d, dtype=torch.float64)
    basis[rows, j, i] = 1.0
    basis[rows, i, j] = -1.0
    return basis


def traceless(d: int) -> Tensor:
    """Off-diagonal units, and differences of neighbours on the diagonal: d² - 1 matrices."""
    off = units(d)[~torch.eye(d, dtype=torch.bool).flatten()]
    diagonal = torch.diag_embed(torch.eye(d, dtype=torch.float64))
    return torch.cat([off, diagonal[:-1] - diagonal[1:]])


def anti_hermitian(d: int, special: bool) -> Tensor:
    """A real basis of u(d), d² complex matrices, or of su(d), the d² - 1 traceless ones."""
    planes = skew(d)
    diagonal = torch.diag_embed(torch.eye(d, dtype=torch.float64))
    if special:
        diagonal = diagonal[:-1] - diagonal[1:]
    imaginary = torch.cat([diagonal, planes.abs()])
    return torch.cat([planes.to(torch.complex128), 1j * imaginary.to(torch.complex128)])


def lorentz(d: int) -> Tensor:
    """Boosts along each space axis, then rotations of space: d(d-1)/2 matrices, time first."""
    axes = torch.arange(1, d)
    boosts = torch.zeros(d - 1, d, d, dtype=torch.float64)
    boosts[axes - 1, 0, axes] = 1.0
    boosts[axes - 1, axes, 0] = 1.0
    return torch.cat([boosts, torch.nn.functional.pad(skew(d - 1), (1, 0, 1, 0))])
