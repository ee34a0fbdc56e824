"""Broken things are caught: wrong actions, one wrong bias, forces left behind, noise, modes."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from coset import actions, groups
from coset.actions.base import Action
from coset.auditing import assert_equivariant, audit

C2 = groups.Cyclic(2)
O3 = groups.Orthogonal(3)
E3 = groups.Euclidean(3)


def represent(matrix: torch.Tensor):
    """A claimed representation of Cyclic(2): the given matrix for the flip, one for the identity."""

    def function(k):
        eye = torch.eye(matrix.shape[0], dtype=matrix.dtype)
        return torch.where((k % 2 == 1)[..., None, None], matrix, eye)

    return function


def mirror(matrix) -> actions.Matrix:
    return actions.Matrix(C2, represent(torch.tensor(matrix)), degree=1)


RIGHT = [[-1.0, 0.0], [0.0, 1.0]]
TURN = [[0.0, -1.0], [1.0, 0.0]]  # its square is not one
STILL = [[1.0, 0.0], [0.0, 1.0]]


def test_right_mirror_passes():
    report = audit(lambda x: x.square().sum(-1), mirror(RIGHT) >> actions.Trivial(C2), torch.randn(6, 2))
    assert report.passed(1e-5)
    assert report.action_error < 1e-6


def test_mirror_that_is_not_an_involution_is_caught_though_its_own_loss_is_zero():
    report = audit(lambda x: x.square().sum(-1), mirror(TURN) >> actions.Trivial(C2), torch.randn(6, 2))
    assert report.error < 1e-6  # the norm does not see the turn
    assert not report.passed(1e-2)
    assert not report.passed()
    assert report.action_error > 0.5
    assert any("breaks the law of composition" in text for text in report.failures)
    assert any(not law.holds for law in report.laws)


def test_mirror_that_moves_nothing_is_caught():
    report = audit(lambda x: x[:, 0], mirror(STILL) >> actions.Trivial(C2), torch.randn(6, 2))
    assert report.error == 0
    assert not report.passed(1.0)
    assert "leaves these inputs where they are" in report.failures[0]
    assert "Failed" in str(report)


def test_wrong_output_action_is_caught():
    # f(x) = 0.5 x declared with a wrong mirror on the output side only
    report = audit(lambda x: 0.5 * x, mirror(RIGHT) >> mirror(TURN), torch.randn(6, 2))
    assert any("output" in text and "composition" in text for text in report.failures)
    assert not report.passed(100.0)


def test_action_in_the_wrong_order_is_caught():
    class Backwards(actions.Vectors):
        """Uses the inverse: a right action."""

        def act(self, g, x, at=None):
            return super().act(self.group.inverse(g), x, at)

    report = audit(lambda x: x.norm(dim=-1), Backwards(O3) >> actions.Trivial(O3), torch.randn(6, 3))
    assert report.error < 1e-6
    assert not report.passed(1.0)
    assert {law.law for law in report.laws if not law.holds} == {"composition"}


def test_action_with_a_wrong_identity_is_caught():
    class Grown(Action):
        def act(self, g, x, at=None):
            return x * 1.01

    report = audit(lambda x: x * 0 + 1, Grown(C2) >> actions.Trivial(C2), torch.randn(6, 3))
    assert {law.law for law in report.laws if not law.holds} == {"identity", "composition", "inverse"}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_small_errors_of_an_action_are_caught_too(dtype):
    class Leaky(actions.Vectors):
        def act(self, g, x, at=None):
            return super().act(g, x, at) + 2e-3

    report = audit(lambda x: x, Leaky(O3) >> Leaky(O3), torch.randn(6, 3, dtype=dtype))
    assert not report.passed(1.0)


@pytest.mark.parametrize(
    "group", [groups.Lorentz(4), groups.GeneralLinear(3), groups.Affine(2), groups.SpecialLinear(2), groups.Scaling(2)], ids=repr
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_right_actions_of_non_compact_groups_are_not_accused(group, dtype):
    x = torch.randn(6, 4, group.dim, dtype=dtype)
    report = audit(lambda p: 2 * p - p, actions.Points(group) >> actions.Points(group), x)
    assert not report.failures
    assert report.passed(1e-3)


def test_one_wrong_bias_is_caught():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.mix = nn.Linear(4, 4, bias=False)
            self.bias = nn.Parameter(torch.zeros(4, 3))

        def forward(self, v):
            return self.mix(v.mT).mT + self.bias

    signature = actions.Vectors(O3) >> actions.Vectors(O3)
    model, x = Net(), torch.randn(8, 4, 3)
    assert audit(model, signature, x).passed(1e-5)
    with torch.no_grad():
        model.bias[2, 1] = 1e-2
    report = audit(model, signature, x)
    assert not report.passed(1e-4)
    assert report.error > 1e-4
    with pytest.raises(AssertionError) as caught:
        assert_equivariant(model, signature, x, bound=1e-4)
    text = str(caught.value)
    for piece in (
        "Net is not equivariant under Orthogonal(3) within 1.0e-04",
        "error:",
        "worst:",
        "element [[",
        "floor:",
        "rotation:",
        "reflection:",
    ):
        assert piece in text


class Springs(nn.Module):
    """Energy and forces of harmonic springs, by autograd inside forward."""

    def forward(self, pos):
        pos = pos.requires_grad_()
        pair = torch.cdist(pos, pos)
        energy = (pair - 1).square().sum((1, 2)) / 4
        (gradient,) = torch.autograd.grad(energy.sum(), pos)
        return {"energy": energy, "forces": -gradient}


def test_forces_left_behind_are_caught():
    x = torch.randn(4, 5, 3, dtype=torch.float64)
    energy = actions.Trivial(E3)
    right = audit(Springs(), actions.Points(E3) >> actions.Dict(energy=energy, forces=actions.Vectors(E3)), x)
    wrong = audit(Springs(), actions.Points(E3) >> actions.Dict(energy=energy, forces=actions.Trivial(E3)), x)
    assert right.passed(1e-10)
    assert not wrong.passed(1e-2)
    assert wrong.components["rotation"] > 0.1
    assert wrong.components["translation"] < 1e-10
    bad = {name: value for name, value in wrong.outputs.items() if value > 1e-6}
    assert list(bad) == ["forces"]


def test_velocities_declared_trivial_are_remarked():
    source = actions.Dict(pos=actions.Points(E3), vel=actions.Trivial(E3))
    x = {"pos": torch.randn(4, 5, 3), "vel": torch.randn(4, 5, 3)}
    report = audit(lambda pos, vel: (vel * (pos - pos.mean(1, keepdim=True))).sum((1, 2)), source >> actions.Trivial(E3), x)
    assert any("vel" in note and "declared Trivial" in note for note in report.notes)
    assert report.error > 0.1


def test_input_that_nothing_moves_is_remarked():
    source = actions.Dict(pos=actions.Points(E3), vel=actions.Vectors(E3))
    x = {"pos": torch.randn(4, 5, 3), "vel": torch.zeros(4, 5, 3)}
    report = audit(lambda pos, vel: (pos - pos.mean(1, keepdim=True)).square().sum((1, 2)), source >> actions.Trivial(E3), x)
    assert any("input['vel'] is declared to move, but no sampled element changes it" in note for note in report.notes)
    assert report.passed(1e-5)


def test_untyped_average_of_a_vector_field_is_caught():
    """Averaging a field's pixels over D4 without turning its channels destroys it; typed averaging keeps it."""
    D4 = groups.Dihedral(4)
    images, field = actions.Image(D4), actions.Field(D4)

    def gradient(x):
        across = (torch.roll(x, -1, -1) - torch.roll(x, 1, -1)) / 2
        down = (torch.roll(x, -1, -2) - torch.roll(x, 1, -2)) / 2
        return torch.cat([across, down], 1)

    every = D4.elements()

    def averaged(x, back):
        total = 0
        for k in range(D4.order):
            g = groups.Flip(every.k[k].expand(len(x)), every.flip[k].expand(len(x)))
            total = total + back.act(D4.inverse(g), gradient(images.act(g, x)))
        return total / D4.order

    x = torch.randn(4, 1, 8, 8, dtype=torch.float64)
    signature = images >> field
    assert audit(gradient, signature, x).error < 1e-12
    assert audit(lambda x: averaged(x, field), signature, x).error < 1e-12
    untyped = lambda x: averaged(x, images)  # noqa: E731
    truth = gradient(x)
    assert float((averaged(x, field) - truth).norm() / truth.norm()) < 1e-12
    assert float((untyped(x) - truth).norm() / truth.norm()) > 0.5


