"""How large is the error of a Haar average at a number of model calls? Independent elements, random cosets, quadratures."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from _bench import Bench, medians
from torch import Tensor, nn

import coset
from coset import actions, frames, groups

FILE = Path("nbody", "nbody_charged5_initvel1small.npz")
EXACT = 25
"""The degree of the quadrature that stands for the exact average; 19 is compared with it."""


class Perceptron(nn.Module):
    """All coordinates at once."""

    def __init__(self, points: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(7 * points, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 3 * points))

    def forward(self, pos: Tensor, vel: Tensor, charge: Tensor) -> Tensor:
        return self.body(torch.cat([pos, vel, charge], -1).flatten(1)).reshape(pos.shape)


class Messages(nn.Module):
    """Two rounds of messages between all points, which see coordinates as plain features."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.embed, self.head = nn.Linear(7, width), nn.Linear(width, 3)
        self.edges = nn.ModuleList(nn.Sequential(nn.Linear(2 * width + 3, width), nn.SiLU(), nn.Linear(width, width)) for _ in range(2))
        self.nodes = nn.ModuleList(nn.Sequential(nn.Linear(2 * width, width), nn.SiLU(), nn.Linear(width, width)) for _ in range(2))

    def forward(self, pos: Tensor, vel: Tensor, charge: Tensor) -> Tensor:
        h, n = self.embed(torch.cat([pos, vel, charge], -1)), pos.shape[1]
        apart = pos.unsqueeze(2) - pos.unsqueeze(1)
        for edge, node in zip(self.edges, self.nodes, strict=True):
            pairs = torch.cat([h.unsqueeze(2).expand(-1, -1, n, -1), h.unsqueeze(1).expand(-1, n, -1, -1), apart], -1)
            h = h + node(torch.cat([h, edge(pairs).mean(2)], -1))
        return self.head(h)


def configurations(count: int) -> tuple[str, dict[str, Tensor], Tensor]:
    """Where they are from, positions, velocities and charges of five particles, and by how much they move."""
    path = Path(os.environ.get("COSET_DATA", "missing")) / FILE
    if not path.exists():
        pos, vel = torch.randn(2, count, 5, 3)
        charge = torch.randint(2, (count, 5, 1)) * 2.0 - 1
        force = (charge * charge.mT).unsqueeze(-1) * (pos.unsqueeze(2) - pos.unsqueeze(1))
        goal = vel + (force / (1 + force.square().sum(-1, keepdim=True))).sum(2)
        return "random clouds", {"pos": pos, "vel": vel, "charge": charge}, goal
    with np.load(path) as found:
        first, last = (found["frames"].tolist().index(frame) for frame in (30, 40))
        loc, vel = (torch.tensor(found[f"{name}_train"][:count]).mT.float() for name in ("loc", "vel"))
        charge = torch.tensor(found["charges_train"][:count]).float()
    pos = loc[:, first] - loc[:, first].mean(1, keepdim=True)
    return "n-body frames 30 to 40", {"pos": pos, "vel": vel[:, first], "charge": charge}, loc[:, last] - loc[:, first]


