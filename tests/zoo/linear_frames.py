"""Cases of minimal frames under Lorentz, unitary, linear and affine groups and scalings; ``frames.py`` adds them to the zoo."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from coset import actions, frames, groups
from coset.actions.base import Action

from .frames import (
    BATCH,
    LENGTHS,
    RAGGED_LAWS,
    FrameCase,
    Make,
    Out,
    Symmetric,
    case,
    clouds,
    invariant,
    moment,
    shapes,
    species,
    turned,
    vectors,
)

NULL = ("single point, repeated", "zeros")
BOOSTED = 100.0
"""Boosts lose the square of their Lorentz factor, linear maps the square of their condition number."""


def momenta(d: int, n: int = 6, mass: bool = True) -> Make:
    """Generic energies and momenta, every other one massless."""

    def make(generator: torch.Generator, dtype: torch.dtype) -> Tensor:
        p = torch.randn(BATCH, n, d - 1, generator=generator, dtype=torch.float64)
        m = torch.rand(BATCH, n, 1, generator=generator, dtype=torch.float64) * (torch.arange(n)[:, None] % 2) * mass
        return torch.cat([(p.square().sum(-1, keepdim=True) + m.square()).sqrt(), p], -1).to(dtype)

    return make


def at_rest(cloud: Tensor, mass: float) -> Tensor:
    """Energies before the momenta of a cloud."""
    return torch.cat([(cloud.square().sum(-1, keepdim=True) + mass**2).sqrt(), cloud], -1)


def pushed(cloud: Tensor, group: groups.Group, generator: torch.Generator, dtype: torch.dtype) -> Tensor:
    """Two copies of a cloud, turned and boosted a little: what the laws do to them adds up, and costs the cube of the Lorentz factor."""
    g = group.exp(group.combine(0.5 * torch.randn(2, group.lie_dimension, generator=generator, dtype=torch.float64)))
    return actions.Vectors(group).act(g, cloud.expand(2, *cloud.shape)).to(dtype)


def symmetric_momenta(group: groups.Group) -> Symmetric:
    """The shapes of space as momenta, massive and massless, boosted; both signs of energy; a zero vector among others."""

    def make(generator: torch.Generator, dtype: torch.dtype) -> list[tuple[str, Any]]:
        d = int(group.dim)  # type: ignore[arg-type]
        found = [(f"massive {name}", at_rest(cloud, 1.0)) for name, cloud in shapes(d - 1).items()]
        lightlike = (*NULL, "duplicates") if d == 2 else NULL
        found += [(f"massless {name}", at_rest(cloud, 0.0)) for name, cloud in shapes(d - 1).items() if name not in lightlike]
        signs = torch.tensor([1.0, 1, 1, 1, -1, -1], dtype=torch.float64)[:, None]
        generic = torch.randn(6, d - 1, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
        found.append(("both signs", signs * at_rest(generic, 0.5)))
        found.append(("negative", -at_rest(generic, 0.5)))
        return [(name, pushed(cloud, group, generator, dtype)) for name, cloud in found]

    return make


def events(group: groups.Group) -> tuple[Action, dict[str | None, Out], Make]:
    """Momenta with spacelike polarizations and species; a current per particle, a tensor and a score per event."""
    d = int(group.dim)  # type: ignore[arg-type]
    source = actions.Dict(p=actions.Points(group), e=actions.Vectors(group), z=actions.Trivial(group))
    outputs: dict[str | None, Out] = {
        "current": Out(actions.Vectors(group, points=True), True, (d,)),
        "tensor": Out(actions.Tensors(group, 2, points=False), False, (d, d)),
        "score": Out(actions.Trivial(group), False, (2,)),
    }

    def make(generator: torch.Generator, dtype: torch.dtype) -> dict[str, Tensor]:
        p = momenta(d)(generator, dtype)
        return {"p": p, "e": torch.randn(p.shape, generator=generator, dtype=dtype), "z": species(p, generator)}

    return source, outputs, make


def following(group: groups.Group) -> Symmetric:
    """Symmetric momenta with polarizations that have their symmetry, and equal species."""

    def make(generator: torch.Generator, dtype: torch.dtype) -> list[tuple[str, Any]]:
        return [
            (name, {"p": p, "e": p - p.mean(1, keepdim=True), "z": torch.zeros(p.shape[:2], dtype=torch.long)})
            for name, p in symmetric_momenta(group)(generator, dtype)
        ]

    return make


def padded_momenta(generator: torch.Generator, dtype: torch.dtype) -> dict[str, Tensor]:
    """Jets of different sizes with zero padding; a single particle is massive."""
    mask = torch.arange(max(LENGTHS))[None] < torch.tensor(LENGTHS)[:, None]
    p = momenta(4, max(LENGTHS))(generator, dtype)
    p[2, 0, 0] = p[2, 0, 0] + 1
    return {"pos": p * mask[..., None], "z": torch.randint(2, mask.shape, generator=generator) * mask, "mask": mask}


def ragged_momenta(generator: torch.Generator, dtype: torch.dtype) -> dict[str, Tensor]:
    """The same one after the other, with a batch index."""
    x = padded_momenta(generator, dtype)
    return {"pos": x["pos"][x["mask"]], "z": x["z"][x["mask"]], "batch": torch.arange(BATCH).repeat_interleave(torch.tensor(LENGTHS))}


def lorentz_cases() -> list[FrameCase]:
    """Four-momenta, ordered and unordered."""
    G = groups
    options = {"tol_scale": BOOSTED}
    unordered = frames.Minimal(colours=frames.UNCOLOURED)
    every = [G.Lorentz(2), G.Lorentz(3), G.ProperLorentz(3), G.Lorentz(4), G.SpecialLorentz(4), G.ProperLorentz(4), G.SpecialLorentz(5)]
    found = [
        case(frames.Minimal(), actions.Points(g), vectors(g), momenta(g.dim), symmetric_momenta(g), "momenta", **options) for g in every
    ]
    found += [
        case(unordered, actions.Points(g), vectors(g), momenta(g.dim), symmetric_momenta(g), "momenta", **options)
        for g in (G.Lorentz(3), G.Lorentz(4), G.SpecialLorentz(4), G.ProperLorentz(4))
    ]
    for g in (G.Lorentz(4), G.ProperLorentz(4)):
        source, outputs, make = events(g)
        found.append(case(frames.Minimal(of="p"), source, outputs, make, following(g), "events", **options))
        found.append(case(frames.Minimal(of="p", colours="z"), source, outputs, make, following(g), "events", **options))
    L = G.Lorentz(4)
    padded = actions.Dict(pos=actions.Points(L, mask="mask"), z=actions.Trivial(L), mask=actions.PointMask(L))
    ragged = actions.Dict(pos=actions.Points(L, batch="batch"), z=actions.Trivial(L), batch=actions.BatchIndex(L))
    out: dict[str | None, Out] = {
        "current": Out(actions.Vectors(L, points=True), True, (4,)),
        "score": Out(actions.Trivial(L), False, (2,)),
    }
    found.append(case(frames.Minimal(of="pos", colours="z"), padded, out, padded_momenta, note="padded jets", **options))
    found.append(case(frames.Minimal(of="pos"), ragged, out, ragged_momenta, note="ragged jets", skips=RAGGED_LAWS, **options))
    found.append(case(frames.Minimal(of="pos", colours="z"), ragged, out, ragged_momenta, note="ragged jets", skips=RAGGED_LAWS, **options))
    SxL = G.Symmetric() * L
    found.append(case(frames.Minimal(), actions.Points(SxL), vectors(SxL), momenta(4), note="momenta in any order", **options))
    return found


# -- linear and affine groups ----------------------------------------------------------------------------------------


def full_rank(group: groups.Group) -> Symmetric:
    """The shapes that span the space, some with equal singular values."""

    def make(generator: torch.Generator, dtype: torch.dtype) -> list[tuple[str, Any]]:
        d = int(group.dim)  # type: ignore[arg-type]
        names = {2: ("hexagon", "pentagon and centre"), 3: ("octahedron", "prism"), 4: ()}[d]
        return [(name, turned(shapes(d)[name], group, generator, dtype)) for name in names]

    return make


def linear_cases() -> list[FrameCase]:
    """GL, SL, affine groups and scalings."""
    G = groups
    options = {"tol_scale": BOOSTED}
    found = [
        case(frames.Minimal(), actions.Points(g), vectors(g), clouds(int(g.dim)), full_rank(g), **options)
        for g in (G.GeneralLinear(2), G.GeneralLinear(3), G.SpecialLinear(3), G.SpecialLinear(4), G.Affine(2), G.Affine(3))
    ]
    unordered = frames.Minimal(colours=frames.UNCOLOURED)
    found += [
        case(unordered, actions.Points(g), vectors(g), clouds(int(g.dim)), full_rank(g), **options)
        for g in (G.GeneralLinear(2), G.GeneralLinear(3), G.SpecialLinear(3), G.Affine(2), G.Affine(3))
    ]
    A = G.Affine(3)
    source = actions.Dict(pos=actions.Points(A), v=actions.Vectors(A), t=actions.Tensors(A, 2, points=False))
    outputs: dict[str | None, Out] = {
        "forces": Out(actions.Vectors(A, points=True), True, (3,)),
        "stress": Out(actions.Tensors(A, 2, points=False), False, (3, 3)),
        "energy": Out(actions.Trivial(A), False, (1,)),
    }

    def make(generator: torch.Generator, dtype: torch.dtype) -> dict[str, Tensor]:
        pos = clouds(3)(generator, dtype)
        return {"pos": pos, "v": torch.randn(pos.shape, generator=generator, dtype=dtype), "t": moment(pos) + 0.1}

    def symmetric(generator: torch.Generator, dtype: torch.dtype) -> list[tuple[str, Any]]:
        return [
            (name, {"pos": pos, "v": pos - pos.mean(1, keepdim=True), "t": moment(pos)}) for name, pos in full_rank(A)(generator, dtype)
        ]

    for colours in (None, frames.UNCOLOURED):
        found.append(case(frames.Minimal(of="pos", colours=colours), source, outputs, make, symmetric, "velocities", **options))
    SxA = G.Symmetric() * G.Affine(2)
    found.append(case(frames.Minimal(), actions.Points(SxA), vectors(SxA), clouds(2), note="in any order", **options))
    S3 = G.Scaling(3)
    found.append(case(frames.Minimal(), actions.Points(S3), vectors(S3), clouds(3), note="of any size", tol_scale=4.0))
    found.append(case(frames.Minimal(), actions.Points(S3), invariant(S3), clouds(3), note="of any size, invariant", tol_scale=4.0))
    return found


# -- complex vectors -------------------------------------------------------------------------------------------------


class ComplexNet(nn.Module):
    """A generic smooth network on complex vectors (B, n, d) that is not equivariant; the phases of its inputs matter."""

    def __init__(self, n: int, d: int, order: int, dtype: torch.dtype):
        super().__init__()
        self.shape = (d,) * order
        generator = torch.Generator().manual_seed(0)
        width, columns = 2 * n * d, 2 * d**order

        def weight(inputs: int, outputs: int) -> nn.Parameter:
            return nn.Parameter((torch.randn(inputs, outputs, generator=generator, dtype=torch.float64) / math.sqrt(inputs)).to(dtype))

        self.one, self.two, self.bias = weight(width, 24), weight(24, columns), weight(1, 24)

    def forward(self, z: Tensor) -> Tensor:
        hidden = torch.tanh(torch.view_as_real(z.resolve_conj()).flatten(1) @ self.one + self.bias)
        return torch.view_as_complex((hidden @ self.two).unflatten(1, (*self.shape, 2)))


def complex_rows(n: int, d: int) -> Make:
    """Generic complex vectors."""
    return lambda generator, dtype: torch.randn(BATCH, n, d, generator=generator, dtype=dtype.to_complex())


def complex_ranks(group: groups.Group, n: int) -> Symmetric:
    """Vectors that span fewer dimensions, repeated ones and zeros."""

    def make(generator: torch.Generator, dtype: torch.dtype) -> list[tuple[str, Any]]:
        d = int(group.dim)  # type: ignore[arg-type]
        z = torch.randn(n, d, generator=torch.Generator().manual_seed(7), dtype=torch.complex128)
        found = [(f"rank {r}", torch.nn.functional.pad(z[:, :r], (0, d - r))) for r in range(d)]
        found += [("one vector, turned in phase", z[:1] * torch.exp(1j * torch.arange(n))[:, None])]
        return [
            (
                name,
                actions.Vectors(group)
                .act(group.haar(2, generator=generator, dtype=torch.float64), x.expand(2, n, d))
                .to(dtype.to_complex()),
            )
            for name, x in found
        ]

    return make


def unitary_cases() -> list[FrameCase]:
    """U(d) and SU(d) on vectors; outputs are vectors and tensors."""
    found = []
    for g, order in (
        (groups.Unitary(1), 1),
        (groups.Unitary(3), 1),
        (groups.Unitary(2), 2),
        (groups.SpecialUnitary(2), 1),
        (groups.SpecialUnitary(3), 2),
    ):
        d, n = int(g.dim), 4
        target = actions.Vectors(g, points=False) if order == 1 else actions.Tensors(g, 2, points=False)
        found.append(
            FrameCase(
                frames.Minimal(),
                actions.Vectors(g),
                target,
                complex_rows(n, d),
                lambda dtype, n=n, d=d, order=order: ComplexNet(n, d, order, dtype),
                complex_ranks(g, n),
                f"Minimal() {g!r} order {order}",
                tol_scale=2.0,
            )
        )
    return found


def linear_frame_cases() -> list[FrameCase]:
    """All of them."""
    return [*lorentz_cases(), *linear_cases(), *unitary_cases()]
