"""How far the map from inputs to targets is from its symmetric part: DE^2 = |Qf*|^2, without bias, with an interval.

P averages a map over the group, Q = 1 - P, and with an invariant input law |h - f*|^2 = |Ph - Pf*|^2 + |Qh - Qf*|^2. For models
h_A, h_B fitted to independent samples the mean of <Qh_A, Qh_B> is |E Qh|^2; noise does not bias it.

Reference: Petrache and Trivedi 2023, arXiv 2305.17592.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

import torch
from torch import Tensor

from ..actions.base import all_finite
from ..errors import InputError, describe, explain
from ..stats import student
from ..tree import Tree
from .data_inputs import Observed, table
from .data_poses import Poses

RANK, ROUNDING = 1e-9, 64
"""Directions of the features this small beside the largest, or this many rounding units of the data, count as absent."""
LARGEST = 1000
"""Coefficients at most, where targets move; a matrix of their squared number is held."""
NOTHING = 1e-11
"""Squares this small beside that of the targets come from rounding of single precision."""
OUTPUTS = 2**22
"""How many numbers of features times outputs are held at once."""


@dataclass(frozen=True)
class SymmetryBreak:
    """The part of the map that the group does not allow, as a model sees it.

    Attributes:
        value: DE^2, the mean square over inputs of Qf*; without bias, so that it may be negative where there is none.
        stderr: its standard error.
        low, high: the ends of a 95 % interval.
        variance: V_Q, the variance that the model, fitted to all samples, has in the same part: what imposing the group saves.
        scale: the mean square of the targets about their mean.
        explained: the share of ``scale`` that the model predicts on samples it did not see.
        model: what was fitted.
    """

    value: float
    stderr: float
    low: float
    high: float
    variance: float
    scale: float
    explained: float
    model: str

    @property
    def share(self) -> float:
        """DE^2 in units of ``scale``."""
        return self.value / self.scale

    @property
    def floor(self) -> float:
        """Squares below this are rounding and no finding."""
        return NOTHING * self.scale


class Cannot(Exception):
    """Why an estimate cannot be made; the message becomes the verdict."""


def within(a: Tensor, b: Tensor, whole: bool) -> Tensor:
    """The mean over an orbit of <Q a, Q b>, for values (..., S, q) at S poses that were moved back; shape (...).

    With random poses the divisor S - 1 makes it unbiased.
    """
    a, b = a - a.mean(-2, keepdim=True), b - b.mean(-2, keepdim=True)
    return (a * b).sum((-1, -2)) / (a.shape[-2] - (not whole))


@dataclass(frozen=True)
class Regression:
    """Least squares on features, in coordinates in which the features of the data are orthonormal.

    Attributes:
        features: (x) -> (R, p).
        turn: (p, r), features to coordinates.
        u: (n, r), the coordinates of the data.
        coefficients: (r, q).
        noise: (n, q), residuals divided by sqrt(1 - leverage): their products have the covariance of the noise (HC2).
        explained: leave-one-out.
    """

    features: Callable[[Tree], Tensor]
    turn: Tensor
    u: Tensor
    coefficients: Tensor
    noise: Tensor
    explained: float
    name: str


def linear_features(x: Tree, centre: Tensor | float = 0.0) -> Tensor:
    """A one and all entries, less a centre: the same span, and better conditioned far from zero."""
    rows = table(x).to(torch.float64) - centre
    return torch.cat([torch.ones_like(rows[:, :1]), rows], 1)


def regress(seen: Observed, features: Callable[[Tree], Tensor], name: str) -> Regression:
    """Fit targets by features.

    Raises:
        Cannot: with fewer than two samples per feature, or too many features of moving targets.
        InputError: when the features are no finite rows.
    """
    made = features(seen.x)
    if not isinstance(made, Tensor) or made.dim() != 2 or len(made) != seen.count or not all_finite(made):
        raise InputError(explain(f"features {describe(made)}", f"finite rows, ({seen.count}, p)", "return one row for each input"))
    rows = made.detach().to(torch.float64)
    u, singular, v = torch.linalg.svd(rows, full_matrices=False)
    keep = singular > max(RANK, ROUNDING * torch.finfo(seen.dtype).eps) * singular[0]
    u, turn = u[:, keep], v[keep].mT / singular[keep]
    n, r = u.shape
    if n < 2 * r + 10:
        raise Cannot(f"{r} features need at least {2 * r + 10} samples, and there are {n}")
    y = seen.values
    if not seen.still and r * y.shape[1] > LARGEST:
        raise Cannot(f"{r} features of {y.shape[1]} outputs that move make more than {LARGEST} coefficients; pass model= instead")
    coefficients = u.mT @ y
    slack = (1 - u.square().sum(1, keepdim=True)).clamp_min(1e-6)
    residual = y - u @ coefficients
    missed = (residual / slack).square().sum(1).mean() / (y - y.mean(0)).square().sum(1).mean()
    return Regression(features, turn, u, coefficients, residual / slack.sqrt(), float(1 - missed), name)


def regression_break(seen: Observed, poses: Poses, found: Regression, confidence: float = 0.95) -> SymmetryBreak:
    """DE^2 by least squares: b'Mb - tr(M Cov b), where |Qh|^2 = b'Mb; unbiased, also where the noise depends on the input.

    Raises:
        Cannot: when moved inputs have features that no combination of the data's features gives.
    """
    metric, orbit = _metric(seen, poses, found)
    n, b = seen.count, found.coefficients
    if seen.still:
        a = (found.noise @ found.noise.mT) * (found.u @ metric @ found.u.mT)
        along = (found.noise * (found.u @ metric @ b)).sum(1)
    else:
        v = (found.noise[:, :, None] * found.u[:, None, :]).flatten(1)
        a, along = v @ metric @ v.mT, v @ metric @ b.mT.flatten()
    variance = float(a.diagonal().sum())
    crossed = float((a - torch.diag(a.diagonal())).square().sum()) * n / (n - 1)
    spread = max(4 * float(along.square().sum()) - 2 * crossed, 2 * crossed) + float(orbit.var()) / n
    value, stderr = float(orbit.mean()) - variance, spread**0.5
    half = NormalDist().inv_cdf((1 + confidence) / 2) * stderr
    return SymmetryBreak(value, stderr, value - half, value + half, variance, _scale(seen), found.explained, found.name)


def _scale(seen: Observed) -> float:
    return float((seen.values - seen.values.mean(0)).square().sum(1).mean())


def _metric(seen: Observed, poses: Poses, found: Regression) -> tuple[Tensor, Tensor]:
    """The matrix M of |Qh|^2 = b'Mb (for one output where targets stay, else for all of them), and |Qh|^2 per sample."""
    q, r, count = seen.values.shape[1], found.u.shape[1], poses.count
    side, divisor = (r if seen.still else q * r), count - (not poses.whole)
    metric, orbit = torch.zeros(side, side, dtype=torch.float64, device=seen.device), []
    for part in poses.parts(seen):
        for rows in part.split(max(1, OUTPUTS // max(count * side * (1 if seen.still else q), 1))):
            x, _ = poses.move(seen, rows)
            raw = found.features(x).detach().to(torch.float64)
            phi = raw @ found.turn
            _same_span(raw, phi, found)
            phi = phi.unflatten(0, (-1, count))
            predicted = phi @ found.coefficients
            if seen.still:
                basis = phi.unsqueeze(2)  # (R, S, 1, r)
            else:
                turns = _turns(seen, poses, rows)
                predicted = (turns @ predicted.unsqueeze(-1)).squeeze(-1)
                basis = (turns.unsqueeze(-1) * phi[:, :, None, None, :]).flatten(3)  # (R, S, q, q r)
            orbit.append(within(predicted, predicted, poses.whole))
            basis = basis - basis.mean(1, keepdim=True)
            flat = basis.flatten(0, 2)
            metric += flat.mT @ flat / divisor
    return metric / seen.count, torch.cat(orbit)


def _turns(seen: Observed, poses: Poses, rows: Tensor) -> Tensor:
    """The matrices (R, S, q, q) that move outputs at poses back."""
    shape = seen.y.shape[1:]  # type: ignore[union-attr]
    units = torch.eye(int(torch.Size(shape).numel()), dtype=torch.float64, device=seen.device)
    total = len(rows) * poses.count
    columns = [table(poses.back(seen, rows, unit.reshape(shape).expand(total, *shape))) for unit in units]
    return torch.stack(columns, -1).to(torch.float64).unflatten(0, (len(rows), poses.count))


def _same_span(raw: Tensor, phi: Tensor, found: Regression) -> None:
    """Moved features must be combinations of those that the data have, or coefficients say nothing about them."""
    if found.turn.shape[1] == found.turn.shape[0]:
        return
    inside = phi @ torch.linalg.pinv(found.turn)
    if float((raw - inside).norm()) > 1e-4 * float(raw.norm()):
        raise Cannot(f"the features are rank deficient ({found.turn.shape[1]} of {found.turn.shape[0]}), and moved inputs leave their span")


def jackknife(gram: Tensor) -> tuple[float, float]:
    """The mean of the entries i != j of a (K, K) matrix, and its standard error from leaving out one index at a time."""
    k = len(gram)
    off = gram - torch.diag(gram.diagonal())
    total, of_row = off.sum(), off.sum(0)
    left = (total - 2 * of_row) / ((k - 1) * (k - 2))
    return float(total / (k * (k - 1))), float(((k - 1) / k * (left - left.mean()).square().sum()).sqrt())


def gram_break(gram: Tensor, spread: float, scale: float, explained: float, name: str, confidence: float = 0.95) -> SymmetryBreak:
    """DE^2 from the inner products <Qh_k, Qh_l> of models fitted to K separate parts of the data.

    Args:
        gram: (K, K).
        spread: the variance of a mean over the inputs at which the inner products were taken.
        scale: as in :class:`SymmetryBreak`.
        explained: likewise.
        name: of the model.
        confidence: of the interval.
    """
    value, own = jackknife(gram)
    stderr = (own**2 + spread) ** 0.5
    half = student((1 + confidence) / 2, len(gram) - 1) * stderr
    variance = max(0.0, float(gram.diagonal().mean()) - value) / len(gram)
    return SymmetryBreak(value, stderr, value - half, value + half, variance, scale, explained, name)
