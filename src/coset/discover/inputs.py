"""Statistics of maps known from samples only: least squares, the cross-moment, and a check of the inputs' law."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..errors import InputError, explain
from .chances import f_tail
from .orbits import common
from .statistic import SINGULAR, real


class Moment(NamedTuple):
    """A statistic, the covariance of one observation of it, and the number of observations: what ``sharing`` takes."""

    statistic: Tensor
    covariance: Tensor
    samples: int


class Regression(NamedTuple):
    """The same for a regression, with the degrees of freedom of its error variance."""

    statistic: Tensor
    covariance: Tensor
    samples: int
    freedom: float


def cross_moment(x: Any, y: Any) -> Moment:
    """The mean of y x^T, which has the symmetry of any map y = f(x) + noise whose inputs have an invariant law.

    If f(gx) = g f(x) and gx has the law of x, then E[y x^T] is an equivariant matrix, also where f is not linear. The
    converse does not hold, and where the law is not invariant a claim would be wrong: pass
    ``discover.Candidates(groups, inputs=x)``, which tests the first two moments of x and else says "cannot tell".

    Args:
        x: (N, n) inputs.
        y: (N, m) outputs, or (N,) for one invariant output.

    Returns:
        (statistic, covariance, samples): (m, n) or (n,), (mn, mn), N; for ``discover.sharing(*moment, method)``.

    Raises:
        InputError: for other shapes, non-finite numbers, fewer than 2 samples.

    Example:
        >>> import torch
        >>> from coset import discover
        >>> x = torch.randn(500, 4, generator=torch.Generator().manual_seed(0))
        >>> y = torch.tanh(x + 2 * x.roll(1, 1))
        >>> groups = {"C4": [[1, 2, 3, 0]], "S4": [[1, 0, 2, 3], [1, 2, 3, 0]]}
        >>> discover.sharing(*discover.cross_moment(x, y), discover.Candidates(groups, inputs=x)).name
        'C4'
    """
    x, y = _pair(x, y)
    products = (y[:, :, None] * x[:, None, :] if y.dim() == 2 else y[:, None] * x).flatten(1)
    shape = (y.shape[1], x.shape[1]) if y.dim() == 2 else (x.shape[1],)
    covariance = torch.cov(products.mT).reshape(products.shape[1], products.shape[1])
    return Moment(products.mean(0).reshape(shape), covariance, len(x))


def least_squares(x: Any, y: Any) -> Regression:
    """The linear map y = W x by least squares, without intercept: exact F tests for normal noise of equal variance.

    Args:
        x: (N, n) inputs.
        y: (N, m) outputs, or (N,).

    Returns:
        (statistic, covariance, samples, freedom); call ``sharing(*fit[:3], method, freedom=fit.freedom)``.

    Raises:
        InputError: when the inputs are rank-deficient, or there are not more samples than inputs.

    Example:
        >>> import torch
        >>> from coset import discover
        >>> x = torch.randn(30, 3, generator=torch.Generator().manual_seed(0))
        >>> fit = discover.least_squares(x, x.sum(1))
        >>> fit.statistic.round(decimals=6).tolist(), fit.freedom
        ([1.0, 1.0, 1.0], 27.0)
    """
    x, y = _pair(x, y)
    count, n = x.shape
    if count <= n:
        raise InputError(explain(f"{count} samples of {n} inputs", f"more than {n} samples", "collect more data"))
    values = torch.linalg.svdvals(x)
    if float(values[-1]) <= 1e-8 * float(values[0]):
        raise InputError(
            explain(
                f"inputs of rank {int((values > 1e-8 * values[0]).sum())} of {n}",
                "independent inputs",
                "leave out inputs that are constant or follow from others",
            )
        )
    targets = y if y.dim() == 2 else y[:, None]
    weights = torch.linalg.lstsq(x, targets).solution.mT
    freedom = targets.shape[1] * (count - n)
    noise = float((targets - x @ weights.mT).square().sum()) / freedom
    if noise <= 1e-28 * float(targets.square().mean()):
        noise = max(1e-28 * float(targets.square().mean()), 1e-300)
    inverse = torch.linalg.inv(x.mT @ x).contiguous()
    covariance = torch.kron(torch.eye(targets.shape[1], dtype=torch.float64), inverse * noise * count)
    return Regression(weights if y.dim() == 2 else weights[0], covariance, count, float(freedom))


@dataclass(frozen=True)
class Law:
    """Mean and second moment of inputs, flat: x x^T, then x.

    Attributes:
        mean: (n^2 + n,) of the features.
        covariance: of one observation of them.
        samples: their number.
    """

    mean: Tensor
    covariance: Tensor
    samples: int

    def test(self, matrices: Tensor) -> float:
        """The p-value of the hypothesis that both moments are invariant under matrices (k, n, n) (Hotelling, large samples)."""
        n = matrices.shape[-1]
        one = torch.ones(len(matrices), 1, 1, dtype=torch.float64)
        dual = torch.linalg.inv(matrices).mT
        second, first = common(dual, matrices)[1], common(dual, one)[1]
        inside = torch.linalg.qr(torch.block_diag(second, first)).Q
        swap = torch.arange(n * n).reshape(n, n).mT.reshape(-1)
        both = torch.eye(n * n + n, dtype=torch.float64)
        both[: n * n] = (both[: n * n] + both[: n * n][swap]) / 2
        values, vectors = torch.linalg.eigh(both - (inside @ (inside.mT @ both) + both @ inside @ inside.mT) / 2)
        across = vectors[:, values > 0.5]
        q = across.shape[1]
        if q == 0:
            return 1.0
        noise = across.mT @ self.covariance @ across
        if self.samples <= q or float(torch.linalg.eigvalsh(noise)[0]) <= SINGULAR * float(self.covariance.diagonal().max()):
            return math.nan
        off = across.mT @ self.mean
        misfit = self.samples * float(off @ torch.linalg.solve(noise, off))
        return f_tail(misfit * (self.samples - q) / (q * (self.samples - 1)), q, self.samples - q)


def law(x: Tensor, n: int) -> Law:
    """The moments of inputs (N, n).

    Raises:
        InputError: for other shapes.
    """
    if x.dim() != 2 or x.shape[1] != n or len(x) < 2:
        raise InputError(
            explain(f"inputs of shape {tuple(x.shape)}", f"(N, {n}), as the statistic has {n} columns", "pass the inputs of the map")
        )
    features = torch.cat([(x[:, :, None] * x[:, None, :]).flatten(1), x], 1)
    return Law(features.mean(0), torch.cov(features.mT), len(x))


def _pair(x: Any, y: Any) -> tuple[Tensor, Tensor]:
    x, y = real(x, "the inputs"), real(y, "the outputs")
    if x.dim() != 2 or y.dim() not in (1, 2) or len(x) != len(y) or len(x) < 2:
        raise InputError(
            explain(
                f"inputs of shape {tuple(x.shape)} and outputs of shape {tuple(y.shape)}",
                "(N, n) and (N, m) or (N,), with at least 2 samples",
                "flatten each sample to a row",
            )
        )
    return x, y
