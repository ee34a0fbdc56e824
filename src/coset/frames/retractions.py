"""Orders of points and choices among finitely many elements from a network's scores; the retraction of each group."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..actions.layout import Layout
from ..errors import FrameError, describe, explain
from ..groups.base import Group
from ..groups.maps import identity_map
from ..relaxed import SoftChoices, SoftPermutations
from ..tree import Tree, tree_map
from .clouds import pad_rows
from .gradients import Blended, Gradient, checked_gradient, choice_scores, likeliest, picked
from .orthonormal import GramSchmidt
from .retracted import Retracted, Retraction, rounding
from .softsort import entropy, soft_matrix, soft_order


class Argsort(Retraction):
    """S_n: the order of scores (R, n), or (N,) over ragged rows; gradients pass through SoftSort with Sinkhorn sweeps.

    Forward, points are gathered by the sorting permutation; backward, straight through the soft one (Kim et al. 2023,
    arXiv 2306.02866, appendix; temperature 0.01 on graphs, 0.1 on clouds there). ``entropy`` among the scores is the
    mean entropy of rows plus columns of the soft permutation, in nats, for a loss that hardens it.

    Args:
        temperature: the scale of differences of scores.
        sweeps: Sinkhorn normalizations.

    Example:
        >>> from coset import frames
        >>> frames.Argsort(temperature=0.01)
        Argsort(temperature=0.01)
    """

    def __init__(self, temperature: float = 0.1, sweeps: int = 20):
        if not temperature > 0 or sweeps < 1:
            raise FrameError(
                explain(
                    f"Argsort(temperature={temperature!r}, sweeps={sweeps!r})",
                    "a positive temperature, one sweep or more",
                    "pass 0.1 and 20",
                )
            )
        self.temperature, self.sweeps = float(temperature), int(sweeps)

    def prepare(self, group: Group) -> None:
        """Refuse groups other than S_n."""
        if not group.permutes or group.dim is not None or group.translates:
            raise FrameError(explain(f"{self} for {group}", "Symmetric()", "use GramSchmidt() for matrices, Argmax() for finite groups"))

    def __call__(self, raw: Tensor, at: Layout, scale: Tensor | None = None) -> Retracted:
        """The sorting permutations."""
        scores, valid = self._dense(raw, at)
        n = scores.shape[1]
        size = scores.detach().abs().amax(1) if n else scores.new_ones(scores.shape[0])
        top = scores if valid is None else torch.where(valid, scores, torch.full_like(scores, torch.inf))
        ranked, order = torch.sort(top.detach(), dim=1, stable=True)
        steps = ranked[:, 1:] - ranked[:, :-1]
        steps = torch.where(ranked[:, 1:].isinf(), torch.inf, steps) if valid is not None else steps
        gap = steps.amin(1) / size.clamp_min(torch.finfo(size.dtype).tiny) if n > 1 else torch.ones_like(size)
        finite = torch.isfinite(size)

        def relaxed(samples: int) -> SoftPermutations:
            soft = soft_order(scores, order, valid, self.temperature, self.sweeps)
            return SoftPermutations(soft.unflatten(0, (-1, samples)), order.unflatten(0, (-1, samples)))

        def uncertainty() -> Tensor:
            return entropy(soft_matrix(scores, order, valid, self.temperature, self.sweeps), valid)

        last = torch.where(ranked.isinf(), -torch.inf, ranked).amax(1) if valid is not None and n else ranked[:, -1:].amax(1)
        blind = (last <= ranked[:, 0]) & ~gap.isinf() if n > 1 else torch.zeros_like(finite)
        return Retracted(order, finite, gap <= rounding(scores), blind, relaxed, {"entropy": uncertainty})

    def _dense(self, raw: Tensor, at: Layout) -> tuple[Tensor, Tensor | None]:
        """Scores (R, n) and which are real; the widths of trailing axes of length one are dropped."""
        wide = raw.dim() == (2 if at.batch is not None else 3) and raw.shape[-1] == 1
        squeezed = raw.squeeze(-1) if wide else raw
        if not raw.is_floating_point():
            raise FrameError(
                explain(f"{describe(raw)} from the network, for {self}", "floating-point scores", "return numbers, not their order")
            )
        if at.batch is not None and squeezed.dim() == 1 and squeezed.shape[0] == at.rows:
            rows, mask = pad_rows(squeezed.unsqueeze(-1), at)
            return rows.squeeze(-1), mask
        if (
            at.batch is not None
            or squeezed.dim() != 2
            or squeezed.shape[0] != at.samples
            or squeezed.shape[1] != (at.points or squeezed.shape[1])
        ):
            wanted = f"({at.rows},)" if at.batch is not None else f"({at.samples}, {at.points or 'n'})"
            raise FrameError(
                explain(f"{describe(raw)} from the network, for {self}", f"one score per point, of shape {wanted}", "check its last layer")
            )
        return squeezed, at.mask

    def __repr__(self) -> str:
        given = [f"temperature={self.temperature:g}"] if self.temperature != 0.1 else []
        return f"Argsort({', '.join(given + ([f'sweeps={self.sweeps}'] if self.sweeps != 20 else []))})"


class Argmax(Retraction):
    """Finite groups: the element with the largest of |G| scores, which the group moves by its regular action.

    How gradients pass the choice is an object: ``frames.Blended()`` (straight through; the default), ``frames.Expected(top=k)`` or
    ``frames.Detached()``. Among the scores are ``log_probabilities`` (B, |G|) in the order of ``group.elements()``, ``entropy``
    (B,) of these in nats, and ``gap`` (B,) between the best and the second best.

    Args:
        temperature: of the softmax, for the blended gradient; 1 when left out.
        gradient: how gradients pass, with its own temperature.

    Raises:
        FrameError: for a temperature beside a gradient object, which has its own.

    Example:
        >>> from coset import frames
        >>> frames.Argmax(gradient=frames.Expected(top=2))
        Argmax(gradient=Expected(2))
    """

    def __init__(self, temperature: float | None = None, gradient: Gradient | None = None):
        if temperature is not None and gradient is not None:
            raise FrameError(
                explain(
                    f"Argmax(temperature={temperature!r}, gradient={gradient!r})",
                    "one temperature",
                    "give it to the gradient object alone",
                )
            )
        if temperature is not None and not temperature > 0:
            raise FrameError(explain(f"Argmax(temperature={temperature!r})", "a positive temperature", "pass 1.0"))
        self.gradient = Blended(temperature) if temperature is not None else checked_gradient("Argmax", gradient)

    @property
    def temperature(self) -> float:
        """Of the softmax."""
        return self.gradient.temperature

    @property
    def lists(self) -> bool:  # type: ignore[override]
        """Whether training lists several elements."""
        return self.gradient.top > 1

    def prepare(self, group: Group) -> None:
        """Refuse groups that cannot be listed."""
        if not group.finite or group.permutes:
            raise FrameError(explain(f"{self} for {group}", "a finite group of matrices", "use GramSchmidt() or Argsort()"))

    def __call__(self, raw: Tensor, at: Layout, scale: Tensor | None = None) -> Retracted:
        """The chosen elements."""
        group: Any = self.group
        if raw.dim() != 2 or tuple(raw.shape) != (at.samples, group.order):
            raise FrameError(
                explain(
                    f"{describe(raw)} from the network, for {self} on {group}",
                    f"one score per element, of shape ({at.samples}, {group.order})",
                    "check its last layer",
                )
            )
        ranked, order = torch.sort(raw.detach(), dim=-1, descending=True)
        size = raw.detach().abs().amax(-1).clamp_min(torch.finfo(raw.dtype).tiny)
        gap = (ranked[:, 0] - ranked[:, 1]) / size if group.order > 1 else torch.ones_like(size)
        finite = torch.isfinite(raw.detach().sum(-1))
        elements = picked(group, order[:, 0])

        def relaxed(samples: int) -> SoftChoices:
            chosen = tree_map(lambda leaf: leaf.unflatten(0, (-1, samples)), elements)
            shares = self.gradient.log_shares(raw).exp()
            return SoftChoices(shares.unflatten(0, (-1, samples)), chosen, group, identity_map(group))

        def likely() -> tuple[Tree, Tensor]:
            index, shares = likeliest(self.gradient, raw)
            return picked(group, index), shares

        return Retracted(
            elements,
            finite,
            gap <= rounding(raw),
            gap == 0,
            relaxed if self.gradient.blends else None,
            choice_scores(self.gradient, raw),
            likely if self.lists else None,
        )

    def __repr__(self) -> str:
        if not isinstance(self.gradient, Blended):
            return f"Argmax(gradient={self.gradient!r})"
        return f"Argmax({'' if self.temperature == 1 else f'temperature={self.temperature:g}'})"


def default_retraction(group: Group) -> Retraction:
    """The retraction of a group that is not a product.

    Raises:
        FrameError: when there is none.
    """
    if group.permutes and group.dim is None:
        return Argsort()
    if group.finite:
        return Argmax()
    if group.orthogonal or group.unitary or group.lorentzian:
        return GramSchmidt()
    raise FrameError(
        explain(
            f"{group} without a retraction",
            "S_n, O, SO, E, SE, U, SU, a Lorentz group, a finite group, or products of these",
            "use frames.OrbitDistance(invariants), or frames.Minimal()",
        )
    )
