"""Runs of many rows: a queue of processes, checkpoints written at once or not at all, trainings that a killed run continues identically."""

from __future__ import annotations

import abc
import copy
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import nn


def queue(script: str, jobs: Iterable[tuple[str, int]], out: Path, workers: int, options: list[str]) -> None:
    """Run ``script --row NAME --seed SEED --out OUT`` for every job, some at a time, each with one thread and a log of its own."""
    out.mkdir(parents=True, exist_ok=True)

    def work(job: tuple[str, int]) -> str:
        name, seed = job
        command = [sys.executable, script, "--row", name, "--seed", str(seed), "--out", str(out), *options]
        with (out / f"{name}-{seed}.log").open("a") as log:
            code = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, env={**os.environ, "OMP_NUM_THREADS": "1"}).returncode
        return f"{name} {seed}: {'done' if code == 0 else f'stopped with {code}'}"

    with ThreadPoolExecutor(workers) as pool:
        for line in pool.map(work, jobs):
            print(line, flush=True)


def path_of(name: str, seed: int, out: Path) -> Path:
    """The checkpoint of a row."""
    return out / f"{name}-{seed}.pt"


def save(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint at once or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f".{os.getpid()}.part")
    torch.save(state, part)
    os.replace(part, path)


class Resumable(abc.ABC):
    """Abstract: a training whose state is networks, an optimizer, generators, the best networks so far and a learning curve.

    Attributes:
        plan: with ``epochs`` and ``check``, the epochs between validations, which are also the checkpoints.
        parts: the networks.
        optimizer: of their parameters.
        generator: of its own randomness, beside torch's global one; None for none.
        curve: (epoch, training loss, validation loss, ...) of every validation.
    """

    clock: ClassVar[Callable[[], float]] = time.process_time
    plan: Any
    parts: nn.ModuleDict
    optimizer: torch.optim.Optimizer
    generator: torch.Generator | None = None

    def start(self) -> None:
        """Nothing done yet."""
        self.epoch, self.seconds, self.best = 0, 0.0, math.inf
        self.chosen: dict[str, Any] = {}
        self.curve: list[tuple[float, ...]] = []

    @abc.abstractmethod
    def one_pass(self) -> float:
        """One pass over the training set; the mean loss."""

    @abc.abstractmethod
    def validate(self) -> tuple[float, ...]:
        """The validation loss, which chooses the networks, and more facts for the curve."""

    @abc.abstractmethod
    def mark(self) -> dict[str, Any]:
        """What a checkpoint must agree on to be continued."""

    def run(self, path: Path | None, stop: int | None = None, log: Callable[[str], None] = print) -> Self:
        """Train to the end of the plan (or to epoch ``stop``) from the checkpoint at ``path``, where there is one."""
        if path is not None and path.exists():
            self.restore(torch.load(path, weights_only=True))
        while self.epoch < (self.plan.epochs if stop is None else stop):
            start = type(self).clock()
            loss = self.one_pass()
            self.seconds += type(self).clock() - start
            self.epoch += 1
            if self.epoch % self.plan.check == 0 or self.epoch == self.plan.epochs:
                found = self.validate()
                self.curve.append((self.epoch, loss, *found))
                if found[0] < self.best:
                    self.best, self.chosen = found[0], copy.deepcopy(self.parts.state_dict())
                valid = ", ".join(f"{one:.5g}" for one in found)
                log(f"epoch {self.epoch}: train {loss:.5f}, valid {valid}, {self.seconds / self.epoch:.3f} s an epoch")
                if path is not None:
                    save(path, self.state())
        return self

    def state(self) -> dict[str, Any]:
        """Everything that a continuation needs."""
        own = () if self.generator is None else (self.generator.get_state(),)
        random = torch.get_rng_state()
        found = {key: getattr(self, key) for key in ("chosen", "best", "epoch", "seconds", "curve")}
        networks = {"parts": self.parts.state_dict(), "optimizer": self.optimizer.state_dict()}
        return {**found, **networks, "random": (random, *own) if own else random, **self.mark()}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint of the same plan."""
        for key, value in self.mark().items():
            if state[key] != value:
                raise SystemExit(f"the checkpoint is one of another plan ({key} {state[key]}, not {value}); remove it")
        self.parts.load_state_dict(state["parts"])
        self.optimizer.load_state_dict(state["optimizer"])
        random = state["random"]
        if self.generator is not None:
            random, own = random
            self.generator.set_state(own)
        torch.set_rng_state(random)
        self.epoch, self.seconds, self.best, self.chosen = (state[key] for key in ("epoch", "seconds", "best", "chosen"))
        self.curve = [tuple(one) for one in state["curve"]]


def check_halves(make: Callable[[], Resumable], path: Path) -> None:
    """A run in two halves ends where a run in one piece ends."""

    def silent(line: str) -> None:
        pass

    whole = make().run(None, log=silent)
    make().run(path, stop=1, log=silent)
    again = make().run(path, log=silent)
    gap = max(float((a - b).detach().abs().max()) for a, b in zip(whole.parts.parameters(), again.parts.parameters(), strict=True))
    print(f"a run in two halves ends {gap:.1g} away from a run in one piece")
    if gap:
        raise SystemExit("a continued run differs")
