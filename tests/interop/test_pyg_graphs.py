"""Permutation symmetry around graph networks of PyTorch Geometric, and canonical Data and Batch objects."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

import coset
from coset import actions, frames, groups
from coset.errors import FrameError, InputError

pytest.importorskip("torch_geometric")
pytest.importorskip("pynauty")
from torch_geometric.data import Batch, Data, HeteroData
from torch_geometric.loader import DataLoader
from torch_geometric.nn import GINEConv, global_add_pool
from torch_geometric.transforms import Compose, ToUndirected

from coset.interop import pyg

S = groups.Symmetric()
KEYS = ("x", "edge_index", "edge_attr", "batch")


def graph(seed: int, dtype: torch.dtype = torch.float64) -> Data:
    """A random multigraph with loops and with few different features, so that it often has symmetries."""
    draw = torch.Generator().manual_seed(seed)
    n, edges = 2 + seed % 6, seed % 9
    return Data(
        x=torch.randint(2, (n, 2), generator=draw).to(dtype),
        edge_index=torch.randint(n, (2, edges), generator=draw),
        edge_attr=torch.randint(2, (edges, 1), generator=draw).to(dtype),
        y=torch.tensor([float(seed)]),
        name=f"graph {seed}",
    )


def shuffled(data: Data, generator: torch.Generator) -> tuple[Data, torch.Tensor, torch.Tensor]:
    """The graph with its nodes and its edges in another order."""
    nodes, edges = torch.randperm(data.num_nodes, generator=generator), torch.randperm(data.edge_index.shape[1], generator=generator)
    new = Data(x=data.x[nodes], edge_index=torch.argsort(nodes)[data.edge_index][:, edges], edge_attr=data.edge_attr[edges], y=data.y)
    return new, nodes, edges


def ring(n: int) -> torch.Tensor:
    here = torch.arange(n)
    return torch.cat([torch.stack([here, (here + 1) % n]), torch.stack([(here + 1) % n, here])], 1)


def same(one: Data, two: Data, *keys: str) -> bool:
    return all(torch.equal(one[key], two[key]) for key in keys)


class Network(torch.nn.Module):
    """Message passing with position numbers of nodes and edges: not equivariant. Outputs per node, edge and graph."""

    def __init__(self, dtype=torch.float64):
        super().__init__()
        torch.manual_seed(0)
        self.place = torch.nn.Embedding(64, 8)
        self.embed = torch.nn.Linear(2, 8)
        self.conv = GINEConv(torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Tanh(), torch.nn.Linear(8, 8)), edge_dim=1)
        self.to(dtype)

    def forward(self, x, edge_index, edge_attr, batch):
        start = torch.searchsorted(batch, torch.arange(int(batch.max()) + 1))
        h = torch.tanh(self.embed(x) + self.place(torch.arange(len(x)) - start[batch]))
        h = torch.tanh(self.conv(h, edge_index, edge_attr))
        i, j = edge_index
        return {"nodes": h, "edges": h[i] * edge_attr - h[j], "energy": global_add_pool(h, batch)}


SOURCE = pyg.source(edges=["edge_attr"])
TARGET = actions.Dict(nodes=actions.Nodes(S), edges=actions.Trivial(S, edges="edge_index"), energy=actions.Trivial(S))
GRAPHS = [graph(seed) for seed in range(24)]


def inputs(data: Data) -> dict[str, torch.Tensor]:
    batch = data.batch if data.batch is not None else torch.zeros(data.num_nodes, dtype=torch.long)
    return {"x": data.x, "edge_index": data.edge_index, "edge_attr": data.edge_attr, "batch": batch}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["f32", "f64"])
def test_networks_are_equivariant(dtype, generator):
    net = Network(dtype)
    model = coset.symmetrize(net, SOURCE >> TARGET)
    assert isinstance(model.frame, frames.Relabel)
    worst = 0.0
    for seed in range(24):
        data = graph(seed, dtype)
        other, nodes, edges = shuffled(data, generator)
        with torch.no_grad():
            one, two = model(**inputs(data)), model(**inputs(other))
            bare, moved = net(**inputs(data)), net(**inputs(other))
        assert torch.allclose(one["nodes"][nodes], two["nodes"], atol=100 * torch.finfo(dtype).eps)
        assert torch.allclose(one["edges"][edges], two["edges"], atol=100 * torch.finfo(dtype).eps)
        assert torch.allclose(one["energy"], two["energy"], atol=100 * torch.finfo(dtype).eps)
        worst = max(worst, float((bare["energy"] - moved["energy"]).abs().max()))
    assert worst > 0.1


def test_a_batch_is_its_graphs():
    model = coset.symmetrize(Network(), SOURCE >> TARGET)
    whole = Batch.from_data_list(GRAPHS)
    with torch.no_grad():
        y = model(**inputs(whole))
        parts = [model(**inputs(one)) for one in GRAPHS]
    for key in y:
        assert torch.allclose(y[key], torch.cat([part[key] for part in parts]), atol=1e-12)
    assert torch.equal(model.frame(inputs(whole)).order, torch.cat([model.frame(inputs(one)).order for one in GRAPHS]))


def test_outputs_are_constant_on_orbits_and_gradients_finite():
    data = Data(x=torch.ones(6, 2).double(), edge_index=ring(6), edge_attr=torch.ones(12, 1).double())
    model = coset.symmetrize(Network(), SOURCE >> TARGET)
    x = data.x.clone().requires_grad_()
    y = model(**{**inputs(data), "x": x})
    assert torch.allclose(y["nodes"], y["nodes"][:1].expand_as(y["nodes"]), atol=1e-14)
    assert torch.allclose(y["edges"], y["edges"][:1].expand_as(y["edges"]), atol=1e-14)
    y["energy"].square().sum().backward()
    assert torch.allclose(x.grad, x.grad[:1].expand_as(x.grad), atol=1e-12)
    assert all(bool(p.grad.isfinite().all()) for p in model.parameters() if p.grad is not None)


def test_parallel_edges_and_empty_graphs(generator):
    twice = Data(x=torch.ones(2, 2).double(), edge_index=torch.tensor([[0, 0], [1, 1]]), edge_attr=torch.ones(2, 1).double())
    lonely = Data(x=torch.ones(3, 2).double(), edge_index=torch.zeros(2, 0, dtype=torch.long), edge_attr=torch.zeros(0, 1).double())
    model = coset.symmetrize(lambda x, edge_index, edge_attr, batch: edge_attr.cumsum(0), SOURCE >> TARGET.entries["edges"])
    assert model(**inputs(twice)).tolist() == [[1.5], [1.5]]
    assert model(**inputs(lonely)).shape == (0, 1)
    assert model.frame(inputs(lonely)).order.tolist() == [6]
    both = Batch.from_data_list([lonely, twice, lonely])
    assert model.frame(inputs(both)).order.tolist() == [6, 1, 6]
    assert model(**inputs(both)).tolist() == [[1.5], [1.5]]


def test_audits_and_the_frame_law(generator):
    x = inputs(Batch.from_data_list(GRAPHS[3:9]))
    net = Network()
    model = coset.symmetrize(net, SOURCE >> TARGET)
    assert coset.audit(net, SOURCE >> TARGET, x, samples=2).error > 1e-2
    assert coset.audit(model, SOURCE >> TARGET, x, samples=2).error < 1e-12
    assert coset.frame_gap(model.frame, x, generator=generator) == 0


def test_sets_without_edges(generator):
    source = actions.Dict(x=actions.Nodes(S), batch=actions.BatchIndex(S))
    model = coset.symmetrize(lambda x, batch: x.cumsum(0), source >> actions.Nodes(S))
    x = torch.tensor([3.0, 1.0, 1.0, 5.0])
    batch = torch.tensor([0, 0, 0, 1])
    assert model(x=x, batch=batch).tolist() == [5.0, 1.5, 1.5, 10.0]
    assert model.frame({"x": x, "batch": batch}).order.tolist() == [2, 1]


# -- data objects ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(24))
def test_canonical_data_is_equal_for_isomorphic_graphs(seed, generator):
    data = graph(seed)
    before = data.clone()
    other = pyg.canonical(shuffled(data, generator)[0])
    found = pyg.canonical(data)
    assert type(found) is Data
    assert same(found, other, "x", "edge_index", "edge_attr")
    assert same(found, pyg.canonical(found), "x", "edge_index", "edge_attr")
    assert same(data, before, "x", "edge_index", "edge_attr")  # the input is left alone
    assert found.y.item() == seed
    assert found.name == f"graph {seed}"
    code = found.edge_index[0] * data.num_nodes + found.edge_index[1]
    assert torch.equal(code, code.sort().values)


def test_canonical_batches_can_be_taken_apart():
    found = pyg.canonical(Batch.from_data_list(GRAPHS))
    assert found.validate()
    for number, one in enumerate(found.to_data_list()):
        assert same(one, pyg.canonical(GRAPHS[number]), "x", "edge_index", "edge_attr", "y")
        assert one.name == f"graph {number}"


def test_attributes_that_are_not_looked_at_only_follow():
    data = Data(x=torch.zeros(3, 1), edge_index=torch.tensor([[0, 1], [1, 2]]), mark=torch.tensor([7, 8, 9]))
    found = pyg.canonical(data, of=["x"])
    ends = [(int(found.mark[i]), int(found.mark[j])) for i, j in found.edge_index.T]
    assert sorted(ends) == [(7, 8), (8, 9)]
    marked = Data(x=torch.zeros(3, 1), edge_index=ring(3), mark=torch.tensor([7, 8, 9]))
    assert pyg.canonical(marked).mark.tolist() == [7, 8, 9]
    assert sorted(pyg.canonical(marked, of=[]).mark.tolist()) == [7, 8, 9]
    assert pyg.canonical(Data(edge_index=ring(3), num_nodes=5)).num_nodes == 5


def test_the_transform(generator):
    transform = Compose([ToUndirected(), pyg.CanonicalOrder()])
    one, two = (transform(data.clone()) for data in (GRAPHS[7], shuffled(GRAPHS[7], generator)[0]))
    assert same(one, two, "x", "edge_index", "edge_attr")
    assert repr(pickle.loads(pickle.dumps(pyg.CanonicalOrder(of=["x"], frame=frames.Relabel(tol=1e-3))))) == (
        "CanonicalOrder(of=['x'], frame=Relabel(tol=0.001))"
    )
    loaded = next(iter(DataLoader([pyg.CanonicalOrder()(data) for data in GRAPHS], batch_size=24)))
    assert same(loaded, pyg.canonical(loaded), "x", "edge_index", "edge_attr")


class OnObjects(torch.nn.Module):
    """A network that takes a data object, and reads an attribute of the graph as well."""

    def __init__(self):
        super().__init__()
        self.net = Network()

    def forward(self, data):
        batch = data.batch if data.batch is not None else torch.zeros(data.num_nodes, dtype=torch.long)
        y = self.net(data.x, data.edge_index, data.edge_attr, batch)
        return {**y, "energy": y["energy"] + data.y[:, None]}


def test_modules_on_data_objects(generator):
    model = pyg.OnData(OnObjects(), TARGET, edges=["edge_attr"])
    other, nodes, edges = shuffled(GRAPHS[11], generator)
    for one, two in (
        (GRAPHS[11], other),
        (Batch.from_data_list(GRAPHS[11:12] + GRAPHS[:5]), Batch.from_data_list([other, *GRAPHS[:5]])),
    ):
        a, b = model(one), model(two)
        assert torch.allclose(a["nodes"][nodes], b["nodes"][: len(nodes)], atol=1e-12)
        assert torch.allclose(a["edges"][edges], b["edges"][: len(edges)], atol=1e-12)
        assert torch.allclose(a["energy"], b["energy"], atol=1e-12)
    a["energy"].sum().backward()
    assert {name.split(".")[0] for name in model.state_dict()} == {"symmetrized"}


@pytest.mark.data
def test_a_real_data_set(generator):
    path = Path(os.environ.get("COSET_DATA", "missing"), "graphs", "tu_mutag.npz")
    if not path.exists():
        pytest.skip("set COSET_DATA to the folder that holds graphs/")
    data = np.load(path, allow_pickle=False)
    starts, cuts = data["node_offsets"], data["edge_offsets"]
    for g in range(0, 188, 6):
        edges = torch.from_numpy(data["edge_index"][:, cuts[g] : cuts[g + 1]].astype(np.int64))
        n = int(starts[g + 1] - starts[g])
        one = Data(edge_index=edges, num_nodes=n)
        order = torch.randperm(n, generator=generator)
        two = Data(edge_index=torch.argsort(order)[edges], num_nodes=n)
        assert same(pyg.canonical(one), pyg.canonical(two), "edge_index")


# -- bad input -------------------------------------------------------------------------------------------------------


def call(**change):
    x = {**inputs(Batch.from_data_list(GRAPHS[3:6])), **change}
    return coset.symmetrize(Network(), SOURCE >> TARGET)(**x)


CROSSING = torch.cat([torch.stack([torch.arange(12) % 5, torch.arange(12) % 5]), torch.tensor([[0], [6]])], 1)
BAD = [
    (lambda: call(edge_index=torch.full((2, 12), 99)), r"from 99 to 99.*0 to 17"),
    (lambda: call(edge_index=-torch.ones(2, 12, dtype=torch.long)), r"from -1 to -1"),
    (lambda: call(edge_index=CROSSING[:, 1:]), r"between different graphs.*offsets"),
    (lambda: call(batch=torch.zeros(5, dtype=torch.long)), r"different numbers of rows.*check the batch index"),
    (lambda: call(x=torch.full((18, 2), float("nan")).double()), "NaN"),
    (lambda: pyg.canonical(Data(x=torch.ones(3, 1))), r"without edge_index"),
    (lambda: pyg.canonical(HeteroData()), r"homogeneous Data or Batch"),
    (lambda: pyg.canonical(GRAPHS[3], of=["charge"]), r"of=\['charge'\].*\['x', 'edge_attr'\]"),
    (lambda: pyg.OnData(OnObjects(), TARGET, nodes=["z"])(GRAPHS[3]), r"without \['z'\]"),
    (lambda: actions.Nodes(groups.Euclidean(3)), r"Symmetric\(\).*pad the graphs"),
    (
        lambda: frames.Relabel().bind(actions.Dict(x=actions.Nodes(S), a=actions.Permute(S, -2, -1))),
        r"one kind of graph.*actions.Nodes",
    ),
    (
        lambda: frames.Relabel().bind(pyg.source(nodes=()))({"edge_index": ring(3), "batch": torch.zeros(3)}),
        r"integer tensor of shape \(N,\)",
    ),
    (
        lambda: frames.Relabel().bind(actions.Dict(z=actions.Trivial(S), e=actions.Edges(S), b=actions.BatchIndex(S)))(
            {"z": torch.zeros(3), "e": ring(3), "b": torch.zeros(3, dtype=torch.long)}
        ),
        r"declared Trivial beside graphs of 3 nodes.*actions.Nodes",
    ),
    (lambda: frames.Relabel(symmetric=True).bind(pyg.source())({**inputs(GRAPHS[8])}), r"exactly the declared"),
]


@pytest.mark.parametrize(("function", "text"), BAD, ids=[text[:25] for _, text in BAD])
def test_bad_input(function, text):
    with pytest.raises(coset.errors.CosetError, match="(?s)" + text):
        function()


def test_asymmetric_edges_where_symmetry_was_promised():
    frame = frames.Relabel(symmetric=True).bind(pyg.source(edges=["w"], batch=False))
    x = {"x": torch.zeros(3, 1), "edge_index": ring(3), "w": torch.ones(6)}
    assert frame(x).order.tolist() == [6]
    x["w"][0] = 2.0
    with pytest.raises(InputError, match=r"asymmetric adjacency in sample 0.*both directions with equal attributes"):
        frame(x)
    with pytest.raises(FrameError, match="edge lists"):
        frames.Relabel().bind(actions.Dict(a=actions.Edges(S), b=actions.Edges(S), x=actions.Nodes(S)))(
            {"a": ring(3), "b": ring(3), "x": torch.zeros(3)}
        )


def test_a_name_by_itself_is_one_name():
    data = Data(pos=torch.randn(3, 2), edge_index=torch.tensor([[0, 1], [1, 2]]), edge_attr=torch.ones(2, 1))
    assert list(pyg.source("pos", "edge_attr").entries) == ["pos", "edge_index", "edge_attr", "batch"]
    assert torch.equal(pyg.canonical(data, of="pos").pos, pyg.canonical(data, of=["pos"]).pos)
    model = pyg.OnData(lambda data: data.pos.cumsum(0), actions.Nodes(groups.Symmetric()), nodes="pos", edges="edge_attr")
    assert model(data).shape == (3, 2)


def test_compilation_of_graphs_names_the_remedy():
    S = groups.Symmetric()
    model = coset.symmetrize(lambda a: a.sum(-1), actions.Permute(S, -2, -1) >> actions.Permute(S, -1))
    with pytest.raises(FrameError, match="compile or transform the model"):
        torch.compile(model, backend="eager")(torch.ones(1, 3, 3))
