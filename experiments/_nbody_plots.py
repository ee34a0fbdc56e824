"""Plots of the five-particle experiment: learning curves, and test error against model calls."""

from __future__ import annotations

from pathlib import Path

import numpy as np

COLOURS = {"haar": "C0", "pca": "C1", "minimal": "C2", "canonical": "C3", "probabilistic": "C4", "egnn": "black"}
NAMES = {"haar": "group average", "pca": "PCA frame", "minimal": "minimal frame", "egnn": "EGNN"}
TITLES = {"gnn": "GNN under O(3)", "transformer": "transformer under S_n × O(3)"}


def _panels(names: list[str]) -> tuple[object, dict[str, object]]:
    """A figure with one panel for each base network that was run."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    bases = [base for base in TITLES if any(name.startswith(base) for name in names)] or ["gnn"]
    figure, axes = plt.subplots(1, len(bases), figsize=(5.5 * len(bases), 4.2), layout="constrained", squeeze=False)
    for base, one in zip(bases, axes[0], strict=True):
        one.set(title=TITLES[base], yscale="log")
        one.grid(alpha=0.3, which="both")
    return figure, dict(zip(bases, axes[0], strict=True))


def _place(name: str, panels: dict[str, object]) -> list[tuple[object, str]]:
    """The panels a row belongs to, and its method: EGNN is drawn in all."""
    if name == "egnn":
        return [(panel, name) for panel in panels.values()]
    base, method = name.split("-")
    return [(panels[base], method)] if base in panels else []


def learning(curves: dict[str, list[np.ndarray]], path: Path) -> None:
    """Validation error against epochs; one line a seed, the second one dashed."""
    figure, panels = _panels(list(curves))
    for name, seeds in curves.items():
        for panel, method in _place(name, panels):
            last = 200 if TITLES["transformer"] == panel.get_title() else 1000  # type: ignore[attr-defined]
            for number, curve in enumerate(seeds):
                shown = curve[curve[:, 0] <= last]
                label = NAMES.get(method, method) if number == 0 else None
                panel.plot(shown[:, 0], shown[:, 2], "--" if number else "-", color=COLOURS[method], label=label, linewidth=1.2)  # type: ignore[attr-defined]
    for panel in panels.values():
        panel.set(xlabel="epoch", ylabel="validation error")  # type: ignore[attr-defined]
        panel.legend(fontsize=8)  # type: ignore[attr-defined]
    figure.savefig(path, dpi=130)  # type: ignore[attr-defined]


def against_cost(found: dict[str, dict[int, float]], path: Path) -> None:
    """Test error against the number of model calls; frames without a choice of it are points."""
    figure, panels = _panels(list(found))
    for name, errors in found.items():
        for panel, method in _place(name, panels):
            calls = list(errors) if len(errors) > 1 else [8 if method == "pca" else 1]
            panel.plot(calls, list(errors.values()), "o-", color=COLOURS[method], label=NAMES.get(method, method), markersize=5)  # type: ignore[attr-defined]
    for panel in panels.values():
        panel.set(xlabel="model calls for one system", ylabel="test error", xscale="log")  # type: ignore[attr-defined]
        panel.legend(fontsize=8)  # type: ignore[attr-defined]
    figure.savefig(path, dpi=130)  # type: ignore[attr-defined]
