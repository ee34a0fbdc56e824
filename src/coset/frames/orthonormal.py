"""From vectors to orthogonal, unitary and Lorentz matrices: Gram-Schmidt and polar factors."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..actions.layout import Layout
from ..errors import FrameError, describe, explain
from ..groups.base import Group
from ..groups.lorentz import metric
from .polar import polar
from .retracted import Retracted, Retraction, rounding


class Matrices(Retraction):
    """Abstract: vectors (R, m, d), rows moved by the group, to matrices whose columns they become."""

    def prepare(self, group: Group) -> None:
        """Refuse groups whose matrices keep no inner product."""
        if group.dim is None or group.permutes or not (group.orthogonal or group.unitary or group.lorentzian):
            raise FrameError(
                explain(
                    f"{self} for {group}",
                    "O, SO, U, SU or a Lorentz group (Euclidean groups by centring)",
                    "use frames.Minimal() for others",
                )
            )

    def _checked(self, matrices: Tensor, gap: Tensor, raw: Tensor, scale: Tensor | None) -> Retracted:
        """The matrices, those of a small gap marked, and those whose vectors are rounding noise."""
        size = raw.detach().abs().square().sum(-1).sqrt()
        bad = ~(gap > LEAST)
        tied = bad
        if scale is not None and not self.group.lorentzian:  # type: ignore[union-attr]
            tied = bad | (size.amin(1) <= NOISY * rounding(size) * scale.to(size.dtype))
        return Retracted(matrices, torch.isfinite(size.sum(1)), tied, bad)

    def _rows(self, raw: Tensor, at: Layout, needed: int) -> Tensor:
        """The first d rows in wide precision."""
        d = self.group.dim  # type: ignore[union-attr]
        if raw.dim() != 3 or raw.shape[0] != at.samples or raw.shape[2] != d or raw.shape[1] < needed:
            raise FrameError(
                explain(
                    f"{describe(raw)} from the network, for {self} on {self.group}",
                    f"at least {needed} vectors per sample, of shape ({at.samples}, {needed}, {d})",
                    "give the network more vector channels at its end",
                )
            )
        rows = raw[:, :d]
        if rows.device.type == "mps":
            return rows
        return rows.to(torch.complex128 if rows.is_complex() or self.group.complex else torch.float64)  # type: ignore[union-attr]


class GramSchmidt(Matrices):
    """O, SO, U, SU, Lorentz: orthonormalize the rows one after the other; with determinant one the last only gives its side.

    For special groups d - 1 rows are enough. For Lorentz groups the inner product is that of the metric (+, -, ...), and the first
    row has to be timelike; where time is not reversed it is turned to the future. Rows that are sums of inputs span no
    more than these do: the four momenta of 2 -> 2 scattering add up, so they fix elements of ``ProperLorentz(4)``, by three
    rows, and not the parity of ``Lorentz(4)``.

    Reference: Kim et al. 2023, arXiv 2306.02866, section 2.2.

    Example:
        >>> from coset import frames
        >>> frames.GramSchmidt()
        GramSchmidt()
    """

    def __call__(self, raw: Tensor, at: Layout, scale: Tensor | None = None) -> Retracted:
        """The matrices with orthonormal columns."""
        group: Any = self.group
        d, unimodular = group.dim, special(group)
        rows = self._rows(raw, at, d - 1 if unimodular and d > 1 else d)
        eta = form(group, rows)
        columns: list[Tensor] = []
        gap = eta.new_ones(rows.shape[0])
        for number in range(d if group.unitary and not unimodular else d - 1):
            column, share = _next(rows[:, number], columns, eta)
            columns.append(column)
            gap = torch.minimum(gap, BOOSTED * share if group.lorentzian else share)
        if group.lorentzian and "time reversal" not in group.flips():
            columns[0] = columns[0] * torch.where(columns[0][:, :1].detach() < 0, -1.0, 1.0)
        if len(columns) < d:
            last = _last(columns, eta) if columns else rows.new_ones(rows.shape[0], 1)
            if not unimodular:
                side = (rows[:, d - 1] * eta * last).sum(-1).detach()
                size = rows[:, d - 1].detach().square().sum(-1).sqrt()
                gap = torch.minimum(
                    gap, (BOOSTED if group.lorentzian else SIDE) * side.abs() / size.clamp_min(torch.finfo(size.dtype).tiny)
                )
                last = last * torch.where(side * (-1 if group.lorentzian else 1) < 0, -1.0, 1.0).unsqueeze(-1)
            columns.append(last)
        return self._checked(torch.stack(columns, -1), gap, raw[:, : rows.shape[1]], scale)


LEAST = 1e-2
"""Vectors whose new part is a smaller share of their length are drawn anew: rounding grows by its inverse."""
SIDE = 10.0
"""The last real row only chooses between two sides, which is well determined at a tenth of the gap that others need."""
BOOSTED = 1e3
"""Boosts shrink the share of a row's length that is new, so that it may be this much smaller."""


