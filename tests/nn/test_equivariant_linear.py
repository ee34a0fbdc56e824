"""The equivariant linear layer: audits to rounding, every transform of modules, e3nn as oracle, and broken layers that are seen."""

from __future__ import annotations

import copy
import io
import pickle

import pytest
import torch

import coset
from coset import actions, nn
from coset.errors import InputError, SignatureError
from tests.zoo.equivariant_linear import CASES, IRREPS, O3, S4, S5, SO3

over_cases = pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
DTYPES = {torch.float32: 2e-5, torch.float64: 3e-14}
over_dtypes = pytest.mark.parametrize("dtype", DTYPES, ids=["float32", "float64"])


def start(case, dtype=torch.float64, seed=0):
    return case.build(dtype), case.make(torch.Generator().manual_seed(seed), dtype)


@over_cases
@over_dtypes
def test_certificate_and_audit(case, dtype):
    layer, x = start(case, dtype)
    assert layer.dimension == case.dimension
    assert layer.certificate() < DTYPES[dtype]
    report = coset.audit(layer, layer.signature, x, samples=8, lie=False, layers=False, ascend=False, continuity=False)
    assert report.failures == []
    assert report.error < DTYPES[dtype] * (100 if case.source.group.lorentzian else 1)


@over_cases
def test_a_broken_layer_is_seen(case):
    layer, x = start(case)
    matrix = layer.matrix().detach()
    noise = torch.randn(matrix.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(matrix)
    layer.matrix = lambda: matrix + 1e-4 * noise
    assert layer.certificate() > 1e-6
    report = coset.audit(layer, layer.signature, x, samples=8, lie=False, layers=False, ascend=False, continuity=False)
    assert report.error > 1e-6


def test_a_bias_that_moves_is_seen():
    layer = nn.EquivariantLinear(actions.Tensors(SO3, 2), actions.Tensors(SO3, 2)).double()
    torch.nn.init.ones_(layer.bias)
    assert layer.certificate() < 1e-13
    layer.still = layer.still + 1e-4 * torch.randn(layer.still.shape)
    assert layer.certificate() > 1e-6


@over_cases
def test_transforms_of_modules(case):
    layer, x = start(case, torch.float32)
    expected = layer(x)
    torch._dynamo.reset()
    compiled = torch.compile(layer, backend="eager", fullgraph=True)
    assert torch.allclose(compiled(x), expected, atol=1e-6)
    assert torch.allclose(torch.vmap(layer)(x), expected, atol=1e-5)
    file = io.BytesIO()
    torch.save(layer.state_dict(), file)
    file.seek(0)
    loaded = case.build(torch.float32, seed=5)
    assert not torch.allclose(loaded(x), expected, atol=1e-3)
    loaded.load_state_dict(torch.load(file))
    assert torch.equal(loaded(x), expected)
    assert torch.equal(copy.deepcopy(layer)(x), expected)
    assert torch.equal(pickle.loads(pickle.dumps(layer))(x), expected)
    assert layer.to("meta")(x.to("meta")).shape == expected.shape


@pytest.mark.parametrize("case", CASES[1:6:4], ids=[case.name for case in CASES[1:6:4]])
def test_export(case):
    layer, x = start(case, torch.float32)
    exported = torch.export.export(layer, (x,), dynamic_shapes=({0: torch.export.Dim("batch")},)).module()
    assert torch.allclose(exported(x[:3]), layer(x[:3]), atol=1e-6)


@over_cases
def test_outputs_start_at_mean_square_one(case):
    if "bias" in case.options:
        pytest.skip("the same without bias")
    generator = torch.Generator().manual_seed(0)
    sizes = []
    layer = case.build(torch.float64)
    for _ in range(200):
        layer.reset_parameters()
        x = case.make(generator, torch.float64)
        sizes.append(layer(x).detach().abs().square().mean())
    assert 0.75 < float(torch.stack(sizes).mean()) < 1.3


def test_precision_is_that_of_the_dtype():
    """Bases are rounded anew from full precision, also after a detour through single precision."""
    layer = nn.EquivariantLinear(actions.Tensors(SO3, 3), actions.Tensors(SO3, 2))
    assert 1e-10 < layer.certificate() < 1e-5
    assert layer.double().certificate() < 1e-13
    assert layer.half().double().certificate() < 1e-13


def test_against_e3nn():
    """The layer's matrices are e3nn's, up to a change of coefficients."""
    o3 = pytest.importorskip("e3nn.o3")
    ours = nn.equivariant_basis(IRREPS, IRREPS)
    theirs = o3.Linear(IRREPS.irreps, IRREPS.irreps)
    assert theirs.weight_numel == ours.dimension
    for _ in range(3):
        torch.nn.init.normal_(theirs.weight)
        matrix = theirs(torch.eye(14)).detach().mT.double()
        assert torch.allclose(ours.project(matrix), matrix, atol=1e-6)
        assert not torch.allclose(ours.project(matrix + torch.randn(14, 14)), matrix, atol=1e-2)


def test_all_maps_can_be_learned():
    """The layer finds any map that commutes with permutations, here sums over rows, and no other."""
    layer = nn.EquivariantLinear(actions.Permute(S4, -2, -1), actions.Permute(S4, -1)).double()
    x = torch.randn(200, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for goal, bound in ((x.sum(-1) + 2 * x.diagonal(dim1=1, dim2=2) + 1, 1e-8), (x[:, 0], None)):
        optimizer = torch.optim.LBFGS(layer.parameters(), max_iter=200, tolerance_grad=1e-12, tolerance_change=1e-14)

        def closure(goal=goal, optimizer=optimizer):
            optimizer.zero_grad()
            loss = (layer(x) - goal).square().mean()
            loss.backward()
            return loss

        optimizer.step(closure)
        loss = float(closure().detach())
        assert loss < bound if bound else loss > 0.1


def test_one_basis_for_many_layers():
    basis = nn.equivariant_basis(actions.Tensors(O3, 2), actions.Tensors(O3, 2))
    layers = [nn.EquivariantLinear(actions.Tensors(O3, 2), actions.Tensors(O3, 2), channels=c, basis=basis) for c in ((2, 3), (3, 1))]
    assert torch.nn.Sequential(*layers)(torch.randn(5, 2, 3, 3)).shape == (5, 1, 3, 3)


def test_zero_is_refused():
    with pytest.raises(SignatureError, match="one that is not zero"):
        nn.EquivariantLinear(actions.Tensors(O3, 2), actions.Vectors(O3))


def test_wrong_calls_are_refused():
    layer = nn.EquivariantLinear(actions.Permute(S5, -1), actions.Permute(S5, -1), channels=(2, 3))
    with pytest.raises(InputError, match=r"last shape \(2, 5\)"):
        layer(torch.randn(4, 3, 5))
    for channels in (3, (0, 2), (1, 2, 3), (1.0, 2)):
        with pytest.raises(InputError, match="two positive whole numbers"):
            nn.EquivariantLinear(actions.Permute(S5, -1), actions.Permute(S5, -1), channels=channels)


def test_a_basis_of_other_actions_is_refused():
    basis = nn.equivariant_basis(actions.Tensors(O3, 2), actions.Tensors(O3, 2))
    for target in (actions.Vectors(O3), actions.Tensors(O3, 3), actions.Irreps(O3, "0e+1e+2e")):
        with pytest.raises(SignatureError, match="a basis of"):
            nn.EquivariantLinear(actions.Tensors(O3, 2), target, basis=basis)


def test_numbers_without_an_axis():
    layer = nn.EquivariantLinear(actions.Permute(S5, -1), actions.Trivial(S5), target_shape=())
    assert layer(torch.ones(7, 5)).shape == (7,)
    assert nn.EquivariantLinear(actions.Trivial(S5), actions.Permute(S5, -1), source_shape=())(torch.ones(7)).shape == (7, 5)


@pytest.mark.parametrize(("source", "target"), [(actions.Permute(S5, -2, -1), actions.Permute(S5, -1)), (IRREPS, IRREPS)])
def test_built_without_memory(source, target):
    with torch.device("meta"):
        layer = nn.EquivariantLinear(source, target)
    assert {one.device.type for one in (layer.weight, layer.unit)} == {"meta"}
    layer = layer.to_empty(device="cpu")
    layer.reset_parameters()
    torch.nn.init.zeros_(layer.bias)
    assert layer.certificate() < 1e-6
    assert layer(torch.randn(3, *layer.source_shape)).shape == (3, *layer.target_shape)
