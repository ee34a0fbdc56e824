"""The demonstration at a reduced size: its bounds, its files, and that it can fail."""

from __future__ import annotations

import builtins
import json
import re

import pytest
import torch
from torch import nn

pytest.importorskip("ase")
pytest.importorskip("sklearn")

import coset
from coset import symmetrized
from coset.demo import Missed, Settings, bounds, main, molecules, tables
from coset.demo.compare import against_bare, relative
from coset.demo.data import load_digits, load_molecules
from coset.demo.networks import CANVAS, Classifier, Painter, cloud, cnn, paint, transformer
from coset.errors import MissingExtraError

SMALL = Settings.small()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def results(folder):
    return main(folder, settings=SMALL)


@pytest.fixture(scope="module")
def saved(results, folder):
    return json.loads((folder / "results.json").read_text())


def rows(results, part):
    found = results["molecules"]["rows"] if part == "molecules" else results["digits"]["parts"][part]
    return {row["name"]: row for row in found}


def test_every_bound_is_met_and_the_json_says_what_was_returned(results, saved):
    assert saved["passed"]
    assert all(record["met"] for record in saved["bounds"])
    assert saved == json.loads(json.dumps(results))


def test_molecules_are_broken_before_and_exact_after(saved):
    found = rows(saved, "molecules")
    assert list(found) == ["bare", "full average", "quadrature", "PCA", "minimal", "minimal, turns"]
    for name, row in found.items():
        assert row["before"] > 1e-1
        if name not in ("bare", "quadrature"):
            assert row["error"] < 1e-5
            assert row["exact"]
            assert max(row["components"].values()) < 1e-5
    assert set(found["minimal"]["components"]) == set(found["PCA"]["components"]) == {"rotation", "reflection", "translation"}


def test_approximations_are_shown_as_such(saved):
    found = rows(saved, "molecules")
    assert not found["quadrature"]["exact"]
    assert 1e-5 < found["quadrature"]["error"] < 1e-1
    assert found["quadrature"]["residual"] > 1e-3
    assert found["full average"]["everywhere"] > 1e-1
    assert found["minimal"]["everywhere"] < 1e-5


def test_a_minimal_frame_calls_the_model_once(saved):
    for part in ("molecules", "C4", "D4"):
        found = rows(saved, part)
        assert found["minimal"]["samples"] == 1.0
        assert found["minimal"]["cost"] > 0
    assert rows(saved, "molecules")["full average"]["samples"] == 24
    assert rows(saved, "C4")["PCA"]["samples"] == 2


@pytest.mark.parametrize("part", ["C4", "D4"])
def test_rotated_accuracy_is_the_upright_one(saved, part):
    found = rows(saved, part)
    for name, row in found.items():
        if name == "bare":
            assert row["rotated"] < row["upright"] - 0.2
        else:
            assert row["error"] < 1e-5
            assert set(row["by_element"]) == {row["upright"]}
            assert row["rotated"] == row["upright"]
        if part == "D4" and name != "bare":
            assert row["mirrored"] == row["upright"]


def test_the_wrapped_model_is_the_average_of_the_bare_one(saved):
    for part in ("molecules", "C4", "D4"):
        for name, row in rows(saved, part).items():
            if name != "bare":
                assert row["distance"] < 1e-5
                assert row["size"] > 1e-2
                assert row["variation"] > 1e-2
    turns = rows(saved, "molecules")["minimal, turns"]
    assert turns["canonical"] < 1e-5
    assert turns["generic"] >= 5


def test_the_page_needs_no_other_file_and_holds_every_number(saved, folder):
    text = (folder / "report.html").read_text()
    assert not re.search(r"(src|href)=|https?://|@import|url\(", text)
    assert text.count("<svg") > 20
    for _, title, columns, found in tables.tables(saved):
        assert title in text
        for row in found:
            for column in columns:
                assert column.text(row).replace("'", "&#x27;") in text
    for record in saved["bounds"]:
        assert record["what"].replace("'", "&#x27;") in text


def test_the_environment_is_recorded(saved):
    found = saved["environment"]
    assert found["torch"] == torch.__version__
    assert found["coset"] == coset.__version__
    assert (found["seed"], found["dtype"], found["threads"]) == (0, "float32", 1)
    assert found["seconds"] > 0
    assert len(found["stages"]) == 16
    assert found["settings"]["molecules"] == SMALL.molecules


