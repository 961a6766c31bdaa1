"""Backpropagation through the solver: the graph of every accepted step is kept."""

from __future__ import annotations

import torch
from torch import Tensor

from symadj.grad.base import GradientMethod
from symadj.ode.engine import Step
from symadj.ode.methods import Attempt
from symadj.ode.problem import Problem, StepList
from symadj.ode.stats import SolveStats


class Backprop(GradientMethod):
    """Ordinary autograd through the accepted steps (Chen et al., NeurIPS 2018, arXiv:1806.07366).

    Step sizes are plain numbers and are not differentiated; the graph of a rejected step is dropped
    at once. Memory: the graphs of N s network uses. The only method that can be differentiated
    twice.
    """

    name = "backprop"
    per_sample = True
    differentiable_twice = True

    def solve(self, problem: Problem, y0: Tensor) -> tuple[Tensor, list[Step]]:
        """The forward solve with its graph."""
        field = problem.field
        uses = _GraphUses(problem.solver.end)
        with field.phase("forward"), torch.enable_grad():
            ys = torch.stack(problem.trace(y0, observer=uses))
        if ys.requires_grad:
            ys.register_hook(_CountProducts(field.stats, uses.total()))
        return ys, uses.steps


class _GraphUses(StepList):
    """Counts the network uses through which the outputs were computed."""

    def __init__(self, end: int | None) -> None:
        super().__init__()
        self.end = end
        self.inner = 0
        self.last_end = False

    def accepted(self, step: Step, attempt: Attempt) -> None:
        """Counts the step's stages; an end stage is counted as the next step's first."""
        super().accepted(step, attempt)
        self.inner += sum(k is not None for i, k in enumerate(attempt.ks) if i != self.end)
        if self.end is not None:
            self.last_end = bool(step.interior) and attempt.ks[self.end] is not None

    def total(self) -> int:
        """All of them, with the last step's end stage where an output inside used it."""
        return self.inner + self.last_end


class _CountProducts:
    """A hook that counts the vector-Jacobian products when the backward pass comes by."""

    def __init__(self, stats: SolveStats, uses: int) -> None:
        self.stats = stats
        self.uses = uses

    def __call__(self, gradient: Tensor) -> None:
        self.stats.vjps += self.uses
