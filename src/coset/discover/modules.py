"""Bilevel discovery of sharing among the parameters of any torch module."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.autograd import grad
from torch.func import functional_call

from ..actions.signature import Signature
from ..errors import InputError, explain
from .automorphisms import group_of
from .chances import f_tail
from .hypergradients import Curvature, Exact
from .partition import canonical, indicator
from .permutations import counted
from .relaxation import assignment, rounded, started
from .results import FEW, LEVEL, Retest
from .two_level import Bilevel

Net = Callable[..., Any]
Objective = Callable[[Net], Tensor]
"""A loss of a callable network: a scalar."""


@runtime_checkable
class Inner(Protocol):
    """A way to train: ``Newton()`` or ``Descent(...)``."""

    @property
    def decay(self) -> float:
        """Psi is held small during the search by decay * |psi|^2 in the training loss.

        Without it rows that all favour one column reach any parameters with large values, and rounding loses them.
        Scale losses to about one.
        """

    def minimize(self, loss: Callable[[Tensor], Tensor], start: Tensor) -> Tensor:
        """Parameters with a lower loss, from where the last call ended."""


@dataclass(frozen=True)
class Newton:
    """Newton steps with the whole Hessian: one is exact for squared losses of models linear in their parameters.

    Args:
        steps: how many.
        decay: how strongly values are held small during the search.
    """

    steps: int = 1
    decay: float = 1e-2

    def minimize(self, loss: Callable[[Tensor], Tensor], start: Tensor) -> Tensor:
        """The parameters after the steps."""
        x = start.detach()
        for _ in range(self.steps):
            x = x.requires_grad_()
            (slope,) = grad(loss(x), x, create_graph=True)
            x = (x - Exact().solve(Curvature(slope, x), slope.detach())).detach()
        return x


@dataclass(frozen=True)
class Descent:
    """Adam from where the last step of the assignment left off, as in the paper.

    Args:
        steps: how many for every step of the assignment.
        rate: the learning rate.
        decay: how strongly values are held small during the search.
    """

    steps: int = 250
    rate: float = 1e-3
    decay: float = 1e-2

    def minimize(self, loss: Callable[[Tensor], Tensor], start: Tensor) -> Tensor:
        """The parameters after the steps."""
        x = start.detach().clone().requires_grad_()
        optimizer = torch.optim.Adam([x], self.rate)
        for _ in range(self.steps):
            (x.grad,) = grad(loss(x), x)
            optimizer.step()
        return x.detach()


@dataclass(frozen=True, eq=False)
class ModuleSharing:
    """Sharing among the parameters of a module.

    Attributes:
        labels: classes for every parameter that was looked at, numbered over all of them together.
        values: (r,) the value of every class, fitted on training and validation data.
        state: all parameters with the shared values, for ``module.load_state_dict(..., strict=False)``.
        free: the same fitted without sharing.
        validation: validation losses (shared, free) of fits to the training data alone.
        verdict: what may be claimed.
    """

    labels: dict[str, Tensor]
    values: Tensor
    state: dict[str, Tensor] = field(repr=False)
    free: dict[str, Tensor] = field(repr=False)
    validation: tuple[float, float]
    verdict: str
    module: nn.Module = field(repr=False)

    def signature(self, name: str) -> Signature:
        """The type of the maps with the pattern of one parameter; ``.group`` is all that keeps it.

        Raises:
            InputError: for a parameter that was not looked at.
        """
        if name not in self.labels:
            raise InputError(explain(f"the parameter {name!r}", f"one of {list(self.labels)}", "name one that was given to bilevel()"))
        return group_of(canonical(self.labels[name])).signature

    def retest(self, losses: Callable[[Net], Tensor]) -> Retest:
        """Compare the shared with the free parameters on samples that had no part in the search, in pairs.

        Args:
            losses: a network to its losses (N,) on those samples.

        Raises:
            InputError: when the losses are not one finite number for each sample.
        """
        with torch.no_grad():
            shared, free = (losses(_bound(self.module, state)).double() for state in (self.state, self.free))
        worse = shared - free
        if worse.dim() != 1 or not bool(worse.isfinite().all()):
            raise InputError(explain(f"losses of shape {tuple(worse.shape)}", "one finite number for each sample", "leave out the mean"))
        count = len(worse)
        if count < FEW:
            return Retest(math.nan, math.nan, f"cannot tell: {count} observations, at least {FEW} are needed")
        mean, error = float(worse.mean()), float(worse.std()) / math.sqrt(count)
        effect = mean / max(float(free.mean().abs()), 1e-300)
        chance = _one_sided(mean / error, count - 1) if error > 0 else (1.0 if mean <= 0 else 0.0)
        if chance < LEVEL:
            return Retest(chance, effect, f"rejected on other data: sharing costs {100 * effect:.2g} % of the loss (p = {chance:.2g})")
        return Retest(chance, effect, f"holds on other data: sharing changes the loss by {mean:.2g} ± {error:.1g} (p = {chance:.2g})")


def bilevel(
    module: nn.Module,
    parameters: Sequence[str],
    train_loss: Objective,
    validation_loss: Objective,
    method: Bilevel | None = None,
    inner: Inner | None = None,
) -> ModuleSharing:
    """Discover which parameters of a module share a value, by the paper's bilevel descent; the module stays as it is.

    The named parameters, flat and in order, are theta = A psi; all other trainable parameters are trained beside psi.

    Args:
        module: any module.
        parameters: names as in ``module.named_parameters()``.
        train_loss: a network (a callable like the module) to its training loss.
        validation_loss: the same on other data.
        method: the outer descent; ``share`` is not used, because the two losses are the split.
        inner: how psi is trained for every step of A; ``Newton()`` when left out.

    Returns:
        Labels, shared values, validation losses, and ``retest``: nothing is claimed before it.

    Raises:
        InputError: for names that the module does not have, or losses that are not finite scalars.

    Reference: Yeh et al. 2022, arXiv 2204.03640.

    Example:
        >>> import torch
        >>> from coset import discover
        >>> draw = torch.Generator().manual_seed(0)
        >>> x = torch.randn(60, 4, generator=draw, dtype=torch.float64)
        >>> y = x.sum(1, keepdim=True) + 0.1 * torch.randn(60, 1, generator=draw, dtype=torch.float64)
        >>> net = torch.nn.Linear(4, 1, dtype=torch.float64)
        >>> def loss(rows):
        ...     return lambda f: (f(x[rows]) - y[rows]).square().mean()
        >>> method = discover.Bilevel(steps=150, restarts=1, generator=draw)
        >>> discover.bilevel(net, ["weight"], loss(slice(0, 20)), loss(slice(20, 60)), method).labels["weight"].tolist()
        [[0, 0, 0, 0]]
    """
    method, trained = method or Bilevel(), inner or Newton()
    if not isinstance(module, nn.Module) or not isinstance(method, Bilevel) or isinstance(parameters, str):
        given = f"module {type(module).__name__}, parameters {parameters!r}, method {type(method).__name__}"
        raise InputError(explain(given, "a torch module, a list of names, Bilevel()", 'pass for instance bilevel(net, ["weight"], ...)'))
    problem = Problem(module, tuple(parameters), (train_loss, validation_loss), trained.decay)
    best, least = None, math.inf
    for _ in range(method.restarts):
        track = Track(problem, trained)
        scores = started(problem.count, problem.count, method.generator, problem.dtype).to(problem.device)
        scores, _ = method.descend(problem.train, problem.validation, scores, track.solution)
        labels = rounded(scores)
        value = float(validation_loss(problem.net(problem.hard(labels), problem.fitted(labels, trained, train_loss))))
        if value < least or best is None:
            best, least = labels, value
    everything = torch.arange(problem.count)
    free = float(validation_loss(problem.net(problem.hard(everything), problem.fitted(everything, trained, train_loss))))
    return problem.result(best, (least, free), trained)  # type: ignore[arg-type]


class Problem:
    """Training and validation losses of a module as functions of scores and of flat inner parameters (psi, then the others)."""

    def __init__(self, module: nn.Module, names: tuple[str, ...], objectives: tuple[Objective, Objective], decay: float):
        known = {name: x for name, x in module.named_parameters() if x.requires_grad}
        missing = [name for name in names if name not in known]
        if missing or not names:
            raise InputError(explain(f"parameters {list(names)}", f"some of {list(known)}", "name trainable parameters of the module"))
        self.module, self.names = module, names
        self.known = {name: x.detach() for name, x in known.items()}
        self.others = tuple(name for name in known if name not in names)
        self.count = sum(self.known[name].numel() for name in names)
        self.dtype, self.device = self.known[names[0]].dtype, self.known[names[0]].device
        self.objectives, self.decay = objectives, decay
        for objective in self.objectives:
            value = objective(_bound(module, self.known))
            if not isinstance(value, Tensor):
                raise InputError(explain(f"a loss {value!r}", "a scalar tensor", "return the mean over samples, with its gradient"))
            if value.dim() or not bool(value.isfinite()):
                raise InputError(explain(f"a loss {value}", "a finite scalar", "return the mean over samples"))

    def start(self, columns: int) -> Tensor:
        """Inner parameters to start from: those of the module, the first of them for the values."""
        theta = torch.cat([self.known[name].reshape(-1) for name in self.names])
        return torch.cat([theta[:columns], *(self.known[name].reshape(-1) for name in self.others)])

    def state(self, a: Tensor, inner: Tensor) -> dict[str, Tensor]:
        """All trainable parameters for an assignment (p, k) and inner parameters."""
        flat = torch.cat([a @ inner[: a.shape[1]], inner[a.shape[1] :]])
        names = self.names + self.others
        sizes = [self.known[name].numel() for name in names]
        return {name: x.reshape(self.known[name].shape) for name, x in zip(names, flat.split(sizes), strict=True)}

    def net(self, a: Tensor, inner: Tensor) -> Net:
        """The module with these parameters."""
        return _bound(self.module, self.state(a, inner))

    def train(self, scores: Tensor, inner: Tensor) -> Tensor:
        """The training loss, with the decay of psi."""
        return self.objectives[0](self.net(assignment(scores), inner)) + self.decay * inner[: self.count].square().sum()

    def validation(self, scores: Tensor, inner: Tensor) -> Tensor:
        """The validation loss."""
        return self.objectives[1](self.net(assignment(scores), inner))

    def hard(self, labels: Tensor) -> Tensor:
        """The assignment of a partition."""
        return indicator(labels).to(self.device, self.dtype)

    def fitted(self, labels: Tensor, inner: Inner, objective: Objective) -> Tensor:
        """Inner parameters trained under a partition until the loss stands still."""
        a = self.hard(labels)
        x, last = self.start(a.shape[1]), math.inf
        for _ in range(40):
            x = inner.minimize(lambda z: objective(self.net(a, z)), x)
            now = float(objective(self.net(a, x)))
            if not now < last * (1 - 1e-6):
                break
            last = now
        return x.detach()

    def result(self, labels: Tensor, validation: tuple[float, float], inner: Inner) -> ModuleSharing:
        """The partition with its values fitted on all data."""

        def both(net: Net) -> Tensor:
            return self.objectives[0](net) + self.objectives[1](net)

        states, values = [], torch.zeros(0)
        for one in (torch.arange(self.count), labels):
            a = self.hard(one)
            x = self.fitted(one, inner, both)
            values = x[: a.shape[1]]
            states.append({name: y.detach() for name, y in self.state(a, x).items()})
        parts = labels.split([self.known[name].numel() for name in self.names])
        shaped = {name: part.reshape(self.known[name].shape) for name, part in zip(self.names, parts, strict=True)}
        verdict = (
            f"cannot tell before retest: {counted(len(values), 'value')} for {counted(self.count, 'parameter')}: "
            f"validation loss {validation[0]:.4g}, "
            f"free parameters {validation[1]:.4g}"
        )
        return ModuleSharing(shaped, values, states[1], states[0], validation, verdict, self.module)


class Track:
    """The inner solution along an outer descent, each from where the last one ended."""

    def __init__(self, problem: Problem, inner: Inner):
        self.problem, self.inner = problem, inner
        self.x = problem.start(problem.count)

    def solution(self, scores: Tensor) -> Tensor:
        """Trained inner parameters for scores."""
        self.x = self.inner.minimize(lambda x: self.problem.train(scores, x), self.x)
        return self.x


def _bound(module: nn.Module, state: dict[str, Tensor]) -> Net:
    """The module with other parameters, as a callable; what it writes to buffers (BatchNorm) goes to copies."""

    def net(*args: Any, **kwargs: Any) -> Any:
        buffers = {name: x.detach().clone() for name, x in module.named_buffers()}
        return functional_call(module, {**buffers, **state}, args, kwargs)

    return net


def _one_sided(t: float, freedom: int) -> float:
    """P(T > t) for Student's t."""
    half = f_tail(t * t, 1, freedom) / 2
    return half if t > 0 else 1 - half
