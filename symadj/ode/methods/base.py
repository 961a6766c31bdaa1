"""What a stepping method is, and one step of it: what the engine, stores and gradients go by."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from symadj.ode.methods.slope import NODES, slope_weights


class Attempt:
    """One step from (t0, y0) to t1, accepted or not, with the stages evaluated so far.

    Attributes:
        t0: the start.
        t1: the end.
        h: t1 - t0, signed.
        y0: the method's state at t0 (see `StepMethod.begin`).
        y1: that at t1, once it has been combined.
        reused: whether the first stage's derivative was known before the step.
        ks: the values k_i of f at the stages, None where not (or no longer) held.
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


class Unsolved(Exception):
    """The equations of an implicit step were not solved; the message says how far they were."""


Evaluate = Callable[[float, Tensor], Tensor]
"""f(t, y)."""

Observe = Callable[[Attempt, int], None]
"""observe(attempt, i): stage i of this attempt has its value."""


class StepMethod(ABC):
    """A one-step method on a state of its own, of which the solution y is a part.

    The object holds coefficients only. What a method knows besides y (a velocity, a second copy of
    the solution) lies with y in one tensor, its state: `begin` makes it of y0, `y_of` finds y in
    it. So the engine, the stores and autograd see one tensor, whatever the method. Of a Runge-Kutta
    method the state is y.

    Attributes:
        name: as in `method=`.
        order: p of the solution's error O(h^p).
        error_order: p of the error estimate's O(h^p); None where there is no estimate.
        stages: how many values of f an attempt has room for.
        end: the stage at (t1, y1), which is the next step's first; None where there is none.
        uses: evaluations of f from which y1 is made.
        uses_to_begin: evaluations of f from which the first state is made.
        has_own_state: whether the state is more than y.
    """

    name: str
    order: int
    error_order: int | None
    stages: int
    end: int | None
    uses: int
    uses_to_begin: ClassVar[int] = 0
    has_own_state: ClassVar[bool] = False

    def start(self, t0: float, t1: float) -> float:
        """When f is evaluated first in a solve from t0 towards t1."""
        return t0

    def uses_in(self, steps: int) -> int:
        """Evaluations of f, each counted once, from which the end of so many steps is made."""
        return steps * self.uses + self.uses_to_begin

    def begin(
        self, evaluate: Evaluate, t0: float, y0: Tensor, k0: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """The state at (t0, y0), and the first step's first stage where that is known.

        Args:
            evaluate: the field.
            t0: the start of the solve.
            y0: the solution there.
            k0: f(t0, y0) where it is known.
        """
        return y0, k0

    def y_of(self, state: Tensor) -> Tensor:
        """The solution in a state."""
        return state

    def cotangent_of(self, g: Tensor) -> Tensor:
        """The cotangent of a state, of whose solution g is the cotangent: the adjoint of `y_of`."""
        return g

    @abstractmethod
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
            k0: the first stage's derivative where it is known, so that it is not evaluated again.
            observe: called as observe(attempt, i) when stage i of this step has its value.

        Raises:
            Unsolved: of an implicit method; a shorter step may have a solution.
        """

    @abstractmethod
    def estimate(
        self, evaluate: Evaluate, attempt: Attempt, observe: Observe | None = None
    ) -> tuple[Tensor, ...]:
        """The error estimates of an attempt's y1, one or (DOP853) two; none without estimate."""

    @abstractmethod
    def dense(self, evaluate: Evaluate, attempt: Attempt, thetas: Sequence[float]) -> list[Tensor]:
        """The solutions y at t0 + theta h for every theta in (0, 1)."""

    def slope(self, evaluate: Evaluate, attempt: Attempt, theta: float) -> Tensor:
        """du/dt at t0 + theta h, theta in [0, 1], of the continuous extension u of `dense`."""
        values = self.dense(evaluate, attempt, NODES)
        terms = zip(values, slope_weights(theta), strict=True)
        return sum((v * (w / attempt.h) for v, w in terms), torch.zeros_like(values[0]))

    @abstractmethod
    def needed_stages(self, thetas: Sequence[float]) -> tuple[int, ...]:
        """The stages, ascending, of which y1 and the outputs at these theta are made."""

    def stages_to_keep(self, thetas: Sequence[float]) -> tuple[int, ...]:
        """Those of them from which the states of all are made: the last one's value enters none."""
        return self.needed_stages(thetas)[:-1]

    @abstractmethod
    def carry(self, attempt: Attempt) -> Tensor | None:
        """The next step's first stage, after an accepted attempt, where it is known."""

    @abstractmethod
    def retry(self, attempt: Attempt) -> Tensor | None:
        """The first stage of a shorter step from the start of a rejected attempt, likewise."""

    def release(self) -> None:  # noqa: B027 (most methods keep nothing)
        """Lets go of what the method has kept of a solve, which is done."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name})"
