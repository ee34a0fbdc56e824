"""Probabilistic frames: unbiased and exact at every k, true gradients of relaxations, noise, ties, draws made anew, bad input."""

from __future__ import annotations

import math

import pytest
import torch

import coset
from coset import actions, frames, groups, nn
from coset.errors import FrameError, GroupError
from coset.frames.noise import Place
from coset.frames.polar import polar
from coset.frames.softsort import entropy, soft_matrix, soft_order

S = groups.Symmetric()
O3, SO3, E3 = groups.Orthogonal(3), groups.SpecialOrthogonal(3), groups.Euclidean(3)
SxO3 = S * O3


def drawn(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def network(source, x, kind=nn.VectorNeurons, seed=0, **options):
    torch.manual_seed(seed)
    return kind(source, x, **options).to(x.dtype)


def flat(n, out, seed=0):
    torch.manual_seed(seed)
    layers = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(n, 32), torch.nn.Tanh(), torch.nn.Linear(32, out))
    return layers.to(torch.float64)


# -- the law, without bias -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [1, 3, 10])
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-5), (torch.float64, 1e-12)], ids=["f32", "f64"])
def test_coupled_noise_is_exact_at_every_count(k, dtype, bound):
    source, x = actions.Points(SxO3), drawn(16, 5, 3, dtype=dtype)
    model = coset.symmetrize(
        flat(15, 2).to(dtype), source >> actions.Trivial(SxO3), frames.Probabilistic(network(source, x), samples=k)
    ).eval()
    h = source.resolve(x).sample(16, generator=torch.Generator().manual_seed(1), dtype=dtype)
    with torch.no_grad():
        assert float((model(source.act(h, x)) - model(x)).abs().max()) < bound


def test_without_coupling_the_error_falls_as_one_over_the_root_of_k():
    source, x = actions.Points(SxO3), drawn(32, 5, 3)
    frame = frames.Probabilistic(network(source, x), samples=1, coupled=False)
    model = coset.symmetrize(flat(15, 1), source >> actions.Trivial(SxO3), frame).eval()
    h = source.resolve(x).sample(32, generator=torch.Generator().manual_seed(1), dtype=x.dtype)
    torch.manual_seed(0)
    found = {}
    for k in (4, 256):
        model.frame.samples = k
        with torch.no_grad():
            found[k] = float((model(source.act(h, x)) - model(x)).square().mean().sqrt())
    assert 5 < found[4] / found[256] < 12  # eight, up to chance


def test_coupling_changes_neither_mean_nor_variance():
    source, x = actions.Points(O3), drawn(3, 5, 3)
    net, base = network(source, x), flat(15, 1)
    signature = source >> actions.Trivial(O3)
    loose = coset.symmetrize(
        base, signature, frames.Probabilistic(net, samples=6000, coupled=False, generator=torch.Generator().manual_seed(5))
    )
    tied = coset.symmetrize(base, signature, frames.Probabilistic(net, samples=6000))
    with torch.no_grad():
        (a, one), (b, two) = (model.eval()(x, return_stats=True) for model in (loose, tied))
    error = (one.stderr.square() + two.stderr.square()).sqrt()
    assert bool(((a - b).abs() < 4 * error).all())
    assert bool(((one.variance / two.variance).log().abs() < 0.15).all())


def test_draws_go_on_where_they_stopped():
    source, x = actions.Points(SxO3), drawn(3, 5, 3)
    frame = frames.Probabilistic(network(source, x), samples=4).bind(source).eval()
    at = source.layout(x)
    whole, first, second = frame.draw(x, at, 0, 7), frame.draw(x, at, 0, 3), frame.draw(x, at, 3, 4)
    for a, b, c in zip(whole.elements, first.elements, second.elements, strict=True):
        assert torch.equal(a, torch.cat([b, c])) or torch.allclose(a.double(), torch.cat([b, c]).double(), atol=1e-12)
    assert whole.draws.tolist() == first.draws.tolist() + second.draws.tolist()


