"""The laws of frames and symmetrized models, as functions that return how far they are missed."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor

from coset import Symmetrized
from coset.actions.trees import call, flatten
from coset.frames.base import Frame
from coset.measure import Measure
from coset.tree import Tree, leaves, tree_map
from tests.zoo.frames import FrameCase


def wrap(case: FrameCase, dtype: torch.dtype, model: Any = None) -> Symmetrized:
    """The symmetrized network of a case, in eval mode."""
    return Symmetrized(case.model(dtype) if model is None else model, case.source >> case.target, copy.deepcopy(case.frame)).eval()


def gap(found: Tree, expected: Tree, scale: Tree | None = None) -> float:
    """The largest difference between two trees, in units of the root mean square of ``scale`` (of ``expected``), leaf by leaf."""
    worst = 0.0
    for a, b, s in zip(leaves(found), leaves(expected), leaves(expected if scale is None else scale), strict=True):
        if a.shape != b.shape or a.dtype != b.dtype:
            return float("inf")
        a, b, s = real(a), real(b), real(s)
        unit = torch.maximum(s.double().square().mean().sqrt(), b.double().square().mean().sqrt()).clamp_min(1e-300)
        worst = max(worst, float(((a.double() - b.double()).abs().max() / unit).nan_to_num(nan=float("inf"))))
    return worst


def real(x: Tensor) -> Tensor:
    """Complex numbers as pairs of real ones."""
    return torch.view_as_real(x.resolve_conj()) if x.is_complex() else x


def inexact(x: Tensor) -> bool:
    """Whether a tensor holds floating point numbers, real or complex."""
    return x.is_floating_point() or x.is_complex()


def bare(case: FrameCase, x: Tree, dtype: torch.dtype) -> Tree:
    """The outputs of the network alone, which say how large outputs are."""
    with torch.no_grad():
        return call(case.model(dtype), case.source, x)


def move(case: FrameCase, x: Tree, generator: torch.Generator, dtype: torch.dtype) -> tuple[Tree, Tree]:
    """A random element for every sample, and the moved inputs."""
    at = case.source.layout(x)
    h = case.source.resolve(x).sample(at.samples, generator=generator, dtype=dtype)
    return h, case.source.act(h, x, at)


def conditioning(x: Tree) -> float:
    """One plus the largest coordinate: how much of the precision raw coordinates use up for a network of unit scale."""
    return 1 + max(float(leaf.abs().max()) for leaf in leaves(x) if inexact(leaf))


def equivariance_gap(model: Any, case: FrameCase, x: Tree, generator: torch.Generator, dtype: torch.dtype) -> float:
    """f(hx) = h f(x), in units of the output and of the conditioning."""
    h, moved = move(case, x, generator, dtype)
    with torch.no_grad():
        here, there = call(model, case.source, x), call(model, case.source, moved)
        expected = case.target.act(h, here, case.source.layout(x))
        return gap(there, expected, bare(case, x, dtype)) / conditioning([x, moved])


def permuted(case: FrameCase, x: Tree, y: Tree, generator: torch.Generator) -> tuple[Tree, Tree]:
    """Inputs and outputs with the points in another order."""
    at = case.source.layout(x)
    count = at.rows or int(at.points or 1)
    order = torch.randperm(count, generator=generator)
    if at.batch is not None:
        order = order[torch.argsort(at.batch[order], stable=True)]

    def shuffle(leaf: Tensor, event: int) -> Tensor:
        if not at.is_per_point(leaf, event):
            return leaf
        return leaf.index_select(0 if at.batch is not None else 1, order)

    back = torch.argsort(order)
    kinds = {key: (action, leaf) for key, (action, leaf) in flatten(case.source, x).items()}
    moved = {
        key: back[leaf] if type(action).__name__ == "Edges" else shuffle(leaf, 0 if key != "t" and key != "cell" else 9)
        for key, (action, leaf) in kinds.items()
    }
    expected = {
        key: shuffle(leaf, action.event) if action.per_point is not False else leaf
        for key, (action, leaf) in flatten(case.target, y).items()
    }
    return (moved[None] if list(moved) == [None] else moved), (expected[None] if list(expected) == [None] else expected)


def permutation_gap(model: Any, case: FrameCase, x: Tree, generator: torch.Generator, dtype: torch.dtype) -> float:
    """f does not depend on the order of the points; outputs per point follow it."""
    with torch.no_grad():
        shuffled, expected = permuted(case, x, call(model, case.source, x), generator)
        return gap(call(model, case.source, shuffled), expected, bare(case, x, dtype)) / conditioning(x)


def idempotence_gap(case: FrameCase, x: Tree, dtype: torch.dtype) -> float:
    """Wrapping a model that is equivariant already returns it."""
    net = case.model(dtype)
    inner = Symmetrized(net, case.source >> case.target, case.reference or case.frame).eval()
    with torch.no_grad():
        once = call(inner, case.source, x)
        return gap(call(wrap(case, dtype, inner), case.source, x), once, bare(case, x, dtype)) / conditioning(x)


def measure_faults(measure: Measure, samples: int) -> list[str]:
    """What is wrong with a measure as such: weights, order, number of cosets, elements that are none."""
    faults = []
    weights, group = measure.weights, measure.group
    k = weights.shape[0]
    if weights.shape != (k, samples) or measure.order.shape != (samples,):
        faults.append(f"weights {tuple(weights.shape)} and order {tuple(measure.order.shape)} for {samples} samples")
    if bool((weights < 0).any()) or float((weights.sum(0) - 1).abs().max()) > 1e-6:
        faults.append("weights are negative or do not sum to one")
    if measure.cosets < 1 or k % measure.cosets:
        faults.append(f"{k} elements in {measure.cosets} cosets")
    if any(leaf.shape[:2] != (k, samples) for leaf in leaves(measure.elements)):
        faults.append("elements are not (K, B, ...)")
    order = measure.order
    if bool(((order < 1) & (order != -1)).any()):
        faults.append(f"order {order.tolist()}")
    listed = (weights > 0).sum(0)
    if measure.ties is None and measure.orbits is None and bool(((order > 0) & (order != listed)).any()):
        faults.append(f"order {order.tolist()} and {listed.tolist()} elements of positive weight")
    group = group.at(_points(measure)) if group.permutes else group
    unit = group.compose(measure.elements, group.inverse(measure.elements))
    if not float(group.distance(unit, group.compose(unit, unit)).abs().max()) < 1e-6 or not _invertible(measure):
        faults.append("elements are not group elements")
    return faults


def _points(measure: Measure) -> int:
    return next(leaves(measure.elements)).shape[-1]


def _invertible(measure: Measure) -> bool:
    group = measure.group
    if group.dim is None or not inexact(next(leaves(measure.elements))):
        return True
    small = 1e-6 if group.stretches or group.rescales else 0.5  # only these groups change volumes
    return bool((torch.linalg.det(group.matrix(measure.elements)).abs() > small).all())


def sensitivity(model: Any, case: FrameCase, x: Tree, dtype: torch.dtype) -> float:
    """How much the outputs of different samples differ, in units of the network's outputs: zero for a model that sees nothing."""
    with torch.no_grad():
        y, scale = call(model, case.source, x), bare(case, x, dtype)
    found = []
    for a, s in zip(leaves(y), leaves(scale), strict=True):
        a, s = real(a), real(s)
        found.append(float((a - a.mean(0)).double().square().mean().sqrt() / s.double().square().mean().sqrt()))
    return min(found)


