"""From a network's raw outputs to group elements: one retraction for each kind of group, equivariant by construction."""

from __future__ import annotations

import abc
import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..actions.layout import Layout
from ..errors import FrameError, describe, explain
from ..groups.base import Group
from ..groups.lorentz import metric
from ..groups.maps import identity_map
from ..relaxed import SoftChoices, SoftPermutations
from ..tree import Tree, tree_map
from .clouds import pad_rows
from .polar import polar
from .softsort import entropy, soft_matrix, soft_order

Score = Callable[[], Tensor]


@dataclass(frozen=True)
class Retracted:
    """Elements of one group (or factor) for R pairs of draw and sample.

    Attributes:
        elements: a tree with leaves (R, ...).
        finite: (R,) whether the raw outputs are.
        tied: (R,) whether rounding may decide on the element: equal scores, (nearly) dependent vectors.
        degenerate: (R,) whether the raw outputs determine no element, or a badly conditioned one.
        relaxed: maps the number of samples to what passes gradients in place of the elements; None where they pass them.
        scores: values for losses, (R,), computed when called.
    """

    elements: Tree
    finite: Tensor
    tied: Tensor
    degenerate: Tensor
    relaxed: Callable[[int], Any] | None = None
    scores: dict[str, Score] = field(default_factory=dict)


class Retraction(abc.ABC):
    """Abstract: raw outputs of an equivariant network -> elements, with r(h raw) = h r(raw).

    Facts:
        exact: elements belong to the group.
    """

    exact: bool = True
    group: Group | None = None

    def bind(self, group: Group) -> Retraction:
        """A copy for one group without translations.

        Raises:
            FrameError: when the group does not fit.
        """
        bound = copy.copy(self)
        bound.group = group
        bound.prepare(group)
        return bound

    @abc.abstractmethod
    def prepare(self, group: Group) -> None:
        """Check the group."""

    @abc.abstractmethod
    def __call__(self, raw: Tensor, at: Layout, scale: Tensor | None = None) -> Retracted:
        """The elements for raw outputs of R samples with layout ``at``.

        Args:
            raw: what the network returned.
            at: the layout of the R samples.
            scale: (R,) the size of the inputs' vectors; vectors that are rounding noise beside it count as tied.
        """

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class Argsort(Retraction):
    """S_n: the order of scores (R, n), or (N,) over ragged rows; gradients pass through SoftSort with Sinkhorn sweeps.

    Forward, points are gathered by the sorting permutation; backward, straight through the soft one (Kim et al. 2023,
    arXiv 2306.02866, appendix; temperature 0.01 on graphs, 0.1 on clouds there). ``entropy`` among the scores is the
    mean entropy of rows plus columns of the soft permutation, in nats, for a loss that hardens it.

    Args:
        temperature: the scale of differences of scores.
        sweeps: Sinkhorn normalizations.

    Example:
        >>> from coset import frames
        >>> frames.Argsort(temperature=0.01)
        Argsort(temperature=0.01)
    """

    def __init__(self, temperature: float = 0.1, sweeps: int = 20):
        if not temperature > 0 or sweeps < 1:
            raise FrameError(
                explain(
                    f"Argsort(temperature={temperature!r}, sweeps={sweeps!r})",
                    "a positive temperature, one sweep or more",
                    "pass 0.1 and 20",
                )
            )
        self.temperature, self.sweeps = float(temperature), int(sweeps)

    def prepare(self, group: Group) -> None:
        """Refuse groups other than S_n."""
        if not group.permutes or group.dim is not None or group.translates:
            raise FrameError(explain(f"{self} for {group}", "Symmetric()", "use GramSchmidt() for matrices, Argmax() for finite groups"))

    def __call__(self, raw: Tensor, at: Layout, scale: Tensor | None = None) -> Retracted:
        """The sorting permutations."""
        scores, valid = self._dense(raw, at)
        n = scores.shape[1]
        size = scores.detach().abs().amax(1) if n else scores.new_ones(scores.shape[0])
        top = scores if valid is None else torch.where(valid, scores, torch.full_like(scores, torch.inf))
        ranked, order = torch.sort(top.detach(), dim=1, stable=True)
        steps = ranked[:, 1:] - ranked[:, :-1]
        steps = torch.where(ranked[:, 1:].isinf(), torch.inf, steps) if valid is not None else steps
        gap = steps.amin(1) / size.clamp_min(torch.finfo(size.dtype).tiny) if n > 1 else torch.ones_like(size)
        finite = torch.isfinite(size)

        def relaxed(samples: int) -> SoftPermutations:
            soft = soft_order(scores, order, valid, self.temperature, self.sweeps)
            return SoftPermutations(soft.unflatten(0, (-1, samples)), order.unflatten(0, (-1, samples)))

        def uncertainty() -> Tensor:
            return entropy(soft_matrix(scores, order, valid, self.temperature, self.sweeps), valid)

        last = torch.where(ranked.isinf(), -torch.inf, ranked).amax(1) if valid is not None and n else ranked[:, -1:].amax(1)
        blind = (last <= ranked[:, 0]) & ~gap.isinf() if n > 1 else torch.zeros_like(finite)
        return Retracted(order, finite, gap <= rounding(scores), blind, relaxed, {"entropy": uncertainty})

    def _dense(self, raw: Tensor, at: Layout) -> tuple[Tensor, Tensor | None]:
        """Scores (R, n) and which are real; the widths of trailing axes of length one are dropped."""
        wide = raw.dim() == (2 if at.batch is not None else 3) and raw.shape[-1] == 1
        squeezed = raw.squeeze(-1) if wide else raw
        if not raw.is_floating_point():
            raise FrameError(
                explain(f"{describe(raw)} from the network, for {self}", "floating-point scores", "return numbers, not their order")
            )
        if at.batch is not None and squeezed.dim() == 1 and squeezed.shape[0] == at.rows:
            rows, mask = pad_rows(squeezed.unsqueeze(-1), at)
            return rows.squeeze(-1), mask
        if (
            at.batch is not None
            or squeezed.dim() != 2
            or squeezed.shape[0] != at.samples
            or squeezed.shape[1] != (at.points or squeezed.shape[1])
        ):
            wanted = f"({at.rows},)" if at.batch is not None else f"({at.samples}, {at.points or 'n'})"
            raise FrameError(
                explain(f"{describe(raw)} from the network, for {self}", f"one score per point, of shape {wanted}", "check its last layer")
            )
        return squeezed, at.mask

    def __repr__(self) -> str:
        given = [f"temperature={self.temperature:g}"] if self.temperature != 0.1 else []
        return f"Argsort({', '.join(given + ([f'sweeps={self.sweeps}'] if self.sweeps != 20 else []))})"


