"""Sharing by MDL and by candidate groups: known answers, levels of tests, honest refusals."""

import itertools
import math
import time

import numpy as np
import pytest
import torch

import coset
from coset import actions, discover, frames, groups, nn
from coset.discover import chances, partition
from coset.discover.mdl import best_two, description_length
from coset.discover.orbits import invariant
from coset.discover.statistic import observed
from coset.errors import FrameError, GroupError, InputError

CELLS = [(2, 1), (3, 1), (4, 1), (5, 1), (6, 1), (5, 2), (5, 3), (5, 4), (5, 5), (30, 1), (90, 1)]
"""(K, r): dimension and number of values, as in the Gaussian study."""


def seeded(number=0):
    return torch.Generator().manual_seed(number)


def drawn(k, r, generator):
    labels = torch.randint(0, r, (k,), generator=generator)
    labels[torch.randperm(k, generator=generator)[:r]] = torch.arange(r)
    return labels


def normal(*shape, generator):
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


# -- distances and tails ------------------------------------------------------------------------------------------


def brute_distance(a, b):
    k = max(max(a), max(b)) + 1
    return len(a) - max(sum(x == p[y] for x, y in zip(a, b, strict=True)) for p in itertools.permutations(range(k)))


def test_partition_distance_equals_brute_force():
    draw = np.random.default_rng(0)
    for _ in range(60):
        a, b = draw.integers(0, 4, (2, 6))
        assert discover.partition_distance(a, b) == brute_distance(a.tolist(), b.tolist())
    assert discover.partition_distance([[0, 1], [1, 0]], [[5, 2], [2, 5]]) == 0


def test_matching_without_scipy_is_the_same():
    optimize = pytest.importorskip("scipy.optimize")
    draw = np.random.default_rng(0)
    for _ in range(60):
        weights = draw.integers(0, 9, draw.integers(1, 8, 2))
        rows, columns = optimize.linear_sum_assignment(weights, maximize=True)
        assert partition.shortest_paths(weights) == weights[rows, columns].sum()


def test_tails_equal_scipy():
    stats = pytest.importorskip("scipy.stats")
    for x, a, b in [(1.0, 5, 3), (4.1, 2, 10), (1.4, 30, 470), (2.6, 3, 1e5), (100.0, 5, 3), (0.0, 2, 2)]:
        assert abs(chances.f_tail(x, a, b) - stats.f.sf(x, a, b)) < 1e-9
    assert abs(chances.f_tail(1.3, 7, math.inf) - stats.chi2.sf(9.1, 7)) < 1e-12


# -- MDL ------------------------------------------------------------------------------------------------------------


def partitions(n):
    """All partitions of n things, as canonical labels."""
    found = [[]]
    for _ in range(n):
        found = [[*labels, new] for labels in found for new in range(max(labels, default=-1) + 2)]
    return [torch.tensor(labels) for labels in found]


def test_mdl_is_the_shortest_of_all_partitions_and_knows_the_second():
    for seed in range(12):
        mean = 0.4 * normal(6, generator=seeded(seed))
        data = observed(mean, 1.0, 50)
        lengths = sorted(description_length(data, labels) for labels in partitions(6))
        found = discover.MDL().solve(data)
        assert math.isclose(found.description_length, lengths[0], abs_tol=1e-9)
        assert math.isclose(found.gap, lengths[1] - lengths[0], abs_tol=1e-9)
        assert math.isclose(description_length(data, found.runner_up), lengths[1], abs_tol=1e-9)
        assert discover.partition_distance(found.labels, found.runner_up) > 0


def test_mdl_takes_general_variances():
    variance = torch.tensor([1.0, 4.0, 0.25, 1.0], dtype=torch.float64)
    data = observed(torch.tensor([0.0, 0.05, 1.0, 1.02]), variance, 400)
    found = discover.MDL().solve(data)
    assert found.labels.tolist() == [0, 0, 1, 1]
    assert torch.allclose(found.values, torch.tensor([0.05 / 5, (4 * 1.0 + 1.02) / 5], dtype=torch.float64))


