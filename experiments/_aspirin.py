"""A small potential without rotation symmetry for one molecule, trained on energies and forces, and its data."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

import coset
from coset import actions, groups
from coset.frames import Frame


@dataclass(frozen=True)
class Frames:
    """Configurations of one molecule: positions (B, n, 3) in angstrom, energies (B,) in eV, forces (B, n, 3) in eV/angstrom."""

    positions: Tensor
    energies: Tensor
    forces: Tensor
    numbers: Tensor

    def some(self, rows: Tensor) -> Frames:
        """Selected configurations."""
        return Frames(self.positions[rows], self.energies[rows], self.forces[rows], self.numbers)


def load(path: Path) -> Frames:
    """A file of the revised MD17 set."""
    with np.load(path) as found:
        names = ("pos", "energy", "forces")
        positions, energies, forces = (torch.as_tensor(found[name], dtype=torch.float64) for name in names)
        return Frames(positions, energies, forces, torch.as_tensor(found["z"].astype(np.int64)))


class PairNet(nn.Module):
    """Two rounds of messages between all pairs of atoms on raw displacement vectors: smooth, permutation-invariant, not rotation-invariant.

    Args:
        numbers: (n,) atomic numbers of the molecule.
        width: channels.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, numbers: Tensor, width: int = 48):
        super().__init__()
        species = torch.unique(numbers)
        self.register_buffer("index", torch.full((int(numbers.max()) + 1,), -1).index_copy(0, species, torch.arange(len(species))))
        self.register_buffer("centers", torch.linspace(0.8, 5.0, 12))
        self.register_buffer("shift", torch.zeros((), dtype=torch.float64))
        self.register_buffer("scale", torch.ones((), dtype=torch.float64))
        self.one, self.two = nn.Embedding(len(species), width), nn.Embedding(len(species), width)
        self.vector = nn.Linear(3 + 12, width)
        self.first = nn.Sequential(nn.SiLU(), nn.Linear(width, width), nn.SiLU())
        self.update = nn.Sequential(nn.Linear(2 * width, width), nn.SiLU(), nn.Linear(width, width))
        self.second = nn.Sequential(nn.Linear(2 * width, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU())
        self.mix = nn.Linear(width, width)
        self.out = nn.Sequential(nn.Linear(2 * width, width), nn.SiLU(), nn.Linear(width, 1))

    def forward(self, positions: Tensor, numbers: Tensor) -> Tensor:
        """Energies (B,) in eV, summed in double precision."""
        kind = self.index[numbers]
        gap = positions.unsqueeze(1) - positions.unsqueeze(2)
        n = positions.shape[1]
        distance = (gap.square().sum(-1) + torch.eye(n, dtype=gap.dtype, device=gap.device)).sqrt()
        others = (1 - torch.eye(n, dtype=gap.dtype, device=gap.device)) * torch.exp(-((distance / 4.0) ** 2))
        shells = torch.exp(-4.0 * (distance.unsqueeze(-1) - self.centers) ** 2)
        pair = (
            self.vector(torch.cat([gap / distance.unsqueeze(-1), shells], -1)) + self.one(kind).unsqueeze(2) + self.two(kind).unsqueeze(1)
        )
        pair = self.first(pair)
        atom = (others.unsqueeze(-1) * pair).sum(2)
        atom = atom + self.update(torch.cat([atom, self.one(kind)], -1))
        sent = self.mix(atom)
        pair = self.second(torch.cat([pair, sent.unsqueeze(1) + atom.unsqueeze(2)], -1))
        more = (others.unsqueeze(-1) * pair).sum(2)
        return self.out(torch.cat([atom, more], -1)).sum((1, 2), dtype=torch.float64) * self.scale + self.shift


def rotations(count: int, generator: torch.Generator, dtype: torch.dtype) -> Tensor:
    """(count, 3, 3) random rotations."""
    q, r = torch.linalg.qr(torch.randn(count, 3, 3, generator=generator, dtype=torch.float64))
    q = q * torch.diagonal(r, dim1=-2, dim2=-1).sgn().unsqueeze(-2)
    return (q * torch.linalg.det(q)[:, None, None]).to(dtype)


def loss_of(model: nn.Module, batch: Frames, turn: Tensor) -> tuple[Tensor, Tensor]:
    """Mean squared errors of forces, and of energies per atom, on turned configurations."""
    positions = ((batch.positions - batch.positions.mean(1, keepdim=True)).float() @ turn).requires_grad_()
    energy = model(positions=positions, numbers=batch.numbers.expand(len(turn), -1))
    (slope,) = torch.autograd.grad(energy.sum(), positions, create_graph=True)
    return (slope + batch.forces.float() @ turn).square().mean(), (energy - batch.energies).square().mean() / positions.shape[1]


@dataclass(frozen=True)
class Plan:
    """A training: number of steps, the largest learning rate, whether configurations are turned at random, the seed."""

    steps: int
    rate: float = 3e-3
    turned: bool = True
    seed: int = 0


def train(net: PairNet, frames: Frames, plan: Plan, path: Path | None = None, frame: Frame | None = None) -> PairNet:
    """Fit energies and forces, under random elements of a frame where one is given; a finished training is read from its checkpoint.

    Returns:
        the average of the parameters over the last few hundred steps.
    """
    if path is not None and path.exists():
        net.load_state_dict(torch.load(path, weights_only=True))
        return net.eval()
    model = net if frame is None else symmetrized(net, frame).train()
    generator = torch.Generator().manual_seed(plan.seed)
    optimizer = torch.optim.AdamW(net.parameters(), lr=plan.rate, weight_decay=1e-5)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, plan.rate, total_steps=plan.steps)
    average = torch.optim.swa_utils.AveragedModel(net, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.995))
    begin = time.time()
    for step in range(plan.steps):
        batch = frames.some(torch.randint(len(frames.energies), (16,), generator=generator))
        turn = rotations(16, generator, torch.float32) if plan.turned else torch.eye(3).expand(16, 3, 3)
        of_forces, of_energies = loss_of(model, batch, turn)
        optimizer.zero_grad()
        (of_forces + 4.0 * of_energies).backward()
        nn.utils.clip_grad_norm_(net.parameters(), 2.0)
        optimizer.step()
        schedule.step()
        average.update_parameters(net)
        if step % max(1, plan.steps // 5) == 0:
            print(f"  step {step}: force error {of_forces.sqrt().item() * 1000:.0f} meV/A, {time.time() - begin:.0f} s", flush=True)
    found = average.module.eval()
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(found.state_dict(), path)
    return found


def fresh(frames: Frames, seed: int) -> PairNet:
    """A network without training, with the mean energy and the spread of forces of the data."""
    torch.manual_seed(seed)
    net = PairNet(frames.numbers)
    net.shift.fill_(frames.energies.mean())
    net.scale.fill_(frames.forces.std())
    return net


def symmetrized(net: PairNet, frame: Frame) -> coset.Symmetrized:
    """The network under a frame; one random element per configuration while training."""
    group = groups.Euclidean(3)
    source = actions.Dict(positions=actions.Points(group), numbers=actions.Trivial(group, points=True))
    return coset.Symmetrized(net, source >> actions.Trivial(group), coset.frames.Stochastic(frame))
