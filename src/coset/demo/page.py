"""The report as one HTML page that needs no other file."""

from __future__ import annotations

from html import escape
from typing import Any

from . import drawings
from .tables import Column, digits_line, molecules_line, number, tables

STYLE = """
:root { color-scheme: light dark; --ink: #1d2430; --soft: #5b6575; --paper: #fbfaf7; --card: #ffffff; --edge: #dfe2e6;
  --one: #3b6ea8; --two: #c2571a; --three: #8a5aa8; --good: #1f7a4d; --bad: #b3261e; --pixel: #1d2430; }
@media (prefers-color-scheme: dark) { :root { --ink: #e7e9ee; --soft: #a0a9b8; --paper: #14171c; --card: #1c2027; --edge: #333a45;
  --one: #7aaee6; --two: #f0a065; --three: #c9a0e6; --good: #6fd3a0; --bad: #ff8a80; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.55 system-ui, "Segoe UI", "Helvetica Neue", sans-serif; }
main { max-width: 68rem; margin: 0 auto; padding: 2.5rem 1.25rem 4rem; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0 0 .5rem; }
h2 { font-size: 1.3rem; margin: 3rem 0 .4rem; }
h3 { font-size: 1.02rem; margin: 1.8rem 0 .5rem; }
p { margin: .4rem 0; max-width: 52rem; }
.soft, figcaption, dt, dd { color: var(--soft); font-size: .88rem; }
code { font-family: ui-monospace, "SF Mono", Menlo, Consolas, monospace; font-size: .88em; }
.verdict { margin: 1.4rem 0; padding: .9rem 1.1rem; background: var(--card); border: 1px solid var(--edge);
  border-left: .4rem solid var(--good); border-radius: .4rem; font-size: 1.08rem; font-weight: 600; }
.verdict.bad { border-left-color: var(--bad); }
.verdict ul { font-weight: 400; font-size: .95rem; }
figure { margin: .8rem 0 0; background: var(--card); border: 1px solid var(--edge); border-radius: .4rem; padding: .8rem 1rem; }
figcaption { padding-bottom: .5rem; max-width: 56rem; }
.row { display: grid; gap: .8rem; grid-template-columns: repeat(auto-fit, minmax(13rem, 1fr)); }
.row p { font-size: .85rem; margin: 0; text-align: center; }
.plot { width: 100%; height: auto; display: block; }
.plot text { fill: var(--soft); font-size: 12px; font-family: inherit; }
.plot .axis { fill: var(--ink); }
.plot text.name { font-size: 12.5px; font-weight: 600; fill: inherit; }
.plot text.symbol { font-size: 10px; fill: #14171c; font-weight: 600; }
.plot text.winner { fill: var(--ink); font-weight: 700; }
.grid { stroke: var(--edge); stroke-width: 1; }
.curve { fill: none; stroke-width: 2; stroke-linejoin: round; }
.bond { stroke: var(--soft); stroke-width: 3; opacity: .5; }
.atom { stroke: var(--soft); stroke-width: 1; }
.vector { stroke: var(--one); stroke-width: 2.4; } .vector.tip { fill: var(--one); stroke: none; }
.wanted { stroke: var(--two); stroke-width: 4.5; opacity: .55; } .wanted.tip { fill: var(--two); stroke: none; }
.paper { fill: #ffffff; stroke: var(--edge); } .ink { fill: #1d2430; }
.right { fill: var(--good); } .wrong { fill: var(--bad); } .other { fill: var(--soft); opacity: .5; }
.digits { display: grid; grid-template-columns: 8.5rem repeat(4, 1fr); gap: .5rem 1rem; align-items: center; margin-bottom: 1.4rem; }
.digits > div { max-width: 9.5rem; } .digits .thumb { max-width: 5.2rem; }
.scroll { overflow-x: auto; background: var(--card); border: 1px solid var(--edge); border-radius: .4rem; padding: .3rem .9rem; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; }
th, td { text-align: right; padding: .35rem .5rem; border-bottom: 1px solid var(--edge); vertical-align: top; }
td { font-variant-numeric: tabular-nums; }
tr:last-child td { border-bottom: none; }
th { color: var(--soft); font-weight: 500; white-space: nowrap; }
th.left, td.left { text-align: left; }
tr.bare td { color: var(--bad); } tr.exact td:first-child { color: var(--good); font-weight: 600; }
tr.about td:first-child { color: var(--two); font-weight: 600; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 0 .8rem; margin: .5rem 0 0; }
dt { color: var(--ink); } dd { margin: 0; }
details { margin-top: 1rem; } summary { cursor: pointer; }
"""


