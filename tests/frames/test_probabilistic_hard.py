"""Learned frames where several things meet: padding and symmetry, chains, single draws, one point, products with finite groups."""

from __future__ import annotations

import pytest
import torch

import coset
from coset import actions, frames, groups, nn
from coset.errors import FrameError
from coset.tree import tree_map

from .test_probabilistic import E3, S, SxO3, drawn, flat, network

C4 = groups.Cyclic(4)


@pytest.mark.parametrize(
    "frame",
    [
        lambda net: frames.Probabilistic(net, samples=2, noise=frames.NormalVectors(3)),
        frames.Canonicalizer,
        lambda net: frames.Minimal(),
    ],
    ids=["Probabilistic", "Canonicalizer", "Minimal"],
)
def test_symmetric_clouds_with_padding_in_the_middle(frame):
    source = actions.Dict(pos=actions.Points(SxO3), charge=actions.Permute(SxO3, -2), mask=actions.PointMask(SxO3))
    target = actions.Vectors(SxO3, points=True)
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 0, 1, 1, 0], [1, 0, 0, 0, 0], [0, 1, 1, 1, 1], [0, 1, 1, 1, 0]]).bool()
    pos, charge = drawn(5, 5, 3), drawn(5, 5, 1, seed=1)
    pos[3, 1], pos[4, 2], pos[4, 3] = pos[3, 2], -pos[4, 1], 0.0  # equal points; a line
    charge[3], charge[4, 2] = 1.0, charge[4, 1]
    x = {"pos": pos * mask[..., None], "charge": charge * mask[..., None], "mask": mask}

    def base(pos, charge, mask):
        return ((pos * charge).cumsum(1) * torch.arange(1, 6, dtype=pos.dtype)[:, None]).sin() * mask[..., None]

    torch.manual_seed(0)
    model = coset.symmetrize(base, source >> target, frame(nn.VectorNeurons(source, x, noise=3).to(pos.dtype))).eval()
    h = source.resolve(x).sample(5, generator=torch.Generator().manual_seed(2), dtype=pos.dtype)
    with torch.no_grad():
        assert float((model(**source.act(h, x)) - target.act(h, model(**x))).abs().max()) < 1e-10


@pytest.mark.parametrize("G", [S, SxO3, E3 * S], ids=str)
def test_clouds_of_one_point(G):
    source = actions.Permute(G, -2) if G is S else actions.Points(G)
    x = drawn(3, 1, 3)
    net = network(source, x, nn.DeepSets if G is S else nn.VectorNeurons, noise=1 if G is S else 3)
    noise = None if G is S else frames.NormalVectors(3)
    model = coset.symmetrize(flat(3, 2), source >> actions.Trivial(G), frames.Probabilistic(net, noise=noise, samples=2))
    assert model.train()(x).isfinite().all()
    h = source.resolve(x).sample(3, generator=torch.Generator().manual_seed(2), dtype=x.dtype)
    with torch.no_grad():
        assert torch.allclose(model.eval()(source.act(h, x)), model(x), atol=1e-12)


def turned_scores(weight):
    """Scores of the four quarter turns of points (B, n, 2), which do not depend on the order of points."""

    def scores(x):
        centre = (x.norm(dim=-1, keepdim=True) * x).sum(1)
        turned = C4.inverse(C4.elements())[:, None].expand(4, len(x))
        every = actions.Vectors(C4).act(turned, centre.expand(4, *centre.shape))
        return (every.tanh() * weight).sum(-1).mT

    return scores


