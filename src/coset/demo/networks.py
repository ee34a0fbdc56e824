"""Small networks without any symmetry: a transformer on positions and species, and a CNN on digits."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

CANVAS = 12
"""Height and width of the canvas that digits are painted on: 8 x 8 pixels fit at every angle."""


class Transformer(nn.Module):
    """Per-atom vectors from positions and species; it reads coordinates as plain numbers, so directions matter.

    The weights are random and stay so: whether a model is equivariant is a question to the function, not to its use.
    """

    def __init__(self, width: int = 32, scale: float = 3.0):
        super().__init__()
        self.scale = scale
        self.species = nn.Embedding(100, width)
        self.places = nn.Sequential(nn.Linear(3, width), nn.GELU(), nn.Linear(width, width))
        layer = nn.TransformerEncoderLayer(width, 4, 2 * width, dropout=0.0, batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.out = nn.Linear(width, 3)

    def forward(self, pos: Tensor, z: Tensor, mask: Tensor) -> Tensor:
        """(B, n, 3) vectors, zero on padding."""
        hidden = self.species(z) + self.scale * self.places(pos)
        hidden = self.layers(hidden, src_key_padding_mask=~mask)
        return self.out(hidden) * mask.unsqueeze(-1)


class Classifier(nn.Module):
    """Logits of an image (B, 1, 8, 8): a CNN on the image in the middle of the canvas."""

    def __init__(self, cnn: nn.Module):
        super().__init__()
        self.cnn = cnn

    def forward(self, image: Tensor) -> Tensor:
        """(B, 10) logits."""
        room = CANVAS - image.shape[-1]
        return self.cnn(nn.functional.pad(image, (room // 2, room - room // 2) * 2))


class Painter(nn.Module):
    """Logits of ink at places in the plane: painted on the canvas, then the CNN.

    For ink on the pixel grid it agrees with :class:`Classifier`.
    """

    def __init__(self, cnn: nn.Module):
        super().__init__()
        self.cnn = cnn

    def forward(self, pos: Tensor, ink: Tensor, mask: Tensor) -> Tensor:
        """(B, 10) logits."""
        return self.cnn(paint(pos, ink * mask))


class OnImages(nn.Module):
    """A model of ink at places, called with images."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> Tensor:
        """(B, 10) logits."""
        return self.model(**cloud(image))


def cloud(image: Tensor) -> dict[str, Tensor]:
    """The inked pixels of images (B, 1, H, W) as points (right, up) around the middle, with their ink."""
    half_height, half_width = (image.shape[-2] - 1) / 2, (image.shape[-1] - 1) / 2
    up = half_height - torch.arange(image.shape[-2], dtype=image.dtype)
    right = torch.arange(image.shape[-1], dtype=image.dtype) - half_width
    places = torch.stack(torch.meshgrid(right, up, indexing="xy"), -1).reshape(-1, 2)
    ink = image.flatten(1)
    mask = ink > 0
    return {"pos": places * mask.unsqueeze(-1), "ink": ink, "mask": mask}


def paint(pos: Tensor, ink: Tensor) -> Tensor:
    """Ink (B, n) at places (B, n, 2) on a canvas (B, 1, H, W): each drop is shared by the four nearest pixels."""
    grid = torch.arange(CANVAS, dtype=pos.dtype) - (CANVAS - 1) / 2
    columns = (1 - (pos[..., 0, None] - grid).abs()).clamp_min(0)
    rows = (1 - (pos[..., 1, None] + grid).abs()).clamp_min(0)
    return torch.einsum("bn,bnh,bnw->bhw", ink, rows, columns).unsqueeze(1)


def seeded(seed: int, build: Callable[[], nn.Module]) -> nn.Module:
    """A module with weights that follow from the seed; the global random state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


def transformer(seed: int) -> nn.Module:
    """The network of the molecules, in evaluation mode."""
    return seeded(seed, Transformer).eval().requires_grad_(False)


def cnn(seed: int) -> nn.Module:
    """An untrained CNN with 17 thousand weights."""

    def build() -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(),
            nn.Conv2d(16, 32, 3, padding=1, stride=2), nn.ReLU(),
            nn.Conv2d(32, 32, 3, padding=1, stride=2), nn.ReLU(),
            nn.Flatten(), nn.Linear(32 * (CANVAS // 4) ** 2, 10),
        )  # fmt: skip

    return seeded(seed, build)


def fit(model: nn.Module, inputs: Tensor, labels: Tensor, steps: int, seed: int, batch: int = 64) -> nn.Module:
    """Train in place by cross entropy, and return the model in evaluation mode with frozen weights."""
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 6e-3, total_steps=steps)
    epochs = math.ceil(steps * batch / len(inputs))
    order = torch.cat([torch.randperm(len(inputs), generator=generator) for _ in range(epochs)])
    model.train()
    for rows in order.split(batch)[:steps]:
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(inputs[rows]), labels[rows]).backward()
        optimizer.step()
        schedule.step()
    return model.eval().requires_grad_(False)
