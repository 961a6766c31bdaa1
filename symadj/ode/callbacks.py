"""Methods of the user's module that are called as a solve steps, under torchdiffeq's names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from symadj.ode.layout import StateLayout
from symadj.warn import warn

_EVENTS = ("step", "accept_step", "reject_step")


class Callbacks:
    """A function's methods callback_step, callback_accept_step, callback_reject_step, if any.

    Each is called as callback(t0, y0, dt): the time and the state at which a step begins, and its
    length, a positive number; `step` before the step is attempted, the other two once it is judged.
    Those of the backward solve of gradient="adjoint" have the suffix "_adjoint"; of its pair (y,
    lambda) they are given y.

    Args:
        func: the user's function or module.
        layout: of the state.
        adjoint: whether they are those of the backward solve.
    """

    def __init__(
        self, func: Callable[..., Any], layout: StateLayout, *, adjoint: bool = False
    ) -> None:
        self.layout = layout
        self.adjoint = adjoint
        suffix = "_adjoint" if adjoint else ""
        self.step, self.accept, self.reject = (
            getattr(func, f"callback_{event}{suffix}", None) for event in _EVENTS
        )

    def call(self, callback: Callable[..., Any] | None, t0: float, y0: Tensor, t1: float) -> None:
        """Calls it for the step from (t0, y0) to t1, if it is there."""
        if callback is not None:
            kind: dict[str, Any] = {"dtype": torch.float64, "device": self.layout.device}
            t, dt = torch.tensor(t0, **kind), torch.tensor(abs(t1 - t0), **kind)
            callback(t, self.layout.unflatten(y0[0] if self.adjoint else y0), dt)


def warn_of_silent_callbacks(
    func: Callable[..., Any], *, adaptive: bool | None, adjoint: bool | None
) -> None:
    """Warns of callbacks that a solve would not call.

    Args:
        func: the user's function or module.
        adaptive: whether steps are judged; None: there are none of the whole state.
        adjoint: the same of the backward solve; None: there is none.
    """
    judged = {"": adaptive, "_adjoint": adjoint}
    silent = [
        f"callback_{event}{suffix}"
        for suffix, adapts in judged.items()
        for event in _EVENTS
        if (adapts is None or not (adapts or event == "step"))
        and hasattr(func, f"callback_{event}{suffix}")
    ]
    if silent:
        warn(
            f"func has {', '.join(silent)}, which will not be called: fixed steps are neither "
            'accepted nor rejected, batch="independent" takes no step of the whole state, and only '
            'gradient="adjoint" solves in its backward pass.'
        )
