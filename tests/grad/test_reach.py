"""Where gradients go, and where they are refused instead of silently missing."""

from __future__ import annotations

import gc
import os
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from symadj import (
    CapturedTensorError,
    DoubleBackwardError,
    IncompatibleError,
    InputError,
    odeint,
    odeint_adjoint,
    solve,
)
from symadj.grad import GradientMethod
from tests.devices import DEVICES
from tests.fields import Energy, Pair, Wave, start
from tests.grad.variants import GENERAL, KEEPING, OFFLOADED

ALL = list(GENERAL)
EXACT = [name for name, method in GENERAL.items() if method.exact]
REPLAYED = [name for name in ALL if name != "backprop"]
T = torch.tensor([0.0, 0.4, 1.0], dtype=torch.float64)
TIGHT: dict[str, Any] = {"rtol": 1e-10, "atol": 1e-10}


@pytest.mark.parametrize("gradient", ALL)
def test_a_function_captures_leaf_tensors(gradient: str) -> None:
    weight = start(3, 3)
    y0 = start(4, 3).detach()

    def func(t: Tensor, y: Tensor) -> Tensor:
        return torch.tanh(y @ weight) * torch.cos(t)

    ys = odeint(func, y0, T, gradient=gradient, **TIGHT)
    (ours,) = torch.autograd.grad(ys.sin().sum(), weight)
    ys = odeint(func, y0, T, gradient="backprop", **TIGHT)
    (reference,) = torch.autograd.grad(ys.sin().sum(), weight)
    assert torch.allclose(ours, reference, rtol=1e-7)


def test_a_leaf_that_only_the_end_of_the_solve_uses_is_found() -> None:
    weight = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)

    def func(t: Tensor, y: Tensor) -> Tensor:
        return -y * weight if t > 0.5 else -y

    ys = odeint(func, start(2), T, rtol=1e-6, options={"step_t": [0.5]})
    (slope,) = torch.autograd.grad(ys[-1].sum(), weight)
    assert slope.abs() > 0.01


@pytest.mark.parametrize("gradient", REPLAYED)
def test_a_captured_tensor_with_a_history_is_refused_by_its_shape(gradient: str) -> None:
    hidden = start(3, 3) * 2
    with pytest.raises(CapturedTensorError, match=r"shape \(3, 3\).*params=\(tensor,\)"):
        odeint(lambda t, y: y @ hidden, start(4, 3), T, gradient=gradient)


@pytest.mark.parametrize("gradient", ALL)
def test_named_params_reach_what_they_were_computed_from(gradient: str) -> None:
    base = start(3, 3)
    hidden = base * 2

    def func(t: Tensor, y: Tensor) -> Tensor:
        return torch.tanh(y @ hidden)

    ys = odeint(func, start(4, 3), T, gradient=gradient, params=(hidden,), **TIGHT)
    (ours,) = torch.autograd.grad(ys.sum(), base, retain_graph=True)
    ys = odeint(func, start(4, 3), T, gradient="backprop", **TIGHT)
    (reference,) = torch.autograd.grad(ys.sum(), base)
    assert torch.allclose(ours, reference, rtol=1e-7)


def test_a_leaf_used_both_directly_and_through_params_is_refused() -> None:
    base = start(3, 3)
    hidden = base * 2
    with pytest.raises(CapturedTensorError, match="counted twice"):
        odeint(lambda t, y: y @ hidden + y @ base, start(4, 3), T, params=(hidden,))


@pytest.mark.parametrize("gradient", ALL)
def test_unused_and_frozen_parameters_get_none(gradient: str) -> None:
    field = Wave()
    odeint(field, start(4, 3), T, rtol=1e-4, gradient=gradient)[-1].sum().backward()
    assert field.unused.grad is None
    assert field.frozen.grad is None
    assert field.weight.grad is not None
    assert field.bias.grad is not None


