"""The minimum of an energy over a compact Lie group: many fixed starts, each refined by quasi-Newton steps in exponential coordinates."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..errors import FrameError, GroupError, explain
from ..groups.base import Group
from ..groups.quadrature import rule

Score = Callable[[Tensor], Tensor]
"""Elements (R, d, d) -> energies (R,)."""
FARTHEST = 0.5
"""The longest step, in radians."""
SUFFICIENT = 1e-4
"""The share of the expected decrease that a step has to reach (Armijo)."""
FLAT = 1e-6
"""Directions in which the energy curves less, relative to the largest curvature, pass no gradients."""


class Multistart:
    """Starts on the nodes of a quadrature, which are spread evenly, and a fixed number of steps from each.

    Nothing is random, but the starts do not move with the input, so a search that ends in different minima for x and for gx is not
    equivariant: ``coset.frame_gap`` measures it, and more starts make it rarer.

    Args:
        starts: at least this many starts: a regular polygon on SO(2), vertices of Platonic rotation groups (4, 12, 24, 60) and
            product rules on SO(3), twice as many on O(d).
        steps: quasi-Newton steps (BFGS with backtracking), each one evaluation and one gradient of the energy.

    Raises:
        FrameError: for numbers that make no search.

    Example:
        >>> from coset import frames
        >>> frames.Multistart(starts=12)
        Multistart(starts=12, steps=20)
    """

    def __init__(self, starts: int = 8, steps: int = 20):
        for name, value, least in (("starts", starts, 1), ("steps", steps, 0)):
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise FrameError(explain(f"Multistart({name}={value!r})", f"a whole number of at least {least}", "leave it out"))
        self.starts, self.steps = starts, steps

    def nodes(self, group: Group) -> Tensor:
        """The starts (S, d, d), in float64.

        Raises:
            FrameError: for groups without a quadrature.
        """
        for degree in range(64):
            try:
                found = rule(group, degree).elements
            except GroupError as error:
                raise FrameError(
                    explain(f"{self} on {group}", "SO(d), O(d) or a finite group", "search over a finite subgroup: group=...")
                ) from error
            if found.shape[0] >= self.starts:
                return found
        raise FrameError(explain(f"{self} on {group}", "fewer starts", "pass for instance starts=60"))

    def search(self, group: Group, score: Score, samples: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """The best minima found: elements (B, d, d) and energies (B,).

        Args:
            group: the group.
            score: energies of elements (S * B, d, d), start after start.
            samples: B.
            device: of the elements.
        """
        nodes = self.nodes(group).to(device)
        g = nodes.repeat_interleave(samples, 0)
        g, energy = descend(group, score, g, self.steps)
        best = energy.unflatten(0, (-1, samples)).argmin(0)
        rows = torch.arange(samples, device=device)
        pick = best * samples + rows
        return g[pick], energy[pick]

    def __repr__(self) -> str:
        return f"Multistart(starts={self.starts}, steps={self.steps})"


class _State(NamedTuple):
    """Where a descent is: elements, energies, slopes, inverse Hessians, step lengths, and which have made a step."""

    g: Tensor
    energy: Tensor
    slope: Tensor
    inverse: Tensor
    length: Tensor
    moved: Tensor


def moved_by(group: Any, g: Tensor, x: Tensor) -> Tensor:
    """The elements g exp(x) for coordinates x (R, D) in the basis of the algebra."""
    return group.compose(g, group.exp(group.combine(x)))


def slopes(group: Group, score: Score, g: Tensor) -> tuple[Tensor, Tensor]:
    """Energies (R,) and their derivatives (R, D) along g exp(x) at x = 0."""
    with torch.enable_grad():
        x = torch.zeros(g.shape[0], group.lie_dimension, dtype=g.dtype, device=g.device, requires_grad=True)
        energy = score(moved_by(group, g, x))
        (slope,) = torch.autograd.grad(energy.sum(), x)
    return energy.detach().to(g.dtype), slope


def descend(group: Group, score: Score, g: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """Minima near g (R, d, d), all rows at once, and their energies (R,)."""
    energy, slope = slopes(group, score, g)
    size = slope.norm(dim=-1).clamp_min(torch.finfo(slope.dtype).tiny)
    eye = torch.eye(slope.shape[-1], dtype=slope.dtype, device=slope.device)
    inverse = eye * (FARTHEST / 2 / size)[:, None, None]
    state = _State(g, energy, slope, inverse, torch.ones_like(energy), torch.zeros_like(energy, dtype=torch.bool))
    for _ in range(steps):
        state = _step(group, score, state)
    return state.g, state.energy


def _step(group: Group, score: Score, at: _State) -> _State:
    """One trial step of every row, taken where it lowers the energy."""
    way = -(at.inverse @ at.slope.unsqueeze(-1)).squeeze(-1)
    downhill = (way * at.slope).sum(-1, keepdim=True) < 0
    way = torch.where(downhill, way, -at.slope)
    way = way * (FARTHEST / way.norm(dim=-1, keepdim=True).clamp_min(FARTHEST)) * at.length[:, None]
    there = moved_by(group, at.g, way)
    energy, slope = slopes(group, score, there)
    taken = energy <= at.energy + SUFFICIENT * (way * at.slope).sum(-1)
    bend = slope - at.slope
    curved = (bend * way).sum(-1)
    learn = taken & (curved > 1e-12 * bend.norm(dim=-1) * way.norm(dim=-1))
    fresh = learn & ~at.moved  # the first step says how large the inverse Hessian is
    unit = torch.eye(way.shape[-1], dtype=way.dtype, device=way.device)
    scale = curved / bend.square().sum(-1).clamp_min(torch.finfo(bend.dtype).tiny)
    start = torch.where(fresh[:, None, None], unit * scale[:, None, None], at.inverse)
    rate = 1.0 / torch.where(learn, curved, torch.ones_like(curved))
    left = unit - rate[:, None, None] * way[:, :, None] * bend[:, None, :]
    updated = left @ start @ left.mT + rate[:, None, None] * way[:, :, None] * way[:, None, :]
    return _State(
        torch.where(taken[:, None, None], there, at.g),
        torch.where(taken, energy, at.energy),
        torch.where(taken[:, None], slope, at.slope),
        torch.where(learn[:, None, None], updated, at.inverse),
        torch.where(taken, 1.0, at.length / 4),
        at.moved | learn,
    )


def implicit(group: Group, score: Score, g: Tensor) -> Tensor:
    """Minima g (B, d, d) with the gradient that they have as functions of what the energy depends on: one Newton step.

    At a minimum x of E, dx = -H^-1 d(grad E), by the implicit function theorem.
    """
    x = torch.zeros(g.shape[0], group.lie_dimension, dtype=g.dtype, device=g.device, requires_grad=True)
    (slope,) = torch.autograd.grad(score(moved_by(group, g, x)).sum(), x, create_graph=True)
    rows = [torch.autograd.grad(part.sum(), x, retain_graph=True)[0].detach() for part in slope.unbind(-1)]
    values, axes = torch.linalg.eigh((torch.stack(rows, -1) + torch.stack(rows, -2)) / 2)
    kept = values > FLAT * values.abs().amax(-1, keepdim=True)
    inverse = axes @ torch.diag_embed(torch.where(kept, 1 / torch.where(kept, values, 1.0), 0.0)) @ axes.mT
    step = -(inverse @ slope.unsqueeze(-1)).squeeze(-1)
    small = step.detach().norm(dim=-1, keepdim=True) < 0.1
    return moved_by(group, g, torch.where(small, step, step - step.detach()))
