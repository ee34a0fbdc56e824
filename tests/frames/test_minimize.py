"""Searches over orbits: bit-exact on images of every size, all minimizers at symmetric inputs, gradients, Lie groups, bad input."""

from __future__ import annotations

import copy
import io

import pytest
import torch

import coset
from coset import actions, frames, groups
from coset.errors import CosetError, FrameError, InputError
from coset.frames.minimizers import all_lowest
from coset.frames.multistart import descend
from coset.frames.orbit import Orbit, grid_cosets
from coset.nn import GroupCNN, ImageScorer
from coset.tree import tree_map
from tests.zoo.minimize_frames import Pose

C4, D4, C8, D8, SO2 = groups.Cyclic(4), groups.Dihedral(4), groups.Cyclic(8), groups.Dihedral(8), groups.SpecialOrthogonal(2)
SIZES = [(24, 24), (25, 25), (96, 96), (128, 128), (225, 225), (299, 299), (336, 336), (448, 448), (512, 512)]
OBLONG = [(24, 33), (97, 64), (225, 300), (512, 384)]


def energy(seed=0, channels=3, **options):
    torch.manual_seed(seed)
    return ImageScorer(channels, **options)


def each(group):
    """The elements of a group one after the other, as a batch of B equal ones."""
    for number in range(group.order):
        yield number, lambda count, n=number: tree_map(lambda leaf: leaf[n : n + 1].expand(count), group.elements())


class Counted(torch.nn.Module):
    """A convolution that is not equivariant, and counts the images it has seen."""

    def __init__(self):
        super().__init__()
        self.one, self.seen = torch.nn.Conv2d(3, 2, 3, padding=1), 0

    def forward(self, x):
        self.seen += x.shape[0]
        return torch.tanh(self.one(x))


# -- images: bits ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("group", [C4, D4], ids=repr)
@pytest.mark.parametrize("size", SIZES + OBLONG, ids=lambda size: f"{size[0]}x{size[1]}")
def test_orbits_deviate_by_nothing_and_elements_agree(group, size, generator):
    x = torch.randn(3, 3, *size, generator=generator)
    source, net = actions.Image(group), Counted()
    model = coset.symmetrize(net, source >> source, frames.Minimize(energy())).eval()
    with torch.no_grad():
        here, measure = model(x), model.frame(x)
        assert measure.weights.shape == (1, 3)
        chosen = tree_map(lambda leaf: leaf[0], measure.elements)
        back = [source.act(group.inverse(tree_map(lambda leaf, b=b: leaf[b : b + 1], chosen)), x[b : b + 1]) for b in range(3)]
        for b in range(3):  # there and back again
            g = tree_map(lambda leaf, b=b: leaf[b : b + 1], chosen)
            assert torch.equal(source.act(g, back[b]), x[b : b + 1])
        for _, element in each(group):
            g = element(3)
            moved = source.act(g, x)
            assert torch.equal(model(moved), source.act(g, here))
            found = tree_map(lambda leaf: leaf[0], model.frame(moved).elements)
            assert torch.equal(group.index(found), group.index(group.compose(g, chosen)))
            assert torch.equal(model(x), here)  # nothing is remembered between calls


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
def test_other_precisions(dtype, generator):
    x = torch.randn(4, 3, 45, 45, generator=generator).to(dtype)
    source, net = actions.Image(D4), Counted().to(dtype)
    model = coset.symmetrize(net, source >> source, frames.Minimize(energy().to(dtype))).eval()
    with torch.no_grad():
        here = model(x)
        for _, element in each(D4):
            assert torch.equal(model(source.act(element(4), x)), source.act(element(4), here))


@pytest.mark.parametrize("group", [C4, D4], ids=repr)
@pytest.mark.parametrize("size", [(32, 32), (45, 45), (33, 40)], ids=str)
def test_group_networks_as_canonicalizers(group, size, generator):
    torch.manual_seed(1)
    x = torch.randn(4, 3, *size, generator=generator)
    source = actions.Image(group)
    model = coset.symmetrize(Counted(), source >> source, frames.Canonicalizer(GroupCNN(group, 3))).eval()
    with torch.no_grad():
        here = model(x)
        for _, element in each(group):
            assert torch.equal(model(source.act(element(4), x)), source.act(element(4), here))


