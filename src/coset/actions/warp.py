"""Resampling of images by what the pixel grid does not carry: declared interpolation, declared padding, one sampling."""

from __future__ import annotations

import enum

import torch
from torch import Tensor
from torch.nn import functional

from .pixels import leading, wide


class Interpolation(enum.Enum):
    """How a value between pixels is read."""

    BILINEAR = "bilinear"
    NEAREST = "nearest"
    BICUBIC = "bicubic"

    def __repr__(self) -> str:
        return f"{type(self).__name__}.{self.name}"


class Padding(enum.Enum):
    """What lies outside of an image: zeros, the nearest border pixel, or its mirror image."""

    ZEROS = "zeros"
    BORDER = "border"
    REFLECTION = "reflection"

    def __repr__(self) -> str:
        return f"{type(self).__name__}.{self.name}"


def warp(x: Tensor, matrix: Tensor, shift: Tensor | None, interpolation: Interpolation, padding: Padding) -> Tensor:
    """Move an image by p -> A p + t about its centre, by one sampling.

    Differentiable with respect to the image, the matrix and the shift.

    Args:
        x: (*batch, ..., H, W), any dtype; labels are read as floating point numbers and returned as they were.
        matrix: A, (*batch, 2, 2), x right and y up.
        shift: t, (*batch, 2), in pixels; None for zero.
        interpolation: how values between pixels are read.
        padding: what lies outside.

    Example:
        >>> import torch
        >>> from coset.actions.warp import Interpolation, Padding, warp
        >>> x = torch.tensor([[1.0, 2.0, 3.0]])
        >>> warp(x, torch.eye(2), torch.tensor([1.0, 0.0]), Interpolation.NEAREST, Padding.ZEROS)
        tensor([[0., 1., 2.]])
    """
    if x.is_complex():
        return torch.complex(*(warp(part, matrix, shift, interpolation, padding) for part in (x.real, x.imag)))
    if x.numel() == 0:
        return x
    batch, size = matrix.shape[:-2], x.shape[-2:]
    lead = leading(batch, x, 2)
    dtype = sampling_dtype(x)
    grid = sampling_grid(matrix, shift, size, dtype).reshape(-1, *size, 2)
    flat = x.to(dtype).expand(*lead, *size).reshape(grid.shape[0] if batch else 1, -1, *size)
    grid = grid.expand(flat.shape[0], *grid.shape[1:]) if flat.shape[0] == grid.shape[0] else grid
    moved = functional.grid_sample(flat, grid, mode=interpolation.value, padding_mode=padding.value, align_corners=False)
    return moved.reshape(*lead, *size).to(x.dtype)


def sampling_dtype(x: Tensor) -> torch.dtype:
    """The dtype that ``grid_sample`` is called with: the image's own where that is precise enough."""
    if not x.is_floating_point():
        return wide(x.device)
    return x.dtype if x.dtype in (torch.float32, torch.float64) else torch.float32


def sampling_grid(matrix: Tensor, shift: Tensor | None, size: torch.Size, dtype: torch.dtype) -> Tensor:
    """Where every pixel of the moved image is read, (*batch, H, W, 2), in the units of ``grid_sample``.

    With ``align_corners=False`` the centred coordinate u of an axis of length W is 2 u / W, for W = 1 too.
    """
    height, width = size
    a, b, c, d = matrix.flatten(-2).unbind(-1)
    inverse = torch.stack([d, -b, -c, a], -1) / (a * d - b * c)[..., None]
    a, b, c, d = inverse.to(dtype)[..., None, None, :].unbind(-1)
    right = torch.arange(width, device=matrix.device, dtype=dtype) - (width - 1) / 2
    up = (height - 1) / 2 - torch.arange(height, device=matrix.device, dtype=dtype)[:, None]
    if shift is not None:
        right = right - shift.to(dtype)[..., None, None, 0]
        up = up - shift.to(dtype)[..., None, None, 1]
    return torch.stack([(a * right + b * up) * (2 / width), (c * right + d * up) * (-2 / height)], -1)