@pytest.mark.parametrize(("k", "r"), CELLS)
def test_mdl_recovers_the_gaussian_study(k, r):
    generator, right, trials = seeded(k + 100 * r), 0, 100
    for _ in range(trials):
        labels = drawn(k, r, generator)
        data = 3.0 * labels + normal(k, generator=generator) / 10
        order = data.argsort()
        cut = best_two(data[order], torch.full((k,), 0.01, dtype=torch.float64), math.log(100))[1][0]
        right += torch.equal(partition.canonical(cut), partition.canonical(labels[order]))
    assert right >= 93, (k, r, right)


def test_a_thousand_weights_take_less_than_a_second():
    mean = 5.0 * drawn(1000, 20, seeded()) + normal(1000, generator=seeded(1))
    best = math.inf
    for _ in range(2):
        start = time.process_time()
        discover.sharing(mean, 100.0, 100, discover.MDL())
        best = min(best, time.process_time() - start)
    assert best < 1.0


def test_values_and_p_value_use_the_whole_covariance():
    generator = seeded(3)
    root = normal(4, 4, generator=generator)
    covariance = root @ root.mT + torch.eye(4, dtype=torch.float64)
    mean = torch.tensor([1.0, 1.1, 8.0, 8.2], dtype=torch.float64)
    found = discover.sharing(mean, covariance, 30, discover.MDL(), freedom=math.inf)
    a = partition.indicator(found.labels)
    inverse = torch.linalg.inv(covariance / 30)
    values = torch.linalg.solve(a.mT @ inverse @ a, a.mT @ inverse @ mean)
    rest = mean - a @ values
    assert torch.allclose(found.values, values)
    assert math.isclose(found.p_value, chances.chi_square_tail(float(rest @ inverse @ rest), 2), rel_tol=1e-9)


@pytest.mark.parametrize("kind", ["scalar", "entries", "matrix"])
def test_the_test_of_a_fixed_sharing_has_its_level(kind):
    """1,000 simulated data sets of 40 observations with unknown noise: rejections at 0.05."""
    generator, p, n = seeded(5), 6, 40
    basis = partition.indicator(torch.tensor([0, 0, 1, 1, 1, 2]))
    rejected = 0
    for _ in range(1000):
        x = normal(n, p, generator=generator) + basis @ torch.tensor([1.0, 2.0, 5.0], dtype=torch.float64)
        noise = {"scalar": x.var(0).mean(), "entries": x.var(0), "matrix": torch.cov(x.mT)}[kind]
        rejected += observed(x.mean(0), noise, n).fit(basis).p_value < 0.05
    assert 0.03 <= rejected / 1000 <= 0.07


def test_a_test_with_the_wrong_covariance_is_caught_by_its_level():
    generator, basis, rejected = seeded(6), torch.ones(4, 1, dtype=torch.float64), 0
    for _ in range(300):
        x = normal(40, 4, generator=generator)
        rejected += observed(x.mean(0), 0.5, 40).fit(basis).p_value < 0.05
    assert rejected / 300 > 0.1


# -- verdicts, retest, imposing --------------------------------------------------------------------------------------


def circulant(first):
    return torch.stack([torch.as_tensor(first, dtype=torch.float64).roll(i) for i in range(len(first))])


def test_discover_retest_impose():
    generator, truth = seeded(2), 2 * circulant([2.0, 0.0, -1.0, 3.0, 1.0, -2.0])
    x = truth + normal(200, 6, 6, generator=generator)
    found = discover.sharing(x[:100].mean(0), 1.0, 100, discover.MDL())
    assert found.group.order == 6
    assert "6 values for 36 parameters" in found.verdict
    assert torch.allclose(found.theta, (found.projector @ x[:100].mean(0).reshape(-1)).reshape(6, 6))
    assert found.retest(x[100:].mean(0), 1.0, 100).verdict.startswith("holds")
    broken = x[100:].mean(0).clone()
    broken[0, 1] += 2.0
    again = found.retest(broken, 1.0, 100)
    assert again.verdict.startswith("rejected")
    assert again.p_value < 1e-6
    net = torch.nn.Linear(6, 6)
    inputs = torch.randn(5, 6)
    model = coset.symmetrize(net, found.signature)
    assert coset.audit(model, found.signature, inputs, continuity=False).passed(1e-5)
    assert not coset.audit(net, found.signature, inputs, continuity=False).passed(1e-5)
    with torch.no_grad():
        net.weight.copy_(found.theta)
        net.bias.zero_()
    assert coset.audit(net, found.signature, inputs, continuity=False).error < 1e-5