def test_a_wrong_search_is_seen(generator):
    """An energy that looks at a fixed corner after the search forgot to move it."""

    class Forgets(Orbit):
        def energies(self, energy, inputs, at, chunk):
            return super().energies(energy, inputs, at, chunk).flip(-1)

    frame = frames.Minimize(energy()).bind(actions.Image(C4)).eval()
    x = torch.randn(4, 3, 32, 32, generator=generator)
    assert coset.frame_gap(frame, x) == 0.0
    frame._orbit = Forgets(C4, actions.Image(C4))
    assert coset.frame_gap(frame, x) > 0.5


# -- symmetric inputs ------------------------------------------------------------------------------------------------------------


def symmetric(generator, size=(32, 32)):
    """Images with no symmetry, half turns, quarter turns, a mirror, all of them."""
    x = torch.randn(5, 3, *size, generator=generator)
    x[1] = x[1] + x[1].flip((-2, -1))
    if size[0] == size[1]:
        x[2] = (x[2] + x[2].rot90(2, (-2, -1))) + (x[2].rot90(1, (-2, -1)) + x[2].rot90(3, (-2, -1)))
    x[3] = x[3] + x[3].flip(-1)
    x[4] = 1.0
    return x


@pytest.mark.parametrize("group", [C4, D4], ids=repr)
def test_symmetric_images_cost_one_call_and_are_exact(group, generator):
    x, net, source = symmetric(generator), Counted(), actions.Image(group)
    model = coset.symmetrize(net, source >> source, frames.Minimize(energy())).eval()
    with torch.no_grad():
        here = model(x)
        assert net.seen == 5
        measure = model.frame(x)
        assert measure.cosets == 1
        assert measure.order.tolist() == ([1, 2, 4, 1, 4] if group == C4 else [1, 2, 4, 2, 8])
        assert measure.scores["tied"].tolist() == (measure.order > 1).tolist()
        assert coset.frame_gap(model.frame, x) == 0.0
        for _, element in each(group):
            g = element(5)
            assert float((model(source.act(g, x)) - source.act(g, here)).abs().max()) < 1e-6
    twice = coset.symmetrize(net, source >> source, frames.Full()).eval()
    wrapped = coset.symmetrize(twice, source >> source, frames.Minimize(energy())).eval()
    with torch.no_grad():
        assert float((wrapped(x) - twice(x)).abs().max()) < 1e-6


def test_one_minimizer_of_a_symmetric_image_is_not_enough(generator):
    """What the search has to avoid: the first minimizer alone breaks the law at symmetric images."""

    class First(frames.Minimize):
        def measure(self, inputs, at):
            return super().measure(inputs, at).one(torch.Generator().manual_seed(0))

    x, source = symmetric(generator)[1:2], actions.Image(C4)
    model = coset.symmetrize(Counted(), source >> source, First(energy())).eval()
    g = torch.ones(1, dtype=torch.int64)
    with torch.no_grad():
        assert max(float((model(source.act(k * g, x)) - source.act(k * g, model(x))).abs().max()) for k in (1, 2, 3)) > 1e-2


def test_oblong_symmetric_images(generator):
    x, net, source = symmetric(generator, (24, 40)), Counted(), actions.Image(C4)
    model = coset.symmetrize(net, source >> source, frames.Minimize(energy())).eval()
    with torch.no_grad():
        here = model(x)
        assert net.seen == 1 + 2 + 1 + 1 + 4  # half turns, and all turns of the constant image: once for each minimizer
        for _, element in each(C4):
            assert float((model(source.act(element(5), x)) - source.act(element(5), here)).abs().max()) < 1e-6


def test_accidental_ties_are_all_listed(generator):
    x, source = torch.randn(3, 3, 16, 16, generator=generator), actions.Image(C4)
    net = Counted()
    model = coset.symmetrize(net, source >> source, frames.Minimize(lambda x: torch.zeros(len(x)))).eval()
    full = coset.symmetrize(net, source >> source, frames.Full()).eval()
    with torch.no_grad():
        assert model.frame(x).cosets == 4
        assert float((model(x) - full(x)).abs().max()) < 1e-6


def test_samples_without_ties_are_not_called_again(generator):
    """One constant energy in a batch costs its own calls only."""
    x, source, net = torch.randn(6, 3, 16, 16, generator=generator), actions.Image(C4), Counted()
    x[2] = 0

    def last_pixel(x):
        return x[:, 0, -1, -1]

    model = coset.symmetrize(net, source >> source, frames.Minimize(last_pixel)).eval()
    with torch.no_grad():
        model(x)
    assert net.seen == 6
    x[2, 0, 3, 4] = 1.0  # still tied in the corners, and not symmetric
    net.seen = 0
    with torch.no_grad():
        model(x)
    assert net.seen == 6 - 1 + 4


