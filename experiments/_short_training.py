"""Trainings of some minutes: Adam along a cosine, with checkpoints that a killed run continues from identically."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from _runs import save
from torch import Tensor, nn

OUT = Path(__file__).parent / "out"


def trained(
    parts: nn.Module,
    loss: Callable[[int], Tensor],
    steps: int,
    path: Path | None,
    *,
    rate: float = 1e-3,
    plan: str = "",
    every: int = 200,
    warm: float = 0.0,
) -> float:
    """Train ``parts`` in place, and return the seconds that it took.

    Args:
        parts: the modules with parameters to learn.
        loss: the loss of one step, from its number; randomness comes from torch's global generator.
        steps: how many.
        path: the checkpoint, to go on from where there is one; None for none.
        rate: the largest learning rate, which falls to zero along a cosine.
        plan: what the run is; checkpoints of other plans are refused.
        every: steps between checkpoints.
        warm: the share of the steps in which the rate grows from zero.
    """
    optimizer = torch.optim.Adam([p for p in parts.parameters() if p.requires_grad], rate)
    step, seconds, plan = 0, 0.0, f"{plan}, {steps} steps at {rate:g}" + (f", warmed up for {warm:g}" if warm else "")
    if path is not None and path.exists():
        step, seconds = _restore(torch.load(path, weights_only=True), parts, optimizer, plan, path)
    while step < steps:
        start = time.perf_counter()
        for number in range(step, min(step + every, steps)):
            optimizer.param_groups[0]["lr"] = (
                rate * min(1.0, (number + 1) / max(1.0, warm * steps)) * (1 + math.cos(math.pi * number / steps)) / 2
            )
            optimizer.zero_grad()
            loss(number).backward()
            nn.utils.clip_grad_norm_(parts.parameters(), 1.0)
            optimizer.step()
        step, seconds = min(step + every, steps), seconds + time.perf_counter() - start
        if path is not None:
            _save(path, parts, optimizer, step, seconds, plan)
    return seconds


def _save(path: Path, parts: nn.Module, optimizer: torch.optim.Optimizer, step: int, seconds: float, plan: str) -> None:
    """Write everything that a continuation needs, at once or not at all."""
    state = {
        "parts": parts.state_dict(),
        "optimizer": optimizer.state_dict(),
        "random": torch.get_rng_state(),
        "step": step,
        "seconds": seconds,
        "plan": plan,
    }
    save(path, state)


def _restore(state: dict[str, Any], parts: nn.Module, optimizer: torch.optim.Optimizer, plan: str, path: Path) -> tuple[int, float]:
    """Put back what was saved; the number of steps done, and their seconds."""
    if state["plan"] != plan:
        raise SystemExit(f"{path} holds a run of another plan ({state['plan']}, not {plan}); remove it, or use --out")
    parts.load_state_dict(state["parts"])
    optimizer.load_state_dict(state["optimizer"])
    torch.set_rng_state(state["random"])
    return state["step"], state["seconds"]
