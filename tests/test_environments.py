"""Models of surroundings: neighbours against all pairs, equivariance, smooth cutoffs, linear cost."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import coset
from coset import actions, frames, groups
from coset.errors import FrameError, InputError, SignatureError
from coset.neighbours import pairs_within

E3, SE3, E2 = groups.Euclidean(3), groups.SpecialEuclidean(3), groups.Euclidean(2)


class Surroundings(nn.Module):
    """sum_j w_j phi(r_j, z_j, z_i), then a layer: it sees directions, so it is not equivariant."""

    def __init__(self, d, out, species=False, dtype=torch.float64):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.one = nn.Parameter(torch.randn(d + 2 * species, 16, generator=generator, dtype=dtype))
        self.two = nn.Parameter(0.3 * torch.randn(16, out, generator=generator, dtype=dtype))

    def forward(self, vectors, weights, z=None, z_center=None):
        if z is not None:
            center = z_center[:, None].expand_as(z)
            vectors = torch.cat([vectors, torch.stack([z, center], -1).to(vectors.dtype)], -1)
        h = (weights[..., None] * torch.tanh(vectors @ self.one)).sum(1)
        return torch.tanh(1 + h) @ self.two


def boxes(counts, d=3, side=4.0, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    pos = side * torch.rand(sum(counts), d, generator=generator, dtype=dtype)
    return pos, torch.arange(len(counts)).repeat_interleave(torch.tensor(counts)), torch.randint(3, (sum(counts),), generator=generator)


# -- neighbours ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize("cutoff", [0.3, 1.0, 20.0])
def test_pairs_are_all_pairs_within_the_cutoff(d, cutoff):
    pos, batch, _ = boxes([40, 1, 25], d)
    shuffle = torch.randperm(len(pos), generator=torch.Generator().manual_seed(1))
    pos, batch = pos[shuffle] - 2, batch[shuffle]
    near = (torch.cdist(pos, pos) < cutoff) & (batch[:, None] == batch) & ~torch.eye(len(pos), dtype=torch.bool)
    i, j = pairs_within(pos, cutoff, batch)
    assert torch.equal(torch.stack([i, j]), near.nonzero().T)


def test_pairs_of_distant_and_of_coincident_points():
    pos = torch.tensor([[0.0, 0, 0], [0, 0, 0], [1e9, -1e9, 1e9], [1e9, -1e9, 1e9]])
    i, j = pairs_within(pos, 1.0)
    assert torch.stack([i, j]).T.tolist() == [[0, 1], [1, 0], [2, 3], [3, 2]]
    assert pairs_within(pos[:1], 1.0)[0].numel() == 0


# -- symmetry --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("group", [E3, SE3, E2], ids=repr)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_outputs_per_point_are_equivariant(group, dtype):
    d = int(group.dim)
    source = actions.Dict(pos=actions.Points(group, batch="batch"), z=actions.Trivial(group), batch=actions.BatchIndex(group))
    pos, batch, z = boxes([12, 1, 2, 9], d, dtype=dtype)
    model = coset.Local(Surroundings(d, d, species=True, dtype=dtype), source >> actions.Vectors(group, points=True), cutoff=1.7)
    x = {"pos": pos, "z": z, "batch": batch}
    at = source.layout(x)
    g = group.sample(4, generator=torch.Generator().manual_seed(2), dtype=dtype)
    with torch.no_grad():
        y, there = model(**x), model(**source.act(g, x, at))
        expected = actions.Vectors(group, points=True).act(g, y, at)
    assert y.shape == pos.shape
    assert float((there - expected).abs().max()) < 200 * torch.finfo(dtype).eps * float(pos.abs().max() + 4)
    assert float(y.std()) > 1e-3


def test_the_bare_model_is_not_equivariant():
    net = Surroundings(3, 3)
    vectors, weights = torch.randn(4, 5, 3, dtype=torch.float64), torch.rand(4, 5, dtype=torch.float64)
    turn = groups.SpecialOrthogonal(3).haar(generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert float((net(vectors @ turn.mT, weights) - net(vectors, weights) @ turn.mT).detach().abs().max()) > 0.01


def test_layouts_agree():
    """Ragged, padded and dense clouds, in any order, all at once or in chunks."""
    pos, batch, z = boxes([6, 4])
    net = Surroundings(3, 3, species=True)
    ragged = actions.Dict(pos=actions.Points(E3, batch="batch"), z=actions.Trivial(E3), batch=actions.BatchIndex(E3))
    padded = actions.Dict(pos=actions.Points(E3, mask="mask"), z=actions.Trivial(E3), mask=actions.PointMask(E3))
    out = actions.Vectors(E3, points=True)
    with torch.no_grad():
        y = coset.Local(net, ragged >> out, 1.7)(pos=pos, z=z, batch=batch)
        shuffle = torch.randperm(10, generator=torch.Generator().manual_seed(0))
        mixed = coset.Local(net, ragged >> out, 1.7, chunk=3)(pos=pos[shuffle], z=z[shuffle], batch=batch[shuffle])
        mask = torch.tensor([[True] * 6, [True] * 4 + [False] * 2])
        table, kinds = torch.zeros(2, 6, 3, dtype=torch.float64), torch.zeros(2, 6, dtype=torch.long)
        table[mask], kinds[mask] = pos, z
        wide = coset.Local(net, padded >> out, 1.7)(pos=table, z=kinds, mask=mask)
        sums = coset.Local(net, padded >> out, 1.7, total=True)(pos=table, z=kinds, mask=mask)
    assert torch.allclose(mixed, y[shuffle], atol=1e-13)
    assert torch.allclose(wide[mask], y, atol=1e-13)
    assert bool((wide[~mask] == 0).all())
    assert torch.allclose(sums, wide.sum(1), atol=1e-13)


@pytest.mark.parametrize("distance", [0.3, 0.8, 0.95, 0.999, 1.0, 2.0])
@pytest.mark.parametrize("group", [E3, SE3, E2], ids=repr)
def test_a_single_neighbour_at_any_distance(group, distance):
    """The whole circle about it is averaged over, also while it is blended with the average over the whole group."""
    d = int(group.dim)
    model = coset.Local(Surroundings(d, d), actions.Points(group) >> actions.Vectors(group, points=True), cutoff=1.0)
    x = torch.zeros(5, 2, d, dtype=torch.float64)
    x[:, 1, 0] = distance
    g = group.sample(5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    with torch.no_grad():
        gap = model(actions.Points(group).act(g, x)) - actions.Vectors(group, points=True).act(g, model(x))
    assert float(gap.abs().max()) < 1e-13


# -- smoothness ------------------------------------------------------------------------------------------------------


def along(model, base, direction, t):
    """Energies and forces along a path."""
    x = (base + t[:, None, None] * direction).requires_grad_()
    y = model(x)
    (force,) = torch.autograd.grad((y * torch.linspace(1, 2, y.shape[-1], dtype=y.dtype)).sum(), x)
    return y.detach().flatten(1), force.flatten(1)


def crossings(n):
    """Clouds of n points near the origin and one that crosses the cutoff 2 of all, some or the last neighbour."""
    generator = torch.Generator().manual_seed(n)
    base = torch.cat([torch.zeros(1, 3), torch.tensor([[2.0, 0, 0]]), 0.7 * torch.randn(max(0, n - 2), 3, generator=generator)])
    direction = torch.zeros(len(base), 3)
    direction[1] = torch.tensor([1.0, 0.3, -0.2])
    return base[None].double(), direction[None].double()


@pytest.mark.parametrize("n", [2, 3, 4, 7])
@pytest.mark.parametrize("target", [actions.Trivial(E3, points=True), actions.Vectors(E3, points=True)], ids=["energy", "vector"])
def test_a_neighbour_that_leaves_changes_nothing_suddenly(n, target):
    """Outputs and gradients along a path across the cutoff: their jumps shrink with the step. With two points the last one leaves."""
    model = coset.Local(Surroundings(3, 3 if isinstance(target, actions.Vectors) else 1), actions.Points(E3) >> target, cutoff=2.0)
    base, direction = crossings(n)
    for start in (0.0, -0.3, -1.0):  # at the cutoff, within the fade, where the fade begins
        jumps = []
        for step in (1e-3, 1e-5):
            t = start + torch.arange(-8, 9, dtype=torch.float64) * step
            jumps.append([float(z.diff(dim=0).norm(dim=1).max()) for z in along(model, base, direction, t)])
        assert all(fine < 0.03 * coarse + 1e-10 for coarse, fine in zip(*jumps, strict=True)), (start, jumps)


def test_a_frame_without_cutoff_jumps_there():
    """The check sees what the cutoff of the frame is for."""
    signature = actions.Points(E3) >> actions.Vectors(E3, points=True)
    model = coset.Local(Surroundings(3, 3), signature, cutoff=2.0, frame=frames.Weighted(of="vectors"))
    base, direction = crossings(3)
    t = torch.arange(-8, 9, dtype=torch.float64) * 1e-7
    assert float(along(model, base, direction, t)[0].diff(dim=0).norm(dim=1).max()) > 1e-3


def test_audits_find_no_jump():
    signature = actions.Points(E3) >> actions.Trivial(E3)
    model = coset.Local(Surroundings(3, 1), signature, cutoff=2.0, total=True)
    x = 2 * torch.rand(3, 6, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    report = coset.audit(model, signature, x, samples=4, layers=False, lie=False)
    assert report.error < 1e-12
    assert report.continuity.word == "continuous"


def test_gradients():
    pos, _, _ = boxes([5], side=2.0)
    model = coset.Local(Surroundings(3, 1), actions.Points(E3) >> actions.Trivial(E3), cutoff=1.9, total=True)
    assert torch.autograd.gradcheck(lambda x: model(x), pos[None].clone().requires_grad_(), fast_mode=True)
    special = torch.stack([torch.zeros(4, 3), torch.arange(4.0)[:, None] * torch.ones(3) / 3, torch.eye(4)[:, :3]]).double()
    special.requires_grad_()
    (force,) = torch.autograd.grad(model(special).sum(), special)
    assert bool(torch.isfinite(force).all())


# -- cost ------------------------------------------------------------------------------------------------------------


def test_the_largest_tensor_grows_linearly():
    """Ten times the points at one density: ten times the model's samples, and no table of n^2 anything."""
    sizes = []

    class Counting(Surroundings):
        def forward(self, vectors, weights):
            sizes.append(vectors.shape[0])
            return super().forward(vectors, weights)

    model = coset.Local(Counting(3, 1), actions.Points(E3) >> actions.Trivial(E3), cutoff=1.0, total=True)
    for n in (200, 2000):
        pos = (n / 4) ** (1 / 3) * torch.rand(1, n, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        with torch.no_grad():
            model(pos)
    assert sizes[1] < 14 * sizes[0]


# -- what does not fit -------------------------------------------------------------------------------------------------


def test_bad_input():
    points = actions.Points(E3)
    net = Surroundings(3, 1)
    with pytest.raises(SignatureError, match="one input of points"):
        coset.Local(net, actions.Dict(pos=points, v=actions.Vectors(E3)) >> actions.Trivial(E3), 1.0)
    with pytest.raises(SignatureError, match="one input of points"):
        coset.Local(net, actions.Image(groups.Cyclic(4)) >> actions.Trivial(groups.Cyclic(4)), 1.0)
    with pytest.raises(SignatureError, match="as signature"):
        coset.Local(net, points, 1.0)
    with pytest.raises(InputError, match="cutoff=0"):
        coset.Local(net, points >> actions.Trivial(E3), 0)
    with pytest.raises(InputError, match="chunk=0"):
        coset.Local(net, points >> actions.Trivial(E3), 1.0, chunk=0)
    with pytest.raises(InputError, match="NaN"):
        coset.Local(net, points >> actions.Trivial(E3), 1.0)(torch.full((1, 2, 3), float("nan")))
    with pytest.raises(FrameError, match=r"coset\.Local"):
        frames.Weighted(cutoff=1.0).bind(points)
    source = actions.Dict(pos=points, z=actions.Trivial(E3))
    with pytest.raises(InputError, match="one entry for each point"):
        coset.Local(net, source >> actions.Trivial(E3), 1.0)(pos=torch.randn(2, 4, 3), z=torch.ones(2))


def test_repr_and_citations():
    model = coset.Local(Surroundings(3, 1), actions.Points(E3) >> actions.Trivial(E3), 1.5)
    assert "cutoff: 1.5" in repr(model)
    assert "Weighted(of='vectors', cutoff=1.5)" in repr(model)
    assert "Pozdnyakov" in coset.cite(model)


def test_nothing_has_no_pairs_and_clouds_of_padding_alone_are_refused():
    i, j = pairs_within(torch.zeros(0, 3), 1.0)
    assert i.shape == j.shape == (0,)
    source = actions.Dict(x=actions.Points(E3, mask="mask"), mask=actions.PointMask(E3))
    model = coset.Local(lambda vectors, weights: weights.sum(1), source >> actions.Trivial(E3), cutoff=1.0)
    with pytest.raises(coset.CosetError, match="all padded"):
        model(x=torch.rand(2, 4, 3), mask=torch.zeros(2, 4, dtype=torch.bool))