def test_until_stops_at_a_tolerance():
    source, x = actions.Points(O3), drawn(4, 5, 3)
    frame = frames.Probabilistic(network(source, x), samples=frames.Until(stderr=0.02, most=4096))
    model = coset.symmetrize(flat(15, 1), source >> actions.Trivial(O3), frame).eval()
    with torch.no_grad():
        _, stats = model(x, return_stats=True)
    assert bool(stats.reached.all())
    assert bool((stats.stderr <= 0.02).all())


# -- gradients --------------------------------------------------------------------------------------------------------


def test_soft_sorting_has_the_gradient_of_its_matrix():
    scores = drawn(3, 6).requires_grad_()
    order, valid = scores.argsort(1), None
    weight = drawn(3, 6, 6, seed=1)
    (expected,) = torch.autograd.grad((soft_matrix(scores, order, valid, 0.3, 20) * weight).sum(), scores)
    (found,) = torch.autograd.grad((soft_order(scores, order, valid, 0.3, 20) * weight).sum(), scores)
    assert torch.allclose(found, expected, atol=1e-12)
    assert float(expected.abs().max()) > 1e-3
    assert torch.autograd.gradcheck(lambda s: soft_matrix(s, order, None, 0.3, 20), (scores,))


def test_soft_sorting_keeps_padding_apart():
    scores = drawn(2, 5).requires_grad_()
    valid = torch.tensor([[True, True, False, True, False], [True] * 5])
    order = torch.where(valid, scores, torch.inf).argsort(dim=1, stable=True)
    found = soft_matrix(scores, order, valid, 0.2, 30)
    assert torch.allclose(found.sum(2), torch.ones(2, 5, dtype=found.dtype), atol=0.05)
    assert float(found[0, :3, [2, 4]].max()) == 0.0
    alone = soft_matrix(scores[:1, [0, 1, 3]], scores[:1, [0, 1, 3]].argsort(1), None, 0.2, 30)
    assert torch.allclose(found[0, :3][:, [0, 1, 3]], alone[0], atol=1e-12)
    assert float(entropy(found, valid)[0]) == pytest.approx(float(entropy(alone)[0]))


def test_entropy_is_zero_for_permutations_and_largest_for_none():
    order = torch.arange(4)[None]
    hard = soft_matrix(torch.arange(4.0, dtype=torch.float64)[None], order, None, 1e-3, 20)
    even = soft_matrix(torch.zeros(1, 4, dtype=torch.float64), order, None, 1.0, 20)
    assert float(entropy(hard)) < 1e-12
    assert float(entropy(even)) == pytest.approx(2 * math.log(4))


@pytest.mark.parametrize("axes", [(-2,), (-2, -1)], ids=["rows", "matrices"])
def test_permuted_data_pass_the_gradient_of_the_soft_permutation(axes):
    n, R = 4, 3
    x = drawn(R, n, n, seed=2)
    action = actions.Permute(S, *axes)
    net = network(action, x, nn.GIN if len(axes) == 2 else nn.DeepSets)
    model = coset.symmetrize(lambda y: y, action >> action, frames.Probabilistic(net, frames.Argsort(0.5), samples=1))
    model.train()
    torch.manual_seed(1)
    noise = torch.rand(R, n, 1, dtype=torch.float64).clamp_min(2.0**-54)
    scores = net(x, noise)
    order = scores.argsort(1)
    soft = soft_matrix(scores, order, None, 0.5, 20)
    hard = torch.nn.functional.one_hot(order, n).to(x.dtype)
    weight = drawn(R, n, n, seed=3)

    def moved(p, q):  # the canonical data by one permutation per axis
        y = p @ x
        return y @ q.mT if len(axes) == 2 else y

    def returned(y, p, q):
        y = p.mT @ y
        return y @ q if len(axes) == 2 else y

    canonical = moved(hard, hard)
    inward = (moved(soft, hard) + (moved(hard, soft) if len(axes) == 2 else 0) - canonical) - moved(hard, hard).detach()
    through = returned(canonical + inward - inward.detach() * 0, hard, hard)
    outward = returned(canonical.detach(), soft, hard) + (returned(canonical.detach(), hard, soft) if len(axes) == 2 else 0)
    expected = torch.autograd.grad(((through + outward) * weight).sum(), list(net.parameters()), allow_unused=True)
    torch.manual_seed(1)
    found = torch.autograd.grad((model(x) * weight).sum(), list(net.parameters()), allow_unused=True)
    sizes = [float(e.abs().max()) for e in expected if e is not None]
    assert max(sizes) > 1e-6
    for a, b in zip(found, expected, strict=True):
        assert (a is None or float(a.abs().max()) == 0) if b is None else torch.allclose(a, b, atol=1e-10)


