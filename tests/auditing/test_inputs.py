"""Bad input: each a coset error that repeats what was given, says what was expected and what to do."""

from __future__ import annotations

import numpy
import pytest
import torch
from torch import nn

from coset import actions, groups
from coset.auditing import assert_equivariant, audit
from coset.errors import CosetError, InputError, SignatureError

O3 = groups.Orthogonal(3)
SIGNATURE = actions.Vectors(O3) >> actions.Vectors(O3)
ROUND = actions.Dict(pos=actions.Points(O3), q=actions.Vectors(O3)) >> actions.Trivial(O3)


def identity(x):
    return x


@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        ({"inputs": torch.zeros(0, 3)}, InputError, "empty batch"),
        ({"inputs": torch.tensor([[1.0, float("nan"), 0.0]])}, InputError, "NaN or infinite entries in rows [0]"),
        ({"inputs": torch.tensor([[1.0, 0.0, 0.0], [float("inf"), 0, 0]])}, InputError, "rows [1]"),
        ({"inputs": torch.zeros(4, 2)}, InputError, "(4, 2)"),
        ({"inputs": torch.zeros(4, 3, dtype=torch.int64)}, InputError, "floating point numbers"),
        ({"inputs": "data"}, InputError, "without tensors"),
        ({"inputs": None}, InputError, "without tensors"),
        ({"signature": actions.Vectors(O3)}, SignatureError, "source >> target"),
        ({"model": 3}, InputError, "a callable"),
        ({"samples": 0}, InputError, "samples=0"),
        ({"chunk": 0}, InputError, "chunk=0"),
        ({"signature": ROUND, "inputs": {"pos": torch.randn(2, 4, 3)}}, SignatureError, "missing: ['q']"),
        (
            {"signature": ROUND, "inputs": {"pos": torch.randn(2, 4, 3), "q": torch.randn(2, 3), "z": torch.ones(2)}},
            SignatureError,
            "['z']",
        ),
        (
            {"signature": ROUND, "inputs": {"pos": torch.randn(2, 4, 3), "q": torch.randn(2, 3).double()}},
            InputError,
            "one floating point dtype",
        ),
        ({"signature": ROUND, "inputs": {"pos": torch.randn(2, 4, 3), "q": torch.randn(2, 3, device="meta")}}, InputError, "one device"),
        ({"signature": ROUND, "inputs": {"pos": torch.randn(2, 4, 3), "q": torch.randn(5, 3)}}, InputError, "samples"),
        ({"model": lambda x: {"y": x}, "signature": actions.Vectors(O3) >> actions.Dict(z=actions.Vectors(O3))}, SignatureError, "'z'"),
        ({"model": lambda x: x[:, :2]}, InputError, "output is a Tensor of shape (5, 2)"),
        ({"model": lambda x: x.sum(), "signature": actions.Vectors(O3) >> actions.Trivial(O3)}, InputError, "batch axis"),
        ({"model": lambda x: x[:1]}, InputError, "(1, 3), torch.float32 on cpu for 5 inputs"),
        ({"model": lambda x: "text"}, InputError, "output is a value of type str"),
        ({"model": lambda x: (x, x)}, SignatureError, "2 tensors"),
    ],
)
def test_error_texts(change, kind, words):
    given = {"model": identity, "signature": SIGNATURE, "inputs": torch.randn(5, 3)} | change
    with pytest.raises(kind) as caught:
        audit(given.pop("model"), given.pop("signature"), given.pop("inputs"), **given)
    text = str(caught.value)
    assert words in text
    assert "Given: " in text
    assert "Expected: " in text
    assert "To do: " in text
    assert isinstance(caught.value, CosetError)


def test_arrays_take_the_dtype_of_the_model():
    model = nn.Linear(3, 3, bias=False)
    report = audit(model, SIGNATURE, numpy.random.default_rng(0).normal(size=(5, 3)))
    assert report.dtype == "float32"
    assert any("NumPy arrays were converted" in note for note in report.notes)
    report = audit(identity, SIGNATURE, numpy.ones((5, 3)))
    assert report.dtype == "float64"


def test_dictionaries_of_arrays():
    x = {"pos": numpy.random.default_rng(0).normal(size=(3, 4, 3)), "q": numpy.ones((3, 3))}
    assert audit(lambda pos, q: pos.square().sum((1, 2)), ROUND, x).passed(1e-10)


def test_errors_of_the_model_come_through():
    def fails(x):
        raise ZeroDivisionError("inside the model")

    with pytest.raises(ZeroDivisionError, match="inside the model"):
        audit(fails, SIGNATURE, torch.randn(5, 3))


def test_assert_equivariant_passes_errors_on():
    with pytest.raises(InputError, match="empty batch"):
        assert_equivariant(identity, SIGNATURE, torch.zeros(0, 3), bound=1.0)
    assert assert_equivariant(identity, SIGNATURE, torch.randn(3, 3), bound=1e-5) is None
