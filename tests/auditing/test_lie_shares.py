"""Lie derivatives of shifts in Fourier space: known zeros, layers that add up, and an oracle by differences."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

import coset
from coset import actions, groups
from coset.errors import InputError, SignatureError

T = groups.RealTorus(16, 16)
IMAGE = actions.Periodic(T)


def waves(batch: int = 4, channels: int = 2, highest: int = 3) -> Tensor:
    """Images without frequencies above ``highest``, so that products of two have none above the grid's."""
    spectrum = torch.fft.fft2(torch.randn(batch, channels, 16, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64))
    low = torch.fft.fftfreq(16, 1 / 16).abs() <= highest
    return torch.fft.ifft2(spectrum * (low[:, None] & low)).real


class Square(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.square()


class Mixed(nn.Module):
    """A network with a sum around a block, and a mean outside of modules."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 4, 3, padding=1, padding_mode="circular")
        self.second = nn.Conv2d(4, 4, 3, padding=1)
        self.relu, self.pool, self.last = nn.ReLU(), nn.MaxPool2d(2), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        x = self.pool(x + self.relu(self.second(x)))
        return self.last(x.mean((-1, -2)))


def network(*parts: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(*parts).double()


def circular() -> nn.Module:
    torch.manual_seed(0)
    return nn.Conv2d(2, 2, 3, padding=1, padding_mode="circular").double()


@pytest.mark.parametrize("net", [circular(), Square()], ids=["convolution", "square"])
def test_known_zeros(net: nn.Module) -> None:
    report = coset.audit(net, IMAGE >> IMAGE, waves())
    assert report.lie is not None
    assert report.lie < 1e-12


@pytest.mark.parametrize("net", [nn.ReLU(), nn.Conv2d(2, 2, 3, padding=1).double()], ids=["relu", "zero padding"])
def test_known_errors(net: nn.Module) -> None:
    report = coset.audit(net, IMAGE >> IMAGE, waves())
    assert report.lie is not None
    assert report.lie > 0.05


def test_whole_shifts_hide_what_derivatives_show() -> None:
    """The published pair: integer shifts of convolution and rectifier are exact, infinitesimal ones are not."""
    net, x = network(circular(), nn.ReLU()).float(), waves().float()
    shifts = groups.Torus(16, 16)
    assert coset.audit(net, actions.Image(shifts) >> actions.Image(shifts), x).error < 1e-5
    found = coset.lie_shares(net, IMAGE >> IMAGE, x)
    assert found.total > 0.05
    assert [round(one.share, 9) for one in found.layers] == pytest.approx([0, 1, 0], abs=1e-9)


def test_shares_add_up_and_the_audit_agrees() -> None:
    torch.manual_seed(0)
    net, x = Mixed().double(), waves()
    signature = IMAGE >> actions.Trivial(T)
    found = coset.lie_shares(net, signature, x)
    assert sum(one.share for one in found.layers) == pytest.approx(1, abs=1e-12)
    audited = coset.audit(net, signature, x).lie
    assert found.total == pytest.approx(audited, rel=1e-9)
    by_name = {one.name: one for one in found.layers}
    assert by_name["first"].size < 1e-12  # circular
    assert min(by_name[name].size for name in ("second", "relu", "pool")) > 1e-4
    assert by_name["between layers"].size < 1e-12  # a sum and a mean are equivariant
    assert sum(one.size**2 for one in found.layers) != pytest.approx(found.total**2, rel=1e-3)  # squared norms do not add up


def test_against_differences() -> None:
    """The share of one layer, by central differences of the network with that layer conjugated."""
    torch.manual_seed(0)
    net, x, h = Mixed().double(), waves(), 1e-5
    small = actions.Periodic(groups.RealTorus(8, 8))

    def conjugated(shift: Tensor) -> Tensor:
        class Pool(nn.Module):
            def forward(self, x: Tensor) -> Tensor:
                return small.act(-shift / 2, nn.functional.max_pool2d(IMAGE.act(shift, x), 2))

        twin = copy.deepcopy(net)
        twin.pool = Pool()  # type: ignore[assignment]
        return twin(x).detach()

    def moved(shift: Tensor) -> Tensor:
        return net(IMAGE.act(shift, x)).detach()

    steps = h * torch.eye(2, dtype=torch.float64)[:, None].expand(2, 4, 2)
    pool, whole = (torch.stack([(f(s) - f(-s)) / (2 * h) for s in steps]) for f in (conjugated, moved))
    scale = net(x).detach().square().sum(1).mean().sqrt()
    found = next(one for one in coset.lie_shares(net, IMAGE >> actions.Trivial(T), x).layers if one.name == "pool")
    assert found.size == pytest.approx(float(pool.norm(dim=-1).mean() / scale), rel=1e-6)
    assert found.share == pytest.approx(float((pool * whole).sum() / whole.square().sum()), rel=1e-6)


def test_what_happens_outside_of_modules_is_said() -> None:
    class Outside(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = circular()

        def forward(self, x: Tensor) -> Tensor:
            return torch.relu(self.conv(x))

    found = coset.lie_shares(Outside(), IMAGE >> IMAGE, waves())
    assert found.layers[-1].name == "between layers"
    assert found.layers[-1].share == pytest.approx(1)


def test_declared_features_of_a_rotation_network() -> None:
    """Hidden vectors of a point network, declared by name: only the layer that mixes coordinates breaks rotations."""
    G = groups.SpecialOrthogonal(3)

    class Points(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale, self.mix = nn.Identity(), nn.Linear(3, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.mix(self.scale(x) * x.norm(dim=-1, keepdim=True))

    V = actions.Vectors(G)
    found = coset.lie_shares(
        Points(),
        V >> V,
        torch.randn(5, 3, generator=torch.Generator().manual_seed(0)),
        features=dict.fromkeys(("scale", "scale.input", "mix", "mix.input"), V),
    )
    assert [round(one.share, 9) for one in found.layers] == pytest.approx([0, 1, 0], abs=1e-9)
    assert found.assumed["mix"] == "Vectors(SpecialOrthogonal(3))"


def test_an_equivariant_network_has_no_shares() -> None:
    found = coset.lie_shares(network(circular(), Square()), IMAGE >> IMAGE, waves(highest=2))
    assert found.total < 1e-12
    assert "Lie derivative" in str(found)


def test_the_model_is_left_alone() -> None:
    net = network(circular(), nn.ReLU()).float().train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    coset.lie_shares(net, IMAGE >> IMAGE, waves().float())
    assert net.training
    assert all(value.equal(before[name]) for name, value in net.state_dict().items())
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in net.modules())


def test_bad_input() -> None:
    turn, net = groups.SpecialOrthogonal(2), network(circular(), nn.ReLU())
    with pytest.raises(SignatureError, match="resamples"):
        coset.lie_shares(net, actions.Image(turn) >> actions.Image(turn), waves())
    with pytest.raises(SignatureError, match="discrete"):
        coset.lie_shares(net, actions.Image(groups.Cyclic(4)) >> actions.Image(groups.Cyclic(4)), waves())
    with pytest.raises(InputError, match="names of layers"):
        coset.lie_shares(net, IMAGE >> IMAGE, waves(), features={"7": IMAGE})
    with pytest.raises(InputError, match="wrap the function"):
        coset.lie_shares(torch.relu, IMAGE >> IMAGE, waves())  # type: ignore[arg-type]
    V = actions.Vectors(groups.SpecialOrthogonal(3))
    with pytest.raises(SignatureError, match="features="):
        coset.lie_shares(nn.Linear(3, 3), V >> V, torch.randn(2, 3))


def test_rounding_has_no_shares():
    torus = groups.RealTorus(8, 8)
    net = nn.Sequential(*(nn.Conv2d(i, o, 3, padding=1, padding_mode="circular") for i, o in ((1, 4), (4, 2))))
    found = coset.lie_shares(net, actions.Periodic(torus) >> actions.Periodic(torus), torch.randn(3, 1, 8, 8))
    assert found.total < 1e-13
    assert all(layer.share != layer.share for layer in found.layers)
    assert "nothing to share" in str(found)


def test_actions_on_containers_are_refused():
    torus = groups.RealTorus(8, 8)
    periodic = actions.Periodic(torus)
    net = nn.Sequential(nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.ReLU()))
    with pytest.raises(InputError, match="without layers inside"):
        coset.lie_shares(net, periodic >> periodic, torch.randn(3, 1, 8, 8), features={"0": periodic})
