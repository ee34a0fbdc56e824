"""Canonicalization by search: the element whose inverse brings an input to the least energy in its orbit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ..actions.base import Action
from ..actions.image import Raster
from ..actions.layout import Layout
from ..actions.trees import Pullback, flatten
from ..errors import FrameError, GroupError, explain
from ..groups.base import Group
from ..groups.inclusions import inclusion
from ..groups.maps import identity_map
from ..measure import Measure
from ..tree import Tree, leaves, tree_map
from .average import LARGEST
from .base import Frame, device_of, refuse_traced, traced
from .center import Center
from .gradients import Detached, Gradient, checked_gradient, choice_scores, likeliest, picked, softly
from .minimizers import Chosen, all_lowest, lowest, near
from .multistart import Multistart, implicit
from .orbit import Energy, Orbit, makes_small, numbers
from .retracted import Score
from .scores import Scores


class Minimize(Frame):
    """c(x) = argmin over g of E(g^-1 x): any network E scores the orbit, and the search makes the choice equivariant.

    Finite groups are searched exhaustively in one batch. Minimizers of a symmetric input are all listed with equal weights, those
    with equal canonical inputs as one coset, so that a C2-symmetric image costs one model call and is exactly equivariant. (While
    training, and for symmetric images that are not square, every listed element is a call of its own.)

    Compact Lie groups are searched from fixed starts with quasi-Newton refinement (``frames.Multistart``). The result is an approximation:
    ``exact`` is False, ``coset.frame_gap`` measures how far the search misses the law, more starts shrink it. Groups
    with translations are centred first. Minima pass gradients by the implicit function theorem, except with ``frames.Detached()`` and for
    images, whose derivative with respect to an angle is not informative.

    Among the scores of finite groups are ``energies`` (B, |G|) in the order of ``group.elements()``, ``log_probabilities`` (B, |G|), of
    which entry h belongs to c(x) = h, ``entropy`` (B,), ``gap`` (B,) between the two smallest energies, and ``tied`` (B,); of Lie groups
    ``energy`` (B,) at the minimum.

    Args:
        energy: inputs -> (B,), a network or any callable; ``coset.nn.ImageScorer`` for images. One with methods ``reduced`` and ``score``
            is searched on small images.
        group: search over this group, which fits into that of the inputs; all of it when left out. The model is then
            equivariant to this group.
        gradient: how gradients pass the choice among finitely many elements: ``frames.Blended()`` (default), ``frames.Expected(top=k)``,
            ``frames.Detached()``.
        search: ``frames.Multistart(...)``, for Lie groups.
        of: the key of the only input that the energy sees; all inputs, as the source declares them, when left out.
        chunk: how many inputs enter the energy at once.

    Raises:
        FrameError: for groups that cannot be searched, a ``group`` that does not fit, energies of wrong shape, NaN energies.

    Reference: Kaba et al. 2023, arXiv 2211.06489; Mondal et al. 2023, arXiv 2310.01647.

    Example:
        >>> import torch, coset
        >>> from coset import actions, frames, groups, nn
        >>> C4 = groups.Cyclic(4)
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 32 * 32, 10))
        >>> model = coset.symmetrize(net, actions.Image(C4) >> actions.Trivial(C4), frames.Minimize(nn.ImageScorer(3)))
        >>> x = torch.rand(5, 3, 32, 32)
        >>> torch.equal(model(x.rot90(1, (-2, -1))), model(x))
        True
    """

    pads = True
    references = ("kaba2023equivariance", "mondal2023equivariant")

    def __init__(
        self,
        energy: Energy,
        group: Group | None = None,
        gradient: Gradient | None = None,
        search: Multistart | None = None,
        of: Any = None,
        chunk: int | None = None,
    ):
        super().__init__()
        if not callable(energy):
            raise FrameError(explain(f"{energy!r} as energy", "a module or function: inputs -> (B,)", "see coset.nn.ImageScorer"))
        if group is not None and not isinstance(group, Group):
            raise FrameError(explain(f"group={group!r}", "a group, or None", "pass for instance groups.Cyclic(8)"))
        if search is not None and not isinstance(search, Multistart):
            raise FrameError(explain(f"search={search!r}", "a search object", "pass for instance frames.Multistart(starts=12)"))
        if chunk is not None and (not isinstance(chunk, int) or isinstance(chunk, bool) or chunk < 1):
            raise FrameError(explain(f"chunk={chunk!r}", "a positive number of inputs, or None", "pass for instance chunk=256"))
        self.energy, self.over, self.of, self.chunk = energy, group, of, chunk
        self.gradient, self.search = checked_gradient("Minimize", gradient), search

    @property
    def relaxes(self) -> bool:  # type: ignore[override]
        """While training, where the blended gradient passes finite choices."""
        return self.training and self.gradient.blends and getattr(self, "_orbit", None) is not None

    def prepare(self, group: Group) -> None:
        """Fit the group of the search into that of the inputs.

        Raises:
            FrameError: where it does not fit, or cannot be searched.
        """
        source: Any = self.source
        core, place = group, identity_map(group)
        self._center = self._move = None
        if group.translates and len(group.parts()) == 2:
            self._move, place = group.parts()
            core = place.source
            self._center = Center().bind(Pullback(self._move, source))
        over = core if self.over is None else self.over
        try:
            into = identity_map(core) if over == core else inclusion(over, core)
        except GroupError as error:
            raise FrameError(
                explain(f"{self} on inputs of {group}", f"a subgroup of {core}", "leave group= out, or choose another")
            ) from error
        self._place = into if place.source == place.target else into.then(place)
        self._action: Action = source if over == group else Pullback(self._place, source)
        self._seen: Action = self._action if self.of is None else self._action.items()[self.of]
        self._over = over
        self._prepare_search(over, group)

    def _prepare_search(self, over: Group, group: Group) -> None:
        """An orbit for finite groups, starts for Lie groups."""
        self._orbit = None
        if over.permutes or not over.compact:
            raise FrameError(
                explain(
                    f"{self} on {group}",
                    "a finite group of matrices or shifts, SO(d), O(d), SE(d) or E(d)",
                    "use frames.Sort() or frames.Canonicalizer(coset.nn.DeepSets(...)) for permutations, a Chain for products",
                )
            )
        if over.finite:
            if over.order > LARGEST:
                raise FrameError(
                    explain(f"{self} on {over} with {over.order} elements", f"at most {LARGEST}", "search over a subgroup: group=")
                )
            self._orbit = Orbit(over, self._seen)
            self.exact = self._action.exact and over == group
            self.static = True
            return
        if self.gradient.top > 1:
            raise FrameError(explain(f"{self} on {over}, which is not finite", "frames.Blended() or frames.Detached()", "use one of them"))
        self._search = self.search or Multistart()
        self._search.nodes(over)
        self.exact, self.static = False, False

    def measure(self, inputs: Tree, at: Layout) -> Measure:
        """The elements of least energy."""
        shift = None
        if self._center is not None:
            shift = self._center.centroid(inputs, at)  # type: ignore[operator]
            inputs = self.source.act(self._move(-shift), inputs, at)  # type: ignore[union-attr, misc]
        found = self._finite(inputs, at) if self._orbit is not None else self._continuous(inputs, at)
        if shift is None:
            return found
        wide = (
            shift.to(torch.float64 if shift.device.type != "mps" else shift.dtype).unsqueeze(0).expand(found.weights.shape[0], *shift.shape)
        )
        return replace(found, elements=self.group.compose(self._move(wide), found.elements))  # type: ignore[misc]

    def _seen_of(self, inputs: Tree) -> Tree:
        """What the energy looks at."""
        return inputs if self.of is None else flatten(self.source, inputs)[self.of][1]  # type: ignore[arg-type]

    def _finite(self, inputs: Tree, at: Layout) -> Measure:
        """All minimizers over a finite group; the likeliest elements in training where the gradient asks for them."""
        orbit: Any = self._orbit
        energies = orbit.energies(self.energy, self._seen_of(inputs), at, self.chunk)
        blind = traced(inputs)
        if not blind:
            self._refuse_nan(energies)
        weights: Tensor | None = None
        if self.training and self.gradient.top > 1:
            index, weights = likeliest(self.gradient, -energies)
            chosen = Chosen(index, weights, index.shape[0], torch.full_like(index[0], index.shape[0]))
        elif blind:
            chosen = lowest(energies)
        else:
            apart = self.training or any(_swaps(leaf, x) for leaf, x in flatten(self._action, inputs).values())
            chosen = all_lowest(energies, self._action, inputs, at, apart)
        own = picked(orbit.group, chosen.index)
        relaxed = softly(orbit.group, self.gradient, -energies, own, self._place) if self.training else None
        scores: dict[str, Score] = choice_scores(self.gradient, -energies)
        scores |= {"energies": lambda: energies, "tied": lambda: near(energies).sum(-1) > 1}
        return Measure(
            self.group,
            self._place(own),
            chosen.weights,
            chosen.order,
            chosen.cosets,
            relaxed=relaxed,
            scores={} if blind else Scores(scores),
        )

    def _continuous(self, inputs: Tree, at: Layout) -> Measure:
        """The best minimum from all starts."""
        refuse_traced(self, inputs)
        over: Any = self._over
        if torch.is_inference_mode_enabled():
            with torch.inference_mode(False), torch.no_grad():
                return self._continuous(tree_map(lambda leaf: leaf.clone(), inputs), at)
        seen, samples = self._seen_of(inputs), at.samples
        reduced = self._reduced(seen)
        fixed = tree_map(lambda leaf: leaf.detach(), reduced)
        device = device_of(fixed)
        g, energy = self._search.search(over, self._score(fixed, at, len(self._search.nodes(over))), samples, device)
        self._refuse_nan(energy.unsqueeze(-1))
        rastered = any(isinstance(leaf.core(), Raster) for leaf in self._seen.items().values())
        if torch.is_grad_enabled() and not rastered and not isinstance(self.gradient, Detached):
            score = self._score(reduced, at, 1)
            wanted = [leaf for leaf in leaves(reduced) if leaf.requires_grad]
            wanted += [p for p in getattr(self.energy, "parameters", tuple)() if p.requires_grad]
            g = implicit(over, score, g) if wanted else g
        chosen = g.detach()
        scores: dict[str, Score] = {"energy": lambda: self._score(reduced, at, 1)(chosen)}
        weights = torch.ones(1, samples, dtype=torch.float64, device=device)
        return Measure(
            self.group, self._place(g.unsqueeze(0)), weights, torch.ones(samples, dtype=torch.long, device=device), 1, scores=Scores(scores)
        )

    def _reduced(self, seen: Tree) -> Tree:
        """Small images, where the energy makes them."""
        return self.energy.reduced(seen) if makes_small(self.energy, seen) else seen  # type: ignore[attr-defined]

    def _score(self, seen: Tree, at: Layout, copies: int) -> Any:
        """Energies of elements (copies * B, d, d) applied to the inputs."""
        samples = torch.arange(at.samples, device=device_of(seen)).repeat(copies)
        repeated, layout = self._seen.take(seen, samples, at), at.take(samples)[0]
        energy: Any = self.energy.score if makes_small(self.energy, seen) else self.energy  # type: ignore[attr-defined]

        def score(g: Tensor) -> Tensor:
            moved = self._seen.act(self._over.inverse(g), repeated, layout)
            return numbers(energy(moved), samples.shape[0], self.energy)

        return score

    def _refuse_nan(self, energies: Tensor) -> None:
        """Raise for NaN and infinite energies (one host synchronization)."""
        finite = torch.isfinite(energies.detach()).all(-1)
        if not bool(finite.all()):
            rows = (~finite).nonzero().flatten()[:5].tolist()
            raise FrameError(
                explain(f"NaN or infinite energies in samples {rows}", "finite numbers", "check the energy's weights and its inputs")
            )

    def arguments(self) -> tuple[str, ...]:
        """The energy and what is not the default."""
        named = getattr(self.energy, "__name__", type(self.energy).__name__)
        found = [named] + ([f"group={self.over!r}"] if self.over is not None else [])
        found += [f"gradient={self.gradient!r}"] if repr(self.gradient) != "Blended()" else []
        found += [f"search={self.search!r}"] if self.search is not None else []
        return (*found, *super().arguments(), *([f"chunk={self.chunk}"] if self.chunk is not None else []))


def _swaps(leaf: Action, x: Any) -> bool:
    """Whether elements change the shape of these images."""
    return isinstance(leaf.core(), Raster) and isinstance(x, Tensor) and x.shape[-2] != x.shape[-1]
