"""odeint as torchdiffeq has it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from symadj.calls.events import search_of
from symadj.calls.solving import solve_problem, solve_until
from symadj.calls.times import output_times
from symadj.errors import InputError
from symadj.grad import GradientMethod, gradient_named
from symadj.ode.control import StepController, norm_of
from symadj.ode.field import Field
from symadj.ode.gradients import ParameterGradients
from symadj.ode.layout import State, StateLayout
from symadj.ode.methods import Attempt
from symadj.ode.problem import Problem
from symadj.ode.settings import SolverSettings
from symadj.ode.transforms import beside_the_compiler
from symadj.ode.user_function import Func, UserFunction
from symadj.torchdiffeq.methods import Method, method_of
from symadj.torchdiffeq.options import Asked
from symadj.torchdiffeq.steps import OvershootingSteps
from symadj.warn import warn

MOST_FIXED_STEPS = 20_000
"""Fixed steps in which an event is looked for, as torchdiffeq has it."""


@beside_the_compiler
def odeint(
    func: Func,
    y0: State,
    t: Tensor,
    *,
    rtol: Any = 1e-7,
    atol: Any = 1e-9,
    method: str | None = None,
    options: Mapping[str, Any] | None = None,
    event_fn: Callable[..., Any] | None = None,
    gradient: str | GradientMethod = "backprop",
) -> Any:
    """Solves dy/dt = func(t, y), y(t[0]) = y0; the graph goes through the solver.

    Args:
        func: func(t, y) -> dy/dt, of one dtype and structure with y0.
        y0: a tensor, real or complex, or a tuple of tensors, whose dtypes are promoted to one.
        t: [K], K >= 1, strictly increasing or decreasing.
        rtol: relative tolerance: a number; for a tensor a tensor that broadcasts with it; for a
            tuple also one entry a part.
        atol: absolute tolerance, likewise.
        method: one of `symadj.torchdiffeq.METHODS`; None: "dopri5". "rk4" is the 3/8 rule.
        options: of adaptive methods first_step, min_step, max_step, step_t, jump_t, grid_points,
            safety, ifactor, dfactor, max_num_steps, dtype, norm; of the others step_size,
            grid_constructor (neither: a step from each output to the next), interp, perturb.
        event_fn: a function of (t, y); the solve goes from t[0] towards t[1], and past it, until
            one of the entries of its value becomes zero. Fixed steps need step_size then.
        gradient: "backprop", or any of symadj's: "symplectic", "aca", "checkpoint", "adjoint".

    Returns:
        [K, *y0.shape], or a tuple of such; with event_fn the time of the event, and the states at
        t[0] and there, [2, *y0.shape], or a tuple of such.

    Raises:
        InputError: an argument that cannot be used; the message says what is allowed.
        NoEventError: event_fn was not zero in max_num_steps, or 20,000 fixed, steps.
        SolveError: the end was not reached.
    """
    solve = Call.of(func, y0, t, event_fn)
    if solve.done is not None:
        return solve.done
    named = method_of(method)
    settings = solve.asked.settings(named, rtol, atol, options or {})
    field = DropInField(func, solve.asked.layout)
    return solve.run(field, settings, named, gradient_named(gradient))


def odeint_event(
    func: Func,
    y0: State,
    t0: Tensor,
    *,
    event_fn: Callable[..., Any],
    reverse_time: bool = False,
    odeint_interface: Callable[..., Any] = odeint,
    **named: Any,
) -> tuple[Tensor, Any]:
    """Solves from t0 until event_fn is zero, as `odeint` with event_fn does.

    Args:
        func: as `odeint`.
        y0: as `odeint`.
        t0: the initial time, a tensor of one entry.
        event_fn: as `odeint`.
        reverse_time: whether time goes down from t0.
        odeint_interface: `odeint` or `odeint_adjoint` of this module, or what calls one of them.
        **named: its further arguments.

    Returns:
        The time of the event, and the states at t0 and there; differentiable (see
        `symadj.EventTimes`).

    Raises:
        InputError: as `odeint`.
        SolveError: as `odeint`.
    """
    if not isinstance(t0, Tensor) or t0.numel() != 1:
        raise InputError(f"t0={t0!r}; it must be a tensor of one entry, the initial time.")
    start = t0.reshape(-1)
    t = torch.cat([start, start.detach() + (-1 if reverse_time else 1)])
    return odeint_interface(func, y0, t, event_fn=event_fn, **named)


class ForgivingFunction(UserFunction):
    """Converts dtypes and reshapes the parts of a tuple, as torchdiffeq does."""

    def checked(self, k: object, shape: torch.Size) -> Tensor:
        """As `UserFunction.checked`."""
        layout = self.layout
        if isinstance(k, Tensor):
            if not layout.bare and k.numel() == shape.numel():
                k = k.reshape(shape)
            if layout.dtype.is_complex or not k.is_complex():
                k = k.to(layout.dtype)
        return super().checked(k, shape)


class DropInField(Field):
    """A field as forgiving as torchdiffeq's.

    Args:
        func: the field.
        layout: of the state.
        params: tensors that need a gradient, besides a module's parameters.
        only: whether those in `params` are all; then no others are looked for.
        zeros: whether an unused parameter has the gradient zero rather than None.
    """

    function_type = ForgivingFunction

    def __init__(
        self,
        func: Func,
        layout: StateLayout,
        params: Sequence[Tensor] = (),
        *,
        only: bool = False,
        zeros: bool = False,
    ) -> None:
        super().__init__(func, layout, params)
        self.seeks = not only
        self.zeros = zeros
        if only:
            self.params = list({id(p): p for p in params if p.requires_grad}.values())

    def no_gradients(self) -> ParameterGradients:
        """As `Field.no_gradients`."""
        return ParameterGradients(self.params, zeros=self.zeros)


@dataclass(frozen=True)
class DropInProblem(Problem):
    """A problem whose adaptive steps are torchdiffeq's.

    Attributes:
        method: the method, by torchdiffeq's name.
    """

    method: Method

    def ratio(self, attempt: Attempt, estimates: Sequence[Tensor]) -> Tensor:
        """As `Problem.ratio`, by the method's own estimate."""
        return super().ratio(attempt, estimates) * self.method.error

    def controller(self) -> StepController:
        """As `Problem.controller`."""
        settings = self.settings
        order = self.solver.error_order
        if not settings.adaptive or order is None:
            return super().controller()
        norm = norm_of(settings, self.field.layout)
        return OvershootingSteps(settings, self.times, order, norm)