@pytest.mark.parametrize("swap", [False, True], ids=["C4 x S", "S x C4"])
def test_choices_pass_gradients_beside_permutations(swap):
    G = S * C4 if swap else C4 * S
    source, x = actions.Points(G), drawn(3, 5, 2)
    weight = drawn(2, seed=4).requires_grad_()

    def joint(inputs, noise):
        found = (turned_scores(weight)(inputs), inputs.norm(dim=-1) + noise[..., 0])
        return found[::-1] if swap else found

    def base(y):
        return (y * torch.arange(10, dtype=y.dtype).view(5, 2)).sin().sum((1, 2))

    model = coset.symmetrize(base, source >> actions.Trivial(G), frames.Probabilistic(joint, noise=frames.Uniform())).train()
    torch.manual_seed(0)
    (found,) = torch.autograd.grad(model(x).sum(), weight)
    torch.manual_seed(0)
    elements = model.frame(x).elements
    p, g = elements if swap else elements[::-1]
    sorted_points = x.gather(1, p[0][..., None].expand(-1, -1, 2))
    every = actions.Points(C4).act(C4.inverse(C4.elements())[:, None].expand(4, 3), sorted_points.expand(4, *sorted_points.shape))
    picked = every[g[0], torch.arange(3)].requires_grad_()
    (slope,) = torch.autograd.grad(base(picked).sum(), picked)
    blend = torch.einsum("bg,gbnd->bnd", turned_scores(weight)(x).softmax(1), every)
    (expected,) = torch.autograd.grad((blend * slope).sum(), weight)
    assert torch.allclose(found, expected, atol=1e-10)
    assert float(expected.abs().max()) > 1e-3


def test_images_that_are_not_square_can_be_trained_on():
    source, x = actions.Image(C4), drawn(3, 2, 4, 6)
    weight = torch.ones(1, dtype=x.dtype, requires_grad=True)

    def scores(inputs, noise):
        every = [torch.rot90(inputs, -number, (2, 3)).flatten(1).cumsum(1).square().sum(1).sqrt() for number in range(4)]
        return torch.stack(every, 1) * weight + noise

    torch.manual_seed(0)
    base = torch.nn.Conv2d(2, 2, 3, padding=1).to(x.dtype)
    model = coset.symmetrize(base, source >> source, frames.Probabilistic(scores, samples=3)).train()
    (model(x) * drawn(3, 2, 4, 6, seed=1)).sum().backward()
    assert weight.grad.isfinite().all()
    assert float(weight.grad.abs()) > 0


def test_a_chain_passes_the_gradients_and_scores_of_its_links():
    G = C4 * S
    source = actions.Dict(pos=actions.Points(G), charge=actions.Permute(G, -2))
    x = {"pos": drawn(3, 5, 2), "charge": drawn(3, 5, 1, seed=1)}
    weight, steep = drawn(2, seed=4).requires_grad_(), torch.ones((), dtype=torch.float64, requires_grad=True)

    def sort(inputs, noise):
        return steep * inputs["charge"][..., 0] + noise[..., 0]

    def choose(inputs, noise):
        return turned_scores(weight)(inputs["pos"])

    def base(pos, charge):
        return ((pos + charge) * torch.arange(10, dtype=pos.dtype).view(5, 2)).sin().sum((1, 2))

    whole = frames.Probabilistic(lambda inputs, noise: (choose(inputs, noise), sort(inputs, noise)), noise=frames.Uniform())
    chain = frames.Chain(frames.Canonicalizer(choose), frames.Probabilistic(sort))
    found = []
    for frame in (whole, chain):
        model = coset.symmetrize(base, source >> actions.Trivial(G), frame).train()
        torch.manual_seed(0)
        y, stats = model(**x, return_stats=True)
        found.append((y, *torch.autograd.grad(y.sum(), (weight, steep))))
        assert set(stats.scores) >= {"entropy", "tied"}
        assert stats.scores["entropy"].shape == stats.scores["tied"].shape == (3,)
    for one, two in zip(*found, strict=True):
        assert torch.allclose(one, two, atol=1e-10)
        assert float(one.detach().abs().max()) > 1e-4


def test_a_chain_after_a_frame_of_several_elements_trains():
    source, x = actions.Points(SxO3), drawn(4, 5, 3)
    net = network(actions.Permute(S, -2), x, nn.DeepSets)
    frame = frames.Chain(frames.PCA(), frames.Probabilistic(net, samples=2))
    model = coset.symmetrize(flat(15, 2), source >> actions.Trivial(SxO3), frame).train()
    model(x).sum().backward()
    assert all(p.grad is not None and float(p.grad.abs().sum()) > 0 for p in net.parameters())


