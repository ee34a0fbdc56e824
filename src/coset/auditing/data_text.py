"""A report on data as a table in the terminal."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from .advice import advise
from .text import WIDTH

if TYPE_CHECKING:
    from .data_report import DataReport, Finding


def p_text(test: Any) -> str:
    """A p-value, or a dash."""
    return "-" if test is None else f"p = {test.p_value:.3g}"


def break_text(found: Finding) -> str:
    """DE^2 in per cent of the targets' variance with its interval, or a dash."""
    e = found.error
    return "-" if e is None else f"{100 * e.share:.3g} % [{100 * e.low / e.scale:.2g}, {100 * e.high / e.scale:.2g}]"


def advice_text(report: DataReport, name: str | None) -> str:
    """The choice, with s* where there is one."""
    found = advise(report, name)
    return found.choice if found.shrinkage is None else f"{found.choice} (s* = {found.shrinkage:.2f})"


def rows(report: DataReport) -> list[tuple[str, str, str]]:
    """The lines of the summary: what, value, verdict."""
    whole = report.whole
    found = [
        ("law of the inputs", p_text(whole.law), whole.law_verdict),
        ("targets given inputs", p_text(whole.conditional), whole.conditional_verdict),
        ("break DE²", break_text(whole), whole.error_verdict),
        ("labels on orbits", _dissent(report), report.dissent_verdict),
    ]
    left = report.pose_out
    if left is not None:
        wrong = f"{left.error:.3g} of the variance" if left.wrong is None else f"{100 * left.wrong:.3g} % wrong"
        found.append(("pose left out", wrong, f"kernel: {left.kernel}; all other poses of {left.samples} samples known"))
    found.append(("advice", advice_text(report, None), report.advice.reason))
    return found


def _dissent(report: DataReport) -> str:
    found = report.dissent
    return "-" if found is None or found.moved is None else f"{100 * found.moved:.3g} %"


def table(report: DataReport) -> Any:
    """The report as a rich renderable."""
    from rich.console import Group
    from rich.markup import escape
    from rich.table import Table

    head = Table(title=f"{report.samples} samples under {escape(report.group)}", title_justify="left", show_edge=False)
    head.add_column("question", no_wrap=True)
    head.add_column("value", no_wrap=True)
    head.add_column("what may be claimed")
    for line in rows(report):
        head.add_row(*map(escape, line))
    parts: list[Any] = [head]
    if report.subgroups:
        grid = Table(title="Parts of the group", title_justify="left", show_edge=False)
        for name in ("part", "inputs", "targets", "break DE²", "advice"):
            grid.add_column(name)
        for name, one in report.subgroups.items():
            cells = (name, p_text(one.law), p_text(one.conditional), break_text(one), advice_text(report, name))
            grid.add_row(*map(escape, cells))
        parts.append(grid)
    return Group(*parts, *(f"note: {escape(text)}" for text in report.notes))


def render(report: DataReport) -> str:
    """The table as plain text."""
    from rich.console import Console

    buffer = io.StringIO()
    Console(file=buffer, width=WIDTH, no_color=True, highlight=False).print(table(report))
    return "\n".join(line.rstrip() for line in buffer.getvalue().splitlines())
