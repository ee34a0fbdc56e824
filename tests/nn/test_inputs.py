"""What the networks refuse, and that the message names the remedy."""

from __future__ import annotations

import pytest
import torch

from coset import actions, groups, nn
from coset.errors import InputError, SignatureError

S, O3, E3, L4 = groups.Symmetric(), groups.Orthogonal(3), groups.Euclidean(3), groups.Lorentz(4)
SO = S * O3
POINTS = torch.randn(2, 5, 3)
FEW = {"pos": POINTS, "t": torch.randn(2, 3, 3)}


@pytest.mark.parametrize(
    ("build", "error", "words"),
    [
        (lambda: nn.VectorNeurons(actions.Points(groups.Cyclic(4)), torch.randn(2, 5, 2)), SignatureError, "VectorNeurons for Cyclic"),
        (lambda: nn.VectorNeurons(actions.Points(groups.GeneralLinear(3)), POINTS), SignatureError, "orthogonal, unitary or Lorentz"),
        (lambda: nn.VectorNeurons(actions.Points(groups.Translation(3)), POINTS), SignatureError, "VectorNeurons for Translation"),
        (lambda: nn.GIN(actions.Points(SO), POINTS), SignatureError, "VectorNeurons where matrices act too"),
        (lambda: nn.DeepSets(actions.Points(SO), POINTS), SignatureError, "VectorNeurons where matrices act too"),
        (lambda: nn.DeepSets(actions.Permute(S, -2, -1), torch.randn(2, 5, 5)), SignatureError, "use GIN for graphs"),
        (lambda: nn.GIN(actions.Permute(S, -3, -2, -1), torch.randn(2, 4, 4, 4)), SignatureError, "sum over all but two"),
        (lambda: nn.VectorNeurons(actions.Dict(pos=actions.Points(O3), t=actions.Tensors(O3, 2)), FEW), SignatureError, "moved by Tensors"),
        (
            lambda: nn.VectorNeurons(actions.Pseudovectors(O3), POINTS),
            SignatureError,
            "scalars, vectors, and values of pairs",
        ),
        (lambda: nn.VectorNeurons(actions.Trivial(O3), torch.randn(2, 3), noise=0), SignatureError, "without vectors"),
        (lambda: nn.VectorNeurons(actions.Vectors(L4), torch.randn(2, 5, 4), neighbours=2), SignatureError, "distances between points"),
        (lambda: nn.VectorNeurons(actions.Points(SO), POINTS, neighbours=-1), InputError, "neighbours=-1"),
        (lambda: nn.VectorNeurons(actions.Points(SO), POINTS, noise=-1), InputError, "noise=-1"),
        (lambda: nn.GIN(actions.Permute(S, -2), POINTS, width=0), InputError, "width=0"),
        (lambda: nn.DeepSets(actions.Permute(S, -2), POINTS, layers=-2), InputError, "layers=-2"),
        (lambda: nn.VectorNeurons(actions.Points(SO), torch.randn(2, 5, 4)), InputError, "last axes"),
        (lambda: nn.GIN(rows(actions.Trivial(S)), {"x": torch.randn(3, 2), "edge_index": torch.zeros(2, 1).long(), "y": torch.zeros(3)}),
         SignatureError, "declare Nodes"),
        (lambda: pulled(), SignatureError, "vectors of the group itself"),
    ],
)  # fmt: skip
def test_refused(build, error, words):
    with pytest.raises(error, match=words) as caught:
        build()
    assert "To do" in str(caught.value)


def rows(action):
    return actions.Dict(x=actions.Nodes(S), edge_index=actions.Edges(S), y=action)


def pulled():
    """Rotations that turn the data the other way round."""
    there = groups.Homomorphism(O3, O3, lambda g, dtype=None: torch.linalg.det(g)[..., None, None] * g)
    return nn.VectorNeurons(actions.Pullback(there, actions.Vectors(O3)), POINTS)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda network: network(POINTS.double()), r"network.to\(torch.float64\)"),
        (lambda network: network(POINTS, torch.randn(2, 5, 2, 3)), "as many channels as the noise has"),
        (lambda network: network(POINTS, torch.randn(2, 5, 3)), r"the shape \(2, 5, 1, 3\)"),
    ],
)
def test_refused_calls(call, words):
    with pytest.raises(InputError, match=words):
        call(nn.VectorNeurons(actions.Points(SO), POINTS))


def test_other_channels_than_the_example():
    source = actions.Dict(x=actions.Permute(S, -2), a=actions.Permute(S, -2, -1))
    x = {"x": torch.randn(2, 5, 3), "a": torch.randn(2, 5, 5)}
    with pytest.raises(InputError, match="build the network with such an example"):
        nn.GIN(source, x)({**x, "x": torch.randn(2, 5, 4)})


def test_different_numbers_of_points():
    source = actions.Dict(x=actions.Permute(S, -2), a=actions.Permute(S, -2, -1))
    x = {"x": torch.randn(2, 5, 3), "a": torch.randn(2, 5, 5)}
    with pytest.raises(InputError, match="one number of points"):
        nn.GIN(source, x)({**x, "x": torch.randn(2, 4, 3)})
