"""Second derivatives, batches of cotangents and torch.func: right, or refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad, functional

from symadj import DoubleBackwardError, IncompatibleError, odeint
from symadj.grad import GradientMethod
from tests import oracle
from tests.fields import Wave, start
from tests.grad.variants import GENERAL, KEEPING

REPLAYED = [*(name for name in GENERAL if name != "backprop"), *KEEPING]
Gradient = str | GradientMethod
Solve = Callable[[Tensor], Tensor]


def solver(gradient: Gradient, t: Tensor = oracle.TIMES) -> tuple[Wave, Solve]:
    field = Wave(2)
    return field, lambda y0: odeint(field, y0, t, gradient=gradient, **oracle.FIXED)[-1].sin()


def exact(y0: Tensor) -> Tensor:
    return oracle.rk4(Wave(2), y0).sin()


def total(solve: Solve) -> Solve:
    return lambda y0: solve(y0).sum()


def direction(y0: Tensor) -> Tensor:
    return torch.ones_like(y0)


SECOND: dict[str, Callable[[Solve, Tensor], Tensor]] = {
    "hessian": lambda solve, y0: functional.hessian(total(solve), y0),  # type: ignore[dict-item]
    "vhp": lambda solve, y0: functional.vhp(total(solve), y0, direction(y0))[1],
    "hvp": lambda solve, y0: functional.hvp(total(solve), y0, direction(y0))[1],
    "jvp": lambda solve, y0: functional.jvp(solve, y0, direction(y0))[1],
}


@pytest.mark.parametrize("name", SECOND)
def test_torch_autograd_functional(name: str) -> None:
    y0 = start(2, 2).detach()
    reference = SECOND[name](exact, y0)
    torch.testing.assert_close(SECOND[name](solver("backprop")[1], y0), reference)
    for gradient in REPLAYED:
        with pytest.raises(DoubleBackwardError, match='gradient="backprop"'):
            SECOND[name](solver(plain(gradient))[1], y0)


def plain(gradient: object) -> Gradient:
    """The method itself, out of a parameter of pytest's."""
    return gradient.values[0] if hasattr(gradient, "values") else gradient  # type: ignore


@pytest.mark.parametrize("gradient", REPLAYED)
@pytest.mark.parametrize("inputs", ["weight", "y0", "base"])
def test_a_gradient_penalty_with_named_inputs(gradient: Gradient, inputs: str) -> None:
    def penalty(gradient: Gradient) -> tuple[Tensor, Tensor]:
        field, solve = solver(gradient)
        base = start(2, 2)
        y0 = base * 2
        (slope,) = torch.autograd.grad(solve(y0).sum(), y0, create_graph=True)
        return slope.square().sum(), {"weight": field.weight, "y0": y0, "base": base}[inputs]

    loss, asked = penalty("backprop")
    (reference,) = torch.autograd.grad(loss, asked)
    assert reference.norm() > 0
    loss, asked = penalty(gradient)
    with pytest.raises(DoubleBackwardError):
        torch.autograd.grad(loss, asked, retain_graph=True)
    if asked.is_leaf:
        with pytest.raises(DoubleBackwardError):
            loss.backward(inputs=[asked])


@pytest.mark.parametrize("gradient", REPLAYED)
@pytest.mark.parametrize("asked", ["t", "y0", "weight"])
def test_a_penalty_on_the_slope_in_time(gradient: Gradient, asked: str) -> None:
    t, y0 = oracle.TIMES.clone().requires_grad_(), start(2, 2)
    field, solve = solver(gradient, t)
    (slope,) = torch.autograd.grad(solve(y0).sum(), t, create_graph=True)
    inputs = {"t": t, "y0": y0, "weight": field.weight}
    with pytest.raises(DoubleBackwardError):
        torch.autograd.grad(slope[1], inputs[asked])


def test_create_graph_for_the_sake_of_another_term_is_fine() -> None:
    field, solve = solver("symplectic")
    y0 = start(2, 2)
    (slope,) = torch.autograd.grad(solve(y0).sum(), field.weight, create_graph=True)
    (found,) = torch.autograd.grad((field.weight**3).sum() + slope.detach().sum(), field.weight)
    torch.testing.assert_close(found, 3 * field.weight**2)


@pytest.mark.parametrize("gradient", REPLAYED)
def test_a_batch_of_cotangents_is_refused(gradient: Gradient) -> None:
    y0 = start(2, 2)
    y1 = solver(gradient)[1](y0)
    with pytest.raises(IncompatibleError, match="one cotangent at a time"):
        torch.autograd.grad(y1, y0, torch.ones(3, *y1.shape, dtype=y1.dtype), is_grads_batched=True)
    with pytest.raises(IncompatibleError, match="one cotangent at a time"):
        functional.jacobian(solver(gradient)[1], y0.detach(), vectorize=True)


