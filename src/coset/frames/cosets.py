"""Random cosets: a random rotation of a whole finite group is one draw, with less error than as many single elements."""

from __future__ import annotations

from functools import reduce

import torch
from torch import Tensor

from ..actions.layout import Layout
from ..errors import FrameError, GroupError, explain
from ..groups.base import Group
from ..groups.cyclic import Cyclic, Dihedral
from ..groups.designs import cyclic_signs
from ..groups.maps import Homomorphism
from ..groups.numeric import wide
from ..groups.platonic import Octahedral
from ..measure import Measure
from ..tree import Tree
from .average import LARGEST, integral, refuse_noncompact
from .base import Frame, device_of
from .until import Until, checked_samples, first_draws

POLYGON = 12
"""The corners of the polygon that is turned in the plane."""


class RandomCosets(Frame):
    """Draws R H: a Haar-random element R of O(d) or SO(d), times all elements of a finite subgroup H.

    Every element R h is Haar-distributed, so the average is unbiased like that of ``Haar``; but the elements of one draw
    are spread evenly, and whatever H averages to zero is gone: all that is not constant up to the degree that H
    integrates exactly (3 for the octahedron, 5 for the icosahedron). Draws are independent, their elements are not:
    standard errors count draws.

    The subgroup is the octahedral one for d = 3 (48 elements on O(3), 24 on SO(3)), regular polygons of 12 corners for
    d = 2 (24 and 12 elements), and all signed cyclic shifts for d >= 4 (2^d d elements, or the half that rotates).
    In a product with other compact groups, elements of the others are drawn independently for every element; under
    E(d) and SE(d) centre first: ``Chain(Center(), RandomCosets())``.

    Args:
        draws: independent draws per sample, each of as many model calls as the subgroup has elements; or
            ``frames.Until``.
        subgroup: another finite group with d x d matrices, such as ``groups.Icosahedral(full=True)`` or
            ``groups.Hyperoctahedral(4)``, or a homomorphism of a finite group into O(d) or SO(d).
        generator: source of randomness; torch's global one when left out.

    Raises:
        FrameError: when the number of draws is not at least 1, the group has no one factor O(d) or SO(d), or the
            subgroup is none.
        GroupError: when bound to a non-compact group.

    Reference: rules on the sphere of McLaren 1963, randomly turned.

    Example:
        >>> import torch
        >>> from coset import actions, frames, groups
        >>> found = frames.RandomCosets(2).bind(actions.Vectors(groups.Orthogonal(3)))(torch.randn(5, 3))
        >>> found.cosets, found.draws.unique()
        (96, tensor([0, 1]))
    """

    stochastic = True
    exact = False
    references = ("mclaren1963optimal",)
    turns: Tensor

    def __init__(self, draws: int | Until = 1, subgroup: Group | Homomorphism | None = None, generator: torch.Generator | None = None):
        super().__init__()
        self.samples, self.generator = checked_samples("RandomCosets(draws=", draws), generator
        if subgroup is not None and not (isinstance(subgroup, (Group, Homomorphism)) and _source(subgroup).finite):
            raise FrameError(
                explain(f"RandomCosets(subgroup={subgroup!r})", "a finite group, or a homomorphism of one", "pass groups.Icosahedral()")
            )
        self.subgroup = subgroup

    def prepare(self, group: Group) -> None:
        """List the subgroup's matrices, and check that they are in the factor that rotates."""
        refuse_noncompact(self, group)
        rotating = [part.source for part in group.parts() if part.source.orthogonal]
        if len(rotating) != 1 or not rotating[0].compact:
            raise FrameError(
                explain(f"{self} on {group}", "O(d) or SO(d), or a product of one of them with others", "use frames.Haar(samples)")
            )
        whole = rotating[0]
        self.turns = _default(whole) if self.subgroup is None else _listed(self.subgroup, whole)

    def measure(self, inputs: Tree, at: Layout) -> Measure:
        """Fresh draws with equal weights."""
        return self.draw(inputs, at, 0, first_draws(self.samples))

    def draw(self, inputs: Tree, at: Layout, start: int, count: int) -> Measure:
        """The next ``count`` cosets."""
        group, device = self.source.resolve(inputs), device_of(inputs)  # type: ignore[union-attr]
        turns = self.turns.to(device=device, dtype=wide(device))
        total = count * turns.shape[0]
        placed = [part(self._factor(part.source, count, at.samples, turns)) for part in group.parts()]
        weights = torch.full((total, at.samples), 1.0 / total, dtype=wide(device), device=device)
        order = torch.full((at.samples,), total, device=device)
        draws = torch.arange(count, device=device).repeat_interleave(turns.shape[0])
        return Measure(self.group, reduce(group.compose, placed), weights, order, cosets=total, draws=draws)

    def _factor(self, factor: Group, count: int, samples: int, turns: Tensor) -> Tree:
        """The elements (K, B, ...) in one factor: cosets in the one that rotates, else independent ones."""
        dtype = None if integral(factor) else turns.dtype
        if not factor.orthogonal:
            return factor.haar(count * turns.shape[0], samples, generator=self.generator, dtype=dtype, device=turns.device)
        starts = factor.haar(count, samples, generator=self.generator, dtype=dtype, device=turns.device)
        return (starts.unsqueeze(1) @ turns[:, None]).flatten(0, 1)

    def arguments(self) -> tuple[str, ...]:
        """The number of draws, and the subgroup where one was given."""
        return (str(self.samples), *(() if self.subgroup is None else (f"subgroup={self.subgroup!r}",)))


