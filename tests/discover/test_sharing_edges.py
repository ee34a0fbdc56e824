"""Sharing at its edges: long orders, names that mislead, layers with buffers, arguments in unusual forms."""

import copy
import math
import time

import numpy as np
import pytest
import torch

from coset import discover, groups
from coset.discover.hypergradients import Solver
from coset.discover.modules import Inner
from coset.discover.shared import Method
from coset.errors import InputError

TURN = [[1, 2, 3, 4, 5, 0]]


def circulant(noise=0.1):
    draw = torch.Generator().manual_seed(0)
    row = torch.tensor([4.0, 0.0, -2.0, 6.0, 2.0, -4.0])
    return torch.stack([row.roll(i) for i in range(6)]) + noise * torch.randn(6, 6, generator=draw)


def test_a_long_order_is_printed_by_its_size_and_never_worked_out_for_it():
    text = repr(discover.group_of(torch.zeros(1000, dtype=torch.long)))
    assert text == "Young(2 generators on 1000 things, order=4.02e2567)"
    start = time.perf_counter()
    assert "order" not in repr(discover.group_of(torch.eye(300, dtype=torch.long)))
    assert time.perf_counter() - start < 20
    assert repr(discover.Permutations(TURN)) == "Permutations(1 generator on 6 things, order=6)"


def test_verdicts_count_in_words_that_agree():
    assert discover.sharing(torch.ones(5), 1.0, 10, discover.MDL()).verdict.startswith("1 value for 5 parameters")
    alone = str(discover.sharing([1.0], 1.0, 10, discover.MDL()))
    assert "one parameter" in alone
    assert "1 free of 1 parameter," in alone


def test_a_candidate_that_restricts_nothing_is_no_claim():
    found = discover.sharing(9 * circulant(1.0), 1.0, 100, discover.Candidates({"C1": [[0, 1, 2, 3, 4, 5]]}))
    assert found.verdict.startswith("trivial: C1")


def test_the_name_trivial_is_kept_for_no_symmetry():
    with pytest.raises(InputError, match="trivial"):
        discover.sharing(circulant(), 1.0, 100, discover.Candidates({"trivial": TURN}))
    found = discover.sharing(circulant(), 1.0, 100, discover.Candidates({"trivial": [list(range(6))], "C6": TURN}))
    assert found.name == "C6"


def test_too_few_observations_for_a_whole_covariance_say_so():
    found = discover.sharing(circulant(), torch.eye(36), 20, discover.Candidates({"C6": TURN}))
    assert found.verdict.startswith("cannot tell")
    assert "nan" not in found.verdict


def test_a_large_symmetric_group_is_tested_by_two_generators():
    start = time.perf_counter()
    mean = torch.ones(200) + 0.1 * torch.randn(200, generator=torch.Generator().manual_seed(0))
    found = discover.sharing(mean, 1.0, 100, discover.Candidates({"S": groups.Symmetric(200)}))
    assert found.name == "S"
    assert len(found.values) == 1
    assert time.perf_counter() - start < 5


@pytest.mark.parametrize("n", [1, 2, 3])
def test_small_symmetric_groups(n):
    found = discover.sharing(torch.full((n,), 5.0), 1.0, 100, discover.Candidates({"S": groups.Symmetric(n)}))
    assert len(found.values) == 1


def test_labels_of_a_reversed_array_are_read():
    assert discover.group_of(np.array([0, 1, 1])[::-1]).order == 2


def test_a_class_instead_of_a_method_is_refused():
    with pytest.raises(InputError, match="method"):
        discover.sharing([1.0, 2.0], 1.0, 10, discover.MDL)
    with pytest.raises(InputError, match="freedom"):
        discover.sharing([1.0, 2.0], 1.0, 10, discover.MDL(), freedom="many")


def test_protocols_can_be_checked_at_run_time():
    assert isinstance(discover.MDL(), Method)
    assert isinstance(discover.Exact(), Solver)
    assert isinstance(discover.Newton(), Inner)


def test_bilevel_leaves_a_module_with_batch_statistics_as_it_was():
    draw = torch.Generator().manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2)).double()
    x = torch.randn(20, 3, generator=draw, dtype=torch.float64)
    before, state = copy.deepcopy(net.state_dict()), torch.get_rng_state()
    method = discover.Bilevel(steps=3, restarts=1, generator=draw)
    found = discover.bilevel(net, ["0.weight"], lambda f: f(x).sin().square().mean(), lambda f: f(x).cos().square().mean(), method)
    found.retest(lambda f: f(x).square().sum(1))
    assert all(torch.equal(before[name], now) for name, now in net.state_dict().items())
    assert torch.equal(state, torch.get_rng_state())
    assert math.isfinite(found.validation[0])


def test_results_can_be_compared_and_kept_in_sets():
    found = discover.sharing(circulant(), 1.0, 100, discover.MDL())
    assert found == found
    assert found != copy.deepcopy(found)
    assert len({found, found}) == 1
