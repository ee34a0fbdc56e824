"""Which group of a list is a symmetry: an F test for each, BIC between them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..errors import InputError, explain
from .inputs import law
from .orbits import Invariant, invariant
from .partition import indicator
from .results import FEW, LEVEL, Row, Sharing, nothing, resolved
from .statistic import Observed, real

TRIVIAL = "trivial"
REFUSED = 1e-3
"""Candidates with p-values below this are out of the choice; one between this and ``LEVEL`` may win, but is not claimed."""
CLOSE = 2.0
"""Candidates whose BIC differ by less than this are not told apart."""


class Candidates:
    """Test a list of groups, and choose among those that the data do not reject by BIC.

    Larger groups fit worse and cost less. P-values alone do not choose between nested groups: a subgroup of the true one
    is never rejected either. So the F test only rejects, at level 0.001, and BIC, -2 log likelihood + parameters *
    log(samples * rows), chooses among the rest; the trivial group is always in the list. A winner whose p-value is below 0.01
    is named, but not claimed.

    Args:
        groups: names to candidates. A candidate is a signature ``source >> target`` of linear maps; an action, of vectors
            (p,) or of both sides of (n, n); a permutation group or a list of permutations, of n things for shapes (n,)
            and (n, n), of m + n (rows first) for (m, n).
        inputs: (N, n) the inputs of a black-box map, whose cross-moment is the statistic. Its law must be invariant for a
            claim; mean and second moment of the inputs are then tested under each group too.

    Raises:
        InputError: when there are no candidates.
        GroupError: when a candidate does not fit the statistic; the message names it.

    Example:
        >>> import torch
        >>> from coset import discover
        >>> turn = [[1, 2, 3, 0]]
        >>> circulant = torch.tensor([[2.0, 1, 0, 5], [5, 2, 1, 0], [0, 5, 2, 1], [1, 0, 5, 2]])
        >>> noise = torch.randn(4, 4, generator=torch.Generator().manual_seed(0))
        >>> groups = {"C4": turn, "S4": [[1, 0, 2, 3], [1, 2, 3, 0]]}
        >>> found = discover.sharing(circulant + 0.1 * noise, 0.5, 50, discover.Candidates(groups))
        >>> found.name, [row.name for row in found.table]
        ('C4', ['C4', 'trivial', 'S4'])
    """

    def __init__(self, groups: Mapping[str, Any], inputs: Any = None):
        if not isinstance(groups, Mapping) or not groups:
            raise InputError(explain(f"candidates {groups!r}", "a mapping of names to groups", 'pass for instance {"C4": [[1, 2, 3, 0]]}'))
        self.groups = dict(groups)
        self.inputs = None if inputs is None else real(inputs, "the inputs")

    def solve(self, data: Observed) -> Sharing:
        """The best candidate, and the table of all."""
        spaces = {name: invariant(name, one, data.shape) for name, one in self.groups.items()}
        spaces.setdefault(TRIVIAL, _nothing(data))
        if spaces[TRIVIAL].basis.shape[1] < len(data.mean):
            raise InputError(explain(f"a group named {TRIVIAL!r} that restricts the maps", "another name", "that name means no symmetry"))
        price = math.log(data.samples * (1 if len(data.shape) == 1 else data.shape[0]))
        moments = None if self.inputs is None else law(self.inputs, data.shape[-1])
        rows = []
        for name, space in spaces.items():
            fit, free = data.fit(space.basis), space.basis.shape[1]
            accepted = None if moments is None or name == TRIVIAL else moments.test(space.sources)
            rows.append(Row(name, free, data.away(space.basis), fit.p_value, fit.deviance + free * price, accepted))
        rows.sort(key=lambda row: (math.isnan(row.bic), row.bic, row.name == TRIVIAL))
        return _chosen(data, spaces, rows)


def _nothing(data: Observed) -> Invariant:
    """No symmetry: every entry is free."""
    p = len(data.mean)
    labels = torch.arange(p)
    degree = data.shape[0] if len(data.shape) == 1 or data.shape[0] == data.shape[1] else sum(data.shape)
    signature = invariant(TRIVIAL, torch.arange(degree)[None], data.shape).signature
    return Invariant(labels, indicator(labels), signature, torch.eye(data.shape[-1], dtype=torch.float64)[None])


def _chosen(data: Observed, spaces: dict[str, Invariant], rows: list[Row]) -> Sharing:
    """The result: the least BIC among candidates that are not rejected, and the first different one behind it."""
    kept = [row for row in rows if row.name == TRIVIAL or row.p_value >= REFUSED]
    best, space = kept[0], spaces[kept[0].name]
    others = [row for row in kept[1:] if not _same(spaces[row.name], space)]
    equal = [row.name for row in kept[1:] if _same(spaces[row.name], space)]
    gap = others[0].bic - best.bic if others else math.inf
    return Sharing(
        labels=None if space.labels is None else space.labels.reshape(data.shape),
        values=data.coordinates(space.basis),
        basis=space.basis,
        description_length=best.bic,
        runner_up=others[0].name if others else None,
        gap=gap,
        p_value=best.p_value,
        effect=best.effect,
        resolution=resolved(data),
        verdict=_verdict(data, best, others, equal, gap, rows),
        shape=data.shape,
        name=best.name,
        table=tuple(rows),
        imposed=space.signature,
    )


def _same(a: Invariant, b: Invariant) -> bool:
    """Whether two candidates leave the same maps alone."""
    if a.basis.shape != b.basis.shape:
        return False
    if a.labels is not None and b.labels is not None:
        return torch.equal(a.labels, b.labels)
    return bool(torch.linalg.matrix_norm(_projector(a) - _projector(b), 2) < 1e-6)


def _projector(space: Invariant) -> Tensor:
    inside = torch.linalg.qr(space.basis).Q
    return inside @ inside.mT


def _blank(data: Observed) -> str:
    """Why no candidate can be judged by these data; empty when they can."""
    if data.samples < FEW:
        return f"cannot tell: {data.samples} observations, at least {FEW} are needed"
    return nothing(data)


def _verdict(data: Observed, best: Row, others: list[Row], equal: list[str], gap: float, rows: list[Row]) -> str:
    """What may be claimed."""
    if blank := _blank(data):
        return blank
    untested = [row.name for row in rows if math.isnan(row.p_value)]
    if untested and best.name == TRIVIAL:
        return f"cannot tell: {', '.join(untested[:3])} could not be tested; the covariance is singular or the observations are too few"
    if best.p_value < LEVEL:
        return f"cannot tell: {best.name} describes the data best, and yet it fits doubtfully (p = {best.p_value:.2g})"
    if gap < CLOSE:
        return f"cannot tell: {best.name} and {others[0].name} describe the data almost equally well (BIC differs by {gap:.2g})"
    if best.inputs is not None and not best.inputs >= LEVEL:
        how = "could not be tested" if math.isnan(best.inputs) else f"is not invariant under {best.name} (p = {best.inputs:.2g})"
        return f"cannot tell: the law of the inputs {how}, which the cross-moment needs"
    blind = [row.name for row in rows if row.inputs is not None and not row.inputs >= LEVEL]
    if blind and best.name == TRIVIAL:
        return f"cannot tell: the law of the inputs is not invariant under {', '.join(blind[:3])}, whose rejection therefore says nothing"
    if best.dimension == len(data.mean) and best.name != TRIVIAL:
        return (
            f"trivial: {' and '.join([best.name, *(name for name in equal if name != TRIVIAL)])} restricts nothing here, and so is no claim"
        )
    if best.name == TRIVIAL:
        return f"trivial: all {len(rows) - 1} candidates are rejected or describe the data worse"
    also = f", or {' or '.join(equal)}, which the statistic cannot tell from it" if equal else ""
    behind = f"ahead of {others[0].name} by {gap:.2g} in BIC" if others else "without another candidate"
    return f"{best.name}{also}: not rejected (p = {best.p_value:.2g}), {behind}"
