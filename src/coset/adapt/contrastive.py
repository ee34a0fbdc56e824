"""An energy from embeddings of the orbit, and the contrastive loss that trains it on upright data."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..errors import GroupError, InputError, describe, explain
from ..tree import Tree, first, tree_map
from .loss import Loss
from .moves import every_element, other_elements, shape_labels
from .prior import checked_temperature
from .step import Step


class Reference(nn.Module):
    """The energy -cos(u, f(x)), between -1 and 1: how far an input's embedding points away from a learned direction u.

    For ``frames.Minimize(energy)``; :class:`Contrastive` trains f and u.

    Args:
        network: f, from inputs (B, ...) to embeddings (B, width).
        width: the length of embeddings.
        generator: source of the direction that u starts from.

    Raises:
        InputError: for widths that are not positive, and when the network returns other shapes.

    Reference: Panigrahi and Mondal 2024, arXiv 2405.14089, section 3.

    Example:
        >>> import torch
        >>> from coset import adapt
        >>> energy = adapt.Reference(torch.nn.Flatten(), 4)
        >>> energy(torch.randn(3, 1, 2, 2)).shape, energy.embed(torch.randn(3, 1, 2, 2)).norm(dim=1).round().tolist()
        (torch.Size([3]), [1.0, 1.0, 1.0])
    """

    references = ("panigrahi2024improved",)

    def __init__(self, network: Callable[..., Tensor], width: int, generator: torch.Generator | None = None):
        super().__init__()
        if type(width) is not int or width < 1 or not callable(network):
            given = f"Reference({network!r}, width={width!r})"
            raise InputError(explain(given, "a network and the length of its outputs", "pass for instance adapt.Reference(network, 16)"))
        self.network, self.width = network, width
        self.direction = nn.Parameter(torch.randn(self.width, generator=generator))

    def embed(self, inputs: Tree) -> Tensor:
        """(B, width) embeddings of length one."""
        found = self.network(inputs)
        if not isinstance(found, Tensor) or found.dim() != 2 or found.shape[1] != self.width:
            raise InputError(
                explain(f"{describe(found)} from the network of {self}", f"embeddings (B, {self.width})", "check its last layer")
            )
        return functional.normalize(found, dim=-1)

    def forward(self, inputs: Tree) -> Tensor:
        """(B,) energies."""
        return -self.scores(self.embed(inputs))

    def scores(self, embeddings: Tensor) -> Tensor:
        """(...) cosines with the direction, from embeddings (..., width) of length one."""
        return embeddings @ functional.normalize(self.direction, dim=0).to(embeddings.dtype)

    def __repr__(self) -> str:
        return f"Reference({type(self.network).__name__}, {self.width})"


class Contrastive(Loss):
    """Upright data score highest among the poses of their orbit, poses are pushed apart, and resampling leaves no trace.

    Three terms, with v_k the embeddings of length one of the inputs turned back by element k:

    - identity: the cross-entropy in nats of softmax(cos(u, v_k) / temperature) with the identity. At temperature 1 cosines cannot bring it
      below log(1 + (|G| - 1) exp(-2)), which is 0.341 for four elements.
    - apart: the mean of cos(v_k, v_l) over pairs k != l, between -1 / (|G| - 1) and 1. Lengths do not count: shrinking does not help.
    - artefact: 1 - cos between the embeddings of the input and of the input moved there and back by a random element, so that f does not
      read what interpolation leaves behind. Zero, and not computed, where the action is exact.

    Args:
        energy: the :class:`Reference` that the frame minimizes.
        temperature: of the cosines.
        apart: the weight of the second term.
        artefact: the weight of the third.
        identity: the weight of the first.

    Raises:
        InputError: for energies that are no :class:`Reference`, and weights or temperatures that make no sense.
        GroupError: for groups that cannot be listed.

    Reference: Panigrahi and Mondal 2024, arXiv 2405.14089, sections 3.1 and 3.2 (there without normalization and temperature).

    Example:
        >>> import torch, coset
        >>> from coset import actions, adapt, frames, groups
        >>> G = groups.Cyclic(4)
        >>> energy = adapt.Reference(torch.nn.Flatten(), 16)
        >>> model = coset.symmetrize(lambda x: x, actions.Image(G) >> actions.Image(G), frames.Full())
        >>> adapt.Contrastive(energy)(adapt.Step(model, torch.rand(2, 1, 4, 4))).shape
        torch.Size([2])
    """

    references = ("panigrahi2024improved",)

    def __init__(self, energy: Reference, temperature: float = 0.1, *, apart: float = 1.0, artefact: float = 1.0, identity: float = 1.0):
        if not isinstance(energy, Reference):
            raise InputError(explain(f"Contrastive({energy!r})", "an adapt.Reference", "pass the energy that frames.Minimize was given"))
        self.energy, self.temperature = energy, checked_temperature("Contrastive", temperature)
        for name, weight in (("apart", apart), ("artefact", artefact), ("identity", identity)):
            if not isinstance(weight, (int, float)) or not 0 <= weight < math.inf:
                raise InputError(explain(f"Contrastive({name}={weight!r})", "a weight of at least zero", "pass 0.0 to leave the term out"))
        self.apart, self.artefact, self.identity = float(apart), float(artefact), float(identity)

    def __call__(self, step: Step) -> Tensor:
        """(B,) the weighted sum of the three terms."""
        if not step.group.finite:
            raise GroupError(explain(f"Contrastive on {step.group}", "a finite group", "use a finite subgroup, such as Cyclic(8)"))
        orbit = self.orbit(step)
        found = self.identity * identity_term(self.energy.scores(orbit), self.temperature) + self.apart * apart_term(orbit)
        if self.artefact and not step.source.exact:
            found = found + self.artefact * self.trace(step, orbit[0])
        return found

    def orbit(self, step: Step) -> Tensor:
        """(|G|, B, width) embeddings of all poses, the input itself first."""
        source, inputs = step.source, step.inputs
        source.check(inputs)
        elements, count = every_element(source, inputs), step.samples
        labels = shape_labels(source, inputs, elements)
        kinds = [torch.arange(first(elements).shape[0], device=first(inputs).device)]
        if labels is not None:
            kinds = [numbers for numbers in (kinds[0][~labels], kinds[0][labels]) if len(numbers)]
        found = torch.cat([self.energy.embed(turned_back(step, tree_map(lambda leaf: leaf[own], elements))) for own in kinds])  # noqa: B023
        return found.unflatten(0, (-1, count))[torch.cat(kinds).argsort()]

    def trace(self, step: Step, here: Tensor) -> Tensor:
        """(B,) 1 - cos between embeddings of the input (B, width), and of the input moved by a random element and back."""
        source = step.source
        g = other_elements(source, step.inputs, step.generator)
        there = source.act(g, step.inputs, source.layout(step.inputs))
        back = source.act(step.group.inverse(g), there, source.layout(there))
        return 1 - (here * self.energy.embed(back)).sum(-1)

    def __repr__(self) -> str:
        weights = f"apart={self.apart:g}, artefact={self.artefact:g}"
        return f"Contrastive({self.energy!r}, temperature={self.temperature:g}, {weights})"


def identity_term(scores: Tensor, temperature: float) -> Tensor:
    """(B,) the cross-entropy of scores (|G|, B) with the first one, in nats."""
    return -torch.log_softmax(scores / temperature, 0)[0]


def apart_term(orbit: Tensor) -> Tensor:
    """(B,) the mean cosine between different ones of embeddings (|G|, B, width) of length one."""
    count = orbit.shape[0]
    if count == 1:
        return orbit.new_zeros(orbit.shape[1])
    return (orbit.sum(0).square().sum(-1) - orbit.square().sum((0, 2))) / (count * (count - 1))


def turned_back(step: Step, elements: Tree) -> Tree:
    """The inputs turned back by each of K elements, K * B samples, element after element."""
    source, at, count = step.source, step.source.layout(step.inputs), step.samples
    samples = torch.arange(count, device=first(step.inputs).device).repeat(first(elements).shape[0])
    wide = tree_map(lambda leaf: leaf.repeat_interleave(count, 0), source.resolve(step.inputs).inverse(elements))
    return source.act(wide, source.take(step.inputs, samples, at), at.take(samples)[0])
