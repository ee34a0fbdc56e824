"""The rows of EXP classification: a network that sees the order of nodes, under a frame, and how one row is trained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from _graph_models import GRAPHS, INVARIANT, FlatMLP, Graphs, PlainGIN, S, SameNoise, TiesAtRandom, picked, scores_of
from _runs import Resumable
from torch import Tensor, nn

import coset
from coset import frames

WIDTHS = (512, 1024, 512, 10)
"""Hidden sizes of the perceptron; those of the paper are 2048, 4096, 2048, 10, eight times the work."""
SWEEPS = 5
"""Sinkhorn sweeps of soft permutations; those of the paper are 20."""
CHOSEN = 10
"""Elements of sampled frames in validation and test, fixed before any test."""


@dataclass(frozen=True)
class Row:
    """A network and a way to make it invariant.

    Attributes:
        base: "mlp" or "gin".
        frame: the frame, from its own network, the number of elements and a generator.
        samples: elements of a sampled frame while training; None where nothing is sampled.
        learned: whether the frame has a network.
        cached: the frame never changes, so canonical graphs are computed once.
        published: the accuracy published for it, in percent, after 2,000 epochs.
    """

    base: str
    frame: Callable[[Any, int, torch.Generator], frames.Frame]
    samples: int | None = None
    learned: bool = False
    cached: bool = False
    published: float | None = None


def relabel(network: Any, count: int, generator: torch.Generator) -> frames.Frame:
    """Exact canonical labels."""
    return frames.Relabel()


def average(network: Any, count: int, generator: torch.Generator) -> frames.Frame:
    """Independent uniform permutations."""
    return frames.Haar(count, generator=generator)


def canonical(network: Any, count: int, generator: torch.Generator) -> frames.Frame:
    """One learned permutation; equal scores are settled by exact labels."""
    return frames.Canonicalizer(network, frames.Argsort(0.01, SWEEPS))


def canonical_random(network: Any, count: int, generator: torch.Generator) -> frames.Frame:
    """One learned permutation; equal scores are settled at random, as published."""
    return frames.Probabilistic(TiesAtRandom(network), frames.Argsort(0.01, SWEEPS), frames.Uniform(), coupled=False, generator=generator)


def probabilistic(network: Any, count: int, generator: torch.Generator) -> frames.Frame:
    """Permutations from a learned distribution."""
    return frames.Probabilistic(network, frames.Argsort(0.01, SWEEPS), frames.Uniform(), samples=count, generator=generator)


def same_noise(network: Any, count: int, generator: torch.Generator) -> frames.Frame:
    """The same with noise that never changes."""
    return frames.Probabilistic(network, frames.Argsort(0.01, SWEEPS), SameNoise(), samples=count, coupled=False, generator=generator)


def rows_of(base: str, published: dict[str, float]) -> dict[str, Row]:
    """One network under every method."""
    rows = {
        f"{base}-exact": Row(base, relabel, cached=True, published=100.0),
        f"{base}-canonical": Row(base, canonical, learned=True),
        f"{base}-canonical-random": Row(base, canonical_random, learned=True, published=published["canonical"]),
    }
    for k in (1, 2, 5, 10):
        rows[f"{base}-average-{k}"] = Row(base, average, k, published=50.0 if k == CHOSEN else None)
        rows[f"{base}-probabilistic-{k}"] = Row(base, probabilistic, k, learned=True, published=published.get(str(k)))
    rows[f"{base}-fixed-1"] = Row(base, same_noise, 1, learned=True)
    return rows


ROWS: dict[str, Row] = {
    **rows_of("mlp", {"canonical": 50.0, "1": 97.5, "2": 99.5, "5": 100.0, "10": 100.0}),
    **rows_of("gin", {"canonical": 84.0, "10": 100.0}),
}


@dataclass(frozen=True)
class Plan:
    """The protocol: Adam at a constant rate after a linear start over a tenth of the epochs.

    Attributes:
        epochs: passes over the training graphs.
        batch: graphs a step.
        rate: learning rate.
        clip: largest norm of the gradient.
        entropy: weight of the entropy of learned permutations.
        check: epochs between validations, which are also the checkpoints.
        seed: of networks, batches and noise.
    """

    epochs: int
    batch: int = 100
    rate: float = 1e-3
    clip: float = 0.1
    entropy: float = 0.1
    check: int = 5
    seed: int = 0


@dataclass(frozen=True)
class Task:
    """Graphs and their labels (B,)."""

    graphs: Graphs
    labels: Tensor

    def __len__(self) -> int:
        return self.labels.shape[0]

    def __getitem__(self, rows: Tensor | slice) -> Task:
        return Task(picked(self.graphs, rows), self.labels[rows])


def labelled(task: Task) -> Task:
    """The graphs in canonical order, once and for all."""
    measure = frames.Relabel().bind(GRAPHS)(task.graphs)
    return Task(GRAPHS.act(S.inverse(measure.elements[0]), task.graphs), task.labels)  # type: ignore[arg-type]


class Training(Resumable):
    """One run: networks, optimizer, the best networks so far, the learning curve."""

    def __init__(self, row: Row, plan: Plan, train: Task, valid: Task):
        torch.manual_seed(plan.seed)
        n, channels = train.graphs["kind"].shape[1:]
        base = FlatMLP(n, channels, WIDTHS, 1) if row.base == "mlp" else PlainGIN(n, channels, 1, head=10)
        self.row, self.plan = row, plan
        self.parts = nn.ModuleDict({"base": base, **({"frame": scores_of(train.graphs)} if row.learned else {})})
        self.train, self.valid = self.seen(train), self.seen(valid)
        self.optimizer = torch.optim.Adam(self.parts.parameters(), plan.rate, fused=True)
        self.generator = torch.Generator().manual_seed(plan.seed)
        self.model = self.symmetrized(row.samples or 1)
        self.start()

    def seen(self, task: Task) -> Task:
        """What the model is called with: graphs in canonical order where that never changes."""
        return labelled(task) if self.row.cached else task

    def symmetrized(self, count: int) -> nn.Module:
        """The network under its frame; under none where the graphs are in canonical order already."""
        if self.row.cached:
            return self.parts["base"]
        network = self.parts["frame"] if self.row.learned else None
        return coset.symmetrize(self.parts["base"], INVARIANT, self.row.frame(network, count, self.generator))

    def one_pass(self) -> float:
        """One pass over the training graphs; the mean loss."""
        self.model.train()
        total, order = 0.0, torch.randperm(len(self.train), generator=self.generator).split(self.plan.batch)
        for number, rows in enumerate(order):
            done = (self.epoch + (number + 1) / len(order)) / max(1.0, self.plan.epochs / 10)
            self.optimizer.param_groups[0]["lr"] = self.plan.rate * min(1.0, done)
            batch, more = self.train[rows], 0.0
            if self.row.learned:
                found, stats = self.model(**batch.graphs, return_stats=True)
                more = self.plan.entropy * stats.scores["entropy"].mean() if "entropy" in stats.scores else 0.0
            else:
                found = self.model(**batch.graphs)
            loss = nn.functional.binary_cross_entropy_with_logits(found.squeeze(1), batch.labels)
            self.optimizer.zero_grad()
            (loss + more).backward()
            nn.utils.clip_grad_norm_(self.parts.parameters(), self.plan.clip)
            self.optimizer.step()
            total += float(loss.detach()) / len(order)
        return total

    def validate(self) -> tuple[float, float]:
        """Loss and accuracy."""
        logits = self.logits(self.valid)
        loss = nn.functional.binary_cross_entropy_with_logits(logits, self.valid.labels)
        return float(loss), float(((logits > 0) == (self.valid.labels > 0.5)).float().mean())

    def mark(self) -> dict[str, Any]:
        """The plan."""
        return {"plan": [self.plan.epochs, self.plan.batch, self.plan.seed]}

    @torch.no_grad()
    def logits(self, task: Task, count: int = CHOSEN) -> Tensor:
        """(B,) with ``count`` elements where they are sampled; random elements are the same in every call."""
        model = self.symmetrized(count if self.row.samples is not None else 1).eval()
        state = self.generator.get_state()
        self.generator.manual_seed(0)
        found = [model(**task[rows].graphs).squeeze(1) for rows in torch.arange(len(task)).split(self.plan.batch)]
        self.generator.set_state(state)
        return torch.cat(found)
