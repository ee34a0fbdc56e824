"""The proximal operator of weight sharing: a million weights, beside isotonic regression of SciPy and scikit-learn."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from _bench import Bench, medians

from coset import adapt

SIZES, STRENGTHS = (10_000, 100_000, 1_000_000), (0.1, 1.0)


def main() -> None:
    """Normal weights; a weak pull and one that ties most of them."""
    bench = Bench("Weight sharing: the proximal operator")
    repeats = 2 if bench.smoke else 7
    for size in SIZES[:1] if bench.smoke else SIZES:
        for strength in STRENGTHS:
            weights = torch.randn(size)
            known = [lambda w=weights, s=strength: adapt.prox(w, s), *peers(weights, strength).values()]
            found = medians(repeats, *known)
            label = f"{size:,} weights, pull {strength:g}"
            bench.add(label, found[0], " s", at_most=0.2 if size == 1_000_000 else None)
            for (name, peer), seconds in zip(peers(weights, strength).items(), found[1:], strict=True):
                bench.add(f"{label}: {name} over coset", seconds / found[0], "x")
                bench.add(f"{label}: largest difference", float((adapt.prox(weights, strength) - peer()).abs().max()), at_most=1e-5)
    bench.finish()


def peers(weights: torch.Tensor, strength: float) -> dict[str, Callable[[], torch.Tensor]]:
    """The same by sorting and a library's isotonic regression, where it is installed."""
    steps = torch.arange(len(weights), dtype=torch.float64)
    slope = strength * (2 * steps - (len(weights) - 1)) / (len(weights) - 1)

    def by(isotonic: Callable[[np.ndarray], np.ndarray]) -> Callable[[], torch.Tensor]:
        def run() -> torch.Tensor:
            ordered, places = weights.double().sort()
            found = torch.as_tensor(isotonic((ordered - slope).numpy()))
            return torch.zeros_like(ordered).scatter(0, places, found).float()

        return run

    found: dict[str, Callable[[], torch.Tensor]] = {}
    try:
        from scipy.optimize import isotonic_regression

        found["SciPy"] = by(lambda y: isotonic_regression(y).x)
    except ImportError:
        pass
    try:
        from sklearn.isotonic import isotonic_regression as other

        found["scikit-learn"] = by(other)
    except ImportError:
        pass
    return found


if __name__ == "__main__":
    main()
