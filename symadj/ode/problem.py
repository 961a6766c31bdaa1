"""An initial value problem with the settings it is to be solved with."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import torch
from torch import Tensor

from symadj.errors import IncompatibleError, NonFiniteError
from symadj.ode.callbacks import Callbacks
from symadj.ode.compiled import CompiledField, CompiledSteps
from symadj.ode.control import (
    AdaptiveSteps,
    EndlessSteps,
    FixedSteps,
    Progress,
    StepController,
    error_ratio,
    norm_of,
)
from symadj.ode.engine import Emit, Step, StepObserver, integrate
from symadj.ode.events import EventSearch
from symadj.ode.field import Field
from symadj.ode.methods import (
    IMPLICIT,
    TABLEAUS,
    Attempt,
    Evaluate,
    ImplicitRungeKutta,
    ImplicitTableau,
    RungeKutta,
    Sides,
    StepMethod,
    explicit,
)
from symadj.ode.newton import Newton
from symadj.ode.random_steps import RandomSteps
from symadj.ode.settings import SolverSettings
from symadj.ode.stats import SolveStats


@dataclass(frozen=True)
class Problem:
    """dy/dt = f(t, y) with outputs at `times`, under `settings`.

    Attributes:
        field: f, with its counts and parameters.
        times: the output times, strictly monotone.
        settings: solver, tolerances, options.
        callbacks: whether those of the user's module are called.
        events: finds events in the forward solve.
    """

    field: Field
    times: tuple[float, ...]
    settings: SolverSettings
    callbacks: bool = dataclasses.field(default=True, kw_only=True)
    events: EventSearch | None = dataclasses.field(default=None, kw_only=True)

    @cached_property
    def _stepping(self) -> StepMethod:
        solver = stepping(self.settings, self.times, self.field.layout.time_dtype)
        if isinstance(solver, ImplicitRungeKutta):
            return solver.solved_by(Newton(self.field, self.settings))
        return solver

    @property
    def solver(self) -> StepMethod:
        """The stepping method, which knows of the random numbers that the field draws."""
        draws = self.field.draws
        if draws is None:
            return self._stepping
        solver = explicit(self._stepping, "func, which draws random numbers,")
        return RandomSteps(solver, draws, replay=self.field.backward_phase)

    @property
    def start(self) -> float:
        """When the field is evaluated first: times[0], or just after where it jumps there."""
        return self._stepping.start(self.times[0], self.times[-1])

    @property
    def end(self) -> tuple[float, ...]:
        """The last time; none where an event is looked for without end."""
        return tuple(filter(math.isfinite, self.times[-1:]))

    @property
    def answered(self) -> tuple[float, ...]:
        """The times of a finished solve's outputs: `times`, with events those that it reached."""
        return self.times if self.events is None else tuple(self.events.times)

    def controller(self) -> StepController:
        """A fresh controller for one solve over `times`."""
        settings = self.settings
        if settings.step_size is not None and math.isinf(self.times[-1]):
            h = math.copysign(settings.step_size, self.times[-1])
            return EndlessSteps(self.times[0], h, settings.max_steps)
        if not settings.adaptive:
            return FixedSteps(settings.fixed_grid(self.times[0], self.times[-1]))
        order = settings.solver.error_order
        assert order is not None
        return AdaptiveSteps(settings, self.times, order, norm_of(settings, self.field.layout))

    def ratio(self, attempt: Attempt, estimates: Sequence[Tensor]) -> Tensor:
        """The error of an attempt in units of the tolerance."""
        assert attempt.y1 is not None
        norm, y_of = norm_of(self.settings, self.field.layout), self._stepping.y_of
        ends = y_of(attempt.y0), y_of(attempt.y1)
        return error_ratio(self.settings.tolerances, norm, *ends, estimates)

    def integrate(
        self,
        evaluate: Evaluate,
        y0: Tensor,
        *,
        k0: Tensor | None = None,
        emit: Emit | None = None,
        observer: StepObserver | None = None,
        controller: StepController | None = None,
    ) -> Tensor:
        """The forward solve; arguments and errors as `engine.integrate`'s.

        In a backward pass the events are outputs whose times are known.
        """
        controller = controller or self.controller()
        solver = self.solver
        if isinstance(self.field, CompiledField) and self.field.draws is None:
            solver = CompiledSteps(
                explicit(solver, "compile=true"),
                self.field,
                self.settings,
                judged=controller.adaptive,
            )
        progress = Progress(self.field.stats, "forward", self.times[0], y0)
        replay = self.field.backward_phase
        called = self.callbacks and not replay
        try:
            return integrate(
                evaluate,
                solver,
                y0,
                self.answered if replay else self.times,
                controller,
                progress,
                ratio=self.ratio,
                k0=k0,
                emit=emit,
                observer=observer,
                callbacks=Callbacks(self.field.func, self.field.layout) if called else None,
                events=None if replay else self.events,
            )
        except NonFiniteError:
            if not controller.adaptive:
                self._find_nonfinite_step(y0)
            raise

    def solve_plain(
        self,
        y0: Tensor,
        *,
        k0: Tensor | None = None,
        observer: StepObserver | None = None,
        evaluate: Evaluate | None = None,
    ) -> Tensor:
        """The outputs, [len(answered), *y0.shape], without graph; by default of `field.value`."""
        with torch.no_grad():
            evaluate = evaluate or self.field.value
            found: list[Tensor] = []
            ys = y0.new_empty((len(self.times), *y0.shape)) if self.events is None else None

            def write(index: int, y: Tensor) -> None:
                if ys is None:
                    found.append(y)
                else:
                    ys[index] = y

            try:
                self.integrate(evaluate, y0, k0=k0, emit=write, observer=observer)
            finally:
                self._stepping.release()
        return torch.stack(found) if ys is None else ys

    def trace(
        self,
        y0: Tensor,
        *,
        steps: Sequence[Step] | None = None,
        observer: StepObserver | None = None,
    ) -> list[Tensor]:
        """The outputs, with the graph of all evaluations.

        Args:
            y0: the solution at times[0].
            steps: that are taken again; None: as the settings have it.
            observer: sees stages and accepted steps.
        """
        outputs: list[Tensor] = []
        grid = None
        if steps is not None:
            grid = FixedSteps([steps[0].t0, *(step.t1 for step in steps)])
        self.integrate(
            self.field.traced,
            y0,
            emit=lambda _, y: outputs.append(y),
            observer=observer,
            controller=grid,
        )
        return outputs

    def _find_nonfinite_step(self, y0: Tensor) -> None:
        """Repeats a failed fixed-step solve looking at every step, to name the one that failed.

        Fixed steps are not looked at one by one while all goes well: that would cost a
        synchronisation each.
        """
        with torch.no_grad():
            progress = Progress(SolveStats(), "forward", self.times[0], y0, careful=True)
            integrate(
                self.field.value,
                self.solver,
                y0,
                self.times,
                self.controller(),
                progress,
            )


