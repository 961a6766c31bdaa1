"""The public calls: odeint, odeint_adjoint, solve."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from symadj.errors import IncompatibleError, InputError
from symadj.grad import Adjoint, GradientMethod, gradient_named
from symadj.grad.once import fixed
from symadj.ode.callbacks import warn_of_silent_callbacks
from symadj.ode.compiled import CompiledField
from symadj.ode.engine import Step
from symadj.ode.field import Field
from symadj.ode.layout import State, StateLayout
from symadj.ode.mapped import solve_mapped
from symadj.ode.problem import Problem, StepList
from symadj.ode.settings import SolverSettings
from symadj.ode.stats import SolveStats
from symadj.ode.transforms import beside_the_compiler, mapped, refuse_vmap

Func = Callable[..., Any]


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


@dataclass(frozen=True)
class Solution:
    """What `solve` returns.

    Attributes:
        ys: the states at the output times, [len(t), *y0.shape], or a tuple of such.
        steps: the accepted steps.
        stats: counts; those of the backward pass are filled in when it has run.
        status: "ok"; a solve that does not reach its end raises a `SolveError`.
    """

    ys: Any
    steps: Steps
    stats: SolveStats
    status: str = "ok"


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
            has his 3/8 rule under that name, which here is "rk38".
        options: further fields of `SolverSettings`, such as {"num_steps": 20} or {"step_size": 0.1}
            for fixed steps.
        gradient: "symplectic", "backprop", "checkpoint", "aca", "adjoint", or an object such as
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
            `MaxStepsExceeded`); the message has t, h, steps, rejects, largest |y| and the phase.
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


@beside_the_compiler
def solve_with(
    func: Func,
    y0: State,
    t: Tensor,
    settings: SolverSettings,
    gradient: str | GradientMethod = "symplectic",
    params: Sequence[Tensor] | None = None,
) -> Solution:
    """As `solve`, with the solver's settings in one object."""
    if any(map(mapped, y0 if isinstance(y0, tuple) else (y0,))):
        return _solve_mapped(func, y0, t, settings, gradient, params)
    method = gradient_named(gradient)
    layout = StateLayout.of(y0)
    times = output_times(t, layout)
    _check_resolution(settings, layout)
    check_compilable(settings, method)
    compiled = settings.compile and torch.is_grad_enabled()
    field = (CompiledField if compiled else Field)(func, layout, params or ())
    return solve_problem(Problem(field, times, settings), y0, t, method)


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


def solve_problem(problem: Problem, y0: State, t: Tensor, method: GradientMethod) -> Solution:
    """The solution of a problem that begins at y0, with the gradients that `t` asks for."""
    refuse_vmap(y0)
    field, times = problem.field, problem.times
    _warn_of_callbacks(problem, method)
    start = field.layout.flatten(y0)
    shift = _TimeShift.of(t, start.dtype, twice=method.differentiable_twice)
    if shift is not None:
        start = shift.start(field, times, start)
    ys, steps = _outputs(problem, start, method)
    field.stats.output_bytes = ys.nbytes
    if shift is not None:
        ys = shift.outputs(field, times, ys)
    return Solution(field.layout.unflatten(ys), _steps(steps), field.stats)


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
    warn_of_silent_callbacks(problem.field.func, adaptive=settings.adaptive, adjoint=backward)


@dataclass
class _TimeShift:
    """Makes a solve differentiable with respect to its times.

    y(t_k) moves by f(t_k, y_k) dt_k, and a shift of t_0 acts as one of y0 by -f(t_0, y_0) dt_0.
    Both are added with dt = t - stop_gradient(t) = 0, for every gradient method alike.
    """

    dt: Tensor
    twice: bool
    slope0: Tensor | None = None

    @staticmethod
    def of(t: Tensor, dtype: torch.dtype, *, twice: bool) -> _TimeShift | None:
        if not (t.requires_grad and torch.is_grad_enabled()):
            return None
        return _TimeShift((t - t.detach()).to(dtype), twice)

    def start(self, field: Field, times: Sequence[float], y0: Tensor) -> Tensor:
        """The initial state, moving with t_0."""
        self.slope0 = self._slope(field, times[0], y0, y0)
        return y0 - self.slope0 * self.dt[0]

    def outputs(self, field: Field, times: Sequence[float], ys: Tensor) -> Tensor:
        """The outputs, each moving with its time; the first one is y0 whatever t_0 is."""
        slopes = [
            self.slope0,
            *(self._slope(field, t, y, ys) for t, y in zip(times[1:], ys[1:], strict=True)),
        ]
        dt = self.dt.reshape(-1, *([1] * (ys.dim() - 1)))
        return ys + dt * torch.stack([s for s in slopes if s is not None])

    def _slope(self, field: Field, t: float, y: Tensor, solved: Tensor) -> Tensor:
        with field.phase("forward"):
            if self.twice:
                return field.traced(t, y)
            return fixed(field.value(t, y), self.dt, solved, *field.params)


def output_times(t: Any, layout: StateLayout) -> tuple[float, ...]:
    """The output times as Python floats.

    Raises:
        InputError: as `odeint`.
    """
    if not isinstance(t, Tensor):
        raise InputError(
            f"t is a {type(t).__name__}; it must be a one-dimensional tensor of times."
        )
    if t.dim() != 1 or t.numel() < 2:
        raise InputError(
            f"t has shape {tuple(t.shape)}; it must be one-dimensional with at least two entries, "
            "the initial time and the times at which the state is wanted."
        )
    if t.is_complex() or t.dtype == torch.bool:
        raise InputError(f"t has dtype {t.dtype}; times must be real numbers.")
    if t.device != layout.device:
        raise InputError(
            f"t is on {t.device} and y0 on {layout.device}; move t with t.to(y0.device)."
        )
    times = t.detach().to(torch.float64)
    steps = times.diff()
    if not bool(torch.isfinite(times).all()):
        raise InputError(f"t holds NaN or infinity: {_shortened(times)}.")
    if not (bool((steps > 0).all()) or bool((steps < 0).all())):
        raise InputError(
            f"t must be strictly increasing or strictly decreasing; given is {_shortened(times)}."
        )
    return tuple(times.tolist())


def _shortened(times: Tensor) -> str:
    values = [f"{x:g}" for x in times.tolist()]
    return "[" + ", ".join(values if len(values) <= 8 else [*values[:5], "...", values[-1]]) + "]"


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
    warnings.warn(
        f"rtol={settings.rtol:g} is below 10 eps = {10 * eps:.1e} of {layout.dtype}, which "
        "cannot resolve it: steps may be rejected for rounding alone. Raise rtol or use a "
        "float64 state.",
        stacklevel=5,
    )
