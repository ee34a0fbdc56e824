"""Averages that do not look at the input: the whole group, random elements, quadratures, given measures."""

from __future__ import annotations

import contextlib
from typing import Any

import torch
from torch import Tensor

from ..actions.layout import Layout
from ..errors import FrameError, GroupError, explain
from ..groups.base import Group
from ..groups.quadrature import rule
from ..measure import Measure
from ..tree import Tree, first, leaves, tree_map
from .base import Frame, device_of
from .until import Until, checked_samples, first_draws

LARGEST = 5040


def refuse_noncompact(frame: Frame, group: Group) -> None:
    """Raise when there is no Haar measure to average over."""
    if group.compact:
        return
    remedy = (
        "centre first: frames.Chain(frames.Center(), " + repr(frame) + ")"
        if group.translates and group.orthogonal and not group.permutes
        else "use an input-dependent frame such as frames.Minimal(), or frames.Given"
    )
    raise GroupError(explain(f"{frame} on {group}, which is not compact", "a group with a Haar probability measure", remedy))


def repeated(
    group: Group, elements: Tree, weights: Tensor, inputs: Tree, at: Layout, nested: Tensor | None = None, order: int = 0
) -> Measure:
    """The same elements (K, ...) for each of the samples."""
    device = device_of(inputs)
    wide = tree_map(lambda leaf: leaf.to(device).unsqueeze(1).expand(leaf.shape[0], at.samples, *leaf.shape[1:]), elements)
    spread = weights.to(device)[:, None].expand(weights.shape[0], at.samples)
    total = torch.full((at.samples,), order or weights.shape[0], device=device)
    return Measure(group, wide, spread, total, cosets=weights.shape[0], nested=nested)


class Full(Frame):
    """Average over the whole group: one model call per element, exact for finite groups.

    For a compact continuous group it means ``Quadrature(degree)``, which is exact for polynomial models of that
    degree and says its residual otherwise.

    Args:
        degree: the degree asked of the quadrature on continuous groups.

    Reference: Yarotsky 2022, arXiv 1804.10306; Basu et al. 2023, arXiv 2210.06475.

    Example:
        >>> import torch
        >>> from coset import actions, frames, groups
        >>> G = groups.Cyclic(4)
        >>> frames.Full().bind(actions.Vectors(G))(torch.randn(2, 2)).weights[:, 0]
        tensor([0.2500, 0.2500, 0.2500, 0.2500], dtype=torch.float64)
    """

    references = ("yarotsky2022universal", "basu2023equituning")

    def __init__(self, degree: int = 5):
        super().__init__()
        self.quadrature = Quadrature(degree)

    def prepare(self, group: Group) -> None:
        """Refuse groups without Haar measure and groups that are too large to list."""
        refuse_noncompact(self, group)
        self.exact = group.finite
        if not group.finite:
            self.quadrature = self.quadrature.bind(self.source, self.target)  # type: ignore[arg-type, assignment]

    def measure(self, inputs: Tree, at: Layout) -> Measure:
        """All elements with equal weights."""
        group = self.source.resolve(inputs)  # type: ignore[union-attr]
        if not group.finite and self.exact:
            raise FrameError(explain(f"{self} on {group}", "dense data", "use frames.Relabel() or frames.Haar(samples) on ragged graphs"))
        if not group.finite:
            return self.quadrature.measure(inputs, at)
        if group.order > LARGEST:
            raise FrameError(
                explain(
                    f"{self} on {group} with {group.order} elements",
                    f"at most {LARGEST}",
                    "use frames.Haar(samples), frames.Minimal() or frames.Sort()",
                )
            )
        elements = group.elements(dtype=None if integral(group) else torch.float64)
        order = int(group.order)
        return repeated(self.group, elements, torch.full((order,), 1.0 / order, dtype=torch.float64), inputs, at)


def integral(group: Group) -> bool:
    """True when elements consist of integers only."""
    return all(not leaf.is_floating_point() and not leaf.is_complex() for leaf in leaves(group.identity()))


