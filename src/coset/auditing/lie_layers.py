"""Which layers break a continuous symmetry: the Lie derivative of a network as a sum over its layers, with signed shares."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
import torch.autograd.forward_ad as forward
from torch import Tensor, nn

from ..actions.base import Action
from ..actions.layout import Layout
from ..actions.periodic import Periodic
from ..actions.signature import Signature
from ..actions.still import Trivial
from ..errors import InputError, SignatureError, explain
from ..groups.base import Group
from ..groups.real_torus import RealTorus
from ..tree import Tree, leaves
from .inputs import CHUNK, prepare
from .lie import in_double
from .norms import act_on, named_leaves
from .running import Runner, evaluation, module_of
from .sweep import Batch

Moves = Callable[[Tree, Tensor], Tensor]
ROUNDING = 1e-12
"""A Lie derivative this small beside the output is that of float64 itself, and has no shares."""

Rule = Callable[[str, nn.Module, Tensor], Action | None]

IMAGES = (
    nn.modules.conv._ConvNd, nn.modules.batchnorm._BatchNorm, nn.GroupNorm, nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d,
    nn.AdaptiveMaxPool2d, nn.ReLU, nn.GELU, nn.SiLU, nn.LeakyReLU, nn.ELU, nn.Sigmoid, nn.Tanh, nn.Hardswish, nn.ReLU6, nn.Softplus,
    nn.Identity, nn.Upsample, nn.ZeroPad2d, nn.CircularPad2d, nn.ReflectionPad2d, nn.Flatten, nn.Dropout, nn.Dropout2d, nn.InstanceNorm2d,
)  # fmt: skip
"""Modules whose tensors of four axes (B, C, H, W) are images."""


@dataclass(frozen=True)
class Share:
    """What one layer adds to the Lie derivative of the output.

    Attributes:
        name: the layer's dotted name, or ``between layers`` for what is computed outside of modules.
        kind: its class.
        share: <L_i, L> / |L|^2 over the batch and all directions; negative where the layer undoes what others did. All add up to one. NaN
            where L is no more than rounding.
        size: |L_i| over the root mean square of the output, averaged over inputs and directions.
    """

    name: str
    kind: str
    share: float
    size: float


@dataclass(frozen=True)
class LieShares:
    """The Lie derivative of a network, layer by layer.

    Attributes:
        total: mean over inputs and directions of |L| over the root mean square of the output, per unit of ``group.algebra()``.
        layers: one :class:`Share` a layer, in the order of the modules, and what is left between them.
        assumed: by name, the action on the layer's output that was taken.
    """

    total: float
    layers: list[Share]
    assumed: dict[str, str]

    def __str__(self) -> str:
        width = max(len(one.name) for one in self.layers)
        shares = ["       -  " if math.isnan(one.share) else f"{100 * one.share:8.1f} %" for one in self.layers]
        lines = [f"{one.name:<{width}}  {one.kind:<16} {share}  {one.size:.2e}" for one, share in zip(self.layers, shares, strict=True)]
        what = (
            "shares and sizes by layer"
            if self.total > ROUNDING
            else "no more than rounding, so that there is nothing to share; sizes by layer"
        )
        return "\n".join([f"Lie derivative {self.total:.3e}; {what}", *lines])


def lie_shares(
    model: nn.Module,
    signature: Signature,
    inputs: Tree,
    *,
    features: Mapping[str, Action] | Rule | None = None,
    chunk: int = CHUNK,
) -> LieShares:
    """Split the Lie derivative of a network among its layers.

    For a layer h in the network f, with g_t a one-parameter subgroup, L_i is the derivative at t = 0 of the output when this
    layer alone is replaced by g_t^-1 h(g_t .). Between layers the elements cancel, so that the L_i add up to the
    Lie derivative of f wherever the operations outside of modules are equivariant; what they add is the last line. The L_i are vectors:
    shares are signed and add up to one, which squared norms do not.

    Everything runs in float64, on a copy of the model, by forward differentiation. Shift images with
    ``actions.Periodic(groups.RealTorus(H, W))``: interpolation has a kink at whole pixels.

    Args:
        model: a module whose leaf modules take and return one tensor (others are left between the layers).
        signature: ``source >> target`` of a Lie group.
        inputs: a batch for the source.
        features: actions on hidden tensors, never guessed from shapes: by the dotted name of a layer (``"name"`` for its
            output, ``"name.input"`` for its input), or a rule ``(name, module, tensor) -> action or None``. Left out, of
            a source ``Periodic``: tensors of four axes that enter or leave convolutions, poolings, batch normalizations and
            elementwise layers are images, shifted in proportion to their size; what else enters or leaves modules does not move.
        chunk: not more samples than this enter the model.

    Raises:
        SignatureError: for groups without a Lie algebra, actions that resample, and sources that need ``features``.
        InputError: for plain callables, bad inputs, and models that do not run in float64.

    Reference: Gruver, Finzi, Goldblum, Wilson 2023, arXiv 2210.02984, section 4 (there with squared norms).

    Example:
        >>> import torch, coset
        >>> from coset import actions, groups
        >>> T = groups.RealTorus(8, 8)
        >>> net = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3, padding=1, padding_mode="circular"), torch.nn.ReLU())
        >>> found = coset.lie_shares(net, actions.Periodic(T) >> actions.Periodic(T), torch.randn(4, 1, 8, 8))
        >>> [f"{one.name} {abs(one.share):.2f}" for one in found.layers]
        ['0 0.00', '1 1.00', 'between layers 0.00']
    """
    batch = prepare(model, signature, inputs, chunk, [])
    _check(model, signature, batch, features)
    with evaluation(model):
        doubled = in_double(Runner(model, signature), batch)
        if doubled is None:
            raise InputError(explain("a model that does not run in float64", "one that does", "remove casts to float32 inside it"))
        runner, batch, _ = doubled
        runner = replace(runner, signature=signature)
        return _measure(runner, batch, features)


def _check(model: Any, signature: Signature, batch: Batch, features: Mapping[str, Action] | Rule | None) -> None:
    if not isinstance(model, nn.Module):
        raise InputError(explain(f"{type(model).__name__} as model", "a torch.nn.Module with layers", "wrap the function in a module"))
    if not batch.group.lie_dimension:
        raise SignatureError(explain(f"{batch.group}, which is discrete", "a Lie group", "see the layers of coset.audit for finite groups"))
    if not (signature.source.smooth and signature.target.smooth):
        raise SignatureError(
            explain(f"{signature}, which resamples", "actions without kinks", "shift images with actions.Periodic(groups.RealTorus(H, W))")
        )
    if features is None and not isinstance(signature.source.core(), Periodic):
        raise SignatureError(
            explain(f"hidden tensors under {signature.source}", "declared actions", "pass features={'layer name': action, …}")
        )
    if isinstance(features, Mapping):
        names = {name for name, _ in _leaf_modules(model)}
        unknown = [name for name in features if name.removesuffix(".input") not in names]
        if unknown:
            raise InputError(explain(f"features for {unknown}", "names of layers without layers inside", f"choose among {sorted(names)}"))


def _measure(runner: Runner, batch: Batch, features: Mapping[str, Action] | Rule | None) -> LieShares:
    module = module_of(runner.model)
    if module is None:
        raise InputError(explain("a plain callable", "a module", "pass the module"))
    rule = _rule(features, batch)
    parts = _leaf_modules(module)
    y = runner(batch.x)
    scales = [float(t.double().square().flatten(1).sum(1).mean().sqrt()) or 1.0 for _, _, t in named_leaves(runner.target, y, "output")]
    assumed: dict[str, str] = {}
    hooks: list[Hook | None] = [None, *(_turned(part, name, rule, assumed) for name, part in parts)]
    rows = [
        torch.stack([_flat(_derivative(runner, batch, direction, hook), scales) for hook in hooks])
        for direction in range(batch.group.lie_dimension)
    ]
    return _split(torch.stack(rows, 1), parts, assumed)


def _leaf_modules(module: nn.Module) -> list[tuple[str, nn.Module]]:
    """The layers: modules without modules inside, by name."""
    return [(name, part) for name, part in module.named_modules() if name and not any(True for _ in part.children())]


def _split(vectors: Tensor, parts: list[tuple[str, nn.Module]], assumed: dict[str, str]) -> LieShares:
    """Shares from (1 + layers, directions, B, n) derivatives, the whole one first."""
    whole, layers = vectors[0], vectors[1:]
    every = torch.cat([layers, (whole - layers.sum(0)).unsqueeze(0)])
    square, total = whole.square().sum(), float(whole.norm(dim=-1).mean())
    shares = (every * whole).flatten(1).sum(1) / square if total > ROUNDING else torch.full((len(every),), float("nan"))
    sizes = every.norm(dim=-1).flatten(1).mean(1)
    names = [*((name, type(part).__name__) for name, part in parts), ("between layers", "")]
    found = [Share(name, kind, float(a), float(b)) for (name, kind), a, b in zip(names, shares, sizes, strict=True)]
    return LieShares(total, found, assumed)


Hook = Callable[[Callable[[Action, Tensor, bool], Tensor]], Any]


def _derivative(runner: Runner, batch: Batch, direction: int, hook: Hook | None) -> list[Tensor]:
    """The derivative at t = 0 of the outputs: moved at one layer alone, or at both ends."""
    group, at = batch.group, batch.at
    first = next(t for t in leaves(batch.x) if t.is_floating_point() or t.is_complex())
    with forward.dual_level():
        t = forward.make_dual(first.new_zeros(()).real, first.new_ones(()).real)
        basis = torch.eye(group.lie_dimension, dtype=t.dtype, device=t.device)[direction].expand(at.samples, -1)

        def move(action: Action, x: Tensor, back: bool) -> Tensor:
            return _step(group, action, (-t if back else t) * basis, x)

        with hook(move) if hook else _nothing():
            g, inverse = group.exp(group.combine(t * basis)), group.exp(group.combine(-t * basis))
            with torch.no_grad():
                y = runner.differentiable(runner.source.act(g, batch.x, at) if hook is None else batch.x)
                out = act_on(runner.target, inverse, y, at) if hook is None else y
                tangents = [forward.unpack_dual(value) for _, _, value in named_leaves(runner.target, out, "output")]
                return [torch.zeros_like(one.primal) if one.tangent is None else one.tangent.detach() for one in tangents]


def _step(group: Group, action: Action, step: Tensor, x: Tensor) -> Tensor:
    """Move a hidden tensor; images of another size than the input's move in proportion."""
    if not action.moves:
        return x
    small = action.group
    if isinstance(group, RealTorus) and isinstance(small, RealTorus):
        step = step * torch.tensor([a / b for a, b in zip(small.periods, group.periods, strict=True)], dtype=step.dtype, device=step.device)
    return action.act(small.exp(small.combine(step)), x, None if action.event else Layout(samples=x.shape[0]))


