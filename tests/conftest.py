"""Shared set-up: one thread per test process, fixed seeds, and one hypothesis profile."""

from __future__ import annotations

import hypothesis
import pytest
import torch

torch.set_num_threads(1)
hypothesis.settings.register_profile("coset", deadline=None, max_examples=30, derandomize=True, print_blob=True)
hypothesis.settings.load_profile("coset")


@pytest.fixture(autouse=True)
def _seed() -> None:
    """Every test starts from the same global random state."""
    torch.manual_seed(0)


@pytest.fixture
def generator() -> torch.Generator:
    """A seeded generator."""
    return torch.Generator().manual_seed(0)
