"""An ASE calculator that makes any calculator or torch module exactly equivariant, with forces that fit its energy."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .. import actions, frames, groups
from ..errors import FrameError, GroupError, InputError, describe, explain, require_extra
from ..symmetrized import Stats, Symmetrized
from . import _crystals as crystals
from ._potentials import PER_ATOM, PER_SAMPLE, CalculatorPotential, ModulePotential, charge_of

try:
    from ase.calculators.calculator import Calculator, all_changes, all_properties, equal
    from ase.calculators.singlepoint import SinglePointCalculator
    from ase.outputs import Properties
    from ase.stress import full_3x3_to_voigt_6_stress
except ImportError as error:
    raise require_extra("ase", "atoms") from error

TOLERANCE = 1e-8
"""Relative symmetry tolerance of the default frame: small, so that a potential that is right already is unchanged."""

KNOWN = (*PER_SAMPLE, *PER_ATOM)


class SymmetrizedCalculator(Calculator):
    """Any ASE calculator, or any torch module on (positions, species, cell), symmetrized by a frame.

    Forces are minus the gradient of the symmetrized energy, through everything in the frame that depends on positions
    (rotations, weights), so they are consistent with it wherever the frame is continuous; net force and, for isolated
    structures, torque vanish. For calculators the gradient is built from their own forces and stress.

    Which frame when ``frame`` is left out (``explain(atoms)`` says it for a structure):

    - isolated structures: ``frames.Minimal`` of the positions coloured by species, exact for one evaluation;
      ``frames.Weighted()`` is continuous, as long dynamics needs it;
    - periodic in three directions: positions are defined modulo lattice translations only, so the frame is the
      orientation of the cell (smooth, constant at constant cell), one evaluation; results are then averaged over the
      space group, so that a relaxation keeps it;
    - slabs and chains: the cell as well, without the average; where only two lattice vectors are given, under proper
      rotations; where one is given, the positions fix the angle about it.

    ``frames.Quadrature(degree)`` averages over the cheapest finite rotation group that is exact for polynomials of that
    degree (reflections included: 12 elements for degree 2, 24 for 3, 120 for 5), ``frames.Haar(1, generator=g)`` takes a random rotation at
    every step. Both are combined with centring by themselves.

    Args:
        potential: an ASE calculator, or a module. A module gets batched tensors (K, n, 3), (K, n), (K, 3, 3) and returns
            the energy (K,) in eV, or a dictionary with ``energy`` and any of ``energies`` (K, n), ``forces``, ``stress``
            (K, 3, 3), ``dipole``, ``polarizability``.
        frame: an unbound frame, computed from ``positions``, or, in crystals, from ``cell``.
        conservative: False takes a module's own ``forces`` and ``stress``, freed of net force and torque.
        inputs: which quantity (``positions numbers cell pbc charge spin``) each parameter of the module is, by name.
        spread: give the standard deviations over the frame of forces too; for modules this costs a backward pass.
        symmetry: the distance in angstrom up to which crystal symmetry counts; forces lose the part that breaks it, so atoms displaced
            by less count as not displaced. None leaves the space group alone.
        chunk: the largest number of copies that a module sees at once.

    Modules run in evaluation mode; theirs is put back. Energy and forces of a random frame belong to the same elements.

    Results are those of the potential, and for each the standard deviation over the frame's elements as ``*_std``.

    Example:
        >>> from ase.build import molecule
        >>> from ase.calculators.emt import EMT
        >>> from coset.interop.ase import SymmetrizedCalculator
        >>> atoms = molecule("H2O")
        >>> atoms.calc = SymmetrizedCalculator(EMT())
        >>> round(float(atoms.get_potential_energy()), 6)
        2.619811
    """

    def __init__(
        self,
        potential: Calculator | nn.Module | Callable[..., Any],
        frame: frames.Frame | None = None,
        *,
        conservative: bool = True,
        inputs: Mapping[str, str] | None = None,
        spread: bool = True,
        symmetry: float | None = 1e-5,
        chunk: int | None = None,
    ):
        super().__init__()
        self.asked, self.conservative, self.symmetry, self.chunk, self.spread = frame, conservative, symmetry, chunk, spread
        if isinstance(potential, SinglePointCalculator):
            raise InputError(
                explain(
                    f"{describe(potential)}, the stored results of one structure",
                    "a calculator that can be evaluated at turned structures",
                    "pass the calculator that these results came from",
                )
            )
        if hasattr(potential, "implemented_properties") and hasattr(potential, "calculate"):
            self.potential: CalculatorPotential | ModulePotential = CalculatorPotential(potential)
            self.implemented_properties = [name for name in potential.implemented_properties if name in KNOWN]
        elif callable(potential):
            self.potential = ModulePotential(potential, inputs, spread)
            self.potential.direct = not conservative
            self.implemented_properties = list(KNOWN)
        else:
            raise InputError(
                explain(f"{describe(potential)} as potential", "an ASE calculator or a torch module", "pass for instance EMT()")
            )
        self.stats: Stats | None = None
        self._built: dict[Any, Symmetrized] = {}

    def calculate(self, atoms: Any = None, properties: list[str] | None = None, system_changes: list[str] = all_changes) -> None:
        """Fill ``results`` for a structure.

        Raises:
            InputError: for structures without atoms, non-finite positions, or outputs that do not fit.
            FrameError: when the frame cannot serve the structure, with the remedy.
        """
        super().calculate(atoms, properties, system_changes)
        atoms = self.atoms
        _check(atoms)
        periodic = bool(atoms.pbc.any())
        model, inputs = self._model(atoms, periodic, tuple(properties or ["energy"]))
        results, self.stats = self._evaluate(model, inputs, atoms, periodic)
        if atoms.pbc.all() and self.symmetry is not None:
            results = crystals.project(results, crystals.space_group(atoms, self.symmetry))
        for name in ("stress", "stress_std"):
            if name in results:
                results[name] = full_3x3_to_voigt_6_stress(results[name])
        results.setdefault("free_energy", results["energy"])
        self.results = results

    def check_state(self, atoms: Any, tol: float = 1e-15) -> list[str]:
        """What has changed since the last calculation: what ASE compares, and ``info``, which holds charge and spin."""
        changes = super().check_state(atoms, tol=tol)
        same = self.atoms is not None and equal(self.atoms.info, atoms.info)
        return changes if same else [*changes, "info"]

    def export_properties(self) -> Properties:
        """The results that ASE has names for."""
        return Properties({name: value for name, value in self.results.items() if name in all_properties})

    def explain(self, atoms: Any) -> str:
        """Which frame a structure gets, and why."""
        if self.asked is not None:
            return f"{self.asked!r}, as asked"
        if not atoms.pbc.any():
            return (
                "Minimal(of='positions', colours='numbers'): exact for one evaluation, also at symmetric structures; it is not continuous, "
                "so for dynamics pass frames.Weighted()"
            )
        text = (
            "Minimal(of='cell'): positions in a crystal are defined modulo lattice translations only, the cell fixes an orientation "
            "smoothly; one evaluation"
        )
        if atoms.pbc.all():
            return text + ("" if self.symmetry is None else f", then the average over the space group found at {self.symmetry} angstrom")
        if atoms.cell.rank == 2:
            return text + ", under proper rotations, because two lattice vectors do not tell a structure from its mirror image"
        return text if atoms.cell.rank == 3 else text + "; the angle about the only lattice vector comes from the positions, in their order"

    def _model(self, atoms: Any, periodic: bool, properties: tuple[str, ...]) -> tuple[Symmetrized, dict[str, Tensor]]:
        """The symmetrized potential for one kind of structure and set of properties, and its inputs."""
        wanted = self._wanted(properties, periodic)
        inputs = _inputs(atoms, periodic)
        kind = (wanted, tuple(inputs), atoms.cell.rank == 2 if periodic else None)
        if isinstance(self.potential, CalculatorPotential):
            self.potential.template, self.potential.wanted = atoms, wanted
        if kind not in self._built:
            group = groups.Euclidean(3) if not periodic else _rotations(atoms)
            if isinstance(self.potential, ModulePotential):
                with _evaluating(self.potential), torch.no_grad():
                    wanted = tuple(self.potential(**inputs))
            source = _source(group, inputs)
            target = actions.Dict(**{name: _kind(group, name) for name in wanted})
            self._built[kind] = self._symmetrize(source >> target, periodic)
        return self._built[kind], inputs

    def _symmetrize(self, signature: Any, periodic: bool) -> Symmetrized:
        """Bind the frame; centre first where it needs a compact group."""
        frame = self.asked
        if frame is None:
            frame = frames.Minimal(of="cell") if periodic else frames.Minimal(of="positions", colours="numbers", tol=TOLERANCE)
        elif periodic and _reads(frame) and getattr(frame, "of", None) != "cell":
            raise FrameError(
                explain(
                    f"{frame!r} for a periodic structure, whose positions are defined modulo lattice translations only",
                    "a frame of the cell, or one that does not look at the structure",
                    "leave frame out, or pass frames.Minimal(of='cell') or frames.Quadrature(degree)",
                )
            )
        try:
            return Symmetrized(self.potential, signature, frame, chunk=self.chunk)
        except GroupError:
            if periodic:
                raise
            return Symmetrized(self.potential, signature, frames.Chain(frames.Center(of="positions"), frame), chunk=self.chunk)

    def _wanted(self, properties: tuple[str, ...], periodic: bool) -> tuple[str, ...]:
        """What the potential is asked for: the properties, an energy, and forces where they are needed."""
        if isinstance(self.potential, ModulePotential):
            return properties
        wanted = {"energy", *self.potential.available(("free_energy",)), *properties}
        if getattr(self.asked, "stochastic", False):  # everything from the same elements
            wanted |= {"forces", "stress"}
        if "stress" in wanted:
            wanted.add("forces")
        if not periodic:
            wanted.discard("stress")
        return tuple(sorted(set(self.potential.available(tuple(wanted)))))

    def _evaluate(self, model: Symmetrized, inputs: dict[str, Tensor], atoms: Any, periodic: bool) -> tuple[dict[str, Any], Stats]:
        """Results in NumPy, stress as a matrix."""
        strain = torch.zeros(3, 3, dtype=torch.float64, requires_grad=True)
        positions = inputs["positions"].requires_grad_()
        stretched = {**inputs, "positions": positions + positions @ (strain + strain.T) / 2}
        if "cell" in inputs:
            stretched["cell"] = inputs["cell"] + inputs["cell"] @ (strain + strain.T) / 2
        with _evaluating(model):
            values, stats = model(**stretched, return_stats=True)
        results = {name: value[0].detach().cpu().numpy() for name, value in values.items()}
        for name, value in stats.std.items():
            results[f"{name}_std"] = value[0].detach().cpu().numpy()
        energy = values.get("free_energy", values["energy"])
        if self.conservative and energy.requires_grad and self._has_slope(results):
            slope, tension = torch.autograd.grad(energy.sum(), (positions, strain), allow_unused=True)
            results["forces"] = np.zeros_like(atoms.positions) if slope is None else -slope[0].numpy()
            if periodic:  # the first atom is the origin of the others
                results["forces"][0] -= results["forces"].sum(0)
            if tension is not None and atoms.cell.rank == 3 and (isinstance(self.potential, ModulePotential) or "stress" in results):
                results["stress"] = (tension / atoms.get_volume()).numpy()
        elif "forces" in results and not self.conservative:
            results["forces"] = without_net(results["forces"], atoms.positions, torque=not periodic)
        if "dipole" in results and not periodic:
            results["dipole"] = results["dipole"] + charge_of(atoms) * atoms.positions.mean(0)
        for name in ("energy", "free_energy", "energy_std", "free_energy_std"):
            if name in results:
                results[name] = float(results[name])
        return results, stats

    def _has_slope(self, results: dict[str, Any]) -> bool:
        """Whether the energy has a gradient: modules by autograd, calculators by their forces."""
        return self.potential.slope if isinstance(self.potential, ModulePotential) else "forces" in results


@contextlib.contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode, and then what was there."""
    modes = [(part, part.training) for part in module.modules()]
    try:
        module.eval()
        yield
    finally:
        for part, training in modes:
            part.training = training


