"""Any model as a judge of data: fitted to separate parts of them, and compared at all poses."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy
import torch
from torch import Tensor

from ..errors import InputError, describe, explain
from ..tree import Tree
from .data_error import Cannot, SymmetryBreak, gram_break, within
from .data_inputs import Observed, table
from .data_poses import Poses

FOLDS = 5
ROWS = 400
"""At how many inputs models are compared."""
LEAST = 10
"""The fewest samples to fit one of the models to."""

Predict = Callable[[Tree], Tensor]


@dataclass(frozen=True)
class Fitted:
    """Models fitted to separate parts of the data.

    Attributes:
        predict: one function x -> (R, q) in float64 for each part.
        fold: (n,) which part each sample belongs to.
        explained: the share of the targets' variance that models predict on the other parts.
        name: of the model.
    """

    predict: tuple[Predict, ...]
    fold: Tensor
    explained: float
    name: str


def fit_parts(seen: Observed, model: Any, generator: torch.Generator, folds: int = FOLDS) -> Fitted:
    """Fit copies of a model to ``folds`` separate parts of the data.

    Raises:
        Cannot: when the parts are too small.
        InputError: when the model is neither an estimator nor a function.
    """
    if seen.count < LEAST * folds:
        raise Cannot(f"{folds} models need at least {LEAST * folds} samples, and there are {seen.count}")
    fold = torch.randperm(seen.count, generator=generator).to(seen.device) % folds
    predict = tuple(_fitted(seen, torch.nonzero(fold == k).flatten(), model) for k in range(folds))
    missed, known = 0.0, seen.values
    for k, one in enumerate(predict):
        others = seen.rows(torch.nonzero(fold != k).flatten())
        missed += float((one(others.x) - known[fold != k]).square().sum()) / (folds - 1)
    return Fitted(predict, fold, 1 - missed / float((known - known.mean(0)).square().sum()), _name(model))


def _fits(model: Any) -> bool:
    return hasattr(model, "fit") and hasattr(model, "predict")


def _name(model: Any) -> str:
    return type(model).__name__ if _fits(model) else getattr(model, "__name__", type(model).__name__)


def _fitted(seen: Observed, rows: Tensor, model: Any) -> Predict:
    """One function x -> (R, q), from an estimator or from a function (x, y) -> predict."""
    part = seen.rows(rows)
    if not _fits(model):
        if not callable(model):
            raise InputError(explain(f"{describe(model)} as model", "an estimator with fit and predict, or (x, y) -> predict", "pass one"))
        made = model(part.x, part.values)
        return lambda x: _checked(made(x), seen, len(table(x)))
    own = copy.deepcopy(model)
    if type(own).__module__.startswith("coset"):
        own.fit(part.x, part.values)
        return own.predict
    votes = seen.classes is not None and hasattr(own, "predict_proba")
    if votes and len(torch.unique(part.y)) < 2:  # type: ignore[arg-type]
        raise Cannot("a part of the data holds one class only, and the model needs two")
    target = part.y if votes else part.values if part.values.shape[1] > 1 else part.values[:, 0]
    own.fit(_array(part.x), target.cpu().numpy())  # type: ignore[union-attr]
    return lambda x: _checked(_votes(own, x, seen) if votes else own.predict(_array(x)), seen)


def _array(x: Tree) -> Any:
    """Rows of numbers, as estimators of other libraries take them."""
    return table(x).cpu().numpy()


def _votes(own: Any, x: Tree, seen: Observed) -> Tensor:
    """Probabilities of all classes; those that a part did not hold get zero."""
    found = torch.as_tensor(numpy.asarray(own.predict_proba(_array(x))), dtype=torch.float64)
    full = torch.zeros(len(found), len(seen.classes or ()), dtype=torch.float64)
    full[:, torch.as_tensor(numpy.asarray(own.classes_), dtype=torch.int64)] = found
    return full


def _checked(found: Any, seen: Observed, count: int | None = None) -> Tensor:
    """Predictions as finite rows of numbers, ``count`` of them where that is known."""
    y = table(torch.as_tensor(found).detach()).to(device=seen.device, dtype=torch.float64)
    if count is not None and len(y) != count:
        raise InputError(explain(f"{len(y)} predictions for {count} inputs", "one for each", "check the model"))
    if y.shape[1] != seen.values.shape[1] or not bool(torch.isfinite(y).all()):
        raise InputError(
            explain(f"predictions {describe(y)}", f"finite rows of {seen.values.shape[1]} numbers, as the targets", "check the model")
        )
    return y


def model_break(seen: Observed, poses: Poses, fitted: Fitted, generator: torch.Generator) -> SymmetryBreak:
    """DE^2 as the mean of <Qh_k, Qh_l> over pairs of models; each is compared at inputs that neither was fitted to."""
    rows = torch.randperm(seen.count, generator=generator)[:ROWS].sort().values.to(seen.device)
    folds, found = len(fitted.predict), []
    for part in poses.parts(seen):
        part = part[torch.isin(part, rows)]
        if len(part):
            x, _ = poses.move(seen, part)
            found.append(torch.stack([_back(seen, poses, part, predict(x)) for predict in fitted.predict]))
    values = torch.cat(found, 1)  # (K, R, S, q)
    products = torch.stack([within(values[k, None], values, poses.whole) for k in range(folds)])  # (K, K, R)
    away = (fitted.fold[rows] != torch.arange(folds, device=rows.device)[:, None]).to(torch.float64)
    both = away[:, None] * away[None]
    gram = (products * both).sum(-1) / both.sum(-1)
    pairs = both * (1 - torch.eye(folds, dtype=torch.float64, device=rows.device))[..., None]
    seen_by = pairs.sum((0, 1))
    at_input = (products * pairs).sum((0, 1))[seen_by > 0] / seen_by[seen_by > 0]
    scale = float((seen.values - seen.values.mean(0)).square().sum(1).mean())
    return gram_break(gram, float(at_input.var()) / len(at_input), scale, fitted.explained, fitted.name)


def _back(seen: Observed, poses: Poses, rows: Tensor, values: Tensor) -> Tensor:
    """Predictions (R * S, q) at poses, moved back, as (R, S, q)."""
    if not seen.still:
        values = table(poses.back(seen, rows, values.reshape(-1, *seen.y.shape[1:]))).to(torch.float64)  # type: ignore[union-attr]
    return values.unflatten(0, (len(rows), poses.count))
