"""The subspace of parameters that training does not leave, which symmetric data leaves invariant: grown direction by direction.

Particles that start in the fixed space of a symmetry of data and model stay there. So from {0}, the direction in which the
mean drift leaves the current subspace lies in that fixed space, as long as the subspace does.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..errors import InputError, describe, explain
from ..tree import to_tensors

CHUNK = 20_000
"""Samples in one block."""


class Step(NamedTuple):
    """One attempt to leave the subspace: the drift out of it, its standard error, and what the tilt of earlier directions may explain."""

    drift: float
    stderr: float
    budget: float
    added: bool


@dataclass(frozen=True)
class Subspace:
    """The result of :func:`subspace`.

    Attributes:
        basis: (k, p) orthonormal directions, in the order in which they were found.
        tilts: (k,) how uncertain each is, as an angle in radians.
        steps: every attempt, the last of which added nothing.
        verdict: what may be claimed.
    """

    basis: Tensor
    tilts: Tensor
    steps: tuple[Step, ...]
    verdict: str

    @property
    def dimension(self) -> int:
        """The number of directions: at most that of the fixed space."""
        return len(self.basis)

    @property
    def projector(self) -> Tensor:
        """(p, p) onto the subspace."""
        return self.basis.mT @ self.basis


def subspace(
    unit: Callable[[Tensor, Tensor], Tensor],
    x: Any,
    y: Any,
    p: int,
    *,
    particles: int = 16,
    threshold: float = 4.0,
    scale: float = 1.0,
    generator: torch.Generator | None = None,
) -> Subspace:
    """Grow the subspace of parameters that the mean drift of a wide network does not leave.

    The network is the mean of units over particles in the current subspace, the loss the mean square. The leading singular direction of
    the drift out of the subspace is taken from one half of the samples; it is added when the other half confirms it
    by ``threshold`` standard errors, beyond the *tilt budget*: directions that were found are uncertain by an angle, and a
    drift that so small a tilt can cause is no evidence. Without this budget one wrong direction makes every later test
    reject. The result is sound, not complete: with few samples it stops early.

    Args:
        unit: (z (p,), x (n, ...)) -> (n,) the output of one unit with parameters z; differentiable, and without the symmetry itself.
        x: samples (N, ...).
        y: targets (N,).
        p: the number of parameters of a unit.
        particles: points in the subspace at which the drift is looked at.
        threshold: standard errors.
        scale: standard deviation of the particles' coordinates.
        generator: a fixed seed when left out.

    Raises:
        InputError: for data that is not finite or of other shapes.

    Reference: Maass and Fontbona 2024, arXiv 2405.19995.

    Example:
        >>> import torch
        >>> from coset import discover
        >>> x = torch.randn(50_000, 2, generator=torch.Generator().manual_seed(0))
        >>> found = discover.subspace(lambda z, x: torch.tanh(x @ z[:2] + z[2]), x, x.sum(-1).sin() + x.sum(-1).cos(), 3)
        >>> found.dimension  # equal weights, and the bias
        2
    """
    x, y = _checked(x, y, p)
    if not isinstance(particles, int) or particles < 1 or not scale > 0:
        raise InputError(
            explain(f"particles={particles!r}, scale={scale!r}", "one particle or more, of a positive scale", "leave them out")
        )
    generator = generator or torch.Generator().manual_seed(0)
    order = torch.randperm(len(x), generator=generator)
    halves = [(x[rows], y[rows]) for rows in (order[: len(x) // 2], order[len(x) // 2 :])]
    basis, tilts, steps = torch.zeros(0, p, dtype=x.dtype), list[float](), list[Step]()
    while len(basis) < p:
        z = scale * torch.randn(particles if len(basis) else 1, len(basis), generator=generator, dtype=x.dtype) @ basis
        step, direction, tilt = _attempt(unit, z, halves, basis, (sum(tilts), threshold))
        steps.append(step)
        if not step.added:
            break
        basis, tilts = torch.cat([basis, direction[None]]), [*tilts, tilt]
    return Subspace(basis, torch.tensor(tilts), tuple(steps), _words(basis))


def _words(basis: Tensor) -> str:
    if not len(basis):
        return "cannot tell: no drift stands out of its noise"
    if len(basis) == basis.shape[1]:
        return "no symmetry found: training leaves every subspace"
    return f"{len(basis)} of {basis.shape[1]} dimensions lie in the fixed space; the test after them found no more"


def _checked(x: Any, y: Any, p: int) -> tuple[Tensor, Tensor]:
    x, y = to_tensors(x), to_tensors(y)
    fits = isinstance(x, Tensor) and isinstance(y, Tensor) and x.dim() >= 2 and y.shape == x.shape[:1] and len(x) >= 100
    if not fits:
        raise InputError(
            explain(f"x {describe(x)} and y {describe(y)}", "at least 100 samples (N, ...), targets (N,)", "give one row each")
        )
    if not isinstance(p, int) or p < 1:
        raise InputError(explain(f"p={p!r}", "the number of parameters of a unit", "pass a positive whole number"))
    x, y = x.to(torch.float64), y.to(torch.float64)
    if not bool(torch.isfinite(x).all() & torch.isfinite(y).all()):
        raise InputError(explain("samples with NaN or infinite entries", "finite numbers", "remove or repair these rows"))
    return x, y


def _gradients(unit: Callable[[Tensor, Tensor], Tensor], z: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Minus the gradient of the loss for every sample and particle, (n, m, p)."""
    outputs = torch.stack([unit(one, x) for one in z], 1)
    slopes = torch.stack([torch.func.jacfwd(unit)(one, x) for one in z], 1)
    return (y - outputs.mean(1))[:, None, None] * slopes


