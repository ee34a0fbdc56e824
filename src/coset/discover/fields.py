"""Families of vector fields in which generators are looked for: V(x) = A phi(x) with unknown matrices A."""

from __future__ import annotations

import abc
from itertools import combinations_with_replacement
from typing import Any

import torch
from torch import Tensor

from ..errors import InputError, describe, explain
from ..tree import to_tensors


class Fields(abc.ABC):
    """A family of vector fields V(x) = A phi(x) on R^p.

    Facts:
        copies: how many equal parts an input has that one field moves alike.
        matrix: "linear", "affine" or "" where the flows are not affine maps.
    """

    copies: int = 1
    linear: bool = False
    affine: bool = False

    @abc.abstractmethod
    def features(self, x: Tensor) -> Tensor:
        """phi(x), (..., q), for x (..., p)."""

    @abc.abstractmethod
    def names(self, letters: list[str]) -> list[str]:
        """The q features in words, given the names of coordinates."""

    def restricted(self, p: int) -> Tensor | None:
        """The allowed matrices (b, p, q), where not all of them are; p is checked."""
        return None

    def split(self, x: Tensor) -> Tensor:
        """Flat inputs (..., D) as their copies (..., c, p).

        Raises:
            InputError: where they do not divide into copies.
        """
        if x.shape[-1] % self.copies:
            raise InputError(explain(f"inputs of {x.shape[-1]} numbers", f"a multiple of {self.copies} copies", f"check {self}"))
        return x.unflatten(-1, (self.copies, -1))

    def homogeneous(self, a: Tensor) -> Tensor | None:
        """Affine fields (k, p, q) as square matrices (k, p + 1, p + 1); None for others."""
        if self.linear:
            return torch.nn.functional.pad(a, (0, 1, 0, 1))
        return torch.nn.functional.pad(a, (0, 0, 0, 1)) if self.affine else None

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class Linear(Fields):
    """All linear fields A x: p² unknowns.

    Example:
        >>> import torch
        >>> from coset import discover
        >>> discover.Linear().features(torch.ones(5, 3)).shape
        torch.Size([5, 3])
    """

    linear = True

    def features(self, x: Tensor) -> Tensor:
        """The coordinates."""
        return x

    def names(self, letters: list[str]) -> list[str]:
        """Those of the coordinates."""
        return letters


class Affine(Fields):
    """All affine fields A x + t: p² + p unknowns.

    Example:
        >>> import torch
        >>> from coset import discover
        >>> discover.Affine().features(torch.ones(5, 3)).shape
        torch.Size([5, 4])
    """

    affine = True

    def features(self, x: Tensor) -> Tensor:
        """The coordinates and a one."""
        return torch.cat([x, torch.ones_like(x[..., :1])], -1)

    def names(self, letters: list[str]) -> list[str]:
        """Those of the coordinates, and nothing."""
        return [*letters, ""]


class Polynomials(Fields):
    """Fields whose components are polynomials of a degree.

    Args:
        degree: the largest degree, at least 0.

    Raises:
        InputError: for other degrees.

    Example:
        >>> from coset import discover
        >>> discover.Polynomials(2).names(["x", "y"])
        ['', 'x', 'y', 'x²', 'x y', 'y²']
    """

    def __init__(self, degree: int):
        if not isinstance(degree, int) or isinstance(degree, bool) or degree < 0:
            raise InputError(explain(f"degree={degree!r}", "a whole number of at least 0", "pass for instance Polynomials(3)"))
        self.degree = degree

    def powers(self, p: int) -> list[tuple[int, ...]]:
        """The coordinates multiplied in every monomial."""
        return [one for degree in range(self.degree + 1) for one in combinations_with_replacement(range(p), degree)]

    def features(self, x: Tensor) -> Tensor:
        """All monomials, by degree."""
        return torch.stack([x[..., list(one)].prod(-1) for one in self.powers(x.shape[-1])], -1)

    def names(self, letters: list[str]) -> list[str]:
        """The monomials."""
        small = "⁰¹²³⁴⁵⁶⁷⁸⁹"
        found = []
        for one in self.powers(len(letters)):
            counts = [(letters[i], one.count(i)) for i in dict.fromkeys(one)]
            found.append(" ".join(letter + ("".join(small[int(c)] for c in str(k)) if k > 1 else "") for letter, k in counts))
        return found

    def __repr__(self) -> str:
        return f"Polynomials({self.degree})"


