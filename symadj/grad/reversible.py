"""Exact gradients in constant memory, by taking the steps of a reversible method back.

Zhuang et al.: "MALI", ICLR 2021, arXiv:2102.04668; McCallum, Foster: "Efficient, Accurate and
Stable Gradients for Neural ODEs", arXiv:2410.11648 (2024).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from symadj.errors import ReversalError
from symadj.grad.back_through import WayBack
from symadj.grad.base import Replay, ReplayMethod
from symadj.grad.stores.base import Store
from symadj.ode.engine import Step
from symadj.ode.methods import Attempt, reversible
from symadj.ode.problem import Problem
from symadj.ranges import require


class Reversible(ReplayMethod):
    """Goes back by the inverse of every step, from the state at the end alone.

    Of N steps their N + 1 times are kept (numbers), and the states at the last one's end. The
    states at a step's start are reconstructed from those at its end, and cotangents pulled back
    through the same evaluations, one use's graph at a time (see
    `symadj.grad.back_through.WayBack`). In exact arithmetic the gradient is that of the
    discrete solution; in floating point the reconstruction's rounding is in it, which a method may
    amplify. It is measured: `Solution.stats.reversal_error` is the root mean square of the
    reconstructed y0 less y0, over that of y0, after the backward pass.

    Args:
        check: whether an error above `bound` is refused.
        bound: the largest error that is not.

    Raises:
        InputError: a bound that is not positive.
    """

    name = "reversible"

    def __init__(self, check: bool = True, bound: float = 1e-3) -> None:
        require("grad", bound=bound)
        self.check = check
        self.bound = bound

    def open_store(self, problem: Problem) -> Store:
        """The end alone.

        Raises:
            IncompatibleError: a method that has no inverse.
        """
        reversible(problem.solver)
        return _End(problem)

    def pull_solve(self, replay: Replay, y0: Tensor, cotangents: Tensor) -> Tensor:
        """From the last step to the first.

        Raises:
            ReversalError: the reconstructed y0 is further from y0 than `bound`.
        """
        field, solver, store = replay.field, reversible(replay.problem.solver), replay.store
        assert isinstance(store, _End)
        assert store.end is not None
        # What is reconstructed later may differ from what was.
        field.conclude(y0)
        states, back = store.end, WayBack(field, solver, replay.gradients)
        cotangent = solver.cotangent_of(torch.zeros_like(y0))
        for step in reversed(replay.steps):
            landed, outputs = step.of_end(cotangents), step.of_inside(cotangents)
            if landed is not None:
                cotangent = cotangent + solver.cotangent_of(landed)
            attempt = Attempt(step.t0, step.t1, states, solver.stages)
            attempt.y1 = states
            cotangent = back.step(attempt, cotangent, outputs)
            states = attempt.y0
        self._compare(replay, y0, solver.y_of(states))
        return self.pull_begin(replay, y0, back.finish(cotangent)) + cotangents[0]

    def _compare(self, replay: Replay, y0: Tensor, found: Tensor) -> None:
        scale = y0.abs().square().mean().sqrt().clamp_min(torch.finfo(y0.dtype).tiny)
        error = float((found - y0).abs().square().mean().sqrt() / scale)
        replay.field.stats.reversal_error = error
        if self.check and not error <= self.bound:
            rounding = torch.finfo(y0.dtype).eps
            grown = f"{error / rounding:.1e}" if math.isfinite(error) else "infinitely"
            raise ReversalError(
                f"taking {len(replay.steps)} steps of {replay.problem.solver.name} back missed y0 "
                f"by {error:.2g} of it, more than bound={self.bound:g}: rounding has grown "
                f"{grown} times. Take fewer or shorter steps, float64, another method or "
                'gradient="symplectic", or Reversible(check=False).'
            )

    def __repr__(self) -> str:
        given = f"check={self.check}, bound={self.bound:g}"
        return f"Reversible({'' if self.check and self.bound == 1e-3 else given})"


class _End(Store):
    """The times of all steps, and the states where the last one ends."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self.end: Tensor | None = None

    def accepted(self, step: Step, attempt: Attempt) -> None:
        """Keeps the newest end."""
        super().accepted(step, attempt)
        self.end = attempt.y1

    @property
    def resident_bytes(self) -> int:
        """Of the states."""
        return 0 if self.end is None else self.end.nbytes
