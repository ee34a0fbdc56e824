"""How long does it take to find generators? All linear fields of 50 dimensions, declared ones of 100, one field for many atoms."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from _bench import Bench, grown
from torch import Tensor

from coset import discover, groups


def radial(x: Tensor) -> Tensor:
    """A function of the norm."""
    return (0.05 * x.square().sum(-1)).sin()


def pairs(x: Tensor) -> Tensor:
    """A sum over pairs of points."""
    return torch.exp(-torch.cdist(x, x).square()).sum((1, 2))


def spent(call: Callable[[], discover.Generators]) -> tuple[float, discover.Generators]:
    """CPU seconds of one call, and its result."""
    begin = time.process_time()
    found = call()
    return time.process_time() - begin, found


def whole(d: int, n: int) -> Callable[[], discover.Generators]:
    """All d² linear fields."""
    x = torch.randn(n, d, dtype=torch.float64)
    return lambda: discover.generators(radial, x)


def declared(d: int, n: int) -> Callable[[], discover.Generators]:
    """Eighty declared fields in d dimensions, of which sixty are rotations."""
    x = torch.randn(n, d, dtype=torch.float64)
    turns = groups.SpecialOrthogonal(d).algebra(dtype=torch.float64)[:60]
    basis = torch.cat([turns, torch.randn(20, d, d, dtype=torch.float64)])
    return lambda: discover.generators(radial, x, basis=basis)


def shared(points: int, n: int) -> Callable[[], discover.Generators]:
    """One affine field for all points in space."""
    x = torch.randn(n, points, 3, dtype=torch.float64)
    return lambda: discover.generators(pairs, x, basis=discover.Shared(discover.Affine(), copies=points))


def main() -> None:
    """The bounds of the issue, and what is right."""
    bench = Bench("Generators from derivatives")
    d, n = (12, 1000) if bench.smoke else (50, 10_000)
    cases = (
        (f"all {d * d} linear fields, {d} dimensions, {n} samples", whole(d, n), 10.0, d * (d - 1) // 2),
        (f"80 declared fields, {2 * d} dimensions, {n} samples", declared(2 * d, n), 10.0, 60),
        (f"one affine field for 40 points, {n // 10} samples", shared(40, n // 10), None, 6),
    )
    whole(4, 100)()
    for name, call, bound, right in cases:
        seconds, found = spent(call)
        bench.add(name, seconds, " s", at_most=bound)
        bench.add(f"{name}: generators found, of {right}", found.dimension, at_least=right)
        bench.add(f"{name}: peak memory", grown(lambda call=call: call), " MiB")
    bench.finish()


if __name__ == "__main__":
    main()
