"""What all groups of permutations share: elements that are index vectors."""

from __future__ import annotations

import torch
from torch import Tensor

from .base import Finite
from .maps import Homomorphism, identity_map


class Permuting(Finite):
    """A finite group whose elements are integer vectors p (..., n) with (g x)[p[i]] = x[i], hence compose(p, q) = p[q]."""

    permutes = True

    def compose(self, g: Tensor, h: Tensor) -> Tensor:
        """The product g[h]: first h, then g."""
        g, h = torch.broadcast_tensors(g, h)
        return g.gather(-1, h)

    def inverse(self, g: Tensor) -> Tensor:
        """The inverse of g."""
        return g.argsort(-1)

    def distance(self, g: Tensor, h: Tensor) -> Tensor:
        """The number of things that are sent elsewhere."""
        return (g != h).sum(-1).to(torch.get_default_dtype())

    def batch(self, g: Tensor) -> torch.Size:
        """The leading batch axes of an element."""
        return g.shape[:-1]

    def permutation(self, g: Tensor) -> Tensor:
        """The index permutation of g, shape (..., n)."""
        return g

    def components(self) -> dict[str, Homomorphism]:
        """The named subgroups that an audit reports."""
        return {"permutation": identity_map(self)}
