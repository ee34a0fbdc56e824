"""What does every frame cost? Its time beside a small transformer and a loop over samples, its memory, and how both grow.

The model is a transformer of two layers, width 64, on the same inputs, one token per point, node or pixel. The loop
calls the frame sample by sample. Memory is the peak of one call in a process of its own, beyond a call on one sample.
Growth is the ratio of the times for four times the points, four times the samples, and more dimensions.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from _bench import Bench, grown, medians
from _cases import CASES, Case
from torch import Tensor, nn

from coset.measure import Measure
from coset.tree import Tree, leaves, tree_map


class Transformer(nn.Module):
    """Two layers of width 64 over one token per point, node or pixel."""

    def __init__(self, features: int):
        super().__init__()
        self.embed, self.head = nn.Linear(features, 64), nn.Linear(64, 1)
        layer = nn.TransformerEncoderLayer(64, 4, 128, batch_first=True, dropout=0.0)
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.layers(self.embed(tokens)).mean(1))


def tokens(inputs: Tree) -> Tensor:
    """Any inputs as (B, tokens, features)."""
    found = []
    for leaf in leaves(inputs):
        x = torch.view_as_real(leaf).flatten(-2) if leaf.is_complex() else leaf
        x = x.flatten(2).mT if x.dim() == 4 else x
        found.append(x if x.dim() == 3 else x[:, None])
    count = max(x.shape[1] for x in found)
    return torch.cat([x.expand(x.shape[0], count, x.shape[2]) for x in found], -1).float()


def loop_time(case: Case, inputs: Tree, batch: int, repeats: int) -> float:
    """Seconds of a loop over the samples, from up to 32 of them."""
    bound, some = case.bound(case.dims[0]), min(batch, 32)
    singles = [tree_map(lambda leaf: leaf[b : b + 1], inputs) for b in range(some)]  # noqa: B023
    return medians(repeats, lambda: [bound(one) for one in singles])[0] * batch / some


def peak(bound: Callable[[Tree], object], inputs: Tree) -> float | None:
    """Peak memory in MiB of a call beyond that of a call on one sample, which brings in code and caches."""

    def build() -> Callable[[], object]:
        bound(tree_map(lambda leaf: leaf[:1].clone(), inputs))
        return lambda: bound(inputs)

    return grown(build)


def one(case: Case, batch: int, n: int, repeats: int) -> list[float | None]:
    """The figures of one frame: ms, of the model, calls, loop, MiB, MiB at 4 B, growth in n, B and d."""
    d = case.dims[0]
    base, bound = case.make(batch, n, d), case.bound(d)
    longer, more = case.make(batch, 4 * n, d), case.make(4 * batch, n, d)
    seen = tokens(base)
    net = Transformer(seen.shape[-1]).eval()
    calls = [lambda: bound(base), lambda: net(seen), lambda: bound(longer), lambda: bound(more)]
    if len(case.dims) > 1:
        higher, lifted = case.bound(case.dims[1]), case.make(batch, n, case.dims[1])
        calls.append(lambda: higher(lifted))
    with torch.no_grad():
        own, model, long, many, *high = medians(repeats, *calls)
        loop = loop_time(case, base, batch, 1)
        found = bound(base)
        single, fourfold = (peak(bound, data) for data in (base, more))
    entered = float((found.coset_weights() > 0).sum(0).double().mean()) if isinstance(found, Measure) else None
    return [1e3 * own, own / model, entered, loop / own, single, fourfold, long / own, many / own, high[0] / own if high else None]


def main() -> None:
    """One row for each."""
    bench = Bench("Every frame")
    batch, n, repeats = (4, 8, 1) if bench.smoke else (64, 32, 15)
    warnings.simplefilter("ignore")
    rows, figures = [], []
    for case in CASES:
        values = one(case, batch, n, repeats)
        figures.append(values)
        name = case.name if len(case.dims) < 2 else f"{case.name}, d = {case.dims[0]} → {case.dims[1]}"
        rows.append([name, *values])
    columns = ["frame", "ms", "/ model", "calls", "loop / batch", "MiB", "MiB, 4 B", "4 n", "4 B", "larger d"]
    bench.table(
        f"B = {batch}, n = {n}. The model is a transformer of two layers, width 64. The last three columns are ratios of times.",
        columns,
        rows,
    )
    bench.add("frames in the table", float(len(rows)))
    bench.add("of them dearer than the transformer", float(sum(row[1] > 1 for row in figures)))
    bench.add("least loop / batch", min(row[3] for row in figures), " x", at_least=1.0)
    bench.add("largest ratio of times, four times the samples", max(row[7] for row in figures), " x", at_most=6.0)
    bench.add("largest ratio of times, four times the points", max(row[6] for row in figures), " x", at_most=64.0)
    memory = [row[5] for row in figures if row[5] is not None]
    bench.add("largest peak, four times the samples", max(memory) if memory else None, " MiB", at_most=1024.0)
    bench.finish()


if __name__ == "__main__":
    main()
