"""Step sizes by torchdiffeq's rule."""

from __future__ import annotations

import math
from collections.abc import Sequence

from symadj.ode.control import AdaptiveSteps, Norm
from symadj.ode.settings import SolverSettings


class OvershootingSteps(AdaptiveSteps):
    """Steps that do not land on the last output time, which lies inside the last step instead.

    With r the error in units of the tolerance and q the order of the estimate, the next step is

        h * min(max_factor, max(safety * r^(-1/q), least)),

    where least is 1 after an accepted step, which none that follows is shorter than, and min_factor
    after a rejected one. That is torchdiffeq's rule, so that its steps are taken here too.

    Args:
        settings: tolerances, limits and factors.
        times: t[0] and t[-1].
        order: q.
        norm: of the scaled error.
    """

    def __init__(
        self, settings: SolverSettings, times: Sequence[float], order: int, norm: Norm
    ) -> None:
        super().__init__(settings, times, order, norm)
        # Those beyond the last output too, which the last step may not pass either.
        stops = {float(t) for t in (*settings.step_t, *settings.jump_t)}
        self.stops = sorted(stops, reverse=self.sign > 0)
        self.span = math.inf

    def _end(self, t: float) -> float:
        assert self.h is not None
        while self.stops and self.sign * (self.stops[-1] - t) <= 0:
            self.stops.pop()
        if self.stops and self.h > abs(self.stops[-1] - t):
            self.h = abs(self.stops[-1] - t)
            return self.stops[-1]
        return t + self.sign * self.h

    def judge(self, progress: object, ratio: float) -> bool:
        """Accepts where the ratio is at most 1 or h is `min_step`, and sets the next step size."""
        settings = self.settings
        assert self.h is not None
        self.finite = math.isfinite(ratio)
        if not self.finite:
            self.h *= settings.min_factor
            return False
        accepted = ratio <= 1 or self.h <= settings.min_step
        factor = settings.max_factor
        if ratio > 0:
            least = 1.0 if ratio < 1 else settings.min_factor
            factor = min(factor, max(settings.safety * ratio ** (-1 / self.order), least))
        self.h *= factor
        return accepted
