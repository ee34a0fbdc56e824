"""A linear action on events of one shape as matrices, derivatives and permutations of their entries."""

from __future__ import annotations

from functools import singledispatch

import torch
from torch import Tensor

from ..actions.base import Action
from ..actions.indices import Permute
from ..actions.irreps import Irreps
from ..actions.linear import Cell, MatrixAction
from ..actions.representations import Matrix, Regular
from ..actions.still import Trivial
from ..actions.trees import Branches, Pullback
from ..errors import GroupError, SignatureError, explain
from ..groups.base import Group
from ..groups.generating import count
from ..tree import Tree, tree_map

STEP = 0.01
STENCIL = (4 / 5, -1 / 5, 4 / 105, -1 / 280)
"""Central differences of eighth order."""


class Representation:
    """An action on events of one shape: matrices of size D, the number of entries of an event.

    Args:
        action: a linear action.
        shape: of one event, without the batch axis; worked out where the action fixes it.

    Raises:
        SignatureError: for actions that are not linear, resample, or do not fix the shape of their events.
    """

    def __init__(self, action: Action, shape: tuple[int, ...] | None = None):
        if not isinstance(action, Action):
            raise SignatureError(explain(f"{action!r}", "an action", "pass source and target, for instance actions.Vectors(group)"))
        if isinstance(action, Branches):
            raise SignatureError(explain(f"{action}", "the action of one tensor", "build one map for each pair of entries"))
        if action.affine or not action.linear or not action.exact:
            why = "translations move it" if action.affine else "it is not linear in its data, or resamples"
            raise SignatureError(explain(f"{action}: {why}", "an exact linear action", "use Vectors of differences, or exact turns"))
        self.action = action
        self.shape = _lengths(shape) if shape is not None else default_shape(action)
        self.size = int(torch.Size(self.shape).numel())
        self.dtype = torch.complex128 if action.group.complex else torch.float64
        example = torch.ones(1, *self.shape, dtype=self.dtype)
        action.check(example, "an event")
        self.group: Group = action.resolve(example)

    def moved(self, g: Tree, x: Tensor) -> Tensor:
        """Events (r, D) moved by every element (m, ...): (m, r, D)."""
        m, r = count(g), x.shape[0]
        each = tree_map(lambda leaf: leaf.repeat_interleave(r, 0), g)
        return self.action.act(each, x.to(self.dtype).reshape(r, *self.shape).repeat(m, *(1,) * len(self.shape))).reshape(m, r, self.size)

    def matrices(self, g: Tree) -> Tensor:
        """rho(g), (m, D, D)."""
        return self.moved(g, torch.eye(self.size, dtype=self.dtype)).mT

    def derivatives(self) -> Tensor:
        """The derivative of rho along every basis element of the Lie algebra, (lie_dimension, D, D)."""
        dimension = self.group.lie_dimension
        if not dimension:
            return torch.zeros(0, self.size, self.size, dtype=self.dtype)
        basis = torch.eye(dimension, dtype=torch.float64)

        def at(t: Tensor) -> Tensor:
            return self.matrices(self.group.exp(self.group.combine(t * basis)))

        zero = torch.zeros((), dtype=torch.float64)
        try:
            return torch.func.jvp(at, (zero,), (torch.ones_like(zero),))[1]
        except (RuntimeError, NotImplementedError):
            steps = [(at(zero + k * STEP) - at(zero - k * STEP)) * (c / STEP) for k, c in enumerate(STENCIL, 1)]
            return torch.stack(steps).sum(0)

    def permutations(self, g: Tree) -> Tensor | None:
        """(m, D) integers p with (g x)[i] = x[p[i]], where the elements do nothing but permute entries; else None."""
        probe = torch.rand(1, self.size, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 0.5
        numbers = torch.arange(1, self.size + 1, dtype=torch.float64)[None]
        if self.dtype.is_complex:
            return None
        moved = self.moved(g, torch.cat([numbers, probe]))
        p = moved[:, 0].round().to(torch.int64) - 1
        if not torch.equal(p.sort(-1).values, torch.arange(self.size).expand_as(p)):
            return None
        return p if torch.equal(probe[0][p], moved[:, 1]) else None

    def characters(self, g: Tree) -> Tensor:
        """Tr rho(g), (m,)."""
        p = self.permutations(g)
        if p is not None:
            return (p == torch.arange(self.size)).sum(-1).to(self.dtype)
        piece = max(1, 4_000_000 // self.size**2)
        parts = [self.matrices(tree_map(lambda leaf, s=s: leaf[s : s + piece], g)) for s in range(0, count(g), piece)]
        return torch.cat([part.diagonal(dim1=-2, dim2=-1).sum(-1) for part in parts])

    def noise(self) -> float:
        """How far rho(gh) is from rho(g) rho(h) on random elements, relative to their entries: 0 for an exact representation."""
        generator = torch.Generator().manual_seed(0)
        g, h = (self.group.sample(4, generator=generator, dtype=torch.float64) for _ in range(2))
        p, q, pq = (self.permutations(one) for one in (g, h, self.group.compose(g, h)))
        if p is not None and q is not None and pq is not None:
            return float(not torch.equal(q.gather(1, p), pq))
        a, b, ab = (self.matrices(one) for one in (g, h, self.group.compose(g, h)))
        scale = a.abs().amax((1, 2)) * b.abs().amax((1, 2))
        return float(((a @ b - ab).abs().amax((1, 2)) / scale.clamp_min(1e-30)).max())

    @property
    def trivial(self) -> Representation:
        """One number that nothing moves, beside this representation."""
        return Representation(Trivial(self.action.group), (1,))


def _lengths(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A shape of positive whole numbers."""
    found = tuple(shape) if isinstance(shape, (tuple, list)) else (None,)
    if not all(isinstance(n, int) and not isinstance(n, bool) and n >= 1 for n in found):
        raise SignatureError(explain(f"the shape {shape!r}", "positive whole numbers", "pass for instance (5,) or (4, 3)"))
    return found  # type: ignore[return-value]


def _ask(action: Action) -> SignatureError:
    return SignatureError(
        explain(f"{action}, which moves events of many shapes", "the shape of one event", "pass source_shape=(…) or target_shape=(…)")
    )


def _points(group: Group, action: Action) -> int:
    """The number of things that a group permutes."""
    try:
        return int(group.permutation(group.identity()).shape[-1])  # type: ignore[union-attr]
    except GroupError as error:
        raise _ask(action) from error


@singledispatch
def default_shape(action: Action) -> tuple[int, ...]:
    """The shape of one event, where the action and its group fix it.

    Raises:
        SignatureError: where they do not.
    """
    raise _ask(action)


@default_shape.register
def _(action: Trivial) -> tuple[int, ...]:
    return (1,)


@default_shape.register
def _(action: Regular) -> tuple[int, ...]:
    return (action.group.order,)


@default_shape.register
def _(action: Pullback) -> tuple[int, ...]:
    return default_shape(action.action)


@default_shape.register
def _(action: Permute) -> tuple[int, ...]:
    if action.axes != tuple(range(-len(action.axes), 0)):
        raise _ask(action)
    return (_points(action.group, action),) * len(action.axes)


@default_shape.register
def _(action: MatrixAction) -> tuple[int, ...]:
    event = (int(action.group.dim or 1),) * action.event
    return (_points(action.group, action), *event) if action.permuted else event


@default_shape.register
def _(action: Cell) -> tuple[int, ...]:
    return (int(action.group.dim or 1),) * 2


@default_shape.register
def _(action: Irreps) -> tuple[int, ...]:
    return (_points(action.group, action), action.size) if action.permuted else (action.size,)


@default_shape.register
def _(action: Matrix) -> tuple[int, ...]:
    return (int(action.function(action.group.identity(1)).shape[-1]),)
