"""Solves that are counted: symadj under every controller, torchdiffeq, diffrax."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from controllers_problems import OdeProblem
from symadj.calls.solving import Solution, solve_with
from symadj.errors import MaxStepsExceeded
from symadj.ode.layout import State
from symadj.ode.methods import SOLVERS
from symadj.ode.settings import SolverSettings

DEFAULT = "I"
KNOWN = "first step known"
CONTROLLERS: Mapping[str, Mapping[str, float]] = {
    DEFAULT: {},
    "PI 0.04": {"pi_beta": 0.04},
    "PI 0.08": {"pi_beta": 0.08},
    "PI 0.2/q": {"pi_beta_q": 0.2},
    "PI 0.4/q": {"pi_beta_q": 0.4},
    "safety 0.8": {"safety": 0.8},
    "safety 0.95": {"safety": 0.95},
    KNOWN: {},
}
"""What differs from the default, by name; pi_beta_q is pi_beta times the order q of the error
estimate, and `KNOWN` is given `longest_first_step`."""
TORCHDIFFEQ = {"dopri5": "dopri5", "bosh3": "bosh3", "dop853": "dopri8"}
DIFFRAX = {"diffrax I": (0.0, 1.0), "diffrax PI": (0.3, 0.4)}
"""pcoeff and icoeff of its PIDController."""
DIFFRAX_STAGES = {"dopri5": 6, "tsit5": 6, "bosh3": 3}
"""Evaluations of a step, the first stage of which is the last one of the step before."""
MAX_STEPS = 100_000

Row = dict[str, Any]


def settings_of(method: str, tolerance: float, **more: Any) -> SolverSettings:
    """rtol = tolerance, atol = tolerance / 100."""
    return SolverSettings(method, tolerance, tolerance / 100, max_steps=MAX_STEPS, **more)


def reference(problem: OdeProblem) -> list[Tensor]:
    """The outputs by dop853 at rtol = atol = 1e-13, with a step that ends at each of them."""
    settings = SolverSettings("dop853", 1e-13, 1e-13, step_t=tuple(problem.t.tolist()))
    return _parts(_solve(problem, settings).ys)


def ours(problem: OdeProblem, exact: list[Tensor], method: str, tolerance: float) -> Iterator[Row]:
    """symadj under every controller; one that comes to the same settings is not solved again."""
    solved: dict[SolverSettings, Row] = {}
    for name in CONTROLLERS:
        settings = controlled(name, method, tolerance)
        if name == KNOWN:
            first = longest_first_step(problem, settings)
            settings = dataclasses.replace(settings, first_step=first)
        if settings not in solved:
            solution = _solve(problem, settings)
            stats = solution.stats
            row = {"evaluations": stats.forward, "accepted": stats.accepted}
            row |= {"rejected": stats.rejected, "first_step": float(solution.steps.h[0])}
            solved[settings] = row | _errors(_parts(solution.ys), exact)
        yield {"row": name} | solved[settings]


def controlled(name: str, method: str, tolerance: float) -> SolverSettings:
    """The settings of one of `CONTROLLERS`."""
    changes = dict(CONTROLLERS[name])
    order = SOLVERS[method].error_order
    assert order is not None
    if scaled := changes.pop("pi_beta_q", None):
        changes["pi_beta"] = scaled / order
    return settings_of(method, tolerance, **changes)


def longest_first_step(problem: OdeProblem, settings: SolverSettings) -> float:
    """`safety` times the longest first step that is accepted, found by bisection to 5 %."""
    span = float(problem.t[-1])
    low, high = 1e-6 * span, span
    if _accepts(problem, settings, high):
        return high
    while high > 1.05 * low:
        middle = math.sqrt(low * high)
        low, high = (middle, high) if _accepts(problem, settings, middle) else (low, middle)
    return settings.safety * low


def _accepts(problem: OdeProblem, settings: SolverSettings, h: float) -> bool:
    only = dataclasses.replace(settings, first_step=h, max_steps=1)
    short = dataclasses.replace(problem, t=torch.tensor([0.0, h], dtype=torch.float64))
    try:
        _solve(short, only)
    except MaxStepsExceeded:
        return False
    return True


def _solve(problem: OdeProblem, settings: SolverSettings) -> Solution:
    with torch.no_grad():
        return solve_with(problem.f, problem.y0, problem.t, settings)


def by_torchdiffeq(
    problem: OdeProblem, exact: list[Tensor], method: str, tolerance: float
) -> Iterator[Row]:
    """torchdiffeq's solver of this name, dopri8 in place of dop853; none for tsit5."""
    if method not in TORCHDIFFEQ:
        return
    import torchdiffeq  # pyright: ignore[reportMissingImports]

    evaluations = 0

    def counted(t: Tensor, y: State) -> State:
        nonlocal evaluations
        evaluations += 1
        return problem.f(t, y)

    with torch.no_grad():
        ys = torchdiffeq.odeint(
            counted,
            problem.y0,
            problem.t,
            rtol=tolerance,
            atol=tolerance / 100,
            method=TORCHDIFFEQ[method],
        )
    yield {"row": "torchdiffeq", "evaluations": evaluations} | _errors(_parts(ys), exact)


