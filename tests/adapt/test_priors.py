"""Priors on finite groups: values, gradients, fixed points, and what they refuse."""

from __future__ import annotations

import math

import pytest
import torch

from coset import CosetError, actions, adapt, frames, groups, symmetrize
from tests.adapt.parts import C4, CLASSES, Fixed, step

SCORES = [0.3, -1.0, 2.0, 0.5]
X = torch.rand(3, 1, 4, 4)


def fixed(scores=SCORES, dtype=torch.float64):
    frame = frames.Canonicalizer(Fixed(torch.tensor(scores, dtype=dtype)))
    return frame.train(), frame.network.scores


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("temperature", [0.1, 1.0, 3.0])
def test_identity_prior_is_cross_entropy_and_its_gradient_is_p_minus_one_hot(temperature, dtype):
    frame, scores = fixed(dtype=dtype)
    values = adapt.IdentityPrior(temperature)(step(frame, X.to(dtype)))
    p = torch.softmax(scores.detach() / temperature, 0)
    assert values.shape == (3,)
    assert torch.allclose(values, -p[0].log().expand(3), rtol=1e-5)
    values.mean().backward()
    wanted = (p - torch.nn.functional.one_hot(torch.tensor(0), 4)) / temperature
    assert torch.allclose(scores.grad, wanted, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("weights", [[0.7, 0.1, 0.1, 0.1], [1, 0, 0, 0], [2, 1, 1, 0]])
def test_histogram_prior_is_zero_exactly_at_its_histogram(weights):
    p = torch.tensor(weights, dtype=torch.float64) / sum(weights)
    frame, scores = fixed((p + 1e-300).log().clamp_min(-700).tolist())
    here = adapt.HistogramPrior(weights)(step(frame, X.double()))
    assert here.abs().max() < 1e-12
    here.mean().backward()
    assert scores.grad.abs().max() < 1e-12
    away, scores = fixed()
    there = adapt.HistogramPrior(weights)(step(away, X.double()))
    log_p = torch.log_softmax(scores.detach(), 0)
    assert torch.allclose(there, sum(w * (w.log() - q) for w, q in zip(p, log_p, strict=True) if w > 0).expand(3))
    assert (there > 1e-2).all()


def test_descent_on_a_histogram_prior_ends_at_the_histogram():
    frame, scores = fixed()
    optimizer = torch.optim.SGD([scores], 1.0)
    for _ in range(400):
        optimizer.zero_grad()
        adapt.HistogramPrior([5, 2, 2, 1])(step(frame, X.double())).mean().backward()
        optimizer.step()
    assert torch.allclose(torch.softmax(scores.detach(), 0), torch.tensor([0.5, 0.2, 0.2, 0.1], dtype=torch.float64), atol=1e-6)


def test_a_one_hot_histogram_is_the_identity_prior():
    frame, _ = fixed()
    here = step(frame, X.double())
    assert torch.allclose(adapt.HistogramPrior([1, 0, 0, 0])(here), adapt.IdentityPrior()(here))


def test_a_wrong_histogram_is_not_zero():
    frame, _ = fixed([0.0, 0.0, 0.0, 0.0])
    assert (adapt.HistogramPrior([1, 1, 1, 2])(step(frame, X.double())) > 1e-3).all()


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: adapt.IdentityPrior(0.0), "positive number"),
        (lambda: adapt.HistogramPrior([1.0, -1.0]), "not negative"),
        (lambda: adapt.HistogramPrior([0.0, 0.0]), "not negative"),
        (lambda: adapt.HistogramPrior("upright"), "finite weights"),
        (lambda: adapt.HistogramPrior([float("nan"), 1.0]), "finite weights"),
        (lambda: adapt.ModelPrior(3), "a callable"),
        (lambda: adapt.HistogramPrior([1, 1])(step(fixed()[0], X.double())), "one weight for each element"),
        (lambda: adapt.IdentityPrior()(step(frames.Full(), X)), "log_probabilities"),
    ],
)
def test_bad_input(build, message):
    with pytest.raises(CosetError, match=message):
        build()


# -- the prior of a predictor ---------------------------------------------------------------------------------------------


class Counting(torch.nn.Module):
    """Says class 1 where the lower half of an image is brighter; counts its samples."""

    def __init__(self):
        super().__init__()
        self.seen = 0
        self.dropout = torch.nn.Dropout(0.5)

    def forward(self, x):
        self.seen += len(x)
        lead = x[..., 2:, :].mean((1, 2, 3)) - x[..., :2, :].mean((1, 2, 3))
        return self.dropout(torch.stack([-lead, lead], -1) * 20)


def bright_below(count=6):
    x = torch.rand(count, 1, 4, 4) * 0.1
    x[:, :, 2:] += 1
    return x, torch.ones(count, dtype=torch.int64)


