"""The first part: molecules, and a transformer that knows nothing of rotations."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .. import symmetrized
from ..actions import Dict, PointMask, Points, Signature, Trivial, Vectors
from ..frames import PCA, Center, Chain, Frame, Full, Minimal, Quadrature
from ..groups import Euclidean, Group, Octahedral, SpecialEuclidean
from .compare import against_bare, audited, calls, cost, figures
from .data import Molecules
from .networks import transformer
from .settings import Settings

PICTURED = "CH3CH2OH"


@dataclass(frozen=True)
class Method:
    """One way to symmetrize: its name in the tables, the frame, the group, and a sentence about it."""

    name: str
    frame: Frame
    group: Group
    says: str
    average: bool = False


def methods() -> list[Method]:
    """The rows of the table, after the bare model."""
    return [
        Method("full average", Full(), Octahedral(), "exact under the 24 rotations of a cube, and under nothing else", True),
        Method("quadrature", Chain(Center(), Quadrature(5)), SpecialEuclidean(3), "60 rotations stand for all: an approximation", True),
        Method("PCA", PCA(of="pos"), Euclidean(3), "principal axes with all their signs; exact"),
        Method("minimal", Minimal(of="pos", colours="z"), Euclidean(3), "one canonical pose, one model call; exact"),
        Method("minimal, turns", Minimal(of="pos", colours="z"), SpecialEuclidean(3), "the same without reflections; exact"),
    ]


def signature(group: Group) -> Signature:
    """Positions, species and mask to a vector per atom."""
    source = Dict(pos=Points(group, mask="mask"), z=Trivial(group), mask=PointMask(group))
    return source >> Vectors(group)


def mean_vector(outputs: Tensor, inputs: dict[str, Tensor]) -> Tensor:
    """(B, 3) the mean vector of each molecule's atoms."""
    return outputs.sum(1) / inputs["mask"].sum(1, keepdim=True)


def run(settings: Settings, data: Molecules, step: Callable[[str], None], network: nn.Module | None = None) -> dict[str, Any]:
    """Audit before and after every method.

    Args:
        settings: sizes and seed.
        data: the molecules.
        step: told what is being done.
        network: another network with the same inputs and outputs.
    """
    net = transformer(settings.seed) if network is None else network
    step("molecules: bare model")
    rows = [_bare(net, data, settings)]
    curves = {"bare": angle_curve(net, data, settings)}
    pictures = {"bare": picture(net, data)}
    for method in methods():
        step(f"molecules: {method.name}")
        model = symmetrized.symmetrize(net, signature(method.group), method.frame)
        rows.append(_row(method, model, net, data, settings))
        if method.name == "minimal, turns":
            continue
        curves[method.name] = angle_curve(model, data, settings)
        if method.name == "minimal":
            pictures[method.name] = picture(model, data)
    return {
        "molecules": len(data.names),
        "atoms": int(data.mask.sum()),
        "parameters": sum(p.numel() for p in net.parameters()),
        "frame_orders": orders(net, data),
        "rows": rows,
        "curves": curves,
        "pictures": pictures,
    }


def _bare(net: nn.Module, data: Molecules, settings: Settings) -> dict[str, Any]:
    report = figures(audited(net, signature(Euclidean(3)), data.inputs, settings.elements, settings.seed))
    return {
        "name": "bare", "frame": "none", "exact": False, "says": "reads coordinates as numbers", **report,
        "before": report["error"], "everywhere": report["error"], "samples": 1.0, "cost": 1.0, "residual": None,
    }  # fmt: skip


def _row(method: Method, model: symmetrized.Symmetrized, net: nn.Module, data: Molecules, settings: Settings) -> dict[str, Any]:
    """Everything that the table says about one method."""
    kind, seed, x = signature(method.group), settings.seed, data.inputs
    elements = settings.few if method.average else settings.elements
    before = audited(net, kind, x, settings.elements, seed)
    after = figures(audited(model, kind, x, elements, seed))
    everywhere = after["error"]
    if method.group != Euclidean(3):
        everywhere = audited(model, signature(Euclidean(3)), data.some(settings.wide), settings.few, seed).error
    return {
        "name": method.name,
        "frame": repr(method.frame),
        "exact": bool(model.frame.exact),
        "says": method.says,
        "before": before.error,
        **after,
        "everywhere": everywhere,
        **calls(model, x),
        **cost(lambda: net(**x), lambda: model(**x), settings.rounds),
        **against_bare(model, net, x, mean_vector),
    }


def rotation(axis: int, degrees: float) -> Tensor:
    """(3, 3) a rotation about a coordinate axis."""
    a, b = [i for i in range(3) if i != axis]
    turn = torch.eye(3)
    sine, cosine = math.sin(math.radians(degrees)), math.cos(math.radians(degrees))
    turn[a, a], turn[a, b], turn[b, a], turn[b, b] = cosine, -sine, sine, cosine
    return turn


@torch.no_grad()
def angle_curve(model: nn.Module, data: Molecules, settings: Settings) -> list[list[float]]:
    """Pairs (degrees, relative error) for turns about the vertical axis."""
    x = data.some(settings.wide)
    still = model(**x)
    scale = float(still.square().sum((1, 2)).mean().sqrt()) or 1.0
    found = []
    for degrees in range(10, 181, 10):
        turn = rotation(2, degrees).T
        gap = model(**{**x, "pos": x["pos"] @ turn}) - still @ turn
        found.append([float(degrees), float(gap.square().sum((1, 2)).sqrt().mean()) / scale])
    return found


@torch.no_grad()
def picture(model: nn.Module, data: Molecules, degrees: float = 60.0) -> dict[str, Any] | None:
    """One molecule with its vectors, at rest and turned, and the vectors that equivariance asks for there."""
    name = PICTURED if PICTURED in data.names else max(data.names, key=lambda n: int(data.mask[data.names.index(n)].sum()))
    row = data.names.index(name)
    x = {key: value[row : row + 1] for key, value in data.inputs.items()}
    turn = rotation(2, degrees).T
    moved = {**x, "pos": x["pos"] @ turn}
    keep = x["mask"][0]
    there, expected = model(**moved), model(**x) @ turn
    size = float(expected.square().sum().sqrt()) or 1.0
    return {
        "molecule": name,
        "degrees": degrees,
        "species": x["z"][0][keep].tolist(),
        "still": {"pos": x["pos"][0][keep].tolist(), "vectors": model(**x)[0][keep].tolist()},
        "turned": {"pos": moved["pos"][0][keep].tolist(), "vectors": there[0][keep].tolist(), "expected": expected[0][keep].tolist()},
        "error": float((there - expected).square().sum().sqrt()) / size,
    }


def orders(net: nn.Module, data: Molecules) -> dict[str, int]:
    """How many molecules have a minimal frame of each size: the orders of their symmetry groups, infinite as -1."""
    method = next(method for method in methods() if method.name == "minimal")
    model = symmetrized.symmetrize(net, signature(method.group), method.frame)
    values, counts = model.frame(data.inputs).order.unique(return_counts=True)
    return {str(k): v for k, v in zip(values.tolist(), counts.tolist(), strict=True)}
