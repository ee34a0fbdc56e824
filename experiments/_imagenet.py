"""The sample of ImageNet, one image a class, with a fixed half for training canonicalizers and a fixed half for the test."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import torch
from _labelled import Labelled
from PIL import Image
from torch import Tensor

FILE = "imagenet_sample1000_256.npz"


def photographs(folder: Path, size: int, count: int | None = None) -> Labelled:
    """The central 224 of 256 pixels (7/8, as TensorFlow evaluates), resized to ``size``.

    Args:
        folder: the folder ``imagenet1000``.
        size: height and width.
        count: the first so many; all when left out.
    """
    found = np.load(folder / FILE, allow_pickle=False)
    data, offsets = found["jpeg_bytes"].tobytes(), found["offsets"]
    count = len(offsets) - 1 if count is None else count
    images = np.stack([decoded(data[offsets[i] : offsets[i + 1]], size) for i in range(count)])
    return Labelled(torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(), torch.from_numpy(found["labels"][:count]).long())


def decoded(jpeg: bytes, size: int) -> np.ndarray:
    """One image, cut and resized."""
    image = Image.open(io.BytesIO(jpeg)).convert("RGB")
    left, top = (image.width - 224) // 2, (image.height - 224) // 2
    image = image.crop((left, top, left + 224, top + 224))
    return np.asarray(image if size == 224 else image.resize((size, size), Image.Resampling.BILINEAR))


def halves(count: int) -> tuple[Tensor, Tensor]:
    """Row numbers of the training half and of the test half: always the same."""
    order = torch.randperm(count, generator=torch.Generator().manual_seed(2))
    return order[: count // 2].sort().values, order[count // 2 :].sort().values
