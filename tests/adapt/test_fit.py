"""The loop: digits end to end, frozen and joint, resume after a kill, two processes, and everything that a user can get wrong."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

from coset import CosetError, actions, adapt, assert_equivariant, frames, groups, symmetrize
from tests.adapt.parts import ADAM, C4, CLASSES, IMAGES, Turns, canonicalizer, digits, tiny, tiny_data, tiny_predictor, trained_predictor

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent


def fit(frame=None, predictor=None, loader=None, **more):
    """A quick fit."""
    options = more.pop("options", adapt.Options(epochs=3, optimizer=ADAM))
    return adapt.fit(
        frame or tiny(),
        predictor,
        tiny_data() if loader is None else loader,
        signature=more.pop("signature", CLASSES),
        options=options,
        **more,
    )


# -- digits --------


@pytest.mark.slow
def test_a_frozen_reader_of_upright_digits_reads_them_in_every_pose():
    x, y, tx, ty = digits()
    predictor = trained_predictor(x, y)
    before = copy.deepcopy(predictor.state_dict())
    test = [(tx, ty)]
    bare = adapt.accuracy(predictor, test, IMAGES)
    assert 0.3 < bare.averaged.mean < 0.5
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), 64, shuffle=True)
    options = adapt.Options(
        epochs=20,
        optimizer=partial(torch.optim.Adam, lr=3e-3),
        schedule=lambda optimizer, epochs: torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs),
    )
    frame = canonicalizer(seed=1)
    fitted = adapt.fit(frame, predictor, loader, signature=CLASSES, options=options)
    found = adapt.accuracy(fitted.model, test, IMAGES)
    assert found.averaged.mean > 0.95
    assert abs(found.averaged.mean - found.upright.mean) < 1e-9  # exact: the pose does not matter
    assert found.minus(bare)[1].low > 0.5
    assert all(torch.equal(value, before[key]) for key, value in predictor.state_dict().items())
    assert_equivariant(fitted.model, CLASSES, tx[:8], bound=1e-5)
    torch.manual_seed(5)  # transfer: the same canonicalizer in front of another predictor, without training
    other = trained_predictor(x.flip(0), y.flip(0), epochs=8)
    moved = adapt.accuracy(symmetrize(other, CLASSES, frame), test, IMAGES)
    assert moved.averaged.mean > 0.9
    assert moved.averaged.mean > adapt.accuracy(other, test, IMAGES).averaged.mean + 0.4


@pytest.mark.slow
def test_alike_digits_come_out_more_alike_after_realignment():
    x, _, tx, ty = digits()
    g = torch.Generator().manual_seed(0)
    moved = IMAGES.act(C4.haar(len(x), generator=g), x)

    def purity(frame):
        with torch.no_grad():
            poses = frame.bind(IMAGES).eval()(tx).elements[0]
        return sum(torch.bincount(poses[ty == k], minlength=4).max().item() / (ty == k).sum().item() for k in range(10)) / 10

    frame = canonicalizer(seed=2)
    before = purity(frame)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(moved), 64, shuffle=True)
    options = adapt.Options(epochs=1, optimizer=partial(torch.optim.Adam, lr=3e-3))
    rounds = adapt.realign(frame, loader, signature=CLASSES, rounds=4, options=options)
    assert purity(frame) > before + 0.05
    assert rounds[-1].changed < rounds[0].changed
    assert rounds[-1].loss < rounds[0].loss


# -- frozen, joint, transferred --------


def test_a_frozen_predictor_keeps_weights_statistics_modes_and_flags():
    predictor = nn.Sequential(nn.BatchNorm2d(1), *tiny_predictor()).train()
    predictor[2].bias.requires_grad_(False)
    before = copy.deepcopy(predictor.state_dict())
    seen = []
    fitted = fit(predictor=predictor, loss=adapt.Task() + (lambda s: seen.append(predictor.training) or s.score("entropy")))
    assert all(torch.equal(value, before[key]) for key, value in predictor.state_dict().items())
    assert not any(seen)
    assert [p.requires_grad for p in predictor.parameters()] == [True, True, True, False]
    assert not fitted.model.training
    assert "frozen" not in repr(fitted)


def test_joint_training_moves_both_by_their_own_rates():
    sgd = partial(torch.optim.SGD, lr=0.1)
    one, two = tiny_predictor(), tiny_predictor()
    start = copy.deepcopy(one.state_dict())
    short = [tiny_data()[0]]
    fit(predictor=one, loader=short, loss=adapt.Task(), options=adapt.Options(optimizer=sgd, predictor_rate=1.0))
    fit(predictor=two, loader=short, loss=adapt.Task(), options=adapt.Options(optimizer=sgd, predictor_rate=0.1))
    moved = [net[1].weight.detach() - start["1.weight"] for net in (one, two)]
    assert moved[0].abs().max() > 1e-3
    assert torch.allclose(0.1 * moved[0], moved[1], atol=1e-7)


def test_the_loss_falls_and_the_history_names_its_parts():
    frame = tiny()
    fitted = fit(
        frame,
        tiny_predictor(),
        loss=adapt.Task() + adapt.IdentityPrior(),
        options=adapt.Options(epochs=15, optimizer=ADAM),
        validate=lambda m: {"training": m.training},
    )
    assert len(fitted.history) == 15
    assert set(fitted.history[0]) == {"loss", "Task", "IdentityPrior", "training"}
    assert fitted.history[-1]["loss"] < fitted.history[0]["loss"]
    assert fitted.history[0]["training"] == 0.0
    for row in fitted.history:
        assert abs(row["loss"] - row["Task"] - row["IdentityPrior"]) < 1e-6
    assert fitted.model.frame.network is frame.network


def test_a_plain_loop_ends_where_fit_ends():
    fitted = fit(predictor=tiny_predictor(), loss=adapt.Task() + adapt.IdentityPrior())
    frame, predictor = tiny(), tiny_predictor().requires_grad_(False)
    objective = adapt.Objective(symmetrize(predictor, CLASSES, frame), adapt.Task() + adapt.IdentityPrior())
    optimizer = ADAM(list(frame.parameters()))
    for _ in range(3):
        for x, y in tiny_data():
            optimizer.zero_grad()
            objective(x, y).loss.backward()
            optimizer.step()
    for one, two in zip(frame.parameters(), fitted.model.frame.parameters(), strict=True):
        assert torch.equal(one, two)


def test_batches_come_as_tuples_mappings_and_tensors():
    ends = []
    for change in (
        lambda x, y: (x, y),
        lambda x, y: [x, y, torch.arange(len(x))],
        lambda x, y: {"inputs": x, "targets": y},
        lambda x, _: x,
    ):
        ends.append(fit(loader=[change(x, y) for x, y in tiny_data()]).history[-1]["loss"])
    assert len(set(ends)) == 1


def test_mixed_precision_trains_in_full_precision_weights():
    fitted = fit(
        predictor=tiny_predictor(),
        loss=adapt.Task() + adapt.IdentityPrior(),
        options=adapt.Options(epochs=6, optimizer=ADAM, precision=torch.bfloat16, clip=0.5),
    )
    assert {p.dtype for p in fitted.model.parameters()} == {torch.float32}
    assert fitted.history[-1]["loss"] < fitted.history[0]["loss"]


def test_clipping_bounds_a_step_of_plain_descent():
    frame = tiny()
    start = [p.detach().clone() for p in frame.parameters()]
    fit(frame, loader=[tiny_data()[0]], options=adapt.Options(optimizer=partial(torch.optim.SGD, lr=1.0), clip=1e-3))
    moved = torch.cat([(p - s).flatten() for p, s in zip(frame.parameters(), start, strict=True)]).norm()
    assert abs(float(moved) - 1e-3) < 1e-5


def test_weights_travel_in_one_file(tmp_path):
    frame = tiny()
    fit(frame)
    adapt.save_weights(frame, tmp_path / "frame.safetensors")
    other = tiny(seed=9)
    adapt.load_weights(other, tmp_path / "frame.safetensors")
    x = torch.rand(5, 1, 4, 4)
    assert torch.equal(frame.network(x, None), other.network(x, None))
    with pytest.raises(CosetError, match="do not fit Canonicalizer"):
        adapt.load_weights(canonicalizer(), tmp_path / "frame.safetensors")
    with pytest.raises(CosetError, match="does not exist"):
        adapt.load_weights(frame, tmp_path / "none.safetensors")
    (tmp_path / "text.safetensors").write_text("not tensors")
    with pytest.raises(CosetError, match="damaged"):
        adapt.load_weights(frame, tmp_path / "text.safetensors")


# -- killed and resumed --------


def run(*arguments):
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}", "OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, *map(str, arguments)], env=environment, capture_output=True, text=True, timeout=240)


@pytest.mark.slow
def test_a_killed_fit_loses_less_than_an_epoch_and_ends_bit_by_bit_the_same(tmp_path):
    whole = run(HERE / "killed.py", tmp_path / "whole", tmp_path / "whole.pt")
    assert whole.returncode == 0, whole.stderr
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
    for here, there in zip(single.history, one["history"], strict=True):
        assert abs(here["loss"] - there["loss"]) < 1e-5
    assert json.loads((tmp_path / "folder" / "checkpoint.json").read_text())["epochs"] == 3


def tiny_state():
    return symmetrize(tiny_predictor(), CLASSES, tiny()).state_dict()


# -- what can go wrong --------


class Changing(nn.Module):
    """A predictor that returns a tuple in its third call."""

    def __init__(self):
        super().__init__()
        self.net, self.calls = tiny_predictor(), 0

    def forward(self, x):
        self.calls += 1
        y = self.net(x)
        return (y,) if self.calls == 3 else y


class Exploding(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1.0))

    def forward(self, x, noise):
        return x.flatten(1)[:, :4] * self.scale


def explode(step):
    return step.log_probabilities[:, 0] * torch.inf


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fit(loader=[]), "no batches from the loader"),
        (lambda: fit(loader=iter(tiny_data())), "gone through only once"),
        (lambda: fit(loader=[{"image": torch.rand(2, 1, 4, 4)}]), r"keys \['image'\]"),
        (lambda: fit(loader=["upright"]), "a str from the loader"),
        (lambda: fit(predictor=Changing(), loss=adapt.Task()), r"returned tuple\(0: Tensor of 2 axes\) after Tensor of 2 axes"),
        (lambda: fit(loss=adapt.Task()), "without a predictor"),
        (lambda: fit(loss=lambda step: torch.zeros(step.samples)), "without gradients"),
        (lambda: fit(loss=explode), "finite loss"),
        (
            lambda: fit(frames.Minimal(), signature=actions.Vectors(groups.Orthogonal(3)) >> actions.Trivial(groups.Orthogonal(3))),
            "without parameters",
        ),
        (
            lambda: fit(signature=actions.Image(groups.Cyclic(8)) >> actions.Trivial(groups.Cyclic(8))),
            r"one score per element, of shape \(8, 8\)",
        ),
        (
            lambda: fit(
                frames.Canonicalizer(Exploding()),
                signature=actions.Vectors(groups.Orthogonal(3)) >> actions.Trivial(groups.Orthogonal(3)),
                loader=[torch.rand(2, 5, 3)],
            ),
            "Orthogonal",
        ),
        (lambda: fit(loader=[torch.rand(4, 4)]), "axes"),
        (lambda: adapt.Options(epochs=0), "positive number of epochs"),
        (lambda: adapt.Options(clip=-1.0), "positive norm"),
        (lambda: adapt.Options(predictor_rate=-0.1), "zero"),
        (lambda: adapt.Options(precision=torch.int8), "bfloat16"),
        (lambda: adapt.realign(tiny(), tiny_data(), signature=CLASSES, rounds=0), "positive number of rounds"),
        (lambda: adapt.Objective(nn.Linear(1, 1), adapt.Task()), "a Symmetrized"),
        (lambda: adapt.Function(3), "a callable"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(CosetError, match=message):
        call()


def test_a_loss_that_is_not_finite_leaves_the_last_good_checkpoint(tmp_path):
    count = [0]

    def later(step):
        count[0] += 1
        return step.log_probabilities[:, 0] * (float("nan") if count[0] > 6 else 1.0)

    with pytest.raises(CosetError, match="epoch 2"):
        fit(loss=later, folder=tmp_path)
    assert json.loads((tmp_path / "checkpoint.json").read_text())["epochs"] == 1


def test_a_progress_bar_where_it_is_asked_for(capfd):
    fit(progress=True)
    assert "epoch 3/3" in capfd.readouterr().err
    fit(progress=None)
    assert "epoch" not in capfd.readouterr().err


# -- accuracy --------


def test_group_averaged_accuracy_is_the_mean_over_moved_test_sets():
    x, y = torch.rand(64, 1, 4, 4), torch.randint(0, 5, (64,))
    net = tiny_predictor()
    found = adapt.accuracy(net, [(x[:40], y[:40]), (x[40:], y[40:])], IMAGES)
    wanted = [float((net(torch.rot90(x, k, (-2, -1))).argmax(1) == y).float().mean()) for k in range(4)]
    assert found.per_element == pytest.approx(wanted)
    assert found.upright.mean == pytest.approx(wanted[0])
    assert found.averaged.mean == pytest.approx(sum(wanted) / 4)
    assert net.training


def test_masks_move_with_the_image():
    x = torch.rand(8, 1, 4, 6)
    masks = (x[:, 0] > 0.5).long()
    perfect = lambda x: torch.cat([0.5 - x, x - 0.5], 1)  # noqa: E731
    assert adapt.accuracy(perfect, [(x, masks)], IMAGES, labels=actions.Mask(C4)).per_element == [1.0] * 4
    x = torch.rand(8, 1, 4, 4)
    masks = (x[:, 0] > 0.5).long()
    assert min(adapt.accuracy(perfect, [(x, masks)], IMAGES).per_element[1:]) < 0.7


def test_intervals_cover_the_truth_and_pairing_narrows_them():
    g = torch.Generator().manual_seed(0)
    hits = {"upright": 0, "averaged": 0, "difference": 0}
    for _ in range(400):
        p = torch.rand(100, 1, generator=g, dtype=torch.float64)  # samples differ in difficulty: copies are correlated
        one = (torch.rand(100, 4, generator=g, dtype=torch.float64) < p).double().mT
        two = torch.where(torch.rand(4, 100, generator=g) < 0.2, (torch.rand(4, 100, generator=g) < 0.5).double(), one)
        a, b = adapt.Accuracy(one), adapt.Accuracy(two)
        for name, interval, truth in (("upright", a.upright, 0.5), ("averaged", a.averaged, 0.5), ("difference", a.minus(b)[1], 0.0)):
            hits[name] += interval.low <= truth <= interval.high
    assert all(0.92 <= count / 400 <= 0.98 for count in hits.values()), hits
    width = a.minus(b)[1].high - a.minus(b)[1].low
    assert width < 0.7 * (a.averaged.high - a.averaged.low + b.averaged.high - b.averaged.low)
    naive = adapt.Accuracy(one.reshape(1, -1)).upright
    assert naive.high - naive.low < 0.8 * (a.averaged.high - a.averaged.low)  # copies counted as independent: too narrow


def test_a_perfect_score_has_an_interval_too():
    found = adapt.Accuracy(torch.ones(4, 20, dtype=torch.float64)).averaged
    assert found.mean == 1.0
    assert 0.8 < found.low < 0.9
    assert adapt.Accuracy(-torch.rand(2, 20, dtype=torch.float64)).upright.high < 0


def test_what_cannot_be_evaluated_is_refused():
    with pytest.raises(CosetError, match="the identity first"):
        adapt.accuracy(tiny_predictor(), tiny_data(), actions.Image(groups.SpecialOrthogonal(2)))
    with pytest.raises(CosetError, match="no batches"):
        adapt.accuracy(tiny_predictor(), [], IMAGES)
    with pytest.raises(CosetError, match="same samples"):
        adapt.Accuracy(torch.ones(1, 2)).minus(adapt.Accuracy(torch.ones(1, 3)))
