"""What the benchmarks share: interleaved medians, a table, and rows in RESULTS.md."""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import os
import platform
import re
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

HERE = Path(__file__).parent


@dataclass
class Row:
    """One measured figure: what, how much, and the bound it is held against (None where there is none)."""

    what: str
    value: float | None
    unit: str = ""
    bound: str = ""
    met: bool | None = None

    @property
    def status(self) -> str:
        """met, missed, not run, or nothing where no bound was set."""
        if self.value is None:
            return "not run"
        return "" if self.met is None else ("met" if self.met else "missed")

    @property
    def text(self) -> str:
        """The value with three digits."""
        return "—" if self.value is None else f"{self.value:.3g}{self.unit}"


@dataclass
class Table:
    """Figures side by side: a caption, the columns' names, and rows of a name and numbers (None where there is none)."""

    caption: str
    columns: list[str]
    rows: list[list[str]]

    def printed(self) -> str:
        """Aligned text."""
        widths = [max(map(len, column)) for column in zip(self.columns, *self.rows, strict=True)]
        lines = [[f"{self.columns[0]:<{widths[0]}}", *(f"{c:>{w}}" for c, w in zip(self.columns[1:], widths[1:], strict=True))]]
        lines += [[f"{row[0]:<{widths[0]}}", *(f"{c:>{w}}" for c, w in zip(row[1:], widths[1:], strict=True))] for row in self.rows]
        return "\n".join(["  " + self.caption, *("  " + "  ".join(line) for line in lines)])

    def markdown(self) -> list[str]:
        """The lines of a section."""
        lines = [self.columns, ["---", *["---:"] * (len(self.columns) - 1)], *self.rows]
        return [self.caption, "", *("| " + " | ".join(line) + " |" for line in lines), ""]


@dataclass
class Bench:
    """A benchmark run: options, rows, and the table that is printed and recorded."""

    title: str
    rows: list[Row] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)

    def __post_init__(self) -> None:
        parser = argparse.ArgumentParser(description=self.title)
        parser.add_argument("--smoke", action="store_true", help="a size that runs in seconds; nothing is recorded")
        parser.add_argument("--record", action="store_true", help="write the rows into benchmarks/RESULTS.md")
        parser.add_argument("--seed", type=int, default=0)
        self.options = parser.parse_args()
        torch.manual_seed(self.options.seed)
        torch.set_num_threads(1)
        self.start = time.time()

    @property
    def smoke(self) -> bool:
        """Whether this is the small run."""
        return self.options.smoke

    def add(self, what: str, value: float | None, unit: str = "", at_most: float | None = None, at_least: float | None = None) -> None:
        """Keep a figure; a bound says whether it is met (at full size only)."""
        at_most, at_least = (None, None) if self.smoke else (at_most, at_least)
        bound = f"≤ {at_most:g}{unit}" if at_most is not None else f"≥ {at_least:g}{unit}" if at_least is not None else ""
        met = None
        if value is not None and at_most is not None:
            met = value <= at_most
        if value is not None and at_least is not None:
            met = value >= at_least
        self.rows.append(Row(what, value, unit, bound, met))

    def table(self, caption: str, columns: list[str], rows: list[list[Any]]) -> None:
        """Keep figures that are read side by side: rows of a name and numbers (None where there is none)."""
        shown = [[str(row[0]), *("—" if cell is None else f"{cell:.3g}" for cell in row[1:])] for row in rows]
        self.tables.append(Table(caption, columns, shown))

    def finish(self) -> None:
        """Print the table, and record it when asked."""
        width = max(len(row.what) for row in self.rows)
        print(f"{self.title} (torch {torch.__version__}, one thread{', smoke size' if self.smoke else ''})")
        for table in self.tables:
            print(table.printed())
        for row in self.rows:
            print(f"  {row.what:<{width}}  {row.text:>10}  {row.bound:>10}  {row.status}")
        if self.options.record and not self.smoke:
            record(self, time.time() - self.start)


def medians(repeats: int, *functions: Callable[[], object]) -> list[float]:
    """Median CPU seconds of one call of each function, measured in turn so that drift hits all alike."""
    for function in functions:
        function()
        function()
    times: list[list[float]] = [[] for _ in functions]
    for _ in range(repeats):
        for number, function in enumerate(functions):
            begin = time.process_time()
            function()
            times[number].append(time.process_time() - begin)
    return [statistics.median(one) for one in times]


def resident(fresh: bool = False) -> float:
    """The largest resident memory of this process, in MiB: so far, or (``fresh``) from now on where Linux allows a reset."""
    if fresh:
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM"):
                return float(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def grown(build: Callable[[], Callable[[], object]]) -> float | None:
    """Peak resident memory in MiB of one call of ``build()`` in a forked process, over what stood before the call.

    The process inherits what was imported, and gives memory that earlier calls freed back to the system first, so
    that it does not hide the growth. None where processes cannot fork, or the call was killed.
    """
    if not hasattr(os, "fork"):
        return None
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            call = build()
            with contextlib.suppress(AttributeError, OSError):
                ctypes.CDLL(None).malloc_trim(0)
            before = resident(fresh=True)
            call()
            os.write(write, f"{resident() - before:.3f}".encode())
            status = 0
        finally:
            os._exit(status)
    os.close(write)
    with os.fdopen(read) as pipe:
        text = pipe.read()
    os.waitpid(child, 0)
    return float(text) if text else None


def python_calls(function: Callable[[], object]) -> int:
    """How many Python functions one call enters."""
    count = 0

    def tick(frame: object, event: str, argument: object) -> None:
        nonlocal count
        count += event == "call"

    function()
    sys.setprofile(tick)
    try:
        function()
    finally:
        sys.setprofile(None)
    return count


def machine() -> str:
    """The processor's name and the number of cores."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        found = re.search(r"model name\s*:\s*(.+)", info.read_text())
        name = found[1].strip() if found else name
    return f"{name}, {os.cpu_count()} cores"


def commit() -> str:
    """The short hash of the checkout, with + when files differ from it."""
    hash_ = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=HERE, capture_output=True, text=True).stdout.strip() or "unknown"
    dirty = subprocess.run(["git", "status", "--porcelain", "--", "../src"], cwd=HERE, capture_output=True, text=True).stdout.strip()
    return hash_ + ("+" if dirty else "")


def record(bench: Bench, seconds: float) -> None:
    """Replace this benchmark's section of RESULTS.md."""
    title, seed = bench.title, bench.options.seed
    script = Path(sys.argv[0]).name
    lines = [
        f"## {title}",
        "",
        f"`python benchmarks/{script} --record --seed {seed}` · commit {commit()} · seed {seed} · {machine()}, one thread · "
        f"torch {torch.__version__} · {seconds:.0f} s",
        "",
        *(line for table in bench.tables for line in table.markdown()),
        "| what | measured | bound | status |",
        "|---|---|---|---|",
        *(f"| {row.what} | {row.text} | {row.bound} | {row.status} |" for row in bench.rows),
        "",
    ]
    path = HERE / "RESULTS.md"
    head = "# Benchmarks\n\nMedians of CPU time and ratios within one run. A peer that is not installed is *not run*.\n\n"
    text = path.read_text() if path.exists() else head
    section = "\n".join(lines)
    pattern = re.compile(rf"## {re.escape(title)}\n.*?(?=\n## |\Z)", re.S)
    text = pattern.sub(lambda _: section, text) if pattern.search(text) else text.rstrip("\n") + "\n\n" + section
    path.write_text(text.rstrip("\n") + "\n")
