"""Which Lie algebra some matrices span: closure under the bracket, Killing form, invariant forms, and a name where it is certain."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

LEAST, MOST = 1e-6, 0.3
"""Numbers below three times the error, or the closure residual, are taken for zeros, within these limits."""

LARGE = 100
"""Larger algebras are looked at through some random elements; their Killing form is not computed."""

WIDEST = 60
"""Spaces of more dimensions are not searched for invariant forms."""

CLOSED = 0.3
"""A span whose brackets leave it by more is no Lie algebra."""


@dataclass(frozen=True)
class LieType:
    """What is known of a Lie algebra of matrices.

    Attributes:
        name: such as "so(3)", "so(1,3)", "se(3)", "abelian of dimension 2"; "unnamed ..." where the name is not certain.
        dimension: of the algebra.
        closure: the largest part of a bracket of two unit matrices that lies outside the span.
        killing: signature (positive, negative, zero) of the Killing form; None for more than 100 dimensions.
        abelian: all brackets vanish.
        compact: True where a positive definite form is kept and nothing shifts; None where that is not known.
        form: (p, p) the symmetric form that the linear parts keep, where it is unique up to a factor and not degenerate.
        shifts: the number of independent pure translations.
        center: (p,) the point about which affine fields are linear; None where there is none.
        least: differences below this are not resolved.
    """

    name: str
    dimension: int
    closure: float
    killing: tuple[int, int, int] | None
    abelian: bool
    compact: bool | None
    form: Tensor | None
    shifts: int
    center: Tensor | None
    least: float

    @property
    def closes(self) -> bool:
        """Whether the span is a Lie algebra, as far as the data can tell."""
        return self.closure < CLOSED


def lie_type(matrices: Tensor, error: float = 0.0) -> LieType:
    """Classify the span of affine fields (k, p + 1, p + 1), whose last rows are zero; linear ones have a zero last column.

    Args:
        matrices: with lengths of order one and the origin inside the data.
        error: how wrong the matrices may be, relative to their size; closure tells a part of it.

    Example:
        >>> import torch
        >>> from coset import discover, groups
        >>> boosts = groups.Lorentz(3).algebra(dtype=torch.float64)
        >>> discover.lie_type(torch.nn.functional.pad(boosts, (0, 1, 0, 1))).name
        'so(1,2)'
    """
    gram = matrices.flatten(1) @ matrices.flatten(1).mT
    apart = (gram - torch.eye(len(gram), dtype=gram.dtype)).abs().max()
    basis = matrices if float(apart) < 1e-10 else orthonormal(matrices)
    k = len(basis)
    constants, closure = structure(basis if k <= LARGE else mixtures(basis, 12), basis)
    least = min(max(LEAST, 3 * closure, 3 * error), MOST)
    abelian = k < 2 or float(constants.abs().max()) < least
    killing = signature_of(torch.einsum("iab,jba->ij", constants, constants), least) if k <= LARGE else None
    linear, shifts = linear_parts(basis, least)
    forms = invariant_forms(linear if len(linear) <= LARGE else mixtures(linear, 2), least)
    form = unique_form(forms, least)
    center = fixed_point(basis, least)
    compact = True if shifts == 0 and center is not None and definite(forms) else None
    name = named(linear, shifts, form, center, abelian, k, least) if closure < CLOSED else "none: brackets leave the span"
    return LieType(name, k, closure, killing, abelian, compact, form, shifts, center, least)


def orthonormal(matrices: Tensor) -> Tensor:
    """An orthonormal basis of the span, with as many elements as were given."""
    q = torch.linalg.qr(matrices.flatten(1).mT)[0]
    return q.mT.reshape(-1, *matrices.shape[1:])


def mixtures(basis: Tensor, count: int) -> Tensor:
    """Random elements of the span, of unit length; a few of them generate a semisimple algebra."""
    c = torch.randn(count, len(basis), generator=torch.Generator().manual_seed(0), dtype=basis.dtype)
    return torch.tensordot(c / c.norm(dim=1, keepdim=True), basis, dims=1)


def structure(elements: Tensor, basis: Tensor) -> tuple[Tensor, float]:
    """Structure constants c_ij^l with [e_i, e_j] = c_ij^l b_l in an orthonormal basis, and the largest part outside its span."""
    constants, outside, flat = [], 0.0, basis.flatten(1)
    for one in elements:
        brackets = (one @ elements - elements @ one).flatten(1)
        constants.append(brackets @ flat.mT)
        outside = max(outside, float((brackets - constants[-1] @ flat).norm(dim=-1).max()))
    return torch.stack(constants), outside


def signature_of(form: Tensor, least: float) -> tuple[int, int, int]:
    """Numbers of positive, negative and zero eigenvalues of a symmetric matrix, relative to the largest or to one."""
    values = torch.linalg.eigvalsh((form + form.mT) / 2)
    cut = least * max(1.0, float(values.abs().max()))
    plus, minus = int((values > cut).sum()), int((values < -cut).sum())
    return plus, minus, len(values) - plus - minus


def linear_parts(basis: Tensor, least: float) -> tuple[Tensor, int]:
    """An orthonormal basis of the linear parts (l, p, p), and the number of independent pure translations."""
    if not float(basis[:, :-1, -1].abs().max()):
        return basis[:, :-1, :-1], 0
    parts = basis[:, :-1, :-1].flatten(1)
    vectors, values = torch.linalg.svd(parts.mT, full_matrices=False)[:2]
    rank = int((values > max(1e-3, least)).sum())
    return vectors.mT[:rank].reshape(rank, basis.shape[1] - 1, basis.shape[1] - 1), len(basis) - rank


def invariant_forms(linear: Tensor, least: float) -> Tensor:
    """An orthonormal basis (f, p, p) of symmetric S with A^T S + S A = 0 for all linear parts A; none is looked for in large spaces."""
    p = linear.shape[-1]
    if p > WIDEST:
        return torch.zeros(0, p, p, dtype=linear.dtype)
    i, j = torch.triu_indices(p, p)
    unit = torch.zeros(len(i), p, p, dtype=linear.dtype)
    unit[torch.arange(len(i)), i, j] = unit[torch.arange(len(i)), j, i] = 1.0
    unit = unit / unit.flatten(1).norm(dim=1)[:, None, None]
    if not len(linear):
        return unit
    gram = torch.zeros(len(unit), len(unit), dtype=linear.dtype)
    for one in linear:
        change = (one.mT @ unit + unit @ one).flatten(1)
        gram += change @ change.mT
    values, vectors = torch.linalg.eigh(gram)
    null = values.clamp_min(0).sqrt() < max(1e-3, least)
    return torch.einsum("uf,uab->fab", vectors[:, null], unit)


def unique_form(forms: Tensor, least: float) -> Tensor | None:
    """The only invariant form, with more positive than negative axes, where it is not degenerate."""
    if len(forms) != 1:
        return None
    values = torch.linalg.eigvalsh(forms[0])
    if float(values.abs().min()) < max(1e-2, least) * float(values.abs().max()):
        return None
    return forms[0] if int((values > 0).sum()) * 2 >= len(values) else -forms[0]


def definite(forms: Tensor) -> bool:
    """Whether a positive definite form is found among the invariant ones: the projection of the identity is tried."""
    if not len(forms):
        return False
    p = forms.shape[-1]
    guess = torch.einsum("f,fab->ab", forms.diagonal(dim1=1, dim2=2).sum(1), forms)
    return float(torch.linalg.eigvalsh(guess).min()) > 1e-2 / p


def fixed_point(basis: Tensor, least: float) -> Tensor | None:
    """The point that no field moves, of least norm; None where there is none."""
    linear, shift = basis[:, :-1, :-1].flatten(0, 1), basis[:, :-1, -1].flatten()
    if not float(shift.abs().max()):
        return torch.zeros_like(basis[0, :-1, -1])
    point = -torch.linalg.pinv(linear, rtol=1e-3) @ shift
    return point if float((linear @ point + shift).abs().max()) < max(1e-2, least) else None


def named(linear: Tensor, shifts: int, form: Tensor | None, center: Tensor | None, abelian: bool, k: int, least: float) -> str:
    """A name, where the dimension and the invariant form leave no other."""
    rank, p = len(linear), linear.shape[-1]
    inner = _inner(linear, form, rank, p, least)
    if shifts == 0 and center is not None and inner:
        return inner
    if shifts == p and rank == 0:
        return f"all translations of R^{p}"
    if shifts == p and inner.startswith("so("):
        return f"se({p})" if inner == f"so({p})" else f"{inner} with all translations"
    if abelian:
        return f"abelian of dimension {k}"
    return f"unnamed, of dimension {k}"


def _inner(linear: Tensor, form: Tensor | None, rank: int, p: int, least: float) -> str:
    """The name of an algebra of linear maps; empty where it is not certain."""
    if form is not None and rank == p * (p - 1) // 2:
        minus = int((torch.linalg.eigvalsh(form) < 0).sum())
        return f"so({p})" if minus == 0 else f"so({min(minus, p - minus)},{max(minus, p - minus)})"
    if rank == p * p:
        return f"gl({p})"
    traces = linear.diagonal(dim1=1, dim2=2).sum(1).abs().max() if rank else torch.ones(())
    if rank == p * p - 1 and p > 1 and float(traces) < max(1e-2, least):
        return f"sl({p})"
    return ""
