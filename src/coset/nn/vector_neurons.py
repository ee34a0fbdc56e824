"""Vector neurons: a small network of points that is equivariant to permutations, and to rotations, unitaries or boosts."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..actions.base import Action
from ..errors import SignatureError, explain
from ..tree import Tree
from .batches import Batch
from .forms import Form, Mix
from .heads import Rows, Scores, Timelike, check_sizes, factors, keeps_a_form, permutes_freely, refuse_groups
from .pair_convolution import PairConvolution, Pairs
from .reading import COMPLEX, Features, Kind, Reader

MIXED = 8
"""Input vectors beyond this number are mixed to this number before their inner products are taken."""


class VectorNeurons(nn.Module):
    """Scores and vectors of a cloud of points, equivariant to the group of ``source``.

    Every input reaches the output: positions, velocities and other vectors, charges and other scalars of points or of
    samples, values of pairs, edges with their values. Vectors are mixed by numbers and scaled by invariants; the
    inner product is the one that the group keeps (dot product, Hermitian, or interval of space-time). Points
    exchange messages in edge convolutions; normalization is per point, so samples do not see each other.

    Outputs, one for each factor of the group, as a tuple for a product: scores (B, n), ragged (N,), for ``Symmetric``;
    vectors (B, d, d), one in a row, for O(d), SO(d), E(d), SE(d), U(d), SU(d) and the Lorentz groups. For the latter
    the first row is a sum of the first vectors of the source (momenta) with positive weights.

    Args:
        source: how the group moves the inputs.
        example: inputs, from which channels are counted.
        width: channels of scalars and vectors.
        layers: the number of edge convolutions.
        noise: channels of noise, vectors (B, n, noise, d) or, for Lorentz groups and permutations alone, scalars
            (B, n, noise).
        neighbours: None for messages between all points of a sample, k for messages between nearest ones (by the first
            vectors of the source), 0 for none: then points see means over the sample only, at linear cost.

    Raises:
        SignatureError: for other groups, or inputs that are neither scalars, vectors nor values of pairs or edges.

    Reference: Deng et al. 2021, Vector neurons, arXiv 2104.12229; edge convolutions as in Kim et al. 2023, arXiv 2306.02866.

    Example:
        >>> import torch
        >>> from coset import actions, groups, nn
        >>> G = groups.Symmetric() * groups.Orthogonal(3)
        >>> bodies = actions.Dict(pos=actions.Points(G), charge=actions.Permute(G, -2))
        >>> x = {"pos": torch.randn(2, 5, 3), "charge": torch.randn(2, 5, 1)}
        >>> scores, vectors = nn.VectorNeurons(bodies, x)(x, torch.randn(2, 5, 1, 3))
        >>> scores.shape, vectors.shape
        (torch.Size([2, 5]), torch.Size([2, 3, 3]))
    """

    references = ("deng2021vector",)

    def __init__(self, source: Action, example: Tree, *, width: int = 21, layers: int = 2, noise: int = 1, neighbours: int | None = None):
        super().__init__()
        check_sizes(width, layers, noise, neighbours)
        self.read, self.noise, self.neighbours = Reader(source, example), noise, neighbours
        group, d = source.group, self.read.dim
        if not all(permutes_freely(factor) or keeps_a_form(factor) for factor in factors(group)):
            refuse_groups(group, "VectorNeurons", "use Symmetric, orthogonal, unitary or Lorentz groups, or a network of your own")
        self.form = Form(group, d)
        self.turned = not group.lorentzian and any(keeps_a_form(factor) for factor in factors(group))
        channels = self.read.vectors + (noise if self.turned else 0)
        self._refuse_empty(channels)
        scalars = self.read.scalars + (0 if self.turned else noise)
        kept = min(channels, MIXED)
        self.few = None if channels <= MIXED else Mix(channels, kept, self.form.complex)
        pairs = 0 if neighbours == 0 else kept * (self.form.parts + 1) + self.read.pairs
        scalars += 0 if neighbours is None else 2 * self.read.pairs
        invariants = kept * kept if self.form.complex else kept * (kept + 1) // 2
        self.scalars, self.norm = nn.Linear(max(1, scalars + invariants), width), nn.LayerNorm(width)
        self.vectors = Mix(channels, width, self.form.complex)
        self.layers = nn.ModuleList(PairConvolution(width, self.form, pairs) for _ in range(layers))
        self.heads = nn.ModuleList(self._head(factor, width, d) for factor in factors(group))

    def _refuse_empty(self, channels: int) -> None:
        """Raise where there is nothing to build vectors from, or distances make no neighbours."""
        group = self.read.group
        if any(keeps_a_form(factor) for factor in factors(group)) and not channels:
            raise SignatureError(explain(f"inputs of {group} without vectors", "at least one", "declare Points or Vectors, or noise=1"))
        if self.neighbours and (group.lorentzian or not self.read.vectors):
            raise SignatureError(
                explain(f"neighbours={self.neighbours} for {group}", "distances between points", "use neighbours=None or neighbours=0")
            )

    def _head(self, factor: object, width: int, d: int) -> nn.Module:
        """The output for one factor of the group."""
        if not getattr(factor, "dim", None):
            return Scores(width)
        if not self.form.lorentzian:
            return Rows(width, self.form, d)
        momenta = next(slot.channels for slot in self.read.slots.values() if slot.kind is Kind.VECTORS)
        return Timelike(width, self.form, d, momenta)

    def forward(self, inputs: Tree, noise: Tensor | None = None) -> Tensor | tuple[Tensor, ...]:
        """Scores and vectors.

        Args:
            inputs: the inputs of the source.
            noise: (B, n, noise, d) or (B, n, noise), ragged with rows (N, ...); zeros when left out.
        """
        features = self.read(inputs, self.scalars.weight)
        pack = None if features.batch.owner is None else features.batch.packing()
        s, v = self._with_noise(features, noise)
        pairs, batch = features.pairs, features.batch
        if pack is not None:
            batch, s, v, pairs = pack.batch, pack.pack(s), pack.pack(v), pack.pairs(features.edges, features.links)
        few = v if self.few is None else self.few(v)
        found = self._outputs(s, v, few, pairs, batch)
        if pack is not None:
            found = tuple(pack.unpack(y) if isinstance(head, Scores) else y for head, y in zip(self.heads, found, strict=True))
        return found if hasattr(self.read.group, "factors") else found[0]

    def _outputs(self, s: Tensor, v: Tensor, few: Tensor, pairs: Tensor | None, batch: Batch) -> tuple[Tensor, ...]:
        """The outputs of dense or padded features, one for each head."""
        given, both = v, Pairs(self.form, few, pairs, batch, self.neighbours)
        s, v = self.norm(self.scalars(self._start(s, few, pairs, batch))), self.vectors(v)
        for layer in self.layers:
            s, v = layer(s, v, both)
        return tuple(self._out(head, s, v, given, batch) for head in self.heads)

    def _with_noise(self, features: Features, noise: Tensor | None) -> tuple[Tensor, Tensor]:
        """Scalars and vectors of points, noise beside them."""
        s, batch, d = features.scalars, features.batch, self.read.dim
        like = s.to(COMPLEX[s.dtype]) if self.form.complex else s
        v = features.vectors if features.vectors is not None else like.new_zeros(*batch.lead, 0, d)
        if self.turned:
            return s, torch.cat([v, batch.real(batch.drawn(noise, v, self.noise, d))], -2)
        return torch.cat([s, batch.real(batch.drawn(noise, s, self.noise))], -1), v

    def _start(self, s: Tensor, v: Tensor, pairs: Tensor | None, batch: Batch) -> Tensor:
        """The first scalars of points: those given, inner products of their vectors, and means of pairs where these send no messages."""
        c, gram = v.shape[-2], self.form.gram(v, v)
        rows, columns = torch.triu_indices(c, c, int(self.form.complex), device=v.device)
        found = [s, torch.asinh(gram[..., rows, columns, :].flatten(-2) if self.form.complex else gram[..., rows, columns])]
        if self.form.complex:
            found.append(torch.asinh(self.form.square(v)))
        if pairs is not None and self.neighbours is not None:
            counts = batch.counts(s).reshape(-1, 1, 1)
            found += [pairs.sum(1) / counts, pairs.sum(2) / counts]
        start = torch.cat(found, -1)
        return start if start.shape[-1] else s.new_ones(*s.shape[:-1], 1)

    def _out(self, head: nn.Module, s: Tensor, v: Tensor, given: Tensor, batch: Batch) -> Tensor:
        """The output of one head."""
        if isinstance(head, Scores):
            return head(s, batch)
        return head(s, v, given[..., : head.momenta, :], batch) if isinstance(head, Timelike) else head(s, v, batch)
