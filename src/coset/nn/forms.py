"""The inner product that a matrix group keeps, and vector layers that are built on it alone.

Vectors are (..., c, d): c channels of length d. Mixing channels by numbers, scaling by invariants and projecting along
other channels commute with the group; nothing here looks at single coordinates.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ..groups.base import Group

SHORT = 1e-4
"""Added to squared lengths of directions, so that short ones fade out before their rounding noise decides where they point."""
QUIET = 1e-2
"""Added to mean squared lengths before they are made one, so that rounding noise at zero vectors grows tenfold at most."""


class Form(nn.Module):
    """The inner product of a group: the dot product, the Hermitian one, or the interval of space-time.

    Args:
        group: a group whose linear part keeps one of the three.
        dim: the length of vectors.
    """

    signs: Tensor | None

    def __init__(self, group: Group, dim: int):
        super().__init__()
        self.complex, self.lorentzian = group.complex, group.lorentzian
        self.register_buffer("signs", torch.tensor([1.0] + [-1.0] * (dim - 1)) if group.lorentzian else None, persistent=False)

    def lower(self, v: Tensor) -> Tensor:
        """The covector of ``v``: its conjugate, or its components times the signs of the metric."""
        return v * self.signs if self.signs is not None else v.conj() if self.complex else v

    def inner(self, u: Tensor, v: Tensor) -> Tensor:
        """<u, v> over the last axis, antilinear in ``u``."""
        return (self.lower(u) * v).sum(-1)

    def square(self, v: Tensor) -> Tensor:
        """<v, v>, real."""
        return v.real.square().sum(-1) + v.imag.square().sum(-1) if self.complex else self.inner(v, v)

    def flat(self, u: Tensor, v: Tensor) -> Tensor:
        """<u, v> as real numbers, (..., c) or, for complex vectors, (..., 2c)."""
        found = self.inner(u, v)
        return torch.cat([found.real, found.imag], -1) if self.complex else found

    def gram(self, v: Tensor, w: Tensor) -> Tensor:
        """<v_i, w_j> of all pairs: (..., n, d) and (..., m, d) to real numbers (..., n, m) or (..., n, m, 2)."""
        found = self.lower(v) @ w.mT
        return torch.view_as_real(found) if self.complex else found

    @property
    def parts(self) -> int:
        """How many real numbers one inner product has."""
        return 2 if self.complex else 1


class Mix(nn.Module):
    """Linear maps of channels, (..., a, d) to (..., b, d): one number for each pair of channels, complex for complex vectors."""

    def __init__(self, a: int, b: int, complex: bool):
        super().__init__()
        self.complex = complex
        scale = math.sqrt(1 / max(1, a * (2 if complex else 1)))
        self.weight = nn.Parameter(torch.randn(b, a, 2) * scale if complex else torch.randn(b, a) * scale)

    def forward(self, v: Tensor) -> Tensor:
        """Mix the channels."""
        weight = torch.view_as_complex(self.weight) if self.complex else self.weight
        return torch.einsum("...ad,ba->...bd", v, weight)  # one product, where weight @ v is one for each point


class Even(nn.Module):
    """Scale the vectors of each point to a root mean square length of one, as LayerNorm does with scalars.

    Intervals of space-time may vanish for vectors that do not, so there vectors stay as they are.
    """

    def __init__(self, form: Form):
        super().__init__()
        self.form = form

    def forward(self, v: Tensor) -> Tensor:
        """(..., c, d) of the same shape."""
        if self.form.lorentzian:
            return v
        return v * (self.form.square(v).mean(-1, keepdim=True) + QUIET).rsqrt().unsqueeze(-1)


class Bend(nn.Module):
    """The nonlinearity of vector neurons (Deng et al. 2021): take off most of what points against a learned direction.

    For the interval of space-time, where such a projection may divide by zero, vectors are scaled by a sigmoid of their
    product with that direction.

    Args:
        width: the number of channels.
        form: the inner product.
        slope: the share that is left of the part against the direction.
    """

    def __init__(self, width: int, form: Form, slope: float = 0.2):
        super().__init__()
        self.form, self.slope = form, slope
        self.direction = Mix(width, width, form.complex)

    def forward(self, v: Tensor) -> Tensor:
        """(..., c, d) of the same shape."""
        k = self.direction(v)
        along = self.form.inner(k, v)
        along = along.real if self.form.complex else along
        if self.form.lorentzian:
            return v * torch.sigmoid(torch.asinh(along)).unsqueeze(-1)
        share = (1 - self.slope) * along.clamp_max(0) / (self.form.square(k) + SHORT)
        return v - share.unsqueeze(-1) * k
