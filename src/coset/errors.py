"""The exceptions of coset: every message says what was given, what was expected and what to do."""

from __future__ import annotations


class CosetError(Exception):
    """Base class of every error that coset raises on purpose."""


class InputError(CosetError, ValueError):
    """Data does not fit: a wrong shape, dtype or device, NaN or infinite values, an empty batch."""


class GroupError(CosetError, ValueError):
    """A group cannot do what was asked of it, for instance Haar sampling on a non-compact group."""


class SignatureError(CosetError, TypeError):
    """An action is missing, or describes other data than it was given."""


class FrameError(CosetError, ValueError):
    """A frame cannot be built for this group or these inputs."""


class MissingExtraError(CosetError, ImportError):
    """An optional neighbour library is not installed."""


def explain(given: str, expected: str, remedy: str) -> str:
    """Compose the three sentences of an error message.

    Example:
        >>> from coset.errors import explain
        >>> explain("a tensor of shape (3,)", "one leading batch axis", "pass x[None]")
        'Given: a tensor of shape (3,). Expected: one leading batch axis. To do: pass x[None].'
    """
    return f"Given: {given}. Expected: {expected}. To do: {remedy}."


def describe(x: object) -> str:
    """Say briefly what a value is: tensors by shape, dtype and device, anything else by its type."""
    shape = getattr(x, "shape", None)
    if shape is None:
        return f"a value of type {type(x).__name__}"
    return f"a {type(x).__name__} of shape {tuple(shape)}, {getattr(x, 'dtype', '?')} on {getattr(x, 'device', 'the host')}"


def require_extra(module: str, extra: str) -> MissingExtraError:
    """Build the error that names the extra which brings ``module``."""
    return MissingExtraError(
        explain(f"no installed module {module!r}", f"the optional extra {extra!r}", f"run: pip install 'coset[{extra}]'")
    )
