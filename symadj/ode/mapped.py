"""A solve inside torch.func.vmap over y0: all the states that y0 stands for are solved as one."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch._C import _functorch  # pyright: ignore[reportAttributeAccessIssue]
from torch._functorch.pyfunctorch import temporarily_clear_interpreter_stack

from symadj.errors import IncompatibleError
from symadj.ode.layout import State
from symadj.ode.transforms import mapped
from symadj.ode.user_function import Func


def solve_mapped(func: Func, y0: State, solve: Callable[[Func, State], State]) -> State:
    """The outputs of a mapped state, mapped likewise.

    The states are one state of B rows, so that every step has one size for all of them and the
    error is measured over all; func is mapped over the rows, and over those of what it captures
    where that is mapped too. Gradients flow as without vmap.

    Args:
        func: of the solve, for one of the states.
        y0: the state, a tensor or tuple of tensors of which some stand for a batch.
        solve: gives the outputs of a function and a state.

    Raises:
        IncompatibleError: inside another transform besides one vmap.
    """
    parts = (y0,) if isinstance(y0, Tensor) else y0
    first = next(filter(mapped, parts))
    level, size = _functorch.maybe_get_level(first), _rows(first).shape[0]
    bare = isinstance(y0, Tensor)
    with temporarily_clear_interpreter_stack() as stack:
        if len(stack) > 1:
            raise IncompatibleError(
                "odeint inside torch.func.vmap and a further transform. One vmap over y0 is "
                "possible; for derivatives use torch.autograd.grad outside of it."
            )
        rows = tuple(_rows(p) if mapped(p) else p.expand(size, *p.shape) for p in parts)
        ys = solve(_over_rows(func, bare), rows[0] if bare else rows)
    outputs = [_functorch._add_batch_dim(y, 1, level) for y in ((ys,) if bare else ys)]
    return outputs[0] if bare else tuple(outputs)


def _rows(part: Tensor) -> Tensor:
    """The batch that a mapped tensor stands for, [B, ...]."""
    return _functorch.get_unwrapped(part).movedim(_functorch.maybe_get_bdim(part), 0)


def _over_rows(func: Func, bare: bool) -> Func:
    """func(t, y) for y of B rows."""
    each = torch.func.vmap(func, in_dims=(None, 0))

    def over_rows(t: Tensor, y: State) -> State:
        k = each(t, y)
        return k if bare else tuple(k)

    return over_rows
