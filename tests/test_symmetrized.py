"""``Symmetrized``: what it calls, returns, counts, refuses and keeps; and the frame that is chosen when none is named."""

from __future__ import annotations

import dataclasses
import socket
from typing import NamedTuple

import pytest
import torch
from torch import nn

from coset import Symmetrized, actions, frames, groups, symmetrize
from coset.errors import CosetError, FrameError, GroupError, InputError, SignatureError
from coset.tree import leaves

C4, D4, S = groups.Cyclic(4), groups.Dihedral(4), groups.Symmetric()
O3, SO3, E3, SE3 = groups.Orthogonal(3), groups.SpecialOrthogonal(3), groups.Euclidean(3), groups.SpecialEuclidean(3)
POINTS = actions.Points(E3) >> actions.Vectors(E3, points=True)


class Count(nn.Module):
    """Counts samples, and calls."""

    def __init__(self, function):
        super().__init__()
        self.function, self.samples, self.calls = function, 0, 0

    def forward(self, x):
        self.samples, self.calls = self.samples + len(x), self.calls + 1
        return self.function(x)


def cubic(x):
    """Not equivariant."""
    return x**3 + 0.3 * x[..., :1] * x


def cnn():
    torch.manual_seed(1)
    return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 3))


IMAGES = actions.Image(C4) >> actions.Trivial(C4)


# -- samples, chunks, statistics ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frame", "signature", "shape", "samples"),
    [
        (frames.Minimal(), POINTS, (6, 5, 3), 6),
        (frames.PCA(), POINTS, (6, 5, 3), 48),
        (frames.Full(), actions.Vectors(D4) >> actions.Vectors(D4), (6, 2), 48),
        (frames.Haar(5), actions.Vectors(O3) >> actions.Vectors(O3), (6, 3), 30),
        (frames.Quadrature(3), actions.Vectors(SO3) >> actions.Vectors(SO3), (6, 3), 144),
        (frames.Sort(), actions.Permute(S, -1) >> actions.Permute(S, -1), (6, 7), 6),
    ],
    ids=lambda value: repr(value) if isinstance(value, frames.Frame) else "",
)
def test_samples_are_counted_not_calls(frame, signature, shape, samples):
    model = Count(cubic)
    _, stats = Symmetrized(model, signature, frame)(torch.randn(*shape), return_stats=True)
    assert (model.samples, model.calls, stats.samples) == (samples, 1, samples)
    assert stats.cosets * shape[0] == samples


def test_only_samples_with_weight_enter_a_model_beside_degenerate_ones():
    cube = torch.tensor([[a, b, c] for a in (-1.0, 1) for b in (-1.0, 1) for c in (-1.0, 1)])
    model = Count(cubic)
    Symmetrized(model, POINTS, frames.PCA())(torch.stack([cube, torch.randn(8, 3)]))
    assert model.samples == 48 + 8


