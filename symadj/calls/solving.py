"""A solve whose settings are one object, and what it returns: what all public calls come to."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from symadj.calls.events import EventTimes, divide, search_of
from symadj.calls.times import TimeShift, output_times, sample_times
from symadj.errors import IncompatibleError, InputError, MaxStepsExceeded, NoEventError
from symadj.grad import GRADIENTS, Adjoint, GradientMethod, gradient_named
from symadj.ode.callbacks import warn_of_silent_callbacks
from symadj.ode.compiled import CompiledField
from symadj.ode.engine import Step
from symadj.ode.events import Events
from symadj.ode.field import Field
from symadj.ode.layout import State, StateLayout
from symadj.ode.mapped import solve_mapped
from symadj.ode.problem import Problem, StepList
from symadj.ode.samples.field import SampleField, SampleLayout
from symadj.ode.samples.problem import SampleCounts, SampleProblem
from symadj.ode.samples.steps import grids
from symadj.ode.settings import SolverSettings
from symadj.ode.stats import SolveStats
from symadj.ode.transforms import beside_the_compiler, inside_transform, mapped, refuse_vmap
from symadj.ode.user_function import Func
from symadj.warn import warn


@dataclass(frozen=True)
class Steps:
    """The accepted steps of a solve.

    Attributes:
        t: float64 [N], where each step starts.
        h: float64 [N], its signed length.
        end: where the last one ends.
    """

    t: Tensor
    h: Tensor
    end: float

    def __len__(self) -> int:
        return len(self.t)

    @property
    def grid(self) -> list[float]:
        """The N + 1 times, as the option `grid` takes them to repeat these steps exactly."""
        return [*self.t.tolist(), self.end]


class SampleSteps(Sequence[Steps]):
    """The accepted steps of every sample of a batch, by its number.

    Args:
        steps: of the solve, in the order in which they were made.
        count: B.
    """

    def __init__(self, steps: Sequence[Step], count: int) -> None:
        self._steps = steps
        self._count = count

    @cached_property
    def _grids(self) -> list[Tensor]:
        return [torch.from_numpy(grid) for grid in grids(self._steps, self._count)]

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, sample: Any) -> Any:
        grid = self._grids[sample]
        return Steps(grid[:-1], grid.diff(), float(grid[-1]))


@dataclass(frozen=True)
class Solution:
    """What `solve` returns.

    Attributes:
        ys: the states at the output times, [len(t), *y0.shape], or a tuple of such; at those that
            were reached, where a terminal event has ended the solve before the last.
        steps: the accepted steps; with batch="independent" those of each sample, by its number.
        stats: counts; those of the backward pass are filled in when it has run.
        status: "ok"; a solve that does not reach its end raises a `SolveError`.
        events: those that were found, where any were asked for.
        samples: with batch="independent" the counts of every sample; else None.
    """

    ys: Any
    steps: Any
    stats: SolveStats
    status: str = "ok"
    events: EventTimes | None = None
    samples: SampleCounts | None = None

    def at_event(self) -> EventTimes:
        """The events of a solve that was to end at one.

        Raises:
            NoEventError: it has gone to its end.
        """
        if self.events is not None and self.events.ended:
            return self.events
        ys = self.ys if isinstance(self.ys, tuple) else (self.ys,)
        raise NoEventError(
            f"there was no event before t={self.steps.end:.9g}, where the solve ended. Look "
            "whether the event function can become zero, or go on for longer",
            phase="forward",
            t=self.steps.end,
            h=float(self.steps.h[-1]),
            steps=len(self.steps),
            rejects=self.stats.rejected,
            largest=max(float(y[-1].detach().abs().amax()) for y in ys if y.numel()),
        )


@beside_the_compiler
def solve_with(
    func: Func,
    y0: State,
    t: Tensor,
    settings: SolverSettings,
    gradient: str | GradientMethod = "symplectic",
    params: Sequence[Tensor] | None = None,
    events: Events | None = None,
) -> Solution:
    """As `solve`, with the solver's settings in one object."""
    method = gradient_named(gradient)
    if settings.batch == "independent":
        if events is not None:
            raise IncompatibleError(
                "events with batch=independent, where every sample would have its own. Take "
                "batch=joint, and an event function of the whole batch, or solve sample by sample."
            )
        return _solve_samples(func, y0, t, settings, method, params or ())
    if any(map(mapped, y0 if isinstance(y0, tuple) else (y0,))):
        if events is not None:
            raise IncompatibleError(
                "events inside torch.func.vmap over y0, where each state would have its own. Give "
                "the whole batch as one state, and an event function of the whole batch."
            )
        return _solve_mapped(func, y0, t, settings, method, params)
    layout = StateLayout.of(y0)
    problem = plain_problem(func, layout, output_times(t, layout), settings, method, params, events)
    return solve_problem(problem, y0, t, method)


