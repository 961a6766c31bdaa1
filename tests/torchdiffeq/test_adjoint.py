"""odeint_adjoint by torchdiffeq's names: parameters, norms and options of the backward solve."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import torch
from torch import Tensor

from symadj import FieldChangedError, InputError
from symadj.torchdiffeq import odeint, odeint_adjoint
from tests.torchdiffeq.fields import Swing, start

T = torch.tensor([0.0, 0.5, 1.3, 2.0], dtype=torch.float64)


def gradients(call: Any, field: Swing, t: Tensor = T, **more: Any) -> tuple[Tensor, ...]:
    y0 = start()
    ys = call(field, y0, t, **{"rtol": 1e-8, "atol": 1e-8, **more})
    return torch.autograd.grad(torch.sin(ys).sum(), [y0, field.weight])


def distance(mine: tuple[Tensor, ...], other: tuple[Tensor, ...]) -> float:
    return max(float((a - b).norm() / b.norm()) for a, b in zip(mine, other, strict=True))


def test_the_arguments_and_defaults_are_torchdiffeqs() -> None:
    parameters = inspect.signature(odeint_adjoint).parameters
    of_adjoint = [name for name in parameters if name.startswith("adjoint_")]
    assert of_adjoint == [f"adjoint_{n}" for n in ("rtol", "atol", "method", "options", "params")]
    assert all(parameters[name].default is None for name in of_adjoint)


@pytest.mark.parametrize("more", [
    {},
    {"adjoint_options": {"norm": "seminorm"}},
    {"adjoint_method": "dopri8"},
    {"adjoint_method": "bosh3", "adjoint_options": {"first_step": 0.01}, "options": {}},
    {"options": {"norm": lambda y: y.abs().amax()}},
])  # fmt: skip
def test_gradients_are_those_of_backpropagation_to_the_tolerance(more: dict[str, Any]) -> None:
    reference = gradients(odeint, Swing())
    assert distance(gradients(odeint_adjoint, Swing(), **more), reference) < 1e-5


@pytest.mark.parametrize("method", ["euler", "rk4", "heun3"])
def test_fixed_steps_go_back_over_the_outputs(method: str) -> None:
    t = torch.linspace(0, 2, 41, dtype=torch.float64)
    field = Swing()
    ours = gradients(odeint_adjoint, field, t, method=method)
    bound = 0.1 if method == "euler" else 1e-3
    assert distance(ours, gradients(odeint, Swing(), t, method=method)) < bound


def test_an_unused_parameter_has_the_gradient_zero() -> None:
    for gradient in ("adjoint", "symplectic", "aca"):
        field, y0 = Swing(), start()
        odeint_adjoint(field, y0, T, rtol=1e-3, gradient=gradient).sum().backward()
        assert field.unused.weight.grad is not None
        assert float(field.unused.weight.grad.abs().max()) == 0
    field, y0 = Swing(), start()
    odeint(field, y0, T, rtol=1e-3).sum().backward()
    assert field.unused.weight.grad is None


def test_adjoint_params_are_all_that_get_a_gradient() -> None:
    for gradient in ("adjoint", "symplectic"):
        field, y0 = Swing(), start()
        more: dict[str, Any] = {"rtol": 1e-3, "gradient": gradient}
        odeint_adjoint(field, y0, T, adjoint_params=(), **more).sum().backward()
        assert y0.grad is not None
        assert field.weight.grad is None
        other = torch.ones(2, requires_grad=True)
        named = (p for p in (field.weight, other))
        odeint_adjoint(field, y0, T, adjoint_params=named, **more).sum().backward()
        assert field.weight.grad is not None
        assert other.grad is not None
        assert field.unused.weight.grad is None
    frozen = start().detach()
    assert not odeint_adjoint(Swing(), frozen, T, rtol=1e-3, adjoint_params=()).requires_grad


@pytest.mark.parametrize("tupled", [False, True])
def test_the_adjoint_norm_sees_time_state_adjoint_and_parameters(tupled: bool) -> None:
    field, y0, seen = Swing(), start(), []

    def norm(parts: tuple[Tensor, ...]) -> Tensor:
        assert isinstance(parts, tuple)
        seen.append([tuple(part.shape) for part in parts])
        return torch.stack([part.abs().amax() for part in parts]).amax()

    def pair(t: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        return field(t, state[0]), -state[1]

    func, state = (pair, (y0, y0[0])) if tupled else (field, y0)
    params = [field.weight, field.unused.bias]
    ys = odeint_adjoint(
        func, state, T, rtol=1e-4, atol=1e-4, adjoint_options={"norm": norm}, adjoint_params=params
    )
    (ys[0] if tupled else ys).sum().backward()
    shapes = [(4, 3), (3,)] if tupled else [(4, 3)]
    assert seen
    assert all(shape == [(), *shapes, *shapes, (3, 3), (2,)] for shape in seen)


def test_a_larger_norm_takes_more_steps_and_the_seminorm_fewer() -> None:
    counts = {}
    norms: dict[str, Any] = {
        "default": None,
        "seminorm": "seminorm",
        "larger": lambda parts: 1e4 * torch.stack([p.abs().amax() for p in parts]).amax(),
    }
    for name, norm in norms.items():
        field = Swing()
        options = {} if norm is None else {"norm": norm}
        ys = odeint_adjoint(field, start(), T, adjoint_options=options, rtol=1e-6, atol=1e-6)
        field.evaluations = 0
        (100 * ys).sum().backward()
        counts[name] = field.evaluations
    assert counts["seminorm"] <= counts["default"] < counts["larger"]


def test_options_of_the_forward_solve_hold_backward_without_their_norm() -> None:
    seen = []

    def norm(y: Tensor) -> Tensor:
        seen.append(tuple(y.shape))
        return y.abs().amax()

    field = Swing()
    ys = odeint_adjoint(field, start(), T, method="dopri5", options={"norm": norm, "max_step": 0.1})
    field.evaluations = 0
    ys.sum().backward()
    assert field.evaluations > 6 * 20
    assert set(seen) == {(4, 3)}
    with pytest.raises(InputError, match="Give adjoint_options"):
        odeint_adjoint(field, start(), T, options={}, adjoint_method="rk4")


def test_a_grid_constructor_is_asked_again_backward_from_output_to_output() -> None:
    asked = []

    def grid(func: Any, y0: Tensor, t: Tensor) -> Tensor:
        asked.append(t.tolist())
        return torch.linspace(float(t[0]), float(t[-1]), 21, dtype=torch.float64)

    t = torch.tensor([0.0, 1.0, 2.0], dtype=torch.float64)
    field = Swing()
    options = {"grid_constructor": grid}
    ys = odeint_adjoint(field, start(), t, method="euler", options=options)
    assert field.evaluations == 20
    field.evaluations = 0
    ys.sum().backward()
    assert asked == [[0.0, 1.0, 2.0], [2.0, 1.0], [1.0, 0.0]]
    # One more may make sure that the field is still that of the solve.
    assert field.evaluations in (40, 41)


def test_exact_methods_take_the_place_of_the_adjoint() -> None:
    reference = gradients(odeint, Swing(), rtol=1e-3, atol=1e-3)
    exact = gradients(odeint_adjoint, Swing(), rtol=1e-3, atol=1e-3, gradient="symplectic")
    adjoint = gradients(odeint_adjoint, Swing(), rtol=1e-3, atol=1e-3)
    assert distance(exact, reference) < 1e-12
    assert distance(adjoint, reference) > 1e-6
    with pytest.raises(InputError, match="Leave them out"):
        odeint_adjoint(Swing(), start(), T, gradient="symplectic", adjoint_rtol=1e-3)


def test_entrywise_tolerances_hold_backward_for_state_and_adjoint() -> None:
    entrywise = torch.full((4, 3), 1e-8, dtype=torch.float64)
    by_number = gradients(odeint_adjoint, Swing())
    ours = gradients(odeint_adjoint, Swing(), rtol=entrywise, atol=entrywise[0])
    assert distance(ours, by_number) < 1e-9


def test_jumps_and_perturbed_steps_go_back_too() -> None:
    def broken(t: Tensor, y: Tensor) -> Tensor:
        times.append(float(t))
        return -y if t < 0.7 else y

    times: list[float] = []
    y0 = torch.ones(2, dtype=torch.float64, requires_grad=True)
    t = torch.tensor([0.0, 2.0], dtype=torch.float64)
    ys = odeint_adjoint(broken, y0, t, options={"jump_t": [0.7]}, adjoint_params=())
    ys[-1].sum().backward()
    assert y0.grad is not None
    assert float((y0.grad - torch.exp(torch.tensor(0.6, dtype=torch.float64))).abs().max()) < 1e-6
    options = {"step_size": 0.5, "perturb": True}
    ys = odeint_adjoint(broken, y0, t, method="rk4", options=options, adjoint_params=())
    times.clear()
    ys.sum().backward()
    assert not {0.0, 0.5, 1.0, 1.5, 2.0} & set(times)


@pytest.mark.parametrize("gradient", ["adjoint", "symplectic"])
def test_a_field_that_has_changed_is_refused_unless_that_is_switched_off(gradient: str) -> None:
    for options, method in (({}, "dopri5"), ({"step_size": 0.1}, "rk4")):
        field, y0 = Swing(), start()
        solve: dict[str, Any] = {"method": method, "gradient": gradient}
        ys = odeint_adjoint(field, y0, T, options=options, **solve)
        unlooked = odeint_adjoint(field, y0, T, options={**options, "check_field": False}, **solve)
        field.weight.data.mul_(1.1)
        with pytest.raises(FieldChangedError):
            ys.sum().backward()
        unlooked.sum().backward()
