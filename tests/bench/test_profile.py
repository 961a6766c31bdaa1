"""The parts of an evaluation's seconds: each shows where it is, and nothing is left marked."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from symadj import odeint
from symadj.bench import profile
from symadj.bench.profile import PARTS, seconds_by_part
from symadj.grad import Symplectic
from symadj.ode.problem import Problem
from symadj.ode.user_function import UserFunction

T = torch.tensor([0.0, 1.0])


class Clock:
    """Time passes in the field alone: a second for every evaluation."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr(profile, "time", self)

    def perf_counter(self) -> float:
        return self.now


class Slow(nn.Module):
    """A field that takes its time."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock = clock
        self.net = nn.Linear(3, 3)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        self.clock.now += 1
        return self.net(y).tanh()


def iteration(gradient: str | Symplectic, func: Callable[..., Tensor], rtol: float | None = None):
    options = {} if rtol else {"num_steps": 2}

    def evaluate() -> None:
        ys = odeint(func, torch.ones(2, 3), T, rtol=rtol or 1e-3, gradient=gradient,
                    options=options, method="bosh3")  # fmt: skip
        ys.sum().backward()

    return evaluate


def test_the_users_function_with_and_without_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Slow(Clock(monkeypatch))
    parts = seconds_by_part(iteration(Symplectic(store="stages"), slow))
    # Three stages of two steps, the very first one with graph, to see what it reaches.
    assert parts == dict.fromkeys(PARTS, 0.0) | {"without graph": 5.0, "with graph": 7.0}


def test_products_control_and_checks() -> None:
    net = nn.Linear(3, 3)
    adaptive = seconds_by_part(iteration("symplectic", lambda t, y: net(y), 1e-3))
    fixed = seconds_by_part(iteration("symplectic", lambda t, y: net(y)))
    assert adaptive["control"] > fixed["control"] > 0
    for parts in (adaptive, fixed):
        assert parts["products"] > 0
        assert parts["checks"] > 0
        assert parts["compiled"] == 0


def test_what_is_no_part_is_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)

    def evaluate() -> None:
        clock.now += 3

    assert seconds_by_part(evaluate) == dict.fromkeys(PARTS, 0.0) | {"engine": 3.0}


def test_no_mark_is_left() -> None:
    before = Problem.ratio, UserFunction.__init__, Tensor.backward
    with pytest.raises(ZeroDivisionError):
        seconds_by_part(lambda: 1 / 0)
    assert (Problem.ratio, UserFunction.__init__, Tensor.backward) == before
