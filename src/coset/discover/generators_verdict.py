"""How many null directions may be claimed, and in which words."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

GAP = 3.0
"""The next direction changes the function at least this many times as much."""

ROUNDING, COARSE = 1e4, 1e-2
"""Changes up to so many rounding units count as rounding, but none above the second."""

UNITS = 3.0
"""Changes may be so many times the bound where inputs and outputs are rescaled."""


class Spectrum(NamedTuple):
    """What directions change.

    Attributes:
        values: (B,) on the samples that they were fitted to, in rising order; 0 is a symmetry, 1 is chance.
        held: (K,) of the first K directions, on held-out samples.
        stderr: (K,) of the squares of ``held``.
        samples: the number of held-out samples.
        unitless: (K,) as ``held``, with inputs in units of their spread and outputs in units of their gradients.
    """

    values: Tensor
    held: Tensor
    stderr: Tensor
    samples: int
    unitless: Tensor | None = None


class Claim(NamedTuple):
    """The number of directions that are claimed, the noise floor, the verdict, and the reasons."""

    number: int
    floor: float
    verdict: str
    reasons: tuple[str, ...]


def judge(spectrum: Spectrum, eps: float, at_most: float, noise: float | None) -> Claim:
    """The largest number of directions that pass on held-out samples and stand apart from the next."""
    ceiling = at_most if noise is None else 1.5 * noise
    rounding = min(ROUNDING * eps, COARSE, ceiling)
    upper = (spectrum.held.square() + 2 * spectrum.stderr).sqrt()
    held, values = spectrum.held.tolist(), spectrum.values.tolist()
    rescaled = held if spectrum.unitless is None else spectrum.unitless.tolist()
    small = [float(bound) <= ceiling for bound in upper]
    passed = [*(low and other <= UNITS * ceiling for low, other in zip(small, rescaled, strict=True)), False].index(False)
    if passed < len(held) and small[passed]:
        return _units(held[passed], rescaled[passed], rounding)
    for count in range(passed, 0, -1):
        worst = max(held[:count])
        after = min(held[count : count + 1] + values[count : count + 1], default=0.0)
        if after >= GAP * max(worst, 1e-14):
            exact = sum(value <= rounding for value in held[:count])
            return _claimed(count, exact, worst, rounding, noise)
    if passed and passed == len(values):
        return Claim(0, rounding, "cannot tell", ("no field of the family changes the function: the gradients are zero along all of them",))
    if passed:
        reason = f"{passed} directions change little, but the next ones hardly more: there is no gap in the spectrum"
        return Claim(0, rounding, "cannot tell", (reason,))
    reason = f"every field of the family changes the function, by {held[0] if held else values[0]:.2g} of chance at least"
    return Claim(0, rounding, "no symmetry found", (reason, *_apart(values)))


def _units(given: float, other: float, rounding: float) -> Claim:
    """No verdict where changes are small in some units only."""
    change = f"{given:.2g} of chance in the units given, and {other:.2g} with inputs and outputs scaled alike"
    reason = f"a direction changes the function by {change}: units decide; scale coordinates to one spread, outputs to one size"
    return Claim(0, rounding, "cannot tell", (reason,))


def _apart(values: list[float]) -> tuple[str, ...]:
    """A hint, where some directions stand apart although they change the function too much to be claimed."""
    for count in range(len(values) - 1, 0, -1):
        if values[count - 1] < 0.3 and values[count] >= GAP * values[count - 1]:
            size = values[count - 1]
            return (f"{count} directions stand apart at {size:.2g}: state noise={size:.2g} if gradients are as uncertain as that",)
    return ()


def _claimed(count: int, exact: int, worst: float, rounding: float, noise: float | None) -> Claim:
    floor = max(worst, rounding)
    if worst <= rounding:
        return Claim(count, floor, "symmetric to rounding", ())
    if noise is not None:
        return Claim(count, floor, "symmetric within the stated noise", ())
    reasons = [f"the function changes by up to {worst:.2g} of chance along these fields"]
    if exact:
        reasons.append(f"{exact} of them are exact to rounding: a smaller at_most finds those alone")
    return Claim(count, floor, "approximately symmetric", tuple(reasons))
