"""Jumps are found and cornered, steep models are not called jumping; frames are told apart."""

from __future__ import annotations

import json
import warnings

import pytest
import torch
from torch import nn

import coset
from coset import actions, frames, groups
from coset.auditing import continuity as module
from coset.auditing.continuity import continuity
from coset.auditing.inputs import prepare
from coset.auditing.paths import every_path
from coset.auditing.running import Runner, evaluation
from coset.errors import InputError
from tests.frames import laws
from tests.zoo.frames import case as make_case
from tests.zoo.frames import clouds, vectors

SO3, E3 = groups.SpecialOrthogonal(3), groups.Euclidean(3)


def look(model, signature, x, chunk=512):
    """The continuity of a model alone, without the rest of an audit."""
    batch = prepare(model, signature, x, chunk, [])
    with evaluation(model):
        return continuity(Runner(model, signature), batch, torch.Generator().manual_seed(0))


def energy(group):
    return actions.Points(group) >> actions.Trivial(group)


def cloud(samples=3, n=6, d=3, dtype=torch.float64):
    return torch.randn(samples, n, d, generator=torch.Generator().manual_seed(1), dtype=dtype)


# -- known functions -------------------------------------------------------------------------------------------------


def test_a_step_is_found_with_its_height():
    """Height 0.5 beside outputs of RMS about 1; nothing else changes."""
    found = look(lambda x: 1 + 0.5 * (x[:, 0, 0] > 0.1), energy(E3), cloud())
    assert found.word == "jumps"
    assert 0.3 < found.jump < 0.6
    assert found.step < 1e-6
    assert f"at {found.where}" in found.sentence


@pytest.mark.parametrize("height", [1e-1, 1e-3, 1e-5])
def test_small_steps_are_seen_beside_slopes(height):
    found = look(lambda x: 1 + 0.1 * torch.tanh(x.sum((1, 2))) + height * torch.sign(x[:, 0, 0] - 0.1), energy(E3), cloud())
    assert found.word == "jumps"
    assert found.jump == pytest.approx(2 * height, rel=0.1)


@pytest.mark.parametrize(
    "model",
    [
        lambda x: torch.tanh(1e4 * (x[:, 0, 0] - 0.1)),
        lambda x: x[:, 0, 0].abs().sqrt() + 1,
        lambda x: torch.sin(300 * x.sum((1, 2))) + 2,
        lambda x: x.square().sum((1, 2)),
        lambda x: torch.ones(len(x), dtype=x.dtype),
        lambda x: (x[:, 0] - x[:, 1]).norm(dim=-1),
    ],
    ids=["steep", "root", "waves", "squares", "constant", "kink"],
)
def test_steep_models_are_continuous(model):
    found = look(model, energy(E3), cloud())
    assert found.word == "continuous"
    assert found.jump < 1e-2


@pytest.mark.parametrize(
    ("kind", "model"),
    [
        ("collinear points", lambda x: torch.linalg.svdvals(x - x.mean(1, keepdim=True))[:, 1] > 1e-6),
        ("coplanar points", lambda x: torch.linalg.svdvals(x - x.mean(1, keepdim=True))[:, 2] > 1e-6),
        ("equal points", lambda x: (x[:, 0] - x[:, 1]).norm(dim=-1) > 1e-6),
        ("a point at the centroid", lambda x: (x[:, 0] - x.mean(1)).norm(dim=-1) > 1e-6),
    ],
)
def test_jumps_at_degenerate_inputs_only_are_found_there(kind, model):
    found = look(lambda x: 1 + model(x).to(x.dtype), energy(E3), cloud())
    assert found.word == "jumps"
    assert "generic" not in found.where
    assert found.traces[kind][-1] > 0.3
    assert found.traces["generic inputs"][-1] < 1e-6


def test_symmetric_inputs_of_finite_groups():
    """A model that jumps where an image is invariant under quarter turns."""
    C4 = groups.Cyclic(4)
    x = torch.randn(3, 1, 6, 6, dtype=torch.float64)
    same = lambda x: 1 + ((x - x.rot90(1, (-2, -1))).abs().flatten(1).amax(1) > 1e-9).to(x.dtype)  # noqa: E731
    found = look(same, actions.Image(C4) >> actions.Trivial(C4), x)
    assert (found.word, found.where) == ("jumps", "symmetric inputs")
    assert look(lambda x: x.square().mean((1, 2, 3)), actions.Image(C4) >> actions.Trivial(C4), x).word == "continuous"


