"""Layers whose affine map moves with time, and activations, each with its tangent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from symadj.ode.gradients import Sums, add_to, method_beside

Linearised = tuple[Tensor, Tensor, Callable[[Tensor, Tensor, Sums], None]]
"""W(t), b(t) and (cotangent of W, cotangent of b, sums) -> None."""


class TimeAffine(nn.Module):
    """y = W(t) x + b(t), the same map for the whole batch at one time.

    A subclass says what W(t) and b(t) are. Both act on the small weights, once for the values and
    the tangents together; nothing of the batch's size is kept for the backward pass but the layer's
    input.

    Args:
        n_in: entries of x.
        n_out: entries of y.
    """

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        linear = nn.Linear(n_in, n_out)
        self.weight = linear.weight
        self.bias = linear.bias

    def affine(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """W(t) [n_out, n_in] and b(t) [n_out] for a scalar tensor t."""
        raise NotImplementedError

    def linearised(self, t: Tensor) -> Linearised:
        """W(t), b(t), and what adds the parameters' gradients for cotangents of both to their sums.

        By autograd; a subclass that has formulas of its own states them beside its `affine`.
        """
        with torch.enable_grad():
            maps = self.affine(t)

        def pull(of_weight: Tensor, of_bias: Tensor, sums: Sums) -> None:
            wanted = [p for p in self.parameters() if sums(p) is not None]
            if not wanted:
                return
            found = torch.autograd.grad(maps, wanted, (of_weight, of_bias), allow_unused=True)
            for parameter, gradient in zip(wanted, found, strict=True):
                if gradient is not None:
                    add_to(sums, parameter, gradient)

        return maps[0].detach(), maps[1].detach(), pull

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        """y of shape [..., n_out] for x of shape [..., n_in]."""
        weight, bias = self.affine(t)
        return F.linear(x, weight, bias)

    def tangent(self, t: Tensor, x: Tensor, dx: Tensor) -> tuple[Tensor, Tensor]:
        """y and dy = W(t) dx; dx may have leading dimensions that x lacks."""
        weight, bias = self.affine(t)
        return F.linear(x, weight, bias), F.linear(dx, weight)


class Plain(TimeAffine):
    """y = W x + b, whatever the time."""

    def affine(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return self.weight, self.bias

    def linearised(self, t: Tensor) -> Linearised:
        return *self.affine(t), partial(_pull_into, self.weight, self.bias)


class Concat(TimeAffine):
    """y = W x + w_t t + b: the time as one more input (FFJORD's "concat")."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__(n_in, n_out)
        self.drift = _of_time(n_out)

    def affine(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return self.weight, self.bias + self.drift * t

    def linearised(self, t: Tensor) -> Linearised:
        def pull(of_weight: Tensor, of_bias: Tensor, sums: Sums) -> None:
            _pull_into(self.weight, self.bias, of_weight, of_bias, sums)
            add_to(sums, self.drift, of_bias, t)

        return *self.affine(t), pull


class Squash(TimeAffine):
    """y = (W x + b) * sigmoid(w_g t + b_g): the gate alone (FFJORD's "squash").

    The gate multiplies the rows of W and b.
    """

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__(n_in, n_out)
        self.gate_slope = _of_time(n_out)
        self.gate_bias = _of_time(n_out)

    def affine(self, t: Tensor) -> tuple[Tensor, Tensor]:
        gate = self.gate(t)
        return self.weight * gate.unsqueeze(-1), self.bias * gate

    def gate(self, t: Tensor) -> Tensor:
        """sigmoid(w_g t + b_g), [n_out]."""
        return torch.sigmoid(torch.addcmul(self.gate_bias, self.gate_slope, t))


class ConcatSquash(Squash):
    """y = (W x + b) * sigmoid(w_g t + b_g) + w_b t.

    Grathwohl et al. 2019 (FFJORD, arXiv:1810.01367).
    """

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__(n_in, n_out)
        self.drift = _of_time(n_out)

    def affine(self, t: Tensor) -> tuple[Tensor, Tensor]:
        gate = self.gate(t)
        return self.weight * gate.unsqueeze(-1), torch.addcmul(self.drift * t, self.bias, gate)


class Blend(TimeAffine):
    """y = (1 - t) (W x + b) + t (V x + c): from one map at t = 0 to another at t = 1.

    FFJORD's "blend"; at other times the line through the two goes on.
    """

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__(n_in, n_out)
        end = nn.Linear(n_in, n_out)
        self.end_weight = end.weight
        self.end_bias = end.bias

    def affine(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return (
            torch.lerp(self.weight, self.end_weight, t),
            torch.lerp(self.bias, self.end_bias, t),
        )

    def linearised(self, t: Tensor) -> Linearised:
        def pull(of_weight: Tensor, of_bias: Tensor, sums: Sums) -> None:
            add_to(sums, self.weight, of_weight, 1 - t)
            add_to(sums, self.bias, of_bias, 1 - t)
            add_to(sums, self.end_weight, of_weight, t)
            add_to(sums, self.end_bias, of_bias, t)

        return *self.affine(t), pull


class Hyper(TimeAffine):
    """y = W(t) x + b(t), with (W(t), b(t)) = (W, b) + A tanh(u t + v): a small net of the time.

    FFJORD's "hyper", a network from t through 8 hidden units to all weights, whose last bias is
    (W, b). It starts near the plain layer: A is drawn from U(-s, s), s = 1 / (8 sqrt(n_in)).
    """

    UNITS = 8

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__(n_in, n_out)
        self.hidden_slope = _of_time(self.UNITS)
        self.hidden_bias = _of_time(self.UNITS)
        bound = 1 / (self.UNITS * n_in**0.5)
        spread = torch.empty(n_out, n_in + 1, self.UNITS).uniform_(-bound, bound)
        self.spread = nn.Parameter(spread)

    def affine(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return self.moved(self.hidden(t))

    def linearised(self, t: Tensor) -> Linearised:
        hidden = self.hidden(t)

        def pull(of_weight: Tensor, of_bias: Tensor, sums: Sums) -> None:
            of_moved = torch.cat((of_weight, of_bias.unsqueeze(-1)), 1)
            of_hidden = of_moved.flatten() @ self.spread.flatten(0, 1)
            of_time = torch.ops.aten.tanh_backward(of_hidden, hidden)
            _pull_into(self.weight, self.bias, of_weight, of_bias, sums)
            add_to(sums, self.spread, of_moved.unsqueeze(-1), hidden)
            add_to(sums, self.hidden_slope, of_time, t)
            add_to(sums, self.hidden_bias, of_time)

        return *self.moved(hidden), pull

    def moved(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """W(t) and b(t) for the hidden units at t."""
        moved = self.spread @ hidden
        return self.weight + moved[:, :-1], self.bias + moved[:, -1]

    def hidden(self, t: Tensor) -> Tensor:
        """tanh(u t + v), [UNITS]."""
        return torch.tanh(torch.addcmul(self.hidden_bias, self.hidden_slope, t))


def linearised(layer: TimeAffine, t: Tensor) -> Linearised:
    """The layer's own `linearised`, or autograd's where a subclass has another `affine`.

    Hooks and the like were looked for once, in the whole field (see `own_method`).
    """
    own = method_beside(layer, "linearised", "affine")
    return TimeAffine.linearised(layer, t) if own is None else own(t)


def _pull_into(
    weight: Tensor, bias: Tensor, of_weight: Tensor, of_bias: Tensor, sums: Sums
) -> None:
    add_to(sums, weight, of_weight)
    add_to(sums, bias, of_bias)


def _of_time(n_out: int) -> nn.Parameter:
    """A linear layer's weights for the time as its only input: U(-1, 1)."""
    return nn.Parameter(torch.empty(n_out).uniform_(-1, 1))


@dataclass(frozen=True)
class Activation:
    """A scalar function and its tangent.

    Attributes:
        value: y = s(a).
        tangent: (a, da) -> (s(a), s'(a) da); da may have leading dimensions that a lacks.
    """

    value: Callable[[Tensor], Tensor]
    tangent: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


# The kernels of the two backward passes are the tangents' products s'(a) da in one operation, and
# are differentiable themselves; written out, s'(a) would be one more tensor kept in the graph.
def _tanh_tangent(a: Tensor, da: Tensor) -> tuple[Tensor, Tensor]:
    y = torch.tanh(a)
    return y, torch.ops.aten.tanh_backward(da, y)


def _softplus_tangent(a: Tensor, da: Tensor) -> tuple[Tensor, Tensor]:
    return F.softplus(a), torch.ops.aten.softplus_backward(da, a, 1.0, 20.0)


def _relu_tangent(a: Tensor, da: Tensor) -> tuple[Tensor, Tensor]:
    return torch.relu(a), torch.ops.aten.threshold_backward(da, a, 0)


def _elu_tangent(a: Tensor, da: Tensor) -> tuple[Tensor, Tensor]:
    return F.elu(a), torch.ops.aten.elu_backward(da, 1.0, 1.0, 1.0, False, a)


def _swish_tangent(a: Tensor, da: Tensor) -> tuple[Tensor, Tensor]:
    # torch's kernel for this product, silu_backward, has no derivative.
    y, gate = F.silu(a), torch.sigmoid(a)
    return y, (gate + y * (1 - gate)) * da


def _square_tangent(a: Tensor, da: Tensor) -> tuple[Tensor, Tensor]:
    return a.square(), 2 * a * da


def _identity(a: Tensor) -> Tensor:
    return a


def _identity_tangent(a: Tensor, da: Tensor) -> tuple[Tensor, Tensor]:
    return a, da


LAYERS: dict[str, type[TimeAffine]] = {
    "plain": Plain,
    "ignore": Plain,  # FFJORD's name for it
    "concat": Concat,
    "squash": Squash,
    "concatsquash": ConcatSquash,
    "blend": Blend,
    "hyper": Hyper,
}
# FFJORD's own; its swish a sigmoid(beta a) has a trained beta, here beta = 1.
ACTIVATIONS: dict[str, Activation] = {
    "tanh": Activation(torch.tanh, _tanh_tangent),
    "softplus": Activation(F.softplus, _softplus_tangent),
    "relu": Activation(torch.relu, _relu_tangent),
    "elu": Activation(F.elu, _elu_tangent),
    "swish": Activation(F.silu, _swish_tangent),
    "square": Activation(torch.square, _square_tangent),
    "identity": Activation(_identity, _identity_tangent),
}
