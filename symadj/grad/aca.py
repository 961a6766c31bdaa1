"""Adaptive checkpoint adjoint: a checkpoint per step, the graph of one step at a time.

Zhuang et al.: "Adaptive Checkpoint Adjoint Method for Gradient Estimation in Neural ODE", ICML
2020, arXiv:2006.02493.
"""

from __future__ import annotations

import torch
from torch import Tensor

from symadj.grad.base import Outputs, Replay, StepwiseReplay
from symadj.ode.engine import Step
from symadj.ode.methods import Attempt


class ACA(StepwiseReplay):
    """Replays one step at a time with the graph of all its stages, and backpropagates through it.

    Kept between forward and backward: y0 of every accepted step, or (store="revolve") of at most
    `slots` steps. Memory: N states, or `slots`, and the graphs of s network uses.

    Args:
        store: what is kept, "steps" or "revolve".
        slots: of store="revolve".
        offload: where it is kept: None, "cpu" or "disk".
        offload_dir: folder for offload="disk".

    Raises:
        InputError: as `StoreOptions`.
    """

    name = "aca"
    per_sample = True
    stores = ("steps", "revolve")

    def pull_step(
        self,
        replay: Replay,
        step: Step,
        attempt: Attempt,
        cotangent: Tensor,
        outputs: Outputs,
    ) -> Tensor:
        """One step with graph, one call of autograd."""
        field, solver = replay.field, replay.problem.solver
        leaf = attempt.y0.detach().requires_grad_()
        with torch.enable_grad():
            attempt = solver.attempt(field.traced, step.t0, step.t1, leaf)
            values = solver.dense(field.traced, attempt, [theta for theta, _ in outputs])
        assert attempt.y1 is not None
        field.stats.vjps += sum(k is not None for k in attempt.ks)
        of_start, *of_params = field.pull(
            [attempt.y1, *values], [leaf], [cotangent, *(g for _, g in outputs)]
        )
        replay.gradients.add(of_params)
        assert of_start is not None
        return of_start
