"""Converted TensorFlow Lite networks: dequantized weights, and a plain evaluation of their operations to compare models with."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class Network:
    """One converted file: what is computed from what, with which weights.

    Attributes:
        nodes: the operations in order; ``layer`` names their weights.
        weights: (out, in, kh, kw) of each convolution, dequantized.
        biases: (out,) of each convolution.
        size: height and width of the input.
    """

    nodes: list[dict[str, Any]]
    weights: dict[str, Tensor]
    biases: dict[str, Tensor]
    size: int

    @classmethod
    def read(cls, folder: Path, name: str) -> Network:
        """Read ``name.json`` and ``name.safetensors``: w = (q - zero point) * scale."""
        graph = json.loads((folder / f"{name}.json").read_text())
        found = load_file(folder / f"{name}.safetensors")
        layers = [node["layer"] for node in graph["nodes"] if "layer" in node]
        weights = {
            layer: (found[f"{layer}.weight_q"].float() - found[f"{layer}.weight_zero_point"]) * found[f"{layer}.weight_scale"]
            for layer in layers
        }
        return cls(graph["nodes"], weights, {layer: found[f"{layer}.bias"] for layer in layers}, graph["input"]["shape"][1])

    @property
    def layers(self) -> list[str]:
        """The convolutions in order."""
        return list(self.weights)


def same_padding(x: Tensor, kernel: int, stride: int, dilation: int) -> Tensor:
    """Zeros around images so that strides cover them, one more at the bottom and the right where the number is odd."""
    span = (kernel - 1) * dilation + 1
    pads = [max((-(-n // stride) - 1) * stride + span - n, 0) for n in (x.shape[-1], x.shape[-2])]
    return functional.pad(x, (pads[0] // 2, pads[0] - pads[0] // 2, pads[1] // 2, pads[1] - pads[1] // 2))


def evaluate(network: Network, x: Tensor, stop: str = "SOFTMAX") -> Tensor:
    """The operations one by one in floating point, up to the first one called ``stop``: images (B, 3, H, W) in -1 ... 1."""
    acts = {"none": lambda y: y, "relu": functional.relu, "relu6": functional.relu6}
    values = {0: x}
    for node in network.nodes:
        inputs = [values[number] for number in node["inputs"]]
        if node["op"] == stop:
            return inputs[0]
        if "CONV_2D" in node["op"]:
            weight, stride, dilation = network.weights[node["layer"]], node["stride"], node["dilation"]
            y = same_padding(inputs[0], weight.shape[-1], stride, dilation)
            y = functional.conv2d(y, weight, network.biases[node["layer"]], stride, 0, dilation, node["groups"])
        elif node["op"] == "ADD":
            y = inputs[0] + inputs[1]
        elif node["op"] == "AVERAGE_POOL_2D":
            y = inputs[0].mean((-2, -1), keepdim=True)
        elif node["op"] == "RESIZE_BILINEAR":
            y = functional.interpolate(inputs[0], node["size"], mode="bilinear", align_corners=True)
        elif node["op"] == "CONCATENATION":
            y = torch.cat(inputs, 1)
        elif node["op"] == "RESHAPE":
            y = inputs[0].flatten(1)
        else:
            y = inputs[0]  # QUANTIZE
        values[node["output"]] = acts[node.get("act", "none")](y)
    return y


def convolutions(model: nn.Module) -> list[str]:
    """The names of the convolutions of a model in the order of its definition, each with its normalization beside it."""
    return [name for name, part in model.named_modules() if isinstance(part, nn.Conv2d)]


def fill(model: nn.Module, weights: list[Tensor], biases: list[Tensor], names: list[str]) -> None:
    """Write folded convolutions into a model: its normalizations pass what comes, and add the bias."""
    if len(names) != len(weights):
        raise ValueError(f"{len(weights)} convolutions in the file, {len(names)} in the model")
    for name, weight, bias in zip(names, weights, biases, strict=True):
        conv = model.get_submodule(name)
        if conv.weight.shape != weight.shape:
            raise ValueError(f"{name} is {tuple(conv.weight.shape)} in the model and {tuple(weight.shape)} in the file")
        with torch.no_grad():
            conv.weight.copy_(weight)
            if conv.bias is not None:
                conv.bias.copy_(bias)
                continue
            norm = model.get_submodule(name.removesuffix("convolution") + "normalization")
            norm.weight.fill_(1.0)
            norm.bias.copy_(bias)
            norm.running_mean.zero_()
            norm.running_var.fill_(1.0 - norm.eps)
