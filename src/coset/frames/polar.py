"""The nearest orthogonal or unitary matrix, with a gradient that stays finite where singular values coincide."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Shaped
from torch import Tensor


def polar(matrix: Shaped[Tensor, "R d d"], special: bool = False) -> tuple[Shaped[Tensor, "R d d"], Shaped[Tensor, " R"]]:
    """The nearest orthogonal (unitary) matrix in the Frobenius norm: the polar factor, with determinant one if ``special``.

    Returns:
        The matrices, and (R,) how far each input is from where the nearest matrix is not unique, relative to its norm:
        the smallest sum of two (signed) singular values.
    """
    u, s, vh = torch.linalg.svd(matrix.detach())
    flip = torch.ones_like(s)
    if special:
        flip[..., -1] = torch.linalg.det(u @ vh).real.sgn()
    signed = s * flip
    low = signed[..., -1] if not special or s.shape[-1] == 1 else (signed[..., -1] + signed[..., -2]) / 2
    gap = low / s[..., 0].clamp_min(torch.finfo(s.dtype).tiny)
    nearest = (u * flip.unsqueeze(-2).to(u.dtype)) @ vh
    return _Polar.apply(matrix, nearest, signed, vh.mH), gap


class _Polar(torch.autograd.Function):
    """R from M = R H: R^H dM - dM^H R = W H + H W with dR = R W, solved where H is diagonal."""

    generate_vmap_rule = True

    @staticmethod
    def forward(matrix: Tensor, nearest: Tensor, signed: Tensor, v: Tensor) -> Tensor:
        return nearest.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[1:])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        nearest, signed, v = ctx.saved_tensors
        slope = v.mH @ (nearest.mH @ grad) @ v
        sums = signed.unsqueeze(-1) + signed.unsqueeze(-2)
        tiny = torch.finfo(sums.dtype).eps * signed.abs().amax(-1)[..., None, None]
        inner = (slope - slope.mH) / torch.where(sums.abs() > tiny, sums, torch.full_like(sums, torch.inf)).to(slope.dtype)
        return nearest @ v @ inner @ v.mH, None, None, None
