"""Data without a common pose: find one, by turns of assigning poses and training the canonicalizer on them."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..actions.signature import Signature
from ..errors import GroupError, InputError, explain
from ..frames.base import Frame
from .consistency import _chosen
from .fitting import fit
from .loss import Loss
from .objective import read_batch
from .options import Options
from .prior import checked_temperature, tempered
from .step import Step


class Assigned(Loss):
    """-log p(c'(x) | x) in nats: the pose that another canonicalizer c' assigns, without gradient.

    For an equivariant frame this is the identity prior on the data turned back by c'.

    Args:
        teacher: a bound frame of the same source on a finite group; a copy is made, which stays as it is and is called in eval mode.
        temperature: divides the frame's scores once more.

    Example:
        >>> from coset import actions, adapt, frames, groups
        >>> teacher = frames.Canonicalizer(lambda x, noise: x[:, 0, 0]).bind(actions.Image(groups.Cyclic(4)))
        >>> adapt.Assigned(teacher)
        Assigned(Canonicalizer(function))
    """

    references = ("mondal2023equivariant",)

    def __init__(self, teacher: Frame, temperature: float = 1.0):
        if not isinstance(teacher, Frame) or not teacher.group.finite:
            raise GroupError(explain(f"Assigned({teacher!r})", "a bound frame on a finite group", "pass frame.bind(source)"))
        self.teacher, self.temperature = copy.deepcopy(teacher).eval(), checked_temperature("Assigned", temperature)

    def __call__(self, step: Step) -> Tensor:
        """(B,) nats."""
        with torch.no_grad():
            index = step.group.index(_chosen(self.teacher(step.inputs)))
        found = tempered(step.log_probabilities, self.temperature)
        return -found.gather(1, index.to(found.device)[:, None])[:, 0]

    def __repr__(self) -> str:
        return f"Assigned({self.teacher!r})"


@dataclass(frozen=True)
class Round:
    """What one round of :func:`realign` did.

    Attributes:
        loss: the mean of -log p of the assigned poses at the end of the round, in nats.
        changed: the share of samples whose pose the round changed.
    """

    loss: float
    changed: float


def realign(
    canonicalizer: Frame,
    loader: Iterable[Any],
    *,
    signature: Signature,
    rounds: int = 10,
    options: Options | None = None,
    fresh: bool = True,
    tol: float = 0.01,
) -> list[Round]:
    """Train a canonicalizer on data that has no common pose, so that alike inputs come out alike.

    A hard expectation maximization: every round assigns to each sample the pose that the canonicalizer of the round before chooses, then
    trains on these poses. A network cannot learn poses that differ between alike samples, so it learns the most common one, and the next
    assignment is more consistent. Poses are common to what the network sees as alike (for instance a class), not to all data. With
    ``fresh=True`` every round trains from the weights that were given, so that what was learned by heart is forgotten.

    Args:
        canonicalizer: an unbound frame on a finite group, trained in place.
        loader: yields batches, gone through once per epoch and twice per round; targets are not read.
        signature: ``source >> target``; the source is what matters.
        rounds: the largest number of rounds.
        options: of each round's training.
        fresh: whether a round starts from the weights that were given.
        tol: stop when fewer samples than this share change their pose in a round.

    Returns:
        What each round did.

    Raises:
        GroupError: for groups that cannot be listed.
        InputError: for numbers of rounds that are not positive.

    Reference: Mondal et al. 2023, arXiv 2310.01647 (data without a common pose); the alternation as in expectation maximization.

    Example:
        >>> import torch
        >>> from coset import actions, adapt, frames, groups
        >>> G = groups.Cyclic(4)
        >>> net = torch.nn.Linear(16, 1)
        >>> scores = torch.nn.Module()
        >>> scores.net, scores.forward = net, lambda x, noise: torch.cat(
        ...     [net(torch.rot90(x, -k, (-2, -1)).flatten(1)) for k in range(4)], -1
        ... )
        >>> signature = actions.Image(G) >> actions.Trivial(G)
        >>> len(adapt.realign(frames.Canonicalizer(scores), [torch.rand(8, 1, 4, 4)], signature=signature, rounds=1))
        1
    """
    if not isinstance(rounds, int) or rounds < 1:
        raise InputError(explain(f"rounds={rounds!r}", "a positive number of rounds", "pass rounds=10"))
    own = canonicalizer.bind(signature.source, signature.target)
    start = {key: value.clone() for key, value in canonicalizer.state_dict().items()}
    found: list[Round] = []
    for _ in range(rounds):
        loss = Assigned(own)
        if fresh:
            canonicalizer.load_state_dict(start)
        fitted = fit(canonicalizer, None, loader, signature=signature, loss=loss, options=options)
        found.append(Round(fitted.history[-1]["loss"], _changed(loss.teacher, fitted.model.frame, loader)))
        if found[-1].changed < tol:
            break
    return found


@torch.no_grad()
def _changed(before: Frame, after: Frame, loader: Iterable[Any]) -> float:
    """The share of samples to which two frames assign different poses."""
    group: Any = after.group
    device = next((p.device for p in after.parameters()), None)
    different = [
        group.index(_chosen(before(batch.inputs))) != group.index(_chosen(after(batch.inputs)))
        for batch in (read_batch(given, device) for given in loader)
    ]
    if not different:
        given = "no batches from the loader after training: an iterator can be gone through only once"
        raise InputError(explain(given, "a loader that can be gone through again", "pass a DataLoader or a list of batches"))
    return float(torch.cat(different).to(torch.float32).mean())
