"""Quadrature on groups: few weighted elements that average polynomials of a degree exactly as Haar does."""

from __future__ import annotations

from functools import lru_cache, partial
from typing import NamedTuple

import torch
from torch import Tensor

from ..errors import GroupError, explain
from ..tree import Tree, tree_map
from .base import Finite, Group
from .cyclic import Cyclic, Dihedral, rotation
from .designs import characters, quaternion_pairs, signed_shifts
from .numeric import size
from .orthogonal import Orthogonal, SpecialOrthogonal
from .products import Product, rows
from .quaternions import polyhedral
from .spheres import sphere
from .unitary import SpecialUnitary, Unitary
from .unitary_rules import unitary

EVERY = 10**6
"""The degree of a rule that lists the whole group."""


class Rule(NamedTuple):
    """A finite measure that integrates polynomials in the matrix entries as the Haar measure does.

    Attributes:
        elements: a tree with leading axis k, in float64 or complex128.
        weights: (k,) positive, of sum 1.
        degree: polynomials up to this degree are averaged exactly; 10**6 for a whole finite group.
        nested: (k,) integers 0, 1, ...: the elements with one label, with their weights rescaled to sum 1, are a rule of
            lower degree. The spread between these rules estimates the error without another model call.
    """

    elements: Tree
    weights: Tensor
    degree: int
    nested: Tensor


def rule(group: Group, degree: int) -> Rule:
    """The cheapest known quadrature on a compact group that is exact to a polynomial degree.

    Finite groups, and products of them, are listed. On SO(2) and O(2) regular polygons; on SO(3) the half turns (degree 1,
    4 elements) and the rotations of the tetrahedron (2; 12), the octahedron (3; 24) and the icosahedron (5; 60), with
    inversion on O(3); signed cyclic shifts (degree 3) in any dimension; pairs of quaternions on SO(4) (5, 7, 11); beyond,
    a rule on the sphere (Lebedev or Gauss) times a rule on the rotations that fix a point of it; on U(d) and SU(d) the same
    with the sphere of complex unit vectors.

    Args:
        group: Orthogonal, SpecialOrthogonal, Unitary, SpecialUnitary, a finite group, or a product of these.
        degree: the wanted degree in the matrix entries (and their conjugates), at least 0.

    Raises:
        GroupError: when the degree is not an integer of at least 0, or no rule is known for the group.

    Example:
        >>> from coset.groups import SpecialOrthogonal, rule
        >>> nodes = rule(SpecialOrthogonal(3), 5)
        >>> nodes.elements.shape, nodes.degree
        (torch.Size([60, 3, 3]), 5)
    """
    degree = _checked(degree)
    if isinstance(group, Product):
        return _product(group, degree)
    if isinstance(group, Finite):
        return _listed(group)
    if isinstance(group, SpecialOrthogonal):
        found = special(group.dim, degree)
    elif isinstance(group, Orthogonal):
        found = full(group.dim, degree)
    elif isinstance(group, (Unitary, SpecialUnitary)):
        elements, weights, nested = unitary(group.dim, degree, isinstance(group, SpecialUnitary))
        found = Rule(elements, weights, EVERY if group.lie_dimension == 0 else degree, nested)
    else:
        raise GroupError(
            explain(
                f"a quadrature on {group}",
                "O(d), SO(d), U(d), SU(d), a finite group, or a product of these",
                "average over samples: haar() or sample()",
            )
        )
    return Rule(found.elements.clone(), found.weights.clone(), found.degree, found.nested.clone())


def _checked(degree: int) -> int:
    try:
        return size("degree", degree, 0)
    except GroupError as error:
        raise GroupError(explain(f"degree={degree!r}", "an integer of at least 0", "pass for instance degree=2")) from error


def _equal(elements: Tree, k: int, degree: int, nested: Tensor) -> Rule:
    return Rule(elements, torch.full((k,), 1 / k, dtype=torch.float64), degree, nested)


def _listed(group: Finite) -> Rule:
    """The whole group; polygons are split into cosets of a smaller polygon, other groups into single elements."""
    k = group.order
    nested = torch.arange(k)
    if isinstance(group, (Cyclic, Dihedral)):
        nested = nested % group.n % smallest_prime(group.n)
    return _equal(group.elements(dtype=torch.float64), k, EVERY, nested)


def _product(group: Product, degree: int) -> Rule:
    """The product of the factors' rules, exact where the degree in each factor's matrix is at most ``degree``."""
    rules = [rule(factor, degree) for factor in group.factors]
    counts = [len(r.weights) for r in rules]
    pick = torch.cartesian_prod(*(torch.arange(k) for k in counts)).reshape(-1, len(rules)).unbind(-1)
    weights = torch.stack([r.weights[i] for r, i in zip(rules, pick, strict=True)]).prod(0)
    nested = torch.stack([r.nested[i] for r, i in zip(rules, pick, strict=True)], -1)
    labels = torch.unique(nested, dim=0, return_inverse=True)[1]
    elements = tuple(tree_map(partial(rows, i), r.elements) for r, i in zip(rules, pick, strict=True))
    return Rule(elements, weights, min(r.degree for r in rules), labels)


