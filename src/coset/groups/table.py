"""A finite group from its multiplication table."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..errors import GroupError, describe, explain
from .base import Finite
from .maps import Homomorphism, identity_map
from .numeric import Device, Dtype, integers


class Table(Finite):
    """The finite group with product g h = table[g][h].

    Elements: integers (...). The neutral element may be any of them; ``elements()`` lists it first.

    Args:
        table: n x n integers 0 .. n-1, as a tensor or nested lists.

    Raises:
        GroupError: when the table is not square, or breaks an axiom; the message names the entries.

    Example:
        >>> from coset.groups import Table
        >>> group = Table([[0, 1], [1, 0]])
        >>> group.compose(group.elements(), group.elements()).tolist()
        [0, 0]
    """

    def __init__(self, table: Any):
        self.table = _square(table)
        self.unit = _unit(self.table)
        self.inverses = _inverses(self.table, self.unit)
        _check_associative(self.table)
        others = [k for k in range(len(self.table)) if k != self.unit]
        self.listing = torch.tensor([self.unit, *others])

    @property
    def order(self) -> int:
        """The number of elements."""
        return len(self.table)

    def elements(self, *, dtype: Dtype = None, device: Device = None) -> Tensor:
        """All elements along a leading axis, the identity first."""
        return self.listing.to(device, copy=True)

    def index(self, g: Tensor) -> Tensor:
        """The position of g in :meth:`elements`."""
        return self.listing.argsort().to(g.device)[g]

    def haar(self, *batch: int, generator: torch.Generator | None = None, dtype: Dtype = None, device: Device = None) -> Tensor:
        """Independent Haar-distributed elements."""
        return integers(self.order, batch, generator, device)

    def identity(self, *batch: int, dtype: Dtype = None, device: Device = None) -> Tensor:
        """The neutral element, repeated over the batch axes."""
        return torch.full(batch, self.unit, dtype=torch.int64, device=device)

    def compose(self, g: Tensor, h: Tensor) -> Tensor:
        """The product gh: first h, then g."""
        return self.table.to(g.device).flatten()[g * self.order + h]

    def inverse(self, g: Tensor) -> Tensor:
        """The inverse of g."""
        return self.inverses.to(g.device)[g]

    def distance(self, g: Tensor, h: Tensor) -> Tensor:
        """1 where the elements differ, else 0."""
        return (g != h).to(torch.get_default_dtype())

    def components(self) -> dict[str, Homomorphism]:
        """The named subgroups that an audit reports."""
        return {"element": identity_map(self)}

    def parameters(self) -> tuple[Any, ...]:
        """The constructor arguments."""
        return (tuple(map(tuple, self.table.tolist())),)

    def __repr__(self) -> str:
        return f"Table(order={self.order})" if self.order > 4 else f"Table({self.table.tolist()})"


def _square(table: Any) -> Tensor:
    """The table as int64 on the host, with entries in range."""
    try:
        tensor = torch.as_tensor(table).cpu()
    except (TypeError, ValueError, RuntimeError) as error:
        raise GroupError(explain(f"a table {table!r}", "a square of integers", "pass n rows of n integers")) from error
    floats = tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool
    if floats or tensor.dim() != 2 or tensor.shape[0] != tensor.shape[1] or tensor.numel() == 0:
        raise GroupError(explain(describe(tensor), "a square table of integers", "pass n rows of n integers 0 .. n-1"))
    wrong = torch.nonzero((tensor < 0) | (tensor >= len(tensor)))
    if len(wrong):
        g, h = wrong[0].tolist()
        raise GroupError(
            explain(f"table[{g}][{h}] = {int(tensor[g, h])}", f"entries 0 .. {len(tensor) - 1}: a group is closed", "correct this product")
        )
    return tensor.to(torch.int64).clone()


def _unit(table: Tensor) -> int:
    everything = torch.arange(len(table))
    neutral = (table == everything).all(1) & (everything == table.T).all(1)
    if not bool(neutral.any()):
        raise GroupError(
            explain(f"a table of order {len(table)} without identity", "one e with e g = g e = g for all g", "correct its row and column")
        )
    return int(neutral.to(torch.int64).argmax())


def _inverses(table: Tensor, unit: int) -> Tensor:
    hits = (table == unit) & (unit == table.T)
    lonely = torch.nonzero(~hits.any(1)).flatten().tolist()
    if lonely:
        raise GroupError(
            explain(f"a table in which element {lonely[0]} has no inverse", f"some h with g h = h g = {unit}", f"correct row {lonely[0]}")
        )
    return hits.to(torch.int64).argmax(1)


def _check_associative(table: Tensor) -> None:
    for g in range(len(table)):
        wrong = torch.nonzero(table[table[g]] != table[g][table])
        if len(wrong):
            h, k = wrong[0].tolist()
            raise GroupError(
                explain(
                    f"a table with (g h) k = {int(table[table[g, h], k])} but g (h k) = {int(table[g, table[h, k]])} for {(g, h, k)}",
                    "an associative product",
                    "correct the table, or build the group from generators with Generated(...)",
                )
            )
