"""What was found: generators, how sure they are, the Lie algebra they span, and a group to test and to impose."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from ..actions.base import Action
from ..actions.representations import Matrix
from ..actions.signature import Signature
from ..actions.still import Trivial
from ..errors import GroupError, InputError, explain
from ..groups.base import Group
from ..tree import leaves
from .fields import Fields
from .generators_rows import Equations, Samples, collect
from .generators_verdict import Claim, Spectrum
from .lie_type import LieType, lie_type
from .lie_type_groups import Corner, Exponential, moved_by

OPEN = 1e-2
"""Fields that change the function by less are symmetries even where their brackets leave the family."""


@dataclass(frozen=True)
class Repeated:
    """The change along each claimed generator on new samples.

    Attributes:
        values: (k,) 0 is a symmetry, 1 is chance.
        stderr: (k,) of their squares.
        passed: all of them are at most the bound that was claimed, with two standard errors.
    """

    values: Tensor
    stderr: Tensor
    passed: bool


@dataclass(frozen=True, repr=False)
class Generators:
    """The result of :func:`generators`; print it.

    Attributes:
        verdict: "symmetric to rounding", "symmetric within the stated noise", "approximately symmetric", "no symmetry found",
            or "cannot tell".
        reasons: why, in sentences.
        generators: (k, p, q) matrices A of the claimed fields A phi(x), orthonormal; q = p for linear, p + 1 for affine fields.
        outputs: (k, p', q') of the fields on outputs that belong to them, or None.
        spectrum: all directions and what they change.
        floor: changes up to this are no different from zero.
        type: the Lie algebra of linear and affine fields, or None.
        spurious: (s, p, q) fields that leave every sample where it is: the data spans too little to test them.
        leaving: (l, p, q) fields along which f does not change, but that move the data off its span.
        samples: how many were used.
    """

    verdict: str
    reasons: tuple[str, ...]
    generators: Tensor
    outputs: Tensor | None
    spectrum: Spectrum
    floor: float
    type: LieType | None
    spurious: Tensor
    leaving: Tensor
    samples: int
    fields: Fields = field(repr=False)
    output: Fields | None = field(repr=False)
    shape: tuple[int, ...] = field(repr=False)
    bound: float = 0.0

    @property
    def dimension(self) -> int:
        """The number of claimed generators."""
        return len(self.generators)

    @classmethod
    def unknown(
        cls, samples: Samples, fields: Fields, output: Fields | None, reason: str, equations: Equations | None = None
    ) -> Generators:
        """No verdict, with the reason."""
        none = torch.zeros(0, dtype=torch.float64)
        empty = torch.zeros(0, 0, 0, dtype=torch.float64)
        still = empty if equations is None else equations.into.still
        spectrum = Spectrum(none, none, none, 0)
        n = len(samples)
        return cls("cannot tell", (reason,), empty, None, spectrum, 0.0, None, still, empty, n, fields, output, samples.shape)

    @classmethod
    def build(cls, samples: Samples, equations: Equations, spectrum: Spectrum, claim: Claim, inside: Tensor, leaving: Tensor) -> Generators:
        """Put together what was found, and name the algebra."""
        fields, into = equations.into.fields, equations.into
        into_, out = equations.matrices(inside)
        into_, out = _normal(into_, out)
        reasons, verdict = list(claim.reasons), claim.verdict
        found = _type(fields, into_, samples, claim.floor) if len(into_) else None
        if found is not None and not found.closes:
            words = f"brackets of the {len(into_)} null directions leave their span by {found.closure:.2g}"
            if claim.floor < OPEN:
                reasons.append(f"{words}: the family holds only a part of a larger algebra")
            else:
                reasons.append(f"{words}, which a symmetry would not: none is claimed")
                verdict, into_, out, found = "cannot tell", into_[:0], None, None
        if len(leaving):
            reasons.append(f"{len(leaving)} more fields do not change f, but move the data off its span, where nothing confirms it")
        if len(into.still):
            reasons.append(f"{len(into.still)} fields leave every sample where it is: the data spans too little to test them")
        if claim.number and not len(inside):
            verdict = "cannot tell"
        gone = _normal(equations.matrices(leaving)[0], None)[0]
        n = len(samples)
        return cls(
            verdict, tuple(reasons), into_, out, spectrum, claim.floor, found, into.still, gone, n, fields, into_output(equations),
            samples.shape, claim.floor,
        )  # fmt: skip

    @property
    def group(self) -> Group:
        """The group that the generators span, connected.

        Raises:
            GroupError: when nothing is claimed, fields are not affine, or the affine algebra has no group in the library.
        """
        return self.signature.group

    @property
    def signature(self) -> Signature:
        """How the group moves inputs and outputs: to audit, and to impose with ``coset.symmetrize``.

        Raises:
            GroupError: as :attr:`group`.
        """
        return _signature(self)

    def compare(self, group: Group) -> Tensor:
        """Cosines of the principal angles between the claimed span and the Lie algebra of a group, largest first.

        Args:
            group: a matrix group of the same dimension (affine groups for affine fields).

        Raises:
            GroupError: when nothing is claimed, or the group is discrete.
            InputError: for a group of another dimension.
        """
        if not self.dimension:
            raise GroupError(explain(f"a comparison of {self.verdict!r}", "generators that are claimed", "read the reasons"))
        ours = self.generators.flatten(1)
        parts = list(leaves(group.algebra(dtype=torch.float64)))
        theirs = parts[0] if self.fields.linear or len(parts) == 1 else torch.cat([parts[0], parts[1].unsqueeze(-1)], -1)
        if theirs.shape[1:] != self.generators.shape[1:]:
            given = f"an algebra of matrices {tuple(theirs.shape[1:])}"
            raise InputError(explain(given, f"{tuple(self.generators.shape[1:])}, as the fields", "compare with a group of this dimension"))
        other = torch.linalg.qr(theirs.flatten(1).mT)[0]
        return torch.linalg.svdvals(ours @ other).clamp(max=1.0)

    def retest(self, f: Any, x: Any, values: Any = None) -> Repeated:
        """What the claimed generators change on new samples.

        Args:
            f: the function, or gradients at the new samples.
            x: samples that were not used before.
            values: as for :func:`generators`.

        Raises:
            GroupError: when nothing is claimed.
            InputError: as :func:`generators`.
        """
        if not self.dimension:
            raise GroupError(explain(f"a retest of {self.verdict!r}", "generators that are claimed", "read the reasons"))
        samples = collect(f, x, values)
        if samples.shape != self.shape:
            raise InputError(explain(f"samples of shape {samples.shape}", f"{self.shape}, as before", "retest on data of the same kind"))
        if len(samples) < 4 or not float(samples.jacobian.abs().max()):
            why = f"{len(samples)} samples" if len(samples) < 4 else "gradients that vanish at every sample"
            raise InputError(explain(f"a retest on {why}", "at least 4 samples where the function changes", "take others"))
        changes = measured(self, samples)
        mean, stderr = changes.mean(0), changes.std(0) / max(1, len(samples)) ** 0.5
        passed = bool(((mean - 2 * stderr).clamp_min(0).sqrt() <= 1.5 * self.bound).all())
        return Repeated(mean.sqrt(), stderr, passed)

    def formulas(self, digits: int = 3) -> list[str]:
        """The claimed fields in words, such as "x ∂y - y ∂x", by elimination."""
        return formulas(self.generators, self.fields, digits)

    def __repr__(self) -> str:
        lines = [f"{self.verdict}: {self.dimension} generators in {self.fields}, from {self.samples} samples"]
        if self.type is not None:
            lines.append(f"  algebra: {self.type.name} (closure {self.type.closure:.1e}, Killing form {self.type.killing})")
        held = self.spectrum.held
        if len(held):
            shown = ", ".join(f"{float(v):.1e}" for v in held[: self.dimension + len(self.leaving) + 2])
            lines.append(f"  change on {self.spectrum.samples} held-out samples (0 symmetry, 1 chance): {shown}; floor {self.floor:.1e}")
        return "\n".join(lines + [f"  {reason}" for reason in self.reasons])


def into_output(equations: Equations) -> Fields | None:
    """The family on outputs."""
    return None if equations.out is None else equations.out.fields


def _normal(into: Tensor, out: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Orthonormal input matrices, and the output matrices that belong to them."""
    if not len(into):
        return into, None if out is None else out
    q, r = torch.linalg.qr(into.flatten(1).mT)
    if float(r.diagonal().abs().min()) < 1e-10 * float(r.diagonal().abs().max()):
        return into, out
    mixed = None if out is None else torch.linalg.solve_triangular(r.mT, out.flatten(1), upper=False).reshape(out.shape)
    return q.mT.reshape(into.shape), mixed


