"""odeint by torchdiffeq's names: its defaults, options, forgiveness, and what it refuses."""

from __future__ import annotations

import inspect
import math
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor

import symadj
from symadj import InputError, MaxStepsExceeded
from symadj.ode.methods import IMPLICIT
from symadj.torchdiffeq import METHODS, odeint, odeint_adjoint, odeint_dense
from tests.torchdiffeq.fields import Swing, start

T = torch.tensor([0.0, 0.5, 1.3, 2.0], dtype=torch.float64)
TIGHT: dict[str, Any] = {"rtol": 1e-9, "atol": 1e-9}


def decay(t: Tensor, y: Tensor) -> Tensor:
    return -y


def reference(t: Tensor = T) -> Tensor:
    return symadj.odeint(Swing(), start(), t, rtol=1e-11, atol=1e-11, method="dop853").detach()


def error_of(ys: Tensor) -> float:
    return float((ys - reference()).detach().abs().max())


def test_the_arguments_and_defaults_are_torchdiffeqs() -> None:
    signature = inspect.signature(odeint)
    assert [*signature.parameters][:3] == ["func", "y0", "t"]
    defaults = {k: p.default for k, p in signature.parameters.items() if p.kind is p.KEYWORD_ONLY}
    assert defaults == {
        "rtol": 1e-7, "atol": 1e-9, "method": None, "options": None, "event_fn": None,
        "gradient": "backprop",
    }  # fmt: skip


@pytest.mark.parametrize("method", [None, "dopri5", "dopri8", "tsit5", "bosh3"])
def test_adaptive_methods(method: str | None) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert error_of(odeint(Swing(), start(), T, method=method)) < 1e-5


@pytest.mark.parametrize("method", ["adaptive_heun", "fehlberg2"])
def test_adaptive_methods_of_order_2(method: str) -> None:
    bound = 2e-2 if method == "fehlberg2" else 1e-3
    assert error_of(odeint(Swing(), start(), T, rtol=1e-5, atol=1e-5, method=method)) < bound


FIXED = {name: m.solver for name, m in METHODS.items() if not m.adaptive}


@pytest.mark.parametrize("method", [name for name, s in FIXED.items() if s not in IMPLICIT])
def test_fixed_methods_step_from_output_to_output(method: str) -> None:
    field = Swing()
    ys = odeint(field, start(), T, method=method)
    solver = METHODS[method].solver
    expected = symadj.odeint(Swing(), start(), T, method=solver, options={"grid": T.tolist()})
    assert torch.equal(ys, expected)
    assert field.evaluations == 3 * symadj.SOLVERS[solver].uses


@pytest.mark.parametrize("method", [name for name, s in FIXED.items() if s in IMPLICIT])
def test_implicit_methods_step_from_output_to_output(method: str) -> None:
    """To the tolerance of their equations."""
    ys = odeint(Swing(), start(), T, method=method, rtol=1e-9)
    options = {"grid": T.tolist(), "newton_tol": 1e-13}
    expected = symadj.odeint(Swing(), start(), T, method=FIXED[method], options=options)
    assert float((ys - expected).detach().abs().max()) < 1e-9


def test_rk4_is_the_three_eighths_rule() -> None:
    """One step of it, by hand; the classical method is another."""
    f, y0, h = Swing(), start(), 0.5
    k1 = f(T[0], y0)
    k2 = f(T[0] + h / 3, y0 + h / 3 * k1)
    k3 = f(T[0] + 2 * h / 3, y0 + h * (k2 - k1 / 3))
    k4 = f(T[0] + h, y0 + h * (k1 - k2 + k3))
    expected = y0 + h / 8 * (k1 + 3 * k2 + 3 * k3 + k4)
    assert float((odeint(f, y0, T[:2], method="rk4")[1] - expected).detach().abs().max()) < 3e-16
    classical = symadj.odeint(f, y0, T[:2], method="rk4", options={"num_steps": 1})
    assert float((classical[1] - expected).detach().abs().max()) > 1e-6


def test_outputs_inside_fixed_steps_are_interpolated_as_asked() -> None:
    t = torch.tensor([0.0, 0.3, 1.0], dtype=torch.float64)
    lines = odeint(Swing(), start(), t, method="rk4", options={"step_size": 0.5})
    ends = odeint(Swing(), start(), torch.linspace(0, 1, 3).double(), method="rk4")
    by_line = start() + 0.6 * (ends[1] - start())
    assert float((lines[1] - by_line).detach().abs().max()) < 1e-15
    options = {"step_size": 0.5, "interp": "cubic"}
    cubic = odeint(Swing(), start(), t, method="rk4", options=options)
    by_line, by_cubic = (
        float((ys[1] - reference(t)[1]).detach().abs().max()) for ys in (lines, cubic)
    )
    assert by_cubic < by_line / 10


