"""Batch normalisation: its statistics, its log-determinant, its inverse."""

from __future__ import annotations

import pytest
import torch

from symadj.errors import InputError
from symadj.models.batch_norm import BatchNorm

DOUBLE = torch.float64


def trained(dim: int = 3, batches: int = 5) -> BatchNorm:
    """With running means and parameters of its own, in training mode."""
    norm = BatchNorm(dim).to(DOUBLE)
    with torch.no_grad():
        norm.log_scale.copy_(torch.randn(dim))
        norm.shift.copy_(torch.randn(dim))
    for _ in range(batches):
        norm(5 + 3 * torch.randn(40, dim, dtype=DOUBLE))
    return norm


def test_a_batch_in_training_leaves_with_the_trained_mean_and_scale() -> None:
    norm, x = trained(), 2 + 4 * torch.randn(50, 3, dtype=DOUBLE)
    y, _ = norm(x)
    var = x.var(0)
    scale = norm.log_scale.exp() * (var / (var + norm.eps)).sqrt()
    torch.testing.assert_close(y.mean(0), norm.shift, rtol=0, atol=1e-12)
    torch.testing.assert_close(y.std(0), scale, rtol=1e-12, atol=0)


def test_the_gradient_goes_through_the_batchs_statistics() -> None:
    norm, x = trained(2), torch.randn(4, 2, dtype=DOUBLE, requires_grad=True)
    assert torch.autograd.gradcheck(norm, (x,))


def test_running_means_follow_the_batches_in_training_alone() -> None:
    norm = BatchNorm(2, decay=0.25).to(DOUBLE)
    first, second = torch.randn(2, 10, 2, dtype=DOUBLE) + 3
    norm(first)
    norm(second)
    mean = 0.75 * (0.25 * first.mean(0)) + 0.25 * second.mean(0)
    var = 0.75 * (0.75 + 0.25 * first.var(0)) + 0.25 * second.var(0)
    norm.eval()
    norm(first)
    torch.testing.assert_close(norm.running_mean, mean, rtol=1e-14, atol=0)
    torch.testing.assert_close(norm.running_var, var, rtol=1e-14, atol=0)
    assert not norm.running_mean.requires_grad


def test_the_log_determinant_is_that_of_the_jacobian() -> None:
    norm, x = trained().eval(), torch.randn(3, dtype=DOUBLE)
    jacobian = torch.func.jacrev(lambda row: norm(row[None])[0][0])(x)
    _, log_det = norm(x[None])
    assert isinstance(jacobian, torch.Tensor)
    torch.testing.assert_close(log_det, torch.linalg.slogdet(jacobian)[1], rtol=0, atol=1e-12)


def test_the_inverse_undoes_the_evaluation_whatever_the_mode() -> None:
    norm, x = trained().eval(), torch.randn(6, 3, dtype=DOUBLE)
    y, _ = norm(x)
    norm.train()
    torch.testing.assert_close(norm.inverse(y), x, rtol=0, atol=1e-12)


def test_one_point_is_no_batch() -> None:
    with pytest.raises(InputError, match=r"train\.batch_size"):
        BatchNorm(2)(torch.randn(1, 2))
    BatchNorm(2).eval()(torch.randn(1, 2))


@pytest.mark.parametrize("wrong", [{"decay": 0.0}, {"decay": 1.5}, {"eps": 0.0}])
def test_bad_settings_are_refused(wrong: dict) -> None:
    with pytest.raises(InputError, match="decay in"):
        BatchNorm(2, **wrong)
