"""Choose the canonical candidate of a coloured cloud and find the candidates that reproduce it, with their matchings."""

from __future__ import annotations

import torch
from torch import Tensor

from ..actions.layout import ragged_take
from .anchors import Candidates, compress
from .features import Features, generic

BUDGET = 2**24
"""Numbers held at once while candidates are scored or matched."""
RATIOS = (1.0, 1.0, 1.0, 1.0, 8.0, 80.0)
"""How fast the waves vary: to slow ones a many-fold symmetric cloud and its mirror image look the same. Fast ones count less, so that
noise does in all of them."""
WAVES = len(RATIOS)
SLACK = 4.0


def match_candidates(
    candidates: Candidates, matrices: Tensor, features: Features, ranks: Tensor, tol: float, match: bool = True
) -> tuple[Tensor, Tensor, Tensor, bool]:
    """The coset of the best candidate.

    Returns:
        which (B, M): candidate numbers, the best first; keep (B, M): which of them are in the coset; order
        (B, M, n): canonical point j is input point ``order[b, m, j]``; and whether some matching of coincident points
        does not keep the pairs, so that no single one can be trusted and every candidate is a coset of its own.
    """
    waves = score(matrices, features, ranks)
    total = (waves * (1 + generic(1, WAVES, 6, waves).abs())).sum(-1)
    best = torch.where(candidates.valid, total, torch.inf).argmin(1, keepdim=True)
    apart = (waves - waves.gather(1, best.unsqueeze(-1).expand(-1, -1, WAVES))).abs().amax(-1)
    near = candidates.valid & (apart <= 8 * SLACK * features.cut[:, None] + 1e-11)
    near = near.scatter(1, best, False)
    others, keep = compress(near)
    which = torch.cat([best, others], 1)
    keep = torch.cat([torch.ones_like(best, dtype=torch.bool), keep], 1)
    n = features.valid.shape[1]
    loose = False
    order = torch.arange(n, device=ranks.device).expand(*which.shape, n).clone()
    pairs = keep.clone()
    pairs[:, 0] = False
    listed = pairs.nonzero()
    if listed.shape[0]:
        good, found, kept = _compare(listed, which, matrices, features, ranks, tol)
        doubt = torch.zeros_like(ranks, dtype=torch.bool).index_put((listed[:, 0],), good & ~kept, accumulate=True)
        loose = bool(doubt.any()) and bool((doubt & _coincident(features, listed[:, 0])).any())
        doubt = doubt & _coincident(features, listed[:, 0]) if loose else torch.zeros_like(doubt)
        good = torch.where(doubt[listed[:, 0]], good, good & kept)
        order[listed[:, 0], listed[:, 1]] = found
        keep[listed[:, 0], listed[:, 1]] = good
        dense, counted = compress(keep)
        which = which.gather(1, dense)
        order = order.gather(1, dense.unsqueeze(-1).expand(-1, -1, n))
        keep = counted
    else:
        which, keep, order = which[:, :1], keep[:, :1], order[:, :1]
    return which, keep, order, loose


