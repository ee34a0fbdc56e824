"""The symmetry groups of the Platonic solids: rotations, or with ``full=True`` inversion too."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from .listed import Listed
from .maps import Homomorphism, identity_map, subgroup
from .orthogonal import Orthogonal, scalar
from .quaternions import polyhedral


class _Platonic(Listed):
    """What the three groups share: their list of rotations."""

    dim = 3
    rotation_order: int

    def __init__(self, full: bool = False):
        self.full = bool(full)
        self.reflects = self.full
        self.ambient = Orthogonal(3)
        turns = polyhedral(self.rotation_order)
        self._listing = torch.cat([turns, 0.0 - turns]) if self.full else turns

    def listing(self) -> Tensor:
        """All elements in full precision, the identity first."""
        return self._listing

    def parameters(self) -> tuple[bool, ...]:
        """The constructor arguments."""
        return (self.full,)

    def components(self) -> dict[str, Homomorphism]:
        """The named subgroups that an audit reports."""
        if not self.full:
            return {"rotation": identity_map(self)}
        return {
            "rotation": subgroup(type(self)(), self),
            "inversion": subgroup(Orthogonal(1), self, partial(scalar, 3)),
        }

    def __repr__(self) -> str:
        return f"{type(self).__name__}({'full=True' if self.full else ''})"


class Tetrahedral(_Platonic):
    """T, the 12 rotations of the tetrahedron with corners (1,1,1), (1,-1,-1), ...; T_h of order 24 with ``full=True``.

    Elements: matrices (..., 3, 3). T_h is T with inversion (it is not T_d, which a tetrahedron with mirrors has).

    Example:
        >>> from coset.groups import Tetrahedral
        >>> Tetrahedral().order, Tetrahedral(full=True).order
        (12, 24)
    """

    rotation_order = 12


class Octahedral(_Platonic):
    """O, the 24 rotations of the cube with axes along the coordinates; O_h of order 48 with ``full=True``.

    Elements: matrices (..., 3, 3).

    Example:
        >>> from coset.groups import Octahedral
        >>> Octahedral().order, Octahedral(full=True).order
        (24, 48)
    """

    rotation_order = 24


class Icosahedral(_Platonic):
    """I, the 60 rotations of the icosahedron that has the tetrahedral group's axes; I_h of order 120 with ``full=True``.

    Elements: matrices (..., 3, 3).

    Example:
        >>> from coset.groups import Icosahedral
        >>> Icosahedral().order, Icosahedral(full=True).order
        (60, 120)
    """

    rotation_order = 60
