"""Values, steps and gradients beside torchdiffeq's own; needs it (pip install 'symadj[peers]')."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import symadj.torchdiffeq as ours
from tests.torchdiffeq.fields import Swing, start

theirs = pytest.importorskip("torchdiffeq")

FORWARD = torch.linspace(0, 2, 7, dtype=torch.float64)
BACKWARD = torch.linspace(1, -1, 4, dtype=torch.float64)
JUMP = torch.tensor([0.55], dtype=torch.float64)


def solved(module: Any, t: Tensor, method: str | None, options: dict | None, **more: Any):
    """(ys, gradients by y0 and the weight, evaluations of the forward pass)."""
    field, y0 = Swing(), start()
    call = module.odeint_adjoint if more.pop("adjoint", False) else module.odeint
    ys = call(field, y0, t, rtol=1e-4, atol=1e-5, method=method, options=options, **more)
    evaluations = field.evaluations
    gradients = torch.autograd.grad(torch.sin(ys).sum(), [y0, field.weight])
    return ys.detach(), gradients, evaluations


def distance(mine: tuple[Tensor, ...], other: tuple[Tensor, ...]) -> float:
    return max(float((a - b).norm() / b.norm()) for a, b in zip(mine, other, strict=True))


@pytest.mark.parametrize("t", [FORWARD, BACKWARD], ids=["forward", "backward"])
@pytest.mark.parametrize(
    "options",
    [None, {"step_size": 0.13}, {"step_size": 0.13, "interp": "cubic"},
     {"step_size": 0.13, "perturb": True}],
)  # fmt: skip
@pytest.mark.parametrize("method", ["euler", "midpoint", "rk4"])
def test_fixed_steps_are_equal_to_rounding(method: str, options: dict | None, t: Tensor) -> None:
    ys, gradients, evaluations = solved(ours, t, method, options)
    expected, reference, counted = solved(theirs, t, method, options)
    assert float((ys - expected).abs().max()) < 1e-14
    assert distance(gradients, reference) < 1e-14
    assert evaluations <= counted


@pytest.mark.parametrize("t", [FORWARD, BACKWARD], ids=["forward", "backward"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"first_step": 0.05},
        {"jump_t": JUMP},
        {"step_t": JUMP, "min_step": 0.01, "max_step": 0.2},
        {"safety": 0.8, "ifactor": 3.0, "dfactor": 0.5},
    ],
)
def test_dopri5_is_equal_to_rounding_in_as_many_evaluations(options: dict, t: Tensor) -> None:
    ys, gradients, evaluations = solved(ours, t, "dopri5", options)
    expected, reference, counted = solved(theirs, t, "dopri5", options)
    assert float((ys - expected).abs().max()) < 1e-12
    assert evaluations == counted
    if "first_step" in options:
        # torchdiffeq differentiates the first step's length where it chooses that itself.
        assert distance(gradients, reference) < 1e-11


@pytest.mark.parametrize("method", ["bosh3", "dopri8"])
def test_steps_are_the_same_where_values_between_them_are_better(method: str) -> None:
    """Few output times, so that the states at the steps' ends tell."""
    exact = solved(ours, FORWARD, "dopri5", {"max_step": 0.005})[0]
    ys, _, evaluations = solved(ours, FORWARD, method, {})
    expected, _, counted = solved(theirs, FORWARD, method, {})
    # The end stage of the last step, which no output needs here.
    assert counted - 1 <= evaluations <= counted
    assert float((ys - exact).abs().max()) < float((expected - exact).abs().max()) / 3


def test_gradients_of_symplectic_are_those_of_their_backpropagation() -> None:
    options = {"first_step": 0.05}
    _, gradients, _ = solved(ours, FORWARD, "dopri5", options, gradient="symplectic")
    _, reference, _ = solved(theirs, FORWARD, "dopri5", options)
    assert distance(gradients, reference) < 1e-11


@pytest.mark.parametrize("norm", [None, "seminorm"])
def test_gradients_of_the_adjoint_method_differ_by_its_error(norm: str | None) -> None:
    more = {"adjoint": True, "adjoint_rtol": 1e-8, "adjoint_atol": 1e-9}
    more["adjoint_options"] = {} if norm is None else {"norm": norm}
    _, gradients, _ = solved(ours, FORWARD, "dopri5", None, **more)
    _, reference, _ = solved(theirs, FORWARD, "dopri5", None, **more)
    assert distance(gradients, reference) < 1e-3


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64])
def test_single_precision_and_complex(dtype: torch.dtype) -> None:
    def turn(t: Tensor, y: Tensor) -> Tensor:
        return (1j if y.is_complex() else -1) * y * torch.sin(t) - 0.1 * y * y.abs()

    y0 = start(dtype).detach()
    mine = ours.odeint(turn, y0, FORWARD, rtol=1e-4, atol=1e-4)
    other = theirs.odeint(turn, y0, FORWARD, rtol=1e-4, atol=1e-4)
    assert mine.dtype == other.dtype == dtype
    assert float((mine - other).abs().max()) < 1e-5


def test_tolerances_part_by_part() -> None:
    def pair(t: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        y, z = state
        return torch.sin(5 * t) * y, -z * y.sum()

    y0 = (torch.ones(2, dtype=torch.float64), torch.ones(3, dtype=torch.float64))
    more: dict[str, Any] = {"rtol": (1e-3, 1e-6), "atol": (torch.tensor([1e-3, 1e-5]), 1e-7)}
    for mine, other in zip(
        ours.odeint(pair, y0, FORWARD, **more),
        theirs.odeint(pair, y0, FORWARD, **more),
        strict=True,
    ):
        assert float((mine - other).abs().max()) < 1e-11
