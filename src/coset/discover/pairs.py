"""The last test of a group that a cross-moment suggests: are moved pairs of inputs and outputs as likely as the pairs themselves?"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ..actions.signature import Signature
from ..auditing.data_features import embeddings
from ..auditing.data_inputs import Observed, observe, table
from ..auditing.data_poses import Poses, draw_poses
from ..auditing.randomization import Randomization, randomization
from ..errors import CosetError
from ..groups.maps import identity_map

STRICT = 0.05
"""The level: a true symmetry stays unclaimed once in twenty times, so that a small break is seen more often."""
POSES, DRAWS, MOST, WIDE, FAR = 16, 499, 2000, 512, 9_157_220_483
"""Elements per sample, randomized data sets, samples and products at most; what is added to seeds, which data may have been drawn with."""


def pairs_test(x: Tensor, y: Tensor, signature: Signature, seed: int) -> Randomization | None:
    """Test that the law of (x, y) is invariant, by randomization; None for actions that do not take the samples or are not compact.

    Two tests, and twice the smaller p-value: a kernel of pairs, which sees any difference that is large enough, and products of
    outputs with squares and products of inputs, which see small ones that a linear statistic is blind to.

    Args:
        x: (N, n) inputs.
        y: (N,) or (N, m) outputs.
        signature: the symmetry.
        seed: of the random elements.
    """
    generator = torch.Generator().manual_seed(FAR + seed)
    try:
        seen = observe(x[:MOST], y[:MOST], signature)
        poses = draw_poses(seen, identity_map(seen.group), POSES, generator)
        pairs = embeddings(seen, poses, generator).pairs
    except CosetError:
        return None
    if pairs is None or poses.count < 2:
        return None
    found = [randomization(features, DRAWS, STRICT, generator) for features in (pairs, products(seen, poses, generator))]
    best = min(found, key=lambda one: one.p_value)
    return replace(best, p_value=min(1.0, 2 * best.p_value))


def products(seen: Observed, poses: Poses, generator: torch.Generator) -> Tensor:
    """(N, S, q) outputs times products of two inputs, in every pose; centre and scale are those of all poses together."""
    x, y = poses.move(seen, torch.arange(seen.count, device=seen.device))
    inputs, outputs = (_standard(rows.to(torch.float32)) for rows in (table(x), seen.value_of(y)))  # type: ignore[arg-type]
    first, second = torch.triu_indices(inputs.shape[1], inputs.shape[1], device=inputs.device)
    pairs = torch.cartesian_prod(torch.arange(len(first)), torch.arange(outputs.shape[1]))
    chosen = pairs[torch.randperm(len(pairs), generator=generator)[:WIDE].sort().values].to(inputs.device)
    one, two = first[chosen[:, 0]], second[chosen[:, 0]]
    return (inputs[:, one] * inputs[:, two] * outputs[:, chosen[:, 1]]).unflatten(0, (-1, poses.count))


def _standard(rows: Tensor) -> Tensor:
    apart = rows - rows.mean(0)
    return apart / apart.square().mean(0).sqrt().clamp_min(1e-30)
