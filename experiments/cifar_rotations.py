"""CIFAR-10: trained residual networks made equivariant to quarter turns and eighths of a turn, frozen and fine-tuned.

Canonicalizers are trained on upright training images (``--images``, ``--epochs``); the test is on images as they are and on all of them
turned by every element of the group. ``--only`` trains and tests some rows, beside others; every row is kept in
``experiments/out/cifar_rotations`` and gone on with; ``--record`` writes the tables.

Data: the folders ``cifar10`` and ``cifar10_weights`` under ``COSET_DATA``. JPEG copies cost the networks ten points, so differences are to
the same network on the same copies.

Reference: Mondal et al. 2023, arXiv 2310.01647; Panigrahi and Mondal 2024, arXiv 2405.14089; Kaba et al. 2023, arXiv 2211.06489.
"""

from __future__ import annotations

import copy
import json
import math
import re
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

import torch
from _cifar import ResNet, decoded, resnet
from _labelled import Batches
from _results import HERE, Experiment, data
from torch import Tensor, nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import CosineAnnealingLR

import coset
from coset import actions, adapt, frames, groups
from coset.nn import GroupCNN, ImageScorer

OUT = HERE / "out" / "cifar_rotations"
BATCH, RATE = 128, 5e-3
Maker = Callable[[groups.Group, ResNet], tuple[frames.Frame, adapt.Loss | None]]


class Embedding(nn.Module):
    """Four strided convolutions: images (B, 3, 32, 32) to embeddings (B, 64)."""

    def __init__(self, width: int = 16):
        super().__init__()
        sizes = [(3, width), (width, 2 * width), (2 * width, 4 * width), (4 * width, 4 * width)]
        blocks = [[nn.Conv2d(a, b, 3, 2, 1, bias=False), nn.GroupNorm(4, b), nn.ReLU()] for a, b in sizes]
        self.layers = nn.Sequential(*(layer for block in blocks for layer in block), nn.Flatten(), nn.Linear(16 * width, 64))

    def forward(self, images: Tensor) -> Tensor:
        """The embeddings."""
        return self.layers(images)


def direct(group: groups.Group, net: ResNet, loss: adapt.Loss) -> tuple[frames.Frame, adapt.Loss]:
    """A group convolutional network that says the element."""
    return frames.Canonicalizer(GroupCNN(group, 3)), loss


def energy(group: groups.Group, net: ResNet, loss: adapt.Loss, size: int = 16) -> tuple[frames.Frame, adapt.Loss]:
    """The least energy of an orbit."""
    return frames.Minimize(ImageScorer(3, size=size)), loss


def contrastive(group: groups.Group, net: ResNet) -> tuple[frames.Frame, adapt.Loss]:
    """The least energy, from embeddings and a reference direction."""
    reference = adapt.Reference(Embedding(), 64)
    return frames.Minimize(reference), adapt.Contrastive(reference)


def untrained(group: groups.Group, net: ResNet, frame: Callable[[ResNet], frames.Frame]) -> tuple[frames.Frame, None]:
    """Nothing to train."""
    return frame(net), None


@dataclass(frozen=True)
class Row:
    """One line: the group, the frame with its loss, and whether the predictor learns too.

    Attributes:
        order: of the group of turns.
        make: the frame and its loss; None for the bare network.
        joint: the predictor's learning rate as a share of the canonicalizer's.
        still: the frame is over the trivial group: the predictor alone is fine-tuned, on images as they are.
        calls: of the predictor for one image.
    """

    order: int
    make: Maker | None = None
    joint: float = 0.0
    still: bool = False
    calls: int = 1


PRIOR = adapt.IdentityPrior()


def rows_of(order: int) -> dict[str, Row]:
    """The methods over one group."""
    steady = adapt.IndexConsistency(actions.Image(groups.SpecialOrthogonal(2)))
    rows = {
        "bare": Row(order),
        "group average": Row(order, partial(untrained, frame=lambda net: frames.Full()), calls=order),
        "least confident, untrained": Row(order, partial(untrained, frame=lambda net: frames.Minimize(frames.Confidence(net)))),
        "GroupCNN, prior": Row(order, partial(direct, loss=PRIOR)),
        "GroupCNN, task": Row(order, partial(direct, loss=adapt.Task())),
        "GroupCNN, task and prior": Row(order, partial(direct, loss=adapt.Task() + PRIOR)),
        "energy, prior": Row(order, partial(energy, loss=PRIOR)),
        "energy of 32 pixels, prior": Row(order, partial(energy, loss=PRIOR, size=32)),
        "bare, fine-tuned": Row(order, partial(energy, loss=adapt.Task()), joint=0.02, still=True),
        "energy of 32 pixels, task and prior, fine-tuned": Row(order, partial(energy, loss=adapt.Task() + PRIOR, size=32), joint=0.02),
        "contrastive": Row(order, contrastive),
    }
    if order > 4:
        rows["energy, prior and consistency"] = Row(order, partial(energy, loss=PRIOR + 0.5 * steady))
    return {f"C{order}, {name}": row for name, row in rows.items()}