def test_the_predictor_says_which_pose_is_likely_and_the_pose_moves_with_the_input():
    x, y = bright_below()
    prior = adapt.ModelPrior(Counting(), temperature=0.5)
    for k in range(4):
        found = prior.poses(CLASSES, torch.rot90(x, k, (-2, -1)), y)
        assert torch.allclose(found.sum(-1), torch.ones(6))
        assert (found.argmax(-1) == k).all()
    assert (prior.poses(CLASSES, x, 1 - y).argmax(-1) == 2).all()


def test_poses_are_the_softmax_of_minus_the_losses():
    x, y = torch.rand(5, 1, 4, 4), torch.tensor([0, 1, 0, 1, 1])
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 2))
    found = adapt.ModelPrior(net, temperature=0.3).poses(CLASSES, x, y)
    losses = torch.stack([torch.nn.functional.cross_entropy(net(torch.rot90(x, -k, (-2, -1))), y, reduction="none") for k in range(4)], -1)
    assert torch.allclose(found, torch.softmax(-losses / 0.3, -1), atol=1e-6)


def test_samples_with_numbers_enter_the_predictor_once_and_its_mode_is_restored():
    x, y = bright_below()
    net = Counting()
    prior = adapt.ModelPrior(net)
    frame, _ = fixed([0.0, 0.0, 0.0, 1.0], torch.float32)
    first = prior(step(frame, x, y, index=torch.arange(6) * 10))
    assert net.seen == 24
    assert net.training
    assert net.dropout.training
    again = prior(step(frame, x.flip(0), y.flip(0), index=torch.arange(6).flip(0) * 10))
    assert net.seen == 24
    assert torch.equal(again.flip(0), first)
    prior(step(frame, x, y))
    assert net.seen == 48
    prior.forget()
    prior(step(frame, x, y, index=torch.arange(6)))
    assert net.seen == 72


@pytest.mark.parametrize(
    ("index", "message"),
    [
        (-torch.arange(6) - 1, "at least zero"),
        (torch.arange(5), r"of shape \(6,\)"),
        (torch.arange(6).float(), "whole numbers"),
        (list(range(6)), "whole numbers"),
        (torch.zeros(6, dtype=torch.int64), r"under the numbers \[0, 0"),
    ],
)
def test_numbers_of_samples_that_cannot_be_are_refused(index, message):
    x, y = torch.rand(6, 1, 4, 4), torch.ones(6, dtype=torch.int64)
    frame, _ = fixed(dtype=torch.float32)
    with pytest.raises(CosetError, match=message):
        adapt.ModelPrior(Counting())(step(frame, x, y, index=index))


def test_other_inputs_under_known_numbers_are_refused_and_other_groups_are_new():
    x, y = bright_below()
    prior, index = adapt.ModelPrior(Counting()), torch.arange(6)
    frame, _ = fixed(dtype=torch.float32)
    first = prior(step(frame, x, y, index=index))
    for changed in (x.flip(0), x.flip(-1), torch.rot90(x, 1, (-2, -1)), x + 0.01):
        with pytest.raises(CosetError, match="random augmentation"):
            prior(step(frame, changed, y, index=index))
    assert torch.equal(prior(step(frame, x, y, index=index)), first)
    two = groups.Cyclic(2)
    half, _ = fixed([0.0, 1.0], torch.float32)
    assert prior(step(half, x, y, index=index, signature=actions.Image(two) >> actions.Trivial(two))).shape == (6,)


def test_temperatures_at_the_ends_of_the_range_stay_numbers():
    frame, _ = fixed([0.3, 0.1, 0.0, 0.2], torch.float32)
    uniform = math.log(4)
    for temperature, wanted in ((1e-300, 0.0), (1e-40, 0.0), (1e30, uniform)):
        assert torch.allclose(adapt.IdentityPrior(temperature)(step(frame, X)), torch.full((3,), wanted), atol=1e-5)
    with pytest.raises(CosetError, match="positive number"):
        adapt.IdentityPrior(True)


def test_dense_outputs_are_compared_after_they_are_moved_back():
    x = torch.rand(4, 1, 4, 4)
    blind = lambda x: torch.cat([x, 1 - x], 1)  # noqa: E731  (an equivariant segmentation)
    found = adapt.ModelPrior(blind).poses(CLASSES.source >> actions.Image(C4), x, torch.randint(0, 2, (4, 4, 4)))
    assert torch.allclose(found, torch.full((4, 4), 0.25), atol=1e-6)


