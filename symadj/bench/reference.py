"""The gradient that all others are held against: frozen-grid backpropagation in float64."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from symadj.bench.problem import BenchProblem
from symadj.bench.replay import Grid, RecordingIntegrator, ReplayIntegrator
from symadj.run.files import write_atomically


@dataclass(frozen=True)
class Reference:
    """A gradient with the steps that it belongs to.

    Attributes:
        grids: the accepted steps of every solve of the loss, taken in the dtype of the rows.
        gradient: of the discrete solution on those steps, with the same weights, batch and noise
            in float64, by backpropagation.
        loss: in float64.
    """

    grids: list[Grid]
    gradient: Tensor
    loss: float

    @staticmethod
    def of(problem: BenchProblem, grids: list[Grid] | None = None) -> Reference:
        """Computes the reference.

        Args:
            problem: what is differentiated.
            grids: the steps; None: those that the problem's solver accepts.
        """
        if grids is None:
            integrator = RecordingIntegrator(problem.parts.integrator.solver)
            with torch.no_grad():
                problem.loss(integrator)
            grids = integrator.grids
        replay = ReplayIntegrator(problem.parts.integrator.solver, "backprop", grids)
        return Reference(grids, *problem.replayed_gradient(replay))

    def save(self, path: Path) -> None:
        """Writes it for another process."""
        write_atomically(path, lambda file: torch.save(vars(self), file))

    @staticmethod
    def load(path: Path) -> Reference:
        """Reads what `save` wrote."""
        return Reference(**torch.load(path, weights_only=True))
