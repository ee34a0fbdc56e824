"""Which continuous symmetries do molecular energies have? One affine generator shared by all atoms, twelve unknowns, from forces.

Forces of the reference calculations, and those of a small network without rotation symmetry that was fitted to them. Three
rotations and three translations are right, and nothing else. Where a data set fixes the centre of mass, translations move
the data off its span: they are listed apart, unless gradients are declared right there too (``beyond``).

Controls that must come back without rotations, or empty: forces of other frames, forces with entries in random order or random signs, and
energies in a constant field along one axis.

Reference: Moskalev et al. 2022 (LieGG), arXiv 2210.04345; Christensen and von Lilienfeld 2020 (rMD17), arXiv 2007.09593.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from _aspirin import Frames, PairNet, Plan, fresh, load, train
from _results import HERE, Experiment, data
from torch import Tensor

from coset import discover

FILES = {"aspirin": "rmd17_aspirin_train.npz", "3BPA, 300 K": "3bpa_train_300K.npz", "ethanol": "ethanol_100.npz"}
Case = tuple[str, discover.Generators, tuple[int, int, int] | None]


def found(gradients: Tensor, x: Tensor, **options: float) -> discover.Generators:
    """Generators in the family of one affine field for all atoms."""
    return discover.generators(gradients, x, basis=discover.Shared(discover.Affine(), copies=x.shape[1]), **options)


def parts(result: discover.Generators) -> tuple[int, int, int]:
    """Claimed generators that turn, claimed ones that only shift, and the ones that are listed as leaving the data's span."""
    shifts = result.type.shifts if result.type is not None else 0
    return result.dimension - shifts, shifts, len(result.leaving)


def slopes(net: PairNet, frames: Frames) -> Tensor:
    """Gradients of the network's energies."""
    x = frames.positions.float().requires_grad_()
    energy = net(x, frames.numbers.expand(len(x), -1))
    return torch.autograd.grad(energy.sum(), x)[0]


def reference(folder: Path) -> Iterator[Case]:
    """Forces as given; the centre of mass is fixed in aspirin and ethanol, not in 3BPA."""
    for name, file in FILES.items():
        frames = load(folder / file)
        x, g = frames.positions.float(), -frames.forces.float()
        fixed = name != "3BPA, 300 K"
        yield f"{name}, reference forces", found(g, x), (3, 0, 3) if fixed else (3, 3, 0)
        if fixed:
            yield f"{name}, reference forces, beyond the span", found(g, x, beyond=True), (3, 3, 0)


def fitted(folder: Path, steps: int, seed: int, smoke: bool) -> Iterator[Case]:
    """Forces of a network that was trained on configurations in random orientations, and judged on others."""
    known, test = load(folder / "rmd17_aspirin_train.npz"), load(folder / "rmd17_aspirin_test.npz")
    path = None if smoke else HERE / "out" / f"aspirin-{steps}-{seed}.pt"
    net = train(fresh(known, seed), known, Plan(steps, seed=seed), path)
    g = slopes(net, test)
    error = float((g + test.forces.float()).square().mean().sqrt() / test.forces.square().mean().sqrt())
    yield f"aspirin, network of {steps} steps, force error {100 * error:.0f} %", found(g, test.positions, beyond=True), (3, 3, 0)
    yield "aspirin, the network before training", found(slopes(fresh(known, seed), test), test.positions, beyond=True), None


def controls(folder: Path, seed: int) -> Iterator[Case]:
    """What has fewer symmetries, or none."""
    frames, generator = load(folder / FILES["3BPA, 300 K"]), torch.Generator().manual_seed(seed)
    x, g = frames.positions.float(), -frames.forces.float()
    other = g[torch.randperm(len(g), generator=generator)]
    yield "3BPA, forces of other frames (they add up to zero all the same)", found(other, x), (0, 3, 0)
    order = torch.rand(g.flatten(1).shape, generator=generator).argsort(1)
    mixed = g.flatten(1).gather(1, order).reshape(g.shape)
    yield "3BPA, entries of forces in random order (all 81 still add up to zero)", found(mixed, x), (0, 1, 0)
    signs = torch.randint(2, g.shape, generator=generator) * 2.0 - 1
    yield "3BPA, forces with random signs", found(g * signs, x), (0, 0, 0)
    pull = torch.zeros_like(g)
    pull[:, :, 2] = 1.0
    yield "3BPA, in a constant field along z, with the exact part alone", found(g + pull, x, at_most=1e-3), (1, 2, 0)


def main() -> None:
    """Reference forces, fitted forces, controls."""
    experiment = Experiment("Rotations and translations found in molecular forces")
    experiment.parser.add_argument("--steps", type=int, default=1500, help="training steps of the network")
    options = experiment.parse()
    folder = data("molecules")
    if folder is None:
        return
    steps = 5 if options.smoke else options.steps
    rows = []
    cases = (*reference(folder), *fitted(folder, steps, options.seed, options.smoke), *controls(folder, options.seed))
    for name, result, expected in cases:
        turns, shifts, leaving = parts(result)
        held = result.spectrum.held
        after = float(held[result.dimension + leaving]) if len(held) > result.dimension + leaving else float("nan")
        largest = f"{float(held[: result.dimension + leaving].max()):.1e}" if result.dimension + leaving else "-"
        kind = "-" if result.type is None else result.type.name
        status = "-" if expected is None else "met" if (turns, shifts, leaving) == expected else "missed"
        counts = [str(result.samples), str(turns), str(shifts), str(leaving)]
        rows.append([name, *counts, largest, f"{after:.2g}", kind, result.verdict, status])
    columns = [
        "forces",
        "frames",
        "turning",
        "shifts",
        "leaving the span",
        "largest change",
        "next change",
        "algebra",
        "verdict",
        "as expected",
    ]
    caption = (
        "Generators in the family A x + t, the same for all atoms. Change: root mean square of the gradient along a field on held-out "
        "frames, in units of chance; the next change is that of the first field that is not claimed."
    )
    experiment.table(columns, rows, caption)
    experiment.note(
        "The network sees displacement vectors as they are, but is nearly invariant under rotations before any training: its row "
        "shows that generators are found in a model's gradients, not that training taught them."
    )
    experiment.note("QM7: not run, as it has energies of different molecules and no forces.")
    experiment.finish()


if __name__ == "__main__":
    main()
