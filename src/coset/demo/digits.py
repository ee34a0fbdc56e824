"""The second part: a CNN that has seen upright digits only, under quarter turns and mirror images."""

from __future__ import annotations

from collections.abc import Callable
from statistics import fmean
from typing import Any

import torch
from torch import Tensor, nn

from .. import symmetrized
from ..actions import Dict, Image, PointMask, Points, Signature, Trivial
from ..frames import PCA, Frame, Full, Minimal, Stochastic
from ..groups import Cyclic, Dihedral, Finite, Group, Orthogonal, SpecialOrthogonal
from ..transport import canonicalize
from ..tree import tree_map
from .compare import against_bare, audited, calls, cost, figures
from .data import Digits
from .networks import Classifier, OnImages, Painter, cloud, cnn, fit, paint
from .settings import Settings


def on_images(group: Group) -> Signature:
    """An image to class scores."""
    return Image(group) >> Trivial(group)


def on_ink(group: Group) -> Signature:
    """Ink at places in the plane to class scores."""
    return Dict(pos=Points(group, mask="mask"), ink=Trivial(group), mask=PointMask(group)) >> Trivial(group)


def run(settings: Settings, data: Digits, step: Callable[[str], None]) -> dict[str, Any]:
    """Train on upright digits; audit, and count correct answers, before and after every method under C4 and D4."""
    step("digits: train the bare CNN on upright digits")
    net = cnn(settings.seed)
    bare = Classifier(net)
    fit(bare, data.train, data.train_labels, settings.steps, settings.seed)
    found: dict[str, Any] = {
        "train": len(data.train),
        "test": len(data.test),
        "audited": min(settings.audited, len(data.test)),
        "steps": settings.steps,
        "parameters": sum(p.numel() for p in net.parameters()),
        "parts": {},
    }
    shown: dict[str, nn.Module] = {"bare": bare}
    groups: list[tuple[str, Finite, Group]] = [("C4", Cyclic(4), SpecialOrthogonal(2)), ("D4", Dihedral(4), Orthogonal(2))]
    for name, group, plane in groups:
        rows, models = _part(name, group, plane, net, settings, data, step)
        found["parts"][name] = rows
        if name == "C4":
            shown |= models
    step("digits: accuracy at every angle")
    found["curves"] = {name: angle_curve(model, data) for name, model in shown.items()}
    found["pictures"] = pictures({"bare": shown["bare"], "PCA": shown["PCA"]}, data)
    return found


def _part(
    name: str, group: Finite, plane: Group, net: nn.Module, settings: Settings, data: Digits, step: Callable[[str], None]
) -> tuple[list[dict[str, Any]], dict[str, nn.Module]]:
    """The rows of one group, and the models by name."""
    bare = Classifier(net)
    plain = {"frame": "none", "exact": False, "moved_by": str(group), "in_training": False}
    rows = [_judge("bare", bare, bare, group, settings, data) | plain]
    models: dict[str, nn.Module] = {}
    for title, through in (("full average", False), ("full, trained", True)):
        step(f"digits: {title} under {name}")
        models[title], row = _averaged(title, through, group, bare, settings, data)
        rows.append(row)
    frames: list[tuple[str, Frame]] = [("PCA", PCA(of="pos")), ("minimal", Minimal(of="pos", colours="ink"))]
    for title, frame in frames:
        step(f"digits: {title} under {name}")
        models[title], row = _posed(title, frame, plane, group, settings, data)
        rows.append(row)
    return rows, models


def _averaged(
    title: str, through: bool, group: Finite, bare: nn.Module, settings: Settings, data: Digits
) -> tuple[nn.Module, dict[str, Any]]:
    """The average over the group, around the trained network or around a new one that is trained through the frame."""
    seed = settings.seed
    frame: Frame = Stochastic(Full(), torch.Generator().manual_seed(seed)) if through else Full()
    inside = Classifier(cnn(seed)) if through else bare
    model = symmetrized.symmetrize(inside, on_images(group), frame)
    if through:
        fit(model, data.train, data.train_labels, settings.steps, seed)
    row = _judge(title, model, inside, group, settings, data)
    row |= {"frame": repr(frame), "exact": bool(model.frame.exact), "moved_by": str(group), "in_training": through}
    return model, row | calls(model, data.test) | against_bare(model, inside, data.test[: settings.audited], scores)


