"""Canonical eigenvectors: functions of the graph, whatever basis and order of nodes a solver gives; what is open is known."""

from __future__ import annotations

import warnings

import networkx as nx
import pytest
import torch
from torch import nn

import coset
from coset import actions, frames, groups
from coset.errors import FrameError, InputError
from coset.frames.branches import branches
from coset.frames.eigenspaces import Spaces, cluster

TREES = list(nx.nonisomorphic_trees(9))
SMALL = [graph for graph in nx.graph_atlas_g()[1::7] if nx.is_connected(graph)]
REGULAR = {"petersen": nx.petersen_graph(), "cube": nx.hypercube_graph(3), "ring": nx.cycle_graph(8), "complete": nx.complete_graph(5)}


def spectra(found, dtype=torch.float64):
    """Padded eigenvectors of Laplacians."""
    n = max(len(graph) for graph in found)
    vectors, values = torch.zeros(len(found), n, n, dtype=dtype), torch.zeros(len(found), n, dtype=dtype)
    mask = torch.zeros(len(found), n, dtype=torch.bool)
    for b, graph in enumerate(found):
        m = len(graph)
        a, v = torch.linalg.eigh(torch.tensor(nx.laplacian_matrix(graph).toarray(), dtype=torch.float64))
        vectors[b, :m, :m], values[b, :m], mask[b, :m] = v.to(dtype), a.to(dtype), True
    return {"vectors": vectors, "values": values, "mask": mask}


def scrambled(inputs, generator):
    """Nodes in another order, and another basis of every eigenspace, as another solver would give."""
    found, orders = {key: value.clone() for key, value in inputs.items()}, []
    for b, mask in enumerate(inputs["mask"]):
        m = int(mask.sum())
        order = torch.randperm(m, generator=generator)
        found["vectors"][b, :m] = inputs["vectors"][b, order]
        block = cluster(inputs["values"][b : b + 1].double(), mask[None], 1e-4)[0]
        for number in range(int(block.max()) + 1):
            columns = (block == number).nonzero().flatten()
            turn = torch.linalg.qr(torch.randn(len(columns), len(columns), generator=generator, dtype=torch.float64))[0]
            turn = turn * torch.randn((), generator=generator).sign()
            found["vectors"][b][:, columns] = found["vectors"][b][:, columns] @ turn.to(found["vectors"].dtype)
        orders.append(order)
    return found, orders


def bound(n, **options):
    group = groups.Orthogonal(n)
    source = actions.Dict(
        vectors=actions.Vectors(group, points=True, mask="mask"), values=actions.Trivial(group), mask=actions.PointMask(group)
    )
    return frames.Eigenvectors(**options).bind(source), source


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("found", [TREES, SMALL, list(REGULAR.values())], ids=["trees", "small", "regular"])
def test_what_is_fixed_depends_on_the_graph_alone(found, dtype, generator):
    inputs = spectra(found, dtype)
    frame, _ = bound(inputs["vectors"].shape[1])
    one, fixed = frame.canonical(inputs)
    other, orders = scrambled(inputs, generator)
    two, again = frame.canonical(other)
    assert torch.equal(fixed, again)
    for b, order in enumerate(orders):
        error = ((one[b, order] - two[b, : len(order)]) * fixed[b]).abs().max()
        assert error < (1e-9 if dtype == torch.float64 else 1e-4)


def test_canonical_columns_are_eigenvectors():
    inputs = spectra(TREES)
    one, _ = bound(9)[0].canonical(inputs)
    for b, graph in enumerate(TREES):
        laplacian = torch.tensor(nx.laplacian_matrix(graph).toarray(), dtype=torch.float64)
        assert (laplacian @ one[b] - one[b] * inputs["values"][b]).abs().max() < 1e-10
        assert (one[b].T @ one[b] - torch.eye(9)).abs().max() < 1e-10


def test_random_signs_and_any_basis_of_a_solver_are_seen_to_depend_on_it(generator):
    inputs = spectra(TREES)
    other, orders = scrambled(inputs, generator)
    same = [torch.allclose(inputs["vectors"][b, order], other["vectors"][b], atol=1e-6) for b, order in enumerate(orders)]
    assert sum(same) == 0


def flips(graph):
    """Whether an automorphism sends some simple eigenvector to its negative: then no rule fixes its sign."""
    laplacian = torch.tensor(nx.laplacian_matrix(graph).toarray(), dtype=torch.float64)
    values, vectors = torch.linalg.eigh(laplacian)
    block = cluster(values[None], torch.ones(1, len(values), dtype=torch.bool), 1e-5)[0]
    count = 0
    symmetries = list(nx.isomorphism.GraphMatcher(graph, graph).isomorphisms_iter())
    for column in range(len(values)):
        if int((block == block[column]).sum()) > 1:
            continue
        u = vectors[:, column]
        count += any((u[[s[i] for i in range(len(u))]] + u).abs().max() < 1e-8 for s in symmetries)
    return count


