"""Frames of shifts: bitwise invariance of unmodified networks, ties, poses, polyphase sampling, fractions of a pixel."""

from __future__ import annotations

import copy
from functools import partial

import pytest
import torch
from torch import nn

import coset
from coset import actions, frames, groups
from coset.errors import FrameError, InputError, SignatureError
from coset.nn import CircularScorer
from tests.zoo.image_networks import IMAGE_NETWORKS
from tests.zoo.shift_frames import Shapeless, Strided

T32 = groups.Torus(32, 32)
IMAGES = actions.Image(T32)
WHOLE = [frames.Phase(), frames.Peak()]
over_whole = pytest.mark.parametrize("frame", WHOLE, ids=repr)


def smooth(generator, count=6, channels=3, size=32, dtype=torch.float32):
    """Photographs of sorts: noise with few frequencies."""
    spectrum = torch.fft.fft2(torch.randn(count, channels, size, size, generator=generator, dtype=torch.float64))
    far = torch.fft.fftfreq(size, 1 / size).abs()
    spectrum = spectrum / (1 + far[:, None] ** 2 + far**2)
    return torch.fft.ifft2(spectrum).real.to(dtype)


def convolutions():
    """A plain CNN with strides, zero padding and a flat head: nothing about it follows shifts."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 8, 3, padding=1),
        nn.Flatten(),
        nn.Linear(8 * 64, 5),
    )


def transformers_models():
    """Tiny models of transformers with absolute positions, windows and zero padding."""
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    vit = transformers.ViTConfig(image_size=32, patch_size=8, num_labels=5, **sizes)
    mobile = transformers.MobileNetV1Config(image_size=32, depth_multiplier=0.25, num_labels=5)
    return [awake(model) for model in (transformers.ViTForImageClassification(vit), transformers.MobileNetV1ForImageClassification(mobile))]


def logits(model, x):
    return model(pixel_values=x).logits


def awake(model):
    """With weights that let inputs through: fresh models of many layers give nearly nothing."""
    for weight in model.parameters():
        if weight.dim() > 1:
            nn.init.normal_(weight, std=1.5 * weight[0].numel() ** -0.5)
    return model


@over_whole
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_unmodified_networks_are_invariant_bit_by_bit(frame, dtype, generator):
    torch.manual_seed(0)
    nets = [convolutions(), *(partial(logits, model.to(dtype).eval()) for model in transformers_models())]
    x = smooth(generator, dtype=dtype)
    for net in nets:
        net = net.to(dtype).eval() if isinstance(net, nn.Module) else net
        model = coset.symmetrize(net, IMAGES >> actions.Trivial(T32), copy.deepcopy(frame)).eval()
        with torch.no_grad():
            here = model(x)
            for _ in range(5):
                moved = IMAGES.act(T32.haar(len(x), generator=generator), x)
                assert torch.equal(model(moved), here)
                assert float((net(moved) - net(x)).abs().max() / net(x).abs().max()) > 1e-2


@over_whole
@pytest.mark.parametrize("shape", [(24, 25), (33, 40), (64, 48), (127, 128)])
def test_canonical_images_are_literally_the_same(frame, shape, generator):
    T = groups.Torus(*shape)
    bound = copy.deepcopy(frame).bind(actions.Image(T))
    for dtype in (torch.float32, torch.float64, torch.float16, torch.uint8, torch.bool):
        x = torch.rand(5, 2, *shape, generator=generator) * (200 if dtype is torch.uint8 else 1)
        x = x > 0.7 if dtype is torch.bool else x.to(dtype)
        moved = actions.Image(T).act(T.haar(5, generator=generator), x)
        forms = [actions.Image(T).act(T.inverse(bound(one).elements[0]), one) for one in (x, moved)]
        assert bound(x).cosets == 1
        assert torch.equal(*forms)


def test_the_test_sees_a_frame_that_rounds_floats(generator):
    """Without whole numbers a phase halfway between two pixels is rounded up or down by noise."""
    half = torch.rand(200, 1, 1, 16, generator=generator)
    x = torch.cat([half, half.flip(-1)], -1)
    T = groups.Torus(1, 32)
    naive = lambda x: (torch.angle(torch.fft.fft(x.sum((1, 2)))[:, 1]) * -32 / (2 * torch.pi)).round() % 32  # noqa: E731
    shift = T.haar(200, generator=generator)
    moved = actions.Image(T).act(shift, x)
    assert bool((naive(moved) != (naive(x) + shift[:, 1]) % 32).any())
    bound = frames.Phase().bind(actions.Image(T))
    assert bound(x).cosets == 2
    assert coset.frame_gap(bound, x) == 0


@over_whole
def test_shifts_that_leave_an_image_alone_cost_one_call(frame, generator):
    T = groups.Torus(8, 12)
    tile = torch.rand(1, 2, 4, 6, generator=generator)
    x = torch.cat([torch.full((1, 2, 8, 12), 0.3), tile.repeat(1, 1, 2, 2), torch.rand(1, 2, 8, 12, generator=generator)])
    measure = copy.deepcopy(frame).bind(actions.Image(T))(x)
    assert measure.cosets == 1
    assert measure.order.tolist() == [96, 4, 1]
    net = nn.Sequential(nn.Conv2d(2, 1, 3, padding=1), nn.Tanh())
    model = coset.symmetrize(net, actions.Image(T) >> actions.Image(T), copy.deepcopy(frame))
    with torch.no_grad():
        constant, periodic, _ = model(x)
    assert torch.allclose(constant, constant.mean().expand_as(constant), atol=1e-6)
    assert torch.allclose(periodic, periodic.roll((4, 6), (-2, -1)), atol=1e-6)
    assert not torch.allclose(periodic, periodic.roll((2, 6), (-2, -1)), atol=1e-3)


def test_large_constant_images_take_no_memory():
    T = groups.Torus(224, 224)
    bound = frames.Phase().bind(actions.Image(T), actions.Image(T))
    measure = bound(torch.ones(2, 3, 224, 224))
    assert measure.cosets == 1
    assert measure.weights.shape == (1, 2)


def test_flags_beside_a_constant_image(generator):
    T = groups.Torus(8, 8)
    source = actions.Dict(image=actions.Image(T), cells=actions.Coarse(T, 2))
    cells = torch.zeros(2, 4, 4, dtype=torch.bool)
    cells[1, 1, 2] = True
    measure = frames.Phase(of="image").bind(source)({"image": torch.ones(2, 1, 8, 8), "cells": cells})
    assert measure.order.tolist() == [64, 64]
    assert measure.cosets == 16  # the flag stands in any of the cells


@pytest.mark.parametrize("noise", [1e-6, 1e-8])
@pytest.mark.parametrize("frame", [frames.Phase, frames.Peak])
def test_images_that_are_nearly_constant_cost_one_call(frame, noise, generator):
    T = groups.Torus(64, 48)
    x = 1 + noise * torch.rand(1, 3, 64, 48, generator=generator, dtype=torch.float64)
    measure = frame().bind(actions.Image(T))(x)
    assert measure.cosets == 1


@pytest.mark.parametrize("bump", [1e-3, 1e-4, 1e-5])
def test_a_small_bump_on_a_periodic_image_is_followed(bump, generator):
    T = groups.Torus(64, 64)
    x = torch.rand(2, 1, 64, 8, generator=generator, dtype=torch.float64).repeat(1, 1, 1, 8)
    x[0, 0, 3, 5] += bump
    net = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.Tanh(), nn.Conv2d(2, 1, 3, padding=1)).double()
    model = coset.symmetrize(net, actions.Image(T) >> actions.Image(T), frames.Phase())
    with torch.no_grad():
        y, moved = model(x), model(x.roll((5, 19), (-2, -1)))
    assert torch.allclose(moved, y.roll((5, 19), (-2, -1)), rtol=0, atol=1e-13)


def test_labels_of_periodic_images_are_not_averaged(generator):
    T = groups.Torus(4, 4)
    x = torch.rand(1, 1, 4, 2, generator=generator).repeat(1, 1, 1, 2)
    where = torch.arange(16).reshape(1, 4, 4)
    model = coset.symmetrize(lambda x: where, actions.Image(T) >> actions.Mask(T), frames.Phase())
    with pytest.raises(InputError, match="labels that differ"):
        model(x)
    even = coset.symmetrize(lambda x: where % 2, actions.Image(T) >> actions.Mask(T), frames.Phase())
    assert even(x).shape == (1, 4, 4)


@over_whole
def test_poses(frame, generator):
    x = torch.zeros(20, 1, 16, 20)
    for image in x:
        at = torch.randint(0, 3, (2,), generator=generator)
        image[0, at[0] + 5 : at[0] + 8, at[1] + 9 : at[1] + 12] = 1
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, torch.zeros(20)), batch_size=6)
    T = groups.Torus(16, 20)
    plain = copy.deepcopy(frame).bind(actions.Image(T))
    posed = plain.aligned(loader)
    assert plain.pose.tolist() == [0, 0]
    assert posed.pose.tolist() == [7, 11]
    assert copy.deepcopy(frame).align([x]).pose.tolist() == [7, 11]
    turn = T.haar(20, generator=generator)
    there = posed(actions.Image(T).act(turn, x)).elements[0]
    near = torch.remainder(posed(x).elements[0] + 8, torch.tensor([16, 20])) - 8
    assert int(near.abs().max()) <= 1
    assert torch.equal(T.compose(turn, posed(x).elements[0]), there)
    other = copy.deepcopy(frame).bind(actions.Image(T))
    other.load_state_dict(posed.state_dict())
    assert torch.equal(other(x).elements, posed(x).elements)
    with pytest.raises(InputError, match="loader without batches"):
        plain.align([])
    with pytest.raises(InputError, match="a batch that begins with"):
        frames.Phase().align([torch.zeros(3)])


class Adaptive(nn.Module):
    """The plain network of :class:`Strided` with strides by adaptive polyphase sampling after each convolution."""

    def __init__(self, plain):
        super().__init__()
        self.plain = plain

    def forward(self, x):
        for layer, gain in ((self.plain.one, 2), (self.plain.two, 2)):
            whole = nn.functional.conv2d(nn.functional.pad(x, (1, 1, 1, 1), mode="circular"), layer.weight, layer.bias)
            whole = torch.tanh(whole * gain)
            parts = torch.stack([whole[..., p::2, q::2] for p in range(2) for q in range(2)], 1)
            best = parts.square().sum((2, 3, 4)).argmax(1)
            x = parts[torch.arange(len(x)), best]
        return (3 * self.plain.out(x).mean((-2, -1))).tanh()


def test_adaptive_polyphase_sampling_is_one_of_sixteen_shifts(generator):
    plain = Strided(2, 2, 2, "pool", torch.float64)
    x = torch.randn(12, 2, 16, 16, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        adaptive = Adaptive(plain)(x)
        shifted = torch.stack([plain(x.roll((-p, -q), (-2, -1))) for p in range(4) for q in range(4)])
        gap = (shifted - adaptive).abs().amax(-1)
        assert float(gap.amin(0).max()) <= 1e-7
        assert float(gap.amax(0).min()) > 1e-3  # the others differ
        # the frame takes one of them as well, the same one however the image is shifted
        T = groups.Torus(16, 16)
        model = coset.symmetrize(plain, actions.Image(T) >> actions.Trivial(T), frames.Polyphase(4))
        found = model(x)
        assert float((shifted - found).abs().amax(-1).amin(0).max()) <= 1e-7
        moved = model(actions.Image(T).act(T.haar(12, generator=generator), x))
        assert float((moved - found).abs().max()) <= 1e-7


def test_coarse_fields_carry_the_residual_phase(generator):
    T = groups.Torus(16, 24)
    net = Strided(2, 2, 2, "field", torch.float64)
    model = coset.symmetrize(net, actions.Image(T) >> actions.Coarse(T, 4), frames.Polyphase(4))
    x = torch.randn(5, 2, 16, 24, generator=generator, dtype=torch.float64)
    shift = T.haar(5, generator=generator)
    with torch.no_grad():
        here, stats = model(x, return_stats=True)
        there, moved = model(actions.Image(T).act(shift, x), return_stats=True)
    phase, other = stats.scores["phase"], moved.scores["phase"]
    assert torch.equal(other, (phase + shift) % 4)
    cells = torch.div(phase + shift - other, 4, rounding_mode="floor")  # whole cells by which the fields differ
    expected = torch.stack([one.roll(tuple(cell.tolist()), (-2, -1)) for one, cell in zip(here, cells, strict=True)])
    assert torch.allclose(there, expected, atol=1e-9)
    with pytest.raises(SignatureError, match="divides H and W"):
        actions.Coarse(T, 5)
    with pytest.raises(InputError, match="4 x 6 cells"):
        actions.Coarse(T, 4).check(torch.zeros(1, 2, 4, 5))


def test_scores_of_phases_learn(generator):
    """A score is trained through Gumbel noise to pick the phase that the task wants; in eval nothing is random."""
    torch.manual_seed(0)
    T = groups.Torus(8, 8)
    x = torch.rand(64, 1, 8, 8, generator=generator)
    x[:, :, 0::2, 1::2] += 1.0  # the phase that holds the signal
    x = actions.Image(T).act(T.haar(64, generator=generator), x)
    score = Shapeless(1).float()
    score.weight = nn.Parameter(torch.tensor([-0.5, 0.0], dtype=torch.float64))
    model = coset.symmetrize(lambda x: x[..., ::2, ::2].mean((1, 2, 3)), actions.Image(T) >> actions.Trivial(T), frames.Polyphase(2, score))
    with torch.no_grad():
        before = float(model.eval()(x).mean())
    optimizer = torch.optim.Adam(model.parameters(), 0.1)
    for _ in range(60):
        _, stats = model.train()(x, return_stats=True)
        loss = -model(x).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert stats.scores["log_probabilities"].shape == (64, 4)
    assert bool((stats.scores["entropy"] >= 0).all())
    with torch.no_grad():
        after = model.eval()(x)
        assert torch.equal(after, model(x))
    assert before < 0.6
    assert float(after.mean()) > 1.4
    with pytest.raises(FrameError, match="one number for each of"):
        frames.Polyphase(2, lambda x: x).bind(actions.Image(T))(x)


SCORERS = IMAGE_NETWORKS[CircularScorer]


@pytest.mark.parametrize("case", SCORERS, ids=lambda case: case.name)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_scores_of_shifts_move_by_the_regular_action(case, dtype, generator):
    network, x = case.build(dtype), case.make(generator, dtype)
    shift = case.group.haar(4, generator=generator)
    noise = torch.randn(4, case.group.order, generator=generator, dtype=dtype)
    move = actions.Regular(case.group)
    bound = 1e3 * torch.finfo(dtype).eps
    with torch.no_grad():
        here, moved = network(x), case.source.act(shift, x)
        assert float((network(moved) - move.act(shift, here)).abs().max()) < bound
        assert float((network(moved, move.act(shift, noise)) - move.act(shift, network(x, noise))).abs().max()) < bound
        assert float((here - here.mean(1, keepdim=True)).abs().max()) > 1e-3
        if case.options.get("layers") != 0:  # the check sees zeros instead of the other side
            ends = nn.Conv2d(3, 1, 3, padding=1).to(dtype)
            assert float((ends(moved).flatten(1) - move.act(shift, ends(x).flatten(1))).abs().max()) > 1e-3


def test_a_learned_frame_of_shifts(generator):
    """One circular network of scores makes a frame: exact in eval, and trained through Gumbel noise to find what the task needs."""
    torch.manual_seed(0)
    T = groups.Torus(8, 8)
    x = 0.3 * torch.rand(32, 1, 8, 8, generator=generator)
    x[:, :, 2, 5] += 1.0
    moved = actions.Image(T).act(T.haar(32, generator=generator), x)
    frame = frames.Probabilistic(CircularScorer(1, width=8, layers=1), samples=1)
    model = coset.symmetrize(lambda x: x[:, 0, 0, 0], actions.Image(T) >> actions.Trivial(T), frame)
    optimizer = torch.optim.Adam(model.parameters(), 0.03)
    for _ in range(80):
        loss = -model.train()(moved).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        found = coset.symmetrize(model.model, model.signature, frames.Canonicalizer(frame.network)).eval()
        assert float(found(moved).mean()) > 1.0
        assert torch.equal(found(moved), found(x))
    with pytest.raises(InputError, match=r"images \(B, 1, H, W\)"):
        frame.network(torch.zeros(2, 3, 8, 8))
    with pytest.raises(InputError, match="channels=0"):
        CircularScorer(0)


def test_shifts_are_undone_by_the_cheapest_exact_frame_by_itself(generator):
    T = groups.Torus(90, 80)
    model = coset.symmetrize(lambda x: x[:, 0, 3, 3:5], actions.Image(T) >> actions.Trivial(T))
    assert isinstance(model.frame, frames.Phase)
    x = torch.rand(2, 1, 90, 80, generator=generator)
    assert torch.equal(model(x), model(x.roll((13, 70), (-2, -1))))


def test_fractions_of_a_pixel(generator):
    """Around unmodified networks, for band-limited images: the error is that of single precision."""
    R = groups.RealTorus(32, 32)
    x = smooth(generator, dtype=torch.float32)
    spectrum = torch.fft.fft2(x.double())
    spectrum[..., 16, :] = 0
    spectrum[..., 16] = 0
    x = torch.fft.ifft2(spectrum).real.float()
    x = x / x.abs().amax((1, 2, 3), keepdim=True)
    torch.manual_seed(0)
    net = convolutions().eval()
    model = coset.symmetrize(net, actions.Periodic(R) >> actions.Trivial(R), frames.Phase()).eval()
    with torch.no_grad():
        here = model(x)
        for _ in range(5):
            moved = actions.Periodic(R).act(R.haar(len(x), generator=generator), x)
            assert float((model(moved) - here).abs().max() / here.abs().max()) <= 7e-6
            assert float((net(moved) - net(x)).abs().max() / here.abs().max()) > 1e-2
    whole = actions.Image(T32).act(torch.tensor([[3, 5]]).expand(6, 2), x)
    assert torch.allclose(actions.Periodic(R).act(torch.tensor([3.0, 5.0]), x), whole, atol=1e-6)


def test_what_does_not_fit():
    T = groups.Torus(8, 8)
    with pytest.raises(FrameError, match=r"Phase\(\) on Cyclic\(4\).*Torus\(H, W\)"):
        frames.Phase().bind(actions.Image(groups.Cyclic(4)))
    with pytest.raises(FrameError, match="an image among the inputs"):
        frames.Peak().bind(actions.Regular(T))
    with pytest.raises(FrameError, match="sizes that the stride divides"):
        frames.Polyphase(3).bind(actions.Image(T))
    with pytest.raises(FrameError, match=r"Polyphase\(0\)"):
        frames.Polyphase(0)
    with pytest.raises(FrameError, match=r"score=1"):
        frames.Polyphase(2, 1)
    with pytest.raises(FrameError, match="positive number of pixels"):
        frames.Peak(blur=0)
    with pytest.raises(FrameError, match=r"Peak\(\) on RealTorus"):
        frames.Peak().bind(actions.Periodic(groups.RealTorus(8, 8)))
    with pytest.raises(SignatureError, match="real shifts of two axes"):
        actions.Periodic(T)
    with pytest.raises(InputError, match="RealTorus"):
        actions.Periodic(groups.RealTorus(8, 8)).check(torch.zeros(1, 8, 9))
    with pytest.raises(InputError, match="height and width"):
        frames.Phase().bind(actions.Image(T))(torch.zeros(1, 8, 9))


BATCHES = {
    "no samples": ([torch.zeros(0, 1, 8, 8)], "images"),
    "an empty pair": ([()], "images"),
    "NaN": ([torch.full((1, 1, 8, 8), float("nan"))], "NaN or infinite"),
    "two sizes": ([torch.rand(1, 1, 8, 8), torch.rand(1, 1, 9, 8)], "one size"),
}


@pytest.mark.parametrize("name", BATCHES)
@pytest.mark.parametrize("frame", [frames.Phase, frames.Peak])
def test_what_cannot_be_aligned(name, frame):
    batches, message = BATCHES[name]
    with pytest.raises(InputError, match=message):
        frame().align(batches)
    with pytest.raises(InputError, match="height and width"):
        frame().bind(actions.Image(groups.Torus(16, 16))).align([torch.rand(2, 1, 8, 8)])
