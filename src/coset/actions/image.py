"""Images and label masks: exact where the pixel grid carries the group, resampled as declared otherwise."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import InputError, SignatureError, describe, explain
from ..groups.base import Group
from ..tree import Tree, leaves
from .base import Action
from .layout import Layout
from .pixels import check_plane, grid_facts, grid_sizes, nearest_turn, pick_pixels, plane_matrix, rolled_pixels, swaps, turned_pixels
from .warp import Interpolation, Padding, warp


class Raster(Action):
    """Abstract: a group of the plane moves the last two axes (H, W).

    Turns by quarters and flips are gathers of pixels. For other elements the nearest quarter turn is a gather, and the
    rest, within 45 degrees, is one sampling about the centre; where the rest is zero the gather is returned untouched.
    """

    event = 2
    degree = None
    per_point = False

    def __init__(self, group: Group, interpolation: Interpolation, padding: Padding):
        super().__init__(group)
        check_plane(group, type(self).__name__)
        for option, kind in ((interpolation, Interpolation), (padding, Padding)):
            if not isinstance(option, kind):
                choices = ", ".join(f"actions.{choice!r}" for choice in kind)
                raise SignatureError(
                    explain(f"{option!r} for {type(self).__name__}", f"an actions.{kind.__name__}", f"choose among {choices}")
                )
        self.interpolation, self.padding = interpolation, padding
        self.exact, self._turns = grid_facts(group)
        self._sizes = grid_sizes(group)

    def act(self, g: Tree, x: Tensor, at: Layout | None = None) -> Tensor:
        """Move the pixels; height and width swap on odd quarter turns."""
        return self.move_pixels(g if at is None else at.spread(g, x), x)

    def move_pixels(self, g: Tree, x: Tensor) -> Tensor:
        """Move the last two axes and leave the values as they are."""
        if self._sizes is not None:
            return pick_pixels(rolled_pixels(g, x.shape[-2:]), x)
        matrix = plane_matrix(self.group, g)
        turn = matrix.detach().round().to(torch.int64) if self.exact else nearest_turn(matrix)
        swap = self._turns and x.shape[-2] != x.shape[-1] and swaps(turn, x)
        turned = pick_pixels(turned_pixels(turn, x.shape[-2:], swap), x)
        return turned if self.exact else self._resample(g, matrix @ turn.to(matrix.dtype).mT, turned)

    def shape_labels(self, g: Tree, x: Tree) -> Tensor | None:
        """Which elements swap the height and width of non-square images."""
        if not self._turns or self._sizes is not None or x.shape[-2] == x.shape[-1]:
            return None
        matrix = plane_matrix(self.group, g)
        turn = matrix.detach().round().to(torch.int64) if self.exact else nearest_turn(matrix)
        return turn[..., 0, 1] != 0

    def _resample(self, g: Tree, rest: Tensor, turned: Tensor) -> Tensor:
        """Apply what the nearest quarter turn leaves over, unless that is nothing."""
        shift = self.group.shift(g)
        moved = warp(turned, rest, shift, self.interpolation, self.padding)
        still = ((rest - torch.eye(2, dtype=rest.dtype, device=rest.device)).abs() < negligible(g)).all(-1).all(-1)
        if shift is not None:
            still = still & (shift == 0).all(-1)
        still = still.reshape(*still.shape, *(1,) * (moved.dim() - still.dim()))
        if not moved.is_floating_point() and not moved.is_complex():
            return torch.where(still, turned, moved)
        # the value of the turned image, with the derivative of the resampled one
        return torch.where(still, turned.detach() + (moved - moved.detach()), moved)

    def layout(self, x: Tensor) -> Layout:
        """The number of samples and the size of the image."""
        return Layout(samples=x.shape[0], size=(x.shape[-2], x.shape[-1]))

    def check(self, x: Tree, name: str = "input") -> None:
        """Refuse data without pixels, and images of another size than the group shifts.

        Raises:
            InputError: with what was given and what to do.
        """
        super().check(x, name)
        if 0 in x.shape[-2:]:
            raise InputError(explain(f"{name} is {describe(x)}", "at least one pixel", "drop empty images"))
        if self._sizes is not None and tuple(x.shape[-2:]) != tuple(self._sizes):
            height, width = x.shape[-2:]
            raise InputError(
                explain(
                    f"{name} is {describe(x)}",
                    f"images of height and width {tuple(self._sizes)}, shifted by {self.group}",
                    f"use Torus({height}, {width}), or resize the images",
                )
            )

    def arguments(self) -> tuple[str, ...]:
        """Options that are not the defaults."""
        mentioned = []
        if self.interpolation not in (Interpolation.BILINEAR, Interpolation.NEAREST):
            mentioned.append(f"interpolation={self.interpolation!r}")
        if self.padding is not Padding.ZEROS:
            mentioned.append(f"padding={self.padding!r}")
        return tuple(mentioned)


def negligible(g: Tree) -> float:
    """The size of a rotation that is rounding noise of an element, in radians."""
    finest = [torch.finfo(leaf.dtype).eps for leaf in leaves(g) if leaf.is_floating_point()]
    return min(32 * max(finest, default=torch.finfo(torch.float64).eps), 1e-5)


def check_numbers(action: Raster, x: Tensor, name: str) -> None:
    """Refuse integers where values are interpolated.

    Raises:
        InputError: naming Mask and float().
    """
    if not action.exact and not (x.is_floating_point() or x.is_complex()):
        raise InputError(
            explain(
                f"{name} is {describe(x)}",
                f"floating point numbers, because {action} interpolates",
                f"use actions.Mask for labels, or convert: {name}.float()",
            )
        )


class Image(Raster):
    """Images: the last two axes (H, W) move, the values stay.

    ``Cyclic(1, 2, 4)``, ``Dihedral(1, 2, 4)``, ``SignFlips(2)``, ``Hyperoctahedral(2)`` and ``Torus(H, W)`` only permute pixels:
    bit-exact for any dtype and size, and every sample may have its own element. Other groups of the plane resample,
    ``exact`` is then False; shifts are in pixels, (right, up).

    Shapes: (B, C, H, W), (B, H, W) or (B, ..., H, W).

    Args:
        group: a group with real 2 x 2 matrices, or ``Torus(H, W)``.
        interpolation: how values between pixels are read, where the group needs it.
        padding: what lies outside of the image, where the group needs it.

    Raises:
        SignatureError: when the group does not move the plane.
        InputError: when non-square images are turned by odd and by even quarter turns in one batch.

    Example:
        >>> import torch
        >>> from coset import actions, groups
        >>> x = torch.arange(6).reshape(1, 2, 3)
        >>> actions.Image(groups.Cyclic(4)).act(torch.tensor(1), x)
        tensor([[[2, 5],
                 [1, 4],
                 [0, 3]]])
        >>> actions.Image(groups.Cyclic(8)).exact
        False
    """

    def __init__(self, group: Group, *, interpolation: Interpolation = Interpolation.BILINEAR, padding: Padding = Padding.ZEROS):
        super().__init__(group, interpolation, padding)

    def check(self, x: Tree, name: str = "input") -> None:
        """Refuse too few axes, sizes that the group does not shift, and integers where values are interpolated."""
        super().check(x, name)
        check_numbers(self, x, name)

    def arguments(self) -> tuple[str, ...]:
        """Options that are not the defaults."""
        nearest = self.interpolation is Interpolation.NEAREST
        return (*((f"interpolation={self.interpolation!r}",) if nearest else ()), *super().arguments())


class Mask(Raster):
    """Label masks: moved like images, read at the nearest pixel, integers and booleans keep their dtype.

    Labels are not numbers, so ``linear`` is False: a mean of masks means nothing.

    Shapes: (B, H, W), (B, C, H, W) or (B, ..., H, W).

    Args:
        group: a group with real 2 x 2 matrices, or ``Torus(H, W)``.
        padding: the label outside: 0 (False), that of the border, or its mirror image.

    Example:
        >>> import torch
        >>> from coset import actions, groups
        >>> mask = torch.tensor([[[True, False], [False, False]]])
        >>> actions.Mask(groups.Cyclic(4)).act(torch.tensor([1]), mask)
        tensor([[[False, False],
                 [ True, False]]])
    """

    linear = False

    def __init__(self, group: Group, *, padding: Padding = Padding.ZEROS):
        super().__init__(group, Interpolation.NEAREST, padding)
