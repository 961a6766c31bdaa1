"""Functions as people write them: right, or refused with what to do instead."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from symadj import (
    CapturedTensorError,
    IncompatibleError,
    InputError,
    odeint,
    solve,
)
from tests import oracle
from tests.fields import Wave, start
from tests.grad.variants import GENERAL

DOUBLE = torch.float64
REPLAYED = [name for name in GENERAL if name != "backprop"]
Func = Callable[[Tensor, Tensor], Tensor]


class OwnBuffer(nn.Module):
    """Writes every value to one tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.wave = Wave()
        self.register_buffer("value", torch.zeros(4, 3, dtype=DOUBLE))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        assert isinstance(self.value, Tensor)
        return self.value.copy_(self.wave(t, y))


class OneOfTwo(OwnBuffer):
    """Makes its buffer in the first call and returns a part of it."""

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        if self.value is None or len(self.value) == 4:
            self.value = torch.zeros(8, 3, dtype=DOUBLE)
        self.value[2:6] = self.wave(t, y)
        return self.value[2:6]


@pytest.mark.parametrize("gradient", GENERAL)
@pytest.mark.parametrize("kind", [OwnBuffer, OneOfTwo])
def test_a_function_that_returns_the_same_memory_each_call(
    gradient: str, kind: type[OwnBuffer]
) -> None:
    field, y0 = kind(), start(4, 3)
    with torch.no_grad():
        ys = odeint(field, y0, oracle.TIMES, gradient=gradient, **oracle.FIXED)
        torch.testing.assert_close(ys[-1], oracle.rk4(Wave(), y0), rtol=1e-14, atol=1e-14)
    for p in field.parameters():
        p.requires_grad_(False)
    ys = odeint(field, y0.detach(), oracle.TIMES, gradient=gradient, **oracle.FIXED)
    torch.testing.assert_close(ys[-1], oracle.rk4(Wave(), y0).detach(), rtol=1e-14, atol=1e-14)


def test_a_gradient_through_memory_of_its_own_is_refused() -> None:
    for gradient in REPLAYED:
        with pytest.raises(CapturedTensorError, match="buffer that func writes its value to"):
            odeint(
                OwnBuffer(), start(4, 3), oracle.TIMES, gradient=gradient, **oracle.FIXED
            ).sum().backward()
    field, plain, y0 = OwnBuffer(), Wave(), start(4, 3)
    ys = odeint(field, y0, oracle.TIMES, gradient="backprop", **oracle.FIXED)
    oracle.assert_close(
        oracle.gradients(ys[-1], [y0, field.wave.weight]),
        oracle.gradients(oracle.rk4(plain, y0), [y0, plain.weight]),
        1e-14,
    )


