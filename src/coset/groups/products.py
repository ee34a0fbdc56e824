"""Direct products of groups: elements are tuples, one entry for each factor."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..errors import GroupError, explain
from ..tree import Tree, first, leaves, tree_map
from .base import Group
from .maps import Homomorphism, subgroup
from .numeric import Device, Dtype, cast, place

Element = tuple[Tree, ...]


class Product(Group):
    """The direct product of groups, written ``G * H``; products of products are flattened.

    Elements: plain tuples with one entry for each factor. It is compact, or finite, when all its factors are, and then
    has ``haar``, or ``order``, ``elements`` and ``index``. ``matrix`` and ``shift`` are those of the one factor that has
    them, and so is ``permutation``.

    Raises:
        GroupError: when a factor is not a group, or an operation asks for what a factor does not have.

    Example:
        >>> from coset.groups import Cyclic, Euclidean, Symmetric
        >>> Symmetric() * Euclidean(3)
        Product(Symmetric(), Euclidean(3))
        >>> (Cyclic(2) * Cyclic(3)).order
        6
    """

    def __init__(self, *factors: Group):
        wrong = [f for f in factors if not isinstance(f, Group)]
        if wrong or not factors:
            raise GroupError(explain(f"Product{tuple(factors)!r}", "one or more groups", "write for instance Cyclic(4) * Symmetric()"))
        self.factors: tuple[Group, ...] = tuple(g for f in factors for g in (f.factors if isinstance(f, Product) else (f,)))
        self.compact = all(f.compact for f in self.factors)
        self.finite = all(f.finite for f in self.factors)
        self.orthogonal = any(f.orthogonal for f in self.factors)
        self.reflects = any(f.reflects for f in self.factors)
        self.translates = any(f.translates for f in self.factors)
        self.permutes = any(f.permutes for f in self.factors)
        self.selective = any(f.selective for f in self.factors)
        self.complex = any(f.complex for f in self.factors)
        self.unitary = any(f.unitary for f in self.factors)
        self.lorentzian = any(f.lorentzian for f in self.factors)
        self.stretches = any(f.stretches for f in self.factors)
        self.rescales = any(f.rescales for f in self.factors)
        self.lie_dimension = sum(f.lie_dimension for f in self.factors)
        dims = [f.dim for f in self.factors if f.dim is not None]
        self.dim = dims[0] if len(dims) == 1 else None

    def identity(self, *batch: int, dtype: Dtype = None, device: Device = None) -> Element:
        """The neutral element, repeated over the batch axes."""
        return tuple(f.identity(*batch, dtype=dtype, device=device) for f in self.factors)

    def compose(self, g: Element, h: Element) -> Element:
        """The product gh: first h, then g."""
        return tuple(f.compose(a, b) for f, a, b in zip(self.factors, g, h, strict=True))

    def inverse(self, g: Element) -> Element:
        """The inverse of g."""
        return tuple(f.inverse(a) for f, a in zip(self.factors, g, strict=True))

    def sample(self, *batch: int, generator: torch.Generator | None = None, dtype: Dtype = None, device: Device = None) -> Element:
        """Independent samples of the factors: Haar where the product is compact."""
        device = place(generator, device)
        return tuple(f.sample(*batch, generator=generator, dtype=dtype, device=device) for f in self.factors)

    def distance(self, g: Element, h: Element) -> Tensor:
        """The largest of the factors' distances."""
        distances = [f.distance(a, b) for f, a, b in zip(self.factors, g, h, strict=True)]
        largest = distances[0]
        for other in distances[1:]:
            largest = torch.maximum(largest, other)
        return largest

    def batch(self, g: Element) -> torch.Size:
        """The leading batch axes of an element."""
        for f, a in zip(self.factors, g, strict=True):
            if next(leaves(a), None) is not None:
                return f.batch(a)
        raise GroupError(explain(f"an empty element of {self}", "one entry for each factor", "build it with identity() or sample()"))

    # -- compact and finite products --------------------------------------------------------------------------

    def _need(self, fact: str, verb: str, remedy: str) -> None:
        lacking = [f for f in self.factors if not getattr(f, fact)]
        if lacking:
            raise GroupError(explain(f"{verb} of {self}, whose factor {lacking[0]} is not {fact}", f"{fact} factors only", remedy))

    def haar(self, *batch: int, generator: torch.Generator | None = None, dtype: Dtype = None, device: Device = None) -> Element:
        """Independent Haar-distributed elements, where all factors are compact."""
        self._need("compact", "Haar sampling", "use sample(), whose distribution the factors declare")
        return self.sample(*batch, generator=generator, dtype=dtype, device=device)

    @property
    def order(self) -> int:
        """The number of elements, where all factors are finite."""
        self._need("finite", "the order", "sample() it instead")
        return math.prod(f.order for f in self.factors)  # type: ignore[attr-defined]

    def elements(self, *, dtype: Dtype = None, device: Device = None) -> Element:
        """All tuples along a leading axis, the last factor running fastest."""
        self._need("finite", "the elements", "sample() it instead")
        lists = [f.elements(dtype=dtype, device=device) for f in self.factors]  # type: ignore[attr-defined]
        position, fastest = torch.arange(self.order, device=first(lists[0]).device), self.order
        picked = []
        for f, listing in zip(self.factors, lists, strict=True):
            fastest //= f.order  # type: ignore[attr-defined]
            picked.append(tree_map(partial(rows, position // fastest % f.order), listing))  # type: ignore[attr-defined]
        return tuple(picked)

    def index(self, g: Element) -> Tensor:
        """The position of g in :meth:`elements`."""
        self._need("finite", "the index", "compare elements by distance()")
        position = self.factors[0].index(g[0])  # type: ignore[attr-defined]
        for f, a in zip(self.factors[1:], g[1:], strict=True):
            position = position * f.order + f.index(a)  # type: ignore[attr-defined]
        return position

    # -- how it moves space and indices -------------------------------------------------------------------------

    def _one(self, has: Callable[[Group], bool], what: str) -> int | None:
        """The position of the only factor with a property; None without one, an error with several."""
        found = [i for i, f in enumerate(self.factors) if has(f)]
        if len(found) > 1:
            names = " and ".join(str(self.factors[i]) for i in found)
            raise GroupError(
                explain(
                    f"the {what} of {self}, where {names} each have one",
                    f"one factor with a {what}",
                    "Pullback the projection to one of them",
                )
            )
        return found[0] if found else None

    def matrix(self, g: Element, *, dtype: Dtype = None) -> Tensor:
        """The linear part of g, shape (..., d, d)."""
        i = self._one(lambda f: f.dim is not None, "matrix")
        return super().matrix(g, dtype=dtype) if i is None else self.factors[i].matrix(g[i], dtype=dtype)

    def shift(self, g: Element) -> Tensor | None:
        """The translation part of g, shape (..., d)."""
        i = self._one(lambda f: f.translates, "shift")
        return None if i is None else self.factors[i].shift(g[i])

    def permutation(self, g: Element) -> Tensor | None:
        """The index permutation of g, shape (..., n)."""
        i = self._one(lambda f: f.permutes, "permutation")
        return None if i is None else self.factors[i].permutation(g[i])

    def at(self, n: int) -> Product:
        """The product of the factors ``at(n)``."""
        return Product(*(f.at(n) for f in self.factors))

    # -- Lie structure ------------------------------------------------------------------------------------------

    def algebra(self, *, dtype: Dtype = None, device: Device = None) -> Element:
        """A tuple of the factors' bases, padded with zeros to a common leading axis; () for discrete factors."""
        if self.lie_dimension == 0:
            return super().algebra(dtype=dtype, device=device)
        before, bases = 0, []
        for f in self.factors:
            after = self.lie_dimension - before - f.lie_dimension
            basis = f.algebra(dtype=dtype, device=device) if f.lie_dimension else ()
            bases.append(tree_map(partial(_pad, before, after), basis))
            before += f.lie_dimension
        return tuple(bases)

    def exp(self, x: Element) -> Element:
        """Factor by factor; discrete factors give their identity, with the batch axes of the others."""
        if self.lie_dimension == 0:
            return super().exp(x)
        batch, leaf = self.batch(x), first(x)
        dtype = leaf.dtype.to_real() if leaf.is_complex() else leaf.dtype
        return tuple(
            f.exp(a) if f.lie_dimension else f.identity(*batch, dtype=dtype, device=leaf.device)
            for f, a in zip(self.factors, x, strict=True)
        )

    # -- parts --------------------------------------------------------------------------------------------------

    def components(self) -> dict[str, Homomorphism]:
        """The components of the factors; names that occur twice say which factor they belong to."""
        inside = [f.components() for f in self.factors]
        names = [name for maps in inside for name in maps]
        return {
            (name if names.count(name) == 1 else f"factor {i} {name}"): component.then(place_factor(self, i))
            for i, maps in enumerate(inside)
            for name, component in maps.items()
        }

    def parts(self) -> tuple[Homomorphism, ...]:
        """The subgroups that make up the group, outermost first."""
        return tuple(place_factor(self, i) for i in range(len(self.factors)))

    def parameters(self) -> tuple[Any, ...]:
        """The constructor arguments."""
        return self.factors


def rows(index: Tensor, x: Tensor) -> Tensor:
    """The rows of a tensor, with the index first so that it can be bound."""
    return x[index]


def _pad(before: int, after: int, x: Tensor) -> Tensor:
    return torch.cat([x.new_zeros(before, *x.shape[1:]), x, x.new_zeros(after, *x.shape[1:])])


def place_factor(product: Product, i: int) -> Homomorphism:
    """The inclusion of factor i: the identity in all other entries."""
    return subgroup(product.factors[i], product, partial(_placed, product, i), casts=True)


def _placed(product: Product, i: int, g: Tree, dtype: Dtype = None) -> Element:
    leaf, batch = first(g), product.factors[i].batch(g)
    if dtype is None and (leaf.is_floating_point() or leaf.is_complex()):
        dtype = leaf.dtype.to_real() if leaf.is_complex() else leaf.dtype
    inside = g if dtype is None else cast(g, dtype)
    others = (inside if j == i else f.identity(*batch, dtype=dtype, device=leaf.device) for j, f in enumerate(product.factors))
    return tuple(others)


def pick(i: int, g: Element) -> Tree:
    """The entry i of an element: the projection to a factor."""
    return g[i]
