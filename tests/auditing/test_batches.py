"""Padded and ragged batches, containers of outputs, and products with permutations."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn

from coset import actions, groups
from coset.auditing import audit

O3 = groups.Orthogonal(3)
E3 = groups.Euclidean(3)


def ragged_mean(pos, batch):
    count = torch.bincount(batch).to(pos.dtype)
    return torch.zeros(len(count), 3, dtype=pos.dtype, device=pos.device).index_add(0, batch, pos) / count[:, None]


RAGGED = {"pos": torch.randn(11, 3, dtype=torch.float64), "batch": torch.tensor([0, 0, 0, 1, 1, 2, 2, 2, 2, 2, 3])}


def test_ragged_points_with_per_node_outputs():
    source = actions.Dict(pos=actions.Points(E3, batch="batch"), batch=actions.Ignore(E3))
    centred = lambda pos, batch: pos - ragged_mean(pos, batch)[batch]  # noqa: E731
    report = audit(centred, source >> actions.Vectors(E3, batch="batch"), RAGGED)
    assert report.inputs == 4
    assert report.passed(1e-12)
    broken = audit(lambda pos, batch: centred(pos, batch) + 0.1, source >> actions.Vectors(E3, batch="batch"), RAGGED)
    assert not broken.passed(1e-2)


def test_ragged_norms_are_per_sample():
    # one node of sample 1 carries the whole error: the other samples must show none
    source = actions.Dict(pos=actions.Points(O3, batch="batch"), batch=actions.Ignore(O3))
    where = torch.zeros(11, 1, dtype=torch.float64)
    where[4] = 1.0

    def model(pos, batch):
        copies = pos.shape[0] // 11
        return pos + where.repeat(copies, 1) if pos.shape[0] % 11 == 0 else pos

    report = audit(model, source >> actions.Vectors(O3, batch="batch"), RAGGED, chunk=4, samples=8)
    errors = torch.tensor(report.errors).reshape(4, 8)
    assert bool((errors[1] > 0).any())
    assert float(errors[[0, 2, 3]].max()) < 1e-12


def test_ragged_outputs_per_sample():
    source = actions.Dict(pos=actions.Points(E3, batch="batch"), batch=actions.Ignore(E3))
    report = audit(ragged_mean, source >> actions.Points(E3, points=False), RAGGED)
    assert report.passed(1e-12)
    assert not audit(ragged_mean, source >> actions.Vectors(E3, points=False), RAGGED).passed(1e-2)


def test_ragged_graph_with_edges():
    G = groups.Orthogonal(3)
    source = actions.Dict(pos=actions.Points(G, batch="batch"), edge_index=actions.Edges(G), batch=actions.Ignore(G))
    edges = torch.tensor([[0, 1, 3, 5, 6, 7], [1, 2, 4, 6, 7, 9]])

    def messages(pos, edge_index, batch):
        a, b = edge_index
        return torch.zeros_like(pos).index_add(0, a, pos[b] - pos[a])

    x = {**RAGGED, "edge_index": edges}
    assert audit(messages, source >> actions.Vectors(G, batch="batch"), x).passed(1e-12)


@pytest.mark.parametrize("garbage", [0.0, 1e3])
def test_padded_rows_do_not_count(garbage):
    source = actions.Dict(pos=actions.Points(E3, mask="mask"), mask=actions.Ignore(E3))
    mask = torch.arange(6) < torch.tensor([6, 3, 4])[:, None]
    pos = torch.randn(3, 6, 3, dtype=torch.float64) * mask[..., None]

    def model(pos, mask):
        weight = mask.to(pos.dtype)[..., None]
        centre = (pos * weight).sum(1, keepdim=True) / weight.sum(1, keepdim=True)
        return torch.where(mask[..., None], pos - centre, torch.full_like(pos, garbage))

    report = audit(model, source >> actions.Vectors(E3, mask="mask"), {"pos": pos, "mask": mask})
    assert not report.failures
    assert report.passed(1e-12)


def test_one_element_per_sample_not_one_for_the_batch():
    # a model that mixes samples is equivariant under one rotation of the whole batch only
    def mixes(x):
        return x + x.mean(0, keepdim=True)

    signature = actions.Vectors(O3) >> actions.Vectors(O3)
    assert audit(mixes, signature, torch.randn(6, 3)).error > 0.1


def test_symmetric_times_euclidean():
    G = groups.Symmetric() * groups.Euclidean(3)
    x = torch.randn(5, 4, 3, dtype=torch.float64)
    centred = lambda p: p - p.mean(1, keepdim=True)  # noqa: E731
    report = audit(centred, actions.Points(G) >> actions.Vectors(G), x)
    assert report.passed(1e-12)
    assert report.lie < 1e-12
    first = audit(lambda p: p - p[:, :1], actions.Points(G) >> actions.Vectors(G), x)
    assert not first.passed(1e-2)
    assert len(first.components) >= 3


def test_adjacency_matrices():
    S = groups.Symmetric()
    a = torch.rand(6, 5, 5)
    signature = actions.Permute(S, -2, -1) >> actions.Permute(S, -1)
    assert audit(lambda a: a.sum(-1), signature, a).passed(1e-5)
    assert not audit(lambda a: a.cumsum(-1)[..., 2], signature, a).passed(1e-2)
    assert audit(lambda a: a.sum(-1), signature, a).group == "Symmetric(5)"


def test_tuple_source_is_passed_by_position():
    source = actions.Tuple(actions.Vectors(O3), actions.Trivial(O3))
    model = lambda v, s: v * s[:, None]  # noqa: E731
    assert audit(model, source >> actions.Vectors(O3), (torch.randn(4, 3), torch.rand(4))).passed(1e-5)


@dataclasses.dataclass
class Output:
    forces: torch.Tensor
    energy: torch.Tensor
    extra: object = None


def test_dataclass_outputs_and_ignored_entries():
    target = actions.Dict(forces=actions.Vectors(O3), energy=actions.Trivial(O3), extra=actions.Ignore(O3))
    report = audit(lambda v: Output(2 * v, v.norm(dim=-1), torch.rand(2)), actions.Vectors(O3) >> target, torch.randn(4, 3))
    assert report.passed(1e-5)
    assert sorted(report.outputs) == ["energy", "forces"]
    assert report.noise is None


def test_container_described_by_one_action():
    report = audit(lambda v: {"energy": v.norm(dim=-1)}, actions.Vectors(O3) >> actions.Trivial(O3), torch.randn(4, 3))
    assert report.passed(1e-5)


def test_complex_data():
    U = groups.Unitary(2)
    x = torch.randn(5, 2, dtype=torch.complex128)
    report = audit(lambda z: 1j * z, actions.Vectors(U) >> actions.Vectors(U), x)
    assert report.passed(1e-10)
    broken = audit(lambda z: z.conj(), actions.Vectors(U) >> actions.Vectors(U), x)
    assert broken.error > 0.1
    assert broken.to_json()


def test_integer_outputs():
    report = audit(lambda v: v.norm(dim=-1).round().long(), actions.Vectors(O3) >> actions.Trivial(O3), 5 * torch.rand(20, 3))
    assert report.passed(0.1)
    assert report.lie is None
    assert "floating point" in report.lie_how


def test_bound_methods_of_modules_are_put_into_evaluation_mode():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.drop = nn.Dropout(0.5)

        def embed(self, v):
            return self.drop(v.norm(dim=-1, keepdim=True))

    net = Net()
    report = audit(net.embed, actions.Vectors(O3) >> actions.Trivial(O3), torch.randn(6, 3))
    assert report.noise is None
    assert net.drop.training
    assert report.model.endswith("Net.embed")


def test_padded_rows_under_permutations():
    G = groups.Symmetric() * groups.Orthogonal(3)
    source = actions.Dict(pos=actions.Points(G, mask="mask"), mask=actions.Ignore(G))
    mask = torch.arange(5) < torch.tensor([5, 3])[:, None]
    x = {"pos": torch.randn(2, 5, 3, dtype=torch.float64) * mask[..., None], "mask": mask}
    report = audit(lambda pos, mask: pos * pos.norm(dim=-1, keepdim=True), source >> actions.Vectors(G, mask="mask"), x)
    assert not report.failures
    assert report.passed(1e-12)
    assert not audit(lambda pos, mask: pos.cumsum(1), source >> actions.Vectors(G, mask="mask"), x).passed(1e-2)
