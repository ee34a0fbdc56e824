"""PyTorch Geometric: canonical ``Data`` and ``Batch`` objects, a transform, and permutation symmetry around graph networks."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

import coset

from .. import actions, frames, groups
from ..errors import InputError, describe, explain, require_extra

try:
    from torch_geometric.data import Data
    from torch_geometric.transforms import BaseTransform
except ImportError as error:
    raise require_extra("torch_geometric", "graphs") from error

from ._encodings import CanonicalEigenvectors, normalized_laplacian

__all__ = ["CanonicalEigenvectors", "CanonicalOrder", "OnData", "attributes", "canonical", "gather", "normalized_laplacian", "source"]

S = groups.Symmetric()


def source(nodes: Iterable[str] = ("x",), edges: Iterable[str] = (), batch: bool = True) -> actions.Dict:
    """How permutations of nodes move what a graph network takes: the source of a signature.

    Args:
        nodes: names of inputs with one row per node.
        edges: names of inputs with one row per edge.
        batch: whether the network takes the ``batch`` index; without it all nodes are one graph.

    Example:
        >>> import coset, torch
        >>> from coset import actions, groups
        >>> from coset.interop import pyg
        >>> S = groups.Symmetric()
        >>> net = lambda x, edge_index: x.cumsum(0)  # depends on the order of nodes
        >>> model = coset.symmetrize(net, pyg.source(batch=False) >> actions.Nodes(S))
        >>> ring = torch.tensor([[0, 1, 2, 1, 2, 0], [1, 2, 0, 0, 1, 2]])
        >>> model(x=torch.ones(3, 1), edge_index=ring).flatten()
        tensor([2., 2., 2.])
    """
    entries: dict[str, actions.Action] = {key: actions.Nodes(S) for key in names(nodes)}
    entries["edge_index"] = actions.Edges(S)
    entries |= {key: actions.Trivial(S, edges="edge_index") for key in names(edges)}
    return actions.Dict(entries | {"batch": actions.BatchIndex(S)} if batch else entries)


def names(given: Iterable[str]) -> list[str]:
    """A name by itself is one name, not its letters."""
    return [given] if isinstance(given, str) else list(given)


def canonical(data: Data, *, of: Iterable[str] | None = None, frame: frames.Relabel | None = None) -> Data:
    """The same graphs with their nodes and edges in canonical order: equal for isomorphic graphs.

    Node attributes are permuted, ``edge_index`` is relabelled and sorted, edge attributes follow their edges, graph
    attributes stay. Nodes keep to their graph, so a ``Batch`` can still be taken apart.

    Args:
        data: a ``Data`` or ``Batch`` object.
        of: names of the node and edge attributes that tell nodes and edges apart; all of them when left out. Others
            only follow.
        frame: options of the labelling, for instance ``frames.Relabel(tol=1e-3)``.

    Raises:
        InputError: without an ``edge_index``, or when it does not fit.

    Example:
        >>> import torch
        >>> from torch_geometric.data import Data
        >>> from coset.interop import pyg
        >>> one = Data(x=torch.tensor([[1.0], [0.0]]), edge_index=torch.tensor([[0], [1]]))
        >>> two = Data(x=torch.tensor([[0.0], [1.0]]), edge_index=torch.tensor([[1], [0]]))
        >>> torch.equal(pyg.canonical(one).edge_index, pyg.canonical(two).edge_index)
        True
    """
    nodes, edges = attributes(data)
    seen = [*nodes, *edges] if of is None else names(of)
    unknown = [key for key in seen if key not in nodes and key not in edges]
    if unknown:
        raise InputError(explain(f"of={unknown}", f"some of the attributes {[*nodes, *edges]}", "name node or edge attributes"))
    whole = source([*nodes, ROWS], edges)
    part = source([*(key for key in nodes if key in seen), ROWS], [key for key in edges if key in seen])
    inputs = gather(data, nodes, edges)
    measure = (frame or frames.Relabel()).bind(part)({key: inputs[key] for key in part.entries})
    found = whole.act(measure.group.inverse(measure.elements[0]), inputs)
    order = measure.orbits.edges
    new = copy.copy(data)
    for key in nodes:
        new[key] = found[key]
    new["edge_index"] = found["edge_index"][:, order]
    for key in edges:
        new[key] = found[key][order]
    return new


ROWS = "rows"
"""An input with one zero per node, so that graphs without node attributes have nodes too."""


def attributes(data: Data) -> tuple[list[str], list[str]]:
    """The names of node attributes and of edge attributes that are tensors, without ``edge_index`` and ``batch``."""
    if not isinstance(data, Data) or data.edge_index is None:
        what = describe(data) if not isinstance(data, Data) else f"{data} without edge_index"
        raise InputError(explain(what, "a homogeneous Data or Batch object with edge_index", "convert it, for instance with ToUndirected"))
    names = [key for key, value in data.to_dict().items() if isinstance(value, Tensor) and key not in ("edge_index", "batch", "ptr")]
    edges = [key for key in names if data.is_edge_attr(key)]
    return [key for key in names if data.is_node_attr(key) and key not in edges], edges


def gather(data: Data, nodes: Iterable[str], edges: Iterable[str]) -> dict[str, Tensor]:
    """The inputs of :func:`source` out of a data object."""
    batch = getattr(data, "batch", None)
    zeros = torch.zeros(int(data.num_nodes or 0), dtype=torch.long, device=data.edge_index.device)  # type: ignore[union-attr]
    found = {key: data[key] for key in (*nodes, "edge_index", *edges)}
    return {**found, ROWS: zeros, "batch": zeros if batch is None else batch}


class CanonicalOrder(BaseTransform):
    """A transform that puts nodes and edges in canonical order, for use as ``pre_transform``.

    Args:
        of: as for :func:`canonical`.
        frame: as for :func:`canonical`.

    Example:
        >>> from coset.interop import pyg
        >>> pyg.CanonicalOrder(of=["x"])
        CanonicalOrder(of=['x'])
    """

    def __init__(self, of: Iterable[str] | None = None, frame: frames.Relabel | None = None):
        self.of, self.frame = None if of is None else names(of), frame

    def forward(self, data: Data) -> Data:
        """The data in canonical order."""
        return canonical(data, of=self.of, frame=self.frame)

    def __repr__(self) -> str:
        given = [f"of={self.of}"] if self.of is not None else []
        return f"CanonicalOrder({', '.join(given + ([f'frame={self.frame}'] if self.frame is not None else []))})"


class _OnData(nn.Module):
    """A module on data objects, called with tensors that replace those of a template."""

    def __init__(self, model: Callable[[Data], Any]):
        super().__init__()
        self.model = model

    def forward(self, template: Data, **tensors: Tensor) -> Any:
        new = copy.copy(template)
        for key, value in tensors.items():
            if key != ROWS and (key != "batch" or getattr(template, "batch", None) is not None):
                new[key] = value
        return self.model(new)


class OnData(nn.Module):
    """Permutation symmetry around a module whose ``forward`` takes a ``Data`` or ``Batch`` object.

    Attributes that are not named reach the module as they are.

    Args:
        model: the module.
        target: how permutations move its output: ``actions.Trivial(S)`` per graph, ``actions.Nodes(S)`` per node,
            ``actions.Trivial(S, edges="edge_index")`` per edge, or a ``Dict`` of them, with ``S = groups.Symmetric()``.
        nodes: names of the node attributes that it reads.
        edges: names of the edge attributes that it reads.
        frame: ``frames.Relabel()`` when left out.

    Example:
        >>> import torch
        >>> from torch_geometric.data import Data
        >>> from coset import actions, groups
        >>> from coset.interop import pyg
        >>> model = pyg.OnData(lambda data: data.x.cumsum(0), actions.Nodes(groups.Symmetric()))
        >>> pair = Data(x=torch.ones(2, 1), edge_index=torch.tensor([[0, 1], [1, 0]]))
        >>> model(pair).flatten()
        tensor([1.5000, 1.5000])
    """

    def __init__(
        self,
        model: Callable[[Data], Any],
        target: actions.Action,
        nodes: Iterable[str] = ("x",),
        edges: Iterable[str] = (),
        frame: frames.Frame | None = None,
    ):
        super().__init__()
        self.nodes, self.edges = tuple(names(nodes)), tuple(names(edges))
        whole = actions.Dict({**source([*self.nodes, ROWS], self.edges).entries, "template": actions.Ignore(S)})
        self.symmetrized = coset.symmetrize(_OnData(model), whole >> target, frame)

    def forward(self, data: Data) -> Any:
        """Call the symmetrized module."""
        attributes(data)
        missing = [key for key in (*self.nodes, *self.edges) if data.get(key) is None]
        if missing:
            raise InputError(explain(f"{data} without {missing}", "the attributes named in OnData", "name those that the module reads"))
        return self.symmetrized(template=data, **gather(data, self.nodes, self.edges))
