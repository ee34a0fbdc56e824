"""Soft symmetry: how much of each weight matrix obeys which symmetry of a chain, decided by the evidence of the data.

A chain of groups H_0 > H_1 > … > {e} gives nested spaces of weights, and orthogonal increments between them: what H_1 allows and
H_0 forbids, and so on. Every increment has a prior precision of its own; the Laplace approximation of the marginal likelihood chooses
them all. An increment that the data do not support is switched off, which leaves the symmetry exact.

Reference: van der Ouderaa, Immer, van der Wilk 2023, arXiv 2310.06131 (there one precision for each path, here for each increment);
MacKay 1992 (evidence, effective numbers of parameters).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev, vmap

from ..actions.signature import Signature
from ..auditing.running import evaluation
from ..errors import InputError, describe, explain
from ..nn import equivariant_basis
from .likelihood import Gaussian, Likelihood

LARGEST = 4096
"""More parameters than this are refused: the evidence needs a dense matrix of their size."""
OFF, TINY = 1e10, 1e-12
"""Largest precision, relative to one over the mean square of the weights; and what counts as zero."""


@dataclass(frozen=True)
class SoftFit:
    """What the evidence says.

    Attributes:
        evidence: the log marginal likelihood of the targets, by the Laplace approximation.
        effective: by weight, (increments,) how many parameters of each increment the data determine.
        sizes: by weight, (increments,) how many parameters each increment has.
        precision: by weight, (increments,) of the prior.
        names: by weight, the increments' names, the most symmetric first.
        noise: the variance of the targets' noise for ``Gaussian``, else None.
        converged: whether the last round changed the evidence by less than 1e-4 for each observation.
    """

    evidence: float
    effective: dict[str, Tensor]
    sizes: dict[str, Tensor]
    precision: dict[str, Tensor]
    names: dict[str, list[str]]
    noise: float | None
    converged: bool

    @property
    def dimension(self) -> dict[str, float]:
        """By weight, the effective number of parameters."""
        return {name: float(one.sum()) for name, one in self.effective.items()}

    def __str__(self) -> str:
        lines = [f"log evidence {self.evidence:.4g}" + ("" if self.converged else " (not converged)")]
        for name, labels in self.names.items():
            for label, used, size, precision in zip(
                labels, self.effective[name].tolist(), self.sizes[name].tolist(), self.precision[name].tolist(), strict=True
            ):
                lines.append(f"{name}  {label}: {used:.2f} of {size} parameters, precision {precision:.2e}")
        return "\n".join(lines)


class SoftSymmetry:
    """Priors over weights that prefer symmetric ones, as far as the data support it.

    Args:
        layers: by the name of a weight (out, in) or (out, in, h, w) of the model, a chain: signatures of shrinking groups, or bases
            (k, *shape of the weight) of growing spaces. The space of all weights is added at the end. Parameters that are not named have
            one precision each.

    Raises:
        InputError: when a chain is empty or holds something else, or its spaces are not nested.

    Example:
        >>> import torch
        >>> from coset import actions, adapt, groups
        >>> _ = torch.manual_seed(2)
        >>> C6 = groups.Cyclic(6)
        >>> circulant = torch.stack([torch.eye(6).roll(k, 0) for k in range(6)])
        >>> truth = torch.tensordot(torch.randn(6), circulant, 1)
        >>> x = torch.randn(60, 6)
        >>> y = x @ truth.T + 0.1 * torch.randn(60, 6)
        >>> net = torch.nn.Linear(6, 6, bias=False)
        >>> soft = adapt.SoftSymmetry({"weight": [actions.Regular(C6) >> actions.Regular(C6)]})
        >>> found = soft.fit(net, x, y, adapt.Gaussian())
        >>> [size for size in found.sizes["weight"].tolist()], found.dimension["weight"] < 8
        ([6, 30], True)
    """

    def __init__(self, layers: Mapping[str, Sequence[Signature | Tensor]]):
        self.bases: dict[str, list[Tensor]] = {}
        self.names: dict[str, list[str]] = {}
        self.shapes: dict[str, torch.Size] = {}
        for name, chain in layers.items():
            if isinstance(chain, Signature | Tensor) or not len(chain):
                raise InputError(explain(f"the chain {chain!r} of {name!r}", "a list of signatures or bases", "write [signature]"))
            self.bases[name], self.names[name] = increments(chain, name)
            self.shapes[name] = _space(chain[0], name).shape[1:]

    def fit(self, model: nn.Module, inputs: Tensor, targets: Tensor, likelihood: Likelihood | None = None, *, rounds: int = 40) -> SoftFit:
        """Fit parameters and precisions in turn, in float64; the model gets the parameters found.

        Each round takes damped Gauss-Newton steps on the posterior of the parameters, and then sets each precision to
        gamma_k / |w_k|^2, with gamma_k the effective number of parameters of the increment.

        Args:
            model: maps inputs (B, …) to outputs (B, c); it is run in evaluation mode, and its modes are put back. Frozen parameters stay.
            inputs: (B, …).
            targets: (B, c) for ``Gaussian``, (B,) classes for ``Categorical``.
            likelihood: ``Gaussian()``, which fits the noise, ``Gaussian(variance)``, or ``Categorical()``.
            rounds: at most so many.

        Raises:
            InputError: for weights that the model lacks or that have another shape, more than 4,096 parameters, less than 2 samples,
                targets that do not fit the outputs, and numbers that are not finite.
        """
        inputs, targets = torch.as_tensor(inputs), torch.as_tensor(targets)
        if likelihood is not None and not isinstance(likelihood, Likelihood):
            raise InputError(explain(f"likelihood={likelihood!r}", "Gaussian() or Categorical()", "pass for instance adapt.Gaussian()"))
        before, settled = -math.inf, False
        with evaluation(model):
            problem = _Problem(self, model, inputs, targets, likelihood or Gaussian())
            for _ in range(rounds):
                problem.step()
                evidence = problem.update()
                settled = abs(evidence - before) < 1e-4 * len(targets)
                if settled:
                    break
                before = evidence
        return problem.result(settled)


def increments(chain: Sequence[Signature | Tensor], name: str = "the weight") -> tuple[list[Tensor], list[str]]:
    """Orthonormal bases (k, out * in) of the increments of a chain of spaces, and their names; the whole space is added.

    Raises:
        InputError: when a space does not contain the one before.
    """
    spaces = [_space(one, name) for one in chain]
    labels = [str(one.group) if isinstance(one, Signature) else f"space {k}" for k, one in enumerate(chain)]
    shape = spaces[0].shape[1:]
    flat = [space.real.flatten(1) for space in spaces] + [torch.eye(shape.numel(), dtype=torch.float64)]
    found: list[Tensor] = []
    known = torch.zeros(0, shape.numel(), dtype=torch.float64)
    for k, space in enumerate(flat):
        if space.shape[1] != shape.numel():
            raise InputError(explain(f"space {k} of {name!r} of {describe(spaces[k])}", f"matrices {tuple(shape)}", "use one shape"))
        rows = _orthonormal(space)
        outside = known - known @ rows.mT @ rows
        if len(known) and float(outside.norm(dim=1).max()) > 1e-6:
            raise InputError(explain(f"space {k} of {name!r}", "a space that contains the one before", "list the largest group first"))
        fresh = _orthonormal(rows - rows @ known.mT @ known)
        found.append(fresh)
        known = torch.cat([known, fresh])
    names = [labels[0], *(f"allowed by {label}" for label in labels[1:]), "without symmetry"]
    return [one for one in found if len(one)], [label for label, one in zip(names, found, strict=True) if len(one)]


def _space(one: Signature | Tensor, name: str) -> Tensor:
    """A basis (k, *shape)."""
    if isinstance(one, Signature):
        return equivariant_basis(one.source, one.target).basis
    if not isinstance(one, Tensor) or one.dim() < 2 or one.is_complex() or not bool(torch.isfinite(one).all()):
        given = f"{describe(one)} in the chain of {name!r}"
        raise InputError(explain(given, "a signature, or a finite real basis (k, *shape of the weight)", "check the chain"))
    return one.detach().double()


def _orthonormal(rows: Tensor) -> Tensor:
    """An orthonormal basis of the span of rows."""
    if not len(rows):
        return rows
    _, values, right = torch.linalg.svd(rows, full_matrices=False)
    return right[values > 1e-6 * max(float(values.max()), 1.0)]


class _Problem:
    """One model with its data, parameters and precisions, flattened."""

    def __init__(self, soft: SoftSymmetry, model: nn.Module, inputs: Tensor, targets: Tensor, likelihood: Likelihood):
        self.model, self.likelihood = model, likelihood
        self.shapes = {name: p.shape for name, p in model.named_parameters() if p.requires_grad}
        _check(soft, self.shapes, inputs, targets)
        self.inputs, self.targets = inputs.double(), targets.double() if targets.is_floating_point() else targets
        state = {name: p.detach().double().flatten() for name, p in model.named_parameters() if p.requires_grad}
        others = [*model.named_buffers(), *((name, p.detach()) for name, p in model.named_parameters() if not p.requires_grad)]
        self.buffers = {k: v.double() if v.is_floating_point() else v for k, v in others}
        self.theta = torch.cat(list(state.values()))
        self.blocks: list[tuple[str, slice, Tensor]] = []
        self.names: dict[str, list[str]] = {}
        start = 0
        for name, shape in self.shapes.items():
            rows = slice(start, start + shape.numel())
            bases = soft.bases.get(name, [torch.eye(shape.numel(), dtype=torch.float64)])
            self.names[name] = soft.names.get(name, ["not named"])
            self.blocks += [(name, rows, basis.to(self.theta.device)) for basis in bases]
            start = rows.stop
        self.alpha = torch.ones(len(self.blocks), dtype=torch.float64, device=self.theta.device)
        self.gamma = torch.zeros_like(self.alpha)
        self.evidence, self.damping = -math.inf, 1e-8
        likelihood.start(self.targets)
        with torch.no_grad():
            made = vmap(self.outputs, (None, 0))(self.theta, self.inputs)
        likelihood.check(made, self.targets)
        if not bool(torch.isfinite(made).all()):
            raise InputError(explain("a model whose outputs are not finite", "finite outputs to start from", "check its parameters"))

    def outputs(self, theta: Tensor, x: Tensor) -> Tensor:
        """Of one input, flattened."""
        parts = torch.split(theta, [shape.numel() for shape in self.shapes.values()])
        values = {name: part.reshape(shape) for (name, shape), part in zip(self.shapes.items(), parts, strict=True)}
        return functional_call(self.model, {**self.buffers, **values}, (x.unsqueeze(0),)).flatten()

    def prior(self) -> Tensor:
        """The precision matrix of the prior."""
        whole = torch.zeros(len(self.theta), len(self.theta), dtype=torch.float64, device=self.theta.device)
        for (_, rows, basis), alpha in zip(self.blocks, self.alpha, strict=True):
            whole[rows, rows] += alpha * basis.mT @ basis
        return whole

    def curvature(self) -> tuple[Tensor, Tensor, float]:
        """The Gauss-Newton matrix and the gradient of the log-likelihood, and its value."""
        made = vmap(self.outputs, (None, 0))(self.theta, self.inputs)
        jacobian = vmap(jacrev(self.outputs), (None, 0))(self.theta, self.inputs)
        root, slope, value = self.likelihood.parts(made, self.targets)
        rooted = torch.einsum("bij,bjp->bip", root, jacobian).flatten(0, 1)
        return rooted.mT @ rooted, torch.einsum("bj,bjp->p", slope, jacobian), float(value)

    def value(self, theta: Tensor, prior: Tensor) -> float:
        """The log posterior, up to a constant."""
        made = vmap(self.outputs, (None, 0))(theta, self.inputs)
        return float(self.likelihood.parts(made, self.targets)[2] - theta @ prior @ theta / 2)

    @torch.no_grad()
    def step(self, tries: int = 6) -> None:
        """Damped Gauss-Newton steps until they gain nothing."""
        prior = self.prior()
        for _ in range(tries):
            matrix, slope, value = self.curvature()
            here = value - float(self.theta @ prior @ self.theta) / 2
            gain = 0.0
            for _ in range(12):
                scale = self.damping * float((matrix + prior).diagonal().mean())
                move = torch.linalg.solve(matrix + prior + scale * torch.eye(len(slope)).to(slope), slope - prior @ self.theta)
                gain = self.value(self.theta + move, prior) - here
                if gain >= 0:
                    self.theta, self.damping = self.theta + move, max(self.damping / 10, 1e-12)
                    break
                self.damping *= 10
            if gain < 1e-6:
                return

    @torch.no_grad()
    def update(self) -> float:
        """New precisions and noise; the evidence at the old ones."""
        matrix, _, value = self.curvature()
        prior = self.prior()
        posterior = torch.linalg.cholesky(matrix + prior)
        spread = torch.cholesky_inverse(posterior)
        sizes = torch.tensor([len(basis) for _, _, basis in self.blocks], dtype=torch.float64)
        logs = (sizes * self.alpha.cpu().log()).sum() / 2 - posterior.diagonal().log().sum().cpu()
        self.evidence = value - float(self.theta @ prior @ self.theta) / 2 + float(logs)
        limit = OFF / float(self.theta.square().mean().clamp(min=TINY))
        for k, (_, rows, basis) in enumerate(self.blocks):
            self.gamma[k] = len(basis) - self.alpha[k] * (basis @ spread[rows, rows] * basis).sum()
            size = (basis @ self.theta[rows]).square().sum()
            self.alpha[k] = (self.gamma[k].clamp(min=TINY) / size.clamp(min=TINY)).clamp(1e-10, limit)
        made = vmap(self.outputs, (None, 0))(self.theta, self.inputs)
        self.likelihood.update(made, self.targets, float(self.gamma.sum()))
        return self.evidence

    def result(self, settled: bool) -> SoftFit:
        """What was found; the model gets the parameters."""
        parts = torch.split(self.theta, [shape.numel() for shape in self.shapes.values()])
        with torch.no_grad():
            for (name, shape), part in zip(self.shapes.items(), parts, strict=True):
                self.model.get_parameter(name).copy_(part.reshape(shape))
        sizes = torch.tensor([len(basis) for _, _, basis in self.blocks])

        def table(values: Tensor) -> dict[str, Tensor]:
            of = {name: [k for k, (owner, _, _) in enumerate(self.blocks) if owner == name] for name in self.shapes}
            return {name: values[rows].clone() for name, rows in of.items()}

        return SoftFit(
            self.evidence, table(self.gamma), table(sizes), table(self.alpha), self.names, self.likelihood.noise, settled
        )  # fmt: skip


def _check(soft: SoftSymmetry, shapes: Mapping[str, torch.Size], inputs: Tensor, targets: Tensor) -> None:
    for name in soft.bases:
        given, wanted = shapes.get(name), soft.shapes[name]
        if given is None or given.numel() != wanted.numel() or given[: len(wanted) - 1] != wanted[:-1]:
            told = f"the weight {name!r}" + (f" of shape {tuple(given)}" if given is not None else "")
            raise InputError(explain(told, f"a parameter of shape {tuple(wanted)}, of {list(shapes)}", "check names and shapes"))
    count = sum(shape.numel() for shape in shapes.values())
    if count > LARGEST:
        raise InputError(explain(f"{count:,} parameters", f"at most {LARGEST:,}", "freeze layers with requires_grad_(False)"))
    if len(inputs) != len(targets) or len(inputs) < 2:
        raise InputError(explain(f"{len(inputs)} inputs and {len(targets)} targets", "as many of both, at least 2", "check the data"))
    if not bool(torch.isfinite(inputs).all()) or not bool(torch.isfinite(targets).all()):
        raise InputError(explain("inputs or targets that are not finite", "finite numbers", "remove these rows"))
