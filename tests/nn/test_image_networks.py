"""Networks of images: what they see commutes with turns and flips bit by bit, scores move by the regular action, bad input is refused."""

from __future__ import annotations

import copy
import io
import pickle

import pytest
import torch

from coset import CosetError, actions, groups, nn
from coset.errors import InputError, SignatureError
from coset.nn.disk import Disk, windows
from coset.tree import tree_map
from tests.zoo.image_networks import CASES, IMAGE_NETWORKS, ImageCase

SIZES = [(24, 24), (25, 25), (32, 32), (96, 96), (128, 128), (225, 225), (299, 299), (336, 336), (448, 448), (512, 512)]
OBLONG = [(24, 33), (97, 64), (225, 300), (300, 225), (511, 384)]
DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]
over_cases = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
GROUPS = [case for case in CASES if case.kind is nn.GroupCNN]


def orbit(x):
    """The eight turned and flipped copies of images, with what does the same to small images."""
    for flip in (False, True):
        for quarter in range(4):

            def move(y, flip=flip, quarter=quarter):
                return (y.flip(-1) if flip else y).rot90(quarter, (-2, -1))

            yield move


def worst_bit(disk, x):
    """The largest difference between what is seen of moved images, and what is seen of images, moved."""
    here = disk(x)
    return max(float((disk(move(x)) - move(here)).abs().max()) for move in orbit(x))


