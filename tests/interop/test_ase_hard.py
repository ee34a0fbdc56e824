"""The ASE calculator under hostile use: odd calculators, odd modules, stale caches, small displacements."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

pytest.importorskip("ase")
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.calculator import Calculator, PropertyNotImplementedError
from ase.calculators.emt import EMT
from ase.calculators.fd import calculate_numerical_forces, calculate_numerical_stress
from ase.calculators.lj import LennardJones
from ase.calculators.mixing import AverageCalculator, LinearCombinationCalculator, SumCalculator
from ase.calculators.singlepoint import SinglePointCalculator

from coset import frames
from coset.errors import FrameError, InputError
from coset.interop.ase import SymmetrizedCalculator


def at(atoms, potential, frame=None, **options):
    atoms = atoms.copy()
    atoms.calc = SymmetrizedCalculator(potential, frame, **options)
    return atoms


class Net(nn.Module):
    """No symmetry at all, translations included."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1)).double()

    def forward(self, positions):
        return self.layers(positions).sum((1, 2))


class Charged(Calculator):
    """The quadratic energy of positions and charge, and the dipole of point charges that sum to the charge."""

    implemented_properties = ("energy", "forces", "dipole")

    def calculate(self, atoms=None, properties=None, system_changes=()):
        super().calculate(atoms, properties, system_changes)
        charge = atoms.info.get("charge", 0)
        along = atoms.positions - atoms.positions.mean(0)
        dipole = charge * atoms.numbers @ atoms.positions / atoms.numbers.sum()
        self.results = {"energy": np.square(along[:, 0]).sum() + charge, "forces": -2 * along * [1, 0, 0], "dipole": dipole}


@pytest.mark.parametrize(
    "mixed",
    [
        lambda: SumCalculator([EMT(), LennardJones()]),
        lambda: LinearCombinationCalculator([EMT(), LennardJones()], [0.5, 2.0]),
        lambda: AverageCalculator([EMT(), LennardJones()]),
    ],
)
@pytest.mark.parametrize("atoms", [molecule("CH3CH2OH"), bulk("Cu", cubic=True)], ids=["molecule", "crystal"])
def test_mixed_calculators_are_calculators(mixed, atoms):
    plain = atoms.copy()
    plain.calc = mixed()
    wrapped = at(atoms, mixed())
    assert abs(plain.get_potential_energy() - wrapped.get_potential_energy()) < 1e-10
    assert np.abs(plain.get_forces() - wrapped.get_forces()).max() < 1e-10


def test_stored_results_cannot_be_symmetrized():
    atoms = molecule("H2O")
    with pytest.raises(InputError, match="stored results of one structure"):
        SymmetrizedCalculator(SinglePointCalculator(atoms, energy=1.0))


def test_what_a_calculator_promises_and_does_not_give_is_not_implemented():
    with pytest.raises(PropertyNotImplementedError, match="magmoms not present"):
        at(molecule("H2O"), EMT()).get_magnetic_moments()


@pytest.mark.parametrize("frame", [None, frames.Weighted(of="positions")], ids=repr)
def test_energies_without_a_gradient_give_no_forces(frame):
    class Cut(Net):
        def forward(self, positions):
            return super().forward(positions).detach()

    atoms = at(molecule("CH3CH2OH"), Cut(), frame)
    assert np.isfinite(atoms.get_potential_energy())
    with pytest.raises(PropertyNotImplementedError):
        atoms.get_forces()


@pytest.mark.parametrize("spread", [True, False])
def test_modules_may_change_their_inputs_in_place(spread):
    class Careless(Net):
        def forward(self, positions, numbers):
            positions -= positions.mean(1, keepdim=True)
            numbers -= 1
            return super().forward(positions) * numbers.sum(1)

    class Careful(Net):
        def forward(self, positions, numbers):
            return super().forward(positions - positions.mean(1, keepdim=True)) * (numbers - 1).sum(1)

    one, other = (at(molecule("CH3CH2OH"), net(), spread=spread) for net in (Careless, Careful))
    for _ in range(2):
        assert one.get_potential_energy() == other.get_potential_energy()
        assert np.array_equal(one.get_forces(), other.get_forces())
        one.calc.reset()


