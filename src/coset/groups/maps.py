"""Homomorphisms between groups: maps that respect composition; they pull actions back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from ..errors import GroupError, explain
from ..tree import Tree
from .base import Group
from .numeric import Dtype, cast


@dataclass(frozen=True)
class Homomorphism:
    """A map of groups phi: source -> target with phi(gh) = phi(g) phi(h).

    It pickles and copies when ``function`` does: a module-level function, or a ``functools.partial`` of one.

    Args:
        source: the group that elements come from.
        target: the group that they are sent to.
        function: maps an element (tree with leading batch axes) of ``source`` to one of ``target``.
        name: how the map is printed.
        casts: ``function`` takes a keyword ``dtype``, and computes its result in it.

    Example:
        >>> from coset import groups
        >>> turn = groups.to_rotations(groups.Cyclic(4))
        >>> turn.target
        SpecialOrthogonal(2)
    """

    source: Group
    target: Group
    function: Callable[..., Tree]
    name: str = "map"
    casts: bool = False

    def __call__(self, g: Tree, *, dtype: Dtype = None) -> Tree:
        """The image of g.

        Args:
            g: an element of ``source`` with any leading batch axes.
            dtype: of the image; None keeps that of g, or the default one where g is made of integers.
        """
        if self.casts:
            return self.function(g, dtype=dtype)
        image = self.function(g)
        return image if dtype is None else cast(image, dtype)

    def then(self, other: Homomorphism) -> Homomorphism:
        """The composite ``other`` after ``self``.

        Raises:
            GroupError: when ``other`` does not start where ``self`` ends.
        """
        if self.target != other.source:
            raise GroupError(
                explain(f"the map {self} followed by {other}", f"a second map from {self.target}", "compose maps whose ends meet")
            )
        return Homomorphism(self.source, other.target, partial(_then, self, other), f"{other.name} after {self.name}", casts=True)

    def __repr__(self) -> str:
        return f"{self.name}: {self.source} -> {self.target}"


def _then(first: Homomorphism, second: Homomorphism, g: Tree, dtype: Dtype = None) -> Tree:
    return second(first(g, dtype=dtype), dtype=dtype)


def same(g: Tree) -> Tree:
    """The element itself: how a subgroup with the same kind of elements is included."""
    return g


def identity_map(group: Group) -> Homomorphism:
    """The identity of a group, as a homomorphism."""
    return Homomorphism(group, group, same, "identity")


def subgroup(source: Group, target: Group, function: Callable[..., Tree] = same, casts: bool = False) -> Homomorphism:
    """An inclusion given by its function on elements."""
    return Homomorphism(source, target, function, "inclusion", casts)
