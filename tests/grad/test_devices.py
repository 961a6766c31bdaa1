"""On a GPU every gradient is that of the CPU: the same test bodies on both devices."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from symadj import odeint, solve
from symadj.grad import ACA, Adjoint, GradientMethod, Symplectic
from tests.devices import DEVICES
from tests.fields import Energy, Pair, Wave, start
from tests.grad.variants import ALL_EXACT_WAYS

Gradient = str | GradientMethod
TIMES = [0.0, 0.3, 1.0]
IN_THE_HOST = [
    pytest.param(Symplectic(offload="cpu"), id="symplectic-cpu"),
    pytest.param(Symplectic(store="revolve", slots=2, offload="cpu"), id="revolve-cpu"),
    pytest.param(ACA(offload="cpu"), id="aca-cpu"),
]


def times(device: str) -> Tensor:
    return torch.tensor(TIMES, dtype=torch.float64, device=device)


def gradients(device: str, gradient: Gradient, **settings: Any) -> list[Tensor]:
    """With respect to the start, the parameters and the times, on this device."""
    field, t = Wave().to(device), times(device).requires_grad_()
    y0 = start(4, 3).detach().to(device).requires_grad_()
    ys = odeint(field, y0, t, gradient=gradient, **settings)
    loss = sum(((k + 1) * ys[k].sin()).sum() for k in range(len(TIMES)))
    assert isinstance(loss, Tensor)
    return list(torch.autograd.grad(loss, [y0, field.weight, field.bias, t]))


def assert_same(found: list[Tensor], wanted: list[Tensor], device: str, rtol: float) -> None:
    for mine, theirs in zip(found, wanted, strict=True):
        assert mine.device.type == device
        assert (mine.cpu() - theirs).norm() < rtol * theirs.norm()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("gradient", [*ALL_EXACT_WAYS, *IN_THE_HOST])
def test_exact_methods_give_the_cpu_s_backpropagation(gradient: Gradient, device: str) -> None:
    y0, t = start(4, 3), times("cpu")
    grid = {"grid": solve(Wave(), y0, t, rtol=1e-2, atol=1e-2).steps.grid}
    wanted = gradients("cpu", "backprop", options=grid)
    assert_same(gradients(device, gradient, options=grid), wanted, device, 1e-11)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("gradient", ["symplectic", Adjoint(rtol=1e-10, atol=1e-10)], ids=str)
def test_adaptive_steps_converge_to_the_same_gradient(gradient: Gradient, device: str) -> None:
    tight = {"method": "dop853", "rtol": 1e-10, "atol": 1e-10}
    wanted = gradients("cpu", "backprop", **tight)
    assert_same(gradients(device, gradient, **tight), wanted, device, 1e-7)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("gradient", ["checkpoint", "aca", "symplectic"])
def test_a_tuple_and_a_gradient_inside_the_field(gradient: Gradient, device: str) -> None:
    def found(device: str, gradient: Gradient) -> list[Tensor]:
        pair, energy = Pair().to(device), Energy().to(device)
        y, z = (start(*shape).detach().to(device).requires_grad_() for shape in ((4, 3), (4,)))
        x = start(4, 2).detach().to(device).requires_grad_()
        steps = {"options": {"num_steps": 5}, "gradient": gradient}
        both = odeint(pair, (y, z), times(device), **steps)
        loss = sum(part[-1].sin().sum() for part in both)
        loss = loss + odeint(energy, x, times(device), **steps)[-1].cos().sum()
        return list(torch.autograd.grad(loss, [y, z, x, pair.weight, energy.weight]))

    assert_same(found(device, gradient), found("cpu", "backprop"), device, 1e-11)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("gradient", ["checkpoint", "aca", "symplectic"])
def test_random_numbers_are_drawn_again_alike(gradient: Gradient, device: str) -> None:
    def found(gradient: Gradient) -> list[Tensor]:
        torch.manual_seed(5)
        wave = Wave().to(device)
        y0 = start(4, 3).detach().to(device).requires_grad_()

        def noisy(t: Tensor, y: Tensor) -> Tensor:
            return torch.nn.functional.dropout(torch.tanh(y @ wave.weight.T), 0.3)

        steps = {"num_steps": 5}
        ys = odeint(
            noisy, y0, times(device), options=steps, gradient=gradient, params=(wave.weight,)
        )
        return [g.cpu() for g in torch.autograd.grad(ys[-1].sin().sum(), [y0, wave.weight])]

    assert_same(found(gradient), found("backprop"), "cpu", 1e-11)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("gradient", ["backprop", "checkpoint", "aca", "symplectic"])
def test_samples_with_steps_of_their_own(gradient: Gradient, device: str) -> None:
    loose = {"rtol": 1e-3, "atol": 1e-3, "batch": "independent"}
    found = gradients(device, gradient, **loose)
    assert_same(found, gradients("cpu", "backprop", **loose), device, 1e-9)