def _moments(unit: Callable[[Tensor, Tensor], Tensor], z: Tensor, data: tuple[Tensor, Tensor], left: Tensor | None = None) -> Any:
    """The mean drift (m, p); with ``left`` (m,), also the mean (p,) and variance of its mixture over particles."""
    first: Any = 0.0
    second: Any = 0.0
    for x, y in zip(data[0].split(CHUNK), data[1].split(CHUNK), strict=True):
        g = _gradients(unit, z, x, y)
        g = g if left is None else torch.einsum("m,nmp->np", left, g)
        first, second = first + g.sum(0), second + g.square().sum(0)
    n = len(data[0])
    return first / n, (second / n - (first / n).square()) / n


def _attempt(
    unit: Callable[[Tensor, Tensor], Tensor],
    z: Tensor,
    halves: list[tuple[Tensor, Tensor]],
    basis: Tensor,
    budget: tuple[float, float],
) -> tuple[Step, Tensor, float]:
    """The leading direction out of the subspace, confirmed or not on the other half, and its uncertainty as an angle."""
    tilt, threshold = budget
    outside = torch.eye(z.shape[1], dtype=z.dtype) - basis.mT @ basis
    drift = _moments(unit, z, halves[0])[0]
    u, _, v = torch.linalg.svd(drift @ outside)
    mean, variance = _moments(unit, z, halves[1], u[:, 0])
    direction = v[0]
    size = float(mean @ direction)
    stderr = math.sqrt(float(variance @ direction.square()))
    spread = (drift - drift.mean(0)).norm(dim=1).max() + drift.norm(dim=1).max()
    allowed = 2 * tilt * float(spread) * math.sqrt(len(z))
    added = size > threshold * stderr and size - threshold * stderr > allowed
    error = math.sqrt(float(variance @ (1 - direction.square()).clamp_min(0))) / max(abs(size), 1e-300)
    both = (mean + u[:, 0] @ drift) @ outside
    better = both / both.norm() if added else direction
    return Step(size, stderr, allowed, added), better, error
