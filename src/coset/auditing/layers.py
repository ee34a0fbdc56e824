"""How the difference between the answers on x and on gx grows from layer to layer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..actions.base import Action
from ..actions.layout import Layout
from ..tree import Tree
from .norms import difference, named_leaves, squares
from .running import Runner, module_of
from .sweep import Batch, Sweep


@dataclass(frozen=True)
class Layer:
    """One layer of the model, on x and on gx.

    Attributes:
        name: its dotted name in the model.
        kind: its class.
        shape: shape of its output.
        change: mean of ||h(gx) - h(x)|| over the RMS of ||h(x)||: sensitivity, zero where the layer is invariant. An
            equivariant layer changes as much as its features turn, so read it as growth, not as error.
        error: the equivariance error, where the output has the shape of an input or output whose action applies; else None.
        action: that action in words, or an empty string.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    change: float
    error: float | None = None
    action: str = ""


@contextmanager
def recording(module: nn.Module, kept: dict[str, list[Tensor]]) -> Iterator[None]:
    """Keep the tensors that the leaf modules return."""
    handles = []
    for name, part in module.named_modules():
        if name and not any(True for _ in part.children()):

            def keep(_: nn.Module, __: object, output: object, name: str = name) -> None:
                if isinstance(output, Tensor):
                    kept.setdefault(name, []).append(output.detach().clone())

            handles.append(part.register_forward_hook(keep))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def layer_growth(runner: Runner, batch: Batch, found: Sweep) -> tuple[list[Layer], str]:
    """Compare every layer that is called once, on one element per input; the second value says what was left out."""
    module = module_of(runner.model)
    if module is None:
        return [], "the model is a plain callable: it has no layers to look into"
    rows = torch.arange(min(batch.at.samples, batch.most), device=batch.device)
    g = found.draw.pick(rows, found.sizes[rows].argmax(1))
    x = runner.source.take(batch.x, rows, batch.at)
    at = runner.source.layout(x)
    moved = runner.source.act(g, x, at)
    before: dict[str, list[Tensor]] = {}
    after: dict[str, list[Tensor]] = {}
    with recording(module, before):
        y = runner(x)
    with recording(module, after):
        runner(moved)
    known = [*named_leaves(runner.target, y, "output"), *((n, a, t) for n, a, t in named_leaves(runner.source, x, "input") if a.moves)]
    kinds = {name: type(part).__name__ for name, part in module.named_modules()}
    layers, skipped = [], 0
    for name, outputs in before.items():
        others = after.get(name, [])
        if len(outputs) != 1 or len(others) != 1 or outputs[0].shape != others[0].shape or outputs[0].numel() == 0:
            skipped += 1
            continue
        layers.append(_compare(name, kinds[name], outputs[0], others[0], g, at, known))
    return layers, f"{skipped} layer(s) called more than once, or with changing shapes, are left out" if skipped else ""


def _compare(name: str, kind: str, h: Tensor, hg: Tensor, g: Tree, at: Layout, known: list[tuple[str, Action, Tensor]]) -> Layer:
    change = _relative(hg, h, at)
    for label, action, tensor in known:
        if tensor.shape == h.shape and h.is_floating_point() == tensor.is_floating_point():
            return Layer(name, kind, tuple(h.shape), change, _relative(hg, action.act(g, h, at), at, h), f"{label}: {action}")
    return Layer(name, kind, tuple(h.shape), change)


def _relative(a: Tensor, b: Tensor, at: Layout, scale: Tensor | None = None) -> float:
    norm = float(squares(b if scale is None else scale, at, 0).mean().sqrt())
    gap = float(difference(a, b, at, 0).mean())
    return gap / norm if norm else gap
