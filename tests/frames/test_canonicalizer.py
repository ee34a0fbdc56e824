"""Learned canonicalization of batches with a symmetric sample: gradients of the others, checked laws, scores that can be kept."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch

import coset
from coset import actions, frames, groups
from coset.errors import FrameError

C4 = groups.Cyclic(4)


class Corner(torch.nn.Module):
    """Scores of quarter turns of images: a learned weight of each quarter turn of a picture."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.picture = torch.nn.Parameter(torch.randn(6, 6, generator=generator, dtype=torch.float64))

    def forward(self, x, noise):
        turned = torch.stack([torch.rot90(self.picture, k, (-2, -1)) for k in range(4)])
        return torch.einsum("bcij,kij->bk", x, turned)


def pictures():
    x = torch.randn(4, 1, 6, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    x[2] = x[2] + torch.rot90(x[2], 2, (-2, -1))  # equal after half a turn
    return x


def readout(x):
    return (x * torch.arange(36, dtype=x.dtype).reshape(6, 6)).flatten(1).sum(1, keepdim=True).sin()


def gradient(rows):
    net = Corner()
    model = coset.symmetrize(readout, actions.Image(C4) >> actions.Trivial(C4), frames.Canonicalizer(net)).train()
    weights = torch.tensor([1.0, -2.0, 0.5, 3.0], dtype=torch.float64)
    (model(pictures()[rows]).squeeze(1) * weights[rows]).sum().backward()
    return net.picture.grad


def test_a_symmetric_sample_leaves_the_gradients_of_the_others():
    alone = gradient(torch.tensor([0, 1, 3]))
    beside = gradient(torch.tensor([0, 1, 2, 3]))
    assert float(alone.abs().max()) > 1e-2
    assert torch.allclose(alone, beside, atol=1e-12)


def test_symmetric_images_are_exact_and_reported():
    x, net = pictures(), Corner()
    frame = frames.Canonicalizer(net)
    model = coset.symmetrize(readout, actions.Image(C4) >> actions.Trivial(C4), frame).eval()
    with torch.no_grad():
        for k in range(4):
            assert torch.allclose(model(torch.rot90(x, k, (-2, -1))), model(x), atol=1e-12)
        assert model.frame(x).scores["tied"].tolist() == [False, False, True, False]


def test_scores_are_kept_by_copies_and_pickles():
    measure = frames.Canonicalizer(Corner()).bind(actions.Image(C4))(pictures())
    for kept in (pickle.loads(pickle.dumps(measure.scores)), copy.deepcopy(measure.scores)):
        assert set(kept) == set(measure.scores)
        assert all(torch.equal(kept[key], measure.scores[key].detach()) for key in kept)


def test_verify_passes_and_names_a_broken_law():
    source = actions.Vectors(groups.Orthogonal(3))
    x = torch.randn(4, 6, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)

    def axes(x, noise):
        return torch.stack([(x * x.norm(dim=-1, keepdim=True) ** p).sum(1) for p in (0, 1, 2)], 1)

    frames.Canonicalizer(axes).bind(source).verify(x)
    frame = frames.Canonicalizer(lambda x, noise: axes(x, noise) + torch.eye(3, dtype=x.dtype)).bind(source).train()
    with pytest.raises(FrameError, match=r"breaks the law q\(hx\) = h q\(x\) for the rotation"):
        frame.verify(x)
    assert frame.training


def test_verify_restores_the_mode_after_an_error():
    source = actions.Vectors(groups.Orthogonal(3))
    frame = frames.Canonicalizer(lambda x, noise: x[:, :2]).bind(source).train()
    with pytest.raises(FrameError, match="at least 3 vectors"):
        frame.verify(torch.randn(4, 6, 3))
    assert frame.training


def test_the_distance_from_a_group_compiles():
    frame = frames.Canonicalizer(lambda x, noise: x[:, :3] * 2, frames.OrbitDistance()).bind(actions.Vectors(groups.Orthogonal(3)))
    x = torch.randn(4, 6, 3, generator=torch.Generator().manual_seed(3))
    program = torch.compile(lambda x: frame(x).elements, fullgraph=True, backend="eager")
    assert torch.allclose(program(x), frame(x).elements)
