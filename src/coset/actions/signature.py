"""The type of a map: ``source >> target``, two actions of one group."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import SignatureError, explain
from ..groups.base import Group
from .base import Action


@dataclass(frozen=True)
class Signature:
    """The type of a map between two kinds of data that one group moves.

    Example:
        >>> from coset import actions, groups
        >>> G = groups.Cyclic(4)
        >>> actions.Image(G) >> actions.Trivial(G)
        Image(Cyclic(4)) >> Trivial(Cyclic(4))
    """

    source: Action
    target: Action

    def __post_init__(self) -> None:
        for name, side in (("source", self.source), ("target", self.target)):
            if not isinstance(side, Action):
                raise SignatureError(
                    explain(
                        f"{side!r} as {name}", "an action", f"build one, for instance actions.Trivial(group), got {type(side).__name__}"
                    )
                )
        if isinstance(self.source.lonely(), str):
            raise SignatureError(
                explain(
                    f"the single source {self.source}, which names the sibling {self.source.lonely()!r}",
                    "a Dict that holds both",
                    f"declare actions.Dict(pos=…) and pass {self.source.lonely()} beside it",
                )
            )
        object.__setattr__(self, "target", self.target.as_target())
        if self.source.group != self.target.group:
            raise SignatureError(
                explain(
                    f"a source moved by {self.source.group} and a target moved by {self.target.group}",
                    "two actions of one group",
                    "build both actions with the same group, or Pullback one of them",
                )
            )

    @property
    def group(self) -> Group:
        """The group that moves both sides."""
        return self.source.group

    def __repr__(self) -> str:
        return f"{self.source!r} >> {self.target!r}"