def test_stochastic_model_is_said_and_common_noise_is_taken_out():
    class Noisy(nn.Module):
        def forward(self, x):
            return x.norm(dim=-1) + 0.3 * torch.randn(x.shape[0], dtype=x.dtype)

    report = audit(Noisy(), actions.Vectors(O3) >> actions.Trivial(O3), torch.randn(16, 3, dtype=torch.float64), layers=False)
    assert report.noise == pytest.approx(0.3 * 2 / 3.14159**0.5 / 1.7, rel=0.5)
    assert any("stochastic" in note and "same seed" in note for note in report.notes)
    assert report.error < 1e-12
    assert "noise" in str(report)


def test_noise_that_seeds_do_not_reach_is_said():
    source = torch.Generator().manual_seed(0)
    model = lambda x: x.norm(dim=-1) + 0.3 * torch.randn(len(x), generator=source)  # noqa: E731
    report = audit(model, actions.Vectors(O3) >> actions.Trivial(O3), torch.randn(16, 3))
    assert any("seeding does not control" in note for note in report.notes)
    assert report.error > 0.05


class Busy(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.drop, self.out = nn.BatchNorm1d(3), nn.Dropout(0.5), nn.Linear(3, 3)

    def forward(self, x):
        return self.out(self.drop(self.norm(x)))


def test_modes_buffers_and_gradients_are_put_back():
    model, x = Busy(), torch.randn(8, 3)
    model.drop.eval()  # a mixed state
    model(x).sum().backward()
    modes = [m.training for m in model.modules()]
    grads = [p.grad.clone() for p in model.parameters()]
    state = {k: v.clone() for k, v in model.state_dict().items()}
    report = audit(model, actions.Vectors(O3) >> actions.Vectors(O3), x)
    assert [m.training for m in model.modules()] == modes
    assert all(torch.equal(p.grad, g) for p, g in zip(model.parameters(), grads, strict=True))
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())
    assert not any(m._forward_hooks for m in model.modules())
    said = " ".join(report.notes)
    for words in ("1 dropout module(s) were switched off", "running statistics", "was in training mode"):
        assert words in said
    assert report.noise is None


