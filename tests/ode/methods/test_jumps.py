"""Fields that jump at known times: each step sees its own side, forward and in every replay."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from symadj import IncompatibleError, InputError, SolverSettings, odeint, odeint_adjoint, solve
from symadj.grad import GradientMethod
from tests.fields import Wave, start
from tests.grad.variants import EXACT_WAYS

T = torch.tensor([0.0, 1.0], dtype=torch.float64)


def broken(t: Tensor, y: Tensor) -> Tensor:
    """dy/dt = -y/2 before t = 1/2, y^2 from then on."""
    return -0.5 * y if t < 0.5 else y**2


def exact(y0: Tensor) -> Tensor:
    half = y0 * math.exp(-0.25)
    return half / (1 - 0.5 * half)


class Switch(nn.Module):
    """A wave whose sign turns at t = 0.4 and 0.9, where the new side holds or the old one."""

    def __init__(self) -> None:
        super().__init__()
        self.wave = Wave()
        self.times: list[float] = []

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        self.times.append(float(t))
        turned = t >= 0.4 and not t > 0.9
        return self.wave(t, y) * (-1 if turned else 1)


@pytest.mark.parametrize("method", ["heun", "fehlberg2", "bosh3", "dopri5", "tsit5", "dop853"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_jump_that_is_named_costs_no_accuracy_and_fewer_evaluations(
    method: str, dtype: torch.dtype
) -> None:
    y0 = torch.tensor([0.5, 1.0], dtype=dtype)
    tolerance = 2e-5 if method in ("heun", "fehlberg2") else 2e-6
    settings: dict[str, Any] = {"rtol": tolerance, "atol": tolerance, "method": method}
    named = solve(broken, y0, T, **settings, options={"jump_t": [0.5]})
    landed = solve(broken, y0, T, **settings, options={"step_t": [0.5]})
    assert 0.5 in named.steps.t
    assert named.stats.forward < landed.stats.forward
    bound = 300 if method == "fehlberg2" else 30
    assert float((named.ys[-1] - exact(y0)).abs().max()) < bound * tolerance


def test_evaluations_lie_on_both_sides_and_never_at_the_jump() -> None:
    field = Switch()
    solve(field, start(4, 3), T, rtol=1e-3, options={"jump_t": [0.4, 0.9]}, gradient="backprop")
    for jump in (0.4, 0.9):
        beside = [t for t in field.times if 0 < abs(t - jump) < 1e-12]
        assert jump not in field.times
        assert {t > jump for t in beside} == {True, False}


@pytest.mark.parametrize("gradient", EXACT_WAYS)
@pytest.mark.parametrize("times", [[0.0, 0.3, 0.9, 0.95, 1.0], [1.0, 0.9, 0.2, 0.0]])
@pytest.mark.parametrize("method", ["dopri5", "heun"])
def test_exact_gradients_through_jumps(
    method: str, times: list[float], gradient: GradientMethod | str
) -> None:
    field, y0 = Switch(), (0.5 * start(4, 3)).detach().requires_grad_()
    t = torch.tensor(times, dtype=torch.float64)
    inputs = [y0, field.wave.weight, field.wave.bias]
    options = {"jump_t": [0.4, 0.9]}
    tolerances: dict[str, Any] = {"rtol": 1e-2, "atol": 1e-2, "method": method}
    ours = solve(field, y0, t, **tolerances, options=options, gradient=gradient)
    frozen = {"grid": ours.steps.grid, **options}
    other = solve(field, y0, t, **tolerances, options=frozen, gradient="backprop")
    assert torch.equal(ours.ys, other.ys)
    pairs = zip(
        torch.autograd.grad(torch.sin(ours.ys).sum(), inputs),
        torch.autograd.grad(torch.sin(other.ys).sum(), inputs),
        strict=True,
    )
    assert max(float((a - b).norm() / b.norm()) for a, b in pairs) < 1e-12


def test_the_adjoint_method_goes_back_through_jumps() -> None:
    """Against the exact solution's derivative, (1/(1 - x/2))^2 dx/dy0 with x = y0 e^(-1/4)."""
    y0 = torch.tensor([0.5, 1.0], dtype=torch.float64, requires_grad=True)
    ys = odeint_adjoint(broken, y0, T, rtol=1e-9, atol=1e-9, options={"jump_t": [0.5]})
    (ours,) = torch.autograd.grad(ys[-1].sum(), y0)
    (true,) = torch.autograd.grad(exact(y0).sum(), y0)
    assert float((ours - true).abs().max()) < 1e-7


