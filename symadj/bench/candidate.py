"""A method that can be timed, metered and asked for its gradient."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor, nn

from symadj.bench.problem import BenchProblem, flat_gradient
from symadj.bench.replay import Grid, RecordingIntegrator, ReplayIntegrator
from symadj.calls.integrator import Integrator
from symadj.errors import NonFiniteLoss
from symadj.meters.meter import Meter
from symadj.meters.step import Stopwatch, measure_memory
from symadj.ode.stats import SolveStats


@dataclass(frozen=True)
class Lap:
    """Seconds of one evaluation of the loss and its gradient.

    Attributes:
        total: of both.
        forward, backward: of the parts; None where they cannot be told apart.
    """

    total: float
    forward: float | None = None
    backward: float | None = None


@dataclass(frozen=True)
class Counts:
    """What one evaluation of the loss and its gradient took.

    Attributes:
        evaluations: of the field: forward, recomputed, with_graph, vjps; empty where not counted.
        steps: accepted and rejected.
    """

    evaluations: dict[str, int]
    steps: dict[str, int]

    @staticmethod
    def of(stats: SolveStats) -> Counts:
        """The counts of solves."""
        counts = stats.as_dict()
        kinds = ("forward", "recomputed", "with_graph", "vjps")
        return Counts(
            {name: counts[name] for name in kinds},
            {name: counts[name] for name in ("accepted", "rejected")},
        )


class Candidate(Protocol):
    """A method on a problem; it does the same at every evaluation.

    Attributes:
        loss: of the last evaluation.
    """

    loss: float

    @property
    def grids(self) -> list[Grid] | None:
        """The steps of the last evaluation's solves; None where another method cannot take them."""
        ...

    def evaluate(self) -> Lap:
        """Computes the loss and its gradient once, timed."""
        ...

    def gradient(self) -> Tensor | None:
        """The gradient of the last evaluation, one float64 vector; None: it computes none."""
        ...

    def counts(self) -> Counts:
        """Of the last evaluation."""
        ...

    def memory(self, meter: Meter) -> dict[str, Any] | None:
        """The `memory` of a record, from one more evaluation; None: there is none to tell."""
        ...

    def replayed(self, grids: Sequence[Grid]) -> Tensor:
        """The gradient in float64, same weights, batch and noise, on given steps."""
        ...


class TorchCandidate:
    """A gradient method behind the interface of `Integrator`.

    Args:
        problem: what is differentiated.
        integrator: solves its equations; None: the problem's own solver and gradient method.
    """

    def __init__(self, problem: BenchProblem, integrator: Integrator | None = None) -> None:
        self.problem = problem
        own = problem.parts.integrator
        self.recording = (
            RecordingIntegrator(own.solver, own.gradient) if integrator is None else None
        )
        self.integrator = self.recording or integrator or own
        self.loss = float("nan")
        self._stats = SolveStats()

    @property
    def model(self) -> nn.Module:
        """The model."""
        return self.problem.parts.model

    @property
    def grids(self) -> list[Grid] | None:
        """The steps of the last evaluation; None for other software."""
        return self.recording.grids if self.recording else None

    def evaluate(self) -> Lap:
        """Computes the loss and its gradient once, timed."""
        self._restart()
        watch = Stopwatch(self.problem.parts.device)
        loss = self.problem.loss(self.integrator)
        forward = watch.lap()
        loss.backward()
        backward = watch.lap()
        self._stats = self.integrator.take_stats()
        self.loss = finite(float(loss.detach()))
        return Lap(forward + backward, forward, backward)

    def gradient(self) -> Tensor:
        """The gradient of the last evaluation, one float64 vector."""
        return flat_gradient(self.model.parameters())

    def counts(self) -> Counts:
        """Of the last evaluation."""
        return Counts.of(self._stats)

    def memory(self, meter: Meter) -> dict[str, Any]:
        """The `memory` of a record, from one more evaluation."""
        self._restart()
        try:
            return measure_memory(
                lambda: self.problem.loss(self.integrator), None, meter, self.integrator.take_stats
            )
        finally:
            self._restart()

    def replayed(self, grids: Sequence[Grid]) -> Tensor:
        """The gradient in float64, same weights, batch and noise, on given steps."""
        solver, gradient = self.integrator.solver, self.integrator.gradient
        return self.problem.replayed_gradient(ReplayIntegrator(solver, gradient, grids))[0]

    def _restart(self) -> None:
        self.model.zero_grad(set_to_none=True)
        if self.recording:
            self.recording.restart()
        self.integrator.take_stats()


def finite(loss: float) -> float:
    """The loss, where it is a number.

    Raises:
        NonFiniteLoss: it is none.
    """
    if not math.isfinite(loss):
        raise NonFiniteLoss(f"the loss is {loss}; tighter tolerances or dtype=float64 may help.")
    return loss
