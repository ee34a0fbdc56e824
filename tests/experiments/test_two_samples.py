"""The test between the draws of two graphs errs as often as it says, and the counts over all pairs are those of single pairs."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

pytest.importorskip("scipy")


@pytest.fixture(scope="module")
def two() -> ModuleType:
    """The module, which is no part of the package."""
    path = Path(__file__).parents[2] / "experiments" / "_two_samples.py"
    spec = importlib.util.spec_from_file_location("_two_samples", path)
    module = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
    sys.modules["_two_samples"] = module
    spec.loader.exec_module(module)  # type: ignore[union-attr]
    return module


def drawn(two: ModuleType, shift: torch.Tensor, draws: int, seed: int) -> Any:
    """Means and squared errors of normal draws about ``shift`` (B, c)."""
    z = shift + torch.randn(draws, *shift.shape, generator=torch.Generator().manual_seed(seed))
    return two.Seen(z.mean(0), z.var(0) / draws, draws, 0)


def test_errors_are_as_frequent_as_stated(two: ModuleType) -> None:
    """Equal laws: the share of small p values is near the level for one output, below it for several; no discoveries."""
    for outputs in (1, 5):
        shift, test = torch.zeros(20_000, outputs), two.Test(6, outputs)
        counts = two.against_copies(drawn(two, shift, 6, 0), drawn(two, shift, 6, 1))
        share = test.rejected(counts, 0.05) / 20_000
        assert 0.04 < share < 0.055, share
        assert test.discovered(counts, 0.05) <= 2


def test_differences_are_found(two: ModuleType) -> None:
    """Half of the pairs differ by three standard deviations: nearly all of them are found, and few others."""
    shift = torch.zeros(2000, 3)
    moved = shift.clone()
    moved[:1000, 1] = 3.0
    counts = two.against_copies(drawn(two, shift, 20, 0), drawn(two, moved, 20, 1))
    assert 990 <= two.Test(20, 3).discovered(counts, 0.05) <= 1060


def test_all_pairs_are_counted_once(two: ModuleType) -> None:
    """Blocks give what single pairs give; the published rule too."""
    seen = drawn(two, torch.randn(901, 2, generator=torch.Generator().manual_seed(2)), 5, 3)
    i, j = torch.triu_indices(901, 901, 1)
    counts = two.against_all(seen)
    assert counts.sum() == len(i)
    assert (counts == two.histogram(iter([two.largest_t(seen[i], seen[j])]))).mean() > 0.999
    same = two.Seen(torch.cat([seen.mean, seen.mean[:7] + 1e-5]), seen.square, 5, 0)
    assert len(two.all_alike(same.mean)) == int(two.alike(same.mean[i], same.mean[j]).sum()) + 7
