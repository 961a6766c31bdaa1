"""Complex states and parameters: every exact method equals backpropagation on the frozen grid."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from symadj import odeint, solve
from symadj.grad import Adjoint, GradientMethod
from tests.grad.variants import EXACT_WAYS

T = torch.tensor([0.0, 0.3, 0.77, 1.1], dtype=torch.float64)


class Spin(nn.Module):
    """tanh(W y + b e^{3it}) - |y|^2 y/5 + s i y: not holomorphic, with one real parameter."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(6)
        self.weight = nn.Parameter(
            0.5 * torch.randn(3, 3, generator=generator, dtype=torch.complex128)
        )
        self.bias = nn.Parameter(torch.randn(3, generator=generator, dtype=torch.complex128))
        self.rate = nn.Parameter(torch.tensor(0.7, dtype=torch.float64))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        assert t.dtype == torch.float64
        drive = self.bias * torch.exp(3j * t)
        damping = 0.2 * y * (y * y.conj()).real
        return torch.tanh(y @ self.weight + drive) - damping + 1j * self.rate * y


class SpinPair(Spin):
    """The same of a tuple, coupled through the second part."""

    def forward(self, t: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        y, z = state
        return super().forward(t, y) * torch.cos(z).unsqueeze(-1), 1j * z + y.sum(-1).conj()


def start(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(7)
    return (0.5 * torch.randn(*shape, generator=generator, dtype=torch.complex128)).requires_grad_()


def gradients_of(field, y0, gradient, method, options, tolerance=1e-2):
    """(the gradients of a real loss by y0 and the parameters, the solution)."""
    solution = solve(
        field, y0, T, rtol=tolerance, atol=tolerance, method=method, options=options,
        gradient=gradient,
    )  # fmt: skip
    ys = solution.ys if isinstance(solution.ys, tuple) else (solution.ys,)
    loss = sum(((k + 1) * (y[k].real.sin() + y[k].imag ** 2)).sum() for y in ys for k in range(4))
    assert isinstance(loss, Tensor)
    inputs = [*(y0 if isinstance(y0, tuple) else (y0,)), *field.parameters()]
    return torch.autograd.grad(loss, inputs), solution


def worst(ours, reference) -> float:
    return max(float((a - b).norm() / b.norm()) for a, b in zip(ours, reference, strict=True))


@pytest.mark.parametrize("gradient", EXACT_WAYS)
@pytest.mark.parametrize("method", ["midpoint", "dopri5", "dop853"])
def test_exact_methods_agree(method: str, gradient: str | GradientMethod) -> None:
    field, y0 = Spin(), start(4, 3)
    options = {"num_steps": 4} if method == "midpoint" else None
    ours, solution = gradients_of(field, y0, gradient, method, options)
    frozen = {"grid": solution.steps.grid}
    reference, on_grid = gradients_of(field, y0, "backprop", method, frozen)
    assert torch.equal(solution.ys, on_grid.ys)
    assert worst(ours, reference) < 1e-12


@pytest.mark.parametrize("gradient", EXACT_WAYS)
def test_tuples(gradient: str | GradientMethod) -> None:
    field, y0 = SpinPair(), (start(4, 3), start(4))
    ours, _ = gradients_of(field, y0, gradient, "dopri5", {"num_steps": 3})
    reference, _ = gradients_of(field, y0, "backprop", "dopri5", {"num_steps": 3})
    assert worst(ours, reference) < 1e-12


@pytest.mark.parametrize("gradient", ["backprop", "symplectic"])
def test_gradcheck(gradient: str) -> None:
    field = Spin()

    def outputs(y0: Tensor, weight: Tensor) -> Tensor:
        def func(t: Tensor, y: Tensor) -> Tensor:
            return torch.tanh(y @ weight + field.bias.detach() * t) - 0.2 * y * y.abs() ** 2

        return odeint(func, y0, T, options={"num_steps": 3}, gradient=gradient, params=(weight,))

    inputs = (start(2, 3), field.weight.detach().requires_grad_())
    assert torch.autograd.gradcheck(outputs, inputs, eps=1e-6, atol=1e-8, rtol=1e-6)


@pytest.mark.parametrize("seminorm", [True, False])
def test_the_adjoint_methods_error_falls_with_its_tolerance(seminorm: bool) -> None:
    field, y0 = Spin(), start(4, 3)
    errors = []
    for tolerance in (1e-4, 1e-7, 1e-10):
        gradient = Adjoint(seminorm=seminorm)
        ours, solution = gradients_of(field, y0, gradient, "dopri5", None, tolerance)
        frozen = {"grid": solution.steps.grid}
        reference, _ = gradients_of(field, y0, "backprop", "dopri5", frozen)
        errors.append(worst(ours, reference))
    assert errors[1] < errors[0] / 20
    assert errors[2] < 1e-8


def test_a_complex_solve_is_the_real_one_of_its_parts() -> None:
    """Same steps and values: errors are measured by |.|, entry by entry."""

    def pair(t: Tensor, y: Tensor) -> Tensor:
        return torch.stack([-y[1] * (1 + t), y[0] * (1 + t)])

    y0 = torch.tensor([1.0, 0.0], dtype=torch.float64)
    turning = solve(
        lambda t, y: 1j * (1 + t) * y, torch.complex(*y0).reshape(1), T, rtol=1e-13, atol=1e-6
    )
    parts = solve(pair, y0, T, rtol=1e-13, atol=1e-6 / 2**0.5)
    assert len(turning.steps) == len(parts.steps)
    assert torch.view_as_real(turning.ys).squeeze(1) == pytest.approx(parts.ys, abs=1e-12)
    exact = torch.exp(1j * (T + T**2 / 2))
    assert float((turning.ys.squeeze(1) - exact).abs().max()) < 1e-5


def test_single_precision() -> None:
    weight = Spin().weight.detach().to(torch.complex64)
    y0 = start(4, 3).detach().to(torch.complex64)
    seen = []

    def func(t: Tensor, y: Tensor) -> Tensor:
        seen.append(t.dtype)
        return torch.tanh(y @ weight)

    ys = odeint(func, y0, T, rtol=1e-4, atol=1e-4)
    assert ys.dtype == torch.complex64
    assert set(seen) == {torch.float32}