def test_sorting_rows_is_continuous_and_reading_the_order_is_not():
    S = groups.Symmetric()
    signature = actions.Permute(S, -2) >> actions.Trivial(S)
    x = torch.randn(3, 5, 2, dtype=torch.float64)
    assert look(lambda x: x.sort(1).values.square()[:, 0].sum(-1), signature, x).word == "continuous"
    first = look(lambda x: x.gather(1, x[..., :1].argsort(1).expand_as(x))[:, 0, 1], signature, x)
    assert first.word == "jumps"


# -- frames ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frame", "word"),
    [
        (frames.Weighted(), "continuous"),
        (frames.Quadrature(3), "continuous"),
        (frames.Minimal(), "jumps"),
        (frames.Minimal(colours=frames.UNCOLOURED), "jumps"),
        (frames.PCA(), "jumps"),
        (frames.PCA(fallback=False), "jumps"),
    ],
    ids=repr,
)
def test_frames_are_told_apart(frame, word):
    case = make_case(frame, actions.Points(SO3), vectors(SO3), clouds(3))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = look(laws.wrap(case, torch.float64), case.source >> case.target, cloud())
    assert found.word == word
    assert found.jump < 1e-4 if word == "continuous" else found.jump > 0.1


def test_single_precision_is_measured_in_double():
    case = make_case(frames.Weighted(), actions.Points(E3), vectors(E3), clouds(3))
    found = look(laws.wrap(case, torch.float32), case.source >> case.target, cloud(dtype=torch.float32))
    assert found.word == "continuous"
    assert "float64" in found.how


def test_models_that_stay_in_single_precision():
    def single(x):
        return torch.tanh(x.float().sum((1, 2)))

    class Fixed(nn.Module):
        def forward(self, x):
            if x.dtype == torch.float64:
                raise RuntimeError("single precision only")
            return single(x)

    found = look(Fixed(), energy(E3), cloud(dtype=torch.float32))
    assert found.word == "continuous"
    assert found.step > 1e-5
    stepped = look(lambda x: (single(x) > 0).float(), energy(E3), cloud(dtype=torch.float32))
    assert stepped.word == "jumps"


# -- layouts ---------------------------------------------------------------------------------------------------------


def test_padded_and_ragged_clouds():
    x = cloud(2, 5)
    mask = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    padded = actions.Dict(pos=actions.Points(E3, mask="mask"), mask=actions.PointMask(E3)) >> actions.Trivial(E3)
    batch = torch.tensor([0] * 5 + [1] * 3)
    ragged = actions.Dict(pos=actions.Points(E3, batch="batch"), batch=actions.BatchIndex(E3)) >> actions.Trivial(E3)
    rows = x[mask]

    def dense(step):
        return lambda pos, mask: 1 + torch.where(mask, step(pos), 0.0).sum(1)

    def joined(step):
        return lambda pos, batch: 1 + torch.zeros(int(batch.max()) + 1, dtype=pos.dtype).index_add(0, batch, step(pos))

    for step, word in ((lambda pos: (pos[..., 0] > 0.1).to(pos.dtype), "jumps"), (lambda pos: pos[..., 0].square(), "continuous")):
        inputs = {"pos": x * mask[..., None], "mask": mask}
        assert look(dense(step), padded, inputs).word == word
        assert look(joined(step), ragged, {"pos": rows, "batch": batch}).word == word


def test_paths_reach_what_they_say_and_leave_padding_alone():
    x = cloud(2, 5)
    mask = torch.tensor([[True] * 5, [True] * 4 + [False]])
    source = actions.Dict(pos=actions.Points(E3, mask="mask"), mask=actions.PointMask(E3))
    paths = every_path(source, {"pos": x * mask[..., None], "mask": mask}, E3, torch.Generator().manual_seed(0))
    every = torch.arange(len(paths.kinds))
    for t in (-1.0, 0.0, 0.3):
        pos = paths.at(source, every, torch.full((len(every),), t, dtype=torch.float64))["pos"]
        assert bool((pos[1::2, 4] == 0).all())
    middle = dict(zip(paths.kinds[::2], paths.base["pos"][::2], strict=True))
    ranks = {kind: torch.linalg.matrix_rank(rows - rows.mean(0), rtol=1e-9).item() for kind, rows in middle.items()}
    assert ranks["collinear points"] == 1
    assert ranks["coplanar points"] == 2
    assert torch.equal(middle["equal points"][0], middle["equal points"][1])
    centred = middle["points with an inversion centre"] - middle["points with an inversion centre"].mean(0)
    assert torch.allclose(centred, -centred.flip(0), atol=1e-12)
    values = torch.linalg.svdvals(middle["equal principal values"] - middle["equal principal values"].mean(0))
    assert torch.allclose(values, values[:1].expand(3))


