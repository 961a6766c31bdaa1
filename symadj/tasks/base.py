"""What every task has: the objective of a training, its metrics, and what it shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from symadj.calls.integrator import Integrator
from symadj.data.base import Batch
from symadj.errors import InputError


@runtime_checkable
class Task(Protocol):
    """An objective. A task of your own derives from this class.

    Attributes:
        monitor: the metric whose minimum on the validation split chooses the weights.
        tracked: further metrics of a validation that history.csv has.
        solves: whether the loss solves an ODE, so that there is a gradient method to speak of.
    """

    monitor: str
    tracked: Sequence[str] = ()
    solves: bool = True

    def bind(self, data: Any, model: nn.Module, integrator: Integrator) -> None:
        """Takes what it needs of a run, and refuses what it cannot use, before any training.

        Raises:
            InputError: data, a model or a solver that do not go with the task.
        """

    def sample_batch(self, data: Any, n: int, generator: torch.Generator) -> Batch:
        """A training batch of n samples, as `loss` takes it; else the data's own."""
        return data.sample_batch(n, generator)

    def split(self, data: Any, name: str) -> Any:
        """The split "train", "val" or "test", as `evaluate` takes it; else the data's own."""
        return getattr(data, name)

    def loss(self, model: Any, batch: Any, integrator: Integrator) -> Tensor:
        """The loss of a batch, a scalar with a graph: a mean over its samples."""
        ...

    def evaluate(
        self, model: Any, x: Any, data: Any, integrator: Integrator, batch_size: int
    ) -> dict[str, float]:
        """The metrics of a validation, without gradients; `monitor` is one of them.

        Args:
            model: in evaluation mode.
            x: as `split` gives it, on the model's device.
            data: the data set.
            integrator: solver and gradient method of the run.
            batch_size: samples per solve.
        """
        ...

    def test(
        self, model: Any, x: Any, data: Any, integrator: Integrator, batch_size: int
    ) -> dict[str, float]:
        """The metrics of the test, which may cost more than a validation; else the same."""
        return self.evaluate(model, x, data, integrator, batch_size)

    def jax_problem(self, problem: Any, tangent: bool) -> Any:
        """The objective in JAX, by which symadj-bench measures diffrax on a task of your own.

        Args:
            problem: the `symadj.bench.problem.BenchProblem`: model, batch, solver, and the state of
                the random numbers (`draw_again`) from which `loss` draws.
            tangent: whether a derivative inside the field is taken as the model takes it, or by a
                reverse-mode pass; of no meaning where there is one way.

        Returns:
            A `symadj.bench.peers.jax_solve.JaxProblem` whose loss is that of the task and whose
            weights have the model's own names; None: there is none.
        """
        return None

    def sample(
        self,
        model: Any,
        z: Tensor,
        integrator: Integrator,
        labels: Tensor | None = None,
        guidance: float | None = None,
    ) -> Tensor:
        """Samples [n, dim] from normal variables z [n, dim]; else by the model's `inverse`.

        Args:
            model: in evaluation mode.
            z: on the model's device.
            integrator: solver and gradient method of the run.
            labels: the class of every sample, [n]; None: none.
            guidance: the strength of a class; None: the task's own.

        Raises:
            InputError: the model has no samples, or not of such a class.
        """
        if not hasattr(model, "inverse"):
            raise InputError(
                f"a {type(model).__name__} has no samples; flows have (task=density, "
                "task=flow_matching)."
            )
        if labels is not None or guidance is not None:
            raise InputError(
                f"a {type(model).__name__} has no classes: leave class and guidance out, or train "
                "with task=flow_matching on data with labels."
            )
        return model.inverse(z, integrator)

    def test_notes(self) -> dict[str, str]:
        """What a record's `model` says of how the test was made."""
        return {}

    def tables(self) -> dict[str, pd.DataFrame]:
        """What is kept after the test besides metrics: tables by the stem of their files."""
        return {}

    def figures(
        self, model: Any, data: Any, integrator: Integrator, generator: torch.Generator
    ) -> dict[str, Figure]:
        """Pictures of what was learned, by the stem of their files."""
        return {}