ROWS = {**rows_of(4), **rows_of(8)}


SMOKE = (
    "C4, bare",
    "C4, GroupCNN, task",
    "C4, bare, fine-tuned",
    "C4, energy of 32 pixels, task and prior, fine-tuned",
    "C4, contrastive",
    "C8, bare",
    "C8, energy, prior",
)


@dataclass(frozen=True)
class Plan:
    """Sizes of a run."""

    images: int
    test: int
    epochs: int
    depth: int
    seed: int


def model_of(name: str, plan: Plan, weights: Path, known: Batches | None, folder: Path | None) -> tuple[nn.Module, float]:
    """The network of a row, trained where there is something to train, and the CPU seconds of this call."""
    torch.manual_seed(plan.seed)
    row, net = ROWS[name], resnet(weights, plan.depth)
    if row.make is None:
        return net, 0.0
    G = groups.Cyclic(1 if row.still else row.order)
    signature, start = actions.Image(G) >> actions.Trivial(G), time.process_time()
    frame, loss = row.make(G, net)
    if loss is None or known is None:
        return coset.symmetrize(net, signature, frame), 0.0
    options = adapt.Options(
        epochs=plan.epochs,
        optimizer=partial(AdamW, lr=RATE),
        schedule=lambda optimizer, epochs: CosineAnnealingLR(optimizer, epochs),
        predictor_rate=row.joint,
        clip=1.0,
        generator=torch.Generator().manual_seed(plan.seed),
    )
    fitted = adapt.fit(frame, net, known, signature=signature, loss=loss, options=options, folder=folder)
    return fitted.model, time.process_time() - start


def seconds_of(model: nn.Module, images: Tensor) -> float:
    """Median CPU seconds of a forward pass."""
    model = copy.deepcopy(model).eval()
    found = []
    with torch.no_grad():
        for _ in range(7):
            start = time.process_time()
            model(images.clone())  # as a loader would: memory of its own
            found.append(time.process_time() - start)
    return median(found)


def cost_of(name: str, plan: Plan, weights: Path, images: Tensor) -> float:
    """The CPU time of a row's forward pass in that of the bare network; what was trained does not change it."""
    row, bare = ROWS[name], resnet(weights, plan.depth)
    if row.make is None or row.still:
        return 1.0
    model, _ = model_of(name, plan, weights, None, None)
    return median(seconds_of(model, images) / seconds_of(bare, images) for _ in range(5))


def evaluate(name: str, model: nn.Module, test: Batches) -> dict[str, object]:
    """Scores (K, N) of every image, turned by every element."""
    found = adapt.accuracy(model, test, actions.Image(groups.Cyclic(ROWS[name].order)))
    frame = getattr(model, "frame", None)
    size = sum(p.numel() for p in frame.parameters()) if isinstance(frame, nn.Module) else 0
    return {"values": found.values.int().tolist(), "parameters": size}


def accuracy(one: dict[str, object]) -> adapt.Accuracy:
    """The scores of a row."""
    return adapt.Accuracy(torch.tensor(one["values"], dtype=torch.float64))


def lines_of(found: dict[str, dict[str, object]], depth: int) -> tuple[list[list[str]], list[list[str]]]:
    """The table and the aims."""
    lines, shown = [], dict[str, adapt.Accuracy]()
    for name in ROWS:
        order = ROWS[name].order
        bare = found.get(f"C{order}, bare")
        if name not in found or bare is None:
            lines.append([name, "", "", "", "", "", "", "", "not run"])
            continue
        one = found[name]
        own, other = accuracy(one), accuracy(bare)
        upright, averaged = (f"{100 * gap.mean:+.2f} ({100 * gap.low:+.2f} to {100 * gap.high:+.2f})" for gap in own.minus(other))
        fine = own.minus(other)[0].mean >= -0.01 and own.averaged.mean >= own.upright.mean - 0.01 and float(one["ratio"]) < 1.1  # type: ignore[arg-type]
        status = "" if ROWS[name].make is None or ROWS[name].still else "met" if fine else "missed"
        if status:
            shown[name] = own
        size, ratio, seconds = f"{one['parameters']:,}", f"{one['ratio']:.2f}", f"{one['seconds']:.0f}"
        lines.append(
            [name, f"{100 * own.upright.mean:.2f}", f"{100 * own.averaged.mean:.2f}", upright, averaged, ratio, size, seconds, status]
        )
    return lines, aims_of(found, shown, depth)


