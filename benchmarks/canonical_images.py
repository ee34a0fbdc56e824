"""What does canonicalizing images cost? Time per image, overhead around two ResNets, and accuracy on digits after seconds of training."""

from __future__ import annotations

import importlib.util
import statistics
import time
from collections.abc import Callable
from types import SimpleNamespace

import torch
from _bench import Bench, medians
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, interpolate

import coset
from coset import actions, frames, groups
from coset.nn import GroupCNN, ImageScorer

C4, C8, D4 = groups.Cyclic(4), groups.Cyclic(8), groups.Dihedral(4)
BATCH = 8


def per_image(function: Callable[[Tensor], object], x: Tensor, repeats: int) -> float:
    """Median milliseconds for one of the images in a batch."""
    with torch.no_grad():
        return 1e3 * medians(repeats, lambda: function(x))[0] / x.shape[0]


def speed(bench: Bench) -> None:
    """The frames alone, at 224 pixels."""
    size, repeats = (32, 3) if bench.smoke else (224, 25)
    x = torch.rand(BATCH, 3, size, size)
    energies: list[tuple[str, groups.Group, int, float | None]] = [
        ("C4", C4, 16, 1.0),
        ("D4", D4, 16, None),
        ("C8", C8, 16, 2.0),
        ("C8, scored at 32 px", C8, 32, None),
    ]
    for name, group, pixels, bound in energies:
        frame = frames.Minimize(ImageScorer(3, size=pixels)).bind(actions.Image(group)).eval()
        bench.add(f"energy, {name}, {size} px, {BATCH} images: per image", per_image(frame, x, repeats), " ms", at_most=bound)
    frame = frames.Minimize(ImageScorer(3)).bind(actions.Image(C4)).eval()
    bench.add(f"energy, C4, {size} px, one image", per_image(frame, x[:1], repeats), " ms")
    for name, group in (("C4", C4), ("C8", C8)):
        direct = frames.Canonicalizer(GroupCNN(group, 3)).bind(actions.Image(group)).eval()
        bench.add(f"group CNN, {name}, {size} px, {BATCH} images: per image", per_image(direct, x, repeats), " ms")
    bench.add("public library, energy, C4, the same images: per image", public_library(x, repeats), " ms")


def public_library(x: Tensor, repeats: int) -> float | None:
    """The optimized canonicalizer of equiadapt, where it is installed (it needs torchvision)."""
    if importlib.util.find_spec("equiadapt") is None or importlib.util.find_spec("torchvision") is None:
        return None
    from equiadapt.images.canonicalization.discrete_group import OptimizedGroupEquivariantImageCanonicalization as Public

    network = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.LazyLinear(128))
    network.out_vector_size = 128  # type: ignore[assignment]
    options = SimpleNamespace(
        beta=1.0, input_crop_ratio=0.9, resize_shape=32, group_type="rotation", num_rotations=4, artifact_err_wt=0.0, learn_ref_vec=False
    )
    return per_image(Public(network, options, tuple(x.shape[1:])).eval().canonicalize, x, repeats)


def resnet(depth: int) -> nn.Module:
    """A ResNet of transformers with random weights, images to features."""
    from transformers import ResNetConfig, ResNetModel

    kinds = {18: ("basic", [64, 128, 256, 512], [2, 2, 2, 2]), 50: ("bottleneck", [256, 512, 1024, 2048], [3, 4, 6, 3])}
    layer, widths, depths = kinds[depth]
    model = ResNetModel(ResNetConfig(layer_type=layer, hidden_sizes=widths, depths=depths)).eval()

    class Pooled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, x: Tensor) -> Tensor:
            return self.model(x).pooler_output.flatten(1)

    return Pooled()


def overhead(bench: Bench) -> None:
    """The symmetrized network over the bare one, in one run."""
    found = importlib.util.find_spec("transformers") is not None
    cells = [(18, 32)] if bench.smoke else [(18, 32), (18, 224), (50, 32), (50, 224)]
    for depth, size in cells:
        name = f"ResNet-{depth}, {size} px, C4 energy: symmetrized / bare"
        if not found:
            bench.add(name, None)
            continue
        bare, x = resnet(depth), torch.rand(2 if bench.smoke else BATCH if size == 32 else 4, 3, size, size)
        model = coset.symmetrize(bare, actions.Image(C4) >> actions.Trivial(C4), frames.Minimize(ImageScorer(3))).eval()
        with torch.no_grad():
            alone, whole = medians(1 if bench.smoke else 21 if size == 32 else 3, lambda: bare(x), lambda: model(x))  # noqa: B023
        bench.add(name, whole / alone, " x", at_most=1.1)


