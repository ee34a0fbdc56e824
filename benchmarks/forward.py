"""What does symmetrizing cost? Forward passes of a transformer, bare and symmetrized, in one run."""

from __future__ import annotations

import torch
from _bench import Bench, medians
from torch import Tensor, nn

import coset
from coset import actions, frames, groups


class PointTransformer(nn.Module):
    """A plain transformer on points that returns a vector per point."""

    def __init__(self, width: int, layers: int):
        super().__init__()
        self.embed = nn.Linear(3, width)
        layer = nn.TransformerEncoderLayer(width, 8, 4 * width, dropout=0.0, batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.head = nn.Linear(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Points (B, n, 3) to vectors (B, n, 3)."""
        return self.head(self.layers(self.embed(x)))


def main() -> None:
    """Ratios to the bare model; several calls go through the model in chunks of the batch, as the bare model does."""
    bench = Bench("Forward pass of a symmetrized transformer")
    width, layers, points, batch, repeats = (32, 2, 16, 4, 3) if bench.smoke else (256, 6, 64, 32, 15)
    model = PointTransformer(width, layers).eval()
    x = torch.randn(batch, points, 3)
    cases = {
        "Minimal, ordered points, E(3)": (frames.Minimal(), groups.Euclidean(3)),
        "Minimal, unordered points, E(3)": (frames.Minimal(colours=frames.UNCOLOURED), groups.Euclidean(3)),
        "PCA, SE(3)": (frames.PCA(), groups.SpecialEuclidean(3)),
        "PCA, E(3)": (frames.PCA(), groups.Euclidean(3)),
        "centre and 12 rotations": (frames.Chain(frames.Center(), frames.Full(2)), groups.SpecialEuclidean(3)),
    }
    for name, (frame, group) in cases.items():
        wrapped = coset.symmetrize(model, actions.Points(group) >> actions.Vectors(group), frame, chunk=batch).eval()
        with torch.no_grad():
            _, stats = wrapped(x, return_stats=True)
            bare, whole = medians(repeats if stats.cosets == 1 else max(3, repeats // 3), lambda: model(x), lambda: wrapped(x))  # noqa: B023
        bench.add(f"{name}: {stats.cosets} call(s), ratio per call", whole / bare / stats.cosets, " x", at_most=1.05)
    bench.finish()


if __name__ == "__main__":
    main()
