"""Fields: the channels turn with the picture, as the gradient of an image does."""

from __future__ import annotations

import numpy
import pytest
import torch

from coset import groups
from coset.actions.field import Field
from coset.actions.image import Image
from coset.errors import InputError, SignatureError
from coset.tree import tree_map
from tests.actions.laws import gradient_gap

C4, D4 = groups.Cyclic(4), groups.Dihedral(4)


def test_a_quarter_turn_sends_right_to_up():
    x = torch.zeros(1, 2, 5, 5)
    x[0, :, 1, 4] = torch.tensor([3.0, 7.0])  # (vx, vy), right and down
    moved = Field(C4).act(torch.tensor([1]), x)
    place = torch.rot90(x, 1, (-2, -1))[0, 0].nonzero()[0].tolist()
    assert moved[0][:, place[0], place[1]].tolist() == [7.0, -3.0]
    assert moved.abs().sum() == 10


def test_the_flip_turns_right_into_left():
    field = torch.ones(1, 2, 3, 4)
    g = groups.Flip(torch.tensor([0]), torch.tensor([1]))
    assert Field(D4).act(g, field)[0, :, 0, 0].tolist() == [-1.0, 1.0]


@pytest.mark.parametrize("size", [(5, 5), (6, 6), (4, 7)], ids=str)
def test_the_gradient_of_a_moved_image_is_the_moved_gradient(size):
    scalar = torch.randn(1, 1, *size, dtype=torch.float64)
    for i in range(8):
        g = tree_map(lambda leaf, i=i: leaf[i : i + 1], D4.elements())
        assert gradient_gap(Field(D4), Image(D4), scalar, g) < 1e-14


def test_the_gradient_law_holds_for_numpy_too():
    image = numpy.random.default_rng(0).normal(size=(8, 8))
    down, right = numpy.gradient(image)
    turned_down, turned_right = numpy.gradient(numpy.rot90(image))
    field = torch.from_numpy(numpy.stack([right, down]))[None]
    moved = Field(C4).act(torch.tensor([1]), field)[0].numpy()
    assert numpy.abs(moved - numpy.stack([turned_right, turned_down])).max() < 1e-14


def test_second_derivatives_are_tensors_of_order_two():
    scalar = torch.randn(8, 1, 9, 9, dtype=torch.float64)

    def hessian(f):
        down, right = torch.gradient(f, dim=(-2, -1))
        (yy, xy), (yx, xx) = torch.gradient(down, dim=(-2, -1)), torch.gradient(right, dim=(-2, -1))
        return torch.cat([xx, xy, yx, yy], 1)

    def crop(f):
        return f[..., 2:-2, 2:-2]

    g = D4.elements()
    found, expected = Field(D4, order=2).act(g, crop(hessian(scalar))), crop(hessian(Image(D4).act(g, scalar)))
    assert torch.allclose(found, expected, atol=1e-13)
    assert not torch.allclose(Image(D4).act(g, crop(hessian(scalar))), expected, atol=1e-2)


def test_any_angle_turns_a_uniform_field():
    angle = torch.tensor(0.5, dtype=torch.float64)
    g = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()]).reshape(1, 2, 2)
    field = torch.tensor([1.0, 0.0], dtype=torch.float64).reshape(1, 2, 1, 1).expand(1, 2, 9, 9)
    moved = Field(groups.SpecialOrthogonal(2)).act(g, field)[0, :, 4, 4]
    assert torch.allclose(moved, torch.stack([angle.cos(), -angle.sin()]))  # right turns up, which is -down


def test_a_smooth_gradient_field_under_a_rotation():
    size = 33
    y, x = torch.meshgrid(*(torch.arange(size, dtype=torch.float64) - 16,) * 2, indexing="ij")
    scalar = torch.exp(-((x - 2) ** 2 + (y + 3) ** 2) / 25)[None, None]
    angle = torch.tensor(0.6, dtype=torch.float64)
    g = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()]).reshape(1, 2, 2)
    SO2 = groups.SpecialOrthogonal(2)
    assert gradient_gap(Field(SO2), Image(SO2), scalar, g) < 0.01
    assert gradient_gap(Image(SO2), Image(SO2), scalar, g) > 0.03  # channels left alone


def test_scalars_are_order_zero_and_several_vectors_are_consecutive():
    x, g = torch.randn(4, 6, 5, 5), torch.arange(4)
    assert torch.equal(Field(C4, order=0).act(g, x), Image(C4).act(g, x))
    three = Field(C4).act(g, x)
    assert all(torch.equal(three[:, i : i + 2], Field(C4).act(g, x[:, i : i + 2])) for i in (0, 2, 4))


def test_regular_channels_roll():
    actions = pytest.importorskip("coset.actions.linear")
    regular = getattr(actions, "Regular", None)
    if regular is None:
        pytest.skip("Regular is elsewhere")
    x = torch.randn(4, 4, 5, 5)
    field = Field(C4, inner=regular(C4))
    moved = field.act(torch.full((4,), 1), x)
    assert torch.equal(moved, torch.rot90(x, 1, (-2, -1)).roll(1, -3))
    assert "inner=Regular" in repr(field)


@pytest.mark.parametrize(
    ("action", "shape", "words"),
    [
        (Field(C4), (2, 3, 5, 5), r"3 channels. Expected: channels that are vectors \(right, down\), a multiple of 2"),
        (Field(C4, order=2), (2, 6, 5, 5), "2 x 2 tensors, a multiple of 4"),
        (Field(C4), (2, 5, 5), "at least 4 axes"),
        (Field(groups.Torus(4, 4)), (2, 2, 5, 5), r"use Torus\(5, 5\)"),
    ],
)
def test_data_that_does_not_fit(action, shape, words):
    with pytest.raises(InputError, match=words):
        action.check(torch.zeros(shape))


def test_integers_are_fine_where_nothing_is_interpolated():
    x = torch.randint(-5, 5, (4, 2, 6, 6))
    moved = Field(C4).act(torch.arange(4), x)
    assert moved.dtype == torch.int64
    assert torch.equal(moved.double(), Field(C4).act(torch.arange(4), x.double()))
    with pytest.raises(InputError, match=r"interpolates"):
        Field(groups.Cyclic(8)).check(x)


def test_options_that_do_not_fit():
    with pytest.raises(SignatureError, match=r"order=-1.*order=1 for vectors"):
        Field(C4, order=-1)
    with pytest.raises(SignatureError, match="an inner action of the same group"):
        Field(C4, inner=Image(D4))
    with pytest.raises(SignatureError, match=r"Field of Orthogonal\(3\)"):
        Field(groups.Orthogonal(3))
    assert repr(Field(C4, order=2)) == "Field(Cyclic(4), order=2)"
