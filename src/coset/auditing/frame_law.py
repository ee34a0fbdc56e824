"""Check the law of frames, F(hx) = h F(x), as measures on the group."""

from __future__ import annotations

import contextlib
from typing import Any

import torch
from torch import Tensor

from ..errors import FrameError, GroupError, InputError, describe, explain
from ..groups.base import Group
from ..tree import Tree, leaves, to_tensors, tree_map
from .elements import draw
from .laws import floating
from .running import evaluation, seed_all


def frame_gap(frame: Any, inputs: Tree, *, samples: int = 8, generator: torch.Generator | None = None) -> float:
    """The largest distance between F(hx) and h F(x) over random h: zero up to rounding for a frame.

    Every element of positive weight has to have its equal on the other side, both ways, and the weighted means of the
    two measures have to agree. Where the measure is infinite (``order`` -1) its listed elements are only a quadrature,
    so there only the means are compared.

    Args:
        frame: a bound frame, ``x -> Measure``.
        inputs: a batch of its source.
        samples: random elements per input.
        generator: source of randomness; a fixed seed when left out.

    Returns:
        The gap, in the units of ``group.distance``.

    Raises:
        FrameError: when the frame is not bound to a source.
        InputError: when the inputs do not fit the source, or are empty.

    Example:
        >>> import torch, coset
        >>> from coset import actions, frames, groups
        >>> source = actions.Points(groups.Orthogonal(3))
        >>> frame = frames.Minimal().bind(source)
        >>> coset.frame_gap(frame, torch.randn(4, 6, 3, dtype=torch.float64)) < 1e-9
        True
    """
    source = getattr(frame, "source", None)
    if source is None or not hasattr(source, "act"):
        raise FrameError(explain(f"the frame {frame}, which is not bound", "a bound frame", "call frame.bind(source) first"))
    if samples < 1:
        raise InputError(explain(f"samples={samples}", "at least one element per input", "pass samples=8"))
    x = to_tensors(inputs)
    source.check(x)
    at = source.layout(x)
    group = source.resolve(x)
    generator = generator or torch.Generator().manual_seed(0)
    chosen = draw(group, at.samples, samples, generator, floating(x))
    worst = 0.0
    with evaluation(frame), torch.no_grad():
        seed_all(0)
        here = frame(x)
        for s in range(chosen.count):
            h = tree_map(lambda e, s=s: e[:, s], chosen.elements)
            moved = source.act(h, x, at)
            seed_all(0)
            worst = max(worst, float(measure_gap(group, frame(moved), here, h)))
    return worst


