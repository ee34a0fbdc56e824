"""How trained ReLU networks represent the left-right flip: matched channels, merged mirrors, exact conversions.

Two small networks are trained here on MNIST digits, flipped at random, so that the flip is a symmetry of the data; the residual
networks for CIFAR-10 were trained by others, with flips. Measured: how far channels are from being permuted by the flip; what is lost
when a network is merged half-way with its own mirror image (without matching, matched, with statistics reset, with REPAIR), or with
another network; and what the conversion to an exactly symmetric network costs.

Runs are kept in ``experiments/out/relu_layers``. Data: ``mnist``, ``cifar10`` and ``cifar10_weights`` under ``COSET_DATA``.

Reference: Bökman and Kahl 2023, arXiv 2305.17017; Jordan et al. 2023, arXiv 2211.08403.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import torch
from _cifar import decoded, resnet
from _labelled import Labelled
from _results import Experiment, data
from _short_training import OUT, trained
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import coset
from coset import actions, discover, groups

FLIP = groups.Dihedral(1)
SIGNATURE = actions.Image(FLIP) >> actions.Trivial(FLIP)
EPOCHS, BATCH, RATE, STEPS = 5, 128, 3e-3, 11
HEAD = [
    "network", "images", "upright", "flipped", "residual", "unmatched", "half, not matched", "half", "with reset", "with REPAIR",
    "converted, reset", "its flip error",
]  # fmt: skip


def small() -> nn.Module:
    """A convolutional network without strides: pooling on even grids commutes with the flip."""
    return nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(64, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10),
    )  # fmt: skip


def digits(folder: Path, part: str, count: int | None) -> Labelled:
    """MNIST images (N, 1, 28, 28) in [0, 1], and their labels."""
    with np.load(folder / f"mnist_{part}.npz") as found:
        images, labels = (torch.from_numpy(found[key][:count]) for key in ("images", "labels"))
    return Labelled(images.float().div(255).unsqueeze(1), labels.long())


def train(known: Labelled, seed: int, epochs: int, path: Path) -> nn.Module:
    """Train one small network on digits flipped at random."""
    torch.manual_seed(seed)
    parts = nn.ModuleDict({"net": small()})

    def loss(step: int) -> Tensor:
        batch = known[torch.randint(len(known.classes), (BATCH,))]
        flipped = torch.rand(BATCH, 1, 1, 1) < 0.5
        return cross_entropy(parts["net"](torch.where(flipped, batch.images.flip(-1), batch.images)), batch.classes)

    steps = epochs * len(known.classes) // BATCH
    plan = f"{len(known.classes)} digits, {epochs} epochs, seed {seed}"
    trained(parts, loss, steps, path, rate=RATE, plan=plan, every=100, warm=0.2)
    return parts["net"].eval()


@torch.no_grad()
def right(net: nn.Module, known: Labelled, flip: bool = False) -> float:
    """The share of right classes, in %."""
    images = known.images.flip(-1) if flip else known.images
    found = torch.cat([net.eval()(part).argmax(1) for part in images.split(500)])
    return 100 * float((found == known.classes).double().mean())


def halves(net: nn.Module, other: nn.Module, train: Labelled, test: Labelled) -> list[float]:
    """What is right half-way to another network: merged, with reset statistics, with REPAIR."""
    half = discover.merge(net, other)
    fresh = discover.reset_statistics(half, train.images.split(250))
    fixed = discover.repair(fresh, net, other, train.images)
    return [right(one, test) for one in (half, fresh, fixed)]


def study(name: str, net: nn.Module, train: Labelled, test: Labelled) -> tuple[list[str], list[float], discover.LayerSymmetry]:
    """One line of the table, with its numbers."""
    found = discover.layer_symmetry(net, SIGNATURE, train.images)
    channels = sum(block.channels for block in found.blocks)
    residual, alone = (
        sum(float(getattr(block, key)[1]) * block.channels for block in found.blocks) / channels for key in ("residual", "alone")
    )
    naive = right(discover.merge(net, found.transformed(1, matched=False)), test)
    merged = halves(net, found.transformed(1), train, test)
    both = [torch.cat([part, part.flip(-1)]) for part in train.images.split(250)]  # statistics of a symmetric batch are symmetric
    converted = discover.reset_statistics(found.converted(), both)
    error = coset.audit(converted, SIGNATURE, test.images[:32], lie=False, layers=False, continuity=False).error
    numbers = [right(net, test), right(net, test, flip=True), naive, *merged, right(converted, test), error]
    shown = [f"{one:.1f}" for one in numbers[:2]], [f"{residual:.2f}", f"{alone:.2f}"], [f"{one:.1f}" for one in numbers[2:7]]
    return [name, f"{len(test.classes):,}", *(text for part in shown for text in part), f"{error:.0e}"], numbers, found


def barriers(nets: list[nn.Module], train: Labelled, test: Labelled, steps: int) -> list[list[str]]:
    """Barriers of the error between a network and its mirror, and between two networks."""
    mirror = discover.layer_symmetry(nets[0], SIGNATURE, train.images)
    ends = {
        "its own mirror, not matched": mirror.transformed(1, matched=False),
        "its own mirror, matched": mirror.transformed(1),
        "another network, not matched": nets[1],
        "another network, matched": discover.align_channels(nets[1], nets[0], train.images),
    }
    lines = []
    for name, end in ends.items():
        curves = [
            discover.barrier(nets[0], end, lambda net: 100 - right(net, test), steps=steps, repaired=fix)
            for fix in (None, lambda net, weight: discover.reset_statistics(net, train.images.split(250)))
        ]
        lines.append([name, *(f"{curve.height:.1f}" for curve in curves)])
        print(lines[-1], flush=True)
    return lines


def main() -> None:
    """Train, match, merge and convert."""
    experiment = Experiment("How ReLU networks represent the flip")
    parser = experiment.parser
    parser.add_argument("--out", type=Path, default=OUT / "relu_layers", help="folder of the checkpoints")
    options = experiment.parse()
    mnist, cifar, weights = data("mnist"), data("cifar10"), data("cifar10_weights")
    if mnist is None or cifar is None or weights is None:
        return
    few = 200 if options.smoke else None
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) if options.smoke else options.out
        out.mkdir(parents=True, exist_ok=True)
        known, test = digits(mnist, "train", few), digits(mnist, "test", few)
        epochs = 1 if options.smoke else EPOCHS
        nets = [train(known, options.seed + k, epochs, out / f"digits-{options.seed + k}.pt") for k in range(2)]
    sample = known[:1000]
    lines, numbers = [], {}
    rows = [("digits, trained here", nets[0], sample, test)]
    images = decoded(cifar / "cifar10_jpeg_train.npz", few or 2000), decoded(cifar / "cifar10_jpeg_test.npz", few)
    rows += [(f"ResNet{depth}, CIFAR-10", resnet(weights, depth), *images) for depth in ((20,) if options.smoke else (20, 32, 44, 56))]
    for name, net, some, against in rows:
        line, numbers[name], found = study(name, net, some, against)
        lines.append(line)
        print(found, line, sep="\n", flush=True)
    curves = barriers(nets, sample, test, 3 if options.smoke else STEPS)
    experiment.table(
        HEAD, lines,
        "Right classes in %, of the network, of the network on flipped images, half-way to its own mirror image, and converted to a "
        "symmetric network without training. Residual: |h(gx) - g p h(x)| / |h(gx)| of hidden channels after the best match p, and with "
        "none, averaged over channels. Statistics are reset on training images (of converted networks on their mirror images too). Flip "
        "error: of the audit of the converted network; strides of 2 on even grids break it.",
    )  # fmt: skip
    experiment.table(["from the digits' network to", "barrier, % of digits", "with reset"], curves, "The largest excess error on the way.")
    experiment.table(["aim", "found", "status"], aims(numbers, curves))
    experiment.finish()


def aims(numbers: dict[str, list[float]], curves: list[list[str]]) -> list[list[str]]:
    """What was hoped for."""

    def row(what: str, found: str, good: bool) -> list[str]:
        return [what, found, "met" if good else "missed"]

    digit = numbers["digits, trained here"]
    own, other = float(curves[1][2]), float(curves[3][2])
    found = [
        row("digits: a smaller barrier to its own mirror than to another network", f"{own} against {other}", own < other),
        row("digits: the converted network is flip-invariant (1e-4)", f"{digit[7]:.0e}", digit[7] < 1e-4),
        row("digits: converted within 2 % of the network", f"{digit[6]:.1f} of {digit[0]:.1f}", digit[0] - digit[6] <= 2),
    ]
    for name, one in list(numbers.items())[1:]:
        found.append(
            row(f"{name}: matched and repaired better than merged as it is", f"{one[5]:.1f} against {one[2]:.1f}", one[5] > one[2])
        )
    return found


if __name__ == "__main__":
    main()
