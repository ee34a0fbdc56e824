"""Weighted sorts: permutations by hand, continuity where one sort jumps, equal rows, what they refuse."""

from __future__ import annotations

import pytest
import torch

from coset import Symmetrized, actions, frames, groups
from coset.auditing.continuity import continuity
from coset.auditing.inputs import prepare
from coset.auditing.running import Runner
from coset.errors import FrameError, InputError
from coset.frames.weighted_sort import even_directions

S = groups.Symmetric()
ROWS = actions.Permute(S, -2)


def network(n, d, seed=0):
    generator = torch.Generator().manual_seed(seed)
    one, two = (torch.randn(a, b, generator=generator, dtype=torch.float64) for a, b in ((n * d, 16), (16, 1)))
    return lambda x: torch.tanh(x.flatten(1) @ one) @ two


def test_two_rows_by_hand():
    """Two rows in the plane: two directions, weighted by the squares of their gaps, each with its own order."""
    x = torch.tensor([[[0.0, 0.0], [1.0, 0.0]]], dtype=torch.float64)
    found = frames.WeightedSort(cut=0).bind(ROWS)(x)
    axes = even_directions(2, 2, x)
    gaps = (x[0] @ (axes / axes.norm(dim=0))).diff(dim=0)[0]
    assert torch.allclose(found.weights[:, 0], gaps.square() / gaps.square().sum())
    assert found.elements[:, 0].tolist() == [[0, 1] if gap > 0 else [1, 0] for gap in gaps.tolist()]
    assert found.order.tolist() == [2]