def scaled(fields: Fields, matrices: Tensor, samples: Samples) -> Tensor | None:
    """Affine fields as square matrices, in coordinates with the data's scale as unit and, for affine ones, its mean as origin."""
    whole = fields.homogeneous(matrices)
    if whole is None:
        return None
    parts = fields.split(samples.x).flatten(0, 1)
    mean = parts.mean(0) if fields.affine else torch.zeros_like(parts[0])
    unit = float((parts - mean).square().mean().sqrt()) or 1.0
    change = torch.eye(len(mean) + 1, dtype=torch.float64)
    change[:-1, :-1] /= unit
    change[:-1, -1] = -mean / unit
    return change @ whole @ torch.linalg.inv(change)


def _type(fields: Fields, matrices: Tensor, samples: Samples, error: float) -> LieType | None:
    """The Lie algebra of affine fields, its centre in the units of the data."""
    whole = scaled(fields, matrices, samples)
    if whole is None:
        return None
    found = lie_type(whole, error)
    if found.center is None:
        return found
    parts = fields.split(samples.x).flatten(0, 1)
    mean = parts.mean(0) if fields.affine else torch.zeros_like(parts[0])
    unit = float((parts - mean).square().mean().sqrt()) or 1.0
    return replace(found, center=mean + unit * found.center)