@dataclass(frozen=True)
class Call:
    """One call, its arguments checked.

    Attributes:
        asked: what it asks for.
        event_fn: that ends the solve, or None.
        done: its result where there is nothing to solve, with one output time.
    """

    asked: Asked
    event_fn: Callable[..., Any] | None = None
    done: Any = None

    @staticmethod
    def of(func: Func, y0: State, t: Tensor, event_fn: Callable[..., Any] | None) -> Call:
        """Of the arguments that all calls have in common.

        Raises:
            InputError: one that cannot be used.
        """
        y0 = _of_one_dtype(y0)
        layout = StateLayout.of(y0)
        if isinstance(t, Tensor) and t.device != layout.device:
            warn(f"t is on {t.device}; it is moved to y0's {layout.device}.")
            t = t.to(layout.device)
        asked = Asked(func, y0, t, layout)
        if event_fn is not None and not (isinstance(t, Tensor) and t.shape == (2,)):
            raise InputError(
                "with event_fn, t must have two entries: the initial time, and one that says by "
                f"its side in which direction to go; given is {t}."
            )
        if isinstance(t, Tensor) and t.shape == (1,):
            first = layout.unflatten(layout.flatten(y0).unsqueeze(0))
            return Call(asked, done=first)
        output_times(t, layout)
        return Call(asked, event_fn)

    def problem(self, field: Field, settings: SolverSettings, method: Method) -> DropInProblem:
        """What is to be solved."""
        layout = self.asked.layout
        times = output_times(self.asked.t, layout)
        if self.event_fn is None:
            return DropInProblem(field, times, settings, method)
        if not settings.adaptive:
            settings = dataclasses.replace(settings, max_steps=MOST_FIXED_STEPS)
        times = times[0], math.copysign(math.inf, times[1] - times[0])
        search = search_of(self.event_fn, layout, times, settings)
        return DropInProblem(field, times, settings, method, events=search)

    def run(
        self, field: Field, settings: SolverSettings, method: Method, gradient: GradientMethod
    ) -> Any:
        """The states at the output times; or the event's time and states."""
        asked, problem = self.asked, self.problem(field, settings, method)
        if problem.events is not None:
            return solve_until(problem, asked.y0, asked.t[:1], gradient)
        return solve_problem(problem, asked.y0, asked.t, gradient).ys


def _of_one_dtype(y0: State) -> State:
    """The parts of a tuple in the type that all of them can be promoted to."""
    if not (isinstance(y0, tuple) and y0 and all(isinstance(part, Tensor) for part in y0)):
        return y0
    dtype = y0[0].dtype
    for part in y0[1:]:
        dtype = torch.promote_types(dtype, part.dtype)
    return tuple(part.to(dtype) for part in y0)
