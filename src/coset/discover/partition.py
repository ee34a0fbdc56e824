"""Partitions of parameters into classes that share one value, and the distance between two of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError, describe, explain


def canonical(labels: Any) -> Tensor:
    """Labels renumbered 0, 1, ... in the order of their first appearance, in any shape, on the host.

    Args:
        labels: integers of any shape; equal integers share a value.

    Raises:
        InputError: when there are none, or they are not integers.

    Example:
        >>> from coset.discover.partition import canonical
        >>> canonical([[7, 3], [3, 7]]).tolist()
        [[0, 1], [1, 0]]
    """
    try:
        given = labels.detach().cpu() if isinstance(labels, Tensor) else torch.from_numpy(np.array(labels))
    except (TypeError, ValueError) as error:
        raise InputError(explain(describe(labels), "integer labels", "pass one integer for each parameter")) from error
    if given.is_floating_point() or given.is_complex() or not given.numel():
        raise InputError(explain(describe(given), "at least one integer label", "pass one integer for each parameter"))
    found, which = given.reshape(-1).unique(return_inverse=True)
    first = torch.full((len(found),), given.numel()).scatter_reduce(0, which, torch.arange(given.numel()), "amin")
    return first.argsort().argsort()[which].reshape(given.shape)


def counts(labels: Tensor) -> Tensor:
    """(r,) how many parameters every class of canonical labels has."""
    return labels.reshape(-1).bincount()


def indicator(labels: Tensor) -> Tensor:
    """(p, r) float64: which parameter is in which class; the A of theta = A psi."""
    return torch.nn.functional.one_hot(labels.reshape(-1)).double()


def partition_distance(a: Any, b: Any) -> int:
    """How many parameters have to change their class before two partitions agree.

    K - max over matchings of classes of sum |C_i and D_j|, exactly. It is a metric, at most K - 1.

    Args:
        a: labels of K parameters, of any shape.
        b: other labels of the same parameters, in the same shape.

    Raises:
        InputError: when the shapes differ, or labels are not integers.

    Reference: Yeh et al. 2022, arXiv 2204.03640; Gusfield 2002 (the matching).

    Example:
        >>> from coset import discover
        >>> discover.partition_distance([0, 0, 1, 1], [5, 5, 5, 2])
        1
    """
    a, b = canonical(a), canonical(b)
    if a.shape != b.shape:
        raise InputError(
            explain(f"labels of shapes {tuple(a.shape)} and {tuple(b.shape)}", "labels of the same parameters", "reshape one of them")
        )
    rows, columns = int(a.max()) + 1, int(b.max()) + 1
    common = (a * columns + b).reshape(-1).bincount(minlength=rows * columns).reshape(rows, columns)
    return a.numel() - heaviest_matching(common.numpy())


def heaviest_matching(weights: Any) -> int:
    """The largest sum of entries of an integer matrix, no two of them in one row or column."""
    try:
        from scipy.optimize import linear_sum_assignment
    except ImportError:
        return int(shortest_paths(weights))
    rows, columns = linear_sum_assignment(weights, maximize=True)
    return int(weights[rows, columns].sum())


def shortest_paths(weights: Any) -> int:
    """The same without scipy: one shortest augmenting path for every row (Kuhn 1955, Jonker and Volgenant 1987)."""
    cost = -np.asarray(weights if len(weights) <= len(weights[0]) else np.transpose(weights)).astype(np.int64)
    n, m = cost.shape
    u, v, match = np.zeros(n + 1, dtype=np.int64), np.zeros(m + 1, dtype=np.int64), np.full(m + 1, n)
    for row in range(n):
        match[m], here = row, m
        least, back = np.full(m + 1, np.iinfo(np.int64).max), np.full(m + 1, m)
        used = np.zeros(m + 1, dtype=bool)
        while match[here] != n:
            used[here] = True
            slack = cost[match[here]] - u[match[here]] - v[:m]
            better = ~used[:m] & (slack < least[:m])
            least[:m][better], back[:m][better] = slack[better], here
            step = np.where(used[:m], np.iinfo(np.int64).max, least[:m])
            next_ = int(step.argmin())
            delta = step[next_]
            u[match[used]] += delta
            v[used] -= delta
            least[:m][~used[:m]] -= delta
            here = next_
        while here != m:
            match[here], here = match[back[here]], back[here]
    return int(-sum(cost[match[j], j] for j in range(m) if match[j] < n))
