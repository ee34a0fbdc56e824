"""Cases of searches over orbits: images, points under finite and Lie groups, nested inputs, circular shifts."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from coset import actions, frames, groups
from coset.nn import ImageScorer

from .frames import (
    BATCH,
    FrameCase,
    Out,
    as_dict,
    case,
    clouds,
    everything,
    image,
    invariant,
    normal,
    symmetric_clouds,
    symmetric_images,
    vectors,
    without,
)

O3, SO2, SO3, SE3 = groups.Orthogonal(3), groups.SpecialOrthogonal(2), groups.SpecialOrthogonal(3), groups.SpecialEuclidean(3)
C4, D4, D6, T34 = groups.Cyclic(4), groups.Dihedral(4), groups.Dihedral(6), groups.Torus(3, 4)


class Pose(nn.Module):
    """A smooth generic energy of everything that it is given: it depends on the pose."""

    def __init__(self, count: int, seed: int = 3):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.one = nn.Parameter(torch.randn(count, 6, generator=generator, dtype=torch.float64) / count**0.5)
        self.two = nn.Parameter(torch.randn(6, generator=generator, dtype=torch.float64))

    def forward(self, inputs: Tensor | dict[str, Tensor]) -> Tensor:
        x = torch.cat([leaf.flatten(1) for leaf in inputs.values()], 1) if isinstance(inputs, dict) else inputs.flatten(1)
        return torch.tanh(x @ self.one.to(x.dtype)) @ self.two.to(x.dtype)


def scorer(seed: int = 0) -> ImageScorer:
    """A small energy of images with two channels."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return ImageScorer(2, size=8, width=4)


def finite_cases() -> list[FrameCase]:
    """Groups that are searched exhaustively, exact at symmetric inputs too."""
    found = []
    for G, options in ((C4, {}), (D4, {"gradient": frames.Expected(2)}), (groups.Dihedral(2), {"chunk": 7})):
        out = {None: Out(actions.Image(G), False, (2, 8, 8))}
        found.append(case(frames.Minimize(scorer(), **options), actions.Image(G), out, image(8), symmetric_images(8), "images"))
    generic = frames.Minimize(Pose(32), gradient=frames.Detached())
    found.append(case(generic, actions.Image(C4), invariant(C4), image(4), symmetric_images(4), "any energy"))
    for G in (D6, groups.Octahedral()):
        d = int(G.dim)  # type: ignore[arg-type]
        found.append(
            case(frames.Minimize(Pose(6 * d)), actions.Points(G), vectors(G), clouds(d), without(symmetric_clouds(G), "nearly collinear"))
        )
    source = actions.Dict(pos=actions.Points(D4), v=actions.Vectors(D4))
    make, symmetric = as_dict(
        D4, lambda pos, generator: {"v": normal(6, 2)(pos, generator)}, 2, other=lambda pos: {"v": pos - pos.mean(1, keepdim=True)}
    )
    kept = without(symmetric, "nearly collinear", "nearly collinear, following")
    found.append(case(frames.Minimize(Pose(12), of="pos"), source, everything(D4), make, kept, "velocities"))
    shifts = lambda generator, dtype: torch.randn(BATCH, 1, 3, 4, generator=generator, dtype=dtype)  # noqa: E731
    constant = lambda generator, dtype: [("constant", torch.ones(2, 1, 3, 4, dtype=dtype))]  # noqa: E731
    found.append(case(frames.Minimize(Pose(12)), actions.Image(T34), invariant(T34), shifts, constant, "shifts"))
    return found


def lie_cases() -> list[FrameCase]:
    """Lie groups, searched from many starts: approximations, as declared."""
    return [
        case(
            frames.Minimize(Pose(6 * int(G.dim)), search=frames.Multistart(starts, 25)),
            actions.Points(G),
            vectors(G),
            clouds(int(G.dim)),
            reference=frames.Minimal(),
        )  # type: ignore[arg-type]
        for G, starts in ((SO2, 8), (SO3, 12), (O3, 24), (SE3, 12))
    ]


def minimize_cases() -> list[FrameCase]:
    """All of them."""
    return finite_cases() + lie_cases()
