"""An initial value problem whose samples take steps of their own."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from symadj.errors import IncompatibleError
from symadj.ode.control import error_ratio
from symadj.ode.engine import Step, StepObserver
from symadj.ode.methods import Attempt, Evaluate, StepMethod, explicit
from symadj.ode.problem import Problem
from symadj.ode.samples.control import (
    AdaptiveSamples,
    FixedSamples,
    SampleController,
    SampleProgress,
)
from symadj.ode.samples.engine import EmitSamples, integrate_samples
from symadj.ode.samples.field import SampleField
from symadj.ode.samples.instants import Samples
from symadj.ode.samples.steps import grids
from symadj.ode.settings import SolverSettings


@dataclass
class SampleCounts:
    """What a solve was for every sample.

    Attributes:
        accepted: accepted steps of the forward solve, int64 [B].
        rejected: rejected ones, likewise.
        evaluations: of func in the forward solve in which the sample took part, likewise.
        rows: of all states that func was given in it: the sum of `evaluations` where it was given
            those samples alone that took part, more where it holds things of all samples.
    """

    accepted: Tensor = dataclasses.field(default_factory=lambda: torch.empty(0, dtype=torch.int64))
    rejected: Tensor = dataclasses.field(default_factory=lambda: torch.empty(0, dtype=torch.int64))
    evaluations: Tensor = dataclasses.field(
        default_factory=lambda: torch.empty(0, dtype=torch.int64)
    )
    rows: int = 0

    def take(self, progress: SampleProgress, rows: int) -> None:
        """Of a solve that was made."""
        for name in ("accepted", "rejected", "evaluations"):
            setattr(self, name, torch.from_numpy(getattr(progress, name)))
        self.rows = rows


@dataclass(frozen=True)
class SampleProblem(Problem):
    """As `Problem`, of samples [B, ...]; `times` has `Instants` of all of them.

    Attributes:
        at: the output times, [B, K].
        counts: what the solve was, once it was made.
    """

    field: SampleField
    at: np.ndarray
    counts: SampleCounts = dataclasses.field(default_factory=SampleCounts)

    @staticmethod
    def of(of_samples: SampleField, at: np.ndarray, settings: SolverSettings) -> SampleProblem:
        """With the output times [B, K].

        Raises:
            IncompatibleError: settings that do not go with steps of a sample's own.
        """
        _refuse(settings)
        samples = of_samples.layout.samples
        times: Any = tuple(samples.instants(samples.every(), column) for column in at.T)
        return SampleProblem(of_samples, times, settings, at)

    @property
    def samples(self) -> Samples:
        """What they have in common."""
        return self.field.layout.samples

    @property
    def solver(self) -> StepMethod:
        """The stepping method.

        Raises:
            IncompatibleError: it is no explicit Runge-Kutta method, or the field has drawn random
                numbers.
        """
        if self.field.draws is not None:
            raise IncompatibleError(
                "func draws random numbers, which batch=independent would draw at other times for "
                "every sample. Draw them before the solve, or take batch=joint."
            )
        return explicit(self._stepping, "batch=independent")

    @property
    def start(self) -> Any:
        """The first times."""
        return self.times[0]

    @property
    def end(self) -> Any:
        """The last ones."""
        return self.times[-1:]

    def sample_controller(self) -> SampleController:
        """A fresh controller for one solve."""
        settings, ends = self.settings, self.at[:, [0, -1]]
        if not settings.adaptive:
            spans = {(a, b): settings.fixed_grid(a, b) for a, b in ends.tolist()}
            return FixedSamples([np.array(spans[a, b]) for a, b in ends.tolist()])
        order = settings.solver.error_order
        assert order is not None
        return AdaptiveSamples(settings, self.samples, ends, order, self.field.layout.rms)

    def ratio(self, attempt: Attempt, estimates: Sequence[Tensor]) -> Tensor:
        """The errors of an attempt in units of the tolerance, [A]."""
        assert attempt.y1 is not None
        ends = attempt.y0, attempt.y1
        return error_ratio(self.settings.tolerances, self.field.layout.rms, *ends, estimates)

    def integrate_samples(
        self,
        evaluate: Evaluate,
        y0: Tensor,
        emit: EmitSamples,
        *,
        k0: Tensor | None = None,
        observer: StepObserver | None = None,
        controller: SampleController | None = None,
    ) -> None:
        """The solve; arguments and errors as `engine.integrate_samples`'s."""
        every, given = self.field.takes_all, 0
        progress = SampleProgress(self.at[:, 0])
        progress.evaluations += k0 is not None

        def counted(t: Any, y: Tensor) -> Tensor:
            nonlocal given
            progress.evaluations[t.rows] += 1
            given += self.samples.count if every else len(t.rows)
            return evaluate(t, y)

        integrate_samples(
            counted,
            self.solver,
            y0,
            self.at,
            self.samples,
            controller or self.sample_controller(),
            progress,
            ratio=self.ratio,
            k0=k0,
            emit=emit,
            observer=observer,
        )
        if self.field.backward_phase:
            return
        given += self.samples.count * (k0 is not None)
        self.counts.take(progress, given)
        self.field.stats.accepted += int(progress.accepted.sum())
        self.field.stats.rejected += int(progress.rejected.sum())

    def solve_plain(
        self,
        y0: Tensor,
        *,
        k0: Tensor | None = None,
        observer: StepObserver | None = None,
        evaluate: Evaluate | None = None,
    ) -> Tensor:
        """The outputs, [K, *y0.shape], without any graph; by default of `field.value`."""
        with torch.no_grad():
            ys = y0.new_empty((len(self.times), *y0.shape))

            def write(times: Tensor, rows: Tensor, y: Tensor) -> None:
                ys[times, rows] = y

            evaluate = evaluate or self.field.value
            self.integrate_samples(evaluate, y0, write, k0=k0, observer=observer)
        return ys

    def trace(
        self,
        y0: Tensor,
        *,
        steps: Sequence[Step] | None = None,
        observer: StepObserver | None = None,
    ) -> list[Tensor]:
        """The outputs, with the graph of all evaluations; arguments as `Problem.trace`'s."""
        found: list[tuple[Tensor, Tensor]] = []
        count = self.samples.count

        def keep(times: Tensor, rows: Tensor, y: Tensor) -> None:
            found.append((times * count + rows, y))

        grid = None if steps is None else FixedSamples(grids(steps, count))
        self.integrate_samples(self.field.traced, y0, keep, observer=observer, controller=grid)
        order = torch.cat([places for places, _ in found]).argsort()
        ys = torch.cat([y for _, y in found])[order]
        return list(ys.unflatten(0, (-1, count)).unbind())


def _refuse(settings: SolverSettings) -> None:
    """Raises `IncompatibleError` for what does not go with steps of a sample's own."""
    given = {
        "compile=true": settings.compile,
        "sync=true": settings.sync,
        "norm": settings.norm is not None,
        "entrywise": settings.entrywise is not None,
        "jump_t": len(settings.jump_t) > 0,
        "perturb=true": settings.perturb,
    }
    if names := [name for name, there in given.items() if there]:
        raise IncompatibleError(
            f"{' and '.join(names)} with batch=independent, where every sample has its own steps; "
            "leave it out, or take batch=joint."
        )
