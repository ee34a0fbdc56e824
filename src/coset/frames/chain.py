"""Fix the parts of a group one after the other: translations, then rotations; one factor of a product, then the next."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ..actions.layout import Layout
from ..actions.trees import Pullback
from ..errors import CosetError, FrameError, explain
from ..groups.base import Group
from ..groups.maps import Homomorphism
from ..measure import Measure
from ..relaxed import Several
from ..transport import canonicalize
from ..tree import Tree, tree_map
from .base import Frame, traced
from .until import patience


class Chain(Frame):
    """One frame for each part of the group, each computed from inputs that the frames before made canonical.

    The parts are the factors of a product in order, or (translations, orthogonal part) of a Euclidean group. A frame
    must not depend on the parts that come after it: a centroid does not depend on rotations, a PCA frame not on the
    order of points (``coset.frame_gap`` measures it).

    Args:
        frames: one frame per part.

    Example:
        >>> import torch
        >>> from coset import actions, frames, groups
        >>> chain = frames.Chain(frames.Center(), frames.Quadrature(3))
        >>> chain.bind(actions.Points(groups.SpecialEuclidean(3)))(torch.randn(2, 5, 3)).cosets
        24
    """

    def __init__(self, *frames: Frame):
        super().__init__()
        if len(frames) < 2 or not all(isinstance(frame, Frame) for frame in frames):
            raise FrameError(explain(f"Chain{frames!r}", "two or more frames", "use a single frame by itself"))
        self.frames = torch.nn.ModuleList(frames)
        self._gather_facts()

    def _gather_facts(self) -> None:
        links: list[Frame] = list(self.frames)  # type: ignore[arg-type]
        self.static = all(frame.static for frame in links)
        self.exact = all(frame.exact for frame in links)
        self.references = tuple(dict.fromkeys(key for frame in links for key in frame.references))

    @property
    def stochastic(self) -> bool:  # type: ignore[override]
        """True when a link is."""
        return any(frame.stochastic for frame in self.frames)  # type: ignore[union-attr, misc]

    def prepare(self, group: Group) -> None:
        """Bind each frame to its part."""
        parts = group.parts()
        if len(parts) != len(self.frames):
            raise FrameError(
                explain(
                    f"{self} with {len(self.frames)} frames on {group}",
                    f"one frame for each of its parts {[str(part.source) for part in parts]}",
                    "give as many frames as parts, in this order",
                )
            )
        bound, order = self._bind_each(parts)
        self.frames = torch.nn.ModuleList(bound)
        self._order, self._parts = order, tuple(parts[number] for number in order)
        self._gather_facts()

    def _bind_each(self, parts: tuple[Homomorphism, ...]) -> tuple[list[Frame], list[int]]:
        """Bind the frames to the parts in order; in a product, whose factors commute, each to a factor that it fits."""
        try:
            return self._bind_greedily(parts)
        except CosetError:
            for order in itertools.permutations(range(len(parts))) if hasattr(self.group, "factors") else ():
                with contextlib.suppress(CosetError):
                    bound = [self._along(frame, parts[number]) for frame, number in zip(self.frames, order, strict=True)]  # type: ignore[arg-type]
                    self._check_order(bound, [parts[number] for number in order])
                    return bound, list(order)
            raise

    def _bind_greedily(self, parts: tuple[Homomorphism, ...]) -> tuple[list[Frame], list[int]]:
        """Bind each frame to the first part that it fits."""
        free, order = list(range(len(parts))), []
        bound: list[Frame] = []
        for frame in self.frames:
            choices = list(free) if hasattr(self.group, "factors") else free[:1]
            for number in choices:
                try:
                    bound.append(self._along(frame, parts[number]))  # type: ignore[arg-type]
                except CosetError:
                    if number == choices[-1]:
                        raise
                    continue
                order.append(number)
                free.remove(number)
                break
        self._check_order(bound, [parts[number] for number in order])
        return bound, order

    def _along(self, frame: Frame, part: Homomorphism) -> Frame:
        """A frame bound to one part of the group."""
        source, target = self.source, self.target
        return frame.bind(Pullback(part, source), None if target is None else Pullback(part, target))  # type: ignore[arg-type]

    def _check_order(self, links: list[Frame], parts: list[Homomorphism]) -> None:
        """Refuse links that depend on what a later link moves: a sort of moved rows, a frame of ordered points."""
        for number, link in enumerate(links):
            later = parts[number + 1 :]
            read = [leaf for leaf in link.source.items().values() if leaf.moves and not leaf.only_permuted]  # type: ignore[union-attr]
            if link.sorts and read and any(part.source.dim is not None for part in later):
                raise FrameError(
                    explain(f"{self}, which sorts rows that a later link moves", "the sort after that link", "exchange the two frames")
                )
            if link.ordered and any(part.source.permutes for part in later):
                raise FrameError(
                    explain(
                        f"{self}, whose link {link} depends on the order of points, which a later link permutes",
                        "a frame that does not depend on it",
                        "give colours= (or colours=frames.UNCOLOURED), or use frames.PCA()",
                    )
                )

    def measure(self, inputs: Tree, at: Layout) -> Measure:
        """The products g1 g2 ... with g1 from the inputs and g2 from g1's canonical inputs."""
        return self._product(inputs, lambda frame, current, layout: frame.measure(current, layout))

    @property
    def samples(self) -> object:
        """The rule by which a link decides how many draws it makes (``frames.Until``); None without such a link."""
        return next((rule for rule in map(patience, self.frames) if rule is not None), None)

    def draw(self, inputs: Tree, at: Layout, start: int, count: int) -> Measure:
        """The products with draws start, ..., start + count - 1 of the link that decides how many it makes."""

        def found(frame: Frame, current: Tree, layout: Layout) -> Measure:
            return frame.measure(current, layout) if patience(frame) is None else frame.draw(current, layout, start, count)  # type: ignore[operator]

        return self._product(inputs, found)

    def _product(self, inputs: Tree, measure: Callable[[Frame, Tree, Layout], Measure]) -> Measure:
        """The products of what ``measure`` finds for each link."""
        current = inputs
        total: Measure | None = None
        noise: Tensor | None = None
        group, links, parts = self._settled(inputs)
        for frame, part in zip(links, parts, strict=True):
            layout = replace(self.source.layout(current), noise=noise)  # type: ignore[union-attr]
            found = measure(frame, current, layout)
            if found.size > 1 and any(link.relaxes for link in links) and _separable(found) and not traced(inputs):
                found = found.separated()  # gradients pass stand-ins for single elements only
            rows = torch.arange(found.cosets * found.samples, device=found.weights.device)
            current = canonicalize(found, frame.source, current, layout, rows)  # type: ignore[arg-type]
            noise = _noise(noise, found)
            pushed = _pushed(found, part, group)
            total = pushed if total is None else join(total, pushed)
        return total  # type: ignore[return-value]

    def _settled(self, inputs: Tree) -> tuple[Group, list[Frame], tuple[Homomorphism, ...]]:
        """The group, frames and parts with free sizes (``Symmetric()``) fixed to those of the inputs."""
        frames: list[Frame] = list(self.frames)  # type: ignore[arg-type]
        group = self.source.resolve(inputs)  # type: ignore[union-attr]
        if group == self.group:
            return group, frames, self._parts
        parts = tuple(group.parts()[number] for number in self._order)
        return group, [self._along(frame, part) for frame, part in zip(frames, parts, strict=True)], parts

    def arguments(self) -> tuple[str, ...]:
        """The frames."""
        return tuple(repr(frame) for frame in self.frames)