def test_modes_are_put_back_when_the_model_raises():
    class Breaks(Busy):
        def forward(self, x):
            raise KeyError("broken inside")

    model = Breaks()
    with pytest.raises(KeyError, match="broken inside"):
        audit(model, actions.Vectors(O3) >> actions.Vectors(O3), torch.randn(8, 3))
    assert all(m.training for m in model.modules())


def test_batch_norm_without_statistics_is_said():
    model = nn.Sequential(nn.BatchNorm1d(3, track_running_stats=False))
    report = audit(model, actions.Vectors(O3) >> actions.Vectors(O3), torch.randn(8, 3))
    assert any("influence each other" in note for note in report.notes)


def test_inputs_are_not_changed_by_a_model_that_writes_into_them():
    def writes(x):
        return x.mul_(0).sum(-1)

    x = torch.randn(5, 3)
    before = x.clone()
    audit(writes, actions.Vectors(O3) >> actions.Trivial(O3), x)
    assert torch.equal(x, before)


def test_output_that_is_not_finite_fails():
    report = audit(lambda x: x[:, 0] / 0 * 0, actions.Vectors(O3) >> actions.Trivial(O3), torch.randn(5, 3))
    assert not report.passed(1e9)
    assert any("NaN or infinite" in text for text in report.failures)


def test_zero_and_constant_outputs_are_remarked():
    signature = actions.Vectors(O3) >> actions.Trivial(O3)
    zero = audit(lambda x: x[:, 0] * 0, signature, torch.randn(5, 3))
    assert any("zero for every input" in note for note in zero.notes)
    constant = audit(lambda x: x[:, 0] * 0 + 2, signature, torch.randn(5, 3))
    assert any("the same for every input" in note for note in constant.notes)
    assert constant.passed(1e-6)


def test_interpolated_images_have_their_floor_beside_the_error():
    G = groups.SpecialOrthogonal(2)
    ramp = torch.linspace(-1, 1, 24)
    bump = torch.exp(-8 * (ramp[:, None] ** 2 + (ramp[None] - 0.1) ** 2))[None, None].repeat(3, 1, 1, 1)
    signature = actions.Image(G) >> actions.Image(G)
    report = audit(lambda x: x, signature, bump + 0.01 * torch.randn_like(bump), samples=8)
    assert not report.exact
    assert report.floor > 1e-3
    assert report.error == 0
    assert report.default_bound == pytest.approx(report.floor)
    assert report.lie is None
    assert "resamples" in report.lie_how
    broken = audit(lambda x: x * torch.linspace(0, 1, 24), signature, bump, samples=8)
    assert broken.error > 2 * broken.floor


def test_discrete_groups_have_no_lie_derivative():
    report = audit(lambda x: x, actions.Vectors(C2) >> actions.Vectors(C2), torch.randn(4, 2))
    assert report.lie is None
    assert "discrete" in report.lie_how


def test_images_that_change_shape_are_audited_one_by_one():
    C4 = groups.Cyclic(4)
    x = torch.randn(3, 1, 4, 6)
    signature = actions.Image(C4) >> actions.Trivial(C4)
    assert audit(lambda x: x.mean((1, 2, 3)), signature, x).passed(1e-4)
    report = audit(lambda x: x[..., 0, 0].sum(-1), signature, x)
    assert not report.passed(1e-2)
    assert any("one batch" in note for note in report.notes)
