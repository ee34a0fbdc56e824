"""``assert_equivariant``: an audit as one line of a test."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from ..actions.signature import Signature
from ..tree import Tree
from .auditor import audit
from .report import Report, element_text


def assert_equivariant(
    model: Callable[..., Any],
    signature: Signature,
    inputs: Tree,
    *,
    bound: float,
    samples: int = 32,
    generator: torch.Generator | None = None,
) -> None:
    """Raise when a model is further from its declared symmetry than ``bound``, or when the declaration is wrong.

    Args:
        model: any callable, called as :func:`coset.audit` does.
        signature: ``source >> target``.
        inputs: a batch for the source.
        bound: the largest accepted mean relative error.
        samples: group elements per input.
        generator: source of randomness; a fixed seed when left out.

    Raises:
        AssertionError: with the error, the worst element, the floor, and one line for each component.
        InputError: for bad inputs.
        SignatureError: when the signature does not describe inputs or outputs.

    Example:
        >>> import torch, coset
        >>> from coset import actions, groups
        >>> G = groups.Orthogonal(3)
        >>> coset.assert_equivariant(lambda x: x.norm(dim=-1), actions.Vectors(G) >> actions.Trivial(G), torch.randn(4, 3), bound=1e-5)
    """
    report = audit(model, signature, inputs, samples=samples, generator=generator, layers=False, lie=False)
    if not report.passed(bound):
        raise AssertionError(failure_text(report, bound))


def failure_text(report: Report, bound: float) -> str:
    """What a failing test prints."""
    stderr = "" if report.stderr is None else f" ± {report.stderr:.1e}"
    lines = [
        f"{report.model} is not equivariant under {report.group} within {bound:.1e} ({report.signature})",
        *(f"  failed: {text}" for text in report.failures),
        f"  error: {report.error:.3e}{stderr} (mean over {report.inputs} inputs and {report.samples} elements)",
        f"  worst: {report.worst.error:.3e} at input {report.worst_input}, element {element_text(report.worst.element)}",
        f"  floor: {report.floor:.3e}",
        *(f"  {name}: {value!r}" for name, value in report.components.items()),
        *(f"  note: {text}" for text in report.notes),
    ]
    return "\n".join(lines)