def measure_gap(group: Group, there: Any, here: Any, h: Tree) -> Tensor:
    """The largest gap over the batch between the measures ``there`` and h times ``here``."""
    if not hasattr(there, "elements") or not hasattr(there, "weights"):
        raise FrameError(explain(f"a frame that returns {describe(there)}", "a Measure", "return coset.measure.Measure from forward"))
    there, here = _listed(there), _listed(here)
    pushed = _normal(group, here, _push(group, h, here.elements))
    elements = _modulo_orbits(group, there, _normal(group, there, there.elements), pushed)
    infinite = (there.order < 0) | (here.order < 0)
    several = there.orbits if getattr(there, "orbits", None) is not None and there.weights.shape[0] != 1 else None
    nearest = _set_gap(group, elements, there.weights, pushed, here.weights, several, there.weights.shape[0] // getattr(there, "cosets", 1))
    means = None if several is not None else _mean_gap(group, elements, there.weights, pushed, here.weights)
    if means is None:
        means = torch.zeros_like(nearest)
    return torch.where(infinite, means, torch.maximum(nearest, means)).nan_to_num(nan=float("inf")).max()


def _listed(measure: Any) -> Any:
    """The measure with the elements that it stands for but does not list, where it can list them."""
    orbits: Any = getattr(measure, "orbits", None)
    return orbits.listed(measure) if hasattr(orbits, "listed") else measure


def _push(group: Group, h: Tree, elements: Tree) -> Tree:
    k = next(leaves(elements)).shape[0]
    return group.compose(tree_map(lambda e: e[None].expand(k, *e.shape), h), elements)


def _normal(group: Group, measure: Any, elements: Tree) -> Tree:
    """Elements up to permutations of rows that are equal (``measure.ties``), which the measure does not list."""
    ties = getattr(measure, "ties", None)
    permutation = group.permutation(elements) if ties is not None else None
    if ties is None or permutation is None:
        return elements
    n = permutation.shape[-1]
    classes = ties.reshape(measure.cosets, 1, -1, n).expand(-1, permutation.shape[0] // measure.cosets, -1, -1).flatten(0, 1)
    within = torch.argsort(classes * n + permutation, dim=-1)
    include = next(part for part in group.parts() if part.source.permutes)
    return group.compose(elements, include(within))


def _modulo_orbits(group: Group, measure: Any, elements: Tree, pushed: Tree) -> Tree:
    """Elements up to automorphisms of canonical graphs (``measure.orbits``), of which the measure lists one."""
    orbits = getattr(measure, "orbits", None)
    if orbits is None or measure.weights.shape[0] != 1:
        return elements
    keep = orbits.fixes(group.permutation(group.compose(group.inverse(pushed), elements)))
    return tree_map(lambda new, old: torch.where(keep.reshape(*keep.shape, *(1,) * (old.dim() - 2)), new, old), pushed, elements)


def _matched(group: Group, orbits: Any, one: Tree, pushed: Tree) -> Tree:
    """Elements with the permutations of ``one`` where they differ by an automorphism of its canonical graphs."""
    apart = group.permutation(group.compose(group.inverse(pushed), one))
    keep = orbits.fixes(apart)
    still = torch.arange(apart.shape[-1], device=apart.device).expand_as(apart)  # type: ignore[union-attr, arg-type]
    include = next(part for part in group.parts() if part.source.permutes)
    return group.compose(pushed, include(torch.where(keep.unsqueeze(-1), apart, still)))  # type: ignore[arg-type]


def _set_gap(
    group: Group, elements: Tree, weights_there: Tensor, pushed: Tree, weights: Tensor, orbits: Any = None, size: int = 1
) -> Tensor:
    """Largest distance from an element of positive weight to the other set, both ways, per sample.

    With ``orbits``, one set for every ``size`` elements, permutations count up to automorphisms.
    """
    k1, k2 = weights_there.shape[0], weights.shape[0]
    forth = torch.zeros(weights_there.shape, dtype=torch.float64, device=weights.device)
    back = torch.full(weights.shape, float("inf"), dtype=torch.float64, device=weights.device)
    batch = group.batch(pushed)[1:]
    for i in range(k1):
        one = tree_map(lambda e, i=i: e[i : i + 1].expand(k2, *batch, *e.shape[1 + len(batch) :]), elements)
        near = pushed if orbits is None else _matched(group, orbits.take(i // size * batch[0] + torch.arange(batch[0])), one, pushed)
        distance = group.distance(one, near).to(torch.float64)
        forth[i] = distance.masked_fill(weights <= 0, float("inf")).amin(0)
        back = torch.minimum(back, distance.masked_fill(weights_there[i] <= 0, float("inf")))
    gaps = (forth.masked_fill(weights_there <= 0, 0.0), back.masked_fill(weights <= 0, 0.0))
    return torch.maximum(gaps[0].amax(0), gaps[1].amax(0))


def _mean_gap(group: Group, a: Tree, wa: Tensor, b: Tree, wb: Tensor) -> Tensor | None:
    """Distance between the weighted means of every linear picture of the group; None when it has none."""
    gaps = []
    for u, v in zip(_pictures(group, a), _pictures(group, b), strict=True):
        mean_u, mean_v = ((w.to(p).reshape(*w.shape, *(1,) * (p.dim() - 2)) * p).sum(0) for w, p in ((wa, u), (wb, v)))
        gaps.append((mean_u - mean_v).abs().flatten(1).square().sum(1).sqrt().to(torch.float64))
    return torch.stack(gaps).amax(0) if gaps else None


def _pictures(group: Group, g: Tree) -> list[Tensor]:
    """Matrices, shifts, permutations and one-hot elements of finite groups: (k, B, ...) each."""
    found = []
    with contextlib.suppress(GroupError):
        found.append(group.matrix(g))
    shift = group.shift(g)
    if shift is not None:
        found.append(shift)
    permutation = group.permutation(g)
    if permutation is not None:
        found.append(torch.nn.functional.one_hot(permutation, permutation.shape[-1]).to(torch.float64))
    if not found and group.finite:
        place = group.index(g)
        found.append(torch.nn.functional.one_hot(place, group.order).to(torch.float64))
    return [p if p.is_complex() else p.to(torch.float64) for p in found]
