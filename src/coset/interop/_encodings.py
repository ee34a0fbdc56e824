"""Positional encodings from eigenvectors whose signs and bases are canonical, as a transform of PyTorch Geometric."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .. import actions, frames, groups
from ..errors import InputError, describe, explain, require_extra

try:
    from torch_geometric.data import Data
    from torch_geometric.transforms import BaseTransform
    from torch_geometric.utils import to_dense_adj
except ImportError as error:
    raise require_extra("torch_geometric", "graphs") from error


def normalized_laplacian(data: Data) -> Tensor:
    """(n, n) 1 - D^-1/2 A D^-1/2 in double precision; ``edge_weight`` counts, directions do not."""
    n = int(data.num_nodes or 0)
    weights = data.edge_weight.double() if data.get("edge_weight") is not None else None
    dense = to_dense_adj(data.edge_index, edge_attr=weights, max_num_nodes=n)[0].double()
    dense = (dense + dense.T) / 2
    dense.fill_diagonal_(0)
    degree = dense.sum(1)
    scale = torch.where(degree > 0, degree.clamp_min(1e-300).rsqrt(), 0.0)
    return torch.diag((degree > 0).double()) - scale[:, None] * dense * scale[None]


class CanonicalEigenvectors(BaseTransform):
    """Adds up to k canonical eigenvectors of a symmetric operator as node features that depend on the graph alone.

    The kernel is left out. Eigenspaces are taken whole, by ascending eigenvalue, as long as they fit into k columns;
    none is ever cut, and missing columns are zero. Columns that a symmetry of the graph leaves open are zero too
    (``open=True`` keeps an arbitrary basis of them), so the result is deterministic and permutation-equivariant.

    Adds to the data: ``{name}`` (n, k), ``{name}_values`` (1, k), and ``{name}_fixed`` (1, k), True where a column is
    determined.

    Args:
        k: the number of columns.
        name: the name of the attribute.
        operator: gives the symmetric operator (n, n) of a data object; the normalized Laplacian when left out.
        colours: name of integer node features that tell nodes apart, besides the operator.
        open: keep the columns that are not determined, as the solver gives them.
        gap: as in :class:`coset.frames.Eigenvectors`.

    Reference: Ma et al. 2024, arXiv 2405.18378.

    Example:
        >>> import torch
        >>> from torch_geometric.data import Data
        >>> from coset.interop import pyg
        >>> tree = Data(  # nodes 0 and 5 can be exchanged, which flips the third eigenvector
        ...     edge_index=torch.tensor([[0, 1, 1, 2, 2, 3, 3, 4, 1, 5], [1, 0, 2, 1, 3, 2, 4, 3, 5, 1]]), num_nodes=6)
        >>> data = pyg.CanonicalEigenvectors(k=3)(tree)
        >>> data.eigenvectors.shape, data.eigenvectors_fixed.tolist()
        (torch.Size([6, 3]), [[True, True, False]])
    """

    def __init__(
        self,
        k: int,
        name: str = "eigenvectors",
        operator: Callable[[Data], Tensor] = normalized_laplacian,
        colours: str | None = None,
        open: bool = False,
        gap: float = 1e-5,
    ):
        if not isinstance(k, int) or k < 1:
            raise InputError(explain(f"CanonicalEigenvectors(k={k!r})", "a number of columns, 1 or more", "pass for instance k=8"))
        self.k, self.name, self.operator, self.colours, self.open, self.gap = k, name, operator, colours, open, gap

    def forward(self, data: Data) -> Data:
        """The data with eigenvectors added."""
        values, vectors = torch.linalg.eigh(self._matrix(data))
        n = len(values)
        inputs: dict[str, Tensor] = {"vectors": vectors[None], "values": values[None]}
        group = groups.Orthogonal(n)
        entries: dict[str, Any] = {"vectors": actions.Vectors(group, points=True), "values": actions.Trivial(group, points=False)}
        if self.colours is not None:
            if data.get(self.colours) is None:
                raise InputError(explain(f"{data} without {self.colours!r}", "the node features named in colours=", "add them"))
            inputs["colours"], entries["colours"] = data[self.colours][None], actions.Trivial(group, points=True)
        frame = frames.Eigenvectors(colours=None if self.colours is None else "colours", gap=self.gap)
        canonical, fixed = frame.bind(actions.Dict(**entries)).canonical(inputs)
        keep = self._kept(values)
        shown = canonical[0][:, keep] if self.open else (canonical[0] * fixed[0])[:, keep]
        dtype = torch.get_default_dtype()
        data[self.name] = torch.nn.functional.pad(shown, (0, self.k - shown.shape[1])).to(dtype)
        data[f"{self.name}_values"] = torch.nn.functional.pad(values[None, keep], (0, self.k - len(keep))).to(dtype)
        data[f"{self.name}_fixed"] = torch.nn.functional.pad(fixed[:, keep], (0, self.k - len(keep)))
        return data

    def _matrix(self, data: Data) -> Tensor:
        """The operator in double precision, checked."""
        if not isinstance(data, Data) or data.edge_index is None or not data.num_nodes:
            raise InputError(
                explain(describe(data), "a Data object with nodes and edge_index", "transform graphs that have nodes and edges")
            )
        if getattr(data, "num_graphs", 1) > 1:
            raise InputError(
                explain(f"a batch of {data.num_graphs} graphs", "one graph", "transform graphs before batching: pass it as pre_transform")
            )
        matrix = self.operator(data).double()
        if tuple(matrix.shape) != (data.num_nodes, data.num_nodes) or not torch.allclose(matrix, matrix.T, atol=1e-6, rtol=0):
            raise InputError(
                explain(
                    f"an operator {describe(matrix)}", f"a symmetric matrix of {data.num_nodes} nodes", "symmetrize it, or check its size"
                )
            )
        return (matrix + matrix.T) / 2

    def _kept(self, values: Tensor) -> Tensor:
        """Columns of the eigenspaces that fit, the kernel left out."""
        scale = values.abs().max().clamp_min(1e-300)
        new = torch.nn.functional.pad(values[1:] - values[:-1] > self.gap * scale, (1, 0))
        block = new.long().cumsum(0)
        numbers = torch.arange(len(values), device=values.device)
        outside = values.abs() > self.gap * scale
        sizes = torch.bincount(block[outside], minlength=int(block[-1]) + 1)
        return numbers[outside & (sizes.cumsum(0) <= self.k)[block]]

    def __repr__(self) -> str:
        return f"CanonicalEigenvectors(k={self.k}, name={self.name!r})"
