"""One call per coset is right only where the stabilizer fixes everything the model sees; this makes sure of it."""

from __future__ import annotations

import torch
from torch import Tensor

from .actions.base import Action
from .actions.layout import Layout
from .actions.trees import flatten
from .errors import InputError, describe, explain
from .measure import Measure, weigh
from .transport import gather_points, per_row, rows_of
from .tree import Tree

ALLOWED = 20.0
"""Multiples of the frame's tolerance by which canonical inputs of one coset may differ."""


def refine(measure: Measure, source: Action, inputs: Tree, at: Layout) -> Measure:
    """Compare the canonical forms of inputs that the frame did not look at, element by element.

    Where a finite stabilizer moves one of them, every listed element becomes a coset of its own, with its own model
    call. Frames account for points and vectors themselves, frames of unordered points for everything at finite
    stabilizers.

    Raises:
        InputError: where an infinite stabilizer moves an input, which no finite number of calls can repair.
    """
    matched = measure.permutations is not None
    if measure.size == 1 or measure.ties is not None or (matched and not bool((measure.order < 0).any())):
        return measure
    split = False
    for key, (action, x) in flatten(source, inputs).items():
        if not action.moves or action.polar or not isinstance(x, Tensor):
            continue
        broken = _broken(measure, action, x, at)
        if bool((broken & (measure.order < 0)).any()):
            numbers = (broken & (measure.order < 0)).nonzero().flatten()[:5].tolist()
            raise InputError(
                explain(
                    f"input {key!r}, {describe(x)}, which the infinite stabilizer of the points moves in samples {numbers}",
                    "inputs that the points' symmetry leaves alone, or vectors that fix a frame",
                    "give the frame a vector to look at (for instance an eigenvector of the tensor), or use frames.Quadrature(degree) "
                    "or frames.Haar(samples)",
                )
            )
        split = split or bool(broken.any())
    return measure.separated() if split and not matched else measure


def _broken(measure: Measure, action: Action, x: Tensor, at: Layout) -> Tensor:
    """(B,) True where the elements of a coset give different canonical forms."""
    x = x if x.is_floating_point() or x.is_complex() else x.to(torch.float64)  # labels are compared as numbers
    back = measure.group.inverse(measure.elements)
    weights = per_row(measure.weights, at, x)
    beside = Layout(samples=at.samples, sizes=at.sizes) if at.sizes else None  # boxes look up the size of their image
    forms = action.act(rows_of(back, at, x), x.detach().unsqueeze(0).expand(measure.weights.shape[0], *x.shape), beside)
    if measure.permutations is not None and action.per_point is not False and at.is_per_point(x, action.event):
        forms = gather_points(measure.permutations, forms)
    forms = forms.reshape(measure.cosets, measure.size, *forms.shape[1:])
    share = weights.reshape(measure.cosets, measure.size, -1)
    share = share / share.sum(1, keepdim=True).clamp_min(torch.finfo(share.dtype).tiny)
    mean = torch.stack([weigh(share[c], forms[c]).sum(0) for c in range(measure.cosets)])
    apart, size = _largest(forms - mean.unsqueeze(1), share > 0), _largest(forms, share > 0)
    raw = x.detach().abs().flatten(1).amax(1)
    if at.is_per_row(x):
        zero = apart.new_zeros(at.samples)
        apart, size, raw = (zero.index_reduce(0, at.batch, part.to(zero.dtype), "amax") for part in (apart, size, raw))  # type: ignore[arg-type]
    noise = 100 * torch.finfo(x.dtype).eps * raw * _growth(measure, action, back)
    return apart > ALLOWED * measure.tol * torch.maximum(size, noise) + noise


def _largest(values: Tensor, used: Tensor) -> Tensor:
    """(B,) or (N,) the largest entry of values (cosets, size, B or N, ...) where ``used``."""
    entries = values.abs().flatten(3).amax(-1) if values.dim() > 3 else values.abs()
    return (entries * used).amax((0, 1))


def _growth(measure: Measure, action: Action, back: Tree) -> Tensor | float:
    """(B,) by how much the elements may enlarge data, one for groups of rotations."""
    group = measure.group
    if group.compact or group.orthogonal or group.dim is None:
        return 1.0
    return group.matrix(back).detach().abs().amax((0, -2, -1)) ** (action.degree or 1)