def test_one_output_time_is_the_state_itself() -> None:
    field, y0 = Swing(), start()
    ys = odeint(field, y0, T[:1], method="euler")
    assert torch.equal(ys, y0.unsqueeze(0))
    ys.sum().backward()
    assert y0.grad is not None
    pair = odeint_adjoint(field, (y0, y0[0]), T[:1])
    assert [tuple(part.shape) for part in pair] == [(1, 4, 3), (1, 3)]
    assert field.evaluations == 0


def test_steps_go_beyond_the_last_output_and_no_further_than_one() -> None:
    field = Swing()
    odeint(field, start(), T, rtol=1e-4, atol=1e-4, options={"max_step": 0.3}, method="dopri5")
    assert 2.0 < max(field.times) < 2.3


@pytest.mark.parametrize("given", [
    {"rtol": torch.full((4, 3), 1e-6), "atol": 1e-6},
    {"rtol": torch.full((3,), 1e-6), "atol": torch.tensor(1e-6)},
    {"rtol": 1e-6, "atol": torch.full((4, 1), 1e-6)},
])  # fmt: skip
def test_equal_entries_of_a_tolerance_are_the_number(given: dict[str, Any]) -> None:
    by_number = odeint(Swing(), start(), T, rtol=1e-6, atol=1e-6)
    ys = odeint(Swing(), start(), T, **given)
    assert float((ys - by_number).detach().abs().max()) < 1e-11


