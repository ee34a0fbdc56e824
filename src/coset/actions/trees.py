"""Actions on nested data: ``Dict`` by key, ``Tuple`` by position; siblings share one layout."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ..errors import GroupError, InputError, SignatureError, describe, explain
from ..groups.base import Group
from ..groups.maps import Homomorphism
from ..groups.ragged import RaggedSymmetric
from ..tree import Tree, children, first, is_container, leaves, rebuild, tree_map
from .base import Action
from .indices import BatchIndex, Edges, PointMask
from .layout import Layout
from .nodes import Nodes, check_ragged
from .still import Trivial

Visit = Callable[[Action, Any, str], Any]


def visit(action: Action, x: Tree, function: Visit, name: str = "input") -> Tree:
    """Apply ``function(leaf action, data, name)`` to every declared leaf of nested data and keep the structure.

    Of a container, the single leaf actions ``Trivial`` and ``Ignore`` describe everything inside, any other its only tensor.
    """
    if isinstance(action, Branches):
        return action.visit(x, function, name)
    if isinstance(action, Pullback) and isinstance(action.action, Branches):
        return visit(action.action, x, lambda leaf, value, path: function(Pullback(action.homomorphism, leaf), value, path), name)
    if not is_container(x):
        return function(action, x, name)
    if not action.moves:
        return tree_map(lambda leaf: function(action, leaf, name), x)
    tensors = sum(1 for _ in leaves(x))
    if tensors != 1:
        raise SignatureError(
            explain(
                f"{name} is a {type(x).__name__} with {tensors} tensors, described by {action}",
                "one action for each",
                "declare actions.Dict(key=…) or actions.Tuple(…)",
            )
        )
    return tree_map(lambda leaf: function(action, leaf, name), x)


class Branches(Action):
    """Abstract: named or numbered child actions that share a group and a layout."""

    degree = None

    def __init__(self, entries: dict[Any, Action]):
        for key, child in entries.items():
            if not isinstance(child, Action):
                raise SignatureError(explain(f"{child!r} under {key!r}", "an action", "build one, for instance actions.Trivial(group)"))
        if not entries:
            raise SignatureError(explain(f"an empty {type(self).__name__}", "at least one action", "declare what the model takes"))
        groups = {key: child.group for key, child in entries.items()}
        group = next(iter(groups.values()))
        if any(other != group for other in groups.values()):
            raise SignatureError(
                explain(f"children moved by {groups}", "one group for all children", "build them with the same group, or Pullback")
            )
        super().__init__(group)
        self.entries = entries
        self.exact = all(child.exact for child in entries.values())
        self.linear = all(child.linear for child in entries.values())
        self.moves = any(child.moves for child in entries.values())
        self.declared = tuple(entries)
        self._adopt_siblings()

    def as_target(self) -> Action:
        """Without the masks and batch indices that children name: those are inputs."""
        target = copy.copy(self)
        target.entries = {key: self.entries[key].as_target() for key in self.declared}
        return target

    def _adopt_siblings(self) -> None:
        """Masks and batch indices named by a child are data of their own kind, whatever they were declared as."""
        for child in list(self.entries.values()):
            for option, kind in (("mask", PointMask), ("batch", BatchIndex)):
                key = getattr(child, option, None)
                if isinstance(key, (str, int)) and not isinstance(self.entries.get(key), kind):
                    self.entries = {**self.entries, key: kind(self.group)}
        lists = [key for key, child in self.entries.items() if isinstance(child, Edges)]
        for key, child in list(self.entries.items()):
            if lists and isinstance(child, Trivial) and "edge" in str(key) and child.edges is None and child.per_point is None:
                self.entries = {**self.entries, key: Trivial(self.group, edges=str(lists[0]))}

    def items(self) -> dict[Any, Action]:
        """The leaf actions; nested keys are joined by dots."""
        found: dict[Any, Action] = {}
        for key, child in self.entries.items():
            for sub, leaf in child.items().items():
                found[key if sub is None else f"{key}.{sub}"] = leaf
        return found

    def _open(self, x: Tree, name: str) -> dict[Any, Any]:
        """The entries of data, compared with the declared ones."""
        if not is_container(x):
            raise SignatureError(
                explain(
                    f"{name} is {describe(x)}",
                    f"a container with entries {list(self.entries)}",
                    f"return or pass one, or declare a single action instead of {type(self).__name__}",
                )
            )
        entries = {key: value for key, value in children(x).items() if value is not None or key in self.entries}
        missing = [key for key in self.entries if key not in entries]
        extra = [key for key in entries if key not in self.entries]
        if missing or extra:
            raise SignatureError(
                explain(
                    f"{name} has entries {list(entries)}"
                    + (f"; without an action: {extra}" if extra else "")
                    + (f"; missing: {missing}" if missing else ""),
                    f"exactly the declared entries {list(self.entries)}",
                    "declare an action for every entry (Trivial for invariant data, Ignore for the rest) and give every declared one",
                )
            )
        return entries

    def visit(self, x: Tree, function: Visit, name: str = "input") -> Tree:
        """Apply a function to every leaf, keep the container's type."""
        entries = self._open(x, name)
        moved = {
            key: None if value is None else visit(self.entries[key], value, function, f"{name}[{key!r}]") for key, value in entries.items()
        }
        return rebuild(x, {**children(x), **moved})

    def act(self, g: Tree, x: Tree, at: Layout | None = None) -> Tree:
        """Move every entry by the same element."""
        at = at or self.layout(x)
        return self.visit(x, lambda leaf, value, path: leaf.act(g, value, at))

    def take(self, x: Tree, samples: Tensor, at: Layout | None = None) -> Tree:
        """Pick samples of every entry."""
        at = at or self.layout(x)
        return self.visit(x, lambda leaf, value, path: leaf.take(value, samples, at))

    def layout(self, x: Tree) -> Layout:
        """Merge what the entries tell; a ragged batch index decides the number of samples."""
        sizes: list[tuple[str, Any]] = []
        found: list[tuple[Action, Layout]] = []

        def look(leaf: Action, value: Any, path: str) -> Any:
            if isinstance(value, Tensor) and value.dim():
                found.append((leaf, leaf.layout(value)))
            return value

        entries = self._open(x, "input")
        for key, value in entries.items():
            if value is None:
                continue
            start = len(found)
            visit(self.entries[key], value, look, str(key))
            sizes += [(str(key), layout.size) for _, layout in found[start:] if layout.size is not None]
        known = [layout for leaf, layout in sorted(found, key=lambda pair: not pair[0].moves)]
        merged = _merge(known, tuple(sizes))
        lists = [value for key, value in entries.items() if isinstance(self.entries[key], Edges) and value is not None]
        if merged.batch is None or not lists:
            return merged
        return replace(merged, edges=merged.batch[lists[0][0]])

    def check(self, x: Tree, name: str = "input") -> None:
        """Check every entry, and that they agree on the number of samples, device and dtype."""
        seen: dict[str, tuple[Action, Tensor]] = {}

        def look(leaf: Action, value: Any, path: str) -> Any:
            leaf.check(value, path)
            if isinstance(value, Tensor):
                seen[path] = (leaf, value)
            return value

        self.visit(x, look, name)
        check_ragged(seen)
        _check_together(seen, self.layout(x))

    def check_finite(self, x: Tree, name: str = "input") -> None:
        """Check every entry."""

        def look(leaf: Action, value: Any, path: str) -> Any:
            leaf.check_finite(value, path)
            if hasattr(leaf.core(), "check_inside"):
                leaf.core().check_inside(value, path, self.layout(x))  # type: ignore[attr-defined]
            return value

        self.visit(x, look, name)

    def resolve(self, x: Tree) -> Group:
        """The group with free sizes fixed by the first entry that knows."""
        group = self.group
        at = self.layout(x) if group.permutes and any(isinstance(child, Nodes) for child in self.entries.values()) else None
        if at is not None and at.batch is not None:
            return RaggedSymmetric(tuple(torch.bincount(at.batch, minlength=at.samples).tolist()))
        for key, value in self._open(x, "input").items():
            fixed = self.entries[key].resolve(value) if value is not None else group
            if fixed != group:
                return fixed
        return group


