"""Periodic structures: which symmetries a crystal has, and results made invariant under them."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import InputError, explain, require_extra


@dataclass(frozen=True)
class SpaceGroup:
    """The operations of a crystal: one for each rotation, and the pure translations of a cell that is not primitive.

    Attributes:
        rotations: (m, 3, 3) orthogonal matrices in Cartesian coordinates, acting on columns.
        permutations: (m, n) operation k sends atom j to atom ``permutations[k, j]``.
        translations: (t, n) the same for pure translations, the identity among them.
    """

    rotations: np.ndarray
    permutations: np.ndarray
    translations: np.ndarray

    @property
    def order(self) -> int:
        """The number of operations modulo the translations of the given cell."""
        return len(self.rotations) * len(self.translations)


def space_group(atoms: Any, tol: float) -> SpaceGroup:
    """The operations of a structure that is periodic in three directions, by spglib.

    Args:
        atoms: ASE atoms.
        tol: the distance in angstrom up to which atoms count as exchanged.

    Raises:
        MissingExtraError: without spglib or scipy.
        InputError: where spglib finds no group, for instance with two atoms in one place.
    """
    cell, places, labels = atoms.cell.array, atoms.get_scaled_positions(wrap=False), _labels(atoms)
    found = _operations((cell.tolist(), places.tolist(), labels.tolist()), tol)
    if found is None:
        raise InputError(
            explain(
                f"{atoms.get_chemical_formula()}, whose space group spglib does not find at {tol} angstrom",
                "distinct atoms in a cell with a volume",
                "look for atoms in one place, or pass symmetry=None",
            )
        )
    turns, shifts = found["rotations"], found["translations"]
    pure = (turns == np.eye(3, dtype=int)).all((1, 2))
    _, one_each = np.unique(turns.reshape(len(turns), 9), axis=0, return_index=True)
    rotations = np.einsum("ij,kjl,lm->kim", cell.T, turns[one_each], np.linalg.inv(cell.T))
    left, _, right = np.linalg.svd(rotations)
    return SpaceGroup(left @ right, _sends(places, turns[one_each], shifts[one_each]), _sends(places, turns[pure], shifts[pure]))


def _operations(structure: tuple[list[list[float]], list[list[float]], list[int]], tol: float) -> dict[str, np.ndarray] | None:
    """What spglib finds; None where it finds nothing, in its old and its new way to say so."""
    try:
        import spglib
    except ImportError as error:
        raise require_extra("spglib", "atoms") from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            return spglib.get_symmetry(structure, symprec=tol)
        except getattr(getattr(spglib, "error", None), "SpglibError", ()):
            return None


def _sends(places: np.ndarray, turns: np.ndarray, shifts: np.ndarray) -> np.ndarray:
    """(m, n) the atom nearest to where each operation carries each atom, modulo the lattice."""
    try:
        from scipy.spatial import cKDTree
    except ImportError as error:
        raise require_extra("scipy", "atoms") from error
    carried = np.einsum("kij,nj->kni", turns, places) + shifts[:, None]
    return cKDTree(places % 1.0 % 1.0, boxsize=1.0).query(carried % 1.0 % 1.0)[1]


def _labels(atoms: Any) -> np.ndarray:
    """One integer per kind of atom: species, and charges and magnetic moments where they were given."""
    columns = [atoms.numbers.astype(float)]
    for name in ("initial_charges", "initial_magmoms"):
        if atoms.has(name):
            columns.append(np.round(np.asarray(atoms.get_array(name), dtype=float).reshape(len(atoms), -1), 6))
    table = np.column_stack(columns)
    return np.unique(table, axis=0, return_inverse=True)[1].reshape(-1)


def project(results: dict[str, Any], group: SpaceGroup) -> dict[str, Any]:
    """Average per-atom scalars, forces and tensors over the operations of a crystal."""
    projected = dict(results)
    turns, eye = group.rotations, np.eye(3)[None].repeat(len(group.translations), 0)
    if "forces" in results:
        projected["forces"] = _carried(_carried(results["forces"], turns, group.permutations), eye, group.translations)
    for name in ("energies", "charges", "magmoms"):
        if name in results and np.ndim(results[name]) == 1:
            once = _carried(results[name], None, group.permutations)
            projected[name] = _carried(once, None, group.translations)
    for name in ("stress", "polarizability"):
        if name in results:
            projected[name] = np.einsum("kij,jl,kml->im", turns, results[name], turns) / len(turns)
    if "dipole" in results:
        projected["dipole"] = (turns @ results["dipole"]).mean(0)
    return projected


def _carried(values: np.ndarray, turns: np.ndarray | None, sends: np.ndarray) -> np.ndarray:
    """The mean over operations of per-atom values that they turn and send from atom to atom."""
    moved = np.broadcast_to(values, (len(sends), *values.shape)) if turns is None else values @ turns.swapaxes(1, 2)
    total = np.zeros_like(values)
    np.add.at(total, sends.reshape(-1), moved.reshape(-1, *values.shape[1:]))
    return total / len(sends)


def wrapped(atoms: Any) -> np.ndarray:
    """Positions relative to the first atom, wrapped to the nearest image along periodic directions."""
    cell = atoms.cell.complete().array
    places = np.linalg.solve(cell.T, (atoms.positions - atoms.positions[:1]).T).T
    return (places - atoms.pbc * np.floor(places + 0.5 + 1e-9)) @ cell
