"""What a search for shared parameters found, how sure it is, and how to test it on other data or impose it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ..actions.signature import Signature
from ..errors import GroupError, InputError, explain
from ..groups.base import Group
from .automorphisms import group_of
from .partition import counts, indicator
from .permutations import counted
from .statistic import Fit, Observed, observed

LEVEL = 0.01
"""P-values below this reject a sharing."""
FEW = 5
"""With fewer observations than this nothing is claimed."""


@dataclass(frozen=True)
class Retest:
    """A sharing held against data that had no part in finding it.

    Attributes:
        p_value: how often noise alone would put the statistic as far from the sharing; NaN where it cannot be told.
        effect: the part of the statistic's square, freed of noise, that lies off the sharing.
        verdict: what may be claimed.
    """

    p_value: float
    effect: float
    verdict: str


@dataclass(frozen=True)
class Row:
    """One candidate group.

    Attributes:
        name: as it was given.
        dimension: how many parameters it leaves free.
        effect: the part of the statistic's square, freed of noise, that the group forbids.
        p_value: of the hypothesis that the group is a symmetry (F test).
        bic: the Bayesian information criterion; NaN where the covariance is singular.
        inputs: the p-value of the hypothesis that the inputs' first two moments are invariant; None when not tested.
    """

    name: str
    dimension: int
    effect: float
    p_value: float
    bic: float
    inputs: float | None = None


@dataclass(frozen=True, eq=False)
class Sharing:
    """A discovered sharing of parameters.

    Attributes:
        labels: (*shape of the statistic) classes, numbered by first appearance; None where a candidate group leaves a
            subspace that is no partition.
        values: (r,) the value of every class (or the coordinate of every basis vector), by generalized least squares.
        basis: (p, r) the directions that the sharing leaves: one indicator for every class.
        description_length: what the method minimized: MDL's length, or BIC for candidates.
        runner_up: the second best: labels, or the name of a candidate; None when there is no other.
        gap: by how much the runner-up is worse.
        p_value: of the sharing against no sharing, on the same data. The search chose the sharing to fit, so a large
            value proves little; ``retest`` does.
        effect: the part of the statistic's square, freed of noise, that lies off the sharing.
        resolution: two values closer than this would have been given one class.
        verdict: what may be claimed.
        name: of the candidate that won.
        table: the candidates, best first; empty for other methods.
        imposed: the signature of the candidate that won; None for other methods.
    """

    labels: Tensor | None
    values: Tensor
    basis: Tensor = field(repr=False)
    description_length: float
    runner_up: Tensor | str | None
    gap: float
    p_value: float
    effect: float
    resolution: float
    verdict: str
    shape: tuple[int, ...]
    name: str = ""
    table: tuple[Row, ...] = ()
    imposed: Signature | Callable[[], Signature] | None = field(default=None, repr=False)

    @property
    def projector(self) -> Tensor:
        """(p, p) the orthogonal projection to the sharing: the average over each class."""
        inside = torch.linalg.qr(self.basis).Q
        return inside @ inside.mT

    @property
    def theta(self) -> Tensor:
        """The parameters with their shared values, in the shape of the statistic."""
        return (self.basis @ self.values).reshape(self.shape)

    @cached_property
    def group(self) -> Group:
        """The group: the winning candidate's, or all permutations that keep the pattern (see ``discover.group_of``)."""
        return self.signature.group

    @cached_property
    def signature(self) -> Signature:
        """The type of the maps with this symmetry, for ``coset.symmetrize`` and ``coset.audit``."""
        if isinstance(self.imposed, Signature):
            return self.imposed
        if self.imposed is not None:
            return self.imposed()
        if self.labels is None:
            raise GroupError(
                explain("a sharing that is no partition", "labels to read a group from", "pass candidates as signatures source >> target")
            )
        return group_of(self.labels).signature

    def retest(self, statistic: Any, covariance: Any, samples: int, freedom: float | None = None) -> Retest:
        """Test the sharing on other data; the arguments are those of ``discover.sharing``.

        Raises:
            InputError: when the statistic has another shape.
        """
        data = observed(statistic, covariance, samples, freedom)
        if data.shape != self.shape:
            raise InputError(explain(f"a statistic of shape {data.shape}", f"shape {self.shape}", "pass the same statistic of other data"))
        fit, effect = data.fit(self.basis), data.away(self.basis)
        return Retest(fit.p_value, effect, retested(data, fit, effect))

    def __str__(self) -> str:
        lines = [
            self.verdict,
            f"{len(self.values)} free of {counted(math.prod(self.shape), 'parameter')}, p-value {self.p_value:.3g}, "
            f"ahead of the runner-up by {self.gap:.3g}",
        ]
        for row in self.table:
            law = "" if row.inputs is None else f"  inputs p {row.inputs:.3g}"
            lines.append(
                f"  {row.name:<20} dimension {row.dimension:>4}  effect {row.effect:.3f}  p {row.p_value:.3g}  BIC {row.bic:.2f}{law}"
            )
        return "\n".join(lines)