class Diffrax:
    """diffrax's solver of this name, compiled once for all tolerances and controllers."""

    def __init__(self, problem: OdeProblem, method: str) -> None:
        import jax  # pyright: ignore[reportMissingImports]

        from symadj.bench.peers.jax_solve import array

        self.stages = DIFFRAX_STAGES[method]
        parts = _parts(problem.y0)
        y0 = tuple(map(array, parts)) if isinstance(problem.y0, tuple) else array(parts[0])
        times = problem.t.tolist()[1:]
        self.solve = jax.jit(partial(_diffrax_solve, problem.in_jax(), method, y0, times))

    def rows(self, exact: list[Tensor], tolerance: float) -> Iterator[Row]:
        """Its default controller, and the PI controller that its manual suggests.

        Evaluations: one of the first stage, and those of every step that was tried; diffrax 0.7
        begins with a step of 0.01 and asks no rule.
        """
        for name, coefficients in DIFFRAX.items():
            ys, told = self.solve(tolerance, *coefficients)
            assert bool(told.ended)
            steps, accepted = int(told.steps), int(told.accepted)
            row = {"row": name, "evaluations": 1 + self.stages * steps, "accepted": accepted}
            found = [torch.from_numpy(np.array(y)) for y in (ys if isinstance(ys, tuple) else [ys])]
            behind_first = [y[1:] for y in exact]
            yield row | {"rejected": steps - accepted} | _errors(found, behind_first)


def _diffrax_solve(
    f: Callable[[Any, Any], Any],
    method: str,
    y0: Any,
    times: Sequence[float],
    tolerance: Any,
    pcoeff: Any,
    icoeff: Any,
) -> Any:
    from symadj.bench.peers.jax_solve import adaptive, solve

    how = dict(adaptive(method, tolerance, tolerance / 100, MAX_STEPS))
    controller: Any = how["stepsize_controller"]
    how["stepsize_controller"] = dataclasses.replace(controller, pcoeff=pcoeff, icoeff=icoeff)
    return solve(lambda t, y, _: f(t, y), times[-1], y0, {}, how, times)


def _parts(state: Any) -> list[Tensor]:
    return list(state) if isinstance(state, tuple) else [state]


def _errors(found: list[Tensor], exact: list[Tensor]) -> Row:
    """The error at the end, and the largest one at an output: each the largest rms of the parts."""
    each = [(y - z).flatten(1).square().mean(1).sqrt() for y, z in zip(found, exact, strict=True)]
    over_time = torch.stack(each).amax(0)
    return {"error": float(over_time[-1]), "error_outputs": float(over_time.amax())}
