"""Minimal frames: exactly one coset of the input's stabilizer, so one model call, at symmetric inputs too."""

from __future__ import annotations

from typing import Any

from ..actions.layout import Layout
from ..errors import FrameError, explain
from ..groups.base import Group
from ..measure import Measure
from ..tree import Tree
from .base import Frame
from .center import Center
from .chain import Chain
from .ordered import OrderedMinimal
from .sort import Sort
from .unordered import UnorderedMinimal


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
    - The product of one of them with S_n: the frame of unordered points, then a sort in the canonical pose.
    - S_n on rows: lexicographic sort. Translations: the centroid.

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
        if group.orthogonal and not group.permutes:
            if not any(leaf.polar for leaf in self.source.items().values()):  # type: ignore[union-attr]
                raise FrameError(
                    explain(
                        f"{self} of inputs {self.source}",
                        "points or vectors",
                        "declare them as Points or Vectors, or use frames.Quadrature(degree)",
                    )
                )
            if group.translates and not any(leaf.affine for leaf in self.source.items().values()):  # type: ignore[union-attr]
                raise FrameError(
                    explain(f"{self} of inputs {self.source} under {group}", "positions, which translations move", "declare them as Points")
                )
            if self.colours is None:
                return OrderedMinimal(self.of, self.tol)
            return UnorderedMinimal(self.of, () if self.colours is UNCOLOURED else self.colours, self.tol)
        if group.orthogonal and group.permutes:
            colours = UNCOLOURED if self.colours is None else self.colours
            return Chain(Minimal(self.of, colours, self.tol), Sort())
        if self.colours is not None:
            raise FrameError(explain(f"{self} on {group}", "O(d), SO(d), E(d) or SE(d) for coloured clouds", "leave colours out"))
        if group.permutes and group.dim is None and not group.translates:
            return Sort(self.of)
        if group.translates and group.lie_dimension == group.dim:
            return Center(self.of)
        raise FrameError(
            explain(
                f"{self} on {group}",
                "O(d), SO(d), E(d), SE(d) on points, products with S_n, S_n on rows, or translations",
                "use frames.Full() for finite groups, frames.Chain(…) for products, frames.Haar(samples) for other compact groups",
            )
        )

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
