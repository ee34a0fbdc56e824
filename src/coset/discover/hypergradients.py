"""Gradients of a validation loss through the solution of a training problem, by the implicit function theorem."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.autograd import grad

from ..errors import InputError, explain

Loss = Callable[[Tensor, Tensor], Tensor]
"""A scalar of (hyperparameters, inner parameters), both flat."""


class Curvature:
    """The Hessian H of a training loss with respect to its inner parameters, at one point.

    Args:
        slope: (q,) the gradient of the training loss, with a graph.
        inner: (q,) the parameters it was taken with respect to.
    """

    def __init__(self, slope: Tensor, inner: Tensor):
        self.slope, self.inner = slope, inner

    def times(self, v: Tensor) -> Tensor:
        """H v, by one backward pass."""
        return _or_zero(grad(self.slope, self.inner, v, retain_graph=True, allow_unused=True)[0], self.inner)

    def matrix(self) -> Tensor:
        """(q, q) the Hessian."""
        unit = torch.eye(len(self.inner), dtype=self.inner.dtype, device=self.inner.device)
        rows = grad(self.slope, self.inner, unit, is_grads_batched=True, retain_graph=True, allow_unused=True)[0]
        full = torch.zeros_like(unit) if rows is None else rows
        return (full + full.mT) / 2


@runtime_checkable
class Solver(Protocol):
    """A way to solve H x = b: ``Exact()``, ``ConjugateGradient()``, ``Neumann(steps, factor)``."""

    def solve(self, curvature: Curvature, b: Tensor) -> Tensor:
        """X with H x = b."""


@dataclass(frozen=True)
class Exact:
    """Solve with the whole Hessian: O(q^3). Directions without curvature get the solution of least norm.

    Args:
        cut: eigenvalues below this part of the largest one count as zero.

    Example:
        >>> from coset import discover
        >>> discover.Exact()
        Exact(cut=1e-12)
    """

    cut: float = 1e-12

    def solve(self, curvature: Curvature, b: Tensor) -> Tensor:
        """X with H x = b."""
        values, vectors = torch.linalg.eigh(curvature.matrix())
        kept = values.abs() > self.cut * values.abs().max()
        part = torch.where(kept, (vectors.mT @ b) / torch.where(kept, values, 1.0), 0.0)
        return vectors @ part


@dataclass(frozen=True)
class ConjugateGradient:
    """Solve by conjugate gradients, for positive semidefinite H: one Hessian-vector product a step, no matrix.

    Args:
        steps: the most steps; None for four times the number of parameters.
        tolerance: the relative residual at which to stop.

    Example:
        >>> from coset import discover
        >>> discover.ConjugateGradient(steps=20)
        ConjugateGradient(steps=20, tolerance=1e-13)
    """

    steps: int | None = None
    tolerance: float = 1e-13

    def solve(self, curvature: Curvature, b: Tensor) -> Tensor:
        """X with H x = b."""
        x, rest = torch.zeros_like(b), b.clone()
        way, size = rest.clone(), rest @ rest
        first = float(size)
        for _ in range(4 * len(b) if self.steps is None else self.steps):
            if float(size) <= self.tolerance**2 * first:
                break
            ahead = curvature.times(way)
            bend = way @ ahead
            if float(bend) <= 0:
                break
            length = size / bend
            x, rest = x + length * way, rest - length * ahead
            new = rest @ rest
            way, size = rest + (new / size) * way, new
        return x


@dataclass(frozen=True)
class Neumann:
    """Solve by a truncated series: x = factor * sum_k (1 - factor H)^k b.

    The factor belongs to the result: without it the series is that of another problem. It has to lie between 0 and
    2 / largest eigenvalue of H, and the error after k steps is (1 - factor * smallest eigenvalue)^k: poor where H is badly
    conditioned.

    Args:
        steps: how many terms follow the first.
        factor: the step.

    Raises:
        InputError: when ``steps`` or ``factor`` is not positive; when the series grows.

    Example:
        >>> from coset import discover
        >>> discover.Neumann(steps=50, factor=0.1)
        Neumann(steps=50, factor=0.1)
    """

    steps: int
    factor: float

    def __post_init__(self) -> None:
        if isinstance(self.steps, bool) or not self.steps >= 1 or not self.factor > 0:
            raise InputError(explain(f"{self}", "at least one step and a positive factor", "pass for instance Neumann(50, 0.1)"))

    def solve(self, curvature: Curvature, b: Tensor) -> Tensor:
        """X with H x = b, approximately."""
        term, total = b, b.clone()
        for _ in range(self.steps):
            term = term - self.factor * curvature.times(term)
            total = total + term
        if not float(term.norm()) <= 10 * float(b.norm()):
            raise InputError(
                explain(
                    f"{self}, whose terms grew from {float(b.norm()):.2g} to {float(term.norm()):.2g}",
                    "a factor below 2 / largest eigenvalue of the Hessian",
                    "lower the factor, or use ConjugateGradient()",
                )
            )
        return self.factor * total


def hypergradient(train: Loss, validation: Loss, hyper: Tensor, inner: Tensor, solver: Solver) -> tuple[Tensor, Tensor]:
    """The gradient of validation(hyper, inner*(hyper)) with respect to hyper, inner* being a minimum of the training loss.

    d/dh L_val - (d^2 L_train / dh d inner) H^-1 (d/d inner L_val), at a given minimum.

    Args:
        train: the training loss.
        validation: the validation loss.
        hyper: (h,) or any shape.
        inner: (q,) a minimum of ``train(hyper, .)``.
        solver: how to apply the inverse Hessian.

    Returns:
        The gradient, shaped like ``hyper``, and the validation loss.

    Reference: Lorraine et al. 2020, arXiv 1911.02590; Yeh et al. 2022, arXiv 2204.03640.

    Example:
        >>> import torch
        >>> from coset import discover
        >>> h, x = torch.tensor([2.0]), torch.tensor([4.0])  # x* = h^2
        >>> train, validation = lambda h, x: (x - h**2).square().sum(), lambda h, x: x.sum()
        >>> discover.hypergradient(train, validation, h, x, discover.Exact())[0]
        tensor([4.])
    """
    hyper, inner = hyper.detach().requires_grad_(), inner.detach().requires_grad_()
    loss = validation(hyper, inner)
    direct, slope = (_or_zero(g, like) for g, like in zip(grad(loss, (hyper, inner), allow_unused=True), (hyper, inner), strict=True))
    (gradient,) = grad(train(hyper, inner), inner, create_graph=True)
    step = solver.solve(Curvature(gradient, inner), slope)
    (mixed,) = grad(gradient, hyper, step, allow_unused=True)
    return direct - _or_zero(mixed, hyper), loss.detach()


def _or_zero(g: Tensor | None, like: Tensor) -> Tensor:
    return torch.zeros_like(like) if g is None else g
