"""How often is the sharing of Gaussian means found: shortest description, bilevel optimization, oracle and no sharing.

K means with r different values 3 apart, 100 observations of unit variance; the bilevel method splits them 30 to 70, takes 1,000 steps from
three starts, and knows the noise as the others do. Cells: K = 2 ... 6 with one value, K = 5 with 1 ... 5, K = 10 ... 90 with one, and a
few harder ones of our own with many values.

Reference: Yeh et al. 2022, arXiv 2204.03640 (study of section 6.1; none of its numbers is copied here).
"""

from __future__ import annotations

import torch
from _gaussian_sharing import SAMPLES, study
from _results import Experiment

from coset import discover

PAPER = [(2, 1), (3, 1), (4, 1), (5, 1), (6, 1), (5, 2), (5, 3), (5, 4), (5, 5), (10, 1), (30, 1), (50, 1), (70, 1), (90, 1)]
HARDER = [(6, 3), (10, 3), (30, 3), (90, 5), (90, 45)]


def main() -> None:
    """One table."""
    experiment = Experiment("Shared Gaussian means")
    experiment.parser.add_argument("--trials", type=int, default=400)
    experiment.parser.add_argument("--bilevel", type=int, default=12, help="trials of the bilevel method")
    options = experiment.parse()
    trials, few = (10, 1) if options.smoke else (options.trials, options.bilevel)
    steps = 20 if options.smoke else 1000
    generator = torch.Generator().manual_seed(options.seed)
    rows = []
    for k, r in (PAPER[:2] + HARDER[:1]) if options.smoke else PAPER + HARDER:
        bilevel = discover.Bilevel(steps=steps, generator=generator)
        scores = study(k, r, {"MDL": (discover.MDL(), trials), "bilevel": (bilevel, few)}, generator)
        rate = scores["MDL"].exact / scores["MDL"].trials
        bound = "≥ 0.93" if (k, r) in PAPER else ""
        status = ("met" if rate >= 0.93 else "missed") if bound and not options.smoke else ""
        oracle, free = (scores[name].error / scores[name].trials for name in ("oracle", "no sharing"))
        theory = f"{r / SAMPLES:.3f}, {k / SAMPLES:.3f}"
        rows.append([f"{k}, {r}", *scores["MDL"].cells(), bound, status, *scores["bilevel"].cells(), f"{oracle:.4f}, {free:.4f}", theory])
    quantities = ["exact", "distance", "error", "ms"]
    columns = ["K, r", *(f"MDL: {q}" for q in quantities), "bound", "status", *(f"bilevel: {q}" for q in quantities)]
    columns += ["oracle, no sharing: error", "rσ²/n, Kσ²/n"]
    experiment.table(
        columns, rows, f"{trials} trials a cell, {few} of the bilevel method; ± one standard error; CPU milliseconds of one discovery."
    )
    experiment.finish()


if __name__ == "__main__":
    main()
