"""Implicit methods: gradients that are exact to the tolerance of their equations."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from symadj import IncompatibleError, odeint, solve
from symadj.errors import DoubleBackwardError, NewtonError
from symadj.grad import ACA, Adjoint, Auto, Symplectic
from symadj.meters.live_bytes import StorageCounter
from symadj.ode import newton
from symadj.ode.gmres import Solved
from symadj.ode.methods import IMPLICIT, SOLVERS
from tests.fields import Energy, Pair, Wave, start
from tests.grad.test_contract import FINAL, INTERIOR, Gradient, assert_equal, gradients_of
from tests.grad.test_graphs import Token, Use

EXACT = 1e-10
SOLVED = {"newton_tol": 1e-13}
OTHERS = [
    "checkpoint",
    pytest.param(ACA(), id="aca"),
    pytest.param(ACA("revolve", slots=2), id="aca-revolve"),
    pytest.param(Symplectic("stages"), id="symplectic-stages"),
    pytest.param(Symplectic("revolve", slots=2), id="symplectic-revolve"),
    pytest.param(Symplectic(stages_at_once=3), id="symplectic-3-at-once"),
    pytest.param(Symplectic("stages", offload="disk"), id="stages-disk"),
]


def oracle(
    field: Callable[[Tensor, Tensor], Tensor], y0: Tensor, grid: Sequence[float], method: str
) -> Tensor:
    """y at the end of the grid, by plain autograd and none of the package's steps.

    All stages of a step are one system F(k) = k - f(y0 + h A k) = 0 of all entries, solved by
    Newton's method with its whole Jacobian to rounding. One step more, with graph, from where no
    further one moves it, has the derivative of the solution: k - F'^-1 F(k), F' held constant.
    """
    tableau = IMPLICIT[method]
    a = torch.tensor(tableau.a, dtype=y0.dtype)
    b = torch.tensor(tableau.b, dtype=y0.dtype)
    y = y0
    for t0, t1 in itertools.pairwise(grid):
        h, base = t1 - t0, y
        times = [torch.tensor(t0 + c * h, dtype=y0.dtype) for c in tableau.c]

        def residual(ks: Tensor, base=base, h=h, times=times) -> Tensor:
            ks = ks.view(len(b), *y0.shape)
            states = base + h * torch.einsum("ij,j...->i...", a, ks)
            values = torch.stack([field(t, s) for t, s in zip(times, states, strict=True)])
            return (ks - values).reshape(-1)

        ks = torch.zeros(len(b) * y0.numel(), dtype=y0.dtype)
        while True:
            matrix = torch.autograd.functional.jacobian(residual, ks)
            move = torch.linalg.solve(matrix, residual(ks).detach())
            ks = ks - move
            if move.norm() <= 1e-13 * ks.norm():
                break
        ks = ks - torch.linalg.solve(matrix, residual(ks))
        y = base + h * torch.einsum("j,j...->...", b, ks.view(len(b), *y0.shape))
    return y


def by_oracle(field: nn.Module, y0: Tensor, grid: Sequence[float], method: str) -> list[Tensor]:
    """The gradient of the loss of `gradients_of` with y0 and the end as outputs."""
    y1 = oracle(field, y0, grid, method)
    inputs = [y0, *(p for p in field.parameters() if p.requires_grad)]
    loss = torch.sin(y0).sum() + 2 * torch.sin(y1).sum()
    return list(torch.autograd.grad(loss, inputs, allow_unused=True))


@pytest.mark.parametrize("method", IMPLICIT)
def test_gradients_are_those_of_the_equations(method: str) -> None:
    field, y0 = Wave(), start(2, 3)
    expected = by_oracle(field, y0, np.linspace(0, 1.3, 3).tolist(), method)
    for gradient in ("symplectic", "backprop"):
        ours, _ = gradients_of(field, y0, FINAL, gradient, method, {"num_steps": 2, **SOLVED})
        assert_equal(ours, expected, EXACT)


@pytest.mark.parametrize("method", IMPLICIT)
def test_outputs_inside_steps(method: str) -> None:
    field, y0, options = Wave(), start(4, 3), {"num_steps": 2, **SOLVED}
    ours, _ = gradients_of(field, y0, INTERIOR, "symplectic", method, options)
    reference, _ = gradients_of(field, y0, INTERIOR, "backprop", method, options)
    assert_equal(ours, reference, EXACT)


@pytest.mark.parametrize("gradient", OTHERS)
@pytest.mark.parametrize("method", ["trapezoid", "radau3"])
def test_every_exact_method_agrees(method: str, gradient: Gradient) -> None:
    field, y0, options = Wave(), start(4, 3), {"num_steps": 3, **SOLVED}
    ours, _ = gradients_of(field, y0, INTERIOR, gradient, method, options)
    reference, _ = gradients_of(field, y0, INTERIOR, "symplectic", method, options)
    assert_equal(ours, reference, EXACT)


@pytest.mark.parametrize("method", ["trbdf2", "kvaerno3", "radau5"])
def test_adaptive_steps_on_their_frozen_grid(method: str) -> None:
    field, y0 = Wave(), start(2, 3)
    ours, solution = gradients_of(field, y0, FINAL, "symplectic", method, SOLVED, rtol=1e-3)
    expected = by_oracle(field, y0, solution.steps.grid, method)
    assert_equal(ours, expected, EXACT)


@pytest.mark.parametrize("method", ["kvaerno3", "radau5"])
@pytest.mark.parametrize("gradient", ["symplectic", "backprop"])
def test_the_error_falls_with_the_tolerance_of_the_equations(
    method: str, gradient: Gradient
) -> None:
    field, y0 = Wave(), start(2, 3)
    expected = by_oracle(field, y0, [0.0, 0.5, 1.3], method)
    for tolerance in (1e-3, 1e-6, 1e-9, 1e-12):
        options = {"grid": [0.0, 0.5, 1.3], "newton_tol": tolerance}
        ours, _ = gradients_of(field, y0, FINAL, gradient, method, options)
        assert_equal(ours, expected, 20 * tolerance)


def test_tuples_autograd_inside_and_time_backward() -> None:
    for field, y0 in ((Pair(), (start(4, 3), start(4))), (Energy(), start(5, 2))):
        for method in ("trbdf2", "radau3"):
            options = {"num_steps": 3, **SOLVED}
            ours, _ = gradients_of(field, y0, INTERIOR, "symplectic", method, options)
            reference, _ = gradients_of(field, y0, INTERIOR, "backprop", method, options)
            assert_equal(ours, reference, EXACT)
    y0, field = (0.2 * start(2, 3)).detach().requires_grad_(), Wave()
    options = {"num_steps": 3, **SOLVED}
    ours, _ = gradients_of(field, y0, [1.0, -0.4], "symplectic", "kvaerno3", options)
    expected = by_oracle(field, y0, np.linspace(1.0, -0.4, 4).tolist(), "kvaerno3")
    assert_equal(ours, expected, EXACT)


class Joined(nn.Module):
    """A field whose rows act on each other."""

    def __init__(self) -> None:
        super().__init__()
        self.wave = Wave()

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return self.wave(t, y) + y.roll(1, 0)


@pytest.mark.parametrize("method", ["kvaerno3", "radau5"])
@pytest.mark.parametrize("field", [Wave(), Joined()], ids=["rows", "joined"])
def test_linear_solvers_agree(method: str, field: nn.Module) -> None:
    y0 = start(4, 3)
    found = {}
    for name in ("auto", "dense", "gmres", *(("batched",) if isinstance(field, Wave) else ())):
        options = {"num_steps": 1, **SOLVED, "linear_solver": name}
        found[name], _ = gradients_of(field, y0, FINAL, "symplectic", method, options)
    for one in found.values():
        assert_equal(one, found["dense"], EXACT)


def test_a_field_that_differentiates_itself() -> None:
    class Decay(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rate = nn.Parameter(torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64))

        def forward(self, t: Tensor, y: Tensor) -> Tensor:
            return -self.rate * y**2

        def pull_back(self, t: Tensor, y: Tensor, w: Tensor, sums: Any) -> Tensor:
            total = sums(self.rate)
            if total is not None:
                total.add_(-(w * y**2).sum(0))
            return -2 * self.rate * y * w

    field, y0 = Decay(), start(4, 3).detach().abs().requires_grad_()
    for method in ("sdirk2", "radau3"):
        options = {"num_steps": 3, **SOLVED}
        ours, _ = gradients_of(field, y0, INTERIOR, "symplectic", method, options)
        reference, _ = gradients_of(field, y0, INTERIOR, "backprop", method, options)
        assert_equal(ours, reference, EXACT)


def test_float32_agrees_to_its_rounding() -> None:
    field, y0 = Wave(dtype=torch.float32), start(4, 3, dtype=torch.float32)
    wide_field = Wave()
    wide_field.load_state_dict({k: v.double() for k, v in field.state_dict().items()})
    wide = y0.detach().double().requires_grad_()
    for method in ("kvaerno3", "radau5"):
        options = {"num_steps": 3, "newton_tol": 1e-7}
        ours, _ = gradients_of(field, y0, INTERIOR, "symplectic", method, options)
        reference, _ = gradients_of(wide_field, wide, INTERIOR, "backprop", method, options)
        assert all(g is None or g.dtype == torch.float32 for g in ours)
        assert_equal(ours, reference, 2e-5)


def test_stiff_gradients() -> None:
    """Robertson's: time scales from 1e-4 to 1e3; with respect to the rates, scaled."""
    scales = torch.tensor([0.04, 1e4, 3e7], dtype=torch.float64)
    rates = torch.ones(3, dtype=torch.float64, requires_grad=True)
    y0 = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)

    def func(t: Tensor, y: Tensor) -> Tensor:
        a, b, c = y.unbind()
        k1, k2, k3 = scales * rates
        return torch.stack([k2 * b * c - k1 * a, k1 * a - k2 * b * c - k3 * b**2, k3 * b**2])

    t = torch.tensor([0.0, 0.4], dtype=torch.float64)
    for method in ("kvaerno5", "radau5"):
        solution = solve(
            func, y0, t, method=method, rtol=1e-3, atol=1e-7, options=SOLVED,
            gradient="symplectic",
        )  # fmt: skip
        (ours,) = torch.autograd.grad(solution.ys[-1, 0], rates)
        (expected,) = torch.autograd.grad(oracle(func, y0, solution.steps.grid, method)[0], rates)
        assert_equal([ours], [expected], 1e-9)


