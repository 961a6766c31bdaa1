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

from symadj.models.vjp.row_blocks import (
    Maps,
    ShareSums,
    add_product,
    add_rows,
    product,
    row_blocks,
    rows_of,
    shares_of,
)

Pair = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Kernel:
    """The derivatives of an activation y = s(a), dy = s'(a) da by hand.

    Attributes:
        push: (a, da) -> (y, dy), in the memory of a and da.
        pull: (y, dy, v, dv) -> cotangents of (a, da) for those (v, dv) of (y, dy), in the memory of
            v and dv.
    """

    push: Callable[[Tensor, Tensor], object]
    pull: Callable[[Tensor, Tensor, Tensor, Tensor], object]


def _tanh_push(a: Tensor, da: Tensor) -> None:
    _times_tanh_slope_(da, a.tanh_())


def _tanh_pull(y: Tensor, dy: Tensor, v: Tensor, dv: Tensor) -> None:
    # s' = 1 - y^2 and s'' da = -2 y s' da = -2 y dy, so that of a: v - y (y v + 2 dy dv).
    v.addcmul_(y, torch.mul(y, v).addcmul_(dy, dv, value=2), value=-1)
    _times_tanh_slope_(dv, y)


def _times_tanh_slope_(x: Tensor, y: Tensor) -> Tensor:
    return torch.ops.aten.tanh_backward.grad_input(x, y, grad_input=x)


def _softplus_push(a: Tensor, da: Tensor) -> None:
    torch.ops.aten.softplus_backward.grad_input(da, a, 1.0, _LINEAR, grad_input=da)
    torch.ops.aten.softplus.out(a, 1.0, _LINEAR, out=a)


def _softplus_pull(y: Tensor, dy: Tensor, v: Tensor, dv: Tensor) -> None:
    # s' = 1 - q and s'' da = q dy with q = exp(-y).
    q = torch.neg(y).exp_()
    if y.dtype == torch.float64:
        # None of it where the function is linear; a narrower type does not see a q of 2e-9.
        q.masked_fill_(y > _LINEAR, 0)
    v.addcmul_(q, torch.mul(dy, dv).sub_(v))
    dv.addcmul_(q, dv, value=-1)


# Beyond it torch's softplus is the identity.
_LINEAR = 20.0

KERNELS = {
    "tanh": Kernel(_tanh_push, _tanh_pull),
    "softplus": Kernel(_softplus_push, _softplus_pull),
}
"""By the names of `symadj.models.layers.ACTIVATIONS`."""


def applies(x: Tensor, dx: Tensor) -> bool:
    """Whether `tangent_stack` can be used: one tangent per point, and plain eager execution."""
    return x.dim() == 2 and x.shape == dx.shape and plain(x)