def _separable(found: Measure) -> bool:
    """Whether the elements of a coset may enter the model one by one."""
    return found.ties is None and found.orbits is None and found.permutations is None


def _noise(before: Tensor | None, found: Measure) -> Tensor | None:
    """The rounding noise of canonical inputs, for every (coset, sample) pair."""
    both = [one for one in (before, found.noise) if one is not None]
    return torch.stack(both).amax(0).repeat(found.cosets) if both else None


def _pushed(measure: Measure, part: Homomorphism, group: Group) -> Measure:
    """A measure on a part, as one on the whole group; matchings of points become elements where the group permutes."""
    elements = part(measure.elements)
    permutations = measure.permutations
    if permutations is not None and group.permutes:
        include = next(one for one in group.parts() if one.source.permutes)
        elements, permutations = group.compose(elements, include(permutations)), None
    relaxed = None if measure.relaxed is None else measure.relaxed.pushed(part)
    return replace(measure, group=group, elements=elements, permutations=permutations, relaxed=relaxed)


def join(outer: Measure, inner: Measure) -> Measure:
    """The measure of the products g h: g from ``outer`` (B samples), h from ``inner`` on its canonical inputs."""
    c1, s1, c2, s2, samples = outer.cosets, outer.size, inner.cosets, inner.size, outer.samples

    def first(leaf: Tensor) -> Tensor:  # (c1 s1, B, ...) -> (c1, c2, s1, s2, B, ...)
        return leaf.reshape(c1, 1, s1, 1, *leaf.shape[1:]).expand(c1, c2, s1, s2, *leaf.shape[1:])

    def second(leaf: Tensor) -> Tensor:  # (c2 s2, c1 B, ...) -> (c1, c2, s1, s2, B, ...)
        split = leaf.reshape(c2, s2, c1, samples, *leaf.shape[2:]).movedim(2, 0)
        return split.unsqueeze(2).expand(c1, c2, s1, s2, samples, *leaf.shape[2:])

    elements = outer.group.compose(tree_map(first, outer.elements), tree_map(second, inner.elements))
    elements = tree_map(lambda leaf: leaf.flatten(0, 3), elements)
    weights = (first(outer.weights.to(inner.weights.dtype)) * second(inner.weights)).flatten(0, 3)
    permutations = _join_permutations(outer, inner, first, c1, c2, s1, s2)
    if outer.orbits is not None:
        raise FrameError(explain("a frame of graphs before another link", "it as the last link", "write frames.Chain(…, frames.Relabel())"))
    ties = inner.ties if outer.ties is None else outer.ties.repeat(c2, 1)
    return Measure(
        outer.group,
        elements,
        weights,
        _join_order(outer, inner),
        c1 * c2,
        permutations,
        ties,
        inner.orbits,
        max(outer.tol, inner.tol),
        nested=_join_labels(outer, inner, s1, s2),
        draws=_join_draws(outer, inner, s1, s2),
        relaxed=None if s1 * s2 != 1 else _join_relaxed(outer.relaxed, inner.relaxed, first, second),
        scores=_Both(outer, inner) if outer.scores or inner.scores else {},
    )


