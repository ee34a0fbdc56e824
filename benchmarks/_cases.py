"""One case or more for every public frame and every family of groups: what it is bound to, and inputs of any size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

import coset
from coset import actions, frames, groups
from coset.nn import DeepSets, GroupCNN, ImageScorer, VectorNeurons

S = groups.Symmetric()


def set_of_points(d: int) -> actions.Action:
    """Points under permutations and rotations."""
    return actions.Points(S * groups.Orthogonal(d))


@dataclass(frozen=True)
class Case:
    """A frame in the benchmark.

    Attributes:
        kind: the public class.
        group: how the group is called.
        frame: the unbound frame in d dimensions, or a model that is timed whole.
        source: the action of the inputs in d dimensions.
        make: inputs, ``make(batch, n, d)``.
        dims: d, and a larger d where the frame has one.
        train: whether the frame is timed in training mode.
    """

    kind: type
    group: str
    frame: Callable[[int], Any]
    source: Callable[[int], actions.Action]
    make: Callable[[int, int, int], Any]
    dims: tuple[int, ...] = (3,)
    train: bool = False

    @property
    def name(self) -> str:
        """The frame on its group."""
        made = self.frame(self.dims[0])
        shown = repr(made) if isinstance(made, frames.Frame) else type(made).__name__
        return f"{shown}{' in training' if self.train else ''}, {self.group}"

    def bound(self, d: int) -> Callable[[Any], Any]:
        """What is timed, called with the inputs."""
        made = self.frame(d)
        bound = made.bind(self.source(d)) if isinstance(made, frames.Frame) else made
        return bound.train(self.train)


def cloud(batch: int, n: int, d: int) -> Tensor:
    """Generic points."""
    return torch.randn(batch, n, d)


def jets(batch: int, n: int, d: int) -> Tensor:
    """Massless four-momenta."""
    p = torch.randn(batch, n, d - 1)
    return torch.cat([p.norm(dim=-1, keepdim=True), p], -1)


def complex_vectors(batch: int, n: int, d: int) -> Tensor:
    """Generic complex vectors."""
    return torch.randn(batch, n, d, dtype=torch.complex64)


def image(batch: int, n: int, d: int) -> Tensor:
    """Images of n pixels, or as many as the next square."""
    side = int(n**0.5 + 0.999)
    return torch.randn(batch, d, side, side)


def channels(batch: int, n: int, d: int) -> Tensor:
    """Images of n channels of a fixed size, which circular shifts need."""
    return torch.randn(batch, n, 16, 16)


def circular(d: int) -> actions.Action:
    """Images under circular shifts."""
    return actions.Image(groups.Torus(16, 16))


def fractional(d: int) -> actions.Action:
    """Images under shifts by fractions of a pixel."""
    return actions.Periodic(groups.RealTorus(16, 16))


def picture(batch: int, n: int, d: int) -> Tensor:
    """Images of n pixels, eight more along each side."""
    side = int(n**0.5 + 0.999) + 8
    return torch.randn(batch, d, side, side)


def height(x: Tensor) -> Tensor:
    """An energy of points with one minimum or two: how high they stand, later ones counting more."""
    return (torch.tanh(x[..., -1]) * torch.arange(1.0, 1.0 + x.shape[1], dtype=x.dtype)).mean(1)


def adjacency(batch: int, n: int) -> Tensor:
    """Random graphs of mean degree six."""
    upper = (torch.rand(batch, n, n) < 6 / n).triu(1)
    return (upper | upper.mT).float()


def rings(batch: int, n: int, d: int) -> dict[str, Tensor]:
    """Randomly numbered rings, the graphs on which refinement tells nothing."""
    where = torch.rand(batch, n).argsort(-1)
    ring = torch.eye(n).roll(1, 0) + torch.eye(n).roll(-1, 0)
    return {"x": torch.zeros(batch, n, d), "adjacency": ring[where[:, :, None], where[:, None, :]]}


def graph(batch: int, n: int, d: int) -> dict[str, Tensor]:
    """Random graphs with equal nodes."""
    return {"x": torch.zeros(batch, n, d), "adjacency": adjacency(batch, n)}


def spectra(batch: int, n: int, d: int) -> dict[str, Tensor]:
    """The first d eigenvectors of Laplacians of random graphs, cut where eigenvalues are far apart or not."""
    a = adjacency(batch, n).double()
    values, vectors = torch.linalg.eigh(torch.diag_embed(a.sum(-1)) - a)
    return {"vectors": vectors[..., -d:].float(), "values": values[..., -d:].float()}


def points(group: Callable[[int], groups.Group]) -> Callable[[int], actions.Action]:
    """The action on points in d dimensions."""
    return lambda d: actions.Points(group(d))


def dictionary(d: int) -> actions.Action:
    """Nodes and adjacency matrices."""
    return actions.Dict(x=actions.Permute(S, -2), adjacency=actions.Permute(S, -2, -1))


def eigen_source(d: int) -> actions.Action:
    """d eigenvectors and eigenvalues under O(d)."""
    group = groups.Orthogonal(d)
    return actions.Dict(vectors=actions.Vectors(group, points=True), values=actions.Trivial(group))


def local(d: int) -> torch.nn.Module:
    """Surroundings in their weighted frames, around a model that costs next to nothing."""
    group = groups.Euclidean(d)
    first = lambda vectors, weights: (weights * vectors[..., 0]).sum(1)  # noqa: E731
    return coset.Local(first, actions.Points(group) >> actions.Trivial(group), cutoff=2.0, total=True)


def box(batch: int, n: int, d: int) -> Tensor:
    """Points at a density of about 17 in a ball of radius two."""
    return torch.rand(batch, n, d) * (2.0 * n) ** (1 / d)


UNORDERED = frames.Minimal(colours=frames.UNCOLOURED)


def linear(name: str, group: Callable[[int], groups.Group], make: Any = cloud, dims: tuple[int, ...] = (3, 6), frame: Any = None) -> Case:
    """The minimal frame on a group of matrices."""
    return Case(frames.Minimal, name, lambda d: frame or frames.Minimal(), points(group), make, dims)


CASES = (
    Case(frames.Full, "Dihedral(4) on images", lambda d: frames.Full(), lambda d: actions.Image(groups.Dihedral(4)), image),
    Case(frames.Haar, "O(d)", lambda d: frames.Haar(8), points(groups.Orthogonal), cloud, (3, 6)),
    Case(frames.RandomCosets, "O(d)", lambda d: frames.RandomCosets(), points(groups.Orthogonal), cloud, (3, 4)),
    Case(frames.Quadrature, "SO(d)", lambda d: frames.Quadrature(3), points(groups.SpecialOrthogonal), cloud, (2, 3)),
    Case(frames.Given, "O(d)", lambda d: frames.Given(groups.Orthogonal(d).haar(8)), points(groups.Orthogonal), cloud, (3, 6)),
    Case(
        frames.Stochastic,
        "E(d)",
        lambda d: frames.Stochastic(frames.PCA(fallback=False)),
        points(groups.Euclidean),
        cloud,
        (3, 6),
        train=True,
    ),
    Case(frames.Center, "translations", lambda d: frames.Center(), points(groups.Translation), cloud, (3, 6)),
    Case(
        frames.Chain, "SE(d)", lambda d: frames.Chain(frames.Center(), frames.Quadrature(3)), points(groups.SpecialEuclidean), cloud, (2, 3)
    ),
    *(
        Case(
            frames.Probabilistic,
            "S_n x O(d)",
            lambda d: frames.Probabilistic(VectorNeurons(set_of_points(d), torch.randn(2, 5, d), neighbours=8)),
            set_of_points,
            cloud,
            (3, 6),
            train=train,
        )
        for train in (False, True)
    ),
    Case(
        frames.Canonicalizer,
        "S_n, sets",
        lambda d: frames.Canonicalizer(DeepSets(actions.Permute(S, -2), torch.randn(2, 5, d))),
        lambda d: actions.Permute(S, -2),
        cloud,
        (3, 6),
    ),
    Case(
        frames.Canonicalizer,
        "Dihedral(4) on images",
        lambda d: frames.Canonicalizer(GroupCNN(groups.Dihedral(4), d, size=8)),
        lambda d: actions.Image(groups.Dihedral(4)),
        picture,
    ),
    Case(
        frames.Minimize,
        "Dihedral(4) on images",
        lambda d: frames.Minimize(ImageScorer(d, size=8)),
        lambda d: actions.Image(groups.Dihedral(4)),
        picture,
    ),
    Case(frames.Minimize, "SO(d)", lambda d: frames.Minimize(height), points(groups.SpecialOrthogonal), cloud, (2, 3)),
    Case(frames.Sort, "S_n", lambda d: frames.Sort(), lambda d: actions.Permute(S, -2), cloud, (3, 6)),
    linear("O(d), ordered", groups.Orthogonal),
    linear("E(d), ordered", groups.Euclidean),
    linear("O(d), sets", groups.Orthogonal, dims=(2, 3), frame=UNORDERED),
    linear("E(d), sets", groups.Euclidean, dims=(2, 3), frame=UNORDERED),
    linear("S_n x O(d)", lambda d: S * groups.Orthogonal(d), dims=(2, 3)),
    linear("Lorentz(d)", groups.Lorentz, jets, (4, 8)),
    linear("Lorentz(d), sets", groups.Lorentz, jets, (3, 4), UNORDERED),
    linear("U(d)", groups.Unitary, complex_vectors),
    linear("SU(d)", groups.SpecialUnitary, complex_vectors),
    linear("GL(d)", groups.GeneralLinear),
    linear("SL(d)", groups.SpecialLinear),
    linear("Aff(d)", groups.Affine),
    linear("scalings", groups.Scaling),
    linear("S_n x scalings", lambda d: S * groups.Scaling(d)),
    Case(frames.PCA, "O(d)", lambda d: frames.PCA(), points(groups.Orthogonal), cloud, (2, 3)),
    Case(frames.PCA, "E(d)", lambda d: frames.PCA(fallback=False), points(groups.Euclidean), cloud, (3, 6)),
    Case(frames.Weighted, "SO(d)", lambda d: frames.Weighted(), points(groups.SpecialOrthogonal), cloud, (2, 3)),
    Case(frames.Weighted, "E(d)", lambda d: frames.Weighted(), points(groups.Euclidean), cloud, (2, 3)),
    Case(frames.WeightedSort, "S_n", lambda d: frames.WeightedSort(directions=64), lambda d: actions.Permute(S, -2), cloud, (3, 6)),
    Case(frames.Relabel, "S_n on random graphs", lambda d: frames.Relabel(), dictionary, graph, (1,)),
    Case(frames.Relabel, "S_n on rings", lambda d: frames.Relabel(), dictionary, rings, (1,)),
    Case(frames.Phase, "circular shifts of images", lambda d: frames.Phase(), circular, channels),
    Case(frames.Phase, "real shifts of images", lambda d: frames.Phase(), fractional, channels),
    Case(frames.Peak, "circular shifts of images", lambda d: frames.Peak(), circular, channels),
    Case(
        frames.Polyphase,
        "circular shifts of images",
        lambda d: frames.Polyphase(2),
        circular,
        channels,
    ),
    Case(frames.Eigenvectors, "O(d) on d eigenvectors", lambda d: frames.Eigenvectors(), eigen_source, spectra, (4, 8)),
    Case(coset.Local, "E(d)", local, points(groups.Euclidean), box, (2, 3)),
)
"""The rows of ``every_frame.py``."""
