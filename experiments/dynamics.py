"""Which frames conserve energy: one potential without rotation symmetry, wrapped in every frame, in constant-energy dynamics.

A small network is trained on rMD17 aspirin energies and forces with random rotations, and wrapped by ``SymmetrizedCalculator``;
with ``--tune STEPS`` it is first tuned under each frame, one random element per configuration ("none": without rotations). For every
frame: errors of energy and forces on test configurations, equivariance error, and molecular dynamics in the
microcanonical ensemble from the same start, with the drift of the total energy and the time to failure.

Reference: Christensen and von Lilienfeld 2020 (rMD17), arXiv 2007.09593; Dym et al. 2024, arXiv 2402.16077.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from _aspirin import Frames, PairNet, Plan, fresh, load, rotations, train
from _results import HERE, Experiment, data

from coset import frames
from coset.interop.ase import SymmetrizedCalculator

FEMTOSECONDS = 0.5
KELVIN = 300.0
FAILED = 1.0
"""eV per atom of drift, or a bond stretched to twice its length: the run has failed."""

FRAMES: dict[str, Callable[[], frames.Frame | None]] = {
    "none": lambda: None,
    "average of degree 3 (24 elements)": lambda: frames.Quadrature(3),
    "average of degree 5 (120 elements)": lambda: frames.Quadrature(5),
    "PCA": lambda: frames.PCA(of="positions"),
    "minimal, unordered": lambda: frames.Minimal(of="positions", colours="numbers"),
    "minimal, ordered": lambda: frames.Minimal(of="positions"),
    "weighted": lambda: frames.Weighted(of="positions"),
    "random rotation each step": lambda: frames.Haar(1, generator=torch.Generator().manual_seed(0)),
}


@dataclass(frozen=True)
class Size:
    """How much is trained and run."""

    steps: int = 10_000
    tuning: int = 0
    tests: int = 100
    turns: int = 2
    duration: int = 10_000
    names: tuple[str, ...] = tuple(FRAMES)
    still: tuple[str, ...] = ("average of degree 5 (120 elements)",)
    """Frames whose errors are measured without dynamics, for their cost."""


SMOKE = Size(steps=10, tuning=1, tests=2, turns=1, duration=4)


def calculator(net: PairNet, name: str, spread: bool = False) -> SymmetrizedCalculator:
    """The potential wrapped in a frame; "none" is the identity alone."""
    frame = FRAMES[name]()
    if name == "none":
        frame = frames.Given((torch.eye(3, dtype=torch.float64)[None], torch.zeros(1, 3, dtype=torch.float64)))
    return SymmetrizedCalculator(net, frame, spread=spread)


def errors(net: PairNet, name: str, test: Frames, size: Size) -> dict[str, float]:
    """Mean absolute errors in meV and meV/angstrom, and the change under rotations of the input, as shares of the spread."""
    from ase import Atoms

    wrapped, generator = calculator(net, name), torch.Generator().manual_seed(1)
    found: dict[str, list[float]] = {"energy": [], "forces": [], "change": [], "turning": [], "samples": [], "ms": []}
    for number in range(size.tests):
        atoms = Atoms(test.numbers.numpy(), test.positions[number].numpy(), calculator=wrapped)
        start = time.perf_counter()
        energy, forces = atoms.get_potential_energy(), atoms.get_forces()
        found["ms"].append((time.perf_counter() - start) * 500)
        found["samples"].append(wrapped.stats.samples)
        found["energy"].append(abs(energy - float(test.energies[number])) * 1000)
        found["forces"].append(float(np.abs(forces - test.forces[number].numpy()).mean()) * 1000)
        for turn in rotations(size.turns, generator, torch.float64).numpy():
            atoms.positions = test.positions[number].numpy() @ turn
            found["change"].append(abs(atoms.get_potential_energy() - energy) * 1000)
            found["turning"].append(float(np.sqrt(np.square(atoms.get_forces() - forces @ turn).mean()) * 1000))
    return {key: float(np.median(values) if key == "ms" else np.mean(values)) for key, values in found.items()}


def run(net: PairNet, name: str, start: np.ndarray, numbers: np.ndarray, size: Size, seed: int) -> dict[str, np.ndarray]:
    """Constant-energy dynamics by velocity Verlet: times (fs), total energies (eV), and whether a bond broke."""
    from ase import Atoms, units
    from ase.md.velocitydistribution import MaxwellBoltzmannDistribution, Stationary, ZeroRotation
    from ase.md.verlet import VelocityVerlet

    atoms = Atoms(numbers, start, calculator=calculator(net, name))
    MaxwellBoltzmannDistribution(atoms, temperature_K=KELVIN, rng=np.random.default_rng(seed))
    Stationary(atoms)
    ZeroRotation(atoms)
    bonds = np.argwhere(np.triu(atoms.get_all_distances() < 1.7, 1))
    lengths = atoms.get_all_distances()[tuple(bonds.T)]
    moving = VelocityVerlet(atoms, timestep=FEMTOSECONDS * units.fs)
    times, energies = [0.0], [atoms.get_total_energy()]
    while len(times) <= size.duration:
        moving.run(1)
        times.append(len(times) * FEMTOSECONDS)
        energies.append(atoms.get_total_energy())
        stretched = (atoms.get_all_distances()[tuple(bonds.T)] > 2 * lengths).any()
        if stretched or not np.isfinite(energies[-1]) or abs(energies[-1] - energies[0]) > FAILED * len(atoms):
            break
    angular = np.abs(atoms.get_angular_momentum()).max()
    return {"times": np.array(times), "energies": np.array(energies), "angular": np.array(angular)}


def drift(found: dict[str, np.ndarray], atoms: int) -> tuple[float, float, float]:
    """Slope (meV/atom/ps), root mean square about the line (meV/atom), and the largest jump in one step (meV/atom)."""
    times, energies = found["times"] / 1000, (found["energies"] - found["energies"][0]) * 1000 / atoms
    if len(times) < 3:
        return np.nan, np.nan, np.nan
    slope, offset = np.polyfit(times, energies, 1)
    return float(slope), float(np.sqrt(np.square(energies - slope * times - offset).mean())), float(np.abs(np.diff(energies)).max())


def tuned(net: PairNet, name: str, train_set: Frames, size: Size, seed: int) -> PairNet:
    """A copy of the network, trained further under a frame; tensors that come from another process share its memory."""
    frame = FRAMES[name]()
    if isinstance(frame, (frames.Quadrature, frames.Haar)):
        frame = frames.Chain(frames.Center(of="positions"), frame)
    path = None if size.steps == SMOKE.steps else HERE / "out" / f"aspirin-{size.steps}-{seed}-{name.replace(' ', '-')}-{size.tuning}.pt"
    return train(copy.deepcopy(net), train_set, Plan(size.tuning, rate=1e-3, turned=name != "none", seed=seed), path, frame)


def work(
    net: PairNet, name: str, train_set: Frames, test: Frames, size: Size, seed: int
) -> tuple[str, dict[str, float], dict[str, np.ndarray] | None]:
    """Everything for one frame, on one thread."""
    torch.set_num_threads(1)
    if size.tuning:
        net = tuned(net, name, train_set, size, seed)
    start = train_set.positions[0].numpy()
    if name in size.still:
        return name, errors(net, name, test, size), None
    return name, errors(net, name, test, size), run(net, name, start, train_set.numbers.numpy(), size, seed)


def plot(results: dict[str, dict[str, np.ndarray]], atoms: int, path: Path) -> None:
    """Total energy against time, averaged over 10 fs, one line a frame; everything above, the small changes below."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(2, 1, figsize=(8, 7), sharex=True, layout="constrained")
    for name, found in results.items():
        values = (found["energies"] - found["energies"][0]) * 1000 / atoms
        whole = len(values) // 20 * 20
        for axes in panels:
            axes.plot(found["times"][:whole:20] / 1000, values[:whole].reshape(-1, 20).mean(1), label=name, linewidth=1.0)
    panels[0].set(title="Constant-energy dynamics of aspirin, 0.5 fs steps", ylabel="change of total energy (meV/atom)")
    panels[1].set(xlabel="time (ps)", ylabel="the same, closer (meV/atom)", ylim=(-1, 1))
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=8)
    figure.savefig(path, dpi=150)


