"""The zoo of frames: at least three real cases of every public frame, with inputs, generic networks and symmetric inputs.

``FRAMES: dict[type, list[FrameCase]]``; laws run over ``CASES``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from coset import actions, frames, groups
from coset.actions.base import Action
from coset.actions.trees import flatten
from coset.frames.base import Frame
from coset.tree import Tree, tree_map

BATCH = 4
Make = Callable[[torch.Generator, torch.dtype], Any]
Symmetric = Callable[[torch.Generator, torch.dtype], list[tuple[str, Any]]]


@dataclass(frozen=True)
class Out:
    """One output of a generic network: its action, whether it has one entry per point, and the shape of an entry."""

    action: Action
    per_point: bool
    shape: tuple[int, ...]


@dataclass(frozen=True)
class FrameCase:
    """One frame, the signature it is bound to, and inputs.

    Attributes:
        frame: the unbound frame.
        source, target: the signature.
        make: draws a generic batch, ``make(generator, dtype)``, of the same shapes every time.
        model: builds a generic network, nonlinear and not equivariant, ``model(dtype)``; it treats points as a set
            where the frame declares that.
        symmetric: named batches of symmetric and degenerate inputs.
        name: how the case is called in test names.
        tol_scale: how much more than rounding noise its laws may miss.
        skips: law name -> reason, printed and counted.
        exact: whether the symmetrized model has to be equivariant to rounding; None asks the frame.
        reference: another frame that is exact for the signature, for frames that are not.
    """

    frame: Frame
    source: Action
    target: Action
    make: Make
    model: Callable[[torch.dtype], nn.Module]
    symmetric: Symmetric
    name: str
    tol_scale: float = 1.0
    skips: dict[str, str] | None = None
    exact: bool | None = None
    reference: Frame | None = None

    def reason(self, law: str) -> str | None:
        """Why a law is skipped, or None."""
        return (self.skips or {}).get(law)

    @property
    def bound(self) -> Frame:
        """The frame, bound to the signature."""
        return self.frame.bind(self.source, self.target)

    @property
    def must_be_exact(self) -> bool:
        """Whether equivariance has to hold to rounding."""
        return self.bound.eval().exact if self.exact is None else self.exact

    @property
    def unordered(self) -> bool:
        """Whether the case declares that its points are a set."""
        return getattr(self.frame, "colours", None) is not None


class Net(nn.Module):
    """A generic smooth network for any signature: it sees absolute coordinates, so it is not equivariant.

    Args:
        source: the inputs.
        outputs: what to return, by name; a single one under the key None is returned by itself.
        example: inputs, from which widths are read.
        unordered: treat points as a set (shared weights and a mean); else the weights of every point differ.
        seed: of the weights.
    """

    def __init__(self, source: Action, outputs: dict[str | None, Out], example: Any, unordered: bool, dtype: torch.dtype, seed: int = 0):
        super().__init__()
        self.source, self.outputs, self.unordered = source, outputs, unordered
        at = source.layout(example)
        self.kinds, self.ragged = {}, at.batch is not None
        width = {"point": 0, "sample": 0, "edge": 0}
        for key, (action, x) in flatten(source, example).items():
            kind = self._kind(key, action, x, at)
            self.kinds[key] = kind
            if kind in width:
                width[kind] += x[0].numel() // (x.shape[1] if kind == "point" and not self.ragged else 1)
        self.points = None if self.ragged else at.points
        if not unordered and width["point"]:
            width["sample"] += width["point"] * int(self.points or 1)
            width["point"] = 0
        generator = torch.Generator().manual_seed(seed)
        self.hidden = 24

        def weight(rows: int, columns: int) -> nn.Parameter:
            draw = torch.randn(rows, columns, generator=generator, dtype=torch.float64) / math.sqrt(max(rows, 1))
            return nn.Parameter(draw.to(dtype))

        self.one, self.two, self.edge = (
            weight(width["point"], self.hidden),
            weight(self.hidden, self.hidden),
            weight(width["edge"] + self.hidden, self.hidden),
        )
        self.sample, self.pool, self.bias = weight(width["sample"], self.hidden), weight(self.hidden, self.hidden), weight(3, self.hidden)
        self.heads = nn.ParameterList()
        for out in outputs.values():
            count = math.prod(out.shape) * (int(self.points or 1) if out.per_point and not unordered else 1)
            self.heads.append(weight(self.hidden, count))

    @staticmethod
    def _kind(key: Any, action: Action, x: Any, at: Any) -> str:
        for kind, name in (
            (actions.PointMask, "mask"),
            (actions.BatchIndex, "batch"),
            (actions.Edges, "edges"),
            (actions.Ignore, "ignore"),
        ):
            if isinstance(action, kind):
                return name
        if key == "edge_attr":
            return "edge"
        return "point" if at.is_per_point(x, 0) and action.per_point is not False else "sample"

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        found: dict[str, list[Tensor]] = {"point": [], "sample": [], "edge": []}
        other: dict[str, Tensor] = {}
        values = kwargs or (dict(enumerate(args)) if isinstance(self.source, actions.Tuple) else {None: args[0]})
        dtype = self.two.dtype
        for key, kind in self.kinds.items():
            x = values[key]
            if kind in found:
                x = x.to(dtype) if x.is_floating_point() else x.to(dtype) / 10
                lead = 2 if kind == "point" and not self.ragged else 1
                found[kind].append(x.reshape(*x.shape[:lead], -1))
            else:
                other[kind] = x
        results = [
            self._head(out, weight, *self._hidden(found, other), other)
            for out, weight in zip(self.outputs.values(), self.heads, strict=True)
        ]
        return results[0] if list(self.outputs) == [None] else dict(zip(self.outputs, results, strict=True))

    def _hidden(self, found: dict[str, list[Tensor]], other: dict[str, Tensor]) -> tuple[Tensor | None, Tensor]:
        """Hidden features per point (None where ordered) and per sample."""
        samples = [torch.cat(found["sample"], -1)] if found["sample"] else []
        if not self.unordered:
            samples += [torch.cat([x.flatten(1) for x in found["point"]], -1)] if found["point"] else []
            return None, torch.tanh(torch.cat(samples, -1) @ self.sample + self.bias[0])
        h = torch.tanh(torch.cat(found["point"], -1) @ self.one + self.bias[0])
        if "edges" in other:
            i, j = other["edges"]
            message = torch.tanh(torch.cat([*found["edge"], h[..., i, :]], -1) @ self.edge)
            h = h + torch.zeros_like(h).index_add(h.dim() - 2, j, message)
        pooled = self._mean(h, other) @ self.pool + self.bias[1]
        if samples:
            pooled = pooled + samples[0] @ self.sample
        pooled = torch.tanh(pooled)
        return torch.tanh(h @ self.two + (pooled[other["batch"]] if self.ragged else pooled.unsqueeze(1)) + self.bias[2]), pooled

    def _mean(self, h: Tensor, other: dict[str, Tensor]) -> Tensor:
        if self.ragged:
            batch = other["batch"]
            count = int(batch.max()) + 1
            total = h.new_zeros(count, h.shape[-1]).index_add(0, batch, h)
            return total / torch.bincount(batch, minlength=count).unsqueeze(-1)
        if "mask" not in other:
            return h.mean(1)
        mask = other["mask"].unsqueeze(-1).to(h.dtype)
        return (h * mask).sum(1) / mask.sum(1)

    def _head(self, out: Out, weight: Tensor, h: Tensor | None, pooled: Tensor, other: dict[str, Tensor]) -> Tensor:
        if not self.unordered:
            y = pooled @ weight
            return y.reshape(y.shape[0], *((int(self.points),) if out.per_point else ()), *out.shape)
        if not out.per_point:
            second = torch.tanh(self._mean(h, other) + pooled)  # type: ignore[arg-type]
            return (second @ weight).reshape(-1, *out.shape)
        y = (h @ weight).reshape(*h.shape[:-1], *out.shape)  # type: ignore[union-attr]
        mask = other.get("mask")
        return y if mask is None else y * mask.reshape(*mask.shape, *(1,) * len(out.shape)).to(y.dtype)


# -- inputs ----------------------------------------------------------------------------------------------------------


def shapes(d: int) -> dict[str, Tensor]:
    """Symmetric and degenerate clouds of six points, (6, d), in float64."""
    t = torch.arange(6, dtype=torch.float64) * math.pi / 3
    line = torch.tensor([-2.0, -1, -0.5, 0.5, 1, 2], dtype=torch.float64)
    pad = lambda x: torch.nn.functional.pad(x, (0, d - x.shape[-1]))  # noqa: E731
    generic = torch.randn(6, d, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    circle = torch.stack([t.cos(), t.sin()], -1)
    found = {
        "hexagon": pad(circle),
        "pentagon and centre": pad(
            torch.cat([torch.stack([(1.2 * t).cos(), (1.2 * t).sin()], -1)[:5], torch.zeros(1, 2, dtype=torch.float64)])
        ),
        "collinear": pad(line.unsqueeze(-1)),
        "single point, repeated": generic[:1].expand(6, d).clone(),
        "duplicates": generic[:2].repeat(3, 1),
        "zeros": torch.zeros(6, d, dtype=torch.float64),
        "nearly collinear": pad(line.unsqueeze(-1)) + 1e-8 * generic,
    }
    if d >= 3:
        eye = torch.eye(d, dtype=torch.float64)
        found["octahedron"] = pad(torch.cat([eye[:3, :3], -eye[:3, :3]]))
        prism = torch.cat([circle[::2], circle[::2]])
        height = torch.tensor([0.7] * 3 + [-0.7] * 3, dtype=torch.float64).unsqueeze(-1)
        found["prism"] = pad(torch.cat([prism, height], -1))
        found["coplanar"] = pad(generic[:, :2])
    if d == 4:
        found["cross polytope"] = torch.cat([eye, -eye[:2]])
    return found


def turned(cloud: Tensor, group: groups.Group, generator: torch.Generator, dtype: torch.dtype) -> Tensor:
    """Two copies of a cloud in random positions of a group."""
    g = group.sample(2, generator=generator, dtype=torch.float64)
    return actions.Points(group).act(g, cloud.expand(2, *cloud.shape)).to(dtype)


def clouds(d: int, n: int = 6) -> Make:
    """Generic clouds."""
    return lambda generator, dtype: torch.randn(BATCH, n, d, generator=generator, dtype=dtype) + 0.3


def symmetric_clouds(group: groups.Group) -> Symmetric:
    """The clouds of :func:`shapes`, each in two positions."""
    return lambda generator, dtype: [(name, turned(cloud, group, generator, dtype)) for name, cloud in shapes(int(group.dim)).items()]  # type: ignore[arg-type]


def without(symmetric: Symmetric, *names: str) -> Symmetric:
    """Symmetric inputs but for some, which tests of their own look at."""
    return lambda generator, dtype: [(name, x) for name, x in symmetric(generator, dtype) if name not in names]


def none(generator: torch.Generator, dtype: torch.dtype) -> list[tuple[str, Any]]:
    """No symmetric inputs."""
    return []


def as_dict(
    group: groups.Group,
    extra: Callable[[Tensor, torch.Generator], dict[str, Any]],
    d: int,
    n: int = 6,
    other: Callable[[Tensor], dict[str, Any]] | None = None,
) -> tuple[Make, Symmetric]:
    """Inputs {pos, ...}: generic ones with ``extra``, symmetric ones with ``other`` (which follows the positions)."""

    def make(generator: torch.Generator, dtype: torch.dtype) -> dict[str, Any]:
        pos = torch.randn(BATCH, n, d, generator=generator, dtype=dtype) + 0.3
        return {"pos": pos, **extra(pos, generator)}

    def symmetric(generator: torch.Generator, dtype: torch.dtype) -> list[tuple[str, Any]]:
        named = symmetric_clouds(group)(generator, dtype)
        both = [(name, {"pos": pos, **extra(pos, generator)}) for name, pos in named]
        return both + ([(f"{name}, following", {"pos": pos, **other(pos)}) for name, pos in named] if other else [])

    return make, symmetric


def normal(*shape: int) -> Callable[[Tensor, torch.Generator], Tensor]:
    """White noise with the batch axis of the positions."""
    return lambda pos, generator: torch.randn(pos.shape[0], *shape, generator=generator, dtype=pos.dtype)


def species(pos: Tensor, generator: torch.Generator) -> Tensor:
    """Random species of two kinds."""
    return torch.randint(2, pos.shape[:2], generator=generator)


def moment(pos: Tensor) -> Tensor:
    """A tensor that has the symmetry of the cloud."""
    x = pos - pos.mean(1, keepdim=True)
    found = x.mT @ x
    return found * (found.abs() > 1e-8)


LENGTHS = (5, 3, 1, 4)


def padded(d: int) -> Make:
    """Clouds of different sizes with zero padding."""

    def make(generator: torch.Generator, dtype: torch.dtype) -> dict[str, Tensor]:
        mask = torch.arange(max(LENGTHS))[None] < torch.tensor(LENGTHS)[:, None]
        pos = (torch.randn(BATCH, max(LENGTHS), d, generator=generator, dtype=dtype) + 0.3) * mask[..., None]
        return {"pos": pos, "z": torch.randint(2, mask.shape, generator=generator) * mask, "mask": mask}

    return make


def padded_shapes(group: groups.Group) -> Symmetric:
    """Two shapes of different sizes in one batch."""

    def make(generator: torch.Generator, dtype: torch.dtype) -> list[tuple[str, Any]]:
        found = []
        for name, cloud in shapes(int(group.dim)).items():  # type: ignore[arg-type]
            two = turned(cloud, group, generator, dtype)
            pos = torch.zeros(3, 8, cloud.shape[-1], dtype=dtype)
            pos[:2, :6], pos[2, :2] = two, two[0, :2]
            mask = torch.arange(8)[None] < torch.tensor([6, 6, 2])[:, None]
            found.append((name, {"pos": pos, "z": torch.zeros(3, 8, dtype=torch.long), "mask": mask}))
        return found

    return make


def ragged(d: int, edges: bool = False) -> Make:
    """The same, one after the other, with a batch index; rings of edges where asked."""

    def make(generator: torch.Generator, dtype: torch.dtype) -> dict[str, Tensor]:
        batch = torch.arange(BATCH).repeat_interleave(torch.tensor(LENGTHS))
        found = {
            "pos": torch.randn(len(batch), d, generator=generator, dtype=dtype) + 0.3,
            "z": torch.randint(2, (len(batch),), generator=generator),
            "batch": batch,
        }
        if edges:
            found |= {"edge_index": rings(LENGTHS), "edge_attr": torch.rand(2 * sum(LENGTHS), 1, generator=generator, dtype=dtype)}
        return found

    return make


def rings(lengths: tuple[int, ...]) -> Tensor:
    """(2, E): every point to the next one of its sample, and then to the one after."""
    pairs, start = [], 0
    for length in lengths:
        here = torch.arange(length)
        pairs += [torch.stack([here, (here + step) % length]) + start for step in (1, 2)]
        start += length
    return torch.cat(pairs, 1)


def ragged_shapes(group: groups.Group, edges: bool = False) -> Symmetric:
    """Two positions of a shape, one after the other."""

    def make(generator: torch.Generator, dtype: torch.dtype) -> list[tuple[str, Any]]:
        found = []
        for name, cloud in shapes(int(group.dim)).items():  # type: ignore[arg-type]
            x = {
                "pos": turned(cloud, group, generator, dtype).flatten(0, 1),
                "z": torch.zeros(12, dtype=torch.long),
                "batch": torch.arange(2).repeat_interleave(6),
            }
            if edges:
                x |= {"edge_index": rings((6, 6)), "edge_attr": torch.ones(24, 1, dtype=dtype)}
            found.append((name, x))
        return found

    return make


# -- cases -----------------------------------------------------------------------------------------------------------


def case(
    frame: Frame,
    source: Action,
    outputs: dict[str | None, Out],
    make: Make,
    symmetric: Symmetric = none,
    note: str = "",
    unordered: bool = False,
    **options: Any,
) -> FrameCase:
    """A case whose target and network follow from the outputs."""
    target = outputs[None].action if list(outputs) == [None] else actions.Dict({str(key): out.action for key, out in outputs.items()})
    unordered = unordered or getattr(frame, "colours", None) is not None or not {"batch", "mask"}.isdisjoint(source.items())

    def model(dtype: torch.dtype) -> nn.Module:
        return Net(source, outputs, make(torch.Generator().manual_seed(0), dtype), unordered, dtype)

    name = f"{frame!r} {source.group!r}{' ' + note if note else ''}"
    return FrameCase(frame, source, target, make, model, symmetric, name, **options)


def vectors(group: groups.Group) -> dict[str | None, Out]:
    """One vector per point."""
    return {None: Out(actions.Vectors(group, points=True), True, (int(group.dim),))}  # type: ignore[arg-type]


def everything(group: groups.Group) -> dict[str | None, Out]:
    """A vector per point, an energy, a moment, a stress and, in three dimensions, irreps."""
    d = int(group.dim)  # type: ignore[arg-type]
    found: dict[str | None, Out] = {
        "forces": Out(actions.Vectors(group, points=True), True, (d,)),
        "energy": Out(actions.Trivial(group), False, (1,)),
        "moment": Out(actions.Pseudovectors(group, points=False), False, (d,)),
        "stress": Out(actions.Tensors(group, 2, points=False), False, (d, d)),
        "charge": Out(actions.Trivial(group, points=True), True, (2,)),
    }
    if d == 3:
        found["irreps"] = Out(actions.Irreps(group, "1x0e+1x1o+1x2e", points=False), False, (9,))
    return found


def invariant(group: groups.Group, width: int = 3) -> dict[str | None, Out]:
    """Scores per sample."""
    return {None: Out(actions.Trivial(group), False, (width,))}


def linear_groups(d: int) -> tuple[groups.Group, ...]:
    """O(d), SO(d), E(d), SE(d)."""
    return groups.Orthogonal(d), groups.SpecialOrthogonal(d), groups.Euclidean(d), groups.SpecialEuclidean(d)


O2, SO2, E2, SE2 = linear_groups(2)
O3, SO3, E3, SE3 = linear_groups(3)
C4, D4, S = groups.Cyclic(4), groups.Dihedral(4), groups.Symmetric()
PADDED = {
    group: actions.Dict(pos=actions.Points(group, mask="mask"), z=actions.Trivial(group), mask=actions.PointMask(group))
    for group in (E3, SE3, SO2, O3, groups.Translation(3))
}
RAGGED = {
    group: actions.Dict(pos=actions.Points(group, batch="batch"), z=actions.Trivial(group), batch=actions.BatchIndex(group))
    for group in (E3, SE3, E2, groups.Translation(3))
}
GRAPH = actions.Dict(
    pos=actions.Points(E3, batch="batch"),
    z=actions.Trivial(E3),
    batch=actions.BatchIndex(E3),
    edge_index=actions.Edges(E3),
    edge_attr=actions.Trivial(E3),
)
COLLAPSED = ("single point, repeated", "zeros")
COINCIDENT = ("duplicates", *COLLAPSED)
RAGGED_LAWS = {"vmap": "a ragged batch has no batch axis"}


def ordered_cases() -> list[FrameCase]:
    """Minimal on ordered points, d = 2, 3, 4."""
    found = [
        case(frames.Minimal(), actions.Points(group), vectors(group), clouds(d), symmetric_clouds(group))
        for d in (2, 3, 4)
        for group in linear_groups(d)
    ]
    for group in (O3, SE3, E2):
        source = actions.Dict(pos=actions.Points(group), v=actions.Vectors(group))
        d = int(group.dim)  # type: ignore[arg-type]
        make, symmetric = as_dict(
            group,
            lambda pos, generator, d=d: {"v": normal(6, d)(pos, generator)},
            d,
            other=lambda pos: {"v": pos - pos.mean(1, keepdim=True)},
        )
        found.append(case(frames.Minimal(of="pos"), source, everything(group), make, symmetric, "velocities"))
    for group in (E3, SO3):
        source = actions.Dict(pos=actions.Points(group), t=actions.Tensors(group, 2, points=False))
        make, symmetric = as_dict(group, lambda pos, generator: {"t": moment(pos) + 0.1}, 3, other=lambda pos: {"t": moment(pos)})
        # a generic tensor beside a line is refused, so only those that follow the points are listed
        kept = lambda generator, dtype, symmetric=symmetric: [pair for pair in symmetric(generator, dtype) if "following" in pair[0]]  # noqa: E731
        found.append(case(frames.Minimal(of="pos"), source, everything(group), make, kept, "tensor"))
    found.append(case(frames.Minimal(of="pos"), PADDED[SE3], invariant(SE3), padded(3), note="padded"))
    found.append(
        case(
            frames.Minimal(),
            RAGGED[E3],
            {"forces": Out(actions.Vectors(E3, points=True), True, (3,))},
            ragged(3),
            ragged_shapes(E3),
            "ragged",
            skips=RAGGED_LAWS,
        )
    )
    return found


def unordered_cases() -> list[FrameCase]:
    """Minimal on unordered points, d = 2, 3."""
    plain = frames.Minimal(colours=frames.UNCOLOURED)
    found = [
        case(plain, actions.Points(group), vectors(group), clouds(d), symmetric_clouds(group)) for d in (2, 3) for group in linear_groups(d)
    ]
    for group in (O3, SE3, O2):
        d = int(group.dim)  # type: ignore[arg-type]
        source = actions.Dict(pos=actions.Points(group), z=actions.Trivial(group))
        make, symmetric = as_dict(
            group,
            lambda pos, generator: {"z": species(pos, generator)},
            d,
            other=lambda pos: {"z": torch.zeros(pos.shape[:2], dtype=torch.long)},
        )
        found.append(case(frames.Minimal(of="pos", colours="z"), source, everything(group), make, symmetric, "species"))
    for group in (E3, SO3, SE2):
        d = int(group.dim)  # type: ignore[arg-type]
        source = actions.Dict(pos=actions.Points(group), v=actions.Vectors(group))
        make, symmetric = as_dict(
            group,
            lambda pos, generator, d=d: {"v": normal(6, d)(pos, generator)},
            d,
            other=lambda pos: {"v": pos - pos.mean(1, keepdim=True)},
        )
        found.append(case(frames.Minimal(of="pos", colours=frames.UNCOLOURED), source, everything(group), make, symmetric, "velocities"))
    dipole = actions.Dict(pos=actions.Points(E3), mu=actions.Vectors(E3, points=False), z=actions.Trivial(E3))
    make, symmetric = as_dict(
        E3,
        lambda pos, generator: {"mu": normal(3)(pos, generator), "z": species(pos, generator)},
        3,
        other=lambda pos: {"mu": torch.zeros_like(pos[:, 0]), "z": torch.zeros(pos.shape[:2], dtype=torch.long)},
    )
    found.append(case(frames.Minimal(of="pos", colours="z"), dipole, everything(E3), make, symmetric, "dipole"))
    tensor = actions.Dict(pos=actions.Points(O3), t=actions.Tensors(O3, 2, points=False))
    make, symmetric = as_dict(O3, lambda pos, generator: {"t": moment(pos) + 0.1}, 3, other=lambda pos: {"t": pos.mT @ pos})
    kept = lambda generator, dtype: [pair for pair in symmetric(generator, dtype) if "following" in pair[0]]  # noqa: E731
    found.append(case(frames.Minimal(of="pos", colours=frames.UNCOLOURED), tensor, everything(O3), make, kept, "tensor"))
    cell = actions.Dict(pos=actions.Points(SE3), cell=actions.Cell(SE3), z=actions.Trivial(SE3))
    make, symmetric = as_dict(SE3, lambda pos, generator: {"cell": normal(3, 3)(pos, generator), "z": species(pos, generator)}, 3)
    found.append(case(frames.Minimal(of="pos", colours="z"), cell, everything(SE3), make, symmetric, "cell"))
    for group in (E3, SO2):
        d = int(group.dim)  # type: ignore[arg-type]
        found.append(
            case(frames.Minimal(of="pos", colours="z"), PADDED[group], everything(group), padded(d), padded_shapes(group), "padded")
        )
    out = {"forces": Out(actions.Vectors(SE3, points=True), True, (3,)), "energy": Out(actions.Trivial(SE3), False, (1,))}
    found.append(case(frames.Minimal(of="pos", colours="z"), RAGGED[SE3], out, ragged(3), ragged_shapes(SE3), "ragged", skips=RAGGED_LAWS))
    out = {"forces": Out(actions.Vectors(E3, points=True), True, (3,)), "energy": Out(actions.Trivial(E3), False, (1,))}
    found.append(
        case(
            frames.Minimal(of="pos", colours="z"),
            GRAPH,
            out,
            ragged(3, True),
            without(ragged_shapes(E3, True), *COINCIDENT),
            "edges",
            skips=RAGGED_LAWS,
        )
    )
    return found


def rows(n: int, *shape: int) -> Make:
    """Rows of generic numbers."""
    return lambda generator, dtype: torch.randn(BATCH, n, *shape, generator=generator, dtype=dtype)


def tied_rows(n: int, *shape: int) -> Symmetric:
    """Equal rows."""

    def make(generator: torch.Generator, dtype: torch.dtype) -> list[tuple[str, Any]]:
        x = torch.randn(2, n, *shape, generator=generator, dtype=dtype)
        pairs = x.clone()
        pairs[:, 1], pairs[:, 3] = x[:, 0], x[:, 0]
        return [("ties", pairs), ("all equal", x[:, :1].expand_as(x).clone()), ("zeros", torch.zeros_like(x))]

    return make


def graphs(n: int) -> Make:
    """Node features and a weighted adjacency matrix."""

    def make(generator: torch.Generator, dtype: torch.dtype) -> dict[str, Tensor]:
        return {
            "x": torch.randn(BATCH, n, 2, generator=generator, dtype=dtype),
            "adjacency": torch.randn(BATCH, n, n, generator=generator, dtype=dtype),
        }

    return make


NODES = actions.Dict(x=actions.Permute(S, -2), adjacency=actions.Permute(S, -2, -1))
PER_NODE: dict[str | None, Out] = {
    "nodes": Out(actions.Permute(S, -2), True, (2,)),
    "edges": Out(actions.Permute(S, -2, -1), True, (5,)),
    "energy": Out(actions.Trivial(S), False, (1,)),
}
T2, T3 = groups.Translation(2), groups.Translation(3)
OCTAHEDRAL, SIGNS = groups.Octahedral(full=True), groups.SignFlips(3)


def image(size: int, channels: int = 2) -> Make:
    """White noise images."""
    return lambda generator, dtype: torch.randn(BATCH, channels, size, size, generator=generator, dtype=dtype)


def symmetric_images(size: int) -> Symmetric:
    """Images that all or some elements leave alone."""

    def make(generator: torch.Generator, dtype: torch.dtype) -> list[tuple[str, Any]]:
        x = torch.randn(2, 2, size, size, generator=generator, dtype=dtype)
        return [("constant", torch.ones_like(x)), ("half turn", x + x.flip((-2, -1))), ("mirror", x + x.flip(-1))]

    return make


def moved_points(group: groups.Group) -> dict[str | None, Out]:
    """A position per point."""
    return {None: Out(actions.Points(group, points=True), True, (int(group.dim),))}  # type: ignore[arg-type]


def weighted_cases() -> list[FrameCase]:
    """Weighted frames of dense, padded and ragged points, with and without strengths, static and not."""
    found = [
        case(frames.Weighted(), actions.Points(group), vectors(group), clouds(d), symmetric_clouds(group))
        for d in (2, 3)
        for group in linear_groups(d)
    ]
    for group in (SO3, E2):
        d = int(group.dim)  # type: ignore[arg-type]
        found.append(case(frames.Weighted(cut=0.3, static=True), actions.Points(group), vectors(group), clouds(d), symmetric_clouds(group)))
    moving = actions.Dict(pos=actions.Points(SE3), v=actions.Vectors(SE3))
    make, symmetric = as_dict(
        SE3, lambda pos, generator: {"v": normal(6, 3)(pos, generator)}, 3, other=lambda pos: {"v": pos - pos.mean(1, keepdim=True)}
    )
    # velocities that are rounding noise of the positions are no vectors of length zero, so those that follow a point are left out
    kept = without(symmetric, *(f"{name}, following" for name in (*COLLAPSED, "nearly collinear")))
    found.append(case(frames.Weighted(), moving, everything(SE3), make, kept, "velocities"))
    heavy = actions.Dict(pos=actions.Points(O3), m=actions.Trivial(O3))
    make, symmetric = as_dict(O3, lambda pos, generator: {"m": 1 + torch.rand(pos.shape[:2], generator=generator, dtype=pos.dtype)}, 3)
    found.append(case(frames.Weighted(of="pos", strengths="m"), heavy, everything(O3), make, symmetric, "masses", unordered=True))
    found.append(case(frames.Weighted(of="pos"), PADDED[E3], everything(E3), padded(3), padded_shapes(E3), "padded"))
    out = {"forces": Out(actions.Vectors(SE3, points=True), True, (3,)), "energy": Out(actions.Trivial(SE3), False, (1,))}
    found.append(case(frames.Weighted(of="pos"), RAGGED[SE3], out, ragged(3), ragged_shapes(SE3), "ragged", skips=RAGGED_LAWS))
    return found


FRAMES: dict[type[Frame], list[FrameCase]] = {
    frames.Center: [
        case(frames.Center(), actions.Points(T2), moved_points(T2), clouds(2), symmetric_clouds(T2)),
        case(frames.Center(of="pos"), PADDED[T3], invariant(T3), padded(3), padded_shapes(T3), "padded"),
        case(
            frames.Center(),
            RAGGED[T3],
            {"forces": Out(actions.Points(T3, points=True), True, (3,))},
            ragged(3),
            ragged_shapes(T3),
            "ragged",
            skips=RAGGED_LAWS,
        ),
    ],
    frames.Chain: [
        case(frames.Chain(frames.Center(), frames.Quadrature(3)), actions.Points(SE3), vectors(SE3), clouds(3), reference=frames.Minimal()),
        case(
            frames.Chain(frames.Center(), frames.Minimal()),
            actions.Points(E3),
            vectors(E3),
            clouds(3),
            without(symmetric_clouds(E3), *COLLAPSED),
        ),
        case(frames.Chain(frames.Center(), frames.PCA(fallback=False)), actions.Points(SE2), vectors(SE2), clouds(2), exact=True),
        case(
            frames.Chain(frames.Center(), frames.Minimal(colours=frames.UNCOLOURED)),
            actions.Points(SE3),
            vectors(SE3),
            clouds(3),
            without(symmetric_clouds(SE3), *COLLAPSED),
            "unordered",
            unordered=True,
        ),
    ],
    frames.Full: [
        case(frames.Full(), actions.Vectors(C4), {None: Out(actions.Vectors(C4), False, (2,))}, rows(2), note="vectors"),
        case(frames.Full(), actions.Image(D4), {None: Out(actions.Image(D4), False, (2, 4, 4))}, image(4), symmetric_images(4), "image"),
        case(frames.Full(), actions.Points(OCTAHEDRAL), vectors(OCTAHEDRAL), clouds(3), symmetric_clouds(OCTAHEDRAL)),
        case(
            frames.Full(),
            actions.Permute(groups.Symmetric(4), -2),
            {None: Out(actions.Permute(groups.Symmetric(4), -2), True, (2,))},
            rows(4, 3),
            tied_rows(4, 3),
        ),
        case(
            frames.Full(),
            actions.Image(groups.Torus(3, 4)),
            invariant(groups.Torus(3, 4)),
            lambda generator, dtype: torch.randn(BATCH, 1, 3, 4, generator=generator, dtype=dtype),
        ),
        case(frames.Full(3), actions.Points(SO3), vectors(SO3), clouds(3), reference=frames.Minimal()),
    ],
    frames.Given: [
        case(frames.Given(C4.elements()), actions.Vectors(C4), {None: Out(actions.Vectors(C4), False, (2,))}, rows(2), exact=True),
        case(
            frames.Given(D4.elements()),
            actions.Image(D4),
            {None: Out(actions.Image(D4), False, (2, 4, 4))},
            image(4),
            symmetric_images(4),
            exact=True,
        ),
        case(
            frames.Given(SIGNS.elements(dtype=torch.float64), torch.ones(8)),
            actions.Points(SIGNS),
            vectors(SIGNS),
            clouds(3),
            symmetric_clouds(SIGNS),
            exact=True,
        ),
        case(
            frames.Given(torch.tensor([0, 2])),
            actions.Vectors(C4),
            {None: Out(actions.Vectors(C4), False, (2,))},
            rows(2),
            note="half turns",
            reference=frames.Full(),
        ),
    ],
    frames.Haar: [
        case(frames.Haar(4), actions.Points(O3), vectors(O3), clouds(3), reference=frames.Minimal()),
        case(frames.Haar(3), actions.Points(SO2), vectors(SO2), clouds(2), reference=frames.Minimal()),
        case(frames.Haar(5), actions.Permute(S, -2), {None: Out(actions.Permute(S, -2), True, (2,))}, rows(5, 3), reference=frames.Sort()),
        case(frames.Haar(2), actions.Image(D4), {None: Out(actions.Image(D4), False, (2, 4, 4))}, image(4), reference=frames.Full()),
    ],
    frames.Minimal: [
        *ordered_cases(),
        *unordered_cases(),
        case(
            frames.Minimal(), actions.Permute(S, -2), {None: Out(actions.Permute(S, -2), True, (2,))}, rows(5, 3), tied_rows(5, 3), "rows"
        ),
        case(frames.Minimal(), actions.Points(T3), moved_points(T3), clouds(3), symmetric_clouds(T3)),
    ],
    frames.PCA: [
        *(
            case(frames.PCA(), actions.Points(group), vectors(group), clouds(int(group.dim)), symmetric_clouds(group))
            for group in (O3, SE3, E2, SO2)
        ),  # type: ignore[arg-type]
        case(frames.PCA(of="pos"), PADDED[E3], invariant(E3), padded(3), padded_shapes(E3), "padded"),
        case(frames.PCA(fallback=False), actions.Points(E3), vectors(E3), clouds(3), exact=True),
        case(frames.PCA(fallback=False), actions.Points(SO3), vectors(SO3), clouds(3), exact=True),
        case(
            frames.PCA(of="pos"),
            RAGGED[E2],
            {"forces": Out(actions.Vectors(E2, points=True), True, (2,))},
            ragged(2),
            ragged_shapes(E2),
            "ragged",
            skips=RAGGED_LAWS,
        ),
    ],
    frames.Quadrature: [
        case(frames.Quadrature(3), actions.Points(SO3), vectors(SO3), clouds(3), reference=frames.Minimal()),
        case(frames.Quadrature(2), actions.Points(O3), vectors(O3), clouds(3), reference=frames.Minimal()),
        case(frames.Quadrature(6), actions.Points(SO2), vectors(SO2), clouds(2), reference=frames.Minimal()),
        case(frames.Quadrature(1), actions.Points(D4), vectors(D4), clouds(2), symmetric_clouds(D4), note="finite"),
    ],
    frames.RandomCosets: [
        case(frames.RandomCosets(), actions.Points(O3), vectors(O3), clouds(3), reference=frames.Minimal()),
        case(frames.RandomCosets(2), actions.Points(SO2), vectors(SO2), clouds(2), reference=frames.Minimal()),
        case(
            frames.RandomCosets(2, groups.Tetrahedral()), actions.Points(S * SO3), vectors(S * SO3), clouds(3), reference=frames.Minimal()
        ),
        case(
            frames.RandomCosets(),
            actions.Points(groups.Orthogonal(4)),
            vectors(groups.Orthogonal(4)),
            clouds(4),
            reference=frames.Minimal(),
        ),
    ],
    frames.Sort: [
        case(frames.Sort(), actions.Permute(S, -2), {None: Out(actions.Permute(S, -2), True, (2,))}, rows(5, 3), tied_rows(5, 3)),
        case(frames.Sort(), actions.Permute(S, -1), {None: Out(actions.Permute(S, -1), True, ())}, rows(5), tied_rows(5), "numbers"),
        case(frames.Sort(of="x"), NODES, PER_NODE, graphs(5), note="nodes and adjacency"),
        case(
            frames.Sort(),
            actions.Permute(groups.Symmetric(4), -2),
            invariant(groups.Symmetric(4)),
            rows(4, 1),
            tied_rows(4, 1),
            "invariant",
        ),
    ],
    frames.Stochastic: [
        case(frames.Stochastic(frames.Full()), actions.Vectors(C4), {None: Out(actions.Vectors(C4), False, (2,))}, rows(2)),
        case(frames.Stochastic(frames.PCA(fallback=False)), actions.Points(E3), vectors(E3), clouds(3), exact=True),
        case(frames.Stochastic(frames.Minimal()), actions.Points(SE2), vectors(SE2), clouds(2), symmetric_clouds(SE2)),
        case(
            frames.Stochastic(frames.Full()),
            actions.Image(D4),
            {None: Out(actions.Image(D4), False, (2, 4, 4))},
            image(4),
            symmetric_images(4),
        ),
    ],
    frames.Weighted: weighted_cases(),
    frames.WeightedSort: [
        case(frames.WeightedSort(), actions.Permute(S, -2), {None: Out(actions.Permute(S, -2), True, (2,))}, rows(5, 3), tied_rows(5, 3)),
        case(frames.WeightedSort(cut=0.2, static=True), actions.Permute(S, -2), invariant(S), rows(4, 2), tied_rows(4, 2), "invariant"),
        case(
            frames.WeightedSort(), actions.Permute(S, -1), {None: Out(actions.Permute(S, -1), True, ())}, rows(5), tied_rows(5), "numbers"
        ),
        case(frames.WeightedSort(of="x", directions=30), NODES, PER_NODE, graphs(5), note="nodes and adjacency"),
        case(frames.WeightedSort(samples=3), actions.Permute(S, -2), invariant(S), rows(5, 3), reference=frames.Sort(), note="random"),
    ],
}

from .eigen_frames import eigen_cases  # noqa: E402
from .graph_frames import minimal_graph_cases, relabel_cases  # noqa: E402
from .learned_frames import canonicalizer_cases, probabilistic_cases  # noqa: E402
from .linear_frames import linear_frame_cases  # noqa: E402
from .minimize_frames import minimize_cases  # noqa: E402
from .shift_frames import learned_shift_cases, peak_cases, phase_cases, polyphase_cases  # noqa: E402

FRAMES[frames.Minimal] += linear_frame_cases() + minimal_graph_cases()
FRAMES[frames.Relabel] = relabel_cases()
FRAMES[frames.Eigenvectors] = eigen_cases()
FRAMES[frames.Probabilistic] = probabilistic_cases()
FRAMES[frames.Canonicalizer] = canonicalizer_cases()
FRAMES[frames.Minimize] = minimize_cases()
FRAMES[frames.Canonicalizer] += learned_shift_cases(frames.Canonicalizer)
FRAMES[frames.Probabilistic] += learned_shift_cases(frames.Probabilistic)
FRAMES[frames.Phase] = phase_cases()
FRAMES[frames.Peak] = peak_cases()
FRAMES[frames.Polyphase] = polyphase_cases()
CASES = [one for cases in FRAMES.values() for one in cases]


def to_dtype(x: Tree, dtype: torch.dtype) -> Tree:
    """Floating point leaves in another precision."""
    return tree_map(lambda leaf: leaf.to(dtype) if leaf.is_floating_point() else leaf, x)
