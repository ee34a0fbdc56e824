"""Every law of frames and symmetrized models, over the zoo; and every law-checker on something that it must refuse."""

from __future__ import annotations

import copy
import io
import pickle
from dataclasses import replace

import pytest
import torch

from coset import Symmetrized, actions, frame_gap, frames, groups
from coset.actions.trees import call
from coset.errors import FrameError
from coset.tree import leaves, tree_map
from tests.frames import laws
from tests.zoo.frames import CASES, COLLAPSED, clouds, ragged_shapes, symmetric_clouds, vectors
from tests.zoo.frames import case as make_case

DTYPES = [torch.float32, torch.float64]
over_cases = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
over_dtypes = pytest.mark.parametrize("dtype", DTYPES, ids=["f32", "f64"])
BOUND = 50.0
"""Multiples of the rounding unit and the conditioning by which a law may be missed."""
NEARLY = 1e-6
"""What is nearly symmetric is idempotent to its distance from symmetry only."""


def skip_or_run(case, law):
    if case.reason(law):
        pytest.skip(f"{case.name}: {case.reason(law)}")


def bound(case, dtype):
    return BOUND * torch.finfo(dtype).eps * case.tol_scale


MERGE = True
"""Symmetric inputs as one batch, which is faster; False says which of them misses a law."""


def inputs(case, generator, dtype):
    """Generic inputs, then the symmetric ones, by name."""
    named = case.symmetric(generator, dtype)
    together = [x for name, x in named if "nearly" not in name]
    if MERGE and len(together) > 1 and "batch" not in case.source.items():
        named = [("symmetric", merge(together)), *((name, x) for name, x in named if "nearly" in name)]
    return [("generic", case.make(generator, dtype)), *named]


def merge(batches):
    """Dense batches as one."""
    return tree_map(lambda *leaves: torch.cat(leaves), batches[0], *batches[1:])


def missed(found, allowed):
    """The names of the inputs that miss a law, with how far."""
    return {name: value for name, value in found.items() if not value <= allowed}


@over_dtypes
@over_cases
def test_equivariance(case, dtype, generator):
    if not case.must_be_exact:
        pytest.skip(f"{case.name}: an approximation, as declared")
    model = laws.wrap(case, dtype)
    found = {name: laws.equivariance_gap(model, case, x, generator, dtype) for name, x in inputs(case, generator, dtype)}
    assert not missed(found, bound(case, dtype))


@over_cases
def test_the_network_alone_is_not_equivariant(case, generator):
    x = case.make(generator, torch.float64)
    assert laws.equivariance_gap(case.model(torch.float64), case, x, generator, torch.float64) > 1e-3


@over_dtypes
@over_cases
def test_frame_law(case, dtype, generator):
    if not case.must_be_exact:
        pytest.skip(f"{case.name}: an approximation, as declared")
    frame = laws.wrap(case, dtype).frame
    found = {
        name: frame_gap(frame, x, samples=2, generator=generator) / laws.conditioning(x)
        for name, x in inputs(case, generator, dtype)
        if name != "nearly collinear"
    }
    ties = isinstance(frame, frames.Sort) or (isinstance(frame, frames.Minimal) and frame.group.dim is None)
    if ties:  # permutations of equal rows are one class, of which one is listed
        found = {"generic": found["generic"]}
    assert not missed(found, 4 * bound(case, dtype))


@over_dtypes
@over_cases
def test_idempotence(case, dtype, generator):
    found = {name: laws.idempotence_gap(case, x, dtype) for name, x in inputs(case, generator, dtype)}
    near = {name: found.pop(name) for name in list(found) if "nearly" in name}
    assert not missed(found, bound(case, dtype))
    assert not missed(near, max(NEARLY, bound(case, dtype)))


@over_cases
def test_measures_are_well_formed(case, generator):
    frame = case.bound.eval()
    for name, x in inputs(case, generator, torch.float64):
        faults = laws.measure_faults(frame(x), case.source.layout(x).samples)
        assert not faults, f"{name}: {faults}"


