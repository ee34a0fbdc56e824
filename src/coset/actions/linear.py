"""Actions by matrices on the last axes: vectors, points, tensors, pseudovectors, lattice cells, any representation."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import InputError, SignatureError, describe, explain
from ..groups.base import Group
from ..tree import Tree, first, tree_map
from .base import Action, fit
from .indices import permute_axis
from .layout import Layout


def working_dtype(matrix: torch.dtype, data: torch.dtype) -> torch.dtype:
    """The precision to move data in: its own, single for half precision, complex where the matrices are."""
    dtype = torch.promote_types(data, torch.float32) if data.is_floating_point or data.is_complex else matrix
    return torch.promote_types(dtype, torch.complex32) if matrix.is_complex else dtype


def move_last(matrix: Tensor, x: Tensor) -> Tensor:
    """Apply per-sample matrices (*batch, d, d) to the last axis of ``x`` (*batch, ..., d), broadcasting from the left.

    It is computed in the precision of the data (single for half), under autocast too.
    """
    if torch.is_autocast_enabled(x.device.type):
        with torch.autocast(x.device.type, enabled=False):
            return move_last(matrix, x)
    dtype = working_dtype(matrix.dtype, x.dtype)
    batch = matrix.dim() - 2
    if x.dim() <= batch + 1:
        return (matrix.to(dtype) @ x.to(dtype).unsqueeze(-1)).squeeze(-1)
    return x.to(dtype) @ fit(matrix.to(dtype), x, 2).mT


def matrix_of(group: Group, g: Tree, x: Tensor) -> Tensor:
    """The matrices of g; for groups whose elements are integers, in the precision of the data."""
    leaf = first(g)
    if leaf.is_floating_point() or leaf.is_complex():
        return group.matrix(g)
    return group.matrix(g, dtype=x.dtype if x.is_floating_point() else None)


def precise(group: Group, matrix: Tensor, x: Tensor) -> Tensor:
    """Data in the precision of the matrices where these may be large, because what they cancel would lose digits."""
    large = (group.lorentzian or group.stretches) and matrix.is_floating_point()
    return x.to(torch.promote_types(matrix.dtype, x.dtype)) if large else x


def minus(x: Tensor, shift: Tensor) -> Tensor:
    """Subtract from x (*batch, ..., d) vectors (*batch, d), in the precision of ``x``.

    The vector is subtracted as a rounded piece and its remainder, which costs no digits where the two are close.
    """
    dtype = working_dtype(shift.dtype, x.dtype)
    batch = shift.dim() - 1
    shift = shift.reshape(*shift.shape[:batch], *(1,) * (x.dim() - 1 - batch), shift.shape[-1])
    coarse = shift.to(dtype)
    moved = x.to(dtype) - coarse
    return moved if shift.dtype == dtype else moved - (shift - coarse).to(dtype)


def narrow(moved: Tensor, x: Tensor) -> Tensor:
    """Cast back to the precision of ``x``; a real ``x`` moved by a complex matrix stays complex."""
    if moved.is_complex() and not x.is_complex():
        return moved
    return moved.to(x.dtype)


class MatrixAction(Action):
    """Abstract: an action through the matrices of the group, on the last axes; permutations move the axis before."""

    event = 1

    def __init__(self, group: Group, *, points: bool | None = None, mask: str | None = None, batch: str | None = None):
        super().__init__(group)
        self.per_point = points
        self.mask, self.batch = mask, batch
        self.permuted = int(group.permutes and points is not False)
        self._check_group()

    def _check_group(self) -> None:
        if self.group.dim is not None:
            return
        product = hasattr(self.group, "factors") and sum(factor.dim is not None for factor in self.group.factors) > 1
        remedy = "use Permute for index permutations, or Pullback a homomorphism to a matrix group"
        if product:
            remedy = "factors that share a space do not commute: use the one group that holds both, such as Dihedral or Orthogonal"
        raise SignatureError(explain(f"{type(self).__name__} of {self.group}", "a group with matrices of one size", remedy))

    def linear_part(self, g: Tree, x: Tensor) -> Tensor:
        """Move the last axes by the matrix part of g."""
        matrix = matrix_of(self.group, g, x)
        return move_last(matrix, precise(self.group, matrix, x))

    def act(self, g: Tree, x: Tensor, at: Layout | None = None) -> Tensor:
        """Move the last axes by g's matrix (and shift), the point axis by its permutation."""
        g = self.per_row(g, x, at)
        moved = narrow(self.linear_part(g, x), x)
        permutation = self.group.permutation(g) if self.group.permutes else None
        has_points = permutation is not None and x.dim() >= permutation.dim() + self.event and self.per_point is not False
        return permute_axis(permutation, moved, -1 - self.event) if has_points else moved  # type: ignore[arg-type]

    def point_axes(self, x: Tensor) -> tuple[int, ...]:
        """The axis before the vector axes, where permutations move one."""
        return (-1 - self.event,) if self.permuted and x.dim() > 1 + self.event else ()

    def resolve(self, x: Tensor) -> Group:
        """The group with the number of points of ``Symmetric()`` fixed to that of the data."""
        has_points = self.group.permutes and x.dim() > 1 + self.event and self.per_point is not False
        return self.group.at(x.shape[-1 - self.event]) if has_points else self.group

    def check(self, x: Tree, name: str = "input") -> None:
        """Refuse data whose last axes are not of the group's dimension, or that is not floating point."""
        super().check(x, name)
        d, event = self.group.dim, self.event
        if tuple(x.shape[-event:]) != (d,) * event:
            raise InputError(
                explain(
                    f"{name} is {describe(x)}",
                    f"last axes {(d,) * event}, moved by {self.group}",
                    f"move that axis last, or use the group for dimension {x.shape[-1]}",
                )
            )
        if not (x.is_floating_point() or x.is_complex()):
            raise InputError(
                explain(
                    f"{name} is {describe(x)}", "floating point numbers", f"convert it, for instance {name}.float(), or declare it Trivial"
                )
            )
        if x.is_complex() and not self.group.complex:
            raise InputError(
                explain(
                    f"{name} is {describe(x)}, complex",
                    f"real data for {self.group}",
                    "use a complex group such as Unitary, or view_as_real",
                )
            )

    def arguments(self) -> tuple[str, ...]:
        """Options that were given."""
        options = {"points": self.per_point, "mask": self.mask, "batch": self.batch}
        return tuple(f"{key}={value!r}" for key, value in options.items() if value is not None)