def retested(data: Observed, fit: Fit, effect: float) -> str:
    """The verdict on data that had no part in the search."""
    if fit.restrictions == 0:
        return "trivial: nothing is shared, so nothing can be rejected"
    if data.samples < FEW:
        return f"cannot tell: {data.samples} observations, at least {FEW} are needed"
    if math.isnan(fit.p_value):
        return singular(data, fit)
    if fit.p_value < LEVEL:
        return f"rejected on other data (p = {fit.p_value:.2g}): {100 * effect:.2g} % of the statistic's square lies off the sharing"
    return f"holds on other data (p = {fit.p_value:.2g}, {fit.restrictions} restrictions tested)"


def singular(data: Observed, fit: Fit) -> str:
    """Why a test could not be made."""
    if math.isnan(fit.misfit):
        return "cannot tell: the covariance is singular across the sharing; the data are constant or rank-deficient there"
    return f"cannot tell: {data.samples} observations for {fit.restrictions} restrictions; more observations than restrictions are needed"


def judged_sharing(data: Observed, labels: Tensor, length: float, runner_up: Tensor | None, gap: float, name: str, close: float) -> Sharing:
    """The result for a partition that some method found."""
    basis = indicator(labels)
    fit, effect = data.fit(basis), data.away(basis)
    resolution = resolved(data)
    return Sharing(
        labels=labels.reshape(data.shape),
        values=data.coordinates(basis),
        basis=basis,
        description_length=length,
        runner_up=runner_up,
        gap=gap,
        p_value=fit.p_value,
        effect=effect,
        resolution=resolution,
        verdict=shared(data, labels, fit, gap, close, resolution),
        shape=data.shape,
        name=name,
    )


def resolved(data: Observed) -> float:
    """The difference of two values that the price of one more class hides: sqrt(2 v (log n + 2 log p)), v the median variance."""
    price = math.log(data.samples) + 2 * math.log(max(2, len(data.mean)))
    return math.sqrt(2 * float(data.variance.median()) * price)


def nothing(data: Observed) -> str:
    """Why a statistic that may be zero says nothing; empty where it differs from zero."""
    zero = data.present()
    if math.isnan(zero):
        return "cannot tell: whether the statistic differs from zero could not be tested; collect more observations than entries"
    return "" if zero < LEVEL else f"cannot tell: the statistic does not differ from zero (p = {zero:.2g}), so that every group fits"


def shared(data: Observed, labels: Tensor, fit: Fit, gap: float, close: float, resolution: float) -> str:
    """What may be claimed of a partition."""
    free, p = len(counts(labels)), len(data.mean)
    if data.samples < FEW:
        return f"cannot tell: {data.samples} observations, at least {FEW} are needed"
    if gap < close:
        return f"cannot tell: another partition describes the data as well (its length is {gap:.2g} more)"
    if free == p:
        return f"trivial: no two of {p} parameters share a value" if p > 1 else "trivial: one parameter has nothing to share its value with"
    if math.isnan(fit.p_value):
        return singular(data, fit)
    if fit.p_value < LEVEL:
        return f"cannot tell: the shortest description shares values that differ (p = {fit.p_value:.2g})"
    if free == 1 and (silent := nothing(data)):
        return silent
    many = f"{counted(free, 'value')} for {counted(p, 'parameter')}"
    return f"{many}, up to differences of {resolution:.2g} that {data.samples} observations cannot see"
