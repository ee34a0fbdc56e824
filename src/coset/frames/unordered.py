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
from .anchors import find_candidates, matrices_of
from .base import Frame, traced
from .clouds import Cloud, element, gather_cloud, slots
from .features import gather_features
from .matching import match_candidates
from .ordered import StabilizerRules, pivoted_basis


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
        if traced(inputs):
            raise FrameError(
                explain(
                    "a frame of unordered points under torch.func transforms",
                    "plain tensors",
                    "batch the clouds along the first axis instead of vmap",
                )
            )
        d, reflects = int(self.group.dim), self.group.reflects  # type: ignore[arg-type]
        cloud = gather_cloud(self, inputs, at, self.tol)
        features = gather_features(self, inputs, at, cloud, self._colours)
        rows = cloud.rows
        with torch.no_grad():
            mask, ranks = _usable_rows(cloud, d)
            candidates = find_candidates(cloud, rows, mask, features, ranks, reflects)
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
            level = torch.where(infinite, ranks, torch.full_like(ranks, d))
            table = self.rules.table.to(basis)[level].transpose(0, 1)
            size = table.shape[0]
            matrices = (matrices.unsqueeze(1) @ table.unsqueeze(0)).flatten(0, 1)
            weights = (weights.unsqueeze(1) * self.rules.weights.to(basis)[level].T.unsqueeze(0)).flatten(0, 1)
            permutations = permutations.repeat_interleave(size, 0)
            order = torch.where(infinite, -torch.ones_like(order), order)
        elements = element(self, matrices, cloud.center)
        found = Measure(self.group, elements, weights, order, cosets=basis.shape[1] if coset.loose else 1, tol=self.tol)
        if coset.loose:
            return found
        return replace(found, permutations=_flat_permutations(permutations, at))


def _usable_rows(cloud: Cloud, d: int) -> tuple[Tensor, Tensor]:
    """(B, n) which rows may be anchors: the named points, and all vectors where those leave an infinite stabilizer; and (B,) ranks."""
    count = cloud.view.shape[2]
    _, ranks = pivoted_basis(replace(cloud, view=cloud.view[:, :, : cloud.named]), d, steps=d - 1)
    mask = cloud.mask if cloud.mask is not None else torch.ones(cloud.view.shape[0], count, dtype=torch.bool, device=cloud.view.device)
    if count == cloud.named:
        return mask, ranks
    _, every = pivoted_basis(cloud, d, steps=d - 1)
    deficient = ranks < d - 1
    mask = torch.cat([mask[:, : cloud.named], mask[:, cloud.named :] & deficient[:, None]], 1)
    return mask, torch.where(deficient, every, ranks)


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
