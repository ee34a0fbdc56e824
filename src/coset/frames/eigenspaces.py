"""Eigenspaces of symmetric operators: which eigenvectors belong together, and what about them does not depend on a basis."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from .ordered import THRESHOLD

FREQUENCY = 5.0
"""Radians per unit in the generic functions that tell rows of invariants apart."""


@dataclass(frozen=True)
class Spaces:
    """Eigenvectors of a batch of operators, in blocks.

    Attributes:
        vectors: (B, n, k) orthonormal columns; zero in padded rows and columns.
        block: (B, k) which eigenspace a column belongs to, numbered by ascending eigenvalue; -1 for padded columns.
        mask: (B, n) False on padded rows.
        colours: (B, n) what is known of nodes before; equal numbers are equal nodes.
    """

    vectors: Float[Tensor, "B n k"]
    block: Int[Tensor, "B k"]
    mask: Bool[Tensor, "B n"]
    colours: Int[Tensor, "B n"]

    def take(self, rows: Tensor, colours: Tensor) -> Spaces:
        """Some of the operators, with other colours."""
        return Spaces(self.vectors[rows], self.block[rows], self.mask[rows], colours)


def cluster(values: Float[Tensor, "B k"], real: Bool[Tensor, "B k"], gap: float) -> Int[Tensor, "B k"]:
    """Number eigenvalues by eigenspace: neighbours closer than ``gap`` times the largest magnitude share one.

    Args:
        values: eigenvalues in any order.
        real: False for padding.
        gap: relative distance.

    Returns:
        (B, k) numbers ascending with the eigenvalue, -1 for padding.
    """
    scale = values.masked_fill(~real, 0).abs().amax(1, keepdim=True)
    ordered, order = values.masked_fill(~real, torch.inf).sort(dim=1, stable=True)
    new = (ordered[:, 1:] - ordered[:, :-1]) > gap * scale
    number = torch.nn.functional.pad(new.long().cumsum(1), (1, 0))
    return torch.empty_like(number).scatter_(1, order, number).masked_fill(~real, -1)


def classes(values: Float[Tensor, "B n"], colours: Int[Tensor, "B n"], mask: Bool[Tensor, "B n"], tol: float) -> Int[Tensor, "B n"]:
    """Split colours where values differ by more than ``tol`` (absolute); new colours are ordered by (colour, value).

    Padded rows come last and share one class.
    """
    rank = ranked(values.masked_fill(~mask, torch.inf), tol)
    key = (colours * (values.shape[1] + 1) + rank).masked_fill(~mask, torch.iinfo(torch.int64).max)
    return ranked(key, 0)


def ranked(values: Tensor, tol: float) -> Tensor:
    """(B, n) dense ranks; neighbours that differ by at most ``tol`` share one."""
    ordered, order = values.sort(dim=1, stable=True)
    new = ordered[:, 1:] > ordered[:, :-1] + tol if tol else ordered[:, 1:] != ordered[:, :-1]
    return torch.empty_like(order).scatter_(1, order, torch.nn.functional.pad(new.long().cumsum(1), (1, 0)))


def generic(shape: tuple[int, ...], seed: int, like: Tensor) -> Tensor:
    """Fixed numbers between 0.5 and 1.5 without relations."""
    return (0.5 + torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)).to(like)


def invariant_pairs(spaces: Spaces) -> Float[Tensor, "B 2 n n"]:
    """Two generic combinations of the eigenprojections: functions of pairs of nodes that no choice of bases changes."""
    count = spaces.vectors.shape[2]
    weights = generic((2, count + 1), 1, spaces.vectors)[:, spaces.block].transpose(0, 1)
    weights = weights * (spaces.block >= 0).unsqueeze(1)
    return (spaces.vectors.unsqueeze(1) * weights.unsqueeze(2)) @ spaces.vectors.mT.unsqueeze(1)


def refine(spaces: Spaces, pairs: Tensor, tol: float, rounds: int = 3) -> Spaces:
    """Refine colours of nodes by what they see of each other, as the Weisfeiler-Leman test does with edge labels."""
    n = spaces.mask.shape[1]
    scale = pairs.abs().amax((2, 3), keepdim=True).clamp_min(torch.finfo(pairs.dtype).tiny)
    pairs = pairs / scale
    phases = 6.0 * generic((2, n + 1), 2, pairs)
    colours = spaces.colours
    for part in range(2):
        colours = classes(pairs[:, part].diagonal(dim1=1, dim2=2), colours, spaces.mask, tol)
    for _ in range(rounds):
        for part in range(2):
            seen = torch.cos(FREQUENCY * pairs[:, part] + phases[part][colours].unsqueeze(1))
            value = (seen * spaces.mask.unsqueeze(1)).sum(2) / spaces.mask.sum(1, keepdim=True).clamp_min(1)
            colours = classes(value, colours, spaces.mask, tol)
    return replace(spaces, colours=colours)


def class_sums(spaces: Spaces) -> Float[Tensor, "B n k"]:
    """Projections of the normalized indicators of classes, class after class, in the coordinates of the given eigenvectors."""
    n = spaces.mask.shape[1]
    member = torch.nn.functional.one_hot(spaces.colours, n).to(spaces.vectors) * spaces.mask.unsqueeze(2)
    size = member.sum(1).sqrt().clamp_min(1)
    return member.mT @ spaces.vectors / size.unsqueeze(2)


def orthonormal(rows: Float[Tensor, "R c m"], tol: float) -> tuple[Float[Tensor, "R m m"], Int[Tensor, " R"]]:
    """Threshold-pivoted Gram-Schmidt over rows, as far as they span; further columns are arbitrary but complete the basis.

    Returns:
        (R, m, m) orthogonal matrices, and the number of columns that the rows determine.
    """
    view, m = rows, rows.shape[2]
    basis = rows.new_zeros(rows.shape[0], m, 0)
    ranks = torch.zeros(rows.shape[0], dtype=torch.long, device=rows.device)
    spare = torch.eye(m, dtype=rows.dtype, device=rows.device).expand(rows.shape[0], m, m)
    for done in range(m):
        found, row = _first_long(view, tol)
        if done and not bool(found.any()):
            eye = torch.eye(m, dtype=rows.dtype, device=rows.device).expand(rows.shape[0], m, m)
            return torch.cat([basis, torch.linalg.qr(torch.cat([basis, eye], 2))[0][:, :, done:]], 2), ranks
        ranks = ranks + found
        row = torch.where(found[:, None], row, _first_long(spare, 0.0)[1]).unsqueeze(2)
        for _ in range(2):
            row = row - basis @ (basis.mT @ row)
        q = row / row.norm(dim=1, keepdim=True)
        basis = torch.cat([basis, q], 2)
        view = (view - (view @ q) * q.mT) * found[:, None, None]
        spare = spare - (spare @ q) * q.mT
    return basis, ranks


def _first_long(rows: Tensor, tol: float) -> tuple[Tensor, Tensor]:
    """Whether any row is longer than ``tol``, and the first row whose length is at least a fixed share of the largest."""
    length = rows.norm(dim=2)
    top = length.amax(1)
    index = (length >= THRESHOLD * top[:, None]).to(torch.int8).argmax(1)
    return top > tol, rows.gather(1, index[:, None, None].expand(-1, 1, rows.shape[2])).squeeze(1)


def canonical_bases(spaces: Spaces, tol: float) -> tuple[Float[Tensor, "B k k"], Bool[Tensor, "B k"]]:
    """Orthogonal matrices that bring eigenvectors to canonical ones: ``vectors @ basis``, and which columns are canonical.

    Columns of one eigenspace stay at its places; the determined ones come first. Directions that classes of nodes do not
    determine are the input's own, as orthogonal matrices must be, and marked False.
    """
    rows, k = spaces.block.shape
    sums = class_sums(spaces)
    basis = torch.eye(k, dtype=sums.dtype, device=sums.device).repeat(rows, 1, 1)
    fixed = torch.zeros(rows, k, dtype=torch.bool, device=sums.device)
    number = torch.arange(k, device=sums.device)
    sizes = torch.nn.functional.one_hot(spaces.block + 1, k + 1).sum(1)[:, 1:]
    for m in sizes[sizes > 0].unique().tolist():
        which, space = (sizes == m).nonzero().unbind(1)
        inside = spaces.block[which] == space[:, None]
        places = number.expand(len(which), k)[inside].reshape(-1, m)
        part = sums.mT[which[:, None], places].mT
        block, ranks = orthonormal(part, tol)
        basis[which[:, None, None], places[:, :, None], places[:, None, :]] = block
        fixed[which[:, None], places] = number[:m] < ranks[:, None]
    return basis, fixed


def settle(spaces: Spaces, tol: float) -> tuple[Float[Tensor, "B k k"], Bool[Tensor, "B k"], Int[Tensor, "B n"]]:
    """Fix bases, take the coordinates of what is fixed as new colours of nodes, and go on until nothing more is fixed.

    Returns:
        the bases and fixed columns of :func:`canonical_bases`, and the final colours.
    """
    pairs = invariant_pairs(spaces)
    spaces = refine(spaces, pairs, tol)
    basis, fixed = canonical_bases(spaces, tol)
    k = spaces.block.shape[1]
    for _ in range(k):
        if bool((fixed | (spaces.block < 0)).all()):
            break
        known = (spaces.vectors @ basis) * fixed.unsqueeze(1)
        value = torch.cos(FREQUENCY * known + 6.0 * generic((k,), 3, known)).mul(generic((k,), 4, known)).sum(2)
        finer = replace(spaces, colours=classes(value, spaces.colours, spaces.mask, tol))
        if bool((finer.colours == spaces.colours).all()):
            break
        spaces = refine(finer, pairs, tol)
        basis, fixed = canonical_bases(spaces, tol)
    return basis, fixed, spaces.colours
