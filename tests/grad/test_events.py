"""Gradients of the times and states of events are those of what was computed, at any tolerance."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from symadj import (
    GRADIENTS,
    SOLVERS,
    DoubleBackwardError,
    Event,
    EventTimes,
    odeint,
    odeint_event,
    solve,
)
from symadj.grad import Auto, GradientMethod, Symplectic
from symadj.ode.methods import IMPLICIT
from tests.fields import Energy, Pair, Wave, start
from tests.grad.variants import ALL_EXACT_WAYS, EXACT_WAYS

WAYS = [p.values[0] if hasattr(p, "values") else p for p in EXACT_WAYS]
EXPLICIT = [name for name in SOLVERS if name not in IMPLICIT]
ADAPTIVE = [name for name in EXPLICIT if SOLVERS[name].error_order is not None]
F64 = torch.float64
LOOSE: dict[str, Any] = {"rtol": 1e-2, "atol": 1e-2}


class Surface(nn.Module):
    """g = a . y + b t - c, with parameters of its own."""

    def __init__(self, level: float = 1.2, dtype: torch.dtype = F64) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.tensor([0.3, -0.5, 0.2], dtype=dtype))
        self.b = nn.Parameter(torch.tensor(1.0, dtype=dtype))
        self.level = nn.Parameter(torch.tensor(level, dtype=dtype))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return (y @ self.a).mean() + self.b * t - self.level


def loss_of(events: EventTimes, ys: Any) -> Tensor:
    """Of all that a solve with events returns."""
    parts = [*(ys if isinstance(ys, tuple) else (ys,))]
    parts += events.ys if isinstance(events.ys, tuple) else (events.ys,)
    return torch.sin(events.t + 0.1).sum() + sum(torch.sin(y).sum() for y in parts)


def two_events(surface: Surface) -> list[Event]:
    return [Event(surface), Event(lambda t, y: (y**2).mean() - 0.95 - 0.5 * t, terminal=False)]


def gradients(
    gradient: str | GradientMethod, method: str, options: dict[str, Any] | None, t0: float = -0.2
) -> tuple[list[Tensor], Any]:
    """By y0, the field's parameters, the event's, and the times; and the solution."""
    field, surface, y0 = Wave(), Surface(), start(4, 3)
    t = torch.tensor([t0, 0.3, 0.8, 2.0], dtype=F64, requires_grad=True)
    solution = solve(
        field, y0, t, events=two_events(surface), method=method, options=options,
        gradient=gradient, **LOOSE,
    )  # fmt: skip
    assert solution.events is not None
    inputs = [y0, field.weight, field.bias, *surface.parameters(), t]
    return list(torch.autograd.grad(loss_of(solution.events, solution.ys), inputs)), solution


def assert_equal(ours: Sequence[Tensor], reference: Sequence[Tensor], tolerance: float) -> None:
    for mine, other in zip(ours, reference, strict=True):
        assert (mine - other).norm() <= tolerance * other.norm().clamp_min(1e-3)


@pytest.mark.parametrize(
    ("method", "gradient"),
    [*((m, "symplectic") for m in ADAPTIVE), *(("dop853", way) for way in WAYS)],
)
def test_every_exact_method_has_the_gradient_of_the_frozen_grid(
    method: str, gradient: str | GradientMethod
) -> None:
    ours, solution = gradients(gradient, method, None)
    assert solution.events.ended
    assert len(solution.events) > 1
    frozen = {"grid": sorted({*solution.steps.grid, 2.0})}
    reference, on_grid = gradients("backprop", method, frozen)
    assert torch.equal(on_grid.events.t, solution.events.t)
    assert_equal(ours, reference, 1e-11)


@pytest.mark.parametrize("method", ["alf", "alf4", "reversible_heun", "reversible"])
def test_the_reversible_method(method: str) -> None:
    ours, _ = gradients("reversible", method, {"step_size": 0.05})
    reference, _ = gradients("backprop", method, {"step_size": 0.05})
    assert_equal(ours, reference, 1e-10)


@pytest.mark.parametrize("method", ["trapezoid", "kvaerno3", "gauss4", "radau5"])
def test_implicit_steps_whose_equations_are_solved_to_rounding(method: str) -> None:
    options = {"num_steps": 6, "newton_tol": 1e-13}
    reference, _ = gradients("backprop", method, options)
    for gradient in ("symplectic", "aca"):
        ours, _ = gradients(gradient, method, options)
        assert_equal(ours, reference, 1e-9)


@pytest.mark.parametrize("method", [m for m in EXPLICIT if m not in ADAPTIVE])
def test_fixed_steps(method: str) -> None:
    for gradient in ("symplectic", "aca", "checkpoint"):
        ours, _ = gradients(gradient, method, {"num_steps": 6})
        reference, _ = gradients("backprop", method, {"num_steps": 6})
        assert_equal(ours, reference, 1e-11)


@pytest.mark.parametrize("gradient", ALL_EXACT_WAYS)
def test_tuple_states_and_time_that_goes_down(gradient: str | GradientMethod) -> None:
    def both(method: str | GradientMethod) -> tuple[Tensor, ...]:
        field, y0 = Pair(), (start(4, 3), start(4))
        event_t, ys = odeint_event(
            field, y0, torch.tensor(0.3), event_fn=lambda t, y: y[1].sum() - 2 - t,
            reverse_time=True, gradient=method, **LOOSE,
        )  # fmt: skip
        loss = event_t**2 + sum(torch.sin(y).sum() for y in ys)
        return torch.autograd.grad(loss, [*y0, field.weight])

    assert_equal(both(gradient), both("backprop"), 1e-11)


@pytest.mark.parametrize("gradient", ["backprop", "symplectic", Symplectic(store="stages")])
def test_autograd_inside_the_field(gradient: str | GradientMethod) -> None:
    def of(method: str | GradientMethod) -> tuple[Tensor, ...]:
        field, y0 = Energy(), start(5, 2)
        event_t, ys = odeint_event(
            field, y0, 0.0, event_fn=lambda t, y: y[:, 0].sum() - 1.5, gradient=method, t_end=9.0,
            **LOOSE,
        )  # fmt: skip
        return torch.autograd.grad(event_t + ys.sin().sum(), [y0, field.weight])

    assert_equal(of(gradient), of("backprop"), 1e-11)


def by_hand(y0: Tensor, weight: Tensor, bias: Tensor, surface: Surface) -> tuple[Tensor, Tensor]:
    """Kutta's method with Hermite's cubic, Newton's method for the root: no code of symadj."""
    field, h = Wave(), 0.25

    def f(t: Any, y: Tensor) -> Tensor:
        drive = bias * torch.sin(3 * torch.as_tensor(t, dtype=F64))
        return torch.tanh(y @ weight.T + drive + field.frozen) - 0.2 * y**3

    y, t = y0, 0.0
    while True:
        k1 = f(t, y)
        k2 = f(t + h / 2, y + h / 2 * k1)
        k3 = f(t + h / 2, y + h / 2 * k2)
        k4 = f(t + h, y + h * k3)
        end = y + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        if surface(torch.tensor(t + h), end) > 0:
            break
        y, t = end, t + h
    k_end = f(t + h, end)

    def at(time: Tensor) -> Tensor:
        s = (time - t) / h
        return (
            (1 + 2 * s) * (1 - s) ** 2 * y + s * (1 - s) ** 2 * h * k1
            + s**2 * (3 - 2 * s) * end + s**2 * (s - 1) * h * k_end
        )  # fmt: skip

    root = torch.tensor(t + h / 2, dtype=F64)
    for _ in range(12):
        # The last of these steps, from the root itself, has the root's derivative.
        leaf = root.detach().requires_grad_()
        (rate,) = torch.autograd.grad(surface(leaf, at(leaf)), leaf, retain_graph=True)
        root = root.detach() - surface(root.detach(), at(root.detach())) / rate
    return root, at(root)