@pytest.mark.parametrize("gradient", GENERAL)
def test_a_module_that_returns_a_buffer_as_it_is(gradient: str) -> None:
    class Constant(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("slope", torch.full((4, 3), 2.0, dtype=DOUBLE))

        def forward(self, t: Tensor, y: Tensor) -> Tensor:
            assert isinstance(self.slope, Tensor)
            return self.slope

    y0 = start(4, 3)
    ys = odeint(Constant(), y0, oracle.TIMES, gradient=gradient, **oracle.FIXED)
    torch.testing.assert_close(ys[-1], y0 + 2)
    (slope,) = torch.autograd.grad(ys[-1].sum(), y0)
    assert torch.equal(slope, torch.ones_like(slope))


@pytest.mark.parametrize("gradient", GENERAL)
def test_a_leaf_that_is_itself_the_value(gradient: str) -> None:
    drift, y0 = start(3), start(3).detach() + 1
    ys = odeint(lambda t, y: drift, y0, oracle.TIMES, gradient=gradient, **oracle.FIXED)
    (slope,) = torch.autograd.grad(ys[-1].sum(), drift)
    torch.testing.assert_close(slope, torch.ones_like(slope))


def spoiling(wave: Wave) -> Func:
    def func(t: Tensor, y: Tensor) -> Tensor:
        y.mul_(0.9)
        y += 0.1
        return wave(t, y)

    return func


def sparing(wave: Wave) -> Func:
    return lambda t, y: wave(t, 0.9 * y + 0.1)


@pytest.mark.parametrize("gradient", GENERAL)
def test_a_function_that_changes_its_state_in_place(gradient: str) -> None:
    wave, y0 = Wave(), start(4, 3)
    before, inputs = y0.detach().clone(), [y0, wave.weight, wave.bias]
    with torch.no_grad():
        ys = odeint(spoiling(wave), y0, oracle.TIMES, gradient=gradient, **oracle.FIXED)
    assert torch.equal(y0, before)
    exact = oracle.rk4(sparing(wave), y0)
    torch.testing.assert_close(ys[-1], exact.detach(), rtol=1e-14, atol=1e-14)
    ys = odeint(spoiling(wave), y0, oracle.TIMES, gradient=gradient, **oracle.FIXED)
    assert torch.equal(y0, before)
    tolerance = 1e-2 if gradient == "adjoint" else 1e-13
    oracle.assert_close(
        oracle.gradients(ys[-1], inputs), oracle.gradients(exact, inputs), tolerance
    )


def test_a_part_of_a_tuple_that_is_changed_in_place() -> None:
    def func(t: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        state[0].mul_(0.5)
        return state[0], state[1] * state[0]

    y, z = start(3), start(3).detach()
    before = y.detach().clone()
    ys = odeint(func, (y, z), oracle.TIMES, **oracle.FIXED)
    exact = odeint(
        lambda t, s: (0.5 * s[0], 0.5 * s[0] * s[1]), (y, z), oracle.TIMES, **oracle.FIXED
    )
    torch.testing.assert_close(ys, exact, rtol=1e-14, atol=1e-14)
    assert torch.equal(y, before)


@pytest.mark.parametrize("grad", [True, False])
def test_a_function_that_changes_its_state_later_is_refused(grad: bool) -> None:
    def func(t: Tensor, y: Tensor) -> Tensor:
        return y.mul_(0.9) if 0.3 < t < 0.6 else y

    with torch.set_grad_enabled(grad), pytest.raises(InputError, match=r"in place at t=0\.375"):
        odeint(func, start(3).detach(), oracle.TIMES, **oracle.FIXED)


def test_inference_mode() -> None:
    with torch.inference_mode():
        y0 = start(4, 3).detach()
        ys = odeint(Wave(), y0, oracle.TIMES, **oracle.FIXED)
    exact = oracle.rk4(Wave(), start(4, 3)).detach()
    torch.testing.assert_close(ys[-1], exact, rtol=1e-14, atol=1e-14)
    assert not odeint(lambda t, y: -y, y0, oracle.TIMES, **oracle.FIXED).requires_grad


def by_numpy(t: Tensor, y: Tensor) -> Tensor:
    return torch.from_numpy(np.tanh(y.numpy()))


def by_out(t: Tensor, y: Tensor) -> Tensor:
    return torch.tanh(y, out=torch.empty_like(y))


@pytest.mark.parametrize("gradient", GENERAL)
@pytest.mark.parametrize("func", [by_numpy, by_out])
def test_what_has_no_derivative_is_fine_where_none_is_needed(gradient: str, func: Func) -> None:
    y0 = start(4, 3).detach()
    ys = odeint(func, y0, oracle.TIMES, gradient=gradient, **oracle.FIXED)
    exact = oracle.rk4(lambda t, y: torch.tanh(y), y0)
    torch.testing.assert_close(ys[-1], exact, rtol=1e-14, atol=1e-14)


def test_autograd_inside_where_no_gradient_is_needed() -> None:
    def func(t: Tensor, y: Tensor) -> Tensor:
        return torch.autograd.grad(y.cos().sum(), y, create_graph=True)[0]

    y0 = start(4, 3).detach()
    ys = odeint(func, y0, oracle.TIMES, **oracle.FIXED)
    torch.testing.assert_close(ys[-1], oracle.rk4(lambda t, y: -y.sin(), y0))


@pytest.mark.parametrize("gradient", GENERAL)
def test_checkpointing_inside_the_function(gradient: str) -> None:
    wave, y0 = Wave(), start(4, 3)

    def solved(reentrant: bool) -> Tensor:
        def func(t: Tensor, y: Tensor) -> Tensor:
            value = checkpoint(wave, t, y, use_reentrant=reentrant)
            assert isinstance(value, Tensor)
            return value

        return odeint(func, y0, oracle.TIMES, gradient=gradient, **oracle.FIXED)[-1]

    exact = oracle.gradients(oracle.rk4(wave, y0), [y0, wave.weight])
    tolerance = 1e-2 if gradient == "adjoint" else 1e-13
    oracle.assert_close(oracle.gradients(solved(False), [y0, wave.weight]), exact, tolerance)
    if gradient != "backprop":
        with pytest.raises(IncompatibleError, match="Give it use_reentrant=False"):
            solved(True)


@pytest.mark.parametrize("shapes", [[(0,), (0, 3)], [(0,), (3,)]])
def test_empty_parts_of_a_state(shapes: list[tuple[int, ...]]) -> None:
    y0 = tuple(torch.ones(shape, dtype=DOUBLE, requires_grad=True) for shape in shapes)
    ys = odeint(lambda t, s: tuple(-part for part in s), y0, oracle.TIMES, rtol=1e-6)
    for part, shape in zip(ys, shapes, strict=True):
        assert part.shape == (2, *shape)
    (ys[0].sum() + ys[1].sum()).backward()
    for part, shape in zip(y0, shapes, strict=True):
        torch.testing.assert_close(
            part.grad, torch.full(shape, 1 + np.exp(-1), dtype=DOUBLE), rtol=1e-5, atol=0
        )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_sixteen_bits(dtype: torch.dtype) -> None:
    def func(t: Tensor, y: Tensor) -> Tensor:
        return torch.stack([y[1], -y[0]])

    y0, t = torch.tensor([0.0, 1.0], dtype=dtype), torch.tensor([0.0, 1.0])
    with pytest.raises(InputError, match=r"Take a float32 state.*or tolerances of at least"):
        odeint(func, y0, t)
    eps = torch.finfo(dtype).eps
    exact = torch.stack([t[1].sin(), t[1].cos()])
    tolerances: dict[str, Any] = {"rtol": 10 * eps, "atol": 10 * eps}
    for arguments in (tolerances, oracle.FIXED):
        solution = solve(func, y0, t, **arguments)
        assert solution.stats.rejected <= 1
        assert (solution.ys[-1].float() - exact).abs().amax() < 8 * eps


@pytest.mark.parametrize("end", [0.3, 0.7, 1.0, 2.1, 1000.0])
def test_times_in_float32_make_no_step_of_rounding(end: float) -> None:
    t = torch.tensor([0.0, end])
    steps = solve(lambda t, y: -y, torch.ones(1), t, method="rk4", options={"step_size": 0.1}).steps
    assert len(steps) == round(end / 0.1)
    assert steps.h.amin() > 0.09
    assert steps.end == float(t[1])
