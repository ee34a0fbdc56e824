"""A finite measure on a group, arranged in cosets: elements of one coset share one canonical input, so one model call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Int, Shaped
from torch import Tensor

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
        ties: (cosets * B, n) class numbers of equal rows of the canonical inputs; the stabilizer contains all
            permutations within a class.
        orbits: the automorphisms of canonical graphs (``coset.orbits.Orbits``), of which one element is listed.
        tol: relative deviation up to which the canonical inputs of one coset count as equal.
        noise: (B,) lengths below it are rounding noise of canonical inputs; None when the frame does not know.
        nested: (K,) labels of sub-rules of lower degree, for the residual of a quadrature.
        draws: (K,) which independent random draw an element came from, by consecutive numbers; the elements of one coset
            come from one draw. None where nothing was drawn. Standard errors are taken between draws.
        relaxed: what stands in for elements that gradients cannot pass (``coset.relaxed``), in the backward pass only.
        scores: named values for losses of learned frames, each (B,); computed when they are read.
    """

    group: Group
    elements: Tree
    weights: Shaped[Tensor, "K B"]
    order: Int[Tensor, " B"]
    cosets: int
    permutations: Int[Tensor, "K ..."] | None = None
    ties: Int[Tensor, "pairs n"] | None = None
    orbits: Any = None
    tol: float = 1e-4
    noise: Shaped[Tensor, " B"] | None = None
    nested: Int[Tensor, " K"] | None = field(default=None, compare=False)
    draws: Int[Tensor, " K"] | None = field(default=None, compare=False)
    relaxed: Any = field(default=None, compare=False)
    scores: Mapping[str, Tensor] = field(default_factory=dict, compare=False)

    @property
    def size(self) -> int:
        """The number of listed elements of one coset."""
        return self.weights.shape[0] // self.cosets

    @property
    def samples(self) -> int:
        """The number B of samples."""
        return self.weights.shape[1]

    def coset_weights(self) -> Shaped[Tensor, "cosets B"]:
        """(cosets, B): the weight of every canonical input."""
        return self.weights.reshape(self.cosets, self.size, -1).sum(1)

    def integrate(self, values: Shaped[Tensor, "K B *rest"]) -> Shaped[Tensor, B * rest]:
        """The integral of values (K, B, ...) given at the elements, shape (B, ...)."""
        return weigh(self.weights, values).sum(0)

    def entropy(self) -> Shaped[Tensor, " B"]:
        """(B,) the entropy of the weights, in nats."""
        return torch.special.entr(self.weights).sum(0)

    def between(self, start: int, stop: int) -> Measure:
        """The cosets start ... stop - 1, with the weights that they have."""
        if (start, stop) == (0, self.cosets):
            return self
        k, form = slice(start * self.size, stop * self.size), slice(start * self.samples, stop * self.samples)
        forms = torch.arange(form.start, form.stop, device=self.weights.device)
        return replace(
            self,
            elements=tree_map(lambda leaf: leaf[k], self.elements),
            weights=self.weights[k],
            cosets=stop - start,
            permutations=None if self.permutations is None else self.permutations[k],
            ties=None if self.ties is None else self.ties[form],
            orbits=None if self.orbits is None else self.orbits.take(forms),
            nested=None if self.nested is None else self.nested[k],
            draws=None if self.draws is None else self.draws[k],
            relaxed=None if self.relaxed is None else self.relaxed.between(start, stop),
        )

    def separated(self) -> Measure:
        """Every listed element as a coset of its own, without those that pad all samples; for measures without ties and orbits."""
        used = (self.weights > 0).any(1).nonzero().flatten()
        return replace(
            self,
            elements=tree_map(lambda leaf: leaf.index_select(0, used), self.elements),
            weights=self.weights.index_select(0, used),
            cosets=int(used.shape[0]),
            nested=None if self.nested is None else self.nested.index_select(0, used),
            draws=None if self.draws is None else self.draws.index_select(0, used),
        )

    def weighted(self, factors: Tensor) -> Measure:
        """The weights multiplied by factors (K, B) or (K, 1)."""
        return replace(self, weights=self.weights * factors)

    def normalized(self) -> tuple[Measure, Shaped[Tensor, " B"]]:
        """The measure with weights that sum to one (or are all zero), and the sums that they had."""
        total = self.weights.sum(0)
        return replace(self, weights=self.weights / torch.where(total > 0, total, 1.0)), total

    def moved_by(self, h: Tree) -> Measure:
        """The measure pushed forward under g -> hg, with h of batch shape (B,)."""
        return replace(self, elements=self.group.compose(tree_map(lambda leaf: leaf.unsqueeze(0), h), self.elements))

    def one(self, generator: torch.Generator | None = None) -> Measure:
        """A random element per sample, drawn by weight: a measure with one element."""
        draw = torch.rand(
            self.samples, generator=generator, device=generator.device if generator else self.weights.device, dtype=self.weights.dtype
        )
        total = self.weights.cumsum(0)
        pick = (total <= draw.to(self.weights.device) * total[-1]).sum(0).clamp(max=self.weights.shape[0] - 1)
        rows = torch.arange(self.samples, device=pick.device)
        form = pick // self.size * self.samples + rows
        return Measure(
            self.group,
            tree_map(lambda leaf: leaf[pick, rows].unsqueeze(0), self.elements),
            torch.ones_like(self.weights[:1]),
            torch.ones_like(self.order),
            cosets=1,
            ties=None if self.ties is None else self.ties[form],
            orbits=None if self.orbits is None else self.orbits.take(form),
            draws=torch.zeros(1, dtype=torch.int64, device=self.weights.device),
            relaxed=None if self.relaxed is None else self.relaxed.beside(lambda leaf: leaf[pick, rows].unsqueeze(0)),
            scores=self.scores,
        )


def weigh(weights: Shaped[Tensor, "K B"], values: Shaped[Tensor, "K B *rest"]) -> Shaped[Tensor, "K B *rest"]:
    """Multiply values (K, B, ...) by weights (K, B)."""
    dtype = values.dtype if values.is_floating_point() or values.is_complex() else weights.dtype
    return weights.to(dtype).reshape(*weights.shape, *(1,) * (values.dim() - weights.dim())) * values
