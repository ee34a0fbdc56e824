"""The command line: exit codes, messages instead of tracebacks, files written; and citations."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from coset import actions, frames, groups, symmetrize
from coset.cite import BIBLIOGRAPHY, cite
from coset.cli import app
from coset.errors import InputError

MODULE = """
import torch
from torch import nn
from coset import actions, frames, groups, symmetrize

G = groups.Orthogonal(3)
signature = actions.Vectors(G) >> actions.Vectors(G)
named = actions.Dict(v=actions.Vectors(G), w=actions.Vectors(G)) >> actions.Trivial(G)
ordered = actions.Tuple(actions.Vectors(G), actions.Vectors(G)) >> actions.Trivial(G)
good = nn.Linear(1, 1, bias=False)
good.forward = lambda x: 2 * x


def bad():
    torch.manual_seed(0)
    return nn.Linear(3, 3)


def product(v, w):
    return (v * w).sum(-1)


def fails():
    class Fails(nn.Module):
        def forward(self, x):
            raise RuntimeError("broken inside")

    return Fails()


def wrong():
    C2 = groups.Cyclic(2)
    turn = torch.tensor([[0.0, -1.0], [1.0, 0.0]])
    function = lambda k: torch.where((k % 2 == 1)[..., None, None], turn, torch.eye(2))
    return actions.Matrix(C2, function, degree=1) >> actions.Trivial(C2)


def norm(x, eps=0.0):
    return x.norm(dim=-1) + eps


points = actions.Points(G) >> actions.Trivial(G)
framed = symmetrize(nn.Identity(), actions.Points(G) >> actions.Points(G), frame=frames.PCA())


class Holder:
    inputs = torch.randn(4, 3)


def cloud():
    return torch.randn(5, 3)
