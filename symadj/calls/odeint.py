"""The public calls: odeint, odeint_adjoint, odeint_event, solve."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor

from symadj.calls.solving import Solution, plain_problem, solve_until, solve_with
from symadj.calls.times import event_times
from symadj.errors import InputError
from symadj.grad import Adjoint, GradientMethod, gradient_named
from symadj.ode.events import Event, Events
from symadj.ode.layout import State, StateLayout
from symadj.ode.settings import SolverSettings
from symadj.ode.transforms import beside_the_compiler
from symadj.ode.user_function import Func


def odeint(
    func: Func,
    y0: State,
    t: Tensor,
    *,
    rtol: float = 1e-7,
    atol: float = 1e-9,
    method: str = "dopri5",
    options: Mapping[str, Any] | None = None,
    gradient: str | GradientMethod = "symplectic",
    params: Sequence[Tensor] | None = None,
    batch: str | None = None,
) -> Any:
    """Solves dy/dt = func(t, y), y(t[0]) = y0 and returns the states at the times `t`.

    Args:
        func: a module or any callable, func(t, y) -> dy/dt with t a scalar tensor of the state's
            (real) dtype and y, dy/dt in the structure of y0. It may use autograd inside itself;
            what else it may do is in docs/fields.md. Its methods callback_step,
            callback_accept_step and callback_reject_step are called as
            `symadj.ode.callbacks.Callbacks` says.
        y0: the initial state, a floating point or complex tensor of any shape, or a tuple of
            tensors of one dtype.
        t: [K], K >= 2, strictly increasing or decreasing. Output times cost no steps.
        rtol: relative tolerance.
        atol: absolute tolerance.
        method: a name in `symadj.SOLVERS`. "rk4" is the classic rule of Kutta; torchdiffeq
            has his 3/8 rule under that name, which here is "rk38". For stiff fields: "radau5",
            "kvaerno5" and other implicit methods, whose gradients are exact to the tolerance of
            their equations (`SolverSettings.newton_tol`).
        options: further fields of `SolverSettings`, such as {"num_steps": 20} or {"step_size": 0.1}
            for fixed steps.
        gradient: "symplectic", "backprop", "checkpoint", "aca", "adjoint", "reversible" (for
            methods whose steps can be taken back), or an object such as
            `symadj.grad.Adjoint(rtol=1e-3)`.
        params: tensors that func uses and that need a gradient, besides a module's parameters and
            the leaf tensors that a function captures (both are found without being named).
        batch: "joint", or "independent": y0 is [B, ...], each of its B samples has its own steps,
            t is [K] or [B, K], and func is called with times [A, 1, ..., 1] of A of the samples
            (docs/batches.md); None: as in `options`, else "joint".

    Returns:
        [K, *y0.shape], or a tuple of such; differentiable with respect to y0, the parameters and t
        (for t_k, k > 0: the cotangent times f there; for t_0: minus the adjoint times f).

    Raises:
        InputError: an argument that cannot be used; the message says what is allowed.
        IncompatibleError: a solver without error estimate and no fixed steps, or compilation with
            a gradient method that does not compile.
        SolveError: the end was not reached (`NonFiniteError`, `StepSizeUnderflow`,
            `MaxStepsExceeded`, `NewtonError`); the message has t, h, steps, rejects, largest |y|
            and the phase.
    """
    solution = solve(
        func,
        y0,
        t,
        rtol=rtol,
        atol=atol,
        method=method,
        options=options,
        gradient=gradient,
        params=params,
        batch=batch,
    )
    return solution.ys


def odeint_adjoint(
    func: Func,
    y0: State,
    t: Tensor,
    *,
    rtol: float = 1e-7,
    atol: float = 1e-9,
    method: str = "dopri5",
    options: Mapping[str, Any] | None = None,
    gradient: str | GradientMethod = "adjoint",
    params: Sequence[Tensor] | None = None,
    adjoint_rtol: float | None = None,
    adjoint_atol: float | None = None,
    adjoint_method: str | None = None,
    adjoint_options: Mapping[str, Any] | None = None,
    adjoint_params: Sequence[Tensor] | None = None,
) -> Any:
    """`odeint` with the continuous adjoint method, under the names torchdiffeq gives its options.

    func, y0, t, rtol, atol, method, options and params, the returned states and the errors are
    those of `odeint`; what the method computes is in `symadj.grad.Adjoint`.

    Args:
        gradient: "adjoint"; another method takes none of the adjoint_... arguments.
        adjoint_rtol: relative tolerance of the backward solve.
        adjoint_atol: absolute tolerance of the backward solve.
        adjoint_method: its solver.
        adjoint_options: its options; {"norm": "seminorm"} leaves the parameters' integral out of
            the error estimate, which is also the default.
        adjoint_params: tensors that need a gradient, as `params`.
    """
    of_backward = dict(adjoint_options or {})
    if of_backward.get("norm") == "seminorm":
        del of_backward["norm"]
    given = (adjoint_rtol, adjoint_atol, adjoint_method, of_backward or None)
    if gradient == "adjoint":
        gradient = Adjoint(*given)
    elif any(value is not None for value in given):
        raise InputError(
            f"adjoint_rtol, adjoint_atol, adjoint_method and adjoint_options go with "
            f'gradient="adjoint"; given is {gradient!r}. Leave them out, or the gradient.'
        )
    return odeint(
        func,
        y0,
        t,
        rtol=rtol,
        atol=atol,
        method=method,
        options=options,
        gradient=gradient,
        params=[*(params or ()), *(adjoint_params or ())],
    )


@beside_the_compiler
def odeint_event(
    func: Func,
    y0: State,
    t0: Tensor | float,
    *,
    event_fn: Event | Callable[..., Any],
    reverse_time: bool = False,
    t_end: Tensor | float | None = None,
    rtol: float = 1e-7,
    atol: float = 1e-9,
    method: str = "dopri5",
    options: Mapping[str, Any] | None = None,
    gradient: str | GradientMethod = "symplectic",
    params: Sequence[Tensor] | None = None,
) -> tuple[Tensor, Any]:
    """Solves dy/dt = func(t, y), y(t0) = y0 until event_fn(t, y) is zero.

    Args:
        func: as `odeint`.
        y0: as `odeint`.
        t0: the initial time, one number.
        event_fn: g(t, y) (see `symadj.Event.function`); of several entries, the first that becomes
            zero ends the solve. Or a `symadj.Event`, which has a direction as well. A zero at t0 is
            no event.
        reverse_time: whether time goes down from t0.
        t_end: where the search ends; None: after `max_steps` steps.
        rtol: as `odeint`.
        atol: as `odeint`.
        method: as `odeint`.
        options: as `odeint`; of fixed steps without t_end, step_size.
        gradient: as `odeint`.
        params: as `odeint`.

    Returns:
        event_t, a scalar of t0's dtype, and the states at t0 and there, [2, *y0.shape], or a tuple
        of such. Both are differentiable by y0, t0, and the parameters of func and event_fn, exactly
        where the gradient method is (see `symadj.EventTimes`).

    Raises:
        InputError: as `odeint`; or an event function that cannot be used.
        IncompatibleError: as `odeint`; or fixed steps without an end.
        NoEventError: there was no event before t_end, or in max_steps steps.
        SolveError: as `odeint`.
    """
    if isinstance(event_fn, Event) and not event_fn.terminal:
        raise InputError(
            "event_fn has terminal=False, and odeint_event ends at its event. Leave it out, or "
            "take symadj.solve(..., events=...), which goes on."
        )
    settings = SolverSettings.from_options(method, rtol, atol, options)
    layout = StateLayout.of(y0)
    start, times = event_times(t0, t_end, layout, reverse_time=reverse_time)
    named = gradient_named(gradient)
    problem = plain_problem(func, layout, times, settings, named, params, event_fn)
    return solve_until(problem, y0, start, named)


def solve(
    func: Func,
    y0: State,
    t: Tensor,
    *,
    rtol: float = 1e-7,
    atol: float = 1e-9,
    method: str = "dopri5",
    options: Mapping[str, Any] | None = None,
    gradient: str | GradientMethod = "symplectic",
    params: Sequence[Tensor] | None = None,
    batch: str | None = None,
    events: Events | None = None,
) -> Solution:
    """As `odeint`, and returns the accepted steps and the counts as well, and events.

    Args:
        func: as `odeint`.
        y0: as `odeint`.
        t: as `odeint`.
        rtol: as `odeint`.
        atol: as `odeint`.
        method: as `odeint`.
        options: as `odeint`.
        gradient: as `odeint`.
        params: as `odeint`.
        batch: "joint" or "independent": the option of that name (see `SolverSettings`).
        events: a `symadj.Event`, or a function g(t, y) whose zeros end the solve, or a list of
            such. They are in `Solution.events` with their times and states, which are
            differentiable by y0, the parameters of func and of g, and t[0] (`EventTimes` has the
            formula). A solve that a terminal event ends has outputs at the times before it.

    Raises:
        InputError: as `odeint`; or an event that cannot be used.
        IncompatibleError: as `odeint`; or events in a solve that can have none.
        SolveError: as `odeint`.
    """
    if batch is not None:
        options = {**(options or {}), "batch": batch}
    settings = SolverSettings.from_options(method, rtol, atol, options)
    return solve_with(func, y0, t, settings, gradient, params, events)