def samples_gap(model: Any, case: FrameCase, x: Tree, dtype: torch.dtype) -> float:
    """A batch is a loop over its samples."""
    at = case.source.layout(x)
    with torch.no_grad():
        whole, worst = call(model, case.source, x), 0.0
        for b in range(at.samples):
            one = torch.tensor([b])
            rows = at.take(one)[1]
            part = call(model, case.source, case.source.take(x, one, at))
            expected = tree_map(
                lambda leaf, one=one, rows=rows: leaf[rows] if rows is not None and leaf.shape[0] == at.rows else leaf[one], whole
            )
            worst = max(worst, gap(part, expected, bare(case, x, dtype)))
    return worst / conditioning(x)


def vmap_gap(model: Any, case: FrameCase, x: Tree) -> float:
    """vmap over single samples is the batch."""

    def one(sample: Tree) -> Tree:
        y = call(model, case.source, tree_map(lambda leaf: leaf.unsqueeze(0), sample))
        return tree_map(lambda leaf: leaf.squeeze(0), y)

    return gap(torch.func.vmap(one)(x), call(model, case.source, x)) / conditioning(x)


def compile_gap(model: Any, case: FrameCase, x: Tree, backend: str = "aot_eager") -> float:
    """One graph without breaks gives the same."""
    torch._dynamo.reset()
    compiled = torch.compile(model, backend=backend, fullgraph=True)
    return gap(call(compiled, case.source, x), call(model, case.source, x)) / conditioning(x)


class Positional(torch.nn.Module):
    """A model that takes its named inputs by position: dynamic shapes cannot be given to keywords gathered by ``**``."""

    def __init__(self, model: Any, keys: list[str]):
        super().__init__()
        self.model, self.keys = model, keys

    def forward(self, *args: Tensor) -> Tree:
        return self.model(**dict(zip(self.keys, args, strict=True)))


def export_gap(model: Any, case: FrameCase, x: Tree, dynamic: bool = False) -> float:
    """The exported program gives the same; with a dynamic batch, on fewer samples too."""
    if not dynamic:
        args, kwargs = ((), x) if isinstance(x, dict) else ((x,), None)
        program = torch.export.export(model, args, kwargs, strict=False)
        return gap(call(program.module(), case.source, x), call(model, case.source, x)) / conditioning(x)
    keys = list(x) if isinstance(x, dict) else []
    inputs = tuple(x.values()) if keys else (x,)
    batch = torch.export.Dim("batch", min=2, max=1024)
    plain = Positional(model, keys) if keys else model
    program = torch.export.export(plain, inputs, strict=False, dynamic_shapes={"args": tuple({0: batch} for _ in inputs)})
    part = case.source.take(x, torch.tensor([2, 0, 1]), case.source.layout(x))
    found = program.module()(*(part.values() if keys else (part,)))
    return gap(found, call(model, case.source, part)) / conditioning(x)


def gradients(model: Any, case: FrameCase, x: Tree, generator: torch.Generator) -> list[Tensor]:
    """Gradients of a random combination of the outputs with respect to every floating point input."""
    x = tree_map(lambda leaf: leaf.clone().requires_grad_() if inexact(leaf) else leaf, x)
    y = call(model, case.source, x)
    total = sum((real(leaf) * torch.randn(real(leaf).shape, generator=generator, dtype=real(leaf).dtype)).sum() for leaf in leaves(y))
    moved = [leaf for leaf in leaves(x) if inexact(leaf)]
    return [g for g in torch.autograd.grad(total, moved, allow_unused=True) if g is not None]


class Broken(Frame):
    """A frame that goes wrong in a given way, built on a right one: ``function(measure, inputs)`` spoils the measure."""

    def __init__(self, frame: Frame, function: Any):
        super().__init__()
        self.frame, self.function = frame, function

    def prepare(self, group: Any) -> None:
        self.frame = self.frame.bind(self.source, self.target)

    def measure(self, inputs: Tree, at: Any) -> Measure:
        return self.function(self.frame.measure(inputs, at), inputs)