def plain_problem(
    func: Func,
    layout: StateLayout,
    times: tuple[float, ...],
    settings: SolverSettings,
    method: GradientMethod,
    params: Sequence[Tensor] | None,
    events: Events | None,
) -> Problem:
    """The problem of a call, its settings checked against the state and the gradient method."""
    _check_resolution(settings, layout)
    check_compilable(settings, method)
    compiled = settings.compile and torch.is_grad_enabled()
    field = (CompiledField if compiled else Field)(func, layout, params or ())
    search = search_of(events, layout, times, settings)
    return Problem(field, times, settings, events=search)


def _solve_mapped(
    func: Func,
    y0: State,
    t: Tensor,
    settings: SolverSettings,
    gradient: str | GradientMethod,
    params: Sequence[Tensor] | None,
) -> Solution:
    solutions: list[Solution] = []

    def solve(over_rows: Func, rows: State) -> State:
        solutions.append(solve_with(over_rows, rows, t, settings, gradient, params))
        return solutions[-1].ys

    ys = solve_mapped(func, y0, solve)
    return replace(solutions[-1], ys=ys)


def _solve_samples(
    func: Func,
    y0: State,
    t: Tensor,
    settings: SolverSettings,
    method: GradientMethod,
    params: Sequence[Tensor],
) -> Solution:
    """With steps of every sample's own."""
    refuse_vmap(y0)
    if not method.per_sample:
        able = ", ".join(name for name, kind in GRADIENTS.items() if kind.per_sample)
        raise IncompatibleError(
            f"batch=independent with gradient method {method.name}, which knows one time for the "
            f"whole state. Take {able}, or batch=joint."
        )
    layout = SampleLayout.of_samples(y0)
    samples = layout.samples
    times = sample_times(t, layout, samples.count)
    _check_resolution(settings, layout)
    at = times.detach().to("cpu", torch.float64).numpy()
    problem = SampleProblem.of(SampleField(func, layout, params), at, settings)
    problem.field.examine(at[:, [0, -1]], layout.flatten(y0))
    solution = solve_problem(problem, y0, times.mT, method)
    steps = SampleSteps(solution.steps, samples.count)
    return replace(solution, steps=steps, samples=problem.counts)


def solve_problem(problem: Problem, y0: State, t: Tensor, method: GradientMethod) -> Solution:
    """The solution of a problem that begins at y0, with the gradients that `t` asks for."""
    refuse_vmap(y0)
    field, times = problem.field, problem.times
    _warn_of_callbacks(problem, method)
    start = field.layout.flatten(y0)
    if problem.events is not None and inside_transform(start):
        raise IncompatibleError(
            "events inside a transform of torch.func (grad, vjp, jacrev, jvp, ...) or in forward "
            "mode. Use torch.autograd.grad for the gradients of their times and states."
        )
    shift = TimeShift.of(t, start.dtype, twice=method.differentiable_twice)
    if shift is not None:
        start = shift.start(field, times, start)
    ys, steps = _outputs(problem, start, method)
    field.stats.output_bytes = ys.nbytes
    events = None
    if problem.events is not None:
        ys, events = divide(problem.events, ys)
    if shift is not None:
        ys = shift.outputs(field, times[: len(ys)], ys)
    taken = steps if isinstance(problem, SampleProblem) else _steps(steps)
    return Solution(field.layout.unflatten(ys), taken, field.stats, events=events)


