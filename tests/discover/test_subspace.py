"""The subspace that training does not leave: inside the fixed space, and all of it with enough samples."""

from __future__ import annotations

import pytest
import torch

from coset import discover
from coset.errors import InputError


def unit(z, x):
    return torch.tanh(x @ z[:-1] + z[-1])


def data(d: int, n: int, seed: int):
    """A symmetric target of the coordinates."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, d, generator=generator, dtype=torch.float64)
    y = torch.sin(x.sum(-1)) + torch.cos(2 * x.sum(-1)) + (x**2).sum(-1).tanh()
    return x, y + 0.1 * torch.randn(n, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize(("d", "n"), [(2, 200_000), (3, 60_000)])
@pytest.mark.parametrize("seed", range(2))
def test_permuted_coordinates(d, n, seed):
    """C2 and S3: equal weights and a bias, two dimensions."""
    found = discover.subspace(unit, *data(d, n, seed), d + 1, particles=6)
    assert found.dimension == 2
    fixed = torch.zeros(2, d + 1, dtype=torch.float64)
    fixed[0, :d], fixed[1, d] = d**-0.5, 1.0
    assert float((found.basis @ fixed.mT).svd().S.min()) > 0.999
    assert not found.steps[-1].added
    assert "2 of" in found.verdict


def test_it_is_sound_with_few_samples():
    """Whatever is found lies in the fixed space, within its stated tilt."""
    for seed in range(8):
        found = discover.subspace(unit, *data(3, 1000, seed), 4, particles=4)
        assert found.dimension <= 2
        for direction, tilt in zip(found.basis, found.tilts, strict=True):
            inside = torch.stack([direction[:3].mean() * 3**0.5, direction[3]]).norm()
            assert float(inside.clamp(max=1).acos()) < 4 * float(tilt) + 0.05


def test_noise_tells_nothing():
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(2000, 2, generator=generator), torch.randn(2000, generator=generator)
    found = discover.subspace(unit, x, y, 3)
    assert (found.dimension, found.verdict.split(":")[0]) == (0, "cannot tell")


def test_without_the_symmetry_its_fixed_space_is_left():
    """Unequal weights: one direction is found that C2 would not keep."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(100_000, 2, generator=generator, dtype=torch.float64)
    y = torch.sin(2 * x[:, 0]) + torch.cos(x[:, 1] + x[:, 0])
    found = discover.subspace(unit, x, y, 3, particles=6)
    assert found.dimension >= 1
    unequal = torch.tensor([2**-0.5, -(2**-0.5), 0.0], dtype=torch.float64)
    assert float((found.basis @ unequal).norm()) > 0.3
    assert found.projector.shape == (3, 3)


@pytest.mark.parametrize(
    ("x", "y", "p"),
    [(torch.zeros(5, 2), torch.zeros(5), 3), (torch.zeros(200, 2), torch.zeros(100), 3), (torch.zeros(200, 2), torch.zeros(200), 0)],
)
def test_refused(x, y, p):
    with pytest.raises(InputError):
        discover.subspace(unit, x, y, p)
    with pytest.raises(InputError, match="NaN"):
        discover.subspace(unit, torch.full((200, 2), torch.nan), torch.zeros(200), 3)
