"""What an audit of data found: a value that prints, saves, and says of every claim how sure it is."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from ..errors import InputError, explain
from .advice import Advice, advise
from .data_error import SymmetryBreak
from .dissent import Dissent
from .pose_out import PoseOut
from .randomization import Randomization
from .saving import Saved, plain, written


@dataclass
class Finding:
    """What was found for one group, whole or part.

    Attributes:
        group: in words.
        poses: how many elements every sample was moved by; ``whole`` says whether they are the group.
        law: the test of an invariant input law, or None; ``law_verdict`` says what may be claimed.
        conditional: the test that targets move with their inputs, or None; ``conditional_verdict`` likewise.
        error: DE^2, or None; ``error_verdict`` likewise.
        usable: whether advice may rest on ``error``.
    """

    group: str
    poses: int
    whole: bool
    law: Randomization | None
    law_verdict: str
    conditional: Randomization | None
    conditional_verdict: str
    error: SymmetryBreak | None
    error_verdict: str
    usable: bool


@dataclass(repr=False)
class DataReport(Saved):
    """The result of :func:`coset.audit_data`.

    Attributes:
        group, signature: what was asked, in words.
        samples: the number of samples that were looked at.
        level: of the tests.
        whole: the :class:`Finding` for the group.
        subgroups: the same for parts of it, by name.
        dissent: labels of samples that a pose change brings near each other; None without targets.
        dissent_verdict: what may be claimed of it.
        pose_out: the error on poses that were left out; None without targets.
        classes: names of the classes, where targets are.
        notes: what limits the meaning of the numbers.
    """

    group: str
    signature: str
    samples: int
    level: float
    whole: Finding
    subgroups: dict[str, Finding]
    dissent: Dissent | None
    dissent_verdict: str
    pose_out: PoseOut | None
    classes: tuple[Any, ...] | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def law(self) -> Randomization | None:
        """The test that the law of the inputs is invariant under the whole group."""
        return self.whole.law

    @property
    def conditional(self) -> Randomization | None:
        """The test that targets move with their inputs."""
        return self.whole.conditional

    @property
    def error(self) -> SymmetryBreak | None:
        """DE^2 of the whole group."""
        return self.whole.error

    @property
    def advice(self) -> Advice:
        """``coset.advise`` of this report."""
        return advise(self)

    def finding(self, name: str | None = None) -> Finding:
        """The finding for a subgroup, or for the whole group.

        Raises:
            InputError: for a name that is not among the subgroups.
        """
        if name is None:
            return self.whole
        if name not in self.subgroups:
            raise InputError(explain(f"the subgroup {name!r}", f"one of {list(self.subgroups)}", "name it in subgroups= of audit_data"))
        return self.subgroups[name]

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, strings, lists and dictionaries; numbers that are not finite become None."""
        facts: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self)}
        facts["whole"] = asdict(self.whole)
        facts["subgroups"] = {name: asdict(one) | {"advice": asdict(advise(self, name))} for name, one in self.subgroups.items()}
        facts["dissent"] = None if self.dissent is None else asdict(self.dissent)
        facts["pose_out"] = None if self.pose_out is None else asdict(self.pose_out)
        return plain(facts | {"advice": asdict(self.advice)})

    def to_html(self, path: str | Path) -> Path:
        """Write one self-contained page with verdicts, tables and plots."""
        from .data_page import page

        return written(path, page(self))

    def __str__(self) -> str:
        from .data_text import render

        return render(self)

    def __repr__(self) -> str:
        return f"DataReport({self.samples} samples under {self.group}: {self.whole.law_verdict}; {self.advice.choice})"

    def __rich__(self) -> Any:
        from .data_text import table

        return table(self)