def _coincident(features: Features, samples: Tensor) -> Tensor:
    """(B,) whether two points of one colour share a place, for the listed samples; False for others (n x n is dear)."""
    found = torch.zeros_like(features.cut, dtype=torch.bool)
    for part in samples.unique().split(max(1, BUDGET // features.valid.shape[1] ** 2)):
        points, valid, colour = features.leaves[0].x[part].flatten(2), features.valid[part], features.colour[part]
        close = torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist") <= SLACK * features.cut[part, None, None]
        same = (colour[:, :, None] == colour[:, None, :]) & valid[:, :, None] & valid[:, None, :]
        found[part] = (close & same).sum((1, 2)) > valid.sum(1)
    return found


def score(matrices: Tensor, features: Features, ranks: Tensor) -> Tensor:
    """(B, C, WAVES) generic functions of the coloured cloud in each frame that do not depend on the order of points."""
    width = sum(leaf.x[0].numel() for leaf in features.leaves) * matrices.shape[0]
    step = max(1, BUDGET // max(1, width * WAVES))
    return torch.cat([_score(part, features, ranks) for part in matrices.split(step, 1)], 1)


def _score(matrices: Tensor, features: Features, ranks: Tensor) -> Tensor:
    points, samples = features.canonical(matrices, ranks)
    colour = features.colour.to(points.dtype)
    ratios = points.new_tensor(RATIOS)
    frequency = 1.7 * generic(points.shape[-1], WAVES, 1, points) * ratios
    phase = colour[:, None, :, None] * generic(1, WAVES, 2, points) * 2.4 + generic(1, WAVES, 3, points)
    waves = torch.cos(points @ frequency + phase) * features.valid[:, None, :, None].to(points.dtype)
    total = waves.sum(2) / ratios / features.valid.sum(1)[:, None, None]
    if samples.shape[-1]:
        total = total + torch.cos(samples @ (1.3 * generic(samples.shape[-1], WAVES, 4, points)) + generic(1, WAVES, 5, points))
    if features.pairs is not None:
        total = total + _pair_waves(points, features)
    return total


def _pair_waves(points: Tensor, features: Features) -> Tensor:
    """(B, C, WAVES) waves over the pairs of points."""
    pairs = features.pairs
    one = points @ generic(points.shape[-1], WAVES, 7, points)
    two = points @ generic(points.shape[-1], WAVES, 8, points)
    phase = one[pairs.sample, :, pairs.first] + two[pairs.sample, :, pairs.second]  # type: ignore[union-attr]
    values = torch.cos(phase + generic(1, WAVES, 10, points)) * pairs.value.to(points.dtype)[:, None, None]  # type: ignore[union-attr]
    total = points.new_zeros(points.shape[0], points.shape[1], WAVES).index_add(0, pairs.sample, values)  # type: ignore[union-attr]
    weight = points.new_zeros(points.shape[0]).index_add(0, pairs.sample, pairs.value.to(points.dtype).abs())  # type: ignore[union-attr]
    return total / weight.clamp_min(1e-300)[:, None, None]


def _compare(
    listed: Tensor, which: Tensor, matrices: Tensor, features: Features, ranks: Tensor, tol: float
) -> tuple[Tensor, Tensor, Tensor]:
    """For the listed (sample, slot): whether the candidate reproduces the best one's points, the matching, whether it keeps the pairs."""
    n = features.valid.shape[1]
    step = max(1, BUDGET // (n * 64))
    good, found, kept = [], [], []
    repeated = _coincident(features, listed[:, 0])
    for part in listed.split(step):
        sample, slot = part[:, 0], part[:, 1]
        chosen = torch.stack([matrices[sample, which[sample, 0]], matrices[sample, which[sample, slot]]], 1)
        points, samples = _rows_of(features, sample).canonical(chosen, ranks[sample])
        ok, order = _matched(points, sample, features, repeated)
        if samples.shape[-1]:
            ok = ok & ((samples[:, 0] - samples[:, 1]).abs().amax(-1) <= SLACK * features.cut[sample].clamp_min(tol))
        kept.append(ok if features.pairs is None else ok & _same_pairs(order, sample, features))
        good.append(ok)
        found.append(torch.where(ok[:, None], order, torch.arange(n, device=order.device)))
    return torch.cat(good), torch.cat(found), torch.cat(kept)


def _rows_of(features: Features, sample: Tensor) -> Features:
    """The features of the picked samples, without pairs."""
    from dataclasses import replace

    leaves = tuple(replace(leaf, x=leaf.x[sample]) for leaf in features.leaves)
    return Features(features.colour[sample], features.valid[sample], leaves, None, features.unit[sample], features.cut[sample])


def _matched(points: Tensor, sample: Tensor, features: Features, repeated: Tensor) -> tuple[Tensor, Tensor]:
    """Match the rows of pairs (R, 2, n, F), by sorting; by all distances where that fails or points share a place."""
    colour, valid, cut = features.colour[sample], features.valid[sample], SLACK * features.cut[sample]
    ok, order = _match_sorted(points[:, 0], points[:, 1], colour, valid, cut)
    rest = (~ok | repeated[sample]).nonzero().flatten()
    for part in rest.split(max(1, BUDGET // colour.shape[1] ** 2)):
        ok[part], order[part] = _match(points[part, 0], points[part, 1], colour[part], valid[part], cut[part])
    return ok, order


def _match_sorted(reference: Tensor, points: Tensor, colour: Tensor, valid: Tensor, cut: Tensor) -> tuple[Tensor, Tensor]:
    """As :func:`_match`, for points in different places, in n log n: both are sorted by colour and a generic projection.

    Two points whose projections are closer than the noise may change places; then the pair is reported as not matching.
    """
    projection = generic(points.shape[-1], 1, 11, points)
    bound = 1 + 2 * torch.stack([reference, points]).abs().amax() * projection.abs().sum()
    shift = torch.where(valid, colour, colour.shape[1] + 1).to(points.dtype) * bound
    one, two = (((x @ projection).squeeze(-1) + shift).argsort(dim=1) for x in (reference, points))
    order = torch.empty_like(one).scatter(1, one, two)
    paired = points.gather(1, order.unsqueeze(-1).expand_as(points))
    near = (paired - reference).square().sum(-1).sqrt() <= cut[:, None]
    return ((near & (colour == colour.gather(1, order))) | ~valid).all(1), order


def _match(reference: Tensor, points: Tensor, colour: Tensor, valid: Tensor, cut: Tensor) -> tuple[Tensor, Tensor]:
    """Match rows (R, n, F) of equal colour within ``cut``.

    Repeated points form one site; the members of a site are matched in order, so the result is always a bijection.

    Returns:
        ok (R,), and order (R, n): reference row j corresponds to row ``order[r, j]`` of ``points``.
    """
    other = colour[:, :, None] != colour[:, None, :]
    far = torch.full((), torch.inf, dtype=points.dtype, device=points.device)
    within = torch.cdist(reference, reference, compute_mode="donot_use_mm_for_euclid_dist").masked_fill(other, far)
    site = (within <= cut[:, None, None]).to(torch.uint8).argmax(-1)
    distance = torch.cdist(points, reference, compute_mode="donot_use_mm_for_euclid_dist").masked_fill(other, far)
    nearest = distance.min(-1)
    label = site.gather(1, nearest.indices)
    near = ((nearest.values <= cut[:, None]) | ~valid).all(1)
    label = torch.where(valid, label, torch.arange(label.shape[1], device=label.device))
    site = torch.where(valid, site, torch.arange(label.shape[1], device=label.device))
    one, two = site.sort(dim=1, stable=True), label.sort(dim=1, stable=True)
    order = torch.empty_like(one.indices).scatter(1, one.indices, two.indices)
    return near & (one.values == two.values).all(1), order


def _same_pairs(order: Tensor, sample: Tensor, features: Features) -> Tensor:
    """(R,) whether the matching maps the pairs of points (with their values) to themselves, by a generic checksum."""
    pairs = features.pairs
    n = order.shape[1]
    weights = generic(n, n, 9, pairs.value)  # type: ignore[union-attr]
    back = torch.argsort(order, dim=1)
    rows, owner = ragged_take(pairs.sample, features.valid.shape[0], sample)  # type: ignore[union-attr]
    i, j, value = pairs.first[rows], pairs.second[rows], pairs.value[rows]  # type: ignore[union-attr]
    before, after = weights[i, j] * value, weights[back[owner, i], back[owner, j]] * value
    zero = value.new_zeros(sample.shape[0])
    change = zero.index_add(0, owner, before - after).abs()
    return change <= 1e-8 * (1 + zero.index_add(0, owner, before.abs()))
