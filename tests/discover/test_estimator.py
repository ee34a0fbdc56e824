"""The estimator: right groups on known maps, honest refusals, scikit-learn's conventions, and a page."""

from __future__ import annotations

import json
import pickle

import numpy
import pytest
import torch

import coset
from coset import discover
from coset.errors import InputError


def samples(count: int, seed: int, columns: int = 4) -> torch.Tensor:
    return torch.randn(count, columns, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def cyclic(x: torch.Tensor) -> torch.Tensor:
    return torch.tanh(x + 2 * x.roll(1, 1) - 0.5 * x.roll(2, 1))


def test_the_right_group_is_found_in_most_samples():
    names = [discover.SymmetryFinder(("C4", "D4", "S4", "S2*S2")).fit(samples(500, s), cyclic(samples(500, s))).report_ for s in range(20)]
    assert sum(one.claimed and one.name == "C4" for one in names) >= 16  # two tests at level 0.01 and a claim of the inputs' law
    assert all(one.name == "C4" for one in names if one.claimed and not one.trivial)


def test_fitted_attributes_and_imposing():
    x = samples(500, 1)
    finder = discover.SymmetryFinder(("C4", "D4", "S4")).fit(x, cyclic(x))
    assert finder.group_.order == 4
    assert finder.p_value_ > 0.01
    assert finder.runner_up_ in ("trivial", "D4", "S4")
    assert finder.n_features_in_ == 4
    net = torch.nn.Linear(4, 4).double()
    model = finder.symmetrize(net)
    coset.assert_equivariant(model, finder.signature_, x[:20], bound=1e-6)
    assert not coset.audit(net, finder.signature_, x[:20]).passed(1e-2)


def test_linear_maps_of_any_inputs():
    x = samples(300, 2) + torch.tensor([3.0, 0, 0, 0], dtype=torch.float64)
    w = torch.tensor([[1.0, 2, 0, 3], [3, 1, 2, 0], [0, 3, 1, 2], [2, 0, 3, 1]], dtype=torch.float64)
    y = x @ w.T + 0.3 * samples(300, 3)
    finder = discover.SymmetryFinder(("C4", "D4", "S4"), statistic=discover.least_squares).fit(x, y)
    assert finder.report_.name == "C4"
    assert finder.group_.order == 4


def test_inputs_that_are_not_invariant_give_no_claim():
    x = samples(400, 4) + torch.tensor([2.0, 0, 0, 0], dtype=torch.float64)
    finder = discover.SymmetryFinder().fit(x, x.amax(1))  # the maximum is symmetric, the inputs are not
    assert finder.verdict_.startswith("cannot tell: the law of the inputs")
    assert finder.group_ is None
    with pytest.raises(InputError, match="cannot tell"):
        finder.symmetrize(torch.nn.Linear(4, 1))


def test_no_symmetry_comes_back_as_trivial():
    x = samples(400, 5)
    finder = discover.SymmetryFinder().fit(x, x[:, 0] + 0.5 * x[:, 2] + 0.1 * samples(400, 6)[:, 0])
    assert finder.verdict_.startswith("trivial")
    assert finder.group_.order == 1


def test_noise_gives_no_claim():
    finder = discover.SymmetryFinder().fit(samples(200, 7), samples(200, 8)[:, 0])
    assert finder.verdict_.startswith("cannot tell")
    assert finder.group_ is None


def test_classes_and_blocks():
    claimed = []
    for seed in range(10):  # one true symmetry in twenty stays unclaimed
        x = samples(800, seed, 5)
        y = (x[:, :2].sum(1) > 0.3 * x[:, 2:].sum(1)).numpy()
        finder = discover.SymmetryFinder(("S2*S3", "S5", "C5")).fit(x.numpy(), y.astype(str))
        assert finder.report_.name == "S2*S3"
        claimed += [finder.group_.order] if finder.group_ is not None else []
    assert len(claimed) >= 8
    assert set(claimed) == {12}


def test_free_search():
    x = samples(600, 1)
    finder = discover.SymmetryFinder(method=discover.MDL()).fit(x, x + 2 * x.roll(1, 1) + 0.1 * samples(600, 2))
    assert finder.group_.order == 4


def test_it_follows_the_conventions_of_scikit_learn():
    base = pytest.importorskip("sklearn.base")
    finder = discover.SymmetryFinder(("C4", "S4"), held_out=0.3, seed=5, method=discover.MDL())
    copy = base.clone(finder)
    assert copy.get_params().keys() == finder.get_params().keys()
    assert copy.held_out == 0.3
    assert copy.set_params(seed=2) is copy
    assert finder.seed == 5
    with pytest.raises(InputError, match="parameters"):
        copy.set_params(wrong=1)


@pytest.mark.parametrize(
    ("x", "y", "options", "words"),
    [
        (torch.rand(12, 4), torch.rand(12), {}, "at least 10 in each part"),
        (torch.ones(60, 4), torch.rand(60), {}, "inputs that vary"),
        (torch.rand(60, 4), torch.ones(60), {}, "outputs that vary"),
        (torch.full((60, 4), torch.nan), torch.rand(60), {}, "NaN|finite"),
        (torch.rand(60, 4), torch.rand(59), {}, "as many of each"),
        (torch.rand(60, 4, 2), torch.rand(60), {}, "rows of columns"),
        (torch.rand(60, 4), None, {}, "no outputs"),
        (torch.rand(60, 4), torch.rand(60), {"candidates": ("C5",)}, "degree 4"),
        (torch.rand(60, 4), torch.rand(60), {"candidates": ("Q8",)}, "the candidate 'Q8'"),
        (torch.rand(60, 4), torch.rand(60), {"candidates": ()}, "no candidates"),
        (torch.rand(60, 4), torch.rand(60), {"held_out": 1.5}, "between 0 and 1"),
        (torch.rand(60, 80), torch.rand(60, 80), {}, "at most 1500 pairs"),
    ],
)
def test_bad_input(x, y, options, words):
    with pytest.raises(InputError, match=words):
        discover.SymmetryFinder(**options).fit(x, y)


@pytest.mark.parametrize(
    ("name", "degree", "order"), [("C6", 6, 6), ("D5", 5, 10), ("S4", 4, 24), ("S2*S3", 5, 12), ("C3*1*S2", 6, 6), ("1*1", 2, 1)]
)
def test_groups_by_name(name, degree, order):
    assert discover.named_group(name, degree).order == order


def test_a_true_symmetry_is_claimed_as_often_as_the_levels_say():
    """The pairs are refused once in twenty times, the retest once in a hundred: fewer than 16 of 20 has a chance below 1 %."""
    inputs = [samples(400, seed) for seed in range(20)]
    assert sum(discover.SymmetryFinder(("C4", "D4", "S4")).fit(x, cyclic(x)).report_.claimed for x in inputs) >= 16


def test_reports_print_and_save(tmp_path):
    x = samples(400, 2)
    report = discover.SymmetryFinder(("C4", "D4", "S4")).fit(x, cyclic(x)).report_
    assert "generators: (0 1 2 3)" in str(report)
    found = json.loads(report.to_json(tmp_path / "a.json"))
    assert found["order"] == 4
    assert found["claimed"]
    page = report.to_html(tmp_path / "a.html").read_text()
    assert page.count("<svg") == 3
    assert "(0 1 2 3)" in page
    assert "http" not in page
    nothing = discover.SymmetryFinder().fit(x, x[:, 0])
    assert "No symmetry" in nothing.report_.to_html(tmp_path / "b.html").read_text()


def product_map(x: torch.Tensor) -> torch.Tensor:
    """Symmetric under turns alone, with a cross-moment that every order of the columns leaves."""
    return x.sum(1) + 3 * (x * x.roll(1, 1)).sum(1)


def test_a_cross_moment_with_more_symmetry_than_the_map_is_caught():
    x = samples(2000, 0)
    assert discover.SymmetryFinder(("S4", "C4")).fit(x, product_map(x)).report_.name == "C4"  # the smallest that fits as well
    alone = discover.SymmetryFinder(("S4",)).fit(x, product_map(x))
    assert alone.group_ is None
    assert "samples (x, y) have not" in alone.verdict_
    assert discover.SymmetryFinder(("S4",)).fit(x, x.sum(1) + x.square().sum(1)).group_.order == 24


def test_candidates_as_one_string_or_an_iterator():
    x = samples(500, 1)
    finders = [discover.SymmetryFinder(given) for given in ("C4,D4", ("C4", "D4"), iter(("C4", "D4")))]
    assert len({finder.fit(x, cyclic(x)).verdict_ for finder in finders}) == 1
    assert finders[2].fit(x, cyclic(x)).group_.order == 4


def test_names_of_candidates_are_only_names():
    x = samples(500, 1)
    found = discover.SymmetryFinder({"trivially": [[1, 2, 3, 0]]}).fit(x, cyclic(x))
    assert not found.report_.trivial
    with pytest.raises(InputError, match="'trivial'"):
        discover.SymmetryFinder({"trivial": [[1, 2, 3, 0]]}).fit(x, cyclic(x))


def test_names_as_objects_are_classes_and_finders_can_be_pickled():
    x = samples(400, 1)
    y = numpy.where(x.sum(1).numpy() > 0, "a", "b")
    found = discover.SymmetryFinder(("C4",)).fit(x, y.astype(object))
    assert found.verdict_ == discover.SymmetryFinder(("C4",)).fit(x, y).verdict_
    again = pickle.loads(pickle.dumps(found))
    assert str(again.report_) == str(found.report_)
    assert again.signature_.group.order == 4


def test_a_single_column_is_refused():
    with pytest.raises(InputError, match="two at least"):
        discover.SymmetryFinder().fit(samples(100, 1, 1), samples(100, 2, 1))


@pytest.mark.parametrize("extra", [lambda x: x[:, 0] * x[:, 1], lambda x: 2 * x[:, 0] * x[:, 1]], ids=["a product", "twice a product"])
def test_a_break_that_the_cross_moment_cannot_see_is_not_claimed(extra):
    """The linear part is symmetric, the rest is not, and has no first-order moment with the inputs."""
    claimed = 0
    for seed in range(5):
        draw = torch.Generator().manual_seed(seed)
        x = torch.randn(600, 5, generator=draw)
        y = x.sum(1) + extra(x) + 0.1 * torch.randn(600, generator=draw)
        claimed += discover.SymmetryFinder(("C5", "S5")).fit(x, y).report_.claimed
    assert claimed <= 1
