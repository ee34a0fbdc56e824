"""Signs and bases of eigenvectors, made canonical where nodes can tell them apart, and averaged exactly where they cannot."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ..actions.base import Action
from ..actions.layout import Layout
from ..actions.trees import flatten
from ..errors import FrameError, InputError, describe, explain
from ..groups.base import Group
from ..measure import Measure
from ..tree import Tree
from .base import Frame, refuse_traced, wide
from .branches import branches, places
from .clouds import pad_rows
from .eigenspaces import Spaces, cluster, ranked, settle

COARSE = 0.1
"""Tolerances from here on tell nothing about unit vectors."""


@dataclass(frozen=True)
class EigenReport:
    """What of each operator's eigenvectors is canonical.

    Attributes:
        signs: (B,) number of simple eigenvalues; ``signs_fixed`` of them have a canonical sign.
        signs_fixed: (B,).
        bases: (B,) number of multiple eigenvalues; ``bases_fixed`` of them have a wholly canonical basis.
        bases_fixed: (B,).
        columns: (B, k) True where a column of the canonical eigenvectors is determined.
        elements: (B,) how many bases the measure averages over: 1 where all is fixed, 0 where the remaining ambiguity is
            infinite or larger than the frame's ``average``, so that the result depends on the given basis.
    """

    signs: Int[Tensor, " B"]
    signs_fixed: Int[Tensor, " B"]
    bases: Int[Tensor, " B"]
    bases_fixed: Int[Tensor, " B"]
    columns: Bool[Tensor, "B k"]
    elements: Int[Tensor, " B"]

    @property
    def canonical(self) -> Bool[Tensor, " B"]:
        """(B,) True where every sign and basis is fixed, so that eigenvectors are functions of the graph."""
        return (self.signs == self.signs_fixed) & (self.bases == self.bases_fixed)

    @property
    def exact(self) -> Bool[Tensor, " B"]:
        """(B,) True where the frame is exact: canonical, or averaged over all that is left."""
        return self.elements > 0

    def __str__(self) -> str:
        graphs = len(self.signs)
        return (
            f"{int(self.signs_fixed.sum())} of {int(self.signs.sum())} signs and {int(self.bases_fixed.sum())} of "
            f"{int(self.bases.sum())} bases fixed; {int(self.canonical.sum())} of {graphs} canonical, {int(self.exact.sum())} exact"
        )


class Eigenvectors(Frame):
    """Canonical signs and bases of eigenvectors: positional encodings that are functions of the graph alone.

    The group is O(k), acting on the k columns; a decomposition determines its eigenvectors up to the orthogonal
    matrices that keep eigenspaces apart, so only those count. Eigenvalues are clustered by relative gap. Under
    ``SignFlips(k)`` every column is taken for simple.

    Nodes are classified by what no choice of bases changes: generic combinations of all given eigenprojections, refined
    as the Weisfeiler-Leman test refines, and ``colours``. In each eigenspace the projections of the indicators of classes, in the
    order of classes, are orthonormalized as far as they span; what is fixed classifies nodes further, until nothing
    new is fixed. For a simple eigenvalue this is the sign that makes the first unbalanced level set positive. The result does not
    depend on the order of nodes: permuting them permutes the rows of the canonical eigenvectors.

    What remains (a symmetry of the graph flips or turns it) is known, see :meth:`report`. It is averaged over by
    individualizing nodes of one class in turn, both signs of a simple eigenvector first, up to ``average`` elements:
    one call of the model each, exact. Operators that need more keep the given basis there, with a warning. The matrices are
    constants in backward passes.

    Give whole eigenspaces: the columns of one that is cut in two span an arbitrary part of it, which no frame sees or repairs.

    Args:
        vectors: key of the eigenvectors, columns of (B, n, k) or ragged (N, k), declared ``Vectors``.
        values: key of the eigenvalues (B, k), declared ``Trivial``, or of the operator in the basis of the given vectors (B, k, k),
            declared ``Tensors(group, 2)``: then any orthonormal basis of the spanned space will do.
        colours: key (or keys) of integer node features that tell nodes apart.
        average: the largest number of elements for one operator; 1 keeps what cannot be fixed as given.
        gap: eigenvalues closer than this share of the largest magnitude are one eigenspace.
        tol: invariants closer than this are equal; at least 1000 eps of the inputs' precision.

    Reference: Ma et al. 2024, arXiv 2405.18378 (orthogonalized axis projection); Lim et al. 2023, arXiv 2202.13013.

    Example:
        >>> import torch
        >>> from coset import actions, frames, groups
        >>> path = torch.diag(torch.ones(4), 1) + torch.diag(torch.ones(4), -1) + torch.diag(torch.tensor([1.0, 0, 0, 0, 0]))
        >>> values, vectors = torch.linalg.eigh(path)
        >>> O = groups.Orthogonal(5)
        >>> source = actions.Dict(vectors=actions.Vectors(O, points=True), values=actions.Trivial(O))
        >>> frame = frames.Eigenvectors().bind(source)
        >>> print(frame.report({"vectors": vectors[None], "values": values[None]}))
        5 of 5 signs and 0 of 0 bases fixed; 1 of 1 canonical, 1 exact
    """

    static = False
    references = ("ma2024canonicalization", "lim2023sign")

    def __init__(
        self,
        vectors: Any = "vectors",
        values: Any = "values",
        colours: Any = None,
        average: int = 64,
        gap: float = 1e-5,
        tol: float = 1e-6,
    ):
        super().__init__()
        if not isinstance(average, int) or average < 1:
            raise FrameError(
                explain(f"Eigenvectors(average={average!r})", "a number of elements, 1 or more", "pass for instance average=64")
            )
        if not 0 < gap < 0.5 or not 0 < tol < COARSE:
            raise FrameError(
                explain(
                    f"Eigenvectors(gap={gap!r}, tol={tol!r})",
                    f"relative sizes, a gap between 0 and 0.5 and a tolerance between 0 and {COARSE}",
                    "use the defaults",
                )
            )
        self.vectors, self.values, self.colours, self.average, self.gap, self.tol = (
            vectors,
            values,
            colours,
            average,
            float(gap),
            float(tol),
        )

    def bind(self, source: Action, target: Action | None = None) -> Eigenvectors:
        """A bound copy, which reports too."""
        return super().bind(source, target)  # type: ignore[return-value]

    def prepare(self, group: Group) -> None:
        """Refuse groups other than O(k), and sources without the named keys."""
        self._signs = group.finite and group.dim is not None and group.order == 2**group.dim
        if not self._signs and not (group.orthogonal and group.reflects and not group.translates and not group.permutes):
            raise FrameError(
                explain(
                    f"{self} on {group}",
                    "Orthogonal(k) or SignFlips(k), acting on k eigenvectors",
                    "declare them as Vectors(Orthogonal(k))",
                )
            )
        keys = self.source.items()  # type: ignore[union-attr]
        lonely = list(keys) == [None]
        self._vectors = None if lonely else self.vectors
        self._values = None if lonely or self._signs else self.values
        self._colours = () if self.colours is None else self.colours if isinstance(self.colours, (tuple, list)) else (self.colours,)
        for key in (self._vectors, *([] if self._values is None else [self._values]), *self._colours):
            if key not in keys:
                raise FrameError(
                    explain(f"{self} for inputs {list(keys)}, without {key!r}", "keys of the source", "name them: Eigenvectors(vectors=…)")
                )
        if not keys[self._vectors].polar:
            raise FrameError(
                explain(f"eigenvectors declared as {keys[self._vectors]}", "Vectors(Orthogonal(k), points=True)", "declare them so")
            )

    def measure(self, inputs: Tree, at: Layout) -> Measure:
        """The canonical bases, one for each way to break what symmetry leaves open."""
        refuse_traced(self, inputs)
        with torch.no_grad():
            spaces, turn, tol = self._spaces(inputs, at)
            found = branches(spaces, tol, self.average)
        owner, basis, weight, exact = found.owner, turn[found.owner] @ found.basis, found.weight, found.exact
        if not bool(exact.all()):
            warnings.warn(
                f"{self}: samples {(~exact).nonzero().flatten()[:5].tolist()} have eigenvectors that cannot be made canonical, or averaged "
                f"over {self.average} elements; the result depends on the given basis there. See report().",
                stacklevel=2,
            )
        samples, k = exact.shape[0], basis.shape[-1]
        slot = places(owner, samples)
        size = int(slot.max()) + 1
        elements = torch.eye(k, dtype=basis.dtype, device=basis.device).repeat(size, samples, 1, 1)
        weights = torch.zeros(size, samples, dtype=basis.dtype, device=basis.device)
        elements[slot, owner], weights[slot, owner] = basis, weight
        order = torch.where(exact, torch.bincount(owner, minlength=samples), -1)
        return Measure(self.group, elements, weights, order, cosets=size, tol=self.tol)

    def report(self, inputs: Tree) -> EigenReport:
        """What is canonical, operator by operator.

        Args:
            inputs: as the frame is called.
        """
        self.source.check(inputs)  # type: ignore[union-attr]
        at = self.source.layout(inputs)  # type: ignore[union-attr]
        spaces, _, tol = self._spaces(inputs, at)
        _, fixed, _ = settle(spaces, tol)
        real = spaces.block >= 0
        k = real.shape[1]
        hot = torch.nn.functional.one_hot(spaces.block + 1, k + 1)[..., 1:]
        sizes, done = hot.sum(1), (hot * fixed.unsqueeze(2)).sum(1)
        found = branches(spaces, tol, self.average)
        return EigenReport(
            (sizes == 1).sum(1),
            ((sizes == 1) & (done == 1)).sum(1),
            (sizes > 1).sum(1),
            ((sizes > 1) & (done == sizes)).sum(1),
            fixed & real,
            torch.where(found.exact, torch.bincount(found.owner, minlength=real.shape[0]), 0),
        )

    def canonical(self, inputs: Tree) -> tuple[Float[Tensor, "... k"], Bool[Tensor, "B k"]]:
        """The canonical eigenvectors, in the shape and precision of those given, and which columns are determined.

        Columns of one eigenspace are the determined ones first; columns that are not determined are those of the given
        basis. Nothing is averaged.
        """
        self.source.check(inputs)  # type: ignore[union-attr]
        at = self.source.layout(inputs)  # type: ignore[union-attr]
        with torch.no_grad():
            spaces, turn, tol = self._spaces(inputs, at)
            basis, fixed, _ = settle(spaces, tol)
        vectors = flatten(self.source, inputs)[self._vectors][1]  # type: ignore[arg-type]
        basis = (turn @ basis).to(vectors.dtype)
        moved = torch.einsum("ni,nij->nj", vectors, basis[at.batch]) if at.batch is not None else vectors @ basis
        return moved, fixed & (spaces.block >= 0)

    def _spaces(self, inputs: Tree, at: Layout) -> tuple[Spaces, Tensor, float]:
        """Padded eigenvectors in wide precision with blocks, masks and colours; what turned given ones into them; the tolerance."""
        found = flatten(self.source, inputs)  # type: ignore[arg-type]
        x = found[self._vectors][1]
        vectors = x.detach().to(wide(x.dtype, x.device))
        mask = at.mask if at.mask is not None else torch.ones(vectors.shape[:2], dtype=torch.bool, device=x.device)
        if at.batch is not None:
            vectors, mask = pad_rows(vectors, at)
        vectors = vectors * mask.unsqueeze(2)
        length = vectors.square().sum(1)
        real = length > 0.5
        tol = max(self.tol, 1e3 * torch.finfo(x.dtype).eps)
        if tol >= COARSE:
            raise InputError(
                explain(
                    f"eigenvectors {describe(x)}",
                    "float32 or float64",
                    "decompose in double precision: torch.linalg.eigh(operator.double())",
                )
            )
        _check_orthonormal(vectors, real, tol)
        turn = torch.eye(real.shape[1], dtype=vectors.dtype, device=x.device).repeat(real.shape[0], 1, 1)
        if self._values is None:
            block = torch.cumsum(real.long(), 1).sub(1).masked_fill(~real, -1)
        else:
            values, turn = _spectrum(found[self._values][1].detach().to(vectors.dtype), real, turn)
            vectors = vectors @ turn
            block = cluster(values, real, max(self.gap, 1e2 * torch.finfo(x.dtype).eps))
        colours = torch.zeros(vectors.shape[:2], dtype=torch.long, device=x.device)
        for key in self._colours:
            colours = _with_feature(colours, found[key][1], at, mask, key)
        return Spaces(vectors, block, mask, colours), turn, tol

    def arguments(self) -> tuple[str, ...]:
        """Options that differ from their defaults."""
        given = [] if self.colours is None else [f"colours={self.colours!r}"]
        return tuple(given + ([] if self.average == 64 else [f"average={self.average}"]))


def _spectrum(values: Tensor, real: Tensor, turn: Tensor) -> tuple[Tensor, Tensor]:
    """(B, k) eigenvalues and the matrices that diagonalize; of a matrix (B, k, k) in the basis of the given vectors too."""
    rows, k = real.shape
    if not bool(torch.isfinite(values).all()):
        raise InputError(explain("eigenvalues with NaN or infinity", "finite numbers", "check the operator"))
    if tuple(values.shape) == (rows, k):
        return values, turn
    if tuple(values.shape) != (rows, k, k):
        raise InputError(explain(f"eigenvalues {describe(values)}", f"shape {(rows, k)}, or {(rows, k, k)} for the operator", "check them"))
    if not bool(real.all()):
        raise InputError(explain("padded eigenvectors beside an operator", "no padding", "give the eigenvalues (B, k) instead"))
    if bool(((values - values.mT).abs().amax((1, 2)) > 1e-4 * values.abs().amax((1, 2))).any()):
        raise InputError(explain(f"the operator {describe(values)}, which is not symmetric", "a symmetric matrix", "symmetrize it"))
    return torch.linalg.eigh((values + values.mT) / 2)


def _check_orthonormal(vectors: Tensor, real: Tensor, tol: float) -> None:
    """Refuse columns that are not orthonormal where they are not padding."""
    gram = vectors.mT @ vectors
    error = (gram - torch.diag_embed(real.to(gram.dtype))).abs().flatten(1).amax(1)
    if bool((error > 10 * tol).any()):
        raise InputError(
            explain(
                f"eigenvectors of samples {(error > 10 * tol).nonzero().flatten()[:5].tolist()} that are not orthonormal "
                f"(off by {float(error.max()):.1e})",
                "orthonormal columns, or zero columns as padding",
                "take them from torch.linalg.eigh of a symmetric operator, whole columns, without scaling",
            )
        )


def _with_feature(colours: Tensor, feature: Tensor, at: Layout, mask: Tensor, key: Any) -> Tensor:
    """Colours refined by integer node features (B, n, ...), or (N, ...) of ragged graphs."""
    if feature.is_floating_point() or feature.is_complex():
        raise InputError(explain(f"colours {key!r}, {describe(feature)}", "integer or boolean node features", "round or bin them first"))
    rows = feature.reshape(feature.shape[0], -1) if at.batch is not None else feature.reshape(*feature.shape[:2], -1)
    rows = pad_rows(rows, at)[0] if at.batch is not None else rows
    if tuple(rows.shape[:2]) != tuple(mask.shape):
        raise InputError(explain(f"colours {key!r}, {describe(feature)}", f"one entry for each of the nodes {tuple(mask.shape)}", "check"))
    for column in rows.long().unbind(2):
        rank = torch.unique(column, return_inverse=True)[1]
        colours = ranked(colours * (int(rank.max()) + 1) + rank, 0)
    return colours
