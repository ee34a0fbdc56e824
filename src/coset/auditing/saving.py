"""Reports on disk: plain values, JSON, one-page HTML."""

from __future__ import annotations

import abc
import json
import math
from pathlib import Path
from typing import Any

from torch import Tensor

from ..tree import children, is_container


class Saved(abc.ABC):
    """What every report can do with its ``to_dict``."""

    @abc.abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, strings, lists and dictionaries; numbers that are not finite become None."""

    def to_json(self, path: str | Path | None = None) -> str:
        """All findings as JSON, also written to ``path`` when given."""
        text = json.dumps(self.to_dict(), indent=2, allow_nan=False)
        if path is not None:
            written(path, text + "\n")
        return text


def written(path: str | Path, text: str) -> Path:
    """Write a text file, and return where."""
    target = Path(path)
    target.write_text(text, encoding="utf-8")
    return target


def plain(x: Any) -> Any:
    """Tensors as nested lists, numbers finite or None."""
    if isinstance(x, Tensor):
        return plain([x.real.tolist(), x.imag.tolist()] if x.is_complex() else x.tolist())
    if isinstance(x, float):
        return float(x) if math.isfinite(x) else None
    if isinstance(x, dict):
        return {str(k): plain(v) for k, v in x.items()}
    if isinstance(x, tuple) and hasattr(x, "_fields"):
        return {k: plain(v) for k, v in zip(x._fields, x, strict=True)}
    if isinstance(x, (list, tuple)):
        return [plain(v) for v in x]
    return {str(k): plain(v) for k, v in children(x).items()} if is_container(x) else x
