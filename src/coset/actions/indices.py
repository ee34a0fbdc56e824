"""Actions on indices: permuted axes of sets and adjacency matrices, edge lists, and the bookkeeping of padded and ragged batches."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import InputError, SignatureError, describe, explain
from ..groups.base import Group
from ..tree import Tree
from .base import Action
from .layout import Layout, ragged_slots, ragged_take, whole_copies


def permute_axis(permutation: Tensor, x: Tensor, axis: int) -> Tensor:
    """Send entry i of a (negative) axis to entry p[i].

    Args:
        permutation: (*batch, n) integers; batch axes broadcast from the left.
        x: (*batch, ..., n at ``axis``, ...).
        axis: a negative axis number.
    """
    where = torch.argsort(permutation, dim=-1)
    batch = where.dim() - 1
    position = x.dim() + axis
    where = where.reshape(*where.shape[:batch], *(1,) * (position - batch), where.shape[-1], *(1,) * (-1 - axis))
    shape = list(torch.broadcast_shapes(where.shape, x.shape))
    return x.expand(shape).gather(position, where.expand(shape))


class Permute(Action):
    """Index permutations of one or several axes: node features (-2), adjacency matrices (-2, -1), any tensor over points.

    Args:
        group: ``Symmetric()``, ``Symmetric(n)``, a finite permutation group, or a product with one.
        axes: negative axis numbers, permuted by the same permutation.

    Example:
        >>> import torch
        >>> from coset import actions, groups
        >>> S3 = groups.Symmetric(3)
        >>> actions.Permute(S3, -1).act(torch.tensor([[1, 2, 0]]), torch.tensor([[10, 20, 30]]))
        tensor([[30, 10, 20]])
    """

    only_permuted = True

    def __init__(self, group: Group, *axes: int):
        super().__init__(group)
        if not axes or any(not isinstance(axis, int) or axis >= 0 for axis in axes) or len(set(axes)) != len(axes):
            raise SignatureError(
                explain(
                    f"axes {axes}",
                    "one or several different negative axis numbers",
                    "count axes from the end, for instance Permute(G, -2, -1)",
                )
            )
        if not group.permutes:
            raise SignatureError(
                explain(
                    f"Permute of {group}", "a group that permutes indices", "use Symmetric(), a permutation group, or a product with one"
                )
            )
        self.axes = tuple(sorted(axes))
        self.event = -min(axes)
        self.degree = self.permuted = len(axes)

    def act(self, g: Tree, x: Tensor, at: Layout | None = None) -> Tensor:
        """Permute every declared axis."""
        permutation = self.group.permutation(g)
        for axis in self.axes:
            x = permute_axis(permutation, x, axis)  # type: ignore[arg-type]
        return x

    def layout(self, x: Tensor) -> Layout:
        """The permuted axis right after the batch axis is the point axis."""
        points = x.shape[1] if x.dim() - self.event == 1 else None
        return Layout(samples=x.shape[0], points=points)

    def resolve(self, x: Tensor) -> Group:
        """Fix the number of points of ``Symmetric()``."""
        return self.group.at(int(x.shape[self.axes[0]]))

    def check(self, x: Tree, name: str = "input") -> None:
        """Refuse data with axes of different or of other lengths than the group's."""
        super().check(x, name)
        sizes = [x.shape[axis] for axis in self.axes]
        fixed = getattr(self.group, "n", None)
        if len(set(sizes)) != 1:
            raise InputError(
                explain(
                    f"{name} is {describe(x)}, with lengths {sizes} on axes {self.axes}",
                    "equal lengths on all permuted axes",
                    "check the axes",
                )
            )
        if isinstance(fixed, int) and sizes[0] != fixed:
            raise InputError(
                explain(
                    f"{name} is {describe(x)}",
                    f"length {fixed} on axes {self.axes}, moved by {self.group}",
                    "use Symmetric() for any length",
                )
            )

    def point_axes(self, x: Tensor) -> tuple[int, ...]:
        """The permuted axes."""
        return self.axes

    def arguments(self) -> tuple[str, ...]:
        """The axes."""
        return tuple(map(repr, self.axes))


def ragged_rows(permutation: Tensor, at: Layout) -> Tensor:
    """(N,) the row that every row of a ragged batch goes to.

    Args:
        permutation: (B, n) or (n,), one for every sample or one for all; a sample with m rows uses its first m entries.
        at: a ragged layout.
    """
    batch = at.batch
    slot, counts, order = ragged_slots(batch, at.samples)  # type: ignore[arg-type]
    starts = counts.cumsum(0) - counts
    permutation = permutation.expand(at.samples, -1) if permutation.dim() == 1 else permutation.flatten(0, -2)
    return order[starts[batch] + permutation[batch, slot]]  # type: ignore[index]


