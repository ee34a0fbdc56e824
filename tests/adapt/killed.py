"""Run as a program: fit with checkpoints, and die in the middle of an epoch when told to.

python killed.py FOLDER RESULT [EPOCH BATCH]
"""

from __future__ import annotations

import os
import signal
import sys
from functools import partial

import torch
from torch import nn

from coset import actions, adapt, frames, groups


class Scores(nn.Module):
    """Energies of four turns, with dropout, so that random numbers matter."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 1))

    def forward(self, x, noise):
        return torch.cat([self.net(torch.rot90(x, -k, (-2, -1))) for k in range(4)], -1)


def main(folder: str, result: str, epoch: int = -1, batch: int = -1) -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    x = torch.rand(48, 1, 4, 4) + torch.linspace(0, 1, 4)[:, None]
    y = torch.randint(0, 5, (48,))
    canonicalizer, predictor = frames.Canonicalizer(Scores()), nn.Sequential(nn.Flatten(), nn.Dropout(0.2), nn.Linear(16, 5))
    calls = [0]

    def die(step):
        """Kill the process in the given batch of the given epoch, without any chance to clean up."""
        calls[0] += 1
        if epoch >= 0 and calls[0] == epoch * 6 + batch + 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return step.score("entropy")

    c4 = groups.Cyclic(4)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), 8, shuffle=True)
    options = adapt.Options(
        epochs=5,
        optimizer=partial(torch.optim.AdamW, lr=1e-2),
        schedule=lambda optimizer, epochs: torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs),
        predictor_rate=0.5,
        clip=1.0,
        generator=torch.Generator().manual_seed(7),
    )
    loss = adapt.Task() + 0.3 * adapt.IdentityPrior() + 0.01 * adapt.Function(die)
    signature = actions.Image(c4) >> actions.Trivial(c4)
    fitted = adapt.fit(canonicalizer, predictor, loader, signature=signature, loss=loss, options=options, folder=folder, progress=False)
    torch.save(
        {"weights": fitted.model.state_dict(), "history": fitted.history, "resumed": fitted.resumed, "random": torch.rand(3)}, result
    )


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:]))
