"""Weighted frames: what they find on small clouds, that they are continuously differentiable, what they refuse."""

from __future__ import annotations

import pytest
import torch

from coset import Symmetrized, actions, frames, groups, symmetrize
from coset.errors import FrameError, InputError
from coset.frames.pruning import compact, length, smooth_cut, smooth_step
from tests.frames import laws
from tests.zoo.frames import case as make_case
from tests.zoo.frames import clouds, everything, linear_groups, vectors

GROUPS = [*linear_groups(2), *linear_groups(3)]
over_groups = pytest.mark.parametrize("group", GROUPS, ids=repr)


# -- smooth pruning --------------------------------------------------------------------------------------------------


def test_the_cut_keeps_the_largest_weight_and_sums_to_one(generator):
    weights = torch.rand(50, 7, generator=generator, dtype=torch.float64) + 1e-3
    for cut in (0.0, 0.3, 0.9, 0.999):
        found = smooth_cut(weights, cut)
        assert torch.allclose(found.sum(-1), torch.ones(50, dtype=torch.float64))
        assert bool((found.argmax(-1) == weights.argmax(-1)).all())
        assert bool((found[weights < cut * weights.amax(-1, keepdim=True) * 0.3] == 0).all())
    assert torch.equal(smooth_cut(torch.zeros(2, 3), 0.5), torch.zeros(2, 3))
    assert torch.allclose(smooth_cut(torch.tensor([3.0, 1.0]), 0.0), torch.tensor([0.9, 0.1]))


def test_the_cut_does_not_depend_on_the_unit(generator):
    weights = torch.rand(5, 7, generator=generator, dtype=torch.float64)
    for scale in (1e-200, 1e-6, 1e200):
        assert torch.allclose(smooth_cut(weights * scale, 0.5), smooth_cut(weights, 0.5), rtol=1e-12)


def test_the_cut_has_the_right_gradient_and_a_continuous_one(generator):
    weights = torch.rand(5, 7, generator=generator, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda w: smooth_cut(w, 0.5), weights)
    t = torch.linspace(0, 1, 4001, dtype=torch.float64, requires_grad=True)
    found = smooth_cut(torch.stack([torch.full_like(t, 0.6), t, 1 - t], -1), 0.5)  # the largest changes hands twice
    (slope,) = torch.autograd.grad(found[:, 1].sum(), t)
    jumps = [float(slope[::step].diff().abs().max()) for step in (4, 2, 1)]
    assert jumps[2] < 0.6 * jumps[1] < 0.4 * jumps[0]


