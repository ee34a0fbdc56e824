"""What fixes a group: generators of it beside its Lie algebra, and weighted elements over which characters are averaged."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial, singledispatch
from typing import NamedTuple

import torch
from torch import Tensor

from ..tree import Tree, first, tree_map
from .affine import AffineGroup, Translation, without_shift
from .base import Group
from .cyclic import Cyclic, Dihedral, Flip, Torus
from .generated import Generated
from .linear import GeneralLinear, Scaling, SpecialLinear
from .lorentz import Lorentz, ProperLorentz, SpecialLorentz
from .orthogonal import Orthogonal, SpecialOrthogonal
from .products import Product, place_factor, rows
from .quadrature import rule
from .real_torus import RealTorus
from .symmetric import Hyperoctahedral, SignFlips, Symmetric, matrices
from .unitary import SpecialUnitary, Unitary

LISTED = 5040
"""The largest finite group whose elements are all used."""

CLASSES = 30
"""Permutations of more points have too many cycle types to list: some are drawn."""

DRAWN = 4000
"""How many Haar elements stand for a group without a rule."""

WIDE = torch.float64


class Averaging(NamedTuple):
    """Weighted elements that stand for the Haar measure.

    Attributes:
        elements: a tree with leading axis k.
        weights: (k,) of sum 1.
        how: in words.
        drawn: they were drawn at random, so that averages have a standard error.
    """

    elements: Tree
    weights: Tensor
    how: str
    drawn: bool


@singledispatch
def generators(group: Group) -> Tree:
    """Elements (m, ...) in float64 that, together with the Lie algebra, generate the group (a dense part of it).

    Groups that are not known here are listed where they are finite; of other ones sixteen elements are drawn with a
    fixed seed, which meet every connected component of a group with few of them.

    Example:
        >>> from coset import groups
        >>> from coset.groups.generating import generators
        >>> generators(groups.Symmetric(4))
        tensor([[1, 2, 3, 0],
                [1, 0, 2, 3]])
    """
    if group.finite and group.order <= LISTED:
        return group.elements(dtype=WIDE)
    return group.sample(16, generator=torch.Generator().manual_seed(0), dtype=WIDE)


@generators.register(SpecialOrthogonal)
@generators.register(SpecialUnitary)
@generators.register(Unitary)
@generators.register(ProperLorentz)
@generators.register(SpecialLinear)
@generators.register(Scaling)
@generators.register(Translation)
@generators.register(RealTorus)
def _connected(group: Group) -> Tree:
    return group.identity(1, dtype=WIDE)


@generators.register(Orthogonal)
@generators.register(GeneralLinear)
def _mirror(group: Orthogonal | GeneralLinear) -> Tensor:
    return _flips(group.dim, [(0,)])


@generators.register
def _(group: Lorentz) -> Tensor:
    return _flips(group.dim, [(0,), (1,)])


@generators.register
def _(group: SpecialLorentz) -> Tensor:
    return _flips(group.dim, [(0, 1)])


@generators.register
def _(group: SignFlips) -> Tensor:
    return _flips(group.dim, [(i,) for i in range(group.dim)])


@generators.register
def _(group: Hyperoctahedral) -> Tensor:
    return torch.cat([matrices(generators(Symmetric(group.dim)), WIDE), _flips(group.dim, [(0,)])])


@generators.register
def _(group: Symmetric) -> Tensor:
    n = group.identity().shape[0]
    p = torch.arange(n).repeat(2, 1)
    p[0] = p[0].roll(-1)
    p[1, :2] = p[1, :2].flip(0)
    return p


@generators.register
def _(group: Generated) -> Tensor:
    return group.generators.clone()


@generators.register
def _(group: Cyclic) -> Tensor:
    return torch.ones(1, dtype=torch.int64)


@generators.register
def _(group: Dihedral) -> Flip:
    return Flip(torch.tensor([1, 0]), torch.tensor([0, 1]))


@generators.register
def _(group: Torus) -> Tensor:
    return torch.eye(len(group.sizes), dtype=torch.int64)


@generators.register
def _(group: AffineGroup) -> Tree:
    return without_shift(generators(group.linear))


@generators.register
def _(group: Product) -> Tree:
    parts = [place_factor(group, i)(generators(factor), dtype=WIDE) for i, factor in enumerate(group.factors)]
    return joined(parts)


def joined(parts: list[Tree]) -> Tree:
    """Trees of elements, one after the other."""
    return tree_map(lambda *leaves: torch.cat(leaves), *parts)


def _flips(d: int, axes: list[tuple[int, ...]]) -> Tensor:
    """Diagonal matrices with -1 on the given axes (those that exist)."""
    signs = torch.ones(len(axes), d, dtype=WIDE)
    for row, chosen in enumerate(axes):
        signs[row, [axis for axis in chosen if axis < d]] = -1.0
    return torch.diag_embed(signs)


def averaging(group: Group, degree: int | None) -> Averaging | None:
    """Elements whose average of a polynomial of a degree in the matrix entries, or of a class function, is that of Haar.

    Args:
        group: any group.
        degree: of the polynomials; None where it is unknown.

    Returns:
        None where there is no Haar measure.
    """
    if isinstance(group, Product):
        return _product(group, degree)
    if isinstance(group, Symmetric) and group.order > 120 and len(group.identity()) <= CLASSES:
        p, weights = cycle_types(len(group.identity()))
        return Averaging(p, weights, f"all {len(p)} conjugacy classes", False)
    if group.finite and group.order <= LISTED:
        return Averaging(group.elements(dtype=WIDE), _even(group.order), f"all {group.order} elements", False)
    if not group.compact:
        return None
    if degree is not None and not group.finite and not isinstance(group, RealTorus):
        found = rule(group, degree)
        if len(found.weights) <= LISTED:
            return Averaging(found.elements, found.weights, f"a quadrature of {len(found.weights)} elements", False)
    g = group.haar(DRAWN, generator=torch.Generator().manual_seed(0), dtype=WIDE)
    return Averaging(g, _even(DRAWN), f"{DRAWN} random elements", True)


def _even(k: int) -> Tensor:
    return torch.full((k,), 1 / k, dtype=WIDE)


def _product(group: Product, degree: int | None) -> Averaging | None:
    """All pairs of the factors' elements, where they are not too many."""
    parts = [averaging(factor, degree) for factor in group.factors]
    known = [part for part in parts if part is not None]
    if len(known) < len(parts):
        return None
    counts = [len(part.weights) for part in known]
    if math.prod(counts) > 20 * LISTED or any(part.drawn for part in known):
        g = group.haar(DRAWN, generator=torch.Generator().manual_seed(0), dtype=WIDE)
        return Averaging(g, _even(DRAWN), f"{DRAWN} random elements", True)
    pick = torch.cartesian_prod(*(torch.arange(k) for k in counts)).reshape(-1, len(counts)).unbind(-1)
    weights = torch.stack([part.weights[i] for part, i in zip(known, pick, strict=True)]).prod(0)
    elements = tuple(tree_map(partial(rows, i), part.elements) for part, i in zip(known, pick, strict=True))
    return Averaging(elements, weights, " x ".join(part.how for part in known), False)


def cycle_types(n: int) -> tuple[Tensor, Tensor]:
    """One permutation (k, n) of every cycle type, and the share (k,) of the permutations of that type.

    Example:
        >>> from coset.groups.generating import cycle_types
        >>> cycle_types(3)[1].tolist()
        [0.3333333333333333, 0.5, 0.16666666666666666]
    """
    found, shares = [], []
    for parts in partitions(n, n):
        p, start = torch.arange(n), 0
        for length in parts:
            p[start : start + length] = p[start : start + length].roll(-1)
            start += length
        found.append(p)
        shares.append(1 / math.prod(length ** parts.count(length) * math.factorial(parts.count(length)) for length in set(parts)))
    return torch.stack(found), torch.tensor(shares, dtype=WIDE)


def partitions(n: int, largest: int) -> Iterator[tuple[int, ...]]:
    """The ways to write n as a sum of positive numbers of at most ``largest``, in falling order."""
    if n == 0:
        yield ()
    for head in range(min(n, largest), 0, -1):
        for rest in partitions(n - head, head):
            yield (head, *rest)


def count(elements: Tree) -> int:
    """The number of elements along the leading axis."""
    return int(first(elements).shape[0])