@pytest.mark.parametrize("gradient", ALL)
def test_shared_parameters_are_counted_once_each_use(gradient: str) -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(3, 3, dtype=torch.float64)
            self.second = self.first

        def forward(self, t: Tensor, y: Tensor) -> Tensor:
            return self.second(torch.tanh(self.first(y)))

    torch.manual_seed(0)
    field, y0 = Tied(), start(4, 3)
    inputs = [field.first.weight, field.first.bias]
    ours = torch.autograd.grad(odeint(field, y0, T, gradient=gradient, **TIGHT).sum(), inputs)
    reference = torch.autograd.grad(
        odeint(field, y0, T, gradient="backprop", **TIGHT).sum(), inputs
    )
    for mine, other in zip(ours, reference, strict=True):
        assert torch.allclose(mine, other, rtol=1e-7)


@pytest.mark.parametrize("gradient", ALL)
def test_y0_without_gradient_and_y0_with_a_history(gradient: str) -> None:
    field = Wave()
    odeint(field, start(4, 3).detach(), T, rtol=1e-4, gradient=gradient)[-1].sum().backward()
    assert field.weight.grad is not None
    base = start(4, 3)
    odeint(field, base * 2, T, rtol=1e-4, gradient=gradient)[-1].sum().backward()
    assert base.grad is not None
    assert base.grad.abs().sum() > 0


@pytest.mark.parametrize("gradient", ALL)
def test_nothing_to_differentiate(gradient: str) -> None:
    ys = odeint(lambda t, y: -y, torch.ones(2), T, rtol=1e-4, gradient=gradient)
    assert not ys.requires_grad
    with torch.no_grad():
        assert not odeint(Energy(), start(4, 2), T, gradient=gradient, **TIGHT).requires_grad


@pytest.mark.parametrize("gradient", ALL)
@pytest.mark.parametrize("state", ["tensor", "tuple"])
def test_time_gradients(gradient: str, state: str) -> None:
    """Against central differences of the solution in each time."""
    field = Wave() if state == "tensor" else Pair()
    y0 = start(4, 3).detach() if state == "tensor" else (start(4, 3).detach(), start(4).detach())
    tight: dict[str, Any] = {"rtol": 1e-11, "atol": 1e-11}

    def loss(t: Tensor) -> Tensor:
        ys = odeint(field, y0, t, gradient=gradient, **tight)
        parts = ys if isinstance(ys, tuple) else (ys,)
        terms = [(1 + k) * torch.sin(y[k]).sum() for y in parts for k in range(3)]
        return torch.stack(terms).sum()

    t = T.clone().requires_grad_()
    (ours,) = torch.autograd.grad(loss(t), t)
    for k in range(3):
        shift = torch.zeros(3, dtype=torch.float64)
        shift[k] = 1e-5
        with torch.no_grad():
            slope = (loss(T + shift) - loss(T - shift)) / 2e-5
        assert ours[k] == pytest.approx(float(slope), rel=1e-6, abs=1e-8)


@pytest.mark.parametrize("gradient", [*ALL, *KEEPING, *OFFLOADED])
def test_a_second_backward_gives_the_same(gradient: str | GradientMethod) -> None:
    field, y0 = Wave(), start(4, 3)
    loss = odeint(field, y0, T, rtol=1e-4, gradient=gradient).sin().sum()
    first = torch.autograd.grad(loss, [y0, field.weight], retain_graph=True)
    second = torch.autograd.grad(loss, [y0, field.weight])
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    with pytest.raises(RuntimeError, match="second time"):
        torch.autograd.grad(loss, [y0, field.weight])


@pytest.mark.parametrize("gradient", REPLAYED)
def test_double_backward_is_refused_when_it_is_asked_for(gradient: str) -> None:
    field, y0 = Wave(), start(4, 3)
    loss = odeint(field, y0, T, rtol=1e-4, gradient=gradient).sin().sum()
    (slope,) = torch.autograd.grad(loss, y0, create_graph=True)
    with pytest.raises(DoubleBackwardError, match='gradient="backprop"'):
        slope.square().sum().backward()


