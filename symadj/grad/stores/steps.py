"""The start of every step is kept, as in the paper."""

from __future__ import annotations

from collections.abc import Iterator

from symadj.grad.stores.base import Kept, Store, resident_bytes
from symadj.grad.stores.places import Place
from symadj.ode.engine import Step
from symadj.ode.methods import Attempt
from symadj.ode.problem import Problem


class Steps(Store):
    """y0 of every accepted step: N states."""

    def __init__(self, problem: Problem, place: Place | None = None) -> None:
        super().__init__(problem, place)
        self.starts: list[Kept] = []

    def accepted(self, step: Step, attempt: Attempt) -> None:
        """Keeps the step's start."""
        super().accepted(step, attempt)
        self.starts.append(Kept(self.place, attempt.y0))

    @property
    def resident_bytes(self) -> int:
        """Of the starts."""
        return resident_bytes(self.starts)

    def backward(self, *, release: bool) -> Iterator[tuple[Step, Attempt]]:
        """Every step with its start."""
        for i in reversed(range(len(self.steps))):
            start = self.starts.pop() if release else self.starts[i]
            attempt = self.attempt_from(self.steps[i], start.get())
            if release:
                start.drop()
            yield self.steps[i], attempt
            del attempt
