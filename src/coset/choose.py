"""The cheapest exact frame for a signature, and the sentence that says why."""

from __future__ import annotations

from .actions.signature import Signature
from .errors import FrameError, explain
from .frames.average import LARGEST, Full
from .frames.base import Frame
from .frames.center import Center
from .frames.minimal import Minimal, construction
from .frames.sort import Sort
from .groups.base import Group

LINEAR = (
    "the cheapest exact frame: one model call on inputs in a canonical pose; vectors are taken as ordered unless the group permutes them"
)


def _linear(group: Group) -> bool:
    """Lorentz, linear, affine and unitary groups and scalings, whose minimal frames are built from vectors."""
    facts = group.lorentzian or group.stretches or group.unitary or group.rescales
    return facts and construction(group) is not None


def choose(signature: Signature) -> tuple[Frame, str]:
    """Pick the cheapest exact frame.

    Returns:
        An unbound frame and the reason.

    Raises:
        FrameError: when no exact frame is known; the message names what to choose by hand.
    """
    group = signature.group
    moved = [leaf for leaf in signature.source.items().values() if leaf.moves]
    rows = any(leaf.permuted == 1 for leaf in moved) and not any(leaf.permuted > 1 for leaf in moved)
    if group.orthogonal and group.permutes and any(leaf.polar and leaf.permuted for leaf in moved):
        return Minimal(), "the cheapest exact frame: one model call on points in a canonical pose and order"
    if group.orthogonal and not group.permutes and any(leaf.polar for leaf in moved):
        return (
            Minimal(),
            "the cheapest exact frame: one model call; points are taken as ordered, give colours= if the model treats them as a set",
        )
    if _linear(group) and any(leaf.polar for leaf in moved):
        return Minimal(), LINEAR
    if group.permutes and group.dim is None and not group.translates and rows:
        return Sort(), "the cheapest exact frame: one model call on sorted rows"
    if group.translates and not group.orthogonal and not group.lie_dimension > (group.dim or 0) and any(leaf.affine for leaf in moved):
        return Center(), "the cheapest exact frame: one model call on centred points"
    if group.finite and group.order <= LARGEST:
        return Full(), f"the exact average over all {group.order} elements; no cheaper exact frame is known for these inputs"
    raise FrameError(
        explain(
            f"{signature} without a frame",
            "a group and inputs for which an exact frame is known",
            "choose one: frames.Haar(samples) or frames.Quadrature(degree) for compact groups, frames.Chain(…) for products, "
            "frames.Given(elements), or a finite subgroup",
        )
    )
