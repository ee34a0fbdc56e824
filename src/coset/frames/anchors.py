"""Candidate frames of a cloud: ordered (d-1)-tuples of anchor points from the smallest class of such tuples."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from .clouds import Cloud
from .features import Features
from .ordered import THRESHOLD
from .sort import lexicographic

MANY = 16
"""A class of more anchors than this is narrowed by how its members see the cloud."""
FREQUENCIES = (9.1, 13.7, 5.3)
"""Radians per squared radius: high enough that neighbours on a sphere see different things."""
MARGIN = 3.0
"""Keys closer than this many times the noise are equal."""
BUDGET = 2**22
"""Numbers held at once."""


@dataclass(frozen=True)
class Candidates:
    """Anchor numbers of candidate frames.

    Attributes:
        first, second: (B, C) row numbers of the cloud; second is -1 where it is not needed.
        sign: (B, C) determinant of the frame, +1 or -1.
        valid: (B, C) False on padding.
    """

    first: Tensor
    second: Tensor
    sign: Tensor
    valid: Tensor

    def take(self, which: Tensor) -> Candidates:
        """The picked candidates, (B, M)."""
        return Candidates(*(getattr(self, name).gather(1, which) for name in ("first", "second", "sign", "valid")))


def clusters(
    values: Float[Tensor, "B m"], group: Int[Tensor, "B m"], valid: Bool[Tensor, "B m"], gap: Float[Tensor, " B"]
) -> tuple[Int[Tensor, "B m"], Int[Tensor, "B m"]]:
    """Cluster entries by group number, then by value: a new cluster starts at every step larger than ``gap``.

    Args:
        values: (B, m) numbers.
        group: (B, m) integers.
        valid: (B, m) booleans.
        gap: (B,) the step that separates clusters.

    Returns:
        (B, m) cluster numbers in the order (group, value), and (B, m) the size of each entry's cluster; invalid
        entries form clusters of their own at the end.
    """
    key = torch.where(valid, group, torch.full_like(group, torch.iinfo(group.dtype).max))
    by_value = values.argsort(dim=1, stable=True)
    order = by_value.gather(1, key.gather(1, by_value).argsort(dim=1, stable=True))
    v, k = values.gather(1, order), key.gather(1, order)
    new = (k[:, 1:] != k[:, :-1]) | (v[:, 1:] - v[:, :-1] > gap[:, None])
    number = torch.nn.functional.pad(new.long().cumsum(1), (1, 0))
    counts = torch.zeros_like(number).scatter_add(1, number, torch.ones_like(number))
    sizes = counts.gather(1, number)
    back = torch.empty_like(order).scatter(1, order, torch.arange(order.shape[1], device=order.device).expand_as(order))
    return number.gather(1, back), sizes.gather(1, back)


def smallest(number: Tensor, size: Tensor, allowed: Tensor) -> Tensor:
    """(B, m) True on the entries of the smallest cluster with an allowed entry; the last one among equals."""
    big = torch.iinfo(size.dtype).max
    best = torch.where(allowed, size, big).amin(1, keepdim=True)
    chosen = torch.where(allowed & (size == best), number, -1).amax(1, keepdim=True)
    return (number == chosen) & allowed


def surroundings(rows: Tensor, colour: Tensor, mask: Tensor, unit: Tensor) -> Float[Tensor, "B keys n"]:
    """(B, keys, n) how every row sees the others: generic functions that neither their order nor a rotation changes."""
    x = (rows / unit[:, None, None]).masked_fill(~mask.unsqueeze(-1), 0)
    phase = 3.0 * torch.cos(2.4 * colour.to(x.dtype)).unsqueeze(1)
    found = []
    for frequency in FREQUENCIES:
        parts = [
            (torch.cos(frequency * (part @ x.mT) + phase) * mask.unsqueeze(1)).sum(2)
            for part in x.split(max(1, BUDGET // (x.shape[0] * x.shape[1])), 1)
        ]
        found.append(torch.cat(parts, 1) / mask.sum(1, keepdim=True).clamp_min(1))
    return torch.stack(found, 1)


def narrowed(chosen: Bool[Tensor, "B m"], keys: list[Tensor], gap: Tensor, few: Tensor) -> Bool[Tensor, "B m"]:
    """The entries whose key lies in the uppermost cluster, key after key as long as there are many.

    Entries that a symmetry exchanges have equal keys; at the end of a distribution entries lie far apart.

    Args:
        chosen: (B, m) entries of one class.
        keys: invariants (B, m) of them.
        gap: (B,) the step that separates clusters of keys.
        few: (B,) how many entries need no narrowing.
    """
    for key in keys:
        ordered, order = key.masked_fill(~chosen, -torch.inf).sort(dim=1, descending=True)
        far = (ordered[:, :-1] - ordered[:, 1:] > gap[:, None]) & ordered[:, :-1].isfinite()
        upper = torch.nn.functional.pad(far.long().cumsum(1), (1, 0)) == 0
        kept = chosen & torch.zeros_like(chosen).scatter(1, order, upper)
        chosen = torch.where(chosen.sum(1, keepdim=True) > few[:, None], kept, chosen)
    return chosen


class Seen:
    """How the rows of clouds see the others, computed for the samples that need it: most do not, and it costs n x n."""

    def __init__(self, rows: Tensor, colour: Tensor, mask: Tensor, cloud: Cloud):
        self.rows, self.colour, self.mask, self.cloud = rows, colour, mask, cloud
        self._known: tuple[Tensor, Tensor] | None = None

    def of(self, samples: Tensor) -> Float[Tensor, "s keys n"]:
        """What :func:`surroundings` says of some samples; remembered while the same ones are asked for."""
        if self._known is None or not torch.equal(self._known[0], samples):
            parts = (self.rows, self.colour, self.mask, self.cloud.unit)
            self._known = samples, surroundings(*(part.index_select(0, samples) for part in parts))
        return self._known[1]

    def narrow(self, chosen: Tensor, samples: Tensor, inner: Tensor | None = None, times: Tensor | None = None) -> Tensor:
        """Narrow the classes of some samples.

        Args:
            chosen: (B, n) rows, or (B, p * n) pairs of p anchors and n rows.
            samples: the samples whose classes are large.
            inner: (B, p, n) inner products, another invariant of pairs.
            times: (B,) how many times ``MANY`` entries are few; once when left out.
        """
        if samples.numel() == 0:
            return chosen
        keys = list(self.of(samples).unbind(1))
        if inner is not None:
            own = inner.index_select(0, samples)
            keys = [*(key.unsqueeze(1).expand_as(own).flatten(1) for key in keys), own.flatten(1)]
        gap = (MARGIN * self.cloud.cut / self.cloud.unit).index_select(0, samples)
        few = torch.full_like(samples, MANY) if times is None else MANY * times.index_select(0, samples)
        return chosen.index_copy(0, samples, narrowed(chosen.index_select(0, samples), keys, gap, few))


def compress(flags: Bool[Tensor, "B m"]) -> tuple[Int[Tensor, "B c"], Bool[Tensor, "B c"]]:
    """(B, c) the numbers of the True entries of (B, m) flags, padded, and which of them count (one synchronization)."""
    count = int(flags.sum(1).max()) if flags.numel() else 0
    order = torch.argsort((~flags).to(torch.uint8), dim=1, stable=True)[:, : max(count, 1)]
    return order, flags.gather(1, order)


def find_candidates(cloud: Cloud, rows: Tensor, mask: Tensor, features: Features, reflects: bool) -> tuple[Candidates, Tensor]:
    """Candidate frames of every sample, and (B,) the ranks min(r, d - 1) of the rows that the mask admits.

    Rows after the points (other vectors) get colours of their own, so that they are never confused with points. The
    rank is decided by the anchors themselves, so it does not depend on the order of points.
    """
    colour = _row_colours(cloud, features)
    length = rows.square().sum(-1).sqrt().masked_fill(~mask, 0)
    top = length.amax(1)
    single = mask & ~_repeated(rows, colour, mask, cloud.cut)
    usable = single & (length > THRESHOLD * top[:, None]) & (length > cloud.cut[:, None])
    number, size = clusters(length, colour, single, cloud.cut)
    chosen = smallest(number, size, usable)
    seen = Seen(rows, colour, mask, cloud)
    chosen = seen.narrow(chosen, (chosen.sum(1) > MANY).nonzero().flatten())
    first, counted = compress(chosen)
    ranks = (top > cloud.cut).long()
    if rows.shape[-1] == 2:
        return _with_signs(first, torch.full_like(first, -1), counted, ranks >= 1, reflects), ranks
    return _pairs_of_anchors(cloud, rows, single, first, counted, number, ranks, reflects, seen)


def _row_colours(cloud: Cloud, features: Features) -> Tensor:
    """Colours of all rows: points have their own, vectors of points one for each point colour, others are all different."""
    n = features.colour.shape[1]
    found = [features.colour]
    for count, part in enumerate(cloud.parts[1:], 1):
        width = part.x.shape[1]
        block = features.colour if part.per_point else torch.zeros_like(features.colour[:, :1]).expand(-1, width)
        apart = 0 if part.per_point else torch.arange(width, device=block.device)
        found.append(block + apart + (sum(one.shape[1] for one in found) + n + 2) * (count + 1))
    return torch.cat(found, 1)


def _repeated(rows: Tensor, colour: Tensor, mask: Tensor, cut: Tensor) -> Tensor:
    """(B, m) True on rows that repeat another one of the same colour: one anchor per place is enough."""
    noise = 1e-9 * cut
    ids = [clusters(rows[..., axis], torch.zeros_like(colour), mask, noise)[0] for axis in range(rows.shape[-1])]
    keys = torch.stack([torch.where(mask, colour, -1), *ids], -1)
    order = lexicographic(keys.to(rows.dtype))
    ranked = keys.gather(1, order.unsqueeze(-1).expand_as(keys))
    new = torch.nn.functional.pad((ranked[:, 1:] != ranked[:, :-1]).any(-1), (1, 0), value=True)
    start = torch.where(new, torch.arange(new.shape[1], device=rows.device), 0).cummax(1).values
    leader = torch.empty_like(order).scatter(1, order, order.gather(1, start))
    apart = (rows - rows.gather(1, leader.unsqueeze(-1).expand_as(rows))).abs().amax(-1)
    return mask & (leader != torch.arange(rows.shape[1], device=rows.device)) & (apart <= noise[:, None])


def _pairs_of_anchors(
    cloud: Cloud,
    rows: Tensor,
    mask: Tensor,
    first: Tensor,
    counted: Tensor,
    number: Tensor,
    ranks: Tensor,
    reflects: bool,
    seen: Seen,
) -> tuple[Candidates, Tensor]:
    """Second anchors: the smallest class of pairs by class of the second point and inner product."""
    n, d = rows.shape[1], rows.shape[2]
    a = rows.gather(1, first.unsqueeze(-1).expand(-1, -1, d))
    norm = a.square().sum(-1, keepdim=True).sqrt().clamp_min(torch.finfo(rows.dtype).tiny)
    unit = a / norm
    inner = torch.einsum("bpd,bnd->bpn", unit, rows)
    residual = torch.stack([(rows[:, None, :, axis] - inner * unit[..., axis : axis + 1]).square() for axis in range(d)]).sum(0).sqrt()
    possible = counted.unsqueeze(-1) & mask.unsqueeze(1)
    residual = residual.masked_fill(~possible, 0)
    top = residual.flatten(1).amax(1)
    ranks = ranks + ((top > cloud.cut) & (ranks > 0)).long()
    allowed = (residual > THRESHOLD * top[:, None, None]) & (residual > cloud.cut[:, None, None])
    pair, size = clusters(inner.flatten(1), number.unsqueeze(1).expand_as(inner).flatten(1), possible.flatten(1), cloud.cut)
    chosen = smallest(pair, size, allowed.flatten(1))
    crowded = (chosen.sum(1) > MANY * counted.sum(1)).nonzero().flatten()
    chosen = seen.narrow(chosen, crowded, inner / cloud.unit[:, None, None], counted.sum(1))
    index, good = compress(chosen)
    pairs = _with_signs(first.gather(1, index // n), index % n, good, ranks >= 2, reflects)
    single = _with_signs(first, torch.full_like(first, -1), counted, ranks < 2, False)
    return _either(pairs, single, ranks >= 2), ranks


def _with_signs(first: Tensor, second: Tensor, valid: Tensor, full: Tensor, reflects: bool) -> Candidates:
    """Both determinants under O(d), where the frame is not completed by an infinite stabilizer."""
    ones = torch.ones_like(first)
    if not reflects:
        return Candidates(first, second, ones, valid)
    both = Candidates(
        torch.cat([first, first], 1),
        torch.cat([second, second], 1),
        torch.cat([ones, -ones], 1),
        torch.cat([valid, valid & full[:, None]], 1),
    )
    return both


def _either(one: Candidates, other: Candidates, choice: Tensor) -> Candidates:
    """Per sample, the candidates of ``one`` where ``choice`` holds, else of ``other``, padded to one width."""
    width = max(one.first.shape[1], other.first.shape[1])

    def pad(x: Tensor) -> Tensor:
        return torch.nn.functional.pad(x, (0, width - x.shape[1]))

    parts = [
        torch.where(choice[:, None], pad(getattr(one, name)), pad(getattr(other, name))) for name in ("first", "second", "sign", "valid")
    ]
    parts[2] = torch.where(parts[3], parts[2], torch.ones_like(parts[2]))
    found = Candidates(*parts)
    nothing = ~found.valid.any(1)
    found.valid[:, 0] |= nothing
    return found


def matrices_of(candidates: Candidates, rows: Float[Tensor, "B n d"]) -> Float[Tensor, "B C d d"]:
    """(B, C, d, d) orthogonal matrices with the anchors' Gram-Schmidt vectors as columns; differentiable."""
    d = rows.shape[-1]
    a = _anchor(rows, candidates.first, candidates.valid)
    q = _unit(a, _axis(0, a))
    if d == 2:
        turned = torch.stack([-q[..., 1], q[..., 0]], -1)
        return torch.stack([q, turned * candidates.sign.unsqueeze(-1).to(q.dtype)], -1)
    spare = _spare(q)
    b = _anchor(rows, candidates.second.clamp_min(0), candidates.valid & (candidates.second >= 0))
    for _ in range(2):
        b = b - q * (q * b).sum(-1, keepdim=True)
    p = _unit(b, spare)
    cross = torch.linalg.cross(q, p) * candidates.sign.unsqueeze(-1).to(q.dtype)
    return torch.stack([q, p, cross], -1)


