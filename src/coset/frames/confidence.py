"""The confidence of a frozen predictor as an energy: canonicalization without training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import FrameError, InputError, describe, explain
from ..tree import Tree


class Confidence(nn.Module):
    """Energy of inputs: minus the largest softmax probability that a classifier gives them.

    It needs no training, and it is weak: networks are confident on inputs that they have never seen. On handwritten
    digits turned by quarters it finds the upright one so rarely that accuracy is near 70 %, where a trained scorer reaches 97 %; and every
    element of the group costs a call of the predictor. The predictor is held without being a part of this module: its weights
    appear once in a ``state_dict``, under the model. It is called in the mode that it is in.

    Args:
        predictor: inputs -> logits (B, classes), or an output with ``logits``.

    Raises:
        InputError: for something that cannot be called, and for outputs that are no logits.

    Example:
        >>> import torch
        >>> from coset import actions, frames, groups
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
        >>> frame = frames.Minimize(frames.Confidence(net)).bind(actions.Image(groups.Cyclic(4)))
        >>> frame(torch.rand(2, 1, 8, 8)).elements.shape
        torch.Size([1, 2])
    """

    def __init__(self, predictor: Callable[..., Any]):
        super().__init__()
        if not callable(predictor):
            raise InputError(explain(f"{predictor!r} as predictor", "a module or function", "pass the classifier"))
        self._held = (predictor,)

    def forward(self, inputs: Tree) -> Tensor:
        """The energies (B,)."""
        found = self._held[0](**inputs) if isinstance(inputs, dict) else self._held[0](inputs)
        logits = getattr(found, "logits", found)
        if not isinstance(logits, Tensor) or logits.dim() != 2 or not logits.is_floating_point():
            raise FrameError(
                explain(
                    f"{describe(logits)} from the predictor", "logits (batch, classes)", "wrap the predictor so that it returns its logits"
                )
            )
        return -torch.softmax(logits, -1).amax(-1)
