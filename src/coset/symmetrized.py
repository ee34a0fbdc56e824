"""``Symmetrized``: a model around which a symmetry is put from outside, and ``symmetrize``, which builds it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from .actions.base import Action
from .actions.layout import Layout
from .actions.signature import Signature
from .actions.trees import Dict, Pullback, Tuple, call, visit
from .choose import choose
from .errors import FrameError, InputError, SignatureError, explain
from .frames.base import Frame, traced
from .frames.until import Until, patience
from .measure import Measure
from .pieces import Draws, Running, changed, excess, in_one, pieces, restricted, structure
from .refine import refine
from .stats import Stats
from .transport import add, canonicalize, carry, coset_term, shape_classes
from .tree import Tree, children, first, is_container, leaves, rebuild, tree_map


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
            return_stats: also return :class:`~coset.Stats`.
            kwargs: the inputs of a ``Dict`` source.

        Returns:
            The model's output structure; with ``return_stats`` a pair (output, Stats).
        """
        source = self.signature.source
        inputs = arrange(source, args, kwargs)
        measure: Measure = self.frame(inputs)
        at = source.layout(inputs)
        until = None if self.training or traced(inputs) else patience(self.frame)
        seen = self._integrate(measure, inputs, at, return_stats, return_stats or until is not None)
        if until is not None:
            seen = self._go_on(seen, inputs, at, until)
        mean = seen.running.mean()
        return (mean, _stats(seen, mean, at, patience(self.frame))) if return_stats else mean

    def _integrate(self, measure: Measure, inputs: Tree, at: Layout, spread: bool, errors: bool) -> _Seen:
        """Call the model on all canonical inputs, and add up what it returns.

        Args:
            measure: what the frame found.
            inputs: the inputs.
            at: their layout.
            spread: also the standard deviation and residuals.
            errors: also the variance between draws.
        """
        source, target = self.signature.source, self.signature.target
        if not traced(inputs):
            measure = refine(measure, source, inputs, at)
        measure = _labelled(measure, self.frame)
        rows = self._rows(measure, inputs)
        parts = shape_classes(measure, source, inputs, rows)
        self._refuse_batchnorm(max(part.shape[0] for part in parts))
        labels = measure.nested.unique().tolist() if spread and measure.nested is not None else []
        draws = Draws(measure, parts, not in_one(parts, self.chunk)) if errors and measure.draws is not None else None
        whole, nested = Running(target, at, spread, draws), [Running(target, at, False) for _ in labels]
        for piece, share, own in pieces(measure, parts, self.chunk):
            canonical = canonicalize(piece, source, inputs, at, own)
            outputs = self._evaluate(canonical, own.shape[0])
            _check_outputs(target, outputs)
            carried = carry(piece, target, outputs, at, own, source.layout(canonical), spread=spread or draws is not None)
            whole.add(piece, share, carried, own)
            for label, running in zip(labels, nested, strict=True):
                running.add(*restricted(piece, share, piece.nested == label), carried)  # type: ignore[arg-type]
        residual = _residual(whole.mean(), [running.mean() for running in nested])
        drawn = _drawn(measure) if errors else torch.zeros_like(measure.order)
        return _Seen(whole, rows.shape[0], measure.order, measure.cosets, drawn, residual, measure.scores)

    def terms(self, inputs: Tree, measure: Measure) -> tuple[Tensor, list[Tree]]:
        """What the sum is made of: the model's output at every canonical input, moved back, before anything is added up.

        The integral of the terms is what :meth:`forward` returns; losses of every single term are what training needs whose gradient
        should reach the weights of the measure.

        Args:
            inputs: a batch, as the source declares it.
            measure: what ``model.frame(inputs)`` returned.

        Returns:
            The weights (cosets, B), and for each coset a tree like the model's output: the average over the elements of the coset,
            zero where a sample does not enter the model.

        Example:
            >>> import torch, coset
            >>> from coset import actions, frames, groups
            >>> G = groups.Cyclic(4)
            >>> model = coset.symmetrize(lambda x: x[:, :1], actions.Vectors(G) >> actions.Trivial(G), frames.Full())
            >>> x = torch.tensor([[1.0, 2.0]])
            >>> weights, outputs = model.terms(x, model.frame(x))
            >>> weights.shape, [float(y) for y in outputs]
            (torch.Size([4, 1]), [1.0, 2.0, -1.0, -2.0])
        """
        source, target = self.signature.source, self.signature.target
        at = source.layout(inputs)
        if not traced(inputs):
            measure = refine(measure, source, inputs, at)
        parts = shape_classes(measure, source, inputs, self._rows(measure, inputs))
        self._refuse_batchnorm(max(part.shape[0] for part in parts))
        found: list[list[Tree]] = []
        for own in parts:
            canonical = canonicalize(measure, source, inputs, at, own)
            outputs = self._evaluate(canonical, own.shape[0])
            _check_outputs(target, outputs)
            carried = carry(measure, target, outputs, at, own, source.layout(canonical))
            found.append([coset_term(measure, target, carried, at, number) for number in range(measure.cosets)])
        return measure.coset_weights(), [add(target, several) for several in zip(*found, strict=True)]

    def _go_on(self, seen: _Seen, inputs: Tree, at: Layout, until: Until) -> _Seen:
        """Rounds of as many draws as there were, for the samples that are not within the tolerance."""
        source, count = self.signature.source, until.first
        seen.running.scaled(count)
        while count < until.most:
            chosen = torch.nonzero(excess(seen.running, at, until.stderr, until.relative) > 1).flatten()
            if not chosen.numel():
                break
            more = min(count, until.most - count)
            part = source.take(inputs, chosen, at)
            layout = source.layout(part)
            measure = self.frame.draw(part, layout, count, more)  # type: ignore[operator]
            found = self._integrate(measure, part, layout, seen.running.spread, True)
            seen.running.merge(found.running, chosen, more)
            seen = seen.plus(found, chosen)
            count += more
        return seen

    def _rows(self, measure: Measure, inputs: Tree) -> Tensor:
        """The (coset, sample) pairs that enter the model: all, or those with weight where shapes may depend on data."""
        every = torch.arange(measure.cosets * measure.samples, device=measure.weights.device)
        if measure.cosets == 1 or (self.frame.static and not self.frame.pads) or traced(inputs):
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
        whole = _concatenate([call(self.model, source, source.take(canonical, part, at)) for part in parts], [len(part) for part in parts])
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


