"""Losses are callables from a step to (B,) values; they add up and are multiplied by weights."""

from __future__ import annotations

import abc
import math
from collections.abc import Callable

from torch import Tensor

from ..errors import InputError, explain
from .step import Step, per_sample


class Loss(abc.ABC):
    """Abstract: ``loss(step)`` -> (B,), in the units that its docstring says.

    ``adapt.Task() + 0.1 * adapt.IdentityPrior()`` is a loss whose parts are reported by name.

    Facts:
        references: keys of the papers, for ``coset.cite``.
    """

    references: tuple[str, ...] = ()

    @abc.abstractmethod
    def __call__(self, step: Step) -> Tensor:
        """(B,) values."""

    def parts(self, step: Step) -> dict[str, Tensor]:
        """The unweighted summands (B,) by name."""
        return {self.name: per_sample(self(step), step.samples, self.name)}

    def weights(self) -> dict[str, float]:
        """What the summands are multiplied by, by name."""
        return {self.name: 1.0}

    @property
    def name(self) -> str:
        """How reports call it."""
        return type(self).__name__

    def __add__(self, other: Loss | Callable[[Step], Tensor]) -> Sum:
        return Sum([*_summands(self), *_summands(other)])

    def __radd__(self, other: Callable[[Step], Tensor]) -> Sum:
        return Sum([*_summands(other), *_summands(self)])

    def __mul__(self, weight: float) -> Sum:
        if not isinstance(weight, (int, float)) or not math.isfinite(weight):
            raise InputError(explain(f"the weight {weight!r} of {self!r}", "a finite number", "write for instance 0.1 * adapt.Task()"))
        return Sum([(float(weight) * w, one) for w, one in _summands(self)])

    __rmul__ = __mul__

    def __repr__(self) -> str:
        return f"{self.name}()"


class Function(Loss):
    """Any function of a step as a loss.

    Args:
        function: from a :class:`Step` to (B,) values.

    Example:
        >>> from coset import adapt
        >>> def sharp(step):
        ...     return step.score("entropy")
        >>> adapt.Function(sharp) + 0.1 * adapt.IdentityPrior()
        sharp + 0.1 * IdentityPrior()
    """

    def __init__(self, function: Callable[[Step], Tensor]):
        if not callable(function):
            raise InputError(
                explain(f"{function!r} as loss", "a callable from adapt.Step to (B,) values", "pass for instance adapt.Task()")
            )
        self.function = function

    def __call__(self, step: Step) -> Tensor:
        """What the function returns."""
        return self.function(step)

    @property
    def name(self) -> str:
        """The function's own name."""
        return getattr(self.function, "__name__", type(self.function).__name__)

    def __repr__(self) -> str:
        return self.name


class Sum(Loss):
    """A weighted sum of losses; write it with ``+`` and ``*``.

    Args:
        summands: pairs (weight, loss). Two losses of the same name are reported with numbers.

    Example:
        >>> from coset import adapt
        >>> (adapt.Task() + 0.1 * adapt.IdentityPrior()).weights()
        {'Task': 1.0, 'IdentityPrior': 0.1}
    """

    def __init__(self, summands: list[tuple[float, Loss]]):
        self.summands = summands
        known: dict[str, int] = {}
        self.names = []
        for _, loss in summands:
            known[loss.name] = known.get(loss.name, 0) + 1
            self.names.append(loss.name if known[loss.name] == 1 else f"{loss.name} {known[loss.name]}")

    @property
    def references(self) -> tuple[str, ...]:  # type: ignore[override]
        """Those of all summands."""
        return tuple(dict.fromkeys(key for _, loss in self.summands for key in loss.references))

    def __call__(self, step: Step) -> Tensor:
        """The weighted sum."""
        return total(self.parts(step), self.weights())

    def parts(self, step: Step) -> dict[str, Tensor]:
        """The unweighted summands."""
        both = zip(self.names, self.summands, strict=True)
        return {name: per_sample(loss(step), step.samples, loss.name) for name, (_, loss) in both}

    def weights(self) -> dict[str, float]:
        """Their weights."""
        return {name: weight for name, (weight, _) in zip(self.names, self.summands, strict=True)}

    def __repr__(self) -> str:
        return " + ".join(f"{'' if weight == 1 else f'{weight:g} * '}{loss!r}" for weight, loss in self.summands)


def total(parts: dict[str, Tensor], weights: dict[str, float]) -> Tensor:
    """(B,) the weighted sum of named parts; a part of weight zero counts as nothing, even where it is infinite."""
    found = [weights[name] * values for name, values in parts.items() if weights[name]]
    return sum(found[1:], found[0]) if found else next(iter(parts.values())) * 0.0


def as_loss(given: Loss | Callable[[Step], Tensor]) -> Loss:
    """A loss, or a function of a step as one."""
    return given if isinstance(given, Loss) else Function(given)


def _summands(given: Loss | Callable[[Step], Tensor]) -> list[tuple[float, Loss]]:
    loss = as_loss(given)
    return loss.summands if isinstance(loss, Sum) else [(1.0, loss)]
