"""Scores of learned frames, computed when they are read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from torch import Tensor


class Scores(Mapping[str, Tensor]):
    """Named values (B,) for losses, computed when they are read."""

    def __init__(self, found: dict[str, Callable[[], Tensor]]):
        self._found = found

    def __getitem__(self, key: str) -> Tensor:
        return self._found[key]()

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)

    def __reduce__(self) -> tuple[Any, ...]:
        """Copies and pickles hold the values, without gradients."""
        return dict, ({key: self[key].detach() for key in self},)
