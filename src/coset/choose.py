"""The cheapest exact frame for a signature, and the sentence that says why."""

from __future__ import annotations

from .actions.signature import Signature
from .errors import FrameError, explain
from .frames.average import LARGEST, Full
from .frames.base import Frame
from .frames.center import Center
from .frames.chain import Chain
from .frames.minimal import Minimal, construction
from .frames.phase import Phase
from .frames.relabel import order_nodes
from .frames.shifts import shifts_images
from .frames.sort import Sort
from .groups.base import Group
from .groups.products import Product

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
    if group.orthogonal and group.permutes and any(leaf.polar and leaf.permuted for leaf in moved):
        return Minimal(), "the cheapest exact frame: one model call on points in a canonical pose and order"
    if group.orthogonal and not group.permutes and any(leaf.polar for leaf in moved):
        return (
            Minimal(),
            "the cheapest exact frame: one model call; points are taken as ordered, give colours= if the model treats them as a set",
        )
    if _linear(group) and any(leaf.polar for leaf in moved):
        return Minimal(), LINEAR
    everyone = group.permutes and not group.selective
    if everyone and group.dim is None and not group.translates and max((leaf.permuted for leaf in moved), default=9) <= 2:
        frame = order_nodes(signature.source)
        return (
            frame,
            f"the cheapest exact frame: one model call on {'sorted rows' if isinstance(frame, Sort) else 'graphs in canonical order'}",
        )
    if group.translates and not group.orthogonal and not group.lie_dimension > (group.dim or 0) and any(leaf.affine for leaf in moved):
        return Center(), "the cheapest exact frame: one model call on centred points"
    if everyone and isinstance(group, Product):
        others = [factor for factor in group.factors if not factor.permutes]
        if all(factor.finite and factor.order <= LARGEST for factor in others):
            frame = Chain(*(Full() for _ in others), order_nodes(signature.source))
            return frame, f"the exact average over {' x '.join(map(repr, others))}, then points in canonical order"
    if shifts_images(signature.source):
        return Phase(), "the cheapest exact frame: one model call on images with their circular centre of mass in one place"
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
