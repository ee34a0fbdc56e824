"""A symmetry that was found, as one HTML page that needs no other file."""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING

from torch import Tensor

from ..auditing.data_page import document
from ..auditing.svg import WIDTH, figure, label, tag
from .finding import HEADER, cycles, ranked

if TYPE_CHECKING:
    from .finding import FoundSymmetry

MOST = 40
"""Rows and columns of a pattern that are drawn."""
GOLDEN = 137.508


def page(found: FoundSymmetry) -> str:
    """The whole page."""
    title = "Which symmetry do these data have?"
    return document(
        title,
        "".join([_head(found, title), _verdict(found), _tiles(found), _ranking(found), _pattern(found), _generators(found), _notes()]),
    )


def _head(found: FoundSymmetry, title: str) -> str:
    shape = "×".join(map(str, found.statistic.shape))
    return (
        f'<h1>{title}</h1><p class="soft">{found.chosen_on} samples to choose, {found.tested_on} others to test; '
        f"a statistic of {shape} numbers.</p>"
    )


def _verdict(found: FoundSymmetry) -> str:
    kind = "verdict" if found.claimed else "verdict bad"
    word = "No symmetry among the candidates." if found.trivial else f"{found.name}." if found.claimed else "It cannot be told."
    return f'<div class="{kind}">{escape(word)}<p>{escape(found.verdict)}.</p></div>'


def _tiles(found: FoundSymmetry) -> str:
    sharing, order = found.sharing, found.order()
    p = "-" if math.isnan(found.retest.p_value) else f"{found.retest.p_value:.3g}"
    gap = "-" if not math.isfinite(sharing.gap) else f"{sharing.gap:.3g}"
    runner = sharing.runner_up if isinstance(sharing.runner_up, str) else "the runner-up"
    tiles = [
        ("p on other data", p, "large: nothing speaks against the group"),
        ("off the group", f"{100 * found.retest.effect:.2g} %", "of the statistic's square on other data, freed of noise"),
        ("elements", "-" if order is None else f"{order:,}", f"{len(sharing.values)} free of {found.statistic.numel()} parameters"),
        ("ahead by", gap, f"in description length, of {runner}"),
    ]
    drawn = "".join(f'<div class="tile"><span>{escape(n)}</span><b>{escape(v)}</b><span>{escape(t)}</span></div>' for n, v, t in tiles)
    return f'<div class="tiles">{drawn}</div>'


def _ranking(found: FoundSymmetry) -> str:
    """The candidates as bars and as a table."""
    if not found.sharing.table:
        return ""
    head = "".join(f"<th>{escape(cell)}</th>" for cell in HEADER)
    body = "".join(
        "<tr>" + "".join(f"<td{' class=n' if i else ''}>{escape(cell)}</td>" for i, cell in enumerate(line)) + "</tr>"
        for line in ranked(found)
    )
    caption = (
        "The part of the statistic's square that each group forbids: near zero where the data have the symmetry. "
        "The darker bars are groups that the F test does not reject."
    )
    return (
        f'<h2>Candidates, best first</h2><figure class="wide"><figcaption>{caption}</figcaption>{_bars(found)}</figure>'
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def _bars(found: FoundSymmetry) -> str:
    step, left, right = 24.0, 130.0, WIDTH - 70.0
    drawn = []
    for i, row in enumerate(found.sharing.table):
        y = i * step + 4
        shown = min(max(row.effect, 0.0), 1.0) if not math.isnan(row.effect) else 0.0
        rejected = row.p_value < 0.01
        drawn += [
            label(left - 8, y + 14, row.name[:18], anchor="end"),
            tag("rect", x=left, y=y + 3, width=right - left, height=step - 8, rx=2, style="fill:var(--edge);fill-opacity:0.5"),
            tag(
                "rect",
                x=left,
                y=y + 3,
                width=max(shown * (right - left), 1.5),
                height=step - 8,
                rx=2,
                class_="bar",
                style=f"fill-opacity:{0.4 if rejected else 0.95}",
            ),
            label(right + 8, y + 14, f"{100 * shown:.2g} %" if shown > 1e-5 else "0 %", anchor="start"),
        ]
    return figure(drawn, "what each candidate forbids", WIDTH, len(found.sharing.table) * step + 8)


def _pattern(found: FoundSymmetry) -> str:
    """The statistic beside the sharing pattern."""
    labels = found.sharing.labels
    parts = [("What was measured", _cells(found.statistic, _shade(found.statistic)))]
    if labels is not None:
        parts.append(
            (
                "Entries of one colour share a value",
                _cells(labels, lambda k: f"hsl({(k * GOLDEN) % 360:.0f}, 55%, {45 + 20 * (int(k) % 3)}%)"),
            )
        )
    cut = f" (the first {MOST} rows and columns)" if max(found.statistic.shape) > MOST else ""
    drawn = "".join(f"<figure><figcaption>{name}{cut}</figcaption>{plot}</figure>" for name, plot in parts)
    return f'<h2>The sharing pattern</h2><div class="pair">{drawn}</div>'


def _shade(values: Tensor) -> object:
    """Blue for positive, orange for negative, as strong as large."""
    top = float(values.abs().max()) or 1.0

    def colour(v: float) -> str:
        return f"hsl({212 if v >= 0 else 24}, 60%, {94 - 54 * min(abs(v) / top, 1.0):.0f}%)"

    return colour


def _cells(values: Tensor, colour: object) -> str:
    grid = values.reshape(1, -1) if values.dim() == 1 else values.flatten(1)
    grid = grid[:MOST, :MOST]
    size = min(36.0, (WIDTH - 40) / grid.shape[1])
    drawn = []
    for i, row in enumerate(grid.tolist()):
        for j, value in enumerate(row):
            drawn.append(tag("rect", x=20 + j * size, y=10 + i * size, width=size - 1, height=size - 1, rx=2, fill=colour(value)))  # type: ignore[operator]
    return figure(drawn, "a table of colours", WIDTH, grid.shape[0] * size + 20)


def _generators(found: FoundSymmetry) -> str:
    rows = found.generators() if found.claimed and not found.trivial else []
    if not rows:
        return ""
    told = "".join(f"<li><code>{escape(cycles(row))}</code></li>" for row in rows[:12])
    return f"<h2>Generators</h2><p>Columns, counted from 0, that change places:</p><ul>{told}</ul>"


def _notes() -> str:
    notes = [
        "p-values of candidates come from the data that the group was chosen on; the one on other data does not",
        "a subgroup of the true group is rejected as rarely as that: the description length decides between nested groups",
        "with the cross-moment, the law of the inputs must be invariant; its p-value is in the table, and pairs (x, y) are tested as well",
    ]
    return f"<h2>Notes</h2><ul>{''.join(f'<li>{escape(text)}</li>' for text in notes)}</ul>"
