"""Kernel ridge regression: the model that data are judged with when none is given and they have many columns."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import InputError, explain
from ..tree import Tree
from .data_inputs import table

RIDGES = tuple(10.0**k for k in range(-8, 3))


def gaussian(a: Tensor, b: Tensor, width: float) -> Tensor:
    """The kernel exp(-|a - b|^2 / (2 width^2)) between rows (N, d) and (M, d)."""
    return torch.exp(torch.cdist(a, b).square() * (-0.5 / width**2))


def median_distance(rows: Tensor) -> float:
    """The median distance between different ones of the first 500 rows; 1 where all are alike."""
    apart = torch.pdist(rows[:500])
    return float(apart[apart > 0].median()) if bool((apart > 0).any()) else 1.0


class KernelRidge:
    """Gaussian kernel of median width; the ridge has the least leave-one-out error.

    Example:
        >>> import torch
        >>> from coset.auditing.kernel_ridge import KernelRidge
        >>> x = torch.linspace(-1, 1, 50)[:, None]
        >>> float((KernelRidge().fit(x, x**2).predict(x) - x**2).abs().max()) < 1e-2
        True
    """

    def fit(self, x: Tree, y: Tensor) -> KernelRidge:
        """Learn from inputs (n, ...) and targets (n, q)."""
        self.rows = table(x).to(torch.float64)
        self.width = median_distance(self.rows)
        self.mean = y.to(torch.float64).mean(0)
        values, vectors = torch.linalg.eigh(gaussian(self.rows, self.rows, self.width))
        values, rotated = values.clamp_min(0.0), vectors.mT @ (y - self.mean)
        best = torch.inf
        for ridge in RIDGES:
            shrunk = vectors / (values + ridge * len(values) * 1e-2)
            weights = shrunk @ rotated
            missed = weights / (shrunk * vectors).sum(1, keepdim=True)  # leave-one-out residuals
            loss = float(missed.square().mean())
            if loss < best:
                best, self.weights = loss, weights
        if best == torch.inf:
            given = f"inputs as large as {float(self.rows.abs().max()):.2g}, targets as large as {float(y.abs().max()):.2g}"
            raise InputError(explain(given, "numbers whose squares are finite", "divide them by their size"))
        return self

    def predict(self, x: Tree) -> Tensor:
        """Targets (m, q) in float64."""
        return gaussian(table(x).to(torch.float64), self.rows, self.width) @ self.weights + self.mean
