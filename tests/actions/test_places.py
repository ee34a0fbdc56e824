"""Keypoints and boxes land where painted pixels land."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from coset import groups
from coset.actions.boxes import Boxes
from coset.actions.image import Image
from coset.actions.keypoints import Keypoints
from coset.actions.layout import Layout
from coset.actions.trees import Dict
from coset.errors import InputError, SignatureError
from coset.tree import tree_map

C4, D4, SO2 = groups.Cyclic(4), groups.Dihedral(4), groups.SpecialOrthogonal(2)
SIZES = [(7, 7), (8, 8), (5, 8), (8, 5), (24, 31), (1, 4)]


def element(group, i):
    """Element i with a batch axis of one."""
    return tree_map(lambda leaf: leaf[i : i + 1], group.elements())


def paint(size, place):
    """An image that is 1 at (x, y)."""
    x = torch.zeros(1, *size)
    x[0, place[1], place[0]] = 1
    return x


def brightest(x):
    """The (x, y) of the largest pixel."""
    row, column = divmod(int(x.flatten().argmax()), x.shape[-1])
    return [column, row]


def check_pixel(group, i, size, place):
    """A keypoint, a box of one point and a painted pixel go to the same place."""
    g = element(group, i)
    painted = brightest(Image(group).act(g, paint(size, place)))
    assert Keypoints(group, size=size).act(g, torch.tensor([[place]], dtype=torch.float64))[0, 0].tolist() == painted
    assert Keypoints(group, size=size).act(g, torch.tensor([[place]]))[0, 0].tolist() == painted
    box = torch.tensor([[[*place, *place]]], dtype=torch.float64)
    assert Boxes(group, size=size).act(g, box)[0, 0].tolist() == [*painted, *painted]


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("i", range(8))
def test_keypoints_follow_pixels(i, size):
    height, width = size
    for place in ([0, 0], [width - 1, 0], [width // 2, height // 2], [min(2, width - 1), height - 1]):
        check_pixel(D4, i, size, place)


@given(st.data())
def test_keypoints_follow_pixels_anywhere(data):
    height, width = data.draw(st.integers(1, 12)), data.draw(st.integers(1, 12))
    place = [data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))]
    check_pixel(D4, data.draw(st.integers(0, 7)), (height, width), place)


@given(st.integers(1, 8), st.integers(1, 8), st.data())
def test_keypoints_on_a_torus_follow_pixels(height, width, data):
    torus = groups.Torus(height, width)
    g = torch.tensor([[data.draw(st.integers(-9, 9)), data.draw(st.integers(-9, 9))]])
    place = [data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))]
    moved = Keypoints(torus, size=(height, width)).act(g, torch.tensor([[place]], dtype=torch.float32))
    assert moved[0, 0].tolist() == brightest(Image(torus).act(g, paint((height, width), place)))


def test_boxes_are_the_hull_of_the_pixels_inside():
    size, box = (9, 6), [1, 2, 4, 7]
    mask = torch.zeros(1, *size, dtype=torch.bool)
    mask[0, box[1] : box[3] + 1, box[0] : box[2] + 1] = True
    for i in range(8):
        g = element(D4, i)
        rows, columns = (axis.unique() for axis in Image(D4).act(g, mask)[0].nonzero().unbind(-1))
        hull = [columns.min(), rows.min(), columns.max(), rows.max()]
        assert Boxes(D4, size=size).act(g, torch.tensor([[box]]))[0, 0].tolist() == [int(n) for n in hull]


def test_interpolated_keypoints_follow_the_blob():
    size, place = (33, 33), torch.tensor([[[10.0, 20.0]]], dtype=torch.float64)
    y, x = torch.meshgrid(*(torch.arange(33, dtype=torch.float64),) * 2, indexing="ij")
    blob = torch.exp(-((x - 10) ** 2 + (y - 20) ** 2) / 8)[None]
    SE2 = groups.SpecialEuclidean(2)
    for seed in range(5):
        g = SE2.sample(1, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        moved = Image(SE2).act(g, blob)[0]
        centre = torch.stack([(moved * x).sum(), (moved * y).sum()]) / moved.sum()
        assert torch.allclose(Keypoints(SE2, size=size).act(g, place)[0, 0], centre, atol=0.05)


def test_a_box_turned_by_45_degrees_is_the_hull_of_its_corners():
    C8 = groups.Cyclic(8)
    square = torch.tensor([[[3.0, 3.0, 5.0, 5.0]]], dtype=torch.float64)
    moved = Boxes(C8, size=(9, 9)).act(torch.tensor([1]), square)
    root = 2**0.5
    assert torch.allclose(moved, torch.tensor([[[4 - root, 4 - root, 4 + root, 4 + root]]], dtype=torch.float64))
    assert not Boxes(C8, size=(9, 9)).exact
    assert not Boxes(C8, size=(9, 9)).linear
    assert Keypoints(C8, size=(9, 9)).exact


def test_composition_on_non_square_images_reads_the_size_from_the_sibling():
    size = (24, 31)
    keypoints, boxes = Keypoints(D4, size="image"), Boxes(D4, size="image")
    x = torch.rand(1, 4, 2, dtype=torch.float64) * 20
    box = torch.cat([x - 1, x + 2], -1)
    for i in range(8):
        for j in range(8):
            g, h = element(D4, i), element(D4, j)
            after = size[::-1] if int(h.k) % 2 else size
            first, second = (Layout(samples=1, sizes=(("image", s),)) for s in (size, after))
            for action, data in ((keypoints, x), (boxes, box)):
                twice = action.act(g, action.act(h, data, first), second)
                assert torch.allclose(twice, action.act(D4.compose(g, h), data, first), atol=1e-12)


def test_a_dict_of_image_boxes_and_keypoints_is_an_action_on_non_square_images():
    together = Dict(image=Image(D4), boxes=Boxes(D4, size="image"), eyes=Keypoints(D4, size="image", pairs=[(0, 1)]))
    places = torch.rand(2, 3, 2, dtype=torch.float64) * 5
    x = {"image": torch.randn(2, 1, 6, 9, dtype=torch.float64), "boxes": torch.cat([places, places + 2], -1), "eyes": places}
    together.check(x)
    for i in range(8):
        for j in range(8):
            g, h = (tree_map(lambda leaf: leaf.expand(2), element(D4, n)) for n in (i, j))
            twice, once = together.act(g, together.act(h, x)), together.act(D4.compose(g, h), x)
            assert all(torch.allclose(twice[key], once[key], atol=1e-12) for key in x)


def test_pairs_are_exchanged_by_reflections_only():
    action = Keypoints(D4, size=(10, 10), pairs=[(1, 2)])
    x = torch.tensor([[[4.5, 1.0], [2.0, 3.0], [7.0, 3.0]]]).expand(8, 3, 2)  # nose, left eye, right eye: mirror symmetric
    moved = action.act(D4.elements(), x)
    assert torch.equal(moved[4], x[4])  # the left-right mirror leaves the face as it is
    plain = Keypoints(D4, size=(10, 10)).act(D4.elements(), x)
    assert torch.equal(moved[:4], plain[:4])
    assert torch.equal(moved[4:], plain[4:][:, [0, 2, 1]])


def test_clip_cuts_at_the_border_of_the_moved_image():
    box = torch.tensor([[[-3.0, 2.0, 40.0, 4.0]]])
    moved = Boxes(C4, size=(10, 20), clip=True).act(torch.tensor([1]), box)
    assert moved.tolist() == [[[2.0, -0.5, 4.0, 19.5]]]
    assert Boxes(C4, size=(10, 20), clip=True).act(torch.tensor([0]), box.long()).tolist() == [[[0, 2, 19, 4]]]


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: Boxes(groups.Torus(5, 5), size=(5, 5)), "a circular shift cuts them at the border"),
        (lambda: Boxes(groups.Orthogonal(3), size=(5, 5)), r"Boxes of Orthogonal\(3\)"),
        (lambda: Keypoints(C4, size=5), r"Keypoints with size=5. Expected: the \(H, W\) of the image, or the key"),
        (lambda: Keypoints(C4, size=(5, 0)), r"size=\(5, 0\)"),
        (lambda: Keypoints(C4, size=(5, 5), pairs=[(0, 0)]), r"pairs=\[\(0, 0\)\].*disjoint pairs"),
        (lambda: Keypoints(C4, size=(5, 5), pairs=[(0, 1), (1, 2)]), "disjoint pairs"),
    ],
)
def test_declarations_that_do_not_fit(build, words):
    with pytest.raises(SignatureError, match=words):
        build()


@pytest.mark.parametrize(
    ("action", "x", "words"),
    [
        (Keypoints(C4, size=(5, 5)), torch.zeros(2, 4, 3), r"3 columns. Expected: a last axis \(x, y\) of length 2"),
        (Boxes(C4, size=(5, 5)), torch.zeros(2, 4, 5), r"5 columns. Expected: a last axis \(x1, y1, x2, y2\) of length 4"),
        (Keypoints(SO2, size=(5, 5)), torch.zeros(2, 4, 2, dtype=torch.long), r"floating point coordinates.*input.float\(\)"),
        (Keypoints(C4, size=(5, 5), pairs=[(0, 4)]), torch.zeros(2, 4, 2), "4 keypoints. Expected: at least 5"),
        (Boxes(C4, size=(5, 5)), torch.zeros(4), "at least 2 axes"),
    ],
)
def test_data_that_does_not_fit(action, x, words):
    with pytest.raises(InputError, match=words):
        action.check(x)


def test_a_missing_sibling_is_named():
    x = torch.zeros(1, 2, 2)
    with pytest.raises(SignatureError, match=r"beside the images \[\].*actions.Dict\(photo=actions.Image\(group\)"):
        Keypoints(C4, size="photo").act(torch.tensor([0]), x)
    with pytest.raises(SignatureError, match=r"beside the images \['other'\]"):
        Keypoints(C4, size="photo").act(torch.tensor([0]), x, Layout(samples=1, sizes=(("other", (3, 3)),)))


def test_gradients_with_respect_to_coordinates_and_element():
    x = torch.rand(2, 3, 2, dtype=torch.float64, requires_grad=True)
    g = SO2.sample(2, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda g, x: Keypoints(SO2, size=(9, 9)).act(g, x), (g, x))
