"""Chains of stabilizers of a permutation group: order, membership and uniform elements from generators (Schreier and Sims)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

WIDTH, CLEAN, WARM = 64, 2, 40
"""Random elements that are sifted at once, rounds that must bring nothing new before the chain is verified, first multiplications."""
NEAR = 1e-9
"""How near the logarithm of an order has to be known."""


@dataclass(frozen=True)
class Level:
    """One stabilizer's orbit of a base point.

    Attributes:
        base: the point.
        cosets: (k, n) elements that take the base point to the points of its orbit, the identity first.
        back: their inverses.
        place: (n,) the number of a point in the orbit, -1 outside.
    """

    base: int
    cosets: Tensor
    back: Tensor
    place: Tensor

    def to(self, device: torch.device | str | None) -> Level:
        """The same on another device."""
        return Level(self.base, self.cosets.to(device), self.back.to(device), self.place.to(device))


def sift(levels: list[Level], g: Tensor) -> tuple[Tensor, Tensor]:
    """Divide elements (N, n) by coset representatives level by level.

    Returns:
        (N, levels) numbers of the representatives, and what is left (N, n): the identity for members of the group. An
        element that leaves an orbit stays as it is there.
    """
    numbers = []
    for level in levels:
        number = level.place[g[:, level.base]]
        numbers.append(number)
        g = level.back[number.clamp(min=0)].gather(1, g)
    return torch.stack(numbers, 1) if numbers else g.new_zeros(len(g), 0), g


def inside(levels: list[Level], g: Tensor) -> Tensor:
    """(N,) whether elements (N, n) belong to the group."""
    numbers, left = sift(levels, g)
    return (numbers >= 0).all(1) & (left == torch.arange(g.shape[1], device=g.device)).all(1)


def members(levels: list[Level], g: Tensor) -> bool:
    """Whether all elements (N, n) belong to the group."""
    return bool(inside(levels, g).all())


def chain(generators: Tensor, order: int | None = None, about: float | None = None) -> list[Level]:
    """The stabilizer chain of the group that permutations (k, n) generate.

    Random products fill the chain; then every Schreier generator is sifted, which proves it complete. A known order
    proves it as well, even one that is known to some digits only: a chain that lacks elements has an orbit that is too
    short, hence a product that is too small by a factor of n / (n - 1) or more.

    Args:
        generators: int64 permutations.
        order: of the group, where it is known.
        about: the logarithm of the order, where that is known within ``NEAR``.
    """
    n = generators.shape[1]
    strong = _moving(generators)
    levels = build(strong)
    random = torch.Generator().manual_seed(0)
    if _full(levels, order, about):
        return levels
    pool = _mixed(_pool(strong, n), random, WARM)
    clean = 0
    while clean < CLEAN and len(strong) and not _full(levels, order, about):
        fresh = _residues(levels, _mixed(pool, random, 4))
        clean = 0 if len(fresh) else clean + 1
        if len(fresh):
            strong = torch.cat([strong, fresh])
            levels = build(strong)
    while not _full(levels, order, about):
        fresh = _missing(levels, strong)
        if not len(fresh):
            break
        strong = torch.cat([strong, fresh])
        levels = build(strong)
    return levels


def _full(levels: list[Level], order: int | None, about: float | None) -> bool:
    return agrees(math.prod(len(level.cosets) for level in levels), order, about)


def agrees(product: int, order: int | None, about: float | None) -> bool:
    """Whether a product of orbit lengths is the order of the group, where that is known."""
    return product == order or (about is not None and abs(math.log(product) - about) < NEAR)


def orbit_lengths(strong: Tensor) -> list[int]:
    """The lengths of the orbits that :func:`build` would find, without their representatives."""
    lengths, strong = [], _moving(strong)
    while len(strong):
        base = _first_moved(strong)
        seen = torch.zeros(strong.shape[1], dtype=torch.bool)
        edge = torch.tensor([base])
        while len(edge):
            seen[edge] = True
            images = torch.unique(strong[:, edge])
            edge = images[~seen[images]]
        lengths.append(int(seen.sum()))
        strong = strong[strong[:, base] == base]
    return lengths


def build(strong: Tensor) -> list[Level]:
    """Orbits and coset representatives for a set of strong generators, base points being the first ones moved."""
    levels = []
    while len(strong):
        base = _first_moved(strong)
        levels.append(_orbit(base, strong))
        strong = strong[strong[:, base] == base]
    return levels


def _moving(generators: Tensor) -> Tensor:
    """Those that are not the identity."""
    return generators[(generators != torch.arange(generators.shape[1])).any(1)]


def _first_moved(strong: Tensor) -> int:
    return int((strong != torch.arange(strong.shape[1])).any(0).to(torch.int64).argmax())


def _orbit(base: int, generators: Tensor) -> Level:
    n = generators.shape[1]
    place = torch.full((n,), -1)
    place[base] = 0
    found = [torch.arange(n)[None]]
    edge, size = found[0], 1
    while len(edge):
        images = generators[:, edge[:, base]].flatten()  # of s u, for every s and u: first u, then s
        fresh = torch.nonzero(place[images] < 0).flatten()
        first = torch.full((n,), len(images)).scatter_reduce(0, images[fresh], fresh, "amin")
        chosen = first[first < len(images)]
        edge = generators[chosen // len(edge)].gather(1, edge[chosen % len(edge)])
        place[edge[:, base]] = torch.arange(size, size + len(edge))
        size += len(edge)
        found.append(edge)
    cosets = torch.cat(found)
    return Level(base, cosets, cosets.argsort(1), place)


def _residues(levels: list[Level], g: Tensor) -> Tensor:
    """What elements leave after sifting, one for each first point that is moved."""
    left = sift(levels, g)[1]
    moved = left != torch.arange(g.shape[1])
    left, first = left[moved.any(1)], moved[moved.any(1)].to(torch.int64).argmax(1)
    place = torch.full((g.shape[1],), len(left)).scatter_reduce(0, first, torch.arange(len(left)), "amin")
    return left[place[place < len(left)]]


def _missing(levels: list[Level], strong: Tensor) -> Tensor:
    """Residues of the Schreier generators of the deepest level that has some."""
    fixed, sets = strong, []
    for level in levels:
        sets.append(fixed)
        fixed = fixed[fixed[:, level.base] == level.base]
    for depth in reversed(range(len(levels))):
        level, n = levels[depth], strong.shape[1]
        for block in level.cosets.split(max(1, 2_000_000 // (n * len(sets[depth])))):
            products = sets[depth][:, block].reshape(-1, n)
            back = level.back[level.place[products[:, level.base]]]
            left = _residues(levels[depth + 1 :], back.gather(1, products))
            if len(left):
                return left
    return strong[:0]


def _pool(strong: Tensor, n: int) -> Tensor:
    """Elements to multiply with each other: the generators, repeated."""
    if not len(strong):
        return strong
    return strong[torch.arange(max(WIDTH, len(strong))) % len(strong)].clone()


def _mixed(pool: Tensor, random: torch.Generator, times: int) -> Tensor:
    """Replace the pool by random products with its own elements and their inverses, in place; return it."""
    for _ in range(times):
        other = pool[torch.randperm(len(pool), generator=random)]
        flip = torch.rand(len(pool), 1, generator=random) < 0.5
        other = torch.where(flip, other, other.argsort(1))
        left = torch.rand(len(pool), 1, generator=random) < 0.5
        pool.copy_(torch.where(left, pool.gather(1, other), other.gather(1, pool)))
    return pool
