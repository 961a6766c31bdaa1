"""Batch normalisation as a step of a flow: invertible, with its log-determinant."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from symadj.errors import InputError
from symadj.share import moments, row_count


class BatchNorm(nn.Module):
    """y = (x - m) / sqrt(v + eps) * exp(w) + b, entry by entry, with w and b trained.

    In training m and v are mean and variance of the batch, through which the gradient goes, and
    running means of them are kept; in evaluation, and for the inverse always, m and v are those
    running means, so that every point has a density and an image of its own. (Dinh et al. 2017,
    Real NVP, arXiv:1605.08803, appendix E; FFJORD's MovingBatchNorm at its default lag takes the
    running means in training too.) Processes that share a batch take those of the whole batch.

    Args:
        dim: entries of a point.
        decay: the weight of a batch in the running means.
        eps: added to the variance.

    Raises:
        InputError: a decay outside (0, 1], or an eps that is not positive.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, dim: int, decay: float = 0.1, eps: float = 1e-4) -> None:
        super().__init__()
        if not (0 < decay <= 1 and eps > 0):
            raise InputError(f"decay={decay}, eps={eps}; needed are a decay in (0, 1] and eps > 0.")
        self.decay = decay
        self.eps = eps
        self.log_scale = nn.Parameter(torch.zeros(dim))
        self.shift = nn.Parameter(torch.zeros(dim))
        self.register_buffer("running_mean", torch.zeros(dim))
        self.register_buffer("running_var", torch.ones(dim))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """y [B, dim] and log |det dy/dx|, one number for all points x [B, dim].

        Raises:
            InputError: a batch of one point in training; it has no variance.
        """
        mean, var = self._batch(x) if self.training else (self.running_mean, self.running_var)
        log_slope = self._log_slope(var)
        return (x - mean) * log_slope.exp() + self.shift, log_slope.sum()

    def inverse(self, y: Tensor) -> Tensor:
        """The points x [B, dim] that are carried to y in evaluation."""
        log_slope = self._log_slope(self.running_var)
        return (y - self.shift) * (-log_slope).exp() + self.running_mean

    def _log_slope(self, var: Tensor) -> Tensor:
        return self.log_scale - 0.5 * (var + self.eps).log()

    def _batch(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The batch's mean and variance, which join the running means."""
        rows = row_count(x)
        if rows < 2:
            raise InputError(
                "batch normalisation needs at least 2 points to train on, and the batch has "
                f"{rows}; raise train.batch_size, or take model.batch_norm=false."
            )
        mean, var = moments(x)
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.decay)
            self.running_var.lerp_(var, self.decay)
        return mean, var
