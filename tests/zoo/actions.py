"""The zoo of actions: at least three real cases of every public action. Laws run over ``ACTIONS``."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable

import torch
from torch import Tensor

from coset import groups
from coset.actions.base import Action
from coset.actions.boxes import Boxes
from coset.actions.coarse import Coarse
from coset.actions.field import Field
from coset.actions.image import Image, Mask
from coset.actions.keypoints import Keypoints
from coset.actions.periodic import Periodic
from coset.actions.warp import Interpolation, Padding

from .cases import ActionCase

BATCH = 4


def image(*shape: int) -> Callable[[torch.Generator, torch.dtype], Tensor]:
    """White noise, (BATCH, *shape)."""
    return lambda generator, dtype: torch.randn(BATCH, *shape, generator=generator, dtype=dtype)


def smooth(channels: int, height: int, width: int) -> Callable[[torch.Generator, torch.dtype], Tensor]:
    """Wide Gaussian blobs near the centre: images that resampling hardly harms."""

    def make(generator: torch.Generator, dtype: torch.dtype) -> Tensor:
        y, x = torch.meshgrid(torch.arange(height, dtype=dtype), torch.arange(width, dtype=dtype), indexing="ij")
        offset = torch.randn(BATCH, channels, 2, generator=generator, dtype=dtype)[..., None, None]
        distance = (x - (width - 1) / 2 - offset[:, :, 0]) ** 2 + (y - (height - 1) / 2 - offset[:, :, 1]) ** 2
        return torch.exp(-distance / (2 * (min(height, width) / 6) ** 2))

    return make


def banded(channels: int, height: int, width: int) -> Callable[[torch.Generator, torch.dtype], Tensor]:
    """White noise without the highest frequencies of even axes."""

    def make(generator: torch.Generator, dtype: torch.dtype) -> Tensor:
        spectrum = torch.fft.fft2(torch.randn(BATCH, channels, height, width, generator=generator, dtype=torch.float64))
        spectrum[..., height // 2, :] = 0
        spectrum[..., width // 2] = 0
        return torch.fft.ifft2(spectrum).real.to(dtype)

    return make


def labels(classes: int, *shape: int) -> Callable[[torch.Generator, torch.dtype], Tensor]:
    """Integer labels, or booleans for two classes."""

    def make(generator: torch.Generator, dtype: torch.dtype) -> Tensor:
        drawn = torch.randint(classes, (BATCH, *shape), generator=generator)
        return drawn.bool() if classes == 2 else drawn

    return make


def blobs(*shape: int) -> Callable[[torch.Generator, torch.dtype], Tensor]:
    """Boolean discs: masks that nearest-pixel sampling hardly harms."""
    return lambda generator, dtype: smooth(1, *shape)(generator, dtype)[:, 0] > 0.3


def places(n: int, height: int, width: int) -> Callable[[torch.Generator, torch.dtype], Tensor]:
    """Keypoints inside of an image."""
    scale = torch.tensor([width - 1, height - 1])
    return lambda generator, dtype: torch.rand(BATCH, n, 2, generator=generator, dtype=dtype) * scale.to(dtype)


def boxes(n: int, height: int, width: int) -> Callable[[torch.Generator, torch.dtype], Tensor]:
    """Boxes inside of an image."""

    def make(generator: torch.Generator, dtype: torch.dtype) -> Tensor:
        corners = places(2 * n, height, width)(generator, dtype).unflatten(1, (n, 2))
        return torch.cat([corners.amin(-2), corners.amax(-2)], -1)

    return make


def case(action: Action, make: Callable[[torch.Generator, torch.dtype], Tensor], note: str = "", **options: object) -> ActionCase:
    """A case that is called like its action."""
    return ActionCase(action, make, f"{action!r}{' ' + note if note else ''}", **options)  # type: ignore[arg-type]


C4, D4, SO2, O2 = groups.Cyclic(4), groups.Dihedral(4), groups.SpecialOrthogonal(2), groups.Orthogonal(2)
SE2 = groups.SpecialEuclidean(2)
FAR = {"skips": {"compose": "its shifts and scales leave the image", "inverse": "its shifts and scales leave the image"}}

GRID: dict[type, list[ActionCase]] = {
    Image: [
        case(Image(groups.Cyclic(1)), image(3, 4, 6)),
        case(Image(groups.Cyclic(2)), image(3, 5, 8)),
        case(Image(C4), image(3, 7, 7), "odd"),
        case(Image(C4), image(8, 8), "without channels"),
        case(Image(C4), labels(9, 6, 6), "integers"),
        case(Image(groups.Dihedral(1)), image(2, 3, 8)),
        case(Image(groups.Dihedral(2)), image(2, 4, 7)),
        case(Image(D4), image(3, 8, 8), "even"),
        case(Image(D4), image(2, 3, 5, 5), "two leading axes"),
        case(Image(groups.SignFlips(2)), image(1, 4, 9)),
        case(Image(groups.Hyperoctahedral(2)), image(2, 6, 6)),
        case(Image(groups.Torus(5, 7)), image(2, 5, 7)),
        case(Image(groups.Cyclic(8)), smooth(2, 24, 24), drift=0.1),
        case(Image(groups.Dihedral(6), interpolation=Interpolation.BICUBIC), smooth(1, 25, 25), drift=0.1),
        case(Image(SO2, padding=Padding.BORDER), smooth(2, 25, 25), drift=0.1),
        case(Image(O2, padding=Padding.REFLECTION), smooth(1, 24, 24)),
        case(Image(SE2), smooth(1, 33, 33)),
        case(Image(groups.Translation(2)), smooth(1, 24, 31)),
        case(Image(groups.Affine(2)), smooth(1, 24, 24), **FAR),
        case(Image(groups.Scaling(2)), smooth(1, 24, 31), **FAR),
        case(Image(groups.GeneralLinear(2)), smooth(1, 24, 24), **FAR),
    ],
    Mask: [
        case(Mask(C4), labels(5, 6, 6)),
        case(Mask(D4), labels(2, 1, 7, 7), "bool"),
        case(Mask(groups.Torus(4, 6)), labels(3, 4, 6)),
        case(Mask(groups.Cyclic(8)), blobs(24, 24), drift=1.0),
        case(Mask(SO2, padding=Padding.BORDER), blobs(25, 25), drift=1.0),
    ],
    Field: [
        case(Field(C4), image(2, 6, 6)),
        case(Field(D4), image(4, 7, 7), "two vectors"),
        case(Field(D4, order=2), image(4, 6, 6)),
        case(Field(groups.Hyperoctahedral(2), order=0), image(3, 6, 6)),
        case(Field(groups.Torus(3, 4)), image(2, 3, 4)),
        case(Field(O2), smooth(2, 24, 24), drift=0.1),
        case(Field(groups.Cyclic(8), order=2), smooth(4, 25, 25), drift=0.1),
    ],
    Keypoints: [
        case(Keypoints(C4, size=(9, 9)), places(5, 9, 9)),
        case(Keypoints(D4, size=(8, 8), pairs=[(0, 1), (3, 4)]), places(5, 8, 8)),
        case(Keypoints(groups.SignFlips(2), size=(24, 31)), places(3, 24, 31)),
        case(Keypoints(groups.Torus(6, 9), size=(6, 9)), places(3, 6, 9), skips={"linear": "coordinates on a circle"}),
        case(Keypoints(O2, size=(9, 9)), places(4, 9, 9)),
        case(Keypoints(SE2, size=(9, 9)), places(4, 9, 9), tol_scale=4.0),
        case(Keypoints(D4, size=(8, 8)), places(0, 8, 8), "none"),
    ],
    Periodic: [
        case(Periodic(groups.RealTorus(5, 7)), image(2, 5, 7)),
        case(Periodic(groups.RealTorus(9, 9)), image(9, 9), "without channels"),
        case(Periodic(groups.RealTorus(8, 12)), banded(3, 8, 12), "even"),
    ],
    Coarse: [
        case(Coarse(groups.Torus(4, 6), stride=1), image(2, 4, 6), drift=1e-6),
        case(Coarse(groups.Torus(8, 12), stride=2), image(4, 6), drift=2.5),
        case(Coarse(groups.Torus(8, 12), stride=4), labels(5, 2, 3), drift=2.5),
    ],
    Boxes: [
        case(Boxes(C4, size=(9, 9)), boxes(3, 9, 9)),
        case(Boxes(D4, size=(8, 8)), boxes(4, 8, 8)),
        case(Boxes(D4, size=(8, 8), clip=True), boxes(4, 8, 8)),
        case(Boxes(groups.Dihedral(2), size=(24, 31)), boxes(2, 24, 31)),
        case(Boxes(SO2, size=(9, 9)), boxes(2, 9, 9), drift=5.0),
        case(Boxes(D4, size=(8, 8)), boxes(0, 8, 8), "none"),
    ],
}

ACTIONS: dict[type, list[ActionCase]] = dict(GRID)
if importlib.util.find_spec("tests.zoo.linear_cases") is not None:
    # the linear actions: ``LINEAR: dict[type, list[ActionCase]]``, built with ``from .cases import ActionCase``
    from .linear_cases import LINEAR  # type: ignore[import-not-found]

    ACTIONS |= LINEAR

CASES = [one for cases in ACTIONS.values() for one in cases]
