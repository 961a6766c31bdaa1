"""Events are found where they are, in their order, and nothing that is none is taken for one."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from symadj import (
    SOLVERS,
    Event,
    IncompatibleError,
    InputError,
    MaxStepsExceeded,
    NoEventError,
    NonFiniteError,
    odeint_event,
    solve,
)

F64 = torch.float64
T = torch.tensor([0.0, 1.0, 2.0, 3.0, 10.0], dtype=F64)
Y0 = torch.tensor([0.0, 1.0], dtype=F64)
CLOSE = {"rtol": 1e-10, "atol": 1e-10, "method": "dop853"}


def circle(t: Tensor, y: Tensor) -> Tensor:
    """y = (sin t, cos t) from (0, 1)."""
    return torch.stack([y[1], -y[0]])


def fall(t: Tensor, y: Tensor) -> Tensor:
    """Of a ball: height and velocity."""
    return torch.stack([y[1], torch.full_like(y[1], -9.81)])


def height(t: Tensor, y: Tensor) -> Tensor:
    return y[0]


def velocity(t: Tensor, y: Tensor) -> Tensor:
    return y[1]


def test_events_of_both_kinds_are_recorded_in_their_order_and_a_terminal_one_ends_the_solve() -> (
    None
):
    events = [
        Event(height, terminal=False),
        Event(velocity, terminal=False, direction="rising"),
        Event(lambda t, y: t - 7.5),
    ]
    solution = solve(circle, Y0, T, events=events, **CLOSE)
    found = solution.events
    assert found is not None
    assert found.ended
    assert len(found) == 4
    # The zeros of sin, and cos rising; that at the start is none.
    wanted = torch.tensor([math.pi, 1.5 * math.pi, 2 * math.pi, 7.5], dtype=F64)
    assert (found.t - wanted).abs().max() < 1e-8
    assert found.event.tolist() == [0, 1, 0, 2]
    exact = torch.stack([wanted.sin(), wanted.cos()], dim=1)
    assert (found.ys - exact).abs().max() < 1e-8
    # No output behind the end.
    assert solution.ys.shape == (4, 2)
    assert (solution.ys[:, 0] - T[:4].sin()).abs().max() < 1e-8


@pytest.mark.parametrize(
    ("direction", "wanted"),
    [("rising", [2, 4]), ("falling", [1, 3]), ("both", [1, 2, 3, 4])],
)
def test_direction(direction: str, wanted: list[int]) -> None:
    t = torch.tensor([0.0, 14.0], dtype=F64)
    event = Event(height, terminal=False, direction=direction)
    found = solve(circle, Y0, t, events=event, **CLOSE).events
    assert found is not None
    assert not found.ended
    assert (found.t / math.pi - torch.tensor(wanted, dtype=F64)).abs().max() < 1e-8


def test_direction_is_that_of_the_solve_where_time_goes_down() -> None:
    event = Event(height, direction="rising")
    event_t, ys = odeint_event(circle, Y0, 0.0, event_fn=event, reverse_time=True, **CLOSE)
    # sin falls below zero at once, and comes up again at -pi.
    assert abs(float(event_t) + math.pi) < 1e-8
    assert (ys[1] - torch.tensor([0.0, -1.0], dtype=F64)).abs().max() < 1e-8


@pytest.mark.parametrize("method", SOLVERS)
def test_a_root_is_found_to_the_resolution_of_time(method: str) -> None:
    options = {} if SOLVERS[method].error_order is not None else {"step_size": 0.1}
    # Of constant acceleration all are exact but Euler's methods, and between its steps the implicit
    # midpoint rule, which continues them by straight lines.
    event_t, ys = odeint_event(
        fall, torch.tensor([10.0, 0.0], dtype=F64), 0.0, event_fn=height, method=method,
        options=options, rtol=1e-5, atol=1e-5,
    )  # fmt: skip
    exact = math.sqrt(20 / 9.81)
    if method not in ("euler", "implicit_euler", "implicit_midpoint"):
        assert abs(float(event_t) - exact) < 1e-13
    # The first time with the new sign: not above zero, and within rounding of it.
    assert -1e-13 < float(ys[1, 0]) <= 0


def test_an_event_with_many_entries_is_the_first_zero_of_any() -> None:
    heights = torch.tensor([5.0, 2.0, 9.0, 2.5], dtype=F64)
    y0 = torch.stack([heights, torch.zeros(4, dtype=F64)])
    event_t, _ = odeint_event(fall, y0, torch.tensor(0.0, dtype=F64), event_fn=height)
    assert abs(float(event_t) - math.sqrt(4 / 9.81)) < 1e-13
    every = solve(fall, y0, T[:3], events=Event(height, terminal=False)).events
    assert every is not None
    assert every.entry.tolist() == [1, 3, 0, 2]
    exact = torch.sqrt(2 * heights[every.entry] / 9.81)
    assert (every.t - exact).abs().max() < 1e-13


@pytest.mark.parametrize("t1", [1.0, 1.5])
def test_an_event_at_the_very_end_of_a_step(t1: float) -> None:
    t = torch.tensor([0.0, t1], dtype=F64)
    solution = solve(
        circle, Y0, t, events=lambda t, y: t - 1, method="rk4", options={"step_size": 0.5}
    )
    found = solution.events
    assert found is not None
    assert found.t.tolist() == [1.0]
    assert len(solution.ys) == 1 + (t1 == 1.0)
    assert len(solution.steps) == 2


def test_a_zero_at_the_end_of_a_step_is_no_second_event_in_the_next() -> None:
    t = torch.tensor([0.0, 3.0], dtype=F64)
    event = Event(lambda t, y: t - 1, terminal=False)
    found = solve(circle, Y0, t, events=event, method="rk4", options={"step_size": 0.5}).events
    assert found is not None
    assert found.t.tolist() == [1.0]


def test_a_ball_that_starts_on_the_ground_flies() -> None:
    y0 = torch.tensor([0.0, 3.0], dtype=F64)
    event_t, _ = odeint_event(fall, y0, 0.0, event_fn=height, options={"first_step": 1.0})
    assert abs(float(event_t) - 6 / 9.81) < 1e-13


def test_a_solve_without_an_event_goes_to_its_end() -> None:
    solution = solve(circle, Y0, T, events=lambda t, y: y[0] - 2)
    assert len(solution.ys) == len(T)
    assert solution.events is not None
    assert len(solution.events) == 0
    assert not solution.events.ended
    assert solution.events.ys.shape == (0, 2)
    plain = solve(circle, Y0, T)
    assert torch.equal(solution.ys, plain.ys)
    assert solution.stats.forward == plain.stats.forward
    assert plain.events is None


def test_states_of_several_parts() -> None:
    def pair(t: Tensor, y: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        return y[1], -y[0]

    y0 = (torch.zeros(2, 3, dtype=F64), torch.ones(2, 3, dtype=F64))
    event_t, (q, p) = odeint_event(
        pair, y0, torch.zeros(1), event_fn=lambda t, y: y[0].sum() - 3, **CLOSE
    )
    assert event_t.dtype == torch.float32
    assert event_t.shape == ()
    assert q.shape == p.shape == (2, 2, 3)
    assert (q[1] - 0.5).abs().max() < 1e-8
    found = solve(pair, y0, T, events=lambda t, y: y[0].sum() - 3, **CLOSE).events
    assert found is not None
    assert [tuple(part.shape) for part in found.ys] == [(1, 2, 3), (1, 2, 3)]
    assert abs(float(found.t[0]) - math.pi / 6) < 1e-8


def test_float32_states_and_complex_ones() -> None:
    low = torch.tensor([10.0, 0.0])
    event_t, ys = odeint_event(fall, low, 0.0, event_fn=height, rtol=1e-5, atol=1e-5)
    assert ys.dtype == torch.float32
    assert abs(float(event_t) - math.sqrt(20 / 9.81)) < 1e-6
    turn = torch.tensor([1.0 + 0j], dtype=torch.complex128)
    event_t, _ = odeint_event(lambda t, y: 1j * y, turn, 0.0, event_fn=lambda t, y: y.real, **CLOSE)
    assert abs(float(event_t) - math.pi / 2) < 1e-8


def gone(t: Tensor, y: Tensor) -> Tensor:
    return y[0] - 2


def solve_with(events: Any, **named: Any) -> Any:
    return solve(circle, Y0, T, events=events, **named)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: solve_with(3), ["events=3", "symadj.Event"]),
        (lambda: solve_with([]), ["non-empty list"]),
        (lambda: solve_with([height, 3]), ["an event is a int", "function of (t, y)"]),
        (lambda: Event(height, direction="up"), ["direction='up'", "rising", "falling", "both"]),
        (lambda: Event(height, terminal=1), ["terminal=1", "True or False"]),  # type: ignore[arg-type]
        (lambda: solve_with(lambda t, y: 1.0), ["the event function returned a float", "real"]),
        (lambda: solve_with([height, lambda t, y: y > 0]), ["event function 1", "torch.bool"]),
        (lambda: solve_with(lambda t, y: y[:0]), ["shape (0,)", "one entry"]),
        (lambda: solve_with(lambda t, y: y[: 1 + int(t > 0)] - 2), ["must not change"]),
        (lambda: solve_with(lambda t, y: 0 * y[0]), ["zero at the start", "so is its derivative"]),
        (lambda: solve_with(height, options={"sync": True}), ["sync=true", "part of the batch"]),
        (
            lambda: odeint_event(circle, Y0, 0.0, event_fn=Event(height, terminal=False)),
            ["terminal=False", "ends at its event"],
        ),
        (lambda: odeint_event(circle, Y0, T, event_fn=height), ["t0 is a Tensor of shape (5,)"]),
        (lambda: odeint_event(circle, Y0, math.inf, event_fn=height), ["t0=inf", "finite"]),
        (
            lambda: odeint_event(circle, Y0, 0.0, event_fn=height, t_end=-1.0),
            ["t_end=-1 with t0=0", "above t0"],
        ),
        (
            lambda: odeint_event(circle, Y0, 0.0, event_fn=height, options={"num_steps": 9}),
            ["num_steps", "step_size alone", "t_end"],
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_used(make: Any, words: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        make()
    assert all(word in str(caught.value) for word in words), caught.value


def test_events_inside_vmap_are_refused() -> None:
    def each(y0: Tensor) -> Tensor:
        return solve(circle, y0, T, events=height).ys

    with pytest.raises(IncompatibleError, match="whole batch as one state"):
        torch.func.vmap(each)(torch.ones(3, 2, dtype=F64))


@pytest.mark.parametrize("gradient", ["backprop", "symplectic"])
def test_events_inside_other_transforms_are_refused(gradient: str) -> None:
    def of(y0: Tensor) -> Tensor:
        return odeint_event(circle, y0, 0.0, event_fn=height, gradient=gradient)[0]

    with pytest.raises(IncompatibleError, match="events inside a transform"):
        torch.func.grad(of)(Y0)


def test_a_search_that_finds_nothing_says_how_far_it_went() -> None:
    with pytest.raises(NoEventError, match=r"before t=4, .*t=4, .*steps=") as caught:
        odeint_event(circle, Y0, 0.0, event_fn=gone, t_end=4.0)
    assert caught.value.status == "no_event"
    with pytest.raises(NoEventError, match="max_steps=20 steps"):
        odeint_event(circle, Y0, 0.0, event_fn=gone, options={"max_steps": 20})
    fixed = {"step_size": 0.1, "max_steps": 30}
    with pytest.raises(NoEventError, match=r"max_steps=30 steps.*t=3, h=0.1, steps=30"):
        odeint_event(circle, Y0, 0.0, event_fn=gone, options=fixed, method="rk4")
    # With an end of the search that is not reached, the steps are what was too few.
    with pytest.raises(MaxStepsExceeded):
        odeint_event(circle, Y0, 0.0, event_fn=gone, t_end=1e4, options={"max_steps": 20})


def test_an_event_function_that_is_no_number() -> None:
    with pytest.raises(NonFiniteError, match="the event function is infinite or NaN at t="):
        solve(circle, Y0, T, events=lambda t, y: torch.log(2 - t) - 3)


def test_a_state_that_becomes_infinite_under_fixed_steps_is_named() -> None:
    options = {"step_size": 0.1}
    with pytest.raises(NonFiniteError, match="the state became infinite or NaN in this step"):
        solve(
            lambda t, y: y**3, 9 * Y0 + 9, T, events=lambda t, y: y[0] + 1, method="euler",
            options=options,
        )  # fmt: skip


def test_a_touching_zero_has_no_derivative() -> None:
    y0 = Y0.clone().requires_grad_()

    def touches(t: Tensor, y: Tensor) -> Tensor:
        return (t - 1) * (t - 1).abs() * y.sum() / y.sum()

    arguments: dict[str, Any] = {"events": touches, "method": "rk4", "options": {"step_size": 0.5}}
    with pytest.raises(InputError, match=r"t=1.*derivative along the solution is 0"):
        solve(circle, y0, T, **arguments)
    with torch.no_grad():
        found = solve(circle, y0, T, **arguments).events
    assert found is not None
    assert found.t.tolist() == [1.0]
