"""``main``: run both parts, check the bounds, print the tables, write the files."""

from __future__ import annotations

import itertools
import json
import math
import platform
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..errors import CosetError, explain
from . import bounds, digits, molecules, page, tables
from .data import load_digits, load_molecules
from .settings import Settings

STAGES = 16


class Missed(CosetError, RuntimeError):
    """A number of the demonstration missed its bound."""


def main(
    out: Path | str = Path("demo_out"), *, seed: int = 0, settings: Settings | None = None, network: nn.Module | None = None
) -> dict[str, Any]:
    """Symmetrize a transformer on molecules and a CNN on digits, and say what changed.

    Prints tables, and writes ``report.html`` and ``results.json`` into ``out``.

    Args:
        out: the folder to write to; made when missing.
        seed: of weights, training, split and audits.
        settings: sizes; the full ones when left out.
        network: another network of molecules, called as (pos, z, mask) and returning a vector per atom.

    Returns:
        What ``results.json`` holds.

    Raises:
        MissingExtraError: when ASE or scikit-learn is not installed.
        Missed: when a number misses its bound; the files are written before.
    """
    from rich.console import Console

    console, settings = Console(), settings or Settings(seed=seed)
    if not console.is_terminal:
        console = Console(width=100)
    results = plain(run(console, settings, network))
    results["bounds"] = bounds.check(results)
    results["passed"] = all(record["met"] for record in results["bounds"])
    tables.show(console, results)
    files = write(Path(out), results)
    missed = [record for record in results["bounds"] if not record["met"]]
    count = len(results["bounds"])
    console.print(f"\n{count - len(missed)} of {count} bounds are met, in {results['environment']['seconds']:.0f} seconds.")
    for file in files:
        console.print(f"wrote {file}", soft_wrap=True, highlight=False)
    if missed:
        raise Missed(_complaint(missed))
    return results


def run(console: Any, settings: Settings, network: nn.Module | None = None) -> dict[str, Any]:
    """Both parts, with a progress bar."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    start, threads = time.perf_counter(), torch.get_num_threads()
    atoms, images = load_molecules(settings), load_digits(settings)
    columns = (SpinnerColumn(), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    marks: list[tuple[str, float]] = []
    torch.set_num_threads(1)  # the networks are small: more threads would wait for each other, and blur the times
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("starting", total=STAGES)

        def step(name: str) -> None:
            bar.update(task, description=name, completed=len(marks))
            marks.append((name, time.perf_counter()))

        found = {"molecules": molecules.run(settings, atoms, step, network), "digits": digits.run(settings, images, step)}
        bar.update(task, description="done", total=len(marks), completed=len(marks))
    marks.append(("end", time.perf_counter()))
    seconds = {name: later - at for (name, at), (_, later) in itertools.pairwise(marks)}
    facts = environment(settings)
    torch.set_num_threads(threads)
    return {"environment": facts | {"seconds": time.perf_counter() - start, "stages": seconds}} | found


def plain(x: Any) -> Any:
    """Numbers that are not finite become None, so that any reader takes the JSON."""
    if isinstance(x, float):
        return x if math.isfinite(x) else None
    if isinstance(x, dict):
        return {str(key): plain(value) for key, value in x.items()}
    return [plain(value) for value in x] if isinstance(x, (list, tuple)) else x


def environment(settings: Settings) -> dict[str, Any]:
    """What the numbers depend on."""
    import coset

    return {
        "coset": coset.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "threads": torch.get_num_threads(),
        "device": "cpu",
        "dtype": "float32",
        "seed": settings.seed,
        "settings": vars(settings),
    }


def write(out: Path, results: dict[str, Any]) -> list[Path]:
    """The page and the numbers."""
    out.mkdir(parents=True, exist_ok=True)
    files = [out / "report.html", out / "results.json"]
    files[0].write_text(page.page(results), encoding="utf-8")
    files[1].write_text(json.dumps(results, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    return files


def _complaint(missed: list[dict[str, Any]]) -> str:
    listed = "; ".join(f"{r['what']} is {tables.number(r['value'])}, not {r['relation']} {tables.number(r['bound'])}" for r in missed)
    remedy = "read report.html; a constant model, or one without a broken symmetry, cannot pass"
    return explain(listed, "every bound of the demonstration", remedy)
