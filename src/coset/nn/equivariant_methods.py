"""Three ways to the maps that commute with a group: orbits of entries, averages over the group, null spaces over generators."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ..errors import GroupError, SignatureError, explain
from ..groups.generating import Averaging, averaging, count, generators
from ..tree import tree_map
from .equivariant_representation import Representation

LARGEST = 4096
"""Entries of a map up to which null spaces are computed."""

WIDEST = 20_000_000
"""Entries of a map up to which orbits are computed."""

NUMBERS = 50_000_000
"""Numbers in all the maps that are averaged over a finite group, at most."""

CLEAR = 10.0
"""Singular values that count as nonzero are this many times above the noise floor."""


class Checked(NamedTuple):
    """The dimension that characters give: a number, its standard error (0 where exact), and how it was found."""

    value: float
    stderr: float
    how: str


def dimension_of(source: Representation, target: Representation) -> Checked | None:
    """The mean of conj(chi_source) chi_target over the group; None without a Haar measure."""
    found = average_of(source, target)
    if found is None:
        return None
    product = (source.characters(found.elements).conj() * target.characters(found.elements)).real
    mean = float((found.weights * product).sum())
    stderr = float(product.std()) / math.sqrt(len(product)) if found.drawn else 0.0
    return Checked(mean, stderr, found.how)


def average_of(source: Representation, target: Representation) -> Averaging | None:
    """Elements that average products of the two representations; of affine groups, those of the linear part."""
    degrees = (source.action.degree, target.action.degree)
    degree = None if None in degrees else sum(degrees)  # type: ignore[arg-type]
    group = source.group
    if not group.translates:
        return averaging(group, degree)
    part = next((part for part in group.parts() if not part.source.translates and part.source.compact), None)
    found = averaging(part.source, degree) if part is not None else None
    if found is None or part is None or len(group.parts()) != 2 or not group.parts()[0].source.translates:
        return None
    return found._replace(elements=part(found.elements, dtype=torch.float64), how=f"{found.how} of the linear part")


def orbits(source: Representation, target: Representation) -> Tensor | None:
    """Labels (out, in) of the orbits of pairs of entries; None where the group does more than permute entries."""
    if source.group.lie_dimension and (source.action.moves or target.action.moves):
        return None
    g = generators(source.group)
    into, outof = source.permutations(g), target.permutations(g)
    if into is None or outof is None:
        return None
    labels = torch.arange(target.size * source.size).reshape(target.size, source.size)
    while True:
        before = labels
        for p, q in zip(outof, into, strict=True):
            moved = labels[p][:, q]
            low = torch.minimum(labels, moved)
            labels = low.flatten().scatter_reduce(0, moved.flatten(), low.flatten(), "amin")[low]
        if torch.equal(labels, before):
            return labels.unique(return_inverse=True)[1].reshape(labels.shape)


def reynolds(source: Representation, target: Representation, elements: Averaging, dimension: int, noise: float) -> Tensor:
    """An orthonormal basis (k, out, in) of averages of random maps over a finite group.

    More maps than ``dimension`` are averaged, so that the rank is found and not assumed; singular values below what
    ``noise`` of the representations explains are zeros.
    """
    if (dimension + 4) * target.size * source.size > NUMBERS:
        given = f"{dimension} maps with {target.size * source.size} entries between {source.action} and {target.action}"
        raise SignatureError(explain(given, f"at most {NUMBERS} numbers in all", "split the spaces"))
    generator = torch.Generator().manual_seed(0)
    sketch = torch.randn(dimension + 4, target.size, source.size, generator=generator, dtype=torch.float64).to(source.dtype)
    total, piece = torch.zeros_like(sketch), max(1, 2_000_000 // max(source.size, target.size) ** 2)
    inverse = source.group.inverse(elements.elements)
    for start in range(0, count(elements.elements), piece):
        part = slice(start, start + piece)
        here = target.matrices(tree_map(lambda leaf, part=part: leaf[part], elements.elements))
        back = source.matrices(tree_map(lambda leaf, part=part: leaf[part], inverse))
        weighted = elements.weights[part].to(here.dtype)[:, None, None] * here
        for a, b in zip(weighted, back, strict=True):
            total += a @ sketch @ b
    values, vectors = torch.linalg.svd(total.flatten(1), full_matrices=False)[1:]
    floor = max(1e-8, 10 * noise * math.sqrt(source.size + target.size))
    rank = int((values > floor * max(1.0, float(values[0]))).sum())
    return vectors[:rank].reshape(rank, target.size, source.size)


def null_space(source: Representation, target: Representation, noise: float) -> tuple[Tensor, float]:
    """An orthonormal basis (k, out, in) of the W with rho_out W = W rho_in over generators, and the gap above the floor.

    Args:
        source: how inputs move.
        target: how outputs move.
        noise: of the entries of the generators; singular values below what it explains are zeros.

    Raises:
        SignatureError: when singular values lie near the noise floor, so that the dimension is uncertain.
    """
    size = source.size * target.size
    if size > LARGEST:
        raise SignatureError(
            explain(f"maps with {size} entries between {source.action} and {target.action}", f"at most {LARGEST}", "split the spaces")
        )
    g = generators(source.group)
    pairs = [(target.matrices(g), source.matrices(g)), (target.derivatives(), source.derivatives())]
    gram = torch.zeros(size, size, dtype=source.dtype)
    for outs, ins in pairs:
        for a, b in zip(outs, ins, strict=True):
            gram += _gram(a, b)
    values, vectors = torch.linalg.eigh(gram)
    scale = max(1.0, *(float(m.abs().amax()) for pair in pairs for m in pair if m.numel()))
    number = sum(len(outs) for outs, _ in pairs)
    floor = 10 * noise * scale * math.sqrt(number * (source.size + target.size))
    floor = max(floor, 1e-6 * math.sqrt(max(1.0, float(values[-1]))))
    singular = values.clamp_min(0).sqrt()
    rank = int((singular <= floor).sum())
    above = float(singular[rank]) / floor if rank < size else math.inf
    if above < CLEAR:
        raise SignatureError(
            explain(
                f"a singular value {float(singular[rank]):.2g} beside the noise floor {floor:.2g} of the generators",
                f"a gap of {CLEAR:g} or more: the dimension cannot be told",
                "give the representations to more digits, or state their error as noise=",
            )
        )
    return vectors[:, :rank].mT.reshape(rank, target.size, source.size), above


def _gram(a: Tensor, b: Tensor) -> Tensor:
    """C* C for C = a (x) 1 - 1 (x) b^T, the map W -> a W - W b on matrices written row by row."""
    one_out, one_in = torch.eye(len(a), dtype=a.dtype), torch.eye(len(b), dtype=b.dtype)
    cross = torch.kron(a.mH.contiguous(), b.mT.contiguous())
    return torch.kron((a.mH @ a).contiguous(), one_in) + torch.kron(one_out, (b.conj() @ b.mT).contiguous()) - cross - cross.mH


def check_dimension(found: int, checked: Checked | None, declared: int | None, who: str) -> str:
    """How the dimension was confirmed.

    Raises:
        GroupError: when it is not what characters or the user say.
    """
    if declared is not None and declared != found:
        raise GroupError(
            explain(f"{found} independent maps {who}", f"the declared dimension {declared}", "check the actions, or dimension=")
        )
    if checked is None:
        return "declared" if declared is not None else "not checked: no Haar measure"
    if abs(checked.value - found) > 0.1 + 6 * checked.stderr:
        raise GroupError(
            explain(
                f"{found} independent maps {who}, where characters give {checked.value:.3f} ({checked.how})",
                "the same number",
                "check that both actions obey the group law: coset.audit prints it",
            )
        )
    return f"characters over {checked.how}"
