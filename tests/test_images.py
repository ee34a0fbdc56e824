"""Images in and out of symmetrized models: every type of output undone exactly, at every size, and bad input named."""

from __future__ import annotations

import pytest
import torch

import coset
from coset import actions, frames, groups
from coset.errors import FrameError, InputError, SignatureError
from coset.nn import GroupCNN, ImageScorer
from coset.tree import leaves, tree_map

C4, D4 = groups.Cyclic(4), groups.Dihedral(4)
SQUARE = [(24, 24), (25, 25), (96, 96), (128, 128), (225, 225), (299, 299), (336, 336), (448, 448), (511, 511), (512, 512)]
OBLONG = [(24, 33), (97, 64), (225, 300), (511, 384)]
PAIRS = [(0, 1), (3, 4)]


def source(group):
    """One image, by name."""
    return actions.Dict(image=actions.Image(group))


def target(group):
    """Everything that a model may say of an image."""
    return actions.Dict(
        label=actions.Trivial(group),
        index=actions.Trivial(group),
        mask=actions.Mask(group),
        dense=actions.Image(group),
        field=actions.Field(group),
        boxes=actions.Boxes(group, size="image"),
        points=actions.Keypoints(group, size="image", pairs=PAIRS),
        note=actions.Ignore(group),
    )


