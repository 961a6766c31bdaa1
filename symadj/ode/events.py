"""Events: times at which a function of the time and the state is zero, found as a solve steps."""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from symadj.errors import InputError, NonFiniteError, suggest
from symadj.ode.control import Progress
from symadj.ode.layout import State, StateLayout
from symadj.ode.methods import Attempt, Evaluate, StepMethod

DIRECTIONS = {"rising": 1, "falling": -1, "both": 0}
"""The sign of dg/dt at the zeros that count, in the direction of the solve; 0: either."""


@dataclass(frozen=True)
class Event:
    """A zero of g(t, y).

    Attributes:
        function: g(t, y), of the time, a scalar tensor, and the state in the structure of y0. It
            returns a real floating point tensor of one entry, or of several, each of which is
            watched for its own zeros. It may be a module, whose parameters get gradients.
        terminal: whether the solve ends there.
        direction: which zeros count: "rising", where g goes from below 0 to above as the solve
            goes on, "falling", the other way, or "both".

    Raises:
        InputError: a value that none of these can have.
    """

    function: Callable[..., Any]
    terminal: bool = True
    direction: str = "both"

    def __post_init__(self) -> None:
        if not callable(self.function):
            raise InputError(
                f"an event is a {type(self.function).__name__}; it must be a function of (t, y), "
                "or symadj.Event(function, terminal=..., direction=...)."
            )
        if not isinstance(self.terminal, bool):
            raise InputError(f"terminal={self.terminal!r}; it must be True or False.")
        if self.direction not in DIRECTIONS:
            raise InputError(
                f"unknown direction={self.direction!r}.{suggest(self.direction, DIRECTIONS)}"
            )

    def value(self, t: Tensor, y: State, name: str) -> Tensor:
        """g, as a vector.

        Args:
            t: the time.
            y: the state.
            name: of the event, for messages.

        Raises:
            InputError: it is no real floating point tensor, or has no entry.
        """
        g = self.function(t, y)
        if not isinstance(g, Tensor):
            given = f"a {type(g).__name__}"
        elif not g.is_floating_point() or not g.numel():
            given = f"a tensor of dtype {g.dtype} and shape {tuple(g.shape)}"
        else:
            return g.reshape(-1)
        raise InputError(
            f"{name} returned {given}; it must return a real floating point tensor of one entry, "
            "or of several, each of which is watched for its zeros."
        )


Events = Event | Callable[..., Any] | Sequence[Event | Callable[..., Any]]
"""Of a call: an event or several; a bare function ends the solve at each of its zeros."""


@dataclass(frozen=True)
class Found:
    """A zero.

    Attributes:
        event: which event, by its place among them.
        entry: which entry of its value, in the order of the flattened one.
        t: the time.
        slope: du/dt there, of the continuous extension u in which it was found.
    """

    event: int
    entry: int
    t: float
    slope: Tensor


