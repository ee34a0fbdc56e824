"""A group convolutional network of images: one score for every turn and flip of the plane, moved by the regular action."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, conv2d, relu

from ..actions.image import Image
from ..actions.pixels import plane_matrix
from ..errors import InputError, SignatureError, describe, explain
from ..groups.base import Group
from ..tree import Tree, tree_map
from .disk import Disk, image_of

BELL = 0.6
"""The width of the rings that kernels are made of, in pixels."""


class GroupCNN(nn.Module):
    """Scores (B, |G|) of the elements of a finite group of the plane, in the order of ``group.elements()``: s(g x)[h] = s(x)[g^-1 h].

    A lifting convolution and convolutions over the group; the kernels of all elements are one kernel, moved by the group's own
    action on images. For quarter turns and flips (``Cyclic(4)``, ``Dihedral(4)`` and their subgroups) the law holds to rounding,
    at every size of the images. Kernels turned by other angles are sums of circular harmonics, sampled on pixels, so
    ``Cyclic(8)`` and ``Dihedral(8)`` are approximate: ``exact`` is False. Use it in ``frames.Canonicalizer``, whose retraction is
    ``frames.Argmax()``, and in ``frames.Probabilistic`` (noise is added to the scores).

    Args:
        group: Cyclic(n), Dihedral(n), or another finite group with real 2 x 2 matrices.
        channels: of the images.
        size: pixels that the network sees, a multiple of 4; see ``ImageScorer``.
        width: channels for each element of the group.
        layers: convolutions over the group.

    Raises:
        SignatureError: for groups that do not move the plane, or cannot be listed.
        InputError: for sizes that make no network, and when called with anything but images (B, C, H, W).

    Reference: Cohen and Welling 2016, arXiv 1602.07576.

    Example:
        >>> import torch
        >>> from coset import groups, nn
        >>> nn.GroupCNN(groups.Dihedral(4), 3)(torch.rand(2, 3, 32, 32)).shape
        torch.Size([2, 8])
    """

    references = ("cohen2016group",)
    turned: Tensor
    onwards: Tensor

    def __init__(self, group: Group, channels: int, size: int = 16, width: int = 8, layers: int = 2):
        super().__init__()
        sizes = {"channels": channels, "width": width, "layers": layers}
        if not all(isinstance(n, int) and not isinstance(n, bool) and n >= 1 for n in sizes.values()):
            raise InputError(explain(f"GroupCNN with {sizes}", "positive whole numbers", "pass for instance GroupCNN(groups.Cyclic(4), 3)"))
        if not isinstance(group, Group) or not group.finite or group.permutes or group.dim != 2:
            raise SignatureError(
                explain(
                    f"GroupCNN of {group!r}", "a finite group of the plane", "use Cyclic(n) or Dihedral(n), or frames.Minimize for others"
                )
            )
        self.disk = Disk(size)
        if size % 4:
            raise InputError(explain(f"size={size}", "a multiple of 4", f"pass size={size + 4 - size % 4}"))
        self.group, self.channels, self.width = group, channels, width
        self.exact = Image(group).exact
        side = 3 if self.exact else 5
        self.register_buffer("turned", turned_kernels(group, side), persistent=False)
        self.register_buffer("onwards", differences(group), persistent=False)
        self.lift = nn.Parameter(torch.randn(width, channels, side**2) * (2 / (channels * side**2)) ** 0.5)
        fan = width * group.order * side**2
        self.kernels = nn.ParameterList(
            nn.Parameter(torch.randn(width, width, group.order, side**2) * (2 / fan) ** 0.5) for _ in range(layers)
        )
        self.biases = nn.ParameterList(nn.Parameter(torch.zeros(width)) for _ in range(layers + 1))
        self.out = nn.Parameter(torch.randn(width) / width**0.5)

    def forward(self, inputs: Tree, noise: Tensor | None = None) -> Tensor:
        """The scores (B, |G|) of images (B, C, H, W).

        Args:
            inputs: images, or a mapping that holds them alone.
            noise: (B, |G|), added to the scores.
        """
        h = self.disk(image_of(inputs, self.disk.size, self, self.channels)).to(self.lift.dtype)
        h = self._over(h, self._lifted(), self.biases[0])
        for number, kernel in enumerate(self.kernels):
            h = avg_pool2d(h, 2) if number < 2 else h
            h = self._over(h, self._grouped(kernel), self.biases[number + 1])
        pooled = h.mean((-2, -1)).unflatten(1, (self.width, -1))
        wide = torch.promote_types(pooled.dtype, torch.float32)
        scores = (pooled.to(wide) * self.out.to(wide)[:, None]).sum(1)
        return scores if noise is None else scores + self._checked(noise, scores)

    def _over(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """A convolution with the kernels of all elements, channels (width, |G|), and a rectifier."""
        side = weight.shape[-1]
        return relu(conv2d(x, weight, bias.repeat_interleave(self.group.order), padding=side // 2))

    def _lifted(self) -> Tensor:
        """Kernels (width |G|, channels, k, k): that of element g is moved by g."""
        moved = torch.einsum("gpq,ocq->ogcp", self.turned.to(self.lift.dtype), self.lift)
        return self._square(moved.flatten(0, 1))

    def _grouped(self, kernel: Tensor) -> Tensor:
        """Kernels (width |G|, width |G|, k, k): from element h to element g, that of g^-1 h moved by g."""
        every = kernel[:, :, self.onwards]  # (out, in, g, h, k²)
        moved = torch.einsum("gpq,oighq->ogihp", self.turned.to(kernel.dtype), every)
        return self._square(moved.flatten(2, 3).flatten(0, 1))

    @staticmethod
    def _square(kernels: Tensor) -> Tensor:
        side = round(kernels.shape[-1] ** 0.5)
        return kernels.unflatten(-1, (side, side))

    def _checked(self, noise: Tensor, scores: Tensor) -> Tensor:
        if noise.shape != scores.shape:
            raise InputError(explain(f"noise {describe(noise)}", f"one number per element, {tuple(scores.shape)}", "use frames.Gumbel()"))
        return noise.to(scores.dtype)


def turned_kernels(group: Any, side: int) -> Tensor:
    """(|G|, k², k²): how each element moves kernels of k = ``side`` pixels.

    On the grid these are permutations. Other groups move the part of a kernel that lies in the span of circular harmonics on rings,
    which can be turned by any angle.
    """
    every = group.elements()
    if Image(group).exact:
        unit = torch.eye(side * side, dtype=torch.float64).reshape(1, -1, side, side)
        return Image(group).act(every, unit.expand(group.order, -1, -1, -1)).flatten(-2).mT.to(torch.get_default_dtype())
    at = torch.arange(side, dtype=torch.float64) - (side - 1) / 2
    places = torch.stack([at.expand(side, side), -at[:, None].expand(side, side)], -1).flatten(0, 1)  # x right, y up
    back = plane_matrix(group, group.inverse(every))
    found = harmonics(torch.einsum("gij,pj->gpi", back, places), side // 2) @ torch.linalg.pinv(harmonics(places, side // 2))
    return found.to(torch.get_default_dtype())


def harmonics(places: Tensor, rings: int) -> Tensor:
    """Functions of places (..., 2): bells around rings of radius 0, 1, ..., times sines and cosines of multiples of the angle."""
    radius, angle = places.square().sum(-1).sqrt(), torch.atan2(places[..., 1], places[..., 0])
    found = [torch.exp(-radius.square() / (2 * BELL**2))]
    for ring in range(1, rings + 1):
        bell = torch.exp(-(radius - ring).square() / (2 * BELL**2))
        found.append(bell)
        for order in range(1, ring + 2):
            found += [bell * torch.cos(order * angle), bell * torch.sin(order * angle)]
    return torch.stack(found, -1)


def differences(group: Any) -> Tensor:
    """(|G|, |G|): the number of g^-1 h."""
    every = group.elements()
    back = tree_map(lambda leaf: leaf.unsqueeze(1), group.inverse(every))
    return group.index(group.compose(back, tree_map(lambda leaf: leaf.unsqueeze(0), every)))
