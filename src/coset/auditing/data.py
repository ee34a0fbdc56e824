"""``audit_data``: which symmetry do data have, how sure is that, and is it worth imposing?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from ..actions.base import Action
from ..actions.signature import Signature
from ..errors import InputError, explain
from ..groups.base import Group
from ..groups.maps import Homomorphism, identity_map
from ..tree import Tree
from .data_error import LARGEST, Cannot, Regression, SymmetryBreak, linear_features, regress, regression_break
from .data_features import embeddings
from .data_inputs import Observed, observe, table
from .data_models import Fitted, fit_parts, model_break
from .data_poses import draw_poses, parts_of
from .data_report import DataReport, Finding
from .data_verdicts import about_break, about_dissent, about_law, about_targets
from .dissent import MOST, Dissent, dissent
from .kernel_ridge import KernelRidge
from .pose_out import Kernel, PoseOut, pose_out
from .randomization import randomization

PER_FEATURE = 4
"""Samples per column from which linear features are taken when no model is given."""

SEED = 7_140_253_361
"""Of tests without a generator: a number that data were hardly drawn with, since draws that repeat the data's spoil the level."""


def audit_data(
    x: Tree,
    y: Any,
    action: Action | Signature,
    *,
    samples: int = 32,
    level: float = 0.05,
    draws: int = 499,
    generator: torch.Generator | None = None,
    model: Any = None,
    features: Callable[[Tree], torch.Tensor] | None = None,
    kernel: Kernel | None = None,
    subgroups: tuple[Group | Homomorphism, ...] = (),
    limit: int = 4000,
) -> DataReport:
    """Measure the symmetry of data: of the law of the inputs, of the map to the targets, and of labels on orbits.

    Samples have to be independent (frames of one trajectory are not). Nothing is claimed where it cannot be: estimates of the map need an
    input law that the group leaves invariant, and are left out where that is rejected.

    Args:
        x: inputs, tensors or NumPy arrays with one leading axis of n samples, as the action takes them.
        y: n targets, or None. Integers that the group leaves alone are classes, and so are names.
        action: how the group moves the inputs, targets then being invariant; or ``source >> target``.
        samples: poses per sample; a finite group of at most that order is used whole.
        level: of the tests, exact for any number of samples.
        draws: randomized data sets per test.
        generator: source of randomness; a fixed seed when left out.
        model: what judges the map: an estimator with ``fit`` and ``predict``, or a function (x, y) -> predict; it is fitted to five
            separate parts of the data. Left out, linear regression, or kernel ridge where inputs have many columns or dependent ones.
        features: x -> (n, p) instead of a model; least squares on them.
        kernel: (x, x') -> (N, N') for the leave-one-pose-out error; a Gaussian of median width, with the best
            ridge, when left out.
        subgroups: groups inside of this one, or homomorphisms into it, to report beside its components.
        limit: the largest number of samples looked at; of more, a random choice is.

    Returns:
        A :class:`DataReport`, to print, to save with ``to_html`` and ``to_json``, and to pass to :func:`coset.advise`.

    Raises:
        InputError: for data that is not finite, constant, of unequal lengths or ragged, and for bad numbers.
        SignatureError: when the action does not describe the data.
        GroupError: for groups that are not compact, such as translations.

    Reference: Petrache and Trivedi 2023, arXiv 2305.17592; Perin and Deny 2024, arXiv 2412.11521.

    Example:
        >>> import torch, coset
        >>> from coset import actions, groups
        >>> x = torch.randn(100, 3, generator=torch.Generator().manual_seed(0))
        >>> report = coset.audit_data(x, x.norm(dim=1), actions.Vectors(groups.Orthogonal(3)), samples=8, draws=99)
        >>> report.law.rejected, report.conditional.rejected
        (False, False)
    """
    _check(samples, level, draws, limit)
    if model is not None and features is not None:
        raise InputError(explain("both model= and features=", "one of them", "leave one out"))
    generator = generator or torch.Generator().manual_seed(SEED)
    seen, notes = _seen(x, y, action, limit, generator)
    parts = parts_of(seen.group, tuple(subgroups))
    plan = Plan(seen, samples, level, draws, _judge(seen, model, features, generator), generator)
    whole = _finding(plan, identity_map(seen.group))
    others = {name: _finding(plan, phi) for name, phi in parts.items()}
    near, left = _labels(plan, kernel)
    return DataReport(
        group=repr(seen.group),
        signature=repr(seen.signature),
        samples=seen.count,
        level=level,
        whole=whole,
        subgroups=others,
        dissent=near,
        dissent_verdict=about_dissent(near, seen),
        pose_out=left,
        classes=seen.classes,
        notes=notes,
    )