def test_a_tolerance_of_a_part_holds_for_that_part() -> None:
    def pair(t: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        y, z = state
        return -y, 20 * torch.cos(20 * t) * torch.ones_like(z)

    y0 = (torch.ones(2, dtype=torch.float64), torch.zeros(3, dtype=torch.float64))
    t = torch.tensor([0.0, 1.0], dtype=torch.float64)
    loose = odeint(pair, y0, t, rtol=1e-9, atol=(1e-9, 1e3))
    tight = odeint(pair, y0, t, rtol=1e-9, atol=(torch.tensor([1e-9, 1e-9]), [1e-9] * 3))
    errors = [float((z[-1] - math.sin(20)).abs().max()) for _, z in (loose, tight)]
    assert errors[0] > 1e-5 > 1e-7 > errors[1]


@pytest.mark.parametrize(
    ("rtol", "words"),
    [
        (torch.ones(5), ["rtol", "does not fit", "(4, 3)"]),
        ("tight", ["rtol='tight'", "number or a tensor"]),
        (torch.tensor([[-1e-3, 0.0, 1.0]]), ["rtol", "negative"]),
        (torch.ones(3, requires_grad=True), ["rtol", "Detach"]),
    ],
)
def test_a_tolerance_that_cannot_be_used(rtol: Any, words: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        odeint(Swing(), start(), T, rtol=rtol)
    assert all(word in str(caught.value) for word in words), caught.value


@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
def test_complex_states(dtype: torch.dtype) -> None:
    """dy/dt = i y turns."""
    y0 = torch.tensor([1.0, 1j], dtype=dtype, requires_grad=True)
    t = T.to(y0.real.dtype)
    for call in (odeint, odeint_adjoint):
        ys = call(lambda t, y: 1j * y, y0, t, rtol=1e-5, atol=1e-6)
        assert ys.dtype == dtype
        assert float((ys - torch.exp(1j * t)[:, None] * y0).detach().abs().max()) < 1e-4
        # |y|^2 is kept, so its gradient by y0 is 2 y0.
        (of_y0,) = torch.autograd.grad(ys[-1].abs().square().sum(), y0)
        assert float((of_y0 - 2 * y0).detach().abs().max()) < 1e-4


def test_parts_of_different_types_are_promoted() -> None:
    seen = []

    def pair(t: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        seen.append((t.dtype, state[0].dtype, state[1].dtype))
        return -state[0].to(torch.complex64), 1j * state[1]

    y0 = (torch.ones(2, dtype=torch.float64), torch.ones(3, dtype=torch.complex64))
    y, z = odeint(pair, y0, T, **TIGHT)
    assert y.dtype == z.dtype == torch.complex128
    assert set(seen) == {(torch.float64, torch.complex128, torch.complex128)}
    assert float((y[-1] - math.exp(-2)).abs().max()) < 1e-6


def test_a_field_of_another_type_or_of_parts_of_another_shape_is_taken() -> None:
    y0 = torch.ones(2, dtype=torch.float64)
    single = odeint(lambda t, y: -y.float(), y0, T, rtol=1e-4, atol=1e-4)
    assert single.dtype == torch.float64
    column = odeint(lambda t, s: (-s[0].reshape(-1),), (torch.ones(2, 1),), T.float(), rtol=1e-4)
    assert column[0].shape == (4, 2, 1)


def test_grid_constructor_is_told_field_state_and_times() -> None:
    seen = []

    def grid(func: Any, y0: Tensor, t: Tensor) -> Tensor:
        seen.append((func, y0, t))
        return torch.linspace(float(t[0]), float(t[-1]), 11, dtype=torch.float64)

    field, y0 = Swing(), start()
    odeint(field, y0, T.flip(0), method="euler", options={"grid_constructor": grid})
    [(func, state, times)] = seen
    assert func is field
    assert state is y0
    assert times.tolist() == T.flip(0).tolist()
    assert field.evaluations == 10
    with pytest.raises(InputError, match="step_size and grid_constructor"):
        odeint(field, y0, T, method="rk4", options={"grid_constructor": grid, "step_size": 0.1})


def broken(t: Tensor, y: Tensor) -> Tensor:
    return -y if t < 0.7 else y


@pytest.mark.parametrize(
    "options",
    [
        {"jump_t": torch.tensor([0.7], dtype=torch.float64)},
        {"grid_points": torch.tensor([0.7], dtype=torch.float64), "eps": 1e-6},
        {"jump_t": [0.7], "dtype": torch.float64, "max_step": math.inf},
    ],
)
def test_jumps(options: dict[str, Any]) -> None:
    ys = odeint(broken, torch.ones(2, dtype=torch.float64), T, options=options)
    assert float((ys[-1] - math.exp(-0.7 + 1.3)).abs().max()) < 1e-6


def test_the_last_step_passes_no_jump_beyond_the_last_output() -> None:
    times: list[float] = []

    def field(t: Tensor, y: Tensor) -> Tensor:
        times.append(float(t))
        return broken(t, y)

    t = torch.tensor([0.0, 0.699], dtype=torch.float64)
    odeint(field, torch.ones(2, dtype=torch.float64), t, options={"jump_t": [0.7, -0.1]})
    assert max(times) < 0.7


def test_grid_points_are_landed_on() -> None:
    field = Swing()
    odeint(field, start(), T, options={"grid_points": torch.tensor([0.7])})
    assert float(torch.tensor(0.7)) in field.times
    with pytest.raises(InputError, match="twice"):
        odeint(field, start(), T, options={"step_t": [0.7], "jump_t": [0.7]})


@pytest.mark.parametrize("perturb", [True, False])
def test_perturb(perturb: bool) -> None:
    field = Swing()
    odeint(field, start(), T[[0, 3]], method="rk4", options={"step_size": 0.5, "perturb": perturb})
    on_grid = {0.0, 0.5, 1.0, 1.5, 2.0} & set(field.times)
    assert on_grid == (set() if perturb else {0.0, 0.5, 1.0, 1.5, 2.0})


def test_the_steps_limits_and_factors() -> None:
    counts = []
    for options in ({}, {"min_step": 0.4}, {"max_step": 0.05}, {"safety": 0.3, "ifactor": 1.5}):
        field = Swing()
        odeint(field, start(), T, options=options)
        counts.append(field.evaluations)
    plain, coarse, fine, careful = counts
    assert coarse < plain < min(fine, careful)
    with pytest.raises(MaxStepsExceeded):
        odeint(Swing(), start(), T, options={"max_num_steps": 2})


def test_an_option_of_another_method_is_warned_of_and_ignored() -> None:
    with pytest.warns(UserWarning, match="'rk4' has no option 'safety', which is ignored"):
        ys = odeint(decay, torch.ones(2), T, method="rk4", options={"safety": 5.0})
    assert torch.equal(ys, odeint(decay, torch.ones(2), T, method="rk4"))


@pytest.mark.parametrize(
    ("method", "words"),
    [
        ("implicit_adams", ["multistep", "'rk4'", "'dopri5'"]),
        ("scipy_solver", ["SciPy", "solve_ivp"]),
        ("dopry5", ["unknown method", "Did you mean 'dopri5'"]),
        (5, ["unknown method 5"]),
    ],
)
def test_methods_that_are_not_there(method: Any, words: list[str]) -> None:
    for call in (odeint, odeint_adjoint):
        with pytest.raises(ValueError) as caught:  # noqa: PT011
            call(decay, torch.ones(2), T, method=method)
        text = str(caught.value)
        missing = [word for word in words if word not in text.replace("there is none", "not")]
        assert not missing or missing == ["not in this version"], text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"t": torch.tensor([0.0, 1.0, 0.5])}, ["strictly increasing"]),
        ({"t": [0.0, 1.0]}, ["tensor of times"]),
        ({"y0": [1.0]}, ["tensor or a non-empty tuple"]),
        ({"options": {"dtype": torch.int64}}, ["dtype=torch.int64"]),
        ({"options": {"first_step": -1.0}}, ["first_step=-1.0"]),
        ({"options": {"max_step": "long"}}, ["max_step='long'"]),
    ],
)
def test_arguments_that_cannot_be_used(arguments: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        odeint(**{"func": decay, "y0": torch.ones(2), "t": T, **arguments})
    assert all(word in str(caught.value) for word in words), caught.value


@pytest.mark.parametrize("gradient", ["symplectic", "aca", "checkpoint"])
@pytest.mark.parametrize("options", [None, {"jump_t": [0.9]}])
@pytest.mark.parametrize("method", ["dopri5", "dopri8"])
def test_exact_methods_agree_with_the_default(
    method: str, options: dict | None, gradient: str
) -> None:
    """Through steps that go beyond the last output."""
    gradients = []
    for name in ("backprop", gradient):
        field, y0 = Swing(), start()
        ys = odeint(
            field, y0, T, rtol=1e-3, atol=1e-3, method=method, options=options, gradient=name
        )
        gradients.append(torch.autograd.grad(torch.sin(ys).sum(), [y0, field.weight]))
    pairs = zip(*gradients, strict=True)
    assert max(float((a - b).norm() / b.norm()) for a, b in pairs) < 1e-12


def test_the_default_can_be_differentiated_twice() -> None:
    y0 = torch.tensor([0.3, 0.8], dtype=torch.float64, requires_grad=True)

    def last(y0: Tensor) -> Tensor:
        return odeint(lambda t, y: torch.sin(y) * t, y0, T[:2], rtol=1e-3, atol=1e-3)[-1]

    assert torch.autograd.gradgradcheck(last, y0)


@pytest.mark.parametrize("t", [T, T.flip(0)])
def test_gradients_by_the_times(t: Tensor) -> None:
    y0 = start()
    t = t.clone().requires_grad_()
    field = Swing()
    ys = odeint(field, y0, t, **TIGHT)
    (of_t,) = torch.autograd.grad(ys.sum(), t)
    slopes = torch.stack([field(time, y).sum() for time, y in zip(t[1:], ys[1:], strict=True)])
    assert float((of_t[1:] - slopes).detach().abs().max()) < 1e-12


def test_dense_output() -> None:
    for t0, t1 in ((0.0, 2.0), (2.0, 0.0)):
        y = odeint_dense(Swing(), start(), torch.tensor(t0), torch.tensor(t1), **TIGHT)
        times = torch.tensor([t0, 1.3, t1], dtype=torch.float64)
        true = symadj.odeint(Swing(), start(), times, rtol=1e-11, atol=1e-11, method="dop853")
        for time, state in zip(times, true, strict=True):
            assert float((y(time) - state).detach().abs().max()) < 1e-6
        with pytest.raises(InputError, match="outside"):
            y(2.5)
    pair = odeint_dense(lambda t, s: (-s[0], s[1]), (torch.ones(2), torch.ones(())), 0, 1)
    y, z = pair(0.5)
    assert torch.stack([*y, z]).log() == pytest.approx(torch.tensor([-0.5, -0.5, 0.5]), abs=1e-5)
    y0 = start()
    (of_y0,) = torch.autograd.grad(odeint_dense(decay, y0, 0.0, 2.0, **TIGHT)(1.0).sum(), y0)
    assert float((of_y0 - math.exp(-1)).abs().max()) < 1e-7
