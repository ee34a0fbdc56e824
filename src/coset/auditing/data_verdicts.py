"""What may be claimed from the numbers of an audit of data, in one sentence each."""

from __future__ import annotations

from .data_error import SymmetryBreak
from .data_inputs import Observed
from .dissent import LEAST, Dissent
from .randomization import Randomization

FEW = 20
"""With fewer samples no claim is made."""


def about_law(law: Randomization | None, seen: Observed) -> tuple[str, bool]:
    """The verdict on the law of the inputs, and whether what needs an invariant one may go on."""
    if law is None:
        return "cannot tell: the group leaves every input where it is", False
    if seen.count < FEW:
        return f"cannot tell: {seen.count} samples are too few (at least {FEW})", False
    p = f"p = {law.p_value:.3g}"
    if law.rejected and not seen.signature.source.exact:
        return f"cannot tell: moved inputs differ ({p}), but the action resamples, and that may be all that was seen", False
    if law.rejected:
        return f"not invariant ({p}; {100 * law.effect:.2g} % of the embedded law changes with the pose)", False
    if law.detectable >= 1:
        return f"cannot tell: nothing was found ({p}), and {seen.count} samples could have shown nothing", False
    known = f"a change of {100 * law.detectable:.2g} % would have been found"
    if not seen.signature.source.exact:
        known = "moved inputs are resampled, so that little is known"
    return f"no evidence against an invariant law ({p}; {known})", True


def about_targets(told: Randomization | None, invariant: bool, seen: Observed) -> str:
    """The verdict on p(y | x)."""
    if seen.y is None:
        return "no targets were given"
    if not invariant:
        return "cannot tell: the input law is not known to be invariant, or every input stays"
    if told is None:
        return "cannot tell: the target is the same for every sample"
    moves = "stay with" if seen.still else "move with"
    if told.rejected:
        return f"the targets do not {moves} their inputs as declared (p = {told.p_value:.3g})"
    return f"no evidence that targets do not {moves} their inputs (p = {told.p_value:.3g})"


def about_break(error: SymmetryBreak) -> str:
    """The verdict on DE^2."""
    seen = f"as {error.model} sees it, which explains {100 * error.explained:.0f} % of the targets"
    if error.low > error.floor:
        low, high = 100 * error.low / error.scale, 100 * error.high / error.scale
        return f"the map breaks the symmetry: {low:.2g} to {high:.2g} % of the targets' variance, {seen}"
    return f"no break was found, at most {100 * max(error.high, error.floor) / error.scale:.2g} % of the targets' variance, {seen}"


def about_dissent(found: Dissent | None, seen: Observed) -> str:
    """The verdict on labels of samples that a pose change brings near."""
    if found is None:
        if seen.y is None:
            return "no targets were given"
        alike = bool((seen.values == seen.values[:1]).all())
        return f"cannot tell: the {'target is the same for every sample' if alike else 'group has one element only'}"
    if found.moved is None:  # too few are near
        return f"cannot tell: {found.near} of {found.samples} samples come near another one by a pose change (at least {LEAST} needed)"
    if seen.classes is None:
        return (
            f"targets of neighbours by a pose change differ by {100 * found.moved:.3g} % of what any two do in the mean square, "
            f"those of neighbours as given by {100 * found.given:.3g} %"
        )
    names = ", ".join(f"{a}/{b}" for a, b, _ in found.pairs[:3])
    return (
        f"{100 * found.moved:.2g} % of the neighbours by a pose change carry another label, {100 * found.given:.2g} % of those as given"
        + (f"; most often {names}" if names else "")
    )
