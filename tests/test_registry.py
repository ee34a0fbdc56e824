"""What is public is registered: every concrete group, action and frame has at least three cases in its zoo."""

from __future__ import annotations

import inspect
from types import ModuleType

import pytest

from coset import actions, frames, groups
from coset.actions.base import Action
from coset.frames.base import Frame
from coset.groups.base import Group
from tests.zoo.actions import ACTIONS
from tests.zoo.frames import FRAMES
from tests.zoo.groups import GROUPS

PLACES = [(groups, Group, GROUPS), (actions, Action, ACTIONS), (frames, Frame, FRAMES)]
over_places = pytest.mark.parametrize(("module", "base", "zoo"), PLACES, ids=["groups", "actions", "frames"])


def public(module: ModuleType, base: type) -> set[type]:
    """The concrete public classes of a folder."""
    named = [getattr(module, name) for name in module.__all__]
    return {kind for kind in named if inspect.isclass(kind) and issubclass(kind, base) and not inspect.isabstract(kind)}


def faults(module: ModuleType, base: type, zoo: dict[type, list]) -> list[str]:
    """Public classes without a line in the zoo, lines without a public class, and classes with fewer than three cases."""
    known = public(module, base)
    found = [f"{kind.__name__} is not registered" for kind in known - zoo.keys()]
    found += [f"{kind.__name__} is registered but not public" for kind in zoo.keys() - known]
    return sorted(found + [f"{kind.__name__} has {len(cases)} cases" for kind, cases in zoo.items() if len(cases) < 3])


@over_places
def test_everything_public_is_registered(module, base, zoo):
    assert len(public(module, base)) >= 10
    assert faults(module, base, zoo) == []


@over_places
def test_the_check_sees_what_is_missing(module, base, zoo):
    for kind in zoo:
        rest = {other: cases for other, cases in zoo.items() if other is not kind}
        assert faults(module, base, rest) == [f"{kind.__name__} is not registered"]
        assert faults(module, base, {**zoo, kind: zoo[kind][:2]}) == [f"{kind.__name__} has 2 cases"]
    stranger = type("Stranger", (), {})
    assert faults(module, base, {**zoo, stranger: [1, 2, 3]}) == ["Stranger is registered but not public"]


def test_cases_are_of_the_class_they_stand_for():
    for kind, cases in FRAMES.items():
        assert all(type(case.frame) is kind for case in cases)
    for kind, cases in ACTIONS.items():
        assert all(type(case.action) is kind for case in cases)
    for kind, cases in GROUPS.items():
        assert all(type(group) is kind for group in cases)


def test_names_of_cases_differ():
    for zoo in (FRAMES, ACTIONS):
        names = [case.name for cases in zoo.values() for case in cases]
        assert len(set(names)) == len(names), [name for name in names if names.count(name) > 1]
