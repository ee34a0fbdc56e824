"""Anything that gives energies, an ASE calculator or a torch module, as one differentiable torch module on batches."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import InputError, describe, explain, require_extra

try:
    from ase.calculators.calculator import PropertyNotImplementedError, equal
except ImportError as error:
    raise require_extra("ase", "atoms") from error

ENERGIES = ("free_energy", "energy")
"""What forces may be the gradient of, in order of preference."""

PER_ATOM = {"energies": (), "forces": (3,), "charges": (), "magmoms": ()}
"""Quantities with one entry per atom, and the shape of one entry."""

PER_SAMPLE = {"energy": (), "free_energy": (), "stress": (3, 3), "dipole": (3,), "polarizability": (3, 3), "magmom": ()}
"""Quantities with one entry per structure."""

NAMES = {
    "positions": ("positions", "pos", "position", "coordinates", "coords", "r", "x", "xyz"),
    "numbers": ("numbers", "species", "z", "atomic_numbers", "types"),
    "cell": ("cell", "cells", "lattice", "box"),
    "pbc": ("pbc",),
    "charge": ("charge", "total_charge"),
    "spin": ("spin", "total_spin", "multiplicity"),
}
"""How parameters of a module's ``forward`` are commonly called."""

CHANGES = ("positions", "numbers", "cell", "pbc", "initial_charges", "initial_magmoms")
"""What a calculator is told to have changed where it has to start again."""

ANGLE = 1e-4
"""Radians of the central difference that measures how an energy changes under rotations of atoms and cell together."""


