"""Weighted frames: many elements with weights that vanish where an element jumps, so the symmetrized model is continuous."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor

from ..actions.layout import Layout
from ..actions.trees import flatten
from ..errors import FrameError, InputError, explain
from ..groups.base import Group
from ..groups.orthogonal import Orthogonal, SpecialOrthogonal
from ..groups.quadrature import rule
from ..measure import Measure
from ..tree import Tree
from .axes import Moments, any_normal, axial_rule, moments_of, perpendicular, unit_rows
from .base import Frame, traced
from .clouds import Cloud, element, gather_cloud, pad_rows
from .pruning import compact, fade, length, pick_rows, smooth_cut, smooth_step
from .weighted_sort import WeightedSort

NOISE = 1e-12
"""The tolerance below which lengths are noise, relative to the radius; rounding of the inputs comes on top."""

NEARNESS = 4
"""With a cutoff, near vectors count more: by this power of one minus their length in units of it, so that few elements are left."""


class Weighted(Frame):
    """The weighted (robust) frame: Phi is continuously differentiable wherever the model is, and exactly equivariant.

    Every point of the centred cloud may be the first axis, every other one may fix the half plane of the second. Far
    points weigh more, and a weight is zero where its element is not defined, so nothing ever jumps:

    - SO(2): point i turns to the first axis, with weight relu(|x_i| - cut W)^2 (W smoothly stands for the largest).
    - SO(3): the pair (i, j) by Gram-Schmidt, with the weight of i as above times that of j given i, the same function
      of |x_i x x_j| / |x_i|. The product, not |x_i x x_j| as in the paper, because the weights of the axes then have
      a limit where the cloud becomes collinear.
    - O(2), O(3): the last axis in both orientations, weighted by a smooth step of the cloud's skewness along it. A
      lopsided cloud gets one orientation; where the skewness vanishes (planar clouds, symmetric ones) both count half.
      Triples of points would be n^3 elements instead.
    - SE(d), E(d): the same after centring.
    - S_n on rows: :class:`WeightedSort`, which has options of its own.

    Near a collinear cloud the second axis turns ever faster. There the elements are blended with their averages over
    the rotations about the first axis: the share of that average rises smoothly to one as the extent perpendicular to
    the axis falls from ``width`` of the whole to zero. The rule has two nodes more than the signature's degree, so Phi
    keeps a continuous derivative *at* collinear clouds, and equivariance is exact on both sides.

    Where Phi is continuous: everywhere, but at inputs whose points all coincide (after centring for SE and E). A frame
    that does not depend on the unit of length cannot be continuous there, except for invariant outputs, which are;
    at such an input the output is the exact average over the group.

    The frame does not depend on the order of points; it wraps networks on sets and on ordered points alike. Gradients flow
    through elements and weights: forces are those of the symmetrized energy. The number of elements, that is of model calls,
    falls as ``cut`` rises; the derivative of the weights grows as 1 / (1 - cut).

    Args:
        of: key (or keys) of the vectors that it is computed from; all that the group moves when left out.
        strengths: key of invariant positive numbers per point (masses, nuclear charges) that multiply the weights of points;
            few strong points make few elements.
        cut: weights below this share of the largest are zero; 0 keeps all.
        width: relative perpendicular extent (sine) below which a cloud counts as nearly collinear, and skewness below
            which both orientations are used.
        cutoff: length at which vectors cease to count, smoothly: for environments of a point, see :class:`coset.Local`. Then
            Phi is continuous also where the last vector leaves, for models to which vectors cease to count as well.
        static: keep elements of zero weight, so that shapes do not depend on data, for torch.compile and export.

    Reference: Dym, Lawrence, Siegel 2024, arXiv 2402.16077, section 3.

    Example:
        >>> import torch
        >>> from coset import actions, frames, groups
        >>> bound = frames.Weighted().bind(actions.Points(groups.SpecialOrthogonal(2)))
        >>> bound(torch.tensor([[[2.0, 0.0], [0.0, 2.0], [0.0, 0.1]]])).weights.squeeze(1)
        tensor([0.5000, 0.5000], dtype=torch.float64)
    """

    references = ("dym2024equivariant",)
    table: Tensor
    whole: Tensor
    whole_weights: Tensor

    def __init__(
        self, of: Any = None, strengths: Any = None, cut: float = 0.8, width: float = 0.1, cutoff: float | None = None, static: bool = False
    ):
        super().__init__()
        if not isinstance(cut, (int, float)) or not 0 <= cut < 1:
            raise FrameError(explain(f"Weighted(cut={cut!r})", "a share of the largest weight, 0 <= cut < 1", "pass for instance cut=0.5"))
        if not isinstance(width, (int, float)) or not 0 < width < 1:
            raise FrameError(explain(f"Weighted(width={width!r})", "a relative width between 0 and 1", "pass for instance width=0.1"))
        if cutoff is not None and not (isinstance(cutoff, (int, float)) and cutoff > 0):
            raise FrameError(explain(f"Weighted(cutoff={cutoff!r})", "a positive length, or None", "pass for instance cutoff=5.0"))
        self.of, self.strengths, self.cutoff = of, strengths, None if cutoff is None else float(cutoff)
        self.cut, self.width, self.static = float(cut), float(width), bool(static)
        self.inner: Frame | None = None

    def prepare(self, group: Group) -> None:
        """Check group and inputs, tabulate the rotations about the first axis and the rule for coincident points."""
        if group.permutes and group.dim is None and self.strengths is None and self.cutoff is None:
            self.inner = WeightedSort(self.of, self.cut, static=self.static).bind(self.source, self.target)  # type: ignore[arg-type]
            self.sorts = True
            return
        if not group.orthogonal or group.permutes or group.dim not in (2, 3):
            raise FrameError(
                explain(
                    f"{self} on {group}",
                    "SO, O, SE or E of dimension 2 or 3",
                    "use frames.Minimal() in other dimensions, frames.Chain(frames.Weighted(), frames.Sort()) for products with S_n",
                )
            )
        if self.cutoff is not None and group.translates:
            raise FrameError(
                explain(f"{self} on {group}", "vectors from a centre, under SO or O", "use coset.Local(model, signature, cutoff) on clouds")
            )
        leaves = self.source.items().values()  # type: ignore[union-attr]
        if not any(leaf.polar for leaf in leaves) or (group.translates and not any(leaf.affine for leaf in leaves)):
            raise FrameError(explain(f"{self} of inputs {self.source}", "points or vectors", "declare them as Points or Vectors"))
        keys = self.source.items()  # type: ignore[union-attr]
        if self.strengths is not None and (self.strengths not in keys or keys[self.strengths].moves):
            raise FrameError(
                explain(
                    f"{self} of inputs {list(keys)}", "strengths: the key of an invariant input", "declare it as actions.Trivial(group)"
                )
            )
        d, reflects = int(group.dim), group.reflects
        self.register_buffer("table", axial_rule(d, reflects, self.degree + 1), persistent=False)
        nodes = rule((Orthogonal if reflects else SpecialOrthogonal)(d), self.degree)
        self.register_buffer("whole", nodes.elements, persistent=False)
        self.register_buffer("whole_weights", nodes.weights, persistent=False)

    def measure(self, inputs: Tree, at: Layout) -> Measure:
        """Pairs of points and their weights; averages over what they leave free."""
        if self.inner is not None:
            return self.inner.measure(inputs, at)
        if not self.static and traced(inputs):
            raise FrameError(
                explain(f"{self} under torch.func transforms", "a static frame, whose shapes do not depend on data", "pass static=True")
            )
        cloud = gather_cloud(self, inputs, at, NOISE)
        rows = cloud.rows[:, : cloud.named]
        sizes = length(rows)
        share = torch.ones_like(sizes) if self.cutoff is None else fade(sizes, self.cutoff) * (sizes > 0)
        near = share if self.cutoff is None else share * (1 - sizes / self.cutoff).relu() ** NEARNESS
        collapsed = (sizes * share).detach().amax(1) <= cloud.cut
        unit = torch.where(collapsed, 1.0, sizes.detach().amax(1))
        rows = rows / unit[:, None, None]
        weight = self._strength(inputs, at, cloud) * near
        basis, found, flat = self._bases(rows, weight, share, cloud.cut / unit, collapsed)
        matrices, weights = self._turned(basis, found, share)
        matrices, weights = self._with_coincident(matrices, weights, collapsed)
        if not traced(inputs):
            self._refuse_broken(inputs, at, flat | collapsed)
        order = torch.where(flat | collapsed, -1, (weights > 0).sum(0))
        return Measure(self.group, element(self, matrices, cloud.center), weights, order, cosets=weights.shape[0])

    def _strength(self, inputs: Tree, at: Layout, cloud: Cloud) -> Tensor:
        """(B, n) positive factors of the rows' weights, zero where padded; ones without ``strengths``."""
        parts = [part for part in cloud.parts if part.named]
        given = None if self.strengths is None else flatten(self.source, inputs)[self.strengths]  # type: ignore[arg-type]
        found = []
        for part in parts:
            ones = cloud.unit.new_ones(part.x.shape[:2])
            ones = ones if part.mask is None else ones * part.mask
            found.append(ones if given is None or not part.per_point else ones * self._per_point(given[1], at, ones))
        return torch.cat(found, 1)

    def _per_point(self, x: Tensor, at: Layout, ones: Tensor) -> Tensor:
        """Strengths (B, n) from the input's own layout, ones where padded.

        Raises:
            InputError: where there is not one positive number per point.
        """
        if at.batch is not None and at.is_per_row(x):
            values = pad_rows(x.reshape(x.shape[0], -1), at)[0]
        else:
            values = x.reshape(*x.shape[:2], -1)
        values = values.squeeze(-1)
        if values.shape != ones.shape:
            raise InputError(
                explain(f"strengths {self.strengths!r} of shape {tuple(x.shape)}", f"one number per point, {tuple(ones.shape)}", "check it")
            )
        values = torch.where(ones > 0, values.to(ones.dtype), 1.0)
        if not traced(x) and not bool((values > 0).all()):
            raise InputError(
                explain(
                    f"strengths {self.strengths!r} with numbers that are not positive",
                    "positive numbers, however small: other points take over where the strong ones become collinear",
                    "add a small constant",
                )
            )
        return values

    def _bases(self, rows: Tensor, weight: Tensor, share: Tensor, noise: Tensor, collapsed: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Orthonormal bases (B, P, d, d), their shares of every matrix of the table (B, P, M), and (B,) collinear samples.

        Rows (B, n, d) have a ``weight`` (B, n) each in the choice of bases, and a ``share`` in what is there at all.
        """
        sizes = length(rows)
        weights, which = compact(smooth_cut(sizes * weight, self.cut) * ~collapsed[:, None], self.static)
        first = unit_rows(pick_rows(rows, which))
        moments = moments_of(rows, weight)
        if rows.shape[-1] == 2:
            basis = torch.stack([first, torch.stack([-first[..., 1], first[..., 0]], -1)], -1)
            return basis, weights.unsqueeze(-1) * self._orientations(basis, moments), torch.zeros_like(collapsed)
        normals = torch.linalg.cross(first.unsqueeze(2), rows.unsqueeze(1), dim=-1)
        sines = length(normals)
        total = length(sizes * share).unsqueeze(1).clamp_min(torch.finfo(rows.dtype).tiny)
        floor = 4 * (noise * (weight > 0).sum(1).sqrt()).unsqueeze(1) / total
        extent = length(sines * share.unsqueeze(1)) / total
        flat = extent <= floor
        chosen = smooth_cut(sines * weight.unsqueeze(1), self.cut)
        slot = torch.zeros_like(chosen).index_fill(-1, torch.zeros(1, dtype=torch.long, device=rows.device), 1.0)
        chosen = torch.where(flat.unsqueeze(-1), slot, chosen)
        pairs, where = compact((weights.unsqueeze(-1) * chosen).flatten(1), self.static)
        axis = torch.div(where, rows.shape[1], rounding_mode="floor")
        basis = self._completed(pick_rows(first, axis), pick_rows(normals.flatten(1, 2), where), pick_rows(flat, axis))
        spread = smooth_step((extent - floor) / (torch.maximum(4 * floor, torch.full_like(floor, self.width)) - floor))
        sharp = pick_rows(spread, axis).unsqueeze(-1)
        found = sharp * self._orientations(basis, moments) + (1 - sharp) / self.table.shape[0]
        return basis, pairs.unsqueeze(-1) * found, (flat & (weights > 0)).any(1)

    @staticmethod
    def _completed(first: Tensor, normal: Tensor, flat: Tensor) -> Tensor:
        """Bases (B, P, 3, 3) with the first axis and, where the cloud is not collinear, the third along the normal."""
        lost = flat | (length(normal.detach()) < NOISE)
        third = perpendicular(torch.where(lost.unsqueeze(-1), any_normal(first), normal), first)
        return torch.stack([first, torch.linalg.cross(third, first, dim=-1), third], -1)

    def _orientations(self, basis: Tensor, moments: Moments) -> Tensor:
        """Shares (B, P, M) of the table's matrices for well defined bases: the identity, and the flip of the last axis."""
        share = basis.new_zeros(*basis.shape[:2], self.table.shape[0])
        if not self.group.reflects:
            return torch.cat([torch.ones_like(share[..., :1]), share[..., 1:]], -1)
        right = smooth_step(0.5 + 0.5 * moments.skewness(basis[..., -1]) / self.width)
        return torch.cat([right, 1 - right, share[..., 2:]], -1)

    def _turned(self, basis: Tensor, found: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
        """Elements (K, B, d, d) and weights (K, B): every basis times those matrices of the table that have weight.

        With a cutoff, bases are blended with averages over the whole group as the last vectors leave.
        """
        table = self.table.to(basis)
        if self.cutoff is not None:
            here = smooth_step(length(share) / self.width)[:, None, None]
            every = (found.unsqueeze(-1) * self.whole_weights.to(found)).flatten(-2)
            found = torch.cat([here * found, (1 - here) * every], -1)
            table = torch.cat([table, (table.unsqueeze(1) @ self.whole.to(basis)).flatten(0, 1)])
        count = table.shape[0]
        weights, where = compact(found.flatten(1), self.static)
        picked = pick_rows(basis, torch.div(where, count, rounding_mode="floor"))
        return (picked @ table[where % count]).transpose(0, 1), weights.T

    def _with_coincident(self, matrices: Tensor, weights: Tensor, collapsed: Tensor) -> tuple[Tensor, Tensor]:
        """Samples whose points all coincide get the rule on the whole group."""
        if not self.static and not bool(collapsed.any()):
            return matrices, weights
        whole = self.whole.to(matrices).unsqueeze(1).expand(-1, matrices.shape[1], -1, -1)
        more = self.whole_weights.to(weights).unsqueeze(1) * collapsed
        return torch.cat([matrices, whole]), torch.cat([weights, more])

    def _refuse_broken(self, inputs: Tree, at: Layout, symmetric: Bool[Tensor, " B"]) -> None:
        """Raise where an infinite stabilizer of the points moves something else: no finite average is exact there."""
        others = [
            key
            for key, (action, x) in flatten(self.source, inputs).items()  # type: ignore[arg-type]
            if action.moves and isinstance(x, Tensor) and not self._looks_at(key, action)
        ]
        if not others or not bool(symmetric.any()):
            return
        numbers = symmetric.nonzero().flatten()
        some = flatten(self.source, self.source.take(inputs, numbers, at))  # type: ignore[arg-type, union-attr]
        broken = [key for key in others if bool((some[key][1] != 0).any())]
        if broken:
            raise InputError(
                explain(
                    f"collinear or coincident vectors in samples {numbers[:5].tolist()} beside {broken}, which {self} does not look at",
                    "vectors that fix a frame where other inputs move",
                    "name more vectors with of=, or leave it out; use frames.Minimal() or frames.Quadrature(degree) for tensors",
                )
            )

    def _looks_at(self, key: Any, action: Any) -> bool:
        """Whether an input is among the vectors that the frame is computed from."""
        named = self.of if isinstance(self.of, (tuple, list)) else (self.of,)
        return action.polar and (self.of is None or key in named)

    def arguments(self) -> tuple[str, ...]:
        """Options that differ from their defaults."""
        given = [f"of={self.of!r}"] if self.of is not None else []
        given += [f"strengths={self.strengths!r}"] if self.strengths is not None else []
        given += [f"cut={self.cut}"] if self.cut != 0.8 else []
        given += [f"width={self.width}"] if self.width != 0.1 else []
        given += [f"cutoff={self.cutoff}"] if self.cutoff is not None else []
        return tuple(given + (["static=True"] if self.static else []))
