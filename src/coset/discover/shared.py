"""``sharing``: which parameters share a value, judged from a mean of observations."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from ..errors import InputError, describe, explain
from .results import Sharing
from .statistic import Observed, observed


@runtime_checkable
class Method(Protocol):
    """A way of searching: ``MDL()``, ``Candidates(groups)``, ``Bilevel(...)``, or anything else with this verb."""

    def solve(self, data: Observed) -> Sharing:
        """The best sharing for a statistic."""


def sharing(statistic: Any, covariance: Any, samples: int, method: Method, *, freedom: float | None = None) -> Sharing:
    """Discover which entries of a statistic share a value, and the group behind it.

    The statistic is a mean of independent observations, or an estimate with a near normal law: class means, weights of a
    regression (``discover.least_squares``), a cross-moment (``discover.cross_moment``).

    Args:
        statistic: (p,), (n, n) or (m, n), tensor or array. A matrix is taken as a linear map, columns being its inputs.
        covariance: of ONE observation: a number, the shape of the statistic (independent entries), or (p, p).
        samples: how many observations the statistic is the mean of.
        method: ``discover.MDL()``, ``discover.Candidates(groups)`` or ``discover.Bilevel(...)``.
        freedom: degrees of freedom of the covariance's scale, ``math.inf`` where it is known (chi-square test). Left out it
            is p (samples - 1) for a number, samples - 1 for one variance per entry, and Hotelling's law for a matrix.

    Returns:
        A :class:`Sharing`: labels, values, projector, group, description length, runner-up, p-value, verdict, signature.

    Raises:
        InputError: for shapes that do not fit, non-finite or constant data, fewer than 2 observations.

    Reference: Yeh et al. 2022, arXiv 2204.03640 (the question and the bilevel method).

    Example:
        >>> import torch
        >>> from coset import discover
        >>> circulant = torch.tensor([[1.0, 5.0, 9.0], [9.1, 1.0, 5.1], [5.0, 8.9, 1.1]])
        >>> found = discover.sharing(circulant, 0.5, 60, discover.MDL())
        >>> found.labels.tolist(), found.group.order
        ([[0, 1, 2], [2, 0, 1], [1, 2, 0]], 3)
    """
    if isinstance(method, type) or not hasattr(method, "solve"):
        raise InputError(
            explain(
                f"the method {describe(method)}",
                "an object with solve",
                "pass discover.MDL(), discover.Candidates(groups) or discover.Bilevel()",
            )
        )
    return method.solve(observed(statistic, covariance, samples, freedom))
