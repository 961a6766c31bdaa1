"""The events of a solve as a caller sees them, with the gradients of their times and states."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from symadj.errors import IncompatibleError, InputError
from symadj.ode.events import Events, EventSearch, Found
from symadj.ode.layout import StateLayout
from symadj.ode.once import fixed
from symadj.ode.settings import SolverSettings


@dataclass(frozen=True)
class EventTimes:
    """The M events of a solve, in the order in which they happened.

    With t* a zero of g(t, u(t)), u the continuous extension of the discrete solution on its
    accepted steps, which are frozen, and d the derivative by y0, a parameter or t[0] at a fixed
    time,

        dt* = -(dg + g_y . du) / (g_t + g_y . u'),    dy* = du + u' dt*,

    where u' = du/dt is that of the continuous extension and dg is by parameters of g itself. du is
    the gradient method's. So with an exact method these are the gradients of what was computed, at
    any tolerance. They are first derivatives.

    Attributes:
        t: float64 [M], the times.
        ys: the states there, [M, *y0.shape], or a tuple of such.
        event: int64 [M], which of the events, by its place in the list that was given.
        entry: int64 [M], which entry of its function's (flattened) value.
        ended: whether the last one is terminal and has ended the solve.
    """

    t: Tensor
    ys: Any
    event: Tensor
    entry: Tensor
    ended: bool

    def __len__(self) -> int:
        return len(self.t)


def search_of(
    events: Events | None,
    layout: StateLayout,
    times: tuple[float, ...],
    settings: SolverSettings,
) -> EventSearch | None:
    """The search for the events of a call; None: it has none.

    Raises:
        InputError: something else than events.
        IncompatibleError: `sync`, whose processes have each a part of the state only.
    """
    if events is None:
        return None
    if settings.sync:
        raise IncompatibleError(
            "events with sync=true: each process knows its part of the batch and would find other "
            "events than the others. Leave sync out, or solve the whole batch in every process."
        )
    endless = math.isinf(times[-1]) and not settings.adaptive
    if endless and (settings.step_size is None or settings.step_t or settings.jump_t):
        raise IncompatibleError(
            "fixed steps by num_steps or grid, or with step_t or jump_t, need an end, and the "
            "search for the event has none. Give step_size alone, or (symadj.odeint_event) t_end."
        )
    return EventSearch(events, layout, times)


def divide(search: EventSearch, ys: Tensor) -> tuple[Tensor, EventTimes]:
    """The outputs that the caller asked for, of all that a solve has answered, and the events.

    Raises:
        InputError: an event that is to be differentiated, at which g touches zero only.
    """
    layout, asked = search.layout, set(search.asked)
    wanted = [i for i, t in enumerate(search.times) if t in asked]
    # One node of the graph for all of them, which an index each would not be.
    each = ys.unbind()
    moved = [_moving(search, found, each[search.index(found.t)]) for found in search.found]
    times = [t for t, _ in moved]
    states = [y for _, y in moved]
    at = {"dtype": torch.float64, "device": layout.device}
    events = EventTimes(
        torch.stack(times) if times else torch.empty(0, **at),
        layout.unflatten(torch.stack(states) if states else ys[:0]),
        torch.tensor([found.event for found in search.found], dtype=torch.int64),
        torch.tensor([found.entry for found in search.found], dtype=torch.int64),
        search.ended,
    )
    return ys[wanted], events


def _moving(search: EventSearch, found: Found, y: Tensor) -> tuple[Tensor, Tensor]:
    """The time and the state of an event, given the state at that time; both with their graph."""
    layout = search.layout
    t = torch.tensor(found.t, dtype=torch.float64, device=layout.device)
    if not torch.is_grad_enabled():
        return t, y
    time = t.to(layout.time_dtype)
    g = search.value(found, time, layout.unflatten(y))
    if not g.requires_grad:
        return t, y
    rate = search.rate(found, y)
    if not (bool(torch.isfinite(rate)) and rate != 0):
        raise InputError(
            f"{search.name(found.event)} is zero at t={found.t:.9g}, where its derivative along "
            f"the solution is {float(rate):.3g}: it touches zero there and does not cross it, so "
            "that the time of this event has no derivative. Solve under torch.no_grad(), or give a "
            "function that crosses zero."
        )
    # g - stop_gradient(g) is zero, as is dt.
    dt = (g - g.detach()) * fixed(-1 / rate, g)
    return t + dt.to(t.dtype), y + fixed(found.slope, g, y) * dt.to(time.dtype)
