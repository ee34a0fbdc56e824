"""Adaptation inside Lightning: the objective of ``coset.adapt`` as a LightningModule."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from .. import Symmetrized
from ..adapt import Loss, Objective, Options, make_optimizer, read_batch, training_mode
from ..errors import require_extra
from ..tree import first

try:
    from lightning import LightningModule
except ImportError as error:
    raise require_extra("lightning", "train") from error

__all__ = ["Adaptation"]


class Adaptation(LightningModule):
    """Train the canonicalizer of a symmetrized model with Lightning's ``Trainer``.

    Batches are what :func:`coset.adapt.fit` takes. Precision, clipping, devices, epochs and checkpoints are the Trainer's; of the options
    only the optimizer, the schedule, the predictor's rate and the generator are read. A predictor that does not learn is frozen and in
    eval mode.
    Logged: ``loss`` and the parts of the loss by name.

    Args:
        model: the canonicalizer around the predictor.
        loss: as for :func:`coset.adapt.fit`.
        options: as for :func:`coset.adapt.fit`.

    Example:
        >>> from coset.interop.lightning_ import Adaptation  # doctest: +SKIP
        >>> lightning.Trainer(max_epochs=5).fit(Adaptation(model, adapt.Task() + adapt.IdentityPrior()), loader)  # doctest: +SKIP
    """

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
        """Freeze a predictor that does not learn (Lightning has put everything into training mode)."""
        training_mode(self.model, self.options.joint)

    def training_step(self, batch: Any, number: int) -> Tensor:
        """The loss of a batch."""
        given = read_batch(batch)
        outcome = self.objective(given.inputs, given.targets, given.index, self.options.generator)
        self.log_dict({"loss": outcome.loss.detach(), **outcome.parts}, on_step=False, on_epoch=True, batch_size=_size(given.inputs))
        return outcome.loss

    def configure_optimizers(self) -> Any:
        """The optimizer, with a schedule by epochs where the options have one."""
        training_mode(self.model, self.options.joint)
        optimizer: Optimizer = make_optimizer(self.model, self.options)
        if self.options.schedule is None:
            return optimizer
        return [optimizer], [self.options.schedule(optimizer, int(self.trainer.max_epochs or self.options.epochs))]


def _size(inputs: Any) -> int:
    """The number of samples of the first tensor."""
    return int(first(inputs).shape[0])