def test_the_arrangement_of_minimizers():
    """By hand: two cosets of two elements beside a sample with one."""
    energies = torch.tensor([[1.0, 1.0, 1.0, 1.0], [3.0, 2.0, 5.0, 4.0]])
    x = torch.stack([torch.arange(4.0).reshape(1, 2, 2), torch.arange(4.0).reshape(1, 2, 2)])
    x[0] = torch.tensor([[[1.0, 2.0], [2.0, 1.0]]])
    found = all_lowest(energies, actions.Image(C4), x, actions.Image(C4).layout(x))
    assert (found.cosets, found.index.shape[0], found.order.tolist()) == (2, 4, [4, 1])
    assert found.index[:, 0].tolist() == [0, 2, 1, 3]
    assert found.weights[:, 0].tolist() == [0.25] * 4
    assert found.index[0, 1] == 1
    assert found.weights[:, 1].tolist() == [1.0, 0.0, 0.0, 0.0]


# -- other groups, by a constructor call -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "group", [groups.Dihedral(6), groups.Octahedral(full=True), groups.Hyperoctahedral(3), groups.SignFlips(4)], ids=repr
)
def test_a_canonicalizer_on_a_new_group_is_a_constructor_call(group, generator):
    x = torch.randn(5, 4, group.dim, generator=generator, dtype=torch.float64)
    source = actions.Points(group)
    bent = lambda x: torch.tanh(x * torch.arange(1.0, 1.0 + group.dim) + 0.3)  # noqa: E731
    model = coset.symmetrize(bent, source >> source, frames.Minimize(Pose(4 * group.dim))).eval()
    assert model.frame(x).weights.shape[0] == 1
    assert coset.audit(model, source >> source, x).error < 1e-13
    assert coset.audit(bent, source >> source, x).error > 1e-2


def test_a_subgroup_of_the_group_of_the_inputs(generator):
    """Quarter turns of images under SO(2): exact for them, and elements of SO(2)."""
    source, x = actions.Image(SO2), torch.randn(3, 3, 32, 32, generator=generator)
    model = coset.symmetrize(Counted(), source >> source, frames.Minimize(energy(), group=C4)).eval()
    assert not model.frame.exact
    assert model.frame(x).elements.shape == (1, 3, 2, 2)
    into = groups.inclusion(C4, SO2)
    with torch.no_grad():
        for _, element in each(C4):
            g = into(element(3), dtype=torch.float64)
            assert float((model(source.act(g, x)) - source.act(g, model(x))).abs().max()) < 1e-6


def test_centred_points_under_rigid_motions(generator):
    E3 = groups.Euclidean(3)
    x = torch.randn(4, 5, 3, generator=generator, dtype=torch.float64) + 7
    frame = frames.Minimize(Pose(15), group=groups.Octahedral()).bind(actions.Points(E3))
    elements = frame(x).elements
    assert float((elements.shift[0] - x.mean(1)).abs().max()) < 1e-12
    g = groups.inclusion(groups.Octahedral(), E3)(groups.Octahedral().haar(4, generator=generator, dtype=torch.float64))
    shift = torch.randn(4, 3, generator=generator, dtype=torch.float64)
    g = type(elements)(g.matrix, shift)
    there = frame(actions.Points(E3).act(g, x)).elements
    expected = E3.compose(tree_map(lambda leaf: leaf.unsqueeze(0), g), elements)
    assert float(E3.distance(there, expected).max()) < 1e-12


def test_eighths_of_a_turn_are_two_resampled_images_and_exact_turns(generator):
    assert grid_cosets(C8) == ([0, 1], [0, 2, 4, 6], [0, 4, 1, 5, 2, 6, 3, 7])
    assert len(grid_cosets(groups.Cyclic(12))[0]) == 3
    assert [len(part) for part in grid_cosets(D8)[:2]] == [2, 8]
    assert [len(part) for part in grid_cosets(groups.Cyclic(6))[:2]] == [3, 2]
    small = torch.randn(2, 3, 16, 16, generator=generator, dtype=torch.float64)
    for group in (C8, D8, groups.Cyclic(6), groups.Dihedral(3)):
        views = Orbit(group, actions.Image(group)).views(small)
        for number, element in each(group):
            expected = actions.Image(group).act(group.inverse(element(2)), small)
            assert float((views[number] - expected).abs().max()) < 1e-12, (group, number)
        exact = Orbit(C8, actions.Image(C8)).views(small)
    for turn in range(4):  # bit by bit
        assert torch.equal(exact[2 * turn], small.rot90(-turn, (-2, -1)))
        assert torch.equal(exact[2 * turn + 1], exact[1].rot90(-turn, (-2, -1)))


