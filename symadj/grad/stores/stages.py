"""The stage derivatives are kept as well, so that the backward pass recomputes none."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from symadj.grad.stores.base import Kept, Store, resident_bytes
from symadj.grad.stores.places import Place
from symadj.ode.engine import Step
from symadj.ode.methods import Attempt
from symadj.ode.problem import Problem


class Stages(Store):
    """y0 of every accepted step and the k_i from which the states of its later stages are made.

    s states a step: the last stage's derivative enters no stage's state, but of an implicit method
    its own. Those of the error estimate and of rejected steps are not kept; one that two steps
    share is kept once.
    """

    def __init__(self, problem: Problem, place: Place | None = None) -> None:
        super().__init__(problem, place)
        self.kept: list[dict[int, Kept]] = []
        self._end: tuple[Tensor, Kept] | None = None

    def accepted(self, step: Step, attempt: Attempt) -> None:
        """Keeps the start (as stage -1) and the stages that others need."""
        super().accepted(step, attempt)
        solver = self.problem.solver
        kept = {_START: Kept(self.place, attempt.y0)}
        for i in solver.stages_to_keep([theta for _, theta in step.interior]):
            kept[i] = self._stage(attempt, i)
        # The next step may begin with the very tensor that this one ends with.
        end = None if solver.end is None else attempt.ks[solver.end]
        self._end = (end, kept[solver.end]) if end is not None and solver.end in kept else None
        self.kept.append(kept)

    def _stage(self, attempt: Attempt, i: int) -> Kept:
        k = attempt.ks[i]
        assert k is not None, f"stage {i} was not evaluated"
        if self._end is not None and k is self._end[0]:
            return self._end[1]
        # A part of a larger tensor would keep all of it.
        own = k.untyped_storage().nbytes() <= k.nbytes
        return Kept(self.place, k if own else k.clone())

    @property
    def resident_bytes(self) -> int:
        """Of the starts and stages."""
        return resident_bytes([one for kept in self.kept for one in kept.values()])

    @property
    def has_first_stage(self) -> bool:
        """Where a later stage needs it; not of single samples."""
        return 0 in self.kept[0] and self.steps[0].t0 == self.problem.times[0]

    def backward(self, *, release: bool) -> Iterator[tuple[Step, Attempt]]:
        """Every step with its start and all stages that a later one of it needs."""
        self._end = None
        for i in reversed(range(len(self.steps))):
            attempt = self.attempt_from(self.steps[i], self.kept[i][_START].get())
            for stage, one in self.kept[i].items():
                if stage != _START:
                    attempt.ks[stage] = one.get()
                del one
            if release:
                self._drop_last()
            yield self.steps[i], attempt
            del attempt

    def _drop_last(self) -> None:
        """Lets go of the last step, but for what the one before it shares."""
        last = self.kept.pop().values()
        shared = {id(one) for one in self.kept[-1].values()} if self.kept else set[int]()
        for one in last:
            if id(one) not in shared:
                one.drop()


_START = -1
