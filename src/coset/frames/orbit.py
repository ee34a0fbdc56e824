"""The energies of all inputs in an orbit of a finite group, as one batch; small images are resampled once and turned exactly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..actions.base import Action
from ..actions.image import Image, Raster
from ..actions.layout import Layout
from ..actions.pixels import plane_matrix, turned_pixels
from ..actions.trees import flatten
from ..actions.warp import warp
from ..errors import FrameError, describe, explain
from ..tree import Tree, tree_map
from .base import device_of

Energy = Callable[[Tree], Tensor]
"""Inputs of B samples -> (B,) numbers; the smallest in an orbit wins."""


class Orbit:
    """A finite group, and how it moves what an energy sees.

    Energies with methods ``reduced`` and ``score`` (as ``coset.nn.ImageScorer``) see small images: reduced(x), on which the group acts
    as on x. Those of all elements are made of m resampled images and exact quarter turns and flips of them, where the group
    is made of m cosets of its turns and flips of the pixel grid.

    Args:
        group: a finite group.
        action: how it moves the inputs of the energy.
    """

    def __init__(self, group: Any, action: Action):
        self.group, self.action = group, action
        every = group.elements()
        swapped = [_swapped(leaf, every) for leaf in action.items().values()]
        found = next((labels for labels in swapped if labels is not None), None)
        numbers = list(range(group.order))
        self.shapes = [numbers] if found is None else [[i for i in numbers if found[i] == side] for side in (False, True)]
        self.small = isinstance(action.core(), Image) and group.dim is not None  # circular shifts do not act on small images
        if self.small:
            self.steps, self.turns, self.places = grid_cosets(group)

    def energies(self, energy: Any, inputs: Tree, at: Layout, chunk: int | None) -> Tensor:
        """(B, |G|): entry g is the energy of g^-1 x, in the order of ``group.elements()``."""
        if self.small and makes_small(energy, inputs):
            views = self.views(energy.reduced(inputs)).transpose(0, 1)
            flat = views.flatten(0, 1)
            parts = [flat] if chunk is None else flat.split(chunk)
            found = torch.cat([numbers(energy.score(part), part.shape[0], energy) for part in parts])
            return found.unflatten(0, (-1, self.group.order))
        rows, values = [], []
        for several in self.shapes if _oblong(self.action, inputs) else [list(range(self.group.order))]:
            picks = torch.tensor(several, device=device_of(inputs))
            every = (picks[:, None] * at.samples + torch.arange(at.samples, device=picks.device)).flatten()
            for part in [every] if chunk is None else every.split(chunk):
                rows.append(part)
                values.append(self._moved(energy, inputs, at, part))
        whole = torch.cat(values)
        if len(rows) > 1:
            whole = torch.empty_like(whole).index_copy(0, torch.cat(rows), whole)
        return whole.unflatten(0, (self.group.order, -1)).mT

    def _moved(self, energy: Energy, inputs: Tree, at: Layout, rows: Tensor) -> Tensor:
        """The energies of (element, sample) pairs, by their numbers g * B + b."""
        samples, number = rows % at.samples, rows // at.samples
        back = self.group.inverse(self.group.elements(dtype=torch.float64 if self.group.dim else None, device=rows.device))
        taken = self.action.take(inputs, samples, at)
        moved = self.action.act(tree_map(lambda leaf: leaf[number], back), taken, at.take(samples)[0])
        return numbers(energy(moved), rows.shape[0], energy)

    def views(self, small: Tensor) -> Tensor:
        """All g^-1 x of square images (B, C, s, s): (|G|, B, C, s, s)."""
        raster: Any = self.action.core()
        every = self.group.elements(device=small.device)
        back = plane_matrix(self.group, self.group.inverse(every))
        base = small.unsqueeze(0)
        if len(self.steps) > 1:
            images = small.flatten(0, 1).expand(len(self.steps) - 1, -1, -1, -1)
            sampled = warp(images, back[self.steps[1:]], None, raster.interpolation, raster.padding)
            base = torch.cat([base, sampled.unflatten(1, small.shape[:2])])
        where = turned_pixels(back[self.turns].round().to(torch.int64), small.shape[-2:], False)
        turned = base.flatten(-2).index_select(-1, where.flatten()).unflatten(-1, where.shape)
        found = turned.movedim(3, 1).flatten(0, 1)  # (m |Q|, B, C, s, s): a resampled image after the other, all its turns
        return found if self.places == list(range(len(self.places))) else found[self.places]


def grid_cosets(group: Any) -> tuple[list[int], list[int], list[int]]:
    """A finite group of the plane as cosets j Q of its turns and flips Q of the pixel grid.

    Returns:
        The numbers of the representatives j (the identity first), those of Q, and for each element the place of its
        pair (j, q) among all pairs.
    """
    every = group.elements()
    matrix = plane_matrix(group, every)
    turns = ((matrix - matrix.round()).abs() < 1e-9).flatten(1).all(1).nonzero().flatten().tolist()
    steps: list[int] = []
    places = [-1] * group.order
    for number in range(group.order):
        if places[number] >= 0:
            continue
        one, others = (tree_map(lambda leaf, pick=pick: leaf[pick], every) for pick in (number, turns))
        for slot, place in enumerate(group.index(group.compose(tree_map(lambda leaf: leaf.unsqueeze(0), one), others)).tolist()):
            places[place] = len(steps) * len(turns) + slot
        steps.append(number)
    return steps, turns, places


def makes_small(energy: Any, inputs: Tree) -> bool:
    """Whether an energy sees images through ``reduced``."""
    return isinstance(inputs, Tensor) and hasattr(energy, "reduced") and hasattr(energy, "score")


def numbers(found: Any, count: int, energy: Any) -> Tensor:
    """Energies (R,), in at least single precision.

    Raises:
        FrameError: for outputs of other shapes.
    """
    if isinstance(found, Tensor) and found.dim() == 2 and found.shape[1] == 1:
        found = found.squeeze(1)
    if not isinstance(found, Tensor) or found.dim() != 1 or found.shape[0] != count or not found.is_floating_point():
        raise FrameError(
            explain(
                f"{describe(found)} from the energy {type(energy).__name__} of {count} inputs",
                f"one floating-point number for each, of shape ({count},)",
                "average or sum what it returns for a sample",
            )
        )
    return found.to(torch.promote_types(found.dtype, torch.float32))


def _swapped(leaf: Action, every: Tree) -> list[bool] | None:
    """Which elements swap the height and width of images; None for other data."""
    if not isinstance(leaf.core(), Raster):
        return None
    labels = leaf.shape_labels(every, torch.empty(1, 2, 3))
    return None if labels is None or not bool(labels.any()) else labels.tolist()


def _oblong(action: Action, inputs: Tree) -> bool:
    """Whether some image is not square."""
    found = flatten(action, inputs).values()
    return any(isinstance(leaf.core(), Raster) and isinstance(x, Tensor) and x.shape[-2] != x.shape[-1] for leaf, x in found)
