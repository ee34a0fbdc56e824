"""What a frame needs from a network, read from the group: scores for permutations, vectors for matrices."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from ..errors import InputError, SignatureError, explain
from ..groups.base import Group
from ..groups.symmetric import Symmetric
from .batches import Batch
from .forms import Form, Mix


def factors(group: Group) -> tuple[Group, ...]:
    """The factors of a product, or the group alone."""
    return getattr(group, "factors", (group,))


def permutes_freely(group: Group) -> bool:
    """Whether a group holds all permutations of the points."""
    return group.permutes and group.dim is None and group == Symmetric(getattr(group, "n", None))


def keeps_a_form(group: Group) -> bool:
    """Whether the linear part of a group is all of O(d), SO(d), U(d), SU(d) or a Lorentz group."""
    return group.dim is not None and (group.orthogonal or group.unitary or group.lorentzian)


def refuse_groups(group: Group, network: str, remedy: str) -> None:
    """Raise for a group with a factor that the network has no output for."""
    raise SignatureError(explain(f"{network} for {group}", "a group that it has outputs for", remedy))


def check_sizes(width: int, layers: int, noise: int, neighbours: int | None = None) -> None:
    """Raise for sizes that make no network."""
    least = {"width": (width, 1), "layers": (layers, 0), "noise": (noise, 0), "neighbours": (neighbours, 0)}
    for name, (size, low) in least.items():
        if size is not None and (not isinstance(size, int) or size < low):
            raise InputError(explain(f"{name}={size!r}", f"a whole number of at least {low}", "choose another size"))


def check_set_network(network: str, group: Group, width: int, layers: int, noise: int) -> None:
    """Raise for sizes that make no network, and for groups other than that of all permutations."""
    check_sizes(width, layers, noise)
    if not permutes_freely(group):
        refuse_groups(group, network, "use Symmetric(), or VectorNeurons where matrices act too")


class Scores(nn.Module):
    """One number for each point, (B, n) or (N,), zero on padding."""

    def __init__(self, width: int):
        super().__init__()
        self.out = nn.Linear(width, 1)

    def forward(self, s: Tensor, batch: Batch) -> Tensor:
        """Scores of scalars (B, n, w) or (N, w)."""
        return batch.real(self.out(s).squeeze(-1))


class Rows(nn.Module):
    """As many vectors as the space has dimensions, (B, d, d): means over the points, weighted by invariants."""

    def __init__(self, width: int, form: Form, dim: int):
        super().__init__()
        self.mix = Mix(width, dim, form.complex)

    def forward(self, s: Tensor, v: Tensor, batch: Batch) -> Tensor:
        """The rows, from scalars (B, n, w) and vectors (B, n, w, d)."""
        return self.mix(batch.mean(s.unsqueeze(-1) * v))


class Timelike(nn.Module):
    """Vectors (B, d, d) of which the first is a sum of the momenta with positive weights: timelike when these are."""

    def __init__(self, width: int, form: Form, dim: int, momenta: int):
        super().__init__()
        self.weight, self.rest = nn.Linear(width, momenta), Rows(width, form, dim - 1)
        self.momenta = momenta

    def forward(self, s: Tensor, v: Tensor, momenta: Tensor, batch: Batch) -> Tensor:
        """The rows; ``momenta`` (B, n, c, d) are those given."""
        weight = softplus(self.weight(s)).unsqueeze(-1)
        first = batch.mean(weight * momenta).sum(1, keepdim=True)
        return torch.cat([first, self.rest(s, v, batch)], 1)
