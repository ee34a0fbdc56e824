"""Names of Lie algebras: only where they are certain, in any basis, with errors of the matrices."""

from __future__ import annotations

import pytest
import torch

from coset import groups
from coset.discover import Exponential, lie_type
from coset.errors import InputError


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def homogeneous(group: groups.Group) -> torch.Tensor:
    """The algebra of a linear or affine group as matrices of affine fields."""
    algebra = group.algebra(dtype=torch.float64)
    if isinstance(algebra, torch.Tensor):
        return torch.nn.functional.pad(algebra, (0, 1, 0, 1)) if algebra.dim() == 3 else shifts(algebra)
    return torch.nn.functional.pad(torch.cat([algebra.matrix, algebra.shift.unsqueeze(-1)], -1), (0, 0, 0, 1))


def shifts(vectors: torch.Tensor) -> torch.Tensor:
    p = vectors.shape[-1]
    found = torch.zeros(len(vectors), p + 1, p + 1, dtype=torch.float64)
    found[:, :p, p] = vectors
    return found


KNOWN = [
    (groups.SpecialOrthogonal(2), "so(2)", (0, 0, 1), True),
    (groups.SpecialOrthogonal(3), "so(3)", (0, 3, 0), True),
    (groups.SpecialOrthogonal(5), "so(5)", (0, 10, 0), True),
    (groups.Lorentz(4), "so(1,3)", (3, 3, 0), None),
    (groups.Lorentz(3), "so(1,2)", (2, 1, 0), None),
    (groups.SpecialLinear(3), "sl(3)", (5, 3, 0), None),
    (groups.GeneralLinear(3), "gl(3)", (5, 3, 1), None),
    (groups.SpecialEuclidean(3), "se(3)", (0, 3, 3), None),
    (groups.SpecialEuclidean(2), "se(2)", (0, 1, 2), None),
    (groups.Translation(3), "all translations of R^3", (0, 0, 3), None),
]


@pytest.mark.parametrize(("group", "name", "killing", "compact"), KNOWN, ids=[row[1] for row in KNOWN])
@pytest.mark.parametrize("error", [0.0, 0.01])
def test_known_algebras_in_another_basis(group, name, killing, compact, error):
    matrices = homogeneous(group)
    k, p = len(matrices), matrices.shape[-1] - 1
    frame = torch.eye(p + 1, dtype=torch.float64)
    frame[:p, :p] = torch.linalg.qr(draw(p, p, seed=3))[0]
    mixed = torch.tensordot(draw(k, k, seed=1) + 3 * torch.eye(k), matrices, dims=1)
    mixed = frame @ mixed @ torch.linalg.inv(frame)
    mixed = mixed / mixed.flatten(1).norm(dim=1)[:, None, None]
    noise = draw(*mixed.shape, seed=2)
    noise[:, p] = 0
    noise[:, :, p] = noise[:, :, p] * float(mixed[:, :, p].abs().max() > 1e-9)
    found = lie_type(mixed + error * noise / p, error)
    assert (found.name, found.compact) == (name, compact)
    assert found.closure < (1e-12 if not error else 0.2)
    if not error:
        assert found.killing == killing


def test_a_form_of_its_own():
    change = torch.diag(torch.tensor([1.0, 2.0, 0.5], dtype=torch.float64)) @ torch.linalg.qr(draw(3, 3))[0]
    algebra = change @ groups.SpecialOrthogonal(3).algebra(dtype=torch.float64) @ torch.linalg.inv(change)
    found = lie_type(torch.nn.functional.pad(algebra, (0, 1, 0, 1)))
    goal = torch.linalg.inv(change @ change.mT)
    assert found.name == "so(3)"
    assert torch.allclose(found.form, goal / goal.norm(), atol=1e-10)


def test_what_is_not_certain_is_not_named():
    diagonal = torch.zeros(2, 4, 4, dtype=torch.float64)
    diagonal[0, 0, 0] = diagonal[1, 1, 1] = 1.0
    assert lie_type(diagonal).name == "abelian of dimension 2"
    upper = torch.zeros(2, 3, 3, dtype=torch.float64)
    upper[0, 0, 0], upper[1, 0, 1] = 1.0, 1.0
    found = lie_type(upper)
    assert (found.name, found.abelian, found.closes) == ("unnamed, of dimension 2", False, True)
    plane = homogeneous(groups.SpecialOrthogonal(3))[:1]
    assert lie_type(plane).name == "abelian of dimension 1"
    assert lie_type(plane).compact


def test_what_does_not_close_is_no_algebra():
    found = lie_type(homogeneous(groups.SpecialOrthogonal(3))[:2])
    assert not found.closes
    assert found.name.startswith("none")
    assert not lie_type(torch.nn.functional.pad(draw(4, 3, 3), (0, 1, 0, 1))).closes


def test_exponentials():
    G = Exponential(groups.SpecialOrthogonal(3).algebra())
    g = G.sample(5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert torch.allclose(g @ g.mT, torch.eye(3, dtype=torch.float64).expand(5, 3, 3), atol=1e-12)
    assert Exponential(groups.SpecialOrthogonal(3).algebra(dtype=torch.float64).flip(0) * 2) == G
    assert Exponential(groups.SpecialOrthogonal(3).algebra()[:1]) != G
    assert torch.allclose(G.exp(G.combine(torch.zeros(3, dtype=torch.float64))), torch.eye(3, dtype=torch.float64))
    with pytest.raises(InputError, match=r"\(k, d, d\)"):
        Exponential(torch.eye(3))
