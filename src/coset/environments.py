"""``Local``: a model of the surroundings of one point, symmetrized there and applied to every point of large clouds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from .actions.base import Action
from .actions.indices import BatchIndex, PointMask
from .actions.layout import Layout
from .actions.linear import Vectors
from .actions.signature import Signature
from .actions.still import Trivial
from .actions.trees import Dict, Pullback, flatten
from .errors import InputError, SignatureError, explain
from .frames.base import Frame
from .frames.pruning import fade, length
from .frames.weighted import Weighted
from .neighbours import pairs_within
from .symmetrized import Symmetrized, arrange
from .tree import Tree, tree_map


class Local(nn.Module):
    """One output per point, from a model of the vectors to its neighbours that is symmetrized in every surrounding.

    Each cloud is cut into surroundings (one per point, neighbours within the cutoff, found in linear time), the model
    is symmetrized on each by a frame of its own, and outputs are turned back: they are equivariant, do not depend on
    the order of points, and cost time and memory linear in their number.

    The model is called by keyword on N surroundings with at most m neighbours:

    - ``vectors`` (N, m, d): neighbour minus centre, zero where padded;
    - ``weights`` (N, m): 1 up to half the cutoff, falling smoothly to 0 at it, zero where padded;
    - every invariant input per point, by its name: that of the neighbours (N, m, ...), zero where padded, and, with
      ``_center`` behind the name, that of the centre (N, ...).

    It returns one entry per surrounding. The contract: a neighbour enters through terms multiplied by its weight (sums over
    j of w_j phi(r_j), attention with w_j in its numerators). Then, with the default frame, outputs are continuously
    differentiable where neighbours come and go, and so is their sum, an energy.

    Args:
        model: a model of surroundings.
        signature: of the whole: a source with positions that declare ``mask=`` or ``batch=`` where clouds differ in
            size, and invariant inputs; a target with one output per point.
        cutoff: radius of the surroundings, in the unit of the positions.
        frame: how each is symmetrized, of the input "vectors"; ``Weighted(of="vectors", cutoff=cutoff)`` when left out.
        total: return the sum over the points of each sample.
        chunk: the largest number of surroundings worked on at once; None for all.

    Raises:
        SignatureError: when inputs other than positions move, or a group has no rotations.

    Reference: Pozdnyakov, Ceriotti 2023, arXiv 2305.19302; Dym, Lawrence, Siegel 2024, arXiv 2402.16077.

    Example:
        >>> import torch, coset
        >>> from coset import actions, groups
        >>> E3 = groups.Euclidean(3)
        >>> energy = lambda vectors, weights: (weights * torch.tanh(vectors[..., 0])).sum(1)
        >>> model = coset.Local(energy, actions.Points(E3) >> actions.Trivial(E3), cutoff=2.0, total=True)
        >>> x, g = torch.rand(1, 50, 3) * 5, E3.sample(1)
        >>> torch.allclose(model(x), model(actions.Points(E3).act(g, x)), atol=1e-4)
        True
    """

    references = ("pozdnyakov2023smooth", "dym2024equivariant")

    def __init__(
        self,
        model: Callable[..., Any],
        signature: Signature,
        cutoff: float,
        frame: Frame | None = None,
        *,
        total: bool = False,
        chunk: int | None = None,
    ):
        super().__init__()
        if not isinstance(signature, Signature):
            raise SignatureError(
                explain(f"{signature!r} as signature", "source >> target", "write actions.Points(G) >> actions.Vectors(G)")
            )
        if not (isinstance(cutoff, (int, float)) and cutoff > 0):
            raise InputError(explain(f"cutoff={cutoff!r}", "a positive length", "pass for instance cutoff=5.0"))
        if chunk is not None and (not isinstance(chunk, int) or chunk < 1):
            raise InputError(explain(f"chunk={chunk!r}", "a positive number of surroundings, or None", "pass for instance chunk=4096"))
        self.signature, self.cutoff, self.total, self.chunk = signature, float(cutoff), bool(total), chunk
        frame = Weighted(of="vectors", cutoff=self.cutoff) if frame is None else frame
        self.symmetrized = Symmetrized(model, self._surroundings(), frame)

    def _surroundings(self) -> Signature:
        """The signature of one surrounding: vectors and weights under the linear part of the group."""
        source, group = self.signature.source, self.signature.group
        items = source.items()
        points = [key for key, leaf in items.items() if leaf.affine or (leaf.polar and not group.translates)]
        others = {key: leaf for key, leaf in items.items() if key not in points}
        if len(points) != 1 or any(leaf.moves for leaf in others.values()) or not group.orthogonal or group.permutes:
            raise SignatureError(
                explain(
                    f"Local on {source}",
                    "O, SO, E or SE acting on one input of points, beside invariant inputs",
                    "declare the positions as Points and species as Trivial, or wrap the model with coset.symmetrize",
                )
            )
        self._points = points[0]
        turn = group.parts()[1] if group.translates else None
        linear = group if turn is None else turn.source
        entries: dict[str, Action] = {"vectors": Vectors(linear), "weights": Trivial(linear)}
        kept = [key for key, leaf in others.items() if not isinstance(leaf.core(), (PointMask, BatchIndex))]
        self._features = tuple(kept)
        for key in kept:
            entries |= {str(key): Trivial(linear), f"{key}_center": Trivial(linear)}
        target = self.signature.target
        return Dict(entries) >> (target if turn is None else Pullback(turn, target))

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """One output per point: (B, n, ...) of dense and padded clouds (zero where padded), (N, ...) of ragged ones.

        With ``total`` the sum over the points of each sample, (B, ...).
        """
        source = self.signature.source
        inputs = arrange(source, args, kwargs)
        source.check(inputs)
        source.check_finite(inputs)
        found = {key: x for key, (_, x) in flatten(source, inputs).items()}
        rows = _Rows(source.layout(inputs), found[self._points])
        x = rows.take(found[self._points])
        if x.shape[0] == 0:
            raise InputError(explain("clouds whose points are all padded", "one point or more", "drop empty clouds from the batch"))
        features = {str(key): rows.take(found[key]) for key in self._features}
        i, j = pairs_within(x, self.cutoff, rows.batch)
        count = torch.bincount(i, minlength=x.shape[0])
        every = torch.arange(x.shape[0], device=x.device)
        parts = []
        for centers in every.split(self.chunk or max(1, x.shape[0])):
            start, stop = (int(v) for v in torch.searchsorted(i, torch.stack([centers[0], centers[-1] + 1])))
            near = _Neighbours(centers, i[start:stop], j[start:stop], count[centers])
            parts.append(self.symmetrized(**self._inputs(near, x, features)))
        joined = parts[0] if len(parts) == 1 else tree_map(lambda *pieces: torch.cat(pieces), parts[0], *parts[1:])
        return tree_map(lambda y: rows.sum(y) if self.total else rows.put(y), joined)

    def _inputs(self, near: _Neighbours, x: Tensor, features: dict[str, Tensor]) -> dict[str, Tree]:
        """What the model sees of the surroundings of some points."""
        vectors = x[near.second] - x[near.first]
        found = {"vectors": near.table(vectors), "weights": near.table(fade(length(vectors), self.cutoff))}
        for key, value in features.items():
            found |= {key: near.table(value[near.second]), f"{key}_center": value[near.centers]}
        return found

    def __repr__(self) -> str:
        more = ", total=True" if self.total else ""
        inside = repr(self.symmetrized).replace("\n", "\n  ")
        return f"Local(\n  signature: {self.signature!r}\n  cutoff: {self.cutoff:g}{more}\n  surroundings: {inside}\n)"


class _Neighbours:
    """Pairs (first, second) sorted by their centre, as a table with one row per centre."""

    def __init__(self, centers: Tensor, first: Tensor, second: Tensor, count: Tensor):
        self.centers, self.first, self.second = centers, first, second
        self.shape = (centers.shape[0], max(1, int(count.max())))
        row = first - centers[0]
        self._place = row * self.shape[1] + torch.arange(first.shape[0], device=first.device) - (count.cumsum(0) - count)[row]

    def table(self, values: Tensor) -> Tensor:
        """Values (P, ...) of the pairs as (centres, most neighbours, ...), zero where there is none."""
        flat = values.new_zeros(self.shape[0] * self.shape[1], *values.shape[1:])
        return flat.index_copy(0, self._place, values).reshape(*self.shape, *values.shape[1:])


class _Rows:
    """Points of dense, padded or ragged clouds as rows, and back."""

    def __init__(self, at: Layout, points: Tensor):
        self.at, self.shape = at, points.shape[:-1]
        if at.batch is not None:
            self.batch, self.where = at.batch, None
            return
        if points.dim() != 3:
            raise InputError(explain(f"positions of shape {tuple(points.shape)}", "clouds (B, n, d), or rows with batch=", "reshape them"))
        mask = torch.ones(self.shape, dtype=torch.bool, device=points.device) if at.mask is None else at.mask
        self.where = mask.flatten().nonzero().flatten()
        self.batch = self.where // self.shape[1]

    def take(self, x: Tensor) -> Tensor:
        """Data per point as rows (N, ...).

        Raises:
            InputError: when there is not one entry per point.
        """
        if x.shape[: len(self.shape)] != self.shape:
            raise InputError(
                explain(
                    f"an input of shape {tuple(x.shape)}", f"one entry for each point of {tuple(self.shape)}", "repeat it over the points"
                )
            )
        return x if self.where is None else x.flatten(0, 1).index_select(0, self.where)

    def put(self, y: Tensor) -> Tensor:
        """Rows as data per point, zero where padded."""
        if self.where is None:
            return y
        flat = y.new_zeros(self.shape[0] * self.shape[1], *y.shape[1:])
        return flat.index_copy(0, self.where, y).reshape(*self.shape, *y.shape[1:])

    def sum(self, y: Tensor) -> Tensor:
        """The sum over the points of each sample, (B, ...)."""
        return y.new_zeros(self.at.samples, *y.shape[1:]).index_add(0, self.batch, y)