def test_modules_are_evaluated_and_their_mode_is_put_back():
    class Noisy(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm, self.drop, self.out = nn.BatchNorm1d(3), nn.Dropout(0.5), nn.Linear(3, 1)

        def forward(self, positions):
            return self.out(self.drop(self.norm(positions.mT).mT).tanh()).sum((1, 2))

    net = Noisy()
    net.drop.eval()
    atoms, found = at(molecule("CH3CH2OH"), net, frames.Quadrature(2), chunk=5), []
    for _ in range(2):
        found.append(atoms.get_potential_energy())
        atoms.calc.reset()
    assert found[0] == found[1]
    assert net.training
    assert net.norm.training
    assert not net.drop.training
    assert int(net.norm.num_batches_tracked) == 0


@pytest.mark.parametrize("potential", [lambda positions, charge: positions.square().sum((1, 2)) + charge, Charged()], ids=["net", "calc"])
def test_a_new_charge_is_a_new_structure(potential):
    atoms = at(molecule("H2O"), potential)
    energy = atoms.get_potential_energy()
    atoms.info["charge"] = 1
    assert abs(atoms.get_potential_energy() - energy - 1) < 1e-12
    del atoms.info["charge"]
    assert atoms.get_potential_energy() == energy


def test_the_dipole_of_an_ion_does_not_see_the_box_around_it():
    atoms = molecule("CH3CH2OH")
    atoms.info["charge"] = 1
    atoms.set_cell([10.0, 11.0, 12.0])
    expected = atoms.numbers @ atoms.positions / atoms.numbers.sum()
    assert np.abs(at(atoms, Charged()).get_dipole_moment() - expected).max() < 1e-10


def test_small_displacements_in_a_crystal_are_felt():
    atoms = bulk("Cu", cubic=True)
    atoms.positions[0, 0] += 2e-4
    plain = atoms.copy()
    plain.calc = EMT()
    assert np.abs(plain.get_forces()).max() > 1e-3
    assert np.abs(at(atoms, EMT()).get_forces() - plain.get_forces()).max() < 1e-10


@pytest.mark.parametrize("kind", ["crystal", "chain"])
def test_forces_of_modules_that_see_positions_are_derivatives_in_periodic_structures(kind):
    atoms = Atoms("CuAlCu", [[0.4, 0.1, 0], [1.5, 1.2, 1.9], [3.1, 0.3, 0.2]], cell=[[4, 1, 0], [0, 5, 0.5], [0, 0, 6]], pbc=True)
    if kind == "chain":
        atoms.pbc, atoms.cell[1:] = (True, False, False), 0
    atoms = at(atoms, Net(), symmetry=None)
    forces = atoms.get_forces()
    assert np.abs(forces - calculate_numerical_forces(atoms, eps=1e-5)).max() < 1e-8
    assert np.abs(forces.sum(0)).max() < 1e-12
    if kind == "crystal":
        assert np.abs(atoms.get_stress() - calculate_numerical_stress(atoms, eps=1e-5)).max() < 1e-8


def test_energy_and_forces_of_a_random_rotation_belong_together():
    def found(first, second):
        atoms = at(molecule("CH3CH2OH"), Tilted(), frames.Haar(1, generator=torch.Generator().manual_seed(0)))
        return {name: atoms.calc.get_property(name, atoms) for name in (first, second)}

    class Tilted(Charged):
        implemented_properties = ("energy", "forces")

    one, other = found("energy", "forces"), found("forces", "energy")
    assert one["energy"] == other["energy"]
    assert np.array_equal(one["forces"], other["forces"])


def test_results_that_ase_has_no_name_for_do_not_stop_exports():
    atoms = at(molecule("H2O"), lambda positions: {"energy": positions.sum((1, 2)), "polarizability": positions.new_zeros(1, 3, 3)})
    atoms.get_potential_energy()
    assert "energy" in atoms.calc.export_properties()
    assert np.shape(atoms.calc.get_property("polarizability", atoms)) == (3, 3)


@pytest.mark.parametrize("frame", ["pca", frames.Weighted])
def test_what_is_no_frame_is_answered(frame):
    with pytest.raises(FrameError, match="a frame object"):
        at(molecule("H2O"), EMT(), frame).get_potential_energy()
