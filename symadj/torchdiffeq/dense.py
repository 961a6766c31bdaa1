"""odeint_dense as torchdiffeq has it: a solution that can be asked for any time."""

from __future__ import annotations

import bisect
from collections.abc import Callable, Mapping
from typing import Any

import torch

from symadj.errors import InputError
from symadj.ode.engine import Step
from symadj.ode.layout import State
from symadj.ode.methods import Attempt
from symadj.ode.user_function import Func
from symadj.torchdiffeq.calls import Call, DropInField
from symadj.torchdiffeq.methods import method_of


class _Attempts:
    """A `StepObserver` that keeps every accepted step, stages and all."""

    def __init__(self) -> None:
        self.attempts: list[Attempt] = []

    def stage(self, attempt: Attempt, i: int) -> None:
        """They are in the attempt."""

    def accepted(self, step: Step, attempt: Attempt) -> None:
        """Keeps it."""
        self.attempts.append(attempt)


def odeint_dense(
    func: Func,
    y0: State,
    t0: Any,
    t1: Any,
    *,
    rtol: Any = 1e-7,
    atol: Any = 1e-9,
    method: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> Callable[[Any], Any]:
    """Solves from t0 to t1 and returns y, a function of one time between them.

    All steps are kept with their stages, and their graph where one is wanted. Other arguments and
    errors as `odeint`.

    Raises:
        InputError: of y, a time outside of the interval.
    """
    ends = torch.stack([torch.as_tensor(t, dtype=torch.float64).detach() for t in (t0, t1)])
    call, named = Call.of(func, y0, ends, None), method_of(method)
    asked = call.asked
    settings = asked.settings(named, rtol, atol, options or {})
    field = DropInField(func, asked.layout)
    problem = call.problem(field, settings, named)
    evaluate = field.traced if torch.is_grad_enabled() else field.value
    kept = _Attempts()
    with field.phase("forward"):
        problem.integrate(evaluate, asked.layout.flatten(asked.y0), observer=kept)
    sign = 1 if problem.times[1] > problem.times[0] else -1
    starts = [sign * attempt.t0 for attempt in kept.attempts]

    def y(t: Any) -> State:
        time = float(t)
        if not min(problem.times) <= time <= max(problem.times):
            raise InputError(f"t={time} is outside of the solve from {t0} to {t1}.")
        attempt = kept.attempts[max(bisect.bisect_right(starts, sign * time) - 1, 0)]
        theta = (time - attempt.t0) / attempt.h
        with field.phase("forward"):
            (value,) = problem.solver.dense(evaluate, attempt, [theta])
        return asked.layout.unflatten(value)

    return y