@pytest.mark.parametrize("gradient", ["backprop", "symplectic", "aca", "checkpoint"])
def test_against_steps_a_cubic_and_newtons_method_written_out(gradient: str) -> None:
    field, surface, y0 = Wave(), Surface(), start(4, 3)
    inputs = [y0, field.weight, field.bias, *surface.parameters()]
    event_t, ys = odeint_event(
        field, y0, 0.0, event_fn=surface, method="rk4", options={"step_size": 0.25},
        gradient=gradient,
    )  # fmt: skip
    root, there = by_hand(y0, field.weight, field.bias, surface)
    assert abs((event_t - root).item()) < 1e-14
    assert (ys[1] - there).abs().max() < 1e-14
    ours = torch.autograd.grad(event_t + torch.sin(ys[1]).sum(), inputs)
    assert_equal(ours, torch.autograd.grad(root + torch.sin(there).sum(), inputs), 1e-12)


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("dopri5", {"grid": [0.0, 0.4, 1.5]}),
        ("dop853", {"grid": [0.0, 0.7, 1.5]}),
        ("alf", {"grid": [0.0, 0.1, 0.4, 0.8, 1.5]}),
        ("reversible", {"grid": [0.0, 0.4, 1.5]}),
        ("euler", {"grid": [0.0, 0.4, 0.7, 1.5]}),
    ],
)
def test_gradcheck_on_a_coarse_grid(method: str, options: dict[str, Any]) -> None:
    """Where the derivative of the interpolant and the field's value differ by percents."""
    field, surface = Wave(), Surface()
    t = torch.tensor([0.0, 1.5], dtype=F64)

    def found(y0: Tensor, weight: Tensor, a: Tensor, level: Tensor) -> tuple[Tensor, Tensor]:
        def func(t: Tensor, y: Tensor) -> Tensor:
            return torch.tanh(y @ weight.T + field.bias.detach() * torch.sin(3 * t)) - 0.2 * y**3

        def event(t: Tensor, y: Tensor) -> Tensor:
            return (y @ a).mean() + torch.sin(t) - level

        events = solve(
            func, y0, t, events=event, method=method, options=options, params=[weight]
        ).events
        assert events is not None
        return events.t, events.ys

    leaves = (start(2, 3), field.weight, surface.a, surface.level.detach() - 0.3)
    inputs = tuple(x.detach().requires_grad_() for x in leaves)
    assert torch.autograd.gradcheck(found, inputs, eps=1e-6, atol=1e-8, rtol=1e-7)


