"""Which permutations of pixels are symmetries of image statistics: CIFAR-10 and MNIST, found on one part and tested again on another.

Grey images are averaged to 4 x 4 cells. The statistics are their mean (16 numbers) and their second moment about the mean (136 pairs of
cells); the candidates are left-right, up-down, half and quarter turns, the diagonal mirror, all eight together, circular shifts and all
permutations. A statistic of N images can refuse a symmetry that fails by more than its noise, however slightly: with more images the
verdict may change from the symmetry to "trivial", and the effect column says how much of the statistic's square is at stake. Controls:
CIFAR images each flipped with probability one half (symmetric by construction), and cells permuted by a fixed random permutation.

Data: ``cifar10/cifar10_jpeg_train.npz``, ``mnist/mnist_train.npz`` under ``COSET_DATA``.
"""

from __future__ import annotations

import numpy as np
import torch
from _results import Experiment, data
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from coset import discover

SIDE = 4


def cifar(count: int) -> Tensor | None:
    """(N, 16) grey cells of CIFAR-10."""
    path = data("cifar10", "cifar10_jpeg_train.npz")
    if path is None:
        return None
    from _cifar import decoded

    return cells(decoded(path, count).images.mean(1, keepdim=True))


def mnist(count: int) -> Tensor | None:
    """(N, 16) cells of MNIST."""
    path = data("mnist", "mnist_train.npz")
    if path is None:
        return None
    with np.load(path) as found:
        name = next(key for key in found.files if found[key].ndim == 3 or found[key].ndim == 4)
        images = torch.from_numpy(np.asarray(found[name])).float().reshape(-1, 1, 28, 28) / 255
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))[:count]
    return cells(images[order])


def cells(images: Tensor) -> Tensor:
    """Averages over a coarse grid."""
    return adaptive_avg_pool2d(images.double(), SIDE).flatten(1)


def library() -> dict[str, list[list[int]]]:
    """Generators of the candidates, as permutations of the cells."""
    grid = torch.arange(SIDE * SIDE).reshape(SIDE, SIDE)
    moves = {
        "left-right": [grid.flip(1)],
        "up-down": [grid.flip(0)],
        "half turn": [grid.rot90(2)],
        "both mirrors": [grid.flip(0), grid.flip(1)],
        "quarter turns": [grid.rot90(1)],
        "diagonal": [grid.mT],
        "D4": [grid.rot90(1), grid.flip(1)],
        "shifts": [grid.roll(1, 0), grid.roll(1, 1)],
        "shifts to the right": [grid.roll(1, 1)],
        "all": [grid.flatten().roll(1), torch.cat([grid.flatten()[:2].flip(0), grid.flatten()[2:]])],
    }
    return {name: [g.flatten().tolist() for g in some] for name, some in moves.items()}


def on_pairs(generators: list[list[int]]) -> list[list[int]]:
    """How permutations of cells move unordered pairs of them."""
    n = SIDE * SIDE
    first, second = torch.triu_indices(n, n)
    number = torch.zeros(n, n, dtype=torch.long)
    number[first, second] = number[second, first] = torch.arange(len(first))
    return [number[torch.tensor(g)[first], torch.tensor(g)[second]].tolist() for g in generators]


def statistics(x: Tensor) -> dict[str, tuple[Tensor, Tensor, int]]:
    """Mean and second moments about the mean, each with the covariance of one observation."""
    first, second = torch.triu_indices(x.shape[1], x.shape[1])
    centred = x - x.mean(0)
    products = centred[:, first] * centred[:, second]
    return {"mean": (x.mean(0), torch.cov(x.mT), len(x)), "second moment": (products.mean(0), torch.cov(products.mT), len(x))}


def rows_of(name: str, x: Tensor, sizes: list[int]) -> list[list[str]]:
    """What is found on the first images, and what the last ones say of it."""
    rows, other = [], statistics(x[len(x) // 2 :])
    for size in sizes:
        for kind, observed in statistics(x[:size]).items():
            groups = {key: on_pairs(g) if kind == "second moment" else g for key, g in library().items()}
            found = discover.sharing(*observed, discover.Candidates(groups))
            flip = next(row for row in found.table if row.name == "left-right")
            again = found.retest(*other[kind]).verdict.split(" on ")[0].split(":")[0] if found.name != "trivial" else "—"
            claim = "cannot tell" if found.verdict.startswith("cannot") else found.name
            rows.append([name, kind, str(size), claim, found.name, f"{flip.p_value:.2g}", f"{100 * flip.effect:.3f} %", again])
    return rows


def main() -> None:
    """One table."""
    experiment = Experiment("Permutations of pixels")
    options = experiment.parse()
    count = 1000 if options.smoke else 40000
    sizes = [400] if options.smoke else [500, 2000, 8000, 20000]
    generator = torch.Generator().manual_seed(options.seed)
    rows = []
    for name, x in (("CIFAR-10", cifar(count)), ("MNIST", mnist(count))):
        if x is None:
            rows.append([name, *["not run"] * 7])
            continue
        rows += rows_of(name, x, sizes)
        if name == "CIFAR-10":
            grid = x.reshape(-1, SIDE, SIDE)
            coin = torch.rand(len(x), generator=generator) < 0.5
            rows += rows_of("CIFAR-10, half of it flipped", torch.where(coin[:, None, None], grid.flip(2), grid).flatten(1), sizes)
            rows += rows_of("CIFAR-10, cells shuffled", x[:, torch.randperm(SIDE * SIDE, generator=generator)], sizes)
    columns = ["images", "statistic", "N", "claimed", "best", "left-right: p", "left-right: effect", "the best on other images"]
    experiment.table(columns, rows, f"{SIDE} x {SIDE} cells; ten candidate groups and none. The other images are the last half of {count}.")
    experiment.finish()


if __name__ == "__main__":
    main()
