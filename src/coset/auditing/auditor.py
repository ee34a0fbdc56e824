"""``audit``: check the declared actions, then measure how far a model is from the symmetry that it should have."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch

from ..actions.signature import Signature
from ..errors import InputError, explain
from ..tree import Tree, leaves
from .continuity import continuity as find_jumps
from .elements import draw
from .inputs import CHUNK, prepare, suspicious
from .laws import Laws, Side, State, check_side, floating
from .layers import layer_growth
from .lie import LieError, lie_error
from .norms import difference, named_leaves, squares
from .order import SMALL, declared_unordered, point_order
from .report import Report
from .running import Runner, evaluation, module_of, observations
from .search import worst
from .sweep import Batch, Estimate, Sweep, estimate, sweep

LAW_INPUTS = 8
LAW_PAIRS = 8


def audit(
    model: Callable[..., Any],
    signature: Signature,
    inputs: Tree,
    *,
    samples: int = 32,
    generator: torch.Generator | None = None,
    layers: bool = True,
    lie: bool = True,
    ascend: bool = True,
    continuity: bool = True,
    chunk: int = CHUNK,
) -> Report:
    """Measure how equivariant a model is, after checking that the declared symmetry is one.

    The error is the mean over inputs x and elements g of ||f(gx) - g f(x)|| / RMS ||f||, with one norm per sample and
    the root mean square over the batch; of several outputs the largest counts. The model runs in evaluation mode on
    copies of the inputs; modes, gradients and random states are put back, also when it raises.

    Args:
        model: any callable; a ``Dict`` source is passed by keyword, a ``Tuple`` by position, else one argument.
        signature: ``source >> target``.
        inputs: a batch for the source: tensors with one leading batch axis, or NumPy arrays.
        samples: group elements per input; a finite group of at most that order is used whole.
        generator: source of randomness; a fixed seed when left out, so that audits repeat.
        layers: follow the difference through the layers.
        lie: measure the Lie-derivative error, for Lie groups.
        ascend: improve the worst element by gradient ascent, for Lie groups.
        continuity: look for jumps of the output, along at most 16 paths and with less than 4,200 samples.
        chunk: the largest number of samples that enter the model at once.

    Returns:
        A :class:`Report`, to print, to save with ``to_html`` and ``to_json``, and to ask ``passed(bound)``.

    Raises:
        InputError: for bad inputs: empty, not finite, mixed devices or dtypes, wrong shapes.
        SignatureError: when the signature does not describe the inputs or the model's output.

    Example:
        >>> import torch, coset
        >>> from coset import actions, groups
        >>> G = groups.SpecialOrthogonal(2)
        >>> report = coset.audit(lambda x: 2 * x, actions.Vectors(G) >> actions.Vectors(G), torch.randn(8, 2))
        >>> report.passed(1e-5)
        True
    """
    if samples < 1:
        raise InputError(explain(f"samples={samples}", "at least one element per input", "pass samples=32"))
    notes: list[str] = []
    batch = prepare(model, signature, inputs, chunk, notes)
    notes += observations(model) + suspicious(signature, batch.x)
    generator = generator or torch.Generator().manual_seed(0)
    with evaluation(model):
        return _measure(Runner(model, signature), batch, samples, generator, notes, Wanted(layers, lie, ascend, continuity))


class Wanted(NamedTuple):
    """The parts of an audit that can be left out."""

    layers: bool
    lie: bool
    ascend: bool
    continuity: bool


def _measure(runner: Runner, batch: Batch, samples: int, generator: torch.Generator, notes: list[str], wanted: Wanted) -> Report:
    """The actions first, then the model, part by part."""
    laws = _check_actions(runner, batch, _child(generator))
    noise = _noise(runner, batch, notes)
    drawn = draw(batch.group, batch.at.samples, samples, generator, floating(batch.x))
    found = sweep(runner, batch, drawn, _same)
    components = _components(runner, batch, samples, generator)
    element, random, at_input, how = worst(runner, batch, found, generator, wanted.ascend)
    lie_found = lie_error(runner, batch) if wanted.lie else LieError(None, "not asked for")
    growth, left_out = layer_growth(runner, batch, found) if wanted.layers else ([], "not asked for")
    order = point_order(runner, batch, _child(generator))
    jumps = find_jumps(runner, batch, _child(generator)) if wanted.continuity else None
    failures = _order(runner, order) + laws.failures() + _nothing_moves(laws, batch, notes) + _not_finite(found)
    return Report(
        **_names(runner, batch),
        **_errors(found),
        worst=element,
        worst_random=random,
        worst_input=at_input,
        worst_found_by=how,
        floor=max(laws.floor("input"), laws.floor("output")),
        action_error=laws.error,
        laws=laws.checks,
        components=components,
        point_order=order,
        continuity=jumps,
        lie=lie_found.value,
        lie_how=lie_found.how,
        layers=growth,
        layers_how=left_out,
        noise=noise,
        notes=notes + _facts(runner, batch, found),
        failures=failures,
    )


def _errors(found: Sweep) -> dict[str, Any]:
    """The statistics of one sweep over inputs and elements."""
    total, whole = found.total(), found.draw.exhaustive
    mean = estimate(total, whole)
    return {
        "error": float(mean),
        "stderr": mean.stderr,
        "quantiles": {q: float(total.flatten().quantile(q)) for q in (0.5, 0.9, 0.99, 1.0)},
        "outputs": {_short(name): estimate(e, whole) for name, e in found.relative().items()},
        "samples": found.draw.count,
        "exhaustive": whole,
        "sizes": found.sizes.flatten().tolist(),
        "size_unit": found.unit,
        "errors": total.flatten().tolist(),
    }


def _same(g: Tree) -> Tree:
    return g


def _names(runner: Runner, batch: Batch) -> dict[str, Any]:
    module = module_of(runner.model)
    name = type(runner.model).__name__ if runner.model is module else getattr(runner.model, "__qualname__", type(runner.model).__name__)
    like = floating(batch.x)
    return {
        "model": name,
        "signature": repr(runner.signature),
        "group": repr(batch.group),
        "inputs": batch.at.samples,
        "dtype": str(like.dtype).removeprefix("torch."),
        "device": str(batch.device),
        "exact": runner.source.exact and runner.target.exact,
        "eps": _eps(batch),
    }


def _child(generator: torch.Generator) -> torch.Generator:
    """A generator of its own, so that how much one step draws does not change the next."""
    seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
    return torch.Generator(generator.device).manual_seed(seed)


def _short(name: str) -> str:
    """The key of an output: ``output['a']['b']`` becomes ``a.b``; a single output keeps its name."""
    keys = re.findall(r"\['?([^'\]]+)'?\]", name)
    return ".".join(keys) or name


def _eps(batch: Batch) -> float:
    """The rounding unit of the inputs; that of float32 where they are integers."""
    like = floating(batch.x)
    return torch.finfo(like.dtype if like.is_floating_point() or like.is_complex() else torch.float32).eps


def _check_actions(runner: Runner, batch: Batch, generator: torch.Generator) -> Laws:
    """The laws of both declared actions, on a few inputs and on the model's output for them."""
    rows = torch.arange(min(batch.at.samples, LAW_INPUTS, batch.most), device=batch.device)
    x = runner.source.take(batch.x, rows, batch.at)
    at = runner.source.layout(x)
    laws = Laws()
    check_side(Side(runner.signature, State(x, at), "input"), batch.group, LAW_PAIRS, generator, laws)
    y = runner.first(x)
    check_side(Side(runner.signature, State(x, at, y), "output"), batch.group, LAW_PAIRS, generator, laws)
    return laws


