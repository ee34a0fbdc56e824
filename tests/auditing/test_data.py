"""Audits of data: exact level, unbiased DE^2, known crossovers, labels on orbits, and refusals."""

from __future__ import annotations

import json

import numpy
import pytest
import torch

import coset
from coset import actions, groups
from coset.auditing.data_error import SymmetryBreak, linear_features, regress, regression_break, within
from coset.auditing.data_features import embeddings
from coset.auditing.data_inputs import observe
from coset.auditing.data_models import fit_parts, model_break
from coset.auditing.data_poses import draw_poses
from coset.auditing.pose_out import left_out
from coset.auditing.randomization import randomization
from coset.errors import GroupError, InputError, SignatureError

C4 = groups.Generated([[1, 2, 3, 0]])
C6 = groups.Generated([[1, 2, 3, 4, 5, 0]])
TURN = actions.Permute(C4, -1)
SIX = actions.Permute(C6, -1)
O3 = groups.Orthogonal(3)
VECTORS = actions.Vectors(O3)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def skewed(n: int, g: torch.Generator) -> torch.Tensor:
    """Inputs far from invariant, put in random poses: their law is invariant."""
    x = torch.randn(n, 4, generator=g) * torch.tensor([1.0, 2.0, 1.0, 0.5]) + torch.tensor([1.0, 0.0, 0.0, 0.0])
    return TURN.act(C4.haar(n, generator=g), x)


def p_values(x, y, action, g, samples=8, draws=99):
    seen = observe(x, y, action)
    found = embeddings(seen, draw_poses(seen, groups.identity_map(seen.group), samples, g), g)
    return randomization(found.inputs, draws, 0.05, g), randomization(found.pairs, draws, 0.05, g)


def test_both_tests_have_their_level():
    rejected = torch.zeros(2)
    for seed in range(200):
        g = seeded(seed)
        x = skewed(24, g)
        found = p_values(x, x.amax(1) + 0.1 * torch.randn(24, generator=g), TURN, g)
        rejected += torch.tensor([float(one.rejected) for one in found])
    assert ((rejected / 200 - 0.05).abs() <= 0.02).all(), rejected / 200


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_both_tests_see_what_they_are_for(dtype):
    g = seeded(0)
    x = torch.randn(200, 3, generator=g, dtype=dtype)
    law, told = p_values(x, x.norm(dim=1), VECTORS, g)
    assert not law.rejected
    assert not told.rejected
    law, told = p_values(x, x.norm(dim=1) + x[:, 0], VECTORS, g)
    assert not law.rejected
    assert told.rejected
    assert p_values(x + 0.5, x.norm(dim=1), VECTORS, g)[0].rejected


def test_spread_alone_is_seen_too():
    g = seeded(1)
    x = torch.randn(300, 3, generator=g) * torch.tensor([1.0, 1.0, 2.0])  # no mean differs, only the covariance
    assert p_values(x, x[:, 0], VECTORS, g)[0].rejected


def laboratory(eps: float, n: int, seed: int, sigma: float = 0.3):
    """A map of R^6 whose part that does not commute with cyclic shifts has norm eps."""
    g = seeded(100 + seed)
    w = torch.randn(6, 6, generator=seeded(0), dtype=torch.float64)
    shifts = torch.eye(6, dtype=torch.float64)[C6.elements()]
    even = (shifts.mT @ w @ shifts).mean(0)
    odd = (w - even) / (w - even).norm()
    x = torch.randn(n, 6, generator=g, dtype=torch.float64)
    return x, x @ (even + eps * odd).T + sigma * torch.randn(n, 6, generator=g, dtype=torch.float64)


def plain(x):
    return x.to(torch.float64)


