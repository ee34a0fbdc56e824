"""The canonical form of one graph, with its automorphism group: a function for those who want no frame."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Int, Shaped
from torch import Tensor

from ..actions.indices import Permute
from ..actions.trees import Dict
from ..errors import InputError, describe, explain
from ..groups.symmetric import Symmetric
from ..orbits import tuple_orbits
from .relabel import Relabel


@dataclass(frozen=True)
class CanonicalGraph:
    """A graph in canonical order; isomorphic graphs have equal ``adjacency`` and ``features``.

    Attributes:
        adjacency: (n, n) or (..., n, n), relabelled.
        features: (n, ...), relabelled, or None.
        order: (n,) the input node at each canonical place.
        orbits: (n,) the smallest input node that an automorphism sends each input node to.
        generators: (k, n) automorphisms of the input graph: node i goes to ``generators[:, i]``.
        size: the number of automorphisms, to 15 digits, at most 2^63 - 1.
    """

    adjacency: Shaped[Tensor, "*channels n n"]
    features: Shaped[Tensor, "n ..."] | None
    order: Int[Tensor, " n"]
    orbits: Int[Tensor, " n"]
    generators: Int[Tensor, "k n"]
    size: int


def canonical_graph(adjacency: Tensor, features: Tensor | None = None, *, frame: Relabel | None = None) -> CanonicalGraph:
    """Relabel a graph canonically.

    Args:
        adjacency: (n, n), or (..., n, n) with channels in front; any numbers, directed or not, with or without loops.
        features: (n,) or (n, c) numbers that tell nodes apart.
        frame: options, for instance ``frames.Relabel(symmetric=True)``.

    Raises:
        InputError: for other shapes, NaN, or a graph that is too large.
        MissingExtraError: when pynauty is needed and not installed.

    Example:
        >>> import torch
        >>> from coset import frames
        >>> path = torch.tensor([[0, 1, 0], [1, 0, 1], [0, 1, 0]])
        >>> found = frames.canonical_graph(path)
        >>> found.orbits, found.size
        (tensor([0, 1, 0]), 2)
        >>> other = frames.canonical_graph(path[[1, 0, 2]][:, [1, 0, 2]])
        >>> torch.equal(found.adjacency, other.adjacency)
        True
    """
    if not isinstance(adjacency, Tensor) or adjacency.dim() < 2 or adjacency.shape[-1] != adjacency.shape[-2]:
        raise InputError(
            explain(f"adjacency {describe(adjacency)}", "a square matrix (n, n)", "pass one graph, for a batch use frames.Relabel")
        )
    group = Symmetric()
    source, inputs = Dict(adjacency=Permute(group, -2, -1)), {"adjacency": adjacency[None]}
    if features is not None:
        if not isinstance(features, Tensor) or features.dim() < 1 or features.shape[0] != adjacency.shape[-1]:
            raise InputError(explain(f"features {describe(features)}", f"({adjacency.shape[-1]}, ...)", "give one row per node"))
        source, inputs = Dict(source.entries, features=Permute(group, -features.dim())), {**inputs, "features": features[None]}
    measure = (frame or Relabel()).bind(source)(inputs)
    order = measure.elements[0, 0]
    moved = source.act(group.inverse(measure.elements[0]), inputs)
    inside = torch.from_numpy(measure.orbits.generators[0])
    places = torch.from_numpy(tuple_orbits(measure.orbits.generators[0], 1)).to(order.device)
    smallest = torch.full_like(order, len(order)).scatter_reduce(0, places, order, "amin")
    host = order.cpu()
    return CanonicalGraph(
        moved["adjacency"][0],
        moved["features"][0] if features is not None else None,
        order,
        torch.empty_like(order).index_copy(0, order, smallest[places]),
        torch.empty_like(inside).index_copy(1, host, host[inside]).to(order.device),
        int(measure.order[0]),
    )