def main() -> None:
    """Train, wrap, measure, run, tabulate, plot."""
    experiment = Experiment("Which frames conserve energy: aspirin, one unconstrained potential in every frame")
    experiment.parser.add_argument("--workers", type=int, default=2, help="processes")
    experiment.parser.add_argument("--tune", type=int, default=0, help="training steps under each frame")
    options = experiment.parse()
    folder = data("molecules")
    if folder is None:
        return
    size = SMOKE if options.smoke else Size(tuning=options.tune)
    known, test = load(folder / "rmd17_aspirin_train.npz"), load(folder / "rmd17_aspirin_test.npz")
    checkpoint = None if options.smoke else HERE / "out" / f"aspirin-{size.steps}-{options.seed}.pt"
    net = train(fresh(known, options.seed), known, Plan(size.steps, seed=options.seed), checkpoint)
    rows, runs = {}, {}
    with ProcessPoolExecutor(options.workers) as pool:
        for name, found, path in pool.map(work, *zip(*((net, name, known, test, size, options.seed) for name in size.names), strict=True)):
            rows[name] = found
            if path is not None:
                runs[name] = path
            print(f"  {name}: {0 if path is None else len(path['times']) - 1} steps", flush=True)
    report(experiment, rows, runs, len(known.numbers), size)
    if not options.smoke:
        np.savez(HERE / "out" / "dynamics.npz", **{f"{name} {key}": values for name, run_ in runs.items() for key, values in run_.items()})
    if options.record and not options.smoke:
        plot(runs, len(known.numbers), HERE / "dynamics.png")
        experiment.note("![Total energy against time](dynamics.png)")
    experiment.finish()


