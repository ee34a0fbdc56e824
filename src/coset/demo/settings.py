"""How large the demonstration is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """Sizes, and the seed that everything follows from.

    Attributes:
        seed: of the weights, the split of the digits and the group elements of the audits.
        molecules: how many of the 162 molecules; every k-th is taken when fewer.
        elements: group elements per molecule in the audits of frames that call the model a few times.
        few: the same where every element costs 24 or 60 model calls.
        wide: molecules in the audits under a larger group than the frame's, and in the curves.
        train: digits to train on; the rest, at most ``test``, is the test set.
        test: the largest number of test digits.
        audited: test digits in the audits.
        steps: training steps of every network, of 64 digits each.
        rounds: timed calls of a model and of its symmetrization, in turns.
    """

    seed: int = 0
    molecules: int = 162
    elements: int = 8
    few: int = 3
    wide: int = 24
    train: int = 1200
    test: int = 597
    audited: int = 128
    steps: int = 300
    rounds: int = 5

    @classmethod
    def small(cls, seed: int = 0) -> Settings:
        """A few seconds' worth, for tests."""
        return cls(seed, molecules=41, elements=2, few=1, wide=3, train=600, test=150, audited=16, steps=120, rounds=3)
