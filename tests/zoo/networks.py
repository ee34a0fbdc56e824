"""The zoo of equivariant networks: at least three real cases of every public class of ``coset.nn``.

``NETWORKS: dict[type, list[NetworkCase]]``; laws run over ``CASES``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from coset import actions, groups, nn
from coset.actions.base import Action

from .frames import BATCH, LENGTHS, Make, Symmetric, rings, shapes, turned
from .graph_frames import padded_graphs, padded_symmetric, ragged_graphs, ragged_symmetric, symmetric_graphs


def none(generator: torch.Generator, dtype: torch.dtype) -> list[tuple[str, Any]]:
    """No symmetric inputs."""
    return []


@dataclass(frozen=True)
class NetworkCase:
    """One network and its inputs.

    Attributes:
        kind: the class.
        source: how the group moves the inputs.
        make: draws a generic batch, ``make(generator, dtype)``, of the same shapes every time.
        symmetric: named batches of symmetric and degenerate inputs.
        note: what is special, in the name.
        options: further arguments of the class.
        noise: channels of noise.
        tol_scale: how much more than rounding noise its laws may miss.
    """

    kind: type
    source: Action
    make: Make
    symmetric: Symmetric = none
    note: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    noise: int = 1
    tol_scale: float = 1.0

    @property
    def name(self) -> str:
        """How the case is called in test names."""
        words = [f"{key}={value}" for key, value in self.options.items()]
        return " ".join([self.kind.__name__, repr(self.source.group), *words, *([self.note] if self.note else [])])

    def build(self, dtype: torch.dtype, seed: int = 0) -> Any:
        """The network, with weights that follow from the seed."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            example = self.make(torch.Generator().manual_seed(0), dtype)
            return self.kind(self.source, example, noise=self.noise, **self.options).to(dtype)


def product(group: groups.Group) -> groups.Group:
    """Permutations of points, and a matrix group."""
    return groups.Symmetric() * group


def bodies(G: groups.Group, **options: Any) -> actions.Dict:
    """Positions, velocities, charges, a value of each pair, and one of each sample."""
    return actions.Dict(
        pos=actions.Points(G, **options),
        vel=actions.Vectors(G, **options),
        charge=actions.Permute(G, -2) if G.permutes else actions.Trivial(G),
        temperature=actions.Trivial(G),
        **({"pair": actions.Permute(G, -3, -2)} if G.permutes else {}),
    )


def body_data(G: groups.Group, n: int = 5, scale: float = 1.0) -> Make:
    """Random bodies, away from the origin where translations act."""
    d, far = int(G.dim), 3.0 if G.translates else 0.0  # type: ignore[arg-type]

    def make(generator: torch.Generator, dtype: torch.dtype) -> dict[str, Tensor]:
        normal = partial(torch.randn, generator=generator, dtype=dtype.to_complex() if G.complex else dtype)
        real = partial(torch.randn, generator=generator, dtype=dtype)
        x = {
            "pos": scale * normal(BATCH, n, d) + far,
            "vel": normal(BATCH, n, d),
            "charge": real(BATCH, n, 1),
            "temperature": real(BATCH, 2),
        }
        return x | ({"pair": real(BATCH, n, n, 2)} if G.permutes else {})

    return make


def body_shapes(G: groups.Group) -> Symmetric:
    """Symmetric clouds with equal charges; velocities are zero, or follow the positions."""

    def make(generator: torch.Generator, dtype: torch.dtype) -> list[tuple[str, Any]]:
        found = []
        for name, cloud in shapes(int(G.dim)).items():  # type: ignore[arg-type]
            turn = next((factor for factor in getattr(G, "factors", (G,)) if factor.dim), G)
            pos = turned(cloud, turn, generator, dtype)
            n = pos.shape[1]
            x = {"pos": pos, "vel": torch.zeros_like(pos), "charge": torch.ones(2, n, 1, dtype=dtype)}
            x |= {"temperature": torch.zeros(2, 2, dtype=dtype)}
            x |= {"pair": torch.ones(2, n, n, 2, dtype=dtype)} if G.permutes else {}
            found.append((name, x))
            found.append((f"{name}, moving", {**x, "vel": pos - pos.mean(1, keepdim=True)}))
        return found

    return make


