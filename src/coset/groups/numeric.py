"""Dtypes, devices and random numbers that every group shares: float64 inside, the asked dtype outside."""

from __future__ import annotations

import operator
from collections.abc import Sequence

import torch
from torch import Tensor

from ..errors import GroupError, explain
from ..tree import Tree, tree_map

Dtype = torch.dtype | None
Device = torch.device | str | None


REAL = {torch.complex32: torch.float16, torch.complex64: torch.float32, torch.complex128: torch.float64}
"""The dtype of the parts of complex numbers, as a table that compilers can read."""


def size(owner: str, value: object, least: int = 1) -> int:
    """Check a size that a user wrote, for instance the d of ``Orthogonal(d)``.

    Raises:
        GroupError: when it is not an integer of at least ``least``.
    """
    try:
        number = -1 if isinstance(value, bool) else operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        number = least - 1
    if isinstance(value, bool) or number < least:
        raise GroupError(explain(f"{owner}({value!r})", f"an integer of at least {least}", f"write for instance {owner}({max(least, 3)})"))
    return number


def real(dtype: Dtype) -> torch.dtype:
    """The dtype of real elements: the asked one, the default one, or the real part of a complex one."""
    if dtype is None:
        return torch.get_default_dtype()
    if dtype.is_complex:
        return REAL[dtype]
    if not dtype.is_floating_point:
        raise GroupError(explain(f"dtype={dtype}", "a floating point dtype", "ask for torch.float32 or torch.float64"))
    return dtype


def complex_(dtype: Dtype) -> torch.dtype:
    """The dtype of complex elements that belongs to an asked real or complex one."""
    return dtype if dtype is not None and dtype.is_complex else torch.promote_types(real(dtype), torch.complex32)


def wide(device: Device) -> torch.dtype:
    """The dtype in which geometry is computed: float64 where the device has it."""
    return torch.float32 if device is not None and torch.device(device).type == "mps" else torch.float64


def widen(x: Tensor) -> Tensor:
    """A tensor in the dtype of :func:`wide`, complex where it is complex."""
    dtype = wide(x.device)
    return x.to(torch.promote_types(dtype, torch.complex32) if x.is_complex() else dtype)


def product(a: Tensor, b: Tensor) -> Tensor:
    """The matrix product, in the wider of the two precisions."""
    dtype = torch.promote_types(a.dtype, b.dtype)
    return a.to(dtype) @ b.to(dtype)


def cast(x: Tree, dtype: torch.dtype) -> Tree:
    """Floating point and complex leaves in the given precision; integers stay."""

    def one(leaf: Tensor) -> Tensor:
        if leaf.is_complex():
            return leaf.to(complex_(dtype))
        return leaf.to(real(dtype)) if leaf.is_floating_point() else leaf

    return tree_map(one, x)


def place(generator: torch.Generator | None, device: Device) -> torch.device:
    """Where random elements go: the asked device, else the generator's, else the default one."""
    if device is not None:
        return torch.device(device)
    return generator.device if generator is not None else torch.get_default_device()


def normal(shape: Sequence[int], generator: torch.Generator | None, device: Device) -> Tensor:
    """Standard normal numbers in the wide dtype, drawn on the generator's device."""
    device = place(generator, device)
    source = generator.device if generator is not None else device
    return torch.randn(tuple(shape), generator=generator, device=source, dtype=wide(source)).to(device)


def integers(high: int, shape: Sequence[int], generator: torch.Generator | None, device: Device) -> Tensor:
    """Uniform integers 0 .. high-1 (int64), drawn on the generator's device."""
    device = place(generator, device)
    source = generator.device if generator is not None else device
    return torch.randint(high, tuple(shape), generator=generator, device=source).to(device)


def signs(shape: Sequence[int], generator: torch.Generator | None, device: Device) -> Tensor:
    """Uniform signs +1 and -1 in the wide dtype."""
    coins = integers(2, shape, generator, device)
    return 1 - 2 * coins.to(wide(coins.device))


def eye(d: int, batch: Sequence[int], dtype: torch.dtype, device: Device) -> Tensor:
    """Identity matrices of shape (*batch, d, d), each with its own memory."""
    return torch.eye(d, dtype=dtype, device=device).expand(*batch, d, d).clone()