class Edges(Action):
    """Edge lists (2, E) of node numbers: rotations leave them, permutations relabel them, repetition offsets them.

    In a ragged batch (a sibling declares ``batch=``) node numbers run over all rows, as in PyTorch Geometric; in a
    dense batch the edge list is shared by all samples.

    Example:
        >>> import torch
        >>> from coset import actions, groups
        >>> S3 = groups.Symmetric(3)
        >>> actions.Edges(S3).act(torch.tensor([1, 2, 0]), torch.tensor([[0, 1], [1, 2]]))
        tensor([[1, 2],
                [2, 0]])
    """

    event = 1
    degree = 0

    only_permuted = True

    def __init__(self, group: Group):
        super().__init__(group)
        self.moves = group.permutes

    def act(self, g: Tree, x: Tensor, at: Layout | None = None) -> Tensor:
        """Relabel by the permutation of g, if it has one."""
        permutation = self.group.permutation(g) if self.group.permutes else None
        if permutation is None:
            return x
        if at is not None and at.batch is not None:
            return ragged_rows(permutation, at)[x]
        if permutation.dim() > 1:
            if permutation.shape[:-1].numel() != 1:
                raise InputError(
                    explain(
                        f"one shared edge list {describe(x)} and {permutation.shape[:-1].numel()} different permutations",
                        "one permutation for the graph that the edges belong to",
                        "use dense adjacency matrices with Permute(G, -2, -1)",
                    )
                )
            permutation = permutation.reshape(-1)
        return permutation[x]

    def take(self, x: Tensor, samples: Tensor, at: Layout | None = None) -> Tensor:
        """Repeat the edges of the picked graphs, with node numbers of their copies."""
        if at is None or at.batch is None:
            return x
        copies = whole_copies(samples, at.samples)
        if copies:
            offset = torch.arange(copies, device=x.device).repeat_interleave(x.shape[1]) * at.batch.shape[0]
            return x.repeat(1, copies) + offset
        edges, owner = ragged_take(at.batch[x[0]], at.samples, samples)
        counts = torch.bincount(at.batch, minlength=at.samples)
        order = torch.argsort(at.batch, stable=True)
        rank = torch.empty_like(order)
        rank[order] = torch.arange(order.shape[0], device=order.device)
        local = rank - (counts.cumsum(0) - counts)[at.batch]
        picked = counts[samples]
        return local[x[:, edges]] + (picked.cumsum(0) - picked)[owner]

    def layout(self, x: Tensor) -> Layout:
        """Edges say nothing about samples."""
        return Layout(samples=0)

    def check(self, x: Tree, name: str = "input") -> None:
        """Refuse anything but integers of shape (2, E)."""
        if not isinstance(x, Tensor) or x.dim() != 2 or x.shape[0] != 2 or x.is_floating_point():
            raise InputError(
                explain(f"{name} is {describe(x)}", "an integer tensor of shape (2, E)", "pass edge_index with sources first, then targets")
            )


class BatchIndex(Action):
    """The (N,) sample index of ragged rows, as in PyTorch Geometric; ``Points(G, batch="batch")`` declares it by itself.

    Example:
        >>> import torch
        >>> from coset import actions, groups
        >>> actions.BatchIndex(groups.Orthogonal(3)).act(torch.eye(3), torch.tensor([0, 0, 1]))
        tensor([0, 0, 1])
    """

    moves = False
    degree = 0

    def act(self, g: Tree, x: Tensor, at: Layout | None = None) -> Tensor:
        """The index stays."""
        return x

    def layout(self, x: Tensor) -> Layout:
        """The number of samples is the largest index plus one."""
        return Layout(samples=int(x.max()) + 1 if x.numel() else 0, batch=x)

    def take(self, x: Tensor, samples: Tensor, at: Layout | None = None) -> Tensor:
        """The index of the picked samples' rows."""
        return ragged_take(x, (at or self.layout(x)).samples, samples)[1]

    def check(self, x: Tree, name: str = "batch") -> None:
        """Refuse anything but a one-dimensional integer tensor."""
        if not isinstance(x, Tensor) or x.dim() != 1 or x.is_floating_point():
            raise InputError(explain(f"{name} is {describe(x)}", "an integer tensor of shape (N,)", "pass the sample index of every row"))
        if x.numel() and not torch.compiler.is_compiling() and int(x.min()) < 0:
            raise InputError(
                explain(f"{name} with the entry {int(x.min())}", "sample numbers from 0", "pass the sample index of every row")
            )


class PointMask(Action):
    """The (B, n) boolean mask of a padded batch; ``Points(G, mask="mask")`` declares it by itself.

    Example:
        >>> import torch
        >>> from coset import actions, groups
        >>> actions.PointMask(groups.Orthogonal(3)).act(torch.eye(3), torch.tensor([[True, False]]))
        tensor([[ True, False]])
    """

    degree = 1

    only_permuted = True

    def __init__(self, group: Group):
        super().__init__(group)
        self.moves = group.permutes

    def act(self, g: Tree, x: Tensor, at: Layout | None = None) -> Tensor:
        """Permutations move the mask with its points."""
        return permute_axis(self.group.permutation(g), x, -1) if self.group.permutes else x  # type: ignore[arg-type]

    def resolve(self, x: Tensor) -> Group:
        """Fix the number of points of ``Symmetric()``."""
        return self.group.at(x.shape[1])

    def layout(self, x: Tensor) -> Layout:
        """The mask is the layout."""
        return Layout(samples=x.shape[0], points=x.shape[1], mask=x)

    def check(self, x: Tree, name: str = "mask") -> None:
        """Refuse anything but booleans of shape (B, n)."""
        if not isinstance(x, Tensor) or x.dim() != 2 or x.dtype != torch.bool:
            raise InputError(
                explain(f"{name} is {describe(x)}", "a boolean tensor of shape (B, n), True on real points", "convert it with mask.bool()")
            )
