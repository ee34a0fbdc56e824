"""Tables of the five-particle experiment: test errors with intervals, the aims, and error against the number of elements."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _nbody_data import Systems, signature
from _nbody_plots import against_cost, learning
from _nbody_rows import ROWS, Row
from _nbody_training import errors
from _results import HERE, Experiment

import coset

CHOSEN = 20
"""Elements of sampled frames at the test, fixed before any test error was seen."""
ELEMENTS = (1, 5, 20, 100, 200)
RESAMPLES = 4000


@dataclass(frozen=True)
class Found:
    """One row: test errors per number of elements, (seeds, systems) each, and facts of its runs."""

    errors: dict[int, np.ndarray]
    symmetry: float
    parameters: int
    epochs: list[int]
    seconds: float
    curves: list[np.ndarray]

    @property
    def main(self) -> np.ndarray:
        """The errors that count: 20 elements where the number is free, else the whole measure."""
        return self.errors.get(CHOSEN, next(iter(self.errors.values())))


def report(experiment: Experiment, out: Path, seeds: tuple[int, ...], test: Systems, elements: tuple[int, ...] = ELEMENTS) -> None:
    """Evaluate every checkpoint, print the tables, draw the plots where they are recorded."""
    found, unfinished = dict[str, Found](), dict[str, str]()
    for name, row in ROWS.items():
        runs = {path: torch.load(path, weights_only=True) for path in (out / f"{name}-{seed}.pt" for seed in seeds) if path.exists()}
        done = {path: run for path, run in runs.items() if run["epoch"] == run["epochs"]}
        if done:
            found[name] = collect(row, done, test, elements)
            print(f"  evaluated {name}: {len(done)} run(s)", flush=True)
        elif runs:
            run = next(iter(runs.values()))
            unfinished[name] = f"not run ({run['epoch']} of {run['epochs']} epochs)"
    if not found:
        print(f"not run: no finished runs in {out}; python experiments/nbody.py --all --out {out}")
        return
    experiment.table(*main_table(found, unfinished))
    hours = sum(sum(one.epochs) * one.seconds for one in found.values()) / 3600
    experiment.note(f"Trained by `python experiments/nbody.py --all --compile`, one thread a run, {hours:.1f} hours in all.")
    experiment.table(*aims(found))
    experiment.table(*elements_table(found, elements))
    folder = HERE if experiment.options.record and not experiment.options.smoke else out
    learning({name: one.curves for name, one in found.items()}, folder / "nbody-learning.png")
    against_cost({name: {k: float(e.mean()) for k, e in one.errors.items()} for name, one in found.items()}, folder / "nbody-cost.png")
    if experiment.options.record:
        experiment.note("![Validation error against epochs](nbody-learning.png)\n\n![Test error against model calls](nbody-cost.png)")


def collect(row: Row, runs: dict[Path, dict[str, Any]], test: Systems, elements: tuple[int, ...]) -> Found:
    """Evaluate the finished runs of one row; errors that were measured before are read beside the checkpoint."""
    measured = [evaluate(row, path, run, test, elements) for path, run in runs.items()]
    counts = [int(key) for key in measured[0] if key.isdigit()]
    return Found(
        {k: np.stack([one[str(k)] for one in measured]) for k in counts},
        float(np.mean([one["symmetry"] for one in measured])),
        sum(p.numel() for p in row.parts(test[:2]).parameters()),
        [run["epochs"] for run in runs.values()],
        float(np.mean([run["seconds"] / run["epoch"] for run in runs.values()])),
        [np.array(run["curve"]) for run in runs.values()],
    )


def evaluate(row: Row, path: Path, run: dict[str, Any], test: Systems, elements: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Errors per system of one run, by number of elements, and how far from equivariant it is with the one that counts."""
    kept = path.with_suffix(".npz")
    if kept.exists():
        with np.load(kept) as known:
            if int(known["epoch"]) == run["epoch"]:
                return dict(known)
    parts = row.parts(test[:2])
    parts.load_state_dict(run["chosen"])
    result = {str(k): errors(row, parts, test, k).numpy() for k in (elements if row.sampled else (1,))}
    torch.manual_seed(0)
    few = {"samples": 4, "layers": False, "lie": False, "ascend": False, "continuity": False}
    page = coset.audit(row.model(parts, CHOSEN), signature(row.ordered), test[:100].inputs(), **few)  # type: ignore[arg-type]
    result |= {"symmetry": np.array(page.error), "epoch": np.array(run["epoch"])}
    np.savez(kept, **result)
    return result