def padded_bodies(generator: torch.Generator, dtype: torch.dtype) -> dict[str, Tensor]:
    """Clouds of different sizes; what stands on padding is noise that must not matter."""
    n = max(LENGTHS)
    mask = torch.arange(n)[None] < torch.tensor(LENGTHS)[:, None]
    x = body_data(groups.Symmetric() * groups.Euclidean(3), n)(generator, dtype)
    return {**x, "pos": x["pos"] * mask[..., None], "mask": mask}


def ragged_bodies(generator: torch.Generator, dtype: torch.dtype) -> dict[str, Tensor]:
    """Clouds of different sizes one after the other, rows mixed, with edges."""
    batch = torch.arange(BATCH).repeat_interleave(torch.tensor(LENGTHS))
    order = torch.randperm(len(batch), generator=generator)
    edges = torch.argsort(order)[rings(LENGTHS)]
    normal = partial(torch.randn, generator=generator, dtype=dtype)
    return {
        "pos": normal(len(batch), 3) + 3,
        "vel": normal(len(batch), 3),
        "z": torch.randint(3, (len(batch),), generator=generator),
        "batch": batch[order],
        "edge_index": edges,
        "edge_attr": normal(edges.shape[1], 2),
    }


def ragged_body_shapes(generator: torch.Generator, dtype: torch.dtype) -> list[tuple[str, Any]]:
    """Two positions of a shape, one after the other."""
    found = []
    for name, cloud in shapes(3).items():
        pos = turned(cloud, E3, generator, dtype).flatten(0, 1)
        edges = rings((6, 6))
        x = {
            "pos": pos,
            "vel": torch.zeros_like(pos),
            "z": torch.zeros(12, dtype=torch.long),
            "batch": torch.arange(2).repeat_interleave(6),
        }
        found.append((name, {**x, "edge_index": edges, "edge_attr": torch.ones(edges.shape[1], 2, dtype=dtype)}))
    return found


def listed_bodies(generator: torch.Generator, dtype: torch.dtype) -> dict[str, Tensor]:
    """Clouds with the same springs between their points."""
    normal = partial(torch.randn, generator=generator, dtype=dtype)
    edges = torch.tensor([[0, 1, 2, 3, 0], [1, 2, 3, 0, 1]])
    return {"pos": normal(BATCH, 5, 3), "edge_index": edges, "edge_attr": normal(5, 2)}


def momenta(n: int, beside: Callable[..., dict[str, Tensor]] = lambda normal: {}) -> Make:
    """Momenta of particles with different masses."""

    def make(generator: torch.Generator, dtype: torch.dtype) -> dict[str, Tensor]:
        normal = partial(torch.randn, generator=generator, dtype=dtype)
        space, mass = normal(BATCH, n, 3), torch.rand(BATCH, n, 1, generator=generator, dtype=dtype)
        energy = (space.square().sum(-1, keepdim=True) + mass.square()).sqrt()
        return {"p": torch.cat([energy, space], -1), "charge": normal(BATCH, n, 1), **beside(normal)}

    return make


def alike(generator: torch.Generator, dtype: torch.dtype) -> list[tuple[str, Any]]:
    """Particles that are all alike, and two back to back."""
    p = torch.tensor([2.0, 1, 0, 0], dtype=dtype).expand(2, 4, 4).clone()
    q = p.clone()
    q[:, 1::2, 1] *= -1
    charge = torch.ones(2, 4, 1, dtype=dtype)
    return [("alike", {"p": p, "charge": charge}), ("back to back", {"p": q, "charge": charge})]


def drawn(*shape: int, scale: float = 1.0) -> Make:
    """White noise, (BATCH, *shape)."""
    return lambda generator, dtype: scale * torch.randn(BATCH, *shape, generator=generator, dtype=dtype)


