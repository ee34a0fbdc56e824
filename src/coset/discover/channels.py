"""Which channels of a network may be permuted together: hidden channels traced through sums, paddings and reshapings.

The network is traced once with ``torch.fx``. Every convolution or linear layer makes fresh channels; a sum identifies those of its
terms (zero padding is free); what is identified moves together. Channels of the input and of the output stay where they are.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import ShapeProp

from ..auditing.running import evaluation
from ..errors import InputError, explain

ZERO = -1
"""The number of a channel that is always zero."""

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
SAME = (
    nn.ReLU, nn.LeakyReLU, nn.GELU, nn.SiLU, nn.ELU, nn.Tanh, nn.Sigmoid, nn.Softplus, nn.ReLU6, nn.Hardswish, nn.Identity, nn.Dropout,
    nn.Dropout2d, nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d,
)  # fmt: skip
KEEP: set[Any] = {
    F.relu, torch.relu, torch.relu_, F.gelu, F.silu, F.leaky_relu, F.elu, torch.tanh, torch.sigmoid, F.avg_pool2d, F.max_pool2d,
    F.adaptive_avg_pool2d, F.adaptive_max_pool2d, F.dropout, "relu", "relu_", "tanh", "sigmoid", "contiguous", "clone",
    operator.mul, operator.truediv,
}  # fmt: skip
ADD: set[Any] = {operator.add, operator.iadd, torch.add, "add", "add_"}
MEAN: set[Any] = {torch.mean, torch.amax, torch.sum, "mean", "amax", "sum"}
FLAT: set[Any] = {torch.flatten, "flatten", "view", "reshape", torch.reshape}
QUIET: set[Any] = {getattr, "size", operator.floordiv}
LIFTS: set[Any] = {nn.Sigmoid, nn.Softplus, torch.sigmoid, "sigmoid"}
"""What makes something of zero."""


@dataclass(frozen=True)
class Layout:
    """The channels of one tensor.

    Attributes:
        ids: the number of the channel at each place of axis 1, before what was identified.
        grid: (H, W) where a flattened image has its channels' pixels one after the other; None else.
    """

    ids: tuple[int, ...]
    grid: tuple[int, int] | None = None


@dataclass(frozen=True)
class Axis:
    """One axis of a parameter or buffer that lists channels.

    Attributes:
        name: of the tensor in ``state_dict``.
        axis: which one.
        ids: the number of the channel at each place (after what was identified), ZERO or a fixed number included.
        grid: (H, W) of a flattened image, else None.
    """

    name: str
    axis: int
    ids: Tensor
    grid: tuple[int, int] | None = None


@dataclass
class Channels:
    """The hidden channels of a network.

    Attributes:
        blocks: by name, the numbers of channels that are permuted among themselves.
        axes: the parameters and buffers that list them.
        nodes: by the name of a traced tensor after a nonlinearity or sum, the numbers of its channels.
        graph: the traced network.
        count: how many numbers there are.
        grids: by the name of a traced tensor that is a flattened image, (H, W).
    """

    blocks: dict[str, Tensor]
    axes: list[Axis]
    nodes: dict[str, Tensor]
    graph: fx.GraphModule
    count: int
    grids: dict[str, tuple[int, int]] = field(default_factory=dict)


@dataclass
class _Trace:
    """The state of one pass through the graph."""

    modules: dict[str, nn.Module]
    parent: list[int] = field(default_factory=list)
    maker: list[str] = field(default_factory=list)
    fixed: set[int] = field(default_factory=set)
    layouts: dict[str, Layout] = field(default_factory=dict)
    axes: list[tuple[str, int, Layout]] = field(default_factory=list)
    used: dict[str, tuple[Layout, Layout]] = field(default_factory=dict)

    def fresh(self, count: int, maker: str) -> Layout:
        start = len(self.parent)
        self.parent += range(start, start + count)
        self.maker += [maker] * count
        return Layout(tuple(range(start, start + count)))

    def filled(self, layout: Layout) -> Layout:
        """Channels that were zero and no longer are: each has a place of its own."""
        if ZERO not in layout.ids:
            return layout
        ids = [i if i != ZERO else self.fresh(1, "padding").ids[0] for i in layout.ids]
        self.fixed.update(set(ids) - set(layout.ids))
        return Layout(tuple(ids), layout.grid)

    def root(self, number: int) -> int:
        while number != ZERO and self.parent[number] != number:
            self.parent[number] = self.parent[self.parent[number]]
            number = self.parent[number]
        return number

    def join(self, a: Layout, b: Layout, node: fx.Node) -> Layout:
        if len(a.ids) != len(b.ids) or a.grid != b.grid:
            raise _refuse(node, "terms with as many channels")
        merged = []
        for i, j in zip(map(self.root, a.ids), map(self.root, b.ids), strict=True):
            if ZERO not in (i, j):
                self.parent[max(i, j)] = min(i, j)
            merged.append(max(i, j) if ZERO in (i, j) else min(i, j))
        return Layout(tuple(merged), a.grid)


def channels(model: nn.Module, example: Tensor) -> Channels:
    """Trace a network, in evaluation mode, and find which channels move together.

    Args:
        model: convolutional, residual or fully connected, of modules and functions that ``torch.fx`` can trace.
        example: a small batch (B, C, H, W) or (B, n).

    Raises:
        InputError: naming the operation that is not known, or a parameter with two names.
    """
    _unshared(model)
    with evaluation(model), torch.no_grad():
        try:
            graph = fx.symbolic_trace(model)
        except Exception as error:  # whatever a model's own code raises while it is traced
            raise InputError(
                explain(f"{type(model).__name__}: {error}", "a network that torch.fx can trace", "remove control flow that depends on data")
            ) from error
        ShapeProp(graph).propagate(example)
    trace = _Trace(dict(graph.named_modules()))
    for node in graph.graph.nodes:
        _visit(trace, node)
    return _gather(trace, graph)


def _unshared(model: nn.Module) -> None:
    """Refuse tensors with two names in the state: reordered under one of them, they would be put back by the other."""
    names: dict[int, str] = {}
    for name, value in model.state_dict(keep_vars=True).items():
        if isinstance(value, Tensor) and names.setdefault(id(value), name) != name:
            given = f"one tensor under the names {names[id(value)]!r} and {name!r}"
            raise InputError(explain(given, "one name for each tensor", "call one module twice, or untie them"))


def _visit(trace: _Trace, node: fx.Node) -> None:
    if node.op == "placeholder":
        found: Layout | None = trace.fresh(_shape(node)[1], "input")
        trace.fixed.update(found.ids if found else ())
    elif node.op == "call_module":
        found = _module(trace, node, trace.modules[str(node.target)])
    elif node.op in ("call_function", "call_method"):
        found = _function(trace, node)
    elif node.op == "output":
        trace.fixed.update(i for end in node.all_input_nodes for i in trace.layouts[end.name].ids)
        return
    else:
        raise _refuse(node, "parameters used by modules only")
    if found is not None:
        trace.layouts[node.name] = found


def _module(trace: _Trace, node: fx.Node, module: nn.Module) -> Layout:
    source, name = _layout(trace, node), str(node.target)
    if name in trace.used:
        return _again(trace, node, source)
    if isinstance(module, nn.Conv2d | nn.Linear):
        made = _linear(trace, node, module, source)
        trace.used[name] = (source, made)
        return made
    if isinstance(module, NORMS):
        trace.axes += [(f"{name}.{key}", 0, source) for key, value in module.state_dict().items() if value.dim() == 1]
        made = trace.filled(source)
        trace.used[name] = (source, made)
        return made
    if isinstance(module, nn.Flatten):
        return _flatten(trace, node, source)
    if isinstance(module, SAME):
        return trace.filled(source) if type(module) in LIFTS else source
    raise _refuse(node, "convolutions, linear layers, batch normalizations, poolings and elementwise layers")


def _again(trace: _Trace, node: fx.Node, source: Layout) -> Layout:
    """A layer that runs once more: what enters it and what leaves it are the channels of the first time."""
    before, made = trace.used[str(node.target)]
    if [i == ZERO for i in before.ids] != [i == ZERO for i in source.ids]:
        raise _refuse(node, "a layer whose uses pad the same channels")
    trace.join(before, source, node)
    return made


def _linear(trace: _Trace, node: fx.Node, module: nn.Conv2d | nn.Linear, source: Layout) -> Layout:
    name = str(node.target)
    if isinstance(module, nn.Linear) and len(_shape(node)) != 2:
        raise _refuse(node, "linear layers of rows (B, n), whose channels are axis 1")
    if isinstance(module, nn.Conv2d) and module.groups > 1:
        if module.groups != module.in_channels or module.out_channels != module.in_channels:
            raise _refuse(node, "convolutions of one group, or of one channel a group")
        made = trace.filled(source)
    else:
        made = trace.fresh(module.weight.shape[0], name)
        trace.axes.append((f"{name}.weight", 1, source))
    trace.axes.append((f"{name}.weight", 0, made))
    if module.bias is not None:
        trace.axes.append((f"{name}.bias", 0, made))
    return made


def _function(trace: _Trace, node: fx.Node) -> Layout | None:
    target = node.target
    tensors = [n for n in node.all_input_nodes if n.name in trace.layouts]
    if target in QUIET or not tensors or not isinstance(node.meta.get("tensor_meta"), fx.passes.shape_prop.TensorMetadata):
        return None
    first = trace.layouts[tensors[0].name]
    if target in ADD and len(tensors) == 2:
        return trace.join(first, trace.layouts[tensors[1].name], node)
    if len(tensors) == 1 and (target in KEEP or (target in MEAN and _spatial(node))):
        return trace.filled(first) if target in LIFTS else first
    if target in FLAT:
        return _flatten(trace, node, first)
    if target is F.pad:
        return _pad(node, first)
    if target is torch.cat and _along_channels(node) and len({trace.layouts[part.name].grid for part in tensors}) == 1:
        listed: Any = node.args[0] if node.args else node.kwargs["tensors"]
        return Layout(tuple(i for part in listed for i in trace.layouts[part.name].ids), first.grid)
    if target is operator.getitem and _whole(node):
        return first
    raise _refuse(node, "sums, concatenations, paddings, poolings, flattenings and elementwise functions")


def _spatial(node: fx.Node) -> bool:
    """Whether an average leaves samples and channels apart."""
    dims: Any = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim")
    dims, axes = (dims,) if isinstance(dims, int) else dims, len(_shape(node.all_input_nodes[0]))
    return isinstance(dims, tuple | list) and all(isinstance(d, int) and d % axes > 1 for d in dims)


def _along_channels(node: fx.Node) -> bool:
    """Whether tensors are joined along axis 1."""
    dim: Any = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", 0)
    return isinstance(dim, int) and dim % len(_shape(node)) == 1


def _whole(node: fx.Node) -> bool:
    """Whether an index takes all samples and all channels, in their order."""
    index: Any = node.args[1]
    parts = index if isinstance(index, tuple) else (index,)
    if parts[0] is Ellipsis:
        return len(parts) <= len(_shape(node)) - 1 and _shape(node)[:2] == _shape(node.all_input_nodes[0])[:2]
    return all(isinstance(part, slice) and part == slice(None) for part in parts[:2])


def _flatten(trace: _Trace, node: fx.Node, source: Layout) -> Layout:
    before, after = _shape(node.all_input_nodes[0]), _shape(node)
    if len(after) != 2 or after[0] != before[0] or (len(before) == 4 and source.grid):
        raise _refuse(node, "flattening all but the batch axis")
    if after[1] == before[1]:
        return source
    if len(before) == 4:
        return Layout(source.ids, (before[-2], before[-1]))
    if not trace.fixed.issuperset(source.ids):
        raise _refuse(node, "flattening images (B, C, H, W)")
    return Layout(source.ids, (1, after[1] // before[1]))


def _pad(node: fx.Node, source: Layout) -> Layout:
    sizes = node.args[1] if len(node.args) > 1 else node.kwargs["pad"]
    plain = len(node.args) <= 2 and node.kwargs.get("mode", "constant") == "constant" and not node.kwargs.get("value")
    if not plain or not isinstance(sizes, list | tuple) or len(sizes) not in (4, 6):
        raise _refuse(node, "padding by zeros, of pixels or channels")
    before, after = (sizes[4], sizes[5]) if len(sizes) == 6 else (0, 0)
    return Layout((ZERO,) * int(before) + source.ids + (ZERO,) * int(after), source.grid)  # type: ignore[arg-type, call-overload]


def _gather(trace: _Trace, graph: fx.GraphModule) -> Channels:
    """Numbers by what they were identified with, and blocks of numbers that appear in the same places."""
    makers: dict[int, set[str]] = {}
    for number, maker in enumerate(trace.maker):
        makers.setdefault(trace.root(number), set()).add(maker)
    fixed = {trace.root(number) for number in trace.fixed}
    blocks: dict[tuple[str, ...], list[int]] = {}
    for number, names in makers.items():
        if number not in fixed:
            blocks.setdefault(tuple(sorted(names)), []).append(number)

    def ids(layout: Layout) -> Tensor:
        return torch.tensor([trace.root(i) for i in layout.ids])

    free = {number for block in blocks.values() for number in block}
    nodes = {name: ids(layout) for name, layout in trace.layouts.items()}
    loud = {node.name for node in graph.graph.nodes if _nonlinear(trace, node)}
    listed = {_short(names): torch.tensor(numbers) for names, numbers in blocks.items()}
    for numbers in listed.values():  # channels that meet no nonlinearity are compared where they are
        where = {name for name, held in nodes.items() if places(held, numbers) is not None}
        loud |= where if not where & loud else set()
    return Channels(
        blocks=listed,
        axes=[Axis(name, axis, ids(layout), layout.grid) for name, axis, layout in trace.axes],
        nodes={name: numbers for name, numbers in nodes.items() if name in loud and free & set(numbers.tolist())},
        graph=graph,
        count=len(trace.parent),
        grids={name: layout.grid for name, layout in trace.layouts.items() if layout.grid is not None},
    )


def _short(names: tuple[str, ...]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} + {len(names) - 1} more"


def _nonlinear(trace: _Trace, node: fx.Node) -> bool:
    """Whether a tensor leaves a nonlinearity."""
    kinds = (nn.ReLU, nn.LeakyReLU, nn.GELU, nn.SiLU, nn.ELU, nn.Tanh, nn.Sigmoid, nn.Softplus, nn.ReLU6, nn.Hardswish)
    if node.op == "call_module":
        return isinstance(trace.modules[str(node.target)], kinds)
    quiet = {F.avg_pool2d, F.max_pool2d, F.adaptive_avg_pool2d, F.adaptive_max_pool2d, F.dropout, "contiguous", "clone"}
    return node.op in ("call_function", "call_method") and node.target in KEEP - quiet - {operator.mul, operator.truediv}


def _layout(trace: _Trace, node: fx.Node) -> Layout:
    inputs = [n for n in node.all_input_nodes if n.name in trace.layouts]
    if len(inputs) != 1:
        raise _refuse(node, "modules of one tensor")
    return trace.layouts[inputs[0].name]


def _shape(node: fx.Node) -> tuple[int, ...]:
    meta: Any = node.meta["tensor_meta"]
    return tuple(meta.shape)


def _refuse(node: fx.Node, expected: str) -> InputError:
    what = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", node.target)
    return InputError(explain(f"the operation {what!r} ({node.name}) in the network", expected, "rewrite this part"))


def places(ids: Tensor, numbers: Tensor) -> Tensor | None:
    """Where the channels of a block sit in a tensor; None when they do not."""
    where = {number: place for place, number in enumerate(ids.tolist())}
    found = [where.get(number) for number in numbers.tolist()]
    return None if None in found else torch.tensor(found)
