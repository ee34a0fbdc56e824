"""Electron-muon scattering: events that keep energy and momentum, and the squared matrix element at tree level of QED."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from coset import groups
from coset.groups.lorentz import metric

ELECTRON, MUON = 1 / 206.768, 1.0
"""Masses, in those of the muon."""
GROUP = groups.ProperLorentz(4)


@dataclass(frozen=True)
class Events:
    """Momenta (N, 4, 4) of the electron and the muon before, the electron and the muon after, time first; values (N,) to predict."""

    momenta: Tensor
    goal: Tensor

    def moved(self, generator: torch.Generator) -> Events:
        """The same events seen by other observers: a random Lorentz transformation for each."""
        g = GROUP.sample(len(self.momenta), generator=generator, dtype=self.momenta.dtype)
        return Events(self.momenta @ g.mT, self.goal)

    def __getitem__(self, rows: Tensor | slice) -> Events:
        return Events(self.momenta[rows], self.goal[rows])


def inner(p: Tensor, q: Tensor) -> Tensor:
    """The product of four-vectors (..., 4) in the metric (+, -, -, -)."""
    return (p * metric(4, p.dtype, p.device) * q).sum(-1)


def squared_amplitude(momenta: Tensor) -> Tensor:
    """|M|^2 / e^4, averaged over spins before and summed over those after, (N,).

    With a = (p k)(p' k') + (p k')(p' k): 8 / t^2 (a - M^2 p p' - m^2 k k' + 2 m^2 M^2), for electrons p -> p' of mass m
    and muons k -> k' of mass M, where t = (p - p')^2.
    """
    p, k, q, r = momenta.unbind(-2)
    both = inner(p, k) * inner(q, r) + inner(p, r) * inner(q, k)
    masses = MUON**2 * inner(p, q) + ELECTRON**2 * inner(k, r) - 2 * (ELECTRON * MUON) ** 2
    return 8 * (both - masses) / inner(p - q, p - q).square()


def events(count: int, generator: torch.Generator) -> Events:
    """Random events in float64, before the values are normalized: those of log |M|^2.

    In the centre of momentum: momenta log-uniform in 0.1 ... 3 muon masses, directions uniform, cosines of the
    scattering angle uniform in -0.9 ... 0.9 (the amplitude is infinite at 1). That frame moves with a normal rapidity
    of deviation 1/2 in a random direction.
    """

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(count, generator=generator, dtype=torch.float64)

    size, cosine, angle = uniform(math.log(0.1), math.log(3)).exp(), uniform(-0.9, 0.9), uniform(0, 2 * math.pi)
    sine = (1 - cosine.square()).sqrt()
    before = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64).expand(count, 3)
    after = torch.stack([sine * angle.cos(), sine * angle.sin(), cosine], -1)

    def shell(direction: Tensor, mass: float) -> Tensor:
        energy = (size.square() + mass**2).sqrt()
        return torch.cat([energy[:, None], size[:, None] * direction], -1)

    rest = torch.stack([shell(before, ELECTRON), shell(-before, MUON), shell(after, ELECTRON), shell(-after, MUON)], 1)
    momenta = rest @ observers(count, 0.5, generator).mT
    return Events(momenta, squared_amplitude(rest).log())


def observers(count: int, rapidity: float, generator: torch.Generator) -> Tensor:
    """Rotations, boosts along an axis with normal rapidities, rotations: (N, 4, 4)."""
    include = GROUP.components()
    turns = [include["rotation"](groups.SpecialOrthogonal(3).haar(count, generator=generator, dtype=torch.float64)) for _ in range(2)]
    speed = rapidity * torch.randn(count, 1, generator=generator, dtype=torch.float64)
    return turns[0] @ include["boost"](speed) @ turns[1]
