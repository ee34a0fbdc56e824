"""Is the model continuous? The largest jump along paths through generic and degenerate inputs, cornered by bisection."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from ..errors import InputError
from ..tree import leaves
from .lie import in_double
from .norms import difference, named_leaves, squares
from .paths import GENERIC, Paths, every_path, travels
from .running import Runner
from .sweep import Batch

INPUTS = 2
"""Inputs that paths start from."""
GRID = 16
"""Steps of the first look at a path."""
PARTS = 6
"""Parts into which a suspicious step is cut, again and again."""
TRACKED = 2
"""Suspicious steps that are followed on every path."""
LEVELS = {torch.float64: 8, torch.float32: 4}
"""How often steps are cut, by precision; steps have to stay above rounding."""
SHRINKS = 0.5
"""A change that keeps more than this share when the step is cut into PARTS, twice in a row, is a jump."""
VISIBLE = {torch.float64: 1e-6, torch.float32: 3e-3}
"""Relative changes below this are not told from rounding, by precision."""
GROWS = 2.0
"""A change that grows more than this when the step is cut, twice in a row, belongs to a pole, as one that is not finite does."""
LARGEST = 1e3
"""Traces end here."""
EXACT = 1e-4
"""Up to this share of a path a place counts as the degenerate input itself."""
NEAR = 0.05
"""Up to this share of a path a place counts as near the degenerate input."""


@dataclass(frozen=True)
class Continuity:
    """What happens to the output when steps of the input become small.

    Attributes:
        jump: the largest change of the output over a step of length ``step``, relative to its RMS norm; None where it
            was not measured.
        jumps: True where a change stays while the step shrinks: a discontinuity, certified down to ``step``.
        where: what the inputs are there: "generic inputs", "collinear points", "near collinear points", ...
        step: the last length of a step, relative to the inputs.
        steps: lengths of the steps, from the first look on.
        traces: by kind of path, the largest change at each of ``steps``.
        how: how it was measured, or why not.
        unbounded: where the output grows without bound, as potentials do at equal points; "" where it was not seen to. These
            places count neither as jumps nor as continuous.
    """

    jump: float | None
    jumps: bool = False
    where: str = ""
    step: float = 0.0
    steps: list[float] = field(default_factory=list)
    traces: dict[str, list[float]] = field(default_factory=dict)
    how: str = ""
    unbounded: str = ""

    @property
    def word(self) -> str:
        """The verdict: "continuous", "jumps", or "not measured"."""
        if self.jump is None:
            return "not measured"
        return "jumps" if self.jumps else "continuous"

    @property
    def short(self) -> str:
        """The verdict and the place."""
        if self.jump is None:
            return f"not measured: {self.how}"
        poles = f"; unbounded at {self.unbounded}" if self.unbounded else ""
        return f"{self.word}, {'' if self.jumps else 'largest '}at {self.where}{poles}"

    @property
    def sentence(self) -> str:
        """The verdict and its circumstances in one line."""
        return self.short if self.jump is None else f"{self.short}: change over steps of {self.step:.0e}; {self.how}"


def continuity(runner: Runner, batch: Batch, generator: torch.Generator) -> Continuity:
    """Walk along paths in steps, and cut the steps with the largest changes into smaller and smaller ones.

    The change over a shrinking step goes to zero with it for a continuous model, however steep, and stays for one that
    jumps. The paths are straight lines between inputs and through inputs made degenerate: collinear, coplanar, with
    equal points, with a point at the centroid, with an inversion centre, with equal principal values, symmetric under a
    finite group. They know nothing of the model. Clouds whose points all coincide are not visited.

    Args:
        runner: the model.
        batch: the audited inputs; the first two are used.
        generator: source of randomness.

    Returns:
        A :class:`Continuity`; with ``jump`` None and the reason where it cannot be measured.
    """
    reason = _impossible(runner, batch)
    if reason:
        return Continuity(None, how=reason)
    batch = _head(runner, batch)
    runner, batch, word = in_double(runner, batch) or (runner, batch, "in the inputs' precision")
    dtype = next(t.dtype for t in leaves(batch.x) if t.is_floating_point() or t.is_complex()).to_real()
    dtype = dtype if dtype in LEVELS else torch.float32
    paths = every_path(runner.source, batch.x, batch.group, generator)
    walk = _Walk(runner, batch, paths, _scales(runner, batch))
    try:
        walk.begin()
        for _ in range(LEVELS[dtype]):
            walk.refine()
    except InputError:  # momenta that leave the light cone, points that no longer span the space
        return Continuity(None, how="the model refuses inputs on the paths")
    return walk.judge(VISIBLE[dtype], word)


class _Walk:
    """The steps that are followed, a few on every path."""

    def __init__(self, runner: Runner, batch: Batch, paths: Paths, scale: dict[str, float]):
        self.runner, self.batch, self.paths, self.scale = runner, batch, paths, scale
        self.calls = 0

    def begin(self) -> None:
        """Look at whole paths; keep the steps with the largest changes, and those on both sides of t = 0."""
        count = len(self.paths.kinds)
        grid = torch.linspace(-1, 1, 2 * GRID + 1, dtype=torch.float64)
        every = torch.arange(count)
        changes = self._changes(every, grid.expand(count, -1))
        top = torch.cat([changes.topk(TRACKED, 1).indices, torch.tensor([[GRID - 1, GRID]]).expand(count, -1)], 1)
        self.path = every[:, None].expand_as(top).flatten()
        self.low, self.width = grid[:-1][top].flatten(), 1 / GRID
        self.changes, self.steps = [changes.gather(1, top).flatten()], [self.width]

    def refine(self) -> None:
        """Cut every step into parts and go on with the part over which the output changes most."""
        cuts = torch.linspace(0, 1, PARTS + 1, dtype=torch.float64) * self.width
        changes = self._changes(self.path, self.low[:, None] + cuts)
        self.low = self.low + cuts[changes.argmax(1)]
        self.width /= PARTS
        self.changes.append(changes.amax(1))
        self.steps.append(self.width)

    def judge(self, visible: float, word: str) -> Continuity:
        """A change that is visible and did not shrink over the last two cuts is a jump; the largest one is told."""
        before, middle, last = self.changes[-3:]
        stays = (last > visible) & (last > SHRINKS * middle) & (middle > SHRINKS * before)
        poles = ~last.isfinite() | ((last > 1) & (last > GROWS * middle) & (middle > GROWS * before))
        if bool(poles.all()):
            return Continuity(None, how="the output is not finite on any path")
        stays = stays & ~poles
        jumps = bool(stays.any())
        worst = int(torch.where(stays if jumps else ~poles, last, -1.0).argmax())
        kinds = [self.paths.kinds[int(p)] for p in self.path]
        traces = {
            kind: [min(LARGEST, float(change[torch.tensor([one == kind for one in kinds])].max())) for change in self.changes]
            for kind in dict.fromkeys(kinds)
        }
        how = f"{len(self.paths.kinds)} paths, {self.calls} samples through the model, {word}"
        unbounded = ", ".join(dict.fromkeys(self._place(int(p), kinds[int(p)]) for p in poles.nonzero()))
        return Continuity(float(last[worst]), jumps, self._place(worst, kinds[worst]), self.width, self.steps, traces, how, unbounded)

    def _place(self, which: int, kind: str) -> str:
        """What the inputs are where a followed step ended."""
        distance = max(0.0, abs(float(self.low[which]) + self.width / 2) - self.width)
        if kind == GENERIC or distance > NEAR:
            return GENERIC
        return kind if distance <= EXACT else f"inputs near {kind}"

    def _changes(self, path: Tensor, t: Tensor) -> Tensor:
        """Relative changes of the output (J, m) between neighbours of t (J, m + 1)."""
        width, most = t.shape[1], self.batch.most
        if width > most:  # windows that share an end
            return torch.cat([self._changes(path, t[:, start : start + most]) for start in range(0, width - 1, most - 1)], 1)
        numbers, times = path.repeat_interleave(width).to(self.batch.device), t.flatten().to(self.batch.device)
        rows = most // width * width
        parts = [self._gaps(p, s, width) for p, s in zip(numbers.split(rows), times.split(rows), strict=True)]
        self.calls += numbers.numel()
        return torch.cat(parts).cpu()

    def _gaps(self, path: Tensor, t: Tensor, width: int) -> Tensor:
        source, target = self.runner.source, self.runner.target
        x = self.paths.at(source, path, t)
        at = source.layout(x)
        y = self.runner(x)
        index = torch.arange(path.numel(), device=path.device).reshape(-1, width)
        here, there = index[:, :-1].flatten(), index[:, 1:].flatten()
        near = source.layout(source.take(x, here, at))
        found = []
        for name, leaf, value in named_leaves(target, y, "output"):
            if value.is_floating_point() or value.is_complex():
                a, b = leaf.take(value, here, at), leaf.take(value, there, at)
                found.append(difference(a, b, near, leaf.event) / self.scale[name])
        largest = torch.stack(found).amax(0)
        return torch.where(largest.isnan(), torch.inf, largest).reshape(-1, width - 1)


def _scales(runner: Runner, batch: Batch) -> dict[str, float]:
    """RMS norms of the outputs."""
    y = runner(batch.x)
    return {
        name: float(squares(t, batch.at, leaf.event).mean().sqrt()) or 1.0 for name, leaf, t in named_leaves(runner.target, y, "output")
    }


def _head(runner: Runner, batch: Batch) -> Batch:
    """The first inputs."""
    rows = torch.arange(min(INPUTS, batch.at.samples), device=batch.device)
    x = runner.source.take(batch.x, rows, batch.at)
    return replace(batch, x=x, at=runner.source.layout(x))


def _impossible(runner: Runner, batch: Batch) -> str | None:
    """Why jumps cannot be looked for, or None."""
    if not any(travels(leaf, t) for _, leaf, t in named_leaves(runner.source, batch.x, "input")):
        return "no floating point input that the group moves"
    if batch.most == 1:
        return "samples do not fit into one batch"
    if runner.stochastic:
        return "the model is stochastic"
    y = runner(_head(runner, batch).x)
    if not any(t.is_floating_point() or t.is_complex() for _, _, t in named_leaves(runner.target, y, "output")):
        return "the output is not made of floating point numbers"
    return None
