"""The laws fail on networks that break them, each in its own way."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from coset import actions, groups, nn
from tests.nn import laws
from tests.zoo.networks import CASES, O3, bodies, body_data, product, special_cases

G = product(O3)
DTYPE = torch.float64


class Spoiled(torch.nn.Module):
    """A right network with one thing wrong: ``function(inputs, outputs)``."""

    def __init__(self, network, function):
        super().__init__()
        self.network, self.function = network, function

    def forward(self, x, noise):
        return self.function(x, self.network(x, noise))


@pytest.fixture
def case():
    return next(case for case in CASES if case.kind is nn.VectorNeurons and case.source.group == G)


def start(case):
    generator = torch.Generator().manual_seed(1)
    return case.build(DTYPE), case.make(generator, DTYPE), generator


def gaps(network, case):
    _, x, generator = start(case)
    return laws.equivariance_gaps(network, case, x, generator, DTYPE)


def test_the_right_network_passes(case):
    assert max(gaps(case.build(DTYPE), case).values()) < 1e-13


def test_an_absolute_coordinate_in_the_scores_breaks_rotations_alone(case):
    found = gaps(Spoiled(case.build(DTYPE), lambda x, y: (y[0] + 1e-6 * x["pos"][..., 0], y[1])), case)
    turns = [name for name in found if "rotation" in name or "reflection" in name]
    rest = [name for name in found if name not in (*turns, "all")]
    assert turns
    assert min(found[name] for name in turns) > 1e-8
    assert max(found[name] for name in rest) < 1e-13


def test_a_cross_product_breaks_reflections_alone(case):
    def cross(x, y):
        return y[0], y[1] + 1e-3 * torch.linalg.cross(y[1][:, [1]], y[1][:, [2]])

    found = gaps(Spoiled(case.build(DTYPE), cross), case)
    assert found["reflection"] > 1e-7
    assert found["rotation"] < 1e-12


def test_the_place_of_a_point_breaks_permutations_alone(case):
    found = gaps(Spoiled(case.build(DTYPE), lambda x, y: (y[0] + 1e-6 * torch.arange(5), y[1])), case)
    assert found["all"] > 1e-8
    assert max(found["rotation"], found["reflection"]) < 1e-13
    assert max(value for name, value in found.items() if name not in ("all", "rotation", "reflection")) > 1e-8


def test_a_batch_statistic_is_seen(case):
    network, x, generator = start(case)
    broken = Spoiled(network, lambda x, y: (y[0] - y[0].mean(0), y[1]))
    assert laws.alone_gap(broken, case, x, generator, DTYPE) > 1e-3
    assert laws.reach(broken, case, x, generator, DTYPE)["pos"] == -float("inf")


@pytest.mark.parametrize("key", ["pos", "vel", "charge", "temperature", "pair"])
def test_an_ignored_input_is_seen(case, key):
    network, x, generator = start(case)

    class Blind(torch.nn.Module):
        def forward(self, inputs, noise):
            return network({**inputs, key: torch.zeros_like(inputs[key])}, noise)

    found = laws.reach(Blind(), case, x, generator, DTYPE)
    assert found.pop(key) == 0
    assert min(found.values()) > 0


def test_the_euclidean_norm_fails_under_boosts():
    case = next(iter(special_cases(lambda *args, **options: dataclasses.replace(CASES[0], source=args[0], make=args[1], options={}))))
    network, x, generator = start(case)
    assert laws.equivariance_gaps(network, case, x, generator, DTYPE)["boost"] < 1e-11
    network.form.signs.abs_()
    found = laws.equivariance_gaps(network, case, x, generator, DTYPE)
    assert found["boost"] > 1e-3
    assert found["rotation"] < 1e-12


def test_the_bilinear_product_fails_under_unitaries():
    U = groups.Unitary(2)
    source, make = bodies(product(U)), body_data(product(U))
    case = dataclasses.replace(CASES[0], source=source, make=make)
    network, x, generator = start(case)
    assert max(laws.equivariance_gaps(network, case, x, generator, DTYPE).values()) < 1e-13
    network.form.lower = lambda v: v
    assert max(laws.equivariance_gaps(network, case, x, generator, DTYPE).values()) > 1e-3


def test_timelike_rows():
    case = next(case for case in CASES if case.source.group == product(groups.Lorentz(4)))
    network, x, generator = start(case)
    rows = network(x, laws.draw(case, x, generator, DTYPE))[1]
    eta = torch.tensor([1.0, -1, -1, -1], dtype=DTYPE)
    assert bool(((rows[:, 0].square() * eta).sum(-1) > 0).all())
    assert bool((rows[:, 0, 0] > 0).all())
    assert actions.Vectors(groups.Lorentz(4)).event == 1
