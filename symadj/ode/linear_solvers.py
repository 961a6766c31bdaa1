"""Approximate inverses of I - h A x J, by LU factorisations or by products alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from symadj.errors import IncompatibleError, InputError
from symadj.ode.field import Field, grad_or_none, vjp
from symadj.ode.gmres import gmres
from symadj.ode.layout import StateLayout
from symadj.ode.methods import Block, Unsolved

MOST_UNKNOWNS = 512
"""Of one LU factorisation that is chosen without being asked for."""
MOST_ENTRIES = 2**27
"""Of all Jacobians of a batch, likewise."""
_FORCING = 1e-3
"""The residual of a Newton correction that GMRES leaves, relative to the right-hand side."""


class LinearSolver(Protocol):
    """Solves with I - h A x J for a Jacobian J that may be of another time than the step's."""

    @property
    def linearised(self) -> bool:
        """Whether it has a J."""
        ...

    def linearise(self, t: float, y: Tensor) -> None:
        """Takes J at (t, y)."""
        ...

    def solve(self, block: Block, h: float, rhs: Tensor, *, transposed: bool = False) -> Tensor:
        """Nearly (I - h A x J)^-1 rhs, or that of the transposed matrix, for rhs [s, *y].

        Of the transposed one only what a further iteration is preconditioned by.
        """
        ...

    def release(self) -> None:
        """Lets go of J and its factors."""
        ...


