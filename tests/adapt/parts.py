"""Small things that tests of adaptation share: digits, a tiny CNN, an exact scorer of four turns, an energy of an orbit."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import Tensor, nn

from coset import actions, adapt, frames, groups

C4 = groups.Cyclic(4)
IMAGES = actions.Image(C4)
CLASSES = IMAGES >> actions.Trivial(C4)


def cnn(outputs: int, size: int = 8, width: int = 16) -> nn.Sequential:
    """Two convolutions and a linear layer, (B, 1, size, size) -> (B, outputs)."""
    return nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(width, 2 * width, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(2 * width * (size // 2) ** 2, outputs),
    )


class Turns(nn.Module):
    """Scores of a finite group of turns: minus the energy of every pose (B, |G|); as exactly equivariant as the action is."""

    def __init__(self, energy: nn.Module, source: actions.base.Action = IMAGES):
        super().__init__()
        self.energy, self.source = energy, source

    def forward(self, x: Tensor, noise: Tensor | None) -> Tensor:
        group = self.source.group
        every = group.inverse(group.elements(device=x.device))
        moved = torch.stack([self.source.act(g.expand(len(x)), x) for g in every])
        return -self.energy(moved.flatten(0, 1)).reshape(group.order, len(x)).mT


class Flat(nn.Module):
    """(B, 1) -> (B,)."""

    def __init__(self, net: nn.Module):
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)[:, 0]


def canonicalizer(seed: int = 0, width: int = 16) -> frames.Canonicalizer:
    """A fresh canonicalizer of 8 x 8 images on C4."""
    torch.manual_seed(seed)
    return frames.Canonicalizer(Turns(Flat(cnn(1, width=width))))


def tiny(seed: int = 0) -> frames.Canonicalizer:
    """A linear one, for tests of the loop."""
    torch.manual_seed(seed)
    return frames.Canonicalizer(Turns(Flat(nn.Sequential(nn.Flatten(), nn.Linear(16, 1, bias=False)))))


def tiny_predictor(seed: int = 1) -> nn.Sequential:
    """Five classes of 4 x 4 images."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 5))


def tiny_data(batches: int = 4, size: int = 8) -> list[tuple[Tensor, Tensor]]:
    """Upright 4 x 4 images (brighter below) with classes."""
    g = torch.Generator().manual_seed(0)
    ramp = torch.linspace(0, 1, 4)[:, None]
    return [(torch.rand(size, 1, 4, 4, generator=g) + ramp, torch.randint(0, 5, (size,), generator=g)) for _ in range(batches)]


ADAM = partial(torch.optim.Adam, lr=1e-2)


def fit(frame=None, predictor=None, loader=None, **more):
    """A quick fit."""
    options = more.pop("options", adapt.Options(epochs=3, optimizer=ADAM))
    return adapt.fit(
        frame or tiny(),
        predictor,
        tiny_data() if loader is None else loader,
        signature=more.pop("signature", CLASSES),
        options=options,
        **more,
    )


def digits() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """1,200 handwritten digits for training, 597 for testing, 8 x 8."""
    datasets = pytest.importorskip("sklearn.datasets", reason="needs scikit-learn")
    x, y = datasets.load_digits(return_X_y=True)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    x, y = torch.tensor(x, dtype=torch.float32).view(-1, 1, 8, 8)[order] / 16, torch.tensor(y)[order]
    return x[:1200], y[:1200], x[1200:], y[1200:]


def trained_predictor(x: Tensor, y: Tensor, epochs: int = 15) -> nn.Module:
    """A CNN that reads upright digits."""
    torch.manual_seed(0)
    net = cnn(10)
    optimizer = torch.optim.Adam(net.parameters(), 2e-3)
    for _ in range(epochs):
        for rows in torch.randperm(len(x)).split(64):
            loss = nn.functional.cross_entropy(net(x[rows]), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return net.eval()


def step(frame: frames.base.Frame, x: Tensor, y: Tensor | None = None, **more) -> adapt.Step:
    """A step with a model that returns the image."""
    from coset import symmetrize

    model = symmetrize(more.pop("model", lambda x: x.flatten(1)), more.pop("signature", CLASSES), frame)
    return adapt.Step(model, x, y, **more)


class Fixed(nn.Module):
    """Scores that do not look: (|G|,) parameters for every input. Not equivariant; for formulas."""

    def __init__(self, scores: Tensor):
        super().__init__()
        self.scores = nn.Parameter(scores)

    def forward(self, x: Tensor, noise: Tensor | None) -> Tensor:
        return self.scores.expand(len(x), -1)
