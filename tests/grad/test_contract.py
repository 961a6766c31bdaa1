"""Every exact gradient method equals backpropagation on the frozen grid, explicit solvers all."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from symadj import SOLVERS, odeint, solve
from symadj.grad import GradientMethod
from symadj.ode.methods import IMPLICIT
from tests.fields import Energy, Pair, Wave, start
from tests.grad.variants import ALL_EXACT_WAYS, EXACT_WAYS

# Those of implicit methods are exact to a tolerance; their tests are in test_implicit.py.
METHODS = [name for name in SOLVERS if name not in IMPLICIT]
ADAPTIVE = [name for name in METHODS if SOLVERS[name].error_order is not None]
Gradient = str | GradientMethod
FINAL = [0.0, 1.3]
INTERIOR = [0.0, 0.11, 0.13, 0.5, 0.77, 1.3]


def gradients_of(field, y0, times, gradient, method, options, *, rtol=1e-2, atol=1e-2):
    """(loss gradient with respect to y0 and every parameter, the solution)."""
    t = torch.tensor(times, dtype=torch.float64)
    solution = solve(
        field, y0, t, rtol=rtol, atol=atol, method=method, options=options, gradient=gradient
    )
    ys = solution.ys if isinstance(solution.ys, tuple) else (solution.ys,)
    loss = sum(((k + 1) * torch.sin(y[k])).sum() for y in ys for k in range(len(t)))
    inputs = [
        *(y0 if isinstance(y0, tuple) else (y0,)),
        *(p for p in field.parameters() if p.requires_grad),
    ]
    assert isinstance(loss, Tensor)
    return torch.autograd.grad(loss, inputs, allow_unused=True), solution


def assert_equal(ours, reference, tolerance=1e-12):
    for mine, other in zip(ours, reference, strict=True):
        assert (mine is None) == (other is None)
        if mine is not None:
            error = (mine - other).norm() / other.norm().clamp_min(1e-3)
            assert error < tolerance


@pytest.mark.parametrize("times", [FINAL, INTERIOR], ids=["final", "interior"])
@pytest.mark.parametrize("gradient", EXACT_WAYS)
@pytest.mark.parametrize("method", METHODS)
def test_fixed_steps(method: str, gradient: Gradient, times: list[float]) -> None:
    field, y0, options = Wave(), start(4, 3), {"num_steps": 4}
    ours, _ = gradients_of(field, y0, times, gradient, method, options)
    reference, _ = gradients_of(field, y0, times, "backprop", method, options)
    assert_equal(ours, reference)


@pytest.mark.parametrize("times", [FINAL, INTERIOR], ids=["final", "interior"])
@pytest.mark.parametrize("gradient", EXACT_WAYS)
@pytest.mark.parametrize("method", ADAPTIVE)
def test_adaptive_steps(method: str, gradient: Gradient, times: list[float]) -> None:
    field, y0 = Wave(), start(4, 3)
    ours, solution = gradients_of(field, y0, times, gradient, method, None)
    frozen = {"grid": solution.steps.grid}
    reference, on_grid = gradients_of(field, y0, times, "backprop", method, frozen)
    assert torch.equal(solution.ys, on_grid.ys)
    assert_equal(ours, reference)


@pytest.mark.parametrize("gradient", ALL_EXACT_WAYS)
def test_reverse_time(gradient: Gradient) -> None:
    field, times = Wave(), [1.0, 0.7, 0.1, -0.4]
    # Small, since the cubic term blows up backward.
    y0 = (0.2 * start(4, 3)).detach().requires_grad_()
    ours, solution = gradients_of(field, y0, times, gradient, "dopri5", None)
    assert (solution.steps.h < 0).all()
    frozen = {"grid": solution.steps.grid}
    reference, _ = gradients_of(field, y0, times, "backprop", "dopri5", frozen)
    assert_equal(ours, reference)


@pytest.mark.parametrize("gradient", ALL_EXACT_WAYS)
@pytest.mark.parametrize("method", ["midpoint", "dopri5", "dop853"])
def test_tuple_state(method: str, gradient: Gradient) -> None:
    field, y0 = Pair(), (start(4, 3), start(4))
    options = {"num_steps": 3}
    ours, solution = gradients_of(field, y0, INTERIOR, gradient, method, options)
    assert [tuple(y.shape) for y in solution.ys] == [(6, 4, 3), (6, 4)]
    reference, _ = gradients_of(field, y0, INTERIOR, "backprop", method, options)
    assert_equal(ours, reference)


@pytest.mark.parametrize("gradient", EXACT_WAYS)
@pytest.mark.parametrize("method", ["heun", "dopri5"])
def test_autograd_inside_the_field(method: str, gradient: Gradient) -> None:
    field, y0 = Energy(), start(5, 2)
    ours, solution = gradients_of(field, y0, INTERIOR, gradient, method, None)
    frozen = {"grid": solution.steps.grid}
    reference, _ = gradients_of(field, y0, INTERIOR, "backprop", method, frozen)
    assert_equal(ours, reference)


@pytest.mark.parametrize("gradient", ALL_EXACT_WAYS)
def test_float32_agrees_to_its_rounding(gradient: Gradient) -> None:
    field, y0 = Wave(dtype=torch.float32), start(4, 3, dtype=torch.float32)
    ours, _ = gradients_of(field, y0, INTERIOR, gradient, "dopri5", {"num_steps": 5})
    exact_field = Wave(dtype=torch.float64)
    exact_field.load_state_dict({k: v.double() for k, v in field.state_dict().items()})
    wide = y0.detach().double().requires_grad_()
    reference, _ = gradients_of(exact_field, wide, INTERIOR, "backprop", "dopri5", {"num_steps": 5})
    assert all(g is None or g.dtype == torch.float32 for g in ours)
    assert_equal(ours, reference, 1e-5)


@pytest.mark.parametrize("gradient", EXACT_WAYS)
@pytest.mark.parametrize("method", ["rk4", "bosh3", "dop853"])
def test_gradcheck(method: str, gradient: Gradient) -> None:
    field = Wave(2)
    t = torch.tensor([0.0, 0.4, 1.0], dtype=torch.float64)

    def loss(y0: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        def func(t: Tensor, y: Tensor) -> Tensor:
            return torch.tanh(y @ weight.T + bias * torch.sin(3 * t)) - 0.2 * y**3

        return odeint(
            func, y0, t, method=method, options={"num_steps": 2}, gradient=gradient,
            params=(weight, bias),
        )  # fmt: skip

    inputs = (
        start(2, 2),
        field.weight.detach().requires_grad_(),
        field.bias.detach().requires_grad_(),
    )
    assert torch.autograd.gradcheck(loss, inputs, eps=1e-6, atol=1e-8, rtol=1e-6)


def test_backprop_equals_a_step_written_out_by_hand() -> None:
    """The reference itself, against rk4 and autograd without any of this package's code."""
    field, y0, h = Wave(), start(4, 3), 0.25
    y, t = y0, 0.0
    for _ in range(4):
        now, half, then = (torch.tensor(t + c * h, dtype=torch.float64) for c in (0, 0.5, 1))
        k1 = field(now, y)
        k2 = field(half, y + h / 2 * k1)
        k3 = field(half, y + h / 2 * k2)
        k4 = field(then, y + h * k3)
        y, t = y + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4), t + h
    by_hand = torch.autograd.grad(torch.sin(y).sum(), [y0, field.weight, field.bias])
    ys = odeint(
        field, y0, torch.tensor([0.0, 1.0]), method="rk4", options={"num_steps": 4},
        gradient="backprop",
    )  # fmt: skip
    ours = torch.autograd.grad(torch.sin(ys[-1]).sum(), [y0, field.weight, field.bias])
    assert_equal(ours, by_hand, 1e-14)


def test_adjoint_error_falls_with_its_tolerance() -> None:
    field, y0 = Wave(), start(4, 3)
    errors = []
    for tolerance in (1e-3, 1e-5, 1e-7, 1e-9):
        ours, solution = gradients_of(
            field, y0, INTERIOR, "adjoint", "dopri5", None, rtol=tolerance, atol=tolerance
        )
        frozen = {"grid": solution.steps.grid}
        reference, _ = gradients_of(field, y0, INTERIOR, "backprop", "dopri5", frozen)
        errors.append(
            max(
                float((a - b).norm() / b.norm())
                for a, b in zip(ours, reference, strict=True)
                if a is not None and b is not None
            )
        )
    assert errors[0] > 1e-6, "at a loose tolerance the adjoint method is not exact"
    assert errors[1] < errors[0] / 5
    assert errors[2] < errors[1] / 5
    assert errors[3] < errors[2] / 5
    assert errors[-1] < 1e-7
