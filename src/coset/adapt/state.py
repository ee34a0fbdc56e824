"""All that a fit changes while it runs, so that it can be written down and taken up again, bit by bit."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from ..errors import InputError, explain
from . import checkpoint, distributed
from .objective import Objective
from .options import Options, make_optimizer


@dataclass
class State:
    """The moving parts of a fit.

    Attributes:
        objective: model and loss.
        options: how to train.
        optimizer: built from the options.
        schedule: built from the options.
        scaler: of gradients in float16.
        generators: random generators of losses and of the loader.
        settings: the hyperparameters before the first step, for checkpoints.
        history: the rows of the epochs that are done.
        structure: the form of the predictor's outputs, once seen.
    """

    objective: Objective
    options: Options
    optimizer: Optimizer
    schedule: LRScheduler | None
    scaler: torch.amp.GradScaler
    generators: list[torch.Generator]
    settings: dict[str, Any]
    history: list[dict[str, float]] = field(default_factory=list)
    structure: str | None = None

    @classmethod
    def new(cls, objective: Objective, options: Options, loader: Any, device: torch.device) -> State:
        """The state before the first epoch.

        Raises:
            InputError: where there is nothing to train.
        """
        optimizer = make_optimizer(objective.model, options)
        found = settings(optimizer, options)
        schedule = options.schedule(optimizer, options.epochs) if options.schedule is not None else None
        if schedule is not None:
            known = checkpoint.plain(schedule.state_dict())
            found |= {"schedule": type(schedule).__name__} | {f"{key} of the schedule": repr(value) for key, value in known.items()}
        scaler = torch.amp.GradScaler(device.type, enabled=options.precision == torch.float16 and device.type == "cuda")
        return cls(objective, options, optimizer, schedule, scaler, generators(options, loader), found)

    def trained(self) -> nn.Module:
        """What checkpoints hold: the frame, and the predictor if it learns."""
        return self.objective.model if self.options.joint else self.objective.model.frame

    def about(self) -> dict[str, Any]:
        """What a checkpoint of this fit says of itself."""
        model = self.objective.model
        found = {
            "signature": repr(model.signature),
            "canonicalizer": f"{model.frame!r} {checkpoint.form(model.frame)}",
            "predictor": checkpoint.form(model.model) + ("" if self.options.joint else f" {self._predictor}"),
            "loss": repr(self.objective.loss),
        }
        known = {key: without_addresses(str(value)) for key, value in (found | self.settings).items()}
        return known | {"processes": distributed.world()}

    @property
    def _predictor(self) -> str:
        """A digest of the frozen predictor's weights, taken once."""
        if not hasattr(self, "_digest"):
            self._digest = checkpoint.values(self.objective.model.model)
        return self._digest

    def save(self, folder: Path) -> None:
        """Write a checkpoint; one process writes, all wait."""
        every = distributed.gathered(random_states(self.generators))
        if distributed.rank() == 0:
            state = {
                "optimizer": self.optimizer.state_dict(),
                "schedule": None if self.schedule is None else self.schedule.state_dict(),
                "scaler": self.scaler.state_dict(),
                "random": every,
                "history": self.history,
            }
            checkpoint.save(folder, len(self.history), self.trained().state_dict(), state, self.about())
        distributed.wait()

    def resume(self, folder: Path) -> int:
        """Take up a checkpoint where there is one; the number of epochs that it has.

        Raises:
            InputError: for damaged checkpoints, those of another fit, and those that only some of several processes see.
        """
        if distributed.rank() == 0:
            checkpoint.check_folder(folder)
        found = checkpoint.load(folder, self.about())
        epochs = 0 if found is None else found.epochs
        seen = distributed.gathered(epochs)
        if len(set(seen)) > 1:
            given = f"processes that find checkpoints of {seen} epochs in {folder}"
            raise InputError(explain(given, "one folder for all processes", "put it on a file system that they share"))
        if epochs > self.options.epochs:
            given = f"a checkpoint of {epochs} epochs in {folder} for Options(epochs={self.options.epochs})"
            raise InputError(explain(given, "no more epochs than were asked for", f"pass epochs={epochs}, or use another folder"))
        if found is None:
            return 0
        checkpoint.put_weights(self.trained(), found.weights, f"of {folder}")
        self.optimizer.load_state_dict(found.state["optimizer"])
        if self.schedule is not None and found.state["schedule"] is not None:
            self.schedule.load_state_dict(found.state["schedule"])
        self.scaler.load_state_dict(found.state["scaler"])
        self.history = list(found.state["history"])
        restore(found.state["random"][distributed.rank()], self.generators)
        return found.epochs


def settings(optimizer: Optimizer, options: Options) -> dict[str, Any]:
    """The hyperparameters of a fit in words, before a schedule changes them."""
    found = {"optimizer": type(optimizer).__name__, "clip": options.clip, "precision": options.precision}
    for number, group in enumerate(optimizer.param_groups):
        found |= {f"{key} of group {number}": checkpoint.plain(value) for key, value in group.items() if key != "params"}
    return found


def without_addresses(words: str) -> str:
    """Words that are the same in every process."""
    return re.sub(r" at 0x[0-9a-f]+", "", words)


def generators(options: Options, loader: Any) -> list[torch.Generator]:
    """The generators of the losses, the loader and its sampler, each once."""
    found = [options.generator, *(getattr(one, "generator", None) for one in (loader, *samplers(loader)))]
    return list({id(one): one for one in found if isinstance(one, torch.Generator)}.values())


def samplers(loader: Any) -> list[Any]:
    """The samplers of a loader: its own, and the one inside its sampler of batches."""
    several = getattr(loader, "batch_sampler", None)
    return [one for one in (getattr(loader, "sampler", None), several, getattr(several, "sampler", None)) if one is not None]


def random_states(own: list[torch.Generator]) -> dict[str, Any]:
    """The states of Python's, numpy's and torch's random numbers, and of given generators."""
    name, keys, *rest = np.random.get_state()
    return {
        "python": random.getstate(),
        "numpy": [name, torch.from_numpy(np.asarray(keys).astype(np.int64)), *rest],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "generators": [one.get_state() for one in own],
    }


def restore(states: dict[str, Any], own: list[torch.Generator]) -> None:
    """Take up the states that :func:`random_states` found."""
    random.setstate(states["python"])
    name, keys, *rest = states["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(states["torch"])
    if states["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(states["cuda"])
    for one, state in zip(own, states["generators"], strict=False):
        one.set_state(state)
