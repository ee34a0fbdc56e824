"""Two networks of one architecture, channel by channel: the second reordered so that its channels correspond to the first's."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from ..auditing.running import evaluation
from ..errors import InputError, explain
from .channels import channels, places
from .matching import Correlation, assign
from .recording import Recorder, reordered

CHUNK = 128


def align_channels(model: nn.Module, like: nn.Module, inputs: Tensor, *, chunk: int = CHUNK) -> nn.Module:
    """A copy of a network, computing the same, with its hidden channels in the order of another's.

    Channels are matched by their correlations over samples and positions, after the nonlinearities.

    Args:
        model: the network to reorder.
        like: the network whose order it takes, of the same architecture.
        inputs: (B, …) a sample of what they are used on.
        chunk: inputs at a time.

    Raises:
        InputError: for networks that cannot be traced, and for different architectures.
        MissingExtraError: without SciPy.

    Reference: Ainsworth et al. 2023, arXiv 2209.04836, activation matching.

    Example:
        >>> import torch
        >>> from coset import discover
        >>> _ = torch.manual_seed(0)
        >>> a = torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.ReLU(), torch.nn.Linear(6, 2))
        >>> b = torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.ReLU(), torch.nn.Linear(6, 2))
        >>> x = torch.randn(100, 4)
        >>> torch.allclose(discover.align_channels(b, a, x)(x), b(x), atol=1e-6)
        True
    """
    ours, theirs = (channels(net, inputs[:2]) for net in (model, like))
    sizes = [{name: len(block) for name, block in found.blocks.items()} for found in (ours, theirs)]
    if sizes[0] != sizes[1]:
        raise InputError(explain(f"networks with channels {sizes[0]} and {sizes[1]}", "one architecture", "align networks of one class"))
    sums = {name: Correlation(len(block)) for name, block in ours.blocks.items()}
    with evaluation(model), evaluation(like), torch.no_grad():
        for part in inputs.split(chunk):
            a, b = (Recorder(found).record(part).kept for found in (theirs, ours))
            for key, block in ours.blocks.items():
                for name, ids in ours.nodes.items():
                    at = places(ids, block)
                    if at is not None:
                        sums[key].add(a[name][:, at], b[name][:, at])
    order = torch.arange(ours.count)
    for key, block in ours.blocks.items():
        order[block] = block[assign(sums[key].matrix())]
    twin = copy.deepcopy(model)
    twin.load_state_dict(reordered(model.state_dict(), ours, order))
    return twin
