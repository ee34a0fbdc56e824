"""Candidate groups by short names: C5, D4, S6 on all columns, and products of them on consecutive blocks."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

import torch
from torch import Tensor

from ..errors import InputError, explain
from .permutations import Permutations


def named_group(name: str, degree: int) -> Permutations:
    """A permutation group of ``degree`` things by its name.

    C turns all things around, D flips the polygon too, S takes every order; ``S2*S3`` acts on blocks of 2 and 3 things that follow each
    other, and 1 leaves one thing alone.

    Raises:
        InputError: for other names, and for groups of another degree.

    Example:
        >>> from coset import discover
        >>> discover.named_group("D4", 4).order, discover.named_group("S2*C3", 5).order
        (8, 6)
    """
    return Permutations(permutations(name, degree))


def permutations(name: str, degree: int) -> Tensor:
    """(m, degree) generators of a named group, without listing it.

    Raises:
        InputError: for other names, and for groups of another degree.
    """
    parts = [re.fullmatch(r"([CDS]?)(\d+)", part.strip()) for part in name.split("*")]
    if any(part is None or int(part[2]) < 1 or (not part[1] and part[2] != "1") for part in parts):
        raise InputError(explain(f"the candidate {name!r}", "C<n>, D<n>, S<n>, or a product such as S2*S3", "check the name"))
    sizes = [int(part[2]) for part in parts if part is not None]
    if sum(sizes) != degree:
        raise InputError(
            explain(f"the candidate {name} of degree {sum(sizes)}", f"a group of degree {degree}, as there are columns", "leave it out")
        )
    found, start = list[Tensor](), 0
    for part, size in zip(parts, sizes, strict=True):
        inside = torch.arange(size)
        kind = "" if part is None else part[1]
        moves = {"": [], "C": [inside.roll(-1)], "D": [inside.roll(-1), inside.flip(0)], "S": [inside.roll(-1), _swap(size)]}[kind]
        for move in moves:
            whole = torch.arange(degree)
            whole[start : start + size] = start + move
            found.append(whole)
        start += size
    return torch.stack(found) if found else torch.arange(degree)[None]


def size_of(name: str) -> float:
    """The logarithm of the order of a named group.

    Example:
        >>> size_of("S2*1") == size_of("C2") < size_of("C3") < size_of("D3") == size_of("S3")
        True
    """
    sizes = 0.0
    for part in name.split("*"):
        kind, number = part.strip()[:1], int(part.strip().lstrip("CDS"))
        sizes += math.lgamma(number + 1) if kind == "S" else math.log(number * (2 if kind == "D" and number > 2 else 1))
    return round(sizes, 9)


def _swap(size: int) -> Tensor:
    moved = torch.arange(size)
    if size > 1:
        moved[0], moved[1] = 1, 0
    return moved


def named_candidates(names: Iterable[str], degree: int) -> dict[str, Tensor]:
    """Several groups by name, as ``discover.Candidates`` takes them.

    Raises:
        InputError: when there are none, or one does not fit.
    """
    found = {name.strip(): permutations(name, degree) for name in names if name.strip()}
    if not found:
        raise InputError(explain("no candidates", "at least one group", "write for instance C4,D4,S4"))
    return found
