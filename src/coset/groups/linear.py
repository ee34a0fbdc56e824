"""Invertible matrices: GL(d), SL(d) and positive multiples of the identity."""

from __future__ import annotations

import torch
from torch import Tensor

from . import algebra
from .maps import Homomorphism, identity_map
from .matrix import MatrixGroup, haar_orthogonal, haar_rotation
from .numeric import Device, Dtype, normal


def _stretches(d: int, batch: tuple[int, ...], generator: torch.Generator | None, device: Device) -> Tensor:
    """Logarithms of singular values: normal of standard deviation 1/2, cut at ±1; shape (*batch, d)."""
    return (0.5 * normal((*batch, d), generator, device)).clamp(-1, 1)


class GeneralLinear(MatrixGroup):
    """GL(d): invertible real matrices.

    Elements: matrices (..., d, d). ``sample`` draws U exp(diag(s)) V with U, V Haar in O(d) and s normal of standard
    deviation 1/2 cut at ±1, so that the condition number is at most e². There is no Haar probability measure.

    Raises:
        GroupError: when d is not an integer of at least 1.

    Example:
        >>> import torch
        >>> from coset.groups import GeneralLinear
        >>> g = GeneralLinear(3).sample(100, generator=torch.Generator().manual_seed(0))
        >>> bool(torch.linalg.cond(g).max() < 7.4)
        True
    """

    reflects = True
    stretches = True
    rescales = True

    def __init__(self, d: int):
        super().__init__(d)
        self.lie_dimension = self.dim**2

    def basis(self) -> Tensor:
        """The basis of the Lie algebra in full precision."""
        return algebra.units(self.dim)

    def sample(self, *batch: int, generator: torch.Generator | None = None, dtype: Dtype = None, device: Device = None) -> Tensor:
        """Random elements, as the class declares."""
        left, right = (haar_orthogonal(self.dim, batch, generator, device) for _ in range(2))
        logs = _stretches(self.dim, batch, generator, device)
        return (left * logs.exp().unsqueeze(-2) @ right).to(self.dtype_of(dtype))


class SpecialLinear(MatrixGroup):
    """SL(d): real matrices of determinant 1.

    Elements: matrices (..., d, d). ``sample`` draws U exp(diag(s)) V with U, V Haar in SO(d) and s normal of standard
    deviation 1/2 cut at ±1, then centred to sum zero: the condition number is at most e².

    Raises:
        GroupError: when d is not an integer of at least 1.

    Example:
        >>> from coset.groups import SpecialLinear
        >>> SpecialLinear(3).lie_dimension
        8
    """

    stretches = True

    def __init__(self, d: int):
        super().__init__(d)
        self.lie_dimension = self.dim**2 - 1

    def basis(self) -> Tensor:
        """The basis of the Lie algebra in full precision."""
        return algebra.traceless(self.dim)

    def sample(self, *batch: int, generator: torch.Generator | None = None, dtype: Dtype = None, device: Device = None) -> Tensor:
        """Random elements, as the class declares."""
        left, right = (haar_rotation(self.dim, batch, generator, device) for _ in range(2))
        logs = _stretches(self.dim, batch, generator, device)
        logs = logs - logs.mean(-1, keepdim=True)
        return (left * logs.exp().unsqueeze(-2) @ right).to(self.dtype_of(dtype))


class Scaling(MatrixGroup):
    """Positive multiples s I of the identity: changes of unit.

    Elements: matrices (..., d, d). ``sample`` draws s log-normal, with log s of standard deviation 1/2.

    Raises:
        GroupError: when d is not an integer of at least 1.

    Example:
        >>> import torch
        >>> from coset.groups import Scaling
        >>> Scaling(2).inverse(4 * torch.eye(2)).tolist()
        [[0.25, 0.0], [0.0, 0.25]]
    """

    lie_dimension = 1
    rescales = True

    def basis(self) -> Tensor:
        """The basis of the Lie algebra in full precision."""
        return torch.eye(self.dim, dtype=torch.float64).unsqueeze(0)

    def inverse(self, g: Tensor) -> Tensor:
        """The inverse of g."""
        return torch.eye(self.dim, dtype=g.dtype, device=g.device) / g[..., :1, :1]

    def exp(self, x: Tensor) -> Tensor:
        """The group element exp(x)."""
        return torch.eye(self.dim, dtype=x.dtype, device=x.device) * x[..., :1, :1].exp()

    def sample(self, *batch: int, generator: torch.Generator | None = None, dtype: Dtype = None, device: Device = None) -> Tensor:
        """Random elements, as the class declares."""
        factor = (0.5 * normal((*batch, 1, 1), generator, device)).exp()
        return (factor * torch.eye(self.dim, dtype=factor.dtype, device=factor.device)).to(self.dtype_of(dtype))

    def components(self) -> dict[str, Homomorphism]:
        """The named subgroups that an audit reports."""
        return {"scaling": identity_map(self)}