def _noise(runner: Runner, batch: Batch, notes: list[str]) -> float | None:
    """How far two calls on the same inputs are apart: fresh noise is measured, and then taken out by common seeds."""
    rows = torch.arange(min(batch.at.samples, batch.most), device=batch.device)
    x = runner.source.take(batch.x, rows, batch.at)
    at = runner.source.layout(x)
    first, second, again = runner(x, 0), runner(x, 1), runner(x, 0)
    fresh, left = _spread(runner, at, first, second), _spread(runner, at, first, again)
    runner.stochastic = max(fresh, left) > 10 * _eps(batch)
    if not runner.stochastic:
        return None
    notes.append(
        f"the model is stochastic: two calls on the same input differ by {fresh:.2e}; "
        "both branches of every comparison were run with the same seed"
    )
    if left > 0:
        notes.append(
            f"seeding does not control all of its noise: {left:.2e} remains between calls with equal seeds and is part of the error"
        )
    return fresh


def _spread(runner: Runner, at: Any, a: Tree, b: Tree) -> float:
    worst_gap = 0.0
    for (_, leaf, u), (_, _, v) in zip(named_leaves(runner.target, a, "output"), named_leaves(runner.target, b, "output"), strict=True):
        scale = float(squares(u, at, leaf.event).mean().sqrt()) or 1.0
        worst_gap = max(worst_gap, float(difference(u, v, at, leaf.event).mean()) / scale)
    return worst_gap


