"""The equations that generators solve: one row for every sample and output, J V(x) = U(f(x)), in units in which chance is 1."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..errors import InputError, describe, explain
from ..tree import to_tensors
from .fields import Fields

IMMOBILE = 1e-5
"""Features that move the data by a smaller share than this do not move it."""

CHUNK = 4_000_000
"""Numbers in one block of rows."""


@dataclass(frozen=True)
class Samples:
    """Samples: inputs x (N, D), Jacobians (N, m, D) and values (N, m), in float64 on the host.

    Attributes:
        eps: the rounding unit of what was given.
        shape: of one input.
    """

    x: Tensor
    jacobian: Tensor
    values: Tensor | None
    eps: float
    shape: tuple[int, ...]

    def some(self, rows: Tensor) -> Samples:
        """Selected samples."""
        values = None if self.values is None else self.values[rows]
        return Samples(self.x[rows], self.jacobian[rows], values, self.eps, self.shape)

    def __len__(self) -> int:
        return self.x.shape[0]


def collect(f: Any, x: Any, values: Any = None) -> Samples:
    """Samples of a function, or of given gradients (N, *shape) or Jacobians (N, m, *shape).

    Raises:
        InputError: for data that is empty, not finite, of other shapes, or a function that cannot be differentiated.
    """
    x = _floats(x, "x")
    if x.dim() < 2 or x.shape[0] == 0:
        raise InputError(explain(f"x is {describe(x)}", "samples (N, ...)", "give every sample a row"))
    if callable(f):
        given, jacobian = differentiate(f, x)
        values = given
    else:
        jacobian = _floats(f, "the gradients")
        jacobian = jacobian.unsqueeze(1) if jacobian.shape == x.shape else jacobian
        if jacobian.dim() != x.dim() + 1 or jacobian.shape[0] != x.shape[0] or jacobian.shape[2:] != x.shape[1:]:
            expected = f"(N, {', '.join(map(str, x.shape[1:]))}), or one more axis for several outputs"
            raise InputError(explain(f"gradients {describe(jacobian)} for x {describe(x)}", expected, "give one gradient for every sample"))
    used = (x, jacobian, *(() if values is None or not callable(f) else (values,)))
    eps = max(torch.finfo(one.dtype).eps for one in used)
    wide = (one.detach().to("cpu", torch.float64) for one in (x.flatten(1), jacobian.flatten(2)))
    flat, jacobian = wide
    return Samples(flat, jacobian, _values(values, jacobian), eps, tuple(x.shape[1:]))


def _floats(x: Any, name: str) -> Tensor:
    """A finite floating point tensor."""
    x = to_tensors(x)
    if not isinstance(x, Tensor) or x.is_complex() or x.dim() == 0:
        raise InputError(explain(f"{name} is {describe(x)}", "a real tensor or array", "view complex numbers as pairs"))
    x = x if x.is_floating_point() else x.to(torch.get_default_dtype())
    if x.numel() and not bool(torch.isfinite(x).all()):
        bad = torch.nonzero(~torch.isfinite(x).reshape(x.shape[0], -1).all(-1)).flatten().tolist()
        raise InputError(explain(f"{name} with NaN or infinite entries in rows {bad[:5]}", "finite numbers", "remove or repair these rows"))
    return x


def _values(values: Any, jacobian: Tensor) -> Tensor | None:
    if values is None:
        return None
    values = _floats(values, "values").detach().to("cpu", torch.float64).reshape(len(jacobian), -1)
    if values.shape != jacobian.shape[:2]:
        raise InputError(explain(f"values {describe(values)}", f"{tuple(jacobian.shape[:2])}, as the Jacobians", "give one row a sample"))
    return values


def differentiate(f: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    """Values (N, m) and Jacobians (N, m, *shape) of a function of batches whose samples do not see each other.

    Raises:
        InputError: when the function gives no tensor with a row for every sample, or its output does not depend on x smoothly.
    """
    values, rows = list[Tensor](), list[Tensor]()
    piece = max(1, CHUNK // x[0].numel())
    for part in x.detach().split(piece):
        with torch.enable_grad():
            part = part.clone().requires_grad_()
            y = f(part)
            if not isinstance(y, Tensor) or y.dim() == 0 or y.shape[0] != part.shape[0]:
                raise InputError(explain(f"a function that gives {describe(y)}", "one row for every sample", "return (N,) or (N, m)"))
            y = y.reshape(part.shape[0], -1)
            if y.is_complex():
                raise InputError(explain("a function with complex values", "real ones", "return torch.view_as_real of them"))
            if not values and len(part) > 2:
                _alone(f, part, y)
            if not y.requires_grad:
                raise InputError(explain("a function whose output has no gradient", "a differentiable one", "pass gradients instead of it"))
            grads = [torch.autograd.grad(y[:, j].sum(), part, retain_graph=True, allow_unused=True)[0] for j in range(y.shape[1])]
        values.append(y.detach())
        rows.append(torch.stack([torch.zeros_like(part) if g is None else g.detach() for g in grads], 1))
    found = torch.cat(rows)
    return torch.cat(values), _floats(found, "the gradients of the function")


def _alone(f: Callable[[Tensor], Tensor], x: Tensor, y: Tensor) -> None:
    """Raise where two samples alone do not give what they give within the batch."""
    with torch.no_grad():
        again = f(x.detach()[:2]).reshape(2, -1)
    gap, size = float((again - y[:2]).detach().abs().max()), float(y.detach().abs().max())
    if gap > max(1e-3, 10 * torch.finfo(y.dtype).eps) * size:
        given = f"a function whose values for two samples change by {gap:.2g} when they are alone"
        raise InputError(explain(given, "samples that do not see each other, no randomness", "call .eval(), or compute statistics before"))


class Side:
    """One family of fields at given points, in coordinates in which E|V|² = |c|².

    Fields that do not move these points are left out; they are the rows of ``still``.

    Args:
        fields: the family.
        x: (N, D) points.
    """

    def __init__(self, fields: Fields, x: Tensor):
        parts = fields.split(x)
        self.fields, self.p = fields, parts.shape[-1]
        phi = fields.features(parts)
        self.q = phi.shape[-1]
        moment = torch.einsum("ncq,ncr->qr", phi, phi) / len(x)
        unit = moment.diagonal().sqrt()
        unit = torch.where(unit > 0, unit, 1.0)
        values, vectors = torch.linalg.eigh(moment / unit[:, None] / unit)
        keep = values > IMMOBILE**2 * max(float(values[-1]), 1e-300)
        self.white = (vectors[:, keep] / values[keep].sqrt() / unit[:, None]).contiguous()
        given = fields.restricted(self.p)
        self.mix: Tensor | None = None
        if given is None:
            null = torch.linalg.qr(vectors[:, ~keep] / unit[:, None])[0].mT
            self.still = torch.einsum("ij,sq->isjq", torch.eye(self.p, dtype=x.dtype), null).reshape(-1, self.p, self.q)
            self.size = self.p * self.white.shape[1]
            return
        gram = torch.einsum("bpq,qr,cpr->bc", given, moment, given)
        norms = gram.diagonal().clamp_min(1e-300).sqrt()
        values, vectors = torch.linalg.eigh(gram / norms[:, None] / norms)
        keep = values > IMMOBILE**2 * max(float(values[-1]), 1e-300)
        self.mix = torch.einsum("bk,bpq->kpq", vectors[:, keep] / values[keep].sqrt() / norms[:, None], given)
        self.still = torch.einsum("bk,bpq->kpq", vectors[:, ~keep] / norms[:, None], given)
        self.size = self.mix.shape[0]

    @property
    def cost(self) -> int:
        """How many numbers the rows of one sample take on the way."""
        return max(1, self.size * (1 if self.mix is None else self.fields.copies * max(self.p, self.q)))

    def rows(self, g: Tensor, x: Tensor) -> Tensor:
        """G . V_b(x) for every field b: (n, m, size), for g (n, m, D) and x (n, D)."""
        g, phi = self.fields.split(g), self.fields.features(self.fields.split(x))
        if self.mix is None:
            return torch.einsum("nmcp,ncq->nmpq", g, phi @ self.white).flatten(2)
        return torch.einsum("nmcp,bpq,ncq->nmb", g, self.mix, phi)

    def matrices(self, c: Tensor) -> Tensor:
        """The A (k, p, q) of coordinates c (k, size)."""
        if self.mix is None:
            return c.unflatten(-1, (self.p, -1)) @ self.white.mT
        return torch.einsum("kb,bpq->kpq", c, self.mix)


class Equations:
    """The linear equations of all samples: J V(x) - U(f(x)) = 0 for unknown V (and U).

    Rows are scaled so that a field that is chosen without looking at f has a mean square of about one.

    Args:
        samples: inputs, Jacobians, values.
        fields: the family of fields on inputs.
        output: the family on outputs; None where outputs stand still.
    """

    def __init__(self, samples: Samples, fields: Fields, output: Fields | None):
        self.into = Side(fields, samples.x)
        self.out: Side | None = None
        if output is not None:
            if samples.values is None:
                raise InputError(explain("Jacobians without values", "values= beside them", "pass f(x), (N, m), or the function itself"))
            self.out = Side(output, samples.values)
        self.scale = float((samples.jacobian.square().sum((1, 2)).mean() / samples.x.shape[1]).sqrt())
        self.size = self.into.size + (self.out.size if self.out else 0)

    def blocks(self, samples: Samples) -> Iterator[Tensor]:
        """Rows (n, m, size), in blocks of samples."""
        m = samples.jacobian.shape[1]
        sides = [side for side in (self.into, self.out) if side is not None]
        piece = max(1, CHUNK // (m * max(side.cost for side in sides)))
        for start in range(0, len(samples), piece):
            part = samples.some(torch.arange(start, min(start + piece, len(samples))))
            rows = self.into.rows(part.jacobian, part.x) / self.scale
            if self.out is not None:
                eye = torch.eye(m, dtype=rows.dtype).expand(len(part), m, m)
                rows = torch.cat([rows, -self.out.rows(eye, part.values)], -1)  # type: ignore[arg-type]
            yield rows

    def gram(self, samples: Samples) -> Tensor:
        """The mean over samples of row^T row, (size, size)."""
        total = torch.zeros(self.size, self.size, dtype=torch.float64)
        for rows in self.blocks(samples):
            flat = rows.flatten(0, 1)
            total.addmm_(flat.mT, flat)
        return total / len(samples)

    def changes(self, samples: Samples, c: Tensor) -> Tensor:
        """(N, k) the squared change of every sample along fields with coordinates c (k, size)."""
        return torch.cat([(rows @ c.mT).square().sum(1) for rows in self.blocks(samples)])

    def matrices(self, c: Tensor) -> tuple[Tensor, Tensor | None]:
        """Input and output matrices of coordinates (k, size), in the units of the data."""
        into = self.into.matrices(c[:, : self.into.size]) / self.scale
        return into, None if self.out is None else self.out.matrices(c[:, self.into.size :])
