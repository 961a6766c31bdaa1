"""Tensors that a field uses neither at the first nor at the last time are found, or refused."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from symadj import CapturedTensorError, odeint
from symadj.grad import GradientMethod
from tests import oracle
from tests.fields import Wave, start
from tests.grad.variants import GENERAL, KEEPING

REPLAYED = [*(name for name in GENERAL if name != "backprop"), *KEEPING]
Gradient = str | GradientMethod


def inside(t: Tensor) -> bool:
    return bool(0.3 < t < 0.7)


class Late(nn.Module):
    """Uses something that is none of its parameters, where it is told to."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.wave = Wave()
        self.factor = start(3, 3)
        self.layer = [nn.Linear(3, 3, dtype=torch.float64)]
        self.kind = kind

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        if not inside(t):
            return self.wave(t, y)
        return self.wave(t, self.layer[0](y) if self.kind == "layer" else y @ self.factor)

    @property
    def used(self) -> Tensor:
        return self.layer[0].weight if self.kind == "layer" else self.factor


@pytest.mark.parametrize("gradient", REPLAYED)
@pytest.mark.parametrize("kind", ["layer", "factor"])
@pytest.mark.parametrize("function", [False, True], ids=["module", "function"])
def test_a_late_leaf_is_refused_until_it_is_named(
    gradient: Gradient, kind: str, function: bool
) -> None:
    field, y0 = Late(kind), start(4, 3)
    func = (lambda t, y: field(t, y)) if function else field
    ys = odeint(func, y0, oracle.TIMES, gradient=gradient, **oracle.FIXED)
    with pytest.raises(CapturedTensorError, match=r"shape \(3, 3\).*Name it.*params=\(tensor,\)"):
        ys.sum().backward()
    named = [*field.layer[0].parameters(), field.factor]
    ys = odeint(func, y0, oracle.TIMES, gradient=gradient, params=named, **oracle.FIXED)
    inputs = [y0, field.wave.weight, field.used]
    exact = oracle.gradients(oracle.rk4(field, y0), inputs)
    found = oracle.gradients(ys[-1], inputs)
    # Four steps are few for the continuous adjoint of a field that jumps.
    oracle.assert_close(found, exact, 0.5 if gradient == "adjoint" else 1e-13)


@pytest.mark.parametrize("gradient", REPLAYED)
@pytest.mark.parametrize("kind", ["layer", "factor"])
def test_a_late_leaf_that_is_all_that_needs_a_gradient_is_found(
    gradient: Gradient, kind: str
) -> None:
    field, y0 = Late(kind), start(4, 3).detach()
    for p in field.parameters():
        p.requires_grad_(False)
    ys = odeint(field, y0, oracle.TIMES, gradient=gradient, **oracle.FIXED)
    exact = oracle.gradients(oracle.rk4(field, y0), [field.used])
    tolerance = 0.1 if gradient == "adjoint" else 1e-13
    oracle.assert_close(oracle.gradients(ys[-1], [field.used]), exact, tolerance)


@pytest.mark.parametrize("gradient", REPLAYED)
def test_a_late_tensor_with_a_history_is_refused(gradient: Gradient) -> None:
    hidden = start(3, 3) * 2

    def func(t: Tensor, y: Tensor) -> Tensor:
        return torch.tanh(y @ hidden) if inside(t) else torch.tanh(y)

    ys = odeint(func, start(4, 3), oracle.TIMES, gradient=gradient, **oracle.FIXED)
    with pytest.raises(CapturedTensorError, match="computed outside func"):
        ys.sum().backward()


@pytest.mark.parametrize("gradient", REPLAYED)
def test_leaves_that_the_field_makes_itself_are_none(gradient: Gradient) -> None:
    wave, y0 = Wave(), start(4, 3)

    def func(t: Tensor, y: Tensor) -> Tensor:
        with torch.enable_grad():
            apart = y.detach().requires_grad_()
            return wave(t, y) + apart.sin().cos()

    inputs = [y0, wave.weight]
    ys = odeint(func, y0, oracle.TIMES, gradient=gradient, **oracle.FIXED)
    exact = oracle.gradients(oracle.rk4(func, y0), inputs)
    tolerance = 0.1 if gradient == "adjoint" else 1e-13
    oracle.assert_close(oracle.gradients(ys[-1], inputs), exact, tolerance)