def test_exactly_the_signs_that_no_automorphism_flips_are_fixed():
    found = [nx.convert_node_labels_to_integers(graph) for graph in [*TREES[:20], *SMALL[:60]]]
    inputs = spectra(found)
    report = bound(inputs["vectors"].shape[1])[0].report(inputs)
    assert (report.signs - report.signs_fixed).tolist() == [flips(graph) for graph in found]


@pytest.mark.parametrize(("name", "elements"), [("cube", 48), ("ring", 16), ("petersen", 120), ("complete", 120)])
def test_the_average_over_what_is_open_has_as_many_elements_as_automorphisms(name, elements):
    inputs = spectra([REGULAR[name]])
    report = bound(len(REGULAR[name]), average=150)[0].report(inputs)
    assert report.elements.tolist() == [elements]
    assert not bool(report.canonical)
    assert bool(report.exact)
    few = bound(len(REGULAR[name]), average=elements - 1)[0].report(inputs)
    assert few.elements.tolist() == [0]
    assert not bool(few.exact)


class Encoder(nn.Module):
    """Reads eigenvectors node by node, and their values; nothing about it is invariant."""

    def __init__(self, k):
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(2 * k, 16), nn.Tanh(), nn.Linear(16, 2)).double()

    def forward(self, vectors, values, mask):
        return self.net(torch.cat([vectors, values.unsqueeze(1).expand_as(vectors)], -1)) * mask.unsqueeze(-1)


@pytest.mark.parametrize("found", [SMALL, [REGULAR["cube"], REGULAR["ring"], TREES[3]]], ids=["small", "regular"])
def test_symmetrized_models_are_exact_where_the_report_says_so(found, generator):
    inputs = spectra(found)
    frame, source = bound(inputs["vectors"].shape[1])
    exact = frame.report(inputs).exact
    assert int(exact.sum()) > 0
    k = inputs["vectors"].shape[1]
    model = coset.symmetrize(Encoder(k), source >> actions.Trivial(groups.Orthogonal(k)), frames.Eigenvectors())
    other, orders = scrambled(inputs, generator)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        one, two = model(**inputs), model(**other)
    error = torch.stack([(one[b, order] - two[b, : len(order)]).abs().max() for b, order in enumerate(orders)])
    assert error[exact].max() < 1e-10
    assert bool((error[~exact] > 1e-6).all())


def test_open_samples_are_named_in_a_warning():
    inputs = spectra([nx.path_graph(7), nx.complete_graph(7)])
    with pytest.warns(UserWarning, match=r"samples \[1\]"):
        bound(7)[0](inputs)


def test_colours_of_nodes_fix_more():
    graph = nx.cycle_graph(5)
    inputs = spectra([graph])
    group = groups.Orthogonal(5)
    source = actions.Dict(
        vectors=actions.Vectors(group, points=True), values=actions.Trivial(group), atom=actions.Trivial(group, points=True)
    )
    del inputs["mask"]
    plain = {**inputs, "atom": torch.zeros(1, 5, dtype=torch.long)}
    marked = {**inputs, "atom": torch.tensor([[6, 7, 8, 6, 6]])}
    frame = frames.Eigenvectors(colours="atom").bind(source)
    assert frame.report(plain).bases_fixed.tolist() == [0]
    assert frame.report(marked).bases_fixed.tolist() == [2]
    assert bool(frame.report(marked).canonical)


def test_ragged_graphs_agree_with_padded_ones():
    inputs = spectra([nx.path_graph(4), nx.star_graph(5), nx.balanced_tree(2, 2)])
    k = inputs["vectors"].shape[1]
    group = groups.Orthogonal(k)
    batch = torch.arange(3).repeat_interleave(inputs["mask"].sum(1))
    source = actions.Dict(vectors=actions.Vectors(group, batch="batch"), values=actions.Trivial(group), batch=actions.BatchIndex(group))
    ragged = {"vectors": inputs["vectors"][inputs["mask"]], "values": inputs["values"], "batch": batch}
    one, fixed = bound(k)[0].canonical(inputs)
    two, again = frames.Eigenvectors().bind(source).canonical(ragged)
    assert torch.equal(fixed, again)
    assert torch.allclose(one[inputs["mask"]], two, atol=1e-12)


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        (lambda x: {**x, "vectors": 2 * x["vectors"]}, InputError, "orthonormal"),
        (lambda x: {**x, "values": x["values"][:, :2]}, InputError, "one for each eigenvector|shape"),
        (lambda x: {**x, "values": x["values"] * float("nan")}, InputError, "finite"),
    ],
)
def test_wrong_spectra_are_refused(change, error, text):
    frame, _ = bound(9)
    with pytest.raises(error, match=text):
        frame(change(spectra(TREES[:3])))


