"""Left and right in human running: which joint permutations leave the mean distances between joints alone?

CMU motion capture, eleven trials. Distances do not see turns, shifts or reflections of space, so an exchange of joints that
keeps them is a mirror symmetry of the body's motion. The automorphisms of the skeleton's tree (found from its edges) are the
candidates, and each is tested over trials; then all 4,096 ways to exchange some of the twelve left-right pairs are ranked.
The mean runs over frames of a trial, so it holds for the law of poses, not for single poses: those are compared too.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from _results import Experiment, data
from torch import Tensor

from coset import discover

LEFT = (1, 2, 3, 4, 5, 17, 18, 19, 20, 21, 22, 23)
RIGHT = (6, 7, 8, 9, 10, 24, 25, 26, 27, 28, 29, 30)
LEGS = 5


def load(path: Path) -> tuple[list[Tensor], Tensor]:
    """Distances (frames, 31, 31) of every trial, in units of the mean distance, and the edges."""
    with np.load(path) as found:
        x, cut = torch.as_tensor(found["pos"], dtype=torch.float64), found["trial_offsets"].tolist()
        trials = [torch.cdist(x[a:b], x[a:b]) for a, b in pairwise(cut)]
        return [one / one.mean() for one in trials], torch.as_tensor(found["edges"].astype(np.int64))


def exchange(chosen: Tensor) -> Tensor:
    """The permutation that exchanges the chosen left-right pairs."""
    order = torch.arange(31)
    left, right = torch.tensor(LEFT)[chosen], torch.tensor(RIGHT)[chosen]
    order[left], order[right] = right, left
    return order


def change(distances: Tensor, order: Tensor) -> Tensor:
    """The root mean square change of distances (..., 31, 31), relative to their spread."""
    moved = distances - distances[..., order, :][..., order]
    spread = (distances - distances.mean((-2, -1), keepdim=True)).square().mean((-2, -1)).sqrt()
    return moved.square().mean((-2, -1)).sqrt() / spread


def candidates(edges: Tensor) -> dict[str, Tensor]:
    """The automorphisms of the skeleton, from its adjacency matrix."""
    adjacency = torch.zeros(31, 31, dtype=torch.long)
    adjacency[edges[:, 0], edges[:, 1]] = adjacency[edges[:, 1], edges[:, 0]] = 1
    group = discover.group_of(adjacency)
    words = {}
    for p in group.elements():
        parts = [name for name, joint in (("legs", 1), ("arms", 17)) if int(p[joint]) != joint]
        words[" and ".join(parts) or "nothing"] = p
    return words


def aims(mirror: float, best: float, rank: int) -> list[list[str]]:
    """What the exchange of left and right was to show, and whether it did."""
    found = [
        ("distances change less than half as much as under any random permutation", f"{mirror:.3f} of {best:.3f}", mirror < best / 2),
        (f"of all exchanges of {LEGS} pairs or more, that of all pairs changes them least", f"number {rank}", rank == 1),
    ]
    return [[aim, text, "met" if met else "missed"] for aim, text, met in found]


def main() -> None:
    """Automorphisms of the skeleton, then every exchange of left-right pairs."""
    experiment = Experiment("Left and right in motion capture")
    options = experiment.parse()
    folder = data("dynamics")
    if folder is None:
        return
    trials, edges = load(folder / "cmu_mocap_run.npz")
    means = torch.stack([one.mean(0) for one in trials])
    rows = []
    found = candidates(edges)
    for name, order in found.items():
        each = change(means, order)
        single = torch.cat([change(one, order) for one in trials]).mean()
        rows.append(
            [f"exchange of {name}", f"{float(each.mean()):.3f} ± {float(each.std() / len(each) ** 0.5):.3f}", f"{float(single):.3f}"]
        )
    generator = torch.Generator().manual_seed(options.seed)
    wrong = torch.stack([change(means.mean(0), torch.randperm(31, generator=generator)) for _ in range(200)])
    rows.append(["200 random permutations, the best", f"{float(wrong.min()):.3f}", "-"])
    columns = ["permutation of joints", "change of mean distances (± over trials)", "change in single frames"]
    experiment.table(columns, rows, f"The skeleton has {len(found)} automorphisms. Change of distances, relative to their spread.")
    codes = torch.arange(1, 2 ** len(LEFT))
    bits = (codes[:, None] >> torch.arange(len(LEFT)) & 1).bool()
    bits = bits[:50] if options.smoke else bits
    both = torch.ones(len(LEFT), dtype=torch.bool)
    mean = means.mean(0)
    sizes = torch.stack([change(mean, exchange(one)) for one in bits])
    whole = float(change(mean, exchange(both)))
    kept = sizes[bits.sum(1) >= LEGS]
    rank = 1 + int((kept < whole - 1e-12).sum())
    experiment.note(
        f"Of the {len(kept)} exchanges of at least {LEGS} of the twelve pairs, that of all pairs is number {rank}, with {whole:.3f}; the "
        f"median of the others is {float(kept.median()):.3f}."
    )
    experiment.table(["aim", "found", "status"], aims(float(change(means, exchange(both)).mean()), float(wrong.min()), rank), "")
    experiment.finish()


if __name__ == "__main__":
    main()