def _turned(part: nn.Module, name: str, rule: Rule, assumed: dict[str, str]) -> Hook:
    """Conjugate one layer by the group: move what enters it, and move back what leaves it."""

    @contextmanager
    def hook(move: Callable[[Action, Tensor, bool], Tensor]) -> Iterator[None]:
        def before(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
            if len(inputs) != 1 or not _dense(inputs[0]):
                return None
            action = rule(f"{name}.input", module, inputs[0])
            return None if action is None else (move(action, inputs[0], False),)

        def after(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> Any:
            if len(inputs) != 1 or not _dense(inputs[0]) or not _dense(output):
                return None
            action = rule(name, module, output)
            assumed[name] = "does not move" if action is None else repr(action)
            return None if action is None else move(action, output, True)

        handles = [part.register_forward_pre_hook(before), part.register_forward_hook(after)]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    return hook


@contextmanager
def _nothing() -> Iterator[None]:
    yield


def _dense(x: Any) -> bool:
    return isinstance(x, Tensor) and x.is_floating_point() and x.dim() > 0


def _rule(features: Mapping[str, Action] | Rule | None, batch: Batch) -> Rule:
    if features is None:
        return _images
    if isinstance(features, Mapping):
        return partial(_named, features)
    return features


def _named(features: Mapping[str, Action], name: str, module: nn.Module, x: Tensor) -> Action | None:
    action = features.get(name)
    return None if isinstance(action, Trivial) else action


def _images(name: str, module: nn.Module, x: Tensor) -> Action | None:
    """Images where the kind of the module says so."""
    if isinstance(module, IMAGES) and x.dim() == 4:
        return Periodic(RealTorus(*x.shape[-2:]))
    return None


def _flat(tangents: list[Tensor], scales: list[float]) -> Tensor:
    return torch.cat([t.flatten(1) / scale for t, scale in zip(tangents, scales, strict=True)], 1)
