"""Where the seconds of a gradient go: the user's function, its derivative, control, the engine."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from symadj.grad.base import StepwiseReplay
from symadj.ode import field
from symadj.ode.compiled import CompiledField
from symadj.ode.control import AdaptiveSteps, FixedSteps
from symadj.ode.field import Field
from symadj.ode.methods import RungeKutta
from symadj.ode.problem import Problem
from symadj.ode.situation import Situation
from symadj.ode.user_function import UserFunction
from symadj.ode.watch import Watch

PARTS = ("without graph", "with graph", "products", "compiled", "control", "checks", "engine")
"""The user's function without and with graph; vector-Jacobian products, by torch.autograd through
those graphs or by a field's own formulas; compiled functions, which may be all of these; error
estimates and step sizes; looks whether the field has changed and what it reaches; and the rest:
stage arithmetic, stores, the Python of the engine, the loss."""

_MARKS: tuple[tuple[Any, str, str], ...] = (
    (Tensor, "backward", "products"),
    (StepwiseReplay, "pull_solve", "engine"),
    (field, "grad_or_none", "products"),
    (CompiledField, "_run", "compiled"),
    (RungeKutta, "estimate", "control"),
    (Problem, "ratio", "control"),
    (AdaptiveSteps, "begin", "control"),
    (AdaptiveSteps, "propose", "control"),
    (AdaptiveSteps, "judge", "control"),
    (FixedSteps, "propose", "control"),
    (Field, "refuse_changes", "checks"),
    (Situation, "__init__", "checks"),
    (Watch, "graph", "checks"),
    (Watch, "compare", "checks"),
)


def seconds_by_part(evaluate: Callable[[], object], evaluations: int = 5) -> dict[str, float]:
    """Seconds of one evaluation of a loss and its gradient by `PARTS`, the mean of several.

    What a part calls of another one counts for that one alone. On a GPU the seconds are those of
    the host, which launches the work and does not wait for it.

    Args:
        evaluate: does one.
        evaluations: how many.
    """
    clock = _Clock()
    with _marked(clock):
        evaluate()
        clock.restart()
        for _ in range(evaluations):
            evaluate()
        clock.switch()
    return {part: seconds / evaluations for part, seconds in clock.seconds.items()}


class _Clock:
    """Gives the seconds that pass to the part that was entered last."""

    def __init__(self) -> None:
        self.parts = ["engine"]
        self.restart()

    def restart(self) -> None:
        self.seconds: dict[str, float] = dict.fromkeys(PARTS, 0.0)
        self.since = time.perf_counter()

    def switch(self) -> None:
        now = time.perf_counter()
        self.seconds[self.parts[-1]] += now - self.since
        self.since = now

    def timed(self, function: Callable[..., Any], part: str | None) -> Callable[..., Any]:
        """The function, its seconds given to a part; None: by whether gradients are enabled."""

        @functools.wraps(function, updated=())
        def timed(*arguments: Any, **named: Any) -> Any:
            self.switch()
            self.parts.append(part or PARTS[torch.is_grad_enabled()])
            try:
                return function(*arguments, **named)
            finally:
                self.switch()
                self.parts.pop()

        return timed


@contextlib.contextmanager
def _marked(clock: _Clock) -> Iterator[None]:
    """Within it, the seconds of the functions above are taken."""
    own_method, begin = field.own_method, UserFunction.__init__

    def own_timed(*arguments: Any) -> Callable[..., Any] | None:
        method = own_method(*arguments)
        return None if method is None else clock.timed(method, "products")

    def begin_timed(self: UserFunction, func: Any, *arguments: Any, **named: Any) -> None:
        begin(self, clock.timed(func, None), *arguments, **named)

    marks = [(place, name, getattr(place, name)) for place, name, _ in _MARKS]
    with contextlib.ExitStack() as undo:
        for place, name, function in marks:
            undo.callback(setattr, place, name, function)
        undo.callback(setattr, field, "own_method", own_method)
        undo.callback(setattr, UserFunction, "__init__", begin)
        for (place, name, function), (*_, part) in zip(marks, _MARKS, strict=True):
            setattr(place, name, clock.timed(function, part))
        field.own_method = own_timed
        UserFunction.__init__ = begin_timed
        yield
