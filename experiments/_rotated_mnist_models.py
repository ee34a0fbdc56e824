"""The networks of the rotated digits: a small convolutional one, and one that reads an image as a set of points and returns vectors."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, conv2d

from coset import actions, groups
from coset.nn import VectorNeurons

POINTS = groups.Symmetric() * groups.SpecialOrthogonal(2)
SET = actions.Dict(
    place=actions.Vectors(POINTS), slope=actions.Vectors(POINTS), wide=actions.Vectors(POINTS), value=actions.Permute(POINTS, -2)
)


class Convolutions(nn.Module):
    """Five convolutions and a linear layer: (B, 1, 28, 28) -> (B, 10)."""

    def __init__(self, width: int = 16):
        super().__init__()

        def block(a: int, b: int, stride: int = 1) -> list[nn.Module]:
            return [nn.Conv2d(a, b, 3, stride, padding=1, bias=False), nn.BatchNorm2d(b), nn.ReLU()]

        one, two, four = width, 2 * width, 4 * width
        self.layers = nn.Sequential(
            *block(1, one),
            *block(one, one, 2),
            *block(one, two),
            *block(two, two, 2),
            *block(two, four),
            nn.Flatten(),
            nn.Dropout(0.3),
            nn.Linear(four * 49, 10),
        )

    def forward(self, images: Tensor) -> Tensor:
        """The logits."""
        return self.layers(images)


class PointsOfImage(nn.Module):
    """Vectors of an image, (B, 2, 2), that turn as it does and do not depend on the order of pixels.

    Every two by two pixels of the blurred image are a point, with what moves as a vector there: its place times its
    brightness, and the slopes of two blurred images; brightnesses are scalars. Dark points carry zeros. Places are
    (right, up) from the centre, as ``actions.Image`` moves them. Points see means over the image only, so the cost is linear
    in their number.

    Args:
        noise: random vectors for each image; the same for all its points.
        size: of the images.
    """

    def __init__(self, noise: int, size: int = 28):
        super().__init__()
        line = (2 * torch.arange(size // 2) - (size // 2 - 1)) / (size / 4)
        self.register_buffer("place", torch.cartesian_prod(-line, line).flip(-1))
        self.register_buffer("filters", torch.cat([kernels(1.5), kernels(2.5)]).unsqueeze(1))
        self.noise = noise
        self.inner = VectorNeurons(SET, self.points(torch.rand(2, 1, size, size)), width=16, layers=1, noise=noise, neighbours=0)

    def points(self, images: Tensor) -> dict[str, Tensor]:
        """What the points of an image carry, (B, n, ...)."""
        blurred = conv2d(images, self.filters, padding=self.filters.shape[-1] // 2)
        blurred = avg_pool2d(blurred, 2).flatten(2).mT  # (B, n, 6)
        bright, slope, faint, wide = blurred[..., :1], blurred[..., 1:3], blurred[..., 3:4], blurred[..., 4:]
        return {"place": faint * self.place, "slope": slope, "wide": wide, "value": torch.cat([bright, faint], -1)}

    def forward(self, images: Tensor, noise: Tensor | None) -> Tensor:
        """The vectors; noise (B, c, 2) or None."""
        points = self.points(images)
        if noise is not None:
            noise = noise.unsqueeze(1).expand(-1, points["place"].shape[1], -1, -1)
        return self.inner(points, noise)[1]


class Sided(nn.Module):
    """Vectors of an image (B, 2, 2) mixed with themselves turned by a quarter, so that they can tell an image from its mirror image.

    The vectors of ``PointsOfImage`` reflect as images do, so that of their pairs one half turns left and one half right; a quarter turn
    commutes with rotations and not with reflections.

    Args:
        noise: random vectors for each image.
    """

    def __init__(self, noise: int):
        super().__init__()
        self.inner = PointsOfImage(noise)
        self.plain = nn.Parameter(torch.tensor([[1.0, 0.0], [0.0, 0.5]]))
        self.turned = nn.Parameter(torch.tensor([[0.0, 0.0], [1.0, 0.0]]))

    def forward(self, images: Tensor, noise: Tensor | None) -> Tensor:
        """The vectors; noise (B, c, 2) or None."""
        v = self.inner(images, noise)
        return self.plain @ v + self.turned @ torch.stack([-v[..., 1], v[..., 0]], -1)


def kernels(width: float, radius: int = 6) -> Tensor:
    """A Gaussian of a width in pixels, and its slopes to the right and up, (3, 2 r + 1, 2 r + 1)."""
    line = torch.arange(-radius, radius + 1, dtype=torch.float64)
    bell = torch.exp(-line.square() / (2 * width**2))
    bell = bell / bell.sum()
    flat = bell[:, None] * bell
    slope = flat * line / width  # conv2d correlates: brighter to the right is positive
    return torch.stack([flat, 2 * slope, -2 * slope.mT]).float()