class VectorAction(MatrixAction):
    """Abstract: one vector axis, moved by the group's matrix and perhaps shift; sums over elements are matrix products."""

    polar = True

    def shift_of(self, g: Tree) -> Tensor | None:
        """The shift that moves this data, (..., d), or None."""
        return self.group.shift(g) if self.affine else None

    def each(self, g: Tree, weights: Tensor, x: Tensor, size: int) -> Tensor:
        """The average of ``act(g_k, x)`` over each run of ``size`` elements, as one product with stacked matrices.

        Args:
            g: elements (K, B).
            weights: (K, B), summing to one over each run.
            x: (B, ..., d).
            size: how many elements are averaged; it divides K.

        Returns:
            (K / size, B, ..., d).
        """
        matrix, shift = self._averaged(g, weights, x, size)
        rows = precise(self.group, matrix, x.reshape(x.shape[0], -1, x.shape[-1]))
        if shift is not None:
            origin = self.group.shift(self.group.inverse(tree_map(lambda leaf: leaf[0], g)))
            rows = minus(rows, origin)  # type: ignore[arg-type]
            shift = shift + move_last(matrix, origin.unsqueeze(0).expand_as(shift))  # type: ignore[union-attr]
        count, d = matrix.shape[0], matrix.shape[-1]
        moved = stacked_product(rows, matrix.permute(1, 3, 0, 2).flatten(2)).unflatten(-1, (count, d))
        moved = moved.permute(2, 0, 1, 3)
        moved = moved if shift is None else moved + shift.unsqueeze(2).to(moved.dtype)
        return narrow(moved.reshape(count, *x.shape), x)

    def total(self, g: Tree, weights: Tensor, y: Tensor, size: int) -> Tensor:
        """The sum of w_k ``act(g_k, y_c)`` over the elements k of each run c, as one product with stacked matrices.

        Args:
            g: elements (K, B).
            weights: (K, B).
            y: (K / size, B, ..., d).
            size: how many elements share one entry of ``y``.

        Returns:
            (B, ..., d).
        """
        matrix, shift = self._averaged(g, weights, y, size)
        rows = y.reshape(*y.shape[:2], -1, y.shape[-1]).permute(1, 2, 0, 3).flatten(2)
        total = stacked_product(precise(self.group, matrix, rows), matrix.permute(1, 0, 3, 2).flatten(1, 2))
        total = total if shift is None else minus(total, -shift.sum(0))
        return narrow(total.reshape(y.shape[1:]), y)

    def _averaged(self, g: Tree, weights: Tensor, x: Tensor, size: int) -> tuple[Tensor, Tensor | None]:
        """Weighted sums of matrices and shifts over runs of ``size`` elements."""
        matrix, shift = matrix_of(self.group, g, x), self.shift_of(g)
        weights = weights.to(matrix.dtype)
        matrix = (weights[..., None, None] * matrix).unflatten(0, (-1, size)).sum(1)
        return matrix, None if shift is None else (weights[..., None] * shift).unflatten(0, (-1, size)).sum(1)