def test_the_average_over_a_discovered_group_is_not_that_over_all_permutations():
    group = discover.group_of(circulant([0, 1, 2, 3, 4, 5]).long())
    net, x = torch.nn.Linear(6, 6), torch.randn(3, 6)
    model = coset.symmetrize(net, group.signature)
    mine = torch.stack([net(x.roll(-k, 1)).roll(k, 1) for k in range(6)]).mean(0)
    assert torch.allclose(model(x), mine, atol=1e-6)
    for frame in (frames.Sort(), frames.Relabel()):
        with pytest.raises(FrameError, match="the symmetric group"):
            coset.symmetrize(net, group.signature, frame)


def test_few_samples_and_close_calls_are_not_claimed():
    assert discover.sharing([0.0, 0.1, 5.0], 1.0, 3, discover.MDL()).verdict.startswith("cannot tell: 3 observations")
    assert discover.sharing([0.0, 1.0, 2.0], 1.0, 2, discover.Candidates({"S3": groups.Symmetric(3)})).verdict.startswith("cannot tell")
    values = torch.tensor([0.0, 0.0, 0.0, 0.0])
    for shift in torch.linspace(0.3, 0.7, 400):
        values[3] = shift
        found = discover.sharing(values, 1.0, 100, discover.MDL())
        if found.gap < 2:
            assert found.verdict.startswith("cannot tell: another partition")
            break
    else:
        pytest.fail("no close call was met")
    generator = seeded()
    scattered = discover.sharing(torch.arange(5.0) * 3, 1.0, 100, discover.MDL())
    assert scattered.verdict.startswith("trivial")
    assert scattered.group.order == 1
    assert scattered.retest(normal(5, generator=generator), 1.0, 100).verdict.startswith("trivial")


def test_a_singular_covariance_gives_no_verdict():
    x = normal(20, 3, generator=seeded())
    x = torch.cat([x, x[:, :1]], 1)
    found = discover.sharing(x.mean(0), torch.cov(x.mT), 20, discover.Candidates({"S4": groups.Symmetric(4)}))
    assert math.isnan(next(row.p_value for row in found.table if row.name == "S4"))
    few = normal(4, 5, generator=seeded())
    assert math.isnan(observed(few.mean(0), torch.cov(few.mT), 4).fit(torch.ones(5, 1, dtype=torch.float64)).p_value)


BAD = [
    (([1.0, math.nan], 1.0, 10), "1 of 2 entries NaN"),
    (([1.0, 2.0], [1.0, 0.0], 10), "variance zero or less, the first at (1,)"),
    (([1.0, 2.0], 1.0, 1), "samples=1"),
    (([1.0, 2.0], [1.0, 1.0, 1.0], 10), "a covariance of shape (3,) for a statistic of shape (2,)"),
    ((np.ones((2, 2, 2)), 1.0, 10), "a statistic of shape (2, 2, 2)"),
    (([1.0, 2.0], [[1.0, 5.0], [0.0, 1.0]], 10), "not symmetric"),
    (([1.0, 2.0], [[1.0, 5.0], [5.0, 1.0]], 10), "negative eigenvalue"),
    (([1 + 2j, 2], 1.0, 10), "real numbers"),
]


@pytest.mark.parametrize(("arguments", "text"), BAD, ids=[text[:24] for _, text in BAD])
def test_bad_statistics(arguments, text):
    with pytest.raises(InputError) as caught:
        discover.sharing(*arguments, discover.MDL())
    assert text in str(caught.value)


def test_bad_methods_and_labels():
    with pytest.raises(InputError, match="an object with solve"):
        discover.sharing([1.0, 2.0], 1.0, 10, "mdl")
    with pytest.raises(InputError, match="integer label"):
        discover.partition_distance([0.5, 1.0], [0, 1])
    with pytest.raises(InputError, match="same parameters"):
        discover.partition_distance([0, 1], [0, 1, 1])
    with pytest.raises(InputError, match="shape"):
        discover.sharing([1.0, 2.0], 1.0, 10, discover.MDL()).retest([1.0, 2.0, 3.0], 1.0, 10)