def test_whole_images_and_small_ones_agree(generator):
    """Searching small images gives the energies of the moved whole images, bit by bit."""
    x, net = torch.randn(3, 3, 45, 45, generator=generator), energy()
    for group in (C4, D4):
        orbit = Orbit(group, actions.Image(group))
        at = actions.Image(group).layout(x)
        with torch.no_grad():
            small, whole = orbit.energies(net, x, at, None), orbit.energies(lambda y: net(y), x, at, None)
            parts = orbit.energies(net, x, at, 5), orbit.energies(lambda y: net(y), x, at, 5)
        assert torch.allclose(small, whole, rtol=0, atol=1e-6)
        assert all(torch.allclose(small, part, rtol=0, atol=1e-6) for part in parts)


# -- gradients and scores ----------------------------------------------------------------------------------------------------------


def scored(gradient, training=True, seed=0, direct=False):
    torch.manual_seed(seed)
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 16 * 16, 4))
    frame = (
        frames.Canonicalizer(GroupCNN(C4, 3), frames.Argmax(gradient=gradient))
        if direct
        else frames.Minimize(ImageScorer(3), gradient=gradient)
    )
    return coset.symmetrize(net, actions.Image(C4) >> actions.Trivial(C4), frame).train(training)


both = pytest.mark.parametrize("direct", [False, True], ids=["Minimize", "Canonicalizer"])


@both
def test_scores(direct, generator):
    model, x = scored(frames.Blended(0.5), direct=direct), torch.randn(4, 3, 16, 16, generator=generator)
    measure = model.frame(x)
    logs = measure.scores["log_probabilities"]
    assert logs.shape == (4, 4)
    assert torch.allclose(logs.exp().sum(1), torch.ones(4))
    assert torch.equal(logs.argmax(1), measure.elements[0])  # entry h belongs to c(x) = h
    assert torch.allclose(measure.scores["entropy"], -(logs.exp() * logs).sum(1), atol=1e-6)
    ranked = logs.sort(1).values
    assert torch.allclose(measure.scores["gap"], 0.5 * (ranked[:, -1] - ranked[:, -2]), atol=1e-5)
    moved = model.frame(x.rot90(1, (-2, -1))).scores["log_probabilities"]
    assert torch.allclose(moved, logs.roll(1, 1), atol=1e-5)  # p(h | g x) = p(g^-1 h | x)
    (-logs[:, 0].mean()).backward()
    assert all(p.grad is not None and float(p.grad.abs().sum()) > 0 for p in model.frame.parameters())
    if not direct:
        assert torch.allclose(torch.log_softmax(-measure.scores["energies"] / 0.5, 1), logs)


@both
def test_what_reaches_the_scores(direct, generator):
    x, y = torch.randn(6, 3, 16, 16, generator=generator), torch.arange(6) % 4
    for gradient, reaches in ((frames.Blended(), True), (frames.Expected(3), True), (frames.Detached(), False)):
        model = scored(gradient, direct=direct)
        torch.nn.functional.cross_entropy(model(x), y).backward()
        total = sum(float(p.grad.abs().sum()) for p in model.frame.parameters() if p.grad is not None)
        assert (total > 0) == reaches, gradient
        assert all(p.grad is not None for p in model.model.parameters())


@both
def test_the_expectation_over_the_whole_group_is_exact(direct, generator):
    """Its gradient is that of the mean output over the law, computed by hand."""
    x, weight = torch.randn(3, 3, 16, 16, generator=generator), torch.randn(3, 4, generator=generator)
    model = scored(frames.Expected(4), direct=direct)
    found = torch.autograd.grad((model(x) * weight).sum(), list(model.frame.parameters()))
    shares = model.frame(x).scores["log_probabilities"].exp()
    outputs = torch.stack([model.model(x.rot90(-k, (-2, -1))) for k in range(4)], 1).detach()
    expected = torch.autograd.grad(((shares.unsqueeze(-1) * outputs).sum(1) * weight).sum(), list(model.frame.parameters()))
    assert all(torch.allclose(a, b, atol=1e-4 * float(b.abs().max())) for a, b in zip(found, expected, strict=True))
    assert torch.allclose(model(x), (shares.unsqueeze(-1) * outputs).sum(1), atol=1e-5)
    assert model.eval().frame(x).weights.shape[0] == 1


