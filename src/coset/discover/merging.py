"""Half-way between two networks: interpolated weights, the barrier between them, and statistics put right afterwards.

Reference: Ainsworth et al. 2023, arXiv 2209.04836 (barriers after matching); Jordan et al. 2023, arXiv 2211.08403 (REPAIR).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..errors import InputError, explain

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


@dataclass(frozen=True)
class Barrier:
    """A curve of losses between two networks.

    Attributes:
        weights: (n,) share of the second network, from 0 to 1.
        losses: (n,) what was measured.
        height: the largest excess over the straight line between the ends.
    """

    weights: Tensor
    losses: Tensor
    height: float

    def __str__(self) -> str:
        row = ", ".join(f"{w:.2f}: {loss:.4g}" for w, loss in zip(self.weights.tolist(), self.losses.tolist(), strict=True))
        return f"barrier {self.height:.4g} ({row})"


def merge(first: nn.Module, second: nn.Module, weight: float = 0.5) -> nn.Module:
    """A network whose real and complex parameters and buffers are (1 - weight) of the first and weight of the second.

    Raises:
        InputError: when their states have other names or shapes.

    Example:
        >>> import torch
        >>> from coset import discover
        >>> a, b = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
        >>> torch.allclose(discover.merge(a, b).weight, (a.weight + b.weight) / 2)
        True
    """
    one, other = first.state_dict(), second.state_dict()
    unlike = [key for key in one.keys() | other.keys() if key not in one or key not in other or one[key].shape != other[key].shape]
    if unlike:
        raise InputError(
            explain(f"states that differ in {sorted(unlike)[:3]}", "two networks of one architecture", "merge a network with its twin")
        )
    mixed = {
        key: torch.lerp(value, other[key].to(value), weight) if value.is_floating_point() or value.is_complex() else value
        for key, value in one.items()
    }
    twin = copy.deepcopy(first)
    twin.load_state_dict(mixed)
    return twin


def barrier(
    first: nn.Module,
    second: nn.Module,
    loss: Callable[[nn.Module], float],
    *,
    steps: int = 11,
    repaired: Callable[[nn.Module, float], nn.Module] | None = None,
) -> Barrier:
    """Measure the loss along the straight line from one network to another.

    Args:
        first: one end.
        second: the other; its channels have to correspond to the first's (``LayerSymmetry.transformed``).
        loss: of a network in evaluation mode.
        steps: points on the line, both ends included.
        repaired: puts right the statistics of a merged network; takes it and the share of the second, and returns one.

    Raises:
        InputError: for less than three steps.

    Example:
        >>> import torch
        >>> from coset import discover
        >>> net = torch.nn.Linear(3, 1)
        >>> discover.barrier(net, net, lambda net: float(net.weight.sum()), steps=3).height
        0.0
    """
    if steps < 3:
        raise InputError(explain(f"{steps} steps", "at least 3: both ends and one point between", "pass steps=11"))
    weights = torch.linspace(0, 1, steps, dtype=torch.float64)
    losses = []
    for weight in weights.tolist():
        net = merge(first, second, weight)
        net = repaired(net, weight) if repaired is not None and 0 < weight < 1 else net
        with torch.no_grad():
            losses.append(float(loss(net.eval())))
    found = torch.tensor(losses, dtype=torch.float64)
    excess = found - torch.lerp(found[0], found[-1], weights)
    return Barrier(weights, found, float(excess.max()))


def reset_statistics(model: nn.Module, batches: Iterable[Tensor]) -> nn.Module:
    """A copy whose batch normalizations have the mean and variance of these batches, averaged over them in one pass.

    Args:
        model: any module.
        batches: of its inputs, at least one.

    Raises:
        InputError: when there are no batches.

    Example:
        >>> import torch
        >>> from coset import discover
        >>> net = torch.nn.Sequential(torch.nn.BatchNorm1d(2))
        >>> fresh = discover.reset_statistics(net, [torch.tensor([[1.0, 5.0], [3.0, 5.0]])])
        >>> fresh[0].running_mean.tolist()
        [2.0, 5.0]
    """
    twin = copy.deepcopy(model).eval()
    norms = [part for part in twin.modules() if isinstance(part, NORMS) and part.running_mean is not None]
    for part in norms:
        part.reset_running_stats()
        part.momentum, _ = None, part.train()
    seen = 0
    with torch.no_grad():
        for batch in batches:
            twin(batch)
            seen += 1
    if not seen:
        raise InputError(explain("no batches", "one at least", "pass a list of batches; a generator can be used once"))
    for part, was in zip(norms, [p for p in model.modules() if isinstance(p, NORMS) and p.running_mean is not None], strict=True):
        part.momentum = was.momentum
    return twin.eval()


def repair(merged: nn.Module, first: nn.Module, second: nn.Module, images: Tensor, weight: float = 0.5) -> nn.Module:
    """REPAIR: every channel of a merged network gets the mean and spread that lies between those of the two ends.

    In one pass over ``images`` each batch normalization is rescaled (in networks without, each convolution and linear layer but the
    last); the layers after it see what was put right before them. The scales go into the weights: the architecture stays, but for the
    bias of a layer that had none.

    Args:
        merged: what ``merge(first, second, weight)`` made.
        first: one end.
        second: the other end.
        images: (B, …), some hundreds.
        weight: the share of the second.

    Raises:
        InputError: when a layer runs more than once, a batch normalization has no weights, or no layer can be rescaled.

    Example:
        >>> import torch
        >>> from coset import discover
        >>> _ = torch.manual_seed(0)
        >>> a = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1))
        >>> twin = discover.repair(discover.merge(a, a), a, a, torch.randn(50, 3))
        >>> torch.allclose(twin[0].weight, a[0].weight, atol=1e-5)
        True
    """
    twin = copy.deepcopy(merged).eval()
    if not _targets(twin):
        expected = "batch normalizations, or two convolutions or linear layers"
        raise InputError(explain(f"{type(merged).__name__} without layers to rescale", expected, "nothing can be repaired in it"))
    ends = [_statistics(net, images) for net in (first, second)]
    names = list(ends[0])
    goals = {name: torch.lerp(ends[0][name], ends[1][name], weight) for name in names}
    found: dict[str, tuple[Tensor, Tensor]] = {}
    with torch.no_grad(), _rescaling(twin, goals, found):
        twin(images)
    for name, (scale, shift) in found.items():
        _absorb(twin.get_submodule(name), scale, shift)
    return twin


def _targets(net: nn.Module) -> dict[str, nn.Module]:
    """Batch normalizations; where there are none, convolutions and linear layers but the last."""
    parts = dict(net.named_modules())
    norms = [name for name, part in parts.items() if isinstance(part, NORMS)]
    linear = [name for name, part in parts.items() if isinstance(part, nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear)]
    return {name: parts[name] for name in norms or linear[:-1]}


def _statistics(net: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """(2, channels) mean and spread by layer."""
    found: dict[str, Tensor] = {}

    def keep(name: str, output: Tensor) -> None:
        found[name] = torch.stack(_moments(output, _axis(parts[name])))

    twin = copy.deepcopy(net).eval()
    parts = _targets(twin)
    with torch.no_grad(), _hooked(parts, lambda name, output: keep(name, output)):
        twin(images)
    return found


@contextmanager
def _rescaling(net: nn.Module, goals: dict[str, Tensor], found: dict[str, tuple[Tensor, Tensor]]) -> Iterator[None]:
    """Rescale outputs on their way, and keep the scales."""
    parts = _targets(net)

    def change(name: str, output: Tensor) -> Tensor:
        axis = _axis(parts[name])
        mean, spread = _moments(output, axis)
        scale = goals[name][1] / spread.clamp(min=1e-12)
        scale = torch.where(spread > 1e-6 * spread.max(), scale, torch.ones_like(scale))
        shift = goals[name][0] - scale * mean
        found[name] = (scale, shift)
        return (output.movedim(axis, -1) * scale + shift).movedim(-1, axis)

    with _hooked(parts, change):
        yield


@contextmanager
def _hooked(parts: dict[str, nn.Module], hook: Callable[[str, Tensor], Tensor | None]) -> Iterator[None]:
    calls = dict.fromkeys(parts, 0)

    def run(name: str, output: Tensor) -> Tensor | None:
        calls[name] += 1
        if calls[name] > 1:
            raise InputError(explain(f"the layer {name!r}, which runs twice", "layers that run once", "give each use a layer of its own"))
        return hook(name, output)

    handles = [part.register_forward_hook(lambda _, __, output, name=name: run(name, output)) for name, part in parts.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _axis(part: nn.Module) -> int:
    """Where the output of a layer has its channels."""
    return -1 if isinstance(part, nn.Linear) else 1


def _moments(output: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel."""
    flat = output.movedim(axis, 0).flatten(1)
    return flat.mean(1), flat.std(1, correction=0)


@torch.no_grad()
def _absorb(part: nn.Module, scale: Tensor, shift: Tensor) -> None:
    """Multiply the output of a layer by scale and add shift, through its weights."""
    weight, bias = part.weight, part.bias
    if not isinstance(weight, nn.Parameter):
        raise InputError(explain(f"{type(part).__name__} without weights", "affine=True", "build the normalization with affine=True"))
    weight.mul_(scale.reshape(-1, *(1,) * (weight.dim() - 1)))
    if isinstance(bias, nn.Parameter):
        bias.mul_(scale).add_(shift)
    else:
        part.bias = nn.Parameter(shift.clone())