S = groups.Symmetric()
O2, O3, SO3, E3, SE2 = (
    groups.Orthogonal(2),
    groups.Orthogonal(3),
    groups.SpecialOrthogonal(3),
    groups.Euclidean(3),
    groups.SpecialEuclidean(2),
)
U2, SU3, L4 = groups.Unitary(2), groups.SpecialUnitary(3), groups.Lorentz(4)
PADDED = product(E3)
RAGGED = actions.Dict(
    pos=actions.Points(E3, batch="batch"),
    vel=actions.Vectors(E3, batch="batch"),
    z=actions.Trivial(E3),
    batch=actions.BatchIndex(E3),
    edge_index=actions.Edges(E3),
    edge_attr=actions.Trivial(E3),
)
LISTED = actions.Dict(pos=actions.Points(O3), edge_index=actions.Edges(O3), edge_attr=actions.Trivial(O3))
PADDED_BODIES = actions.Dict({**bodies(PADDED, mask="mask").entries, "mask": actions.PointMask(PADDED)})


def vector_cases() -> list[NetworkCase]:
    """Vector neurons under every group that keeps an inner product."""
    case = partial(NetworkCase, nn.VectorNeurons)
    found = [
        case(bodies(G), body_data(G), body_shapes(G), options=options)
        for G, options in [
            (product(O3), {}),
            (product(E3), {}),
            (product(SO3), {"layers": 3, "width": 8}),
            (product(groups.SpecialEuclidean(3)), {"neighbours": 2}),
            (product(O2), {}),
            (product(SE2), {"neighbours": 0}),
            (product(groups.Orthogonal(4)), {"neighbours": 3}),
            (O3, {}),
            (SE2, {}),
            (groups.SpecialOrthogonal(2) * S, {}),
            (O3, {"neighbours": 2}),
        ]
    ]
    found += [case(bodies(G), body_data(G), note="complex") for G in (product(U2), product(SU3), U2)]
    found.append(case(bodies(product(U2)), body_data(product(U2)), note="complex", options={"neighbours": 2}))
    found += [
        case(PADDED_BODIES, padded_bodies, note="padded"),
        case(PADDED_BODIES, padded_bodies, note="padded", options={"neighbours": 2}),
        case(PADDED_BODIES, padded_bodies, note="padded", options={"neighbours": 0}),
        case(RAGGED, ragged_bodies, ragged_body_shapes, note="ragged"),
        case(RAGGED, ragged_bodies, ragged_body_shapes, note="ragged", options={"neighbours": 2}),
        case(RAGGED, ragged_bodies, ragged_body_shapes, note="ragged", options={"neighbours": 0}, noise=2),
    ]
    return found + special_cases(case)


def special_cases(case: Any) -> list[NetworkCase]:
    """Space-time, permutations alone, single inputs, many vectors, samples without points, pullbacks."""
    found = []
    for G in (product(L4), product(groups.ProperLorentz(4)), product(groups.SpecialLorentz(4))):
        source = actions.Dict(p=actions.Vectors(G), charge=actions.Permute(G, -2))
        found.append(case(source, momenta(5), alike, tol_scale=30.0))
    one = actions.Dict(p=actions.Vectors(L4, points=False), charge=actions.Trivial(L4))
    found.append(case(one, momenta(5), tol_scale=30.0, note="one sample vector each"))
    SO = product(O3)
    return [
        *found,
        case(actions.Dict(x=actions.Permute(S, -2), pair=actions.Permute(S, -2, -1)), dict_of(x=(5, 2), pair=(5, 5))),
        case(LISTED, listed_bodies, note="one edge list for all samples"),
        case(actions.Points(SO), drawn(6, 3), note="one input"),
        case(actions.Vectors(SO), drawn(4, 5, 3), note="channels in front", noise=2),
        case(actions.Vectors(O3), drawn(3), note="no points", noise=3),
        case(actions.Vectors(O3, points=False), drawn(12, 3), note="many vectors", options={"width": 5}),
        case(actions.Pullback(groups.inclusion(SO3, O3), actions.Points(O3)), drawn(5, 3), note="pulled back"),
        case(actions.Tuple(actions.Points(E3), actions.Points(E3, points=False), actions.Cell(E3)), cells, note="cell", noise=2),
    ]


def cells(generator: torch.Generator, dtype: torch.dtype) -> tuple[Tensor, ...]:
    """Positions, one reference position of the sample, and a cell."""
    normal = partial(torch.randn, generator=generator, dtype=dtype)
    return normal(BATCH, 5, 3) + 3, normal(BATCH, 3) + 3, normal(BATCH, 3, 3)


