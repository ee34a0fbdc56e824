"""A gate around a frame: inputs whose pose it is not sure of are left as they are. Opt-in; not equivariant."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from ..actions.base import Action
from ..actions.layout import Layout
from ..errors import FrameError, explain
from ..frames.base import Frame
from ..frames.scores import Scores
from ..groups.base import Group
from ..measure import Measure
from ..tree import Tree, tree_map
from .step import score


class Gate(Frame):
    """The frame's measure where its score gap is large enough, else the identity: doubtful inputs enter the model unmoved.

    The result is not equivariant, and says so (``exact`` is False): an input and its turned copy may both be left as they are. The score
    ``kept`` (B,) tells which were; average it to report how often. Inactive in training mode, where gradients have to reach the frame.

    Args:
        frame: an unbound frame that gives the score ``gap`` (B,), the lead of the best element over the second.
        gap: inputs with a smaller gap are kept; in the units of the frame's scores.

    Raises:
        FrameError: for frames without that score.

    Reference: the opt-in form of the gates in arXiv 2606.24178.

    Example:
        >>> from coset import adapt, frames
        >>> gate = adapt.Gate(frames.Canonicalizer(lambda x, noise: x), gap=0.5)
        >>> gate.exact, gate
        (False, Gate(Canonicalizer(function), gap=0.5))
    """

    exact = False

    def __init__(self, frame: Frame, gap: float):
        super().__init__()
        if not isinstance(frame, Frame):
            raise FrameError(explain(f"{frame!r} inside a Gate", "a frame object", "pass for instance frames.Minimize(energy)"))
        if isinstance(gap, bool) or not isinstance(gap, (int, float)) or not gap >= 0:
            raise FrameError(explain(f"Gate(gap={gap!r})", "a number of at least zero", "pass 0.0 to keep nothing"))
        self.frame, self.gap = frame, float(gap)

    def bind(self, source: Action, target: Action | None = None) -> Frame:
        """A bound copy, with the frame inside bound as well."""
        bound = super().bind(source, target)
        bound.frame = self.frame.bind(source, target)
        bound.static, bound.pads = bound.frame.static, bound.frame.pads
        return bound

    def prepare(self, group: Group) -> None:
        """Nothing depends on the group but the frame inside."""

    @property
    def stochastic(self) -> bool:  # type: ignore[override]
        """As the frame inside."""
        return self.frame.stochastic

    @property
    def references(self) -> tuple[str, ...]:  # type: ignore[override]
        """Those of the frame inside."""
        return self.frame.references

    def measure(self, inputs: Tree, at: Layout) -> Measure:
        """The frame's measure, with the identity at the samples that are kept."""
        found: Measure = self.frame.measure(inputs, at)
        if self.training:
            return found
        kept = score(found, "gap", self.frame) < self.gap
        own = {name: partial(found.scores.__getitem__, name) for name in found.scores}
        return replace(kept_as_is(found, kept), scores=Scores(own | {"kept": lambda: kept}))

    def arguments(self) -> tuple[str, ...]:
        """The frame and the gap."""
        return repr(self.frame), f"gap={self.gap:g}"


def kept_as_is(measure: Measure, kept: Tensor) -> Measure:
    """A measure with all its weight on the identity for some samples (B,).

    Raises:
        FrameError: where elements are listed modulo permutations of points, which the identity does not share.
    """
    if measure.ties is not None or measure.orbits is not None or measure.permutations is not None:
        raise FrameError(
            explain(f"a Gate on {measure.group}, which permutes points", "a group of images or matrices", "leave the gate out")
        )
    count = measure.weights.shape[0]
    like = measure.weights
    group = measure.group
    same = group.identity(count, measure.samples, dtype=like.dtype, device=like.device)

    def choose(own: Tensor, still: Tensor) -> Tensor:
        where = kept.reshape(1, -1, *(1,) * (own.dim() - 2))
        return torch.where(where, still.to(own), own)

    first_only = torch.zeros_like(measure.weights).index_fill(0, torch.zeros(1, dtype=torch.int64, device=kept.device), 1.0)
    return replace(
        measure,
        elements=tree_map(choose, measure.elements, same),
        weights=torch.where(kept, first_only, measure.weights),
        order=torch.where(kept, torch.ones_like(measure.order), measure.order),
        relaxed=None,
    )
