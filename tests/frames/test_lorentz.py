"""Minimal frames of four-momenta: known answers, rapidities up to 6, lightlike and balanced totals, messages."""

from __future__ import annotations

import pytest
import torch

import coset
from coset import actions, frames, groups
from coset.errors import InputError
from coset.groups.lorentz import boost, embed_rotation, metric
from coset.groups.matrix import haar_rotation

L4 = groups.Lorentz(4)
FAMILY = [groups.Lorentz(4), groups.SpecialLorentz(4), groups.ProperLorentz(4)]
UNORDERED = frames.Minimal(colours=frames.UNCOLOURED)
over_groups = pytest.mark.parametrize("group", FAMILY, ids=repr)
over_frames = pytest.mark.parametrize("frame", [frames.Minimal(), UNORDERED], ids=repr)


def jets(batch, n, generator, mass=0.0, d=4, dtype=torch.float64):
    p = torch.randn(batch, n, d - 1, generator=generator, dtype=torch.float64)
    return torch.cat([(p.square().sum(-1, keepdim=True) + mass**2).sqrt(), p], -1).to(dtype)


def at_rapidity(group, rapidity, batch, generator):
    """Rotation, boost of one rapidity, rotation."""
    left, right = (embed_rotation(haar_rotation(group.dim - 1, (batch,), generator, None)) for _ in range(2))
    return left @ boost(group.dim, torch.full((batch, 1), rapidity, dtype=torch.float64)) @ right


def pooled(x):
    """A set network of absolute coordinates, one score and one vector."""
    w = torch.linspace(-1, 1, 4 * x.shape[-1], dtype=x.dtype).reshape(x.shape[-1], 4).sin()
    return torch.tanh(x @ w).mean(-2)


def wrapped(group, frame, target=None):
    return coset.symmetrize(pooled, actions.Points(group) >> (target or actions.Trivial(group)), frame)


# -- known answers -------------------------------------------------------------------------------------------------


@over_frames
@over_groups
@pytest.mark.parametrize("rapidity", [0.0, 1, 2, 3, 4, 5, 6])
def test_invariant_to_rapidity_six(group, frame, rapidity, generator):
    x = jets(32, 12, generator)
    model = wrapped(group, frame)
    moved = actions.Points(group).act(at_rapidity(group, rapidity, 32, generator), x)
    assert (model(moved) - model(x)).abs().max() < 1e-8


@over_groups
def test_components_of_the_group(group, generator):
    x = jets(16, 8, generator, mass=0.5)
    act = actions.Vectors(group).act
    model = wrapped(group, frames.Minimal(), actions.Vectors(group, points=False))
    for axes in group.flips().values():
        flip = torch.eye(4, dtype=torch.float64)
        flip[list(axes), list(axes)] = -1
        assert (model(act(flip[None], x)) - act(flip[None], model(x))).abs().max() < 1e-12
    if "time reversal" not in group.flips():
        assert (model(-x) + model(x)).abs().max() > 1e-3


def test_symmetrized_models_are_functions_of_minkowski_products(generator):
    x = jets(2, 5, generator, mass=0.3)
    model = wrapped(L4, frames.Minimal())
    eta = metric(4, torch.float64)
    h = L4.sample(2, generator=generator, dtype=torch.float64)
    moved = actions.Points(L4).act(h, x)
    products = x * eta @ x.mT
    assert torch.allclose(moved * eta @ moved.mT, products, rtol=1e-9, atol=1e-9)
    assert (model(moved) - model(x)).abs().max() < 1e-10
    values = torch.autograd.functional.jacobian(lambda x: model(x[None])[0], x[0])  # orthogonal to the directions of the group
    for generator_ in L4.algebra(dtype=torch.float64):
        along = x[0] @ generator_.mT
        assert (values * along).sum((-2, -1)).abs().max() < 1e-9
    assert values.abs().max() > 1e-3


def test_canonical_inputs_are_at_rest(generator):
    x = jets(8, 6, generator)
    found = frames.Minimal().bind(actions.Points(L4))(x)
    total = actions.Points(L4).act(L4.inverse(found.elements[0]), x).sum(1)
    mass = (x.sum(1).square() * metric(4)).sum(-1).sqrt()
    assert torch.allclose(total, torch.nn.functional.pad(mass[:, None], (0, 3)), atol=1e-12)


