"""Everything a model sees of an unordered cloud: colours of the points, and data that candidate frames carry along."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..actions.base import Action
from ..actions.indices import Edges, Permute
from ..actions.layout import Layout
from ..actions.still import Trivial
from ..actions.trees import flatten
from ..errors import FrameError, InputError, explain
from ..tree import Tree
from .base import Frame
from .clouds import Cloud, pad_rows, slots


@dataclass(frozen=True)
class Leaf:
    """One moved input: ``x`` (B, n, ...) per point or (B, ...) per sample, in units of its own size."""

    action: Action
    x: Tensor
    per_point: bool
    vector: bool


@dataclass(frozen=True)
class Pairs:
    """Directed pairs of points with a value: sample number, both point numbers, value; each of shape (E,)."""

    sample: Tensor
    first: Tensor
    second: Tensor
    value: Tensor


@dataclass(frozen=True)
class Features:
    """What identifies a cloud besides its positions.

    Attributes:
        colour: (B, n) class numbers, equal exactly for points that the model cannot tell apart by invariants.
        valid: (B, n) False on padding.
        leaves: moved inputs, positions first.
        pairs: edges or pairwise values, or None.
        unit: (B,) length that positions are measured in.
        cut: (B,) noise in that unit.
    """

    colour: Tensor
    valid: Tensor
    leaves: tuple[Leaf, ...]
    pairs: Pairs | None
    unit: Tensor
    cut: Tensor

    def canonical(self, matrices: Tensor, ranks: Tensor) -> tuple[Tensor, Tensor]:
        """Everything moved, in the frames (B, C, d, d): per point (B, C, n, F) and per sample (B, C, S).

        Coordinates that an infinite stabilizer averages away are set to zero.
        """
        d = matrices.shape[-1]
        kept = (torch.arange(d, device=ranks.device)[None] < ranks[:, None]) | (ranks[:, None] >= d - 1)
        points: list[Tensor] = []
        samples: list[Tensor] = []
        for leaf in self.leaves:
            x = leaf.x
            if leaf.vector:
                rows = x.reshape(x.shape[0], -1, d)
                moved = torch.einsum("bnd,bcde->bcne", rows, matrices) * kept[:, None, None].to(rows.dtype)
                moved = moved.reshape(*moved.shape[:2], *x.shape[1:])
            else:
                moved = leaf.action.act(_inverse(leaf.action, matrices), x.unsqueeze(1).expand(x.shape[0], matrices.shape[1], *x.shape[1:]))
            (points if leaf.per_point else samples).append(moved.flatten(3) if leaf.per_point else moved.flatten(2))
        shape = matrices.shape[:2]
        return torch.cat(points, -1), torch.cat(samples, -1) if samples else matrices.new_zeros(*shape, 0)


def _inverse(action: Action, matrices: Tensor) -> Any:
    """Group elements of an action's group without shift, inverted."""
    group = action.group
    turn = group.parts()[-1]
    return turn(turn.source.inverse(matrices))


def gather_features(frame: Frame, inputs: Tree, at: Layout, cloud: Cloud, colours: tuple[Any, ...]) -> Features:
    """Collect colours, moved data and pairs from the inputs of a bound frame."""
    found = [(key, action, action.core(), x) for key, (action, x) in flatten(frame.source, inputs).items() if isinstance(x, Tensor)]  # type: ignore[arg-type]
    leaves = [_leaf(action, x.detach(), at, cloud) for _, action, core, x in found if action.moves and not isinstance(core, Edges)]
    leaves.sort(key=lambda leaf: not leaf.per_point)
    if not leaves or not leaves[0].per_point:
        raise FrameError(
            explain(f"{frame} of inputs {frame.source}", "positions with a point axis, (B, n, d) or ragged", "declare them as Points")
        )
    lists = [x for _, _, core, x in found if isinstance(core, Edges)]
    tints: list[Tensor] = []
    weights: list[Tensor] = []
    pairs: list[Pairs] = []
    for key, _, core, x in found:
        if isinstance(core, Permute) and key not in colours:
            _sort_permuted(frame, core, x.detach(), tints, pairs)
        elif isinstance(core, Trivial) or key in colours:
            if lists and _on_edges(core, x, lists[0], at):
                weights.append(x.detach().reshape(x.shape[0], -1).to(torch.float64))
            elif core.per_point is not False or key in colours:
                _sort_still(key, x.detach(), at, key in colours, tints, pairs)
    pairs += [_edge_pairs(edges, weights if number == 0 else [], at, leaves[0].x) for number, edges in enumerate(lists)]
    valid = _valid(leaves[0].x, at)
    whole = Pairs(*(torch.cat([getattr(part, name) for part in pairs]) for name in PAIR)) if pairs else None
    colour = refine_colours(colour_classes(tints, valid), whole, valid)
    return Features(colour, valid, tuple(leaves), whole, cloud.unit, cloud.cut / cloud.unit)


