"""The phase of Fourier coefficients as a real shift: the frame of ``RealTorus`` on periodic images."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..actions.base import Action
from ..actions.layout import Layout
from ..groups.base import Group
from ..measure import Measure

FAINT = 1e-5
"""Coefficients below this share of the sum of absolute deviations count as zero."""


def real_measure(group: Group, x: Float[Tensor, "B C H W"], pose: Tensor, blind: bool) -> Measure:
    """The phases of images as shifts by real numbers of pixels.

    An axis whose first told coefficient has k periods has k candidates, a k-th of the axis apart. An axis along which an image is
    constant is left alone by all its shifts: outputs are averaged along it.

    Args:
        group: ``RealTorus(H, W)``.
        x: images, real or complex.
        pose: (2,) where canonical images have their phase.
        blind: decide by the first coefficient whatever it tells.
    """
    eps = torch.finfo(x.dtype).eps
    x = (x.abs() if x.is_complex() else x).to(torch.float32 if x.device.type == "mps" else torch.float64)
    noise = 64 * eps * x.detach().abs().sum((1, 2, 3)).unsqueeze(1)
    size = x.shape[-2:]
    axes = [axis_phase(x.sum((1, 3)), noise, blind), axis_phase(x.sum((1, 2)), noise, blind)]
    parts, used = [], []
    for (phase, periods), n in zip(axes, size, strict=True):
        most = 1 if blind else max(int(periods.max()), 1)
        number = torch.arange(most, device=x.device)[:, None]
        parts.append(phase + number * n / periods.clamp_min(1).to(x.dtype))
        used.append(number < periods.clamp_min(1))
    rows, columns = (part.shape[0] for part in parts)
    shifts = torch.stack([parts[0].repeat_interleave(columns, 0), parts[1].repeat(rows, 1)], -1)
    elements = group.compose(shifts, group.inverse(pose.to(shifts)).expand_as(shifts))
    weights = (used[0].repeat_interleave(columns, 0) & used[1].repeat(rows, 1)).to(x.dtype)
    order = axes[0][1].clamp_min(1) * axes[1][1].clamp_min(1)
    if blind:
        return Measure(group, elements, weights, order, cosets=1)
    spread = x.detach().abs().amax((1, 2, 3)).clamp_min(torch.finfo(x.dtype).tiny)
    flat = torch.stack([(x - x.mean(axis, keepdim=True)).abs().amax((1, 2, 3)) <= FAINT * spread for axis in (2, 3)], -1)
    untold = torch.stack([axis[1] == 0 for axis in axes], -1)
    still = flat & untold
    orbits = FlatAxes(still.repeat(weights.shape[0], 1), group) if bool(still.any()) else None
    order = torch.where(still.any(-1), -1, order)
    scores = {"unsettled": (untold & ~flat).any(-1)}
    return Measure(group, elements, weights / weights.sum(0), order, cosets=weights.shape[0], orbits=orbits, scores=scores)


def axis_phase(sums: Float[Tensor, "B n"], noise: Float[Tensor, "B 1"], blind: bool) -> tuple[Float[Tensor, " B"], Int[Tensor, " B"]]:
    """The shift that the phase of the first told coefficient says, and its number of periods (0 where none tells)."""
    n = sums.shape[1]
    spectrum = torch.fft.rfft(sums)[:, 1 : max((n + 1) // 2, 1)]
    if spectrum.shape[1] == 0:
        return sums.new_zeros(sums.shape[0]), torch.zeros(sums.shape[0], dtype=torch.int64, device=sums.device)
    deviation = (sums - sums.mean(1, keepdim=True)).abs().sum(1, keepdim=True)
    told = spectrum.detach().abs() > FAINT * deviation + noise
    index = torch.zeros_like(told[:, 0], dtype=torch.int64) if blind else told.to(torch.uint8).argmax(1)
    periods = index + 1 if blind else torch.where(told.any(1), index + 1, 0)
    chosen = spectrum.gather(1, index.unsqueeze(1)).squeeze(1)
    phase = -torch.angle(chosen) * n / (2 * torch.pi * periods.clamp_min(1).to(sums.dtype))
    return torch.where(periods > 0, torch.remainder(phase, n), 0.0), periods


@dataclass(frozen=True)
class FlatAxes:
    """Axes along which canonical images are constant, so that outputs are averaged along them.

    Attributes:
        flat: (R, 2) for rows and columns.
        group: the shifts.
    """

    flat: Tensor
    group: Group

    def take(self, rows: Tensor) -> FlatAxes:
        """Those of some canonical images."""
        return FlatAxes(self.flat[rows], self.group)

    def per_edge(self, action: Action, y: Tensor, at: Layout) -> bool:
        """Images have no edges."""
        return False

    def settle(self, action: Action, x: Tensor, at: Layout) -> Tensor:
        """Canonical inputs as they are."""
        return x

    def restore(self, action: Action, y: Tensor, at: Layout) -> Tensor:
        """Images averaged along their flat axes; other outputs are not moved."""
        if not action.moves:
            return y
        for axis in (0, 1):
            mean: Any = y.mean(axis - 2, keepdim=True).expand_as(y)
            y = torch.where(self.flat[:, axis].reshape(-1, *(1,) * (y.dim() - 1)), mean, y)
        return y

    def listed(self, measure: Measure) -> Measure:
        """The measure alone: shifts along flat axes are too many to list."""
        return replace(measure, orbits=None)
