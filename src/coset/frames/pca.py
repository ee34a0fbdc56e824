"""PCA frames: eigenvectors of the covariance with all sign choices; degenerate inputs are handed to a minimal frame."""

from __future__ import annotations

import itertools
import warnings
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ..actions.layout import Layout
from ..errors import FrameError, explain
from ..groups.base import Group
from ..measure import Measure
from ..tree import Tree, tree_map
from .base import Frame, traced
from .clouds import Cloud, element, gather_cloud
from .ordered import StabilizerRules, oriented
from .unordered import UnorderedMinimal

SEPARATION = 1e-6
"""Eigenvalues closer than this share of the largest one are moved apart in backward passes."""


class PCA(Frame):
    """Centre, covariance, eigenvectors, all choices of signs: 2^d elements under O/E(d), 2^(d-1) under SO/SE(d).

    The frame does not depend on the order of points. It is exact where the covariance has distinct eigenvalues, and
    for collinear and coplanar points. Where eigenvalues coincide (methane, cubes, regular polygons) the eigenvectors
    are arbitrary: with ``fallback`` those samples get the elements of an unordered minimal frame instead (d = 2, 3),
    one model call each; without it a warning names them, and the result there is not equivariant.

    Gradients grow like one over the gap between eigenvalues; a sample in the fallback has finite ones.

    Args:
        of: key of the points; everything the group moves when left out.
        fallback: treat degenerate samples exactly; then the frame is not static.
        gap: eigenvalues closer than this share of the largest one count as equal.
        tol: as in :class:`Minimal`, for collinear and coplanar points and for the fallback.

    Reference: Puny et al. 2022, arXiv 2110.03336.

    Example:
        >>> import torch
        >>> from coset import actions, frames, groups
        >>> bound = frames.PCA().bind(actions.Points(groups.Euclidean(3)))
        >>> bound(torch.randn(2, 6, 3, generator=torch.Generator().manual_seed(0))).cosets
        8
    """

    references = ("puny2022frame",)
    signs: Tensor

    def __init__(self, of: Any = None, *, fallback: bool = True, gap: float = 1e-2, tol: float = 1e-4):
        super().__init__()
        if not 0 < gap < 1 or not 0 < tol < 0.5:
            raise FrameError(explain(f"PCA(gap={gap!r}, tol={tol!r})", "relative sizes: 0 < gap < 1 and 0 < tol < 0.5", "use the defaults"))
        self.of, self.fallback, self.gap, self.tol = of, bool(fallback), float(gap), float(tol)
        self.static, self.exact = not self.fallback, self.fallback

    def prepare(self, group: Group) -> None:
        """Check group and inputs, tabulate signs and null spaces."""
        if not group.orthogonal or group.permutes:
            raise FrameError(
                explain(
                    f"{self} on {group}", "O(d), SO(d), E(d) or SE(d)", "use frames.Chain for products, frames.Full() for finite groups"
                )
            )
        leaves = self.source.items().values()  # type: ignore[union-attr]
        if not any(leaf.polar for leaf in leaves) or (group.translates and not any(leaf.affine for leaf in leaves)):
            raise FrameError(explain(f"{self} of inputs {self.source}", "points or vectors", "declare them as Points or Vectors"))
        d = int(group.dim)  # type: ignore[arg-type]
        signs = torch.tensor(list(itertools.product((1.0, -1.0), repeat=d)), dtype=torch.float64)
        signs = signs if group.reflects else signs[signs.prod(1) > 0]
        self.register_buffer("signs", torch.diag_embed(signs), persistent=False)
        self.rules = StabilizerRules(d, group.reflects, self.degree)
        if self.fallback:
            if d not in (2, 3):
                raise FrameError(
                    explain(f"{self} on {group}", "dimension 2 or 3 for the fallback on degenerate inputs", "pass fallback=False")
                )
            self.minimal = UnorderedMinimal(self.of, (), self.tol, match=False).bind(self.source, self.target)  # type: ignore[arg-type]

    def measure(self, inputs: Tree, at: Layout) -> Measure:
        """All sign choices, times the rule of the null space; the fallback's elements where eigenvalues coincide."""
        cloud = gather_cloud(self, inputs, at, self.tol)
        basis, values, ranks = principal_axes(cloud)
        weak = degenerate(values, ranks, self.gap)
        if not self.group.reflects:
            basis = oriented(basis)
        found = self._signed(basis, ranks, cloud)
        if self.fallback and traced(inputs):
            raise FrameError(
                explain(
                    f"{self} under torch.func transforms",
                    "plain tensors, whose eigenvalues can be looked at",
                    "pass PCA(fallback=False), or batch the clouds along the first axis instead of vmap",
                )
            )
        if traced(inputs) or not bool(weak.any()):
            return found
        if not self.fallback:
            named = weak.nonzero().flatten()[:8].tolist()
            warnings.warn(
                f"PCA frame: samples {named} have equal principal values, so their frame is arbitrary; use PCA(fallback=True) or Minimal.",
                stacklevel=2,
            )
            return found
        numbers = weak.nonzero().flatten()
        some = self.source.take(inputs, numbers, at)  # type: ignore[union-attr]
        spread = (weak.long().cumsum(0) - 1).clamp_min(0)
        other = self.minimal.measure(some, self.source.layout(some))  # type: ignore[union-attr]
        wide = replace(
            other,
            elements=tree_map(lambda leaf: leaf.index_select(1, spread), other.elements),
            weights=other.weights.index_select(1, spread),
            order=other.order.index_select(0, spread),
        )
        return merge(found, wide, weak)

    def _signed(self, basis: Tensor, ranks: Tensor, cloud: Cloud) -> Measure:
        """Sign choices on the span, times a rule on the null space where that is larger than one dimension."""
        d = basis.shape[-1]
        level = torch.where(ranks >= d - 1, torch.full_like(ranks, d), ranks)
        turned, weights, _ = self.rules(basis, level)
        signs = self.signs.to(basis)
        elements = turned.unsqueeze(0) @ signs[:, None, None]
        count = signs.shape[0]
        order = torch.where(ranks >= d - 1, count, -1)
        weights = weights.unsqueeze(0).expand(count, *weights.shape) / count
        rows = elements.flatten(0, 1)
        return Measure(self.group, element(self, rows, cloud.center), weights.flatten(0, 1), order, cosets=count, tol=self.tol)

    def arguments(self) -> tuple[str, ...]:
        """Options that differ from their defaults."""
        return super().arguments() + (() if self.fallback else ("fallback=False",))


