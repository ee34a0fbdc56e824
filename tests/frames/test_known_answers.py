"""What is known beforehand: orders of symmetry groups, exactness on a grid of degenerate clouds, forces, broken symmetries."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from ase.collections import g2

from coset import Symmetrized, actions, frames, groups, symmetrize
from coset.actions.trees import call
from coset.errors import InputError
from coset.tree import leaves, tree_map
from tests.frames import clouds
from tests.zoo.frames import Net, Out, everything

O2, SO2 = groups.Orthogonal(2), groups.SpecialOrthogonal(2)
O3, SO3, E3, SE3 = groups.Orthogonal(3), groups.SpecialOrthogonal(3), groups.Euclidean(3), groups.SpecialEuclidean(3)
DTYPES = [torch.float32, torch.float64]
over_dtypes = pytest.mark.parametrize("dtype", DTYPES, ids=["f32", "f64"])
over_groups = pytest.mark.parametrize("group", [O3, SO3, E3, SE3], ids=repr)
NAMES = list(g2.names)
MOLECULES = [clouds.named(name) for name in NAMES]
EVERY = frames.Minimal(of="pos", colours="z")
SET = frames.Minimal(colours=frames.UNCOLOURED)

SYMMETRY_NUMBERS = {
    **dict.fromkeys(("CH4", "SiH4", "CCl4", "CF4", "SiCl4", "SiF4", "C6H6"), 12),
    **dict.fromkeys(("C2H6", "Si2H6", "BF3", "BCl3", "AlF3", "AlCl3", "CH3", "C3H6_D3h", "2-butyne"), 6),
    **dict.fromkeys(("C2H4", "C2F4", "C2Cl4", "C3H4_D2d", "C5H8", "cyclobutane"), 4),
    **dict.fromkeys(
        ("NH3", "PH3", "NF3", "PF3", "CH3Cl", "HCCl3", "HCF3", "CH3CN", "CF3CN", "isobutane", "C3H9N", "CH3SiH3", "C3H4_C3v"), 3
    ),
    **dict.fromkeys(
        (
            "H2O",
            "SH2",
            "SO2",
            "NO2",
            "O3",
            "H2CO",
            "H2O2",
            "N2H4",
            "C5H5N",
            "C4H4O",
            "C4H4S",
            "C4H4NH",
            "butadiene",
            "trans-butane",
            "C3H8",
            "OCHCHO",
        ),
        2,
    ),
    **dict.fromkeys(("CH3OH", "CH3SH", "HOCl", "ClNO", "HCOOH", "CH3CHO", "CH3NO2", "H3CNH2", "C2H6CHOH", "CH3CH2OH"), 1),
    **dict.fromkeys(("CO2", "CO", "N2", "HCN", "C2H2", "OCS", "N2O", "CS2", "H", "Be", "Na2", "NCCN"), -1),
}
POINT_GROUPS = {
    **dict.fromkeys(("CH4", "CCl4", "C6H6"), 24),
    **dict.fromkeys(("BF3", "C2H6", "CH3", "2-butyne"), 12),
    **dict.fromkeys(("C2H4", "C3H4_D2d", "C5H8"), 8),
    **dict.fromkeys(("NH3", "CH3Cl", "isobutane"), 6),
    **dict.fromkeys(("H2O", "H2CO", "butadiene", "C3H8", "OCHCHO"), 4),
    **dict.fromkeys(("H2O2", "N2H4", "HOCl", "CH3OH"), 2),
    **dict.fromkeys(("C2H6CHOH",), 1),
    **dict.fromkeys(("CO2", "CO", "HCN", "H"), -1),
}


def orders(batch, group, tol=1e-4):
    """The orders that the frame finds in a padded batch."""
    return EVERY_AT(tol).bind(clouds.padded_source(group))(batch).order.tolist()


def EVERY_AT(tol):
    return frames.Minimal(of="pos", colours="z", tol=tol)


# -- orders ----------------------------------------------------------------------------------------------------------


def test_symmetry_numbers_of_well_known_molecules():
    assert len(SYMMETRY_NUMBERS) > 60
    found = dict(zip(NAMES, orders(clouds.pad(MOLECULES), SE3), strict=True))
    assert {name: found[name] for name in SYMMETRY_NUMBERS} == SYMMETRY_NUMBERS
    found = dict(zip(NAMES, orders(clouds.pad(MOLECULES), E3), strict=True))
    assert {name: found[name] for name in POINT_GROUPS} == POINT_GROUPS


@pytest.mark.parametrize(("group", "reflect"), [(SE3, False), (E3, True)], ids=["rotations", "with reflections"])
def test_orders_of_all_molecules_agree_with_a_search_by_brute_force(group, reflect):
    expected = [clouds.order(cloud, reflect) for cloud in MOLECULES]
    assert sum(order > 0 for order in expected) > 110
    assert dict(zip(NAMES, orders(clouds.pad(MOLECULES), group), strict=True)) == dict(zip(NAMES, expected, strict=True))


def test_reflections_double_the_order_or_add_nothing():
    batch = clouds.pad(MOLECULES)
    half, full = orders(batch, SE3), orders(batch, E3)
    assert {f / h for h, f in zip(half, full, strict=True) if h > 0} == {1.0, 2.0}
    permutations = EVERY.bind(clouds.padded_source(E3))(batch).permutations
    for row, (x, _) in enumerate(MOLECULES):
        flat = np.linalg.svd(x - x.mean(0))[1]
        if full[row] > 0 and len(flat) > 2 and flat[2] < 1e-6 and len(x) > 2:
            distinct = {tuple(p) for p in permutations[: full[row], row].tolist()}
            assert full[row] == 2 * len(distinct), NAMES[row]


@pytest.mark.parametrize(("group", "reflect"), [(SE3, False), (E3, True)], ids=["rotations", "with reflections"])
def test_orders_do_not_depend_on_position_order_or_small_noise(group, reflect):
    rng, tol = np.random.default_rng(0), 1e-3
    expected = orders(clouds.pad(MOLECULES), group, tol)
    copies = []
    for x, z in MOLECULES:
        q = np.linalg.qr(rng.normal(size=(3, 3)))[0]
        q = q if reflect else q * np.linalg.det(q)
        p = rng.permutation(len(x))
        radius = np.linalg.norm(x - x.mean(0), axis=1).max()
        noise = rng.normal(size=x.shape)
        noise *= 0.1 * tol * radius / max(np.linalg.norm(noise, axis=1).max(), 1e-12)
        copies.append(((x + noise)[p] @ q.T + rng.normal(size=3), z[p]))
    assert dict(zip(NAMES, orders(clouds.pad(copies), group, tol), strict=True)) == dict(zip(NAMES, expected, strict=True))


@pytest.mark.parametrize("tol", [1e-5, 1e-4, 1e-3, 3e-3])
def test_orders_do_not_depend_on_the_tolerance(tol):
    assert orders(clouds.pad(MOLECULES), E3, tol) == orders(clouds.pad(MOLECULES), E3)


def test_six_decimals_are_not_symmetric_to_seven():
    assert orders(clouds.pad(MOLECULES), E3, 1e-7) != orders(clouds.pad(MOLECULES), E3)


def changed(change):
    """Symmetric molecules of three or more atoms with one atom changed, and their orders before."""
    before = orders(clouds.pad(MOLECULES), E3)
    rng, found = np.random.default_rng(1), []
    for (x, z), order in zip(MOLECULES, before, strict=True):
        if order > 1 and len(x) > 2:
            found.append((change(x.copy(), z.copy(), rng), order))
    return [cloud for cloud, _ in found], [order for _, order in found]


def test_orders_are_lost_when_an_atom_moves():
    def move(x, z, rng):
        step = rng.normal(size=3)
        x[-1] += 10 * 1e-3 * np.linalg.norm(x - x.mean(0), axis=1).max() * step / np.linalg.norm(step)
        return x, z

    moved, before = changed(move)
    found = orders(clouds.pad(moved), E3, 1e-3)
    for cloud, order in zip(moved, found, strict=True):  # a step along a mirror leaves it alone
        assert clouds.order(cloud, share=5e-4) <= order <= clouds.order(cloud, share=1e-2)
    assert sum(old > new for old, new in zip(before, found, strict=True)) > 0.9 * len(before)
    assert sum(order == 1 for order in found) > 0.5 * len(before)


def test_orders_are_lost_when_an_atom_changes_species():
    def change(x, z, rng):
        z[-1] = 99
        return x, z

    other, before = changed(change)
    found = orders(clouds.pad(other), E3)
    assert found == [clouds.order(cloud) for cloud in other]
    assert sum(old > new for old, new in zip(before, found, strict=True)) > 60


def test_c60():
    cloud = clouds.named("C60")
    batch = clouds.pad([cloud])
    assert orders(batch, SE3, 1e-2) == [60]
    assert orders(batch, E3, 1e-2) == [120]
    assert orders(batch, SE3, 1e-5) == [1]


@pytest.mark.parametrize("n", range(3, 13))
def test_regular_polygons(n):
    x = torch.tensor(clouds.planar(n))
    assert SET.bind(actions.Points(O2))(x[None, :, :2]).order.tolist() == [2 * n]
    assert SET.bind(actions.Points(SO2))(x[None, :, :2]).order.tolist() == [n]
    assert SET.bind(actions.Points(O3))(x[None]).order.tolist() == [4 * n]
    assert SET.bind(actions.Points(SO3))(x[None]).order.tolist() == [2 * n]


@pytest.mark.parametrize(
    ("name", "order"), [("tetrahedron", 12), ("cube", 24), ("octahedron", 24), ("icosahedron", 60), ("dodecahedron", 60)]
)
def test_platonic_solids(name, order):
    x = torch.tensor(clouds.solid(name))[None]
    assert SET.bind(actions.Points(SO3))(x).order.tolist() == [order]
    assert SET.bind(actions.Points(O3))(x).order.tolist() == [2 * order]


@pytest.mark.parametrize("full", [False, True], ids=["rotations", "full"])
@pytest.mark.parametrize("kind", [groups.Tetrahedral, groups.Octahedral, groups.Icosahedral], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("orbits", [1, 2, 3])
def test_clouds_made_of_generic_orbits(kind, full, orbits, generator):
    group = kind(full=full)
    matrices = group.matrix(group.elements(dtype=torch.float64))
    turn = SO3.haar(1, generator=generator, dtype=torch.float64)[0]
    seeds = torch.randn(orbits, 3, generator=generator, dtype=torch.float64)
    x = torch.cat([matrices @ seed for seed in seeds]) @ turn.mT
    x = x[torch.randperm(len(x), generator=generator)][None]
    assert SET.bind(actions.Points(O3))(x).order.tolist() == [group.order]
    assert SET.bind(actions.Points(SO3))(x).order.tolist() == [group.order // 2 if full else group.order]


# -- exactness on degenerate clouds ------------------------------------------------------------------------------


def grid():
    """Named clouds: everything that is known to be difficult, and how far from collinear those are that nearly are."""
    rng = np.random.default_rng(3)
    line = np.outer([-2.0, -1, -0.4, 0.4, 1, 2], [0.36, 0.48, 0.8])
    generic = rng.normal(size=(7, 3))
    found = {
        "generic": (generic, rng.integers(1, 3, 7)),
        "methane": clouds.methane(),
        **{name: clouds.named(name) for name in ("C6H6", "H2O", "CO2", "HCN", "C2H6", "H2O2", "CH3OH", "H")},
        **{name: (clouds.solid(name), np.ones(len(clouds.solid(name)), int)) for name in ("cube", "icosahedron", "dodecahedron")},
        "hexagon": (clouds.planar(6), np.ones(6, int)),
        "collinear": (line, np.ones(6, int)),
        "collinear, uneven": (line[:4], np.array([1, 1, 1, 2])),
        "coplanar": (generic * [1, 1, 0], np.ones(7, int)),
        "single point": (generic[:1], np.ones(1, int)),
        "repeated point": (generic[:1].repeat(5, 0), np.ones(5, int)),
        "duplicates": (np.concatenate([generic[:3], generic[:3]]), np.ones(6, int)),
        "duplicates of two species": (np.concatenate([generic[:3], generic[:3]]), np.array([1, 1, 1, 2, 2, 2])),
        "zeros": (np.zeros((4, 3)), np.ones(4, int)),
        "two points": (generic[:2], np.ones(2, int)),
        "centroid atom": (np.concatenate([generic - generic.mean(0), np.zeros((1, 3))]), np.ones(8, int)),
    }
    found |= {f"near-collinear 1e-{k}": (line + 10.0**-k * generic[:6], np.ones(6, int)) for k in range(1, 9)}
    return found


GRID = grid()


def bent(name):
    """Distance from collinearity, by which directions of nearly collinear clouds are known less well: legitimate conditioning.

    Clouds that are collinear within the tolerance are treated as collinear, and nothing is lost.
    """
    if not name.startswith("near-collinear"):
        return 1.0
    share = 10.0 ** -int(name[-1])
    return share if share >= 1e-5 else 1.0


def principal_gap(x):
    """The smallest relative gap between principal values that count as different: eigenvectors are known up to eps / gap."""
    values = np.linalg.svd(x - x.mean(0), compute_uv=False)[:3] ** 2 if len(x) > 2 else np.ones(1)
    gaps = -np.diff(values) / max(values[0], 1e-300)
    return min([1.0, *gaps[(gaps > 1e-9) & ((gaps > 1e-3) | (values[1:] < 1e-3 * values[0]))]])


class Scaled(torch.nn.Module):
    """A network in units of a length, so that it sees something at every scale."""

    def __init__(self, net, scale):
        super().__init__()
        self.net, self.scale = net, scale

    def forward(self, pos, **rest):
        return self.net(pos=pos / self.scale, **rest)


def network(source, group, batch, dtype, outputs=None):
    return Net(source, outputs or everything(group), batch, True, dtype)


def per_sample_gaps(source, target, model, batch, h):
    """(B,) the largest error of every sample over all outputs, in units of the mean size of each output."""
    at = source.layout(batch)
    with torch.no_grad():
        here = call(model, source, batch)
        there = call(model, source, source.act(h, batch, at))
        expected = target.act(h, here, at)
        bare = call(getattr(model, "model", model), source, batch)  # symmetric clouds have outputs that vanish
    worst = torch.zeros(at.samples, dtype=torch.float64)
    for a, b, c in zip(leaves(there), leaves(expected), leaves(bare), strict=True):
        error = (a.double() - b.double()).abs().flatten(1).amax(1) / c.double().square().mean().sqrt()
        if at.batch is not None and len(error) == at.rows:
            error = torch.zeros(at.samples, dtype=torch.float64).index_reduce(0, at.batch, error, "amax")
        worst = torch.maximum(worst, error.nan_to_num(nan=float("inf")))
    return worst


def conditions(batch, h=None):
    """(B,) 1 + |centroid| / radius of padded clouds; clouds without extent count in units of one."""
    count = batch["mask"].sum(1, keepdim=True)
    center = (batch["pos"].double() * batch["mask"][..., None]).sum(1) / count
    spread = ((batch["pos"].double() - center[:, None]) * batch["mask"][..., None]).norm(dim=-1).amax(1)
    spread = torch.where(spread > 1e-9 * (1 + center.norm(dim=-1)), spread, torch.ones_like(spread))
    return 1 + center.norm(dim=-1) / spread


def refused(names, gaps, allowed):
    return {name: (float(g), float(a)) for name, g, a in zip(names, gaps, allowed, strict=True) if not g <= a}


def target_of(group):
    return actions.Dict({key: out.action for key, out in everything(group).items()})


@pytest.mark.parametrize("frame", [EVERY, frames.Minimal(of="pos"), frames.PCA(of="pos")], ids=["unordered", "ordered", "PCA"])
@over_dtypes
@over_groups
def test_exact_on_the_grid(group, dtype, frame, generator):
    source, target = clouds.padded_source(group), target_of(group)
    batch = clouds.pad(list(GRID.values()), dtype)
    model = Symmetrized(network(source, group, batch, dtype), source >> target, frame)
    h = group.sample(len(GRID), generator=generator, dtype=dtype)
    moved = source.act(h, batch, source.layout(batch))
    allowed = (
        50 * torch.finfo(dtype).eps * torch.maximum(conditions(batch), conditions(moved)) / torch.tensor([bent(name) for name in GRID])
    )
    if isinstance(frame, frames.PCA):
        allowed = allowed / torch.tensor([principal_gap(x) for x, _ in GRID.values()])
    assert not refused(GRID, per_sample_gaps(source, target, model, batch, h), allowed)


@over_dtypes
@over_groups
def test_exact_on_ragged_batches(group, dtype, generator):
    source = clouds.ragged_source(group)
    kept = {name: cloud for name, cloud in GRID.items() if bent(name) == 1.0}
    batch = clouds.join(list(kept.values()), dtype)
    model = Symmetrized(network(source, group, batch, dtype), source >> target_of(group), EVERY)
    h = group.sample(len(kept), generator=generator, dtype=dtype)
    twin = clouds.pad(list(kept.values()), dtype)
    moved = clouds.padded_source(group).act(h, twin, clouds.padded_source(group).layout(twin))
    allowed = 50 * torch.finfo(dtype).eps * torch.maximum(conditions(twin), conditions(moved))
    assert not refused(kept, per_sample_gaps(source, target_of(group), model, batch, h), allowed)


@pytest.mark.parametrize("frame", [EVERY, frames.Minimal(of="pos")], ids=["unordered", "ordered"])
@pytest.mark.parametrize("scale", [1e-6, 1e-3, 1e3, 1e6])
@over_dtypes
@over_groups
def test_exact_at_every_scale(group, dtype, scale, frame, generator):
    names = ["generic", "methane", "C6H6", "CO2", "H2O", "cube", "collinear", "coplanar", "zeros"]
    source, target = clouds.padded_source(group), target_of(group)
    batch = clouds.pad([(GRID[name][0] * scale, GRID[name][1]) for name in names], dtype)
    model = Symmetrized(Scaled(network(source, group, batch, dtype), scale), source >> target, frame)
    h = group.sample(len(names), generator=generator, dtype=dtype)
    h = h._replace(shift=h.shift * scale) if hasattr(h, "shift") else h
    allowed = 50 * torch.finfo(dtype).eps * torch.full((len(names),), 8.0)
    assert not refused(names, per_sample_gaps(source, target, model, batch, h), allowed)


@pytest.mark.parametrize("frame", [EVERY, frames.Minimal(of="pos")], ids=["unordered", "ordered"])
@over_dtypes
@pytest.mark.parametrize("group", [E3, SE3], ids=repr)
def test_exact_far_from_the_origin(group, dtype, frame, generator):
    names = ["generic", "methane", "C6H6", "CO2", "H2O", "cube", "icosahedron", "collinear", "coplanar", "zeros", "single point"]
    source, target = clouds.padded_source(group), target_of(group)
    batch = clouds.pad([GRID[name] for name in names], dtype)
    model = Symmetrized(network(source, group, batch, dtype), source >> target, frame)
    h = group.sample(len(names), generator=generator, dtype=dtype)
    h = h._replace(shift=h.shift * 1e4)
    moved = source.act(h, batch, source.layout(batch))
    allowed = 50 * torch.finfo(dtype).eps * conditions(moved)
    assert not refused(names, per_sample_gaps(source, target, model, batch, h), allowed)


def test_the_grid_refuses_a_frame_that_cuts_at_an_absolute_length(generator):
    class Absolute(torch.nn.Module):
        """Looks at the first atom only."""

        def forward(self, pos, z, mask):
            return net(pos=pos - pos[:, :1] * 0.5, z=z, mask=mask)

    source, target = clouds.padded_source(O3), target_of(O3)
    batch = clouds.pad(list(GRID.values()))
    net = network(source, O3, batch, torch.float64)
    h = O3.sample(len(GRID), generator=generator, dtype=torch.float64)
    bad = per_sample_gaps(source, target, Absolute(), batch, h)
    assert len(refused(GRID, bad, 50 * 2.3e-16 * conditions(batch))) > 20


@over_dtypes
def test_order_of_atoms_does_not_matter(dtype, generator):
    source = clouds.padded_source(E3)
    model = Symmetrized(network(source, E3, clouds.pad(MOLECULES), dtype), source >> target_of(E3), EVERY)
    rng = np.random.default_rng(2)
    names = [name for name in GRID if bent(name) == 1.0]
    shuffles = [rng.permutation(len(GRID[name][0])) for name in names]
    batch = clouds.pad([GRID[name] for name in names], dtype)
    other = clouds.pad([(GRID[name][0][p], GRID[name][1][p]) for name, p in zip(names, shuffles, strict=True)], dtype)
    with torch.no_grad():
        a, b = model(**batch), model(**other)
    for key, value in a.items():
        unit = value.double().square().mean().sqrt()
        for row, p in enumerate(shuffles):
            expected = value[row, : len(p)][p] if key in ("forces", "charge") else value[row]
            found = b[key][row, : len(p)] if key in ("forces", "charge") else b[key][row]
            assert float((found.double() - expected.double()).abs().max() / unit) <= 200 * torch.finfo(dtype).eps, (key, names[row])


def test_batches_padding_and_ragged_rows_agree():
    names = [name for name in GRID if bent(name) == 1.0]
    picked = [GRID[name] for name in names]
    padded, ragged = clouds.padded_source(E3), clouds.ragged_source(E3)
    net = network(padded, E3, clouds.pad(picked), torch.float64)
    other = network(ragged, E3, clouds.join(picked), torch.float64)
    other.load_state_dict(net.state_dict())
    one = Symmetrized(net, padded >> target_of(E3), EVERY)
    two = Symmetrized(other, ragged >> target_of(E3), EVERY)
    with torch.no_grad():
        whole, rows = one(**clouds.pad(picked)), two(**clouds.join(picked))
        starts = np.cumsum([0, *[len(x) for x, _ in picked]])
        for row, cloud in enumerate(picked):
            alone = one(**clouds.pad([cloud]))
            n = len(cloud[0])
            for key, value in alone.items():
                if key in ("forces", "charge"):
                    assert torch.allclose(whole[key][row, :n], value[0], atol=1e-12), (names[row], key)
                    assert torch.allclose(rows[key][starts[row] : starts[row] + n], value[0], atol=1e-12), (names[row], key)
                    assert bool((whole[key][row, n:] == 0).all())
                else:
                    assert torch.allclose(whole[key][row], value[0], atol=1e-12), (names[row], key)
                    assert torch.allclose(rows[key][row], value[0], atol=1e-12), (names[row], key)


def test_padded_rows_stay_zero(generator):
    source, target = clouds.padded_source(E3), target_of(E3)
    batch = clouds.pad([GRID["generic"], GRID["H2O"]])
    h = E3.sample(2, generator=generator, dtype=torch.float64)
    assert bool((source.act(h, batch)["pos"][1, 3:] == 0).all())
    net = network(source, E3, batch, torch.float64)
    seen = []
    net.register_forward_pre_hook(lambda module, args, kwargs: seen.append(kwargs["pos"]), with_kwargs=True)
    y = Symmetrized(net, source >> target, EVERY)(**source.act(h, batch))
    assert bool((seen[0][1, 3:] == 0).all())
    assert bool((y["forces"][1, 3:] == 0).all())


@pytest.mark.parametrize(("name", "order"), [("methane", 24), ("cube", 48), ("icosahedron", 120)])
def test_one_call_is_the_average_over_all_elements(name, order):
    source, target = clouds.padded_source(O3), target_of(O3)
    batch = clouds.pad([GRID[name]])
    net = network(source, O3, batch, torch.float64)
    model = Symmetrized(net, source >> target, EVERY)
    calls = []
    handle = net.register_forward_pre_hook(lambda module, args, kwargs: calls.append(len(kwargs["pos"])), with_kwargs=True)
    with torch.no_grad():
        found = model(**batch)
        assert calls == [1]
        handle.remove()
        measure = model.frame(batch)
        assert measure.order.tolist() == [order]
        assert measure.cosets == 1
        total = None
        for k in range(order):
            g = measure.elements[k]
            y = target.act(g, net(**source.act(O3.inverse(g), batch)), source.layout(batch))
            total = y if total is None else tree_map(torch.add, total, y)
    for key, value in found.items():
        assert float((value - total[key] / order).abs().max()) < 1e-13, key


# -- forces ----------------------------------------------------------------------------------------------------------


def energy_model(source, batch, group, dtype=torch.float64, **options):
    outputs = {None: Out(actions.Trivial(group), False, (1,))}
    net = network(source, group, batch, dtype, outputs)
    return Symmetrized(net, source >> actions.Trivial(group), frames.Minimal(of="pos", colours="z", **options))


def forces(model, batch):
    pos = batch["pos"].clone().requires_grad_()
    return -torch.autograd.grad(model(**{**batch, "pos": pos}).sum(), pos)[0]


@over_groups
def test_forces_have_the_symmetry_of_the_molecule(group):
    names = ["methane", "cube", "icosahedron", "C6H6", "H2O", "C2H6", "hexagon"]
    picked = [GRID[name] for name in names]
    source = clouds.padded_source(group)
    batch = clouds.pad(picked)
    found = forces(energy_model(source, batch, group), batch)
    assert float(found.abs().max()) > 1e-3
    for row, cloud in enumerate(picked):
        f = found[row, : len(cloud[0])].numpy()
        for matrix, order in clouds.symmetries(cloud, reflect=group.reflects):
            assert np.abs(f @ matrix.T - f[order]).max() < (1e-10 if names[row] not in ("C6H6", "H2O", "C2H6") else 1e-4), names[row]
    assert float(found[0, 0].abs().max()) < 1e-13  # the carbon of methane
    assert float(found[0, 1:5].norm(dim=-1).min()) > 1e-4


@over_groups
def test_forces_are_equivariant_and_finite_everywhere(group, generator):
    source = clouds.padded_source(group)
    names = [name for name in GRID if bent(name) == 1.0]
    batch = clouds.pad([GRID[name] for name in names])
    model = energy_model(source, batch, group)
    h = group.sample(len(names), generator=generator, dtype=torch.float64)
    here, there = forces(model, batch), forces(model, source.act(h, batch, source.layout(batch)))
    assert bool(torch.isfinite(here).all())
    expected = actions.Vectors(group, points=True).act(h, here)
    gaps = (there - expected).abs().flatten(1).amax(1)
    assert not refused(names, gaps, torch.full((len(names),), 1e-9))


def test_forces_are_the_gradient_of_the_energy():
    source = clouds.padded_source(E3)
    batch = clouds.pad([GRID["generic"], GRID["CH3OH"]])
    model = energy_model(source, batch, E3)

    def energy(pos):
        return model(**{**batch, "pos": pos * batch["mask"][..., None]})

    assert torch.autograd.gradcheck(energy, batch["pos"].clone().requires_grad_(), atol=1e-6)


def test_detached_frames_give_other_gradients_that_are_equivariant(generator):
    source = clouds.padded_source(E3)
    batch = clouds.pad([GRID["generic"], GRID["methane"]])
    whole, detached = energy_model(source, batch, E3), energy_model(source, batch, E3, detach=True)
    assert torch.equal(whole(**batch), detached(**batch))
    one, two = forces(whole, batch), forces(detached, batch)
    assert float((one - two)[0].abs().max()) > 1e-3
    h = E3.sample(2, generator=generator, dtype=torch.float64)
    moved = source.act(h, batch, source.layout(batch))
    expected = actions.Vectors(E3, points=True).act(h, two)
    assert float((forces(detached, moved) - expected).abs().max()) < 1e-10
    assert "detach=True" in repr(detached)


# -- other inputs that break the symmetry --------------------------------------------------------------------------

SYMMETRY_BREAKERS = {
    # kind of input, its values at methane, orders under SO(3) and O(3)
    "velocities, generic": ("v", np.random.default_rng(0).normal(size=(5, 3)), 1, 1),
    "velocities, breathing": ("v", clouds.methane()[0], 12, 24),
    "velocities, of one atom, along its bond": ("v", np.eye(5)[1][:, None] * clouds.methane()[0][1], 3, 6),
    "velocities, translation along an axis": ("v", np.tile([0.0, 0, 1], (5, 1)), 2, 4),
    "velocities, zero": ("v", np.zeros((5, 3)), 12, 24),
    "dipole, generic": ("mu", np.array([0.3, 0.5, -0.9]), 1, 1),
    "dipole, along a bond": ("mu", np.array([1.0, 1, 1]), 3, 6),
    "dipole, along an axis": ("mu", np.array([0.0, 0, 1]), 2, 4),
    "dipole, zero": ("mu", np.zeros(3), 12, 24),
    "tensor, isotropic": ("t", np.eye(3), 12, 24),
    "tensor, uniaxial": ("t", np.diag([1.0, 1, 2]), 4, 8),
    "tensor, generic": ("t", np.random.default_rng(1).normal(size=(3, 3)), 1, 1),
    "cell, cubic": ("cell", 4 * np.eye(3), 1, 1),
    "spin, generic": ("s", np.array([0.3, 0.5, -0.9]), 1, 1),
    "spin, along a bond": ("s", np.array([1.0, 1, 1]), 3, 3),
}


def with_input(group, key):
    kinds = {
        "v": actions.Vectors(group),
        "mu": actions.Vectors(group, points=False),
        "t": actions.Tensors(group, 2, points=False),
        "cell": actions.Cell(group),
        "s": actions.Pseudovectors(group, points=False),
    }
    return actions.Dict({"pos": actions.Points(group), "z": actions.Trivial(group), key: kinds[key]})


@pytest.mark.parametrize("name", SYMMETRY_BREAKERS)
@over_groups
def test_other_inputs_of_methane(group, name, generator):
    key, value, half, full = SYMMETRY_BREAKERS[name]
    source, target = with_input(group, key), target_of(group)
    x, z = clouds.methane()
    batch = {"pos": torch.tensor(x)[None], "z": torch.tensor(z)[None], key: torch.tensor(value)[None]}
    batch = tree_map(lambda leaf: leaf.expand(3, *leaf.shape[1:]).clone(), batch)
    model = Symmetrized(network(source, group, batch, torch.float64), source >> target, EVERY)
    measure = model.frame(batch)
    assert measure.order.tolist() == [full if group.reflects else half] * 3
    assert measure.cosets == 1
    h = group.sample(3, generator=generator, dtype=torch.float64)
    assert float(per_sample_gaps(source, target, model, batch, h).max()) < 50 * 2.3e-16 * 10


@over_groups
def test_ordered_frames_become_several_calls_where_another_input_breaks_the_symmetry(group, generator):
    source, target = with_input(group, "t"), target_of(group)
    x, z = clouds.named("H2O")
    generic = torch.randn(1, 3, 3, generator=generator, dtype=torch.float64)
    plane = np.linalg.svd(x - x.mean(0))[2]
    kept = torch.tensor(plane.T @ np.diag([1.0, 2.0, 3.0]) @ plane)[None]
    for tensor, calls in ((generic, 2 if group.reflects else 1), (kept, 1)):
        batch = {"pos": torch.tensor(x)[None], "z": torch.tensor(z)[None], "t": tensor}
        model = Symmetrized(network(source, group, batch, torch.float64), source >> target, frames.Minimal(of="pos"))
        _, stats = model(**batch, return_stats=True)
        assert stats.cosets == calls
        h = group.sample(1, generator=generator, dtype=torch.float64)
        assert float(per_sample_gaps(source, target, model, batch, h).max()) < 50 * 2.3e-16 * 10


@pytest.mark.parametrize("frame", [EVERY, frames.Minimal(of="pos")], ids=["unordered", "ordered"])
@over_groups
def test_a_tensor_that_breaks_an_infinite_stabilizer_is_refused(group, frame, generator):
    source = with_input(group, "t")
    x, z = clouds.named("CO2")
    axis = x[1] - x[0]
    batch = {"pos": torch.tensor(x)[None], "z": torch.tensor(z)[None], "t": torch.randn(1, 3, 3, generator=generator, dtype=torch.float64)}
    model = Symmetrized(network(source, group, batch, torch.float64), source >> target_of(group), frame)
    with pytest.raises(
        InputError, match=r"'t'.*which the infinite stabilizer of the points moves in samples \[0\].*To do: give the frame a vector"
    ):
        model(**batch)
    batch["t"] = torch.tensor(np.outer(axis, axis) + 2 * np.eye(3))[None]
    h = group.sample(1, generator=generator, dtype=torch.float64)
    assert float(per_sample_gaps(source, target_of(group), model, batch, h).max()) < 50 * 2.3e-16 * 10


@over_groups
def test_a_vector_joins_where_points_leave_an_infinite_stabilizer(group, generator):
    source = with_input(group, "mu")
    x, z = clouds.named("CO2")
    batch = {"pos": torch.tensor(x)[None], "z": torch.tensor(z)[None], "mu": torch.randn(1, 3, generator=generator, dtype=torch.float64)}
    for frame in (EVERY, frames.Minimal(of="pos")):
        model = Symmetrized(network(source, group, batch, torch.float64), source >> target_of(group), frame)
        assert model.frame(batch).order.tolist() == [2 if group.reflects else 1]
        h = group.sample(1, generator=generator, dtype=torch.float64)
        assert float(per_sample_gaps(source, target_of(group), model, batch, h).max()) < 50 * 2.3e-16 * 10


def benzene(bonds):
    """Two copies of benzene as one ragged graph; ``bonds`` are values of the six bonds between carbons, both ways."""
    x, z = clouds.named("C6H6")
    carbon = [i for i in range(12) if z[i] == 6]
    angle = np.argsort([np.arctan2(*x[i, :2]) for i in carbon])
    ring = [carbon[i] for i in angle]
    hydrogen = [int(np.argmin(np.linalg.norm(x - x[i], axis=1) + 9.0 * (z == 6))) for i in ring]
    pairs = [(ring[i], ring[(i + 1) % 6]) for i in range(6)] + list(zip(ring, hydrogen, strict=True))
    edges = np.array(pairs + [(b, a) for a, b in pairs]).T
    batch = clouds.join([(x, z), (x, z)])
    values = np.concatenate([bonds, [0.5] * 6] * 2)
    return {
        **batch,
        "edge_index": torch.tensor(np.concatenate([edges, edges + 12], 1)),
        "edge_attr": torch.tensor(np.concatenate([values, values]))[:, None],
    }


def graph_source(group):
    return actions.Dict({**clouds.ragged_source(group).entries, "edge_index": actions.Edges(group), "edge_attr": actions.Trivial(group)})


@pytest.mark.parametrize(
    ("bonds", "half"),
    [([1.0] * 6, 12), ([1.0, 2.0] * 3, 6), ([1.0, 1, 2, 1, 1, 2], 4), ([1.0, 1, 1, 1, 1, 2], 2), ([1.0, 2, 3, 1, 2, 4], 1)],
    ids=["alike", "alternating", "two opposite", "one", "all different"],
)
@over_groups
def test_edges_of_benzene(group, bonds, half, generator):
    source = graph_source(group)
    batch = benzene(bonds)
    target = actions.Dict(forces=actions.Vectors(group, points=True), energy=actions.Trivial(group))
    outputs = {"forces": Out(actions.Vectors(group, points=True), True, (3,)), "energy": Out(actions.Trivial(group), False, (1,))}
    model = Symmetrized(Net(source, outputs, batch, True, torch.float64), source >> target, EVERY)
    measure = model.frame(batch)
    expected = half * (2 if group.reflects else 1)  # the plane is a mirror, which moves no bond
    assert measure.order.tolist() == [expected, expected]
    h = group.sample(2, generator=generator, dtype=torch.float64)
    assert float(per_sample_gaps(source, target, model, batch, h).max()) < 50 * 2.3e-16 * 10


def test_edge_attributes_are_no_node_features_where_there_are_as_many(generator):
    source = graph_source(O3)
    batch = benzene([1.0, 2.0] * 3)
    ring = torch.tensor([*range(6), *range(12, 18), *range(24, 30), *range(36, 42)])  # bonds of carbon alone: 24 for 24 atoms
    batch |= {"edge_index": batch["edge_index"][:, ring], "edge_attr": batch["edge_attr"][ring]}
    assert len(batch["edge_attr"]) == len(batch["pos"])
    outputs = {None: Out(actions.Vectors(O3, points=True), True, (3,))}
    model = Symmetrized(Net(source, outputs, batch, True, torch.float64), source >> outputs[None].action, EVERY)
    h = O3.sample(2, generator=generator, dtype=torch.float64)
    assert float(per_sample_gaps(source, outputs[None].action, model, batch, h).max()) < 50 * 2.3e-16 * 10


def test_directed_edges_are_seen():
    source = actions.Dict({**clouds.ragged_source(SO3).entries, "edge_index": actions.Edges(SO3)})
    batch = benzene([1.0] * 6)
    del batch["edge_attr"]
    one_way = {**batch, "edge_index": torch.cat([batch["edge_index"][:, start : start + 6] for start in (0, 24)], 1)}
    assert EVERY.bind(source)(batch).order.tolist() == [12, 12]
    assert EVERY.bind(source)(one_way).order.tolist() == [6, 6]


# -- PCA ---------------------------------------------------------------------------------------------------------


@over_groups
def test_pca_on_degenerate_inputs(group, generator):
    source, target = actions.Points(group), actions.Vectors(group)
    x = (
        torch.stack([torch.tensor(clouds.solid("cube")), torch.tensor(clouds.solid("cube"))])
        @ SO3.haar(2, generator=generator, dtype=torch.float64).mT
    )
    net = Net(source, {None: Out(target, True, (3,))}, x, True, torch.float64)
    h = group.sample(2, generator=generator, dtype=torch.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        exact = Symmetrized(net, source >> target, frames.PCA())
        assert float(per_sample_gaps(source, target, exact, x, h).max()) < 1e-12
    plain = Symmetrized(net, source >> target, frames.PCA(fallback=False))
    with pytest.warns(UserWarning, match=r"samples \[0, 1\] have equal principal values"):
        gap = float(per_sample_gaps(source, target, plain, x, h).max())
    assert gap > 1e-3
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plain(torch.randn(3, 5, 3, generator=generator, dtype=torch.float64))


def test_pca_lists_all_signs():
    x = torch.randn(2, 5, 3, dtype=torch.float64)
    assert frames.PCA().bind(actions.Points(E3))(x).cosets == 8
    assert frames.PCA().bind(actions.Points(SE3))(x).cosets == 4
    assert frames.PCA().bind(actions.Points(SO2))(x[..., :2]).cosets == 2


# -- outputs are projected by their own action ----------------------------------------------------------------------


def test_outputs_of_water_lie_where_its_mirror_leaves_them():
    source, target = clouds.padded_source(O3), target_of(O3)
    batch = clouds.pad([GRID["H2O"]])
    with torch.no_grad():
        y = Symmetrized(network(source, O3, batch, torch.float64), source >> target, EVERY)(**batch)
    x = GRID["H2O"][0] - GRID["H2O"][0].mean(0)
    normal = torch.tensor(np.linalg.svd(x)[2][2])
    assert float((y["forces"] @ normal).abs().max()) < 1e-12
    # C2v has two mirrors: no pseudovector is left alone by both
    assert float(y["moment"].abs().max()) < 1e-12


def test_pseudovectors_of_a_planar_molecule_are_normal_to_it():
    source, target = clouds.padded_source(O3), target_of(O3)
    flat = (GRID["coplanar"][0], np.arange(7))
    batch = clouds.pad([flat])
    with torch.no_grad():
        y = Symmetrized(network(source, O3, batch, torch.float64), source >> target, EVERY)(**batch)
    assert float(y["moment"][..., :2].abs().max()) < 1e-12
    assert float(y["moment"][..., 2].abs().max()) > 1e-3
    assert float(y["forces"][..., 2].abs().max()) < 1e-12


def test_symmetrize_picks_minimal_and_says_why():
    model = symmetrize(lambda x: x, actions.Points(E3) >> actions.Vectors(E3))
    assert isinstance(model.frame, frames.Minimal)
    assert "cheapest exact frame" in repr(model)
