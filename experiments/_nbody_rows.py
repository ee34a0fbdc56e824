"""The rows of the five-particle table: a network and a frame each, built with the public interface of the library."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from _nbody_data import Systems, signature
from _nbody_models import EGNN, GNN, PairTransformer
from torch import nn

import coset
from coset import frames
from coset.nn import VectorNeurons

Model = Callable[..., torch.Tensor]


class Shaken(nn.Module):
    """A network that sees positions and velocities with noise added, as in the paper: it cannot learn to leave the noise aside."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, inputs: Mapping[str, torch.Tensor], noise: torch.Tensor) -> object:
        """Raw outputs for inputs and noise (B, n, 2, 3)."""
        pos, vel = noise.unbind(2)
        return self.network({**inputs, "pos": inputs["pos"] + pos, "vel": inputs["vel"] + vel}, None)


@dataclass(frozen=True)
class Row:
    """A base network and a way to make it equivariant.

    Attributes:
        base: the network.
        frame: the frame, from its number of elements in ``eval()`` and its own network; None for networks that need none.
        ordered: whether the network sees the order of particles, so that the group is S_n x O(3) and not O(3).
        learned: whether the frame has a network.
        noise: how many random vectors are added to what that network sees of every particle.
        cached: the frame does not change in training, so that it is computed once for the whole training set.
        sampled: whether the number of elements is free; it is 1 in training.
        published: the test error published for it after 10,000 epochs, where there is one.
    """

    base: Callable[[], nn.Module]
    frame: Callable[[Row, int, nn.Module | None], frames.Frame] | None = None
    ordered: bool = False
    learned: bool = False
    noise: int = 0
    cached: bool = False
    sampled: bool = False
    published: float | None = None

    @property
    def epochs(self) -> int:
        """The budget: 200 epochs for transformers, 1,000 for everything else."""
        return 200 if self.base is PairTransformer else 1000

    def parts(self, example: Systems) -> nn.ModuleDict:
        """Fresh networks: the base, and the frame's own."""
        parts = nn.ModuleDict({"base": self.base()})
        if self.learned:
            learned = VectorNeurons(signature(self.ordered).source, example.inputs(), width=21, layers=2, noise=0)
            parts["frame"] = Shaken(learned) if self.noise else learned
        return parts

    @property
    def sharpened(self) -> bool:
        """Whether permutations are learned, so that the loss has the entropy of their soft form."""
        return self.ordered and self.learned

    def model(self, parts: Mapping[str, Model], elements: int = 1) -> Model:
        """The symmetrized network, from its parts (compiled or not)."""
        net, learned = parts["base"], parts["frame"] if self.learned else None
        if self.frame is None:
            return net
        return coset.symmetrize(net, signature(self.ordered), frame=self.frame(self, elements, learned), chunk=5000)


def average(row: Row, elements: int, learned: nn.Module | None) -> frames.Frame:
    """Independent random elements."""
    return frames.Haar(elements)


def axes(row: Row, elements: int, learned: nn.Module | None) -> frames.Frame:
    """Principal axes with all signs, then a sort where the order counts; one sign choice at random in training."""
    axes = frames.PCA(of="pos")
    return frames.Stochastic(frames.Chain(axes, frames.Sort(of="pos")) if row.ordered else axes)


def minimal(row: Row, elements: int, learned: nn.Module | None) -> frames.Frame:
    """One coset."""
    return frames.Minimal(of="pos", colours="charge")


def canonical(row: Row, elements: int, learned: nn.Module | None) -> frames.Frame:
    """One learned element."""
    return frames.Canonicalizer(learned)


def probabilistic(row: Row, elements: int, learned: nn.Module | None) -> frames.Frame:
    """Random elements of a learned distribution."""
    return frames.Probabilistic(learned, noise=frames.NormalVectors(row.noise), samples=elements)


def rows_of(base: Callable[[], nn.Module], ordered: bool, published: dict[str, float]) -> dict[str, Row]:
    """One network under each of the five methods."""
    return {
        "haar": Row(base, average, ordered, sampled=True, published=published.get("haar")),
        "pca": Row(base, axes, ordered, cached=True),
        "minimal": Row(base, minimal, ordered, cached=True),
        "canonical": Row(base, canonical, ordered, learned=True, published=published.get("canonical")),
        "probabilistic": Row(base, probabilistic, ordered, learned=True, noise=2, sampled=True, published=published.get("probabilistic")),
    }


PUBLISHED = {
    "gnn": {"canonical": 0.0043, "probabilistic": 0.0040},
    "transformer": {"canonical": 0.00508, "haar": 0.00414, "probabilistic": 0.00401},
}

ROWS: dict[str, Row] = {
    **{f"gnn-{name}": row for name, row in rows_of(GNN, False, PUBLISHED["gnn"]).items()},
    "egnn": Row(EGNN, published=0.0071),
    **{f"transformer-{name}": row for name, row in rows_of(PairTransformer, True, PUBLISHED["transformer"]).items()},
}
