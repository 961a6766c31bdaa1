"""Backward passes that can be taken once: a gradient of the gradient gets a clear error."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from symadj.errors import DoubleBackwardError

Gradients = tuple[Tensor | None, ...]


def first_order_only(backward: Callable[..., Gradients]) -> Callable[..., Gradients]:
    """Runs a Function's backward without graph and refuses to be differentiated.

    The refusal comes when a second derivative is really asked for, not when `create_graph=True` is
    set for the sake of another part of the graph.
    """

    @functools.wraps(backward)
    def wrapped(ctx: Any, *cotangents: Tensor) -> Gradients:
        with torch.no_grad():
            gradients = backward(ctx, *cotangents)
        if not torch.is_grad_enabled():
            return gradients
        anchor = torch.zeros((), requires_grad=True)
        return tuple(None if g is None else _Refusal.apply(g, anchor) for g in gradients)

    return wrapped


class _Refusal(torch.autograd.Function):
    """The identity, whose derivative is an error."""

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, anchor: Tensor) -> Tensor:
        return gradient.view_as(gradient)

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> Gradients:
        raise DoubleBackwardError(
            "this gradient method computes first derivatives only, and a gradient of its gradient "
            'was asked for. Use gradient="backprop", which keeps the whole graph.'
        )
