"""An explicit Runge-Kutta step from its tableau: y1, the error estimate, the values in between."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from symadj.ode.methods.linear import Terms, combine, terms_of, weighted_sum
from symadj.ode.methods.sides import Sides
from symadj.ode.methods.tableau import ButcherTableau


class Attempt:
    """One step from (t0, y0) to t1, accepted or not, with the stages evaluated so far.

    Attributes:
        t0: the start.
        t1: the end.
        h: t1 - t0, signed.
        y0: the state at t0.
        y1: the state at t1, once it has been combined.
        reused: whether the first stage's derivative was known before the step.
        ks: the stage derivatives k_i = f(t0 + c_i h, Y_i), None where not (or no longer) held.
        ratio: its error in units of the tolerance, a scalar tensor, once that is known.
    """

    __slots__ = ("h", "ks", "ratio", "reused", "t0", "t1", "y0", "y1")

    def __init__(self, t0: float, t1: float, y0: Tensor, stages: int) -> None:
        self.t0 = t0
        self.t1 = t1
        self.h = t1 - t0
        self.y0 = y0
        self.y1: Tensor | None = None
        self.reused = False
        self.ks: list[Tensor | None] = [None] * stages
        self.ratio: Tensor | None = None


Evaluate = Callable[[float, Tensor], Tensor]
"""f(t, y)."""

Observe = Callable[[Attempt, int], None]


class RungeKutta:
    """The explicit Runge-Kutta method of a tableau.

        Y_i = y0 + h sum_{j<i} a_ij k_j,    k_i = f(t0 + c_i h, Y_i),    y1 = y0 + h sum_i b_i k_i

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
        self.errors = tuple(
            terms_of(weights) for weights in (tableau.b_err, tableau.b_err_low) if weights
        )

    @property
    def error_order(self) -> int | None:
        """p of the error estimate's O(h^p), or None where there is no estimate."""
        return self.tableau.error_order if self.errors else None

    def __repr__(self) -> str:
        return f"RungeKutta({self.name})"

    def attempt(
        self,
        evaluate: Evaluate,
        t0: float,
        t1: float,
        y0: Tensor,
        k0: Tensor | None = None,
        observe: Observe | None = None,
    ) -> Attempt:
        """One step.

        Args:
            evaluate: the field.
            t0: the start.
            t1: the end.
            y0: the state at t0.
            k0: f(t0, y0) where it is known, so that it is not evaluated again.
            observe: called as observe(attempt, i) when stage i of this step has its value.
        """
        attempt = Attempt(t0, t1, y0, len(self.rows))
        attempt.ks[0] = k0
        attempt.reused = k0 is not None
        if k0 is not None and observe is not None:
            observe(attempt, 0)
        self.fill(evaluate, attempt, self.solution_stages, observe)
        attempt.y1 = combine(y0, attempt.h, self.b, attempt.ks)
        return attempt

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

    def needed_stages(self, thetas: Sequence[float]) -> tuple[int, ...]:
        """The stages, ascending, of which y1 and the outputs at these theta are made."""
        stages = set(self.solution_stages)
        for theta in thetas:
            stages.update(self.tableau.closure(self.tableau.dense_weights(theta)))
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
        """f(t1, y1) where it was evaluated and is the next step's first stage."""
        if self.sides is not None and self.sides.jumps_at(attempt.t1):
            return None
        return attempt.ks[self.end]

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
        return terms_of(self.tableau.dense_weights(theta))

    def dense(self, evaluate: Evaluate, attempt: Attempt, thetas: Sequence[float]) -> list[Tensor]:
        """The states at t0 + theta h for every theta in (0, 1), by the continuous extension."""
        values: list[Tensor] = []
        for theta in thetas:
            weights = self.tableau.dense_weights(theta)
            self.fill(evaluate, attempt, self.tableau.closure(weights))
            values.append(combine(attempt.y0, attempt.h, terms_of(weights), attempt.ks))
        return values


def _column(rows: Sequence[Sequence[float]], i: int) -> dict[int, float]:
    """a_ji by j: the later stages that use stage i's derivative."""
    return {j: row[i] for j, row in enumerate(rows) if i < len(row) and row[i] != 0}
