"""``Symmetrized``: a model around which a symmetry is put from outside, and ``symmetrize``, which builds it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .actions.base import Action
from .actions.signature import Signature
from .actions.trees import Dict, Pullback, Tuple, call, visit
from .choose import choose
from .errors import FrameError, InputError, SignatureError, explain
from .frames.base import Frame, traced
from .measure import Measure
from .pieces import Running, pieces, restricted
from .refine import refine
from .transport import canonicalize, carry, shape_classes
from .tree import Tree, children, first, is_container, leaves, rebuild, tree_map


@dataclass(frozen=True)
class Stats:
    """What one call of a symmetrized model saw.

    Attributes:
        std: a tree like the output: the standard deviation of every entry over the measure (zero for one element).
        samples: how many samples entered the model.
        order: (B,) number of elements of each measure, -1 where infinite.
        cosets: model calls per sample (of the sample with most).
        residual: for a quadrature, the largest relative distance between the averages over its sub-rules; None for
            measures that are exact or carry no sub-rules.
    """

    std: Tree
    samples: int
    order: Tensor
    cosets: int
    residual: float | None = None


class Symmetrized(nn.Module):
    """Phi(x) = sum_i w_i(x) rho_Y(g_i(x)) f(rho_X(g_i(x))^-1 x), with f the wrapped model, called once per coset.

    The model's parameters appear under ``model.`` in ``state_dict``, those of a learned frame under ``frame.``.

    Modes: in training mode all k canonical inputs of all samples enter the model as one batch: BatchNorm takes its
    statistics over them, dropout draws its own mask for each. ``chunk=`` would change BatchNorm's statistics and is
    refused then. In eval mode everything is deterministic where the frame is.

    Args:
        model: any callable or module.
        signature: ``source >> target``.
        frame: an unbound frame.
        chunk: the largest number of samples that enter the model at once; None for all at once. Canonical inputs and
            outputs are made and integrated as they come, so memory does not grow with the number of cosets, but for
            what autograd keeps when gradients are on.
        reason: why this frame was chosen, for ``repr``.

    Example:
        >>> import torch, coset
        >>> from coset import actions, frames, groups
        >>> G = groups.Cyclic(4)
        >>> net = coset.Symmetrized(lambda x: x[:, :1], actions.Vectors(G) >> actions.Trivial(G), frames.Full())
        >>> net(torch.tensor([[1.0, 2.0]])).abs() < 1e-6
        tensor([[True]])
    """

    def __init__(
        self, model: Callable[..., Any], signature: Signature, frame: Frame, *, chunk: int | None = None, reason: str = "as asked"
    ):
        super().__init__()
        if not isinstance(signature, Signature):
            raise SignatureError(
                explain(f"{signature!r} as signature", "source >> target", "write for instance actions.Points(G) >> actions.Trivial(G)")
            )
        if not callable(model):
            raise SignatureError(explain(f"{model!r} as model", "a callable", "pass a torch module or a function"))
        if not isinstance(frame, Frame):
            raise FrameError(explain(f"{frame!r} as frame", "a frame object", "pass for instance frames.Minimal()"))
        if chunk is not None and (not isinstance(chunk, int) or chunk < 1):
            raise InputError(explain(f"chunk={chunk!r}", "a positive number of samples, or None", "pass for instance chunk=1024"))
        self.model = model
        self.frame = frame.bind(signature.source, signature.target)
        self.signature, self.chunk, self.reason = signature, chunk, reason

    def forward(self, *args: Any, return_stats: bool = False, **kwargs: Any) -> Any:
        """Call the symmetrized model as the model itself would be called.

        Args:
            args: the inputs, as the source says.
            return_stats: also return :class:`Stats`.
            kwargs: the inputs of a ``Dict`` source.

        Returns:
            The model's output structure; with ``return_stats`` a pair (output, Stats).
        """
        source, target = self.signature.source, self.signature.target
        inputs = arrange(source, args, kwargs)
        measure: Measure = self.frame(inputs)
        at = source.layout(inputs)
        if not traced(inputs):
            measure = refine(measure, source, inputs, at)
        rows = self._rows(measure, inputs)
        parts = shape_classes(measure, source, inputs, rows)
        self._refuse_batchnorm(max(part.shape[0] for part in parts))
        labels = measure.nested.unique().tolist() if return_stats and measure.nested is not None else []
        whole, nested = Running(target, at, return_stats), [Running(target, at, False) for _ in labels]
        for piece, share, own in pieces(measure, parts, self.chunk):
            canonical = canonicalize(piece, source, inputs, at, own)
            outputs = self._evaluate(canonical, own.shape[0])
            _check_outputs(target, outputs)
            carried = carry(piece, target, outputs, at, own, source.layout(canonical), spread=return_stats)
            whole.add(piece, share, carried)
            for label, running in zip(labels, nested, strict=True):
                running.add(*restricted(piece, share, piece.nested == label), carried)  # type: ignore[arg-type]
        mean, spread = whole.result()
        if not return_stats:
            return mean
        residual = _residual(mean, [running.result()[0] for running in nested])
        return mean, Stats(spread, int(rows.shape[0]), measure.order, measure.cosets, residual)

    def _rows(self, measure: Measure, inputs: Tree) -> Tensor:
        """The (coset, sample) pairs that enter the model: all, or those with weight where shapes may depend on data."""
        every = torch.arange(measure.cosets * measure.samples, device=measure.weights.device)
        if measure.cosets == 1 or self.frame.static or traced(inputs):
            return every
        return every[measure.coset_weights().flatten() > 0]

    def _refuse_batchnorm(self, count: int) -> None:
        """Raise where ``count`` samples would enter a training model in chunks that change the statistics of BatchNorm."""
        if self.chunk is None or count <= self.chunk or not self.training:
            return
        if any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in self.modules()):
            raise InputError(
                explain(
                    f"chunk={self.chunk} while training a model with BatchNorm",
                    "statistics over the whole batch",
                    "call eval(), set chunk=None, or use GroupNorm or LayerNorm",
                )
            )

    def _evaluate(self, canonical: Tree, count: int) -> Any:
        source = self.signature.source
        if self.chunk is None or count <= self.chunk:
            return call(self.model, source, canonical)
        at = source.layout(canonical)
        every = torch.arange(count, device=first(canonical).device)
        parts = every.split(self.chunk)
        whole = _concatenate([call(self.model, source, source.take(canonical, part, at)) for part in parts])
        if at.batch is None:
            return whole
        rows = torch.cat([at.take(part)[1] for part in parts])  # type: ignore[misc]
        return tree_map(lambda leaf: torch.empty_like(leaf).index_copy(0, rows, leaf) if at.is_per_row(leaf) else leaf, whole)

    def __repr__(self) -> str:
        return (
            f"Symmetrized(\n  model: {type(self.model).__name__}\n  signature: {self.signature!r}\n"
            f"  frame: {self.frame!r} ({self.reason})\n  exact: {self.frame.exact}, static: {self.frame.static}\n)"
        )


def symmetrize(model: Callable[..., Any], signature: Signature, frame: Frame | None = None, *, chunk: int | None = None) -> Symmetrized:
    """Make any model equivariant without touching its architecture.

    Args:
        model: any callable or module, called as the signature's source says: a ``Dict`` by keyword, a ``Tuple`` by
            position, anything else as one argument.
        signature: ``source >> target``: how the group moves inputs and outputs.
        frame: how the measure on the group is built from an input; the cheapest exact one when left out, and
            ``repr`` of the result says which and why.
        chunk: the largest number of samples that enter the model at once.

    Raises:
        FrameError: when no exact frame is known for the group, or ``frame`` does not fit it.

    Example:
        >>> import torch, coset
        >>> from coset import actions, groups
        >>> SO3 = groups.SpecialOrthogonal(3)
        >>> model = coset.symmetrize(torch.nn.Linear(3, 3), actions.Vectors(SO3) >> actions.Vectors(SO3))
        >>> x, g = torch.randn(4, 3), SO3.haar(4)
        >>> turn = actions.Vectors(SO3).act
        >>> torch.allclose(model(turn(g, x)), turn(g, model(x)), atol=1e-5)
        True
    """
    if not isinstance(signature, Signature):
        raise SignatureError(
            explain(f"{signature!r} as signature", "source >> target", "write for instance actions.Points(G) >> actions.Trivial(G)")
        )
    reason = "as asked"
    if frame is None:
        frame, reason = choose(signature)
    return Symmetrized(model, signature, frame, chunk=chunk, reason=reason)


def arrange(source: Action, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tree:
    """The inputs as data of the source."""
    kind = source.action if isinstance(source, Pullback) else source
    if isinstance(kind, Dict):
        if args:
            raise SignatureError(
                explain(
                    f"{len(args)} positional arguments",
                    f"the keywords {list(kind.entries)}",
                    "call the model by keyword, or declare a Tuple source",
                )
            )
        return kwargs
    if kwargs:
        raise SignatureError(
            explain(f"keyword arguments {list(kwargs)}", f"positional arguments for {kind}", "declare a Dict source to call by keyword")
        )
    if isinstance(kind, Tuple):
        return args
    if len(args) != 1:
        raise SignatureError(
            explain(
                f"{len(args)} arguments for the source {kind}", "one argument", "declare actions.Tuple(…) or actions.Dict(…) for several"
            )
        )
    return args[0]


def _check_outputs(target: Action, outputs: Tree) -> None:
    def look(leaf: Action, value: Any, path: str) -> Any:
        if value is None and leaf.averaged:
            raise InputError(explain(f"{path} is None", f"data for {leaf}", "make the model return it, or declare it Ignore"))
        if isinstance(value, Tensor) or leaf.averaged:
            leaf.check(value, path)
        return value

    visit(target, outputs, look, "output")


def _concatenate(pieces: list[Any]) -> Any:
    """Join the outputs of chunks along the batch axis."""
    head = pieces[0]
    if isinstance(head, Tensor):
        return torch.cat(pieces) if head.dim() else head
    if not is_container(head):
        return head
    return rebuild(head, {key: _concatenate([children(piece)[key] for piece in pieces]) for key in children(head)})


def _residual(mean: Tree, nested: list[Tree]) -> float | None:
    """The largest relative distance between averages over the sub-rules of a quadrature and the average."""
    if not nested:
        return None
    worst = 0.0
    for part in nested:
        for value, other in zip(leaves(mean), leaves(part), strict=True):
            if value.is_floating_point() or value.is_complex():
                scale = value.detach().abs().square().mean().sqrt().clamp_min(torch.finfo(value.dtype).tiny)
                worst = max(worst, float((other - value).detach().abs().square().mean().sqrt() / scale))
    return worst
