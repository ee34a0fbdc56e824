"""Minimal frames of complex vectors under U(d) and SU(d): positive inner products, determinants, stabilizers, messages."""

from __future__ import annotations

import pytest
import torch

import coset
from coset import actions, frames, groups
from coset.errors import FrameError, InputError

GROUPS = [
    groups.Unitary(1),
    groups.Unitary(2),
    groups.Unitary(4),
    groups.SpecialUnitary(2),
    groups.SpecialUnitary(3),
    groups.SpecialUnitary(4),
]
over_groups = pytest.mark.parametrize("group", GROUPS, ids=repr)


def rows(batch, n, d, generator, dtype=torch.complex128):
    return torch.randn(batch, n, d, generator=generator, dtype=dtype)


@over_groups
def test_elements_are_of_the_group(group, generator):
    d = group.dim
    g = frames.Minimal().bind(actions.Vectors(group))(rows(64, d + 2, d, generator)).elements[0]
    assert (g.mH @ g - torch.eye(d)).abs().max() < 1e-13
    if not group.reflects:
        assert (torch.linalg.det(g) - 1).abs().max() < 1e-13


def test_pivots_have_positive_inner_products(generator):
    x = rows(64, 3, 3, generator)
    form = frames.Minimal().bind(actions.Vectors(groups.Unitary(3)))(x).elements[0].mH.unsqueeze(1) @ x.unsqueeze(-1)
    first = form[..., 0, 0]  # coordinates along the first column
    pivot = first.imag.abs() < 1e-13 * first.abs()
    assert pivot.any(1).all()
    assert (first.real[pivot] > 0).all()


def test_phases_do_not_jump(generator):
    """Along a closed loop of phases det^(-1/d) jumps; the last column does not."""
    group = groups.SpecialUnitary(3)
    x = rows(1, 3, 3, generator)
    phases = torch.exp(2j * torch.pi * torch.linspace(0, 1, 401, dtype=torch.float64))
    loop = torch.cat([x[:, :2].expand(401, 2, 3), x[:, 2:] * phases[:, None, None]], 1)
    g = frames.Minimal().bind(actions.Vectors(group))(loop).elements[0]
    assert (g[1:] - g[:-1]).abs().max() < 0.1
    assert (g[-1] - g[0]).abs().max() < 1e-12


def test_real_vectors_reduce_to_rotations(generator):
    x = torch.randn(16, 5, 3, generator=generator, dtype=torch.float64)
    for complex_, real in ((groups.Unitary(3), groups.Orthogonal(3)), (groups.SpecialUnitary(3), groups.SpecialOrthogonal(3))):
        found = frames.Minimal().bind(actions.Vectors(complex_))(x.to(torch.complex128)).elements
        turn = frames.Minimal().bind(actions.Vectors(real))(x).elements
        assert torch.allclose(found[0], turn[0].to(found.dtype), atol=1e-12)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
@over_groups
def test_symmetrized_models(group, scale, generator):
    d = group.dim
    w = rows(1, 3 * d, d, generator)[0]
    model = coset.symmetrize(
        lambda z: torch.view_as_complex(torch.tanh(torch.view_as_real(z.flatten(1) @ w.to(z.dtype) / scale))),
        actions.Vectors(group) >> actions.Vectors(group, points=False),
    )
    x = scale * rows(32, 3, d, generator)
    g = group.haar(32, generator=generator, dtype=torch.float64)
    act = actions.Vectors(group).act
    assert (model(act(g, x)) - act(g, model(x))).abs().max() < 1e-12
    single = (model(act(g, x).to(torch.complex64)) - act(g, model(x))).abs().max()
    assert single < 3e-4
    assert (model(x) - model(x).mean(0)).abs().max() > 1e-2


def test_ranks_and_orders(generator):
    x = rows(1, 4, 3, generator)
    for group, orders in ((groups.Unitary(3), [-1, -1, -1, 1]), (groups.SpecialUnitary(3), [-1, -1, 1, 1])):
        for rank, order in enumerate(orders):
            lower = torch.nn.functional.pad(x[..., :rank], (0, 3 - rank))
            assert frames.Minimal().bind(actions.Vectors(group))(lower).order.tolist() == [order]


@pytest.mark.parametrize("group", [groups.Unitary(3), groups.SpecialUnitary(3)], ids=repr)
def test_outputs_are_projected_on_what_the_stabilizer_fixes(group, generator):
    z = rows(4, 1, 3, generator)
    vector = coset.symmetrize(lambda z: torch.ones(len(z), 3, dtype=z.dtype), actions.Vectors(group) >> actions.Vectors(group))
    along = z[:, 0] / z[:, 0].norm(dim=-1, keepdim=True)
    assert torch.allclose(vector(z), along, atol=1e-12)  # fixed vectors are multiples of z
    tensor = coset.symmetrize(
        lambda z: torch.ones(len(z), 3, 3, dtype=z.dtype), actions.Vectors(group) >> actions.Tensors(group, 2, points=False)
    )
    assert torch.allclose(tensor(z), along.unsqueeze(-1) * along.unsqueeze(-2), atol=1e-12)


def test_other_inputs_refine(generator):
    group = groups.Unitary(3)
    source = actions.Dict(a=actions.Vectors(group), b=actions.Vectors(group))
    model = coset.symmetrize(
        lambda a, b: torch.tanh(a.real).sum(1) + 1j * torch.tanh(b.imag).sum(1), source >> actions.Vectors(group), frames.Minimal(of="a")
    )
    x = {"a": rows(8, 1, 3, generator), "b": 1e3 * rows(8, 4, 3, generator)}
    g = group.haar(8, generator=generator, dtype=torch.float64)
    assert model.frame(x).order.tolist() == [1] * 8
    assert (model(**source.act(g, x)) - actions.Vectors(group).act(g, model(**x))).abs().max() < 1e-11


def test_models_can_be_cast_without_losing_imaginary_parts(generator):
    group = groups.Unitary(2)
    model = coset.symmetrize(lambda z: z.sum(1).abs() * (1 + 0j), actions.Vectors(group) >> actions.Vectors(group, points=False))
    x = torch.nn.functional.pad(rows(3, 2, 1, generator), (0, 1))
    before = model(x)
    assert torch.allclose(model.to(torch.float32).to(torch.float64)(x), before, atol=1e-6)


def test_messages(generator):
    bound = frames.Minimal().bind(actions.Vectors(groups.Unitary(3)))
    with pytest.raises(
        InputError, match=r"real\. Expected: complex vectors for Unitary\(3\).*to\(torch.complex64\), or use SpecialOrthogonal"
    ):
        bound(torch.randn(2, 4, 3))
    with pytest.raises(FrameError, match=r"colours.* on Unitary\(3\).*leave colours out"):
        frames.Minimal(colours=frames.UNCOLOURED).bind(actions.Points(groups.Unitary(3)))
    with pytest.raises(FrameError, match="declare what SpecialUnitary"):
        frames.Minimal().bind(actions.Tensors(groups.SpecialUnitary(3), 2))
    with pytest.raises(InputError, match="NaN or infinite"):
        bound(torch.full((1, 2, 3), torch.nan, dtype=torch.complex64))
