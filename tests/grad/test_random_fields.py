"""Fields that draw random numbers: the backward pass sees those of the solve."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from symadj import FieldChangedError, odeint
from symadj.grad import GradientMethod
from tests import oracle
from tests.fields import Wave, start
from tests.grad.variants import EXACT_WAYS, OFFLOADED

Gradient = str | GradientMethod


class Dropping(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.wave = Wave()
        self.drop = nn.Dropout(0.4)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return self.drop(self.wave(t, y))


class Noisy(Dropping):
    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return self.wave(t, y + 0.3 * torch.randn_like(y)) * torch.rand(())


class LateNoise(Dropping):
    """Draws at times at which nobody looks beforehand."""

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return self.drop(self.wave(t, y)) if 0.2 < t < 0.7 else self.wave(t, y)


def seed() -> None:
    torch.manual_seed(5)


@pytest.mark.parametrize("gradient", [*EXACT_WAYS, *OFFLOADED])
@pytest.mark.parametrize("kind", [Dropping, Noisy, LateNoise])
@pytest.mark.parametrize("function", [False, True], ids=["module", "function"])
def test_the_gradient_is_that_of_the_same_numbers(
    gradient: Gradient, kind: type[Dropping], function: bool
) -> None:
    field, y0 = kind(), start(4, 3)
    inputs = [y0, field.wave.weight, field.wave.bias]
    seed()
    exact = oracle.gradients(oracle.rk4(field, y0), inputs)
    after = torch.get_rng_state()
    seed()
    func = (lambda t, y: field(t, y)) if function else field
    ys = odeint(func, y0, oracle.TIMES, gradient=gradient, **oracle.FIXED)
    assert torch.equal(torch.get_rng_state(), after)
    found = oracle.gradients(ys[-1], inputs)
    oracle.assert_close(found, exact, 1e-13)
    assert torch.equal(torch.get_rng_state(), after)


@pytest.mark.parametrize("gradient", EXACT_WAYS)
@pytest.mark.parametrize("method", ["heun", "bosh3", "dopri5", "dop853"])
def test_adaptive_steps_with_outputs_inside(gradient: Gradient, method: str) -> None:
    field, y0 = Dropping(), start(4, 3)
    field.drop.p = 0.05
    t = torch.tensor([0.0, 0.13, 0.5, 1.0], dtype=torch.float64)
    inputs = [y0, field.wave.weight, field.wave.bias]
    found = []
    for way in ("backprop", gradient):
        seed()
        ys = odeint(
            field, y0, t, rtol=0.3, atol=0.3, method=method, gradient=way,
            options={"first_step": 0.8},
        )  # fmt: skip
        found.append([ys, *oracle.gradients(ys, inputs)])
    oracle.assert_close(found[1], found[0], 1e-13)


@pytest.mark.parametrize("kind", [Dropping, LateNoise])
def test_the_continuous_adjoint_warns(kind: type[Dropping]) -> None:
    seed()
    with pytest.warns(UserWarning, match="random numbers, new ones in the backward solve"):
        ys = odeint(kind(), start(4, 3), oracle.TIMES, gradient="adjoint", **oracle.FIXED)
    ys.sum().backward()


@pytest.mark.parametrize("source", ["python", "numpy", "own"])
def test_numbers_from_other_generators_are_refused(source: str) -> None:
    own = torch.Generator()
    wave = Wave()

    def func(t: Tensor, y: Tensor) -> Tensor:
        factor = {
            "python": random.random,
            "numpy": np.random.random,
            "own": lambda: float(torch.rand((), generator=own)),
        }[source]()
        return factor * wave(t, y)

    ys = odeint(func, start(4, 3), oracle.TIMES, **oracle.FIXED)
    with pytest.raises(FieldChangedError, match="draws numbers from another generator"):
        ys.sum().backward()


def test_a_second_backward_draws_the_same() -> None:
    field, y0 = Dropping(), start(4, 3)
    loss = odeint(field, y0, oracle.TIMES, **oracle.FIXED).sin().sum()
    first = torch.autograd.grad(loss, [y0, field.wave.weight], retain_graph=True)
    torch.rand(7)
    second = torch.autograd.grad(loss, [y0, field.wave.weight])
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
