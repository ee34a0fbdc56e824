"""Does ``chunk=`` bound the memory of a symmetrized model? Peaks of fresh processes, with and without it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from _bench import Bench, grown
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import coset
from coset import actions, frames, groups

O3 = groups.Orthogonal(3)
POINTS = actions.Points(O3)


class Small(nn.Module):
    """A perceptron of width 32 per point, and a mean for outputs per sample."""

    def __init__(self, per_point: bool):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, 32), nn.Tanh(), nn.Linear(32, 3))
        self.per_point = per_point

    def forward(self, x: Tensor) -> Tensor:
        y = self.layers(x)
        return y if self.per_point else y.mean(1)


class Checkpointed(nn.Module):
    """Another model whose activations are computed again in the backward pass."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return checkpoint(self.model, x, use_reentrant=False)


def call(frame: frames.Frame, batch: int, points: int, chunk: int | None, **options: bool) -> Callable[[], Callable[[], object]]:
    """What builds one forward pass, or one forward and backward pass with ``gradients``."""

    def build() -> Callable[[], object]:
        torch.set_num_threads(1)
        per_point, gradients = options.get("per_point", False), options.get("gradients", False)
        net: nn.Module = Small(per_point)
        target = actions.Vectors(O3, points=True) if per_point else actions.Vectors(O3)
        model = coset.symmetrize(Checkpointed(net) if options.get("again") else net, POINTS >> target, frame, chunk=chunk)
        x = torch.randn(batch, points, 3)
        with torch.no_grad():  # threads, kernels and caches stand before the measurement
            coset.symmetrize(net, POINTS >> target, frames.Haar(2))(x[:1])
        checkpoint(net, torch.zeros(1, 1, 3, requires_grad=True), use_reentrant=False).sum().backward()
        if not gradients:
            return torch.no_grad()(lambda: model(x, return_stats=options.get("stats", False)))
        return lambda: model(x).sum().backward()

    return build


def main() -> None:
    """10,000 Haar samples; outputs per sample and per point; gradients; other averages."""
    bench = Bench("Memory of symmetrized models")
    many, few, batch, points, chunk = (200, 50, 2, 10, 8) if bench.smoke else (10_000, 1_000, 8, 100, 1024)
    for per_point in (False, True):
        name = f"B = {batch}, n = {points}, outputs per {'point' if per_point else 'sample'}"
        for samples, size, bound in ((few, None, None), (few, chunk, None), (many, None, None), (many, chunk, 1024.0)):
            peak = grown(call(frames.Haar(samples), batch, points, size, per_point=per_point))
            bench.add(f"{name}: {samples} Haar samples, chunk = {size}", peak, " MiB", at_most=bound)
    name = f"B = {batch}, n = {points}"
    peak = grown(call(frames.Haar(many), batch, points, chunk, stats=True))
    bench.add(f"{name}: {many} Haar samples, chunk = {chunk}, with the spread", peak, " MiB", at_most=1024.0)
    for again in (False, True):
        for samples, size in ((few, None), (few, chunk)):
            peak = grown(call(frames.Haar(samples), batch, points, size, gradients=True, again=again))
            kept = "model checkpointed" if again else "gradients"
            bench.add(f"{name}: {samples} Haar samples, chunk = {size}, forward and backward, {kept}", peak, " MiB")
    frame = frames.Full(8)
    for size in (None, chunk):
        peak = grown(call(frame, 8 * batch, points, size, per_point=True))
        bench.add(f"B = {8 * batch}, n = {points}, outputs per point: {frame}, degree 8, chunk = {size}", peak, " MiB")
    bench.finish()


if __name__ == "__main__":
    main()