def measured(result: Generators, samples: Samples) -> Tensor:
    """(N, k) squared changes along the claimed fields on new samples, in units of chance there."""
    fields = result.fields
    parts = fields.split(samples.x)
    velocity = torch.einsum("kpq,ncq->nkcp", result.generators, fields.features(parts)).flatten(2)
    change = torch.einsum("nmd,nkd->nkm", samples.jacobian, velocity)
    scale = samples.jacobian.square().sum((1, 2)).mean() / samples.x.shape[1]
    unit = velocity.square().sum(2).mean(0) * scale
    if result.outputs is not None and result.output is not None and samples.values is not None:
        moved = torch.einsum("kpq,ncq->nkcp", result.outputs, result.output.features(result.output.split(samples.values))).flatten(2)
        change, unit = change - moved, unit + moved.square().sum(2).mean(0)
    return change.square().sum(2) / unit.clamp_min(1e-300)


def formulas(matrices: Tensor, fields: Fields, digits: int) -> list[str]:
    """Row-reduced fields in words."""
    if not len(matrices):
        return []
    k, p, _ = matrices.shape
    letters = list("xyzuvw")[:p] if p <= 6 else [f"x{i}" for i in range(1, p + 1)]
    rows = matrices.flatten(1).clone()
    for done in range(k):
        column = int(rows[done:].abs().max(0).values.argmax())
        pivot = done + int(rows[done:, column].abs().argmax())
        rows[[done, pivot]] = rows[[pivot, done]]
        rows[done] /= rows[done, column].clone()
        others = torch.arange(k) != done
        rows[others] -= rows[others, column : column + 1] * rows[done]
    names = fields.names(letters)
    texts = []
    for row in rows.reshape(matrices.shape):
        terms = []
        for (i, j), value in zip(torch.nonzero(row.abs() > 10.0**-digits).tolist(), row[row.abs() > 10.0**-digits].tolist(), strict=True):
            number = "" if abs(abs(value) - 1) < 10.0**-digits else f"{abs(value):.{digits}g} "
            terms.append(f"{'-' if value < 0 else '+'} {number}{names[j]}{' ' if names[j] else ''}∂{letters[i]}")
        texts.append(" ".join(terms).removeprefix("+ "))
    return texts


def _signature(result: Generators) -> Signature:
    """The signature of a result, or an error that says why there is none."""
    if not result.dimension or result.type is None:
        why = result.verdict if not result.dimension else f"flows of {result.fields}, which are no affine maps"
        raise GroupError(explain(f"the group of: {why}", "claimed linear or affine generators", "read the reasons, or use another family"))
    whole = result.fields.homogeneous(result.generators)
    if result.outputs is None:
        source = moved_by(result.type, whole, result.fields.linear)  # type: ignore[arg-type]
        return source >> Trivial(source.group)
    return _pair(result, whole)  # type: ignore[arg-type]


def _pair(result: Generators, whole: Tensor) -> Signature:
    """Inputs and outputs moved by blocks of one group of matrices."""
    out = None if result.output is None else result.output.homogeneous(result.outputs)  # type: ignore[arg-type]
    shifts = max(float(one[:, :-1, -1].abs().max()) for one in (whole, out) if one is not None)
    if out is None or shifts > 1e-6 * float(whole.abs().max()):
        raise GroupError(explain("generators that shift inputs or outputs", "linear ones", "center the data and use Linear()"))
    p, r = whole.shape[-1] - 1, out.shape[-1] - 1
    blocks = torch.zeros(len(whole), p + r, p + r, dtype=torch.float64)
    blocks[:, :p, :p], blocks[:, p:, p:] = whole[:, :-1, :-1], out[:, :-1, :-1]
    group = Exponential(blocks)
    source: Action = Matrix(group, Corner(0, p), degree=1)
    return source >> Matrix(group, Corner(p, p + r), degree=1)