# -- candidates -------------------------------------------------------------------------------------------------------


def cyclic(n, step=1):
    return [[(i + step) % n for i in range(n)]]


def library(n):
    """Groups that nest, beside others."""
    half = n // 2
    blocks = [[*range(1, half), 0, *range(half, n)], [1, 0, *range(2, n)], [*range(half), *range(half + 1, n), half]]
    blocks.append([*range(half), half + 1, half, *range(half + 2, n)])
    return {
        f"C{n}": cyclic(n),
        f"D{n}": [*cyclic(n), [-i % n for i in range(n)]],
        f"S{n}": groups.Symmetric(n),
        "mirror": [[(-i) % n for i in range(n)]],
        "blocks": blocks,
        "turns": cyclic(n, 3),
    }


def laboratory(n, true, samples, generator, noise=0.5):
    basis = invariant(true, library(n)[true], (n, n)).basis
    weights = (basis @ normal(basis.shape[1], generator=generator)).reshape(n, n)
    x = normal(samples, n, generator=generator)
    return x, x @ weights.mT, noise * normal(samples, n, generator=generator)


@pytest.mark.parametrize("true", ["C6", "D6", "S6", "blocks"])
def test_the_right_group_is_found_from_twenty_samples(true):
    generator, right, trials = seeded(7), 0, 25
    method = discover.Candidates(library(6))
    for _ in range(trials):
        x, y, noise = laboratory(6, true, 20, generator)
        fit = discover.least_squares(x, y + noise)
        right += discover.sharing(*fit[:3], method, freedom=fit.freedom).name == true
    assert right >= 24


@pytest.mark.parametrize("true", ["C6", "S6"])
def test_the_right_group_of_a_black_box_is_found_from_its_cross_moment(true):
    generator, right, trials = seeded(8), 0, 20
    for _ in range(trials):
        x, y, noise = laboratory(6, true, 500, generator)
        moment = discover.cross_moment(x, torch.tanh(y) + noise)
        right += discover.sharing(*moment, discover.Candidates(library(6), inputs=x)).name == true
    assert right >= 19


def test_inputs_without_an_invariant_law_are_noticed():
    generator = seeded(9)
    x = normal(500, 6, generator=generator) * torch.linspace(0.5, 2, 6, dtype=torch.float64)
    moment = discover.cross_moment(x, x + normal(500, 6, generator=generator))
    found = discover.sharing(*moment, discover.Candidates({"C6": cyclic(6), "S6": groups.Symmetric(6)}, inputs=x))
    assert found.name == "trivial"
    assert found.verdict.startswith("cannot tell: the law of the inputs is not invariant under")
    assert all(row.inputs < 1e-6 for row in found.table if row.name != "trivial")
    even = normal(500, 6, generator=generator)
    moment = discover.cross_moment(even, even.roll(1, 1) + normal(500, 6, generator=generator))
    claimed = discover.sharing(*moment, discover.Candidates({"C6": cyclic(6)}, inputs=x))
    assert claimed.verdict.startswith("cannot tell: the law of the inputs is not invariant under C6")
    fine = discover.sharing(*moment, discover.Candidates({"C6": cyclic(6)}, inputs=even))
    assert fine.verdict.startswith("C6: not rejected")


def test_an_even_map_shows_nothing():
    x = normal(400, 4, generator=seeded(2))
    found = discover.sharing(*discover.cross_moment(x, x.square() - 1), discover.Candidates({"C4": cyclic(4)}, inputs=x))
    assert found.verdict.startswith("cannot tell: the statistic does not differ from zero")


