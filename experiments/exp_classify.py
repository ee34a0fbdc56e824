"""EXP classification: networks that see the order of nodes, made invariant by every kind of frame.

``--row gin-probabilistic-1`` trains one row, ``--all`` all of them in a queue of processes, ``--record`` tests what has been
trained and writes the table. A run that was killed goes on from its last checkpoint. The 1,200 graphs are 600 pairs that
colour refinement cannot tell apart, one of each satisfiable; 800 to train (400 ... 1199), 200 to validate (0 ... 199), 200 to
test (200 ... 399), as published.

Data: ``graphs/exp.npz`` under ``COSET_DATA``.

Reference: Kim et al. 2023, arXiv 2306.02866; Abboud et al. 2021, arXiv 2010.01179; Puny et al. 2022, arXiv 2110.03336.
"""

from __future__ import annotations

import argparse
import tempfile
from math import sqrt
from pathlib import Path

import numpy as np
import torch
from _exp_rows import CHOSEN, ROWS, SWEEPS, WIDTHS, Plan, Row, Task, Training
from _graph_models import copies, padded
from _graphs import read_exp
from _results import HERE, Experiment, data
from _runs import check_halves, path_of, queue

OUT = HERE / "out" / "exp_classify"


def epochs_of(row: Row, budget: int) -> int:
    """The same number of model calls in training for all rows."""
    return max(1, budget // (row.samples or 1))


def load(source: Path) -> tuple[Task, Task, Task]:
    """Training, validation and test graphs."""
    with np.load(source) as found:
        labels = torch.from_numpy(found["y"]).float()
    task = Task(padded(*read_exp(source)), labels)
    return task[400:], task[:200], task[200:400]


def train_row(name: str, options: argparse.Namespace, source: Path) -> None:
    """Train one row with one seed, or go on with it."""
    train, valid, _ = load(source)
    plan = Plan(epochs_of(ROWS[name], options.epochs), seed=options.seed, check=max(1, epochs_of(ROWS[name], options.epochs) // 20))
    Training(ROWS[name], plan, train, valid).run(
        path_of(name, options.seed, options.out), log=lambda line: print(name, options.seed, line, flush=True)
    )


def train_all(options: argparse.Namespace) -> None:
    """Every row and seed in a process of its own, some at a time."""
    names = options.rows.split(",") if options.rows else list(ROWS)
    jobs = [(name, seed) for seed in range(options.seeds) for name in names]
    queue(__file__, jobs, options.out, options.workers, ["--epochs", str(options.epochs)])


def wilson(hits: int, count: int) -> tuple[float, float]:
    """The 95 % interval of a share, in percent."""
    z, p = 1.96, hits / count
    middle, half = p + z * z / (2 * count), z * sqrt(p * (1 - p) / count + z * z / (4 * count * count))
    return 100 * (middle - half) / (1 + z * z / count), 100 * (middle + half) / (1 + z * z / count)


def tested(name: str, out: Path, train: Task, valid: Task, test: Task) -> dict[str, list[float]] | None:
    """Facts of every seed of a row that was trained to its end: hits, validation, training loss, changes under relabelling, time."""
    facts: dict[str, list[float]] = {key: [] for key in ("hits", "valid", "loss", "moved", "epochs", "seconds")}
    for path in sorted(out.glob(f"{name}-[0-9].pt")):
        state = torch.load(path, weights_only=True)
        epochs, batch, seed = state["plan"]
        if state["epoch"] < epochs:
            continue
        run = Training(ROWS[name], Plan(epochs, batch=batch, seed=seed), train, valid)
        run.restore(state)
        run.parts.load_state_dict(run.chosen)
        guess = run.logits(run.seen(test)) > 0
        again = run.logits(run.seen(Task(copies(test.graphs, 1), test.labels))) > 0
        facts["hits"].append(float((guess == (test.labels > 0.5)).sum()))
        facts["moved"].append(float((guess != again).sum()))
        facts["valid"].append(100 * max(run.curve, key=lambda one: -one[2])[3])
        facts["loss"].append(run.curve[-1][1])
        facts["epochs"].append(epochs)
        facts["seconds"].append(run.seconds / epochs)
    return facts if facts["hits"] else None


def report(experiment: Experiment, out: Path, parts: tuple[Task, Task, Task]) -> None:
    """The table."""
    lines = []
    for name, row in ROWS.items():
        found = tested(name, out, *parts)
        wanted = row.samples == CHOSEN and row.learned
        published = "" if row.published is None else f"{row.published:g}"
        if found is None:
            lines.append([name, "", "", "", "", "", "", "", published, "not run"])
            continue
        count = len(parts[2]) * len(found["hits"])
        low, high = wilson(int(sum(found["hits"])), count)
        accuracy = 100 * sum(found["hits"]) / count
        mean = {key: sum(values) / len(values) for key, values in found.items()}
        status = ("met" if accuracy == 100 else "missed") if wanted else ""
        cells = [name, f"{accuracy:.1f} ({low:.1f} to {high:.1f})", f"{mean['valid']:.1f}", f"{mean['loss']:.3f}", f"{mean['moved']:.1f}"]
        lines.append([*cells, str(len(found["hits"])), f"{mean['epochs']:.0f}", f"{mean['seconds']:.2f}", published, status])
    caption = (
        "Accuracy (%) on 200 test graphs with the 95 % Wilson interval; networks chosen by the loss on 200 validation graphs. Adam 1e-3 "
        f"after a linear start, gradients clipped to 0.1, batches of 100, entropy 0.1, {SWEEPS} Sinkhorn sweeps, one budget of model calls "
        f"for all rows (epochs times elements). Perceptron {'-'.join(map(str, WIDTHS))} on 64 x 66 numbers (published: 2048-4096-2048-10). "
        f"The number behind a name is the elements in training; tested with {CHOSEN}. Changed: answers that differ on a relabelled copy of "
        "the graph. Aim: 100 % for training with 10 learned elements. Published: by others, after 2,000 epochs. `exact`: canonical labels "
        "by `frames.Relabel`; `canonical` settles equal scores by exact labels, `canonical-random` at random, as published; `fixed`: noise "
        "that never changes."
    )
    columns = ["row", "accuracy", "validation", "training loss", "changed", "seeds", "epochs", "CPU s an epoch", "published", "100 %"]
    experiment.table(columns, lines, caption)


def smoke(experiment: Experiment, source: Path, out: Path) -> None:
    """One epoch on a few graphs for some rows, the report, and a run in two halves, which ends where a run in one piece ends."""
    train, valid, test = (part[:12] for part in load(source))
    plan, silent = Plan(2, batch=6, check=1), lambda line: None
    names = [
        "gin-exact",
        "gin-average-2",
        "gin-canonical",
        "gin-canonical-random",
        "gin-probabilistic-2",
        "gin-fixed-1",
        "mlp-probabilistic-1",
    ]
    for name in names:
        Training(ROWS[name], plan, train, valid).run(path_of(name, 0, out), log=silent)
    report(experiment, out, (train, valid, test))
    check_halves(lambda: Training(ROWS["gin-probabilistic-2"], plan, train, valid), out / "halves.pt")


def main() -> None:
    """Train, or test."""
    experiment = Experiment("EXP classification: networks that see the order of nodes, under every kind of frame")
    add = experiment.parser.add_argument
    add("--row", choices=list(ROWS), help="train this row")
    add("--all", action="store_true", help="train all rows")
    add("--rows", default="", help="with --all: only these, separated by commas")
    add("--seeds", type=int, default=1, help="with --all: seeds 0, 1, ...")
    add("--workers", type=int, default=1, help="with --all: processes at a time")
    add("--epochs", type=int, default=200, help="epochs with one element; rows with k elements have a k-th")
    add("--out", type=Path, default=OUT, help="folder of the checkpoints")
    add("--report", action="store_true", help="print the table; --record also writes it")
    options = experiment.parse()
    source = data("graphs", "exp.npz")
    if source is None:
        return
    if options.smoke:
        with tempfile.TemporaryDirectory() as folder:
            smoke(experiment, source, Path(folder))
    elif options.row:
        train_row(options.row, options, source)
    elif options.all:
        train_all(options)
    elif options.report or options.record:
        report(experiment, options.out, load(source))
        experiment.finish()
    else:
        experiment.parser.error("say --row NAME, --all, --report, --record or --smoke")


if __name__ == "__main__":
    main()