@pytest.mark.parametrize("d", [2, 3, 4, 5, 7])
def test_every_dimension_keeps_the_metric(d, generator):
    group = groups.Lorentz(d)
    g = frames.Minimal().bind(actions.Points(group))(jets(16, 9, generator, d=d)).elements[0]
    eta = torch.diag(metric(d, torch.float64))
    assert (g.mT @ eta @ g - eta).abs().max() < 1e-12


def test_systems_at_rest_take_the_frame_of_rotations(generator):
    x = jets(4, 6, generator)
    x = torch.cat([x, x * torch.tensor([1.0, -1, -1, -1])], 1)  # no total momentum
    turn = frames.Minimal().bind(actions.Points(groups.Orthogonal(3)))(x[..., 1:]).elements
    found = frames.Minimal().bind(actions.Points(L4))(x).elements
    assert torch.allclose(found, embed_rotation(turn), atol=1e-12)


def test_symmetry_is_judged_at_rest(generator):
    corners = torch.tensor([[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]], dtype=torch.float64)
    x = torch.cat([torch.full((4, 1), 3.0, dtype=torch.float64), corners], -1)[None]
    moved = actions.Points(L4).act(at_rapidity(L4, 3.0, 1, generator), x)
    for group, order in ((groups.ProperLorentz(4), 12), (groups.SpecialLorentz(4), 12), (L4, 24)):
        assert UNORDERED.bind(actions.Points(group))(moved).order.tolist() == [order]
    different = moved.clone()
    different[0, 0, 0] *= 1.01  # an energy of its own
    assert UNORDERED.bind(actions.Points(groups.ProperLorentz(4)))(different).order.tolist() == [1]
    energies = torch.cat([torch.tensor([[4.0], [3], [3], [3]], dtype=torch.float64), corners], -1)[None]
    assert UNORDERED.bind(actions.Points(groups.ProperLorentz(4)))(energies).order.tolist() == [3]


def test_float32_momenta_are_boosted_in_float64(generator):
    x = jets(64, 20, generator, dtype=torch.float32)
    found = frames.Minimal().bind(actions.Points(L4))(x).elements
    exact = frames.Minimal().bind(actions.Points(L4))(x.double()).elements
    assert found.dtype == torch.float64
    assert torch.equal(found, exact)


@pytest.mark.parametrize("kind", ["padded", "ragged"])
def test_padding_changes_nothing(kind, generator):
    lengths = torch.tensor([7, 3, 2])
    mask = torch.arange(7)[None] < lengths[:, None]
    x = jets(3, 7, generator) * mask[..., None]
    single = [frames.Minimal().bind(actions.Points(L4))(x[b : b + 1, : lengths[b]]).elements for b in range(3)]
    if kind == "padded":
        bound = frames.Minimal(of="p").bind(actions.Dict(p=actions.Points(L4, mask="mask")))
        found = bound({"p": x, "mask": mask})
    else:
        bound = frames.Minimal(of="p").bind(actions.Dict(p=actions.Points(L4, batch="batch")))
        found = bound({"p": x[mask], "batch": torch.arange(3).repeat_interleave(lengths)})
    assert torch.allclose(found.elements[:1], torch.cat(single, 1)[:1], atol=1e-12)


def test_beams_lift_what_momenta_leave_open(generator):
    source = actions.Dict(p=actions.Points(L4), beam=actions.Vectors(L4))
    beam = torch.tensor([[[1.0, 0, 0, 1], [1.0, 0, 0, -1]]], dtype=torch.float64)
    photon = torch.tensor([[[2.0, 0, 2, 0]]], dtype=torch.float64)
    model = coset.symmetrize(
        lambda p, beam: pooled(p) + pooled(beam), source >> actions.Vectors(L4, points=False), frames.Minimal(of=("p", "beam"))
    )
    g = at_rapidity(L4, 2.0, 1, generator)
    moved = source.act(g, {"p": photon, "beam": beam})
    expected = actions.Vectors(L4).act(g, model(p=photon, beam=beam))
    assert (model(**moved) - expected).abs().max() < 1e-10


# -- lightlike, balanced and empty totals ----------------------------------------------------------------------------


