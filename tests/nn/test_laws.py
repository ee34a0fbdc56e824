"""Every network of the zoo: equivariance under each component of its group, samples by themselves, features that reach the output."""

from __future__ import annotations

import copy
import io
import pickle

import pytest
import torch

from tests.nn import laws
from tests.zoo.networks import CASES, NETWORKS

DTYPES = [torch.float32, torch.float64]
TOL = {torch.float32: 3e-5, torch.float64: 1e-13}
SMALLEST = 1e-5
"""A number that is changed by 0.37 moves each output by at least this share."""

over_cases = pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
over_dtypes = pytest.mark.parametrize("dtype", DTYPES, ids=["float32", "float64"])


def start(case, dtype, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return case.build(dtype), case.make(generator, dtype), generator


@over_cases
@over_dtypes
def test_equivariance(case, dtype):
    network, x, generator = start(case, dtype)
    for mode in (True, False):
        found = laws.equivariance_gaps(network.train(mode), case, x, generator, dtype)
        assert max(found.values()) < TOL[dtype] * case.tol_scale, found


@over_cases
@over_dtypes
def test_equivariance_at_symmetric_inputs(case, dtype):
    network, _, generator = start(case, dtype)
    for name, x in case.symmetric(generator, dtype):
        found = laws.equivariance_gaps(network, case, x, generator, dtype)
        assert max(found.values()) < TOL[dtype] * case.tol_scale, (name, found)


@over_cases
@over_dtypes
def test_samples_do_not_see_each_other(case, dtype):
    network, x, generator = start(case, dtype)
    assert laws.alone_gap(network.train(), case, x, generator, dtype) < TOL[dtype]


@over_cases
def test_every_number_reaches_every_output(case):
    network, x, generator = start(case, torch.float64)
    found = laws.reach(network, case, x, generator, torch.float64)
    assert min(found.values()) > SMALLEST, found


@over_cases
def test_every_weight_matters(case):
    network, x, generator = start(case, torch.float64)
    found = laws.gradients(network, case, x, generator, torch.float64)
    weights = dict(network.named_parameters())
    idle = [name for name, g in zip(weights, found[-len(weights) :], strict=True) if float(g.abs().sum()) == 0]
    if case.source.group.dim is None:  # without vectors nothing is mixed
        idle = [name for name in idle if "mix" not in name and "direction" not in name and name != "vectors.weight"]
    assert idle == []


@over_cases
@over_dtypes
def test_gradients_are_finite_at_degenerate_inputs(case, dtype):
    network, x, generator = start(case, dtype)
    for name, data in [("generic", x), *case.symmetric(generator, dtype)]:
        assert all(bool(torch.isfinite(g).all()) for g in laws.gradients(network, case, data, generator, dtype)), name


@over_cases
def test_gradients_are_finite_without_noise_at_zero(case):
    network, x, _ = start(case, torch.float32)
    zero = {torch.float32, torch.complex64}
    x = laws.tree_map(lambda leaf: torch.zeros_like(leaf) if leaf.dtype in zero else leaf, x)
    for y in laws.outputs(network, x, None):
        size = torch.view_as_real(y) if y.is_complex() else y
        grads = torch.autograd.grad(size.sum(), list(network.parameters()), allow_unused=True, retain_graph=True)
        assert all(bool(torch.isfinite(g).all()) for g in grads if g is not None)


@over_cases
def test_gradients_are_derivatives(case):
    network, x, generator = start(case, torch.float64)
    noise = laws.draw(case, x, generator, torch.float64)
    direction = torch.randn(noise.shape, generator=generator, dtype=noise.dtype)

    def total(t):
        return sum((y.real + y.imag if y.is_complex() else y).square().sum() for y in laws.outputs(network, x, noise + t * direction))

    t = torch.zeros((), dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(total(t), t)
    step = 1e-6
    assert torch.allclose((total(step) - total(-step)) / (2 * step), slope, rtol=1e-4, atol=1e-6)


@over_cases
def test_no_noise_means_zeros(case):
    network, x, generator = start(case, torch.float32)
    zeros = torch.zeros_like(laws.draw(case, x, generator, torch.float32))
    assert laws.gap(laws.outputs(network, x, None), laws.outputs(network, x, zeros)) == 0


@over_cases
def test_copies_and_saved_weights(case):
    network, x, generator = start(case, torch.float32)
    noise = laws.draw(case, x, generator, torch.float32)
    expected = laws.outputs(network, x, noise)
    file = io.BytesIO()
    torch.save(network.state_dict(), file)
    file.seek(0)
    loaded = case.build(torch.float32, seed=5)
    assert laws.gap(laws.outputs(loaded, x, noise), expected) > 0
    loaded.load_state_dict(torch.load(file))
    for other in (loaded, copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
        assert laws.gap(laws.outputs(other, x, noise), expected) == 0


STATIC = [case for case in CASES if "ragged" not in case.name]
QUICK = ("GIN", "DeepSets", "Unitary(2) complex", "neighbours=2 padded", "ProperLorentz")
MARKED = [pytest.param(case, id=case.name, marks=() if any(word in case.name for word in QUICK) else pytest.mark.slow) for case in STATIC]


@pytest.mark.parametrize("case", MARKED)
def test_dense_batches_compile_to_one_graph(case):
    network, x, generator = start(case, torch.float32)
    noise = laws.draw(case, x, generator, torch.float32)
    torch._dynamo.reset()
    compiled = torch.compile(network, backend="eager", fullgraph=True)
    assert laws.gap(laws.outputs(compiled, x, noise), laws.outputs(network, x, noise)) < 1e-5


@pytest.mark.parametrize("case", STATIC, ids=[case.name for case in STATIC])
def test_nothing_is_left_on_the_host(case):
    """On the meta device any tensor of another device in a product raises."""
    network, x, generator = start(case, torch.float32)
    noise = laws.draw(case, x, generator, torch.float32)
    found = laws.outputs(network.to("meta"), laws.tree_map(lambda leaf: leaf.to("meta"), x), noise.to("meta"))
    assert [(y.shape, y.device.type) for y in found] == [(y.shape, "meta") for y in laws.outputs(case.build(torch.float32), x, noise)]


def test_names_of_cases_differ():
    names = [case.name for case in CASES]
    assert len(set(names)) == len(names), [name for name in names if names.count(name) > 1]


def test_cases_are_of_the_class_they_stand_for():
    for kind, cases in NETWORKS.items():
        assert all(case.kind is kind for case in cases)
