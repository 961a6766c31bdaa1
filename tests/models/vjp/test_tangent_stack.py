"""The tangent by hand: the numbers and the derivatives of the same function written out."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from symadj.models.layers import ACTIVATIONS
from symadj.models.mlp import MLP
from symadj.models.vjp.tangent_stack import KERNELS, tangent_stack

DOUBLE = torch.float64


def network(activation: str) -> tuple[MLP, list[Tensor]]:
    torch.manual_seed(0)
    net = MLP(3, [5, 4], activation).to(DOUBLE)
    t, x, dx = torch.tensor(0.3, dtype=DOUBLE), torch.randn(6, 3), torch.randn(6, 3)
    maps = [tensor for layer in net._stack() for tensor in layer.affine(t)]
    inputs = [tensor.detach().to(DOUBLE).requires_grad_() for tensor in (x, dx, *maps)]
    # Weights that reach into softplus's linear part.
    inputs[2].data *= 20
    return net, inputs


@pytest.mark.parametrize("activation", KERNELS)
def test_value_and_gradient_equal_those_written_out(activation: str) -> None:
    net, inputs = network(activation)
    torch.manual_seed(1)
    cotangents = torch.randn(6, 3, dtype=DOUBLE), torch.randn(6, 3, dtype=DOUBLE)
    found = tangent_stack(KERNELS[activation], net._written_out, *inputs)
    expected = net._written_out(*inputs)
    for a, b in zip(
        (*found, *torch.autograd.grad(found, inputs, cotangents)),
        (*expected, *torch.autograd.grad(expected, inputs, cotangents)),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("activation", KERNELS)
def test_derivatives_of_both_orders(activation: str) -> None:
    net, inputs = network(activation)
    inputs[2].data /= 20

    def function(*tensors: Tensor) -> tuple[Tensor, Tensor]:
        return tangent_stack(KERNELS[activation], net._written_out, *tensors)

    assert gradcheck(function, inputs)
    assert gradgradcheck(function, inputs)


def test_only_the_next_layers_inputs_are_kept() -> None:
    net, (x, dx, *maps) = network("tanh")
    sizes: list[int] = []

    def pack(tensor: Tensor) -> Tensor:
        sizes.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        tangent_stack(KERNELS["tanh"], net._written_out, x, dx, *maps)
    inputs = sum(tensor.numel() for tensor in (x, dx, *maps))
    assert sum(sizes) - inputs == 2 * 6 * (5 + 4)


@pytest.mark.parametrize("activation", KERNELS)
def test_without_graph_the_inputs_stay_as_they_are(activation: str) -> None:
    net, inputs = network(activation)
    before = [tensor.detach().clone() for tensor in inputs]
    with torch.no_grad():
        tangent_stack(KERNELS[activation], net._written_out, *inputs)
    assert all(torch.equal(a, b) for a, b in zip(inputs, before, strict=True))


def test_function_transforms_and_autocast_take_the_operations_written_out() -> None:
    net, (x, dx, *_) = network("tanh")
    t = torch.tensor(0.3, dtype=DOUBLE)
    expected = torch.func.jvp(lambda x: net(t, x), (x.detach(),), (dx.detach(),))[1]
    _, moved = torch.func.vmap(lambda x, dx: net.tangent(t, x, dx))(x[:, None], dx[:, None])
    torch.testing.assert_close(moved[:, 0], expected, rtol=1e-13, atol=1e-13)
    net, x, dx, t = net.float(), x.detach().float(), dx.detach().float(), t.float()
    with torch.autocast("cpu", torch.bfloat16):
        f, _ = net.tangent(t, x, dx)
    assert f.dtype == torch.bfloat16
    f.float().sum().backward()


def test_every_kernel_belongs_to_an_activation() -> None:
    assert set(KERNELS) <= set(ACTIVATIONS)
