"""Steps of a field that draws random numbers."""

from __future__ import annotations

from torch import Tensor

from symadj.ode.methods import Attempt, RungeKutta
from symadj.ode.randomness import Draws


class RandomSteps(RungeKutta):
    """A stepping method for a field that draws random numbers: it records, and repeats, its draws.

    Args:
        solver: the method.
        draws: what is recorded.
        replay: whether draws are repeated.
    """

    def __init__(self, solver: RungeKutta, draws: Draws, *, replay: bool) -> None:
        vars(self).update(vars(solver))
        self.draws = draws
        self.replay = replay

    def before(self, attempt: Attempt, i: int) -> None:
        """As `RungeKutta.before`."""
        if self.replay:
            self.draws.restore(attempt.t0, i)
        else:
            self.draws.record(attempt.t0, i)

    def carry(self, attempt: Attempt) -> Tensor | None:
        """As `RungeKutta.carry`; the draws go along with the value."""
        k = super().carry(attempt)
        if k is not None and not self.replay:
            before = self.draws.before
            before.setdefault(attempt.t1, {})[0] = before[attempt.t0][self.tableau.end_index]
        return k
