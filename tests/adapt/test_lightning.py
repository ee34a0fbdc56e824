"""The same parts inside Lightning: it ends where ``fit`` ends."""

from __future__ import annotations

import copy

import pytest
import torch

pytest.importorskip("lightning", reason="needs lightning, the extra 'train'")

import lightning

from coset import adapt, symmetrize
from coset.interop.lightning_ import Adaptation
from tests.adapt.parts import ADAM, CLASSES, tiny, tiny_data, tiny_predictor

LOSS = adapt.Task() + adapt.IdentityPrior()


def trainer(folder, epochs=3):
    return lightning.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        gradient_clip_val=1.0,
    )


@pytest.mark.parametrize("rate", [0.0, 0.1])
def test_lightning_ends_where_fit_ends(tmp_path, rate):
    schedule = lambda optimizer, epochs: torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)  # noqa: E731
    options = adapt.Options(epochs=3, optimizer=ADAM, clip=1.0, predictor_rate=rate, schedule=schedule)
    fitted = adapt.fit(tiny(), tiny_predictor(), tiny_data(), signature=CLASSES, loss=LOSS, options=options)
    predictor = tiny_predictor()
    before = copy.deepcopy(predictor.state_dict())
    module = Adaptation(symmetrize(predictor, CLASSES, tiny()), LOSS, options)
    loader = torch.utils.data.DataLoader(tiny_data(), batch_size=None)
    run = trainer(tmp_path)
    run.fit(module, loader)
    for key, value in fitted.model.state_dict().items():
        assert torch.allclose(module.model.state_dict()[key], value, atol=1e-6), key
    same = all(torch.equal(value, before[key]) for key, value in predictor.state_dict().items())
    assert same == (rate == 0.0)
    assert float(run.callback_metrics["loss"]) == pytest.approx(fitted.history[-1]["loss"], abs=1e-5)
    assert {"Task", "IdentityPrior"} <= set(run.callback_metrics)


def test_the_module_is_the_model():
    module = Adaptation(symmetrize(tiny_predictor(), CLASSES, tiny()), LOSS)
    x = torch.rand(3, 1, 4, 4)
    assert torch.equal(module.eval()(x), module.model(x))


def test_the_class_is_found_by_its_name_and_pickles():
    import pickle

    from coset.interop import lightning_

    assert lightning_.Adaptation is Adaptation
    assert pickle.loads(pickle.dumps(Adaptation)) is Adaptation
    assert issubclass(Adaptation, lightning.LightningModule)
