"""Images with their classes, and batches of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Labelled:
    """Images (N, C, H, W) and their classes (N,)."""

    images: Tensor
    classes: Tensor

    def __getitem__(self, rows: Tensor | slice) -> Labelled:
        return Labelled(self.images[rows], self.classes[rows])

    def __len__(self) -> int:
        return len(self.classes)


class Batches:
    """Batches (images, classes), shuffled by torch's global generator or as they are.

    Args:
        known: the images and their classes.
        size: of a batch.
        shuffled: in a new order every time.
        prepare: what the images of a batch are made into.
    """

    def __init__(self, known: Labelled, size: int, shuffled: bool, prepare: Callable[[Tensor], Tensor] | None = None):
        self.known, self.size, self.shuffled, self.prepare = known, size, shuffled, prepare

    def __len__(self) -> int:
        return -(-len(self.known) // self.size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        order = torch.randperm(len(self.known)) if self.shuffled else torch.arange(len(self.known))
        for rows in order.split(self.size):
            batch = self.known[rows]
            yield batch.images if self.prepare is None else self.prepare(batch.images), batch.classes
