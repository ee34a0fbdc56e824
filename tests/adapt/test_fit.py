"""The loop: digits end to end, frozen and joint, and everything that a user can get wrong."""

from __future__ import annotations

import copy
import json
from functools import partial

import pytest
import torch
from torch import nn

from coset import CosetError, actions, adapt, assert_equivariant, frames, groups, symmetrize
from tests.adapt.parts import (
    ADAM,
    C4,
    CLASSES,
    IMAGES,
    Turns,
    canonicalizer,
    digits,
    fit,
    tiny,
    tiny_data,
    tiny_predictor,
    trained_predictor,
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


def test_joint_training_moves_the_statistics_of_batchnorm():
    predictor = nn.Sequential(nn.BatchNorm2d(1), *tiny_predictor())
    fit(predictor=predictor, loss=adapt.Task(), options=adapt.Options(optimizer=ADAM, predictor_rate=0.5))
    assert predictor[0].running_mean.abs() > 0.1
    assert predictor[0].num_batches_tracked == 4


def rates(predictor, lr=0.1, frame=None):
    """The learning rates of the groups of an optimizer."""
    options = adapt.Options(optimizer=partial(torch.optim.SGD, lr=lr), predictor_rate=0.5)
    return [float(group["lr"]) for group in adapt.make_optimizer(symmetrize(predictor, CLASSES, frame or tiny()), options).param_groups]


def test_the_share_of_the_rate_is_the_predictors_alone():
    assert rates(tiny_predictor()) == [0.1, 0.05]
    assert rates(nn.Flatten()) == [0.1]  # a predictor without weights leaves the canonicalizer's rate as it is
    assert rates(tiny_predictor(), lr=torch.tensor(0.5)) == [0.5, 0.25]  # a rate that is a tensor is not shared
    both = nn.Sequential(nn.Flatten(), nn.Linear(16, 1))
    assert rates(both, frame=frames.Canonicalizer(Turns(both))) == [0.1]  # what is in both learns at the canonicalizer's rate


def test_a_schedule_by_the_loss_sees_the_loss():
    options = adapt.Options(
        epochs=4,
        optimizer=partial(torch.optim.SGD, lr=1e-6),
        schedule=lambda optimizer, _: seen.append(torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0)) or seen[0],
    )
    seen = []
    fit(options=options)
    assert seen[0].best < 10
    assert seen[0].optimizer.param_groups[0]["lr"] < 2e-7


def test_poses_that_are_common_already_survive_realignment():
    frame = tiny()
    fit(frame, options=adapt.Options(epochs=60, optimizer=ADAM))
    x = torch.cat([x for x, _ in tiny_data()])
    rounds = adapt.realign(frame, tiny_data(), signature=CLASSES, rounds=3, options=adapt.Options(epochs=10, optimizer=ADAM))
    assert (frame.bind(IMAGES).eval()(x).elements[0] == 0).all()
    assert rounds[-1].changed == 0.0


def test_assigned_poses_do_not_move_with_the_frame_that_gave_them():
    frame = tiny()
    loss = adapt.Assigned(frame.bind(IMAGES).train())
    before = [p.clone() for p in loss.teacher.parameters()]
    fit(frame, loss=loss + adapt.IdentityPrior())
    assert all(torch.equal(p, q) for p, q in zip(before, loss.teacher.parameters(), strict=True))
    assert not any(torch.equal(p, q) for p, q in zip(before, frame.parameters(), strict=True))


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


# -- what can go wrong --------


class Changing(nn.Module):
    """A predictor that returns a tuple in one call, by default the third; an epoch has four."""

    def __init__(self, call=3):
        super().__init__()
        self.net, self.calls, self.call = tiny_predictor(), 0, call

    def forward(self, x):
        self.calls += 1
        y = self.net(x)
        return (y,) if self.calls == self.call else y


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
        (lambda: fit(loss=lambda step: torch.zeros(step.samples)), "without gradients.*on continuous groups use frames.Canonicalizer"),
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
        (lambda: fit(predictor=tiny_predictor(), loader=[x for x, _ in tiny_data()], loss=adapt.Task()), "without targets"),
        (lambda: fit(predictor=Changing(6), loss=adapt.Task()), r"returned tuple\(0: Tensor of 2 axes\) after"),
        (lambda: fit(loss=adapt.Contrastive(adapt.Reference(nn.Flatten(), 16))), "reaches none of the weights"),
        (lambda: fit(validate=lambda model: 0.9), "float from validate"),
        (lambda: fit(validate=lambda model: {"loss": 0.9}), "names other than"),
        (lambda: adapt.Options(epochs=True), "positive number of epochs"),
        (lambda: adapt.Options(optimizer=3), "a callable"),
        (lambda: adapt.Options(schedule=3), "a callable"),
        (lambda: adapt.Options(predictor_rate=float("inf")), "zero"),
        (lambda: adapt.Options(predictor_rate="all"), "zero"),
        (lambda: float("nan") * adapt.IdentityPrior(), "a finite number"),
        (lambda: adapt.realign(tiny(), iter(tiny_data()), signature=CLASSES, rounds=1), "gone through again"),
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


def test_weights_that_are_not_finite_reach_no_checkpoint(tmp_path):
    def root(step):
        nothing = 0 * step.log_probabilities[:, 0]
        return nothing.square().sqrt()  # zero, with the gradient 0 / 0

    with pytest.raises(CosetError, match="not finite after epoch 1"):
        fit(loss=root, loader=tiny_data()[:1], folder=tmp_path)
    assert not (tmp_path / "checkpoint.json").exists()


def test_a_predictor_that_raises_leaves_modes_and_flags():
    class Broken(nn.Linear):
        def forward(self, x):
            raise ZeroDivisionError("boom")

    predictor = Broken(1, 1).train()
    for call in (lambda: fit(predictor=predictor, loss=adapt.Task()), lambda: fit(loss=adapt.ModelPrior(predictor))):
        with pytest.raises(ZeroDivisionError, match="boom"):
            call()
        assert predictor.training
        assert predictor.weight.requires_grad


def test_a_progress_bar_where_it_is_asked_for(capfd):
    fit(progress=True)
    assert "epoch 3/3" in capfd.readouterr().err
    fit(progress=None)
    assert "epoch" not in capfd.readouterr().err
