"""``SymmetryFinder``: discovery as an estimator with ``fit``, in the manner of scikit-learn."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy
import torch
from torch import Tensor

from ..actions.indices import Permute
from ..actions.signature import Signature
from ..actions.still import Trivial
from ..errors import InputError, explain
from ..symmetrized import Symmetrized, symmetrize
from .candidates import TRIVIAL, Candidates
from .finding import FoundSymmetry
from .inputs import cross_moment
from .named import named_candidates, size_of
from .pairs import pairs_test
from .permutations import Permutations
from .results import Sharing
from .shared import Method, sharing
from .statistic import real

COLUMNS = 1500
"""Entries of a statistic at most; its covariance has their squared number."""
LEAST = 10
"""The fewest samples in either half."""


class SymmetryFinder:
    """Find the group of a map from samples: choose on one part of the data, test on the other.

    Rows of X are inputs, with one candidate permutation of columns per group element. Outputs with as many columns as the inputs are
    permuted with them; classes, single numbers and outputs of another width are invariant.

    Args:
        candidates: names such as ("C5", "D5", "S5", "S2*S3") or "C5,D5", or a mapping of names to groups or signatures as
            ``discover.Candidates`` takes; C, D and S of all columns when left out. Of groups that a statistic cannot tell apart the
            smallest is claimed when they are given by name, else the first.
        statistic: (x, y) -> moment: ``discover.cross_moment`` for any map, whose inputs must then have an invariant law; pairs (x, y)
            are then tested too, since maps without the symmetry can have a cross-moment with it. ``discover.least_squares`` for
            linear maps of any inputs.
        method: another method than ``Candidates``, such as ``discover.MDL()``; candidates are then not used.
        held_out: the share of samples that is kept for the test.
        invariant: outputs do not move, also where they have as many columns as the inputs.
        seed: of the split.

    Attributes:
        group_: the group that may be claimed; trivial where all candidates are rejected, None where it cannot be told.
        signature_: for ``coset.symmetrize``; None likewise.
        p_value_: of the group on the held-out samples; NaN where it could not be tested.
        runner_up_: the name of the second best candidate; None when there is none.
        verdict_: what may be claimed, in a sentence.
        report_: a :class:`FoundSymmetry`, to print and to save with ``to_html`` and ``to_json``.
        n_features_in_: the number of columns.

    Example:
        >>> import torch
        >>> from coset import discover
        >>> x = torch.randn(400, 4, generator=torch.Generator().manual_seed(1))
        >>> finder = discover.SymmetryFinder(("C4", "D4", "S4")).fit(x, torch.tanh(x + 2 * x.roll(1, 1)))
        >>> finder.report_.name, finder.group_.order
        ('C4', 4)
    """

    def __init__(
        self,
        candidates: Mapping[str, Any] | Iterable[str] | None = None,
        *,
        statistic: Callable[[Any, Any], Any] = cross_moment,
        method: Method | None = None,
        held_out: float = 0.5,
        invariant: bool = False,
        seed: int = 0,
    ):
        self.candidates = tuple(candidates) if isinstance(candidates, Iterator) else candidates
        self.statistic = statistic
        self.method = method
        self.held_out = held_out
        self.invariant = invariant
        self.seed = seed

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The constructor arguments."""
        names = ("candidates", "statistic", "method", "held_out", "invariant", "seed")
        return {name: getattr(self, name) for name in names}

    def set_params(self, **given: Any) -> SymmetryFinder:
        """Change constructor arguments.

        Raises:
            InputError: for a name that is none of them.
        """
        wrong = set(given) - set(self.get_params())
        if wrong:
            raise InputError(explain(f"parameters {sorted(wrong)}", f"some of {sorted(self.get_params())}", "check the names"))
        for name, value in given.items():
            setattr(self, name, value)
        return self

    def fit(self, X: Any, y: Any) -> SymmetryFinder:
        """Find the group.

        Args:
            X: (N, n) inputs.
            y: (N,) or (N, m) outputs, or classes.

        Raises:
            InputError: for too few samples, constant or non-finite data, a single column, other shapes, candidates of another degree.
        """
        x, outputs, moves = self._checked(X, y)
        order = torch.randperm(len(x), generator=torch.Generator().manual_seed(self.seed))
        cut = round(len(x) * (1 - self.held_out))
        if min(cut, len(x) - cut) < LEAST:
            given = f"{len(x)} samples, split into {cut} and {len(x) - cut}"
            raise InputError(explain(given, f"at least {LEAST} in each part", "collect more, or change held_out"))
        first, second = order[:cut], order[cut:]
        moment = self.statistic(x[first], outputs[first])
        method = self._method(x[first], moves)
        found = sharing(moment[0], moment[1], moment[2], method, freedom=_freedom(moment))
        other = self.statistic(x[second], outputs[second])
        retest = found.retest(other[0], other[1], other[2], freedom=_freedom(other))
        report = FoundSymmetry(found, retest, moment.statistic, len(first), len(second))
        if report.claimed and not report.trivial and self.statistic is cross_moment:
            report = replace(report, pairs=pairs_test(x[order], outputs[order], found.signature, self.seed))
        self._keep(report, found, x.shape[1])
        return self

    def symmetrize(self, model: Callable[..., Any], frame: Any = None) -> Symmetrized:
        """Give a model the symmetry that was found.

        Raises:
            InputError: before ``fit``, and where no group may be claimed.
        """
        signature: Signature | None = getattr(self, "signature_", None)
        if signature is None:
            given = getattr(self, "verdict_", "a finder that was not fitted")
            raise InputError(explain(given, "a symmetry that may be claimed", "fit on more data"))
        return symmetrize(model, signature, frame)

    def _keep(self, report: FoundSymmetry, found: Sharing, columns: int) -> None:
        """Set the fitted attributes."""
        self.report_, self.verdict_, self.n_features_in_ = report, report.verdict, columns
        self.p_value_ = report.retest.p_value
        self.runner_up_ = found.runner_up
        self.signature_ = found.signature if report.claimed else None
        self.group_ = self.signature_.group if self.signature_ is not None else None

    def _checked(self, given: Any, y: Any) -> tuple[Tensor, Tensor, bool]:
        """Inputs, outputs, and whether outputs are permuted with the inputs."""
        if isinstance(self.held_out, bool) or not 0 < self.held_out < 1:
            raise InputError(explain(f"held_out={self.held_out!r}", "a share between 0 and 1", "pass held_out=0.5"))
        x = real(given, "the inputs")
        if x.dim() != 2:
            raise InputError(explain(f"inputs of shape {tuple(x.shape)}", "rows of columns (N, n)", "flatten each sample to a row"))
        if x.shape[1] < 2:
            raise InputError(explain(f"inputs of {x.shape[1]} column(s)", "two at least", "nothing can be permuted in fewer"))
        if bool((x == x[:1]).all()):
            raise InputError(explain("the same input for every sample", "inputs that vary", "pass the data itself"))
        outputs, classes = _outputs(y)
        moves = not classes and not self.invariant and outputs.dim() == 2 and outputs.shape[1] == x.shape[1]
        if len(outputs) != len(x):
            raise InputError(explain(f"{len(x)} inputs and {len(outputs)} outputs", "as many of each", "check the first axes"))
        if bool((outputs == outputs[:1]).all()):
            raise InputError(explain("the same output for every sample", "outputs that vary", "a constant has every symmetry"))
        if x.shape[1] * (outputs.shape[1] if outputs.dim() == 2 else 1) > COLUMNS:
            size = f"{x.shape[1]} inputs and {outputs[0].numel()} outputs"
            raise InputError(explain(size, f"at most {COLUMNS} pairs", "choose columns, or call discover.sharing with a covariance"))
        return x, outputs, moves

    def _method(self, x: Tensor, moves: bool) -> Method:
        """The method that was given, or candidates as signatures."""
        if self.method is not None:
            return self.method
        n = x.shape[1]
        groups = self.candidates
        if groups is None:
            groups = [f"{letter}{n}" for letter in ("CDS" if n > 2 else "S")]
        if not isinstance(groups, Mapping):
            listed = groups.split(",") if isinstance(groups, str) else groups
            named = sorted(named_candidates(listed, n).items(), key=lambda one: size_of(one[0]))
            groups = {name: _signature(rows, moves) for name, rows in named}
        if TRIVIAL in groups:
            raise InputError(explain(f"a candidate with the name {TRIVIAL!r}", "another name", "that of no symmetry is taken"))
        groups = {TRIVIAL: _signature(torch.arange(n)[None], moves)} | dict(groups)
        return Candidates(groups, inputs=x if self.statistic is cross_moment else None)


def _signature(rows: Tensor, moves: bool) -> Signature:
    group = Permutations(rows)
    return Permute(group, -1) >> (Permute(group, -1) if moves else Trivial(group))


def _outputs(y: Any) -> tuple[Tensor, bool]:
    """Outputs as real numbers, and whether they are classes; classes become one column each."""
    if y is None:
        raise InputError(explain("no outputs", "y beside X", "for the inputs alone, call coset.audit_data"))
    array = y.detach().cpu().numpy() if isinstance(y, Tensor) else numpy.asarray(y)
    if array.dtype.kind == "O" and all(isinstance(one, str) for one in array.flat):
        array = array.astype(str)
    if array.ndim == 1 and array.dtype.kind in "biuUS":
        kinds, numbers = numpy.unique(array, return_inverse=True)
        return torch.nn.functional.one_hot(torch.from_numpy(numbers), max(len(kinds), 1)).to(torch.float64), True
    return real(y, "the outputs"), False


def _freedom(moment: Any) -> float | None:
    return getattr(moment, "freedom", None)