def test_chosen_elements_pass_the_gradient_of_the_softmax_mean():
    C4 = groups.Cyclic(4)
    source, x = actions.Vectors(C4), drawn(5, 2)
    weight = drawn(4, 2, seed=4).requires_grad_()

    def scores(inputs, noise):
        every = source.act(C4.inverse(C4.elements())[:, None].expand(4, len(inputs)), inputs.expand(4, *inputs.shape))
        return torch.einsum("gbd,d->bg", every.tanh(), weight[0]) + torch.einsum("gbd,d->bg", every, weight[1] * 0) + noise

    model = coset.symmetrize(lambda y: y.sin(), source >> actions.Trivial(C4), frames.Probabilistic(scores)).train()
    torch.manual_seed(0)
    (found,) = torch.autograd.grad(model(x).sum(), weight)
    torch.manual_seed(0)
    noise = frames.Gumbel().draw(Place(C4, source.layout(x), x.dtype, x.device), torch.arange(5), None)
    raw = scores(x, noise)
    every = source.act(C4.inverse(C4.elements())[:, None].expand(4, 5), x.expand(4, 5, 2))
    picked = every[raw.argmax(1), torch.arange(5)]
    blend = torch.einsum("bg,gbd->bd", raw.softmax(1), every)
    (expected,) = torch.autograd.grad((picked.cos() * blend).sum(), weight)
    assert torch.allclose(found, expected, atol=1e-10)
    assert float(expected.abs().max()) > 1e-3


def test_eval_has_the_true_gradient():
    source, x = actions.Permute(S, -2), drawn(2, 5, 3)
    net = network(source, x, nn.DeepSets)
    model = coset.symmetrize(flat(15, 1), source >> actions.Trivial(S), frames.Probabilistic(net, samples=2)).eval()
    assert torch.autograd.gradcheck(model, (x.requires_grad_(),), fast_mode=True)
    assert all(p.grad is None for p in net.parameters())


@pytest.mark.parametrize("special", [False, True])
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_the_polar_factor_is_nearest_and_differentiable(special, dtype):
    if special and dtype.is_complex:
        pytest.skip("SU(d) has Gram-Schmidt only")
    matrix = drawn(4, 3, 3, dtype=dtype).requires_grad_()
    nearest, _ = polar(matrix, special)
    eye = torch.eye(3, dtype=dtype)
    assert torch.allclose(nearest.mH @ nearest, eye.expand(4, 3, 3), atol=1e-12)
    for _ in range(20):
        other = (SO3 if special else groups.Unitary(3) if dtype.is_complex else O3).haar(4, dtype=torch.float64).to(dtype)
        assert bool(((matrix - other).abs().square().sum((1, 2)) >= (matrix - nearest).abs().square().sum((1, 2)) - 1e-12).all())
    assert torch.autograd.gradcheck(lambda m: polar(m, special)[0], (matrix,))
    equal = torch.eye(3, dtype=dtype).repeat(1, 1, 1).requires_grad_()
    (slope,) = torch.autograd.grad(polar(equal, special)[0].abs().square().sum(), equal)
    assert bool(torch.isfinite(slope.abs()).all())


# -- retractions -------------------------------------------------------------------------------------------------------

MATRICES = [groups.Orthogonal(d) for d in (1, 2, 3, 4)] + [groups.SpecialOrthogonal(d) for d in (1, 2, 3, 5)]
UNITARY = [groups.Unitary(2), groups.Unitary(3), groups.SpecialUnitary(3)]
LORENTZ = [groups.Lorentz(4), groups.SpecialLorentz(4), groups.ProperLorentz(4), groups.ProperLorentz(2), groups.Lorentz(3)]


