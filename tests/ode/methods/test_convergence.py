"""Every solver converges with its order, and two of them equal SciPy's to rounding."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.integrate import DOP853, RK45, solve_ivp
from torch import Tensor

from symadj import SOLVERS, odeint, solve
from symadj.ode.methods import IMPLICIT

ADAPTIVE = [name for name, solver in SOLVERS.items() if solver.error_order is not None]


def func(t: Tensor, y: Tensor) -> Tensor:
    """Nonlinear, time-dependent, coupled."""
    x, z = y.unbind(-1)
    return torch.stack([torch.sin(2 * t) * z - 0.5 * x**3, torch.cos(x) - t * z], dim=-1)


def func_of_arrays(t: float, y: np.ndarray) -> np.ndarray:
    x, z = y
    return np.array([math.sin(2 * t) * z - 0.5 * x**3, math.cos(x) - t * z])


Y0 = torch.tensor([1.0, -0.5], dtype=torch.float64)
END = 2.0


def reference(times: list[float]) -> Tensor:
    solution = solve_ivp(
        func_of_arrays, (0, END), Y0.numpy(), method="DOP853", rtol=1e-13, atol=1e-14,
        t_eval=times, max_step=0.02,
    )  # fmt: skip
    return torch.from_numpy(solution.y.T)


# The numbers of steps lie where the leading error term rules and rounding does not.
STEPS = {
    "dop853": (4, 6, 8, 12),
    "dopri8": (6, 8, 12, 16),
    "dopri5": (64, 96, 128, 192),
    "tsit5": (64, 96, 128, 192),
    "gauss6": (8, 12, 16, 24),
    "radau5": (12, 16, 24, 32),
    "kvaerno5": (16, 24, 32, 48),
}


def slope(method: str, times: list[float]) -> float:
    """The regression slope of log error against log h over the output at times[1]."""
    exact = reference(times)
    numbers = STEPS.get(method, (32, 48, 64, 96))
    errors = []
    solved = {"newton_tol": 1e-13} if method in IMPLICIT else {}
    for n in numbers:
        options = {"num_steps": n, **solved}
        ys = odeint(func, Y0, torch.tensor(times), method=method, options=options)
        errors.append(float((ys[1] - exact[1]).abs().max()))
    return -float(np.polyfit(np.log(numbers), np.log(errors), 1)[0])


@pytest.mark.parametrize("method", SOLVERS)
def test_order(method: str) -> None:
    assert slope(method, [0.0, END]) == pytest.approx(SOLVERS[method].order, abs=0.3)


@pytest.mark.parametrize(
    ("method", "order"),
    [
        *(("heun3", 3), ("rk4", 4), ("bosh3", 3), ("dopri5", 5), ("tsit5", 5)),
        *(("dopri8", 6), ("dop853", 8), ("trbdf2", 2), ("kvaerno3", 3), ("radau5", 4)),
    ],
)
def test_order_of_dense_output(method: str, order: int) -> None:
    """The extension adds a local error, of one order more than its own, to the steps' error."""
    errors = []
    numbers = STEPS.get(method, (32, 48, 64, 96))
    for n in numbers:
        times = [0.0, *(END * (k + 0.37) / n for k in range(n)), END]
        ys = odeint(func, Y0, torch.tensor(times, dtype=torch.float64), method=method,
                    options={"num_steps": n})  # fmt: skip
        errors.append(float((ys - reference(times)).abs().max()))
    assert -float(np.polyfit(np.log(numbers), np.log(errors), 1)[0]) > order - 0.5


@pytest.mark.parametrize(("method", "peer"), [("dopri5", RK45), ("dop853", DOP853)])
def test_fixed_grid_equals_scipy(method: str, peer) -> None:
    """SciPy walks the grid of ours by being held to one step at a time."""
    times = [0.0, 0.3, 0.5, 1.1, 1.4, 2.0]
    dense = [0.0, 0.1, 0.44, 0.9, 1.2, 1.77, 2.0]
    ours = solve(func, Y0, torch.tensor(dense, dtype=torch.float64), method=method,
                 options={"grid": times})  # fmt: skip
    y = Y0.numpy()
    values = {0.0: y}
    for t0, t1 in itertools.pairwise(times):
        one = peer(func_of_arrays, t0, y, t1, rtol=1e6, atol=1e6, first_step=t1 - t0)
        one.step()
        assert one.t == t1
        inside = one.dense_output()
        values |= {t: inside(t) for t in dense if t0 < t < t1}
        y = one.y
        values[t1] = y
    expected = np.stack([values[t] for t in dense])
    assert np.abs(np.asarray(ours.ys) - expected).max() < 2e-14


@pytest.mark.parametrize("method", ADAPTIVE)
def test_adaptive_error_follows_the_tolerance(method: str) -> None:
    exact = reference([0.0, END])[-1]
    # Fehlberg's estimate is that of the first-order solution, whose error constant is 1/512 of
    # Euler's: it says little about the second-order solution that is propagated.
    bound = 300 if method == "fehlberg2" else 30
    errors, steps = [], []
    for tolerance in (1e-4, 1e-6):
        solution = solve(func, Y0, torch.tensor([0.0, END]), rtol=tolerance, atol=tolerance,
                         method=method)  # fmt: skip
        errors.append(float((solution.ys[-1] - exact).abs().max()))
        steps.append(len(solution.steps))
        assert errors[-1] < bound * tolerance
    assert errors[1] < errors[0] / 5
    assert steps[1] > steps[0]


def test_adaptive_dopri5_takes_about_as_many_steps_as_scipy() -> None:
    times = torch.tensor([0.0, END], dtype=torch.float64)
    ours = solve(func, Y0, times, rtol=1e-8, atol=1e-8, method="dopri5")
    peer = solve_ivp(func_of_arrays, (0, END), Y0.numpy(), method="RK45", rtol=1e-8, atol=1e-8)
    assert len(ours.steps) == pytest.approx(len(peer.t) - 1, rel=0.25)


def test_step_t_is_landed_on_and_fixed_steps_fill_the_interval() -> None:
    times = torch.tensor([0.0, END], dtype=torch.float64)
    landed = solve(func, Y0, times, rtol=1e-5, options={"step_t": [0.7, 1.3]})
    assert {0.7, 1.3} <= set(landed.steps.t.tolist())
    fixed = solve(func, Y0, times, method="rk4", options={"step_size": 0.6, "step_t": [0.7]})
    assert fixed.steps.grid == pytest.approx([0.0, 0.6, 0.7, 1.2, 1.8, 2.0])
    counted = solve(func, Y0, times, method="euler", options={"num_steps": 3})
    assert counted.steps.h.tolist() == pytest.approx([2 / 3] * 3)


def test_the_users_norm_decides() -> None:
    seen = []

    def norm(error: tuple[Tensor, Tensor]) -> Tensor:
        seen.append([tuple(part.shape) for part in error])
        return error[0].abs().amax()

    def pair(t: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        return -state[0], torch.sin(100 * t) * state[1]

    y0, times = (torch.ones(2), torch.ones(3)), torch.tensor([0.0, 1.0])
    by_norm = solve(pair, y0, times, rtol=1e-4, options={"norm": norm})
    default = solve(pair, y0, times, rtol=1e-4)
    assert seen[0] == [(2,), (3,)]
    assert len(by_norm.steps) < len(default.steps) / 3
