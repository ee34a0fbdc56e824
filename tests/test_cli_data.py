"""The commands on data: files in, pages out, and one clear sentence with exit code 2 for everything that does not fit."""

from __future__ import annotations

import json
import sys

import numpy
import pytest
from typer.testing import CliRunner

from coset.cli import app

MODULE = """
from coset import actions, groups
from coset.auditing.kernel_ridge import KernelRidge

C4 = groups.Generated([[1, 2, 3, 0]])
turn = actions.Permute(C4, -1) >> actions.Trivial(C4)
model = KernelRidge
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "ours.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    sys.modules.pop("ours", None)
    r = numpy.random.default_rng(1)
    x = r.normal(size=(150, 4))
    numpy.savez("good.npz", x=x, y=x.max(1))
    numpy.savez("named.npz", X=x, labels=numpy.where(x.max(1) > 1, "high", "low"))
    numpy.savez("posed.npz", x=x + numpy.array([3, 0, 0, 0]), y=x.max(1))
    numpy.savez("images.npz", images=r.random((60, 6, 6)).astype("float32"), labels=r.integers(0, 2, 60))
    numpy.savez("points.npz", x=r.normal(size=(60, 5, 3)))
    numpy.savez("strange.npz", a=x)
    numpy.savez("nan.npz", x=numpy.full((30, 4), numpy.nan))
    numpy.savez("same.npz", x=numpy.ones((30, 4)))
    numpy.savez("one.npz", x=x[:1])
    numpy.savez("objects.npz", x=numpy.array([{}, {}], dtype=object))
    numpy.savez("unequal.npz", x=x, y=x[:9, 0])
    (tmp_path / "text.npz").write_text("not an archive")
    return tmp_path


def run(*arguments: str):
    return CliRunner().invoke(app, list(arguments))


def test_audit_data_prints_and_writes(folder):
    result = run("audit-data", "good.npz", "--action", "C4", "--html", "a.html", "--json", "a.json")
    assert result.exit_code == 0, result.output
    assert "law of the inputs" in result.output
    assert "wrote a.html" in result.output
    assert "<svg" in (folder / "a.html").read_text()
    found = json.loads((folder / "a.json").read_text())
    assert not found["whole"]["law"]["p_value"] < 0.05
    again = run("audit-data", "good.npz", "--action", "C4", "--json", "b.json", "--seed", "3")
    assert again.exit_code == 0
    assert json.loads((folder / "b.json").read_text())["whole"]["law"]["p_value"] != found["whole"]["law"]["p_value"]


def test_data_with_a_pose_is_not_judged_and_still_no_error(folder):
    result = run("audit-data", "posed.npz", "--action", "ours:turn", "--json", "a.json")
    assert result.exit_code == 0, result.output
    found = json.loads((folder / "a.json").read_text())
    assert found["whole"]["error"] is None
    assert found["advice"]["choice"] == "cannot tell"


@pytest.mark.parametrize(
    ("file", "action", "words"),
    [
        ("named.npz", "D4", "another label"),
        ("images.npz", "C4", "Cyclic(4)"),
        ("images.npz", "Flip", "Dihedral(1)"),
        ("points.npz", "SO3", "SpecialOrthogonal(3)"),
        ("points.npz", "S5", "Symmetric(5)"),
    ],
)
def test_groups_by_name(folder, file, action, words):
    result = run("audit-data", file, "--action", action, "--samples", "4")
    assert result.exit_code == 0, result.output
    assert words in " ".join(result.output.replace("│", " ").split())


def test_subgroups_and_models(folder):
    result = run("audit-data", "images.npz", "--action", "C4", "--subgroups", "C2", "--model", "ours:model")
    assert result.exit_code == 0, result.output
    assert "Parts of the group" in result.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["none.npz", "--action", "C4"], "no file 'none.npz'"),
        (["text.npz", "--action", "C4"], "a .npz archive"),
        (["objects.npz", "--action", "C4"], "a .npz archive of numbers"),
        (["strange.npz", "--action", "C4"], "name them with --x"),
        (["good.npz", "--action", "C4", "--y", "z"], "no key 'z' for the targets"),
        (["good.npz", "--action", "C5"], "a group that permutes 4 columns"),
        (["good.npz", "--action", "Q8"], "the group 'Q8'"),
        (["good.npz", "--action", "O3"], "a last axis of length 3"),
        (["points.npz", "--action", "S4"], "4 points"),
        (["points.npz", "--action", "ours:absent"], "no attribute 'absent'"),
        (["images.npz", "--action", "C4", "--subgroups", "C3"], "the subgroup C3"),
        (["nan.npz", "--action", "C4"], "NaN"),
        (["same.npz", "--action", "C4"], "inputs that vary"),
        (["one.npz", "--action", "C4"], "two at the very least"),
        (["unequal.npz", "--action", "C4"], "one target for each"),
        (["good.npz", "--action", "C4", "--level", "0"], "between 0 and 1"),
    ],
)
def test_errors_are_two_with_a_sentence(folder, arguments, words):
    result = run("audit-data", *arguments)
    assert result.exit_code == 2, result.output
    assert words in result.output
    assert "Traceback" not in result.output


@pytest.fixture
def maps(folder):
    r = numpy.random.default_rng(2)
    x = r.normal(size=(500, 4))
    offset = numpy.array([3, 0, 0, 0])
    numpy.savez("map.npz", x=x, y=numpy.tanh(x + 2 * numpy.roll(x, 1, 1)))
    numpy.savez("linear.npz", x=x + offset, y=x + offset + 2 * numpy.roll(x + offset, 1, 1) + 0.1 * r.normal(size=(500, 4)))
    numpy.savez("few.npz", x=x[:12], y=x[:12, 0])
    numpy.savez("flat.npz", x=x, y=numpy.ones(500))
    return folder


def test_discover_prints_and_writes(maps):
    result = run("discover", "map.npz", "--candidates", "C4,D4,S4", "--html", "a.html", "--json", "a.json")
    assert result.exit_code == 0, result.output
    assert "generators: (0 1 2 3)" in result.output
    assert (maps / "a.html").read_text().count("<svg") == 3
    found = json.loads((maps / "a.json").read_text())
    assert found["name"] == "C4"
    assert found["claimed"]
    assert found["candidates"][0]["name"] == "C4"


def test_discover_linear_and_free(maps):
    assert "C4: not rejected" in run("discover", "linear.npz", "--linear").output
    assert "other samples it is not rejected" in " ".join(run("discover", "map.npz", "--free").output.split())
    assert "cannot tell" in run("discover", "linear.npz").output  # the cross-moment needs an invariant law
    assert run("discover", "map.npz", "--invariant").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["none.npz"], "no file"),
        (["same.npz"], "inputs alone"),
        (["map.npz", "--candidates", "C5"], "a group of degree 4"),
        (["map.npz", "--candidates", "Z4"], "the candidate 'Z4'"),
        (["few.npz"], "at least 10 in each part"),
        (["flat.npz"], "outputs that vary"),
        (["images.npz"], "rows of columns"),
        (["unequal.npz"], "as many of each"),
    ],
)
def test_errors_of_discover_are_two_with_a_sentence(maps, arguments, words):
    result = run("discover", *arguments)
    assert result.exit_code == 2, result.output
    assert words in result.output
    assert "Traceback" not in result.output


def test_files_that_are_no_archives(maps):
    numpy.save("array.npy", numpy.ones((30, 4)))
    numpy.savez("objects.npz", x=numpy.array([{}, 1], dtype=object))
    (maps / "cut.npz").write_bytes((maps / "map.npz").read_bytes()[:300])
    (maps / "text.npz").write_text("hello")
    for name, words in {
        "array.npy": "a single array",
        "objects.npz": "Python objects",
        "cut.npz": "zip",
        "text.npz": "not an archive",
    }.items():
        result = run("discover", name)
        assert result.exit_code == 2
        assert words in result.output
        assert "archive of numbers" in result.output


def test_what_was_found_is_shown_before_a_page_that_cannot_be_written(maps):
    result = run("discover", "map.npz", "--candidates", "C4", "--html", "nowhere/a.html")
    assert result.exit_code == 2
    assert "C4: not rejected" in result.output
    assert "the output 'nowhere/a.html'" in result.output
    assert "under audit" not in result.output