def _join_relaxed(outer: Any, inner: Any, first: Callable[[Tensor], Tensor], second: Callable[[Tensor], Tensor]) -> Any:
    """The stand-ins of both links, where every coset has one element."""
    found = [(one, place) for one, place in ((outer, first), (inner, second)) if one is not None]
    return Several(tuple(one.beside(lambda leaf, place=place: place(leaf).flatten(0, 3)) for one, place in found)) if found else None


class _Both(Mapping[str, Tensor]):
    """The scores (B,) of both links, computed when they are read; those of the second are means over the cosets of the first.

    Where both have a score of one name, the sum; for what is true or false, whether it is true anywhere.
    """

    def __init__(self, outer: Measure, inner: Measure):
        self._outer, self._inner, self._samples = outer.scores, inner.scores, outer.samples

    def __getitem__(self, key: str) -> Tensor:
        found = [self._outer[key]] if key in self._outer else []
        if key in self._inner:
            each = self._inner[key].unflatten(0, (-1, self._samples))
            found.append(each.any(0) if each.dtype == torch.bool else each.sum(0) if key == "resampled" else each.mean(0))
        if not found:
            raise KeyError(key)
        return found[0] if len(found) == 1 else found[0] | found[1] if found[0].dtype == torch.bool else found[0] + found[1]

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys([*self._outer, *self._inner]))

    def __len__(self) -> int:
        return len(set(self._outer) | set(self._inner))


def _join_order(outer: Measure, inner: Measure) -> Tensor:
    """(B,) the number of elements of the true measure, at most 2^63 - 1; cosets without weight are padding."""
    most = torch.iinfo(torch.int64).max
    used = outer.coset_weights() > 0
    parts = inner.order.reshape(used.shape)
    infinite = (outer.order < 0) | ((parts < 0) & used).any(0)
    each = outer.order // used.sum(0).clamp_min(1)
    parts = parts * used
    large = parts.double().sum(0) * each.double() >= float(most)
    total = torch.where(large, most, parts.sum(0) * each)
    return torch.where(infinite, -1, total)


def _join_labels(outer: Measure, inner: Measure, s1: int, s2: int) -> Tensor | None:
    """The sub-rule labels of the last link, where every coset has one element."""
    if inner.nested is None or s1 != 1 or s2 != 1:
        return None
    return inner.nested.repeat(outer.cosets)


def _join_draws(outer: Measure, inner: Measure, s1: int, s2: int) -> Tensor | None:
    """Products come from the draw of the outer element, where it was drawn: the inner draws beside it share that one."""
    if outer.draws is not None:
        return outer.draws.reshape(-1, 1, s1, 1).expand(-1, inner.cosets, s1, s2).flatten()
    if inner.draws is None:
        return None
    return inner.draws.reshape(1, -1, 1, s2).expand(outer.cosets, -1, s1, s2).flatten()


def _join_permutations(outer: Measure, inner: Measure, first: object, c1: int, c2: int, s1: int, s2: int) -> Tensor | None:
    """Point matchings survive when one link has them."""
    if outer.permutations is not None and inner.permutations is not None:
        raise FrameError(
            explain("two links of a chain that both match points", "at most one", "use one frames.Minimal(colours=…) for the whole group")
        )
    if outer.permutations is not None:
        return first(outer.permutations).flatten(0, 3)  # type: ignore[operator]
    if inner.permutations is None:
        return None
    if c1 * s1 != 1:
        raise FrameError(
            explain(
                "a link that matches points after one with several elements",
                "the matching link first",
                "exchange the links, or use frames.Center before it",
            )
        )
    return inner.permutations