class Haar(Frame):
    """Independent Haar-random elements, drawn anew for every sample and call: an unbiased estimate of the average.

    Args:
        samples: elements per sample, that is model calls; or ``frames.Until(stderr=...)``, as many as a tolerance asks for.
        generator: source of randomness; torch's global one when left out.

    Raises:
        FrameError: when the number is not at least 1.
        GroupError: when bound to a non-compact group; the message names the remedy.

    Example:
        >>> import torch
        >>> from coset import actions, frames, groups
        >>> frames.Haar(8).bind(actions.Vectors(groups.Orthogonal(3)))(torch.randn(2, 3)).elements.shape
        torch.Size([8, 2, 3, 3])
    """

    stochastic = True
    exact = False
    references = ("yarotsky2022universal",)

    def __init__(self, samples: int | Until, generator: torch.Generator | None = None):
        super().__init__()
        self.samples, self.generator = checked_samples("Haar(samples=", samples), generator

    def prepare(self, group: Group) -> None:
        """Refuse groups without Haar measure."""
        refuse_noncompact(self, group)

    def measure(self, inputs: Tree, at: Layout) -> Measure:
        """Fresh elements with equal weights."""
        return self.draw(inputs, at, 0, first_draws(self.samples))

    def draw(self, inputs: Tree, at: Layout, start: int, count: int) -> Measure:
        """The next ``count`` elements, with equal weights; each is a draw of its own."""
        group, device = self.source.resolve(inputs), device_of(inputs)  # type: ignore[union-attr]
        dtype = None if integral(group) else torch.float64
        elements = group.haar(count, at.samples, generator=self.generator, dtype=dtype, device=device)
        weights = torch.full((count, at.samples), 1.0 / count, dtype=torch.float64, device=device)
        elements = tree_map(lambda leaf: leaf.to(device), elements)
        order = torch.full((at.samples,), count, device=device)
        return Measure(self.group, elements, weights, order, cosets=count, draws=torch.arange(count, device=device))

    def arguments(self) -> tuple[str, ...]:
        """The number of samples."""
        return (str(self.samples),)


class Quadrature(Frame):
    """Fixed elements that average every polynomial of a degree exactly: Platonic rotation groups, then product rules.

    For SO(3): 4 elements to degree 1, 12 to 2, 24 to 3, 60 to 5. ``bound.exact_degree`` says the degree reached,
    ``Symmetrized(..., return_stats=True)`` the residual: how far the rule's sub-rules are apart.

    Args:
        degree: the polynomial degree in the entries of the group's matrices.

    Example:
        >>> import torch
        >>> from coset import actions, frames, groups
        >>> bound = frames.Quadrature(4).bind(actions.Vectors(groups.SpecialOrthogonal(3)))
        >>> bound(torch.randn(2, 3)).cosets, bound.exact_degree
        (60, 5)
    """

    exact = False
    references = ("yarotsky2022universal",)

    def __init__(self, degree: int):
        super().__init__()
        if not isinstance(degree, int) or degree < 0:
            raise FrameError(explain(f"Quadrature(degree={degree!r})", "a degree, 0 or more", "pass for instance Quadrature(5)"))
        self.asked = degree
        self.exact_degree: int | None = None

    def prepare(self, group: Group) -> None:
        """Find the cheapest rule for the group."""
        refuse_noncompact(self, group)
        found = rule(group, self.asked)
        self.exact_degree, self.exact = found.degree, group.finite
        self._rule = found

    def measure(self, inputs: Tree, at: Layout) -> Measure:
        """The nodes of the rule, with its weights."""
        found = self._rule
        return repeated(self.group, found.elements, found.weights.to(torch.float64), inputs, at, nested=found.nested)

    def arguments(self) -> tuple[str, ...]:
        """The degree asked for."""
        return (str(self.asked),)