def solve_until(
    problem: Problem, y0: State, t0: Tensor, method: GradientMethod
) -> tuple[Tensor, Any]:
    """The time of the one event of a problem, which ends it, and the states at t0 and there.

    Args:
        problem: the problem, from t0 to where the search ends, which may be infinite.
        y0: where it begins.
        t0: [1], when.
        method: of the gradient.

    Raises:
        NoEventError: there was no event before the end, or in max_steps steps.
    """
    layout, end = problem.field.layout, problem.times[-1]
    try:
        solution = solve_problem(problem, y0, t0, method)
    except MaxStepsExceeded as error:
        if math.isfinite(end):
            raise
        raise NoEventError(
            f"the event function was not zero in max_steps={problem.settings.max_steps} steps. "
            "Look whether it can become zero, or raise max_steps",
            phase=error.phase,
            t=error.t,
            h=error.h,
            steps=error.steps,
            rejects=error.rejects,
            largest=error.largest,
        ) from error
    events = solution.at_event()
    ys, there = ((p,) if layout.bare else p for p in (solution.ys, events.ys))
    states = [torch.cat([y[:1], z]) for y, z in zip(ys, there, strict=True)]
    return events.t[0].to(t0.dtype), states[0] if layout.bare else tuple(states)


def check_compilable(settings: SolverSettings, method: GradientMethod) -> None:
    """Raises `IncompatibleError` where compilation is asked of a method that has no use for it."""
    if settings.compile and not method.compilable:
        raise IncompatibleError(
            f"compile=true with gradient method {method.name}, whose graphs torch.autograd makes. "
            "Take symplectic, or leave compile out."
        )


def _outputs(problem: Problem, y0: Tensor, method: GradientMethod) -> tuple[Tensor, list[Step]]:
    if torch.is_grad_enabled():
        return method.solve(problem, y0)
    steps = StepList()
    with problem.field.phase("forward"):
        return problem.solve_plain(y0, observer=steps), steps.steps


def _steps(steps: Sequence[Step]) -> Steps:
    t = torch.tensor([step.t0 for step in steps], dtype=torch.float64)
    h = torch.tensor([step.t1 - step.t0 for step in steps], dtype=torch.float64)
    return Steps(t, h, steps[-1].t1)


def _warn_of_callbacks(problem: Problem, method: GradientMethod) -> None:
    settings, backward = problem.settings, None
    if isinstance(method, Adjoint) and torch.is_grad_enabled():
        backward = method.settings(settings).adaptive
    judged = None if isinstance(problem, SampleProblem) else settings.adaptive
    warn_of_silent_callbacks(problem.field.func, adaptive=judged, adjoint=backward)


def _check_resolution(settings: SolverSettings, layout: StateLayout) -> None:
    """Warns of a relative tolerance that the state's dtype cannot resolve.

    Raises:
        InputError: the dtype has 16 bits, which leave a step control nothing to go by.
    """
    eps = torch.finfo(layout.dtype).eps
    if not settings.adaptive or settings.rtol >= 10 * eps:
        return
    if settings.rtol < eps and layout.dtype.itemsize == 2:
        raise InputError(
            f"rtol={settings.rtol:g} with a state of {layout.dtype}, whose rounding is {eps:.1e}. "
            "Take a float32 state (and torch.autocast for the network's dtype), fixed steps, or "
            f"tolerances of at least {eps:.0e}."
        )
    warn(
        f"rtol={settings.rtol:g} is below 10 eps = {10 * eps:.1e} of {layout.dtype}, which "
        "cannot resolve it: steps may be rejected for rounding alone. Raise rtol or use a "
        "float64 state."
    )
