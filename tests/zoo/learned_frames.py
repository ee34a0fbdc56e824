"""Cases of learned frames: probabilistic ones and canonicalizers, over every kind of group and input that their networks take."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from coset import actions, frames, groups
from coset.actions.base import Action
from coset.nn import GIN, DeepSets, VectorNeurons
from coset.tree import Tree, leaves, tree_map

from . import networks
from .frames import (
    NODES,
    PER_NODE,
    RAGGED_LAWS,
    FrameCase,
    Make,
    Out,
    S,
    case,
    clouds,
    graphs,
    image,
    symmetric_clouds,
    symmetric_images,
    tied_rows,
    vectors,
    without,
)
from .graph_frames import (
    PADDED_GRAPH,
    RAGGED_GRAPH,
    Flat,
    padded_graphs,
    padded_symmetric,
    ragged_graphs,
    ragged_symmetric,
    symmetric_graphs,
)
from .linear_frames import momenta
from .networks import E3, L4, O2, O3, SE2, SO3, U2, bodies, body_data, body_shapes, product

BOOSTED = 100.0
NEARLY = ("nearly collinear", "nearly collinear, moving")
"""Networks magnify what is nearly zero, so elements at nearly symmetric inputs are known to fewer digits."""


class Either(nn.Module):
    """A network in two precisions with the same weights; the inputs choose."""

    def __init__(self, one: networks.NetworkCase):
        super().__init__()
        self.narrow, self.wide = one.build(torch.float32), one.build(torch.float64)

    def forward(self, inputs: Tree, noise: Tensor | None) -> Any:
        wide = any(leaf.dtype in (torch.float64, torch.complex128) for leaf in leaves(inputs))
        return (self.wide if wide else self.narrow)(inputs, noise)


class Turning(nn.Module):
    """Scores of the elements of a finite group: one function of the turned inputs, plus noise."""

    def __init__(self, source: Action, make: Make):
        super().__init__()
        self.source = source
        count = make(torch.Generator(), torch.float64)[0].numel()
        self.weight = nn.Parameter(torch.randn(count, generator=torch.Generator().manual_seed(3), dtype=torch.float64) / count**0.5)

    def forward(self, inputs: Tensor, noise: Tensor | None) -> Tensor:
        group: Any = self.source.group
        turned = group.inverse(group.elements())
        scores = []
        for number in range(group.order):
            g = tree_map(lambda leaf, i=number: leaf[i : i + 1].expand(inputs.shape[0], *leaf.shape[1:]), turned)
            x = self.source.act(g, inputs).flatten(1)
            scores.append((torch.tanh(x) @ self.weight.to(x.dtype)).sin())
        found = torch.stack(scores, 1)
        return found if noise is None else found + noise


def per_point(G: groups.Group) -> dict[str | None, Out]:
    """A vector per point and an energy."""
    return {
        "forces": Out(actions.Vectors(G, points=True), True, (int(G.dim),)),  # type: ignore[arg-type]
        "energy": Out(actions.Trivial(G), False, (1,)),
    }


def network(kind: type, source: Action, make: Make, noise: int = 1, **options: Any) -> Either:
    """A network for a source."""
    return Either(networks.NetworkCase(kind, source, make, noise=noise, options=options))


def body_cases() -> list[FrameCase]:
    """Clouds with velocities, charges and pairs under products and under matrix groups."""
    found = []
    for G, samples in ((product(O3), 2), (product(E3), 1), (product(SE2), 3), (O3, 2), (SE2, 2)):
        make = body_data(G, 6)
        frame = frames.Probabilistic(network(VectorNeurons, bodies(G), make), samples=samples)
        found.append(case(frame, bodies(G), per_point(G), make, without(body_shapes(G), *NEARLY), "bodies", tol_scale=20.0))
    return found


def shifted(*shape: int) -> Make:
    """Rows that are all different."""
    return lambda generator, dtype: torch.randn(4, *shape, generator=generator, dtype=dtype)


def complex_rows(generator: torch.Generator, dtype: torch.dtype) -> Tensor:
    """Complex vectors."""
    return torch.randn(4, 5, 2, generator=generator, dtype=dtype.to_complex())


def permuting_cases(build: Any) -> list[FrameCase]:
    """Sets and graphs, dense, padded and ragged."""
    rows, of_rows = actions.Permute(S, -2), {None: Out(actions.Permute(S, -2), True, (2,))}
    padded = actions.Dict(nodes=actions.Permute(S, -2), pairs=actions.Permute(S, -2, -1), energy=actions.Trivial(S))
    ragged = actions.Dict(nodes=actions.Nodes(S), energy=actions.Trivial(S))
    dense = [
        case(build(network(kind, source, make)), source, out, make, symmetric, note)
        for kind, source, out, make, symmetric, note in (
            (DeepSets, rows, of_rows, shifted(5, 3), tied_rows(5, 3), "rows"),
            (GIN, NODES, PER_NODE, graphs(5), symmetric_graphs(5), "graphs"),
        )
    ]
    one, two = (build(network(GIN, *kind)) for kind in ((PADDED_GRAPH, padded_graphs), (RAGGED_GRAPH, ragged_graphs)))
    return [
        *dense,
        FrameCase(one, PADDED_GRAPH, padded, padded_graphs, Flat, padded_symmetric, f"{one!r} Symmetric() padded"),
        FrameCase(two, RAGGED_GRAPH, ragged, ragged_graphs, Rows, ragged_symmetric, f"{two!r} Symmetric() ragged", skips=RAGGED_LAWS),
    ]


class Rows(nn.Module):
    """A network that depends on the places of ragged rows, and not on the order of edges; outputs of nodes and graphs."""

    def __init__(self, dtype: torch.dtype):
        super().__init__()
        generator = torch.Generator().manual_seed(4)
        self.one, self.two = (torch.randn(3, 8, generator=generator, dtype=torch.float64).to(dtype) for _ in range(2))
        self.out = torch.randn(8, 2, generator=generator, dtype=torch.float64).to(dtype)

    def forward(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor, batch: Tensor) -> dict[str, Tensor]:
        counts = torch.bincount(batch)
        order = torch.argsort(batch, stable=True)
        place = torch.empty_like(batch)
        place[order] = torch.arange(len(batch)) - (counts.cumsum(0) - counts)[batch[order]]
        own = torch.cat([x, place[:, None].to(x.dtype)], 1)
        message = torch.tanh(own[edge_index[0]] @ self.one) * edge_attr
        h = torch.tanh(own @ self.two + torch.zeros(len(x), 8, dtype=x.dtype).index_add(0, edge_index[1], message))
        pooled = torch.zeros(len(counts), 8, dtype=x.dtype).index_add(0, batch, h)
        return {"nodes": h @ self.out, "energy": pooled.sin().sum(1, keepdim=True)}


def matrix_cases(build: Any) -> list[FrameCase]:
    """Clouds under groups of matrices."""
    found = []
    for G in (groups.SpecialEuclidean(3), O2, E3):
        source, make = actions.Points(G), clouds(int(G.dim))  # type: ignore[arg-type]
        frame = build(network(VectorNeurons, source, make))
        found.append(case(frame, source, vectors(G), make, without(symmetric_clouds(G), *NEARLY), "points", tol_scale=20.0))
    return found


def probabilistic_cases() -> list[FrameCase]:
    """Every kind of group, and what only noise needs."""
    two = lambda net: frames.Probabilistic(net, samples=2)  # noqa: E731
    found = body_cases() + matrix_cases(two) + permuting_cases(two)
    for G in (L4, groups.ProperLorentz(4)):
        source, make = actions.Points(G), momenta(4)
        frame = frames.Probabilistic(network(VectorNeurons, source, make), noise=frames.Normal(), samples=2)
        found.append(case(frame, source, {None: Out(actions.Vectors(G, points=True), True, (4,))}, make, note="momenta", tol_scale=BOOSTED))
    both = product(SO3)
    frame = frames.Probabilistic(network(VectorNeurons, actions.Points(both), clouds(3)), (frames.Argsort(0.01), frames.Polar()))
    found.append(case(frame, actions.Points(both), vectors(both), clouds(3), note="polar", tol_scale=20.0))
    unitary = network(VectorNeurons, actions.Vectors(U2), complex_rows)
    found.append(
        case(frames.Probabilistic(unitary, samples=2), actions.Vectors(U2), {None: Out(actions.Trivial(U2), False, (2,))}, complex_rows)
    )
    for G in (groups.Cyclic(4), groups.Dihedral(4)):
        source = actions.Image(G)
        out = {None: Out(source, False, (2, 4, 4))}
        frame = frames.Probabilistic(Turning(source, image(4)), samples=3)
        found.append(case(frame, source, out, image(4), symmetric_images(4), "images"))
    loose = frames.Probabilistic(network(DeepSets, actions.Permute(S, -2), shifted(5, 3)), samples=4, coupled=False)
    out = {None: Out(actions.Permute(S, -2), True, (2,))}
    found.append(case(loose, actions.Permute(S, -2), out, shifted(5, 3), note="uncoupled", reference=frames.Sort()))
    return found


def canonicalizer_cases() -> list[FrameCase]:
    """The same without noise."""
    found = matrix_cases(frames.Canonicalizer) + permuting_cases(frames.Canonicalizer)
    source = actions.Image(groups.Cyclic(4))
    frame = frames.Canonicalizer(Turning(source, image(4)))
    found.append(case(frame, source, {None: Out(source, False, (2, 4, 4))}, image(4), symmetric_images(4), "images"))
    return found