def _merge(known: list[Layout], sizes: tuple[tuple[str, Any], ...]) -> Layout:
    merged = Layout(samples=0)
    for layout in known:
        merged = layout.merge(merged) if merged.samples == 0 else merged.merge(layout)
    ragged = next((layout for layout in sorted(known, key=lambda one: one.single) if layout.batch is not None), None)
    if ragged is not None:
        merged = replace(merged, samples=ragged.samples, batch=ragged.batch, single=ragged.single, points=None)
    if sizes:
        merged = replace(merged, sizes=sizes)
    return merged


def _check_together(seen: dict[str, tuple[Action, Tensor]], at: Layout) -> None:
    """Refuse siblings on different devices, of different precision or of different lengths."""
    moved = {path: value for path, (leaf, value) in seen.items() if leaf.moves and value.is_floating_point()}
    for fact, word in (("device", "devices"), ("dtype", "dtypes")):
        pool = moved if fact == "dtype" else {path: value for path, (_, value) in seen.items() if value.dim()}
        if len({getattr(value, fact) for value in pool.values()}) > 1:
            raise InputError(
                explain(
                    f"mixed {word} { {path: str(getattr(value, fact)) for path, value in pool.items()} }",
                    f"one {fact} for all inputs",
                    f"move them with .to({fact}=…)",
                )
            )
    if at.mask is not None and at.points is not None and at.mask.shape[1] != at.points:
        raise InputError(
            explain(
                f"a mask of shape {tuple(at.mask.shape)} beside {at.points} points", f"(B, {at.points})", "give one entry per padded point"
            )
        )
    for path, (leaf, value) in seen.items():
        if leaf.moves and leaf.layout(value).samples and at.batch is None and value.shape[0] != at.samples:
            raise InputError(
                explain(
                    f"{path} is {describe(value)} in a batch of {at.samples} samples",
                    f"a first axis of length {at.samples}",
                    "give every input the same batch axis",
                )
            )
        if leaf.moves and at.batch is not None and leaf.layout(value).samples and value.shape[0] not in (at.samples, at.rows):
            raise InputError(
                explain(
                    f"{path} is {describe(value)} in a ragged batch of {at.rows} rows and {at.samples} samples",
                    "one entry per row or per sample",
                    "check the batch index",
                )
            )