class _Matrices(Retraction):
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
            tied = bad | (size.amin(1) <= 8 * rounding(size) * scale.to(size.dtype))
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


class GramSchmidt(_Matrices):
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
        d, special = group.dim, _special(group)
        rows = self._rows(raw, at, d - 1 if special and d > 1 else d)
        one = rows.detach().abs().new_ones(d)
        eta = metric(d, one.dtype, one.device) if group.lorentzian else one
        columns: list[Tensor] = []
        gap = one.new_ones(rows.shape[0])
        for number in range(d if group.unitary and not special else d - 1):
            column, share = _next(rows[:, number], columns, eta)
            columns.append(column)
            gap = torch.minimum(gap, BOOSTED * share if group.lorentzian else share)
        if group.lorentzian and "time reversal" not in group.flips():
            columns[0] = columns[0] * torch.where(columns[0][:, :1].detach() < 0, -1.0, 1.0)
        if len(columns) < d:
            last = _last(columns, eta) if columns else rows.new_ones(rows.shape[0], 1)
            if not special:
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


def _special(group: Group) -> bool:
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


class Polar(_Matrices):
    """O, SO, U: the orthogonal (unitary) matrix nearest to d vectors, which treats them alike; gradients stay finite.

    Example:
        >>> from coset import frames
        >>> frames.Polar()
        Polar()
    """

    def prepare(self, group: Group) -> None:
        """Refuse Lorentz groups and SU(d)."""
        super().prepare(group)
        if group.lorentzian or (group.unitary and _special(group)):
            raise FrameError(explain(f"{self} for {group}", "O, SO or U", "use frames.GramSchmidt()"))

    def __call__(self, raw: Tensor, at: Layout, scale: Tensor | None = None) -> Retracted:
        """The polar factors of the matrices with the vectors as columns."""
        rows = self._rows(raw, at, self.group.dim or 0)  # type: ignore[union-attr]
        finite = torch.isfinite(rows.detach().abs().sum((1, 2)))
        rows = torch.where(finite[:, None, None], rows, torch.zeros_like(rows))
        nearest, gap = polar(rows.mT, special=not self.group.reflects and not self.group.unitary)  # type: ignore[union-attr]
        return self._checked(nearest, gap, raw, scale)