"""


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    (tmp_path / "mine.py").write_text(textwrap.dedent(MODULE))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    sys.modules.pop("mine", None)
    generator = numpy.random.default_rng(0)
    numpy.savez("one.npz", x=generator.normal(size=(6, 3)))
    numpy.savez("two.npz", v=generator.normal(size=(6, 3)), w=generator.normal(size=(6, 3)))
    numpy.save("plain.npy", generator.normal(size=(6, 3)))
    numpy.savez("plane.npz", x=generator.normal(size=(6, 2)).astype("float32"))
    torch.save(torch.randn(6, 3), "one.pt")
    return tmp_path


def run(*arguments: str):
    return CliRunner().invoke(app, list(arguments))


def test_pass_is_zero_and_files_are_written(folder):
    result = run(
        "audit", "mine:good", "mine:signature", "--data", "one.npz", "--html", "a.html", "--json", "a.json", "--fail-above", "1e-4"
    )
    assert result.exit_code == 0, result.output
    assert "Audit of Linear under Orthogonal(3)" in result.output
    assert "wrote a.html" in result.output
    assert "<svg" in (folder / "a.html").read_text()
    assert json.loads((folder / "a.json").read_text())["error"] < 1e-5


def test_past_the_bound_is_one(folder):
    result = run("audit", "mine:bad", "mine:signature", "--data", "one.pt", "--fail-above", "1e-4")
    assert result.exit_code == 1
    assert "Not equivariant within 1.0e-04" in result.output
    assert run("audit", "mine:bad", "mine:signature", "--data", "one.pt", "--fail-above", "10").exit_code == 0
    assert run("audit", "mine:bad", "mine:signature", "--data", "one.pt").exit_code == 0  # no bound, nothing to pass


def test_wrong_action_is_one_without_a_bound(folder):
    result = run("audit", "mine:norm", "mine:wrong", "--data", "plane.npz")
    # a function whose arguments are not all optional is the model itself
    assert result.exit_code == 1, result.output
    assert "breaks the law" in result.output


@pytest.mark.parametrize("data", ["plain.npy", "mine:cloud", "mine:Holder.inputs"])
def test_other_kinds_of_data(folder, data):
    assert run("audit", "mine:good", "mine:signature", "--data", data, "--fail-above", "1e-4").exit_code == 0


@pytest.mark.parametrize("signature", ["named", "ordered"])
def test_archives_by_key_and_by_position(folder, signature):
    assert run("audit", "mine:product", f"mine:{signature}", "--data", "two.npz", "--fail-above", "1e-4").exit_code == 0


def test_seeds_repeat(folder):
    def error(seed: str) -> float:
        run("audit", "mine:bad", "mine:signature", "--data", "one.pt", "--seed", seed, "--json", "out.json", "--samples", "4")
        return json.loads((folder / "out.json").read_text())["error"]

    assert error("1") == error("1") != error("2")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["mine", "mine:signature", "--data", "one.npz"], "package.module:attribute"),
        (["nowhere:model", "mine:signature", "--data", "one.npz"], "no module 'nowhere'"),
        (["mine:absent", "mine:signature", "--data", "one.npz"], "no attribute 'absent' in mine"),
        (["mine:good", "mine:good", "--data", "one.npz"], "source >> target"),
        (["mine:good", "mine:signature", "--data", "none.npz"], "no file 'none.npz'"),
        (["mine:good", "mine:signature", "--data", "mine.py"], "a .npz, .npy or .pt file"),
        (["mine:good", "mine:signature", "--data", "two.npz"], "2 arrays ['v', 'w']"),
        (["mine:good", "mine:signature", "--data", "plane.npz"], "(6, 2)"),
        (["mine:product", "mine:named", "--data", "one.npz"], "missing: ['v', 'w']"),
        (["mine:fails", "mine:signature", "--data", "one.npz"], "RuntimeError raised by the code under audit: broken inside"),
    ],
)
def test_errors_are_two_with_a_sentence(folder, arguments, words):
    result = run("audit", *arguments)
    assert result.exit_code == 2
    assert words in result.output
    assert "Traceback" not in result.output
    assert "coset: " in result.output


def test_usage_errors_are_two(folder):
    assert run("audit", "mine:good").exit_code == 2
    assert run("audit", "mine:good", "mine:signature", "--data", "one.npz", "--samples", "0").exit_code == 2
    assert run("unknown").exit_code == 2


def test_module_entry_point(folder):
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(Path(actions.__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])])
    }
    command = [
        sys.executable,
        "-m",
        "coset",
        "audit",
        "mine:bad",
        "mine:signature",
        "--data",
        "one.npz",
        "--samples",
        "4",
        "--fail-above",
        "1e-4",
    ]
    result = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=120)
    assert result.returncode == 1, result.stderr
    assert "relative error" in result.stdout
    assert "Not equivariant" in result.stderr
    assert "Traceback" not in result.stderr


def test_cite_command(folder):
    result = run("cite", "mine:framed")
    assert result.exit_code == 0, result.output
    assert "@inproceedings{puny2022frame" in result.output
    assert "lin2024minimal" not in result.output
    assert "no method" in run("cite", "mine:bad").output
    assert run("cite", "mine:G").exit_code == 2


def test_demo_command_calls_the_demonstration(monkeypatch, tmp_path):
    import types

    seen = []
    fake = types.ModuleType("coset.demo")
    fake.main = lambda out, seed: seen.append((out, seed))
    monkeypatch.setitem(sys.modules, "coset.demo", fake)
    assert run("demo", "--out", str(tmp_path), "--seed", "7").exit_code == 0
    assert seen == [(tmp_path, 7)]

    def missed(out, seed):
        raise InputError("Given: a bound that is missed. Expected: it is met. To do: look.")

    fake.main = missed
    result = run("demo", "--out", str(tmp_path))
    assert result.exit_code == 2
    assert "a bound that is missed" in result.output
    monkeypatch.setitem(sys.modules, "coset.demo", None)
    result = run("demo")
    assert result.exit_code == 2
    assert "pip install 'coset[all]'" in result.output


# -- citations ----------------------------------------------------------------------------------------------------


def keys(text: str) -> list[str]:
    return [line.split("{")[1].rstrip(",") for line in text.splitlines() if line.startswith("@")]


def test_cite_names_exactly_what_is_used():
    O3 = groups.Orthogonal(3)
    signature = actions.Points(O3) >> actions.Points(O3)
    assert keys(cite(symmetrize(nn.Identity(), signature, frame=frames.PCA()))) == ["puny2022frame"]
    assert keys(cite(symmetrize(nn.Identity(), signature, frame=frames.Minimal()))) == ["lin2024minimal"]
    both = nn.ModuleList([symmetrize(nn.Identity(), signature, frame=f) for f in (frames.PCA(), frames.Minimal(), frames.PCA())])
    assert keys(cite(both)) == ["lin2024minimal", "puny2022frame"]
    assert keys(cite(frames.PCA())) == ["puny2022frame"]


def test_cite_of_a_plain_module_is_empty():
    assert cite(nn.Linear(2, 2)) == ""


def test_cite_errors():
    class Odd(nn.Module):
        references = ("nobody1900nothing",)

    with pytest.raises(InputError, match="'nobody1900nothing' of Odd"):
        cite(Odd())
    with pytest.raises(InputError, match=r"a torch\.nn\.Module"):
        cite("model")


def test_every_frame_cites_known_papers():
    classes = [value for value in vars(frames).values() if isinstance(value, type)]
    for cls in classes:
        found = getattr(cls, "references", ())
        assert not isinstance(found, tuple) or set(found) <= set(BIBLIOGRAPHY), cls


def test_bibliography_is_well_formed():
    for key, entry in BIBLIOGRAPHY.items():
        assert entry.split("{")[1].rstrip().rstrip(",").split(",")[0] == key
        assert entry.count("{") == entry.count("}")
        for field in ("title", "author", "year"):
            assert f"  {field} = {{" in entry
