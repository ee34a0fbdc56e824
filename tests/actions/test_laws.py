"""Every law of actions, over the zoo; and every law-checker on something that it must refuse."""

from __future__ import annotations

import copy
import inspect
import pickle

import pytest
import torch

from coset import actions, groups
from coset.actions.base import Action
from coset.actions.field import Field, downward
from coset.actions.image import Image
from coset.actions.linear import move_last
from coset.actions.pixels import plane_matrix
from coset.errors import CosetError
from coset.tree import leaves
from tests.actions import laws
from tests.zoo.actions import ACTIONS, CASES, GRID

DTYPES = [torch.float32, torch.float64]
over_cases = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
over_dtypes = pytest.mark.parametrize("dtype", DTYPES, ids=["f32", "f64"])


def skip_or_run(case, law):
    if case.reason(law):
        pytest.skip(f"{case.name}: {case.reason(law)}")


def bound(case, dtype):
    return 64 * torch.finfo(dtype).eps * case.tol_scale


@over_dtypes
@over_cases
def test_identity(case, dtype, generator):
    assert laws.identity_gap(case.action, case.make(generator, dtype), dtype) <= bound(case, dtype)


@pytest.mark.parametrize("law", laws.LAWS)
@over_dtypes
@over_cases
def test_law(case, dtype, law, generator, record_property):
    skip_or_run(case, law)
    missed = laws.LAWS[law](case.action, case.make(generator, dtype), generator, dtype)
    approximate = law in laws.EXACT_ONLY and not case.action.exact
    if approximate:
        record_property(f"{law} error", missed)
        print(f"{case.name}: {law} error {missed:.2e}, declared inexact")
    assert missed <= (case.drift if approximate else bound(case, dtype))


@over_dtypes
@over_cases
def test_linear(case, dtype, generator):
    skip_or_run(case, "linear")
    if not case.action.linear:
        pytest.skip(f"{case.name}: not declared linear")
    x, y = case.make(generator, dtype), case.make(generator, dtype)
    assert laws.linear_gap(case.action, x, y, generator, dtype) <= bound(case, dtype)


@over_cases
def test_vmap(case, generator):
    skip_or_run(case, "vmap")
    assert laws.vmap_gap(case.action, case.make(generator, torch.float64), generator, torch.float64) <= bound(case, torch.float64)


@over_cases
def test_compile(case, generator):
    skip_or_run(case, "compile")
    if not case.action.exact:
        pytest.skip(f"{case.name}: not exact")
    assert laws.compile_gap(case.action, case.make(generator, torch.float32), generator, torch.float32) <= bound(case, torch.float32)


@over_cases
def test_copies_and_repr(case, generator):
    x = case.make(generator, torch.float64)
    _, g = laws.draw(case.action, x, generator, torch.float64)
    for twin in (copy.deepcopy(case.action), pickle.loads(pickle.dumps(case.action))):
        assert laws.gap(twin.act(g, x), case.action.act(g, x)) == 0.0
        assert repr(twin) == repr(case.action)
    assert repr(case.action).startswith(type(case.action).__name__)


@over_cases
def test_check_accepts_its_data_and_refuses_others(case, generator):
    x = case.make(generator, torch.float64)
    case.action.check(x)
    if not case.action.moves:
        return
    with pytest.raises(CosetError, match="To do:"):
        case.action.check("not data")


@over_cases
def test_input_is_left_alone(case, generator):
    x = case.make(generator, torch.float64)
    before = copy.deepcopy(x)
    _, g = laws.draw(case.action, x, generator, torch.float64)
    case.action.act(g, x)
    assert laws.gap(x, before) == 0.0


@over_cases
def test_gradients_flow(case, generator):
    x = case.make(generator, torch.float64)
    moved = [leaf for leaf in leaves(x) if leaf.is_floating_point() and leaf.numel()]
    if not moved or not case.action.moves:
        pytest.skip(f"{case.name}: no floating point data")
    for leaf in moved:
        leaf.requires_grad_()
    _, g = laws.draw(case.action, x, generator, torch.float64)
    total = sum(leaf.square().sum() for leaf in leaves(case.action.act(g, x)) if leaf.is_floating_point())
    for gradient in torch.autograd.grad(total, moved, allow_unused=True):
        assert gradient is None or bool(torch.isfinite(gradient).all())


