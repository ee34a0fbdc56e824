"""What the experiments share: options, tables, and sections in RESULTS.md with command, commit, seed, machine and time."""

from __future__ import annotations

import argparse
import os
import re
import sys
import time
from pathlib import Path

import torch

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent / "benchmarks"))

from _bench import commit, machine  # noqa: E402

HEAD = (
    "# Experiments\n\nEvery section carries the command that made it, the commit, the seed, the machine and the time. "
    "A bound is *met*, *missed* or *not run*; columns hold measured numbers only.\n"
)


class Experiment:
    """One run: its options, the tables it prints, and the section it records.

    Args:
        title: the section's title in RESULTS.md.
        threads: how many threads torch may use.
    """

    def __init__(self, title: str, threads: int = 1):
        parser = argparse.ArgumentParser(description=title)
        parser.add_argument("--smoke", action="store_true", help="a size that runs in seconds; nothing is recorded")
        parser.add_argument("--record", action="store_true", help="write the tables into experiments/RESULTS.md")
        parser.add_argument("--seed", type=int, default=0)
        self.parser, self.title, self.parts = parser, title, list[str]()
        self.start = time.time()
        torch.set_num_threads(threads)

    def parse(self) -> argparse.Namespace:
        """The options; more may be added to ``parser`` before."""
        self.options = self.parser.parse_args()
        torch.manual_seed(self.options.seed)
        return self.options

    def table(self, columns: list[str], rows: list[list[str]], caption: str = "") -> None:
        """Print a table and keep it for the record."""
        widths = [max(len(row[i]) for row in [columns, *rows]) for i in range(len(columns))]
        if caption:
            print(f"\n{caption}")
        for row in [columns, *rows]:
            print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
        lines = [caption, ""] if caption else []
        lines += ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
        self.parts.append("\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows]))

    def note(self, text: str) -> None:
        """Print a sentence and keep it for the record."""
        print(text)
        self.parts.append(text)

    def finish(self) -> None:
        """Record the section when asked."""
        if not self.options.record or self.options.smoke:
            return
        command = " ".join(["python", "experiments/" + Path(sys.argv[0]).name, *sys.argv[1:]])
        seconds = time.time() - self.start
        facts = (
            f"`{command}` · commit {commit()} · seed {self.options.seed} · {machine()}, {torch.get_num_threads()} thread(s) · "
            f"torch {torch.__version__} · {seconds:.0f} s"
        )
        section = "\n\n".join([f"## {self.title}", facts, *self.parts]) + "\n"
        path = HERE / "RESULTS.md"
        text = path.read_text() if path.exists() else HEAD
        pattern = re.compile(rf"## {re.escape(self.title)}\n.*?(?=\n## |\Z)", re.S)
        text = pattern.sub(lambda _: section, text) if pattern.search(text) else text.rstrip("\n") + "\n\n" + section
        path.write_text(text.rstrip("\n") + "\n")


def data(*names: str) -> Path | None:
    """A file or folder under ``COSET_DATA``; None, with a sentence, when it is not there."""
    root = os.environ.get("COSET_DATA")
    path = Path(root, *names) if root else None
    if path is None or not path.exists():
        print(f"not run: {'/'.join(names)} not found; set COSET_DATA to the folder that holds it")
        return None
    return path