@pytest.mark.parametrize("eps", [0.0, 0.3])
def test_the_squared_break_is_unbiased_and_its_interval_holds(eps):
    found = []
    for seed in range(120):
        seen = observe(*laboratory(eps, 60, seed), SIX >> SIX)
        poses = draw_poses(seen, groups.identity_map(C6), 32, seeded(seed))
        found.append(regression_break(seen, poses, regress(seen, plain, "linear")))
    values = torch.tensor([one.value for one in found])
    assert abs(values.mean() - eps**2) < 3 * values.std() / 120**0.5
    holds = sum(one.low <= eps**2 <= one.high for one in found) / 120
    assert holds >= 0.89
    # 30 of 36 directions do not commute; least squares spends sigma^2 / (n - 7) on each
    assert sum(one.variance for one in found) / 120 == pytest.approx(30 * 0.09 / 53, rel=0.08)


def test_the_plain_square_would_be_biased():
    seen = observe(*laboratory(0.0, 60, 0), SIX >> SIX)
    poses = draw_poses(seen, groups.identity_map(C6), 32, seeded(0))
    found = regression_break(seen, poses, regress(seen, plain, "linear"))
    assert found.value + found.variance > 0.02  # what b'Mb alone gives where there is no break
    assert abs(found.value) < 0.03


def test_models_on_separate_parts_give_the_same_number():
    def linear(x, y):
        b = torch.linalg.lstsq(linear_features(x), y).solution
        return lambda z: linear_features(z) @ b

    found = []
    for seed in range(40):
        seen = observe(*laboratory(0.3, 150, seed), SIX >> SIX)
        poses = draw_poses(seen, groups.identity_map(C6), 32, seeded(seed))
        found.append(model_break(seen, poses, fit_parts(seen, linear, seeded(seed)), seeded(seed)))
    values = torch.tensor([one.value for one in found])
    assert abs(values.mean() - 0.09) < 3 * values.std() / 40**0.5
    assert sum(one.low <= 0.09 <= one.high for one in found) >= 36


def test_random_poses_of_a_continuous_group_do_not_bias():
    found = []
    for seed in range(150):
        g = seeded(seed)
        x = torch.randn(100, 3, generator=g, dtype=torch.float64)
        y = x[:, 0] + torch.randn(100, generator=g, dtype=torch.float64)
        seen = observe(x, y, VECTORS)
        found.append(regression_break(seen, draw_poses(seen, groups.identity_map(O3), 3, g), regress(seen, linear_features, "linear")))
    values = torch.tensor([one.value for one in found])
    assert abs(values.mean() - 1) < 3 * values.std() / 150**0.5


def test_the_error_splits_exactly():
    """|h - f|^2 = |Ph - Pf|^2 + |Qh - Qf|^2 over whole orbits."""
    g = seeded(0)
    h, f = torch.randn(2, 50, 4, 3, generator=g, dtype=torch.float64)  # values at the 4 poses of 50 inputs, moved back
    whole = (h - f).square().sum(-1).mean()
    even = (h.mean(1) - f.mean(1)).square().sum(-1).mean()
    assert whole - even == pytest.approx(float(within(h - f, h - f, True).mean()), abs=1e-12)


def test_the_crossover_is_where_it_is_predicted():
    """Hard symmetry beats none if and only if DE^2 < V_Q: at 0.2257 for this laboratory."""
    predicted = (30 * 0.09 / 53) ** 0.5
    assert predicted == pytest.approx(0.2257, abs=1e-4)
    better = {}
    shifts = torch.eye(6, dtype=torch.float64)[C6.elements()]
    for eps in (0.2, 0.3):
        gain = []
        for seed in range(150):
            x, y = laboratory(eps, 60, seed)
            clean = laboratory(eps, 60, seed, sigma=0.0)
            truth = torch.linalg.lstsq(*clean).solution
            free = torch.linalg.lstsq(x, y).solution
            hard = (shifts.mT @ free @ shifts).mean(0)
            gain.append(float((free - truth).square().sum() - (hard - truth).square().sum()))
        better[eps] = sum(gain) / len(gain)
    assert better[0.2] > 0 > better[0.3]


def found(value: float, low: float, high: float, variance: float) -> SymmetryBreak:
    return SymmetryBreak(value, 0.0, low, high, variance, 1.0, 0.5, "linear")


