"""The phase of the first Fourier coefficients: a circular centre of mass, to whole pixels or to fractions of one."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from ..actions.layout import Layout
from ..actions.periodic import Periodic
from ..groups.base import Group
from ..measure import Measure
from ..tree import Tree
from .base import traced, wide
from .fractional import real_measure
from .shifts import ShiftFrame, budget, doublings, whole


class Phase(ShiftFrame):
    """The circular centre of mass of an image, from its first horizontal and vertical Fourier coefficient.

    h is the whole shift that is nearest to the phase, found as the best match of row and column sums with one period of a cosine,
    in whole numbers: it follows shifts of the image bit by bit. Where the first coefficient vanishes the next one decides, with as
    many winners as it has periods; a constant image is left alone by everything.

    On ``groups.RealTorus(H, W)`` the phase is not rounded: shifts by fractions of a pixel are undone too, for band-limited images.

    Args:
        of: which image, by key; the first one when left out.

    Reference: Kaba et al. 2023, arXiv 2211.06489 (canonicalization in general).

    Example:
        >>> import torch, coset
        >>> from coset import actions, frames, groups
        >>> T = groups.Torus(8, 8)
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 3))
        >>> model = coset.symmetrize(net, actions.Image(T) >> actions.Trivial(T), frames.Phase())
        >>> x = torch.rand(2, 1, 8, 8)
        >>> torch.equal(model(x), model(x.roll((3, 5), (-2, -1))))
        True
    """

    references = ("kaba2023equivariance",)

    def __init__(self, of: Any = None):
        super().__init__(of)

    def prepare(self, group: Group) -> None:
        """Take ``RealTorus`` as well."""
        self._real = getattr(group, "periods", None) is not None
        if not self._real or not any(isinstance(leaf, Periodic) for leaf in self._images().values()):
            super().prepare(group)

    def measure(self, inputs: Tree, at: Layout) -> Measure:
        """The winning shifts, or the phase itself on ``RealTorus``."""
        if not self._real:
            return super().measure(inputs, at)
        return real_measure(self.group, self.image(inputs), self.pose, traced(inputs))

    def winners(self, x: Shaped[Tensor, "B C H W"], blind: bool) -> Bool[Tensor, "B H W"]:
        """The whole shifts that are nearest to the phase."""
        left = budget(x.device) - doublings(x[0].numel())
        q = whole(x, left - left // 2)
        rows, columns = (axis_winners(q.sum((1, axis)), left // 2, blind) for axis in (3, 2))
        return rows.unsqueeze(2) & columns.unsqueeze(1)


def axis_winners(sums: Float[Tensor, "B n"], bits: int, blind: bool) -> Bool[Tensor, "B n"]:
    """Which shifts match row or column sums best with a cosine of one period, or of more where one does not tell.

    Args:
        sums: whole numbers.
        bits: of the cosine.
        blind: decide by one period, whatever it tells.
    """
    sums = sums - sums.amin(1, keepdim=True)
    n = sums.shape[1]
    found = torch.ones_like(sums, dtype=torch.bool)
    if n == 1:
        return found
    noise = sums.sum(1)  # twice what rounding the cosine may make of the sums
    scores = sums @ cosines(n, 1, bits, sums)
    best = scores == scores.amax(1, keepdim=True)
    if blind:
        return best
    told = scores.amax(1) - scores.amin(1) > 2 * noise
    found = torch.where(told.unsqueeze(1), best, found)
    for periods in range(2, n // 2 + 1):
        if bool(told.all()):
            break
        scores = sums @ cosines(n, periods, bits, sums)
        tells = ~told & (scores.amax(1) - scores.amin(1) > 2 * noise)
        found = torch.where(tells.unsqueeze(1), scores == scores.amax(1, keepdim=True), found)
        told = told | tells
    return found


def cosines(n: int, periods: int, bits: int, like: Tensor) -> Float[Tensor, "n n"]:
    """Entry (w, h): a cosine of w - h with the given number of periods, as a whole number."""
    steps = torch.arange(n, device=like.device)
    places = periods * (steps[:, None] - steps) % n
    places = torch.minimum(places, n - places)  # a cosine is even, to the bit
    angle = steps.to(wide(torch.float64, like.device)) * (2 * torch.pi / n)
    return ((2**bits - 1) * torch.cos(angle)).round().to(like.dtype)[places]
