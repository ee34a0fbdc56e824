"""Every public frame has a row in the benchmark of all frames, and every construction of minimal frames."""

from __future__ import annotations

import importlib.util
import inspect
import sys
from pathlib import Path

import pytest
import torch

from coset import frames
from coset.frames.minimal import CONSTRUCTIONS, construction
from coset.measure import Measure

PATH = Path(__file__).parents[1] / "benchmarks" / "_cases.py"


def load():
    """The cases, which live outside the package."""
    spec = importlib.util.spec_from_file_location("benchmark_cases", PATH)
    module = importlib.util.module_from_spec(spec)
    sys.modules["benchmark_cases"] = module
    spec.loader.exec_module(module)
    return module.CASES


CASES = load()


def forgotten(cases) -> set[str]:
    """Public frames without a case."""
    named = {name: getattr(frames, name) for name in frames.__all__}
    kinds = {
        name for name, kind in named.items() if inspect.isclass(kind) and issubclass(kind, frames.Frame) and not inspect.isabstract(kind)
    }
    return kinds - {case.kind.__name__ for case in cases}


def test_every_public_frame_has_a_row():
    assert forgotten(CASES) == set()


def test_the_check_sees_what_is_missing():
    for kind in {case.kind for case in CASES if issubclass(case.kind, frames.Frame)}:
        assert forgotten([case for case in CASES if case.kind is not kind]) == {kind.__name__}


def test_every_construction_of_minimal_frames_has_a_row():
    used = [construction(case.source(case.dims[0]).group) for case in CASES]
    assert [number for number, one in enumerate(CONSTRUCTIONS) if one not in used] == []


def test_names_of_rows_differ():
    names = [case.name for case in CASES]
    assert len(set(names)) == len(names)


@pytest.mark.filterwarnings("ignore:.*:UserWarning")
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_cases_run_in_every_dimension(case):
    for d in case.dims:
        found = case.bound(d)(case.make(3, 8, d))
        if isinstance(found, Measure):
            assert torch.allclose(found.weights.sum(0), torch.ones((), dtype=found.weights.dtype))
            assert found.samples == 3
        made = case.frame(d)
        assert type(made) is case.kind
