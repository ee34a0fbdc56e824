"""ASE's EMT wrapped stays what it is; EMT with a term that prefers one direction of the laboratory is repaired.

For all g2 molecules and a set of crystals and slabs of EMT's elements: the largest change of energy, forces and stress by
the wrapper, the change of energy and forces under rotations before and after, and the error of forces and stress as
derivatives of the energy.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from _results import Experiment
from ase import Atoms
from ase.build import bulk, fcc111, molecule
from ase.calculators.emt import EMT, parameters
from ase.calculators.fd import calculate_numerical_forces, calculate_numerical_stress
from ase.collections import g2
from ase.neighborlist import neighbor_list

from coset import frames
from coset.interop.ase import SymmetrizedCalculator

FRAMES: dict[str, Any] = {
    "default": lambda: None,
    "average of degree 2": lambda: frames.Quadrature(2),
    "average of degree 3": lambda: frames.Quadrature(3),
}
FOR_MOLECULES: dict[str, Any] = {
    **FRAMES,
    "PCA": lambda: frames.PCA(of="positions"),
    "weighted": lambda: frames.Weighted(of="positions"),
    "two random rotations": lambda: frames.Haar(2),
}
UNCHANGED = 1e-10


class Anisotropic(EMT):
    """EMT plus 0.1 eV/A^4 times w(r) (a . r)^4 over pairs, with a fixed direction a and a smooth cutoff at 4 angstrom."""

    def calculate(self, atoms: Any = None, properties: Any = ("energy",), system_changes: Any = ()) -> None:
        """EMT's results plus those of the pair term."""
        super().calculate(atoms, list(properties), ["positions", "numbers", "cell", "pbc"])
        i, j, gap = neighbor_list("ijD", self.atoms, 4.0)
        axis = np.array([0.3, 0.5, 0.1])
        share = (gap**2).sum(1) / 16
        weight, along = np.exp(-1 / (1 - share)), gap @ axis
        slope = -weight / 8 / (1 - share) ** 2 * along**4
        pull = 0.1 * (slope[:, None] * gap + (4 * weight * along**3)[:, None] * axis)
        self.results["energy"] = self.results["free_energy"] = self.results["energy"] + 0.1 * float((weight * along**4).sum())
        forces = self.results["forces"] = self.results["forces"].copy()
        np.add.at(forces, i, pull)
        np.add.at(forces, j, -pull)
        if "stress" in self.results:
            tensor = gap.T @ pull / self.atoms.get_volume()
            self.results["stress"] = self.results["stress"] + ((tensor + tensor.T) / 2)[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]


def molecules(smoke: bool) -> list[Atoms]:
    """The g2 molecules made of elements that EMT knows."""
    known = [g2[name] for name in g2.names if set(g2[name].get_chemical_symbols()) <= set(parameters)]
    return known[:: 20 if smoke else 1]


def crystals(smoke: bool) -> list[Atoms]:
    """Perfect and distorted cells, alloys, slabs."""
    gold = bulk("Au", cubic=True)
    gold.symbols[0] = "Cu"
    found = [bulk("Cu"), bulk("Al", cubic=True), gold, fcc111("Pt", (2, 2, 2), vacuum=5.0)]
    for atoms in [bulk("Ni", cubic=True), bulk("Ag") * (2, 1, 1)]:
        atoms.rattle(0.05, seed=1)
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + 0.02 * np.random.default_rng(0).normal(size=(3, 3))), scale_atoms=True)
        found.append(atoms)
    return found[-1:] if smoke else found


def values(atoms: Atoms, calculator: Any) -> list[Any]:
    """Energy, forces, and stress where the structure is periodic."""
    atoms = atoms.copy()
    atoms.calc = calculator
    found = [atoms.get_potential_energy(), atoms.get_forces()]
    return found + ([atoms.get_stress(voigt=False)] if atoms.pbc.any() else [])


def unchanged(structures: list[Atoms], frame: Any) -> float:
    """The largest change of energy (eV), forces (eV/A) or stress (eV/A^3) by wrapping EMT."""
    worst = 0.0
    for atoms in structures:
        pairs = zip(values(atoms, EMT()), values(atoms, SymmetrizedCalculator(EMT(), frame())), strict=True)
        worst = max([worst, *(float(np.abs(a - b).max()) for a, b in pairs)])
    return worst


def turned(structures: list[Atoms], build: Any) -> float:
    """The largest change of the energy (eV) and of the forces carried back (eV/A) under a rotation of the structure."""
    worst = 0.0
    turn = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))[0]
    turn = turn * np.linalg.det(turn)
    for atoms in structures:
        other = atoms.copy()
        other.set_cell(atoms.cell.array @ turn.T)
        other.positions = atoms.positions @ turn.T
        (e, f, *_), (e2, f2, *_) = values(atoms, build()), values(other, build())
        worst = max(worst, abs(e - e2), float(np.abs(f @ turn.T - f2).max()))
    return worst


def derivatives(atoms: Atoms, frame: Any) -> float:
    """The largest error of forces (eV/A) and stress (eV/A^3) against central differences of the energy."""
    atoms = atoms.copy()
    atoms.calc = SymmetrizedCalculator(Anisotropic(), frame(), symmetry=None)
    worst = float(np.abs(atoms.get_forces() - calculate_numerical_forces(atoms, eps=1e-5)).max())
    if atoms.pbc.any():
        worst = max(worst, float(np.abs(atoms.get_stress() - calculate_numerical_stress(atoms, eps=1e-5)).max()))
    return worst


def main() -> None:
    """Two tables."""
    experiment = Experiment("EMT wrapped is unchanged, anisotropic EMT is repaired")
    smoke = experiment.parse().smoke
    ethanol = molecule("CH3CH2OH")
    ethanol.rattle(0.05, seed=0)
    rows = []
    for kind, structures, choices, probe in (
        ("molecules", molecules(smoke), FOR_MOLECULES, ethanol),
        ("crystals and slabs", crystals(smoke), FRAMES, crystals(True)[0]),
    ):
        before = turned(structures, Anisotropic)
        for name, frame in choices.items():
            change = unchanged(structures, frame)
            after = turned(structures, lambda frame=frame: SymmetrizedCalculator(Anisotropic(), frame(), symmetry=None))
            slope = "" if "random" in name else f"{derivatives(probe, frame):.1e}"
            status = "met" if change <= UNCHANGED else "missed"
            rows.append([f"{len(structures)} {kind}", name, f"{change:.1e}", status, f"{before:.2g}", f"{after:.1e}", slope])
    experiment.table(
        ["structures", "frame", "change of EMT", f"≤ {UNCHANGED:g}", "anisotropic EMT, turned", "wrapped, turned", "derivative error"],
        rows,
        "Largest deviations over structures and over energy (eV), forces (eV/Å) and stress (eV/Å³). Averages of a finite degree and random "
        "rotations leave what exceeds their degree; the default, PCA and weighted frames are exact.",
    )
    experiment.finish()


if __name__ == "__main__":
    main()
