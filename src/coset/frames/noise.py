"""Noise with a law that the group keeps: what a probabilistic frame feeds its network, so that q(hx, h noise) = h q(x, noise)."""

from __future__ import annotations

import abc
from dataclasses import dataclass

import torch
from torch import Tensor

from ..actions.indices import permute_axis, ragged_rows
from ..actions.layout import Layout, ragged_slots
from ..errors import FrameError, explain
from ..groups.base import Group
from ..groups.numeric import real
from ..tree import Tree, first, tree_map

MIX = (-4658895280553007687, -7723592293110705685)
"""The multipliers of the 64-bit mixer of Steele, Lea, Flood 2014 (SplitMix), as signed integers."""


@dataclass(frozen=True)
class Place:
    """Where noise goes.

    Attributes:
        group: the group of the frame, sizes fixed.
        at: the layout of the inputs, once for each sample.
        dtype: of the noise; complex for complex groups.
        device: of the noise.
    """

    group: Group
    at: Layout
    dtype: torch.dtype
    device: torch.device

    @property
    def rows(self) -> int | None:
        """The number of points of dense samples, of the largest ragged sample; None where there are no points."""
        if self.at.batch is None:
            return self.at.points
        return int(torch.bincount(self.at.batch, minlength=self.at.samples).max())


class Noise(abc.ABC):
    """Abstract: noise per point (B, n, ...) or ragged (N, ...) where the inputs have points, else per sample (B, ...).

    Args:
        channels: independent copies, the axis after the points.
    """

    def __init__(self, channels: int = 1):
        if not isinstance(channels, int) or isinstance(channels, bool) or channels < 1:
            raise FrameError(
                explain(f"{type(self).__name__}(channels={channels!r})", "a number of channels, 1 or more", "pass for instance 1")
            )
        self.channels = channels

    def fits(self, group: Group) -> None:  # noqa: B027
        """Raise where the group does not keep the law of this noise."""

    @abc.abstractmethod
    def tail(self, place: Place) -> tuple[int, ...]:
        """The shape of the noise of one point, or one sample."""

    @abc.abstractmethod
    def law(self, uniform: Tensor) -> Tensor:
        """Noise from independent uniform numbers in (0, 1)."""

    def per_point(self, place: Place) -> bool:
        """Whether every point has its own noise."""
        return place.at.batch is not None or place.at.points is not None

    def moves(self, place: Place) -> bool:
        """Whether the group moves the noise at all."""
        return place.group.permutes and self.per_point(place)

    def draw(self, place: Place, samples: Tensor, generator: torch.Generator | None) -> Tensor:
        """Fresh noise for the picked samples.

        Args:
            place: where it goes.
            samples: (R,) sample numbers.
            generator: source of randomness; torch's global one when left out.

        Returns:
            (R, n, ...), ragged rows in the order of ``take``, or (R, ...).
        """
        at = place.at.take(samples)[0]
        head = (at.rows,) if at.batch is not None else (at.samples, at.points) if at.points is not None else (at.samples,)
        device = generator.device if generator is not None else place.device
        shape = (*head, *self.tail(place))
        numbers = torch.rand(shape, generator=generator, device=device, dtype=torch.float64).to(place.device)  # type: ignore[arg-type]
        return self.law(numbers.clamp_min(2.0**-54)).to(place.dtype)

    def fixed(self, place: Place, samples: Tensor, draws: Tensor, seed: int) -> Tensor:
        """The same noise at every call: a function of the seed, the number of the draw, the point and the channel alone.

        Args:
            place: where it goes.
            samples: (R,) sample numbers.
            draws: (R,) numbers of draws.
            seed: any integer.
        """
        tail = self.tail(place)
        size = int(torch.Size(tail).numel())
        channel = torch.arange(size, device=place.device)
        key = _mix(_mix(torch.full((), seed, device=place.device)) ^ draws.to(place.device))
        rows = place.rows
        if rows is None:
            return self.law(_uniform(key[:, None], channel)).reshape(-1, *tail).to(place.dtype)
        each = _mix(key[:, None] ^ (1 + torch.arange(rows, device=place.device)))
        noise = self.law(_uniform(each[..., None], channel)).reshape(-1, rows, *tail).to(place.dtype)
        return noise if place.at.batch is None else self._ragged(noise, place.at.take(samples)[0])

    @staticmethod
    def _ragged(noise: Tensor, at: Layout) -> Tensor:
        """Rows of padded noise (R, n, ...) where ragged samples have points."""
        return noise[at.batch, ragged_slots(at.batch, at.samples)[0]]  # type: ignore[arg-type]

    def zero(self, place: Place) -> Tensor:
        """No noise: the centre of its law."""
        tail = self.tail(place)
        head = (place.at.rows,) if place.at.batch is not None else (place.at.samples, place.at.points)
        head = head if self.per_point(place) else (place.at.samples,)
        return torch.zeros(*head, *tail, dtype=place.dtype, device=place.device)  # type: ignore[arg-type]

    def move(self, g: Tree, noise: Tensor, place: Place, at: Layout) -> Tensor:
        """Noise moved by elements (R, ...) of the group; ``at`` is the layout of the R samples."""
        if not place.group.permutes or not self.per_point(place):
            return noise
        permutation = place.group.permutation(g)
        if at.batch is None:
            return permute_axis(permutation, noise, 1 - noise.dim())  # type: ignore[arg-type]
        return torch.empty_like(noise).index_copy(0, ragged_rows(permutation, at), noise)  # type: ignore[arg-type]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({'' if self.channels == 1 else self.channels})"


