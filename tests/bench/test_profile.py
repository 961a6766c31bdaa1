from __future__ import annotations

import time

import pytest
import torch

from symadj import odeint
from symadj.bench.profile import CONTROL, seconds_by_part
from symadj.ode.problem import Problem


def test_products_and_other_operations_are_told_apart() -> None:
    x = torch.randn(300, 300)

    def products() -> None:
        for _ in range(20):
            torch.mm(x, x)

    def others() -> None:
        for _ in range(20):
            torch.tanh(x)

    of_products, of_others = seconds_by_part(products), seconds_by_part(others)
    assert of_products["matrix products"] > of_products["elementwise"]
    assert of_others["matrix products"] < of_others["elementwise"]


def test_what_is_no_operation_is_python() -> None:
    parts = seconds_by_part(lambda: time.sleep(0.01))
    assert parts["python"] == pytest.approx(sum(parts.values()))
    assert parts["python"] >= 0.01


def test_step_control_and_autograd_show_and_leave_no_mark() -> None:
    net = torch.nn.Linear(3, 3)
    y0, t = torch.randn(4, 3), torch.tensor([0.0, 1.0])
    before = Problem.ratio

    def solve(rtol: float | None) -> dict[str, float]:
        options = {"num_steps": 2} if rtol is None else {}
        return seconds_by_part(
            lambda: (
                odeint(lambda t, y: net(y).tanh(), y0, t, rtol=rtol or 1e-3, options=options)
                .sum()
                .backward()
            )
        )

    adaptive, fixed = solve(1e-3), solve(None)
    assert adaptive[CONTROL] > fixed[CONTROL] > 0
    assert fixed["autograd"] > 0
    assert Problem.ratio is before