@both
def test_the_blended_gradient_is_that_of_the_mean_input(direct, generator):
    """For a linear model the blend is exact: the gradient of f(sum_h p_h h^-1 x)."""
    x, weight = torch.randn(3, 3, 16, 16, generator=generator), torch.randn(3, 4, generator=generator)
    model = scored(frames.Blended(), direct=direct)
    found = torch.autograd.grad((model(x) * weight).sum(), list(model.frame.parameters()))
    shares = model.frame(x).scores["log_probabilities"].exp()
    views = torch.stack([x.rot90(-k, (-2, -1)) for k in range(4)], 1)
    mean = (shares[..., None, None, None] * views).sum(1)
    expected = torch.autograd.grad((model.model(mean) * weight).sum(), list(model.frame.parameters()))
    assert all(torch.allclose(a, b, atol=1e-4 * float(b.abs().max())) for a, b in zip(found, expected, strict=True))


def test_ties_in_training_keep_their_gradients(generator):
    x = symmetric(generator, (16, 16))
    model = scored(frames.Blended())
    out = model(x)
    full = coset.symmetrize(model.model, model.signature, frames.Full())
    assert torch.allclose(out[4], full(x)[4], atol=1e-5)
    out.square().sum().backward()
    assert all(bool(torch.isfinite(p.grad).all()) for p in model.frame.parameters())
    assert sum(float(p.grad.abs().sum()) for p in model.frame.parameters()) > 0


def test_a_prior_alone_teaches_the_upright_pose(generator):
    """Images that are bright at the top: a dozen steps of cross-entropy with the identity find them upright from any quarter turn."""
    ramp = torch.linspace(1, -1, 32)[:, None].expand(32, 32)
    x = ramp + 0.3 * torch.randn(64, 3, 32, 32, generator=generator)
    frame = frames.Minimize(energy(), gradient=frames.Detached()).bind(actions.Image(C4)).train()
    optimizer = torch.optim.Adam(frame.parameters(), 1e-2)
    for _ in range(12):
        optimizer.zero_grad()
        (-frame(x).scores["log_probabilities"][:, 0].mean()).backward()
        optimizer.step()
    frame.eval()
    for k in range(4):
        assert float((frame(x.rot90(k, (-2, -1))).elements[0] == k).double().mean()) > 0.95


def test_confidence_needs_no_training(generator):
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 64, 5))
    source, x = actions.Image(C4), torch.randn(4, 3, 8, 8, generator=generator)
    model = coset.symmetrize(net, source >> actions.Trivial(C4), frames.Minimize(frames.Confidence(net))).eval()
    assert set(model.state_dict()) == {"model.1.weight", "model.1.bias"}
    with torch.no_grad():
        best = torch.stack([net(x.rot90(-k, (-2, -1))).softmax(-1).amax(-1) for k in range(4)], 1)
        assert torch.equal(model.frame(x).elements[0], best.argmax(1))
        assert torch.allclose(model(x).softmax(-1).amax(-1), best.amax(1))


# -- Lie groups ----------------------------------------------------------------------------------------------------------------------


class Rugged(torch.nn.Module):
    """An energy of points with many local minima."""

    def __init__(self, count, waves=2.0):
        super().__init__()
        generator = torch.Generator().manual_seed(7)
        self.weight = torch.nn.Parameter(waves * torch.randn(count, 8, generator=generator, dtype=torch.float64) / count**0.5)

    def forward(self, x):
        return torch.sin(x.flatten(1) @ self.weight.to(x.dtype)).sum(1)


@pytest.mark.parametrize("group", [groups.SpecialOrthogonal(2), groups.SpecialOrthogonal(3), groups.Orthogonal(3)], ids=repr)
def test_more_starts_shrink_the_error(group, generator):
    d = group.dim
    x = torch.randn(48, 5, d, generator=generator, dtype=torch.float64)
    gaps = {}
    h = group.haar(48, generator=generator, dtype=torch.float64)
    for starts in (1, 60):
        frame = frames.Minimize(Rugged(5 * d, 3.0), search=frames.Multistart(starts, 30)).bind(actions.Points(group))
        assert not frame.exact
        with torch.no_grad():
            here, there = frame(x).elements[0], frame(actions.Points(group).act(h, x)).elements[0]
        gaps[starts] = float((group.distance(there, group.compose(h, here)) > 1e-3).double().mean())
    assert gaps[60] < 0.25
    assert gaps[60] < gaps[1] / 2