def test_subspaces_have_the_known_dimensions():
    E = groups.SpecialOrthogonal(3)
    flip = groups.Cyclic(2)
    sign = actions.Matrix(flip, lambda k: (1.0 - 2.0 * k.double())[..., None, None])
    cases = {
        "S5": (groups.Symmetric(5), (5, 5), 2),
        "S9": (groups.Symmetric(9), (9, 9), 2),
        "rotations": (actions.Vectors(E) >> actions.Vectors(E), (3, 3), 1),
        "to a scalar": (actions.Vectors(E) >> actions.Trivial(E), (3,), 0),
        "a sign": (sign >> sign, (1, 1), 1),
        "an odd number": (sign >> actions.Trivial(flip), (1,), 0),
        "quarter turns": (actions.Vectors(groups.Cyclic(4)) >> actions.Vectors(groups.Cyclic(4)), (2, 2), 2),
        "regular": (actions.Regular(groups.Dihedral(3)), (6, 6), 6),
        "pairs": ([[1, 0, 2, 4, 3]], (3, 2), 3),
    }
    for name, (candidate, shape, dimension) in cases.items():
        assert invariant(name, candidate, shape).basis.shape[1] == dimension, name


@pytest.mark.parametrize("name", ["C6", "D6", "blocks", "mirror"])
def test_orbits_agree_with_the_basis_of_equivariant_maps(name):
    group = discover.Permutations(library(6)[name])
    action = actions.Permute(group, -1)
    labels = nn.equivariant_basis(action, action).labels
    assert discover.partition_distance(labels, invariant(name, action, (6, 6)).labels.reshape(6, 6)) == 0


def test_groups_with_the_same_maps_are_named_together():
    alternating = [[1, 2, 0, 3], [0, 2, 3, 1]]
    mean = 2 * torch.eye(4, dtype=torch.float64) + 0.1 * normal(4, 4, generator=seeded())
    found = discover.sharing(mean, 1.0, 100, discover.Candidates({"S4": groups.Symmetric(4), "A4": alternating}))
    assert "S4, or A4, which the statistic cannot tell from it" in found.verdict
    assert found.group.order == 24


def test_wrong_candidates_are_named():
    cases = [({"D5": cyclic(5)}, "D5"), ({"x": groups.SpecialOrthogonal(3)}, "source >> target"), ({"y": "C6"}, "permutations (k, n)")]
    cases.append(({"v": actions.Vectors(groups.SpecialOrthogonal(3))}, "v"))
    for candidates, text in cases:
        with pytest.raises(GroupError) as caught:
            discover.sharing(torch.eye(6), 1.0, 10, discover.Candidates(candidates))
        assert text in str(caught.value)
    with pytest.raises(InputError, match="mapping"):
        discover.Candidates([])
    with pytest.raises(InputError, match="rank 1 of 2"):
        discover.least_squares(torch.ones(9, 2), torch.ones(9))
    with pytest.raises(InputError, match="more than 3 samples"):
        discover.least_squares(torch.eye(3), torch.ones(3))
    with pytest.raises(InputError, match="outputs of shape"):
        discover.cross_moment(torch.eye(3), torch.ones(4))
    with pytest.raises(InputError, match=r"\(N, 4\)"):
        discover.sharing(torch.eye(4), 1.0, 10, discover.Candidates({"C4": cyclic(4)}, inputs=torch.randn(9, 3)))


def test_two_hundred_groups_take_less_than_two_seconds():
    generator = seeded(4)
    candidates = {str(k): torch.stack([torch.randperm(9, generator=generator) for _ in range(1 + k % 3)]) for k in range(200)}
    data = torch.cov(normal(100, 81, generator=generator).mT)
    best = math.inf
    for _ in range(2):
        start = time.process_time()
        discover.sharing(normal(9, 9, generator=generator), data + torch.eye(81), 200, discover.Candidates(candidates))
        best = min(best, time.process_time() - start)
    assert best < 2.0


@pytest.mark.parametrize("statistic", [torch.zeros(6, 6), 0.1 * torch.randn(6, 6, generator=seeded())], ids=["zero", "noise"])
def test_mdl_claims_nothing_from_a_statistic_that_may_be_zero(statistic):
    assert discover.sharing(statistic, 1.0, 100, discover.MDL()).verdict.startswith("cannot tell: the statistic does not differ from zero")
    assert discover.sharing(statistic + 1, 1.0, 100, discover.MDL()).verdict.startswith("1 value for 36 parameters")
