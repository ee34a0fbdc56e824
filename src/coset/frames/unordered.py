"""The minimal frame of unordered, coloured clouds under O(d), SO(d), E(d), SE(d) for d = 2, 3, batched.

Points fall into classes by colour and distance from the origin. Candidate frames come from ordered (d-1)-tuples of
anchors in the smallest class of tuples; each candidate is scored by a fixed generic function of everything the model
sees that does not depend on the order of points; the best one is canonical, and the candidates that reproduce the
same coloured cloud form its coset, matched to it by permutations. No graph canonicalization, no list of groups.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..actions.layout import Layout
from ..errors import FrameError, explain
from ..groups.base import Group
from ..measure import Measure
from ..tree import Tree
from .anchors import Candidates, find_candidates, matrices_of
from .base import Frame, traced
from .clouds import Cloud, element, gather_cloud, slots
from .features import Features, gather_features
from .matching import match_candidates
from .ordered import StabilizerRules


@dataclass(frozen=True)
class Coset:
    """The matched candidates of every sample.

    Attributes:
        which: (B, M) candidate numbers; keep: (B, M) which of them count; order: (B, M, n) canonical point j of
            the best candidate is input point ``order[b, m, j]`` of candidate m; loose: no matching is used, every
            candidate is a coset of its own.
    """

    which: Tensor
    keep: Tensor
    order: Tensor
    loose: bool


class UnorderedMinimal(Frame):
    """Bound by ``Minimal`` when colours are given."""

    static = False

    def __init__(self, of: Any, colours: Any, tol: float, *, match: bool = True):
        super().__init__()
        self.of, self.colours, self.tol, self.match = of, colours, tol, match
        self.matches_points = match

    def prepare(self, group: Group) -> None:
        """Check dimension and keys, tabulate the infinite stabilizers."""
        if group.dim not in (2, 3):
            raise FrameError(
                explain(f"unordered points under {group}", "dimension 2 or 3", "leave colours out to use the frame for ordered points")
            )
        keys = self.source.items()  # type: ignore[union-attr]
        wanted = self.colours if isinstance(self.colours, (tuple, list)) else (self.colours,)
        for key in wanted:
            if key not in keys:
                raise FrameError(
                    explain(
                        f"colours={self.colours!r} for inputs {list(keys)}",
                        "a key of the source, or frames.UNCOLOURED",
                        "name one of its entries",
                    )
                )
        self._colours = tuple(wanted)
        self.rules = StabilizerRules(group.dim, group.reflects, self.degree)

    def measure(self, inputs: Tree, at: Layout) -> Measure:
        """One coset, with the permutations that match points."""
        if traced(inputs) and not torch.compiler.is_compiling():
            raise FrameError(
                explain(
                    "a frame of unordered points under torch.func transforms",
                    "plain tensors",
                    "batch the clouds along the first axis instead of vmap",
                )
            )
        cloud = gather_cloud(self, inputs, at, self.tol)
        features = gather_features(self, inputs, at, cloud, self._colours)
        rows = cloud.rows
        with torch.no_grad():
            candidates, ranks = _find(cloud, rows, features, self.group.reflects)
            matched = match_candidates(candidates, matrices_of(candidates, rows), features, ranks, self.tol, self.match)
        coset = Coset(*matched[:3], loose=matched[3] or not self.match)
        basis = matrices_of(candidates.take(coset.which), rows)
        return self._assemble(basis, coset, ranks, cloud, inputs, at)

    def _assemble(self, basis: Tensor, coset: Coset, ranks: Tensor, cloud: Cloud, inputs: Tree, at: Layout) -> Measure:
        """Elements: matched candidates times the rule of an infinite stabilizer."""
        d = basis.shape[-1]
        weights = coset.keep.to(basis.dtype)
        weights = weights / weights.sum(1, keepdim=True)
        order = coset.keep.sum(1)
        matrices, permutations = basis.transpose(0, 1), coset.order.transpose(0, 1)
        infinite = ranks < d - 1
        weights = weights.T
        if bool(infinite.any()):
            matrices, weights, permutations = self._with_rules(matrices, weights, permutations, ranks, infinite, coset)
            order = torch.where(infinite, -torch.ones_like(order), order)
        elements = element(self, matrices, cloud.center)
        found = Measure(self.group, elements, weights, order, cosets=basis.shape[1] if coset.loose else 1, tol=self.tol)
        if coset.loose:
            return found
        return replace(found, permutations=_flat_permutations(permutations, at))

    def _with_rules(
        self, matrices: Tensor, weights: Tensor, permutations: Tensor, ranks: Tensor, infinite: Tensor, coset: Coset
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Multiply the candidates of samples with an infinite stabilizer by its rule; pad the others to the same length."""
        d = matrices.shape[-1]
        count = matrices.shape[0] if coset.loose else int(coset.keep[infinite].sum(1).max())
        level = torch.where(infinite, ranks, torch.full_like(ranks, d))
        table, rule = self.rules.table.to(matrices)[level].transpose(0, 1), self.rules.weights.to(matrices)[level].T
        size = table.shape[0]
        many = (matrices[:count].unsqueeze(1) @ table.unsqueeze(0)).flatten(0, 1)
        shares = (weights[:count].unsqueeze(1) * rule.unsqueeze(0)).flatten(0, 1)
        again = permutations[:count].repeat_interleave(size, 0)
        if coset.loose:
            return many, shares, again
        width = max(many.shape[0], matrices.shape[0])

        def pad(x: Tensor, zero: bool = False) -> Tensor:
            more = x[:1].expand(width - x.shape[0], *x.shape[1:])
            return torch.cat([x, torch.zeros_like(more) if zero else more])

        def pick(one: Tensor, other: Tensor, zero: bool = False) -> Tensor:
            return torch.where(infinite.reshape(1, -1, *(1,) * (one.dim() - 2)), pad(one, zero), pad(other, zero))

        return pick(many, matrices), pick(shares, weights, True), pick(again, permutations)


def _find(cloud: Cloud, rows: Tensor, features: Features, reflects: bool) -> tuple[Candidates, Tensor]:
    """Candidates from the named rows; from all vectors where the named ones leave an infinite stabilizer."""
    count = rows.shape[1]
    mask = cloud.mask if cloud.mask is not None else torch.ones(rows.shape[:2], dtype=torch.bool, device=rows.device)
    named = mask & (torch.arange(count, device=rows.device) < cloud.named)
    candidates, ranks = find_candidates(cloud, rows, named, features, reflects)
    deficient = ranks < rows.shape[-1] - 1
    if count == cloud.named or not bool(deficient.any()):
        return candidates, ranks
    return find_candidates(cloud, rows, named | (mask & deficient[:, None]), features, reflects)


def _flat_permutations(permutations: Tensor, at: Layout) -> Tensor:
    """Permutations over padded points (K, B, n), over rows (K, N) for ragged inputs."""
    if at.batch is None:
        return permutations
    slot, length = slots(at)
    inverse = torch.zeros(at.samples * length, dtype=torch.long, device=slot.device)
    flat = at.batch * length + slot
    inverse[flat] = torch.arange(flat.shape[0], device=flat.device)
    target = permutations[:, at.batch, slot] + at.batch * length
    return inverse[target]
