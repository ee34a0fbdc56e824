"""What is said about one symmetrized model: its errors, its cost, and how far it is from the model that it wraps."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from ..actions import Layout, Signature
from ..auditing import Report, audit
from ..measure import Measure
from ..symmetrized import Symmetrized
from ..transport import canonicalize, gather_points
from ..tree import tree_map


def audited(model: nn.Module, signature: Signature, inputs: Any, samples: int, seed: int) -> Report:
    """The audit, without the parts that the demonstration does not show."""
    generator = torch.Generator().manual_seed(seed)
    return audit(model, signature, inputs, samples=samples, generator=generator, layers=False, lie=False, ascend=False)


def figures(report: Report) -> dict[str, Any]:
    """What the tables show of a report."""
    return {
        "group": report.group,
        "error": report.error,
        "stderr": report.stderr,
        "worst": report.worst.error,
        "floor": report.floor,
        "components": {name: float(value) for name, value in report.components.items()},
        "inputs": report.inputs,
        "elements": report.samples,
        "exhaustive": report.exhaustive,
        "failures": report.failures,
    }


def cost(bare: Callable[[], Any], wrapped: Callable[[], Any], rounds: int) -> dict[str, float]:
    """Median seconds of one call of each, called in turns, and their ratio."""
    times: tuple[list[float], list[float]] = ([], [])
    with torch.no_grad():
        for turn in range(rounds + 1):
            for call, found in zip((bare, wrapped), times, strict=True):
                start = time.perf_counter()
                call()
                if turn:
                    found.append(time.perf_counter() - start)
    slow, fast = median(times[1]), median(times[0])
    return {"bare_seconds": fast, "seconds": slow, "cost": slow / fast}


def relative(one: Tensor, other: Tensor) -> float:
    """RMS of the difference over RMS of ``other``; a zero ``other`` counts as 1."""
    scale = float(other.double().square().mean().sqrt()) or 1.0
    return float((one.double() - other.double()).square().mean().sqrt()) / scale


@torch.no_grad()
def against_bare(wrapped: Symmetrized, bare: nn.Module, inputs: Any, per_sample: Callable[..., Tensor]) -> dict[str, Any]:
    """Compare a symmetrized model with the model inside, on the frame's canonical inputs.

    The model inside is called by itself on the canonical inputs; its outputs are carried back by the frame's elements
    and averaged by hand. ``distance`` is how far the symmetrized model is from that; ``canonical`` how far it is from
    the bare model at the canonical inputs themselves, over the ``generic`` inputs, with one element per canonical input:
    zero for a frame of one element, not for an average. ``size`` and ``variation`` are zero for a model that returns zeros or a constant.

    Args:
        wrapped: the symmetrized model.
        bare: the model inside.
        inputs: a batch.
        per_sample: maps outputs and inputs to one row per sample.
    """
    source, target = wrapped.signature.source, wrapped.signature.target
    at = source.layout(inputs)
    measure: Measure = wrapped.frame(inputs)
    rows = (measure.coset_weights().flatten() > 0).nonzero().flatten()
    canonical = canonicalize(measure, source, inputs, at, rows)
    outputs = invoke(bare, canonical)
    carried = carry_back(measure, target.act, outputs, at, rows)
    first = rows < measure.samples
    upright = tree_map(lambda leaf: leaf[first], canonical)
    there, expected = invoke(wrapped, upright), outputs[first]
    plain = single(measure)[rows[first]]
    summary = per_sample(there, upright).double()
    return {
        "distance": relative(invoke(wrapped, inputs), carried),
        "canonical": relative(there[plain], expected[plain]) if bool(plain.any()) else None,
        "generic": int(plain.sum()),
        "size": float(there.square().mean().sqrt()) / (float(expected.square().mean().sqrt()) or 1.0),
        "variation": relative(summary.mean(0).expand_as(summary), summary) if bool(summary.any()) else 0.0,
    }


def invoke(model: nn.Module, inputs: Any) -> Tensor:
    """Call a model by keyword with a dictionary, else with one argument."""
    return model(**inputs) if isinstance(inputs, dict) else model(inputs)


def single(measure: Measure) -> Tensor:
    """(B,) True where no coset holds more than one element."""
    weights = measure.weights.reshape(measure.cosets, measure.size, -1)
    return ((weights > 0).sum(1) <= 1).all(0)


def carry_back(measure: Measure, act: Callable[..., Tensor], outputs: Tensor, at: Layout, rows: Tensor) -> Tensor:
    """The average of outputs (R, ...) of the listed (coset, sample) pairs, moved by every element of their cosets."""
    entered = torch.full((measure.cosets * measure.samples,), -1).index_copy(0, rows, torch.arange(rows.shape[0]))
    which, sample = (measure.weights > 0).nonzero().unbind(1)
    there = outputs[entered[which // measure.size * measure.samples + sample]]
    moved = act(tree_map(lambda leaf: leaf[which, sample], measure.elements), there)
    if measure.permutations is not None and at.points == moved.shape[1] and moved.dim() > 2:
        moved = gather_points(torch.argsort(measure.permutations[which, sample], -1), moved)
    share = measure.weights[which, sample].to(moved.dtype)
    total = moved.new_zeros(measure.samples, *moved.shape[1:])
    return total.index_add(0, sample, moved * share.reshape(-1, *(1,) * (moved.dim() - 1)))


@torch.no_grad()
def calls(wrapped: Symmetrized, inputs: Any) -> dict[str, Any]:
    """Samples that enter the model per input, and the residual of a quadrature."""
    _, stats = wrapped(**inputs, return_stats=True) if isinstance(inputs, dict) else wrapped(inputs, return_stats=True)
    return {"samples": stats.samples / len(stats.order), "residual": stats.residual}
