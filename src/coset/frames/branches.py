"""Every way to break what the symmetries of an operator leave open about its eigenvectors, one node at a time."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .eigenspaces import Spaces, ranked, settle


@dataclass(frozen=True)
class Leaves:
    """Ends of branches: (R,) which sample, (R, k, k) basis, (R,) weight; and (B,) whether a sample is complete."""

    owner: Tensor
    basis: Tensor
    weight: Tensor
    exact: Tensor


def branches(spaces: Spaces, tol: float, limit: int) -> Leaves:
    """Settle all samples; branch those that are open until they are settled or have more than ``limit`` branches."""
    samples = spaces.mask.shape[0]
    owner = torch.arange(samples, device=spaces.mask.device)
    weight = torch.ones(samples, dtype=spaces.vectors.dtype, device=owner.device)
    exact = torch.ones_like(spaces.mask[:, 0])
    colours, ends = spaces.colours, []
    plain = settle(spaces, tol)[0]
    rounds = sum(spaces.vectors.shape[1:])
    while len(owner):
        if not rounds:  # nothing was settled by colours that are all different: the tolerance is too coarse
            exact = exact & (torch.bincount(owner, minlength=samples) == 0)
            break
        rounds -= 1
        state = spaces.take(owner, colours)
        basis, fixed, colours = settle(state, tol)
        done = (fixed | (state.block < 0)).all(1)
        ends.append((owner[done], basis[done], weight[done]))
        if bool(done.all()):
            break
        owner, weight, colours, state = owner[~done], weight[~done], colours[~done], state.take(torch.where(~done)[0], colours[~done])
        row, colours, share = _individualized(state, basis[~done], fixed[~done])
        owner, weight = owner[row], weight[row] * share
        many = torch.bincount(owner, minlength=samples) + torch.bincount(torch.cat([end[0] for end in ends]), minlength=samples) > limit
        exact = exact & ~many
        owner, weight, colours = owner[~many[owner]], weight[~many[owner]], colours[~many[owner]]
    ends = ends or [(owner[:0], plain[:0], weight[:0])]
    found = [torch.cat(parts) for parts in zip(*ends, strict=True)]
    keep = exact[found[0]]
    rest = torch.where(~exact)[0]
    return Leaves(
        torch.cat([found[0][keep], rest]),
        torch.cat([found[1][keep], plain[rest]]),
        torch.cat([found[2][keep], weight.new_ones(len(rest))]),
        exact,
    )


def _individualized(state: Spaces, basis: Tensor, fixed: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Branches of open samples: every node of the first class that sees the first open eigenspace gets a colour of its own.

    An open simple eigenvector branches into its two signs, as two ways to colour its level sets.

    Returns:
        (R,) which row each branch continues, (R, n) its colours, (R,) its share.
    """
    k, n = fixed.shape[1], state.mask.shape[1]
    open_ = ~fixed & (state.block >= 0)
    first = state.block.masked_fill(~open_, k).amin(1)
    inside = open_ & (state.block == first[:, None])
    part = (state.vectors @ basis) * inside.unsqueeze(1)
    length = part.norm(dim=2)
    simple = (state.block == first[:, None]).sum(1) == 1
    seen = length > 0.5 * length.amax(1, keepdim=True)
    chosen = state.colours.masked_fill(~seen, n).amin(1)
    member = (state.colours == chosen[:, None]) & seen
    signed = part.sum(2).masked_fill(length < 1e-6, 0)
    nodes_row, nodes = (member & ~simple[:, None]).nonzero().unbind(1)
    singled = 2 * state.colours[nodes_row]
    singled[torch.arange(len(nodes), device=nodes.device), nodes] -= 1
    signs_row = simple.nonzero().flatten().repeat(2)
    side = torch.ones(len(signs_row), dtype=part.dtype, device=part.device)
    side[len(signs_row) // 2 :] = -1
    coloured = 3 * state.colours[signs_row] + (side[:, None] * signed[signs_row]).sign().long()
    row = torch.cat([nodes_row, signs_row])
    share = torch.cat([1.0 / member.sum(1)[nodes_row].to(part.dtype), torch.full_like(side, 0.5)])
    return row, ranked(torch.cat([singled, coloured]), 0), share


def places(owner: Tensor, samples: int) -> Tensor:
    """(R,) the running number of every branch within its sample."""
    order = torch.argsort(owner, stable=True)
    counts = torch.bincount(owner, minlength=samples)
    place = torch.empty_like(owner)
    place[order] = torch.arange(len(owner), device=owner.device) - (counts.cumsum(0) - counts)[owner[order]]
    return place
