"""Group averaging, frames, canonicalization and learned distributions at equal numbers of model calls: the same call with another frame.

One network of five charged particles, trained with random rotations and reflections; every frame averages this network, with 1 to
48 model calls. Errors are those from the frame's own limit (the exact average that it estimates), and from equivariance. Learned
frames have networks trained afterwards, with the averaged network as it is. Runs are kept in ``experiments/out/equal_calls``;
``--record`` writes the tables and the plot.

Data: the folder ``nbody`` under ``COSET_DATA``. References: Yarotsky 2022; Puny et al. 2022; Kaba et al. 2023; Kim et al. 2023.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from _equal_calls import CALLS, Averaged, Errors, measure, networks, rows, train
from _nbody_data import Systems, load
from _results import HERE, Experiment, data
from _short_training import OUT

from coset import frames

EPOCHS, SYSTEMS, SEEDS, MOST = 60, 100, 6, 1920
EARLIER = (1, 5, 20)
Table = dict[str, dict[int, Errors]]


def cell(value: tuple[float, float], form: str = ".1e") -> str:
    """A mean and its standard error."""
    return f"{value[0]:{form}}" + (f" ± {value[1]:{'.0e' if form == '.1e' else form}}" if value[1] else "")


def collect(parts: torch.nn.ModuleDict, systems: Systems, seeds: int, most: int) -> tuple[Table, dict[str, float]]:
    """Errors of all rows and numbers of calls, and the mean squared errors of the limits."""
    found, ends, limits = Table(), dict[str, float](), dict[object, torch.Tensor]()
    for name, row in rows(parts, most).items():
        if row.limit not in limits:
            limits[row.limit] = Averaged(parts["base"], row.limit())(systems)
        limit = limits[row.limit]
        ends[name] = float((limit - systems.goal).square().mean())
        each = {k: measure(row, parts["base"], k, systems, limit, seeds) for k in CALLS}
        found[name] = {k: one for k, one in each.items() if one is not None}
        print(f"  measured {name}", flush=True)
    return found, ends


def report(experiment: Experiment, found: Table, ends: dict[str, float], seeds: int, most: int) -> None:
    """Two tables and the aims."""
    columns = ["frame", *(f"{k} call{'s' if k > 1 else ''}" for k in CALLS)]
    for what, caption in (
        ("limit", f"Distance from the frame's own limit ({most:,} calls or more for frames that draw; the whole measure for others)"),
        (
            "symmetry",
            "Equivariance error: the model of turned systems against turned outputs, with fresh draws where a frame draws in each call",
        ),
    ):
        lines = [[name, *(cell(getattr(one[k], what)) if k in one else "" for k in CALLS)] for name, one in found.items()]
        experiment.table(
            columns,
            lines,
            f"{caption}, in units of the root mean square displacement (± one standard error over {seeds} seeds of the draws). Empty: "
            "the frame has no rule of that many calls, or needs no more.",
        )
    lines = [[name, *(cell(one[k].truth, ".5f") if k in one else "" for k in CALLS), f"{ends[name]:.5f}"] for name, one in found.items()]
    experiment.table([*columns, "limit"], lines, "Mean squared error against the true positions, of the same systems.")
    experiment.table(["aim", "found", "status"], aims(found))


def aims(found: Table) -> list[list[str]]:
    """What was hoped for."""
    haar, cosets, mine, loose = (found[name] for name in ("Haar", "RandomCosets", "Probabilistic", "Probabilistic, uncoupled"))
    exact = max(one.symmetry[0] for name in ("Minimal", "Canonicalizer", "Probabilistic") for one in found[name].values())
    exact = max(exact, found["PCA"][8].symmetry[0])
    ratio = haar[48].limit[0] / cosets[48].limit[0]
    same = mine[48].limit[0] / loose[48].limit[0]
    good = ["met" if fine else "missed" for fine in (exact < 1e-5, ratio >= 2, 0.8 < same < 1.25)]
    return [
        ["exact frames and coupled noise equivariant below 1e-5 at every k (float32)", f"{exact:.1e}", good[0]],
        ["random cosets nearer to the limit than Haar at 48 calls, at least 2 times", f"{ratio:.1f}", good[1]],
        ["coupled and independent noise equally near to the limit at 48 calls, ratio in 0.8 ... 1.25", f"{same:.2f}", good[2]],
    ]


def gains(known: Systems, systems: Systems, epochs: tuple[int, ...], most: int, folder: Path) -> list[list[str]]:
    """How much nearer to the limit one random coset of 48 elements is than 48 random elements, by the training of the network."""
    lines = []
    for count in epochs:
        torch.manual_seed(0)
        parts = networks(known[:2])
        train(parts, known, count, folder / f"after-{count}", learned=False)
        each, base = rows(parts, most), parts["base"].eval()
        limit = Averaged(base, each["Haar"].limit())(systems)
        found = [measure(each[name], base, 48, systems, limit, 3) for name in ("Haar", "RandomCosets")]
        haar, cosets = (one.limit for one in found)  # type: ignore[union-attr]
        lines.append([f"{count}", cell(haar), cell(cosets), f"{haar[0] / cosets[0]:.1f}"])
    return lines


def plot(found: Table, path: Path) -> None:
    """Both errors against the number of calls."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    for panel, what, title in zip(panels, ("limit", "symmetry"), ("distance from the frame's limit", "equivariance error"), strict=True):
        for number, (name, each) in enumerate(found.items()):
            values = {k: getattr(one, what) for k, one in each.items() if what == "symmetry" or getattr(one, what)[0] > 1e-6}
            if values:
                means, bars = zip(*values.values(), strict=True)
                panel.errorbar(list(values), means, bars, fmt="o-", color=f"C{number}", label=name, markersize=4)
        panel.set(title=title, xlabel="model calls", xscale="log", yscale="log")
        panel.grid(alpha=0.3, which="both")
    panels[1].legend(fontsize=8)
    figure.savefig(path, dpi=130)