@over_cases
def test_minimal_frames_cost_one_call(case, generator):
    if not isinstance(case.frame, frames.Minimal):
        pytest.skip(f"{case.name}: not a minimal frame")
    for name, x in inputs(case, generator, torch.float64):
        assert case.bound(x).cosets == 1, name


@over_cases
def test_a_batch_is_a_loop_over_samples(case, generator):
    model = laws.wrap(case, torch.float64)
    skip_or_run(case, "loop")
    if model.frame.stochastic:
        pytest.skip(f"{case.name}: random elements")
    for name, x in inputs(case, generator, torch.float64):
        assert laws.samples_gap(model, case, x, torch.float64) <= bound(case, torch.float64), name


@over_dtypes
@over_cases
def test_the_order_of_points_does_not_matter(case, dtype, generator):
    if not case.unordered:
        pytest.skip(f"{case.name}: points are ordered")
    model = laws.wrap(case, dtype)
    found = {name: laws.permutation_gap(model, case, x, generator, dtype) for name, x in inputs(case, generator, dtype)}
    assert not missed(found, bound(case, dtype))


@over_cases
def test_symmetrized_models_see_their_inputs(case, generator):
    x = case.make(generator, torch.float64)
    assert laws.sensitivity(laws.wrap(case, torch.float64), case, x, torch.float64) > 0.02


@over_cases
def test_vmap(case, generator):
    skip_or_run(case, "vmap")
    model, x = laws.wrap(case, torch.float64), case.make(generator, torch.float64)
    if not model.frame.static:
        with pytest.raises(FrameError, match=r"under torch\.func|static"):
            laws.vmap_gap(model, case, x)
        return
    if model.frame.stochastic:
        pytest.skip(f"{case.name}: random elements")
    assert laws.vmap_gap(model, case, x) <= bound(case, torch.float64)


@over_cases
def test_compile(case, generator):
    skip_or_run(case, "compile")
    model, x = laws.wrap(case, torch.float64), case.make(generator, torch.float64)
    if not model.frame.static:
        with pytest.raises(Exception, match=r"Expected: a static frame"):
            laws.compile_gap(model, case, x)
        return
    if model.frame.stochastic:
        torch._dynamo.reset()
        y = call(torch.compile(model, backend="aot_eager", fullgraph=True), case.source, x)
        assert all(bool(torch.isfinite(leaf).all()) for leaf in leaves(y))
        return
    assert laws.compile_gap(model, case, x) <= bound(case, torch.float64)


@over_cases
def test_export(case, generator):
    skip_or_run(case, "export")
    model, x = laws.wrap(case, torch.float64), case.make(generator, torch.float64)
    if not model.frame.static:
        with pytest.raises(Exception, match=r"Expected: a static frame"):
            laws.export_gap(model, case, x)
        return
    if model.frame.stochastic:
        pytest.skip(f"{case.name}: random elements")
    assert laws.export_gap(model, case, x) <= bound(case, torch.float64)


def clean(model):
    """The parameters and buffers of a module, as bytes and back."""
    buffer = io.BytesIO()
    torch.save(model.state_dict(), buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)


