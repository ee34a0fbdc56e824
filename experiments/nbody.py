"""Five charged particles, ten frames ahead: one network under every frame, and EGNN, at one budget.

``--row gnn-haar --seed 0`` trains one row, ``--all`` all of them in a queue of processes, ``--record`` evaluates what has been
trained on the test set and writes the tables and plots. A run that was killed goes on from its last checkpoint. The protocol is
that of arXiv 2306.02866 (Adam, rate 1e-3, weight decay 1e-12, batches of 100), with one element a step and fewer epochs.

Reference: Kim et al. 2023, arXiv 2306.02866; Satorras et al. 2021, arXiv 2102.09844; Puny et al. 2022, arXiv 2110.03336.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from _nbody_data import load
from _nbody_report import report
from _nbody_rows import ROWS
from _nbody_training import Plan, Training
from _results import HERE, Experiment, data
from _runs import check_halves, path_of, queue

SEEDS = (0, 1)
OUT = HERE / "out" / "nbody"


def train_row(name: str, options: argparse.Namespace, source: Path) -> None:
    """Train one row with one seed, or go on with it."""
    row = ROWS[name]
    plan = Plan(options.epochs or row.epochs, seed=options.seed, compiled=options.compile)
    Training(row, plan, load(source, "train"), load(source, "valid")).run(
        path_of(name, options.seed, options.out), log=lambda line: print(name, options.seed, line, flush=True)
    )


def train_all(options: argparse.Namespace) -> None:
    """Every row and seed in a process of its own, some at a time; networks of sets first."""
    names = options.rows.split(",") if options.rows else list(ROWS)
    jobs = [(name, seed) for slow in (False, True) for seed in SEEDS for name in names if (ROWS[name].epochs == 200) == slow]
    more = [*(["--epochs", str(options.epochs)] if options.epochs else []), *(["--compile"] if options.compile else [])]
    queue(__file__, jobs, options.out, options.workers, more)


def smoke(experiment: Experiment, source: Path, out: Path) -> None:
    """Two epochs on a few systems for every row, the report, and a run in two halves, which ends where a run in one piece ends."""
    train, valid = load(source, "train")[:40], load(source, "valid")[:20]
    plan, silent = Plan(2, batch=20, check=1), lambda line: None
    for name, row in ROWS.items():
        Training(row, plan, train, valid).run(path_of(name, 0, out), log=silent)
    report(experiment, out, (0,), load(source, "test")[:10], elements=(1, 20))
    check_halves(lambda: Training(ROWS["gnn-haar"], plan, train, valid), out / "halves.pt")


def main() -> None:
    """Train, or evaluate."""
    experiment = Experiment("Five charged particles, ten frames ahead: one network under every frame")
    add = experiment.parser.add_argument
    add("--row", choices=list(ROWS), help="train this row")
    add("--all", action="store_true", help="train all rows with both seeds")
    add("--rows", default="", help="with --all: only these, separated by commas")
    add("--workers", type=int, default=2, help="with --all: processes at a time")
    add("--epochs", type=int, default=0, help="instead of 1,000 (transformers: 200)")
    add("--compile", action="store_true", help="compile base networks in training")
    add("--out", type=Path, default=OUT, help="folder of the checkpoints")
    add("--report", action="store_true", help="print the tables; --record also writes them")
    options = experiment.parse()
    source = data("nbody", "nbody_charged5_initvel1small.npz")
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
        report(experiment, options.out, SEEDS, load(source, "test"))
        experiment.finish()
    else:
        experiment.parser.error("say --row NAME, --all, --report, --record or --smoke")


if __name__ == "__main__":
    main()
