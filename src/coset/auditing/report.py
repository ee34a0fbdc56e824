"""What an audit found: a value that prints, saves, and says whether a bound is kept."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from ..tree import Tree
from .continuity import Continuity
from .laws import Law
from .layers import Layer
from .saving import Saved, plain, written
from .search import Worst
from .sweep import Estimate

MARGIN = 100
"""How many times the floor an error may be when no bound is given."""


@dataclass(repr=False)
class Report(Saved):
    """The result of :func:`coset.audit`. All errors are relative to the RMS norm of the output.

    Attributes:
        model, signature, group, dtype, device: what was audited, in words.
        inputs: number of inputs.
        samples: group elements per input; ``exhaustive`` says whether they are the whole group.
        eps: rounding unit of the dtype.
        exact: False where an action resamples, and is one only approximately.
        error: mean of ||f(gx) - g f(x)|| / RMS ||f||; of several outputs the largest counts.
        stderr: its standard error, clustered by input; None when it cannot be estimated.
        quantiles: of the errors over inputs and elements, by level 0.5, 0.9, 0.99, 1.0.
        worst: the worst ``(error, element)`` found; ``worst_input`` is its row, ``worst_random`` the worst before
            ascent, ``worst_found_by`` the method.
        floor: error of the action's own round trip and composition, without the model; beside the error, never subtracted.
        action_error: the largest residual of any law of the declared actions; ``laws`` lists them all.
        outputs: by key or position of the output (``output`` for a single one), mean error with ``.stderr``.
        components: by named subgroup (rotation, reflection, translation, permutation), mean error with ``.stderr``.
        point_order: change of the output when the points are listed in another order, where the group does not permute
            them; beside the error, and a failure only where a frame was built for unordered points (``colours=``).
        continuity: the largest jump of the output along paths through generic and degenerate inputs, with the verdict
            ``.word``, the place ``.where`` and the changes at shrinking steps; beside the error, and never a failure.
        lie: Lie-derivative error, or None; ``lie_how`` says how it was found or why there is none.
        layers: growth of the difference, layer by layer; ``layers_how`` says what was left out.
        noise: difference between two calls on equal inputs; None for a deterministic model.
        sizes: size of the element behind each of ``errors``, in ``size_unit``.
        notes: what was switched off, converted, or limits the meaning of the numbers.
        failures: why the audit fails whatever the bound: broken actions, outputs that are not finite, nothing moved.
    """

    model: str
    signature: str
    group: str
    inputs: int
    dtype: str
    device: str
    eps: float
    exact: bool
    error: float
    stderr: float | None
    quantiles: dict[float, float]
    worst: Worst
    worst_random: float
    worst_input: int
    worst_found_by: str
    floor: float
    action_error: float
    laws: list[Law]
    outputs: dict[str, Estimate]
    components: dict[str, Estimate]
    lie: float | None
    lie_how: str
    layers: list[Layer]
    layers_how: str
    noise: float | None
    samples: int
    exhaustive: bool
    sizes: list[float] = field(default_factory=list)
    size_unit: str = ""
    errors: list[float] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    point_order: Estimate | None = None
    continuity: Continuity | None = None

    @property
    def default_bound(self) -> float:
        """The bound of :meth:`passed` without one.

        A hundred times the larger of floor and rounding unit; where the action resamples, the floor itself.
        """
        return MARGIN * max(self.floor, self.eps) if self.exact else max(self.floor, MARGIN * self.eps)

    def passed(self, bound: float | None = None) -> bool:
        """Whether the error is within ``bound`` and nothing failed.

        Args:
            bound: the largest accepted relative error; ``default_bound`` when left out.
        """
        limit = self.default_bound if bound is None else bound
        return not self.failures and self.error <= limit

    def verdict(self, bound: float | None = None) -> str:
        """One sentence that says whether it passed, and by how much."""
        limit = self.default_bound if bound is None else bound
        if self.failures:
            return f"Failed: {self.failures[0]}."
        if self.error <= limit:
            return f"Equivariant within {limit:.1e}: the error is {self.error:.2e}."
        times = f", {self.error / self.floor:.3g} times the floor" if self.floor else ""
        return f"Not equivariant within {limit:.1e}: the error is {self.error:.2e}{times}."

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, strings, lists and dictionaries; numbers that are not finite become None."""
        facts = {f.name: getattr(self, f.name) for f in fields(self)}
        facts["quantiles"] = {str(k): v for k, v in self.quantiles.items()}
        facts["worst"] = {"error": self.worst.error, "element": self.worst.element}
        facts["outputs"] = {k: {"error": v.error, "stderr": v.stderr} for k, v in self.outputs.items()}
        facts["components"] = {k: {"error": v.error, "stderr": v.stderr} for k, v in self.components.items()}
        facts["point_order"] = None if self.point_order is None else float(self.point_order)
        if self.continuity is not None:
            facts["continuity"] = {**asdict(self.continuity), "verdict": self.continuity.word}
        facts["laws"] = [{**asdict(law), "holds": law.holds} for law in self.laws]
        facts["layers"] = [asdict(layer) for layer in self.layers]
        facts |= {"passed": self.passed(), "default_bound": self.default_bound, "verdict": self.verdict()}
        return plain(facts)

    def to_html(self, path: str | Path, bound: float | None = None) -> Path:
        """Write one self-contained page with the verdict, tables and plots.

        Args:
            path: the file to write.
            bound: the bound of the verdict; ``default_bound`` when left out.
        """
        from .page import page

        return written(path, page(self, bound))

    def __str__(self) -> str:
        from .text import render

        return render(self)

    def __repr__(self) -> str:
        return f"Report({self.model} under {self.group}: error {self.error:.3e}, floor {self.floor:.3e}, worst {self.worst.error:.3e})"

    def __rich__(self) -> Any:
        from .text import table

        return table(self)


def element_text(element: Tree) -> str:
    """A group element in a few characters per number."""

    def short(x: Any) -> str:
        if isinstance(x, (list, tuple)):
            inner = ", ".join(short(v) for v in (x if len(x) <= 12 else [*x[:10], "…"]))
            return f"[{inner}]"
        if isinstance(x, dict):
            return ", ".join(f"{k} = {short(v)}" for k, v in x.items())
        return f"{x:.3g}" if isinstance(x, float) else str(x)

    return short(plain(element))
