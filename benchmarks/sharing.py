"""How fast is discovery of sharing: the shortest description, candidate groups, groups of patterns; and the ratio to the bilevel method."""

from __future__ import annotations

import math

import torch
from _bench import Bench, medians
from torch import Tensor

from coset import discover


def means(p: int, r: int) -> Tensor:
    """Means of 100 observations of unit variance, with r values 3 apart."""
    return 3.0 * torch.randint(0, r, (p,)) + torch.randn(p, dtype=torch.float64) / 10


def described(bench: Bench, repeats: int) -> None:
    """MDL over sizes."""
    for p in (10, 100) if bench.smoke else (10, 100, 1000, 3000):
        data = means(p, max(2, p // 50))
        (own,) = medians(repeats, lambda data=data: discover.sharing(data, 1.0, 100, discover.MDL()))
        bench.add(f"MDL, {p} weights", own, " s", at_most=1.0 if p == 1000 else None)
    data = means(10 if bench.smoke else 1000, 20)
    covariance = torch.eye(len(data), dtype=torch.float64)
    (full,) = medians(1 if bench.smoke else 3, lambda: discover.sharing(data, covariance, 2000, discover.MDL()))
    bench.add(f"MDL, {len(data)} weights, a whole covariance", full, " s")


def against_bilevel(bench: Bench, repeats: int) -> None:
    """The same data by both."""
    for p in (5,) if bench.smoke else (5, 10, 30, 90):
        data = means(p, 2)
        bilevel = discover.Bilevel(steps=10 if bench.smoke else 1000)
        own, other = medians(
            repeats,
            lambda data=data: discover.sharing(data, 1.0, 100, discover.MDL(), freedom=math.inf),
            lambda data=data, bilevel=bilevel: discover.sharing(data, 1.0, 100, bilevel, freedom=math.inf),
        )
        bench.add(f"{p} means: MDL", 1e3 * own, " ms")
        bench.add(f"{p} means: bilevel, 1,000 steps, 3 starts", 1e3 * other, " ms")
        bench.add(f"{p} means: bilevel / MDL", other / own, " x")


def tested(bench: Bench, repeats: int) -> None:
    """Candidate groups of maps of n things."""
    count, n = (10, 4) if bench.smoke else (200, 9)
    groups = {str(k): torch.stack([torch.randperm(n) for _ in range(1 + k % 3)]) for k in range(count)}
    data = torch.randn(400, n * n, dtype=torch.float64)
    method = discover.Candidates(groups)
    for name, covariance in (("one variance", torch.tensor(1.0)), ("a whole covariance", torch.cov(data.mT))):
        (own,) = medians(repeats, lambda covariance=covariance: discover.sharing(data.mean(0).reshape(n, n), covariance, len(data), method))
        bench.add(f"{count} candidate groups, n = {n}, {name}", own, " s", at_most=2.0)


def patterns(bench: Bench, repeats: int) -> None:
    """Groups of circulant patterns."""
    for n in (6,) if bench.smoke else (6, 12, 50):
        i = torch.arange(n)
        labels = (i[:, None] - i) % n
        (own,) = medians(repeats, lambda labels=labels: discover.group_of(labels))
        bench.add(f"group of a circulant pattern, n = {n}", 1e3 * own, " ms")


def main() -> None:
    """All rows."""
    bench = Bench("Discovery of sharing")
    repeats = 2 if bench.smoke else 5
    described(bench, repeats)
    tested(bench, repeats)
    patterns(bench, repeats)
    against_bilevel(bench, repeats)
    bench.finish()


if __name__ == "__main__":
    main()