def test_one_drawn_element_passes_the_same_gradient():
    source, x = actions.Permute(S, -2), drawn(4, 5, 2)
    net, base = network(source, x, nn.DeepSets), flat(10, 1)
    found = []
    for frame in (frames.Probabilistic(net), frames.Stochastic(frames.Probabilistic(net))):
        torch.manual_seed(0)
        y = coset.symmetrize(base, source >> actions.Trivial(S), frame).train()(x)
        found.append(torch.autograd.grad(y.sum(), list(net.parameters())))
    assert max(float(one.abs().max()) for one in found[0]) > 1e-6
    for one, two in zip(*found, strict=True):
        assert torch.equal(one, two)


def test_late_mistakes_are_told():
    source, x = actions.Permute(S, -2), drawn(4, 5, 2)
    frame = frames.Probabilistic(network(source, x, nn.DeepSets))
    with pytest.raises(FrameError, match="unbound"):
        frame.verify(x)
    for samples in (0, 2.5, True, "many"):
        with pytest.raises(FrameError, match=r"Probabilistic\(samples=8\)"):
            frame.samples = samples
    frame.samples = frames.Until(stderr=1.0)
    order = frames.Probabilistic(lambda inputs, noise: inputs[..., 0].argsort(1)).bind(source)
    with pytest.raises(FrameError, match="floating-point scores"):
        order(x)


def test_octahedral_clouds_without_an_order():
    G = groups.Octahedral() * S
    source, x = actions.Points(G), drawn(3, 5, 3)
    cube = groups.Octahedral()
    turn = actions.Vectors(cube)
    weight = drawn(3, seed=5).requires_grad_()

    def joint(inputs, noise):
        size = inputs.norm(dim=-1)
        centre, count = (size.unsqueeze(-1) * inputs).sum(1), cube.order
        back = cube.inverse(cube.elements(dtype=inputs.dtype))
        wide = tree_map(lambda leaf: leaf.unsqueeze(1).expand(count, len(inputs), *leaf.shape[1:]), back)
        every = turn.act(wide, centre.expand(count, *centre.shape))
        return (every.tanh() * weight).sum(-1).mT, size + noise[..., 0]

    model = coset.symmetrize(flat(15, 1), source >> actions.Trivial(G), frames.Probabilistic(joint, noise=frames.Uniform())).train()
    model(x).sum().backward()
    assert float(weight.grad.abs().max()) > 0
    h = source.resolve(x).sample(3, generator=torch.Generator().manual_seed(2), dtype=x.dtype)
    with torch.no_grad():
        assert torch.allclose(model.eval()(source.act(h, x)), model(x), atol=1e-10)


@pytest.mark.parametrize("chunk", [2, 3, 4, 5, 7])
def test_chunks_of_ragged_sets_with_equal_rows(chunk):
    source = actions.Dict(h=actions.Nodes(S), batch=actions.BatchIndex(S))
    x = {"h": drawn(9, 2), "batch": torch.tensor([2, 0, 1, 2, 1, 2, 1, 2, 2])}
    x["h"][0] = x["h"][3]

    def base(h, batch):
        counts, order = torch.bincount(batch), torch.argsort(batch, stable=True)
        place = torch.empty_like(batch)
        place[order] = torch.arange(len(batch)) - (counts.cumsum(0) - counts)[batch[order]]
        return (h * (1 + place[:, None])).sin()

    def scores(inputs, noise):
        return inputs["h"].sum(-1).sin() + 2 * noise[..., 0]

    found = []
    for size in (None, chunk):
        frame = frames.Probabilistic(scores, samples=6)
        y, stats = coset.symmetrize(base, source >> actions.Nodes(S), frame, chunk=size).eval()(**x, return_stats=True)
        assert stats.scores["tied"].tolist() == [False, False, True]
        assert torch.allclose(y[0], y[3], atol=1e-12)
        found.append((y, stats.stderr))
    for whole, parts in zip(*found, strict=True):
        assert torch.allclose(whole, parts, atol=1e-12)
