"""Symmetries of ReLU networks: copies with permuted channels, planted symmetries, exact conversion, repaired merges."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import pad, relu

import coset
from coset import actions, discover, groups
from coset.discover.channels import channels
from coset.discover.matching import assign, pair
from coset.discover.recording import reordered
from coset.errors import GroupError, InputError, SignatureError

pytest.importorskip("scipy")
pytest.importorskip("networkx")

FLIP, TURN = groups.Dihedral(1), groups.Cyclic(4)


def images(batch: int = 16, channels: int = 1, size: int = 12, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(batch, channels, size, size, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(dtype)


class Residual(nn.Module):
    """Two stages with a shortcut that pads channels, as in the residual networks for CIFAR-10."""

    def __init__(self, stride: int = 1) -> None:
        super().__init__()
        self.stride = stride
        self.conv1, self.bn1 = nn.Conv2d(1, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6)
        self.conv2, self.bn2 = nn.Conv2d(6, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.conv3, self.conv4 = nn.Conv2d(6, 5, 3, padding=1), nn.Conv2d(5, 10, 3, padding=1)
        self.linear = nn.Linear(10, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = relu(self.bn1(self.conv1(x)))
        x = relu(self.bn2(self.conv2(x)) + x)
        x = relu(self.conv4(relu(self.conv3(x))) + pad(x, (0, 0, 0, 0, 2, 2)))
        return self.linear(x.mean((-1, -2)))


def flattened() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(6 * 36, 8), nn.ReLU(), nn.Linear(8, 3)
    )  # fmt: skip


def built(make: type[nn.Module] | object, seed: int = 0) -> nn.Module:
    """A network in float64 with statistics of batch normalization that are not trivial."""
    torch.manual_seed(seed)
    net = make().double()  # type: ignore[operator]
    for part in net.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.normal_(0, 0.1)
            part.running_var.uniform_(0.5, 2)
            part.weight.data.uniform_(0.5, 2)
            part.bias.data.uniform_(0, 0.5)
    return net.eval()


def symmetric(make: object, group: groups.Group, seed: int = 0) -> nn.Module:
    """A network that is equivariant: its weights averaged over the group, with random permutations of order |G|."""
    net = built(make, seed)
    found = discover.layer_symmetry(net, actions.Image(group) >> actions.Trivial(group), images())
    blocks = []
    for block in found.blocks:
        order = group.order
        cycle = torch.arange(block.channels)
        for start in range(0, block.channels - order + 1, order):
            cycle[start : start + order] = start + torch.arange(order).roll(-1)
        shuffle = torch.randperm(block.channels, generator=torch.Generator().manual_seed(seed))
        generator = shuffle[cycle[shuffle.argsort()]]
        powers = [torch.arange(block.channels)]
        for _ in range(order - 1):
            powers.append(generator[powers[-1]])
        blocks.append(copy.copy(block))
        object.__setattr__(blocks[-1], "permutations", torch.stack(powers))
        object.__setattr__(blocks[-1], "homomorphism", 1.0)
    object.__setattr__(found, "blocks", blocks)
    return found.converted().eval()


@pytest.mark.parametrize("make", [Residual, flattened], ids=["residual", "flattened"])
@pytest.mark.parametrize("group", [FLIP, groups.Cyclic(2), TURN], ids=str)
def test_planted_symmetry_is_found_and_conversion_changes_nothing(make: object, group: groups.Group) -> None:
    net = symmetric(make, group)
    signature = actions.Image(group) >> actions.Trivial(group)
    assert coset.audit(net, signature, images()).error < 1e-12
    found = discover.layer_symmetry(net, signature, images(64))
    assert found.output < 1e-12
    assert found.homomorphism == 1
    for block in found.blocks:
        assert block.residual.max() < 1e-7
        assert block.characters[0] == block.channels
    assert max(block.alone[1:].max() for block in found.blocks) > 0.1  # without the match, channels do not agree
    assert torch.allclose(found.converted()(images()), net(images()), atol=1e-12)


@pytest.mark.parametrize("make", [Residual, flattened], ids=["residual", "flattened"])
@pytest.mark.parametrize("group", [FLIP, TURN], ids=str)
def test_transformed_network_computes_f_of_gx(make: object, group: groups.Group) -> None:
    net, x = built(make), images()
    found = discover.layer_symmetry(net, actions.Image(group) >> actions.Trivial(group), x)
    for k in range(group.order):
        g = torch.utils._pytree.tree_map(lambda t, k=k: t[k].expand(len(x), *t.shape[1:]), group.elements())
        assert torch.allclose(found.transformed(k)(x), net(actions.Image(group).act(g, x)), atol=1e-12)


def test_a_group_network_has_no_barrier_and_a_plain_one_has() -> None:
    x = images(64)

    def change(twin: nn.Module, net: nn.Module) -> float:
        return float((twin(x) - net(x)).norm() / net(x).norm())

    signature = actions.Image(FLIP) >> actions.Trivial(FLIP)
    for net, low, high in ((symmetric(Residual, FLIP), 0.0, 1e-12), (built(Residual), 0.005, 10.0)):
        twin = discover.layer_symmetry(net, signature, x).transformed(1)
        with torch.no_grad():
            found = discover.barrier(net, twin, lambda half, net=net: change(half, net), steps=5)
        assert low <= found.height <= high
        assert found.weights.tolist() == [0, 0.25, 0.5, 0.75, 1]
        assert "barrier" in str(found)


@pytest.mark.parametrize("make", [Residual, flattened], ids=["residual", "flattened"])
def test_permuted_copy_is_recovered_exactly(make: object) -> None:
    """Channels of a copy in another order: matching its activations with the original's gives the order back."""
    net, x = built(make), images(64)
    traced = channels(net, x[:2])
    shuffled, orders = copy.deepcopy(net), torch.arange(traced.count)
    generator = torch.Generator().manual_seed(3)
    for numbers in traced.blocks.values():
        orders[numbers] = numbers[torch.randperm(len(numbers), generator=generator)]
    shuffled.load_state_dict(reordered(net.state_dict(), traced, orders))
    assert torch.allclose(shuffled(x), net(x), atol=1e-12)
    back = discover.align_channels(shuffled, net, x)
    assert torch.allclose(back(x), net(x), atol=1e-12)
    alive = net.state_dict(), back.state_dict(), shuffled.state_dict()
    first = next(name for name in alive[0] if name.endswith("weight"))
    assert torch.allclose(alive[0][first], alive[1][first])
    assert not torch.allclose(alive[0][first], alive[2][first])


