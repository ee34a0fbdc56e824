"""The frame of unordered, coloured clouds: all g2 molecules in one padded batch, and large generic clouds in bounded memory."""

from __future__ import annotations

import importlib.util
import resource

import torch
from _bench import Bench, medians
from torch import Tensor

from coset import actions, frames, groups

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
    bench.finish()


if __name__ == "__main__":
    main()