def _source(subgroup: Group | Homomorphism) -> Group:
    """The finite group."""
    return subgroup.source if isinstance(subgroup, Homomorphism) else subgroup


def _default(whole: Group) -> Tensor:
    """The matrices of the subgroup that is taken when none is named."""
    d = int(whole.dim)  # type: ignore[arg-type]
    if d == 2:
        return _matrices(Dihedral(POLYGON) if whole.reflects else Cyclic(POLYGON))
    if d == 3:
        return _matrices(Octahedral(full=whole.reflects))
    order = 2**d * d // (1 if whole.reflects else 2)
    if order > LARGEST:
        raise FrameError(explain(f"RandomCosets() on {whole}: {order} elements a draw", f"at most {LARGEST}", "pass subgroup="))
    return cyclic_signs(d, special=not whole.reflects)


def _matrices(group: Group) -> Tensor:
    """All elements as float64 matrices."""
    return group.matrix(group.elements(dtype=torch.float64), dtype=torch.float64)


def _listed(subgroup: Group | Homomorphism, whole: Group) -> Tensor:
    """The matrices of a subgroup, checked to lie in O(d) or SO(d)."""
    finite = _source(subgroup)
    refusal = explain(
        f"{subgroup!r} as a subgroup of {whole}",
        f"a finite group of {whole.dim} x {whole.dim} matrices inside it, of at most {LARGEST} elements",
        "pass for instance groups.Octahedral() for SO(3), with full=True for O(3), or a homomorphism into the group",
    )
    if finite.order > LARGEST:
        raise FrameError(refusal)
    try:
        found = _matrices(finite) if isinstance(subgroup, Group) else subgroup(finite.elements(dtype=torch.float64), dtype=torch.float64)
    except GroupError as error:
        raise FrameError(refusal) from error
    d = whole.dim
    if not isinstance(found, Tensor) or found.shape[1:] != (d, d) or found.is_complex():
        raise FrameError(refusal)
    apart = (found @ found.mT - torch.eye(int(d), dtype=found.dtype)).abs().amax()  # type: ignore[arg-type]
    if float(apart) > 1e-6 or (not whole.reflects and bool((torch.linalg.det(found) < 0).any())):
        raise FrameError(refusal)
    return found