def test_steps_and_lengths_at_their_ends():
    t = torch.tensor([-1.0, 0.0, 0.5, 1.0, 2.0], dtype=torch.float64)
    assert smooth_step(t).tolist() == [0, 0, 0.5, 1, 1]
    x = torch.zeros(2, 3, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(length(x).sum(), x)
    assert torch.equal(slope, torch.zeros_like(slope))


def test_compacting_keeps_positive_weights_in_order():
    weights = torch.tensor([[0.0, 0.3, 0.0, 0.7], [0.0, 0.0, 0.0, 1.0], [0.0, 0.0, 0.0, 0.0]])
    found, where = compact(weights, static=False)
    assert (
        found.tolist()
        == weights[:, [1, 3]].clone().index_put((torch.tensor([1, 1]), torch.tensor([0, 1])), torch.tensor([1.0, 0.0])).tolist()
    )
    assert where[0].tolist() == [1, 3]
    assert where[1, 0] == 3


# -- known measures --------------------------------------------------------------------------------------------------


def test_the_plane_by_hand():
    """Weights relu(|x| - cut W)^2 with W = sum |x|^7 / sum |x|^6; every point on the first axis."""
    x = torch.tensor([[[3.0, 4.0], [0.0, 4.0], [-1.0, 0.0]]], dtype=torch.float64)
    found = frames.Weighted(cut=0.5).bind(actions.Points(groups.SpecialOrthogonal(2)))(x)
    sizes = torch.tensor([5.0, 4.0, 1.0], dtype=torch.float64)
    expected = (sizes - 0.5 * (sizes**7).sum() / (sizes**6).sum()).relu() ** 2
    assert torch.allclose(found.weights[:, 0], (expected / expected.sum())[:2])
    first = torch.einsum("kij,j->ki", found.elements[:, 0].mT, x[0, 0])
    assert torch.allclose(first[0], torch.tensor([5.0, 0.0], dtype=torch.float64))
    assert found.cosets == 2
    assert found.order.tolist() == [2]


@over_groups
def test_counts_at_symmetric_clouds(group):
    """A regular polygon under SO(2): one element per corner, and its mirror images under O(2); a line under SO(3): infinite."""
    d = int(group.dim)
    if d == 2:
        t = torch.arange(5, dtype=torch.float64) * 2 * torch.pi / 5
        polygon = torch.stack([t.cos(), t.sin()], -1)[None]
        assert frames.Weighted().bind(actions.Points(group))(polygon).order.tolist() == [10 if group.reflects else 5]
        return
    line = torch.tensor([-2.0, -1.0, 0.0, 3.0], dtype=torch.float64)[None, :, None] * torch.tensor([1.0, 2.0, -1.0], dtype=torch.float64)
    tetrahedron = torch.tensor([[[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]], dtype=torch.float64)
    bound = frames.Weighted().bind(actions.Points(group))
    assert bound(line).order.tolist() == [-1]
    assert bound(tetrahedron).order.tolist() == [24 if group.reflects else 12]
    assert bound(torch.zeros(1, 4, 3, dtype=torch.float64)).order.tolist() == [-1]


def test_strengths_choose_the_points(generator):
    """With one point a hundred times as strong, every element puts it on the first axis."""
    group = groups.Euclidean(3)
    source = actions.Dict(pos=actions.Points(group), m=actions.Trivial(group))
    x = torch.randn(3, 6, 3, generator=generator, dtype=torch.float64)
    m = torch.ones(3, 6)
    m[:, 2] = 1000.0
    found = frames.Weighted(of="pos", strengths="m").bind(source)({"pos": x, "m": m})
    centred = x - x.mean(1, keepdim=True)
    form = torch.einsum("kbij,bi->kbj", found.elements[0], centred[:, 2])
    assert torch.allclose(form[..., 1:][found.weights > 0], torch.zeros(1, dtype=torch.float64), atol=1e-12)
    assert bool((form[..., 0][found.weights > 0] > 0).all())
    plain = frames.Weighted(of="pos").bind(source)({"pos": x, "m": m})
    assert int((found.weights > 0).sum()) < int((plain.weights > 0).sum())


def test_a_higher_cut_leaves_fewer_elements(generator):
    x = torch.randn(8, 12, 3, generator=generator, dtype=torch.float64)
    counts = [
        int((frames.Weighted(cut=cut).bind(actions.Points(groups.Euclidean(3)))(x).weights > 0).sum()) for cut in (0.0, 0.5, 0.7, 0.9)
    ]
    assert counts == sorted(counts, reverse=True)
    assert counts[3] < counts[0] / 8


@over_groups
def test_the_order_of_points_does_not_matter(group, generator):
    d = int(group.dim)
    case = make_case(frames.Weighted(), actions.Points(group), everything(group), clouds(d), unordered=True)
    x = case.make(generator, torch.float64)
    assert laws.permutation_gap(laws.wrap(case, torch.float64), case, x, generator, torch.float64) < 1e-13


# -- continuity ------------------------------------------------------------------------------------------------------


def base_clouds(d, generator):
    """Clouds at which elements, weights or stabilizers change."""
    generic = torch.randn(6, d, generator=generator, dtype=torch.float64)
    line = torch.tensor([-2.0, -1, -0.5, 0.5, 1, 2.5], dtype=torch.float64)[:, None] * torch.randn(
        1, d, generator=generator, dtype=torch.float64
    )
    flat, merged, centre = generic.clone(), generic.clone(), generic.clone()
    flat[:, -1], merged[1], centre[1] = 0.0, merged[0], 0.0
    cross = torch.cat([torch.eye(d), -torch.eye(d), 2 * torch.eye(d)])[:6].to(torch.float64)
    return {"generic": generic, "collinear": line, "flat": flat, "merged": merged, "point at the centre": centre, "cross": cross}


def slopes(model, base, direction, step):
    """Output and gradient jumps along base + t * direction between neighbouring t, relative to their sizes."""
    t = torch.arange(-8, 9, dtype=torch.float64) * step
    x = (base + t[:, None, None] * direction).requires_grad_()
    y = model(x)
    total = sum((leaf * torch.linspace(1, 2, leaf[0].numel(), dtype=leaf.dtype).reshape(leaf[0].shape)).sum() for leaf in y.values())
    (slope,) = torch.autograd.grad(total, x)
    both = [torch.cat([leaf.detach().flatten(1) for leaf in y.values()], 1), slope.flatten(1)]
    return [float(z.diff(dim=0).norm(dim=1).max() / z.norm(dim=1).mean()) for z in both]


@over_groups
def test_outputs_and_gradients_are_continuous_everywhere(group, generator):
    """The largest jump shrinks with the step, of outputs (vectors, tensors, energies) and of their gradients."""
    d = int(group.dim)
    case = make_case(frames.Weighted(cut=0.5), actions.Points(group), everything(group), clouds(d))
    model = laws.wrap(case, torch.float64)
    for name, base in base_clouds(d, generator).items():
        direction = torch.randn(6, d, generator=generator, dtype=torch.float64)
        coarse, fine = (slopes(model, base, direction, step) for step in (1e-4, 1e-6))
        for a, b in zip(coarse, fine, strict=True):
            assert b < 0.03 * a + 1e-9, (name, coarse, fine)


@pytest.mark.parametrize("frame", [frames.Minimal(), frames.PCA()], ids=repr)
def test_other_frames_jump(frame, generator):
    """The check sees discontinuities: minimal and PCA frames keep a jump at a collinear cloud however small the step."""
    group = groups.SpecialOrthogonal(3)
    case = make_case(frame, actions.Points(group), everything(group), clouds(3))
    base = base_clouds(3, generator)["collinear"]
    found = [
        slopes(laws.wrap(case, torch.float64), base, torch.randn(6, 3, generator=generator, dtype=torch.float64), h)[0]
        for h in (1e-2, 5e-3)
    ]
    assert min(found) > 0.02


def test_invariant_outputs_are_continuous_at_coincident_points(generator):
    group = groups.Euclidean(3)
    case = make_case(frames.Weighted(), actions.Points(group), {None: next(iter(vectors(group).values()))}, clouds(3))
    energy = laws.wrap(case, torch.float64)
    model = Symmetrized(lambda x: energy.model(x).square().sum((1, 2)), actions.Points(group) >> actions.Trivial(group), frames.Weighted())
    x = torch.randn(1, 6, 3, generator=generator, dtype=torch.float64)
    values = [float(model(x * h).detach()) for h in (1e-3, 1e-6, 0.0)]
    assert abs(values[0] - values[2]) < 1e-2 * abs(values[2])
    assert abs(values[1] - values[2]) < 1e-5 * abs(values[2])


# -- forces ----------------------------------------------------------------------------------------------------------


def test_forces_are_equivariant_and_torque_free(generator):
    group = groups.Euclidean(3)
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(15, 20), torch.nn.Tanh(), torch.nn.Linear(20, 1)).double()
    model = symmetrize(net, actions.Points(group) >> actions.Trivial(group), frames.Weighted())
    tetrahedron = torch.tensor([[0.0, 0, 0], [1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]], dtype=torch.float64)
    for x in (torch.randn(2, 5, 3, generator=generator, dtype=torch.float64), tetrahedron[None]):
        x = x.requires_grad_()
        (force,) = torch.autograd.grad(model(x).sum(), x)
        assert float(force.sum(1).abs().max()) < 1e-13
        assert float(torch.linalg.cross(x.detach(), force).sum(1).abs().max()) < 1e-12


# -- what does not fit -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: frames.Weighted(cut=1.0), r"Weighted\(cut=1.0\).*0 <= cut < 1"),
        (lambda: frames.Weighted(cut=-0.1), "0 <= cut < 1"),
        (lambda: frames.Weighted(width=0), r"Weighted\(width=0\)"),
        (lambda: frames.Weighted().bind(actions.Points(groups.Orthogonal(4))), r"dimension 2 or 3.*Minimal"),
        (lambda: frames.Weighted().bind(actions.Trivial(groups.Orthogonal(3))), "points or vectors"),
        (lambda: frames.Weighted().bind(actions.Vectors(groups.Euclidean(3))), "points or vectors"),
        (lambda: frames.Weighted().bind(actions.Points(groups.Symmetric() * groups.Euclidean(3))), r"Chain\(frames.Weighted"),
    ],
)
def test_constructions_that_do_not_fit(build, message):
    with pytest.raises(FrameError, match=message):
        build()


