"""frame_gap is zero for frames and large for what only looks like one."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from coset import actions, frames, groups
from coset.auditing import frame_gap
from coset.errors import FrameError, InputError
from coset.measure import Measure

O2, O3, SO2 = groups.Orthogonal(2), groups.Orthogonal(3), groups.SpecialOrthogonal(2)


class Handmade(nn.Module):
    """A frame on SO(2) from a function points -> angles (k, B) and weights (k, B)."""

    def __init__(self, function, order=None):
        super().__init__()
        self.source, self.function, self.fixed = actions.Points(SO2), function, order

    def forward(self, x):
        angle, weights = self.function(x)
        c, s = angle.cos(), angle.sin()
        g = torch.stack([torch.stack([c, -s], -1), torch.stack([s, c], -1)], -2)
        count = angle.shape[0] if self.fixed is None else self.fixed
        return Measure(SO2, g, weights, torch.full(angle.shape[1:], count), angle.shape[0])


def angles(x):
    return torch.atan2(x[..., 1], x[..., 0]).mT


def weighted(x):
    """Dym's weighted frame: every point to the positive axis, weight by length."""
    size = x.norm(dim=-1).mT
    return angles(x), size / size.sum(0)


X = torch.randn(5, 4, 2, dtype=torch.float64)


def test_a_right_frame_has_no_gap():
    assert frame_gap(Handmade(weighted), X) < 1e-12


def test_a_frame_that_forgets_its_input_is_caught():
    assert frame_gap(Handmade(lambda x: (torch.zeros(1, len(x), dtype=x.dtype), torch.ones(1, len(x), dtype=x.dtype))), X) > 0.5


def test_a_frame_with_the_inverse_is_caught():
    def inverse(x):
        angle, weights = weighted(x)
        return -angle, weights

    assert frame_gap(Handmade(inverse), X) > 0.5


def test_wrong_weights_on_the_right_elements_are_caught():
    def wrong(x):
        angle, _ = weighted(x)
        first = torch.softmax(x[..., 0].mT, 0)  # depends on the orientation
        return angle, first

    assert frame_gap(Handmade(wrong), X) > 0.05


def test_an_extra_element_of_small_weight_is_caught():
    def extra(x):
        angle, weights = weighted(x)
        return torch.cat([angle, torch.zeros_like(angle[:1])]), torch.cat([weights * 0.999, torch.full_like(weights[:1], 0.001)])

    assert frame_gap(Handmade(extra), X) > 0.1


def test_order_padding_and_length_do_not_matter():
    calls = []

    def restless(x):
        angle, weights = weighted(x)
        calls.append(1)
        if len(calls) % 2:  # another order, and padding by elements of zero weight
            zeros = torch.zeros_like(angle[:2])
            return torch.cat([zeros + 1.0, angle.flip(0)]), torch.cat([zeros, weights.flip(0)])
        half = torch.cat([weights, weights]) / 2  # each element listed twice
        return torch.cat([angle, angle]), half

    assert frame_gap(Handmade(restless), X) < 1e-12


def test_infinite_stabilizers_are_compared_by_their_means():
    # points at the origin: any uniform rule over the circle is the Haar measure
    def uniform(x):
        shift = x.sum() * 0 + torch.rand(1, dtype=x.dtype)
        grid = torch.arange(3, dtype=x.dtype)[:, None] * 2 * torch.pi / 3 + shift
        return grid.expand(3, len(x)), torch.full((3, len(x)), 1 / 3, dtype=x.dtype)

    class Restless(Handmade):
        """Turns its rule at every call, which common seeds do not undo."""

        def forward(self, x):
            torch.rand(int(x.abs().sum() * 0) + Restless.calls)
            Restless.calls += 1
            return super().forward(x)

        calls = 1

    zeros = torch.zeros(2, 3, 2, dtype=torch.float64)
    assert frame_gap(Restless(uniform, order=-1), zeros) < 1e-12
    assert frame_gap(Restless(uniform, order=3), zeros) > 0.01


@pytest.mark.parametrize(
    ("frame", "group"),
    [
        (frames.PCA(), O3),
        (frames.Minimal(), O3),
        (frames.Minimal(), groups.SpecialEuclidean(3)),
        (frames.Full(), groups.Dihedral(4)),
    ],
    ids=repr,
)
def test_frames_of_the_library(frame, group):
    x = torch.randn(4, 6, group.dim, dtype=torch.float64)
    assert frame_gap(frame.bind(actions.Points(group)), x) < 1e-6


def test_permutations():
    source = actions.Permute(groups.Symmetric(), -2)
    x = torch.randn(4, 5, 2, dtype=torch.float64)
    assert frame_gap(frames.Sort().bind(source), x) < 1e-9


def test_errors():
    with pytest.raises(FrameError, match="not bound"):
        frame_gap(frames.PCA(), X)
    with pytest.raises(InputError, match="samples=0"):
        frame_gap(Handmade(weighted), X, samples=0)

    class Wrong(nn.Module):
        source = actions.Points(SO2)

        def forward(self, x):
            return x

    with pytest.raises(FrameError, match="a Measure"):
        frame_gap(Wrong(), X)


def test_mode_is_put_back():
    frame = Handmade(weighted).train()
    frame_gap(frame, X)
    assert frame.training