def raw_vectors(group, count=20):
    d = group.dim
    v = drawn(count, d, d, dtype=torch.complex128 if group.complex else torch.float64)
    if group.lorentzian:
        v[:, 0, 0] = v[:, 0, 1:].norm(dim=-1) + 0.3
        v[::2, 0] *= -1 if "time reversal" in group.flips() else 1
    return v


@pytest.mark.parametrize("group", MATRICES + UNITARY + LORENTZ, ids=repr)
def test_gram_schmidt_gives_elements_and_commutes_with_the_group(group):
    retraction, v = frames.GramSchmidt().bind(group), raw_vectors(group)
    at = actions.Vectors(group).layout(v)
    g = retraction(v, at).elements
    assert float(group.distance(group.compose(g, group.inverse(g)), group.identity(20, dtype=torch.float64)).max()) < 1e-10
    determinant = torch.linalg.det(g)
    assert bool(torch.isclose(determinant.abs(), torch.ones_like(determinant.abs())).all())
    if not group.reflects and not (group.unitary and group.lie_dimension == group.dim**2):
        assert torch.allclose(determinant, torch.ones_like(determinant))
    h = group.sample(20, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    moved = retraction(actions.Vectors(group).act(h, v), at).elements
    assert torch.allclose(moved, group.compose(h, g), atol=1e-7 if group.lorentzian else 1e-10)
    if group.lorentzian and "time reversal" not in group.flips():
        assert bool((g[:, 0, 0] > 0).all())


@pytest.mark.parametrize("group", [O3, SO3, groups.Unitary(2)], ids=repr)
def test_polar_commutes_with_the_group(group):
    retraction, v = frames.Polar().bind(group), raw_vectors(group)
    at = actions.Vectors(group).layout(v)
    h = group.sample(20, dtype=torch.float64)
    moved = retraction(actions.Vectors(group).act(h, v), at).elements
    assert torch.allclose(moved, group.compose(h, retraction(v, at).elements), atol=1e-8)


def test_a_matrix_off_the_group_still_gives_invariance():
    L = groups.ProperLorentz(4)
    source = actions.Vectors(L)

    def loose(p, noise):  # equivariant, and far from the group
        return torch.stack([p.sum(1), p[:, 0], p[:, 1] + 0.3 * p[:, 2], p[:, 3]], 1)

    model = coset.symmetrize(flat(20, 1), source >> actions.Trivial(L), frames.Probabilistic(loose, frames.OrbitDistance())).eval()
    p = drawn(6, 5, 4)
    p[..., 0] = p[..., 1:].norm(dim=-1) + 0.5
    h = L.sample(6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    y, stats = model(p, return_stats=True)
    assert float((model(source.act(h, p)) - y).abs().max() / y.abs().max()) < 1e-8
    assert float(stats.scores["orbit"].min()) > 0.1
    assert not model.frame.exact
    exact = frames.Probabilistic(loose, noise=frames.Normal()).bind(source).eval()(p).elements[0]
    eta = torch.diag(torch.tensor([1.0, -1, -1, -1], dtype=torch.float64))
    assert float(frames.OrbitDistance().bind(L)(exact.mT, source.layout(p)).scores["orbit"]().max()) < 1e-15
    assert torch.allclose(exact.mT @ eta @ exact, eta.expand_as(exact), atol=1e-9)


@pytest.mark.parametrize("group", [SO3, O3, groups.SpecialUnitary(3), groups.Octahedral(), groups.SignFlips(3)], ids=str)
def test_the_orbit_distance_has_the_same_law_in_eval_as_in_training(group):
    """Noise is tied to an element of the group: matrices far from it must neither shrink nor stretch it."""
    source = actions.Vectors(group)

    def loose(x, noise):  # tiny without noise, of the size of the noise with it
        return 1e-3 * x[:, :3] + noise.reshape(len(x), -1, 3)[:, :3]

    invariants = (lambda m: m.mT @ m) if group.finite else None
    frame = frames.Probabilistic(loose, frames.OrbitDistance(invariants), frames.NormalVectors(1), 500).bind(source)
    x = drawn(4, 5, 3).to(torch.complex128 if group.complex else torch.float64)
    h = group.sample(4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    size = {mode: frame.train(mode)(x).elements.abs().square().sum((-2, -1)).mean(0) for mode in (True, False)}
    assert torch.allclose(size[False], size[True], rtol=0.15)  # means of 500 chi-squares with 9 or 18 degrees of freedom: 2 % each
    assert torch.allclose(frame(source.act(h, x)).elements, h @ frame(x).elements, atol=1e-9)


def test_a_tie_in_one_factor_keeps_the_anchor_of_the_other():
    """Equal scores leave the order open, and not the matrix: there is no exact frame to fall back on."""
    source = actions.Vectors(S * groups.SpecialUnitary(3))

    def network(x, noise):
        noise = noise.sum(2)
        return x.abs().square().sum(-1) + noise.abs().square().sum(-1), 1e-3 * x[:, :3] + noise[:, :3]

    frame = frames.Probabilistic(network, (frames.Argsort(), frames.OrbitDistance()), frames.NormalVectors(), 400).bind(source)
    x = drawn(2, 5, 3).to(torch.complex128)
    x[1] /= x[1].norm(dim=-1, keepdim=True)
    size = {mode: frame.train(mode)(x).elements[1].abs().square().mean((0, 2, 3)) for mode in (True, False)}
    assert torch.allclose(size[False], size[True], rtol=0.15)
    assert frame(x).scores["unsettled"].tolist() == [False, True]


def test_invariants_of_one_number():
    v = drawn(4, 3, 3)
    group = groups.SpecialLinear(3)
    found = frames.OrbitDistance(torch.linalg.det).bind(group)(v, actions.Vectors(group).layout(v)).scores["orbit"]()
    assert torch.allclose(found, (torch.linalg.det(v) - 1).square())


def test_the_orbit_distance_wants_elements_that_are_matrices():
    with pytest.raises(FrameError, match="a matrix group"):
        frames.Probabilistic(lambda x, noise: x, frames.OrbitDistance(lambda m: m)).bind(actions.Vectors(groups.Cyclic(4)))


def test_the_orbit_distance_beside_permutations_and_a_group_without_a_retraction():
    """Noise is tied to the order of the points; the group that stretches them leaves it alone, and needs no anchor."""
    group = S * groups.SpecialLinear(2)
    source = actions.Points(group)

    def network(x, noise):  # areas tell points apart, noise perturbs them
        areas = (x[:, :, None, 0] * x[:, None, :, 1] - x[:, :, None, 1] * x[:, None, :, 0]).square().sum(-1)
        mix = areas + noise.squeeze(-1)
        return mix, torch.stack([(x * mix[..., None]).sum(1), 1e-3 * (x * mix.square()[..., None]).sum(1)], 1)

    retractions = (frames.Argsort(), frames.OrbitDistance(torch.linalg.det))
    frame = frames.Probabilistic(network, retractions, frames.Normal(1), 5).bind(source).eval()
    x, g = drawn(4, 6, 2), source.resolve(drawn(4, 6, 2)).sample(4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    here, there = frame(x).elements, frame(source.act(g, x)).elements
    expected = source.resolve(x).compose(g, here)
    assert torch.equal(there[0], expected[0])
    assert torch.allclose(there[1], expected[1], rtol=1e-8)


def test_the_distance_from_a_special_group_sees_the_determinant():
    mirror = torch.diag(torch.tensor([1.0, 1.0, -1.0], dtype=torch.float64))[None]
    at = actions.Vectors(SO3).layout(mirror)
    assert float(frames.OrbitDistance().bind(SO3)(mirror, at).scores["orbit"]()) == pytest.approx(4.0)
    assert float(frames.OrbitDistance().bind(O3)(mirror, at).scores["orbit"]()) == 0.0


# -- noise -------------------------------------------------------------------------------------------------------------


def test_fixed_noise_is_uniform_independent_and_its_own():
    source = actions.Permute(S, -1)
    x = torch.zeros(2, 50, dtype=torch.float64)
    place = Place(source.resolve(x), source.layout(x), torch.float64, x.device)
    rows, draws = torch.zeros(400, dtype=torch.long), torch.arange(400)
    u = frames.Uniform(3).fixed(place, rows, draws, 7)
    assert u.shape == (400, 50, 3)
    sorted_u = u.flatten().sort().values
    gap = (sorted_u - (torch.arange(len(sorted_u)) + 0.5) / len(sorted_u)).abs().max()
    assert float(gap) < 1.95 / len(sorted_u) ** 0.5  # Kolmogorov-Smirnov at one in a thousand
    table = u.flatten(1) - 0.5
    corr = (table.mT @ table / len(table) * 12).fill_diagonal_(0)
    assert float(corr.abs().max()) < 6 / len(table) ** 0.5
    assert not torch.equal(u, frames.Uniform(3).fixed(place, rows, draws, 8))
    short = torch.zeros(5, 20, dtype=torch.float64)
    other = Place(source.resolve(short), source.layout(short), torch.float64, x.device)
    assert torch.equal(frames.Uniform(3).fixed(other, rows, draws, 7), u[:, :20])


def test_fixed_normal_noise_is_normal():
    x = torch.zeros(1, 200, 3, dtype=torch.float64)
    source = actions.Points(SxO3)
    place = Place(source.resolve(x), source.layout(x), torch.float64, x.device)
    v = frames.NormalVectors(2).fixed(place, torch.zeros(100, dtype=torch.long), torch.arange(100), 0).flatten(0, 2)
    assert float((v.mT @ v / len(v) - torch.eye(3)).abs().max()) < 0.05
    assert float(v.mean(0).abs().max()) < 0.03
    assert float(v.pow(4).mean()) == pytest.approx(3.0, abs=0.15)


def test_complex_noise_has_variance_one():
    U2 = groups.Unitary(2)
    z = torch.zeros(3, 400, 2, dtype=torch.complex128)
    source = actions.Points(S * U2)
    place = Place(source.resolve(z), source.layout(z), z.dtype, z.device)
    e = frames.NormalVectors().draw(place, torch.arange(3), torch.Generator().manual_seed(0))
    assert e.shape == (3, 400, 1, 2)
    assert e.is_complex()
    assert float(e.abs().square().mean()) == pytest.approx(1.0, abs=0.1)


def test_a_generator_makes_training_reproducible():
    source, x = actions.Points(SxO3), drawn(3, 5, 3)
    net = network(source, x)

    def run(seed):
        frame = frames.Probabilistic(net, samples=2, generator=torch.Generator().manual_seed(seed)).bind(source).train()
        return frame(x).elements[1]

    assert torch.equal(run(1), run(1))
    assert not torch.equal(run(1), run(2))


# -- ties and repairs ----------------------------------------------------------------------------------------------------


def star(n=6):
    a = torch.zeros(1, n, n, dtype=torch.float64)
    a[:, 0, 1:] = a[:, 1:, 0] = 1
    return a


@pytest.mark.parametrize("k", [1, 4])
def test_automorphic_nodes_have_equal_outputs(k):
    pytest.importorskip("pynauty")
    source, x = actions.Permute(S, -2, -1), star()
    model = coset.symmetrize(
        flat(36, 6), source >> actions.Permute(S, -1), frames.Probabilistic(network(source, x, nn.GIN), frames.Argsort(0.01), samples=k)
    ).eval()
    with torch.no_grad():
        y, stats = model(x, return_stats=True)
    assert bool(stats.scores["tied"].all())
    assert not bool(stats.scores["unsettled"].any())
    assert float((y[0, 1:] - y[0, 1]).abs().max()) < 1e-14
    assert float((y[0, 0] - y[0, 1]).abs()) > 1e-4


def test_ties_without_an_exact_frame_are_reported(monkeypatch):
    source, x = actions.Permute(S, -2, -1), star()
    monkeypatch.setattr("coset.frames.probabilistic.exact_frame", lambda source, target: None)
    frame = frames.Probabilistic(network(source, x, nn.GIN), samples=2).bind(source).eval()
    assert bool(frame(x).scores["unsettled"].all())


def test_mixed_batches_of_tied_and_untied_clouds_agree_with_single_ones():
    square = torch.tensor([[1.0, 0, 0], [0, 1, 0], [-1, 0, 0], [0, -1, 0]], dtype=torch.float64)
    x = torch.stack([square, drawn(4, 3), square @ SO3.haar(dtype=torch.float64).mT])
    source = actions.Points(SxO3)
    model = coset.symmetrize(flat(12, 12), source >> actions.Trivial(SxO3), frames.Probabilistic(network(source, x), samples=3)).eval()
    with torch.no_grad():
        y, stats = model(x, return_stats=True)
        assert stats.scores["tied"].tolist() == [True, False, True]
        assert torch.allclose(torch.cat([model(one[None]) for one in x]), y, atol=1e-12)
        assert torch.allclose(y[0], y[2], atol=1e-12)


def test_draws_that_determine_nothing_are_drawn_anew_and_counted():
    def sometimes(x, noise):  # dependent vectors for a third of the draws
        v = noise.squeeze(2)[:, :3]
        return torch.where((noise.square().sum((1, 2, 3)) < 8)[:, None, None], v[:, :1].expand_as(v), v)

    source, x = actions.Points(O3), drawn(50, 3, 3)
    frame = frames.Probabilistic(sometimes, samples=4).bind(source).train()
    again = frame(x).scores["resampled"]
    assert again.shape == (50,)
    assert 20 < int(again.sum()) < 500


def test_draws_that_never_determine_anything_are_an_error():
    source, x = actions.Points(O3), drawn(4, 3, 3)
    frame = frames.Probabilistic(lambda x, noise: torch.zeros(len(x), 3, 3, dtype=x.dtype)).bind(source)
    with pytest.raises(FrameError, match=r"do not determine an element of Orthogonal\(3\) in samples \[0, 1, 2, 3\]"):
        frame(x)


# -- bad input -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: frames.Probabilistic(torch.nn.Identity(), samples=0), "a number of elements, 1 or more"),
        (lambda: frames.Probabilistic(torch.nn.Identity(), samples=2.5), "a number of elements, 1 or more"),
        (lambda: frames.Probabilistic(None), "a module or function"),
        (lambda: frames.Probabilistic(torch.nn.Identity(), "sort"), "a retraction, or a tuple of them"),
        (lambda: frames.Probabilistic(torch.nn.Identity(), noise="normal"), "a noise object"),
        (lambda: frames.Argsort(0.0), "a positive temperature"),
        (lambda: frames.Argmax(-1.0), "a positive temperature"),
        (lambda: frames.Normal(0), "a number of channels"),
        (lambda: frames.Probabilistic(torch.nn.Identity()).bind(actions.Points(groups.Translation(3))), r"use frames\.Center"),
        (lambda: frames.Probabilistic(torch.nn.Identity()).bind(actions.Points(groups.Affine(3))), "without a retraction"),
        (lambda: frames.Probabilistic(torch.nn.Identity(), frames.Argsort()).bind(actions.Points(O3)), "Argsort"),
        (
            lambda: frames.Probabilistic(torch.nn.Identity(), frames.GramSchmidt()).bind(actions.Points(SxO3)),
            "one retraction for each factor",
        ),
        (
            lambda: frames.Probabilistic(torch.nn.Identity(), noise=frames.NormalVectors()).bind(actions.Vectors(groups.Lorentz(4))),
            r"use frames\.Normal\(\)",
        ),
        (lambda: frames.Probabilistic(torch.nn.Identity(), noise=frames.Gumbel()).bind(actions.Points(O3)), "a finite group"),
        (lambda: frames.Canonicalizer(3), "a module or function"),
    ],
)
def test_construction_errors_name_the_remedy(make, message):
    with pytest.raises((FrameError, GroupError), match=message) as caught:
        make()
    assert "To do:" in str(caught.value)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (lambda x, e: torch.zeros(len(x), 2, 3, dtype=x.dtype), "at least 3 vectors per sample"),
        (lambda x, e: torch.zeros(len(x), 3, dtype=x.dtype), "at least 3 vectors per sample"),
        (lambda x, e: x[:, :3] * torch.nan, "NaN or infinite outputs of the network in samples"),
        (lambda x, e: (x[:, :3], x), "from the network"),
    ],
)
def test_wrong_outputs_of_networks_are_told(raw, message):
    frame = frames.Probabilistic(raw).bind(actions.Points(O3))
    with pytest.raises(FrameError, match=message):
        frame(drawn(2, 5, 3))


