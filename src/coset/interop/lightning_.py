"""Adaptation inside Lightning: the objective of ``coset.adapt`` as a LightningModule, ``coset.interop.lightning_.Adaptation``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor

from .. import Symmetrized
from ..adapt import Loss, Objective, Options, make_optimizer, read_batch, training_mode
from ..errors import require_extra
from ..tree import first

if TYPE_CHECKING:
    Adaptation: Any

__all__ = ["Adaptation"]


class Adapting:
    """Train the canonicalizer of a symmetrized model with Lightning's ``Trainer``.

    Batches are what :func:`coset.adapt.fit` takes. Precision, clipping, devices, epochs and checkpoints are the Trainer's; of the options
    only the optimizer, the schedule, the predictor's rate and the generator are read. A predictor that does not learn is frozen and in
    eval mode. Logged: ``loss`` and the parts of the loss by name.

    ``Adaptation`` is this class on top of ``lightning.LightningModule``, which is imported when ``Adaptation`` is asked for.

    Args:
        model: the canonicalizer around the predictor.
        loss: as for :func:`coset.adapt.fit`.
        options: as for :func:`coset.adapt.fit`.

    Raises:
        MissingExtraError: when lightning is not installed.

    Example:
        >>> from coset.interop.lightning_ import Adaptation  # doctest: +SKIP
        >>> lightning.Trainer(max_epochs=5).fit(Adaptation(model, adapt.Task() + adapt.IdentityPrior()), loader)  # doctest: +SKIP
    """

    if TYPE_CHECKING:
        log_dict: Any
        trainer: Any

    def __init__(self, model: Symmetrized, loss: Loss, options: Options | None = None):
        super().__init__()
        self.objective, self.options = Objective(model, loss), options or Options()

    @property
    def model(self) -> Symmetrized:
        """The symmetrized model."""
        return self.objective.model

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The symmetrized model's outputs."""
        return self.model(*args, **kwargs)

    def on_train_epoch_start(self) -> None:
        """Freeze a predictor that does not learn."""
        training_mode(self.model, self.options.joint)

    def training_step(self, batch: Any, number: int) -> Tensor:
        """The loss of a batch."""
        given = read_batch(batch)
        outcome = self.objective(given.inputs, given.targets, given.index, self.options.generator)
        found = {"loss": outcome.loss.detach(), **outcome.parts}
        self.log_dict(found, on_step=False, on_epoch=True, batch_size=int(first(given.inputs).shape[0]))
        return outcome.loss

    def configure_optimizers(self) -> Any:
        """The optimizer, with a schedule by epochs where the options have one."""
        training_mode(self.model, self.options.joint)
        optimizer = make_optimizer(self.model, self.options)
        if self.options.schedule is None:
            return optimizer
        return [optimizer], [self.options.schedule(optimizer, int(self.trainer.max_epochs or self.options.epochs))]


def __getattr__(name: str) -> Any:
    """Build ``Adaptation`` when it is asked for: importing this module does not import lightning."""
    if name != "Adaptation":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        from lightning import LightningModule
    except ImportError as error:
        raise require_extra("lightning", "train") from error
    found = type(name, (Adapting, LightningModule), {"__module__": __name__, "__doc__": Adapting.__doc__})
    globals()[name] = found
    return found