@pytest.mark.parametrize(
    ("case", "choice"),
    [
        (found(0.001, -0.01, 0.02, 0.1), "hard"),
        (found(0.1, 0.08, 0.12, 0.1), "partial"),
        (found(9.0, 8.0, 10.0, 0.1), "none"),
        (found(0.1, -0.2, 0.4, 0.1), "cannot tell"),
        (found(0.1, 0.05, 0.15, 0.0), "cannot tell"),
    ],
)
def test_advice(case, choice):
    advice = coset.advise(case)
    assert advice.choice == choice
    if case.variance:
        assert advice.shrinkage == pytest.approx(max(case.value, 0) / (max(case.value, 0) + case.variance))
        assert advice.partial <= min(advice.hard, advice.none) + 1e-12


def test_partial_is_advised_only_where_it_beats_both_throughout_its_interval():
    for value in torch.linspace(0.01, 1, 30).tolist():
        for width in (0.05, 0.2, 0.6, 1.5):
            case = found(value, value * (1 - width), value * (1 + width), 0.2)
            advice = coset.advise(case)
            if advice.choice == "partial":
                for square in (case.low, case.high):
                    cost = advice.shrinkage**2 * 0.2 + (1 - advice.shrinkage) ** 2 * square
                    assert cost < min(square, 0.2)


def test_leaving_a_pose_out_equals_fitting_without_it(generator):
    x = torch.randn(12, 3, generator=generator, dtype=torch.float64)
    y = torch.randn(12, 2, generator=generator, dtype=torch.float64)
    kernel = torch.exp(-torch.cdist(x, x).square())
    for i in range(12):
        keep = torch.arange(12) != i
        predicted = kernel[i, keep] @ torch.linalg.solve(kernel[keep][:, keep], y[keep])
        assert torch.allclose(left_out(kernel, y)[i], y[i] - predicted, atol=1e-6)


def test_orbit_averaged_kernels_leave_no_error_and_others_do(generator):
    x = torch.randn(60, 4, generator=generator)
    y = (x.amax(1) > 1).long()

    def even(a, b):
        moved = TURN.act(C4.elements()[:, None], b[None].expand(4, *b.shape))
        return torch.stack([torch.exp(-torch.cdist(a.double(), m.double()).square() / 4) for m in moved]).mean(0)

    assert coset.audit_data(x, y, TURN, kernel=even).pose_out.error < 1e-6
    assert coset.audit_data(x, y, TURN).pose_out.error > 1e-2


def test_labels_that_depend_on_the_pose_are_seen(generator):
    x = torch.rand(150, 4, generator=generator)
    x = TURN.act(C4.haar(150, generator=generator), x.sort(1).values * torch.tensor([1.0, 1.0, 1.0, 3.0]))
    places, orbits = x.argmax(1), (x.sum(1) > x.sum(1).median()).long()
    assert coset.audit_data(x, places, TURN).dissent.moved > 0.9
    fine = coset.audit_data(x, orbits, TURN).dissent
    assert fine.moved < 0.2
    numbers = coset.audit_data(x, x.sum(1), TURN).dissent
    assert numbers.moved < 0.05
    moving = coset.audit_data(x, x, TURN >> TURN).dissent  # targets move along
    assert moving.moved < 0.2
    pairs = coset.audit_data(x, places, TURN).dissent.pairs
    assert all(a != b for a, b, _ in pairs)


def test_nothing_is_claimed_of_the_map_where_inputs_have_a_pose(generator):
    x = torch.randn(200, 3, generator=generator) + torch.tensor([1.0, 0.0, 0.0])
    report = coset.audit_data(x, x.norm(dim=1), VECTORS, samples=8)
    assert report.law.rejected
    assert report.conditional is None
    assert report.error is None
    assert "cannot tell: the input law" in report.whole.conditional_verdict
    assert report.advice.choice == "cannot tell"


