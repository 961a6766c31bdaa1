"""Energies as networks, and their gradients inside a vector field."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from symadj.errors import InputError
from symadj.models.vjp.row_blocks import product, row_blocks, rows_of, shares_of
from symadj.models.vjp.tangent_stack import KERNELS, plain, pull_tangent_stack
from symadj.ode.gradients import Sums
from symadj.ranges import require


def orthogonal_linear(n_in: int, n_out: int, bias: bool = True) -> nn.Linear:
    """A linear layer with orthogonal weights and zero biases."""
    layer = nn.Linear(n_in, n_out, bias)
    nn.init.orthogonal_(layer.weight)
    if bias:
        nn.init.zeros_(layer.bias)
    return layer


def orthogonal_mlp(n_in: int, hidden: Sequence[int], n_out: int, last_bias: bool) -> nn.Sequential:
    """Linear layers with tanh between them, orthogonal weights, zero biases.

    Raises:
        InputError: no hidden layer, or a width below 1.
    """
    widths = (n_in, *hidden)
    require("model", hidden=list(hidden))
    if not hidden:
        raise InputError("hidden=[]; at least one hidden layer is needed.")
    layers: list[nn.Module] = []
    for i, o in pairwise(widths):
        layers += [orthogonal_linear(i, o), nn.Tanh()]
    return nn.Sequential(*layers, orthogonal_linear(widths[-1], n_out, last_bias))


class EnergyMLP(nn.Module):
    """e(x) = w . tanh(W_L ... tanh(W_1 x + b_1) ... + b_L), a scalar for every x [..., n_in].

    Args:
        n_in: entries of x.
        hidden: widths of the hidden layers.

    Raises:
        InputError: no hidden layer, or a width below 1.
    """

    def __init__(self, n_in: int, hidden: Sequence[int] = (200, 200)) -> None:
        super().__init__()
        self.net = orthogonal_mlp(n_in, hidden, 1, last_bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """e of every x, without the last dimension."""
        return self.net(x).squeeze(-1)

    def gradient(self, x: Tensor) -> Tensor:
        """de/dx, of x's shape, by a reverse pass in differentiable operations.

        A gradient of it needs one level of autograd, where `torch.autograd.grad` inside a field
        needs two, and there is no graph of e.
        """
        *hidden, last = self._linear()
        if not torch.is_grad_enabled() and plain(x):
            return self._gradient_in_blocks(x)
        outputs = []
        for layer in hidden:
            x = torch.tanh(layer(x))
            outputs.append(x)
        g = last.weight.squeeze(0).expand_as(x)
        for layer, y in zip(reversed(hidden), reversed(outputs), strict=True):
            # s'(a) g in one operation that is differentiable itself; written out, 1 - y^2 would be
            # one more tensor kept in the graph.
            g = F.linear(torch.ops.aten.tanh_backward(g, y), layer.weight.T)
        return g

    def _gradient_in_blocks(self, x: Tensor) -> Tensor:
        """`gradient` without graph: the same operations in place, block of rows by block."""
        *hidden, last = self._linear()
        slope = last.weight.squeeze(0)
        parts = []
        rows, maps = x.flatten(0, -2), self._maps()
        for (y,) in row_blocks(shares_of(rows, maps), maps, rows):
            outputs = []
            for layer in hidden:
                y = product(y, layer.weight.t(), layer.bias).tanh_()
                outputs.append(y)
            g = slope.expand_as(y)
            for layer in reversed(hidden):
                y = outputs.pop()
                torch.ops.aten.tanh_backward.grad_input(g, y, grad_input=y)
                g = product(y, layer.weight)
            parts.append(g)
        return rows_of(parts).view(x.shape)

    def pull_gradient(self, x: Tensor, cotangent: Tensor, sums: Sums) -> Tensor | None:
        """The vector-Jacobian product of `gradient`: the Hessian of e at every x times c.

        c . de/dx is the tangent of e in the direction c, so its derivatives are those of the
        tangent's forward pass.

        Args:
            x: [..., n_in].
            cotangent: c, of x's shape.
            sums: the running sums of the parameters' gradients.

        Returns:
            The cotangent of x; None where there is no plain eager execution.
        """
        if not plain(x):
            return None
        maps = self._maps()
        rows, directions = x.flatten(0, -2), cotangent.flatten(0, -2)
        of_value, of_tangent = rows.new_zeros(1, 1), rows.new_ones(1, 1)
        of_maps = [None if m is None else sums(m) for m in maps]
        of_x = pull_tangent_stack(
            KERNELS["tanh"],
            rows,
            directions,
            maps,
            (of_value.expand(len(rows), 1), of_tangent.expand(len(rows), 1)),
            of_maps,
        )
        return of_x.view(x.shape)

    def _linear(self) -> list[nn.Linear]:
        return [m for m in self.net if isinstance(m, nn.Linear)]

    def _maps(self) -> list[Tensor | None]:
        """W_1, b_1, ..., w, None."""
        return [tensor for layer in self._linear() for tensor in (layer.weight, layer.bias)]


def energy_gradient(energy: nn.Module, x: Tensor) -> Tensor:
    """d/dx of the sum of energy(x), by `energy.gradient` where there is one, else by autograd.

    Args:
        energy: maps x to one scalar or to one for every state.
        x: states.
    """
    own = getattr(energy, "gradient", None)
    if own is not None:
        return cast("Callable[[Tensor], Tensor]", own)(x)
    wanted = torch.is_grad_enabled()
    with torch.enable_grad():
        leaf = x if x.requires_grad else x.detach().requires_grad_()
        total = energy(leaf).sum()
        (g,) = torch.autograd.grad(total, leaf, create_graph=wanted, materialize_grads=True)
    return g
