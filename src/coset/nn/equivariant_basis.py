"""All linear maps that commute with a group: a basis for any two linear actions, its dimension checked against characters."""

from __future__ import annotations

import torch
from torch import Tensor

from ..actions.base import Action
from ..actions.signature import Signature
from ..errors import InputError, SignatureError, describe, explain
from .equivariant_methods import WIDEST, average_of, check_dimension, dimension_of, null_space, orbits, reynolds
from .equivariant_representation import Representation

BROKEN = 0.02
"""Representations that miss the group law by more are none."""


class EquivariantBasis:
    """An orthonormal basis of the linear maps W with rho_out(g) W = W rho_in(g).

    Attributes:
        signature: ``source >> target``.
        source_shape, target_shape: of one event.
        dimension: the number k of independent maps.
        how: "orbits", "Reynolds average" or "null space".
        checked: how the dimension was confirmed.
        labels: (out, in) the orbit of every entry, where the group only permutes entries; else None.
    """

    def __init__(self, source: Representation, target: Representation, found: Tensor, how: str, checked: str):
        self.signature: Signature = source.action >> target.action
        self.source_shape, self.target_shape = source.shape, target.shape
        self.how, self.checked, self.dtype = how, checked, source.dtype
        self.labels: Tensor | None = None
        self._dense: Tensor | None = None
        if how == "orbits":
            self.labels, self.dimension = found, int(found.max()) + 1
            self.sizes = torch.bincount(found.flatten()).to(torch.float64)
        else:
            self._dense, self.dimension = found, found.shape[0]

    @property
    def basis(self) -> Tensor:
        """(k, out, in) in float64 or complex128, orthonormal; entries of events are numbered row by row."""
        if self.labels is None:
            return self._dense  # type: ignore[return-value]
        hot = torch.nn.functional.one_hot(self.labels, self.dimension).movedim(-1, 0)
        return hot / self.sizes.sqrt()[:, None, None]

    def weight(self, coefficients: Tensor) -> Tensor:
        """Matrices (..., out, in) with the given coefficients (..., k)."""
        coefficients = _numbers(coefficients)
        if coefficients.shape[-1:] != (self.dimension,):
            raise InputError(explain(describe(coefficients), f"coefficients (..., {self.dimension})", "one for each basis matrix"))
        if self.labels is not None:
            return (coefficients / self.sizes.sqrt().to(coefficients))[..., self.labels.to(coefficients.device)]
        return torch.tensordot(coefficients, self.basis.to(coefficients), dims=1)

    def coefficients(self, matrix: Tensor) -> Tensor:
        """(..., k) the coordinates of the part of matrices (..., out, in) that commutes with the group."""
        matrix = _numbers(matrix)
        shape = self.labels.shape if self.labels is not None else self.basis.shape[1:]
        if matrix.shape[-2:] != shape:
            raise InputError(explain(describe(matrix), f"matrices (..., {shape[0]}, {shape[1]})", "flatten events row by row"))
        if self.labels is None:
            return torch.einsum("kij,...ij->...k", self.basis.conj().to(matrix), matrix)
        where = self.labels.to(matrix.device).flatten().expand(*matrix.shape[:-2], -1)
        sums = matrix.new_zeros(*matrix.shape[:-2], self.dimension).scatter_add(-1, where, matrix.flatten(-2))
        return sums / self.sizes.sqrt().to(matrix)

    def project(self, matrix: Tensor) -> Tensor:
        """The nearest matrices (..., out, in) that commute with the group."""
        return self.weight(self.coefficients(matrix))

    def __repr__(self) -> str:
        return f"EquivariantBasis({self.signature!r}, dimension={self.dimension}, how={self.how!r}, checked={self.checked!r})"


def _numbers(x: Tensor) -> Tensor:
    """A tensor of numbers that can be scaled: integers become floating point numbers."""
    if not isinstance(x, Tensor):
        raise InputError(explain(describe(x), "a tensor", "convert it with torch.as_tensor"))
    return x if x.is_floating_point() or x.is_complex() else x.to(torch.get_default_dtype())