def fall(gravity: Tensor, drag: Tensor | None = None) -> Callable[[Tensor, Tensor], Tensor]:
    def func(t: Tensor, y: Tensor) -> Tensor:
        slowed = 0 if drag is None else drag * y[1]
        return torch.stack([y[1], -gravity - slowed])

    return func


@pytest.mark.parametrize("gradient", GRADIENTS)
def test_the_fall_of_a_ball_in_closed_form(gradient: str) -> None:
    """t* = t0 + (v + sqrt(v^2 + 2 g q)) / g, the velocity there -sqrt(v^2 + 2 g q)."""
    method = "reversible" if gradient == "reversible" else "dopri5"
    inputs = [torch.tensor(x, dtype=F64, requires_grad=True) for x in (4.0, 1.5, 9.81, 0.25, 0.1)]
    q, v, g, t0, floor = inputs
    event_t, ys = odeint_event(
        fall(g), torch.stack([q, v]), t0, event_fn=lambda t, y: y[0] - floor, gradient=gradient,
        method=method, params=[g], rtol=1e-10, atol=1e-10,
    )  # fmt: skip
    speed = torch.sqrt(v**2 + 2 * g * (q - floor))
    exact_t = t0 + (v + speed) / g
    assert abs((event_t - exact_t).item()) < 1e-12
    assert abs((ys[1, 1] + speed).item()) < 1e-12
    for ours, exact in ((event_t, exact_t), (ys[1, 1], -speed)):
        mine = torch.autograd.grad(ours, inputs, retain_graph=True)
        theirs = torch.autograd.grad(exact, inputs, retain_graph=True, allow_unused=True)
        for a, b in zip(mine, theirs, strict=True):
            assert abs(float(a - (0.0 if b is None else b))) < 1e-10
    # The height at the event is the floor's whatever happens.
    of_height = torch.autograd.grad(ys[1, 0], inputs)
    assert [round(float(x), 10) for x in of_height] == [0, 0, 0, 0, 1]


def test_impacts_in_a_row_in_closed_form() -> None:
    """The k-th impact of a ball dropped from q: t_1 (1 + 2 e + ... + 2 e^k), t_1 = sqrt(2 q/g)."""
    e, g, q = (torch.tensor(x, dtype=F64, requires_grad=True) for x in (0.8, 9.81, 2.0))
    t, y = torch.zeros((), dtype=F64), torch.stack([q, torch.zeros_like(q)])
    times = []
    for _ in range(4):
        t, ys = odeint_event(
            fall(g), y, t, event_fn=Event(lambda t, y: y[0], direction="falling"), params=[g]
        )
        times.append(t)
        y = torch.stack([ys[1, 0], -e * ys[1, 1]])
    first = torch.sqrt(2 * q / g)
    exact = first * (1 + 2 * torch.cumsum(e ** torch.arange(4), 0) - 2)
    assert (torch.stack(times) - exact).abs().max() < 1e-12
    ours = torch.autograd.grad(times[-1], [e, g, q])
    theirs = torch.autograd.grad(exact[-1], [e, g, q])
    assert max(abs(float(a - b)) for a, b in zip(ours, theirs, strict=True)) < 1e-10


def test_the_gradient_by_the_start_is_that_of_finite_differences() -> None:
    """Of t0, where the field and the event depend on the time; the solves are tight."""
    field, surface, y0 = Wave(), Surface(), start(4, 3).detach()

    def event_of(t0: Tensor) -> Tensor:
        event_t, ys = odeint_event(
            field, y0, t0, event_fn=surface, method="dop853", rtol=1e-12, atol=1e-12
        )
        return event_t + torch.sin(ys[1]).sum()

    t0 = torch.tensor(0.1, dtype=F64, requires_grad=True)
    (ours,) = torch.autograd.grad(event_of(t0), t0)
    with torch.no_grad():
        e = 1e-3
        near, far = (event_of(t0 + s * e) - event_of(t0 - s * e) for s in (1, 2))
        assert abs(float(ours) - float(8 * near - far) / (12 * e)) < 1e-8


