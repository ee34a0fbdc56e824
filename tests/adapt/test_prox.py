"""The proximal operator of weight sharing against isotonic regression, its optimality conditions, and brute force."""

from __future__ import annotations

import numpy
import pytest
import torch

from coset import adapt
from coset.adapt import isotonic, prox, prox_, sharing_penalty
from coset.errors import InputError

TOL = {torch.float32: 1e-5, torch.float64: 1e-13}


def draw(*shape: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


@pytest.fixture(autouse=True, params=["own", "SciPy"])
def pooling(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test with and without SciPy's regression inside."""
    if request.param == "own":
        monkeypatch.setattr("coset.adapt.weight_sharing._scipy", lambda: None)
    else:
        pytest.importorskip("scipy")


@pytest.mark.parametrize("dtype", TOL)
@pytest.mark.parametrize("strength", [0.0, 0.01, 0.3, 5.0])
def test_equals_isotonic_regression(dtype: torch.dtype, strength: float) -> None:
    optimize = pytest.importorskip("scipy.optimize")
    w = draw(301, dtype=dtype)
    ordered, places = w.double().sort()
    steps = torch.arange(1, 302, dtype=torch.float64)
    oracle = torch.from_numpy(optimize.isotonic_regression((ordered - strength * (2 * steps - 302) / 300).numpy()).x)
    assert torch.allclose(prox(w, strength)[places].double(), oracle, atol=TOL[dtype], rtol=0)


@pytest.mark.parametrize("strength", [0.05, 0.7])
def test_no_other_point_is_better(strength: float) -> None:
    w = draw(9)

    def value(u: torch.Tensor) -> torch.Tensor:
        return (u - w).square().sum(-1) / 2 + strength * sharing_penalty(u)

    best = prox(w, strength)
    others = best + 0.1 * draw(4000, 9, seed=1) * 10 ** (-4 * torch.rand(4000, 1, generator=torch.Generator().manual_seed(2)))
    assert (value(others.double()) >= value(best) - 1e-12).all()
    assert (value(others.double()) < value(w)).any()  # the check can fail: the start is not optimal


def test_certificate_of_majorization() -> None:
    """Within a block the partial means of y never fall below the block's mean: the condition of optimality."""
    y = draw(2000).sort().values - 3 * torch.linspace(-1, 1, 2000, dtype=torch.float64)
    u = isotonic(y)
    assert (u.diff() >= 0).all()
    slack = (y - u).cumsum(0)
    assert slack.min() > -1e-9
    assert slack[-1].abs() < 1e-9
    ends = torch.nonzero(u.diff() > 0).reshape(-1)
    assert slack[ends].abs().max() < 1e-9
    assert (y.sort().values.sub(u).cumsum(0)).abs().max() > 1e-3  # of a wrong y the certificate fails


def test_a_strong_pull_makes_all_weights_equal_and_keeps_their_mean() -> None:
    w = draw(50)
    assert torch.allclose(prox(w, 1e3), w.mean().expand(50))
    assert prox(w, 0.0).equal(w)
    assert torch.allclose(prox(w, 0.2).mean(), w.mean())


def test_penalty_is_the_sum_over_pairs() -> None:
    w = draw(4, 12)
    pairs = (w[:, :, None] - w[:, None, :]).abs().sum((-1, -2)) / 2 / 11
    assert torch.allclose(sharing_penalty(w), pairs)


def test_rows_are_apart() -> None:
    w = draw(3, 5, 40)
    together = prox(w, 0.5)
    assert all(torch.allclose(together[i, j], prox(w[i, j], 0.5)) for i in range(3) for j in range(5))


def test_slow_pooling_ends_in_the_same_place() -> None:
    """One low value at the end is pooled with one block a round: the stack takes over."""
    optimize = pytest.importorskip("scipy.optimize")
    y = torch.cat([torch.arange(400.0, dtype=torch.float64), torch.tensor([-3e5], dtype=torch.float64)])
    y = torch.cat([y, y]).reshape(2, -1)
    oracle = torch.from_numpy(optimize.isotonic_regression(y[0].numpy()).x)
    assert torch.allclose(isotonic(y), oracle.expand(2, -1), atol=1e-9)


def test_gradients() -> None:
    w = draw(3, 8).requires_grad_()
    assert torch.autograd.gradcheck(lambda u: prox(u, 0.4), w)


def test_in_place_ties_most_weights_of_a_layer() -> None:
    layer = torch.nn.Linear(1000, 1000)
    before, spread = layer.weight.detach().clone(), layer.weight.std().item()
    assert prox_(layer.weight, 0.04) is layer.weight
    assert len(layer.weight.unique()) < 0.01 * before.numel()
    assert layer.weight.std() < spread
    assert torch.allclose(layer.weight.mean(), before.mean(), atol=1e-6)


def test_shared_values_of_a_penalized_regression_are_found() -> None:
    """Proximal gradient steps on a regression with two true values end with two values."""
    x = draw(400, 10)
    truth = torch.tensor([1.0] * 5 + [-1.0] * 5, dtype=torch.float64)
    y = x @ truth + 0.1 * draw(400, seed=3)
    w = torch.zeros(10, dtype=torch.float64, requires_grad=True)
    for _ in range(500):
        loss = (x @ w - y).square().mean() / 2
        (gradient,) = torch.autograd.grad(loss, w)
        with torch.no_grad():
            w -= 0.3 * gradient
        prox_(w, 0.3 * 0.05)
    assert w.detach().round(decimals=9).unique().numel() == 2
    assert adapt.sharing_penalty(w.detach()) < sharing_penalty(truth)


@pytest.mark.parametrize(
    ("weights", "strength", "words"),
    [
        (torch.arange(3), 0.1, "floating point"),
        (torch.tensor(1.0), 0.1, "at least one axis"),
        (torch.ones(3), -1.0, "at least 0"),
        (torch.ones(3), float("nan"), "finite number"),
        (torch.tensor([1.0, float("nan")]), 0.1, "finite weights"),
    ],
)
def test_bad_input(weights: torch.Tensor, strength: float, words: str) -> None:
    with pytest.raises(InputError, match=words):
        prox(weights, strength)


def test_one_and_no_weights() -> None:
    assert prox(torch.tensor([2.0]), 3.0).tolist() == [2.0]
    assert prox(torch.zeros(0), 1.0).shape == (0,)


def test_half_precision_is_rounded_once():
    w = torch.randn(300, generator=torch.Generator().manual_seed(0)).bfloat16()
    assert torch.equal(adapt.prox(w, 0.3), adapt.prox(w.double(), 0.3).bfloat16())


def test_other_things_than_tensors_are_refused():
    with pytest.raises(InputError, match="weights"):
        adapt.prox_(numpy.ones(3), 0.1)
    with pytest.raises(InputError, match="strength"):
        adapt.prox_(torch.ones(3), "strong")
