"""Trained MobileNets as models of transformers, from the converted TensorFlow Lite files under ``COSET_DATA``."""

from __future__ import annotations

from pathlib import Path

import torch
from _tflite import Network, convolutions, fill
from torch import Tensor, nn
from transformers import (
    MobileNetV1Config,
    MobileNetV1ForImageClassification,
    MobileNetV2Config,
    MobileNetV2ForImageClassification,
)

CHECKPOINTS = {
    "MobileNetV1 0.25, 128": "mobilenet_v1_0.25_128_quant",
    "MobileNetV1 0.5, 160": "mobilenet_v1_0.5_160_quant",
    "MobileNetV1 0.75, 192": "mobilenet_v1_0.75_192_quant",
    "MobileNetV2 1.0, 224": "mobilenet_v2_1.0_224_quant",
}
"""The files by the names of their rows."""
CLASSES = 1001
"""1,000 classes of ImageNet after the background at 0."""


def mobilenet(folder: Path, name: str) -> nn.Module:
    """A trained model in eval mode; it takes ``pixel_values`` (B, 3, size, size) in -1 ... 1, size as ``model.config.image_size``.

    Args:
        folder: the folder ``tflite_mobilenets``.
        name: a key of ``CHECKPOINTS``.
    """
    network = Network.read(folder, CHECKPOINTS[name])
    depth = float(name.split()[1].rstrip(","))
    kind, config = (
        (MobileNetV1ForImageClassification, MobileNetV1Config) if "V1" in name else (MobileNetV2ForImageClassification, MobileNetV2Config)
    )
    model = kind(config(num_labels=CLASSES, depth_multiplier=depth, image_size=network.size, tf_padding=True))
    *inside, last = network.layers
    fill(model, [network.weights[k] for k in inside], [network.biases[k] for k in inside], convolutions(model))
    with torch.no_grad():
        model.classifier.weight.copy_(network.weights[last].flatten(1))
        model.classifier.bias.copy_(network.biases[last])
    return model.eval()


def saved(folder: Path, name: str, out: Path) -> nn.Module:
    """The same, written as a checkpoint of transformers and read back by ``from_pretrained``."""
    model = mobilenet(folder, name)
    path = out / CHECKPOINTS[name]
    model.save_pretrained(path)
    return type(model).from_pretrained(path, local_files_only=True).eval()


def scaled(images: Tensor) -> Tensor:
    """Bytes as numbers in -1 ... 1."""
    return (images.float() - 128) / 128
