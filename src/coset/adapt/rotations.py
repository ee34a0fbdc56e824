"""Priors on rotations: true divergences between laws exp(tr(F^T R)) around the prior's pose and around the frame's element."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..errors import FrameError, InputError, describe, explain
from ..groups.base import Group
from .loss import Loss
from .normalizers import log_normalizer, mean_element
from .step import Step


class Concentrated(Loss):
    """Abstract: KL(P || p_x) in nats, P with the parameter F, p_x of concentration ``spread`` around the frame's element.

    With several elements it is the mean of the divergences by their weights. Gradients reach the elements.
    """

    references = ("lee2018bayesian", "mondal2023equivariant")

    def __init__(self, parameter: Tensor, spread: float):
        self.parameter, self.spread = parameter, spread
        self._known: dict[bool, tuple[Tensor, Tensor]] = {}

    def __call__(self, step: Step) -> Tensor:
        """(B,) nats."""
        group, d = step.group, self.parameter.shape[-1]
        check_rotations(group, d, self.name)
        measure = step.measure
        elements = group.matrix(measure.elements)
        mean, constant = self._moments(group.reflects)
        match = (elements * mean.to(elements)).sum((-2, -1))
        values = constant.to(elements) - self.spread * match
        return (measure.weights.to(values.dtype) * values).sum(0)

    def _moments(self, reflects: bool) -> tuple[Tensor, Tensor]:
        """E_P[R], and the part of the divergence that does not depend on the element; computed once, in float64."""
        if reflects not in self._known:
            own = self.parameter
            mean = mean_element(own, reflects)
            around = self.spread * torch.eye(own.shape[-1], dtype=own.dtype)
            constant = (own * mean).sum() - log_normalizer(own, reflects) + log_normalizer(around, reflects)
            self._known[reflects] = mean, constant
        return self._known[reflects]


class VonMises(Concentrated):
    """Angles near one angle, on SO(2) and O(2): KL(vM(mean, kappa) || vM(angle of c(x), spread)), in nats.

    With A = I1 / I0: kappa A(kappa) - spread A(kappa) cos(angle - mean) - log I0(kappa) + log I0(spread). Zero exactly where c(x) is the
    prior's pose and the concentrations agree. On O(2) the same exponential law also covers flipped poses (all of them alike), so that a
    flip costs about as much as a quarter turn.

    Args:
        kappa: the concentration of the poses of the data, 1 / (spread of angles in radians)^2 when large.
        spread: the concentration of the frame's answer; kappa when left out. It sets the size of the gradient, not its direction.
        mean: the mean angle of the data, radians counter-clockwise.

    Raises:
        InputError: for concentrations that are not positive.

    Reference: Mondal et al. 2023, arXiv 2310.01647, section 3.2 (they use the squared distance of matrices in its place).

    Example:
        >>> import torch, coset
        >>> from coset import actions, adapt, frames, groups
        >>> G = groups.SpecialOrthogonal(2)
        >>> frame = frames.Given(torch.eye(2)[None])
        >>> model = coset.symmetrize(lambda x: x, actions.Vectors(G) >> actions.Vectors(G), frame)
        >>> bool(adapt.VonMises(4.0)(adapt.Step(model, torch.ones(1, 2))).abs() < 1e-9)
        True
    """

    def __init__(self, kappa: float, spread: float | None = None, mean: float = 0.0):
        self.kappa, self.mean = _positive("VonMises(kappa=", kappa), float(mean)
        cos, sin = math.cos(self.mean), math.sin(self.mean)
        turn = torch.tensor([[cos, -sin], [sin, cos]], dtype=torch.float64)
        super().__init__(turn * (self.kappa / 2), (self.kappa if spread is None else _positive("VonMises(spread=", spread)) / 2)

    def __repr__(self) -> str:
        return f"VonMises({self.kappa:g}, spread={2 * self.spread:g}, mean={self.mean:g})"


class MatrixFisher(Concentrated):
    """Rotations near one rotation, on SO(d) and O(d), d = 2 or 3: KL(MF(F) || MF(spread c(x))), in nats.

    The law with the parameter F has the density exp(tr(F^T R)) / c(F) with respect to the Haar measure. Groups with translations are
    judged by their linear part. On SO(2), ``MatrixFisher(kappa / 2)`` is ``VonMises(kappa)``.

    Args:
        parameter: F (d, d), or a number kappa for F = kappa times the identity.
        spread: the concentration of the frame's answer; kappa, or the mean of the singular values of F, when left out.
        dim: d, where ``parameter`` is a number.

    Raises:
        InputError: for parameters that are no such matrices, and concentrations that are not positive.

    Reference: Mondal et al. 2023, arXiv 2310.01647, section 3.2; Lee 2018, arXiv 1710.03746 (the law and its constants).

    Example:
        >>> from coset import adapt
        >>> adapt.MatrixFisher(5.0)
        MatrixFisher(5.0, spread=5)
    """

    def __init__(self, parameter: float | Tensor, spread: float | None = None, dim: int = 3):
        self._given = parameter
        if not isinstance(parameter, Tensor):
            parameter = _positive("MatrixFisher(", parameter) * torch.eye(dim, dtype=torch.float64)
        if parameter.shape not in ((2, 2), (3, 3)) or not bool(torch.isfinite(parameter).all()):
            raise InputError(
                explain(f"MatrixFisher({describe(parameter)})", "a finite matrix of shape (2, 2) or (3, 3), or a number", "pass kappa")
            )
        own = parameter.detach().to("cpu", torch.float64)
        size = float(torch.linalg.svdvals(own).mean()) if spread is None else spread
        super().__init__(own, _positive("MatrixFisher(spread=", size))

    def __repr__(self) -> str:
        given = describe(self._given) if isinstance(self._given, Tensor) else repr(self._given)
        return f"MatrixFisher({given}, spread={self.spread:g})"


def check_rotations(group: Group, d: int, name: str) -> None:
    """Refuse groups whose linear part is not all of SO(d) or O(d).

    Raises:
        FrameError: with the remedy.
    """
    matrices = group
    if not getattr(matrices, "orthogonal", False) or group.dim != d:
        remedy = (
            "use adapt.IdentityPrior() or adapt.HistogramPrior(weights)"
            if group.finite
            else f"use it on SO({d}), O({d}), SE({d}) or E({d})"
        )
        raise FrameError(explain(f"adapt.{name} in {d} dimensions on {group}", f"a group of all rotations of {d} dimensions", remedy))


def _positive(name: str, value: float) -> float:
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 < value < float("inf"):
        raise InputError(explain(f"{name}{value!r})", "a positive concentration", "pass for instance 4.0"))
    return float(value)