def plain(x: Tensor) -> bool:
    """Whether operations are carried out as they are written, in place and in x's dtype."""
    return (
        not torch.is_autocast_enabled(x.device.type)
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
    shares = shares_of(x, maps)
    ends = [_push(kernel, x_, dx_, maps, None) for x_, dx_ in row_blocks(shares, maps, x, dx)]
    return rows_of([y for y, _ in ends]), rows_of([dy for _, dy in ends])


def pull_tangent_stack(
    kernel: Kernel,
    x: Tensor,
    dx: Tensor,
    maps: Maps,
    cotangents: Pair,
    sums: Sequence[Tensor | None],
) -> Tensor:
    """The vector-Jacobian product of `tangent_stack`, without its value.

    A block of rows is carried forward and pulled back before the next one begins, so that only its
    activations are held.

    Args:
        kernel: of s.
        x: [B, n].
        dx: [B, n].
        maps: W_1, b_1, ..., W_L, b_L.
        cotangents: of the value and of the tangent, [B, m] each.
        sums: to which the cotangents of `maps` are added in place.

    Returns:
        The cotangent of x.
    """
    shares = shares_of(x, maps)
    own = ShareSums(shares, sums)
    parts = []
    for x_, dx_, v, dv in row_blocks(shares, maps, x, dx, *cotangents):
        inputs = [x_, dx_]
        _push(kernel, x_, dx_, maps[:-2], inputs)
        v, _ = _pull(kernel, inputs, maps, v, dv, own.of(v))
        parts.append(product(v, _there(maps[0])))
    own.close()
    return rows_of(parts)


def _push(kernel: Kernel, x: Tensor, dx: Tensor, maps: Maps, kept: list[Tensor] | None) -> Pair:
    """The forward pass; where `kept` is given, every layer ends with an activation.

    `kept` receives their outputs, the next layers' inputs.
    """
    last = len(maps) - 2 if kept is None else len(maps)
    for i in range(0, len(maps), 2):
        weight = _there(maps[i]).t()
        x, dx = product(x, weight, maps[i + 1]), product(dx, weight)
        if i != last:
            kernel.push(x, dx)
            if kept is not None:
                kept += (x, dx)
    return x, dx


def _pull(
    kernel: Kernel,
    inputs: Sequence[Tensor],
    maps: Maps,
    v: Tensor,
    dv: Tensor,
    sums: Sequence[Tensor | None],
) -> Pair:
    """The cotangents of the first map's output and tangent; those of the maps join `sums`."""
    for i in reversed(range(0, len(maps), 2)):
        x, dx = inputs[i], inputs[i + 1]
        of_weight, of_bias = sums[i], sums[i + 1]
        if of_weight is not None:
            add_product(of_weight, v, x)
            add_product(of_weight, dv, dx)
        if of_bias is not None:
            add_rows(of_bias, v)
        if i > 0:
            weight = _there(maps[i])
            v, dv = product(v, weight), product(dv, weight)
            kernel.pull(x, dx, v, dv)
    return v, dv


class _TangentStack(torch.autograd.Function):
    """`tangent_stack` with the graph's needs in mind."""

    @staticmethod
    def forward(
        ctx: Any, kernel: Kernel, written_out: Callable[..., Pair], *tensors: Tensor
    ) -> Pair:
        x, dx, *maps = tensors
        kept: list[Tensor] = []
        y, dy = _push(kernel, x, dx, maps[:-2], kept)
        ctx.kernel, ctx.written_out, ctx.inputs = kernel, written_out, len(tensors)
        ctx.save_for_backward(*tensors, *kept)
        return _push(kernel, y, dy, maps[-2:], None)

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        tensors, kept = ctx.saved_tensors[: ctx.inputs], ctx.saved_tensors[ctx.inputs :]
        wanted = ctx.needs_input_grad[2:]
        if torch.is_grad_enabled():
            return None, None, *_differentiable(ctx.written_out, tensors, wanted, cotangents)
        x, dx, *maps = tensors
        sums = [
            torch.zeros_like(m) if needed else None
            for m, needed in zip(maps, wanted[2:], strict=True)
        ]
        v, dv = cotangents
        v, dv = _pull(ctx.kernel, [x, dx, *kept], maps, v, dv, sums)
        of_x = torch.mm(v, maps[0]) if wanted[0] else None
        of_dx = torch.mm(dv, maps[0]) if wanted[1] else None
        return None, None, of_x, of_dx, *sums


def _there(weight: Tensor | None) -> Tensor:
    assert weight is not None, "a map without W"
    return weight


def _differentiable(
    written_out: Callable[..., Pair],
    tensors: Sequence[Tensor],
    wanted: Sequence[bool],
    cotangents: Sequence[Tensor],
) -> list[Tensor | None]:
    """The gradients with a graph of their own."""
    asked = [tensor for tensor, needed in zip(tensors, wanted, strict=True) if needed]
    found = iter(
        torch.autograd.grad(
            written_out(*tensors), asked, cotangents, create_graph=True, allow_unused=True
        )
    )
    return [next(found) if needed else None for needed in wanted]