@pytest.mark.parametrize("chunk", [1, 3, 7, 100])
def test_chunks_equal_the_whole(chunk):
    x = torch.randn(5, 1, 6, 6)
    net = cnn()
    whole, stats = symmetrize(net, IMAGES, frames.Full())(x, return_stats=True)
    model = Count(net)
    part, more = symmetrize(model, IMAGES, frames.Full(), chunk=chunk)(x, return_stats=True)
    assert torch.allclose(whole, part, atol=1e-6)
    assert torch.allclose(stats.std, more.std, atol=1e-6)
    assert (model.samples, model.calls) == (20, -(-20 // chunk))


def test_chunks_of_nested_outputs_and_ragged_inputs():
    source = actions.Dict(pos=actions.Points(E3, batch="batch"), batch=actions.BatchIndex(E3))
    target = actions.Dict(f=actions.Vectors(E3, points=True), e=actions.Trivial(E3))

    def net(pos, batch):
        total = torch.zeros(int(batch.max()) + 1, 3).index_add(0, batch, pos.sin())
        return {"f": cubic(pos) + total[batch], "e": total.square().sum(-1, keepdim=True)}

    batch = torch.tensor([0, 0, 1, 1, 1, 2])
    x = {"pos": torch.randn(6, 3), "batch": batch}
    whole = Symmetrized(net, source >> target, frames.PCA(of="pos"))(**x)
    part = Symmetrized(net, source >> target, frames.PCA(of="pos"), chunk=4)(**x)
    for key in whole:
        assert torch.allclose(whole[key], part[key], atol=1e-5)


CUBE = torch.tensor([[a, b, c] for a in (-1.0, 1) for b in (-1.0, 1) for c in (-1.0, 1)], dtype=torch.float64)


def pooled(x):
    """Not equivariant, one vector per sample."""
    return torch.sin(x + 0.3).mean(1) * x[:, 0].cos()


@pytest.mark.parametrize("chunk", [1, 2, 5, 8, 1000])
@pytest.mark.parametrize("per_point", [False, True])
@pytest.mark.parametrize(
    ("frame", "group"),
    [
        (frames.Given(O3.haar(6, dtype=torch.float64), torch.tensor([1.0, 0, 2, 3, 0.5, 1], dtype=torch.float64)), O3),
        (frames.Quadrature(4), O3),
        (frames.PCA(), E3),
        (frames.PCA(), SO3),
        (frames.Weighted(), E3),
        (frames.Minimal(colours=frames.UNCOLOURED), E3),
        (frames.Chain(frames.Center(), frames.Full(3)), SE3),
    ],
    ids=lambda value: repr(value),
)
def test_chunks_change_nothing_but_memory(frame, group, per_point, chunk):
    x = torch.stack([CUBE, *torch.randn(2, 8, 3, dtype=torch.float64)])
    net = cubic if per_point else pooled
    signature = actions.Points(group) >> actions.Vectors(group, points=per_point)
    results = []
    for size in (None, chunk):
        seen = x.clone().requires_grad_()
        model = Symmetrized(net, signature, frame, chunk=size)
        y, stats = model(seen, return_stats=True)
        (slope,) = torch.autograd.grad(model(seen).square().sum(), seen)
        results.append((y, model(seen), stats.std, slope))
        residual = stats.residual
        if size is None:
            first = residual
    for one, other in zip(*results, strict=True):
        assert torch.allclose(one, other, atol=1e-9, rtol=1e-9)
    assert first == (None if residual is None else pytest.approx(residual, rel=1e-6))


def test_no_more_canonical_inputs_than_a_chunk_stand_at_once():
    seen = []
    source = actions.Vectors(O3)

    class Watched(actions.Vectors):
        def each(self, g, weights, x, size):
            seen.append(weights.shape[0] * x.shape[0])
            return super().each(g, weights, x, size)

    Symmetrized(cubic, Watched(O3) >> source, frames.Haar(50), chunk=12)(torch.randn(4, 3))
    assert seen
    assert max(seen) <= 12
    seen.clear()
    Symmetrized(cubic, Watched(O3) >> source, frames.Haar(50))(torch.randn(4, 3))
    assert seen == [200]


@pytest.mark.parametrize("chunk", [3, 4, 9])
def test_chunks_of_images_that_turn_on_their_side(chunk):
    x = torch.randn(4, 1, 4, 6)
    net = lambda x: torch.stack([x.square().mean((1, 2, 3)), x[:, 0, 0, 0].sin()], -1)  # noqa: E731
    whole, stats = symmetrize(net, IMAGES, frames.Full())(x, return_stats=True)
    part, more = symmetrize(net, IMAGES, frames.Full(), chunk=chunk)(x, return_stats=True)
    assert torch.allclose(whole, part, atol=1e-6)
    assert torch.allclose(stats.std, more.std, atol=1e-5)


@pytest.mark.parametrize("chunk", [None, 2, 4])
def test_integers_cannot_be_averaged_in_chunks_either(chunk):
    model = Symmetrized(lambda x: (x > 0).long(), actions.Vectors(C4) >> actions.Trivial(C4), frames.Full(), chunk=chunk)
    with pytest.raises(InputError, match=r"torch.int64 values over (4|2|several) elements.*numbers that can be averaged"):
        model(torch.randn(2, 2))


def test_the_spread_of_many_chunks_loses_no_digits():
    source = actions.Vectors(O3)
    frame = frames.Given(O3.haar(400, dtype=torch.float64))
    net = lambda x: 1e4 + x.sin()  # noqa: E731
    x = torch.randn(2, 3)
    spreads = [Symmetrized(net, source >> actions.Trivial(O3), frame, chunk=c)(x, return_stats=True)[1].std for c in (None, 2)]
    exact = Symmetrized(net, source >> actions.Trivial(O3), frame)(x.double(), return_stats=True)[1].std
    assert torch.allclose(spreads[1].double(), exact, rtol=1e-2)


def test_chunks_are_refused_while_batchnorm_trains():
    net = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(36), nn.Linear(36, 3))
    model = symmetrize(net, IMAGES, frames.Full(), chunk=4)
    x = torch.randn(4, 1, 6, 6)
    with pytest.raises(InputError, match=r"chunk=4 while training a model with BatchNorm.*To do: call eval\(\), set chunk=None"):
        model(x)
    assert model.eval()(x).shape == (4, 3)
    assert symmetrize(nn.Sequential(nn.Flatten(), nn.Linear(36, 3)), IMAGES, frames.Full(), chunk=4)(x).shape == (4, 3)


@pytest.mark.parametrize("weights", [torch.ones(4), torch.tensor([4.0, 1, 0, 2])])
def test_the_spread_is_the_standard_deviation_over_the_measure(weights):
    source = actions.Vectors(C4)
    x = torch.randn(3, 2)
    frame = frames.Given(torch.arange(4), weights)
    y, stats = Symmetrized(cubic, source >> source, frame)(x, return_stats=True)
    each = torch.stack([source.act(torch.tensor(k), cubic(source.act(torch.tensor(-k % 4), x))) for k in range(4)])
    share = (weights / weights.sum())[:, None, None]
    mean = (share * each).sum(0)
    assert torch.allclose(y, mean, atol=1e-6)
    assert torch.allclose(stats.std, (share * (each - mean) ** 2).sum(0).sqrt(), atol=1e-5)
    assert stats.order.tolist() == [4, 4, 4]


def test_an_equivariant_model_has_no_spread():
    x = torch.randn(3, 2, dtype=torch.float64)
    source = actions.Vectors(C4)
    _, stats = Symmetrized(lambda x: x * x.square().sum(-1, keepdim=True), source >> source, frames.Full())(x, return_stats=True)
    assert float(stats.std.max()) < 1e-12
    assert stats.residual is None or stats.residual < 1e-12
    _, stats = Symmetrized(cubic, POINTS, frames.Minimal())(torch.randn(2, 4, 3), return_stats=True)
    assert float(stats.std.max()) == 0.0
    assert stats.residual is None


def test_the_residual_of_a_quadrature_falls_with_its_degree():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 16), nn.Tanh(), nn.Linear(16, 3)).double()
    x = torch.randn(4, 3, dtype=torch.float64)
    signature = actions.Vectors(SO3) >> actions.Vectors(SO3)
    exact = Symmetrized(net, signature, frames.Minimal())
    reference = Symmetrized(net, signature, frames.Quadrature(17))(x)
    residuals, errors = [], []
    for degree in (1, 3, 5, 9):
        y, stats = Symmetrized(net, signature, frames.Quadrature(degree))(x, return_stats=True)
        residuals.append(stats.residual)
        errors.append(float((y - reference).norm() / reference.norm()))
    assert residuals == sorted(residuals, reverse=True)
    assert residuals[-1] < 0.05 * residuals[0]
    assert errors[-1] < 0.01 * errors[0]
    # beyond the first, whose average is mostly error, the spread of the sub-rules bounds the error of the rule
    assert all(error <= residual for error, residual in zip(errors[1:], residuals[1:], strict=True))
    assert exact(x).shape == x.shape


