"""How fast are the frames of Lorentz, linear and unitary groups, and how exact at high rapidity? Jets against the bare model and a loop."""

from __future__ import annotations

import torch
from _bench import Bench, medians
from torch import Tensor, nn

import coset
from coset import actions, frames, groups
from coset.groups.lorentz import boost

L4 = groups.Lorentz(4)
UNORDERED = frames.Minimal(colours=frames.UNCOLOURED)


def jets(batch: int, n: int, d: int = 4, dtype: torch.dtype = torch.float32) -> Tensor:
    """Massless constituents."""
    p = torch.randn(batch, n, d - 1, dtype=torch.float64)
    return torch.cat([p.square().sum(-1, keepdim=True).sqrt(), p], -1).to(dtype)


class Transformer(nn.Module):
    """Two layers of width 64 over the constituents, one score."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Linear(4, 64), nn.Linear(64, 1)
        layer = nn.TransformerEncoderLayer(64, 4, 128, batch_first=True, dropout=0.0)
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layers(self.embed(x)).mean(1))


def speed(bench: Bench, batch: int, n: int, repeats: int) -> None:
    """The frame alone, beside the network that it wraps and a loop over jets."""
    x = jets(batch, n)
    ordered, unordered = (frame.bind(actions.Points(L4)) for frame in (frames.Minimal(), UNORDERED))
    net = Transformer().eval()
    with torch.no_grad():
        own, sets = medians(repeats, lambda: ordered(x), lambda: unordered(x))
        (bare,) = medians(max(3, repeats // 3), lambda: net(x))
        loop, again = medians(3, lambda: [ordered(x[b : b + 1]) for b in range(batch)], lambda: ordered(x))
    name = f"{batch} jets of {n}"
    bench.add(f"{name}: frame of ordered constituents", 1e3 * own, " ms", at_most=5.0 if (batch, n) == (256, 50) else None)
    bench.add(f"{name}: frame of sets of constituents", 1e3 * sets, " ms")
    bench.add(f"{name}: a small transformer alone", 1e3 * bare, " ms")
    bench.add(f"{name}: frame of ordered constituents / transformer", own / bare, " x")
    bench.add(f"{name}: loop over jets / frame", loop / again, " x", at_least=20.0)


def growth(bench: Bench, repeats: int) -> None:
    """Constituents, dimensions, batch."""
    bound = frames.Minimal().bind(actions.Points(L4))
    small, wide, large = jets(256, 50), jets(256, 500), jets(2560, 50)
    one, ten, many = medians(repeats, lambda: bound(small), lambda: bound(wide), lambda: bound(large))
    bench.add("growth: 10 times the constituents", ten / one, " x", at_most=12.0)
    bench.add("growth: 10 times the jets", many / one, " x", at_most=12.0)
    eight = frames.Minimal().bind(actions.Points(groups.Lorentz(8)))
    vectors = jets(256, 50, 8)
    four, double = medians(repeats, lambda: bound(small), lambda: eight(vectors))
    bench.add("growth: 8 dimensions instead of 4", double / four, " x", at_most=4.0)


def others(bench: Bench, batch: int, n: int, repeats: int) -> None:
    """Linear, affine and unitary groups on as many vectors."""
    x = torch.randn(batch, n, 3)
    z = torch.randn(batch, n, 3, dtype=torch.complex64)
    for group, data in (
        (groups.Orthogonal(3), x),
        (groups.GeneralLinear(3), x),
        (groups.SpecialLinear(3), x),
        (groups.Affine(3), x),
        (groups.Unitary(3), z),
        (groups.SpecialUnitary(3), z),
    ):
        bound = frames.Minimal().bind(actions.Points(group))
        (own,) = medians(repeats, lambda bound=bound, data=data: bound(data))
        bench.add(f"{group}, {batch} x {n} vectors", 1e3 * own, " ms")


def exactness(bench: Bench) -> None:
    """The largest error of a symmetrized score over 256 jets boosted to a rapidity."""
    torch.manual_seed(0)
    net = Transformer().double().eval()
    model = coset.symmetrize(net, actions.Points(L4) >> actions.Trivial(L4), UNORDERED)
    x = jets(256, 50, dtype=torch.float64)
    turn = groups.inclusions.space_rotations(L4)
    with torch.no_grad():
        here = model(x)
        for rapidity in (0.0, 2.0, 4.0, 6.0):
            g = L4.compose(turn(turn.source.haar(256, dtype=torch.float64)), boost(4, torch.full((256, 1), rapidity, dtype=torch.float64)))
            moved = actions.Points(L4).act(g, x)
            bench.add(f"rapidity {rapidity:g}: error of the score, float64", float((model(moved) - here).abs().max()), at_most=1e-8)
            bench.add(f"rapidity {rapidity:g}: the transformer alone", float((net(moved) - net(x)).abs().max()))


def collimated(batch: int, n: int) -> Tensor:
    """Jets as a detector sees them: massless constituents around an axis, most of them soft."""
    pt = 20 * torch.rand(batch, n, 1) ** 3 + 0.5
    eta = 2 * torch.rand(batch, 1, 1) - 1 + 0.2 * torch.randn(batch, n, 1)
    phi = 6.28 * torch.rand(batch, 1, 1) + 0.2 * torch.randn(batch, n, 1)
    return torch.cat([pt * eta.cosh(), pt * phi.cos(), pt * phi.sin(), pt * eta.sinh()], -1)


def audits(bench: Bench) -> None:
    """Audited errors of a transformer on sets and an MLP on ordered constituents, before and after."""
    signature = actions.Points(L4) >> actions.Trivial(L4)
    x = collimated(64, 30)
    mlp = nn.Sequential(nn.Flatten(), nn.Linear(120, 64), nn.Tanh(), nn.Linear(64, 1))
    for name, net, frame in (("transformer", Transformer().eval(), UNORDERED), ("MLP", mlp, frames.Minimal())):
        for dtype, bound in ((torch.float32, 1e-3), (torch.float64, 1e-11)):
            net = net.to(dtype)
            model = coset.symmetrize(net, signature, frame)
            before, after = (coset.audit(one, signature, x.to(dtype), continuity=False).error for one in (net, model))
            bench.add(f"audit of the {name} alone, {dtype}", before)
            bench.add(f"audit of the {name}, wrapped, {dtype}", after, at_most=bound)


def main() -> None:
    """256 jets of 50 constituents, smaller and larger ones."""
    bench = Bench("Frames of four-momenta")
    repeats = 3 if bench.smoke else 31
    for batch, n in ((16, 20),) if bench.smoke else ((256, 10), (256, 50), (256, 200)):
        speed(bench, batch, n, repeats)
    if not bench.smoke:
        growth(bench, repeats)
    others(bench, 16 if bench.smoke else 256, 50, repeats)
    exactness(bench)
    audits(bench)
    bench.finish()


if __name__ == "__main__":
    main()
