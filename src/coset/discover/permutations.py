"""A finite group of permutations given by generators, of any order: nothing is listed before it is asked for."""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ..errors import GroupError, describe, explain
from ..groups.numeric import Device, Dtype, integers, place
from ..groups.permuting import Permuting
from ..groups.symmetric import refuse_long_list
from .schreier import Level, agrees, chain, inside, members, orbit_lengths, sift

SMALL, LONG = 64, 10**15
"""``repr`` works an order out for at most so many things, and writes out orders below this."""


class Permutations(Permuting):
    """The group that some permutations of n things generate, by its chain of stabilizers.

    Unlike ``groups.Generated`` it does not list its elements: order and uniform samples come from the chain.

    Args:
        generators: (k, n) integers; none of them, shape (0, n), is the trivial group.
        order: the number of elements where it is known; it is checked when the chain is built.

    Raises:
        GroupError: when a row is no permutation; when the order turns out to be another one.

    Example:
        >>> from coset.discover import Permutations
        >>> Permutations([[1, 2, 3, 4, 5, 6, 7, 8, 0], [1, 0, 2, 3, 4, 5, 6, 7, 8]]).order
        362880
    """

    about: float | None = None
    """The logarithm of the order, where a program that is trusted has counted it: the exact order then needs no chain."""

    def __init__(self, generators: Any, order: int | None = None):
        self.generators = checked(generators)
        self.n = self.generators.shape[1]
        if order is not None and (not isinstance(order, int) or isinstance(order, bool) or order < 1):
            raise GroupError(explain(f"order={order!r}", "a positive whole number", "leave it out where it is not known"))
        self.known = order

    @cached_property
    def levels(self) -> list[Level]:
        """The chain of stabilizers."""
        levels = chain(self.generators, self.known, self.about)
        if not members(levels, self.generators):  # the declared order is too small
            levels = chain(self.generators)
        order = math.prod(len(level.cosets) for level in levels)
        if self.known is not None and order != self.known:
            raise GroupError(explain(f"generators of {order} elements", f"{self.known} elements, as declared", "correct the order"))
        return levels

    @cached_property
    def order(self) -> int:  # type: ignore[override]
        """The number of elements, exactly."""
        if self.known is not None:
            return self.known
        quick = math.prod(orbit_lengths(self.generators))
        return quick if agrees(quick, None, self.about) else math.prod(self.orbits())

    @cached_property
    def selective(self) -> bool:  # type: ignore[override]
        """Whether some permutations are missing."""
        return self.order < math.factorial(self.n)

    def product(self, numbers: Tensor) -> Tensor:
        """The elements u_1 u_2 ... of coset representatives with numbers (N, levels)."""
        g = torch.arange(self.n, device=numbers.device).expand(len(numbers), self.n)
        for level, number in reversed(list(zip(self.levels, numbers.unbind(1), strict=True))):
            g = level.to(numbers.device).cosets[number].gather(1, g)
        return g

    def orbits(self) -> list[int]:
        """The lengths of the orbits along the chain, whose product is the order."""
        return [len(level.cosets) for level in self.levels]

    def elements(self, *, dtype: Dtype = None, device: Device = None) -> Tensor:
        """All elements along a leading axis, the identity first."""
        refuse_long_list(self, self.order, self.n)
        rest, digits = torch.arange(self.order), []
        for size in reversed(self.orbits()):
            digits.append(rest % size)
            rest = rest // size
        return self.product(torch.stack(digits[::-1], 1) if digits else torch.zeros(1, 0, dtype=torch.int64)).to(device)

    def index(self, g: Tensor) -> Tensor:
        """The position of g in :meth:`elements`."""
        numbers = sift([level.to(g.device) for level in self.levels], g.reshape(-1, self.n))[0]
        position = torch.zeros(len(numbers), dtype=torch.int64, device=g.device)
        for number, size in zip(numbers.unbind(1), self.orbits(), strict=True):
            position = position * size + number
        return position.reshape(g.shape[:-1])

    def contains(self, g: Tensor) -> Tensor:
        """Whether permutations (..., n) belong to the group, of shape (...)."""
        return inside([level.to(g.device) for level in self.levels], g.reshape(-1, self.n)).reshape(g.shape[:-1])

    def haar(self, *batch: int, generator: torch.Generator | None = None, dtype: Dtype = None, device: Device = None) -> Tensor:
        """Independent uniform elements, without a list."""
        device = place(generator, device)
        count = math.prod(batch)
        digits = [integers(size, (count,), generator, device) for size in self.orbits()]
        numbers = torch.stack(digits, 1) if digits else torch.zeros(count, 0, dtype=torch.int64, device=device)
        return self.product(numbers).reshape(*batch, self.n)

    def identity(self, *batch: int, dtype: Dtype = None, device: Device = None) -> Tensor:
        """The neutral element, repeated over the batch axes."""
        return torch.arange(self.n, device=device).expand(*batch, self.n).clone()

    def parameters(self) -> tuple[Any, ...]:
        """The generators."""
        return (self.n, tuple(map(tuple, self.generators.tolist())))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({counted(len(self.generators), 'generator')} on {counted(self.n, 'thing')}{self._size()})"

    def _size(self) -> str:
        """The order for ``repr``: not worked out for many things, and a long number only by its size."""
        if self.known is None and "order" not in self.__dict__ and self.n > SMALL:
            return ""
        if self.order < LONG:
            return f", order={self.order}"
        exponent = math.floor(math.log10(self.order))
        return f", order={self.order // 10 ** (exponent - 2) / 100:.2f}e{exponent}"


def counted(number: int, thing: str) -> str:
    """A number with its noun: 1 generator, 2 generators."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def checked(generators: Any) -> Tensor:
    """Permutations as int64 on the host.

    Raises:
        GroupError: when they are none.
    """
    try:
        x = generators.detach().cpu() if isinstance(generators, Tensor) else torch.as_tensor(generators)
    except (TypeError, ValueError, RuntimeError) as error:
        raise GroupError(explain(f"generators {generators!r}", "rows of integers of one length", "pass permutations (k, n)")) from error
    if x.dim() != 2 or not x.shape[1] or (len(x) and (x.is_floating_point() or x.is_complex() or x.dtype == torch.bool)):
        raise GroupError(explain(describe(x), "permutations (k, n) of integers", "pass one row for each generator"))
    x = x.to(torch.int64)
    bad = torch.nonzero((x.sort(1).values != torch.arange(x.shape[1])).any(1)).flatten().tolist()
    if bad:
        raise GroupError(
            explain(f"generator {bad[0]}: {x[bad[0]].tolist()}", f"each of 0 .. {x.shape[1] - 1} once", "pass permutations of indices")
        )
    return x.clone()