def test_double_backward_by_backprop() -> None:
    y0 = start(2)
    t = torch.tensor([0.0, 0.5], dtype=torch.float64, requires_grad=True)

    def slope(y0: Tensor, t: Tensor) -> Tensor:
        def func(t: Tensor, y: Tensor) -> Tensor:
            return torch.sin(y + t)

        return odeint(func, y0, t, gradient="backprop", options={"num_steps": 3})[-1]

    assert torch.autograd.gradgradcheck(lambda y: slope(y, t.detach()), (y0,))


@pytest.mark.parametrize("gradient", [*REPLAYED, *KEEPING])
def test_a_parameter_changed_before_backward_is_noticed(gradient: str | GradientMethod) -> None:
    field, y0 = Wave(), start(4, 3)
    loss = odeint(field, y0, T, rtol=1e-4, gradient=gradient).sum()
    with torch.no_grad():
        field.weight.add_(1.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@pytest.mark.parametrize("gradient", ALL)
def test_torch_func_inside_the_field(gradient: str) -> None:
    weight = start(3, 3)

    def func(t: Tensor, y: Tensor) -> Tensor:
        def one(x: Tensor) -> Tensor:
            return torch.tanh(x @ weight).square().sum()

        slope = torch.func.vmap(torch.func.grad(one))(y)
        trace = torch.func.vmap(
            lambda x: torch.func.jacrev(lambda z: torch.tanh(z @ weight))(x).trace()
        )
        return -slope + 0.1 * trace(y).unsqueeze(-1)

    y0, steps = start(4, 3), {"num_steps": 20}
    ours = torch.autograd.grad(
        odeint(func, y0, T, options=steps, gradient=gradient).sum(), [y0, weight]
    )
    reference = torch.autograd.grad(
        odeint(func, y0, T, options=steps, gradient="backprop").sum(), [y0, weight]
    )
    tolerance = 1e-12 if GENERAL[gradient].exact else 1e-5
    for mine, other in zip(ours, reference, strict=True):
        assert (mine - other).norm() < tolerance * other.norm()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("gradient", ALL)
def test_autocast_holds_in_both_passes(gradient: str, device: str) -> None:
    class Narrow(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.layer = nn.Linear(3, 3)
            self.seen: set[torch.dtype] = set()

        def forward(self, t: Tensor, y: Tensor) -> Tensor:
            k = self.layer(torch.tanh(y))
            self.seen.add(k.dtype)
            return k

    field, t = Narrow().to(device), T.to(device)
    y0 = start(4, 3, dtype=torch.float32).detach().to(device).requires_grad_()
    with torch.autocast(device, dtype=torch.bfloat16):
        field(t[0], y0)  # fills autocast's own cache of cast weights
        ys = odeint(field, y0, t, rtol=1e-2, atol=1e-2, gradient=gradient)
    ys[-1].sum().backward()
    assert field.seen == {torch.bfloat16}
    assert ys.dtype == torch.float32
    assert field.layer.weight.grad is not None
    assert field.layer.weight.grad.abs().sum() > 0


def test_distributed_data_parallel_reduces_the_gradients(tmp_path) -> None:
    if not torch.distributed.is_available():
        pytest.skip("torch was built without distributed")

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.field = Wave()
            del self.field.unused

        def forward(self, y0: Tensor) -> Tensor:
            return odeint(self.field, y0, T, rtol=1e-4)[-1]

    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path}/rendezvous", rank=0, world_size=1
    )
    try:
        model = Model()
        y0 = start(4, 3).detach()
        plain = torch.autograd.grad(model(y0).sum(), model.field.weight)[0]
        nn.parallel.DistributedDataParallel(model)(y0).sum().backward()
        assert model.field.weight.grad is not None
        assert torch.equal(model.field.weight.grad, plain)
        with pytest.raises(IncompatibleError, match="Wrap the model that calls odeint"):
            odeint(nn.parallel.DistributedDataParallel(model.field), y0, T)
    finally:
        torch.distributed.destroy_process_group()


