"""Any matrix as "element", and its distance from the group as a loss."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..actions.layout import Layout
from ..errors import FrameError, describe, explain
from ..groups.base import Group
from .orthonormal import GramSchmidt, form, special
from .retracted import Retracted, Retraction, rounding


class OrbitDistance(Retraction):
    """Any matrix as "element", and its distance from the group as a score: for groups without a retraction.

    The loss ``orbit`` = |I(M) - I(1)|^2 is zero exactly on the group when I separates orbits; it keeps the inputs of the
    model near the orbit. For groups that keep a form J the invariants are M^T J M, beside the determinant where all
    elements have determinant one, and the inverse is J M^T J, with which invariant outputs are invariant whatever M is,
    and other outputs as far as M is on the group: ``exact`` is False. In ``eval()`` a ``Probabilistic`` frame ties its noise to
    an element of the group, which the group's own retraction makes of the network's vectors without noise.

    Args:
        invariants: maps matrices (R, d, d) to (R, ...); those above when left out.

    Reference: Kim et al. 2023, arXiv 2311.07143.

    Example:
        >>> from coset import frames
        >>> frames.OrbitDistance()
        OrbitDistance()
    """

    exact = False

    def __init__(self, invariants: Callable[[Tensor], Tensor] | None = None):
        self.invariants = invariants

    def prepare(self, group: Group) -> None:
        """Refuse groups without matrices, and groups without a form where no invariants are given."""
        keeps = group.orthogonal or group.unitary or group.lorentzian
        listed = group.finite and not (isinstance(one := group.identity(), Tensor) and one.dim() == 2)  # elements that are no matrices
        if group.dim is None or group.permutes or listed or not (keeps or self.invariants):
            raise FrameError(
                explain(f"{self} for {group}", "a matrix group that keeps a form, or invariants that tell its orbits apart", "pass them")
            )

    def __call__(self, raw: Tensor, at: Layout, scale: Tensor | None = None) -> Retracted:
        """The matrices with the rows as columns."""
        d: int = self.group.dim  # type: ignore[union-attr, assignment]
        if raw.dim() != 3 or tuple(raw.shape) != (at.samples, d, d):
            raise FrameError(
                explain(f"{describe(raw)} for {self}", f"{d} vectors per sample, ({at.samples}, {d}, {d})", "check its last layer")
            )
        matrix = raw.mT.to(torch.complex128 if raw.is_complex() else torch.float64)
        finite = torch.isfinite(matrix.detach().abs().sum((1, 2)))
        never = torch.zeros_like(finite)
        return Retracted(matrix, finite, never, never, None, {"orbit": partial(self._distance, matrix)})

    def _distance(self, matrix: Tensor) -> Tensor:
        one = torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
        if self.invariants is not None:
            apart = self.invariants(matrix) - self.invariants(one.expand_as(matrix))
        else:
            eta = form(self.group, matrix)  # type: ignore[arg-type]
            apart = matrix.mH @ (eta.to(matrix.dtype)[:, None] * matrix) - torch.diag_embed(eta).to(matrix.dtype)
            if special(self.group):  # type: ignore[arg-type]
                apart = torch.cat([apart.flatten(1), torch.linalg.det(matrix).unsqueeze(1) - 1], 1)
        return apart.abs().square().reshape(apart.shape[0], -1).sum(1)


class Unit(Retraction):
    """The neutral element, whatever the network says: the anchor of noise that the group leaves alone."""

    def prepare(self, group: Group) -> None:
        """Any matrix group will do."""

    def __call__(self, raw: Tensor, at: Layout, scale: Tensor | None = None) -> Retracted:
        """The identity matrices."""
        kind = torch.complex128 if raw.is_complex() else torch.float64
        never = torch.zeros(at.samples, dtype=torch.bool, device=raw.device)
        unit = torch.eye(raw.shape[-1], dtype=kind, device=raw.device).expand(at.samples, -1, -1)
        return Retracted(unit, ~never, never, never)


class Nearest(Retraction):
    """The element of a finite group of matrices that is nearest to the matrix of the rows: g of the largest tr(g^T M)."""

    def prepare(self, group: Group) -> None:
        """Any finite group of matrices will do."""

    def __call__(self, raw: Tensor, at: Layout, scale: Tensor | None = None) -> Retracted:
        """The nearest elements; tied where two are equally near."""
        group: Any = self.group
        every = group.matrix(group.elements(dtype=torch.float64, device=raw.device))
        matrix = raw.mT.to(torch.float64)
        near = torch.einsum("kij,bij->bk", every, matrix)
        best = near.topk(min(2, near.shape[1]), 1)
        apart = best.values[:, 0] - best.values[:, -1]
        size = matrix.detach().abs().amax((1, 2))
        tied = (apart <= rounding(raw) * size) & (near.shape[1] > 1)
        return Retracted(every[best.indices[:, 0]], torch.isfinite(size), tied, torch.zeros_like(tied))


class Anchor(Retraction):
    """Elements of the group from the outputs that another retraction takes; where they are tied, the other's own values."""

    def __init__(self, own: Retraction, into: Retraction):
        self.own, self.into = own, into

    def prepare(self, group: Group) -> None:
        """Both parts are bound."""

    def __call__(self, raw: Tensor, at: Layout, scale: Tensor | None = None) -> Retracted:
        """The elements, with what ``into`` says of them."""
        found, loose = self.into(raw, at, scale), self.own(raw, at, scale).elements
        return replace(found, elements=torch.where(found.tied[:, None, None], loose, found.elements), scores={})


def into_the_group(own: Retraction, turns_noise: bool) -> Retraction:
    """What makes elements of the group from the outputs that ``own`` takes, for noise to be tied to.

    Args:
        own: a bound retraction.
        turns_noise: whether the matrices of the group move the noise.
    """
    group: Group = own.group  # type: ignore[assignment]
    if own.exact:
        return own
    if group.orthogonal or group.unitary or group.lorentzian:
        return Anchor(own, GramSchmidt().bind(group))
    if group.finite:
        return Anchor(own, Nearest().bind(group))
    return own if turns_noise else Unit().bind(group)
