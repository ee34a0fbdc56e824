"""Real data with the symmetries that they should have, or should not: what the audits of data look at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import coset
from coset import actions, groups
from coset.actions import Action
from coset.actions.signature import Signature

Check = Callable[["coset.DataReport"], bool]


@dataclass(frozen=True)
class Case:
    """Inputs, targets and how they move; what an audit should say of them.

    Attributes:
        name: what the data are.
        path: the file under the data folder; None for data that come with scikit-learn.
        build: the folder and the size to (x, y, action).
        aims: sentences with checks of the report.
    """

    name: str
    path: tuple[str, ...] | None
    build: Callable[[Path | None, int], tuple[Any, Any, Action | Signature]]
    aims: dict[str, Check] = field(default_factory=dict)


def chosen(total: int, size: int) -> Tensor:
    """Row numbers, the same for every run."""
    return torch.randperm(total, generator=torch.Generator().manual_seed(11))[:size]


def posed(action: Action, group: groups.Group, x: Any, y: Any = None, target: Action | None = None) -> tuple[Any, Any]:
    """Inputs (and targets) each in a random pose."""
    count = len(x["pos"]) if isinstance(x, dict) else len(x)
    g = group.haar(count, generator=torch.Generator().manual_seed(12))
    return action.act(g, x), y if target is None else target.act(g, y)


def digits(group: groups.Group, turned: bool) -> Callable[[Path | None, int], Any]:
    """MNIST test digits under a group of the plane."""

    def build(path: Path | None, size: int) -> Any:
        found = np.load(path)  # type: ignore[arg-type]
        rows = chosen(len(found["labels"]), size)
        x = torch.from_numpy(found["images"])[rows].float().div(255).unsqueeze(1)
        action = actions.Image(group)
        if turned:
            x, _ = posed(action, group, x)
        return x, torch.from_numpy(found["labels"]).long()[rows], action

    return build


def pictures(group: groups.Group) -> Callable[[Path | None, int], Any]:
    """CIFAR-10 training images."""

    def build(path: Path | None, size: int) -> Any:
        found = np.load(path)  # type: ignore[arg-type]
        rows = chosen(len(found["labels"]), size)
        x = torch.from_numpy(found["images"])[rows].float().div(255).movedim(-1, 1).contiguous()
        return x, torch.from_numpy(found["labels"]).long()[rows], actions.Image(group)

    return build


O3 = groups.Orthogonal(3)


def molecules(turned: bool) -> Callable[[Path | None, int], Any]:
    """QM7 molecules, centred and padded, with their heats of formation."""

    def build(path: Path | None, size: int) -> Any:
        found = np.load(path)  # type: ignore[arg-type]
        starts = found["offsets"]
        rows = chosen(len(starts) - 1, size).tolist()
        most = int(max(starts[i + 1] - starts[i] for i in rows))
        pos, charge, mask = torch.zeros(len(rows), most, 3), torch.zeros(len(rows), most), torch.zeros(len(rows), most, dtype=torch.bool)
        for k, i in enumerate(rows):
            one = torch.from_numpy(found["pos"][starts[i] : starts[i + 1]])
            pos[k, : len(one)] = one - one.mean(0)
            charge[k, : len(one)] = torch.from_numpy(found["z"][starts[i] : starts[i + 1]].astype(np.float32))
            mask[k, : len(one)] = True
        action = actions.Dict(pos=actions.Points(O3, mask="mask"), charge=actions.Trivial(O3))
        x = {"pos": pos, "charge": charge, "mask": mask}
        if turned:
            x, _ = posed(action, O3, x)
        return x, torch.from_numpy(found["hof_kcal"])[rows], action

    return build


def aspirin(turned: bool) -> Callable[[Path | None, int], Any]:
    """rMD17 aspirin: positions, centred, and forces."""

    def build(path: Path | None, size: int) -> Any:
        found = np.load(path)  # type: ignore[arg-type]
        rows = chosen(len(found["pos"]), size)
        pos, forces = torch.from_numpy(found["pos"])[rows], torch.from_numpy(found["forces"])[rows]
        pos = pos - pos.mean(1, keepdim=True)
        action = actions.Vectors(O3)
        if turned:
            pos, forces = posed(action, O3, pos, forces, action)
        return pos, forces, action >> action

    return build


def particles(path: Path | None, size: int) -> Any:
    """Charged particles: positions, velocities and charges at one time, displacements at a later one; relabelled and turned."""
    found = np.load(path)  # type: ignore[arg-type]
    rows = chosen(len(found["loc_train"]), size)
    loc, vel = (torch.from_numpy(found[f"{name}_train"])[rows].mT for name in ("loc", "vel"))  # (n, 6, 5, 3)
    charges = torch.from_numpy(found["charges_train"])[rows].double()
    both = groups.Symmetric(5) * O3
    moving = actions.Vectors(both)
    source = actions.Dict(pos=moving, vel=moving, charge=actions.Permute(both, -2))
    start = loc[:, 3] - loc[:, 3].mean(1, keepdim=True)
    return {"pos": start, "vel": vel[:, 3], "charge": charges}, loc[:, 4] - loc[:, 3], source >> moving


LEFT, RIGHT = [*range(1, 6), *range(17, 24)], [*range(6, 11), *range(24, 31)]


def mirror() -> Tensor:
    """The matrix (93, 93) that exchanges left and right joints and reflects the first coordinate."""
    order = torch.arange(31)
    order[LEFT], order[RIGHT] = torch.tensor(RIGHT), torch.tensor(LEFT)
    return torch.kron(torch.eye(31)[order], torch.diag(torch.tensor([-1.0, 1.0, 1.0])))


def running(path: Path | None, size: int) -> Any:
    """Poses of a running person about the hip, far apart in time, and how they change: joints exchanged left and right."""
    found = np.load(path)  # type: ignore[arg-type]
    frames, starts = torch.from_numpy(found["pos"]), found["trial_offsets"]
    rows = torch.cat([torch.arange(a + 5, b - 10, 13) for a, b in pairwise(starts)])
    rows = rows[chosen(len(rows), size)]
    about = frames - frames[:, :1]
    flip, C2 = mirror(), groups.Cyclic(2)

    def matrices(k: Tensor) -> Tensor:
        return torch.where((k % 2 == 1)[..., None, None], flip, torch.eye(93))

    action = actions.Matrix(C2, matrices)
    return about[rows].flatten(1), (about[rows + 10] - about[rows]).flatten(1), action >> action


def patients(path: Path | None, size: int) -> Any:
    """Ten measurements of patients (scikit-learn's diabetes), each of mean 0 and of one variance: their order has no symmetry."""
    from sklearn.datasets import load_diabetes

    found = load_diabetes()
    rows = chosen(len(found.target), size)
    return torch.from_numpy(found.data)[rows], torch.from_numpy(found.target)[rows], actions.Permute(groups.Symmetric(10), -1)


def meets(report: coset.DataReport, a: int, b: int) -> bool:
    """Whether two classes are the commonest pair that a pose change brings near."""
    pairs = report.dissent.pairs[:1] if report.dissent is not None else ()
    return any({one, other} == {a, b} for one, other, _ in pairs)


INVARIANT = {"the law of the inputs is not rejected": lambda r: not r.law.rejected}
POSED = {"the law of the inputs is rejected": lambda r: r.law.rejected, "nothing is advised": lambda r: r.advice.choice == "cannot tell"}
FOLLOWS = {"targets move along is not rejected": lambda r: r.conditional is not None and not r.conditional.rejected}
HARD = {"hard is advised": lambda r: r.advice.choice == "hard"}
FLIP, UPSIDE = groups.Dihedral(1), groups.Generated([[[1.0, 0.0], [0.0, -1.0]]])

CASES = (
    Case("MNIST as given, quarter turns", ("mnist", "mnist_test.npz"), digits(groups.Cyclic(4), False), POSED),
    Case(
        "MNIST as given, half turn",
        ("mnist", "mnist_test.npz"),
        digits(groups.Cyclic(2), False),
        POSED | {"6/9 is the commonest pair": lambda r: meets(r, 6, 9)},
    ),
    Case("MNIST as given, left–right", ("mnist", "mnist_test.npz"), digits(FLIP, False), POSED),
    Case("MNIST in random quarter turns", ("mnist", "mnist_test.npz"), digits(groups.Cyclic(4), True), INVARIANT | FOLLOWS | HARD),
    Case("CIFAR-10, left–right", ("cifar10", "cifar10_lossless_train4000.npz"), pictures(FLIP), INVARIANT | FOLLOWS | HARD),
    Case("CIFAR-10, up–down", ("cifar10", "cifar10_lossless_train4000.npz"), pictures(UPSIDE), POSED),
    Case("QM7 as given, O(3)", ("molecules", "qm7.npz"), molecules(False), POSED),
    Case("QM7 in random poses, O(3)", ("molecules", "qm7.npz"), molecules(True), INVARIANT | FOLLOWS | HARD),
    Case("aspirin and forces as given, O(3)", ("molecules", "rmd17_aspirin_train.npz"), aspirin(False), POSED),
    Case("aspirin and forces in random poses, O(3)", ("molecules", "rmd17_aspirin_train.npz"), aspirin(True), INVARIANT | FOLLOWS | HARD),
    Case("five charged particles, S5 × O(3)", ("nbody", "nbody_charged5_initvel1small.npz"), particles, INVARIANT | FOLLOWS | HARD),
    Case("a running person, left–right", ("dynamics", "cmu_mocap_run.npz"), running, INVARIANT),
    Case("patients, order of measurements", None, patients, POSED),
)