@pytest.mark.parametrize("degree", [1, 2, 3, 5])
def test_a_quadrature_is_exact_for_polynomials_of_its_degree(degree):
    signature = actions.Vectors(SO3) >> actions.Trivial(SO3)
    bound = frames.Quadrature(degree).bind(signature.source, signature.target)
    assert bound.exact_degree >= degree
    x = torch.randn(3, 3, dtype=torch.float64)

    def power(x):
        return (x @ torch.tensor([0.3, -0.8, 0.5], dtype=x.dtype))[:, None] ** degree

    h = SO3.haar(3, dtype=torch.float64)
    model = Symmetrized(power, signature, frames.Quadrature(degree))
    y = model(x)
    assert torch.allclose(y, model(actions.Vectors(SO3).act(h, x)), atol=1e-12)
    if bound.exact_degree == degree:  # one degree more and it is not
        wild = Symmetrized(lambda x: power(x).abs() ** 1.5, signature, frames.Quadrature(degree))
        assert float((wild(x) - wild(actions.Vectors(SO3).act(h, x))).abs().max()) > 1e-6


# -- training ----------------------------------------------------------------------------------------------------


def test_batchnorm_takes_its_statistics_over_all_canonical_inputs():
    torch.manual_seed(0)
    norm = nn.BatchNorm1d(2, momentum=1.0)
    source = actions.Vectors(C4)
    x = torch.randn(5, 2) + torch.tensor([3.0, 0.0])
    Symmetrized(norm, source >> source, frames.Full()).train()(x)
    turned = torch.cat([source.act(torch.tensor(k), x) for k in range(4)])
    assert torch.allclose(norm.running_mean, turned.mean(0), atol=1e-6)
    assert torch.allclose(norm.running_var, turned.var(0), atol=1e-5)
    before = norm.running_mean.clone()
    model = Symmetrized(norm, source >> source, frames.Full()).eval()
    assert torch.equal(model(x[:2]), model(x)[:2])
    assert torch.equal(norm.running_mean, before)


def test_dropout_draws_a_mask_for_every_canonical_input():
    source = actions.Vectors(C4)
    seen = []

    class Drop(nn.Dropout):
        def forward(self, x):
            y = super().forward(x)
            seen.append(y != 0)
            return y

    model = Symmetrized(Drop(0.5), source >> source, frames.Full()).train()
    x = torch.ones(200, 2)
    a, b = model(x), model(x)
    assert not torch.equal(a, b)
    masks = seen[0].reshape(4, 200, 2)
    assert not torch.equal(masks[0], masks[1])
    model.eval()
    assert torch.equal(model(x), model(x))
    assert model.frame.training is False


def test_modes_reach_model_and_frame():
    model = Symmetrized(nn.Dropout(0.5), POINTS, frames.Stochastic(frames.PCA()))
    for mode in (True, False):
        model.train(mode)
        assert (model.model.training, model.frame.training, model.frame.frame.training) == (mode,) * 3


def test_training_lowers_a_loss():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, 16), nn.Tanh(), nn.Linear(16, 1))
    model = symmetrize(net, actions.Points(O3) >> actions.Trivial(O3))
    x = torch.randn(64, 4, 3)
    y = x.square().sum((1, 2), keepdim=False)[:, None] / 12
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    losses = []
    for _ in range(60):
        loss = (model(x) - y).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss))
    assert losses[-1] < 0.3 * losses[0]