def test_few_samples_make_no_claim(generator):
    x = torch.randn(12, 3, generator=generator)
    report = coset.audit_data(x, x.norm(dim=1), VECTORS, samples=4)
    assert "too few" in report.whole.law_verdict
    assert report.advice.choice == "cannot tell"
    assert report.dissent.moved is None
    report = coset.audit_data(
        torch.randn(30, 40, generator=generator), torch.randn(30, generator=generator), actions.Permute(groups.Symmetric(), -1)
    )
    assert "need at least" in report.whole.error_verdict


def test_parts_of_a_product_and_of_a_chain():
    """The first factor is broken, the second is not."""
    generator = seeded(5)
    C2 = groups.Generated([[1, 0]])
    product = C2 * groups.Cyclic(4)
    both = actions.Dict(
        a=actions.Pullback(groups.projection(product, 0), actions.Permute(C2, -1)),
        b=actions.Pullback(groups.projection(product, 1), actions.Vectors(groups.Cyclic(4))),
    )
    a, b = torch.randn(400, 2, generator=generator), torch.randn(400, 2, generator=generator)
    y = a[:, 0] - a[:, 1] + b.norm(dim=1) + 0.3 * torch.randn(400, generator=generator)
    turns = groups.inclusion(groups.Cyclic(4), product)
    chain = (turns, groups.inclusion(groups.Cyclic(2), groups.Cyclic(4)).then(turns))
    report = coset.audit_data({"a": a, "b": b}, y, both, subgroups=chain)
    assert report.conditional.rejected
    assert report.subgroups["element"].conditional.rejected
    assert report.subgroups["element"].error.low > 1
    for name in ("Cyclic(4)", "Cyclic(2)"):
        assert not report.subgroups[name].conditional.rejected
        assert report.subgroups[name].error.low < 0 < report.subgroups[name].error.high
        assert coset.advise(report, name).choice != "none"
    assert coset.advise(report, "element").choice == "none"
    with pytest.raises(InputError, match="one of"):
        coset.advise(report, "nothing")


def test_resampled_rejections_are_no_claims(generator):
    x = torch.rand(60, 1, 9, 9, generator=generator) + torch.linspace(0, 1, 9)
    report = coset.audit_data(x, None, actions.Image(groups.Cyclic(8)))
    assert report.law.rejected
    assert report.whole.law_verdict.startswith("cannot tell")
    assert any("resamples" in note for note in report.notes)


def test_estimators_of_other_libraries():
    linear, generator = pytest.importorskip("sklearn.linear_model"), seeded(3)
    x = torch.randn(300, 4, generator=generator).numpy()
    numbers = coset.audit_data(x, x.sum(1) + x[:, 0], TURN, model=linear.LinearRegression())
    assert numbers.error.value == pytest.approx(0.75, abs=0.25)
    classes = coset.audit_data(x, (x[:, 0] > 0).astype(int), TURN, model=linear.LogisticRegression())
    assert classes.error.low > 0
    assert classes.error.model == "LogisticRegression"
    assert classes.advice.choice == "none"


def test_rank_deficient_features(generator):
    x = torch.randn(200, 4, generator=generator, dtype=torch.float64)
    x = x - x.mean(1, keepdim=True)  # turns keep the sum: moved inputs stay in the span
    report = coset.audit_data(x, x[:, 0], TURN, features=linear_features)
    assert report.error.value == pytest.approx(float(x[:, 0].square().mean()), rel=0.15)
    assert coset.audit_data(x, x[:, 0], TURN).error.model == "KernelRidge"
    x[:, 3] = 0  # turns move the empty column
    report = coset.audit_data(x, x[:, 0], TURN)
    assert report.error is None

    y = torch.randn(200, 4, generator=generator, dtype=torch.float64)

    def moved(x):  # nothing in the second column of the data, something in that of other poses
        return torch.stack([x[:, 0], x[:, 1] * (x.shape[0] > 200)], 1)

    assert "rank deficient" in coset.audit_data(y, y[:, 0], TURN, features=moved).whole.error_verdict


C4_OF: dict[int, actions.Action] = {3: actions.Permute(groups.Symmetric(4), -1)}