def test_perturbed_fixed_steps_avoid_the_grid() -> None:
    field = Switch()
    for gradient in ("backprop", "symplectic", "adjoint"):
        field.times.clear()
        y0 = start(4, 3)
        settings = SolverSettings("rk4", step_size=0.25, perturb=True)
        options = {"step_size": settings.step_size, "perturb": True}
        ys = odeint(field, y0, T, method="rk4", options=options, gradient=gradient, params=())
        ys.sum().backward()
        on_grid = {t for t in field.times if t in (0.25, 0.5, 0.75)}
        assert not on_grid, gradient
    with pytest.raises(IncompatibleError, match="perturb=true goes with fixed steps"):
        SolverSettings("dopri5", perturb=True)


def test_min_step_is_accepted_whatever_its_error() -> None:
    t = torch.tensor([0.0, 2.0], dtype=torch.float64)
    coarse = solve(Wave(), start(4, 3), t, rtol=1e-9, options={"min_step": 0.5})
    assert coarse.steps.h.tolist() == pytest.approx([0.5] * 4)
    assert coarse.stats.rejected == 0
    with pytest.raises(InputError, match="above max_step"):
        SolverSettings(min_step=2.0, max_step=1.0)


@pytest.mark.parametrize("interp", ["linear", "cubic"])
@pytest.mark.parametrize("gradient", ["symplectic", "aca", "checkpoint"])
def test_outputs_by_straight_lines_or_by_hermites_cubic(interp: str, gradient: str) -> None:
    field, y0 = Wave(), start(4, 3)
    t = torch.tensor([0.0, 0.3, 1.0], dtype=torch.float64)
    options = {"num_steps": 2, "interp": interp}
    ys = odeint(field, y0, t, method="dopri5", options=options, gradient=gradient)
    ends = odeint(field, y0, torch.linspace(0, 1, 3), method="dopri5", options={"num_steps": 2})
    theta, h = 0.6, 0.5
    expected = y0 + theta * (ends[1] - y0)
    if interp == "cubic":
        k0, k1 = field(t[0], y0), field(t[1] / theta, ends[1])
        rest = (1 - 2 * theta) * (ends[1] - y0) + (theta - 1) * h * k0 + theta * h * k1
        expected = expected + theta * (theta - 1) * rest
    assert float((ys[1] - expected).detach().abs().max()) < 1e-14
    plain = odeint(field, y0, t, method="dopri5", options=options, gradient="backprop")
    inputs = [y0, field.weight]
    pairs = zip(
        torch.autograd.grad(torch.sin(ys).sum(), inputs),
        torch.autograd.grad(torch.sin(plain).sum(), inputs),
        strict=True,
    )
    assert max(float((a - b).norm() / b.norm()) for a, b in pairs) < 1e-12
    with pytest.raises(InputError, match="unknown interp='cubik'"):
        SolverSettings(interp="cubik")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("end", "steps"), [(0.3, 3), (0.7, 7), (1.0, 10), (1.05, 11), (-0.3, 3)])
def test_a_remainder_of_rounding_is_no_step(end: float, steps: int, dtype: torch.dtype) -> None:
    t = torch.tensor([0.0, end], dtype=dtype)
    solution = solve(broken, torch.ones(2), t, method="rk4", options={"step_size": 0.1})
    assert len(solution.steps) == steps
    assert solution.steps.end == float(t[-1])