def test_odeint_adjoint_takes_the_names_of_torchdiffeq() -> None:
    field, y0 = Wave(), start(4, 3)
    ys = odeint_adjoint(
        field, y0, T, rtol=1e-8, atol=1e-8, adjoint_rtol=1e-9, adjoint_atol=1e-9,
        adjoint_method="tsit5", adjoint_options={"norm": "seminorm"},
        adjoint_params=tuple(field.parameters()),
    )  # fmt: skip
    (ours,) = torch.autograd.grad(ys.sin().sum(), field.weight)
    ys = odeint(field, y0, T, rtol=1e-8, atol=1e-8, gradient="backprop")
    (reference,) = torch.autograd.grad(ys.sin().sum(), field.weight)
    assert torch.allclose(ours, reference, rtol=1e-6)


def test_odeint_adjoint_refuses_its_options_with_another_gradient() -> None:
    ys = odeint_adjoint(Wave(), start(4, 3), T, rtol=1e-4, gradient="aca")
    assert "Replay" in ys.grad_fn.name()
    with pytest.raises(InputError, match="go with gradient=\"adjoint\"; given is 'aca'"):
        odeint_adjoint(Wave(), start(4, 3), T, gradient="aca", adjoint_rtol=1e-3)


@pytest.mark.parametrize("seminorm", [True, False])
@pytest.mark.parametrize("method", ["heun", "fehlberg2", "bosh3", "dopri5", "tsit5", "dop853"])
def test_adjoint_with_every_adaptive_solver(method: str, seminorm: bool) -> None:
    from symadj.grad import Adjoint

    tolerance = 1e-5 if method in {"heun", "fehlberg2"} else 1e-8
    field, y0 = Wave(), start(4, 3)
    # Landing on the outputs: the adjoint does not see the error of the continuous extension.
    tight: dict[str, Any] = {
        "rtol": tolerance, "atol": tolerance, "method": method, "options": {"step_t": [0.4]},
    }  # fmt: skip
    solution = solve(field, y0, T, gradient=Adjoint(seminorm=seminorm), **tight)
    ours = torch.autograd.grad(solution.ys.sin().sum(), [y0, field.weight, field.bias])
    ys = odeint(field, y0, T, gradient="backprop", **tight)
    reference = torch.autograd.grad(ys.sin().sum(), [y0, field.weight, field.bias])
    for mine, other in zip(ours, reference, strict=True):
        assert (mine - other).norm() / other.norm() < 300 * tolerance


@pytest.mark.parametrize("method", ["euler", "midpoint", "rk4", "dopri5"])
def test_adjoint_with_fixed_steps_converges(method: str) -> None:
    field, y0 = Wave(), start(4, 3)
    errors = []
    for n in (40, 80):
        options = {"num_steps": n}
        grads = [
            torch.autograd.grad(
                odeint(field, y0, T, method=method, options=options, gradient=g).sin().sum(),
                [y0, field.weight],
            )
            for g in ("adjoint", "backprop")
        ]
        errors.append(max(float((a - b).norm()) for a, b in zip(*grads, strict=True)))
    assert errors[1] < 0.7 * errors[0]


@pytest.mark.parametrize("gradient", [*ALL, *KEEPING])
def test_live_tensors_do_not_grow_over_iterations(gradient: str | GradientMethod) -> None:
    field, y0 = Wave(), start(16, 3)
    optimizer = torch.optim.SGD(field.parameters(), lr=1e-3)
    live = []
    for _ in range(20):
        optimizer.zero_grad()
        solution = solve(field, y0, T, rtol=1e-4, gradient=gradient)
        solution.ys.sum().backward()
        optimizer.step()
        del solution
        y0.grad = None
        live.append(sum(o.nbytes for o in gc.get_objects() if issubclass(type(o), Tensor)))
    assert len(set(live[2:])) == 1
