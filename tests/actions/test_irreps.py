"""Irreps against e3nn, and against representations that are known by hand."""
# ruff: noqa: E741 - l is what the order of a representation is called

from __future__ import annotations

import pytest
import torch

from coset import actions, groups
from coset.actions.irreps import parse_irreps, spherical_harmonics, wigner_d
from coset.actions.representations import highest_weight
from coset.errors import InputError, SignatureError

O3, SO3 = groups.Orthogonal(3), groups.SpecialOrthogonal(3)


@pytest.mark.parametrize("irreps", ["1x0e", "2x0e+1x1o", "1x1e", "1x2e+1x0o", "3x2o+1x3o+2x1e", "1x4e", "1x5o+1x4o"])
def test_agrees_with_e3nn(irreps, generator):
    o3 = pytest.importorskip("e3nn.o3", reason="e3nn is not installed")
    theirs = o3.Irreps(irreps)
    g = O3.haar(12, generator=generator, dtype=torch.float64)
    x = torch.randn(12, theirs.dim, generator=generator, dtype=torch.float64)
    # e3nn computes its matrices in the default precision
    torch.set_default_dtype(torch.float64)
    try:
        expected = torch.einsum("bij,bj->bi", theirs.D_from_matrix(g), x)
    finally:
        torch.set_default_dtype(torch.float32)
    assert (actions.Irreps(O3, irreps).act(g, x) - expected).abs().max() < 1e-6  # e3nn goes through Euler angles


@pytest.mark.parametrize("l", range(7))
def test_matrices_are_orthogonal_homomorphisms(l, generator):
    g, h = SO3.haar(2, 8, generator=generator, dtype=torch.float64)
    product = wigner_d(l, g) @ wigner_d(l, h)
    assert (wigner_d(l, g @ h) - product).abs().max() < 1e-12
    assert (product @ product.mT - torch.eye(2 * l + 1)).abs().max() < 1e-12


@pytest.mark.parametrize("l", range(5))
def test_harmonics_move_with_their_points(l, generator):
    points = torch.randn(20, 3, generator=generator, dtype=torch.float64)
    g = SO3.haar(generator=generator, dtype=torch.float64)
    moved = spherical_harmonics(l, points @ g.mT)
    assert (moved - spherical_harmonics(l, points) @ wigner_d(l, g).mT).abs().max() < 1e-12


def test_order_one_is_the_vector_itself(generator):
    g = O3.haar(6, generator=generator, dtype=torch.float64)
    x = torch.randn(6, 3, generator=generator, dtype=torch.float64)
    assert (actions.Irreps(O3, "1o").act(g, x) - actions.Vectors(O3).act(g, x)).abs().max() < 1e-13
    assert (actions.Irreps(O3, "1e").act(g, x) - actions.Pseudovectors(O3).act(g, x)).abs().max() < 1e-13


def test_a_wrong_parity_is_seen(generator):
    g = -torch.eye(3, dtype=torch.float64)[None]
    x = torch.randn(1, 3, generator=generator, dtype=torch.float64)
    assert (actions.Irreps(O3, "1e").act(g, x) - actions.Irreps(O3, "1o").act(g, x)).abs().max() > 0.1


def test_characters_decompose_the_square_of_vectors(generator):
    """Tensors of order two are 0e + 1e + 2e: the traces agree."""
    g = O3.haar(10, generator=generator, dtype=torch.float64)
    vector = g.diagonal(dim1=-2, dim2=-1).sum(-1)
    turn = g * torch.linalg.det(g)[:, None, None]
    total = sum(wigner_d(l, turn).diagonal(dim1=-2, dim2=-1).sum(-1) for l in range(3))
    assert (vector**2 - total).abs().max() < 1e-12


@pytest.mark.parametrize("text", ["1o+", "x1o", "1", "2x1z", ""])
def test_misspelt_irreps_are_refused(text):
    with pytest.raises(SignatureError, match="terms such as 2x0e or 1o"):
        parse_irreps(text)


def test_wrong_group_and_size_are_refused():
    with pytest.raises(SignatureError, match="rotations of three-dimensional space"):
        actions.Irreps(groups.Orthogonal(2), "1o")
    with pytest.raises(InputError, match="last axis of length 4"):
        actions.Irreps(O3, "0e+1o").check(torch.zeros(2, 3))


def test_degrees_are_those_of_the_polynomials():
    assert actions.Irreps(O3, "1o+2e").degree == 2
    assert actions.Irreps(O3, "1e").degree == 2
    assert actions.Irreps(O3, "0o").degree == 3
    assert actions.Irreps(SO3, "1e").degree == 1
    assert highest_weight(SO3, lambda g: g) == 1
    assert highest_weight(SO3, lambda g: wigner_d(3, g)) == 3
    assert highest_weight(groups.SpecialOrthogonal(2), lambda g: g @ g @ g) == 3
    assert highest_weight(groups.Cyclic(4), lambda g: g) == 0
    assert highest_weight(groups.Lorentz(4), lambda g: g) is None
