"""A bounded number of step starts is kept; the others are recomputed by an optimal schedule.

A. Griewank, A. Walther: "Algorithm 799: Revolve", ACM Trans. Math. Softw. 26 (2000); Q. Wang,
P. Moin, G. Iaccarino: "Minimal Repetition Dynamic Checkpointing Algorithm for Unsteady Adjoint
Calculation", SIAM J. Sci. Comput. 31 (2009).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from symadj.grad.stores.base import Kept, Store
from symadj.grad.stores.places import Place
from symadj.ode.engine import Step
from symadj.ode.methods import Attempt
from symadj.ode.problem import Problem
from symadj.packages import need


@dataclass
class _Slot:
    """A slot in use: the number of the step whose start it has, and that start's level."""

    index: int
    start: Kept
    level: int = 0


class Revolve(Store):
    """At most `slots` step starts at any moment, the one that is being pulled back included.

    Backward, a start that was not kept is recomputed from the nearest one before it, and on the way
    others go into the slots that are free, where the binomial schedule of the package
    `checkpoint-schedules` has them. For fixed steps the whole of it is that schedule, whose cost
    `recomputed_steps` says.

    How many adaptive steps, or steps until an event, there will be is not known in the forward
    pass. There the starts are thinned out as the solve goes on, by the rule of Wang, Moin and
    Iaccarino: when all slots are taken, one with a later one of higher level gives way to the new
    start; where there is none, the newest one does, and the new start has the next level.
    Backward, what lies between two of them follows the binomial schedule again. For N up to 3000 no
    case was seen to cost more than 1.25 of the optimum.

    A backward pass under `retain_graph` must leave the forward pass's slots as they are, and takes
    up to as many again.

    Args:
        problem: what is solved.
        place: where starts are kept.
        slots: how many, at least 2.
    """

    def __init__(self, problem: Problem, place: Place | None, slots: int) -> None:
        super().__init__(problem, place)
        self.slots = slots
        self.kept: list[_Slot] = []
        self._plan: frozenset[int] | None = None
        if not problem.settings.adaptive and problem.events is None:
            last = len(problem.settings.fixed_grid(problem.times[0], problem.times[-1])) - 2
            self._plan = frozenset((*planned_starts(last + 1, slots - 1), last))

    def accepted(self, step: Step, attempt: Attempt) -> None:
        """Keeps the step's start where the plan or the rule says so."""
        index = len(self.steps)
        super().accepted(step, attempt)
        if self._plan is not None and index not in self._plan:
            return
        level = self._make_room() if len(self.kept) == self.slots else 0
        self.kept.append(_Slot(index, Kept(self.place, attempt.y0), level))

    def _make_room(self) -> int:
        """Gives up a start; the level of the one that takes its slot."""
        newest = len(self.kept) - 1
        highest = self.kept[newest].level
        # The very first start is never given up: all others can be had from it.
        for i in range(newest - 1, 0, -1):
            if self.kept[i].level < highest:
                self.kept.pop(i).start.drop()
                return 0
            highest = self.kept[i].level
        slot = self.kept.pop()
        slot.start.drop()
        return slot.level + 1

    @property
    def resident_bytes(self) -> int:
        """Of the starts in slots."""
        return sum(slot.start.nbytes for slot in self.kept)

    def backward(self, *, release: bool) -> Iterator[tuple[Step, Attempt]]:
        """Every step with its start, kept or recomputed."""
        slots = self.kept if release else list(self.kept)
        borrowed = set() if release else {slot.index for slot in slots}
        for index in reversed(range(len(self.steps))):
            if slots[-1].index < index:
                self._fill(slots, index)
            slot = slots.pop()
            attempt = self.attempt_from(self.steps[index], slot.start.get())
            if index not in borrowed:
                slot.start.drop()
            del slot
            yield self.steps[index], attempt
            del attempt

    def _fill(self, slots: list[_Slot], index: int) -> None:
        """Recomputes from the newest slot on up to the start of step `index`, which gets one too.

        Between them, slots are taken as the schedule of that many steps begins.
        """
        begin = slots[-1].index
        free = self.slots - len(slots)
        planned = {begin + i for i in planned_starts(index - begin + 1, free)}
        y = slots[-1].start.get()
        for i in range(begin, index):
            if i > begin and i in planned:
                slots.append(_Slot(i, Kept(self.place, y)))
            y = self._after(self.steps[i], y)
        slots.append(_Slot(index, Kept(self.place, y)))

    def _after(self, step: Step, y0: Tensor) -> Tensor:
        """The state at the step's end, as the forward pass had it."""
        solver, field = self.problem.solver, self.problem.field
        attempt = solver.attempt(field.value, step.t0, step.t1, y0)
        assert attempt.y1 is not None
        return attempt.y1


def planned_starts(steps: int, slots: int) -> list[int]:
    """The steps whose starts the binomial schedule keeps on its way to the last of `steps` steps.

    Args:
        steps: at least 1.
        slots: at least 1, beside that of the last step.

    Raises:
        InputError: the package checkpoint-schedules is not installed.
    """
    package = schedules()
    starts: list[int] = []
    for action in package.MultistageCheckpointSchedule(steps, slots, 0):
        if isinstance(action, package.EndForward):
            break
        if action.write_ics:
            starts.append(action.n0)
    return starts


def schedules() -> Any:
    """The package checkpoint-schedules.

    Raises:
        InputError: it is not installed.
    """
    return need("checkpoint_schedules", "revolve", "plans what store=revolve recomputes")


def recomputed_steps(steps: int, slots: int) -> int:
    """How many steps the backward pass recomputes on a fixed grid, the fewest that are possible.

    With k = slots - 1 slots beside that of the step at work, and r the least number with
    C(k + r, k) >= N (Griewank, Walther 2000, Proposition 1): r N - C(k + r, r - 1) - (N - 1).

    Args:
        steps: N.
        slots: at least 2.
    """
    k, r = slots - 1, 0
    while math.comb(k + r, k) < steps:
        r += 1
    return r * steps - (math.comb(k + r, r - 1) if r else 0) - (steps - 1)