class EventSearch:
    """Finds the events of one solve, step by step, and makes output times of them.

    After every accepted step each entry of every event function is evaluated at its end. One whose
    sign has turned has a zero inside the step, which is found on the step's continuous extension to
    the resolution of the time. The event's time is the first one at which the entry has its new
    sign or is zero. Two zeros of one entry in one step go unseen; a `max_step` is the cure.

    At the start of a solve a zero is no event: the entry is taken to have the sign that it has just
    afterwards, that of its derivative along the solution.

    The times of the events join the output times; from there on they are outputs like others, which
    every gradient method differentiates at their time. A terminal event is the last one of them.

    Args:
        events: the events.
        layout: of the state.
        times: at which the caller wants outputs; the last may be infinite.

    Attributes:
        times: those that were reached, and those of the events.
        found: the events, in their order in time.
    """

    def __init__(self, events: Events, layout: StateLayout, times: Sequence[float]) -> None:
        if isinstance(events, Event) or callable(events):
            events = [events]
        if not isinstance(events, Sequence) or not events:
            raise InputError(
                f"events={events!r}; it must be a function of (t, y), a symadj.Event, or a "
                "non-empty list of such."
            )
        self.events = [e if isinstance(e, Event) else Event(e) for e in events]
        self.layout = layout
        self.asked = tuple(times)
        self.sign = math.copysign(1.0, times[-1] - times[0])
        self.begin()

    def begin(self) -> list[float]:
        """Forgets what was found; the list of output times that grows from here on."""
        self.times = list(self.asked)
        self.found: list[Found] = []
        self._last: Tensor | None = None
        self._owners: list[tuple[int, int]] = []
        self._ways = torch.empty(0)
        return self.times

    @property
    def ended(self) -> bool:
        """Whether the last event found was a terminal one."""
        return bool(self.found) and self.events[self.found[-1].event].terminal

    def name(self, event: int) -> str:
        """Of an event, for messages."""
        return "the event function" if len(self.events) == 1 else f"event function {event}"

    def look(
        self, evaluate: Evaluate, solver: StepMethod, attempt: Attempt, progress: Progress
    ) -> None:
        """Adds the events of an accepted step to `found` and their times to `times`.

        Raises:
            InputError: an event function's value that cannot be used, or one that is zero at the
                start of the solve along with its derivative.
            NonFiniteError: it is infinite or NaN.
        """
        start, end = attempt.t0, attempt.t1
        if self.sign * (end - self.times[-1]) > 0:
            end = self.times[-1]

        def values(t: float) -> Tensor:
            return self._values(t, _state(evaluate, solver, attempt, t), progress)

        first = self._last is None
        t, at_t = start, values(start) if self._last is None else self._last
        sides = at_t.sign()
        if not bool(sides.all()):
            self._sides_after(evaluate, solver, attempt, sides)
            if first and not bool(sides.all()):
                raise self._no_side(int((sides == 0).int().argmax()), start)
        self._last = after = values(end)
        crossed = (after * sides <= 0) & (sides != 0) & (self._ways * sides <= 0)
        while bool(crossed.any()):

            def least(g: Tensor) -> float:
                return float((g * sides)[crossed].min())

            # What is zero at the time of the event before happens at that very time.
            if t == start or least(at_t) > 0:
                t = _first_below_zero(lambda t: least(values(t)), t, end, least(at_t), least(after))
                at_t = after if t == end else values(t)
            entry = int((at_t * sides).masked_fill(~crossed, math.inf).argmin())
            self._add(entry, t, solver.slope(evaluate, attempt, _theta(attempt, t)).detach())
            if self.ended:
                return
            crossed[entry] = False

    def rate(self, found: Found, y: Tensor) -> Tensor:
        """dg/dt = g_t + g_y . du/dt along the solution, where that is at `y`."""
        t = self._time(found.t).requires_grad_()
        parts = [part.detach().requires_grad_() for part in self.layout.parts(y.detach())]
        state = parts[0] if self.layout.bare else tuple(parts)
        with torch.enable_grad():
            g = self.value(found, t, state)
        rate = g.new_zeros(())
        if not g.requires_grad:
            return rate
        of_t, *of_parts = torch.autograd.grad(g, [t, *parts], allow_unused=True)
        if of_t is not None:
            rate = rate + of_t
        for of_y, slope in zip(of_parts, self.layout.parts(found.slope), strict=True):
            if of_y is not None:
                rate = rate + (of_y.conj() * slope).sum().real
        return rate

    def value(self, found: Found, t: Tensor, y: State) -> Tensor:
        """g of a found event, its entry alone."""
        return self.events[found.event].value(t, y, self.name(found.event))[found.entry]

    def _values(self, t: float, y: Tensor, progress: Progress) -> Tensor:
        """The entries of all events, float64 on the host."""
        state, time = self.layout.unflatten(y.detach()), self._time(t)
        with torch.no_grad():
            each = [e.value(time, state, self.name(i)) for i, e in enumerate(self.events)]
        if not self._owners:
            self._owners = [(i, entry) for i, g in enumerate(each) for entry in range(len(g))]
            ways = [DIRECTIONS[self.events[event].direction] for event, _ in self._owners]
            self._ways = torch.tensor(ways)
        whole = torch.cat([g.detach().to(torch.float64) for g in each]).cpu()
        if len(whole) != len(self._owners):
            raise InputError(
                f"the event functions returned {len(self._owners)} entries in all before and "
                f"{len(whole)} at t={t:.9g}; their shapes must not change."
            )
        if not bool(torch.isfinite(whole).all()):
            (entry, *_) = torch.nonzero(~torch.isfinite(whole)).flatten().tolist()
            name = self.name(self._owners[entry][0])
            raise progress.failure(NonFiniteError, f"{name} is infinite or NaN at t={t:.9g}")
        return whole

    def _sides_after(
        self, evaluate: Evaluate, solver: StepMethod, attempt: Attempt, sides: Tensor
    ) -> None:
        """In place of zeros, the signs of the entries just after the start of a step."""
        slope, y0 = solver.slope(evaluate, attempt, 0.0).detach(), solver.y_of(attempt.y0)
        for i in torch.nonzero(sides == 0).flatten().tolist():
            event, entry = self._owners[i]
            rate = self.rate(Found(event, entry, attempt.t0, slope), y0)
            sides[i] = float(rate.sign()) * self.sign

    def _no_side(self, entry: int, t: float) -> InputError:
        event, place = self._owners[entry]
        return InputError(
            f"{self.name(event)} (entry {place}) is zero at the start, t={t:.9g}, and so is its "
            "derivative along the solution, so that its next zero cannot be told from this one. "
            "Start before or after it, or give a function that is not zero there."
        )

    def _add(self, entry: int, t: float, slope: Tensor) -> None:
        """Remembers an event and makes an output time of it."""
        self.found.append(Found(*self._owners[entry], t, slope))
        place = self.index(t)
        if place == len(self.times) or self.times[place] != t:
            self.times.insert(place, t)
        if self.ended:
            del self.times[place + 1 :]

    def index(self, t: float) -> int:
        """The place of a time in `times`, or where it belongs."""
        return bisect.bisect_left(self.times, self.sign * t, key=lambda x: self.sign * x)

    def _time(self, t: float) -> Tensor:
        return torch.tensor(t, dtype=self.layout.time_dtype, device=self.layout.device)