def draws(shape: tuple[int, ...], systems: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Seeds and systems drawn with replacement, (resamples, seeds) and (resamples, systems)."""
    return generator.integers(shape[0], size=(RESAMPLES, shape[0])), generator.integers(systems, size=(RESAMPLES, systems))


def interval(one: np.ndarray, other: np.ndarray | None = None) -> tuple[float, float, float]:
    """The mean of errors (seeds, systems), or of their difference to others on the same systems, with a 95 % bootstrap interval."""
    generator = np.random.default_rng(0)
    seeds, systems = draws(one.shape, one.shape[1], generator)
    counts = np.stack([np.bincount(picked, minlength=one.shape[1]) for picked in systems]) / one.shape[1]
    values = np.take_along_axis(counts @ one.T, seeds, 1).mean(1)
    mean = float(one.mean())
    if other is not None:
        more = generator.integers(other.shape[0], size=(RESAMPLES, other.shape[0]))
        values = values - np.take_along_axis(counts @ other.T, more, 1).mean(1)
        mean -= float(other.mean())
    low, high = np.quantile(values, (0.025, 0.975))
    return mean, float(low), float(high)


def main_table(found: dict[str, Found], unfinished: dict[str, str]) -> tuple[list[str], list[list[str]], str]:
    """One line a row."""
    columns = [
        "row",
        "group",
        "parameters",
        "test error, each seed",
        "mean (95 %)",
        "not equivariant by",
        "epochs",
        "s per epoch",
        "published",
    ]
    lines = []
    for name, row in ROWS.items():
        published = "" if row.published is None else f"{row.published:g}"
        if name not in found:
            lines.append([name, "", "", unfinished.get(name, "not run"), "", "", "", "", published])
            continue
        one = found[name]
        mean, low, high = interval(one.main)
        lines.append(
            [
                name,
                "S_n × O(3)" if row.ordered else "O(3)",
                f"{one.parameters:,}",
                ", ".join(f"{e:.5f}" for e in one.main.mean(1)),
                f"{mean:.5f} ({low:.5f} to {high:.5f})",
                f"{one.symmetry:.1e}",
                ", ".join(map(str, one.epochs)),
                f"{one.seconds:.2f}",
                published,
            ]
        )
    caption = (
        "Mean squared error on the 2,000 test systems. Trained with one element a step (Adam 1e-3 along a cosine, weight decay 1e-12, "
        "batches of 100, gradients clipped to norm 1), networks chosen on the validation set, tested once, with 20 elements where the "
        "number is free. Intervals: bootstrap over test systems and seeds. Seconds are those of one thread beside other work; the forms "
        "of PCA and minimal frames were computed once, before training. Published: by others, after 10,000 epochs."
    )
    return columns, lines, caption


def aims(found: dict[str, Found]) -> tuple[list[str], list[list[str]], str]:
    """What was hoped for, held against what was found."""
    lines = []
    for base in ("gnn", "transformer"):
        mine = f"{base}-probabilistic"
        for other in (f"{base}-haar", f"{base}-canonical", "egnn"):
            what = f"{mine} {'ahead of' if other == 'egnn' else 'level with'} {other}"
            if mine not in found or other not in found:
                lines.append([what, "", "not run"])
                continue
            mean, low, high = interval(found[mine].main, found[other].main)
            met = high < 0 if other == "egnn" else low <= 0
            lines.append([what, f"{mean:+.5f} ({low:+.5f} to {high:+.5f})", "met" if met else "missed"])
        wanted = ROWS[mine].published or 0.0
        reached = mine in found and float(found[mine].main.mean()) <= wanted
        value = f"{found[mine].main.mean():.5f}" if mine in found else ""
        lines.append([f"{mine} at most {wanted:g}, published", value, "not run" if mine not in found else "met" if reached else "missed"])
    caption = (
        "Differences of test errors on the same systems (95 % bootstrap interval). Ahead: the whole interval is below zero; level: not all "
        "of it is above. EGNN had 1,000 epochs, transformers 200."
    )
    return ["aim", "found", "status"], lines, caption


def elements_table(found: dict[str, Found], elements: tuple[int, ...]) -> tuple[list[str], list[list[str]], str]:
    """Test errors by number of elements, for frames where it is free."""
    lines = [[name, *(f"{one.errors[k].mean():.5f}" for k in elements)] for name, one in found.items() if ROWS[name].sampled]
    return (
        ["row", *(f"k = {k}" for k in elements)],
        lines,
        "Test error (mean of the seeds) against the number k of elements, that is model calls.",
    )
