"""Check that the network of a learned frame is equivariant: q(hx, h noise) = h q(x, noise), component by component."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..actions.trees import flatten
from ..errors import FrameError, explain
from ..tree import Tree, first, tree_map
from .retracted import rows_of_draws

if TYPE_CHECKING:
    from .learned import Centred, Learned


def check_law(frame: Learned, inputs: Tree, bound: float, generator: torch.Generator) -> None:
    """Compare the canonical inputs that q(hx, h noise) and q(x, noise) give, for h in every component of the group."""
    frame.group  # noqa: B018  (refuses unbound frames)
    source: Any = frame.source
    source.check(inputs)
    at, group = source.layout(inputs), source.resolve(inputs)
    every = torch.arange(at.samples, device=first(inputs).device)
    noise = getattr(frame, "_noise", None)
    was, broken = frame.training, {}
    frame.eval()
    try:
        with torch.no_grad():
            centred = frame.centred(inputs, at)
            place = frame.place(centred)
            drawn = None if noise is None else noise.draw(place, every, generator)
            here = _canonical(frame, centred, drawn)
            for name, include in group.components().items():
                h = tree_map(lambda leaf: leaf.to(every.device), include(include.source.sample(at.samples, generator=generator)))
                moved = source.act(h, inputs, at)
                there = frame.centred(moved, source.layout(moved))
                broken[name] = _apart(here, _canonical(frame, there, None if noise is None else noise.move(h, drawn, place, at)))
    finally:
        frame.train(was)
    worst = max(broken, key=lambda name: broken[name])
    if not broken[worst] <= bound:
        law = "q(hx) = h q(x)" if noise is None else "q(hx, h noise) = h q(x, noise)"
        raise FrameError(
            explain(
                f"{frame}, whose network breaks the law {law} for the {worst}: canonical inputs differ by "
                f"{broken[worst]:.2g} of their size",
                f"equality up to {bound:g} for {', '.join(broken)}",
                "use an equivariant network such as coset.nn.VectorNeurons or coset.nn.GIN, and let it see inputs and noise only",
            )
        )


def _canonical(frame: Learned, centred: Centred, noise: Tensor | None) -> list[Tensor]:
    """The moved inputs in the form that one draw gives them."""
    found = frame.retract(centred, noise)
    zero = None if centred.shift is None else torch.zeros_like(centred.shift)
    elements = tree_map(lambda leaf: leaf[0], frame.placed(rows_of_draws(found.elements, centred.at.samples), zero))
    source: Any = frame.source
    moved = source.act(frame.group.inverse(elements), centred.inputs, centred.at)
    return [x for action, x in flatten(source, moved).values() if action.moves and (x.is_floating_point() or x.is_complex())]


def _apart(here: list[Tensor], there: list[Tensor]) -> float:
    """The median over samples of the relative distance of the leaf that differs most."""
    found = [0.0]
    for one, two in zip(here, there, strict=True):
        apart, size = ((x.abs().square().flatten(1).mean(1) if x.dim() > 1 else x.abs().square()).sqrt() for x in (one - two, one))
        found.append(float((apart / size.mean().clamp_min(torch.finfo(size.dtype).tiny)).median()))
    return max(found)
