"""ImageNet: trained MobileNets made invariant to quarter turns by canonicalizers that were trained on upright photographs alone.

One half of the sample trains (upright), the other half tests, turned by every quarter. Canonicalizers learn the identity prior without the
predictor, so one of them serves every predictor. Rows are kept in ``experiments/out/imagenet_rotations`` and gone on with; ``--record``
writes the tables. Data: the folders ``tflite_mobilenets`` and ``imagenet1000`` under ``COSET_DATA``.

Reference: Mondal et al. 2023, arXiv 2310.01647; Kaba et al. 2023, arXiv 2211.06489.
"""

from __future__ import annotations

import json
import re
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from _imagenet import halves, photographs
from _labelled import Batches
from _mobilenets import mobilenet, scaled
from _results import HERE, Experiment, data
from torch import Tensor, nn
from torch.nn.functional import interpolate
from torch.optim import AdamW

import coset
from coset import actions, adapt, frames, groups
from coset.nn import ImageScorer

C4 = groups.Cyclic(4)
IMAGES = actions.Image(C4)
SIGNATURE = IMAGES >> actions.Trivial(C4)
SMALL, LARGE = "MobileNetV1 0.25, 128", "MobileNetV2 1.0, 224"
BATCH = 25


class Logits(nn.Module):
    """A model of transformers as images -> logits of the 1,000 classes."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """The logits, without the background."""
        return self.model(pixel_values=images).logits[:, 1:]


class Features(nn.Module):
    """An energy from frozen features of the smallest network, pooled over each quarter of the image: a linear layer alone is trained."""

    def __init__(self, model: nn.Module, size: int = 128):
        super().__init__()
        self.body = model.mobilenet_v1.requires_grad_(False).eval()
        self.size, self.out = size, nn.Linear(4 * model.classifier.in_features, 1)

    def train(self, mode: bool = True) -> Features:
        """The frozen part stays in eval mode."""
        super().train(mode)
        self.body.eval()
        return self

    def forward(self, images: Tensor) -> Tensor:
        """The energies (B,)."""
        if images.shape[-1] != self.size:
            images = interpolate(images, (self.size, self.size), mode="bilinear", antialias=True)
        found = self.body(pixel_values=images).last_hidden_state
        return self.out(nn.functional.adaptive_avg_pool2d(found, 2).flatten(1)).squeeze(1)


def no_frame(weights: Path, net: nn.Module) -> None:
    """The network alone."""


def average(weights: Path, net: nn.Module) -> frames.Frame:
    """All four turns."""
    return frames.Full()


def confident(weights: Path, net: nn.Module) -> frames.Frame:
    """Where the predictor is most confident."""
    return frames.Minimize(frames.Confidence(net))


def energy(weights: Path, net: nn.Module) -> frames.Frame:
    """A small network that sees 32 pixels."""
    return frames.Minimize(ImageScorer(3, size=32))


def features(weights: Path, net: nn.Module) -> frames.Frame:
    """A linear layer on frozen features."""
    return frames.Minimize(Features(mobilenet(weights, SMALL)))


ROWS: dict[str, tuple[Callable[[Path, nn.Module], frames.Frame | None], int, float]] = {
    "bare": (no_frame, 0, 0.0),
    "group average": (average, 0, 0.0),
    "most confident, untrained": (confident, 0, 0.0),
    "energy of 32 pixels, prior": (energy, 40, 3e-3),
    "energy on frozen features, prior": (features, 8, 3e-3),
}
"""The frame, its epochs and its rate."""


def model_of(name: str, weights: Path, predictor: str, known: Batches, out: Path, seed: int) -> tuple[nn.Module, float]:
    """The predictor in the frame of a row, which is trained at 128 pixels where there is something to train; and the CPU seconds."""
    torch.manual_seed(seed)
    make, epochs, rate = ROWS[name]
    net = Logits(mobilenet(weights, predictor)).eval()
    frame, start = make(weights, net), time.process_time()
    if frame is None:
        return net, 0.0
    if epochs:
        options = adapt.Options(epochs=epochs, optimizer=partial(AdamW, lr=rate), clip=1.0)
        adapt.fit(frame, None, known, signature=SIGNATURE, options=options, folder=out / slug(name, seed), progress=False)
    return coset.symmetrize(net, SIGNATURE, frame).eval(), time.process_time() - start


def slug(name: str, seed: int) -> str:
    """The folder of a row."""
    return f"{re.sub('[^a-z0-9]+', '-', name.lower())}-{seed}"


def lines_of(found: dict[str, dict[str, object]], predictor: str) -> tuple[list[list[str]], list[list[str]]]:
    """The table of one predictor, and its aims."""
    accuracy = {name: adapt.Accuracy(torch.tensor(one["values"], dtype=torch.float64)) for name, one in found.items()}
    lines, aims = [], []
    for name, one in accuracy.items():
        apart = (f"{100 * gap.mean:+.1f} ({100 * gap.low:+.1f} to {100 * gap.high:+.1f})" for gap in one.minus(accuracy["bare"]))
        same = float((one.values == one.values[0]).all(0).double().mean())
        lines.append(
            [
                predictor,
                name,
                f"{100 * one.upright.mean:.1f}",
                f"{100 * one.averaged.mean:.1f}",
                *apart,
                f"{100 * same:.1f} %",
                f"{found[name]['seconds']:.0f}",
            ]
        )
        if ROWS[name][1]:
            gain = one.minus(accuracy["bare"])[1]
            aims.append([f"{predictor}, {name}: averaged above bare", f"{100 * gain.mean:+.1f}", "met" if gain.low > 0 else "missed"])
            aims.append([f"{predictor}, {name}: unchanged by turns", f"{100 * same:.1f} %", "met" if same == 1 else "missed"])
    return lines, aims


def main() -> None:
    """Train what is not trained yet, evaluate, and report."""
    experiment = Experiment("ImageNet: trained MobileNets under learned canonicalization")
    experiment.parser.add_argument("--out", type=Path, default=HERE / "out" / "imagenet_rotations", help="folder of the checkpoints")
    given = experiment.parse()
    weights, sample = data("tflite_mobilenets"), data("imagenet1000")
    if weights is None or sample is None:
        return
    count = 16 if given.smoke else 1000
    rows = list(ROWS)[:4:3] if given.smoke else list(ROWS)
    train, test = halves(count)
    known = Batches(photographs(sample, 128, count)[train], BATCH, True, scaled)
    lines, aims = [], []
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) if given.smoke else given.out
        for predictor in (SMALL,) if given.smoke else (SMALL, LARGE):
            held = Batches(photographs(sample, int(predictor[-3:]), count)[test], BATCH, False, scaled)
            found = {}
            for name in rows:
                kept = out / slug(f"{predictor} {name}", given.seed) / "scores.json"
                if not kept.exists():
                    model, seconds = model_of(name, weights, predictor, known, out, given.seed)
                    scores = adapt.accuracy(model, held, IMAGES).values.int().tolist()
                    kept.parent.mkdir(parents=True, exist_ok=True)
                    kept.write_text(json.dumps({"values": scores, "seconds": seconds}))
                found[name] = json.loads(kept.read_text())
            more, checks = lines_of(found, predictor)
            lines, aims = lines + more, aims + checks
            print(*more, sep="\n", flush=True)
    experiment.table(
        ["predictor", "row", "upright", "averaged", "upright - bare", "averaged - bare", "same for all turns", "CPU s"],
        lines,
        f"Top-1 (%) on {len(test)} photographs, upright and as a mean over the four quarter turns, with paired differences to "
        f"the bare network (95 % intervals). Predictors are frozen; canonicalizers saw the other {len(train)} photographs, "
        "upright, at 128 pixels, without the predictor, and are the same for both. Same for all turns: photographs that are "
        "right, or wrong, in all four.",
    )
    experiment.table(["aim", "found", "status"], aims)
    experiment.finish()


if __name__ == "__main__":
    main()