@pytest.mark.parametrize(("n", "d", "count"), [(3, 2, 4), (5, 3, 21), (4, 1, 1), (1, 3, 1)])
def test_as_many_directions_as_distinct_rows_need(n, d, count):
    x = torch.randn(2, n, d, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert frames.WeightedSort(static=True).bind(ROWS)(x).cosets == count


def test_directions_cover_the_sphere():
    axes = even_directions(2000, 3, torch.zeros(1, dtype=torch.float64))
    axes = axes / axes.norm(dim=0)
    assert float(axes.mean(1).abs().max()) < 0.02
    assert torch.allclose(axes @ axes.T / 2000, torch.eye(3, dtype=torch.float64) / 3, atol=0.02)


def smoothness(frame, base, direction):
    """Jumps of output and gradient between neighbours on paths of two steps."""
    n, d = base.shape
    model = Symmetrized(network(n, d), ROWS >> actions.Trivial(S), frame)
    found = []
    for step in (1e-4, 1e-6):
        t = torch.arange(-400, 401, dtype=torch.float64) * step
        x = (base + t[:, None, None] * direction).requires_grad_()
        y = model(x)
        (slope,) = torch.autograd.grad(y.sum(), x)
        found.append([float(z.diff(dim=0).abs().max()) for z in (y.detach(), slope.flatten(1))])
    return found


def test_sets_of_distinct_rows_are_mapped_smoothly(generator):
    """Through the place where a direction gives two rows the same projection, outputs and gradients are continuous."""
    x = torch.randn(5, 3, generator=generator, dtype=torch.float64)
    axes = even_directions(21, 3, x)
    axis = axes[:, int(frames.WeightedSort(cut=0, static=True).bind(ROWS)(x[None]).weights.argmax())]
    gap = ((x[1] - x[0]) @ axis) / axis.square().sum()
    x[1] = x[1] - gap * axis  # rows 0 and 1 swap along what was the clearest direction
    direction = torch.zeros_like(x)
    direction[1] = axis + 0.1
    for cut in (0.0, 0.5):
        coarse, fine = smoothness(frames.WeightedSort(cut=cut), x, direction)
        assert all(b < 0.03 * a + 1e-12 for a, b in zip(coarse, fine, strict=True)), (coarse, fine)
    one = torch.zeros(5, 3, dtype=torch.float64)
    one[:, 0] = torch.tensor([0.0, 0.0, 1.0, 2.0, 3.0])
    one[:, 1] = torch.arange(5)
    direction = torch.zeros_like(one)
    direction[1, 0] = 1.0
    assert smoothness(frames.Sort(), one, direction)[1][0] > 1e-3  # where one sort jumps


def test_numbers_have_one_continuous_order():
    x = torch.tensor([1.0, 1.0, 3.0], dtype=torch.float64)[:, None]
    direction = torch.tensor([1.0, -1.0, 0.0], dtype=torch.float64)[:, None]
    assert smoothness(frames.WeightedSort(), x, direction)[1][0] < 1e-4


def test_audits_find_the_jumps_of_a_sort_only(generator):
    x = torch.randn(2, 5, 3, generator=generator, dtype=torch.float64)
    words = {}
    for frame in (frames.Sort(), frames.WeightedSort()):
        signature = ROWS >> actions.Trivial(S)
        model = Symmetrized(network(5, 3), signature, frame)
        found = continuity(Runner(model, signature), prepare(model, signature, x, 512, []), torch.Generator().manual_seed(0))
        words[repr(frame)] = found.traces["generic inputs"][-1]
        if isinstance(frame, frames.WeightedSort):
            assert "generic" not in found.where or not found.jumps  # jumps, if any, only where rows become equal
    assert words["Sort()"] > 1e-3
    assert words["WeightedSort()"] < 1e-4


def test_equal_rows_are_exchanged_and_not_listed(generator):
    x = torch.randn(2, 5, 3, generator=generator, dtype=torch.float64)
    x[0, 3] = x[0, 0]
    found = frames.WeightedSort().bind(ROWS)(x)
    listed = (found.weights > 0).sum(0)
    assert found.order.tolist() == [2 * int(listed[0]), int(listed[1])]
    everything = frames.WeightedSort().bind(ROWS)(x[:, :1].expand_as(x))
    assert everything.order.tolist() == [120 * int((everything.weights > 0).sum(0)[0])] * 2


def test_random_directions_average_to_a_smooth_function(generator):
    """The mean over many draws changes little where two rows become equal, unlike a single sort's."""
    x = torch.randn(1, 4, 2, generator=generator, dtype=torch.float64)
    merged = x.clone()
    merged[0, 1] = merged[0, 0]
    model = network(4, 2)
    means = []
    for one in (merged, merged + 1e-6 * torch.randn(1, 4, 2, generator=generator, dtype=torch.float64)):
        frame = frames.WeightedSort(samples=2000, generator=torch.Generator().manual_seed(5))
        means.append(float(Symmetrized(model, ROWS >> actions.Trivial(S), frame)(one)))
    assert abs(means[0] - means[1]) < 1e-4


def test_weighted_takes_sets_too(generator):
    x = torch.randn(2, 5, 3, generator=generator, dtype=torch.float64)
    found = frames.Weighted().bind(ROWS)(x)
    assert torch.equal(found.elements, frames.WeightedSort().bind(ROWS)(x).elements)


def test_bad_input():
    with pytest.raises(FrameError, match=r"WeightedSort\(directions=0\)"):
        frames.WeightedSort(directions=0)
    with pytest.raises(FrameError, match="one of the two"):
        frames.WeightedSort(directions=3, samples=3)
    with pytest.raises(FrameError, match="0 <= cut < 1"):
        frames.WeightedSort(cut=1)
    with pytest.raises(FrameError, match="symmetric group on rows"):
        frames.WeightedSort().bind(actions.Points(groups.Orthogonal(3)))
    with pytest.raises(FrameError, match=r"directions= or samples="):
        frames.WeightedSort().bind(ROWS)(torch.randn(1, 1000, 3))
    assert frames.WeightedSort(directions=64).bind(ROWS)(torch.randn(1, 1000, 3)).order.shape == (1,)
    swapped = torch.tensor([[[0.0, 0.0], [0.0, 1.0]]], dtype=torch.float64)
    axis = even_directions(1, 2, swapped)[:, 0]
    level = torch.stack([torch.zeros(2, dtype=torch.float64), torch.stack([-axis[1], axis[0]])])[None]
    with pytest.raises(InputError, match="none of 1 directions"):
        frames.WeightedSort(directions=1).bind(ROWS)(level)