def equivariant_basis(
    source: Action,
    target: Action,
    *,
    source_shape: tuple[int, ...] | None = None,
    target_shape: tuple[int, ...] | None = None,
    dimension: int | None = None,
    noise: float | None = None,
) -> EquivariantBasis:
    """A basis of all linear maps that commute with a group, for any two of its linear actions.

    Groups that only permute entries: orbits of pairs of entries, without any linear algebra. Finite groups: averages of
    random maps. Lie groups: the null space of rho_out W - W rho_in over the Lie algebra and one element of every
    component. The dimension is compared with the mean product of characters: over all elements or conjugacy classes, an
    exact quadrature, or random elements; groups without Haar measure have no such check, but may be given ``dimension``.

    Args:
        source: how inputs move.
        target: how outputs move; of the same group.
        source_shape: of one input without the batch axis, where the action leaves it open (``Trivial``: (1,)).
        target_shape: of one output.
        dimension: what you know the dimension to be.
        noise: the error of the entries of the representations; measured on the group law when left out.

    Raises:
        SignatureError: for actions that are affine, not linear, resampled, or of different groups; when the shape is open; and
            when noise leaves the dimension uncertain.
        GroupError: when characters, or ``dimension``, say otherwise.

    Reference: Finzi, Welling and Wilson 2021, arXiv 2104.09459.

    Example:
        >>> from coset import actions, groups, nn
        >>> S5 = groups.Symmetric(5)
        >>> found = nn.equivariant_basis(actions.Permute(S5, -2, -1), actions.Permute(S5, -2, -1))
        >>> found.dimension, found.how
        (15, 'orbits')
    """
    with torch.device("cpu"):
        return _basis(source, target, (source_shape, target_shape), dimension, noise)


def _basis(
    source: Action, target: Action, shapes: tuple[tuple[int, ...] | None, ...], dimension: int | None, noise: float | None
) -> EquivariantBasis:
    """As :func:`equivariant_basis`, on the host."""
    into, out = Representation(source, shapes[0]), Representation(target, shapes[1])
    into, out = _same_group(into, out)
    if into.size * out.size > WIDEST:
        given = f"maps with {into.size * out.size} entries between {source} and {target}"
        raise SignatureError(explain(given, f"at most {WIDEST}", "split the spaces"))
    error = max(into.noise(), out.noise())
    if error > BROKEN:
        raise SignatureError(
            explain(f"{source} and {target}, which miss the group law by {error:.2g}", "representations", "check them with coset.audit")
        )
    checked, noise = dimension_of(into, out), max(error, 1e-14) if noise is None else noise
    who = f"from {source} to {target}"
    labels = orbits(into, out)
    if labels is not None:
        found, how = labels, "orbits"
        size = int(labels.max()) + 1
    else:
        elements = average_of(into, out) if into.group.finite else None
        if elements is not None and checked is not None and not elements.drawn:
            found, how = reynolds(into, out, elements, round(checked.value), noise), "Reynolds average"
        else:
            found, how = null_space(into, out, noise)[0], "null space"
        size = found.shape[0]
    return EquivariantBasis(into, out, found, how, check_dimension(size, checked, dimension, who))


def _same_group(into: Representation, out: Representation) -> tuple[Representation, Representation]:
    """Both as representations of one group, with free numbers of points fixed by either side."""
    if into.action.group != out.action.group:
        raise SignatureError(
            explain(f"a source moved by {into.action.group}, a target by {out.action.group}", "one group", "Pullback one of the actions")
        )
    if into.group != out.group:
        free = into.action.group
        fixed = {one.group for one in (into, out)} - {free}
        if len(fixed) != 1:
            raise SignatureError(
                explain(f"events of {into.group} and {out.group}", "one number of points", "give both shapes the same one")
            )
        into.group = out.group = fixed.pop()
    return into, out
