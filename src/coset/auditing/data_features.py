"""Random features of inputs and targets, whose mean differs between two laws: the kernel mean embedding, in finite dimension."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .data_inputs import Observed, table
from .data_poses import Poses

FREQUENCIES = 256
DIRECTIONS = 64
LINEAR = 0.25
"""The weight of the linear kernel's features; more of it hides changes of the covariance."""
PILOT = 200
WIDTHS = (0.5, 1.0, 2.0)
"""Kernel widths, in units of the median distance between samples in random poses."""


@dataclass(frozen=True)
class Projection:
    """Rows (R, d) to features (R, 2F + L): Gaussian kernels of several widths, and a linear one.

    Random numbers do not depend on the data; centre and scale come from samples in random poses only. So features are as
    exchangeable over the poses of a sample as the poses are.
    """

    frequencies: Tensor
    directions: Tensor
    centre: Tensor
    scale: float

    def __call__(self, rows: Tensor) -> Tensor:
        """The features."""
        z = (rows.to(self.centre) - self.centre) / self.scale
        phase = z @ self.frequencies
        waves = torch.cat([phase.cos(), phase.sin()], 1) / self.frequencies.shape[1] ** 0.5
        return torch.cat([waves, z @ self.directions], 1)


def projection(pilot: Tensor, generator: torch.Generator) -> Projection:
    """Features for rows like those of a pilot (R, d) in random poses."""
    pilot = pilot.to(torch.float32)
    centre = pilot.mean(0)
    apart = torch.pdist(pilot)
    scale = float(apart[apart > 0].median()) if bool((apart > 0).any()) else 1.0
    d = pilot.shape[1]
    widths = torch.tensor(WIDTHS).repeat(-(-FREQUENCIES // len(WIDTHS)))[:FREQUENCIES]
    frequencies = torch.randn(d, FREQUENCIES, generator=generator) / widths
    directions = torch.eye(d) if d <= DIRECTIONS else torch.randn(d, DIRECTIONS, generator=generator) / DIRECTIONS**0.5
    return Projection(frequencies.to(pilot.device), LINEAR * directions.to(pilot.device), centre, scale)


@dataclass(frozen=True)
class Embeddings:
    """Features of every sample in every pose: (n, S, D) of the inputs, and of inputs and targets together (None without)."""

    inputs: Tensor
    pairs: Tensor | None


@dataclass(frozen=True)
class Targets:
    """Features of targets, centred and mixed at random: one for each feature of the inputs.

    In expectation the inner product of products of the two is the product of their kernels.
    """

    projection: Projection
    centre: Tensor
    mixing: Tensor

    def __call__(self, rows: Tensor) -> Tensor:
        """The features."""
        return (self.projection(rows) - self.centre) @ self.mixing


def embeddings(seen: Observed, poses: Poses, generator: torch.Generator) -> Embeddings:
    """Features of inputs, and products of features of inputs and of targets, in every pose."""
    count, few = poses.count, torch.randperm(seen.count, generator=generator)[:PILOT]
    x, y = poses.move(seen, few.to(seen.device))
    pick = (torch.arange(len(few)) * count + torch.randint(count, (len(few),), generator=generator)).to(seen.device)
    of_x = projection(table(x)[pick], generator)
    of_y = None if y is None else _targets(of_x, seen.value_of(y)[pick], generator)
    inputs, pairs = [], []
    for rows in poses.parts(seen):
        x, y = poses.move(seen, rows)
        features = of_x(table(x))
        inputs.append(features.unflatten(0, (-1, count)))
        if of_y is not None and y is not None:
            pairs.append((features * of_y(seen.value_of(y))).unflatten(0, (-1, count)))
    return Embeddings(torch.cat(inputs), torch.cat(pairs) if pairs else None)


def _targets(of_x: Projection, pilot: Tensor, generator: torch.Generator) -> Targets:
    """Features of targets; the two parts of a wave are multiplied by the same one."""
    found = projection(pilot, generator)
    known = found(pilot)
    waves, lines = of_x.frequencies.shape[1], of_x.directions.shape[1]
    u = torch.randn(known.shape[1], waves + lines, generator=generator).to(known)
    return Targets(found, known.mean(0), torch.cat([u[:, :waves], u[:, :waves], u[:, waves:]], 1))
