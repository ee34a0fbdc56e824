"""Bilevel sharing: hypergradients against autograd through the inner solution, recovery, modules, bad input."""

from functools import partial

import pytest
import torch

from coset import discover
from coset.discover.modules import Problem
from coset.discover.relaxation import assignment
from coset.discover.statistic import observed
from coset.discover.two_level import Means, split
from coset.errors import InputError

SOLVERS = [discover.Exact(), discover.ConjugateGradient(), discover.Neumann(steps=4000, factor=0.05)]


def seeded(number=0):
    return torch.Generator().manual_seed(number)


def normal(*shape, number=0):
    return torch.randn(*shape, generator=seeded(number), dtype=torch.float64)


def quadratic():
    """Ridge regression with theta = A psi: its inner solution is a linear solve, through which autograd passes."""
    x, y, xv, yv = normal(30, 4), normal(30, number=1), normal(20, 4, number=2), normal(20, number=3)

    def train(s, psi):
        return (x @ (assignment(s) @ psi) - y).square().mean() + 0.3 * psi.square().sum()

    def validation(s, psi):
        return (xv @ (assignment(s) @ psi) - yv).square().mean() + 0.1 * s.square().sum()

    def solution(s):
        b = x @ assignment(s)
        return torch.linalg.solve(b.mT @ b / 30 + 0.3 * torch.eye(4, dtype=torch.float64), b.mT @ y / 30)

    return train, validation, solution


@pytest.mark.parametrize("solver", SOLVERS, ids=lambda s: type(s).__name__)
def test_hypergradients_equal_autograd_through_the_solution(solver):
    train, validation, solution = quadratic()
    scores = normal(4, 4, number=5).requires_grad_()
    (exact,) = torch.autograd.grad(validation(scores, solution(scores)), scores)
    found, loss = discover.hypergradient(train, validation, scores, solution(scores).detach(), solver)
    assert float((found - exact).abs().max()) < 1e-10
    assert torch.allclose(loss, validation(scores, solution(scores)))


def test_hypergradients_of_a_problem_that_is_not_quadratic():
    """Differentiating one Newton step at the solution is exact: autograd through it is the reference."""
    x, y = normal(25, 3), normal(25, number=1).sign()

    def train(h, w):
        return torch.nn.functional.softplus(-y * (x @ w)).mean() + (h.exp() * w.square()).sum()

    def validation(h, w):
        return (w - 1).square().sum()

    h, w = normal(3, number=2).requires_grad_(), torch.zeros(3, dtype=torch.float64)
    for _ in range(30):
        g, hessian = torch.func.grad(train, 1)(h.detach(), w), torch.func.hessian(train, 1)(h.detach(), w)
        w = w - torch.linalg.solve(hessian, g)
    step = w - torch.linalg.solve(torch.func.hessian(train, 1)(h.detach(), w), torch.func.grad(train, 1)(h, w))
    (exact,) = torch.autograd.grad(validation(h, step), h)
    for solver in (discover.Exact(), discover.ConjugateGradient()):
        assert float((discover.hypergradient(train, validation, h, w, solver)[0] - exact).abs().max()) < 1e-10


def test_a_neumann_series_needs_its_factor():
    train, validation, solution = quadratic()
    scores = normal(4, 4, number=5)
    exact = discover.hypergradient(train, validation, scores, solution(scores), discover.Exact())[0]
    short = discover.hypergradient(train, validation, scores, solution(scores), discover.Neumann(5, 0.05))[0]
    assert float((short - exact).abs().max()) > 1e-4
    with pytest.raises(InputError, match="a factor below"):
        discover.hypergradient(train, validation, scores, solution(scores), discover.Neumann(200, 10.0))
    with pytest.raises(InputError, match="positive factor"):
        discover.Neumann(5, 0.0)


def test_directions_without_curvature_are_left_out():
    def train(h, w):
        return (w[0] - h[0]).square() + 0 * w[1]

    h, w = torch.tensor([2.0], dtype=torch.float64), torch.tensor([2.0, 7.0], dtype=torch.float64)
    found = discover.hypergradient(train, lambda h, w: w[0] * 3 + h[0], h, w, discover.Exact())[0]
    assert torch.allclose(found, torch.tensor([4.0], dtype=torch.float64))


def test_descending_together_takes_the_exact_hypergradients():
    problem = Means(normal(4), normal(4, number=1), torch.ones(4, dtype=torch.float64))
    scores = normal(4, 4, number=2).requires_grad_()
    (closed,) = torch.autograd.grad(problem.closed(scores), scores)
    for solver in (discover.Exact(), discover.ConjugateGradient()):
        implicit, loss = discover.hypergradient(problem.train, problem.validation, scores, problem.inner(scores).detach(), solver)
        assert float((implicit - closed).abs().max()) < 1e-8  # the ridge of unused columns
        assert abs(float(loss - problem.closed(scores).detach())) < 1e-8


def test_splits_have_the_law_of_random_splits():
    data = observed(torch.zeros(3), torch.tensor([1.0, 4.0, 9.0]), 100)
    generator = seeded()
    parts = [split(data, 0.3, generator) for _ in range(4000)]
    first, second = (torch.stack(x) for x in zip(*parts, strict=True))
    assert torch.allclose(0.3 * first + 0.7 * second, torch.zeros(3, dtype=torch.float64), atol=1e-12)
    expected = torch.tensor([1.0, 4.0, 9.0]) * 70 / (100 * 30)
    assert torch.allclose(first.var(0).float(), expected, rtol=0.1)


