"""Implicit steps: stiff fields, the solves of their equations, and what they refuse."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

from symadj import IncompatibleError, InputError, SolverSettings, odeint, solve
from symadj.errors import NewtonError
from symadj.ode.gmres import gmres
from symadj.ode.methods import ALIASES
from tests.fields import Wave, start

T = torch.tensor([0.0, 1.0], dtype=torch.float64)


def robertson(t: Tensor, y: Tensor) -> Tensor:
    a, b, c = y.unbind(-1)
    slow, fast, back = 0.04 * a, 3e7 * b**2, 1e4 * b * c
    return torch.stack([back - slow, slow - back - fast, fast], -1)


def van_der_pol(t: Tensor, y: Tensor) -> Tensor:
    """mu = 1000."""
    x, v = y.unbind(-1)
    return torch.stack([v, 1e3 * (1 - x**2) * v - x], -1)


def robertson_of_arrays(t: float, y: np.ndarray) -> list[float]:
    a, b, c = y
    return [1e4 * b * c - 0.04 * a, 0.04 * a - 1e4 * b * c - 3e7 * b**2, 3e7 * b**2]


def van_der_pol_of_arrays(t: float, y: np.ndarray) -> list[float]:
    return [y[1], 1e3 * (1 - y[0] ** 2) * y[1] - y[0]]


STIFF = {
    "robertson": (robertson, robertson_of_arrays, [1.0, 0.0, 0.0], [0.0, 0.4, 400.0]),
    "van_der_pol": (van_der_pol, van_der_pol_of_arrays, [2.0, 0.0], [0.0, 400.0, 808.0]),
}


@pytest.fixture(scope="module", params=STIFF)
def stiff(request: pytest.FixtureRequest) -> tuple[Callable, Tensor, Tensor, Tensor]:
    func, of_arrays, y0, times = STIFF[request.param]
    peer = solve_ivp(
        of_arrays, (times[0], times[-1]), y0, method="Radau", rtol=1e-10, atol=1e-13,
        t_eval=times,
    )  # fmt: skip
    return func, torch.tensor(y0, dtype=torch.float64), torch.tensor(times), torch.tensor(peer.y.T)


@pytest.mark.parametrize(
    ("method", "most_steps", "bound"),
    [("trbdf2", 500, 300), ("kvaerno5", 150, 100), ("radau5", 250, 30)],
)
def test_stiff_fields(stiff, method: str, most_steps: int, bound: float) -> None:
    """In hundreds of steps, where an explicit method needs 10^5 and more."""
    func, y0, times, reference = stiff
    solution = solve(func, y0, times.double(), method=method, rtol=1e-4, atol=1e-8)
    off = (solution.ys - reference).abs() / (reference.abs() + 1e-4)
    assert float(off.max()) < bound * 1e-4
    assert len(solution.steps) < most_steps
    assert solution.stats.jacobians < solution.stats.newton_iterations


def test_outputs_inside_stiff_steps() -> None:
    times = torch.cat([torch.zeros(1), torch.logspace(-5, 4, 20)]).double()
    y0 = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)
    fine = solve(robertson, y0, times, method="radau5", rtol=1e-7, atol=1e-11)
    for method in ("kvaerno5", "radau5"):
        solution = solve(robertson, y0, times, method=method, rtol=1e-6, atol=1e-10)
        assert len(solution.steps) < 250
        assert float((solution.ys.sum(-1) - 1).abs().max()) < 1e-6
        off = (solution.ys - fine.ys).abs() / (fine.ys.abs() + 1e-4)
        assert float(off.max()) < 1e-3


def test_a_batch_is_factorised_row_by_row() -> None:
    """The values are those of every row by itself."""
    rows = torch.rand(6, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    rows[:, 1] = 0
    one = {"num_steps": 4, "newton_tol": 1e-12, "linear_solver": "dense"}
    t = torch.tensor([0.0, 1e-3], dtype=torch.float64)
    for method in ("kvaerno3", "radau5"):
        whole = odeint(robertson, rows, t, method=method, options={**one, "linear_solver": "auto"})
        for i, row in enumerate(rows):
            alone = odeint(robertson, row, t, method=method, options=one)
            assert float((alone - whole[:, i]).abs().max()) < 1e-10


@pytest.mark.parametrize("name", ["dense", "gmres"])
def test_heat(name: str) -> None:
    """u_t = u_xx on 64 points against its exponential, at a step 60 times the explicit limit."""
    n, h = 64, 1 / 64
    line = torch.eye(n, dtype=torch.float64)
    matrix = (line.roll(1, 0) + line.roll(-1, 0) - 2 * line) / h**2
    x = torch.arange(n, dtype=torch.float64) * h
    y0 = torch.sin(2 * torch.pi * x) + 0.5 * torch.cos(6 * torch.pi * x)
    t = torch.tensor([0.0, 0.05], dtype=torch.float64)
    options = {"linear_solver": name, "num_steps": 7}
    solution = solve(lambda t, u: u @ matrix, y0, t, method="radau5", options=options)
    exact = torch.linalg.matrix_exp(0.05 * matrix) @ y0
    assert float((solution.ys[-1] - exact).abs().max()) < 1e-5
    assert (solution.stats.linear_products > 0) == (name == "gmres")
    assert (solution.stats.factorisations > 0) == (name == "dense")


def test_factors_are_kept_where_steps_and_field_allow_it() -> None:
    weight = torch.tensor([[-2.0, 1.0], [0.5, -300.0]], dtype=torch.float64)
    solution = solve(
        lambda t, y: y @ weight.T, torch.ones(2, dtype=torch.float64), T, method="kvaerno3",
        options={"num_steps": 20},
    )  # fmt: skip
    stats = solution.stats
    assert (stats.jacobians, stats.factorisations) == (1, 1)
    # The second correction of a linear field's stage is rounding.
    assert stats.newton_iterations <= 2 * 20 * 3


def test_steps_are_cut_where_newton_fails() -> None:
    """Two iterations for a stage let no long step through, and short ones do."""
    y0 = torch.tensor([2.0, 0.0], dtype=torch.float64)
    t = torch.tensor([0.0, 400.0], dtype=torch.float64)
    options = {"max_newton": 2, "first_step": 300.0}
    solution = solve(van_der_pol, y0, t, method="radau5", rtol=1e-4, atol=1e-4, options=options)
    usual = solve(van_der_pol, y0, t, method="radau5", rtol=1e-6, atol=1e-6)
    assert solution.stats.rejected > 0
    assert float(solution.steps.h[0]) < 10
    assert float((solution.ys[-1] - usual.ys[-1]).abs().max()) < 1e-2


def blunt(t: Tensor, y: Tensor) -> Tensor:
    """No smooth function: the equations of a long step have no solution that Newton finds."""
    return 100 * torch.sign(y + 0.3 * torch.sin(1000 * y)) * (1 + y**2)


def test_equations_that_are_not_solved() -> None:
    y0 = torch.tensor([0.7, -0.2], dtype=torch.float64)
    fixed = {"num_steps": 2, "newton_tol": 1e-12}
    message = r"after \d+ iterations \(max_newton=20\).*Take shorter steps.*h=0\.5"
    with pytest.raises(NewtonError, match=message) as caught:
        odeint(blunt, y0, T, method="implicit_euler", options=fixed)
    assert caught.value.status == "not_solved"

    def lost(t: Tensor, y: Tensor) -> Tensor:
        return torch.where(t > 0.3, torch.nan, 1.0) * y

    with pytest.raises(NewtonError, match="at the shortest step too"):
        odeint(lost, y0, T, method="radau5")


def test_tolerances_of_zero_ask_for_rounding() -> None:
    y0 = torch.tensor([1.0, 0.0], dtype=torch.float64)
    turn = torch.tensor([[0.0, -1.0], [1.0, 0.0]], dtype=torch.float64)
    t = torch.tensor([0.0, 3.0], dtype=torch.float64)
    for rtol in (0.0, 1e-13):
        ys = odeint(lambda t, y: y @ turn.T, y0, t, method="implicit_midpoint",
                    rtol=rtol, atol=0.0, options={"num_steps": 30})  # fmt: skip
        assert float(ys[-1].norm()) == pytest.approx(1, abs=1e-12)
        growth = torch.linalg.solve(torch.eye(2) - 0.05 * turn, torch.eye(2) + 0.05 * turn)
        exact = torch.linalg.matrix_power(growth, 30) @ y0
        assert float((ys[-1] - exact).abs().max()) < 1e-12


def detached(t: Tensor, y: Tensor) -> Tensor:
    return torch.from_numpy(-(y.detach().numpy() ** 2))


@pytest.mark.parametrize("method", ["trapezoid", "radau5"])
def test_a_field_without_derivative_is_refused(method: str) -> None:
    with pytest.raises(InputError, match="autograd sees no derivative"):
        odeint(detached, torch.ones(3, dtype=torch.float64), T, method=method,
               options={"num_steps": 2})  # fmt: skip
    ys = odeint(lambda t, y: torch.cos(t) * torch.ones_like(y), torch.zeros(3).double(), T,
                method="gauss4", options={"num_steps": 4})  # fmt: skip
    assert ys[-1] == pytest.approx(torch.sin(T[1]).expand(3), abs=1e-6)


@pytest.mark.parametrize("dtype", [torch.complex128, torch.float16, torch.bfloat16])
def test_states_that_no_linear_system_is_solved_for(dtype: torch.dtype) -> None:
    with pytest.raises(InputError, match=r"real states of float32 or float64"):
        odeint(lambda t, y: -y, torch.ones(3, dtype=dtype), torch.tensor([0.0, 1.0]),
               method="implicit_euler", options={"num_steps": 2})  # fmt: skip


def test_settings_that_cannot_be() -> None:
    with pytest.raises(InputError, match=r"unknown linear_solver='lu'.*Allowed: auto, batched"):
        SolverSettings("radau5", linear_solver="lu")
    with pytest.raises(InputError, match="newton_tol=2"):
        SolverSettings("radau5", newton_tol=2.0)
    with pytest.raises(IncompatibleError, match=r"max_newton=5 is an option of .*radau5"):
        SolverSettings("dopri5", max_newton=5)
    with pytest.raises(IncompatibleError, match="has no error estimate"):
        SolverSettings("gauss4")
    with pytest.raises(IncompatibleError, match=r"linear_solver=batched.* is no batch"):
        odeint(lambda t, y: (-y[0], -y[1]), (torch.ones(2).double(), torch.ones(3).double()), T,
               method="radau5", options={"linear_solver": "batched"})  # fmt: skip
    with pytest.raises(IncompatibleError, match="draws random numbers"):
        odeint(lambda t, y: -y * torch.rand(()), torch.ones(3).double(), T, method="radau5")
    with pytest.raises(IncompatibleError, match="compile=true needs an explicit"):
        odeint(Wave(), start(4, 3), T, method="radau5", options={"compile": True})


@pytest.mark.parametrize(("theirs", "ours"), ALIASES.items())
def test_names_of_torchdiffeq(theirs: str, ours: str) -> None:
    assert SolverSettings(theirs, num_steps=3) == SolverSettings(ours, num_steps=3)


def test_jumps_are_landed_on() -> None:
    def broken(t: Tensor, y: Tensor) -> Tensor:
        return -0.5 * y if t < 0.5 else -40 * y

    y0 = torch.ones(2, dtype=torch.float64)
    for method in ("trbdf2", "radau5"):
        ys = odeint(broken, y0, T, method=method, rtol=1e-6, atol=1e-8, options={"jump_t": [0.5]})
        assert float((ys[-1] - np.exp(-0.25 - 20)).abs().max()) < 1e-7


def test_gmres_solves_what_it_is_given() -> None:
    generator = torch.Generator().manual_seed(0)
    matrix = torch.eye(30).double() + 0.1 * torch.randn(30, 30, generator=generator).double()
    b = torch.randn(5, 6, generator=generator).double()
    exact = torch.linalg.solve(matrix, b.reshape(-1))

    def apply(x: Tensor) -> Tensor:
        return (matrix @ x.reshape(-1)).view_as(x)

    plain = gmres(apply, b, tolerance=1e-13, restart=40)
    assert float((plain.x.reshape(-1) - exact).norm() / exact.norm()) < 1e-12
    again = gmres(apply, b, tolerance=1e-13, restart=8)
    assert float((again.x.reshape(-1) - exact).norm() / exact.norm()) < 1e-12
    inverse = torch.linalg.inv(matrix + 1e-4)
    near = gmres(
        apply, b, tolerance=1e-13, restart=40,
        precondition=lambda x: (inverse @ x.reshape(-1)).view_as(x),
    )  # fmt: skip
    assert float((near.x.reshape(-1) - exact).norm() / exact.norm()) < 1e-12
    assert near.products < plain.products / 2
    assert gmres(apply, 0 * b, tolerance=1e-13, restart=8).products == 0
    with torch.autocast("cpu", dtype=torch.bfloat16):
        single = gmres(lambda x: 2 * x, b.float(), tolerance=1e-6, restart=8).x
    assert float((2 * single - b.float()).norm() / b.norm()) < 1e-6