def test_a_group_that_cannot_be_listed_is_refused():
    so2 = groups.SpecialOrthogonal(2)
    with pytest.raises(CosetError, match="finite group"):
        adapt.ModelPrior(lambda x: x).poses(actions.Image(so2) >> actions.Trivial(so2), X, None)


# -- the task, expected over the elements --------------------------------------------------------------------------------------


class Weighing(frames.base.Frame):
    """Two elements with weights that have gradients."""

    def __init__(self, logit):
        super().__init__()
        self.logit = torch.nn.Parameter(torch.tensor(logit, dtype=torch.float64))

    def measure(self, inputs, at):
        from coset import Measure

        p = torch.sigmoid(self.logit)
        weights = torch.stack([p, 1 - p])[:, None].expand(2, at.samples)
        elements = torch.tensor([0, 1])[:, None].expand(2, at.samples)
        return Measure(self.group, elements, weights, torch.full((at.samples,), 2), cosets=2)


def test_the_task_is_the_mean_of_losses_and_not_the_loss_of_the_mean():
    x, y = torch.rand(3, 1, 4, 4, dtype=torch.float64), torch.randn(3, 16, dtype=torch.float64)
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 16)).double()
    frame = Weighing(0.4)
    model = symmetrize(net, CLASSES, frame)
    here = adapt.Step(model, x, y)
    found = adapt.Task(adapt.squared_error)(here)
    p = torch.sigmoid(frame.logit)
    one, two = ((net(torch.rot90(x, -k, (-2, -1))) - y).square().mean(1) for k in (0, 1))
    assert torch.allclose(found, p * one + (1 - p) * two)
    assert not torch.allclose(found, (model(x) - y).square().mean(1))
    (gradient,) = torch.autograd.grad(found.sum(), frame.logit)
    assert torch.allclose(gradient, (p * (1 - p) * (one - two)).sum())


def test_terms_sum_to_the_output_also_of_images_that_are_not_square():
    x = torch.rand(3, 1, 4, 6)
    net = lambda x: x * torch.arange(x.shape[-1]).float()  # noqa: E731
    model = symmetrize(net, actions.Image(C4) >> actions.Image(C4), frames.Full())
    weights, outputs = model.terms(x, model.frame(x))
    total = sum(w[:, None, None, None] * y for w, y in zip(weights, outputs, strict=True))
    assert torch.allclose(total.float(), model(x), atol=1e-6)
    assert not torch.allclose(outputs[0], outputs[1])


def test_a_symmetric_input_has_one_term_which_is_the_projected_output():
    group = groups.Orthogonal(3)
    square = torch.tensor([[[1.0, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0]]], dtype=torch.float64)
    model = symmetrize(lambda x: (x + 0.1) ** 3, actions.Vectors(group) >> actions.Vectors(group), frames.Minimal())
    weights, outputs = model.terms(square, model.frame(square))
    assert weights.shape == (1, 1)
    assert torch.allclose(outputs[0], model(square))
    assert outputs[0][..., 2].abs().max() < 1e-9  # the plane's mirror


def test_losses_add_up_and_say_their_parts():
    frame, _ = fixed()
    here = step(frame, X.double())
    loss = (
        2 * adapt.IdentityPrior()
        + 0.5 * (adapt.HistogramPrior([1, 1, 1, 1]) + 4 * adapt.IdentityPrior(2.0))
        + (lambda s: s.score("entropy"))
    )
    assert loss.weights() == {"IdentityPrior": 2.0, "HistogramPrior": 0.5, "IdentityPrior 2": 2.0, "<lambda>": 1.0}
    parts = loss.parts(here)
    assert torch.allclose(loss(here), sum(loss.weights()[name] * value for name, value in parts.items()))
    assert math.isclose(
        float(loss(here)[0].detach()),
        float(2 * parts["IdentityPrior"][0] + 0.5 * parts["HistogramPrior"][0] + 2 * parts["IdentityPrior 2"][0] + parts["<lambda>"][0]),
    )
    assert loss.references == ("mondal2023equivariant",)


def test_a_loss_that_is_not_per_sample_is_named():
    frame, _ = fixed()
    with pytest.raises(CosetError, match=r"one value per sample, of shape \(3,\)"):
        (adapt.IdentityPrior() + (lambda s: s.score("entropy").mean()))(step(frame, X.double()))
    with pytest.raises(CosetError, match="the loss l1_loss"):
        adapt.Task(torch.nn.functional.l1_loss)(step(frame, X.double(), X.double().flatten(1)))


def test_logits_are_found_in_outputs():
    tensor = torch.randn(2, 3)
    assert adapt.logits({"logits": tensor, "hidden": tensor + 1}) is tensor
    assert adapt.logits((tensor,)) is tensor
    with pytest.raises(CosetError, match="2 tensors"):
        adapt.logits((tensor, tensor))
