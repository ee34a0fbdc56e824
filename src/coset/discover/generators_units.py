"""What directions change in units that do not depend on how inputs and outputs are scaled: a claim must hold in these as well.

A coordinate in large units has small gradients: fields that move nothing else change any function little, in the units given. So
inputs are also taken in units of their spread (whitened), and every output in units of its own gradient.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .generators_rows import Equations, Samples

SEEN = 200
"""The largest number of samples looked at."""

EXACT = 1e-9
"""Changes below this do not depend on units."""

FLAT, STILL = 1e-5, 1e-4
"""The least spread of inputs, and the least gradient of an output, relative to the largest."""


def unitless(equations: Equations, samples: Samples, c: Tensor, held: Tensor) -> Tensor:
    """(k,) the change along fields with coordinates c (k, size), inputs whitened, outputs alike; ``held`` where that is tiny."""
    changes = held.clone()
    chosen = torch.nonzero(held > EXACT).flatten()
    if not len(chosen):
        return changes
    samples = samples.some(torch.arange(min(len(samples), SEEN)))
    fields = equations.into.fields
    parts = fields.split(samples.x)
    centred = (parts - parts.mean((0, 1))).flatten(0, 1)
    values, axes = torch.linalg.eigh(centred.mT @ centred / len(centred))
    spread = values.clamp_min(0).sqrt()
    spread = spread.clamp_min(max(FLAT * float(spread[-1]), 1e-300))
    slopes = fields.split(samples.jacobian)
    size = ((slopes @ axes) * spread).square().sum((2, 3)).mean(0).div(samples.x.shape[1]).sqrt()
    weight = size.clamp_min(max(STILL * float(size.max()), 1e-300)).reciprocal()
    into, out = equations.matrices(c[chosen])
    phi = fields.features(parts)
    for place, number in enumerate(chosen.tolist()):
        velocity = phi @ into[place].mT
        change = torch.einsum("nmcp,ncp->nm", slopes, velocity)
        chance = len(size) * ((velocity @ axes) / spread).square().sum((1, 2)).mean()
        if out is not None and equations.out is not None and samples.values is not None:
            family = equations.out.fields
            values = family.split(samples.values)
            moved = (family.features(values) @ out[place].mT).flatten(1)
            change, chance = change - moved, chance + (moved * weight).square().sum(1).mean()
        changes[number] = ((change * weight).square().sum(1).mean() / chance.clamp_min(1e-300)).sqrt()
    return changes
