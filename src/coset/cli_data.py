"""What the commands on data read: archives with inputs and targets, and groups by name such as C4, D4, S5, O3."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import Any

from .errors import GroupError, InputError, explain

INPUTS = ("x", "X", "inputs", "images", "data", "pos")
TARGETS = ("y", "Y", "labels", "targets", "target")
KNOWN = "C<n>, D<n>, S<n>, Flip, O<d>, SO<d>"
KINDS = {"C": "Cyclic", "D": "Dihedral", "S": "Symmetric", "O": "Orthogonal", "SO": "SpecialOrthogonal"}


def read_pairs(path: Path, x_key: str | None, y_key: str | None) -> tuple[Any, Any]:
    """Inputs and targets (None without) of an .npz archive.

    Raises:
        InputError: when the file cannot be read, or lacks a key.
    """
    import numpy

    if not path.exists():
        raise InputError(explain(f"no file {str(path)!r}", "a .npz archive", "check the path"))
    try:
        archive = numpy.load(path)
        if isinstance(archive, numpy.ndarray):
            raise ValueError("a single array")
        found = {key: archive[key] for key in archive.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        known = str(error) if "pickle" not in str(error) else "not an archive, or one of Python objects, which are not loaded"
        raise InputError(explain(f"the file {str(path)!r}: {known}", "a .npz archive of numbers", "save it with numpy.savez")) from error
    x = _entry(found, x_key, INPUTS, "inputs", path)
    if x is None:
        raise InputError(explain(f"arrays {list(found)} in {path.name}", f"inputs under one of {list(INPUTS)}", "name them with --x"))
    return x, _entry(found, y_key, TARGETS, "targets", path)


def _entry(found: dict[str, Any], key: str | None, usual: tuple[str, ...], what: str, path: Path) -> Any:
    if key is not None and key not in found:
        raise InputError(explain(f"no key {key!r} for the {what} in {path.name}", f"one of {list(found)}", "check the name"))
    return found[key] if key is not None else next((found[name] for name in usual if name in found), None)


def parse(name: str) -> tuple[str, int]:
    """The letter and the number of a group's name.

    Raises:
        InputError: for other names.

    Example:
        >>> parse("D4"), parse("Flip")
        (('D', 4), ('D', 1))
    """
    if name.lower() == "flip":
        return "D", 1
    match = re.fullmatch(r"(SO|O|C|D|S)(\d+)", name.strip())
    if match is None or int(match[2]) < 1:
        raise InputError(explain(f"the group {name!r}", KNOWN, "write for instance C4, or name an action as package.module:attribute"))
    return match[1], int(match[2])


def named_action(name: str, x: Any) -> Any:
    """The action on an array that a short name stands for.

    O and SO turn the last axis; C, D and Flip turn and flip images (n, H, W) or (n, C, H, W); C, D and S permute the columns of a table
    (n, d) cyclically, as a polygon's corners, or in every way; S permutes the points of (n, points, d).

    Raises:
        InputError: when the name or its number does not fit the shape.
    """
    from . import actions, groups

    letter, number = parse(name)
    shape = tuple(x.shape)
    if letter in ("O", "SO"):
        _fits(name, shape, len(shape) > 1 and shape[-1] == number, f"a last axis of length {number}")
        return actions.Vectors(getattr(groups, KINDS[letter])(number))
    if letter == "S" and len(shape) == 3:
        _fits(name, shape, shape[-2] == number, f"{number} points")
        return actions.Permute(groups.Symmetric(number), -2)
    if len(shape) == 2:
        return actions.Permute(columns(name, shape[1]), -1)
    _fits(name, shape, len(shape) in (3, 4) and letter in ("C", "D"), "a table (n, d), points (n, k, d) or images (n, C, H, W)")
    return actions.Image(getattr(groups, KINDS[letter])(number))


def columns(name: str, degree: int) -> Any:
    """A group by name as permutations of ``degree`` columns.

    Raises:
        InputError: when it permutes another number of things.
    """
    from . import groups

    letter, number = parse(name)
    allowed = letter in ("C", "D", "S") and number == degree
    _fits(name, ("n", degree), allowed, f"C{degree}, D{degree} or S{degree}: a group that permutes {degree} columns")
    turn, mirror = [*range(1, degree), 0], [*range(degree - 1, -1, -1)]
    if letter == "S":
        return groups.Symmetric(degree)
    return groups.Generated([turn] if letter == "C" else [turn, mirror])


def _fits(name: str, shape: tuple[Any, ...], good: bool, expected: str) -> None:
    if not good:
        size = ", ".join(map(str, shape))
        raise InputError(explain(f"the group {name} on inputs of shape ({size})", expected, "name another group, or an action"))


def included(name: str, group: Any) -> Any:
    """A subgroup by name, as a group that the audited one contains.

    Raises:
        InputError: when no inclusion is known.
    """
    from . import groups

    letter, number = parse(name)
    small = getattr(groups, KINDS[letter])(number)
    try:
        return groups.inclusion(small, group)
    except GroupError as error:
        raise InputError(explain(f"the subgroup {name} of {group}", "a group inside of it that coset knows", "leave it out")) from error
