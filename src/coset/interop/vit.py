"""A vision transformer of transformers as a model of graphs: values of pairs are its image, nodes are the diagonal."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..errors import InputError, describe, explain, require_extra

try:
    from transformers import ViTConfig, ViTModel
except ImportError as error:
    raise require_extra("transformers", "vision") from error

__all__ = ["Orders", "PatchTransformer"]

NEW = "embeddings.patch_embeddings.projection"
"""The only weights that are not taken from a checkpoint: the embedding of patches, which has other channels."""

WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")


class Orders(NamedTuple):
    """How many numbers a graph, each node and each pair of nodes has; 0 for none.

    Attributes:
        graph: channels of (B, c).
        nodes: channels of (B, n, c).
        edges: channels of (B, n, n, c).
    """

    graph: int = 0
    nodes: int = 0
    edges: int = 0


class PatchTransformer(nn.Module):
    """A ViT on graphs drawn as images of n x n pixels; it sees the order of the nodes, so it needs a frame.

    Values of pairs are pixels, values of nodes stand on the diagonal, values of the graph on every pixel, and one more
    channel marks the pixels that belong to the graph. The image is padded with zeros to ``grid * patch`` pixels and cut
    into as many patches as the ViT has tokens. Outputs of pairs and nodes are read from the patches that they lie in,
    outputs of graphs from the class token. No patch is ever left out.

    Args:
        config: the sizes of the transformer; its image and patch size give the grid of tokens.
        inputs: channels of the inputs.
        outputs: channels of the outputs, at least one of them not zero.
        largest: the largest number of nodes, from which the size of patches follows: grid for patches of one pixel,
            2 * grid for two. The configuration's image size when left out.
        folder: a checkpoint to take the transformer's weights from; see :meth:`from_pretrained`.

    Raises:
        InputError: for sizes that make no image.

    Reference: Dosovitskiy et al. 2021, An image is worth 16x16 words, arXiv 2010.11929; on graphs Kim et al. 2023,
    arXiv 2306.02866.

    Example:
        >>> import torch
        >>> from transformers import ViTConfig
        >>> from coset.interop.vit import Orders, PatchTransformer
        >>> tiny = ViTConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, image_size=8, patch_size=2)
        >>> model = PatchTransformer(tiny, Orders(nodes=3, edges=1), Orders(nodes=5))
        >>> model(nodes=torch.randn(2, 6, 3), edges=torch.randn(2, 6, 6, 1)).shape
        torch.Size([2, 6, 5])
    """

    references = ("dosovitskiy2021image",)

    def __init__(self, config: ViTConfig, inputs: Orders, outputs: Orders, largest: int | None = None, folder: str | Path | None = None):
        super().__init__()
        self.inputs, self.outputs = Orders(*inputs), Orders(*outputs)
        check_orders(self.inputs, self.outputs)
        self.grid, size = grid_of(config)
        if largest is not None and (not isinstance(largest, int) or largest < 1):
            raise InputError(explain(f"largest={largest!r}", "a number of nodes", "pass the size of the largest graph"))
        self.patch = size if largest is None else -(-largest // self.grid)
        self.largest = self.grid * self.patch
        config = copy.deepcopy(config)
        config.image_size, config.patch_size, config.num_channels = self.largest, self.patch, sum(self.inputs) + 1
        self.vit = ViTModel(config, add_pooling_layer=False) if folder is None else load(Path(folder), config)
        width, patch = config.hidden_size, self.patch
        sizes = {"graph": self.outputs.graph, "nodes": patch * self.outputs.nodes, "edges": patch * patch * self.outputs.edges}
        self.heads = nn.ModuleDict({name: nn.Linear(width, count) for name, count in sizes.items() if count})

    @classmethod
    def from_pretrained(cls, folder: str | Path, inputs: Orders, outputs: Orders, largest: int | None = None) -> PatchTransformer:
        """Start from a ViT that was saved on this machine.

        All weights of the transformer are kept: class token, positions of tokens, layers. The embedding of patches, which
        has other channels, and the heads are new.

        Args:
            folder: a Hugging Face checkpoint folder of model type ``vit``, with ``config.json`` and weights.
            inputs: channels of the inputs.
            outputs: channels of the outputs.
            largest: as for the class.

        Raises:
            InputError: when the folder, a file in it, or weights in the file are missing, or it holds another kind of model.
        """
        return cls(read_config(Path(folder)), inputs, outputs, largest, folder)

    def forward(
        self, graph: Tensor | None = None, nodes: Tensor | None = None, edges: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor | dict[str, Tensor]:
        """The outputs: one tensor, or a dictionary by name when several were asked for.

        Args:
            graph: (B, c) values of graphs.
            nodes: (B, n, c) values of nodes.
            edges: (B, n, n, c) values of pairs of nodes.
            mask: (B, n) True on real nodes, for graphs that are padded; outputs are zero on padding.

        Returns:
            ``graph`` (B, out), ``nodes`` (B, n, out), ``edges`` (B, n, n, out).
        """
        given = {"graph": graph, "nodes": nodes, "edges": edges}
        samples, n = self.check(given, mask)
        image, real = self.draw(given, mask, samples, n)
        tokens = self.vit(pixel_values=image).last_hidden_state
        found = self.read(tokens, n)
        for name, count in (("nodes", 1), ("edges", 2)):
            if name in found and mask is not None:
                found[name] = torch.where((real if count == 2 else mask).unsqueeze(-1), found[name], 0.0)
        return found if len(found) > 1 else next(iter(found.values()))

    def draw(self, given: dict[str, Tensor | None], mask: Tensor | None, samples: int, n: int) -> tuple[Tensor, Tensor]:
        """The image (B, C, size, size), and which pixels (B, n, n) belong to the graphs."""
        weight = next(self.vit.parameters())
        real = torch.ones(samples, n, dtype=torch.bool, device=weight.device) if mask is None else mask
        real = real.unsqueeze(1) & real.unsqueeze(2)
        parts = [real.unsqueeze(1).to(weight.dtype)]
        graph, nodes, edges = (None if x is None else x.to(weight.dtype) for x in given.values())
        if graph is not None:
            parts.append(graph[..., None, None].expand(-1, -1, n, n))
        if nodes is not None:
            parts.append(torch.diag_embed(nodes.mT))
        if edges is not None:
            parts.append(edges.movedim(-1, 1))
        image = torch.where(real.unsqueeze(1), torch.cat(parts, 1), 0.0)
        return nn.functional.pad(image, (0, self.largest - n) * 2), real

    def read(self, tokens: Tensor, n: int) -> dict[str, Tensor]:
        """Outputs from the class token and the tokens of patches (B, 1 + grid * grid, width)."""
        found: dict[str, Tensor] = {}
        if self.outputs.graph:
            found["graph"] = self.heads["graph"](tokens[:, 0])
        if self.outputs.nodes:
            diagonal = self.heads["nodes"](tokens[:, 1 :: self.grid + 1])
            found["nodes"] = diagonal.reshape(tokens.shape[0], self.largest, -1)[:, :n]
        if self.outputs.edges:
            cut = self.heads["edges"](tokens[:, 1:]).unflatten(2, (self.patch, self.patch, -1)).unflatten(1, (self.grid, self.grid))
            found["edges"] = cut.transpose(2, 3).reshape(tokens.shape[0], self.largest, self.largest, -1)[:, :n, :n]
        return found

    def check(self, given: dict[str, Tensor | None], mask: Tensor | None) -> tuple[int, int]:
        """The numbers of samples and of nodes; an error when inputs are missing, of the wrong order, or too large."""
        sizes = set()
        for order, (name, x) in enumerate(given.items()):
            count = getattr(self.inputs, name)
            if (x is None) == (count > 0):
                told = "no tensor" if x is None else describe(x)
                raise InputError(
                    explain(f"{name}: {told}", f"{count} channels, as declared by inputs={self.inputs}", "pass what is declared")
                )
            if x is None:
                continue
            if x.dim() != order + 2 or x.shape[-1] != count or len(set(x.shape[1:-1])) > 1:
                shape = ("B", *("n",) * order, str(count))
                raise InputError(explain(f"{name} is {describe(x)}", f"the shape ({', '.join(shape)})", "give every input its own order"))
            sizes |= {(x.shape[0], *x.shape[1:2])} if order else set()
        samples, n = self._one(sizes, given, mask)
        if n > self.largest:
            remedy = f"build the model with largest={n}"
            raise InputError(explain(f"graphs of {n} nodes", f"at most {self.largest} ({self.grid} patches of {self.patch})", remedy))
        return samples, n

    def _one(self, sizes: set[tuple[int, ...]], given: dict[str, Tensor | None], mask: Tensor | None) -> tuple[int, int]:
        """The one size that all inputs agree on."""
        if mask is not None:
            if mask.dim() != 2 or mask.dtype != torch.bool:
                raise InputError(explain(f"mask is {describe(mask)}", "a boolean tensor of shape (B, n)", "convert it with mask.bool()"))
            sizes.add((mask.shape[0], mask.shape[1]))
        graph = given["graph"]
        if not sizes and graph is not None:
            sizes.add((graph.shape[0], 1))
        found = {size[0] for size in sizes} | ({graph.shape[0]} if graph is not None else set())
        if len(sizes) != 1 or len(found) != 1:
            told = {name: tuple(x.shape) for name, x in given.items() if x is not None}
            raise InputError(explain(f"inputs of the shapes {told}", "one number of samples and of nodes", "pad graphs to one size"))
        samples, n = sizes.pop()
        return samples, n


def check_orders(inputs: Orders, outputs: Orders) -> None:
    """Raise for channels that make no image, or no output."""
    for name, orders in (("inputs", inputs), ("outputs", outputs)):
        if any(not isinstance(count, int) or count < 0 for count in orders) or not any(orders):
            raise InputError(
                explain(f"{name}={orders}", "numbers of channels, at least one of them not zero", "say for instance Orders(nodes=3)")
            )


def grid_of(config: Any) -> tuple[int, int]:
    """How many patches a side of the image has, and the size of a patch."""
    sizes = [value if isinstance(value, (tuple, list)) else (value, value) for value in (config.image_size, config.patch_size)]
    (height, width), (high, wide) = sizes
    if height != width or high != wide or height < high:
        raise InputError(explain(f"images of {sizes[0]} in patches of {sizes[1]}", "squares", "use a configuration with square images"))
    return height // high, high


def read_config(folder: Path) -> ViTConfig:
    """The configuration in a checkpoint folder.

    Raises:
        InputError: naming what is missing.
    """
    remedy = "save a ViT there with model.save_pretrained(folder), or give the folder of a downloaded checkpoint"
    if not folder.is_dir():
        raise InputError(explain(f"the checkpoint folder {str(folder)!r}, which does not exist", "a folder on this machine", remedy))
    if not (folder / "config.json").is_file():
        raise InputError(explain(f"{str(folder)!r} without config.json", "a Hugging Face checkpoint", remedy))
    values, _ = ViTConfig.get_config_dict(folder, local_files_only=True)
    if values.get("model_type") != "vit":
        raise InputError(explain(f"a checkpoint of model type {values.get('model_type')!r} in {str(folder)!r}", "model type 'vit'", remedy))
    if not any((folder / name).is_file() for name in WEIGHTS):
        raise InputError(explain(f"{str(folder)!r} without weights", f"one of {list(WEIGHTS)}", remedy))
    return ViTConfig.from_dict(values)


def load(folder: Path, config: ViTConfig) -> ViTModel:
    """A ViT with the weights of a checkpoint folder, but for the embedding of patches.

    Raises:
        InputError: when other weights are missing or have other shapes.
    """
    read_config(folder)
    model, told = ViTModel.from_pretrained(
        folder, config=config, add_pooling_layer=False, ignore_mismatched_sizes=True, local_files_only=True, output_loading_info=True
    )
    names = [entry if isinstance(entry, str) else entry[0] for key in ("missing_keys", "mismatched_keys") for entry in told[key]]
    lost = sorted(name for name in names if NEW not in name)
    if lost:
        raise InputError(
            explain(
                f"a checkpoint in {str(folder)!r} without {lost[:3]}",
                "all weights of the transformer",
                "save it with its own configuration",
            )
        )
    projection = model.embeddings.patch_embeddings.projection  # of other data, even where the shape is the same
    nn.init.trunc_normal_(projection.weight, std=config.initializer_range)
    nn.init.zeros_(projection.bias)
    return model
