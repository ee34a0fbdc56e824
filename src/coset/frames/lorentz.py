"""The minimal frame of four-momenta under Lorentz groups: boost to the rest frame of the total momentum, then a frame of space."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..actions.base import Action
from ..actions.layout import Layout
from ..actions.linear import Tensors, Vectors
from ..actions.trees import Pullback
from ..errors import InputError, explain
from ..groups.lorentz import boost_to, flip_axes, metric
from ..groups.maps import Homomorphism
from ..tree import Tree
from .base import traced
from .ordered import THRESHOLD, first_reaching
from .reduced import Reduced, Section, Settle, named_rows, numbers

NULL = 16.0
"""Rounding units of the squared energy below which a squared mass counts as zero."""
BALANCED = 1e-3
"""Share of the total absolute energy below which positive and negative energies count as balanced."""


class LorentzMinimal(Reduced):
    """Bound by ``Minimal`` for O(1, d-1), SO(1, d-1) and the proper orthochronous group, on vectors with time first.

    The reference is the sum of the vectors. Where all of them are time- or lightlike, those of negative energy count
    with the opposite sign, so that it is timelike unless all vectors are multiples of one lightlike vector: amplitudes
    in the all-outgoing convention, whose total is zero, have a frame too.
    """

    unbounded_are = "their total momentum is lightlike, or all of them are zero"
    unbounded_remedy = (
        "drop these samples (single massless particles, for instance), give the frame a further timelike vector such as the beam, "
        "or ask for invariant outputs"
    )

    def upright_actions(self, key: str, leaf: Action, include: Homomorphism) -> dict[str, Action]:
        """Space components, from which frames are built, and whole vectors, whose times are compared too."""
        if not leaf.polar:
            return super().upright_actions(key, leaf, include)
        space = Vectors(include.source, points=leaf.per_point)
        return {key: space, f"{key}, time": Pullback(include, Tensors(include.target, 1, points=leaf.per_point))}

    def upright_data(self, key: str, leaf: Action, x: Any, settle: Settle) -> dict[str, Any]:
        """Space components, and the whole vectors beside them."""
        if not leaf.polar:
            return super().upright_data(key, leaf, x, settle)
        return {key: settle(x[..., 1:]), f"{key}, time": x}

    def section(self, inputs: Tree, at: Layout) -> Section:
        """The boost from rest to the total momentum, with time reversed where the energies ask for it."""
        rows, _, _, eps = named_rows(self, inputs, at)
        sizes = _squares(rows.detach())
        total = _reference(rows, sizes, eps)
        energy, momentum = total[:, 0], total[:, 1:]
        mass2 = energy.square() - momentum.square().sum(-1)
        timelike = mass2.detach() > NULL * eps * energy.detach().square()
        largest = torch.maximum(*sizes).amax(1)
        empty = largest == 0
        if not traced(inputs):
            self._refuse_spacelike(rows.detach(), total.detach(), mass2.detach(), timelike | empty, eps)
        velocity = _velocity(total, mass2, timelike, empty)
        elements = boost_to(velocity)
        axes = self.group.flips().get("time reversal")  # type: ignore[attr-defined]
        if axes is not None:
            sign = self._direction(rows.detach(), velocity.detach(), traced(inputs))
            elements = elements @ flip_axes(rows.shape[-1], axes, sign[:, None, None])
        unbounded = empty | (~timelike if rows.shape[-1] > 2 else torch.zeros_like(timelike))
        reach = velocity.detach()
        stretch = reach[:, 0] + reach[:, 1:].square().sum(-1).sqrt()
        return Section(elements, stretch, eps * largest.sqrt(), unbounded)

    def _direction(self, rows: Tensor, velocity: Tensor, blind: bool) -> Tensor:
        """(B,) +1 or -1: which way time runs, by the energies at rest; odd under time reversal.

        The sum of energies decides; where positive and negative ones balance, the first large one of ordered vectors,
        or the sums of their third, fifth and seventh powers.
        """
        energy = torch.einsum("bnd,bd->bn", rows, velocity * metric(rows.shape[-1], rows.dtype, rows.device))
        size = energy.abs().amax(1, keepdim=True)
        share = energy / torch.where(size > 0, size, torch.ones_like(size))
        if self.colours is None:
            large = first_reaching(share.abs(), torch.full_like(size[:, 0], THRESHOLD))
            moments = torch.stack([share.sum(1), share.gather(1, large[:, None])[:, 0]], 1)
            sizes = torch.stack([share.abs().sum(1), torch.ones_like(moments[:, 1])], 1)
        else:
            moments = torch.stack([share.pow(power).sum(1) for power in (1, 3, 5, 7)], 1)
            sizes = torch.stack([share.abs().pow(power).sum(1) for power in (1, 3, 5, 7)], 1)
        clear = moments.abs() > BALANCED * sizes
        if not blind and bool((~clear.any(1) & (size[:, 0] > 0)).any()):
            raise InputError(
                explain(
                    f"samples {numbers(~clear.any(1) & (size[:, 0] > 0))} whose positive and negative energies are the same set",
                    f"energies that tell how time runs, for {self.group}, which reverses it",
                    "use ProperLorentz, or take the points as ordered (leave colours out)",
                )
            )
        sign = moments.gather(1, clear.to(torch.uint8).argmax(1, keepdim=True))[:, 0].sgn()
        return torch.where(sign == 0, torch.ones_like(sign), sign)

    def _refuse_spacelike(self, rows: Tensor, total: Tensor, mass2: Tensor, good: Tensor, eps: float) -> None:
        """Raise where the total is spacelike, or lightlike beside vectors that are not parallel (one host synchronization)."""
        if bool(good.all()):
            return
        energy = total[:, 0]
        share = rows[..., :1] / torch.where(energy == 0, torch.ones_like(energy), energy)[:, None, None]
        apart = (rows - share * total.unsqueeze(1)).abs().amax((1, 2))
        parallel = (apart <= 4 * (NULL * eps) ** 0.5 * rows.abs().amax((1, 2))) & (energy != 0)
        lightlike = mass2.abs() <= NULL * eps * energy.square()
        bad = ~(good | (lightlike & parallel))
        if not bool(bad.any()):
            return
        d = rows.shape[-1]
        spacelike = bad & ~lightlike
        kind = "spacelike" if bool(spacelike.any()) else "lightlike, with vectors that are not parallel to it,"
        which = spacelike if bool(spacelike.any()) else bad
        last = rows[..., -1].sum(1).square() > rows[..., :-1].sum(1).square().sum(-1)
        hint = f"; the last of the {d} coordinates would be a time" if bool((last & which).any()) else ""
        raise InputError(
            explain(
                f"a total momentum that is {kind} in samples {numbers(which)}{hint}",
                f"vectors of {self.group} with time first (E, px, py, …), metric (+, −, …), and a timelike sum",
                "move the energy to the front, for instance p.roll(1, -1), or name physical momenta with of=",
            )
        )


def _squares(rows: Tensor) -> tuple[Tensor, Tensor]:
    """(B, n) the squares of the energies and of the momenta, axis by axis, without temporaries of the size of the rows."""
    axes = [axis.square() for axis in rows.unbind(-1)]
    return axes[0], sum(axes[2:], axes[1])


def _reference(rows: Tensor, sizes: tuple[Tensor, Tensor], eps: float) -> Tensor:
    """(B, d) the sum of the rows; where none is spacelike, negative energies count with the opposite sign."""
    time = rows.detach()[..., 0]
    causal = (sizes[1] <= (1 + eps**0.5) * sizes[0]).all(1)
    sign = torch.where(causal[:, None], time.sgn(), torch.ones_like(time))
    return torch.einsum("bn,bnd->bd", sign, rows)


def _velocity(total: Tensor, mass2: Tensor, timelike: Tensor, empty: Tensor) -> Tensor:
    """(B, d) unit vectors, future directed: along a timelike total; so that a lightlike one becomes (1, n); at rest if all is zero."""
    one = torch.ones_like(mass2)
    mass = torch.where(timelike, mass2, one).sqrt() * torch.where(total[:, 0].detach() < 0, -one, one)
    space = total[:, 1:] / mass.unsqueeze(-1)
    moving = torch.cat([(1 + space.square().sum(-1, keepdim=True)).sqrt(), space], -1)
    energy = torch.where(timelike | (total[:, 0].detach() == 0), one, total[:, 0])
    size = energy.abs()
    light = torch.cat(
        [((size + 1 / size) / 2).unsqueeze(-1), total[:, 1:] / energy.unsqueeze(-1) * ((size - 1 / size) / 2).unsqueeze(-1)], -1
    )
    rest = torch.zeros_like(total)
    rest[:, 0] = 1.0
    found = torch.where(timelike.unsqueeze(-1), moving, light)
    return torch.where(empty.unsqueeze(-1), rest, found)
