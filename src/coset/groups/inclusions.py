"""How groups sit inside larger ones: a graph of one-step inclusions, searched for a path."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial, singledispatch

from ..errors import GroupError, explain
from ..tree import Tree
from .affine import Affine, AffineGroup, Euclidean, SpecialEuclidean, Translation, without_matrix, without_shift
from .base import Group
from .cyclic import Cyclic, Dihedral, flip_steps, steps, unflipped
from .linear import GeneralLinear, Scaling, SpecialLinear
from .listed import Listed
from .lorentz import Lorentz, ProperLorentz, SpecialLorentz, embed_rotation
from .maps import Homomorphism, identity_map, subgroup
from .numeric import Dtype
from .orthogonal import Orthogonal, Reflection, SpecialOrthogonal
from .platonic import Icosahedral, Octahedral, Tetrahedral
from .products import Product, place_factor
from .symmetric import Hyperoctahedral, SignFlips, Symmetric, matrices
from .unitary import SpecialUnitary, Unitary


def to_matrix(group: Group, g: Tree, dtype: Dtype = None) -> Tree:
    """The group's own matrix of an element."""
    return group.matrix(g, dtype=dtype)


def inclusion(group: Group, larger: Group) -> Homomorphism:
    """The standard inclusion of ``group`` into ``larger``.

    It knows rotations in O(d), E(d) and SL(d); polygons in SO(2) and O(2) and in polygons with a multiple of corners;
    Platonic groups, permutations and sign flips in O(d); translations in E(d); factors in products, and what follows.

    Raises:
        GroupError: when no inclusion is known, or several factors of a product would do.

    Example:
        >>> from coset import groups
        >>> groups.inclusion(groups.Cyclic(4), groups.Euclidean(2)).target
        Euclidean(2)
    """
    paths = [identity_map(group)]
    seen: set[Group] = {group}
    while paths:
        path = paths.pop(0)
        if path.target == larger:
            return Homomorphism(group, larger, path.function, "inclusion", path.casts)
        for step in (*upwards(path.target), *_towards(path.target, larger)):
            if step.target not in seen:
                seen.add(step.target)
                paths.append(step if path.target == group else path.then(step))
    raise GroupError(
        explain(
            f"an inclusion of {group} into {larger}",
            "a group inside a larger one that coset knows",
            "build Homomorphism(source, target, function) with your own function",
        )
    )


def space_rotations(group: Group) -> Homomorphism:
    """The rotations of space inside a Lorentz, linear or affine group, with reflections where the group has them.

    Example:
        >>> from coset import groups
        >>> groups.inclusions.space_rotations(groups.Lorentz(4))
        inclusion: Orthogonal(3) -> Lorentz(4)
    """
    d = int(group.dim or 1) - int(group.lorentzian)
    rotations = Orthogonal(d) if group.reflects else SpecialOrthogonal(d)
    return subgroup(rotations, group, embed_rotation) if group.lorentzian else inclusion(rotations, group)


