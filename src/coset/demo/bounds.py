"""What must hold of the numbers, so that the demonstration can fail."""

from __future__ import annotations

import math
from typing import Any

BROKEN = 1e-1
"""A bare model is not equivariant: its error is larger."""
EXACT = 1e-5
"""An exact method in float32 is equivariant: its error is smaller."""
ALIVE = 1e-2
"""Outputs of a symmetrized model are not zeros and not a constant: relative size and variation are larger."""
LEARNED = 0.4
"""Accuracy upright of networks that were trained as they are used: four times chance."""


def check(results: dict[str, Any]) -> list[dict[str, Any]]:
    """Every bound with the number that it is about.

    Returns:
        Records with ``what``, ``value``, ``relation``, ``bound`` and ``met``.
    """
    found: list[dict[str, Any]] = []
    for row in results["molecules"]["rows"]:
        found += _symmetry(f"molecules, {row['name']}", row)
    for part, rows in results["digits"]["parts"].items():
        for row in rows:
            label = f"digits under {part}, {row['name']}"
            found += _symmetry(label, row) + _accuracy(label, row)
    return found


def bound(what: str, value: float | None, relation: str, limit: float) -> dict[str, Any]:
    """One record; a number that is missing or not finite misses every bound."""
    holds = {">": lambda v: v > limit, "<": lambda v: v < limit, "=": lambda v: v == limit}[relation]
    met = value is not None and math.isfinite(value) and bool(holds(value))
    return {"what": what, "value": value, "relation": relation, "bound": limit, "met": met}


def _symmetry(label: str, row: dict[str, Any]) -> list[dict[str, Any]]:
    """Broken before, repaired after, by a model that is neither zero nor constant."""
    found = [
        bound(f"{label}: error before", row["before"], ">", BROKEN),
        bound(f"{label}: laws of the declared actions that fail", len(row["failures"]), "=", 0),
    ]
    if row["name"] == "bare":
        return found
    if row["exact"]:
        found.append(bound(f"{label}: error after", row["error"], "<", EXACT))
        found += [bound(f"{label}: error after, {name}", value, "<", EXACT) for name, value in row["components"].items()]
    else:
        found.append(bound(f"{label}: error of the approximation", row["error"], "<", row["before"]))
    found += [
        bound(f"{label}: distance to the bare model on canonical inputs, carried back", row["distance"], "<", EXACT),
        bound(f"{label}: size of the outputs, as a share of the bare model's", row["size"], ">", ALIVE),
        bound(f"{label}: variation of the outputs over the inputs", row["variation"], ">", ALIVE),
    ]
    if row["name"].startswith("minimal"):
        found.append(bound(f"{label}: distance to the bare model at canonical inputs", row["canonical"], "<", EXACT))
        found.append(bound(f"{label}: samples entering the model per input", row["samples"], "=", 1.0))
    return found


def _accuracy(label: str, row: dict[str, Any]) -> list[dict[str, Any]]:
    """Far above chance upright where the frame was there in training; the same at every element of the group once symmetrized."""
    sighted = row["name"] == "bare" or row["in_training"]
    found = [bound(f"{label}: accuracy upright", row["upright"], ">", LEARNED)] if sighted else []
    if row["exact"]:
        found.append(bound(f"{label}: accuracy rotated equals accuracy upright", row["rotated"], "=", row["upright"]))
        worst = max(abs(value - row["upright"]) for value in row["by_element"])
        found.append(bound(f"{label}: largest difference between elements of the group", worst, "=", 0.0))
    return found