PAIR = ("sample", "first", "second", "value")


def _on_edges(core: Action, x: Tensor, edges: Tensor, at: Layout) -> bool:
    """Whether entries belong to the edges of a list: declared so, or as many as edges and not as points or samples."""
    if x.dim() == 0 or x.shape[0] != edges.shape[1]:
        return False
    return core.edges is not None or (core.per_point is None and x.shape[0] not in (at.rows, at.samples))


def _leaf(action: Action, x: Tensor, at: Layout, cloud: Cloud) -> Leaf:
    """A moved input in wide precision; positions centred and in units of the radius, others of their own size."""
    values = x.to(cloud.cut.dtype)
    per_point = action.per_point is not False and at.is_per_point(x, action.event)
    if at.batch is not None and at.is_per_row(x):
        values, padded = pad_rows(values, at)
        mask: Tensor | None = padded
    else:
        mask = at.mask if per_point else None
    if action.affine and cloud.center is not None:
        shape = (values.shape[0], *(1,) * (values.dim() - 2), values.shape[-1])
        values = values - cloud.center.detach().reshape(shape)
    if mask is not None and per_point:
        values = values * mask.reshape(*mask.shape, *(1,) * (values.dim() - 2)).to(values.dtype)
    items = values.flatten(2) if per_point else values.flatten(1).unsqueeze(1)
    size = items.square().sum(-1).amax(1).sqrt()
    scale = cloud.unit if action.affine else torch.where(size > 0, size, torch.ones_like(size))
    return Leaf(action, values / scale.reshape(-1, *(1,) * (values.dim() - 1)), per_point, action.polar)


def _sort_still(key: Any, x: Tensor, at: Layout, declared: bool, tints: list[Tensor], pairs: list[Pairs]) -> None:
    """An invariant input: a colour, a pairwise value, or nothing that tells points apart."""
    if at.batch is not None:
        if at.is_per_row(x):
            tints.append(pad_rows(x.reshape(x.shape[0], -1).to(torch.float64), at)[0])
        return
    if x.dim() < 2 or x.shape[1] != at.points:
        if declared:
            raise FrameError(
                explain(
                    f"colours {key!r} of shape {tuple(x.shape)} for {at.points} points",
                    "per-point features (B, n) or (B, n, c)",
                    "give one row per point",
                )
            )
        return
    if not declared and x.dim() >= 3 and x.shape[2] == at.points:
        pairs.append(_dense_pairs(x.reshape(*x.shape[:3], -1).to(torch.float64)))
        return
    tints.append(x.reshape(*x.shape[:2], -1).to(torch.float64))


def _sort_permuted(frame: Frame, core: Permute, x: Tensor, tints: list[Tensor], pairs: list[Pairs]) -> None:
    """Node features and adjacency matrices that another factor of the group permutes."""
    axes = len(core.axes)
    if axes > 2:
        raise FrameError(explain(f"{frame} beside {core}", "features of points and of pairs", "use frames.Haar(samples)"))
    values = x.movedim(core.axes, tuple(range(1, axes + 1))).to(torch.float64)
    values = values.reshape(*values.shape[: axes + 1], -1)
    if axes == 1:
        tints.append(values)
    else:
        pairs.append(_dense_pairs(values))


def _valid(rows: Tensor, at: Layout) -> Tensor:
    if at.batch is not None:
        return pad_rows(torch.ones(at.batch.shape[0], 1, device=rows.device), at)[1]
    return at.mask if at.mask is not None else torch.ones(rows.shape[:2], dtype=torch.bool, device=rows.device)


