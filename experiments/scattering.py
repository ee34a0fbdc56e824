"""The squared matrix element of electron-muon scattering from four momenta: one network of momenta under frames of the Lorentz group.

Events keep energy, momentum and masses; values are log |M|^2 at tree level, normalized. The test events come twice: as the training
events do, and seen by other observers (a random boost and rotation for each). Runs are kept in ``experiments/out/scattering``
and gone on with; ``--record`` writes the tables. Data is generated: nothing has to be downloaded.

Reference: Finzi et al. 2021, arXiv 2104.09459 (the task); Kim et al. 2023, arXiv 2311.07143 (orbit distance).
"""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from _results import Experiment
from _scattering_data import GROUP, Events, events, inner
from _short_training import OUT, trained
from torch import Tensor, nn

import coset
from coset import actions, frames
from coset.groups.lorentz import metric
from coset.nn import VectorNeurons

SIGNATURE = actions.Vectors(GROUP) >> actions.Trivial(GROUP)
NOISE, DRAWS = 4, 8
SIZES, SEEDS, STEPS, BATCH, ORBIT = (100, 1000, 10000), (0, 1, 2), 1500, 256, 0.1
EXACT = 1e-9
"""The largest mean relative change under other observers, in float64, that counts as rounding."""


class Base(nn.Module):
    """A network of three layers on the sixteen numbers of an event: it knows nothing of space-time."""

    def __init__(self, width: int = 128):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(16, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 1)
        )

    def forward(self, momenta: Tensor) -> Tensor:
        """(N,) values."""
        return self.layers(momenta.flatten(1)).squeeze(-1)


