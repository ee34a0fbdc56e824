"""The shifts that leave an image alone: found at once in Fourier space, never listed when outputs are averaged over them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor

from ..actions.base import Action
from ..actions.image import Raster
from ..actions.layout import Layout
from ..actions.trees import flatten
from ..errors import InputError, describe, explain
from ..groups.base import Group
from ..measure import Measure
from ..tree import Tree

SAME = 1e-10
"""Images count as equal when their squared difference is below this share of their squared size."""


def still_shifts(source: Action, inputs: Tree, asked: Bool[Tensor, " B"], size: Sequence[int]) -> Bool[Tensor, "B H W"]:
    """Which shifts leave all inputs of a sample alone; only the identity for samples that are not asked for.

    |x - T_s x|^2 = 2 (a(0) - a(s)) with the autocorrelation a, for all s at once.

    Args:
        source: how the shifts move the inputs.
        inputs: the inputs.
        asked: samples to look at.
        size: (H, W).
    """
    rows = asked.nonzero().flatten()
    still = torch.ones(rows.shape[0], *size, dtype=torch.bool, device=asked.device)
    for action, x in flatten(source, inputs).values():
        if not isinstance(x, Tensor) or not action.moves:
            continue
        if not isinstance(action.core(), Raster):
            still &= _listed_fixes(action, x.detach()[rows], size)
            continue
        x = x.detach()[rows].to(torch.complex128 if x.is_complex() else torch.float64).reshape(rows.shape[0], -1, *size)
        x = x - x.mean((-2, -1), keepdim=True)
        together = torch.fft.ifft2(torch.fft.fft2(x).abs().square().sum(1)).real
        scale = x.abs().square().sum((1, 2, 3)).reshape(-1, 1, 1)
        still &= together[:, :1, :1] - together <= SAME * scale + torch.finfo(torch.float64).tiny
    found = torch.zeros(asked.shape[0], *size, dtype=torch.bool, device=asked.device)
    found[:, 0, 0] = True
    return found.index_copy(0, rows, still)


def _listed_fixes(action: Action, x: Tensor, size: Sequence[int]) -> Tensor:
    """Which shifts leave data of any kind alone, one after the other."""
    every = action.group.elements(device=x.device)
    scale = x.abs().reshape(x.shape[0], -1).amax(1).clamp_min(1e-300)
    apart = [(action.act(one.unsqueeze(0), x) - x).abs().reshape(x.shape[0], -1).amax(1) <= 1e-5 * scale for one in every]
    return torch.stack(apart, 1).reshape(x.shape[0], *size)


@dataclass(frozen=True)
class StillShifts:
    """The stabilizers of canonical images, over which outputs are averaged.

    Attributes:
        still: (R, H, W) which shifts leave each of R canonical images alone.
        group: the shifts.
    """

    still: Bool[Tensor, "R H W"]
    group: Group

    def take(self, rows: Tensor) -> StillShifts:
        """Those of some canonical images."""
        return StillShifts(self.still[rows], self.group)

    def beside(self, rows: Tensor, count: int, samples: int, elements: Tensor) -> StillShifts:
        """These, at some samples of a batch, beside others with the identity alone.

        Args:
            rows: (T,) the samples that these belong to, ``count`` canonical images each.
            count: canonical images of each sample.
            samples: how many samples there are.
            elements: (draws * count, samples, 2), of which as many copies are made.
        """
        wide = torch.zeros(count, samples, *self.still.shape[1:], dtype=torch.bool, device=self.still.device)
        wide[..., 0, 0] = True
        wide = wide.index_copy(1, rows, self.still.unflatten(0, (count, -1)))
        return StillShifts(wide.repeat(elements.shape[0] // count, 1, 1, 1).flatten(0, 1), self.group)

    def per_edge(self, action: Action, y: Tensor, at: Layout) -> bool:
        """Images have no edges."""
        return False

    def settle(self, action: Action, x: Tensor, at: Layout) -> Tensor:
        """Canonical inputs as they are: the frame lists one shift of each class."""
        return x

    def restore(self, action: Action, y: Tensor, at: Layout) -> Tensor:
        """Outputs averaged over the shifts that leave the input alone; untouched where there is only the identity.

        Raises:
            InputError: for labels that differ where the input is periodic.
        """
        if not action.moves:
            return y
        rows = (self.still.flatten(1).sum(1) > 1).nonzero().flatten()
        if not rows.numel():
            return y
        part, still = y.index_select(0, rows), self.still.index_select(0, rows)
        if not (y.is_floating_point() or y.is_complex()):
            self._check_labels(action, part, still)
            return y
        whole = isinstance(action.core(), Raster) and tuple(y.shape[-2:]) == tuple(still.shape[-2:])
        return y.index_copy(0, rows, fourier_mean(part, still) if whole else self._listed_mean(action, part, still, at))

    def _listed_mean(self, action: Action, y: Tensor, still: Tensor, at: Layout) -> Tensor:
        """The mean over listed shifts, for outputs of any kind."""
        shares = still.flatten(1).to(y.dtype if y.is_floating_point() else torch.float64)
        shares = shares / shares.sum(1, keepdim=True)
        every = self.group.elements(device=y.device)
        total = torch.zeros_like(y)
        for number in still.flatten(1).any(0).nonzero().flatten().tolist():
            share = shares[:, number].reshape(-1, *(1,) * (y.dim() - 1))
            total = total + share * action.act(every[number].unsqueeze(0), y)
        return total

    def _check_labels(self, action: Action, y: Tensor, still: Tensor) -> None:
        every = self.group.elements(device=y.device)
        for number in still.flatten(1).any(0).nonzero().flatten().tolist():
            apart = (action.act(every[number].unsqueeze(0), y) != y).reshape(y.shape[0], -1).any(1)
            if bool((apart & still.flatten(1)[:, number]).any()):
                raise InputError(
                    explain(
                        f"an output {describe(y)} of labels that differ where a shift leaves the input alone",
                        "numbers that can be averaged",
                        "return scores or logits and decide afterwards, or declare it Ignore",
                    )
                )

    def listed(self, measure: Measure) -> Measure:
        """The measure with all elements of every coset, for comparisons."""
        k, samples = measure.weights.shape
        flat = self.still.flatten(1)
        most = int(flat.sum(1).max())
        used, number = flat.to(torch.uint8).sort(dim=1, descending=True, stable=True)
        members = self.group.elements(device=flat.device)[number[:, :most]].reshape(k, samples, most, -1).transpose(1, 2)
        share = (used[:, :most].double() / flat.sum(1, keepdim=True)).reshape(k, samples, most).transpose(1, 2)
        e: Any = measure.elements
        elements = self.group.compose(e.unsqueeze(1).expand_as(members), members).flatten(0, 1)
        weights = (measure.weights.unsqueeze(1) * share).flatten(0, 1)
        return replace(measure, elements=elements, weights=weights, orbits=None)


def fourier_mean(y: Tensor, still: Bool[Tensor, "R H W"]) -> Tensor:
    """The mean of images (R, ..., H, W) over a group of shifts each: a mask of frequencies."""
    size = still.shape[-2:]
    wide = y.to(torch.complex128 if y.is_complex() else torch.float64).reshape(y.shape[0], -1, *size)
    kept = torch.fft.fft2(still.to(torch.float64)).abs() > 0.5 * still.flatten(1).sum(1).reshape(-1, 1, 1)
    found = torch.fft.ifft2(torch.fft.fft2(wide) * kept.unsqueeze(1))
    return (found if y.is_complex() else found.real).reshape(y.shape).to(y.dtype)