def test_wrong_declarations_are_refused():
    group = groups.Orthogonal(3)
    with pytest.raises(FrameError, match="keys of the source"):
        frames.Eigenvectors().bind(actions.Dict(u=actions.Vectors(group)))
    with pytest.raises(FrameError, match="Orthogonal"):
        frames.Eigenvectors().bind(actions.Vectors(groups.SpecialOrthogonal(3)))
    with pytest.raises(FrameError, match="number of elements"):
        frames.Eigenvectors(average=0)
    with pytest.raises(FrameError, match="relative"):
        frames.Eigenvectors(gap=2.0)


def test_pyg_transform_is_equivariant_never_cuts_and_batches(generator):
    geometric = pytest.importorskip("torch_geometric")
    from torch_geometric.utils import from_networkx

    from coset.interop import pyg

    transform = pyg.CanonicalEigenvectors(k=4)
    found = []
    for graph in [*TREES[:10], nx.cycle_graph(7), nx.complete_graph(6), nx.empty_graph(3), nx.disjoint_union(TREES[2], TREES[5])]:
        order = torch.randperm(len(graph), generator=generator)
        other = nx.relabel_nodes(graph, {i: int(order[i]) for i in range(len(graph))})
        plain = from_networkx(graph)
        moved = from_networkx(graph)
        moved.edge_index = order[plain.edge_index]
        one, two = transform(plain), transform(moved)
        assert torch.equal(one.eigenvectors_fixed, two.eigenvectors_fixed)
        assert (two.eigenvectors[order] - one.eigenvectors).abs().max() < 1e-5
        assert one.eigenvectors.shape == (len(other), 4)
        found.append(one)
    batch = geometric.data.Batch.from_data_list(found)
    assert batch.eigenvectors_fixed.shape == (len(found), 4)
    ring = found[10]
    assert ring.eigenvectors_values[0, :4].gt(0).tolist() == [True] * 4
    three = pyg.CanonicalEigenvectors(k=3)(from_networkx(nx.cycle_graph(7)))
    assert three.eigenvectors_values.gt(0).tolist() == [[True, True, False]]
    complete = found[11]
    assert float(complete.eigenvectors_values.abs().max()) == 0.0
    kept = pyg.CanonicalEigenvectors(k=4, open=True)(from_networkx(nx.cycle_graph(7)))
    assert float(kept.eigenvectors.abs().max()) > 0.1
    with pytest.raises(InputError, match="1 or more"):
        pyg.CanonicalEigenvectors(k=0)


def test_coarse_precision_is_refused_and_coarse_tolerances_end():
    """Half precision separates nothing; a search that settles nothing stops and says so."""
    values, vectors = torch.linalg.eigh(torch.diag(torch.arange(7.0)) + torch.ones(7, 7))
    group = groups.Orthogonal(7)
    frame = frames.Eigenvectors().bind(actions.Dict(vectors=actions.Vectors(group, points=True), values=actions.Trivial(group)))
    with pytest.raises(InputError, match="float32 or float64"):
        frame({"vectors": vectors[None].half(), "values": values[None].half()})
    with pytest.raises(FrameError, match="tolerance"):
        frames.Eigenvectors(tol=0.4)
    flat = Spaces(
        vectors[None], torch.zeros(1, 7, dtype=torch.long), torch.ones(1, 7, dtype=torch.bool), torch.zeros(1, 7, dtype=torch.long)
    )
    found = branches(flat, 1.5, 10**6)
    assert found.exact.tolist() == [False]
    assert found.basis.shape == (1, 7, 7)


def test_batches_are_refused_by_the_transform():
    geometric = pytest.importorskip("torch_geometric")
    from coset.interop import pyg

    one = geometric.data.Data(edge_index=torch.tensor([[0, 1], [1, 0]]), num_nodes=2)
    two = geometric.data.Batch.from_data_list([one, one])
    with pytest.raises(InputError, match="before batching"):
        pyg.CanonicalEigenvectors(k=1)(two)
    assert pyg.CanonicalEigenvectors(k=1)(geometric.data.Batch.from_data_list([one])).eigenvectors.shape == (2, 1)


def test_compilation_names_the_remedy():
    group = groups.Orthogonal(3)
    source = actions.Dict(vectors=actions.Vectors(group, points=True), values=actions.Trivial(group))
    model = coset.symmetrize(lambda vectors, values: vectors.sum((1, 2)), source >> actions.Trivial(group), frames.Eigenvectors())
    with pytest.raises(FrameError, match="compile or transform the model"):
        torch.compile(model, backend="eager")(vectors=torch.eye(3)[None], values=torch.arange(3.0)[None])