def _check(atoms: Any) -> None:
    """Refuse structures that mean nothing."""
    if len(atoms) == 0:
        raise InputError(explain("atoms without atoms", "one atom or more", "build the structure first"))
    if not np.isfinite(atoms.positions).all() or not np.isfinite(atoms.cell.array).all():
        bad = np.flatnonzero(~np.isfinite(atoms.positions).all(1))[:5].tolist()
        raise InputError(
            explain(f"positions or a cell with NaN or infinite entries (atoms {bad})", "finite numbers", "repair the structure")
        )
    if atoms.pbc.any() and np.linalg.matrix_rank(atoms.cell.array[atoms.pbc]) < atoms.pbc.sum():
        raise InputError(
            explain(
                f"pbc {atoms.pbc.tolist()} with the cell {atoms.cell.array.tolist()}",
                "independent lattice vectors along the periodic directions",
                "set the cell, or pbc=False",
            )
        )


def _inputs(atoms: Any, periodic: bool) -> dict[str, Tensor]:
    """One structure as batched tensors."""
    places = crystals.wrapped(atoms) if periodic else atoms.positions
    inputs = {"positions": torch.as_tensor(np.array(places))[None], "numbers": torch.as_tensor(atoms.numbers, dtype=torch.long)[None]}
    if periodic:
        inputs["cell"] = torch.as_tensor(np.array(atoms.cell.array))[None]
        inputs["pbc"] = torch.as_tensor(np.array(atoms.pbc))[None]
    for name in ("charge", "spin"):
        if name in atoms.info:
            inputs[name] = torch.tensor([float(atoms.info[name])], dtype=torch.float64)
    return inputs