def stacked_product(rows: Tensor, matrices: Tensor) -> Tensor:
    """Multiply rows (B, M, a) with matrices (B, a, b), in the precision of the rows, under autocast too."""
    if torch.is_autocast_enabled(rows.device.type):
        with torch.autocast(rows.device.type, enabled=False):
            return stacked_product(rows, matrices)
    dtype = working_dtype(matrices.dtype, rows.dtype)
    return rows.to(dtype) @ matrices.to(dtype)


class Vectors(VectorAction):
    """Vectors on the last axis, moved by the linear part of the group: velocities, forces, dipoles.

    Shapes: (B, d), (B, n, d) or (B, ..., d).

    Args:
        group: a group with d x d matrices, or a product of one with ``Symmetric``.
        points: True or False where "one vector per point" could be misread from the shape.
        mask: key of the sibling (B, n) boolean mask of a padded batch.
        batch: key of the sibling (N,) batch index of a ragged batch.

    Example:
        >>> import torch
        >>> from coset import actions, groups
        >>> G = groups.Cyclic(4)
        >>> actions.Vectors(G).act(G.elements()[1], torch.tensor([[1.0, 0.0]]))
        tensor([[0., 1.]])
    """


class Cell(VectorAction):
    """Lattice cells (B, d, d) whose rows are lattice vectors; translations and permutations leave them alone.

    Example:
        >>> import torch
        >>> from coset import actions, groups
        >>> G = groups.Cyclic(4)
        >>> actions.Cell(G).act(G.elements()[1], torch.eye(2)[None])
        tensor([[[ 0.,  1.],
                 [-1.,  0.]]])
    """

    def __init__(self, group: Group):
        super().__init__(group, points=False)

    def arguments(self) -> tuple[str, ...]:
        """None."""
        return ()