# -- digits ------------------------------------------------------------------------------------------------------------


def digits(seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """1200 digits to train on and 597 to test on, 3 x 32 x 32, in an order that follows from the seed."""
    from sklearn.datasets import load_digits

    found = load_digits()
    x = interpolate(torch.tensor(found.images, dtype=torch.float32)[:, None] / 16, 32, mode="bilinear").expand(-1, 3, -1, -1)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    x, y = x[order].contiguous(), torch.tensor(found.target)[order]
    return x[:1200], y[:1200], x[1200:], y[1200:]


def predictor() -> nn.Module:
    """A small network with three stages."""
    stages: list[nn.Module] = []
    for before, after in ((3, 32), (32, 64), (64, 64)):
        stages += [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*stages, nn.Flatten(), nn.Linear(1024, 10))


def train(module: nn.Module, loss: Callable[[Tensor], Tensor], count: int, epochs: int, rate: float) -> float:
    """Adam with one cycle of the learning rate, batches of 64; returns CPU seconds."""
    begin = time.process_time()
    optimizer = torch.optim.Adam(module.parameters(), rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, epochs * -(-count // 64))
    for _ in range(epochs):
        for rows in torch.randperm(count).split(64):
            optimizer.zero_grad()
            loss(rows).backward()
            optimizer.step()
            schedule.step()
    return time.process_time() - begin


def accuracy(model: nn.Module, x: Tensor, y: Tensor) -> list[float]:
    """Percent right, upright and averaged over quarter turns of the test set."""
    with torch.no_grad():
        found = [100 * float((model(x.rot90(k, (-2, -1))).argmax(1) == y).double().mean()) for k in range(4)]
    return [found[0], sum(found) / 4]


def one_seed(seed: int, epochs: int) -> list[float]:
    """A frozen predictor trained on upright digits; then an energy, by cross-entropy with the identity."""
    torch.manual_seed(seed)
    x, y, x_test, y_test = digits(seed)
    net = predictor()
    train(net, lambda rows: cross_entropy(net(x[rows]), y[rows]), len(x), epochs, 5e-3)
    net.eval()
    frame = frames.Minimize(ImageScorer(3), gradient=frames.Detached())
    model = coset.symmetrize(net, actions.Image(C4) >> actions.Trivial(C4), frame)
    seconds = train(model.frame, lambda rows: -model.frame(x[rows]).scores["log_probabilities"][:, 0].mean(), len(x), epochs, 1e-2)
    weak = coset.symmetrize(net, actions.Image(C4) >> actions.Trivial(C4), frames.Minimize(frames.Confidence(net))).eval()
    full = coset.symmetrize(net, actions.Image(C4) >> actions.Trivial(C4), frames.Full()).eval()
    parts = [accuracy(one, x_test, y_test) for one in (net, full, weak, model.eval())]
    return [*(value for part in parts for value in part), seconds]


def learning(bench: Bench) -> None:
    """Five seeds; the table holds means."""
    if importlib.util.find_spec("sklearn") is None:
        bench.add("digits: C4-averaged accuracy, trained energy", None)
        return
    seeds, epochs = (1, 1) if bench.smoke else (5, 8)
    found = [one_seed(bench.options.seed + number, epochs) for number in range(seeds)]
    mean = [statistics.mean(column) for column in zip(*found, strict=True)]
    names = ("bare network", "average over the group", "its confidence as energy", "trained energy")
    rows = [[name, mean[2 * i], mean[2 * i + 1]] for i, name in enumerate(names)]
    bench.table(f"Handwritten digits, percent right, mean of {seeds} seeds.", ["canonicalization", "upright", "C4-averaged"], rows)
    bench.add("digits: C4-averaged accuracy, trained energy", mean[7], " %", at_least=97.0)
    bench.add("digits: loss of upright accuracy against the bare network", mean[0] - mean[6], " points")
    bench.add("digits: training of the energy, CPU", mean[8], " s", at_most=3.0)
    bench.add("parameters of the energy", float(sum(p.numel() for p in ImageScorer(3).parameters())))


def main() -> None:
    """Times on one thread."""
    bench = Bench("Canonical images")
    speed(bench)
    overhead(bench)
    learning(bench)
    bench.finish()


if __name__ == "__main__":
    main()
