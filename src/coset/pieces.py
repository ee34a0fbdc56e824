"""Integrate a measure piece by piece, so that memory grows with the size of a piece and not with the number of cosets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .actions.base import Action
from .actions.layout import Layout
from .actions.trees import visit
from .errors import InputError, describe, explain
from .measure import Measure
from .moments import Between, Whole, beside, squared, summed
from .transport import averageable, mean_and_spread, per_row
from .tree import Tree, children, is_container


def pieces(measure: Measure, parts: list[Tensor], chunk: int | None) -> Iterator[tuple[Measure, Tensor, Tensor]]:
    """Split a measure along its (coset, sample) pairs.

    Args:
        measure: what the frame found.
        parts: increasing numbers c * B + b of the pairs that enter the model, in lists that do not mix.
        chunk: how many pairs may enter the model at once. A piece has the smallest multiple of it that is at least one
            pair for every sample. None for one piece.

    Yields:
        The cosets of a piece as a measure of their own, in which pairs of other pieces have zero weight; the share
        (B,) of the whole measure that it holds; and its pairs, counted from its first coset.
    """
    if in_one(parts, chunk):
        yield measure, measure.weights.sum(0), parts[0]
        return
    for rows in parts:
        for begin, end, own in _ranges(measure, rows, chunk):
            piece = measure.between(begin, end)
            if own.shape[0] != piece.cosets * measure.samples:
                listed = piece.weights.new_zeros(piece.cosets * measure.samples).index_fill(0, own, 1.0)
                piece = piece.weighted(listed.reshape(-1, measure.samples).repeat_interleave(piece.size, 0))
            yield *piece.normalized(), own


def in_one(parts: list[Tensor], chunk: int | None) -> bool:
    """Whether all pairs enter the model in one piece."""
    return len(parts) == 1 and (chunk is None or parts[0].shape[0] <= chunk)


def _ranges(measure: Measure, rows: Tensor, chunk: int | None) -> Iterator[tuple[int, int, Tensor]]:
    """(first coset, one past the last, pairs counted from the first coset) of the pieces of increasing pairs (R,)."""
    count, samples = rows.shape[0], measure.samples
    step = count if chunk is None else chunk * -(-samples // chunk)
    starts = range(0, count, step)
    ends = [[start, min(start + step, count) - 1] for start in starts]
    if count != measure.cosets * samples:
        ends = rows[torch.tensor(ends, device=rows.device)].tolist()
    for start, (first, last) in zip(starts, ends, strict=True):
        begin = first // samples
        yield begin, last // samples + 1, rows[start : start + step] - begin * samples


def restricted(piece: Measure, share: Tensor, chosen: Tensor) -> tuple[Measure, Tensor]:
    """The part of a normalized piece on chosen elements (K,), normalized, and its share of the whole."""
    part, more = piece.weighted(chosen.to(piece.weights.dtype)[:, None]).normalized()
    return part, share * more


def structure(output: Any) -> Any:
    """The kinds and keys of nested containers; None for what is inside of them."""
    if not is_container(output):
        return None
    return type(output), {key: structure(value) for key, value in children(output).items()}


def changed(name: str, before: Any, after: Any) -> InputError:
    """The error about a model whose outputs have one structure in one call and another in the next."""
    return InputError(
        explain(
            f"{name} is {told(after)}, and was {told(before)} in an earlier call of the model for the same batch",
            "outputs of one structure and shape",
            "return the same entries for every input, or wrap the model so that it does",
        )
    )


def told(output: Any) -> str:
    """An output in a message: containers with their keys."""
    return f"a {type(output).__name__} with entries {list(children(output))}" if is_container(output) else describe(output)


class Draws:
    """Which independent draws the pieces seen so far complete: a draw may come in several pieces.

    Args:
        measure: with labels 0, 1, ... of draws, fewer than it has cosets; elements of one coset have one label.
        parts: all (coset, sample) pairs that will come.
        split: whether they come in several pieces.
    """

    def __init__(self, measure: Measure, parts: list[Tensor], split: bool):
        labels = _coset_labels(measure)
        self.samples, self.split = measure.samples, split
        self.left = torch.bincount(labels[torch.cat(parts) // measure.samples], minlength=measure.cosets) if split else None
        self.open = labels[:0]

    def plan(self, piece: Measure, own: Tensor) -> _Plan:
        """Where the elements of a piece go, among the draws that are open and those that it begins."""
        found = _coset_labels(piece)
        if self.left is None:
            return _Plan(piece.cosets, found, self.open, None)
        self.left = self.left - torch.bincount(found[own // self.samples], minlength=self.left.shape[0])
        labels, slot = torch.cat([self.open, found]).unique(return_inverse=True)
        done, known = self.left[labels] == 0, self.open.shape[0]
        self.open = labels[~done]
        return _Plan(labels.shape[0], slot[known:], slot[:known], done)


class _Plan(NamedTuple):
    """Slots for draws: of the cosets of a piece, of the draws that were open; and which of them are complete (None: all)."""

    slots: int
    cosets: Tensor
    before: Tensor
    done: Tensor | None


def _coset_labels(measure: Measure) -> Tensor:
    """(cosets,) the draw that each coset belongs to."""
    return measure.draws.reshape(measure.cosets, measure.size)[:, 0]  # type: ignore[union-attr]


class Running:
    """The mean, the standard deviation and the variance between draws of a measure that is seen in pieces.

    Args:
        target: how the group moves the outputs.
        at: the layout of the inputs.
        spread: also the standard deviation.
        draws: also the variance between independent draws.
    """

    def __init__(self, target: Action, at: Layout, spread: bool, draws: Draws | None = None):
        self.target, self.at, self.spread, self.draws = target, at, spread, draws
        self._like: Tree = None
        self.leaves: list[_Leaf] = []

    def add(self, piece: Measure, share: Tensor, carried: Tree, own: Tensor | None = None) -> None:
        """Take in a normalized piece that has ``share`` (B,) of the weight, and what the model returned for its pairs ``own``."""
        fresh = not self.leaves
        if fresh:
            self._like = carried
        elif structure(carried) != structure(self._like):
            raise changed("output", self._like, carried)
        known = iter(self.leaves)
        found: list[_Leaf] = []
        plan = None if self.draws is None else self.draws.plan(piece, own)  # type: ignore[arg-type]

        def take(action: Action, values: Any, name: str) -> Any:
            leaf = _Leaf() if fresh else next(known)
            found.append(leaf)
            if not isinstance(values, Tensor) or not action.averaged:
                leaf.hold(values, piece.weights.shape[1] * piece.cosets if own is None else own.shape[0])
                return values
            if not fresh:
                if leaf.whole.share is None or leaf.whole.mean.shape[1:] != values.shape[2:]:
                    raise changed(name, leaf.whole.mean, values[0])
                if leaf.pick(share, values, name, self.at):
                    return values
            mean, deviation = mean_and_spread(piece, values, self.at, name, self.spread)
            leaf.whole.add(per_row(share[None], self.at, mean)[0], mean, deviation)
            if plan is not None and (mean.is_floating_point() or mean.is_complex()):
                leaf.sort(piece, share, values, self.at, plan)
            return values

        visit(self.target, carried, take, "output")
        self.leaves = found

    def merge(self, other: Running, chosen: Tensor, draws: int) -> None:
        """Take in ``draws`` more draws of the chosen samples only, where this one has seen as many as ``share`` says."""
        rows = self.at.take(chosen)[1]
        for mine, more in zip(self.leaves, other.leaves, strict=True):
            if mine.whole.share is not None:
                mine.merge(more, chosen if rows is None or not self.at.is_per_row(mine.whole.mean) else rows, draws)

    def scaled(self, draws: int) -> None:
        """Count the whole, seen so far, as a number of draws with weight one each."""
        for leaf in self.leaves:
            leaf.scale(draws)

    def tree(self, read: Callable[[_Leaf], Any]) -> Tree:
        """A tree like the outputs of what ``read`` finds in the moments of every leaf."""
        found = iter([read(leaf) for leaf in self.leaves])
        return visit(self.target, self._like, lambda action, y, name: next(found), "output")

    def mean(self) -> Tree:
        """The mean."""
        return self.tree(lambda leaf: leaf.whole.mean)


class _Leaf:
    """The moments of one output, and the sums of draws that are not complete yet."""

    def __init__(self) -> None:
        self.whole, self.between = Whole(), Between()
        self.rows = 0
        self.weights: Tensor | None = None
        self.sums: Tensor | None = None

    def sort(self, piece: Measure, share: Tensor, values: Tensor, at: Layout, plan: _Plan) -> None:
        """Add up the values of every draw, and take in those that are complete."""
        each = values.shape[0] == piece.weights.shape[0]
        weights = per_row((piece.weights if each else piece.coset_weights()) * share, at, values[0])
        slot = plan.cosets if values.shape[0] == piece.cosets else plan.cosets.repeat_interleave(piece.size)
        total, sums = summed(weights, values, slot, plan.slots)
        if self.weights is not None and self.sums is not None:
            total, sums = total.index_add(0, plan.before, self.weights), sums.index_add(0, plan.before, self.sums)
        if plan.done is None:
            self.between.add(total, sums)
            return
        if bool(plan.done.any()):
            self.between.add(total[plan.done], sums[plan.done])
        self.weights, self.sums = total[~plan.done], sums[~plan.done]

    def hold(self, value: Any, rows: int) -> None:
        """Keep what is not averaged as the first call gave it; single numbers, such as mean losses, as their mean over rows."""
        known, self.rows = self.rows, self.rows + rows
        if not known:
            self.whole.mean = value
        elif isinstance(value, Tensor) and not value.dim() and (value.is_floating_point() or value.is_complex()):
            self.whole.mean = (known * self.whole.mean + rows * value) / self.rows

    def pick(self, share: Tensor, values: Tensor, name: str, at: Layout) -> bool:
        """Take in labels of samples that are in one piece whole; False for numbers, which are averaged instead.

        Raises:
            InputError: for labels of samples that come in several pieces.
        """
        if values.is_floating_point() or values.is_complex():
            return False
        if values.shape[0] > 1 or bool(((share > 0) & (share < 1)).any()):
            averageable(values, name)
        rows = per_row(share[None], at, values[0])[0]
        self.whole.mean = torch.where(beside(rows, values[0]) > 0, values[0], self.whole.mean)
        return True

    @property
    def measured(self) -> bool:
        """Whether moments between draws are known."""
        return self.between.first is not None

    def variance(self) -> Tensor | None:
        """The variance between draws; zero where nothing is drawn, None for what is not averaged."""
        if self.measured:
            return self.between.variance()
        return None if self.whole.deviation is None else torch.zeros_like(self.whole.deviation)

    def share(self) -> Tensor | None:
        """The variance of the mean in units of that between draws, (R, 1, ...)."""
        return self.between.share() if self.measured else self._none()

    def draws(self) -> Tensor | None:
        """The number of draws, (R, 1, ...)."""
        return self.between.draws() if self.measured else self._none()

    def _none(self) -> Tensor | None:
        """Zeros of shape (R, 1, ...)."""
        like = self.whole.deviation
        return None if like is None else like.new_zeros(like.shape[0], *(1,) * (like.dim() - 1))

    def scale(self, draws: int) -> None:
        """Multiply all weights."""
        if self.whole.share is not None and self.between.first is not None:
            self.whole.share = self.whole.share * draws
            self.between.first, self.between.second = self.between.first * draws, self.between.second * draws**2
            self.between.scatter = self.between.scatter * draws

    def merge(self, more: _Leaf, chosen: Tensor, draws: int) -> None:
        """Take in moments of chosen rows, with all their weights multiplied."""
        more.scale(draws)
        count, one, two = self.whole.mean.shape[0], more.whole, more.between

        def spread(x: Tensor) -> Tensor:
            return x.new_zeros(count, *x.shape[1:]).index_copy(0, chosen, x)

        self.whole.add(spread(one.share).flatten(), spread(one.mean), None if one.deviation is None else spread(one.deviation))
        self.between.merge(spread(two.first), spread(two.second), spread(two.count), spread(two.mean), spread(two.scatter))


def excess(running: Running, at: Layout, tolerance: float, relative: float) -> Tensor:
    """(B,) the largest standard error of a sample, in units of the tolerance plus a share of the size of its output."""
    worst = None
    for leaf in running.leaves:
        if not leaf.measured or not leaf.between.mean.numel():
            continue
        rows = leaf.between.mean.shape[0]
        error = (leaf.between.variance() * leaf.between.share()).detach().sqrt().reshape(rows, -1).amax(1)
        size = squared(leaf.between.mean.detach()).reshape(rows, -1).mean(1)
        if at.is_per_row(leaf.between.mean):
            batch: Any = at.batch
            none, ones = error.new_zeros(at.samples), torch.ones_like(size)
            error = none.scatter_reduce(0, batch, error, "amax")
            size = none.index_add(0, batch, size) / none.index_add(0, batch, ones).clamp_min(1)
        ratio = (error / (tolerance + relative * size.sqrt())).to(torch.float32)
        worst = ratio if worst is None else torch.maximum(worst, ratio)
    return torch.zeros(at.samples) if worst is None else worst
