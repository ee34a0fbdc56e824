"""A report as a table in the terminal."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from .report import element_text

if TYPE_CHECKING:
    from .report import Report

WIDTH = 100


def number(x: float | None) -> str:
    """Three digits, or a dash."""
    return "-" if x is None else f"{x:.2e}"


def rows(report: Report) -> list[tuple[str, str, str]]:
    """The lines of the summary: name, value, remark."""
    count = f"all {report.samples} elements" if report.exhaustive else f"{report.samples} random elements each"
    found = [
        ("error", _with(report.error, report.stderr), f"mean over {report.inputs} inputs, {count}"),
        ("floor", number(report.floor), "the action's own round trip and composition, without the model"),
        (
            "median",
            number(report.quantiles[0.5]),
            ", ".join(f"{100 * q:g} %: {number(v)}" for q, v in report.quantiles.items() if q != 0.5),
        ),
        (
            "worst",
            number(report.worst.error),
            f"input {report.worst_input}, {worst_how(report)}",
        ),
        ("worst element", "", element_text(report.worst.element)),
        ("Lie derivative", number(report.lie), report.lie_how),
        ("action laws", number(report.action_error), "largest residual of identity, composition and inverse"),
    ]
    if report.noise is not None:
        found.append(("noise", number(report.noise), "two calls on equal inputs, different seeds"))
    found += [(f"  {name}", _with(v, v.stderr), "component") for name, v in report.components.items()]
    if report.point_order is not None:
        found.append(
            ("order of points", _with(report.point_order, report.point_order.stderr), "the points listed otherwise; not in the group")
        )
    if report.continuity is not None:
        found.append(("continuity", number(report.continuity.jump), report.continuity.sentence))
    if len(report.outputs) > 1:
        found += [(f"  {name}", _with(v, v.stderr), "output") for name, v in report.outputs.items()]
    return found


def worst_how(report: Report) -> str:
    """How the worst element was found, beside what random search alone found where that is less."""
    less = report.worst_random < report.worst.error
    return f"{report.worst_found_by}; random search {number(report.worst_random)}" if less else report.worst_found_by


def _with(value: float, stderr: float | None) -> str:
    return number(value) if stderr is None else f"{number(value)} ± {stderr:.0e}"


def table(report: Report) -> Any:
    """The report as a rich renderable."""
    from rich.console import Group
    from rich.markup import escape
    from rich.table import Table

    head = Table(title=f"Audit of {escape(report.model)} under {escape(report.group)}", title_justify="left", show_edge=False)
    head.add_column("measure", no_wrap=True)
    head.add_column("relative error", justify="right", no_wrap=True)
    head.add_column("remark")
    for line in rows(report):
        head.add_row(*map(escape, line))
    parts: list[Any] = [head]
    if report.layers:
        parts.append(_layers(report))
    parts += [
        f"[bold]{escape(report.verdict())}[/bold]",
        *(f"failed: {escape(t)}" for t in report.failures),
        *(f"note: {escape(t)}" for t in report.notes),
    ]
    return Group(*parts)


def _layers(report: Report) -> Any:
    from rich.markup import escape
    from rich.table import Table

    grid = Table(title="Growth of the difference between x and gx", title_justify="left", show_edge=False)
    for name in ("layer", "output", "change", "error under the action of"):
        grid.add_column(name, no_wrap=name != "error under the action of", justify="right" if name == "change" else "left")
    for layer in report.layers:
        error = "" if layer.error is None else f"{number(layer.error)}  {layer.action.split(':')[0]}"
        grid.add_row(escape(f"{layer.name} ({layer.kind})"), escape(str(layer.shape)), number(layer.change), escape(error))
    return grid


def render(report: Report) -> str:
    """The table as plain text."""
    from rich.console import Console

    buffer = io.StringIO()
    Console(file=buffer, width=WIDTH, no_color=True, highlight=False).print(table(report))
    return "\n".join(line.rstrip() for line in buffer.getvalue().splitlines())
