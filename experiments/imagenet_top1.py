"""Trained MobileNets on the sample of ImageNet, upright and turned by quarters: the numbers that canonicalizers start from.

The weights are dequantized, with TensorFlow's padding; every model is saved and read back by transformers. The sample has one image
for each class, very probably training images: it compares methods, and says nothing of generalization. Data: the folders
``tflite_mobilenets`` and ``imagenet1000`` under ``COSET_DATA``.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from _imagenet import photographs
from _labelled import Labelled
from _mobilenets import CHECKPOINTS, CLASSES, saved, scaled
from _results import Experiment, data
from _tflite import Network, evaluate
from torch import Tensor, nn

EXPECTED = {"MobileNetV1 0.25, 128": 43.3, "MobileNetV1 0.5, 160": 64.7, "MobileNetV1 0.75, 192": 75.4, "MobileNetV2 1.0, 224": 87.4}
"""What the data's own description says, in %."""
WITHIN = 0.5


@torch.no_grad()
def top1(model: nn.Module, known: Labelled, turns: int) -> float:
    """The share of right classes, in %, with all images turned by quarters."""
    images = torch.rot90(known.images, turns, (-2, -1))
    found = torch.cat([model(pixel_values=scaled(part)).logits[:, -1000:].argmax(1) for part in images.split(50)])
    return 100 * float((found == known.classes).double().mean())


@torch.no_grad()
def apart(model: nn.Module, network: Network, images: Tensor) -> float:
    """The largest difference from the operations of the file, one by one, relative to the largest logit."""
    x = scaled(images)
    expected = evaluate(network, x)
    return float((model(pixel_values=x).logits - expected).abs().max() / expected.abs().max())


def main() -> None:
    """Evaluate every model."""
    experiment = Experiment("Trained MobileNets on a sample of ImageNet")
    options = experiment.parse()
    weights, sample = data("tflite_mobilenets"), data("imagenet1000")
    if weights is None or sample is None:
        return
    lines, aims = [], []
    with tempfile.TemporaryDirectory() as scratch:
        for name, file in list(CHECKPOINTS.items())[: 1 if options.smoke else None]:
            model = saved(weights, name, Path(scratch))
            known = photographs(sample, model.config.image_size, 20 if options.smoke else None)
            gap = apart(model, Network.read(weights, file), known.images[:4])
            found = [top1(model, known, turns) for turns in range(4)]
            lines.append([name, *(f"{one:.1f}" for one in found), f"{sum(found) / 4:.1f}", f"{gap:.0e}"])
            status = "met" if abs(found[0] - EXPECTED[name]) <= WITHIN else "missed"
            aims.append([f"{name}: {EXPECTED[name]} upright, within {WITHIN}", lines[-1][1], status])
            print(lines[-1], flush=True)
    experiment.table(
        ["model", "upright", "90", "180", "270", "C4 average", "from the file"],
        lines,
        f"Top-1, %, of {len(known)} images, one for each class, upright and turned by quarters ({CLASSES} outputs, without the "
        "background). From the file: the largest difference of logits from the file's operations, evaluated one by one in "
        "floating point, relative to the largest logit.",
    )
    experiment.table(["aim", "found", "status"], aims)
    experiment.finish()


if __name__ == "__main__":
    main()
