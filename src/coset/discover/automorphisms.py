"""The group behind a sharing pattern: the permutations that carry it to itself."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..actions.base import Action
from ..actions.indices import Permute
from ..actions.signature import Signature
from ..actions.still import Trivial
from ..actions.trees import Pullback
from ..errors import GroupError, InputError, explain
from ..frames.labelling import label_graph
from ..frames.refinement import Coloured
from ..groups.maps import Homomorphism
from ..groups.numeric import Device, Dtype, normal, place
from ..groups.symmetric import Symmetric
from .partition import canonical, counts
from .permutations import Permutations

EXACT = 10**14
"""Orders below this are exact as nauty counts them; larger ones come from the lengths of orbits."""


class Automorphisms(Permutations):
    """All permutations that leave a sharing pattern as it is.

    Shapes of the labels: (n,), permutations of n things; (n, n), of rows and columns at once; (m, n) with m != n,
    pairs (row permutation, column permutation), written as one permutation of m + n things, rows first.

    Attributes:
        shape: of the labels.
    """

    def __init__(self, generators: Any, shape: tuple[int, ...], order: int | None = None, about: float | None = None):
        super().__init__(generators, order)
        self.about = about
        self.shape = tuple(shape)

    @property
    def signature(self) -> Signature:
        """The type of linear maps with this pattern: columns are the source, rows the target; (n,) is a row, to an invariant."""
        return signature(self, self.shape)

    def parameters(self) -> tuple[Any, ...]:
        """The generators and the shape."""
        return (*super().parameters(), self.shape)


class Young(Automorphisms):
    """The permutations within classes: a product of symmetric groups, of which samples need no chain."""

    def __init__(self, labels: Tensor):
        self.labels = labels
        order = math.prod(math.factorial(int(size)) for size in counts(labels))
        super().__init__(_within(labels), tuple(labels.shape), order)

    def haar(self, *batch: int, generator: torch.Generator | None = None, dtype: Dtype = None, device: Device = None) -> Tensor:
        """Independent uniform elements: every class in a random order."""
        device = place(generator, device)
        keys = normal((*batch, self.n), generator, device).argsort(-1)
        labels = self.labels.to(keys.device)
        mixed = keys.gather(-1, labels[keys].argsort(dim=-1, stable=True))
        return torch.empty_like(mixed).scatter_(-1, labels.argsort(dim=-1, stable=True).expand_as(mixed), mixed)

    def contains(self, g: Tensor) -> Tensor:
        """Whether permutations (..., n) keep every thing in its class, of shape (...)."""
        labels = self.labels.to(g.device)
        return (labels[g] == labels).all(-1) & (g.sort(-1).values == torch.arange(self.n, device=g.device)).all(-1)


def group_of(labels: Any) -> Automorphisms:
    """The permutations that leave a sharing pattern as it is, by nauty; every generator is verified and the order exact.

    Args:
        labels: integers of shape (n,), (n, n) or (m, n). Square patterns are taken as maps of one space to itself.

    Returns:
        A finite group by generators, with ``order``, ``generators`` and ``signature``; see :class:`Automorphisms`.

    Raises:
        InputError: for other shapes.
        MissingExtraError: when nauty is needed and pynauty is not installed.

    Reference: McKay and Piperno 2014, arXiv 1301.1493.

    Example:
        >>> import torch
        >>> from coset import discover
        >>> i = torch.arange(6)
        >>> group = discover.group_of((i[:, None] - i) % 6)
        >>> group.order, group.signature.target
        (6, Permute(Automorphisms(1 generator on 6 things, order=6), -1))
    """
    labels = canonical(labels)
    if labels.dim() == 1:
        return Young(labels)
    if labels.dim() != 2:
        raise InputError(
            explain(f"labels of shape {tuple(labels.shape)}", "shape (n,), (n, n) or (m, n)", "reshape them, or flatten them to (n,)")
        )
    found = label_graph(coloured(labels))
    generators = torch.as_tensor(np.ascontiguousarray(found.generators)).reshape(-1, _points(labels))
    for g in generators:
        if not keeps(g, labels):
            raise GroupError(explain(f"the permutation {g.tolist()}", "one that keeps the pattern", "report this: nauty was misled"))
    return Automorphisms(generators, tuple(labels.shape), found.size if found.size < EXACT else None, found.magnitude)


def keeps(g: Tensor, labels: Tensor) -> bool:
    """Whether a permutation of the points of a pattern leaves it as it is."""
    if labels.dim() == 1:
        return bool((labels[g] == labels).all())
    m, n = labels.shape
    rows, columns = (g, g) if m == n else (g[:m], g[m:] - m)
    return bool((labels[rows][:, columns] == labels).all())


def coloured(labels: Tensor) -> Coloured:
    """The graph of a pattern: things and pairs of a square one, rows and columns of another one."""
    m, n = labels.shape
    table = labels.numpy()
    if m == n:
        colour = np.unique(table.diagonal(), return_inverse=True)[1].reshape(-1)
        first, second = np.nonzero(~np.eye(n, dtype=bool))
        label = table[first, second]
        directed = bool((table != table.T).any())
    else:
        colour = (np.arange(m + n) >= m).astype(np.int64)
        rows, columns = (x.reshape(-1) for x in np.indices((m, n)))
        first, second = np.concatenate([rows, columns + m]), np.concatenate([columns + m, rows])
        label, directed = np.tile(table[rows, columns], 2), False
        order = np.lexsort((second, first))
        first, second, label = first[order], second[order], label[order]
    values, label = np.unique(label, return_inverse=True)
    label = label.reshape(-1)
    if len(label) and m == n:
        common = np.bincount(label, minlength=len(values)).argmax()
        label = np.where(label == common, 0, np.where(label < common, label + 1, label))
    else:
        label = label + 1
    kept = label > 0
    return Coloured(colour.astype(np.int64), first[kept], second[kept], label[kept].astype(np.int64), directed)


def signature(group: Permutations, shape: tuple[int, ...]) -> Signature:
    """The type of linear maps of a shape, moved by a group of permutations of its points."""
    if len(shape) == 1:
        return Permute(group, -1) >> Trivial(group)
    m, n = shape
    if m == n:
        return Permute(group, -1) >> Permute(group, -1)
    return _block(group, m, n) >> _block(group, 0, m)


def _block(group: Permutations, start: int, size: int) -> Action:
    """The action on one block of the points that the group permutes."""
    into = Symmetric(size)
    return Pullback(
        Homomorphism(group, into, partial(_restricted, start, size), f"points {start} to {start + size - 1}"), Permute(into, -1)
    )


def _restricted(start: int, size: int, g: Tensor) -> Tensor:
    return g[..., start : start + size] - start


def _points(labels: Tensor) -> int:
    m, n = labels.shape
    return n if m == n else m + n


def _within(labels: Tensor) -> Tensor:
    """A transposition and a cycle for every class."""
    unit = torch.arange(len(labels))
    rows = []
    for label in range(int(labels.max()) + 1):
        members = torch.nonzero(labels == label).flatten()
        for some in ([members[:2]] if len(members) > 1 else []) + ([members] if len(members) > 2 else []):
            g = unit.clone()
            g[some] = some.roll(-1)
            rows.append(g)
    return torch.stack(rows) if rows else unit.new_zeros(0, len(labels))
