"""What do weighted frames cost? Their own time, the number of elements before and after the cut, and growth of local ones."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import torch
from _bench import Bench, medians

import coset
from coset import actions, frames, groups

E3 = groups.Euclidean(3)
POINTS = actions.Points(E3)


class Surroundings(torch.nn.Module):
    """A small model of weighted neighbours."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = torch.nn.Linear(3, 32), torch.nn.Linear(32, 1)

    def forward(self, vectors: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        return self.two(torch.tanh((weights.unsqueeze(-1) * torch.tanh(self.one(vectors))).sum(1))).squeeze(-1)


def network(points: int) -> torch.nn.Module:
    """A perceptron on all coordinates, 256 wide."""
    layers = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * points, 256), torch.nn.Tanh(), torch.nn.Linear(256, 1))
    return layers.eval()


def one_size(bench: Bench, points: int, batch: int, repeats: int) -> None:
    """The frame alone, and around a network, for clouds of one size."""
    x = torch.randn(batch, points, 3)
    weighted, every = frames.Weighted().bind(POINTS), frames.Weighted(cut=0.0).bind(POINTS)
    minimal, bare = frames.Minimal().bind(POINTS), network(points)
    around = coset.symmetrize(bare, POINTS >> actions.Trivial(E3), frames.Weighted())
    with torch.no_grad():
        own, least, net, whole, loop = medians(
            repeats,
            lambda: weighted(x),
            lambda: minimal(x),
            lambda: bare(x),
            lambda: around(x),
            lambda: [weighted(x[b : b + 1]) for b in range(batch)],
        )
        kept, all_ = weighted(x), every(x)
    name = f"n = {points}, B = {batch}"
    elements = float((kept.weights > 0).sum(0).double().mean())
    bench.add(f"{name}: weighted frame", 1e3 * own, " ms")
    bench.add(f"{name}: weighted / minimal frame", own / least, " x")
    bench.add(f"{name}: elements per cloud without a cut", float((all_.weights > 0).sum(0).double().mean()))
    bench.add(f"{name}: elements per cloud, cut = 0.8", elements)
    bench.add(f"{name}: loop over clouds / batch", loop / own, " x")
    bench.add(f"{name}: symmetrized / (network x elements)", whole / (net * elements), " x")


def cuts(bench: Bench, batch: int) -> None:
    """How the number of elements falls with the cut, at 21 points (aspirin's number)."""
    x = torch.randn(batch, 21, 3)
    for cut in (0.0, 0.5, 0.7, 0.8, 0.9):
        found = frames.Weighted(cut=cut).bind(POINTS)(x)
        bench.add(f"n = 21: elements, cut = {cut}", float((found.weights > 0).sum(0).double().mean()))


def rod(points: int) -> torch.Tensor:
    """Points in a rod as wide as two cutoffs, whose surface grows like its volume, at a bulk density of 24 neighbours."""
    length = points * 4 / 3 * math.pi * 8 / 24 / 16
    return torch.rand(1, points, 3) * torch.tensor([4.0, 4.0, length])


def local(bench: Bench, sizes: tuple[int, ...], repeats: int) -> None:
    """Energy and forces of surroundings, and how they grow with the number of points."""
    model = coset.Local(Surroundings(), POINTS >> actions.Trivial(E3), cutoff=2.0, total=True, chunk=2048)
    times = []
    for points in sizes:
        x = rod(points).requires_grad_()
        (seconds,) = medians(repeats, lambda x=x: torch.autograd.grad(model(x).sum(), x))
        times.append(seconds)
        bench.add(f"local, n = {points}: energy and forces", 1e3 * seconds, " ms")
        bench.add(f"local, n = {points}: per point", 1e6 * seconds / points, " us")
        bench.add(f"local, n = {points}: peak memory of energy alone", peak(points), " MiB")
    growth = math.log(times[-1] / times[0]) / math.log(sizes[-1] / sizes[0])
    bench.add(f"local: growth exponent, n = {sizes[0]} to {sizes[-1]}", growth, at_most=1.1)


def peak(points: int) -> float:
    """Peak memory of a fresh process beyond that after imports, in MiB."""
    done = subprocess.run([sys.executable, __file__, "--peak", str(points)], capture_output=True, text=True, check=True)
    return float(done.stdout)


def resident() -> float:
    """The largest resident set of this process so far, in MiB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return float(line.split()[1]) / 1024
    return float("nan")


def report_peak(points: int) -> None:
    """Print the growth of the resident set by one energy."""
    torch.set_num_threads(1)
    model = coset.Local(Surroundings(), POINTS >> actions.Trivial(E3), cutoff=2.0, total=True, chunk=2048)
    with torch.no_grad():
        model(rod(20))
        before = resident()
        model(rod(points))
    print(resident() - before)


def main() -> None:
    """Rigid frames, cuts, sets, surroundings."""
    bench = Bench("Weighted frames")
    for points in (5, 20) if bench.smoke else (5, 20, 100):
        one_size(bench, points, 4 if bench.smoke else 64, 1 if bench.smoke else 7)
    cuts(bench, 4 if bench.smoke else 64)
    x = torch.randn(4 if bench.smoke else 64, 20, 3)
    sort = frames.WeightedSort().bind(actions.Permute(groups.Symmetric(), -2))
    bench.add("sets of 20 rows: weighted sort, 381 directions", 1e3 * medians(3, lambda: sort(x))[0], " ms")
    bench.add("sets of 20 rows: elements", float((sort(x).weights > 0).sum(0).double().mean()))
    local(bench, (50, 100) if bench.smoke else (100, 1000, 10000), 1 if bench.smoke else 3)
    bench.finish()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--peak"]:
        report_peak(int(sys.argv[2]))
    else:
        main()