def _anchor(rows: Tensor, index: Tensor, valid: Tensor) -> Tensor:
    """Anchor vectors (B, C, d), zero where there is none."""
    picked = rows.gather(1, index.unsqueeze(-1).expand(-1, -1, rows.shape[-1]))
    return torch.where(valid.unsqueeze(-1), picked, torch.zeros_like(picked))


def _axis(number: int, like: Tensor) -> Tensor:
    out = torch.zeros_like(like)
    out[..., number] = 1
    return out


def _spare(q: Tensor) -> Tensor:
    """A unit vector orthogonal to q, made from the coordinate axis that q points along least."""
    fixed = q.detach()
    index = (fixed.abs() <= fixed.abs().amin(-1, keepdim=True)).to(torch.uint8).argmax(-1)
    axis = torch.nn.functional.one_hot(index, q.shape[-1]).to(q.dtype)
    for _ in range(2):
        axis = axis - q * (q * axis).sum(-1, keepdim=True)
    return axis / axis.square().sum(-1, keepdim=True).sqrt()


def _unit(x: Tensor, fallback: Tensor) -> Tensor:
    """X / |x|, or the fallback where x is zero, with finite gradients."""
    squared = x.square().sum(-1, keepdim=True)
    zero = squared <= torch.finfo(x.dtype).tiny
    safe = torch.where(zero, torch.ones_like(squared), squared)
    return torch.where(zero, fallback, x / safe.sqrt())
