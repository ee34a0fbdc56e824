"""Converted networks as models of transformers say what the operations of their files say, one by one."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("transformers")
sys.path.append(str(Path(__file__).parents[2] / "experiments"))

from _deeplab import CHECKPOINT, deeplab
from _imagenet import halves
from _mobilenets import CHECKPOINTS, mobilenet, saved
from _tflite import Network, evaluate, same_padding


def folder(name):
    """A folder of the data; the test is skipped without it."""
    path = Path(os.environ.get("COSET_DATA", ""), name)
    if "COSET_DATA" not in os.environ or not path.exists():
        pytest.skip(f"{name} not found: set COSET_DATA to the folder that holds it")
    return path


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_mobilenets(name, generator):
    weights = folder("tflite_mobilenets")
    model, network = mobilenet(weights, name), Network.read(weights, CHECKPOINTS[name])
    size = 96  # odd and even sizes inside
    x = 2 * torch.rand(1, 3, size, size, generator=generator) - 1
    with torch.no_grad():
        found, expected = model(pixel_values=x).logits, evaluate(network, x)
    assert float((found - expected).abs().max() / expected.abs().max()) < 1e-5
    with torch.no_grad():  # the check sees one wrong bias
        next(part for part in model.modules() if isinstance(part, torch.nn.BatchNorm2d)).bias += 0.5
        assert float((model(pixel_values=x).logits - expected).abs().max() / expected.abs().max()) > 1e-4


def test_saved_models_are_read_back(tmp_path):
    name = "MobileNetV1 0.25, 128"
    model, again = mobilenet(folder("tflite_mobilenets"), name), saved(folder("tflite_mobilenets"), name, tmp_path)
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in model.state_dict().items())


def test_deeplab(generator):
    weights = folder("deeplab")
    model, network = deeplab(weights), Network.read(weights, CHECKPOINT)
    x = 2 * torch.rand(1, 3, 513, 513, generator=generator) - 1
    with torch.no_grad():
        found, expected = model(pixel_values=x).logits, evaluate(network, x, "ARG_MAX")
        found = torch.nn.functional.interpolate(found, (513, 513), mode="bilinear", align_corners=True)
    assert float((found - expected).abs().max() / expected.abs().max()) < 1e-5


def test_padding_is_tensorflows():
    assert same_padding(torch.zeros(1, 1, 224, 224), 3, 2, 1).shape[-2:] == (225, 225)
    assert same_padding(torch.zeros(1, 1, 513, 513), 3, 2, 1).shape[-2:] == (515, 515)
    assert same_padding(torch.ones(1, 1, 4, 4), 3, 2, 1)[0, 0, 0, 0] == 1  # at the bottom and the right first


def test_halves_are_fixed():
    train, test = halves(1000)
    assert sorted(torch.cat([train, test]).tolist()) == list(range(1000))
    assert train[:3].tolist() == halves(1000)[0][:3].tolist()