@pytest.mark.parametrize("frame", [frames.Minimal(), frames.PCA(), frames.Minimal(colours=frames.UNCOLOURED)], ids=repr)
def test_autocast(frame):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 16), nn.Tanh(), nn.Linear(16, 3))
    model = Symmetrized(net, POINTS, frame)
    x = torch.randn(4, 5, 3)
    expected = model(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = model(x)
    assert found.dtype == torch.bfloat16
    assert torch.allclose(found.float(), expected, atol=0.05)
    g = E3.sample(4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        there = model(actions.Points(E3).act(g, x))
        assert float((there.float() - actions.Vectors(E3).act(g, found.float())).abs().max()) < 0.05


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_inputs(dtype):
    model = Symmetrized(lambda x: x * x[..., :1], actions.Points(O3) >> actions.Vectors(O3), frames.Minimal())
    x = torch.randn(3, 4, 3, dtype=dtype)
    y = model(x)
    assert y.dtype == dtype
    assert torch.allclose(y.float(), model(x.float()), atol=0.05)


# -- structures --------------------------------------------------------------------------------------------------


class Pair(NamedTuple):
    score: torch.Tensor
    vector: torch.Tensor


@dataclasses.dataclass
class Record:
    score: torch.Tensor
    vector: torch.Tensor
    note: str | None = None


VECTOR = actions.Vectors(C4)
BOTH = {"score": actions.Trivial(C4), "vector": VECTOR}


def parts(x):
    return (x * torch.tensor([1.0, 2.0])).sum(-1, keepdim=True), cubic(x)


@pytest.mark.parametrize(
    ("build", "target"),
    [
        (lambda s, v: (s, v), actions.Tuple(actions.Trivial(C4), VECTOR)),
        (lambda s, v: [s, v], actions.Tuple(actions.Trivial(C4), VECTOR)),
        (lambda s, v: {"score": s, "vector": v}, actions.Dict(BOTH)),
        (lambda s, v: Record(s, v), actions.Dict(BOTH)),
        (lambda s, v: Record(s, v, "kept"), actions.Dict(BOTH, note=actions.Ignore(C4))),
        (
            lambda s, v: {"score": s, "more": {"vector": v, "extra": "x"}},
            actions.Dict(score=actions.Trivial(C4), more=actions.Dict(vector=VECTOR, extra=actions.Ignore(C4))),
        ),
    ],
    ids=["tuple", "list", "dict", "dataclass", "dataclass with a note", "nested"],
)
def test_outputs_keep_their_structure(build, target):
    x = torch.randn(3, 2)
    model = Symmetrized(lambda x: build(*parts(x)), VECTOR >> target, frames.Full())
    y = model(x)
    assert type(y) is type(build(*parts(x)))
    score = Symmetrized(lambda x: parts(x)[0], VECTOR >> actions.Trivial(C4), frames.Full())(x)
    vector = Symmetrized(lambda x: parts(x)[1], VECTOR >> VECTOR, frames.Full())(x)
    found = list(leaves(y))
    assert torch.allclose(found[0], score)
    assert torch.allclose(found[1], vector)
    _, stats = model(x, return_stats=True)
    assert type(stats.std) is type(y)


def test_named_tuples_and_notes_survive():
    x = torch.randn(3, 2)
    y = Symmetrized(lambda x: Pair(*parts(x)), VECTOR >> actions.Tuple(actions.Trivial(C4), VECTOR), frames.Full())(x)
    assert isinstance(y, Pair)
    assert y.vector.shape == (3, 2)
    y = Symmetrized(lambda x: Record(*parts(x), "kept"), VECTOR >> actions.Dict(BOTH, note=actions.Ignore(C4)), frames.Full())(x)
    assert y.note == "kept"


def test_hugging_face_outputs():
    transformers = pytest.importorskip("transformers")
    from transformers.utils import ModelOutput

    @dataclasses.dataclass
    class Output(ModelOutput):
        logits: torch.Tensor | None = None
        vector: torch.Tensor | None = None
        hidden: torch.Tensor | None = None

    x = torch.randn(3, 2)
    target = actions.Dict(logits=actions.Trivial(C4), vector=VECTOR)
    y = Symmetrized(lambda x: Output(*parts(x)), VECTOR >> target, frames.Full())(x)
    assert isinstance(y, Output)
    assert y.logits.shape == (3, 1)
    assert torch.equal(y["vector"], y.vector)
    assert y.hidden is None
    assert transformers


def test_a_hugging_face_vision_transformer_under_quarter_turns():
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.ViTConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        image_size=8,
        patch_size=4,
        num_channels=1,
        num_labels=3,
    )
    net = transformers.ViTForImageClassification(config).eval()
    source = actions.Dict(pixel_values=actions.Image(C4))
    model = symmetrize(net, source >> actions.Dict(logits=actions.Trivial(C4)), frames.Full()).eval()
    x = torch.randn(2, 1, 8, 8)
    with torch.no_grad():
        y, turned = model(pixel_values=x), model(pixel_values=torch.rot90(x, 1, (-2, -1)))
        bare = net(pixel_values=torch.rot90(x, 1, (-2, -1))).logits - net(pixel_values=x).logits
    assert type(y) is type(net(pixel_values=x))
    assert torch.allclose(y.logits, turned.logits, atol=1e-6)
    assert float(bare.abs().max()) > 1e-3
    assert y["logits"] is y.logits
    assert "ViTForImageClassification" in repr(model)


def test_undeclared_outputs_are_refused():
    x = torch.randn(3, 2)
    target = actions.Dict(score=actions.Trivial(C4))
    with pytest.raises(SignatureError, match=r"without an action: \['vector'\].*declare an action for every entry"):
        Symmetrized(lambda x: dict(zip(("score", "vector"), parts(x), strict=True)), VECTOR >> target, frames.Full())(x)
    with pytest.raises(SignatureError, match=r"missing: \['vector'\]"):
        Symmetrized(lambda x: {"score": parts(x)[0]}, VECTOR >> actions.Dict(BOTH), frames.Full())(x)
    with pytest.raises(SignatureError, match=r"output is a tuple with 2 tensors.*Expected: one action for each"):
        Symmetrized(parts, VECTOR >> VECTOR, frames.Full())(x)
    with pytest.raises(SignatureError, match=r"Expected: a container with entries \['score', 'vector'\]"):
        Symmetrized(cubic, VECTOR >> actions.Dict(BOTH), frames.Full())(x)


def test_ignored_and_trivial_leaves():
    x = torch.randn(3, 2)
    target = actions.Dict(vector=VECTOR, state=actions.Ignore(C4), name=actions.Ignore(C4), mean=actions.Trivial(C4))

    def net(x):
        return {"vector": x, "state": torch.arange(7), "name": "n", "mean": x[:, :1]}

    y = Symmetrized(net, VECTOR >> target, frames.Full())(x)
    assert y["name"] == "n"
    assert y["state"].tolist() == list(range(7))
    assert torch.allclose(y["vector"], x, atol=1e-6)
    assert torch.allclose(y["mean"], torch.zeros(3, 1), atol=1e-6)


def test_options_ride_along_as_ignored_inputs():
    source = actions.Dict(x=VECTOR, power=actions.Ignore(C4), label=actions.Trivial(C4))

    def net(x, power, label):
        assert power == 3
        return x**power * label

    label = torch.tensor([[1.0], [2.0], [3.0]])
    x = torch.randn(3, 2)
    y = Symmetrized(net, source >> VECTOR, frames.Full())(x=x, power=3, label=label)
    alone = Symmetrized(lambda x: x**3, VECTOR >> VECTOR, frames.Full())(x)
    assert torch.allclose(y, alone * label, atol=1e-5)


def test_sources_by_keyword_by_position_and_alone():
    x, s = torch.randn(3, 2), torch.rand(3, 1)
    by_name = Symmetrized(lambda x, s: cubic(x) * s, actions.Dict(x=VECTOR, s=actions.Trivial(C4)) >> VECTOR, frames.Full())
    by_place = Symmetrized(lambda x, s: cubic(x) * s, actions.Tuple(VECTOR, actions.Trivial(C4)) >> VECTOR, frames.Full())
    assert torch.equal(by_name(x=x, s=s), by_place(x, s))
    with pytest.raises(SignatureError, match=r"2 positional arguments.*keywords \['x', 's'\]"):
        by_name(x, s)
    with pytest.raises(SignatureError, match="declare a Dict source"):
        by_place(x=x, s=s)
    with pytest.raises(SignatureError, match=r"2 arguments for the source.*actions.Tuple"):
        Symmetrized(cubic, VECTOR >> VECTOR, frames.Full())(x, s)


# -- the frame that is chosen ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("signature", "kind", "reason"),
    [
        (actions.Points(E3) >> actions.Trivial(E3), frames.Minimal, "one model call; points are taken as ordered"),
        (
            actions.Vectors(groups.SpecialOrthogonal(5)) >> actions.Trivial(groups.SpecialOrthogonal(5)),
            frames.Minimal,
            "the cheapest exact frame",
        ),
        (actions.Permute(S, -2) >> actions.Trivial(S), frames.Sort, "one model call on sorted rows"),
        (
            actions.Points(groups.Translation(3)) >> actions.Trivial(groups.Translation(3)),
            frames.Center,
            "one model call on centred points",
        ),
        (actions.Image(D4) >> actions.Trivial(D4), frames.Full, "the exact average over all 8 elements"),
        (actions.Points(groups.Icosahedral(full=True)) >> actions.Trivial(groups.Icosahedral(full=True)), frames.Full, "all 120 elements"),
    ],
    ids=lambda value: "" if not isinstance(value, type) else value.__name__,
)
def test_the_chosen_frame_and_why(signature, kind, reason):
    model = symmetrize(lambda x: x, signature)
    assert type(model.frame) is kind
    assert reason in repr(model)
    assert repr(signature) in repr(model)
    assert "exact: True" in repr(model)
    assert "as asked" in repr(symmetrize(lambda x: x, signature, model.frame))


