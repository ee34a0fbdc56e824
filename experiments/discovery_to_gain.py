"""From discovery to gain: find the group of a map from its training data, give it to a plain network, and see how many samples that saves.

A map of R^6 that commutes with cyclic shifts, and with nothing else, is learned from N noisy samples by a plain network: without
symmetry, with the group that ``SymmetryFinder`` finds on the same N samples (none where it makes no claim), with the true group, and with
two wrong ones: one that is too large, and one that has nothing to do with the map. A full run writes experiments/discovery-to-gain.png.
"""

from __future__ import annotations

from pathlib import Path

import torch
from _results import HERE, Experiment
from torch import Tensor, nn

import coset
from coset import actions, discover, frames

D, NOISE, TEST = 6, 0.3, 4000
CANDIDATES = ("C6", "D6", "S6", "S3*S3", "C3*C3", "S2*S2*S2")
SIZES = (60, 120, 240, 480, 960, 1920)
ROWS = ("none", "discovered", "true: C6", "too large: D6", "unrelated: C3*C3")
FIRST, SECOND = torch.tensor([1.0, 2.0, -0.5, 0.0, 0.7, 0.0]), torch.tensor([1.0, -1.0, 0.0, 0.8, 0.0, 0.3])


def around(weights: Tensor, x: Tensor) -> Tensor:
    """The circular correlation of rows (N, 6) with six weights."""
    return sum(w * x.roll(k, 1) for k, w in enumerate(weights))  # type: ignore[return-value]


def truth(x: Tensor) -> Tensor:
    """The map: two circular layers."""
    return around(SECOND, torch.tanh(around(FIRST, x)))


def network() -> nn.Module:
    """A plain network."""
    return nn.Sequential(nn.Linear(D, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, D))


def signature(name: str) -> coset.Signature:
    """Columns permuted by a group."""
    group = discover.named_group(name, D)
    return actions.Permute(group, -1) >> actions.Permute(group, -1)


def fitted(kind: coset.Signature | None, x: Tensor, y: Tensor, steps: int, seed: int) -> nn.Module:
    """A network with a symmetry (None: without), trained on all samples by Adam along a cosine."""
    torch.manual_seed(seed)
    net = network()
    model = net if kind is None else coset.symmetrize(net, kind, frames.Full())
    optimizer = torch.optim.Adam(net.parameters(), 3e-3, weight_decay=1e-5)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        rows = torch.randint(len(x), (min(64, len(x)),))
        optimizer.zero_grad()
        (model(x[rows]) - y[rows]).square().mean().backward()
        optimizer.step()
        schedule.step()
    return model.eval()


@torch.no_grad()
def error(model: nn.Module, x: Tensor) -> float:
    """The mean square error on noiseless targets, in units of their variance."""
    y = truth(x)
    return float((model(x) - y).square().mean() / y.var(0).mean())


def run(size: int, steps: int, seed: int) -> tuple[dict[str, float], str]:
    """Errors of all rows, and the group that was found."""
    g = torch.Generator().manual_seed(1000 + seed)
    x, test = torch.randn(size, D, generator=g), torch.randn(TEST, D, generator=g)
    y = truth(x) + NOISE * torch.randn(size, D, generator=g)
    finder = discover.SymmetryFinder(CANDIDATES, seed=seed).fit(x, y)
    name = finder.report_.name if finder.report_.claimed else "no claim"
    kinds = {row: None if row == "none" else signature(row.split(": ")[1]) for row in ROWS if row != "discovered"}
    found = {row: error(fitted(kind, x, y, steps, seed), test) for row, kind in kinds.items()}
    same = {"C6": "true: C6", "no claim": "none", "trivial": "none"}.get(name)  # the same group, seed and steps give the same network
    found["discovered"] = found[same] if same else error(fitted(finder.signature_, x, y, steps, seed), test)
    return found, name


def plot(path: Path, sizes: tuple[int, ...], means: dict[str, list[float]]) -> None:
    """The errors over the number of samples."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6.4, 4.2), layout="constrained")
    styles = dict(
        zip(ROWS, (("0.45", "o-"), ("tab:orange", "D-"), ("tab:blue", "s--"), ("tab:red", "^:"), ("tab:purple", "v:")), strict=True)
    )
    for row in ROWS:
        colour, style = styles[row]
        axes.loglog(sizes, means[row], style, color=colour, label=row, markersize=7 if row == "true: C6" else 5)
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.minorticks_off()
    axes.set_xlabel("training samples")
    axes.set_ylabel("test error / variance")
    axes.legend(frameon=False)
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def aims(sizes: tuple[int, ...], means: dict[str, list[float]], claims: list[list[str]]) -> list[list[str]]:
    """What was hoped for."""

    def status(good: bool) -> str:
        return "met" if good else "missed"

    wrong = sum(name not in ("C6", "no claim") for names in claims for name in names)
    large = [i for i, names in enumerate(claims) if all(name == "C6" for name in names)]
    from_ = str(sizes[large[0]]) if large else "never"
    half = means["discovered"][-2] < means["none"][-1]
    gain = [means["none"][i] / means["discovered"][i] for i in large]
    told = f"{min(gain):.1f} to {max(gain):.1f} times" if gain else "-"
    last = all(means["none"][-1] < means[row][-1] for row in ROWS[3:])
    return [
        ["a group other than the true one is never claimed", f"{wrong} of {sum(map(len, claims))}", status(wrong == 0)],
        ["the true group is found in every run from some size on", f"from {from_}", status(bool(large) and large[-1] == len(sizes) - 1)],
        ["there, the error is less than half of that without symmetry", told, status(bool(gain) and min(gain) > 2)],
        ["with half of the samples it beats none with all", "yes" if half else "no", status(half)],
        ["wrong groups end above none", "yes" if last else "no", status(last)],
    ]


def main() -> None:
    """Train all, print and draw."""
    experiment = Experiment("From discovery to gain: a discovered group in a plain network")
    experiment.parser.add_argument("--seeds", type=int, default=3)
    options = experiment.parse()
    sizes, steps, seeds = (SIZES, 800, options.seeds) if not options.smoke else (SIZES[:2], 20, 1)
    means, claims, lines = {row: list[float]() for row in ROWS}, [], []
    for size in sizes:
        runs = [run(size, steps, 10 * options.seed + k) for k in range(seeds)]
        claims.append([name for _, name in runs])
        cells = []
        for row in ROWS:
            values = torch.tensor([found[row] for found, _ in runs])
            means[row].append(float(values.mean()))
            cells.append(f"{100 * float(values.mean()):.2f} ± {100 * float(values.std(correction=0)):.2f}")
        lines.append([str(size), *cells, ", ".join(claims[-1])])
        print(lines[-1], flush=True)
    experiment.table(
        ["samples", *ROWS, "claimed"],
        lines,
        f"Test errors in per cent of the targets' variance, mean and spread over {seeds} seeds (data, split and network). Every network "
        f"has the same weights and {steps:,} steps of Adam; a group is imposed by averaging over it, in training and in the test. "
        f"Discovered: the group that was claimed on the training samples, out of {', '.join(CANDIDATES)}; without a claim, no symmetry.",
    )
    experiment.table(["aim", "found", "status"], aims(sizes, means, claims))
    if not options.smoke:
        plot(HERE / "discovery-to-gain.png", sizes, means)
    experiment.finish()


if __name__ == "__main__":
    main()
