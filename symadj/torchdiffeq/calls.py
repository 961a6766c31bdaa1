"""odeint as torchdiffeq has it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from symadj.calls.solving import solve_problem
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
        event_fn: must be None.
        gradient: "backprop", or any of symadj's: "symplectic", "aca", "checkpoint", "adjoint".

    Returns:
        [K, *y0.shape], or a tuple of such.

    Raises:
        InputError: an argument that cannot be used; the message says what is allowed.
        SolveError: the end was not reached.
    """
    solve = Call.of(func, y0, t, event_fn)
    if solve.done is not None:
        return solve.done
    named = method_of(method)
    settings = solve.asked.settings(named, rtol, atol, options or {})
    field = DropInField(func, solve.asked.layout)
    return solve.run(field, settings, named, gradient_named(gradient))


def odeint_event(*arguments: Any, **named: Any) -> Any:
    """Raises `InputError`: events are not in this version."""
    raise _no_events()


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
        done: its result where there is nothing to solve, with one output time.
    """

    asked: Asked
    done: Any = None

    @staticmethod
    def of(func: Func, y0: State, t: Tensor, event_fn: object) -> Call:
        """Of the arguments that all calls have in common.

        Raises:
            InputError: one that cannot be used.
        """
        if event_fn is not None:
            raise _no_events()
        y0 = _of_one_dtype(y0)
        layout = StateLayout.of(y0)
        if isinstance(t, Tensor) and t.device != layout.device:
            warn(f"t is on {t.device}; it is moved to y0's {layout.device}.")
            t = t.to(layout.device)
        asked = Asked(func, y0, t, layout)
        if isinstance(t, Tensor) and t.shape == (1,):
            first = layout.unflatten(layout.flatten(y0).unsqueeze(0))
            return Call(asked, first)
        output_times(t, layout)
        return Call(asked)

    def problem(self, field: Field, settings: SolverSettings, method: Method) -> DropInProblem:
        """What is to be solved."""
        times = output_times(self.asked.t, self.asked.layout)
        return DropInProblem(field, times, settings, method)

    def run(
        self, field: Field, settings: SolverSettings, method: Method, gradient: GradientMethod
    ) -> Any:
        """The states at the output times."""
        asked, problem = self.asked, self.problem(field, settings, method)
        return solve_problem(problem, asked.y0, asked.t, gradient).ys


def _of_one_dtype(y0: State) -> State:
    """The parts of a tuple in the type that all of them can be promoted to."""
    if not (isinstance(y0, tuple) and y0 and all(isinstance(part, Tensor) for part in y0)):
        return y0
    dtype = y0[0].dtype
    for part in y0[1:]:
        dtype = torch.promote_types(dtype, part.dtype)
    return tuple(part.to(dtype) for part in y0)


def _no_events() -> InputError:
    return InputError(
        "events (event_fn, odeint_event) are not in this version. Solve with output times around "
        "the event and find it between them, or use torchdiffeq for this call."
    )
