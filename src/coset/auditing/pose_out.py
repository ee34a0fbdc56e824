"""Leave-one-pose-out error: what a kernel, or an architecture's features, predicts for a pose of a sample that it has not seen.

Reference: Perin and Deny 2024, arXiv 2412.11521.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..errors import InputError, describe, explain
from ..tree import Tree
from .data_inputs import Observed, table
from .data_poses import Poses
from .kernel_ridge import RIDGES, gaussian, median_distance

MOST = 1500
"""At most so many poses of samples are in one kernel matrix."""
JITTER, UNITS = 1e-10, 4
"""Added to the diagonal, in units of its mean: the limit of no ridge, for matrices without an inverse too. In single precision it has to
cover their rounding: so many rounding units for each row."""


@dataclass(frozen=True)
class PoseOut:
    """The error on a pose that was left out, all others being known.

    Attributes:
        error: mean square, in units of the variance of the targets; 0 for kernels that do not see poses.
        wrong: the share that is put in another class; None where targets are numbers.
        by_class: the share or the error for each class; empty where targets are numbers.
        by_pose: the same for each pose of the group, in the order of its elements, the first as given; empty for sampled ones.
        samples: how many samples were used.
        kernel: of what.
    """

    error: float
    wrong: float | None
    by_class: dict[Any, float]
    by_pose: tuple[float, ...]
    samples: int
    kernel: str


Kernel = Callable[[Tree, Tree], Tensor]


def gaussian_kernel(x: Tree, other: Tree) -> Tensor:
    """A Gaussian of the median distance of the first argument."""
    a, b = table(x).to(torch.float64), table(other).to(torch.float64)
    return gaussian(a, b, median_distance(a))


def left_out(kernel: Tensor, y: Tensor) -> Tensor:
    """y_i minus what all others predict for it: [K^-1 y]_i / [K^-1]_ii.

    Args:
        kernel: (N, N), positive definite; a small multiple of the identity is added.
        y: (N, q).

    Example:
        >>> import torch
        >>> left_out(torch.eye(2), torch.ones(2, 1)).flatten().tolist()
        [1.0, 1.0]
    """
    jitter = max(JITTER, UNITS * len(kernel) * torch.finfo(kernel.dtype).eps if kernel.is_floating_point() else 0.0)
    kernel = kernel.to(torch.float64)
    ridge = jitter * kernel.diagonal().mean()
    inverse = torch.linalg.inv(kernel + ridge * torch.eye(len(kernel), dtype=torch.float64, device=kernel.device))
    return (inverse @ y.to(torch.float64)) / inverse.diagonal()[:, None]


def least_left_out(kernel: Tensor, y: Tensor) -> Tensor:
    """The same with the ridge that makes it least: noise in the targets is then smoothed, not interpolated."""
    values, vectors = torch.linalg.eigh(kernel.to(torch.float64))
    values, rotated, found = values.clamp_min(0.0), vectors.mT @ y.to(torch.float64), []
    for ridge in (JITTER, *RIDGES):
        shrunk = vectors / (values + ridge * kernel.diagonal().mean())
        found.append((shrunk @ rotated) / (shrunk * vectors).sum(1, keepdim=True))
    return min(found, key=lambda missed: float(missed.square().mean()))


def pose_out(seen: Observed, poses: Poses, kernel: Kernel | None, generator: torch.Generator) -> PoseOut:
    """Leave out every pose of every sample in turn; targets are moved along.

    Raises:
        InputError: when the kernel gives no square matrix of finite numbers.
    """
    few = torch.randperm(seen.count, generator=generator)[: max(2, MOST // poses.count)].sort().values.to(seen.device)
    x, y = poses.move(seen, few)
    made = (gaussian_kernel if kernel is None else kernel)(x, x)
    total = len(few) * poses.count
    if not isinstance(made, Tensor) or made.shape != (total, total) or not bool(torch.isfinite(made).all()):
        wanted = f"finite numbers ({total}, {total})"
        raise InputError(explain(f"a kernel that gives {describe(made)}", wanted, "return k(x, x') of all pairs"))
    values = seen.value_of(y)  # type: ignore[arg-type]
    values = values - values.mean(0)
    missed = (least_left_out if kernel is None else left_out)(made.detach(), values)
    size = missed.square().sum(1) / values.square().sum(1).mean().clamp_min(1e-300)
    wrong, by_class = None, {}
    if seen.classes is not None and isinstance(y, Tensor):
        wrong = ((values - missed + seen.values.mean(0)).argmax(1) != y).to(torch.float64)
        by_class = {name: float(wrong[y == i].mean()) for i, name in enumerate(seen.classes) if i in y}
    told = size if wrong is None else wrong
    by_pose = tuple(told.unflatten(0, (-1, poses.count)).mean(0).tolist()) if poses.whole else ()
    share = None if wrong is None else float(wrong.mean())
    name = "a Gaussian of median width and the best ridge" if kernel is None else getattr(kernel, "__name__", type(kernel).__name__)
    return PoseOut(float(size.mean()), share, by_class, by_pose, len(few), name)