@pytest.mark.parametrize("method", ["implicit_euler", "trapezoid", "kvaerno3", "radau5"])
def test_graphs_alive_at_once(method: str) -> None:
    weight = start(3, 3)

    def func(t: Tensor, y: Tensor) -> Tensor:
        return Use.apply(torch.tanh(y @ weight) * torch.cos(t))

    stages = SOLVERS[method].uses
    for gradient, most in (("symplectic", 1), ("aca", stages)):
        Token.alive = Token.most = 0
        options = {"num_steps": 4, "linear_solver": "batched"}
        ys = odeint(func, start(4, 3), torch.tensor([0.0, 0.3, 1.0]), method=method,
                    options=options, gradient=gradient)  # fmt: skip
        assert Token.most == 1
        ys.sum().backward()
        del ys
        assert Token.alive == 0
        # The step's Jacobian is taken while no other graph is held, or beside the step's graphs.
        assert Token.most <= most + (gradient == "aca")


@pytest.mark.parametrize("method", ["kvaerno3", "radau5"])
def test_memory_grows_by_a_state_a_step(method: str) -> None:
    def peak(n: int) -> int:
        field, y0 = Wave(dtype=torch.float32), start(64, 3, dtype=torch.float32)
        with StorageCounter() as counter:
            ys = odeint(field, y0, torch.tensor([0.0, 0.1]), method=method,
                        options={"num_steps": n}, gradient="symplectic")  # fmt: skip
            ys[-1].square().mean().backward()
        return counter.peak

    few, many = peak(4), peak(12)
    assert many - few <= 8 * 64 * 3 * 4


