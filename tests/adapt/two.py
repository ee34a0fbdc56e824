"""Run by torchrun: one fit on two processes, each with half of every batch; every process writes its parameters.

torchrun --nproc-per-node 2 two.py RESULT FOLDER
"""

from __future__ import annotations

import sys

import torch
from torch import distributed

from coset import adapt
from tests.adapt.parts import ADAM, CLASSES, tiny, tiny_data, tiny_predictor


def train(loader, folder=None):
    """The same fit on one process or on several."""
    options = adapt.Options(epochs=3, optimizer=ADAM, predictor_rate=0.1, clip=1.0)
    loss = adapt.Task() + 0.5 * adapt.IdentityPrior()
    return adapt.fit(tiny(), tiny_predictor(), loader, signature=CLASSES, loss=loss, options=options, folder=folder, progress=False)


def main(result: str, folder: str) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo")
    rank = distributed.get_rank()
    mine = [(x[rank::2], y[rank::2]) for x, y in tiny_data()]
    fitted = train(mine, folder)
    torch.save({"weights": fitted.model.state_dict(), "history": fitted.history}, f"{result}.{rank}")
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
