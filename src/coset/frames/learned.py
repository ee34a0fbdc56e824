"""Frames that a network learns: centre, call an equivariant network, retract its outputs to group elements."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..actions.base import Action
from ..actions.layout import Layout
from ..actions.trees import Pullback, flatten
from ..errors import FrameError, InputError, describe, explain
from ..groups.base import Group
from ..groups.maps import Homomorphism
from ..groups.products import place_factor
from ..relaxed import Several, SoftChoices
from ..tree import Tree, leaves
from .base import Frame, device_of, traced
from .center import Center
from .noise import Place
from .retracted import Retracted, Retraction, Score
from .retractions import Argmax, Argsort, default_retraction
from .verify import check_law

Network = Callable[[Tree, Tensor | None], Any]


@dataclass(frozen=True)
class Centred:
    """Inputs without translations.

    Attributes:
        inputs: the inputs, positions centred where the group translates.
        at: their layout.
        shift: (B, d) centroids, or None.
    """

    inputs: Tree
    at: Layout
    shift: Tensor | None


class Learned(Frame):
    """Abstract: a frame from an equivariant network.

    Args:
        network: called as ``network(inputs, noise)`` with inputs of the source (centred for groups with translations) and
            noise, or None; returns raw outputs for the retraction, a tuple of them in the order of a product's factors.
        retraction: one retraction, a tuple of them for a product, or None for the group's own.
    """

    def __init__(self, network: Network, retraction: Retraction | tuple[Retraction, ...] | None = None):
        super().__init__()
        if not callable(network):
            raise FrameError(explain(f"{network!r} as network", "a module or function (inputs, noise) -> raw outputs", "see coset.nn"))
        given = retraction if isinstance(retraction, tuple) else (retraction,)
        if not all(one is None or isinstance(one, Retraction) for one in given):
            raise FrameError(
                explain(f"{retraction!r} as retraction", "a retraction, or a tuple of them", "pass for instance frames.GramSchmidt()")
            )
        self.network, self.retraction = network, retraction

    def prepare(self, group: Group) -> None:
        """Bind a retraction to every factor, and a centroid where the group translates."""
        self._factors = tuple(getattr(group, "factors", (group,)))
        given: Any = self.retraction
        several = given if isinstance(given, tuple) else (given,) * len(self._factors) if given is None else (given,)
        if len(several) != len(self._factors):
            raise FrameError(
                explain(
                    f"{given!r} for {group} with factors {[str(factor) for factor in self._factors]}",
                    "one retraction for each factor",
                    "pass a tuple in the order of the factors, or leave it out",
                )
            )
        cores = [factor.parts()[1].source if factor.translates else factor for factor in self._factors if _has_core(factor)]
        self._retractions = tuple((one or default_retraction(core)).bind(core) for one, core in zip(several, cores, strict=True))
        self._refuse_another(group)
        move = _translations(group)
        self._center = None if move is None else Center().bind(Pullback(move, self.source))  # type: ignore[arg-type]

    def _refuse_another(self, group: Group) -> None:
        """Raise where the network gives scores of the elements of another group, in its own order."""
        own = getattr(self.network, "group", None)
        scored = len(self._retractions) == 1 and isinstance(self._retractions[0], Argmax)
        if scored and isinstance(own, Group) and own != self._retractions[0].group:
            raise FrameError(
                explain(
                    f"{type(self.network).__name__} of {own} on inputs of {group}",
                    f"a network of {self._retractions[0].group}",
                    "build it with the group of the inputs",
                )
            )

    @property
    def relaxes(self) -> bool:  # type: ignore[override]
        """While training, where a retraction has no gradients of its own."""
        return self.training and any(isinstance(one, (Argsort, Argmax)) for one in getattr(self, "_retractions", ()))

    @property
    def _on_group(self) -> bool:
        return all(one.exact for one in getattr(self, "_retractions", ()))

    def centred(self, inputs: Tree, at: Layout) -> Centred:
        """The inputs with their centroid at the origin, where the group translates.

        Raises:
            InputError: for graphs and sets without points.
        """
        self._refuse_empty(inputs)
        if self._center is None:
            return Centred(inputs, at, None)
        shift = self._center.centroid(inputs, at)  # type: ignore[operator]
        move: Any = _translations(self.source.resolve(inputs))  # type: ignore[union-attr]
        moved = self.source.act(move(-shift), inputs, at)  # type: ignore[union-attr]
        return Centred(moved, at, shift)

    def _refuse_empty(self, inputs: Tree) -> None:
        """Raise where there is nothing to permute."""
        for key, (action, x) in flatten(self.source, inputs).items():  # type: ignore[arg-type]
            if isinstance(x, Tensor) and any(x.shape[axis] == 0 for axis in action.point_axes(x)):
                raise InputError(
                    explain(f"{key or 'input'} {describe(x)} without points", "at least one point", "skip empty graphs and sets")
                )

    def picked(self, centred: Centred, samples: Tensor) -> Centred:
        """Some of the samples, repeated as asked; all of them once are returned as they are."""
        if samples.shape[0] == centred.at.samples and bool((samples == torch.arange(samples.shape[0], device=samples.device)).all()):
            return centred
        return Centred(self.source.take(centred.inputs, samples, centred.at), centred.at.take(samples)[0], None)  # type: ignore[union-attr]

    def repeated(self, centred: Centred, copies: int) -> Centred:
        """The whole batch several times over."""
        if copies == 1:
            return centred
        samples = torch.arange(centred.at.samples, device=device_of(centred.inputs)).repeat(copies)
        return Centred(self.source.take(centred.inputs, samples, centred.at), centred.at.take(samples)[0], None)  # type: ignore[union-attr]

    def retract(self, centred: Centred, noise: Tensor | None, *, sized: bool = False) -> Retracted:
        """The network's elements (without translations) for centred inputs, as one entry for each factor.

        Args:
            centred: the inputs.
            noise: for the network.
            sized: compare vectors with the size of the inputs, to see where they are rounding noise.
        """
        return self._retracted(self._raw(centred, noise), centred, self._retractions, sized)

    def _raw(self, centred: Centred, noise: Tensor | None) -> tuple[Tensor, ...]:
        """What the network says, one entry for each factor."""
        raw = self.network(centred.inputs, noise)
        if hasattr(self.group, "factors"):
            if not isinstance(raw, (tuple, list)) or len(raw) != len(self._factors):
                raise FrameError(
                    explain(
                        f"{_named(raw)} from the network on {self.group}",
                        f"a tuple with one entry for each factor {[str(factor) for factor in self._factors]}",
                        "return for instance (scores, vectors)",
                    )
                )
        else:
            raw = (raw,)
        if not all(isinstance(value, Tensor) for value in raw):
            raise FrameError(
                explain(f"{_named(raw[0])} from the network on {self.group}", "a tensor for each factor", "return scores or vectors")
            )
        return tuple(raw)

    def _retracted(self, raw: tuple[Tensor, ...], centred: Centred, retractions: tuple[Retraction, ...], sized: bool) -> Retracted:
        """Raw outputs as elements, by one retraction for each factor."""
        scale = self._size(centred) if sized else None
        parts = [one(value, centred.at, scale) for one, value in zip(retractions, raw, strict=True)]
        if len(parts) == 1:
            return parts[0]
        finite = torch.stack([part.finite for part in parts]).all(0)
        tied = torch.stack([part.tied for part in parts]).any(0)
        degenerate = torch.stack([part.degenerate for part in parts]).any(0)
        relaxed = [part.relaxed for part in parts]
        scores: dict[str, Score] = {}
        for part in parts:
            scores |= part.scores
        return Retracted(tuple(part.elements for part in parts), finite, tied, degenerate, self._relaxed(relaxed, centred.inputs), scores)

    def _size(self, centred: Centred) -> Tensor | None:
        """(B,) the largest entry of the inputs' vectors."""
        found = []
        for action, x in flatten(self.source, centred.inputs).values():  # type: ignore[arg-type]
            if not isinstance(x, Tensor) or not action.polar:
                continue
            top = x.detach().abs().flatten(1).amax(1)
            if centred.at.batch is not None and centred.at.is_per_row(x):
                top = top.new_zeros(centred.at.samples).index_reduce(0, centred.at.batch, top, "amax")
            found.append(top)
        return torch.stack(found).amax(0) if found else None

    def _relaxed(self, makers: list[Callable[[int], Any] | None], inputs: Tree) -> Callable[[int], Any] | None:
        """The relaxations of factors as one, choices among elements included into the product."""
        if not any(makers):
            return None

        def relaxed(samples: int) -> Several:
            group = self.source.resolve(inputs) if self.group.permutes else self.group  # type: ignore[union-attr]
            found = [(number, maker(samples)) for number, maker in enumerate(makers) if maker is not None]
            return Several(
                tuple(replace(one, include=place_factor(group, number)) if isinstance(one, SoftChoices) else one for number, one in found)  # type: ignore[arg-type]
            )

        return relaxed

    def placed(self, elements: Tree, shift: Tensor | None) -> Tree:
        """Elements of the whole group from those of the retractions, leaves (K, B, ...), and centroids (B, d) or none."""
        parts = elements if hasattr(self.group, "factors") else (elements,)
        found = []
        for factor, part in zip(self._factors, parts, strict=True):
            if not factor.translates:
                found.append(part)
                continue
            move, turn = factor.parts()
            part = turn(part)
            if shift is not None:
                count = next(leaves(part)).shape[0]
                part = factor.compose(move(shift.unsqueeze(0).expand(count, *shift.shape)), part)
            found.append(part)
        return tuple(found) if hasattr(self.group, "factors") else found[0]

    def turned(self, elements: Tree) -> Tree:
        """Elements of the whole group without their translations."""
        parts = elements if hasattr(self.group, "factors") else (elements,)
        both = zip(self._factors, parts, strict=True)
        found = [factor.parts()[1](factor.matrix(part)) if factor.translates else part for factor, part in both]
        return tuple(found) if hasattr(self.group, "factors") else found[0]

    def place(self, centred: Centred) -> Place:
        """What noise has to know of the inputs."""
        numbers = [leaf for leaf in leaves(centred.inputs) if leaf.is_floating_point() or leaf.is_complex()]
        dtype = numbers[0].dtype if numbers else torch.get_default_dtype()
        if self.group.complex:
            dtype = torch.promote_types(dtype, torch.complex32)
        group = self.group if traced(centred.inputs) else self.source.resolve(centred.inputs)  # type: ignore[union-attr]
        at = centred.at
        if at.points is None and at.batch is None:
            at = replace(at, points=_points(self.source, centred.inputs))  # type: ignore[arg-type]
        return Place(group, at, dtype, device_of(centred.inputs))

    def refuse(self, finite: Tensor, degenerate: Tensor, samples: int) -> None:
        """Raise where raw outputs (R,) are NaN or do not determine an element (one host synchronization where all is well)."""
        bad = ~finite | degenerate
        if not bool(bad.any()):
            return
        if not bool(finite.all()):
            rows = ((~finite).nonzero().flatten() % samples).unique()[:5].tolist()
            raise FrameError(
                explain(f"NaN or infinite outputs of the network in samples {rows}", "finite numbers", "check its weights and inputs")
            )
        rows = (degenerate.nonzero().flatten() % samples).unique()[:5].tolist()
        raise FrameError(
            explain(
                f"outputs of the network that do not determine an element of {self.group} in samples {rows}",
                "scores that differ, vectors that are neither zero nor dependent",
                "give the network noise (of more channels where points are few) or more inputs, check that its last layer is not zero, or "
                "use frames.Minimal()",
            )
        )

    def verify(self, inputs: Tree, *, bound: float = 1e-3, generator: torch.Generator | None = None) -> None:
        """Check that the network is equivariant, for random h of each component: q(hx) = h q(x), with noise q(hx, h noise) = h q(x, noise).

        Args:
            inputs: a batch of the source.
            bound: the largest allowed distance between canonical inputs, relative to their size.
            generator: source of randomness; a fixed seed when left out.

        Raises:
            FrameError: naming the component of the group whose law is broken, and by how much.
        """
        check_law(self, inputs, bound, generator or torch.Generator().manual_seed(0))

    def arguments(self) -> tuple[str, ...]:
        """The network and the retraction."""
        given = () if self.retraction is None else (repr(self.retraction),)
        return (type(self.network).__name__, *given)


def _has_core(factor: Group) -> bool:
    """Whether there is more than translations.

    Raises:
        FrameError: for pure translations, which need no network.
    """
    if factor.translates and len(factor.parts()) < 2:
        raise FrameError(explain(f"a learned frame on {factor}", "a group with more than translations", "use frames.Center()"))
    return True


def _points(source: Action, inputs: Tree) -> int | None:
    """The number of rows of the first input whose rows permutations move."""
    for action, x in flatten(source, inputs).values():
        if not isinstance(x, Tensor) or not action.moves or action.per_point is False:
            continue
        axes = action.point_axes(x)
        if axes:
            return int(x.shape[axes[0]])
    return None


def _translations(group: Group) -> Homomorphism | None:
    """How the translations of a group are included in it."""
    if not group.translates:
        return None
    factors = getattr(group, "factors", None)
    if factors is None:
        return group.parts()[0]
    number = next(i for i, factor in enumerate(factors) if factor.translates)
    return factors[number].parts()[0].then(place_factor(group, number))  # type: ignore[arg-type]


def _named(raw: Any) -> str:
    return f"{type(raw).__name__} of shape {tuple(raw.shape)}" if isinstance(raw, Tensor) else f"{type(raw).__name__}"
