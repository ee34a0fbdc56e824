"""Continuous symmetries of a function from its derivatives: the fields along which it does not change, or changes by a field of its own.

Every sample gives one equation for the unknown field, ∇f(x) . V(x) = 0, or J V(x) = U(f(x)). Directions are found on one half of the
samples and judged on the other.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..errors import InputError, explain
from .fields import Linear, family
from .generators_result import Generators
from .generators_rows import Equations, Samples, collect
from .generators_units import unitless
from .generators_verdict import Spectrum, judge

HELD = 2000
"""The largest number of held-out samples that directions are judged on."""

REFIT = 600
"""Families of at most this size are fitted to all samples in the end."""

ROOM = 1.5
"""Equations for each unknown, at least."""

TINY = 1e-120
"""Gradients below this, or above its inverse, cannot be squared."""

WIDE = 1000
"""Beyond this size the lowest directions are found by inverse iteration, where they stand apart."""

OFF = 1e-5
"""Data that spans a direction by a smaller share than this does not span it."""


@dataclass(frozen=True)
class Options:
    """How strict the search is; see :func:`generators`."""

    at_most: float
    noise: float | None
    beyond: bool

    def __post_init__(self) -> None:
        given = self.at_most if self.noise is None else self.noise
        if not 0 < given < 1:
            raise InputError(
                explain(f"at_most={self.at_most}, noise={self.noise}", "shares between 0 and 1", "pass for instance at_most=0.1")
            )


def generators(
    f: Any,
    x: Any,
    *,
    basis: Any = None,
    output: Any = None,
    values: Any = None,
    at_most: float = 0.1,
    noise: float | None = None,
    beyond: bool = False,
    generator: torch.Generator | None = None,
) -> Generators:
    """The continuous symmetries of a function within a family of fields, from its derivatives at samples.

    The *change* along a field is the root mean square of ∇f . V over samples, in units of what a field of the same size would
    give that was chosen without looking at f: 0 for a symmetry, about 1 by chance. Directions are found on half of the samples;
    one counts when its change on the other half is at most ``at_most`` with two standard errors to spare, and the next
    direction changes f at least three times as much. No claim may rest on the units of coordinates: with inputs
    in units of their spread, and outputs in units of their gradients, the change may be at most three times as large as that.

    Never claimed, but listed: fields that do not move the data at all (``spurious``: the data spans too little), and fields that
    move it off its span, where a gradient is not confirmed by the data (``leaving``, unless ``beyond``).

    Args:
        f: a differentiable function of a batch, (N, *shape) -> (N,) or (N, m); or gradients (N, *shape), Jacobians (N, m, *shape).
        x: samples (N, *shape), tensor or array.
        basis: the family of fields on inputs, ``Linear()`` by default, or a tensor of matrices (b, D, D).
        output: for equivariance, the family on outputs; its fields are unknown too. None: outputs stand still.
        values: f(x), (N, m), where Jacobians are given and ``output`` is.
        at_most: the largest change that may still be called a symmetry.
        noise: the relative error of the gradients, where it is known: then 1.5 times this is the bound.
        beyond: gradients are right off the span of the data as well, as those of a law of nature are.
        generator: how samples are split; a fixed seed when left out.

    Returns:
        A :class:`Generators`, with a ``verdict``; it never raises for want of evidence.

    Raises:
        InputError: for data that is not finite, of wrong shapes, or a function without gradients.

    Reference: Moskalev et al. 2022 (LieGG), arXiv 2210.04345.

    Example:
        >>> import torch
        >>> from coset import discover
        >>> x = torch.randn(300, 3, generator=torch.Generator().manual_seed(0))
        >>> found = discover.generators(lambda x: x.square().sum(-1).sin(), x)
        >>> found.dimension, found.type.name, found.verdict
        (3, 'so(3)', 'symmetric to rounding')
    """
    options = Options(at_most, noise, beyond)
    fields, out = family(Linear() if basis is None else basis), None if output is None else family(output)
    samples = collect(f, x, values)
    reason = useless(samples)
    if reason:
        return Generators.unknown(samples, fields, out, reason)
    equations = Equations(samples, fields, out)
    order = torch.randperm(len(samples), generator=generator or torch.Generator().manual_seed(0))
    half = len(samples) // 2
    train, held = samples.some(order[:half]), samples.some(order[half:][:HELD])
    found = half * samples.jacobian.shape[1]
    if equations.size == 0 or found < ROOM * equations.size or len(held) < 10:
        given = f"{found} equations for {equations.size} unknown fields in each half"
        return Generators.unknown(samples, fields, out, f"{given}: {math.ceil(ROOM * equations.size)} are needed", equations)
    grams = [equations.gram(train), equations.gram(samples.some(order[half:])) if equations.size <= REFIT else None]
    spectrum, c = _spectrum(equations, grams[0], held, options)  # type: ignore[arg-type]
    claim = judge(spectrum, samples.eps, options.at_most, options.noise)
    if claim.number and grams[1] is not None:
        c = torch.linalg.eigh(grams[0] + grams[1])[1].mT  # type: ignore[operator]
    inside, leaving = _inside(equations, samples, c[: claim.number], options.beyond)
    return Generators.build(samples, equations, spectrum, claim, inside, leaving)


def useless(samples: Samples) -> str:
    """Why nothing can be told; empty where something can."""
    if len(samples) < 4:
        return f"{len(samples)} samples"
    steepest = float(samples.jacobian.abs().max())
    if steepest == 0.0:
        return "the gradients vanish at every sample: a constant has every symmetry"
    if not TINY < steepest < 1 / TINY or float(samples.x.abs().max()) > 1 / TINY:
        return f"numbers beyond what squares in double precision hold: gradients up to {steepest:.1e}"
    if float((samples.x - samples.x[:1]).abs().max()) == 0.0:
        return "all samples are equal"
    return ""


def _spectrum(equations: Equations, gram: Tensor, held: Samples, options: Options) -> tuple[Spectrum, Tensor]:
    """Directions of the first half by their change, and the change of the promising ones on the second."""
    ceiling = options.at_most if options.noise is None else 1.5 * options.noise
    eigen, c = lowest(gram, (3 * ceiling) ** 2)
    values = eigen.clamp_min(0).sqrt()
    few = max(2, int((values < 3 * ceiling).sum()) + 1)
    squares = equations.changes(held, c[:few])
    mean = squares.mean(0)
    stderr = squares.std(0) / math.sqrt(len(held))
    return Spectrum(values, mean.sqrt(), stderr, len(held), unitless(equations, held, c[:few], mean.sqrt())), c


def lowest(gram: Tensor, cut: float) -> tuple[Tensor, Tensor]:
    """All eigenvalues, rising, and eigenvectors (rows), at least of those below ``cut`` where a wide gap sets them apart."""
    if len(gram) > WIDE:
        values = torch.linalg.eigvalsh(gram)
        count = int((values < cut).sum())
        shift = 1e-12 * float(values[-1])
        if 0 < count < len(gram):
            ratio = (max(float(values[count - 1]), 0.0) + shift) / (float(values[count]) + shift)
            steps = math.ceil(math.log(1e-15) / math.log(ratio)) if ratio < 1 else WIDE
            if steps <= 3:
                return values, _inverse_iteration(gram, count, shift, max(steps, 2))
    values, vectors = torch.linalg.eigh(gram)
    return values, vectors.mT


def _inverse_iteration(gram: Tensor, count: int, shift: float, steps: int) -> Tensor:
    """The lowest eigenvectors (rows), in rising order."""
    factor = torch.linalg.cholesky(gram + 10 * shift * torch.eye(len(gram), dtype=gram.dtype))
    block = torch.randn(len(gram), count, generator=torch.Generator().manual_seed(0), dtype=gram.dtype)
    for _ in range(steps):
        block = torch.linalg.qr(torch.cholesky_solve(block, factor))[0]
    turn = torch.linalg.eigh(block.mT @ gram @ block)[1]
    return (block @ turn).mT


def _inside(equations: Equations, samples: Samples, c: Tensor, beyond: bool) -> tuple[Tensor, Tensor]:
    """Coordinates of claimed directions that keep the data within its span, and of those that leave it."""
    into = equations.into
    centred = samples.x - samples.x.mean(0)
    values, axes = torch.linalg.eigh(centred.mT @ centred)
    off = axes[:, values <= (OFF**2) * values[-1]]
    if beyond or not len(c) or not off.shape[1]:
        return c, c[:0]
    part = samples.some(torch.linspace(0, len(samples) - 1, min(len(samples), 500)).long())
    rows = into.rows(off.mT.expand(len(part), -1, -1), part.x) @ c[:, : into.size].mT
    size = into.rows(torch.eye(samples.x.shape[1], dtype=torch.float64).expand(len(part), -1, -1), part.x) @ c[:, : into.size].mT
    motion = torch.einsum("nmk,nml->kl", size, size)
    scale = motion.diagonal().clamp_min(1e-300).rsqrt()
    share, mix = torch.linalg.eigh(torch.einsum("nmk,nml->kl", rows, rows) * scale[:, None] * scale)
    mixed = mix.mT @ (scale[:, None] * c)
    cut = 1e-4 if len(samples) > samples.x.shape[1] else 0.999  # few samples span little: only what is wholly outside is known to leave
    return mixed[share < cut], mixed[share >= cut]