def dict_of(**shapes: tuple[int, ...]) -> Make:
    """White noise of the given shapes, by key."""

    def make(generator: torch.Generator, dtype: torch.dtype) -> dict[str, Tensor]:
        return {key: torch.randn(BATCH, *shape, generator=generator, dtype=dtype) for key, shape in shapes.items()}

    return make


NODES = actions.Dict(x=actions.Permute(S, -2), adjacency=actions.Permute(S, -2, -1))
GRAPH = actions.Dict(x=actions.Nodes(S), edge_index=actions.Edges(S), edge_attr=actions.Trivial(S), batch=actions.BatchIndex(S))
PADDED_GRAPH = actions.Dict(x=actions.Permute(S, -2), adjacency=actions.Permute(S, -2, -1), mask=actions.PointMask(S))


def one_graph(generator: torch.Generator, dtype: torch.dtype) -> dict[str, Tensor]:
    """A single graph as rows."""
    return {"x": torch.randn(6, 2, generator=generator, dtype=dtype), "edge_index": torch.randint(6, (2, 9), generator=generator)}


def gin_cases() -> list[NetworkCase]:
    """Dense, padded and ragged graphs, with values of nodes, edges and graphs."""
    case = partial(NetworkCase, nn.GIN)
    rich = actions.Dict(
        x=actions.Permute(S, -1), bonds=actions.Permute(S, -3, -2), weight=actions.Permute(S, -2, -1), energy=actions.Trivial(S)
    )
    return [
        case(NODES, dict_of(x=(6, 2), adjacency=(6, 6)), symmetric_graphs(6), note="dense"),
        case(NODES, dict_of(x=(6, 2), adjacency=(2, 6, 6)), note="channels in front", noise=2),
        case(rich, dict_of(x=(5,), bonds=(5, 5, 3), weight=(5, 5), energy=(2,)), note="all kinds", options={"layers": 2, "width": 16}),
        case(PADDED_GRAPH, padded_graphs, padded_symmetric, note="padded"),
        case(GRAPH, ragged_graphs, ragged_symmetric, note="ragged"),
        case(actions.Dict(x=actions.Nodes(S), edge_index=actions.Edges(S)), one_graph, note="one ragged graph"),
        case(actions.Permute(groups.Symmetric(5), -2, -1), drawn(5, 5), note="a matrix alone"),
    ]


def padded_set(generator: torch.Generator, dtype: torch.dtype) -> dict[str, Tensor]:
    """Sets of different sizes."""
    mask = torch.arange(max(LENGTHS))[None] < torch.tensor(LENGTHS)[:, None]
    return {"x": torch.randn(*mask.shape, 3, generator=generator, dtype=dtype) * mask[..., None], "mask": mask}


def ragged_set(generator: torch.Generator, dtype: torch.dtype) -> dict[str, Tensor]:
    """Sets of different sizes as mixed rows."""
    batch = torch.arange(BATCH).repeat_interleave(torch.tensor(LENGTHS))[torch.randperm(sum(LENGTHS), generator=generator)]
    return {"x": torch.randn(len(batch), 3, generator=generator, dtype=dtype), "batch": batch}


def set_cases() -> list[NetworkCase]:
    """Dense, padded and ragged sets."""
    case = partial(NetworkCase, nn.DeepSets)
    equal = lambda generator, dtype: [("equal", torch.ones(2, 6, 3, dtype=dtype)), ("zeros", torch.zeros(2, 6, 3, dtype=dtype))]  # noqa: E731
    two = actions.Dict(x=actions.Permute(S, -1), label=actions.Permute(S, -2), colour=actions.Trivial(S))
    return [
        case(actions.Permute(S, -2), drawn(6, 3), equal, note="rows"),
        case(two, dict_of(x=(6,), label=(6, 2), colour=(3,)), note="several inputs", noise=2),
        case(actions.Dict(x=actions.Permute(S, -2), mask=actions.PointMask(S)), padded_set, note="padded"),
        case(actions.Dict(x=actions.Nodes(S), batch=actions.BatchIndex(S)), ragged_set, note="ragged", options={"layers": 3}),
    ]


NETWORKS: dict[type, list[NetworkCase]] = {nn.VectorNeurons: vector_cases(), nn.GIN: gin_cases(), nn.DeepSets: set_cases()}
CASES = [one for cases in NETWORKS.values() for one in cases]
