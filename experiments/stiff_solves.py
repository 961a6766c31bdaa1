"""Solves of stiff problems: symadj's methods, SciPy's and diffrax's, with errors and counts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from statistics import median
from typing import Any

import numpy as np
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

from stiff_problems import StiffProblem, TorchField
from symadj import solve
from symadj.errors import IncompatibleError, SolveError
from symadj.meters.meter import make_meter

MAX_STEPS = 10_000
"""Attempted steps after which a solve is given up."""
EXPLICIT = ("dopri5", "tsit5")
IMPLICIT = ("trbdf2", "kvaerno3", "kvaerno5", "radau5")
SCIPY = ("Radau", "BDF")
GRADIENTS = ("backprop", "checkpoint", "aca", "symplectic", "adjoint")

EXACT = 1e-12
"""newton_tol where gradients are compared."""

Row = dict[str, Any]


def reference(problem: StiffProblem) -> np.ndarray:
    """The outputs [len(t), *y0.shape] by SciPy's Radau at rtol 1e-10."""
    found = solve_ivp(
        problem.in_numpy,
        (problem.t[0], problem.t[-1]),
        problem.y0.ravel(),
        "Radau",
        problem.t,
        rtol=1e-10,
        atol=1e-10 * problem.scale,
    )
    assert found.success, found.message
    return found.y.T.reshape(len(problem.t), *problem.y0.shape)


def by_symadj(
    problem: StiffProblem, exact: np.ndarray, tolerances: Sequence[float], repeats: int
) -> Iterator[Row]:
    """Every method at every tolerance; one that gives up is not tried at a tighter one."""
    for method in (*EXPLICIT, *IMPLICIT):
        for tolerance in tolerances:
            row = _forward(problem, exact, method, tolerance, repeats)
            yield {"row": method, "tolerance": tolerance} | row
            if row["status"] != "ok":
                break


def _forward(
    problem: StiffProblem, exact: np.ndarray, method: str, tolerance: float, repeats: int
) -> Row:
    field = TorchField(problem)

    def once() -> Any:
        with torch.no_grad():
            return _solve(problem, field, method, tolerance, "symplectic")

    try:
        seconds, solution = timed(once, repeats)
    except SolveError as error:
        return {"status": type(error).__name__, "message": str(error)}
    counts = solution.stats.as_dict()
    return {
        "status": "ok",
        "seconds": seconds,
        "evaluations": counts["forward"],
        **{name: counts[name] for name in ("accepted", "rejected", *IMPLICIT_COUNTS)},
        "error": problem.error(solution.ys.numpy(), exact),
    }


IMPLICIT_COUNTS = ("newton_iterations", "jacobians", "factorisations", "linear_products")


def _solve(
    problem: StiffProblem,
    field: TorchField,
    method: str,
    tolerance: float,
    gradient: str,
    **options: float,
) -> Any:
    return solve(
        field,
        torch.from_numpy(problem.y0),
        torch.from_numpy(problem.t),
        rtol=tolerance,
        atol=tolerance * problem.scale,
        method=method,
        options={"max_steps": MAX_STEPS, **options},
        gradient=gradient,
    )


def by_scipy(
    problem: StiffProblem, exact: np.ndarray, tolerances: Sequence[float], repeats: int
) -> Iterator[Row]:
    """SciPy's methods, with the Jacobian from differences, whose evaluations count too."""
    for method in SCIPY:
        for tolerance in tolerances:
            evaluations = 0

            def counted(t: float, flat: np.ndarray) -> np.ndarray:
                nonlocal evaluations
                evaluations += 1
                return problem.in_numpy(t, flat)

            def once(method: str = method, tolerance: float = tolerance) -> Any:
                return solve_ivp(
                    counted,
                    (problem.t[0], problem.t[-1]),
                    problem.y0.ravel(),
                    method,
                    problem.t,
                    rtol=tolerance,
                    atol=tolerance * problem.scale,
                )

            seconds, found = timed(once, repeats)
            ys = found.y.T.reshape(exact.shape)
            yield {
                "row": f"SciPy {method}",
                "tolerance": tolerance,
                "status": "ok",
                "seconds": seconds,
                "evaluations": evaluations // repeats,
                "error": problem.error(ys, exact),
            }