def main() -> None:
    """Train what is not trained yet, measure, and report."""
    experiment = Experiment("Equal numbers of model calls: the same call with another frame")
    experiment.parser.add_argument("--out", type=Path, default=OUT / "equal_calls", help="folder of the checkpoints")
    options = experiment.parse()
    source = data("nbody", "nbody_charged5_initvel1small.npz")
    if source is None:
        return
    known, test = load(source, "train"), load(source, "test")
    epochs, count, seeds, most = (EPOCHS, SYSTEMS, SEEDS, MOST) if not options.smoke else (3, 5, 2, 48)
    parts = networks(known[:2])
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) if options.smoke else options.out / str(options.seed)
        known = known[:100] if options.smoke else known
        seconds = train(parts, known, epochs, folder)
        found, ends = collect(parts.eval(), test[:count], seeds, most)
        report(experiment, found, ends, seeds, most)
        earlier = gains(known, test[: count // 2], EARLIER[:1] if options.smoke else EARLIER, most // 2, folder)
    own = [found[name][48].limit for name in ("Haar", "RandomCosets")]
    experiment.table(
        ["epochs of training", "Haar, 48 calls", "RandomCosets, 48 calls", "ratio"],
        [*earlier, [f"{epochs}", *map(cell, own), f"{own[0][0] / own[1][0]:.1f}"]],
        "Random cosets cancel what is smooth in the rotation, and training with random rotations removes that first: distance from the "
        "limit for the same network, after shorter trainings too.",
    )
    experiment.note(
        f"One network (4 layers of 60, trained with `{frames.Haar(1)!r}` for {epochs} epochs of {len(known):,} systems; the networks of "
        f"learned frames for {epochs // 3} each), {count} test systems. Training took {seconds:.0f} s, one thread beside other work."
    )
    if options.record and not options.smoke:
        plot(found, HERE / "equal-calls.png")
        experiment.note("![Errors against model calls](equal-calls.png)")
    experiment.finish()


if __name__ == "__main__":
    main()
