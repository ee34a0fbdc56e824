"""Train one row of the five-particle table: one random element a step, checkpoints that a killed run continues from identically."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any

import torch
from _nbody_data import Systems, signature
from _nbody_rows import Row
from _runs import Resumable
from torch import Tensor

from coset.tree import tree_map


@dataclass(frozen=True)
class Plan:
    """The protocol, the same for every row.

    Attributes:
        epochs: passes over the training set; the learning rate falls to zero along a cosine.
        batch: systems a step.
        rate: learning rate of Adam at the start.
        decay: weight decay.
        clip: largest norm of the gradient.
        entropy: weight of the entropy of learned permutations.
        check: epochs between validations, which are also the checkpoints.
        elements: elements of sampled frames in validation.
        seed: of the networks, the batches and the elements.
        compiled: compile the base network for training.
    """

    epochs: int
    batch: int = 100
    rate: float = 1e-3
    decay: float = 1e-12
    clip: float = 1.0
    entropy: float = 0.1
    check: int = 20
    elements: int = 5
    seed: int = 0
    compiled: bool = False


@dataclass(frozen=True)
class Fixed:
    """A training set of which every canonical form is known: systems (K, N, ...) and the weights (K, N) of the forms.

    The error |g f(g'x) - y|, with g' the inverse of g, is |f(g'x) - g'y|, because O(3) and permutations keep distances:
    training on moved inputs and goals is training the symmetrized network with one element drawn by weight.
    """

    forms: Systems
    weights: Tensor

    def draw(self, rows: Tensor) -> Systems:
        """One form of each of the systems (R,), drawn by weight."""
        which = torch.multinomial(self.weights[:, rows].mT, 1).flatten()
        return self.forms.map(lambda x: x[which, rows])


def fixed(row: Row, systems: Systems) -> Fixed:
    """All canonical forms, from the library's frame."""
    sides = signature(row.ordered)
    measure = row.frame(row, 1, None).bind(sides.source, sides.target).eval()(systems.inputs())  # type: ignore[misc]
    back = measure.group.inverse(measure.elements)
    each = [tree_map(lambda leaf: leaf[k], back) for k in range(measure.weights.shape[0])]  # noqa: B023
    inputs = [sides.source.act(g, systems.inputs()) for g in each]
    goals = torch.stack([sides.target.act(g, systems.goal) for g in each])
    pos, vel, charge = (torch.stack([one[key] for one in inputs]) for key in ("pos", "vel", "charge"))
    return Fixed(Systems(pos, vel, charge, goals), measure.weights.float())


class Training(Resumable):
    """The state of one run: networks, optimizer, the best networks so far, and the learning curve.

    Args:
        row: what is trained.
        plan: how.
        train: systems to learn from.
        valid: systems to choose the networks by.
    """

    clock = time.perf_counter

    def __init__(self, row: Row, plan: Plan, train: Systems, valid: Systems):
        torch.manual_seed(plan.seed)
        self.row, self.plan, self.train, self.valid = row, plan, train, valid
        self.parts = row.parts(train[:2])
        self.optimizer = torch.optim.Adam(self.parts.parameters(), plan.rate, weight_decay=plan.decay, fused=True)
        parts = {name: torch.compile(part, dynamic=False) if plan.compiled else part for name, part in self.parts.items()}
        self.forms = fixed(row, train) if row.cached else None
        self.model = parts["base"] if row.cached else row.model(parts)
        self.start()

    def one_pass(self) -> float:
        """One pass over the training set; the mean of the loss."""
        self.parts.train()
        order = torch.randperm(len(self.train)).split(self.plan.batch)
        total = torch.zeros(())
        for number, rows in enumerate(order):
            done = (self.epoch + number / len(order)) / self.plan.epochs
            self.optimizer.param_groups[0]["lr"] = self.plan.rate * (1 + math.cos(math.pi * done)) / 2
            batch = self.train[rows] if self.forms is None else self.forms.draw(rows)
            error, more = self._loss(batch)
            self.optimizer.zero_grad()
            (error + more).backward()
            torch.nn.utils.clip_grad_norm_(self.parts.parameters(), self.plan.clip)
            self.optimizer.step()
            total += error.detach()
        return float(total) / len(order)

    def _loss(self, batch: Systems) -> tuple[Tensor, Tensor | float]:
        """The mean squared error, and for learned permutations the entropy of their soft form, as in the paper."""
        if not self.row.sharpened:
            return (self.model(**batch.inputs()) - batch.goal).square().mean(), 0.0
        found, stats = self.model(**batch.inputs(), return_stats=True)
        return (found - batch.goal).square().mean(), self.plan.entropy * stats.scores["entropy"].mean()

    def validate(self) -> tuple[float]:
        """The mean squared error."""
        return (float(errors(self.row, self.parts, self.valid, self.plan.elements).mean()),)

    def mark(self) -> dict[str, Any]:
        """The number of epochs, which the learning rates depend on."""
        return {"epochs": self.plan.epochs}


@torch.no_grad()
def errors(row: Row, parts: torch.nn.ModuleDict, systems: Systems, elements: int) -> Tensor:
    """(N,) mean squared error of every system under the whole measure of ``eval()``; the same random elements in every call."""
    parts.eval()
    model = row.model(parts, elements)
    if isinstance(model, torch.nn.Module):
        model.eval()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        split = torch.arange(len(systems)).split(max(10, min(200, 4000 // elements)))
        found = [(model(**systems[rows].inputs()) - systems.goal[rows]).square().mean((1, 2)) for rows in split]
    return torch.cat(found)
