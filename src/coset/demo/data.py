"""The data: molecules that ship inside ASE, digits that ship inside scikit-learn; nothing is downloaded."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import require_extra
from .settings import Settings


@dataclass(frozen=True)
class Molecules:
    """A padded batch: positions (B, n, 3) in angstrom with the centroid at the origin, atomic numbers, mask, names."""

    pos: Tensor
    z: Tensor
    mask: Tensor
    names: list[str]

    @property
    def inputs(self) -> dict[str, Tensor]:
        """As the network takes them."""
        return {"pos": self.pos, "z": self.z, "mask": self.mask}

    def some(self, count: int) -> dict[str, Tensor]:
        """Every k-th molecule, ``count`` in all."""
        rows = spread(len(self.names), count)
        return {key: value[rows] for key, value in self.inputs.items()}


@dataclass(frozen=True)
class Digits:
    """Upright images (B, 1, 8, 8) with values from 0 to 1, and their classes, split at random by the seed."""

    train: Tensor
    train_labels: Tensor
    test: Tensor
    test_labels: Tensor


def spread(total: int, count: int) -> Tensor:
    """``count`` row numbers, evenly spread over ``total``."""
    count = min(count, total)
    return torch.arange(count) * total // count


def load_molecules(settings: Settings) -> Molecules:
    """The molecules of the G2 test set: equilibrium geometries of 1 to 14 atoms.

    Raises:
        MissingExtraError: when ASE is not installed.
    """
    try:
        from ase.collections import g2
    except ImportError as error:
        raise require_extra("ase", "atoms") from error
    names = [g2.names[i] for i in spread(len(g2.names), settings.molecules).tolist()]
    atoms = [g2[name] for name in names]
    size = max(len(molecule) for molecule in atoms)
    pos, z = torch.zeros(len(atoms), size, 3, dtype=torch.float64), torch.zeros(len(atoms), size, dtype=torch.long)
    for row, molecule in enumerate(atoms):
        places = torch.as_tensor(molecule.positions)
        pos[row, : len(molecule)] = places - places.mean(0)
        z[row, : len(molecule)] = torch.as_tensor(molecule.numbers)
    return Molecules(pos.float(), z, z > 0, names)


def load_digits(settings: Settings) -> Digits:
    """The 1797 handwritten digits of scikit-learn.

    Raises:
        MissingExtraError: when scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits as load
    except ImportError as error:
        raise require_extra("scikit-learn", "images") from error
    found = load()
    images = torch.as_tensor(found.images).float().unsqueeze(1) / 16
    labels = torch.as_tensor(found.target).long()
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(settings.seed))
    train, test = order[: settings.train], order[settings.train :][: settings.test]
    return Digits(images[train], labels[train], images[test], labels[test])
