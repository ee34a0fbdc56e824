"""Networks of unusual make: what cannot be reordered is refused by name, and what can still computes the same."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import dropout, relu

from coset import actions, discover, groups
from coset.errors import InputError, SignatureError

pytest.importorskip("scipy")
pytest.importorskip("networkx")

FLIP = groups.Dihedral(1)
IMAGE, STILL = actions.Image(FLIP), actions.Trivial(FLIP)
X = torch.randn(24, 1, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


class Net(nn.Module):
    """Convolutions and a linear layer, put together by a function."""

    def __init__(self, forward: Callable[[nn.Module, Tensor], object], features: int = 6):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b = nn.Conv2d(1, 6, 3, padding=1), nn.Conv2d(1, 6, 3, padding=1)
        self.c, self.l = nn.Conv2d(6, 6, 3, padding=1), nn.Linear(features, 3)
        self.run = forward
        self.double()

    def forward(self, x: Tensor) -> object:
        return self.run(self, x)


def normalized() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.BatchNorm1d(384), nn.Linear(384, 5), nn.ReLU(), nn.Linear(5, 2)
    ).double()  # fmt: skip


RIGHT = {
    "a layer that runs twice": Net(lambda n, x: n.l(relu(n.c(relu(n.c(relu(n.a(x)))))).mean((2, 3)))),
    "no nonlinearity": Net(lambda n, x: n.l(n.c(n.a(x)).mean((2, 3)))),
    "flattened images side by side": Net(lambda n, x: n.l(torch.cat([relu(n.a(x)).flatten(1), relu(n.b(x)).flatten(1)], 1)), 768),
    "flattened before the nonlinearity": Net(lambda n, x: n.l(relu(n.a(x).flatten(1))), 384),
    "normalization of a flattened image": normalized(),
}


@pytest.mark.parametrize("net", RIGHT.values(), ids=RIGHT.keys())
def test_the_transformed_network_is_the_network_on_moved_images(net: nn.Module):
    found = discover.layer_symmetry(net.eval(), IMAGE >> STILL, X)
    assert torch.allclose(found.transformed(1)(X), net(X.flip(-1)), atol=1e-10)
    assert all(float(block.residual[1]) > 0.1 for block in found.blocks)  # random weights: no match is good


WRONG = {
    "an average over channels": Net(lambda n, x: n.l(relu(n.a(x[..., :6, :6])).mean(1).flatten(1)), 36),
    "images joined along an axis of pixels": Net(lambda n, x: n.l(n.c(torch.cat([relu(n.a(x)), relu(n.b(x))], 2)).mean((2, 3)))),
    "channels taken in another order": Net(lambda n, x: n.l(n.c(relu(n.a(x))[:, [1, 0, 3, 2, 5, 4]]).mean((2, 3)))),
}


@pytest.mark.parametrize("net", WRONG.values(), ids=WRONG.keys())
def test_what_mixes_channels_is_refused(net: nn.Module):
    with pytest.raises(InputError, match="the operation"):
        discover.layer_symmetry(net, IMAGE >> STILL, X)


def test_one_tensor_with_two_names_is_refused():
    alias = Net(lambda n, x: n.l(relu(n.b(x)).mean((2, 3))))
    alias.b = alias.a
    with pytest.raises(InputError, match="under the names"):
        discover.layer_symmetry(alias, IMAGE >> STILL, X)


def test_linear_layers_of_sequences_are_refused():
    make = lambda: nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))  # noqa: E731
    with pytest.raises(InputError, match="rows"):
        discover.align_channels(make(), make(), torch.randn(20, 9, 4))


def test_inputs_of_three_axes_may_be_flattened():
    make = lambda: nn.Sequential(nn.Flatten(), nn.Linear(20, 6), nn.ReLU(), nn.Linear(6, 2)).double()  # noqa: E731
    a, b, x = make(), make(), torch.randn(30, 5, 4, dtype=torch.float64)
    assert torch.allclose(discover.align_channels(a, b, x)(x), a(x), atol=1e-12)


def test_models_in_training_mode_are_left_as_they_are():
    net = nn.Sequential(nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 2, 3)).double().train()
    before = copy.deepcopy(net.state_dict())
    discover.layer_symmetry(net, IMAGE >> IMAGE, X)
    discover.align_channels(net, copy.deepcopy(net), X)
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    assert net.training
    assert net[1].training


def test_dropout_functions_are_switched_off():
    net = Net(lambda n, x: n.l(dropout(relu(n.a(x)).mean((2, 3)), 0.5, n.training))).train()
    found = discover.layer_symmetry(net, IMAGE >> STILL, X).output
    assert found == discover.layer_symmetry(net.eval(), IMAGE >> STILL, X).output


def test_several_outputs():
    net = Net(lambda n, x: (n.c(relu(n.a(x)))[:, :, :, :], n.l(relu(n.a(x)).mean((2, 3)))))
    found = discover.layer_symmetry(net, IMAGE >> actions.Tuple(IMAGE, STILL), X)
    here, there = net(X), net(X.flip(-1))
    change = (there[0].flip(-1) - here[0]).square().sum() + (there[1] - here[1]).square().sum()
    assert found.output == pytest.approx(float((change / (here[0].square().sum() + here[1].square().sum())).sqrt().detach()))


def test_residuals_do_not_depend_on_the_chunk():
    net = Net(lambda n, x: n.l(relu(n.c(relu(n.a(x)))).mean((2, 3))))
    one, other = (discover.layer_symmetry(net, IMAGE >> STILL, X, chunk=size).blocks[0].residual for size in (5, 100))
    assert torch.allclose(one, other)


def test_a_group_of_one_element_is_refused():
    nothing = groups.Cyclic(1)
    with pytest.raises(SignatureError, match="moves nothing"):
        discover.layer_symmetry(Net(lambda n, x: n.a(x)), actions.Image(nothing) >> actions.Image(nothing), X)


def test_statistics_are_not_reset_to_nothing():
    with pytest.raises(InputError, match="no batches"):
        discover.reset_statistics(nn.Sequential(nn.BatchNorm1d(2)), iter([]))


@pytest.mark.parametrize("length", [3, 5])
def test_repair_of_sequences(length: int):
    torch.manual_seed(0)
    first, second = (nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2)).double() for _ in range(2))
    x = torch.randn(40, length, 4, dtype=torch.float64)
    twin = discover.repair(discover.merge(first, second), first, second, x)
    spread = lambda net: net[0](x).flatten(0, 1).std(0)  # noqa: E731
    assert torch.allclose(spread(twin), (spread(first) + spread(second)) / 2)


def test_repair_without_layers_is_refused():
    net = nn.Sequential(nn.Linear(4, 2))
    with pytest.raises(InputError, match="without layers"):
        discover.repair(net, net, net, torch.randn(5, 4))