def test_products_need_a_tuple_and_scores_one_per_point():
    x = drawn(2, 5, 3)
    with pytest.raises(FrameError, match="a tuple with one entry for each factor"):
        frames.Probabilistic(lambda x, e: x[:, :3]).bind(actions.Points(SxO3))(x)
    with pytest.raises(FrameError, match="one score per point"):
        frames.Probabilistic(lambda x, e: x[:, :3, 0]).bind(actions.Permute(S, -2))(x)


def test_empty_batches_are_refused():
    source = actions.Permute(S, -2, -1)
    net = network(source, star(), nn.GIN)
    with pytest.raises(coset.CosetError, match="an empty batch"):
        frames.Probabilistic(net).bind(source)(torch.zeros(0, 6, 6, dtype=torch.float64))


def test_empty_graphs_are_refused():
    source = actions.Permute(S, -2, -1)
    frame = frames.Probabilistic(network(source, star(), nn.GIN)).bind(source)
    with pytest.raises(coset.CosetError, match="without points"):
        frame(torch.zeros(2, 0, 0, dtype=torch.float64))
    assert frame(torch.zeros(2, 1, 1, dtype=torch.float64)).elements.flatten().tolist() == [0, 0]


def test_verify_names_the_broken_law():
    source, x = actions.Points(SxO3), drawn(8, 5, 3)
    good = frames.Probabilistic(network(source, x)).bind(source)
    good.verify(x)

    def turned(inputs, noise):  # sees one axis of space
        scores, vectors = good.network(inputs, noise)
        return scores, vectors + torch.tensor([0.0, 0.0, 1.0], dtype=x.dtype)

    def ordered(inputs, noise):  # sees the order of points
        scores, vectors = good.network(inputs, noise)
        return scores + torch.arange(5, dtype=x.dtype), vectors

    with pytest.raises(FrameError, match=r"for the (rotation|reflection)"):
        frames.Probabilistic(turned).bind(source).verify(x)
    with pytest.raises(FrameError, match="for the permutation"):
        frames.Probabilistic(ordered).bind(source).verify(x)
    signature = source >> actions.Trivial(SxO3)
    report = coset.audit(coset.symmetrize(flat(15, 1), signature, frames.Probabilistic(turned, samples=3)), signature, x)
    assert report.error > 1e-2


