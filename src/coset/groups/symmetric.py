"""Permutations of n things, and signed permutations as matrices."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

from ..errors import GroupError, explain
from .base import Group
from .listed import Listed
from .maps import Homomorphism, identity_map, subgroup
from .numeric import Device, Dtype, normal, place, real, signs, size, wide
from .orthogonal import Orthogonal
from .permuting import Permuting

LARGEST_LIST = 10_000_000
"""How many numbers ``elements()`` may hold before it refuses."""


def matrices(p: Tensor, dtype: Dtype = None) -> Tensor:
    """Permutation matrices P with P e_i = e_{p[i]}, shape (..., n, n)."""
    return torch.nn.functional.one_hot(p, p.shape[-1]).mT.to(real(dtype))


def parity(p: Tensor) -> Tensor:
    """The sign +1 or -1 (int64) of permutations (..., n): whether the number of inversions is even."""
    inversions = torch.triu(p.unsqueeze(-1) > p.unsqueeze(-2), 1).sum((-2, -1))
    return 1 - 2 * (inversions % 2)


def ranks(p: Tensor) -> Tensor:
    """The lexicographic position of permutations (..., n) with n at most 20."""
    n = p.shape[-1]
    smaller = torch.triu(p.unsqueeze(-1) > p.unsqueeze(-2), 1).sum(-1)
    weights = torch.tensor([math.factorial(n - 1 - i) for i in range(n)], device=p.device)
    return (smaller * weights).sum(-1)


@lru_cache(maxsize=16)
def all_permutations(n: int) -> Tensor:
    """All n! permutations in lexicographic order, (n!, n) int64: insert each first entry before the rest."""
    if n == 0:
        return torch.zeros(1, 0, dtype=torch.int64)
    rest = all_permutations(n - 1)
    head = torch.arange(n).repeat_interleave(len(rest)).unsqueeze(-1)
    tail = rest.repeat(n, 1)
    return torch.cat([head, tail + (tail >= head)], -1)


def refuse_long_list(group: Group, order: int, width: int) -> None:
    """Raise where listing all elements would not fit."""
    if order * width > LARGEST_LIST:
        raise GroupError(
            explain(f"all {order} elements of {group}", f"at most {LARGEST_LIST} numbers in a list", "draw some with haar() instead")
        )


class Symmetric(Permuting):
    """S_n: permutations of n things; without n it acts on any number of them.

    Elements: integer vectors p (..., n) with (g x)[p[i]] = x[i], hence compose(p, q) = p[q].
    ``Symmetric()`` has compose, inverse and distance; ``at(n)`` fixes n and brings the rest.

    Raises:
        GroupError: when n is not an integer of at least 1; or, for ``Symmetric()``, when an operation needs n.

    Example:
        >>> import torch
        >>> from coset.groups import Symmetric
        >>> Symmetric().inverse(torch.tensor([1, 2, 0]))
        tensor([2, 0, 1])
        >>> Symmetric().at(4).order
        24
    """

    def __init__(self, n: int | None = None):
        self.n = None if n is None else size("Symmetric", n)

    def _fixed(self, verb: str) -> int:
        if self.n is None:
            raise GroupError(
                explain(f"{verb} of Symmetric(), whose n is free", "a fixed number of things", "use Symmetric(n), or .at(n) of this group")
            )
        return self.n

    def at(self, n: int) -> Symmetric:
        """Symmetric(n), also where another n was fixed before: that is an error.

        Raises:
            GroupError: when this group is fixed to another n.
        """
        if self.n is not None and self.n != n:
            raise GroupError(explain(f"{n} points for {self}", f"{self.n} points", f"use Symmetric() or Symmetric({n})"))
        return Symmetric(n)

    @property
    def order(self) -> int:
        """The number of elements."""
        return math.factorial(self._fixed("the order"))

    def elements(self, *, dtype: Dtype = None, device: Device = None) -> Tensor:
        """All elements along a leading axis, the identity first."""
        n = self._fixed("the elements")
        refuse_long_list(self, self.order, n)
        return all_permutations(n).to(device, copy=True)

    def index(self, g: Tensor) -> Tensor:
        """The position of g in :meth:`elements`."""
        if self._fixed("the index") > 20:
            raise GroupError(explain(f"the index of an element of {self}", "at most 20 things", "compare elements by distance()"))
        return ranks(g)

    def haar(self, *batch: int, generator: torch.Generator | None = None, dtype: Dtype = None, device: Device = None) -> Tensor:
        """Independent Haar-distributed elements."""
        n = self._fixed("a sample")
        return normal((*batch, n), generator, place(generator, device)).argsort(-1)

    def identity(self, *batch: int, dtype: Dtype = None, device: Device = None) -> Tensor:
        """The neutral element, repeated over the batch axes."""
        n = self._fixed("the identity")
        return torch.arange(n, device=device).expand(*batch, n).clone()

    def parameters(self) -> tuple[int, ...]:
        """The constructor arguments."""
        return () if self.n is None else (self.n,)


class SignFlips(Listed):
    """The 2^d diagonal matrices with entries +1 and -1.

    Elements: matrices (..., d, d).

    Raises:
        GroupError: when d is not an integer of at least 1.

    Example:
        >>> from coset.groups import SignFlips
        >>> SignFlips(2).elements().diagonal(dim1=-2, dim2=-1).int().tolist()
        [[1, 1], [-1, 1], [1, -1], [-1, -1]]
    """

    reflects = True
    dim: int

    def __init__(self, d: int):
        self.dim = size("SignFlips", d)
        self.ambient = Orthogonal(self.dim)

    @property
    def order(self) -> int:
        """The number of elements."""
        return 2**self.dim

    def listing(self) -> Tensor:
        """All elements in full precision, the identity first."""
        refuse_long_list(self, self.order, self.dim**2)
        bits = torch.arange(self.order).unsqueeze(-1) >> torch.arange(self.dim) & 1
        return torch.diag_embed((1 - 2 * bits).to(torch.float64))

    def index(self, g: Tensor) -> Tensor:
        """The position of g in :meth:`elements`."""
        return sign_bits(g.diagonal(dim1=-2, dim2=-1))

    def haar(self, *batch: int, generator: torch.Generator | None = None, dtype: Dtype = None, device: Device = None) -> Tensor:
        """Independent Haar-distributed elements."""
        return torch.diag_embed(signs((*batch, self.dim), generator, device)).to(real(dtype))

    def components(self) -> dict[str, Homomorphism]:
        """The named subgroups that an audit reports."""
        return {"flip": identity_map(self)}

    def parameters(self) -> tuple[int, ...]:
        """The constructor arguments."""
        return (self.dim,)


def sign_bits(x: Tensor) -> Tensor:
    """The integer whose bit i says whether x[i] is negative, for x of shape (..., d)."""
    return ((x < 0).to(torch.int64) << torch.arange(x.shape[-1], device=x.device)).sum(-1)


class Hyperoctahedral(Listed):
    """B_d: signed permutation matrices, the 2^d d! symmetries of the d-cube.

    Elements: matrices (..., d, d) with one entry ±1 in each row and column.

    Raises:
        GroupError: when d is not an integer of at least 1.

    Example:
        >>> from coset.groups import Hyperoctahedral
        >>> Hyperoctahedral(3).order
        48
    """

    reflects = True
    dim: int

    def __init__(self, d: int):
        self.dim = size("Hyperoctahedral", d)
        self.ambient = Orthogonal(self.dim)

    @property
    def order(self) -> int:
        """The number of elements."""
        return 2**self.dim * math.factorial(self.dim)

    def listing(self) -> Tensor:
        """All elements in full precision, the identity first."""
        refuse_long_list(self, self.order, self.dim**2)
        flips = SignFlips(self.dim).listing()
        return (matrices(all_permutations(self.dim), torch.float64).unsqueeze(1) @ flips).flatten(0, 1)

    def index(self, g: Tensor) -> Tensor:
        """Permutation rank times 2^d plus the bits of the signs; elements are P D, permutation after flips."""
        columns = g.abs().argmax(-2)
        values = g.gather(-2, columns.unsqueeze(-2)).squeeze(-2)
        return ranks(columns) * 2**self.dim + sign_bits(values)

    def haar(self, *batch: int, generator: torch.Generator | None = None, dtype: Dtype = None, device: Device = None) -> Tensor:
        """Independent Haar-distributed elements."""
        device = place(generator, device)
        p = normal((*batch, self.dim), generator, device).argsort(-1)
        return (matrices(p, wide(device)) * signs((*batch, self.dim), generator, device).unsqueeze(-2)).to(real(dtype))

    def components(self) -> dict[str, Homomorphism]:
        """The named subgroups that an audit reports."""
        return {
            "permutation": subgroup(Symmetric(self.dim), self, matrices, casts=True),
            "flip": subgroup(SignFlips(self.dim), self),
        }

    def parameters(self) -> tuple[int, ...]:
        """The constructor arguments."""
        return (self.dim,)
