"""Membranes in electron micrographs: a small segmentation network made equivariant to quarter turns and flips, its masks undone.

30 labelled slices of 512 x 512 pixels; crops of the first 24 to train, whole slices of the last 6 to test, as they are and moved by all
eight elements of D4. Images of tissue have no upright pose: the data is symmetric, the network is not. Runs are kept in
``experiments/out/membranes`` and gone on with; ``--record`` writes the table.

Data: the folder ``em_membrane`` under ``COSET_DATA`` (ISBI 2012).

Reference: Arganda-Carreras et al. 2015 (the data); Kaba et al. 2023, arXiv 2211.06489; Basu et al. 2023 (averages of pretrained networks).
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from _results import Experiment, data
from _short_training import OUT, trained
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, interpolate

import coset
from coset import actions, frames, groups
from coset.nn import GroupCNN, ImageScorer

D4 = groups.Dihedral(4)
SIGNATURE = actions.Image(D4) >> actions.Image(D4)
CROP, BATCH, STEPS, RATE = 128, 8, 600, 3e-3


class Segmenter(nn.Module):
    """Two levels of convolutions down and up: images (B, 1, H, W) to logits (B, 1, H, W) of the inside of cells."""

    def __init__(self, width: int = 12):
        super().__init__()

        def block(a: int, b: int) -> nn.Sequential:
            return nn.Sequential(nn.Conv2d(a, b, 3, padding=1), nn.GroupNorm(4, b), nn.ReLU(), nn.Conv2d(b, b, 3, padding=1), nn.ReLU())

        self.one, self.two, self.three = block(1, width), block(width, 2 * width), block(2 * width, 4 * width)
        self.up, self.top, self.out = block(6 * width, 2 * width), block(3 * width, width), nn.Conv2d(width, 1, 1)

    def forward(self, images: Tensor) -> Tensor:
        """The logits."""
        one = self.one(images)
        two = self.two(one[..., ::2, ::2])  # strides from a corner: turns of the image move the grid of samples
        three = self.three(two[..., ::2, ::2])
        up = self.up(torch.cat([two, interpolate(three, size=two.shape[-2:])], 1))
        return self.out(self.top(torch.cat([one, interpolate(up, size=one.shape[-2:])], 1)))


@dataclass(frozen=True)
class Slices:
    """Images (N, 1, H, W) around zero, and masks (N, 1, H, W): one inside of cells, zero on membranes."""

    images: Tensor
    masks: Tensor

    def crops(self, count: int) -> Slices:
        """Random square crops."""
        size = self.images.shape[-1] - CROP + 1
        where = torch.stack([torch.randint(len(self.images), (count,)), *torch.randint(size, (2, count))], 1).tolist()
        found = [tuple(x[n, :, r : r + CROP, c : c + CROP] for x in (self.images, self.masks)) for n, r, c in where]
        return Slices(*(torch.stack(each) for each in zip(*found, strict=True)))


@dataclass(frozen=True)
class Row:
    """One line: the frame, from its network where it has one; whether crops are moved at random in training; calls for an image."""

    frame: Callable[[nn.Module | None], frames.Frame] | None = None
    network: Callable[[], nn.Module] | None = None
    moved: bool = False
    calls: int = 1

    def parts(self) -> nn.ModuleDict:
        """Fresh networks."""
        return nn.ModuleDict({"base": Segmenter(), **({"frame": self.network()} if self.network else {})})

    def model(self, parts: nn.ModuleDict) -> nn.Module:
        """The network, under its frame."""
        if self.frame is None:
            return parts["base"]
        return coset.symmetrize(parts["base"], SIGNATURE, self.frame(parts["frame"] if self.network else None), chunk=4)


ROWS = {
    "bare": Row(),
    "augmentation": Row(moved=True),
    "group average": Row(lambda net: frames.Stochastic(frames.Full()), calls=8),
    "GroupCNN": Row(lambda net: frames.Canonicalizer(net), lambda: GroupCNN(D4, 1, size=32)),  # type: ignore[arg-type]
    "energy": Row(lambda net: frames.Minimize(net), lambda: ImageScorer(1, size=32)),  # type: ignore[arg-type]
}


def load(path: Path) -> Slices:
    """All slices."""
    with np.load(path) as found:
        images, masks = (found[next(key for key in found.files if word in key)] for word in ("image", "mask"))
    masks = np.unpackbits(masks, axis=-1)[..., : images.shape[-1]]
    pixels = torch.from_numpy(images).float().unsqueeze(1) / 127.5 - 1
    return Slices(pixels, torch.from_numpy(masks).float().unsqueeze(1))


def train(name: str, seed: int, known: Slices, steps: int, path: Path) -> tuple[nn.ModuleDict, float]:
    """Train one row; its networks and the seconds."""
    torch.manual_seed(seed)
    row = ROWS[name]
    parts = row.parts()
    model = row.model(parts).train()

    def loss(step: int) -> Tensor:
        batch = known.crops(BATCH)
        images, masks = batch.images, batch.masks
        if row.moved:
            g = D4.haar(BATCH)
            images, masks = (SIGNATURE.source.act(g, x) for x in (images, masks))
        return binary_cross_entropy_with_logits(model(images), masks)

    return parts, trained(parts, loss, steps, path, rate=RATE, plan=f"{name}, seed {seed}", every=50, warm=0.1)


@torch.no_grad()
def evaluate(name: str, parts: nn.ModuleDict, test: Slices, seconds: float) -> list[str]:
    """One line: intersection over union of membranes, upright and over all elements; how far logits miss the law; changed pixels."""
    row = ROWS[name]
    model = row.model(parts).eval()
    every = D4.elements()
    unions, gaps, changed = [], [], []
    for image, mask in zip(test.images.split(1), test.masks.split(1), strict=True):
        here = model(image)
        for k in range(int(D4.order)):
            g = tuple(leaf[k : k + 1] for leaf in every)
            there = model(SIGNATURE.source.act(g, image))
            membrane, wanted = there < 0, SIGNATURE.target.act(g, mask) < 0.5
            unions.append(float((membrane & wanted).sum() / (membrane | wanted).sum().clamp_min(1)))
            expected = SIGNATURE.target.act(g, here)
            gaps.append(float((there - expected).abs().max() / here.square().mean().sqrt()))
            changed.append(float(((there < 0) != (expected < 0)).double().mean()))
    table = torch.tensor(unions, dtype=torch.float64).unflatten(0, (-1, int(D4.order)))
    spread = table.mean(1).std() * 1.96 / len(table) ** 0.5
    size = sum(p.numel() for p in parts.parameters())
    return [
        name,
        str(row.calls),
        f"{size:,}",
        f"{100 * float(table[:, 0].mean()):.2f}",
        f"{100 * float(table.mean()):.2f} ± {100 * float(spread):.2f}",
        f"{max(gaps):.1e}",
        f"{100 * max(changed):.3f}",
        f"{seconds:.0f}",
    ]


def main() -> None:
    """Train what is not trained yet, evaluate, and report."""
    experiment = Experiment("Membranes: a segmentation network under frames of D4")
    experiment.parser.add_argument("--out", type=Path, default=OUT / "membranes", help="folder of the checkpoints")
    options = experiment.parse()
    folder = data("em_membrane")
    if folder is None:
        return
    slices, steps = load(folder / "isbi2012_em.npz"), STEPS
    known, test = Slices(slices.images[:24], slices.masks[:24]), Slices(slices.images[24:], slices.masks[24:])
    if options.smoke:
        steps, test = 2, Slices(test.images[:2, :, :96, :80], test.masks[:2, :, :96, :80])
    lines = []
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) if options.smoke else options.out
        for number, name in enumerate(ROWS):
            parts, seconds = train(name, options.seed, known, steps, out / f"{number}-{options.seed}.pt")
            lines.append(evaluate(name, parts, test, seconds))
            print(lines[-1], flush=True)
    experiment.table(
        ["row", "calls", "parameters", "IoU upright, %", "IoU over D4, %", "misses the law by", "changed pixels, %", "s"],
        lines,
        f"Intersection over union of membranes on {len(test.images)} slices that were not learned from, as they are and moved by all "
        f"elements of D4 (95 % interval over slices), after {steps:,} steps of {BATCH} crops of {CROP} pixels (Adam {RATE:g}). Misses the "
        "law: largest difference of logits between the moved answer and the answer for the moved image, relative to their root mean "
        "square; changed pixels: the largest share with another class. Seconds: of training, one thread beside other work.",
    )
    exact = [(line[0], float(line[5])) for line in lines[2:]]
    bare = float(lines[0][4].split()[0])
    aims = [[f"{name}: equivariant to rounding (1e-4)", f"{gap:.0e}", "met" if gap < 1e-4 else "missed"] for name, gap in exact]
    gains = [(line[0], float(line[4].split()[0]) - bare) for line in lines[2:]]
    aims += [
        [f"{name}: IoU over D4 at least that of the bare network", f"{gain:+.2f}", "met" if gain >= 0 else "missed"] for name, gain in gains
    ]
    experiment.table(["aim", "found", "status"], aims)
    experiment.finish()


if __name__ == "__main__":
    main()
