"""The soft sort against a plain computation: values, gradients by autograd, entropy of sharp and blunt orders, padding."""

import pytest
import torch

from coset.frames.softsort import entropy, soft_matrix, soft_order

n, sweeps, temperature = 9, 6, 0.05


def plain(scores: torch.Tensor, order: torch.Tensor, valid: torch.Tensor | None) -> torch.Tensor:
    """Sinkhorn sweeps on logarithms, differentiated by autograd."""
    logits = -(scores.gather(1, order).unsqueeze(2) - scores.unsqueeze(1)).abs() / temperature
    if valid is not None:
        apart = valid.gather(1, order).unsqueeze(2) != valid.unsqueeze(1)
        both = (valid.gather(1, order).unsqueeze(2) | valid.unsqueeze(1)).logical_not()
        logits = logits.masked_fill(apart, -1e9).masked_fill(both, 0.0)
    for _ in range(sweeps):
        logits = logits - logits.logsumexp(2, keepdim=True)
        logits = logits - logits.logsumexp(1, keepdim=True)
    return logits.exp()


@pytest.mark.parametrize("scale", [1e-4, 0.1, 1.0, 100.0])
@pytest.mark.parametrize("padded", [False, True])
def test_the_soft_order_is_that_of_plain_sinkhorn_sweeps_with_its_gradient(scale: float, padded: bool) -> None:
    """Whatever the spread of the scores: nearly equal, or so far apart that the kernel has only zeros and ones."""
    generator = torch.Generator().manual_seed(0)
    scores = (torch.randn(5, n, generator=generator, dtype=torch.float64) * scale).requires_grad_()
    valid = torch.arange(n) < torch.tensor([9, 4, 1, 7, 8]).unsqueeze(1) if padded else None
    order = scores.detach().masked_fill(~valid, torch.inf).argsort(1) if valid is not None else scores.detach().argsort(1)
    weight = torch.randn(5, n, n, generator=generator, dtype=torch.float64)
    if valid is not None:
        weight = weight * valid.gather(1, order).unsqueeze(2) * valid.unsqueeze(1)
    expected, found = plain(scores, order, valid), soft_matrix(scores, order, valid, temperature, sweeps)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)
    slopes = [torch.autograd.grad((matrix * weight).sum(), scores)[0] for matrix in (expected, found)]
    torch.testing.assert_close(slopes[1], slopes[0], rtol=1e-10, atol=1e-10 * float(slopes[0].abs().max()) + 1e-20)
    placeholder = soft_order(scores, order, valid, temperature, sweeps)
    assert not placeholder.any()
    torch.testing.assert_close(torch.autograd.grad((placeholder * weight).sum(), scores)[0], slopes[1])


def test_entropy_is_zero_for_sharp_orders_and_largest_for_equal_scores() -> None:
    """Rows and columns count: 2 log n for equal scores."""
    far = torch.arange(n, dtype=torch.float64).unsqueeze(0) * 100
    order = far.argsort(1)
    assert float(entropy(soft_matrix(far, order, None, temperature, sweeps))) < 1e-300
    equal = torch.zeros_like(far)
    found = entropy(soft_matrix(equal, order, None, temperature, sweeps))
    torch.testing.assert_close(found, 2 * torch.tensor([float(n)], dtype=torch.float64).log())
