"""The fastest exact gradient method that fits into a given memory."""

from __future__ import annotations

import dataclasses
import logging
import math
import weakref
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from symadj.errors import IncompatibleError, InputError, NothingFits
from symadj.grad.aca import ACA
from symadj.grad.back_through import uses_back
from symadj.grad.backprop import Backprop
from symadj.grad.base import GradientMethod
from symadj.grad.checkpoint import Checkpoint
from symadj.grad.forecast import Forecast, Solve, Use, forecasts
from symadj.grad.reversible import Reversible
from symadj.grad.stores.revolve import schedules
from symadj.grad.symplectic import Symplectic
from symadj.ode.engine import Step
from symadj.ode.methods import GeneralLinear, ImplicitRungeKutta
from symadj.ode.problem import Problem, StepList
from symadj.ode.stats import SolveStats
from symadj.ranges import require
from symadj.units import format_bytes, parse_bytes

logger = logging.getLogger("symadj")


class Auto(GradientMethod):
    """Predicts the peak memory of every exact method and takes the one of fewest evaluations.

    What a solve would take is predicted from one use of the field, traced with its graph when a
    problem is met for the first time, the number of steps, and the number of solves in a row
    (`symadj.grad.forecast`). The number of adaptive steps is that of a trial solve without graph
    at first, then that of the last solve, and a tenth more is allowed for. The choice is made again
    at every solve. Neither the trial nor the tracing is counted. The number of solves in a row (the
    components of a flow) is learned in the first iteration: its first solves may take more than
    they leave to the others.

    The memory is that of forward and backward pass above what is live before them: the states of
    the solve, graphs, gradients of the field's parameters. What the model and the loss take besides
    is not foreseen.

    Args:
        memory: bytes, or as "64MiB".

    Attributes:
        chosen: what the last solve took; None before the first.

    Raises:
        InputError: no size.
    """

    name = "auto"
    compilable = True

    def __init__(self, memory: int | str) -> None:
        require("grad", memory=memory)
        self.memory = parse_bytes(memory)
        self.chosen: Forecast | None = None
        self._known: dict[Hashable, _Known] = {}
        self._open: list[weakref.ref[_Open]] = []
        self._most_open = 1
        self._shown: set[tuple[str, str]] = set()

    def __repr__(self) -> str:
        return f"Auto({format_bytes(self.memory)!r})"

    def solve(self, problem: Problem, y0: Tensor) -> tuple[Tensor, list[Step]]:
        """By the method of the forecast.

        Raises:
            IncompatibleError: an implicit method, whose linear systems are not in the forecast.
            NothingFits: no method is predicted to fit into the memory; its message has the table.
        """
        if isinstance(problem.settings.solver, ImplicitRungeKutta):
            raise IncompatibleError(
                f"grad=auto with method={problem.settings.method}: what an implicit method's "
                "linear systems take in memory and evaluations is not predicted. Take symplectic, "
                "whose memory is least (store=revolve bounds it), aca, or backprop."
            )
        known = self._look(problem, y0)
        self._open = [ref for ref in self._open if (one := ref()) is not None and one.waiting]
        self._most_open = max(self._most_open, len(self._open) + 1)
        self.chosen = self._choose(problem, known)
        ys, steps = _method(self.chosen).solve(problem, y0)
        known.steps = len(steps)
        if ys.requires_grad:
            waiting = _Open()
            ys.register_hook(waiting)
            self._open.append(weakref.ref(waiting))
        return ys, steps

    def _look(self, problem: Problem, y0: Tensor) -> _Known:
        """What is known of problems like this one; traces it when it is the first."""
        field = problem.field
        key = (
            getattr(field.func, "__qualname__", type(field.func).__qualname__),
            *(tuple(shape) for shape in field.layout.shapes),
            *(y0.dtype, y0.device, len(problem.times), problem.settings.method),
            sum(p.numel() for p in field.params),
        )
        known = self._known.get(key)
        if known is None:
            steps = _count_steps(problem, y0)
            use = Use.trace(field, problem.times[0], y0)
            known = self._known[key] = _Known(use, steps)
        return known

    def _choose(self, problem: Problem, known: _Known) -> Forecast:
        steps = _fixed_steps(problem)
        if steps is None:
            steps = math.ceil(1.1 * known.steps)
        solver = problem.settings.solver
        own = isinstance(solver, GeneralLinear)
        solve = Solve(
            known.use,
            solver.uses,
            steps,
            len(problem.times),
            self._most_open,
            solver.uses_in(steps),
            solver.states if own else 1,
            uses_back(solver, steps) if own and solver.coefficients(1.0).inverse else 0,
        )
        rows = [row for row in forecasts(solve, self.memory) if row.slots is None or _can_revolve()]
        if problem.settings.compile:
            rows = [row for row in rows if row.method == Symplectic.name]
        taken = next((row for row in rows if row.peak <= self.memory), None)
        if taken is None:
            least = min(row.peak for row in rows)
            raise NothingFits(
                "no exact gradient method fits into the memory of grad=auto.\n"
                f"{table(self.memory, solve, rows, None)}\n"
                f"The least is {format_bytes(least)} ({least} bytes); give grad.memory that "
                "much, or take a smaller batch."
            )
        if (taken.method, taken.store) not in self._shown:
            self._shown.add((taken.method, taken.store))
            text = table(self.memory, solve, rows, taken)
            logger.info("%s", text)
            print(text, flush=True)
        return taken


