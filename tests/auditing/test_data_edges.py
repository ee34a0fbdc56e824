"""Audits of awkward data: what reads otherwise than it was meant, what rounding makes up, and advice that nothing supports."""

from __future__ import annotations

import numpy
import pytest
import torch

import coset
from coset import actions, groups
from coset.auditing.kernel_ridge import KernelRidge
from coset.errors import InputError

SWAP = groups.Generated([[1, 0]])
PAIR = actions.Permute(SWAP, -1)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(n: int = 300, d: int = 2, seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(n, d, generator=seeded(seed), dtype=dtype)


def fast(x, y, action=PAIR, **more):
    return coset.audit_data(x, y, action, samples=4, level=0.01, draws=199, **more)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rounding_is_no_break(dtype):
    x = normal(dtype=dtype)
    report = fast(x, x.sum(1))  # symmetric, and without noise
    assert "no break" in report.whole.error_verdict
    assert report.advice.choice == "cannot tell"
    assert "already" in report.advice.reason
    broken = fast(x, x.sum(1) + 1e-2 * x[:, 0])  # a hundredth is not rounding
    assert broken.advice.choice == "none"


def test_a_model_that_is_blind_to_the_break_advises_nothing():
    x = torch.cat([normal(200), -normal(200)])  # even: a line sees nothing
    y = x[:, 0].square() - x[:, 1].square()
    report = fast(x, y)
    assert report.conditional.rejected
    assert report.error.high < 0.05 * report.error.scale
    assert report.advice.choice == "cannot tell"
    assert "better model" in report.advice.reason
    assert fast(x, y, model=KernelRidge()).advice.choice == "none"


def test_targets_may_be_reversed_views_lists_or_names():
    x, noise = normal(60), normal(60, 1, 1)[:, 0]
    names = numpy.array(["up" if v > 0 else "<down>" for v in noise])
    reports = [fast(x, one) for one in (names, names.astype(object), names.tolist())]
    assert len({str(one) for one in reports}) == 1
    assert reports[0].classes == ("<down>", "up")
    assert str(fast(x, noise)) == str(fast(x, noise.tolist()))
    turned = fast(x.numpy()[::-1].astype(">f4"), noise.numpy()[::-1])
    assert str(turned) == str(fast(x.flip(0), noise.flip(0)))
    assert str(fast(x.clone().requires_grad_(), noise)) == str(fast(x, noise))
    with pytest.raises(InputError, match="array of numbers"):
        fast(numpy.array([{}] * 60, dtype=object), noise)


def test_data_far_from_zero_read_as_near_it():
    x = normal()
    y = (x.sum(1) > 0).long()
    near, far = fast(x, y), fast(x + 4096, y)
    assert far.error.model == near.error.model == "linear regression"
    assert far.error.value == pytest.approx(near.error.value, abs=1e-3)
    assert far.dissent.moved == pytest.approx(near.dissent.moved, abs=0.05)


def test_a_group_of_one_element_tells_nothing():
    report = fast(normal(), normal(seed=1)[:, 0], actions.Permute(groups.Generated([[0, 1]]), -1))
    assert report.advice.choice == "cannot tell"
    assert "leaves every input" in report.whole.error_verdict
    assert "one element" in report.dissent_verdict


def test_kernels_of_low_rank_in_single_precision():
    x = normal()
    y = x.sum(1) + 0.1 * normal(seed=1)[:, 0]
    single, double = (fast(one, y, kernel=lambda a, b: a @ b.mT).pose_out.error for one in (x, x.double()))
    assert single == pytest.approx(double, rel=0.05)


def test_rare_classes_are_not_given_to_models_that_need_two():
    linear = pytest.importorskip("sklearn.linear_model")
    y = torch.zeros(300, dtype=torch.int64)
    y[0] = 1
    assert "one class only" in fast(normal(), y, model=linear.LogisticRegression()).whole.error_verdict


def test_dissent_of_numbers_is_no_share_of_neighbours():
    assert "mean square" in fast(normal(), normal(seed=1)[:, 0]).dissent_verdict


def test_noise_is_not_interpolated_by_the_pose_that_is_left_out():
    x = normal(400, 4)
    report = fast(x, x.sum(1) + 0.3 * normal(400, 1, 1)[:, 0], actions.Permute(groups.Generated([[1, 2, 3, 0]]), -1))
    assert report.pose_out.error < 1


def test_predictions_of_another_length_and_numbers_without_squares_are_refused():
    x = torch.randn(200, 3, generator=torch.Generator().manual_seed(0))
    action = actions.Vectors(groups.Orthogonal(3))
    with pytest.raises(InputError, match="one for each"):
        coset.audit_data(x, x.norm(dim=1), action, model=lambda x, y: lambda z: torch.zeros(3))
    with pytest.raises(InputError, match="squares are finite"):
        coset.audit_data(x.double() * 1e200, x.norm(dim=1), action)
