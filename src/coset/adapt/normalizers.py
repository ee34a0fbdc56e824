"""Normalizing constants of exponential laws exp(tr(F^T R)) on SO(2), O(2), SO(3) and O(3), and their means."""

from __future__ import annotations

import math

import torch
from torch import Tensor

NODES = 128
"""Nodes of the Gauss-Legendre rule in three dimensions."""


def log_bessel(x: Tensor) -> Tensor:
    """Log I_0(x) without overflow."""
    return torch.special.i0e(x).log() + x.abs()


def log_normalizer(parameter: Tensor, reflects: bool) -> Tensor:
    """Log of the integral of exp(tr(F^T R)) over the group with its normalized Haar measure.

    Args:
        parameter: F (..., d, d), d = 2 or 3.
        reflects: over O(d) rather than SO(d).

    Returns:
        (...) values in nats.

    Reference: Lee 2018, arXiv 1710.03746, theorem 2.1 (three dimensions, by one integral of Bessel functions).
    """
    one = _plane if parameter.shape[-1] == 2 else _space
    if not reflects:
        return one(parameter)
    mirror = torch.ones(parameter.shape[-1], dtype=parameter.dtype, device=parameter.device)
    mirror = torch.cat([-mirror[:1], mirror[1:]])  # R = R' diag(-1, 1, ...): the columns of F change sign in the same way
    return torch.logaddexp(one(parameter), one(parameter * mirror)) - math.log(2)


def _plane(f: Tensor) -> Tensor:
    """On SO(2): tr(F^T R(t)) = r cos(t - t0)."""
    along, across = f[..., 0, 0] + f[..., 1, 1], f[..., 1, 0] - f[..., 0, 1]
    squared = along.square() + across.square()
    still = squared == 0
    return log_bessel(torch.where(still, 1.0, squared).sqrt()).masked_fill(still, 0.0)


def _space(f: Tensor) -> Tensor:
    """On SO(3), from the singular values s1 >= s2 >= |s3|, the last with the sign of the determinant."""
    s1, s2, s3 = torch.linalg.svdvals(f).unbind(-1)
    s3 = torch.where(torch.linalg.det(f.detach()) < 0, -s3, s3)
    node, weight = legendre(NODES, f)
    u = 1 - 2 * node.square()  # crowds the nodes where the integrand peaks
    log_weight = (weight * node * 2).log()
    s1, s2, s3 = (s.unsqueeze(-1) for s in (s1, s2, s3))
    terms = log_bessel((s1 - s2) * (1 - u) / 2) + log_bessel((s1 + s2) * (1 + u) / 2) + s3 * u
    return torch.logsumexp(terms + log_weight, -1)


def legendre(count: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Nodes and weights of the Gauss-Legendre rule on (0, 1)."""
    k = torch.arange(1, count, dtype=torch.float64)
    beta = k / (4 * k.square() - 1).sqrt()
    node, vector = torch.linalg.eigh(torch.diag(beta, 1) + torch.diag(beta, -1))
    return ((node + 1) / 2).to(like), vector[0].square().to(like)


def mean_element(parameter: Tensor, reflects: bool) -> Tensor:
    """The mean matrix E[R] (d, d) of the law with the parameter F (d, d): the gradient of log c."""
    with torch.enable_grad():
        f = parameter.detach().clone().requires_grad_()
        (mean,) = torch.autograd.grad(log_normalizer(f, reflects), f)
    return mean
