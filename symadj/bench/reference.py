"""The gradient that all others are held against: frozen-grid backpropagation in float64."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from symadj.bench.problem import BenchProblem
from symadj.bench.replay import Grid, RecordingIntegrator, ReplayIntegrator
from symadj.calls.integrator import Integrator
from symadj.files import write_atomically
from symadj.ode.settings import SolverSettings


@dataclass(frozen=True)
class Reference:
    """A gradient with the steps that it belongs to.

    Attributes:
        grids: the accepted steps of every solve of the loss, taken in the dtype of the rows.
        gradient: of the discrete solution on those steps, with the same weights, batch and noise
            in float64, by backpropagation.
        loss: in float64.
        converged: the gradient of a solution so exact that its steps do not matter; None: unknown.
    """

    grids: list[Grid]
    gradient: Tensor
    loss: float
    converged: Tensor | None = None

    @staticmethod
    def of(
        problem: BenchProblem, grids: list[Grid] | None = None, tolerance: float | None = None
    ) -> Reference:
        """Computes the reference.

        Args:
            problem: what is differentiated.
            grids: the steps; None: those that the problem's solver accepts.
            tolerance: rtol = atol of the solve by dop853 in float64 that gives `converged`; None:
                it is left out.
        """
        # Backpropagation does not compile, and what is compiled is to be held against what is not.
        solver = replace(problem.parts.integrator.solver, compile=False)
        if grids is None:
            integrator = RecordingIntegrator(solver)
            with torch.no_grad():
                problem.loss(integrator)
            grids = integrator.grids
        replay = ReplayIntegrator(solver, "backprop", grids)
        gradient, loss = problem.replayed_gradient(replay)
        converged = None
        if tolerance is not None:
            exact = Integrator(SolverSettings("dop853", tolerance, tolerance), "symplectic")
            converged = problem.replayed_gradient(exact)[0]
        return Reference(grids, gradient, loss, converged)

    def save(self, path: Path) -> None:
        """Writes it for another process."""
        write_atomically(path, lambda file: torch.save(vars(self), file))

    @staticmethod
    def load(path: Path) -> Reference:
        """Reads what `save` wrote."""
        return Reference(**torch.load(path, weights_only=True))
