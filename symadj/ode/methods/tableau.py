"""Butcher tableaus: the coefficients of an explicit Runge-Kutta method, checked and taken apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from symadj.errors import InputError

Row = tuple[float, ...]
_ROUNDING = 1e-12


@dataclass(frozen=True)
class ButcherTableau:
    """An explicit Runge-Kutta method.

        Y_i = y0 + h sum_{j<i} a_ij k_j,   k_i = f(t0 + c_i h, Y_i),   y1 = y0 + h sum_i b_i k_i

    A first-same-as-last method is written as in the literature, with its last row equal to b. Its
    last stage is the *end stage* f(t1, y1). For any other method the end stage is appended to the
    list of stages. The stages that only dense output needs come after it. `rows`, `nodes`,
    `dense_a`, `dense_b` and `closure` speak of this extended list.

    Attributes:
        name: as in `method=`.
        order: of the solution that is propagated.
        a: row i has i entries.
        b: weights of the solution.
        c: nodes.
        b_err: b - b_hat, the weights of the error estimate; None: no estimate.
        b_err_low: weights of a second estimate of lower order (DOP853).
        error_order: p of the estimate's O(h^p); the controller's exponent is 1/p.
        dense_a: rows of the stages that only dense output needs.
        dense_c: their nodes.
        dense_b: for every extended stage the coefficients (p_1, p_2, ...) of its weight
            b_i(theta) = p_1 theta + p_2 theta^2 + ... in
            y(t0 + theta h) = y0 + h sum_i b_i(theta) k_i; None: the cubic Hermite
            polynomial through both ends.

    Raises:
        InputError: coefficients that are no explicit Runge-Kutta method; the message names the row.
    """

    name: str
    order: int
    a: tuple[Row, ...]
    b: Row
    c: Row
    b_err: Row | None = None
    b_err_low: Row | None = None
    error_order: int | None = None
    dense_a: tuple[Row, ...] = ()
    dense_c: Row = ()
    dense_b: tuple[Row, ...] | None = None

    def __post_init__(self) -> None:
        self._check_shapes()
        self._check_sums()

    @property
    def stages(self) -> int:
        """s, as the literature counts them (with the end stage of an FSAL method)."""
        return len(self.b)

    @property
    def fsal(self) -> bool:
        """Whether the last stage is f(t1, y1), the first one of the next step."""
        last = self.stages - 1
        return (
            last > 0 and self.c[last] == 1 and self.b[last] == 0 and self.a[last] == self.b[:last]
        )

    @property
    def core_stages(self) -> int:
        """The stages before the end stage: s - 1 for an FSAL method, otherwise s."""
        return self.stages - 1 if self.fsal else self.stages

    @property
    def end_index(self) -> int:
        """Index of the end stage in the extended list."""
        return self.core_stages

    @cached_property
    def rows(self) -> tuple[Row, ...]:
        """The rows a_i of the extended list."""
        end = () if self.fsal else (self.b,)
        return (*self.a, *end, *self.dense_a)

    @cached_property
    def nodes(self) -> Row:
        """The nodes c_i of the extended list."""
        end = () if self.fsal else (1.0,)
        return (*self.c, *end, *self.dense_c)

    @cached_property
    def dead_stages(self) -> tuple[int, ...]:
        """Stages of the tableau on which the solution y1 does not depend."""
        alive = set(self.closure(self.b))
        return tuple(i for i in range(self.stages) if i not in alive)

    def dense_weights(self, theta: float) -> Row:
        """b_i(theta) for every extended stage."""
        if self.dense_b is not None:
            return tuple(_polynomial(row, theta) for row in self.dense_b)
        weights = [0.0] * len(self.rows)
        rise = theta * theta * (3 - 2 * theta)
        for i, b in enumerate(self.b):
            weights[i] = rise * b
        weights[0] += theta * (1 - theta) ** 2
        weights[self.end_index] += theta * theta * (theta - 1)
        return tuple(weights)

    def closure(self, weights: Sequence[float]) -> tuple[int, ...]:
        """The extended stages that sum_i weights_i k_i depends on, ascending."""
        found: set[int] = set()
        waiting = [i for i, w in enumerate(weights) if w != 0]
        while waiting:
            i = waiting.pop()
            if i not in found:
                found.add(i)
                waiting.extend(j for j, a in enumerate(self.rows[i]) if a != 0)
        return tuple(sorted(found))

    def _check_shapes(self) -> None:
        s = len(self.b)
        self._require(
            s > 0 and len(self.a) == len(self.c) == s,
            f"a, b and c have {len(self.a)}, {s} and {len(self.c)} entries, not one a stage each",
        )
        for i, row in enumerate(self.a):
            self._check_row(i, row)
        self._require(self.order >= 1, f"order is {self.order}, and must be at least 1")
        self._check_estimate()
        self._check_dense_shapes()

    def _check_row(self, i: int, row: Row) -> None:
        self._require(
            len(row) == i, f"row {i} of a has {len(row)} entries, and an explicit one has {i}"
        )

    def _check_estimate(self) -> None:
        for name in ("b_err", "b_err_low"):
            weights = getattr(self, name)
            self._require(
                weights is None or len(weights) == self.stages,
                f"{name} must have {self.stages} entries, one a stage",
            )
        self._require(
            self.b_err is not None or self.b_err_low is None, "b_err_low is given without b_err"
        )
        self._require(
            (self.b_err is None) == (self.error_order is None),
            "b_err and error_order go together: give both or neither",
        )
        self._require(
            self.error_order is None or self.error_order >= 1,
            f"error_order is {self.error_order}, and must be at least 1",
        )

    def _check_dense_shapes(self) -> None:
        self._require(
            len(self.dense_a) == len(self.dense_c),
            f"dense_a and dense_c have {len(self.dense_a)} and {len(self.dense_c)} entries, "
            "and must have one a stage",
        )
        for i, row in enumerate(self.dense_a, self.end_index + 1):
            self._require(
                len(row) == i, f"{self._row_name(i)} has {len(row)} entries, and must have {i}"
            )
        if self.dense_b is None:
            self._require(not self.dense_a, "dense_a is given without dense_b, which would use it")
        else:
            self._require(
                len(self.dense_b) == len(self.rows),
                f"dense_b has {len(self.dense_b)} rows for {len(self.rows)} extended stages",
            )

    def _check_sums(self) -> None:
        self._require(_near(sum(self.b), 1), f"the entries of b sum to {sum(self.b)!r}, not 1")
        for name in ("b_err", "b_err_low"):
            total = sum(getattr(self, name) or ())
            self._require(_near(total, 0), f"the entries of {name} sum to {total!r}, not 0")
        for i, (row, c) in enumerate(zip(self.rows, self.nodes, strict=True)):
            self._require(
                _near(sum(row), c),
                f"{self._row_name(i)} sums to {sum(row)!r}, and its node c is {c!r}",
            )
        if self.dense_b is not None:
            wanted = (*self.b, *([0.0] * (len(self.rows) - self.stages)))
            for i, (row, b) in enumerate(zip(self.dense_b, wanted, strict=True)):
                self._require(
                    _near(sum(row), b),
                    f"row {i} of dense_b is {sum(row)!r} at theta = 1, where b is {b!r}",
                )

    def _row_name(self, i: int) -> str:
        """The row of extended stage i as whoever wrote the tableau knows it."""
        extra = i - self.end_index - 1
        return f"row {i} of a" if extra < 0 else f"row {extra} of dense_a"

    def _require(self, holds: bool, otherwise: str) -> None:
        if not holds:
            raise InputError(f"tableau {self.name!r}: {otherwise}.")


def row(length: int, entries: Mapping[int, float]) -> Row:
    """The entries by stage, zero where none is given."""
    return tuple(entries.get(j, 0.0) for j in range(length))


def _near(value: float, wanted: float) -> bool:
    return abs(value - wanted) <= _ROUNDING * max(1.0, abs(wanted))


def _polynomial(coefficients: Row, theta: float) -> float:
    """p_1 theta + p_2 theta^2 + ... by Horner's rule."""
    value = 0.0
    for p in reversed(coefficients):
        value = (value + p) * theta
    return value
