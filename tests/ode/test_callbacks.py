"""Methods of a module that are called as its solve steps."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from symadj import odeint, odeint_adjoint, solve
from symadj.grad import Auto
from tests.fields import Pair, Wave, start
from tests.grad.variants import GENERAL

T = torch.tensor([0.0, 0.4, 1.0], dtype=torch.float64)
Event = tuple[str, float, Any, float]


def listening(field: nn.Module, *names: str) -> list[Event]:
    """Gives the field callbacks that write down what they are called with."""
    events: list[Event] = []

    def listener(name: str):
        def callback(t0: Tensor, y0: Any, dt: Tensor) -> None:
            events.append((name, float(t0), y0, float(dt)))

        return callback

    for name in names:
        setattr(field, name, listener(name))
    return events


JUDGED = ("callback_step", "callback_accept_step", "callback_reject_step")


@pytest.mark.parametrize("gradient", [*GENERAL, Auto("1GiB")])
def test_adaptive_steps(gradient: Any) -> None:
    field, y0 = Wave(), start(4, 3)
    events = listening(field, *JUDGED)
    solution = solve(
        field, y0, T, rtol=1e-6, atol=1e-6, gradient=gradient, options={"first_step": 0.9}
    )
    assert solution.stats.rejected > 0
    by_name = {name: [e for e in events if e[0] == name] for name in JUDGED}
    accepted, rejected = by_name["callback_accept_step"], by_name["callback_reject_step"]
    assert [e[1] for e in accepted] == solution.steps.t.tolist()
    assert [e[3] for e in accepted] == solution.steps.h.tolist()
    assert len(rejected) == solution.stats.rejected
    # A step is announced before it is judged, with the same arguments.
    assert [e[0] for e in events[::2]] == ["callback_step"] * (len(accepted) + len(rejected))
    for announced, judged in zip(events[::2], events[1::2], strict=True):
        assert announced[1] == judged[1]
        assert announced[3] == judged[3]
        assert announced[2] is judged[2] or torch.equal(announced[2], judged[2])
    assert torch.equal(events[0][2], y0)
    before = len(events)
    solution.ys.sum().backward()
    assert len(events) == before


def test_the_parts_of_a_tuple_and_no_gradient() -> None:
    field = Pair()
    events = listening(field, "callback_step")
    y0 = (start(4, 3), start(4))
    with torch.no_grad():
        odeint(field, y0, T, method="rk4", options={"num_steps": 5})
    assert [e[1] for e in events] == pytest.approx([0.0, 0.2, 0.4, 0.6, 0.8])
    assert [e[3] for e in events] == pytest.approx([0.2] * 5)
    for part, begun in zip(events[0][2], y0, strict=True):
        assert torch.equal(part, begun)


def test_lengths_are_positive_where_time_runs_backward() -> None:
    field = Wave()
    events = listening(field, "callback_step")
    odeint(field, start(4, 3), 0.2 * T.flip(0), method="rk4", options={"num_steps": 2})
    assert [e[1] for e in events] == [0.2, 0.1]
    assert [e[3] for e in events] == [0.1, 0.1]


def test_the_backward_solve_of_the_continuous_adjoint() -> None:
    field, y0 = Wave(), start(4, 3)
    forward = listening(field, *JUDGED)
    backward = listening(field, *(f"{name}_adjoint" for name in JUDGED))
    ys = odeint_adjoint(field, y0, T, rtol=1e-6, atol=1e-6)
    made = len(forward)
    assert not backward
    ys.sum().backward()
    assert len(forward) == made
    assert backward[0][0] == "callback_step_adjoint"
    assert backward[0][1] == 1.0
    assert torch.equal(backward[0][2], ys[-1])
    accepted = [e for e in backward if e[0] == "callback_accept_step_adjoint"]
    assert sum(e[3] for e in accepted) == pytest.approx(1.0)


def test_callbacks_that_would_never_be_called_are_named() -> None:
    field, steps = Wave(), {"num_steps": 5}
    listening(field, *JUDGED, "callback_step_adjoint")
    words = "callback_accept_step, callback_reject_step, callback_step_adjoint, which will not"
    with pytest.warns(UserWarning, match=words):
        odeint(field, start(4, 3), T, method="rk4", options=steps)
    with pytest.warns(UserWarning, match="has callback_accept_step, callback_reject_step, which"):
        odeint(field, start(4, 3), T, method="rk4", options=steps, gradient="adjoint")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        odeint_adjoint(field, start(4, 3), T, rtol=1e-4)