def test_a_smooth_energy_is_minimized_to_rounding(generator):
    """One minimum: the pose in which given vectors fit best, known from the singular value decomposition."""
    SO3 = groups.SpecialOrthogonal(3)
    target = torch.randn(6, 3, generator=generator, dtype=torch.float64)
    x = torch.randn(9, 6, 3, generator=generator, dtype=torch.float64)
    frame = frames.Minimize(lambda y: (y - target).square().sum((1, 2)), search=frames.Multistart(12, 30)).bind(actions.Points(SO3))
    found = frame(x)
    u, _, vh = torch.linalg.svd(torch.einsum("bni,nj->bij", x, target))
    side = torch.ones(9, 3, dtype=torch.float64)
    side[:, -1] = torch.linalg.det(u @ vh)
    assert float((found.elements[0] - u * side.unsqueeze(1) @ vh).abs().max()) < 1e-6
    assert float((torch.linalg.det(found.elements) - 1).abs().max()) < 1e-12
    assert coset.frame_gap(frame, x) < 1e-6
    few = frames.Minimize(lambda y: (y - target).square().sum((1, 2)), search=frames.Multistart(12, 1)).bind(actions.Points(SO3))
    assert coset.frame_gap(few, x) > 1e-2  # one step does not


def test_minima_pass_gradients():
    """Forces of the symmetrized model are derivatives of its energy, in eval."""
    E3 = groups.SpecialEuclidean(3)
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(2, 4, 3, generator=generator, dtype=torch.float64).requires_grad_()
    net = Rugged(12, 0.5)
    signature = actions.Points(E3) >> actions.Trivial(E3)
    frame = frames.Minimize(Pose(12), search=frames.Multistart(12, 40))
    model = coset.symmetrize(lambda y: net(y).unsqueeze(1), signature, frame).eval()
    assert torch.autograd.gradcheck(model, (x,), fast_mode=True, atol=1e-5, rtol=1e-3)
    cut = coset.symmetrize(
        lambda y: net(y).unsqueeze(1), signature, frames.Minimize(Pose(12), None, frames.Detached(), frame.search)
    ).eval()
    with pytest.raises(RuntimeError, match="Jacobian mismatch"):
        torch.autograd.gradcheck(cut, (x,), fast_mode=True, atol=1e-5, rtol=1e-3)


def test_angles_of_images(generator):
    """Under SO(2) the search over angles brings a turned picture back, to within a few degrees."""
    ramp = torch.linspace(1, -1, 48)[:, None].expand(48, 48)
    x = (ramp + 0.2 * torch.randn(8, 1, 48, 48, generator=generator)).requires_grad_()

    def tilt(y):  # least where the top is bright
        at = torch.arange(y.shape[-2], dtype=y.dtype) - (y.shape[-2] - 1) / 2
        disk = at[:, None].square() + at.square() < (y.shape[-1] / 2 - 2) ** 2
        return (y * disk * at[:, None]).mean((1, 2, 3))

    source = actions.Image(SO2)
    frame = frames.Minimize(tilt, search=frames.Multistart(4, 15)).bind(source)
    angle = torch.rand(8, generator=generator, dtype=torch.float64) * 6.28
    turn = SO2.exp(SO2.combine(angle[:, None]))
    here, there = frame(x).elements[0], frame(source.act(turn, x)).elements[0]
    off = SO2.compose(SO2.inverse(SO2.compose(turn, here)), there)
    assert float(torch.atan2(off[:, 1, 0], off[:, 0, 0]).abs().max()) < 0.1
    assert not there.requires_grad
    with torch.inference_mode():
        assert float((frame(x).elements[0] - here).abs().max()) < 1e-6


def test_descent_never_climbs(generator):
    SO3 = groups.SpecialOrthogonal(3)
    net, x = Rugged(15), torch.randn(30, 5, 3, generator=generator, dtype=torch.float64)
    score = lambda g: net(x @ g)  # noqa: E731
    g = SO3.haar(30, generator=generator, dtype=torch.float64)
    before = score(g).detach()
    after = before
    for steps in (0, 1, 3, 10, 40):
        found, energies = descend(SO3, score, g, steps)
        assert torch.allclose(score(found), energies)
        assert bool((energies <= after + 1e-12).all())
        after = energies
    assert float((before - after).min()) > 0


