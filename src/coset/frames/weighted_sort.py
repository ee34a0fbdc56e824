"""The weighted frame of S_n: rows sorted along many directions, weighted by how clearly each direction tells them apart."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..actions.base import Action
from ..actions.layout import Layout
from ..errors import FrameError, InputError, explain
from ..groups.base import Group
from ..measure import Measure
from ..tree import Tree
from .base import Frame, ordered_leaves, traced
from .pruning import compact, pick_rows, smooth_cut
from .sort import Sort

POWER = 4
"""The smallest gap is replaced by (sum gap^-POWER)^(-1 / POWER), which is smooth where it changes place."""
LARGEST = 20_000_000
"""Numbers of one sample's projections beyond which directions have to be asked for."""


class WeightedSort(Frame):
    """Sort the rows of a set along many directions; the weight of a direction is the smallest gap between rows along it.

    The order along a direction changes where two rows swap, and there the gap, and with it the weight, is zero: the
    symmetrized model is continuously differentiable in sets of distinct rows, which no single order can be (for rows
    of more than one number). With n(n-1)(d-1)/2 + 1 generic directions at least one tells all rows of any such set
    apart. Rows of one number have a single, continuous order.

    Equal rows are interchangeable: gaps between them do not count, and outputs are averaged over each class of equal rows. Where
    two rows *become* equal the measure is exact on both sides but its weights jump. ``samples`` draws
    directions anew in every call, with equal weights: the expected output is then continuous everywhere.

    Args:
        of: key of the rows (or several) that are projected; all inputs with one permuted axis when left out.
        cut: directions with less than this share of the largest weight are dropped, smoothly.
        directions: how many fixed directions; as many as are needed when left out.
        samples: draw this many random directions in every call instead; invariant on average and for equal draws.
        generator: source of their randomness.
        static: keep directions of zero weight, so that shapes do not depend on data.

    Reference: Dym, Lawrence, Siegel 2024, arXiv 2402.16077, section 3.

    Example:
        >>> import torch
        >>> from coset import actions, frames, groups
        >>> bound = frames.WeightedSort(cut=0).bind(actions.Permute(groups.Symmetric(), -2))
        >>> bound(torch.tensor([[[0.0, 0.0], [1.0, 0.3], [0.2, 2.0]]])).cosets  # 3 * 2 * 1 / 2 + 1 directions
        4
    """

    references = ("dym2024equivariant",)
    sorts = True

    def __init__(
        self,
        of: Any = None,
        cut: float = 0.8,
        directions: int | None = None,
        samples: int | None = None,
        generator: torch.Generator | None = None,
        static: bool = False,
    ):
        super().__init__()
        for name, value in (("directions", directions), ("samples", samples)):
            if value is not None and (not isinstance(value, int) or value < 1):
                raise FrameError(explain(f"WeightedSort({name}={value!r})", "a number, 1 or more, or None", f"pass for instance {name}=64"))
        if directions is not None and samples is not None:
            raise FrameError(explain(f"{directions} fixed directions and {samples} random ones", "one of the two", "leave one out"))
        if not isinstance(cut, (int, float)) or not 0 <= cut < 1:
            raise FrameError(explain(f"WeightedSort(cut={cut!r})", "a share of the largest weight, 0 <= cut < 1", "pass cut=0.5"))
        self.of, self.cut, self.directions, self.samples, self.generator = of, float(cut), directions, samples, generator
        self.static, self.stochastic, self.exact = bool(static), samples is not None, samples is None

    def prepare(self, group: Group) -> None:
        """Refuse what a sort refuses."""
        self.plain = Sort(self.of).bind(self.source, self.target)  # type: ignore[arg-type]

    def measure(self, inputs: Tree, at: Layout) -> Measure:
        """The sorting permutations of the directions that tell rows apart."""
        if not self.static and traced(inputs):
            raise FrameError(
                explain(f"{self} under torch.func transforms", "a static frame, whose shapes do not depend on data", "pass static=True")
            )
        leaves = [(action, x) for _, action, x, named in ordered_leaves(self, inputs) if named and len(action.point_axes(x)) == 1]
        rows = torch.cat([differentiable_rows(action, x) for action, x in leaves], -1)
        same, orders = self._equal_rows(inputs, at)
        axes = self._axes(rows)
        value, order = (rows @ axes).mT.sort(-1)
        classes = same.unsqueeze(1).expand(order.shape).gather(-1, order)
        eps = max([torch.finfo(x.dtype).eps for _, x in leaves if x.is_floating_point() or x.is_complex()], default=0.0)
        weights = self._weights(rows, value, classes, eps)
        if not traced(inputs):
            self._refuse_undecided(weights, axes.shape[1])
        weights, which = compact(weights, self.static)
        ties = pick_rows(classes, which).transpose(0, 1).flatten(0, 1)
        count = torch.where(orders < 0, -1, orders * (weights > 0).sum(1))
        return Measure(self.group, pick_rows(order, which).transpose(0, 1), weights.T, count, cosets=weights.shape[1], ties=ties)

    def _equal_rows(self, inputs: Tree, at: Layout) -> tuple[Int[Tensor, "B n"], Int[Tensor, " B"]]:
        """Class numbers of rows that are equal in all that the model sees, and how many permutations keep them, -1 if too many."""
        found = self.plain.measure(inputs, at)
        ties, order = found.ties, found.elements[0]  # classes in sorted order
        return torch.zeros_like(order).scatter(1, order, ties), found.order  # type: ignore[arg-type]

    def _axes(self, rows: Tensor) -> Float[Tensor, "d m"]:
        """Unit directions as columns: fixed generic ones, or random ones."""
        n, d = rows.shape[1:]
        if self.samples is not None:
            device = self.generator.device if self.generator is not None else rows.device
            axes = torch.randn(d, self.samples, generator=self.generator, dtype=rows.dtype, device=device).to(rows.device)
        else:
            count = self.directions or (n * (n - 1) * (d - 1) // 2 + 1 if d > 1 else 1)
            if count * n > LARGEST:
                raise FrameError(
                    explain(f"{count} directions for {n} rows of {d} numbers", f"at most {LARGEST // n}", "pass directions= or samples=")
                )
            axes = even_directions(count, d, rows)
        return axes / axes.norm(dim=0, keepdim=True)

    def _weights(self, rows: Tensor, value: Tensor, classes: Tensor, eps: float) -> Float[Tensor, "B m"]:
        """The smooth cut of the smallest gaps, which are those between rows of different classes."""
        if self.samples is not None or rows.shape[-1] == 1 or rows.shape[1] == 1:
            return value.new_full(value.shape[:2], 1 / value.shape[1])
        gaps = value[..., 1:] - value[..., :-1]
        noise = 32 * eps * rows.detach().abs().flatten(1).amax(1)[:, None, None]
        apart = classes[..., 1:] != classes[..., :-1]
        large = gaps.detach().flatten(1).amax(1)[:, None, None] + 1
        gaps = torch.where(apart, torch.where(gaps > noise, gaps, 0.0), large * 1e3)
        least = gaps.detach().amin(-1, keepdim=True)
        safe = torch.where(gaps > 0, gaps, 1.0)
        sums = torch.where(least > 0, ((least / safe) ** POWER).sum(-1, keepdim=True), 1.0)
        return smooth_cut((least * sums ** (-1 / POWER)).squeeze(-1), self.cut)

    def _refuse_undecided(self, weights: Tensor, count: int) -> None:
        """Raise where no direction tells the rows apart."""
        lost = weights.sum(1) <= 0
        if bool(lost.any()):
            raise InputError(
                explain(
                    f"different rows that none of {count} directions tells apart, in samples {lost.nonzero().flatten()[:5].tolist()}",
                    "rows that differ by more than rounding noise along one of them",
                    "leave directions out, or pass samples=",
                )
            )

    def arguments(self) -> tuple[str, ...]:
        """Options that differ from their defaults."""
        given = [f"of={self.of!r}"] if self.of is not None else []
        given += [f"cut={self.cut}"] if self.cut != 0.8 else []
        given += [f"directions={self.directions}"] if self.directions is not None else []
        given += [f"samples={self.samples}"] if self.samples is not None else []
        return tuple(given + (["static=True"] if self.static else []))


def even_directions(count: int, d: int, like: Tensor) -> Float[Tensor, "d m"]:
    """Fixed directions that cover the sphere evenly: Gaussian quantiles of a sequence of multiples of generic numbers."""
    root = 2.0
    for _ in range(64):
        root = (1 + root) ** (1 / (d + 1))
    steps = torch.tensor([root ** -(axis + 1) for axis in range(d)], dtype=like.dtype, device=like.device)
    numbers = torch.arange(1, count + 1, dtype=like.dtype, device=like.device)
    return torch.erfinv(2 * ((0.5 + steps[:, None] * numbers) % 1) - 1)


def differentiable_rows(action: Action, x: Tensor) -> Float[Tensor, "B n c"]:
    """The permuted axis first, everything else flattened, in double precision."""
    (axis,) = action.point_axes(x)
    values = x.movedim(axis, 1).flatten(2) if x.dim() > 2 else x.unsqueeze(-1)
    return torch.view_as_real(values).flatten(2).double() if values.is_complex() else values.double()
