"""How many network uses have their graph alive at once: the memory claim, counted exactly."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from symadj import SOLVERS, odeint
from tests.fields import Energy, start
from tests.grad.variants import GENERAL

N = 4


class Token:
    """Counts how many of its kind are alive."""

    alive = 0
    most = 0

    def __init__(self) -> None:
        Token.alive += 1
        Token.most = max(Token.most, Token.alive)

    def __del__(self) -> None:
        Token.alive -= 1


class Use(torch.autograd.Function):
    """The identity; its graph node holds a token for as long as the graph lives."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.token = Token()
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0]


def most_graphs(gradient: str, method: str, times: list[float]) -> int:
    weight = start(3, 3)

    def func(t: Tensor, y: Tensor) -> Tensor:
        return Use.apply(torch.tanh(y @ weight) * torch.cos(t))

    Token.alive = Token.most = 0
    ys = odeint(
        func,
        start(4, 3),
        torch.tensor(times, dtype=torch.float64),
        method=method,
        options={"num_steps": N},
        gradient=gradient,
    )
    ys.sum().backward()
    del ys
    assert Token.alive == 0
    return Token.most


@pytest.mark.parametrize("method", ["midpoint", "rk4", "dopri5", "dop853"])
def test_graphs_alive_at_once(method: str) -> None:
    s = SOLVERS[method].uses
    expected = {"symplectic": 1, "adjoint": 1, "aca": s, "checkpoint": N * s, "backprop": N * s}
    assert set(expected) == set(GENERAL)
    for gradient, graphs in expected.items():
        assert most_graphs(gradient, method, [0.0, 1.0]) == graphs, gradient


def test_symplectic_holds_one_graph_with_outputs_inside_steps_too() -> None:
    assert most_graphs("symplectic", "dop853", [0.0, 0.3, 0.6, 1.0]) == 1


@pytest.mark.parametrize("gradient", ["symplectic", "aca"])
def test_fields_with_autograd_inside_keep_no_graph_of_the_forward_solve(gradient: str) -> None:
    class Counted(Energy):
        def forward(self, t: Tensor, y: Tensor) -> Tensor:
            return Use.apply(super().forward(t, y))

    Token.alive = Token.most = 0
    ys = odeint(Counted(), start(3, 2), torch.tensor([0.0, 1.0]), options={"num_steps": N},
                gradient=gradient)  # fmt: skip
    assert Token.alive == 0
    assert Token.most == 1
    ys.sum().backward()
