"""``fit``: train a canonicalizer for a predictor, frozen or not."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from ..actions.signature import Signature
from ..errors import InputError, explain
from ..frames.base import Frame
from ..symmetrized import Symmetrized
from . import distributed
from .loss import Loss
from .objective import Objective, Outcome, absent, read_batch, training
from .options import Fitted, Options
from .prior import IdentityPrior
from .progress import watched
from .state import State, samplers
from .step import Step

Validate = Callable[[Symmetrized], dict[str, float]]


def fit(
    canonicalizer: Frame,
    predictor: Callable[..., Any] | None,
    loader: Iterable[Any],
    *,
    signature: Signature,
    loss: Loss | Callable[[Step], Tensor] | None = None,
    options: Options | None = None,
    folder: str | Path | None = None,
    validate: Validate | None = None,
    device: torch.device | str | None = None,
    progress: bool | None = None,
) -> Fitted:
    """Train a canonicalizer so that a predictor sees inputs in the poses that it knows.

    The predictor is frozen and in eval mode, unless ``options.predictor_rate`` is positive. The canonicalizer that was trained is the one
    that was given (its network's parameters are shared), so it can be put around another predictor: ``coset.symmetrize(other, signature,
    canonicalizer)``, or :func:`save_weights` and :func:`load_weights`.

    With ``folder=`` a checkpoint is written after every epoch, and a call with the same arguments goes on where the last one was stopped;
    the result is the same bit by bit, provided that the loader's order depends on torch's, numpy's or Python's random numbers or on its
    own ``generator`` only. Under ``torchrun``, after ``torch.distributed.init_process_group``, gradients are averaged over processes.

    Args:
        canonicalizer: an unbound frame with parameters, such as ``frames.Canonicalizer(network)``.
        predictor: the model, called as the signature says; None where the loss is of priors only.
        loader: yields (inputs, targets), (inputs, targets, index), or mappings with these keys; gone through once per epoch.
        signature: ``source >> target``.
        loss: the identity prior when left out.
        options: numbers and factories.
        folder: for checkpoints; needs safetensors.
        validate: called with the model in eval mode after every epoch; what it returns is added to the history.
        device: where model and batches go; the device of the model when left out.
        progress: True for a bar, None for one on terminals only.

    Returns:
        The model and the history.

    Raises:
        InputError: for empty loaders, batches of other forms, losses that are not finite, not per sample or reach no weight that learns,
            predictors whose outputs change their structure, folders that cannot be written, damaged checkpoints and those of another fit.
        FrameError: when the canonicalizer is for another group.

    Reference: Mondal et al. 2023, arXiv 2310.01647.

    Example:
        >>> import torch
        >>> from coset import actions, adapt, frames, groups
        >>> G = groups.Cyclic(4)
        >>> class Scores(torch.nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.net = torch.nn.Linear(16, 1)
        ...     def forward(self, x, noise):
        ...         return torch.cat([self.net(torch.rot90(x, -k, (-2, -1)).flatten(1)) for k in range(4)], -1)
        >>> loader = [(torch.rand(8, 1, 4, 4) + torch.linspace(0, 3, 4)[:, None],)]
        >>> signature = actions.Image(G) >> actions.Trivial(G)
        >>> fitted = adapt.fit(frames.Canonicalizer(Scores()), None, loader, signature=signature, options=adapt.Options(epochs=2))
        >>> len(fitted.history), sorted(fitted.history[0])
        (2, ['IdentityPrior', 'loss'])
    """
    options = options or Options()
    model = Symmetrized(absent if predictor is None else predictor, signature, canonicalizer)
    if device is not None:
        model.to(device)
    place = torch.device(device) if device is not None else next((p.device for p in model.parameters()), torch.device("cpu"))
    objective = Objective(model, IdentityPrior() if loss is None else loss)
    with training(model, options.joint):
        state = State.new(objective, options, loader, place)
        done = state.resume(Path(folder)) if folder is not None else 0
        called = distributed.spread(objective, place)
        for epoch in range(done, options.epochs):
            row = _epoch(state, called, loader, epoch, place, progress)
            state.history.append(row | _validated(model, validate, row))
            if folder is not None:
                state.save(Path(folder))
    return Fitted(model.eval(), state.history, done)


def _epoch(state: State, called: nn.Module, loader: Any, epoch: int, device: torch.device, progress: bool | None) -> dict[str, float]:
    """One pass through the loader; the means over batches."""
    options, sums, count = state.options, None, 0
    for sampler in samplers(loader):
        if hasattr(sampler, "set_epoch"):
            sampler.set_epoch(epoch)
    for given in watched(loader, f"epoch {epoch + 1}/{options.epochs}", progress and distributed.rank() == 0):
        batch = read_batch(given, device)
        with torch.autocast(device.type, options.precision, enabled=options.precision is not None):
            outcome = called(batch.inputs, batch.targets, batch.index, options.generator)
        state.structure = _same(outcome.structure, state.structure)
        _finite(outcome, epoch)
        _advance(state, outcome.loss)
        row = {"loss": outcome.loss.detach(), **outcome.parts}
        values = torch.stack([value.to(torch.float64) for value in row.values()])
        sums, count = values if sums is None else sums + values, count + 1
    if sums is None:
        given = "no batches from the loader" + (f" in epoch {epoch + 1}: an iterator can be gone through only once" if epoch else "")
        raise InputError(explain(given, "at least one batch in every epoch", "pass a DataLoader or a list of batches"))
    _whole(state, epoch)
    means = dict(zip(row, (distributed.averaged(sums) / (count * distributed.world())).tolist(), strict=True))
    if isinstance(state.schedule, ReduceLROnPlateau):
        state.schedule.step(means["loss"])
    elif state.schedule is not None:
        state.schedule.step()
    return means


def _finite(outcome: Outcome, epoch: int) -> None:
    """Refuse a loss that is not finite, before it reaches the weights.

    Raises:
        InputError: with its parts.
    """
    if not bool(torch.isfinite(outcome.loss.detach())):
        parts = {name: float(value) for name, value in outcome.parts.items()}
        given = f"the loss {float(outcome.loss.detach())} with the parts {parts} in epoch {epoch + 1}"
        raise InputError(explain(given, "a finite loss", "look at the data, lower the learning rate, or pass Options(clip=1.0)"))


def _whole(state: State, epoch: int) -> None:
    """Refuse weights that are not finite, before they reach a checkpoint.

    Raises:
        InputError: where some are not.
    """
    weights = [p.detach() for group in state.optimizer.param_groups for p in group["params"]]
    if not bool(torch.stack([torch.isfinite(p).all() for p in weights]).all()):
        given = f"weights that are not finite after epoch {epoch + 1}, of a finite loss"
        raise InputError(explain(given, "finite gradients", "look for roots and divisions at zero in the loss, or lower the learning rate"))


def _advance(state: State, loss: Tensor) -> None:
    """One step of the optimizer.

    Raises:
        InputError: for losses that depend on no weight that learns.
    """
    state.optimizer.zero_grad(set_to_none=True)
    if not loss.requires_grad:
        given = f"the loss {state.objective.loss!r} without gradients"
        remedy = "add a prior, for instance adapt.IdentityPrior(); on continuous groups use frames.Canonicalizer, not frames.Minimize"
        raise InputError(explain(given, "a loss that reaches the canonicalizer", remedy))
    state.scaler.scale(loss).backward()
    learning = [p for group in state.optimizer.param_groups for p in group["params"]]
    if all(p.grad is None for p in learning):
        given = f"the loss {state.objective.loss!r}, whose gradient reaches none of the weights that learn"
        remedy = "give the loss and the frame the same energy, or add a prior, for instance adapt.IdentityPrior()"
        raise InputError(explain(given, "a loss that reaches the canonicalizer", remedy))
    if state.options.clip is not None:
        state.scaler.unscale_(state.optimizer)
        nn.utils.clip_grad_norm_(learning, state.options.clip)
    state.scaler.step(state.optimizer)
    state.scaler.update()


def _same(found: str | None, known: str | None) -> str | None:
    """The structure of outputs, which has to stay what it was.

    Raises:
        InputError: where it changed.
    """
    if known is not None and found is not None and found != known:
        raise InputError(
            explain(
                f"a predictor that returned {found} after {known}",
                "outputs of one structure",
                "make it return the same in every call, or wrap it and pick the part that the loss reads",
            )
        )
    return found or known


def _validated(model: Symmetrized, validate: Validate | None, row: dict[str, float]) -> dict[str, float]:
    """What the user measures, in eval mode and without gradients; the modes are as before afterwards.

    Raises:
        InputError: for anything but numbers by names that the history does not have yet.
    """
    if validate is None:
        return {}
    modes = {part: part.training for part in model.modules()}
    model.eval()
    try:
        with torch.no_grad():
            found = validate(model)
    finally:
        for part, mode in modes.items():
            part.training = mode
    if not isinstance(found, Mapping) or set(found) & set(row):
        given = f"{sorted(found) if isinstance(found, Mapping) else type(found).__name__} from validate"
        raise InputError(explain(given, f"numbers by names other than {sorted(row)}", 'return for instance {"accuracy": 0.9}'))
    return {name: float(value) for name, value in found.items()}