# -- compilation, copies --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "frame",
    [
        lambda: frames.Minimize(energy()),
        lambda: frames.Canonicalizer(GroupCNN(D4, 3)),
        lambda: frames.Minimize(energy(), gradient=frames.Expected(2)),
    ],
)
def test_one_graph_and_export(frame, generator):
    torch.manual_seed(0)
    source, x = actions.Image(D4), torch.randn(4, 3, 32, 32, generator=generator)
    net = Counted().one
    model = coset.symmetrize(net, source >> source, frame()).eval()
    with torch.no_grad():
        expected = model(x)
        torch._dynamo.reset()
        assert torch.allclose(torch.compile(model, backend="aot_eager", fullgraph=True)(x), expected, atol=1e-6)
        batch = torch.export.Dim("batch", min=2, max=64)
        program = torch.export.export(model, (x,), dynamic_shapes={"args": ({0: batch},)}, strict=False)
        assert torch.allclose(program.module()(x[:3]), expected[:3], atol=1e-6)


@pytest.mark.parametrize("labels", [torch.long, torch.bool])
def test_masks_beside_a_symmetric_image(labels, generator):
    source = actions.Dict(image=actions.Image(D4), mask=actions.Mask(D4))
    image, mask = torch.full((2, 1, 16, 16), 0.3), (torch.rand(2, 16, 16, generator=generator) > 0.5).to(labels)
    mask[1] = 1
    weight = torch.randn(16, 16, generator=generator)
    net = lambda image, mask: ((image[:, 0] + mask) * weight).sum((1, 2)).sin()[:, None]  # noqa: E731
    model = coset.symmetrize(net, source >> actions.Trivial(D4), frames.Minimize(energy(channels=1), of="image")).eval()
    measure = model.frame({"image": image, "mask": mask})
    assert measure.cosets == 8
    assert measure.order.tolist() == [8, 8]
    expected = model(image=image, mask=mask)
    assert torch.allclose(model(image=image, mask=mask.rot90(1, (1, 2))), expected, atol=1e-5)
    assert torch.allclose(model(image=image, mask=mask.flip(-1)), expected, atol=1e-5)


def test_boxes_beside_a_symmetric_image():
    source = actions.Dict(image=actions.Image(D4), boxes=actions.Boxes(D4, size="image"))
    frame = frames.Minimize(energy(channels=1), of="image").bind(source).eval()
    image, boxes = torch.full((2, 1, 16, 16), 0.3), torch.tensor([[[2.0, 3.0, 10.0, 5.0]], [[5.0, 5.0, 10.0, 10.0]]])
    measure = frame({"image": image, "boxes": boxes})
    assert measure.order.tolist() == [8, 8]
    assert measure.cosets == 8
    net = lambda image, boxes: boxes.sin().sum((1, 2))[:, None]  # noqa: E731
    model = coset.symmetrize(net, source >> actions.Trivial(D4), frame).eval()
    centred = torch.tensor([[[5.0, 5.0, 10.0, 10.0]]]).expand(2, 1, 4)
    assert model(image=image, boxes=centred).shape == (2, 1)


@pytest.mark.parametrize("direct", [False, True])
def test_expectations_train_in_one_graph(direct, generator):
    gradient, x = frames.Expected(2), torch.randn(4, 3, 16, 16, generator=generator)
    frame = (
        frames.Canonicalizer(GroupCNN(C4, 3), frames.Argmax(gradient=gradient)) if direct else frames.Minimize(energy(), gradient=gradient)
    )
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 16 * 16, 5))
    model = coset.symmetrize(net, actions.Image(C4) >> actions.Trivial(C4), frame).train()
    expected = model(x).detach()
    torch._dynamo.reset()
    found = torch.compile(model, backend="aot_eager", fullgraph=True)(x)
    assert torch.allclose(found, expected, atol=1e-6)
    found.square().sum().backward()
    assert any(bool(p.grad.abs().sum() > 0) for p in frame.parameters())


def test_saved_weights_and_copies(generator):
    x = torch.randn(3, 3, 24, 24, generator=generator)
    one, two = (frames.Minimize(energy(seed)).bind(actions.Image(C4)).eval() for seed in (0, 5))
    file = io.BytesIO()
    torch.save(one.state_dict(), file)
    file.seek(0)
    expected = one(x).scores["energies"]
    assert not torch.equal(two(x).scores["energies"], expected)
    two.load_state_dict(torch.load(file, weights_only=True))
    for twin in (two, copy.deepcopy(one)):
        assert torch.equal(twin(x).scores["energies"], expected)
    assert sorted(one.state_dict()) == sorted(f"energy.{name}" for name in one.energy.state_dict())
    assert {"kaba2023equivariance", "mondal2023equivariant"} <= set(one.references)


