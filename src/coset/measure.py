"""A finite measure on a group, arranged in cosets: elements of one coset share one canonical input, so one model call."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from .actions.base import Action
from .actions.layout import Layout
from .actions.trees import visit
from .errors import InputError, describe, explain
from .groups.base import Group
from .tree import Tree, tree_map


@dataclass(frozen=True)
class Measure:
    """Elements and weights: a finite measure on ``group`` for every sample of a batch.

    The K elements are arranged coset after coset: K = cosets * size. Elements g_i s of one coset give the same
    canonical input, so the model is called once per coset, on the average of the canonical inputs (which agree, up
    to the frame's tolerance), and its output is averaged over the coset's elements. That average is the projection
    on what the stabilizer fixes. An infinite stabilizer is listed by a quadrature that is exact for the signature.

    Attributes:
        group: the group that the elements belong to.
        elements: a tree with leaves (K, B, ...).
        weights: (K, B), summing to one over K; zero weights pad.
        order: (B,) the number of elements of the true measure; -1 where it is infinite.
        cosets: the number of canonical inputs, that is how often a sample enters the model.
        permutations: (K, B, n), or (K, N) over ragged rows: element i sends canonical point j to input point
            ``permutations[i, b, j]``; None where points keep their order.
        ties: (B, n) class numbers of equal rows; the stabilizer contains all permutations within a class.
        tol: relative deviation up to which the canonical inputs of one coset count as equal.
        nested: (K,) labels of sub-rules of lower degree, for the residual of a quadrature.
    """

    group: Group
    elements: Tree
    weights: Tensor
    order: Tensor
    cosets: int
    permutations: Tensor | None = None
    ties: Tensor | None = None
    tol: float = 1e-4
    nested: Tensor | None = field(default=None, compare=False)

    @property
    def size(self) -> int:
        """The number of listed elements of one coset."""
        return self.weights.shape[0] // self.cosets

    @property
    def samples(self) -> int:
        """The number B of samples."""
        return int(self.weights.shape[1])

    def coset_weights(self) -> Tensor:
        """(cosets, B): the weight of every canonical input."""
        return self.weights.reshape(self.cosets, self.size, -1).sum(1)

    def integrate(self, values: Tensor) -> Tensor:
        """The integral of values (K, B, ...) given at the elements, shape (B, ...)."""
        return weigh(self.weights, values).sum(0)

    def entropy(self) -> Tensor:
        """(B,) the entropy of the weights, in nats."""
        return torch.special.entr(self.weights).sum(0)

    def moved_by(self, h: Tree) -> Measure:
        """The measure pushed forward under g -> hg, with h of batch shape (B,)."""
        return replace(self, elements=self.group.compose(tree_map(lambda leaf: leaf.unsqueeze(0), h), self.elements))

    def one(self, generator: torch.Generator | None = None) -> Measure:
        """A random element per sample, drawn by weight: a measure with one element."""
        draw = torch.rand(self.samples, generator=generator, device=generator.device if generator else self.weights.device, dtype=self.weights.dtype)
        total = self.weights.cumsum(0)
        pick = (total <= draw.to(self.weights.device) * total[-1]).sum(0).clamp(max=self.weights.shape[0] - 1)
        rows = torch.arange(self.samples, device=pick.device)
        return Measure(
            self.group,
            tree_map(lambda leaf: leaf[pick, rows].unsqueeze(0), self.elements),
            torch.ones_like(self.weights[:1]),
            torch.ones_like(self.order),
            cosets=1,
        )


def weigh(weights: Tensor, values: Tensor) -> Tensor:
    """Multiply values (K, B, ...) by weights (K, B)."""
    dtype = values.dtype if values.is_floating_point() or values.is_complex() else weights.dtype
    return weights.to(dtype).reshape(*weights.shape, *(1,) * (values.dim() - weights.dim())) * values


def _spread(weights: Tensor, at: Layout, value: Tensor) -> Tensor:
    """Weights (K, B) per sample, as (K, N) per ragged row where ``value`` is per row."""
    return weights.index_select(1, at.batch) if at.batch is not None and at.is_per_row(value) else weights


def canonicalize(measure: Measure, source: Action, inputs: Tree, at: Layout, rows: Tensor) -> Tree:
    """The canonical inputs, coset after coset, for the listed (coset, sample) pairs.

    Args:
        measure: what the frame found.
        source: how the group moves the inputs.
        inputs: the inputs, B samples.
        at: their layout.
        rows: (R,) numbers c * B + b of the pairs (coset c, sample b) that enter the model.

    Returns:
        Inputs with R samples.
    """
    samples = rows % measure.samples
    back = measure.group.inverse(measure.elements)
    new_at = at.take(samples)[0]

    def pull(action: Action, x: Any, name: str) -> Any:
        if not isinstance(x, Tensor) or not _pulled(action, x, measure, at):
            return action.take(x, samples, at)
        if measure.size == 1:
            g = tree_map(lambda leaf: leaf.flatten(0, 1).index_select(0, rows), back)
            return action.act(g, action.take(x, samples, at), new_at)
        mean = _coset_mean(action, x, back, measure, at)
        return _pick(mean, rows, at, x, new_at)

    return visit(source, inputs, pull)


def _pulled(action: Action, x: Tensor, measure: Measure, at: Layout) -> bool:
    """Whether canonicalizing changes this leaf: the group moves it, or points that match are averaged."""
    if action.moves:
        return True
    numbers = x.is_floating_point() or x.is_complex()
    return measure.permutations is not None and numbers and action.per_point is not False and at.is_per_point(x, 0)


def _coset_mean(action: Action, x: Tensor, back: Tree, measure: Measure, at: Layout) -> Tensor:
    """The average of the canonical forms over each coset, (cosets, B or N, ...)."""
    m, s = measure.cosets, measure.size
    weights = measure.weights.reshape(m, s, -1)
    weights = weights / weights.sum(1, keepdim=True).clamp_min(torch.finfo(weights.dtype).tiny)
    weights = _spread(weights.flatten(0, 1), at, x).reshape(m, s, -1)
    g = tree_map(lambda leaf: leaf.index_select(1, at.batch) if at.is_per_row(x) else leaf, back)
    per_point = measure.permutations is not None and action.per_point is not False and at.is_per_point(x, action.event)
    forms = []
    for c in range(m):
        h = tree_map(lambda leaf: leaf[c * s : (c + 1) * s], g)  # noqa: B023
        if hasattr(action, "mean") and not per_point and not measure.group.permutes:
            forms.append(action.mean(h, weights[c], x))
            continue
        moved = action.act(h, x.unsqueeze(0).expand(s, *x.shape)) if action.moves else x.unsqueeze(0).expand(s, *x.shape)
        if per_point:
            moved = gather_points(measure.permutations[c * s : (c + 1) * s], moved)  # type: ignore[index]
        forms.append(weigh(weights[c], moved).sum(0))
    mean = torch.stack(forms).to(x.dtype)
    if at.mask is not None and at.is_per_point(x, action.event):
        mean = mean * at.mask.reshape(1, *at.mask.shape, *(1,) * (mean.dim() - 3)).to(mean.dtype)
    return mean


def _pick(values: Tensor, rows: Tensor, at: Layout, x: Tensor, new_at: Layout) -> Tensor:
    """Pick (coset, sample) pairs of values (cosets, B or N, ...)."""
    flat = values.flatten(0, 1)
    if at.batch is None or not at.is_per_row(x):
        return flat.index_select(0, rows)
    stacked = Layout(samples=values.shape[0] * at.samples, batch=_stacked_batch(at, values.shape[0]))
    return flat.index_select(0, stacked.take(rows)[1])  # type: ignore[arg-type]


def _stacked_batch(at: Layout, copies: int) -> Tensor:
    offsets = torch.arange(copies, device=at.batch.device)[:, None] * at.samples  # type: ignore[union-attr]
    return (at.batch[None] + offsets).flatten()  # type: ignore[index]


def gather_points(permutations: Tensor, x: Tensor) -> Tensor:
    """Canonical point j reads input point ``permutations[..., j]``; x is (K, B, n, ...) or (K, N, ...)."""
    where = permutations.reshape(*permutations.shape, *(1,) * (x.dim() - permutations.dim())).expand(*permutations.shape, *x.shape[permutations.dim() :])
    return x.gather(permutations.dim() - 1, where)


def collect(measure: Measure, target: Action, outputs: Tree, at: Layout, rows: Tensor) -> tuple[Tree, Tree]:
    """Carry the model's outputs back and average them.

    Args:
        measure: what the frame found.
        target: how the group moves the outputs.
        outputs: the model's outputs for R (coset, sample) pairs.
        at: the layout of the inputs.
        rows: (R,) the pairs c * B + b that entered the model.

    Returns:
        The symmetrized outputs (B samples), and a tree of the same structure with the standard deviation of every
        entry over the measure.
    """
    full = rows.shape[0] == measure.cosets * measure.samples
    new_at = at.take(rows % measure.samples)[0]
    spreads: list[Tensor | None] = []

    def push(action: Action, y: Any, name: str) -> Any:
        if not isinstance(y, Tensor):
            spreads.append(None)
            return y
        _check_samples(y, new_at, action, name)
        stacked = _unpick(y, rows, at, new_at, measure, full)
        mean, spread = _push_leaf(action, y, stacked, measure, at, name)
        spreads.append(spread)
        return mean

    mean = visit(target, outputs, push, "output")
    values = iter(spreads)
    return mean, visit(target, outputs, lambda action, y, name: next(values), "output")


def _check_samples(y: Tensor, at: Layout, action: Action, name: str) -> None:
    lengths = {at.samples, at.rows or at.samples}
    if y.dim() and y.shape[0] not in lengths and action.averaged:
        raise InputError(
            explain(f"{name} is {describe(y)} for {at.samples} samples", f"a first axis of length {' or '.join(map(str, sorted(lengths)))}", "return one entry per sample, or declare it Ignore")
        )


def _unpick(y: Tensor, rows: Tensor, at: Layout, new_at: Layout, measure: Measure, full: bool) -> Tensor:
    """Outputs of R pairs as (cosets, B or N, ...), zero where a pair did not enter the model."""
    if y.dim() == 0 or y.shape[0] not in (new_at.samples, new_at.rows):
        return y
    per_row = new_at.is_per_row(y)
    if full:
        return y.reshape(measure.cosets, -1, *y.shape[1:])
    if not per_row:
        base = y.new_zeros(measure.cosets * measure.samples, *y.shape[1:])
        return base.index_copy(0, rows, y).reshape(measure.cosets, -1, *y.shape[1:])
    stacked = Layout(samples=measure.cosets * at.samples, batch=_stacked_batch(at, measure.cosets))
    base = y.new_zeros(stacked.batch.shape[0], *y.shape[1:])  # type: ignore[union-attr]
    return base.index_copy(0, stacked.take(rows)[1], y).reshape(measure.cosets, -1, *y.shape[1:])  # type: ignore[arg-type]


def _push_leaf(action: Action, y: Tensor, stacked: Tensor, measure: Measure, at: Layout, name: str) -> tuple[Tensor, Tensor | None]:
    """One output: carried back by every element and averaged; the standard deviation beside it."""
    if not action.averaged or stacked is y:
        return (stacked if stacked is y else stacked[0]), None
    values = _carried(action, stacked, measure, at)
    weights = _spread(measure.weights if values.shape[0] == measure.weights.shape[0] else measure.coset_weights(), at, stacked[0])
    if values.shape[0] == 1:
        return values[0], torch.zeros_like(values[0])
    if not (values.is_floating_point() or values.is_complex()):
        raise InputError(
            explain(f"{name} is {describe(y)}, integer or boolean, over {measure.cosets} model calls", "numbers that can be averaged", "return scores or logits and decide afterwards, or declare it Ignore")
        )
    mean = weigh(weights, values).sum(0)
    spread = weigh(weights, (values - mean).abs().square()).sum(0).clamp_min(0).sqrt() if not torch.compiler.is_compiling() else None
    return mean, spread


def _carried(action: Action, stacked: Tensor, measure: Measure, at: Layout) -> Tensor:
    """Outputs (cosets, B or N, ...) carried back by every element, (K or cosets, B or N, ...)."""
    x = stacked[0]
    per_point = measure.permutations is not None and action.per_point is not False and at.is_per_point(x, action.event)
    if measure.ties is not None:
        stacked = _average_ties(action, stacked, measure.ties)
    if not action.moves and not per_point:
        return stacked
    g = tree_map(lambda leaf: leaf.index_select(1, at.batch) if at.is_per_row(x) else leaf, measure.elements)
    wide = stacked.unsqueeze(1).expand(measure.cosets, measure.size, *stacked.shape[1:]).flatten(0, 1)
    if per_point:
        moved = action.act(g, wide) if action.moves else wide
        moved = gather_points(torch.argsort(measure.permutations, dim=-1), moved)  # type: ignore[arg-type]
    else:
        flat = action.act(tree_map(lambda leaf: leaf.flatten(0, 1), g), wide.flatten(0, 1))
        moved = flat.reshape(*wide.shape[:2], *flat.shape[1:])
    if at.mask is not None and at.is_per_point(x, action.event):
        moved = moved * at.mask.reshape(1, *at.mask.shape, *(1,) * (moved.dim() - 3)).to(moved.dtype)
    return moved


def _average_ties(action: Action, stacked: Tensor, ties: Tensor) -> Tensor:
    """Average over all permutations of equal rows: class means along one axis, block means along two."""
    axes = getattr(action, "axes", None)
    if not axes:
        return stacked
    same = (ties[:, :, None] == ties[:, None, :]).to(stacked.dtype)
    size = same.sum(-1, keepdim=True)
    average = same / size
    if len(axes) == 1:
        moved = torch.einsum("bij,cbj...->cbi...", average, stacked.movedim(axes[0], 2))
        return moved.movedim(2, axes[0])
    if len(axes) > 2:
        raise InputError(explain(f"tied rows and an output of {action}", "at most two permuted axes", "break the ties with another input, or average with frames.Full()"))
    values = stacked.movedim(axes, (2, 3))
    diagonal = torch.einsum("bij,cbj...->cbi...", average, values.diagonal(dim1=2, dim2=3).movedim(-1, 2))
    eye = torch.eye(same.shape[-1], dtype=same.dtype, device=same.device)
    off = torch.einsum("bik,bjl,cbkl...->cbij...", average, average, values * eye.reshape(1, 1, *eye.shape, *(1,) * (values.dim() - 4)))
    block = torch.einsum("bik,bjl,cbkl...->cbij...", average, average, values) - off
    factor = torch.where(same > 0, size / (size - 1).clamp_min(1), torch.ones_like(same)) * (1 - eye)
    block = block * factor.reshape(1, *factor.shape, *(1,) * (block.dim() - 4))
    spread = (eye.reshape(1, *eye.shape, *(1,) * (diagonal.dim() - 3))) * diagonal.unsqueeze(3) if diagonal.dim() == 3 else eye[..., None] * diagonal.unsqueeze(3)
    return (block + spread).movedim((2, 3), axes)
