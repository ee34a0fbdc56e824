"""Measure f(gx) against g f(x) over inputs and group elements, in chunks, one element per sample."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..actions.layout import Layout
from ..errors import SignatureError, explain
from ..groups.base import Group
from ..tree import Tree
from .elements import Draw, sizes
from .norms import act_on, difference, named_leaves, squares, take_from
from .running import Runner


@dataclass(frozen=True)
class Batch:
    """The audited inputs.

    Attributes:
        x: the data.
        at: its layout.
        group: the group with free sizes fixed.
        device: where the data is.
        most: how many samples with different elements one call may hold; 1 where moved samples differ in shape
            (a photograph on its side) or share one edge list.
    """

    x: Tree
    at: Layout
    group: Group
    device: torch.device
    most: int


@dataclass
class Sweep:
    """Raw differences.

    Attributes:
        gaps: by output, norms of f(gx) - g f(x), shape (B, S).
        norms: by output, norms of f(x), shape (B,).
        draw: the elements.
        sizes: (B, S) sizes of the elements.
        unit: what the sizes are.
    """

    gaps: dict[str, Tensor]
    norms: dict[str, Tensor]
    draw: Draw
    sizes: Tensor
    unit: str

    @property
    def scales(self) -> dict[str, float]:
        """Root mean square norm of every output over the batch; 1 for an output that is zero throughout."""
        return {name: float(n.square().mean().sqrt()) or 1.0 for name, n in self.norms.items()}

    def relative(self) -> dict[str, Tensor]:
        """By output, relative errors of shape (B, S)."""
        scales = self.scales
        return {name: gap / scales[name] for name, gap in self.gaps.items()}

    def total(self) -> Tensor:
        """The largest relative error over the outputs, shape (B, S)."""
        return torch.stack(list(self.relative().values())).amax(0)


class Estimate(float):
    """A mean with its standard error; behaves as the number.

    Example:
        >>> from coset.auditing import Estimate
        >>> Estimate(0.5, 0.1) < 1, Estimate(0.5, 0.1).stderr
        (True, 0.1)
    """

    stderr: float | None

    def __new__(cls, error: float, stderr: float | None = None) -> Estimate:
        """Build it from a mean and its standard error."""
        self = super().__new__(cls, error)
        self.stderr = stderr
        return self

    @property
    def error(self) -> float:
        """The mean."""
        return float(self)

    def __getnewargs__(self) -> tuple[float, float | None]:  # type: ignore[override]
        return float(self), self.stderr

    def __repr__(self) -> str:
        return f"{float(self):.3g}" if self.stderr is None else f"{float(self):.3g} ± {self.stderr:.1g}"


def estimate(errors: Tensor, exhaustive: bool) -> Estimate:
    """Mean of errors (B, S) with a standard error clustered by input.

    Errors of one input share that input, so the spread *between* inputs is what counts. With a single input only the
    elements vary: the standard error is then that over elements, or zero when all of them were used.
    """
    means = errors.mean(1)
    rows, columns = errors.shape
    if rows > 1:
        stderr: float | None = float(means.std()) / math.sqrt(rows)
    elif exhaustive:
        stderr = 0.0
    else:
        stderr = float(errors[0].std()) / math.sqrt(columns) if columns > 1 else None
    return Estimate(float(means.mean()), stderr)


def sweep(runner: Runner, batch: Batch, draw: Draw, include: Callable[[Tree], Tree]) -> Sweep:
    """Compare both ways around the square.

    Args:
        runner: the model.
        batch: the inputs.
        draw: elements of the group, or of a subgroup.
        include: maps those elements into the group.
    """
    found: dict[str, list[Tensor]] = {}
    norms: dict[str, list[Tensor]] = {}
    source = runner.source
    for numbers in torch.arange(batch.at.samples, device=batch.device).split(batch.most):
        whole = numbers.numel() == batch.at.samples
        x = batch.x if whole else source.take(batch.x, numbers, batch.at)
        at = batch.at if whole else source.layout(x)
        y = runner(x)
        for name, leaf, value in named_leaves(runner.target, y, "output"):
            norms.setdefault(name, []).append(squares(value, at, leaf.event).sqrt())
        columns: dict[str, list[Tensor]] = {}
        for which in torch.arange(draw.count, device=batch.device).split(max(1, batch.most // numbers.numel())):
            for name, gap in _compare(runner, x, at, y, draw, include, numbers, which).items():
                columns.setdefault(name, []).append(gap.reshape(numbers.numel(), which.numel()))
        for name, parts in columns.items():
            found.setdefault(name, []).append(torch.cat(parts, 1))
    far, unit = sizes(batch.group, include(draw.elements))
    return Sweep({k: torch.cat(v) for k, v in found.items()}, {k: torch.cat(v) for k, v in norms.items()}, draw, far, unit)


def _compare(
    runner: Runner, x: Tree, at: Layout, y: Tree, draw: Draw, include: Callable[[Tree], Tree], numbers: Tensor, which: Tensor
) -> dict[str, Tensor]:
    local = torch.arange(numbers.numel(), device=numbers.device).repeat_interleave(which.numel())
    g = include(draw.pick(numbers[local], which.repeat(numbers.numel())))
    repeated = runner.source.take(x, local, at)
    spread = runner.source.layout(repeated)
    base = runner(repeated) if runner.stochastic else take_from(runner.target, y, local, at)
    return gaps(runner, g, repeated, spread, base)


def gaps(runner: Runner, g: Tree, x: Tree, at: Layout, y: Tree) -> dict[str, Tensor]:
    """Norms per sample of f(gx) - g f(x), where y = f(x), by output."""
    moved = runner.source.act(g, x, at)
    there = runner.source.layout(moved)
    left, right = runner(moved), act_on(runner.target, g, y, at)
    found = {}
    for (name, leaf, a), (_, _, b) in zip(
        named_leaves(runner.target, left, "output"), named_leaves(runner.target, right, "output"), strict=True
    ):
        if a.shape != b.shape:
            raise SignatureError(
                explain(
                    f"{name} of shape {tuple(a.shape)} for moved inputs and, moved itself, of shape {tuple(b.shape)}",
                    f"equal shapes, as {leaf} declares",
                    "declare the action that this output really has, or make the model return one shape",
                )
            )
        found[name] = difference(a, b, there, leaf.event)
    return found
