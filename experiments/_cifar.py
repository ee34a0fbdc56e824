"""CIFAR-10 (JPEG copies) and residual networks trained on it, from local files.

Data: the folders ``cifar10`` and ``cifar10_weights`` under ``COSET_DATA``.

Reference: Krizhevsky 2009; He et al. 2016, arXiv 1512.03385 (networks of section 4.2, shortcuts A).
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import torch
from _labelled import Labelled
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, pad, relu

MEAN, SPREAD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def decoded(path: Path, count: int | None = None) -> Labelled:
    """Normalized images (N, 3, 32, 32) and labels (N,) of a file of JPEG copies; the first ``count`` of a fixed random order."""
    from PIL import Image

    with np.load(path) as found:
        data, offsets, labels = (found[key] for key in ("jpeg_bytes", "offsets", "labels"))
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))[:count].tolist()
    raw = data.tobytes()
    pixels = np.stack([np.asarray(Image.open(io.BytesIO(raw[offsets[i] : offsets[i + 1]])).convert("RGB")) for i in order])
    return Labelled(normalized(torch.from_numpy(pixels).permute(0, 3, 1, 2)), torch.from_numpy(labels[order]).long())


def normalized(pixels: Tensor) -> Tensor:
    """Bytes (N, 3, H, W) as the networks want them."""
    mean, spread = (torch.tensor(values)[:, None, None] for values in (MEAN, SPREAD))
    return (pixels.float() / 255 - mean) / spread


class Block(nn.Module):
    """Two convolutions beside a shortcut that halves the image and pads channels with zeros (option A)."""

    def __init__(self, inner: int, outer: int, stride: int):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inner, outer, 3, stride, 1, bias=False), nn.BatchNorm2d(outer)
        self.conv2, self.bn2 = nn.Conv2d(outer, outer, 3, 1, 1, bias=False), nn.BatchNorm2d(outer)
        self.stride, self.more = stride, outer - inner

    def forward(self, x: Tensor) -> Tensor:
        """(B, outer, H / stride, W / stride)."""
        short = x[..., :: self.stride, :: self.stride]
        short = pad(short, (0, 0, 0, 0, self.more // 2, self.more - self.more // 2))
        return relu(self.bn2(self.conv2(relu(self.bn1(self.conv1(x))))) + short)


class ResNet(nn.Module):
    """Three stages of residual blocks: 6 n + 2 layers, images (B, 3, 32, 32) to logits (B, 10)."""

    def __init__(self, blocks: int):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16)
        sizes = [(16, 16, 1), (16, 32, 2), (32, 64, 2)]
        stages = [nn.Sequential(*(Block(a if k == 0 else b, b, s if k == 0 else 1) for k in range(blocks))) for a, b, s in sizes]
        self.layer1, self.layer2, self.layer3 = stages
        self.linear = nn.Linear(64, 10)

    def forward(self, images: Tensor) -> Tensor:
        """The logits."""
        x = self.layer3(self.layer2(self.layer1(relu(self.bn1(self.conv1(images))))))
        return self.linear(avg_pool2d(x, x.shape[-1]).flatten(1))


def resnet(folder: Path, depth: int) -> ResNet:
    """A trained network, in eval mode."""
    from safetensors.torch import load_file

    net = ResNet((depth - 2) // 6)
    missing, more = net.load_state_dict(load_file(folder / f"resnet{depth}.safetensors"), strict=False)
    missing = [name for name in missing if "num_batches_tracked" not in name]
    if missing or more:
        raise SystemExit(f"resnet{depth}.safetensors lacks {missing} and has {more} besides")
    return net.eval()