def page(results: dict[str, Any]) -> str:
    """The whole page."""
    title = "coset: two networks before and after symmetry"
    body = _head(results, title) + _molecules(results) + _digits(results) + _bounds(results) + _environment(results)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body><main>{body}</main></body></html>\n"
    )


def _head(results: dict[str, Any], title: str) -> str:
    missed = [record for record in results["bounds"] if not record["met"]]
    count = len(results["bounds"])
    items = "".join(f"<li>{escape(r['what'])}: {number(r['value'])}, not {escape(r['relation'])} {number(r['bound'])}</li>" for r in missed)
    text = f"All {count} bounds are met." if not missed else f"{len(missed)} of {count} bounds are missed:<ul>{items}</ul>"
    return (
        f"<h1>{escape(title)}</h1><p>A frame maps an input to a few group elements; the symmetrized model calls the network on the input "
        "moved back by them, moves the outputs forward and averages. The networks below know nothing of symmetry. An error of 1 means that "
        "turning the input and turning the output disagree as much as the output is large.</p>"
        f'<div class="verdict{" bad" if missed else ""}">{text}</div>'
    )


def table(columns: list[Column], rows: list[dict[str, Any]], title: str, explain: bool = True) -> str:
    """A table with its columns explained below."""
    side = [' class="left"' if column.left else "" for column in columns]
    head = "".join(f"<th{s}>{escape(c.head)}</th>" for s, c in zip(side, columns, strict=True))
    lines = ""
    for row in rows:
        kind = "exact" if row["exact"] else "bare" if row["name"] == "bare" else "about"
        cells = (f"<td{s}>{escape(c.text(row))}</td>" for s, c in zip(side, columns, strict=True))
        lines += f'<tr class="{kind}">{"".join(cells)}</tr>'
    about = "".join(f"<dt>{escape(c.head)}</dt><dd>{escape(c.about)}</dd>" for c in columns if c.head != "method")
    return (
        f"<h3>{escape(title)}</h3>"
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table></div>'
        f"{f'<dl>{about}</dl>' if explain else ''}"
    )


def _part(results: dict[str, Any], name: str) -> str:
    shown, drawn = set(), ""
    for part, title, columns, rows in tables(results):
        if part == name:
            drawn += table(columns, rows, title, explain=id(columns) not in shown)
            shown.add(id(columns))
    return drawn


def _figure(caption: str, content: str) -> str:
    return f"<figure><figcaption>{caption}</figcaption>{content}</figure>"