def aims_of(found: dict[str, dict[str, object]], shown: dict[str, adapt.Accuracy], depth: int) -> list[list[str]]:
    """What is aimed at, for the best row of C4 with a frozen predictor and for the best with a fine-tuned one."""
    aims = []
    for kind, peer in (("frozen", "C4, bare"), ("fine-tuned", "C4, bare, fine-tuned")):
        tuned = kind == "fine-tuned"
        among = [name for name in shown if name[:2] == "C4" and ROWS[name].calls == 1 and (ROWS[name].joint > 0) == tuned]
        if not among or peer not in found:
            aims.append([f"ResNet{depth}, {kind}: averaged within 1 point of upright, upright within 1 point of {peer!r}", "", "not run"])
            continue
        best = max(among, key=lambda name: shown[name].averaged.mean)
        over, under = shown[best].averaged.mean - shown[best].upright.mean, shown[best].minus(accuracy(found[peer]))[0].mean
        cost = float(found[best]["ratio"])  # type: ignore[arg-type]
        checks = [
            ("averaged within 1 point of upright", f"{100 * over:+.2f}", over >= -0.01),
            (f"upright within 1 point of {peer!r}", f"{100 * under:+.2f}", under >= -0.01),
            ("cost below 1.1 of the bare network", f"{cost:.2f}", cost < 1.1),
        ]
        aims += [[f"ResNet{depth}, {kind} ({best}): {what}", value, "met" if fine else "missed"] for what, value, fine in checks]
    return aims


def run(experiment: Experiment, plan: Plan, source: Path, weights: Path, out: Path, names: list[str]) -> None:
    """Train and test rows that are not kept yet, and report."""
    known = Batches(decoded(source / "cifar10_jpeg_train.npz", plan.images), BATCH, True)
    test = Batches(decoded(source / "cifar10_jpeg_test.npz", plan.test), 250, False)
    found = {}
    for name in ROWS:
        folder = out / f"{re.sub('[^a-z0-9]+', '-', name.lower())}-resnet{plan.depth}-{plan.seed}"
        kept, mark = folder / "scores.json", repr(plan)
        if kept.exists() and json.loads(kept.read_text())["plan"] == mark:
            found[name] = json.loads(kept.read_text())
        elif name in names:
            model, seconds = model_of(name, plan, weights, known, folder)
            found[name] = evaluate(name, model, test) | {"plan": mark, "seconds": seconds}
            folder.mkdir(parents=True, exist_ok=True)
            kept.write_text(json.dumps(found[name]))
            print(name, repr(adapt.Accuracy(torch.tensor(found[name]["values"], dtype=torch.float64))), flush=True)
    if experiment.options.record or experiment.options.smoke:
        for name, one in found.items():
            one["ratio"] = cost_of(name, plan, weights, test.known.images[:64])
    lines, aims = lines_of({name: {"ratio": math.nan} | one for name, one in found.items()}, plan.depth)
    columns = ["row", "upright", "averaged", "upright - bare", "averaged - bare", "cost / bare", "parameters", "CPU s", "within aims"]
    experiment.table(
        columns,
        lines,
        f"Accuracy (%) of ResNet{plan.depth} on {plan.test:,} JPEG copies of test images: upright, and the mean over all turns of the "
        "group of the accuracy on the turned test set; paired differences to the bare network with 95 % intervals. Canonicalizers saw "
        f"{plan.images:,} upright training images, {plan.epochs} epochs (AdamW {RATE:g}, cosine, batches of {BATCH}); the predictor is "
        "frozen where not said otherwise. A fine-tuned one has learned from JPEG copies: compare it with 'bare, fine-tuned', the same "
        "network fine-tuned as long without a frame. Cost: CPU time of forward passes of 64 images, medians. "
        "The rows that aims speak of are those of the highest averaged accuracy on these same test images. "
        "Within aims: upright at most 1 point "
        "below bare, averaged at most 1 point below upright, cost below 1.1.",
    )
    if aims:
        experiment.table(["aim", "found", "status"], aims)
    experiment.finish()


def main() -> None:
    """Train what is not trained yet, evaluate, and report."""
    experiment = Experiment("CIFAR-10: trained residual networks under learned canonicalization")
    add = experiment.parser.add_argument
    add("--out", type=Path, default=OUT, help="folder of the checkpoints")
    add("--images", type=int, default=50000, help="upright training images")
    add("--epochs", type=int, default=4)
    add("--depth", type=int, default=20, choices=(20, 32, 44, 56), help="of the network")
    add("--only", default="", help="rows to train and test, separated by semicolons; all when left out, '-' for none")
    options = experiment.parse()
    experiment.title += f", ResNet{options.depth}"
    source, weights = data("cifar10"), data("cifar10_weights")
    if source is None or weights is None:
        return
    names = options.only.split(";") if options.only else list(ROWS)
    plan = Plan(options.images, 10000, options.epochs, options.depth, options.seed)
    with tempfile.TemporaryDirectory() as scratch:
        if options.smoke:
            plan, names = Plan(64, 16, 1, 20, options.seed), list(SMOKE)
        run(experiment, plan, source, weights, Path(scratch) if options.smoke else options.out, names)


if __name__ == "__main__":
    main()
