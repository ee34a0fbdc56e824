"""``advise``: impose a symmetry, impose it partly, or leave it; what each costs, and how sure that is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import InputError, describe, explain
from .data_error import SymmetryBreak

if TYPE_CHECKING:
    from .data_report import DataReport

EXTREME = 0.05
"""A shrinkage this near to 0 or 1 is no different from hard or none."""


@dataclass(frozen=True)
class Advice:
    """What to do with a symmetry, for one model and as many samples as there are.

    With P the average over the group and Q = 1 - P, the model P h + s Q h has the expected error s^2 V_Q + (1 - s)^2 DE^2 beside what all
    share. It is least at s* = DE^2 / (DE^2 + V_Q). Hard (s = 0) costs DE^2, none (s = 1) costs V_Q.

    Attributes:
        choice: ``hard``, ``partial``, ``none`` or ``cannot tell``.
        shrinkage: s*, between 0 and 1; None where nothing could be estimated.
        low, high: s* at the ends of the interval of DE^2.
        hard, none, partial: the estimated extra mean square error of each, in the units of the targets squared.
        reason: a sentence.
    """

    choice: str
    shrinkage: float | None
    low: float | None
    high: float | None
    hard: float | None
    none: float | None
    partial: float | None
    reason: str

    def __str__(self) -> str:
        return f"{self.choice}: {self.reason}"


def unknown(reason: str) -> Advice:
    """No advice."""
    return Advice("cannot tell", None, None, None, None, None, None, reason)


def advise(report: DataReport | SymmetryBreak, subgroup: str | None = None) -> Advice:
    """Whether to impose the group of a report on the model that the data were judged with.

    That is said of this model: where targets do not follow but the model sees no break, so that it is blind to it, nothing is advised.
    Partial is advised only when shrinking by the estimated s* beats both hard and none for every DE^2 in its 95 % interval; hard or none
    when the interval lies on one side of V_Q, where hard beats none if and only if DE^2 < V_Q.

    Args:
        report: what :func:`coset.audit_data` found, or its ``error``.
        subgroup: one of ``report.subgroups`` instead of the whole group.

    Returns:
        An :class:`Advice`; ``cannot tell`` where the report makes no claim about DE^2, or where its interval straddles.

    Raises:
        InputError: for other arguments, or a subgroup that was not audited.

    Reference: Petrache and Trivedi 2023, arXiv 2305.17592.

    Example:
        >>> import torch, coset
        >>> from coset import actions, groups
        >>> C2 = groups.Generated([[1, 0]])
        >>> x = torch.randn(200, 2, generator=torch.Generator().manual_seed(0))
        >>> report = coset.audit_data(x, x.sum(1) + torch.randn(200, generator=torch.Generator().manual_seed(1)), actions.Permute(C2, -1))
        >>> coset.advise(report).choice in ("hard", "cannot tell")
        True
    """
    if isinstance(report, SymmetryBreak):
        return _weigh(report)
    if not hasattr(report, "finding"):
        raise InputError(explain(f"{describe(report)} as report", "what coset.audit_data returned", "pass its report"))
    found = report.finding(subgroup)
    if found.error is None or not found.usable:
        return unknown(found.error_verdict)
    told, error = found.conditional, found.error
    if told is not None and told.rejected and error.low <= error.floor:
        return unknown(
            f"the targets do not follow (p = {told.p_value:.3g}), but {error.model} does not see how: judge with a better model="
        )
    return _weigh(error)


def _weigh(found: SymmetryBreak) -> Advice:
    """Compare DE^2 with V_Q."""
    noise = found.variance
    if not noise > 0:
        return unknown("the model has no variance in the part that the group forbids")
    if max(noise, found.high) <= found.floor:
        return unknown("the model has the symmetry already, up to rounding: imposing it changes nothing")

    def shrink(square: float) -> float:
        return max(square, 0.0) / (max(square, 0.0) + noise)

    best, low, high = shrink(found.value), shrink(found.low), shrink(found.high)
    costs = max(found.value, 0.0), noise, best * noise
    told = f"DE² = {found.value:.3g} in [{found.low:.3g}, {found.high:.3g}], V_Q = {noise:.3g}, s* = {best:.2f} in [{low:.2f}, {high:.2f}]"
    both = 2 * high - 1 < best < 2 * low
    if both and EXTREME < best < 1 - EXTREME:
        choice, why = "partial", "shrinking the forbidden part beats keeping it and dropping it, for every DE² in the interval"
    elif found.high < noise:
        choice, why = "hard", "imposing the group saves more variance than the error that it adds"
    elif found.low > noise:
        choice, why = "none", "imposing the group adds more error than the variance that it saves"
    else:
        choice, why = "cannot tell", "the interval of DE² holds both larger and smaller numbers than V_Q: more samples are needed"
    return Advice(choice, best, low, high, *costs, f"{why} ({told})")
