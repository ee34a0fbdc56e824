"""A mean of observations with its covariance, and the test of a linear subspace against it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError, describe, explain
from .chances import f_tail

SINGULAR = 1e-10
"""Directions with less variance than this part of the largest one count as constant."""


@dataclass(frozen=True)
class Fit:
    """How well a subspace of dimension p - q describes a statistic.

    Attributes:
        misfit: the squared distance to the subspace in units of the noise; NaN where the covariance is singular.
        restrictions: q.
        p_value: how often noise alone is as far away; NaN where that cannot be told.
        deviance: -2 log of the likelihood ratio against no restriction.
    """

    misfit: float
    restrictions: int
    p_value: float
    deviance: float


@dataclass(frozen=True)
class Observed:
    """A statistic, flat and in float64, with the covariance of one observation.

    Attributes:
        mean: (p,) the statistic.
        shape: the shape it was given in.
        covariance: (p,) variances or a (p, p) matrix.
        samples: how many observations the mean is over.
        freedom: degrees of freedom of the covariance's scale; infinite where it is known, None where a whole matrix was
            estimated from the same samples (Hotelling's law).
    """

    mean: Tensor
    shape: tuple[int, ...]
    covariance: Tensor
    samples: int
    freedom: float | None

    @property
    def variance(self) -> Tensor:
        """(p,) the variances of the statistic itself."""
        diagonal = self.covariance if self.covariance.dim() == 1 else self.covariance.diagonal()
        return diagonal / self.samples

    def fit(self, basis: Tensor) -> Fit:
        """Test the span of independent columns (p, r) against the statistic."""
        misfit = self.distance(basis)
        q = basis.shape[0] - basis.shape[1]
        return Fit(misfit, q, *self._judged(misfit, q))

    def distance(self, basis: Tensor) -> float:
        """The squared generalized least squares distance of the statistic to a span; NaN where the noise is singular across it."""
        p, r = basis.shape
        if r == p:
            return 0.0
        if self.covariance.dim() == 1:
            scale = self.variance.sqrt()
            inside = torch.linalg.qr(basis / scale[:, None]).Q
            w = self.mean / scale
            return float((w - inside @ (inside.mT @ w)).square().sum())
        across = torch.linalg.qr(basis, mode="complete").Q[:, r:]
        noise = across.mT @ self.covariance @ across / self.samples
        values, vectors = torch.linalg.eigh(noise)
        if float(values[0]) <= SINGULAR * float(self.variance.max()):
            return math.nan
        return float(((vectors.mT @ (across.mT @ self.mean)).square() / values).sum())

    def _judged(self, misfit: float, q: int) -> tuple[float, float]:
        """The p-value and the deviance of a misfit."""
        if q == 0 or math.isnan(misfit):
            return (1.0, 0.0) if q == 0 else (math.nan, math.nan)
        n, p = self.samples, len(self.mean)
        if self.freedom is not None:
            known = math.isinf(self.freedom)
            deviance = misfit if known else (self.freedom + p) * math.log1p(misfit / self.freedom)
            return f_tail(misfit / q, q, self.freedom), deviance
        if n <= q:
            return math.nan, math.nan
        return f_tail(misfit * (n - q) / (q * (n - 1)), q, n - q), n * math.log1p(misfit / (n - 1))

    def coordinates(self, basis: Tensor) -> Tensor:
        """(r,) generalized least squares coefficients of the statistic in a basis; plain least squares where the noise is singular."""
        weights = torch.eye(len(self.mean), dtype=torch.float64)
        if self.covariance.dim() == 1:
            weights = (1 / self.variance).diag()
        else:
            values, vectors = torch.linalg.eigh(self.covariance)
            if float(values[0]) > SINGULAR * float(values[-1]):
                weights = (vectors / values) @ vectors.mT
        inner = basis.mT @ weights
        return torch.linalg.solve(inner @ basis, inner @ self.mean)

    def away(self, basis: Tensor) -> float:
        """The part of the statistic's square that lies off a span, both freed of the noise's contribution, within [0, 1]."""
        inside = torch.linalg.qr(basis).Q
        off = self.mean - inside @ (inside.mT @ self.mean)
        matrix = self.covariance.diag() if self.covariance.dim() == 1 else self.covariance
        total = float(matrix.trace()) / self.samples
        noise = total - float((inside * (matrix @ inside)).sum()) / self.samples
        whole = float(self.mean.square().sum()) - total
        part = float(off.square().sum()) - noise
        return min(1.0, max(0.0, part / whole)) if whole > 0 else (1.0 if part > 0 else 0.0)

    def present(self) -> float:
        """The p-value of the hypothesis that the statistic is zero."""
        scale = self.variance.sqrt()
        if self.covariance.dim() == 1:
            return self._judged(float((self.mean / scale).square().sum()), len(self.mean))[0]
        values, vectors = torch.linalg.eigh(self.covariance / self.samples)
        kept = values > SINGULAR * values[-1]
        misfit = float(((vectors[:, kept].mT @ self.mean).square() / values[kept]).sum())
        return self._judged(misfit, int(kept.sum()))[0]


def observed(statistic: Any, covariance: Any, samples: int, freedom: float | None = None) -> Observed:
    """Check and flatten what a user has measured.

    Raises:
        InputError: for other shapes, non-finite numbers, constant entries, asymmetric or indefinite matrices, too few samples.
    """
    mean, noise = real(statistic, "the statistic"), real(covariance, "the covariance")
    if mean.dim() not in (1, 2) or not mean.numel():
        raise InputError(explain(f"a statistic of shape {tuple(mean.shape)}", "shape (p,), (n, n) or (m, n)", "flatten it to (p,)"))
    count = _counted(samples)
    p = mean.numel()
    if noise.dim() == 0 or noise.shape == mean.shape:
        own = float(p * (count - 1)) if noise.dim() == 0 else float(count - 1)
        flat = noise.expand(mean.shape).reshape(-1).clone()
    elif tuple(noise.shape) == (p, p):
        own, flat = None, _matrix(noise)
    else:
        raise InputError(
            explain(
                f"a covariance of shape {tuple(noise.shape)} for a statistic of shape {tuple(mean.shape)}",
                f"a number, shape {tuple(mean.shape)} or ({p}, {p})",
                "pass the covariance of one observation of the flattened statistic",
            )
        )
    _not_constant(flat if flat.dim() == 1 else flat.diagonal(), tuple(mean.shape))
    if freedom is not None and (isinstance(freedom, (bool, str)) or not freedom > 0):
        raise InputError(explain(f"freedom={freedom!r}", "a positive number", "pass math.inf for a known covariance, or leave it out"))
    return Observed(mean.reshape(-1), tuple(mean.shape), flat, count, own if freedom is None else float(freedom))


def real(x: Any, name: str) -> Tensor:
    """Numbers, an array or a tensor as float64 on the host, all finite.

    Raises:
        InputError: for anything else.
    """
    try:
        tensor = x.detach().cpu() if isinstance(x, Tensor) else torch.from_numpy(np.array(x))
    except (TypeError, ValueError) as error:
        raise InputError(explain(f"{name}: {describe(x)}", "real numbers", "pass a tensor or an array")) from error
    if tensor.is_complex() or tensor.dtype == torch.bool:
        raise InputError(explain(f"{name}: {describe(tensor)}", "real numbers", "convert it"))
    tensor = tensor.double()
    if not bool(tensor.isfinite().all()):
        raise InputError(
            explain(
                f"{name}: {int((~tensor.isfinite()).sum())} of {tensor.numel()} entries NaN or infinite",
                "finite numbers",
                "remove or repair them",
            )
        )
    return tensor


def _counted(samples: Any) -> int:
    if isinstance(samples, bool) or not isinstance(samples, (int, np.integer)) or samples < 2:
        raise InputError(
            explain(f"samples={samples!r}", "a whole number of at least 2 observations", "a claim needs more than one of them")
        )
    return int(samples)


def _matrix(noise: Tensor) -> Tensor:
    """A covariance matrix, made symmetric after it was checked."""
    size = float(noise.abs().max())
    if float((noise - noise.mT).abs().max()) > 1e-6 * size:
        raise InputError(explain("a covariance that is not symmetric", "a covariance matrix", "pass for instance torch.cov(data.T)"))
    noise = (noise + noise.mT) / 2
    if float(torch.linalg.eigvalsh(noise)[0]) < -1e-6 * size:
        raise InputError(explain("a covariance with a negative eigenvalue", "a covariance matrix", "pass for instance torch.cov(data.T)"))
    return noise


def _not_constant(variance: Tensor, shape: tuple[int, ...]) -> None:
    bad = torch.nonzero(variance <= 0).flatten()
    if len(bad):
        where = np.unravel_index(int(bad[0]), shape)
        raise InputError(
            explain(
                f"{len(bad)} of {len(variance)} entries with variance zero or less, the first at {tuple(int(i) for i in where)}",
                "noise in every entry: without it nothing can be tested",
                "leave constant entries out, or pass the variance of their measurement",
            )
        )
