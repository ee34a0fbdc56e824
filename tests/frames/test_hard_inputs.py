"""Inputs that broke frames: nearly collinear sets, many copies of a point, mixed colours, unsorted ragged batches, one atom among many."""

from __future__ import annotations

import math

import pytest
import torch

import coset
from coset import actions, frames, groups
from coset.errors import FrameError, InputError

O3, E3 = groups.Orthogonal(3), groups.Euclidean(3)


@pytest.mark.parametrize("scale", [1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6])
@pytest.mark.parametrize("frame", [frames.Minimal(colours=frames.UNCOLOURED), frames.PCA()], ids=repr)
def test_nearly_collinear_sets(frame, scale, generator):
    x = torch.randn(512, 6, 3, generator=generator, dtype=torch.float64) * torch.tensor([1, scale, scale])

    def pointwise(x):
        return torch.tanh(x * torch.tensor([1.0, 2 / scale, 3 / scale])) + torch.tensor([0.0, 1, 2])

    model = coset.symmetrize(pointwise, actions.Points(O3) >> actions.Vectors(O3), frame)
    assert (model(-x) + model(x)).abs().max() < 1e-6
    assert (model(x.flip(1)) - model(x).flip(1)).abs().max() < 1e-6


@pytest.mark.parametrize("copies", [5, 50, 250])
def test_copies_of_points_add_no_symmetry(copies, generator):
    frame = frames.Minimal(colours=frames.UNCOLOURED).bind(actions.Points(E3))
    assert frame(torch.randn(1, 4, 3, generator=generator).repeat(1, copies, 1)).order.tolist() == [1]


def coloured(points: torch.Tensor, colours: torch.Tensor) -> int:
    """The order of one coloured cloud under O(3)."""
    frame = frames.Minimal(of="p", colours="q").bind(actions.Dict(p=actions.Points(O3), q=actions.Trivial(O3)))
    return int(frame({"p": points[None], "q": colours[None]}).order)


def test_colours_are_told_apart_whatever_their_size():
    tetrahedron = torch.tensor([[1.0, 1, 1], [-1, -1, 1], [-1, 1, -1], [1, -1, -1]])
    assert coloured(tetrahedron, torch.tensor([1, 2, 3, 10_000_000])) == 1
    assert coloured(tetrahedron, torch.tensor([1.0, 2.0, 3.0, 1e9])) == 1
    assert coloured(tetrahedron, torch.tensor([1, 1, 1, 10_000_000])) == 6
    assert coloured(tetrahedron, torch.eye(4)) == 1
    assert coloured(tetrahedron, torch.full((4,), 0.1) * torch.tensor([1, 1 + 1e-9, 1, 1])) == 24
    square = torch.tensor([[1.0, 0, 0], [0, 1, 0], [-1, 0, 0], [0, -1, 0]]).repeat(2, 1)
    assert coloured(square, torch.tensor([1, 1, 1, 1, 1, 2, 1, 2])) == 8
    with pytest.raises(InputError, match="colours with NaN in samples"):
        coloured(tetrahedron, torch.tensor([1.0, 2.0, torch.nan, 1.0]))


@pytest.mark.parametrize("chunk", [None, 1, 3])
def test_unsorted_ragged_batches_keep_their_rows(chunk, generator):
    source = actions.Dict(pos=actions.Points(E3, batch="batch"))
    model = coset.symmetrize(lambda pos, batch: pos, source >> actions.Points(E3), frames.Minimal(of="pos"), chunk=chunk)
    pos = torch.randn(6, 3, generator=generator)
    assert (model(pos=pos, batch=torch.tensor([1, 0, 1, 2, 0, 2])) - pos).abs().max() < 1e-5


def test_one_atom_does_not_multiply_the_frames_of_others():
    source = actions.Dict(pos=actions.Points(E3, mask="mask"), z=actions.Trivial(E3))
    pos, mask = torch.zeros(2, 5, 3), torch.ones(2, 5, dtype=torch.bool)
    pos[0, :4] = torch.tensor([[1.0, 1, 1], [-1, -1, 1], [-1, 1, -1], [1, -1, -1]])
    mask[1, 1:] = False
    z = torch.tensor([[1, 1, 1, 1, 6]] * 2)
    frame = frames.Minimal(of="pos", colours="z").bind(source, actions.Irreps(E3, "1x4e"))
    measure = frame({"pos": pos, "z": z, "mask": mask})
    assert measure.order.tolist() == [24, -1]
    assert measure.weights.shape[0] == groups.rule(O3, 5).weights.shape[0]  # not 24 times as many


def test_ignored_outputs_come_from_the_first_call(generator):
    x = torch.randn(4, 5, 3, generator=generator)
    target = actions.Dict(a=actions.Vectors(O3), h=actions.Ignore(O3))
    model = coset.symmetrize(lambda x: {"a": x, "h": x}, actions.Points(O3) >> target, frames.PCA())
    first = coset.frames.PCA().bind(actions.Points(O3))(x).elements[0]
    assert torch.allclose(model(x)["h"], actions.Points(O3).act(first.mT, x), atol=1e-5)