# -- it learns -------------------------------------------------------------------------------------------------------------


def test_a_permutation_that_the_model_needs_is_learned():
    source, generator = actions.Permute(S, -2), torch.Generator().manual_seed(0)
    x = torch.rand(256, 3, 1, generator=generator)
    y = x.squeeze(-1).sort(1).values @ torch.tensor([1.0, -2.0, 1.0])  # linear after sorting
    torch.manual_seed(0)
    net = nn.DeepSets(source, x, width=16)
    base = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3, 1))
    model = coset.symmetrize(base, source >> actions.Trivial(S), frames.Probabilistic(net, frames.Argsort(0.05)))
    fixed = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3, 1))
    blind = coset.symmetrize(fixed, source >> actions.Trivial(S), frames.Haar(1))

    def train(one, steps=250):
        optimizer = torch.optim.Adam(one.parameters(), 2e-2)
        for _ in range(steps):
            optimizer.zero_grad()
            (one(x).squeeze(-1) - y).square().mean().backward()
            optimizer.step()
        with torch.no_grad():
            return float((one.eval()(x).squeeze(-1) - y).square().mean() / y.var())

    assert train(model) < 0.3 * train(blind)


def test_amp_and_copies():
    source, x = actions.Points(SxO3), drawn(3, 5, 3, dtype=torch.float32)
    model = coset.symmetrize(flat(15, 1).float(), source >> actions.Trivial(SxO3), frames.Probabilistic(network(source, x)))
    with torch.autocast("cpu", torch.bfloat16):
        y = model(x)
        y.float().sum().backward()
    assert bool(torch.isfinite(y).all())
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