def test_penalties():
    sharp = torch.nn.functional.one_hot(torch.tensor([0, 0, 1])).double()
    assert float(discover.Penalty(1.0, 0.0)(sharp)) == pytest.approx(2**0.5 + 1)
    assert float(discover.Penalty(0.0, 1.0)(sharp)) == pytest.approx(0.0, abs=1e-12)
    assert float(discover.Penalty(0.0, 1.0)(torch.full((5, 4), 0.25))) == pytest.approx(torch.tensor(4.0).log().item())


def test_statistics_of_separated_means_are_recovered():
    found = discover.sharing([0.0, 3.0, 0.05, 3.1], 1.0, 100, discover.Bilevel(generator=seeded(1)))
    assert found.labels.tolist() == [0, 1, 0, 1]
    assert (found.name, found.group.order) == ("bilevel", 4)
    iterative = discover.Bilevel(discover.ConjugateGradient(), steps=250, restarts=1, generator=seeded(1))
    assert discover.sharing([0.0, 3.0, 0.05], 1.0, 100, iterative).labels.tolist() == [0, 1, 0]


def sums(k, signs, number=0):
    """The sum of numbers: training, validation and held-out data, and the network."""
    generator = seeded(number)
    weights = torch.tensor([-2.0, 1.0] * k, dtype=torch.float64)[:k] if signs else torch.ones(k, dtype=torch.float64)
    parts = []
    for n in (100, 150, 200):
        x = torch.randint(1, 10, (n, k), generator=generator).double()
        parts.append((x, x @ weights + torch.rand(n, generator=generator, dtype=torch.float64) - 0.5))
    scale = torch.cat([parts[0][1], parts[1][1]]).std()
    torch.manual_seed(number)
    net = torch.nn.Linear(k, 1, bias=False, dtype=torch.float64)

    def losses(part):
        return lambda f: ((f(part[0])[:, 0] - part[1]) / scale).square()

    return net, weights, [losses(part) for part in parts]


def mean(losses):
    return lambda f: losses(f).mean()


@pytest.mark.parametrize("signs", [False, True])
def test_sum_of_numbers(signs):
    net, weights, (train, validation, held_out) = sums(4, signs)
    before = net.weight.clone()
    method = discover.Bilevel(steps=200, restarts=1, optimizer=partial(torch.optim.Adam, lr=5e-2), generator=seeded(2))
    found = discover.bilevel(net, ["weight"], mean(train), mean(validation), method)
    assert discover.partition_distance(found.labels["weight"][0], (weights > 0).long()) == 0
    assert torch.equal(before, net.weight)
    assert torch.allclose(found.state["weight"][0], weights, atol=0.05)
    assert found.verdict.startswith("cannot tell before retest")
    assert found.retest(held_out).verdict.startswith("holds")
    wrong = torch.zeros(4, dtype=torch.int64) if signs else torch.tensor([0, 1, 1, 1])
    problem = Problem(net, ("weight",), (mean(train), mean(validation)), 0.0)
    other = problem.result(wrong, (0.0, 0.0), discover.Newton())
    assert other.retest(held_out).verdict.startswith("rejected" if signs else "holds")
    assert found.retest(lambda f: held_out(f)[:3]).verdict.startswith("cannot tell")


def test_other_parameters_are_trained_beside():
    net = torch.nn.Linear(3, 1, dtype=torch.float64)
    x = normal(80, 3)
    y = x.sum(1, keepdim=True) + 7

    def loss(rows):
        return lambda f: (f(x[rows]) - y[rows]).square().mean()

    method = discover.Bilevel(discover.ConjugateGradient(), steps=40, restarts=1, generator=seeded())
    found = discover.bilevel(net, ["weight"], loss(slice(0, 40)), loss(slice(40, 80)), method, discover.Descent(steps=10, rate=0.1))
    assert float(found.state["bias"]) == pytest.approx(7.0, abs=0.1)
    assert found.labels["weight"].shape == (1, 3)


def test_bad_input():
    net = torch.nn.Linear(2, 1)
    fine = partial(lambda f: f(torch.ones(3, 2)).square().mean())
    with pytest.raises(InputError, match="some of"):
        discover.bilevel(net, ["weights"], fine, fine)
    with pytest.raises(InputError, match="finite scalar"):
        discover.bilevel(net, ["weight"], fine, lambda f: f(torch.ones(3, 2)))
    with pytest.raises(InputError, match="steps=0"):
        discover.Bilevel(steps=0)
    with pytest.raises(InputError, match="share"):
        discover.Bilevel(share=1.0)


def test_the_group_of_an_unknown_parameter():
    net = torch.nn.Linear(2, 1, dtype=torch.float64)
    x, y = normal(20, 2), normal(20, 1, number=1)
    method = discover.Bilevel(steps=2, restarts=1, generator=seeded())
    found = discover.bilevel(net, ["weight"], lambda f: (f(x) - y).square().mean(), lambda f: (f(x) - y).square().mean(), method)
    with pytest.raises(InputError, match=r"(?s)the parameter 'bias'.*one of \['weight'\]"):
        found.signature("bias")