def _mix(x: Tensor) -> Tensor:
    """The finalizer of SplitMix64 on signed 64-bit integers: neighbouring numbers become independent ones."""
    x = x - 7046029254386353131
    x = (x ^ ((x >> 30) & 0x3FFFFFFFF)) * MIX[0]
    x = (x ^ ((x >> 27) & 0x1FFFFFFFFF)) * MIX[1]
    return x ^ ((x >> 31) & 0x1FFFFFFFF)


def _uniform(key: Tensor, number: Tensor) -> Tensor:
    """Uniform numbers in (0, 1) from keys and numbers of one stream."""
    bits = (_mix(key ^ _mix(number)) >> 11) & 0x1FFFFFFFFFFFFF
    return (bits.to(torch.float64) + 0.5) * 2.0**-53


class Uniform(Noise):
    """Numbers in [0, 1), one row of channels per point (or sample): permuted by S_n, left alone by matrices.

    Reference: Kim et al. 2023, arXiv 2306.02866, section 2.2 (graphs).

    Example:
        >>> from coset import frames
        >>> frames.Uniform(2)
        Uniform(2)
    """

    def tail(self, place: Place) -> tuple[int, ...]:
        """The channels."""
        return (self.channels,)

    def law(self, uniform: Tensor) -> Tensor:
        """As they are."""
        return uniform


class Normal(Uniform):
    """Standard normal numbers, one row of channels per point (or sample): permuted by S_n, left alone by matrices.

    The noise for groups without a Haar measure, such as Lorentz groups: no law of nonzero vectors is kept by boosts, but numbers
    that multiply the inputs' own vectors are.

    Example:
        >>> from coset import frames
        >>> frames.Normal()
        Normal()
    """

    def law(self, uniform: Tensor) -> Tensor:
        """The normal quantiles."""
        return torch.special.ndtri(uniform)


