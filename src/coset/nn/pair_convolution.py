"""Edge convolution of scalars and vectors: messages between points, weighted by invariants of both."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from .batches import Batch
from .forms import Bend, Even, Form, Mix
from .neighbourhoods import Near, pair_weights


class Pairs:
    """The pairs that exchange messages, with their invariants.

    Attributes:
        values: (B, n, m, c) invariants of pairs; None when all points share one message.
        weight: their weights, which broadcast against ``values``.
    """

    def __init__(self, form: Form, v: Tensor, given: Tensor | None, batch: Batch, neighbours: int | None):
        like = v.real if form.complex else v
        self.batch, self.near = batch, None
        self.values: Tensor | None = None
        if neighbours is None:
            self.weight = pair_weights(batch, like)
            self.values = all_invariants(form, v)
        elif neighbours > 0:
            self.near = Near(form, v[..., :1, :], batch, neighbours + 1)
            self.weight, self.values = self.near.weight, near_invariants(form, v, self.near)
        if given is not None and self.values is not None:
            self.values = torch.cat([self.values, given if self.near is None else self.near.gather_pairs(given)], -1)

    def messages(self, receiver: Tensor, sender: Tensor, values: Tensor | None, v: Tensor) -> tuple[Tensor, Tensor]:
        """Sums of messages, scalars (B, n, w) and vectors (B, n, w, d), of what receivers, senders and pairs contribute."""
        flat = torch.view_as_real(v).flatten(-2) if v.is_complex() else v
        if values is None:
            gate = silu(sender)
            scalars, vectors = (self.batch.give(self.batch.mean(x)) for x in (gate, gate.unsqueeze(-1) * flat))
            scalars = scalars * silu(receiver)
        elif self.near is None:
            gate = silu(receiver.unsqueeze(2) + sender.unsqueeze(1) + values) * self.weight
            scalars, vectors = gate.sum(2), torch.einsum("bijc,bjcd->bicd", gate, flat)
        else:
            gate = silu(receiver.unsqueeze(2) + self.near.gather(sender) + values) * self.weight
            scalars, vectors = gate.sum(2), (gate.unsqueeze(-1) * self.near.gather(flat)).sum(2)
        return scalars, torch.view_as_complex(vectors.unflatten(-1, (-1, 2)).contiguous()) if v.is_complex() else vectors


def all_invariants(form: Form, v: Tensor) -> Tensor:
    """Compressed inner products and squared distances of the same channel of two points: (B, n, n, c (parts + 1))."""
    inner = form.gram(v.transpose(1, 2), v.transpose(1, 2)).movedim(1, 3).flatten(3)
    square = form.square(v)
    own = inner.unflatten(-1, (-1, form.parts))[..., 0]
    return torch.asinh(torch.cat([inner, square.unsqueeze(2) + square.unsqueeze(1) - 2 * own], -1))


def near_invariants(form: Form, v: Tensor, near: Near) -> Tensor:
    """The same for neighbours, in the same order of channels: (B, n, k, c (parts + 1))."""
    other, here = near.gather(v), v.unsqueeze(2)
    inner = form.inner(here, other)
    inner = torch.view_as_real(inner).flatten(-2) if form.complex else inner
    return torch.asinh(torch.cat([inner, form.square(other - here)], -1))


class PairConvolution(nn.Module):
    """One edge convolution with a vector-neuron nonlinearity and layer normalization.

    Args:
        width: channels of scalars and of vectors.
        form: the inner product of the group.
        values: how many invariants a pair has; 0 when all points share one message.
    """

    def __init__(self, width: int, form: Form, values: int):
        super().__init__()
        self.form = form
        self.receiver, self.sender = nn.Linear(width, width), nn.Linear(width, width, bias=False)
        self.values = nn.Linear(values, width, bias=False) if values else None
        self.mix, self.bend, self.even = Mix(2 * width, width, form.complex), Bend(width, form), Even(form)
        self.update, self.norm = nn.Linear(2 * width, width), nn.LayerNorm(width)

    def forward(self, s: Tensor, v: Tensor, pairs: Pairs) -> tuple[Tensor, Tensor]:
        """Scalars (B, n, w) and vectors (B, n, w, d) of the same shapes."""
        values = None if self.values is None or pairs.values is None else self.values(pairs.values)
        scalars, vectors = pairs.messages(self.receiver(s), self.sender(s), values, v)
        v = self.even(v + self.bend(self.mix(torch.cat([v, vectors], -2))))
        invariants = torch.asinh(self.form.square(v))
        return self.norm(s + silu(self.update(torch.cat([scalars, invariants], -1)))), v
