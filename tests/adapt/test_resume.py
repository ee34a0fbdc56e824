"""Checkpoints: resume after a kill, on one process and on two, and what is refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from coset import CosetError, actions, adapt, frames, groups, symmetrize
from tests.adapt import killed
from tests.adapt.parts import ADAM, CLASSES, Turns, canonicalizer, fit, tiny, tiny_data, tiny_predictor

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent


def run(*arguments):
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}", "OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, *map(str, arguments)], env=environment, capture_output=True, text=True, timeout=240)


@pytest.mark.slow
def test_a_killed_fit_loses_less_than_an_epoch_and_ends_bit_by_bit_the_same(tmp_path):
    with torch.random.fork_rng():
        killed.main(str(tmp_path / "whole"), str(tmp_path / "whole.pt"))
    cut = run(HERE / "killed.py", tmp_path / "cut", tmp_path / "cut.pt", 3, 4)
    assert cut.returncode == -9
    assert not (tmp_path / "cut.pt").exists()
    assert json.loads((tmp_path / "cut" / "checkpoint.json").read_text())["epochs"] == 3
    rest = run(HERE / "killed.py", tmp_path / "cut", tmp_path / "cut.pt")
    assert rest.returncode == 0, rest.stderr
    one, two = (torch.load(tmp_path / name, weights_only=True) for name in ("whole.pt", "cut.pt"))
    assert (one["resumed"], two["resumed"]) == (0, 3)
    assert one["history"] == two["history"]
    assert torch.equal(one["random"], two["random"])
    assert all(torch.equal(value, two["weights"][key]) for key, value in one["weights"].items())
    once = torch.load(tmp_path / "whole.pt", weights_only=True)["weights"]
    assert any(not torch.equal(value, torch.zeros_like(value)) for value in once.values())


def test_a_finished_fit_is_read_back_without_training(tmp_path):
    first = fit(folder=tmp_path / "a")
    again = fit(tiny(seed=5), folder=tmp_path / "a")
    assert again.resumed == 3
    assert again.history == first.history
    for one, two in zip(first.model.frame.parameters(), again.model.frame.parameters(), strict=True):
        assert torch.equal(one, two)
    more = fit(folder=tmp_path / "a", options=adapt.Options(epochs=4, optimizer=ADAM))
    assert (more.resumed, len(more.history)) == (3, 4)
    assert len(list((tmp_path / "a").iterdir())) == 3  # old files are gone


def damage(folder, kind):
    pointer = json.loads((folder / "checkpoint.json").read_text())
    if kind == "pointer":
        (folder / "checkpoint.json").write_text("{")
    elif kind == "missing":
        (folder / pointer["files"]["state"]).unlink()
    elif kind == "digests":
        (folder / "checkpoint.json").write_text(json.dumps({**pointer, "sha256": 3}))
    elif kind == "format":
        (folder / "checkpoint.json").write_text(json.dumps({**pointer, "format": "other 7"}))
    elif kind == "cut short":
        file = folder / pointer["files"]["weights"]
        file.write_bytes(file.read_bytes()[:-4])
    elif kind == "flipped bit":
        file = folder / pointer["files"]["weights"]
        data = bytearray(file.read_bytes())
        data[-1] ^= 1
        file.write_bytes(bytes(data))


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("pointer", "cannot be read"),
        ("missing", "is missing"),
        ("format", "format 'other 7'"),
        ("digests", "cannot be read"),
        ("cut short", "content"),
        ("flipped bit", "content"),
    ],
)
def test_a_damaged_checkpoint_is_refused_with_its_file(tmp_path, kind, message):
    fit(folder=tmp_path)
    damage(tmp_path, kind)
    with pytest.raises(CosetError, match=message):
        fit(folder=tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {
                "signature": actions.Image(groups.Cyclic(2)) >> actions.Trivial(groups.Cyclic(2)),
                "frame": frames.Canonicalizer(Turns(nn.Linear(1, 1), actions.Image(groups.Cyclic(2)))),
            },
            "signature",
        ),
        ({"frame": canonicalizer()}, "canonicalizer"),
        ({"predictor": tiny_predictor(seed=4)}, "predictor"),
        ({"loss": 2 * adapt.IdentityPrior()}, "loss"),
        ({"options": adapt.Options(epochs=3, optimizer=partial(torch.optim.SGD, lr=0.1))}, "optimizer"),
    ],
)
def test_a_checkpoint_of_another_fit_is_refused_with_the_difference(tmp_path, change, message):
    fit(predictor=tiny_predictor(), folder=tmp_path)
    with pytest.raises(CosetError, match=f"of something else: .*{message}"):
        fit(**{"predictor": tiny_predictor(), "folder": tmp_path, **change})


def test_without_safetensors_the_error_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    with pytest.raises(CosetError, match=r"coset\[train\]"):
        fit(folder=tmp_path)
    assert not (tmp_path / "checkpoint.json").exists()
    fit()  # without checkpoints it is not needed


# -- two processes --------


@pytest.mark.slow
def test_two_processes_end_where_one_ends_with_batches_twice_as_large(tmp_path):
    from tests.adapt.two import train

    launch = ["-m", "torch.distributed.run", "--nproc-per-node", 2, "--master-port", 29511 + os.getpid() % 400, HERE / "two.py"]
    done = run(*launch, tmp_path / "result", tmp_path / "folder")
    assert done.returncode == 0, done.stderr[-3000:]
    one, two = (torch.load(tmp_path / f"result.{rank}", weights_only=True) for rank in (0, 1))
    single = train(tiny_data())
    for key, value in single.model.state_dict().items():
        assert torch.equal(one["weights"][key], two["weights"][key])
        assert torch.allclose(one["weights"][key], value, atol=1e-5)
        assert not torch.allclose(value, {**tiny_state()}[key], atol=1e-3)  # it did train
    assert one["history"] == two["history"]
    assert one["same"]
    assert two["same"]
    assert one["resumed"] == two["resumed"] == 2
    assert not torch.equal(one["random"], two["random"])  # each process has its own
    for here, there in zip(single.history, one["history"], strict=True):
        assert abs(here["loss"] - there["loss"]) < 1e-5
    assert json.loads((tmp_path / "folder" / "checkpoint.json").read_text())["epochs"] == 3


def tiny_state():
    return symmetrize(tiny_predictor(), CLASSES, tiny()).state_dict()


# -- what resuming means --------


SCHEDULES = {
    "CosineAnnealingLR": lambda optimizer, epochs: torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs),
    "OneCycleLR": lambda optimizer, epochs: torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=epochs + 1),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_for_another_number_of_epochs_is_refused(tmp_path, name):
    options = lambda epochs: adapt.Options(epochs=epochs, optimizer=ADAM, schedule=SCHEDULES[name])  # noqa: E731
    fit(folder=tmp_path, options=options(2))
    assert fit(folder=tmp_path, options=options(2)).resumed == 2
    with pytest.raises(CosetError, match=r"(T_max|total_steps) of the schedule '[23]' there, '[56]' here"):
        fit(folder=tmp_path, options=options(5))


def test_schedules_that_do_not_count_epochs_go_on(tmp_path):
    built = []

    def steps(optimizer, epochs):
        built.append(optimizer)
        return torch.optim.lr_scheduler.MultiStepLR(optimizer, [1, 3])

    fit(folder=tmp_path, options=adapt.Options(epochs=2, optimizer=ADAM, schedule=steps))
    fit(folder=tmp_path, options=adapt.Options(epochs=4, optimizer=ADAM, schedule=steps))
    assert built[1].param_groups[0]["lr"] == pytest.approx(1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"optimizer": partial(torch.optim.Adam, lr=1e-4)}, "lr of group 0 '0.01' there, '0.0001' here"),
        ({"optimizer": partial(torch.optim.Adam, lr=1e-2, weight_decay=0.1)}, "weight_decay of group 0"),
        ({"predictor_rate": 0.2}, "lr of group 1 '0.001' there, '0.002' here"),
        ({"clip": 2.0}, "clip 'None' there, '2.0' here"),
        ({"precision": torch.bfloat16}, "precision 'None' there, 'torch.bfloat16' here"),
    ],
)
def test_other_numbers_are_not_mixed_into_a_fit(tmp_path, change, message):
    start = {"epochs": 2, "optimizer": ADAM, "predictor_rate": 0.1}
    call = {"loss": adapt.Task() + adapt.IdentityPrior(), "folder": tmp_path}
    fit(predictor=tiny_predictor(), options=adapt.Options(**start), **call)
    with pytest.raises(CosetError, match=message):
        fit(predictor=tiny_predictor(), options=adapt.Options(**start | change), **call)


def test_fewer_epochs_than_a_checkpoint_has_are_refused(tmp_path):
    fit(folder=tmp_path)
    with pytest.raises(CosetError, match="a checkpoint of 3 epochs"):
        fit(folder=tmp_path, options=adapt.Options(epochs=2, optimizer=ADAM))


def test_numbers_of_numpy_can_be_read_again(tmp_path):
    optimizer = partial(torch.optim.Adam, lr=np.float64(1e-2))
    fit(folder=tmp_path, options=adapt.Options(epochs=1, optimizer=optimizer))
    assert fit(folder=tmp_path, options=adapt.Options(epochs=2, optimizer=optimizer)).resumed == 1


class Opaque(torch.optim.lr_scheduler.LambdaLR):
    """A schedule whose state holds an object."""

    def __init__(self, optimizer):
        self.extra = adapt.Options()
        super().__init__(optimizer, lambda epoch: 1.0)


def test_state_that_could_not_be_read_again_is_refused_when_it_is_written(tmp_path):
    with pytest.raises(CosetError, match="numbers, strings and tensors"):
        fit(folder=tmp_path, options=adapt.Options(epochs=1, optimizer=ADAM, schedule=lambda o, _: Opaque(o)))
    assert not (tmp_path / "checkpoint.json").exists()


def test_a_partial_function_has_one_name_in_every_process():
    loss = adapt.Task(partial(adapt.squared_error)) + adapt.Function(partial(lambda step: step.score("entropy")))
    assert "0x" not in repr(loss)


def test_places_that_cannot_be_written_are_refused_before_training(tmp_path):
    (tmp_path / "file").write_text("")
    seen = []
    with pytest.raises(CosetError, match="cannot be written"):
        fit(folder=tmp_path / "file", loss=lambda step: seen.append(1) or -step.log_probabilities[:, 0])
    assert not seen
    with pytest.raises(CosetError, match="cannot be written"):
        adapt.save_weights(tiny(), tmp_path / "file" / "weights.safetensors")
    with pytest.raises(CosetError, match="is no file"):
        adapt.load_weights(tiny(), tmp_path)


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.mark.parametrize("writes", range(1, 10))
def test_a_kill_at_any_write_leaves_a_whole_checkpoint(tmp_path, monkeypatch, writes):
    """An epoch writes three files, after one to see whether the folder can be used."""
    replace, calls = os.replace, [0]

    def die(source, target):
        if calls[0] == writes:
            raise Killed
        calls[0] += 1
        replace(source, target)

    monkeypatch.setattr(os, "replace", die)
    with pytest.raises(Killed):
        fit(folder=tmp_path)
    monkeypatch.undo()
    rest = fit(tiny(seed=0 if writes <= 3 else 3), folder=tmp_path)
    assert rest.resumed == (writes - 1) // 3
    assert rest.history == fit().history


def test_what_a_killed_write_left_behind_is_cleaned_up(tmp_path):
    (tmp_path / ".epoch-00001.safetensors.77").write_text("half")
    fit(folder=tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["checkpoint.json", "epoch-00003.safetensors", "epoch-00003.state.pt"]


def test_workers_and_samplers_of_batches_resume_bit_by_bit(tmp_path):
    data = torch.utils.data.TensorDataset(*map(torch.cat, zip(*tiny_data(), strict=True)))

    def train(folder, epochs):
        sampler = torch.utils.data.RandomSampler(data, generator=torch.Generator().manual_seed(3))
        batches = torch.utils.data.BatchSampler(sampler, 8, drop_last=False)
        loader = torch.utils.data.DataLoader(data, batch_sampler=batches, num_workers=1)
        return fit(loader=loader, folder=folder, options=adapt.Options(epochs=epochs, optimizer=ADAM))

    whole = train(tmp_path / "whole", 3)
    train(tmp_path / "cut", 1)
    assert train(tmp_path / "cut", 3).history == whole.history