@pytest.mark.parametrize(
    ("x", "y", "more", "error", "words"),
    [
        (torch.full((30, 4), 1.0), None, {}, InputError, "inputs that vary"),
        (torch.full((30, 4), torch.nan), None, {}, InputError, "NaN"),
        (torch.rand(1, 4), None, {}, InputError, "two at the very least"),
        (torch.rand(30, 3), None, {}, InputError, "length 4|of length|axes"),
        (torch.rand(30, 4), torch.rand(29), {}, InputError, "one target for each"),
        (torch.rand(30, 4), torch.full((30,), torch.inf), {}, InputError, "targets"),
        (torch.rand(30, 4), None, {"draws": 10}, InputError, "at least 19"),
        (torch.rand(30, 4), None, {"level": 0.0}, InputError, "between 0 and 1"),
        (torch.rand(30, 4), None, {"samples": 1}, InputError, "samples=1"),
        (torch.rand(30, 4), None, {"subgroups": ("C2",)}, SignatureError, "among subgroups"),
        (torch.rand(60, 4), torch.rand(60), {"model": 3}, InputError, "an estimator with fit"),
        (torch.rand(60, 4), torch.rand(60), {"model": lambda x, y: lambda z: z}, InputError, "finite rows of 1"),
        (torch.rand(60, 4), torch.rand(60), {"kernel": lambda a, b: a}, InputError, "a kernel that gives"),
        (torch.rand(60, 4), torch.rand(60), {"features": lambda x: x[0]}, InputError, "finite rows"),
        (torch.rand(60, 4), torch.rand(60), {"model": 3, "features": plain}, InputError, "one of them"),
    ],
)
def test_bad_input(x, y, more, error, words):
    with pytest.raises(error, match=words):
        coset.audit_data(x, y, C4_OF.get(x.shape[-1], TURN), **more)


def test_other_refusals():
    with pytest.raises(GroupError, match="a compact group"):
        coset.audit_data(torch.randn(30, 5, 3), None, actions.Points(groups.Euclidean(3)))
    with pytest.raises(SignatureError, match="source >> target"):
        coset.audit_data(torch.randn(30, 5, 3), None, O3)
    with pytest.raises(InputError, match="audit_data"):
        coset.advise("hard")


def test_constant_targets_and_idle_groups_are_not_judged():
    report = coset.audit_data(torch.rand(60, 4), torch.ones(60), TURN)
    assert "same for every sample" in report.whole.error_verdict
    assert report.conditional is None
    report = coset.audit_data(torch.rand(60, 4), torch.rand(60), actions.Trivial(C4))
    assert "leaves every input" in report.whole.law_verdict
    assert report.advice.choice == "cannot tell"


def test_reports_print_and_save(tmp_path):
    x = numpy.random.default_rng(0).normal(size=(120, 4))
    report = coset.audit_data(x, (x.max(1) > 1).astype(int), TURN, draws=99, subgroups=(C4,), limit=100)
    text = str(report)
    for word in ("law of the inputs", "break DE²", "labels on orbits", "advice", "100 samples were chosen"):
        assert word in text
    assert "DataReport(100 samples" in repr(report)
    plain_ = json.loads(report.to_json(tmp_path / "a.json"))
    assert plain_["whole"]["law"]["p_value"] == report.law.p_value
    assert plain_["advice"]["choice"] == report.advice.choice
    page = report.to_html(tmp_path / "a.html").read_text()
    assert page.count("<svg") >= 3
    assert "http" not in page
    bare = coset.audit_data(x, None, TURN, draws=99)
    assert "no targets were given" in str(bare)
    assert "<svg" not in bare.to_html(tmp_path / "b.html").read_text()


def test_audits_repeat_and_leave_the_global_state_alone():
    x = torch.randn(50, 4)
    before = torch.get_rng_state()
    one, two = (coset.audit_data(x, x[:, 0], TURN, draws=39) for _ in range(2))
    assert one.to_json() == two.to_json()
    assert torch.equal(before, torch.get_rng_state())
