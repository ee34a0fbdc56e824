"""The minimal frame of points under GL(d), SL(d) and affine maps: whiten, then a frame of rotations."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..actions.layout import Layout
from ..errors import FrameError, InputError, describe, explain
from ..groups.base import Group
from ..tree import Tree
from .base import ordered_leaves, selected_keys, traced
from .reduced import Reduced, Section, named_rows, numbers

SINGULAR = 16.0
"""Rounding units below which the ratio of the smallest and the largest singular value counts as zero."""
RESOLVED = 1e-7
"""The smallest such ratio that second moments in double precision resolve."""


class WhitenedMinimal(Reduced):
    """Bound by ``Minimal`` for GL(d), SL(d) and affine groups: x = L y, with the second moments of y the identity.

    L is the Cholesky factor of the second moments S of the (centred) points, found in two passes, so that its error
    grows with the condition number and not with its square. It differs from the symmetric root of S by a rotation only, which
    the frame of rotations takes up, so the measure is the same; its gradient is finite where singular values coincide.
    Under SL(d), L is divided by det(L)^(1/d).
    """

    def prepare(self, group: Group) -> None:
        """Refuse affine groups where no positions say what translations did."""
        leaves, chosen = self.source.items(), selected_keys(self.of)  # type: ignore[union-attr]
        if group.translates and not any(leaf.affine for key, leaf in leaves.items() if not chosen or key in chosen):
            named = f"of={self.of!r} of inputs" if chosen else "a minimal frame of inputs"
            raise FrameError(
                explain(f"{named} {self.source} under {group}", "positions, which translations move", "declare (and name) them as Points")
            )
        super().prepare(group)

    def section(self, inputs: Tree, at: Layout) -> Section:
        """The Cholesky factor of the second moments, and the centroid."""
        rows, count, center, eps = named_rows(self, inputs, at)
        if not traced(inputs):
            self._refuse_few(inputs, rows, center)
        noise = eps * rows.detach().abs().amax((1, 2))
        noise = noise if center is None else noise + eps * center.detach().abs().amax(1)
        unit = (rows.detach().square().sum(1, keepdim=True) / count[:, None, None]).sqrt()
        unit = torch.where(unit > 0, unit, torch.ones_like(unit))
        y = rows / unit
        moments = y.mT @ y / count[:, None, None]
        if not traced(inputs):
            self._refuse_singular(moments.detach(), eps, 0 * noise if center is None else noise / unit.amin((1, 2)))
        factor = unit.mT * _whiten(y, moments, count)
        if not self.group.rescales:
            logs = factor.diagonal(dim1=-2, dim2=-1).log().mean(-1)
            factor = factor * (-logs).exp()[:, None, None]
        elements: Any = factor
        if center is not None:
            move, stretch = self.group.parts()
            elements = self.group.compose(move(center), stretch(factor))
        inverse = torch.linalg.inv_ex(factor.detach())[0]
        reach = inverse.square().sum((-2, -1)).sqrt()
        return Section(elements, reach, noise, torch.zeros_like(reach, dtype=torch.bool))

    def _refuse_few(self, inputs: Tree, rows: Tensor, center: Tensor | None) -> None:
        """Raise where no sample can span the space."""
        d = rows.shape[-1]
        needed = d + (center is not None)
        if rows.shape[1] < needed:
            data = ", ".join(describe(x) for _, action, x, named in ordered_leaves(self, inputs) if named and action.polar)
            raise InputError(
                explain(
                    f"{rows.shape[1]} points ({data}) under {self.group}",
                    f"at least {needed}",
                    f"give more points, or use a smaller group: {_smaller(self.group)}",
                )
            )

    def _refuse_singular(self, moments: Tensor, eps: float, noise: Tensor) -> None:
        """Raise where points do not span the space, up to the noise (B,) that centring leaves (one host synchronization)."""
        values = torch.linalg.eigvalsh(moments)
        bad = values[:, 0] <= torch.maximum(values[:, -1] * max(SINGULAR * eps, RESOLVED) ** 2, noise.square())
        if bool(bad.any()):
            kind = "affinely dependent points" if self.group.translates else "linearly dependent vectors"
            raise InputError(
                explain(
                    f"{kind} in samples {numbers(bad)}, which a part of {self.group} that is not compact leaves alone",
                    f"points that span all {moments.shape[-1]} dimensions",
                    f"drop or thicken these samples, or use a smaller group: {_smaller(self.group)}",
                )
            )


def _smaller(group: Group) -> str:
    """The group of rigid motions inside."""
    d = group.dim
    return f"Euclidean({d})" if group.translates else f"Orthogonal({d})" if group.reflects else f"SpecialOrthogonal({d})"


def _whiten(y: Tensor, moments: Tensor, count: Tensor) -> Tensor:
    """The Cholesky factor of the moments of y, corrected by that of what it has whitened."""
    factor = torch.linalg.cholesky_ex(moments)[0]
    white = torch.linalg.solve_triangular(factor, y.mT, upper=False)
    again = torch.linalg.cholesky_ex(white @ white.mT / count[:, None, None])[0]
    return factor @ again
