"""What moves: the verbs that every group has, and the facts that actions and frames read off it.

Elements are plain trees of tensors with leading batch axes; only the verbs of their group touch them.
"""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..errors import GroupError, explain
from ..tree import Tree, first, tree_map
from .numeric import Device, Dtype, integers, place

if TYPE_CHECKING:
    from .maps import Homomorphism
    from .products import Product

__all__ = ["Compact", "Device", "Dtype", "Finite", "Group", "batch_shape"]


class Group(abc.ABC):
    """A group: binds its parameters at construction and holds no data.

    Two groups are equal when they have the same class and the same parameters.

    Facts (class attributes or properties):
        dim: the dimension d of the space that :meth:`matrix` acts on, or None (a permutation group has none).
        compact: whether a Haar probability measure exists.
        finite: whether :meth:`Finite.elements` can list it.
        orthogonal: its linear part is all of O(d) or SO(d).
        reflects: some linear part has determinant -1.
        translates: it contains all translations of R^d.
        permutes: its elements permute indices (see :meth:`permutation`).
        selective: its permutations are not all of those of n things, so that sorting is no frame for it.
        complex: its matrices are complex.
        unitary: it is all of U(d) or SU(d).
        lorentzian: it keeps the metric (+, -, ..., -), time first, and contains all boosts and rotations of space.
        stretches: its linear part contains all of SL(d).
        rescales: it contains all positive multiples of the identity.
        lie_dimension: the number of one-parameter directions, 0 for a discrete group.
    """

    dim: int | None = None
    compact: bool = False
    finite: bool = False
    orthogonal: bool = False
    reflects: bool = False
    translates: bool = False
    permutes: bool = False
    selective: bool = False
    complex: bool = False
    unitary: bool = False
    lorentzian: bool = False
    stretches: bool = False
    rescales: bool = False
    lie_dimension: int = 0

    # -- the axioms -------------------------------------------------------------------------------------------

    @abc.abstractmethod
    def identity(self, *batch: int, dtype: Dtype = None, device: Device = None) -> Tree:
        """The neutral element, repeated over the batch axes."""

    @abc.abstractmethod
    def compose(self, g: Tree, h: Tree) -> Tree:
        """The product gh: first h, then g. Batch axes broadcast."""

    @abc.abstractmethod
    def inverse(self, g: Tree) -> Tree:
        """The inverse of g."""

    @abc.abstractmethod
    def sample(self, *batch: int, generator: torch.Generator | None = None, dtype: Dtype = None, device: Device = None) -> Tree:
        """Random elements: Haar where the group is compact, else the distribution that its docstring declares."""

    @abc.abstractmethod
    def distance(self, g: Tree, h: Tree) -> Tensor:
        """A number per batch entry that is zero exactly when g equals h, in the units of the element's entries."""

    # -- how the group moves space and indices; actions are built on these --------------------------------------

    def matrix(self, g: Tree, *, dtype: Dtype = None) -> Tensor:
        """The linear part of g, shape (..., d, d).

        Args:
            g: an element.
            dtype: of the result; None keeps the element's own, or the default one where elements are integers.
        """
        raise GroupError(
            explain(f"the group {self}", "a group of matrices", "use an action that fits it, or Pullback a homomorphism to a matrix group")
        )

    def shift(self, g: Tree) -> Tensor | None:
        """The translation part of g, shape (..., d), or None where the group has none."""
        return None

    def permutation(self, g: Tree) -> Tensor | None:
        """The index permutation p of g, shape (..., n), with (g x)[p[i]] = x[i]; None where the group has none."""
        return None

    def batch(self, g: Tree) -> torch.Size:
        """The leading batch axes of an element (or of an algebra element, which is shaped alike)."""
        leaf = first(g)
        return leaf.shape[: leaf.dim() - first(self.identity()).dim()]

    def at(self, n: int) -> Group:
        """This group with a free number of points fixed to n; groups without one return themselves."""
        return self

    # -- averaging: compact groups have haar, finite ones also order, elements and index ----------------------------

    if TYPE_CHECKING:

        @property
        def order(self) -> int:
            """The number of elements."""

        def haar(self, *batch: int, generator: torch.Generator | None = None, dtype: Dtype = None, device: Device = None) -> Tree:
            """Independent Haar-distributed elements."""

        def elements(self, *, dtype: Dtype = None, device: Device = None) -> Tree:
            """All elements, the identity first."""

        def index(self, g: Tree) -> Tensor:
            """The position of g among the elements."""

    # -- Lie structure ----------------------------------------------------------------------------------------

    def algebra(self, *, dtype: Dtype = None, device: Device = None) -> Tree:
        """A basis of the Lie algebra: a tree shaped like an element with leading axis ``lie_dimension``."""
        raise GroupError(explain(f"the group {self}, which is discrete", "a Lie group", "list its elements() or sample() it instead"))

    def exp(self, x: Tree) -> Tree:
        """The group element exp(x) of an algebra element x."""
        raise GroupError(explain(f"the group {self}, which is discrete", "a Lie group", "list its elements() or sample() it instead"))

    def combine(self, coefficients: Tensor) -> Tree:
        """The algebra element with the given coefficients (..., lie_dimension) in the basis :meth:`algebra`."""
        basis = self.algebra(dtype=coefficients.dtype, device=coefficients.device)
        return tree_map(lambda b: torch.tensordot(coefficients.to(b.dtype), b, dims=1), basis)

    # -- parts --------------------------------------------------------------------------------------------------

    def components(self) -> dict[str, Homomorphism]:
        """Named subgroups, each included into this group: what an audit reports line by line."""
        return {}

    def parts(self) -> tuple[Homomorphism, ...]:
        """Subgroups that together make up the group, outermost first: what ``frames.Chain`` fixes in turn."""
        from .maps import identity_map

        return (identity_map(self),)

    # -- identity of groups ---------------------------------------------------------------------------------------

    def parameters(self) -> tuple[Any, ...]:
        """The constructor arguments that define the group."""
        return ()

    def __mul__(self, other: Group) -> Product:
        """The direct product; elements are tuples."""
        from .products import Product

        return Product(self, other)

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.parameters() == other.parameters()  # type: ignore[attr-defined]

    def __hash__(self) -> int:
        return hash((type(self).__name__, self.parameters()))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(repr, self.parameters()))})"