def _seen(x: Tree, y: Any, action: Action | Signature, limit: int, generator: torch.Generator) -> tuple[Observed, list[str]]:
    """The samples to look at, and what that limits."""
    seen, notes = observe(x, y, action), list[str]()
    if seen.count > limit:
        seen = seen.rows(torch.randperm(seen.count, generator=generator)[:limit].sort().values.to(seen.device))
        notes.append(f"{limit} samples were chosen at random; V_Q is that of a model fitted to so many")
    if not seen.signature.source.exact:
        notes.append("the action resamples: tests may see that moved inputs are blurred, so that rejections are not claims about the data")
    return seen, notes


@dataclass(frozen=True)
class Plan:
    """What every part of an audit is given."""

    seen: Observed
    samples: int
    level: float
    draws: int
    judge: Regression | Fitted | str
    generator: torch.Generator


def _check(samples: int, level: float, draws: int, limit: int) -> None:
    """Refuse numbers with which nothing could be found."""
    if samples < 2 or limit < 2:
        raise InputError(explain(f"samples={samples}, limit={limit}", "two of each at the least", "pass samples=32"))
    if not 0 < level < 1:
        raise InputError(explain(f"level={level!r}", "a number between 0 and 1", "pass level=0.05"))
    if draws + 1 < 1 / level:
        least = round(1 / level) - 1
        raise InputError(explain(f"draws={draws} at level {level}", f"at least {least}, or nothing is ever rejected", "raise it"))


def _judge(seen: Observed, model: Any, features: Any, generator: torch.Generator) -> Regression | Fitted | str:
    """The fitted model, or the sentence that says why there is none."""
    if seen.y is None:
        return "no targets were given"
    if bool((seen.values == seen.values[:1]).all()):
        return "cannot tell: the target is the same for every sample"
    try:
        if features is not None:
            return regress(seen, features, getattr(features, "__name__", "features"))
        if model is not None:
            return fit_parts(seen, model, generator)
        rows = table(seen.x).to(torch.float64)
        columns = rows.shape[1] + 1
        if seen.count >= PER_FEATURE * columns and (seen.still or columns * seen.values.shape[1] <= LARGEST):
            found = regress(seen, partial(linear_features, centre=rows.mean(0)), "linear regression")
            if found.turn.shape[0] == found.turn.shape[1]:  # else columns depend on each other, and moved inputs may not
                return found
        return fit_parts(seen, KernelRidge(), generator)
    except Cannot as reason:
        return f"cannot tell: {reason}"


def _finding(plan: Plan, phi: Homomorphism) -> Finding:
    """The tests and DE^2 for one subgroup."""
    seen = plan.seen
    poses = draw_poses(seen, phi, plan.samples, plan.generator)
    found = embeddings(seen, poses, plan.generator)
    moves = bool((found.inputs - found.inputs[:, :1]).abs().max() > 1e-5)
    law = randomization(found.inputs, plan.draws, plan.level, plan.generator) if moves else None
    law_verdict, invariant = about_law(law, seen)
    told = None
    if invariant and found.pairs is not None and not str(plan.judge).startswith("cannot tell: the target"):
        told = randomization(found.pairs, plan.draws, plan.level, plan.generator)
    unsure = law_verdict if law is None else "cannot tell: the input law is not known to be invariant"
    error, why = _break(plan, poses) if invariant else (None, unsure)
    if seen.y is None:
        why = "no targets were given"
    return Finding(
        group=poses.name,
        poses=poses.count,
        whole=poses.whole,
        law=law,
        law_verdict=law_verdict,
        conditional=told,
        conditional_verdict=about_targets(told, invariant, seen),
        error=error,
        error_verdict=why if error is None else about_break(error),
        usable=error is not None,
    )


def _break(plan: Plan, poses: Any) -> tuple[SymmetryBreak | None, str]:
    """DE^2, or why there is none."""
    if isinstance(plan.judge, str):
        return None, plan.judge
    try:
        if isinstance(plan.judge, Regression):
            return regression_break(plan.seen, poses, plan.judge), ""
        return model_break(plan.seen, poses, plan.judge, plan.generator), ""
    except Cannot as reason:
        return None, f"cannot tell: {reason}"


def _labels(plan: Plan, kernel: Kernel | None) -> tuple[Dissent | None, PoseOut | None]:
    """Dissent and the leave-one-pose-out error, on a random part of the samples."""
    seen = plan.seen
    if seen.y is None or bool((seen.values == seen.values[:1]).all()):
        return None, None
    few = seen.rows(torch.randperm(seen.count, generator=plan.generator)[:MOST].sort().values.to(seen.device))
    poses = draw_poses(few, identity_map(seen.group), plan.samples, plan.generator)
    if poses.count < 2:
        return None, None
    return dissent(few, poses), pose_out(few, poses, kernel, plan.generator)