def principal_axes(cloud: Cloud) -> tuple[Float[Tensor, "B d d"], Float[Tensor, "B d"], Int[Tensor, " B"]]:
    """(B, d, d) eigenvectors as columns, largest first, (B, d) eigenvalues, and (B,) numerical ranks.

    Vectors that are not named by ``of=`` join in where the named ones leave an infinite stabilizer.
    """
    every = cloud.rows
    rows = every[:, : cloud.named]
    moment = rows.mT @ rows
    if every.shape[1] > cloud.named:
        extent = torch.linalg.eigvalsh(moment.detach()).clamp_min(0).sqrt()
        deficient = (extent > cloud.cut[:, None]).sum(-1) < moment.shape[-1] - 1
        moment = torch.where(deficient[:, None, None], every.mT @ every, moment)
    values, vectors = torch.linalg.eigh(_separated(moment) if moment.requires_grad else moment)
    values, vectors = values.flip(-1), vectors.flip(-1)
    ranks = (values.detach().clamp_min(0).sqrt() > cloud.cut[:, None]).sum(-1)
    return vectors, values.detach(), ranks


def _separated(moment: Tensor) -> Tensor:
    """Move nearly equal eigenvalues apart, by a constant, so that the gradients of the eigenvectors stay finite."""
    values, vectors = torch.linalg.eigh(moment.detach())
    step = SEPARATION * torch.where(values[:, -1] > 0, values[:, -1], torch.ones_like(values[:, -1]))[:, None]
    tight = ((values[:, 1:] - values[:, :-1]) < step).any(1, keepdim=True)
    shift = torch.arange(values.shape[1], device=values.device) * step * tight
    return moment + (vectors * shift.unsqueeze(1)) @ vectors.mT


def degenerate(values: Float[Tensor, "B d"], ranks: Int[Tensor, " B"], gap: float) -> Bool[Tensor, " B"]:
    """(B,) True where two eigenvalues of the span nearly coincide."""
    top = values[:, :1].clamp_min(torch.finfo(values.dtype).tiny)
    close = (values[:, :-1] - values[:, 1:]) < gap * top
    inside = torch.arange(1, values.shape[1], device=values.device)[None] < ranks[:, None]
    return (close & inside).any(1)


def merge(one: Measure, other: Measure, choice: Tensor) -> Measure:
    """Per sample, ``other`` (cosets of one element) where ``choice`` holds, else ``one``; padded to one width."""
    size, count = one.size, max(one.cosets, other.weights.shape[0])

    def pad(x: Tensor, cosets: int, fill: float | None) -> Tensor:
        """(cosets, k, B, ...) as (count, size, B, ...), with copies or zeros."""
        x = x.reshape(cosets, -1, *x.shape[1:])
        more = x[:, :1].expand(cosets, size - x.shape[1], *x.shape[2:])
        x = torch.cat([x, more if fill is None else torch.full_like(more, fill)], 1)
        more = x[:1].expand(count - cosets, *x.shape[1:])
        return torch.cat([x, more if fill is None else torch.full_like(more, fill)])

    def pick(x: Tensor, y: Tensor, fill: float | None = None) -> Tensor:
        first, second = pad(x, one.cosets, fill), pad(y, other.weights.shape[0], fill)
        return torch.where(choice.reshape(1, 1, -1, *(1,) * (x.dim() - 2)), second, first).flatten(0, 1)

    elements = tree_map(pick, one.elements, other.elements)
    order = torch.where(choice, other.order, one.order)
    return replace(one, elements=elements, weights=pick(one.weights, other.weights, 0.0), order=order, cosets=count)
