"""Integrate a measure piece by piece, so that memory grows with the size of a piece and not with the number of cosets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from .actions.base import Action
from .actions.layout import Layout
from .actions.trees import visit
from .measure import Measure
from .transport import averageable, mean_and_spread, per_row
from .tree import Tree


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
    if len(parts) == 1 and (chunk is None or parts[0].shape[0] <= chunk):
        yield measure, measure.weights.sum(0), parts[0]
        return
    for rows in parts:
        for begin, end, own in _ranges(measure, rows, chunk):
            piece = measure.between(begin, end)
            if own.shape[0] != piece.cosets * measure.samples:
                listed = piece.weights.new_zeros(piece.cosets * measure.samples).index_fill(0, own, 1.0)
                piece = piece.weighted(listed.reshape(-1, measure.samples).repeat_interleave(piece.size, 0))
            yield *piece.normalized(), own


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


class Running:
    """The mean and the standard deviation over a measure that is seen in pieces.

    Args:
        target: how the group moves the outputs.
        at: the layout of the inputs.
        spread: also the standard deviation.
    """

    def __init__(self, target: Action, at: Layout, spread: bool):
        self.target, self.at, self.spread = target, at, spread
        self._like: Tree = None
        self._leaves: list[_Moments] = []

    def add(self, piece: Measure, share: Tensor, carried: Tree) -> None:
        """Take in a normalized piece that has ``share`` (B,) of the weight, and what the model returned for it."""
        fresh = not self._leaves
        if fresh:
            self._like = carried
        known = iter(self._leaves)
        found: list[_Moments] = []

        def take(action: Action, values: Any, name: str) -> Any:
            leaf = _Moments() if fresh else next(known)
            found.append(leaf)
            if not isinstance(values, Tensor) or not action.averaged:
                leaf.mean = values if fresh else leaf.mean
                return values
            if not fresh:
                averageable(values, name)
            mean, deviation = mean_and_spread(piece, values, self.at, name, self.spread)
            factor = per_row(share[None], self.at, mean)[0].to(mean.abs().dtype)
            leaf.add(factor.reshape(-1, *(1,) * (mean.dim() - 1)), mean, deviation)
            return values

        visit(self.target, carried, take, "output")
        self._leaves = found

    def result(self) -> tuple[Tree, Tree]:
        """The mean and the standard deviation, None in place of one that means nothing or was not asked for."""
        means, spreads = (iter([getattr(leaf, name) for leaf in self._leaves]) for name in ("mean", "deviation"))
        mean = visit(self.target, self._like, lambda action, y, name: next(means), "output")
        return mean, visit(self.target, self._like, lambda action, y, name: next(spreads), "output")


class _Moments:
    """Weighted mean and squared deviations, merged as in Chan, Golub, LeVeque 1983, which cancels no digits."""

    def __init__(self) -> None:
        self.mean: Any = None
        self.share: Tensor | None = None
        self.deviation: Tensor | None = None

    def add(self, share: Tensor, mean: Tensor, deviation: Tensor | None) -> None:
        """Take in a mean and a standard deviation of a share of the whole."""
        if self.share is None:
            self.share, self.mean, self.deviation = share, mean, deviation
            return
        total = self.share + share
        part = share / torch.where(total > 0, total, 1.0)
        apart = mean - self.mean
        self.mean = self.mean + part * apart
        if deviation is not None and self.deviation is not None:
            between = part * (1 - part) * apart.detach().abs().square()
            self.deviation = ((1 - part) * self.deviation.square() + part * deviation.square() + between).sqrt()
        self.share = total
