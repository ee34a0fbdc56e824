"""Cases of frames of shifts: generic, periodic and constant images, invariant and dense outputs, whole and fractional shifts."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from coset import actions, frames, groups
from coset import nn as circular
from coset.actions.base import Action

from .frames import BATCH, FrameCase, Make, Out, Symmetric, case


def noise(channels: int, height: int, width: int) -> Make:
    """White noise."""
    return lambda generator, dtype: torch.randn(BATCH, channels, height, width, generator=generator, dtype=dtype)


def repeating(channels: int, height: int, width: int) -> Symmetric:
    """Constant images, stripes of several periods, tiles, and images whose centre lies between two pixels."""

    def make(generator: torch.Generator, dtype: torch.dtype) -> list[tuple[str, Any]]:
        x = torch.randn(2, channels, height, width, generator=generator, dtype=dtype)
        found = [
            ("constant", torch.ones_like(x)),
            ("rows alike", x[:, :, :1].expand_as(x).clone()),
            ("columns alike", x[..., :1].expand_as(x).clone()),
            ("zero", torch.zeros_like(x)),
        ]
        if height == width:
            where = (torch.arange(height)[:, None] + torch.arange(width)) % height
            found.append(("diagonal", x[:, :, 0][:, :, where]))
        if width % 2 == 0:
            half = x[..., : width // 2]
            found += [("two periods", torch.cat([half, half], -1)), ("mirror", torch.cat([half, half.flip(-1)], -1))]
            if height % 2 == 0:
                tile = half[:, :, : height // 2]
                checks = torch.cat([torch.cat([tile, -tile], 2), torch.cat([-tile, tile], 2)], 3)
                found += [("tiles", tile.repeat(1, 1, 2, 2)), ("checks", checks)]
        return found

    return make


class Strided(nn.Module):
    """Two convolutions on a circle, of strides ``first`` and ``second``: it follows shifts by first * second pixels, and no others.

    Args:
        channels: of the images.
        first, second: strides.
        head: "pool" for numbers, "field" for one cell for each first * second pixels, "dense" for images of the same size.
    """

    def __init__(self, channels: int, first: int, second: int, head: str, dtype: torch.dtype):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(3)
            self.one = nn.Conv2d(channels, 8, 3, stride=first, padding=1, padding_mode="circular")
            self.two = nn.Conv2d(8, 8, 3, stride=second, padding=1, padding_mode="circular")
            self.out = nn.Conv2d(8, 2 * (first * second) ** 2 if head == "dense" else 3, 1)
        self.head, self.stride = head, first * second
        self.to(dtype)

    def forward(self, x: Tensor) -> Tensor:
        dtype = self.one.weight.dtype
        y = self.out(torch.tanh(self.two(torch.tanh(self.one(x.to(dtype)) * 2)) * 2))
        if self.head == "pool":
            return (3 * y.mean((-2, -1))).tanh()
        return nn.functional.pixel_shuffle(y, self.stride) if self.head == "dense" else y


def strided_case(frame: frames.Frame, size: tuple[int, int], strides: tuple[int, int], head: str, **options: Any) -> FrameCase:
    """A case around a network that follows shifts by its stride."""
    T = groups.Torus(*size)
    target: Action = actions.Image(T) if head == "dense" else actions.Trivial(T)
    return FrameCase(
        frame,
        actions.Image(T),
        target,
        noise(2, *size),
        lambda dtype: Strided(2, *strides, head, dtype),
        repeating(2, *size),
        f"{frame!r} {T} {head}",
        **options,
    )


class Shapeless(nn.Module):
    """A score of phases that does not change when they are shifted: means of powers."""

    def __init__(self, power: int = 3):
        super().__init__()
        self.weight, self.power = nn.Parameter(torch.tensor([0.3, -0.8], dtype=torch.float64)), power

    def forward(self, x: Tensor) -> Tensor:
        x = x.double()
        return self.weight[0] * x.abs().mean((1, 2, 3)) + self.weight[1] * (x**self.power).mean((1, 2, 3))


def phase_cases() -> list[FrameCase]:
    """Whole shifts with all kinds of outputs; shifts by fractions of a pixel (odd sizes carry every frequency)."""
    T, U, R = groups.Torus(4, 6), groups.Torus(5, 5), groups.RealTorus(5, 7)
    both = actions.Dict(image=actions.Image(T), depth=actions.Image(T))
    made = noise(1, 4, 6)

    def pair(generator: torch.Generator, dtype: torch.dtype) -> dict[str, Tensor]:
        return {"image": made(generator, dtype), "depth": made(generator, dtype)}

    def pairs(generator: torch.Generator, dtype: torch.dtype) -> list[tuple[str, Any]]:
        return [(name, {"image": x, "depth": torch.randn_like(x)}) for name, x in repeating(1, 4, 6)(generator, dtype)]

    dense = {"field": Out(actions.Field(T), False, (2, 4, 6)), "score": Out(actions.Trivial(T), False, (3,))}
    return [
        case(frames.Phase(), actions.Image(T), dense, noise(2, 4, 6), repeating(2, 4, 6), "dense"),
        case(frames.Phase(), actions.Image(U), {None: Out(actions.Image(U), False, (1, 5, 5))}, noise(1, 5, 5), repeating(1, 5, 5), "odd"),
        case(frames.Phase(of="image"), both, {None: Out(actions.Image(T), False, (2, 4, 6))}, pair, pairs, "two images"),
        case(
            frames.Phase(),
            actions.Periodic(R),
            {"image": Out(actions.Periodic(R), False, (2, 5, 7)), "score": Out(actions.Trivial(R), False, (3,))},
            noise(2, 5, 7),
            real_images,
            "fractions",
            tol_scale=20.0,
        ),
    ]


def real_images(generator: torch.Generator, dtype: torch.dtype) -> list[tuple[str, Any]]:
    """Constant images and stripes of one and of two periods."""
    x = torch.randn(2, 2, 5, 7, generator=generator, dtype=dtype)
    wave = torch.cos(torch.arange(7, dtype=dtype) * 4 * torch.pi / 7).expand(2, 2, 5, 7).clone()
    return [("constant", torch.ones_like(x)), ("rows alike", x[:, :, :1].expand_as(x).clone()), ("two periods", wave)]


def peak_cases() -> list[FrameCase]:
    """Narrow and wide blurs."""
    T, U = groups.Torus(4, 6), groups.Torus(5, 5)
    dense = {"field": Out(actions.Field(T), False, (2, 4, 6)), "score": Out(actions.Trivial(T), False, (3,))}
    scores: dict[str | None, Out] = {None: Out(actions.Trivial(T), False, (3,))}
    points = {None: Out(actions.Regular(U), False, (2, 25))}
    return [
        case(frames.Peak(), actions.Image(T), dense, noise(2, 4, 6), repeating(2, 4, 6), "dense"),
        case(frames.Peak(0.5), actions.Image(U), points, noise(1, 5, 5), repeating(1, 5, 5), "functions on the group"),
        case(frames.Peak(1.0), actions.Image(T), scores, noise(3, 4, 6), repeating(3, 4, 6), "scores"),
    ]


def polyphase_cases() -> list[FrameCase]:
    """Strides of one and of two layers, dense outputs, a learned score."""
    return [
        strided_case(frames.Polyphase(2), (6, 8), (2, 1), "pool"),
        strided_case(frames.Polyphase(4), (8, 8), (2, 2), "pool"),
        strided_case(frames.Polyphase(2), (6, 8), (1, 2), "dense"),
        strided_case(frames.Polyphase(2, Shapeless()), (4, 6), (2, 1), "pool"),
    ]


def scorer(channels: int, dtype: torch.dtype = torch.float64) -> nn.Module:
    """Scores of all shifts, with fixed weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        return circular.CircularScorer(channels, width=6, layers=2).to(dtype)


def learned_shift_cases(kind: Any) -> list[FrameCase]:
    """Learned frames of shifts: scores of all of them from one circular network."""
    T = groups.Torus(4, 6)
    dense = {"field": Out(actions.Field(T), False, (2, 4, 6)), "score": Out(actions.Trivial(T), False, (3,))}
    return [case(kind(scorer(2)), actions.Image(T), dense, noise(2, 4, 6), repeating(2, 4, 6), "shifts")]
