"""The minimal frame of S_n on graphs: nodes in canonical order, one model call, automorphisms as orbits."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..actions.base import Action
from ..actions.indices import Edges, PointMask
from ..actions.layout import Layout
from ..actions.nodes import Nodes
from ..actions.still import Trivial
from ..actions.trees import flatten
from ..errors import FrameError, InputError, describe, explain
from ..groups.base import Group
from ..measure import Measure
from ..orbits import Orbits, on_edges
from ..tree import Tree
from .base import Frame, device_of, ordered_leaves, refuse_traced
from .colouring import dense_graph, sparse_graph, table
from .labelling import LARGEST, Canonical, canonical, label_graph
from .ragged import Split, edge_list
from .refinement import Coloured
from .sort import Sort


class Relabel(Frame):
    """Put the nodes of graphs in canonical order: exact for S_n with one model call, on every graph.

    Graphs are dense (``Permute(G, -2, -1)``, with channels in front, weights, directions, loops, a ``PointMask`` for
    padding) or ragged (``Edges``, ``Nodes``, a ``BatchIndex``, edge attributes; the edges enter the model in canonical
    order too). Everything that the group permutes is seen: node features are colours, weights and edge attributes are
    labels. Automorphisms are never listed: outputs per node, per pair or per edge are averaged over orbits.

    Numbers that differ by less than ``tol`` of themselves, or by rounding noise, count as equal; then canonical inputs
    agree up to that tolerance, and equivariance still holds to rounding. A dense number that is zero up to rounding
    noise of the largest is no edge. The host computes the labels, one graph after the other.

    Args:
        of: key (or keys) of the inputs that decide the order first; the others refine it.
        symmetric: True promises undirected graphs and refuses any other; otherwise directions are read from the data.
        tol: relative tolerance of float features and weights.
        largest: how many vertices nauty may be given, nodes times layers of edge labels. Memory grows with its square;
            time is milliseconds for most graphs, but exponential for some families of regular graphs (Hadamard
            matrices, projective planes, Cai-Fürer-Immerman graphs over large expanders), and a call of nauty cannot be interrupted.

    Reference: Lin et al. 2024, arXiv 2406.07598; McKay and Piperno 2014, Practical graph isomorphism II.

    Example:
        >>> import torch
        >>> from coset import actions, frames, groups
        >>> S = groups.Symmetric()
        >>> ring = torch.eye(6).roll(1, 0) + torch.eye(6).roll(-1, 0)
        >>> frames.Relabel().bind(actions.Permute(S, -2, -1))(ring[None]).order
        tensor([12])
    """

    references = ("lin2024minimal", "mckay2014practical")
    static = False
    sorts = True

    def __init__(self, of: Any = None, symmetric: bool = False, tol: float = 1e-6, largest: int = LARGEST):
        super().__init__()
        if not isinstance(symmetric, bool):
            raise FrameError(explain(f"Relabel(symmetric={symmetric!r})", "True or False", "leave it out to read directions from the data"))
        if not isinstance(tol, (int, float)) or not 0 <= tol < 0.5:
            raise FrameError(explain(f"Relabel(tol={tol!r})", "a relative tolerance between 0 and 0.5", "pass for instance tol=1e-6"))
        if not isinstance(largest, int) or largest < 1:
            raise FrameError(explain(f"Relabel(largest={largest!r})", "a positive number of vertices", f"leave it at {LARGEST}"))
        self.of, self.symmetric, self.tol, self.largest = of, symmetric, float(tol), largest

    def prepare(self, group: Group) -> None:
        """Refuse groups other than S_n, and inputs that are no graphs."""
        if not group.permutes or group.selective or group.dim is not None or group.translates:
            remedy = "use frames.Minimal(), frames.Chain for a product, or frames.Full() for a finite group of some permutations"
            raise FrameError(explain(f"{self} on {group}", "the symmetric group", remedy))
        leaves = {key: leaf.core() for key, leaf in self.source.items().items()}  # type: ignore[union-attr]
        if not any(leaf.permuted >= 2 or isinstance(leaf, (Edges, Nodes)) for leaf in leaves.values()):
            raise FrameError(
                explain(f"{self} of inputs {self.source}", "an adjacency matrix or an edge list", "use frames.Sort() for sets")
            )
        much = [key for key, leaf in leaves.items() if leaf.permuted > 2]
        if much:
            raise FrameError(
                explain(
                    f"{self} of inputs {much} with three or more permuted axes", "features of nodes and pairs", "use frames.Haar(samples)"
                )
            )
        self._ragged = any(isinstance(leaf, (Nodes, Edges)) for leaf in leaves.values())
        dense = [key for key, leaf in leaves.items() if leaf.permuted and not isinstance(leaf, (Nodes, Edges))]
        if self._ragged and dense:
            raise FrameError(
                explain(
                    f"{self} of an edge list or ragged nodes beside the dense inputs {dense}",
                    "one kind of graph",
                    "declare actions.Nodes for node features (N, c) beside Edges, or use adjacency matrices",
                )
            )

    def measure(self, inputs: Tree, at: Layout) -> Measure:
        """The canonical order, one element, and the orbits of the automorphisms."""
        refuse_traced(self, inputs)
        return self._ragged_measure(inputs, at) if self._ragged else self._dense_measure(inputs, at)

    # -- dense -------------------------------------------------------------------------------------------------

    def _dense_measure(self, inputs: Tree, at: Layout) -> Measure:
        found = [(action, x) for _, action, x, _ in ordered_leaves(self, inputs) if not isinstance(action.core(), PointMask)]
        self._refuse_trivial(inputs, found)
        nodes = [(_by_sample(action, x, 1), action.polar) for action, x in found if len(action.point_axes(x)) == 1]
        pairs = [_by_sample(action, x, 2) for action, x in found if len(action.point_axes(x)) == 2]
        samples, n = (pairs + [x for x, _ in nodes])[0].shape[:2]
        mask = at.mask.cpu().numpy() if at.mask is not None else np.ones((samples, n), dtype=bool)
        node_tables, pair_tables = [table(x.flatten(0, 1), polar) for x, polar in nodes], [table(x.flatten(0, 2)) for x in pairs]
        noise = at.noise.tolist() if at.noise is not None else [0.0] * samples
        orders, orbits, done = [], [], []
        for b in range(samples):
            real = np.flatnonzero(mask[b])
            inside = (b * n * n + real[:, None] * n + real).ravel()
            whole = slice(b * n * n, (b + 1) * n * n) if len(real) == n else inside
            tables = [one.rows(b * n + real) for one in node_tables], [one.rows(whole) for one in pair_tables]
            graph, _ = dense_graph(*tables, len(real), self.tol, noise[b])
            one = self._label(graph, b)
            done.append(one)
            orders.append(np.concatenate([real[one.order], np.flatnonzero(~mask[b])]))
            orbits.append(np.concatenate([one.generators, np.tile(np.arange(len(real), n), (len(one.generators), 1))], 1))
        valid = None if at.mask is None else at.mask.gather(1, torch.from_numpy(np.stack(orders)).to(at.mask.device))
        forms = tuple(one.form for one in done)
        return self._one_element(orders, [one.size for one in done], Orbits(tuple(orbits), valid=valid, forms=forms), device_of(inputs))

    def _refuse_trivial(self, inputs: Tree, found: list[tuple[Action, Tensor]]) -> None:
        """Features per node that were declared not to move with their nodes are a mistake."""
        n = next(x.shape[action.point_axes(x)[0]] for action, x in found)
        for key, (action, x) in flatten(self.source, inputs).items():  # type: ignore[arg-type]
            still = isinstance(action.core(), Trivial) and isinstance(x, Tensor) and action.per_point is not False
            if still and x.dim() > 1 and x.shape[1] == n > 1:
                raise InputError(
                    explain(
                        f"input {key!r}, {describe(x)}, declared Trivial beside graphs of {n} nodes",
                        "node features that move with their nodes",
                        f"declare actions.Permute(group, {1 - x.dim()}), or Trivial(group, points=False) if it is not per node",
                    )
                )

    # -- ragged ------------------------------------------------------------------------------------------------

    def _ragged_measure(self, inputs: Tree, at: Layout) -> Measure:
        leaves = flatten(self.source, inputs)  # type: ignore[arg-type]
        edges, batch = edge_list(leaves, at), at.batch.cpu().numpy()  # type: ignore[union-attr]
        rows, listed = Split.of(batch, at.samples), Split.of(batch[edges[0]], at.samples)
        slot, largest = rows.slots(), int(np.diff(rows.starts).max(initial=1))
        nodes = [table(x) for _, action, x, _ in ordered_leaves(self, inputs) if isinstance(action.core(), Nodes)]
        attributes = [table(x) for _, (action, x) in leaves.items() if isinstance(x, Tensor) and on_edges(action, x, at)]
        found, kinds, places, new = [], [], [], np.empty_like(slot)
        for b in range(at.samples):
            mine, here = rows[b], listed[b]
            one, two = slot[edges[0][here]], slot[edges[1][here]]
            graph, kind = sparse_graph([x.rows(mine) for x in nodes], one, two, [x.rows(here) for x in attributes], len(mine), self.tol)
            found.append(self._label(graph, b))
            back = np.argsort(found[-1].order)
            new[mine] = mine[back]
            order = np.argsort((back[one] * len(mine) + back[two]) * (int(kind.max(initial=0)) + 1) + kind, kind="stable")
            places.append(here[order])
            kinds.append(kind[order])
        place = np.concatenate(places)
        orbits = Orbits(
            tuple(one.generators for one in found),
            batch=at.batch,
            pairs=torch.from_numpy(new[edges][:, place]),
            kinds=torch.from_numpy(np.concatenate(kinds)),
            edges=torch.from_numpy(place).to(device_of(inputs)),
            forms=tuple(one.form for one in found),
        )
        orders = [np.concatenate([one.order, np.arange(len(one.order), largest)]) for one in found]
        return self._one_element(orders, [one.size for one in found], orbits, device_of(inputs))

    # -- both --------------------------------------------------------------------------------------------------

    def _label(self, graph: Coloured, sample: int) -> Canonical:
        """The label of one graph, and what identifies its canonical form."""
        if graph.directed and self.symmetric:
            raise InputError(
                explain(
                    f"asymmetric adjacency in sample {sample}, where symmetric=True promises undirected graphs",
                    "a symmetric matrix, or edges in both directions with equal attributes",
                    "symmetrize it (A + A.mT), list both directions, or leave symmetric out",
                )
            )
        return canonical(graph, label_graph(graph, self.largest))

    def _one_element(self, orders: list[Any], sizes: list[int], orbits: Orbits, device: torch.device) -> Measure:
        elements = torch.from_numpy(np.stack(orders)).to(device).unsqueeze(0)
        weights = torch.ones(1, len(orders), device=device, dtype=torch.float64 if device.type != "mps" else torch.float32)
        order = torch.tensor(sizes, dtype=torch.long, device=device)
        return Measure(self.group, elements, weights, order, cosets=1, orbits=orbits, tol=self.tol)

    def arguments(self) -> tuple[str, ...]:
        """Options that differ from their defaults."""
        given = [f"of={self.of!r}"] if self.of is not None else []
        given += ["symmetric=True"] if self.symmetric else []
        given += [f"tol={self.tol}"] if self.tol != 1e-6 else []
        return tuple(given + ([f"largest={self.largest}"] if self.largest != LARGEST else []))


def _by_sample(action: Action, x: Tensor, axes: int) -> Tensor:
    """Permuted axes first: (B, n, ...) or (B, n, n, ...)."""
    return x.movedim(action.point_axes(x), tuple(range(1, axes + 1)))


def order_nodes(source: Action, of: Any = None) -> Frame:
    """The minimal frame of S_n for inputs: canonical labels where there is a graph, a sort of rows where there is none."""
    cores = [leaf.core() for leaf in source.items().values()]
    graph = any(core.permuted > 1 or isinstance(core, (Edges, Nodes)) for core in cores)
    return Relabel(of) if graph else Sort(of)
