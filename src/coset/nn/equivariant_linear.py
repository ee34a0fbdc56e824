"""A linear layer between any two actions of a group: coefficients over all maps that commute with it, and a fixed bias."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..actions.base import Action
from ..actions.signature import Signature
from ..errors import CosetError, InputError, SignatureError, describe, explain
from ..groups.generating import count, generators, joined
from ..tree import tree_map
from .equivariant_basis import EquivariantBasis, equivariant_basis
from .equivariant_representation import Representation


class EquivariantLinear(nn.Module):
    """x -> W x + b, with all W that commute with the group and all b that it leaves alone.

    Input (B, *source_shape), or (B, c_in, *source_shape) with ``channels``; output alike. Every pair of channels has its own
    coefficients. Coefficients start so that independent inputs of variance one give outputs of mean square one.

    Args:
        source: how inputs move.
        target: how outputs move.
        channels: (c_in, c_out), where events come in channels; None for a single event.
        bias: whether a bias is added, where the target has fixed events.
        source_shape: of one input, where the action leaves it open.
        target_shape: of one output.
        basis: the result of :func:`equivariant_basis`, to compute it once for several layers.

    Raises:
        SignatureError: as :func:`equivariant_basis`; and when zero is the only equivariant map.
        InputError: when called with other shapes.

    Reference: Finzi, Welling and Wilson 2021, arXiv 2104.09459.

    Example:
        >>> import torch
        >>> from coset import actions, groups, nn
        >>> S4 = groups.Symmetric(4)
        >>> layer = nn.EquivariantLinear(actions.Permute(S4, -2, -1), actions.Permute(S4, -1), channels=(3, 8))
        >>> layer(torch.randn(10, 3, 4, 4)).shape, layer.certificate() < 1e-6
        (torch.Size([10, 8, 4]), True)
    """

    references = ("finzi2021practical",)
    unit: Tensor
    still: Tensor
    labels: Tensor

    def __init__(
        self,
        source: Action,
        target: Action,
        *,
        channels: tuple[int, int] | None = None,
        bias: bool = True,
        source_shape: tuple[int, ...] | None = None,
        target_shape: tuple[int, ...] | None = None,
        basis: EquivariantBasis | None = None,
    ):
        super().__init__()
        found = basis or equivariant_basis(source, target, source_shape=source_shape, target_shape=target_shape)
        if not found.dimension:
            raise SignatureError(
                explain(
                    f"linear maps from {source} to {target}", "one that is not zero", "raise the order of the tensors, or use another map"
                )
            )
        pairs = ((source, found.signature.source, found.source_shape), (target, found.signature.target, found.target_shape))
        if not all(_alike(given, known, shape) for given, known, shape in pairs):
            raise SignatureError(
                explain(f"a basis of {found.signature} for {source >> target}", "one of these actions", "leave basis= out")
            )
        self.signature: Signature = found.signature
        self.channels = _checked(channels)
        self.source_shape, self.target_shape, self.dimension = found.source_shape, found.target_shape, found.dimension
        self.complex = found.dtype.is_complex
        fixed = self._fixed() if bias else None
        self._precise = {"unit": self._real(found.basis if found.labels is None else found.sizes.rsqrt().to(found.dtype))}
        self._precise |= {} if fixed is None else {"still": self._real(fixed)}
        self._precise |= {} if found.labels is None else {"labels": found.labels}
        for name in ("unit", "still", "labels"):
            wide = self._precise.get(name)
            dtype = torch.int64 if name == "labels" else torch.get_default_dtype()
            here = None if wide is None else wide.to(torch.get_default_device(), dtype)
            self.register_buffer(name, here, persistent=False)
        into, out = self.channels or (1, 1)
        pair = (2,) if self.complex else ()
        self.weight = nn.Parameter(torch.empty(out, into, found.dimension, *pair))
        self.bias = nn.Parameter(torch.zeros(out, len(fixed), *pair)) if fixed is not None and len(fixed) else None
        self.reset_parameters()

    def _real(self, x: Tensor) -> Tensor:
        """Complex numbers as pairs, so that changes of dtype are those of real layers."""
        return torch.view_as_real(x.resolve_conj()).contiguous() if self.complex else x

    def _number(self, x: Tensor) -> Tensor:
        """Pairs as complex numbers, where the layer is complex."""
        return torch.view_as_complex(x) if self.complex else x

    def _apply(self, fn: Callable[..., Tensor], recurse: bool = True) -> EquivariantLinear:
        """Change dtype or device; bases are rounded anew from full precision, so that ``.double()`` is as exact as it can be."""
        super()._apply(fn, recurse)
        for name, wide in self._precise.items():
            setattr(self, name, wide.to(getattr(self, name)))
        return self

    def _fixed(self) -> Tensor:
        """The events (k, D) of the target that nothing moves."""
        target = Representation(self.signature.target, self.target_shape)
        found = equivariant_basis(target.trivial.action, self.signature.target, source_shape=(1,), target_shape=self.target_shape)
        return found.basis[:, :, 0].contiguous()

    def reset_parameters(self) -> None:
        """Draw new coefficients; the bias is zero."""
        size = math.prod(self.target_shape)
        into = self.channels[0] if self.channels else 1
        nn.init.normal_(self.weight, std=math.sqrt(size / (self.dimension * into * (1 + self.complex))))
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def matrix(self) -> Tensor:
        """W, (c_out * out, c_in * in): events row by row, channels outside; (out, in) without channels."""
        weight, unit = self._number(self.weight), self._number(self.unit)
        blocks = torch.tensordot(weight, unit, dims=1) if self.labels is None else (weight * unit)[..., self.labels]
        return blocks.transpose(1, 2).flatten(2).flatten(0, 1)

    def shift(self) -> Tensor | None:
        """b, (c_out, out), or None."""
        return None if self.bias is None else self._number(self.bias) @ self._number(self.still)

    def forward(self, x: Tensor) -> Tensor:
        """The image of x, of shape (B, c_out, *target_shape) or (B, *target_shape)."""
        lead = () if self.channels is None else self.channels[:1]
        shape = (*lead, *self.source_shape)
        if tuple(x.shape[x.dim() - len(shape) :]) != shape:
            raise InputError(explain(describe(x), f"a last shape {shape} for {self}", "reshape it, or give channels= and source_shape="))
        y = x.reshape(*x.shape[: x.dim() - len(shape)], math.prod(shape)) @ self.matrix().mT
        shift = self.shift()
        y = y if shift is None else y + shift.flatten()
        head = () if self.channels is None else self.channels[1:]
        return y.reshape(*y.shape[:-1], *head, *self.target_shape)

    @torch.no_grad()
    def certificate(self) -> float:
        """The largest error of rho_out(g) (W x + b) = W rho_in(g) x + b, over generators and random g, relative to entries of W.

        The representations are computed in float64; the result is the rounding of the weights where the layer is right.
        """
        into, out = Representation(self.signature.source, self.source_shape), Representation(self.signature.target, self.target_shape)
        group = into.group if into.group != into.action.group else out.group
        drawn = group.sample(8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        g = joined([generators(group), drawn])
        c_in, c_out = self.channels or (1, 1)
        w = self.matrix().detach().cpu().to(into.dtype).reshape(c_out, out.size, c_in, into.size)
        b = self.shift()
        b = w.new_zeros(c_out, out.size) if b is None else b.detach().cpu().to(into.dtype)
        worst = 0.0
        for number in range(count(g)):
            one = tree_map(lambda leaf, n=number: leaf[n : n + 1], g)
            left, right = out.matrices(one)[0], into.matrices(one)[0]
            gap = torch.einsum("pq,cqdi->cpdi", left, w) - torch.einsum("cpdj,ji->cpdi", w, right)
            scale = max(1.0, float(left.abs().max()), float(right.abs().max()))
            worst = max(worst, float(gap.abs().max()) / scale, float((b @ left.mT - b).abs().max()) / scale)
        return worst / (float(w.abs().max()) or 1.0)

    def extra_repr(self) -> str:
        """The signature, channels and the number of independent maps."""
        return f"{self.signature!r}, channels={self.channels}, dimension={self.dimension}, bias={self.bias is not None}"


def _alike(given: Action, known: Action, shape: tuple[int, ...]) -> bool:
    """Whether two actions move events of a shape alike."""
    if given is known:
        return True
    if given.group != known.group:
        return False
    with torch.device("cpu"):
        try:
            one, two = Representation(given, shape), Representation(known, shape)
        except CosetError:
            return False
        g = one.group.sample(4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        x = torch.randn(1, one.size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        return torch.allclose(one.moved(g, x), two.moved(g, x), rtol=1e-6, atol=1e-6)


def _checked(channels: tuple[int, int] | None) -> tuple[int, int] | None:
    """A pair of positive numbers, or None."""
    if channels is None:
        return None
    pair = tuple(channels) if isinstance(channels, (tuple, list)) else ()
    if len(pair) != 2 or not all(isinstance(n, int) and not isinstance(n, bool) and n >= 1 for n in pair):
        raise InputError(explain(f"channels={channels!r}", "two positive whole numbers", "pass for instance channels=(16, 32)"))
    return pair  # type: ignore[return-value]