def test_many_coupled_unknowns_take_states_not_matrices() -> None:
    """A Jacobian of 196,608 unknowns would take 288 GiB in float64."""
    n = 196_608
    rate = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)

    def heat(t: Tensor, u: Tensor) -> Tensor:
        return rate * (u.roll(1) + u.roll(-1) - 2 * u)

    y0 = torch.sin(torch.arange(n, dtype=torch.float64))
    with StorageCounter() as counter:
        solution = solve(
            heat, y0, torch.tensor([0.0, 1.0]), method="trapezoid", options={"num_steps": 1},
            gradient="symplectic",
        )  # fmt: skip
        (ours,) = torch.autograd.grad(solution.ys[-1, n // 2], rate)
    assert solution.stats.factorisations == 0
    assert counter.peak < 60 * y0.nbytes
    # Of a wave sin(x), far from the ends, a step multiplies by (1 - z) / (1 + z).
    z = 0.3 * (1 - np.cos(1.0))
    slope = -2 * (1 - np.cos(1.0)) / (1 + z) ** 2 * float(y0[n // 2])
    assert float(ours) == pytest.approx(slope, rel=1e-7)


def test_products_are_counted() -> None:
    solution = solve(
        Wave(), start(4, 3), torch.tensor([0.0, 1.0]), method="radau5", options={"num_steps": 4}
    )
    stats = solution.stats
    assert 0 < stats.jacobians <= stats.newton_iterations
    assert stats.factorisations == 2 * stats.jacobians, "a real eigenvalue and a pair"
    assert stats.linear_products == 0
    solution.ys[-1].sum().backward()
    assert stats.linear_products > 0
    assert stats.vjps == 4 * 3


@pytest.mark.parametrize(
    ("gradient", "message"),
    [
        ("adjoint", "unstable in that direction"),
        (Adjoint(method="radau5"), "unstable in that direction"),
        ("reversible", "method=radau5 has no inverse"),
        (Auto("64MiB"), "grad=auto with method=radau5"),
    ],
)
def test_gradients_that_do_not_go_with_them(gradient: Gradient, message: str) -> None:
    with pytest.raises(IncompatibleError, match=message):
        odeint(Wave(), start(4, 3), torch.tensor([0.0, 1.0]), method="radau5", gradient=gradient)


def test_the_adjoint_method_with_an_explicit_method_backward() -> None:
    t = torch.tensor([0.0, 0.5], dtype=torch.float64)
    field, y0 = Wave(), start(4, 3)
    found = []
    for gradient in (Adjoint(method="dopri5"), "symplectic"):
        ys = odeint(field, y0, t, method="radau5", rtol=1e-8, gradient=gradient)
        found.append(torch.autograd.grad(ys[-1].sum(), y0))
    assert_equal(found[0], found[1], 1e-6)


def test_second_derivatives_and_transforms_are_refused() -> None:
    y0, t = start(4, 3), torch.tensor([0.0, 1.0])
    options = {"num_steps": 2}

    def end(y: Tensor) -> Tensor:
        ys = odeint(Wave(), y, t, method="radau3", options=options, gradient="backprop")
        return ys[-1].sum()

    (first,) = torch.autograd.grad(end(y0), y0, create_graph=True)
    with pytest.raises(DoubleBackwardError):
        first.sum().backward()
    with pytest.raises(IncompatibleError, match=r"inside a transform of torch\.func"):
        torch.func.grad(end)(y0.detach())


def test_an_adjoint_system_that_is_not_solved_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    y0 = start(4, 3)
    ys = odeint(Wave(), y0, torch.tensor([0.0, 1.0]), method="trapezoid", options={"num_steps": 2})
    monkeypatch.setattr(newton, "gmres", lambda apply, b, **_: Solved(b, 0.5, 7))
    with pytest.raises(NewtonError, match=r"after 7 products the residual is 0\.5 .* backward"):
        ys.sum().backward()
