"""Fields: images whose channels are vectors or tensors, which turn with the picture."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import InputError, SignatureError, describe, explain
from ..groups.base import Group
from ..tree import Tree
from .base import Action
from .image import Raster, check_numbers
from .layout import Layout
from .linear import move_last
from .pixels import plane_matrix
from .warp import Interpolation, Padding


class Field(Raster):
    """Vector and tensor fields on the pixel grid: the pixels move, and the channels turn with them.

    Components are (right, down), as in the image gradient (d/dx, d/dy): element 1 of ``Cyclic(4)`` sends (vx, vy) to
    (vy, -vx). The channels of m vectors are (vx, vy) of the first, then of the next; those of m tensors of order 2 are
    (xx, xy, yx, yy). Vectors follow the linear part of the group, scalings included; shifts leave them alone.

    Shapes: (B, m 2^order, H, W), or (B, ..., m 2^order, H, W).

    Args:
        group: a group with real 2 x 2 matrices, or ``Torus(H, W)``.
        order: 1 for vectors, 2 for matrices, any number of tensor indices.
        inner: another action of the same group on the channels, for instance ``Regular(group)``; instead of ``order``.
        interpolation: how values between pixels are read, where the group needs it.
        padding: what lies outside of the image, where the group needs it.

    Raises:
        SignatureError: when the group does not move the plane, or ``inner`` belongs to another group.

    Example:
        >>> import torch
        >>> from coset import actions, groups
        >>> wind = torch.tensor([3.0, 1.0]).reshape(1, 2, 1, 1)
        >>> actions.Field(groups.Cyclic(4)).act(torch.tensor([1]), wind).flatten()
        tensor([ 1., -3.])
    """

    event = 3

    def __init__(
        self,
        group: Group,
        *,
        order: int = 1,
        inner: Action | None = None,
        interpolation: Interpolation = Interpolation.BILINEAR,
        padding: Padding = Padding.ZEROS,
    ):
        super().__init__(group, interpolation, padding)
        if isinstance(order, bool) or not isinstance(order, int) or order < 0:
            raise SignatureError(
                explain(f"order={order!r}", "a number of tensor indices", "write order=1 for vectors, order=2 for matrices")
            )
        if inner is not None and inner.group != group:
            raise SignatureError(
                explain(f"Field of {group} with inner={inner!r}", "an inner action of the same group", "build both with one group")
            )
        if inner is not None:
            self.exact = self.exact and inner.exact
        self.order, self.inner = order, inner

    def act(self, g: Tree, x: Tensor, at: Layout | None = None) -> Tensor:
        """Move the pixels, then turn the channels."""
        g = g if at is None else at.spread(g, x)
        return self._turn_channels(g, self.move_pixels(g, x))

    def _turn_channels(self, g: Tree, x: Tensor) -> Tensor:
        if self.inner is not None:
            return self.inner.act(g, x.movedim(-3, -1)).movedim(-1, -3)
        if self._sizes is not None or self.order == 0:
            return x
        matrix = downward(plane_matrix(self.group, g))
        matrix = (matrix.round() if self.exact else matrix).to(x.dtype)
        parts = x.movedim(-3, -1).unflatten(-1, (-1, *(2,) * self.order))
        for axis in range(-self.order, 0):
            parts = move_last(matrix, parts.movedim(axis, -1)).movedim(-1, axis)
        return parts.flatten(-1 - self.order).movedim(-1, -3)

    def check(self, x: Tree, name: str = "input") -> None:
        """Refuse channels that are not whole vectors or tensors, besides what images refuse.

        Raises:
            InputError: with the number of channels.
        """
        super().check(x, name)
        check_numbers(self, x, name)
        if self.inner is None and x.shape[-3] % 2**self.order:
            kind = {1: "vectors (right, down)", 2: "2 x 2 tensors"}.get(self.order, f"tensors of order {self.order}")
            raise InputError(
                explain(
                    f"{name} is {describe(x)} with {x.shape[-3]} channels",
                    f"channels that are {kind}, a multiple of {2**self.order}",
                    "put scalar channels in an Image beside the Field, or set order=",
                )
            )

    def arguments(self) -> tuple[str, ...]:
        """Options that are not the defaults."""
        mentioned = [f"order={self.order}"] if self.order != 1 and self.inner is None else []
        mentioned += [f"inner={self.inner!r}"] if self.inner is not None else []
        mentioned += [f"interpolation={self.interpolation!r}"] if self.interpolation is Interpolation.NEAREST else []
        return (*mentioned, *super().arguments())


def downward(matrix: Tensor) -> Tensor:
    """A matrix in the basis (right, up), rewritten in the basis (right, down)."""
    return matrix * torch.tensor([[1.0, -1.0], [-1.0, 1.0]], dtype=matrix.dtype, device=matrix.device)