@over_cases
def test_copies_and_state(case, generator):
    x = case.make(generator, torch.float64)
    model = laws.wrap(case, torch.float64)
    other = laws.wrap(case, torch.float64)
    for parameter in other.parameters():
        torch.nn.init.zeros_(parameter)
    other.load_state_dict(clean(model))
    assert {key.split(".")[0] for key in model.state_dict()} <= {"model", "frame"}

    def run(twin):
        torch.manual_seed(3)
        return call(twin, case.source, x)

    expected = run(model)
    for twin in (other, copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert laws.gap(run(twin), expected) == 0.0
        assert repr(twin) == repr(model)


@over_cases
def test_gradcheck(case, generator):
    skip_or_run(case, "gradcheck")
    model, x = laws.wrap(case, torch.float64), case.make(generator, torch.float64)
    keys = [number for number, leaf in enumerate(leaves(x)) if laws.inexact(leaf)]
    flat = list(leaves(x))

    def function(*values):
        torch.manual_seed(3)
        filled = iter([values[keys.index(number)] if number in keys else leaf for number, leaf in enumerate(flat)])
        return tuple(leaves(call(model, case.source, tree_map(lambda leaf: next(filled), x))))

    torch.manual_seed(0)
    assert torch.autograd.gradcheck(function, tuple(flat[k].clone().requires_grad_() for k in keys), fast_mode=True, atol=1e-5, rtol=1e-3)


@over_dtypes
@over_cases
def test_gradients_are_finite_at_symmetric_inputs(case, dtype, generator):
    model = laws.wrap(case, dtype)
    for name, x in case.symmetric(generator, dtype):
        for gradient in laws.gradients(model, case, x, generator):
            assert bool(torch.isfinite(gradient).all()), name


# -- dynamic batches, inductor ---------------------------------------------------------------------------------------

DYNAMIC = [
    frame
    for frame in CASES
    if frame.name.startswith(
        (
            "Minimal() Orthogonal(3)",
            "Minimal() SpecialEuclidean(2)",
            "Minimal(of='pos') Orthogonal(3)",
            "PCA(fallback=False) Euclidean(3)",
            "Full() Cyclic(4)",
            "Quadrature(3)",
            "Sort() Symmetric() numbers",
        )
    )
]
INDUCTOR = [
    next(one for one in CASES if one.name.startswith(start))
    for start in (
        "Minimal() Orthogonal(3)",
        "Minimal() SpecialEuclidean(3)",
        "Minimal(of='pos') Euclidean(2) velocities",
        "PCA(fallback=False) SpecialOrthogonal(3)",
        "Chain(Center(), Minimal())",
        "Center() Translation(2)",
        "Full() Dihedral(4) image",
        "Quadrature(3) SpecialOrthogonal(3)",
        "Sort() Symmetric() numbers",
        "Given(4 elements)",
    )
]


@pytest.mark.parametrize("case", DYNAMIC, ids=lambda case: case.name)
def test_export_with_a_dynamic_batch(case, generator):
    model, x = laws.wrap(case, torch.float64), case.make(generator, torch.float64)
    assert laws.export_gap(model, case, x, dynamic=True) <= bound(case, torch.float64)


@pytest.mark.slow
@pytest.mark.parametrize("case", INDUCTOR, ids=lambda case: case.name)
def test_inductor(case, generator):
    model, x = laws.wrap(case, torch.float32), case.make(generator, torch.float32)
    assert laws.compile_gap(model, case, x, backend="inductor") <= bound(case, torch.float32)


def test_ten_combinations_are_compiled_with_inductor():
    assert len({case.name for case in INDUCTOR}) == 10


# -- corners that one case of the zoo cannot show -----------------------------------------------------------------


@pytest.mark.parametrize("inner", [frames.Minimal(), frames.Minimal(colours=frames.UNCOLOURED)], ids=repr)
@over_dtypes
def test_a_chain_of_collapsed_clouds(inner, dtype, generator):
    E3 = groups.Euclidean(3)
    case = make_case(frames.Chain(frames.Center(), inner), actions.Points(E3), vectors(E3), clouds(3), symmetric_clouds(E3), unordered=True)
    model = laws.wrap(case, dtype)
    found = {
        name: laws.equivariance_gap(model, case, x, generator, dtype) for name, x in case.symmetric(generator, dtype) if name in COLLAPSED
    }
    assert not missed(found, bound(case, dtype))


def test_coincident_points_told_apart_by_edges(generator):
    graph = next(case for case in CASES if "edges" in case.name)
    model = laws.wrap(graph, torch.float64)
    x = dict(ragged_shapes(groups.Euclidean(3), True)(generator, torch.float64))["duplicates"]
    assert laws.idempotence_gap(graph, x, torch.float64) <= bound(graph, torch.float64)
    assert laws.equivariance_gap(model, graph, x, generator, torch.float64) <= bound(graph, torch.float64)
    assert frame_gap(model.frame, x, generator=generator) <= 1e-12


def test_edge_attributes_are_picked_with_their_edges(generator):
    graph = next(case for case in CASES if "edges" in case.name)
    several = replace(graph, frame=frames.PCA(of="pos"))
    model = laws.wrap(several, torch.float64)
    assert laws.equivariance_gap(model, several, several.make(generator, torch.float64), generator, torch.float64) <= bound(
        graph, torch.float64
    )


def test_a_chain_over_a_product_with_the_symmetric_group(generator):
    group = groups.Orthogonal(3) * groups.Symmetric()
    case = make_case(frames.Chain(frames.PCA(fallback=False), frames.Sort()), actions.Points(group), vectors(group), clouds(3), exact=True)
    x = case.make(generator, torch.float64)
    model = laws.wrap(case, torch.float64)
    assert model.frame(x).cosets == 8
    assert laws.equivariance_gap(model, case, x, generator, torch.float64) <= bound(case, torch.float64)


# -- random frames ---------------------------------------------------------------------------------------------------


def test_haar_is_reproducible_by_its_generator():
    source, x = actions.Points(groups.Orthogonal(3)), torch.randn(3, 5, 3)
    draws = [frames.Haar(4, torch.Generator().manual_seed(seed)).bind(source)(x).elements for seed in (1, 1, 2)]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    frame = frames.Haar(4, torch.Generator().manual_seed(1)).bind(source)
    assert not torch.equal(frame(x).elements, frame(x).elements)
    assert not torch.allclose(draws[0][:, 0], draws[0][:, 1])


def standard_errors(frame, generator, repetitions=400):
    """How many standard errors the mean of a random symmetrized model is from the exact one."""
    group = groups.Dihedral(4)
    case = make_case(frames.Full(), actions.Points(group), vectors(group), clouds(2, 3))
    x = case.make(generator, torch.float64)[:1].expand(repetitions, -1, -1)
    net = case.model(torch.float64)
    with torch.no_grad():
        exact = Symmetrized(net, case.source >> case.target, frames.Full())(x[:1])
        draws = Symmetrized(net, case.source >> case.target, frame).train()(x)
    return float(((draws.mean(0) - exact[0]).abs() / (draws.std(0) / repetitions**0.5)).max())


def test_random_frames_are_unbiased(generator):
    assert standard_errors(frames.Haar(2), generator) < 5
    assert standard_errors(frames.Stochastic(frames.Full()), generator) < 5
    assert standard_errors(frames.Given(groups.Dihedral(4).elements()), generator) != standard_errors(frames.Haar(1), generator)


def test_a_biased_random_frame_is_seen(generator):
    class Half(frames.Haar):
        def measure(self, inputs, at):
            found = super().measure(inputs, at)
            return replace(found, elements=type(found.elements)(found.elements.k % 2, found.elements.flip))

    assert standard_errors(Half(2), generator) > 8


def test_stochastic_draws_by_weight_and_per_sample():
    weights = torch.tensor([0.7, 0.3, 0.0])
    inner = frames.Given(torch.tensor([0, 1, 2]), weights)
    x = torch.randn(4000, 2)
    source = actions.Vectors(groups.Cyclic(4))
    frame = frames.Stochastic(inner, torch.Generator().manual_seed(0)).bind(source).train()
    found = frame(x)
    counts = torch.bincount(found.elements[0], minlength=3) / 4000
    assert found.cosets == 1
    assert torch.allclose(counts, weights, atol=0.04)
    assert counts[2] == 0
    again = frames.Stochastic(inner, torch.Generator().manual_seed(0)).bind(source).train()(x)
    assert torch.equal(found.elements, again.elements)
    assert frame.eval()(x).cosets == 3
    assert frame.stochastic is False
    assert frame.train().stochastic is True


# -- the checkers are checked ------------------------------------------------------------------------------------

O3 = groups.Orthogonal(3)
RIGHT = make_case(frames.Minimal(), actions.Points(O3), vectors(O3), clouds(3))


def identity(measure, x):
    """Forgets its input."""
    eye = torch.eye(3, dtype=measure.weights.dtype).expand(1, len(x), 3, 3)
    return replace(measure, elements=eye, weights=torch.ones_like(measure.weights[:1]), order=torch.ones_like(measure.order))


def random_each_call(measure, x):
    return replace(measure, elements=O3.haar(*measure.weights.shape, dtype=torch.float64))


def one_for_the_batch(measure, x):
    return replace(measure, elements=measure.elements[:, :1].expand_as(measure.elements))


def inverted(measure, x):
    return replace(measure, elements=measure.elements.mT)


def constant_form(measure, x):
    """Matrices of zeros: every input has the same canonical form."""
    return replace(measure, elements=torch.zeros_like(measure.elements))


def first_atom_only(measure, x):
    """The second axis is not looked at."""
    basis = torch.linalg.qr(torch.cat([x[:, :1].mT.double(), torch.ones(len(x), 3, 2, dtype=torch.float64)], -1) + 0.1 * torch.eye(3))[0]
    return replace(measure, elements=basis.unsqueeze(0).expand_as(measure.elements))


@pytest.mark.parametrize(
    "fault", [identity, random_each_call, one_for_the_batch, inverted, first_atom_only], ids=lambda fault: fault.__name__
)
def test_laws_refuse_wrong_frames(fault, generator):
    case = replace(RIGHT, frame=laws.Broken(frames.Minimal(), fault))
    x = case.make(generator, torch.float64)
    assert laws.equivariance_gap(laws.wrap(case, torch.float64), case, x, generator, torch.float64) > 1e-3
    right = replace(RIGHT, frame=laws.Broken(frames.Minimal(), lambda measure, x: measure))
    assert frame_gap(right.bound, x) < 1e-9
    if fault is random_each_call:  # frame_gap repeats the seeds, so ask without
        frame = laws.Broken(
            frames.Minimal(),
            lambda measure, x: replace(measure, elements=O3.haar(*measure.weights.shape, generator=generator, dtype=torch.float64)),
        )
        assert frame_gap(frame.bind(case.source), x) > 0.1
        return
    assert frame_gap(case.bound, x) > 0.1


def test_a_constant_canonical_form_is_refused(generator):
    case = replace(RIGHT, frame=laws.Broken(frames.Minimal(), constant_form))
    x = case.make(generator, torch.float64)
    model = laws.wrap(case, torch.float64)
    assert laws.equivariance_gap(model, case, x, generator, torch.float64) < 1e-12  # which is why sensitivity is a law
    assert laws.sensitivity(model, case, x, torch.float64) < 1e-12
    assert "elements are not group elements" in laws.measure_faults(case.bound(x), 4)


def test_measure_faults_are_seen(generator):
    x = RIGHT.make(generator, torch.float64)
    good = RIGHT.bound(x)
    assert laws.measure_faults(good, 4) == []
    assert laws.measure_faults(good, 5)
    assert laws.measure_faults(replace(good, weights=good.weights * 0.9), 4)
    assert laws.measure_faults(replace(good, weights=-good.weights), 4)
    assert laws.measure_faults(replace(good, cosets=good.weights.shape[0] + 1), 4)
    assert laws.measure_faults(replace(good, order=good.order + 1), 4)
    assert laws.measure_faults(replace(good, order=torch.zeros_like(good.order)), 4)
    assert laws.measure_faults(replace(good, elements=good.elements[:, :2]), 4)


def test_other_laws_refuse_wrong_models(generator):
    x = RIGHT.make(generator, torch.float64)

    class Restless(torch.nn.Module):
        def forward(self, x):
            return x + x.mean(0)  # mixes samples

    assert laws.samples_gap(Restless(), RIGHT, x, torch.float64) > 0.01
    ordered = replace(RIGHT, frame=frames.Minimal())
    assert laws.permutation_gap(laws.wrap(ordered, torch.float64), ordered, x, generator, torch.float64) > 1e-3
    broken = replace(RIGHT, frame=laws.Broken(frames.Minimal(), identity), reference=frames.Minimal())
    assert laws.idempotence_gap(broken, x, torch.float64) < 1e-12  # any frame passes for an equivariant model,
    wrong = replace(RIGHT, frame=laws.Broken(frames.Minimal(), constant_form), reference=frames.Minimal())
    assert laws.idempotence_gap(wrong, x, torch.float64) > 0.01  # unless its elements are none
    assert laws.gap(torch.ones(2), torch.ones(2).double()) == float("inf")
    assert laws.gap(torch.ones(2) * float("nan"), torch.ones(2)) == float("inf")
