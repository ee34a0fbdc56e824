"""Images and masks against torch.rot90, flip and roll, kornia, and the rules of a picture plane."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from coset import groups
from coset.actions.image import Image, Mask
from coset.actions.pixels import eight_turns, turn_number
from coset.actions.warp import Interpolation, Padding
from coset.errors import CosetError, InputError, SignatureError
from coset.tree import tree_map

C4, C8, D4, SO2 = groups.Cyclic(4), groups.Cyclic(8), groups.Dihedral(4), groups.SpecialOrthogonal(2)
SIZES = [(1, 1), (2, 2), (5, 5), (24, 24), (25, 25), (24, 31), (1, 6)]
DRAWS = {
    torch.float32: lambda *shape: torch.randn(*shape),
    torch.bool: lambda *shape: torch.rand(*shape) > 0.5,
    torch.uint8: lambda *shape: torch.randint(256, shape, dtype=torch.uint8),
    torch.complex64: lambda *shape: torch.randn(*shape, dtype=torch.complex64),
}


def rotation(angle):
    """Counter-clockwise rotations (..., 2, 2)."""
    angle = torch.as_tensor(angle, dtype=torch.float64)
    return torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], -1).unflatten(-1, (2, 2))


def oracle(x, k, flip=0):
    """r^k s^flip: the flip first."""
    return torch.rot90(x.flip(-1) if flip else x, int(k), (-2, -1))


# -- exact ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DRAWS, ids=str)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_quarter_turns_and_flips_are_bit_exact(size, dtype):
    x = DRAWS[dtype](2, 3, *size)
    assert Image(C4).exact
    assert Image(D4).exact
    for k in range(4):
        assert torch.equal(Image(C4).act(torch.tensor(k), x), oracle(x, k))
        for flip in range(2):
            g = groups.Flip(torch.full((2,), k), torch.full((2,), flip))
            assert torch.equal(Image(D4).act(g, x), oracle(x, k, flip))


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (5, 5), (24, 24), (25, 25)], ids=str)
def test_one_batch_mixes_elements(size):
    elements = D4.elements()
    x = torch.randn(8, 3, *size)
    expected = torch.stack([oracle(x[i], elements.k[i], elements.flip[i]) for i in range(8)])
    assert torch.equal(Image(D4).act(elements, x), expected)


@pytest.mark.parametrize("size", [(5, 5), (24, 24)], ids=str)
def test_a_large_batch_is_many_small_ones(size):
    g = D4.sample(50, generator=torch.Generator().manual_seed(0))
    x = torch.randn(50, 2, *size)
    expected = torch.stack([oracle(x[i], g.k[i], g.flip[i]) for i in range(50)])
    assert torch.equal(Image(D4).act(g, x), expected)
    assert torch.equal(turn_number(eight_turns(torch.device("cpu"))), torch.arange(8))


def test_export_with_any_batch_size():
    action = Image(C4)

    class Turn(torch.nn.Module):
        def forward(self, k, x):
            return action.act(k, x)

    batch = torch.export.Dim("batch", min=2)
    example = (torch.arange(3), torch.randn(3, 2, 6, 6))
    exported = torch.export.export(Turn(), example, dynamic_shapes=({0: batch}, {0: batch})).module()
    k, x = torch.arange(20) % 4, torch.randn(20, 2, 6, 6)
    assert torch.equal(exported(k, x), Image(C4).act(k, x))


def test_a_large_non_square_batch():
    x, k = torch.randn(20, 4, 7), torch.tensor([1, 3] * 10)
    assert torch.equal(Image(C4).act(k, x), torch.stack([oracle(x[i], k[i]) for i in range(20)]))


def test_a_non_square_batch_turns_together_or_not_at_all():
    x = torch.randn(2, 3, 24, 31)
    turned = Image(C4).act(torch.tensor([1, 3]), x)
    assert torch.equal(turned, torch.stack([oracle(x[0], 1), oracle(x[1], 3)]))
    assert torch.equal(Image(C4).act(torch.tensor([0, 2]), x), torch.stack([x[0], oracle(x[1], 2)]))
    with pytest.raises(InputError, match=r"24 x 31 and 31 x 24. To do: pad or crop the images to a square"):
        Image(C4).act(torch.tensor([0, 1]), x)
    for group in (groups.Cyclic(2), groups.Dihedral(2), groups.SignFlips(2)):
        every = group.elements()
        assert Image(group).act(every, torch.randn(group.order, 24, 31)).shape[-2:] == (24, 31)


@pytest.mark.parametrize("group", [groups.SignFlips(2), groups.Hyperoctahedral(2)], ids=repr)
def test_signed_permutation_matrices_move_the_picture(group):
    """A pixel painted at (right, up) lands at the matrix times (right, up)."""
    for g in group.elements():
        x = torch.zeros(1, 7, 7)
        x[0, 3 - 1, 3 + 2] = 1.0
        right, up = (g.round().long() @ torch.tensor([2, 1])).tolist()
        assert Image(group).act(g, x)[0, 3 - up, 3 + right] == 1.0


def test_torus_is_roll():
    torus = groups.Torus(5, 7)
    x, g = torch.randn(6, 2, 5, 7), torus.sample(6)
    expected = torch.stack([torch.roll(x[i], g[i].tolist(), (-2, -1)) for i in range(6)])
    assert Image(torus).exact
    assert torch.equal(Image(torus).act(g, x), expected)
    assert torch.equal(Image(torus).act(g[0], x), torch.roll(x, g[0].tolist(), (-2, -1)))


@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 3), st.integers(0, 1), st.integers(0, 3), st.integers(0, 1))
def test_any_size_any_two_elements(height, width, k, f, m, e):
    x = torch.arange(height * width).reshape(1, height, width)
    g, h = (groups.Flip(torch.tensor(a), torch.tensor(b)) for a, b in ((k, f), (m, e)))
    action = Image(D4)
    assert torch.equal(action.act(h, x), oracle(x, m, e))
    assert torch.equal(action.act(g, action.act(h, x)), action.act(D4.compose(g, h), x))
    assert torch.equal(action.act(D4.inverse(g), action.act(g, x)), x)


@given(st.integers(1, 9), st.integers(1, 9), st.integers(-20, 20), st.integers(-20, 20))
def test_any_roll(height, width, down, right):
    x = torch.arange(height * width).reshape(1, height, width)
    moved = Image(groups.Torus(height, width)).act(torch.tensor([down, right]), x)
    assert torch.equal(moved, torch.roll(x, (down, right), (-2, -1)))


def test_elements_broadcast_from_the_left():
    x = torch.randn(1, 3, 2, 5, 5)
    g = torch.randint(4, (4, 3))
    moved = Image(C4).act(g, x)
    assert moved.shape == (4, 3, 2, 5, 5)
    assert torch.equal(moved[2, 1], oracle(x[0, 1], g[2, 1]))
    with pytest.raises(SignatureError, match=r"group elements with batch axes \(4, 3\) and a Tensor of shape \(2, 5, 5\)"):
        Image(C4).act(g, torch.randn(2, 5, 5))
    with pytest.raises(SignatureError, match=r"batch axes \(5,\)"):
        Image(C8).act(torch.zeros(5, dtype=torch.long), torch.randn(2, 5, 5))


def test_an_empty_batch_stays_empty():
    for group in (C4, C8):
        assert Image(group).act(torch.zeros(0, dtype=torch.long), torch.randn(0, 3, 6, 6)).shape == (0, 3, 6, 6)


# -- resampled -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("padding", Padding)
@pytest.mark.parametrize("interpolation", Interpolation)
@pytest.mark.parametrize("size", [(1, 1), (2, 2), (5, 5), (24, 24), (25, 25), (24, 31)], ids=str)
def test_the_exact_subgroup_of_a_resampling_group_stays_bit_exact(size, interpolation, padding):
    options = {"interpolation": interpolation, "padding": padding}
    x = torch.randn(1, 3, *size)
    for k in range(4):
        turn = C4.matrix(torch.tensor([k]))
        rotated = rotation(torch.tensor([k * math.pi / 2])).float()  # with the rounding of float32
        for group, g in (
            (C8, torch.tensor([2 * k])),
            (SO2, turn),
            (SO2, rotated),
            (groups.Orthogonal(2), turn),
            (groups.Euclidean(2), groups.Affinity(turn, torch.zeros(1, 2))),
            (groups.Affine(2), groups.Affinity(turn, torch.zeros(1, 2))),
        ):
            action = Image(group, **options)
            assert not action.exact
            assert torch.equal(action.act(g, x), oracle(x, k)), (group, k)
    mirrored = groups.Flip(torch.tensor([3]), torch.tensor([1]))
    assert torch.equal(Image(groups.Dihedral(12), **options).act(mirrored, x), oracle(x, 1, 1))


def test_a_homomorphism_of_groups_is_one_of_actions():
    """Cyclic(4) -> Cyclic(8) -> SO(2) and Dihedral(8) -> O(2) move images alike."""
    x = torch.rand(8, 1, 12, 12, dtype=torch.float64)
    k = torch.arange(8)
    assert torch.allclose(Image(C8).act(k, x), Image(SO2).act(C8.matrix(k, dtype=torch.float64), x), atol=1e-12)
    D8 = groups.Dihedral(8)
    g = tree_map(lambda leaf: leaf[4:12], D8.elements())
    assert torch.allclose(Image(D8).act(g, x), Image(groups.Orthogonal(2)).act(D8.matrix(g, dtype=torch.float64), x), atol=1e-12)


@pytest.mark.parametrize("size", [24, 25])
def test_kornia_agrees_on_sign_and_centre(size):
    kornia = pytest.importorskip("kornia", reason="kornia is not installed: no oracle for interpolated rotations")
    x = torch.rand(5, 2, size, size, dtype=torch.float64)
    degrees = torch.tensor([10.0, -33.0, 60.0, 135.0, -100.0], dtype=torch.float64)
    ours = Image(SO2).act(rotation(degrees.deg2rad()), x)
    inside = slice(size // 4, -(size // 4))
    theirs = kornia.geometry.transform.rotate(x, degrees, mode="bilinear", padding_mode="zeros", align_corners=True)
    assert torch.allclose(ours[..., inside, inside], theirs[..., inside, inside], atol=1e-9)
    wrong = kornia.geometry.transform.rotate(x, -degrees, mode="bilinear", padding_mode="zeros", align_corners=True)
    assert not torch.allclose(ours[..., inside, inside], wrong[..., inside, inside], atol=1e-2)


def test_shifts_are_pixels_right_and_up():
    x = torch.zeros(1, 9, 9)
    x[0, 4, 4] = 1.0
    moved = Image(groups.Translation(2)).act(torch.tensor([[2.0, 1.0]]), x)
    assert moved[0, 3, 6] == pytest.approx(1.0, abs=1e-6)
    moved = Image(groups.Euclidean(2)).act(groups.Affinity(C4.matrix(torch.tensor([1])), torch.tensor([[2.0, 1.0]])), x)
    assert moved[0, 3, 6] == pytest.approx(1.0, abs=1e-6)


def test_one_sampling_is_sharper_than_many():
    """Rotating by 45 degrees and back keeps a smooth image, on even and odd sizes alike: no half pixel is lost."""
    for size in (24, 25):
        y, x = torch.meshgrid(*(torch.arange(size, dtype=torch.float64),) * 2, indexing="ij")
        blob = torch.exp(-((x - size / 2) ** 2 + (y - size / 2 + 2) ** 2) / 32)[None]
        turned = Image(C8).act(torch.tensor([1]), blob)
        assert (Image(C8).act(torch.tensor([7]), turned) - blob).abs().max() < 0.03


def test_padding_is_as_declared():
    ones = torch.ones(1, 8, 8)
    g = torch.tensor([1])
    assert Image(C8).act(g, ones)[0, 0, 0] == 0
    for padding in (Padding.BORDER, Padding.REFLECTION):
        assert torch.allclose(Image(C8, padding=padding).act(g, ones), ones)


def test_gradients_with_respect_to_image_and_element():
    x = torch.randn(2, 1, 5, 5, dtype=torch.float64, requires_grad=True)
    g = rotation([0.3, 2.0]).requires_grad_()
    assert torch.autograd.gradcheck(lambda x, g: Image(SO2).act(g, x), (x, g), eps=1e-7, atol=1e-5)
    shift = torch.tensor([[0.3, -0.2], [1.1, 0.4]], dtype=torch.float64, requires_grad=True)
    E2 = groups.SpecialEuclidean(2)
    assert torch.autograd.gradcheck(lambda x, g, t: Image(E2).act(groups.Affinity(g, t), x), (x, g, shift), eps=1e-7, atol=1e-5)


@pytest.mark.parametrize("quarter", [0, 1, 2, 3])
def test_the_gradient_at_an_exact_turn_is_that_of_the_resampled_image(quarter):
    x = torch.randn(1, 1, 9, 9, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(1, 1, 9, 9, dtype=torch.float64)
    action = Image(SO2, interpolation=Interpolation.BICUBIC)  # its derivative is continuous at pixel centres

    def loss(angle):
        g = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], -1).unflatten(-1, (2, 2))
        return (action.act(g, x) * weight).sum()

    angle = torch.tensor([quarter * math.pi / 2], dtype=torch.float64, requires_grad=True)
    value = loss(angle)
    by_image = torch.autograd.grad(value, x)[0]
    assert value.item() == (oracle(x, quarter) * weight).sum().item()
    assert torch.allclose(by_image, oracle(weight, -quarter), atol=1e-10)
    inner = weight.clone()
    inner[..., [0, -1], :] = inner[..., [0, -1]] = 0  # zero padding has a kink at the border
    weight = inner
    by_angle = torch.autograd.grad(loss(angle), angle)[0]
    slope = (loss(angle + 1e-6) - loss(angle - 1e-6)).detach() / 2e-6
    assert slope.abs() > 0.1
    assert by_angle.item() == pytest.approx(slope.item(), rel=1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.complex64, torch.complex128])
def test_other_precisions_keep_their_dtype(dtype):
    x = torch.randn(2, 1, 8, 8, dtype=torch.float32).to(dtype)
    moved = Image(C8).act(torch.tensor([1, 2]), x)
    assert moved.dtype == dtype
    assert torch.equal(moved[1], oracle(x[1], 1))


def test_numbers_do_not_depend_on_the_batch():
    x = torch.rand(3, 2, 16, 16)
    g = SO2.sample(3, generator=torch.Generator().manual_seed(0))
    together = Image(SO2).act(g, x)
    assert all(torch.allclose(together[i], Image(SO2).act(g[i], x[i : i + 1])[0], atol=1e-6) for i in range(3))


# -- masks ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64, torch.float32, torch.float16])
def test_masks_keep_labels_and_dtype(dtype):
    labels = torch.randint(0, 2 if dtype is torch.bool else 7, (3, 12, 12)).to(dtype)
    moved = Mask(SO2).act(rotation([0.4, 1.0, math.pi / 2]).float(), labels)
    assert moved.dtype == dtype
    assert set(moved.flatten().tolist()) <= {0, *labels.flatten().tolist()}
    assert torch.equal(moved[2], oracle(labels[2], 1))


def test_masks_return_almost_everywhere():
    y, x = torch.meshgrid(*(torch.arange(33.0),) * 2, indexing="ij")
    disc = (((x - 14) ** 2 + (y - 18) ** 2) < 90)[None]
    there = Mask(C8).act(torch.tensor([1]), disc)
    back = Mask(C8).act(torch.tensor([7]), there)
    assert (back != disc).double().mean() < 0.02


def test_large_labels_survive():
    labels = torch.full((1, 4, 4), 2**40 + 1)
    assert int(Mask(C8, padding=Padding.BORDER).act(torch.tensor([1]), labels)[0, 1, 1]) == 2**40 + 1


# -- bad input -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: Image(groups.Symmetric()), r"Image of Symmetric\(\), which has no matrices.*Pullback"),
        (lambda: Image(groups.Orthogonal(3)), r"Image of Orthogonal\(3\), with real 3 x 3 matrices. Expected: real 2 x 2"),
        (lambda: Mask(groups.Unitary(2)), r"complex 2 x 2 matrices"),
        (lambda: Image(groups.Torus(5)), r"Image of Torus\(5\).*write Torus\(H, W\)"),
        (lambda: Image(C4, interpolation="bilinear"), r"'bilinear'.*choose among actions.Interpolation.BILINEAR"),
        (lambda: Mask(C4, padding="zeros"), r"'zeros'.*actions.Padding.ZEROS"),
    ],
)
def test_groups_and_options_that_do_not_fit(build, words):
    with pytest.raises(SignatureError, match=words):
        build()


@pytest.mark.parametrize(
    ("action", "x", "words"),
    [
        (Image(C4), torch.zeros(5, 5), r"input is a Tensor of shape \(5, 5\).*at least 3 axes"),
        (Image(C4), [1, 2], "a value of type list.*a tensor for Image"),
        (Image(C4), torch.zeros(2, 3, 0, 5), "at least one pixel"),
        (Image(groups.Torus(5, 7)), torch.zeros(2, 7, 5), r"height and width \(5, 7\).*use Torus\(7, 5\)"),
        (
            Image(C8),
            torch.zeros(2, 5, 5, dtype=torch.uint8),
            r"uint8.*Image\(Cyclic\(8\)\) interpolates.*actions.Mask for labels, or convert: input.float\(\)",
        ),
        (Mask(groups.Torus(5, 7)), torch.zeros(2, 7, 5), r"use Torus\(7, 5\)"),
    ],
)
def test_data_that_does_not_fit(action, x, words):
    with pytest.raises(InputError, match=words):
        action.check(x)


def test_a_product_moves_images_by_its_planar_factor():
    group = groups.Symmetric() * groups.Cyclic(4)
    g = group.at(5).sample(2, generator=torch.Generator().manual_seed(0))
    x = torch.randn(2, 1, 6, 6)
    assert Image(group).exact
    assert torch.equal(Image(group).act(g, x), Image(C4).act(g[1], x))


def test_facts_and_layout():
    action = Image(D4)
    assert (action.event, action.linear, action.degree, action.moves) == (2, True, None, True)
    at = action.layout(torch.zeros(3, 2, 4, 5))
    assert (at.samples, at.size) == (3, (4, 5))
    assert repr(Image(C8, padding=Padding.BORDER)) == "Image(Cyclic(8), padding=Padding.BORDER)"
    assert repr(Image(C8, interpolation=Interpolation.NEAREST)) == "Image(Cyclic(8), interpolation=Interpolation.NEAREST)"
    assert repr(Mask(C4)) == "Mask(Cyclic(4))"
    assert issubclass(InputError, CosetError)
