"""The zoo of actions that are not images: at least three real cases of each."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from coset import actions, groups
from coset.actions.base import Action

from .cases import ActionCase

BATCH = 4
O3, SO3, E3, SE3 = groups.Orthogonal(3), groups.SpecialOrthogonal(3), groups.Euclidean(3), groups.SpecialEuclidean(3)
O2, C4, D5, S = groups.Orthogonal(2), groups.Cyclic(4), groups.Dihedral(5), groups.Symmetric()
SxE3 = S * E3


def noise(*shape: int) -> Callable[[torch.Generator, torch.dtype], Tensor]:
    """White noise (BATCH, *shape), complex where asked by the dtype of the case."""
    return lambda generator, dtype: torch.randn(BATCH, *shape, generator=generator, dtype=dtype)


def complex_noise(*shape: int) -> Callable[[torch.Generator, torch.dtype], Tensor]:
    """Complex white noise."""
    return lambda generator, dtype: torch.randn(BATCH, *shape, generator=generator, dtype=dtype.to_complex())


def integers(high: int, *shape: int) -> Callable[[torch.Generator, torch.dtype], Tensor]:
    """Integers below ``high``."""
    return lambda generator, dtype: torch.randint(high, (BATCH, *shape), generator=generator)


def case(action: Action, make: Callable[[torch.Generator, torch.dtype], object], note: str = "", **options: object) -> ActionCase:
    """A case that is called like its action."""
    return ActionCase(action, make, f"{action!r}{' ' + note if note else ''}", **options)  # type: ignore[arg-type]


def molecules(ragged: bool) -> Callable[[torch.Generator, torch.dtype], dict[str, Tensor]]:
    """A batch of clouds with velocities and species: ragged with edges, or padded with a mask."""

    def make(generator: torch.Generator, dtype: torch.dtype) -> dict[str, Tensor]:
        if ragged:
            batch = torch.tensor([0, 0, 0, 1, 1, 2, 3, 3, 3, 3])
            pos = torch.randn(10, 3, generator=generator, dtype=dtype)
            edges = torch.tensor([[0, 1, 3, 6, 9], [1, 2, 4, 7, 8]])
            return {
                "pos": pos,
                "v": torch.randn(10, 3, generator=generator, dtype=dtype),
                "z": torch.arange(10) % 3,
                "edges": edges,
                "batch": batch,
            }
        mask = torch.arange(5)[None] < torch.tensor([5, 3, 1, 4])[:, None]
        pos = torch.randn(BATCH, 5, 3, generator=generator, dtype=dtype) * mask[..., None]
        return {"pos": pos, "z": torch.randint(4, (BATCH, 5), generator=generator), "mask": mask}

    return make


RAGGED = actions.Dict(
    pos=actions.Points(E3, batch="batch"),
    v=actions.Vectors(E3),
    z=actions.Trivial(E3),
    edges=actions.Edges(E3),
    batch=actions.BatchIndex(E3),
)
PADDED = actions.Dict(pos=actions.Points(SE3, mask="mask"), z=actions.Trivial(SE3), mask=actions.PointMask(SE3))


def rotation_and_sign(g: Tensor) -> Tensor:
    """A four-dimensional representation of O(3): a vector and its determinant."""
    out = g.new_zeros(*g.shape[:-2], 4, 4)
    out[..., :3, :3] = g
    out[..., 3, 3] = torch.linalg.det(g)
    return out


def doubled_angle(g: Tensor) -> Tensor:
    """SO(2) turning a plane twice as fast."""
    return g @ g


def sign_of(k: Tensor) -> Tensor:
    """The sign representation of Cyclic(2)."""
    return (1.0 - 2.0 * k)[..., None, None]


TURN = groups.to_rotations(groups.Cyclic(5))
LINEAR_PART = groups.linear_part(E3)
NO_COMPILE = {"skips": {"compile": "ragged bookkeeping depends on data", "vmap": "a ragged batch has no batch axis"}}


def ragged_graph(generator: torch.Generator, dtype: torch.dtype) -> dict[str, Tensor]:
    """Three graphs of different sizes whose rows are mixed."""
    batch = torch.tensor([0, 1, 0, 2, 1, 0])
    edges = torch.tensor([[0, 2, 5, 1, 4, 3], [2, 5, 2, 4, 1, 3]])
    return {
        "x": torch.randn(6, 2, generator=generator, dtype=dtype),
        "edge_index": edges,
        "edge_attr": torch.randn(6, 1, generator=generator, dtype=dtype),
        "batch": batch,
    }


NO_VMAP = {"skips": {"vmap": "siblings share one batch axis only outside vmap"}}
ROWS = {"skips": dict.fromkeys(("take", "vmap"), "all rows are one graph, of which there is no batch without a batch index")}
EDGE = {
    "skips": dict.fromkeys(
        ("compose", "inverse", "loop", "broadcast", "take", "vmap", "compile", "linear"),
        "an edge list has no batch axis and is moved by one permutation",
    )
}

LINEAR: dict[type, list[ActionCase]] = {
    actions.Trivial: [
        case(actions.Trivial(O3), noise(5)),
        case(actions.Trivial(C4), integers(9, 4)),
        case(actions.Trivial(groups.Lorentz(4), points=True), noise(6)),
    ],
    actions.Ignore: [
        case(actions.Ignore(O3), noise(2)),
        case(actions.Ignore(C4), integers(3, 2)),
        case(actions.Ignore(groups.Symmetric(4)), noise(2, 2)),
    ],
    actions.Vectors: [
        case(actions.Vectors(O3), noise(3), "one per sample"),
        case(actions.Vectors(SE3), noise(6, 3), "translations leave velocities alone"),
        case(actions.Vectors(D5), noise(2, 3, 2), "two middle axes"),
        case(actions.Vectors(groups.Lorentz(4)), noise(5, 4), tol_scale=300.0),
        case(actions.Vectors(groups.Unitary(3)), complex_noise(2, 3)),
        case(actions.Vectors(SxE3), noise(6, 3), "S_n x E(3)"),
        case(actions.Vectors(groups.Icosahedral(full=True)), noise(4, 3)),
    ],
    actions.Points: [
        case(actions.Points(E3), noise(5, 3), tol_scale=4.0),
        case(actions.Points(groups.Translation(2)), noise(5, 2), tol_scale=4.0),
        case(actions.Points(SxE3), noise(5, 3), "S_n x E(3)", tol_scale=4.0),
        case(actions.Points(groups.Affine(2)), noise(4, 2), tol_scale=300.0),
        case(actions.Points(groups.Scaling(3)), noise(4, 3), tol_scale=16.0),
        case(actions.Points(groups.Octahedral()), noise(4, 3)),
    ],
    actions.Pseudovectors: [
        case(actions.Pseudovectors(O3), noise(3)),
        case(actions.Pseudovectors(E3), noise(4, 3)),
        case(actions.Pseudovectors(groups.Orthogonal(4)), noise(2, 4)),
    ],
    actions.Tensors: [
        case(actions.Tensors(O3, 2), noise(3, 3)),
        case(actions.Tensors(SE3, 3), noise(2, 3, 3, 3)),
        case(actions.Tensors(groups.Dihedral(4), 1), noise(2)),
        case(actions.Tensors(SO3, 0), noise(4)),
        case(actions.Tensors(SxE3, 2), noise(5, 3, 3), "S_n x E(3)"),
    ],
    actions.Irreps: [
        case(actions.Irreps(O3, "2x0e+1x1o+1x2e"), noise(10)),
        case(actions.Irreps(SO3, "1x3e+2x1o"), noise(4, 13), tol_scale=4.0),
        case(actions.Irreps(E3, "0o+1e+2o"), noise(9)),
        case(actions.Irreps(groups.Icosahedral(), "1x4e"), noise(9), tol_scale=8.0),
    ],
    actions.Cell: [
        case(actions.Cell(E3), noise(3, 3)),
        case(actions.Cell(SO3), noise(3, 3)),
        case(actions.Cell(O2), noise(2, 2)),
    ],
    actions.Permute: [
        case(actions.Permute(S, -1), noise(5)),
        case(actions.Permute(S, -2), noise(6, 3), "features"),
        case(actions.Permute(groups.Symmetric(4), -2, -1), noise(4, 4), "adjacency"),
        case(actions.Permute(S, -3, -2), integers(4, 5, 5, 2), "edge features"),
        case(actions.Permute(SxE3, -2), noise(5, 2)),
    ],
    actions.Regular: [
        case(actions.Regular(groups.Cyclic(6)), noise(6)),
        case(actions.Regular(groups.Dihedral(4)), noise(3, 8)),
        case(actions.Regular(groups.Symmetric(3)), noise(6)),
        case(actions.Regular(groups.Tetrahedral()), noise(2, 12)),
    ],
    actions.Matrix: [
        case(actions.Matrix(O3, rotation_and_sign), noise(4), skips={"compile": "linalg.det inside a user's function"}),
        case(actions.Matrix(groups.SpecialOrthogonal(2), doubled_angle), noise(5, 2)),
        case(actions.Matrix(groups.Cyclic(2), sign_of), noise(1)),
    ],
    actions.Nodes: [
        case(actions.Nodes(S), noise(3), **ROWS),
        case(actions.Nodes(S), integers(4), "labels", **ROWS),
        case(actions.Nodes(groups.Symmetric(BATCH)), noise(2, 2), **ROWS),
    ],
    actions.Edges: [
        ActionCase(
            actions.Edges(groups.Orthogonal(3)),
            lambda generator, dtype: torch.randint(4, (2, 4), generator=generator),
            "Edges(O(3))",
            skips=EDGE["skips"],
        ),
        ActionCase(
            actions.Edges(groups.Cyclic(3)),
            lambda generator, dtype: torch.randint(6, (2, 9), generator=generator),
            "Edges(C3)",
            skips=EDGE["skips"],
        ),
        ActionCase(
            actions.Edges(groups.Euclidean(2)),
            lambda generator, dtype: torch.randint(5, (2, 4), generator=generator),
            "Edges(E(2))",
            skips=EDGE["skips"],
        ),
    ],
    actions.BatchIndex: [
        ActionCase(
            actions.BatchIndex(group),
            lambda generator, dtype: torch.tensor([0, 0, 1, 2, 2, 3]),
            f"BatchIndex({group})",
            skips=NO_COMPILE["skips"],
        )
        for group in (O3, E3, C4)
    ],
    actions.PointMask: [
        ActionCase(
            actions.PointMask(group), lambda generator, dtype: torch.rand(BATCH, 5, generator=generator) > 0.4, f"PointMask({group})"
        )
        for group in (O3, SE3, SxE3)
    ],
    actions.Dict: [
        case(RAGGED, molecules(ragged=True), "ragged", tol_scale=4.0, **NO_COMPILE),
        case(PADDED, molecules(ragged=False), "padded", tol_scale=4.0, **NO_VMAP),
        case(
            actions.Dict(x=actions.Nodes(S), edge_index=actions.Edges(S), edge_attr=actions.Trivial(S), batch=actions.BatchIndex(S)),
            ragged_graph,
            "ragged graph",
            skips={
                **NO_VMAP["skips"],
                "broadcast": "a permutation of a larger graph does not move a smaller one",
                "compile": "rows of every graph are counted",
            },
        ),
        case(
            actions.Dict(image=actions.Image(C4), marks=actions.Keypoints(C4, size="image")),
            lambda generator, dtype: {
                "image": torch.randn(BATCH, 3, 6, 6, generator=generator, dtype=dtype),
                "marks": 5 * torch.rand(BATCH, 4, 2, generator=generator, dtype=dtype),
            },
            "image and keypoints",
            tol_scale=4.0,
            **NO_VMAP,
        ),
    ],
    actions.Tuple: [
        case(
            actions.Tuple(actions.Points(E3), actions.Trivial(E3)),
            lambda generator, dtype: (noise(4, 3)(generator, dtype), noise(4)(generator, dtype)),
            tol_scale=4.0,
            **NO_VMAP,
        ),
        case(
            actions.Tuple(actions.Vectors(C4), actions.Regular(C4)),
            lambda generator, dtype: (noise(2)(generator, dtype), noise(4)(generator, dtype)),
            **NO_VMAP,
        ),
        case(
            actions.Tuple(actions.Dict(a=actions.Tensors(O3, 2)), actions.Pseudovectors(O3)),
            lambda generator, dtype: ({"a": noise(3, 3)(generator, dtype)}, noise(3)(generator, dtype)),
            "nested",
            **NO_VMAP,
        ),
    ],
    actions.Pullback: [
        case(actions.Pullback(TURN, actions.Vectors(TURN.target)), noise(3, 2)),
        case(actions.Pullback(LINEAR_PART, actions.Tensors(LINEAR_PART.target, 2)), noise(3, 3)),
        case(
            actions.Pullback(TURN, actions.Dict(a=actions.Vectors(TURN.target), b=actions.Trivial(TURN.target))),
            lambda generator, dtype: {"a": noise(2)(generator, dtype), "b": noise(1)(generator, dtype)},
            "of a Dict",
            **NO_VMAP,
        ),
    ],
}