class Vectors(nn.Module):
    """Four vectors that move with the events: three of vector neurons, and the unit vector orthogonal to these.

    Momenta that add up span three dimensions only, so that no sum of them gives a fourth vector; the orthogonal one moves as the others do
    under transformations of determinant one.
    """

    def __init__(self, noise: int):
        super().__init__()
        self.inner = VectorNeurons(SIGNATURE.source, torch.randn(2, 4, 4), width=16, layers=1, noise=noise)

    def forward(self, momenta: Tensor, noise: Tensor | None) -> Tensor:
        """(N, 4, 4), a vector in a row."""
        rows = self.inner(momenta, noise)[:, :3]
        minors = torch.stack([rows[:, :, [i for i in range(4) if i != axis]] for axis in range(4)], 1)
        signs = rows.new_tensor([-1.0, 1.0, -1.0, 1.0]) * metric(4, rows.dtype)
        last = torch.linalg.det(minors) * signs
        return torch.cat([rows, (last / inner(last, last).abs().clamp_min(1e-12).sqrt().unsqueeze(-1)).unsqueeze(1)], 1)


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        frame: from the frame's network (or None) to the frame; None for the bare network.
        noise: random numbers that the frame's network sees; None where the frame has no network.
        moved: train on events seen by random observers.
        orbit: the weight of the orbit distance in the loss.
        exact: aimed at invariance to rounding.
    """

    frame: Callable[[nn.Module | None], frames.Frame] | None = None
    noise: int | None = None
    moved: bool = False
    orbit: float = 0.0
    exact: bool = True

    def parts(self) -> nn.ModuleDict:
        """Fresh networks."""
        parts = nn.ModuleDict({"base": Base()})
        if self.noise is not None:
            parts["frame"] = Vectors(self.noise)
        return parts

    def model(self, parts: nn.ModuleDict) -> nn.Module:
        """The network that is trained."""
        if self.frame is None:
            return parts["base"]
        return coset.symmetrize(parts["base"], SIGNATURE, self.frame(parts["frame"] if self.noise is not None else None))


def sampled(retraction: frames.Retraction, draws: int) -> Callable[[nn.Module | None], frames.Frame]:
    """A probabilistic frame with ``draws`` elements."""
    return lambda net: frames.Probabilistic(net, retraction, frames.Normal(NOISE), draws)  # type: ignore[arg-type]


def rows(draws: int) -> dict[str, Row]:
    """The lines, with ``draws`` elements where the number is free."""
    return {
        "bare": Row(exact=False),
        "augmentation": Row(moved=True, exact=False),
        "Minimal": Row(lambda net: frames.Minimal()),
        "Canonicalizer": Row(lambda net: frames.Canonicalizer(net), 0),  # type: ignore[arg-type]
        "Probabilistic, GramSchmidt": Row(sampled(frames.GramSchmidt(), draws), NOISE),
        "Probabilistic, OrbitDistance": Row(sampled(frames.OrbitDistance(), draws), NOISE, orbit=ORBIT),
    }


@dataclass(frozen=True)
class Found:
    """Of one run: test error, that for other observers, change under them in float32 and float64, seconds of training, orbit distance."""

    error: float
    moved: float
    change: float
    wide: float
    seconds: float
    orbit: float = math.nan


def train(name: str, seed: int, known: Events, steps: int, path: Path | None) -> tuple[nn.ModuleDict, float]:
    """Train one row; its networks and the seconds."""
    torch.manual_seed(seed)
    row = rows(1)[name]
    parts = row.parts()
    model, generator = row.model(parts).train(), torch.default_generator

    def loss(step: int) -> Tensor:
        batch = known if len(known.goal) <= BATCH else known[torch.randint(len(known.goal), (BATCH,))]
        batch = batch.moved(generator) if row.moved else batch
        if not row.orbit:
            return (model(batch.momenta) - batch.goal).square().mean()
        found, stats = model(batch.momenta, return_stats=True)
        return (found - batch.goal).square().mean() + row.orbit * stats.scores["orbit"].mean()

    return parts, trained(parts, loss, steps, path, plan=f"{name}, {len(known.goal)} events, seed {seed}")


@torch.no_grad()
def evaluate(name: str, parts: nn.ModuleDict, test: Events, moved: Events, seconds: float) -> Found:
    """Errors on the test events, and how much other observers change the prediction."""
    row = rows(DRAWS)[name]
    model = row.model(parts).eval()
    here, there = model(test.momenta.float()), model(moved.momenta.float())
    few = slice(0, 1000)
    wide = row.model(parts.double()).eval()
    one, two = wide(test.momenta[few]), wide(moved.momenta[few])
    orbit = math.nan
    if row.orbit:
        orbit = float(wide.frame(test.momenta[few]).scores["orbit"].mean())  # type: ignore[operator]
    error, other = (float((x - test.goal).square().mean()) for x in (here, there))
    return Found(error, other, change(here, there), change(one, two), seconds, orbit)


def change(one: Tensor, two: Tensor) -> float:
    """The mean change, in units of the root mean square."""
    return float((one - two).abs().mean() / one.square().mean().sqrt())


def interval(values: list[float]) -> str:
    """The geometric mean with a 95 % interval over seeds (Student's t of the logarithms)."""
    logs = torch.tensor(values, dtype=torch.float64).log()
    if len(values) < 2:
        return f"{values[0]:.2g}"
    half = {2: 12.706, 3: 4.303}[len(values)] * float(logs.std()) / math.sqrt(len(values))
    middle = float(logs.mean())
    return f"{math.exp(middle):.2g} ({math.exp(middle - half):.2g} to {math.exp(middle + half):.2g})"


def report(experiment: Experiment, found: dict[tuple[str, int], list[Found]], sizes: tuple[int, ...], steps: int) -> None:
    """Both tables, and the aims."""
    lines = [[name, *(interval([one.error for one in found[name, size]]) for size in sizes)] for name in rows(1)]
    experiment.table(
        ["row", *(f"{size:,} events" for size in sizes)],
        lines,
        "Mean squared error of normalized log |M|² on 10,000 test events, distributed as those of training, against the number of "
        f"training events. Geometric means over {len(SEEDS)} seeds (data, networks, noise), in brackets 95 % intervals (t, on "
        f"logarithms). Every run: {steps:,} steps of Adam (1e-3, cosine), batches of {BATCH}, one element a step; probabilistic rows "
        f"tested with {DRAWS}.",
    )
    largest, lines = sizes[-1], []
    for name, row in rows(1).items():
        runs = found[name, largest]
        mean = [sum(getattr(one, key) for one in runs) / len(runs) for key in ("change", "wide", "seconds")]
        orbit = sum(one.orbit for one in runs) / len(runs)
        moved = [interval([one.moved for one in found[name, size]]) for size in sizes]
        aim = "" if not row.exact else "met" if max(one.wide for size in sizes for one in found[name, size]) <= EXACT else "missed"
        lines.append([name, *moved, f"{mean[0]:.1e}", f"{mean[1]:.1e}", aim, "" if math.isnan(orbit) else f"{orbit:.2g}", f"{mean[2]:.0f}"])
    columns = ["row", *(f"error moved, {size:,}" for size in sizes), "change, float32", "change, float64", "invariant", "orbit", "s"]
    experiment.table(
        columns,
        lines,
        "The same test events seen by other observers (rapidities of deviation 1): mean squared error; mean change of the prediction "
        f"in units of its root mean square ({largest:,} events). Invariant: at most {EXACT:g} in float64 for all seeds and sizes. "
        "Orbit: mean squared distance of sampled matrices from the group. Seconds: of one training.",
    )
    lines = []
    for size in sizes:
        mine, other = (found[f"Probabilistic, {kind}", size] for kind in ("OrbitDistance", "GramSchmidt"))
        ratios = [a.error / b.error for a, b in zip(mine, other, strict=True)]
        low = math.exp(sum(map(math.log, ratios)) / len(ratios))
        lines.append([f"{size:,} events", interval(ratios), "met" if low <= 1.25 else "missed"])
    experiment.table(["OrbitDistance against GramSchmidt", "ratio of errors", "at most 1.25"], lines)
    total = sum(one.seconds for runs in found.values() for one in runs)
    experiment.note(f"All trainings together took {total:.0f} s, one thread beside other work.")


def main() -> None:
    """Train what is not trained yet, evaluate, and report."""
    experiment = Experiment("Electron-muon scattering: the matrix element under Lorentz transformations")
    experiment.parser.add_argument("--out", type=Path, default=OUT / "scattering", help="folder of the checkpoints")
    options = experiment.parse()
    sizes, seeds, steps, count = (SIZES, SEEDS, STEPS, 10000) if not options.smoke else ((50, 100), SEEDS[:2], 20, 200)
    start, found = time.time(), dict[tuple[str, int], list[Found]]()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) if options.smoke else options.out
        for seed in (options.seed + one for one in seeds):
            known, test, moved = data_of(seed, sizes[-1], count)
            for size in sizes:
                for number, name in enumerate(rows(1)):
                    few = Events(known.momenta[:size].float(), known.goal[:size].float())
                    parts, seconds = train(name, seed, few, steps, out / f"{number}-{size}-{seed}.pt")
                    one = evaluate(name, parts, test, moved, seconds)
                    found.setdefault((name, size), []).append(one)
                    print(f"{time.time() - start:4.0f} s  {size} events, seed {seed}, {name}: {one}", flush=True)
    report(experiment, found, sizes, steps)
    experiment.finish()


def data_of(seed: int, size: int, count: int) -> tuple[Events, Events, Events]:
    """Training events, test events, and these seen by others; normalized by what the training events say."""
    generator = torch.Generator().manual_seed(1000 + seed)
    known, test = events(size, generator), events(count, generator)
    middle, scale = known.goal.mean(), known.goal.std()
    known, test = (Events(one.momenta, (one.goal - middle) / scale) for one in (known, test))
    return known, test, test.moved(generator)


if __name__ == "__main__":
    main()
