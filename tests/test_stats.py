"""Standard errors, intervals, losses without bias, and stopping at a tolerance: each against what repetitions show."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

import coset
from coset import Symmetrized, actions, frames, groups, unbiased_square
from coset.errors import FrameError, InputError
from coset.moments import Between
from coset.stats import quantiles, student
from coset.tree import leaves, tree_map

C4, S, S6 = groups.Cyclic(4), groups.Symmetric(), groups.Symmetric(6)
O3, SO3, E3 = groups.Orthogonal(3), groups.SpecialOrthogonal(3), groups.Euclidean(3)
VECTORS = actions.Vectors(O3) >> actions.Vectors(O3)
ROWS = actions.Permute(S6, -1) >> actions.Trivial(S6)
REPETITIONS = 8000


def perceptron(inputs, outputs, seed=0, scale=1.0):
    """A small smooth network in double precision."""
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(inputs, 32), nn.Tanh(), nn.Linear(32, outputs)).double()
    with torch.no_grad():
        net[0].weight *= scale
    return net.requires_grad_(False)


def repeated(x, times=REPETITIONS):
    """One input many times: independent draws for each."""
    return x[None].expand(times, *x.shape)


# -- quantiles -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", [0.5, 0.8, 0.95, 0.99, 0.9999])
def test_quantiles_are_those_of_scipy(level):
    scipy = pytest.importorskip("scipy.stats")
    for freedom in (1, 2, 3, 4, 7, 15, 30, 101, 254, 999, 1000, 1001, 10_000, 10**7):
        assert student((1 + level) / 2, freedom) == pytest.approx(scipy.t.ppf((1 + level) / 2, freedom), rel=1e-6)


def test_quantiles_by_the_number_of_draws():
    found = quantiles(torch.tensor([[0.0], [1.0], [2.0], [16.0]]), 0.975)
    assert found.shape == (4, 1)
    assert found[0] == 0
    assert found[1].isnan()
    assert found[2:].flatten().tolist() == pytest.approx([12.7062, 2.13145], rel=1e-5)


# -- variance and standard errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize("frame", [frames.Haar(5), frames.RandomCosets(3, groups.Tetrahedral())], ids=repr)
def test_the_variance_is_that_between_draws(frame):
    net, x = perceptron(3, 3), torch.randn(4, 3, dtype=torch.float64)
    torch.manual_seed(1)
    y, stats = Symmetrized(net, VECTORS, frame)(x, return_stats=True)
    torch.manual_seed(1)
    found = frame.bind(VECTORS.source)(x)
    g = found.elements
    each = torch.einsum("kbij,kbj->kbi", g, net(torch.einsum("kbji,bj->kbi", g, x)))
    values = torch.stack([each[found.draws == draw].mean(0) for draw in found.draws.unique()])
    assert torch.allclose(y, values.mean(0))
    assert torch.allclose(stats.variance, values.var(0))
    assert torch.allclose(stats.stderr, values.std(0) / len(values) ** 0.5)
    assert stats.draws.tolist() == [len(values)] * 4
    assert torch.allclose(stats.std, each.std(0, correction=0))
    assert torch.equal(stats.mean, y)


def test_standard_errors_are_right_over_repetitions():
    net, x = perceptron(3, 2), torch.randn(3, dtype=torch.float64)
    y, stats = Symmetrized(net, actions.Vectors(O3) >> actions.Trivial(O3), frames.Haar(4))(repeated(x), return_stats=True)
    assert torch.allclose(stats.stderr.square().mean(0), y.var(0), rtol=0.06)  # both are known to about 2 %
    assert not torch.allclose(stats.std.square().mean(0) / 4, y.var(0), rtol=0.06)  # without Bessel's correction they are not


@pytest.mark.parametrize("frame", [frames.Minimal(), frames.PCA(), frames.Quadrature(3), frames.Given(O3.haar(5))], ids=repr)
def test_nothing_drawn_has_no_error(frame):
    y, stats = Symmetrized(perceptron(3, 3).float(), VECTORS, frame)(torch.randn(4, 3), return_stats=True)
    assert stats.draws.tolist() == [0] * 4
    for value in (stats.variance, stats.stderr):
        assert value.shape == y.shape
        assert float(value.abs().max()) == 0.0
    low, high = stats.interval()
    assert torch.equal(low, y)
    assert torch.equal(high, y)


@pytest.mark.parametrize(
    ("frame", "signature"),
    [
        (frames.Haar(1), VECTORS),
        (frames.RandomCosets(1), VECTORS),
        (frames.Stochastic(frames.PCA()), actions.Points(E3) >> actions.Points(E3)),
        (frames.WeightedSort(samples=5), actions.Permute(S, -2) >> actions.Permute(S, -2)),
    ],
    ids=lambda value: repr(value) if isinstance(value, frames.Frame) else "",
)
def test_the_error_of_one_draw_is_unknown(frame, signature):
    x = torch.randn(4, 5, 3)
    model = Symmetrized(lambda x: x.sin(), signature, frame).train()
    y, stats = model(x, return_stats=True)
    assert stats.draws.tolist() == [1] * 4
    for value in (stats.variance, stats.stderr, *stats.interval()):
        assert bool(value.isnan().all())
    assert bool(torch.isfinite(y).all())
    if isinstance(frame, frames.Stochastic):
        assert float(model.eval()(x, return_stats=True)[1].stderr.max()) == 0.0


def test_a_masked_variance_of_one_draw_has_finite_gradients():
    x = torch.randn(4, 3, requires_grad=True)
    _, stats = Symmetrized(lambda x: x.sin(), VECTORS, frames.Haar(1))(x, return_stats=True)
    (slope,) = torch.autograd.grad(torch.where(stats.variance.isnan(), 0.0, stats.variance).sum(), x, allow_unused=True)
    assert slope is None or bool(torch.isfinite(slope).all())


def test_the_variance_has_gradients():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 3)).double()
    elements = O3.haar(3, 2, dtype=torch.float64)

    class Fixed(frames.Haar):
        def draw(self, inputs, at, start, count):
            return replace(super().draw(inputs, at, start, count), elements=elements)

    model = Symmetrized(net, VECTORS, Fixed(3))
    x = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: model(x, return_stats=True)[1].variance, (x,))
    _, stats = model(x, return_stats=True)
    assert stats.variance.requires_grad
    assert not any(part.requires_grad for part in (stats.stderr, stats.std, *stats.interval()))


def test_draws_of_unequal_weight():
    torch.manual_seed(0)
    weights = torch.tensor([0.5, 0.3, 0.2, 0.0], dtype=torch.float64)[:, None].expand(4, 200_000)
    values = torch.randn(4, 200_000, dtype=torch.float64) * 2 + 1
    moments = Between()
    moments.add(weights, weights * values)
    assert float(moments.variance().mean()) == pytest.approx(4, rel=0.02)
    assert float((moments.variance() * moments.share()).mean()) == pytest.approx(float(moments.mean.var()), rel=0.02)
    assert float(moments.draws()[0]) == 3


# -- structures, pieces ----------------------------------------------------------------------------------------------


def ragged_net(pos, batch):
    total = torch.zeros(int(batch.max()) + 1, 3, dtype=pos.dtype).index_add(0, batch, pos.sin())
    return {"f": pos**3 + total[batch], "e": total.square().sum(-1), "tag": "kept"}


RAGGED = actions.Dict(pos=actions.Points(SO3, batch="batch"), batch=actions.BatchIndex(SO3)) >> actions.Dict(
    f=actions.Vectors(SO3, points=True), e=actions.Trivial(SO3), tag=actions.Ignore(SO3)
)
BATCH = torch.tensor([0, 0, 1, 1, 1, 2])
CLOUD = actions.Points(S * SO3) >> actions.Tuple(actions.Points(S * SO3), actions.Trivial(S * SO3))
CASES = {
    "vectors": (lambda x: x**3, VECTORS, frames.Haar(7), lambda: torch.randn(5, 3, dtype=torch.float64)),
    "cosets": (lambda x: x**3, VECTORS, frames.RandomCosets(4, groups.Tetrahedral()), lambda: torch.randn(3, 3, dtype=torch.float64)),
    "ragged": (ragged_net, RAGGED, frames.Haar(6), lambda: {"pos": torch.randn(6, 3, dtype=torch.float64), "batch": BATCH}),
    "complex": (
        lambda x: x**2 * (1 + 2j),
        actions.Vectors(groups.Unitary(2)) >> actions.Vectors(groups.Unitary(2)),
        frames.Haar(5),
        lambda: torch.randn(4, 2, dtype=torch.complex128),
    ),
    "quarter turns on their side": (
        lambda x: torch.stack([x.square().mean((1, 2, 3)), x[:, 0, 0, 0].sin()], -1),
        actions.Image(C4) >> actions.Trivial(C4),
        frames.Haar(6),
        lambda: torch.randn(4, 1, 4, 6, dtype=torch.float64),
    ),
    "inner draws": (
        lambda x: (x**3, x[:, 0].sin()),
        CLOUD,
        frames.Chain(frames.Quadrature(1), frames.Haar(5)),
        lambda: torch.randn(3, 4, 3, dtype=torch.float64),
    ),
    "draws in draws": (
        lambda x: (x**3, x[:, 0].sin()),
        CLOUD,
        frames.Chain(frames.Haar(4), frames.Haar(3)),
        lambda: torch.randn(3, 4, 3, dtype=torch.float64),
    ),
}
DRAWS = {"vectors": 7, "cosets": 4, "ragged": 6, "complex": 5, "quarter turns on their side": 6, "inner draws": 5, "draws in draws": 4}


def run(model, x, seed=3):
    torch.manual_seed(seed)
    return model(**x, return_stats=True) if isinstance(x, dict) else model(x, return_stats=True)


@pytest.mark.parametrize("chunk", [1, 2, 5, 8, 1000])
@pytest.mark.parametrize("name", CASES)
def test_chunks_change_no_error_bars(name, chunk):
    net, signature, frame, make = CASES[name]
    x = make()
    y, whole = run(Symmetrized(net, signature, frame), x)
    z, parts = run(Symmetrized(net, signature, frame, chunk=chunk), x)
    for a, b in zip((y, whole.variance, whole.stderr, whole.std), (z, parts.variance, parts.stderr, parts.std), strict=True):
        for one, other in zip(leaves(a), leaves(b), strict=True):
            assert torch.allclose(one, other, atol=1e-9, rtol=1e-9)
    assert whole.draws.tolist() == parts.draws.tolist() == [DRAWS[name]] * len(whole.order)
    assert all(not v.is_complex() and float(v.min()) >= 0 and float(v.max()) > 0 for v in leaves(whole.variance))
    assert all(v.shape == u.shape for v, u in zip(leaves(whole.variance), leaves(whole.std), strict=True))


def test_draws_of_a_chain_are_independent():
    """The variance of the mean over repetitions is what the draws say, not what all elements together would."""
    weights = torch.randn(4, 3, dtype=torch.float64)
    net = lambda x: ((x * weights).sum((1, 2)), x[:, 0].norm(dim=-1))  # noqa: E731
    group = S * SO3
    signature = actions.Points(group) >> actions.Tuple(actions.Trivial(group), actions.Trivial(group))
    frame, x = frames.Chain(frames.Haar(3), frames.Haar(8)), torch.randn(4, 3, dtype=torch.float64) + 1
    y, stats = Symmetrized(net, signature, frame)(repeated(x, 4000), return_stats=True)
    _, wrong = Symmetrized(net, signature, Counted(frame))(repeated(x, 4000), return_stats=True)
    assert float(stats.stderr[0].square().mean(0) / y[0].var(0)) == pytest.approx(1, rel=0.15)
    assert float(stats.stderr[1].square().mean(0) / y[1].var(0)) == pytest.approx(1, rel=0.15)
    assert float(wrong.stderr[1].square().mean(0) / y[1].var(0)) < 0.3


def test_large_offsets_lose_no_digits():
    net = lambda x: 1e4 + x.sin()  # noqa: E731
    x = torch.randn(2, 3)
    signature = actions.Vectors(O3) >> actions.Trivial(O3)
    exact = run(Symmetrized(lambda x: net(x.double()), signature, frames.Haar(400)), x)[1].variance
    for chunk in (None, 7):
        assert torch.allclose(run(Symmetrized(net, signature, frames.Haar(400), chunk=chunk), x)[1].variance.double(), exact, rtol=2e-2)


def test_half_precision_outputs():
    x = torch.randn(2, 3)
    signature = actions.Vectors(O3) >> actions.Trivial(O3)
    low = run(Symmetrized(lambda x: x.sin().bfloat16(), signature, frames.Haar(100)), x)[1]
    assert torch.allclose(low.variance.float(), run(Symmetrized(torch.sin, signature, frames.Haar(100)), x)[1].variance, rtol=0.03)


def test_what_frames_score_is_passed_on():
    class Scoring(frames.Haar):
        def draw(self, inputs, at, start, count):
            return replace(super().draw(inputs, at, start, count), scores={"entropy": torch.arange(at.samples)})

    _, stats = Symmetrized(torch.sin, VECTORS, Scoring(3))(torch.randn(2, 3), return_stats=True)
    assert stats.scores["entropy"].tolist() == [0, 1]


@pytest.mark.parametrize("frame", [frames.Haar(3), frames.RandomCosets(2, groups.Tetrahedral())], ids=repr)
def test_statistics_compile(frame):
    torch._dynamo.reset()
    model = Symmetrized(torch.sin, VECTORS, frame)

    def both(x):
        y, stats = model(x, return_stats=True)
        return y, stats.variance, stats.stderr

    y, variance, stderr = torch.compile(both, backend="aot_eager", fullgraph=True)(torch.randn(4, 3))
    assert y.shape == variance.shape == stderr.shape
    assert bool((stderr > 0).all())


# -- intervals --------------------------------------------------------------------------------------------------------


class Counted(frames.Frame):
    """A frame whose elements all pretend to be draws of their own."""

    stochastic, exact = True, False

    def __init__(self, frame):
        super().__init__()
        self.frame = frame

    def prepare(self, group):
        self.frame = self.frame.bind(self.source, self.target)

    def measure(self, inputs, at):
        found = self.frame.measure(inputs, at)
        return replace(found, draws=torch.arange(found.cosets))


def coverage(model, x, exact, times=REPETITIONS, level=0.95):
    """How often the interval of an entry holds the exact average."""
    with torch.no_grad():
        low, high = model(repeated(x, times), return_stats=True)[1].interval(level)
    return ((low < exact) & (exact < high)).double().mean(0)


ROTATED = actions.Vectors(O3) >> actions.Trivial(O3)


def mixed(x):
    """Sums over many points, which are near normal over rotations."""
    return torch.tanh(x.flatten(1) @ MIX).double() @ MIX[: MIX.shape[1], :2] if x.dim() == 3 else x


MIX = torch.randn(36, 36, generator=torch.Generator().manual_seed(0), dtype=torch.float64) / 36**0.5 / 2


@pytest.mark.parametrize("draws", [2, 4, 16])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_intervals_hold_on_rotations(draws, seed):
    torch.manual_seed(seed)
    x = torch.randn(12, 3, dtype=torch.float64)
    signature = actions.Vectors(O3, points=True) >> actions.Trivial(O3)
    with torch.no_grad():
        exact = Symmetrized(mixed, signature, frames.Quadrature(15))(x[None])[0]
    found = coverage(Symmetrized(mixed, signature, frames.Haar(draws)), x, exact)
    assert bool(((found > 0.93) & (found < 0.97)).all()), found


@pytest.mark.parametrize("draws", [2, 4, 16])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_intervals_hold_on_permutations(draws, seed):
    torch.manual_seed(seed)
    x, weights = torch.randn(30, dtype=torch.float64), torch.randn(30, 2, dtype=torch.float64)
    exact = x.tanh().mean() * weights.sum(0)
    net = lambda x: x.tanh() @ weights  # noqa: E731
    model = Symmetrized(net, actions.Permute(S, -1) >> actions.Trivial(S), frames.Haar(draws))
    found = coverage(model, x, exact)
    assert bool(((found > 0.93) & (found < 0.97)).all()), found


@pytest.mark.parametrize("draws", [16, 64])
@pytest.mark.parametrize("seed", [0, 1])
def test_intervals_hold_for_strongly_nonlinear_models(draws, seed):
    torch.manual_seed(seed)
    x, net = torch.randn(6, dtype=torch.float64), perceptron(6, 2, seed, scale=10.0)
    exact = Symmetrized(net, ROWS, frames.Full())(x[None])[0]
    found = coverage(Symmetrized(net, ROWS, frames.Haar(draws)), x, exact)
    assert bool(((found > 0.93) & (found < 0.97)).all()), found


@pytest.mark.parametrize("level", [0.5, 0.8, 0.99])
def test_intervals_at_other_levels(level):
    torch.manual_seed(0)
    x, net = torch.randn(6, dtype=torch.float64), perceptron(6, 2)
    exact = Symmetrized(net, ROWS, frames.Full())(x[None])[0]
    assert torch.allclose(coverage(Symmetrized(net, ROWS, frames.Haar(8)), x, exact, level=level), torch.tensor(level).double(), atol=0.02)


def test_elements_of_a_coset_are_no_draws_of_their_own():
    torch.manual_seed(0)
    x = torch.randn(12, 3, dtype=torch.float64)
    signature = actions.Vectors(O3, points=True) >> actions.Trivial(O3)
    net = lambda x: mixed(3 * x)  # noqa: E731
    with torch.no_grad():
        exact = Symmetrized(net, signature, frames.Quadrature(25))(x[None])[0]
    frame = frames.RandomCosets(6, groups.Octahedral())
    right = coverage(Symmetrized(net, signature, frame), x, exact, 3000)
    wrong = coverage(Symmetrized(net, signature, Counted(frame)), x, exact, 3000)
    assert bool(((right > 0.93) & (right < 0.97)).all()), right
    assert not bool(((wrong > 0.93) & (wrong < 0.97)).any()), wrong


# -- losses -----------------------------------------------------------------------------------------------------------


def standard_scores(values, exact):
    """How many standard errors the mean of repetitions is from what it should be."""
    return (values.mean(0) - exact).abs() / (values.std(0) / len(values) ** 0.5)


@pytest.mark.parametrize("draws", [2, 5])
def test_the_squared_error_has_no_bias(draws):
    torch.manual_seed(0)
    x, net, goal = torch.randn(6, dtype=torch.float64), perceptron(6, 2), torch.tensor([0.3, -0.2], dtype=torch.float64)
    exact = (Symmetrized(net, ROWS, frames.Full())(x[None])[0] - goal).square()
    y, stats = Symmetrized(net, ROWS, frames.Haar(draws))(repeated(x, 20_000), return_stats=True)
    loss = unbiased_square(y, stats, goal.expand_as(y))
    assert float(standard_scores(loss, exact).max()) < 4
    assert float(standard_scores((y - goal).square(), exact).min()) > 8
    bias = ((y - goal).square().mean(0) - exact) / (stats.variance.mean(0) / draws)
    assert torch.allclose(bias, torch.ones_like(bias), atol=0.15)


def test_the_estimate_is_the_u_statistic():
    values = torch.randn(5, 3, dtype=torch.float64)
    moments = Between()
    moments.add(torch.full((5, 3), 0.2, dtype=torch.float64), values / 5)
    k, m = 5, values.mean(0)
    expected = (k * m**2 - values.square().mean(0)) / (k - 1)
    assert torch.allclose(m.square() - moments.variance() * moments.share(), expected)


def test_the_gradient_of_the_squared_error_has_no_bias():
    torch.manual_seed(0)
    weight = torch.randn(6, dtype=torch.float64)
    x, goal, times = torch.randn(6, dtype=torch.float64), 0.4, 20_000

    def slopes(frame, seen, estimate):
        """The gradient for one parameter of every repetition: a copy of it for each."""
        scale = torch.ones(len(seen), dtype=torch.float64, requires_grad=True)
        source = actions.Dict(x=actions.Permute(S6, -1), scale=actions.Trivial(S6))
        net = lambda x, scale: torch.tanh(scale[:, None] * x @ weight[:, None])  # noqa: E731
        y, stats = Symmetrized(net, source >> actions.Trivial(S6), frame)(x=seen, scale=scale, return_stats=True)
        loss = unbiased_square(y, stats, torch.full_like(y, goal)) if estimate else (y - goal).square()
        return torch.autograd.grad(loss.sum(), scale)[0]

    exact = slopes(frames.Full(), x[None], False)
    assert float(standard_scores(slopes(frames.Haar(2), repeated(x, times), True), exact)) < 4
    assert float(standard_scores(slopes(frames.Haar(2), repeated(x, times), False), exact)) > 8


def test_squares_of_nested_and_complex_outputs():
    net, signature, frame, make = CASES["ragged"]
    y, stats = run(Symmetrized(net, signature, frame), make())
    loss = unbiased_square(y, stats, tree_map(torch.zeros_like, y))
    assert torch.allclose(loss["f"], y["f"].square() - stats.stderr["f"].square())
    assert torch.allclose(loss["e"], y["e"].square() - stats.stderr["e"].square())
    net, signature, frame, make = CASES["complex"]
    y, stats = run(Symmetrized(net, signature, frame), make())
    assert torch.allclose(unbiased_square(y, stats, torch.zeros_like(y)), y.abs().square() - stats.stderr.square())


# -- stopping ---------------------------------------------------------------------------------------------------------


class Count(nn.Module):
    """Counts the samples that enter."""

    def __init__(self, net):
        super().__init__()
        self.net, self.samples = net, 0

    def forward(self, *args, **kwargs):
        self.samples += len(next(iter(args or kwargs.values())))
        return self.net(*args, **kwargs)


def test_only_samples_above_the_tolerance_go_on():
    x = torch.tensor([[0.0, 0, 0], [0.4, 0, 0], [0.9, 0, 0], [9, 0, 0]], dtype=torch.float64)
    net = Count(perceptron(3, 2))
    model = Symmetrized(net, ROTATED, frames.Haar(frames.Until(0.01, most=512, first=16))).eval()
    y, stats = model(x, return_stats=True)
    assert stats.draws[0] == 16
    assert stats.draws.tolist() == sorted(stats.draws.tolist())
    assert len(set(stats.draws.tolist())) >= 3
    assert stats.draws[3] == 512
    assert stats.reached.tolist() == (stats.stderr.amax(1) <= 0.01).tolist() == [True, True, True, False]
    assert net.samples == stats.samples == int(stats.draws.sum())
    assert stats.cosets == 512
    assert stats.order.tolist() == stats.draws.tolist()
    exact = Symmetrized(net, ROTATED, frames.Quadrature(41))(x)
    assert bool(((y - exact).abs() < 5 * stats.stderr + 1e-12).all())


@pytest.mark.parametrize("chunk", [None, 5])
def test_rounds_add_up_to_one_measure(chunk):
    """Mean, spread and variance after several rounds are those of all draws together."""
    drawn = []

    class Watched(frames.Haar):
        def draw(self, inputs, at, start, count):
            found = super().draw(inputs, at, start, count)
            drawn.append((start, found.elements, inputs))
            return replace(found, draws=found.draws + start)

    x, net = torch.randn(3, 3, dtype=torch.float64), perceptron(3, 3)
    frame = Watched(frames.Until(1e-6, most=45, first=10))
    y, stats = Symmetrized(net, VECTORS, frame, chunk=chunk).eval()(x, return_stats=True)
    assert [(start, len(g)) for start, g, _ in drawn] == [(0, 10), (10, 10), (20, 20), (40, 5)]
    g = torch.cat([g for _, g, _ in drawn])
    each = torch.einsum("kbij,kbj->kbi", g, net(torch.einsum("kbji,bj->kbi", g, x)))
    assert torch.allclose(y, each.mean(0))
    assert torch.allclose(stats.variance, each.var(0))
    assert torch.allclose(stats.std, each.std(0, correction=0))
    assert torch.allclose(stats.stderr, each.std(0) / 45**0.5)


def test_ragged_samples_stop_one_by_one():
    batch = torch.tensor([0, 0, 1, 1, 1, 2, 2])
    pos = torch.randn(7, 3, dtype=torch.float64) * torch.tensor([0.01, 1.0, 0.1], dtype=torch.float64)[batch, None]
    model = Symmetrized(ragged_net, RAGGED, frames.Haar(frames.Until(0.02, most=128))).eval()
    torch.manual_seed(0)
    y, stats = model(pos=pos, batch=batch, return_stats=True)
    assert y["tag"] == "kept"
    assert stats.draws[0] == 16
    assert stats.draws[1] == 128
    assert stats.reached.tolist() == [True, False, True]
    exact = Symmetrized(ragged_net, RAGGED, frames.Quadrature(11))(pos=pos, batch=batch)
    for key in ("f", "e"):
        assert bool(((y[key] - exact[key]).abs() < 5 * stats.stderr[key] + 1e-12).all())
    worst = torch.stack([stats.stderr["f"][batch == b].max().maximum(stats.stderr["e"][b]) for b in range(3)])
    assert ((worst <= 0.02) == stats.reached).all()


@pytest.mark.parametrize(
    ("frame", "signature"),
    [
        (frames.Chain(frames.Center(), frames.Haar(frames.Until(0.05))), actions.Points(E3) >> actions.Trivial(E3)),
        (frames.RandomCosets(frames.Until(1e-3, first=4, most=64)), actions.Points(O3) >> actions.Trivial(O3)),
        (frames.Stochastic(frames.Haar(frames.Until(0.05))), actions.Points(O3) >> actions.Trivial(O3)),
    ],
    ids=lambda value: repr(value) if isinstance(value, frames.Frame) else "",
)
def test_frames_that_can_go_on(frame, signature):
    net = nn.Sequential(nn.Flatten(), perceptron(12, 1))
    model = Symmetrized(net, signature, frame).eval()
    torch.manual_seed(0)
    _, stats = model(torch.randn(20, 4, 3, dtype=torch.float64), return_stats=True)
    assert bool(stats.reached.all())
    assert len(stats.draws.unique()) > 1
    tolerance = 1e-3 if isinstance(frame, frames.RandomCosets) else 0.05
    assert float(stats.stderr.max()) <= tolerance


def test_a_relative_tolerance():
    x = torch.randn(50, 3, dtype=torch.float64)
    net = lambda x: 100 + x.sin()  # noqa: E731
    frame = frames.Haar(frames.Until(1e-9, relative=0.01))
    _, stats = Symmetrized(net, ROTATED, frame).eval()(x, return_stats=True)
    assert stats.draws.tolist() == [16] * 50
    assert bool(stats.reached.all())


@pytest.mark.parametrize("tolerance", [0.2, 0.1, 0.05])
def test_intervals_hold_after_stopping(tolerance):
    torch.manual_seed(0)
    x, net = torch.randn(6, dtype=torch.float64), perceptron(6, 2)
    exact = Symmetrized(net, ROWS, frames.Full())(x[None])[0]
    model = Symmetrized(net, ROWS, frames.Haar(frames.Until(tolerance / 2))).eval()
    found = coverage(model, x, exact, 4000)
    assert bool((found > 0.92).all()), found


def test_training_and_compiling_make_the_first_draws():
    x, net = torch.randn(5, 3), Count(perceptron(3, 2).float())
    frame = frames.Haar(frames.Until(1e-9, first=4, most=64))
    model = Symmetrized(net, ROTATED, frame).train()
    _, stats = model(x, return_stats=True)
    assert net.samples == 20
    assert stats.draws.tolist() == [4] * 5
    assert stats.reached.tolist() == [False] * 5
    torch._dynamo.reset()
    net.samples = 0
    torch.compile(Symmetrized(net.net, ROTATED, frame).eval(), backend="aot_eager", fullgraph=True)(x)
    assert Symmetrized(net, ROTATED, frame).eval()(x).shape == (5, 2)
    assert net.samples == 5 * 64


def test_gradients_pass_through_all_rounds():
    torch.manual_seed(0)
    model = Symmetrized(lambda x: x[..., :1] ** 2, ROTATED, frames.Haar(frames.Until(1e-9, first=8, most=4096))).eval()
    x = torch.randn(3, 3, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(model(x).sum(), x)
    assert torch.allclose(slope, 2 * x / 3, atol=0.15)  # the average is |x|^2 / 3
    with torch.no_grad():
        assert model(x).shape == (3, 1)
    _, stats = model(x, return_stats=True)
    assert stats.variance.requires_grad


def test_without_until_nothing_is_reached():
    assert Symmetrized(torch.sin, VECTORS, frames.Haar(4))(torch.randn(2, 3), return_stats=True)[1].reached is None


# -- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stderr": 0.0}, r"Until\(stderr=0\.0\).*positive number"),
        ({"stderr": -1e-3}, r"Until\(stderr=-0\.001\).*positive number"),
        ({"stderr": math.nan}, r"Until\(stderr=nan\)"),
        ({"stderr": "small"}, r"Until\(stderr='small'\)"),
        ({"stderr": 1e-3, "first": 1}, r"Until\(first=1\).*2 draws or more, of which an error is known"),
        ({"stderr": 1e-3, "first": 2.5}, r"Until\(first=2\.5\)"),
        ({"stderr": 1e-3, "most": 8}, r"Until\(most=8\) with first=16.*16 draws or more.*raise most="),
        ({"stderr": 1e-3, "relative": -1}, r"Until\(relative=-1\)"),
    ],
)
def test_rules_that_make_no_sense(options, message):
    with pytest.raises(FrameError, match=message):
        frames.Until(**options)


@pytest.mark.parametrize("samples", [0, -1, 2.0, True, "many"])
def test_numbers_of_samples_that_make_no_sense(samples):
    with pytest.raises(FrameError, match=r"Haar\(samples=.*1 or more.*frames\.Until\(stderr=1e-3\)"):
        frames.Haar(samples)


@pytest.mark.parametrize("level", [0, 1, -0.5, 95, True, "high"])
def test_levels_that_make_no_sense(level):
    _, stats = Symmetrized(torch.sin, VECTORS, frames.Haar(4))(torch.randn(2, 3), return_stats=True)
    with pytest.raises(InputError, match=r"level=.*between 0 and 1.*interval\(0\.95\)"):
        stats.interval(level)


def test_complex_outputs_have_no_interval():
    net, signature, frame, make = CASES["complex"]
    with pytest.raises(InputError, match=r"complex outputs.*stats\.stderr"):
        run(Symmetrized(net, signature, frame), make())[1].interval()


def test_squares_without_enough_draws():
    x = torch.randn(2, 3)
    y, stats = Symmetrized(torch.sin, VECTORS, frames.Minimal())(x, return_stats=True)
    with pytest.raises(InputError, match=r"a measure without random draws.*two independent draws.*plain square"):
        unbiased_square(y, stats, x)
    y, stats = Symmetrized(torch.sin, VECTORS, frames.RandomCosets(1))(x, return_stats=True)
    with pytest.raises(InputError, match=r"one draw.*two independent draws.*raise the number of samples"):
        unbiased_square(y, stats, x)
    y, stats = Symmetrized(torch.sin, VECTORS, frames.Haar(2))(x, return_stats=True)
    with pytest.raises(InputError, match=r"a target of shape \(2, 1\).*\(2, 3\)"):
        unbiased_square(y, stats, x[:, :1])


def test_names_are_public():
    assert coset.unbiased_square is unbiased_square
    assert coset.Stats is not None
