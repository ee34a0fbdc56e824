"""The demonstration: symmetrize small networks of molecules and digits, and write what happened as a page and as JSON."""

from .running import Missed, main
from .settings import Settings

__all__ = ["Missed", "Settings", "main"]
