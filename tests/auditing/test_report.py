"""Reports print, pickle, and are written as JSON and as one self-contained page."""

from __future__ import annotations

import json
import math
import pickle
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
import torch
from torch import nn

from coset import actions, groups
from coset.auditing import Report, audit
from coset.auditing.svg import LogAxis, bars, histogram, nice, points, power
from coset.auditing.text import number

E3 = groups.Euclidean(3)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.drop, self.second = nn.Linear(3, 8), nn.Dropout(0.1), nn.Linear(8, 3)

    def forward(self, x):
        return self.second(self.drop(torch.tanh(self.first(x))))


@pytest.fixture(scope="module")
def report() -> Report:
    torch.manual_seed(0)
    return audit(Net(), actions.Points(E3) >> actions.Vectors(E3), torch.randn(6, 4, 3), samples=8)


def shown(report: Report) -> list[float | None]:
    return [
        report.error,
        report.floor,
        report.worst.error,
        report.worst_random,
        report.lie,
        report.continuity.jump,
        *report.quantiles.values(),
        *report.components.values(),
        *(layer.change for layer in report.layers),
    ]


def test_text_has_every_number(report, capsys):
    print(report)
    text = capsys.readouterr().out
    assert text.strip() == str(report).strip()
    for value in shown(report):
        assert number(value) in text
    for word in (
        "Audit of Net under Euclidean(3)",
        "rotation",
        "reflection",
        "translation",
        "Not equivariant",
        "note: 1 dropout",
        "first (Linear)",
    ):
        assert word in text
    assert "Net under Euclidean(3)" in repr(report)
    assert max(map(len, text.splitlines())) <= 100


class Page(HTMLParser):
    """Collects tags, and what refers to other files."""

    VOID = frozenset(["meta", "br", "hr", "img", "link", "input"])

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.references = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.references += [value for key, value in attrs if key in ("src", "href", "data", "action") and value]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_page_is_whole_and_needs_nothing_else(report, tmp_path):
    path = report.to_html(tmp_path / "audit.html")
    text = path.read_text()
    page = Page()
    page.feed(text)
    assert page.open == []
    assert page.references == []
    assert not re.search(r"https?://|url\(|@import", text)
    assert not {"script", "link", "iframe", "img", "object"} & set(page.tags)
    assert page.tags.count("svg") == 4
    assert page.tags.count("html") == 1
    for value in shown(report):
        assert number(value) in text
    for law in report.laws:
        assert number(law.largest) in text
    assert "prefers-color-scheme: dark" in text
    assert "verdict bad" in text
    assert "nan" not in text.lower().replace("nanum", "")


def test_page_verdict_follows_the_bound(report, tmp_path):
    assert 'class="verdict"' in report.to_html(tmp_path / "a.html", bound=10.0).read_text()
    assert 'class="verdict bad"' in report.to_html(tmp_path / "b.html", bound=1e-3).read_text()


def test_page_escapes_names(report, tmp_path):
    text = replace(report, model="<script>x</script>", notes=["a < b & c"]).to_html(tmp_path / "c.html").read_text()
    assert "<script>" not in text
    assert "a &lt; b &amp; c" in text


def test_page_of_extreme_numbers(report, tmp_path):
    wild = replace(report, errors=[0.0, 1e-300, 1e30, math.inf, math.nan], sizes=[0.0, 0.0, 0.0, 0.0, 0.0], floor=0.0)
    page = Page()
    page.feed(wild.to_html(tmp_path / "d.html").read_text())
    assert page.open == []


def test_json_round_trip(report, tmp_path):
    path = tmp_path / "audit.json"
    text = report.to_json(path)
    found = json.loads(path.read_text())
    assert found == json.loads(text)
    assert found["error"] == report.error
    assert found["components"]["rotation"]["error"] == float(report.components["rotation"])
    assert found["components"]["rotation"]["stderr"] == report.components["rotation"].stderr
    assert found["quantiles"]["0.5"] == report.quantiles[0.5]
    assert torch.tensor(found["worst"]["element"]["matrix"]).shape == (3, 3)
    assert torch.tensor(found["worst"]["element"]["shift"]).shape == (3,)
    assert len(found["errors"]) == len(found["sizes"]) == 6 * 8
    assert found["passed"] is False
    assert [layer["name"] for layer in found["layers"]] == ["first", "drop", "second"]


def test_json_numbers_are_finite_or_null(report):
    found = json.loads(replace(report, error=math.nan, stderr=math.inf).to_json())
    assert found["error"] is None
    assert found["stderr"] is None


def test_pickle(report):
    again = pickle.loads(pickle.dumps(report))
    assert again.to_dict() == report.to_dict()
    assert again.components["rotation"].stderr == report.components["rotation"].stderr


def test_passed_and_verdict(report):
    assert not report.passed()
    assert report.passed(report.error)
    assert not report.passed(report.error * 0.999)
    assert not replace(report, failures=["x is broken"]).passed(1e9)
    assert replace(report, failures=["x is broken"]).verdict(1e9) == "Failed: x is broken."
    assert report.verdict(10.0).startswith("Equivariant within 1.0e+01")
    assert not replace(report, error=math.nan).passed(1e9)
    assert replace(report, error=90 * report.floor).passed()
    assert not replace(report, error=0.2, floor=0.1, exact=False).passed()
    assert replace(report, error=0.09, floor=0.1, exact=False).passed()


def test_rich_renders_it(report):
    import io

    from rich.console import Console

    console = Console(file=io.StringIO(), width=120)
    console.print(report)
    assert "Audit of Net" in console.file.getvalue()


def test_plain_functions_have_no_layers(tmp_path):
    found = audit(lambda x: x, actions.Points(E3) >> actions.Points(E3), torch.randn(3, 4, 3))
    assert found.layers == []
    assert "no layers" in found.layers_how
    assert "no layers" in found.to_html(tmp_path / "f.html").read_text()


def test_log_axis():
    axis = LogAxis([1e-6, 1.0], 0.0, 60.0)
    assert axis(1e-6) == 0
    assert axis(1e-3) == pytest.approx(30)
    assert axis(1.0) == 60
    assert axis(0.0) == 0
    assert axis(math.inf) == 60
    assert power(-12) == "10⁻¹²"


@pytest.mark.parametrize("limit", [1e-3, 0.7, 1, 3.3, 42, 180, 1e5])
def test_ticks_are_few_and_round(limit):
    ticks = nice(limit)
    assert 2 <= len(ticks) <= 9
    assert ticks[-1] <= limit * 1.0001
    assert ticks[-1] > limit / 2


def test_plots_draw_what_they_are_given():
    drawn = points([0.0, 90.0, 180.0], [1e-3, 1e-2, 1e-1], "rotation angle in degrees", 1e-6, 1e-4)
    assert drawn.count("<circle") == 3
    assert "rotation angle in degrees" in drawn
    heights = [float(h) for h in re.findall(r'<rect[^>]* height="([\d.]+)"', histogram([1e-3] * 3 + [1e-1], 1e-6, 1e-4))]
    assert len(heights) == 2
    assert max(heights) == pytest.approx(3 * min(heights), rel=0.01)
    lengths = [float(w) for w in re.findall(r'<rect[^>]* width="([\d.]+)"', bars(["a", "b"], [1e-2, 1.0], [None, 0.1]))]
    assert lengths[0] < lengths[1]