def trained(net: nn.Module, symmetrized: nn.Module, inputs: dict[str, Tensor], goal: Tensor, steps: int) -> nn.Module:
    """The network after some steps on configurations as they are, or as ``symmetrized`` turns them."""
    optimizer = torch.optim.Adam(net.parameters(), 2e-3)
    for _ in range(steps):
        rows = torch.randint(len(goal), (128,))
        loss = (symmetrized(**{key: value[rows] for key, value in inputs.items()}) - goal[rows]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return net.eval().requires_grad_(False)


def rms(x: Tensor) -> float:
    """Root mean square."""
    return float(x.double().square().mean().sqrt())


def designs(smoke: bool) -> list[tuple[str, Callable[[], frames.Frame], int]]:
    """What is compared: a name, a fresh frame, and how often it is repeated (once where nothing is random)."""
    times = 2 if smoke else 8
    found: list[tuple[str, Callable[[], frames.Frame], int]] = []
    for count in (12, 24, 48, 96, 120, 240, 480):
        found.append(("independent", lambda count=count: frames.Haar(count), times))
    for draws in (1, 2, 5, 10):
        found.append(("random cosets, octahedral", lambda draws=draws: frames.RandomCosets(draws), times))
    for draws in (1, 2, 4):
        found.append(("random cosets, icosahedral", lambda draws=draws: frames.RandomCosets(draws, groups.Icosahedral(full=True)), times))
    for degree in (1, 2, 3, 5, 7, 9):
        found.append(("quadrature", lambda degree=degree: frames.Quadrature(degree), 1))
    return found


def compare(bench: Bench, name: str, net: nn.Module, signature: coset.Signature, x: dict[str, Tensor]) -> None:
    """Errors in units of the output, by design and number of elements."""
    exact, near = (coset.symmetrize(net, signature, frames.Quadrature(degree), chunk=8192)(**x) for degree in (EXACT, 19))
    unit, errors = rms(exact), dict[tuple[str, int], float]()
    for design, frame, times in designs(bench.smoke):
        model = coset.symmetrize(net, signature, frame())
        found = torch.stack([model(**x) - exact for _ in range(times)])
        calls = model.frame({key: value[:1] for key, value in x.items()}).cosets
        errors[design, calls] = rms(found) / unit
    kinds = list(dict.fromkeys(design for design, _ in errors))
    counts = sorted({calls for _, calls in errors})
    rows = [[str(calls), *(errors.get((kind, calls)) for kind in kinds)] for calls in counts]
    bench.table(f"{name}: RMS error of the average over O(3), in units of the output", ["elements", *kinds], rows)
    bench.add(f"{name}: error of the exact average (degree 19 against {EXACT})", rms(near - exact) / unit, at_most=1e-4)
    single, cosets = (errors[kind, 48] for kind in kinds[:2])
    bench.add(f"{name}: independent / random cosets, 48 elements", single / cosets, " x", at_least=2.0)
    bench.add(f"{name}: independent elements for the same error", 48 * (single / cosets) ** 2)
    bench.add(f"{name}: independent / icosahedral cosets, 120 elements", errors["independent", 120] / errors[kinds[2], 120], " x")


def intervals(bench: Bench, name: str, net: nn.Module, signature: coset.Signature, x: dict[str, Tensor]) -> None:
    """How often 95 % intervals of cosets and of independent elements hold, and what stopping at a tolerance costs."""
    exact = coset.symmetrize(net, signature, frames.Quadrature(EXACT), chunk=8192)(**x)
    for frame in (frames.Haar(16), frames.RandomCosets(4)):
        held = []
        for _ in range(2 if bench.smoke else 8):
            low, high = coset.symmetrize(net, signature, frame)(**x, return_stats=True)[1].interval()
            held.append(((low < exact) & (exact < high)).double().mean())
        share = 100 * float(torch.stack(held).mean())
        bench.add(f"{name}: 95 % intervals that hold, {frame}", share, " %", at_least=93.0)
    tolerance = 0.02 * rms(exact)
    for frame in (frames.Haar(frames.Until(tolerance, most=8192)), frames.RandomCosets(frames.Until(tolerance, first=4))):
        model = coset.symmetrize(net, signature, frame, chunk=8192).eval()
        value, stats = model(**x, return_stats=True)
        kind = type(frame).__name__
        bench.add(f"{name}: calls per sample until stderr is 2 % of the output, {kind}", stats.samples / len(value))
        bench.add(f"{name}: samples that reach it, {kind}", 100 * float(stats.reached.double().mean()), " %")


def overhead(bench: Bench, name: str, net: nn.Module, signature: coset.Signature, x: dict[str, Tensor], repeats: int) -> None:
    """What return_stats=True costs without gradients."""
    model = coset.symmetrize(net, signature, frames.Haar(20))
    plain, told = medians(repeats, lambda: model(**x), lambda: model(**x, return_stats=True))
    bench.add(f"{name}, 20 samples: with / without statistics, no gradients", told / plain, " x")


def main() -> None:
    """A perceptron and a message-passing network on configurations of five charged particles."""
    bench = Bench("Designs for Haar averages")
    group = groups.Orthogonal(3)
    source = actions.Dict(pos=actions.Vectors(group), vel=actions.Vectors(group), charge=actions.Trivial(group))
    signature = source >> actions.Vectors(group, points=True)
    origin, inputs, goal = configurations(256 if bench.smoke else 3000)
    few = 8 if bench.smoke else 48
    x = {key: value[-few:] for key, value in inputs.items()}
    bench.add(f"configurations from {origin}", len(goal))
    steps = 20 if bench.smoke else 1500
    for kind, build in (("perceptron", lambda: Perceptron(5)), ("messages", Messages)):
        for how in ("untrained", "trained", "trained on turned inputs"):
            net: nn.Module = build()
            seen = coset.symmetrize(net, signature, frames.Haar(1)) if "turned" in how else net
            trained(net, seen, inputs, goal, 0 if how == "untrained" else steps)
            with torch.no_grad():
                compare(bench, f"{kind}, {how}", net, signature, x)
                if "turned" in how:
                    intervals(bench, kind, net, signature, x)
                    overhead(bench, kind, net, signature, x, 3 if bench.smoke else 15)
    bench.finish()


if __name__ == "__main__":
    main()
