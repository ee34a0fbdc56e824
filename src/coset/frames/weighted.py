"""Weighted frames: many elements with weights that vanish where an element jumps, so the symmetrized model is continuous."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..actions.layout import Layout
from ..actions.trees import flatten
from ..errors import FrameError, InputError, explain
from ..groups.base import Group
from ..groups.orthogonal import Orthogonal, SpecialOrthogonal
from ..groups.quadrature import rule
from ..measure import Measure
from ..tree import Tree
from .base import Frame, traced
from .clouds import Cloud, element, gather_cloud, pad_rows
from .pruning import compact, length, pick_rows, smooth_cut, smooth_step

NOISE = 1e-12
"""The tolerance below which lengths are noise, relative to the radius; rounding of the inputs comes on top."""

THIN = 0.2
"""Mean square along an axis, as a share of the whole, below which a cloud counts as flat and its skewness fades."""


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

    def __init__(self, of: Any = None, strengths: Any = None, cut: float = 0.8, width: float = 0.1, static: bool = False):
        super().__init__()
        if not isinstance(cut, (int, float)) or not 0 <= cut < 1:
            raise FrameError(explain(f"Weighted(cut={cut!r})", "a share of the largest weight, 0 <= cut < 1", "pass for instance cut=0.5"))
        if not isinstance(width, (int, float)) or not 0 < width < 1:
            raise FrameError(explain(f"Weighted(width={width!r})", "a relative width between 0 and 1", "pass for instance width=0.1"))
        self.of, self.strengths = of, strengths
        self.cut, self.width, self.static = float(cut), float(width), bool(static)

    def prepare(self, group: Group) -> None:
        """Check group and inputs, tabulate the rotations about the first axis and the rule for coincident points."""
        if not group.orthogonal or group.permutes or group.dim not in (2, 3):
            raise FrameError(
                explain(
                    f"{self} on {group}",
                    "SO, O, SE or E of dimension 2 or 3",
                    "use frames.Minimal() in other dimensions, frames.Chain(frames.Weighted(), frames.Sort()) for products with S_n",
                )
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
        if not self.static and traced(inputs):
            raise FrameError(
                explain(f"{self} under torch.func transforms", "a static frame, whose shapes do not depend on data", "pass static=True")
            )
        cloud = gather_cloud(self, inputs, at, NOISE)
        rows = cloud.rows[:, : cloud.named]
        radius = length(rows.detach()).amax(1)
        collapsed = radius <= cloud.cut
        unit = torch.where(collapsed, 1.0, radius)
        rows = rows / unit[:, None, None]
        strength = self._strength(inputs, at, cloud)
        basis, share, flat = self._bases(rows, strength, cloud, collapsed, unit)
        matrices, weights = self._turned(basis, share)
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

    def _bases(self, rows: Tensor, strength: Tensor, cloud: Cloud, collapsed: Tensor, unit: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Orthonormal bases (B, P, d, d), their shares of every matrix of the table (B, P, M), and (B,) collinear samples."""
        sizes = length(rows)
        weights, which = compact(smooth_cut(sizes * strength, self.cut) * ~collapsed[:, None], self.static)
        first = unit_rows(pick_rows(rows, which))
        moments = moments_of(rows, strength)
        if rows.shape[-1] == 2:
            basis = torch.stack([first, torch.stack([-first[..., 1], first[..., 0]], -1)], -1)
            share = weights.unsqueeze(-1) * self._orientations(basis, moments)
            return basis, share, torch.zeros_like(collapsed)
        total = sizes.square().sum(1, keepdim=True).sqrt().clamp_min(torch.finfo(rows.dtype).tiny)
        floor = 4 * (cloud.cut / unit * (strength > 0).sum(1).sqrt()).unsqueeze(1) / total
        return self._pairs(rows, strength, first, weights, moments, total, floor)

    def _pairs(
        self, rows: Tensor, strength: Tensor, first: Tensor, weights: Tensor, moments: Moments, total: Tensor, floor: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Gram-Schmidt of (first axis, point j) with the share of every matrix of the table."""
        n = rows.shape[1]
        normals = torch.linalg.cross(first.unsqueeze(2), rows.unsqueeze(1), dim=-1)
        sines = length(normals)
        extent = length(sines) / total
        flat = extent <= floor
        spread = smooth_step((extent - floor) / (torch.maximum(4 * floor, torch.full_like(floor, self.width)) - floor))
        chosen = smooth_cut(sines * strength.unsqueeze(1), self.cut)
        chosen = torch.where(flat.unsqueeze(-1), torch.nn.functional.one_hot(torch.zeros_like(flat, dtype=torch.long), n), chosen)
        pairs, where = compact((weights.unsqueeze(-1) * chosen).flatten(1), self.static)
        axis = torch.div(where, n, rounding_mode="floor")
        first = pick_rows(first, axis)
        normal = pick_rows(normals.flatten(1, 2), where)
        lost = pick_rows(flat, axis) | (length(normal.detach()) < NOISE)
        third = perpendicular(torch.where(lost.unsqueeze(-1), any_normal(first), normal), first)
        basis = torch.stack([first, torch.linalg.cross(third, first, dim=-1), third], -1)
        sharp = pick_rows(spread, axis).unsqueeze(-1)
        share = sharp * self._orientations(basis, moments) + (1 - sharp) / self.table.shape[0]
        return basis, pairs.unsqueeze(-1) * share, (flat & (weights > 0)).any(1)

    def _orientations(self, basis: Tensor, moments: Moments) -> Tensor:
        """Shares (B, P, M) of the table's matrices for well defined bases: the identity, and the flip of the last axis."""
        share = basis.new_zeros(*basis.shape[:2], self.table.shape[0])
        if not self.group.reflects:
            return torch.cat([torch.ones_like(share[..., :1]), share[..., 1:]], -1)
        right = smooth_step(0.5 + 0.5 * moments.skewness(basis[..., -1]) / self.width)
        return torch.cat([right, 1 - right, share[..., 2:]], -1)

    def _turned(self, basis: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
        """Elements (K, B, d, d) and weights (K, B): every basis times those matrices of the table that have weight."""
        count = self.table.shape[0]
        weights, where = compact(share.flatten(1), self.static)
        picked = pick_rows(basis, torch.div(where, count, rounding_mode="floor"))
        matrices = picked @ self.table.to(basis)[where % count]
        return matrices.transpose(0, 1), weights.T

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
        return tuple(given + (["static=True"] if self.static else []))


def axial_rule(d: int, reflects: bool, degree: int) -> Float[Tensor, "M d d"]:
    """Matrices with equal weights that average over what fixes the first axis: the identity, the flip of the last axis, the rest."""
    turns = torch.eye(d, dtype=torch.float64).unsqueeze(0)
    if d == 3:
        plane = rule(SpecialOrthogonal(2), degree).elements
        turns = torch.nn.functional.pad(plane, (1, 0, 1, 0))
        turns[:, 0, 0] = 1.0
    if not reflects:
        return turns
    flip = torch.ones(d, dtype=torch.float64)
    flip[-1] = -1.0
    return torch.stack([turns, turns * flip], 1).flatten(0, 1)


class Moments(NamedTuple):
    """Weighted means of x x^T (B, d, d) and x x x (B, d * d, d) over the points, in units of their root mean square length."""

    second: Tensor
    third: Tensor

    def skewness(self, axis: Float[Tensor, "B m d"]) -> Float[Tensor, "B m 1"]:
        """The skewness of the cloud along unit vectors, zero where it is flat: it changes sign with the vector."""
        squares = (axis.unsqueeze(-1) * axis.unsqueeze(-2)).flatten(-2)
        odd = ((squares @ self.third) * axis).sum(-1, keepdim=True)
        thickness = (axis * (axis @ self.second)).sum(-1, keepdim=True)
        return odd / (thickness + THIN) ** 1.5


def moments_of(rows: Float[Tensor, "B n d"], strength: Float[Tensor, "B n"]) -> Moments:
    """The moments of the rows, each counted by its strength."""
    share = strength / strength.sum(1, keepdim=True).clamp_min(torch.finfo(rows.dtype).tiny)
    mean = (share * rows.square().sum(-1)).sum(1)
    rows = rows / torch.where(mean > 0, mean, 1.0).sqrt()[:, None, None]
    counted = share.unsqueeze(-1) * rows
    pairs = (rows.unsqueeze(-1) * rows.unsqueeze(-2)).flatten(-2)
    return Moments(counted.mT @ rows, pairs.mT @ counted)


def unit_rows(x: Tensor) -> Tensor:
    """Rows (..., d) of length one; zero rows become the first axis."""
    size = length(x).unsqueeze(-1)
    axis = torch.eye(x.shape[-1], dtype=x.dtype, device=x.device)[0].expand_as(x)
    return torch.where(size > 0, x / torch.where(size > 0, size, 1.0), axis)


def perpendicular(x: Tensor, axis: Tensor) -> Tensor:
    """Unit vectors along x (..., 3), with the rounding noise along the unit vectors ``axis`` taken out."""
    x = unit_rows(x)
    return unit_rows(x - axis * (axis * x).sum(-1, keepdim=True))


def any_normal(x: Tensor) -> Tensor:
    """A vector perpendicular to each unit vector (..., 3): its product with the axis that it is farthest from."""
    axis = torch.eye(3, dtype=x.dtype, device=x.device)[x.detach().abs().argmin(-1)]
    return torch.linalg.cross(x, axis, dim=-1)
