"""The line on the order of points: a set model shows none, an ordered one does, and colours= makes that a failure."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from coset import actions, frames, groups, symmetrize
from coset.auditing import audit
from coset.auditing.order import reorder, shuffle

E3 = groups.Euclidean(3)
CLOUD = actions.Points(E3)


def as_set(p):
    return (p - p.mean(1, keepdim=True)) * 2


def ordered(p):
    return p - p[:, :1]


def test_sets_and_lists_differ():
    x = torch.randn(5, 6, 3, dtype=torch.float64)
    signature = CLOUD >> actions.Vectors(E3)
    assert audit(as_set, signature, x).point_order < 1e-12
    report = audit(ordered, signature, x)
    assert report.passed(1e-10)  # it is equivariant all the same
    assert report.point_order > 0.1
    assert report.point_order.stderr > 0
    assert "order of points" in str(report)


def test_groups_that_permute_need_no_such_line():
    G = groups.Symmetric() * E3
    assert audit(as_set, actions.Points(G) >> actions.Vectors(G), torch.randn(3, 4, 3)).point_order is None
    assert audit(lambda v: v, actions.Vectors(E3) >> actions.Vectors(E3), torch.randn(3, 3)).point_order is None


class Weighted(nn.Module):
    def forward(self, pos, z):
        return pos * torch.linspace(0, 1, pos.shape[1], dtype=pos.dtype)[:, None] + z[..., None]


class Plain(nn.Module):
    def forward(self, pos, z):
        return pos * z[..., None] + pos.square().sum((1, 2))[:, None, None]


@pytest.mark.parametrize(("model", "fails"), [(Weighted(), True), (Plain(), False)])
def test_a_frame_for_sets_around_a_model_that_sees_the_order_fails(model, fails):
    signature = actions.Dict(pos=CLOUD, z=actions.Trivial(E3)) >> actions.Vectors(E3)
    x = {"pos": torch.randn(4, 5, 3, dtype=torch.float64), "z": torch.randint(1, 3, (4, 5)).double()}
    wrapped = symmetrize(model, signature, frame=frames.Minimal(of="pos", colours="z"))
    report = audit(wrapped, signature, x)
    assert any("unordered set" in text for text in report.failures) == fails
    assert report.passed(1e-6) != fails
    alone = symmetrize(model, signature, frame=frames.Minimal(of="pos"))
    assert audit(alone, signature, x).passed(1e-6)


def test_frames_that_match_no_points_declare_nothing():
    x = torch.randn(4, 5, 3, dtype=torch.float64)
    signature = CLOUD >> actions.Vectors(E3)
    model = nn.Sequential(nn.Flatten(), nn.Linear(15, 15), nn.Tanh(), nn.Unflatten(1, (5, 3))).double()
    report = audit(symmetrize(model, signature, frame=frames.PCA()), signature, x)
    assert report.point_order > 0.1
    assert not report.failures
    assert report.passed(1e-6)

    class Painted(nn.Module):
        colours = ("red", "green")

        def forward(self, p):
            return ordered(p)

    assert audit(Painted(), signature, x).passed(1e-10)


def test_ragged_points_are_shuffled_within_their_sample():
    batch = torch.tensor([0, 1, 0, 2, 1, 1, 0, 2])
    source = actions.Dict(pos=actions.Points(E3, batch="batch"), edge_index=actions.Edges(E3), batch=actions.Ignore(E3))
    x = {"pos": torch.randn(8, 3), "edge_index": torch.tensor([[0, 2, 1], [2, 6, 4]]), "batch": batch}
    at = source.layout(x)
    order = shuffle(at, torch.Generator().manual_seed(3))
    assert sorted(order.tolist()) == list(range(8))
    assert order.tolist() != list(range(8))
    moved = reorder(source, x, at, order)
    assert torch.equal(moved["batch"], batch)
    assert torch.equal(moved["pos"], x["pos"][order])
    assert torch.equal(moved["pos"][moved["edge_index"]], x["pos"][x["edge_index"]])


def test_ragged_models():
    batch = torch.tensor([0, 0, 0, 1, 1, 1, 1])
    source = actions.Dict(pos=actions.Points(E3, batch="batch"), batch=actions.Ignore(E3))
    signature = source >> actions.Vectors(E3, batch="batch")
    x = {"pos": torch.randn(7, 3, dtype=torch.float64), "batch": batch}

    def centred(pos, batch):
        count = torch.bincount(batch)[:, None]
        return pos - (torch.zeros(len(count), 3, dtype=pos.dtype).index_add(0, batch, pos) / count)[batch]

    assert audit(centred, signature, x).point_order < 1e-12
    assert audit(lambda pos, batch: centred(pos, batch).cumsum(0), signature, x).point_order > 0.1


def test_padded_and_pairwise_data_move_along():
    mask = torch.arange(5) < torch.tensor([5, 3])[:, None]
    source = actions.Dict(pos=actions.Points(E3, mask="mask"), pair=actions.Trivial(E3), mask=actions.Ignore(E3))
    x = {"pos": torch.randn(2, 5, 3, dtype=torch.float64) * mask[..., None], "pair": torch.rand(2, 5, 5, dtype=torch.float64), "mask": mask}

    def model(pos, pair, mask):
        weight = (mask[:, :, None] & mask[:, None, :]).to(pos.dtype) * pair
        return torch.einsum("bij,bijd->bid", weight, pos[:, :, None] - pos[:, None, :])

    report = audit(model, source >> actions.Vectors(E3, mask="mask"), x)
    assert report.passed(1e-10)
    assert report.point_order < 1e-12
