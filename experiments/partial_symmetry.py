"""Partial symmetry: when does imposing a group on a linear map help, and how well does an audit of the data foretell it?

A map of R^6 whose part that does not commute with cyclic shifts has norm eps is learned by least squares from n = 60 noisy samples.
Hard symmetry averages the fitted matrix over the group, none keeps it, partial keeps the share s of its forbidden part. Predicted:
hard costs DE^2 = eps^2, none costs V_Q = 30 sigma^2 / (n - 7), so that they cross at eps = 0.2257.

Reference: Petrache and Trivedi 2023, arXiv 2305.17592.
"""

from __future__ import annotations

import math

import torch
from _results import Experiment
from torch import Tensor

import coset
from coset import actions, groups

D, N, SIGMA = 6, 60, 0.3
C6 = groups.Generated([[1, 2, 3, 4, 5, 0]])
SIGNATURE = actions.Permute(C6, -1) >> actions.Permute(C6, -1)
NOISE = 30 * SIGMA**2 / (N - D - 1)
SHIFTS = torch.eye(D, dtype=torch.float64)[C6.elements()]
SIZES = (0.0, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.6)


def even(w: Tensor) -> Tensor:
    """The part of matrices (..., 6, 6) that commutes with shifts."""
    return torch.stack([p.mT @ w @ p for p in SHIFTS]).mean(0)


def truth(eps: float) -> Tensor:
    """A matrix whose forbidden part has norm eps."""
    w = torch.randn(D, D, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    odd = w - even(w)
    return even(w) + eps * odd / odd.norm()


def sample(eps: float, trials: int, seed: int) -> tuple[Tensor, Tensor]:
    """Inputs and outputs (T, n, 6)."""
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(trials, N, D, generator=g, dtype=torch.float64)
    return x, x @ truth(eps).mT + SIGMA * torch.randn(trials, N, D, generator=g, dtype=torch.float64)


def errors(eps: float, trials: int, seed: int, share: Tensor | float) -> Tensor:
    """Mean square prediction errors (T,) of the matrix that keeps ``share`` (one, or T) of its forbidden part."""
    x, y = sample(eps, trials, seed)
    fitted = torch.linalg.lstsq(x, y).solution.mT
    kept = torch.as_tensor(share, dtype=torch.float64).reshape(-1, 1, 1)
    commuting = even(fitted)
    return (commuting + kept * (fitted - commuting) - truth(eps)).square().sum((-1, -2))


def plain(x: Tensor) -> Tensor:
    """The inputs as features."""
    return x


def audits(eps: float, trials: int, seed: int) -> tuple[Tensor, Tensor, dict[str, int]]:
    """The estimated DE^2 and s* of the audits of ``trials`` data sets, and how often each was advised."""
    x, y = sample(eps, trials, seed)
    squares, shares, told = [], [], dict.fromkeys(("hard", "partial", "none", "cannot tell"), 0)
    for one, other in zip(x, y, strict=True):
        report = coset.audit_data(one, other, SIGNATURE, features=plain, draws=19, level=0.05)
        advice = coset.advise(report.error) if report.error is not None else report.advice
        told[advice.choice] += 1
        squares.append(report.error.value if report.error is not None else math.nan)
        shares.append(advice.shrinkage if advice.shrinkage is not None else math.nan)
    return torch.tensor(squares), torch.tensor(shares), told


def crossing(sizes: tuple[float, ...], gain: list[float]) -> float:
    """Where the gain of hard over none passes through zero, on a line between the neighbours in eps^2."""
    for (a, u), (b, v) in zip(zip(sizes, gain, strict=True), list(zip(sizes, gain, strict=True))[1:], strict=False):
        if u > 0 >= v:
            return math.sqrt(a**2 + (b**2 - a**2) * u / (u - v))
    return math.nan


def aims(gain: list[float], lines: list[tuple[float, ...]], bias: list[float]) -> list[list[str]]:
    """What was predicted, and what came."""
    place = crossing(SIZES, gain)
    predicted = math.sqrt(NOISE)

    def status(good: bool) -> str:
        return "met" if good else "missed"

    inside = all(partial <= min(hard, none) for hard, none, partial in lines)
    return [
        [f"hard and none cross at {predicted:.4f}, within 5 %", f"{place:.4f}", status(abs(place / predicted - 1) < 0.05)],
        ["partial with the best share is never worse than both", "yes" if inside else "no", status(inside)],
        ["DE² of the audit within three standard errors of eps²", f"at most {max(bias):.1f}", status(max(bias) < 3)],
    ]


def main() -> None:
    """Predicted and measured errors over the size of the break, and the advice of the audit."""
    experiment = Experiment("Partial symmetry: where hard symmetry stops paying, predicted and measured")
    options = experiment.parse()
    trials, audited = (4000, 100) if not options.smoke else (100, 3)
    rows, gain, lines, bias = [], [], [], []
    for number, eps in enumerate(SIZES):
        seed = 1000 * options.seed + 100 + number
        best = eps**2 / (eps**2 + NOISE)
        hard, none, partial = (float(errors(eps, trials, seed, s).mean()) for s in (0.0, 1.0, best))
        squares, shares, told = audits(eps, audited, seed)
        known = shares.isfinite()
        used = errors(eps, audited, seed, shares.nan_to_num(0.0))[known].mean()
        gain.append(none - hard)
        lines.append((hard, none, partial))
        off = squares[squares.isfinite()]
        bias.append(abs(float(off.mean()) - eps**2) / (float(off.std()) / len(off) ** 0.5))
        common = 6 * SIGMA**2 / (N - D - 1)
        rows.append(
            [
                f"{eps:.2f}",
                *(f"{100 * v:.2f}" for v in (common + eps**2, hard, none, partial, float(used), float(off.mean()))),
                f"{best:.2f}",
                " / ".join(str(count) for count in told.values()),
            ]
        )
    experiment.table(
        ["eps", "hard, predicted", "hard", "none", "partial, s*", "partial, estimated", "DE² by audit", "s*", "advice"],
        rows,
        f"Mean square errors times 100 over {trials:,} data sets of n = {N}, sigma = {SIGMA}; none is predicted at "
        f"{100 * 36 * SIGMA**2 / (N - D - 1):.2f} for every eps. Audits of {audited} of them: the mean of the unbiased DE² (times 100), "
        "the error with the share that each audit estimated, and how often it advised hard / partial / none / cannot tell; where the law "
        "of the inputs was rejected, in about one of twenty, nothing is told.",
    )
    experiment.table(["predicted", "found", "status"], aims(gain, lines, bias))
    experiment.finish()


if __name__ == "__main__":
    main()
