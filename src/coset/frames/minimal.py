"""Minimal frames: exactly one coset of the input's stabilizer, so one model call, at symmetric inputs too."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..actions.layout import Layout
from ..errors import FrameError, explain
from ..groups.base import Group
from ..measure import Measure
from ..tree import Tree
from .base import Frame
from .center import Center
from .chain import Chain
from .lorentz import LorentzMinimal
from .norm import NormMinimal
from .ordered import OrderedMinimal
from .relabel import order_nodes
from .unitary import UnitaryMinimal
from .unordered import UnorderedMinimal
from .whitened import WhitenedMinimal


class Uncoloured:
    """The type of ``frames.UNCOLOURED``: the points are an unordered set without colours."""

    def __repr__(self) -> str:
        return "UNCOLOURED"

    def __reduce__(self) -> str:
        return "UNCOLOURED"


UNCOLOURED = Uncoloured()
"""Pass as ``colours=`` to say that the points are an unordered set of equal points."""


class Minimal(Frame):
    """The minimal frame: one coset g Stab(c), so the symmetrized model costs one call of the model.

    - O(d), SO(d), E(d), SE(d) on *ordered* points: threshold-pivoted Gram-Schmidt, any d, static.
    - The same groups on *unordered* points, coloured by ``colours=``, d = 2 or 3: the frame does not depend on the
      order of the points, so it wraps graph networks and transformers without hurting their permutation symmetry. It
      declares that the model treats the points as a set. Points that a symmetry of the cloud exchanges are matched,
      and outputs per point are averaged over the matchings.
    - Lorentz groups on four-momenta, time first: boost to the rest frame, then one of the frames above of space.
    - GL(d), SL(d) and affine maps: whiten, then one of the frames above. U(d), SU(d) on ordered complex vectors:
      Gram-Schmidt. Scalings: the root mean square length.
    - The product of a group of points with S_n: the frame of unordered points, then a sort in the canonical pose.
    - S_n on rows: lexicographic sort. S_n on graphs: canonical labels (:class:`~coset.frames.Relabel`). Translations: the
      centroid.

    Args:
        of: key (or keys) of what the frame is computed from; everything the group moves when left out. Other moved
            inputs refine the frame where the stabilizer of ``of`` moves them.
        colours: key (or keys) of per-point features that tell points apart (species, charges), or ``UNCOLOURED``.
        tol: symmetry tolerance relative to the radius of the centred cloud.
        detach: treat the frame as a constant in backward passes. Gradients of an invariant output are then
            equivariant but not those of the symmetrized function.

    Reference: Lin et al. 2024, arXiv 2406.07598.

    Example:
        >>> import torch
        >>> from coset import actions, frames, groups
        >>> O2 = groups.Orthogonal(2)
        >>> square = torch.tensor([[[1.0, 0], [0, 1], [-1, 0], [0, -1]]])
        >>> frames.Minimal(colours=frames.UNCOLOURED).bind(actions.Points(O2))(square).order
        tensor([8])
        >>> frames.Minimal().bind(actions.Points(O2))(square).order
        tensor([1])
    """

    references = ("lin2024minimal",)

    def __init__(self, of: Any = None, colours: Any = None, tol: float = 1e-4, detach: bool = False):
        super().__init__()
        if not isinstance(tol, (int, float)) or not 0 < tol < 0.5:
            raise FrameError(explain(f"Minimal(tol={tol!r})", "a relative tolerance between 0 and 0.5", "pass for instance tol=1e-4"))
        self.of, self.colours, self.tol, self.detach = of, colours, float(tol), detach
        self.static = colours is None

    def prepare(self, group: Group) -> None:
        """Choose the construction for the group."""
        self.inner = self._construction(group).bind(self.source, self.target)  # type: ignore[arg-type]
        self.static, self.ordered, self.sorts = self.inner.static, self.inner.ordered, self.inner.sorts

    def _construction(self, group: Group) -> Frame:
        """The first construction that knows the group."""
        found = construction(group)
        if found is None:
            raise FrameError(
                explain(
                    f"{self} on {group}",
                    "O(d), SO(d), E(d), SE(d), U(d), SU(d), Lorentz, linear or affine groups on points, their products with S_n, "
                    "S_n on rows, scalings or translations",
                    "use frames.Full() for finite groups, frames.Chain(…) for products, frames.Haar(samples) for other compact groups",
                )
            )
        if self.colours is not None and not found.colours:
            raise FrameError(explain(f"{self} on {group}", "O(d), SO(d), E(d) or SE(d) for coloured clouds", "leave colours out"))
        return found.build(self, group)

    @property
    def palette(self) -> Any:
        """The colours as a tuple of keys, empty for a set without colours; None for ordered points."""
        return () if self.colours is UNCOLOURED else self.colours

    def measure(self, inputs: Tree, at: Layout) -> Measure:
        """One coset."""
        found = self.inner.measure(inputs, at)
        if not self.detach:
            return found
        from dataclasses import replace

        from ..tree import tree_map

        return replace(found, elements=tree_map(lambda leaf: leaf.detach(), found.elements))

    def arguments(self) -> tuple[str, ...]:
        """Options that differ from their defaults."""
        given = [f"of={self.of!r}"] if self.of is not None else []
        given += [f"colours={self.colours!r}"] if self.colours is not None else []
        given += [f"tol={self.tol}"] if self.tol != 1e-4 else []
        return tuple(given + (["detach=True"] if self.detach else []))


@dataclass(frozen=True)
class Construction:
    """One way to build a minimal frame: which groups it knows, whether it takes colours, and how it is built."""

    knows: Callable[[Group], bool]
    build: Callable[[Minimal, Group], Frame]
    colours: bool = False


def _rigid(frame: Minimal, group: Group) -> Frame:
    """Ordered or unordered points under O(d), SO(d), E(d), SE(d)."""
    leaves = frame.source.items().values()  # type: ignore[union-attr]
    if not any(leaf.polar for leaf in leaves):
        raise FrameError(
            explain(
                f"{frame} of inputs {frame.source}",
                "points or vectors",
                "declare them as Points or Vectors, or use frames.Quadrature(degree)",
            )
        )
    if group.translates and not any(leaf.affine for leaf in leaves):
        raise FrameError(
            explain(f"{frame} of inputs {frame.source} under {group}", "positions, which translations move", "declare them as Points")
        )
    if frame.colours is None:
        return OrderedMinimal(frame.of, frame.tol)
    return UnorderedMinimal(frame.of, frame.palette, frame.tol)


def _with_permutations(frame: Minimal, group: Group) -> Frame:
    """A set of points: the frame of unordered points, then a sort (or a canonical label) in the canonical pose."""
    return Chain(Minimal(frame.of, UNCOLOURED if frame.colours is None else frame.colours, frame.tol), order_nodes(frame.source))  # type: ignore[arg-type]


CONSTRUCTIONS = (
    Construction(lambda g: g.permutes and (g.orthogonal or g.lorentzian or g.stretches), _with_permutations, colours=True),
    Construction(lambda g: g.permutes and g.rescales, lambda f, g: Chain(Minimal(f.of), order_nodes(f.source))),  # type: ignore[arg-type]
    Construction(lambda g: g.orthogonal, _rigid, colours=True),
    Construction(lambda g: g.lorentzian, lambda f, g: LorentzMinimal(f.of, f.palette, f.tol), colours=True),
    Construction(lambda g: g.stretches, lambda f, g: WhitenedMinimal(f.of, f.palette, f.tol), colours=True),
    Construction(lambda g: g.unitary and not g.permutes, lambda f, g: UnitaryMinimal(f.of, f.tol)),
    Construction(lambda g: g.rescales and not g.permutes, lambda f, g: NormMinimal(f.of)),
    Construction(lambda g: g.permutes and g.dim is None and not g.translates, lambda f, g: order_nodes(f.source, f.of)),  # type: ignore[arg-type]
    Construction(lambda g: g.translates and g.lie_dimension == g.dim, lambda f, g: Center(f.of)),
)
"""In order: the first one that knows a group builds its frame."""


def construction(group: Group) -> Construction | None:
    """The construction for a group, or None."""
    return next((one for one in CONSTRUCTIONS if one.knows(group)), None)
