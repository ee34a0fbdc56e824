"""Graphs in canonical order: known automorphism groups, forms that tell graphs apart, laws on hard graphs, bad input."""

from __future__ import annotations

import importlib
import math
import os
import sys
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
import torch

import coset
from coset import actions, frames, groups
from coset.errors import FrameError, InputError, MissingExtraError
from coset.frames import labelling, refinement
from coset.orbits import components, tuple_orbits

pynauty = pytest.importorskip("pynauty")
sys.path[:0] = [str(Path(__file__).resolve().parents[2] / folder) for folder in ("experiments", "benchmarks")]
known = importlib.import_module("_graphs")

S = groups.Symmetric()
SOURCE = actions.Dict(adjacency=actions.Permute(S, -2, -1), x=actions.Permute(S, -2))
TARGET = actions.Dict(nodes=actions.Permute(S, -2), pairs=actions.Permute(S, -2, -1), energy=actions.Trivial(S))


def c60() -> nx.Graph:
    """The bond graph of C60: the icosahedron with its corners cut off."""
    corners = nx.icosahedral_graph()
    planar = nx.check_planarity(corners)[1]
    graph = nx.Graph()
    for v in corners:
        ring = list(planar.neighbors_cw_order(v))
        graph.add_edges_from(((v, a), (v, b)) for a, b in zip(ring, ring[1:] + ring[:1], strict=True))
        graph.add_edges_from(((v, a), (a, v)) for a in ring)
    return nx.convert_node_labels_to_integers(graph)


def rook(side: int) -> nx.Graph:
    return nx.convert_node_labels_to_integers(nx.line_graph(nx.complete_bipartite_graph(side, side)))