def _concatenate(pieces: list[Any], sizes: list[int]) -> Any:
    """Join the outputs of chunks along the batch axis; numbers without one, such as mean losses, are averaged over the samples."""
    head = pieces[0]
    for piece in pieces[1:]:
        if structure(piece) != structure(head) or (isinstance(head, Tensor) and piece.shape[1:] != head.shape[1:]):
            raise changed("output", head, piece)
    if isinstance(head, Tensor):
        if head.dim():
            return torch.cat(pieces)
        averages = head.is_floating_point() or head.is_complex()
        return sum(size * piece for size, piece in zip(sizes, pieces, strict=True)) / sum(sizes) if averages else head
    if not is_container(head):
        return head
    return rebuild(head, {key: _concatenate([children(piece)[key] for piece in pieces], sizes) for key in children(head)})


@dataclass(frozen=True)
class _Seen:
    """What the model returned so far, and how often it was called."""

    running: Running
    samples: int
    order: Tensor
    cosets: int
    draws: Tensor
    residual: float | None
    scores: Mapping[str, Tensor]

    def plus(self, found: _Seen, chosen: Tensor) -> _Seen:
        """With more draws of the chosen samples, which were integrated already."""
        both = self.order[chosen] + found.order
        order = self.order.index_copy(0, chosen, torch.where((self.order[chosen] < 0) | (found.order < 0), -1, both))
        draws = self.draws.index_add(0, chosen, found.draws)
        return replace(self, samples=self.samples + found.samples, order=order, cosets=self.cosets + found.cosets, draws=draws)


def _labelled(measure: Measure, frame: Frame) -> Measure:
    """With labels of draws from 0; a random frame that gives none has made one draw, of which no error is known."""
    if measure.draws is not None:
        return replace(measure, draws=measure.draws - measure.draws.min())
    if not frame.stochastic:
        return measure
    return replace(measure, draws=torch.zeros(measure.weights.shape[0], dtype=torch.int64, device=measure.weights.device))


def _drawn(measure: Measure) -> Tensor:
    """(B,) the number of independent draws that have weight."""
    if measure.draws is None:
        return torch.zeros(measure.samples, dtype=torch.int64, device=measure.weights.device)
    total = torch.zeros_like(measure.weights).index_add(0, measure.draws, measure.weights)
    return (total > 0).sum(0)


def _stats(seen: _Seen, mean: Tree, at: Layout, until: Until | None) -> Stats:
    """What is reported of one call."""
    running = seen.running
    parts = {"share": running.tree(lambda leaf: leaf.share()), "draws": running.tree(lambda leaf: leaf.draws())}
    return Stats(
        mean,
        running.tree(lambda leaf: leaf.whole.deviation),
        running.tree(lambda leaf: leaf.variance()),
        seen.draws,
        seen.samples,
        seen.order,
        seen.cosets,
        seen.residual,
        seen.scores,
        None if until is None else excess(running, at, until.stderr, until.relative) <= 1,
        parts,
    )


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
