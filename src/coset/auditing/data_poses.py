"""Poses: every sample moved by elements of a subgroup, the sample as it is among them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import GroupError, SignatureError, describe, explain
from ..groups.base import Group
from ..groups.inclusions import inclusion
from ..groups.maps import Homomorphism, identity_map
from ..tree import Tree, leaves, tree_map
from .data_inputs import Observed
from .elements import order_of

NUMBERS = 2**24
"""How many numbers are moved at once."""


@dataclass(frozen=True)
class Poses:
    """For every sample, ``count`` elements of the group, the identity first.

    With an invariant input law and given its orbit, a sample is as likely to be in any of its poses: they are the whole
    subgroup, or the identity and independent Haar draws. That is what makes randomization exact.

    Attributes:
        elements: tree with leading axes (n, S).
        count: S.
        whole: whether the S elements are the whole subgroup.
        name: the subgroup, in words.
    """

    elements: Tree
    count: int
    whole: bool
    name: str

    def move(self, seen: Observed, rows: Tensor) -> tuple[Tree, Tensor | None]:
        """The poses of some samples, as leading entries (R * S): inputs and targets."""
        g = tree_map(lambda e: e[rows].flatten(0, 1), self.elements)
        repeated = rows.repeat_interleave(self.count)
        x = seen.signature.source.act(g, tree_map(lambda t: t[repeated], seen.x))
        if seen.y is None:
            return x, None
        y = seen.y[repeated]
        return x, y if seen.still else seen.signature.target.act(g, y)

    def back(self, seen: Observed, rows: Tensor, y: Tensor) -> Tensor:
        """Outputs (R * S, ...) at the poses, moved back to the samples."""
        if seen.still:
            return y
        g = tree_map(lambda e: e[rows].flatten(0, 1), self.elements)
        return seen.signature.target.act(seen.group.inverse(g), y)

    def parts(self, seen: Observed) -> Iterator[Tensor]:
        """Row numbers, few enough at a time for their poses to fit into memory."""
        each = sum(t[0].numel() for t in leaves(seen.x)) * self.count
        yield from torch.arange(seen.count, device=seen.device).split(max(1, NUMBERS // max(each, 1)))


def draw_poses(seen: Observed, phi: Homomorphism, samples: int, generator: torch.Generator) -> Poses:
    """All elements of a subgroup with at most ``samples`` of them, else the identity and random ones for every input.

    Raises:
        GroupError: when the subgroup is not compact, so that no law is uniform on its orbits.
    """
    group = phi.source
    if not group.compact:
        raise GroupError(
            explain(
                f"the group {group}, under which no probability law is invariant",
                "a compact group",
                "centre the data and declare the compact part, for instance groups.Orthogonal(3) for groups.Euclidean(3)",
            )
        )
    order = order_of(group)
    if order is not None and order <= samples:
        every = phi(group.elements(dtype=seen.dtype, device=seen.device), dtype=seen.dtype)
        return Poses(tree_map(lambda e: e[None].expand(seen.count, *e.shape), every), order, True, str(group))
    drawn = group.haar(seen.count, samples - 1, generator=generator, dtype=seen.dtype, device=generator.device)
    still = group.identity(seen.count, 1, dtype=seen.dtype, device=generator.device)
    both = phi(tree_map(lambda a, b: torch.cat([a, b], 1), still, drawn), dtype=seen.dtype)
    return Poses(tree_map(lambda e: e.to(seen.device), both), samples, False, str(group))


def parts_of(group: Group, asked: tuple[Group | Homomorphism, ...]) -> dict[str, Homomorphism]:
    """The subgroups to report beside the whole group: its named components, then those asked for, by name.

    Raises:
        SignatureError: when something else than a group or a homomorphism into the group was asked for.
    """
    found = {name: phi for name, phi in group.components().items() if phi.source != group}
    for given in asked:
        if isinstance(given, Homomorphism):
            phi = given
        elif isinstance(given, Group):
            phi = identity_map(group) if given == group else inclusion(given, group)
        else:
            raise SignatureError(explain(f"{describe(given)} among subgroups", "groups or homomorphisms", "pass subgroups=(Cyclic(2),)"))
        if phi.target != group:
            raise SignatureError(explain(f"{phi} among subgroups", f"a map into {group}", "compose it with then()"))
        found[str(phi.source)] = phi
    return found