class Compact(Group):
    """A group with a Haar probability measure."""

    compact = True

    @abc.abstractmethod
    def haar(self, *batch: int, generator: torch.Generator | None = None, dtype: Dtype = None, device: Device = None) -> Tree:
        """Independent Haar-distributed elements."""

    def sample(self, *batch: int, generator: torch.Generator | None = None, dtype: Dtype = None, device: Device = None) -> Tree:
        """Independent Haar-distributed elements."""
        return self.haar(*batch, generator=generator, dtype=dtype, device=device)


class Finite(Compact):
    """A group whose elements can be listed."""

    finite = True

    @property
    @abc.abstractmethod
    def order(self) -> int:
        """The number of elements."""

    @abc.abstractmethod
    def elements(self, *, dtype: Dtype = None, device: Device = None) -> Tree:
        """All elements along a leading axis of length ``order``, the identity first."""

    @abc.abstractmethod
    def index(self, g: Tree) -> Tensor:
        """The position of g in :meth:`elements`, an integer tensor of the batch shape."""

    def haar(self, *batch: int, generator: torch.Generator | None = None, dtype: Dtype = None, device: Device = None) -> Tree:
        """Uniform random elements."""
        device = place(generator, device)
        pick = integers(self.order, batch, generator=generator, device=device)
        return tree_map(lambda e: e[pick], self.elements(dtype=dtype, device=device))


def batch_shape(group: Group, g: Tree) -> torch.Size:
    """The leading batch axes of an element."""
    return group.batch(g)
