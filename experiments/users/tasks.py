"""The objectives: one solve over [0, 1] each, and what is made of its result."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from symadj.calls.integrator import Integrator
from symadj.tasks.base import Task
from users.fields import Flow


class OneLoss(Task):
    """A task whose only metric is its loss."""

    monitor = "loss"

    def evaluate(
        self, model: nn.Module, x: Any, data: Any, integrator: Integrator, batch_size: int
    ) -> dict[str, float]:
        """The loss of the split in one solve."""
        with torch.no_grad():
            return {"loss": float(self.loss(model, x, integrator))}


class Likelihood(OneLoss):
    """The mean negative log-likelihood in nats of a batch [B, d] under a `Flow`."""

    def loss(self, model: Flow, batch: Tensor, integrator: Integrator) -> Tensor:
        """mean(change of logp - log N(z(1))), on noise that is drawn once for the solve."""
        model.noise = torch.randn_like(batch)
        start = (batch, torch.zeros_like(batch[:, 0]))
        z, change = (y[-1] for y in integrator.solve(model, start, times_of(1)).ys)
        log_normal = -0.5 * (z.square().sum(1) + z.shape[1] * math.log(2 * math.pi))
        return (change - log_normal).mean()

    def jax_problem(self, problem: Any, tangent: bool) -> Any:
        """The same in JAX, the trace by a reverse-mode pass as here."""
        from users.jax_problems import JaxLikelihood

        return JaxLikelihood(problem)


class MeanSquare(OneLoss):
    """The mean squared distance from the targets at equidistant times, the last one 1."""

    def loss(
        self, model: nn.Module, batch: tuple[Tensor, Tensor], integrator: Integrator
    ) -> Tensor:
        """mean((y(t_i) - target_i)^2), i = 1, ..., n."""
        start, targets = batch
        ys = integrator.solve(model, start, times_of(len(targets))).ys
        return (ys[1:] - targets).square().mean()

    def jax_problem(self, problem: Any, tangent: bool) -> Any:
        """The same in JAX."""
        from users.jax_problems import JaxMeanSquare

        return JaxMeanSquare(problem)


def times_of(outputs: int) -> Tensor:
    """0 and the output times behind it."""
    return torch.linspace(0, 1, outputs + 1, dtype=torch.float64)
