"""Frames of circular shifts: which shifts of an image win, counted in whole numbers, so that ties and equivariance are exact."""

from __future__ import annotations

import abc
import copy
import math
from collections.abc import Iterable
from typing import Any

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from ..actions.base import Action, all_finite
from ..actions.image import Raster
from ..actions.layout import Layout
from ..actions.periodic import Periodic
from ..errors import FrameError, InputError, describe, explain
from ..groups.base import Group
from ..measure import Measure
from ..tree import Tree, is_container
from .base import Frame, ordered_leaves, traced, wide
from .stabilizers import StillShifts, still_shifts


class ShiftFrame(Frame):
    """Abstract: a frame on ``Torus(H, W)`` from the shifts h that win for an image, h(T_s x) = h(x) + s.

    The element of an image is h(x) minus ``pose``, so its canonical form T_{pose - h(x)} x is the image moved to the pose. Whether a
    shift wins is decided in whole numbers: a shifted image has literally the same canonical form, bit by bit. Shifts that win
    together are all taken, with equal weights; those that give the same image (periodic and constant images) cost one model call,
    and outputs are averaged over them.

    Compiled programs cannot look at values: there the first of the winners is taken alone.
    """

    exact = True
    pose: Tensor

    def __init__(self, of: Any = None):
        super().__init__()
        self.of = of
        self.register_buffer("pose", torch.zeros(2, dtype=torch.int64))

    def prepare(self, group: Group) -> None:
        """Refuse groups other than the shifts of a grid of two axes, and inputs without an image.

        Raises:
            FrameError: with the remedy.
        """
        sizes = getattr(group, "sizes", None)
        if sizes is None or len(sizes) != 2:
            raise FrameError(
                explain(f"{self} on {group}", "circular shifts of images, Torus(H, W)", "declare actions.Image(groups.Torus(H, W))")
            )
        if not self._images():
            raise FrameError(
                explain(f"{self} for {self.source}", "an image among the inputs", "declare actions.Image(group), and name it with of=")
            )

    def _images(self) -> dict[Any, Action]:
        """The images that the frame may look at."""
        keys = self.of if isinstance(self.of, (tuple, list)) else (self.of,) if self.of is not None else None
        items: dict[Any, Action] = self.source.items()  # type: ignore[union-attr]
        return {key: leaf for key, leaf in items.items() if isinstance(leaf, (Raster, Periodic)) and (keys is None or key in keys)}

    @abc.abstractmethod
    def winners(self, x: Shaped[Tensor, "B C H W"], blind: bool) -> Bool[Tensor, "B H W"]:
        """Which shifts h = (down, right) win for each image; ``blind`` where values cannot be looked at."""

    def places(self, inputs: Tree, blind: bool) -> Bool[Tensor, "B H W"]:
        """The winners for the inputs of the source: for the first image that the frame looks at."""
        return self.winners(self.image(inputs).detach(), blind)

    def image(self, inputs: Tree) -> Shaped[Tensor, "B C H W"]:
        """The image that the frame looks at, all axes between batch and height as channels."""
        key = next(iter(self._images()))
        x = next(x for name, _, x, _ in ordered_leaves(self, inputs) if name == key)
        return x.reshape(x.shape[0], -1, *x.shape[-2:])

    def measure(self, inputs: Tree, at: Layout) -> Measure:
        """The winning shifts relative to the pose, those with one canonical form as one coset."""
        blind = traced(inputs)
        won = self.places(inputs, blind)
        width = won.shape[-1]
        first = won.flatten(1).to(torch.uint8).argmax(1)
        count = won.flatten(1).sum(1)
        alone = blind or not bool((count > 1).any())
        if alone:
            chosen, used, still = first.unsqueeze(0), torch.ones_like(first, dtype=torch.bool).unsqueeze(0), None
        else:
            still = still_shifts(self.source, inputs, count > 1, won.shape[-2:])  # type: ignore[arg-type]
            chosen, used = representatives(won, still)
        shifts = torch.stack([chosen // width, chosen % width], -1)
        elements = self.group.compose(shifts, self.group.inverse(self.pose.to(shifts.device)).expand_as(shifts))
        weights = used.to(wide(torch.float64, used.device))
        orbits = None
        if still is not None and bool((still.flatten(1).sum(1) > 1).any()):
            orbits = StillShifts(still.repeat(chosen.shape[0], 1, 1), self.group)
        order = torch.ones_like(count) if alone else count
        return Measure(self.group, elements, weights / weights.sum(0), order, cosets=chosen.shape[0], orbits=orbits)

    @torch.no_grad()
    def align(self, loader: Iterable[Any]) -> ShiftFrame:
        """Set the pose to that of the training images, so that centred images stay (nearly) where they are.

        The pose is the circular mean of the winning shifts over all images, rounded to whole pixels. It is kept in
        ``state_dict``.

        Args:
            loader: batches of images (B, ..., H, W), or of pairs whose first entry they are; of inputs of the source for a bound
                frame with named inputs.

        Returns:
            The frame itself.

        Raises:
            InputError: when there is no image, for images of several sizes, and NaN.

        Example:
            >>> import torch
            >>> from coset import frames
            >>> image = torch.zeros(1, 1, 8, 8)
            >>> image[0, 0, 3, 4] = 1.0
            >>> frames.Peak().align([image]).pose
            tensor([3, 4])
        """
        total = torch.zeros(2, dtype=torch.complex128)
        sizes: tuple[int, int] | None = None
        for batch in loader:
            won = self._won(batch).cpu()
            sizes = sizes or (won.shape[-2], won.shape[-1])
            if sizes != tuple(won.shape[-2:]):
                raise InputError(explain(f"images of {sizes} and of {tuple(won.shape[-2:])} pixels", "one size", "resize or crop them"))
            share = won.double() / won.flatten(1).sum(1).reshape(-1, 1, 1)
            for axis, n in enumerate(sizes):
                turn = torch.polar(torch.ones(n, dtype=torch.float64), 2 * math.pi / n * torch.arange(n, dtype=torch.float64))
                total[axis] += (share.sum((0, 2 - axis)) * turn).sum()
        if sizes is None:
            raise InputError(explain("a loader without batches", "at least one batch of training images", "pass the training loader"))
        pose = torch.angle(total) / (2 * math.pi) * torch.tensor(sizes)
        self.pose = self._rounded(torch.remainder(pose, torch.tensor(sizes)), sizes).to(self.pose)
        return self

    def _rounded(self, pose: Tensor, sizes: tuple[int, int]) -> Tensor:
        return pose.round() % torch.tensor(sizes)

    def _won(self, batch: Any) -> Tensor:
        """The winners for a batch of a loader."""
        if self.source is not None and self.source.items().keys() != {None}:
            if isinstance(batch, dict):
                batch = {key: batch[key] for key in self.source.entries if key in batch}  # type: ignore[attr-defined]
            self.source.check(batch)
            return self.places(batch, False)
        x = next(iter(batch.values() if isinstance(batch, dict) else batch), None) if is_container(batch) else batch
        if not isinstance(x, Tensor) or x.dim() < 3 or not x.numel():
            raise InputError(
                explain(f"a batch that begins with {describe(x)}", "images (B, C, H, W)", "let the loader return images, or (images, …)")
            )
        if not all_finite(x):
            raise InputError(explain(f"a batch {describe(x)} with NaN or infinite entries", "finite images", "remove or repair them"))
        if self.source is not None:
            self.source.check(x)
        return self.winners(x.reshape(x.shape[0], -1, *x.shape[-2:]), False)

    def aligned(self, loader: Iterable[Any]) -> ShiftFrame:
        """A copy with the pose of the training images; see :meth:`align`."""
        return copy.deepcopy(self).align(loader)


def shifts_images(source: Action) -> bool:
    """Whether the group of a source shifts images around a circle in both axes."""
    sizes = getattr(source.group, "sizes", None)
    return sizes is not None and len(sizes) == 2 and any(isinstance(leaf, Raster) for leaf in source.items().values())


def representatives(won: Bool[Tensor, "B H W"], still: Bool[Tensor, "B H W"]) -> tuple[Tensor, Tensor]:
    """One winner of every class of winners with the same canonical form.

    Args:
        won: the winners of each image.
        still: the shifts that leave each image alone.

    Returns:
        (cosets, B) flat numbers of winners, and which of them are used (the others repeat the first and have no weight).
    """
    height, width = won.shape[-2:]
    left = won.clone()
    found: list[Tensor] = []
    used: list[Tensor] = []
    rows = torch.arange(height, device=won.device)[:, None]
    columns = torch.arange(width, device=won.device)
    while bool(left.any()):
        some = left.flatten(1).any(1)
        pick = left.flatten(1).to(torch.uint8).argmax(1)
        pick = torch.where(some, pick, found[0]) if found else pick
        found.append(pick)
        used.append(some)
        down, right = pick // width, pick % width
        source = (rows - down[:, None, None]) % height * width + (columns - right[:, None, None]) % width
        moved = still.flatten(1).gather(1, source.flatten(1)).reshape(won.shape)  # pick + still
        left = left & ~moved
    return torch.stack(found), torch.stack(used)


def budget(device: torch.device) -> int:
    """How many bits of a whole number are kept exactly in sums and products."""
    return 52 if wide(torch.float64, device) == torch.float64 else 23


def whole(x: Shaped[Tensor, B * rest], bits: int) -> Float[Tensor, B * rest]:
    """Values rounded to whole numbers of at most ``bits`` bits, in units that shifts do not change; complex ones by their size."""
    x = x.abs() if x.is_complex() else x
    x = x.to(wide(torch.float64, x.device))
    top = x.flatten(1).abs().amax(1).clamp_min(torch.finfo(x.dtype).tiny * 2**bits)
    return (x / top.reshape(-1, *(1,) * (x.dim() - 1)) * (2**bits - 1)).round()


def doublings(count: int) -> int:
    """The bits by which a sum of ``count`` whole numbers may grow."""
    return max(count - 1, 0).bit_length()
