"""The public calls: odeint, odeint_adjoint, solve."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from symadj.calls.solving import Solution, solve_with
from symadj.errors import InputError
from symadj.grad import Adjoint, GradientMethod
from symadj.ode.layout import State
from symadj.ode.settings import SolverSettings
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
) -> Solution:
    """As `odeint`, and returns the accepted steps and the counts as well."""
    settings = SolverSettings.from_options(method, rtol, atol, options)
    return solve_with(func, y0, t, settings, gradient, params)