GRAPHS: dict[str, tuple[nx.Graph, int, int, int]] = {
    # automorphisms, orbits of nodes, orbits of ordered pairs
    "K40": (nx.complete_graph(40), min(math.factorial(40), 2**63 - 1), 1, 2),
    "3 x K4": (nx.disjoint_union_all([nx.complete_graph(4)] * 3), 24**3 * 6, 1, 3),
    "C60": (c60(), 120, 1, (60 + 4) // 2),  # a mirror fixes four atoms and exchanges the others
    "Petersen": (nx.petersen_graph(), 120, 1, 3),
    "rook 5 x 5": (rook(5), 28800, 1, 3),
    "cube": (nx.hypercube_graph(3), 48, 1, 4),
    "star": (nx.star_graph(9), math.factorial(9), 2, 5),
    "path": (nx.path_graph(7), 2, 4, 25),
    "Frucht": (nx.frucht_graph(), 1, 12, 144),
    "binary tree": (nx.balanced_tree(2, 3), 128, 4, 16 + 9 + 4 + 1),  # levels of both nodes and of their last common ancestor
    "empty": (nx.empty_graph(6), 720, 1, 2),
    "one node": (nx.empty_graph(1), 1, 1, 1),
    "directed ring": (nx.cycle_graph(6, create_using=nx.DiGraph), 6, 1, 6),
    "transitive tournament": (nx.DiGraph([(i, j) for i in range(5) for j in range(i)]), 1, 5, 25),
}
over_graphs = pytest.mark.parametrize("name", GRAPHS)


def matrix(graph: nx.Graph, dtype=torch.float64) -> torch.Tensor:
    return torch.from_numpy(nx.to_numpy_array(graph)).to(dtype)


class Flat(torch.nn.Module):
    """A generic network that sees the place of every node."""

    def __init__(self, n: int, width: int, dtype=torch.float64):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.n = n
        self.one = torch.nn.Parameter(torch.randn(n * n + n * width, 16, generator=generator, dtype=dtype) / n)
        self.two = torch.nn.Parameter(torch.randn(16, n * 2 + n * n + 1, generator=generator, dtype=dtype))

    def forward(self, adjacency, x):
        y = torch.tanh(torch.cat([adjacency.flatten(1).to(x.dtype), x.flatten(1)], 1) @ self.one + 0.1) @ self.two
        nodes, pairs, energy = y.split([2 * self.n, self.n**2, 1], 1)
        return {"nodes": nodes.reshape(-1, self.n, 2), "pairs": pairs.reshape(-1, self.n, self.n), "energy": energy}


def gap(model, x, generator):
    """The largest error over outputs and a few relabellings, relative to the network's outputs."""
    y, worst = model(**x), 0.0
    for _ in range(3):
        g = SOURCE.resolve(x).sample(len(x["adjacency"]), generator=generator)
        moved, expected = model(**SOURCE.act(g, x)), TARGET.act(g, y)
        worst = max(worst, max(float((moved[key] - expected[key]).abs().max().detach()) for key in y))
    return worst


# -- known groups ------------------------------------------------------------------------------------------------


@over_graphs
def test_orders_and_orbits(name):
    graph, size, nodes, pairs = GRAPHS[name]
    found = frames.canonical_graph(matrix(graph))
    assert abs(found.size / size - 1) < 1e-14
    assert len(found.orbits.unique()) == nodes
    generators = found.generators.numpy()
    assert len(np.unique(tuple_orbits(generators, 1))) == nodes
    assert np.array_equal(tuple_orbits(generators, 1), found.orbits.numpy())
    assert len(np.unique(tuple_orbits(generators, 2))) == pairs
    for generator in found.generators:
        assert torch.equal(matrix(graph)[generator][:, generator], matrix(graph))


def test_groups_against_pynauty(generator):
    """Random small graphs, most of which have automorphisms."""
    for seed in range(60):
        graph = nx.gnm_random_graph(8, 6 + seed % 9, seed=seed)
        found = frames.canonical_graph(matrix(graph))
        own = pynauty.Graph(8, adjacency_dict={v: list(graph[v]) for v in graph})
        _, mantissa, exponent, orbits, _ = pynauty.autgrp(own)
        assert found.size == round(mantissa * 10**exponent)
        assert found.orbits.tolist() == orbits


def brute(weights, colours):
    """All permutations that keep a matrix and colours."""
    n = len(weights)
    every = groups.Symmetric(n).elements()
    same = [(weights[p][:, p] == weights).all() and (colours[p] == colours).all() for p in every]
    return every[torch.tensor(same)]


def test_groups_against_listing_all_permutations(generator):
    """Weighted, directed, looped and coloured graphs."""
    for seed in range(40):
        draw = torch.Generator().manual_seed(seed)
        weights = torch.randint(-1, 3, (5, 5), generator=draw).double() * 0.7
        weights = weights + weights.mT if seed % 2 else weights
        if seed % 3 == 0:
            weights = torch.kron(torch.ones(5, 5), torch.tensor([[0.3]])).double() + torch.diag((weights[0] > 0).double())
        colours = torch.randint(2, (5,), generator=draw)
        group = brute(weights, colours)
        found = frames.canonical_graph(weights, colours)
        assert found.size == len(group)
        assert found.orbits.tolist() == group.amin(0).tolist()
        pairs = torch.from_numpy(tuple_orbits(found.generators.numpy(), 2)).reshape(5, 5)
        expected = (group[:, :, None] * 5 + group[:, None, :]).amin(0)
        assert torch.equal(pairs, expected)


def test_triples_too(generator):
    group = brute(matrix(nx.cycle_graph(5)), torch.zeros(5))
    found = frames.canonical_graph(matrix(nx.cycle_graph(5)))
    expected = (group[:, :, None, None] * 25 + group[:, None, :, None] * 5 + group[:, None, None, :]).amin(0)
    assert torch.equal(torch.from_numpy(tuple_orbits(found.generators.numpy(), 3)).reshape(5, 5, 5), expected)


def test_components():
    assert components(6, np.array([4, 2, 5]), np.array([2, 0, 3])).tolist() == [0, 1, 0, 3, 0, 3]
    chain = np.arange(999)
    assert components(1000, chain[::-1], chain[::-1] + 1).max() == 0


# -- forms ---------------------------------------------------------------------------------------------------------


def test_cubic_graphs_from_smaller_ones():
    assert [len(known.cubic_graphs(n)) for n in (4, 6, 8, 10)] == [1, 2, 5, 19]
    assert [len(known.cubic_multigraphs(n)) for n in (2, 4, 6, 8)] == [2, 5, 17, 71]
    assert [sum(math.factorial(n) // k for k in known.forms(known.cubic_graphs(n))[1]) for n in (6, 8, 10)] == [70, 19320, 11166120]


def test_all_graphs_with_seven_nodes():
    atlas = [nx.to_numpy_array(graph, dtype=np.int64) for graph in nx.graph_atlas_g() if len(graph) == 7]
    found, orders = known.forms(atlas)
    assert len(set(found)) == 1044
    assert sum(math.factorial(7) // order for order in orders) == 2**21
    assert known.forms(known.shuffled(atlas, 0))[0] == found


def test_rook_and_shrikhande():
    steps = {(1, 0), (3, 0), (0, 1), (0, 3), (1, 1), (3, 3)}
    places = [(i, j) for i in range(4) for j in range(4)]
    shrikhande = np.array([[int(((a - c) % 4, (b - d) % 4) in steps) for c, d in places] for a, b in places])
    found, orders = known.forms([nx.to_numpy_array(rook(4), dtype=np.int64), shrikhande])
    assert orders == [1152, 192]
    assert found[0] != found[1]


def test_a_graph6_string():
    assert known.forms([known.graph6("Gkl?hK")])[1] == [4]


def folder() -> Path:
    path = Path(os.environ.get("COSET_DATA", "missing"), "graphs")
    if not path.exists():
        pytest.skip("set COSET_DATA to the folder that holds graphs/")
    return path


@pytest.mark.data
def test_strongly_regular_graphs_and_eight_nodes():
    srg = known.read_graph6(folder() / "sr251256.g6")
    assert len(set(known.forms(srg)[0])) == 15
    eight = known.read_graph6(folder() / "graph8c.g6")[::7]
    assert len(set(known.forms(eight)[0])) == len(eight)


@pytest.mark.data
def test_pairs_are_told_apart():
    graphs, kinds = known.read_exp(folder() / "exp.npz")
    found, _ = known.forms(graphs[:100], kinds[:100])
    assert all(a != b for a, b in zip(found[::2], found[1::2], strict=True))
    assert known.forms(known.shuffled(graphs[:40], 0))[0] == known.forms(graphs[:40])[0]
    brec = known.read_graph6(folder() / "brec_pairs.g6")
    brec = [graph for pair in range(0, 400, 20) for graph in brec[2 * pair : 2 * pair + 2]]
    found, _ = known.forms(brec)
    assert all(a != b for a, b in zip(found[::2], found[1::2], strict=True))


def test_refinement_and_walks_only_save_work(monkeypatch):
    """Without them nauty gives the same classes."""
    graphs = [nx.to_numpy_array(nx.random_regular_graph(3, 40, seed=seed), dtype=np.int64) for seed in range(3)]
    graphs += known.shuffled(graphs, 1)
    nothing = (refinement, "mix", lambda x: np.zeros(np.shape(x), dtype=np.uint64))
    for changes in ([(labelling, "SMALLEST", 99)], [(labelling, "SMALLEST", 1)], [(refinement, "WALKS", 0)], [nothing]):
        with monkeypatch.context() as patch:
            for change in changes:
                patch.setattr(*change)
            found, orders = known.forms(graphs)
        assert found[:3] == found[3:]
        assert len(set(found)) == 3
        assert orders[:3] == [pynauty_order(graph) for graph in graphs[:3]]


def test_small_remainders_and_sparse_walks_are_the_same(monkeypatch):
    """Nodes without equals are left out before nauty is asked; large sparse graphs are walked otherwise."""
    graphs = [nx.to_numpy_array(nx.random_labeled_tree(30, seed=seed), dtype=np.int64) for seed in range(10)]
    graphs += [nx.to_numpy_array(nx.gnm_random_graph(30, 35, seed=seed), dtype=np.int64) for seed in range(10)]
    graphs += [nx.to_numpy_array(nx.gnm_random_graph(30, 50, seed=seed, directed=True), dtype=np.int64) for seed in range(5)]
    orders = known.forms(graphs)[1]
    assert max(orders) > 100
    whole = lambda graph, colour: (labelling.replace(graph, colour=colour), np.arange(len(colour)))  # noqa: E731
    for changes in ([(labelling, "remainder", whole)], [(labelling, "SMALLEST", 1), (refinement, "SPARSE", 0)]):
        with monkeypatch.context() as patch:
            for change in changes:
                patch.setattr(*change)
            found, again = known.forms(graphs)
            assert again == orders
            assert known.forms(known.shuffled(graphs, 1))[0] == found


def test_large_random_regular_graphs_do_not_need_nauty(monkeypatch):
    monkeypatch.setattr(labelling, "_nauty", None)
    for n in (100, 700):
        graph = nx.to_numpy_array(nx.random_regular_graph(3, n, seed=0))
        order = np.random.default_rng(0).permutation(n)
        one, two = (frames.canonical_graph(torch.from_numpy(x)) for x in (graph, graph[np.ix_(order, order)]))
        assert torch.equal(one.adjacency, two.adjacency)


def pynauty_order(graph):
    own = pynauty.Graph(len(graph), adjacency_dict={v: np.flatnonzero(row).tolist() for v, row in enumerate(graph)})
    return round(pynauty.autgrp(own)[1])


# -- symmetrized models ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["f32", "f64"])
@over_graphs
def test_models_are_equivariant_and_constant_on_orbits(name, dtype, generator):
    graph = GRAPHS[name][0]
    n = len(graph)
    for x in (torch.ones(1, n, 1, dtype=dtype), torch.randint(2, (1, n, 1), generator=generator).to(dtype)):
        data = {"adjacency": matrix(graph, dtype)[None], "x": x.clone().requires_grad_()}
        model = coset.symmetrize(Flat(n, 1, dtype), SOURCE >> TARGET)
        assert gap(model, data, generator) <= 50 * torch.finfo(dtype).eps
        y = model(**data)
        orbits = frames.canonical_graph(data["adjacency"][0], data["x"][0].detach()).orbits
        assert torch.equal(y["nodes"][0], y["nodes"][0][orbits])
        sum(out.square().sum() for out in y.values()).backward()
        assert bool(data["x"].grad.isfinite().all())
        assert all(bool(p.grad.isfinite().all()) for p in model.parameters())
        assert torch.allclose(data["x"].grad[0], data["x"].grad[0][orbits], atol=1e-4 if dtype == torch.float32 else 1e-12)


def test_the_network_alone_is_not_equivariant(generator):
    x = {"adjacency": matrix(nx.path_graph(7))[None], "x": torch.ones(1, 7, 1, dtype=torch.float64)}
    assert gap(Flat(7, 1), x, generator) > 0.1


def test_pair_outputs_are_projected(generator):
    """The mean over all twelve automorphisms of a ring, listed."""
    ring = matrix(nx.cycle_graph(6))
    model = coset.symmetrize(Flat(6, 1), SOURCE >> TARGET)
    y = model(adjacency=ring[None], x=torch.ones(1, 6, 1, dtype=torch.float64))
    group = brute(ring, torch.zeros(6))
    assert torch.allclose(torch.stack([y["pairs"][0][p][:, p] for p in group]).mean(0), y["pairs"][0], atol=1e-14)
    assert y["pairs"].unique().numel() == 4


def test_a_model_that_is_equivariant_is_returned(generator):
    class Linear(torch.nn.Module):
        def forward(self, adjacency, x):
            h = torch.tanh(adjacency @ x)
            return {"nodes": h, "pairs": h @ h.mT, "energy": h.sum((1, 2))[:, None]}

    for name in ("K40", "star", "path", "directed ring"):
        x = {"adjacency": matrix(GRAPHS[name][0])[None], "x": torch.ones(1, len(GRAPHS[name][0]), 2, dtype=torch.float64)}
        once, twice = Linear()(**x), coset.symmetrize(Linear(), SOURCE >> TARGET)(**x)
        assert all(torch.allclose(once[key], twice[key], atol=1e-13) for key in once)


@pytest.mark.parametrize("noise", [1e-15, 1e-9, 1e-7])
def test_nearly_equal_features_and_weights_count_as_equal(noise, generator):
    """Equivariance holds to rounding although the values differ; the canonical input is their average."""
    shake = lambda *shape: 1 + noise * torch.randn(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
    x = {"adjacency": matrix(nx.cycle_graph(8))[None] * shake(1, 8, 8), "x": shake(1, 8, 1)}
    model = coset.symmetrize(Flat(8, 1), SOURCE >> TARGET)
    assert int(model.frame(x).order) == 16
    assert gap(model, x, generator) <= 1e-13
    sharp = coset.symmetrize(Flat(8, 1), SOURCE >> TARGET, frames.Relabel(tol=0.0))
    assert int(sharp.frame(x).order) == (16 if noise < 1e-14 else 1)


def test_small_weights_are_no_noise(generator):
    weights = torch.diag(torch.tensor([1e-9, 1e-3, 1.0, 2.0], dtype=torch.float64), 1)
    assert frames.canonical_graph(weights + weights.mT).generators.shape[0] == 0
    assert frames.canonical_graph(1e8 * (weights + weights.mT)).size == 1


def test_features_outside_of_break_the_symmetry(generator):
    """``of`` decides first, everything else still counts."""
    x = {"adjacency": matrix(nx.cycle_graph(6))[None], "x": torch.zeros(1, 6, 1, dtype=torch.float64)}
    x["x"][0, 2] = 1
    for of in (None, "adjacency", "x", ["x", "adjacency"]):
        model = coset.symmetrize(Flat(6, 1), SOURCE >> TARGET, frames.Relabel(of=of))
        assert int(model.frame(x).order) == 2
        assert gap(model, x, generator) <= 1e-13


def test_channels_kinds_of_numbers_and_batches(generator):
    source = actions.Permute(S, -2, -1)
    frame = frames.Relabel().bind(source)
    ring = matrix(nx.cycle_graph(6))
    for x in (ring.bool(), ring.to(torch.uint8), ring.long(), ring.float(), ring.half(), (1 + 2j) * ring):
        assert int(frame(x[None]).order) == 12
    directions = torch.stack([torch.triu(ring), torch.tril(ring)])
    assert int(frame(directions[None]).order) == 1
    assert int(frame(torch.stack([ring, 2 * ring])[None]).order) == 12
    batch = torch.stack([ring, matrix(nx.path_graph(6)), matrix(nx.star_graph(5))])
    assert frame(batch).order.tolist() == [12, 2, 120]
    assert frame(batch).cosets == 1


def test_padding_is_no_part_of_the_graph(generator):
    source = actions.Dict(adjacency=actions.Permute(S, -2, -1), mask=actions.PointMask(S))
    model = coset.symmetrize(lambda adjacency, mask: adjacency.cumsum(1) + 1, source >> actions.Permute(S, -2, -1))
    alone = coset.symmetrize(lambda x: x.cumsum(1) + 1, actions.Permute(S, -2, -1) >> actions.Permute(S, -2, -1))
    path = matrix(nx.path_graph(4))
    rows = torch.tensor([5, 1, 0, 3])
    adjacency = torch.full((1, 6, 6), 7.0, dtype=torch.float64)  # padding holds anything
    adjacency[0, rows[:, None], rows] = path
    mask = torch.zeros(1, 6, dtype=torch.bool)
    mask[0, rows] = True
    y = model(adjacency=adjacency, mask=mask)
    assert model.frame({"adjacency": adjacency, "mask": mask}).order.tolist() == [2]
    assert torch.allclose(y[0, rows[:, None], rows], alone(path[None])[0])
    assert float(y[0, ~mask[0]].abs().sum() + y[0][:, ~mask[0]].abs().sum()) == 0


def test_outputs_with_three_axes(generator):
    ring = matrix(nx.cycle_graph(5))[None]
    source, target = actions.Permute(S, -2, -1), actions.Permute(S, -3, -2, -1)
    weights = torch.randn(5, 5, 5, generator=generator, dtype=torch.float64)
    model = coset.symmetrize(lambda x: weights.expand(1, 5, 5, 5), source >> target)
    g = groups.Symmetric(5).sample(1, generator=generator)
    assert torch.allclose(model(source.act(g, ring)), target.act(g, model(ring)), atol=1e-14)
    assert model(ring).unique().numel() == 13
    large = matrix(nx.cycle_graph(330))[None]
    with pytest.raises(InputError, match=r"index tuples.*fewer permuted axes"):
        coset.symmetrize(lambda x: x.new_zeros(1).expand(1, 330, 330, 330), source >> target)(large)


def test_whole_numbers_per_orbit(generator):
    ring = matrix(nx.cycle_graph(5))[None]
    source = actions.Permute(S, -2, -1)
    per_node = source >> actions.Permute(S, -1)
    assert coset.symmetrize(lambda x: x.sum(-1).long(), per_node)(ring).tolist() == [[2] * 5]
    with pytest.raises(InputError, match=r"within an orbit.*scores or logits"):
        coset.symmetrize(lambda x: torch.arange(5)[None], per_node)(ring)


# -- the default, and other frames --------------------------------------------------------------------------------


def test_the_default_is_the_canonical_order():
    model = coset.symmetrize(Flat(6, 1), SOURCE >> TARGET)
    assert "graphs in canonical order" in repr(model)
    assert isinstance(model.frame, frames.Relabel)
    assert isinstance(frames.Minimal().bind(SOURCE).inner, frames.Relabel)
    assert coset.cite(model).count("@") == 2


@pytest.mark.parametrize("other", [groups.SignFlips(2), groups.Cyclic(4), groups.Dihedral(3)], ids=repr)
def test_products_with_finite_groups_by_default(other, generator):
    for group in (S * other, other * S):
        source = actions.Dict(adjacency=actions.Permute(group, -2, -1), pos=actions.Vectors(group))
        target = actions.Vectors(group)
        weights = torch.randn(6 * 8, 12, generator=generator, dtype=torch.float64)
        net = lambda adjacency, pos, weights=weights: torch.tanh(  # noqa: E731
            torch.cat([adjacency.flatten(1), pos.flatten(1)], 1) @ weights
        ).reshape(-1, 6, 2)
        model = coset.symmetrize(net, source >> target)
        for pos in (torch.zeros(1, 6, 2), torch.randn(1, 6, 2, generator=generator)):
            x = {"adjacency": matrix(nx.cycle_graph(6))[None], "pos": pos.double()}
            g = source.resolve(x).sample(1, generator=generator, dtype=torch.float64)
            assert torch.allclose(model(**source.act(g, x)), target.act(g, model(**x)), atol=1e-13)


def test_a_frame_of_graphs_comes_last():
    group = S * groups.Cyclic(4)
    source = actions.Dict(adjacency=actions.Permute(group, -2, -1), pos=actions.Vectors(group))
    with pytest.raises(FrameError, match="exchange the two frames"):
        frames.Chain(frames.Relabel(), frames.Full()).bind(source)


def test_a_frame_that_forgets_features_would_fail(generator, monkeypatch):
    """The law sees a label that was made from the adjacency alone."""
    from coset.frames import relabel

    monkeypatch.setattr(
        relabel, "ordered_leaves", lambda frame, inputs: [("adjacency", SOURCE.entries["adjacency"], inputs["adjacency"], True)]
    )
    model = coset.symmetrize(Flat(6, 1), SOURCE >> TARGET, frames.Relabel())
    x = {"adjacency": matrix(nx.cycle_graph(6))[None], "x": torch.randn(1, 6, 1, generator=generator, dtype=torch.float64)}
    other = {**x, "x": x["x"][:, [1, 0, 2, 3, 4, 5]]}
    assert torch.allclose(model(**x)["energy"], model(**other)["energy"])  # features are averaged away
    monkeypatch.undo()
    assert not torch.allclose(model(**x)["energy"], model(**other)["energy"])


def test_averaging_over_the_wrong_classes_would_fail(generator, monkeypatch):
    from coset import orbits

    monkeypatch.setattr(orbits, "orbit_mean", lambda y, classes: y)
    x = {"adjacency": matrix(nx.cycle_graph(6))[None], "x": torch.ones(1, 6, 1, dtype=torch.float64)}
    assert gap(coset.symmetrize(Flat(6, 1), SOURCE >> TARGET), x, generator) > 0.1


# -- bad input -------------------------------------------------------------------------------------------------------

PLAIN = actions.Permute(S, -2, -1)
BAD = [
    (lambda: frames.Relabel().bind(PLAIN)(torch.zeros(1, 3, 4)), "lengths \\[3, 4\\].*equal lengths"),
    (lambda: frames.Relabel().bind(PLAIN)(torch.zeros(3, 3)), "at least 3 axes.*add the batch axis"),
    (lambda: frames.Relabel().bind(PLAIN)(torch.full((1, 3, 3), float("nan"))), "NaN"),
    (lambda: frames.Relabel(symmetric=True).bind(PLAIN)(torch.triu(torch.ones(2, 3, 3))), "asymmetric adjacency in sample 0.*A \\+ A.mT"),
    (lambda: frames.Relabel(largest=10).bind(PLAIN)(matrix(nx.cycle_graph(12))[None]), "12 nodes.*at most 10.*largest=12"),
    (lambda: frames.Relabel(symmetric=None), "True or False"),
    (lambda: frames.Relabel(tol=0.7), "between 0 and 0.5"),
    (lambda: frames.Relabel(largest=0), "positive number"),
    (lambda: frames.Relabel().bind(actions.Permute(S, -2)), "adjacency matrix.*frames.Sort"),
    (lambda: frames.Relabel().bind(actions.Points(groups.Euclidean(3))), "the symmetric group.*frames.Minimal"),
    (lambda: frames.Relabel().bind(actions.Permute(S, -3, -2, -1)), "three or more permuted axes.*frames.Haar"),
    (lambda: frames.canonical_graph(torch.zeros(3, 4)), "a square matrix"),
    (lambda: frames.canonical_graph(torch.zeros(3, 3), torch.zeros(4)), "one row per node"),
    (
        lambda: frames.Relabel().bind(actions.Dict(a=PLAIN, z=actions.Trivial(S)))({"a": torch.zeros(1, 3, 3), "z": torch.zeros(1, 3)}),
        "'z'.*declared Trivial beside graphs of 3 nodes.*Permute\\(group, -1\\)",
    ),
    (lambda: frames.Relabel().bind(actions.Dict(a=PLAIN, e=actions.Edges(S))), "one kind of graph.*actions.Nodes"),
    (lambda: coset.symmetrize(lambda x: x, PLAIN >> PLAIN)(torch.zeros(0, 3, 3)), "empty batch"),
]


@pytest.mark.parametrize(("call", "text"), BAD, ids=[text[:30] for _, text in BAD])
def test_bad_input(call, text):
    with pytest.raises((FrameError, InputError), match="(?s)" + text):
        call()


def test_without_pynauty(monkeypatch):
    labelling._nauty.cache_clear()
    monkeypatch.setitem(sys.modules, "pynauty", None)
    assert frames.canonical_graph(torch.ones(5, 5).triu()).size == 1  # refinement is enough here
    with pytest.raises(MissingExtraError, match="coset\\[graphs\\]"):
        frames.canonical_graph(matrix(nx.cycle_graph(6)))
    monkeypatch.undo()
    labelling._nauty.cache_clear()
    assert frames.canonical_graph(matrix(nx.cycle_graph(6))).size == 12