def predictor(image):
    """Outputs of every type; none of them follows turns by itself. Coordinates are halves, so that turning them is exact."""
    height, width = image.shape[-2:]
    down = torch.arange(height, dtype=image.dtype)[:, None] / height
    right = torch.arange(width, dtype=image.dtype) / width
    dense = (image * (1 + down + 2 * right)).tanh()
    where = image.flatten(1).argsort(1)[:, :10] % (height * width)
    xy = torch.stack([where % width, where // width], -1).to(image.dtype)
    low, high = torch.minimum(xy[:, :5], xy[:, 5:]), torch.maximum(xy[:, :5], xy[:, 5:])
    return {
        "label": torch.stack([dense.sum((1, 2, 3)), (image * right).sum((1, 2, 3))], 1),
        "index": where[:, 0],
        "mask": (dense * 7).long()[:, 0],
        "dense": dense,
        "field": torch.stack([image[:, 0] + right, image[:, 0] * down], 1),
        "boxes": torch.cat([low, high], -1) + 0.5,
        "points": xy[:, :5],
        "note": "as it is",
    }


def canonicalized(group, model=predictor, **options):
    """The predictor, with one canonical image for each orbit."""
    torch.manual_seed(0)
    frame = frames.Canonicalizer(GroupCNN(group, 3))
    return coset.symmetrize(model, source(group) >> target(group), frame, **options).eval()


def gap(one, two):
    """The largest difference of two trees; infinite where shapes differ."""
    found = [float("inf") if a.shape != b.shape else float((a - b).abs().max()) for a, b in zip(leaves(one), leaves(two), strict=True)]
    return max(found)


@pytest.mark.parametrize("group", [C4, D4], ids=repr)
@pytest.mark.parametrize("size", SQUARE + OBLONG, ids=lambda size: f"{size[0]}x{size[1]}")
def test_every_output_is_undone_bit_by_bit(group, size, generator):
    x = torch.randn(1, 3, *size, generator=generator)
    model = canonicalized(group)
    with torch.no_grad():
        here = model(image=x)
        for number in range(group.order):
            g = tree_map(lambda leaf, i=number: leaf[i : i + 1], group.elements())
            moved = actions.Image(group).act(g, x)
            there = model(image=moved)
            at = source(group).layout({"image": x})
            assert gap(there, target(group).act(g, here, at)) == 0
            if number in (1, 2):  # the check sees outputs that were not moved
                assert gap(predictor(moved), target(group).act(g, predictor(x), at)) > 1e-2
    assert here["note"] == "as it is"
    assert here["index"].dtype == here["mask"].dtype == torch.int64


def test_batches_mix_their_elements(generator):
    x = torch.randn(8, 3, 33, 33, generator=generator)
    model, at = canonicalized(D4), source(D4).layout({"image": x})
    g = D4.elements()
    with torch.no_grad():
        here, there = model(image=x), model(image=actions.Image(D4).act(g, x))
    moved = target(D4).act(g, here, at)
    for key in ("mask", "dense", "field", "boxes", "points", "index"):
        assert torch.equal(there[key], moved[key]), key


def test_lying_and_standing_images_in_one_batch(generator):
    """Canonical images of two shapes enter the model apart; labels are put together, not averaged."""
    x = torch.randn(9, 3, 24, 40, generator=generator)
    model = canonicalized(C4)
    measure = model.frame({"image": x})
    assert 0 < int((measure.elements[0] % 2).sum()) < 9  # both shapes are there
    with torch.no_grad():
        here, there = model(image=x), model(image=torch.rot90(x, 1, (-2, -1)))
        alone = [model(image=one) for one in x.split(1)]
    for key in ("mask", "index", "points"):
        assert torch.equal(here[key], torch.cat([one[key] for one in alone])), key
    assert torch.equal(there["mask"], torch.rot90(here["mask"], 1, (-2, -1)))
    average = coset.symmetrize(predictor, source(C4) >> target(C4), frames.Full())
    with pytest.raises(InputError, match="numbers that can be averaged"):
        average(image=x)


def test_boxes_of_any_numbers_move_to_rounding(generator):
    x = torch.randn(4, 3, 20, 30, generator=generator)
    boxes = actions.Boxes(D4, size="image")
    shaky = lambda image: {**predictor(image), "boxes": predictor(image)["boxes"] * 0.937}  # noqa: E731
    model, at = canonicalized(D4, shaky), source(D4).layout({"image": x})
    with torch.no_grad():
        here = model(image=x)["boxes"]
        there = model(image=torch.rot90(x, 1, (-2, -1)))["boxes"]
    g = groups.Flip(torch.ones(4, dtype=torch.int64), torch.zeros(4, dtype=torch.int64))
    assert torch.allclose(there, boxes.act(g, here, at), atol=1e-5)


@pytest.mark.parametrize("group", [groups.Cyclic(8), groups.Dihedral(12), groups.SpecialOrthogonal(2), groups.Orthogonal(2)], ids=repr)
@pytest.mark.parametrize("interpolation", list(actions.Interpolation), ids=repr)
@pytest.mark.parametrize("padding", list(actions.Padding), ids=repr)
def test_other_angles_are_a_quarter_turn_and_one_residual(group, interpolation, padding, generator):
    """Turning by a + 90 degrees is a gather of what turning by a gives, whatever is interpolated, for a within 45 degrees."""
    x = torch.randn(5, 2, 21, 21, generator=generator, dtype=torch.float64)
    image = actions.Image(group, interpolation=interpolation, padding=padding)
    angles = torch.tensor([0.0, 0.3, -0.5, 0.7, -0.1], dtype=torch.float64)
    if group.finite:
        steps = torch.tensor([0, 1, -1, 0, 1]) if group.n == 12 else torch.tensor([0] * 5)
        small, quarter = steps % group.n, torch.full((5,), group.n // 4)
        wrap = (lambda k: groups.Flip(k, torch.zeros_like(k))) if group.reflects else (lambda k: k)
        small, quarter = wrap(small), wrap(quarter)
    else:
        turn = lambda a: torch.stack([a.cos(), -a.sin(), a.sin(), a.cos()], -1).unflatten(-1, (2, 2))  # noqa: E731
        small, quarter = turn(angles), torch.tensor([[0.0, -1.0], [1.0, 0.0]], dtype=torch.float64).expand(5, 2, 2)
    both = image.act(group.compose(small, quarter), x)
    apart = (both - image.act(small, torch.rot90(x, 1, (-2, -1)))).abs().max()
    assert float(apart) <= 1e-9 or interpolation is actions.Interpolation.NEAREST  # pixels on a border may fall on either side
    assert torch.equal(image.act(quarter, x), torch.rot90(x, 1, (-2, -1)))


def test_what_is_no_image(generator):
    model = canonicalized(C4)
    for x, words in [
        (torch.zeros(24), "at least 3 axes"),
        (torch.zeros(3, 24, 24), "images"),
        (torch.zeros(1, 3, 4, 24), "at least 8 pixels"),
        (torch.zeros(0, 3, 24, 24), "empty batch|at least one sample"),
        (torch.zeros(1, 3, 24, 0), "at least one pixel"),
        (torch.full((1, 3, 24, 24), float("nan")), "NaN or infinite"),
        ("photograph.jpg", "a tensor for"),
    ]:
        with pytest.raises(InputError, match=words) as raised:
            model(image=x)
        assert "To do:" in str(raised.value)
    other = coset.symmetrize(predictor, source(C4) >> target(C4), frames.Canonicalizer(lambda inputs, noise: torch.zeros(1, 8)))
    with pytest.raises(FrameError, match="one score per element"):
        other(image=torch.randn(1, 3, 24, 24))
    with pytest.raises(InputError, match="at least 8 pixels"):
        ImageScorer(3)(torch.zeros(1, 3, 4, 24))


def test_outputs_that_are_not_declared(generator):
    x = torch.randn(2, 3, 24, 24, generator=generator)
    more = lambda image: {**predictor(image), "depth": image}  # noqa: E731
    with pytest.raises(SignatureError, match=r"without an action: \['depth'\]"):
        canonicalized(C4, more)(image=x)
    fewer = lambda image: {key: value for key, value in predictor(image).items() if key != "mask"}  # noqa: E731
    with pytest.raises(SignatureError, match=r"missing: \['mask'\]"):
        canonicalized(C4, fewer)(image=x)
    with pytest.raises(SignatureError, match="a container with entries"):
        canonicalized(C4, lambda image: image)(image=x)
    for key, value, words in [
        ("boxes", torch.zeros(2, 3, 5), "a last axis"),
        ("points", torch.zeros(2, 3, 2), "at least 5"),
        ("field", torch.zeros(2, 3, 24, 24), "channels"),
        ("label", torch.zeros(()), "one leading batch axis"),
        ("label", torch.zeros(3, 4), "one entry per sample"),
    ]:
        with pytest.raises(InputError, match=words):
            canonicalized(C4, lambda image, key=key, value=value: {**predictor(image), key: value})(image=x)


def test_boxes_outside_of_the_image(generator):
    both = actions.Dict(image=actions.Image(C4), boxes=actions.Boxes(C4, size="image"))
    model = coset.symmetrize(lambda image, boxes: boxes.sum((1, 2)), both >> actions.Trivial(C4))
    x = torch.randn(3, 3, 20, 30, generator=generator)
    good = torch.tensor([[[-0.5, -0.5, 29.5, 19.5], [3.0, 4.0, 3.0, 10.0]]]).repeat(3, 1, 1)
    assert model(image=x, boxes=good).shape == (3,)
    for box in ([0.0, 0.0, 31.0, 10.0], [0.0, 0.0, 10.0, 25.0], [-3.0, 0.0, 10.0, 10.0], [10.0, 0.0, 5.0, 10.0]):
        bad = good.clone()
        bad[2, 1] = torch.tensor(box)
        with pytest.raises(InputError, match=r"boxes outside of the image or of negative size in samples \[2\].*29.5.*19.5"):
            model(image=x, boxes=bad)
    fixed = actions.Boxes(D4, size=(20, 20))
    one = coset.symmetrize(lambda boxes: boxes.sum((1, 2)), fixed >> actions.Trivial(D4))
    with pytest.raises(InputError, match="outside of the image"):
        one(good)
    clipped = actions.Boxes(D4, size=(20, 20), clip=True)
    coset.symmetrize(lambda boxes: boxes.sum((1, 2)), clipped >> actions.Trivial(D4))(good)
    tilted = actions.Boxes(groups.Cyclic(8), size=(20, 20))  # hulls reach out
    coset.symmetrize(lambda boxes: boxes.sum((1, 2)), tilted >> actions.Trivial(groups.Cyclic(8)))(good)


class Fickle:
    """A predictor that changes its outputs at the second call."""

    def __init__(self, *outputs):
        self.outputs, self.calls = outputs, 0

    def __call__(self, x):
        self.calls += 1
        return self.outputs[min(self.calls, len(self.outputs)) - 1](x)


FICKLE = [
    (lambda x: x.mean((2, 3)), lambda x: (x.mean((2, 3)), x.mean((2, 3)))),
    (lambda x: {"a": x.mean((2, 3))}, lambda x: {"b": x.mean((2, 3))}),
    (lambda x: x.mean((2, 3)), lambda x: x.mean(3).mean(2, keepdim=True)),
    (lambda x: (x.mean((2, 3)), x.amax((2, 3))), lambda x: x.mean((2, 3))),
    (lambda x: x.mean((2, 3)), lambda x: x.mean((2, 3))[:, :1]),
]


@pytest.mark.parametrize("outputs", FICKLE)
@pytest.mark.parametrize("chunk", [1, 3])
def test_a_predictor_that_changes_its_outputs_between_calls(outputs, chunk, generator):
    x = torch.randn(3, 3, 8, 8, generator=generator)
    model = coset.symmetrize(Fickle(*outputs), actions.Image(C4) >> actions.Trivial(C4), frames.Full(), chunk=chunk)
    with pytest.raises(InputError, match="in an earlier call of the model"):
        model(x)
    steady = coset.symmetrize(Fickle(outputs[0]), actions.Image(C4) >> actions.Trivial(C4), frames.Full(), chunk=chunk)
    steady(x)