def test_strengths_that_do_not_fit():
    group = groups.Euclidean(3)
    source = actions.Dict(pos=actions.Points(group), m=actions.Trivial(group))
    bound = frames.Weighted(of="pos", strengths="m").bind(source)
    x = torch.randn(2, 4, 3)
    with pytest.raises(InputError, match="one number per point"):
        bound({"pos": x, "m": torch.ones(2, 3)})
    with pytest.raises(InputError, match=r"not positive.*small"):
        bound({"pos": x, "m": torch.zeros(2, 4)})
    assert bound({"pos": x, "m": torch.ones(2, 4, 1)}).cosets == bound({"pos": x, "m": torch.ones(2, 4)}).cosets
    with pytest.raises(FrameError, match="key of an invariant input"):
        frames.Weighted(of="pos", strengths="mass").bind(source)
    with pytest.raises(FrameError, match="key of an invariant input"):
        frames.Weighted(strengths="pos").bind(source)


def test_tensors_beside_a_line_are_refused():
    group = groups.Euclidean(3)
    source = actions.Dict(pos=actions.Points(group), t=actions.Tensors(group, 2, points=False))
    bound = frames.Weighted(of="pos").bind(source)
    line = torch.tensor([-1.0, 0.0, 2.0])[None, :, None] * torch.ones(3)
    with pytest.raises(InputError, match=r"collinear or coincident.*'t'"):
        bound({"pos": line, "t": torch.randn(1, 3, 3)})
    assert bound({"pos": line, "t": torch.zeros(1, 3, 3)}).order.tolist() == [-1]


def test_a_chain_with_a_sort_covers_a_product(generator):
    group = groups.Symmetric() * groups.SpecialEuclidean(3)
    frame = frames.Chain(frames.Weighted(), frames.Sort())
    case = make_case(frame, actions.Points(group), vectors(group), clouds(3), exact=True)
    x = case.make(generator, torch.float64)
    assert laws.equivariance_gap(laws.wrap(case, torch.float64), case, x, generator, torch.float64) < 1e-12
