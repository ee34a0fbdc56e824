"""Permutations within the samples of a ragged batch: S_n for every sample, with its own n."""

from __future__ import annotations

import torch
from torch import Tensor

from .numeric import Device, Dtype, normal, place
from .symmetric import Symmetric


class RaggedSymmetric(Symmetric):
    """What ``Symmetric()`` becomes on a ragged batch of B samples with n_1, ..., n_B rows.

    Elements: integer vectors p (B, ..., n) with n the largest number of rows; sample b moves its first n_b entries and
    fixes the rest.

    Example:
        >>> from coset.groups.ragged import RaggedSymmetric
        >>> RaggedSymmetric((1, 3)).sample(2)[0]
        tensor([0, 1, 2])
    """

    finite = False
    n: int

    def __init__(self, sizes: tuple[int, ...]):
        super().__init__(max(1, *sizes) if sizes else 1)
        self.sizes = tuple(sizes)

    def sample(self, *batch: int, generator: torch.Generator | None = None, dtype: Dtype = None, device: Device = None) -> Tensor:
        """Uniform random elements; the first batch axis runs over the samples, or over whole copies of the batch."""
        sizes = self.sizes * (batch[0] // len(self.sizes)) if batch and self.sizes else self.sizes
        noise = normal((*batch, self.n), generator, place(generator, device))
        free = torch.arange(self.n, device=noise.device) < torch.tensor(sizes, device=noise.device)[:, None]  # type: ignore[arg-type]
        free = free.reshape(len(sizes), *(1,) * (len(batch) - 1), self.n)
        late = 1e9 + torch.arange(self.n, device=noise.device).to(torch.float64)  # type: ignore[arg-type]
        return torch.where(free, noise.to(torch.float64), late).argsort(-1)

    def haar(self, *batch: int, generator: torch.Generator | None = None, dtype: Dtype = None, device: Device = None) -> Tensor:
        """Uniform random elements; the last batch axis runs over the samples."""
        found = self.sample(batch[-1], *batch[:-1], generator=generator, device=device)
        return found.movedim(0, -2)

    def parameters(self) -> tuple[tuple[int, ...], ...]:  # type: ignore[override]
        """The constructor arguments."""
        return (self.sizes,)
