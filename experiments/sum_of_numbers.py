"""Sums of numbers: does bilevel optimization of a module's weights find that they are equal, or alternate?

100 training, 150 validation and 250 held-out sums of 2 ... 10 digits 1 ... 9, with uniform noise of ± 0.5; weights all 1, or -2, 1, -2, ...
The module is one linear layer; beside it least squares with the shortest description of its weights, on the same 250 sums.

Reference: Yeh et al. 2022, arXiv 2204.03640 (section 6.2; none of its numbers is copied here).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import torch
from _results import Experiment
from torch import Tensor, nn

from coset import discover

SIZES = (100, 150, 250)


def sums(k: int, alternating: bool, generator: torch.Generator) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
    """The weights, and training, validation and held-out sums."""
    weights = torch.tensor([-2.0, 1.0] * k, dtype=torch.float64)[:k] if alternating else torch.ones(k, dtype=torch.float64)
    parts = []
    for n in SIZES:
        x = torch.randint(1, 10, (n, k), generator=generator).double()
        parts.append((x, x @ weights + torch.rand(n, generator=generator, dtype=torch.float64) - 0.5))
    return weights, parts


def losses(part: tuple[Tensor, Tensor], scale: Tensor) -> Callable[[Callable[[Tensor], Tensor]], Tensor]:
    """Squared errors of a network, one for each sum."""
    return lambda net: ((net(part[0])[:, 0] - part[1]) / scale).square()


def bilevel(k: int, parts: list[tuple[Tensor, Tensor]], steps: int, generator: torch.Generator) -> tuple[Tensor, str]:
    """The labels of the weights, and the verdict on held-out sums."""
    scale = torch.cat([parts[0][1], parts[1][1]]).std()
    train, validation, held_out = (losses(part, scale) for part in parts)
    net = nn.Linear(k, 1, bias=False, dtype=torch.float64)
    method = discover.Bilevel(steps=steps, optimizer=partial(torch.optim.Adam, lr=5e-2), generator=generator)
    found = discover.bilevel(net, ["weight"], lambda f: train(f).mean(), lambda f: validation(f).mean(), method)
    return found.labels["weight"][0], found.retest(held_out).verdict.split(" on ")[0]


def described(parts: list[tuple[Tensor, Tensor]]) -> Tensor:
    """Labels by least squares and the shortest description."""
    x, y = (torch.cat([parts[0][i], parts[1][i]]) for i in (0, 1))
    x, y = torch.cat([x, torch.ones(len(x), 1, dtype=torch.float64)], 1), y
    fit = discover.least_squares(x, y)
    keep = slice(0, x.shape[1] - 1)
    return discover.sharing(fit.statistic[keep], fit.covariance[keep, keep], fit.samples, discover.MDL(), freedom=fit.freedom).labels


def main() -> None:
    """One table."""
    experiment = Experiment("Sums of numbers")
    experiment.parser.add_argument("--runs", type=int, default=5)
    options = experiment.parse()
    runs, steps = (1, 20) if options.smoke else (options.runs, 300)
    rows = []
    for alternating in (False, True):
        for k in (4,) if options.smoke else (2, 4, 6, 8, 10):
            distances, others, verdicts, seconds = [], [], [], 0.0
            for run in range(runs):
                generator = torch.Generator().manual_seed(1000 * options.seed + run)
                weights, parts = sums(k, alternating, generator)
                start = time.process_time()
                labels, verdict = bilevel(k, parts, steps, generator)
                seconds += time.process_time() - start
                distances.append(discover.partition_distance(labels, (weights > 0).long()))
                others.append(discover.partition_distance(described(parts), (weights > 0).long()))
                verdicts.append(verdict)
            status = "" if options.smoke else "met" if not any(distances) else "missed"
            held = f"{sum(verdict == 'holds' for verdict in verdicts)} of {runs}"
            name = "-2, 1, -2, ..." if alternating else "1, 1, 1, ..."
            rows.append([name, str(k), str(distances), "0", status, held, f"{seconds / runs:.1f}", str(others)])
    columns = ["weights", "K", "bilevel: distance in each run", "bound", "status", "holds on held-out sums", "s", "least squares + MDL"]
    experiment.table(columns, rows, f"Partition distances; {steps} outer steps, 3 starts, inner Newton steps, exact hypergradients.")
    experiment.finish()


if __name__ == "__main__":
    main()
