"""The linear maps that a candidate group leaves alone: orbits of entries for permutations, null spaces for other representations."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..actions.base import Action
from ..actions.signature import Signature
from ..actions.still import Trivial
from ..errors import CosetError, GroupError, describe, explain
from ..groups.base import Group
from ..groups.symmetric import Symmetric
from ..tree import Tree, first, tree_map
from .automorphisms import signature
from .partition import canonical, indicator
from .permutations import Permutations, checked

LISTED, DRAWN = 256, 64
"""Groups up to this order are listed; of larger ones this many random elements more than needed stand for all of them."""
NULL = 1e-8
"""Singular values below this count as zero."""


@dataclass(frozen=True)
class Invariant:
    """The subspace of a statistic that a group leaves alone.

    Attributes:
        labels: (p,) orbits of the entries; None where the group does not permute them.
        basis: (p, r) the subspace.
        signature: builds the type of the maps.
        sources: representation of some elements on the columns, (k, n, n), for the check of the inputs.
    """

    labels: Tensor | None
    basis: Tensor
    signature: Callable[[], Signature]
    sources: Tensor


def orbits(generators: Tensor) -> Tensor:
    """(N,) canonical labels of the orbits of permutations (k, N): the least member of every set is passed on until all agree."""
    label = torch.arange(generators.shape[1])
    while len(generators):
        new = torch.minimum(label, label[generators].amin(0))
        new = new.scatter_reduce(0, generators.reshape(-1), new.repeat(len(generators)), "amin")
        new = new[new]
        if torch.equal(new, label):
            break
        label = new
    return canonical(label)


def invariant(name: str, candidate: Any, shape: tuple[int, ...]) -> Invariant:
    """The subspace of one candidate: a signature, an action, a permutation group or permutation generators.

    Raises:
        GroupError: when the candidate is none of these, or of another degree than the statistic.
    """
    wanted = candidate
    if not isinstance(wanted, (Signature, Action, Group)):
        wanted = Permutations(_generators(name, candidate))
    if isinstance(wanted, Group):
        wanted = _of_group(name, wanted, shape)
    elif isinstance(wanted, Action):
        if len(shape) == 2 and shape[0] != shape[1]:
            raise _wrong(name, wanted, shape, "pass a signature source >> target")
        wanted = wanted >> (wanted if len(shape) == 2 else Trivial(wanted.group))
    rows, columns = (1, shape[0]) if len(shape) == 1 else shape
    elements = generating(wanted.group)
    try:
        into, out = (represented(side, elements, size) for side, size in ((wanted.source, columns), (wanted.target, rows)))
    except (CosetError, RuntimeError, IndexError) as error:
        raise _wrong(name, wanted, shape, "pass a group of that degree") from error
    return Invariant(*common(into, out), partial(_itself, wanted), into)


def _itself(wanted: Signature) -> Signature:
    return wanted


def common(into: Tensor, out: Tensor) -> tuple[Tensor | None, Tensor]:
    """Orbits (where there are some) and basis of the maps W, flat, with out W = W into for every pair of matrices."""
    if _permutes(into) and _permutes(out):
        p, q = into.argmax(1), out.argmax(1)  # column j of a permutation matrix holds its one in row p[j]
        cells = (q[:, :, None] * into.shape[-1] + p[:, None, :]).flatten(1)
        labels = orbits(cells.unique(dim=0) if len(cells) > 1 else cells)
        return labels, indicator(labels)
    n, m = into.shape[-1], out.shape[-1]
    unit_n, unit_m = (torch.eye(size, dtype=torch.float64) for size in (n, m))
    gram = torch.zeros(m * n, m * n, dtype=torch.float64)
    for a, b in zip(into, out, strict=True):
        row = torch.kron(b, unit_n) - torch.kron(unit_m, a.mT.contiguous())
        gram += row.mT @ row / len(into)
    values, vectors = torch.linalg.eigh(gram)
    return None, vectors[:, values < NULL]


def represented(action: Action, elements: Tree, size: int) -> Tensor:
    """(k, size, size) float64 matrices of elements (k, ...) on vectors of a length.

    Raises:
        GroupError: when the action is not linear on such vectors.
    """
    count = len(first(elements))
    vectors = torch.eye(size, dtype=torch.float64)
    degree = _degree(action.group, elements)
    if action.permuted and degree is not None and not hasattr(action, "homomorphism") and degree != size:
        raise GroupError(explain(f"permutations of {degree} things", f"{size} of them", "use a group of that degree"))
    spread = torch.arange(count).repeat_interleave(size)
    action.check(vectors)
    moved = action.act(tree_map(lambda leaf: leaf[spread], elements), vectors.repeat(count, 1))
    origin = action.act(elements, torch.zeros(count, size, dtype=torch.float64))
    if moved.shape != (count * size, size) or float(origin.abs().max()) > 0:
        raise GroupError(explain(f"{action}", "a linear action on one axis", "pass actions of vectors (B, n)"))
    return moved.reshape(count, size, size).mT.double().contiguous()


def generating(group: Group) -> Tree:
    """Elements that generate a group, or so many random ones that they do but for a chance below 2^-64."""
    given = getattr(group, "generators", None)
    if isinstance(given, Tensor):
        return given if len(given) else group.identity(1)
    if type(group) is Symmetric and group.n and group.n > 2:
        swap, turn = torch.arange(group.n), torch.arange(group.n).roll(-1)
        swap[:2] = torch.tensor([1, 0])
        return torch.stack([swap, turn])
    if group.finite and group.order <= LISTED:
        return group.elements(dtype=torch.float64)
    count = DRAWN + (2 * math.ceil(math.log2(group.order)) if group.finite else 0)
    return group.sample(count, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def _degree(group: Group, elements: Tree) -> int | None:
    permutation = group.permutation(elements) if group.permutes else None
    return None if permutation is None else int(permutation.shape[-1])


def _of_group(name: str, group: Group, shape: tuple[int, ...]) -> Signature:
    """The maps of a shape under a permutation group: (n,) and (n, n) of degree n, (m, n) of degree m + n."""
    degree = shape[0] if len(shape) == 1 or shape[0] == shape[1] else sum(shape)
    if not group.permutes or group.dim is not None:
        raise _wrong(name, group, shape, "pass the signature source >> target, which says how the group acts")
    group = group.at(degree) if getattr(group, "n", degree) in (None, degree) else group
    if _degree(group, group.identity(1)) != degree:
        raise _wrong(name, group, shape, f"pass permutations of {degree} things")
    return signature(group, shape)  # type: ignore[arg-type]


def _generators(name: str, given: Any) -> Tensor:
    try:
        return checked(given)
    except GroupError as error:
        raise GroupError(
            explain(
                f"candidate {name!r}: {describe(given)}; {error}",
                "a signature source >> target, an action, a permutation group, or permutations (k, n)",
                "declare how the group acts",
            )
        ) from error


def _wrong(name: str, candidate: Any, shape: tuple[int, ...], remedy: str) -> GroupError:
    return GroupError(
        explain(f"candidate {name!r}: {candidate}, for a statistic of shape {shape}", "a group that moves that shape", remedy)
    )


def _permutes(matrices: Tensor) -> bool:
    """Whether all matrices are permutation matrices."""
    ones = (matrices == 1).sum((1, 2)) == matrices.shape[-1]
    return bool((ones & ((matrices == 1) | (matrices == 0)).all(2).all(1)).all()) and bool((matrices.sum(1) == 1).all())
