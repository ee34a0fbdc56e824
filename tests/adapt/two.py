"""Run by torchrun: fits on two processes, each with half of every batch; every process writes what it found.

torchrun --nproc-per-node 2 two.py RESULT FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import distributed

from coset import adapt
from tests.adapt.parts import ADAM, CLASSES, tiny, tiny_data, tiny_predictor


class Stopped(Exception):
    """Stands for whatever ends a run."""


def train(loader, folder=None, more=None, seed=0):
    """The same fit on one process or on several."""
    frame, predictor = tiny(), tiny_predictor()
    torch.manual_seed(seed)
    options = adapt.Options(epochs=3, optimizer=ADAM, predictor_rate=0.1, clip=1.0)
    loss = adapt.Task() + 0.5 * adapt.IdentityPrior()
    loss = loss if more is None else loss + 0.1 * adapt.Function(more)
    return adapt.fit(frame, predictor, loader, signature=CLASSES, loss=loss, options=options, folder=folder, progress=False)


def noisy(loader, folder, seed, last=None):
    """A fit whose loss draws random numbers, other ones in each process; it stops after some batches."""
    calls = [0]

    def noise(step):
        calls[0] += 1
        if last is not None and calls[0] > last:
            raise Stopped
        return step.score("entropy") * torch.rand(step.samples)

    return train(loader, folder, noise, seed)


def resumed(loader, folder, rank):
    """Whether a stopped fit ends bit by bit where an uninterrupted one ends, and how many epochs it did not do again."""
    whole = noisy(loader, folder / "whole", rank)
    try:
        noisy(loader, folder / "cut", rank, last=2 * len(loader) + 1)
    except Stopped:
        rest = noisy(loader, folder / "cut", 100 + rank)
    weights = rest.model.state_dict()
    same = all(torch.equal(value, weights[key]) for key, value in whole.model.state_dict().items())
    return {"same": same and whole.history == rest.history, "resumed": rest.resumed, "random": torch.rand(1)}


def main(result: str, folder: str) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo")
    rank = distributed.get_rank()
    mine = [(x[rank::2], y[rank::2]) for x, y in tiny_data()]
    fitted = train(mine, folder)
    again = resumed(mine, Path(folder).parent / "noisy", rank)
    torch.save({"weights": fitted.model.state_dict(), "history": fitted.history, **again}, f"{result}.{rank}")
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