def test_no_frame_is_better_than_a_wrong_one():
    U3 = groups.Unitary(3)
    for signature in (
        actions.Tensors(U3, 2) >> actions.Trivial(U3),
        actions.Image(groups.SpecialOrthogonal(2)) >> actions.Trivial(groups.SpecialOrthogonal(2)),
    ):
        with pytest.raises(FrameError, match=r"without a frame.*choose one: frames.Haar\(samples\) or frames.Quadrature\(degree\)"):
            symmetrize(lambda x: x, signature)


# -- bad input ---------------------------------------------------------------------------------------------------

GOOD = torch.randn(2, 4, 3)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.randn(2, 4, 2), r"shape \(2, 4, 2\).*last axes \(3,\), moved by Euclidean\(3\).*To do: .*the group for dimension 2"),
        (torch.randn(3), r"shape \(3,\).*at least 2 axes \(one batch axis first\).*To do: add the batch axis"),
        (torch.randn(0, 4, 3), r"an empty batch.*at least one sample.*skip empty batches"),
        (torch.randn(2, 0, 3), r"shape \(2, 0, 3\).*at least one point.*drop empty clouds"),
        (torch.ones(2, 4, 3, dtype=torch.long), r"torch.int64.*floating point numbers.*\.float\(\)"),
        (torch.ones(2, 4, 3, dtype=torch.complex64), r"complex.*real data for Euclidean\(3\)"),
        (torch.full((2, 4, 3), float("nan")), r"NaN or infinite entries in rows \[0, 1\].*finite numbers.*remove or repair"),
        (torch.stack([GOOD[0], GOOD[1] / 0]), r"NaN or infinite entries in rows \[1\]"),
        ("text", r"a value of type str.*a tensor for Points"),
        (GOOD.numpy(), r"a ndarray of shape \(2, 4, 3\).*pass a torch tensor"),
        ([GOOD, GOOD], r"list"),
    ],
    ids=["dimension", "no batch axis", "empty batch", "no points", "integers", "complex", "NaN", "infinity", "text", "numpy", "list"],
)
@pytest.mark.parametrize(
    "frame", [frames.Minimal(), frames.Minimal(colours=frames.UNCOLOURED), frames.PCA()], ids=["ordered", "unordered", "PCA"]
)
def test_bad_points(x, message, frame):
    with pytest.raises(CosetError, match=message):
        Symmetrized(cubic, POINTS, frame)(x)


