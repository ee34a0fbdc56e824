"""Vector-neuron canonicalizers of clouds and moving bodies: exact in train and eval mode, a clear outcome where vectors are dependent."""

from __future__ import annotations

import pytest
import torch

import coset
from coset import actions, frames, groups
from coset.nn import VectorNeurons

SO3, O3, SE3, E3 = groups.SpecialOrthogonal(3), groups.Orthogonal(3), groups.SpecialEuclidean(3), groups.Euclidean(3)
GROUPS = [SO3, O3, SE3, E3]
over_groups = pytest.mark.parametrize("group", GROUPS, ids=repr)
over_modes = pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
BOUND = 1e-6
"""The largest deviation in single precision, relative to the root mean square of the outputs."""


def bodies(group):
    return actions.Dict(pos=actions.Points(group), vel=actions.Vectors(group), charge=actions.Trivial(group, points=True))


def drawn(generator, dtype=torch.float32, count=16):
    normal = lambda *shape: torch.randn(count, 5, *shape, generator=generator, dtype=dtype)  # noqa: E731
    return {"pos": normal(3), "vel": normal(3), "charge": normal(1)}


class Net(torch.nn.Module):
    """Any model of five bodies: it depends on the pose."""

    def __init__(self):
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.Linear(35, 32), torch.nn.Tanh(), torch.nn.Linear(32, 15))

    def forward(self, pos, vel, charge):
        return self.layers(torch.cat([pos, vel, charge], -1).flatten(1)).unflatten(1, (5, 3))


def build(group, x, training=False):
    torch.manual_seed(0)
    frame = frames.Canonicalizer(VectorNeurons(bodies(group), x))
    return (
        coset.symmetrize(Net().to(x["pos"].dtype), bodies(group) >> actions.Vectors(group, points=True), frame)
        .to(x["pos"].dtype)
        .train(training)
    )


def deviation(model, x, generator):
    """The largest miss of f(hx) = h f(x), in units of the root mean square of f."""
    source, target = model.signature.source, model.signature.target
    h = model.signature.group.sample(x["pos"].shape[0], generator=generator, dtype=torch.float64)
    moved = source.act(h, x, source.layout(x))
    with torch.no_grad():
        here, there = model(**x), model(**moved)
        expected = target.act(h, here, source.layout(x))
    return float((there - expected).abs().max() / here.square().mean().sqrt())


@over_groups
@over_modes
def test_moving_bodies_in_both_precisions(group, training, generator):
    """Single precision: to 1e-6 in the median over clouds; rounding grows where a network's vectors are nearly dependent."""
    for dtype, bound in ((torch.float32, BOUND), (torch.float64, 1e-13)):
        found = []
        for _ in range(5):
            x = drawn(generator, dtype, count=8)
            found.append(deviation(build(group, x, training), x, generator))
        assert sorted(found)[2] < 5 * bound, (dtype, found)
        assert max(found) < 50 * bound


@over_groups
def test_train_and_eval_give_the_same(group, generator):
    x = drawn(generator)
    model = build(group, x)
    assert torch.equal(model(**x), model.train()(**x))


@pytest.mark.parametrize("group", [SO3, SE3], ids=repr)
def test_rotations_have_determinant_one(group, generator):
    x = drawn(generator, count=200)
    found = group.matrix(build(group, x).frame(x).elements)
    assert float((torch.linalg.det(found.double()) - 1).abs().max()) < 1e-6


@pytest.mark.parametrize("group", [O3, E3], ids=repr)
def test_both_orientations_are_found_where_mirrors_act(group, generator):
    x = drawn(generator, count=200)
    sides = torch.linalg.det(group.matrix(build(group, x).frame(x).elements).double())[0]
    assert 20 < int((sides > 0).sum()) < 180
    mirrored = {**x, "pos": -x["pos"], "vel": -x["vel"]}
    there = torch.linalg.det(group.matrix(build(group, x).frame(mirrored).elements).double())[0]
    assert torch.equal(there.round(), -sides.round())


def shape(name, generator, dtype):
    """Clouds of which rotations or mirrors leave something open; velocities lie in them."""
    x = drawn(generator, dtype, count=4)
    keep = {"collinear": 1, "planar": 2}[name]
    for key in ("pos", "vel"):
        x[key][..., keep:] = 0
    turn = SO3.haar(4, generator=generator, dtype=torch.float64)
    return {key: actions.Vectors(SO3).act(turn, value) if key != "charge" else value for key, value in x.items()}


@over_groups
@over_modes
@pytest.mark.parametrize("name", ["collinear", "planar"])
def test_collinear_and_planar_clouds(group, training, name, generator):
    """Exact: by the stabilizer where the vectors are dependent, and never NaN."""
    x = shape(name, generator, torch.float64)
    model = build(group, x, training)
    measure = model.frame(x)
    if name == "collinear" or group in (O3, E3):
        assert bool(measure.scores["tied"].all())
        assert not bool(measure.scores["unsettled"].any())
        assert not bool((measure.order == 1).any())
    assert bool(torch.isfinite(model(**x)).all())
    assert deviation(model, x, generator) < 1e-9


@over_groups
def test_one_symmetric_cloud_among_others(group, generator):
    x, line = drawn(generator, torch.float64, count=4), shape("collinear", generator, torch.float64)
    mixed = {key: torch.cat([x[key], line[key][:1]]) for key in x}
    model = build(group, mixed)
    assert model.frame(mixed).scores["tied"].tolist() == [False] * 4 + [True]
    assert deviation(model, mixed, generator) < 1e-9


def test_a_bias_on_vectors_is_seen(generator):
    """What the law has to refuse: a network that adds a fixed vector."""
    x = drawn(generator, torch.float64)
    model = build(SO3, x)
    inner = model.frame.network

    class Biased(torch.nn.Module):
        def forward(self, inputs, noise):
            return inner(inputs, noise) + 0.1 * torch.eye(3, dtype=torch.float64)[0]

    model.frame.network = Biased()
    assert deviation(model, x, generator) > 1e-2
    with pytest.raises(coset.errors.FrameError, match="breaks the law"):
        model.frame.verify(x)


@over_groups
def test_one_graph_and_export(group, generator):
    x = drawn(generator)
    model = build(group, x)
    torch._dynamo.reset()
    with torch.no_grad():
        expected = model(**x)
        assert torch.allclose(torch.compile(model, backend="aot_eager", fullgraph=True)(**x), expected, atol=1e-5)
        program = torch.export.export(model, (), x, strict=False)
        assert torch.allclose(program.module()(**x), expected, atol=1e-5)