def test_float32_agrees_to_its_rounding() -> None:
    def of(dtype: torch.dtype) -> list[Tensor]:
        field, surface = Wave(dtype=F64).to(dtype), Surface().to(dtype)
        y0 = start(4, 3).detach().to(dtype).requires_grad_()
        event_t, ys = odeint_event(
            field, y0, torch.zeros((), dtype=F64), event_fn=surface, method="rk4",
            options={"step_size": 0.2},
        )  # fmt: skip
        inputs = [y0, field.weight, *surface.parameters()]
        return list(torch.autograd.grad(event_t + torch.sin(ys[1]).sum(), inputs))

    assert_equal([x.double() for x in of(torch.float32)], of(F64), 1e-5)


def test_auto_counts_the_steps_to_the_event(capsys: pytest.CaptureFixture[str]) -> None:
    ours, _ = gradients(Auto("1GiB"), "dopri5", None)
    reference, _ = gradients("backprop", "dopri5", None)
    assert_equal(ours, reference, 1e-11)
    assert "taken" in capsys.readouterr().out


@pytest.mark.parametrize("gradient", ["backprop", "symplectic"])
def test_a_second_derivative_is_refused(gradient: str) -> None:
    g = torch.tensor(9.81, dtype=F64, requires_grad=True)
    y0 = torch.tensor([1.0, 0.0], dtype=F64, requires_grad=True)
    event_t, _ = odeint_event(
        fall(g), y0, 0.0, event_fn=lambda t, y: y[0], gradient=gradient, params=[g]
    )
    (first,) = torch.autograd.grad(event_t, y0, create_graph=True)
    with pytest.raises(DoubleBackwardError, match="event"):
        torch.autograd.grad(first[0], y0)


def test_a_second_backward_pass_with_the_graph_retained() -> None:
    field, y0 = Wave(), start(4, 3)
    event_t, _ = odeint_event(field, y0, 0.0, event_fn=Surface())
    first = torch.autograd.grad(event_t, y0, retain_graph=True)
    second = torch.autograd.grad(event_t, y0)
    assert torch.equal(first[0], second[0])


def test_a_field_that_draws_random_numbers() -> None:
    """Dropout: what is drawn in the search is what the backward pass repeats."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Dropout(0.3), nn.Linear(8, 3)).double()
    y0 = start(4, 3)

    def of(gradient: str) -> tuple[Tensor, ...]:
        torch.manual_seed(1)
        event_t, ys = odeint_event(
            lambda t, y: net(y), y0, 0.0, event_fn=lambda t, y: t + 0.1 * y.mean() - 0.5,
            method="rk4", options={"step_size": 0.1}, gradient=gradient, t_end=9.0,
        )  # fmt: skip
        return torch.autograd.grad(event_t + ys.sin().sum(), [y0, *net.parameters()])

    assert_equal(of("symplectic"), of("aca"), 1e-11)


def test_the_continuous_adjoint_is_as_good_as_its_tolerance() -> None:
    for tolerance, bound in ((1e-4, 1e-2), (1e-9, 1e-6)):
        grads = []
        for gradient in ("adjoint", "backprop"):
            field, surface, y0 = Wave(), Surface(), start(4, 3)
            event_t, ys = odeint_event(
                field, y0, 0.0, event_fn=surface, gradient=gradient, rtol=tolerance, atol=tolerance
            )
            loss = event_t + torch.sin(ys[1]).sum()
            grads.append(torch.autograd.grad(loss, [y0, field.weight, *surface.parameters()]))
        assert_equal(grads[0], grads[1], bound)


def test_what_is_kept_does_not_hang_on_the_steps_after_an_event() -> None:
    """Nor is anything solved twice: the evaluations are those of a solve to the same step."""
    field, y0 = Wave(), start(4, 3)
    t = torch.tensor([0.0, 5.0], dtype=F64)
    found = solve(field, y0, t, events=lambda t, y: t - 1.3, **LOOSE)
    plain = solve(field, y0, t, options={"grid": [*found.steps.grid, 5.0]}, **LOOSE)
    assert found.stats.accepted == len(plain.steps) - 1
    assert found.stats.forward <= plain.stats.forward + 2
    assert math.isclose(float(found.events.t[0]), 1.3)  # type: ignore[union-attr]
    assert odeint(field, y0, t).shape == (2, 4, 3)
