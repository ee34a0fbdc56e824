"""Five charged particles: where they are and how fast they move at one frame, and where they are ten frames later.

The systems of Satorras et al. 2021 (EGNN, arXiv 2102.09844), small initial velocities, frame 30 -> frame 40. Positions are
centred on the mean position at frame 30, which deals with translations once and for all (the mean is added back by nobody,
because errors do not see it); what is left to a frame are rotations, reflections and the order of the particles.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from coset import actions, groups

START, END = 30, 40


@dataclass(frozen=True)
class Systems:
    """N systems of five particles: positions and velocities (N, 5, 3), charges (N, 5, 1), and the positions to predict."""

    pos: Tensor
    vel: Tensor
    charge: Tensor
    goal: Tensor

    def inputs(self) -> dict[str, Tensor]:
        """What a model sees, by keyword."""
        return {"pos": self.pos, "vel": self.vel, "charge": self.charge}

    def map(self, function: Callable[[Tensor], Tensor]) -> Systems:
        """The same function of every tensor."""
        return Systems(*(function(getattr(self, one.name)) for one in fields(self)))

    def __getitem__(self, rows: Tensor | slice) -> Systems:
        return self.map(lambda x: x[rows])

    def __len__(self) -> int:
        return self.pos.shape[0]


def load(path: Path, part: str) -> Systems:
    """The systems of one part: train (3,000), valid (2,000) or test (2,000)."""
    with np.load(path) as found:
        frames = found["frames"].tolist()
        first, last = frames.index(START), frames.index(END)
        loc, vel = (torch.tensor(found[f"{name}_{part}"]).mT for name in ("loc", "vel"))  # (N, frames, 5, 3)
        charge = torch.tensor(found[f"charges_{part}"])
    middle = loc[:, first].mean(1, keepdim=True)
    return Systems(loc[:, first] - middle, vel[:, first], charge, loc[:, last] - middle).map(Tensor.float)


def signature(ordered: bool) -> actions.Signature:
    """O(3) for models of sets; S_n x O(3) for models of ordered particles."""
    group = groups.Symmetric() * groups.Orthogonal(3) if ordered else groups.Orthogonal(3)
    charge = actions.Permute(group, -2) if ordered else actions.Trivial(group)
    return actions.Dict(pos=actions.Points(group), vel=actions.Vectors(group), charge=charge) >> actions.Points(group)
