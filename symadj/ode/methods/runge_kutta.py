"""A Runge-Kutta step from its tableau: y1, the error estimate, the values in between."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from functools import cached_property

import numpy as np
from torch import Tensor

from symadj.errors import IncompatibleError
from symadj.ode.methods.base import Attempt, Evaluate, Observe, StepMethod
from symadj.ode.methods.linear import Terms, combine, terms_of, weighted_sum
from symadj.ode.methods.sides import Sides
from symadj.ode.methods.slope import NODES, slope_weights
from symadj.ode.methods.tableau import ButcherTableau


class TableauMethod(StepMethod):
    """A Runge-Kutta method of a tableau, explicit or implicit, which says how stages are found.

        Y_i = y0 + h sum_j a_ij k_j,    k_i = f(t0 + c_i h, Y_i),    y1 = y0 + h sum_i b_i k_i

    The list of stages is the tableau's extended one: its own, the end stage f(t1, y1), and those
    that only the continuous extension needs. A stage is evaluated when something first asks for it.
    The object holds coefficients only; what a step produced is in its `Attempt`.

    Args:
        tableau: the coefficients.
        sides: of a field that jumps: a step that ends at a jump evaluates its stages with c_i = 1
            just before, one that begins there those with c_i = 0 just after, and the two share no
            stage.
    """

    def __init__(self, tableau: ButcherTableau, sides: Sides | None = None) -> None:
        self.tableau = tableau
        self.sides = sides
        self.name = tableau.name
        self.order = tableau.order
        self.end = tableau.end_index
        self.nodes = tableau.nodes
        self.rows: tuple[Terms, ...] = tuple(terms_of(row) for row in tableau.rows)
        self.columns = tuple(_column(tableau.rows, i) for i in range(len(tableau.rows)))
        self.b = terms_of(tableau.b)
        self.solution_stages = tableau.closure(tableau.b)
        self.stages = len(self.rows)
        self.uses = len(self.solution_stages)
        self.errors = tuple(
            terms_of(weights) for weights in (tableau.b_err, tableau.b_err_low) if weights
        )
        self.error_order = tableau.error_order if self.errors else None

    def attempt(
        self,
        evaluate: Evaluate,
        t0: float,
        t1: float,
        y0: Tensor,
        k0: Tensor | None = None,
        observe: Observe | None = None,
    ) -> Attempt:
        """y1 and the stages that it is made of."""
        attempt = Attempt(t0, t1, y0, self.stages)
        attempt.ks[0] = k0
        attempt.reused = k0 is not None
        if k0 is not None and observe is not None:
            observe(attempt, 0)
        self.fill(evaluate, attempt, self.solution_stages, observe)
        attempt.y1 = combine(y0, attempt.h, self.b, attempt.ks)
        return attempt

    @abstractmethod
    def fill(
        self,
        evaluate: Evaluate,
        attempt: Attempt,
        wanted: Sequence[int],
        observe: Observe | None = None,
    ) -> None:
        """Finds the wanted stages (ascending, closed under dependence) not yet held."""

    def needed_stages(self, thetas: Sequence[float]) -> tuple[int, ...]:
        """The stages, ascending, of which y1 and the outputs at these theta are made."""
        stages = set(self.solution_stages)
        for theta in thetas:
            stages.update(self._dense_stages(theta))
        return tuple(sorted(stages))

    def start(self, t0: float, t1: float) -> float:
        """When the first stage of a solve from t0 towards t1 is evaluated."""
        return t0 if self.sides is None else self.sides.beside(t0, t1 - t0)

    def time(self, attempt: Attempt, i: int) -> float:
        """The time of stage i: t0 and t1 exactly at the ends, so that shared values agree."""
        c = self.nodes[i]
        if c not in (0, 1):
            return attempt.t0 + c * attempt.h
        end, inward = (attempt.t1, -attempt.h) if c else (attempt.t0, attempt.h)
        return end if self.sides is None else self.sides.beside(end, inward)

    def state(self, attempt: Attempt, i: int) -> Tensor:
        """Y_i, the state at which stage i is evaluated."""
        if i == self.end and attempt.y1 is not None:
            return attempt.y1
        return combine(attempt.y0, attempt.h, self.rows[i], attempt.ks)

    def carry(self, attempt: Attempt) -> Tensor | None:
        """f(t1, y1) where it was evaluated and no jump lies there."""
        if self.sides is not None and self.sides.jumps_at(attempt.t1):
            return None
        return attempt.ks[self.tableau.end_index]

    def retry(self, attempt: Attempt) -> Tensor | None:
        """f(t0, y0)."""
        return attempt.ks[0]

    def estimate(
        self, evaluate: Evaluate, attempt: Attempt, observe: Observe | None = None
    ) -> tuple[Tensor, ...]:
        """The error estimates h sum_i e_i k_i of an attempt, one or (DOP853) two."""
        for weights in (self.tableau.b_err, self.tableau.b_err_low):
            if weights:
                self.fill(evaluate, attempt, self.tableau.closure(weights), observe)
        return tuple(weighted_sum(attempt.h, terms, attempt.ks) for terms in self.errors)

    def dense_terms(self, theta: float) -> Terms:
        """The weights b_i(theta) of y(t0 + theta h) = y0 + h sum_i b_i(theta) k_i."""
        weights = self.tableau.dense_weights(theta)
        if not isinstance(theta, Tensor):
            return terms_of(weights)
        return tuple((i, weights[i]) for i, w in enumerate(self._typical_weights) if w != 0)

    def _dense_stages(self, theta: float) -> tuple[int, ...]:
        """The stages that a value between the ends is made of."""
        samples = isinstance(theta, Tensor)
        weights = self._typical_weights if samples else self.tableau.dense_weights(theta)
        return self.tableau.closure(weights)

    @property
    def _typical_weights(self) -> tuple[float, ...]:
        """b_i(theta) where none but those that are zero at every theta are."""
        return self.tableau.dense_weights(_TYPICAL)

    def dense(self, evaluate: Evaluate, attempt: Attempt, thetas: Sequence[float]) -> list[Tensor]:
        """The states at t0 + theta h for every theta in (0, 1), by the continuous extension."""
        values: list[Tensor] = []
        for theta in thetas:
            self.fill(evaluate, attempt, self._dense_stages(theta))
            values.append(combine(attempt.y0, attempt.h, self.dense_terms(theta), attempt.ks))
        return values

    def slope(self, evaluate: Evaluate, attempt: Attempt, theta: float) -> Tensor:
        """sum_i b_i'(theta) k_i."""
        weights = (np.asarray(slope_weights(theta)) @ self.at_nodes).tolist()
        self.fill(evaluate, attempt, self.tableau.closure(weights))
        return weighted_sum(1.0, terms_of(weights), attempt.ks)

    @cached_property
    def at_nodes(self) -> np.ndarray:
        """b_i(theta) at the theta of `slope_weights`, a row for each."""
        return np.asarray([self.tableau.dense_weights(node) for node in NODES])