class Argmax(Retraction):
    """Finite groups: the element with the largest of |G| scores, which the group moves by its regular action.

    Forward, one element is chosen; backward, its data pass the gradient of the softmax-weighted mean over all elements (straight
    through). ``entropy`` among the scores is that of the softmax, in nats.

    Args:
        temperature: of the softmax.

    Example:
        >>> from coset import frames
        >>> frames.Argmax()
        Argmax()
    """

    def __init__(self, temperature: float = 1.0):
        if not temperature > 0:
            raise FrameError(explain(f"Argmax(temperature={temperature!r})", "a positive temperature", "pass 1.0"))
        self.temperature = float(temperature)

    def prepare(self, group: Group) -> None:
        """Refuse groups that cannot be listed."""
        if not group.finite or group.permutes:
            raise FrameError(explain(f"{self} for {group}", "a finite group of matrices", "use GramSchmidt() or Argsort()"))

    def __call__(self, raw: Tensor, at: Layout, scale: Tensor | None = None) -> Retracted:
        """The chosen elements."""
        group: Any = self.group
        if raw.dim() != 2 or tuple(raw.shape) != (at.samples, group.order):
            raise FrameError(
                explain(
                    f"{describe(raw)} from the network, for {self} on {group}",
                    f"one score per element, of shape ({at.samples}, {group.order})",
                    "check its last layer",
                )
            )
        ranked, order = torch.sort(raw.detach(), dim=-1, descending=True)
        size = raw.detach().abs().amax(-1).clamp_min(torch.finfo(raw.dtype).tiny)
        gap = (ranked[:, 0] - ranked[:, 1]) / size if group.order > 1 else torch.ones_like(size)
        finite = torch.isfinite(raw.detach().sum(-1))
        elements = _picked(group, order[:, 0])
        shares = torch.softmax(raw / self.temperature, -1)

        def relaxed(samples: int) -> SoftChoices:
            chosen = tree_map(lambda leaf: leaf.unflatten(0, (-1, samples)), elements)
            return SoftChoices(shares.unflatten(0, (-1, samples)), chosen, group, identity_map(group))

        return Retracted(elements, finite, gap <= rounding(raw), gap == 0, relaxed, {"entropy": partial(_softmax_entropy, shares)})

    def __repr__(self) -> str:
        return f"Argmax({'' if self.temperature == 1 else f'temperature={self.temperature:g}'})"


def _softmax_entropy(shares: Tensor) -> Tensor:
    return torch.special.entr(shares).sum(-1)


def _picked(group: Any, index: Tensor) -> Tree:
    return tree_map(lambda leaf: leaf[index], group.elements(dtype=torch.float64 if group.dim else None, device=index.device))


class OrbitDistance(Retraction):
    """Any matrix as "element", and its distance from the group as a score: for groups without a retraction.

    The loss ``orbit`` = |I(M) - I(1)|^2 is zero exactly on the group when I separates orbits; it keeps the inputs of the
    model near the orbit. For groups that keep a form J the invariants are M^T J M, beside the determinant where all
    elements have determinant one, and the inverse is J M^T J, with which invariant outputs are invariant whatever M is,
    and other outputs as far as M is on the group: ``exact`` is False.

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
        form = group.orthogonal or group.unitary or group.lorentzian
        if group.dim is None or group.permutes or not (form or self.invariants):
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
            eta = metric(one.shape[0], one.dtype.to_real(), one.device) if self.group.lorentzian else one.diagonal().real  # type: ignore[union-attr]
            apart = matrix.mH @ (eta.to(matrix.dtype)[:, None] * matrix) - torch.diag_embed(eta).to(matrix.dtype)
            if _special(self.group):  # type: ignore[arg-type]
                apart = torch.cat([apart.flatten(1), torch.linalg.det(matrix).unsqueeze(1) - 1], 1)
        return apart.abs().square().flatten(1).sum(1)


def rounding(scores: Tensor) -> float:
    """Relative differences of scores up to which rounding may exchange them."""
    return float(torch.finfo(scores.dtype).eps ** 0.7)


def default_retraction(group: Group) -> Retraction:
    """The retraction of a group that is not a product.

    Raises:
        FrameError: when there is none.
    """
    if group.permutes and group.dim is None:
        return Argsort()
    if group.finite:
        return Argmax()
    if group.orthogonal or group.unitary or group.lorentzian:
        return GramSchmidt()
    raise FrameError(
        explain(
            f"{group} without a retraction",
            "S_n, O, SO, E, SE, U, SU, a Lorentz group, a finite group, or products of these",
            "use frames.OrbitDistance(invariants), or frames.Minimal()",
        )
    )
