"""Gaussian means with shared values, as in the study of learned parameter sharing: data, methods, errors."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from coset import discover

SAMPLES, APART = 100, 3.0
"""Observations of unit variance, and the distance of neighbouring values."""


@dataclass
class Score:
    """Sums over trials: exact recoveries, partition distances, squared errors, seconds."""

    trials: int = 0
    exact: int = 0
    distance: int = 0
    error: float = 0.0
    seconds: float = 0.0

    def add(self, labels: Tensor, truth: Tensor, theta: Tensor, values: Tensor, seconds: float) -> None:
        """Take in one trial."""
        distance = discover.partition_distance(labels, truth)
        self.trials += 1
        self.exact += distance == 0
        self.distance += distance
        self.error += float((theta - values).square().sum())
        self.seconds += seconds

    def cells(self) -> list[str]:
        """Recovery with its standard error, mean distance, mean squared error, milliseconds."""
        if not self.trials:
            return ["not run"] * 4
        rate = self.exact / self.trials
        spread = math.sqrt(max(rate * (1 - rate), 0.25 / self.trials) / self.trials)
        mean = [x / self.trials for x in (self.distance, self.error, 1e3 * self.seconds)]
        return [f"{rate:.3f} ± {spread:.3f}", f"{mean[0]:.2f}", f"{mean[1]:.4f}", f"{mean[2]:.2f}"]


def truth(k: int, r: int, generator: torch.Generator) -> Tensor:
    """Random labels (k,) with r classes."""
    labels = torch.randint(0, r, (k,), generator=generator)
    labels[torch.randperm(k, generator=generator)[:r]] = torch.arange(r)
    return labels


def mean(labels: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """The true values, and the mean of the observations."""
    values = APART * labels.double()
    return values, values + torch.randn(len(labels), generator=generator, dtype=torch.float64) / math.sqrt(SAMPLES)


def study(k: int, r: int, methods: dict[str, tuple[Any, int]], generator: torch.Generator) -> dict[str, Score]:
    """Score methods on the same data; a method with a number takes the first so many trials."""
    scores = {name: Score() for name in [*methods, "oracle", "no sharing"]}
    for trial in range(max(number for _, number in methods.values())):
        labels = truth(k, r, generator)
        values, data = mean(labels, generator)
        for name, (method, number) in methods.items():
            if trial >= number:
                continue
            start = time.process_time()
            found = discover.sharing(data, 1.0, SAMPLES, method, freedom=math.inf)
            scores[name].add(found.labels, labels, found.theta, values, time.process_time() - start)
        pooled = torch.zeros(r, dtype=torch.float64).index_add(0, labels, data) / labels.bincount(minlength=r)
        scores["oracle"].add(labels, labels, pooled[labels], values, 0.0)
        scores["no sharing"].add(torch.arange(k), labels, data, values, 0.0)
    return scores