@over_groups
def test_parallel_massless_vectors_have_invariants(group, generator):
    n = torch.nn.functional.normalize(torch.randn(5, 1, 3, generator=generator, dtype=torch.float64), dim=-1)
    share = torch.rand(5, 4, 1, generator=generator, dtype=torch.float64) + 0.1
    x = share * torch.cat([torch.ones(5, 1, 1), n], -1)
    assert (frames.Minimal().bind(actions.Points(group))(x).order == -1).all()
    h = at_rapidity(group, 1.0, 5, generator)
    for frame in (frames.Minimal(), UNORDERED):
        model = wrapped(group, frame)
        assert (model(actions.Points(group).act(h, x)) - model(x)).abs().max() < 1e-12
        assert (model(5 * x[:, :1]) - model(x[:, :1])).abs().max() < 1e-12  # boosts scale a massless vector
        assert (model(x) - model(x[:, :1])).abs().max() > 1e-3
        vector = wrapped(group, frame, actions.Vectors(group, points=False))
        with pytest.raises(InputError, match=r"samples \[0, 1, 2, 3, 4\].*total momentum is lightlike.*To do: drop these samples"):
            vector(x)


def test_two_dimensions_have_no_null_rotations(generator):
    group = groups.Lorentz(2)
    x = torch.tensor([[[1.0, 1.0], [2.0, 2.0]]], dtype=torch.float64)
    model = coset.symmetrize(lambda x: torch.tanh(x).sum(1), actions.Points(group) >> actions.Vectors(group, points=False))
    h = at_rapidity(group, 0.7, 1, generator)
    act = actions.Vectors(group).act
    assert (model(act(h, x)) - act(h, model(x))).abs().max() < 1e-12
    assert frames.Minimal().bind(actions.Points(group))(x).order.tolist() == [1]


@over_groups
def test_empty_samples(group):
    x = torch.zeros(2, 3, 4, dtype=torch.float64)
    model = wrapped(group, frames.Minimal())
    assert torch.allclose(model(x), pooled(x))
    with pytest.raises(InputError, match="all of them are zero"):
        wrapped(group, frames.Minimal(), actions.Vectors(group, points=False))(x)


@over_frames
@over_groups
def test_all_outgoing_amplitudes(group, frame, generator):
    out = jets(6, 4, generator, mass=0.2)
    total = out.sum(1)
    mass = (total.square() * metric(4)).sum(-1).sqrt()
    # two incoming particles of unlike mass: p1 + p2 = total, counted with negative energy
    incoming = torch.stack([0.3 * total, 0.7 * total], 1)
    x = torch.cat([out, -incoming], 1)
    assert x.sum(1).abs().max() < 1e-12 < mass.min()
    model = wrapped(group, frame, actions.Vectors(group, points=False))
    g = group.sample(6, generator=generator, dtype=torch.float64)
    act = actions.Vectors(group).act
    assert (model(act(g, x)) - act(g, model(x))).abs().max() < 1e-10
    assert torch.isfinite(torch.autograd.functional.jacobian(lambda x: model(x).sum(0), x)).all()


def test_sets_that_do_not_tell_how_time_runs(generator):
    out = jets(1, 2, generator, mass=0.2)
    out = torch.cat([out, out * torch.tensor([1.0, -1, -1, -1])], 1)
    x = torch.cat([out, -out], 1)
    model = wrapped(L4, UNORDERED)
    with pytest.raises(InputError, match=r"samples \[0\] whose positive and negative energies are the same set.*use ProperLorentz"):
        model(x)
    proper = wrapped(groups.ProperLorentz(4), UNORDERED)
    h = at_rapidity(L4, 1.0, 1, generator)
    assert (proper(actions.Points(L4).act(h, x)) - proper(x)).abs().max() < 1e-10
    ordered = wrapped(L4, frames.Minimal())
    assert (ordered(-x) - ordered(x)).abs().max() < 1e-10


# -- bad input -------------------------------------------------------------------------------------------------------


@over_frames
def test_time_has_to_come_first(frame, generator):
    x = jets(3, 6, generator, mass=0.1).roll(-1, -1)  # px, py, pz, E
    with pytest.raises(
        InputError,
        match=r"total momentum that is spacelike in samples \[0, 1, 2\]; the last of the 4 coordinates would be a time.*"
        r"Expected: vectors of Lorentz\(4\) with time first.*To do: move the energy to the front, for instance p.roll\(1, -1\)",
    ):
        wrapped(L4, frame)(x)
    assert torch.isfinite(wrapped(L4, frame)(x.roll(1, -1))).all()


