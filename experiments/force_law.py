"""Which symmetries has the force between charged particles? From its formula, and from measured accelerations of five particles.

The law: a_i = sum_j q_i q_j (x_i - x_j) / |x_i - x_j|^3, at the positions of the n-body data. Unknown: one affine field for
the positions of all particles, and one linear field for their accelerations. Right are three rotations of both, three
translations that leave accelerations alone, and x -> s x with a -> s^-2 a: seven, and nothing else; the last one says
that the law is inverse-square. In a medium that is stiffer along one axis, seven again, but two rotations are those of a stretched
space. With a constant pull along one axis four are left.

The measurement: differences of velocities between frames 6 and 8 divided by the time, and a sum over pairs of one unconstrained
network of the displacement and the charges, fitted to them. Translations are built into it; rotations are not.

Reference: Satorras et al. 2021, arXiv 2102.09844 (the data).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from _results import Experiment, data
from torch import Tensor, nn

from coset import discover, groups

INPUTS, OUTPUTS = discover.Shared(discover.Affine(), copies=5), discover.Shared(discover.Linear(), copies=5)
FRAME_TIME = 0.1


def load(path: Path, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Positions (N, 5, 3) between frames 6 and 8, charges (N, 5), mean accelerations (N, 5, 3)."""
    with np.load(path) as found:
        frames = found["frames"].tolist()
        a, b = frames.index(6), frames.index(8)
        x, v = (torch.tensor(found[f"{name}_train"][:count]).mT for name in ("loc", "vel"))
        q = torch.tensor(found["charges_train"][:count, :, 0]).double()
    return (x[:, a] + x[:, b]) / 2, q, (v[:, b] - v[:, a]) / (2 * FRAME_TIME)


def coulomb(x: Tensor, q: Tensor, medium: Tensor) -> Tensor:
    """Accelerations (N, 15) of charges in a medium with the given stiffness along each axis."""
    gap = x[:, :, None] - x[:, None]
    square = (gap * gap * medium).sum(-1) + torch.eye(5, dtype=x.dtype)
    return ((q[:, :, None] * q[:, None])[..., None] * gap / square[..., None] ** 1.5).sum(2).flatten(1)


class Pairs(nn.Module):
    """Accelerations as a sum over pairs of a network of displacement and product of charges."""

    def __init__(self, width: int = 64):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(5, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 3))

    def forward(self, x: Tensor, q: Tensor) -> Tensor:
        """(N, 5, 3)."""
        gap = x[:, :, None] - x[:, None]
        distance = (gap.square().sum(-1, keepdim=True) + 0.01).sqrt()
        pair = self.body(torch.cat([gap / distance, 1 / distance, (q[:, :, None] * q[:, None])[..., None]], -1))
        return (pair * (1 - torch.eye(5, dtype=x.dtype))[:, :, None]).sum(2)


def fit(x: Tensor, q: Tensor, a: Tensor, steps: int, seed: int) -> tuple[Pairs, float]:
    """The network, and its relative error."""
    torch.manual_seed(seed)
    net, generator = Pairs(), torch.Generator().manual_seed(seed)
    unit, optimizer = float(a.square().mean().sqrt()), torch.optim.Adam(net.parameters(), 3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-3, total_steps=steps)
    for _ in range(steps):
        rows = torch.randint(len(x), (256,), generator=generator)
        loss = (net(x[rows].float(), q[rows].float()) - a[rows].float() / unit).square().clamp(max=25).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        error = (net(x.float(), q.float()) * unit - a).abs().median() / a.abs().median()
    return net, float(error)


def derivatives(f: nn.Module, x: Tensor, q: Tensor) -> tuple[Tensor, Tensor]:
    """Jacobians (N, 15, 5, 3) and values (N, 15) of accelerations as a function of positions."""
    x = x.clone().requires_grad_()
    y = f(x, q).flatten(1)
    return torch.stack([torch.autograd.grad(y[:, j].sum(), x, retain_graph=True)[0] for j in range(15)], 1), y.detach()


def exponent(found: discover.Generators) -> str:
    """The s^e by which accelerations scale when positions scale by s: the ratio of traces of the generator that scales most."""
    if not found.dimension or found.outputs is None:
        return "-"
    traces = found.generators[:, :, :3].diagonal(dim1=1, dim2=2).sum(1)
    if float(traces.abs().max()) < 1e-2:
        return "-"
    outward = found.outputs.diagonal(dim1=1, dim2=2).sum(1)
    return f"{float((traces @ outward) / (traces @ traces)):.4g}"


def row(name: str, found: discover.Generators, expected: int, least: int) -> list[str]:
    """One line of the table; rotations are compared with so(3) where there are enough generators."""
    held, k = found.spectrum.held, found.dimension
    largest = f"{float(held[:k].max()):.1e}" if k else "-"
    after = f"{float(held[k]):.2g}" if len(held) > k else "-"
    cosines = found.compare(groups.SpecialEuclidean(3)) if k else torch.zeros(1)
    close = int((cosines > 0.99).sum())
    met = "met" if k == expected and close >= least else "missed"
    return [name, str(found.samples), f"{k} ({expected})", f"{close} of 6", exponent(found), largest, after, found.verdict, met]


def main() -> None:
    """The formula, a broken formula, and measured accelerations."""
    experiment = Experiment("The force law between charged particles")
    experiment.parser.add_argument("--steps", type=int, default=4000, help="training steps of the pair network")
    options = experiment.parse()
    path = data("nbody", "nbody_charged5_initvel1small.npz")
    if path is None:
        return
    x, q, a = load(path, 200 if options.smoke else 3000)
    apart = (torch.cdist(x, x) + 10 * torch.eye(5)).amin((1, 2)) > 0.5
    x, q, a = x[apart], q[apart], a[apart]
    rows = []
    for name, medium, expected, least in (("formula", (1.0, 1.0, 1.0), 7, 6), ("formula, stiffer along z", (1.0, 1.0, 3.0), 7, 4)):
        jacobian, values = derivatives(lambda x, q, m=medium: coulomb(x, q, torch.tensor(m, dtype=x.dtype)), x, q)
        plain = discover.generators(jacobian, x, basis=INPUTS, output=OUTPUTS, values=values)
        rows.append(row(name, plain, expected, least))
    pull = torch.tensor([0.0, 0.0, 0.3], dtype=torch.float64)
    jacobian, values = derivatives(lambda x, q: coulomb(x, q, torch.ones(3)) + pull.repeat(5), x, q)
    pulled = discover.generators(jacobian, x, basis=INPUTS, output=OUTPUTS, values=values)
    rows.append(row("formula, with a constant pull along z", pulled, 4, 4))
    net, error = fit(x, q, a, 20 if options.smoke else options.steps, options.seed)
    jacobian, values = derivatives(lambda x, q: net(x.float(), q.float()), x, q)
    found = discover.generators(jacobian, x, basis=INPUTS, output=OUTPUTS, values=values)
    rows.append(row(f"network fitted to measured accelerations, median error {100 * error:.0f} %", found, 7, 6))
    columns = [
        "accelerations",
        "samples",
        "generators (right)",
        "of se(3)",
        "scaling",
        "largest change",
        "next change",
        "verdict",
        "as expected",
    ]
    caption = "Pairs of an affine field of positions and a linear field of accelerations, the same for all five particles."
    experiment.table(columns, rows, caption)
    experiment.finish()


if __name__ == "__main__":
    main()
