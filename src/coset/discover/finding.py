"""A symmetry that was found and tested on other data: a value that prints and saves."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from ..auditing.randomization import Randomization
from ..auditing.saving import Saved, plain, written
from ..errors import GroupError
from .candidates import TRIVIAL
from .results import LEVEL, Retest, Sharing

SHOWN = 6


@dataclass(frozen=True, repr=False)
class FoundSymmetry(Saved):
    """What :class:`SymmetryFinder` found.

    Attributes:
        sharing: the choice, on the first part of the data.
        retest: its test on the second.
        statistic: what was looked at, (n,) or (m, n).
        chosen_on, tested_on: how many samples each part has.
        pairs: the test, on all samples, that inputs and outputs together are as likely when both are moved; None where there was none.
    """

    sharing: Sharing
    retest: Retest
    statistic: Tensor
    chosen_on: int
    tested_on: int
    pairs: Randomization | None = None

    @property
    def name(self) -> str:
        """The candidate, or what the method calls its result."""
        return self.sharing.name or "a sharing pattern"

    @property
    def trivial(self) -> bool:
        """Whether no symmetry was found."""
        return self.sharing.verdict.startswith("trivial: ") and (not self.sharing.table or self.sharing.name == TRIVIAL)

    @property
    def blamed(self) -> list[str]:
        """Candidates under which the law of the inputs is not invariant, so that a rejection says nothing about the map."""
        return [row.name for row in self.sharing.table if row.inputs is not None and not row.inputs >= LEVEL]

    @property
    def claimed(self) -> bool:
        """Whether a group, perhaps the trivial one, may be claimed."""
        if self.trivial:
            return not self.blamed
        if self.pairs is not None and self.pairs.rejected:
            return False
        return not self.sharing.verdict.startswith("cannot tell") and self.retest.verdict.startswith("holds")

    @property
    def verdict(self) -> str:
        """What may be claimed."""
        if self.trivial and self.blamed:
            who = ", ".join(self.blamed[:3])
            return f"cannot tell: the law of the inputs is not invariant under {who}, so that their rejection says nothing about the map"
        if self.trivial or self.sharing.verdict.startswith("cannot tell"):
            return self.sharing.verdict
        if self.pairs is not None and self.pairs.rejected:
            p = f"p = {self.pairs.p_value:.2g}"
            return f"cannot tell: the cross-moment has the symmetry {self.name}, but samples (x, y) have not: moved ones differ ({p})"
        if not self.claimed:
            why = self.retest.verdict.removeprefix("cannot tell: ")
            return f"cannot tell: {self.name} was chosen on {self.chosen_on} samples; on the others: {why}"
        moved = "" if self.pairs is None else f", nor are pairs (x, y) when both are moved (p = {self.pairs.p_value:.2g})"
        return f"{self.sharing.verdict}; on {self.tested_on} other samples it is not rejected (p = {self.retest.p_value:.2g}){moved}"

    def generators(self) -> list[list[int]]:
        """Permutations that generate the group that was chosen; none where it is no group of permutations."""
        try:
            rows = getattr(self.sharing.group, "generators", None)
        except GroupError:
            return []
        return rows.tolist() if isinstance(rows, Tensor) and rows.dim() == 2 else []

    def order(self) -> int | None:
        """The number of elements, where it is finite."""
        try:
            return int(self.sharing.group.order) if self.sharing.group.finite else None
        except GroupError:
            return None

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, strings, lists and dictionaries."""
        labels = self.sharing.labels
        found = {
            "verdict": self.verdict,
            "claimed": self.claimed,
            "name": self.name,
            "order": self.order(),
            "generators": self.generators(),
            "labels": None if labels is None else labels.tolist(),
            "statistic": self.statistic.tolist(),
            "chosen_on": self.chosen_on,
            "tested_on": self.tested_on,
            "retest": asdict(self.retest),
            "pairs": None if self.pairs is None else asdict(self.pairs),
            "gap": self.sharing.gap,
            "candidates": [asdict(row) for row in self.sharing.table],
        }
        return plain(found)

    def to_html(self, path: str | Path) -> Path:
        """Write one self-contained page: the verdict, the ranked candidates, the pattern, the generators."""
        from .page import page

        return written(path, page(self))

    def __repr__(self) -> str:
        return f"FoundSymmetry({self.verdict})"

    def __str__(self) -> str:
        lines = [self.verdict, f"chosen on {self.chosen_on} samples, tested on {self.tested_on}: {self.retest.verdict}"]
        lines += [f"  {' | '.join(cell.ljust(14) for cell in line)}".rstrip() for line in (HEADER, *ranked(self)) if self.sharing.table]
        return "\n".join([*lines, *self._last()])

    def __rich__(self) -> Any:
        from rich.console import Group
        from rich.markup import escape
        from rich.table import Table

        grid = Table(title="Candidates, best first", title_justify="left", show_edge=False)
        for i, name in enumerate(HEADER):
            grid.add_column(name, justify="right" if i else "left")
        for line in ranked(self):
            grid.add_row(*map(escape, line))
        told: list[Any] = [f"[bold]{escape(self.verdict)}[/bold]", *([grid] if self.sharing.table else [])]
        return Group(*told, *map(escape, self._last()))

    def _last(self) -> list[str]:
        """The generators, where there is something to claim."""
        if not self.claimed or self.trivial:
            return []
        return [f"generators: {', '.join(map(cycles, self.generators()[:SHOWN]))}"]


HEADER = ("candidate", "parameters", "off it, %", "p", "BIC behind", "p of inputs")


def ranked(found: FoundSymmetry) -> list[tuple[str, ...]]:
    """The candidates, best first, as text."""
    rows = found.sharing.table
    best = min((row.bic for row in rows if not math.isnan(row.bic)), default=0.0)

    def number(x: float | None) -> str:
        return "-" if x is None or math.isnan(x) else f"{x:.3g}"

    return [
        (row.name, str(row.dimension), number(round(100 * row.effect, 9)), number(row.p_value), number(row.bic - best), number(row.inputs))
        for row in rows
    ]


def cycles(permutation: list[int]) -> str:
    """A permutation in cycles, counted from 0.

    Example:
        >>> cycles([1, 2, 0, 3]), cycles([0, 1])
        ('(0 1 2)', '()')
    """
    left, told = set(range(len(permutation))), ""
    while left:
        start = at = min(left)
        cycle = []
        while at in left:
            left.discard(at)
            cycle.append(at)
            at = permutation[at]
        if len(cycle) > 1:
            told += f"({' '.join(map(str, cycle))})" if start == cycle[0] else ""
    return told or "()"