def _components(runner: Runner, batch: Batch, samples: int, generator: torch.Generator) -> dict[str, Estimate]:
    """The error under each named subgroup, with elements of its own."""
    like = floating(batch.x)
    dtype = like.dtype if like.is_floating_point() or like.is_complex() else None
    found = {}
    for name, phi in batch.group.components().items():
        drawn = draw(phi.source, batch.at.samples, samples, generator, like)
        found[name] = estimate(sweep(runner, batch, drawn, partial(phi, dtype=dtype)).total(), drawn.exhaustive)
    return found


def _nothing_moves(laws: Laws, batch: Batch, notes: list[str]) -> list[str]:
    """A failure when no sampled element changes any input; a note for each input that stays although it is declared to move."""
    still = [name for name, rounding in laws.still.items() if name.startswith("input") and laws.moved.get(name, 0.0) <= rounding]
    if len(still) == sum(name.startswith("input") for name in laws.still):
        every = f"for every sampled element of {batch.group}"
        return [f"the declared source action leaves these inputs where they are, {every}: the audit can say nothing"]
    notes += [f"{name} is declared to move, but no sampled element changes it" for name in still]
    return []


def _order(runner: Runner, order: Estimate | None) -> list[str]:
    """A failure when a frame for unordered points wraps a model that sees their order."""
    if order is None or order <= SMALL or not declared_unordered(runner.model):
        return []
    return [
        f"the frame takes the points for an unordered set (colours=), but another order of the points changes the output by {order:.2e}: "
        "wrap a model that treats them as a set, leave colours out, or declare a group with Symmetric()"
    ]


def _not_finite(found: Sweep) -> list[str]:
    bad = [name for name, gap in found.gaps.items() if not bool(torch.isfinite(gap).all())]
    return [f"{name} contains NaN or infinite numbers" for name in bad]


def _facts(runner: Runner, batch: Batch, found: Sweep) -> list[str]:
    """What limits the meaning of the numbers."""
    said = []
    for name, norm in found.norms.items():
        if not bool(norm.any()):
            said.append(f"{name} is zero for every input: its error is absolute, and equivariance of zero says nothing")
    if batch.at.samples == 1:
        said.append("there is one input: the standard error is that over group elements alone")
    if found.draw.exhaustive:
        said.append(f"all {found.draw.count} elements of the group were used")
    if not runner.source.exact or not runner.target.exact:
        said.append("the action resamples: read the error against the floor, which is what interpolation alone does")
    if batch.most == 1:
        said.append("moved samples do not fit into one batch: the model was called once per input and element")
    return said + _constant(runner, batch)


def _constant(runner: Runner, batch: Batch) -> list[str]:
    if batch.at.samples == 1 or batch.most == 1:
        return []
    rows = torch.arange(min(batch.at.samples, batch.most), device=batch.device)
    y = runner(runner.source.take(batch.x, rows, batch.at))
    values = [t for t in leaves(y) if t.dim() and t.shape[0] == rows.numel()]
    if values and all(bool((t == t[:1]).all()) for t in values):
        return ["the output is the same for every input: a constant passes every test of invariance"]
    return []
