"""Backward passes that can be taken once: a gradient of the gradient gets a clear error."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NoReturn

import torch
from torch import Tensor

from symadj.errors import DoubleBackwardError, IncompatibleError
from symadj.ode.transforms import is_batch

Gradients = tuple[Tensor | None, ...]


def first_order_only(backward: Callable[..., Gradients]) -> Callable[..., Gradients]:
    """Runs a Function's backward without graph and refuses to be differentiated, or vectorised.

    The refusal comes when a second derivative is really asked for, not when `create_graph=True` is
    set for the sake of another part of the graph.
    """

    @functools.wraps(backward)
    def wrapped(ctx: Any, *cotangents: Tensor) -> Gradients:
        if any(map(is_batch, cotangents)):
            raise IncompatibleError(
                "this gradient method pulls back one cotangent at a time, and got a batch of them "
                "(is_grads_batched=True, vectorize=True or torch.func.vmap). Call it once for each "
                'cotangent, or use gradient="backprop".'
            )
        with torch.no_grad():
            gradients = backward(ctx, *cotangents)
        if not torch.is_grad_enabled():
            return gradients
        # It hangs on all that the gradients depend on: autograd visits what leads to the tensors
        # that it is asked about, and nothing else.
        behind = [x for x in (*ctx.saved_tensors, *cotangents) if x.requires_grad]
        return tuple(None if g is None else _Refusal.apply(g, *behind) for g in gradients)

    return wrapped


def fixed(values: Tensor, *behind: Tensor) -> Tensor:
    """Values known without their graph, for a product with something that is zero.

    The derivative of such a product has a factor zero, but not the second one, which is refused.

    Args:
        values: the values.
        behind: tensors with a graph on which they depend.
    """
    return _Fixed.apply(values, *(x for x in behind if x.requires_grad))


class _Refusal(torch.autograd.Function):
    """The identity, whose derivative is an error."""

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, *behind: Tensor) -> Tensor:
        return gradient.view_as(gradient)

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> Gradients:
        _refuse()


class _Fixed(torch.autograd.Function):
    """The identity, whose derivative is an error where its cotangent is not zero."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, *behind: Tensor) -> Tensor:
        ctx.inputs = 1 + len(behind)
        return values.view_as(values)

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> Gradients:
        if bool(cotangents[0].any()):
            _refuse()
        return (None,) * ctx.inputs


def _refuse() -> NoReturn:
    raise DoubleBackwardError(
        "this gradient method computes first derivatives only, and a gradient of its gradient "
        'was asked for. Use gradient="backprop", which keeps the whole graph. (Of the times and '
        "states of events there are first derivatives only, whatever the method.)"
    )