class Given(Frame):
    """A measure that the user gives, the same for every input.

    It makes the model equivariant exactly when it is invariant, for instance uniform on a subgroup.

    Args:
        elements: a tree of tensors (K, ...) of group elements.
        weights: (K,) weights, normalized to sum one; equal when left out.

    Example:
        >>> import torch
        >>> from coset import actions, frames, groups
        >>> G = groups.Cyclic(4)
        >>> bound = frames.Given(torch.tensor([0, 2])).bind(actions.Vectors(G))
        >>> bound(torch.randn(3, 2)).elements[:, 0]
        tensor([0, 2])
    """

    exact = False
    weights: Tensor

    def __init__(self, elements: Tree, weights: Tensor | None = None):
        super().__init__()
        count = first(elements).shape[0] if first(elements).dim() else 0
        if count == 0:
            raise FrameError(explain("Given elements without a leading axis", "elements with leading axis K >= 1", "stack them"))
        weights = torch.full((count,), 1.0 / count, dtype=torch.float64) if weights is None else torch.as_tensor(weights)
        if weights.shape != (count,) or bool((weights < 0).any()) or not bool(weights.sum() > 0):
            raise FrameError(
                explain(
                    f"weights of shape {tuple(weights.shape)} for {count} elements",
                    "K non-negative weights with a positive sum",
                    "pass one weight per element",
                )
            )
        for number, leaf in enumerate(leaves(elements)):
            self.register_buffer(f"element_{number}", leaf)
        self.register_buffer("weights", weights / weights.sum())
        self._like: Any = tree_map(lambda leaf: torch.zeros(()), elements)

    def prepare(self, group: Group) -> None:
        """Refuse elements that are not shaped like the group's, or do not obey its inverse."""
        one = group.at(1) if group.permutes else group
        mine = list(leaves(self._elements()))
        with contextlib.suppress(GroupError):
            like = list(leaves(one.identity()))
            wrong = len(mine) != len(like) or (not group.permutes and any(a.shape[1:] != b.shape for a, b in zip(mine, like, strict=True)))
            if wrong:
                shapes = [tuple(leaf.shape) for leaf in mine]
                raise FrameError(
                    explain(f"{self} with tensors of shapes {shapes} on {group}", f"elements of {group} with leading axis K", "check them")
                )
        count = self.weights.shape[0]
        e = self._elements()
        gap = group.distance(group.compose(e, group.inverse(e)), group.compose(group.inverse(e), e))
        if group.dim is not None and group.compact and not group.complex:
            matrix = group.matrix(e)
            eye = torch.eye(matrix.shape[-1], dtype=matrix.dtype)
            gap = (matrix @ matrix.mT - eye).abs().flatten(1).amax(1)
        if not bool((gap < 1e-3).all()):
            raise FrameError(
                explain(f"{self}, of which {int((gap >= 1e-3).sum())} of {count} are not in {group}", f"elements of {group}", "check them")
            )

    def _elements(self) -> Tree:
        """The elements as a tree of the buffers."""
        numbers = iter(range(len(list(leaves(self._like)))))
        return tree_map(lambda leaf: getattr(self, f"element_{next(numbers)}"), self._like)

    def measure(self, inputs: Tree, at: Layout) -> Measure:
        """The given elements for every sample."""
        return repeated(self.group, self._elements(), self.weights, inputs, at)

    def arguments(self) -> tuple[str, ...]:
        """The number of elements."""
        return (f"{self.weights.shape[0]} elements",)


class Stochastic(Frame):
    """A random element per sample of another frame's measure while training, the whole measure in ``eval()``.

    Args:
        frame: any frame.
        generator: source of randomness; torch's global one when left out.

    Reference: Duval et al. 2023 (FAENet), arXiv 2305.05577.

    Example:
        >>> import torch
        >>> from coset import actions, frames, groups
        >>> bound = frames.Stochastic(frames.Full()).bind(actions.Vectors(groups.Cyclic(4)))
        >>> bound.train()(torch.randn(3, 2)).cosets, bound.eval()(torch.randn(3, 2)).cosets
        (1, 4)
    """

    references: tuple[str, ...] = ("duval2023faenet",)

    def __init__(self, frame: Frame, generator: torch.Generator | None = None):
        super().__init__()
        if not isinstance(frame, Frame):
            raise FrameError(explain(f"Stochastic({frame!r})", "a frame", "pass for instance Stochastic(frames.PCA())"))
        self.frame, self.generator = frame, generator
        self.static, self.exact, self.references = frame.static, frame.exact, frame.references + self.references

    @property
    def stochastic(self) -> bool:  # type: ignore[override]
        """Only while training (or when the inner frame always is)."""
        return self.training or self.frame.stochastic

    def prepare(self, group: Group) -> None:
        """Bind the inner frame."""
        self.frame = self.frame.bind(self.source, self.target)  # type: ignore[arg-type]
        self.static, self.exact = self.frame.static, self.frame.exact
        self.ordered, self.sorts = self.frame.ordered, self.frame.sorts

    def measure(self, inputs: Tree, at: Layout) -> Measure:
        """One element while training."""
        whole = self.frame.measure(inputs, at)
        return whole.one(self.generator) if self.training else whole

    @property
    def samples(self) -> object:
        """The inner frame's number of draws, where it has one."""
        return getattr(self.frame, "samples", None)

    def draw(self, inputs: Tree, at: Layout, start: int, count: int) -> Measure:
        """Draws start, ..., start + count - 1 of the inner frame."""
        return self.frame.draw(inputs, at, start, count)  # type: ignore[operator]

    def arguments(self) -> tuple[str, ...]:
        """The inner frame."""
        return (repr(self.frame),)