def stepping(
    settings: SolverSettings, times: Sequence[float], time_dtype: torch.dtype
) -> StepMethod:
    """The stepping method of a solve over `times`.

    Args:
        settings: the method, and how it interpolates.
        times: of the outputs.
        time_dtype: of the time that the field is given, whose resolution tells the sides of a jump.
    """
    t0, t1 = times[0], times[-1]
    jumps = tuple(t for t in map(float, settings.jump_t) if (t - t0) * (t1 - t0) > 0)
    if not (jumps or settings.perturb or settings.interp):
        return settings.solver
    eps = torch.finfo(time_dtype).eps
    return _variant(settings.method, settings.interp, None if settings.perturb else jumps, eps)


@lru_cache(maxsize=64)
def _variant(
    method: str, interp: str | None, jumps: tuple[float, ...] | None, eps: float
) -> RungeKutta | ImplicitRungeKutta:
    if method not in TABLEAUS and method not in IMPLICIT:
        raise IncompatibleError(
            f"jump_t, perturb and interp go with Runge-Kutta methods, and method={method} is none; "
            "leave them out, or take dopri5 or another one."
        )
    tableau = TABLEAUS[method] if method in TABLEAUS else IMPLICIT[method]
    if interp is not None:
        # By straight lines b_i(theta) = theta b_i; without weights of its own by Hermite's cubic.
        ends = (*tableau.b, *([0.0] * (tableau.end_index + 1 - tableau.stages)))
        lines = tuple((b,) for b in ends) if interp == "linear" else None
        tableau = dataclasses.replace(tableau, dense_a=(), dense_c=(), dense_b=lines)
    sides = None if jumps == () else Sides(jumps, eps)
    if isinstance(tableau, ImplicitTableau):
        return ImplicitRungeKutta(tableau, sides)
    return RungeKutta(tableau, sides)


class StepList:
    """A `StepObserver` that remembers the accepted steps."""

    def __init__(self) -> None:
        self.steps: list[Step] = []

    def stage(self, attempt: Attempt, i: int) -> None:
        """Stages are of no interest here."""

    def accepted(self, step: Step, attempt: Attempt) -> None:
        """Remembers the step."""
        self.steps.append(step)
