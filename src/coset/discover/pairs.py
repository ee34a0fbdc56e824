"""The last test of a group that a cross-moment suggests: are moved pairs of inputs and outputs as likely as the pairs themselves?"""

from __future__ import annotations

import torch
from torch import Tensor

from ..actions.signature import Signature
from ..auditing.data_features import embeddings
from ..auditing.data_inputs import observe
from ..auditing.data_poses import draw_poses
from ..auditing.randomization import Randomization, randomization
from ..errors import CosetError
from ..groups.maps import identity_map
from .results import LEVEL

POSES, DRAWS, MOST, FAR = 16, 499, 2000, 9_157_220_483
"""Elements per sample, randomized data sets, samples at most, and what is added to seeds, which data may have been drawn with."""


def pairs_test(x: Tensor, y: Tensor, signature: Signature, seed: int) -> Randomization | None:
    """Test that the law of (x, y) is invariant, by randomization; None for actions that do not take the samples or are not compact.

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
    return None if pairs is None or poses.count < 2 else randomization(pairs, DRAWS, LEVEL, generator)
