"""Which of 57 mesh shapes is a cloud of points? A small point network under learned, minimal and principal-axes frames of SO(3).

Every shape is 4,096 points sampled on a mesh; a sample is a random subset of them, centred and scaled. Networks learn from shapes as they
stand (z up); the test is on other subsets of points, as the shapes stand and turned by random rotations. Runs are kept in
``experiments/out/shapes`` and gone on with; ``--record`` writes the table.

Data: the folder ``shapes`` under ``COSET_DATA``.

Reference: Kaba et al. 2023, arXiv 2211.06489 (learned canonicalization of clouds); Deng et al. 2021, arXiv 2104.12229 (vector neurons);
Puny et al. 2022, arXiv 2110.03336 (frames from principal axes).
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
from torch.nn.functional import cross_entropy

import coset
from coset import actions, frames, groups
from coset.nn import VectorNeurons

SO3 = groups.SpecialOrthogonal(3)
SIGNATURE = actions.Points(SO3) >> actions.Trivial(SO3)
SET = groups.Symmetric() * SO3
POINTS, STEPS, TESTS = 128, 1500, 20


class PointNet(nn.Module):
    """A perceptron of every point, the largest values over points, a perceptron: (B, n, 3) to (B, classes)."""

    def __init__(self, classes: int):
        super().__init__()
        self.each = nn.Sequential(nn.Linear(3, 64), nn.ReLU(), nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 256))
        self.all = nn.Sequential(nn.LayerNorm(256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, classes))

    def forward(self, points: Tensor) -> Tensor:
        """The logits."""
        return self.all(self.each(points).amax(1))


class Axes(nn.Module):
    """Three vectors of a set of points, (B, 3, 3), from vector neurons that see every point and means over all of them."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = VectorNeurons(actions.Vectors(SET), torch.randn(2, POINTS, 3), width=24, layers=2, noise=0, neighbours=8)

    def forward(self, points: Tensor, noise: Tensor | None = None) -> Tensor:
        """The vectors."""
        return self.inner(points, noise)[1]


@dataclass(frozen=True)
class Row:
    """One line.

    Attributes:
        frame: from the frame's network (or None) to the frame; None for the bare network.
        learned: whether the frame has a network.
        turned: train on turned shapes.
    """

    frame: Callable[[nn.Module | None], frames.Frame] | None = None
    learned: bool = False
    turned: bool = False

    def model(self, parts: nn.ModuleDict) -> nn.Module:
        """The network that is trained."""
        if self.frame is None:
            return parts["base"]
        return coset.symmetrize(parts["base"], SIGNATURE, self.frame(parts["axes"] if self.learned else None))


ROWS = {
    "bare": Row(),
    "augmentation": Row(turned=True),
    "PCA, four frames": Row(lambda net: frames.PCA()),
    "PCA, one at random in training": Row(lambda net: frames.Stochastic(frames.PCA())),
    "Minimal, as a set": Row(lambda net: frames.Minimal(colours=frames.UNCOLOURED)),
    "Canonicalizer of vector neurons": Row(lambda net: frames.Canonicalizer(net), learned=True),  # type: ignore[arg-type]
}


def load(path: Path) -> Tensor:
    """(57, 4096, 3) points with their centroid at the origin and a root mean square radius of one."""
    with np.load(path) as found:
        key = next(name for name in found.files if found[name].ndim == 3 and found[name].shape[-1] == 3)
        points = torch.from_numpy(found[key]).float()
    points = points - points.mean(1, keepdim=True)
    return points / points.square().sum(-1).mean(1).sqrt()[:, None, None]


def drawn(shapes: Tensor, half: slice, generator: torch.Generator | None = None) -> Tensor:
    """A subset of the points of every shape, from one half of them."""
    own = shapes[:, half]
    pick = torch.rand(own.shape[:2], generator=generator).argsort(1)[:, :POINTS]
    points = own.gather(1, pick.unsqueeze(-1).expand(-1, -1, 3))
    return points - points.mean(1, keepdim=True)