def test_streams_of_a_residual_network() -> None:
    blocks = channels(Residual(), images(2, dtype=torch.float32)).blocks
    assert [len(numbers) for numbers in blocks.values()] == [6, 5, 4]
    assert list(blocks) == ["conv1 + 2 more", "conv3", "conv4"]


def test_best_involution_by_brute_force() -> None:
    from itertools import permutations

    for seed in range(5):
        score = torch.randn(5, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        every = [torch.tensor(p) for p in permutations(range(5))]
        value = lambda p, score=score: float(score[torch.arange(5), p].sum())  # noqa: E731
        assert value(assign(score)) == pytest.approx(max(map(value, every)))
        both = (score + score.mT) / 2
        own = [p for p in every if p[p].equal(torch.arange(5))]
        found = pair(both)
        assert found[found].equal(torch.arange(5))
        assert value(found) == pytest.approx(max(map(value, own)))


def test_repair_brings_back_the_spread_of_merged_channels() -> None:
    torch.manual_seed(0)
    make = lambda: nn.Sequential(nn.Linear(6, 40), nn.ReLU(), nn.Linear(40, 40), nn.ReLU(), nn.Linear(40, 2)).double()  # noqa: E731
    a, b = make(), make()
    x = torch.randn(500, 6, dtype=torch.float64)
    half = discover.merge(a, b)
    fixed = discover.repair(half, a, b, x)

    def spread(net: nn.Module) -> Tensor:
        return net[:3](x).std(0, correction=0).detach()  # type: ignore[index]

    goal = (spread(a) + spread(b)) / 2
    assert torch.allclose(spread(fixed), goal, rtol=1e-9)
    assert (spread(half) / goal).mean() < 0.8  # merging alone loses variance
    assert [p.shape for p in fixed.parameters()] == [p.shape for p in half.parameters()]


def test_reset_statistics_are_those_of_the_data() -> None:
    net, x = built(Residual), images(64)
    fresh = discover.reset_statistics(net, x.split(16))
    assert torch.allclose(fresh.bn1.running_mean, net.conv1(x).mean((0, 2, 3)), atol=1e-12)
    assert not torch.allclose(net.bn1.running_mean, fresh.bn1.running_mean)  # type: ignore[arg-type]
    assert not fresh.training
    assert fresh.bn1.momentum == 0.1


def test_conversion_is_refused_where_permutations_do_not_compose() -> None:
    net = built(Residual)
    found = discover.layer_symmetry(net, actions.Image(TURN) >> actions.Trivial(TURN), images(64))
    assert found.homomorphism < 1
    assert "Cyclic(4)" in str(found)
    with pytest.raises(GroupError, match="homomorphism on all of them"):
        found.converted()


def test_bad_input() -> None:
    signature = actions.Image(FLIP) >> actions.Trivial(FLIP)
    with pytest.raises(SignatureError, match="quarter turns and flips"):
        discover.layer_symmetry(built(Residual), actions.Image(groups.Cyclic(8)) >> actions.Trivial(groups.Cyclic(8)), images())
    with pytest.raises(InputError, match="at least 2"):
        discover.layer_symmetry(built(Residual), signature, images(1))

    class Odd(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.fft.fft2(x).real

    with pytest.raises(InputError, match="fft_fft2"):
        discover.layer_symmetry(Odd(), signature, images())

    class Branching(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x if x.sum() > 0 else -x

    with pytest.raises(InputError, match=r"torch\.fx can trace"):
        discover.layer_symmetry(Branching(), signature, images())
    with pytest.raises(InputError, match="square kernels"):
        discover.layer_symmetry(
            nn.Sequential(nn.Conv2d(1, 2, (1, 3))), actions.Image(TURN) >> actions.Trivial(TURN), images(dtype=torch.float32)
        )
    with pytest.raises(InputError, match="one architecture"):
        discover.merge(nn.Linear(2, 2), nn.Linear(3, 2))
