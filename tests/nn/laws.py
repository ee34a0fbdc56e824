"""The laws of equivariant networks, as functions that return how far they are missed."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from coset import actions
from coset.actions.base import Action
from coset.actions.indices import BatchIndex, Edges, PointMask
from coset.actions.trees import flatten
from coset.groups.base import Group
from coset.tree import Tree, leaves, rebuild, tree_map
from tests.zoo.networks import NetworkCase

Outputs = tuple[Tensor, ...]


def outputs(network: Any, x: Tree, noise: Tensor | None) -> Outputs:
    """The outputs as a tuple."""
    found = network(x, noise)
    return found if isinstance(found, tuple) else (found,)


def factors(group: Group) -> tuple[Group, ...]:
    """The factors of a group."""
    return getattr(group, "factors", (group,))


def turned(group: Group) -> bool:
    """Whether noise consists of vectors."""
    return group.dim is not None and not group.lorentzian


def lead(case: NetworkCase, x: Tree) -> tuple[int, ...]:
    """The leading axes of noise: (B, n), (N,), or (B,) without points."""
    at = case.source.layout(x)
    if at.batch is not None:
        return (at.batch.shape[0],)
    if at.mask is not None:
        return tuple(at.mask.shape)
    for leaf, value in flatten(case.source, x).values():
        axes = leaf.point_axes(value)
        if axes and not isinstance(leaf, PointMask):
            return (at.samples, value.shape[axes[0]])
    return (at.samples,) if at.points is None else (at.samples, at.points)


def draw(case: NetworkCase, x: Tree, generator: torch.Generator, dtype: torch.dtype) -> Tensor:
    """Noise for a batch."""
    group = case.source.group
    shape = (*lead(case, x), case.noise, *((group.dim,) if turned(group) else ()))
    return torch.randn(shape, generator=generator, dtype=dtype.to_complex() if turned(group) and group.complex else dtype)


def move_noise(case: NetworkCase, g: Tree, noise: Tensor, x: Tree) -> Tensor:
    """Noise is permuted with its points; vectors are turned."""
    group, at = case.source.group, case.source.layout(x)
    if turned(group):
        if group.permutes:
            return actions.Vectors(group).act(g, noise.transpose(1, 2), at).transpose(1, 2)
        return actions.Vectors(group, points=False).act(g, noise, at)
    if not group.permutes:
        return noise
    return actions.Nodes(group).act(g, noise, at) if at.batch is not None else actions.Permute(group, -2).act(g, noise)


def targets(case: NetworkCase, x: Tree) -> list[Action]:
    """How the outputs move."""
    group, ragged = case.source.group, case.source.layout(x).batch is not None
    scores = (lambda: actions.Nodes(group)) if ragged else (lambda: actions.Permute(group, -1))
    return [scores() if factor.permutes else actions.Vectors(group, points=False) for factor in factors(group)]


def gap(found: Outputs, expected: Outputs) -> float:
    """The largest difference, in units of the root mean square of each output over the batch (one where it vanishes)."""
    worst = 0.0
    for a, b in zip(found, expected, strict=True):
        if a.shape != b.shape or a.dtype != b.dtype:
            return float("inf")
        unit = b.detach().abs().double().square().mean().sqrt().clamp_min(1e-2)
        worst = max(worst, float(((a - b).detach().abs().double().max() / unit).nan_to_num(nan=float("inf"))))
    return worst


def equivariance_gaps(network: Any, case: NetworkCase, x: Tree, generator: torch.Generator, dtype: torch.dtype) -> dict[str, float]:
    """q(hx, h noise) = h q(x, noise), for the whole group and for each of its components."""
    at, group = case.source.layout(x), case.source.resolve(x)
    noise = draw(case, x, generator, dtype)
    chosen = {"all": group.sample(at.samples, generator=generator, dtype=dtype)}
    for name, part in group.components().items():
        chosen[name] = part(part.source.sample(at.samples, generator=generator, dtype=dtype), dtype=dtype)
    with torch.no_grad():
        here, found = outputs(network, x, noise), {}
        for name, h in chosen.items():
            there = outputs(network, case.source.act(h, x, at), move_noise(case, h, noise, x))
            expected = tuple(action.act(h, y, at) for action, y in zip(targets(case, x), here, strict=True))
            found[name] = gap(there, expected)
    return found


def alone_gap(network: Any, case: NetworkCase, x: Tree, generator: torch.Generator, dtype: torch.dtype) -> float:
    """A sample alone gives what it gives in a batch."""
    at, noise, worst = case.source.layout(x), draw(case, x, generator, dtype), 0.0
    with torch.no_grad():
        whole = outputs(network, x, noise)
        for b in range(at.samples):
            one = torch.tensor([b])
            rows = at.take(one)[1]

            def part(y: Tensor, one: Tensor = one, rows: Tensor | None = rows) -> Tensor:
                return y[rows] if rows is not None and y.shape[0] == at.rows else y[one]

            found = outputs(network, case.source.take(x, one, at), part(noise))
            expected = tuple(map(part, whole))
            scale = tuple(y.abs().double().square().mean().sqrt().clamp_min(1e-2) for y in whole)
            off = [(a - b).abs().max() / s for a, b, s in zip(found, expected, scale, strict=True) if a.numel()]
            worst = max(worst, *(float(one.nan_to_num(nan=float("inf"))) for one in off))
    return worst


def nudged(case: NetworkCase, x: Tree, key: Any, sample: int, generator: torch.Generator) -> Tree:
    """The inputs with one number of one input of one sample changed (for an edge list: one edge turned around)."""
    at = case.source.layout(x)
    owner = at.batch if at.batch is not None else None

    def change(action: Action, value: Tensor) -> Tensor:
        value = value.clone()
        if isinstance(action, Edges):
            rows = (owner[value[0]] == sample).nonzero().flatten() if owner is not None else torch.arange(value.shape[1])
            rows = rows[value[0, rows] != value[1, rows]]  # a loop turned around is the same
            value[:, rows[0]] = value[:, rows[0]].flip(0)
            return value
        if action.edges is not None:
            edges = dict_edges(case, x)
            rows = (owner[edges[0]] == sample).nonzero().flatten() if owner is not None else torch.zeros(1, dtype=torch.long)
        elif owner is not None and at.is_per_row(value):
            rows = (owner == sample).nonzero().flatten()
        else:
            rows = torch.tensor([sample])
        flat = value[rows[0]].reshape(-1)  # its first number belongs to a real point
        flat = torch.cat([flat[:1] + (0.37 if value.is_floating_point() or value.is_complex() else 1), flat[1:]])
        value[rows[0]] = flat.reshape(value[rows[0]].shape)
        return value

    found = {k: (change(action, value) if k == key else value) for k, (action, value) in flatten(case.source, x).items()}
    return found[None] if list(found) == [None] else rebuild(x, found)


def dict_edges(case: NetworkCase, x: Tree) -> Tensor:
    """The edge list of ragged inputs."""
    return next(value for action, value in flatten(case.source, x).values() if isinstance(action, Edges))


def seen(case: NetworkCase, x: Tree) -> list[Any]:
    """The keys of inputs that are features."""
    return [key for key, (action, _) in flatten(case.source, x).items() if not isinstance(action.core(), (BatchIndex, PointMask))]


def reach(network: Any, case: NetworkCase, x: Tree, generator: torch.Generator, dtype: torch.dtype) -> dict[Any, float]:
    """How much each output moves when one number of one sample changes, at least; the other samples must stand still.

    Returns:
        By key (and ``noise``): the smallest relative change of an output, or minus infinity when another sample moved.
    """
    noise, found = draw(case, x, generator, dtype), {}
    at = case.source.layout(x)
    sample = min(1, at.samples - 1)
    with torch.no_grad():
        before = outputs(network, x, noise)
        for key in seen(case, x):
            after = outputs(network, nudged(case, x, key, sample, generator), noise)
            shared = at.batch is None and str(key).startswith("edge")  # one edge list for all samples
            found[key] = changes(before, after, at, sample, shared)
        more = noise.clone()
        more[(at.batch == sample).nonzero()[0] if at.batch is not None else sample] += 0.37
        found["noise"] = changes(before, outputs(network, x, more), at, sample)
    return found


def changes(before: Outputs, after: Outputs, at: Any, sample: int, shared: bool = False) -> float:
    """The smallest change of an output of a sample; minus infinity when other samples changed."""
    found = []
    for a, b in zip(before, after, strict=True):
        owner = at.batch if at.batch is not None and a.shape[0] == at.rows else torch.arange(at.samples)
        moved = (a - b).abs().double() / a.abs().double().square().mean().sqrt()
        others = moved[owner != sample]
        if not shared and others.numel() and float(others.max()) > 1e-5:
            return -float("inf")
        found.append(float(moved[owner == sample].max()))
    return min(found)


def gradients(network: Any, case: NetworkCase, x: Tree, generator: torch.Generator, dtype: torch.dtype) -> list[Tensor]:
    """Gradients of a random combination of the outputs, with respect to inputs, noise and weights."""
    x = tree_map(lambda leaf: leaf.clone().requires_grad_() if leaf.is_floating_point() or leaf.is_complex() else leaf, x)
    noise = draw(case, x, generator, dtype).requires_grad_()
    total = 0.0
    for y in outputs(network, x, noise):
        y = torch.view_as_real(y) if y.is_complex() else y
        total = total + (y * torch.randn(y.shape, generator=generator, dtype=y.dtype)).sum()
    wanted = [noise, *(leaf for leaf in leaves(x) if leaf.requires_grad), *network.parameters()]
    return [g for g in torch.autograd.grad(total, wanted, allow_unused=True) if g is not None]
