"""Points that are both permuted and rotated: S_n x E(d), one call, exact at symmetric and repeated points too."""

from __future__ import annotations

import pytest
import torch

import coset
from coset import actions, frames, groups
from coset.errors import FrameError

S, E3, O2 = groups.Symmetric(), groups.Euclidean(3), groups.Orthogonal(2)
CLOUDS = {
    "methane": torch.tensor([[1.0, 1, 1], [-1, -1, 1], [-1, 1, -1], [1, -1, -1], [0, 0, 0]]),
    "generic": torch.randn(5, 3, generator=torch.Generator().manual_seed(0)),
    "repeated": torch.tensor([[1.0, 0, 2], [0, 1, 0], [0, 1, 0], [3, 1, 1], [0.5, 0, 0]]),
    "line": torch.arange(5.0)[:, None] ** 2 * torch.tensor([1.0, 2, 3]),
    "plane": torch.tensor([[1.0, 0, 0], [0, 1, 0], [-1, 0, 0], [0, -1, 0], [0.2, 0.3, 0]]),
    "point": torch.zeros(5, 3),
}


def network(d: int) -> torch.nn.Module:
    """A model that knows neither order nor direction."""
    return torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(5 * d, 32), torch.nn.Tanh(), torch.nn.Linear(32, 5 * d), torch.nn.Unflatten(1, (5, d))
    ).double()


def gap(model: coset.Symmetrized, x: torch.Tensor, generator: torch.Generator) -> float:
    """The largest relative equivariance error over a few elements."""
    source, target = model.signature.source, model.signature.target
    y, worst = model(x), 0.0
    for _ in range(4):
        g = source.resolve(x).sample(len(x), generator=generator, dtype=torch.float64)
        worst = max(worst, float((model(source.act(g, x)) - target.act(g, y)).norm() / y.norm().clamp_min(1e-3)))
    return worst


@pytest.mark.parametrize("group", [S * E3, E3 * S], ids=repr)
@pytest.mark.parametrize(
    "frame", [None, frames.Chain(frames.PCA(), frames.Sort()), frames.Chain(frames.Minimal(colours=frames.UNCOLOURED), frames.Full())]
)
def test_products_are_exact(group, frame, generator):
    model = coset.symmetrize(network(3), actions.Points(group) >> actions.Vectors(group), frame)
    for name, cloud in CLOUDS.items():
        x = cloud[None].double()
        assert gap(model, x, generator) < 1e-11, name
        if frame is None:
            assert model(x, return_stats=True)[1].samples == 1
            assert coset.frame_gap(model.frame, x, generator=generator) < 1e-10


def test_the_default_says_what_it_is():
    model = coset.symmetrize(network(2), actions.Points(S * O2) >> actions.Vectors(S * O2))
    assert "one model call on points in a canonical pose and order" in repr(model)


def test_orders_count_pairs_of_motions_and_permutations():
    frame = frames.Minimal().bind(actions.Points(S * E3))
    found = {name: int(frame(cloud[None].double()).order) for name, cloud in CLOUDS.items()}
    assert found == {"methane": 24, "generic": 1, "repeated": 2, "line": -1, "plane": 2, "point": -1}


def test_sorting_rows_that_a_later_frame_moves_is_refused():
    with pytest.raises(FrameError, match=r"sorts rows that a later link moves.*exchange the two frames"):
        frames.Chain(frames.Sort(), frames.Minimal()).bind(actions.Points(S * E3))


def test_a_sort_without_tolerance_would_fail(generator, monkeypatch):
    """Coordinates in a canonical pose agree to rounding only: comparing them exactly lets noise decide."""
    from coset.frames import sort

    monkeypatch.setattr(sort, "rank_columns", lambda keys, inputs: keys)
    model = coset.symmetrize(network(3), actions.Points(S * E3) >> actions.Vectors(S * E3))
    assert gap(model, CLOUDS["methane"][None].double(), generator) > 1e-3


@pytest.mark.parametrize("link", [frames.Minimal(), frames.Stochastic(frames.Minimal())], ids=repr)
def test_a_frame_of_ordered_points_before_permutations_is_refused(link):
    with pytest.raises(FrameError, match=r"depends on the order of points.*give colours="):
        frames.Chain(link, frames.Sort()).bind(actions.Points(E3 * S))
    # the same link is right where nothing permutes
    assert frames.Chain(frames.Center(), link).bind(actions.Points(E3)) is not None


def test_the_order_of_a_chain_counts_no_padding_and_saturates():
    G = groups.Symmetric() * groups.SpecialOrthogonal(3)
    frame = frames.Chain(frames.PCA(), frames.Sort()).bind(actions.Points(G))
    tetrahedron = torch.tensor([[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1], [0, 0, 0]], dtype=torch.float64)
    generic = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert frame(torch.stack([generic, tetrahedron])).order.tolist() == [4, 12]
    turns = groups.Cyclic(4) * groups.Symmetric()
    source = actions.Dict(a=actions.Permute(turns, -2, -1), v=actions.Vectors(turns, points=False))
    chain = frames.Chain(frames.Full(), frames.Relabel()).bind(source)
    for n, order in ((5, 480), (25, 2**63 - 1)):
        complete = torch.ones(1, n, n) - torch.eye(n)
        assert chain({"a": complete, "v": torch.zeros(1, 2)}).order.tolist() == [order]


def test_sets_of_any_scale_have_a_default_frame(generator):
    group = groups.Symmetric() * groups.Scaling(3)
    net = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3)).double()
    signature = actions.Points(group) >> actions.Points(group)
    model = coset.symmetrize(lambda x: net(x).cumsum(1), signature)
    x = torch.randn(4, 6, 3, generator=generator, dtype=torch.float64)
    y = model(x)
    order = torch.randperm(6, generator=generator)
    assert (model(7 * x) - 7 * y).abs().max() < 1e-12
    assert (model(x[:, order]) - y[:, order]).abs().max() < 1e-12
    assert y.std() > 0.01
