"""Minimal frames under GL(d), SL(d), affine maps and scalings: white canonical inputs, determinants, conditioning, messages."""

from __future__ import annotations

import pytest
import torch

import coset
from coset import actions, frames, groups
from coset.errors import FrameError, InputError
from tests.zoo.frames import shapes

GROUPS = [
    groups.GeneralLinear(2),
    groups.GeneralLinear(3),
    groups.GeneralLinear(5),
    groups.SpecialLinear(2),
    groups.SpecialLinear(3),
    groups.SpecialLinear(4),
    groups.Affine(2),
    groups.Affine(3),
]
UNORDERED = frames.Minimal(colours=frames.UNCOLOURED)
over_groups = pytest.mark.parametrize("group", GROUPS, ids=repr)


def cloud(batch, n, d, generator):
    return torch.randn(batch, n, d, generator=generator, dtype=torch.float64) + 0.3


def canonical(group, frame, x):
    found = frame.bind(actions.Points(group))(x)
    element = coset.tree.tree_map(lambda leaf: leaf[0], found.elements)
    return actions.Points(group).act(group.inverse(element), x), element


@over_groups
def test_canonical_inputs_are_white(group, generator):
    y, element = canonical(group, frames.Minimal(), cloud(16, 9, group.dim, generator))
    if group.translates:
        assert y.mean(1).abs().max() < 1e-12
    moments = y.mT @ y / 9
    trace = moments.diagonal(dim1=-2, dim2=-1).mean(-1)
    assert (moments - trace[:, None, None] * torch.eye(group.dim)).abs().max() < 1e-12
    det = torch.linalg.det(group.matrix(element))
    if group.rescales:
        assert (trace - 1).abs().max() < 1e-12
    else:
        assert (det - 1).abs().max() < 1e-12


@over_groups
@pytest.mark.parametrize("frame", [frames.Minimal(), UNORDERED], ids=repr)
def test_frames_move_with_their_inputs(group, frame, generator):
    if frame is UNORDERED and group.dim > 3:
        with pytest.raises(FrameError, match="dimension 2 or 3"):
            frame.bind(actions.Points(group))
        return
    x = cloud(16, 9, group.dim, generator)
    h = group.sample(16, generator=generator, dtype=torch.float64)
    here, element = canonical(group, frame, x)
    there, moved = canonical(group, frame, actions.Points(group).act(h, x))
    assert (there - here).abs().max() < 1e-11  # F(hx) = h F(x): the same canonical input
    assert group.distance(moved, group.compose(h, element)).max() < 1e-11


@pytest.mark.parametrize("logs", [1, 2, 3, 4, 5, 6])
def test_ill_conditioned_inputs(logs, generator):
    """Two passes lose the condition number, not its square."""
    group = groups.GeneralLinear(3)
    x = cloud(32, 9, 3, generator)
    turn = groups.Orthogonal(3).haar(32, generator=generator, dtype=torch.float64)
    stretch = torch.diag(torch.tensor([1.0, 10.0**-logs, 1.0], dtype=torch.float64))
    h = turn @ stretch @ turn.mT
    here, _ = canonical(group, frames.Minimal(), x)
    there, _ = canonical(group, frames.Minimal(), actions.Points(group).act(h, x))
    assert (there - here).abs().max() < 1e-13 * 10**logs * 10


def test_units_of_the_axes_do_not_matter(generator):
    group = groups.Affine(3)
    x = cloud(8, 9, 3, generator)
    here, _ = canonical(group, frames.Minimal(), x)
    there, _ = canonical(group, frames.Minimal(), x * torch.tensor([1e-3, 1.0, 1e3]))
    assert (there - here).abs().max() < 1e-10


@pytest.mark.parametrize("name", ["octahedron", "prism"])
@pytest.mark.parametrize("frame", [frames.Minimal(), UNORDERED], ids=repr)
def test_gradients_where_singular_values_coincide(name, frame, generator):
    """Against finite differences: of the shape itself, where an eigenvalue decomposition has no gradient."""
    group = groups.GeneralLinear(3)
    x = shapes(3)[name][None]
    w = torch.randn(3, generator=generator, dtype=torch.float64)
    model = coset.symmetrize(lambda x: torch.tanh(x @ w + 0.2).square().mean(1), actions.Points(group) >> actions.Trivial(group), frame)
    leaf = x.clone().requires_grad_()
    model(leaf).sum().backward()
    assert torch.isfinite(leaf.grad).all()
    h = group.sample(1, generator=generator, dtype=torch.float64)
    moved = actions.Points(group).act(h, x).requires_grad_()
    model(moved).sum().backward()
    assert torch.allclose(moved.grad @ h, leaf.grad, atol=1e-9)  # gradients move contragrediently
    if frame is UNORDERED:
        return
    direction = torch.randn(x.shape, generator=generator, dtype=torch.float64)
    step = 1e-6
    slope = (model(x + step * direction) - model(x - step * direction)) / (2 * step)
    assert torch.allclose(slope.detach()[0], (leaf.grad * direction).sum(), atol=1e-6)


def test_symmetries_are_those_of_the_white_cloud():
    hexagon = shapes(2)["hexagon"][None]
    shear = torch.tensor([[[1.0, 0.7], [0.0, 2.0]]], dtype=torch.float64)
    for group, order in ((groups.GeneralLinear(2), 12), (groups.SpecialLinear(2), 6), (groups.Affine(2), 12)):
        assert UNORDERED.bind(actions.Points(group))(hexagon @ shear.mT).order.tolist() == [order]
    triangle = torch.tensor([[[0.0, 0], [5, 1], [2, 7]]], dtype=torch.float64)
    assert UNORDERED.bind(actions.Points(groups.Affine(2)))(triangle).order.tolist() == [6]  # every triangle is regular


