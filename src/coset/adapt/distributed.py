"""The little that training on several processes needs: who writes, what is averaged, what all must know."""

from __future__ import annotations

from typing import Any

import torch
from torch import distributed, nn


def active() -> bool:
    """Whether a process group was initialized."""
    return distributed.is_available() and distributed.is_initialized()


def rank() -> int:
    """The number of this process."""
    return distributed.get_rank() if active() else 0


def world() -> int:
    """The number of processes."""
    return distributed.get_world_size() if active() else 1


def spread(objective: nn.Module, device: torch.device) -> nn.Module:
    """The objective with gradients averaged over the processes."""
    if world() == 1 or not any(p.requires_grad for p in objective.parameters()):
        return objective
    ids = [device.index] if device.type == "cuda" else None
    return nn.parallel.DistributedDataParallel(objective, device_ids=ids, broadcast_buffers=False)


def averaged(sums: torch.Tensor) -> torch.Tensor:
    """Sums of all processes added up."""
    if world() > 1:
        distributed.all_reduce(sums)
    return sums


def gathered(value: Any) -> list[Any]:
    """The values of all processes, in the order of their ranks."""
    if world() == 1:
        return [value]
    found: list[Any] = [None] * world()
    distributed.all_gather_object(found, value)
    return found


def wait() -> None:
    """Until all processes are here."""
    if world() > 1:
        distributed.barrier()
