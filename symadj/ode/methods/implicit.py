"""Implicit Runge-Kutta steps: stages that solve systems of equations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from torch import Tensor

from symadj.ode.methods.base import Attempt, Evaluate, Observe
from symadj.ode.methods.implicit_tableau import ImplicitTableau
from symadj.ode.methods.linear import Terms, terms_of
from symadj.ode.methods.runge_kutta import TableauMethod
from symadj.ode.methods.sides import Sides
from symadj.ode.methods.tableau import Row


@dataclass(frozen=True)
class Mode:
    """An eigenvalue of a block's matrix, of a complex pair the one above the real axis.

    (I - h A x J)^-1 is the sum over the modes of Re(right x (I - h value J)^-1 left).

    Attributes:
        value: the eigenvalue, a float where it is real.
        right: its eigenvector, doubled for a pair.
        left: the row of the inverse of the eigenvectors.
    """

    value: complex
    right: tuple[complex, ...]
    left: tuple[complex, ...]


@dataclass(frozen=True)
class Block:
    """Stages that are found together, from those of the blocks before.

    Attributes:
        stages: their places in the extended list, consecutive.
        matrix: a_ij between them; (0) of an explicit stage.
        before: of each the weights of earlier stages.
    """

    stages: tuple[int, ...]
    matrix: tuple[Row, ...]
    before: tuple[Terms, ...] = ((),)

    @staticmethod
    def single(diagonal: float) -> Block:
        """The system (I - h g J) x = r."""
        return Block((0,), ((diagonal,),))

    @property
    def explicit(self) -> bool:
        """Whether there is nothing to solve."""
        return self.matrix == ((0.0,),)

    @cached_property
    def terms(self) -> tuple[Terms, ...]:
        """The rows of the matrix, by place in the block."""
        return tuple(map(terms_of, self.matrix))

    @cached_property
    def columns(self) -> tuple[Terms, ...]:
        """Its columns, likewise."""
        return tuple(map(terms_of, np.array(self.matrix).T.tolist()))

    @cached_property
    def inverse_columns(self) -> tuple[Terms, ...]:
        """The columns of its inverse."""
        return tuple(map(terms_of, np.linalg.inv(np.array(self.matrix)).T.tolist()))

    @cached_property
    def modes(self) -> tuple[Mode, ...]:
        """Its eigenvalues, which are distinct."""
        values, right = np.linalg.eig(np.array(self.matrix))
        left = np.linalg.inv(right)
        modes = []
        for value, column, row in zip(values.tolist(), right.T, left, strict=True):
            value = complex(value)
            if value.imag == 0:
                real = np.real(column).tolist(), np.real(row).tolist()
                modes.append(Mode(value.real, *map(tuple, real)))
            elif value.imag > 0:
                modes.append(Mode(value, tuple((2 * column).tolist()), tuple(row.tolist())))
        return tuple(modes)


class StageSolver(Protocol):
    """Solves the systems of one solve."""

    def solve(
        self, method: ImplicitRungeKutta, evaluate: Evaluate, attempt: Attempt, block: Block
    ) -> Sequence[Tensor]:
        """The values k_i of a block's stages; with their graph where gradients are enabled.

        Raises:
            Unsolved: they were not found.
        """
        ...

    def filtered(self, attempt: Attempt, g: float, error: Tensor) -> Tensor:
        """(I - h g J)^-1 of an error."""
        ...

    def release(self) -> None:
        """Lets go of Jacobians, factors and starting values."""
        ...


class ImplicitRungeKutta(TableauMethod):
    """The implicit Runge-Kutta method of a tableau.

    The unknowns are the values k_i, so that y1, error estimate and dense output are the same sums
    as those of an explicit method, and no difference of states is multiplied by a stiff Jacobian.

    Args:
        tableau: the coefficients.
        sides: as of `TableauMethod`.
        stage_solver: of one solve; None: of a method that only gives its coefficients.
    """

    tableau: ImplicitTableau

    def __init__(
        self,
        tableau: ImplicitTableau,
        sides: Sides | None = None,
        stage_solver: StageSolver | None = None,
    ) -> None:
        super().__init__(tableau, sides)
        self.stage_solver = stage_solver
        self.blocks = tuple(
            Block(
                stages,
                tableau.matrix(stages),
                tuple(terms_of(tableau.rows[i][: stages[0]]) for i in stages),
            )
            for stages in tableau.blocks
        )

    def solved_by(self, stage_solver: StageSolver) -> ImplicitRungeKutta:
        """The method for one solve."""
        return ImplicitRungeKutta(self.tableau, self.sides, stage_solver)

    @property
    def solving(self) -> StageSolver:
        """The one that it was given."""
        assert self.stage_solver is not None, f"{self.name} has coefficients only"
        return self.stage_solver

    def fill(
        self,
        evaluate: Evaluate,
        attempt: Attempt,
        wanted: Sequence[int],
        observe: Observe | None = None,
    ) -> None:
        """Evaluates explicit stages, and solves for the blocks of the others."""
        for block in self.blocks:
            first = block.stages[0]
            if first not in wanted or attempt.ks[first] is not None:
                continue
            if block.explicit:
                attempt.ks[first] = evaluate(self.time(attempt, first), self.state(attempt, first))
            else:
                found = self.solving.solve(self, evaluate, attempt, block)
                for i, k in zip(block.stages, found, strict=True):
                    attempt.ks[i] = k
            if observe is not None:
                for i in block.stages:
                    observe(attempt, i)

    def stages_to_keep(self, thetas: Sequence[float]) -> tuple[int, ...]:
        """All: that of the last one is an unknown too."""
        return self.needed_stages(thetas)

    def estimate(
        self, evaluate: Evaluate, attempt: Attempt, observe: Observe | None = None
    ) -> tuple[Tensor, ...]:
        """h sum_i e_i k_i, filtered where the tableau says so."""
        errors = super().estimate(evaluate, attempt, observe)
        g = self.tableau.filter
        return errors if g is None else tuple(self.solving.filtered(attempt, g, e) for e in errors)

    def release(self) -> None:
        """As `StageSolver.release`."""
        self.solving.release()
