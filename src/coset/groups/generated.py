"""A finite group from its generators, by closing them under products."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy
import torch
from torch import Tensor

from ..errors import GroupError, describe, explain
from .linear import GeneralLinear
from .listed import Listed
from .orthogonal import Orthogonal
from .symmetric import Symmetric

EQUAL = 1e-4
"""Elements of a finite matrix group that are closer than this are taken to be one."""

POLISHED = 1000
"""Matrix groups up to this order are corrected where their generators were given in low precision."""


class Generated(Listed):
    """The finite group that some matrices or permutations generate.

    Elements: matrices (..., d, d), or integer permutation vectors (..., n) with (g x)[p[i]] = x[i]. Matrices that are
    orthogonal, or products that coincide, up to 1e-4 are taken to be so exactly, and are corrected to full precision.

    Args:
        generators: (m, d, d) floating point matrices, or (m, n) integer permutations; nested lists will do.
        limit: the largest order accepted; reaching it is an error.

    Raises:
        GroupError: when a generator is not invertible or no permutation, or when there are more than ``limit`` elements.

    Example:
        >>> from coset.groups import Generated
        >>> Generated([[1, 2, 3, 0], [3, 2, 1, 0]]).order
        8
    """

    def __init__(self, generators: Any, limit: int = 5000):
        self.generators = _checked(generators)
        self.limit = limit
        self.permutes = self.generators.dim() == 2
        if self.permutes:
            self.ambient = Symmetric(self.generators.shape[-1])
        else:
            self.dim = self.generators.shape[-1]
            unit = torch.eye(self.dim, dtype=torch.float64)
            rigid = bool(((self.generators @ self.generators.mT - unit).abs() < EQUAL).all())
            self.ambient = Orthogonal(self.dim) if rigid else GeneralLinear(self.dim)
            self.reflects = bool((torch.linalg.det(self.generators) < 0).any())
        self._listing = close(self.generators, self.ambient.identity(1, dtype=torch.float64), self.ambient.compose, limit)
        if not self.permutes and len(self._listing) <= POLISHED:
            self._listing = polish(self._listing, orthogonal=isinstance(self.ambient, Orthogonal))
        self.selective = self.permutes and len(self._listing) < math.factorial(self.generators.shape[-1])

    def listing(self) -> Tensor:
        """All elements in full precision, the identity first."""
        return self._listing

    def permutation(self, g: Tensor) -> Tensor | None:
        """The index permutation of g, shape (..., n)."""
        return g if self.permutes else None

    def parameters(self) -> tuple[Any, ...]:
        """The constructor arguments."""
        return (tuple(self.generators.shape), tuple(self.generators.flatten().tolist()))

    def __repr__(self) -> str:
        kind = "permutations" if self.permutes else "matrices"
        return f"Generated({len(self.generators)} {kind} of size {self.generators.shape[-1]}, order={self.order})"


def _checked(generators: Any) -> Tensor:
    """Float64 matrices or int64 permutations, on the host."""
    try:
        x = generators if isinstance(generators, torch.Tensor) else torch.from_numpy(numpy.asarray(generators))
        x = x.detach().cpu()
    except (TypeError, ValueError) as error:
        raise GroupError(explain(f"generators {generators!r}", "a tensor of them", "pass equal-sized rows of numbers")) from error
    if x.is_floating_point() and x.dim() == 3 and x.shape[-1] == x.shape[-2] and x.numel():
        x = x.to(torch.float64)
        bad = torch.nonzero(~((torch.linalg.det(x).abs() - 1).abs() < 1e-4)).flatten().tolist()
        if bad:
            raise GroupError(
                explain(
                    f"generator {bad[0]} with determinant {float(torch.linalg.det(x[bad[0]])):.4g}",
                    "determinant ±1",
                    "pass matrices of finite order",
                )
            )
        return x
    if not x.is_floating_point() and not x.is_complex() and x.dim() == 2 and x.numel():
        bad = torch.nonzero((x.sort(-1).values != torch.arange(x.shape[-1])).any(-1)).flatten().tolist()
        if bad:
            raise GroupError(
                explain(f"generator {bad[0]}: {x[bad[0]].tolist()}", f"each of 0 .. {x.shape[-1] - 1} once", "pass permutations of indices")
            )
        return x.to(torch.int64)
    raise GroupError(
        explain(describe(x), "matrices (m, d, d) of floats or permutations (m, n) of integers", "convert the generators to one of the two")
    )


def close(generators: Tensor, identity: Tensor, compose: Callable[[Tensor, Tensor], Tensor], limit: int) -> Tensor:
    """All products of the generators, the identity (1, ...) first, then by length of the word.

    Raises:
        GroupError: when there are more than ``limit`` of them.
    """
    found = fresh = identity
    while len(fresh):
        products = torch.cat([compose(g, fresh) for g in generators])
        fresh = products[~matches(products, found, earlier=False)]
        fresh = fresh[~matches(fresh, fresh, earlier=True)]
        found = torch.cat([found, fresh])
        if len(found) > limit:
            raise GroupError(
                explain(
                    f"{len(generators)} generators that make more than {limit} elements",
                    f"a finite group of order at most {limit}",
                    "check the generators to more digits, or raise limit=",
                )
            )
    return found


def matches(x: Tensor, y: Tensor, earlier: bool) -> Tensor:
    """Whether each element of x equals one of y; with ``earlier``, one that stands before it (x and y being the same)."""
    flat_x, flat_y = (t.to(torch.float64).flatten(1) for t in (x, y))
    rows = []
    for start in range(0, len(flat_x), 1024):
        near = torch.cdist(flat_x[start : start + 1024], flat_y) < EQUAL
        rows.append((torch.tril(near, start - 1) if earlier else near).any(-1))
    return torch.cat(rows) if rows else torch.zeros(0, dtype=torch.bool)


def polish(listing: Tensor, orthogonal: bool) -> Tensor:
    """Turn matrices that multiply like a group up to rounding into a group in full precision.

    Newton's step for representations, rho(g) <- mean over h of rho(gh) rho(h)^-1, squares the error: to first order it
    leaves a change of basis only. Another change of basis then makes the matrices orthogonal.
    """
    for _ in range(3):
        total = torch.zeros_like(listing)
        for h, back in zip(listing, torch.linalg.inv(listing), strict=True):
            total += listing[torch.cdist((listing @ h).flatten(1), listing.flatten(1)).argmin(-1)] @ back
        if (total / len(listing) - listing).abs().max() < 1e-14:
            return listing
        listing = total / len(listing)
        if orthogonal:
            values, vectors = torch.linalg.eigh((listing.mT @ listing).mean(0))
            listing = (vectors * values.sqrt()) @ vectors.mT @ listing @ (vectors / values.sqrt()) @ vectors.mT
    return listing
