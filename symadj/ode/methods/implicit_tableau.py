"""Butcher tableaus whose stages depend on themselves and on each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from symadj.ode.methods.tableau import ButcherTableau, Row


@dataclass(frozen=True)
class ImplicitTableau(ButcherTableau):
    """An implicit Runge-Kutta method.

        Y_i = y0 + h sum_j a_ij k_j,   k_i = f(t0 + c_i h, Y_i),   y1 = y0 + h sum_i b_i k_i

    Stage 0 is f(t0, y0), which the error estimate or the dense output may need: of a method that
    has no such stage it is added in front, with b_0 = 0. A stiffly accurate method, whose last row
    is b, has its last stage for end stage. The other stages fall into blocks, each solved as one
    system: of a diagonally implicit method they are single, of a collocation method all are one.

    Attributes:
        a: row i has an entry for every stage.
        filter: g of the error estimate (I - h g J)^-1 h sum_i e_i k_i, which stays bounded where h
            times the stiffest eigenvalue does not (Hairer, Wanner, Solving ODEs II, IV.8); None:
            the sum itself does.
    """

    filter: float | None = None

    @property
    def fsal(self) -> bool:
        """Whether the last stage is f(t1, y1)."""
        return self.c[-1] == 1 and self.a[-1] == self.b

    @cached_property
    def blocks(self) -> tuple[tuple[int, ...], ...]:
        """The extended stages, those that depend on each other together, in order."""
        blocks: list[tuple[int, ...]] = []
        begin = 0
        while begin < len(self.rows):
            last = i = begin
            while i <= last:
                last = max([last, *(j for j, a in enumerate(self.rows[i]) if a != 0)])
                i += 1
            blocks.append(tuple(range(begin, last + 1)))
            begin = last + 1
        return tuple(blocks)

    def matrix(self, block: Sequence[int]) -> tuple[Row, ...]:
        """a_ij of the stages of a block; (0) of an explicit one."""
        return tuple(
            tuple(self.rows[i][j] if j < len(self.rows[i]) else 0.0 for j in block) for i in block
        )

    def _check_row(self, i: int, row: Row) -> None:
        self._require(
            len(row) == self.stages, f"row {i} of a has {len(row)} entries, not one a stage"
        )
        self._require(i > 0 or not any(row), "row 0 of a is not zero, as that of f(t0, y0) is")


def with_start(rows: Sequence[Row]) -> tuple[Row, ...]:
    """The rows of a method without the stage f(t0, y0), and that stage in front."""
    return (0.0,) * (len(rows) + 1), *((0.0, *row) for row in rows)
