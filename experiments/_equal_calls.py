"""What the table of equal calls compares: one trained network, frames by their number of model calls, and how errors are measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from _nbody_data import Systems, signature
from _nbody_models import GNN
from _short_training import trained
from torch import Tensor, nn

import coset
from coset import frames, groups
from coset.nn import VectorNeurons

SIDES = signature(False)
CALLS = (1, 2, 4, 8, 16, 48)
Maker = Callable[[int], frames.Frame]


@dataclass(frozen=True)
class Row:
    """One line: a way to average the same network.

    Attributes:
        frame: from k and a seed to the frame with k model calls; None where it has none with k calls.
        limit: the frame with as many calls as it takes.
        drawn: errors depend on the seed.
        loops: the frame makes one call at random, k times.
    """

    frame: Callable[[int, int], frames.Frame | None]
    limit: Callable[[], frames.Frame]
    drawn: bool = True
    loops: bool = False


def networks(example: Systems) -> nn.ModuleDict:
    """The network that is averaged, and those of the two learned frames."""
    inputs = example.inputs()
    learned = {name: VectorNeurons(SIDES.source, inputs, width=21, layers=2, noise=noise) for name, noise in (("one", 0), ("many", 2))}
    return nn.ModuleDict({"base": GNN(), **learned})


def train(parts: nn.ModuleDict, known: Systems, epochs: int, folder: Path, learned: bool = True) -> float:
    """The base with random elements of O(3); then each frame's network where asked, with the base as it is. Seconds."""
    seconds, batch, per = 0.0, 100, max(1, len(known) // 100)
    plans = {"base": (frames.Haar(1), epochs), "one": (single(parts), epochs // 3), "many": (several(parts, 1), epochs // 3)}
    for name, (frame, count) in list(plans.items())[: None if learned else 1]:
        model = coset.symmetrize(parts["base"], SIDES, frame).train()
        for key, part in parts.items():
            part.requires_grad_(key == name)

        def loss(step: int) -> Tensor:
            some = known[torch.randint(len(known), (batch,))]
            return (model(**some.inputs()) - some.goal).square().mean()  # noqa: B023

        seconds += trained(parts, loss, max(1, count * per), folder / f"{name}.pt", plan=f"{name} of {epochs} epochs, {len(known)} systems")
    return seconds


def single(parts: nn.ModuleDict) -> frames.Frame:
    """One learned element."""
    return frames.Canonicalizer(parts["one"])  # type: ignore[arg-type]


def several(parts: nn.ModuleDict, k: int, seed: int = 0, coupled: bool = True) -> frames.Frame:
    """k learned elements."""
    generator = torch.Generator().manual_seed(seed)
    return frames.Probabilistic(parts["many"], noise=frames.NormalVectors(2), samples=k, coupled=coupled, generator=generator)  # type: ignore[arg-type]


def cosets(k: int, seed: int) -> frames.Frame | None:
    """Random cosets of the sign flips (8 elements) or of the octahedral group (48)."""
    generator = torch.Generator().manual_seed(seed)
    if k in (8, 16):
        return frames.RandomCosets(k // 8, groups.SignFlips(3), generator)
    return frames.RandomCosets(k // 48, generator=generator) if k >= 48 else None


def axes(k: int, seed: int) -> frames.Frame | None:
    """One of the eight elements at random, or all of them."""
    pca = frames.PCA(of="pos")
    return pca if k == 8 else frames.Stochastic(pca, torch.Generator().manual_seed(seed)) if k < 8 else None


def rows(parts: nn.ModuleDict, most: int) -> dict[str, Row]:
    """The lines; limits of random frames have about ``most`` calls."""
    converged = lambda: cosets(48 * max(1, most // 48), 12345)  # noqa: E731
    minimal, one = (lambda: frames.Minimal(of="pos", colours="charge")), (lambda: single(parts))
    many = lambda: several(parts, most, 12345)  # noqa: E731
    return {
        "Haar": Row(lambda k, seed: frames.Haar(k, torch.Generator().manual_seed(seed)), converged),  # type: ignore[arg-type]
        "RandomCosets": Row(cosets, converged),  # type: ignore[arg-type]
        "PCA": Row(axes, lambda: frames.PCA(of="pos"), loops=True),
        "Minimal": Row(lambda k, seed: minimal() if k == 1 else None, minimal, drawn=False),
        "Canonicalizer": Row(lambda k, seed: one() if k == 1 else None, one, drawn=False),
        "Probabilistic, uncoupled": Row(lambda k, seed: several(parts, k, seed, coupled=False), many),
        "Probabilistic": Row(lambda k, seed: several(parts, k, seed), many),
    }


class Averaged:
    """The network under a frame, in the same call for all frames.

    Args:
        base: the network.
        frame: the frame.
        loops: how often a frame of one random element is called; 0 for all other frames.
    """

    def __init__(self, base: nn.Module, frame: frames.Frame, loops: int = 0):
        self.model, self.loops = coset.symmetrize(base, SIDES, frame, chunk=5000).eval(), loops
        if loops:
            self.model.frame.train()

    @torch.no_grad()
    def __call__(self, systems: Systems) -> Tensor:
        """Positions later, (N, 5, 3)."""
        total = self.model(**systems.inputs())
        for _ in range(self.loops - 1):
            total = total + self.model(**systems.inputs())
        return total / max(1, self.loops)


@dataclass(frozen=True)
class Errors:
    """Of one row at one k: from the limit, from equivariance, from the truth; each a mean and its standard error over seeds."""

    limit: tuple[float, float]
    symmetry: tuple[float, float]
    truth: tuple[float, float]


def measure(row: Row, base: nn.Module, k: int, systems: Systems, limit: Tensor, seeds: int) -> Errors | None:
    """Errors of k calls, averaged over seeds; lengths in units of the root mean square displacement."""
    if row.frame(k, 0) is None:
        return None
    group = groups.Orthogonal(3)
    unit = (systems.goal - systems.pos).square().sum(-1).mean().sqrt()
    found = []
    for seed in range(seeds if row.drawn else 1):
        frame = row.frame(k, seed)
        model = Averaged(base, frame, k if row.loops and k < 8 else 0)  # type: ignore[arg-type]
        here = model(systems)
        g = group.haar(len(systems), generator=torch.Generator().manual_seed(seed))
        there = model(systems.map(lambda x: x if x.shape[-1] == 1 else x @ g.mT))  # noqa: B023
        symmetry = (there - here @ g.mT).square().sum(-1).mean(1).sqrt().mean() / unit
        apart = (here - limit).square().sum(-1).mean().sqrt() / unit
        found.append([float(apart), float(symmetry), float((here - systems.goal).square().mean())])
    return Errors(*(mean_of([one[i] for one in found]) for i in range(3)))


def mean_of(values: list[float]) -> tuple[float, float]:
    """The mean and its standard error."""
    x = torch.tensor(values, dtype=torch.float64)
    return float(x.mean()), float(x.std() / len(x) ** 0.5) if len(x) > 1 else 0.0