class Points(VectorAction):
    """Positions on the last axis: the linear part moves them, translations act.

    Shapes: (B, n, d), or ragged (N, d) with ``batch=``. Padded rows (``mask=``) stay zero.

    Args:
        group: a group with d x d matrices (and shifts), or a product of one with ``Symmetric``.
        points: True or False where "one position per point" could be misread from the shape.
        mask: key of the sibling (B, n) boolean mask of a padded batch.
        batch: key of the sibling (N,) batch index of a ragged batch.

    Example:
        >>> import torch
        >>> from coset import actions, groups
        >>> T = groups.Translation(2)
        >>> actions.Points(T).act(torch.tensor([[1.0, 2.0]]), torch.zeros(1, 1, 2))
        tensor([[[1., 2.]]])
    """

    def linear_part(self, g: Tree, x: Tensor) -> Tensor:
        """A x + t, as A (x - c) with the c that goes to the origin, so that far-away points keep their digits."""
        if self.group.shift(g) is None:
            return super().linear_part(g, x)
        origin = self.group.shift(self.group.inverse(g))
        return super().linear_part(g, minus(precise(self.group, origin, x), origin))  # type: ignore[arg-type]

    def act(self, g: Tree, x: Tensor, at: Layout | None = None) -> Tensor:
        """Move the points; padded rows are zero afterwards."""
        moved = super().act(g, x, at)
        if at is None or at.mask is None or at.mask.shape != x.shape[:-1]:
            return moved
        permutation = self.group.permutation(g) if self.group.permutes else None
        mask = at.mask if permutation is None else permute_axis(permutation, at.mask, -1)
        return moved * mask.unsqueeze(-1).to(moved.dtype)

    @property
    def affine(self) -> bool:  # type: ignore[override]
        """Translations of the group move positions."""
        return self.group.translates

    def layout(self, x: Tensor) -> Layout:
        """The second axis of (B, n, d) runs over points, unless the data is ragged."""
        dense = self.batch is None and x.dim() == 3
        return Layout(samples=x.shape[0], points=x.shape[1] if dense else None)

    def check(self, x: Tree, name: str = "input") -> None:
        """As for vectors, and free of empty point axes."""
        super().check(x, name)
        if self.batch is None and x.dim() > 2 and x.shape[-2] == 0:
            raise InputError(explain(f"{name} is {describe(x)}", "at least one point", "drop empty clouds from the batch"))


class Pseudovectors(MatrixAction):
    """Vectors that reflections leave with the other sign: angular momenta, magnetic moments.

    Example:
        >>> import torch
        >>> from coset import actions, groups
        >>> O3 = groups.Orthogonal(3)
        >>> actions.Pseudovectors(O3).act(-torch.eye(3)[None], torch.ones(1, 3))
        tensor([[1., 1., 1.]])
    """

    def __init__(self, group: Group, *, points: bool | None = None, mask: str | None = None, batch: str | None = None):
        super().__init__(group, points=points, mask=mask, batch=batch)
        d = group.dim or 1
        phases = group.complex and group.lie_dimension == d * d  # under U(d) the determinant is no sign, but any phase
        self.degree = max(1, d - 1) if group.reflects else 1 + d * phases
        self.polar = not group.reflects and not phases

    def linear_part(self, g: Tree, x: Tensor) -> Tensor:
        """det(A) / |det(A)| times A x."""
        matrix = matrix_of(self.group, g, x)
        sign = torch.linalg.det(matrix if matrix.is_complex() else matrix.detach()).sgn()
        return move_last(matrix * sign[..., None, None].to(matrix.dtype), precise(self.group, matrix, x))


class Tensors(MatrixAction):
    """Cartesian tensors on the last ``order`` axes, each moved by the matrix: stress, polarizability, quadrupoles.

    Args:
        group: a group with d x d matrices.
        order: the number of axes, 0 or more.
        points: as for :class:`Vectors`.

    Example:
        >>> import torch
        >>> from coset import actions, groups
        >>> G = groups.Cyclic(4)
        >>> actions.Tensors(G, 2).act(G.elements()[1], torch.tensor([[[1.0, 0.0], [0.0, 0.0]]]))
        tensor([[[0., 0.],
                 [0., 1.]]])
    """

    def __init__(self, group: Group, order: int, *, points: bool | None = None, mask: str | None = None, batch: str | None = None):
        if not isinstance(order, int) or order < 0:
            raise SignatureError(explain(f"order={order!r}", "a number of axes, 0 or more", "pass for instance order=2 for matrices"))
        super().__init__(group, points=points, mask=mask, batch=batch)
        self.order = self.event = self.degree = order

    def linear_part(self, g: Tree, x: Tensor) -> Tensor:
        """Apply the matrix to each of the last axes in turn."""
        matrix = matrix_of(self.group, g, x)
        moved = precise(self.group, matrix, x)
        for axis in range(-self.order, 0):
            moved = move_last(matrix, moved.movedim(axis, -1)).movedim(-1, axis)
        return moved

    def arguments(self) -> tuple[str, ...]:
        """The order, then options."""
        return (repr(self.order), *super().arguments())

    def check(self, x: Tree, name: str = "input") -> None:
        """As for vectors; order 0 accepts anything with a batch axis."""
        if self.order:
            super().check(x, name)
        else:
            Action.check(self, x, name)