def train(name: str, seed: int, shapes: Tensor, steps: int, path: Path) -> tuple[nn.ModuleDict, float]:
    """Train one row; its networks and the seconds."""
    torch.manual_seed(seed)
    row = ROWS[name]
    parts = nn.ModuleDict({"base": PointNet(len(shapes)), **({"axes": Axes()} if row.learned else {})})
    model, labels = row.model(parts).train(), torch.arange(len(shapes))

    def loss(step: int) -> Tensor:
        points = drawn(shapes, slice(0, 2048))
        if row.turned:
            points = SIGNATURE.source.act(SO3.haar(len(points)), points)
        return cross_entropy(model(points), labels)

    return parts, trained(parts, loss, steps, path, rate=2e-3, plan=f"{name}, seed {seed}", every=100, warm=0.1)


@torch.no_grad()
def evaluate(name: str, parts: nn.ModuleDict, shapes: Tensor, tests: int, seconds: float) -> list[str]:
    """One line of the table: accuracy as the shapes stand and turned, and the change under turns."""
    model = ROWS[name].model(parts).eval()
    generator, labels = torch.Generator().manual_seed(1), torch.arange(len(shapes))
    here, there, apart, size = [], [], 0.0, 0.0
    for _ in range(tests):
        points = drawn(shapes, slice(2048, None), generator)
        one, two = model(points), model(SIGNATURE.source.act(SO3.haar(len(points), generator=generator), points))
        here.append((one.argmax(1) == labels).double().mean())
        there.append((two.argmax(1) == labels).double().mean())
        apart, size = max(apart, float((one - two).abs().max())), max(size, float(one.abs().max()))
    means = [f"{100 * float(torch.stack(values).mean()):.1f}" for values in (here, there)]
    count = sum(p.numel() for p in parts.parameters())
    return [name, *means, f"{apart / size:.1e}", f"{count:,}", f"{seconds:.0f}"]


def main() -> None:
    """Train what is not trained yet, evaluate, and report."""
    experiment = Experiment("Mesh shapes: a point network under frames of SO(3)")
    experiment.parser.add_argument("--out", type=Path, default=OUT / "shapes", help="folder of the checkpoints")
    options = experiment.parse()
    folder = data("shapes")
    if folder is None:
        return
    shapes, steps, tests = load(folder / "mesh_points_4096.npz"), STEPS, TESTS
    if options.smoke:
        shapes, steps, tests = shapes[:6], 3, 1
    lines = []
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) if options.smoke else options.out
        for number, name in enumerate(ROWS):
            parts, seconds = train(name, options.seed, shapes, steps, out / f"{number}-{options.seed}.pt")
            lines.append(evaluate(name, parts, shapes, tests, seconds))
            print(lines[-1], flush=True)
    experiment.table(
        ["row", "upright, %", "turned, %", "largest change", "parameters", "s"],
        lines,
        f"Share of clouds of {POINTS} points whose shape is named, of {len(shapes)}, on {tests} subsets of other points of every shape: as "
        f"the shapes stand, and each turned at random. {steps:,} steps of {len(shapes)} clouds (Adam 2e-3, linear start and cosine), one "
        "seed. Largest change: of a logit under turns, relative to the largest logit. Seconds: of training, one thread beside other work.",
    )
    found = {line[0]: (float(line[1]), float(line[2]), float(line[3])) for line in lines}
    learned, others = found["Canonicalizer of vector neurons"], [found[name][1] for name in ROWS if "PCA" in name or "Minimal" in name]
    experiment.table(
        ["aim", "found", "status"],
        [
            ["Canonicalizer: unchanged by turns (1e-3)", f"{learned[2]:.0e}", "met" if learned[2] < 1e-3 else "missed"],
            [
                "Canonicalizer at least level with PCA and minimal frames, turned",
                f"{learned[1] - max(others):+.1f}",
                "met" if learned[1] >= max(others) else "missed",
            ],
        ],
    )
    experiment.finish()


if __name__ == "__main__":
    main()
