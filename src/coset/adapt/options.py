"""How to train: the numbers and factories of a fit, and what a fit returns."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LRScheduler

from ..errors import InputError, explain
from ..symmetrized import Symmetrized

MakeOptimizer = Callable[[list[dict[str, Any]]], Optimizer]
MakeSchedule = Callable[[Optimizer, int], LRScheduler]


ADAMW: MakeOptimizer = partial(AdamW, lr=1e-3)


@dataclass(frozen=True)
class Options:
    """How :func:`fit` trains.

    Attributes:
        epochs: passes through the loader.
        optimizer: from parameter groups to an optimizer, for instance ``functools.partial(torch.optim.SGD, lr=0.1)``.
        schedule: from the optimizer and the number of epochs to a schedule that is advanced after every epoch (by the epoch's loss where
            it is a ``ReduceLROnPlateau``); None for a constant rate.
        predictor_rate: the predictor's learning rate as a share of the canonicalizer's. 0.0 leaves the predictor frozen, in eval mode.
        clip: the largest norm of all gradients together; None for no limit.
        precision: a dtype for automatic mixed precision, such as ``torch.bfloat16``; None for none.
        generator: randomness of the losses. Seed torch's global generator and the loader's for the rest.

    Raises:
        InputError: for numbers that make no sense.

    Example:
        >>> from coset import adapt
        >>> adapt.Options(epochs=3, clip=1.0).predictor_rate
        0.0
    """

    epochs: int = 1
    optimizer: MakeOptimizer = ADAMW
    schedule: MakeSchedule | None = None
    predictor_rate: float = 0.0
    clip: float | None = None
    precision: torch.dtype | None = None
    generator: torch.Generator | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        checks = [
            (type(self.epochs) is int and self.epochs >= 1, f"epochs={self.epochs!r}", "a positive number of epochs", "pass epochs=10"),
            (callable(self.optimizer), f"optimizer={self.optimizer!r}", "a callable", "pass functools.partial(torch.optim.AdamW, lr=1e-3)"),
            (
                self.schedule is None or callable(self.schedule),
                f"schedule={self.schedule!r}",
                "a callable from the optimizer and the number of epochs, or None",
                "pass a function that returns a schedule",
            ),
            (
                isinstance(self.predictor_rate, (int, float)) and 0 <= self.predictor_rate < math.inf,
                f"predictor_rate={self.predictor_rate!r}",
                "zero (frozen) or a positive share",
                "pass 0.1",
            ),
            (
                self.clip is None or (isinstance(self.clip, (int, float)) and self.clip > 0),
                f"clip={self.clip!r}",
                "a positive norm, or None",
                "pass clip=1.0",
            ),
            (
                self.precision is None or self.precision in (torch.bfloat16, torch.float16),
                f"precision={self.precision!r}",
                "torch.bfloat16, torch.float16 or None",
                "leave it out for full precision",
            ),
        ]
        for fine, given, expected, remedy in checks:
            if not fine:
                raise InputError(explain(f"Options({given})", expected, remedy))

    @property
    def joint(self) -> bool:
        """Whether the predictor learns too."""
        return self.predictor_rate > 0


@dataclass(frozen=True)
class Fitted:
    """What :func:`fit` returns.

    Attributes:
        model: the canonicalizer around the predictor, in eval mode; ``model.frame`` is the bound canonicalizer.
        history: for every epoch the means of the loss and of its parts, and what ``validate`` returned.
        resumed: the number of epochs that a checkpoint had already.
    """

    model: Symmetrized
    history: list[dict[str, float]]
    resumed: int = 0

    def __repr__(self) -> str:
        last = ", ".join(f"{name} {value:.4g}" for name, value in self.history[-1].items()) if self.history else "nothing"
        return f"Fitted({len(self.history)} epochs, {self.resumed} of them resumed; last: {last})"


def make_optimizer(model: Symmetrized, options: Options) -> Optimizer:
    """The optimizer of the canonicalizer's parameters, and of the predictor's at their own rate if it learns.

    Raises:
        InputError: where there is nothing to train.
    """
    own = [p for p in model.frame.parameters() if p.requires_grad]
    known = {id(p) for p in own}  # what both share learns at the canonicalizer's rate
    reader = model.model if options.joint and isinstance(model.model, nn.Module) else None
    others = [p for p in reader.parameters() if p.requires_grad and id(p) not in known] if reader is not None else []
    if not own and not others:
        given = f"{model.frame} and the predictor {type(model.model).__name__} without parameters to train"
        raise InputError(explain(given, "a canonicalizer that learns", "use a learned frame, or Options(predictor_rate=1.0)"))
    optimizer = options.optimizer([{"params": found} for found in (own, others) if found])
    if others:
        last = optimizer.param_groups[-1]
        last["lr"] = last["lr"] * options.predictor_rate
    return optimizer
