"""The same data, dense, padded or ragged, gives the same outputs with the same weights."""

from __future__ import annotations

import pytest
import torch

from coset import actions, groups, nn

S, E3 = groups.Symmetric(), groups.Euclidean(3)
SE3 = S * E3
SIZES = (5, 2, 4, 1)
DTYPE = torch.float64
SPREADS = [None, 2, 0]


def pad(parts, n):
    """(B, n, ...) with rubbish on the padding."""
    found = torch.full((len(parts), n, *parts[0].shape[1:]), 7.0, dtype=DTYPE)
    for row, part in zip(found, parts, strict=True):
        row[: len(part)] = part
    return found


def pad_pairs(parts, n):
    """(B, n, n, ...) with rubbish on the padding."""
    found = torch.full((len(parts), n, n, *parts[0].shape[2:]), 7.0, dtype=DTYPE)
    for row, part in zip(found, parts, strict=True):
        row[: len(part), : len(part)] = part
    return found


def draw(*shape):
    return [torch.randn(*(n if axis == "n" else axis for axis in shape), dtype=DTYPE) for n in SIZES]


def batch():
    return torch.arange(len(SIZES)).repeat_interleave(torch.tensor(SIZES))


def mask(n):
    return torch.arange(n) < torch.tensor(SIZES)[:, None]


def rows(y, n):
    """The real rows of a padded output."""
    return y[mask(n)]


def close(a, b):
    return torch.allclose(a, b, rtol=1e-10, atol=1e-12)


def graphs():
    """Adjacency matrices with values, and the same as lists."""
    present = [(torch.rand(n, n) < 0.6).to(DTYPE) for n in SIZES]
    values = [one.unsqueeze(-1) * torch.randn(*one.shape, 2, dtype=DTYPE) for one in present]
    starts = [sum(SIZES[:b]) for b in range(len(SIZES))]
    edges = torch.cat([one.nonzero().T + start for one, start in zip(present, starts, strict=True)], 1)
    return present, values, edges, torch.cat([value[one > 0] for one, value in zip(present, values, strict=True)])


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.mark.parametrize("neighbours", SPREADS)
def test_clouds(neighbours):
    pos, vel, z, noise = draw("n", 3), draw("n", 3), draw("n", 1), draw("n", 1, 3)
    n, keys = max(SIZES) + 1, {"pos": pos, "vel": vel, "z": z}
    dense = actions.Dict(pos=actions.Points(E3), vel=actions.Vectors(E3), z=actions.Trivial(E3, points=True))
    padded = actions.Dict(pos=actions.Points(E3, mask="mask"), vel=actions.Vectors(E3), z=actions.Trivial(E3), mask=actions.PointMask(E3))
    ragged = actions.Dict(pos=actions.Points(E3, batch="batch"), vel=actions.Vectors(E3), z=actions.Trivial(E3))
    x_padded = {key: pad(parts, n) for key, parts in keys.items()} | {"mask": mask(n)}
    x_ragged = {key: torch.cat(parts) for key, parts in keys.items()} | {"batch": batch()}
    first = nn.VectorNeurons(padded, x_padded, neighbours=neighbours).to(DTYPE)
    expected = first(x_padded, pad(noise, n))
    second = nn.VectorNeurons(ragged, x_ragged, neighbours=neighbours).to(DTYPE)
    second.load_state_dict(first.state_dict())
    assert close(second(x_ragged, torch.cat(noise)), expected)
    for b in range(len(SIZES)):
        one = {key: parts[b][None] for key, parts in keys.items()}
        third = nn.VectorNeurons(dense, one, neighbours=neighbours).to(DTYPE)
        third.load_state_dict(first.state_dict())
        assert close(third(one, noise[b][None]), expected[[b]])


@pytest.mark.parametrize("neighbours", SPREADS)
def test_clouds_with_edges(neighbours):
    pos, noise, n = draw("n", 3), draw("n", 1, 3), max(SIZES) + 2
    present, values, edges, links = graphs()
    padded = actions.Dict(
        pos=actions.Points(SE3, mask="mask"),
        edge=actions.Permute(SE3, -2, -1),
        value=actions.Permute(SE3, -3, -2),
        mask=actions.PointMask(SE3),
    )
    ragged = actions.Dict(pos=actions.Points(E3, batch="batch"), edge_index=actions.Edges(E3), edge_attr=actions.Trivial(E3))
    x_padded = {"pos": pad(pos, n), "edge": pad_pairs(present, n), "value": pad_pairs(values, n), "mask": mask(n)}
    x_ragged = {"pos": torch.cat(pos), "edge_index": edges, "edge_attr": links, "batch": batch()}
    first = nn.VectorNeurons(padded, x_padded, neighbours=neighbours).to(DTYPE)
    second = nn.VectorNeurons(ragged, x_ragged, neighbours=neighbours).to(DTYPE)
    weights = {key.replace("heads.1.", "heads.0."): value for key, value in first.state_dict().items() if "heads.0." not in key}
    second.load_state_dict(weights)
    assert close(second(x_ragged, torch.cat(noise)), first(x_padded, pad(noise, n))[1])