class CalculatorPotential(nn.Module):
    """An ASE calculator as a module on (R, n, 3) positions and (R, 3, 3) cells.

    The energy is differentiable: its gradient is built from the calculator's own forces and stress, so that a
    symmetrized energy has consistent forces through everything that depends on positions, weights of frames included.

    Attributes:
        template: the atoms whose species, charges, ``info``, ``pbc`` and arrays every copy carries.
        wanted: the properties to ask for.
    """

    def __init__(self, calculator: Any):
        super().__init__()
        self.calculator = calculator
        self.template: Any = None
        self.wanted: tuple[str, ...] = ("energy",)

    def available(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """Those of ``names`` that the calculator implements."""
        return tuple(name for name in names if name in self.calculator.implemented_properties)

    def forward(self, positions: Tensor, numbers: Tensor, cell: Tensor | None = None, **unused: Tensor) -> dict[str, Tensor]:
        """A dictionary of what was wanted, with leading axis R."""
        box = positions.new_zeros(positions.shape[0], 3, 3) if cell is None else cell
        values = _Evaluate.apply(positions, box, self, cell is not None)
        return dict(zip(self.wanted, values, strict=True))

    def run(self, positions: np.ndarray, cell: np.ndarray | None, wanted: tuple[str, ...]) -> dict[str, np.ndarray]:
        """One evaluation for one structure."""
        atoms = self.template.copy()
        atoms.info = dict(self.template.info)
        if cell is not None:
            atoms.set_cell(cell, scale_atoms=False)
        # a box around an isolated structure stays where it is, with the structure in the middle
        middle = 0.5 * atoms.cell.array.sum(0) if cell is None and atoms.cell.rank == 3 else np.zeros(3)
        atoms.set_constraint()
        atoms.positions[:] = positions + middle
        changes = self.calculator.check_state(atoms)
        if changes or not equal(getattr(self.calculator.atoms, "info", None), atoms.info):
            changes = changes or list(CHANGES)
            forget(self.calculator)
        if changes or any(name not in self.calculator.results for name in wanted):
            self.calculator.calculate(atoms, list(wanted), changes or list(CHANGES))
        found = {name: np.array(self._found(name), dtype=float) for name in wanted}
        if "stress" in found:
            found["stress"] = matrix_of_voigt(found["stress"])
        if "dipole" in found:
            found["dipole"] = found["dipole"] - charge_of(atoms) * middle
        return found

    def _found(self, name: str) -> Any:
        results = self.calculator.results
        if name == "free_energy" and name not in results:
            name = "energy"
        if results.get(name) is None:
            raise PropertyNotImplementedError(f"{name} not present in this calculation")
        return results[name]

    def spin(self, positions: np.ndarray, cell: np.ndarray, name: str) -> np.ndarray:
        """(3,) the change of the energy per radian when atoms and cell turn about the three axes together."""
        found = []
        for axis in np.eye(3):
            turned = [turn(axis, sign * ANGLE) for sign in (1, -1)]
            up, down = (self.run(positions @ t.T, cell @ t.T, (name,))[name] for t in turned)
            found.append((up - down) / (2 * ANGLE))
        return np.array(found)


def charge_of(atoms: Any) -> float:
    """The total charge in ``info``, zero where there is none."""
    return float(atoms.info.get("charge", 0))


def forget(calculator: Any) -> None:
    """Make a calculator, and those that it mixes, start again; they compare structures without ``info``."""
    for part in getattr(getattr(calculator, "mixer", calculator), "calcs", ()):
        forget(part)
    if hasattr(calculator, "reset"):
        calculator.reset()
    else:
        calculator.atoms, calculator.results = None, {}


class _Evaluate(torch.autograd.Function):
    """The values of a calculator; backward through the energy by its forces, stress and torque."""

    @staticmethod
    def forward(ctx: Any, positions: Tensor, cell: Tensor, potential: CalculatorPotential, periodic: bool) -> tuple[Tensor, ...]:
        """Run the calculator once per structure."""
        places, boxes = positions.detach().cpu().double().numpy(), cell.detach().cpu().double().numpy()
        runs = [potential.run(p, c if periodic else None, potential.wanted) for p, c in zip(places, boxes, strict=True)]
        values = tuple(torch.as_tensor(np.stack([run[name] for run in runs])).to(positions) for name in potential.wanted)
        ctx.potential, ctx.periodic, ctx.wanted = potential, periodic, potential.wanted
        ctx.save_for_backward(positions, cell, *values)
        ctx.mark_non_differentiable(*(v for name, v in zip(ctx.wanted, values, strict=True) if name not in ENERGIES))
        return values

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        """dE/dx = -F; dE/dcell from the stress and the torque on atoms and cell."""
        positions, cell, *values = ctx.saved_tensors
        found = dict(zip(ctx.wanted, values, strict=True))
        total = torch.stack([grad for name, grad in zip(ctx.wanted, grads, strict=True) if name in ENERGIES]).sum(0)
        to_positions = -total[:, None, None] * found["forces"] if ctx.needs_input_grad[0] and "forces" in found else None
        if not (ctx.needs_input_grad[1] and ctx.periodic and "stress" in found and "forces" in found):
            return to_positions, None, None, None
        strain = found["stress"] * torch.linalg.det(cell).abs()[:, None, None] + _symmetric(positions.mT @ found["forces"])
        name = next(one for one in ENERGIES if one in found)
        pairs = zip(positions.cpu().double().numpy(), cell.cpu().double().numpy(), strict=True)
        spins = torch.as_tensor(np.stack([ctx.potential.spin(p, c, name) for p, c in pairs])).to(cell)
        twist = torch.linalg.cross(positions, -found["forces"]).sum(1)
        whole = strain + cross_matrix(spins - twist)
        return to_positions, total[:, None, None] * torch.linalg.solve(cell.mT, whole), None, None


def _symmetric(x: Tensor) -> Tensor:
    return 0.5 * (x + x.mT)


def cross_matrix(w: Tensor) -> Tensor:
    """(..., 3, 3) the antisymmetric A with sum_ij epsilon_kij A_ij = w_k."""
    zero = torch.zeros_like(w[..., 0])
    x, y, z = (0.5 * w).unbind(-1)
    return torch.stack([torch.stack([zero, z, -y], -1), torch.stack([-z, zero, x], -1), torch.stack([y, -x, zero], -1)], -2)


def turn(axis: np.ndarray, angle: float) -> np.ndarray:
    """The (3, 3) rotation about a unit axis."""
    k = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    return np.eye(3) + np.sin(angle) * k + (1 - np.cos(angle)) * k @ k


def matrix_of_voigt(stress: np.ndarray) -> np.ndarray:
    """A (3, 3) stress from the six components xx, yy, zz, yz, xz, xy (or from a matrix)."""
    if stress.shape == (3, 3):
        return stress
    xx, yy, zz, yz, xz, xy = stress
    return np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])


