"""How often does the validation loss share two equal values? Never in all cases, however many data there are.

For K = 2 equal means the unpenalized validation loss prefers sharing with probability 1/2 + atan(sqrt(n_val / n_train) / 2) / pi, whatever
the number of observations. Measured by choosing between the two partitions by validation loss; beside it the shortest description, which
improves with more data.

Reference: Yeh et al. 2022, arXiv 2204.03640 (the criterion); the law is derived in docs/discover.md.
"""

from __future__ import annotations

import math

import torch
from _results import Experiment

from coset import discover


def measured(n: int, train: int, trials: int, generator: torch.Generator) -> float:
    """The share of trials in which the validation loss of the shared mean is at most that of the two means."""
    first = torch.randn(trials, 2, generator=generator, dtype=torch.float64) / math.sqrt(train)
    second = torch.randn(trials, 2, generator=generator, dtype=torch.float64) / math.sqrt(n - train)
    free = (second - first).square().sum(1)
    shared = (second - first.mean(1, keepdim=True)).square().sum(1)
    return float((shared <= free).double().mean())


def described(n: int, trials: int, generator: torch.Generator) -> float:
    """The same share for the shortest description."""
    means = torch.randn(trials, 2, generator=generator, dtype=torch.float64) / math.sqrt(n)
    return sum(int(discover.sharing(mean, 1.0, n, discover.MDL()).labels.max()) == 0 for mean in means) / trials


def main() -> None:
    """One table."""
    experiment = Experiment("The selection law of the validation loss")
    options = experiment.parse()
    trials, few = (2000, 20) if options.smoke else (400_000, 2000)
    generator = torch.Generator().manual_seed(options.seed)
    rows = []
    for n, train in [(100, 30), (1000, 300), (10000, 3000), (100, 10), (100, 50), (100, 70), (100, 90)]:
        law = 0.5 + math.atan(math.sqrt((n - train) / train) / 2) / math.pi
        seen = measured(n, train, trials, generator)
        error = math.sqrt(law * (1 - law) / trials)
        status = "" if options.smoke else "met" if abs(seen - law) < 3.5 * error else "missed"
        mdl = described(n, few, generator)
        rows.append([f"{train}:{n - train}", f"{law:.4f}", f"{seen:.4f} ± {error:.4f}", status, f"{mdl:.4f}"])
    experiment.table(
        ["train:validation", "P(share), law", "validation loss", "within 3.5 standard errors", "shortest description"],
        rows,
        f"Two equal means. {trials} trials of the validation loss, {few} of the shortest description.",
    )
    experiment.finish()


if __name__ == "__main__":
    main()