def siblings(group=E3):
    return actions.Dict(
        pos=actions.Points(group, mask="mask"), v=actions.Vectors(group), z=actions.Trivial(group), mask=actions.PointMask(group)
    )


def good(**changes):
    return {
        "pos": torch.randn(2, 4, 3),
        "v": torch.randn(2, 4, 3),
        "z": torch.ones(2, 4),
        "mask": torch.ones(2, 4, dtype=torch.bool),
        **changes,
    }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"v": torch.randn(2, 4, 3, device="meta")}, r"mixed devices .*'meta'.*one device for all inputs.*\.to\(device=…\)"),
        ({"v": torch.randn(2, 4, 3, dtype=torch.float64)}, r"mixed dtypes .*torch.float64.*one dtype for all inputs"),
        ({"v": torch.randn(3, 4, 3)}, r"input\['v'\] is a Tensor of shape \(3, 4, 3\).*in a batch of 2 samples.*same batch axis"),
        ({"v": torch.randn(2, 4, 2)}, r"input\['v'\].*last axes \(3,\)"),
        ({"mask": torch.ones(2, 4)}, r"input\['mask'\].*boolean tensor of shape \(B, n\)"),
        ({"extra": torch.ones(2)}, r"without an action: \['extra'\].*declare an action for every entry"),
        ({"v": torch.full((2, 4, 3), float("inf"))}, r"input\['v'\].*NaN or infinite"),
    ],
    ids=["devices", "dtypes", "lengths", "dimension", "mask", "undeclared", "infinity"],
)
def test_bad_siblings(changes, message):
    model = Symmetrized(lambda pos, v, z, mask: v, siblings() >> actions.Vectors(E3), frames.Minimal(of="pos"))
    assert model(**good()).shape == (2, 4, 3)
    with pytest.raises(CosetError, match=message):
        model(**good(**changes))


def test_missing_inputs():
    model = Symmetrized(lambda pos, v, z, mask: v, siblings() >> actions.Vectors(E3), frames.Minimal(of="pos"))
    inputs = good()
    del inputs["v"]
    with pytest.raises(SignatureError, match=r"missing: \['v'\]"):
        model(**inputs)


