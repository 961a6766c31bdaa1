"""Whether a solve, or its backward pass, stands inside a function transform of torch."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar, cast

import torch
from torch import Tensor
from torch._C import _functorch  # pyright: ignore[reportAttributeAccessIssue]
from torch.autograd.forward_ad import unpack_dual

from symadj.errors import IncompatibleError
from symadj.ode.layout import State

P = ParamSpec("P")
R = TypeVar("R")


def beside_the_compiler(solve: Callable[P, R]) -> Callable[P, R]:
    """Inside a model under torch.compile, keeps the compiler out of a function that solves.

    It would make constants or symbols of step sizes, which are plain numbers and new ones at every
    call; inductor (torch 2.13) mistakes such symbols for one another. A field that is compiled by
    itself runs compiled here too.
    """

    @functools.wraps(solve)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        if torch.compiler.is_compiling():
            return cast(Callable[P, R], torch.compiler.disable(solve))(*args, **kwargs)
        return solve(*args, **kwargs)

    return wrapped


def is_batch(tensor: Tensor) -> bool:
    """Whether the tensor stands for a batch of tensors (vmap, is_grads_batched)."""
    return _functorch.is_batchedtensor(tensor) or _functorch.is_legacy_batchedtensor(tensor)


def mapped(tensor: object) -> bool:
    """Whether this is a tensor that stands for a batch because of torch.func.vmap."""
    return isinstance(tensor, Tensor) and _functorch.is_batchedtensor(tensor)


def refuse_vmap(y0: State) -> None:
    """Refuses a state that stands for a batch of states.

    Raises:
        IncompatibleError: it does.
    """
    if any(map(is_batch, (y0,) if isinstance(y0, Tensor) else y0)):
        raise IncompatibleError(
            "odeint inside torch.func.vmap over y0, where a step could not have one size for all. "
            "Give odeint the whole batch as one state: func(t, y) with y of shape [batch, ...]."
        )


def inside_transform(y0: Tensor) -> bool:
    """Whether this is inside torch.func.grad, vjp, jacrev and the like, or y0 a dual tensor."""
    inside = _functorch.peek_interpreter_stack() is not None
    return inside or unpack_dual(y0).tangent is not None


def refuse_transforms(name: str, y0: Tensor) -> None:
    """Refuses a solve inside torch.func.grad, vjp, jacrev and the like, or of a dual tensor.

    Args:
        name: of the gradient method.
        y0: the initial state.

    Raises:
        IncompatibleError: it is inside one.
    """
    if inside_transform(y0):
        raise IncompatibleError(
            f"gradient method {name} inside a transform of torch.func (grad, vjp, jacrev, jvp, "
            "...) or in forward mode, which cannot see into its solve. Use "
            'gradient="backprop" there, or torch.autograd.grad. Inside func all transforms are '
            "fine."
        )