def test_spacelike_and_lightlike_totals(generator):
    spacelike = torch.tensor([[[1.0, 3, 0, 0], [1.0, 0, 2, 0]]])
    with pytest.raises(InputError, match=r"spacelike in samples \[0\]\. Expected"):
        wrapped(L4, frames.Minimal())(spacelike)
    null = torch.tensor([[[1.0, 3, 0, 0], [1.0, -1, 0, 0]]])  # a spacelike one with a lightlike sum
    with pytest.raises(InputError, match="lightlike, with vectors that are not parallel"):
        wrapped(L4, frames.Minimal())(null)
    with pytest.raises(InputError, match="NaN or infinite"):
        wrapped(L4, frames.Minimal())(torch.full((1, 2, 4), torch.nan))
    with pytest.raises(InputError, match=r"complex.*real data for Lorentz\(4\)"):
        wrapped(L4, frames.Minimal())(torch.ones(1, 2, 4, dtype=torch.complex64))
    with pytest.raises(InputError, match=r"last axes \(4,\)"):
        wrapped(L4, frames.Minimal())(torch.ones(1, 2, 3))


def test_the_default_choice(generator):
    model = coset.symmetrize(lambda x: x.sum(1), actions.Points(L4) >> actions.Vectors(L4, points=False))
    assert "Minimal() (the cheapest exact frame: one model call" in repr(model)
    set_ = coset.symmetrize(lambda x: x.flatten(1), actions.Points(groups.Symmetric() * L4) >> actions.Trivial(groups.Symmetric() * L4))
    x = jets(3, 5, generator)
    assert (set_(x) - set_(x[:, torch.randperm(5, generator=generator)])).abs().max() < 1e-10


@pytest.mark.parametrize("rapidity", [0.0, 1.5, 3.0])
def test_other_inputs_are_compared_at_rest(rapidity, generator):
    """A tensor that breaks the symmetry of the momenta by one percent counts, however fast they move."""
    group = L4
    flat = torch.tensor(
        [[3.0, 1, 0, 0], [2, 0, 1, 0], [4, -1, 2, 0]], dtype=torch.float64
    )  # O(1, 3) has a mirror that leaves a plane alone
    p, metric_like = flat[None], torch.eye(4, dtype=torch.float64)[None]
    source = actions.Dict(p=actions.Points(group), t=actions.Tensors(group, 2, points=False))
    model = coset.symmetrize(lambda p, t: t[:, 0] + pooled(p), source >> actions.Vectors(group, points=False), frames.Minimal(of="p"))
    for tilt, cosets in ((0.0, 1), (0.01, 2)):
        t = metric_like.clone()
        t[:, 0, 3] = tilt
        x = {"p": p, "t": t}
        h = at_rapidity(group, rapidity, 1, generator)
        moved = source.act(h, x)
        _, stats = model(**moved, return_stats=True)
        assert stats.cosets == cosets
        assert (model(**moved) - actions.Vectors(group).act(h, model(**x))).abs().max() < 1e-9


def test_audits_of_jets(generator):
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(24, 1)).double()
    signature = actions.Points(L4) >> actions.Trivial(L4)
    before, after = (coset.audit(model, signature, jets(16, 6, generator)) for model in (net, coset.symmetrize(net, signature)))
    assert before.error > 0.1
    assert after.passed(1e-11)
    assert "refuses inputs on the paths" in after.continuity.how  # a cloud pulled through a mirror leaves the light cone


@over_frames
@pytest.mark.parametrize("rapidity", [2.0, 4.0])
def test_single_precision_loses_no_more_than_its_inputs_did(frame, rapidity, generator):
    """Boosts are multiplied in double precision, so the canonical form of rounded momenta is that of the same numbers in double."""
    G = groups.ProperLorentz(4)
    fast = actions.Points(G).act(at_rapidity(G, rapidity, 8, generator), jets(8, 12, generator)).float()
    single = coset.symmetrize(lambda x: pooled(x.double()), actions.Points(G) >> actions.Trivial(G), frame)
    assert (single(fast) - wrapped(G, frame)(fast.double())).abs().max() < 1e-6