class RungeKutta(TableauMethod):
    """The explicit Runge-Kutta method of a tableau: a_ij = 0 for j >= i."""

    def fill(
        self,
        evaluate: Evaluate,
        attempt: Attempt,
        wanted: Sequence[int],
        observe: Observe | None = None,
    ) -> None:
        """Evaluates the wanted stages (ascending, closed under dependence) not yet held."""
        for i in wanted:
            if attempt.ks[i] is None:
                self.before(attempt, i)
                attempt.ks[i] = evaluate(self.time(attempt, i), self.state(attempt, i))
                if observe is not None:
                    observe(attempt, i)

    def before(self, attempt: Attempt, i: int) -> None:
        """Called whenever stage i is about to be evaluated, in a solve or in its replay."""


_TYPICAL = 0.4142135623730951


def explicit(solver: StepMethod, needed_by: str) -> RungeKutta:
    """A method that is an explicit Runge-Kutta method, for what knows no other.

    Args:
        solver: the method.
        needed_by: what that is, as a message begins with it.

    Raises:
        IncompatibleError: it is of another kind.
    """
    if isinstance(solver, RungeKutta):
        return solver
    raise IncompatibleError(
        f"{needed_by} needs an explicit Runge-Kutta method, and method={solver.name} is none. Take "
        "one of euler, heun, rk4, dopri5, dop853 and the like, or leave it out."
    )


def _column(rows: Sequence[Sequence[float]], i: int) -> dict[int, float]:
    """a_ji by j: the later stages that use stage i's derivative."""
    return {j: row[i] for j, row in enumerate(rows) if i < len(row) and row[i] != 0}
