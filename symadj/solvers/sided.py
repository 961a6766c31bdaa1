"""A Runge-Kutta method for a field that jumps at known times."""

from __future__ import annotations

import math
from collections.abc import Collection

from torch import Tensor

from symadj.ode.tableau import ButcherTableau
from symadj.solvers.runge_kutta import Attempt, RungeKutta


class SidedRungeKutta(RungeKutta):
    """Evaluates the field on the step's own side of every jump.

    A step that ends at a jump evaluates its stages with c_i = 1 just before, one that begins there
    those with c_i = 0 just after, and the two share no stage. Everything else is the tableau's.

    Args:
        tableau: the method.
        jumps: the times of the jumps; None: the ends of all steps.
        eps: the resolution of the field's time; "just after" t is t + eps |t|.
    """

    def __init__(
        self, tableau: ButcherTableau, jumps: Collection[float] | None, eps: float
    ) -> None:
        super().__init__(tableau)
        self.jumps = jumps
        self.eps = eps

    def start(self, t0: float, t1: float) -> float:
        """Just after t0 where the field jumps there."""
        return self._beside(t0, t1 - t0)

    def time(self, attempt: Attempt, i: int) -> float:
        """As `RungeKutta.time`, on the step's side of its ends."""
        c = self.nodes[i]
        if c == 0:
            return self._beside(attempt.t0, attempt.h)
        return self._beside(attempt.t1, -attempt.h) if c == 1 else attempt.t0 + c * attempt.h

    def carry(self, attempt: Attempt) -> Tensor | None:
        """None at a jump: the next step's first stage is on its other side."""
        return None if self._jumps_at(attempt.t1) else super().carry(attempt)

    def _jumps_at(self, t: float) -> bool:
        return self.jumps is None or t in self.jumps

    def _beside(self, t: float, towards: float) -> float:
        """t, or at a jump the nearest time that the field can tell from it on that side."""
        if not self._jumps_at(t):
            return t
        return t + math.copysign(self.eps * abs(t) or _SMALLEST, towards)


# The smallest normal number of single precision.
_SMALLEST = 2.0**-126