def test_bad_ragged_batches():
    source = actions.Dict(pos=actions.Points(E3, batch="batch"), batch=actions.BatchIndex(E3))
    model = Symmetrized(lambda pos, batch: pos, source >> actions.Vectors(E3), frames.Minimal(of="pos"))
    assert model(pos=torch.randn(5, 3), batch=torch.tensor([0, 0, 1, 1, 1])).shape == (5, 3)
    with pytest.raises(CosetError, match=r"integer tensor of shape \(N,\)"):
        model(pos=torch.randn(5, 3), batch=torch.zeros(5))
    with pytest.raises(CosetError, match=r"ragged batch of 4 rows and 2 samples.*check the batch index"):
        model(pos=torch.randn(5, 3), batch=torch.tensor([0, 0, 1, 1]))


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (lambda x: None, r"output is None.*make the model return it, or declare it Ignore"),
        (lambda x: x[..., :2], r"output is a Tensor of shape \(2, 4, 2\).*last axes \(3,\)"),
        (lambda x: x.sum(), r"output is a Tensor of shape \(\)"),
        (lambda x: x.long(), r"torch.int64.*floating point"),
        (lambda x: torch.cat([x, x]), r"shape \(4, 4, 3\).*for 2 samples.*one entry per sample"),
        (lambda x: {"a": x, "b": x}, r"output is a dict with 2 tensors"),
        (lambda x: 3.0, r"output is a value of type float"),
    ],
    ids=["None", "dimension", "scalar", "integers", "batch", "undeclared", "number"],
)
def test_bad_outputs(output, message):
    with pytest.raises(CosetError, match=message):
        Symmetrized(output, POINTS, frames.Minimal())(torch.randn(2, 4, 3))


def test_decisions_cannot_be_averaged():
    model = Symmetrized(lambda x: x.argmax(-1), VECTOR >> actions.Trivial(C4), frames.Full())
    with pytest.raises(InputError, match=r"torch.int64 values over 4 elements.*numbers that can be averaged.*return scores or logits"):
        model(torch.randn(3, 2))


def test_bad_declarations():
    with pytest.raises(SignatureError, match=r"Euclidean\(3\).*Orthogonal\(3\).*two actions of one group"):
        actions.Points(E3) >> actions.Vectors(O3)
    with pytest.raises(SignatureError, match="an action"):
        actions.Points(E3) >> "vectors"
    with pytest.raises(SignatureError, match="source >> target"):
        symmetrize(cubic, actions.Points(E3))
    with pytest.raises(SignatureError, match="a callable"):
        symmetrize(3, POINTS, frames.Minimal())
    with pytest.raises(FrameError, match=r"pass for instance frames.Minimal\(\)"):
        symmetrize(cubic, POINTS, "minimal")
    with pytest.raises(FrameError, match="a frame"):
        symmetrize(cubic, POINTS, frames.Minimal)
    for chunk in (0, -1, 2.5):
        with pytest.raises(InputError, match="a positive number of samples"):
            symmetrize(cubic, POINTS, frames.Minimal(), chunk=chunk)
    with pytest.raises(FrameError, match=r"of='x' for inputs \['pos'.*name one of its entries"):
        symmetrize(cubic, siblings() >> actions.Vectors(E3), frames.Minimal(of="x"))
    with pytest.raises(FrameError, match=r"colours='charge' for inputs"):
        symmetrize(cubic, siblings() >> actions.Vectors(E3), frames.Minimal(of="pos", colours="charge"))


@pytest.mark.parametrize("frame", [frames.Haar(4), frames.Quadrature(3), frames.Full()], ids=repr)
@pytest.mark.parametrize("group", [E3, groups.Lorentz(4), groups.GeneralLinear(2), groups.Translation(2)], ids=repr)
def test_no_haar_measure_on_groups_that_are_not_compact(frame, group):
    remedy = r"frames.Chain\(frames.Center\(\)" if group == E3 else "frames.Minimal"
    with pytest.raises(GroupError, match=rf"not compact.*Haar probability measure.*{remedy}"):
        frame.bind(actions.Points(group))


@pytest.mark.parametrize(
    "frame",
    [
        frames.Minimal(),
        frames.PCA(),
        frames.Haar(2),
        frames.Full(),
        frames.Sort(),
        frames.Center(),
        frames.Quadrature(2),
        frames.Given(torch.arange(4)),
    ],
    ids=repr,
)
def test_unbound_frames_say_so(frame):
    with pytest.raises(FrameError, match=r"unbound frame.*call frame.bind\(source\) first"):
        frame(torch.randn(2, 4, 3))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: frames.Haar(0), r"Haar\(samples=0\)"),
        (lambda: frames.Quadrature(-1), r"Quadrature\(degree=-1\)"),
        (lambda: frames.Minimal(tol=0.7), r"tol=0.7.*between 0 and 0.5"),
        (lambda: frames.PCA(gap=2.0), r"gap=2.0"),
        (lambda: frames.Chain(frames.Center()), "two or more frames"),
        (lambda: frames.Stochastic("PCA"), r"Stochastic\('PCA'\)"),
        (lambda: frames.Given(torch.arange(3), torch.tensor([1.0, -1, 0])), "non-negative weights"),
        (lambda: frames.Given(torch.tensor(1)), "leading axis"),
        (lambda: frames.Center().bind(actions.Points(E3)), r"a translation group.*frames.Chain"),
        (lambda: frames.Sort().bind(actions.Points(E3)), "the symmetric group on rows"),
        (lambda: frames.PCA().bind(actions.Vectors(C4)), r"O\(d\), SO\(d\), E\(d\) or SE\(d\)"),
        (lambda: frames.Minimal(colours=frames.UNCOLOURED).bind(actions.Points(groups.Orthogonal(4))), "dimension 2 or 3"),
        (lambda: frames.Minimal().bind(actions.Vectors(groups.Dihedral(2))), r"frames.Full\(\) for finite groups"),
        (lambda: frames.Minimal().bind(actions.Trivial(O3)), "points or vectors"),
        (lambda: frames.Minimal().bind(actions.Vectors(E3)), "positions, which translations move"),
        (lambda: frames.Chain(frames.Center(), frames.PCA()).bind(actions.Points(O3)), "one frame for each of its parts"),
        (lambda: frames.Full().bind(actions.Permute(groups.Symmetric(9), -1))(torch.randn(2, 9)), "362880 elements.*at most 5040"),
    ],
)
def test_bad_frames(build, message):
    with pytest.raises(CosetError, match=message):
        build()