def _towards(group: Group, goal: Group) -> Iterator[Homomorphism]:
    """Steps that only the goal suggests: into larger polygons and into products."""
    if isinstance(group, Cyclic) and isinstance(goal, (Cyclic, Dihedral)) and goal.n % group.n == 0:
        yield subgroup(group, Cyclic(goal.n), partial(steps, goal.n // group.n))
    if isinstance(group, Dihedral) and isinstance(goal, Dihedral) and goal.n % group.n == 0:
        yield subgroup(group, goal, partial(flip_steps, goal.n // group.n))
    if isinstance(goal, Product) and not isinstance(group, Product):
        hosts = [i for i, factor in enumerate(goal.factors) if factor == group]
        if len(hosts) > 1:
            raise GroupError(
                explain(
                    f"an inclusion of {group} into {goal}, which contains it {len(hosts)} times",
                    "one such factor",
                    f"use parts()[{hosts[0]}]",
                )
            )
        yield from (place_factor(goal, i) for i in hosts)


@singledispatch
def upwards(group: Group) -> tuple[Homomorphism, ...]:
    """The inclusions of a group into the next larger ones."""
    return ()


def _same_elements(group: Group, *larger: Group) -> tuple[Homomorphism, ...]:
    return tuple(subgroup(group, target) for target in larger)


def _by_matrix(group: Group, *larger: Group) -> tuple[Homomorphism, ...]:
    return tuple(subgroup(group, target, partial(to_matrix, group), casts=True) for target in larger)


@upwards.register
def _(group: Cyclic) -> tuple[Homomorphism, ...]:
    return *_by_matrix(group, SpecialOrthogonal(2)), subgroup(group, Dihedral(group.n), unflipped)


@upwards.register
def _(group: Dihedral) -> tuple[Homomorphism, ...]:
    return _by_matrix(group, Orthogonal(2))


@upwards.register
def _(group: Symmetric) -> tuple[Homomorphism, ...]:
    return () if group.n is None else (subgroup(group, Hyperoctahedral(group.n), matrices, casts=True),)


@upwards.register
def _(group: Listed) -> tuple[Homomorphism, ...]:
    return _same_elements(group, group.ambient)


@upwards.register
def _(group: Reflection) -> tuple[Homomorphism, ...]:
    return _same_elements(group, SignFlips(group.ambient.dim or 1))


@upwards.register
def _(group: SignFlips) -> tuple[Homomorphism, ...]:
    return _same_elements(group, Hyperoctahedral(group.dim))


@upwards.register(Tetrahedral)
@upwards.register(Octahedral)
@upwards.register(Icosahedral)
def _platonic(group: Tetrahedral | Octahedral | Icosahedral) -> tuple[Homomorphism, ...]:
    larger: list[Group] = [Orthogonal(3)] if group.full else [SpecialOrthogonal(3), type(group)(full=True)]
    if isinstance(group, Tetrahedral):
        larger = [Octahedral(group.full), Icosahedral(group.full), *larger]
    if isinstance(group, Octahedral) and group.full:
        larger = [Hyperoctahedral(3), *larger]
    return _same_elements(group, *larger)


@upwards.register
def _(group: SpecialOrthogonal) -> tuple[Homomorphism, ...]:
    d = group.dim
    rigid = subgroup(group, SpecialEuclidean(d), without_shift)
    return *_same_elements(group, Orthogonal(d), SpecialLinear(d)), rigid


@upwards.register
def _(group: Orthogonal) -> tuple[Homomorphism, ...]:
    return *_same_elements(group, GeneralLinear(group.dim)), subgroup(group, Euclidean(group.dim), without_shift)


@upwards.register(SpecialLinear)
@upwards.register(Scaling)
@upwards.register(Lorentz)
def _linear(group: SpecialLinear | Scaling | Lorentz) -> tuple[Homomorphism, ...]:
    return _same_elements(group, GeneralLinear(group.dim))


@upwards.register
def _(group: GeneralLinear) -> tuple[Homomorphism, ...]:
    return (subgroup(group, Affine(group.dim), without_shift),)


@upwards.register
def _(group: Translation) -> tuple[Homomorphism, ...]:
    return (subgroup(group, SpecialEuclidean(group.dim), without_matrix),)


@upwards.register
def _(group: AffineGroup) -> tuple[Homomorphism, ...]:
    order: list[AffineGroup] = [SpecialEuclidean(group.dim), Euclidean(group.dim), Affine(group.dim)]
    return _same_elements(group, *order[order.index(group) + 1 :][:1])


@upwards.register
def _(group: ProperLorentz) -> tuple[Homomorphism, ...]:
    return _same_elements(group, SpecialLorentz(group.dim))


@upwards.register
def _(group: SpecialLorentz) -> tuple[Homomorphism, ...]:
    return _same_elements(group, Lorentz(group.dim))


@upwards.register
def _(group: SpecialUnitary) -> tuple[Homomorphism, ...]:
    return _same_elements(group, Unitary(group.dim))
