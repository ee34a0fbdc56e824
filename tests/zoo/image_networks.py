"""The zoo of image networks: sizes odd and even, square and not, one case or more for every group that they know."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from coset import actions, groups, nn

CHANNELS = 3


@dataclass(frozen=True)
class ImageCase:
    """One network of images.

    Attributes:
        kind: the class.
        group: the turns and flips that it commutes with to rounding, or that what it sees commutes with.
        arguments: of the class.
        size: (H, W) of the images.
    """

    kind: type
    group: groups.Group
    arguments: tuple[Any, ...]
    size: tuple[int, int] = (24, 24)
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """How the case is called in test names."""
        words = [f"{key}={value}" for key, value in self.options.items()]
        return " ".join([self.kind.__name__, *map(repr, self.arguments), f"{self.size[0]}x{self.size[1]}", *words])

    def build(self, dtype: torch.dtype, seed: int = 0) -> Any:
        """The network, with weights that follow from the seed."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return self.kind(*self.arguments, **self.options).to(dtype)

    def make(self, generator: torch.Generator, dtype: torch.dtype) -> Tensor:
        """A batch of four images."""
        return torch.randn(4, CHANNELS, *self.size, generator=generator, dtype=dtype)

    @property
    def source(self) -> actions.Image:
        """How the group moves images."""
        return actions.Image(self.group)


C2, C4, D4, C8, D8 = groups.Cyclic(2), groups.Cyclic(4), groups.Dihedral(4), groups.Cyclic(8), groups.Dihedral(8)

IMAGE_NETWORKS: dict[type, list[ImageCase]] = {
    nn.ImageScorer: [
        ImageCase(nn.ImageScorer, D4, (CHANNELS,)),
        ImageCase(nn.ImageScorer, D4, (CHANNELS,), (225, 300), {"size": 32}),
        ImageCase(nn.ImageScorer, D4, (CHANNELS,), (33, 33), {"size": 8, "width": 4}),
    ],
    nn.CircularScorer: [
        ImageCase(nn.CircularScorer, groups.Torus(24, 24), (CHANNELS,)),
        ImageCase(nn.CircularScorer, groups.Torus(7, 10), (CHANNELS,), (7, 10), {"layers": 4, "width": 5}),
        ImageCase(nn.CircularScorer, groups.Torus(1, 12), (CHANNELS,), (1, 12), {"layers": 0}),
    ],
    nn.GroupCNN: [
        ImageCase(nn.GroupCNN, C4, (C4, CHANNELS)),
        ImageCase(nn.GroupCNN, D4, (D4, CHANNELS), (31, 44)),
        ImageCase(nn.GroupCNN, groups.Dihedral(2), (groups.Dihedral(2), CHANNELS), (25, 25), {"layers": 3, "width": 4}),
        ImageCase(nn.GroupCNN, C4, (C8, CHANNELS), (40, 40), {"size": 32}),
        ImageCase(nn.GroupCNN, D4, (D8, CHANNELS), (41, 41)),
    ],
}
CASES = [one for cases in IMAGE_NETWORKS.values() for one in cases]