# -- a module like others ----------------------------------------------------------------------------------------


def test_state_dict_prefixes_and_freezing():
    net = nn.Linear(3, 3)
    model = Symmetrized(net, actions.Vectors(O3) >> actions.Vectors(O3), frames.Given(torch.eye(3)[None]))
    keys = model.state_dict().keys()
    assert {"model.weight", "model.bias", "frame.element_0", "frame.weights"} == set(keys)
    assert model.model is net
    assert isinstance(model.frame, frames.Given)
    for parameter in model.model.parameters():
        parameter.requires_grad_(False)
    assert not any(p.requires_grad for p in model.parameters())
    assert [name for name, _ in model.named_parameters()] == ["model.weight", "model.bias"]
    pure = Symmetrized(net, actions.Vectors(O3) >> actions.Vectors(O3), frames.Minimal())
    assert all(key.startswith("model.") for key in pure.state_dict())


def test_conversion_of_precision():
    model = symmetrize(nn.Linear(3, 3), POINTS).double()
    x = torch.randn(2, 4, 3, dtype=torch.float64)
    assert model(x).dtype == torch.float64
    with torch.no_grad():
        back = model.float()(x.float())
        assert back.dtype == torch.float32
        g = E3.sample(2)
        there = model(actions.Points(E3).act(g, x.float()))
        assert torch.allclose(there, actions.Vectors(E3).act(g, back), atol=1e-5)


def test_forward_is_pure():
    model = symmetrize(nn.Linear(3, 3), POINTS)
    x = torch.randn(2, 4, 3)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    copied, y = x.clone(), model(x)
    model(torch.randn(3, 5, 3))
    assert torch.equal(model(x), y)
    assert torch.equal(x, copied)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_one_frame_serves_two_models():
    frame = frames.Minimal()
    one = Symmetrized(cubic, POINTS, frame)
    two = Symmetrized(cubic, actions.Vectors(O3) >> actions.Vectors(O3), frame)
    assert frame.source is None
    assert one.frame is not frame
    assert one.frame.group == E3
    assert two.frame.group == O3


def _train(rank, port, queue):
    import os

    import torch.distributed as dist

    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=2)
    torch.manual_seed(0)
    model = symmetrize(nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 3)), POINTS)
    parallel = nn.parallel.DistributedDataParallel(model)
    torch.manual_seed(rank)
    parallel(torch.randn(2, 4, 3)).square().sum().backward()
    queue.put((rank, [p.grad.tolist() for p in model.parameters()]))
    dist.barrier()
    dist.destroy_process_group()


@pytest.mark.slow
def test_distributed_data_parallel():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    context = torch.multiprocessing.get_context("spawn")
    queue = context.Queue()
    workers = [context.Process(target=_train, args=(rank, port, queue)) for rank in range(2)]
    for worker in workers:
        worker.start()
    found = dict(queue.get(timeout=120) for _ in workers)
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    assert found[0] == found[1]
    assert any(abs(value) > 0 for value in torch.tensor(found[0][0]).flatten().tolist())


def test_a_mean_loss_is_the_same_in_chunks():
    C4 = groups.Cyclic(4)
    x = torch.randn(5, 1, 6, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def model(x):
        return {"logits": x.flatten(1)[:, :3], "loss": x.flatten(1)[:, 0].mean(), "calls": torch.tensor(3)}

    signature = actions.Image(C4) >> actions.Dict(logits=actions.Trivial(C4), loss=actions.Ignore(C4), calls=actions.Ignore(C4))
    whole = symmetrize(model, signature, frames.Full())(x)
    for chunk in (1, 3, 7, 50):
        part = symmetrize(model, signature, frames.Full(), chunk=chunk)(x)
        assert torch.allclose(part["loss"], whole["loss"], atol=1e-14)
        assert torch.allclose(part["logits"], whole["logits"], atol=1e-14)
        assert int(part["calls"]) == 3