def smallest_prime(n: int) -> int:
    """The smallest prime that divides n (1 for n = 1)."""
    return next((p for p in range(2, n + 1) if n % p == 0), 1)


@lru_cache
def special(d: int, degree: int) -> Rule:
    """A rule on SO(d)."""
    if d == 1 or degree == 0:
        return _equal(torch.eye(d, dtype=torch.float64)[None], 1, EVERY if d == 1 else 0, torch.zeros(1, dtype=torch.int64))
    if d == 2:
        steps = torch.arange(degree + 1)
        return _equal(rotation(degree + 1, steps, torch.float64), degree + 1, degree, steps % smallest_prime(degree + 1))
    if degree == 1:
        diagonals = torch.diag_embed(characters(d, 1, special=True))
        return _equal(diagonals, len(diagonals), 1, torch.arange(len(diagonals)))
    return special_polyhedral(d, degree) or fibred(d, degree)


def special_polyhedral(d: int, degree: int) -> Rule | None:
    """A rule on SO(d), d at least 3, from a finite set of high symmetry, where there is one of degree 2 or more."""
    if d == 3 and degree <= 5:
        reach, order, parts = next(row for row in ((2, 12, 3), (3, 24, 2), (5, 60, 5)) if degree <= row[0])
        return _equal(polyhedral(order), order, reach, torch.arange(order) // (order // parts))
    if d == 4 and degree <= 11:
        reach, order, parts = next(row for row in ((3, 8, 4), (5, 24, 3), (7, 48, 2), (11, 120, 5)) if degree <= row[0])
        matrices, nested = quaternion_pairs(order, parts)
        return _equal(matrices, len(matrices), reach, nested)
    if d >= 4 and degree <= 3:
        matrices, nested = signed_shifts(d, degree, special=True)
        return _equal(matrices, len(matrices), degree, nested)
    return None


def fibred(d: int, degree: int) -> Rule:
    """Rotations that bring the last axis to the points of a sphere, times a rule on SO(d-1); labels are those of SO(d-1).

    The average over SO(d-1) of a polynomial is one of the same degree in the last column.
    """
    points, weights = sphere(d, degree)
    inner = special(d - 1, degree)
    fixed = torch.nn.functional.pad(inner.elements, (0, 1, 0, 1))
    fixed[:, -1, -1] = 1.0
    elements = (to_point(points)[:, None] @ fixed).flatten(0, 1)
    return Rule(elements, (weights[:, None] * inner.weights).flatten(), min(degree, inner.degree), inner.nested.repeat(len(points)))


def to_point(points: Tensor) -> Tensor:
    """Rotations (k, d, d) whose last column is the given unit vector (k, d): a reflection, then one more axis flipped."""
    d = points.shape[-1]
    last = torch.eye(d, dtype=points.dtype)[-1]
    side = 1 - 2 * (points[:, -1] > 0).to(points.dtype)[:, None]
    normal = last - side * points
    normal = normal / normal.norm(dim=-1, keepdim=True)
    reflection = torch.eye(d, dtype=points.dtype) - 2 * normal[:, :, None] * normal[:, None, :]
    turned = side[:, :, None] * reflection
    return torch.cat([turned[..., :1] * torch.linalg.det(turned).sgn()[:, None, None], turned[..., 1:]], -1)


@lru_cache
def full(d: int, degree: int) -> Rule:
    """A rule on O(d): the cheapest of the ways to bring in reflections."""
    if d == 1 or degree == 1:
        unit = torch.eye(d, dtype=torch.float64)
        return _equal(torch.stack([unit, -unit]), 2, EVERY if d == 1 else 1, torch.arange(2))
    if degree == 0:
        return special(d, 0)
    options = [doubled(special(d, degree), d, degree)]
    if degree < d:
        options.append(special(d, degree))
    if d % 2:
        options.append(doubled(special(d, degree - degree % 2), d, degree))
    if degree <= 3 and d >= 3:
        matrices, nested = signed_shifts(d, degree, special=False)
        options.append(_equal(matrices, len(matrices), degree, nested))
    return min(options, key=lambda option: len(option.weights))


def doubled(half: Rule, d: int, degree: int) -> Rule:
    """A rule on SO(d) and its image: under -1 in odd dimensions, where odd polynomials then average to zero, else a mirror."""
    mirror = torch.ones(d, dtype=torch.float64)
    mirror[0] = -1.0
    other = -half.elements if d % 2 else half.elements * mirror
    return Rule(torch.cat([half.elements, other]) + 0.0, half.weights.repeat(2) / 2, max(half.degree, degree), half.nested.repeat(2))
