"""Networks of PyTorch Geometric on ragged batches of molecules, wrapped without touching them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ase.build import molecule
from ase.collections import g2
from ase.neighborlist import natural_cutoffs, neighbor_list
from torch import nn

from coset import Symmetrized, actions, audit, frames, groups

geometric = pytest.importorskip("torch_geometric")
from torch_geometric.data import Batch, Data  # noqa: E402
from torch_geometric.nn import GINEConv, TransformerConv, global_add_pool  # noqa: E402

E3, SE3 = groups.Euclidean(3), groups.SpecialEuclidean(3)


class Network(nn.Module):
    """Message passing on raw coordinates: sees the graph, the species and the bond lengths; not equivariant."""

    def __init__(self, width=16):
        super().__init__()
        self.embed = nn.Embedding(20, width)
        self.place = nn.Linear(3, width)
        self.one = GINEConv(nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.Linear(width, width)), edge_dim=1)
        self.two = TransformerConv(width, width, heads=2, concat=False, edge_dim=1)
        self.force, self.energy = nn.Linear(width, 3), nn.Linear(width, 1)

    def forward(self, pos, z, edge_index, batch):
        i, j = edge_index
        length = (pos[i] - pos[j]).norm(dim=-1, keepdim=True)
        h = torch.tanh(self.embed(z) + self.place(pos))
        h = torch.tanh(self.one(h, edge_index, length))
        h = torch.tanh(self.two(h, edge_index, length))
        return {"forces": self.force(h), "energy": self.energy(global_add_pool(h, batch))}


def graphs(names, dtype=torch.float32):
    """Molecules with their bonds, both ways."""
    found = []
    for name in names:
        atoms = molecule(name)
        i, j = neighbor_list("ij", atoms, natural_cutoffs(atoms, mult=1.2))
        found.append(
            Data(
                pos=torch.tensor(atoms.positions, dtype=dtype),
                z=torch.tensor(atoms.numbers),
                edge_index=torch.tensor(np.stack([i, j]), dtype=torch.long),
            )
        )
    return found


def inputs(data):
    return {"pos": data.pos, "z": data.z, "edge_index": data.edge_index, "batch": data.batch}


def source(group):
    return actions.Dict(
        pos=actions.Points(group, batch="batch"), z=actions.Trivial(group), edge_index=actions.Edges(group), batch=actions.BatchIndex(group)
    )


def target(group):
    return actions.Dict(forces=actions.Vectors(group, points=True), energy=actions.Trivial(group))


NAMES = [name for name in g2.names if len(molecule(name)) > 1]


def network(dtype):
    torch.manual_seed(0)
    return Network().to(dtype).eval()


def gaps(model, group, x, generator):
    """Errors of forces and energies, relative to their mean sizes."""
    h = group.sample(int(x["batch"].max()) + 1, generator=generator, dtype=x["pos"].dtype)
    with torch.no_grad():
        here, there = model(**x), model(**source(group).act(h, x))
        expected = target(group).act(h, here, source(group).layout(x))
        return {key: float((there[key] - expected[key]).abs().max() / here[key].square().mean().sqrt()) for key in here}


@pytest.mark.parametrize("frame", [frames.Minimal(of="pos", colours="z"), frames.PCA(of="pos")], ids=repr)
@pytest.mark.parametrize("group", [E3, SE3], ids=repr)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["f32", "f64"])
def test_all_molecules_in_one_batch(group, dtype, frame, generator):
    x = inputs(Batch.from_data_list(graphs(NAMES, dtype)))
    net = network(dtype)
    assert min(gaps(net, group, x, generator).values()) > 1e-2
    model = Symmetrized(net, source(group) >> target(group), frame)
    assert max(gaps(model, group, x, generator).values()) < 2000 * torch.finfo(dtype).eps


def test_one_call_with_all_atoms_once():
    data = Batch.from_data_list(graphs(NAMES))
    net, seen = network(torch.float32), []
    net.register_forward_pre_hook(lambda module, args, kwargs: seen.append((len(kwargs["pos"]), kwargs["edge_index"])), with_kwargs=True)
    _, stats = Symmetrized(net, source(E3) >> target(E3), frames.Minimal(of="pos", colours="z"))(**inputs(data), return_stats=True)
    assert [count for count, _ in seen] == [data.num_nodes]
    assert torch.equal(seen[0][1], data.edge_index)
    assert (stats.samples, stats.cosets) == (len(NAMES), 1)


def test_a_batch_is_its_graphs_one_by_one():
    picked = graphs(["CH4", "C6H6", "H2O", "CO2", "CH3OH", "C2H6"], torch.float64)
    for frame in (frames.Minimal(of="pos", colours="z"), frames.PCA(of="pos")):
        model = Symmetrized(network(torch.float64), source(E3) >> target(E3), frame)
        data = Batch.from_data_list(picked)
        with torch.no_grad():
            whole = model(**inputs(data))
            for number, one in enumerate(picked):
                alone = model(**inputs(Batch.from_data_list([one])))
                assert torch.allclose(whole["energy"][number], alone["energy"][0], atol=1e-12)
                assert torch.allclose(whole["forces"][data.batch == number], alone["forces"], atol=1e-12)


def test_the_order_of_atoms_does_not_matter(generator):
    one = graphs(["C6H6"], torch.float64)[0]
    order = torch.randperm(one.num_nodes, generator=generator)
    back = torch.argsort(order)
    other = Data(pos=one.pos[order], z=one.z[order], edge_index=back[one.edge_index])
    model = Symmetrized(network(torch.float64), source(E3) >> target(E3), frames.Minimal(of="pos", colours="z"))
    with torch.no_grad():
        a, b = (model(**inputs(Batch.from_data_list([data]))) for data in (one, other))
    assert torch.allclose(a["energy"], b["energy"], atol=1e-12)
    assert torch.allclose(a["forces"][order], b["forces"], atol=1e-12)


def test_atoms_of_different_molecules_may_be_mixed(generator):
    data = Batch.from_data_list(graphs(["CH4", "H2O", "CH3OH"], torch.float64))
    order = torch.randperm(data.num_nodes, generator=generator)
    x = inputs(data)
    mixed = {"pos": data.pos[order], "z": data.z[order], "edge_index": torch.argsort(order)[data.edge_index], "batch": data.batch[order]}
    model = Symmetrized(network(torch.float64), source(E3) >> target(E3), frames.Minimal(of="pos", colours="z"))
    with torch.no_grad():
        a, b = model(**x), model(**mixed)
    assert torch.allclose(a["energy"], b["energy"], atol=1e-12)
    assert torch.allclose(a["forces"][order], b["forces"], atol=1e-12)


def test_gradients_reach_parameters_and_positions():
    data = Batch.from_data_list(graphs(["CH4", "CO2", "C6H6"], torch.float64))
    net = network(torch.float64)
    model = Symmetrized(net, source(E3) >> target(E3), frames.Minimal(of="pos", colours="z"))
    pos = data.pos.clone().requires_grad_()
    model(**{**inputs(data), "pos": pos})["energy"].sum().backward()
    assert bool(torch.isfinite(pos.grad).all())
    assert all(p.grad is not None and bool(torch.isfinite(p.grad).all()) for name, p in net.named_parameters() if "force" not in name)
    assert float(pos.grad[0].norm()) < 1e-4 * float(pos.grad.norm())  # the carbon of methane


def test_the_audit_tells_them_apart():
    x = inputs(Batch.from_data_list(graphs(["CH4", "H2O", "CH3OH", "C2H6"])))
    net = network(torch.float32)
    assert audit(net, source(E3) >> target(E3), x, samples=2).error > 1e-2
    model = Symmetrized(net, source(E3) >> target(E3), frames.Minimal(of="pos", colours="z"))
    assert audit(model, source(E3) >> target(E3), x, samples=2).error < 1e-4
