"""What does probabilistic symmetrization cost? The whole layer beside the bare transformer, k draws beside one, and memory."""

from __future__ import annotations

import functools
import sys
from pathlib import Path

import torch
from _bench import Bench, grown, medians
from torch import Tensor, nn

import coset
from coset import actions, frames, groups
from coset.nn import GIN, VectorNeurons

sys.path.append(str(Path(__file__).parents[1] / "experiments"))
from _nbody_models import PairTransformer

G = groups.Symmetric() * groups.Orthogonal(3)
S = groups.Symmetric()


def bodies(batch: int, n: int = 5) -> dict[str, Tensor]:
    """Positions, velocities and charges of particles, as in the five-particle task."""
    return {"pos": torch.randn(batch, n, 3), "vel": torch.randn(batch, n, 3), "charge": torch.randint(2, (batch, n, 1)).float() * 2 - 1}


SOURCE = actions.Dict(pos=actions.Points(G), vel=actions.Vectors(G), charge=actions.Permute(G, -2))


def transformer(batch: int) -> tuple[nn.Module, coset.Symmetrized, dict[str, Tensor]]:
    """The transformer of the five-particle task, bare and symmetrized."""
    x = bodies(batch)
    base = PairTransformer().eval()
    frame = frames.Probabilistic(VectorNeurons(SOURCE, x, noise=2), noise=frames.NormalVectors(2))
    return base, coset.symmetrize(base, SOURCE >> actions.Vectors(G), frame, chunk=batch), x


class Flat(nn.Module):
    """A linear map of the flattened adjacency matrix."""

    def __init__(self, n: int):
        super().__init__()
        self.out = nn.Linear(n * n, 4)

    def forward(self, adjacency: Tensor) -> Tensor:
        """Matrices (B, n, n) to (B, 4)."""
        return self.out(adjacency.flatten(1))


def steps(n: int, batch: int, symmetric: bool) -> object:
    """One training step on graphs of n nodes; what is called after the warm-up is measured."""
    torch.set_num_threads(1)
    adjacency = (torch.rand(batch, n, n) < 0.05).float()
    base: nn.Module = Flat(n)
    source = actions.Dict(adjacency=actions.Permute(S, -2, -1))
    model: nn.Module = base
    if symmetric:
        frame = frames.Probabilistic(GIN(source, {"adjacency": adjacency}), frames.Argsort(0.01))
        model = coset.symmetrize(base, source >> actions.Trivial(S), frame).train()

    def step() -> None:
        model(adjacency=adjacency).square().sum().backward()

    return step


def forward(bench: Bench) -> None:
    """The layer at k = 1 over the bare model, and k draws over k times one."""
    batch, repeats, many = (10, 3, 4) if bench.smoke else (100, 11, 20)
    base, model, x = transformer(batch)
    model.train()  # fresh noise, no coupling
    base.eval()
    with torch.no_grad():
        bare, one = medians(repeats, lambda: base(**x), lambda: model(**x))
        bench.add("n-body transformer, S_n x O(3), k = 1, training noise: layer / bare model", one / bare, " x", at_most=1.3)
        model.eval()
        bare, coupled = medians(repeats, lambda: base(**x), lambda: model(**x))
        bench.add("the same in eval, with coupled noise (a second pass of q)", coupled / bare, " x")
        model.frame.samples = many  # type: ignore[union-attr]
        frame = frames.Probabilistic(model.frame.network, noise=frames.NormalVectors(2))  # type: ignore[union-attr, arg-type]
        single = coset.symmetrize(base, SOURCE >> actions.Vectors(G), frame, chunk=batch)
        once, several = medians(max(3, repeats // 3), lambda: single.eval()(**x), lambda: model(**x))
        bench.add(f"k = {many} draws / ({many} x one draw), eval", several / once / many, " x", at_most=1.1)


def backward(bench: Bench) -> None:
    """A training step at k = 1 over one of the bare model."""
    batch, repeats = (10, 3) if bench.smoke else (100, 7)
    base, model, x = transformer(batch)
    base.train(), model.train()
    bare, whole = medians(repeats, lambda: base(**x).square().sum().backward(), lambda: model(**x).square().sum().backward())
    bench.add("n-body transformer, forward and backward at k = 1: layer / bare model", whole / bare, " x")


def memory(bench: Bench) -> None:
    """Peak memory: bounded by chunk=, and of the soft sort on large graphs."""
    n, batch, draws = (40, 4, 8) if bench.smoke else (444, 4, 200)
    base, whole = (grown(functools.partial(steps, n, batch, symmetric)) for symmetric in (False, True))
    beyond = None if base is None or whole is None else whole - base
    bench.add(f"S_n, n = {n}, batch {batch}, training step: memory beyond the base model", beyond, " MiB", at_most=100)

    def evaluate(k: int, chunk: int | None) -> object:
        torch.set_num_threads(1)
        base, _, x = transformer(100)
        frame = frames.Probabilistic(VectorNeurons(SOURCE, x, noise=2), noise=frames.NormalVectors(2), samples=k)
        model = coset.symmetrize(base, SOURCE >> actions.Vectors(G), frame, chunk=chunk).eval()

        def call() -> None:
            with torch.no_grad():
                model(**x)

        return call

    few = grown(functools.partial(evaluate, max(1, draws // 10), 100))
    many = grown(functools.partial(evaluate, draws, 100))
    free = None if bench.smoke else grown(functools.partial(evaluate, draws // 2, None))
    bench.add(f"n-body transformer, batch 100, k = {max(1, draws // 10)}, chunk=100: peak memory", few, " MiB")
    bench.add(f"the same, k = {draws}", many, " MiB", at_most=300)
    bench.add(f"the same, k = {draws // 2}, without chunk=", free, " MiB")


def main() -> None:
    """Ratios in one run, on one thread."""
    bench = Bench("Probabilistic symmetrization")
    forward(bench)
    backward(bench)
    memory(bench)
    bench.finish()


if __name__ == "__main__":
    main()
