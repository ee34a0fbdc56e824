"""Properties of nested actions: hypothesis draws the group, the nesting and the data."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
import torch
from hypothesis import given, settings

import coset
from coset import actions, frames, groups
from coset.actions.base import Action
from coset.groups.base import Group
from coset.tree import Tree, leaves
from tests.actions import laws

BATCH = 3
GROUPS = [
    groups.Orthogonal(3),
    groups.SpecialEuclidean(3),
    groups.Euclidean(2),
    groups.Dihedral(5),
    groups.Octahedral(full=True),
    groups.Symmetric() * groups.Euclidean(3),
    groups.Hyperoctahedral(2) * groups.Symmetric(),
]


def leaf_actions(group: Group) -> list[tuple[Action, tuple[int, ...]]]:
    """Leaf actions of a group with the shapes of their data after the batch axis; four points."""
    d = int(group.dim)
    found: list[tuple[Action, tuple[int, ...]]] = [
        (actions.Points(group), (4, d)),
        (actions.Vectors(group), (4, d)),
        (actions.Vectors(group, points=False), (d,)),
        (actions.Tensors(group, 2, points=False), (d, d)),
        (actions.Trivial(group), (2,)),
    ]
    if group.permutes:
        found += [(actions.Permute(group, -1), (4,)), (actions.Permute(group, -3, -2), (4, 4, 2))]
    return found


@st.composite
def nested(draw: Any, group: Group, depth: int = 2) -> tuple[Action, Any]:
    """An action and a matching tree of shapes."""
    kind = draw(st.sampled_from(["leaf", "dict", "tuple"] if depth else ["leaf"]))
    if kind == "leaf":
        return draw(st.sampled_from(leaf_actions(group)))
    children = draw(st.lists(nested(group, depth - 1), min_size=1, max_size=3))
    if kind == "tuple":
        return actions.Tuple(*(action for action, _ in children)), ("tuple", *(shape for _, shape in children))
    names = [f"k{number}" for number in range(len(children))]
    return actions.Dict(dict(zip(names, (action for action, _ in children), strict=True))), dict(
        zip(names, (shape for _, shape in children), strict=True)
    )


@st.composite
def cases(draw: Any) -> tuple[Action, Any, int]:
    """A nesting with at least one leaf that has points, so that the number of points is known."""
    group = draw(st.sampled_from(GROUPS))
    action, shape = draw(nested(group))
    whole = actions.Dict(first=actions.Points(group), rest=action)
    return whole, {"first": (4, int(group.dim)), "rest": shape}, draw(st.integers(0, 10**6))


def data(shape: Any, generator: torch.Generator) -> Tree:
    """Noise of the drawn shapes."""
    if isinstance(shape, dict):
        return {key: data(value, generator) for key, value in shape.items()}
    if shape and shape[0] == "tuple":
        return tuple(data(value, generator) for value in shape[1:])
    return torch.randn(BATCH, *shape, generator=generator, dtype=torch.float64)


@given(cases())
def test_laws_hold_under_nesting(case):
    action, shape, seed = case
    generator = torch.Generator().manual_seed(seed)
    x = data(shape, generator)
    action.check(x)
    bound = 1e-12
    assert laws.identity_gap(action, x, torch.float64) <= bound
    for law in (laws.compose_gap, laws.inverse_gap, laws.loop_gap, laws.broadcast_gap, laws.take_gap):
        assert law(action, x, generator, torch.float64) <= bound


@given(cases())
def test_nesting_is_leaf_by_leaf(case):
    action, shape, seed = case
    generator = torch.Generator().manual_seed(seed)
    x = data(shape, generator)
    _, g = laws.draw(action, x, generator, torch.float64)
    moved = action.act(g, x)
    at = action.layout(x)
    one = [leaf.act(g, value, at) for leaf, value in coset.actions.trees.flatten(action, x).values()]
    for whole, part in zip(leaves(moved), one, strict=True):
        assert torch.equal(whole, part)


def absorb(x: Tree) -> torch.Tensor:
    """A generic nonlinear number per sample and output entry."""
    flat = torch.cat([leaf.flatten(1) for leaf in leaves(x)], 1)
    weights = torch.randn(flat.shape[1], 12, generator=torch.Generator().manual_seed(flat.shape[1]), dtype=flat.dtype)
    return torch.tanh(flat @ weights)


@settings(max_examples=20)
@given(cases())
def test_symmetrized_models_of_nested_inputs_are_equivariant(case):
    action, shape, seed = case
    group = action.group
    generator = torch.Generator().manual_seed(seed)
    x = data(shape, generator)
    d = int(group.dim)

    def model(**inputs):
        out = absorb(inputs)
        return {"scalar": out[:, :2], "vector": out[:, 2 : 2 + d], "tensor": out[:, : d * d].reshape(-1, d, d)}

    if group.permutes:
        return  # points that are permuted and rotated take two wrappers, tested elsewhere
    target = actions.Dict(
        scalar=actions.Trivial(group), vector=actions.Vectors(group, points=False), tensor=actions.Tensors(group, 2, points=False)
    )
    frame = None if group.orthogonal else frames.Full()
    wrapped = coset.symmetrize(model, action >> target, frame)
    _, g = laws.draw(action, x, generator, torch.float64)
    assert laws.gap(wrapped(**action.act(g, x)), target.act(g, wrapped(**x))) <= 1e-9


def test_a_wrong_leaf_spoils_the_nesting(generator):
    class Backwards(actions.Vectors):
        def act(self, g, x, at=None):
            return super().act(self.group.inverse(g), x, at)

    O3 = groups.Orthogonal(3)
    x = {
        "a": torch.randn(BATCH, 3, generator=generator, dtype=torch.float64),
        "b": (torch.randn(BATCH, 4, 3, generator=generator).double(),),
    }
    wrong = actions.Dict(a=Backwards(O3), b=actions.Tuple(actions.Points(O3)))
    assert laws.compose_gap(wrong, x, generator, torch.float64) > 0.1
