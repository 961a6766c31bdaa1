"""The output times of a call: checked, and what moves with them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from symadj.errors import InputError
from symadj.ode.field import Field
from symadj.ode.layout import StateLayout
from symadj.ode.once import fixed


@dataclass
class TimeShift:
    """Makes a solve differentiable with respect to its times.

    y(t_k) moves by f(t_k, y_k) dt_k, and a shift of t_0 acts as one of y0 by -f(t_0, y_0) dt_0.
    Both are added with dt = t - stop_gradient(t) = 0, for every gradient method alike.
    """

    dt: Tensor
    twice: bool
    slope0: Tensor | None = None

    @staticmethod
    def of(t: Tensor, dtype: torch.dtype, *, twice: bool) -> TimeShift | None:
        """Of the times as the caller gave them; None: no gradient is wanted of them.

        Args:
            t: the times.
            dtype: of the state.
            twice: whether the gradient itself may be differentiated.
        """
        if not (t.requires_grad and torch.is_grad_enabled()):
            return None
        return TimeShift((t - t.detach()).to(dtype), twice)

    def start(self, field: Field, times: Sequence[float], y0: Tensor) -> Tensor:
        """The initial state, moving with t_0."""
        self.slope0 = self._slope(field, times[0], y0, y0)
        return y0 - self.slope0 * self._along(y0.dim())[0]

    def outputs(self, field: Field, times: Sequence[float], ys: Tensor) -> Tensor:
        """The outputs, each moving with its time; the first one is y0 whatever t_0 is.

        `times` are the first ones of the caller's, all of them unless an event has ended the solve.
        """
        slopes = [
            self.slope0,
            *(self._slope(field, t, y, ys) for t, y in zip(times[1:], ys[1:], strict=True)),
        ]
        along = self._along(ys.dim() - 1)[: len(times)]
        return ys + along * torch.stack([s for s in slopes if s is not None])

    def _along(self, dims: int) -> Tensor:
        """dt [K] or [K, B] with as many further dimensions as the state has."""
        return self.dt.reshape(*self.dt.shape, *[1] * (dims + 1 - self.dt.dim()))

    def _slope(self, field: Field, t: float, y: Tensor, solved: Tensor) -> Tensor:
        with field.phase("forward"):
            if self.twice:
                return field.traced(t, y)
            return fixed(field.value(t, y), self.dt, solved, *field.params)


def output_times(t: Any, layout: StateLayout) -> tuple[float, ...]:
    """The output times as Python floats.

    Raises:
        InputError: as `odeint`.
    """
    if not isinstance(t, Tensor):
        raise InputError(
            f"t is a {type(t).__name__}; it must be a one-dimensional tensor of times."
        )
    if t.dim() != 1 or t.numel() < 2:
        raise InputError(
            f"t has shape {tuple(t.shape)}; it must be one-dimensional with at least two entries, "
            "the initial time and the times at which the state is wanted."
        )
    times = _checked(t, layout)
    steps = times.diff()
    if not (bool((steps > 0).all()) or bool((steps < 0).all())):
        raise InputError(
            f"t must be strictly increasing or strictly decreasing; given is {_shortened(times)}."
        )
    return tuple(times.tolist())


def event_times(
    t0: Any, t_end: Any, layout: StateLayout, *, reverse_time: bool
) -> tuple[Tensor, tuple[float, float]]:
    """t0 as a tensor of one entry, and the times between which an event is looked for.

    Args:
        t0: the start, a tensor of one entry or a number.
        t_end: the end, likewise; None: there is none.
        layout: of the state.
        reverse_time: whether time goes down from t0.

    Raises:
        InputError: one that is no time, or an end that lies on the wrong side.
    """
    start = _one_time("t0", t0, layout)
    first, sign = float(start.detach()), -1.0 if reverse_time else 1.0
    if t_end is None:
        return start, (first, sign * math.inf)
    last = float(_one_time("t_end", t_end, layout))
    if not sign * (last - first) > 0:
        raise InputError(
            f"t_end={last:g} with t0={first:g} and reverse_time={reverse_time}; it must lie "
            f"{'below' if reverse_time else 'above'} t0."
        )
    return start, (first, last)


def _one_time(name: str, t: Any, layout: StateLayout) -> Tensor:
    if isinstance(t, (int, float)) and not isinstance(t, bool):
        t = torch.tensor(float(t), dtype=torch.float64, device=layout.device)
    if not isinstance(t, Tensor) or t.numel() != 1 or t.is_complex() or t.dtype == torch.bool:
        shape = f" of shape {tuple(t.shape)}" if isinstance(t, Tensor) else ""
        raise InputError(f"{name} is a {type(t).__name__}{shape}; it must be one number.")
    if t.device != layout.device:
        raise InputError(f"{name} is on {t.device} and y0 on {layout.device}; move it there.")
    if not bool(torch.isfinite(t)):
        raise InputError(f"{name}={float(t)}; it must be finite.")
    return t.reshape(1)


def sample_times(t: Any, layout: StateLayout, count: int) -> Tensor:
    """The output times of every sample, [B, K], differentiable with respect to t.

    Args:
        t: [K], for all of them, or [B, K].
        layout: of the state.
        count: B.

    Raises:
        InputError: as `odeint`.
    """
    fits = isinstance(t, Tensor) and t.dim() in (1, 2) and t.shape[-1] >= 2
    if not fits or (t.dim() == 2 and len(t) != count):
        given = f"of shape {tuple(t.shape)}" if isinstance(t, Tensor) else type(t).__name__
        raise InputError(
            f"t is {given}; with batch=independent it must be a tensor [K], K at least 2, of times "
            f"for all samples, or [B, K] with a row for each of the B={count}."
        )
    times = _checked(t, layout)
    rows = times if t.dim() == 2 else times.unsqueeze(0)
    steps = rows.diff()
    monotone = (steps > 0).all(1) | (steps < 0).all(1)
    if not bool(monotone.all()):
        row = int(monotone.logical_not().nonzero()[0])
        raise InputError(
            f"t must be strictly increasing or strictly decreasing for every sample; that of "
            f"sample {row} is {_shortened(rows[row])}."
        )
    return t.expand(count, -1)


def _checked(t: Tensor, layout: StateLayout) -> Tensor:
    """The times as float64, without their graph."""
    if t.is_complex() or t.dtype == torch.bool:
        raise InputError(f"t has dtype {t.dtype}; times must be real numbers.")
    if t.device != layout.device:
        raise InputError(
            f"t is on {t.device} and y0 on {layout.device}; move t with t.to(y0.device)."
        )
    times = t.detach().to(torch.float64)
    if not bool(torch.isfinite(times).all()):
        raise InputError(f"t holds NaN or infinity: {_shortened(times.flatten())}.")
    return times


def _shortened(times: Tensor) -> str:
    values = [f"{x:g}" for x in times.tolist()]
    return "[" + ", ".join(values if len(values) <= 8 else [*values[:5], "...", values[-1]]) + "]"
