"""The zoo of equivariant linear layers: permutations, finite groups, Lie groups, products, channels, with and without bias."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from coset import actions, groups, nn
from coset.actions.base import Action


@dataclass(frozen=True)
class LinearCase:
    """One layer: its two actions, further arguments, the shape of one input, and the number of independent maps."""

    source: Action
    target: Action
    shape: tuple[int, ...]
    dimension: int
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """How the case is called in test names."""
        return " ".join([f"{self.source!r} >> {self.target!r}", *(f"{key}={value}" for key, value in self.options.items())])

    def build(self, dtype: torch.dtype, seed: int = 0) -> nn.EquivariantLinear:
        """The layer, with weights that follow from the seed."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            layer = nn.EquivariantLinear(self.source, self.target, **self.options).to(dtype)
            if layer.bias is not None:
                torch.nn.init.normal_(layer.bias)
            return layer

    def make(self, generator: torch.Generator, dtype: torch.dtype) -> Tensor:
        """A batch of six inputs."""
        complex_ = self.source.group.complex
        return torch.randn(6, *self.shape, generator=generator, dtype=dtype.to_complex() if complex_ else dtype)


S4, S5, C6, D3 = groups.Symmetric(4), groups.Symmetric(5), groups.Cyclic(6), groups.Dihedral(3)
SO3, O3, L4, SxO = groups.SpecialOrthogonal(3), groups.Orthogonal(3), groups.Lorentz(4), groups.Symmetric() * groups.Orthogonal(3)
CLOUD = {"source_shape": (5, 3), "target_shape": (5, 3)}
IRREPS = actions.Irreps(O3, "3x0e+2x1o+1x2e")

CASES = [
    LinearCase(actions.Permute(S5, -2, -1), actions.Permute(S5, -2, -1), (5, 5), 15),
    LinearCase(actions.Permute(S4, -1), actions.Permute(S4, -2, -1), (3, 4), 5, {"channels": (3, 2)}),
    LinearCase(actions.Regular(C6), actions.Regular(C6), (6,), 6, {"bias": False}),
    LinearCase(actions.Vectors(D3), actions.Regular(D3), (2,), 2),
    LinearCase(actions.Tensors(groups.Octahedral(), 2), actions.Vectors(groups.Octahedral()), (3, 3), 1),
    LinearCase(IRREPS, IRREPS, (2, 14), 14, {"channels": (2, 3)}),
    LinearCase(actions.Tensors(SO3, 2), actions.Tensors(SO3, 2), (3, 3), 3),
    LinearCase(actions.Vectors(SxO), actions.Vectors(SxO), (5, 3), 2, CLOUD),
    LinearCase(actions.Vectors(groups.Euclidean(3)), actions.Vectors(groups.Euclidean(3)), (4, 3), 1, {"channels": (4, 4)}),
    LinearCase(actions.Tensors(L4, 2), actions.Tensors(L4, 2), (4, 4), 3),
    LinearCase(actions.Tensors(groups.Unitary(2), 2), actions.Tensors(groups.Unitary(2), 2), (2, 2), 2),
]
LINEAR_NETWORKS = {nn.EquivariantLinear: CASES}
