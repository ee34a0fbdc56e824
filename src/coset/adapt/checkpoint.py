"""Checkpoints: weights in safetensors, the rest beside them, and one small file, replaced last, that says which of them belong together."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import CosetError, InputError, describe, explain, require_extra

FORMAT = "coset.adapt 1"
POINTER = "checkpoint.json"


@dataclass(frozen=True)
class Saved:
    """What a checkpoint holds: weights by name, and a tree of plain values and tensors."""

    epochs: int
    weights: dict[str, Tensor]
    state: dict[str, Any]


def save(folder: Path, epochs: int, weights: Mapping[str, Tensor], state: dict[str, Any], about: dict[str, Any]) -> None:
    """Write a checkpoint; the one before stays whole until the new one is.

    Args:
        folder: where; created when missing.
        epochs: how many are done.
        weights: named tensors.
        state: optimizer, schedule, random states, history.
        about: what the checkpoint is of, compared when it is read.
    """
    names = {"weights": f"epoch-{epochs:05d}.safetensors", "state": f"epoch-{epochs:05d}.state.pt"}
    _replace(folder / names["weights"], lambda path: write_weights(path, weights))
    _replace(folder / names["state"], lambda path: write_state(path, state))
    digests = {kind: digest(folder / name) for kind, name in names.items()}
    pointer = {"format": FORMAT, "epochs": epochs, "files": names, "sha256": digests, "about": about}
    _replace(folder / POINTER, lambda path: path.write_text(json.dumps(pointer, indent=2)))
    for old in [*folder.glob("epoch-*"), *folder.glob(".epoch-*")]:  # of earlier epochs, and of writes that were killed
        if old.name not in names.values():
            old.unlink(missing_ok=True)


def check_folder(folder: Path) -> None:
    """Write a small file and delete it, so that a folder that cannot be used is known before the first epoch.

    Raises:
        InputError: where nothing can be written.
        MissingExtraError: when safetensors is not installed.
    """
    path = folder / ".epoch-probe"
    _replace(path, lambda part: write_weights(part, {}))
    path.unlink(missing_ok=True)


def load(folder: Path, about: dict[str, Any]) -> Saved | None:
    """Read the checkpoint of a folder; None where there is none.

    Raises:
        InputError: for damaged checkpoints, and for those of another canonicalizer, signature, predictor or loss, with the differences.
    """
    path = folder / POINTER
    if not path.exists():
        return None
    try:
        pointer = json.loads(path.read_text())
        epochs, names, digests, own = (pointer[key] for key in ("epochs", "files", "sha256", "about"))
        files = {kind: folder / names[kind] for kind in ("weights", "state")}
        digests, own = {kind: digests[kind] for kind in files}, dict(own)
        known = pointer["format"] == FORMAT
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _corrupt(path, f"which cannot be read ({type(error).__name__})") from error
    if not known:
        raise InputError(explain(f"{path} of the format {pointer['format']!r}", f"the format {FORMAT!r}", "use another folder"))
    different = {key: (own[key], value) for key, value in about.items() if key in own and own[key] != value}
    if different:
        said = "; ".join(f"{key} {mine!r} there, {now!r} here" for key, (mine, now) in different.items())
        remedy = "use another folder, and adapt.load_weights to begin with these weights"
        raise InputError(explain(f"the checkpoint {path} of something else: {said}", "a checkpoint of the same fit", remedy))
    for kind, file in files.items():
        if not file.exists():
            raise _corrupt(file, "which is missing")
        if digest(file) != digests[kind]:
            raise _corrupt(file, f"whose content is not what {POINTER} says")
    try:
        return Saved(int(epochs), read_weights(files["weights"]), torch.load(files["state"], map_location="cpu", weights_only=True))
    except (OSError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError) as error:
        raise _corrupt(files["state"], f"which cannot be read ({type(error).__name__})") from error


def save_weights(canonicalizer: nn.Module, path: str | Path) -> None:
    """Write the weights of a canonicalizer (or of any module) to one safetensors file, atomically.

    Raises:
        MissingExtraError: when safetensors is not installed.
        InputError: where the file cannot be written.

    Example:
        >>> import tempfile, torch
        >>> from pathlib import Path
        >>> from coset import adapt
        >>> net = torch.nn.Linear(2, 2)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     adapt.save_weights(net, Path(folder) / "net.safetensors")
        ...     adapt.load_weights(torch.nn.Linear(2, 2), Path(folder) / "net.safetensors")
    """
    _replace(Path(path), lambda file: write_weights(file, canonicalizer.state_dict()))


def load_weights(canonicalizer: nn.Module, path: str | Path) -> None:
    """Read weights that :func:`save_weights` wrote into a module of the same form.

    Raises:
        MissingExtraError: when safetensors is not installed.
        InputError: for files that are missing or damaged, and weights of other names or shapes.

    Example:
        >>> import tempfile, torch
        >>> from pathlib import Path
        >>> from coset import adapt
        >>> one, two = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     adapt.save_weights(one, Path(folder) / "net.safetensors")
        ...     adapt.load_weights(two, Path(folder) / "net.safetensors")
        >>> torch.equal(one.weight, two.weight)
        True
    """
    path = Path(path)
    if not path.is_file():
        why = "is no file" if path.exists() else "does not exist"
        raise InputError(explain(f"{path}, which {why}", "a file written by adapt.save_weights", "check the path"))
    put_weights(canonicalizer, read_weights(path), f"of {path}")


def put_weights(module: nn.Module, weights: Mapping[str, Tensor], name: str) -> None:
    """Copy named tensors into a module.

    Raises:
        InputError: where names or shapes differ.
    """
    own = module.state_dict()
    missing, extra = sorted(own.keys() - weights.keys()), sorted(weights.keys() - own.keys())
    shapes = [
        f"{key} {describe(weights[key])}, here {tuple(own[key].shape)}"
        for key in sorted(own.keys() & weights.keys())
        if weights[key].shape != own[key].shape
    ]
    if missing or extra or shapes:
        said = "; ".join(
            f"{what} {', '.join(which[:5])}" for what, which in (("without", missing), ("with", extra), ("shapes of", shapes)) if which
        )
        raise InputError(
            explain(f"weights {name} that do not fit {type(module).__name__}: {said}", "weights of the same module", "rebuild it as it was")
        )
    module.load_state_dict(dict(weights))


def write_weights(path: Path, weights: Mapping[str, Tensor]) -> None:
    """Named tensors into a safetensors file; tensors that share memory are written each for itself."""
    try:
        from safetensors import SafetensorError
        from safetensors.torch import save_file
    except ImportError as error:
        raise require_extra("safetensors", "train") from error
    try:
        save_file({key: value.detach().to("cpu", copy=True).contiguous() for key, value in weights.items()}, path)
    except SafetensorError as error:
        raise OSError(str(error)) from error


def write_state(path: Path, state: dict[str, Any]) -> None:
    """A tree of plain values and tensors, read once more to see that it can be.

    Raises:
        InputError: for values that would not be read again.
    """
    try:
        torch.save(plain(state), path)
        torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.PickleError, AttributeError, TypeError) as error:
        given = f"an optimizer or schedule whose state is not of numbers, strings and tensors ({str(error).splitlines()[0]})"
        raise InputError(explain(given, "state that can be written down", "build it from plain values, or leave folder= out")) from error


def plain(values: Any) -> Any:
    """A tree with numpy's numbers as Python's."""
    if type(values) is dict:
        return {key: plain(value) for key, value in values.items()}
    if type(values) in (list, tuple):
        return type(values)(plain(value) for value in values)
    return values.item() if isinstance(values, np.generic) else values


def read_weights(path: Path) -> dict[str, Tensor]:
    """Named tensors from a safetensors file.

    Raises:
        MissingExtraError: when safetensors is not installed.
        InputError: for damaged files.
    """
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ImportError as error:
        raise require_extra("safetensors", "train") from error
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        given = f"the damaged file {path}, which is no safetensors file ({error})"
        raise InputError(explain(given, "weights as coset wrote them", "restore the file, or write it anew")) from error


def digest(path: Path) -> str:
    """The SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def form(module: Any) -> str:
    """A digest of names, shapes and dtypes of a module's tensors; of a function, its name."""
    if not isinstance(module, nn.Module):
        return getattr(module, "__name__", type(module).__name__)
    said = ",".join(f"{key}{tuple(value.shape)}{value.dtype}" for key, value in module.state_dict().items())
    return f"{type(module).__name__} {hashlib.sha256(said.encode()).hexdigest()[:16]}"


def values(module: Any) -> str:
    """A digest of a module's tensors, to tell one set of frozen weights from another."""
    found = hashlib.sha256()
    for value in module.state_dict().values() if isinstance(module, nn.Module) else ():
        found.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()[:16]


def _replace(path: Path, write: Callable[[Path], Any]) -> None:
    """Write beside, flush to disk, then rename: readers see the old file or the new one.

    Raises:
        InputError: where that fails.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            write(part)
            with open(part, "rb") as file:
                os.fsync(file.fileno())
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        given = f"{path}, which cannot be written ({error})"
        raise InputError(explain(given, "a place with space where you may write", "check the path, its rights and the disk")) from error


def _corrupt(path: Path, why: str) -> CosetError:
    return InputError(
        explain(
            f"the damaged checkpoint {path}, {why}", "a checkpoint as adapt.fit wrote it", "delete its folder to begin anew, or restore it"
        )
    )