# -- bad input --------------------------------------------------------------------------------------------------------------------------

X = torch.rand(2, 3, 32, 32)
BAD = {
    "not callable": lambda: frames.Minimize(3.0),
    "group": lambda: frames.Minimize(energy(), group="C4"),
    "gradient": lambda: frames.Minimize(energy(), gradient="blended"),
    "search": lambda: frames.Minimize(energy(), search=8),
    "chunk": lambda: frames.Minimize(energy(), chunk=0),
    "a group that does not fit": lambda: frames.Minimize(energy(), group=groups.Octahedral()).bind(actions.Image(C4)),
    "a larger group": lambda: frames.Minimize(energy(), group=C8).bind(actions.Image(C4)),
    "permutations": lambda: frames.Minimize(energy()).bind(actions.Permute(groups.Symmetric(3), -2)),
    "not compact": lambda: frames.Minimize(energy()).bind(actions.Vectors(groups.Lorentz(4))),
    "too many elements": lambda: frames.Minimize(energy()).bind(actions.Image(groups.Torus(100, 100))),
    "expected on a Lie group": lambda: frames.Minimize(energy(), gradient=frames.Expected(2)).bind(actions.Image(SO2)),
    "unknown key": lambda: frames.Minimize(energy(), of="image").bind(actions.Image(C4)),
    "starts": lambda: frames.Multistart(0),
    "steps": lambda: frames.Multistart(4, -1),
    "temperature": lambda: frames.Blended(0.0),
    "top": lambda: frames.Expected(0),
    "two temperatures": lambda: frames.Argmax(0.5, frames.Blended(0.5)),
    "gradient of Argmax": lambda: frames.Argmax(gradient="soft"),
    "expected draws": lambda: frames.Probabilistic(GroupCNN(C4, 3), frames.Argmax(gradient=frames.Expected(2))).bind(actions.Image(C4)),
    "unbound": lambda: frames.Minimize(energy())(X),
    "one axis too few": lambda: frames.Minimize(energy()).bind(actions.Image(C4))(X[0]),
    "too small": lambda: frames.Minimize(energy()).bind(actions.Image(C4))(X[..., :7, :]),
    "other channels": lambda: frames.Minimize(energy()).bind(actions.Image(C4))(X[:, :2]),
    "NaN image": lambda: frames.Minimize(energy()).bind(actions.Image(C4))(X * float("nan")),
    "NaN energy": lambda: frames.Minimize(lambda x: x.mean((1, 2, 3)) * float("nan")).bind(actions.Image(C4))(X),
    "NaN energy on a Lie group": lambda: frames.Minimize(lambda x: x.mean((1, 2)) * float("nan")).bind(actions.Points(SO2))(X[:, 0, :, :2]),
    "energy of wrong shape": lambda: frames.Minimize(lambda x: x.mean((2, 3))).bind(actions.Image(C4))(X),
    "integer energy": lambda: frames.Minimize(lambda x: x.sum((1, 2, 3)).long()).bind(actions.Image(C4))(X),
    "scores of another group": lambda: frames.Canonicalizer(GroupCNN(C4, 3)).bind(actions.Image(D4))(X),
    "another group of the same order": lambda: frames.Canonicalizer(GroupCNN(C8, 3)).bind(actions.Image(D4)),
    "draws for another group of the same order": lambda: frames.Probabilistic(GroupCNN(C8, 3)).bind(actions.Image(D4)),
    "confidence without logits": lambda: frames.Minimize(frames.Confidence(lambda x: x)).bind(actions.Image(C4))(X),
    "confidence of nothing": lambda: frames.Confidence(None),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    with pytest.raises((FrameError, InputError)) as raised:
        BAD[name]()
    assert isinstance(raised.value, CosetError)
    assert all(word in str(raised.value) for word in ("Given:", "Expected:", "To do:"))


def test_networks_of_another_group_are_refused_by_verify(generator):
    frame = frames.Canonicalizer(GroupCNN(groups.Cyclic(4), 3)).bind(actions.Image(C4))
    x = torch.rand(64, 3, 32, 32, generator=generator)
    frame.verify(x)
    plain = lambda x, noise: x.mean((1,))[:, :4, 0]  # noqa: E731
    with pytest.raises(FrameError, match="breaks the law"):
        frames.Canonicalizer(plain).bind(actions.Image(C4)).verify(x)
