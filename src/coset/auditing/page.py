"""A report as one HTML page that needs no other file."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from .report import element_text
from .svg import bars, descents, histogram, points
from .text import number, worst_how

if TYPE_CHECKING:
    from .report import Report

STYLE = """
:root { color-scheme: light dark; --ink: #1d2430; --soft: #5b6575; --paper: #fbfaf7; --card: #ffffff; --edge: #dfe2e6;
  --bar: #3b6ea8; --mark: #c2571a; --good: #1f7a4d; --bad: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --ink: #e7e9ee; --soft: #a0a9b8; --paper: #14171c; --card: #1c2027; --edge: #333a45;
  --bar: #7aaee6; --mark: #f0a065; --good: #6fd3a0; --bad: #ff8a80; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.55 system-ui, "Segoe UI", "Helvetica Neue", sans-serif; }
main { max-width: 62rem; margin: 0 auto; padding: 2.5rem 1.25rem 4rem; }
h1 { font-size: 1.55rem; line-height: 1.25; margin: 0 0 .3rem; overflow-wrap: anywhere; }
h2 { font-size: 1.1rem; margin: 2.2rem 0 .6rem; }
p { margin: .4rem 0; }
.soft { color: var(--soft); }
code { font-family: ui-monospace, "SF Mono", Menlo, Consolas, monospace; font-size: .88em; overflow-wrap: anywhere; }
.verdict { margin: 1.4rem 0; padding: .9rem 1.1rem; background: var(--card); border: 1px solid var(--edge);
  border-left: .4rem solid var(--good); border-radius: .4rem; font-size: 1.08rem; font-weight: 600; }
.verdict.bad { border-left-color: var(--bad); }
.verdict p { font-weight: 400; font-size: .95rem; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(11rem, 1fr)); gap: .8rem; }
.tile, figure { background: var(--card); border: 1px solid var(--edge); border-radius: .4rem; padding: .8rem 1rem; }
.tile b { display: block; font-size: 1.4rem; font-weight: 600; font-variant-numeric: tabular-nums; }
.tile span { color: var(--soft); font-size: .85rem; display: block; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(24rem, 100%), 1fr)); gap: .8rem 2rem; align-items: start; }
.pair > div:empty { display: none; }
figure { margin: 0; overflow-x: auto; }
.wide .plot { min-width: 42rem; }
figcaption { color: var(--soft); font-size: .88rem; padding: 0 .3rem .4rem; }
.plot { width: 100%; height: auto; display: block; }
.plot text { fill: var(--soft); font-size: 12px; font-family: inherit; }
.plot .axis { fill: var(--ink); }
.grid { stroke: var(--edge); stroke-width: 1; }
.dot { fill: var(--bar); fill-opacity: .45; }
.bar { fill: var(--bar); fill-opacity: .8; }
.mark { fill: var(--mark); }
.thread { fill: none; stroke: var(--bar); stroke-opacity: .5; stroke-width: 1.5; }
.line { fill: none; stroke: var(--mark); stroke-width: 2; stroke-linejoin: round; }
.floor { stroke: var(--good); stroke-width: 1.5; stroke-dasharray: 2 4; }
.bound { stroke: var(--bad); stroke-width: 1.5; stroke-dasharray: 7 4; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .92rem; }
th, td { text-align: left; padding: .35rem .7rem .35rem 0; border-bottom: 1px solid var(--edge); vertical-align: top; }
th { color: var(--soft); font-weight: 500; }
td.n { font-variant-numeric: tabular-nums; white-space: nowrap; }
ul { padding-left: 1.2rem; margin: .3rem 0; }
"""


def page(report: Report, bound: float | None = None) -> str:
    """The whole page.

    Args:
        report: the findings.
        bound: the bound of the verdict; the report's default when left out.
    """
    title = f"Audit of {report.model} under {report.group}"
    body = [
        _head(report, title),
        _verdict(report, bound),
        _tiles(report),
        _plots(report, bound),
        _tables(report),
        _continuity(report),
        _growth(report),
        _notes(report),
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body><main>{''.join(body)}</main></body></html>\n"
    )


def _head(report: Report, title: str) -> str:
    count = f"all {report.samples} group elements" if report.exhaustive else f"{report.samples} random group elements each"
    return (
        f"<h1>{escape(title)}</h1><p><code>{escape(report.signature)}</code></p>"
        f'<p class="soft">{report.inputs} inputs, {count}, {escape(report.dtype)} on {escape(report.device)}. '
        "Errors are relative to the RMS norm of the output.</p>"
    )


def _verdict(report: Report, bound: float | None) -> str:
    kind = "verdict" if report.passed(bound) else "verdict bad"
    more = "".join(f"<p>{escape(text)}.</p>" for text in report.failures[1:])
    return f'<div class="{kind}">{escape(report.verdict(bound))}{more}</div>'


def _tiles(report: Report) -> str:
    stderr = "mean over inputs and elements" if report.stderr is None else f"± {report.stderr:.1e}, mean over inputs and elements"
    tiles = [
        ("error", number(report.error), stderr),
        ("floor", number(report.floor), "the action alone: round trip and composition"),
        ("worst", number(report.worst.error), worst_how(report)),
        ("Lie derivative", number(report.lie), report.lie_how),
    ]
    if report.continuity is not None:
        tiles.append(("largest jump", number(report.continuity.jump), report.continuity.short))
    if report.noise is not None:
        tiles.append(("noise", number(report.noise), "two calls on equal inputs"))
    return (
        '<div class="tiles">'
        + "".join(f'<div class="tile"><span>{n}</span><b>{v}</b><span>{escape(t)}</span></div>' for n, v, t in tiles)
        + "</div>"
    )


def _plots(report: Report, bound: float | None) -> str:
    if not report.errors:
        return ""
    limit = report.default_bound if bound is None else bound
    against = "angle" if "angle" in report.size_unit else "size"
    return (
        '<h2>Errors</h2><div class="pair">'
        f"<figure><figcaption>Error against the {against} of the group element; the line is the running median.</figcaption>"
        f"{points(report.sizes, report.errors, report.size_unit, report.floor, limit)}</figure>"
        f"<figure><figcaption>Distribution of the errors over inputs and elements; zeros are counted at the left end.</figcaption>"
        f"{histogram(report.errors, report.floor, limit)}</figure></div>"
    )


def _table(title: str, header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    if not lines:
        return ""
    head = "".join(f"<th>{escape(h)}</th>" for h in header)
    rows = "".join(
        "<tr>" + f"<td>{escape(line[0])}</td>" + "".join(f'<td class="n">{escape(c)}</td>' for c in line[1:]) + "</tr>" for line in lines
    )
    return f'<h2>{escape(title)}</h2><div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'


def _tables(report: Report) -> str:
    parts = [(name, number(v), number(v.stderr)) for name, v in report.components.items()]
    if report.point_order is not None:
        parts.append(("order of points, outside of the group", number(report.point_order), number(report.point_order.stderr)))
    outputs = [(name, number(v), number(v.stderr)) for name, v in report.outputs.items()]
    quantiles = [[number(v) for v in report.quantiles.values()]]
    levels = [f"{100 * q:g} %" for q in report.quantiles]
    laws = [
        (
            law.data,
            law.law,
            number(law.error),
            number(law.largest),
            "not exact" if law.tolerance is None else number(law.tolerance),
            "yes" if law.holds else "NO",
        )
        for law in report.laws
    ]
    several = outputs if len(outputs) > 1 else []
    return (
        f'<div class="pair"><div>{_table("Quantiles of the error", levels, quantiles)}</div>'
        f"<div>{_table('Components of the group', ('subgroup', 'error', 'standard error'), parts)}</div>"
        f"<div>{_table('Outputs', ('output', 'error', 'standard error'), several)}</div></div>"
        + f"<h2>Worst element</h2><p>Input {report.worst_input}: <code>{escape(element_text(report.worst.element))}</code></p>"
        + _table("Laws of the declared actions", ("data", "law", "mean residual", "largest", "allowed", "holds"), laws)
    )


def _continuity(report: Report) -> str:
    found = report.continuity
    if found is None or found.jump is None:
        return ""
    caption = (
        "Largest change of the output over steps of the input that shrink, along paths through inputs of several kinds. Where the model is "
        "continuous, however steep, the change shrinks with the step; at a jump it stays."
    )
    first, last = f"over {found.steps[0]:.0e}", f"over {found.steps[-1]:.0e}"
    lines = [(kind, number(trace[0]), number(trace[-1])) for kind, trace in found.traces.items()]
    return (
        f'<h2>Continuity: {escape(found.word)}</h2><div class="pair"><figure><figcaption>{escape(caption)}</figcaption>'
        f"{descents(found.steps, found.traces)}</figure><div>{_table('Largest changes', ('paths through', first, last), lines)}</div></div>"
    )


def _growth(report: Report) -> str:
    if not report.layers:
        return f'<h2>Layers</h2><p class="soft">{escape(report.layers_how)}</p>' if report.layers_how else ""
    plot = bars([x.name for x in report.layers], [x.change for x in report.layers], [x.error for x in report.layers])
    caption = (
        "How much each layer's output changes between x and gx. An equivariant layer changes as much as its features turn: "
        "this is growth of sensitivity, not error."
    )
    drawn = f'<figure class="wide"><figcaption>{caption} {escape(report.layers_how)}</figcaption>{plot}</figure>'
    header = ("layer", "class", "output", "change", "error", "under the action of")
    lines = [
        (x.name, x.kind, "×".join(map(str, x.shape)), number(x.change), number(x.error), x.action.split(":")[0]) for x in report.layers
    ]
    return f"<h2>Layers</h2>{drawn}{_table('Layers in numbers', header, lines)}"


def _notes(report: Report) -> str:
    return f"<h2>Notes</h2><ul>{''.join(f'<li>{escape(text)}</li>' for text in report.notes)}</ul>" if report.notes else ""