def test_plain_pairs_are_elements_too(generator):
    D4, x = groups.Dihedral(4), torch.randn(1, 1, 4, 4, generator=generator)
    k, flip = torch.tensor([1]), torch.tensor([1])
    assert torch.equal(actions.Image(D4).act((k, flip), x), x.flip(-1).rot90(1, (-2, -1)))
    points = torch.randn(1, 2, 3, generator=generator)
    assert torch.allclose(actions.Points(E3).act((torch.eye(3)[None], torch.ones(1, 3)), points), points + 1)


def test_clear_words_for_what_does_not_fit(generator):
    x = torch.randn(2, 4, 3, generator=generator)
    frame = frames.Minimal(of="p", colours=frames.UNCOLOURED)
    with pytest.raises(FrameError, match="leave of= out"):
        frame.bind(actions.Points(O3))
    bound = frames.Minimal(of="p", colours=frames.UNCOLOURED).bind(actions.Dict(p=actions.Points(O3, mask="m")))
    with pytest.raises(InputError, match="a mask of shape"):
        bound({"p": x, "m": torch.ones(2, 3, dtype=torch.bool)})
    ragged = frames.Minimal(of="p").bind(actions.Dict(p=actions.Points(O3, batch="b")))
    with pytest.raises(InputError, match="sample numbers from 0"):
        ragged({"p": x[0], "b": torch.tensor([-1, 0, 0, 0])})
    with pytest.raises(FrameError, match="of shapes"):
        frames.Given(torch.randn(2, 2, 2)).bind(actions.Points(O3))
    with pytest.raises(FrameError, match="2 of 2 are not in Orthogonal"):
        frames.Given(torch.randn(2, 3, 3, generator=generator)).bind(actions.Points(O3))


def test_siblings_are_inputs_and_need_a_dict(generator):
    with pytest.raises(coset.CosetError, match=r"names the sibling 'm'.*a Dict that holds both"):
        actions.Points(O3, mask="m") >> actions.Vectors(O3)
    source = actions.Dict(pos=actions.Points(O3, batch="batch"))
    signature = source >> actions.Dict(f=actions.Vectors(O3, batch="batch"))
    model = coset.symmetrize(lambda pos, batch: {"f": pos}, signature, frames.Minimal(of="pos"))
    assert model(pos=torch.randn(3, 3, generator=generator), batch=torch.tensor([0, 0, 1]))["f"].shape == (3, 3)


def polygon(n, dtype=torch.float64):
    t = torch.arange(n, dtype=torch.float64) * 2 * math.pi / n
    return torch.stack([t.cos(), t.sin(), torch.zeros_like(t)], -1).to(dtype)


@pytest.mark.parametrize("n", [40, 150])
def test_large_polygons_have_all_their_symmetries(n, generator):
    frame = frames.Minimal(colours=frames.UNCOLOURED).bind(actions.Points(groups.Euclidean(3)))
    turned = actions.Points(groups.Euclidean(3)).act(
        groups.Euclidean(3).sample(2, generator=generator, dtype=torch.float64), polygon(n).expand(2, n, 3)
    )
    assert frame(turned[:, torch.randperm(n, generator=generator)]).order.tolist() == [4 * n, 4 * n]


@pytest.mark.parametrize("n", [100, 400])
def test_points_on_one_sphere_have_one_pose_whatever_their_order(n, generator):
    group = groups.Orthogonal(3)
    action = actions.Points(group)
    frame = frames.Minimal(colours=frames.UNCOLOURED).bind(action)
    cloud = torch.nn.functional.normalize(torch.randn(3, n, 3, generator=generator, dtype=torch.float64), dim=-1)
    g, order = group.haar(3, generator=generator, dtype=torch.float64), torch.randperm(n, generator=generator)
    one, two = frame(cloud), frame(action.act(g, cloud)[:, order])
    assert one.order.tolist() == two.order.tolist() == [1, 1, 1]
    assert (g @ one.elements[0] - two.elements[0]).abs().max() < 1e-10


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("fold", [8, 12, 20, 30, 45])
def test_twisted_prisms_differ_from_their_mirror_images(fold, dtype, generator):
    """Slow waves over many-fold symmetric clouds do not tell one hand from the other."""
    samples = 48
    turn = torch.arange(fold, dtype=torch.float64) * 2 * math.pi / fold
    twist = torch.rand(samples, 1, generator=generator, dtype=torch.float64) * 2 * math.pi
    height = (0.2 + 0.6 * torch.rand(samples, 1, generator=generator, dtype=torch.float64)).expand(-1, fold)
    wide = (1 - height**2).sqrt()
    above = torch.stack([wide * torch.cos(turn + twist), wide * torch.sin(turn + twist), height], -1)
    below = torch.stack([wide * torch.cos(turn - twist), wide * torch.sin(turn - twist), -height], -1)
    x = torch.cat([above, below], 1).to(dtype)

    def pointwise(x):
        return torch.tanh(x @ torch.tensor([[1.0, 2, 0], [0, 1, -3], [2, 0, 1]]).to(x) + torch.tensor([0.0, 1, 2]).to(x))

    action = actions.Points(O3)
    model = coset.symmetrize(pointwise, action >> actions.Vectors(O3), frames.Minimal(colours=frames.UNCOLOURED))
    g = O3.sample(samples, generator=generator, dtype=torch.float64).to(dtype)
    order = torch.randperm(2 * fold, generator=generator)
    gap = (model(action.act(g, x)[:, order]) - action.act(g, model(x))[:, order]).abs().max()
    assert gap < (1e-9 if dtype == torch.float64 else 1e-4)
