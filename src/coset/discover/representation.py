"""How a trained network represents a symmetry: permutations of its channels, layer by layer, and what they are worth.

Reference: Bökman and Kahl 2023, arXiv 2305.17017: networks trained on symmetric data become approximately equivariant, their ReLU
layers by permutations of channels.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..actions.image import Image
from ..actions.signature import Signature
from ..auditing.running import evaluation
from ..errors import GroupError, InputError, SignatureError, explain
from ..groups.base import Finite
from ..tree import Tree, leaves, tree_map
from .channels import Channels, channels, places
from .matching import Correlation, assign, pair
from .recording import Recorder, reordered

CHUNK, COMPARED = 128, 256
"""Images at a time; and how many residuals are taken over."""


@dataclass(frozen=True)
class Block:
    """Channels that are permuted among themselves.

    Attributes:
        name: the layer that makes them.
        channels: how many.
        permutations: (order, channels): p of element g sends channel i to p[i], h(gx) ~ g p h(x).
        residual: (order,) |h(gx) - g p h(x)| / |h(gx)| after the nonlinearity, over the first 256 images.
        alone: (order,) the same with no permutation: what the channels owe to being matched.
        homomorphism: share of channels and pairs (g, h) with p_gh = p_g p_h.
        orbits: how many orbits the permutations have: the multiplicity of the trivial representation when they are a homomorphism.
    """

    name: str
    channels: int
    permutations: Tensor
    residual: Tensor
    alone: Tensor
    homomorphism: float
    orbits: int

    @property
    def characters(self) -> Tensor:
        """(order,) how many channels each element leaves in place."""
        return (self.permutations == torch.arange(self.channels)).sum(1)


@dataclass(frozen=True)
class LayerSymmetry:
    """What :func:`layer_symmetry` found.

    Attributes:
        blocks: one :class:`Block` for channels that move together, in the order of the network.
        group: the group.
        output: |f(gx) - f(x)| / |f(x)|, the mean over the samples and the elements other than the identity.
    """

    blocks: list[Block]
    group: Finite
    output: float
    _model: nn.Module
    _found: Channels

    @property
    def homomorphism(self) -> float:
        """The share of channels on which the permutations of all blocks compose as the group does."""
        total = sum(block.channels for block in self.blocks)
        return sum(block.homomorphism * block.channels for block in self.blocks) / max(total, 1)

    def __str__(self) -> str:
        width = max([len(block.name) for block in self.blocks] + [5])
        lines = [f"{'block':<{width}}  channels  residual  unmatched  homomorphism  orbits"]
        for b in self.blocks:
            residual, alone = float(b.residual[1:].mean()), float(b.alone[1:].mean())
            lines.append(
                f"{b.name:<{width}}  {b.channels:8d}  {residual:8.3f}  {alone:9.3f}  {100 * b.homomorphism:10.1f} %  {b.orbits:6d}"
            )
        return "\n".join([f"{type(self._model).__name__} under {self.group}: output changes by {self.output:.3f}", *lines])

    def permutation(self, element: int) -> Tensor:
        """The permutation of all numbered channels for one element, by its index in ``group.elements()``."""
        whole = torch.arange(self._found.count)
        for block, numbers in zip(self.blocks, self._found.blocks.values(), strict=True):
            whole[numbers] = numbers[block.permutations[element]]
        return whole

    def transformed(self, element: int, matched: bool = True) -> nn.Module:
        """The network x -> f(gx), as weights: kernels moved by the inverse of g, channels matched to those of the network itself.

        Merging this with the network is meaningful: corresponding channels sit in corresponding places. ``matched=False`` leaves
        the channels in their order. Strides on even grids make it differ from f(gx) at the borders.
        """
        twin = copy.deepcopy(self._model)
        twin.load_state_dict(self._moved(element, matched))
        return twin

    def converted(self) -> nn.Module:
        """An equivariant network of the same architecture: every weight averaged over the group, rho_out (g W) rho_in^-1.

        The permutations have to be a homomorphism. It is exactly equivariant where strides and paddings are: a stride of 2 on an even
        grid samples other pixels after a flip. Statistics of batch normalizations are averaged too: reset them on images and on their
        moved copies, in one batch, with :func:`coset.discover.reset_statistics`, and fine-tune.

        Raises:
            GroupError: when the permutations do not compose as the group does.
        """
        if self.homomorphism < 1:
            worst = min(self.blocks, key=lambda block: block.homomorphism)
            raise GroupError(
                explain(
                    f"permutations that compose as {self.group} does on {100 * self.homomorphism:.1f} % of the channels "
                    f"(least in {worst.name!r}, {100 * worst.homomorphism:.1f} %)",
                    "a homomorphism on all of them",
                    "match more images, or a subgroup of order 2, whose matches are made their own inverse",
                )
            )
        states = [self._moved(element) for element in range(self.group.order)]
        mean = {
            key: torch.stack([state[key] for state in states]).mean(0) if value.is_floating_point() else value
            for key, value in states[0].items()
        }
        twin = copy.deepcopy(self._model)
        twin.load_state_dict(mean)
        return twin

    def _moved(self, element: int, matched: bool = True) -> dict[str, Tensor]:
        """The state of x -> f(gx), with matched channels."""
        state = {key: value.detach().clone() for key, value in self._model.state_dict().items()}
        inverse = self.group.inverse(_pick(self.group, element))
        action = Image(self.group)
        for name in {axis.name for axis in self._found.axes}:
            grids = [axis.grid for axis in self._found.axes if axis.name == name and axis.grid]
            value = state[name]
            if value.dim() == 4:
                state[name] = _turn(action, inverse, value)
            elif grids:
                wide = value.reshape(value.shape[0] if value.dim() == 2 else 1, -1, *grids[0])
                state[name] = _turn(action, inverse, wide).reshape(value.shape)
        return reordered(state, self._found, self.permutation(element)) if matched else state


def layer_symmetry(model: nn.Module, signature: Signature, images: Tensor, *, chunk: int = CHUNK) -> LayerSymmetry:
    """Match the channels of a network on images with those on moved images, layer by layer.

    For each element g the activations h(gx), moved back by g, are compared with h(x) over all samples and pixels; the
    assignment of channels with the largest sum of correlations is the permutation p. Channels that a network adds (residual streams) share
    one. For groups of order 2 the assignment is the best one that is its own inverse.

    Args:
        model: a network of convolutions, linear layers, batch normalizations, poolings and elementwise nonlinearities.
        signature: ``Image(G) >> …`` for a finite group of quarter turns and flips: ``Dihedral(1)`` is the left-right flip.
        images: (B, C, H, W), at least 2.
        chunk: images at a time.

    Raises:
        SignatureError: for other actions.
        InputError: for networks that cannot be traced, naming the operation, kernels that cannot be turned, and bad images.
        MissingExtraError: without SciPy (and networkx, for groups of order 2).

    Example:
        >>> import torch
        >>> from coset import actions, discover, groups
        >>> _ = torch.manual_seed(0)
        >>> net = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.ReLU(), torch.nn.Conv2d(4, 2, 3))
        >>> net[0].weight.data[2:] = net[0].weight.data[:2].flip(-1)
        >>> net[0].bias.data[2:] = net[0].bias.data[:2]
        >>> flip = groups.Dihedral(1)
        >>> found = discover.layer_symmetry(net, actions.Image(flip) >> actions.Image(flip), torch.randn(8, 1, 9, 9))
        >>> found.blocks[0].permutations[1].tolist(), round(float(found.blocks[0].residual[1]), 6)
        ([2, 3, 0, 1], 0.0)
    """
    group = _check(model, signature, images)
    found = channels(model, images[:2])
    _check_kernels(model, group, images)
    with evaluation(model), torch.no_grad():
        scores, output = _scores(found, signature, group, images, chunk)
        permutations = [_match(score, group) for score in scores]
        blocks = _blocks(found, signature, group, images[:COMPARED], permutations, chunk)
    return LayerSymmetry(blocks, group, output, model, found)


def _check(model: nn.Module, signature: Signature, images: Tensor) -> Finite:
    group = signature.group
    if not isinstance(model, nn.Module):
        raise InputError(explain(f"{type(model).__name__} as model", "a torch.nn.Module", "wrap the function in a module"))
    if not isinstance(signature.source, Image) or not isinstance(group, Finite) or not signature.source.exact:
        raise SignatureError(
            explain(
                f"{signature}", "Image(G) of quarter turns and flips", "use Cyclic(2), Cyclic(4), Dihedral(1), Dihedral(2) or Dihedral(4)"
            )
        )
    if group.order < 2:
        raise SignatureError(explain(f"{group}, which moves nothing", "a group of two elements or more", "use Dihedral(1) or Cyclic(4)"))
    signature.source.check(images)
    signature.source.check_finite(images)
    if len(images) < 2:
        raise InputError(explain(f"{len(images)} image(s)", "at least 2, better some hundreds", "correlations need a sample"))
    return group


def _check_kernels(model: nn.Module, group: Finite, images: Tensor) -> None:
    """Refuse what cannot be moved by the group."""
    swapped = Image(group).shape_labels(group.elements(), images.new_zeros(group.order, 1, 1, 2))
    if swapped is None or not bool(swapped.any()):
        return
    if images.shape[-1] != images.shape[-2]:
        raise InputError(explain(f"images of {tuple(images.shape[-2:])} under {group}", "square images", "crop them, or use flips"))
    for name, part in model.named_modules():
        if isinstance(part, nn.Conv2d) and len({*part.kernel_size}) > 1:
            raise InputError(explain(f"the kernel {part.kernel_size} of {name!r} under {group}", "square kernels", "use flips"))


def _scores(found: Channels, signature: Signature, group: Finite, images: Tensor, chunk: int) -> tuple[list[Tensor], float]:
    """By block, correlations (order, channels, channels); and how much the output changes."""
    sums = [[Correlation(len(numbers)) for _ in range(group.order)] for numbers in found.blocks.values()]
    changes, sizes = 0.0, 0.0
    for element, here, moved, outputs in _runs(found, signature, group, images, chunk):
        for kept, numbers in zip(sums, found.blocks.values(), strict=True):
            for name, ids in found.nodes.items():
                at = places(ids, numbers)
                if at is not None:
                    kept[element].add(here[name][:, at], moved[name][:, at])
        for there, before in zip(leaves(outputs[1]), leaves(outputs[0]), strict=True):
            changes += float((there - before).double().square().sum())
            sizes += float(before.double().square().sum())
    scale = sizes * (group.order - 1) / group.order
    return [torch.stack([one.matrix() for one in kept]) for kept in sums], (changes / scale) ** 0.5 if scale else 0.0


def _runs(found: Channels, signature: Signature, group: Finite, images: Tensor, chunk: int) -> Iterator[tuple[int, Any, Any, Any]]:
    """For each piece and element: the activations on x, those on gx moved back, and both outputs."""
    for part in images.split(chunk):
        here = Recorder(found).record(part)
        for element in range(group.order):
            g = _pick(group, element)
            back = group.inverse(g)
            moved = Recorder(found).record(_turn(signature.source, g, part))
            for name, value in moved.kept.items():
                if value.dim() == 4:
                    moved.kept[name] = _turn(Image(group), back, value)
            returned = signature.target.act(_spread(tree_map(lambda t: t.to(images.device), back), len(part)), moved.returned)
            yield element, here.kept, moved.kept, (here.returned, returned)


def _blocks(found: Channels, signature: Signature, group: Finite, images: Tensor, matched: list[Tensor], chunk: int) -> list[Block]:
    """Residuals with and without the permutations."""
    sums = torch.zeros(len(matched), group.order, 3, dtype=torch.float64)
    for element, here, moved, _ in _runs(found, signature, group, images, chunk):
        for k, numbers in enumerate(found.blocks.values()):
            for name, ids in found.nodes.items():
                at = places(ids, numbers)
                if at is not None:
                    a, b = here[name][:, at], moved[name][:, at]
                    sums[k, element, 0] += (b[:, matched[k][element]] - a).double().square().sum().cpu()
                    sums[k, element, 1] += (b - a).double().square().sum().cpu()
                    sums[k, element, 2] += b.double().square().sum().cpu()
    scale = sums[..., 2].clamp(min=1e-300)
    table = _table(group)
    return [
        Block(
            name, p.shape[1], p, (sums[k, :, 0] / scale[k]).sqrt(), (sums[k, :, 1] / scale[k]).sqrt(), _composes(p, table), _orbits(p)
        )
        for k, (name, p) in enumerate(zip(found.blocks, matched, strict=True))
    ]  # fmt: skip


def _match(scores: Tensor, group: Finite) -> Tensor:
    """The permutations (order, channels) of one block; that of the identity is none."""
    stay = torch.arange(scores.shape[-1])
    found = [pair((score + score.mT) / 2) if group.order == 2 else assign(score) for score in scores[1:]]
    return torch.stack([stay, *found])


def _table(group: Finite) -> Tensor:
    """(order, order) the index of each product."""
    n, elements = group.order, group.elements()
    rows = torch.arange(n)
    left, right = (tree_map(lambda t, at=at: t[at], elements) for at in (rows.repeat_interleave(n), rows.repeat(n)))
    return group.index(group.compose(left, right)).reshape(n, n)


def _composes(permutations: Tensor, table: Tensor) -> float:
    """The share of channels and pairs with p_gh = p_g p_h."""
    products = torch.stack([p[permutations] for p in permutations])  # [g, h, i] = p_g[p_h[i]]
    return float((products == permutations[table]).double().mean())


def _orbits(permutations: Tensor) -> int:
    """The number of sets of channels that the permutations connect."""
    label = torch.arange(permutations.shape[1])
    for _ in range(permutations.shape[1]):
        lowest = label.clone()
        for p in permutations:
            lowest = torch.minimum(lowest, lowest[p])
            lowest.scatter_reduce_(0, p, lowest.clone(), "amin")
        if lowest.equal(label):
            break
        label = lowest
    return len(label.unique())


def _pick(group: Finite, element: int) -> Tree:
    if not isinstance(element, int) or not 0 <= element < group.order:
        given = f"the element {element!r} of {group}"
        raise GroupError(explain(given, f"a position in its list, 0 to {group.order - 1}", "see group.elements()"))
    return tree_map(lambda t: t[element : element + 1], group.elements())


def _spread(g: Tree, samples: int) -> Tree:
    return tree_map(lambda t: t.expand(samples, *t.shape[1:]), g)


def _turn(action: Any, g: Tree, x: Tensor) -> Tensor:
    return action.act(tree_map(lambda t: t.to(x.device), _spread(g, len(x))), x)