@pytest.mark.parametrize("size", SIZES + OBLONG, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("pixels", [16, 20, 32, 64])
def test_what_is_seen_commutes_bit_by_bit(size, pixels, generator):
    if min(size) < pixels // 2:
        pytest.skip("too small an image, refused")
    x = torch.randn(2, 3, *size, generator=generator) * torch.tensor([1.0, 1e-3]).reshape(2, 1, 1, 1)
    assert worst_bit(Disk(pixels), x) == 0.0


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_dtype(dtype, generator):
    x = torch.randn(2, 3, 45, 60, generator=generator).to(dtype)
    assert worst_bit(Disk(16), x) == 0.0
    assert worst_bit(Disk(16), (x * 100).to(torch.int64)) == 0.0
    energy = nn.ImageScorer(3).to(dtype)(x)
    assert energy.dtype == torch.promote_types(dtype, torch.float32)
    assert bool(torch.isfinite(energy).all())


def test_plain_resizing_does_not_commute_bit_by_bit(generator):
    """The check sees rounding: means of numbers that are not rounded first depend on their order."""

    class Plain(torch.nn.Module):
        def forward(self, x):
            return torch.nn.functional.adaptive_avg_pool2d(x, 16)

    assert 0 < worst_bit(Plain(), torch.randn(4, 3, 225, 225, generator=generator)) < 1e-5


def test_a_crop_off_the_centre_is_seen(generator):
    class Floor(Disk):
        def forward(self, x):
            return super().forward(x[..., : x.shape[-1] - 1])

    assert worst_bit(Floor(16), torch.randn(2, 3, 64, 64, generator=generator)) > 0.1


def test_windows_are_symmetric_and_cover_everything():
    for length in range(8, 70):
        for size in (8, 16, 20):
            found = windows(length, size, torch.ones(1))
            assert torch.equal(found, found.flip(0, 1))
            assert float(found.sum(0).min()) >= 1
            assert float(found.sum(1).max()) <= length // size + 2


def test_the_disk_is_a_mean_of_pixels(generator):
    """Against plain averages of windows, to the 12 bits that are kept."""
    x = torch.rand(2, 3, 64, 64, generator=generator)
    disk = Disk(16)
    mean = torch.nn.functional.avg_pool2d(x, 4)
    mask = disk.mask.float()
    inside = (mean * mask).sum((-2, -1), keepdim=True) / mask.sum()
    wanted = (mean - inside) * mask
    wanted = wanted / wanted.abs().amax((1, 2, 3), keepdim=True)
    assert float((disk(x) - wanted).abs().max()) < 4e-3
    assert float((disk(x) * (1 - mask)).abs().max()) == 0.0
    assert float(disk(torch.zeros(1, 3, 32, 32)).abs().max()) == 0.0


def test_what_lies_outside_of_the_disk_does_not_matter(generator):
    x = torch.rand(2, 3, 64, 90, generator=generator)
    y = x.clone()
    y[..., :5, :18] = 0.3
    y[..., :, :13] = 0.9
    assert torch.equal(Disk(16)(x), Disk(16)(y))
    y[..., 30, 45] = 0
    assert not torch.equal(Disk(16)(x), Disk(16)(y))


@pytest.mark.parametrize("case", GROUPS, ids=lambda case: case.name)
@pytest.mark.parametrize("dtype", DTYPES[:2], ids=str)
def test_scores_move_by_the_regular_action(case, dtype, generator):
    network, x = case.build(dtype), case.make(generator, dtype)
    into = groups.inclusion(case.group, network.group)
    with torch.no_grad():
        here = network(x)
        noise = torch.randn(here.shape, generator=generator, dtype=here.dtype)
        loud = network(x, noise)
        for number in range(case.group.order):
            g = tree_map(lambda leaf, n=number: leaf[n : n + 1].expand(4), case.group.elements())
            if x.shape[-1] != x.shape[-2] and case.source.shape_labels(tree_map(lambda leaf: leaf[:1], g), x).any():
                moved = torch.stack([case.source.act(tree_map(lambda leaf: leaf[0], g), one) for one in x])
            else:
                moved = case.source.act(g, x)
            move = lambda y, g=g: actions.Regular(network.group).act(into(g), y)  # noqa: E731
            bound = 1e-4 if dtype == torch.float32 else 1e-12
            scale = float((here - here.mean(1, keepdim=True)).abs().max())
            assert float((network(moved) - move(here)).abs().max()) < bound * scale
            assert float((network(moved, move(noise)) - move(loud)).abs().max()) < bound * max(scale, 1)


def test_scores_are_not_constant(generator):
    for case in GROUPS:
        scores = case.build(torch.float64)(case.make(generator, torch.float64)).detach()
        assert float((scores.amax(1) - scores.amin(1)).min()) > 1e-4


def test_a_wrong_order_of_the_fibre_is_seen(generator):
    network = nn.GroupCNN(groups.Dihedral(4), 3).double()
    every = network.group.elements()
    one, two = (tree_map(lambda leaf, axis=axis: leaf.unsqueeze(axis), every) for axis in (0, 1))
    network.onwards = network.group.index(network.group.compose(one, network.group.inverse(two)))  # h g^-1 for g^-1 h
    x = torch.randn(2, 3, 24, 24, dtype=torch.float64, generator=generator)
    g = tree_map(lambda leaf: leaf[5:6].expand(2), network.group.elements())
    here, there = network(x), network(actions.Image(network.group).act(g, x))
    assert float((there - actions.Regular(network.group).act(g, here)).abs().max()) > 1e-4


def test_eighths_of_a_turn_are_approximate_and_say_so(generator):
    """On smooth images, scores of an image turned by 45 degrees resemble the moved scores, and do not equal them."""
    torch.manual_seed(2)
    network = nn.GroupCNN(groups.Cyclic(8), 3, size=32)
    assert not network.exact
    assert nn.GroupCNN(groups.Dihedral(4), 3).exact
    x = torch.nn.functional.interpolate(torch.randn(64, 3, 6, 6, generator=generator), 64, mode="bicubic")
    g = torch.ones(64, dtype=torch.int64)
    with torch.no_grad():
        expected, found = actions.Regular(network.group).act(g, network(x)), network(actions.Image(network.group).act(g, x))
        still = network(x)
    centred = [y - y.mean(1, keepdim=True) for y in (expected, found, still)]
    likeness = lambda a, b: float((a * b).sum() / (a.norm() * b.norm()))  # noqa: E731
    assert 0.5 < likeness(centred[0], centred[1]) < 0.9999
    assert likeness(centred[0], centred[1]) > likeness(centred[2], centred[1]) + 0.3


@over_cases
def test_samples_do_not_see_each_other(case, generator):
    network, x = case.build(torch.float64).train(), case.make(generator, torch.float64)
    whole = network(x)
    for b in range(4):
        assert float((network(x[b : b + 1]) - whole[b]).abs().max()) < 1e-12


@over_cases
def test_every_weight_matters_and_gradients_reach_the_image(case, generator):
    network, x = case.build(torch.float64), case.make(generator, torch.float64).requires_grad_()
    total = (network(x) * torch.randn(network(x).shape, generator=generator, dtype=torch.float64)).sum()
    found = torch.autograd.grad(total, [x, *network.parameters()])
    assert all(float(g.abs().sum()) > 0 for g in found)
    assert all(bool(torch.isfinite(g).all()) for g in found)
    assert all(bool(torch.isfinite(g).all()) for g in torch.autograd.grad(network(torch.zeros_like(x)).sum(), list(network.parameters())))


@over_cases
def test_copies_compilation_and_export(case, generator):
    network, x = case.build(torch.float32).eval(), case.make(generator, torch.float32)
    expected = network(x)
    file = io.BytesIO()
    torch.save(network.state_dict(), file)
    file.seek(0)
    other = case.build(torch.float32, seed=5)
    assert not torch.equal(other(x), expected)
    other.load_state_dict(torch.load(file, weights_only=True))
    for twin in (other, copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
        assert torch.equal(twin(x), expected)
    torch._dynamo.reset()
    compiled = torch.compile(network, backend="aot_eager", fullgraph=True)
    assert float((compiled(x) - expected).abs().max()) < 1e-5
    batch = torch.export.Dim("batch", min=2, max=64)
    program = torch.export.export(network, (x,), dynamic_shapes={"inputs": {0: batch}}, strict=False)
    assert float((program.module()(x[:3]) - expected[:3]).abs().max()) < 1e-5
    vmapped = torch.func.vmap(lambda one: network(one.unsqueeze(0)).squeeze(0))(x)
    assert float((vmapped - expected).abs().max()) < 1e-5


@over_cases
def test_a_mapping_with_the_images_alone(case, generator):
    network, x = case.build(torch.float32), case.make(generator, torch.float32)
    assert torch.equal(network({"pixel_values": x}), network(x))


BAD = [
    (torch.rand(3, 32, 32), "real images"),
    (torch.rand(1, 2, 3, 32, 32), "real images"),
    (torch.rand(2, 3, 32, 32).to(torch.complex64), "real images"),
    (torch.rand(2, 1, 32, 32), "3 channels"),
    (torch.rand(2, 3, 7, 32), "at least 8 pixels"),
    ({"a": torch.rand(2, 3, 32, 32), "b": torch.rand(2, 3, 32, 32)}, "name the images"),
    ("image", "images"),
]


@pytest.mark.parametrize(("x", "message"), BAD, ids=[message for _, message in BAD])
def test_bad_images(x, message):
    for network in (nn.ImageScorer(3), nn.GroupCNN(groups.Cyclic(4), 3)):
        with pytest.raises(InputError, match=message):
            network(x)


@pytest.mark.parametrize(
    "build",
    [
        lambda: nn.ImageScorer(0),
        lambda: nn.ImageScorer(3, size=18),
        lambda: nn.ImageScorer(3, size=4),
        lambda: nn.ImageScorer(3, size=1024),
        lambda: nn.ImageScorer(3, width=2.5),
        lambda: nn.GroupCNN(groups.Cyclic(4), 3, layers=0),
        lambda: nn.GroupCNN(groups.Cyclic(4), 3, size=10),
        lambda: nn.GroupCNN(groups.SpecialOrthogonal(2), 3),
        lambda: nn.GroupCNN(groups.Symmetric(3), 3),
        lambda: nn.GroupCNN(groups.Octahedral(), 3),
        lambda: nn.GroupCNN(groups.Torus(2, 2), 3),
        lambda: nn.GroupCNN("C4", 3),
        lambda: nn.GroupCNN(groups.Cyclic(4), 3)(torch.rand(2, 3, 32, 32), torch.rand(2, 3)),
    ],
)
def test_bad_arguments(build):
    with pytest.raises((InputError, SignatureError)) as raised:
        build()
    assert isinstance(raised.value, CosetError)
    assert "To do:" in str(raised.value)


def test_names_of_cases_differ():
    names = [case.name for case in CASES]
    assert len(set(names)) == len(names)
    assert all(isinstance(case, ImageCase) and case.kind is kind for kind, cases in IMAGE_NETWORKS.items() for case in cases)
