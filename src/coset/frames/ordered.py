"""The minimal frame of ordered points under O(d), SO(d), E(d), SE(d): threshold-pivoted Gram-Schmidt, batched and static.

Each step takes the FIRST row whose residual is at least THRESHOLD times the largest residual, so that rounding noise
does not decide on symmetric shapes and ill-conditioned pivots are never taken. Where the points span only r < d
dimensions, the remaining columns are arbitrary and averaged over the stabilizer O(d - r) or SO(d - r), by a rule that
is exact for the signature.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from .. import groups
from ..actions.layout import Layout
from ..groups.base import Group
from ..groups.quadrature import rule
from ..measure import Measure
from ..tree import Tree
from .base import Frame
from .clouds import Cloud, element, gather_cloud

THRESHOLD = 0.3717
"""Share of the largest residual that a pivot must reach; not an algebraic number that occurs in geometry."""


def pivoted_basis(cloud: Cloud, d: int, steps: int | None = None) -> tuple[Float[Tensor, "B d d"], Int[Tensor, " B"]]:
    """Orthonormal columns from the rows of a cloud.

    Pivots are chosen on the detached view in the inputs' precision; the pivots themselves are orthogonalized in wide
    precision, differentiably. Columns from step ``steps`` on are taken from coordinate axes.

    Returns:
        (B, d, d) orthogonal matrices whose first r columns are equivariant and whose others are arbitrary, and the
        ranks r, (B,).
    """
    view, cut = cloud.view, cloud.cut.to(cloud.view.dtype)
    eye = torch.eye(d, dtype=cloud.cut.dtype, device=view.device)
    spare = torch.ones(view.shape[0], d, dtype=cloud.cut.dtype, device=view.device)
    columns: list[Tensor] = []
    ranks = torch.zeros(view.shape[0], dtype=torch.long, device=view.device)
    for step in range(d):
        row = eye[first_reaching(spare, THRESHOLD**2 * spare.amax(1))]
        if steps is None or step < steps:
            index, found = _pivot((view * view).sum(1), cut, cloud.named)
            row = torch.where(found[:, None], cloud.pick(index), row)
            ranks = ranks + found
        for _ in range(2):
            for q in columns:
                row = row - q * (q * row).sum(-1, keepdim=True)
        q = row / row.square().sum(-1, keepdim=True).sqrt()
        columns.append(q)
        spare = spare - q.detach().square()
        if step + 1 < (d if steps is None else steps):
            fixed = q.detach().to(view.dtype)
            view = view - fixed.unsqueeze(-1) * (fixed.unsqueeze(-1) * view).sum(1, keepdim=True)
    return torch.stack(columns, -1), ranks


def first_reaching(values: Tensor, threshold: Tensor) -> Tensor:
    """(B,) the first position whose value reaches the threshold."""
    numbers = torch.arange(values.shape[1], dtype=torch.int32, device=values.device)
    return torch.where(values >= threshold[:, None], numbers, values.shape[1] - 1).amin(1).long()


def _pivot(squared: Tensor, cut: Tensor, named: int) -> tuple[Tensor, Tensor]:
    """(B,) the pivot's number, among the named rows if they still span something, else the others; and whether there is one."""
    top = squared[:, :named].amax(1)
    index, found = first_reaching(squared[:, :named], THRESHOLD**2 * top), top > cut.square()
    if named < squared.shape[1]:
        other = squared[:, named:].amax(1)
        second = first_reaching(squared[:, named:], THRESHOLD**2 * other) + named
        index = torch.where(found, index, second)
        found = found | (other > cut.square())
    return index, found


def oriented(basis: Float[Tensor, "B d d"]) -> Float[Tensor, "B d d"]:
    """Flip the last column where the determinant is negative: for rank d - 1 it is the generalized cross product."""
    sign = torch.linalg.det(basis.detach()).sgn()
    return torch.cat([basis[..., :-1], basis[..., -1:] * sign[..., None, None]], -1)


class StabilizerRules(torch.nn.Module):
    """Block matrices diag(1_r, R) that average over O(d - r) or SO(d - r), padded over the ranks r = 0 ... d.

    With ``complex`` over U(d - r) or SU(d - r).

    Buffers:
        table: (d + 1, K, d, d), or (d + 1, K, d, d, 2) with real and imaginary parts; weights: (d + 1, K); orders:
            (d + 1,) with -1 where infinite.
    """

    table: Tensor
    weights: Tensor
    orders: Tensor

    def __init__(self, d: int, reflects: bool, degree: int, *, complex: bool = False):
        super().__init__()
        large: type[Group] = groups.Unitary if complex else groups.Orthogonal
        small: type[Group] = groups.SpecialUnitary if complex else groups.SpecialOrthogonal
        kind: Callable[[int], Group] = large if reflects else small
        found = []
        for rank in range(d + 1):
            m = d - rank
            trivial = m == 0 or (m == 1 and not reflects)
            found.append(None if trivial else rule(kind(m), degree))
        size = max(1 if item is None else item.weights.shape[0] for item in found)
        table = torch.eye(d, dtype=torch.complex128 if complex else torch.float64).repeat(d + 1, size, 1, 1)
        weights = torch.zeros(d + 1, size, dtype=torch.float64)
        orders = torch.ones(d + 1, dtype=torch.long)
        for rank, item in enumerate(found):
            weights[rank, 0] = 1.0
            if item is not None:
                count = item.weights.shape[0]
                table[rank, :count, rank:, rank:] = item.elements
                weights[rank] = 0.0
                weights[rank, :count] = item.weights
                orders[rank] = 2 if d - rank == 1 and not complex else -1
        self.complex = complex  # Module.to drops imaginary parts, so buffers are real
        self.register_buffer("table", torch.view_as_real(table) if complex else table, persistent=False)
        self.register_buffer("weights", weights, persistent=False)
        self.register_buffer("orders", orders, persistent=False)

    def forward(self, basis: Tensor, ranks: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Elements (K, B, d, d), weights (K, B) and orders (B,) of the coset basis * stabilizer."""
        found = torch.view_as_complex(self.table) if self.complex else self.table
        table = found.to(basis)[ranks].transpose(0, 1)
        weights = self.weights.to(basis.real)
        return basis.unsqueeze(0) @ table, weights[ranks].T, self.orders.to(ranks.device)[ranks]


class OrderedMinimal(Frame):
    """Bound by ``Minimal`` for ordered points."""

    ordered = True

    def __init__(self, of: object, tol: float):
        super().__init__()
        self.of, self.tol = of, tol

    def prepare(self, group: Group) -> None:
        """Tabulate the stabilizers of every rank."""
        self.rules = StabilizerRules(group.dim, group.reflects, self.degree)  # type: ignore[arg-type]

    def measure(self, inputs: Tree, at: Layout) -> Measure:
        """One coset."""
        cloud = gather_cloud(self, inputs, at, self.tol)
        d = int(self.group.dim)  # type: ignore[arg-type]
        if self.group.reflects:
            basis, ranks = pivoted_basis(cloud, d)
        else:
            basis, ranks = pivoted_basis(cloud, d, steps=max(1, d - 1))
            basis = oriented(basis)
        matrices, weights, order = self.rules(basis, ranks)
        return Measure(self.group, element(self, matrices, cloud.center), weights, order, cosets=1, tol=self.tol)