class ModulePotential(nn.Module):
    """A torch module as a potential: arguments by name or position, outputs by name, the precision of its parameters.

    Args:
        module: called with batched positions (R, n, 3), numbers (R, n), cell (R, 3, 3), pbc (R, 3), charge (R,), spin (R,).
        inputs: which quantity each parameter of ``forward`` is; found from their names when left out, else the first
            three are positions, numbers and cell.
        spread: also give the forces of every single evaluation, for their spread over the frame.

    Attributes:
        slope: whether the last energies had a gradient.
    """

    def __init__(self, module: nn.Module | Callable[..., Any], inputs: Mapping[str, str] | None = None, spread: bool = True):
        super().__init__()
        self.module, self.spread = module, spread
        self.inputs = dict(inputs) if inputs is not None else _inputs_of(module)
        parameters = [p for p in module.parameters() if p.is_floating_point()] if isinstance(module, nn.Module) else []
        self.like = parameters[0] if parameters else torch.zeros((), dtype=torch.float64)
        self.direct = self.slope = True

    def forward(self, positions: Tensor, numbers: Tensor, **more: Tensor) -> dict[str, Tensor]:
        """A dictionary of recognized quantities, with leading axis R."""
        given = {"positions": positions, "numbers": numbers, **more}
        if not self.spread:
            return self._call(given)
        with torch.enable_grad():
            outer = positions.requires_grad
            inner = positions if outer else positions.detach().requires_grad_()
            found = self._call({**given, "positions": inner})
            if found["energy"].requires_grad and ("forces" not in found or not self.direct):
                (slope,) = torch.autograd.grad(found["energy"].sum(), inner, retain_graph=True, allow_unused=True)
                found["forces"] = torch.zeros_like(positions) if slope is None else -slope.detach()
        return found

    def _call(self, given: dict[str, Tensor]) -> dict[str, Tensor]:
        arguments = {name: self._cast(_blank(given, kind)) for name, kind in self.inputs.items()}
        found = self.module(**arguments)
        found = {name: value.to(torch.float64) for name, value in tidy(found, given["positions"]).items()}
        self.slope = found["energy"].requires_grad
        return found

    def _cast(self, x: Tensor) -> Tensor:
        """A copy, which the module may change in place."""
        return x.to(device=self.like.device, dtype=self.like.dtype if x.is_floating_point() else x.dtype, copy=True)


def _blank(given: dict[str, Tensor], kind: str) -> Tensor:
    """A quantity, or zeros where the structure has none."""
    if kind in given:
        return given[kind]
    positions = given["positions"]
    shape = {"cell": (3, 3), "pbc": (3,)}.get(kind, ())
    blank = positions.new_zeros(positions.shape[0], *shape)
    return blank.bool() if kind == "pbc" else blank


def _inputs_of(module: Any) -> dict[str, str]:
    """Quantities by parameter name: known names, else (positions, numbers, cell) in this order."""
    call = module.forward if isinstance(module, nn.Module) else module
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    found = [p for p in inspect.signature(call).parameters.values() if p.kind in kinds]
    named = {p.name: kind for p in found for kind, names in NAMES.items() if p.name.lower() in names}
    if "positions" in named.values() and all(p.name in named or p.default is not inspect.Parameter.empty for p in found):
        return named
    needed = [p for p in found if p.default is inspect.Parameter.empty]
    if not 1 <= len(needed) <= 3:
        raise InputError(
            explain(
                f"a model called with {[p.name for p in found]}",
                "parameters named like positions, numbers, cell, pbc, charge, spin, or up to three in that order",
                "say which is which: inputs={'r': 'positions', 'species': 'numbers'}",
            )
        )
    return {p.name: kind for p, kind in zip(needed, ("positions", "numbers", "cell"), strict=False)}


def tidy(found: Any, positions: Tensor) -> dict[str, Tensor]:
    """A model's output as a dictionary of known quantities; a bare tensor is the energy."""
    samples, atoms = positions.shape[:2]
    found = {"energy": found} if isinstance(found, Tensor) else found
    if not isinstance(found, Mapping) or "energy" not in found:
        names = list(found) if isinstance(found, Mapping) else type(found).__name__
        raise InputError(explain(f"a model that returned {names}", "an energy per structure, or a dictionary with 'energy'", "return it"))
    shapes = {name: (samples, atoms, *tail) for name, tail in PER_ATOM.items()}
    shapes |= {name: (samples, *tail) for name, tail in PER_SAMPLE.items()}
    tidied = {}
    for name, value in found.items():
        if name not in shapes:
            continue
        expected = shapes[name]
        if not isinstance(value, Tensor) or value.numel() != int(np.prod(expected)):
            raise InputError(
                explain(f"{name} is {describe(value)}", f"shape {expected} for {samples} structures of {atoms} atoms", "check the model")
            )
        tidied[name] = value.reshape(expected)
    return tidied