class NormalVectors(Noise):
    """Isotropic normal vectors (channels, d) per point (or sample): turned by O(d) or U(d), permuted by S_n.

    Raises:
        FrameError: when bound to a group that does not keep lengths: it has no such law.

    Reference: Kim et al. 2023, arXiv 2306.02866, section 2.2 (point clouds).

    Example:
        >>> from coset import frames
        >>> frames.NormalVectors(2)
        NormalVectors(2)
    """

    def fits(self, group: Group) -> None:
        """Refuse groups without matrices, or whose matrices change lengths."""
        if group.dim is None or group.lorentzian or group.stretches or group.rescales:
            raise FrameError(
                explain(f"{self} on {group}", "a group of rotations, whose matrices keep the normal law", "use frames.Normal() instead")
            )

    def tail(self, place: Place) -> tuple[int, ...]:
        """Channels of vectors."""
        return (self.channels, int(place.group.dim or 0)) if not place.group.complex else (self.channels, int(place.group.dim or 0), 2)

    def law(self, uniform: Tensor) -> Tensor:
        """The normal quantiles."""
        return torch.special.ndtri(uniform)

    def moves(self, place: Place) -> bool:
        """Always."""
        return True

    def draw(self, place: Place, samples: Tensor, generator: torch.Generator | None) -> Tensor:
        """As in :class:`Noise`; complex for complex groups."""
        return _complex(super().draw(_real(place), samples, generator), place)

    def fixed(self, place: Place, samples: Tensor, draws: Tensor, seed: int) -> Tensor:
        """As in :class:`Noise`; complex for complex groups."""
        return _complex(super().fixed(_real(place), samples, draws, seed), place)

    def zero(self, place: Place) -> Tensor:
        """As in :class:`Noise`; complex for complex groups."""
        return _complex(super().zero(_real(place)), place)

    def move(self, g: Tree, noise: Tensor, place: Place, at: Layout) -> Tensor:
        """Vectors turned, and points permuted."""
        matrix = place.group.matrix(g, dtype=None if place.group.complex else noise.dtype)
        matrix = at.spread(matrix, noise).to(noise.dtype)
        turned = noise @ matrix.reshape(matrix.shape[0], *(1,) * (noise.dim() - 3), *matrix.shape[1:]).mT
        return super().move(g, turned, place, at)


def _real(place: Place) -> Place:
    return Place(place.group, place.at, real(place.dtype), place.device) if place.dtype.is_complex else place


def _complex(noise: Tensor, place: Place) -> Tensor:
    """Pairs of real numbers as complex ones of variance one."""
    return torch.view_as_complex(noise.contiguous()) * 0.5**0.5 if place.group.complex else noise


class Gumbel(Noise):
    """One Gumbel number per element of a finite group, (B, |G|): added to log-weights it makes the argmax a draw from their softmax.

    The group moves it by its regular action.

    Raises:
        FrameError: when bound to a group that is not finite.

    Reference: Maddison et al. 2014, arXiv 1411.0030.

    Example:
        >>> from coset import frames
        >>> frames.Gumbel()
        Gumbel()
    """

    def __init__(self) -> None:
        super().__init__(1)

    def fits(self, group: Group) -> None:
        """Refuse infinite groups."""
        if not group.finite or group.permutes:
            raise FrameError(explain(f"{self} on {group}", "a finite group of matrices", "use frames.Uniform() or frames.NormalVectors()"))

    def tail(self, place: Place) -> tuple[int, ...]:
        """One entry per element."""
        return (place.group.order,)

    def law(self, uniform: Tensor) -> Tensor:
        """The Gumbel quantiles."""
        return -torch.log(-torch.log(uniform))

    def per_point(self, place: Place) -> bool:
        """Never."""
        return False

    def moves(self, place: Place) -> bool:
        """Always."""
        return True

    def draw(self, place: Place, samples: Tensor, generator: torch.Generator | None) -> Tensor:
        """As in :class:`Noise`, per sample."""
        return super().draw(_without_points(place), samples, generator)

    def fixed(self, place: Place, samples: Tensor, draws: Tensor, seed: int) -> Tensor:
        """As in :class:`Noise`, per sample."""
        return super().fixed(_without_points(place), samples, draws, seed)

    def move(self, g: Tree, noise: Tensor, place: Place, at: Layout) -> Tensor:
        """The regular action: (g noise)[h] = noise[g^-1 h]."""
        group = place.group
        return noise.gather(-1, regular_index(group, g, noise.shape[0]))


def regular_index(group: Group, g: Tree, count: int) -> Tensor:
    """(R, |G|) the positions of g^-1 h for elements g (R, ...) and all h."""
    every = group.elements(device=first(g).device)
    back = tree_map(lambda leaf: leaf.unsqueeze(1), group.inverse(g))
    return group.index(group.compose(back, tree_map(lambda leaf: leaf.unsqueeze(0), every))).expand(count, -1)


def _without_points(place: Place) -> Place:
    return Place(place.group, Layout(samples=place.at.samples), place.dtype, place.device)


def default_noise(group: Group) -> Noise:
    """What the papers use: vectors where lengths are kept, numbers per node for permutations, Gumbel for finite groups."""
    if group.finite and not group.permutes:
        return Gumbel()
    if group.dim is not None and (group.orthogonal or group.unitary):
        return NormalVectors()
    return Uniform() if group.dim is None else Normal()