def _source(group: groups.Group, inputs: dict[str, Tensor]) -> actions.Dict:
    """How the group moves the inputs."""
    kinds = {"positions": actions.Points(group, points=True), "numbers": actions.Trivial(group, points=True), "cell": actions.Cell(group)}
    return actions.Dict(**{name: kinds.get(name, actions.Trivial(group, points=False)) for name in inputs})


def _kind(group: groups.Group, name: str) -> actions.Action:
    """How the group moves an output."""
    if name == "forces":
        return actions.Vectors(group, points=True)
    if name == "dipole":
        return actions.Vectors(group, points=False)
    if name in ("stress", "polarizability"):
        return actions.Tensors(group, 2, points=False)
    return actions.Trivial(group, points=name in PER_ATOM)


def _rotations(atoms: Any) -> groups.Group:
    """Rotations and reflections; rotations alone where two lattice vectors fix an orientation only up to a mirror."""
    return groups.SpecialOrthogonal(3) if atoms.cell.rank == 2 else groups.Orthogonal(3)


def _reads(frame: frames.Frame) -> bool:
    """Whether a frame looks at the structure."""
    inner = getattr(frame, "frame", frame)
    return not isinstance(inner, (frames.Full, frames.Haar, frames.Quadrature, frames.Given))


def without_net(forces: np.ndarray, positions: np.ndarray, torque: bool) -> np.ndarray:
    """The nearest forces with no net force (and no net torque about the centroid).

    Args:
        forces: (n, 3).
        positions: (n, 3).
        torque: remove the torque too.
    """
    arms = positions - positions.mean(0)
    columns = [np.tile(axis, (len(arms), 1)).reshape(-1) for axis in np.eye(3)]
    if torque:
        columns += [np.cross(axis, arms).reshape(-1) for axis in np.eye(3)]
    rigid = np.stack(columns, 1)
    flat = forces.reshape(-1)
    return (flat - rigid @ np.linalg.lstsq(rigid, flat, rcond=1e-10)[0]).reshape(forces.shape)
