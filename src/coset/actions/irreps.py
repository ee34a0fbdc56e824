"""Irreducible representations of O(3) and SO(3), in the order and basis of e3nn."""
# ruff: noqa: E741 - l is what the order of a representation is called

from __future__ import annotations

import functools
import math
import re

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import InputError, SignatureError, describe, explain
from ..groups.base import Group
from ..tree import Tree
from .linear import MatrixAction, matrix_of, move_last


def parse_irreps(text: str) -> tuple[tuple[int, int, int], ...]:
    """Read "2x0e+1x1o" as ((2, 0, 1), (1, 1, -1)): multiplicity, order l, parity.

    Example:
        >>> from coset.actions.irreps import parse_irreps
        >>> parse_irreps("2x0e+1o")
        ((2, 0, 1), (1, 1, -1))
    """
    found = []
    for part in str(text).replace(" ", "").split("+"):
        match = re.fullmatch(r"(?:(\d+)x)?(\d+)([eo])", part)
        if match is None:
            raise SignatureError(explain(f"irreps {text!r}", "terms such as 2x0e or 1o, joined by +", f"correct the term {part!r}"))
        found.append((int(match[1] or 1), int(match[2]), 1 if match[3] == "e" else -1))
    return tuple(found)


def spherical_harmonics(l: int, points: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch size"]:
    """Real harmonic polynomials of degree l at points (..., 3), shape (..., 2l + 1), orthogonal up to a common factor.

    The polar axis is y and the order is m = -l ... l, so that l = 1 gives (x, y, z).
    """
    y, z, x = points[..., 0], points[..., 1], points[..., 2]
    r2 = points.square().sum(-1)
    cosines, sines = [torch.ones_like(x)], [torch.zeros_like(x)]
    for _ in range(l):
        cosines.append(x * cosines[-1] - y * sines[-1])
        sines.append(x * sines[-1] + y * cosines[-2])
    out: list[Tensor] = [torch.zeros_like(x)] * (2 * l + 1)
    for m in range(l + 1):
        legendre = _legendre(l, m, z, r2)
        norm = math.sqrt(math.factorial(l - m) / math.factorial(l + m) * (2 if m else 1))
        out[l + m] = norm * legendre * cosines[m]
        if m:
            out[l - m] = norm * legendre * sines[m]
    return torch.stack(out, -1)


def _legendre(l: int, m: int, z: Tensor, r2: Tensor) -> Tensor:
    """The polynomial r^(l-m) P_l^m(z/r) / sin^m, without the Condon-Shortley sign."""
    previous, current = torch.zeros_like(z), torch.full_like(z, float(math.prod(range(2 * m - 1, 0, -2))))
    for degree in range(m + 1, l + 1):
        previous, current = current, ((2 * degree - 1) * z * current - (degree + m - 1) * r2 * previous) / (degree - m)
    return current


@functools.lru_cache(maxsize=32)
def _probe(l: int) -> tuple[Tensor, Tensor]:
    """Generic points and the pseudo-inverse of the harmonics there."""
    points = torch.randn(4 * l + 6, 3, generator=torch.Generator().manual_seed(l), dtype=torch.float64)
    points = points / points.norm(dim=-1, keepdim=True)
    return points, torch.linalg.pinv(spherical_harmonics(l, points))


def wigner_d(
    l: int, rotation: Float[Tensor, "*batch 3 3"], probe: tuple[Tensor, Tensor] | None = None
) -> Float[Tensor, "*batch size size"]:
    """D^l (..., 2l+1, 2l+1) of rotations (..., 3, 3), with Y_l(Rx) = D^l(R) Y_l(x); polynomial, so differentiable."""
    if l == 0:
        return torch.ones(*rotation.shape[:-2], 1, 1, dtype=rotation.dtype, device=rotation.device)
    wide = rotation.to(torch.float32 if rotation.device.type == "mps" else torch.float64)
    points, inverse = (t.to(wide) for t in probe or _probe(l))
    moved = spherical_harmonics(l, points @ wide.mT)
    return (inverse @ moved).mT.to(rotation.dtype)


class Irreps(MatrixAction):
    """A direct sum of irreducible representations on the last axis, such as ``"2x0e+1x1o"``, as e3nn orders them.

    Args:
        group: ``SpecialOrthogonal(3)``, ``Orthogonal(3)`` or a Euclidean group (through its linear part).
        irreps: terms "multiplicity x order parity" joined by +; parity e or o matters under reflections only.
        points: as for :class:`Vectors`.

    Reference: Geiger & Smidt 2022, arXiv 2207.09453.

    Example:
        >>> import torch
        >>> from coset import actions, groups
        >>> actions.Irreps(groups.Orthogonal(3), "1x0o+1x1o").act(-torch.eye(3)[None], torch.ones(1, 4))
        tensor([[-1., -1., -1., -1.]])
    """

    def __init__(self, group: Group, irreps: str, *, points: bool | None = None):
        super().__init__(group, points=points)
        self.irreps, self.terms = str(irreps), parse_irreps(irreps)
        self.size = sum(count * (2 * l + 1) for count, l, _ in self.terms)
        self._probes = {l: _probe(l) for _, l, _ in self.terms}
        self.degree = max(self._degree(l, parity) for _, l, parity in self.terms)

    def _check_group(self) -> None:
        if self.group.dim != 3 or not (self.group.orthogonal or self.group.finite):
            raise SignatureError(
                explain(
                    f"Irreps of {self.group}",
                    "a group of rotations of three-dimensional space",
                    "use SpecialOrthogonal(3), Orthogonal(3), Euclidean(3) or a subgroup",
                )
            )

    def _degree(self, l: int, parity: int) -> int:
        """Polynomial degree in the matrix: l, one more (three for pseudoscalars) where parity is not that of l."""
        if not self.group.reflects or parity == (-1) ** l:
            return l
        return l + 1 if l else 3

    def linear_part(self, g: Tree, x: Tensor) -> Tensor:
        """Apply each block; the determinant gives the parity."""
        matrix = matrix_of(self.group, g, x)
        matrix = matrix.to(torch.promote_types(matrix.dtype, x.dtype))
        sign = torch.linalg.det(matrix.detach()).sgn()
        rotation = matrix * sign[..., None, None]
        blocks = {degree: wigner_d(degree, rotation, probe) for degree, probe in self._probes.items()}
        parts, start = [], 0
        for count, l, parity in self.terms:
            width = count * (2 * l + 1)
            piece = x[..., start : start + width].unflatten(-1, (count, 2 * l + 1))
            block = blocks[l] if parity == 1 else blocks[l] * sign[..., None, None]
            parts.append(move_last(block, piece).flatten(-2))
            start += width
        return torch.cat(parts, -1)

    def check(self, x: Tree, name: str = "input") -> None:
        """Refuse data whose last axis is not the size of the sum."""
        if not isinstance(x, Tensor) or x.dim() < 2 or x.shape[-1] != self.size or not x.is_floating_point():
            raise InputError(
                explain(
                    f"{name} is {describe(x)}",
                    f"floating point numbers with a last axis of length {self.size} for {self.irreps!r}",
                    "check the irreps",
                )
            )

    def arguments(self) -> tuple[str, ...]:
        """The irreps, then options."""
        return (repr(self.irreps), *super().arguments())
