"""THE stepping loop, used forward, backward and in every replay."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from symadj.errors import NonFiniteError
from symadj.ode.callbacks import Callbacks
from symadj.ode.control import Progress, StepController
from symadj.ode.events import EventSearch
from symadj.ode.methods import Attempt, Evaluate, StepMethod, Unsolved

Emit = Callable[[int, Tensor], None]
Ratio = Callable[[Attempt, Sequence[Tensor]], Tensor]


@dataclass(frozen=True)
class Step:
    """One accepted step and the output times that it answered.

    Attributes:
        t0: its start.
        t1: its end.
        interior: (index, theta) of every output strictly inside, t = t0 + theta (t1 - t0).
        landed: the index of the output at t1 exactly, if there is one.
    """

    t0: float
    t1: float
    interior: tuple[tuple[int, float], ...] = ()
    landed: int | None = None

    def part(self, whole: Tensor) -> Tensor:
        """What takes this step of a state: all of it."""
        return whole

    def put(self, whole: Tensor, part: Tensor) -> Tensor:
        """The state, with this for what takes the step."""
        return part

    def of_end(self, cotangents: Tensor) -> Tensor | None:
        """The cotangent of the output at the end, given those of all outputs; None: no output."""
        return None if self.landed is None else cotangents[self.landed]

    def of_inside(self, cotangents: Tensor) -> list[tuple[float, Tensor]]:
        """(theta, cotangent) of the outputs inside."""
        return [(theta, cotangents[i]) for i, theta in self.interior]


class StepObserver(Protocol):
    """Sees a solve from inside: every stage's value, every accepted step."""

    def stage(self, attempt: Attempt, i: int) -> None:
        """Stage i of this attempt has its value."""
        ...

    def accepted(self, step: Step, attempt: Attempt) -> None:
        """The attempt was accepted."""
        ...


def integrate(
    evaluate: Evaluate,
    solver: StepMethod,
    y0: Tensor,
    times: Sequence[float],
    controller: StepController,
    progress: Progress,
    *,
    ratio: Ratio | None = None,
    k0: Tensor | None = None,
    emit: Emit | None = None,
    observer: StepObserver | None = None,
    callbacks: Callbacks | None = None,
    events: EventSearch | None = None,
) -> Tensor:
    """Steps from times[0] to times[-1] and emits the solution at every one of `times`.

    Output times cost no step: one that falls inside a step is answered by the continuous extension.
    The last step ends at times[-1] or, where the controller does not land there, beyond.

    Args:
        evaluate: the field, with or without graph.
        solver: the stepping method.
        y0: the solution at times[0].
        times: strictly monotone output times.
        controller: proposes and judges steps.
        progress: counts, and is what a failure is diagnosed from.
        ratio: the error of an attempt in units of the tolerance; needed by an adaptive controller.
        k0: f(times[0], y0) where it is known.
        emit: called as emit(index, y), in the order of times.
        observer: sees stages and accepted steps.
        callbacks: of the user's module.
        events: finds events, whose times join those of the outputs; a terminal one is the last.

    Returns:
        The solution where the last step ends.

    Raises:
        SolveError: of the kind that says why the end was not reached.
    """
    emit = emit or _ignore
    watch = observer.stage if observer else None
    times = events.begin() if events is not None else times
    t, y = times[0], y0
    emit(0, y0)
    waiting = 1
    k = controller.begin(evaluate, y, k0)
    state, k = solver.begin(evaluate, t, y, k)
    while waiting < len(times):
        t1 = controller.propose(progress)
        if callbacks is not None:
            callbacks.call(callbacks.step, t, y, t1)
        try:
            attempt = solver.attempt(evaluate, t, t1, state, k, watch)
        except Unsolved as failure:
            controller.shorten(progress, t1 - t, str(failure))
            progress.reject()
            continue
        if controller.adaptive:
            if attempt.ratio is None:
                assert ratio is not None
                attempt.ratio = ratio(attempt, solver.estimate(evaluate, attempt, watch))
            accepted = controller.judge(progress, float(attempt.ratio))
            if callbacks is not None:
                callbacks.call(callbacks.accept if accepted else callbacks.reject, t, y, t1)
            if not accepted:
                k = solver.retry(attempt)
                progress.reject()
                continue
        if events is not None:
            events.look(evaluate, solver, attempt, progress)
        step, waiting = _answered(times, waiting, t, t1)
        values = solver.dense(evaluate, attempt, [theta for _, theta in step.interior])
        for (index, _), value in zip(step.interior, values, strict=True):
            emit(index, value)
        assert attempt.y1 is not None
        t, state = t1, attempt.y1
        y = solver.y_of(state)
        if step.landed is not None:
            emit(step.landed, y)
        if observer is not None:
            observer.accepted(step, attempt)
        k = solver.carry(attempt)
        progress.accept(t, y)
    if not bool(torch.isfinite(y).all()):
        raise progress.failure(NonFiniteError, "the state became infinite or NaN")
    return y


def _ignore(index: int, y: Tensor) -> None:
    """Nobody asked for the states in between."""


def _answered(times: Sequence[float], waiting: int, t0: float, t1: float) -> tuple[Step, int]:
    """The step from t0 to t1 with the outputs it answers, and the first one after it."""
    h = t1 - t0
    interior: list[tuple[int, float]] = []
    while waiting < len(times) and (times[waiting] - t1) * h < 0:
        interior.append((waiting, (times[waiting] - t0) / h))
        waiting += 1
    landed = None
    if waiting < len(times) and times[waiting] == t1:
        landed = waiting
        waiting += 1
    return Step(t0, t1, tuple(interior), landed), waiting