def by_diffrax(
    problem: StiffProblem, exact: np.ndarray, tolerances: Sequence[float], repeats: int
) -> Iterator[Row]:
    """diffrax's Kvaerno5, compiled once for all tolerances; it does not count its evaluations."""
    import diffrax  # pyright: ignore[reportMissingImports]
    import jax  # pyright: ignore[reportMissingImports]
    import jax.numpy as jnp  # pyright: ignore[reportMissingImports]

    parameters = {name: jnp.asarray(value) for name, value in problem.parameters.items()}
    y0, times = jnp.asarray(problem.y0), jnp.asarray(problem.t)

    def solved(tolerance: Any) -> tuple[Any, Any, Any]:
        solution = diffrax.diffeqsolve(
            diffrax.ODETerm(lambda t, y, p: problem.formula(jnp, y, p)),
            diffrax.Kvaerno5(),
            problem.t[0],
            problem.t[-1],
            dt0=None,
            y0=y0,
            args=parameters,
            saveat=diffrax.SaveAt(ts=times),
            stepsize_controller=diffrax.PIDController(tolerance, tolerance * problem.scale),
            max_steps=MAX_STEPS,
            throw=False,
        )
        ended = solution.result == diffrax.RESULTS.successful
        return solution.ys, solution.stats["num_accepted_steps"], ended

    compiled = jax.jit(solved)
    for tolerance in tolerances:
        jax.block_until_ready(compiled(tolerance))
        seconds, (ys, accepted, ended) = timed(
            lambda tolerance=tolerance: jax.block_until_ready(compiled(tolerance)), repeats
        )
        row: Row = {"row": "diffrax Kvaerno5", "tolerance": tolerance}
        if bool(ended):
            error = problem.error(np.asarray(ys), exact)
            row |= {"status": "ok", "seconds": seconds, "accepted": int(accepted), "error": error}
        else:
            row |= {"status": "not ended", "message": f"no end in {MAX_STEPS:,} steps"}
        yield row


def timed(call: Callable[[], Any], repeats: int) -> tuple[float, Any]:
    """The median of the seconds of a call, and what the last one returned."""
    seconds, found = [], None
    for _ in range(repeats):
        started = time.perf_counter()
        found = call()
        seconds.append(time.perf_counter() - started)
    return median(seconds), found


def gradients(problem: StiffProblem, method: str, tolerance: float, repeats: int) -> Iterator[Row]:
    """Time, memory and error of every gradient method, on the steps that the solve accepts.

    The equations of the steps are solved to `EXACT`, relative to the state.

    The loss is the mean over outputs and entries of ((y / scale) / (1 + |y / scale|))^2, so that
    small and large entries count. The error is that against backpropagation through the same solve.
    """
    exact: Tensor | None = None
    for gradient in GRADIENTS:
        row: Row = {"row": gradient, "method": method, "tolerance": tolerance}
        field = TorchField(problem)
        try:
            once = partial(_loss, problem, field, method, tolerance, gradient)
            seconds, _ = timed(once, repeats)
            meter = make_meter()
            with meter:
                once()
        except (SolveError, IncompatibleError) as error:
            yield row | {"status": type(error).__name__, "message": str(error)}
            continue
        found = torch.cat([p.grad.flatten() for p in field.parameters() if p.grad is not None])
        exact = found if exact is None else exact
        yield row | {
            "status": "ok",
            "seconds": seconds,
            "peak_bytes": meter.peak_bytes,
            "error": float((found - exact).norm() / exact.norm()),
        }


def _loss(
    problem: StiffProblem, field: TorchField, method: str, tolerance: float, gradient: str
) -> None:
    field.zero_grad()
    solution = _solve(problem, field, method, tolerance, gradient, newton_tol=EXACT)
    ys = solution.ys / problem.scale
    (ys / (1 + ys.abs())).square().mean().backward()
