"""Bad input is refused before anything is measured: arrays, empty batches, NaN, mixed devices and dtypes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy
import torch
from torch import Tensor

from ..actions.signature import Signature
from ..errors import InputError, SignatureError, describe, explain
from ..tree import Tree, children, is_container, leaves, rebuild, to_tensors, tree_map
from .elements import draw
from .norms import named_leaves
from .running import model_tensors
from .sweep import Batch

CHUNK = 128


def prepare(model: Callable[..., Any], signature: Signature, inputs: Tree, chunk: int, notes: list[str]) -> Batch:
    """Turn what the user passed into a checked batch of tensors; conversions are written to ``notes``.

    Raises:
        SignatureError: when ``signature`` is not one, or does not describe the inputs.
        InputError: when the inputs are empty, not finite, or on mixed devices or dtypes.
    """
    if not isinstance(signature, Signature):
        raise SignatureError(
            explain(f"{describe(signature)} as signature", "source >> target", "write for instance actions.Points(G) >> actions.Vectors(G)")
        )
    if not callable(model):
        raise InputError(explain(f"{describe(model)} as model", "a callable, such as a torch.nn.Module", "pass the model itself"))
    if chunk < 1:
        raise InputError(explain(f"chunk={chunk}", "at least one sample per call", "pass chunk=128"))
    x = _arrays(model, inputs, notes)
    tensors = list(leaves(x))
    if not tensors:
        raise InputError(explain(f"inputs {describe(inputs)} without tensors", "a batch of data", "pass what you would pass to the model"))
    if any(t.dim() and t.shape[0] == 0 for t in tensors):
        raise InputError(explain(f"an empty batch: {[tuple(t.shape) for t in tensors]}", "at least one sample", "pass inputs to audit on"))
    _alike(x, signature)
    signature.source.check(x)
    signature.source.check_finite(x)
    at = signature.source.layout(x)
    if at.samples == 0:
        raise InputError(explain(f"an empty batch: {[tuple(t.shape) for t in tensors]}", "at least one sample", "pass inputs to audit on"))
    batch = Batch(x, at, signature.source.resolve(x), tensors[0].device, chunk)
    return batch if _together(signature, batch) else Batch(batch.x, batch.at, batch.group, batch.device, 1)


def _arrays(model: Callable[..., Any], inputs: Tree, notes: list[str]) -> Tree:
    """Convert arrays to tensors, floating point ones to the model's dtype, on the model's device."""
    if not _has_arrays(inputs):
        return inputs
    own = next(iter(model_tensors(model)), None)
    if own is None:
        return to_tensors(inputs)

    def convert(x: Tree) -> Tree:
        if isinstance(x, numpy.ndarray):
            tensor = torch.from_numpy(x).to(own.device)
            return tensor.to(own.dtype) if tensor.is_floating_point() else tensor
        return rebuild(x, {k: convert(v) for k, v in children(x).items()}) if is_container(x) else x

    notes.append(f"NumPy arrays were converted to tensors, floating point ones to {own.dtype}, as the model's parameters")
    return convert(inputs)


def _has_arrays(x: Tree) -> bool:
    return isinstance(x, numpy.ndarray) or (is_container(x) and any(_has_arrays(v) for v in children(x).values()))


def _alike(x: Tree, signature: Signature) -> None:
    """One device for all tensors, one dtype for all floating point ones that move."""
    devices = {str(t.device) for t in leaves(x)}
    if len(devices) > 1:
        raise InputError(explain(f"inputs on {sorted(devices)}", "one device", "move them with .to(device)"))
    if not is_container(x):
        return
    moved = {name: t.dtype for name, leaf, t in named_leaves(signature.source, x, "input") if leaf.moves and t.is_floating_point()}
    if len(set(moved.values())) > 1:
        raise InputError(explain(f"inputs of {moved}", "one floating point dtype", "convert them with .to(dtype)"))


def _together(signature: Signature, batch: Batch) -> bool:
    """Whether samples with different elements fit into one call."""
    samples = torch.arange(batch.at.samples, device=batch.device).repeat(2)
    repeated = signature.source.take(batch.x, samples, batch.at)
    like = next((t for t in leaves(repeated) if t.is_floating_point() or t.is_complex()), next(leaves(repeated)))
    g = draw(batch.group, samples.numel(), 1, torch.Generator().manual_seed(1), like).elements
    one = tree_map(lambda e: e[:, -1], g)
    try:
        signature.source.act(one, repeated, signature.source.layout(repeated))
    except InputError:
        return False
    return True


def suspicious(signature: Signature, x: Tree) -> list[str]:
    """Inputs that are declared Trivial and look as if they should move."""
    d, found = signature.group.dim, []
    for name, leaf, t in named_leaves(signature.source, x, "input"):
        if (
            d
            and d > 1
            and type(leaf).__name__ == "Trivial"
            and isinstance(t, Tensor)
            and t.is_floating_point()
            and t.dim() > 1
            and t.shape[-1] == d
        ):
            found.append(
                f"{name} of shape {tuple(t.shape)} is declared Trivial: if its last axis holds vectors, "
                "declare Vectors, or the audit compares different situations"
            )
    return found