class Dict(Branches):
    """Named inputs or outputs; as a source it is passed to the model by keyword.

    Example:
        >>> from coset import actions, groups
        >>> E3 = groups.Euclidean(3)
        >>> atoms = actions.Dict(pos=actions.Points(E3), charge=actions.Trivial(E3))
        >>> list(atoms.items())
        ['pos', 'charge']
    """

    def __init__(self, entries: Mapping[str, Action] | None = None, /, **named: Action):
        super().__init__({**(entries or {}), **named})

    def __repr__(self) -> str:
        return f"Dict({', '.join(f'{key}={child!r}' for key, child in self.entries.items())})"


class Tuple(Branches):
    """Positional inputs or outputs; as a source it is passed to the model by position.

    Example:
        >>> from coset import actions, groups
        >>> C4 = groups.Cyclic(4)
        >>> actions.Tuple(actions.Trivial(C4), actions.Vectors(C4)) >> actions.Trivial(C4)
        Tuple(Trivial(Cyclic(4)), Vectors(Cyclic(4))) >> Trivial(Cyclic(4))
    """

    def __init__(self, *entries: Action):
        super().__init__(dict(enumerate(entries)))

    def __repr__(self) -> str:
        return f"Tuple({', '.join(map(repr, self.entries.values()))})"


def _fits(target: Group, group: Group) -> bool:
    """Whether an action of ``group`` is one of ``target``: the same, or the same with a free number of points fixed."""
    if target == group:
        return True
    try:
        permutation = target.permutation(target.identity()) if target.permutes else None
    except GroupError:
        return False
    return permutation is not None and group.at(permutation.shape[-1]) == target


