"""Accuracy on moved test sets, its intervals, and paired differences."""

from __future__ import annotations

import pytest
import torch

from coset import CosetError, actions, adapt, groups
from tests.adapt.parts import C4, IMAGES, tiny_data, tiny_predictor


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
    with pytest.raises(CosetError, match="without targets"):
        adapt.accuracy(tiny_predictor(), [x for x, _ in tiny_data()], IMAGES)
    with pytest.raises(CosetError, match="same samples"):
        adapt.Accuracy(torch.ones(1, 2)).minus(adapt.Accuracy(torch.ones(1, 3)))