def test_every_action_has_three_cases():
    for kind, cases in ACTIONS.items():
        assert len(cases) >= 3, f"{kind.__name__} has {len(cases)} cases in the zoo"
        assert not inspect.isabstract(kind)


def test_every_public_action_is_registered():
    public = {
        kind for kind in vars(actions).values() if inspect.isclass(kind) and issubclass(kind, Action) and not inspect.isabstract(kind)
    }
    if ACTIONS.keys() == GRID.keys():
        pytest.skip("tests/zoo/linear_cases.py is not there: only grid actions are registered")
    assert {kind.__name__ for kind in public - ACTIONS.keys()} == set()
    assert {kind.__name__ for kind in ACTIONS.keys() - public} == set()


# -- the checkers are checked ------------------------------------------------------------------------------------


class Bad(Action):
    """A wrong action of D4 on square images, or on fields."""

    def __init__(self, function, event=2):
        super().__init__(groups.Dihedral(4))
        self.function, self.event, self.right = function, event, Image(groups.Dihedral(4))

    def act(self, g, x, at=None):
        return self.function(self, g, x)


def first_for_all(self, g, x):
    return self.right.act(laws.pick(g, torch.zeros(len(g.k), dtype=torch.long)), x)


def identity_without_batch(self, g, x):
    return self.right.act(g if g.k.dim() else self.group.identity(), x)


def turn_before_flip(self, g, x):
    still = torch.zeros_like(g.k)
    return self.right.act(type(g)(still, g.flip), self.right.act(type(g)(g.k, still), x))


def by_the_inverse(self, g, x):
    return self.right.act(self.group.inverse(g), x)


def channels_by_the_inverse(self, g, x):
    matrix = downward(plane_matrix(self.group, self.group.inverse(g))).to(x.dtype)
    return move_last(matrix, self.right.act(g, x).movedim(-3, -1)).movedim(-1, -3)


def batch_position(self, g, x):
    return self.right.act(g, x) + torch.arange(x.shape[0], dtype=x.dtype).reshape(-1, 1, 1, 1)


def squares(self, g, x):
    return self.right.act(g, x**2)


def test_laws_refuse_wrong_actions(generator):
    x = torch.randn(6, 2, 5, 5, generator=generator, dtype=torch.float64)
    arguments = (x, generator, torch.float64)
    assert laws.compose_gap(Bad(by_the_inverse), *arguments) > 0.1
    assert laws.compose_gap(Bad(turn_before_flip), *arguments) > 0.1
    assert laws.compose_gap(Bad(channels_by_the_inverse, 3), *arguments) > 0.1
    assert laws.inverse_gap(Bad(squares), *arguments) > 0.1
    assert laws.loop_gap(Bad(first_for_all), *arguments) > 0.1
    assert max(laws.broadcast_gap(Bad(identity_without_batch), *arguments) for _ in range(5)) > 0.1
    assert laws.take_gap(Bad(batch_position), *arguments) > 0.1
    assert laws.identity_gap(Bad(batch_position), x, torch.float64) > 0.1
    assert laws.linear_gap(Bad(squares), x, x.flip(0), generator, torch.float64) > 0.1


def untyped(self, g, x):
    return self.right.act(g, x)


def test_the_gradient_law_refuses_wrong_channels(generator):
    D4 = groups.Dihedral(4)
    scalar = torch.randn(8, 1, 6, 6, generator=generator, dtype=torch.float64)
    elements = D4.elements()
    assert laws.gradient_gap(Field(D4), Image(D4), scalar, elements) < 1e-14
    assert laws.gradient_gap(Bad(untyped, 3), Image(D4), scalar, elements) > 0.1
    assert laws.gradient_gap(Bad(channels_by_the_inverse, 3), Image(D4), scalar, elements) > 0.1


def test_compile_and_vmap_gaps_see_differences():
    a = torch.ones(2)
    assert laws.gap(a, a) == 0.0
    assert laws.gap(a, a.double()) == float("inf")
    assert laws.gap(a, torch.ones(3)) == float("inf")
    assert laws.gap(a * float("nan"), a) == float("inf")
    assert laws.gap(a, a + 1) == 0.5
