"""The trained DeepLabV3 with MobileNetV2 (0.5) as a model of transformers, from the converted file under ``COSET_DATA``."""

from __future__ import annotations

from pathlib import Path

from _tflite import Network, convolutions, fill
from torch import nn
from transformers import MobileNetV2Config, MobileNetV2ForSemanticSegmentation

CHECKPOINT = "deeplabv3_mnv2_dm05_pascal_quant"


def deeplab(folder: Path) -> nn.Module:
    """The model in eval mode; it takes ``pixel_values`` (B, 3, H, W) in -1 ... 1, made for 513 x 513, and returns logits of 21 classes.

    Logits have a 16th of the pixels, rounded up; the network's last convolution before the pooling of classifiers is not used.

    Args:
        folder: the folder ``deeplab``.
    """
    network = Network.read(folder, CHECKPOINT)
    config = MobileNetV2Config(
        num_labels=21,
        depth_multiplier=0.5,
        depth_divisible_by=4,
        output_stride=16,
        image_size=network.size,
        tf_padding=True,
        classifier_dropout_prob=0.0,
    )
    model = MobileNetV2ForSemanticSegmentation(config)
    names = [name for name in convolutions(model) if "conv_1x1" not in name]
    names = order(names)
    fill(model, [network.weights[k] for k in network.layers], [network.biases[k] for k in network.layers], names)
    return model.eval()


def order(names: list[str]) -> list[str]:
    """In the order of the file, where the branch of the image comes before that of its mean."""
    pool, aspp = (next(i for i, name in enumerate(names) if part in name) for part in ("conv_pool", "conv_aspp"))
    names = list(names)
    names[pool], names[aspp] = names[aspp], names[pool]
    return names
