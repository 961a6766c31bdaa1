"""The tasks of `users.tasks` as functions of JAX arrays, solved by diffrax."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp  # pyright: ignore[reportMissingImports]
import numpy as np
import torch

from symadj.bench.peers.jax_solve import (
    Params,
    Solves,
    Stepping,
    array,
    arrays,
    solve,
)
from symadj.bench.problem import BenchProblem
from users.jax_fields import jax_field
from users.tasks import times_of


class JaxOneSolve:
    """What both have: one solve over [0, 1]."""

    solves = 1
    T = 1.0

    def __init__(self, problem: BenchProblem) -> None:
        self.field: Callable[..., Any] = jax_field(problem.parts.model)


class JaxLikelihood(JaxOneSolve):
    """`users.tasks.Likelihood`."""

    def inputs(self, problem: BenchProblem) -> tuple[Params, Any, Any]:
        """Weights, batch [B, d], and the noise that the task draws [B, d]."""
        problem.draw_again()
        noise = torch.randn_like(problem.batch)
        return arrays(problem.parts.model), array(problem.batch), array(noise)

    def loss(self, stepping: Sequence[Stepping]) -> Callable[..., tuple[Any, Solves]]:
        """The function (params, x, noise) -> loss, `Solves`."""
        (how,) = stepping

        def value(params: Params, x: Any, noise: Any) -> tuple[Any, Solves]:
            def field(t: Any, y: Any, params: Params) -> Any:
                return self.field(t, y, params, noise)

            start = (x, jnp.zeros_like(x[:, 0]))
            (z, change), told = solve(field, self.T, start, params, how)
            log_normal = -0.5 * ((z**2).sum(1) + z.shape[1] * np.log(2 * np.pi))
            return (change - log_normal).mean(), Solves.of([told])

        return value


class JaxMeanSquare(JaxOneSolve):
    """`users.tasks.MeanSquare`."""

    def inputs(self, problem: BenchProblem) -> tuple[Params, Any, Any]:
        """Weights, starts [B, ...] and targets [outputs, B, ...]."""
        start, targets = problem.batch
        return arrays(problem.parts.model), array(start), array(targets)

    def loss(self, stepping: Sequence[Stepping]) -> Callable[..., tuple[Any, Solves]]:
        """The function (params, start, targets) -> loss, `Solves`."""
        (how,) = stepping

        def value(params: Params, start: Any, targets: Any) -> tuple[Any, Solves]:
            times = times_of(len(targets))[1:].tolist()
            ys, told = solve(self.field, self.T, start, params, how, times)
            return ((ys - targets) ** 2).mean(), Solves.of([told])

        return value
