"""What a registered case of an action is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from coset.actions.base import Action


@dataclass(frozen=True)
class ActionCase:
    """One action with data to move.

    Attributes:
        action: the action.
        make: draws a batch of data, ``make(generator, dtype)``, the same number of samples every time.
        name: how the case is called in test names.
        tol_scale: how much more than rounding noise its laws may miss.
        drift: for inexact actions, the largest composition error that smooth data may show.
        skips: law name -> reason, printed and counted.
    """

    action: Action
    make: Callable[[torch.Generator, torch.dtype], Any]
    name: str
    tol_scale: float = 1.0
    drift: float = 0.5
    skips: dict[str, str] | None = None

    def reason(self, law: str) -> str | None:
        """Why a law is skipped, or None."""
        return (self.skips or {}).get(law)
