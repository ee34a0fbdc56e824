"""Which atoms of a molecule are exchanged by a symmetry of its motion? Mean distances before and after exchanging two atoms.

For every pair of atoms of one element, all distances are compared with those after the exchange: the root mean square of
the mean change, and the largest t-value against the Bonferroni bound of all pairs and distances. Pairs that pass, and change
distances by less than 0.05 angstrom, are joined; the group is that of the classes. Chemistry says: the three hydrogens of
aspirin's methyl group, which turns freely at 500 K, and nothing else; the hydrogens of 3BPA do not exchange within a short run.
"""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from statistics import NormalDist

import numpy as np
import torch
from _results import Experiment, data
from torch import Tensor

from coset import discover

LEVEL, CLOSE = 0.01, 0.05


def load(path: Path, frames: int) -> tuple[Tensor, list[int]]:
    """Distances (N, n, n) and elements."""
    with np.load(path) as found:
        x = torch.as_tensor(found["pos"][:frames], dtype=torch.float64)
        return torch.cdist(x, x), found["z"].tolist()


def exchanged(distances: Tensor, pair: tuple[int, int]) -> tuple[float, float]:
    """The root mean square change of mean distances, and the largest t-value."""
    order = torch.arange(distances.shape[1])
    order[list(pair)] = order[list(pair)].flip(0)
    change = distances - distances[:, order][:, :, order]
    mean, stderr = change.mean(0), change.std(0) / len(change) ** 0.5
    moved = stderr > 0
    return float(mean.square().mean().sqrt()), float((mean[moved] / stderr[moved]).abs().max())


def classes(count: int, joined: list[tuple[int, int]]) -> Tensor:
    """(n,) labels of the atoms, equal where a chain of pairs joins them."""
    labels = torch.arange(count)
    for i, j in joined:
        labels[labels == labels[j]] = labels[i].clone()
    return labels


def study(distances: Tensor, elements: list[int]) -> tuple[list[tuple[int, int]], Tensor, list[tuple[float, float]], float]:
    """The joined pairs, the classes, the figures of all pairs of one element, and the bound on t."""
    pairs = [pair for pair in combinations(range(len(elements)), 2) if elements[pair[0]] == elements[pair[1]]]
    figures = [exchanged(distances, pair) for pair in pairs]
    bound = NormalDist().inv_cdf(1 - LEVEL / (2 * len(pairs) * 2 * len(elements)))
    joined = [pair for pair, (size, t) in zip(pairs, figures, strict=True) if t < bound and size < CLOSE]
    return joined, classes(len(elements), joined), figures, bound


def main() -> None:
    """Aspirin on the frames for training and for testing, and 3BPA."""
    experiment = Experiment("Equivalent atoms found in molecular dynamics")
    options = experiment.parse()
    folder = data("molecules")
    if folder is None:
        return
    rows = []
    methyl = {frozenset(pair) for pair in combinations((18, 19, 20), 2)}
    for name, file, expected in (
        ("aspirin, 500 K", "rmd17_aspirin_train.npz", methyl),
        ("aspirin, other frames", "rmd17_aspirin_test.npz", methyl),
        ("3BPA, 300 K", "3bpa_train_300K.npz", set()),
    ):
        distances, elements = load(folder / file, 200 if options.smoke else 100_000)
        joined, labels, figures, bound = study(distances, elements)
        group = discover.group_of(torch.stack([labels, torch.tensor(elements)], 1).unique(dim=0, return_inverse=True)[1])
        inside = [size for size, t in figures if t < bound and size < CLOSE]
        outside = min(size for size, t in figures if t >= bound or size >= CLOSE)
        met = "met" if {frozenset(pair) for pair in joined} == expected else "missed"
        names = ", ".join(f"{i}-{j}" for i, j in joined) or "none"
        largest = f"{max(inside):.3f}" if inside else "-"
        rows.append([name, str(len(distances)), str(len(figures)), names, largest, f"{outside:.3f}", str(group.order), met])
    columns = ["data", "frames", "pairs tested", "exchangeable", "largest change (Å)", "next change (Å)", "group order", "as expected"]
    experiment.table(columns, rows, "Pairs of atoms of one element whose exchange leaves the mean distances alone.")
    experiment.finish()


if __name__ == "__main__":
    main()