def test_orthogonal_moves_reduce_to_the_frame_of_rotations(generator):
    x = cloud(4, 8, 3, generator)
    factor = torch.linalg.cholesky(x.mT @ x / 8)
    white = torch.linalg.solve_triangular(factor, x.mT, upper=False).mT
    turn = frames.Minimal().bind(actions.Points(groups.Orthogonal(3)))(white).elements
    found = frames.Minimal().bind(actions.Points(groups.GeneralLinear(3)))(x).elements
    assert torch.allclose(found, factor @ turn, atol=1e-12)
    assert torch.allclose(frames.Minimal().bind(actions.Points(groups.GeneralLinear(3)))(white).elements, turn, atol=1e-12)


@over_groups
def test_outputs_move(group, generator):
    d = group.dim
    x, h = cloud(8, 9, d, generator), group.sample(8, generator=generator, dtype=torch.float64)
    w = torch.randn(9 * d, d, generator=generator, dtype=torch.float64)
    model = coset.symmetrize(lambda x: torch.tanh(x.flatten(1) @ w), actions.Points(group) >> actions.Vectors(group, points=False))
    act = actions.Vectors(group).act
    assert (model(actions.Points(group).act(h, x)) - act(h, model(x))).abs().max() < 1e-12
    assert (model(x) - model(x).mean(0)).abs().max() > 1e-2


# -- scalings --------------------------------------------------------------------------------------------------------


def test_scalings(generator):
    group = groups.Scaling(3)
    x = cloud(4, 5, 3, generator)
    y, _ = canonical(group, frames.Minimal(), x)
    assert torch.allclose(y.square().sum((1, 2)) / 5, torch.ones(4, dtype=torch.float64))
    scores = coset.symmetrize(lambda x: x.square().sum((1, 2)), actions.Points(group) >> actions.Trivial(group))
    assert torch.allclose(scores(1e6 * x), scores(x))
    assert scores(torch.zeros(1, 2, 3)).tolist() == [0.0]
    moving = coset.symmetrize(lambda x: x, actions.Points(group) >> actions.Points(group))
    with pytest.raises(InputError, match=r"samples \[1\] of zeros under Scaling\(3\), which have no size.*drop these samples"):
        moving(torch.stack([x[0], torch.zeros(5, 3)]))


# -- bad input -------------------------------------------------------------------------------------------------------


def test_singular_inputs(generator):
    x = cloud(3, 6, 3, generator)
    x[1, :, 2] = x[1, :, 0] - x[1, :, 1]
    for dtype in (torch.float32, torch.float64):
        with pytest.raises(
            InputError,
            match=r"linearly dependent vectors in samples \[1\], which a part of GeneralLinear\(3\).*all 3 dimensions.*Orthogonal\(3\)",
        ):
            frames.Minimal().bind(actions.Points(groups.GeneralLinear(3)))(x.to(dtype))
    x[1, :, 2] += 0.5  # a plane that misses the origin spans, as vectors
    assert frames.Minimal().bind(actions.Points(groups.SpecialLinear(3)))(x).order.tolist() == [1, 1, 1]
    for dtype in (torch.float32, torch.float64):
        with pytest.raises(InputError, match=r"affinely dependent points in samples \[1\].*Euclidean\(3\)"):
            frames.Minimal().bind(actions.Points(groups.Affine(3)))(x.to(dtype) + 1e3)


def test_too_few_points():
    with pytest.raises(InputError, match=r"2 points \(.*shape \(1, 2, 3\).*under SpecialLinear\(3\).*at least 3.*SpecialOrthogonal\(3\)"):
        frames.Minimal().bind(actions.Points(groups.SpecialLinear(3)))(torch.randn(1, 2, 3))
    with pytest.raises(InputError, match=r"3 points .*under Affine\(3\).*at least 4"):
        frames.Minimal().bind(actions.Points(groups.Affine(3)))(torch.randn(1, 3, 3))
    with pytest.raises(FrameError, match="vectors or points"):
        frames.Minimal().bind(actions.Tensors(groups.GeneralLinear(3), 2))
    with pytest.raises(InputError, match=r"complex.*real data for GeneralLinear"):
        frames.Minimal().bind(actions.Points(groups.GeneralLinear(2)))(torch.ones(1, 3, 2, dtype=torch.complex64))


def test_affine_maps_need_positions():
    A3 = groups.Affine(3)
    with pytest.raises(FrameError, match=r"declare .* as Points"):
        coset.symmetrize(lambda v: v, actions.Vectors(A3, points=True) >> actions.Vectors(A3, points=True))
    both = actions.Dict(p=actions.Points(A3), v=actions.Vectors(A3))
    with pytest.raises(FrameError, match="of='v'"):
        frames.Minimal(of="v").bind(both)


def test_single_precision_in_flat_clouds(generator):
    """Large inverses are multiplied in double precision: the canonical form is that of the same numbers in double."""
    A3 = groups.Affine(3)
    flat = cloud(8, 9, 3, generator) * torch.tensor([1.0, 1e-1, 1e-4])
    turned = (flat @ groups.SpecialOrthogonal(3).haar(8, generator=generator, dtype=torch.float64).mT).float()
    signature = actions.Points(A3) >> actions.Trivial(A3)
    single, double = (coset.symmetrize(lambda x, f=f: f(x).tanh().sum(1), signature) for f in (torch.Tensor.double, torch.clone))
    assert (single(turned) - double(turned.double())).abs().max() < 1e-5