@functools.lru_cache(maxsize=256)
def _generic(rows: int, columns: int, seed: int) -> Tensor:
    """A fixed matrix of generic normal numbers."""
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def generic(rows: int, columns: int, seed: int, like: Tensor) -> Tensor:
    """Generic constants on the device and in the precision of ``like``."""
    return _generic(rows, columns, seed).to(like)


def colour_classes(tints: list[Tensor], valid: Tensor) -> Tensor:
    """(B, n) class numbers of feature rows, column after column: two values are equal up to a millionth of themselves.

    Padding forms the last class.

    Raises:
        InputError: when a feature is NaN.
    """
    classes = torch.where(valid, 0, 1)
    if not tints:
        return classes
    rows = torch.cat(tints, -1).masked_fill(~valid.unsqueeze(-1), 0)
    if bool(rows.isnan().any()):
        samples = rows.isnan().flatten(1).any(1).nonzero().flatten()[:5].tolist()
        raise InputError(explain(f"colours with NaN in samples {samples}", "numbers that tell points apart", "repair these features"))
    floor = 1e-12 * rows.abs().amax(1)
    for column in range(rows.shape[-1]):
        value, order = rows[..., column].sort(1)
        step = (value[:, 1:] - value[:, :-1]) > 1e-6 * value[:, 1:].abs().minimum(value[:, :-1].abs()) + floor[:, column : column + 1]
        ranked = torch.nn.functional.pad(step.long().cumsum(1), (1, 0))
        classes = _renumber(classes * rows.shape[1] + torch.zeros_like(ranked).scatter(1, order, ranked))
    return classes


def _renumber(classes: Tensor) -> Tensor:
    """Class numbers in the same order, without gaps."""
    value, order = classes.sort(1)
    ranked = torch.nn.functional.pad((value[:, 1:] != value[:, :-1]).long().cumsum(1), (1, 0))
    return torch.zeros_like(ranked).scatter(1, order, ranked)


def refine_colours(colour: Tensor, pairs: Pairs | None, valid: Tensor, rounds: int = 3) -> Tensor:
    """Tell points apart by the colours of their neighbours in the pairs, a few times over."""
    if pairs is None:
        return colour
    samples, n = colour.shape
    start = pairs.sample * n + pairs.first
    end = pairs.sample * n + pairs.second
    for _ in range(rounds):
        waves = torch.cos(colour.to(torch.float64).unsqueeze(-1) * generic(1, 4, 14, pairs.value) + generic(1, 4, 15, pairs.value)).flatten(
            0, 1
        )
        zero = waves.new_zeros(waves.shape)
        out = zero.index_add(0, start, waves[end] * pairs.value.unsqueeze(-1))
        back = zero.index_add(0, end, waves[start] * pairs.value.unsqueeze(-1))
        tints = [colour.to(torch.float64).unsqueeze(-1), out.reshape(samples, n, -1), back.reshape(samples, n, -1)]
        colour = colour_classes(tints, valid)
    return colour


def _edge_pairs(edges: Tensor, values: list[Tensor], at: Layout, rows: Tensor) -> Pairs:
    """An edge list with its attributes, as pairs of points within samples."""
    weight = torch.ones(edges.shape[1], dtype=torch.float64, device=edges.device)
    if values:
        table = torch.cat(values, 1)
        weight = weight + (table @ generic(table.shape[1], 1, 12, table)).squeeze(-1)
    if at.batch is not None:
        slot, _ = slots(at)
        return Pairs(at.batch[edges[0]], slot[edges[0]], slot[edges[1]], weight)
    size = rows.shape[0]
    sample = torch.arange(size, device=edges.device).repeat_interleave(edges.shape[1])
    return Pairs(sample, edges[0].repeat(size), edges[1].repeat(size), weight.repeat(size))


def _dense_pairs(values: Tensor) -> Pairs:
    samples, n = values.shape[:2]
    index = torch.arange(n, device=values.device)
    weight = (values @ generic(values.shape[-1], 1, 13, values)).squeeze(-1)
    first = index[None, :, None].expand(samples, n, n)
    second = index[None, None, :].expand(samples, n, n)
    sample = torch.arange(samples, device=values.device)[:, None, None].expand(samples, n, n)
    return Pairs(sample.flatten(), first.flatten(), second.flatten(), weight.flatten())
