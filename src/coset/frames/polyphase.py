"""Polyphase sampling as a frame: which of the s x s sampling phases of an image wins, for networks that follow shifts by s."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from ..actions.base import Action
from ..actions.layout import Layout
from ..errors import FrameError, InputError, describe, explain
from ..groups.base import Group
from ..groups.cyclic import Torus
from ..groups.maps import subgroup
from ..measure import Measure
from ..relaxed import SoftChoices
from ..tree import Tree
from .base import traced
from .shifts import ShiftFrame, budget, doublings, whole

Score = Callable[[Tensor], Tensor]


class Polyphase(ShiftFrame):
    """A representative of the shifts modulo ``stride``: the sampling phase of the image with the largest norm, or score.

    For networks that follow shifts by whole strides already (convolutions on a circle that shrink images by ``stride`` in total), the
    phase is all that is missing: adaptive polyphase sampling, from outside of the network. A network of two such layers of stride 2
    is the plain network at one of its 16 input shifts. Fields of one cell for each ``stride`` pixels are declared
    ``actions.Coarse(group, stride)``; what the cells cannot carry is ``scores["phase"]``.

    The norm is counted in whole numbers. Choices are ill-conditioned on smooth images, whose phases are nearly equal.

    Args:
        stride: s, which divides H and W.
        score: a network (R, C, H / s, W / s) -> (R,) that does not change when its inputs are shifted; the l2 norm when left out.
            While training, Gumbel noise is added and gradients pass straight through the softmax; in ``eval()`` the best one wins,
            and those that are equal to rounding are averaged.
        of: which image, by key; the first one when left out.
        generator: source of the noise; torch's global one when left out.

    Raises:
        FrameError: for a stride that is no positive integer or does not divide the sizes, scores of another shape.

    Reference: Chaman and Dokmanic 2021, arXiv 2011.14214 (adaptive polyphase sampling); Rojas-Gomez et al. 2022, arXiv 2210.08001
    (learned scores).

    Example:
        >>> import torch, coset
        >>> from coset import actions, frames, groups
        >>> T = groups.Torus(8, 8)
        >>> conv = torch.nn.Conv2d(1, 4, 3, stride=2, padding=1, padding_mode="circular")
        >>> net = torch.nn.Sequential(conv, torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
        >>> model = coset.symmetrize(net, actions.Image(T) >> actions.Trivial(T), frames.Polyphase(2))
        >>> x = torch.rand(2, 1, 8, 8)
        >>> torch.allclose(model(x), model(x.roll((3, 5), (-2, -1))), atol=1e-6)
        True
    """

    references: tuple[str, ...] = ("chaman2021truly", "rojasgomez2022learnable")

    def __init__(self, stride: int, score: Score | None = None, of: Any = None, generator: torch.Generator | None = None):
        super().__init__(of)
        if isinstance(stride, bool) or not isinstance(stride, int) or stride < 1:
            raise FrameError(explain(f"Polyphase({stride!r})", "the stride of the network in pixels", "pass for instance Polyphase(4)"))
        if score is not None and not callable(score):
            raise FrameError(explain(f"score={score!r}", "a network (R, C, h, w) -> (R,), or None", "leave it out for the l2 norm"))
        self.stride, self.score, self.generator = stride, score, generator
        self.references = self.references[: 1 if score is None else 2]

    def prepare(self, group: Group) -> None:
        """Refuse sizes that the stride does not divide."""
        super().prepare(group)
        if any(n % self.stride for n in group.sizes):  # type: ignore[attr-defined]
            raise FrameError(
                explain(f"{self} on {group}", "sizes that the stride divides", "pad or crop the images, or use frames.Phase()")
            )

    @property
    def stochastic(self) -> bool:  # type: ignore[override]
        """While training a score."""
        return self.training and self.score is not None

    @property
    def relaxes(self) -> bool:  # type: ignore[override]
        """While training a score."""
        return self.training and self.score is not None

    def winners(self, x: Shaped[Tensor, "B C H W"], blind: bool) -> Bool[Tensor, "B s s"]:
        """Which phases win."""
        if self.score is None:
            parts = components(x, self.stride)
            norms = whole(parts, (budget(x.device) - doublings(x[0].numel())) // 2).square().flatten(3).sum(3)
            return norms == norms.amax((1, 2), keepdim=True)
        scores = self.scores(x)
        top = scores.amax(1, keepdim=True)
        return (scores >= top - 32 * torch.finfo(scores.dtype).eps * scores.abs().amax(1, keepdim=True)).unflatten(
            1, (self.stride, self.stride)
        )

    def scores(self, x: Shaped[Tensor, "B C H W"]) -> Float[Tensor, "B phases"]:
        """The learned scores of all phases, in the order of ``groups.Torus(s, s).elements()``."""
        parts = components(x, self.stride).flatten(0, 2)
        found = self.score(parts)  # type: ignore[misc]
        if not isinstance(found, Tensor) or found.numel() != parts.shape[0] or not found.is_floating_point():
            raise FrameError(
                explain(
                    f"{describe(found)} from the score of {self}",
                    f"one number for each of {parts.shape[0]} phases",
                    "end with a linear layer",
                )
            )
        return found.reshape(x.shape[0], -1)

    def measure(self, inputs: Tree, at: Layout) -> Measure:
        """The winning phases, each standing for all shifts by whole strides."""
        if self.relaxes:
            return self._drawn(inputs, at)
        won = self.places(inputs, traced(inputs))
        count = won.flatten(1).sum(1)
        most = 1 if traced(inputs) else int(count.max())
        used, chosen = won.flatten(1).to(torch.uint8).sort(dim=1, descending=True, stable=True)
        return self._measure(chosen[:, :most].T, used[:, :most].T.bool(), count if most > 1 else torch.ones_like(count))

    def _measure(self, chosen: Tensor, used: Tensor, count: Tensor) -> Measure:
        """Phases (K, B) by number, of which those in use have weight."""
        shifts = torch.stack([chosen // self.stride, chosen % self.stride], -1)
        elements = self.group.compose(shifts, self.group.inverse(self.pose.to(shifts.device)).expand_as(shifts))
        weights = used.to(torch.float32 if used.device.type == "mps" else torch.float64)
        height, width = self.group.sizes  # type: ignore[attr-defined]
        order = count * (height * width // self.stride**2)
        known = Strides(self.stride, self.group)
        scores = {"phase": elements[0] % self.stride}
        return Measure(self.group, elements, weights / weights.sum(0), order, cosets=chosen.shape[0], orbits=known, scores=scores)

    def _drawn(self, inputs: Tree, at: Layout) -> Measure:
        """One phase by Gumbel noise, with the softmax for the backward pass."""
        scores = self.scores(self.image(inputs))
        noise = torch.empty_like(scores).exponential_(generator=self.generator).log().neg()
        shares = torch.softmax(scores + noise, -1)
        chosen = (scores + noise).detach().argmax(1).unsqueeze(0)
        found = self._measure(chosen, torch.ones_like(chosen, dtype=torch.bool), torch.ones_like(chosen[0]))
        phases = Torus(self.stride, self.stride)
        picked = torch.stack([chosen // self.stride, chosen % self.stride], -1)
        # phases as shifts of pixels, up to the shifts that the network follows by itself
        relaxed = SoftChoices(shares.unsqueeze(0), picked, phases, subgroup(phases, self.group))
        entropy = torch.special.entr(torch.softmax(scores, -1)).sum(-1)
        log_probabilities = torch.log_softmax(scores, -1)
        return replace(found, relaxed=relaxed, scores={**found.scores, "entropy": entropy, "log_probabilities": log_probabilities})

    def arguments(self) -> tuple[str, ...]:
        """The stride, and the score where there is one."""
        return (str(self.stride), *(() if self.score is None else (type(self.score).__name__,)), *super().arguments())


def components(x: Shaped[Tensor, "B C H W"], stride: int) -> Shaped[Tensor, "B s s C h w"]:
    """The sampling phases of images: entry (p, q) has the pixels p, p + s, ... of rows and q, q + s, ... of columns."""
    if any(n % stride for n in x.shape[-2:]):
        raise InputError(
            explain(f"images of {tuple(x.shape[-2:])} pixels with stride {stride}", "sizes that the stride divides", "pad or crop them")
        )
    cut = x.unflatten(3, (-1, stride)).unflatten(2, (-1, stride))  # B, C, h, s, w, s
    return cut.permute(0, 3, 5, 1, 2, 4)


@dataclass(frozen=True)
class Strides:
    """The shifts by whole strides, which the model follows by itself; each phase that is listed stands for all of them.

    Attributes:
        stride: in pixels.
        group: all shifts.
    """

    stride: int
    group: Group

    def take(self, rows: Tensor) -> Strides:
        """The same for all samples."""
        return self

    def per_edge(self, action: Action, y: Tensor, at: Layout) -> bool:
        """Images have no edges."""
        return False

    def settle(self, action: Action, x: Tensor, at: Layout) -> Tensor:
        """Canonical inputs as they are."""
        return x

    def restore(self, action: Action, y: Tensor, at: Layout) -> Tensor:
        """Outputs as they are."""
        return y

    def listed(self, measure: Measure) -> Measure:
        """The measure with all shifts, for comparisons."""
        every: Any = self.group.elements(device=measure.weights.device)
        every = every[(every % self.stride == 0).all(-1)]
        elements = self.group.compose(measure.elements.unsqueeze(1), every[None, :, None]).flatten(0, 1)
        weights = (measure.weights / len(every)).repeat_interleave(len(every), 0)
        return replace(measure, elements=elements, weights=weights, orbits=None)