FUNC: dict[str, Callable[[Solve, Tensor], Tensor]] = {
    "grad": lambda solve, y0: torch.func.grad(total(solve))(y0),
    "vjp": lambda solve, y0: torch.func.vjp(solve, y0)[1](direction(y0))[0],
    "jacrev": lambda solve, y0: torch.func.jacrev(solve)(y0),  # type: ignore[dict-item]
    "jvp": lambda solve, y0: torch.func.jvp(solve, (y0,), (direction(y0),))[1],
    "forward mode": lambda solve, y0: dual(solve, y0),
}


def dual(solve: Solve, y0: Tensor) -> Tensor:
    with forward_ad.dual_level():
        made = solve(forward_ad.make_dual(y0, direction(y0)))
        tangent = forward_ad.unpack_dual(made).tangent
    assert tangent is not None
    return tangent


@pytest.mark.parametrize("name", FUNC)
def test_function_transforms(name: str) -> None:
    y0 = start(2, 2).detach()
    reference = FUNC[name](exact, y0)
    torch.testing.assert_close(FUNC[name](solver("backprop")[1], y0), reference)
    for gradient in REPLAYED:
        with pytest.raises(IncompatibleError, match="cannot see into its solve"):
            FUNC[name](solver(plain(gradient))[1], y0)


def test_forward_mode_without_parameters_is_refused_too() -> None:
    with pytest.raises(IncompatibleError, match="forward mode"):
        dual(lambda y0: odeint(lambda t, y: y.sin(), y0, oracle.TIMES, **oracle.FIXED), start(2))


@pytest.mark.parametrize("options", [oracle.FIXED, {"method": "dopri5", "rtol": 1e-3}])
@pytest.mark.parametrize("gradient", [*GENERAL])
def test_vmap_over_y0_is_the_solve_of_the_batch(gradient: str, options: dict[str, Any]) -> None:
    field, y0, other = Wave(2), start(3, 2, 2), start(3, 2, 2)

    def solve(y: Tensor) -> Tensor:
        return odeint(field, y, oracle.TIMES, gradient=gradient, **options)

    expected = solve(y0)
    found = torch.func.vmap(solve)(other)
    torch.testing.assert_close(found, expected.transpose(0, 1), rtol=1e-13, atol=1e-13)
    weights = [field.weight, field.bias]
    wanted = torch.autograd.grad(expected.sin().sum(), [y0, *weights])
    given = torch.autograd.grad(found.sin().sum(), [other, *weights])
    torch.testing.assert_close(given, wanted, rtol=1e-12, atol=1e-12)
    # Over another dimension, with outputs mapped there as well.
    along = torch.func.vmap(solve, in_dims=1, out_dims=2)(other)
    torch.testing.assert_close(along, solve(y0.transpose(0, 1)).transpose(1, 2))


def test_vmap_over_a_part_of_a_tuple() -> None:
    a, b = start(3, 2).detach(), start(2).detach()
    field = lambda t, y: (y[0].sin() * y[1], -y[1])  # noqa: E731

    def solve(a: Tensor, b: Tensor) -> tuple[Tensor, ...]:
        return odeint(field, (a, b), oracle.TIMES, **oracle.FIXED)

    found = torch.func.vmap(solve, in_dims=(0, None))(a, b)
    expected = solve(a, b.expand(3, 2))
    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, theirs.transpose(0, 1))


def test_what_vmap_cannot_do_is_refused() -> None:
    _, solve = solver("symplectic")
    with pytest.raises(IncompatibleError, match="a further transform"):
        torch.func.vmap(torch.func.vmap(solve))(start(3, 2, 2).detach())


@pytest.mark.parametrize("gradient", [name for name in GENERAL if name != "adjoint"])
def test_vmap_over_what_func_captures(gradient: str) -> None:
    rates, y0 = start(3), start(3, 2)

    def decay(rate: Tensor, y: Tensor, gradient: str = "backprop") -> Tensor:
        func = lambda t, y: -rate * y  # noqa: E731
        return odeint(func, y, oracle.TIMES, gradient=gradient, **oracle.FIXED)

    found = torch.func.vmap(lambda rate, y: decay(rate, y, gradient))(rates, y0)
    expected = torch.stack([decay(rate, y) for rate, y in zip(rates, y0, strict=True)])
    torch.testing.assert_close(found, expected)
    wanted = torch.autograd.grad(expected.sin().sum(), [rates, y0])
    given = torch.autograd.grad(found.sin().sum(), [rates, y0])
    torch.testing.assert_close(given, wanted, rtol=1e-12, atol=1e-12)