def _theta(attempt: Attempt, t: float) -> float:
    return 1.0 if t == attempt.t1 else (t - attempt.t0) / attempt.h


def _state(evaluate: Evaluate, solver: StepMethod, attempt: Attempt, t: float) -> Tensor:
    """The solution at a time in an accepted step."""
    if t in (attempt.t0, attempt.t1):
        state = attempt.y0 if t == attempt.t0 else attempt.y1
        assert state is not None
        return solver.y_of(state)
    # Not without grad: a stage that is evaluated for this stays in the attempt.
    return solver.dense(evaluate, attempt, [_theta(attempt, t)])[0]


def _first_below_zero(
    function: Callable[[float], float], above: float, below: float, low: float, high: float
) -> float:
    """A time at which a function is not positive, next to one at which it is.

    By inverse quadratic interpolation through the last three points where that can be trusted, by
    bisection elsewhere (Chandrupatla, Advances in Engineering Software 28, 1997).

    Args:
        function: the function.
        above: where it is positive, or zero and positive just after.
        below: where it is not.
        low: its value at `above`.
        high: that at `below`.
    """
    # The newest point, the other end of the bracket, and the point before.
    a, b, c, fa, fb, fc = below, above, above, high, low, low
    share = 0.5
    while True:
        middle = a + (b - a) / 2
        if middle in (a, b):
            return a if fa <= 0 else b
        # Never nearer to an end than this, so that both ends close in on the zero.
        least = 2 * math.ulp(max(abs(a), abs(b))) / abs(b - a)
        t = middle if least > 0.25 else a + min(max(share, least), 1 - least) * (b - a)
        value = function(t)
        if (value > 0) == (a == above):
            c, fc = a, fa
        else:
            c, fc, b, fb = b, fb, a, fa
        a, fa = t, value
        above = a if value > 0 else above
        share = _inverse_quadratic(a, b, c, fa, fb, fc)


def _inverse_quadratic(a: float, b: float, c: float, fa: float, fb: float, fc: float) -> float:
    """Where between a (0) and b (1) the zero lies by three points; in doubt, in the middle."""
    if fa in (fb, fc) or fb == fc:
        return 0.5
    xi, phi = (a - b) / (c - b), (fa - fb) / (fc - fb)
    if not (phi * phi < xi and (1 - phi) * (1 - phi) < 1 - xi):
        return 0.5
    return fa / (fb - fa) * fc / (fb - fc) + (c - a) / (b - a) * fa / (fc - fa) * fb / (fc - fb)
