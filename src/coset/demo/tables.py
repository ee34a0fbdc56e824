"""The tables: one list of columns for the terminal and for the page, so that both say the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Column:
    """A heading, a line that explains it, and the text of a row."""

    head: str
    about: str
    text: Callable[[dict[str, Any]], str]
    left: bool = False


def number(value: float | None) -> str:
    """Three digits; small and large numbers by powers of ten."""
    if value is None:
        return "–"
    if value == 0:
        return "0"
    return f"{value:.1e}" if abs(value) < 1e-2 or abs(value) >= 1e4 else f"{value:.3g}"


def percent(value: float | None) -> str:
    """A share in percent."""
    return "–" if value is None else f"{100 * value:.1f} %"


def times(value: float | None) -> str:
    """A multiple."""
    return "–" if value is None else f"{value:.3g} ×"


def verdict(row: dict[str, Any]) -> str:
    """Whether a method is exact, in a word."""
    return "bare" if row["name"] == "bare" else "exact" if row["exact"] else "approx."


def yes(value: bool) -> str:
    """A truth in a word."""
    return "yes" if value else "no"


def field(key: str, show: Callable[[Any], str] = number) -> Callable[[dict[str, Any]], str]:
    """A column's text from one entry of a row."""
    return lambda row: show(row.get(key))


SHORT = {"Euclidean(3)": "E(3)", "SpecialEuclidean(3)": "SE(3)", "Octahedral()": "O", "Cyclic(4)": "C4", "Dihedral(4)": "D4",
         "SpecialOrthogonal(2)": "SO(2)", "Orthogonal(2)": "O(2)"}  # fmt: skip
"""The usual names of the groups."""


def group(name: Any) -> str:
    """The usual name of a group."""
    return SHORT.get(str(name), str(name))


def after(row: dict[str, Any]) -> str:
    """The error of the symmetrized model."""
    return "–" if row["name"] == "bare" else number(row["error"])


METHOD = Column("method", "how the model is symmetrized", lambda row: row["name"], left=True)
KIND = Column("kind", "whether the method promises exactness", verdict, left=True)
COST = Column("cost", "median time of one call, as a multiple of the bare model's", field("cost", times))
CALLS = Column("samples", "samples that enter the model for one input", field("samples", times))

MOLECULES = [
    METHOD,
    Column("group", "of the audit: E(3), SE(3) without reflections, or O, the 24 rotations of a cube", field("group", group), left=True),
    Column("before", "error of the bare model: mean of |f(gx) − g f(x)| over the RMS of |f|", field("before")),
    Column("after", "the same with the frame around the model", after),
    KIND,
    Column("worst", "the largest error after, over molecules and elements", field("worst")),
    Column("in E(3)", "error after under all rotations, reflections and translations", field("everywhere")),
    COST,
    CALLS,
]

DIGITS = [
    METHOD,
    Column("before", "error of the network inside, without the frame", field("before")),
    Column("after", "the same with the frame around the network", after),
    KIND,
    Column("upright", "correct answers on upright test digits", field("upright", percent)),
    Column("rotated", "correct answers, mean over all elements of the group", field("rotated", percent)),
    Column("mirrored", "correct answers on test digits mirrored left to right", field("mirrored", percent)),
    COST,
    CALLS,
]

COMPONENTS = [
    METHOD,
    Column("frame", "what was passed to coset.symmetrize", lambda row: row["frame"], left=True),
    *(Column(name, f"error after, under {name}s alone", lambda row, name=name: number(row["components"].get(name)))  # type: ignore[misc]
      for name in ("rotation", "reflection", "translation")),
    Column("floor", "rounding of the action itself, without the model", field("floor")),
]  # fmt: skip

FRAMES = [
    METHOD,
    Column("frame", "what was passed to coset.symmetrize", lambda row: row["frame"], left=True),
    Column("moves by", "the group of the frame", field("moved_by", group), left=True),
    Column("in training", "whether the network met the upright training digits through the frame", field("in_training", yes), left=True),
]

FAITHFUL = [
    METHOD,
    Column("distance", "from the bare model on the canonical inputs, carried back and averaged by hand; must vanish", field("distance")),
    Column("Φ(c) – f(c)", "from the bare model at canonical inputs c, relative; vanishes for frames of one element", field("canonical")),
    Column("of", "the number of inputs that is measured on: one group element for each canonical input", lambda row: str(row["generic"])),
    Column("size", "RMS of Φ(c) over RMS of f(c); 0 for a model that returns zeros", field("size")),
    Column("variation", "spread of Φ(c) over the inputs, relative; 0 for a constant model", field("variation")),
    Column("residual", "of a quadrature: largest relative distance between averages over parts of it", field("residual")),
]


def tables(results: dict[str, Any]) -> list[tuple[str, str, list[Column], list[dict[str, Any]]]]:
    """Every table: part, title, columns, rows."""
    molecules, digits = results["molecules"], results["digits"]
    found = [
        ("molecules", "Equivariance error before and after", MOLECULES, molecules["rows"]),
        ("molecules", "The error after, by component", COMPONENTS, molecules["rows"]),
        ("molecules", "Still the same model?", FAITHFUL, molecules["rows"][1:]),
    ]
    for part, rows in digits["parts"].items():
        kind = "quarter turns" if part == "C4" else "quarter turns and mirror images"
        found.append(("digits", f"{part}: {kind}", DIGITS, rows))
        found.append(("digits", f"{part}: the frames", FRAMES, rows))
    for part, rows in digits["parts"].items():
        found.append(("digits", f"{part}: still the same model?", FAITHFUL, rows[1:]))
    return found


def show(console: Any, results: dict[str, Any]) -> None:
    """Print every table."""
    from rich import box
    from rich.table import Table

    heads = {"molecules": molecules_line(results), "digits": digits_line(results)}
    for part, title, columns, rows in tables(results):
        if part in heads:
            console.print(f"\n[bold]{heads.pop(part)}[/bold]")
        table = Table(title=title, title_justify="left", title_style="bold", header_style="bold", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
        for column in columns:
            table.add_column(column.head, justify="left" if column.left else "right", no_wrap=True)
        for row in rows:
            style = "green" if row["exact"] else "red" if row["name"] == "bare" else "yellow"
            table.add_row(*(column.text(row) for column in columns), style=style)
        console.print(table)


def molecules_line(results: dict[str, Any]) -> str:
    """What the first part is about."""
    found = results["molecules"]
    return (
        f"{found['molecules']} molecules with {found['atoms']} atoms in one padded batch; a transformer with "
        f"{found['parameters']} random weights gives a vector per atom."
    )


def digits_line(results: dict[str, Any]) -> str:
    """What the second part is about."""
    found = results["digits"]
    return (
        f"{found['train']} upright digits to train on, {found['test']} to test, {found['audited']} of them to audit; "
        f"a CNN with {found['parameters']} weights, {found['steps']} training steps. "
        "PCA and minimal frames are built from points: they take the inked pixels as points in the plane."
    )
