"""How fast is a frame alone? Batches of clouds against eigenvectors, a loop, and a public package."""

from __future__ import annotations

import importlib.util

import torch
from _bench import Bench, medians, python_calls
from torch import Tensor

from coset import actions, frames, groups

PUBLIC = importlib.util.find_spec("frame_averaging_pytorch") is not None


def eigenvectors(x: Tensor) -> Tensor:
    """Centre, covariance, eigenvectors: the yardstick."""
    centred = x - x.mean(1, keepdim=True)
    return torch.linalg.eigh(centred.mT @ centred)[1]


def one_size(bench: Bench, points: int, batch: int, repeats: int) -> None:
    """All figures for clouds of one size."""
    group = groups.Euclidean(3)
    x = torch.randn(batch, points, 3)
    frame = frames.Minimal().bind(actions.Points(group))
    pca = frames.PCA(fallback=False).bind(actions.Points(group))
    yard, own, axes, single = medians(repeats, lambda: eigenvectors(x), lambda: frame(x), lambda: pca(x), lambda: frame(x[:1]))
    loop, again = medians(3, lambda: [frame(x[b : b + 1]) for b in range(batch)], lambda: frame(x))
    name = f"n = {points}, B = {batch}"
    bench.add(f"{name}: covariance and eigh", 1e3 * yard, " ms")
    bench.add(f"{name}: minimal frame", 1e3 * own, " ms")
    limits = {100: 4.0, 1000: 10.0}
    bench.add(f"{name}: minimal frame / covariance and eigh", own / yard, " x", at_most=limits.get(points))
    bench.add(f"{name}: loop over clouds / minimal frame", loop / again, " x", at_least={100: 20.0, 1000: 3.0}.get(points))
    bench.add(f"{name}: B = {batch} / B = 1", own / single, " x", at_most=40.0)
    bench.add(f"{name}: PCA frame", 1e3 * axes, " ms")
    bench.add(
        f"{name}: Python calls, B = {batch} minus B = 1",
        float(python_calls(lambda: frame(x)) - python_calls(lambda: frame(x[:1]))),
        at_most=0.0,
    )
    public_package(bench, x, name, repeats)


def public_package(bench: Bench, x: Tensor, name: str, repeats: int) -> None:
    """The eight PCA frames of frame-averaging-pytorch, applied, beside the same of this library."""
    if not PUBLIC:
        bench.add(f"{name}: frame-averaging-pytorch", None)
        return
    from frame_averaging_pytorch import FrameAverage  # type: ignore[import-untyped]

    import coset

    group = groups.Euclidean(3)
    peer = FrameAverage(net=torch.nn.Identity(), dim=3)
    own = coset.symmetrize(torch.nn.Identity(), actions.Points(group) >> actions.Vectors(group), frames.PCA(fallback=False))
    minimal = coset.symmetrize(torch.nn.Identity(), actions.Points(group) >> actions.Vectors(group), frames.Minimal())
    theirs, ours, single = medians(repeats, lambda: peer(x), lambda: own(x), lambda: minimal(x))
    bench.add(f"{name}: frame-averaging-pytorch, 8 frames around the identity", 1e3 * theirs, " ms")
    bench.add(f"{name}: PCA around the identity, 8 frames", 1e3 * ours, " ms")
    bench.add(f"{name}: Minimal around the identity, 1 call", 1e3 * single, " ms")


def main() -> None:
    """n = 5, 100, 1000."""
    bench = Bench("Frames of ordered points")
    for points in (5, 100) if bench.smoke else (5, 100, 1000):
        one_size(bench, points, 16 if bench.smoke else 256, 3 if bench.smoke else 31)
    bench.finish()


if __name__ == "__main__":
    main()