def test_one_input_and_one_point():
    assert look(lambda x: x.sum((1, 2)), energy(E3), cloud(1, 4)).word == "continuous"
    assert look(lambda x: x.sum((1, 2)), energy(E3), cloud(2, 1)).word == "continuous"


# -- the report ------------------------------------------------------------------------------------------------------


def test_reports_say_it(tmp_path):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(18, 8), nn.Tanh(), nn.Linear(8, 1))
    model = coset.symmetrize(net, energy(E3), frames.Minimal())
    report = coset.audit(model, energy(E3), cloud(dtype=torch.float32), samples=4, layers=False)
    assert report.continuity.word == "jumps"
    assert report.passed(1e-3)  # a jump is no error of the declared symmetry
    assert "continuity" in str(report)
    assert "jumps, at" in str(report)
    saved = json.loads(report.to_json())["continuity"]
    assert saved["verdict"] == "jumps"
    assert saved["jump"] == pytest.approx(report.continuity.jump)
    page = report.to_html(tmp_path / "page.html").read_text()
    assert "Continuity: jumps" in page
    assert "collinear points" in page
    assert coset.audit(model, energy(E3), cloud(dtype=torch.float32), samples=4, continuity=False).continuity is None


def test_what_cannot_be_measured_says_why():
    S = groups.Symmetric()
    integers = look(lambda x: x.sum(1), actions.Permute(S, -1) >> actions.Trivial(S), torch.randint(5, (3, 4)))
    assert (integers.word, integers.jump) == ("not measured", None)
    assert "floating point input" in integers.sentence
    labels = look(lambda x: x.sum((1, 2)).long(), energy(E3), cloud())
    assert "output" in labels.sentence


@pytest.mark.parametrize("power", [-1, -12])
def test_poles_are_no_jumps(power):
    """Potentials of pairs are unbounded at equal points and continuous everywhere else."""

    def pairs(x):
        return (torch.cdist(x, x) + torch.eye(6, dtype=x.dtype)).pow(power).sum((1, 2))

    found = look(pairs, energy(E3), cloud())
    assert (found.word, found.unbounded) == ("continuous", "equal points")
    assert "unbounded at equal points" in found.sentence
    assert max(found.traces["equal points"]) <= module.LARGEST
    json.dumps(found.traces, allow_nan=False)
    stepping = look(lambda x: pairs(x) + abs(power) ** 4 * 50.0 * (x[:, 0, 0] > 0.1), energy(E3), cloud())
    assert (stepping.word, stepping.unbounded) == ("jumps", "equal points")


def test_outputs_that_are_never_finite_are_not_measured():
    assert look(lambda x: x.sum((1, 2)) / 0, energy(E3), cloud()).word == "not measured"


def test_models_that_refuse_degenerate_inputs():
    def spanning(x):
        if bool((torch.linalg.matrix_rank(x - x.mean(1, keepdim=True)) < 3).any()):
            raise coset.CosetError("points that span no space")
        return x.sum((1, 2))

    def polite(x):
        try:
            return spanning(x)
        except coset.CosetError as error:
            raise InputError(str(error)) from error

    found = look(polite, energy(E3), cloud())
    assert "refuses" in found.sentence
    with pytest.raises(ZeroDivisionError):  # anything else is a defect of the model and is passed on
        look(lambda x: 1 / int(bool((x[:, 0] != x[:, 1]).any(-1).all())) * x.sum((1, 2)), energy(E3), cloud())


def test_stochastic_models_are_not_measured():
    report = coset.audit(lambda x: x + torch.randn_like(x), actions.Points(E3) >> actions.Points(E3), cloud(), samples=2, layers=False)
    assert "stochastic" in report.continuity.sentence


def test_the_number_of_calls_is_bounded():
    sizes = []

    def model(x):
        sizes.append(len(x))
        return x.sum((1, 2))

    found = look(model, energy(E3), cloud(), chunk=20)
    assert max(sizes) <= 20
    assert 3000 < sum(sizes) < 4500
    assert look(model, energy(E3), cloud()).traces.keys() == found.traces.keys()


def test_audits_repeat():
    first, second = (look(lambda x: torch.sign(x[:, 0, 0]) + 2, energy(E3), cloud()) for _ in range(2))
    assert first == second


def test_a_blind_search_would_miss_the_jump(monkeypatch):
    """Without cutting steps, a steep slope and a step look alike: the levels do the work."""
    monkeypatch.setattr(module, "PARTS", 1)
    steep = look(lambda x: torch.tanh(1e4 * (x[:, 0, 0] - 0.1)), energy(E3), cloud())
    assert steep.word == "jumps"
