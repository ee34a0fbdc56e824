"""The contrastive loss, index consistency and the gate: what minimizes them, what does not, what they report."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from coset import CosetError, actions, adapt, audit, frames, groups, symmetrize
from coset.adapt.contrastive import apart_term, identity_term, turned_back
from coset.adapt.moves import every_element, other_elements
from coset.tree import tree_map
from tests.adapt.parts import CLASSES, IMAGES, Turns, cnn, step

C8 = groups.Cyclic(8)


def embedding(width=8, seed=0):
    torch.manual_seed(seed)
    return adapt.Reference(cnn(width), width)


def test_without_a_temperature_cosines_cannot_come_below_the_stated_floor():
    best = torch.tensor([1.0, -1.0, -1.0, -1.0])[:, None]
    assert math.isclose(float(identity_term(best, 1.0)), math.log(1 + 3 * math.exp(-2)), rel_tol=1e-6)
    assert round(float(identity_term(best, 1.0)), 3) == 0.341
    assert float(identity_term(best, 0.1)) < 1e-8


def test_the_orbit_is_the_inputs_turned_back_in_the_order_of_the_elements():
    x = torch.rand(3, 1, 8, 8)
    found = turned_back(step(frames.Full(), x), every_element(IMAGES, x))
    assert torch.equal(found, torch.cat([torch.rot90(x, -k, (-2, -1)) for k in range(4)]))


D4 = groups.Dihedral(4)


def test_images_that_are_not_square_have_an_orbit_too():
    x = torch.rand(3, 1, 4, 6)
    energy = adapt.Reference(nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten()), 4)
    signature = actions.Image(D4) >> actions.Trivial(D4)
    found = adapt.Contrastive(energy).orbit(step(frames.Full(), x, signature=signature))
    every = D4.elements()
    for k in range(8):
        g = tree_map(lambda leaf: leaf[k : k + 1].expand(3), every)  # noqa: B023
        assert torch.allclose(found[k], energy.embed(actions.Image(D4).act(D4.inverse(g), x)), atol=1e-6)


def test_index_consistency_draws_both_kinds_of_elements_for_images_that_are_not_square():
    x, source = torch.rand(3, 1, 4, 6), actions.Image(D4)
    g = torch.Generator().manual_seed(0)
    kinds = {source.act(other_elements(source, x, g), x).shape for _ in range(30)}
    assert kinds == {(3, 1, 4, 6), (3, 1, 6, 4)}
    torch.manual_seed(0)
    x, energy = x.double(), nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4, 1), nn.Flatten(0)).double()
    frame = frames.Minimize(energy, gradient=frames.Blended(1e-4))
    here = step(frame, x, signature=source >> actions.Trivial(D4), generator=g)
    assert adapt.IndexConsistency()(here).abs().max() < 1e-3  # an exact frame is consistent: zero when it is sure
    assert adapt.index_consistency(here.model.frame, x, generator=g).all()


def test_the_other_elements_are_all_but_the_identity():
    x, source, g = torch.rand(400, 1, 4, 4), actions.Image(groups.Cyclic(4)), torch.Generator().manual_seed(0)
    assert torch.bincount(other_elements(source, x, g)).tolist()[0] == 0
    assert torch.bincount(other_elements(source, x, g)).min() == 0
    assert (torch.bincount(other_elements(source, x, g))[1:] > 90).all()
    one = actions.Image(groups.Cyclic(1))
    assert (other_elements(one, x, g) == 0).all()


def test_energies_are_what_the_frame_minimizes():
    energy = embedding()
    x = torch.rand(3, 1, 8, 8)
    loss = adapt.Contrastive(energy, temperature=0.3, apart=0.0)
    canonical = frames.Canonicalizer(Turns(energy), frames.Argmax(0.3))
    assert torch.allclose(loss(step(canonical, x)), adapt.IdentityPrior()(step(canonical, x)), atol=1e-5)


def test_shrinking_embeddings_does_not_minimize_the_loss():
    x = torch.rand(4, 1, 8, 8)
    energy = embedding()
    loss = adapt.Contrastive(energy)
    here = step(frames.Full(), x)
    before = loss(here).mean()
    with torch.no_grad():
        energy.network[-1].weight *= 1e-2
        energy.network[-1].bias *= 1e-2
        energy.direction *= 1e-2
    assert torch.allclose(loss(here).mean(), before, atol=1e-4)
    energy.network[-1].zero_grad()
    loss(here).mean().backward()
    weight, bias = energy.network[-1].weight, energy.network[-1].bias
    radial = (weight.grad * weight).sum() + (bias.grad * bias).sum()
    assert abs(float(radial)) < 1e-3 * float(weight.grad.norm() * weight.norm())  # no gradient along the length
    plain = lambda e: (e.sum(0).square().sum(-1) - e.square().sum((0, 2))).mean() / 12  # noqa: E731  (without normalization)
    raw = energy.network(turned_back(here, every_element(IMAGES, x))).unflatten(0, (4, 4))
    assert plain(0.01 * raw).abs() < 1e-3 * plain(raw).abs()  # shrinking minimizes that one


def test_the_push_is_between_its_bounds_and_lowest_at_a_simplex():
    simplex = torch.eye(4) - 0.25
    simplex = (simplex / simplex.norm(dim=1, keepdim=True))[:, None]
    assert torch.allclose(apart_term(simplex), torch.tensor([-1 / 3]), atol=1e-6)
    assert torch.allclose(apart_term(torch.ones(4, 1, 1)), torch.ones(1))
    random = nn.functional.normalize(torch.randn(4, 5, 3), dim=-1)
    pairs = [(random[k] * random[m]).sum(-1) for k in range(4) for m in range(4) if k != m]
    assert torch.allclose(apart_term(random), torch.stack(pairs).mean(0), atol=1e-6)


def test_the_artefact_term_is_zero_for_exact_actions_and_not_for_resampled_ones():
    x = torch.rand(4, 1, 8, 8)
    energy = embedding()
    loss = adapt.Contrastive(energy)
    for source, exact in ((IMAGES, True), (actions.Image(C8), False)):
        here = step(frames.Full(), x, signature=source >> actions.Trivial(source.group), generator=torch.Generator().manual_seed(0))
        trace = loss.trace(here, energy.embed(x))
        assert source.exact == exact
        assert (trace.abs().max() < 1e-6) == exact
        without = adapt.Contrastive(energy, artefact=0.0)(here)
        assert torch.allclose(loss(here), without) == exact


def test_descent_makes_upright_the_best_pose():
    x = torch.rand(32, 1, 8, 8) * 0.3
    x[:, :, 5:] += 1
    energy = embedding()
    frame = frames.Canonicalizer(Turns(energy))
    optimizer = torch.optim.Adam(energy.parameters(), 3e-3)
    values = []
    for _ in range(40):
        value = adapt.Contrastive(energy)(step(frame, x)).mean()
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        values.append(float(value.detach()))
    assert values[-1] < values[0] - 1
    for k in range(4):
        chosen = frame.bind(IMAGES).eval()(torch.rot90(x, k, (-2, -1))).elements[0]
        assert (chosen == k).all()


def test_the_frame_that_minimizes_the_energy_has_the_probabilities_of_the_loss():
    energy = embedding()
    x = torch.rand(6, 1, 8, 8)
    frame = frames.Minimize(energy, gradient=frames.Blended(temperature=0.1))
    here = step(frame, x)
    scores = energy.scores(adapt.Contrastive(energy).orbit(here)).mT
    assert torch.allclose(here.log_probabilities, torch.log_softmax(scores / 0.1, -1), atol=1e-4)
    assert torch.allclose(adapt.IdentityPrior()(here), adapt.Contrastive(energy, apart=0.0)(here), atol=1e-4)
    for k in range(4):
        moved = frame.bind(IMAGES).eval()(torch.rot90(x, k, (-2, -1)))
        assert torch.equal(moved.elements[0], (here.log_probabilities.argmax(-1) + k) % 4)


def test_the_expected_task_has_the_exact_gradient_of_the_scores():
    torch.manual_seed(0)
    energy = nn.Sequential(cnn(1), nn.Flatten(0)).double()
    predictor = cnn(3).double()
    x, y = torch.rand(5, 1, 8, 8, dtype=torch.float64), torch.randint(0, 3, (5,))
    frame = frames.Minimize(energy, gradient=frames.Expected(top=4))
    here = adapt.Step(symmetrize(predictor, CLASSES, frame).train(), x, y)
    found = adapt.Task()(here)
    poses = torch.stack([torch.rot90(x, -k, (-2, -1)) for k in range(4)])
    losses = torch.stack([nn.functional.cross_entropy(predictor(pose), y, reduction="none") for pose in poses])
    wanted = (torch.softmax(-torch.stack([energy(pose) for pose in poses]), 0) * losses).sum(0)
    assert torch.allclose(found, wanted)
    weights = list(energy.parameters())
    for one, two in zip(torch.autograd.grad(found.sum(), weights), torch.autograd.grad(wanted.sum(), weights), strict=True):
        assert torch.allclose(one, two, atol=1e-10)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: adapt.Contrastive(nn.Flatten()), "adapt.Reference"),
        (lambda: adapt.Contrastive(embedding(), temperature=-1.0), "positive number"),
        (lambda: adapt.Contrastive(embedding(), apart=float("nan")), "apart=nan"),
        (lambda: adapt.Reference(nn.Flatten(), 0), "the length of its outputs"),
        (lambda: adapt.Reference(nn.Flatten(), 3)(torch.rand(2, 1, 8, 8)), r"embeddings \(B, 3\)"),
        (lambda: adapt.IndexConsistency(IMAGES), "action of SO"),
        (lambda: adapt.Gate(nn.Flatten(), 0.1), "a frame object"),
        (lambda: adapt.Gate(frames.Full(), -1.0), "at least zero"),
        (lambda: adapt.Gate(frames.Full(), 1.0).eval().bind(IMAGES)(torch.rand(1, 1, 4, 4)), "score 'gap'"),
    ],
)
def test_bad_input(build, message):
    with pytest.raises(CosetError, match=message):
        build()


# -- index consistency -----------------------------------------------------------------------------------------------------------


FINE = actions.Image(groups.SpecialOrthogonal(2))


def test_an_exact_frame_is_consistent_and_one_that_forgets_its_input_is_not():
    x = torch.rand(16, 1, 8, 8)
    net = Turns(adapt.Reference(cnn(8), 8))
    frame = frames.Canonicalizer(net, frames.Argmax(0.01)).bind(IMAGES)
    assert adapt.index_consistency(frame, x, fine=FINE).all()
    stubborn = frames.Canonicalizer(lambda x, noise: torch.tensor([0.0, 1.0, 0.2, 0.1]).expand(len(x), -1)).bind(IMAGES)
    assert not adapt.index_consistency(stubborn, x).any()


def bars(count, generator):
    """8 x 8 images with a noisy bar below the middle."""
    y, z = torch.meshgrid(torch.linspace(-1, 1, 8), torch.linspace(-1, 1, 8), indexing="ij")
    return ((y > 0.2) & (z.abs() < 0.4)).float() + torch.rand(count, 1, 8, 8, generator=generator)


@pytest.mark.slow
def test_training_makes_the_index_of_eighth_turns_consistent_more_than_the_prior_alone():
    g = torch.Generator().manual_seed(0)
    source = actions.Image(C8)
    x, test = bars(64, g), bars(256, g)
    wrong = {}
    for name, loss in (("prior", adapt.IdentityPrior()), ("both", adapt.IndexConsistency(FINE) + adapt.IdentityPrior())):
        torch.manual_seed(0)
        frame = frames.Canonicalizer(Turns(nn.Sequential(cnn(1, width=8), nn.Flatten(0)), source))
        model = symmetrize(lambda x: x.flatten(1), source >> actions.Trivial(C8), frame)
        optimizer = torch.optim.Adam(frame.parameters(), 3e-3)
        for _ in range(80):
            value = loss(adapt.Step(model, x, generator=g)).mean()
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
        hits = [adapt.index_consistency(model.frame.eval(), test, fine=FINE, generator=torch.Generator().manual_seed(k)) for k in range(4)]
        wrong[name] = 1 - float(torch.cat(hits).float().mean())
    assert wrong["both"] < 0.03
    assert wrong["both"] < 0.6 * wrong["prior"], wrong


# -- the gate ----------------------------------------------------------------------------------------------------------------------


def gated(gap):
    torch.manual_seed(0)
    return symmetrize(
        lambda x: x * torch.arange(8.0),
        IMAGES >> IMAGES,
        adapt.Gate(frames.Canonicalizer(Turns(nn.Sequential(cnn(1), nn.Flatten(0)))), gap),
    ).eval()


def test_a_gate_keeps_exactly_the_doubtful_samples_and_reports_them():
    x = torch.rand(32, 1, 8, 8)
    plain = gated(0.0)
    gaps = plain.frame(x).scores["gap"]
    assert not plain.frame(x).scores["kept"].any()
    limit = float(gaps.median())
    model = gated(limit)
    y, stats = model(x, return_stats=True)
    kept = stats.scores["kept"]
    assert torch.equal(kept, gaps < limit)
    assert 0.3 < kept.float().mean() < 0.7
    bare = x * torch.arange(8.0)
    assert torch.equal(y[kept], bare[kept])
    assert torch.equal(y[~kept], plain(x)[~kept])
    assert not torch.allclose(plain(x)[kept], bare[kept])


def test_a_gate_says_that_it_is_not_exact_and_an_audit_sees_it():
    x = torch.rand(16, 1, 8, 8)
    assert gated(0.0).frame.exact is False
    assert audit(gated(0.0), IMAGES >> IMAGES, x).error < 1e-6
    assert audit(gated(1e9), IMAGES >> IMAGES, x).error > 0.01
    assert frames.Canonicalizer(Turns(nn.Flatten(0))).bind(IMAGES).exact


def test_a_gate_is_open_in_training_and_saves_like_any_frame():
    x = torch.rand(4, 1, 8, 8)
    model = gated(1e9)
    assert torch.equal(model(x), x * torch.arange(8.0))
    model.train()
    model(x).square().sum().backward()
    assert any(p.grad is not None and p.grad.abs().max() > 0 for p in model.frame.parameters())
    other = gated(1e9)
    other.load_state_dict(model.state_dict())
    assert all(key.startswith("frame.frame.") for key in model.state_dict())


def test_on_matrices_and_at_symmetric_inputs():
    group = groups.SpecialOrthogonal(3)

    class Gap(frames.base.Frame):
        """The minimal frame with a gap that is the size of the first coordinate."""

        def prepare(self, group):
            self.inner = frames.Minimal().bind(self.source)

        def measure(self, inputs, at):
            from dataclasses import replace

            return replace(self.inner.measure(inputs, at), scores={"gap": inputs[:, 0, 0].abs()})

    square = torch.tensor([[1.0, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0]], dtype=torch.float64)
    x = torch.stack([square, 0.1 * square, torch.randn(4, 3, dtype=torch.float64)])
    x[2, 0, 0] = 0.1
    model = symmetrize(lambda x: (x + 1) ** 3, actions.Vectors(group) >> actions.Vectors(group), adapt.Gate(Gap(), 0.5)).eval()
    y = model(x)
    assert torch.allclose(y[1:], (x[1:] + 1) ** 3)
    assert torch.allclose(
        y[:1], symmetrize(lambda x: (x + 1) ** 3, actions.Vectors(group) >> actions.Vectors(group), frames.Minimal())(x[:1])
    )
