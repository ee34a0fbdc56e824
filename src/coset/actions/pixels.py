"""The pixel grid: its eight turns and flips and its circular shifts, as gathers that are exact for any size and dtype.

The plane has its origin at the centre of the image, ((W - 1) / 2, (H - 1) / 2), x to the right and y up, in pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ..errors import GroupError, InputError, SignatureError, describe, explain
from ..groups.base import Group
from ..tree import Tree, leaves

MANY = 4096
"""Groups with more elements are judged by a sample of them."""


def wide(device: torch.device) -> torch.dtype:
    """The dtype in which geometry is computed: float64 where the device has it."""
    return torch.float32 if device.type == "mps" else torch.float64


def plane_matrix(group: Group, g: Tree) -> Tensor:
    """The 2 x 2 matrices (*batch, 2, 2) of g in the wide dtype."""
    return group.matrix(g, dtype=wide(next(leaves(g)).device))


def grid_sizes(group: Group) -> tuple[int, ...] | None:
    """The sizes of a group of circular shifts of a grid; None for other groups."""
    return getattr(group, "sizes", None)


def check_plane(group: Group, owner: str) -> None:
    """Raise unless the group moves the plane by real 2 x 2 matrices, or shifts a grid of two axes.

    Raises:
        SignatureError: with the remedy.
    """
    remedy = "use a group of the plane such as Dihedral(4) or SpecialOrthogonal(2), or Pullback a homomorphism to one"
    sizes = grid_sizes(group)
    if sizes is not None:
        if len(sizes) != 2:
            raise SignatureError(explain(f"{owner} of {group}", "circular shifts of two axes", "write Torus(H, W)"))
        return
    try:
        some = settled(group)
        matrix = some.matrix(some.identity())
    except GroupError as error:
        raise SignatureError(explain(f"{owner} of {group}, which has no matrices", "2 x 2 matrices", remedy)) from error
    if tuple(matrix.shape[-2:]) != (2, 2) or matrix.is_complex():
        kind = "complex" if matrix.is_complex() else "real"
        size = " x ".join(str(n) for n in matrix.shape[-2:])
        raise SignatureError(explain(f"{owner} of {group}, with {kind} {size} matrices", "real 2 x 2 matrices", remedy))


def settled(group: Group) -> Group:
    """The group with a free number of points fixed to one, so that its elements can be built."""
    try:
        group.identity()
    except GroupError:
        return group.at(1)
    return group


def some_elements(group: Group) -> Tree:
    """All elements of a finite group, or a sample where there are very many."""
    if not group.finite or group.order > MANY:
        return group.sample(256, generator=torch.Generator().manual_seed(0))
    return group.elements()


def grid_facts(group: Group) -> tuple[bool, bool]:
    """Whether every element maps the pixel grid to itself, and whether some element swaps height and width."""
    if grid_sizes(group) is not None:
        return True, False
    group = settled(group)
    matrix = plane_matrix(group, some_elements(group))
    whole = group.finite and not group.translates and bool(((matrix - matrix.round()).abs() < 1e-6).all())
    return whole, bool((nearest_turn(matrix)[..., 0, 1] != 0).any())


def nearest_turn(matrix: Tensor) -> Tensor:
    """The turn or flip of the pixel grid that is nearest to a matrix, as integers (*batch, 2, 2).

    Its determinant has the sign of the matrix's; its quarter turn is nearest to the rotation in the polar decomposition.
    """
    a, b, c, d = matrix.detach().flatten(-2).unbind(-1)
    sign = torch.where(a * d - b * c < 0, -1.0, 1.0).to(a.dtype)
    quarter = torch.round(torch.atan2(sign * c - b, sign * a + d) / (math.pi / 2)) * (math.pi / 2)
    cos, sin = torch.cos(quarter), torch.sin(quarter)
    rows = torch.stack([torch.stack([sign * cos, -sin], -1), torch.stack([sign * sin, cos], -1)], -2)
    return rows.round().to(torch.int64)


def swaps(turn: Tensor, x: Tensor) -> bool:
    """Whether a batch of turns swaps height and width (one host synchronization; ask for non-square images only).

    Raises:
        InputError: when some turns of the batch do and others do not, so that the results have two shapes.
    """
    odd = turn[..., 0, 1] != 0
    if bool(odd.any()) and not bool(odd.all()):
        height, width = x.shape[-2:]
        raise InputError(
            explain(
                f"{describe(x)}, not square, and elements of which some turn it by an odd number of quarter turns",
                f"results of one shape, but these are {height} x {width} and {width} x {height}",
                "pad or crop the images to a square, or turn the batch by all odd or all even quarter turns",
            )
        )
    return bool(odd.any())


def eight_turns(device: torch.device) -> Tensor:
    """The symmetries r^k s^f of the pixel grid in the order k + 4 f, as integers (8, 2, 2)."""
    k = torch.arange(8, device=device) % 4
    sign = 1 - 2 * (torch.arange(8, device=device) // 4)
    cos, sin = (1 - k) * (1 - k % 2), (2 - k) * (k % 2)
    return torch.stack([sign * cos, -sin, sign * sin, cos], -1).unflatten(-1, (2, 2))


def turn_number(turn: Tensor) -> Tensor:
    """The position of turns (*batch, 2, 2) in :func:`eight_turns`."""
    a, b, c, d = turn.flatten(-2).unbind(-1)
    sign = a * d - b * c
    return (1 - d) * d.abs() + (2 + b) * b.abs() + 2 * (1 - sign)


def turned_pixels(turn: Tensor, size: Sequence[int], swap: bool) -> Tensor:
    """For every pixel of the turned image, the flat number of the pixel that it comes from.

    Args:
        turn: signed permutation matrices as integers (*batch, 2, 2).
        size: (H, W) of the image before the turn.
        swap: whether the turned image is W x H.

    Returns:
        (*batch, H', W') integers.
    """
    batch = turn.shape[:-2]
    if not torch.compiler.is_compiling() and batch.numel() <= 8:  # a condition on B would fix B in an exported graph
        return computed_pixels(turn, size, swap)
    every = computed_pixels(eight_turns(turn.device), size, swap)
    return every.index_select(0, turn_number(turn).flatten()).reshape(*batch, *every.shape[1:])


def computed_pixels(turn: Tensor, size: Sequence[int], swap: bool) -> Tensor:
    """As :func:`turned_pixels`, computed for each element by itself."""
    height, width = size
    rows, columns = (width, height) if swap else size
    # twice the centred coordinates are integers for odd and even sizes alike
    right = 2 * torch.arange(columns, device=turn.device) - (columns - 1)
    up = (rows - 1) - 2 * torch.arange(rows, device=turn.device)[:, None]
    a, b, c, d = turn.flatten(-2)[..., None, None].unbind(-3)
    return (height * width - 1 + (a - width * b) * right + (c - width * d) * up) // 2


def rolled_pixels(shift: Tensor, size: Sequence[int]) -> Tensor:
    """For every pixel of the circularly shifted image, the flat number of the pixel that it comes from.

    Args:
        shift: integers (*batch, 2), down and right, as in ``torch.roll(x, shift, (-2, -1))``.
        size: (H, W).
    """
    height, width = size
    down, right = shift[..., None, None].unbind(-3)
    row = torch.remainder(torch.arange(height, device=shift.device)[:, None] - down, height)
    column = torch.remainder(torch.arange(width, device=shift.device) - right, width)
    return row * width + column


def leading(batch: torch.Size, x: Tensor, event: int) -> tuple[int, ...]:
    """The axes of ``x`` before its ``event`` last ones, broadcast from the left against the batch axes of elements.

    Raises:
        SignatureError: when the elements have more batch axes than the data, or other lengths.
    """
    lead = x.shape[: x.dim() - event]
    try:
        if len(batch) > len(lead):
            raise RuntimeError
        return tuple(torch.broadcast_shapes(lead, (*batch, *(1,) * (len(lead) - len(batch)))))
    except RuntimeError:
        raise SignatureError(
            explain(
                f"group elements with batch axes {tuple(batch)} and {describe(x)}",
                f"data with those batch axes first and {event} axes last",
                "give every sample its own leading entry",
            )
        ) from None


def pick_pixels(source: Tensor, x: Tensor) -> Tensor:
    """Gather pixels by their flat numbers.

    Args:
        source: (*batch, H', W') integers below H W.
        x: (*batch, ..., H, W) of any dtype; batch axes broadcast from the left.

    Returns:
        (*batch, ..., H', W').
    """
    batch, size = source.shape[:-2], source.shape[-2:]
    lead = leading(batch, x, 2)
    index = source.reshape(*batch, *(1,) * (len(lead) - len(batch)), size.numel())
    return x.flatten(-2).expand(*lead, -1).gather(-1, index.expand(*lead, -1)).unflatten(-1, size)