@dataclass
class _Known:
    """A problem that was met before."""

    use: Use
    steps: int


class _Open:
    """A hook of a solve's outputs: the backward pass is still to come, until it is called."""

    def __init__(self) -> None:
        self.waiting = True

    def __call__(self, gradient: Tensor) -> None:
        self.waiting = False


def _method(forecast: Forecast) -> GradientMethod:
    """The gradient method of a row."""
    if forecast.method == "symplectic":
        return Symplectic(forecast.store, forecast.slots)
    plain = (Backprop, Checkpoint, ACA, Reversible)
    return {method.name: method for method in plain}[forecast.method]()


def _can_revolve() -> bool:
    try:
        schedules()
    except InputError:
        return False
    return True


def _fixed_steps(problem: Problem) -> int | None:
    """N, where it is known before a solve."""
    if problem.settings.adaptive or problem.events is not None:
        return None
    return len(problem.settings.fixed_grid(problem.times[0], problem.times[-1])) - 1


def _count_steps(problem: Problem, y0: Tensor) -> int:
    """N, by a solve without graph where it is not known."""
    known = _fixed_steps(problem)
    if known is not None:
        return known
    steps = StepList()
    problem = dataclasses.replace(problem, callbacks=False)
    field = problem.field
    counted, field.stats = field.stats, SolveStats()
    try:
        with torch.no_grad(), field.phase("forward"):
            problem.solve_plain(y0, observer=steps)
    finally:
        field.stats = counted
    return len(steps.steps)


def table(memory: int, solve: Solve, rows: Sequence[Forecast], taken: Forecast | None) -> str:
    """The forecasts as text, the fastest first, and which one was taken."""
    use = solve.use
    in_a_row = f", {solve.at_once} solves in a row" if solve.at_once > 1 else ""
    lines = [
        f"grad=auto, memory {format_bytes(memory)}: {solve.steps} steps of {solve.stages} uses"
        f"{in_a_row}; state {format_bytes(use.state)}, graph of one use {format_bytes(use.graph)}, "
        f"parameters' gradients {format_bytes(use.params)}",
        f"  {'method':<30} {'evaluations':>11} {'peak':>9}",
    ]
    for row in rows:
        mark = "  too much" if row.peak > memory else "  taken" if row is taken else ""
        lines.append(f"  {row.label:<30} {row.evaluations:>11} {format_bytes(row.peak):>9}{mark}")
    return "\n".join(lines)
