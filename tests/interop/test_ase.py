"""The ASE calculator: right potentials stay as they are, wrong ones are repaired, forces and stress fit the energy."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from torch import nn

ase = pytest.importorskip("ase")
from ase.build import bulk, fcc111, molecule  # noqa: E402
from ase.calculators.emt import EMT, parameters  # noqa: E402
from ase.calculators.fd import calculate_numerical_forces, calculate_numerical_stress  # noqa: E402
from ase.calculators.lj import LennardJones  # noqa: E402
from ase.collections import g2  # noqa: E402
from ase.filters import FrechetCellFilter  # noqa: E402
from ase.neighborlist import neighbor_list  # noqa: E402
from ase.optimize import BFGS  # noqa: E402

from coset import frames  # noqa: E402
from coset.errors import FrameError, InputError  # noqa: E402
from coset.interop.ase import SymmetrizedCalculator, without_net  # noqa: E402

PROPER, IMPROPER = 1.0, -1.0


class Bent(EMT):
    """EMT and a smooth pair term that prefers one direction of the laboratory; forces and stress belong to its energy."""

    def calculate(self, atoms=None, properties=("energy",), system_changes=()):
        super().calculate(atoms, list(properties), ["positions", "numbers", "cell", "pbc"])
        i, j, gap = neighbor_list("ijD", self.atoms, 4.0)
        square = (gap**2).sum(1) / 16
        weight = np.exp(-1 / (1 - square))
        along = gap @ np.array([0.3, 0.5, 0.1])
        slope = -weight * 2 / 16 / (1 - square) ** 2 * along**4
        pull = 0.1 * (slope[:, None] * gap + (4 * weight * along**3)[:, None] * np.array([0.3, 0.5, 0.1]))
        self.results["energy"] = self.results["free_energy"] = self.results["energy"] + 0.1 * (weight * along**4).sum()
        forces = self.results["forces"] = self.results["forces"].copy()
        np.add.at(forces, i, pull)
        np.add.at(forces, j, -pull)
        if "stress" in self.results:
            more = gap.T @ pull / self.atoms.get_volume()
            more = (more + more.T) / 2
            self.results["stress"] = self.results["stress"] + more[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]


class Net(nn.Module):
    """A smooth potential without any symmetry but that of permutations; also gives a dipole and a polarizability."""

    def __init__(self, dtype=torch.float64):
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Embedding(30, 8, dtype=dtype)
        self.place = nn.Linear(3, 8, dtype=dtype)
        self.out = nn.Sequential(nn.Linear(8, 16, dtype=dtype), nn.Tanh(), nn.Linear(16, 13, dtype=dtype))

    def forward(self, positions, numbers):
        atom = self.out(torch.tanh(self.embed(numbers) * (1 + self.place(positions))))
        matrix = atom[..., 4:].sum(1).reshape(-1, 3, 3)
        return {
            "energy": atom[..., 0].sum(1),
            "energies": atom[..., 0],
            "dipole": atom[..., 1:4].sum(1),
            "polarizability": matrix + matrix.mT,
        }


def orthogonal(seed, sign):
    q = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))[0]
    return q if np.linalg.det(q) * sign > 0 else -q


def moved(atoms, turn, shift=0.0):
    other = atoms.copy()
    other.set_cell(atoms.cell.array @ turn.T)
    other.positions = atoms.positions @ turn.T + shift
    return other


def structures():
    crystal = bulk("Cu", cubic=True)
    bent = bulk("Cu", cubic=True)
    bent.rattle(0.05, seed=1)
    bent.set_cell(bent.cell.array @ (np.eye(3) + 0.02 * np.random.default_rng(0).normal(size=(3, 3))), scale_atoms=True)
    slab = fcc111("Al", (2, 2, 2), vacuum=6.0)
    slab.rattle(0.03, seed=2)
    chain = bulk("Cu", cubic=True)
    chain.rattle(0.05, seed=4)
    chain.pbc = (True, False, False)
    chain.cell[1:] = 0
    ethanol = molecule("CH3CH2OH")
    ethanol.rattle(0.05, seed=3)
    found = {"methane": molecule("CH4"), "water": molecule("H2O"), "co2": molecule("CO2"), "ethanol": ethanol, "atom": molecule("H")}
    sheet = slab.copy()
    sheet.cell[2] = 0
    return found | {"crystal": crystal, "bent": bent, "slab": slab, "sheet": sheet, "chain": chain}


ALL = structures()
MOLECULES = [name for name, atoms in ALL.items() if not atoms.pbc.any()]


def test_emt_is_unchanged_on_every_g2_molecule_that_it_knows():
    worst, count = 0.0, 0
    for name in g2.names:
        atoms = g2[name]
        if not set(atoms.get_chemical_symbols()) <= set(parameters):
            continue
        atoms.calc = EMT()
        energy, forces = atoms.get_potential_energy(), atoms.get_forces()
        atoms.calc = SymmetrizedCalculator(EMT())
        worst = max(worst, abs(atoms.get_potential_energy() - energy), np.abs(atoms.get_forces() - forces).max())
        count += 1
    assert count > 80
    assert worst < 1e-10


@pytest.mark.parametrize("frame", [None, frames.Quadrature(2), frames.PCA(of="positions"), frames.Haar(2)], ids=repr)
@pytest.mark.parametrize("name", MOLECULES)
def test_emt_is_unchanged_under_every_frame(name, frame):
    atoms = ALL[name].copy()
    atoms.calc = EMT()
    energy, forces = atoms.get_potential_energy(), atoms.get_forces()
    atoms.calc = SymmetrizedCalculator(EMT(), frame)
    assert abs(atoms.get_potential_energy() - energy) < 1e-10
    assert np.abs(atoms.get_forces() - forces).max() < 1e-10
    assert atoms.calc.results["energy_std"] < 1e-10
    assert np.abs(atoms.calc.results["forces_std"]).max() < 1e-10


@pytest.mark.parametrize("name", ["crystal", "bent", "slab"])
def test_emt_is_unchanged_in_crystals_and_slabs(name):
    atoms = ALL[name].copy()
    atoms.calc = EMT()
    expected = atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress()
    atoms.calc = SymmetrizedCalculator(EMT())
    for value, other in zip(expected, (atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress()), strict=True):
        assert np.abs(value - other).max() < 1e-10


@pytest.mark.parametrize("sign", [PROPER, IMPROPER])
@pytest.mark.parametrize("name", ALL)
def test_an_anisotropic_calculator_is_repaired(name, sign):
    atoms = ALL[name].copy()
    if sign == IMPROPER and name == "sheet":
        pytest.skip("two lattice vectors alone: proper rotations only")
    turn = orthogonal(5, sign)
    other = moved(atoms, turn, 0.7)
    raw = []
    for one in (atoms, other):
        one.calc = Bent()
        raw.append(one.get_potential_energy())
        one.calc = SymmetrizedCalculator(Bent())
    assert abs(atoms.get_potential_energy() - other.get_potential_energy()) < 1e-10
    assert np.abs(atoms.get_forces() @ turn.T - other.get_forces()).max() < 1e-9
    if name != "atom":
        assert abs(raw[0] - raw[1]) > 1e-3
    if atoms.pbc.any() and atoms.cell.rank == 3:
        stress = [one.get_stress(voigt=False) for one in (atoms, other)]
        assert np.abs(turn @ stress[0] @ turn.T - stress[1]).max() < 1e-9


@pytest.mark.parametrize("frame", [None, frames.Quadrature(2), frames.PCA(of="positions")], ids=repr)
def test_forces_are_minus_the_gradient_and_have_no_net_force_or_torque(frame):
    atoms = ALL["ethanol"].copy()
    atoms.calc = SymmetrizedCalculator(Bent(), frame)
    forces = atoms.get_forces()
    assert np.abs(forces - calculate_numerical_forces(atoms, eps=1e-5)).max() < 1e-7
    assert np.abs(forces.sum(0)).max() < 1e-10
    torque = np.cross(atoms.positions - atoms.positions.mean(0), forces).sum(0)
    if frame is None or isinstance(frame, frames.PCA):
        assert np.abs(torque).max() < 1e-10


@pytest.mark.parametrize("frame", [None, frames.Quadrature(2)], ids=repr)
@pytest.mark.parametrize("name", ["crystal", "bent", "slab"])
def test_forces_and_stress_are_derivatives_in_periodic_structures(name, frame):
    atoms = ALL[name].copy()
    atoms.calc = SymmetrizedCalculator(Bent(), frame, symmetry=None)
    assert np.abs(atoms.get_forces() - calculate_numerical_forces(atoms, eps=1e-5)).max() < 1e-7
    assert np.abs(atoms.get_stress() - calculate_numerical_stress(atoms, eps=1e-5)).max() < 1e-8


def test_methane_keeps_the_symmetry_of_its_forces():
    atoms = molecule("CH4")
    atoms.calc = Bent()
    assert np.abs(atoms.get_forces()[0]).max() > 1e-4 or np.ptp(np.linalg.norm(atoms.get_forces()[1:], axis=1)) > 1e-4
    atoms.calc = SymmetrizedCalculator(Bent(), frames.Minimal(of="positions", colours="numbers"))
    forces = atoms.get_forces()
    assert np.abs(forces[0]).max() < 1e-6
    assert np.ptp(np.linalg.norm(forces[1:], axis=1)) < 1e-6


def test_a_relaxation_keeps_the_space_group():
    spglib = pytest.importorskip("spglib")

    def number(atoms):
        return spglib.get_spacegroup((atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers), symprec=1e-4)

    start = bulk("Cu", cubic=True) * (2, 1, 1)
    start.symbols[0] = "Au"
    relaxed = {}
    for name, calculator in {
        "raw": Bent(),
        "wrapped": SymmetrizedCalculator(Bent()),
        "no": SymmetrizedCalculator(Bent(), symmetry=None),
    }.items():
        atoms = start.copy()
        atoms.set_cell(atoms.cell.array @ orthogonal(1, PROPER).T, scale_atoms=True)
        atoms.calc = calculator
        BFGS(FrechetCellFilter(atoms), logfile=None).run(fmax=1e-3, steps=15)
        relaxed[name] = number(atoms)
    assert relaxed["wrapped"] == number(start)
    assert relaxed["raw"] != number(start)
    assert relaxed["no"] != number(start)


def test_supercells_have_pure_translations():
    from coset.interop._crystals import space_group

    atoms = bulk("Cu", cubic=True) * (2, 2, 2)
    group = space_group(atoms, 1e-3)
    assert len(group.rotations) == 48
    assert len(group.translations) == 32
    assert group.order == 48 * 32
    products = group.rotations @ group.rotations.swapaxes(1, 2)
    assert np.abs(products - np.eye(3)).max() < 1e-12
    assert (np.sort(group.permutations, 1) == np.arange(32)).all()
    atoms.calc = EMT()
    atoms.rattle(0.02)
    assert space_group(atoms, 1e-3).order == 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", ["methane", "water", "ethanol", "co2"])
def test_modules_give_equivariant_dipoles_and_polarizabilities(name, dtype):
    atoms = ALL[name].copy()
    turn = orthogonal(2, IMPROPER)
    other = moved(atoms, turn, 3.0)
    bound = 1e-10 if dtype == torch.float64 else 2e-4
    for one in (atoms, other):
        one.calc = SymmetrizedCalculator(Net(dtype))
        one.get_potential_energy()
    first, second = atoms.calc.results, other.calc.results
    assert abs(first["energy"] - second["energy"]) < bound
    assert np.abs(first["energies"] - second["energies"]).max() < bound
    assert abs(first["energies"].sum() - first["energy"]) < bound
    assert np.abs(turn @ first["dipole"] - second["dipole"]).max() < bound
    assert np.abs(turn @ first["polarizability"] @ turn.T - second["polarizability"]).max() < bound
    assert np.abs(first["forces"] @ turn.T - second["forces"]).max() < bound


@pytest.mark.parametrize("frame", [None, frames.Quadrature(3), frames.PCA(of="positions")], ids=repr)
def test_module_forces_are_minus_the_gradient(frame):
    atoms = ALL["ethanol"].copy()
    atoms.calc = SymmetrizedCalculator(Net(), frame)
    assert np.abs(atoms.get_forces() - calculate_numerical_forces(atoms, eps=1e-5)).max() < 1e-8
    assert np.abs(atoms.calc.results["forces"].sum(0)).max() < 1e-12


def test_the_spread_over_rotations_is_reported():
    atoms = ALL["ethanol"].copy()
    atoms.calc = SymmetrizedCalculator(Net(), frames.Quadrature(5))
    atoms.get_forces()
    results = atoms.calc.results
    assert results["energy_std"] > 1e-3
    assert results["forces_std"].shape == results["forces"].shape
    assert (results["forces_std"] > 0).all()
    assert results["dipole_std"].shape == (3,)
    assert atoms.calc.stats.samples == 120


def test_random_rotations_differ_from_step_to_step_and_repeat_by_seed():
    def run():
        atoms = ALL["ethanol"].copy()
        atoms.calc = SymmetrizedCalculator(Net(), frames.Haar(1, generator=torch.Generator().manual_seed(4)))
        found = []
        for _ in range(3):
            atoms.positions[0] += 1e-12
            found.append(atoms.get_potential_energy())
        return found

    one = run()
    assert np.ptp(one) > 1e-4
    assert one == run()


def test_direct_forces_lose_net_force_and_torque():
    class Direct(nn.Module):
        def forward(self, pos, z):
            return {"energy": pos.square().sum((1, 2)), "forces": torch.sin(pos) + 0.3 * z[..., None]}

    atoms = ALL["ethanol"].copy()
    atoms.calc = SymmetrizedCalculator(Direct(), conservative=False)
    forces = atoms.get_forces()
    assert np.abs(forces.sum(0)).max() < 1e-12
    assert np.abs(np.cross(atoms.positions - atoms.positions.mean(0), forces).sum(0)).max() < 1e-12
    assert np.abs(forces).max() > 0.1
    assert np.abs(without_net(forces, atoms.positions, torque=True) - forces).max() < 1e-12


def test_charge_spin_and_pbc_reach_the_module():
    seen = {}

    class Look(nn.Module):
        def forward(self, positions, species, cell, pbc, charge, spin):
            seen.update(cell=cell.shape, pbc=pbc.tolist(), charge=charge.tolist(), spin=spin.tolist())
            return positions.square().sum((1, 2)) * 0

    atoms = bulk("Cu", cubic=True)
    atoms.info.update(charge=1, spin=2)
    atoms.calc = SymmetrizedCalculator(Look())
    atoms.get_potential_energy()
    assert seen == {"cell": (1, 3, 3), "pbc": [[True, True, True]], "charge": [1.0], "spin": [2.0]}


def test_info_and_charges_reach_the_calculator():
    seen = {}

    class Look(LennardJones):
        def calculate(self, atoms=None, properties=None, system_changes=()):
            seen.update(info=dict(atoms.info), charges=atoms.get_initial_charges().tolist(), pbc=atoms.pbc.tolist())
            super().calculate(atoms, properties, system_changes)

    atoms = molecule("H2O")
    atoms.info["charge"] = -1
    atoms.set_initial_charges([0.5, 0.25, 0.25])
    atoms.calc = SymmetrizedCalculator(Look())
    atoms.get_potential_energy()
    assert seen == {"info": {"charge": -1}, "charges": [0.5, 0.25, 0.25], "pbc": [False] * 3}


def test_images_of_atoms_do_not_matter():
    class Wrapless(nn.Module):
        """A potential that is not periodic: it sees where the atoms were put."""

        def forward(self, positions, species, cell):
            return torch.tanh(positions @ torch.tensor([0.3, 0.2, 0.1], dtype=positions.dtype)).sum(1)

    atoms = ALL["bent"].copy()
    other = atoms.copy()
    other.positions[2] += atoms.cell.array[0] - 2 * atoms.cell.array[2]
    other.positions += 0.123
    for one in (atoms, other):
        one.calc = SymmetrizedCalculator(Wrapless(), symmetry=None)
    assert abs(atoms.get_potential_energy() - other.get_potential_energy()) < 1e-10


def test_the_dipole_of_an_ion_depends_on_the_origin_by_its_charge():
    class Charges(nn.Module):
        def forward(self, positions, numbers):
            share = numbers / numbers.sum(1, keepdim=True)
            return {"energy": 0 * positions.sum((1, 2)), "dipole": (share[..., None] * positions).sum(1)}

    atoms = molecule("H2O")
    atoms.positions += 5.0
    atoms.info["charge"] = 1
    atoms.calc = SymmetrizedCalculator(Charges())
    share = atoms.numbers / atoms.numbers.sum()
    assert np.allclose(atoms.get_dipole_moment(), share @ atoms.positions, atol=1e-6)


def test_what_a_structure_gets_is_explained():
    calculator = SymmetrizedCalculator(EMT())
    assert "exact for one evaluation" in calculator.explain(molecule("CH4"))
    assert "modulo lattice translations" in calculator.explain(bulk("Cu"))
    assert "space group" not in calculator.explain(ALL["slab"])
    assert "proper rotations" in calculator.explain(ALL["sheet"])
    assert "only lattice vector" in calculator.explain(ALL["chain"])
    assert "as asked" in SymmetrizedCalculator(EMT(), frames.PCA()).explain(bulk("Cu"))


def test_calculators_can_be_pickled_and_switched_between_structures():
    calculator = pickle.loads(pickle.dumps(SymmetrizedCalculator(Net())))
    energies = []
    for name in ("ethanol", "water", "ethanol"):
        atoms = ALL[name].copy()
        atoms.calc = calculator
        energies.append(atoms.get_potential_energy())
    assert energies[0] == energies[2] != energies[1]
    calculator = SymmetrizedCalculator(EMT())
    for name in ("crystal", "methane", "slab", "crystal"):
        atoms = ALL[name].copy()
        atoms.calc = calculator
        atoms.get_forces()


@pytest.mark.parametrize(
    ("build", "error", "text"),
    [
        (lambda: SymmetrizedCalculator(3), InputError, "an ASE calculator or a torch module"),
        (lambda: SymmetrizedCalculator(lambda a, b, c, d: a), InputError, "say which is which"),
        (lambda: run(EMT(), ase.Atoms()), InputError, "one atom or more"),
        (lambda: run(EMT(), ase.Atoms("Cu", [[np.nan, 0, 0]])), InputError, "finite numbers"),
        (lambda: run(EMT(), ase.Atoms("Cu", pbc=True)), InputError, "independent lattice vectors"),
        (lambda: run(EMT(), bulk("Cu"), frames.PCA()), FrameError, "modulo lattice translations"),
        (lambda: run(lambda positions, numbers: {"forces": positions}, molecule("H2O")), InputError, "an energy per structure"),
        (lambda: run(lambda positions, numbers: positions, molecule("H2O")), InputError, "shape (1,)"),
    ],
)
def test_bad_input_is_answered(build, error, text):
    with pytest.raises(error) as caught:
        build()
    assert text in str(caught.value)


def run(potential, atoms, frame=None):
    atoms.calc = SymmetrizedCalculator(potential, frame)
    return atoms.get_potential_energy()