NOISY = 8.0
"""Vectors are rounding noise up to this many times the relative rounding of the inputs that they are made of."""


def form(group: Group, like: Tensor) -> Tensor:
    """(d,) the diagonal of the form that the matrices of a group keep, in the real precision of ``like`` (..., d)."""
    one = like.detach().abs().new_ones(like.shape[-1])
    return metric(like.shape[-1], one.dtype, one.device) if group.lorentzian else one


def special(group: Group) -> bool:
    """Whether all matrices of the group have determinant one."""
    if group.unitary:
        return group.lie_dimension < (group.dim or 0) ** 2
    return not group.reflects


def _next(row: Tensor, columns: list[Tensor], eta: Tensor) -> tuple[Tensor, Tensor]:
    """The part of a row orthogonal to the columns, of the norm that its column has in the metric; and the share of its length."""
    start = row.detach().abs().square().sum(-1).sqrt()
    for _ in range(2):
        for number, q in enumerate(columns):
            row = row - q * (eta[number] * (q.conj() * eta * row).sum(-1, keepdim=True))
    square = eta[len(columns)] * (row.abs().square() * eta).sum(-1)
    good = square > 0
    length = torch.where(good, square, torch.ones_like(square)).sqrt()
    share = torch.where(good, length, torch.zeros_like(length)) / start.clamp_min(torch.finfo(length.dtype).tiny)
    return row / length.unsqueeze(-1), share.detach()


def _last(columns: list[Tensor], eta: Tensor) -> Tensor:
    """The vector that completes d - 1 orthonormal columns to determinant one: their generalized cross product."""
    block = torch.stack(columns, -1)  # (R, d, d - 1)
    d = block.shape[-2]
    keep = torch.tensor([[row for row in range(d) if row != axis] for axis in range(d)], device=block.device)
    minors = torch.linalg.det(block[:, keep])  # (R, d): d - 1 columns without one row each
    sign = 1.0 - 2.0 * ((torch.arange(d, device=block.device) + d - 1) % 2)  # powers of -1.0 lose their brackets in traced code
    return (minors * sign.to(minors.dtype)).conj() * eta * eta[-1]


class Polar(Matrices):
    """O, SO, U: the orthogonal (unitary) matrix nearest to d vectors, which treats them alike; gradients stay finite.

    Example:
        >>> from coset import frames
        >>> frames.Polar()
        Polar()
    """

    def prepare(self, group: Group) -> None:
        """Refuse Lorentz groups and SU(d)."""
        super().prepare(group)
        if group.lorentzian or (group.unitary and special(group)):
            raise FrameError(explain(f"{self} for {group}", "O, SO or U", "use frames.GramSchmidt()"))

    def __call__(self, raw: Tensor, at: Layout, scale: Tensor | None = None) -> Retracted:
        """The polar factors of the matrices with the vectors as columns."""
        rows = self._rows(raw, at, self.group.dim or 0)  # type: ignore[union-attr]
        finite = torch.isfinite(rows.detach().abs().sum((1, 2)))
        rows = torch.where(finite[:, None, None], rows, torch.zeros_like(rows))
        nearest, gap = polar(rows.mT, special=not self.group.reflects and not self.group.unitary)  # type: ignore[union-attr]
        return self._checked(nearest, gap, raw, scale)