class Matrices(Fields):
    """Combinations of given matrices: A x with (b, p, p), or A x + t with (b, p, p + 1).

    Args:
        basis: the matrices, linearly independent.

    Raises:
        InputError: for other shapes, dependent matrices, or numbers that are not finite.

    Example:
        >>> from coset import discover, groups
        >>> discover.Matrices(groups.Lorentz(4).algebra())
        Matrices(6 of size 4)
    """

    def __init__(self, basis: Any):
        found = to_tensors(basis)
        if not isinstance(found, Tensor) or found.dim() != 3 or found.shape[2] - found.shape[1] not in (0, 1) or found.is_complex():
            raise InputError(explain(describe(basis), "real matrices (b, p, p) or (b, p, p + 1)", "stack them along a first axis"))
        self.basis = found.detach().to("cpu", torch.float64)
        if not bool(torch.isfinite(self.basis).all()) or int(torch.linalg.matrix_rank(self.basis.flatten(1))) < len(self.basis):
            raise InputError(explain(f"{describe(basis)}, dependent or not finite", "linearly independent matrices", "leave some out"))
        self.linear = found.shape[1] == found.shape[2]
        self.affine = not self.linear

    def features(self, x: Tensor) -> Tensor:
        """The coordinates, and a one where fields are affine."""
        return x if self.linear else torch.cat([x, torch.ones_like(x[..., :1])], -1)

    def names(self, letters: list[str]) -> list[str]:
        """Those of the coordinates, and nothing."""
        return letters if self.linear else [*letters, ""]

    def restricted(self, p: int) -> Tensor:
        """The given matrices."""
        if p != self.basis.shape[1]:
            raise InputError(explain(f"inputs of {p} numbers for {self}", f"{self.basis.shape[1]}", "use Shared for several parts"))
        return self.basis

    def __repr__(self) -> str:
        return f"Matrices({len(self.basis)} of size {self.basis.shape[1]})"


class Shared(Fields):
    """One field that moves several equal parts of the input alike, such as the positions of all atoms.

    Args:
        fields: the family of one part.
        copies: the number of parts: inputs (N, copies, p) or (N, copies p).

    Raises:
        InputError: when ``copies`` is no positive whole number, or families are nested.

    Example:
        >>> from coset import discover
        >>> discover.Shared(discover.Affine(), copies=21)  # 12 unknowns for 21 atoms in space
        Shared(Affine(), copies=21)
    """

    def __init__(self, fields: Fields, copies: int):
        if not isinstance(copies, int) or isinstance(copies, bool) or copies < 1:
            raise InputError(explain(f"copies={copies!r}", "a positive whole number", "pass the number of atoms"))
        if not isinstance(fields, Fields) or fields.copies != 1:
            raise InputError(explain(f"{fields!r} inside Shared", "the family of one part", "write Shared(Affine(), copies=5)"))
        self.fields, self.copies = fields, copies
        self.linear, self.affine = fields.linear, fields.affine

    def features(self, x: Tensor) -> Tensor:
        """Those of every part."""
        return self.fields.features(x)

    def names(self, letters: list[str]) -> list[str]:
        """Those of one part."""
        return self.fields.names(letters)

    def restricted(self, p: int) -> Tensor | None:
        """As for one part."""
        return self.fields.restricted(p)

    def __repr__(self) -> str:
        return f"Shared({self.fields!r}, copies={self.copies})"


def family(basis: Any) -> Fields:
    """A family of fields: one of this module, or a tensor of matrices.

    Raises:
        InputError: for anything else.
    """
    if isinstance(basis, Fields):
        return basis
    if isinstance(basis, type):
        raise InputError(explain(f"the class {basis.__name__}", "a family of fields", f"write {basis.__name__}()"))
    return Matrices(basis)
