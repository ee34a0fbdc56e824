"""Molecules, solids and an independent search for their symmetries, one cloud at a time."""

from __future__ import annotations

import itertools

import numpy as np
import torch
from ase.build import molecule
from torch import Tensor

from coset import actions, groups

Cloud = tuple[np.ndarray, np.ndarray]
"""Positions (n, 3) and species (n,)."""


def named(name: str) -> Cloud:
    """A molecule of ASE."""
    atoms = molecule(name)
    return atoms.positions.copy(), atoms.numbers.copy()


def methane() -> Cloud:
    """Methane with exact tetrahedral coordinates."""
    corners = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) * 0.63
    return np.concatenate([np.zeros((1, 3)), corners]), np.array([6, 1, 1, 1, 1])


def planar(n: int, radius: float = 1.0) -> np.ndarray:
    """A regular n-gon in the plane."""
    t = 2 * np.pi * np.arange(n) / n
    return radius * np.stack([np.cos(t), np.sin(t), 0 * t], 1)


def solid(name: str) -> np.ndarray:
    """The corners of a Platonic solid."""
    golden = (1 + 5**0.5) / 2
    cube = np.array(list(itertools.product((-1.0, 1.0), repeat=3)))
    rolled = lambda a, b: np.array([np.roll([0, s * a, t * b], k) for k in range(3) for s in (-1, 1) for t in (-1, 1)])  # noqa: E731
    return {
        "tetrahedron": methane()[0][1:],
        "cube": cube,
        "octahedron": np.concatenate([np.eye(3), -np.eye(3)]),
        "icosahedron": rolled(1, golden),
        "dodecahedron": np.concatenate([cube, rolled(1 / golden, golden)]),
    }[name]


def pad(clouds: list[Cloud], dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    """Clouds as one padded batch {pos, z, mask}."""
    n = max(len(x) for x, _ in clouds)
    pos, z, mask = (
        torch.zeros(len(clouds), n, 3, dtype=dtype),
        torch.zeros(len(clouds), n, dtype=torch.long),
        torch.zeros(len(clouds), n, dtype=torch.bool),
    )
    for row, (x, kinds) in enumerate(clouds):
        pos[row, : len(x)], z[row, : len(x)], mask[row, : len(x)] = torch.tensor(x, dtype=dtype), torch.tensor(kinds), True
    return {"pos": pos, "z": z, "mask": mask}


def join(clouds: list[Cloud], dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    """Clouds as one ragged batch {pos, z, batch}."""
    batch = torch.arange(len(clouds)).repeat_interleave(torch.tensor([len(x) for x, _ in clouds]))
    return {
        "pos": torch.tensor(np.concatenate([x for x, _ in clouds]), dtype=dtype),
        "z": torch.tensor(np.concatenate([z for _, z in clouds])),
        "batch": batch,
    }


def padded_source(group: groups.Group) -> actions.Dict:
    """{pos, z, mask}."""
    return actions.Dict(pos=actions.Points(group, mask="mask"), z=actions.Trivial(group), mask=actions.PointMask(group))


def ragged_source(group: groups.Group) -> actions.Dict:
    """{pos, z, batch}."""
    return actions.Dict(pos=actions.Points(group, batch="batch"), z=actions.Trivial(group), batch=actions.BatchIndex(group))


def symmetries(cloud: Cloud, share: float = 3e-4, reflect: bool = True) -> list[tuple[np.ndarray, np.ndarray]] | None:
    """All isometries with their permutations that map a coloured cloud to itself, by brute force; None where infinitely many.

    Two atoms that do not lie on a line with the centroid fix an isometry up to the mirror of their plane; every pair of
    atoms is tried as their image.
    """
    x, kinds = cloud
    x = x - x.mean(0)
    radius = np.linalg.norm(x, axis=1).max()
    cut = share * radius
    if radius == 0 or np.linalg.svd(x)[1][1] < cut:
        return None
    pairs = [(i, j) for i in range(len(x)) for j in range(len(x)) if i != j]
    i, j = max(pairs, key=lambda pair: np.linalg.norm(np.cross(x[pair[0]], x[pair[1]])))
    there = _basis(x[i], x[j])
    found = []
    for a, b in pairs:
        if (
            kinds[a] != kinds[i]
            or kinds[b] != kinds[j]
            or abs(np.linalg.norm(x[a]) - np.linalg.norm(x[i])) > cut
            or abs(np.linalg.norm(x[a] - x[b]) - np.linalg.norm(x[i] - x[j])) > cut
        ):
            continue
        for sign in (1, -1) if reflect else (1,):
            matrix = _basis(x[a], x[b]) @ np.diag([1, 1, sign]) @ there.T
            distance = np.linalg.norm((x @ matrix.T)[:, None] - x[None], axis=-1) + 1e9 * (kinds[:, None] != kinds[None])
            order = distance.argmin(1)
            if distance.min(1).max() < cut and len(set(order)) == len(order):
                found.append((matrix, order))
    return found


def _basis(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    q = a / np.linalg.norm(a)
    p = b - q * (q @ b)
    p = p / np.linalg.norm(p)
    return np.stack([q, p, np.cross(q, p)], 1)


def order(cloud: Cloud, reflect: bool = True, share: float = 3e-4) -> int:
    """The order of the symmetry group of a cloud, -1 where infinite."""
    found = symmetries(cloud, share, reflect)
    return -1 if found is None else len(found)
