"""A solver and a gradient method bound together, as models are given them."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from symadj.calls.solving import Solution, solve_with
from symadj.grad import GradientMethod, gradient_named
from symadj.ode.events import Events
from symadj.ode.layout import State
from symadj.ode.settings import SolverSettings
from symadj.ode.stats import SolveStats
from symadj.ode.user_function import Func


class Integrator:
    """Solves with fixed settings and sums what its solves counted.

    Args:
        solver: method, tolerances, options.
        gradient: the gradient method, by name or as an object.
    """

    def __init__(
        self, solver: SolverSettings, gradient: GradientMethod | str = "symplectic"
    ) -> None:
        self.solver = solver
        self.gradient = gradient_named(gradient)
        self._counted: list[SolveStats] = []

    def solve(
        self,
        func: Func,
        y0: State,
        t: Tensor,
        params: Sequence[Tensor] | None = None,
        events: Events | None = None,
    ) -> Solution:
        """`symadj.solve` under these settings."""
        solution = solve_with(func, y0, t, self.solver, self.gradient, params, events)
        self._counted.append(solution.stats)
        return solution

    def with_settings(
        self, gradient: GradientMethod | str | None = None, **changes: Any
    ) -> Integrator:
        """The same integrator but for some settings; what it counts is counted here as well.

        Args:
            gradient: another gradient method; None: the same.
            changes: fields of the solver's settings, such as num_steps=1.

        Raises:
            InputError: settings that cannot be used.
        """
        other = copy.copy(self)
        other.solver = replace(self.solver, **changes)
        other.gradient = self.gradient if gradient is None else gradient_named(gradient)
        return other

    def take_stats(self) -> SolveStats:
        """The sum over all solves since the last call; complete once backward() has run."""
        total = sum(self._counted, SolveStats())
        self._counted.clear()
        return total
