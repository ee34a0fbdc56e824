"""The Lie-derivative error: how fast g_t^-1 f(g_t x) leaves f(x) along every one-parameter subgroup."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..tree import Tree, leaves, tree_map
from .norms import act_on, named_leaves, squares
from .running import Runner, model_tensors, module_of
from .sweep import Batch

AGREE = 0.02
LARGEST = 300_000_000
"""Models with more numbers than this are not copied to float64."""


@dataclass(frozen=True)
class LieError:
    """Result of the Lie-derivative measurement.

    Attributes:
        value: mean over inputs and directions of the norm of the derivative, relative to RMS ||f||, per unit of the
            basis ``group.algebra()`` (radians, lengths); None where it does not exist.
        how: the method, or the reason why there is no value.
    """

    value: float | None
    how: str


def lie_error(runner: Runner, batch: Batch) -> LieError:
    """Measure it in float64 where the model allows, by forward differentiation, else by central differences."""
    reason = _impossible(runner, batch)
    if reason:
        return LieError(None, reason)
    if batch.at.samples > batch.most:
        batch = _head(runner, batch)
    doubled = in_double(runner, batch)
    runner, batch, word = doubled or (runner, batch, f"in {_dtype(batch.x)}")
    y = runner(batch.x)
    scales = {
        name: float(squares(t, batch.at, leaf.event).mean().sqrt()) or 1.0 for name, leaf, t in named_leaves(runner.target, y, "output")
    }
    if not all(t.is_floating_point() or t.is_complex() for _, _, t in named_leaves(runner.target, y, "output")):
        return LieError(None, "the output is not made of floating point numbers")
    curves = [Curve(runner, batch, i) for i in range(batch.group.lie_dimension)]
    values, method = _derivatives(curves, scales)
    return LieError(sum(values) / len(values), f"{method} {word}")


def _head(runner: Runner, batch: Batch) -> Batch:
    """As many inputs as one call may hold."""
    x = runner.source.take(batch.x, torch.arange(batch.most, device=batch.device), batch.at)
    return replace(batch, x=x, at=runner.source.layout(x))


@dataclass(frozen=True)
class Curve:
    """t -> g_t^-1 f(g_t x) for one direction of the algebra."""

    runner: Runner
    batch: Batch
    direction: int

    def __call__(self, t: Tensor) -> tuple[Tensor, ...]:
        """The outputs at time t."""
        group, at = self.batch.group, self.batch.at
        basis = torch.eye(group.lie_dimension, dtype=t.dtype, device=t.device)[self.direction].expand(at.samples, -1)
        g = group.exp(group.combine(t * basis))
        x = self.runner.source.act(g, self.batch.x, at)
        y = self.runner.differentiable(x)
        back = act_on(self.runner.target, group.inverse(g), y, self.runner.source.layout(x))
        return tuple(value for _, _, value in named_leaves(self.runner.target, back, "output"))

    def size(self, tangents: tuple[Tensor, ...], scales: Mapping[str, float]) -> float:
        """The largest relative norm over the outputs, averaged over the inputs."""
        y = self.runner(self.batch.x)
        names = [(name, leaf) for name, leaf, _ in named_leaves(self.runner.target, y, "output")]
        norms = [
            squares(t.detach(), self.batch.at, leaf.event).sqrt() / scales[name] for (name, leaf), t in zip(names, tangents, strict=True)
        ]
        return float(torch.stack(norms).amax(0).mean())

    def forward_mode(self) -> tuple[Tensor, ...]:
        """The derivative at t = 0 by forward differentiation."""
        zero = self._time(0.0)
        return torch.func.jvp(self, (zero,), (torch.ones_like(zero),))[1]

    def differences(self) -> tuple[Tensor, ...]:
        """The derivative at t = 0 by central differences."""
        step = torch.finfo(_dtype(self.batch.x)).eps ** (1 / 3)
        with torch.no_grad():
            ahead, behind = self._plain(step), self._plain(-step)
        return tuple((a - b) / (2 * step) for a, b in zip(ahead, behind, strict=True))

    def _plain(self, t: float) -> tuple[Tensor, ...]:
        return tuple(v.detach() for v in self(self._time(t)))

    def _time(self, t: float) -> Tensor:
        return torch.tensor(t, dtype=_dtype(self.batch.x), device=self.batch.device)


def _derivatives(curves: list[Curve], scales: Mapping[str, float]) -> tuple[list[float], str]:
    """Forward mode when it exists and agrees with differences along the first direction, else differences."""
    try:
        first = curves[0].forward_mode()
        exact = curves[0].size(first, scales)
        gap = curves[0].size(tuple(a - b for a, b in zip(first, curves[0].differences(), strict=True)), scales)
        if gap <= AGREE * exact + _noise(curves[0]):
            return [exact] + [curve.size(curve.forward_mode(), scales) for curve in curves[1:]], "forward differentiation"
        word = "central differences (the model cuts its graph: forward differentiation disagrees)"
    except (RuntimeError, NotImplementedError, TypeError, ValueError):
        word = "central differences (forward differentiation is not available)"
    return [curve.size(curve.differences(), scales) for curve in curves], word


def _noise(curve: Curve) -> float:
    """How wrong a central difference may be, relative to the output."""
    return 30 * float(torch.finfo(_dtype(curve.batch.x)).eps ** (2 / 3))


def _dtype(x: Tree) -> torch.dtype:
    return next(t.dtype for t in leaves(x) if t.is_floating_point() or t.is_complex()).to_real()


def _impossible(runner: Runner, batch: Batch) -> str | None:
    """Why there is no Lie derivative, or None when there is one."""
    if not batch.group.lie_dimension:
        return f"{batch.group} is discrete"
    moved = [(name, leaf, t) for name, leaf, t in named_leaves(runner.source, batch.x, "input") if leaf.moves]
    if not moved:
        return "no input is moved"
    if any(not (t.is_floating_point() or t.is_complex()) for _, _, t in moved):
        return "moved inputs are not floating point numbers"
    if not runner.source.smooth or not runner.target.smooth:
        return "the action resamples, with kinks on its grid: read the error against the size of g, or shift with actions.Periodic"
    return None


def in_double(runner: Runner, batch: Batch) -> tuple[Runner, Batch, str] | None:
    """The same question in float64, on a copy of the model; None when the model does not run there."""
    if _dtype(batch.x) == torch.float64:
        return runner, batch, "in float64"
    if sum(t.numel() for t in model_tensors(runner.model)) > LARGEST:
        return None
    try:
        double = replace(runner, model=_doubled(runner.model))
        wide = replace(batch, x=tree_map(_widen, batch.x))
        if not all(bool(torch.isfinite(t).all()) for t in leaves(double(wide.x))):
            return None
        return double, wide, "in float64"
    except Exception:  # the model is not ours: whatever it raises in float64, the answer is to stay in its own precision
        return None


def _doubled(model: Callable[..., Any]) -> Callable[..., Any]:
    module = module_of(model)
    if module is None:
        return model
    twin = copy.deepcopy(module).double()
    return twin if model is module else getattr(twin, model.__name__)


def _widen(t: Tensor) -> Tensor:
    if t.is_complex():
        return t.to(torch.complex128)
    return t.to(torch.float64) if t.is_floating_point() else t