def _molecules(results: dict[str, Any]) -> str:
    found = results["molecules"]
    shots = found["pictures"]
    first = next(iter(shots.values()))
    panels = ""
    for name, shot in shots.items():
        at_rest = f"{name}, at rest"
        turned = f"{name}, turned: error {number(shot['error'])}"
        for key, text in (("still", at_rest), ("turned", turned)):
            panels += f"<div>{drawings.molecule(shot[key], shot['species'], text)}<p>{escape(text)}</p></div>"
    one = _figure(
        f"{escape(first['molecule'])} seen from above, at rest and turned by {first['degrees']:g}°. Blue: the vectors that the network "
        "gives. Orange, broad: those at rest turned along, which it would have to give. Where blue lies on orange, they agree.",
        f'<div class="row">{panels}</div>',
    )
    two = _figure(
        "Error against the angle of a turn about the vertical axis, on a logarithmic scale. The average over the rotations of a cube "
        "is exact at quarter turns only; PCA and minimal frames are exact everywhere.",
        "<div>"
        + drawings.curves(found["curves"], logarithmic=True, title="error against angle", across="turn about the vertical axis", every=30.0)
        + "</div>",
    )
    by_order = sorted(found["frame_orders"].items(), key=lambda item: int(item[0]) % 10**9)
    orders = ", ".join(f"{count} of {'infinite order' if order == '-1' else f'order {order}'}" for order, count in by_order)
    note = f'<p class="soft">The molecules\' own symmetry groups, as the minimal frame finds them: {orders}.</p>'
    return f"<h2>Molecules</h2><p>{escape(molecules_line(results))}</p>{_part(results, 'molecules')}{note}{one}{two}"


def _digits(results: dict[str, Any]) -> str:
    found = results["digits"]
    rows = ""
    for shot in found["pictures"]:
        rows += '<div class="digits"><span class="soft">input</span>' + "".join(
            f'<div class="thumb">{drawings.digit(image)}</div>' for image in shot["images"]
        )
        for name, shares in shot["probabilities"].items():
            rows += f'<span class="soft">{escape(name)}</span>' + "".join(
                f"<div>{drawings.probabilities(share, shot['label'])}</div>" for share in shares
            )
        rows += "</div>"
    one = _figure("Test digits at four quarter turns, and the probability of each class. Green: the true class; red: a wrong winner.", rows)
    two = _figure(
        "Correct answers against the angle of the input, turned with bilinear resampling; training saw upright digits only. "
        "The average over C4 repeats itself every quarter turn; frames of SO(2) hold at every angle, up to resampling.",
        "<div>"
        + drawings.curves(found["curves"], logarithmic=False, title="accuracy against angle", across="turn of the image", every=60.0)
        + "</div>",
    )
    words = (
        "The frame of SO(2) (of O(2) for D4) brings them into a canonical pose, and the CNN sees them painted there. "
        "Audits and accuracies turn the images "
        "themselves. Every network is trained on upright digits only; with the frame there in training it meets them as the frame hands "
        "them over. Averaging a network that was trained without it is exactly invariant and mostly wrong, because the CNN is sure of "
        "its wrong answers on turned digits. Under D4 nothing tells a digit from its mirror image, which costs accuracy upright."
    )
    return f"<h2>Digits</h2><p>{escape(digits_line(results))} {escape(words)}</p>{_part(results, 'digits')}{one}{two}"


def _bounds(results: dict[str, Any]) -> str:
    lines = "".join(
        f'<tr><td class="left">{escape(r["what"])}</td><td>{number(r["value"])}</td><td>{escape(r["relation"])} {number(r["bound"])}</td>'
        f"<td>{'met' if r['met'] else 'MISSED'}</td></tr>"
        for r in results["bounds"]
    )
    head = '<tr><th class="left">what</th><th>value</th><th>bound</th><th></th></tr>'
    return (
        "<h2>Bounds</h2><p>The demonstration fails when one of these is missed. A model that returns zeros or a constant passes any "
        "test of equivariance; distance, size and variation are there to refuse it.</p><details><summary>all "
        f'{len(results["bounds"])} bounds</summary><div class="scroll"><table>{head}{lines}</table></div></details>'
    )


def _environment(results: dict[str, Any]) -> str:
    found = results["environment"]
    words = ", ".join(f"{key} {found[key]}" for key in ("coset", "torch", "python", "machine", "device", "dtype", "threads", "seed"))
    return f'<h2>Where this ran</h2><p class="soft">{escape(words)}; {found["seconds"]:.0f} seconds. Every number is in results.json.</p>'
