"""The frame of unordered, coloured clouds: g2 molecules in one padded batch; large clouds, spheres and polygons in bounded memory."""

from __future__ import annotations

import importlib.util
import math
import resource
from collections.abc import Callable

import torch
from _bench import Bench, grown, medians
from torch import Tensor

from coset import actions, frames, groups
from coset.measure import Measure

ASE = importlib.util.find_spec("ase") is not None


def molecules() -> dict[str, Tensor]:
    """The 162 molecules of ASE's g2 collection, padded."""
    from ase.collections import g2

    atoms = [g2[name] for name in g2.names]
    length = max(map(len, atoms))
    pos = torch.zeros(len(atoms), length, 3)
    z = torch.zeros(len(atoms), length, dtype=torch.long)
    mask = torch.zeros(len(atoms), length, dtype=torch.bool)
    for row, one in enumerate(atoms):
        pos[row, : len(one)] = torch.tensor(one.positions)
        z[row, : len(one)] = torch.tensor(one.numbers)
        mask[row, : len(one)] = True
    return {"pos": pos, "z": z, "mask": mask}


def peak() -> float:
    """The largest resident memory of the process so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def sphere(batch: int, points: int) -> Tensor:
    """Random points on the unit sphere."""
    return torch.nn.functional.normalize(torch.randn(batch, points, 3), dim=-1)


def polygon(points: int, d: int) -> Tensor:
    """A regular polygon in d dimensions, in a random position."""
    angle = torch.arange(points, dtype=torch.float64) * (2 * math.pi / points)
    flat = torch.nn.functional.pad(torch.stack([angle.cos(), angle.sin()], -1), (0, d - 2))
    group = groups.Symmetric(points) * groups.Orthogonal(d)
    return actions.Points(group).act(group.sample(1), flat.float()[None])


def sets(bench: Bench, name: str, frame: Callable[[Tensor], Measure], x: Tensor, at_most: float | None = None) -> None:
    """Time and peak memory of the frame of one batch of sets."""

    def build() -> Callable[[], object]:
        frame(torch.randn(2, 5, x.shape[-1]))
        return lambda: frame(x)

    (seconds,) = medians(1 if bench.smoke else 5, lambda: frame(x))
    bench.add(name, 1e3 * seconds, " ms", at_most=at_most)
    bench.add(f"{name}: peak memory", grown(build), " MiB", at_most=1024.0)


def without_order(bench: Bench) -> None:
    """S_n x O(3) on clouds with distinct radii, clouds on one sphere, and regular polygons."""
    frame = frames.Minimal().bind(actions.Points(groups.Symmetric() * groups.Orthogonal(3)))
    plane = frames.Minimal().bind(actions.Points(groups.Symmetric() * groups.Orthogonal(2)))
    few, many, large, sides = (4, 20, 30, 20) if bench.smoke else (256, 100, 1000, 500)
    some = 2 if bench.smoke else 16
    full = not bench.smoke
    name = f"S_n x O(3), n = {many}, B = {few}"
    sets(bench, f"{name}, distinct radii", frame, torch.randn(few, many, 3), at_most=50.0 if full else None)
    sets(bench, f"{name}, on one sphere", frame, sphere(few, many), at_most=5000.0 if full else None)
    bench.add(f"{name}: frame-averaging-pytorch (has no frame of sets)", None)
    name = f"S_n x O(3), n = {large}, B = {some}"
    sets(bench, f"{name}, distinct radii", frame, torch.randn(some, large, 3))
    sets(bench, f"{name}, on one sphere", frame, sphere(some, large))
    for d, bound, order in ((2, plane, 2 * sides), (3, frame, 4 * sides)):
        x = polygon(sides, d)
        sets(bench, f"S_n x O({d}), regular {sides}-gon", bound, x)
        bench.add(
            f"S_n x O({d}), regular {sides}-gon: elements found, {order} expected: difference",
            abs(float(bound(x).order) - order),
            at_most=0.0,
        )


def main() -> None:
    """g2, then generic clouds."""
    bench = Bench("Frames of unordered, coloured clouds")
    group = groups.Euclidean(3)
    source = actions.Dict(pos=actions.Points(group, mask="mask"), z=actions.Trivial(group))
    frame = frames.Minimal(of="pos", colours="z").bind(source)
    repeats = 3 if bench.smoke else 15
    if ASE:
        batch = molecules()
        count = batch["pos"].shape[0]
        whole, loop = medians(
            repeats, lambda: frame(batch), lambda: [frame({key: value[b : b + 1] for key, value in batch.items()}) for b in range(count)]
        )
        bench.add("162 g2 molecules in one padded batch", 1e3 * whole, " ms")
        bench.add("the same, one by one / in one batch", loop / whole, " x")
    else:
        bench.add("162 g2 molecules in one padded batch (needs the extra 'atoms')", None)
    plain = frames.Minimal(colours=frames.UNCOLOURED).bind(actions.Points(group))
    for points, batch_size in ((100, 4),) if bench.smoke else ((100, 256), (1000, 32), (1000, 256)):
        x = torch.randn(batch_size, points, 3)
        before = peak()
        (seconds,) = medians(3, lambda: plain(x))  # noqa: B023
        grown = peak() - before
        bench.add(f"generic cloud, n = {points}, B = {batch_size}", 1e3 * seconds, " ms")
        square = batch_size * points**2 * 8 / 2**20
        bench.add(
            f"generic cloud, n = {points}, B = {batch_size}: memory grown / one n x n matrix per cloud", grown / square, " x", at_most=1.0
        )
    without_order(bench)
    bench.finish()


if __name__ == "__main__":
    main()