@dataclass(frozen=True)
class Rows:
    """A state as [rows, d], each row with its share of all parts.

    Attributes:
        layout: of the state.
        count: the number of rows, a divisor of the first dimension of every part; 1: all is one.
    """

    layout: StateLayout
    count: int

    @property
    def length(self) -> int:
        """d."""
        return sum(self.layout.sizes) // self.count

    def split(self, state: Tensor) -> Tensor:
        """[..., rows, d] of a state; leading dimensions are kept."""
        own = len(self.layout.shapes[0]) if self.layout.bare else 1
        lead = state.shape[: state.dim() - own]
        parts = (part.reshape((*lead, self.count, -1)) for part in self.layout.parts(state))
        return torch.cat(list(parts), -1)

    def join(self, rows: Tensor) -> Tensor:
        """The state of its rows."""
        lead = rows.shape[:-2]
        if self.layout.bare:
            return rows.reshape((*lead, *self.layout.shapes[0]))
        widths = [size // self.count for size in self.layout.sizes]
        return torch.cat([part.reshape((*lead, -1)) for part in rows.split(widths, -1)], -1)


def rows_of(layout: StateLayout) -> int:
    """The first dimension where all parts have the same one; otherwise 1."""
    firsts = {shape[0] if shape else 1 for shape in layout.shapes}
    return firsts.pop() if len(firsts) == 1 and 0 not in firsts else 1


def act_apart(field: Field, rows: Rows, t: float, y: Tensor) -> bool:
    """Whether no row of the state acts on another, as far as the Jacobian at (t, y) shows.

    Any two numbers of rows differ in a bit. So cotangents of random numbers are given to the rows
    with that bit, and to those without, for every bit, and must not reach the others.
    """
    leaves, values = field.graph_of(t, y)
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand((rows.count, rows.length), generator=generator, dtype=y.dtype) + 0.5
    noise, numbers = noise.to(y.device), torch.arange(rows.count, device=y.device)
    for bit in range((rows.count - 1).bit_length()):
        for side in (0, 1):
            given = ((numbers >> bit) & 1) == side
            cotangent = rows.join(torch.where(given.unsqueeze(-1), noise, 0.0))
            reached = rows.split(field.vjp_of_state(leaves, values, cotangent))
            if bool(reached[~given].any()):
                return False
    return True


def solver_for(field: Field, name: str, restart: int, t: float, y: Tensor) -> LinearSolver:
    """The linear solver of a solve that is first needed at (t, y).

    Args:
        field: the field.
        name: one of `symadj.ode.settings.LINEAR_SOLVERS`.
        restart: of GMRES.
        t: the time.
        y: the state.

    Raises:
        InputError: the field has no derivative.
        IncompatibleError: "batched", and a state without rows.
    """
    refuse_underivable(field, t, y)
    layout = field.layout
    whole, rows = Rows(layout, 1), Rows(layout, rows_of(layout))
    if name == "batched" and rows.count == 1 and y.numel() > 1:
        shapes = [tuple(shape) for shape in layout.shapes]
        raise IncompatibleError(
            "linear_solver=batched, and the state, of shapes "
            f"{shapes}, is no batch: its parts have no common first dimension above 1. Take auto."
        )
    if name == "batched":
        return Direct(field, rows)
    if name == "dense":
        return Direct(field, whole)
    if name == "auto":
        small = rows.length <= MOST_UNKNOWNS and rows.count * rows.length**2 <= MOST_ENTRIES
        if rows.count > 1 and small and act_apart(field, rows, t, y):
            return Direct(field, rows)
        if whole.length <= MOST_UNKNOWNS:
            return Direct(field, whole)
    return Krylov(field, restart)


def refuse_underivable(field: Field, t: float, y: Tensor) -> None:
    """Refuses a field whose value depends on y in a way that autograd does not see.

    Raises:
        InputError: it does.
    """
    leaves, values = field.graph_of(t, y)
    noise = torch.rand(y.shape, generator=torch.Generator().manual_seed(1), dtype=y.dtype)
    # Not +1 everywhere: the sum of a field's entries may be conserved.
    cotangents = field.layout.parts(noise.to(y.device) + 0.5)
    if any(g is not None for g in grad_or_none(values, leaves, cotangents)):
        return
    elsewhere = field.value(t, y + 1e-3 * (1 + y.abs()))
    if not torch.equal(elsewhere, field.value_of(values)):
        raise InputError(
            "func's value depends on y, and autograd sees no derivative, which an implicit method "
            "needs to solve its equations. Write func in torch operations on y, without detach(), "
            ".data, numpy() or torch.no_grad(), or take an explicit method such as dopri5."
        )


class Direct:
    """By LU factorisations of the Jacobian, row by row of a batch.

    Args:
        field: the field.
        rows: what is factorised by itself.
    """

    def __init__(self, field: Field, rows: Rows) -> None:
        self.field = field
        self.rows = rows
        self.release()

    @property
    def linearised(self) -> bool:
        """Whether there is a Jacobian."""
        return self._jacobian is not None

    def release(self) -> None:
        """As `LinearSolver.release`."""
        self._jacobian: Tensor | None = None
        self._factors: dict[complex, tuple[Tensor, Tensor]] = {}
        self._h = math.nan

    def linearise(self, t: float, y: Tensor) -> None:
        """By a row of J after the other, of all rows of the batch at once."""
        self.release()
        self.field.stats.jacobians += 1
        self._jacobian = _jacobian(self.field, self.rows, t, y)

    def solve(self, block: Block, h: float, rhs: Tensor, *, transposed: bool = False) -> Tensor:
        """As `LinearSolver.solve`, exactly for the J that it has."""
        if not abs(h - self._h) <= 1e-6 * abs(h):
            self._factors, self._h = {}, h
        parts = self.rows.split(rhs).unbind()
        found: list[Tensor] = [torch.zeros_like(part) for part in parts]
        for mode in block.modes:
            into, out = (mode.right, mode.left) if transposed else (mode.left, mode.right)
            x = self._solve_shifted(mode.value, _sum(into, parts), transposed)
            for i, weight in enumerate(out):
                share = x * weight
                found[i] += share.real if share.is_complex() else share
        return self.rows.join(torch.stack(found))

    def _solve_shifted(self, value: complex, rhs: Tensor, transposed: bool) -> Tensor:
        """(I - h value J)^-1 rhs."""
        if value not in self._factors:
            assert self._jacobian is not None
            matrix = self._jacobian * (-self._h * value)
            matrix.diagonal(dim1=-2, dim2=-1).add_(1)
            # Of a singular matrix the solution is not finite, which is noticed.
            lu, pivots, _ = torch.linalg.lu_factor_ex(matrix)
            self._factors[value] = lu, pivots
            self.field.stats.factorisations += 1
        column = rhs.unsqueeze(-1)
        if transposed:
            # The factors know the conjugate transpose.
            x = torch.linalg.lu_solve(*self._factors[value], column.conj(), adjoint=True).conj()
        else:
            x = torch.linalg.lu_solve(*self._factors[value], column)
        return x.squeeze(-1)


def _sum(weights: Sequence[complex], parts: Sequence[Tensor]) -> Tensor:
    total = parts[0] * weights[0]
    for weight, part in zip(weights[1:], parts[1:], strict=True):
        total = total + part * weight
    return total


def _jacobian(field: Field, rows: Rows, t: float, y: Tensor) -> Tensor:
    """df/dy, [rows, d, d]."""
    leaves, values = field.graph_of(t, y)
    d = rows.length
    units = torch.eye(d, dtype=y.dtype, device=y.device)
    cotangents = units.unsqueeze(1).expand(d, rows.count, d)
    try:
        parts = field.layout.parts(rows.join(cotangents))
        found = grad_or_none(values, leaves, parts, is_grads_batched=True, retain_graph=True)
        products = field.layout.join_each(
            [
                leaf.new_zeros((d, *leaf.shape)) if g is None else g
                for g, leaf in zip(found, leaves, strict=True)
            ]
        )
        return rows.split(products).transpose(0, 1)
    except (RuntimeError, IncompatibleError):
        # An operation of the user's own that has no batched form.
        single = [field.vjp_of_state(leaves, values, rows.join(one)) for one in cotangents]
        return rows.split(torch.stack(single)).transpose(0, 1)


class Linearisation:
    """The products J v with the Jacobian at (t, y), derivatives of the vector-Jacobian product.

    The graph of w -> J^T w is kept; its derivative with respect to w, times v, is J v.
    """

    def __init__(self, field: Field, t: float, y: Tensor) -> None:
        self.field = field
        field.stats.jacobians += 1
        leaves, values = field.graph_of(t, y)
        with torch.enable_grad():
            self._cotangents = [torch.zeros_like(v).requires_grad_() for v in values]
            self._pulled = vjp(values, leaves, self._cotangents, create_graph=True)

    def product(self, v: Tensor) -> Tensor:
        """J v.

        Raises:
            IncompatibleError: the field cannot be differentiated twice.
        """
        self.field.stats.linear_products += 1
        layout = self.field.layout
        try:
            parts = vjp(self._pulled, self._cotangents, layout.parts(v), retain_graph=True)
        except RuntimeError as error:
            raise IncompatibleError(
                f"an implicit method needs products with func's Jacobian here, and func cannot be "
                f"differentiated twice ({error}). Take linear_solver=dense or batched, with a "
                "method whose stages are solved one after the other, such as kvaerno5."
            ) from error
        return layout.join(parts)


def corrected(
    at: Sequence[Linearisation],
    block: Block,
    h: float,
    rhs: Tensor,
    restart: int,
    near: LinearSolver | None = None,
) -> Tensor:
    """(I - h J_i a_ij)^-1 rhs by GMRES, with a Jacobian of every stage or one for all.

    Args:
        at: where they are taken.
        block: A.
        h: the length of the step.
        rhs: [s, *y].
        restart: vectors that are kept.
        near: the preconditioner.

    Raises:
        Unsolved: a tenth of rhs is left, or more.
    """

    def apply(x: Tensor) -> Tensor:
        parts = x.unbind()
        return torch.stack(
            [
                torch.sub(part, one.product(sum_of(terms, parts)), alpha=h)
                for one, part, terms in zip(at, parts, block.terms, strict=True)
            ]
        )

    precondition = None if near is None else (lambda r: near.solve(block, h, r))
    solved = gmres(apply, rhs, tolerance=_FORCING, restart=restart, precondition=precondition)
    if not solved.residual <= 0.1:
        raise Unsolved(
            f"GMRES did not solve the linear system of a Newton iteration: after {solved.products} "
            f"products (gmres_restart={restart}) {solved.residual:.2g} of it is left"
        )
    return solved.x


class Krylov:
    """By GMRES with products J v; no J is formed.

    Args:
        field: the field.
        restart: vectors that are kept.
    """

    def __init__(self, field: Field, restart: int) -> None:
        self.field = field
        self.restart = restart
        self.release()

    @property
    def linearised(self) -> bool:
        """Whether there is a point."""
        return self._at is not None

    def release(self) -> None:
        """As `LinearSolver.release`."""
        self._at: Linearisation | None = None

    def linearise(self, t: float, y: Tensor) -> None:
        """Keeps the graph there."""
        self.release()
        self._at = Linearisation(self.field, t, y)

    def solve(self, block: Block, h: float, rhs: Tensor, *, transposed: bool = False) -> Tensor:
        """As `LinearSolver.solve`; of the transposed matrix rhs itself."""
        if transposed:
            return rhs
        assert self._at is not None
        return corrected([self._at] * len(rhs), block, h, rhs, self.restart)


def sum_of(terms: Sequence[tuple[int, float]], tensors: Sequence[Tensor]) -> Tensor:
    """The sum of w_i x_i over the terms (i, w_i), at least one."""
    (first, weight), *rest = terms
    total = tensors[first] * weight
    for i, w in rest:
        total.add_(tensors[i], alpha=w)
    return total
