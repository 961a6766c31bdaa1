"""Bad input ends in a clear error before any work; a solve that cannot end says where it stood."""

from __future__ import annotations

import math
import warnings

import pytest
import torch
from torch import Tensor, nn

from symadj import (
    IncompatibleError,
    InputError,
    MaxStepsExceeded,
    NonFiniteError,
    SolverSettings,
    StepSizeUnderflow,
    odeint,
    odeint_adjoint,
    solve,
)
from tests.fields import Wave, start

T = torch.tensor([0.0, 1.0], dtype=torch.float64)


def decay(t: Tensor, y: Tensor) -> Tensor:
    return -y


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"method": "dopry5"}, ["dopry5", "dopri5", "Allowed"]),
        ({"method": 5}, ["method is 5"]),
        ({"gradient": "symplektic"}, ["symplektic", "Did you mean 'symplectic'"]),
        ({"options": {"saftey": 0.8}}, ["saftey", "Did you mean 'safety'"]),
        ({"options": {"max_num_steps": 3}}, ["max_num_steps", "max_steps"]),
        ({"rtol": -1e-3}, ["rtol=-0.001", "0 or a number from 1e-16"]),
        ({"atol": math.nan}, ["atol=nan", "0 or a number from 1e-30"]),
        ({"rtol": "tight"}, ["rtol='tight'", "number"]),
        ({"rtol": 0.0, "atol": 0.0}, ["both 0"]),
        ({"options": {"step_size": -0.1}}, ["step_size=-0.1", "from 1e-12"]),
        ({"options": {"num_steps": 2.5}}, ["num_steps=2.5", "whole number"]),
        ({"options": {"num_steps": 2, "step_size": 0.1}}, ["step_size=... and num_steps=..."]),
        ({"options": {"grid": [0.0, 0.5, 0.4, 1.0]}}, ["monotonically"]),
        ({"options": {"step_size": 1e-9}}, ["needs 1000000000 steps", "max_steps=100000"]),
        ({"options": {"safety": 1.5}}, ["safety=1.5", "from 0.01 to 1"]),
    ],
)
def test_a_setting_that_cannot_be_used(change: dict, words: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        odeint(decay, torch.ones(2), T, **{"rtol": 1e-3, "atol": 1e-3, **change})
    assert all(word in str(caught.value) for word in words), caught.value


@pytest.mark.parametrize("method", ["euler", "midpoint", "rk4", "rk38"])
def test_fixed_steps_are_never_guessed(method: str) -> None:
    with pytest.raises(IncompatibleError, match=r"step_size .* or num_steps"):
        odeint(decay, torch.ones(2), T, method=method)


@pytest.mark.parametrize(
    ("t", "words"),
    [
        (torch.tensor([0.0]), ["shape (1,)", "at least two"]),
        (torch.tensor(1.0), ["shape ()", "one-dimensional"]),
        (torch.tensor([0.0, 1.0, 0.5]), ["strictly increasing", "[0, 1, 0.5]"]),
        (torch.tensor([0.0, 0.0]), ["strictly increasing"]),
        (torch.tensor([0.0, math.nan]), ["NaN"]),
        (torch.tensor([0.0, 1.0], device="meta"), ["meta", "cpu", "t.to(y0.device)"]),
        ([0.0, 1.0], ["list", "tensor of times"]),
    ],
)
def test_times_that_cannot_be_used(t, words: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        odeint(decay, torch.ones(2), t, rtol=1e-3)
    assert all(word in str(caught.value) for word in words), caught.value


@pytest.mark.parametrize(
    ("y0", "words"),
    [
        (torch.ones(2, dtype=torch.int64), ["torch.int64", "floating point"]),
        (torch.ones(2, dtype=torch.bool), ["torch.bool", "floating point or complex"]),
        ((torch.ones(2), torch.ones(2, dtype=torch.float64)), ["float32", "float64", "one dtype"]),
        ([1.0], ["list", "tensor or a non-empty tuple"]),
        ((), ["tuple", "non-empty"]),
    ],
)
def test_states_that_cannot_be_used(y0, words: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        odeint(decay, y0, T, rtol=1e-3)
    assert all(word in str(caught.value) for word in words), caught.value


@pytest.mark.parametrize(
    ("func", "words"),
    [
        (lambda t, y: y.sum(), ["shape ()", "shape (2, 3)"]),
        (lambda t, y: y.T, ["shape (3, 2)", "shape (2, 3)"]),
        (lambda t, y: y.double(), ["torch.float64", "torch.float32"]),
        (lambda t, y: y.to("meta"), ["meta", "cpu"]),
        (lambda t, y: None, ["NoneType", "shape (2, 3)"]),
        (lambda t, y: (y, y), ["tuple of 2", "shape (2, 3)"]),
    ],
)
@pytest.mark.parametrize("grad", [True, False])
def test_fields_that_cannot_be_used(func, words: list[str], grad: bool) -> None:
    with torch.set_grad_enabled(grad), pytest.raises(InputError) as caught:
        odeint(func, torch.ones(2, 3), T, rtol=1e-3)
    assert all(word in str(caught.value) for word in words), caught.value


def test_a_tuple_field_that_returns_too_few_parts() -> None:
    with pytest.raises(InputError, match="tuple of 2 tensors"):
        odeint(lambda t, s: (s[0],), (torch.ones(2), torch.ones(3)), T, rtol=1e-3)


def test_something_that_is_no_function() -> None:
    with pytest.raises(InputError, match="callable"):
        odeint("decay", torch.ones(2), T, rtol=1e-3)  # pyright: ignore[reportArgumentType]


def test_data_parallel_is_refused() -> None:
    with pytest.raises(IncompatibleError, match="DistributedDataParallel"):
        odeint(nn.DataParallel(Wave()), start(4, 3), T)


def test_rtol_below_the_dtype_warns() -> None:
    with pytest.warns(UserWarning, match="rtol=1e-07 is below 10 eps"):
        odeint(decay, torch.ones(2), T)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        odeint(decay, torch.ones(2, dtype=torch.float64), T)


def test_max_steps_says_where_it_stood() -> None:
    with pytest.raises(MaxStepsExceeded, match="max_steps=5") as caught:
        odeint(lambda t, y: torch.sin(50 * t) * y, torch.ones(2), T, rtol=1e-5,
               options={"max_steps": 5})  # fmt: skip
    error = caught.value
    assert error.steps + error.rejects == 5
    assert error.phase == "forward"
    assert 0 < error.t < 1
    assert error.h > 0
    assert 0.5 < error.largest < 2


def test_a_singularity_underflows_the_step_size() -> None:
    y0 = torch.ones(1, dtype=torch.float64)
    with pytest.raises((StepSizeUnderflow, NonFiniteError)) as caught:
        odeint(lambda t, y: y**2, y0, 2 * T, rtol=1e-6)
    assert caught.value.t == pytest.approx(1.0, abs=1e-4)
    assert caught.value.largest > 1e4


def test_a_field_that_turns_infinite_is_named_as_such() -> None:
    def func(t: Tensor, y: Tensor) -> Tensor:
        return torch.where(t > 0.5, torch.nan, 1.0) * torch.ones_like(y)

    with pytest.raises(NonFiniteError, match="every step size") as caught:
        odeint(func, torch.ones(1), T, rtol=1e-3)
    assert caught.value.t == pytest.approx(0.5, abs=1e-3)


@pytest.mark.parametrize("gradient", ["symplectic", "backprop"])
def test_fixed_steps_find_the_step_that_blew_up(gradient: str) -> None:
    with pytest.raises(NonFiniteError, match="in this step") as caught:
        odeint(lambda t, y: y**3, torch.full((1,), 3.0), T, method="euler",
               options={"num_steps": 10}, gradient=gradient)  # fmt: skip
    assert 0 < caught.value.t < 1
    assert caught.value.h == pytest.approx(0.1)
    assert math.isfinite(caught.value.largest)


def test_a_failing_backward_solve_says_so() -> None:
    y0 = torch.ones(1, dtype=torch.float64, requires_grad=True)
    ys = odeint_adjoint(lambda t, y: -(y**3), y0, T, rtol=1e-3, atol=1e-3,
                        adjoint_rtol=1e-9, adjoint_options={"max_steps": 2})  # fmt: skip
    with pytest.raises(MaxStepsExceeded) as caught:
        ys[-1].sum().backward()
    assert caught.value.phase == "backward"


def test_settings_are_checked_when_they_are_made() -> None:
    with pytest.raises(InputError, match="Did you mean 'tsit5'"):
        SolverSettings(method="tsit")
    assert not SolverSettings("rk4", num_steps=3).adaptive
    assert SolverSettings("heun").adaptive


def test_the_adaptive_methods_take_fixed_steps_too() -> None:
    for method in ("heun", "fehlberg2", "bosh3", "dopri5", "tsit5", "dop853"):
        solution = solve(decay, torch.ones(1), T, method=method, options={"step_size": 0.3})
        assert solution.steps.h.tolist() == pytest.approx([0.3, 0.3, 0.3, 0.1])