def _posed(title: str, frame: Frame, plane: Group, group: Finite, settings: Settings, data: Digits) -> tuple[nn.Module, dict[str, Any]]:
    """A network that sees digits in the poses of a frame of points."""
    inner, painter = canonical_model(frame, plane, settings, data)
    model = OnImages(inner)
    row = _judge(title, model, Classifier(painter.cnn), group, settings, data)
    row |= {"frame": repr(frame), "exact": bool(inner.frame.exact), "moved_by": str(plane), "in_training": True}
    return model, row | calls(inner, cloud(data.test)) | against_bare(inner, painter, cloud(data.test[: settings.audited]), scores)


def scores(outputs: Tensor, inputs: Any) -> Tensor:
    """Outputs are one row per sample already."""
    return outputs


def canonical_model(frame: Frame, plane: Group, settings: Settings, data: Digits) -> tuple[symmetrized.Symmetrized, Painter]:
    """A symmetrized painter, and the painter inside, whose CNN was trained on the canonical poses of the upright training digits.

    The frame has no parameters, so the canonical inputs are computed once. Of several per digit all are used.
    """
    kind = on_ink(plane)
    net = cnn(settings.seed)
    painter = Painter(net)
    model = symmetrized.symmetrize(painter, kind, frame)
    x = cloud(data.train)
    measure = model.frame(x)
    rows = (measure.coset_weights().flatten() > 0).nonzero().flatten()
    canonical = canonicalize(measure, kind.source, x, kind.source.layout(x), rows)
    fit(net, paint(canonical["pos"], canonical["ink"]), data.train_labels[rows % measure.samples], settings.steps, settings.seed)
    return model.eval().requires_grad_(False), painter


def _judge(name: str, model: nn.Module, inside: nn.Module, group: Finite, settings: Settings, data: Digits) -> dict[str, Any]:
    """Errors, accuracies and cost of one model."""
    some, x = data.test[: settings.audited], data.test
    before = audited(inside, on_images(group), some, 8, settings.seed)
    after = before if model is inside else audited(model, on_images(group), some, 8, settings.seed)
    price = {"cost": 1.0} if model is inside else cost(lambda: inside(x), lambda: model(x), settings.rounds)
    start = {"name": name, "before": before.error, "samples": 1.0, "residual": None}
    return {**start, **figures(after), **price, **accuracies(model, group, data)}


@torch.no_grad()
def accuracies(model: nn.Module, group: Finite, data: Digits) -> dict[str, Any]:
    """The share of correct answers upright, over all elements of the group, and mirrored left to right."""
    action, elements = Image(group), group.elements()
    found = []
    for number in range(group.order):
        g = tree_map(lambda leaf: leaf[number].expand(len(data.test)), elements)  # noqa: B023
        found.append(accuracy(model, action.act(g, data.test), data.test_labels))
    return {
        "upright": found[0],
        "rotated": fmean(found),
        "by_element": found,
        "mirrored": accuracy(model, data.test.flip(-1), data.test_labels),
    }


@torch.no_grad()
def accuracy(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """The share of correct answers."""
    return int((model(images).argmax(1) == labels).sum()) / len(labels)


@torch.no_grad()
def angle_curve(model: nn.Module, data: Digits) -> list[list[float]]:
    """Pairs (degrees, accuracy) for images that are turned by any angle, with bilinear resampling."""
    plane = SpecialOrthogonal(2)
    action, found = Image(plane), []
    for degrees in range(0, 360, 15):
        angle = torch.tensor(float(degrees), dtype=torch.float64).deg2rad()
        turn = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()]).reshape(1, 2, 2)
        found.append([float(degrees), accuracy(model, action.act(turn.expand(len(data.test), 2, 2), data.test), data.test_labels)])
    return found


@torch.no_grad()
def pictures(models: dict[str, nn.Module], data: Digits, count: int = 3) -> list[dict[str, Any]]:
    """The first test digits of different classes that the bare model gets right, at four quarter turns, with class probabilities."""
    right = models["bare"](data.test).argmax(1) == data.test_labels
    seen: list[int] = []
    for row in right.nonzero().flatten().tolist():
        if int(data.test_labels[row]) in (2, 5, 7) and all(data.test_labels[row] != data.test_labels[other] for other in seen):
            seen.append(row)
    found = []
    for row in seen[:count]:
        turned = torch.cat([torch.rot90(data.test[row : row + 1], k, (-2, -1)) for k in range(4)])
        found.append(
            {
                "label": int(data.test_labels[row]),
                "images": turned[:, 0].tolist(),
                "probabilities": {name: model(turned).softmax(1).tolist() for name, model in models.items()},
            }
        )
    return found