def report(
    experiment: Experiment, rows: dict[str, dict[str, float]], runs: dict[str, dict[str, np.ndarray]], atoms: int, size: Size
) -> None:
    """The two tables."""
    accuracy = [
        [name, *(f"{row[key]:.3g}" for key in ("energy", "forces", "change", "turning", "samples", "ms"))] for name, row in rows.items()
    ]
    columns = ["frame", "energy error (meV)", "force error (meV/Å)", "energy change (meV)", "force change (meV/Å)", "model calls", "ms"]
    experiment.table(
        columns,
        accuracy,
        f"Mean absolute errors on {size.tests} test configurations; change of energy and forces (root mean square) when the molecule is "
        "rotated; model calls and milliseconds per configuration.",
    )
    lines = []
    for name, found in runs.items():
        slope, scatter, jump = drift(found, atoms)
        reached = found["times"][-1] / 1000
        whole = len(found["times"]) > size.duration
        lines.append(
            [name, f"{slope:.3g}", f"{scatter:.3g}", f"{jump:.3g}", "none" if whole else f"{reached:.3g} ps", f"{found['angular']:.2g}"]
        )
    experiment.table(
        ["frame", "drift (meV/atom/ps)", "scatter (meV/atom)", "largest jump (meV/atom)", "failure", "angular momentum at the end"],
        lines,
        f"Constant-energy dynamics, {size.duration * FEMTOSECONDS / 1000:g} ps at {FEMTOSECONDS} fs, {KELVIN:g} K at the start; "
        "the initial angular momentum is zero (units of ASE). Failure: a bond at twice its length, or 1 eV/atom of drift.",
    )


if __name__ == "__main__":
    main()
