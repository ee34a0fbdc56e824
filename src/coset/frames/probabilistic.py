"""Probabilistic symmetrization: an equivariant network with noise in, a measure of k sampled elements out; exact at every k in eval."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from ..actions.layout import Layout
from ..errors import CosetError, FrameError, explain
from ..groups.base import Group
from ..measure import Measure
from ..tree import Tree, first, tree_map
from .base import device_of, traced
from .coupling import Anchors, exact_frame, plain, settle, spread
from .learned import Centred, Learned, Network
from .noise import Noise, NormalVectors, Place, default_noise
from .orbit_distance import into_the_group
from .retracted import Retracted, Retraction, Score, rows_of_draws
from .scores import Scores
from .until import Samples, Until, checked_samples, first_draws

TRIES = 8
"""How often a draw that determines no element is drawn anew."""
PASS = 4096
"""Pairs of draw and sample that enter the network at once, when no gradients are kept."""


class Probabilistic(Learned):
    """k elements sampled from an equivariant conditional law p(g | x): g = q(x, noise), trained with the model by the task's loss.

    While training every call draws fresh noise, and gradients reach the network along the path of the noise: through the
    matrices, and straight through the soft sort for permutations (in ``eval()`` gradients are the true ones).

    In ``eval()`` the noise is fixed and *coupled*: g0 = q(x, no noise), retracted into the group, moves it, so that every sampled element
    q(x, g0 noise) = g0 q(g0^-1 x, noise) is equivariant by itself (computed on the right, where no noise is moved). The
    symmetrized model is then exactly equivariant at every k, still unbiased over seeds, with the variance of independent
    draws. Where g0 is not determined (equal scores, dependent vectors, as at symmetric inputs) an exact frame of the
    library gives it and outputs are averaged over the stabilizer; ``scores["tied"]`` (B,) says where, and
    ``scores["unsettled"]`` where no exact frame had an answer either. Models of edge lists are taken not to depend on the
    order of edges there. Compiled programs do not look at values: no ties, no draws made anew.

    Args:
        network: ``network(inputs, noise)`` -> raw outputs, with inputs as the source declares them (centred for groups with
            translations; repeated for several draws). It has to be equivariant in both together, q(hx, h noise) = h q(x, noise):
            :meth:`verify` checks. Raw outputs: scores (B, n) or ragged (N,) for S_n; d vectors (B, d, d) for O, SO, E, SE, U, SU and
            Lorentz groups; scores (B, |G|) for finite groups; a tuple of these in the order of the factors of a product.
        retraction: how raw outputs become elements, a tuple for products; the group's own when left out.
        noise: its law; that of the paper for the group when left out.
        samples: k, or ``frames.Until(stderr=...)``.
        coupled: whether eval ties fixed noise to the input.
        generator: source of the noise while training, and the seed of the fixed one; torch's global one and 0 when left out.

    Raises:
        FrameError: for k < 1, groups without a retraction, noise whose law the group does not keep, raw outputs of wrong
            shapes or with NaN, and draws that determine no element in 8 tries (``scores["resampled"]`` counts them).

    Reference: Kim et al. 2023, arXiv 2306.02866.

    Example:
        >>> import torch, coset
        >>> from coset import actions, frames, groups
        >>> def axes(x, noise):  # three equivariant vectors of points (B, n, 3) and of noise (B, n, 1, 3)
        ...     y = x + noise.squeeze(2)
        ...     return torch.stack([(y * x.norm(dim=-1, keepdim=True) ** p).sum(1) for p in (0, 1, 2)], 1)
        >>> points = actions.Points(groups.Euclidean(3))
        >>> frame = frames.Probabilistic(axes, samples=4)
        >>> model = coset.symmetrize(torch.nn.Linear(3, 3), points >> points, frame).eval()
        >>> x, g = torch.randn(2, 5, 3), groups.Euclidean(3).sample(2)
        >>> torch.allclose(model(points.act(g, x)), points.act(g, model(x)), atol=1e-4)
        True
    """

    references = ("kim2023learning",)

    def __init__(
        self,
        network: Network,
        retraction: Retraction | tuple[Retraction, ...] | None = None,
        noise: Noise | None = None,
        samples: int | Until = 1,
        coupled: bool = True,
        generator: torch.Generator | None = None,
    ):
        super().__init__(network, retraction)
        if noise is not None and not isinstance(noise, Noise):
            raise FrameError(explain(f"{noise!r} as noise", "a noise object", "pass for instance frames.NormalVectors()"))
        self.noise, self.samples, self.coupled, self.generator = noise, samples, coupled, generator

    @property
    def samples(self) -> Samples:
        """The number k of draws, or ``frames.Until``; may be set anew at any time."""
        return self._samples

    @samples.setter
    def samples(self, samples: Samples) -> None:
        self._samples = checked_samples("Probabilistic(samples=", samples)

    @property
    def stochastic(self) -> bool:  # type: ignore[override]
        """While training, and without coupling."""
        return self.training or not self.coupled

    @property
    def exact(self) -> bool:  # type: ignore[override]
        """In eval, coupled, with elements of the group."""
        return not self.stochastic and self._on_group

    def prepare(self, group: Group) -> None:
        """Bind retractions, noise, and the exact frame for symmetric inputs."""
        super().prepare(group)
        if any(one.lists for one in self._retractions):
            raise FrameError(
                explain(f"{self}, whose draws are one element each", "frames.Blended()", "use it in Argmax, or a Canonicalizer")
            )
        self._noise = self.noise or default_noise(group)
        self._noise.fits(group)
        self._exact_frame = exact_frame(self.source, self.target) if self.coupled else None  # type: ignore[arg-type]
        turns = isinstance(self._noise, NormalVectors)
        self._anchoring = tuple(into_the_group(one, turns) for one in self._retractions)

    def measure(self, inputs: Tree, at: Layout) -> Measure:
        """The measure of k draws."""
        return self.draw(inputs, at, 0, first_draws(self.samples))

    def draw(self, inputs: Tree, at: Layout, start: int, count: int) -> Measure:
        """The draws start ... start + count - 1 of an unending sequence (fresh ones while training)."""
        centred = self.centred(inputs, at)
        place = self.place(centred)
        if self.stochastic:
            return self._independent(centred, place, count)
        return self._coupled(inputs, centred, place, start, count)

    # -- training: fresh noise ------------------------------------------------------------------------------------

    def _independent(self, centred: Centred, place: Place, count: int) -> Measure:
        every = torch.arange(centred.at.samples, device=place.device)

        def noise(rows: Tensor, attempt: int) -> Tensor:
            return self._noise.draw(place, every[rows % len(every)], self.generator)

        found, again = self._sampled(centred, noise, count)
        draws = rows_of_draws(found.elements, centred.at.samples)
        weights = torch.full((count, len(every)), 1.0 / count, dtype=torch.float64, device=place.device)
        order = torch.full((len(every),), count, device=place.device)
        labels = torch.arange(count, device=place.device)
        relaxed = found.relaxed(len(every)) if self.training and found.relaxed is not None else None
        none = torch.zeros_like(every, dtype=torch.bool)
        scores = self._scores(found, again, none, none)
        elements = self.placed(draws, centred.shift)
        return Measure(self.group, elements, weights, order, cosets=count, draws=labels, relaxed=relaxed, scores=scores)

    # -- eval: fixed noise, beside inputs that an anchor brought to a standard pose -----------------------------------

    def _coupled(self, inputs: Tree, centred: Centred, place: Place, start: int, count: int) -> Measure:
        samples, seed = centred.at.samples, 0 if self.generator is None else self.generator.initial_seed() % 2**62
        anchors = self._anchors(inputs, centred, place)
        posed = centred if anchors is None else self._posed(centred, anchors)
        here, size = self.place(posed), posed.at.samples

        def noise(rows: Tensor, attempt: int) -> Tensor:
            return self._noise.fixed(here, rows % size, start + rows // size, seed + attempt)

        found, again = self._sampled(posed, noise, count)
        elements = self.placed(rows_of_draws(found.elements, samples), centred.shift if anchors is None else None)
        none = torch.zeros(samples, dtype=torch.bool, device=place.device)
        scores = self._scores(found, again, *((none, none) if anchors is None else (anchors.tied, ~anchors.exact)))
        if anchors is None:
            weights = torch.full((count, samples), 1.0 / count, dtype=torch.float64, device=place.device)
            order = torch.full((samples,), count, device=place.device)
            whole = Measure(self.group, elements, weights, order, cosets=count)
        else:
            first_moved = tree_map(lambda leaf: leaf.repeat(count, *(1,) * (leaf.dim() - 1)), anchors.elements)
            whole = spread(self.group, anchors, self.group.compose(first_moved, elements), count, centred.at)
        labels = torch.arange(start, start + count, device=place.device).repeat_interleave(whole.weights.shape[0] // count)
        return replace(whole, draws=labels, scores=scores)

    def _posed(self, centred: Centred, anchors: Anchors) -> Centred:
        """The centred inputs, turned and ordered as the anchors say, once for each of them.

        They are the same for x and hx, bit by bit where the group only permutes. By the law of q,
        q(x, g0 noise) = g0 q(g0^-1 x, noise), so this couples the noise to the inputs without moving it.
        """
        copies = first(anchors.elements).shape[0]
        repeated = self.repeated(centred, copies)
        back = self.group.inverse(self.turned(tree_map(lambda leaf: leaf.flatten(0, 1), anchors.elements)))
        moved = self.source.act(back, repeated.inputs, repeated.at)  # type: ignore[union-attr]
        return Centred(moved, self.source.layout(moved), None)  # type: ignore[union-attr]

    def _anchors(self, inputs: Tree, centred: Centred, place: Place) -> Anchors | None:
        """The elements that fixed noise is tied to; None where the group leaves noise alone."""
        if not self._noise.moves(place):
            return None
        found = self._retracted(self._raw(centred, self._noise.zero(place)), centred, self._anchoring, sized=True)
        elements = self.placed(rows_of_draws(found.elements, centred.at.samples), centred.shift)
        start = plain(tree_map(lambda leaf: leaf[0], elements), found.tied)
        if traced(inputs):
            return start
        self.refuse(found.finite, torch.zeros_like(found.finite), centred.at.samples)
        if self._exact_frame is None or not bool(found.tied.any()):
            return start
        with contextlib.suppress(CosetError):  # inputs that the exact frame has no answer for stay unsettled
            return settle(self.group, self.source, self._exact_frame, inputs, centred.at, start)  # type: ignore[arg-type]
        return start

    # -- both --------------------------------------------------------------------------------------------------------

    def _sampled(self, centred: Centred, noise: Callable[[Tensor, int], Tensor], copies: int) -> tuple[Retracted, Tensor]:
        """Elements (copies * B, ...), and (copies * B,) how often each was drawn anew."""
        samples = centred.at.samples
        rows = torch.arange(copies * samples, device=device_of(centred.inputs))
        step = copies if torch.is_grad_enabled() else max(1, PASS // samples)
        if step >= copies:
            found = self.retract(self.repeated(centred, copies), noise(rows, 0))
        else:
            parts = [self.retract(self.repeated(centred, len(own) // samples), noise(own, 0)) for own in rows.split(step * samples)]
            found = _joined(parts)
        again = torch.zeros(copies * samples, dtype=torch.long, device=rows.device)
        if traced(centred.inputs):
            return found, again
        self.refuse(found.finite, torch.zeros_like(found.finite), samples)
        for attempt in range(1, TRIES + 1):
            if not bool(found.degenerate.any()):
                return found, again
            bad = found.degenerate.nonzero().flatten()
            fresh = self.retract(self.picked(centred, bad % samples), noise(bad, attempt))
            again[bad] += 1
            found = _replaced(found, fresh, bad)
        self.refuse(found.finite, found.degenerate, samples)
        return found, again

    @staticmethod
    def _scores(found: Retracted, again: Tensor, tied: Tensor, unsettled: Tensor) -> Mapping[str, Tensor]:
        """Scores averaged over the draws of a sample, and what had to be repaired; none while compiling."""
        samples = tied.shape[0]
        if traced(again):
            return {}
        means: dict[str, Score] = {name: partial(_mean_over_draws, value, samples) for name, value in found.scores.items()}
        return Scores(
            means | {"tied": lambda: tied, "unsettled": lambda: unsettled, "resampled": lambda: again.unflatten(0, (-1, samples)).sum(0)}
        )

    def arguments(self) -> tuple[str, ...]:
        """The network, the retraction, the noise, k."""
        given = [f"noise={self.noise!r}"] if self.noise is not None else []
        given += [f"samples={self.samples}"] + ([] if self.coupled else ["coupled=False"])
        return (*super().arguments(), *given)


def _mean_over_draws(value: Score, samples: int) -> Tensor:
    return value().unflatten(0, (-1, samples)).mean(0)


def _joined(parts: list[Retracted]) -> Retracted:
    """Several passes as one; relaxations are for gradients, and there are none."""
    elements = tree_map(lambda *several: torch.cat(several), parts[0].elements, *(part.elements for part in parts[1:]))
    finite, tied, degenerate = (torch.cat([getattr(part, name) for part in parts]) for name in ("finite", "tied", "degenerate"))

    def together(name: str) -> Tensor:
        return torch.cat([part.scores[name]() for part in parts])

    return Retracted(elements, finite, tied, degenerate, None, {name: partial(together, name) for name in parts[0].scores})


def _replaced(found: Retracted, fresh: Retracted, rows: Tensor) -> Retracted:
    """Some rows drawn anew; in products only the matrices, because permutations have relaxations beside them."""
    keep = isinstance(found.elements, tuple) and found.relaxed is not None

    def patch(old: Tensor, new: Tensor) -> Tensor:
        return old if keep and not old.is_floating_point() else old.index_copy(0, rows, new.to(old.dtype))

    elements = tree_map(patch, found.elements, fresh.elements)
    finite, tied, degenerate = (getattr(found, name).index_copy(0, rows, getattr(fresh, name)) for name in ("finite", "tied", "degenerate"))

    def patched(name: str) -> Tensor:
        return found.scores[name]().index_copy(0, rows, fresh.scores[name]())

    return Retracted(elements, finite, tied, degenerate, found.relaxed, {name: partial(patched, name) for name in found.scores})
