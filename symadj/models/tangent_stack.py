"""Affine maps with activations between them, with their tangent: one node of the graph.

Written out for autograd, a layer's tangent keeps three arrays of the batch's size and takes some
ten kernels to differentiate. By hand it is two arrays, the next layer's inputs, and half as many
kernels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

Pair = tuple[Tensor, Tensor]
Maps = Sequence[Tensor]
"""W_1, b_1, ..., W_L, b_L."""


@dataclass(frozen=True)
class Kernel:
    """The derivatives of an activation y = s(a), dy = s'(a) da by hand.

    Attributes:
        push: (a, da) -> (y, dy), in the memory of a and da.
        pull: (y, dy, v, dv) -> cotangents of (a, da) for those (v, dv) of (y, dy), in the memory of
            v and dv.
    """

    push: Callable[[Tensor, Tensor], Pair]
    pull: Callable[[Tensor, Tensor, Tensor, Tensor], Pair]


def _tanh_push(a: Tensor, da: Tensor) -> Pair:
    y = a.tanh_()
    return y, _times_tanh_slope_(da, y)


def _tanh_pull(y: Tensor, dy: Tensor, v: Tensor, dv: Tensor) -> Pair:
    # s' = 1 - y^2 and s'' da = -2 y s' da = -2 y dy.
    bent = torch.mul(y, dy).mul_(dv)
    return _times_tanh_slope_(v, y).sub_(bent, alpha=2), _times_tanh_slope_(dv, y)


def _times_tanh_slope_(x: Tensor, y: Tensor) -> Tensor:
    return torch.ops.aten.tanh_backward.grad_input(x, y, grad_input=x)


def _softplus_push(a: Tensor, da: Tensor) -> Pair:
    torch.ops.aten.softplus_backward.grad_input(da, a, 1.0, _LINEAR, grad_input=da)
    return torch.ops.aten.softplus.out(a, 1.0, _LINEAR, out=a), da


def _softplus_pull(y: Tensor, dy: Tensor, v: Tensor, dv: Tensor) -> Pair:
    # s' = 1 - q and s'' da = q dy with q = exp(-y); none of it where the function is linear.
    q = torch.neg(y).exp_().masked_fill_(y > _LINEAR, 0)
    bent = torch.mul(dy, dv)
    return v.addcmul_(q, bent.sub_(v)), dv.addcmul_(q, dv, value=-1)


# Beyond it torch's softplus is the identity.
_LINEAR = 20.0

KERNELS = {
    "tanh": Kernel(_tanh_push, _tanh_pull),
    "softplus": Kernel(_softplus_push, _softplus_pull),
}
"""By the names of `symadj.models.layers.ACTIVATIONS`."""


def applies(x: Tensor, dx: Tensor) -> bool:
    """Whether `tangent_stack` can be used: one tangent per point, and plain eager execution."""
    return (
        x.dim() == 2
        and x.shape == dx.shape
        and not torch.is_autocast_enabled(x.device.type)
        and not torch.compiler.is_compiling()
        and not torch._C._are_functorch_transforms_active()
    )


def tangent_stack(kernel: Kernel, written_out: Callable[..., Pair], *tensors: Tensor) -> Pair:
    """A_L s(... s(A_1 x)) with A_i x = W_i x + b_i, and its derivative times dx.

    Args:
        kernel: of s.
        written_out: the same function of the same tensors in operations that autograd knows; a
            derivative of the derivative is taken through it.
        tensors: x [B, n], dx [B, n], W_1, b_1, ..., W_L, b_L.

    Returns:
        Both [B, m].
    """
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
        return _TangentStack.apply(kernel, written_out, *tensors)
    x, dx, *maps = tensors
    return _push(kernel, x, dx, maps, None)


def _push(kernel: Kernel, x: Tensor, dx: Tensor, maps: Maps, kept: list[Tensor] | None) -> Pair:
    """The forward pass; `kept` receives the inputs of every layer but the first."""
    last = len(maps) - 2
    for i in range(0, len(maps), 2):
        weight = maps[i].t()
        a, da = torch.addmm(maps[i + 1], x, weight), torch.mm(dx, weight)
        if i == last:
            return a, da
        x, dx = kernel.push(a, da)
        if kept is not None:
            kept += (x, dx)
    return x, dx


class _TangentStack(torch.autograd.Function):
    """`tangent_stack` with the graph's needs in mind."""

    @staticmethod
    def forward(
        ctx: Any, kernel: Kernel, written_out: Callable[..., Pair], *tensors: Tensor
    ) -> Pair:
        x, dx, *maps = tensors
        kept: list[Tensor] = []
        y, dy = _push(kernel, x, dx, maps, kept)
        ctx.kernel, ctx.written_out, ctx.inputs = kernel, written_out, len(tensors)
        ctx.save_for_backward(*tensors, *kept)
        return y, dy

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        v, dv = cotangents
        tensors, kept = ctx.saved_tensors[: ctx.inputs], ctx.saved_tensors[ctx.inputs :]
        wanted = ctx.needs_input_grad[2:]
        if torch.is_grad_enabled():
            return None, None, *_differentiable(ctx.written_out, tensors, wanted, (v, dv))
        x, dx, *maps = tensors
        inputs = [x, dx, *kept]
        gradients: list[Tensor | None] = [None] * len(tensors)
        for i in reversed(range(0, len(maps), 2)):
            x, dx = inputs[i], inputs[i + 1]
            if wanted[2 + i]:
                gradients[2 + i] = torch.mm(v.t(), x).addmm_(dv.t(), dx)
            if wanted[3 + i]:
                gradients[3 + i] = v.sum(0)
            if i > 0:
                v, dv = torch.mm(v, maps[i]), torch.mm(dv, maps[i])
                v, dv = ctx.kernel.pull(x, dx, v, dv)
        if wanted[0]:
            gradients[0] = torch.mm(v, maps[0])
        if wanted[1]:
            gradients[1] = torch.mm(dv, maps[0])
        return None, None, *gradients


def _differentiable(
    written_out: Callable[..., Pair],
    tensors: Sequence[Tensor],
    wanted: Sequence[bool],
    cotangents: Pair,
) -> list[Tensor | None]:
    """The gradients with a graph of their own."""
    asked = [tensor for tensor, needed in zip(tensors, wanted, strict=True) if needed]
    found = iter(
        torch.autograd.grad(
            written_out(*tensors), asked, cotangents, create_graph=True, allow_unused=True
        )
    )
    return [next(found) if needed else None for needed in wanted]