def test_graphs():
    x, noise, n = draw("n", 3), draw("n", 1), max(SIZES) + 1
    present, values, edges, links = graphs()
    keys = {"x": actions.Permute(S, -2), "edge": actions.Permute(S, -2, -1), "value": actions.Permute(S, -3, -2)}
    dense, padded = actions.Dict(keys), actions.Dict(**keys, mask=actions.PointMask(S))
    ragged = actions.Dict(x=actions.Nodes(S), edge_index=actions.Edges(S), edge_attr=actions.Trivial(S), batch=actions.BatchIndex(S))
    x_padded = {"x": pad(x, n), "edge": pad_pairs(present, n), "value": pad_pairs(values, n), "mask": mask(n)}
    x_ragged = {"x": torch.cat(x), "edge_index": edges, "edge_attr": links, "batch": batch()}
    first, second = nn.GIN(padded, x_padded).to(DTYPE), nn.GIN(ragged, x_ragged).to(DTYPE)
    second.load_state_dict(first.state_dict())
    expected = first(x_padded, pad(noise, n))
    assert close(second(x_ragged, torch.cat(noise)), rows(expected, n))
    assert bool((expected[~mask(n)] == 0).all())
    for b, size in enumerate(SIZES):
        one = {"x": x[b][None], "edge": present[b][None], "value": values[b][None]}
        third = nn.GIN(dense, one).to(DTYPE)
        third.load_state_dict(first.state_dict())
        assert close(third(one, noise[b][None])[0], expected[b, :size])


def test_messages_run_from_source_to_target():
    ragged = actions.Dict(x=actions.Nodes(S), edge_index=actions.Edges(S))
    x = {"x": torch.randn(3, 2, dtype=DTYPE), "edge_index": torch.tensor([[0], [1]])}
    network = nn.GIN(ragged, x, layers=1).to(DTYPE)
    before, after = network(x), network({**x, "x": x["x"] + torch.tensor([[1.0], [0], [0]])})
    assert ((before - after).abs() > 1e-9).tolist() == [True, True, False]


def test_sets():
    x, noise, n = draw("n", 3), draw("n", 1), max(SIZES) + 1
    padded = actions.Dict(x=actions.Permute(S, -2), mask=actions.PointMask(S))
    ragged = actions.Dict(x=actions.Nodes(S), batch=actions.BatchIndex(S))
    x_padded, x_ragged = {"x": pad(x, n), "mask": mask(n)}, {"x": torch.cat(x), "batch": batch()}
    first, second = nn.DeepSets(padded, x_padded).to(DTYPE), nn.DeepSets(ragged, x_ragged).to(DTYPE)
    second.load_state_dict(first.state_dict())
    expected = first(x_padded, pad(noise, n))
    assert close(second(x_ragged, torch.cat(noise)), rows(expected, n))
    third = nn.DeepSets(actions.Permute(S, -2), x[0][None]).to(DTYPE)
    third.load_state_dict(first.state_dict())
    assert close(third(x[0][None], noise[0][None])[0], expected[0, : SIZES[0]])


def test_any_number_of_points():
    source = actions.Dict(pos=actions.Points(SE3), charge=actions.Permute(SE3, -2))
    x = {"pos": torch.randn(2, 5, 3), "charge": torch.randn(2, 5, 1)}
    network = nn.VectorNeurons(source, x)
    more = {"pos": torch.randn(3, 9, 3), "charge": torch.randn(3, 9, 1)}
    scores, vectors = network(more, torch.randn(3, 9, 1, 3))
    assert scores.shape == (3, 9)
    assert vectors.shape == (3, 3, 3)


def test_many_neighbours_are_all_points():
    x, noise = torch.randn(3, 4, 3, dtype=DTYPE), torch.randn(3, 4, 1, 3, dtype=DTYPE)
    near = nn.VectorNeurons(actions.Points(SE3), x, neighbours=3).to(DTYPE)
    every, few = (nn.VectorNeurons(actions.Points(SE3), x, neighbours=k).to(DTYPE) for k in (None, 2))
    every.load_state_dict(near.state_dict())
    few.load_state_dict(near.state_dict())
    assert all(close(a, b) for a, b in zip(near(x, noise), every(x, noise), strict=True))
    assert not any(close(a, b) for a, b in zip(few(x, noise), every(x, noise), strict=True))


def test_neighbours_fade():
    """Moving a point through the distance where it stops being a neighbour changes the output continuously."""
    x, shift = torch.randn(1, 6, 3, dtype=DTYPE), torch.randn(1, 6, 3, dtype=DTYPE)
    network = nn.VectorNeurons(actions.Points(SE3), x, neighbours=2).to(DTYPE)

    def largest_jump(count):
        path = torch.linspace(0, 1, count, dtype=DTYPE)[:, None, None]
        scores = network(x + path * shift)[0].detach()
        return float((scores[1:] - scores[:-1]).abs().max())

    # a jump would stay as large as it is, however fine the steps
    assert largest_jump(4001) < 0.1 * largest_jump(201)