def test_what_is_printed_names_the_files_and_stands_in_the_json(saved, folder, capsys):
    from rich.console import Console

    tables.show(Console(width=120), saved)
    text = capsys.readouterr().out
    for _, _, columns, found in tables.tables(saved):
        for row in found:
            for column in columns:
                assert column.text(row) in text
    assert "…" not in text


TINY = Settings(molecules=8, elements=2, few=1, wide=3, train=128, test=30, audited=6, steps=2, rounds=1)


class Constant(nn.Module):
    def __init__(self, value):
        super().__init__()
        self.register_buffer("value", torch.as_tensor(value))

    def forward(self, pos, z, mask):
        return self.value.expand_as(pos) * mask.unsqueeze(-1)


@pytest.mark.parametrize(("value", "complaint"), [((1.0, 2.0, 3.0), "variation"), ((0.0, 0.0, 0.0), "error before")])
def test_a_constant_model_does_not_pass(tmp_path, capsys, value, complaint):
    with pytest.raises(Missed, match=complaint):
        main(tmp_path, settings=TINY, network=Constant(value))
    out = "".join(capsys.readouterr().out.split())
    assert "report.html" in out
    found = json.loads((tmp_path / "results.json").read_text())
    assert not found["passed"]
    assert "bounds are missed" in (tmp_path / "report.html").read_text()


class Lazy(coset.Symmetrized):
    def forward(self, *args, **kwargs):
        found = super().forward(*args, **kwargs)
        return torch.ones_like(found) * kwargs["mask"].unsqueeze(-1)


def test_a_symmetrizer_that_returns_a_constant_is_far_from_the_bare_model():
    data = load_molecules(TINY)
    net = transformer(0)
    method = molecules.methods()[-2]
    kind = molecules.signature(method.group)
    honest = against_bare(symmetrized.symmetrize(net, kind, method.frame), net, data.inputs, molecules.mean_vector)
    lazy = against_bare(Lazy(net, kind, method.frame), net, data.inputs, molecules.mean_vector)
    assert honest["distance"] < 1e-5 < 0.5 < lazy["distance"]
    assert lazy["variation"] < 1e-2


def test_the_same_seed_gives_the_same_numbers():
    data = load_molecules(TINY)
    one, two = (molecules.run(TINY, data, lambda name: None) for _ in range(2))
    clock = {"cost", "seconds", "bare_seconds"}
    for a, b in zip(one["rows"], two["rows"], strict=True):
        assert {k: v for k, v in a.items() if k not in clock} == {k: v for k, v in b.items() if k not in clock}


def test_the_split_follows_the_seed_and_does_not_overlap():
    one, other = load_digits(Settings(seed=0)), load_digits(Settings(seed=1))
    assert len(one.train) + len(one.test) == 1797
    assert not torch.equal(one.train, other.train)
    assert torch.equal(one.train, load_digits(Settings(seed=0)).train)


def test_painted_ink_on_the_grid_is_the_image():
    data = load_digits(TINY)
    ink = cloud(data.test)
    painted = paint(ink["pos"], ink["ink"])
    room = (CANVAS - 8) // 2
    assert torch.equal(painted, nn.functional.pad(data.test, (room,) * 4))
    net = cnn(0)
    assert torch.equal(Painter(net)(**ink), Classifier(net)(data.test))


def test_molecules_are_centred_and_padded():
    data = load_molecules(Settings())
    assert (len(data.names), data.pos.shape[1:], int(data.mask.sum())) == (162, (14, 3), 860)
    assert data.pos.sum(1).abs().max() < 1e-4
    assert not data.pos[~data.mask].any()


def test_bounds_refuse_numbers_that_are_missing_or_not_finite():
    for value in (None, float("nan"), float("inf")):
        assert not bounds.bound("x", value, ">", 0.0)["met"]
    assert bounds.bound("x", 1.0, "=", 1.0)["met"]


def test_relative_distance():
    assert relative(torch.tensor([1.0, 1.0]), torch.tensor([2.0, 2.0])) == pytest.approx(0.5)


@pytest.mark.parametrize(("module", "extra", "load"), [("ase", "atoms", load_molecules), ("sklearn", "images", load_digits)])
def test_a_missing_neighbour_is_named_with_its_extra(monkeypatch, module, extra, load):
    original = builtins.__import__

    def absent(name, *args, **kwargs):
        if name.partition(".")[0] == module:
            raise ImportError(name)
        return original(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(MissingExtraError, match=re.escape(f"pip install 'coset[{extra}]'")):
        load(TINY)
