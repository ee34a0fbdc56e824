"""From a Lie algebra of matrices to a group of the library, and to how it moves the data."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..actions.base import Action
from ..actions.linear import Points, Vectors
from ..actions.representations import Matrix
from ..actions.trees import Pullback
from ..errors import GroupError, InputError, describe, explain
from ..groups.affine import Affinity, SpecialEuclidean, Translation
from ..groups.linear import SpecialLinear
from ..groups.lorentz import ProperLorentz
from ..groups.maps import Homomorphism
from ..groups.matrix import MatrixGroup
from ..groups.numeric import Device, Dtype, normal
from ..groups.orthogonal import SpecialOrthogonal
from .lie_type import LieType

FINEST, COARSEST = 1e-4, 0.1
"""Forms and centres that differ from the plain ones by less than what the data resolve, within these limits, are taken for plain."""


class Exponential(MatrixGroup):
    """The group that the exponentials of some matrices generate, when their span is a Lie algebra.

    Elements: matrices (..., d, d). ``sample`` draws exp of combinations of an orthonormal basis with normal coefficients of
    standard deviation 1/2. No Haar measure is known, compact or not.

    Args:
        basis: (k, d, d) linearly independent matrices.

    Raises:
        InputError: for other shapes.

    Example:
        >>> import torch
        >>> from coset.discover import Exponential
        >>> screw = Exponential(torch.tensor([[[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.3]]]))
        >>> screw.lie_dimension
        1
    """

    def __init__(self, basis: Tensor):
        if not isinstance(basis, Tensor) or basis.dim() != 3 or basis.shape[1] != basis.shape[2] or not len(basis):
            raise InputError(explain(describe(basis), "matrices (k, d, d)", "stack generators along a first axis"))
        super().__init__(basis.shape[-1])
        flat = torch.linalg.qr(basis.detach().to("cpu", torch.float64).flatten(1).mT)[0]
        self._basis = flat.mT.reshape(basis.shape).contiguous()
        self.lie_dimension = len(basis)

    def basis(self) -> Tensor:
        """The basis of the Lie algebra in full precision."""
        return self._basis.clone()

    def sample(self, *batch: int, generator: torch.Generator | None = None, dtype: Dtype = None, device: Device = None) -> Tensor:
        """Random elements, as the class declares."""
        c = 0.5 * normal((*batch, self.lie_dimension), generator, device)
        return torch.matrix_exp(torch.tensordot(c, self._basis.to(c), dims=1)).to(self.dtype_of(dtype))

    def parameters(self) -> tuple[object, ...]:  # type: ignore[override]
        """The span of the algebra, as a projector of few digits."""
        flat = self._basis.flatten(1)
        return (self.dim, tuple((flat.mT @ flat).flatten().mul(1e6).round().to(torch.int64).tolist()))

    def __repr__(self) -> str:
        return f"Exponential({self.lie_dimension} generators of size {self.dim})"


@dataclass(frozen=True)
class Conjugated:
    """g -> T^-1 g T, picklable."""

    change: Tensor

    def __call__(self, g: Tensor) -> Tensor:
        """The conjugate matrices."""
        t = self.change.to(g)
        return torch.linalg.solve(t, g @ t)


@dataclass(frozen=True)
class Corner:
    """The rows and columns from ``start`` to ``stop`` of block-diagonal matrices, picklable."""

    start: int
    stop: int

    def __call__(self, g: Tensor) -> Tensor:
        """The block."""
        return g[..., self.start : self.stop, self.start : self.stop]


@dataclass(frozen=True)
class About:
    """R -> (R, c - R c): linear maps about a point, picklable."""

    center: Tensor

    def __call__(self, g: Tensor) -> Affinity:
        """The affine maps."""
        c = self.center.to(g)
        return Affinity(g, c - g @ c)


def moved_by(found: LieType, basis: Tensor, plain: bool) -> Action:
    """How the group of an algebra moves vectors: plain groups of the library where the form is theirs, else in its own axes.

    Args:
        found: the type.
        basis: (k, p + 1, p + 1) the algebra in the units of the data.
        plain: the fields are linear, so that no centre has to be found.

    Raises:
        GroupError: where the affine algebra has no group in the library.
    """
    p, cut = basis.shape[-1] - 1, min(max(found.least, FINEST), COARSEST)
    if found.form is not None and _rotates(found):
        return _form_action(found.form, p, None if plain or _near(found.center, cut) else found.center, cut)
    shifted = found.name in (f"se({p})", f"all translations of R^{p}")
    if shifted:
        if found.name.startswith("all"):
            return Points(Translation(p))
        if found.form is not None and _like(found.form, torch.ones(p), cut):
            return Points(SpecialEuclidean(p))
    if found.name == f"sl({p})" and (plain or _near(found.center, cut)):
        return Vectors(SpecialLinear(p))
    if float(basis[:, :-1, -1].abs().max()) < 1e-9 * float(basis.abs().max()):
        return Vectors(Exponential(basis[:, :-1, :-1]))
    raise GroupError(
        explain(
            f"the affine algebra {found.name}", "rotations about a point, rigid motions, or linear fields", "center the data, use Linear()"
        )
    )


def _rotates(found: LieType) -> bool:
    """Whether the algebra is that of rotations or Lorentz maps, so(p) or so(1, p - 1), in some axes."""
    if not found.name.startswith("so(") or "with" in found.name or found.form is None:
        return False
    minus = int((torch.linalg.eigvalsh(found.form) < 0).sum())
    return min(minus, len(found.form) - minus) < 2


def _near(center: Tensor | None, cut: float) -> bool:
    return center is None or float(center.abs().max()) < cut


def _like(form: Tensor, signs: Tensor, cut: float) -> bool:
    """Whether a form is a multiple of a diagonal one."""
    goal = torch.diag(signs.to(form)) / len(signs) ** 0.5
    return min(float((form - sign * goal).norm()) for sign in (1, -1)) < cut


def _form_action(form: Tensor, p: int, center: Tensor | None, cut: float) -> Action:
    """Rotations, or Lorentz maps, that keep a form; about a point."""
    values, vectors = torch.linalg.eigh(form)
    minus = int((values < 0).sum())
    if minus == 0:
        group: MatrixGroup = SpecialOrthogonal(p)
        signs = torch.ones(p)
    else:
        group = ProperLorentz(p)
        signs = -torch.ones(p)
        signs[0] = 1.0
        order = torch.argsort(values, descending=minus != 1)
        values, vectors = values[order], vectors[:, order]
    if center is not None:
        if not _like(form, torch.ones(p), cut):
            raise GroupError(explain("a form of its own about a point", "rotations, or the origin", "center the data and use Linear()"))
        return Pullback(Homomorphism(group, SpecialEuclidean(p), About(center), "about a point"), Points(SpecialEuclidean(p)))
    if _like(form, signs, cut):
        return Vectors(group)
    change = values.abs().sqrt()[:, None] * vectors.mT
    return Matrix(group, Conjugated(change), degree=1)