class Pullback(Action):
    """An action of H as an action of G, through a homomorphism G -> H.

    Example:
        >>> import torch
        >>> from coset import actions, groups
        >>> turn = groups.to_rotations(groups.Cyclic(4))
        >>> pulled = actions.Pullback(turn, actions.Vectors(turn.target))
        >>> pulled.act(torch.tensor([2]), torch.tensor([[1.0, 0.0]])).round().abs()
        tensor([[1., 0.]])
    """

    def __init__(self, homomorphism: Homomorphism, action: Action):
        if not _fits(homomorphism.target, action.group):
            raise SignatureError(
                explain(f"{homomorphism} and {action}", f"an action of {homomorphism.target}", "compose with the right homomorphism")
            )
        super().__init__(homomorphism.source)
        self.homomorphism, self.action = homomorphism, action
        self.exact, self.linear, self.moves = action.exact, action.linear, action.moves
        self.degree, self.event, self.per_point = action.degree, action.event, action.per_point
        self.averaged, self.polar, self.edges = action.averaged, action.polar, action.edges
        self.permuted = action.permuted if homomorphism.source.permutes else 0
        self.only_permuted = action.only_permuted
        self.moves = action.moves and (homomorphism.source.permutes or not action.only_permuted)
        self.affine = action.affine and homomorphism.source.translates

    def core(self) -> Action:
        """The action that is pulled back."""
        return self.action.core()

    def act(self, g: Tree, x: Tree, at: Layout | None = None) -> Tree:
        """Move by the image of g."""
        if not self.moves:
            return x
        exact = first(g)
        dtypes = [leaf.dtype for leaf in leaves(x) if leaf.is_floating_point()]
        integral = not (exact.is_floating_point() or exact.is_complex())
        return self.action.act(self.homomorphism(g, dtype=dtypes[0] if integral and dtypes else None), x, at)

    def point_axes(self, x: Tensor) -> tuple[int, ...]:
        """As the action that is pulled back, where the group still permutes."""
        return self.action.point_axes(x) if self.permuted else ()

    def shape_labels(self, g: Tree, x: Tree) -> Tensor | None:
        """As the action that is pulled back."""
        return self.action.shape_labels(self.homomorphism(g), x)

    def layout(self, x: Tree) -> Layout:
        """As the action that is pulled back."""
        return self.action.layout(x)

    def take(self, x: Tree, samples: Tensor, at: Layout | None = None) -> Tree:
        """As the action that is pulled back."""
        return self.action.take(x, samples, at)

    def check(self, x: Tree, name: str = "input") -> None:
        """As the action that is pulled back."""
        self.action.check(x, name)

    def check_finite(self, x: Tree, name: str = "input") -> None:
        """As the action that is pulled back."""
        self.action.check_finite(x, name)

    def items(self) -> dict[Any, Action]:
        """The pulled back leaves."""
        if self.action.items().keys() == {None}:
            return {None: self}
        return {key: Pullback(self.homomorphism, leaf) for key, leaf in self.action.items().items()}

    def __repr__(self) -> str:
        return f"Pullback({self.homomorphism!r}, {self.action!r})"


def flatten(action: Action, x: Tree) -> dict[Any, tuple[Action, Any]]:
    """Leaf actions with their data, by key (nested keys joined by dots), in declared order; a single leaf has the key None."""
    if isinstance(action, Pullback):
        return {key: (Pullback(action.homomorphism, leaf), value) for key, (leaf, value) in flatten(action.action, x).items()}
    if not isinstance(action, Branches):
        return {None: (action, x)}
    entries, found = action._open(x, "input"), {}
    for key, child in action.entries.items():
        for sub, pair in flatten(child, entries[key]).items():
            found[key if sub is None else f"{key}.{sub}"] = pair
    return found


def call(model: Callable[..., Any], source: Action, inputs: Tree) -> Any:
    """Call a model as its source says: a ``Dict`` by keyword, a ``Tuple`` by position, anything else as one argument."""
    kind = source.action if isinstance(source, Pullback) else source
    if isinstance(kind, Dict):
        return model(**inputs)
    return model(*inputs) if isinstance(kind, Tuple) else model(inputs)
