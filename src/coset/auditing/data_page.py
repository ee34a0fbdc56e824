"""A report on data as one HTML page that needs no other file."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from .data_svg import columns, intervals, valley
from .data_text import advice_text, break_text, p_text
from .page import STYLE, _table

if TYPE_CHECKING:
    from .data_report import DataReport

ADVICE = {
    "hard": "Impose the symmetry.",
    "partial": "Impose the symmetry partly.",
    "none": "Do not impose the symmetry.",
    "cannot tell": "Whether to impose the symmetry cannot be told from these data.",
}


def page(report: DataReport) -> str:
    """The whole page."""
    title = f"Do these data have the symmetry {report.group}?"
    body = "".join(
        [_head(report, title), _advice(report), _answers(report), _breaks(report), _parts(report), _labels(report), _notes(report)]
    )
    return document(title, body)


def document(title: str, body: str) -> str:
    """A page around its body."""
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body><main>{body}</main></body></html>\n"
    )


def _head(report: DataReport, title: str) -> str:
    count = f"all {report.whole.poses} elements" if report.whole.whole else f"{report.whole.poses} random elements for each sample"
    return (
        f"<h1>{escape(title)}</h1><p><code>{escape(report.signature)}</code></p>"
        f'<p class="soft">{report.samples} samples, {count}; tests at level {report.level:g}.</p>'
    )


def _advice(report: DataReport) -> str:
    found = report.advice
    kind = "verdict" if found.choice != "cannot tell" else "verdict bad"
    return f'<div class="{kind}">{ADVICE[found.choice]}<p>{escape(found.reason)}.</p></div>'


def _tile(name: str, value: str, remark: str) -> str:
    return f'<div class="tile"><span>{escape(name)}</span><b>{escape(value)}</b><span>{escape(remark)}</span></div>'


def _answers(report: DataReport) -> str:
    whole, near, left = report.whole, report.dissent, report.pose_out
    tiles = [
        _tile("Are inputs as likely in every pose?", p_text(whole.law), whole.law_verdict),
        _tile("Do targets follow?", p_text(whole.conditional), whole.conditional_verdict),
        _tile("How much of the map is forbidden?", break_text(whole).split(" [")[0], whole.error_verdict),
    ]
    if near is not None:
        share = (
            "-" if near.moved is None else f"{100 * near.moved:.3g} %" + (" do not" if report.classes is not None else " of two at random")
        )
        tiles.append(_tile("Do neighbours by a pose agree?", share, report.dissent_verdict))
    if left is not None:
        value = f"{left.error:.3g} of the variance" if left.wrong is None else f"{100 * left.wrong:.3g} % wrong"
        tiles.append(_tile("Is an unseen pose predicted?", value, f"{left.samples} samples, one pose left out at a time; {left.kernel}"))
    return f'<h2>Questions and answers</h2><div class="tiles">{"".join(tiles)}</div>'


def _breaks(report: DataReport) -> str:
    """The intervals of DE^2 and the cost of shrinkage."""
    found = {"whole group": report.whole} | report.subgroups
    known = {name: one.error for name, one in found.items() if one.error is not None}
    if not known:
        return f'<h2>The forbidden part of the map</h2><p class="soft">{escape(report.whole.error_verdict)}</p>'
    lines = [(e.low / e.scale, e.value / e.scale, e.high / e.scale, e.variance / e.scale) for e in known.values()]
    drawn = (
        "<figure><figcaption>DE², the part of the map that the group forbids, with 95 % intervals. The red line is V_Q, the variance that "
        "imposing the group saves: left of it hard symmetry beats none, right of it none beats hard.</figcaption>"
        f"{intervals(list(known), lines, 'share of the variance of the targets')}</figure>"
    )
    error = report.whole.error
    if error is not None and error.variance > 0:
        drawn += (
            "<figure><figcaption>Extra error of a model that keeps the share s of its forbidden part: the estimate, and the ends of its "
            f"interval (thin).</figcaption>{valley((error.low, error.value, error.high), error.variance)}</figure>"
        )
    return f'<h2>The forbidden part of the map</h2><div class="pair">{drawn}</div>'


def _parts(report: DataReport) -> str:
    lines = [
        (name, p_text(one.law), p_text(one.conditional), break_text(one), advice_text(report, name))
        for name, one in report.subgroups.items()
    ]
    return _table("Parts of the group", ("part", "inputs", "targets", "break DE²", "advice"), lines)


def _labels(report: DataReport) -> str:
    """What happens to labels along orbits: unseen poses by class and by pose, and pairs of classes that meet."""
    left, near, drawn = report.pose_out, report.dissent, ""
    if left is not None and left.by_class:
        names = [str(name) for name in left.by_class]
        drawn += (
            "<figure><figcaption>Unseen poses put in another class, by class.</figcaption>"
            f"{columns(names, list(left.by_class.values()), 'class')}</figure>"
        )
    if left is not None and left.by_pose and max(left.by_pose) > min(left.by_pose) + 1e-6:  # equal for kernels that move along
        what = "Error on the unseen pose" if left.wrong is None else "Unseen poses put in another class"
        names = [str(i) for i in range(len(left.by_pose))]
        caption = f"{what}, by element of the group; 0 is the pose as given."
        drawn += f"<figure><figcaption>{caption}</figcaption>{columns(names, list(left.by_pose), 'element')}</figure>"
    pairs = "" if near is None else _table("Classes that meet by a pose change", ("class", "its neighbour", "times"), _named(near.pairs))
    return f'<h2>Labels along orbits</h2><div class="pair">{drawn}</div>{pairs}' if drawn or pairs else ""


def _named(pairs: tuple[tuple[object, object, int], ...]) -> list[tuple[str, str, str]]:
    return [(str(a), str(b), str(count)) for a, b, count in pairs]


def _notes(report: DataReport) -> str:
    notes = [
        *report.notes,
        "p-values come from moving every sample by random elements; under an invariant law they are below the level at most that often",
        "DE² is that part of the map which the model can see; a better model may see more",
        "samples are taken to be independent",
    ]
    return f"<h2>Notes</h2><ul>{''.join(f'<li>{escape(text)}</li>' for text in notes)}</ul>"
