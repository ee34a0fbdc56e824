"""The minimal frame of complex vectors under U(d) and SU(d): threshold-pivoted Gram-Schmidt over the complex numbers."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Complex, Int
from torch import Tensor

from ..actions.layout import Layout
from ..errors import FrameError, InputError, describe, explain
from ..groups.base import Group
from ..measure import Measure
from ..tree import Tree
from .base import Frame, ordered_leaves, wide
from .clouds import dense_rows
from .ordered import THRESHOLD, StabilizerRules, first_reaching


class UnitaryMinimal(Frame):
    """Bound by ``Minimal`` for U(d) and SU(d) on ordered complex vectors.

    The columns q_j are those of Gram-Schmidt, so that <q_j, v_j> > 0 for the j-th pivot v_j. Under SU(d) the last
    column, which d - 1 pivots leave free up to a phase, makes the determinant 1; a factor det^(-1/d) on all columns
    would jump where the root does. Where the vectors span r < d dimensions, the rest is averaged over U(d - r) or SU(d - r).
    """

    ordered = True

    def __init__(self, of: Any, tol: float):
        super().__init__()
        self.of, self.tol = of, tol

    def prepare(self, group: Group) -> None:
        """Tabulate the stabilizers of every rank."""
        if not any(leaf.polar for leaf in self.source.items().values()):  # type: ignore[union-attr]
            raise FrameError(
                explain(f"a minimal frame of inputs {self.source}", "complex vectors", f"declare what {group} moves as Vectors")
            )
        self.rules = StabilizerRules(int(group.dim or 1), group.reflects, self.degree, complex=True)

    def measure(self, inputs: Tree, at: Layout) -> Measure:
        """One coset."""
        rows, named = self._rows(inputs, at)
        d = rows.shape[-1]
        special = not self.group.reflects
        noise = rows.real.new_zeros(rows.shape[0]) if at.noise is None else at.noise
        basis, ranks = complex_basis(rows, named, self.tol, noise, d - 1 if special else d)
        if special:
            phase = torch.linalg.det(basis).conj()
            phase = phase / phase.abs()
            basis = torch.cat([basis[..., :-1], basis[..., -1:] * phase[:, None, None]], -1)
        matrices, weights, order = self.rules(basis, ranks)
        return Measure(self.group, matrices, weights, order, cosets=1, tol=self.tol)

    def _rows(self, inputs: Tree, at: Layout) -> tuple[Tensor, int]:
        """(B, n, d) all vectors in wide precision, those named by ``of=`` first, and their number; the others in their unit."""
        parts, named = [], 0
        for key, action, x, first in ordered_leaves(self, inputs):
            if not action.polar:
                continue
            if not x.is_complex():
                raise InputError(
                    explain(
                        f"input {'' if key is None else repr(key) + ' '}is {describe(x)}, real",
                        f"complex vectors for {self.group}",
                        "convert it with .to(torch.complex64), or use SpecialOrthogonal or Orthogonal for real vectors",
                    )
                )
            rows = dense_rows(x, at)[0].to(torch.promote_types(wide(x.dtype, x.device), x.dtype))
            named += rows.shape[1] if first else 0
            parts.append(rows)
        unit = _longest(torch.cat(parts, 1)[:, :named])
        for number, rows in enumerate(parts):
            if sum(part.shape[1] for part in parts[:number]) >= named:
                own = _longest(rows)
                parts[number] = rows * (torch.where(unit > 0, unit, torch.ones_like(unit)) / torch.where(own > 0, own, 1))[:, None, None]
        return torch.cat(parts, 1), named


def _longest(rows: Tensor) -> Tensor:
    """(B,) the largest length of rows (B, n, d), detached."""
    return rows.detach().abs().square().sum(-1).amax(1).sqrt()


def complex_basis(
    rows: Complex[Tensor, "B n d"], named: int, tol: float, noise: Tensor, steps: int
) -> tuple[Complex[Tensor, "B d d"], Int[Tensor, " B"]]:
    """Orthonormal columns from the rows: ``steps`` pivots, then coordinate axes.

    Each pivot is the first named row whose residual reaches a share of the largest; other rows come in where the
    named ones are used up.

    Returns:
        (B, d, d) unitary matrices, and (B,) how many columns came from rows.
    """
    d = rows.shape[-1]
    view = rows.detach()
    cut = torch.maximum(tol * _longest(view), noise)
    cut = torch.where(cut > 0, cut, torch.full_like(cut, tol))
    eye = torch.eye(d, dtype=rows.dtype, device=rows.device)
    spare = torch.ones(rows.shape[0], d, dtype=cut.dtype, device=rows.device)
    ranks = torch.zeros(rows.shape[0], dtype=torch.long, device=rows.device)
    columns: list[Tensor] = []
    for step in range(d):
        row = eye[first_reaching(spare, THRESHOLD**2 * spare.amax(1))]
        if step < steps:
            index, found = _pivot(view.abs().square().sum(-1), cut.square(), named)
            picked = rows.gather(1, index[:, None, None].expand(-1, 1, d)).squeeze(1)
            row = torch.where(found[:, None], picked, row)
            ranks = ranks + found
        for _ in range(2):
            for q in columns:
                row = row - q * (q.conj() * row).sum(-1, keepdim=True)
        q = row / row.abs().square().sum(-1, keepdim=True).sqrt()
        columns.append(q)
        spare = spare - q.detach().abs().square()
        fixed = q.detach().unsqueeze(1)
        view = view - (view * fixed.conj()).sum(-1, keepdim=True) * fixed
    return torch.stack(columns, -1), ranks


def _pivot(squared: Tensor, cut: Tensor, named: int) -> tuple[Tensor, Tensor]:
    """(B,) the pivot's number, among the named rows while they span more, else among the others; and whether there is one."""
    top = squared[:, :named].amax(1)
    index, found = first_reaching(squared[:, :named], THRESHOLD**2 * top), top > cut
    if named == squared.shape[1]:
        return index, found
    other = squared[:, named:].amax(1)
    index = torch.where(found, index, first_reaching(squared[:, named:], THRESHOLD**2 * other) + named)
    return index, found | (other > cut)
