"""A progress bar by rich, only where somebody is looking."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sized
from typing import Any

from ..errors import require_extra


def watched(batches: Iterable[Any], label: str, progress: bool | None) -> Iterator[Any]:
    """The batches, with a bar on the screen.

    Args:
        batches: what to go through.
        label: what the bar says.
        progress: True for a bar, False for none, None for one where standard error is a terminal and rich is installed.

    Raises:
        MissingExtraError: where a bar was asked for and rich is not installed.
    """
    if progress is False or (progress is None and not sys.stderr.isatty()):
        yield from batches
        return
    try:
        from rich.console import Console
        from rich.progress import track
    except ImportError as error:
        if progress is None:
            yield from batches
            return
        raise require_extra("rich", "report") from error
    size = len(batches) if isinstance(batches, Sized) else None
    yield from track(batches, label, total=size, console=Console(stderr=True, force_terminal=True if progress else None), transient=True)
